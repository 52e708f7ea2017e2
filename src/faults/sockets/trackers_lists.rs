//! Trackers that answer with intervals and peers that the client must not believe (T-15 to T-21).

use super::NetCriterion::{CrowdDials, HostileDials, MemoryAtMost, Provoked, VisitsAtMost, Within};
use super::SceneGoal::{Completes, Lives};
use super::SceneTracker::{Good, Http, HttpKnows, Udp, UdpKnows};
use super::{MIB, NetScene, ScenePeers, about, secs};

const SEED: &[ScenePeers] = &[ScenePeers::Honest("")];

pub(super) const SCENES: &[NetScene] = &[
    NetScene {
        about: about("T-15.intervals", &["T-15"], "intervals of all kinds, nobody to fetch from: none is asked again"),
        bytes: 2 * MIB,
        trackers: &[
            Http("interval=0,no_peers"),
            Http("interval=-1,no_peers"),
            Http("interval=1,no_peers"),
            Http("interval=2147483648,no_peers"),
            Http("interval=9223372036854775808,no_peers"),
            Http("interval=-9223372036854775808,no_peers"),
            Http("interval=missing,no_peers"),
            Http("interval=text,no_peers"),
            Udp("interval=0,no_peers"),
            Udp("interval=-1,no_peers"),
        ],
        peers: &[],
        steps: &[],
        goal: Lives(secs(8)),
        // `started` and `stopped`, each with one connect over UDP at most.
        criteria: &[Provoked, VisitsAtMost(4)],
    },
    NetScene {
        about: about("T-15.peers", &["T-15"], "the only tracker has no interval, and peers"),
        bytes: 2 * MIB,
        trackers: &[HttpKnows("interval=text")],
        peers: SEED,
        steps: &[],
        goal: Completes(secs(30)),
        criteria: &[],
    },
    NetScene {
        about: about("T-16.doubles", &["T-16"], "everybody is named ten thousand times"),
        bytes: 2 * MIB,
        trackers: &[HttpKnows("duplicates=10000,dead_peers=5"), UdpKnows("duplicates=200")],
        peers: &[ScenePeers::Honest("max_rate=1M"), ScenePeers::Hostile(2, "silent")],
        steps: &[],
        goal: Completes(secs(30)),
        criteria: &[Provoked, HostileDials(1), MemoryAtMost(64)],
    },
    NetScene {
        about: about("T-17.self", &["T-17"], "trackers name us to ourselves"),
        bytes: 2 * MIB,
        trackers: &[HttpKnows("self_in_peers"), UdpKnows("self_in_peers")],
        peers: &[ScenePeers::Honest("max_rate=1M"), ScenePeers::Hostile(2, "own_id")],
        steps: &[],
        goal: Completes(secs(30)),
        criteria: &[Provoked, HostileDials(1)],
    },
    NetScene {
        about: about("T-18.dead", &["T-18"], "two hundred dead peers first, a live one five seconds later"),
        bytes: 2 * MIB,
        trackers: &[Http("dead_peers=200"), HttpKnows("delay=5s")],
        peers: SEED,
        steps: &[],
        goal: Completes(secs(60)),
        criteria: &[Provoked, Within(secs(35))],
    },
    NetScene {
        about: about("T-18.syn", &["T-18", "P-01"], "sixty peers that answer no SYN beside a live one"),
        bytes: 2 * MIB,
        trackers: &[Good],
        peers: &[ScenePeers::FullHouses(60), ScenePeers::Honest("")],
        steps: &[],
        goal: Completes(secs(60)),
        criteria: &[Within(secs(35))],
    },
    NetScene {
        about: about("T-19.classes", &["T-19"], "private, multicast, unspecified and impossible peers"),
        bytes: 2 * MIB,
        trackers: &[Http("local_peers"), Udp("local_peers"), Good],
        peers: SEED,
        steps: &[],
        goal: Completes(secs(30)),
        criteria: &[Provoked],
    },
    NetScene {
        about: about(
            "T-20.victim",
            &["T-20"],
            "two trackers name eighty silent ports of one host; each is tried at most once",
        ),
        bytes: 4 * MIB,
        trackers: &[Http("peers={crowd}"), Udp("peers={crowd}"), Good],
        peers: &[ScenePeers::Crowd(80, "silent"), ScenePeers::Honest("max_rate=400k")],
        steps: &[],
        goal: Completes(secs(45)),
        // How often one public host is dialled, all ports together, can only be observed with public hosts: in layer
        // sim.
        criteria: &[Provoked, CrowdDials(80)],
    },
    NetScene {
        about: about("T-21.families", &["T-21"], "peers of IPv6: loopback, mapped, link-local, nowhere"),
        bytes: 2 * MIB,
        trackers: &[
            HttpKnows("peers=[::1]:1+[::ffff:127.0.0.1]:9+[fe80::1]:6881+[::]:6881+[ff02::1]:6881+[2001:db8::1]:6881"),
            UdpKnows(""),
        ],
        peers: SEED,
        steps: &[],
        goal: Completes(secs(30)),
        criteria: &[Provoked],
    },
];

//! UDP trackers that answer wrongly, in part, from another address, or not at all (T-11 to T-14).

use super::NetCriterion::{Provoked, VisitsAtMost};
use super::SceneGoal::Completes;
use super::SceneTracker::{Good, Udp, UdpBehind, UdpKnows};
use super::{MIB, NetAction, NetScene, NetStep, ScenePeers, about, secs};

const SEED: &[ScenePeers] = &[ScenePeers::Honest("")];

macro_rules! beside_a_good_one {
    ($name:literal, $covers:expr, $title:literal, [$($bad:expr),+]) => {
        NetScene {
            about: about($name, $covers, $title),
            bytes: 2 * MIB,
            trackers: &[$($bad),+, Good],
            peers: SEED,
            steps: &[],
            goal: Completes(secs(30)),
            criteria: &[Provoked, VisitsAtMost(4)],
        }
    };
}

pub(super) const SCENES: &[NetScene] = &[
    beside_a_good_one!(
        "T-11.ids",
        &["T-11"],
        "wrong transaction ids and actions",
        [UdpKnows("wrong_tid"), UdpKnows("wrong_action"), Udp("failure=\\x1b[2Jgo away")]
    ),
    beside_a_good_one!(
        "T-12.short",
        &["T-12"],
        "replies cut after 0 to 19 bytes, and of a length no list has",
        [
            Udp("truncated=0"),
            Udp("truncated=1"),
            Udp("truncated=3"),
            Udp("truncated=4"),
            Udp("truncated=7"),
            Udp("truncated=8"),
            Udp("truncated=11"),
            Udp("truncated=12"),
            Udp("truncated=15"),
            Udp("truncated=16"),
            Udp("truncated=19"),
            Udp("length_lie")
        ]
    ),
    NetScene {
        about: about("T-12.odd", &["T-12"], "the only tracker sends a byte behind the last peer"),
        bytes: 2 * MIB,
        trackers: &[UdpKnows("length_lie")],
        peers: SEED,
        steps: &[],
        goal: Completes(secs(30)),
        criteria: &[Provoked],
    },
    beside_a_good_one!("T-13.elsewhere", &["T-13"], "replies from another port are nobody's", [UdpKnows("other_port")]),
    NetScene {
        about: about("T-14.lost", &["T-14"], "the only tracker loses the first announce; the next is 15 s later"),
        bytes: 2 * MIB,
        trackers: &[UdpKnows("lose=1")],
        peers: SEED,
        steps: &[],
        goal: Completes(secs(40)),
        criteria: &[VisitsAtMost(5)],
    },
    NetScene {
        about: about("T-14.cut", &["T-14", "N-01"], "the way to the only tracker is cut for ten seconds"),
        bytes: 2 * MIB,
        trackers: &[UdpBehind("stall")],
        peers: SEED,
        steps: &[NetStep { at: secs(10), action: NetAction::Toxics("") }],
        goal: Completes(secs(40)),
        criteria: &[Provoked],
    },
];

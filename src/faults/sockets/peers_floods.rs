//! Peers that ask for too much, read nothing, or come in crowds (P-20, P-21, P-28).

use super::NetCriterion::{HonestDials, MemoryAtMost, Provoked, Within};
use super::SceneGoal::Completes;
use super::SceneTracker::Good;
use super::{H, MIB, NetAction, NetScene, NetStep, ScenePeers, about, secs};

pub(super) const SCENES: &[NetScene] = &[
    among_three!(
        "P-20.requests",
        &["P-20"],
        "ten thousand requests at once; for nothing, 2 GiB, 128 KiB and a byte",
        [
            ScenePeers::Hostile(3, "request_flood=10000,max_rate=50k"),
            ScenePeers::Hostile(2, "request_flood=100,request_len=0"),
            ScenePeers::Hostile(2, "request_flood=100,request_len=2147483648"),
            ScenePeers::Hostile(2, "request_flood=100,request_len=131073")
        ],
        &[Provoked, HonestDials(1), MemoryAtMost(64)]
    ),
    among_three!(
        "P-21.deaf",
        &["P-21"],
        "peers that ask for what we lack and read nothing",
        [ScenePeers::Hostile(5, "request_flood=2000,deaf"), ScenePeers::Hostile(3, "deaf")],
        &[Provoked, HonestDials(1), MemoryAtMost(64)]
    ),
    NetScene {
        about: about("P-28.flood", &["P-28"], "five thousand connections to the client's port in ten seconds"),
        bytes: 4 * MIB,
        trackers: &[Good],
        peers: &[H, H, H],
        steps: &[NetStep { at: secs(0), action: NetAction::Flood(5000) }],
        goal: Completes(secs(45)),
        criteria: &[HonestDials(1), Within(secs(20)), MemoryAtMost(64)],
    },
];

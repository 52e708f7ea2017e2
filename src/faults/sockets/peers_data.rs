//! Peers that hold back, tear or falsify data (P-11 to P-17, P-25 to P-27, P-31, P-32).

use super::NetCriterion::{AllButOnePiece, CpuAtMost, HonestDials, Lied, Logs, Provoked, WasteAtMost, Within};
use super::SceneGoal::{Completes, Lives};
use super::SceneTracker::Good;
use super::{MIB, NetAction, NetScene, NetStep, ScenePeers, about, secs};

/// Two pieces for each liar (P-14: "waste ≤ 2 pieces per liar"), and the blocks that were requested from two peers in
/// the endgame. Liars are as fast as the machine.
const fn waste_of(liars: u64) -> u64 {
    liars * 2 * 64 * 1024 + 256 * 1024
}

macro_rules! sole {
    ($name:literal, $covers:expr, $title:literal, $bytes:expr, $words:literal, $limit:literal, $criteria:expr) => {
        NetScene {
            about: about($name, $covers, $title),
            bytes: $bytes,
            trackers: &[Good],
            peers: &[ScenePeers::Honest($words)],
            steps: &[],
            goal: Completes(secs($limit)),
            criteria: $criteria,
        }
    };
}

pub(super) const SCENES: &[NetScene] = &[
    among_three!(
        "P-11.choke",
        &["P-11"],
        "peers that choke for ever, or a hundred times a second",
        [
            ScenePeers::Hostile(4, "choke_forever"),
            ScenePeers::Hostile(4, "never_unchoke"),
            ScenePeers::Hostile(2, "flap=100,max_rate=50k")
        ],
        &[Provoked, HonestDials(1), Within(secs(20))]
    ),
    among_three!(
        "P-12.snub",
        &["P-12"],
        "peers that unchoke and send three blocks, or none",
        [
            ScenePeers::Hostile(3, "snub_after=0"),
            ScenePeers::Hostile(3, "snub_after=3"),
            ScenePeers::Hostile(1, "delay=3s")
        ],
        &[Provoked, HonestDials(1), Within(secs(30))]
    ),
    among_three!(
        "P-13.drip",
        &["P-13"],
        "peers that send a byte a second inside a block",
        [ScenePeers::Hostile(3, "drip=1"), ScenePeers::Hostile(2, "drip=500")],
        &[Provoked, HonestDials(1), Within(secs(30))]
    ),
    among_three!(
        "P-14.every",
        &["P-14"],
        "three peers falsify every block",
        [ScenePeers::Hostile(3, "corrupt=1")],
        &[Lied, HonestDials(1), WasteAtMost(waste_of(3)), Logs("peer sent bad data (banned)")]
    ),
    among_three!(
        "P-14.some",
        &["P-14"],
        "three peers falsify one block in ten",
        [ScenePeers::Hostile(3, "corrupt=0.1")],
        &[Lied, HonestDials(1), WasteAtMost(waste_of(3))]
    ),
    among_three!(
        "P-14.last",
        &["P-14"],
        "three peers falsify the last block of every piece",
        [ScenePeers::Hostile(3, "corrupt_last")],
        &[Lied, HonestDials(1), WasteAtMost(waste_of(3))]
    ),
    NetScene {
        about: about(
            "P-14.alone",
            &["P-14"],
            "a liar is the only source for eight seconds, then somebody honest can be heard",
        ),
        bytes: 2 * MIB,
        trackers: &[Good],
        peers: &[ScenePeers::Hostile(1, "corrupt=0.2,max_rate=200k"), ScenePeers::Behind("stall", "")],
        steps: &[NetStep { at: secs(8), action: NetAction::Toxics("") }],
        goal: Completes(secs(60)),
        criteria: &[Lied, Logs("peer sent bad data (banned)")],
    },
    NetScene {
        about: about("P-15.poison", &["P-15"], "everybody falsifies the same piece: the rest comes, and nothing spins"),
        bytes: 2 * MIB,
        trackers: &[Good],
        peers: &[ScenePeers::Hostile(3, "corrupt_piece=17")],
        steps: &[],
        goal: Lives(secs(15)),
        criteria: &[Lied, Logs("piece fails from every source"), AllButOnePiece, CpuAtMost(5)],
    },
    among_three!(
        "P-16.places",
        &["P-16"],
        "right bytes at wrong places",
        [
            ScenePeers::Hostile(2, "wrong_index"),
            ScenePeers::Hostile(2, "wrong_begin"),
            ScenePeers::Hostile(2, "wrong_length"),
            ScenePeers::Hostile(2, "beyond_end")
        ],
        &[Lied, HonestDials(1), Within(secs(30))]
    ),
    among_three!(
        "P-17.unasked",
        &["P-17"],
        "blocks nobody asked for, three times, or too late",
        [
            ScenePeers::Hostile(2, "unrequested=100,max_rate=300k"),
            ScenePeers::Hostile(2, "duplicate=3,max_rate=300k"),
            ScenePeers::Hostile(1, "delay=2s")
        ],
        &[Provoked, HonestDials(1)]
    ),
    NetScene {
        about: about(
            "P-25.vanished",
            &["P-25", "N-01"],
            "a peer vanishes without a word in the middle, another goes on",
        ),
        bytes: 4 * MIB,
        trackers: &[Good],
        peers: &[ScenePeers::Behind("", "max_rate=400k"), ScenePeers::Honest("max_rate=400k")],
        steps: &[NetStep { at: secs(2), action: NetAction::Toxics("stall") }],
        goal: Completes(secs(60)),
        criteria: &[],
    },
    among_three!(
        "P-26.sweep",
        &["P-26"],
        "resets after 1 to 20,000 bytes, in headers and in blocks",
        [
            ScenePeers::Hostile(1, "reset_every=1"),
            ScenePeers::Hostile(1, "reset_every=4"),
            ScenePeers::Hostile(1, "reset_every=5"),
            ScenePeers::Hostile(1, "reset_every=13"),
            ScenePeers::Hostile(1, "reset_every=14"),
            ScenePeers::Hostile(1, "reset_every=18"),
            ScenePeers::Hostile(1, "reset_every=19"),
            ScenePeers::Hostile(1, "reset_every=31"),
            ScenePeers::Hostile(1, "reset_every=32"),
            ScenePeers::Hostile(1, "reset_every=1000"),
            ScenePeers::Hostile(1, "reset_every=16384"),
            ScenePeers::Hostile(1, "reset_every=16397"),
            ScenePeers::Hostile(1, "reset_every=16415"),
            ScenePeers::Hostile(1, "reset_every=16420"),
            ScenePeers::Hostile(1, "reset_every=20000")
        ],
        &[Provoked, HonestDials(1)]
    ),
    sole!("P-26.sole", &["P-26"], "the only source resets every 20,000 bytes", 200_000, "reset_every=20000", 90, &[]),
    sole!("P-26.large", &["P-26"], "the only source resets every 300 kB", 2 * MIB, "reset_every=300k", 60, &[]),
    NetScene {
        about: about("P-27.slices", &["P-27"], "the only source comes in slices of one byte to ten, both ways"),
        bytes: 256 * 1024,
        trackers: &[Good],
        peers: &[ScenePeers::Behind("slicer:avg=5,slicer:variation=4", "")],
        steps: &[],
        goal: Completes(secs(60)),
        criteria: &[HonestDials(1), WasteAtMost(0)],
    },
    sole!(
        "P-27.segments",
        &["P-27"],
        "the only source sends segments of seven bytes",
        512 * 1024,
        "slice=7",
        60,
        &[HonestDials(1), WasteAtMost(0)]
    ),
    NetScene {
        about: about("P-31.endgame", &["P-31"], "ten slow peers all have the last blocks"),
        bytes: 4 * MIB,
        trackers: &[Good],
        peers: &[ScenePeers::Honest("max_rate=100k,delay=100ms"); 10],
        steps: &[],
        goal: Completes(secs(45)),
        // Two blocks from each of ten peers that were slower than another; the most that was seen was one.
        criteria: &[HonestDials(1), WasteAtMost(10 * 2 * 16 * 1024)],
    },
    NetScene {
        about: about("P-32.gone", &["P-32"], "everybody leaves near the end and returns ten seconds later"),
        bytes: 2 * MIB,
        trackers: &[Good],
        peers: &[ScenePeers::Behind("limit_data=2000k,stream=downstream", "max_rate=1M")],
        steps: &[
            NetStep { at: secs(3), action: NetAction::Toxics("reset_peer=0ms") },
            NetStep { at: secs(13), action: NetAction::Toxics("") },
        ],
        goal: Completes(secs(13 + 60)),
        criteria: &[Provoked],
    },
];

//! Peers whose messages are not what the protocol says (P-06 to P-10, P-18, P-19, P-22 to P-24).

use super::NetCriterion::{HonestDials, HostileDials, MemoryAtMost, Provoked, SaysNoEscapes, Within};
use super::SceneGoal::Completes;
use super::SceneTracker::Good;
use super::{H, IN_THE_SWARM, MIB, NetScene, ScenePeers, about, secs};

pub(super) const SCENES: &[NetScene] = &[
    among_three!(
        "P-06.bare",
        &["P-06"],
        "peers that never say what they have",
        [ScenePeers::Hostile(5, "no_bitfield")],
        &[Provoked, HonestDials(1), HostileDials(1)]
    ),
    among_three!(
        "P-07.bitfields",
        &["P-07"],
        "bitfields too long, too short, twice, late, behind `have all`",
        [
            ScenePeers::Hostile(2, "bad_bitfield"),
            ScenePeers::Hostile(2, "short_bitfield"),
            ScenePeers::Hostile(2, "twice_bitfield"),
            ScenePeers::Hostile(2, "late_bitfield"),
            ScenePeers::Hostile(2, "bitfield_after_have_all")
        ],
        &[Provoked, HonestDials(1)]
    ),
    NetScene {
        about: about("P-08.spare", &["P-08"], "bitfields with bits that stand for no piece"),
        // 65 pieces, so that the bitfield has spare bits.
        bytes: 4 * MIB + 1,
        trackers: &[Good],
        peers: &[ScenePeers::Hostile(5, "spare_bits"), H, H, H],
        steps: &[],
        goal: IN_THE_SWARM,
        criteria: &[Provoked, HonestDials(1), HostileDials(3)],
    },
    among_three!(
        "P-09.lengths",
        &["P-09"],
        "messages of 4 GiB, of 1 MiB and a byte, of 2 GiB at a drip",
        [
            ScenePeers::Hostile(4, "huge_length=4294967295"),
            ScenePeers::Hostile(4, "huge_length=1048577"),
            ScenePeers::Hostile(2, "huge_length=2147483647,drip=1000")
        ],
        &[Provoked, HonestDials(1), HostileDials(3), MemoryAtMost(64)]
    ),
    among_three!(
        "P-10.unknown",
        &["P-10"],
        "messages that nobody has heard of",
        [
            ScenePeers::Hostile(2, "unknown_ids=21+22+23+31+99+127+128+200+254+255"),
            ScenePeers::Hostile(2, "unknown_ids=20+20+20"),
            ScenePeers::Hostile(1, "unknown_ids=10+11+12+18+19")
        ],
        &[Provoked, HonestDials(1), HostileDials(1)]
    ),
    NetScene {
        about: about("P-10.sole", &["P-10"], "the only source says things that nobody has heard of, and serves"),
        bytes: 2 * MIB,
        trackers: &[Good],
        peers: &[ScenePeers::Honest("unknown_ids=21+31+99+200")],
        steps: &[],
        goal: Completes(secs(30)),
        criteria: &[HonestDials(1)],
    },
    among_three!(
        "P-18.have",
        &["P-18"],
        "peers that have less than they say, and reject",
        [ScenePeers::Hostile(3, "partial=0.3,lie_have"), ScenePeers::Hostile(3, "have_all,reject")],
        &[Provoked, HonestDials(1), Within(secs(30))]
    ),
    among_three!(
        "P-18.allow",
        &["P-18", "P-11"],
        "peers that allow pieces and reject them; that choke, and forget what they were asked for",
        [ScenePeers::Hostile(3, "have_all,allow=10000,choke_forever"), ScenePeers::Hostile(3, "flap=20,forgetful")],
        &[Provoked, HonestDials(1), Within(secs(30)), MemoryAtMost(64)]
    ),
    among_three!(
        "P-19.beyond",
        &["P-19"],
        "have, suggest and allowed-fast for pieces that do not exist",
        [
            ScenePeers::Hostile(3, "bad_have"),
            ScenePeers::Hostile(3, "bad_suggest"),
            ScenePeers::Hostile(3, "bad_allowed_fast")
        ],
        &[Provoked, HonestDials(1), HostileDials(3)]
    ),
    among_three!(
        "P-22.pex",
        &["P-22"],
        "peers that name ten thousand others a second, unasked",
        [ScenePeers::Hostile(3, "pex_flood=10000"), ScenePeers::Hostile(2, "pex_flood=100,never_unchoke")],
        &[Provoked, HonestDials(1), MemoryAtMost(64)]
    ),
    among_three!(
        "P-23.metadata",
        &["P-23"],
        "lies about metadata: no size, too large, negative; wrong pieces",
        [
            ScenePeers::Hostile(1, "metadata_size=0,metadata_reject"),
            ScenePeers::Hostile(1, "metadata_size=1,metadata_wrong_hash"),
            ScenePeers::Hostile(1, "metadata_size=3221225472,metadata_wrong_piece"),
            ScenePeers::Hostile(1, "metadata_size=-1,metadata_wrong_hash"),
            ScenePeers::Hostile(1, "metadata_size=99999999999999999999,metadata_reject")
        ],
        &[Provoked, HonestDials(1), MemoryAtMost(64)]
    ),
    among_three!(
        "P-24.bombs",
        &["P-24"],
        "extended handshakes: nested lists, a name of a megabyte, impossible numbers",
        [
            ScenePeers::Hostile(2, "extended_deep=10000"),
            ScenePeers::Hostile(1, "extended_deep=130000"),
            ScenePeers::Hostile(2, "extended_name=1000000"),
            ScenePeers::Hostile(2, "extended_numbers"),
            ScenePeers::Hostile(1, "extended_name=100000")
        ],
        &[Provoked, HonestDials(1), MemoryAtMost(64), SaysNoEscapes]
    ),
];

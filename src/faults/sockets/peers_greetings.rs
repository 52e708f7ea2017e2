//! Peers that cannot be reached, or spoil the handshake (P-01 to P-05).

use super::NetCriterion::{HonestDials, HostileDials, Provoked};
use super::{NetScene, ScenePeers};

pub(super) const SCENES: &[NetScene] = &[
    among_three!(
        "P-01.unreachable",
        &["P-01"],
        "thirty refuse, five answer no SYN",
        [ScenePeers::Dead(30), ScenePeers::FullHouses(5)],
        &[HonestDials(1)]
    ),
    among_three!(
        "P-02.silent",
        &["P-02"],
        "twenty accept and are silent, ten greet a byte a second",
        [ScenePeers::Hostile(15, "silent"), ScenePeers::Hostile(10, "slow_handshake=1s")],
        &[Provoked, HonestDials(1), HostileDials(1)]
    ),
    among_three!(
        "P-03.reset",
        &["P-03"],
        "ten reset behind the handshake, every time",
        [ScenePeers::Hostile(10, "reset_on_handshake")],
        &[Provoked, HonestDials(1), HostileDials(3)]
    ),
    among_three!(
        "P-04.strangers",
        &["P-04"],
        "peers of another torrent, and of another protocol",
        [ScenePeers::Hostile(5, "wrong_hash"), ScenePeers::Hostile(5, "wrong_protocol")],
        &[Provoked, HonestDials(1), HostileDials(1)]
    ),
    among_three!(
        "P-05.ids",
        &["P-05"],
        "peers with our own id, and three with the same id",
        [ScenePeers::Hostile(3, "own_id"), ScenePeers::Hostile(3, "id=-XX0001-sameforever!,max_rate=100k")],
        &[Provoked, HonestDials(1)]
    ),
];

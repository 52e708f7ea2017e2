//! Peers that cannot be reached, or spoil the handshake (P-01 to P-05).

use super::Criterion::{HonestDials, HostileDials, Provoked};
use super::{Role, Scene};

pub(super) const SCENES: &[Scene] = &[
    among_three!(
        "P-01.unreachable",
        &["P-01"],
        "thirty refuse, five answer no SYN",
        [Role::Dead(30), Role::FullHouses(5)],
        &[HonestDials(1)]
    ),
    among_three!(
        "P-02.silent",
        &["P-02"],
        "twenty accept and are silent, ten greet a byte a second",
        [Role::Hostile(15, "silent"), Role::Hostile(10, "slow_handshake=1s")],
        &[Provoked, HonestDials(1), HostileDials(1)]
    ),
    among_three!(
        "P-03.reset",
        &["P-03"],
        "ten reset behind the handshake, every time",
        [Role::Hostile(10, "reset_on_handshake")],
        &[Provoked, HonestDials(1), HostileDials(3)]
    ),
    among_three!(
        "P-04.strangers",
        &["P-04"],
        "peers of another torrent, and of another protocol",
        [Role::Hostile(5, "wrong_hash"), Role::Hostile(5, "wrong_protocol")],
        &[Provoked, HonestDials(1), HostileDials(1)]
    ),
    among_three!(
        "P-05.ids",
        &["P-05"],
        "peers with our own id, and three with the same id",
        [Role::Hostile(3, "own_id"), Role::Hostile(3, "id=-XX0001-sameforever!,max_rate=100k")],
        &[Provoked, HonestDials(1)]
    ),
];

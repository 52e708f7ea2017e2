//! Scripts: each input, and every effect that must follow.

mod hostile;

use std::fmt::Write;
use std::time::Duration;

use super::*;
use crate::base::geometry::Geometry;
use crate::base::ids::InfoHash;
use crate::base::limits::MAX_REQUEST_LEN;
use crate::codec::extended::{Pex, PexPeer, flag};
use crate::logic::testing::base_instant;

/// Three pieces of two blocks, and a short one of one block and a hundred bytes.
const PIECE_LEN: u32 = 32 * 1024;
const BLOCK: u32 = 16 * 1024;
const TOTAL: u64 = 3 * PIECE_LEN as u64 + BLOCK as u64 + 100;

fn geometry() -> Geometry {
    Geometry::new(TOTAL, PIECE_LEN.into()).unwrap()
}

/// `2.1` is block 1 of piece 2.
fn block(name: &str) -> BlockAddr {
    let (piece, number) = name.split_once('.').unwrap();
    geometry().block(geometry().piece(piece.parse().unwrap()).unwrap(), number.parse().unwrap()).unwrap()
}

fn blocks(names: &str) -> Vec<BlockAddr> {
    names.split(' ').map(block).collect()
}

fn pieces(numbers: &[u32]) -> Bitfield {
    let mut set = Bitfield::none(4);
    for number in numbers {
        set.set(geometry().piece(*number).unwrap());
    }
    set
}

fn bitfield(numbers: &[u32]) -> Message {
    Message::Bitfield(Bytes::copy_from_slice(pieces(numbers).as_bytes()))
}

/// The `piece` message that answers a request for the block.
fn answer(name: &str) -> Message {
    let addr = block(name);
    Message::Piece { piece: addr.piece().get(), begin: addr.begin(), data: vec![7; addr.len() as usize].into() }
}

fn request(piece: u32, begin: u32, len: u32) -> Message {
    Message::Request(RawRequest { piece, begin, len })
}

/// The `reject` of a request for the block.
fn no(name: &str) -> Message {
    Message::Reject(raw(block(name)))
}

fn named<'a>(word: &str, blocks: impl IntoIterator<Item = &'a BlockAddr>) -> String {
    blocks.into_iter().fold(word.to_owned(), |mut text, block| {
        write!(text, " {}.{}", block.piece(), block.number()).unwrap();
        text
    })
}

fn sent(message: &Message) -> String {
    let name = message.name();
    match message {
        Message::Have(piece) | Message::AllowedFast(piece) => format!("→ {name} {piece}"),
        Message::Bitfield(bytes) => format!("→ {name} {:04b}", bytes[0] >> 4),
        Message::Request(RawRequest { piece, begin, .. }) | Message::Cancel(RawRequest { piece, begin, .. }) => {
            format!("→ {name} {piece}.{}", begin / BLOCK)
        }
        Message::Extended { id, payload } => format!("→ {id} {}", payload.escape_ascii()),
        Message::Reject(RawRequest { piece, begin, len }) => format!("→ no {piece}:{begin}+{len}"),
        _ => format!("→ {name}"),
    }
}

fn shown(effect: &PeerEffect) -> String {
    match effect {
        PeerEffect::Send(message) => sent(message),
        PeerEffect::Give(range, data) => format!("gives {}:{}+{}", range.piece(), range.begin(), data.len()),
        PeerEffect::Read(ranges) => ranges.iter().fold("read".to_owned(), |text, range| {
            format!("{text} {}:{}+{}", range.piece(), range.begin(), range.len())
        }),
        PeerEffect::Report(SchedulerNotice::Bitfield(set)) => format!("has {:04b}", set.as_bytes()[0] >> 4),
        PeerEffect::Report(SchedulerNotice::Have(pieces)) => {
            pieces.iter().fold("got".to_owned(), |text, piece| format!("{text} {piece}"))
        }
        PeerEffect::Report(SchedulerNotice::Lost(piece)) => format!("lost {piece}"),
        PeerEffect::Report(SchedulerNotice::Within(None)) => "within all".to_owned(),
        PeerEffect::Report(SchedulerNotice::Within(Some(pieces))) => {
            pieces.iter().fold("within".to_owned(), |text, piece| format!("{text} {piece}"))
        }
        PeerEffect::Report(SchedulerNotice::Depth(0)) => "depth 0".to_owned(),
        PeerEffect::Report(SchedulerNotice::Depth(_)) => "depth".to_owned(),
        PeerEffect::Report(SchedulerNotice::Blocks(blocks)) => named("blocks", blocks.iter().map(|block| &block.addr)),
        PeerEffect::Report(SchedulerNotice::Returned(blocks)) => named("returned", blocks),
        PeerEffect::PeerInterested(true) => "peer wants".to_owned(),
        PeerEffect::PeerInterested(false) => "peer wants no more".to_owned(),
        PeerEffect::PeersNamed(addrs) => addrs.iter().fold("names".to_owned(), |text, addr| format!("{text} {addr}")),
        PeerEffect::PeerHas(pieces) => {
            pieces.iter().fold("peer has".to_owned(), |text, piece| format!("{text} {piece}"))
        }
        PeerEffect::Introduced(theirs) => format!("is {theirs:?}"),
        PeerEffect::Delivered => "delivered".to_owned(),
        PeerEffect::Served => "served".to_owned(),
        PeerEffect::Leave(farewell) => format!("leave: {farewell}"),
    }
}

fn terms(geometry: Geometry, fast: bool) -> Terms {
    let ip = [80, 4, 4, 200].into();
    let info_hash = InfoHash([0xaa; 20]);
    let (listen_port, max_up_bps) = (Some(6881), None);
    Terms { geometry, info_hash, ip, fast, extended: false, listen_port, max_up_bps, pex: false, super_seed: false }
}

/// A protocol state and its clock.
struct Talk {
    now: Instant,
    it: PeerProtocol,
}

impl Talk {
    /// After both handshakes, before any welcome.
    fn fresh() -> Self {
        let now = base_instant();
        Self { now, it: PeerProtocol::new(now, terms(geometry(), false)) }
    }

    /// The same with a peer that supports the Fast extension.
    fn fast(have: &[u32]) -> Self {
        let mut talk = Self::fresh();
        talk.it = PeerProtocol::new(talk.now, terms(geometry(), true));
        talk.does(|it, now| it.on_welcome(now, pieces(have)));
        talk
    }

    /// The same with a peer that supports the extension protocol.
    fn extended(have: &[u32]) -> Self {
        let mut talk = Self::fresh();
        talk.it = PeerProtocol::new(talk.now, Terms { extended: true, ..terms(geometry(), false) });
        talk.does(|it, now| it.on_welcome(now, pieces(have)));
        talk
    }

    /// Welcomed by a scheduler that has `have`; the effects of that are dropped.
    fn welcomed(have: &[u32]) -> Self {
        let mut talk = Self::fresh();
        talk.does(|it, now| it.on_welcome(now, pieces(have)));
        talk
    }

    /// With a seed that unchokes us, and our interest in it.
    fn with_seed() -> Self {
        let mut talk = Self::welcomed(&[]);
        talk.does(|it, now| it.on_interest(now, true));
        talk.hears([bitfield(&[0, 1, 2, 3]), Message::Unchoke]);
        talk
    }

    /// With a peer without pieces that we have unchoked and that is interested.
    fn with_leech(have: &[u32]) -> Self {
        let mut talk = Self::welcomed(have);
        talk.hears([Message::Interested]);
        talk.does(|it, now| it.on_choke_decision(now, false));
        talk
    }

    /// Every effect of `input`, separated by `, `.
    fn does(&mut self, input: impl FnOnce(&mut PeerProtocol, Instant)) -> String {
        input(&mut self.it, self.now);
        let effects: Vec<String> = std::iter::from_fn(|| self.it.poll()).map(|effect| shown(&effect)).collect();
        effects.join(", ")
    }

    /// The read finishes with blocks of these lengths.
    fn reads(&mut self, lens: impl IntoIterator<Item = u32>) -> String {
        let blocks: Vec<_> = lens.into_iter().map(|len| Some(vec![7; len as usize].into())).collect();
        self.does(|it, now| it.on_read(now, blocks))
    }

    fn hears(&mut self, messages: impl IntoIterator<Item = Message>) -> String {
        self.does(|it, now| it.on_messages(now, messages))
    }

    fn granted(&mut self, names: &str) -> String {
        self.does(|it, now| it.on_grant(now, &blocks(names)))
    }

    /// Moves to the next deadline and calls `on_timeout`, as the shell does. Returns the seconds until then and the
    /// effects.
    fn waits(&mut self) -> (u64, String) {
        let due = self.it.deadline().unwrap();
        let waited = due.saturating_duration_since(self.now).as_secs();
        self.now = due;
        (waited, self.does(PeerProtocol::on_timeout))
    }

    fn passes(&mut self, secs: u64) {
        self.now += Duration::from_secs(secs);
    }
}

/// P-06, P-07, P-08, P-19, W-04: what a peer may say of its pieces, and in which order.
#[test]
fn a_peer_says_what_it_has_once_and_first() {
    let violation = "leave: protocol-violation";
    let table: Vec<(Vec<Message>, &str)> = vec![
        (vec![bitfield(&[0, 2])], "has 1010"),
        (vec![Message::HaveAll], "has 1111"),
        (vec![Message::HaveNone], "has 0000"),
        (vec![Message::Have(1), Message::Have(3)], "got 1 3"),
        (vec![Message::Have(1), Message::Have(1)], "got 1"),
        (vec![bitfield(&[1]), Message::Have(1), Message::Have(2)], "has 0100, got 2"),
        (vec![Message::Unchoke, Message::Interested, bitfield(&[0])], "has 1000, peer wants"),
        (vec![bitfield(&[0]), bitfield(&[0])], "has 1000, leave: protocol-violation"),
        (vec![bitfield(&[0]), Message::HaveAll], "has 1000, leave: protocol-violation"),
        (vec![bitfield(&[0]), bitfield(&[0, 2, 3])], "has 1000, got 2 3"),
        (vec![Message::HaveNone, bitfield(&[0])], "has 0000, got 0"),
        (vec![bitfield(&[0, 1]), bitfield(&[0, 2])], "has 1100, leave: protocol-violation"),
        (vec![Message::HaveAll, bitfield(&[0, 1, 2, 3])], "has 1111, leave: protocol-violation"),
        (vec![Message::Have(1), bitfield(&[0])], "leave: protocol-violation, got 1"),
        (vec![Message::Have(4)], violation),
        (vec![Message::Bitfield(Bytes::from_static(&[0b1000_1000]))], violation),
        (vec![Message::Bitfield(Bytes::from_static(&[0, 0]))], violation),
        (vec![Message::Bitfield(Bytes::new())], violation),
        (vec![Message::KeepAlive, Message::Port(1), Message::Suggest(0), Message::AllowedFast(0)], ""),
    ];
    for (messages, want) in table {
        let told = format!("{messages:?}");
        assert_eq!(Talk::welcomed(&[]).hears(messages), want, "{told}");
    }
}

#[test]
fn no_message_is_handled_after_a_violation() {
    let mut talk = Talk::welcomed(&[]);
    assert_eq!(
        talk.hears([Message::Have(4), bitfield(&[0]), Message::Interested, Message::Have(9)]),
        "leave: protocol-violation"
    );
    assert_eq!(talk.hears([Message::Interested]), "");
}

#[test]
fn blocks_that_came_before_a_violation_are_not_lost() {
    let mut talk = Talk::with_seed();
    talk.granted("0.0");
    let heard = talk.hears([answer("0.0"), Message::Have(4), Message::Interested]);
    assert_eq!(heard, "delivered, leave: protocol-violation, blocks 0.0");
}

#[test]
fn our_bitfield_goes_out_first_and_only_when_there_is_something_in_it() {
    assert_eq!(Talk::fresh().does(|it, now| it.on_welcome(now, pieces(&[]))), "");
    assert_eq!(Talk::fresh().does(|it, now| it.on_welcome(now, pieces(&[1, 3]))), "→ bitfield 0101");
}

/// "'bitfield' is only ever sent as the first message" (BEP 3), also to a peer that is interested before the welcome.
#[test]
fn an_unchoke_waits_for_our_bitfield() {
    let mut talk = Talk::fresh();
    talk.hears([Message::Interested]);
    assert_eq!(talk.does(|it, now| it.on_choke_decision(now, false)), "");
    assert_eq!(talk.does(|it, now| it.on_welcome(now, pieces(&[1, 3]))), "→ bitfield 0101, → unchoke");
    let mut talk = Talk::fresh();
    talk.does(|it, now| it.on_choke_decision(now, false));
    talk.does(|it, now| it.on_choke_decision(now, true));
    assert_eq!(talk.does(|it, now| it.on_welcome(now, pieces(&[1]))), "→ bitfield 0100");
}

#[test]
fn messages_before_the_welcome_are_reported_after_it() {
    let mut talk = Talk::fresh();
    assert_eq!(talk.hears([bitfield(&[0]), Message::Have(2)]), "");
    assert_eq!(talk.does(|it, now| it.on_welcome(now, pieces(&[]))), "has 1010");
}

#[test]
fn interest_is_said_when_it_changes() {
    let mut talk = Talk::welcomed(&[]);
    assert_eq!(talk.does(|it, now| it.on_interest(now, false)), "");
    assert_eq!(talk.does(|it, now| it.on_interest(now, true)), "→ interested");
    assert_eq!(talk.does(|it, now| it.on_interest(now, true)), "");
    assert_eq!(talk.does(|it, now| it.on_interest(now, false)), "→ not interested");
}

#[test]
fn depth_is_told_when_we_may_and_want_to_ask() {
    let mut talk = Talk::welcomed(&[]);
    assert_eq!(talk.hears([bitfield(&[0, 1, 2, 3])]), "has 1111");
    assert_eq!(talk.hears([Message::Unchoke]), "", "we want nothing yet");
    assert_eq!(talk.does(|it, now| it.on_interest(now, true)), "→ interested, depth");
    assert_eq!(talk.hears([Message::Unchoke]), "", "once");
}

#[test]
fn granted_blocks_are_asked_for_and_come() {
    let mut talk = Talk::with_seed();
    assert_eq!(talk.granted("0.0 0.1"), "→ request 0.0, → request 0.1");
    assert_eq!(talk.it.view(talk.now).outstanding, 2);
    assert_eq!(talk.hears([answer("0.0")]), "delivered, blocks 0.0, depth", "the depth is told again after blocks");
    assert_eq!(talk.hears([answer("0.1")]), "blocks 0.1, depth", "delivered is said once");
    assert_eq!(talk.granted("1.0 3.1"), "→ request 1.0, → request 3.1");
    assert_eq!(talk.hears([answer("3.1"), answer("1.0")]), "blocks 3.1 1.0, depth", "in one message, in any order");
}

#[test]
fn a_block_granted_twice_is_asked_for_once() {
    let mut talk = Talk::with_seed();
    assert_eq!(talk.granted("0.0"), "→ request 0.0");
    assert_eq!(talk.granted("0.0"), "");
}

#[test]
fn a_choke_returns_what_is_outstanding_and_withdraws_the_depth() {
    let mut talk = Talk::with_seed();
    talk.granted("0.0 0.1 1.0");
    assert_eq!(talk.hears([answer("0.1"), Message::Choke]), "delivered, blocks 0.1, returned 0.0 1.0, depth 0");
    assert_eq!(talk.hears([Message::Unchoke]), "depth");
    assert_eq!(talk.granted("0.0"), "→ request 0.0");
}

/// P-11: the scheduler forgets the depth of a peer that chokes, so it must be told again.
#[test]
fn a_choke_without_anything_outstanding_does_not_end_the_asking() {
    let mut talk = Talk::with_seed();
    assert_eq!(talk.hears([Message::Choke]), "depth 0");
    assert_eq!(talk.hears([Message::Unchoke]), "depth");
    assert_eq!(talk.hears([Message::Choke, Message::Unchoke]), "depth 0, depth");
}

#[test]
fn a_grant_that_crosses_a_choke_is_handed_back() {
    let mut talk = Talk::with_seed();
    talk.hears([Message::Choke]);
    assert_eq!(talk.granted("0.0 0.1"), "returned 0.0 0.1");
}

#[test]
fn a_reject_hands_its_block_back_once() {
    let mut talk = Talk::with_seed();
    talk.granted("0.0 0.1");
    let RawRequest { piece, begin, len } = raw(block("0.1"));
    let reject = || Message::Reject(RawRequest { piece, begin, len });
    assert_eq!(talk.hears([reject()]), "returned 0.1, depth");
    assert_eq!(talk.hears([reject()]), "", "it is no longer outstanding");
    assert_eq!(talk.hears([Message::Reject(RawRequest { piece: 9, begin: 0, len: 0 })]), "");
}

#[test]
fn a_cancel_is_sent_only_for_what_the_peer_still_owes() {
    let mut talk = Talk::with_seed();
    talk.granted("0.0");
    assert_eq!(
        talk.does(|it, now| it.on_cancel(now, &blocks("0.0 1.0"))),
        "→ cancel 0.0, depth",
        "there is room again"
    );
    assert_eq!(talk.does(|it, now| it.on_cancel(now, &blocks("0.0"))), "");
}

/// P-16, P-17: blocks without a request.
#[test]
fn ten_blocks_without_a_request_are_too_many() {
    let wrong_place = || Message::Piece { piece: 0, begin: 1, data: Bytes::from_static(&[0; 16]) };
    let unasked: [fn() -> Message; 3] =
        [|| answer("2.0"), || Message::Piece { piece: 99, begin: 0, data: Bytes::new() }, wrong_place];
    for unasked in unasked {
        let mut talk = Talk::with_seed();
        for _ in 0..9 {
            assert_eq!(talk.hears([unasked()]), "");
        }
        assert_eq!(talk.hears([unasked()]), "leave: protocol-violation");
    }
}

#[test]
fn a_late_block_is_welcome_and_no_offence() {
    let mut talk = Talk::with_seed();
    talk.granted("0.0");
    talk.hears([Message::Choke]);
    talk.passes(29);
    assert_eq!(talk.hears([answer("0.0")]), "delivered, blocks 0.0");
}

/// P-10, W-04: unknown messages.
#[test]
fn sixty_unknown_messages_a_minute_are_tolerated() {
    let unknown = |n: u8| {
        if n.is_multiple_of(2) {
            Message::Unknown { id: 99, len: 1 }
        } else {
            Message::Extended { id: n, payload: Bytes::new() }
        }
    };
    let mut talk = Talk::welcomed(&[]);
    for _minute in 0..5 {
        assert_eq!(talk.hears((0..60).map(unknown)), "");
        talk.passes(60);
    }
    assert_eq!(talk.hears((0..61).map(unknown)), "leave: protocol-violation");
}

#[test]
fn requests_are_answered_while_unchoked() {
    let mut talk = Talk::with_leech(&[0, 1]);
    assert_eq!(talk.hears([request(0, 0, BLOCK), request(1, 5, 7)]), "read 0:0+16384 1:5+7");
    assert_eq!(talk.hears([request(0, BLOCK, BLOCK)]), "", "one read at a time");
    assert_eq!(
        talk.does(|it, now| it.on_read(now, [])),
        "read 0:16384+16384",
        "also after a read that brought nothing"
    );
    assert_eq!(talk.it.view(talk.now).sent, 0);
    assert_eq!(talk.reads([BLOCK]), "gives 0:16384+16384");
    assert_eq!(talk.it.view(talk.now).sent, u64::from(BLOCK));
    assert_eq!(talk.it.view(talk.now).up_bps, 0, "nothing has gone yet");
    talk.does(|it, now| it.on_sent(now, BLOCK as usize, 0));
    assert!(talk.it.view(talk.now).up_bps > 0);
}

/// P-20, P-21: requests that are dropped, that are ignored, and that close the connection.
#[test]
fn requests_that_cannot_be_answered() {
    let table: Vec<(Talk, Message, &str)> = vec![
        (Talk::welcomed(&[0]), request(0, 0, BLOCK), ""),
        (Talk::welcomed(&[0]), request(99, 0, BLOCK), ""),
        (Talk::with_leech(&[0]), request(1, 0, BLOCK), ""),
        (Talk::with_leech(&[0]), request(4, 0, BLOCK), "leave: protocol-violation"),
        (Talk::with_leech(&[0]), request(0, 0, 0), "leave: protocol-violation"),
        (Talk::with_leech(&[0]), request(0, PIECE_LEN - 1, 2), "leave: protocol-violation"),
        (Talk::with_leech(&[0]), request(0, u32::MAX, BLOCK), "leave: protocol-violation"),
        (Talk::with_leech(&[0]), request(0, 0, 1 << 31), "leave: protocol-violation"),
        (Talk::with_leech(&[3]), request(3, 0, BLOCK + 101), "leave: protocol-violation"),
        (Talk::with_leech(&[3]), request(3, 0, BLOCK + 100), "read 3:0+16484"),
    ];
    for (mut talk, message, want) in table {
        let told = format!("{message:?}");
        assert_eq!(talk.hears([message]), want, "{told}");
    }
    let wide = Geometry::new(1 << 20, 1 << 20).unwrap();
    for (len, want) in [(MAX_REQUEST_LEN, "read 0:0+131072"), (MAX_REQUEST_LEN + 1, "leave: protocol-violation")] {
        let mut talk = Talk::fresh();
        talk.it = PeerProtocol::new(talk.now, terms(wide, false));
        talk.does(|it, now| it.on_welcome(now, Bitfield::all(1)));
        talk.does(|it, now| it.on_choke_decision(now, false));
        assert_eq!(talk.hears([request(0, 0, len)]), want, "{len} bytes");
    }
}

#[test]
fn a_flood_of_requests_ends_it() {
    let mut talk = Talk::with_leech(&[0]);
    assert!(talk.hears((0..2000).map(|_| request(0, 0, 1))).starts_with("read "));
    assert_eq!(talk.hears([request(0, 0, 1)]), "leave: protocol-violation");
}

#[test]
fn requests_are_forgotten_by_a_choke_and_by_a_cancel() {
    let mut talk = Talk::with_leech(&[0]);
    talk.hears([request(0, 0, 1)]);
    talk.hears([request(0, 1, 1), request(0, 2, 1), Message::Cancel(RawRequest { piece: 0, begin: 1, len: 1 })]);
    assert_eq!(talk.reads([1]), "gives 0:0+1, read 0:2+1");
    talk.hears([request(0, 3, 1)]);
    assert_eq!(talk.does(|it, now| it.on_choke_decision(now, true)), "→ choke");
    assert_eq!(talk.reads([1]), "", "not after the choke");
    assert_eq!(talk.does(|it, now| it.on_choke_decision(now, true)), "", "said once");
    assert_eq!(talk.does(|it, now| it.on_choke_decision(now, false)), "→ unchoke");
}

/// P-21: a peer that does not read.
#[test]
fn nothing_more_is_read_for_a_peer_that_does_not_take_it() {
    let mut talk = Talk::with_leech(&[0]);
    talk.hears([request(0, 0, 1)]);
    talk.hears((0..12).map(|_| request(0, 0, BLOCK)));
    assert!(talk.reads([1]).starts_with("gives 0:0+1, read 0:0+16384 "));
    assert_eq!(talk.reads([BLOCK; 8]), "gives 0:0+16384", "more than a block waits for the socket");
    talk.does(|it, now| it.on_sent(now, 0, BLOCK as usize + 14));
    assert_eq!(talk.hears([request(0, 0, 2)]), "");
    assert_eq!(talk.does(|it, now| it.on_sent(now, 15, BLOCK as usize - 1)), "gives 0:0+16384");
}

#[test]
fn the_choker_hears_of_interest_when_it_changes() {
    let mut talk = Talk::welcomed(&[0]);
    assert_eq!(talk.hears([Message::NotInterested]), "");
    assert_eq!(talk.hears([Message::Interested, Message::Interested]), "peer wants");
    assert_eq!(talk.hears([Message::NotInterested]), "peer wants no more");
}

#[test]
fn a_new_piece_is_told_to_peers_that_lack_it() {
    let had = |talk: &mut Talk| {
        let new = [geometry().piece(0).unwrap(), geometry().piece(1).unwrap()];
        talk.does(|it, now| it.on_pieces_had(now, &new))
    };
    let mut talk = Talk::welcomed(&[]);
    talk.hears([bitfield(&[0])]);
    assert_eq!(had(&mut talk), "→ have 1");
    talk.hears([Message::Interested]);
    talk.does(|it, now| it.on_choke_decision(now, false));
    assert_eq!(talk.hears([request(1, 0, 1)]), "read 1:0+1", "and can be asked for");
}

/// BEP 16: a peer that announces a piece and waits until another peer has it is told. A peer that announces many does
/// not need it.
#[test]
fn a_peer_that_names_its_pieces_one_by_one_is_told_that_we_have_got_them() {
    let had = |talk: &mut Talk, number| {
        let new = [geometry().piece(number).unwrap()];
        talk.does(|it, now| it.on_pieces_had(now, &new))
    };
    for opening in [None, Some(bitfield(&[])), Some(Message::HaveNone)] {
        let mut talk = Talk::welcomed(&[]);
        talk.hears(opening.clone());
        talk.hears([Message::Have(2)]);
        assert_eq!(had(&mut talk, 2), "→ have 2", "{opening:?}");
        talk.hears([Message::Have(0)]);
        assert_eq!(had(&mut talk, 0), "→ have 0", "{opening:?}");
    }
    let mut talk = Talk::welcomed(&[]);
    talk.hears([bitfield(&[1, 2])]);
    assert_eq!(had(&mut talk, 2), "");

    let geometry = Geometry::new(1000 * u64::from(PIECE_LEN), PIECE_LEN.into()).unwrap();
    let mut talk = Talk { now: base_instant(), it: PeerProtocol::new(base_instant(), terms(geometry, false)) };
    talk.does(|it, now| it.on_welcome(now, Bitfield::none(1000)));
    talk.hears((0..100).map(Message::Have));
    let new: Vec<_> = geometry.pieces().take(99).collect();
    talk.it.on_pieces_had(talk.now, &new[..90]);
    assert_eq!(haves_in(&mut talk).len(), 0, "there are ten left that we lack");
    talk.it.on_pieces_had(talk.now, &new[90..]);
    assert_eq!(haves_in(&mut talk), (91..99).collect::<Vec<_>>(), "and now eight");
}

/// BEP 16: it "masquerades as a normal client with no data", and serves what it has announced.
#[test]
fn a_super_seed_shows_and_serves_only_what_it_has_named() {
    let mut talk = Talk::fresh();
    talk.it = PeerProtocol::new(talk.now, Terms { super_seed: true, ..terms(geometry(), true) });
    assert_eq!(talk.does(|it, now| it.on_welcome(now, pieces(&[0, 1, 2, 3]))), "→ have none");
    assert_eq!(talk.hears([bitfield(&[3])]), "peer has 3, has 0001");
    talk.hears([Message::Interested]);
    talk.does(|it, now| it.on_choke_decision(now, false));
    assert_eq!(talk.hears([request(1, 0, 1)]), "→ no 1:0+1");
    let piece = |number| geometry().piece(number).unwrap();
    assert_eq!(talk.does(|it, now| it.on_named(now, piece(1))), "→ have 1");
    assert_eq!(talk.does(|it, now| it.on_named(now, piece(1))), "", "once");
    assert_eq!(talk.hears([request(1, 0, 1)]), "read 1:0+1");
    assert_eq!(talk.hears([Message::Have(1)]), "peer has 1, got 1");
    assert_eq!(
        talk.does(|it, now| it.on_welcome(now, pieces(&[0, 1, 2, 3]))),
        "peer has 1 3, has 0101",
        "a new scheduler"
    );
    let last = talk.hears([Message::Have(0), Message::Have(2)]);
    assert_eq!(last, "peer has 0 2, got 0 2, leave: both-seeds", "we are one too");
}

#[test]
fn two_seeds_have_nothing_to_say_to_each_other() {
    let mut talk = Talk::welcomed(&[0, 1, 2, 3]);
    assert_eq!(talk.hears([bitfield(&[0, 1, 2])]), "has 1110");
    assert_eq!(talk.hears([Message::Have(3)]), "got 3, leave: both-seeds");
    let mut talk = Talk::welcomed(&[0, 1, 2]);
    talk.hears([Message::HaveAll]);
    let last = [geometry().piece(3).unwrap()];
    assert_eq!(talk.does(|it, now| it.on_pieces_had(now, &last)), "leave: both-seeds");
}

#[test]
fn a_keep_alive_leaves_after_a_hundred_seconds_and_silence_ends_it_after_two_minutes() {
    let mut talk = Talk::welcomed(&[]);
    assert_eq!(talk.waits(), (100, "→ keep-alive".to_owned()));
    assert_eq!(talk.waits(), (20, "leave: silent".to_owned()));
}

#[test]
fn any_message_ends_the_silence() {
    let mut talk = Talk::welcomed(&[]);
    for _ in 0..5 {
        talk.passes(90);
        talk.hears([Message::KeepAlive]);
        assert_eq!(talk.waits().1, "→ keep-alive");
    }
    assert_eq!(talk.waits(), (100, "→ keep-alive".to_owned()), "heard 10 s ago, so that there are 10 s more");
    assert_eq!(talk.waits(), (10, "leave: silent".to_owned()));
}

/// A failed read sends nothing, and so is no sign of life for the peer.
#[test]
fn a_failed_read_does_not_put_off_the_keep_alive() {
    let mut talk = Talk::with_leech(&[0]);
    talk.passes(50);
    talk.hears([request(0, 0, 1)]);
    talk.does(|it, now| it.on_read(now, []));
    assert_eq!(talk.waits(), (50, "→ keep-alive".to_owned()));
}

/// P-21: a socket that takes nothing.
#[test]
fn a_peer_that_takes_nothing_for_a_minute_is_left() {
    let mut talk = Talk::welcomed(&[]);
    talk.does(|it, now| it.on_sent(now, 0, 10));
    talk.passes(59);
    talk.does(|it, now| it.on_sent(now, 0, 20));
    assert_eq!(talk.waits(), (1, "leave: write-stalled".to_owned()));

    let mut talk = Talk::welcomed(&[]);
    talk.does(|it, now| it.on_sent(now, 0, 10));
    talk.passes(59);
    talk.does(|it, now| it.on_sent(now, 1, 9));
    assert_eq!(talk.waits(), (41, "→ keep-alive".to_owned()), "one byte is a minute more");
    assert_eq!(talk.waits(), (19, "leave: write-stalled".to_owned()));

    let mut talk = Talk::welcomed(&[]);
    talk.does(|it, now| it.on_sent(now, 0, 10));
    talk.does(|it, now| it.on_sent(now, 10, 0));
    assert_eq!(talk.waits(), (100, "→ keep-alive".to_owned()), "nothing waits any more");
}

#[test]
fn overdue_blocks_are_handed_back_before_the_peer_is_given_up() {
    let mut talk = Talk::with_seed();
    talk.granted("0.0 0.1");
    let (secs, what) = talk.waits();
    assert!(secs <= 20 && what.starts_with("returned 0.0 0.1"), "after {secs} s: {what}");
    assert_eq!(talk.hears([answer("0.0")]), "delivered, blocks 0.0, depth", "and are welcome all the same");
}

/// The scheduler was restarted: it knows neither the pieces of the peer nor our requests.
#[test]
fn a_second_welcome_introduces_the_peer_again() {
    let mut talk = Talk::with_seed();
    talk.granted("0.0");
    assert_eq!(talk.does(|it, now| it.on_welcome(now, pieces(&[]))), "has 1111, depth");
    assert_eq!(talk.it.view(talk.now).outstanding, 0);
    assert_eq!(talk.hears([answer("0.0")]), "delivered, blocks 0.0, depth", "what still comes is no offence");
    talk.hears([Message::Choke]);
    assert_eq!(talk.does(|it, now| it.on_welcome(now, pieces(&[]))), "has 1111", "choked is still choked");
    assert_eq!(talk.granted("0.1"), "returned 0.1");
}

/// Pieces that were written while there was no scheduler.
#[test]
fn a_second_welcome_tells_the_peer_what_is_new() {
    let mut talk = Talk::welcomed(&[0]);
    talk.hears([bitfield(&[1])]);
    assert_eq!(talk.does(|it, now| it.on_welcome(now, pieces(&[0, 1, 2]))), "→ have 2, has 0100");
}

/// BEP 6: what we have is said in one byte where possible, and always.
#[test]
fn a_fast_peer_is_told_all_or_none_in_one_byte() {
    let welcome = |fast, have: &[u32]| {
        let mut talk = Talk::fresh();
        talk.it = PeerProtocol::new(talk.now, terms(geometry(), fast));
        talk.does(|it, now| it.on_welcome(now, pieces(have)))
    };
    assert_eq!(welcome(true, &[0, 1, 2, 3]), "→ have all");
    assert_eq!(welcome(true, &[]), "→ have none");
    assert_eq!(welcome(true, &[1]), "→ bitfield 0100");
    assert_eq!(welcome(false, &[0, 1, 2, 3]), "→ bitfield 1111");
    assert_eq!(welcome(false, &[]), "");
}

/// BEP 6: "choke no longer implicitly rejects all pending requests".
#[test]
fn a_choke_of_a_fast_peer_leaves_its_requests_to_it() {
    let mut talk = Talk::fast(&[]);
    talk.does(|it, now| it.on_interest(now, true));
    talk.hears([Message::HaveAll, Message::Unchoke]);
    talk.granted("0.0 0.1 1.0");
    assert_eq!(talk.hears([Message::Choke]), "depth 0");
    assert_eq!(talk.granted("1.1"), "returned 1.1", "that grant crossed the choke");
    assert_eq!(talk.hears([no("0.0"), no("0.1")]), "returned 0.0 0.1");
    assert_eq!(talk.hears([answer("1.0")]), "delivered, blocks 1.0");
    assert_eq!(talk.hears([Message::Unchoke]), "depth");
}

#[test]
fn a_fast_peer_that_forgets_what_it_owes_has_its_time_out() {
    let mut talk = Talk::fast(&[]);
    talk.does(|it, now| it.on_interest(now, true));
    talk.hears([Message::HaveAll, Message::Unchoke]);
    talk.granted("0.0 0.1");
    talk.hears([Message::Choke]);
    let (secs, what) = talk.waits();
    assert!(secs <= 20 && what == "returned 0.0 0.1", "after {secs} s: {what}");
}

#[test]
fn allowed_pieces_are_asked_for_though_choked() {
    let mut talk = Talk::fast(&[]);
    assert_eq!(talk.hears([Message::HaveAll, Message::AllowedFast(2)]), "has 1111, within 2");
    assert_eq!(talk.does(|it, now| it.on_interest(now, true)), "→ interested, depth");
    assert_eq!(talk.hears([Message::AllowedFast(2)]), "", "known");
    assert_eq!(talk.granted("2.0 0.0"), "→ request 2.0, returned 0.0, depth");
    assert_eq!(talk.hears([Message::Unchoke]), "within all");
    assert_eq!(talk.granted("0.0"), "→ request 0.0");
    assert_eq!(talk.hears([Message::Choke]), "depth 0, within 2, depth");
    assert_eq!(talk.hears([no("0.0")]), "returned 0.0, depth", "that piece was not promised");
    assert_eq!(talk.hears([no("2.0")]), "returned 2.0, within all", "and this one is not asked for again");
    assert_eq!(talk.granted("2.0"), "returned 2.0");
}

#[test]
fn a_new_scheduler_is_told_which_pieces_are_allowed() {
    let mut talk = Talk::fast(&[]);
    talk.does(|it, now| it.on_interest(now, true));
    talk.hears([Message::HaveAll, Message::AllowedFast(2)]);
    talk.granted("2.0");
    assert_eq!(talk.does(|it, now| it.on_welcome(now, pieces(&[]))), "has 1111, within 2, depth");
}

/// Real clients answer a request twice, or one that was cancelled long ago. That is no reason to close.
#[test]
fn stray_rejects_are_forgiven_and_floods_of_them_are_not() {
    let mut talk = Talk::fast(&[]);
    let stray = Message::Reject(RawRequest { piece: 9, begin: 1, len: 2 });
    assert_eq!(talk.hears(vec![stray.clone(); 4096]), "");
    talk.passes(60);
    assert_eq!(talk.hears(vec![no("0.0"); 4096]), "");
    assert_eq!(talk.hears([stray]), "leave: protocol-violation");
}

/// P-20, P-21, W-30: every request that is not served is answered.
#[test]
fn a_fast_peer_is_sent_a_reject() {
    let unchoked = |have: &[u32]| {
        let mut talk = Talk::fast(have);
        talk.does(|it, now| it.on_choke_decision(now, false));
        talk
    };
    assert_eq!(Talk::fast(&[0]).hears([request(0, 0, BLOCK)]), "→ no 0:0+16384", "choked");
    assert_eq!(Talk::fast(&[0]).hears([request(9, 9, 9)]), "→ no 9:9+9", "choked, and nonsense");
    assert_eq!(unchoked(&[0]).hears([request(1, 0, BLOCK)]), "→ no 1:0+16384", "not had");
    let mut talk = unchoked(&[0]);
    for _ in 0..9 {
        assert_eq!(talk.hears([request(0, 0, 1 << 31)]), "→ no 0:0+2147483648", "out of bounds");
    }
    assert_eq!(talk.hears([request(9, 9, 9)]), "→ no 9:9+9, leave: protocol-violation", "ten times");

    let mut talk = unchoked(&[0]);
    talk.hears([request(0, 0, 1), request(0, 1, 1), request(0, 2, 1)]);
    talk.hears([request(0, 3, 1), request(0, 4, 1)]);
    let cancel = Message::Cancel(RawRequest { piece: 0, begin: 3, len: 1 });
    assert_eq!(talk.hears([cancel.clone()]), "→ no 0:3+1");
    assert_eq!(talk.hears([cancel]), "", "answered once");
    assert_eq!(
        talk.does(|it, now| it.on_choke_decision(now, true)),
        "→ choke, → no 0:0+1, → no 0:1+1, → no 0:2+1, → no 0:4+1"
    );
}

/// D-04: a read that fails.
#[test]
fn a_fast_peer_is_sent_a_reject_for_a_failed_read() {
    let mut talk = Talk::fast(&[0]);
    talk.does(|it, now| it.on_choke_decision(now, false));
    talk.hears([request(0, 0, 1)]);
    assert_eq!(talk.does(|it, now| it.on_read(now, [None])), "→ no 0:0+1");
    let mut talk = Talk::with_leech(&[0]);
    talk.hears([request(0, 0, 1)]);
    assert_eq!(talk.does(|it, now| it.on_read(now, [])), "", "the peer would not understand it");
}

/// P-21: a peer that floods us with requests and reads no answer.
#[test]
fn a_flood_of_requests_to_a_choking_peer_ends_it() {
    let mut talk = Talk::fast(&[0]);
    talk.hears((0..2000).map(|_| request(0, 0, 1)));
    talk.does(|it, now| it.on_sent(now, 17 * 1000, 17 * 1000));
    talk.hears((0..1000).map(|_| request(0, 0, 1)));
    assert_eq!(talk.hears([request(0, 0, 1)]), "leave: protocol-violation");
}

#[test]
fn a_newcomer_is_given_pieces_and_served_though_choked() {
    let mut talk = Talk::fast(&[0, 1, 2, 3]);
    let given = talk.hears([Message::HaveNone]);
    assert_eq!(given.matches("→ allowed fast").count(), 4, "{given}");
    assert_eq!(talk.hears([request(0, 0, BLOCK)]), "read 0:0+16384");
    talk.hears([request(0, 0, BLOCK)]);
    talk.does(|it, now| it.on_choke_decision(now, false));
    talk.does(|it, now| it.on_choke_decision(now, true));
    assert_eq!(talk.reads([BLOCK]), "gives 0:0+16384, read 0:0+16384", "a choke does not take it back");
    assert_eq!(talk.hears([Message::Have(0)]), "got 0", "once");

    assert_eq!(Talk::welcomed(&[0, 1, 2, 3]).hears([bitfield(&[])]), "has 0000", "not spoken");
    assert_eq!(Talk::fast(&[]).hears([Message::HaveNone]), "has 0000", "nothing to give");
    let mut talk = Talk::fast(&[0, 1, 2, 3]);
    talk.it.terms.max_up_bps = Some(65536);
    assert_eq!(talk.hears([Message::HaveNone]), "has 0000", "few share a limited line");
}

fn said(id: u8, payload: &'static [u8]) -> Message {
    Message::Extended { id, payload: Bytes::from_static(payload) }
}

/// An extended handshake with the numbers 1, 2 and 3 and a `reqq` of 5.
const INTRODUCTION: &[u8] = b"d1:md11:lt_donthavei2e11:upload_onlyi3e6:ut_pexi1ee4:reqqi3ee";

/// BEP 10, BEP 21: our extended handshake.
#[test]
fn we_introduce_ourselves_behind_our_bitfield() {
    let welcome = |have: &[u32]| {
        let mut talk = Talk::fresh();
        talk.it = PeerProtocol::new(talk.now, Terms { extended: true, ..terms(geometry(), true) });
        talk.does(|it, now| it.on_welcome(now, pieces(have)))
    };
    let numbers = "d1:md11:lt_donthavei7e11:upload_onlyi3ee1:pi6881e4:reqqi2000e";
    let name = format!("tt-actors {}", env!("CARGO_PKG_VERSION"));
    let us = format!("1:v{}:{name}6:yourip4:P\\x04\\x04\\xc8e", name.len());
    assert_eq!(welcome(&[0]), format!("→ bitfield 1000, → 0 {numbers}{us}"));
    assert_eq!(welcome(&[0, 1, 2, 3]), format!("→ have all, → 0 {numbers}11:upload_onlyi1e{us}"));
}

/// BEP 10: `reqq` limits our outstanding requests.
#[test]
fn no_more_blocks_are_requested_than_the_peer_keeps() {
    let mut talk = Talk::extended(&[]);
    talk.does(|it, now| it.on_interest(now, true));
    assert!(talk.hears([said(0, INTRODUCTION)]).starts_with("is ExtendedHandshake"));
    talk.it.on_messages(talk.now, [bitfield(&[0, 1, 2, 3]), Message::Unchoke]);
    let depth = std::iter::from_fn(|| talk.it.poll()).find_map(|effect| match effect {
        PeerEffect::Report(SchedulerNotice::Depth(depth)) => Some(depth),
        _ => None,
    });
    assert_eq!(depth, Some(3));
}

/// BEP 54: `lt_donthave`.
#[test]
fn lost_pieces_are_told_and_heard() {
    let lost = |talk: &mut Talk| talk.does(|it, now| it.on_pieces_lost(now, &[geometry().piece(1).unwrap()]));
    let mut talk = Talk::extended(&[0, 1]);
    assert_eq!(lost(&mut Talk::extended(&[0, 1])), "", "it has no word for that");
    talk.hears([said(0, INTRODUCTION)]);
    assert_eq!(lost(&mut talk), "→ 2 \\x00\\x00\\x00\\x01");
    assert_eq!(lost(&mut talk), "", "once");
    assert_eq!(talk.does(|it, now| it.on_welcome(now, pieces(&[]))), "→ 2 \\x00\\x00\\x00\\x00", "by a new scheduler");

    let got_and_lost = [Message::Have(3), said(7, &[0, 0, 0, 3]), Message::Have(3)];
    assert_eq!(talk.hears(got_and_lost), "got 3, lost 3, got 3", "in order");
    assert_eq!(talk.hears([said(7, &[0, 0, 0, 1])]), "", "it never had that");
    assert_eq!(talk.hears([said(7, &[0, 0, 0, 4])]), "leave: protocol-violation", "there is none");
}

/// BEP 54: a peer that loses and completes the same piece over and over.
#[test]
fn losing_more_pieces_than_there_are_is_tolerated_a_few_times() {
    let mut talk = Talk::extended(&[]);
    let turns = |count: usize| [Message::Have(3), said(7, &[0, 0, 0, 3])].into_iter().cycle().take(2 * count);
    assert!(!talk.hears(turns(4 + 60)).contains("leave"));
    assert!(talk.hears(turns(1)).contains("leave: protocol-violation"));
}

/// BEP 21: `upload_only`.
#[test]
fn two_peers_that_download_nothing_disconnect() {
    let mut talk = Talk::extended(&[0, 1, 2, 3]);
    assert_eq!(talk.hears([bitfield(&[0])]), "has 1000");
    assert_eq!(talk.hears([said(3, &[0])]), "");
    assert_eq!(talk.hears([said(3, &[1])]), "leave: both-seeds");
    let mut talk = Talk::extended(&[0, 1, 2]);
    talk.hears([bitfield(&[3]), said(0, INTRODUCTION)]);
    let last = [geometry().piece(3).unwrap()];
    assert_eq!(talk.does(|it, now| it.on_pieces_had(now, &last)), "→ 3 \\x01", "the peer hears that we are done");
    let mut talk = Talk::extended(&[0, 1, 2]);
    talk.hears([said(0, b"d11:upload_onlyi1ee")]);
    assert_eq!(talk.does(|it, now| it.on_pieces_had(now, &last)), "→ have 3, leave: both-seeds");
}

/// P-24, P-10: bad and repeated messages count as unknown ones.
#[test]
fn a_few_bad_extended_messages_are_tolerated() {
    let mut talk = Talk::extended(&[]);
    talk.hears([said(0, b"de")]);
    let bad = [said(0, b"d1:mllll"), said(0, b"de"), said(9, b""), said(1, b"de"), said(7, b"x"), said(3, b"")];
    assert!(!talk.hears(bad.iter().cycle().take(60).cloned()).contains("leave"));
    assert!(talk.hears(bad).contains("leave: protocol-violation"));
}

/// BEP 11, BEP 27, P-22: peer exchange.
#[test]
fn peers_are_exchanged_where_the_torrent_allows_it() {
    let talk_with = |pex| {
        let mut talk = Talk::fresh();
        talk.it = PeerProtocol::new(talk.now, Terms { extended: true, pex, ..terms(geometry(), false) });
        let ours = talk.does(|it, now| it.on_welcome(now, pieces(&[])));
        assert_eq!(ours.contains("ut_pexi1e"), pex, "{ours}");
        talk
    };
    let gossip = |talk: &mut Talk| {
        let named = PexPeer { addr: "9.9.9.9:6881".parse().unwrap(), flags: flag::SEED };
        let pex = Pex { added: vec![named], dropped: Vec::new(), named: 1 };
        talk.does(|it, now| it.on_gossip(now, pex))
    };
    let heard = || said(1, b"d5:added6:\x08\x08\x08\x08\x1a\xe1e");
    let mut talk = talk_with(true);
    assert_eq!(gossip(&mut talk), "", "it has no word for that yet");
    talk.hears([said(0, INTRODUCTION)]);
    assert!(gossip(&mut talk).starts_with("→ 1 d5:added6:"));
    assert_eq!(talk.hears([heard(), heard()]), "names 8.8.8.8:6881", "once a minute");
    talk.passes(60);
    assert_eq!(talk.hears([heard()]), "names 8.8.8.8:6881");
    assert!(!talk.hears((0..500).map(|_| heard())).contains("names"), "a flood is not listened to");
    talk.passes(60);
    assert_eq!(talk.hears([heard()]), "", "and neither is its author");

    let mut private = talk_with(false);
    private.hears([said(0, INTRODUCTION)]);
    assert_eq!((gossip(&mut private), private.hears([heard()])), (String::new(), String::new()));
    assert_eq!(
        private.hears((0..60).map(|_| heard())),
        "leave: protocol-violation",
        "not allowed in a private torrent"
    );
}

/// 10,000 pieces to 50 peers, a hundred in a turn: each peer is told once of each piece that it lacks.
#[test]
fn ten_thousand_pieces_do_not_flood_fifty_peers() {
    const PIECES: u32 = 10_000;
    let wide = Geometry::new(u64::from(PIECES) * 16384, 16384).unwrap();
    let all: Vec<PieceIndex> = wide.pieces().collect();
    for nth in 0..50 {
        // Each peer has a fiftieth more than the one before, from a leech to nearly a seed.
        let mut has = Bitfield::none(PIECES);
        all.iter().filter(|piece| piece.get() % 50 < nth).for_each(|piece| _ = has.set(*piece));
        let mut talk = Talk::fresh();
        talk.it = PeerProtocol::new(talk.now, terms(wide, false));
        talk.does(|it, now| it.on_welcome(now, Bitfield::none(PIECES)));
        talk.it.on_messages(talk.now, [Message::Bitfield(Bytes::copy_from_slice(has.as_bytes()))]);
        let mut told = Vec::new();
        for turn in all.chunks(100) {
            talk.it.on_pieces_had(talk.now, turn);
            told.extend(haves_in(&mut talk));
            talk.it.on_sent(talk.now, 900, 0);
        }
        let lacked: Vec<u32> = (0..PIECES).filter(|piece| piece % 50 >= nth).collect();
        assert_eq!(told, lacked, "{nth} of 50");
    }
}

/// P-21: a peer that does not read is sent no more than 32 KiB, and the rest when it reads again.
#[test]
fn a_peer_that_falls_behind_is_told_as_much_as_it_reads() {
    const PIECES: u32 = 10_000;
    let wide = Geometry::new(u64::from(PIECES) * 16384, 16384).unwrap();
    let all: Vec<PieceIndex> = wide.pieces().take(9_999).collect();
    let mut talk = Talk::fresh();
    talk.it = PeerProtocol::new(talk.now, terms(wide, false));
    talk.does(|it, now| it.on_welcome(now, Bitfield::none(PIECES)));
    talk.it.on_pieces_had(talk.now, &all);
    let mut told = haves_in(&mut talk);
    assert_eq!(told.len(), 32 * 1024 / 9);
    talk.it.on_sent(talk.now, 0, 40_000);
    assert_eq!(haves_in(&mut talk).len(), 0, "it has not read one");
    talk.it.on_sent(talk.now, 900, 32 * 1024 - 900);
    assert_eq!(haves_in(&mut talk).len(), 0, "it has not read half of them");
    talk.it.on_sent(talk.now, 16 * 1024, 16 * 1024 - 900);
    told.extend(haves_in(&mut talk));
    assert_eq!(told.len(), 32 * 1024 / 9 + (16 * 1024 + 900) / 9);
    talk.it.on_messages(talk.now, (6_000..9_000).map(Message::Have));
    for _ in 0..3 {
        talk.it.on_sent(talk.now, 32 * 1024, 0);
        told.extend(haves_in(&mut talk));
    }
    assert_eq!(told, (0..6_000).chain(9_000..9_999).collect::<Vec<_>>(), "each once, and none that it got meanwhile");
}

fn haves_in(talk: &mut Talk) -> Vec<u32> {
    let effects = std::iter::from_fn(|| talk.it.poll());
    let haves =
        effects.filter_map(|effect| if let PeerEffect::Send(Message::Have(n)) = effect { Some(n) } else { None });
    haves.collect()
}

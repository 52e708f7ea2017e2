use std::time::Duration;

use super::*;
use crate::base::geometry::Geometry;
use crate::base::ids::PeerId;
use crate::codec::extended::{ExtendedHandshake, Numbers, PEX};
use crate::logic::peer::protocol::PeerView;
use crate::logic::peers::peer_book::{BookConfig, PeerNeed, Refusal};
use crate::logic::testing::base_instant;

const OUR_ID: PeerId = PeerId([99; 20]);
const ALICE: &str = "192.0.2.1:6881";
const BOB: &str = "198.51.100.2:6882";

/// Of a torrent of a hundred pieces.
fn terms() -> PoolTerms {
    PoolTerms {
        book: BookConfig::default(),
        geometry: Geometry::new(100 << 14, 1 << 14).unwrap(),
        our_id: OUR_ID,
        listen_port: Some(6881),
        pex: true,
        super_seed: false,
        seed: 1,
    }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn id(n: u8) -> PeerId {
    PeerId([n; 20])
}

/// A pool whose clock and whose connections are in the test's hands.
struct Bench {
    now: Instant,
    pool: PoolMachine,
    notes: Vec<PoolNote>,
}

impl Bench {
    fn new(terms: PoolTerms) -> Self {
        let now = base_instant();
        Self { now, pool: PoolMachine::new(now, terms), notes: Vec::new() }
    }

    /// One input; the effects that follow as text. Notes are kept, changes are left out.
    fn on(&mut self, input: impl FnOnce(&mut PoolMachine, Instant)) -> Vec<String> {
        input(&mut self.pool, self.now);
        self.drain()
    }

    fn drain(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        while let Some(effect) = self.pool.poll() {
            match effect {
                PoolEffect::Log(note) => self.notes.push(note),
                PoolEffect::ReportChange => {}
                effect => said.push(text(&effect)),
            }
        }
        said
    }

    fn event(&mut self, peer: u32, event: PeerEvent) -> Vec<String> {
        self.on(move |pool, now| pool.on_event(now, PeerKey(peer), &event))
    }

    /// A person names these, one after the other.
    fn finds(&mut self, addrs: &[&str]) -> Vec<String> {
        let find = |at: &&str| self.on(|pool, now| pool.on_peers_found(now, &[addr(at)], PeerSource::Manual));
        addrs.iter().flat_map(find).collect()
    }

    fn arrives(&mut self, from: &str) -> Option<PeerKey> {
        let peer = self.pool.on_arrived(self.now, addr(from));
        self.drain();
        peer
    }

    /// The connection with this key is open, and its peer has this id.
    fn shakes(&mut self, peer: u32, peer_id: u8) -> Vec<String> {
        let mut said = self.event(peer, PeerEvent::Connected);
        said.extend(self.event(peer, PeerEvent::Handshaken(id(peer_id))));
        said
    }

    fn ends(&mut self, peer: u32, reason: DisconnectReason) -> Vec<String> {
        assert_eq!(self.event(peer, PeerEvent::Left(reason)), [""; 0]);
        self.on(|pool, now| pool.on_ended(now, PeerKey(peer)))
    }

    /// The clock goes on to the deadline, which is that of this timer.
    fn rings(&mut self, timer: PoolTimer) -> Vec<String> {
        let (due, next) = self.pool.next_timer().unwrap();
        assert_eq!(next, timer);
        self.now = self.now.max(due);
        self.on(PoolMachine::on_timeout)
    }

    fn passes(&mut self, secs: u64) {
        self.now += Duration::from_secs(secs);
    }
}

fn text(effect: &PoolEffect) -> String {
    match effect {
        PoolEffect::Dial { peer, addr, redial: None, .. } => format!("dial {addr} as {peer}"),
        PoolEffect::Dial { peer, addr, redial: Some(redial), .. } => {
            let kind = if redial.is_expected { "restart" } else { "abnormal restart" };
            format!("dial {addr} as {peer}, {kind} {} after {}", redial.restarts, redial.cause.label())
        }
        PoolEffect::Leave(peer, reason) => format!("leave {peer}: {}", reason.label()),
        PoolEffect::Choke(peer) => format!("choke {peer}"),
        PoolEffect::Unchoke(peer) => format!("unchoke {peer}"),
        PoolEffect::SharePeers(peer, pex) => format!("share +{} -{} with {peer}", pex.added.len(), pex.dropped.len()),
        PoolEffect::NamePiece(peer, _) => format!("name a piece to {peer}"),
        PoolEffect::ReportPeerLeft(peer) => format!("{peer} left"),
        PoolEffect::ReportNeed(need) => format!("need {need:?}"),
        PoolEffect::Log(_)
        | PoolEffect::ReportChange
        | PoolEffect::IntroduceAll
        | PoolEffect::RequestViews
        | PoolEffect::StopConnections
        | PoolEffect::Finish => format!("{effect:?}"),
    }
}

fn introduction(port: Option<u16>, seen: Option<&str>) -> PeerEvent {
    let numbers = Numbers { pex: Some(PEX), ..Numbers::default() };
    let your_ip = seen.map(|ip| ip.parse().unwrap());
    PeerEvent::Introduced(ExtendedHandshake { numbers, port, your_ip, ..ExtendedHandshake::default() })
}

type Act = fn(&mut Bench) -> Vec<String>;

type Step = (&'static str, Act, &'static [&'static str]);

/// What is done, and the effects that follow.
fn check(bench: &mut Bench, steps: &[Step]) {
    for (what, act, want) in steps {
        assert_eq!(act(bench), *want, "{what}");
    }
}

#[test]
fn a_peer_from_its_address_to_its_next_dial() {
    let mut bench = Bench::new(terms());
    check(
        &mut bench,
        &[
            ("the start", |b| b.on(PoolMachine::on_started), &["need Alone"]),
            ("an address", |b| b.finds(&[ALICE]), &["dial 192.0.2.1:6881 as #0", "need Anybody"]),
            ("the same address", |b| b.finds(&[ALICE]), &[]),
            ("the stream is open", |b| b.event(0, PeerEvent::Connected), &[]),
            ("the handshake", |b| b.event(0, PeerEvent::Handshaken(id(1))), &[]),
            ("it wants something", |b| b.event(0, PeerEvent::Interested(true)), &["unchoke #0"]),
            ("its first block", |b| b.event(0, PeerEvent::Delivered), &["need More"]),
            ("it wants nothing", |b| b.event(0, PeerEvent::Interested(false)), &["choke #0"]),
            ("it closes", |b| b.ends(0, DisconnectReason::Closed), &["#0 left", "need Alone"]),
            ("an event too late", |b| b.event(0, PeerEvent::Interested(true)), &[]),
            ("it ends twice", |b| b.on(|pool, now| pool.on_ended(now, PeerKey(0))), &[]),
            (
                "the back-off is over",
                |b| b.rings(PoolTimer::Book),
                &["dial 192.0.2.1:6881 as #1, restart 1 after closed", "need Anybody"],
            ),
        ],
    );
}

#[test]
fn who_may_not_stay_is_told_to_leave() {
    let table: [(&str, Act, &str); 4] = [
        ("ourselves", |b| b.shakes(0, 99), "leave #0: ourselves"),
        ("a second way to the same peer", |b| [b.shakes(0, 1), b.shakes(1, 1)].concat(), "leave #1: duplicate"),
        ("a liar", |b| b.on(|pool, now| pool.on_ban(now, addr(ALICE))), "leave #0: bad-data"),
        ("another liar", |b| b.on(|pool, now| pool.on_ban(now, addr(BOB))), "leave #1: bad-data"),
    ];
    for (what, act, want) in table {
        let mut bench = Bench::new(terms());
        bench.finds(&[ALICE, BOB]);
        assert_eq!(act(&mut bench), [want], "{what}");
    }
}

/// P-14, P-15.
#[test]
fn a_banned_address_comes_back_when_it_is_pardoned_only() {
    let mut bench = Bench::new(terms());
    bench.finds(&[ALICE]);
    bench.shakes(0, 1);
    check(
        &mut bench,
        &[
            ("banned", |b| b.on(|pool, now| pool.on_ban(now, addr(ALICE))), &["leave #0: bad-data"]),
            ("gone", |b| b.ends(0, DisconnectReason::BadData), &["#0 left", "need Alone"]),
            ("named again", |b| b.finds(&[ALICE]), &[]),
        ],
    );
    assert_eq!(bench.arrives("192.0.2.1:50000"), None);
    assert!(matches!(bench.notes.last(), Some(PoolNote::Refused { why: Refusal::Banned, .. })), "{:?}", bench.notes);
    let pardoned = bench.on(|pool, now| pool.on_pardon(now, addr(ALICE)));
    assert_eq!(pardoned, ["dial 192.0.2.1:6881 as #1", "need Anybody"]);
}

#[test]
fn a_connection_that_ends_without_a_reason_has_panicked() {
    let mut bench = Bench::new(terms());
    bench.finds(&[ALICE]);
    bench.shakes(0, 1);
    let ended = bench.on(|pool, now| pool.on_ended(now, PeerKey(0)));
    assert_eq!(ended, ["#0 left", "need Alone"]);
    let left = PoolNote::Left { addr: addr(ALICE), reason: DisconnectReason::Panicked, delivered: false };
    assert_eq!(bench.notes.last(), Some(&left));
    let again = bench.rings(PoolTimer::Book);
    assert_eq!(again[0], "dial 192.0.2.1:6881 as #1, abnormal restart 1 after panicked");
}

/// P-28.
#[test]
fn a_peer_that_comes_by_itself_is_taken_in_once() {
    let mut bench = Bench::new(terms());
    assert_eq!(bench.arrives(ALICE), Some(PeerKey(0)));
    assert_eq!(bench.arrives("[::ffff:192.0.2.1]:6881"), None, "the same address");
    let refused = PoolNote::Refused { addr: addr(ALICE), why: Refusal::Duplicate };
    assert_eq!(bench.notes, [refused]);
    assert_eq!(bench.event(0, PeerEvent::Handshaken(id(1))), [""; 0]);
    assert_eq!(bench.ends(0, DisconnectReason::Closed), ["#0 left", "need Alone"]);
    assert_eq!(bench.pool.next_timer(), None, "it has not said where it listens");
}

#[test]
fn a_peer_that_came_by_itself_is_dialled_where_it_says_it_listens() {
    let mut bench = Bench::new(terms());
    bench.arrives("192.0.2.1:50000");
    bench.event(0, PeerEvent::Handshaken(id(1)));
    bench.event(0, introduction(Some(7000), None));
    assert_eq!(bench.ends(0, DisconnectReason::Reset), ["#0 left", "dial 192.0.2.1:7000 as #1"]);
}

/// BEP 11.
#[test]
fn those_who_listen_are_told_of_the_others() {
    let mut bench = Bench::new(terms());
    bench.finds(&[ALICE, BOB]);
    bench.shakes(0, 1);
    assert_eq!(bench.event(0, introduction(None, None)), [""; 0]);
    assert_eq!(bench.rings(PoolTimer::PexLook), [""; 0], "nobody else has shaken hands");
    bench.shakes(1, 2);
    assert_eq!(bench.rings(PoolTimer::PexLook), ["share +1 -0 with #0"]);
    bench.ends(1, DisconnectReason::BothSeeds);
    bench.passes(60);
    assert_eq!(bench.on(PoolMachine::on_timeout), ["share +0 -1 with #0"]);
    let silent =
        ExtendedHandshake { numbers: Numbers { pex: Some(0), ..Numbers::default() }, ..ExtendedHandshake::default() };
    bench.event(0, PeerEvent::Introduced(silent));
    assert_eq!(bench.pool.next_timer(), None, "it does not listen any more");
}

/// BEP 27.
#[test]
fn no_peer_of_a_private_torrent_is_told_of_others() {
    let mut bench = Bench::new(PoolTerms { pex: false, ..terms() });
    bench.finds(&[ALICE]);
    bench.shakes(0, 1);
    bench.event(0, introduction(None, None));
    assert_eq!(bench.pool.next_timer(), None);
}

/// BEP 16.
#[test]
fn a_super_seed_names_pieces_and_goes_on_when_a_peer_is_stuck() {
    let mut bench = Bench::new(PoolTerms { super_seed: true, ..terms() });
    bench.finds(&[ALICE, BOB]);
    bench.shakes(0, 1);
    bench.shakes(1, 2);
    assert_eq!(bench.event(0, PeerEvent::Ready), ["name a piece to #0"; 2]);
    assert_eq!(bench.event(1, PeerEvent::Ready), ["name a piece to #1"; 2]);
    assert_eq!(bench.rings(PoolTimer::StuckPeer), ["name a piece to #0", "name a piece to #1"]);
    let all: Vec<_> = terms().geometry.pieces().collect();
    assert_eq!(
        bench.event(0, PeerEvent::Has(all)),
        ["name a piece to #1"; 2],
        "what was named to it is at another peer"
    );
}

#[test]
fn no_piece_is_named_by_a_pool_that_does_not_super_seed() {
    let mut bench = Bench::new(terms());
    bench.finds(&[ALICE]);
    bench.shakes(0, 1);
    assert_eq!(bench.event(0, PeerEvent::Ready), [""; 0]);
}

/// Four slots; a seed lets a newcomer in beside them.
#[test]
fn a_seed_gives_in_turns_also_after_a_restart_of_the_pool() {
    let mut bench = Bench::new(terms());
    let wanting = |bench: &mut Bench, first: u32| -> usize {
        let addrs: Vec<_> = (1..=5).map(|n| format!("203.0.{n}.1:6881")).collect();
        let addrs: Vec<_> = addrs.iter().map(String::as_str).collect();
        bench.finds(&addrs);
        let said = (first..first + 5).flat_map(|peer| bench.event(peer, PeerEvent::Interested(true)));
        said.filter(|said| said.starts_with("unchoke")).count()
    };
    assert_eq!(wanting(&mut bench, 0), 4, "while fetching");
    assert_eq!(bench.on(PoolMachine::on_seeding_begun), ["unchoke #4"]);
    assert_eq!(bench.on(PoolMachine::on_seeding_begun), [""; 0], "said twice");
    bench.on(PoolMachine::on_restarted);
    bench.on(PoolMachine::on_started);
    bench.passes(2);
    assert_eq!(bench.on(PoolMachine::on_timeout).len(), 5, "five dials");
    assert_eq!(wanting(&mut bench, 5), 5, "while seeding");
    assert_eq!(bench.on(PoolMachine::on_fetching_resumed), [""; 0]);
}

#[test]
fn a_change_is_reported_once_after_each_survey() {
    let mut bench = Bench::new(terms());
    let mut changes = |act: &dyn Fn(&mut PoolMachine, Instant)| {
        act(&mut bench.pool, bench.now);
        let effects = std::iter::from_fn(|| bench.pool.poll());
        effects.filter(|effect| matches!(effect, PoolEffect::ReportChange)).count()
    };
    let view = PeerView { down_bps: 5, ..PeerView::default() };
    let event = |event: PeerEvent| move |pool: &mut PoolMachine, now| pool.on_event(now, PeerKey(0), &event);
    let survey = |pool: &mut PoolMachine, now| drop(pool.on_survey(now));
    assert_eq!(changes(&|pool, now| pool.on_peers_found(now, &[addr(ALICE)], PeerSource::Manual)), 1);
    assert_eq!(changes(&event(PeerEvent::Connected)), 0, "reported already");
    assert_eq!(changes(&survey), 0);
    assert_eq!(changes(&event(PeerEvent::View(PeerView::default()))), 0, "the same view");
    assert_eq!(changes(&event(PeerEvent::View(view))), 1);
    assert_eq!(changes(&survey), 0);
    assert_eq!(changes(&event(PeerEvent::View(view))), 0, "the same view");
    assert_eq!(changes(&|pool, now| pool.on_ended(now, PeerKey(0))), 1);
}

#[test]
fn a_survey_counts_what_connections_sent_that_have_ended() {
    let mut bench = Bench::new(terms());
    bench.finds(&[ALICE, BOB]);
    bench.shakes(0, 1);
    for (peer, sent) in [(0, 1000), (1, 20)] {
        bench.event(peer, PeerEvent::View(PeerView { sent, ..PeerView::default() }));
    }
    let survey = bench.pool.on_survey(bench.now);
    assert_eq!((survey.sent, survey.peers.len(), survey.census.connected), (1020, 1, 1), "one has shaken hands");
    assert_eq!((survey.peers[0].addr, survey.next_dial), (addr(ALICE), None));
    assert_eq!(bench.drain(), ["RequestViews"]);
    bench.ends(0, DisconnectReason::Closed);
    let survey = bench.pool.on_survey(bench.now);
    assert_eq!((survey.sent, survey.peers.len()), (1020, 0));
    assert!(survey.next_dial.is_some());
    bench.on(PoolMachine::on_restarted);
    assert_eq!(bench.pool.on_survey(bench.now).sent, 1020);
}

#[test]
fn the_book_survives_a_restart_of_the_pool_and_the_connections_do_not() {
    let mut bench = Bench::new(terms());
    bench.on(PoolMachine::on_started);
    bench.finds(&[ALICE, BOB]);
    bench.shakes(0, 1);
    // What was not yet done when the pool failed.
    bench.pool.on_ended(bench.now, PeerKey(1));
    check(
        &mut bench,
        &[
            ("the failure", |b| b.on(PoolMachine::on_restarted), &["#1 left", "#0 left"]),
            ("the new start", |b| b.on(PoolMachine::on_started), &["need Alone"]),
            ("an event of before", |b| b.event(0, PeerEvent::Delivered), &[]),
        ],
    );
    let dialled = bench.rings(PoolTimer::Book);
    assert!(dialled[0].starts_with("dial 192.0.2.1:6881 as #2"), "{dialled:?}");
}

#[test]
fn a_goodbye_ends_the_connections_and_then_the_pool() {
    let mut bench = Bench::new(terms());
    bench.finds(&[ALICE, BOB]);
    bench.shakes(0, 1);
    check(
        &mut bench,
        &[
            ("the end", |b| b.on(PoolMachine::on_goodbye), &["StopConnections"]),
            ("the first is gone", |b| b.ends(0, DisconnectReason::Shutdown), &["#0 left"]),
            ("an address", |b| b.finds(&["203.0.113.3:6881"]), &[]),
            ("the last is gone", |b| b.ends(1, DisconnectReason::Shutdown), &["#1 left", "Finish"]),
        ],
    );
    assert_eq!((bench.arrives("203.0.113.4:6881"), bench.pool.deadline()), (None, None));
    let mut empty = Bench::new(terms());
    assert_eq!(empty.on(PoolMachine::on_goodbye), ["StopConnections", "Finish"]);
}

#[test]
fn a_new_scheduler_hears_of_every_connection() {
    let mut bench = Bench::new(terms());
    assert_eq!(bench.on(PoolMachine::on_scheduler_ready), ["IntroduceAll"]);
}

/// BEP 10, `yourip`.
#[test]
fn peers_that_we_chose_vote_on_our_address() {
    let mut bench = Bench::new(terms());
    let addrs = ["192.0.2.1:6881", "198.51.100.1:6881", "203.0.113.1:6881"];
    bench.finds(&addrs);
    for peer in 0..3 {
        bench.shakes(peer, peer.to_le_bytes()[0] + 1);
        bench.event(peer, introduction(None, Some("8.8.8.8")));
    }
    assert_eq!(bench.notes.last(), Some(&PoolNote::ExternalIp("8.8.8.8".parse().unwrap())));
}

/// Strangers choose us, and many of them could be one, also where they connect from the port on which they listen and say so
/// twice.
#[test]
fn peers_that_came_by_themselves_have_no_vote_on_our_address() {
    let mut bench = Bench::new(terms());
    for (peer, from) in (0..).zip(["192.0.2.1:6881", "198.51.100.1:6881", "203.0.113.1:6881"]) {
        assert_eq!(bench.arrives(from), Some(PeerKey(peer)));
        bench.event(peer, PeerEvent::Handshaken(id(peer.to_le_bytes()[0] + 1)));
        for _twice in 0..2 {
            bench.event(peer, introduction(Some(6881), Some("8.8.8.8")));
        }
    }
    assert!(!bench.notes.contains(&PoolNote::ExternalIp("8.8.8.8".parse().unwrap())), "{:?}", bench.notes);
}

#[test]
fn the_need_is_reported_when_it_changes() {
    let mut bench = Bench::new(terms());
    assert_eq!(bench.on(PoolMachine::on_started), [format!("need {:?}", PeerNeed::Alone)]);
    assert_eq!(bench.on(PoolMachine::on_timeout), [""; 0]);
    let many: Vec<_> = (1..=100).map(|n| SocketAddr::from(([198, 51, n, 7], 6881))).collect();
    let said = bench.on(|pool, now| pool.on_peers_found(now, &many, PeerSource::Manual));
    assert_eq!(said.last().map(String::as_str), Some("need Enough"));
    assert_eq!(said.len(), 51, "fifty dials at a time");
}

//! Section 4 of the catalogue: peers. Three honest seeds and three hostile peers. The hostile ones must not delay the
//! download by more than their share, and no honest one may be banned.

use std::net::Ipv4Addr;
use std::time::Duration;

use rand::RngExt;

use super::{done_by, fail, honest, never_banned, scene, secs};
use crate::faults::scenario::RefereeVerdict;
use crate::sim::SimScene;
use crate::sim::observation::SimObservation;
use crate::sim::plan::{PEER_PORT, ScenarioPlan, SimStep};

/// The scenes of this file.
#[rustfmt::skip]
pub(super) const SCENES: &[SimScene] = &[
    scene("P-01", &["P-01"], "refused, and addresses that never answer", "", unreachable_peers),
    scene("P-02.silent", &["P-02"], "accepts and is silent", "silent", never_greets),
    scene("P-02.drip", &["P-02"], "one byte of the handshake a second", "slow_handshake=1s", never_greets),
    scene("P-03", &["P-03"], "resets behind the handshake", "reset_on_handshake", |plan, words| with(plan, words, Some("reset"))),
    scene("P-04.hash", &["P-04"], "another torrent's info-hash", "wrong_hash", hostile),
    scene("P-04.protocol", &["P-04"], "another protocol", "wrong_protocol", hostile),
    scene("P-05.own", &["P-05"], "our own peer id", "own_id", hostile),
    scene("P-05.same", &["P-05"], "three peers with one id", "id=-XX0001-aaaaaaaaaaaa", hostile),
    scene("P-06.super-seed", &["P-06"], "a seed that names one piece at a time, and no other", "super_seed,max_rate=128k", super_seed),
    scene("P-06", &["P-06"], "never says what it has", "no_bitfield", hostile),
    scene("P-07.long", &["P-07"], "a bitfield a byte too long", "bad_bitfield", violates),
    scene("P-07.short", &["P-07"], "a bitfield a byte too short", "short_bitfield", violates),
    scene("P-07.twice", &["P-07"], "its bitfield twice", "twice_bitfield", violates),
    scene("P-07.late", &["P-07"], "a bitfield behind a have", "late_bitfield", hostile),
    scene("P-07.after-all", &["P-07"], "a bitfield behind have all", "bitfield_after_have_all", hostile),
    scene("P-08", &["P-08"], "spare bits", "spare_bits", violates),
    scene("P-09.max", &["P-09"], "a message of 4 GiB", "huge_length=4294967295", violates),
    scene("P-09.million", &["P-09"], "a message of 1 MiB and a byte", "huge_length=1048577", hostile),
    scene("P-09.drip", &["P-09"], "a message of 2 GiB, drop by drop", "huge_length=2147483647,drip=50", hostile),
    scene("P-10", &["P-10"], "message ids that nobody knows", "unknown_ids=10+11+12+18+19+20+21+99+255", hostile),
    scene("P-11.forever", &["P-11"], "chokes for ever", "choke_forever", hostile),
    scene("P-11.never", &["P-11"], "says nothing about choking", "never_unchoke", hostile),
    scene("P-11.flap", &["P-11"], "unchokes and chokes a hundred times a second", "flap=100,max_rate=64k", hostile),
    scene("P-11.forgets", &["P-11"], "chokes ten times a second and forgets what it was asked for", "flap=10,forgetful,max_rate=64k", hostile),
    scene("P-11.wants", &["P-11"], "says that it is interested and asks for nothing", "interest_flood=1,max_rate=64k", hostile),
    scene("P-12", &["P-12"], "unchoked, then no data", "snub_after=1", snubs),
    scene("P-13", &["P-13"], "one byte a second inside a block", "drip=1", snubs),
    scene("P-14.all", &["P-14"], "every block is wrong", "corrupt=1,max_rate=128k", lies),
    scene("P-14.some", &["P-14"], "one block in a hundred is wrong", "corrupt=0.01,max_rate=128k", lies),
    scene("P-14.last", &["P-14"], "the last block of every piece is wrong", "corrupt_last,max_rate=128k", lies),
    scene("P-14.alone", &["P-14"], "the only one that has half of the pieces lies about a tenth", "corrupt=0.1", lies_alone),
    scene("P-15", &["P-15"], "one piece is wrong everywhere", "corrupt_piece=5,max_rate=128k", poisoned),
    scene("P-16.index", &["P-16"], "the right bytes as another piece's", "wrong_index,max_rate=128k", hostile),
    scene("P-16.begin", &["P-16"], "the right bytes at a wrong offset", "wrong_begin,max_rate=128k", hostile),
    scene("P-16.length", &["P-16"], "a byte less than asked for", "wrong_length,max_rate=128k", hostile),
    scene("P-16.beyond", &["P-16"], "blocks behind the end of the piece", "beyond_end,max_rate=128k", hostile),
    scene("P-17.unasked", &["P-17"], "blocks that nobody asked for", "unrequested=50,max_rate=128k", hostile),
    scene("P-17.twice", &["P-17"], "every block three times", "duplicate=2,max_rate=128k", hostile),
    scene("P-18.lie", &["P-18"], "says to have what it has not", "partial=0.3,lie_have,max_rate=128k", hostile),
    scene("P-18.reject", &["P-18"], "has all and rejects everything", "have_all,reject", hostile),
    scene("P-18.allow", &["P-18"], "allows everything, again and again, and rejects it", "have_all,allow=10000,choke_forever", hostile),
    scene("P-19.have", &["P-19"], "has a piece that does not exist", "bad_have", violates),
    scene("P-19.suggest", &["P-19"], "suggests a piece that does not exist", "bad_suggest", hostile),
    scene("P-19.allowed", &["P-19"], "allows a piece that does not exist", "bad_allowed_fast", hostile),
    scene("P-20.flood", &["P-20"], "ten thousand requests at once", "request_flood=10000,max_rate=128k", hostile),
    scene("P-20.bytes", &["P-20"], "2,000 requests for a byte", "request_flood=2000,request_len=1,max_rate=128k", hostile),
    scene("P-20.zero", &["P-20"], "requests of no bytes", "request_flood=100,request_len=0,max_rate=128k", hostile),
    scene("P-20.giant", &["P-20"], "requests of 2 GiB", "request_flood=100,request_len=2147483648,max_rate=128k", hostile),
    scene("P-21", &["P-21"], "asks, and reads nothing", "request_flood=200,deaf", hostile),
    scene("P-21.flips", &["P-21"], "changes its interest 100,000 times and reads nothing", "interest_flood=100000,deaf", hostile),
    scene("P-22", &["P-22"], "names ten thousand others a second", "pex_flood=10000,max_rate=128k", hostile),
    scene("P-24.deep", &["P-24"], "an extended handshake of ten thousand lists", "extended_deep=10000,max_rate=128k", hostile),
    scene("P-24.numbers", &["P-24"], "port 0, and a queue of less than nothing", "extended_numbers,max_rate=128k", hostile),
    scene("P-25", &["P-25"], "a peer vanishes without a word", "", vanishes),
    scene("P-26.sweep", &["P-26"], "a reset after every N bytes", "", resets),
    scene("P-26.sole", &["P-26"], "the only source resets every 300 kB", "reset_every=300k,max_rate=128k", sole_source),
    scene("P-26.close", &["P-26"], "the only source hangs up every 300 kB", "close_after=300k,max_rate=128k", sole_source),
    scene("P-27", &["P-27"], "segments of a few bytes", "", sliced),
    scene("T-18.useless", &["T-18"], "all places are taken by peers that have nothing", "partial=0", full_of_useless),
    scene("P-31", &["P-31"], "ten honest seeds at the end of a small torrent", "", endgame),
    scene("P-32", &["P-32"], "all peers leave for an hour", "", all_leave),
];

/// Adds three seeds that need 5.3 s alone, and three peers with this behaviour. Returns the addresses of both.
fn add_peers(plan: &mut ScenarioPlan, words: &str) -> (Vec<Ipv4Addr>, Vec<Ipv4Addr>) {
    plan.tracker("");
    let seeds = honest(plan, 3, 128 * 1024);
    plan.within(secs(3 * 7 + 30));
    (seeds, (0..3).map(|_| plan.peer(words)).collect())
}

fn hostile(plan: &mut ScenarioPlan, words: &'static str) {
    with(plan, words, None);
}

/// The peer needs 16 s at its own rate.
fn super_seed(plan: &mut ScenarioPlan, words: &str) {
    plan.tracker("");
    plan.peer(words);
    plan.within(secs(3 * 16 + 30));
}

/// Forty peers without data and eight places for connections: in the end the peer that has data gets a place.
fn full_of_useless(plan: &mut ScenarioPlan, words: &str) {
    plan.tracker("");
    (0..40).for_each(|_| _ = plan.peer(words));
    honest(plan, 1, 256 * 1024);
    plan.max_peers(8);
    plan.within(secs(180));
}

fn violates(plan: &mut ScenarioPlan, words: &'static str) {
    with(plan, words, Some("protocol-violation"));
}

/// The run is long enough to see that the client gives the peer up.
fn never_greets(plan: &mut ScenarioPlan, words: &'static str) {
    plan.tracker("");
    honest(plan, 2, 64 * 1024);
    let bad: Vec<_> = (0..3).map(|_| plan.peer(words)).collect();
    plan.within(secs(3 * 16 + 30));
    plan.expect(done_by(secs(25)));
    plan.expect(move |observation| gone(observation, &bad, "handshake-timeout"));
}

/// `cause` is what the hostile peers must cause: the cause of a restart, or of the end of a connection.
fn with(plan: &mut ScenarioPlan, words: &'static str, cause: Option<&'static str>) {
    let (seeds, bad) = add_peers(plan, words);
    plan.expect(never_banned(seeds));
    plan.expect(done_by(secs(25)));
    if let Some(cause) = cause {
        plan.expect(move |observation| gone(observation, &bad, cause));
    }
}

/// Checks that the connection to one of these peers ended for this cause.
fn gone(observation: &SimObservation, bad: &[Ipv4Addr], cause: &str) -> Result<(), RefereeVerdict> {
    let has_gone = |ip: &Ipv4Addr| {
        let field = format!("addr={ip}:{PEER_PORT} cause={cause}");
        observation.trace.said("peer gone", &field) > 0
    };
    if bad.iter().any(has_gone) {
        return Ok(());
    }
    Err(RefereeVerdict::Broke { invariant: "I10", how: format!("nobody went for `{cause}`") })
}

fn unreachable_peers(plan: &mut ScenarioPlan, _: &str) {
    let (seeds, _) = add_peers(plan, "");
    for nth in 0..10 {
        plan.name_peer((Ipv4Addr::new(31, nth, 0, 1), PEER_PORT).into());
        plan.name_peer((Ipv4Addr::new(50, nth, 0, 1), PEER_PORT).into());
    }
    plan.expect(never_banned(seeds));
    plan.expect(done_by(secs(25)));
}

/// Blocks that these peers hold back are requested from others: the download is hardly slower than with the honest
/// peers alone.
fn snubs(plan: &mut ScenarioPlan, words: &'static str) {
    plan.payload(8 * 1024 * 1024, 64 * 1024);
    plan.tracker("");
    let seeds = honest(plan, 3, 128 * 1024);
    (0..3).for_each(|_| _ = plan.peer(words));
    plan.within(secs(3 * 23 + 30));
    plan.expect(never_banned(seeds));
    // 21.3 s for the honest peers alone, a second to find them, 20 s at most for a block that is held back (P-12).
    plan.expect(done_by(secs(45)));
}

/// The liars are found and banned; each costs two pieces at most.
fn lies(plan: &mut ScenarioPlan, words: &'static str) {
    let (seeds, bad) = add_peers(plan, words);
    plan.expect(never_banned(seeds));
    plan.expect(move |observation| {
        let failures = observation.view().map_or(0, |view| view.hash_failures);
        let most = 2 * bad.len() as u64;
        if failures > most { fail(format!("{failures} pieces wasted by {} liars", bad.len())) } else { Ok(()) }
    });
    plan.expect(|observation| {
        match (observation.lie_count(), observation.view().map_or(0, |view| view.hash_failures)) {
            (lies, 0) if lies > 20 => fail(format!("{lies} lies and not one seen")),
            _ => Ok(()),
        }
    });
}

fn lies_alone(plan: &mut ScenarioPlan, words: &'static str) {
    plan.tracker("");
    let seeds: Vec<_> = (0..2).map(|_| plan.peer("partial=0.5,max_rate=128k")).collect();
    plan.peer(&format!("{words},max_rate=128k"));
    // An honest peer brings the rest later.
    let late = plan.peer("max_rate=128k");
    plan.at(Duration::ZERO, SimStep::Stop(late));
    plan.at(secs(60), SimStep::Start(late));
    plan.within(secs(60 + 60 + 60));
    plan.expect(never_banned([seeds, vec![late]].concat()));
}

/// The other pieces arrive, and the bad piece is not fetched again and again.
fn poisoned(plan: &mut ScenarioPlan, words: &'static str) {
    plan.tracker("");
    (0..4).for_each(|_| _ = plan.peer(words));
    plan.stay_incomplete();
    plan.within(secs(600));
    plan.expect(|observation| {
        let Some(view) = observation.view() else { return fail("it never said anything".to_owned()) };
        let lacks = view.bytes_total - view.bytes_have;
        match (lacks, view.hash_failures) {
            (lacks, _) if lacks != u64::from(observation.piece_len) => {
                fail(format!("{lacks} bytes are missing, not one piece"))
            }
            (_, failures) if failures > 16 => fail(format!("the piece was fetched {failures} times")),
            _ => Ok(()),
        }
    });
}

/// The place of the vanished peer is free after 125 s at most: 120 s of silence, and the interval of the check.
fn vanishes(plan: &mut ScenarioPlan, _: &str) {
    plan.tracker("");
    honest(plan, 1, 8 * 1024);
    let gone = plan.peer("max_rate=8k");
    plan.at(secs(5), SimStep::Hold(gone));
    plan.within(secs(600));
    plan.expect(move |observation| {
        let silent = observation.trace.restarts().into_iter().find(|restart| restart.cause == "silent");
        match silent {
            Some(restart) if restart.at <= secs(5 + 125) => Ok(()),
            other => fail(format!("the slot of the vanished peer: {other:?}")),
        }
    });
}

fn resets(plan: &mut ScenarioPlan, _: &str) {
    let every = plan.dice.random_range(1..=20_000);
    let (seeds, bad) = add_peers(plan, &format!("reset_every={every},max_rate=128k"));
    plan.expect(never_banned(seeds));
    plan.expect(move |observation| gone(observation, &bad, "reset"));
}

fn sole_source(plan: &mut ScenarioPlan, words: &'static str) {
    plan.tracker("");
    plan.peer(words);
    plan.within(secs(3 * 17 + 30));
}

fn sliced(plan: &mut ScenarioPlan, _: &str) {
    let slice = plan.dice.random_range(1..40);
    plan.payload(64 * 1024, 32 * 1024);
    plan.tracker("");
    plan.peer(&format!("slice={slice}"));
    // The simulator has at most 64 segments under way, and a round trip takes 100 ms: 640 segments a second.
    plan.within(secs(3 * (64 * 1024 / (640 * slice)) + 30));
}

/// A block that is under way cannot be cancelled: each peer may send one block in vain, and half of the peers two.
fn endgame(plan: &mut ScenarioPlan, _: &str) {
    plan.payload(1024 * 1024, 32 * 1024);
    plan.tracker("");
    let seeds = honest(plan, 10, 32 * 1024);
    plan.within(secs(60));
    plan.expect(never_banned(seeds));
    plan.expect(|observation| match observation.view().map_or(0, |view| view.bytes_wasted) {
        wasted if wasted > 15 * 16 * 1024 => fail(format!("{wasted} bytes came twice")),
        _ => Ok(()),
    });
}

fn all_leave(plan: &mut ScenarioPlan, _: &str) {
    plan.tracker("");
    let seeds = honest(plan, 3, 32 * 1024);
    for seed in &seeds {
        plan.at(secs(15), SimStep::Stop(*seed));
    }
    plan.at(secs(3615), SimStep::Start(seeds[0]));
    // A minute until the peer is found again, and the time for the rest at its rate.
    plan.within(secs(3615 + 60 + 30));
    plan.expect(never_banned(seeds));
    plan.expect(|observation| match observation.trace.restarts().len() {
        0 => fail("everybody left and nothing was restarted".to_owned()),
        _ => Ok(()),
    });
}

//! Section 3 of the catalogue: trackers. A bad tracker is in the first tier, an honest one behind it. The fault of the
//! bad one must show, with its cause, and must not delay the rest.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use rand::RngExt;
use rand::seq::IndexedRandom;
use tokio::time::Instant;

use super::{done_by, fail, honest, restarted, scene, secs};
use crate::codec::tracker::Event;
use crate::faults::scenario::RefereeVerdict;
use crate::sim::SimScene;
use crate::sim::net::{SimName, VOID, second_address};
use crate::sim::observation::SimObservation;
use crate::sim::plan::{CLIENT, PEER_PORT, ScenarioPlan, SimStep, url};

/// The scenes of this file.
#[rustfmt::skip]
pub(super) const SCENES: &[SimScene] = &[
    scene("T-01", &["T-01"], "nobody listens where the tracker should be", "", refused),
    scene("T-02", &["T-02"], "the tracker's address never answers", "", black_hole),
    scene("T-03", &["T-03"], "accepts and never answers", "hang", |plan, words| http(plan, words, "timeout")),
    scene("T-04", &["T-04"], "one byte a second", "drip=1", |plan, words| http(plan, words, "timeout")),
    scene("T-05.garbage", &["T-05"], "bytes that are no bencode", "garbage", |plan, words| http(plan, words, "bad-reply")),
    scene("T-05.html", &["T-05"], "a web page", "html", |plan, words| http(plan, words, "bad-reply")),
    scene("T-05.truncated", &["T-05"], "a reply cut short", "truncated=30", |plan, words| http(plan, words, "bad-reply")),
    scene("T-06.huge", &["T-06"], "a body of 1 GB", "huge=1G", |plan, words| http(plan, words, "too-large")),
    scene("T-06.bomb", &["T-06"], "a body that inflates to 64 MB", "gzip_bomb=64M", |plan, words| http(plan, words, "too-large")),
    scene("T-07.loop", &["T-07"], "redirects to itself", "redirect_loop", |plan, words| http(plan, words, "redirect")),
    scene("T-07.many", &["T-07"], "twenty redirects", "redirects=20", |plan, words| http(plan, words, "redirect")),
    scene("T-07.scheme", &["T-07"], "redirects to ftp", "redirect_to=ftp://30.0.0.1/announce", |plan, words| http(plan, words, "bad-url")),
    scene("T-08.404", &["T-08"], "404", "status=404", |plan, words| http(plan, words, "http-status")),
    scene("T-08.503", &["T-08"], "503, come back in 20 minutes", "status=503,retry_after=1200", come_back_later),
    scene("T-08.date", &["T-08"], "503, come back in 20 minutes, by a date", "status=503,retry_date=1200", come_back_later),
    scene("T-09.interval", &["T-09"], "a failure reason with an interval of 20 minutes", "failure=not registered,interval=1200", come_back_later),
    scene("T-09", &["T-09"], "a failure reason with escape sequences", "failure=no\\x1b[2J\\n\\x00 way", |plan, words| http(plan, words, "tracker-failure")),
    scene("T-10", &["T-10"], "a warning is no failure", "warning=old\\x1b[31m client", warning),
    scene("T-11.id", &["T-11"], "UDP: another transaction id", "wrong_tid", |plan, words| udp(plan, words, "timeout")),
    scene("T-11.action", &["T-11"], "UDP: another action", "wrong_action", |plan, words| udp(plan, words, "timeout")),
    scene("T-12.cut", &["T-12"], "UDP: a datagram cut at every length", "", cut_datagrams),
    scene("T-12.lie", &["T-12"], "UDP: a byte behind the last peer", "length_lie", only_udp),
    scene("T-12.list", &["T-12"], "a list of peers that is cut in the middle of one, and no other tracker", "cut_list", cut_list),
    scene("T-12.entry", &["T-12"], "a peer without a port in a list of dictionaries", "cut_list,dictionary", cut_list),
    scene("T-12.udp-list", &["T-12"], "UDP: the same", "cut_list", cut_udp_list),
    scene("T-13", &["T-13"], "UDP: the reply comes from another port", "other_port", |plan, words| udp(plan, words, "timeout")),
    scene("T-14", &["T-14"], "UDP: the announce is lost, three times", "lose=3", lost),
    scene("T-15", &["T-15"], "impossible intervals", "", intervals),
    scene("T-15.alone", &["T-15"], "nobody is there at first; a seed appears after the first announce", "", seed_appears),
    scene("T-16", &["T-16"], "everybody named ten thousand times", "duplicates=10000", only),
    scene("T-17", &["T-17"], "the client itself among the peers", "self_in_peers", itself),
    scene("T-18", &["T-18"], "two hundred dead addresses first", "", dead_peers),
    scene("T-19", &["T-19"], "private and local addresses from a public tracker", "local_peers", local_peers),
    scene("T-20", &["T-20"], "two hundred ports of one victim", "victims=200", victims),
    scene("T-21", &["T-21"], "addresses of a family that is not there", "peers=[2001:db8::1]:6881+[2001:db8::2]:6881+[::ffff:40.0.0.1]:6881", only),
    scene("T-21.dual", &["T-21"], "a tracker with addresses of both families, each with its own interval", "", dual_stack),
    scene("T-21.half", &["T-21"], "a tracker with addresses of both families of which one does not answer", "", half_dual_stack),
    scene("T-22.none", &["T-22"], "a name that does not exist", "", |plan, _| named(plan, None, "cannot-resolve")),
    scene("T-22.hangs", &["T-22"], "a name server that hangs", "", |plan, _| named(plan, Some(SimName::Hangs), "timeout")),
    scene("T-22.rebinding", &["T-22"], "a name that leads to this machine", "", rebinding),
    scene("T-22.flapping", &["T-22"], "a name that leads somewhere else each time", "", flapping),
    scene("T-24", &["T-24"], "five hundred trackers in one torrent", "", five_hundred),
    scene("T-25", &["T-25"], "hangs after the first announce, the user stops", "hang_after=1", hung_at_the_end),
];

/// Intervals that no tracker should send (T-15).
pub(super) const IMPOSSIBLE: [&str; 7] = ["-1", "0", "1", "2147483648", "9223372036854775808", "missing", "text"];

/// Adds three seeds that need 43 s, so that time-outs of trackers happen during the download.
fn slow_seeds(plan: &mut ScenarioPlan) {
    honest(plan, 3, 16 * 1024);
    plan.within(secs(3 * 43 + 30));
}

fn http(plan: &mut ScenarioPlan, words: &'static str, cause: &'static str) {
    let bad = plan.tracker(words);
    plan.tracker("");
    slow_seeds(plan);
    plan.expect(restarted("HttpTracker", cause));
    plan.expect(done_by(secs(55)));
    plan.expect(backs_off(bad));
}

fn udp(plan: &mut ScenarioPlan, words: &'static str, cause: &'static str) {
    plan.udp_tracker(words);
    plan.udp_tracker("");
    honest(plan, 3, 8 * 1024);
    plan.within(secs(3 * 86 + 30));
    plan.expect(restarted("UdpTracker", cause));
    plan.expect(done_by(secs(110)));
}

/// The criterion that a failing tracker is retried with back-off: never twice within a second, never more than six
/// times in a minute.
fn backs_off(tracker: Ipv4Addr) -> impl Fn(&SimObservation) -> Result<(), RefereeVerdict> {
    move |observation| {
        let times: Vec<Duration> = observation.dials_to(tracker).iter().map(|dial| dial.at).collect();
        // Up to five redirects are followed at once, so that only the first connection of each round counts.
        let rounds: Vec<Duration> = times
            .iter()
            .enumerate()
            .filter(|(nth, at)| *nth == 0 || at.saturating_sub(times[*nth - 1]) > secs(1))
            .map(|(_, at)| *at)
            .collect();
        match rounds.windows(7).find(|seven| seven[6].saturating_sub(seven[0]) < secs(60)) {
            Some(seven) => fail(format!("asked {tracker} seven times in a minute: {seven:?}")),
            None => Ok(()),
        }
    }
}

fn refused(plan: &mut ScenarioPlan, _: &str) {
    plan.tier(&[url("31.0.0.1", false)]);
    plan.tier(&["udp://31.0.0.2:6969/announce".to_owned()]);
    plan.tracker("");
    slow_seeds(plan);
    plan.expect(restarted("HttpTracker", "refused"));
}

fn black_hole(plan: &mut ScenarioPlan, _: &str) {
    plan.tier(&[url("50.0.0.1", false)]);
    plan.tracker("");
    slow_seeds(plan);
    plan.expect(restarted("HttpTracker", "connect-timeout"));
    plan.expect(done_by(secs(60)));
}

fn come_back_later(plan: &mut ScenarioPlan, words: &str) {
    let bad = plan.tracker(words);
    plan.tracker("");
    honest(plan, 1, 2 * 1024);
    plan.within(secs(3600));
    plan.expect(restarted("HttpTracker", if words.starts_with("failure") { "tracker-failure" } else { "http-status" }));
    plan.expect(move |observation| {
        match observation.dials_to(bad).windows(2).find(|two| two[1].at.saturating_sub(two[0].at) < secs(1190)) {
            Some(two) => {
                fail(format!("asked again after {:?}, told to wait 20 minutes", two[1].at.saturating_sub(two[0].at)))
            }
            None => Ok(()),
        }
    });
}

fn warning(plan: &mut ScenarioPlan, words: &str) {
    plan.tracker(words);
    honest(plan, 3, 128 * 1024);
    plan.within(secs(50));
    plan.expect(|observation| match observation.trace.restarts().len() {
        0 => Ok(()),
        restarts => fail(format!("{restarts} restarts, a warning is no failure")),
    });
}

fn only(plan: &mut ScenarioPlan, words: &str) {
    plan.tracker(words);
    honest(plan, 3, 128 * 1024);
    plan.within(secs(50));
}

/// The client warns once, however often it asks the tracker.
fn cut_list(plan: &mut ScenarioPlan, words: &str) {
    plan.tracker(&format!("{words},interval=60"));
    cut_lists_are_used(plan);
}

fn cut_udp_list(plan: &mut ScenarioPlan, words: &str) {
    plan.udp_tracker(&format!("{words},interval=60"));
    cut_lists_are_used(plan);
}

fn cut_lists_are_used(plan: &mut ScenarioPlan) {
    honest(plan, 1, 16 * 1024);
    plan.within(secs(3 * 128 + 30));
    plan.expect(|observation| {
        match observation.trace.count("tracker sends a list of peers that is cut short or broken") {
            1 => Ok(()),
            times => fail(format!("{times} warnings of a list that cannot be read")),
        }
    });
}

/// The tracker asks for an interval of half an hour. The seed is there, and is named, 90 s after the first announce.
fn seed_appears(plan: &mut ScenarioPlan, _: &str) {
    let tracker = plan.tracker_of_lives(&["no_peers", ""]);
    honest(plan, 1, 256 * 1024);
    plan.at(secs(85), SimStep::Stop(tracker));
    plan.at(secs(90), SimStep::Start(tracker));
    plan.within(secs(60 + 120 + 30));
    plan.expect(move |observation| floor_is_kept(observation, tracker));
}

fn only_udp(plan: &mut ScenarioPlan, words: &str) {
    plan.udp_tracker(words);
    plan.udp_tracker("");
    honest(plan, 3, 128 * 1024);
    plan.within(secs(50));
}

fn cut_datagrams(plan: &mut ScenarioPlan, _: &str) {
    let len = plan.dice.random_range(0..64);
    plan.udp_tracker(&format!("truncated={len}"));
    plan.udp_tracker("");
    honest(plan, 3, 128 * 1024);
    plan.within(secs(50));
}

/// 15, 30 and 60 s: the waits of BEP 15. No other tracker names the peers.
fn lost(plan: &mut ScenarioPlan, words: &str) {
    plan.udp_tracker(words);
    honest(plan, 3, 128 * 1024);
    plan.within(secs(60 + 60 + 120));
}

fn intervals(plan: &mut ScenarioPlan, _: &str) {
    let interval = IMPOSSIBLE.choose(&mut plan.dice).copied().unwrap_or("0");
    let tracker = plan.tracker(&format!("interval={interval}"));
    honest(plan, 1, 3 * 1024);
    plan.within(secs(1500));
    plan.expect(move |observation| floor_is_kept(observation, tracker));
}

/// Checks that announces without an event come 60 s apart, whatever the tracker says (T-15).
pub(super) fn floor_is_kept(observation: &SimObservation, tracker: Ipv4Addr) -> Result<(), RefereeVerdict> {
    let Some(record) = observation.trackers.get(&tracker) else { return fail(format!("{tracker} never heard of us")) };
    let heard: Vec<_> = record.announces().map(|(at, request)| (at, request.event)).collect();
    let is_too_soon = |two: &&[(Instant, Event)]| two[1].1 == Event::Periodic && two[1].0 - two[0].0 < secs(59);
    match heard.windows(2).find(is_too_soon) {
        Some(two) => fail(format!("{tracker} was asked again after {:?}", two[1].0 - two[0].0)),
        None => Ok(()),
    }
}

fn itself(plan: &mut ScenarioPlan, words: &str) {
    plan.tracker(words);
    honest(plan, 3, 128 * 1024);
    plan.within(secs(50));
    plan.expect(|observation| match observation.dials_to(CLIENT).len() {
        0..=1 => Ok(()),
        dials => fail(format!("it dialled itself {dials} times")),
    });
}

fn dead_peers(plan: &mut ScenarioPlan, _: &str) {
    let dead: Vec<String> = (0..200).map(|nth| format!("50.{nth}.0.1:6881")).collect();
    plan.tracker(&format!("no_peers,peers={}", dead.join("+")));
    // The honest peer is found a minute later, through another tracker.
    let late = plan.tracker("");
    plan.at(Duration::ZERO, SimStep::Stop(late));
    plan.at(secs(60), SimStep::Start(late));
    honest(plan, 1, 256 * 1024);
    plan.within(secs(60 + 60 + 30 + 30));
    plan.expect(|observation| {
        let dials = observation.wires.dials();
        let times: Vec<Duration> = dials.iter().filter(|dial| is_void(dial.to.ip())).map(|dial| dial.at).collect();
        // A dial in the first moment is given up after 5 s; until then at most 50 are half-open.
        match times.windows(51).find(|many| many[50].saturating_sub(many[0]) < Duration::from_millis(4900)) {
            Some(many) => fail(format!("51 half-open dials at {:?}", many[0])),
            None => Ok(()),
        }
    });
}

fn is_void(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.octets()[0] == VOID)
}

fn local_peers(plan: &mut ScenarioPlan, words: &str) {
    plan.tracker(words);
    let seeds = honest(plan, 3, 128 * 1024);
    plan.within(secs(50));
    plan.expect(move |observation| nobody_else_is_dialled(observation, &seeds));
}

fn nobody_else_is_dialled(observation: &SimObservation, seeds: &[Ipv4Addr]) -> Result<(), RefereeVerdict> {
    let is_known = |ip| seeds.iter().chain(observation.trackers.keys()).any(|known| ip == *known);
    match observation.wires.dials().iter().find(|dial| !is_known(dial.to.ip())) {
        Some(dial) => Err(RefereeVerdict::Broke { invariant: "I7", how: format!("{} was dialled", dial.to) }),
        None => Ok(()),
    }
}

fn victims(plan: &mut ScenarioPlan, words: &str) {
    plan.tracker(words);
    honest(plan, 1, 8 * 1024);
    plan.within(secs(600));
    plan.expect(|observation| match observation.dials_to(Ipv4Addr::new(192, 0, 2, 1)).len() {
        0..=3 => Ok(()),
        dials => Err(RefereeVerdict::Broke { invariant: "I7", how: format!("the victim was dialled {dials} times") }),
    });
}

/// There is one half of the tracker behind each address, which shows over which family the client asked.
fn dual_stack(plan: &mut ScenarioPlan, _: &str) {
    let (v4, v6) = (plan.tracker("interval=100"), plan.tracker("interval=200"));
    plan.tiers.clear();
    plan.dns("tracker.example", SimName::Leads(vec![v4.into(), second_address(v6)]));
    plan.tier(&[url("tracker.example", false)]);
    honest(plan, 1, 4 * 1024);
    plan.within(secs(900));
    plan.expect(move |observation| {
        floor_is_kept(observation, v4)?;
        floor_is_kept(observation, v6)?;
        let heard =
            |half| observation.trackers.get(&half).map(|record| record.announces().map(|(_, asked)| asked).collect());
        let [by_v4, by_v6]: [Vec<_>; 2] = [heard(v4), heard(v6)].map(Option::unwrap_or_default);
        let once = |event| [&by_v4, &by_v6].map(|half| half.iter().filter(|asked| asked.event == event).count());
        let events = [Event::Started, Event::Completed, Event::Stopped].map(once);
        let is_one_key = by_v4.iter().chain(&by_v6).all(|asked| asked.key == by_v4[0].key);
        if events != [[1, 1]; 3] || !is_one_key || by_v4.len() < by_v6.len() + 2 {
            return fail(format!(
                "{} and {} announces, started, completed, stopped: {events:?}",
                by_v4.len(),
                by_v6.len()
            ));
        }
        Ok(())
    });
}

/// One family that works is enough: the tracker has not failed, and nothing is delayed.
fn half_dual_stack(plan: &mut ScenarioPlan, _: &str) {
    let works = plan.tracker("");
    plan.tiers.clear();
    plan.dns("tracker.example", SimName::Leads(vec![works.into(), second_address(Ipv4Addr::new(31, 0, 0, 1))]));
    plan.tier(&[url("tracker.example", false)]);
    honest(plan, 1, 16 * 1024);
    plan.within(secs(3 * 128 + 30));
    plan.expect(|observation| {
        let failures =
            ["tracker fails", "tracker fails over its other family"].map(|said| observation.trace.count(said));
        if failures[0] > 0 || failures[1] == 0 { fail(format!("{failures:?} failures")) } else { Ok(()) }
    });
}

fn named(plan: &mut ScenarioPlan, leads: Option<SimName>, cause: &'static str) {
    if let Some(leads) = leads {
        plan.dns("tracker.example", leads);
    }
    plan.tier(&[url("tracker.example", false)]);
    plan.tracker("");
    slow_seeds(plan);
    plan.expect(restarted("HttpTracker", cause));
}

/// A public name that resolves to this machine: the client must request nothing of it but an announce (S-07).
fn rebinding(plan: &mut ScenarioPlan, _: &str) {
    plan.dns("tracker.example", SimName::Leads(vec![Ipv4Addr::LOCALHOST.into()]));
    plan.tier(&["http://tracker.example:6969/admin?delete=all".to_owned()]);
    plan.tracker("");
    slow_seeds(plan);
    plan.expect(restarted("HttpTracker", "forbidden-address"));
    plan.expect(|observation| match observation.dials_to(Ipv4Addr::LOCALHOST).len() {
        0 => Ok(()),
        dials => fail(format!("{dials} dials to this machine")),
    });
}

fn flapping(plan: &mut ScenarioPlan, _: &str) {
    let good = plan.tracker("");
    plan.tiers.clear();
    plan.dns("tracker.example", SimName::Flaps(vec![Ipv4Addr::new(31, 0, 0, 1).into(), good.into()]));
    plan.tier(&[url("tracker.example", false)]);
    honest(plan, 3, 128 * 1024);
    plan.within(secs(90));
}

fn five_hundred(plan: &mut ScenarioPlan, _: &str) {
    let urls: Vec<String> =
        (0..500u16).map(|nth| format!("http://50.{}.{}.1:80/announce", nth / 250, nth % 250)).collect();
    plan.tier(&urls);
    let seed = plan.known_peer("max_rate=32k");
    plan.within(secs(240));
    plan.expect(move |observation| {
        let dials = observation.wires.dials();
        let of_trackers = dials.iter().filter(|dial| dial.to.ip() != seed && dial.to.port() != PEER_PORT);
        let first = of_trackers.filter(|dial| dial.at < secs(10)).count();
        if first > 50 { fail(format!("{first} announces under way at once")) } else { Ok(()) }
    });
}

/// The client stops within 5 s, whatever the tracker does, and the same command line goes on later.
fn hung_at_the_end(plan: &mut ScenarioPlan, words: &str) {
    plan.tracker(words);
    (0..2).for_each(|_| _ = plan.known_peer("max_rate=32k"));
    plan.at(secs(10), SimStep::UserStop);
    plan.start_again_after(secs(1));
    plan.within(secs(180));
    plan.expect(|observation| match observation.runs.first().and_then(|run| run.ended.as_ref()) {
        Some((at, _)) if *at <= secs(15) => Ok(()),
        ended => fail(format!("told to stop at 10 s, ended {ended:?}")),
    });
}

//! The five mixes: many faults at once, drawn from the seed (FAULTS section 2).

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::panics::{contained, lively};
use super::{done_by, fail, honest, never_banned, scene, secs};
use crate::sim::SimScene;
use crate::sim::plan::{ScenarioPlan, SimStep};
use crate::storage::memory::{Health, Operation};

/// The scenes of this file.
#[rustfmt::skip]
pub(super) const SCENES: &[SimScene] = &[
    scene("mix.hostile-swarm", &[], "three honest peers among seventeen hostile ones", "", hostile_swarm),
    scene("mix.bad-day", &[], "the disk is full and slow, the network is away, the process is killed", "", bad_day),
    scene("mix.airport-wifi", &[], "a captive portal, then a network that comes and goes", "", airport_wifi),
    scene("mix.poisoned-tracker", &[], "impossible intervals, duplicates, private addresses and a victim", "", poisoned_tracker),
    scene("mix.restart-storm", &[], "a panic at a quarter of all message types of all actors", "", restart_storm),
];

/// P-03, 09, 12 to 18, 23 and 26.
const HOSTILE: &[&str] = &[
    "reset_on_handshake",
    "huge_length=4294967295",
    "snub_after=3",
    "drip=10",
    "corrupt=0.05",
    "corrupt_last",
    "wrong_index",
    "wrong_begin",
    "unrequested=20",
    "duplicate=1",
    "partial=0.4,lie_have",
    "have_all,reject",
    "unknown_ids=20+21+99",
    "reset_every=20k",
    "choke_forever",
    "flap=50",
    "silent",
];

/// The download keeps at least 80 % of the rate of the honest peers alone, no honest peer is banned, and each liar
/// costs two pieces at most.
fn hostile_swarm(plan: &mut ScenarioPlan, _: &str) {
    plan.payload(4 * 1024 * 1024, 32 * 1024);
    plan.tracker("");
    let seeds = honest(plan, 3, 64 * 1024);
    for _ in 0..17 {
        let words = HOSTILE.choose(&mut plan.dice).copied().unwrap_or("silent");
        let rate = plan.dice.random_range(16..128);
        plan.peer(&format!("{words},max_rate={rate}k"));
    }
    // 21.3 s for the honest peers alone, and a second to find them all.
    plan.within(secs(3 * 22 + 30));
    plan.expect(done_by(Duration::from_secs_f64(22.3 / 0.8)));
    plan.expect(never_banned(seeds));
    plan.expect(|observation| {
        let liars = observation.peers.values().filter(|stats| stats.lies > 0).count() as u64;
        match observation.view().map_or(0, |view| view.hash_failures) {
            failures if failures > 2 * liars => fail(format!("{failures} pieces wasted by {liars} liars")),
            _ => Ok(()),
        }
    });
}

/// D-01, D-07, N-01 and X-03.
fn bad_day(plan: &mut ScenarioPlan, _: &str) {
    let tracker = plan.tracker("");
    let seeds = honest(plan, 3, 64 * 1024);
    let full = plan.moment(1.0, 20.0);
    let delay = plan.moment(0.0, 2.0);
    let failing = [(Operation::Write, ErrorKind::StorageFull)].into();
    plan.at(Duration::ZERO, SimStep::Disk(Health { delay, ..Health::default() }));
    plan.at(full, SimStep::Disk(Health { failing, delay }));
    let freed = full + plan.moment(1.0, 40.0);
    plan.at(freed, SimStep::Disk(Health { delay, ..Health::default() }));
    let away = plan.moment(1.0, 30.0);
    let back = away + plan.moment(1.0, 90.0);
    for host in seeds.iter().copied().chain([tracker]) {
        plan.at(away, SimStep::Hold(host));
        plan.at(back, SimStep::Release(host));
    }
    let mut at = Duration::ZERO;
    for _ in 0..plan.dice.random_range(1..5) {
        at += plan.moment(0.5, 25.0);
        let is_mild = plan.dice.random();
        plan.at(at, if is_mild { SimStep::Kill } else { SimStep::PowerCut });
        at += plan.moment(0.1, 3.0);
        plan.at(at, SimStep::Restart);
    }
    // The faults have healed when the last of them is over. Then three times the fault-free time, a minute for the
    // shortest announce interval, the delay of each flush, and a disk that is retried every 30 s.
    let healed = freed.max(back).max(at);
    plan.within(healed + secs(3 * 11 + 90) + 10 * delay);
    plan.expect(never_banned(seeds));
}

/// What the simulator can do of N-04, 05, 08 and 10: all traffic is held for a while now and then, latency jumps, and
/// for the first half minute a log-in page answers for the tracker.
fn airport_wifi(plan: &mut ScenarioPlan, _: &str) {
    let tracker = plan.tracker_of_lives(&["html", ""]);
    let logged_in = plan.moment(5.0, 40.0);
    plan.at(logged_in, SimStep::Stop(tracker));
    plan.at(logged_in + Duration::from_millis(100), SimStep::Start(tracker));
    let seeds = honest(plan, 3, 64 * 1024);
    let mut at = logged_in;
    for _ in 0..plan.dice.random_range(2..8) {
        at += plan.moment(0.5, 8.0);
        let gone = plan.moment(0.1, 6.0);
        for host in seeds.iter().copied().chain([tracker]) {
            plan.at(at, SimStep::Hold(host));
            plan.at(at + gone, SimStep::Release(host));
        }
        at += gone;
        let jitter = Duration::from_millis(plan.dice.random_range(20..500));
        plan.at(at, SimStep::Latency(jitter));
    }
    // A minute after the captive portal is gone, the client asks the tracker again (N-10).
    plan.within(at.max(logged_in + secs(60)) + secs(3 * 11 + 60));
    plan.expect(never_banned(seeds));
}

/// T-15, 16, 19 and 20.
fn poisoned_tracker(plan: &mut ScenarioPlan, _: &str) {
    let interval = super::trackers::IMPOSSIBLE.choose(&mut plan.dice).copied().unwrap_or("0");
    let duplicates = plan.dice.random_range(1..2000);
    let victims = plan.dice.random_range(1..200);
    let tracker = plan.tracker(&format!("interval={interval},duplicates={duplicates},victims={victims},local_peers"));
    let seeds = honest(plan, 2, 12 * 1024);
    plan.within(secs(3 * 90 + 30));
    plan.expect(never_banned(seeds.clone()));
    let victim = Ipv4Addr::new(192, 0, 2, 1);
    plan.expect(move |observation| match observation.dials_to(victim).len() {
        0..=3 => Ok(()),
        dials => fail(format!("the victim was dialled {dials} times")),
    });
    plan.expect(move |observation| super::trackers::floor_is_kept(observation, tracker));
}

/// The download completes, with as many restarts as injections. Each kind of actor panics twice a minute at most: more
/// would be a crash loop, which is X-05.
fn restart_storm(plan: &mut ScenarioPlan, _: &str) {
    plan.payload(8 * 1024 * 1024, 64 * 1024);
    lively(plan);
    plan.within(secs(600));
    let mut dice = SmallRng::seed_from_u64(plan.seed ^ 0x5708);
    let mut chosen: BTreeMap<_, bool> = BTreeMap::new();
    let mut struck: BTreeMap<&'static str, Duration> = BTreeMap::new();
    let mut last = Duration::ZERO;
    plan.panic_where(move |site| {
        let now = turmoil::sim_elapsed().unwrap_or_default();
        let is_chosen = chosen.entry(site).or_insert_with(|| dice.random_bool(0.25));
        let rested = struck.get(site.actor).is_none_or(|before| now.saturating_sub(*before) > secs(30))
            && now.saturating_sub(last) > secs(5);
        if !*is_chosen || !rested {
            return false;
        }
        *is_chosen = false;
        struck.insert(site.actor, now);
        last = now;
        true
    });
    plan.expect(contained);
}

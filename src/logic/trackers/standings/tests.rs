use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::logic::testing::base_instant;

const SECOND: Duration = Duration::from_secs(1);

/// Tiers of one tracker each are never shuffled: tracker `n` is in tier `n`.
fn one_per_tier(count: usize) -> TrackerStandings {
    TrackerStandings::new((0..count).map(|n| vec![format!("http://t{n}.example/announce")]).collect(), 1)
}

fn name(clock: TrackerClock) -> String {
    match clock.family {
        Any => clock.tracker.at().to_string(),
        family => format!("{}/{}", clock.tracker.at(), family.label()),
    }
}

/// The effects, as `start 0, attend 0`.
fn drain(machine: &mut TrackerStandings) -> String {
    let effects = std::iter::from_fn(|| machine.poll()).map(|effect| match effect {
        StandingEffect::Start(clock) => format!("start {}", name(clock)),
        StandingEffect::Attend(clock) => format!("attend {}", name(clock)),
        StandingEffect::Rest(clock) => format!("rest {}", name(clock)),
        StandingEffect::Stop(clock) => format!("stop {}", name(clock)),
        StandingEffect::Rouse(clock) => format!("rouse {}", name(clock)),
    });
    effects.collect::<Vec<_>>().join(", ")
}

/// Each tracker as `works`, `failed` or `untried`, with its text and the seconds to its next announce.
fn shown(machine: &TrackerStandings, now: Instant) -> Vec<String> {
    let rows = machine.standings().map(|row| {
        let state = match (row.works, row.failed) {
            (true, false) => "works",
            (false, true) => "failed",
            (false, false) => "untried",
            (true, true) => "both",
        };
        let next =
            row.next.map_or("never".to_owned(), |next| next.saturating_duration_since(now).as_secs().to_string());
        format!("{state} '{}' {next}", row.text)
    });
    rows.collect()
}

/// A clock: number of the tracker, family.
type Clock = (usize, IpFamily);

#[derive(Debug, Clone, Copy)]
enum Step {
    Start,
    Restart,
    Stop,
    Need(PeerNeed),
    /// With peers; the family of the second clock. It asks again after 1,800 s.
    Answer(Clock, Option<IpFamily>),
    /// Without peers.
    Empty(Clock, Option<IpFamily>),
    /// It asks again after 60 s, and may at once.
    Fail(Clock),
    Ended(Clock),
    GaveUp(Clock),
    /// Seconds pass.
    Wait(u64),
    /// Nothing happens: what is shown.
    Show(&'static [&'static str]),
}
use Step::{Answer, Empty, Ended, Fail, GaveUp, Need, Restart, Show, Start, Stop, Wait};

use IpFamily::{Any, V4, V6};

fn apply(machine: &mut TrackerStandings, now: &mut Instant, step: Step) {
    let clock = |machine: &TrackerStandings, (nth, family): Clock| TrackerClock {
        tracker: machine.tiers.trackers().nth(nth).unwrap(),
        family,
    };
    let answer = |useful, second, now: Instant| TrackerAnswer {
        useful,
        swarm: Some((1, 2)),
        second,
        next: Some(now + SECOND * 1800),
    };
    match step {
        Start => machine.on_start(*now),
        Restart => machine.on_restart(),
        Stop => machine.on_stop(),
        Need(need) => machine.set_need(*now, need),
        Answer(of, second) => machine.on_announced(*now, clock(machine, of), answer(true, second, *now)),
        Empty(of, second) => machine.on_announced(*now, clock(machine, of), answer(false, second, *now)),
        Fail(of) => {
            machine.on_failed(*now, clock(machine, of), "refused".to_owned(), Some(*now + SECOND * 60), Some(*now));
        }
        Ended(of) => machine.on_ended(*now, clock(machine, of)),
        GaveUp(of) => machine.on_gave_up(*now, clock(machine, of)),
        Wait(secs) => {
            let until = *now + Duration::from_secs(secs);
            while let Some(due) = machine.deadline().filter(|due| *due <= until) {
                *now = due.max(*now);
                machine.on_timeout(*now);
            }
            *now = until;
        }
        Show(want) => assert_eq!(shown(machine, *now), want),
    }
}

/// What is shown, how many tiers, and the steps with their effects.
type Row = (&'static str, usize, &'static [(Step, &'static str)]);

fn check(table: &[Row]) {
    for (what, count, steps) in table {
        let (mut now, mut machine) = (base_instant(), one_per_tier(*count));
        for (nth, (step, want)) in steps.iter().enumerate() {
            apply(&mut machine, &mut now, *step);
            assert_eq!(drain(&mut machine), *want, "{what}: step {nth}, {step:?}");
        }
    }
}

#[test]
fn trackers_start_and_rest_as_the_tiers_want_them() {
    check(&[
        (
            "nothing starts before it may",
            2,
            &[(Need(PeerNeed::More), ""), (Start, "start 0, attend 0, start 1, attend 1")],
        ),
        (
            "the next tier when the first fails, and back",
            2,
            &[
                (Start, "start 0, attend 0"),
                (Fail((0, Any)), "start 1, attend 1"),
                (Answer((1, Any), None), ""),
                (Show(&["failed 'refused' 60", "works 'working' 1800"]), ""),
                (Answer((0, Any), None), "rest 1"),
                (Show(&["works 'working' 1800", "works 'working' 1800"]), ""),
                (Fail((0, Any)), "attend 1"),
            ],
        ),
        (
            "one that answers without peers does not do while peers are short",
            2,
            &[(Start, "start 0, attend 0"), (Empty((0, Any), None), ""), (Need(PeerNeed::More), "start 1, attend 1")],
        ),
        (
            "after a goodbye nothing starts and nothing counts",
            2,
            &[
                (Start, "start 0, attend 0"),
                (Stop, ""),
                (Fail((0, Any)), ""),
                (Need(PeerNeed::Alone), ""),
                (GaveUp((0, Any)), ""),
                (Wait(7200), ""),
                (Show(&["untried '' never", "untried '' never"]), ""),
            ],
        ),
        (
            "standings survive a restart, the actors do not",
            2,
            &[
                (Start, "start 0, attend 0"),
                (Fail((0, Any)), "start 1, attend 1"),
                (Restart, ""),
                (Answer((0, Any), None), ""),
                (Wait(60), ""),
                (Show(&["failed 'refused' never", "untried '' never"]), ""),
                (Start, "start 0, attend 0, start 1, attend 1"),
            ],
        ),
    ]);
}

/// BEP 7.
#[test]
fn a_tracker_with_both_families_has_a_second_clock() {
    check(&[
        (
            "it starts with the first answer and ends when the family is lost",
            1,
            &[
                (Start, "start 0, attend 0"),
                (Answer((0, Any), Some(V6)), "start 0/IPv6, attend 0/IPv6"),
                (Answer((0, Any), Some(V6)), ""),
                (Answer((0, V6), None), ""),
                (Answer((0, Any), None), "stop 0/IPv6"),
                (Ended((0, V6)), ""),
                (Answer((0, Any), Some(V6)), "start 0/IPv6, attend 0/IPv6"),
            ],
        ),
        (
            "the families change places",
            1,
            &[
                (Start, "start 0, attend 0"),
                (Answer((0, Any), Some(V6)), "start 0/IPv6, attend 0/IPv6"),
                (Answer((0, Any), Some(V4)), "stop 0/IPv6, start 0/IPv4, attend 0/IPv4"),
                (Ended((0, V6)), ""),
            ],
        ),
        (
            "wanted again while the old one still says `stopped`",
            1,
            &[
                (Start, "start 0, attend 0"),
                (Answer((0, Any), Some(V6)), "start 0/IPv6, attend 0/IPv6"),
                (Answer((0, Any), None), "stop 0/IPv6"),
                (Answer((0, Any), Some(V6)), ""),
                (Ended((0, V6)), "start 0/IPv6, attend 0/IPv6"),
            ],
        ),
        (
            "both rest and attend together",
            2,
            &[
                (Start, "start 0, attend 0"),
                (Fail((0, Any)), "start 1, attend 1"),
                (Answer((1, Any), Some(V6)), "start 1/IPv6, attend 1/IPv6"),
                (Answer((0, Any), None), "rest 1, rest 1/IPv6"),
                (Fail((0, Any)), "attend 1, attend 1/IPv6"),
            ],
        ),
        (
            "the tracker has failed only when no family works",
            2,
            &[
                (Start, "start 0, attend 0"),
                (Answer((0, Any), Some(V6)), "start 0/IPv6, attend 0/IPv6"),
                (Fail((0, V6)), ""),
                (Show(&["works 'working' 60", "untried '' never"]), ""),
                (Fail((0, Any)), "start 1, attend 1"),
                (Show(&["failed 'refused' 60", "untried '' never"]), ""),
                (Answer((0, V6), None), "rest 1"),
            ],
        ),
        (
            "what a stopped clock says counts no more",
            2,
            &[
                (Start, "start 0, attend 0"),
                (Answer((0, Any), Some(V6)), "start 0/IPv6, attend 0/IPv6"),
                (Answer((0, Any), None), "stop 0/IPv6"),
                // The answer to its `stopped`.
                (Empty((0, V6), None), ""),
                (Ended((0, V6)), ""),
                (Fail((0, Any)), "start 1, attend 1"),
            ],
        ),
    ]);
}

#[test]
fn a_tracker_that_gives_up_is_disabled_for_half_an_hour() {
    const DISABLED: &str = "failed 'disabled: it failed too often for reasons of our own' 1800";
    check(&[
        (
            "and tried again",
            2,
            &[
                (Start, "start 0, attend 0"),
                (GaveUp((0, Any)), "start 1, attend 1"),
                (Answer((1, Any), None), ""),
                (Show(&[DISABLED, "works 'working' 1800"]), ""),
                (Wait(1799), ""),
                (Wait(1), "start 0, attend 0"),
                (Answer((0, Any), None), "rest 1"),
            ],
        ),
        (
            "through a restart of the supervisor",
            1,
            &[
                (Start, "start 0, attend 0"),
                (GaveUp((0, Any)), ""),
                (Wait(600), ""),
                (Restart, ""),
                (Start, ""),
                (Wait(1199), ""),
                (Wait(1), "start 0, attend 0"),
            ],
        ),
        (
            "not started, if its tier has no use for it by then",
            2,
            &[
                (Start, "start 0, attend 0"),
                (Fail((0, Any)), "start 1, attend 1"),
                (GaveUp((1, Any)), ""),
                (Answer((0, Any), None), ""),
                (Wait(3600), ""),
                (Fail((0, Any)), "start 1, attend 1"),
            ],
        ),
        (
            "an answer over the other family does not end that time, nor make it longer",
            1,
            &[
                (Start, "start 0, attend 0"),
                (Answer((0, Any), Some(V6)), "start 0/IPv6, attend 0/IPv6"),
                (GaveUp((0, Any)), ""),
                (Answer((0, V6), None), ""),
                (Show(&["works 'working' 1800"]), ""),
                (Wait(1799), ""),
                (Wait(1), "start 0, attend 0"),
            ],
        ),
        (
            "the second clock waits for the next answer to the first",
            1,
            &[
                (Start, "start 0, attend 0"),
                (Answer((0, Any), Some(V6)), "start 0/IPv6, attend 0/IPv6"),
                (GaveUp((0, V6)), ""),
                (Wait(1800), ""),
                (Answer((0, Any), Some(V6)), "start 0/IPv6, attend 0/IPv6"),
            ],
        ),
    ]);
}

/// N-10.
#[test]
fn while_all_fail_one_is_roused_from_its_back_off_within_the_minute() {
    check(&[
        (
            "in turn",
            2,
            &[
                (Start, "start 0, attend 0"),
                (Need(PeerNeed::Anybody), "start 1, attend 1"),
                (Fail((0, Any)), ""),
                (Fail((1, Any)), ""),
                (Wait(56), "rouse 0"),
                (Wait(56), "rouse 1"),
            ],
        ),
        ("not while somebody delivers", 1, &[(Start, "start 0, attend 0"), (Fail((0, Any)), ""), (Wait(3600), "")]),
        (
            "not one that is disabled",
            1,
            &[
                (Start, "start 0, attend 0"),
                (Need(PeerNeed::Anybody), ""),
                (Fail((0, Any)), ""),
                (GaveUp((0, Any)), ""),
                (Wait(1799), ""),
            ],
        ),
    ]);
}

#[test]
fn the_numbers_of_the_swarm_stay_until_a_tracker_says_others() {
    let (now, mut machine) = (base_instant(), one_per_tier(1));
    machine.on_start(now);
    let clock = TrackerClock::first(machine.tiers.trackers().next().unwrap());
    for (said, want) in [(None, None), (Some((3, 4)), Some((3, 4))), (None, Some((3, 4))), (Some((0, 0)), Some((0, 0)))]
    {
        machine.on_announced(now, clock, TrackerAnswer { useful: true, swarm: said, second: None, next: None });
        assert_eq!(machine.standings().next().unwrap().swarm, want);
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let clock = || (0usize..4, prop::sample::select(vec![Any, V4, V6]));
    let second = || prop::sample::select(vec![None, Some(V4), Some(V6)]);
    let needs = vec![PeerNeed::Enough, PeerNeed::More, PeerNeed::Anybody, PeerNeed::Alone];
    let step = prop_oneof![
        1 => Just(Restart),
        4 => Just(Start),
        2 => prop::sample::select(needs).prop_map(Need),
        4 => (clock(), second()).prop_map(|(of, second)| Answer(of, second)),
        2 => (clock(), second()).prop_map(|(of, second)| Empty(of, second)),
        4 => clock().prop_map(Fail),
        4 => clock().prop_map(Ended),
        1 => clock().prop_map(GaveUp),
        2 => (0u64..3000).prop_map(Wait),
    ];
    prop::collection::vec(step, 0..150)
}

proptest! {
    /// No two actors live for one clock, only those that live are told anything, and time goes on.
    #[test]
    fn one_actor_lives_for_each_clock(steps in steps()) {
        let (mut now, mut machine) = (base_instant(), one_per_tier(4));
        let (mut live, mut leaving) = (BTreeSet::new(), BTreeSet::new());
        for step in steps {
            match step {
                // An actor ends only when it lives; it gives up only when it was not told to end.
                Ended(clock) if !leaving.remove(&clock) => continue,
                GaveUp(clock) if leaving.contains(&clock) || !live.contains(&clock) => continue,
                Ended(clock) | GaveUp(clock) => _ = live.remove(&clock),
                Restart => (live, leaving) = (BTreeSet::new(), BTreeSet::new()),
                _ => {}
            }
            apply(&mut machine, &mut now, step);
            while let Some(effect) = machine.poll() {
                let key = |clock: TrackerClock| (clock.tracker.at(), clock.family);
                match effect {
                    StandingEffect::Start(clock) => prop_assert!(live.insert(key(clock)), "{clock:?} twice"),
                    StandingEffect::Stop(clock) => {
                        prop_assert!(live.contains(&key(clock)) && leaving.insert(key(clock)), "{clock:?}");
                    }
                    StandingEffect::Attend(clock) | StandingEffect::Rest(clock) | StandingEffect::Rouse(clock) => {
                        prop_assert!(live.contains(&key(clock)), "{clock:?}");
                    }
                }
            }
            prop_assert!(machine.deadline().is_none_or(|due| due > now));
        }
    }
}

//! How each tracker of a torrent stands, which actors announce to it, and when the next one is tried (BEP 7, 12).
//!
//! Owns the [`Tiers`] (which trackers are in use), the [`TrackerProbe`] (which failed one is asked early) and, for each
//! tracker, the [`Outcomes`] of its clocks. A clock is an actor that announces to one tracker over one family of
//! addresses: each tracker has a first clock, and a second one while it has addresses of both families.
//!
//! A clock is in exactly one state. Only `Running` and `Leaving` have an actor.
//!
//! | state | meaning | left by |
//! |---|---|---|
//! | absent | no tier wants it, or the family is not there | its tier wants the tracker, or the first clock finds both families: `Running` |
//! | `Running` | it announces, or rests because its tier rests | the family is lost: `Leaving`; its restart budget is spent: `Disabled` (first clock), absent (second one) |
//! | `Leaving` | it was stopped and may still say `stopped`; what it says counts no more | it has ended: absent, or `Running` if it is wanted again |
//! | `Disabled` | for half an hour | the time is over: `Running` if its tier wants the tracker, else absent |
//!
//! A tracker is in exactly one state, which survives a restart of the actors.
//!
//! | state | meaning | left by |
//! |---|---|---|
//! | `Untried` | not asked yet, or the first answer is still out | any outcome |
//! | `Works` | the last announce over at least one family was answered | the last announce over each family has failed: `Failed` |
//! | `Failed` | the last announce over each family has failed, or the first clock is disabled and no second one works | an answer over any family: `Works` |
//!
//! The whole waits until [`TrackerStandings::on_start`], so that no actor starts before those of the last generation have
//! ended, and starts nothing after [`TrackerStandings::on_stop`]. Knows URLs as text, no protocol, no socket and no clock.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::families::{FamilyOutcome, IpFamily, Outcomes};
use super::probe::TrackerProbe;
use super::tiers::{TierEffect, Tiers, TrackerId};
use crate::logic::peers::peer_book::PeerNeed;

/// Half an hour before a disabled tracker is tried again: as long as the longest back-off of one that fails.
pub const DISABLED_FOR: Duration = Duration::from_secs(30 * 60);

/// The actor that announces to one tracker over one family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackerClock {
    /// Which tracker.
    pub tracker: TrackerId,
    /// `Any` is the first clock of a tracker, which keeps to the family that it has reached; else this is the second clock,
    /// for the other family.
    pub family: IpFamily,
}

impl TrackerClock {
    const fn first(tracker: TrackerId) -> Self {
        Self { tracker, family: IpFamily::Any }
    }

    /// Whether it is the first clock of its tracker.
    pub fn is_first(self) -> bool {
        self.family == IpFamily::Any
    }
}

/// A good answer to an announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackerAnswer {
    /// It named peers.
    pub useful: bool,
    /// Seeds and leeches, if the tracker counts them.
    pub swarm: Option<(u32, u32)>,
    /// The family that it was not reached over, if it has addresses of both.
    pub second: Option<IpFamily>,
    /// When this clock asks next.
    pub next: Option<Instant>,
}

/// What the supervisor of the trackers has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StandingEffect {
    /// Start an actor for this clock. It rests until it is told to attend.
    Start(TrackerClock),
    /// Tell this actor to announce from now on.
    Attend(TrackerClock),
    /// Tell this actor to announce no more; a `stopped` is still due at its end.
    Rest(TrackerClock),
    /// Stop this actor. [`TrackerStandings::on_ended`] is to follow.
    Stop(TrackerClock),
    /// End the back-off of this actor now: all trackers fail, and it is its turn to be asked early.
    Rouse(TrackerClock),
}

/// How one tracker stands, to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackerStanding<'a> {
    /// The URL, as the torrent gives it: it may hold secrets.
    pub url: &'a str,
    /// In words: empty before the first outcome, `working`, or why it fails.
    pub text: &'a str,
    /// The last announce over at least one family was answered.
    pub works: bool,
    /// The last announce over each family has failed.
    pub failed: bool,
    /// The next announce, over whatever family.
    pub next: Option<Instant>,
    /// Seeds and leeches, as the tracker said last.
    pub swarm: Option<(u32, u32)>,
}

/// The states of a clock that is not absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClockState {
    Running,
    Leaving,
    Disabled { until: Instant },
}

/// The states of a tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Standing {
    #[default]
    Untried,
    Works,
    Failed,
}

/// The states of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No actor may be started yet.
    Waiting,
    /// Actors run as the tiers want them.
    Running,
    /// All actors are told to end; none is started any more.
    Closing,
}

/// What is known of one tracker.
#[derive(Debug, Default)]
struct Tracker {
    // Kept over restarts.
    standing: Standing,
    text: String,
    swarm: Option<(u32, u32)>,
    /// Its tier wants it.
    attended: bool,
    // Live.
    clocks: BTreeMap<IpFamily, ClockState>,
    /// The family of the second clock, if there is to be one.
    second: Option<IpFamily>,
    outcomes: Outcomes,
    next: Option<Instant>,
    next_of_second: Option<Instant>,
}

impl Tracker {
    /// Notes the outcome of one announce and when the next one comes. Returns how the tracker stands with it.
    fn note(&mut self, family: IpFamily, outcome: FamilyOutcome, next: Option<Instant>) -> Option<FamilyOutcome> {
        if family == IpFamily::Any {
            self.outcomes.on_first(outcome);
            self.next = next;
        } else {
            self.outcomes.on_second(Some(outcome));
            self.next_of_second = next;
        }
        self.outcomes.whole()
    }

    fn disabled_until(&self) -> Option<Instant> {
        self.clocks.values().find_map(|state| match state {
            ClockState::Disabled { until } => Some(*until),
            ClockState::Running | ClockState::Leaving => None,
        })
    }

    /// What is left when all actors are gone.
    fn forget_actors(&mut self) {
        self.clocks.retain(|_, state| matches!(state, ClockState::Disabled { .. }));
        (self.second, self.outcomes, self.next_of_second) = (None, Outcomes::default(), None);
        self.next = self.disabled_until();
    }
}

/// See the head of this file.
#[derive(Debug)]
pub struct TrackerStandings {
    tiers: Tiers,
    probe: TrackerProbe,
    seed: u64,
    trackers: BTreeMap<TrackerId, Tracker>,
    phase: Phase,
    outbox: VecDeque<StandingEffect>,
}

impl TrackerStandings {
    /// From the URLs of an `announce-list`, shuffled within their tiers by `seed`. Waits for [`Self::on_start`].
    pub fn new(announce_list: Vec<Vec<String>>, seed: u64) -> Self {
        let tiers = Tiers::new(announce_list, seed);
        let trackers = tiers.trackers().map(|id| (id, Tracker::default())).collect();
        Self { tiers, probe: TrackerProbe::new(seed), seed, trackers, phase: Phase::Waiting, outbox: VecDeque::new() }
    }

    /// The URLs whose protocol we do not speak; they are left out.
    pub fn unsupported(&self) -> &[String] {
        self.tiers.unsupported()
    }

    /// The URL of a tracker, as the torrent gives it: it may hold secrets.
    pub fn url(&self, tracker: TrackerId) -> &str {
        self.tiers.url(tracker)
    }

    /// How much more peers are wanted, as last said.
    pub const fn need(&self) -> PeerNeed {
        self.tiers.need()
    }

    /// All trackers in the order of the torrent.
    pub fn standings(&self) -> impl Iterator<Item = TrackerStanding<'_>> {
        let early = self.probe.plan();
        self.trackers.iter().map(move |(id, tracker)| {
            let early = early.filter(|(planned, _)| planned == id).map(|(_, at)| at);
            TrackerStanding {
                url: self.tiers.url(*id),
                text: &tracker.text,
                works: tracker.standing == Standing::Works,
                failed: tracker.standing == Standing::Failed,
                next: [tracker.next, tracker.next_of_second, early].into_iter().flatten().min(),
                swarm: tracker.swarm,
            }
        })
    }

    /// No actor of an earlier generation lives: those that are wanted start.
    pub fn on_start(&mut self, now: Instant) {
        self.phase = Phase::Running;
        self.start_absent(now);
        self.settle(now);
    }

    /// We are leaving: all actors are being stopped.
    pub fn on_stop(&mut self) {
        self.phase = Phase::Closing;
        self.outbox.clear();
    }

    /// All actors are being stopped, and new ones will be wanted: [`Self::on_start`] is to follow. Tier order, standings and
    /// disabled clocks stay.
    pub fn on_restart(&mut self) {
        self.phase = Phase::Waiting;
        self.probe = TrackerProbe::new(self.seed);
        self.outbox.clear();
        self.trackers.values_mut().for_each(Tracker::forget_actors);
    }

    /// How much more peers are wanted.
    pub fn set_need(&mut self, now: Instant, need: PeerNeed) {
        self.tiers.set_need(need);
        self.settle(now);
    }

    /// The tracker answered.
    pub fn on_announced(&mut self, now: Instant, clock: TrackerClock, answer: TrackerAnswer) {
        let Some(tracker) = self.heard(clock) else { return };
        tracker.swarm = answer.swarm.or(tracker.swarm);
        tracker.standing = Standing::Works;
        "working".clone_into(&mut tracker.text);
        let mut whole = tracker.note(clock.family, FamilyOutcome::Works { useful: answer.useful }, answer.next);
        if clock.is_first() {
            self.probe.forget(clock.tracker);
            whole = self.match_families(clock.tracker, answer.second);
        }
        self.tiers.on_success(clock.tracker, whole == Some(FamilyOutcome::Works { useful: true }));
        self.settle(now);
    }

    /// An announce failed. `retry`: when this clock asks again, `None` for never; `not_before`: when it may be asked at the
    /// earliest, `None` for never.
    pub fn on_failed(
        &mut self,
        now: Instant,
        clock: TrackerClock,
        why: String,
        retry: Option<Instant>,
        not_before: Option<Instant>,
    ) {
        if self.heard(clock).is_none() {
            return;
        }
        if clock.is_first() {
            self.probe.on_failure(now, clock.tracker, not_before);
        }
        self.fail(now, clock, why, retry);
    }

    /// An actor has ended that was told to.
    pub fn on_ended(&mut self, now: Instant, clock: TrackerClock) {
        let Some(tracker) = self.trackers.get_mut(&clock.tracker) else { return };
        let was = tracker.clocks.remove(&clock.family);
        if was == Some(ClockState::Leaving) && tracker.second == Some(clock.family) {
            self.start(clock);
        }
        self.settle(now);
    }

    /// An actor has spent its restart budget. The first clock of a tracker is disabled, the second one waits for the next
    /// answer to the first.
    pub fn on_gave_up(&mut self, now: Instant, clock: TrackerClock) {
        let Some(tracker) = self.heard(clock) else { return };
        let until = clock.is_first().then(|| now + DISABLED_FOR);
        match until {
            Some(until) => tracker.clocks.insert(clock.family, ClockState::Disabled { until }),
            None => tracker.clocks.remove(&clock.family),
        };
        if clock.is_first() {
            self.probe.forget(clock.tracker);
        }
        self.fail(now, clock, "disabled: it failed too often for reasons of our own".to_owned(), until);
    }

    /// The timer rang.
    pub fn on_timeout(&mut self, now: Instant) {
        if self.phase == Phase::Running {
            self.start_absent(now);
            let early = self.probe.on_timeout(now).map(TrackerClock::first);
            self.outbox.extend(early.filter(|clock| self.is_running(*clock)).map(StandingEffect::Rouse));
        }
        self.settle(now);
    }

    /// The next thing to do, until there is none.
    pub fn poll(&mut self) -> Option<StandingEffect> {
        self.outbox.pop_front()
    }

    /// When [`Self::on_timeout`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        let disabled = self.trackers.values().filter_map(Tracker::disabled_until);
        disabled.chain(self.probe.deadline()).min().filter(|_| self.phase == Phase::Running)
    }

    /// The tracker of a clock whose news count: not those of an actor that is on its way out.
    fn heard(&mut self, clock: TrackerClock) -> Option<&mut Tracker> {
        if self.phase != Phase::Running || !self.is_running(clock) {
            return None;
        }
        self.trackers.get_mut(&clock.tracker)
    }

    fn is_running(&self, clock: TrackerClock) -> bool {
        let tracker = self.trackers.get(&clock.tracker);
        tracker.is_some_and(|tracker| tracker.clocks.get(&clock.family) == Some(&ClockState::Running))
    }

    /// A clock of a tracker has failed. The tracker has, if the other clock has failed too, or there is none.
    fn fail(&mut self, now: Instant, clock: TrackerClock, why: String, retry: Option<Instant>) {
        let Some(tracker) = self.trackers.get_mut(&clock.tracker) else { return };
        if tracker.note(clock.family, FamilyOutcome::Failed, retry) == Some(FamilyOutcome::Failed) {
            (tracker.standing, tracker.text) = (Standing::Failed, why);
            self.tiers.on_failure(clock.tracker);
        }
        self.settle(now);
    }

    /// A tracker with addresses of both families has a second clock, for the family that the first does not go over; one
    /// that has lost them has it no more. Returns how the tracker stands with the clocks that it has.
    fn match_families(&mut self, id: TrackerId, second: Option<IpFamily>) -> Option<FamilyOutcome> {
        let tracker = self.trackers.get_mut(&id)?;
        tracker.second = second;
        for (family, state) in &mut tracker.clocks {
            let is_kept = *family == IpFamily::Any || Some(*family) == second;
            if !is_kept && *state == ClockState::Running {
                *state = ClockState::Leaving;
                tracker.outcomes.on_second(None);
                tracker.next_of_second = None;
                self.outbox.push_back(StandingEffect::Stop(TrackerClock { tracker: id, family: *family }));
            }
        }
        let whole = tracker.outcomes.whole();
        if let Some(family) = second {
            self.start(TrackerClock { tracker: id, family });
        }
        whole
    }

    /// Enables the clocks whose time is over, and starts the first clock of each tracker in use that has none.
    fn start_absent(&mut self, now: Instant) {
        for tracker in self.trackers.values_mut() {
            tracker.clocks.retain(|_, state| !matches!(state, ClockState::Disabled { until } if *until <= now));
        }
        let attended: Vec<_> =
            self.trackers.iter().filter(|(_, tracker)| tracker.attended).map(|(id, _)| *id).collect();
        for id in attended {
            self.start(TrackerClock::first(id));
        }
    }

    /// Starts a clock that is absent.
    fn start(&mut self, clock: TrackerClock) {
        let Some(tracker) = self.trackers.get_mut(&clock.tracker) else { return };
        if self.phase != Phase::Running || tracker.clocks.contains_key(&clock.family) {
            return;
        }
        tracker.clocks.insert(clock.family, ClockState::Running);
        self.outbox.push_back(StandingEffect::Start(clock));
        if tracker.attended {
            self.outbox.push_back(StandingEffect::Attend(clock));
        }
    }

    /// Does what the tiers want, and looks whether all have failed.
    fn settle(&mut self, now: Instant) {
        while let Some(effect) = self.tiers.poll() {
            match effect {
                TierEffect::Start(id) => self.set_attended(id, true),
                TierEffect::Rest(id) => self.set_attended(id, false),
            }
        }
        let is_stranded = self.phase == Phase::Running && self.tiers.is_stranded();
        self.probe.set_stranded(now, is_stranded);
    }

    /// The actors that run are told; the first clock is started if there is none.
    fn set_attended(&mut self, id: TrackerId, attended: bool) {
        let Some(tracker) = self.trackers.get_mut(&id) else { return };
        tracker.attended = attended;
        if self.phase != Phase::Running {
            return;
        }
        let running = tracker.clocks.iter().filter(|(_, state)| **state == ClockState::Running);
        let told = running.map(|(family, _)| TrackerClock { tracker: id, family: *family });
        self.outbox.extend(told.map(if attended { StandingEffect::Attend } else { StandingEffect::Rest }));
        if attended {
            self.start(TrackerClock::first(id));
        }
    }
}

#[cfg(test)]
mod tests;

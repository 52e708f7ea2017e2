//! The announce clock of one tracker: when to announce, and with which event (BEP 3, BEP 31).
//!
//! Whatever the tracker answers and for whatever reason an announce is requested, announces keep their distance (T-15, I7): at least
//! 60 s after an answer, and the back-off after a failure. Only the events `completed` and `stopped`, which occur
//! once, do not wait. The clock knows no URL, no socket and no real time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::codec::tracker::{AnnounceReply, Event, RetryIn};
use crate::logic::peers::peer_book::PeerNeed;

/// 60 s between announces, whatever the tracker says (T-15).
pub const FLOOR: Duration = Duration::from_secs(60);

/// 45 s after a failure, for any request: as long as [`crate::logic::trackers::probe`] waits at least between two
/// probes (N-10).
const FLOOR_AFTER_FAILURE: Duration = Duration::from_secs(45);

/// 300 s while no more peers are needed (T-15).
pub const FLOOR_AT_REST: Duration = Duration::from_secs(300);

/// 30 min: the common interval, for trackers that name none (T-15, W-12).
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(30 * 60);

/// 24 h: a longer interval is cut to this, since it would amount to no further announce (T-15).
pub const MAX_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// 300 s: while we have no peer at all, announces come at least this often, where the tracker's `min interval` allows
/// it. libtorrent's `min_announce_interval` is the same: an interval that no tracker minds.
pub const MOST_ALONE: Duration = Duration::from_secs(300);

/// 5 s before the first retry, doubled with each failure (T-01).
pub const FIRST_RETRY: Duration = Duration::from_secs(5);

/// At most 30 min between retries (T-01).
pub const MAX_RETRY: Duration = Duration::from_secs(30 * 60);

/// What the tracker's actor must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnnounceEffect {
    /// Announce now with this event. Exactly one [`Announcer::on_reply`] or [`Announcer::on_failure`] must follow.
    Announce(Event),
}

/// The event to send: a partial seed "MUST send an `event=paused` parameter in every announce while it is a partial
/// seed" (BEP 21). The events that occur once are sent all the same.
pub fn as_told(event: Event, partial_seed: bool) -> Event {
    if partial_seed && event == Event::Periodic { Event::Paused } else { event }
}

/// The state that survives a restart of the tracker's actor, so that it neither repeats `started` nor breaks the
/// floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kept {
    /// Whether the tracker has accepted `started`.
    pub started: bool,
    /// Whether `completed` must still be sent.
    pub completed_due: bool,
    /// No announce before this time, whatever the request.
    pub not_before: Option<Instant>,
    /// Failures in a row.
    pub fails: u32,
    /// Whether the tracker asked us never to return (BEP 31).
    pub refused: bool,
}

/// The state of a tracker, for logs and `why`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnnounceState {
    /// The tracker is not in use.
    Resting,
    /// An announce is under way.
    Announcing(Event),
    /// The next announce is at `due`, after `fails` failures in a row.
    Waiting {
        /// When the next announce is due.
        due: Instant,
        /// Failures in a row.
        fails: u32,
    },
    /// The tracker asked us never to return (BEP 31).
    Refused,
    /// Stopped: no further announce comes.
    Ended,
}

/// Whether the tracker is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The tracker is not in use.
    Resting,
    /// The tracker is in use.
    Active,
    /// The torrent is stopping.
    Stopping,
}

/// Decides when one tracker is announced to and with which event.
#[derive(Debug)]
pub struct Announcer {
    /// The state that survives a restart.
    kept: Kept,
    dice: SmallRng,
    role: Role,
    /// How much the torrent needs more peers.
    need: PeerNeed,
    /// The event of the announce that is under way.
    in_flight: Option<Event>,
    /// When the next announce is due.
    due: Option<Instant>,
    /// When the next announce was due by the last answer, before a request moved it forward.
    regular: Option<Instant>,
    /// When the last answer came.
    answered: Option<Instant>,
    /// The last interval. It limits how long repeated requests wait.
    interval: Duration,
    /// Announces in a row that were made earlier than planned because of a request.
    hurried: u32,
    /// Whether the next announce was moved forward by a request.
    asked: bool,
    outbox: VecDeque<AnnounceEffect>,
}

impl Announcer {
    /// A clock that does not run until [`Self::on_start`]. `kept` is the default for a new tracker, and after a
    /// restart what [`Self::kept`] returned before it.
    pub fn new(kept: Kept, seed: u64) -> Self {
        Self {
            kept,
            dice: SmallRng::seed_from_u64(seed),
            role: Role::Resting,
            need: PeerNeed::More,
            in_flight: None,
            due: None,
            regular: None,
            answered: None,
            interval: DEFAULT_INTERVAL,
            hurried: 0,
            asked: false,
            outbox: VecDeque::new(),
        }
    }

    /// The state to keep for the next incarnation.
    pub const fn kept(&self) -> Kept {
        self.kept
    }

    /// The tracker is in use from now on: announce as soon as the floor allows.
    pub fn on_start(&mut self, now: Instant) {
        if self.role == Role::Resting {
            self.role = Role::Active;
            self.plan(now, now);
        }
    }

    /// The tracker is not in use any more. The result of an announce under way must still be reported.
    pub fn on_rest(&mut self, _now: Instant) {
        if self.role == Role::Active {
            self.role = Role::Resting;
            self.due = None;
        }
    }

    /// Sets how much the torrent needs more peers. Without need the floor is five minutes (T-15). A need that grows
    /// counts as a request. While there is no peer at all the next announce is moved forward, and back to its planned
    /// time once there is one.
    pub fn set_need(&mut self, now: Instant, need: PeerNeed) {
        let before = std::mem::replace(&mut self.need, need);
        match (before, need) {
            (_, PeerNeed::Alone) => self.hurry_alone(now),
            (PeerNeed::Alone, _) if self.due.is_some() && self.kept.fails == 0 => {
                self.asked = false;
                self.due = self.regular.max(self.due);
            }
            _ if need > before => self.on_request(now),
            _ => {}
        }
    }

    /// Moves the next announce forward while there is no peer at all, so that a seed that appears just after our first
    /// announce does not wait for the next regular one. Announces come after 60, 120, 240 s and then every five
    /// minutes, unless the tracker's interval is shorter or its `min interval` longer. Failures keep their own
    /// back-off.
    fn hurry_alone(&mut self, now: Instant) {
        if self.kept.fails > 0 {
            return;
        }
        let patience = self.interval.min(FLOOR.saturating_mul(1 << self.hurried.min(16))).min(MOST_ALONE);
        let earliest = self.kept.not_before.max(self.answered.map(|answered| answered + patience)).unwrap_or(now);
        if self.due.is_some_and(|due| earliest.max(now) < due) {
            self.asked = true;
            self.plan(now, earliest);
        }
    }

    /// Announces if it is due. Call it at [`Self::deadline`].
    pub fn on_timeout(&mut self, now: Instant) {
        self.fire_if_due(now);
    }

    /// Requests an announce before the planned time, but not below the floor: peers are short, or the user asked.
    /// Repeated requests wait longer each time, up to the tracker's interval, so that a dead swarm does not cost its
    /// tracker an announce a minute.
    pub fn on_request(&mut self, now: Instant) {
        let patience = self.interval.min(FLOOR.saturating_mul(1 << self.hurried.min(16))).saturating_sub(FLOOR);
        let earliest = self.kept.not_before.map_or(now, |not_before| not_before + patience);
        if self.due.is_some_and(|due| earliest.max(now) < due) {
            self.asked = true;
            self.plan(now, earliest);
        }
    }

    /// The download is complete: announced once and at once (BEP 3). Not to be called for a torrent that was complete
    /// at its start.
    pub fn on_completed(&mut self, now: Instant) {
        self.kept.completed_due = true;
        if self.kept.started && self.kept.fails == 0 && self.due.is_some() {
            self.fire(now);
        }
    }

    /// The torrent stops: `stopped` is sent, but only to a tracker that has accepted `started` (T-25), and only after
    /// an announce under way is answered. A tracker that received `completed` after `stopped` would list us again. The
    /// answer to a `started` is not waited for.
    pub fn on_stop(&mut self, _now: Instant) {
        if self.role == Role::Stopping {
            return;
        }
        self.role = Role::Stopping;
        self.due = None;
        if !self.kept.started {
            self.in_flight = None;
        }
        self.say_stopped();
    }

    /// Emits `stopped` if the tracker has accepted `started` and no announce is under way.
    fn say_stopped(&mut self) {
        if self.in_flight.is_none() && self.kept.started && !self.kept.refused {
            self.in_flight = Some(Event::Stopped);
            self.outbox.push_back(AnnounceEffect::Announce(Event::Stopped));
        }
    }

    /// An announce that was under way at the stop is answered or has failed: `stopped` may follow.
    fn on_last_answer(&mut self, answered: Option<Event>) {
        if self.role == Role::Stopping && answered.is_some_and(|event| event != Event::Stopped) {
            self.say_stopped();
        }
    }

    /// The tracker answered. Returns the time to the next announce within our limits (T-15).
    pub fn on_reply(&mut self, now: Instant, reply: &AnnounceReply) -> Duration {
        let answered = self.in_flight.take();
        match answered {
            Some(Event::Started) => self.kept.started = true,
            Some(Event::Completed) => self.kept.completed_due = false,
            Some(Event::Stopped) => self.kept.started = false,
            Some(Event::Periodic | Event::Paused) | None => {}
        }
        self.kept.fails = 0;
        self.hurried = if self.asked { self.hurried.saturating_add(1) } else { 0 };
        self.asked = false;
        let least = clamped(reply.min_interval).unwrap_or(FLOOR);
        self.interval = clamped(reply.interval).unwrap_or(DEFAULT_INTERVAL).max(least);
        let floor = if self.need.is_short() { FLOOR } else { FLOOR_AT_REST };
        self.kept.not_before = Some(now + least);
        let wait = if self.kept.completed_due { least } else { self.interval.max(floor) };
        // Late, never early: some trackers count early announces against the client.
        let wait = wait.mul_f64(self.dice.random_range(1.0..=1.05)).min(MAX_INTERVAL);
        self.plan(now, now + wait);
        (self.regular, self.answered) = (self.due, Some(now));
        if self.need == PeerNeed::Alone {
            self.hurry_alone(now);
        }
        self.on_last_answer(answered);
        wait
    }

    /// The announce failed: refused, timed out, unreadable, or the tracker refused it, perhaps with a time to return.
    /// Returns the time to the retry; `Duration::MAX` for never.
    pub fn on_failure(&mut self, now: Instant, retry_in: Option<RetryIn>) -> Duration {
        let failed = self.in_flight.take();
        self.asked = false;
        if retry_in == Some(RetryIn::Never) {
            self.kept.refused = true;
            self.due = None;
            return Duration::MAX;
        }
        let doubled = FIRST_RETRY.saturating_mul(1 << self.kept.fails.min(16)).min(MAX_RETRY);
        self.kept.fails = self.kept.fails.saturating_add(1);
        let backoff = doubled.mul_f64(self.dice.random_range(0.8..=1.2));
        let wait = match retry_in {
            Some(RetryIn::After(asked)) => asked.clamp(backoff, MAX_INTERVAL),
            _ => backoff,
        };
        // The user may shorten a long back-off, but not below the floor nor below what the tracker asked for.
        let least = if retry_in.is_some() { wait } else { wait.min(FLOOR_AFTER_FAILURE) };
        self.kept.not_before = Some(now + least);
        self.plan(now, now + wait);
        self.on_last_answer(failed);
        wait
    }

    /// Returns the next effect, or `None`.
    pub fn poll(&mut self) -> Option<AnnounceEffect> {
        self.outbox.pop_front()
    }

    /// When to call [`Self::on_timeout`]. `None` while no announce is planned.
    pub fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// The state of the tracker.
    pub fn state(&self) -> AnnounceState {
        match (self.in_flight, self.due) {
            (Some(event), _) => AnnounceState::Announcing(event),
            (None, _) if self.role == Role::Stopping => AnnounceState::Ended,
            (None, _) if self.kept.refused => AnnounceState::Refused,
            (None, Some(due)) => AnnounceState::Waiting { due, fails: self.kept.fails },
            (None, None) => AnnounceState::Resting,
        }
    }

    /// Plans the next announce at `at`, or as soon after it as the floor allows.
    fn plan(&mut self, now: Instant, at: Instant) {
        if self.role != Role::Active || self.kept.refused || self.in_flight.is_some() {
            return;
        }
        self.due = Some(self.kept.not_before.map_or(at, |not_before| not_before.max(at)));
        self.fire_if_due(now);
    }

    fn fire_if_due(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            self.fire(now);
        }
    }

    /// Emits the announce with the event that is due.
    fn fire(&mut self, now: Instant) {
        self.due = None;
        let event = match self.kept {
            Kept { started: false, .. } => Event::Started,
            Kept { completed_due: true, .. } => Event::Completed,
            _ => Event::Periodic,
        };
        self.in_flight = Some(event);
        // Until the result is known: if this incarnation ends without one, the next one still keeps the floor.
        self.kept.not_before = Some(now + FLOOR);
        self.outbox.push_back(AnnounceEffect::Announce(event));
    }
}

/// Converts seconds from a tracker, within our limits. Zero and negative values give the lower limit (T-15).
fn clamped(secs: Option<i64>) -> Option<Duration> {
    let secs = u64::try_from(secs?).unwrap_or(0);
    Some(Duration::from_secs(secs).clamp(FLOOR, MAX_INTERVAL))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::testing::base_instant;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn reply(interval: Option<i64>, min_interval: Option<i64>) -> AnnounceReply {
        AnnounceReply { interval, min_interval, ..AnnounceReply::default() }
    }

    fn started() -> (Instant, Announcer) {
        let (t0, mut announcer) = (base_instant(), Announcer::new(Kept::default(), 1));
        announcer.on_start(t0);
        assert_eq!(announced(&mut announcer), Some(Event::Started));
        (t0, announcer)
    }

    fn announced(announcer: &mut Announcer) -> Option<Event> {
        let AnnounceEffect::Announce(event) = announcer.poll()?;
        assert_eq!(announcer.poll(), None, "one announce at a time");
        Some(event)
    }

    /// Seconds to the next announce, and its event.
    fn next(announcer: &mut Announcer, now: &mut Instant) -> Option<(u64, Event)> {
        let due = announcer.deadline()?;
        let wait = due.saturating_duration_since(*now);
        *now = due;
        announcer.on_timeout(due);
        Some((wait.as_secs(), announced(announcer)?))
    }

    /// T-15: whatever number or nonsense a tracker sends.
    #[test]
    fn intervals_are_clamped() {
        let table = [
            (Some(1800), None, 1800, 1800),
            (None, None, 1800, 1800),
            (Some(0), None, 60, 300),
            (Some(1), None, 60, 300),
            (Some(-1), None, 60, 300),
            (Some(i64::MIN), None, 60, 300),
            (Some(i64::MAX), None, 86_400, 86_400),
            (Some(1 << 31), None, 86_400, 86_400),
            (Some(200), None, 200, 300),
            (Some(100), Some(900), 900, 900),
            (Some(900), Some(-5), 900, 900),
            (None, Some(3600), 3600, 3600),
            (Some(1800), Some(i64::MAX), 86_400, 86_400),
        ];
        for (interval, min_interval, short, at_rest) in table {
            for (need, want) in [(PeerNeed::More, short), (PeerNeed::Enough, at_rest)] {
                let (t0, mut announcer) = started();
                announcer.set_need(t0, need);
                let wait = announcer.on_reply(t0, &reply(interval, min_interval)).as_secs_f64();
                let want = f64::from(want);
                assert!((want..=want * 1.05).contains(&wait), "{interval:?} {min_interval:?} {need:?}: {wait}");
                assert_eq!(announcer.deadline(), Some(t0 + Duration::from_secs_f64(wait)));
            }
        }
    }

    /// T-01: 5 s, doubled up to half an hour, and back to the start after a success.
    #[test]
    fn failures_back_off_and_a_success_forgets_them() {
        let (mut now, mut announcer) = started();
        for want in [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0, 1800.0, 1800.0, 1800.0] {
            let wait = announcer.on_failure(now, None).as_secs_f64();
            assert!((want * 0.8..=want * 1.2).contains(&wait), "{want}: {wait}");
            assert_eq!(next(&mut announcer, &mut now).map(|(_, event)| event), Some(Event::Started));
        }
        announcer.on_reply(now, &reply(None, None));
        next(&mut announcer, &mut now);
        assert!(announcer.on_failure(now, None) <= SECOND * 6);
    }

    /// BEP 31, T-08: `retry in`.
    #[test]
    fn a_tracker_that_says_when_to_return_is_obeyed() {
        let after = |secs| Some(RetryIn::After(SECOND * secs));
        for (retry_in, want) in [(after(600), 600), (after(0), 4), (after(u32::MAX), 86_400)] {
            let (mut now, mut announcer) = started();
            let wait = announcer.on_failure(now, retry_in);
            assert!((want..=want + 2).contains(&wait.as_secs()), "{retry_in:?}: {wait:?}");
            announcer.on_request(now);
            assert_eq!(announcer.deadline(), Some(now + wait), "not even a person makes it earlier");
            assert!(next(&mut announcer, &mut now).is_some());
        }
        let (t0, mut announcer) = started();
        assert_eq!(announcer.on_failure(t0, Some(RetryIn::Never)), Duration::MAX);
        announcer.on_request(t0);
        announcer.on_completed(t0);
        announcer.on_rest(t0);
        announcer.on_start(t0 + MAX_INTERVAL);
        assert_eq!((announcer.state(), announced(&mut announcer)), (AnnounceState::Refused, None));
        announcer.on_stop(t0);
        assert_eq!((announcer.state(), announced(&mut announcer)), (AnnounceState::Ended, None));
    }

    #[test]
    fn requests_come_early_but_never_below_the_floor_and_ever_more_rarely() {
        let (mut now, mut announcer) = started();
        announcer.on_reply(now, &reply(Some(1800), None));
        let mut waits = Vec::new();
        for _request in 0..7 {
            announcer.on_request(now);
            waits.push(next(&mut announcer, &mut now).unwrap().0);
            announcer.on_reply(now, &reply(Some(1800), None));
        }
        assert_eq!(waits[..6], [60, 120, 240, 480, 960, 1800]);
        // An announce without a request resets the waiting time.
        next(&mut announcer, &mut now);
        announcer.on_reply(now, &reply(Some(1800), None));
        now += SECOND * 600;
        announcer.on_request(now);
        assert_eq!(announced(&mut announcer), Some(Event::Periodic), "600 s after the last one: at once");
    }

    /// A seed that appears after the first announce: the waits in seconds, for each interval and minimum.
    #[test]
    fn while_we_are_alone_announces_come_early_as_far_as_the_tracker_allows() {
        for (interval, min_interval, want) in [
            (Some(1800), None, [60, 120, 240, 300, 300, 300]),
            (None, None, [60, 120, 240, 300, 300, 300]),
            (Some(200), None, [60, 120, 200, 200, 200, 200]),
            (Some(1800), Some(60), [60, 120, 240, 300, 300, 300]),
            (Some(1800), Some(900), [900; 6]),
            (Some(1800), Some(1800), [1800; 6]),
            (Some(30), None, [60; 6]),
        ] {
            let (mut now, mut announcer) = started();
            announcer.set_need(now, PeerNeed::Alone);
            let waits = want.map(|_| {
                announcer.on_reply(now, &reply(interval, min_interval));
                next(&mut announcer, &mut now).unwrap().0
            });
            let is_late = |(wait, want): (&u64, u64)| (want..=want + want / 20).contains(wait);
            assert!(waits.iter().zip(want).all(is_late), "{interval:?} {min_interval:?}: {waits:?}, not {want:?}");
        }
    }

    #[test]
    fn with_a_peer_the_next_announce_comes_when_it_was_planned() {
        let (t0, mut announcer) = started();
        announcer.set_need(t0, PeerNeed::Alone);
        let planned = announcer.on_reply(t0, &reply(Some(1800), None));
        assert_eq!(announcer.deadline(), Some(t0 + FLOOR));
        announcer.set_need(t0 + SECOND, PeerNeed::Anybody);
        assert_eq!(announcer.deadline(), Some(t0 + planned));
        announcer.set_need(t0 + SECOND * 2, PeerNeed::Alone);
        assert_eq!(announcer.deadline(), Some(t0 + FLOOR), "it has gone again");
        announcer.set_need(t0 + SECOND * 700, PeerNeed::Enough);
        announcer.set_need(t0 + SECOND * 701, PeerNeed::Alone);
        assert_eq!(announced(&mut announcer), Some(Event::Periodic), "long after the last one: at once");
    }

    #[test]
    fn a_tracker_that_fails_is_not_asked_earlier_because_we_are_alone() {
        let (t0, mut announcer) = started();
        announcer.set_need(t0, PeerNeed::Alone);
        let wait = announcer.on_failure(t0, Some(RetryIn::After(SECOND * 1800)));
        announcer.set_need(t0, PeerNeed::Anybody);
        announcer.set_need(t0, PeerNeed::Alone);
        assert_eq!(announcer.deadline(), Some(t0 + wait));
    }

    #[test]
    fn the_trackers_own_minimum_holds_for_requests() {
        let (mut now, mut announcer) = started();
        announcer.on_reply(now, &reply(Some(1800), Some(900)));
        announcer.on_request(now);
        assert_eq!(next(&mut announcer, &mut now), Some((900, Event::Periodic)));
    }

    #[test]
    fn a_long_back_off_can_be_shortened_by_a_request() {
        let (mut now, mut announcer) = started();
        for _failure in 0..9 {
            announcer.on_failure(now, None);
            next(&mut announcer, &mut now);
        }
        assert!(announcer.on_failure(now, None) > SECOND * 1000);
        announcer.on_request(now);
        assert_eq!(next(&mut announcer, &mut now), Some((45, Event::Started)));
    }

    #[test]
    fn completed_is_said_once_and_at_once() {
        let (t0, mut announcer) = started();
        announcer.on_completed(t0);
        assert_eq!(announced(&mut announcer), None, "started is still under way");
        let mut now = t0 + SECOND;
        announcer.on_reply(now, &reply(Some(1800), None));
        let (wait, event) = next(&mut announcer, &mut now).unwrap();
        assert!((60..=63).contains(&wait) && event == Event::Completed, "{wait} {event:?}");
        announcer.on_failure(now, None);
        assert_eq!(next(&mut announcer, &mut now).unwrap().1, Event::Completed, "until it is accepted");
        announcer.on_reply(now, &reply(Some(1800), None));
        assert_eq!(next(&mut announcer, &mut now).unwrap().1, Event::Periodic);

        let (t0, mut announcer) = started();
        announcer.on_reply(t0, &reply(Some(1800), None));
        announcer.on_completed(t0 + SECOND);
        assert_eq!(announced(&mut announcer), Some(Event::Completed));
    }

    /// T-25: a tracker that never heard `started`.
    #[test]
    fn stopped_is_said_only_where_started_was_accepted() {
        let (t0, mut announcer) = started();
        announcer.on_stop(t0);
        assert_eq!((announced(&mut announcer), announcer.state()), (None, AnnounceState::Ended));

        let (t0, mut announcer) = started();
        announcer.on_reply(t0, &reply(None, None));
        announcer.on_rest(t0);
        announcer.on_stop(t0);
        announcer.on_stop(t0);
        assert_eq!(announced(&mut announcer), Some(Event::Stopped), "resting or not");
        assert_eq!(announcer.state(), AnnounceState::Announcing(Event::Stopped));
        announcer.on_failure(t0, None);
        announcer.on_request(t0);
        announcer.on_start(t0);
        assert_eq!((announced(&mut announcer), announcer.deadline()), (None, None), "and never retried");
        assert_eq!(announcer.state(), AnnounceState::Ended);
    }

    #[test]
    fn stopped_waits_for_the_answer_to_completed_and_for_nothing_else() {
        for answered in [true, false] {
            let (t0, mut announcer) = started();
            announcer.on_reply(t0, &reply(None, None));
            announcer.on_completed(t0 + SECOND);
            assert_eq!(announced(&mut announcer), Some(Event::Completed));
            announcer.on_stop(t0 + SECOND);
            assert_eq!(announced(&mut announcer), None, "the tracker may not have heard of it yet");
            if answered {
                announcer.on_reply(t0 + SECOND, &reply(None, None));
            } else {
                announcer.on_failure(t0 + SECOND, None);
            }
            assert_eq!(announced(&mut announcer), Some(Event::Stopped));
            announcer.on_reply(t0 + SECOND, &reply(None, None));
            assert_eq!((announced(&mut announcer), announcer.state()), (None, AnnounceState::Ended));
        }
    }

    #[test]
    fn a_restart_keeps_the_floor_and_does_not_repeat_started() {
        let (t0, mut announcer) = started();
        let crashed = Announcer::new(announcer.kept(), 2);
        announcer.on_reply(t0, &reply(None, None));
        for (mut again, want) in [(crashed, Event::Started), (Announcer::new(announcer.kept(), 2), Event::Periodic)] {
            again.on_start(t0 + SECOND);
            assert_eq!(again.state(), AnnounceState::Waiting { due: t0 + FLOOR, fails: 0 });
            let mut now = t0 + SECOND;
            assert_eq!(next(&mut again, &mut now), Some((59, want)));
        }
    }

    #[test]
    fn a_resting_tracker_is_silent() {
        let (t0, mut announcer) = started();
        announcer.on_rest(t0);
        announcer.on_reply(t0, &reply(None, None));
        announcer.on_request(t0);
        announcer.on_timeout(t0 + MAX_INTERVAL);
        assert_eq!((announced(&mut announcer), announcer.state()), (None, AnnounceState::Resting));
    }

    #[derive(Debug, Clone)]
    enum Act {
        Reply(Option<i64>, Option<i64>),
        Fail(Option<u32>),
        Request,
        Need(PeerNeed),
        Rest,
        Start,
        Crash,
        Pass(u32),
        Ring,
    }

    fn act() -> impl Strategy<Value = Act> {
        let secs = || prop_oneof![Just(None), any::<i64>().prop_map(Some), (-5i64..100).prop_map(Some)];
        prop_oneof![
            3 => (secs(), secs()).prop_map(|(a, b)| Act::Reply(a, b)),
            2 => prop::option::of(any::<u32>()).prop_map(Act::Fail),
            4 => Just(Act::Request),
            2 => prop::sample::select(vec![PeerNeed::Enough, PeerNeed::More, PeerNeed::Anybody, PeerNeed::Alone]).prop_map(Act::Need),
            1 => Just(Act::Rest),
            2 => Just(Act::Start),
            1 => Just(Act::Crash),
            3 => (0u32..100).prop_map(Act::Pass),
            4 => Just(Act::Ring),
        ]
    }

    proptest! {
        /// I7, T-15: for any replies, requests and crashes, announces are at least the floor apart, and after a
        /// failure at least its back-off, which doubles.
        #[test]
        fn announces_keep_the_floor_apart(acts in prop::collection::vec(act(), 0..300), seed in any::<u64>()) {
            let (mut now, mut announcer) = (base_instant(), Announcer::new(Kept::default(), seed));
            let (mut last, mut least) = (None, Duration::ZERO);
            let mut fails = 0;
            for act in acts {
                let in_flight = matches!(announcer.state(), AnnounceState::Announcing(_));
                match act {
                    Act::Reply(interval, min_interval) if in_flight => {
                        announcer.on_reply(now, &reply(interval, min_interval));
                        (least, fails) = (FLOOR, 0);
                        last = Some(now);
                    }
                    Act::Fail(retry_in) if in_flight => {
                        announcer.on_failure(now, retry_in.map(|secs| RetryIn::After(SECOND * secs)));
                        least = (FIRST_RETRY * (1 << fails)).mul_f64(0.79).min(FLOOR_AFTER_FAILURE);
                        (last, fails) = (Some(now), (fails + 1).min(16));
                    }
                    Act::Reply(..) | Act::Fail(_) => {}
                    Act::Request => announcer.on_request(now),
                    Act::Need(need) => announcer.set_need(now, need),
                    Act::Rest => announcer.on_rest(now),
                    Act::Start => announcer.on_start(now),
                    Act::Crash => {
                        announcer = Announcer::new(announcer.kept(), seed);
                        announcer.on_start(now);
                    }
                    Act::Pass(secs) => now += SECOND * secs,
                    Act::Ring => {
                        now = announcer.deadline().map_or(now, |due| due.max(now));
                        announcer.on_timeout(now);
                    }
                }
                while let Some(effect) = announcer.poll() {
                    prop_assert!(last.is_none_or(|last| now - last >= least), "{:?} after {:?}", effect, least);
                    (last, least) = (Some(now), FLOOR);
                }
                prop_assert!(announcer.deadline().is_none_or(|due| due >= now || announcer.state() != AnnounceState::Resting));
            }
        }
    }
}

//! Counters for each kind of actor: one static, lock-free [`ActorMeter`] for each kind, shared by all arbiters.
//!
//! A meter adds itself to a list when the first actor of its kind starts; [`snapshot`] returns all of the list.
//! Messages are counted by [`super::context`], starts and restarts by [`super::guard`]. Counts hold for the whole
//! process and are never reset.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::causes::Causes;
use super::histogram::Histogram;

/// One message in 16 is timed: reading the clock twice for every message would double the cost of a small one.
pub const SAMPLE: u64 = 16;

/// The counters of one kind of actor.
#[derive(Debug)]
pub struct ActorMeter {
    kind: &'static str,
    /// The meter that was added to the list after this one.
    next: OnceLock<&'static Self>,
    pub(super) causes: Causes,
    born: AtomicU64,
    gone: AtomicU64,
    started: AtomicU64,
    panics: AtomicU64,
    gave_up: AtomicU64,
    enqueued: AtomicU64,
    /// Messages that left the mailbox, handled or not.
    taken: AtomicU64,
    dropped: AtomicU64,
    mailbox_max: AtomicU64,
    handle: Histogram,
    wait: Histogram,
}

/// The counts of an [`ActorMeter`] at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct KindSnapshot {
    /// The kind of actor.
    pub kind: &'static str,
    /// Children under supervision now, including resting ones.
    pub live: u64,
    /// Started incarnations.
    pub started: u64,
    /// Restarts that the network caused.
    pub restarts_expected: u64,
    /// Restarts after a fault or a panic.
    pub restarts_abnormal: u64,
    /// Caught panics, including those while stopping.
    pub panics: u64,
    /// Children whose restart budget was spent.
    pub gave_up: u64,
    /// Messages that entered a mailbox: `handled + dropped + mailbox`.
    pub enqueued: u64,
    /// Messages that were given to a handler, including those whose handler panicked.
    pub handled: u64,
    /// Messages that no handler got: the actor ended first, or the sender stopped waiting.
    pub dropped: u64,
    /// Messages waiting now, of all actors of the kind.
    pub mailbox: u64,
    /// The most messages that ever waited, of all actors of the kind.
    pub mailbox_max: u64,
    /// The median time of a handler in microseconds (see [`Histogram::percentile_us`]).
    pub handle_us_p50: f64,
    /// The 99th percentile of the time of a handler in microseconds.
    pub handle_us_p99: f64,
    /// The 99th percentile of the time that a message waits in microseconds.
    pub wait_us_p99: f64,
}

/// The first meter of the list.
static FIRST: OnceLock<&'static ActorMeter> = OnceLock::new();

/// The counts of every kind of actor that ever ran, ordered by name.
pub fn snapshot() -> Vec<KindSnapshot> {
    let mut kinds: Vec<KindSnapshot> = enlisted().map(ActorMeter::snapshot).collect();
    kinds.sort_by_key(|kind| kind.kind);
    kinds
}

/// All meters of the list.
pub(super) fn enlisted() -> impl Iterator<Item = &'static ActorMeter> {
    std::iter::successors(FIRST.get().copied(), |meter| meter.next.get().copied())
}

impl ActorMeter {
    /// For a `static` beside the actor: use [`metered!`](crate::metered).
    pub const fn new(kind: &'static str) -> Self {
        Self {
            kind,
            next: OnceLock::new(),
            causes: Causes::new(),
            born: AtomicU64::new(0),
            gone: AtomicU64::new(0),
            started: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            gave_up: AtomicU64::new(0),
            enqueued: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            mailbox_max: AtomicU64::new(0),
            handle: Histogram::new(),
            wait: Histogram::new(),
        }
    }

    /// The kind of actor that is counted.
    pub const fn kind(&self) -> &'static str {
        self.kind
    }

    /// All counts. Exact while the arbiters of the kind are idle, otherwise slightly out of step with each other.
    pub fn snapshot(&self) -> KindSnapshot {
        let (gone, taken, dropped) = (self.gone.load(Relaxed), self.taken.load(Relaxed), self.dropped.load(Relaxed));
        let enqueued = self.enqueued.load(Relaxed);
        KindSnapshot {
            kind: self.kind,
            live: self.born.load(Relaxed).saturating_sub(gone),
            started: self.started.load(Relaxed),
            restarts_expected: self.causes.sum(true),
            restarts_abnormal: self.causes.sum(false),
            panics: self.panics.load(Relaxed),
            gave_up: self.gave_up.load(Relaxed),
            enqueued,
            handled: taken.saturating_sub(dropped),
            dropped,
            mailbox: enqueued.saturating_sub(taken),
            mailbox_max: self.mailbox_max.load(Relaxed),
            handle_us_p50: self.handle.percentile_us(50),
            handle_us_p99: self.handle.percentile_us(99),
            wait_us_p99: self.wait.percentile_us(99),
        }
    }

    /// Adds this meter to the end of the list, unless it is in it already.
    pub(super) fn enlist(&'static self) {
        let mut place = &FIRST;
        loop {
            let holder = *place.get_or_init(|| self);
            if std::ptr::eq(holder, self) {
                return;
            }
            place = &holder.next;
        }
    }

    pub(super) fn on_born(&self) {
        self.born.fetch_add(1, Relaxed);
    }

    pub(super) fn on_gone(&self) {
        self.gone.fetch_add(1, Relaxed);
    }

    pub(super) fn on_started(&self) {
        self.started.fetch_add(1, Relaxed);
    }

    pub(super) fn on_panic(&self) {
        self.panics.fetch_add(1, Relaxed);
    }

    pub(super) fn on_gave_up(&self) {
        self.gave_up.fetch_add(1, Relaxed);
    }

    /// A message enters a mailbox. Returns whether it is one of those to be timed.
    pub(super) fn on_enqueued(&self) -> bool {
        let before = self.enqueued.fetch_add(1, Relaxed);
        let waiting = (before + 1).saturating_sub(self.taken.load(Relaxed));
        if waiting > self.mailbox_max.load(Relaxed) {
            self.mailbox_max.fetch_max(waiting, Relaxed);
        }
        before.is_multiple_of(SAMPLE)
    }

    /// A message is given to its handler.
    pub(super) fn on_handled(&self) {
        self.taken.fetch_add(1, Relaxed);
    }

    /// A message is dropped without a handler.
    pub(super) fn on_dropped(&self) {
        self.dropped.fetch_add(1, Relaxed);
        self.taken.fetch_add(1, Relaxed);
    }

    pub(super) const fn handle_times(&self) -> &Histogram {
        &self.handle
    }

    pub(super) const fn wait_times(&self) -> &Histogram {
        &self.wait
    }
}

//! Counters per kind of actor. One static [`ActorMeter`] per kind, lock-free, shared by all arbiters.
//!
//! A meter enlists itself when the first actor of its kind starts; [`snapshot`] lists all that did. Messages are counted
//! by [`super::context`], lives and restarts by [`super::guard`]. Counts are of the whole process and never reset.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::histogram::Histogram;
use super::ledger::Causes;

/// 1 in 16: reading the clock twice for every message would double the price of a small one.
pub const SAMPLE: u64 = 16;

/// The counters of one kind of actor.
#[derive(Debug)]
pub struct ActorMeter {
    kind: &'static str,
    /// The meter that enlisted after this one.
    next: OnceLock<&'static Self>,
    pub(super) causes: Causes,
    born: AtomicU64,
    gone: AtomicU64,
    started: AtomicU64,
    panics: AtomicU64,
    gave_up: AtomicU64,
    enqueued: AtomicU64,
    /// Messages out of the mailbox, handled or not.
    taken: AtomicU64,
    dropped: AtomicU64,
    mailbox_max: AtomicU64,
    handle: Histogram,
    wait: Histogram,
}

/// What a [`ActorMeter`] said at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct KindSnapshot {
    /// The kind of actor.
    pub kind: &'static str,
    /// Supervised now, resting ones included.
    pub live: u64,
    /// Incarnations started.
    pub started: u64,
    /// Restarts that the network dealt out.
    pub restarts_expected: u64,
    /// Restarts after a fault or a panic.
    pub restarts_abnormal: u64,
    /// Panics caught, those while stopping included.
    pub panics: u64,
    /// Children whose budget was spent.
    pub gave_up: u64,
    /// Messages that came into a mailbox: `handled + dropped + mailbox`.
    pub enqueued: u64,
    /// Messages given to a handler, also those it panicked over.
    pub handled: u64,
    /// Messages that nobody handled: the actor ended first, or the asker stopped waiting.
    pub dropped: u64,
    /// Messages waiting now, over all actors of the kind.
    pub mailbox: u64,
    /// The most that ever waited, over all actors of the kind.
    pub mailbox_max: u64,
    /// Half the handlers took no longer, in microseconds (see [`Histogram::percentile_us`]).
    pub handle_us_p50: f64,
    /// 99 % of the handlers took no longer.
    pub handle_us_p99: f64,
    /// 99 % of the messages waited no longer.
    pub wait_us_p99: f64,
}

/// The first meter that enlisted; the others hang behind it.
static FIRST: OnceLock<&'static ActorMeter> = OnceLock::new();

/// Every kind of actor that ever ran, ordered by name.
pub fn snapshot() -> Vec<KindSnapshot> {
    let mut kinds: Vec<KindSnapshot> = enlisted().map(ActorMeter::snapshot).collect();
    kinds.sort_by_key(|kind| kind.kind);
    kinds
}

pub(super) fn enlisted() -> impl Iterator<Item = &'static ActorMeter> {
    std::iter::successors(FIRST.get().copied(), |meter| meter.next.get().copied())
}

impl ActorMeter {
    /// For a `static` beside the actor: see [`metered!`](crate::metered).
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

    /// The kind of actor it counts.
    pub const fn kind(&self) -> &'static str {
        self.kind
    }

    /// All counters. Exact while the kind's arbiter does nothing else; a moment's blur otherwise.
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

    /// Hangs itself behind the last meter, unless it is in the list already.
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

    /// A message comes into a mailbox. Says whether it is one of those to be timed.
    pub(super) fn on_enqueued(&self) -> bool {
        let before = self.enqueued.fetch_add(1, Relaxed);
        let waiting = (before + 1).saturating_sub(self.taken.load(Relaxed));
        if waiting > self.mailbox_max.load(Relaxed) {
            self.mailbox_max.fetch_max(waiting, Relaxed);
        }
        before.is_multiple_of(SAMPLE)
    }

    /// A message goes to its handler.
    pub(super) fn on_handled(&self) {
        self.taken.fetch_add(1, Relaxed);
    }

    /// A message goes to nobody.
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

//! The log of a simulation: a hash of every event, and the events that the referee counts.
//!
//! A tracing subscriber for the thread that simulates. An event is hashed with its virtual time, its text and all its
//! fields, so that two runs with the same hash have made the same decisions at the same instants (I9).

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};
use std::hash::Hasher;
use std::sync::Arc;
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::base::locked::Locked;

/// Only events of the client are kept. The counters of the whole program are left out, because they grow over several
/// runs in one process, so that their lines differ.
const OURS: &str = "tt_actors::";
const PROCESS_WIDE: &str = "tt_actors::actors::metrics";

/// At most 100,000 lines are kept for a reader.
const MAX_LINES: usize = 100_000;

/// One supervised restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracedRestart {
    /// The time since the start of the simulation.
    pub at: Duration,
    /// The kind of actor.
    pub actor: String,
    /// The cause.
    pub cause: String,
    /// Whether the network caused it, so that it spends no restart budget.
    pub expected: bool,
}

/// The log of a simulation so far. Clones share it.
#[derive(Debug, Clone)]
pub struct Trace(Arc<Locked<TraceState>>);

#[derive(Debug)]
struct TraceState {
    hash: Fnv,
    events: u64,
    restarts: Vec<TracedRestart>,
    counts: BTreeMap<String, u64>,
    said: Vec<(String, String)>,
    keep: bool,
    lines: Vec<String>,
}

impl Trace {
    /// Makes an empty trace. `keep` also keeps the lines.
    pub fn new(keep: bool) -> Self {
        let (hash, counts) = (Fnv::default(), BTreeMap::new());
        let (restarts, said, lines) = (Vec::new(), Vec::new(), Vec::new());
        Self(Arc::new(Locked::new(TraceState { hash, events: 0, restarts, counts, said, keep, lines })))
    }

    fn with<T>(&self, look: impl FnOnce(&mut TraceState) -> T) -> T {
        look(&mut self.0.lock())
    }

    /// Runs a function with the trace as the subscriber of this thread.
    pub fn listen<T>(&self, run: impl FnOnce() -> T) -> T {
        tracing::subscriber::with_default(self.clone(), run)
    }

    /// Keeps a line that is not an event, if lines are kept.
    pub fn remark(&self, line: impl FnOnce() -> String) {
        let at = turmoil::sim_elapsed().unwrap_or_default();
        self.with(|state| {
            if state.keep && state.lines.len() < MAX_LINES {
                state.lines.push(format!("{:>11.3} {}", at.as_secs_f64(), line()));
            }
        });
    }

    /// Adds a number that is not part of an event to the hash.
    pub fn stir(&self, number: u64) {
        self.with(|state| state.hash.write_u64(number));
    }

    /// Returns the hash of everything so far.
    pub fn hash(&self) -> u64 {
        self.with(|state| state.hash.finish())
    }

    /// Returns the number of events.
    pub fn events(&self) -> u64 {
        self.with(|state| state.events)
    }

    /// Returns every supervised restart, in order.
    pub fn restarts(&self) -> Vec<TracedRestart> {
        self.with(|state| state.restarts.clone())
    }

    /// Returns how often a message was logged.
    pub fn count(&self, sentence: &str) -> u64 {
        self.with(|state| state.counts.get(sentence).copied().unwrap_or(0))
    }

    /// Returns how often a message was logged with this text among its fields.
    pub fn said(&self, sentence: &str, field: &str) -> usize {
        let is_it = |(message, text): &&(String, String)| message == sentence && text.contains(field);
        self.with(|state| state.said.iter().filter(is_it).count())
    }

    /// Returns the lines that were kept.
    pub fn lines(&self) -> Vec<String> {
        self.with(|state| state.lines.clone())
    }
}

impl Subscriber for Trace {
    fn enabled(&self, about: &Metadata<'_>) -> bool {
        about.is_event()
            && *about.level() <= Level::DEBUG
            && about.target().starts_with(OURS)
            && about.target() != PROCESS_WIDE
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let at = turmoil::sim_elapsed().unwrap_or_default();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let Fields { message, text, actor, cause, expected } = fields;
        self.with(|state| {
            state.events += 1;
            state.hash.write_u64(u64::try_from(at.as_micros()).unwrap_or(u64::MAX));
            state.hash.write(message.as_bytes());
            state.hash.write(text.as_bytes());
            if message == "actor restarts" {
                state.restarts.push(TracedRestart { at, actor, cause, expected });
            }
            if state.keep && state.lines.len() < MAX_LINES {
                state.lines.push(format!("{:>11.3} {} {message}{text}", at.as_secs_f64(), event.metadata().level()));
            }
            *state.counts.entry(message.clone()).or_default() += 1;
            if state.said.len() < MAX_LINES {
                state.said.push((message, text));
            }
        });
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The fields of an event; those that are counted have a field of their own.
#[derive(Debug, Default)]
struct Fields {
    message: String,
    text: String,
    actor: String,
    cause: String,
    expected: bool,
}

impl Visit for Fields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "expected" {
            self.expected = value;
        }
        self.record_debug(field, &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "actor" => value.clone_into(&mut self.actor),
            "cause" => value.clone_into(&mut self.cause),
            _ => {}
        }
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let written = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.text, " {name}={value:?}"),
        };
        written.unwrap_or_else(|_never| unreachable!("a String takes everything"));
    }
}

/// FNV-1a, 64 bits: the same on every machine and in every version, which std's hasher does not promise.
#[derive(Debug, Clone, Copy)]
pub struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.write(&number.to_le_bytes());
    }
}

//! The progress of hashing, for `create` and `verify`: a progress line, a plain line now and then, JSON once a second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::output::Output;
use crate::base::units::Bytes;

/// 100 ms between two updates of the line: a faster one looks no smoother, and threads do not wait for the terminal.
const DRAWN_EVERY: Duration = Duration::from_millis(100);

/// 1 s between JSON lines, as in `fetch`.
const JSON_EVERY: Duration = Duration::from_secs(1);

/// 10 s between plain lines, which keeps a log short.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Shows the progress of all threads.
#[derive(Debug)]
pub struct HashProgress<'a> {
    output: &'a Output,
    verb: &'static str,
    total: u64,
    started: Instant,
    every: Duration,
    /// The time of the next output, in milliseconds after the start.
    next_ms: AtomicU64,
}

impl<'a> HashProgress<'a> {
    /// `verb` says what is done to the bytes, as in `checking 3 of 5`.
    pub fn new(output: &'a Output, verb: &'static str, total: u64) -> Self {
        let every = match (output.is_json(), output.has_bar()) {
            (true, _) => JSON_EVERY,
            (false, true) => DRAWN_EVERY,
            (false, false) => PLAIN_EVERY,
        };
        let next_ms = AtomicU64::new(millis(every));
        Self { output, verb, total, started: now(), every, next_ms }
    }

    /// Shows that this many bytes are done, if an output is due. Cheap enough to be called often.
    pub fn show(&self, done: u64) {
        let elapsed = now().duration_since(self.started);
        let due = self.next_ms.load(Ordering::Relaxed);
        let next = millis(elapsed) + millis(self.every);
        if millis(elapsed) < due
            || self.next_ms.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return;
        }
        let line = self.line(done, elapsed);
        if self.output.is_json() {
            self.output.json(&json!({"event": "progress", "bytes_done": done, "bytes_total": self.total}));
        } else if self.output.has_bar() {
            self.output.progress(&line);
        } else {
            self.output.line(line);
        }
    }

    /// Returns a line such as `hashing 1.0 GiB of 4.0 GiB  25.0%  1.2 GiB/s`.
    fn line(&self, done: u64, elapsed: Duration) -> String {
        let Self { verb, total, .. } = self;
        #[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
        let percent = done as f64 * 100.0 / (*total).max(1) as f64;
        let rate = done * 1000 / millis(elapsed).max(1);
        format!("{verb} {} of {}  {percent:.1}%  {}/s", Bytes(done), Bytes(*total), Bytes(rate))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "the terminal is no part of the simulation")]
fn now() -> Instant {
    Instant::now()
}

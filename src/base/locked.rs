//! A lock, for what is no actor: threads of the pool, the limits that all arbiters share, a simulated disk.
//!
//! Actors share by message. A panic of whoever held it leaves what is inside as it was at that moment, for the next.

use std::sync::{MutexGuard, PoisonError};

/// A mutex that no panic closes for good.
#[derive(Debug, Default)]
#[expect(clippy::disallowed_types, reason = "the one lock of those who have nobody to send a message to")]
pub struct Locked<T>(std::sync::Mutex<T>);

impl<T> Locked<T> {
    /// Nobody holds it.
    #[expect(clippy::disallowed_types, reason = "as above")]
    pub const fn new(inside: T) -> Self {
        Self(std::sync::Mutex::new(inside))
    }

    /// Waits for its turn.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

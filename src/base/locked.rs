//! A lock for state that is shared without messages: by threads of the blocking pool, by all arbiters (limits), and by
//! a simulated disk.
//!
//! Actors share state by messages instead. After a panic under the lock the next holder finds the value as the panic
//! left it.

use std::sync::{MutexGuard, PoisonError};

/// A mutex that stays usable after a panic under it.
#[derive(Debug, Default)]
#[expect(clippy::disallowed_types, reason = "shared by code that is no actor, so it cannot use messages")]
pub struct Locked<T>(std::sync::Mutex<T>);

impl<T> Locked<T> {
    /// Makes a lock that is free, around this value.
    #[expect(clippy::disallowed_types, reason = "as above")]
    pub const fn new(inside: T) -> Self {
        Self(std::sync::Mutex::new(inside))
    }

    /// Blocks the thread until the lock is free, then takes it.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

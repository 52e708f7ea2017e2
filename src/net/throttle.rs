//! The rate limits of a session, applied before a socket is read or written.
//!
//! Bytes that are not read stay in the kernel's buffer, and TCP slows down the sender. All connections of a run share
//! one [`DirectionLimit`] for each direction, on whatever arbiters they are; each connection holds two taps.
//! `logic::bucket` has the rules. This module has the wakers and one timer, which runs only while a tap waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until};

use crate::base::locked::Locked;
use crate::logic::bucket::{self, Bucket};

/// The limits of both directions. Cheap to clone. Unlimited by default.
#[derive(Debug, Clone, Default)]
pub struct RateLimits {
    /// The limit of what is read.
    pub down: DirectionLimit,
    /// The limit of what is written.
    pub up: DirectionLimit,
}

impl RateLimits {
    /// Limits in bytes a second; `None` is unlimited.
    pub fn new(down_bps: Option<u64>, up_bps: Option<u64>) -> Self {
        Self { down: DirectionLimit::new(down_bps), up: DirectionLimit::new(up_bps) }
    }
}

/// The limit of one direction.
#[derive(Debug, Clone, Default)]
pub struct DirectionLimit(Option<Shared>);

type Shared = Arc<Locked<Inner>>;

/// The bucket of a direction, and the tasks that wait for it.
#[derive(Debug)]
struct Inner {
    bucket: Bucket,
    next_tap: bucket::TapId,
    wakers: BTreeMap<bucket::TapId, Waker>,
    is_ticking: bool,
}

impl DirectionLimit {
    /// A limit in bytes a second; `None` is unlimited.
    pub fn new(bps: Option<u64>) -> Self {
        let inner = |bps| Inner { bucket: Bucket::new(bps), next_tap: 0, wakers: BTreeMap::new(), is_ticking: false };
        Self(bps.map(|bps| Arc::new(Locked::new(inner(bps)))))
    }

    /// The limit in bytes a second; `None` if there is none.
    pub fn bps(&self) -> Option<u64> {
        self.0.as_ref().map(|shared| shared.lock().bucket.bps())
    }

    /// A new tap for one connection.
    pub fn tap(&self) -> ThrottleTap {
        ThrottleTap(self.0.as_ref().map(|shared| {
            let mut inner = shared.lock();
            inner.next_tap += 1;
            let (shared, name) = (Arc::clone(shared), inner.next_tap);
            Box::new(Limited { shared, name, granted: 0, waits: false, waited_until: None })
        }))
    }
}

/// The share of one connection in a direction's limit.
#[derive(Debug)]
pub struct ThrottleTap(Option<Box<Limited>>);

/// A tap of a direction that has a limit.
#[derive(Debug)]
struct Limited {
    shared: Shared,
    name: bucket::TapId,
    granted: usize,
    waits: bool,
    waited_until: Option<Instant>,
}

impl ThrottleTap {
    /// Asks to move `want` bytes. Returns how many of them may be moved now, at least one. Must run where `spawn_local`
    /// works.
    pub fn poll_grant(&mut self, cx: &Context<'_>, want: usize) -> Poll<usize> {
        self.0.as_mut().map_or(Poll::Ready(want), |limited| limited.poll_grant(cx, want))
    }

    /// Tells the tap that this number of the granted bytes was moved.
    pub fn spend(&mut self, moved: usize) {
        if let Some(limited) = &mut self.0 {
            limited.granted = limited.granted.saturating_sub(moved);
        }
    }

    /// Returns the rest of the grant to the other taps, because nothing more can be moved now.
    pub fn give_back(&mut self) {
        if let Some(limited) = &mut self.0 {
            limited.give_back();
        }
    }

    /// The time until which the limit has delayed this connection: now, if it still does. `None` if it never has.
    pub fn held_until(&self) -> Option<Instant> {
        let limited = self.0.as_ref()?;
        if limited.waits { Some(Instant::now()) } else { limited.waited_until }
    }
}

impl Limited {
    /// Asks the bucket unless a grant is left; registers the task if nothing is granted.
    fn poll_grant(&mut self, cx: &Context<'_>, want: usize) -> Poll<usize> {
        if self.granted > 0 {
            return Poll::Ready(self.granted.min(want));
        }
        let now = Instant::now();
        let mut inner = self.shared.lock();
        if let Some(granted) = inner.bucket.ask(now.into_std(), self.name, want as u64) {
            inner.wakers.remove(&self.name);
            if std::mem::take(&mut self.waits) {
                self.waited_until = Some(now);
            }
            self.granted = usize::try_from(granted).unwrap_or(want);
            return Poll::Ready(self.granted);
        }
        self.waits = true;
        inner.wakers.insert(self.name, cx.waker().clone());
        if !std::mem::replace(&mut inner.is_ticking, true) {
            spawn_local(tick(Arc::clone(&self.shared)));
        }
        Poll::Pending
    }

    /// Returns the rest of the grant to the bucket.
    fn give_back(&mut self) {
        let rest = std::mem::take(&mut self.granted);
        if rest > 0 {
            let mut inner = self.shared.lock();
            inner.bucket.give_back(rest as u64);
            inner.wake_called();
        }
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        self.give_back();
        let mut inner = self.shared.lock();
        inner.wakers.remove(&self.name);
        inner.bucket.on_left(self.name);
        inner.wake_called();
    }
}

impl Inner {
    /// Wakes the tasks of the taps that the bucket has served.
    fn wake_called(&mut self) {
        while let Some(tap) = self.bucket.poll() {
            if let Some(waker) = self.wakers.remove(&tap) {
                waker.wake();
            }
        }
    }
}

/// Refills the bucket as long as a tap waits.
async fn tick(shared: Shared) {
    loop {
        let due = {
            let mut inner = shared.lock();
            let due = inner.bucket.deadline();
            inner.is_ticking = due.is_some();
            due
        };
        let Some(due) = due else { return };
        sleep_until(due.into()).await;
        let mut inner = shared.lock();
        inner.bucket.on_timeout(Instant::now().into_std());
        inner.wake_called();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::task::LocalSet;

    use super::*;

    /// Moves `bytes` bytes through a tap, 16 KiB at a time.
    async fn pour(throttle: DirectionLimit, bytes: usize) {
        let mut tap = throttle.tap();
        let mut left = bytes;
        while left > 0 {
            let granted = poll_fn(|cx| tap.poll_grant(cx, left.min(16 * 1024))).await;
            tap.spend(granted);
            left -= granted;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_taps_share_one_limit_and_an_idle_one_is_no_loss() {
        LocalSet::new()
            .run_until(async {
                let throttle = DirectionLimit::new(Some(1_000_000));
                let _idle = throttle.tap();
                let began = Instant::now();
                let pours: Vec<_> = (0..8).map(|_| spawn_local(pour(throttle.clone(), 500_000))).collect();
                for pour in pours {
                    pour.await.unwrap();
                }
                let took = began.elapsed();
                assert!((3960..4040).contains(&took.as_millis()), "{took:?}");
            })
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_tap_that_goes_leaves_its_turn_to_the_next() {
        LocalSet::new()
            .run_until(async {
                let throttle = DirectionLimit::new(Some(100_000));
                let began = Instant::now();
                let gone = spawn_local(pour(throttle.clone(), 1 << 30));
                let stays = spawn_local(pour(throttle.clone(), 100_000));
                tokio::time::sleep(Duration::from_millis(505)).await;
                gone.abort();
                stays.await.unwrap();
                let took = began.elapsed();
                // The other tap has half of the limit for half a second, and all of it from then on.
                assert!((1230..1290).contains(&took.as_millis()), "{took:?}");
            })
            .await;
    }

    /// Two arbiters share one limit: both together take at least as long as the limit demands.
    #[test]
    fn a_limit_holds_over_threads() {
        let throttle = DirectionLimit::new(Some(1_000_000));
        let began = std::thread::scope(|scope| {
            let began = Instant::now();
            for _ in 0..2 {
                let throttle = throttle.clone();
                scope.spawn(|| crate::net::testing::run(pour(throttle, 150_000)));
            }
            began
        });
        // A bucket of this limit holds a fiftieth of a second.
        assert!(began.elapsed() > Duration::from_millis(250), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn without_a_limit_no_tap_waits() {
        pour(DirectionLimit::default(), 1 << 30).await;
        assert_eq!(DirectionLimit::default().tap().held_until(), None);
    }
}

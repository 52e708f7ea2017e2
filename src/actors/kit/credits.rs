//! A byte budget shared on one arbiter: what bounds memory, since mailboxes do not (`do_send` ignores their capacity).
//!
//! Bytes are either free, or in a [`Credit`], or on their way to somebody who waits: always `total` together. A credit
//! returns its bytes when it is dropped, so a holder that ends, panics or is killed leaks nothing.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The budget. Clones share it.
#[derive(Clone)]
pub struct Credits {
    pool: Rc<RefCell<Pool>>,
}

struct Pool {
    total: u64,
    free: u64,
    /// First come, first served. Those served stay until they fetch their bytes.
    queue: VecDeque<Waiter>,
    next_ticket: u64,
}

struct Waiter {
    ticket: u64,
    least: u64,
    most: u64,
    /// 0 until served.
    served: u64,
    waker: Option<Waker>,
}

impl Credits {
    /// With all of `total` bytes free.
    pub fn new(total: u64) -> Self {
        Self { pool: Rc::new(RefCell::new(Pool { total, free: total, queue: VecDeque::new(), next_ticket: 0 })) }
    }

    /// All bytes of the budget.
    pub fn total(&self) -> u64 {
        self.pool.borrow().total
    }

    /// Bytes that nobody holds.
    pub fn free(&self) -> u64 {
        self.pool.borrow().free
    }

    /// Up to `most` bytes, as many as are free now. `None` when there are none, or when others wait: they come first.
    pub fn take_up_to(&self, most: u64) -> Option<Credit> {
        let mut pool = self.pool.borrow_mut();
        let bytes = if pool.queue.iter().any(Waiter::is_unserved) { 0 } else { pool.free.min(most) };
        pool.free -= bytes;
        drop(pool);
        (bytes > 0).then(|| Credit { bytes, credits: self.clone() })
    }

    /// Waits, in order of asking, until `least` bytes are free, then takes as many as are free up to `most`.
    ///
    /// `least` is at least 1 and never more than the total, else nobody would ever get anything again; `most` is never
    /// less than `least`. Dropping the future gives up the place in the queue.
    pub fn wait_for(&self, least: u64, most: u64) -> Waiting {
        let mut pool = self.pool.borrow_mut();
        let least = least.min(pool.total).max(1);
        let ticket = pool.next_ticket;
        pool.next_ticket += 1;
        pool.queue.push_back(Waiter { ticket, least, most: most.max(least), served: 0, waker: None });
        drop(pool);
        self.serve();
        Waiting { ticket, credits: self.clone() }
    }

    fn give_back(&self, bytes: u64) {
        self.pool.borrow_mut().free += bytes;
        self.serve();
    }

    /// Serves whoever is next for as long as the bytes suffice. Wakes with nothing borrowed.
    fn serve(&self) {
        loop {
            let served = self.pool.borrow_mut().serve_next();
            match served {
                ControlFlow::Continue(Some(waker)) => waker.wake(),
                ControlFlow::Continue(None) => {}
                ControlFlow::Break(()) => return,
            }
        }
    }
}

impl Pool {
    /// Breaks when nobody waits or the bytes do not suffice.
    fn serve_next(&mut self) -> ControlFlow<(), Option<Waker>> {
        let next = self.queue.iter_mut().find(|waiter| waiter.is_unserved());
        let Some(next) = next.filter(|next| next.least <= self.free) else { return ControlFlow::Break(()) };
        next.served = next.most.min(self.free);
        self.free -= next.served;
        ControlFlow::Continue(next.waker.take())
    }
}

impl Waiter {
    const fn is_unserved(&self) -> bool {
        self.served == 0
    }
}

impl fmt::Debug for Credits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pool = self.pool.borrow();
        write!(f, "Credits({} of {} free, {} wait)", pool.free, pool.total, pool.queue.len())
    }
}

/// Some bytes of a budget; they return to it when this is dropped.
#[derive(Debug)]
#[must_use = "a dropped credit is returned"]
pub struct Credit {
    bytes: u64,
    credits: Credits,
}

impl Credit {
    /// How many bytes.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes up to `bytes` out of it.
    pub fn split(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { bytes, credits: self.credits.clone() }
    }

    /// Puts another of the same budget in; one of another budget returns to its own.
    pub fn merge(&mut self, mut other: Self) {
        if Rc::ptr_eq(&self.credits.pool, &other.credits.pool) {
            self.bytes += std::mem::take(&mut other.bytes);
        }
    }
}

impl Drop for Credit {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.credits.give_back(self.bytes);
        }
    }
}

/// A place in the queue; becomes a [`Credit`].
#[derive(Debug)]
pub struct Waiting {
    ticket: u64,
    credits: Credits,
}

impl Waiting {
    fn place(&self, pool: &Pool) -> Option<usize> {
        pool.queue.iter().position(|waiter| waiter.ticket == self.ticket)
    }
}

impl Future for Waiting {
    type Output = Credit;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Credit> {
        let mut pool = self.credits.pool.borrow_mut();
        let Some(place) = self.place(&pool) else { return Poll::Pending };
        let waiter = &mut pool.queue[place];
        if waiter.is_unserved() {
            waiter.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let bytes = waiter.served;
        pool.queue.remove(place);
        drop(pool);
        Poll::Ready(Credit { bytes, credits: self.credits.clone() })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut pool = self.credits.pool.borrow_mut();
        let left = self.place(&pool).and_then(|place| pool.queue.remove(place));
        drop(pool);
        if let Some(waiter) = left {
            self.credits.give_back(waiter.served);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn up_to_what_is_free_is_taken_and_comes_back() {
        let credits = Credits::new(100);
        let mut first = credits.take_up_to(70).unwrap();
        let second = credits.take_up_to(70).unwrap();
        assert_eq!((first.bytes(), second.bytes(), credits.free()), (70, 30, 0));
        assert!(credits.take_up_to(1).is_none());
        let part = first.split(20);
        drop(first);
        assert_eq!((part.bytes(), credits.free()), (20, 50));
        let mut whole = second;
        whole.merge(part);
        assert_eq!((whole.bytes(), credits.free()), (50, 50));
        whole.merge(Credits::new(7).take_up_to(7).unwrap());
        drop(whole);
        assert_eq!(credits.free(), 100);
    }

    #[test]
    fn those_who_wait_are_served_in_order_and_nobody_overtakes() {
        let credits = Credits::new(100);
        let held = credits.take_up_to(100).unwrap();
        let (mut large, mut small) = (credits.wait_for(80, 90), credits.wait_for(1, 1000));
        let mut held = held;
        drop(held.split(50));
        assert!((&mut large).now_or_never().is_none());
        assert!((&mut small).now_or_never().is_none(), "50 would suffice, but it is not its turn");
        assert!(credits.take_up_to(1).is_none());
        drop(held);
        let large = large.now_or_never().unwrap();
        let small = small.now_or_never().unwrap();
        assert_eq!((large.bytes(), small.bytes()), (90, 10));
    }

    #[test]
    fn whoever_leaves_the_queue_leaves_nothing_behind() {
        let credits = Credits::new(100);
        let held = credits.take_up_to(60).unwrap();
        let large = credits.wait_for(80, 80);
        let small = credits.wait_for(30, 30);
        drop(large);
        assert_eq!(small.now_or_never().map(|credit| credit.bytes()), Some(30));
        let served_but_not_fetched = credits.wait_for(40, 40);
        assert_eq!(credits.free(), 0);
        drop(served_but_not_fetched);
        drop(held);
        assert_eq!(credits.free(), 100);
        assert_eq!(credits.wait_for(u64::MAX, 0).now_or_never().map(|credit| credit.bytes()), Some(100));
    }

    #[test]
    fn a_holder_that_panics_leaks_nothing() {
        let credits = Credits::new(100);
        let shared = credits.clone();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _held = shared.take_up_to(60);
            let _waits = shared.wait_for(50, 50);
            panic!("as the test wants it");
        }));
        assert!(outcome.is_err());
        assert_eq!(credits.free(), 100);
        assert!(credits.take_up_to(100).is_some());
    }

    #[tokio::test]
    async fn a_release_wakes_the_one_whose_turn_it_is() {
        tokio::task::LocalSet::new()
            .run_until(async {
                let credits = Credits::new(10);
                let held = credits.take_up_to(10);
                let first = tokio::task::spawn_local(credits.wait_for(10, 10));
                let second = tokio::task::spawn_local(credits.wait_for(10, 10));
                tokio::task::yield_now().await;
                drop(held);
                drop(first.await.unwrap());
                assert_eq!(second.await.unwrap().bytes(), 10);
            })
            .await;
    }

    #[derive(Debug, Clone)]
    enum Step {
        Take(u64),
        Wait(u64, u64),
        Fetch(usize),
        Split(usize, u64),
        Merge(usize, usize),
        Drop(usize),
        Leave(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..200u64).prop_map(Step::Take),
            (0..200u64, 0..200u64).prop_map(|(least, most)| Step::Wait(least, most)),
            any::<usize>().prop_map(Step::Fetch),
            (any::<usize>(), 0..200u64).prop_map(|(at, bytes)| Step::Split(at, bytes)),
            (any::<usize>(), any::<usize>()).prop_map(|(into, from)| Step::Merge(into, from)),
            any::<usize>().prop_map(Step::Drop),
            any::<usize>().prop_map(Step::Leave),
        ];
        prop::collection::vec(step, 0..100)
    }

    proptest! {
        #[test]
        fn bytes_are_never_made_nor_lost(steps in steps()) {
            let credits = Credits::new(100);
            let (mut held, mut waits): (Vec<Credit>, Vec<Waiting>) = (Vec::new(), Vec::new());
            for step in steps {
                let pick = |at: usize, len: usize| at.checked_rem(len);
                match step {
                    Step::Take(most) => held.extend(credits.take_up_to(most)),
                    Step::Wait(least, most) => waits.push(credits.wait_for(least, most)),
                    Step::Fetch(at) => if let Some(at) = pick(at, waits.len()) {
                        held.extend((&mut waits[at]).now_or_never());
                    },
                    Step::Split(at, bytes) => if let Some(at) = pick(at, held.len()) {
                        let part = held[at].split(bytes);
                        held.push(part);
                    },
                    Step::Merge(into, from) => if let Some(from) = pick(from, held.len()) {
                        let other = held.swap_remove(from);
                        match pick(into, held.len()) {
                            Some(into) => held[into].merge(other),
                            None => drop(other),
                        }
                    },
                    Step::Drop(at) => if let Some(at) = pick(at, held.len()) {
                        drop(held.swap_remove(at));
                    },
                    Step::Leave(at) => if let Some(at) = pick(at, waits.len()) {
                        drop(waits.swap_remove(at));
                    },
                }
                let queued: u64 = credits.pool.borrow().queue.iter().map(|waiter| waiter.served).sum();
                let in_hands: u64 = held.iter().map(Credit::bytes).sum();
                prop_assert_eq!(credits.free() + queued + in_hands, 100);
                let first = credits.pool.borrow().queue.iter().find(|waiter| waiter.is_unserved()).map(|w| w.least);
                prop_assert!(first.is_none_or(|least| least > credits.free()), "nobody waits for what is free");
            }
            drop((held, waits));
            prop_assert_eq!(credits.free(), 100);
        }
    }
}

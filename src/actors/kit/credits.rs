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

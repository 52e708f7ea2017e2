//! What a parent holds of a child: stop it, kill it, wait for its end.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use actix::{Actor, Addr, Recipient};
use futures_util::task::AtomicWaker;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep};

use super::child::{ChildId, Goodbye};

/// 5 s, the limit of a whole shutdown: a child without a parent has this long to end in good order.
pub const ORPHAN_GRACE: Duration = Duration::from_secs(5);

/// A supervised child as its parent holds it. Dropping it sends [`Goodbye`] and kills the child [`ORPHAN_GRACE`]
/// later, so that a parent that panics leaks no children.
#[must_use = "a dropped handle stops its child"]
pub struct SupervisedChild<A: Actor> {
    /// The address of the child, valid over all incarnations.
    pub addr: Addr<A>,
    /// Stops the child and waits for its end.
    pub control: ChildHandle,
}

impl<A: Actor> SupervisedChild<A> {
    /// The id of the child.
    pub fn id(&self) -> ChildId {
        self.control.id
    }

    /// Ends the child in good order: see [`ChildHandle::stop`].
    pub fn stop(&self) {
        self.control.stop();
    }

    /// Ends a rest early: see [`ChildHandle::rouse`].
    pub fn rouse(&self) {
        self.control.rouse();
    }
}

impl<A: Actor> fmt::Debug for SupervisedChild<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisedChild").field("control", &self.control).finish_non_exhaustive()
    }
}

/// A handle of one child without its type. Dropping it has the effect of dropping a [`SupervisedChild`].
#[must_use = "a dropped control stops its child"]
pub struct ChildHandle {
    id: ChildId,
    kind: &'static str,
    orders: Arc<GuardOrders>,
    goodbye: Recipient<Goodbye>,
    /// Never receives a value. It fails when the guard is gone.
    ended: oneshot::Receiver<Infallible>,
}

impl ChildHandle {
    pub(super) fn new(
        (id, kind): (ChildId, &'static str),
        orders: Arc<GuardOrders>,
        goodbye: Recipient<Goodbye>,
        ended: oneshot::Receiver<Infallible>,
    ) -> Self {
        Self { id, kind, orders, goodbye, ended }
    }

    /// The id of the child.
    pub const fn id(&self) -> ChildId {
        self.id
    }

    /// The kind of the child.
    pub const fn kind(&self) -> &'static str {
        self.kind
    }

    /// Asks the child to end in good order: a running child gets one [`Goodbye`], a resting one ends now. It is not
    /// restarted any more. A second call has no effect.
    pub fn stop(&self) {
        if self.orders.give(Order::Stop) {
            self.goodbye.do_send(Goodbye);
        }
    }

    /// As [`Self::stop`]; the guard kills the child if it has not ended after `limit`. The first limit that is given stands.
    pub fn stop_within(&self, limit: Duration) {
        self.orders.limit(limit);
        self.stop();
    }

    /// Starts a child now that rests after an expected end. A running child is not affected, nor is one that rests
    /// after a fault or a panic, whose back-off is still needed.
    pub fn rouse(&self) {
        self.orders.rouse();
    }

    /// Ends the child on its guard's next turn: no further message is handled, `stopped` runs, and the mailbox closes.
    pub fn kill(&self) {
        self.orders.give(Order::Kill);
    }

    /// Waits until the child has ended and everything that it owned is dropped.
    pub async fn ended(&mut self) {
        if !self.ended.is_terminated() {
            let never_a_value = (&mut self.ended).await;
            debug_assert!(never_a_value.is_err());
        }
    }
}

impl Drop for ChildHandle {
    fn drop(&mut self) {
        self.stop();
        self.orders.give(Order::Orphan);
    }
}

impl fmt::Debug for ChildHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildHandle").field("kind", &self.kind).field("id", &self.id).finish_non_exhaustive()
    }
}

/// What a parent demands of a guard. A later one outranks an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Order {
    /// End in good order.
    Stop = 1,
    /// The parent is gone: the guard kills the child [`ORPHAN_GRACE`] later.
    Orphan = 2,
    /// End now.
    Kill = 3,
}

/// What a handle tells its guard; crosses threads.
#[derive(Debug, Default)]
pub(super) struct GuardOrders {
    /// The highest [`Order`] that was given; 0 is none.
    given: AtomicU8,
    /// Milliseconds from the stop to the kill; 0 is no limit.
    limit_ms: AtomicU32,
    roused: AtomicBool,
    guard: AtomicWaker,
}

impl GuardOrders {
    /// Gives an order. Returns whether no order of that rank was given before.
    fn give(&self, order: Order) -> bool {
        let before = self.given.fetch_max(order as u8, Ordering::AcqRel);
        self.guard.wake();
        before < order as u8
    }

    /// To be called before [`Order::Stop`] is given. The first limit stands.
    fn limit(&self, limit: Duration) {
        let limit_ms = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX).max(1);
        let _kept = self.limit_ms.compare_exchange(0, limit_ms, Ordering::AcqRel, Ordering::Acquire);
    }

    fn rouse(&self) {
        self.roused.store(true, Ordering::Release);
        self.guard.wake();
    }

    /// Forgets calls of `rouse` that came while the child ran.
    pub(super) fn forget_rousing(&self) {
        self.roused.store(false, Ordering::Release);
    }

    pub(super) fn include(&self, order: Order) -> bool {
        self.given.load(Ordering::Acquire) >= order as u8
    }

    /// Waits until a rest must end early: for a stop, and if `rousable` also when the child is roused. Only the
    /// guard's task may call it, since there is room for one waker.
    pub(super) async fn wait_in_rest(&self, rousable: bool) {
        let poll = |cx: &mut Context<'_>| {
            self.guard.register(cx.waker());
            let is_roused = rousable && self.roused.load(Ordering::Acquire);
            if is_roused || self.include(Order::Stop) { Poll::Ready(()) } else { Poll::Pending }
        };
        poll_fn(poll).await;
    }

    /// Ready when the child is to be killed. Has the task woken when that is due, and at every order: for the guard's alone,
    /// there is room for one waker. `grace` is the time that is left, made when it begins to run.
    pub(super) fn poll_doom(&self, cx: &mut Context<'_>, grace: &mut Option<Pin<Box<Sleep>>>) -> Poll<Doom> {
        self.guard.register(cx.waker());
        if self.include(Order::Kill) {
            return Poll::Ready(Doom::Ordered);
        }
        let is_orphan = self.include(Order::Orphan);
        let limit_ms = self.limit_ms.load(Ordering::Acquire);
        if !is_orphan && (limit_ms == 0 || !self.include(Order::Stop)) {
            return Poll::Pending;
        }
        let left = || if limit_ms == 0 { ORPHAN_GRACE } else { Duration::from_millis(limit_ms.into()) };
        let grace = grace.get_or_insert_with(|| Box::pin(sleep(left())));
        if is_orphan {
            let latest = Instant::now() + ORPHAN_GRACE;
            if grace.deadline() > latest {
                grace.as_mut().reset(latest);
            }
        }
        grace.as_mut().poll(cx).map(|()| if is_orphan { Doom::Orphaned } else { Doom::Late { limit_ms } })
    }
}

/// Why a guard kills its child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doom {
    /// The parent said so.
    Ordered,
    /// The parent is gone, and [`ORPHAN_GRACE`] is over.
    Orphaned,
    /// It did not end within the limit of [`ChildHandle::stop_within`].
    Late {
        /// The limit.
        limit_ms: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::kit::testing::{ProbeActor, tag};

    #[test]
    fn a_handle_may_be_held_on_another_arbiter() {
        tag!(Far);
        const fn crosses_threads<T: Send + Sync>() {}
        crosses_threads::<ChildHandle>();
        crosses_threads::<SupervisedChild<ProbeActor<Far>>>();
    }
}

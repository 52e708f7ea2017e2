//! One timer per actor, armed to whatever its machine's `deadline()` says after each step.
//!
//! Moving the deadline back, which is what most steps do, costs a comparison: the sleeping future wakes at the old time,
//! sees that it is early and sleeps on. Nothing is ever cancelled by handle: after a restart actix could cancel a future
//! of the new incarnation by an old one's handle.

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use actix::{Actor, ActorFuture, AsyncContext};
use tokio::time::{Instant, Sleep, sleep_until};

/// What runs when the deadline has come.
type Action<A> = fn(&mut A, &mut <A as Actor>::Context);

/// The timer of one actor. Armed it fires once; arming it again moves it.
///
/// It belongs to an incarnation: after a restart it is silent until it is armed anew, whether or not the actor kept it.
pub struct Timer<A: Actor> {
    shared: Rc<RefCell<Shared<A>>>,
}

struct Shared<A: Actor> {
    due: Option<(Instant, Action<A>)>,
    /// What the sleeper sleeps towards; `None` while it waits to be armed.
    asleep_until: Option<Instant>,
    /// The sleeper lives in this incarnation's context.
    has_sleeper: bool,
    waker: Option<Waker>,
}

impl<A: Actor> Timer<A> {
    /// One that is not armed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `action` once when `deadline` has come; if it has come already, soon after the present handler returned.
    /// `None` disarms. Replaces what was armed before; arming the same instant again is free.
    pub fn arm<I: Into<Instant>>(&mut self, ctx: &mut A::Context, deadline: Option<I>, action: Action<A>)
    where
        A::Context: AsyncContext<A>,
    {
        let deadline = deadline.map(Into::into);
        let mut shared = self.shared.borrow_mut();
        shared.due = deadline.map(|deadline| (deadline, action));
        let Some(deadline) = deadline else { return };
        if !shared.has_sleeper {
            shared.has_sleeper = true;
            shared.asleep_until = Some(deadline);
            drop(shared);
            ctx.spawn(Sleeper { shared: Rc::clone(&self.shared), sleep: Box::pin(sleep_until(deadline)) });
        } else if shared.asleep_until.is_none_or(|until| deadline < until)
            && let Some(waker) = shared.waker.take()
        {
            waker.wake();
        }
    }

    /// What it is armed to.
    pub fn deadline(&self) -> Option<Instant> {
        self.shared.borrow().due.map(|(deadline, _)| deadline)
    }
}

impl<A: Actor> Default for Timer<A> {
    fn default() -> Self {
        Self {
            shared: Rc::new(RefCell::new(Shared { due: None, asleep_until: None, has_sleeper: false, waker: None })),
        }
    }
}

impl<A: Actor> fmt::Debug for Timer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("deadline", &self.deadline()).finish()
    }
}

/// The future in the actor's context that does the waiting, one per incarnation.
struct Sleeper<A: Actor> {
    shared: Rc<RefCell<Shared<A>>>,
    sleep: Pin<Box<Sleep>>,
}

impl<A: Actor> Sleeper<A> {
    /// The action, if its time has come; else sleeps towards it.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Action<A>> {
        loop {
            let mut shared = self.shared.borrow_mut();
            if !shared.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                shared.waker = Some(cx.waker().clone());
            }
            let Some((deadline, action)) = shared.due else {
                shared.asleep_until = None;
                return Poll::Pending;
            };
            if shared.asleep_until.is_none_or(|until| deadline < until) {
                shared.asleep_until = Some(deadline);
                self.sleep.as_mut().reset(deadline);
            }
            std::task::ready!(self.sleep.as_mut().poll(cx));
            shared.asleep_until = None;
            if deadline <= self.sleep.deadline() {
                shared.due = None;
                return Poll::Ready(action);
            }
        }
    }
}

impl<A: Actor> ActorFuture<A> for Sleeper<A> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, actor: &mut A, ctx: &mut A::Context, cx: &mut Context<'_>) -> Poll<()> {
        if let Poll::Ready(action) = self.poll_due(cx) {
            // Once a turn: an action that arms the past again wakes its actor but does not keep the arbiter to itself.
            action(actor, ctx);
        }
        Poll::Pending
    }
}

impl<A: Actor> Drop for Sleeper<A> {
    fn drop(&mut self) {
        let mut shared = self.shared.borrow_mut();
        *shared = Shared { due: None, asleep_until: None, has_sleeper: false, waker: None };
    }
}

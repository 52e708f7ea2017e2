//! The cage: one child, its mailbox, and every place where its code runs and may panic. Nothing unwinds out of here.
//! Does not know policies or parents: that is the guard's.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use actix::dev::{ContextFut, Mailbox};
use actix::{ActorContext, ActorState};

use super::child::Child;
use super::context::Ctx;
use super::exit::ActorExit;
use super::meter::ActorMeter;
use super::panics;

/// How an incarnation ended.
#[derive(Debug)]
pub(super) struct End {
    pub(super) exit: ActorExit,
    /// It is not to be started again, whatever the exit says: it had said it was done, or nobody can reach it.
    pub(super) is_last: bool,
}

impl End {
    pub(super) fn last(exit: ActorExit) -> Self {
        Self { exit, is_last: true }
    }
}

/// One child over all its incarnations. Counts it as living as long as it exists.
pub(super) struct Cage<A: Child> {
    /// `None` once the child is gone for good.
    future: Option<ContextFut<A, Ctx<A>>>,
    meter: &'static ActorMeter,
}

impl<A: Child> Cage<A> {
    pub(super) fn new(child: A, mailbox: Mailbox<A>) -> Self {
        let meter = A::meter();
        meter.enlist();
        meter.on_born();
        Self { future: Some(Ctx::of(mailbox).into_future(child)), meter }
    }

    /// Lets the child run one turn. Ready when its incarnation has ended, `stopped` included.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        match self.run(|future| Pin::new(future).poll(cx)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => Poll::Ready(End { exit: self.said().unwrap_or(ActorExit::Normal), is_last: false }),
            Err(what) => Poll::Ready(self.end_of_panic(what)),
        }
    }

    /// Stops the child in the middle of whatever it does; `stopped` runs.
    pub(super) fn cut(&mut self) {
        if self.run(|future| future.ctx().stop()).is_ok() {
            let _ended_or_not = self.poll(&mut Context::from_waker(Waker::noop()));
        }
    }

    /// Makes the child ready for its next incarnation: its futures are dropped, `restarting` runs. It starts when it is
    /// polled next. Fails if that panics or nobody holds its address any more.
    pub(super) fn renew(&mut self) -> Result<(), End> {
        match self.run(ContextFut::restart) {
            Ok(true) => Ok(()),
            Ok(false) => Err(End::last(ActorExit::Normal)),
            Err(what) => Err(End { exit: ActorExit::Panic { what }, is_last: false }),
        }
    }

    /// Drops the child and its mailbox without running it again.
    pub(super) fn close(&mut self) {
        let Some(mut future) = self.future.take() else { return };
        // else its destructor would run `started` of a child that rests, or `stopped` of one that panicked
        future.ctx().terminate();
        if catch_unwind(AssertUnwindSafe(|| drop(future))).is_err() {
            self.meter.on_panic();
        }
    }

    /// A child that panics in `stopped` after it had said it was done is not wanted back.
    fn end_of_panic(&mut self, what: String) -> End {
        let stopped = self.future.as_mut().is_some_and(|future| future.ctx().state() == ActorState::Stopped);
        let done = matches!(self.said(), None | Some(ActorExit::Normal));
        End { exit: ActorExit::Panic { what }, is_last: stopped && done }
    }

    fn said(&mut self) -> Option<ActorExit> {
        self.future.as_mut().and_then(|future| future.ctx().take_exit())
    }

    fn run<T>(&mut self, act: impl FnOnce(&mut ContextFut<A, Ctx<A>>) -> T) -> Result<T, String> {
        let Some(future) = self.future.as_mut() else { return Err("the child is gone".to_owned()) };
        catch_unwind(AssertUnwindSafe(|| act(future))).map_err(|payload| {
            self.meter.on_panic();
            panics::describe(&*payload)
        })
    }
}

impl<A: Child> Drop for Cage<A> {
    /// Also when the arbiter is torn down: then nothing of the child runs any more but its destructors.
    fn drop(&mut self) {
        self.close();
        self.meter.on_gone();
    }
}

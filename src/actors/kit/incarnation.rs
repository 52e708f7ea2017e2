//! Runs one child and its mailbox. All of the child's code runs in here, and no panic leaves it.
//!
//! This module knows neither policies nor parents; the guard does.

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
    /// The child must not be started again, whatever the exit says: it had stopped by itself, or no actor holds its
    /// address.
    pub(super) is_last: bool,
}

impl End {
    pub(super) fn last(exit: ActorExit) -> Self {
        Self { exit, is_last: true }
    }
}

/// One child over all its incarnations. The child counts as living while this exists.
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

    /// Polls the child once. Ready when its incarnation has ended and `stopped` has run.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        match self.run(|future| Pin::new(future).poll(cx)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => Poll::Ready(End { exit: self.said().unwrap_or(ActorExit::Normal), is_last: false }),
            Err(what) => Poll::Ready(self.end_of_panic(what)),
        }
    }

    /// Stops the child in the middle of its work. `stopped` runs.
    pub(super) fn cut(&mut self) {
        if self.run(|future| future.ctx().stop()).is_ok() {
            let _ended_or_not = self.poll(&mut Context::from_waker(Waker::noop()));
        }
    }

    /// Prepares the child for its next incarnation: drops its futures and runs `restarting`. The incarnation starts at
    /// the next poll. Fails if that panics or no actor holds the child's address.
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
        // Otherwise the destructor would run `started` of a child that rests, or `stopped` of a child that panicked.
        future.ctx().terminate();
        if catch_unwind(AssertUnwindSafe(|| drop(future))).is_err() {
            self.meter.on_panic();
        }
    }

    /// The end after a panic. A child that panics in `stopped` after it had stopped by itself is not started again.
    fn end_of_panic(&mut self, what: String) -> End {
        let stopped = self.future.as_mut().is_some_and(|future| future.ctx().state() == ActorState::Stopped);
        let done = matches!(self.said(), None | Some(ActorExit::Normal));
        End { exit: ActorExit::Panic { what }, is_last: stopped && done }
    }

    /// The reason with which the child stopped itself.
    fn said(&mut self) -> Option<ActorExit> {
        self.future.as_mut().and_then(|future| future.ctx().take_exit())
    }

    /// Runs code of the child. An error is the text of its panic.
    fn run<T>(&mut self, act: impl FnOnce(&mut ContextFut<A, Ctx<A>>) -> T) -> Result<T, String> {
        let Some(future) = self.future.as_mut() else { return Err("the child is gone".to_owned()) };
        catch_unwind(AssertUnwindSafe(|| act(future))).map_err(|payload| {
            self.meter.on_panic();
            panics::describe(&*payload)
        })
    }
}

impl<A: Child> Drop for Cage<A> {
    /// Runs also when the arbiter is torn down. Then only destructors of the child run.
    fn drop(&mut self) {
        self.close();
        self.meter.on_gone();
    }
}

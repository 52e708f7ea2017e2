//! The context in which all actors run: actix's own, with a meter around each message and the reason for which an
//! actor stops.

use std::fmt;
use std::marker::PhantomData;

use actix::dev::{
    AsyncContextParts, ContextFut, ContextParts, Envelope, EnvelopeProxy, Mailbox, MessageResponse, OneshotSender,
    ToEnvelope,
};
use actix::{Actor, ActorContext, ActorFuture, ActorState, Addr, AsyncContext, Handler, Message, SpawnHandle};
use tokio::time::Instant;

use super::exit::ActorExit;
use super::meter::ActorMeter;

/// An actor whose messages are counted, and some of them timed. Implement it with [`metered!`](crate::metered).
pub trait Metered: Actor<Context = Ctx<Self>> {
    /// The name of this kind of actor in logs and counters.
    const KIND: &'static str;

    /// The counters of the kind.
    fn meter() -> &'static ActorMeter;
}

/// `metered!(HttpTracker, "HttpTracker")`: sets the name of an actor in logs and counters, and makes its meter.
#[macro_export]
macro_rules! metered {
    ($actor:ty, $kind:literal) => {
        impl $crate::actors::kit::Metered for $actor {
            const KIND: &'static str = $kind;

            fn meter() -> &'static $crate::actors::kit::ActorMeter {
                static METER: $crate::actors::kit::ActorMeter = $crate::actors::kit::ActorMeter::new($kind);
                &METER
            }
        }
    };
}

/// The context of a supervised actor: `type Context = Ctx<Self>`.
///
/// Does what [`actix::Context`] does, through the same traits. Messages that come through an address are metered
/// without any code in the handler. `notify` and spawned futures are not messages here and are not counted.
pub struct Ctx<A: Actor<Context = Self>> {
    parts: ContextParts<A>,
    mailbox: Option<Mailbox<A>>,
    exit: Option<ActorExit>,
}

impl<A: Actor<Context = Self>> Ctx<A> {
    pub(super) fn of(mailbox: Mailbox<A>) -> Self {
        Self { parts: ContextParts::new(mailbox.sender_producer()), mailbox: Some(mailbox), exit: None }
    }

    pub(super) fn into_future(mut self, actor: A) -> ContextFut<A, Self> {
        let mailbox = self.mailbox.take().unwrap_or_default();
        ContextFut::new(self, actor, mailbox)
    }

    /// Stops the actor for this reason; the guard decides what follows. The first reason counts, since later ones are
    /// its consequences. A plain `stop()` means [`ActorExit::Normal`]. Messages in the mailbox wait for the next
    /// incarnation.
    ///
    /// Do not return `Running::Continue` from `stopping` after this: the reason would be used for the next stop.
    pub fn stop_with(&mut self, exit: ActorExit) {
        self.exit.get_or_insert(exit);
        self.stop();
    }

    pub(super) fn take_exit(&mut self) -> Option<ActorExit> {
        self.exit.take()
    }

    /// The handle of the future that is being polled.
    pub fn handle(&self) -> SpawnHandle {
        self.parts.curr_handle()
    }
}

impl<A: Actor<Context = Self>> fmt::Debug for Ctx<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ctx").field("parts", &self.parts).field("exit", &self.exit).finish_non_exhaustive()
    }
}

impl<A: Actor<Context = Self>> ActorContext for Ctx<A> {
    fn stop(&mut self) {
        self.parts.stop();
    }

    fn terminate(&mut self) {
        self.parts.terminate();
    }

    fn state(&self) -> ActorState {
        self.parts.state()
    }
}

impl<A: Actor<Context = Self>> AsyncContext<A> for Ctx<A> {
    fn address(&self) -> Addr<A> {
        self.parts.address()
    }

    fn spawn<F: ActorFuture<A, Output = ()> + 'static>(&mut self, future: F) -> SpawnHandle {
        self.parts.spawn(future)
    }

    fn wait<F: ActorFuture<A, Output = ()> + 'static>(&mut self, future: F) {
        self.parts.wait(future);
    }

    fn waiting(&self) -> bool {
        self.parts.waiting()
    }

    /// Does nothing once the actor is stopping: actix would keep the request and use it to cancel a future of the next
    /// incarnation. For the same reason do not cancel and then stop in one turn.
    fn cancel_future(&mut self, handle: SpawnHandle) -> bool {
        self.state().alive() && self.parts.cancel_future(handle)
    }
}

impl<A: Actor<Context = Self>> AsyncContextParts<A> for Ctx<A> {
    fn parts(&mut self) -> &mut ContextParts<A> {
        &mut self.parts
    }
}

impl<A, M> ToEnvelope<A, M> for Ctx<A>
where
    A: Metered + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn pack(message: M, reply: Option<OneshotSender<M::Result>>) -> Envelope<A> {
        let enqueued = A::meter().on_enqueued().then(Instant::now);
        Envelope::with_proxy(Box::new(Parcel { message: Some(message), reply, enqueued, actor: PhantomData }))
    }
}

/// A message on its way. It is counted exactly once: when it is handled, or when it is dropped unhandled.
struct Parcel<A: Metered, M: Message> {
    message: Option<M>,
    reply: Option<OneshotSender<M::Result>>,
    /// When it entered the mailbox, if it is one of those to be timed.
    enqueued: Option<Instant>,
    actor: PhantomData<fn() -> A>,
}

impl<A, M> EnvelopeProxy<A> for Parcel<A, M>
where
    A: Metered + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn handle(&mut self, actor: &mut A, ctx: &mut Ctx<A>) {
        let reply = self.reply.take();
        if reply.as_ref().is_some_and(OneshotSender::is_closed) {
            return;
        }
        let Some(message) = self.message.take() else { return };
        let meter = A::meter();
        meter.on_handled();
        #[cfg(any(test, feature = "faults"))]
        super::injection::strike::<M>(A::KIND);
        let Some(enqueued) = self.enqueued else {
            return actor.handle(message, ctx).handle(ctx, reply);
        };
        let begun = Instant::now();
        actor.handle(message, ctx).handle(ctx, reply);
        meter.wait_times().record(begun.saturating_duration_since(enqueued));
        meter.handle_times().record(begun.elapsed());
    }
}

impl<A: Metered, M: Message> Drop for Parcel<A, M> {
    fn drop(&mut self) {
        if self.message.is_some() {
            A::meter().on_dropped();
        }
    }
}

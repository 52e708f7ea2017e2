//! The guard: runs one child, restarts it or gives it up, and reports to the parent.
//!
//! actix's own `Supervisor` restarts at once and without limit, never after a panic, and cannot give up. This guard is
//! built on the same public parts (`ContextFut::restart` keeps the address and the mailbox):
//!
//! * `ActorExit::Normal`: the child has ended.
//! * `ActorExit::Expected`: the child rests for the time that it named, or until its parent rouses it, and starts
//!   again. The budget is not touched.
//! * `ActorExit::Fault`, or a panic anywhere in the child (`started`, a handler, a spawned future, `restarting`,
//!   `stopped`, a destructor): the [`Policy`] decides between a back-off and giving up.
//!
//! What a child held is dropped (and its `restarting` runs) before the rest; `started` runs after it. Between two
//! incarnations the guard always returns to the arbiter, so a crash loop delays no other actor. `stopped` runs at the
//! end of an incarnation unless that panicked. A panic in `stopped` of a child that had stopped by itself ends it: the
//! panic is reported and counted, and the child is not restarted. A second panic while a first one unwinds cannot be
//! caught: a destructor that panics then aborts the process.

use std::convert::Infallible;
use std::future::poll_fn;
use std::mem;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use actix::dev::Mailbox;
use actix::{Actor, Handler, Recipient};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use tracing::Instrument;

use super::child::{Child, ChildEvent, ChildId, Goodbye, Lifecycle};
use super::context::Ctx;
use super::exit::ActorExit;
use super::handle::{ChildHandle, Doom, GuardOrders, Order, SupervisedChild};
use super::incarnation::{Cage, End};
use super::ledger::RestartEvent;
use super::place::Place;
use crate::logic::restart::{Decision, History, Policy};

/// Starts a child on this arbiter under a guard: restarted as `policy` says, its parent told of everything.
///
/// `jitter_seed` feeds the dice of the back-off. The child runs as long as its [`SupervisedChild`] (or its handle) lives.
pub fn spawn<A: Child + Handler<Goodbye>>(
    child: A,
    policy: Policy,
    jitter_seed: u64,
    parent: Recipient<ChildEvent>,
) -> SupervisedChild<A> {
    let (handle, post) = PendingGuard::new(ReportsTo::Parent(Arc::new(parent)));
    post.take(child, Some((policy, jitter_seed)));
    handle
}

/// Like [`spawn`], on the arbiter that `place` names. `make` makes the child there and must not panic. The child can
/// be sent messages, and told to end, at once.
pub fn spawn_at<A: Child + Handler<Goodbye>>(
    place: &Place,
    make: impl FnOnce() -> A + Send + 'static,
    policy: Policy,
    jitter_seed: u64,
    parent: Recipient<ChildEvent>,
) -> SupervisedChild<A> {
    let (handle, post) = PendingGuard::new(ReportsTo::Parent(Arc::new(parent)));
    place.run(move || post.take(make(), Some((policy, jitter_seed))));
    handle
}

/// Starts a child that is never restarted: the parent gets one `Ended` and decides by itself. One `Recipient` of the
/// parent serves all such children.
pub fn spawn_temporary<A: Child + Handler<Goodbye>>(
    child: A,
    parent: Arc<Recipient<ChildEvent>>,
) -> SupervisedChild<A> {
    let (handle, post) = PendingGuard::new(ReportsTo::Parent(parent));
    post.take(child, None);
    handle
}

/// Starts the root of a tree. The receiver gets the exit of its last incarnation, once: `ActorExit::Normal` if it was
/// told to end, a fault or a panic if its budget is spent. It fails if the arbiter is torn down first.
pub fn spawn_root<A: Child + Handler<Goodbye>>(
    child: A,
    policy: Policy,
    jitter_seed: u64,
) -> (SupervisedChild<A>, oneshot::Receiver<ActorExit>) {
    let (end, told) = oneshot::channel();
    let (handle, post) = PendingGuard::new(ReportsTo::World(Some(end)));
    post.take(child, Some((policy, jitter_seed)));
    (handle, told)
}

/// The guard of a child that does not exist yet. It can be sent to another arbiter.
struct PendingGuard<A: Actor<Context = Ctx<A>>> {
    mailbox: Mailbox<A>,
    id: ChildId,
    orders: Arc<GuardOrders>,
    superior: ReportsTo,
    alive: oneshot::Sender<Infallible>,
}

impl<A: Child + Handler<Goodbye>> PendingGuard<A> {
    fn new(superior: ReportsTo) -> (SupervisedChild<A>, Self) {
        let (id, orders, mailbox) = (ChildId::fresh(), Arc::new(GuardOrders::default()), Mailbox::default());
        let (alive, ended) = oneshot::channel();
        let addr = mailbox.address();
        let control = ChildHandle::new((id, A::KIND), Arc::clone(&orders), addr.clone().recipient(), ended);
        (SupervisedChild { addr, control }, Self { mailbox, id, orders, superior, alive })
    }

    /// Makes the guard with its child on this arbiter, and starts it. `patience`: `None` for a child that is never
    /// restarted.
    fn take(self, child: A, patience: Option<(Policy, u64)>) {
        let name = child.id();
        let span = tracing::info_span!("actor", kind = A::KIND, id = name);
        // Boxed: the compiler keeps two copies of what an async function takes by value, the argument and the one it
        // works on.
        let guard = Box::new(Guard {
            cage: Cage::new(child, self.mailbox),
            id: self.id,
            patience: patience.map(|(policy, jitter_seed)| Box::new(RestartBudget::new(name, policy, jitter_seed))),
            started: Instant::now(),
            orders: self.orders,
            superior: self.superior,
            _alive: self.alive,
        });
        actix_rt::spawn(guard.run().instrument(span));
    }
}

/// The receiver of a guard's reports.
#[derive(Debug)]
enum ReportsTo {
    Parent(Arc<Recipient<ChildEvent>>),
    World(Option<oneshot::Sender<ActorExit>>),
}

impl ReportsTo {
    fn tell(&self, event: ChildEvent) {
        if let Self::Parent(parent) = self {
            parent.do_send(event);
        }
    }
}

/// What follows the end of an incarnation.
enum Next {
    Rest { backoff: Duration, rousable: bool },
    Finish { exit: ActorExit, gave_up: bool },
}

/// The restarts of a child, and how many are allowed.
struct RestartBudget {
    /// The name of the child in logs.
    name: String,
    policy: Policy,
    history: History,
    expected_in_a_row: u32,
    dice: SmallRng,
}

impl RestartBudget {
    fn new(name: String, policy: Policy, jitter_seed: u64) -> Self {
        let dice = SmallRng::seed_from_u64(jitter_seed);
        Self { name, policy, history: History::new(), expected_in_a_row: 0, dice }
    }
}

struct Guard<A: Child> {
    cage: Cage<A>,
    id: ChildId,
    /// `None`: never restarted. Boxed, since there may be thousands of such guards.
    patience: Option<Box<RestartBudget>>,
    /// When the present incarnation began.
    started: Instant,
    orders: Arc<GuardOrders>,
    superior: ReportsTo,
    /// Dropped last: a task that waits for the end may rely on everything else being dropped.
    _alive: oneshot::Sender<Infallible>,
}

impl<A: Child> Guard<A> {
    /// Runs the child over all its incarnations. What this and [`Guard::live`] keep while they wait exists for each of
    /// thousands of actors, so it must be small.
    async fn run(mut self: Box<Self>) {
        loop {
            let end = self.live().await;
            match self.renew(end) {
                // Boxed, since few actors ever rest.
                Next::Rest { backoff, rousable } => Box::pin(self.rest(backoff, rousable)).await,
                Next::Finish { exit, gave_up } => return self.finish(exit, gave_up),
            }
        }
    }

    /// Runs one incarnation to its end, or until the child is told to end before it begins.
    async fn live(&mut self) -> End {
        if self.orders.include(Order::Stop) {
            return End::last(ActorExit::Normal);
        }
        self.started = Instant::now();
        if let Some(patience) = &mut self.patience {
            patience.history.on_started(self.started.into_std());
        }
        A::meter().on_started();
        let (mut announced, mut grace) = (false, None);
        poll_fn(|cx| {
            if let Poll::Ready(doom) = self.orders.poll_doom(cx, &mut grace) {
                if let Doom::Late { limit_ms } = doom {
                    tracing::warn!(actor = A::KIND, limit_ms, "actor killed: it did not end when told to");
                }
                self.cage.cut();
                return Poll::Ready(End::last(ActorExit::fault("killed: it did not end when told to")));
            }
            let polled = self.cage.poll(cx);
            if polled.is_pending() && !mem::replace(&mut announced, true) {
                self.superior.tell(ChildEvent { kind: A::KIND, id: self.id, event: Lifecycle::Started });
            }
            polled
        })
        .await
    }

    /// Decides what follows an end. If that is another incarnation, the child is ready for it.
    fn renew(&mut self, mut end: End) -> Next {
        loop {
            let next = self.judge(end);
            if matches!(next, Next::Finish { .. }) {
                return next;
            }
            match self.cage.renew() {
                Ok(()) => return next,
                Err(again) => end = again,
            }
        }
    }

    /// Rests. Lets other tasks run first, even if the back-off is zero.
    async fn rest(&self, backoff: Duration, rousable: bool) {
        self.orders.forget_rousing();
        tokio::task::yield_now().await;
        tokio::select! {
            biased;
            () = self.orders.wait_in_rest(rousable) => {}
            () = sleep(backoff) => {}
        }
    }

    /// Decides between a rest and the end.
    fn judge(&mut self, End { exit, is_last }: End) -> Next {
        let Some(patience) = self.patience.as_mut().filter(|_| !is_last && !self.orders.include(Order::Stop)) else {
            return Next::Finish { exit, gave_up: false };
        };
        match &exit {
            ActorExit::Normal => Next::Finish { exit, gave_up: false },
            ActorExit::Expected { after, .. } => {
                let stable = self.started.elapsed() >= patience.policy.stable;
                patience.expected_in_a_row = if stable { 1 } else { patience.expected_in_a_row.saturating_add(1) };
                let attempt = patience.expected_in_a_row;
                self.announce_restart(&exit, attempt, *after);
                Next::Rest { backoff: *after, rousable: true }
            }
            ActorExit::Fault { .. } | ActorExit::Panic { .. } => {
                let RestartBudget { policy, history, dice, .. } = &mut **patience;
                match history.on_abnormal(policy, Instant::now().into_std(), dice.random()) {
                    Decision::RestartAfter(backoff) => {
                        let attempt = history.attempt();
                        self.announce_restart(&exit, attempt, backoff);
                        Next::Rest { backoff, rousable: false }
                    }
                    Decision::GiveUp => Next::Finish { exit, gave_up: true },
                }
            }
        }
    }

    /// Logs, counts and reports a restart.
    fn announce_restart(&self, exit: &ActorExit, attempt: u32, backoff: Duration) {
        let Some(patience) = &self.patience else { return };
        let expected = !exit.is_abnormal();
        let budget_left = patience.history.budget_left(&patience.policy, Instant::now().into_std());
        let (cause, what) = (exit.cause(), exit.what());
        let restart = RestartEvent {
            kind: A::KIND,
            id: &patience.name,
            cause: &cause,
            what,
            attempt,
            backoff,
            budget_left: Some(budget_left),
            expected,
        };
        restart.record(Some(A::meter()));
        self.report(Lifecycle::Restarting { cause, attempt, backoff, budget_left, expected });
    }

    /// Drops the child and reports its end.
    #[expect(clippy::boxed_local, reason = "it moves out of its task as it lies, and not over the stack")]
    fn finish(mut self: Box<Self>, exit: ActorExit, gave_up: bool) {
        self.cage.close();
        if let Some(RestartBudget { name, .. }) = self.patience.as_deref().filter(|_| gave_up) {
            A::meter().on_gave_up();
            tracing::warn!(actor = A::KIND, id = name, cause = %exit.cause(), what = exit.what(), "actor given up");
        }
        match &mut self.superior {
            ReportsTo::Parent(_) => self.report(Lifecycle::Ended { exit, gave_up }),
            ReportsTo::World(end) => {
                let _nobody_waits = end.take().map(|end| end.send(exit));
            }
        }
    }

    fn report(&self, event: Lifecycle) {
        self.superior.tell(ChildEvent { kind: A::KIND, id: self.id, event });
    }
}

#[cfg(test)]
mod tests;

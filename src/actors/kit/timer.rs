//! One timer for each actor, armed to the `deadline()` of its machine after each step.
//!
//! Most steps move the deadline to a later time, which costs a comparison: the sleeping future wakes at the old time,
//! sees that it is early and sleeps on. No future is ever cancelled by its handle: after a restart actix could cancel
//! a future of the new incarnation by an old handle.

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use actix::{Actor, ActorFuture, AsyncContext};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

/// The function to call at the deadline.
type Action<A> = fn(&mut A, &mut <A as Actor>::Context);

/// The timer of one actor. When armed it fires once; arming it again moves it.
///
/// It belongs to an incarnation. After a restart it does not fire until it is armed again, also if the actor kept it.
pub struct Timer<A: Actor> {
    shared: Rc<RefCell<Shared<A>>>,
}

/// The state that timer and sleeper share.
struct Shared<A: Actor> {
    /// The deadline and its action.
    due: Option<(Instant, Action<A>)>,
    /// The time to which the sleeper sleeps. `None` while it waits to be armed.
    asleep_until: Option<Instant>,
    /// Whether the sleeper runs in the context of this incarnation.
    has_sleeper: bool,
    waker: Option<Waker>,
}

impl<A: Actor> Timer<A> {
    /// A timer that is not armed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls `action` once at `deadline`, or soon after the present handler returns if that has passed. `None`
    /// disarms. Replaces an earlier deadline; arming the same time again is free.
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
            ctx.spawn(Sleeper { share: Share(Rc::clone(&self.shared)), sleep: sleep_until(deadline) });
        } else if shared.asleep_until.is_none_or(|until| deadline < until)
            && let Some(waker) = shared.waker.take()
        {
            waker.wake();
        }
    }

    /// The time to which the timer is armed. `None`: it is not armed.
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

pin_project! {
    /// The future in the actor's context that waits. There is one for each incarnation.
    struct Sleeper<A: Actor> {
        share: Share<A>,
        #[pin]
        sleep: Sleep,
    }
}

/// The sleeper's reference to the shared state, which is cleared when the sleeper is dropped.
struct Share<A: Actor>(Rc<RefCell<Shared<A>>>);

impl<A: Actor> Sleeper<A> {
    /// The action if its time has come. Otherwise sleeps until then.
    fn poll_due(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Action<A>> {
        let mut this = self.project();
        loop {
            let mut shared = this.share.0.borrow_mut();
            if !shared.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                shared.waker = Some(cx.waker().clone());
            }
            let Some((deadline, action)) = shared.due else {
                shared.asleep_until = None;
                return Poll::Pending;
            };
            if shared.asleep_until.is_none_or(|until| deadline < until) {
                shared.asleep_until = Some(deadline);
                this.sleep.as_mut().reset(deadline);
            }
            std::task::ready!(this.sleep.as_mut().poll(cx));
            shared.asleep_until = None;
            if deadline <= this.sleep.deadline() {
                shared.due = None;
                return Poll::Ready(action);
            }
        }
    }
}

impl<A: Actor> ActorFuture<A> for Sleeper<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, actor: &mut A, ctx: &mut A::Context, cx: &mut Context<'_>) -> Poll<()> {
        if let Poll::Ready(action) = self.poll_due(cx) {
            // Once a turn: an action that arms a past time wakes its actor again but lets other tasks run in between.
            action(actor, ctx);
        }
        Poll::Pending
    }
}

impl<A: Actor> Drop for Share<A> {
    fn drop(&mut self) {
        let mut shared = self.0.borrow_mut();
        *shared = Shared { due: None, asleep_until: None, has_sleeper: false, waker: None };
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix::{Handler, Message, Supervised};
    use tokio::time::sleep;

    use super::*;
    use crate::actors::kit::testing::{GuardLog, POLICY, with_actors};
    use crate::actors::kit::{ActorExit, Child, Ctx, Goodbye, Metered, SupervisedChild, metered, spawn};

    const MS: Duration = Duration::from_millis(1);

    type Fired = Rc<RefCell<Vec<u128>>>;

    struct Alarm {
        timer: Timer<Self>,
        began: Instant,
        fired: Fired,
    }

    metered!(Alarm, "Alarm");

    impl Alarm {
        fn arm_at(&mut self, ctx: &mut Ctx<Self>, ms: u32) {
            self.timer.arm(ctx, Some(self.began + MS * ms), |alarm, _| alarm.fire());
        }

        fn fire(&mut self) {
            self.fired.borrow_mut().push(self.began.elapsed().as_millis());
        }
    }

    impl Actor for Alarm {
        type Context = Ctx<Self>;
    }

    impl Supervised for Alarm {}

    impl Child for Alarm {
        fn id(&self) -> String {
            String::new()
        }
    }

    impl Handler<Goodbye> for Alarm {
        type Result = ();

        fn handle(&mut self, _: Goodbye, _: &mut Ctx<Self>) {}
    }

    #[derive(Message)]
    #[rtype(result = "()")]
    struct Do(fn(&mut Alarm, &mut Ctx<Alarm>));

    impl Handler<Do> for Alarm {
        type Result = ();

        fn handle(&mut self, message: Do, ctx: &mut Ctx<Self>) {
            (message.0)(self, ctx);
        }
    }

    fn begin() -> (SupervisedChild<Alarm>, Fired) {
        let fired = Fired::default();
        let alarm = Alarm { timer: Timer::new(), began: Instant::now(), fired: Rc::clone(&fired) };
        (spawn(alarm, POLICY, 1, GuardLog::open().0.recipient()), fired)
    }

    /// The messages sent and their times in milliseconds; the times at which the timer fires.
    #[tokio::test(start_paused = true)]
    async fn it_fires_once_at_the_last_deadline_armed() {
        type Step = (u32, fn(&mut Alarm, &mut Ctx<Alarm>));
        let table: &[(&str, &[Step], &[u128])] = &[
            ("armed", &[(0, |a, ctx| a.arm_at(ctx, 50))], &[50]),
            ("armed again to the same", &[(0, |a, ctx| a.arm_at(ctx, 50)), (20, |a, ctx| a.arm_at(ctx, 50))], &[50]),
            ("moved back", &[(0, |a, ctx| a.arm_at(ctx, 50)), (20, |a, ctx| a.arm_at(ctx, 90))], &[90]),
            ("moved forward", &[(0, |a, ctx| a.arm_at(ctx, 90)), (20, |a, ctx| a.arm_at(ctx, 50))], &[50]),
            (
                "moved back, then forward",
                &[(0, |a, ctx| a.arm_at(ctx, 50)), (20, |a, ctx| a.arm_at(ctx, 90)), (60, |a, ctx| a.arm_at(ctx, 70))],
                &[70],
            ),
            ("in the past", &[(30, |a, ctx| a.arm_at(ctx, 10))], &[30]),
            ("armed after it fired", &[(0, |a, ctx| a.arm_at(ctx, 10)), (40, |a, ctx| a.arm_at(ctx, 60))], &[10, 60]),
            (
                "in the past, after it fired",
                &[(0, |a, ctx| a.arm_at(ctx, 10)), (40, |a, ctx| a.arm_at(ctx, 20))],
                &[10, 40],
            ),
            (
                "disarmed",
                &[(0, |a, ctx| a.arm_at(ctx, 50)), (20, |a, ctx| a.timer.arm(ctx, None::<Instant>, |a, _| a.fire()))],
                &[],
            ),
            (
                "disarmed and armed",
                &[
                    (0, |a, ctx| a.arm_at(ctx, 50)),
                    (20, |a, ctx| a.timer.arm(ctx, None::<Instant>, |a, _| a.fire())),
                    (30, |a, ctx| a.arm_at(ctx, 40)),
                ],
                &[40],
            ),
            (
                "armed by the actor's last future, when the sleeper has had its turn",
                &[
                    (0, |a, ctx| a.arm_at(ctx, 90)),
                    (10, |_, ctx| {
                        ctx.run_later(MS * 10, |a, ctx| a.arm_at(ctx, 30));
                    }),
                ],
                &[30],
            ),
            (
                "armed by its own action",
                &[(0, |a, ctx| {
                    a.timer.arm(ctx, Some(a.began + MS * 10), |a, ctx| {
                        a.fire();
                        a.arm_at(ctx, 20);
                    });
                })],
                &[10, 20],
            ),
        ];
        for (what, steps, want) in table {
            with_actors(async {
                let (child, fired) = begin();
                let mut now = 0;
                for (at, step) in *steps {
                    sleep(MS * (at - now)).await;
                    now = *at;
                    child.addr.do_send(Do(*step));
                }
                sleep(MS * 200).await;
                assert_eq!(*fired.borrow(), *want, "{what}");
            })
            .await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_action_that_arms_the_past_takes_turns_with_others() {
        with_actors(async {
            fn again(alarm: &mut Alarm, ctx: &mut Ctx<Alarm>) {
                alarm.fire();
                alarm.timer.arm(ctx, Some(alarm.began), again);
            }
            let (child, fired) = begin();
            child.addr.do_send(Do(again));
            let mut turns = 0;
            let neighbour = tokio::task::spawn_local(std::future::poll_fn(move |cx| {
                turns += 1;
                cx.waker().wake_by_ref();
                if turns > 1000 { Poll::Ready(turns) } else { Poll::Pending }
            }));
            let turns = neighbour.await.unwrap();
            assert!(fired.borrow().len().abs_diff(turns) < turns / 10, "{} to {turns}", fired.borrow().len());
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_restart_it_does_not_fire_until_it_is_armed_again() {
        with_actors(async {
            let (child, fired) = begin();
            child.addr.do_send(Do(|alarm, ctx| {
                alarm.arm_at(ctx, 100);
                ctx.stop_with(ActorExit::expected("reset", MS * 10));
            }));
            sleep(MS * 50).await;
            child.addr.do_send(Do(|alarm, _| assert_eq!(alarm.timer.deadline(), None)));
            sleep(MS * 150).await;
            assert!(fired.borrow().is_empty());
            child.addr.do_send(Do(|alarm, ctx| alarm.arm_at(ctx, 300)));
            sleep(MS * 200).await;
            assert_eq!(*fired.borrow(), [300]);
            assert_eq!(Alarm::meter().snapshot().panics, 0);
        })
        .await;
    }
}

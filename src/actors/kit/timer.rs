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
use pin_project_lite::pin_project;
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
            ctx.spawn(Sleeper { share: Share(Rc::clone(&self.shared)), sleep: sleep_until(deadline) });
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

pin_project! {
    /// The future in the actor's context that does the waiting, one per incarnation.
    struct Sleeper<A: Actor> {
        share: Share<A>,
        #[pin]
        sleep: Sleep,
    }
}

/// The sleeper's share, emptied when it goes.
struct Share<A: Actor>(Rc<RefCell<Shared<A>>>);

impl<A: Actor> Sleeper<A> {
    /// The action, if its time has come; else sleeps towards it.
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
            // Once a turn: an action that arms the past again wakes its actor but does not keep the arbiter to itself.
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

    /// What is sent, and when, in milliseconds; when the timer fires.
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
    async fn after_a_restart_it_is_silent_until_it_is_armed_again() {
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

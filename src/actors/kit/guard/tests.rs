use std::cell::RefCell;
use std::rc::Rc;

use actix::{ActorContext, ActorFutureExt, Addr, AsyncContext, MailboxError};
use tokio::time::sleep;

use super::*;
use crate::actors::kit::handle::ORPHAN_GRACE;
use crate::actors::kit::testing::{
    Diary, Do, GuardLog, GuardLogEntry, LONG, POLICY, ProbeActor, ProbeHook, Tag, ends, logged_alone, tag, with_actors,
};
use crate::actors::kit::{Ctx, restarts_by_cause};

const MS: Duration = Duration::from_millis(1);

fn begin<T: Tag>(probe: ProbeActor<T>, policy: Policy) -> (SupervisedChild<ProbeActor<T>>, GuardLogEntry) {
    let (ear, heard) = GuardLog::open();
    (spawn(probe, policy, 1, ear.recipient()), heard)
}

fn do_it<T: Tag>(child: &SupervisedChild<ProbeActor<T>>, what: ProbeHook<T>) {
    child.addr.do_send(Do(what));
}

fn panic_once<T: Tag>(probe: &mut ProbeActor<T>, _: &mut Ctx<ProbeActor<T>>) {
    assert!(probe.incarnation > 1, "first incarnation");
}

fn panic_now<T: Tag>(_: &mut ProbeActor<T>, _: &mut Ctx<ProbeActor<T>>) {
    panic!("as the test wants it");
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "a bomb was dropped");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_anywhere_is_one_abnormal_restart() {
    tag!(Panics);
    type Shape = fn(&mut ProbeActor<Panics>);
    let places: [(&str, Shape); 7] = [
        ("started", |probe| probe.at_start = panic_once),
        ("a handler", |probe| probe.at_start = |_, ctx| ctx.address().do_send(Do(panic_once))),
        ("a spawned future", |probe| {
            probe.at_start = |_, ctx| {
                ctx.spawn(
                    actix::fut::wrap_future::<_, ProbeActor<Panics>>(sleep(MS))
                        .map(|(), act, ctx| panic_once(act, ctx)),
                );
            };
        }),
        ("a delayed closure", |probe| {
            probe.at_start = |_, ctx| {
                ctx.run_later(MS, panic_once);
            };
        }),
        ("stopped", |probe| {
            probe.at_start = |probe, ctx| {
                if probe.incarnation == 1 {
                    ctx.stop_with(ActorExit::expected("reset", Duration::ZERO));
                }
            };
            probe.at_stop = panic_once;
        }),
        ("a destructor", |probe| {
            probe.at_start = |probe, ctx| {
                if probe.incarnation == 1 {
                    let bomb = Bomb;
                    ctx.spawn(actix::fut::wrap_future(async move {
                        let _bomb = bomb;
                    }));
                }
            };
        }),
        ("the destructor of a future, after a fault", |probe| {
            probe.at_start = |probe, ctx| {
                if probe.incarnation == 1 {
                    let bomb = Bomb;
                    ctx.spawn(actix::fut::wrap_future(async move {
                        let _bomb = bomb;
                        std::future::pending::<()>().await;
                    }));
                    ctx.stop_with(ActorExit::expected("reset", Duration::ZERO));
                }
            };
        }),
    ];
    for (place, shape) in places {
        with_actors(async {
            let panics_before = Panics::meter().snapshot().panics;
            let mut probe = ProbeActor::new("p", &Diary::default());
            shape(&mut probe);
            let (child, heard) = begin(probe, POLICY);
            sleep(LONG).await;
            assert!(child.addr.connected(), "{place}");
            assert_eq!(Panics::meter().snapshot().panics - panics_before, 1, "{place}");
            let heard = heard.borrow();
            let abnormal = heard.iter().filter(|(_, _, event)| {
                matches!(event, Lifecycle::Restarting { cause, attempt: 1, budget_left: 2, expected: false, .. } if cause == "panic")
            });
            assert_eq!(abnormal.count(), 1, "{place}: {heard:?}");
            assert_eq!(heard.last().map(|(_, _, event)| event), Some(&Lifecycle::Started), "{place}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_restarting_spends_the_budget_too() {
    tag!(Stubborn);
    with_actors(async {
        let mut probe = ProbeActor::<Stubborn>::new("p", &Diary::default());
        probe.at_start = panic_now;
        probe.at_restart = panic_now;
        let (child, heard) = begin(probe, POLICY);
        sleep(LONG).await;
        assert_eq!(ends(&heard), [(ActorExit::Panic { what: "as the test wants it".to_owned() }, true)]);
        assert!(!child.addr.connected());
        let meter = Stubborn::meter().snapshot();
        assert_eq!((meter.panics, meter.restarts_abnormal, meter.gave_up, meter.live), (4, 3, 1, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_back_off_grows_until_the_budget_is_spent() {
    tag!(Looper);
    with_actors(async {
        let diary = Diary::default();
        let mut probe = ProbeActor::<Looper>::new("p", &diary);
        probe.at_start = |_, ctx| ctx.stop_with(ActorExit::fault("broken"));
        let (_child, heard) = begin(probe, POLICY);
        sleep(LONG).await;
        let mut restarts = Vec::new();
        for (_, _, event) in heard.borrow().iter() {
            if let Lifecycle::Restarting { attempt, backoff, budget_left, .. } = event {
                restarts.push((*attempt, backoff.as_secs_f64(), *budget_left));
            }
        }
        assert_eq!(restarts.len(), 3);
        for ((attempt, backoff, budget_left), want) in restarts.iter().zip([(1, 1.0, 2), (2, 2.0, 1), (3, 4.0, 0)]) {
            assert_eq!((*attempt, *budget_left), (want.0, want.2));
            assert!((0.75..=1.25).contains(&(backoff / want.1)), "{backoff} s");
        }
        assert_eq!(ends(&heard), [(ActorExit::fault("broken"), true)]);
        let (ended_at, ..) = *heard.borrow().last().unwrap();
        let rested: f64 = restarts.iter().map(|(_, backoff, _)| backoff).sum();
        assert!((ended_at.as_secs_f64() - rested).abs() < 0.01, "{ended_at:?} instead of {rested}");
        let mut lived = diary.read();
        assert_eq!(lived.pop().as_deref(), Some("p dropped"));
        assert_eq!(
            lived.join(", "),
            "p starts 1, p stopped, p starts 2, p stopped, p starts 3, p stopped, p starts 4, p stopped"
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_roused_child_rests_no_longer_unless_it_failed() {
    tag!(Sleeper);
    with_actors(async {
        let diary = Diary::default();
        let mut probe = ProbeActor::<Sleeper>::new("p", &diary);
        probe.at_start = |probe, ctx| match probe.incarnation {
            2 => ctx.stop_with(ActorExit::expected("refused", LONG)),
            4 => ctx.stop_with(ActorExit::fault("a bug")),
            _ => {}
        };
        let (child, _heard) = begin(probe, POLICY);
        let began = Instant::now();
        sleep(MS).await;
        child.rouse();
        do_it(&child, |_, ctx| ctx.stop_with(ActorExit::expected("refused", Duration::ZERO)));
        sleep(LONG / 2).await;
        assert_eq!(
            diary.read().last().unwrap(),
            "p stopped",
            "the second rests; rousing the first meant nothing to it"
        );
        child.rouse();
        sleep(MS).await;
        assert_eq!(diary.read(), ["p starts 3"]);
        do_it(&child, |_, ctx| ctx.stop_with(ActorExit::expected("refused", Duration::ZERO)));
        sleep(MS).await;
        assert_eq!(diary.read(), ["p stopped", "p starts 4", "p stopped"]);
        child.rouse();
        sleep(MS * 500).await;
        assert_eq!(diary.read(), [""; 0], "its own failure is waited out");
        sleep(LONG).await;
        assert_eq!(diary.read(), ["p starts 5"]);
        assert!(began.elapsed() < LONG * 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_expected_restarts_leave_the_budget_alone() {
    tag!(Redialled);
    with_actors(async {
        let mut probe = ProbeActor::<Redialled>::new("p", &Diary::default());
        probe.at_start = |probe, ctx| match probe.incarnation {
            ..=10_000 => ctx.stop_with(ActorExit::expected("reset", MS * (probe.incarnation % 2))),
            _ => ctx.stop_with(ActorExit::fault("a first one")),
        };
        let (_child, heard) = begin(probe, POLICY);
        sleep(LONG * 2).await;
        let expected =
            |event: &Lifecycle| matches!(event, Lifecycle::Restarting { expected: true, budget_left: 3, .. });
        assert_eq!(heard.borrow().iter().filter(|(_, _, event)| expected(event)).count(), 10_000);
        let abnormal = heard.borrow().iter().find_map(|(_, _, event)| match event {
            Lifecycle::Restarting { expected: false, attempt, budget_left, .. } => Some((*attempt, *budget_left)),
            _ => None,
        });
        assert_eq!(abnormal, Some((1, 2)));
        let counted: Vec<_> = restarts_by_cause().into_iter().filter(|(kind, ..)| *kind == Redialled::KIND).collect();
        assert_eq!(counted, [(Redialled::KIND, "fault".to_owned(), 3), (Redialled::KIND, "reset".to_owned(), 10_000)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn messages_wait_for_the_restart_and_the_one_that_panicked_is_not_delivered_again() {
    tag!(Poisoned);
    with_actors(async {
        let diary = Diary::default();
        let (child, _heard) = begin(ProbeActor::<Poisoned>::new("p", &diary), POLICY);
        let poison = child.addr.send(Do(panic_now));
        do_it(&child, |probe, _| probe.note(&format!("handles in {}", probe.incarnation)));
        let question = child.addr.send(Do(|probe, _| probe.note("answers")));
        assert_eq!(poison.await, Err(MailboxError::Closed));
        do_it(&child, |probe, _| probe.note("handles what came while it rested"));
        assert_eq!(question.await, Ok(()));
        sleep(MS).await;
        let want = ["p starts 1", "p starts 2", "p handles in 2", "p answers", "p handles what came while it rested"];
        assert_eq!(diary.read(), want);
        let meter = Poisoned::meter().snapshot();
        assert_eq!((meter.enqueued, meter.handled, meter.dropped, meter.mailbox), (4, 4, 0, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_delays_no_other_actor() {
    tag!(Crasher, Bystander);
    with_actors(async {
        let diary = Diary::default();
        let mut crasher = ProbeActor::<Crasher>::new("c", &Diary::default());
        crasher.at_start = panic_now;
        let policy = Policy { max_restarts: 1000, base: MS, cap: MS, ..POLICY };
        let (_crasher, heard) = begin(crasher, policy);
        let mut bystander = ProbeActor::<Bystander>::new("b", &diary);
        bystander.at_start = |_, ctx| {
            ctx.run_interval(MS * 10, |probe, _| probe.note("ticks"));
        };
        let _bystander = begin(bystander, POLICY);
        sleep(MS * 505).await;
        assert_eq!(diary.read().len(), 1 + 50, "one start and 50 ticks");
        assert!(heard.borrow().len() > 300, "it does crash in between: {}", heard.borrow().len());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn restarts_without_any_rest_take_turns_with_others() {
    tag!(Restless);
    with_actors(async {
        let mut probe = ProbeActor::<Restless>::new("p", &Diary::default());
        probe.at_start = |_, ctx| ctx.stop_with(ActorExit::expected("reset", Duration::ZERO));
        let (_child, heard) = begin(probe, POLICY);
        for _ in 0..100 {
            let before = heard.borrow().len();
            tokio::task::yield_now().await;
            assert!(heard.borrow().len() - before <= 2);
        }
        assert!(heard.borrow().len() > 20, "{}", heard.borrow().len());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn goodbye_ends_a_resting_child_at_once_and_without_starting_it() {
    tag!(Resting);
    with_actors(async {
        let diary = Diary::default();
        let mut probe = ProbeActor::<Resting>::new("p", &diary);
        probe.at_start = |_, ctx| ctx.stop_with(ActorExit::expected("tracker-failure", LONG * 180));
        let (mut child, heard) = begin(probe, POLICY);
        sleep(LONG).await;
        child.stop();
        child.stop();
        child.control.ended().await;
        child.control.ended().await;
        sleep(MS).await;
        assert_eq!(diary.read(), ["p starts 1", "p stopped", "p dropped"]);
        assert_eq!(ends(&heard), [(ActorExit::Normal, false)]);
        assert!(heard.borrow().last().unwrap().0 < LONG + MS * 10);
        assert_eq!(Resting::meter().snapshot().dropped, 1, "the goodbye itself");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_child_told_to_end_is_not_restarted_whatever_it_does() {
    tag!(Told);
    let table: [(&str, ProbeHook<Told>, ActorExit); 4] = [
        ("stops", |_, ctx| ctx.stop(), ActorExit::Normal),
        ("faults", |_, ctx| ctx.stop_with(ActorExit::fault("x")), ActorExit::fault("x")),
        ("expects more", |_, ctx| ctx.stop_with(ActorExit::expected("reset", MS)), ActorExit::expected("reset", MS)),
        ("panics", panic_now, ActorExit::Panic { what: "as the test wants it".to_owned() }),
    ];
    for (what, at_goodbye, want) in table {
        with_actors(async {
            let mut probe = ProbeActor::new("p", &Diary::default());
            probe.at_goodbye = at_goodbye;
            let (mut child, heard) = begin(probe, POLICY);
            sleep(MS).await;
            child.stop();
            child.control.ended().await;
            sleep(LONG).await;
            assert_eq!(ends(&heard), [(want, false)], "{what}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_that_will_not_end_is_killed() {
    tag!(Deaf);
    with_actors(async {
        let diary = Diary::default();
        let mut probe = ProbeActor::<Deaf>::new("p", &diary);
        probe.at_goodbye = |_, _| {};
        let (mut child, heard) = begin(probe, POLICY);
        sleep(MS).await;
        child.stop();
        sleep(LONG).await;
        assert_eq!(diary.read(), ["p starts 1", "p hears goodbye"]);
        do_it(&child, |probe, _| probe.note("handles more"));
        child.control.kill();
        child.control.ended().await;
        sleep(MS).await;
        assert_eq!(diary.read(), ["p stopped", "p dropped"]);
        assert!(matches!(&ends(&heard)[..], [(ActorExit::Fault { what }, false)] if what.starts_with("killed")));
        let meter = Deaf::meter().snapshot();
        assert_eq!((meter.enqueued, meter.handled, meter.dropped), (2, 1, 1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_child_without_a_handle_ends_even_if_it_does_not_want_to() {
    tag!(Orphan);
    with_actors(async {
        let diary = Diary::default();
        for (at_goodbye, least) in [(ProbeActor::new("", &diary).at_goodbye, Duration::ZERO), (|_, _| {}, ORPHAN_GRACE)]
        {
            let mut probe = ProbeActor::<Orphan>::new("p", &diary);
            probe.at_start = |_, ctx| {
                ctx.run_interval(LONG, |_, _| {});
            };
            probe.at_goodbye = at_goodbye;
            let (child, heard) = begin(probe, POLICY);
            sleep(MS).await;
            drop(child);
            sleep(LONG).await;
            let (at, _, _) = *heard.borrow().last().unwrap();
            assert!(at >= least && at < least + MS * 20, "{at:?}");
            assert_eq!(ends(&heard).len(), 1);
        }
        assert_eq!(Orphan::meter().snapshot().live, 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_root_is_reported_once() {
    tag!(Root);
    with_actors(async {
        let (child, told) = spawn_root(ProbeActor::<Root>::new("root", &Diary::default()), POLICY, 1);
        child.stop();
        assert_eq!(told.await, Ok(ActorExit::Normal));
        let mut probe = ProbeActor::<Root>::new("root", &Diary::default());
        probe.at_start = |_, ctx| ctx.stop_with(ActorExit::fault("no way"));
        let (_child, told) = spawn_root(probe, POLICY, 1);
        assert_eq!(told.await, Ok(ActorExit::fault("no way")));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_temporary_child_is_never_restarted() {
    tag!(Once);
    let table: [(ProbeHook<Once>, ActorExit); 3] = [
        (|_, ctx| ctx.stop(), ActorExit::Normal),
        (|_, ctx| ctx.stop_with(ActorExit::expected("reset", MS)), ActorExit::expected("reset", MS)),
        (panic_now, ActorExit::Panic { what: "as the test wants it".to_owned() }),
    ];
    for (at_start, want) in table {
        with_actors(async {
            let (ear, heard) = GuardLog::open();
            let mut probe = ProbeActor::new("p", &Diary::default());
            probe.at_start = at_start;
            let _child = spawn_temporary(probe, Arc::new(ear.recipient()));
            sleep(LONG).await;
            assert_eq!(ends(&heard), [(want, false)]);
            assert_eq!(heard.borrow().len(), 1);
        })
        .await;
    }
    assert_eq!((Once::meter().snapshot().panics, Once::meter().snapshot().gave_up), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_panic_after_it_was_done_does_not_bring_a_child_back() {
    tag!(Done);
    with_actors(async {
        let mut probe = ProbeActor::<Done>::new("p", &Diary::default());
        probe.at_start = |_, ctx| ctx.stop();
        probe.at_stop = panic_now;
        let (_child, heard) = begin(probe, POLICY);
        sleep(LONG).await;
        assert_eq!(ends(&heard), [(ActorExit::Panic { what: "as the test wants it".to_owned() }, false)]);
        assert_eq!(Done::meter().snapshot().panics, 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_it_is_dropped_is_contained_and_counted() {
    tag!(Dropped);
    with_actors(async {
        let mut probe = ProbeActor::<Dropped>::new("p", &Diary::default());
        probe.at_drop = || panic!("in a destructor");
        let (child, heard) = begin(probe, POLICY);
        sleep(MS).await;
        child.stop();
        sleep(MS).await;
        assert_eq!(ends(&heard), [(ActorExit::Normal, false)]);
        let meter = Dropped::meter().snapshot();
        assert_eq!((meter.panics, meter.live), (1, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_a_child_held_is_dropped_before_it_rests() {
    tag!(Holder);
    thread_local! {
        static HELD: RefCell<Rc<()>> = RefCell::new(Rc::new(()));
    }
    let table: [(&str, ProbeHook<Holder>); 2] =
        [("an expected end", |_, ctx| ctx.stop_with(ActorExit::expected("reset", LONG))), ("a panic", panic_now)];
    for (what, end) in table {
        with_actors(async {
            let mut probe = ProbeActor::new("p", &Diary::default());
            probe.at_start = |_, ctx| {
                let held = HELD.with_borrow(Rc::clone);
                ctx.spawn(actix::fut::wrap_future(async move {
                    std::future::pending::<()>().await;
                    drop(held);
                }));
            };
            let (child, _heard) = begin(probe, POLICY);
            sleep(MS).await;
            assert_eq!(HELD.with_borrow(Rc::strong_count), 2);
            do_it(&child, end);
            sleep(MS).await;
            assert_eq!(HELD.with_borrow(Rc::strong_count), 1, "{what}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn meters_count_exactly() {
    tag!(Counted);
    with_actors(async {
        let (child, _heard) = begin(ProbeActor::<Counted>::new("p", &Diary::default()), POLICY);
        let impatient: Addr<_> = child.addr.clone();
        for _ in 0..1000 {
            do_it(&child, |_, _| {});
        }
        drop(impatient.send(Do(|_, _| {})));
        let before = Counted::meter().snapshot();
        assert_eq!((before.enqueued, before.handled, before.mailbox, before.mailbox_max), (1001, 0, 1001, 1001));
        sleep(MS).await;
        do_it(&child, |_, ctx| ctx.stop());
        for _ in 0..10 {
            do_it(&child, |_, _| {});
        }
        sleep(MS).await;
        let after = Counted::meter().snapshot();
        assert_eq!((after.enqueued, after.handled, after.dropped, after.mailbox), (1012, 1001, 11, 0));
        assert_eq!((after.mailbox_max, after.live, after.started), (1001, 0, 1));
        assert!(crate::actors::kit::snapshot().contains(&after));
    })
    .await;
}

/// Every supervised restart is exactly one log event, with these fields (docs/FORMATS.md).
#[test]
fn every_restart_is_one_log_event() {
    tag!(Logged);
    let logged = logged_alone("actors::kit::guard::tests::every_restart_is_one_log_event", || async {
        let mut probe = ProbeActor::<Logged>::new("10.0.0.1:6881", &Diary::default());
        probe.at_start = |probe, ctx| match probe.incarnation {
            1 => ctx.stop_with(ActorExit::expected("reset", MS * 1500)),
            _ => ctx.stop_with(ActorExit::fault("broken \x1b[2J")),
        };
        let _child = begin(probe, POLICY);
        sleep(LONG * 2).await;
    });
    let Some(events) = logged else { return };
    let restarts: Vec<_> = events.iter().filter(|event| event["fields"]["message"] == "actor restarts").collect();
    assert_eq!(restarts.len(), 4);
    assert!(restarts.iter().all(|event| event["level"] == "WARN" && event["fields"]["actor"] == "Logged"));
    let first = &restarts[0]["fields"];
    assert_eq!((&first["id"], &first["cause"]), (&"10.0.0.1:6881".into(), &"reset".into()));
    assert_eq!((&first["attempt"], &first["backoff_ms"], &first["budget_left"]), (&1.into(), &1500.into(), &3.into()));
    assert_eq!(restarts[1]["fields"]["cause"], "fault");
    assert_eq!(restarts[3]["fields"]["budget_left"], 0);
    assert_eq!(events.iter().filter(|event| event["fields"]["message"] == "actor given up").count(), 1);
}

use actix::{ActorContext, Handler, Supervised};
use tokio::time::sleep;

use super::*;
use crate::actors::kit::testing::{Diary, Do, LONG, POLICY, ProbeActor, ProbeHook, Tag, tag, with_actors};
use crate::actors::kit::{Child, Goodbye, Metered, spawn, spawn_root, spawn_temporary};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

type Probes<T> = DynamicChildren<&'static str, Addr<ProbeActor<T>>>;

/// A parent of probes; writes down every verdict that is not `Fine`.
struct Parent<T: Tag> {
    diary: Diary,
    children: Probes<T>,
    /// What it starts when it starts.
    names: &'static [&'static str],
    at_goodbye: ProbeHook<T>,
}

impl<T: Tag> Parent<T> {
    fn new(diary: &Diary, children: Probes<T>, names: &'static [&'static str]) -> Self {
        Self { diary: diary.clone(), children, names, at_goodbye: |_, ctx| ctx.stop() }
    }

    fn start(&mut self, name: &'static str, ctx: &Ctx<Self>) -> bool {
        let mut child = ProbeActor::new(name, &self.diary);
        child.at_goodbye = self.at_goodbye;
        let parent = ctx.address().recipient();
        self.children.start(name, || spawn(child, Policy { max_restarts: 1, ..POLICY }, 1, parent)).is_some()
    }
}

impl<T: Tag> Actor for Parent<T> {
    type Context = Ctx<Self>;

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        self.diary.write("parent starts");
        self.children.clear(ctx, SECOND, |parent, ctx| {
            for name in parent.names {
                assert!(parent.start(name, ctx), "{name}");
            }
        });
    }

    fn stopped(&mut self, _: &mut Ctx<Self>) {
        self.children.dismiss();
    }
}

impl<T: Tag> Metered for Parent<T> {
    const KIND: &'static str = "Parent";

    fn meter() -> &'static crate::actors::kit::ActorMeter {
        static METER: crate::actors::kit::ActorMeter = crate::actors::kit::ActorMeter::new("Parent");
        &METER
    }
}

impl<T: Tag> Supervised for Parent<T> {}

impl<T: Tag> Child for Parent<T> {
    fn id(&self) -> String {
        "the parent".to_owned()
    }
}

impl<T: Tag> Handler<Goodbye> for Parent<T> {
    type Result = ();

    fn handle(&mut self, _: Goodbye, ctx: &mut Ctx<Self>) {
        self.children.clear(ctx, SECOND, |_, ctx| ctx.stop());
    }
}

impl<T: Tag> Handler<ChildEvent> for Parent<T> {
    type Result = ();

    fn handle(&mut self, event: ChildEvent, _: &mut Ctx<Self>) {
        match self.children.on_event(Instant::now(), &event) {
            KeyedVerdict::Fine => {}
            KeyedVerdict::Ended { key, exit } => self.diary.write(format!("{key} ended: {exit}")),
            KeyedVerdict::GaveUp { key, exit, .. } => self.diary.write(format!("{key} gave up: {exit}")),
            KeyedVerdict::Spent { key, .. } => self.diary.write(format!("spent by {key}")),
        }
    }
}

/// Do this.
struct DoParent<T: Tag>(fn(&mut Parent<T>, &mut Ctx<Parent<T>>));

impl<T: Tag> actix::Message for DoParent<T> {
    type Result = ();
}

impl<T: Tag> Handler<DoParent<T>> for Parent<T> {
    type Result = ();

    fn handle(&mut self, message: DoParent<T>, ctx: &mut Ctx<Self>) {
        (message.0)(self, ctx);
    }
}

/// Never ends by itself.
fn deaf<T: Tag>(_: &mut ProbeActor<T>, ctx: &mut Ctx<ProbeActor<T>>) {
    ctx.run_interval(SECOND, |_, _| {});
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

#[tokio::test(start_paused = true)]
async fn a_child_is_reached_by_its_key_and_iteration_is_in_the_order_of_keys() {
    tag!(Keyed);
    with_actors(async {
        let diary = Diary::default();
        let (parent, _told) = spawn_root(Parent::<Keyed>::new(&diary, Probes::new(), &["c", "a", "b"]), POLICY, 1);
        sleep(MS).await;
        assert_eq!(diary.read(), ["parent starts", "c starts 1", "a starts 1", "b starts 1"]);
        parent.addr.do_send(DoParent(|parent, _| {
            assert_eq!(parent.children.len(), 3);
            assert_eq!(parent.children.iter().map(|(key, _)| *key).collect::<Vec<_>>(), ["a", "b", "c"]);
            assert!(parent.children.get(&"d").is_none() && !parent.children.has(&"d"));
            parent.children.get(&"b").unwrap().do_send(Do(|probe, _| probe.note("is told")));
        }));
        sleep(MS).await;
        assert_eq!(diary.read(), ["b is told"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_key_is_taken_until_its_child_is_heard_to_have_ended() {
    tag!(Taken);
    with_actors(async {
        let diary = Diary::default();
        let mut parent = Parent::<Taken>::new(&diary, Probes::new(), &["a", "b"]);
        parent.at_goodbye = |_, ctx| {
            ctx.run_later(MS * 500, |_, ctx| ctx.stop());
        };
        let (parent, _told) = spawn_root(parent, POLICY, 1);
        sleep(MS).await;
        diary.read();
        parent.addr.do_send(DoParent(|parent, ctx| {
            assert!(!parent.start("a", ctx), "it runs");
            parent.children.stop(&"a", SECOND);
            parent.children.stop(&"nobody", SECOND);
            assert!(!parent.start("a", ctx), "it is on its way out");
        }));
        sleep(MS * 400).await;
        // `ProbeActor` writes down that a refused one is dropped, too.
        assert_eq!(diary.read(), ["a dropped", "a dropped", "a hears goodbye"]);
        sleep(MS * 200).await;
        assert_eq!(diary.read(), ["a stopped", "a dropped", "a ended: normal"]);
        parent.addr.do_send(DoParent(|parent, ctx| assert!(parent.start("a", ctx))));
        sleep(MS).await;
        assert_eq!(diary.read(), ["a starts 1"]);
        assert_eq!(Taken::meter().snapshot().live, 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_stopped_and_does_not_end_is_killed_at_its_limit() {
    tag!(Late);
    with_actors(async {
        let diary = Diary::default();
        let mut parent = Parent::<Late>::new(&diary, Probes::new(), &["a", "b"]);
        parent.at_goodbye = deaf;
        let (parent, _told) = spawn_root(parent, POLICY, 1);
        sleep(MS).await;
        diary.read();
        parent.addr.do_send(DoParent(|parent, _| parent.children.stop(&"a", SECOND * 2)));
        sleep(MS * 1990).await;
        assert_eq!(diary.read(), ["a hears goodbye"]);
        // The first limit stands.
        parent.addr.do_send(DoParent(|parent, _| parent.children.stop_all(SECOND)));
        sleep(MS * 20).await;
        let killed = "ended: fault: killed: it did not end when told to";
        assert_eq!(diary.read(), ["b hears goodbye", "a stopped", "a dropped", &format!("a {killed}")]);
        sleep(SECOND).await;
        assert_eq!(diary.read(), ["b stopped", "b dropped", &format!("b {killed}")]);
        parent.addr.do_send(DoParent(|parent, _| assert!(parent.children.is_empty())));
        sleep(MS).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn all_are_stopped_together_within_one_limit() {
    tag!(Together);
    with_actors(async {
        let diary = Diary::default();
        let mut parent = Parent::<Together>::new(&diary, Probes::new(), &["a", "b", "c"]);
        parent.at_goodbye = |probe, ctx| match probe.name {
            "b" => deaf(probe, ctx),
            _ => drop(ctx.run_later(MS * 700, |_, ctx| ctx.stop())),
        };
        let (parent, told) = spawn_root(parent, POLICY, 1);
        sleep(MS).await;
        diary.read();
        let began = Instant::now();
        parent.stop();
        told.await.unwrap();
        assert!((SECOND..SECOND + MS * 20).contains(&began.elapsed()), "{:?}", began.elapsed());
        let lines = diary.read();
        assert_eq!(lines[..3], ["c hears goodbye", "b hears goodbye", "a hears goodbye"]);
        let one = |name: &str| ["stopped", "dropped"].map(|what| format!("{name} {what}"));
        assert_eq!(sorted(lines[3..7].to_vec()), sorted([one("a"), one("c")].concat()));
        assert_eq!(lines[7..], one("b"), "and none of them is heard to end");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_parent_that_restarts_waits_for_its_old_children_before_it_starts_new_ones() {
    tag!(Generations);
    with_actors(async {
        let diary = Diary::default();
        let mut parent = Parent::<Generations>::new(&diary, Probes::new(), &["a", "b"]);
        // Longer than the parent's own back-off.
        parent.at_goodbye = |_, ctx| {
            ctx.run_later(MS * 1900, |_, ctx| ctx.stop());
        };
        let (parent, _told) = spawn_root(parent, POLICY, 1);
        let fault: fn(&mut Parent<_>, &mut Ctx<_>) = |_, ctx| ctx.stop_with(ActorExit::fault("broken"));
        let panic: fn(&mut Parent<_>, &mut Ctx<_>) = |_, _| panic!("as the test wants it");
        for end in [fault, panic] {
            sleep(MS).await;
            diary.read();
            parent.addr.do_send(DoParent(end));
            sleep(LONG).await;
            let lines = diary.read();
            let place = |line: &str| lines.iter().position(|other| other == line).unwrap();
            assert!(place("parent starts") < place("a starts 1"), "{lines:?}");
            assert!(place("a dropped").max(place("b dropped")) < place("a starts 1"), "{lines:?}");
            assert!(!lines.iter().any(|line| line.contains("ended")), "of an earlier generation: {lines:?}");
        }
        assert_eq!(Generations::meter().snapshot().live, 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_child_whose_budget_is_spent_is_named_by_its_key_and_can_be_started_again() {
    tag!(Spender);
    with_actors(async {
        let diary = Diary::default();
        let (parent, _told) = spawn_root(Parent::<Spender>::new(&diary, Probes::new(), &["a", "b"]), POLICY, 1);
        sleep(MS).await;
        for _ in 0..2 {
            parent.addr.do_send(DoParent(|parent, _| {
                let broken = |_: &mut ProbeActor<Spender>, ctx: &mut Ctx<_>| ctx.stop_with(ActorExit::fault("broken"));
                parent.children.get(&"b").unwrap().do_send(Do(broken));
            }));
            sleep(LONG).await;
        }
        assert_eq!(diary.read().last().unwrap(), "b gave up: fault: broken");
        parent.addr.do_send(DoParent(|parent, ctx| assert!(parent.start("b", ctx))));
        sleep(MS).await;
        assert_eq!(diary.read(), ["b starts 1"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_intensity_counts_the_abnormal_restarts_of_all_together() {
    tag!(Intense);
    with_actors(async {
        let diary = Diary::default();
        let children = Probes::with_intensity(Policy { max_restarts: 1, ..POLICY });
        let (parent, _told) = spawn_root(Parent::<Intense>::new(&diary, children, &["a", "b"]), POLICY, 1);
        sleep(MS).await;
        let steps: [fn(&mut Parent<_>, &mut Ctx<_>); 4] = [
            |parent, _| reset(parent, "a"),
            |parent, _| fail(parent, "a"),
            |parent, _| reset(parent, "b"),
            |parent, _| fail(parent, "b"),
        ];
        for step in steps {
            parent.addr.do_send(DoParent(step));
            sleep(SECOND * 3).await;
        }
        let lines = diary.read();
        let spent: Vec<_> = lines.iter().filter(|line| line.starts_with("spent")).collect();
        assert_eq!(spent, ["spent by b"], "{lines:?}");
    })
    .await;
}

fn reset<T: Tag>(parent: &Parent<T>, key: &'static str) {
    parent.children.get(&key).unwrap().do_send(Do(|_, ctx| ctx.stop_with(ActorExit::expected("reset", MS))));
}

fn fail<T: Tag>(parent: &Parent<T>, key: &'static str) {
    parent.children.get(&key).unwrap().do_send(Do(|_, ctx| ctx.stop_with(ActorExit::fault("broken"))));
}

#[tokio::test(start_paused = true)]
async fn a_temporary_child_that_fails_has_ended() {
    tag!(Temporary);
    with_actors(async {
        let diary = Diary::default();
        let (parent, _told) = spawn_root(Parent::<Temporary>::new(&diary, Probes::new(), &[]), POLICY, 1);
        sleep(MS).await;
        parent.addr.do_send(DoParent(|parent, ctx| {
            let child = ProbeActor::new("t", &parent.diary);
            let us = std::sync::Arc::new(ctx.address().recipient());
            parent.children.start("t", || spawn_temporary(child, us)).unwrap();
            fail(parent, "t");
        }));
        sleep(MS).await;
        assert_eq!(diary.read()[1..], ["t starts 1", "t stopped", "t dropped", "t ended: fault: broken"]);
    })
    .await;
}

#[test]
fn a_parent_escalates_what_it_cannot_live_without() {
    let exit = ActorExit::fault("broken");
    let table = [
        (KeyedVerdict::Fine, None),
        (KeyedVerdict::Ended { key: 1, exit: exit.clone() }, None),
        (KeyedVerdict::GaveUp { key: 1, kind: "Kind", exit }, Some("Kind gave up: fault: broken")),
        (KeyedVerdict::Spent { key: 1, kind: "Kind" }, Some("children restart too often, last Kind")),
    ];
    for (verdict, want) in table {
        assert_eq!(verdict.fault(), want.map(ActorExit::fault), "{verdict:?}");
    }
}

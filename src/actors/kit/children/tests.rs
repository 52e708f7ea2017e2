use std::rc::Rc;

use actix::{ActorContext, Handler, Supervised};
use tokio::time::sleep;

use super::*;
use crate::actors::kit::testing::{
    Diary, Do, GuardLog, LONG, POLICY, ProbeActor, ProbeHook, Tag, ends, tag, with_actors,
};
use crate::actors::kit::{Child, Goodbye, Metered, spawn, spawn_root};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// What makes a probe a child of a test.
type Shape<T> = Rc<dyn Fn(&mut ProbeActor<T>)>;

/// A parent with three probes below it; escalates whatever it may.
struct Parent<T: Tag> {
    diary: Diary,
    children: Children,
    addrs: Vec<Addr<ProbeActor<T>>>,
    shape: Shape<T>,
}

impl<T: Tag> Parent<T> {
    fn new(diary: &Diary, intensity: Policy, shape: impl Fn(&mut ProbeActor<T>) + 'static) -> Self {
        Self { diary: diary.clone(), children: Children::new(intensity), addrs: Vec::new(), shape: Rc::new(shape) }
    }

    fn start_children(&mut self, ctx: &mut Ctx<Self>) {
        self.addrs.clear();
        for name in ["top", "middle", "bottom"] {
            let mut child = ProbeActor::new(name, &self.diary);
            (self.shape)(&mut child);
            self.addrs.push(self.children.adopt(spawn(child, POLICY, 1, ctx.address().recipient())));
        }
    }
}

impl<T: Tag> Actor for Parent<T> {
    type Context = Ctx<Self>;

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        self.diary.write("parent starts");
        self.children.clear(ctx, SECOND, Self::start_children);
    }

    fn stopped(&mut self, _: &mut Ctx<Self>) {
        self.diary.write("parent stopped");
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

    fn handle(&mut self, event: ChildEvent, ctx: &mut Ctx<Self>) {
        if let Some(fault) = self.children.on_event(Instant::now(), &event).fault() {
            ctx.stop_with(fault);
        }
    }
}

/// `parent.do_send(ToChild(1, |probe, ctx| ..))`: the parent passes it on.
struct ToChild<T: Tag>(usize, ProbeHook<T>);

impl<T: Tag> actix::Message for ToChild<T> {
    type Result = ();
}

impl<T: Tag> Handler<ToChild<T>> for Parent<T> {
    type Result = ();

    fn handle(&mut self, message: ToChild<T>, _: &mut Ctx<Self>) {
        self.addrs[message.0].do_send(Do(message.1));
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

#[tokio::test(start_paused = true)]
async fn children_start_top_to_bottom_and_stop_bottom_to_top() {
    tag!(Ordered);
    with_actors(async {
        let diary = Diary::default();
        let (parent, told) = spawn_root(Parent::<Ordered>::new(&diary, POLICY, |_| {}), POLICY, 1);
        sleep(MS).await;
        assert_eq!(diary.read(), ["parent starts", "top starts 1", "middle starts 1", "bottom starts 1"]);
        parent.stop();
        assert_eq!(told.await, Ok(ActorExit::Normal));
        let one = |name: &str| ["hears goodbye", "stopped", "dropped"].map(|what| format!("{name} {what}"));
        let want = [one("bottom"), one("middle"), one("top")].concat();
        assert_eq!(diary.read(), [want, vec!["parent stopped".to_owned()]].concat());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_child_that_hangs_costs_its_time_and_no_more() {
    tag!(Hanging);
    with_actors(async {
        let diary = Diary::default();
        let shape = |probe: &mut ProbeActor<Hanging>| {
            if probe.name == "middle" {
                probe.at_goodbye = |_, _| {};
            }
        };
        let (parent, told) = spawn_root(Parent::new(&diary, POLICY, shape), POLICY, 1);
        sleep(MS).await;
        let before = Instant::now();
        parent.stop();
        assert_eq!(told.await, Ok(ActorExit::Normal));
        assert!((SECOND..SECOND + MS * 10).contains(&before.elapsed()), "{:?}", before.elapsed());
        let stops: Vec<_> = diary.read().into_iter().filter(|line| line.ends_with("stopped")).collect();
        assert_eq!(stops, ["bottom stopped", "middle stopped", "top stopped", "parent stopped"]);
        assert_eq!(Hanging::meter().snapshot().live, 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_parent_that_restarts_ends_its_old_children_before_it_starts_new_ones() {
    tag!(Generation);
    with_actors(async {
        let diary = Diary::default();
        let shape = |probe: &mut ProbeActor<Generation>| {
            // longer than the parent's own back-off
            probe.at_goodbye = |_, ctx| {
                ctx.run_later(MS * 900, |_, ctx| ctx.stop());
            };
        };
        let (parent, _told) = spawn_root(Parent::new(&diary, POLICY, shape), POLICY, 1);
        let fault = |parent: &mut Parent<Generation>, ctx: &mut Ctx<_>| {
            parent.diary.write("parent faults");
            ctx.stop_with(ActorExit::fault("broken"));
        };
        let panic = |parent: &mut Parent<Generation>, _: &mut Ctx<_>| parent.addrs.truncate(parent.addrs[7..].len());
        for end in [fault as fn(&mut Parent<Generation>, &mut Ctx<Parent<Generation>>), panic] {
            sleep(MS).await;
            diary.read();
            parent.addr.do_send(DoParent(end));
            sleep(LONG).await;
            let lines = diary.read();
            let place = |line: &str| lines.iter().position(|other| other == line).unwrap();
            let want = [
                "bottom dropped",
                "middle dropped",
                "top dropped",
                "top starts 1",
                "middle starts 1",
                "bottom starts 1",
            ];
            assert!(want.is_sorted_by_key(|line| place(line)), "{lines:?}");
            assert!(place("parent starts") < place("top starts 1"), "{lines:?}");
        }
        assert_eq!(Generation::meter().snapshot().live, 3);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_child_that_gives_up_escalates_to_the_root() {
    tag!(Hopeless);
    with_actors(async {
        let diary = Diary::default();
        let shape = |probe: &mut ProbeActor<Hopeless>| {
            if probe.name == "middle" {
                probe.at_start = |_, ctx| ctx.stop_with(ActorExit::fault("no disk"));
            }
        };
        let policy = Policy { max_restarts: 2, window: LONG * 100, ..POLICY };
        let (_parent, told) = spawn_root(Parent::new(&diary, POLICY, shape), policy, 1);
        let Ok(ActorExit::Fault { what }) = told.await else { panic!("the root must end with a fault") };
        assert_eq!(what, "Hopeless gave up: fault: no disk");
        assert_eq!(diary.read().iter().filter(|line| *line == "parent starts").count(), 3);
        sleep(MS).await;
        assert_eq!(Hopeless::meter().snapshot().live, 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn children_that_fail_in_turns_spend_the_parents_intensity() {
    tag!(InTurns);
    with_actors(async {
        let diary = Diary::default();
        let (ear, heard) = GuardLog::open();
        let intensity = Policy { max_restarts: 3, window: SECOND * 60, ..POLICY };
        let once = Policy { max_restarts: 0, ..POLICY };
        let parent = spawn(Parent::<InTurns>::new(&diary, intensity, |_| {}), once, 1, ear.recipient());
        sleep(MS).await;
        for nth in [0, 1, 2] {
            parent.addr.do_send(ToChild(nth, |_, ctx| ctx.stop_with(ActorExit::expected("reset", MS))));
            parent.addr.do_send(ToChild(nth, |_, ctx| ctx.stop_with(ActorExit::fault("broken"))));
            sleep(SECOND * 3).await;
        }
        assert!(ends(&heard).is_empty(), "three are allowed, expected ones do not count");
        parent.addr.do_send(ToChild(1, |_, ctx| ctx.stop_with(ActorExit::fault("broken"))));
        sleep(SECOND * 3).await;
        assert_eq!(ends(&heard), [(ActorExit::fault("children restart too often, last InTurns"), true)]);
        assert_eq!(InTurns::meter().snapshot().live, 0, "the children go with the parent");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_grandchildren_of_a_killed_child_do_not_outlive_it_for_long() {
    tag!(Grandchild);
    with_actors(async {
        let diary = Diary::default();
        let (ear, _heard) = GuardLog::open();
        let deaf = |probe: &mut ProbeActor<Grandchild>| {
            probe.at_goodbye = |_, _| {};
            // what keeps an actor alive that nobody has an address of
            probe.at_start = |_, ctx| {
                ctx.run_interval(SECOND, |_, _| {});
            };
        };
        let mut parent = spawn(Parent::new(&diary, POLICY, deaf), POLICY, 1, ear.recipient());
        sleep(MS).await;
        parent.control.kill();
        parent.control.ended().await;
        assert_eq!(Grandchild::meter().snapshot().live, 3);
        sleep(LONG).await;
        assert_eq!(Grandchild::meter().snapshot().live, 0);
    })
    .await;
}

#[test]
fn events_of_children_that_are_no_members_mean_nothing() {
    let mut children = Children::new(Policy { max_restarts: 0, ..POLICY });
    let event = Lifecycle::Ended { exit: ActorExit::fault("x"), gave_up: true };
    let heard = ChildEvent { kind: "Nobody", id: ChildId::fresh(), event };
    assert_eq!(children.on_event(Instant::now(), &heard), ChildVerdict::Fine);
}

#[tokio::test(start_paused = true)]
async fn those_below_one_child_end_and_it_lives_on() {
    tag!(Below);
    with_actors(async {
        let diary = Diary::default();
        let (parent, told) = spawn_root(Parent::<Below>::new(&diary, POLICY, |_| {}), POLICY, 1);
        sleep(MS).await;
        diary.read();
        parent.addr.do_send(DoParent(|parent, ctx| {
            let top = parent.children.members[0].id();
            parent.children.clear_after(top, ctx, SECOND, |parent, _| parent.diary.write("the others are gone"));
        }));
        sleep(MS).await;
        let one = |name: &str| ["hears goodbye", "stopped", "dropped"].map(|what| format!("{name} {what}"));
        let cleared = [one("bottom").to_vec(), one("middle").to_vec(), vec!["the others are gone".to_owned()]].concat();
        assert_eq!(diary.read(), cleared);
        parent.stop();
        assert_eq!(told.await, Ok(ActorExit::Normal));
        assert_eq!(diary.read(), [one("top").to_vec(), vec!["parent stopped".to_owned()]].concat());
    })
    .await;
}

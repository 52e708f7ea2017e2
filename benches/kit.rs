//! What a message costs: actix's own context beside ours, which counts every message and times 1 in 16, bare and under
//! a guard. Also the cost of arming a timer, and the delay of another actor's timer beside a crash loop.
//! `cargo bench --bench kit`.

use std::hint::black_box;
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, Message, MessageResult, Supervised};
use tokio::task::LocalSet;
use tokio::time::Instant;
use tt_actors::actors::kit::{Child, ChildEvent, Ctx, Goodbye, Timer, metered, spawn};
use tt_actors::logic::restart::Policy;

const MESSAGES: u32 = 2_000_000;

/// The number of messages that an actor typically finds in its mailbox when it wakes.
const BATCH: u32 = 16;

const POLICY: Policy = Policy {
    max_restarts: 3,
    window: Duration::from_secs(60),
    base: Duration::from_secs(1),
    cap: Duration::from_secs(4),
    stable: Duration::from_secs(30),
};

#[derive(Message)]
#[rtype(result = "()")]
struct Small(u32);

/// Asks how many messages were handled.
#[derive(Message)]
#[rtype(result = "u32")]
struct Total;

/// An actor that counts, in the given context.
macro_rules! counter {
    ($name:ident, $context:ty) => {
        #[derive(Default)]
        struct $name(u32);

        impl Actor for $name {
            type Context = $context;
        }

        impl Handler<Small> for $name {
            type Result = ();

            fn handle(&mut self, message: Small, _: &mut $context) {
                self.0 += black_box(message.0);
            }
        }

        impl Handler<Total> for $name {
            type Result = u32;

            fn handle(&mut self, _: Total, _: &mut $context) -> u32 {
                self.0
            }
        }
    };
}

/// Implements the traits that a supervised child needs.
macro_rules! child {
    ($name:ident, $kind:literal) => {
        metered!($name, $kind);

        impl Supervised for $name {}

        impl Child for $name {
            fn id(&self) -> String {
                String::new()
            }
        }

        impl Handler<Goodbye> for $name {
            type Result = ();

            fn handle(&mut self, _: Goodbye, _: &mut Ctx<Self>) {}
        }
    };
}

counter!(Plain, Context<Self>);
counter!(Guarded, Ctx<Self>);
child!(Guarded, "Guarded");

/// Counts messages, and arms a timer after each of them, as every actor shell does.
#[derive(Default)]
struct Armed {
    handled: u32,
    timer: Timer<Self>,
}

child!(Armed, "Armed");

impl Actor for Armed {
    type Context = Ctx<Self>;
}

impl Handler<Small> for Armed {
    type Result = ();

    fn handle(&mut self, message: Small, ctx: &mut Ctx<Self>) {
        self.handled += black_box(message.0);
        self.timer.arm(ctx, Some(Instant::now() + Duration::from_secs(60)), |_, _| {});
    }
}

impl Handler<Total> for Armed {
    type Result = u32;

    fn handle(&mut self, _: Total, _: &mut Ctx<Self>) -> u32 {
        self.handled
    }
}

/// 1 ms between two crashes: far more than any policy of the client allows.
const CRASHES: Policy = Policy {
    max_restarts: u32::MAX,
    window: Duration::from_secs(60),
    base: Duration::from_millis(1),
    cap: Duration::from_millis(1),
    stable: Duration::from_secs(30),
};

/// 5 ms between two ticks of the timer.
const TICK: Duration = Duration::from_millis(5);

const TICKS: u32 = 1000;

/// Panics when it is started.
struct Crashing;

child!(Crashing, "Crashing");

impl Actor for Crashing {
    type Context = Ctx<Self>;

    #[expect(clippy::panic, reason = "this is what it is for")]
    fn started(&mut self, _: &mut Ctx<Self>) {
        panic!("at the start");
    }
}

/// Arms its timer again and again, and records its largest delay.
#[derive(Default)]
struct Ticking {
    due: Option<Instant>,
    ticks: u32,
    worst: Duration,
    timer: Timer<Self>,
}

child!(Ticking, "Ticking");

impl Ticking {
    fn tick(&mut self, ctx: &mut Ctx<Self>) {
        let now = Instant::now();
        if let Some(due) = self.due {
            self.worst = self.worst.max(now.saturating_duration_since(due));
            self.ticks += 1;
        }
        self.due = Some(now + TICK);
        self.timer.arm(ctx, self.due, Self::tick);
    }
}

impl Actor for Ticking {
    type Context = Ctx<Self>;

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        self.tick(ctx);
    }
}

#[derive(Message)]
#[rtype(result = "(u32, Duration)")]
struct Worst;

impl Handler<Worst> for Ticking {
    type Result = MessageResult<Worst>;

    fn handle(&mut self, _: Worst, _: &mut Ctx<Self>) -> Self::Result {
        MessageResult((self.ticks, self.worst))
    }
}

#[expect(clippy::print_stdout, reason = "a benchmark reports")]
async fn lateness(what: &str, parent: &Addr<Parent>) {
    let ticking = spawn(Ticking::default(), POLICY, 1, parent.clone().recipient());
    loop {
        tokio::time::sleep(TICK * 50).await;
        let Ok((ticks, worst)) = ticking.addr.send(Worst).await else { return };
        if ticks >= TICKS {
            return println!("{what:<44} {ticks} ticks of {TICK:?}, the latest {worst:?} late");
        }
    }
}

struct Parent;

impl Actor for Parent {
    type Context = Context<Self>;
}

impl Handler<ChildEvent> for Parent {
    type Result = ();

    fn handle(&mut self, _: ChildEvent, _: &mut Context<Self>) {}
}

macro_rules! measure {
    ($what:literal, $addr:expr) => {{
        let addr: &Addr<_> = $addr;
        for batch in [1, BATCH] {
            let begun = Instant::now();
            let mut sent = 0;
            while sent < MESSAGES {
                for _ in 0..batch {
                    addr.do_send(Small(1));
                }
                sent += batch;
                tokio::task::yield_now().await;
            }
            let handled = addr.send(Total).await;
            assert!(handled.is_ok_and(|handled| handled >= MESSAGES), "every message is handled");
            let each = begun.elapsed().as_secs_f64() * 1e9 / f64::from(MESSAGES);
            println!("{:<44} {batch:>2} a turn {each:>7.1} ns a message", $what);
        }
    }};
}

async fn run() {
    let parent = Parent.start();
    for _ in 0..3 {
        measure!("actix Context", &Plain::default().start());
        let guarded = spawn(Guarded::default(), POLICY, 1, parent.clone().recipient());
        measure!("metered Ctx under a guard", &guarded.addr);
        let armed = spawn(Armed::default(), POLICY, 1, parent.clone().recipient());
        measure!("the same, arming a timer for each message", &armed.addr);
    }
    lateness("a timer by itself", &parent).await;
    let crashing = spawn(Crashing, CRASHES, 1, parent.clone().recipient());
    lateness("a timer beside an actor that crashes at once", &parent).await;
    drop(crashing);
}

fn main() -> std::io::Result<()> {
    std::panic::set_hook(Box::new(|_| {}));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    LocalSet::new().block_on(&runtime, run());
    Ok(())
}

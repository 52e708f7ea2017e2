//! What a message costs: actix's own context beside ours, which counts every message and times 1 in 16, bare and under a
//! guard. Also what arming a timer costs. `cargo bench --bench kit`.

use std::hint::black_box;
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, Message, Supervised};
use tokio::task::LocalSet;
use tokio::time::Instant;
use tt_actors::actors::kit::{Child, ChildEvent, Ctx, Goodbye, Timer, metered, spawn};
use tt_actors::logic::restart::Policy;

const MESSAGES: u32 = 2_000_000;

/// What an actor typically finds in its mailbox when it wakes.
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

/// How many messages were handled.
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

/// What makes an actor a child.
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

/// Counts, and does with each message what every shell does after each step.
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
}

fn main() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    LocalSet::new().block_on(&runtime, run());
    Ok(())
}

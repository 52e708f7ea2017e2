//! Actors for the tests of the kit: a child that does what it is told, and an actor that records what guards report.

use std::cell::RefCell;
use std::future::Future;
use std::io::{Read, Seek};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, Addr, Context, Handler, Message, Supervised};
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::{ActorExit, ActorMeter, Child, ChildEvent, Ctx, Goodbye, Lifecycle, Metered};
use crate::base::locked::Locked;
use crate::logic::restart::Policy;

/// Three restarts in a minute, after 1, 2 and 4 seconds, each a quarter more or less.
pub(crate) const POLICY: Policy = Policy {
    max_restarts: 3,
    window: Duration::from_secs(60),
    base: Duration::from_secs(1),
    cap: Duration::from_secs(4),
    stable: Duration::from_secs(30),
};

/// Longer than any back-off of [`POLICY`].
pub(crate) const LONG: Duration = Duration::from_secs(10);

/// Runs a test in a `LocalSet`, in which actors can live.
pub(crate) async fn with_actors<F: Future>(test: F) -> F::Output {
    LocalSet::new().run_until(test).await
}

/// Runs a test with a log of its own and a paused clock, in a process of its own. In a shared process another thread
/// may meet a log event first while this one sets up its log, and then `tracing` may take the event as disabled.
/// Returns the events in the new process, and `None` in the process that started it and has seen the test pass.
pub(crate) fn logged_alone<F: Future<Output = ()>>(
    name: &str,
    test: impl FnOnce() -> F,
) -> Option<Vec<serde_json::Value>> {
    const ALONE: &str = "TT_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
        let output = alone.args(["--exact", name, "--nocapture"]).env(ALONE, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        return None;
    }
    let mut log = tempfile::tempfile().unwrap();
    let subscriber = tracing_subscriber::fmt().json().with_writer(log.try_clone().unwrap()).finish();
    let logging = tracing::subscriber::set_default(subscriber);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(with_actors(test()));
    drop(logging);
    let mut text = String::new();
    log.rewind().unwrap();
    log.read_to_string(&mut text).unwrap();
    Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// What happened, in order. Clones share the same lines.
#[derive(Debug, Clone, Default)]
pub(crate) struct Diary(Arc<Locked<Vec<String>>>);

impl Diary {
    pub(crate) fn write(&self, line: impl Into<String>) {
        self.0.lock().push(line.into());
    }

    /// The lines since the last call.
    pub(crate) fn read(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock())
    }
}

/// Tells kinds of [`ProbeActor`] apart: each test that looks at meters has a kind of its own.
pub(crate) trait Tag: Sized + Unpin + 'static {
    const KIND: &'static str;

    fn meter() -> &'static ActorMeter;
}

/// `tag!(Crasher)`: makes a kind of [`ProbeActor`] called `Crasher`.
macro_rules! tag {
    ($($tag:ident),+) => {$(
        struct $tag;

        impl $crate::actors::kit::testing::Tag for $tag {
            const KIND: &'static str = stringify!($tag);

            fn meter() -> &'static $crate::actors::kit::ActorMeter {
                static METER: $crate::actors::kit::ActorMeter = $crate::actors::kit::ActorMeter::new(stringify!($tag));
                &METER
            }
        }
    )+};
}
pub(crate) use tag;

/// A hook of a probe.
pub(crate) type ProbeHook<T> = fn(&mut ProbeActor<T>, &mut Ctx<ProbeActor<T>>);

/// A child that records what happens to it and does what its hooks and messages say.
pub(crate) struct ProbeActor<T: Tag> {
    pub(crate) name: &'static str,
    pub(crate) diary: Diary,
    /// The number of the incarnation, from 1.
    pub(crate) incarnation: u32,
    pub(crate) at_start: ProbeHook<T>,
    pub(crate) at_goodbye: ProbeHook<T>,
    pub(crate) at_stop: ProbeHook<T>,
    pub(crate) at_restart: ProbeHook<T>,
    pub(crate) at_drop: fn(),
}

impl<T: Tag> ProbeActor<T> {
    pub(crate) fn new(name: &'static str, diary: &Diary) -> Self {
        Self {
            name,
            diary: diary.clone(),
            incarnation: 1,
            at_start: |_, _| {},
            at_goodbye: |_, ctx| ctx.stop(),
            at_stop: |_, _| {},
            at_restart: |_, _| {},
            at_drop: || {},
        }
    }

    pub(crate) fn note(&self, what: &str) {
        self.diary.write(format!("{} {what}", self.name));
    }
}

impl<T: Tag> Actor for ProbeActor<T> {
    type Context = Ctx<Self>;

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        self.note(&format!("starts {}", self.incarnation));
        (self.at_start)(self, ctx);
    }

    fn stopped(&mut self, ctx: &mut Ctx<Self>) {
        self.note("stopped");
        (self.at_stop)(self, ctx);
    }
}

impl<T: Tag> Metered for ProbeActor<T> {
    const KIND: &'static str = T::KIND;

    fn meter() -> &'static ActorMeter {
        T::meter()
    }
}

impl<T: Tag> Supervised for ProbeActor<T> {
    fn restarting(&mut self, ctx: &mut Ctx<Self>) {
        self.incarnation += 1;
        (self.at_restart)(self, ctx);
    }
}

impl<T: Tag> Child for ProbeActor<T> {
    fn id(&self) -> String {
        self.name.to_owned()
    }
}

impl<T: Tag> Drop for ProbeActor<T> {
    fn drop(&mut self) {
        self.note("dropped");
        (self.at_drop)();
    }
}

impl<T: Tag> Handler<Goodbye> for ProbeActor<T> {
    type Result = ();

    fn handle(&mut self, _: Goodbye, ctx: &mut Ctx<Self>) {
        self.note("hears goodbye");
        (self.at_goodbye)(self, ctx);
    }
}

/// Runs this hook in the probe.
pub(crate) struct Do<T: Tag>(pub(crate) ProbeHook<T>);

impl<T: Tag> Message for Do<T> {
    type Result = ();
}

impl<T: Tag> Handler<Do<T>> for ProbeActor<T> {
    type Result = ();

    fn handle(&mut self, message: Do<T>, ctx: &mut Ctx<Self>) {
        (message.0)(self, ctx);
    }
}

/// Records what guards report, with the time.
pub(crate) struct GuardLog {
    began: Instant,
    heard: GuardLogEntry,
}

/// The records of a [`GuardLog`]: the time since its start, the kind of child, and the event.
pub(crate) type GuardLogEntry = Rc<RefCell<Vec<(Duration, &'static str, Lifecycle)>>>;

impl GuardLog {
    pub(crate) fn open() -> (Addr<Self>, GuardLogEntry) {
        let heard = GuardLogEntry::default();
        (Self { began: Instant::now(), heard: Rc::clone(&heard) }.start(), heard)
    }
}

impl Actor for GuardLog {
    type Context = Context<Self>;
}

impl Handler<ChildEvent> for GuardLog {
    type Result = ();

    fn handle(&mut self, event: ChildEvent, _: &mut Context<Self>) {
        self.heard.borrow_mut().push((self.began.elapsed(), event.kind, event.event));
    }
}

/// The ends among the records.
pub(crate) fn ends(heard: &GuardLogEntry) -> Vec<(ActorExit, bool)> {
    let ended = |(_, _, event): &(Duration, &str, Lifecycle)| match event {
        Lifecycle::Ended { exit, gave_up } => Some((exit.clone(), *gave_up)),
        _ => None,
    };
    heard.borrow().iter().filter_map(ended).collect()
}

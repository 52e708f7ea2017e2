//! The root of a tree as its program holds it, and the arbiter that it lives on: from its start to its bounded stop.
//! Knows neither signals nor configuration.

use std::fmt;
use std::future::Future;
use std::io;
use std::time::Duration;

use actix::{Actor, Addr, Handler};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio::time::sleep;

use super::child::{Child, Goodbye};
use super::exit::ActorExit;
use super::guard::spawn_root;
use super::handle::SupervisedChild;
use crate::logic::restart::Policy;

/// 100 ms for jobs of the blocking pool that are still under way when everything has ended. A disk that hangs must not keep
/// the program: what it holds up is not acknowledged.
pub const LAST_JOBS: Duration = Duration::from_millis(100);

/// The runtime of one arbiter.
pub fn arbiter_runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// An arbiter from its first actor to its last: this thread, for as long as `life` takes. Then the blocking pool has
/// [`LAST_JOBS`].
pub fn live<T>(runtime: Runtime, life: impl Future<Output = T>) -> T {
    let end = LocalSet::new().block_on(&runtime, life);
    runtime.shutdown_timeout(LAST_JOBS);
    end
}

/// The root actor of a tree. Dropped, it leaves the tree to end by itself.
#[must_use = "a dropped root stops its tree"]
pub struct TreeRoot<A: Actor> {
    root: SupervisedChild<A>,
    end: oneshot::Receiver<ActorExit>,
}

/// How the stop of a tree went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TreeStop {
    /// All actors have ended.
    Complete,
    /// The user did not want to wait any longer.
    Interrupted,
    /// It took longer than it may; a warning was written.
    Late,
}

impl<A: Child + Handler<Goodbye>> TreeRoot<A> {
    /// Starts the root on this arbiter: see [`spawn_root`].
    pub fn start(root: A, policy: Policy, jitter_seed: u64) -> Self {
        let (root, end) = spawn_root(root, policy, jitter_seed);
        Self { root, end }
    }

    /// Where to send messages.
    pub const fn addr(&self) -> &Addr<A> {
        &self.root.addr
    }

    /// Waits until the root has ended without being told to: its restart budget is spent. Returns why. To be called once,
    /// as the end is told once.
    pub async fn gave_up(&mut self) -> String {
        match (&mut self.end).await {
            Ok(exit) => exit.to_string(),
            Err(_dropped) => "the root is gone".to_owned(),
        }
    }

    /// Tells the root to end and waits until it has, at most for `limit` and until `interrupted` is ready. After that the
    /// tree has no more time than its arbiter.
    pub async fn stop(mut self, limit: Duration, interrupted: impl Future<Output = ()>) -> TreeStop {
        self.root.stop();
        tokio::select! {
            biased;
            _exit = &mut self.end => TreeStop::Complete,
            () = interrupted => TreeStop::Interrupted,
            () = sleep(limit) => {
                let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(limit_ms, "stop took too long and was cut short");
                TreeStop::Late
            }
        }
    }
}

impl<A: Actor> fmt::Debug for TreeRoot<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TreeRoot").field("root", &self.root).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use actix::{ActorContext, AsyncContext};
    use tokio::time::Instant;

    use super::*;
    use crate::actors::kit::Ctx;
    use crate::actors::kit::testing::{Diary, Do, POLICY, ProbeActor, ProbeHook, tag, with_actors};

    tag!(RootProbe);

    fn start(at_goodbye: ProbeHook<RootProbe>) -> TreeRoot<ProbeActor<RootProbe>> {
        let mut root = ProbeActor::new("root", &Diary::default());
        root.at_goodbye = at_goodbye;
        TreeRoot::start(root, Policy { max_restarts: 0, ..POLICY }, 1)
    }

    /// A root that runs. One that is told to end before its first turn never starts.
    async fn started(at_goodbye: ProbeHook<RootProbe>) -> TreeRoot<ProbeActor<RootProbe>> {
        let root = start(at_goodbye);
        root.addr().send(Do(|_, _| {})).await.unwrap();
        root
    }

    fn never(_: &mut ProbeActor<RootProbe>, ctx: &mut Ctx<ProbeActor<RootProbe>>) {
        ctx.run_interval(POLICY.window, |_, _| {});
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_with_the_tree_at_its_limit_or_when_the_user_has_had_enough() {
        const LIMIT: Duration = Duration::from_secs(5);
        with_actors(async {
            let began = Instant::now();
            assert_eq!(started(|_, ctx| ctx.stop()).await.stop(LIMIT, pending()).await, TreeStop::Complete);
            assert_eq!(started(never).await.stop(LIMIT, ready(())).await, TreeStop::Interrupted);
            assert!(began.elapsed() < Duration::from_millis(10), "{:?}", began.elapsed());
            assert_eq!(started(never).await.stop(LIMIT, pending()).await, TreeStop::Late);
            assert!((LIMIT..LIMIT + Duration::from_millis(10)).contains(&began.elapsed()), "{:?}", began.elapsed());
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_root_whose_budget_is_spent_says_why() {
        with_actors(async {
            let mut root = start(|_, ctx| ctx.stop());
            root.addr().do_send(Do(|_, ctx| ctx.stop_with(ActorExit::fault("no disk"))));
            assert_eq!(root.gave_up().await, "fault: no disk");
        })
        .await;
    }

    #[test]
    fn an_arbiter_lives_as_long_as_its_life_takes() {
        let life = async { tokio::task::spawn_local(async { 7 }).await.unwrap() };
        assert_eq!(live(arbiter_runtime().unwrap(), life), 7);
    }
}

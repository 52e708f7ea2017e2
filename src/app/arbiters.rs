//! The further arbiters of a run, if there are several: each is a thread with a runtime and an [`ArbiterRoot`] that
//! starts the actors sent to it.
//!
//! The first arbiter is the thread of the run itself, with the session, the listener and the metrics.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::thread;

use actix::Recipient;
use futures_util::future::{join_all, select_all};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::actors::arbiter_root::ArbiterRoot;
use crate::actors::kit::root::{LAST_JOBS, arbiter_runtime, live};
use crate::actors::kit::{self, Place, SupervisedChild};
use crate::actors::metrics::MeasureLag;
use crate::actors::policies;

/// All but the first.
#[derive(Debug, Default)]
pub struct Arbiters(Vec<Arbiter>);

/// A further arbiter: the root actor on its thread, and a channel that closes with the thread.
#[derive(Debug)]
struct Arbiter {
    host: SupervisedChild<ArbiterRoot>,
    /// Never receives a value. The channel closes when the thread has no actors left.
    gone: oneshot::Receiver<Infallible>,
}

impl Arbiters {
    /// Starts arbiters. `count` includes the first one, which exists already.
    pub(super) fn start(count: usize, seed: u64) -> io::Result<Self> {
        (1..count).map(|nth| Arbiter::start(nth, seed)).collect::<io::Result<_>>().map(Self)
    }

    /// The places where torrents can be started, the first arbiter included.
    pub(super) fn places(&self) -> Vec<Place> {
        let others = self.0.iter().map(|arbiter| Place::There(arbiter.host.addr.clone().recipient()));
        std::iter::once(Place::Here).chain(others).collect()
    }

    /// The recipients of the arbiters' root actors, by which their scheduling delay is measured.
    pub(super) fn hosts(&self) -> Vec<Recipient<MeasureLag>> {
        self.0.iter().map(|arbiter| arbiter.host.addr.clone().recipient()).collect()
    }

    /// Waits until an arbiter ends without having been told to. Its actors are gone and have sent nothing to their
    /// parents.
    pub(super) async fn lost(&mut self) {
        if self.0.is_empty() {
            pending::<()>().await;
        }
        let (_ended, nth, _) = select_all(self.0.iter_mut().map(|arbiter| &mut arbiter.gone)).await;
        self.0.remove(nth);
    }

    /// Stops the arbiters, whose actors have ended. A thread that hangs ends with the process.
    pub(super) async fn end(self) {
        self.0.iter().for_each(|arbiter| arbiter.host.stop());
        let all = join_all(self.0.into_iter().map(|arbiter| arbiter.gone));
        let _ended_or_late = timeout(2 * LAST_JOBS, all).await;
    }
}

impl Arbiter {
    /// Starts the thread `arbiter-{nth}` and waits for its root actor.
    fn start(nth: usize, seed: u64) -> io::Result<Self> {
        let runtime = arbiter_runtime()?;
        let (here, hosts) = oneshot::channel();
        let (alive, gone) = oneshot::channel::<Infallible>();
        thread::Builder::new().name(format!("arbiter-{nth}")).spawn(move || {
            live(runtime, async {
                let (host, end) = kit::spawn_root(ArbiterRoot::new(nth), policies::HOST, seed);
                if here.send(host).is_ok() {
                    let _why_is_logged = end.await;
                }
            });
            drop(alive);
        })?;
        let host = hosts.blocking_recv().map_err(io::Error::other)?;
        Ok(Self { host, gone })
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use crate::actors::kit::testing::{GuardLog, ProbeActor, tag};

    /// Spends the restart budget of an arbiter's root, so that the arbiter ends. Its actors are gone and have sent
    /// nothing to their parents.
    pub(in crate::app) async fn fell(place: &Place) {
        tag!(Unborn);
        let (ear, _) = GuardLog::open();
        for seed in 0..4 {
            let make = || -> ProbeActor<Unborn> { panic!("as the test wants it") };
            let mut unborn = kit::spawn_at(place, make, policies::METRICS, seed, ear.clone().recipient());
            unborn.control.ended().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::yield_now;

    use super::testing::fell;
    use super::*;
    use crate::actors::kit::testing::{Diary, Do, GuardLog, ProbeActor, ends, tag};
    use crate::actors::policies::METRICS;
    use crate::net::testing::run;

    fn note_where<T: kit::testing::Tag>(probe: &mut ProbeActor<T>) {
        probe.note(&format!("lives on {}", thread::current().name().unwrap()));
    }

    #[test]
    fn an_actor_on_another_arbiter_restarts_there_and_its_parent_gets_the_event() {
        tag!(Far);
        let arbiters = Arbiters::start(3, 1).unwrap();
        run(async {
            let (ear, heard) = GuardLog::open();
            let diary = Diary::default();
            let (theirs, place) = (diary.clone(), &arbiters.places()[2]);
            let mut far =
                kit::spawn_at(place, move || ProbeActor::<Far>::new("far", &theirs), METRICS, 1, ear.recipient());
            far.addr.send(Do(|probe, _| note_where(probe))).await.unwrap();
            assert!(far.addr.send(Do(|_, _| panic!("as the test wants it"))).await.is_err());
            far.addr.send(Do(|probe, _| note_where(probe))).await.unwrap();
            far.stop();
            far.control.ended().await;
            let life = ["starts 1", "lives on arbiter-2", "starts 2", "lives on arbiter-2", "hears goodbye", "stopped"];
            let life: Vec<_> = life.iter().chain(&["dropped"]).map(|what| format!("far {what}")).collect();
            assert_eq!(diary.read(), life);
            while ends(&heard).is_empty() {
                yield_now().await;
            }
            let events: Vec<_> = heard.borrow().iter().map(|(_, kind, event)| format!("{kind}: {event:?}")).collect();
            assert!(events.iter().any(|event| event.starts_with("Far: Restarting")), "{events:?}");
            arbiters.end().await;
        });
    }

    /// An actor ends when its handle is dropped, on another arbiter too.
    #[test]
    fn a_dropped_handle_ends_its_child_on_another_arbiter() {
        tag!(Orphan);
        let arbiters = Arbiters::start(2, 1).unwrap();
        run(async {
            let (ear, heard) = GuardLog::open();
            let (diary, place) = (Diary::default(), &arbiters.places()[1]);
            let theirs = diary.clone();
            let orphan =
                kit::spawn_at(place, move || ProbeActor::<Orphan>::new("o", &theirs), METRICS, 1, ear.recipient());
            orphan.addr.send(Do(|_, _| {})).await.unwrap();
            drop(orphan);
            while ends(&heard).is_empty() {
                yield_now().await;
            }
            assert_eq!(diary.read(), ["o starts 1", "o hears goodbye", "o stopped", "o dropped"]);
            arbiters.end().await;
        });
    }

    #[test]
    fn a_lost_arbiter_is_detected_and_the_others_stay() {
        let mut arbiters = Arbiters::start(3, 1).unwrap();
        run(async {
            fell(&arbiters.places()[1]).await;
            arbiters.lost().await;
            let (ear, _) = GuardLog::open();
            let lives = kit::spawn_at(&arbiters.places()[1], || ArbiterRoot::new(9), METRICS, 1, ear.recipient());
            lives.addr.send(MeasureLag(tokio::time::Instant::now())).await.unwrap();
            arbiters.end().await;
        });
    }
}

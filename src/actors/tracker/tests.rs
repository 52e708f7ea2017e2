//! A tracker whose protocol is a script, on a paused clock.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::sleep;

use super::*;
use crate::actors::kit::testing::{Diary, with_actors};
use crate::actors::kit::{self, ChildEvent, Lifecycle, SupervisedChild};
use crate::actors::policies;
use crate::codec::tracker::{AnnounceReply, RetryIn};
use crate::logic::trackers::tiers::Tiers;
use crate::net::http::Reached;
use crate::net::testing::FakeNet;

/// The result of an announce.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// An answer with an interval of half an hour, after a second.
    Answers,
    /// An answer with an interval of zero.
    Hurries,
    Fails,
    /// BEP 31: never to return.
    Refuses,
    Hangs,
    Panics,
}

thread_local! {
    /// Each test has a thread of its own with the results of its announces. The last one repeats.
    static FATES: RefCell<VecDeque<Fate>> = const { RefCell::new(VecDeque::new()) };
    static DIARY: Diary = Diary::default();
}

#[derive(Debug)]
struct Scripted;

impl Protocol for Scripted {
    const KIND: &'static str = "ScriptedTracker";

    fn meter() -> &'static ActorMeter {
        static METER: ActorMeter = ActorMeter::new("ScriptedTracker");
        &METER
    }

    fn new(_: u64) -> Self {
        Self
    }

    fn announce(&self, _: Net, _: String, request: AnnounceRequest, _: IpFamily) -> Announcing {
        note(format!("{:?}, {} wanted, {} left", request.event, request.num_want, request.left));
        let fate =
            FATES.with_borrow_mut(|fates| if fates.len() > 1 { fates.pop_front() } else { fates.front().copied() });
        let trouble = |retry_in| TrackerTrouble { retry_in, ..TrackerTrouble::new("timeout", "no answer") };
        Box::pin(async move {
            sleep(Duration::from_secs(1)).await;
            match fate.unwrap() {
                Fate::Answers => Ok(answer(1800)),
                Fate::Hurries => Ok(answer(0)),
                Fate::Fails => Err(trouble(None)),
                Fate::Refuses => Err(trouble(Some(RetryIn::Never))),
                Fate::Hangs => std::future::pending().await,
                Fate::Panics => panic!("a poisonous reply"),
            }
        })
    }
}

fn answer(interval: i64) -> Announced {
    let path = Reached { over: IpFamily::V4, both: false };
    Announced { reply: AnnounceReply { interval: Some(interval), ..AnnounceReply::default() }, local: true, path }
}

fn note(line: impl Into<String>) {
    DIARY.with(|diary| diary.write(line));
}

/// In place of the parent.
struct Ear;

impl Actor for Ear {
    type Context = Context<Self>;
}

impl Handler<TrackerNews> for Ear {
    type Result = ();

    fn handle(&mut self, TrackerNews { news, .. }: TrackerNews, _: &mut Context<Self>) {
        match news {
            TrackerEvent::Announced { next, .. } => note(format!("answered, again: {}", next.is_some())),
            TrackerEvent::Failed { retry, .. } => note(format!("failed, again: {}", retry.is_some())),
        }
    }
}

impl Handler<ChildEvent> for Ear {
    type Result = ();

    fn handle(&mut self, event: ChildEvent, _: &mut Context<Self>) {
        match event.event {
            Lifecycle::Started => {}
            Lifecycle::Restarting { cause, attempt, backoff, budget_left, expected } => {
                let kind = if expected { "expected" } else { "abnormal" };
                note(format!("{kind} restart {attempt} for {cause} after {} s, {budget_left} left", backoff.as_secs()));
            }
            Lifecycle::Ended { gave_up, .. } => note(if gave_up { "gave up" } else { "ended" }),
        }
    }
}

/// A tracker that is in use.
struct Bench {
    tracker: SupervisedChild<Tracker<Scripted>>,
}

impl Bench {
    fn start(fates: &[Fate]) -> Self {
        FATES.set(fates.iter().copied().collect());
        let ear = Ear.start();
        let url = "http://t.example/announce";
        let tracker = Tiers::new(vec![vec![url.to_owned()]], 1).trackers().next().unwrap();
        let cfg = TrackerConfig {
            clock: TrackerClock { tracker, family: IpFamily::Any },
            url: url.to_owned(),
            net: FakeNet::failing(None),
            info_hash: InfoHash([1; 20]),
            our_id: PeerId([2; 20]),
            port: 6881,
            key: 7,
            seed: 1,
            supervisor: ear.clone().recipient(),
        };
        let progress = Progressed { left: 100, ..Progressed::default() };
        let tracker = kit::spawn(
            Tracker::<Scripted>::new(cfg, progress, PeerNeed::Enough),
            policies::TRACKER,
            1,
            ear.recipient(),
        );
        tracker.addr.do_send(Attend);
        Self { tracker }
    }

    async fn passes(&self, secs: u64) -> Vec<String> {
        sleep(Duration::from_secs(secs)).await;
        DIARY.with(Diary::read)
    }

    /// Sends `Goodbye`. Returns what follows, and how long it takes.
    async fn stop(mut self) -> (Vec<String>, Duration) {
        let began = Instant::now();
        self.tracker.stop();
        self.tracker.control.ended().await;
        let took = began.elapsed();
        sleep(Duration::from_millis(1)).await;
        (DIARY.with(Diary::read), took)
    }
}

const STARTED: &str = "Started, 200 wanted, 100 left";

/// T-15: without need the floor is five minutes.
#[tokio::test(start_paused = true)]
async fn a_restarted_tracker_knows_whether_peers_are_needed() {
    with_actors(async {
        for (need, announces) in [(PeerNeed::Enough, 2), (PeerNeed::More, 5)] {
            let bench = Bench::start(&[Fate::Fails, Fate::Hurries]);
            bench.tracker.addr.do_send(PeersNeeded(need));
            let heard = bench.passes(230).await;
            assert_eq!(heard.iter().filter(|line| line.starts_with("expected restart")).count(), 1, "{heard:?}");
            assert_eq!(heard.iter().filter(|line| line.contains("wanted")).count(), announces, "{need:?}: {heard:?}");
            drop(bench);
            sleep(Duration::from_secs(10)).await;
            DIARY.with(Diary::read);
        }
    })
    .await;
}

/// BEP 21: a tracker must not take a partial seed for a leech.
#[tokio::test(start_paused = true)]
async fn a_partial_seed_announces_that_it_is_paused() {
    with_actors(async {
        let bench = Bench::start(&[Fate::Answers]);
        assert_eq!(bench.passes(10).await[0], STARTED);
        bench.tracker.addr.do_send(Progressed { left: 100, partial_seed: true, ..Progressed::default() });
        let heard = bench.passes(1900).await;
        assert_eq!(heard[0], "Paused, 200 wanted, 100 left", "{heard:?}");
        assert!(bench.stop().await.0.contains(&"Stopped, 0 wanted, 100 left".to_owned()));
    })
    .await;
}

/// The back-off is long by now. The supervisor may end it early, but not below the floor.
#[tokio::test(start_paused = true)]
async fn a_roused_tracker_is_asked_as_soon_as_the_floor_allows() {
    with_actors(async {
        let bench = Bench::start(&[Fate::Fails]);
        bench.passes(1000).await;
        let heard = bench.passes(2000).await;
        assert!(heard.iter().filter(|line| *line == STARTED).count() <= 3, "{heard:?}");
        for _ in 0..60 {
            bench.tracker.rouse();
            bench.passes(10).await;
        }
        let mut announces = 0;
        for _ in 0..60 {
            bench.tracker.rouse();
            let heard = bench.passes(46).await;
            let now = heard.iter().filter(|line| *line == STARTED).count();
            assert!(now <= 1, "{heard:?}");
            announces += now;
        }
        assert!(announces >= 58, "{announces} in 60 times 46 s");
    })
    .await;
}

/// T-01, T-02: failed announces.
#[tokio::test(start_paused = true)]
async fn a_failed_announce_is_an_expected_restart_and_the_back_off_grows() {
    with_actors(async {
        let bench = Bench::start(&[Fate::Fails]);
        let heard = bench.passes(24 * 3600).await;
        let restarts: Vec<_> = heard.iter().filter(|line| line.contains("restart")).collect();
        assert!(restarts.len() > 50, "it is asked for ever: {restarts:?}");
        let mut last = 0;
        for (nth, restart) in restarts.iter().enumerate() {
            let rest = restart.strip_prefix(&format!("expected restart {} for timeout after ", nth + 1)).unwrap();
            let (secs, left) = rest.split_once(" s, ").unwrap();
            let secs: u64 = secs.parse().unwrap();
            assert_eq!(left, "5 left", "the budget is untouched");
            let doubled = (5 << nth.min(10)).min(1800);
            assert!((doubled * 8 / 10 - 1..=doubled * 12 / 10).contains(&secs), "{restart}");
            assert!(nth >= 8 || secs > last, "{restart} after {last} s");
            last = secs;
        }
        assert!(heard.iter().all(|line| line == STARTED || line == "failed, again: true" || line.contains("restart")));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_after_failures_is_announced_and_ends_the_back_off() {
    with_actors(async {
        let bench = Bench::start(&[Fate::Fails, Fate::Fails, Fate::Answers]);
        let heard = bench.passes(60).await;
        assert_eq!(heard.iter().filter(|line| *line == STARTED).count(), 3, "{heard:?}");
        assert_eq!(heard.last().unwrap(), "answered, again: true");
        assert_eq!(bench.passes(2000).await, ["Periodic, 200 wanted, 100 left", "answered, again: true"]);
    })
    .await;
}

/// T-25: `stopped`.
#[tokio::test(start_paused = true)]
async fn stopped_is_sent_to_a_tracker_that_accepted_started() {
    with_actors(async {
        let bench = Bench::start(&[Fate::Answers]);
        assert_eq!(bench.passes(10).await, [STARTED, "answered, again: true"]);
        let (heard, took) = bench.stop().await;
        assert_eq!(heard, ["Stopped, 0 wanted, 100 left", "answered, again: false", "ended"]);
        assert_eq!(took, Duration::from_secs(1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_stopped_ends_it_all_the_same() {
    with_actors(async {
        let bench = Bench::start(&[Fate::Answers, Fate::Fails]);
        bench.passes(10).await;
        let (heard, took) = bench.stop().await;
        assert_eq!((heard[0].as_str(), heard.last().unwrap().as_str()), ("Stopped, 0 wanted, 100 left", "ended"));
        assert_eq!(took, Duration::from_secs(1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_tracker_that_never_accepted_started_stops_at_once() {
    with_actors(async {
        // Its first announce is still under way.
        let bench = Bench::start(&[Fate::Hangs]);
        assert_eq!(bench.passes(10).await, [STARTED]);
        assert_eq!(bench.stop().await, (vec!["ended".to_owned()], Duration::ZERO));
        // It rests between two attempts.
        let bench = Bench::start(&[Fate::Fails]);
        bench.passes(600).await;
        assert_eq!(bench.stop().await, (vec!["ended".to_owned()], Duration::ZERO));
        // It was never put into use.
        let bench = Bench::start(&[Fate::Answers]);
        bench.tracker.addr.do_send(Rest);
        bench.passes(0).await;
        let (heard, took) = bench.stop().await;
        assert!(took.is_zero() && heard.last().unwrap() == "ended", "{heard:?}");
    })
    .await;
}

/// BEP 31: a tracker that asks never to return.
#[tokio::test(start_paused = true)]
async fn never_means_never() {
    with_actors(async {
        let bench = Bench::start(&[Fate::Refuses]);
        assert_eq!(bench.passes(24 * 3600).await, [STARTED, "failed, again: false"]);
        bench.tracker.addr.do_send(PeersNeeded(PeerNeed::More));
        bench.tracker.addr.do_send(Completed);
        assert_eq!(bench.passes(24 * 3600).await, [""; 0]);
        assert_eq!(bench.stop().await, (vec!["ended".to_owned()], Duration::ZERO));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn completed_is_sent_at_once_and_requests_wait_for_the_floor() {
    with_actors(async {
        let bench = Bench::start(&[Fate::Answers]);
        bench.passes(10).await;
        for _ in 0..100 {
            bench.tracker.addr.do_send(PeersNeeded(PeerNeed::More));
        }
        assert_eq!(bench.passes(50).await, [""; 0], "51 s after the answer");
        assert_eq!(bench.passes(10).await[0], "Periodic, 200 wanted, 100 left");
        bench.tracker.addr.do_send(Completed);
        assert_eq!(bench.passes(2).await, ["Completed, 200 wanted, 0 left", "answered, again: true"]);
    })
    .await;
}

/// A bug of ours spends the restart budget and does not shorten the floor.
#[tokio::test(start_paused = true)]
async fn a_panic_is_abnormal_and_too_many_end_it() {
    with_actors(async {
        let bench = Bench::start(&[Fate::Panics]);
        let heard = bench.passes(3600).await;
        assert_eq!(heard.last().unwrap(), "gave up", "{heard:?}");
        assert_eq!(heard.iter().filter(|line| *line == STARTED).count(), 6, "{heard:?}");
        assert_eq!(heard.iter().filter(|line| line.starts_with("abnormal restart")).count(), 5);
        drop(bench);
        let bench = Bench::start(&[Fate::Panics, Fate::Answers]);
        assert_eq!(bench.passes(59).await.iter().filter(|line| *line == STARTED).count(), 1);
        assert_eq!(bench.passes(10).await, [STARTED, "answered, again: true"]);
    })
    .await;
}

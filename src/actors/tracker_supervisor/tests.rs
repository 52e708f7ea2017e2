//! A supervisor whose trackers are ends of streams in the test's hands.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::*;
use crate::actors::kit::testing::{Diary, with_actors};
use crate::actors::kit::{Lifecycle, SupervisedChild};
use crate::logic::peers::peer_book::PeerNeed;
use crate::net::testing::{Arrived, FakeNet};

/// In place of the pool and the torrent.
struct Ear(Diary);

impl Actor for Ear {
    type Context = Context<Self>;
}

impl Handler<PeersFound> for Ear {
    type Result = ();

    fn handle(&mut self, PeersFound { addrs, .. }: PeersFound, _: &mut Context<Self>) {
        self.0.write(format!("{} peers", addrs.len()));
    }
}

impl Handler<Changed> for Ear {
    type Result = ();

    fn handle(&mut self, _: Changed, _: &mut Context<Self>) {}
}

impl Handler<ChildEvent> for Ear {
    type Result = ();

    fn handle(&mut self, event: ChildEvent, _: &mut Context<Self>) {
        if let Lifecycle::Ended { .. } = event.event {
            self.0.write("ended");
        }
    }
}

struct Bench {
    diary: Diary,
    supervisor: SupervisedChild<TrackerSupervisor>,
}

impl Bench {
    fn over(net: Net, tiers: &[&[&str]]) -> Self {
        let diary = Diary::default();
        let ear = Ear(diary.clone()).start();
        let supervisor = TrackerSupervisor::new(TrackerSupervisorConfig {
            name: "test".to_owned(),
            net,
            info_hash: InfoHash([1; 20]),
            our_id: PeerId([2; 20]),
            port: 6881,
            tiers: tiers.iter().map(|tier| tier.iter().map(|url| (*url).to_owned()).collect()).collect(),
            left: 100,
            seed: 1,
            pool: ear.clone().recipient(),
            stirred: ear.clone().recipient(),
            stop_timeout: Duration::from_secs(60),
        });
        let supervisor = kit::spawn(supervisor, policies::TRACKER_SUPERVISOR, 1, ear.recipient());
        Self { diary, supervisor }
    }

    async fn passes(&self, secs: u64) -> Vec<String> {
        sleep(Duration::from_secs(secs)).await;
        self.diary.read()
    }

    async fn rows(&self) -> Vec<TrackerRow> {
        self.supervisor.addr.send(SurveyTrackers).await.unwrap().unwrap()
    }

    async fn stop(mut self) -> Duration {
        let began = Instant::now();
        self.supervisor.stop();
        self.supervisor.control.ended().await;
        began.elapsed()
    }
}

const FIRST: &str = "http://192.0.2.1/announce";
const SECOND: &str = "http://192.0.2.2/announce";
/// Has an address of each family: 192.0.2.9 and `2001:db8::9`.
const BOTH: &str = "http://both.example/announce";

/// The next tracker that is asked, and how.
async fn asked(arrives: &mut mpsc::Receiver<Arrived>) -> (DuplexStream, String) {
    let (addr, mut far) = arrives.recv().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(far.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let event = head.split_once("event=").map_or("none", |(_, rest)| rest.split(['&', ' ']).next().unwrap());
    (far, format!("{} {event}", addr.ip()))
}

/// Names two peers.
async fn answer(far: DuplexStream) {
    reply(far, b"d8:intervali1800e5:peers12:\x08\x08\x08\x08\x1a\xe1\x08\x08\x04\x04\x1a\xe1e").await;
}

async fn reply(mut far: DuplexStream, body: &[u8]) {
    far.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes()).await.unwrap();
    far.write_all(body).await.unwrap();
}

/// BEP 7: over each family, each with its clock and its events, and with one key.
#[tokio::test(start_paused = true)]
async fn a_tracker_with_both_families_is_announced_to_over_each() {
    with_actors(async {
        let (net, mut arrives) = FakeNet::connected();
        let bench = Bench::over(net, &[&[BOTH]]);
        let (far, first) = asked(&mut arrives).await;
        assert_eq!(first, "192.0.2.9 started");
        answer(far).await;
        let (far, second) = asked(&mut arrives).await;
        assert_eq!(second, "2001:db8::9 started");
        // This one is to be asked again after 700 s, the other after 1,800 s.
        reply(far, b"d8:intervali700e5:peers0:e").await;
        assert_eq!(bench.passes(1).await, ["2 peers"]);
        for want in ["2001:db8::9 none", "2001:db8::9 none", "192.0.2.9 none"] {
            let (far, next) = asked(&mut arrives).await;
            assert_eq!(next, want);
            reply(far, if want.starts_with("192") { b"d8:intervali1800ee" } else { b"d8:intervali700ee" }).await;
        }
        bench.supervisor.addr.do_send(Completed);
        let mut told = Vec::new();
        for _ in 0..2 {
            let (far, next) = asked(&mut arrives).await;
            told.push(next);
            answer(far).await;
        }
        told.sort();
        assert_eq!(told, ["192.0.2.9 completed", "2001:db8::9 completed"]);
        bench.passes(1).await;
        let stopping = tokio::task::spawn_local(bench.stop());
        let mut told = Vec::new();
        for _ in 0..2 {
            let (far, next) = asked(&mut arrives).await;
            told.push(next);
            answer(far).await;
        }
        told.sort();
        assert_eq!(told, ["192.0.2.9 stopped", "2001:db8::9 stopped"]);
        stopping.await.unwrap();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_tracker_has_failed_only_when_no_family_works() {
    with_actors(async {
        let (net, mut arrives) = FakeNet::connected();
        let bench = Bench::over(net, &[&[BOTH], &[SECOND]]);
        answer(asked(&mut arrives).await.0).await;
        drop(asked(&mut arrives).await);
        bench.passes(1).await;
        let rows = bench.rows().await;
        assert!(rows[0].works && !rows[0].failed, "{:?}", rows[0]);
        // Over IPv6 it is tried again and fails for half an hour; then it fails over IPv4 too.
        loop {
            let (far, next) = asked(&mut arrives).await;
            drop(far);
            if next.starts_with("192.0.2.9") {
                break;
            }
            assert_eq!(next, "2001:db8::9 started");
        }
        bench.passes(1).await;
        assert!(bench.rows().await[0].failed);
        let mut next = asked(&mut arrives).await;
        while next.1.contains(":9 ") || next.1.starts_with("192.0.2.9") {
            next = asked(&mut arrives).await;
        }
        assert_eq!(next.1, "192.0.2.2 started", "the next tier");
        drop(next);
        bench.stop().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_hanging_tracker_does_not_keep_another_from_being_asked() {
    with_actors(async {
        let (net, mut arrives) = FakeNet::connected();
        let bench = Bench::over(net, &[&[FIRST], &[SECOND]]);
        let (hung, first) = asked(&mut arrives).await;
        let began = Instant::now();
        let (far, second) = asked(&mut arrives).await;
        let mut both = [first, second];
        both.sort();
        assert_eq!(both, ["192.0.2.1 started", "192.0.2.2 started"]);
        assert!(began.elapsed() < Duration::from_secs(31), "{:?}", began.elapsed());
        answer(far).await;
        assert_eq!(bench.passes(1).await, ["2 peers"]);
        assert_eq!(bench.rows().await.iter().filter(|row| row.works).count(), 1);
        drop(hung);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn all_are_asked_again_and_again_when_all_fail() {
    with_actors(async {
        let net = FakeNet::failing(Some(std::io::ErrorKind::ConnectionRefused));
        let bench = Bench::over(net, &[&[FIRST, "udp://192.0.2.3:80"], &[SECOND, "wss://192.0.2.4/announce"]]);
        bench.passes(3600).await;
        let rows = bench.rows().await;
        assert_eq!(rows.len(), 3, "one speaks a protocol that we do not");
        assert!(rows.iter().all(|row| row.failed && !row.works && row.next_in.is_some()), "{rows:?}");
        assert_eq!(bench.stop().await, Duration::ZERO, "none of them knows us");
    })
    .await;
}

/// T-25.
#[tokio::test(start_paused = true)]
async fn a_goodbye_tells_those_that_know_us_in_parallel() {
    with_actors(async {
        let (net, mut arrives) = FakeNet::connected();
        let bench = Bench::over(net, &[&[FIRST]]);
        let (far, _) = asked(&mut arrives).await;
        answer(far).await;
        bench.passes(10).await;
        bench.supervisor.addr.do_send(Completed);
        let (far, what) = asked(&mut arrives).await;
        assert_eq!(what, "192.0.2.1 completed");
        answer(far).await;
        bench.passes(10).await;
        let farewell = async {
            let (far, what) = asked(&mut arrives).await;
            answer(far).await;
            what
        };
        let (took, what) = tokio::join!(bench.stop(), farewell);
        assert_eq!(what, "192.0.2.1 stopped");
        assert!(took < Duration::from_secs(1), "{took:?}");
    })
    .await;
}

/// T-15: without need the floor is five minutes, also for a tracker that is started later.
#[tokio::test(start_paused = true)]
async fn a_tracker_started_later_knows_that_no_peers_are_needed() {
    with_actors(async {
        let (net, mut arrives) = FakeNet::connected();
        let bench = Bench::over(net, &[&[FIRST], &[SECOND]]);
        bench.supervisor.addr.do_send(PeersNeeded(PeerNeed::Enough));
        let mut answered = Vec::new();
        while answered.len() < 3 {
            let (far, who) = asked(&mut arrives).await;
            if who.starts_with("192.0.2.2") {
                reply(far, b"d8:intervali0e5:peers0:e").await;
                answered.push(Instant::now());
            }
        }
        let gaps: Vec<_> = answered.windows(2).map(|two| (two[1] - two[0]).as_secs()).collect();
        assert!(gaps.iter().all(|gap| (300..=316).contains(gap)), "{gaps:?}");
        bench.stop().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn after_a_panic_of_the_supervisor_a_tracker_hears_stopped_before_it_hears_started_again() {
    #[derive(Message)]
    #[rtype(result = "()")]
    struct FallOver;

    impl Handler<FallOver> for TrackerSupervisor {
        type Result = ();

        fn handle(&mut self, _: FallOver, _: &mut Ctx<Self>) {
            panic!("as the test wants it");
        }
    }

    with_actors(async {
        let (net, mut arrives) = FakeNet::connected();
        let bench = Bench::over(net, &[&[FIRST]]);
        let (far, what) = asked(&mut arrives).await;
        assert_eq!(what, "192.0.2.1 started");
        answer(far).await;
        bench.passes(1).await;
        bench.supervisor.addr.do_send(FallOver);
        let (far, what) = asked(&mut arrives).await;
        assert_eq!(what, "192.0.2.1 stopped");
        bench.passes(10).await;
        assert!(arrives.try_recv().is_err(), "the old one has not ended yet");
        answer(far).await;
        let (far, what) = asked(&mut arrives).await;
        assert_eq!(what, "192.0.2.1 started");
        answer(far).await;
        bench.passes(1).await;
        assert!(bench.rows().await[0].works);
    })
    .await;
}

/// N-10: all answer with a login page for hours. When that ends, the first announce comes within the minute; until then
/// nobody is hammered.
#[tokio::test(start_paused = true)]
async fn after_a_captive_portal_a_tracker_is_asked_within_the_minute() {
    with_actors(async {
        let (net, mut arrives) = FakeNet::connected();
        let bench = Bench::over(net, &[&[FIRST], &[SECOND]]);
        bench.supervisor.addr.do_send(PeersNeeded(PeerNeed::Anybody));
        let began = Instant::now();
        let mut times = Vec::new();
        for hours in [1, 5] {
            let opens = began + Duration::from_secs(hours * 3600);
            while let Ok((far, _)) = tokio::time::timeout_at(opens, asked(&mut arrives)).await {
                reply(far, b"<html>please log in</html>").await;
                times.push(began.elapsed());
            }
            let (far, who) = asked(&mut arrives).await;
            let waited = opens.elapsed();
            assert!(waited <= Duration::from_secs(56), "{who} after {waited:?}");
            reply(far, b"<html>please log in</html>").await;
            times.push(began.elapsed());
        }
        let lately = times.iter().filter(|at| at.as_secs() >= 3600).count();
        assert!((4 * 3600 / 56..=4 * 3600 / 45).contains(&lately), "{lately} announces in four hours");
        assert!(bench.rows().await.iter().any(|row| row.next_in.is_some_and(|next| next.as_secs() <= 55)));
        let (far, _) = asked(&mut arrives).await;
        answer(far).await;
        assert_eq!(bench.passes(1).await, ["2 peers"]);
        bench.stop().await;
    })
    .await;
}

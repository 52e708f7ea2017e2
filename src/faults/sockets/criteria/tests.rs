//! Every criterion can fail: for each one run that satisfies it and one that does not.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use serde_json::json;

use super::*;
use crate::faults::client_output::Told;
use crate::faults::peer::PeerStats;
use crate::faults::program::{Finished, Usage};
use crate::faults::tracker::Record;

const ADDR: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

/// Ten seconds in which nothing happened.
fn seen() -> Seen {
    let usage = Usage { peak_kib: 1024, descriptors: 10, cpu: Duration::from_millis(500) };
    let (out, err) = (Vec::new(), Vec::new());
    let run = Finished { status: ExitStatus::from_raw(0), out, err, usage, took: Duration::from_secs(10) };
    let (honest, hostile, crowd) = (vec![peer(0, 0)], vec![peer(0, 0)], vec![peer(0, 0); 2]);
    let told = Told::default();
    Seen { run, told, honest, hostile, crowd, good: Vec::new(), bad: vec![tracker(0)], relays: Vec::new() }
}

fn peer(connections: u64, lies: u64) -> (SocketAddr, PeerStats) {
    (ADDR, PeerStats { connections, lies, ..PeerStats::default() })
}

fn tracker(visits: u64) -> (String, Record) {
    ("http://t/".to_owned(), Record { arrivals: visits, requests: visits, ..Record::default() })
}

fn told(result: serde_json::Value, message: &str) -> Told {
    Told { result: Some(result), log: vec![json!({"message": message, "addr": ADDR.to_string()})] }
}

#[test]
fn each_holds_and_each_breaks() {
    let wasted = |bytes: u64| Seen { told: told(json!({"bytes_wasted": bytes}), ""), ..seen() };
    let has = |bytes: u64| Seen { told: told(json!({"bytes_have": bytes, "bytes_total": 1 << 20}), ""), ..seen() };
    let restarts = |cause: &str| {
        let rows = json!({"restarts": [{"actor": "HttpTracker", "cause": cause, "count": 1}]});
        Seen { told: told(rows, ""), ..seen() }
    };
    let said = |line: &str| {
        let mut seen = seen();
        seen.run.err.push(line.to_owned());
        seen
    };
    let table = [
        (Criterion::Provoked, Seen { bad: vec![tracker(1)], ..seen() }, seen()),
        (Criterion::Lied, Seen { hostile: vec![peer(1, 1)], ..seen() }, Seen { honest: vec![peer(1, 1)], ..seen() }),
        (
            Criterion::VisitsAtMost(2),
            Seen { bad: vec![tracker(2)], ..seen() },
            Seen { bad: vec![tracker(3)], ..seen() },
        ),
        (Criterion::HeardNothing, seen(), Seen { bad: vec![tracker(0), tracker(1)], ..seen() }),
        (Criterion::HonestDials(1), seen(), Seen { honest: vec![peer(1, 0), peer(2, 0)], ..seen() }),
        (Criterion::HostileDials(1), seen(), Seen { hostile: vec![peer(1, 0), peer(2, 0)], ..seen() }),
        (
            Criterion::CrowdDials(3),
            Seen { crowd: vec![peer(1, 0), peer(2, 0)], ..seen() },
            Seen { crowd: vec![peer(2, 0); 2], ..seen() },
        ),
        (Criterion::WasteAtMost(100), wasted(100), wasted(101)),
        (Criterion::Within(Duration::from_secs(10)), seen(), {
            let mut late = seen();
            late.run.took = Duration::from_secs(11);
            late
        }),
        (Criterion::CpuAtMost(5), seen(), {
            let mut busy = seen();
            busy.run.usage.cpu = Duration::from_millis(501);
            busy
        }),
        (Criterion::MemoryAtMost(1), seen(), {
            let mut large = seen();
            large.run.usage.peak_kib = 1025;
            large
        }),
        (Criterion::Logs("tracker warns"), Seen { told: told(json!({}), "tracker warns"), ..seen() }, seen()),
        (Criterion::Restarts("HttpTracker", "tls"), restarts("tls"), restarts("refused")),
        (Criterion::SaysNoEscapes, said("\tall well"), said("\x1b[2J")),
        (Criterion::AllButOnePiece, has((1 << 20) - (64 << 10)), has(1 << 20)),
    ];
    for (criterion, good, bad) in table {
        assert_eq!(criterion.judge(&good), None, "{criterion:?}");
        let broken = criterion.judge(&bad);
        assert!(broken.as_ref().is_some_and(Verdict::is_failure), "{criterion:?}: {broken:?}");
    }
}

#[test]
fn manners_are_owed_in_every_scene() {
    assert_eq!(manners(&seen()).count(), 0);
    let hammered = Seen { hostile: vec![peer(4, 0)], ..seen() };
    let banned = Seen { told: told(json!({}), "peer sent bad data (banned)"), ..seen() };
    let logged = Seen { told: told(json!({}), "code panicked"), ..seen() };
    let panicked = Seen { told: told(json!({"panics": 1}), ""), ..seen() };
    for (seen, says) in
        [(hammered, "dialled 4 times"), (banned, "which is honest"), (panicked, "1 panics"), (logged, "panicked in")]
    {
        let verdict = manners(&seen).next().unwrap();
        assert!(verdict.to_string().contains(says), "{verdict}");
    }
}

//! Every criterion can fail: for each one run that satisfies it and one that does not.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use serde_json::json;

use super::*;
use crate::faults::client_output::ClientOutput;
use crate::faults::peer::PeerStats;
use crate::faults::program::{Finished, Usage};
use crate::faults::tracker::TrackerRecord;

const ADDR: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

/// Ten seconds in which nothing happened.
fn seen() -> NetSeen {
    let usage = Usage { peak_kib: 1024, descriptors: 10, cpu: Duration::from_millis(500) };
    let (out, err) = (Vec::new(), Vec::new());
    let run = Finished { status: ExitStatus::from_raw(0), out, err, usage, took: Duration::from_secs(10) };
    let (honest, hostile, crowd) = (vec![peer(0, 0)], vec![peer(0, 0)], vec![peer(0, 0); 2]);
    let told = ClientOutput::default();
    NetSeen { run, told, honest, hostile, crowd, good: Vec::new(), bad: vec![tracker(0)], relays: Vec::new() }
}

fn peer(connections: u64, lies: u64) -> (SocketAddr, PeerStats) {
    (ADDR, PeerStats { connections, lies, ..PeerStats::default() })
}

fn tracker(visits: u64) -> (String, TrackerRecord) {
    ("http://t/".to_owned(), TrackerRecord { arrivals: visits, requests: visits, ..TrackerRecord::default() })
}

fn told(result: serde_json::Value, message: &str) -> ClientOutput {
    ClientOutput { result: Some(result), log: vec![json!({"message": message, "addr": ADDR.to_string()})] }
}

#[test]
fn each_holds_and_each_breaks() {
    let wasted = |bytes: u64| NetSeen { told: told(json!({"bytes_wasted": bytes}), ""), ..seen() };
    let has = |bytes: u64| NetSeen { told: told(json!({"bytes_have": bytes, "bytes_total": 1 << 20}), ""), ..seen() };
    let restarts = |cause: &str| {
        let rows = json!({"restarts": [{"actor": "HttpTracker", "cause": cause, "count": 1}]});
        NetSeen { told: told(rows, ""), ..seen() }
    };
    let said = |line: &str| {
        let mut seen = seen();
        seen.run.err.push(line.to_owned());
        seen
    };
    let table = [
        (NetCriterion::Provoked, NetSeen { bad: vec![tracker(1)], ..seen() }, seen()),
        (
            NetCriterion::Lied,
            NetSeen { hostile: vec![peer(1, 1)], ..seen() },
            NetSeen { honest: vec![peer(1, 1)], ..seen() },
        ),
        (
            NetCriterion::VisitsAtMost(2),
            NetSeen { bad: vec![tracker(2)], ..seen() },
            NetSeen { bad: vec![tracker(3)], ..seen() },
        ),
        (NetCriterion::HeardNothing, seen(), NetSeen { bad: vec![tracker(0), tracker(1)], ..seen() }),
        (NetCriterion::HonestDials(1), seen(), NetSeen { honest: vec![peer(1, 0), peer(2, 0)], ..seen() }),
        (NetCriterion::HostileDials(1), seen(), NetSeen { hostile: vec![peer(1, 0), peer(2, 0)], ..seen() }),
        (
            NetCriterion::CrowdDials(3),
            NetSeen { crowd: vec![peer(1, 0), peer(2, 0)], ..seen() },
            NetSeen { crowd: vec![peer(2, 0); 2], ..seen() },
        ),
        (NetCriterion::WasteAtMost(100), wasted(100), wasted(101)),
        (NetCriterion::Within(Duration::from_secs(10)), seen(), {
            let mut late = seen();
            late.run.took = Duration::from_secs(11);
            late
        }),
        (NetCriterion::CpuAtMost(5), seen(), {
            let mut busy = seen();
            busy.run.usage.cpu = Duration::from_millis(501);
            busy
        }),
        (NetCriterion::MemoryAtMost(1), seen(), {
            let mut large = seen();
            large.run.usage.peak_kib = 1025;
            large
        }),
        (NetCriterion::Logs("tracker warns"), NetSeen { told: told(json!({}), "tracker warns"), ..seen() }, seen()),
        (NetCriterion::Restarts("HttpTracker", "tls"), restarts("tls"), restarts("refused")),
        (NetCriterion::SaysNoEscapes, said("\tall well"), said("\x1b[2J")),
        (NetCriterion::AllButOnePiece, has((1 << 20) - (64 << 10)), has(1 << 20)),
    ];
    for (criterion, good, bad) in table {
        assert_eq!(criterion.judge(&good), None, "{criterion:?}");
        let broken = criterion.judge(&bad);
        assert!(broken.as_ref().is_some_and(RefereeVerdict::is_failure), "{criterion:?}: {broken:?}");
    }
}

#[test]
fn manners_are_owed_in_every_scene() {
    assert_eq!(manners(&seen()).count(), 0);
    let hammered = NetSeen { hostile: vec![peer(4, 0)], ..seen() };
    let banned = NetSeen { told: told(json!({}), "peer sent bad data (banned)"), ..seen() };
    let logged = NetSeen { told: told(json!({}), "code panicked"), ..seen() };
    let panicked = NetSeen { told: told(json!({"panics": 1}), ""), ..seen() };
    for (seen, says) in
        [(hammered, "dialled 4 times"), (banned, "which is honest"), (panicked, "1 panics"), (logged, "panicked in")]
    {
        let verdict = manners(&seen).next().unwrap();
        assert!(verdict.to_string().contains(says), "{verdict}");
    }
}

//! Every criterion can fail: for each, one run that satisfies it and one that does not.

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

/// Returns the observation of a run of ten seconds without events.
fn observation() -> NetObservation {
    let usage = Usage { peak_kib: 1024, descriptors: 10, cpu: Duration::from_millis(500) };
    let (out, err) = (Vec::new(), Vec::new());
    let run = Finished { status: ExitStatus::from_raw(0), out, err, usage, took: Duration::from_secs(10) };
    let (honest, hostile, crowd) = (vec![peer(0, 0)], vec![peer(0, 0)], vec![peer(0, 0); 2]);
    let output = ClientOutput::default();
    NetObservation { run, output, honest, hostile, crowd, good: Vec::new(), bad: vec![tracker(0)], relays: Vec::new() }
}

fn peer(connections: u64, lies: u64) -> (SocketAddr, PeerStats) {
    (ADDR, PeerStats { connections, lies, ..PeerStats::default() })
}

fn tracker(visits: u64) -> (String, TrackerRecord) {
    ("http://t/".to_owned(), TrackerRecord { arrivals: visits, requests: visits, ..TrackerRecord::default() })
}

fn output(result: serde_json::Value, message: &str) -> ClientOutput {
    ClientOutput { result: Some(result), log: vec![json!({"message": message, "addr": ADDR.to_string()})] }
}

#[test]
fn every_criterion_can_hold_and_can_break() {
    let wasted = |bytes: u64| NetObservation { output: output(json!({"bytes_wasted": bytes}), ""), ..observation() };
    let has = |bytes: u64| NetObservation {
        output: output(json!({"bytes_have": bytes, "bytes_total": 1 << 20}), ""),
        ..observation()
    };
    let restarts = |cause: &str| {
        let rows = json!({"restarts": [{"actor": "HttpTracker", "cause": cause, "count": 1}]});
        NetObservation { output: output(rows, ""), ..observation() }
    };
    let said = |line: &str| {
        let mut observation = observation();
        observation.run.err.push(line.to_owned());
        observation
    };
    let table = [
        (NetCriterion::Provoked, NetObservation { bad: vec![tracker(1)], ..observation() }, observation()),
        (
            NetCriterion::Lied,
            NetObservation { hostile: vec![peer(1, 1)], ..observation() },
            NetObservation { honest: vec![peer(1, 1)], ..observation() },
        ),
        (
            NetCriterion::VisitsAtMost(2),
            NetObservation { bad: vec![tracker(2)], ..observation() },
            NetObservation { bad: vec![tracker(3)], ..observation() },
        ),
        (
            NetCriterion::HeardNothing,
            observation(),
            NetObservation { bad: vec![tracker(0), tracker(1)], ..observation() },
        ),
        (
            NetCriterion::HonestDials(1),
            observation(),
            NetObservation { honest: vec![peer(1, 0), peer(2, 0)], ..observation() },
        ),
        (
            NetCriterion::HostileDials(1),
            observation(),
            NetObservation { hostile: vec![peer(1, 0), peer(2, 0)], ..observation() },
        ),
        (
            NetCriterion::CrowdDials(3),
            NetObservation { crowd: vec![peer(1, 0), peer(2, 0)], ..observation() },
            NetObservation { crowd: vec![peer(2, 0); 2], ..observation() },
        ),
        (NetCriterion::WasteAtMost(100), wasted(100), wasted(101)),
        (NetCriterion::Within(Duration::from_secs(10)), observation(), {
            let mut late = observation();
            late.run.took = Duration::from_secs(11);
            late
        }),
        (NetCriterion::CpuAtMost(5), observation(), {
            let mut busy = observation();
            busy.run.usage.cpu = Duration::from_millis(501);
            busy
        }),
        (NetCriterion::MemoryAtMost(1), observation(), {
            let mut large = observation();
            large.run.usage.peak_kib = 1025;
            large
        }),
        (
            NetCriterion::Logs("tracker warns"),
            NetObservation { output: output(json!({}), "tracker warns"), ..observation() },
            observation(),
        ),
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
fn the_common_rules_hold_in_every_scene() {
    assert_eq!(manners(&observation()).count(), 0);
    let hammered = NetObservation { hostile: vec![peer(4, 0)], ..observation() };
    let banned = NetObservation { output: output(json!({}), "peer sent bad data (banned)"), ..observation() };
    let logged = NetObservation { output: output(json!({}), "code panicked"), ..observation() };
    let panicked = NetObservation { output: output(json!({"panics": 1}), ""), ..observation() };
    for (observation, says) in
        [(hammered, "dialled 4 times"), (banned, "which is honest"), (panicked, "1 panics"), (logged, "panicked in")]
    {
        let verdict = manners(&observation).next().unwrap();
        assert!(verdict.to_string().contains(says), "{verdict}");
    }
}

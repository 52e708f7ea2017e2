//! For each thing that the referee judges: one case that holds and one that does not.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use tokio::time::Instant;

use super::*;
use crate::base::ids::{InfoHash, PeerId};
use crate::codec::tracker::AnnounceRequest;
use crate::faults::program::ClientProgram;
use crate::faults::tracker::{Asked, HeardRequest};

const PAYLOAD: Payload = Payload::new(5, 3000);

fn said(verdict: Option<RefereeVerdict>) -> String {
    verdict.unwrap_or(RefereeVerdict::Held).to_string()
}

fn arrived(files: &[(PathBuf, u64)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut offset = 0;
    for (path, len) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, PAYLOAD.read(offset, usize::try_from(*len).unwrap())).unwrap();
        offset += len;
    }
    dir
}

#[test]
fn every_byte_of_every_file_is_compared() {
    let files = files_of(&Recipe::folder("d", &[("a", 1000), ("sub/b", 2000)], 16384, &[]), PAYLOAD);
    let dir = arrived(&files);
    assert_eq!(said(judge_bytes(dir.path(), &files, PAYLOAD)), "held");
    let mut bytes = fs::read(dir.path().join("d/sub/b")).unwrap();
    bytes[1999] ^= 1;
    fs::write(dir.path().join("d/sub/b"), &bytes).unwrap();
    assert_eq!(said(judge_bytes(dir.path(), &files, PAYLOAD)), "broke I2: d/sub/b: differs from byte 1999");
    fs::write(dir.path().join("d/sub/b"), &bytes[1..]).unwrap();
    let want = "broke I2: d/sub/b: has 1999 bytes, the torrent says 2000";
    assert_eq!(said(judge_bytes(dir.path(), &files, PAYLOAD)), want);
    fs::remove_file(dir.path().join("d/a")).unwrap();
    assert!(said(judge_bytes(dir.path(), &files, PAYLOAD)).starts_with("broke I2: d/a: "));
}

#[test]
fn foreign_files_are_found_and_a_clients_own_state_is_not_blamed() {
    let files = files_of(&Recipe::folder("d", &[("a", 1000), ("sub/b", 2000)], 16384, &[]), PAYLOAD);
    let dir = arrived(&files);
    fs::create_dir(dir.path().join(".tt-actors")).unwrap();
    fs::write(dir.path().join(".tt-actors/x.resume"), "").unwrap();
    fs::write(dir.path().join("d.aria2"), "").unwrap();
    assert_eq!(said(judge_folder(dir.path(), &files)), "held");
    fs::write(dir.path().join("d/sub/c"), "").unwrap();
    assert_eq!(said(judge_folder(dir.path(), &files)), "broke I2: d/sub/c is not of this torrent");
    assert_eq!(said(judge_surroundings(dir.path(), &["d", "d.aria2", ".tt-actors"])), "held");
    let want = "broke I2: d.aria2 lies outside the output folder";
    assert_eq!(said(judge_surroundings(dir.path(), &["d", ".tt-actors"])), want);
}

#[test]
fn a_death_or_a_panic_is_a_crash_and_an_exit_code_is_not() {
    let run = |script: &str| {
        let program = ClientProgram::start(Command::new("sh").args(["-c", script])).unwrap();
        program.finish(Duration::from_secs(60)).unwrap()
    };
    assert_eq!(said(judge_ending(&run("exit 5"), None)), "held");
    assert_eq!(said(judge_ending(&run("exit 139"), None)), "held");
    assert_eq!(said(judge_ending(&run("kill -SEGV $$"), None)), "crashed: signal 11 ended it");
    assert_eq!(said(judge_ending(&run("kill -TERM $$"), Some(15))), "held");
    let panicked = run("echo \"thread 'main' panicked at x.rs:1\" >&2");
    assert_eq!(said(judge_ending(&panicked, None)), "crashed: thread 'main' panicked at x.rs:1");
}

#[test]
fn caps_are_upper_limits() {
    let usage = Usage { peak_kib: 1024, descriptors: 64, cpu: Duration::ZERO };
    assert_eq!(said(judge_usage(usage, Caps { memory: 1 << 20, descriptors: 64 })), "held");
    let want = "broke I5: 1.0 MiB of memory, allowed are 1023.0 KiB";
    assert_eq!(said(judge_usage(usage, Caps { memory: 1023 << 10, descriptors: 64 })), want);
    let want = "broke I5: 64 descriptors, allowed are 63";
    assert_eq!(said(judge_usage(usage, Caps { memory: 1 << 20, descriptors: 63 })), want);
}

#[test]
fn announces_without_an_event_keep_the_floor() {
    let start = Instant::now();
    let heard = |events: &[(u64, Event)]| {
        let from = SocketAddr::from(([127, 0, 0, 1], 1));
        let announce = |event| AnnounceRequest {
            info_hash: InfoHash([1; 20]),
            peer_id: PeerId([2; 20]),
            port: 1,
            uploaded: 0,
            downloaded: 0,
            left: 0,
            event,
            key: 0,
            num_want: 50,
            tracker_id: None,
        };
        let heard = events.iter().map(|(secs, event)| HeardRequest {
            at: start + Duration::from_secs(*secs),
            from,
            asked: Asked::Announce(announce(*event)),
        });
        TrackerRecord { heard: heard.collect(), ..TrackerRecord::default() }
    };
    let floor = Duration::from_secs(60);
    let judge = |events: &[(u64, Event)]| said(judge_announces("x", &heard(events), floor));
    assert_eq!(
        judge(&[(0, Event::Started), (60, Event::Periodic), (61, Event::Completed), (61, Event::Stopped)]),
        "held"
    );
    let want = "broke I7: x was asked again after 59s, the floor is 1m 00s";
    assert_eq!(judge(&[(0, Event::Started), (59, Event::Periodic)]), want);
    assert_eq!(said(judge_dials("x", 3, 3)), "held");
    assert_eq!(said(judge_dials("x", 4, 3)), "broke I7: x was dialled 4 times, allowed are 3");
}

#[test]
fn the_gravest_verdict_counts() {
    let broke = RefereeVerdict::Broke { invariant: "I1", how: String::new() };
    let (late, crash) = (RefereeVerdict::NotLive(String::new()), RefereeVerdict::Crashed(String::new()));
    assert_eq!(gravest([late.clone(), broke.clone()]), broke);
    assert_eq!(gravest([crash.clone(), broke]), crash);
    assert_eq!(gravest([RefereeVerdict::Held, late.clone()]), late);
    assert_eq!(gravest([]), RefereeVerdict::Held);
}

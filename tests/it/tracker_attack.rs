//! Our tracker under attack: clients that do not read, bodies, floods, odd files; and what survives its restart.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use tt_actors::base::ids::InfoHash;
use tt_actors::codec::tracker::{AnnounceReply, Reply};
use tt_actors::codec::tracker_http::parse_announce;

use crate::support::client::{run, text};
use crate::support::peers::{OpenTracker, http_get, percent};
use crate::support::ports::{free, local};
use crate::support::tracker::{OurTracker, http_scrape};
use crate::support::{Lab, Needs};

fn info_hash(name: u32) -> InfoHash {
    let mut hash = [7; 20];
    hash[..4].copy_from_slice(&name.to_be_bytes());
    InfoHash(hash)
}

/// An announce with these words besides.
fn target(name: u32, words: &str) -> String {
    let hash = percent(&info_hash(name).to_string());
    format!("/announce?info_hash={hash}&peer_id=-XX0000-abcdefghijkl&{words}")
}

#[track_caller]
fn announce(at: SocketAddr, name: u32, words: &str) -> AnnounceReply {
    let body = http_get(at, &target(name, words)).unwrap();
    match parse_announce(&body) {
        Ok(Reply::Peers(reply)) => reply,
        other => panic!("{other:?}: {}", body.escape_ascii()),
    }
}

/// KiB of memory that a process has.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Writes until nothing more is taken, the other end has had enough, or all is gone. Says how much it was.
fn pour(stream: &mut TcpStream, bytes: &[u8], most: usize) -> usize {
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut written = 0;
    while written < most {
        match stream.write(&bytes[written % bytes.len()..]) {
            Ok(len) => written += len,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    written
}

/// They cost 1.3 GiB: 60 connections with 12 MB of tiny requests, and 200 that scrape.
#[test]
fn clients_that_do_not_read_are_not_read_from() {
    let tracker = OurTracker::start::<&str>(&[]);
    announce(tracker.http, 1, "port=1&left=0");
    let before = resident(tracker.pid());
    let tiny = target(1, "port=2&left=5&numwant=0");
    let tiny = format!("GET {tiny} HTTP/1.1\r\nHost: t\r\n\r\n").repeat(40);
    let scrape = target(1, "").replace("/announce", "/scrape");
    let scrape = format!("GET {scrape}{} HTTP/1.1\r\n\r\n", "&info_hash=aaaaaaaaaaaaaaaaaaaa".repeat(70)).repeat(4);
    let mut silent: Vec<_> = (0..260).map(|_| TcpStream::connect(tracker.http).unwrap()).collect();
    let pouring = std::thread::scope(|scope| {
        let words = [tiny.as_bytes(); 3].into_iter().chain(std::iter::repeat(scrape.as_bytes()));
        let pour_all = |(part, words): (&mut [TcpStream], &[u8])| {
            part.iter_mut().map(|stream| pour(stream, words, 400_000)).sum::<usize>()
        };
        let parts = silent.chunks_mut(20).zip(words).map(|part| scope.spawn(move || pour_all(part)));
        let parts: Vec<_> = parts.collect();
        parts.into_iter().map(|part| part.join().unwrap()).sum::<usize>()
    });
    assert!(pouring > 12_000_000, "{pouring} bytes are not enough of an attack");
    announce(tracker.http, 1, "port=3&left=5");
    let grown = resident(tracker.pid()).saturating_sub(before);
    assert!(grown < 48 * 1024, "{grown} KiB for {} clients that do not read", silent.len());
    // Who reads is served as before.
    let mut answers = Vec::new();
    silent[0].set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut part = [0; 4096];
    while answers.len() < 20_000 {
        let len = silent[0].read(&mut part).unwrap();
        assert!(len > 0, "cut after {} bytes", answers.len());
        answers.extend(&part[..len]);
    }
    assert!(answers.starts_with(b"HTTP/1.1 200"));
    tracker.stop().expect_code(0);
}

/// It was swallowed to its end, however long.
#[test]
fn a_body_is_answered_and_cut() {
    let tracker = OurTracker::start::<&str>(&[]);
    for head in ["Content-Length: 10000000000", "Transfer-Encoding: chunked"] {
        for verb in ["POST", "GET"] {
            let mut stream = TcpStream::connect(tracker.http).unwrap();
            write!(stream, "{verb} {} HTTP/1.1\r\nHost: t\r\n{head}\r\n\r\n", target(1, "port=1&left=0")).unwrap();
            let chunk = [&b"1000\r\n"[..], &[b'x'; 0x1000], b"\r\n"].concat();
            let written = pour(&mut stream, &chunk, 64 << 20);
            assert!(written < 32 << 20, "{verb} {head}: {written} bytes were taken");
        }
    }
    let mut stream = TcpStream::connect(tracker.http).unwrap();
    write!(stream, "POST /announce HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    announce(tracker.http, 1, "port=3&left=5");
}

/// Addresses as a proxy on this machine would give them: each honest peer in its own network, the flood in eight.
#[test]
fn a_flood_leaves_who_was_there_and_lets_in_who_comes_from_elsewhere() {
    let tracker = OurTracker::start(&["--max-torrents", "300", "--max-peers", "400"]);
    let honest = |nth: u32| format!("ip=198.51.{nth}.7&port=6881&left=0");
    (0..30).for_each(|nth| drop(announce(tracker.http, nth % 12, &honest(nth))));
    for nth in 0..1500_u32 {
        let name = if nth.is_multiple_of(3) { nth % 12 } else { 1000 + nth };
        announce(tracker.http, name, &format!("ip=203.0.{}.{}&port={nth}&left=0", nth % 8, nth % 5));
    }
    (100..110).for_each(|nth| drop(announce(tracker.http, 5000, &honest(nth))));
    for (name, want) in (0..12).map(|name| (name, (0..30).filter(|nth| nth % 12 == name).collect::<Vec<_>>())) {
        assert!(all_are_named(&tracker, name, &want), "torrent {name}");
    }
    assert!(all_are_named(&tracker, 5000, &(100..110).collect::<Vec<_>>()));
    assert!(tracker.stat("torrents") <= 300 && tracker.stat("peers") <= 400);
}

fn all_are_named(tracker: &OurTracker, name: u32, honest: &[u32]) -> bool {
    let peers = announce(tracker.http, name, "ip=192.0.2.1&port=0&left=5&numwant=200").peers;
    let is_named = |nth: &u32| peers.contains(&format!("198.51.{nth}.7:6881").parse().unwrap());
    honest.iter().all(is_named)
}

fn fifo(path: &Path) {
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
}

/// It hung for ever, and heard no signal.
#[test]
fn a_fifo_in_the_place_of_the_list_holds_up_nothing() {
    let lab = Lab::new();
    let list = lab.at("allowed");
    std::fs::write(&list, format!("{}\n", info_hash(1))).unwrap();
    let mut tracker = OurTracker::start(&["--allow", text(&list)]);
    std::fs::remove_file(&list).unwrap();
    fifo(&list);
    tracker.signal(Signal::HUP);
    tracker.wait_until_it_says("the old list stays");
    announce(tracker.http, 1, "port=1&left=0");
    tracker.stop().expect_code(0);
    for option in ["--allow", "--state"] {
        let outcome = run(&["tracker", "--http", "127.0.0.1:0", option, text(&list)]).expect_code(15);
        assert!(outcome.stderr.contains("no regular file"), "{}", outcome.stderr);
    }
    std::fs::File::create(lab.at("endless")).unwrap().set_len(1 << 40).unwrap();
    let outcome = run(&["tracker", "--http", "127.0.0.1:0", "--allow", text(&lab.at("endless"))]).expect_code(15);
    assert!(outcome.stderr.contains("more than"), "{}", outcome.stderr);
}

#[test]
fn swarms_survive_a_restart_with_a_state_file() {
    let lab = Lab::new();
    let state = lab.at("swarms");
    let args = ["--state", text(&state)];
    let tracker = OurTracker::start(&args);
    for (name, port, left) in [(1, 1001, 0), (1, 1002, 5), (2, 1003, 0)] {
        announce(tracker.http, name, &format!("port={port}&left={left}"));
    }
    announce(tracker.http, 1, "port=1002&left=0&event=completed");
    let swarms = [info_hash(1), info_hash(2)];
    let before = http_scrape(tracker.http, &swarms);
    let taken = run(&["tracker", "--http", "127.0.0.1:0", "--state", text(&state)]).expect_code(11);
    assert!(taken.stderr.contains("another tracker"), "{}", taken.stderr);
    tracker.stop().expect_code(0);
    let tracker = OurTracker::start(&args);
    assert_eq!(http_scrape(tracker.http, &swarms), before);
    let mut peers = announce(tracker.http, 1, "port=1004&left=5").peers;
    peers.sort_unstable();
    assert_eq!(peers, [1001, 1002].map(local));
    tracker.kill();
    let mut bytes = std::fs::read(&state).unwrap();
    let half = bytes.len() / 2;
    bytes[half] ^= 1;
    std::fs::write(&state, &bytes).unwrap();
    let tracker = OurTracker::start(&args);
    assert_eq!((tracker.stat("torrents"), std::fs::read(lab.at("swarms.broken")).unwrap()), (0, bytes));
    announce(tracker.http, 3, "port=1&left=0");
    let outcome = tracker.stop().expect_code(0);
    assert!(outcome.stderr.contains("checksum is wrong"), "{}", outcome.stderr);
    let tracker = OurTracker::start(&args);
    assert_eq!((tracker.stat("torrents"), tracker.stat("seeds")), (1, 1));
}

/// The same odd requests to both: served or refused alike, the same numbers.
#[test]
fn opentracker_and_ours_serve_the_same_odd_requests() {
    let Some(lab) = Lab::with(&[Needs::Opentracker]) else { return };
    let words = [
        "port=7&left=5",
        "port=7&left=0",
        "port=7",
        "port=7&left=-1",
        "port=7&left=-5",
        "port=7&left=00",
        "port=7&left=+0",
        "port=7&left=%30",
        "port=7&left=99999999999999999999999",
        "port=7&left=5&event=exploded",
        "port=7&left=5&event=",
        "port=7&left=5&event=Completed",
        "port=7&left=5&event=paused",
        "port=7&left=5&uploaded=-5&downloaded=",
        "port=7&left=5&numwant=-1",
        "port=7&left=5&supportcrypto&",
        "port=7&left=5&&x=%zz",
        "port=7&left=5&left=0",
        "port=65536&left=5",
        "port=abc&left=5",
        "port=7&left=5&peer_id=short",
        "port=7&left=5&info_hash=short",
    ];
    let hashes: Vec<_> = (0..30).map(|name| info_hash(name).to_string()).collect();
    let ours = OurTracker::start::<&str>(&[]);
    let port = free();
    let _theirs = OpenTracker::start(&lab, port, &hashes.iter().map(String::as_str).collect::<Vec<_>>());
    let answer = |at: SocketAddr, target: &str| match parse_announce(&http_get(at, target).unwrap()) {
        Ok(Reply::Peers(reply)) => Some((reply.complete, reply.incomplete)),
        _refused => None,
    };
    for (name, words) in (0..).zip(words) {
        let target = target(name, words);
        assert_eq!(answer(ours.http, &target), answer(local(port), &target), "{words}");
    }
    for path in ["/announce/?", "/announce.php?", "/announce/key?"] {
        let target = target(25, "port=7&left=5").replace("/announce?", path);
        assert!(answer(ours.http, &target).is_some() && answer(local(port), &target).is_some(), "{path}");
    }
    // One peer that completes again and again.
    for (left, event) in
        [(5, "started"), (0, "completed"), (5, ""), (0, "completed"), (5, "completed"), (0, "completed")]
    {
        for at in [ours.http, local(port)] {
            announce(at, 26, &format!("port=7&left={left}&event={event}"));
        }
    }
    let downloaded = |at| http_scrape(at, &[info_hash(26)])[0].downloaded;
    assert_eq!((downloaded(ours.http), downloaded(local(port))), (1, 1));
}

//! `scrape` against a real tracker, over both protocols, of one torrent and of many (W-13).

use std::io::{Read, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tt_actors::codec::metainfo::Metainfo;

use crate::support::client::{run, text};
use crate::support::payload::write_file;
use crate::support::peers::{OpenTracker, Seed, http_get, percent};
use crate::support::ports::{free, local};
use crate::support::torrents::Maker;
use crate::support::{Lab, Needs};

#[test]
fn opentracker_counts_its_seeds_over_http_and_udp() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent, Needs::Opentracker]) else { return };
    let source = lab.at("source/scraped.bin");
    write_file(&source, 200_000, 5);
    let port = free();
    let urls = [format!("http://127.0.0.1:{port}/announce"), format!("udp://127.0.0.1:{port}/announce")];
    let torrent = Maker::of(&source).tier(&[&urls[0]]).tier(&[&urls[1]]).make(&lab);
    let tracker = OpenTracker::start(&lab, port, &[&torrent.info_hash]);
    let _seeds = [Seed::libtorrent(&torrent), Seed::libtorrent(&torrent)];
    tracker.wait_for_seeds(&torrent.info_hash, 2);
    let outcome = run(&["scrape", text(&torrent.path), "--json"]).expect_code(0);
    for url in &urls {
        let row = answer_of(&outcome.events, url).unwrap_or_else(|| panic!("nothing about {url}: {}", outcome.stdout));
        assert_eq!(row["seeders"], 2, "{row}");
        assert_eq!(row["leechers"], 0, "{row}");
        assert_eq!(row["completed"], 0, "{row}");
    }
}

/// One dead tracker beside a good one: the good one's numbers are shown, the dead one's error too.
#[test]
fn a_dead_tracker_does_not_hide_a_living_one() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent, Needs::Opentracker]) else { return };
    let source = lab.at("source/scraped.bin");
    write_file(&source, 200_000, 5);
    let (port, dead) = (free(), free());
    let urls = [format!("http://127.0.0.1:{dead}/announce"), format!("http://127.0.0.1:{port}/announce")];
    let torrent = Maker::of(&source).tier(&[&urls[0]]).tier(&[&urls[1]]).make(&lab);
    let tracker = OpenTracker::start(&lab, port, &[&torrent.info_hash]);
    let _seed = Seed::libtorrent(&torrent);
    tracker.wait_for_seeds(&torrent.info_hash, 1);
    let outcome = run(&["scrape", text(&torrent.path), "--json"]).expect_code(0);
    assert_eq!(answer_of(&outcome.events, &urls[1]).unwrap()["seeders"], 1);
    assert!(answer_of(&outcome.events, &urls[0]).unwrap()["error"].is_string());
}

/// The row about one tracker, on a line of its own or in a list.
fn answer_of<'a>(events: &'a [Value], url: &str) -> Option<&'a Value> {
    let listed = events.iter().flat_map(|event| event["trackers"].as_array().into_iter().flatten());
    events.iter().chain(listed).find(|row| row["tracker"] == url || row["url"] == url)
}

/// A torrent of a few bytes, written by hand, and its info-hash in hexadecimal digits.
fn tiny(folder: &Path, number: usize, urls: &[&str]) -> (PathBuf, String) {
    let list = urls.iter().map(|url| format!("l{}:{url}e", url.len())).collect::<Vec<_>>().concat();
    let name = format!("torrent {number:03}");
    let info = format!("d6:lengthi5e4:name11:{name}12:piece lengthi16384e6:pieces20:{}e", "x".repeat(20));
    let bytes = format!("d13:announce-listl{list}e4:info{info}e");
    let path = folder.join(format!("{number}.torrent"));
    std::fs::write(&path, &bytes).unwrap();
    (path, Metainfo::parse(bytes.as_bytes()).unwrap().info.info_hash.to_string())
}

/// More torrents than one question of either protocol holds; each third one has a seed.
#[test]
fn eighty_torrents_are_asked_for_at_once() {
    const MANY: usize = 80;
    let Some(lab) = Lab::with(&[Needs::Opentracker]) else { return };
    let port = free();
    let urls = [format!("http://127.0.0.1:{port}/announce"), format!("udp://127.0.0.1:{port}/announce")];
    let made: Vec<_> = (0..MANY).map(|number| tiny(lab.path(), number, &[&urls[0], &urls[1]])).collect();
    let hashes: Vec<_> = made.iter().map(|(_, hash)| hash.as_str()).collect();
    let _tracker = OpenTracker::start(&lab, port, &hashes);
    for (number, hash) in hashes.iter().enumerate() {
        let left = usize::from(number % 3 != 0);
        let peer = format!("&peer_id=-TEST00-{number:012}&port=7000&uploaded=0&downloaded=0&left={left}&compact=1");
        http_get(local(port), &format!("/announce?info_hash={}{peer}", percent(hash))).unwrap();
    }
    let mut line = vec!["scrape", "--json"];
    line.extend(made.iter().map(|(path, _)| text(path)));
    let outcome = run(&line).expect_code(0);
    assert_eq!(outcome.number("torrents"), 80);
    assert_eq!(outcome.number("answered"), 160, "{}", outcome.result());
    for (number, hash) in hashes.iter().enumerate() {
        for url in &urls {
            let row = outcome.events.iter().find(|row| row["info_hash"] == *hash && row["tracker"] == url.as_str());
            let row = row.unwrap_or_else(|| panic!("nothing about {number} at {url}"));
            let is_seed = u64::from(number % 3 == 0);
            assert_eq!(
                (row["seeders"].as_u64(), row["leechers"].as_u64()),
                (Some(is_seed), Some(1 - is_seed)),
                "{row}"
            );
        }
    }
    let plain = run(&["scrape", text(&made[0].0), text(&made[1].0), text(&made[0].0)]).expect_code(0);
    assert_eq!(plain.stdout.matches("torrent 000").count(), 1, "{}", plain.stdout);
    assert_eq!(plain.stdout.matches("1 seeders").count(), 2, "{}", plain.stdout);
}

/// A tracker that reads the last name of a question only, and one that refuses more than one.
#[test]
fn trackers_that_take_one_name_at_a_time_are_asked_one_by_one() {
    for refuses in [false, true] {
        let lab = Lab::new();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/announce", listener.local_addr().unwrap());
        std::thread::spawn(move || one_name_only(&listener, refuses));
        let made: Vec<_> = (0..3).map(|number| tiny(lab.path(), number, &[&url])).collect();
        let mut line = vec!["scrape", "--json"];
        line.extend(made.iter().map(|(path, _)| text(path)));
        let outcome = run(&line).expect_code(0);
        assert_eq!(outcome.number("answered"), 3, "{}", outcome.stdout);
    }
}

/// Says that the last swarm asked for has 7 seeds; or nothing, when there are more.
fn one_name_only(listener: &TcpListener, refuses: bool) {
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut request = vec![0; 16 * 1024];
        let read = stream.read(&mut request).unwrap();
        let head = String::from_utf8_lossy(&request[..read]).into_owned();
        let names: Vec<_> = head.split("info_hash=").skip(1).collect();
        let mut body = b"d14:failure reason8:one onlye".to_vec();
        if !refuses || names.len() == 1 {
            body = b"d5:filesd20:".to_vec();
            body.extend(unescaped(names.last().unwrap()));
            body.extend(b"d8:completei7e10:downloadedi0e10:incompletei0eeee");
        }
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len()).unwrap();
        stream.write_all(&body).unwrap();
    }
}

/// The first 20 bytes of percent-encoded text.
fn unescaped(text: &str) -> Vec<u8> {
    let mut rest = text.as_bytes();
    let mut bytes = Vec::new();
    while bytes.len() < 20 {
        let (byte, used) = match rest[0] {
            b'%' => (u8::from_str_radix(std::str::from_utf8(&rest[1..3]).unwrap(), 16).unwrap(), 3),
            plain => (plain, 1),
        };
        bytes.push(byte);
        rest = &rest[used..];
    }
    bytes
}

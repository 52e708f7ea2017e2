//! `scrape` against a real tracker, over both protocols (W-13).

use serde_json::Value;

use crate::support::client::{run, text};
use crate::support::payload::write_file;
use crate::support::peers::{OpenTracker, Seed};
use crate::support::ports::free;
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

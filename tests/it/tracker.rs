//! Our tracker: who meets at it, what it says beside opentracker, what its users may do to it.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tt_actors::base::ids::{InfoHash, PeerId};
use tt_actors::codec::tracker::{AnnounceReply, AnnounceRequest, Event, Reply};
use tt_actors::codec::tracker_udp::UdpReply;

use crate::support::client::{WATCHDOG, run, text, tt};
use crate::support::netns::{Host, two_hosts};
use crate::support::payload::{assert_same, write_file};
use crate::support::peers::{OpenTracker, Seed, http_get};
use crate::support::ports::{free, local};
use crate::support::process::until;
use crate::support::torrents::{Maker, Torrent};
use crate::support::tracker::{OurTracker, UdpClient, essence, http_announce, http_scrape};
use crate::support::transmission::Daemon;
use crate::support::{Fetch, Lab, Needs};

const MIB: u64 = 1 << 20;

fn request(swarm: u8, port: u16, event: Event, left: u64) -> AnnounceRequest {
    let mut peer_id = *b"-XX0000-abcdefghijkl";
    peer_id[18..].copy_from_slice(&port.to_be_bytes());
    AnnounceRequest {
        info_hash: InfoHash([swarm; 20]),
        peer_id: PeerId(peer_id),
        port,
        uploaded: 0,
        downloaded: 0,
        left,
        event,
        key: u32::from(port),
        num_want: 50,
        tracker_id: None,
    }
}

#[track_caller]
fn peers(reply: Reply) -> AnnounceReply {
    match reply {
        Reply::Peers(reply) => reply,
        Reply::Failure(failure) => panic!("{failure:?}"),
    }
}

#[track_caller]
fn announced(reply: UdpReply) -> AnnounceReply {
    match reply {
        UdpReply::Announced(reply) => reply,
        other => panic!("{other:?}"),
    }
}

/// W-27: a tracker of ours, with statistics, that others use. aria2c has UDP trackers only with its DHT.
#[test]
fn seeds_of_other_makers_are_found_through_our_tracker_over_http() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent, Needs::Aria2]) else { return };
    let tracker = OurTracker::start::<&str>(&[]);
    let source = lab.at("source/payload.bin");
    write_file(&source, 12 * MIB + 345, 7);
    let torrent = Maker::of(&source).tier(&[&tracker.url("http")]).make(&lab);
    let _seeds = [Seed::libtorrent(&torrent), Seed::aria2(&torrent)];
    tracker.wait_for("seeds", 2);
    let dir = lab.folder("out");
    Fetch::new(&torrent.path, &dir).run().expect_complete();
    assert_same(&torrent.source, &torrent.inside(&dir));
    let stats = ["torrents", "seeds", "leeches", "events_completed"].map(|name| tracker.stat(name));
    assert_eq!(stats, [1, 2, 0, 1], "the seeds are left, our fetch came, completed and went");
    tracker.stop().expect_code(0);
}

#[test]
fn a_libtorrent_seed_is_found_through_our_tracker_over_udp() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let tracker = OurTracker::start::<&str>(&[]);
    let source = lab.at("source/payload.bin");
    write_file(&source, 4 * MIB + 1, 7);
    let torrent = Maker::of(&source).tier(&[&tracker.url("udp")]).make(&lab);
    let _seed = Seed::libtorrent(&torrent);
    tracker.wait_for("seeds", 1);
    let dir = lab.folder("out");
    Fetch::new(&torrent.path, &dir).run().expect_complete();
    assert_same(&torrent.source, &torrent.inside(&dir));
    let result = tracker.stop().expect_code(0).result().clone();
    assert_eq!((&result["seeds"], &result["leeches"], &result["events_completed"]), (&1.into(), &0.into(), &1.into()));
    assert_eq!(result["announces_http"], 0);
}

/// Off loopback, where Transmission believes a tracker: one has it all, another one and we fetch it, over HTTP and UDP.
#[test]
fn transmission_seeds_and_leeches_meet_at_our_tracker() {
    let needs = [Needs::Namespaces, Needs::Transmission, Needs::Libtorrent];
    let Some(lab) = Lab::with(&needs) else { return };
    let [here, there] = two_hosts();
    let tracker = OurTracker::start_on(&here);
    for scheme in ["http", "udp"] {
        let source = lab.at(&format!("source/{scheme}.bin"));
        write_file(&source, 6 * MIB + 77, 7);
        let torrent = Maker::of(&source).tier(&[&tracker.url(scheme)]).make(&lab);
        let seed = Daemon::start(&lab, &here, &torrent, torrent.save_path());
        seed.wait_until_whole();
        until("the seed's announce", WATCHDOG, || seeds_at(&there, &torrent) == Some(1));
        let theirs = lab.folder(&format!("transmission-{scheme}"));
        let leech = Daemon::start(&lab, &there, &torrent, &theirs);
        leech.wait_until_whole();
        assert_same(&torrent.source, &torrent.inside(&theirs));
        // After it: Transmission takes one connection of an address, and we are on the host of the leech.
        let ours = lab.folder(&format!("ours-{scheme}"));
        Fetch::new(&torrent.path, &ours).on(&there).run().expect_complete();
        assert_same(&torrent.source, &torrent.inside(&ours));
    }
    let result = tracker.stop().expect_code(0).result().clone();
    let events = ["announces_http", "announces_udp", "events_completed"].map(|name| result[name].as_u64().unwrap());
    assert!(events[0] >= 5 && events[1] >= 5 && events[2] == 4, "{result}");
}

/// What our `scrape` says on that host.
fn seeds_at(host: &Host, torrent: &Torrent) -> Option<u64> {
    let mut scrape = tt();
    scrape.args(["scrape", "--json"]).arg(&torrent.path);
    let output = host.command(&scrape).output().unwrap();
    let row: Value = serde_json::from_slice(output.stdout.split(|byte| *byte == b'\n').next()?).ok()?;
    row["seeders"].as_u64()
}

/// W-13, W-35: our own `scrape` reads what our tracker says, over both protocols.
#[test]
fn our_scrape_reads_our_tracker() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let tracker = OurTracker::start::<&str>(&[]);
    let source = lab.at("source/payload.bin");
    write_file(&source, 100_000, 7);
    let torrent = Maker::of(&source).tier(&[&tracker.url("http")]).tier(&[&tracker.url("udp")]).make(&lab);
    let _seed = Seed::libtorrent(&torrent);
    tracker.wait_for("seeds", 1);
    let outcome = run(&["scrape", text(&torrent.path)]).expect_code(0);
    assert_eq!(outcome.stdout.matches("1 seeders, 0 leechers, 0 completed").count(), 2, "{}", outcome.stdout);
}

/// The same visits to both trackers, one after the other, give the same numbers and the same peers, over HTTP and UDP.
/// The interval is each tracker's own policy. opentracker also names seeds to seeds, and a client to itself.
#[test]
fn opentracker_and_ours_give_the_same_answers() {
    use Event::{Completed, Periodic, Started, Stopped};
    let Some(lab) = Lab::with(&[Needs::Opentracker]) else { return };
    let ours = OurTracker::start::<&str>(&[]);
    let port = free();
    let hashes = [1_u8, 2].map(|swarm| InfoHash([swarm; 20]).to_string());
    let _theirs = OpenTracker::start(&lab, port, &[&hashes[0], &hashes[1]]);
    let theirs = local(port);
    let (ours_udp, theirs_udp) = (UdpClient::connect(ours.udp), UdpClient::connect(theirs));
    let visits = [
        (1, 1001, Started, 100),
        (1, 1002, Started, 0),
        (1, 1003, Started, 5),
        (2, 1001, Started, 100),
        (1, 1001, Periodic, 50),
        (1, 1001, Completed, 0),
        (1, 1003, Periodic, 5),
        (1, 1001, Completed, 0),
        (2, 1004, Completed, 0),
        (1, 1002, Stopped, 0),
        (1, 1003, Periodic, 1),
        (2, 1005, Started, 3),
        (2, 1001, Stopped, 9),
        (2, 1005, Periodic, 3),
    ];
    let mut seeds = BTreeSet::new();
    for (nth, (swarm, port, event, left)) in visits.into_iter().enumerate() {
        if left == 0 {
            seeds.insert((swarm, port));
        }
        let request = request(swarm, port, event, left);
        let (ours_says, theirs_says) = if nth % 2 == 0 {
            (peers(http_announce(ours.http, &request, "")), peers(http_announce(theirs, &request, "")))
        } else {
            (announced(ours_udp.announce(&request)), announced(theirs_udp.announce(&request)))
        };
        let (mine, mut others) = (essence(&ours_says), essence(&theirs_says));
        if left == 0 {
            others.2.retain(|peer| !seeds.contains(&(swarm, peer.port())));
        }
        // opentracker counts and names the asker too.
        others.2.remove(&SocketAddr::new(local(0).ip(), port));
        assert_eq!(mine, others, "visit {nth}: {request:?}");
        let swarms = [InfoHash([1; 20]), InfoHash([2; 20])];
        assert_eq!(http_scrape(ours.http, &swarms), http_scrape(theirs, &swarms), "after visit {nth}");
        assert_eq!(ours_udp.scrape(&swarms), theirs_udp.scrape(&swarms), "after visit {nth}");
    }
}

#[test]
fn both_families_are_served_on_one_socket_each() {
    let tracker = OurTracker::start_at("[::]:0", &[] as &[&str]);
    let v4 = |at: SocketAddr| local(at.port());
    let v6 = |at: SocketAddr| SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, at.port()));
    peers(http_announce(v4(tracker.http), &request(1, 1001, Event::Started, 0), ""));
    announced(UdpClient::connect(v6(tracker.udp)).announce(&request(1, 1002, Event::Started, 0)));
    let over_http = peers(http_announce(v6(tracker.http), &request(1, 1003, Event::Started, 5), ""));
    assert_eq!(over_http.peers, [v4(SocketAddr::new(local(0).ip(), 1001)), "[::1]:1002".parse().unwrap()]);
    assert_eq!(over_http.external_ip, Some(std::net::Ipv6Addr::LOCALHOST.into()));
    let over_v4 = announced(UdpClient::connect(v4(tracker.udp)).announce(&request(1, 1004, Event::Started, 5)));
    assert_eq!((over_v4.peers.len(), over_v4.complete, over_v4.incomplete), (1, Some(2), Some(2)));
    let over_v6 = announced(UdpClient::connect(v6(tracker.udp)).announce(&request(1, 1005, Event::Started, 5)));
    assert!(over_v6.peers.len() == 2 && over_v6.peers.iter().all(SocketAddr::is_ipv6), "{over_v6:?}");
}

#[test]
fn the_list_is_read_again_on_sighup_and_a_bad_one_changes_nothing() {
    let lab = Lab::new();
    let list = lab.at("allowed");
    let write = |swarm: u8| std::fs::write(&list, format!("# ours\n{}\n", InfoHash([swarm; 20]))).unwrap();
    write(1);
    let mut tracker = OurTracker::start(&["--allow", text(&list)]);
    let served = |tracker: &OurTracker, swarm| {
        matches!(http_announce(tracker.http, &request(swarm, 1001, Event::Started, 0), ""), Reply::Peers(_))
    };
    assert_eq!((served(&tracker, 1), served(&tracker, 2)), (true, false));
    write(2);
    tracker.signal(Signal::HUP);
    tracker.wait_until_it_says("\"reread\"");
    assert_eq!((served(&tracker, 1), served(&tracker, 2)), (false, true));
    std::fs::write(&list, "not a hash\n").unwrap();
    tracker.signal(Signal::HUP);
    tracker.wait_until_it_says("the old list stays");
    assert_eq!((served(&tracker, 1), served(&tracker, 2)), (false, true));
    let result = tracker.stop().expect_code(0).result().clone();
    assert_eq!(result["refused_unregistered"], 3, "{result}");
}

#[test]
fn what_it_cannot_have_it_says_with_a_number() {
    let lab = Lab::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let holder = std::net::TcpListener::bind(&taken).unwrap();
    let outcome = run(&["tracker", "--http", &taken]).expect_code(6);
    assert!(outcome.stderr.contains(&taken), "{}", outcome.stderr);
    drop(holder);
    run(&["tracker", "--http", "127.0.0.1:0", "--allow", text(&lab.at("missing"))]).expect_code(15);
    let bad = lab.at("bad");
    std::fs::write(&bad, "0123\n").unwrap();
    let outcome = run(&["tracker", "--http", "127.0.0.1:0", "--allow", text(&bad)]).expect_code(2);
    assert!(outcome.stderr.contains("line 1"), "{}", outcome.stderr);
    run(&["tracker", "--interval", "13h"]).expect_code(2);
}

/// A head that never ends is cut, other methods and pages have their answers, and the rest is served meanwhile.
#[test]
fn who_never_finishes_a_request_is_cut_and_holds_up_nobody() {
    let tracker = OurTracker::start::<&str>(&[]);
    let mut slow: Vec<_> = (0..100).map(|_| TcpStream::connect(tracker.http).unwrap()).collect();
    for stream in &mut slow {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(b"GET /announce?info_ha").unwrap();
    }
    peers(http_announce(tracker.http, &request(1, 1001, Event::Started, 0), ""));
    assert!(http_get(tracker.http, "/nowhere").is_some());
    let mut rest = Vec::new();
    for stream in &mut slow {
        stream.read_to_end(&mut rest).unwrap();
    }
    assert_eq!(tracker.stat("announces_http"), 1);
    let metrics = String::from_utf8(http_get(tracker.http, "/metrics").unwrap()).unwrap();
    assert!(metrics.contains("\ntt_tracker_requests_total{kind=\"announce\",transport=\"http\"} 1\n"), "{metrics}");
}

//! What each behaviour does on the wire, seen by a raw client over loopback.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::base::ids::InfoHash;
use crate::codec::tracker::Event;
use crate::faults::loopback::{ANY_PORT, run};
use crate::net::sockets::Sockets;

fn swarm() -> Swarms {
    let swarms = Swarms::default();
    swarms.add_seed(InfoHash(*b"aaaaaaaaaaaaaaaaaaaa"), "10.0.0.1:258".parse().unwrap());
    swarms
}

async fn tracker(behaviour: &str) -> FaultyTracker {
    spawn_http_tracker(&Sockets::any(), ANY_PORT, &swarm(), behaviour.parse().unwrap()).await.unwrap()
}

const QUERY: &str = "?info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&port=6881&uploaded=0&downloaded=0\
    &left=5&event=started&compact=1&numwant=50";

async fn call(tracker: &FaultyTracker, target: &str) -> BoxStream {
    let mut stream = Sockets::any().connect(tracker.addr()).await.unwrap();
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
    stream
}

/// Returns the head and the body of the whole response.
async fn fetch(tracker: &FaultyTracker, target: &str) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    call(tracker, target).await.read_to_end(&mut bytes).await.unwrap();
    let end = bytes.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    (String::from_utf8(bytes[..end].to_vec()).unwrap(), bytes[end..].to_vec())
}

fn announce() -> String {
    format!("/announce{QUERY}")
}

#[test]
fn each_body_word_yields_its_body() {
    let table = [
        ("", "d8:completei1e10:incompletei1e8:intervali1800e5:peers6:\\n\\x00\\x00\\x01\\x01\\x02e"),
        ("no_counts,interval=-1,no_peers", "d8:intervali-1e5:peers0:e"),
        ("no_counts,interval=9223372036854775808,no_peers", "d8:intervali9223372036854775808e5:peers0:e"),
        ("no_counts,interval=text,no_peers", "d8:interval12:half an hour5:peers0:e"),
        ("no_counts,interval=missing,no_peers", "d5:peers0:e"),
        ("no_counts,interval=missing,dictionary", "d5:peersld2:ip8:10.0.0.14:porti258eeee"),
        (
            "no_counts,interval=missing,no_peers,peers=[::1]:258",
            "d5:peers0:6:peers618:\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x01\\x01\\x02e",
        ),
        ("no_counts,interval=missing,no_peers,self_in_peers", "d5:peers6:\\x7f\\x00\\x00\\x01\\x1a\\xe1e"),
        ("no_counts,interval=missing,no_peers,warning=\\x1b[2J", "d5:peers0:15:warning message4:\\x1b[2Je"),
        ("failure=go\\x1b\\x2c\\naway", "d14:failure reason9:go\\x1b,\\nawaye"),
        ("failure=go,truncated=4", "d14:"),
    ];
    run(async {
        for (behaviour, want) in table {
            let tracker = tracker(behaviour).await;
            let (head, body) = fetch(&tracker, &announce()).await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{behaviour}: {head}");
            assert_eq!(body.escape_ascii().to_string(), want, "{behaviour}");
        }
    });
}

#[test]
fn each_head_word_yields_its_head() {
    let table = [
        ("status=404", "HTTP/1.1 404 ", "Content-Length: 2\r\n"),
        ("status=503,retry_after=30", "HTTP/1.1 503 ", "Retry-After: 30\r\n"),
        ("redirect_loop", "HTTP/1.1 302 ", "Location: /announce?info_hash=a"),
        ("redirect_to=ftp://x/y", "HTTP/1.1 302 ", "Location: ftp://x/y?info_hash=a"),
        ("redirects=2", "HTTP/1.1 302 ", "Location: /hop/1/announce?info_hash=a"),
        ("gzip_bomb=1M", "HTTP/1.1 200 ", "Content-Encoding: gzip\r\n"),
        ("html", "HTTP/1.1 200 ", "text/html"),
        ("garbage", "HTTP/1.1 200 ", "Content-Length: 46\r\n"),
        ("drip=1M", "HTTP/1.1 200 ", "Connection: close\r\n"),
    ];
    run(async {
        for (behaviour, status, part) in table {
            let (head, _) = fetch(&tracker(behaviour).await, &announce()).await;
            assert!(head.starts_with(status) && head.contains(part), "{behaviour}: {head}");
        }
        let twice = tracker("redirects=2").await;
        let (head, _) = fetch(&twice, &format!("/hop/1/announce{QUERY}")).await;
        assert!(head.contains("Location: /hop/2/announce?"), "{head}");
        let (head, body) = fetch(&twice, &format!("/hop/2/announce{QUERY}")).await;
        assert!(head.starts_with("HTTP/1.1 200 ") && body.starts_with(b"d8:complete"), "{head}");
        let (head, _) = fetch(&tracker("").await, "/elsewhere").await;
        assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    });
}

#[test]
fn a_huge_body_has_no_content_length_and_is_whole() {
    run(async {
        let tracker = tracker("huge=3M").await;
        let (head, body) = fetch(&tracker, &announce()).await;
        assert!(!head.contains("Content-Length"), "{head}");
        assert_eq!(body.len(), 3 << 20);
        assert!(body.starts_with(b"d8:intervali1800e5:peers3145728:\0"));
        let record = tracker.watch().wait_for(|record| record.bytes > 3 << 20).await.unwrap().clone();
        assert_eq!(record.bytes, (head.len() + body.len()) as u64);
    });
}

#[test]
fn a_hanging_and_a_closing_tracker_send_nothing() {
    run(async {
        let hung = tracker("hang").await;
        let mut stream = call(&hung, &announce()).await;
        hung.watch().wait_for(|record| record.requests == 1).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap(), 0);
        let rude = tracker("close_at_once").await;
        let mut stream = Sockets::any().connect(rude.addr()).await.unwrap();
        assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap(), 0);
        let rude = tracker("reset_at_once").await;
        let mut stream = Sockets::any().connect(rude.addr()).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(rude.record().requests, 0);
    });
}

#[test]
fn every_request_is_recorded() {
    run(async {
        let tracker = tracker("").await;
        fetch(&tracker, &announce()).await;
        fetch(&tracker, &announce().replace("started", "stopped")).await;
        let (_, scraped) = fetch(&tracker, "/scrape?info_hash=aaaaaaaaaaaaaaaaaaaa").await;
        assert_eq!(scraped, b"d5:filesd20:aaaaaaaaaaaaaaaaaaaad8:completei1e10:downloadedi0e10:incompletei0eeee");
        fetch(&tracker, "/announce?info_hash=short").await;
        let record = tracker.record();
        let events: Vec<Event> = record.announces().map(|(_, request)| request.event).collect();
        assert_eq!(events, [Event::Started, Event::Stopped]);
        assert_eq!(record.heard[2].asked, Asked::Scrape(vec![InfoHash(*b"aaaaaaaaaaaaaaaaaaaa")]));
        assert_eq!(record.heard[3].asked, Asked::Nonsense);
        assert_eq!((record.arrivals, record.requests), (4, 4));
        assert_eq!(tracker.url(), format!("http://{}/announce", tracker.addr()));
    });
}

#[test]
fn words_of_the_other_transport_are_refused() {
    run(async {
        let behaviour = "wrong_tid".parse().unwrap();
        assert!(spawn_http_tracker(&Sockets::any(), ANY_PORT, &swarm(), behaviour).await.is_err());
    });
}

//! A tracker over HTTP/1.1 (BEP 3, 7, 23, 48): one request per connection, honest by default.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use awc::http::header::HttpDate;
use bytes::Bytes;
use tokio::task::{JoinSet, spawn_local};
use tokio::time::sleep;

use super::gzip_bomb::gzip_bomb;
use super::pipe::{Over, Pipe, PipePace, zeros};
use super::swarms::Swarms;
use super::torrent::{int, text};
use super::tracker::{Asked, FaultyTracker, RequestDesk, TROUBLE_PAUSE, refuse_unless};
use super::tracker_behaviour::{HttpReply, Interval, TrackerBehaviour, UdpFaults};
use crate::codec::compact;
use crate::codec::tracker::AnnounceReply;
use crate::codec::tracker_http::server::{encode_scrape, parse_query, parse_scrape_query};
use crate::net::{BoxStream, Listen, Net};

/// 1,000 connections at a time.
const MAX_CONNECTIONS: usize = 1000;

/// 16 KiB for the head of a request: servers allow 8 to 16.
const MAX_HEAD_LEN: usize = 16 * 1024;

/// The time from which the date in `Retry-After` is counted: the example of RFC 9110. No clock is read.
const NOW: u64 = 784_111_777;

/// A captive portal's page, with an escape sequence in it.
const HTML: &str = "<!DOCTYPE html><html><title>\x1b[31mWelcome</title><body>Please log in.</body></html>";

/// It starts like bencode: an integer that never ends, then bytes that are not text.
const GARBAGE: &[u8] = b"d8:completei99999999999999999999999999\x00\xff\xfe\x1b[2Jl";

/// Starts a tracker that listens at `at` (port 0: any). Must run where `spawn_local` works.
pub async fn spawn_http_tracker(
    net: &Net,
    at: SocketAddr,
    swarms: &Swarms,
    behaviour: TrackerBehaviour,
) -> io::Result<FaultyTracker> {
    refuse_unless(behaviour.udp == UdpFaults::default(), "an HTTP tracker cannot do what only UDP can")?;
    let listener = net.listen(at).await?;
    let addr = listener.local_addr()?;
    let (desk, record) = RequestDesk::new(swarms.clone(), behaviour);
    let task = spawn_local(accept(listener, Rc::new(desk)));
    Ok(FaultyTracker { addr, url: format!("http://{addr}/announce"), record, task })
}

async fn accept(listener: Box<dyn Listen>, desk: Rc<RequestDesk>) {
    let mut talks = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_ended) = talks.join_next() => {}
            accepted = listener.accept(), if talks.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, from)) => {
                    desk.note_arrival();
                    talks.spawn_local(converse(stream, from, Rc::clone(&desk)));
                }
                Err(_no_descriptors) => sleep(TROUBLE_PAUSE).await,
            },
        }
    }
}

pub(super) async fn converse(stream: BoxStream, from: SocketAddr, desk: Rc<RequestDesk>) {
    let mut pipe = Pipe::new(stream);
    let over = attend(&mut pipe, from, &desk).await.err().unwrap_or(Over::Close);
    pipe.end(over).await;
}

async fn attend(pipe: &mut Pipe, from: SocketAddr, desk: &RequestDesk) -> Result<(), Over> {
    match desk.behaviour.http.reply {
        HttpReply::Close => return Err(Over::Close),
        HttpReply::Reset => return Err(Over::Reset),
        _ => {}
    }
    let target = read_target(pipe).await?;
    let asked = understand(&target);
    desk.hear(from, asked.clone());
    if desk.hangs() {
        return Err(pipe.outlast().await);
    }
    desk.think().await;
    let pace = desk.behaviour.http.drip.map(PipePace::new);
    let mut page = Page::of(desk, &target, &asked, from);
    let mut queue = VecDeque::from([page.head(), page.body]);
    loop {
        let (sent, result) = pipe.send(&mut queue, pace.as_ref().as_slice()).await;
        desk.note_bytes(sent);
        result?;
        if page.zeros == 0 {
            return Ok(());
        }
        let zeros = zeros(page.zeros);
        page.zeros -= zeros.len() as u64;
        queue.push_back(zeros);
    }
}

/// Returns the path and query of a GET.
async fn read_target(pipe: &mut Pipe) -> Result<String, Over> {
    while !pipe.inbox.windows(4).any(|end| end == b"\r\n\r\n") {
        if pipe.inbox.len() > MAX_HEAD_LEN {
            return Err(Over::Lost);
        }
        pipe.read().await?;
    }
    let line = pipe.inbox[..].split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_not_http| Over::Lost)?;
    let target = line.strip_prefix("GET ").and_then(|rest| rest.split_once(' ')).ok_or(Over::Lost)?.0;
    Ok(target.to_owned())
}

fn understand(target: &str) -> Asked {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let asked = match path.rsplit('/').next() {
        Some("announce") => parse_query(query).map(|query| Asked::Announce(query.request)),
        Some("scrape") => parse_scrape_query(query).map(Asked::Scrape),
        _ => return Asked::Nonsense,
    };
    asked.unwrap_or(Asked::Nonsense)
}

/// A response.
#[derive(Debug)]
struct Page {
    status: u32,
    headers: String,
    body: Bytes,
    /// Zeros that follow the body. With them there is no `Content-Length`, so that the client cannot know the size.
    zeros: u64,
}

impl Page {
    fn of(desk: &RequestDesk, target: &str, asked: &Asked, from: SocketAddr) -> Self {
        let http = &desk.behaviour.http;
        let mut page = match &http.reply {
            HttpReply::Garbage => Self::ok(GARBAGE),
            HttpReply::Html => Self { headers: "Content-Type: text/html\r\n".to_owned(), ..Self::ok(HTML) },
            HttpReply::Huge(len) => Self::huge(*len),
            HttpReply::GzipBomb(len) => {
                Self { headers: "Content-Encoding: gzip\r\n".to_owned(), ..Self::ok(gzip_bomb(*len)) }
            }
            HttpReply::RedirectLoop => Self::redirect(target),
            HttpReply::RedirectTo(url) => Self::redirect(&format!("{url}{}", query_of(target))),
            HttpReply::Redirects(hops) if hop_of(target) < *hops => {
                Self::redirect(&format!("/hop/{}/announce{}", hop_of(target) + 1, query_of(target)))
            }
            _ if *asked == Asked::Nonsense => Self { status: 404, ..Self::ok("no such page") },
            _ => Self::ok(body(desk, asked, from)),
        };
        if http.status > 0 {
            page = Self { status: http.status, ..Self::ok("no") };
        }
        if let Some(secs) = http.retry_after {
            page.headers = format!("Retry-After: {secs}\r\n");
        }
        if let Some(secs) = http.retry_date {
            let date = |secs| HttpDate::from(UNIX_EPOCH + Duration::from_secs(secs));
            page.headers = format!("Date: {}\r\nRetry-After: {}\r\n", date(NOW), date(NOW + secs));
        }
        if let Some(most) = desk.behaviour.truncated {
            page.body.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        }
        page
    }

    fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, headers: String::new(), body: Bytes::from(body.into()), zeros: 0 }
    }

    fn redirect(to: &str) -> Self {
        Self { status: 302, headers: format!("Location: {to}\r\n"), ..Self::ok("") }
    }

    fn huge(len: u64) -> Self {
        let start = format!("d8:intervali1800e5:peers{len}:");
        Self { zeros: len.saturating_sub(start.len() as u64), ..Self::ok(start) }
    }

    fn head(&self) -> Bytes {
        let len = if self.zeros == 0 { format!("Content-Length: {}\r\n", self.body.len()) } else { String::new() };
        format!("HTTP/1.1 {} Indeed\r\n{}{len}Connection: close\r\n\r\n", self.status, self.headers).into()
    }
}

fn query_of(target: &str) -> String {
    target.split_once('?').map_or_else(String::new, |(_path, query)| format!("?{query}"))
}

/// Returns the 3 in `/hop/3/announce`.
fn hop_of(target: &str) -> u32 {
    let hop = target.strip_prefix("/hop/").and_then(|rest| rest.split('/').next());
    hop.and_then(|hop| hop.parse().ok()).unwrap_or(0)
}

fn body(desk: &RequestDesk, asked: &Asked, from: SocketAddr) -> Vec<u8> {
    if let Some(reason) = &desk.behaviour.failure {
        let mut out = b"d".to_vec();
        text(&mut out, b"failure reason");
        text(&mut out, &reason.0);
        if let Interval::Digits(digits) = &desk.behaviour.interval {
            text(&mut out, b"interval");
            int(&mut out, digits);
        }
        out.push(b'e');
        return out;
    }
    match asked {
        Asked::Announce(request) => announce_body(&desk.announce(request, from.ip()), &desk.behaviour),
        Asked::Scrape(swarms) => {
            let entries: Vec<_> = swarms.iter().map(|info_hash| desk.swarms.scrape(*info_hash)).collect();
            encode_scrape(&entries)
        }
        Asked::Connect | Asked::Nonsense => Vec::new(),
    }
}

/// Encodes the reply by hand, because the interval may be no number and the text no UTF-8.
fn announce_body(reply: &AnnounceReply, behaviour: &TrackerBehaviour) -> Vec<u8> {
    let mut out = b"d".to_vec();
    let counts = [("complete", reply.complete), ("incomplete", reply.incomplete)];
    for (name, count) in counts.iter().filter(|_| !behaviour.http.no_counts) {
        text(&mut out, name.as_bytes());
        int(&mut out, count.unwrap_or(0));
    }
    if behaviour.interval != Interval::Missing {
        text(&mut out, b"interval");
    }
    match &behaviour.interval {
        Interval::Honest => int(&mut out, Interval::HONEST_SECS),
        Interval::Digits(digits) => int(&mut out, digits),
        Interval::Missing => {}
        Interval::Text => text(&mut out, b"half an hour"),
    }
    text(&mut out, b"peers");
    if behaviour.http.dictionary {
        out.push(b'l');
        for peer in &reply.peers {
            out.extend(b"d2:ip");
            text(&mut out, peer.ip().to_string().as_bytes());
            out.extend(b"4:port");
            int(&mut out, peer.port());
            out.push(b'e');
        }
        if behaviour.listing.cut_list {
            out.extend(b"d2:ip9:192.0.2.9e");
        }
        out.push(b'e');
    } else {
        let (mut v4, v6) = compact::split(&reply.peers);
        if behaviour.listing.cut_list {
            v4.extend([192, 0, 2]);
        }
        text(&mut out, &v4);
        if !v6.is_empty() {
            text(&mut out, b"peers6");
            text(&mut out, &v6);
        }
    }
    if let Some(warning) = &behaviour.http.warning {
        text(&mut out, b"warning message");
        text(&mut out, &warning.0);
    }
    out.push(b'e');
    out
}

#[cfg(test)]
mod tests;

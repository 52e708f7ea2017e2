//! One function for each parser of untrusted bytes. The fuzz targets call them, and a test replays their corpus.
//!
//! Each function takes any bytes, returns whether they were accepted, and panics if the codec breaks a promise:
//! accepted input is encoded and parsed again, streams are cut at other places, paths stay below their folder. The
//! client does not use this module.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Component;

use bytes::BytesMut;
use sha1::{Digest, Sha1};

use super::bencode::{self, BencodeLimits, TreeStep, View};
use super::extended::{self, ExtendedMessage};
use super::http_chunked::Chunked;
use super::http_head::{self, Framing};
use super::metainfo::{Info, Metainfo};
use super::resume::ResumeRecord;
use super::safe_path::{self, NameRules, SafePath};
use super::swarm_state::{SavedState, Seal};
use super::tracker::{AnnounceReply, Reply};
use super::tracker_http::server::{
    AnnounceQuery, encode_announce, encode_failure, encode_scrape, parse_query, parse_scrape_query,
};
use super::tracker_http::{ScrapeReply, announce_url, parse_announce, parse_scrape, scrape_url};
use super::tracker_udp::server::{
    UdpRequest, decode_request, encode_announced, encode_connected, encode_error, encode_scraped,
};
use super::tracker_udp::{self, UdpReply, decode_reply};
use super::wire::{BadMessage, Decoder, Handshake, Message};
use crate::base::safe::{is_harmless, is_joiner};

/// A function that accepts or refuses any input, and panics only if the codec is wrong.
pub type ParserEntry = fn(&[u8]) -> bool;

/// All functions of this module, by the names of their fuzz targets.
pub const ALL: [(&str, ParserEntry); 14] = [
    ("bencode", bencode),
    ("metainfo", metainfo),
    ("wire", wire),
    ("handshake", handshake),
    ("extended", extended),
    ("http_query", http_query),
    ("http_announce", http_announce),
    ("http_scrape", http_scrape),
    ("http_response", http_response),
    ("udp_reply", udp_reply),
    ("udp_request", udp_request),
    ("resume", resume),
    ("safe_path", safe_path),
    ("swarm_state", swarm_state),
];

/// One value, as a peer or a tracker may send it. Accepted if its form is strict.
pub fn bencode(input: &[u8]) -> bool {
    let _file = bencode::scan(input, BencodeLimits::FILE);
    let Ok((view, seen)) = View::scan(input, BencodeLimits::WIRE) else { return false };
    let members = view.items().map(View::raw).chain(view.entries().map(|(_key, value)| value.raw()));
    for raw in members {
        let part = bencode::scan(raw, BencodeLimits::WIRE).expect("a part of a good value is a good value");
        assert_eq!(part.len, raw.len(), "and has nothing behind it");
        assert!(seen.odd_number.is_some() || part.odd_number.is_none(), "what is odd in a part is odd in the whole");
    }
    for (key, value) in view.entries() {
        let raw = bencode::raw_value(input, key);
        assert!(raw == Some(value.raw()) || seen.repeated_key.is_some(), "a key that comes once is found");
    }
    let mut depth: usize = 1;
    for step in view.walk() {
        match step {
            TreeStep::Enter(_) => depth = depth.saturating_add(1),
            TreeStep::Leave => depth = depth.checked_sub(1).expect("what is left was entered"),
            TreeStep::Value(..) => {}
        }
    }
    if bencode::check(input, BencodeLimits::WIRE).is_err() {
        return false;
    }
    // `serde_bencode` does not accept numbers beyond an i64 and keys that are not UTF-8.
    if let Ok(value) = bencode::decode::<serde_bencode::value::Value>(input, BencodeLimits::WIRE) {
        let again = serde_bencode::to_bytes(&value).expect("a value has a form");
        assert!(bencode::scan(&again, BencodeLimits::WIRE).is_ok_and(|scan| scan.sorted), "and a sorted one");
    }
    true
}

/// A `.torrent` file, read with both rules for names. Accepted if it is read with [`NameRules::Native`].
pub fn metainfo(input: &[u8]) -> bool {
    let native = check_metainfo(input, NameRules::Native);
    let portable = check_metainfo(input, NameRules::Portable);
    assert!(portable || !native, "a portable name is there for every name");
    native
}

/// Parses a torrent with this name rule and checks the result. Returns whether it was accepted.
fn check_metainfo(input: &[u8], names: NameRules) -> bool {
    let Ok(meta) = Metainfo::parse_named(input, names) else { return false };
    let mut end: u64 = 0;
    for file in &meta.info.files {
        assert_eq!(file.offset, end, "files follow each other");
        end = end.checked_add(file.len).expect("the total is checked");
        assert_below(&file.path);
    }
    assert_eq!(meta.info.geometry.total_len(), end, "the geometry is that of the files");
    let real: Vec<_> = meta.info.files.iter().filter(|file| !file.padding).map(|file| file.path.as_path()).collect();
    assert_eq!(real.iter().collect::<HashSet<_>>().len(), real.len(), "no two files have one place");
    let _last = meta.info.hashes.get(meta.info.geometry.last_piece());
    let (alone, _warnings) = Info::parse(&meta.info.raw, names).expect("the dictionary is good without its file");
    assert_eq!(alone.info_hash, meta.info.info_hash, "the dictionary is kept byte for byte");
    assert!(meta.warnings.iter().all(|warning| warning.to_string().chars().all(is_shown)), "warnings are safe to show");
    true
}

/// A stream of messages. The first byte is the number of pieces minus 1, the second the length of the parts in which
/// the stream is read again.
pub fn wire(input: &[u8]) -> bool {
    let Some(([pieces, cut], stream)) = input.split_first_chunk::<2>() else { return false };
    let pieces = u32::from(*pieces).saturating_add(1);
    let whole = messages(pieces, stream, stream.len());
    assert_eq!(messages(pieces, stream, usize::from(*cut)), whole, "where a stream is cut does not matter");
    let Ok((list, _left)) = whole else { return false };
    let mut again = BytesMut::new();
    for message in &list {
        message.encode(&mut again);
    }
    let len = again.len();
    assert_eq!(messages(pieces, &again, len), Ok((list, 0)), "messages survive");
    true
}

/// Decodes a stream that arrives in parts of `cut` bytes. Returns the messages and the number of bytes left over.
fn messages(pieces: u32, stream: &[u8], cut: usize) -> Result<(Vec<Message>, usize), BadMessage> {
    let mut decoder = Decoder::new(pieces);
    let (mut buffer, mut list) = (BytesMut::new(), Vec::new());
    for chunk in stream.chunks(cut.max(1)) {
        buffer.extend_from_slice(chunk);
        while let Some(message) = decoder.decode(&mut buffer)? {
            list.push(message);
        }
        assert!(decoder.need() > 0, "no message waits for nothing");
    }
    Ok((list, buffer.len()))
}

/// The first bytes of a connection. Accepted if they are a whole handshake.
pub fn handshake(input: &[u8]) -> bool {
    let Ok(decoded) = Handshake::decode(input) else { return false };
    if let Some(handshake) = decoded {
        assert!(input.starts_with(&handshake.encode()), "a handshake survives");
    }
    decoded.is_some()
}

/// A message of the extension protocol; the first byte is its number.
pub fn extended(input: &[u8]) -> bool {
    let Some((id, payload)) = input.split_first() else { return false };
    let Ok(message) = extended::decode(*id, payload) else { return false };
    if let ExtendedMessage::Pex(pex) = &message {
        assert!(pex.added.len() <= extended::MAX_PEX && pex.dropped.len() <= extended::MAX_PEX, "a flood is cut");
    }
    let again = extended::decode(*id, &message.encode());
    assert_eq!(again.map(settled), Ok(settled(message)), "a message survives");
    true
}

/// The message without what encoding does not keep: the order of the address families, and the number of peers left
/// out.
fn settled(message: ExtendedMessage) -> ExtendedMessage {
    match message {
        ExtendedMessage::Pex(mut pex) => {
            pex.added.sort_unstable();
            pex.dropped.sort_unstable();
            pex.named = 0;
            ExtendedMessage::Pex(pex)
        }
        other => other,
    }
}

/// The query of an announce or a scrape, as a tracker receives it. Accepted if it is either of them.
pub fn http_query(input: &[u8]) -> bool {
    let query = String::from_utf8_lossy(input);
    let announce = parse_query(&query);
    if let Ok(AnnounceQuery { request, .. }) = &announce {
        let url = announce_url("http://t/announce", request);
        let again = url.split_once('?').map(|(_base, query)| parse_query(query));
        assert_eq!(
            again.map(|again| again.map(|again| again.request)),
            Some(Ok(request.clone())),
            "an announce survives"
        );
    }
    let scrape = parse_scrape_query(&query);
    if let Ok(swarms) = &scrape
        && let Some(url) = scrape_url("http://t/announce", swarms)
    {
        let again = url.split_once('?').map_or(Ok(Vec::new()), |(_base, query)| parse_scrape_query(query));
        assert_eq!(again.as_ref(), Ok(swarms), "a scrape survives");
    }
    announce.is_ok() || scrape.is_ok_and(|swarms| !swarms.is_empty())
}

/// The body of a reply to an announce.
pub fn http_announce(input: &[u8]) -> bool {
    match parse_announce(input) {
        Ok(Reply::Peers(reply)) => {
            for compact in [false, true] {
                let again = parse_announce(&encode_announce(&reply, compact));
                assert_eq!(again.map(same_order), Ok(same_order(Reply::Peers(reply.clone()))), "a reply survives");
            }
            true
        }
        Ok(Reply::Failure(failure)) => {
            let again = parse_announce(&encode_failure(&failure));
            assert!(matches!(again, Ok(Reply::Failure(_))), "a failure stays one");
            true
        }
        Err(_refused) => false,
    }
}

/// The reply without what encoding does not keep: the order of the address families, the number of peers left out or
/// unreadable, and the warning, which may have been cut.
fn same_order(reply: Reply) -> Reply {
    match reply {
        Reply::Peers(mut reply) => {
            reply.peers.sort_unstable();
            reply.peers_named = 0;
            reply.peers_unreadable = 0;
            reply.warning = None;
            Reply::Peers(reply)
        }
        failure @ Reply::Failure(_) => failure,
    }
}

/// The body of a reply to a scrape.
pub fn http_scrape(input: &[u8]) -> bool {
    let Ok(reply) = parse_scrape(input) else { return false };
    if let ScrapeReply::Entries(entries) = reply {
        let mut sorted = entries;
        sorted.sort_by_key(|entry| entry.info_hash);
        // A torrent that comes twice is encoded once.
        sorted.dedup_by_key(|entry| entry.info_hash);
        assert_eq!(parse_scrape(&encode_scrape(&sorted)), Ok(ScrapeReply::Entries(sorted)), "a scrape survives");
    }
    true
}

/// The first bytes of an HTTP response and the beginning of its body. Accepted if the head is complete and the body
/// well-formed.
pub fn http_response(input: &[u8]) -> bool {
    let Ok(Some(mut head)) = http_head::read(input) else { return false };
    let (before, rest) = input.split_at_checked(head.len).expect("a head lies in its input");
    let again = http_head::read(&head.text).expect("our form is read").expect("and whole");
    assert_eq!((again.len, &again.text), (head.text.len(), &head.text), "a head survives");
    let cut = before.split_last().map_or(before, |(_last, cut)| cut);
    assert!(matches!(http_head::read(cut), Ok(None)), "without its last byte it is not whole");
    let Framing::Chunked(whole) = &mut head.framing else { return true };
    let (mut body, mut in_parts) = (Vec::new(), Vec::new());
    let outcome = whole.take(rest, &mut body);
    assert!(body.len() <= rest.len(), "a body is not longer than what came");
    let mut parts = Chunked::default();
    let of_parts = rest.chunks(1).try_for_each(|part| parts.take(part, &mut in_parts));
    assert_eq!((&of_parts, &in_parts, parts.is_done()), (&outcome, &body, whole.is_done()), "cuts do not matter");
    outcome.is_ok()
}

/// A datagram of a tracker, read as the reply to the transaction that it names.
pub fn udp_reply(input: &[u8]) -> bool {
    let (_action, rest) = input.split_at_checked(4).unwrap_or((input, &[]));
    let tid = rest.first_chunk().map_or(0, |tid| u32::from_be_bytes(*tid));
    let read = |ipv6| {
        let reply = decode_reply(input, tid, ipv6).ok()?;
        let again = match &reply {
            UdpReply::Connected { connection_id } => encode_connected(tid, *connection_id),
            UdpReply::Announced(reply) => encode_announced(tid, reply, ipv6),
            UdpReply::Scraped(swarms) => encode_scraped(tid, swarms),
            UdpReply::Error(text) => encode_error(tid, text),
        };
        let again = decode_reply(&again, tid, ipv6);
        match (&reply, again) {
            (UdpReply::Announced(reply), Ok(UdpReply::Announced(again))) => assert_announced(reply, &again, ipv6),
            (UdpReply::Error(_), Ok(UdpReply::Error(_))) => {}
            (reply, again) => assert_eq!(again.as_ref(), Ok(reply), "a reply survives"),
        }
        Some(reply)
    };
    read(false).is_some() | read(true).is_some()
}

/// Checks that a reply was encoded completely: peers of the socket's family, and the numbers.
fn assert_announced(reply: &AnnounceReply, again: &AnnounceReply, ipv6: bool) {
    // An IPv4 address inside IPv6 is read as IPv4, and an answer over IPv6 has no place for it.
    let kept: Vec<SocketAddr> = reply.peers.iter().copied().filter(|peer| peer.is_ipv6() == ipv6).collect();
    assert_eq!(again.peers, kept, "peers survive");
    let numbers = |reply: &AnnounceReply| (reply.interval, reply.complete, reply.incomplete);
    assert_eq!(numbers(again), numbers(reply), "numbers survive");
}

/// A datagram of a client to a tracker.
pub fn udp_request(input: &[u8]) -> bool {
    let Ok(request) = decode_request(input) else { return false };
    let again = match &request {
        UdpRequest::Connect { transaction_id } => tracker_udp::encode_connect(*transaction_id),
        UdpRequest::Announce { connection_id, transaction_id, request } => {
            tracker_udp::encode_announce(*connection_id, *transaction_id, request)
        }
        UdpRequest::Scrape { connection_id, transaction_id, swarms } => {
            tracker_udp::encode_scrape(*connection_id, *transaction_id, swarms)
        }
    };
    assert_eq!(decode_request(&again), Ok(request), "a request survives");
    true
}

/// A resume record as it is, and once more with a correct checksum, which a fuzzer would not find by itself.
pub fn resume(input: &[u8]) -> bool {
    let sum: [u8; 20] = Sha1::digest(input).into();
    let sealed = [input, &sum].concat();
    let read = |input: &[u8]| {
        let record = ResumeRecord::decode(input).ok()?;
        assert_eq!(ResumeRecord::decode(&record.encode()).as_ref(), Ok(&record), "a record survives");
        Some(record)
    };
    read(input).is_some() | read(&sealed).is_some()
}

/// The saved state of a tracker as it is, and once more with a correct checksum.
pub fn swarm_state(input: &[u8]) -> bool {
    let sum: [u8; 20] = Sha1::digest(input).into();
    let sealed = [input, &sum].concat();
    let read = |input: &[u8]| {
        let state = SavedState::read(input).ok()?;
        let (mut seal, mut again) = Seal::begin(state.saved_at());
        let mut swarms = Vec::new();
        state.swarms().for_each(|swarm| swarm.encode(&mut swarms));
        seal.add(&swarms);
        again.extend(swarms);
        again.extend(seal.end());
        assert_eq!(again, input, "a state survives");
        Some(())
    };
    read(input).is_some() | read(&sealed).is_some()
}

/// Paths of a torrent: one on each line, components between slashes; and the whole input as a single name. Accepted if
/// the input can be a name.
pub fn safe_path(input: &[u8]) -> bool {
    for names in [NameRules::Native, NameRules::Portable] {
        if let Some(name) = names.component(input) {
            assert_eq!(names.component(name.as_bytes()), Some(name), "a safe name stays itself");
        }
        let lines = input.split(|byte| *byte == b'\n');
        let paths = lines.filter_map(|line| SafePath::from_raw(line.split(|byte| *byte == b'/'), names));
        let mut paths: Vec<_> = paths.collect();
        safe_path::untangle(&mut paths.iter_mut().collect::<Vec<_>>(), names);
        for path in &paths {
            assert_below(path);
        }
        let place = |path: &SafePath| match names {
            NameRules::Native => path.as_str().to_owned(),
            NameRules::Portable => path.as_str().to_lowercase(),
        };
        let places: HashSet<_> = paths.iter().map(place).collect();
        assert_eq!(places.len(), paths.len(), "no two files have one place");
    }
    NameRules::Native.component(input).is_some()
}

/// Whether text that was made safe may contain the character.
fn is_shown(c: char) -> bool {
    is_harmless(c) || is_joiner(c)
}

/// Checks that a path stays below its folder and keeps all limits.
fn assert_below(path: &SafePath) {
    let parts = path.as_path().components();
    assert!(parts.clone().all(|part| matches!(part, Component::Normal(_))), "{path:?} leads elsewhere");
    assert_eq!(parts.count(), path.components().count(), "{path:?} has odd components");
    assert!(path.components().all(|name| name.len() <= safe_path::MAX_COMPONENT_LEN), "{path:?} is too long");
    assert!(path.as_str().len() <= safe_path::MAX_PATH_LEN, "{path:?} is too long");
}

//! The behaviour of a tracker: a plain struct, written as words (`interval=0,dead_peers=200`).
//!
//! The default is an honest tracker. One behaviour serves HTTP and UDP. Faults of only one transport are in a struct of
//! their own, and a tracker of the other transport refuses to start with them.

use std::net::SocketAddr;
use std::time::Duration;

use super::behaviour_syntax::{BehaviourWord, EscapedText, Field, no_value, spoken};
use super::black_hole::dead_addr;
use crate::base::units::parse_bytes;

/// What a tracker does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrackerBehaviour {
    /// Which peers it names.
    pub listing: Listing,
    /// The interval that it sends.
    pub interval: Interval,
    /// It refuses every announce with this text.
    pub failure: Option<EscapedText>,
    /// It never answers.
    pub hang: bool,
    /// It stops answering after this many announces.
    pub hang_after: Option<u64>,
    /// The delay before every answer.
    pub delay: Option<Duration>,
    /// The reply body, or the datagram, is cut after this many bytes.
    pub truncated: Option<u64>,
    /// Faults of HTTP only.
    pub http: HttpFaults,
    /// Faults of UDP only.
    pub udp: UdpFaults,
}

/// Which peers a tracker names besides the swarm, or instead of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a word of its own")]
pub struct Listing {
    /// It names no peers of the swarm.
    pub no_peers: bool,
    /// It names the client that asks.
    pub self_in_peers: bool,
    /// It names private, local and impossible addresses.
    pub local_peers: bool,
    /// How many addresses without a listener it names.
    pub dead_peers: u32,
    /// How many ports of one victim address it names.
    pub victims: u32,
    /// It names these addresses.
    pub peers: Vec<SocketAddr>,
    /// How many extra times it names every peer.
    pub duplicates: u32,
    /// The list ends with a peer that is cut in the middle.
    pub cut_list: bool,
}

/// The interval that a tracker sends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Interval {
    /// Half an hour.
    #[default]
    Honest,
    /// These digits, of any length.
    Digits(String),
    /// No interval.
    Missing,
    /// Text instead of a number.
    Text,
}

/// Faults of HTTP only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpFaults {
    /// What it sends instead of an honest reply.
    pub reply: HttpReply,
    /// The text of a `warning message`.
    pub warning: Option<EscapedText>,
    /// A status other than 200; 0 for 200.
    pub status: u32,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// `Retry-After` as a date, this many seconds ahead.
    pub retry_date: Option<u64>,
    /// Limit in bytes a second.
    pub drip: Option<u64>,
    /// It sends neither `complete` nor `incomplete`.
    pub no_counts: bool,
    /// It names peers in the dictionary model of BEP 3.
    pub dictionary: bool,
}

/// What a tracker sends instead of an honest reply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum HttpReply {
    /// The honest reply.
    #[default]
    Honest,
    /// It closes the connection before the first byte.
    Close,
    /// It resets the connection before the first byte.
    Reset,
    /// Bytes that are not bencode.
    Garbage,
    /// A web page.
    Html,
    /// A body of this many bytes.
    Huge(u64),
    /// A body that inflates to this many bytes.
    GzipBomb(u64),
    /// A redirect to itself.
    RedirectLoop,
    /// A redirect to this URL.
    RedirectTo(String),
    /// This many redirects, then the honest reply.
    Redirects(u32),
}

/// Faults of UDP only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UdpFaults {
    /// Which field of a reply is wrong.
    pub wrong: WrongField,
    /// How many announces are lost.
    pub lose: u32,
    /// There is one byte too many after the peers.
    pub length_lie: bool,
    /// Replies come from another port.
    pub other_port: bool,
}

/// Which field of a UDP reply is wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WrongField {
    /// None.
    #[default]
    Nothing,
    /// The transaction id.
    Transaction,
    /// The action.
    Action,
}

/// At most 100,000 peers are named: ten times T-16, 600 kB of a compact reply.
const MAX_NAMED: usize = 100_000;

/// An address of TEST-NET-1 (RFC 5737), which belongs to no host.
const VICTIM: [u8; 4] = [192, 0, 2, 1];

/// One address of every class that a public tracker must not name (T-19).
const LOCAL: [([u8; 4], u16); 9] = [
    ([10, 0, 0, 1], 6881),
    ([192, 168, 1, 1], 6881),
    ([172, 16, 0, 1], 6881),
    ([127, 0, 0, 1], 22),
    ([169, 254, 169, 254], 80),
    ([224, 0, 0, 1], 6881),
    ([255, 255, 255, 255], 6881),
    ([0, 0, 0, 0], 6881),
    ([203, 0, 113, 5], 0),
];

impl Listing {
    /// Returns the peers to name to `asker`, where an honest tracker would name `honest`.
    pub fn name(&self, honest: Vec<SocketAddr>, asker: SocketAddr) -> Vec<SocketAddr> {
        let mut named = if self.no_peers { Vec::new() } else { honest };
        named.extend(self.self_in_peers.then_some(asker));
        named.extend(LOCAL.iter().filter(|_| self.local_peers).map(|local| SocketAddr::from(*local)));
        named.extend((0..=u16::MAX).map(dead_addr).take(self.dead_peers as usize));
        named.extend((1024..=u16::MAX).map(|port| SocketAddr::from((VICTIM, port))).take(self.victims as usize));
        named.extend(&self.peers);
        let once = named.len();
        let wanted = once.saturating_mul(self.duplicates as usize + 1).min(MAX_NAMED);
        named.iter().copied().cycle().take(wanted).collect()
    }
}

impl Interval {
    /// 30 min: what most trackers send.
    pub const HONEST_SECS: u32 = 1800;

    /// Returns the interval in seconds, if it is a number that fits into 64 bits.
    pub fn secs(&self) -> Option<i64> {
        match self {
            Self::Honest => Some(i64::from(Self::HONEST_SECS)),
            Self::Digits(digits) => digits.parse().ok(),
            Self::Missing | Self::Text => None,
        }
    }
}

impl Field for Interval {
    fn set(&mut self, _word: &str, value: &str) -> Result<(), String> {
        let digits = value.strip_prefix('-').unwrap_or(value);
        *self = match value {
            "missing" => Self::Missing,
            "text" => Self::Text,
            _ if !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                Self::Digits(value.to_owned())
            }
            _ => return Err("an interval is a whole number, `missing` or `text`".to_owned()),
        };
        Ok(())
    }

    fn show(&self, _word: &str) -> Option<String> {
        match self {
            Self::Honest => None,
            Self::Digits(digits) => Some(digits.clone()),
            Self::Missing => Some("missing".to_owned()),
            Self::Text => Some("text".to_owned()),
        }
    }
}

impl Field for HttpReply {
    fn set(&mut self, word: &str, value: &str) -> Result<(), String> {
        *self = match word {
            "huge" => Self::Huge(parse_bytes(value)?),
            "gzip_bomb" => Self::GzipBomb(parse_bytes(value)?),
            "redirect_to" => Self::RedirectTo(value.to_owned()),
            "redirects" => Self::Redirects(value.parse().map_err(|error| format!("{error}"))?),
            "close_at_once" => Self::Close,
            "reset_at_once" => Self::Reset,
            "garbage" => Self::Garbage,
            "html" => Self::Html,
            "redirect_loop" => Self::RedirectLoop,
            _ => return Err("not a reply".to_owned()),
        };
        if self.show(word).is_some_and(|shown| shown.is_empty()) { no_value(value) } else { Ok(()) }
    }

    fn show(&self, word: &str) -> Option<String> {
        match (self, word) {
            (Self::Huge(len), "huge") | (Self::GzipBomb(len), "gzip_bomb") => Some(len.to_string()),
            (Self::RedirectTo(url), "redirect_to") => Some(url.clone()),
            (Self::Redirects(hops), "redirects") => Some(hops.to_string()),
            (Self::Close, "close_at_once")
            | (Self::Reset, "reset_at_once")
            | (Self::Garbage, "garbage")
            | (Self::Html, "html")
            | (Self::RedirectLoop, "redirect_loop") => Some(String::new()),
            _ => None,
        }
    }
}

impl Field for WrongField {
    fn set(&mut self, word: &str, value: &str) -> Result<(), String> {
        *self = if word == "wrong_tid" { Self::Transaction } else { Self::Action };
        no_value(value)
    }

    fn show(&self, word: &str) -> Option<String> {
        let is_it = matches!((self, word), (Self::Transaction, "wrong_tid") | (Self::Action, "wrong_action"));
        is_it.then(String::new)
    }
}

const fn word(
    name: &'static str,
    cites: &'static str,
    says: &'static str,
    field: fn(&mut TrackerBehaviour) -> &mut dyn Field,
) -> BehaviourWord<TrackerBehaviour> {
    BehaviourWord { name, cites, says, field }
}

/// The words of a tracker's behaviour.
#[rustfmt::skip]
pub const WORDS: &[BehaviourWord<TrackerBehaviour>] = &[
    word("hang", "T-03", "never answers", |b| &mut b.hang),
    word("hang_after", "T-25", "answers so many announces, then never again", |b| &mut b.hang_after),
    word("delay", "T-02", "waits before every answer", |b| &mut b.delay),
    word("interval", "T-15", "sends this interval, or none (`missing`), or words (`text`)", |b| &mut b.interval),
    word("failure", "T-09", "refuses everything with this text", |b| &mut b.failure),
    word("truncated", "T-05", "sends so many bytes of its reply (over UDP: T-12)", |b| &mut b.truncated),
    word("no_peers", "W-12", "names nobody", |b| &mut b.listing.no_peers),
    word("self_in_peers", "T-17", "names who is asking", |b| &mut b.listing.self_in_peers),
    word("local_peers", "T-19", "names private, local and impossible addresses", |b| &mut b.listing.local_peers),
    word("dead_peers", "T-18", "names so many addresses where nobody listens", |b| &mut b.listing.dead_peers),
    word("victims", "T-20", "names so many ports of one third party", |b| &mut b.listing.victims),
    word("peers", "T-20", "names these", |b| &mut b.listing.peers),
    word("duplicates", "T-16", "names everybody so many times more", |b| &mut b.listing.duplicates),
    word("cut_list", "T-12", "names half a peer more at the end of a list", |b| &mut b.listing.cut_list),
    word("close_at_once", "T-05", "HTTP: ends the connection before a word is said", |b| &mut b.http.reply),
    word("reset_at_once", "T-01", "HTTP: resets before a word is said", |b| &mut b.http.reply),
    word("garbage", "T-05", "HTTP: sends bytes that are no bencode", |b| &mut b.http.reply),
    word("html", "T-05", "HTTP: sends a web page", |b| &mut b.http.reply),
    word("huge", "T-06", "HTTP: sends a body of this size", |b| &mut b.http.reply),
    word("gzip_bomb", "T-06", "HTTP: sends a body that inflates to this size", |b| &mut b.http.reply),
    word("redirect_loop", "T-07", "HTTP: redirects to itself", |b| &mut b.http.reply),
    word("redirect_to", "T-07", "HTTP: redirects to this URL", |b| &mut b.http.reply),
    word("redirects", "T-07", "HTTP: redirects so many times, then answers", |b| &mut b.http.reply),
    word("status", "T-08", "HTTP: answers with this status", |b| &mut b.http.status),
    word("retry_after", "T-08", "HTTP: says to come back after so many seconds", |b| &mut b.http.retry_after),
    word("retry_date", "T-08", "HTTP: says the same by a date", |b| &mut b.http.retry_date),
    word("warning", "T-10", "HTTP: adds this `warning message`", |b| &mut b.http.warning),
    word("drip", "T-04", "HTTP: sends so many bytes a second", |b| &mut b.http.drip),
    word("no_counts", "W-12", "HTTP: sends neither `complete` nor `incomplete`", |b| &mut b.http.no_counts),
    word("dictionary", "W-12", "HTTP: sends peers in the dictionary model", |b| &mut b.http.dictionary),
    word("wrong_tid", "T-11", "UDP: replies with another transaction id", |b| &mut b.udp.wrong),
    word("wrong_action", "T-11", "UDP: replies with another action", |b| &mut b.udp.wrong),
    word("length_lie", "T-12", "UDP: sends a byte behind the last peer", |b| &mut b.udp.length_lie),
    word("other_port", "T-13", "UDP: replies from another port", |b| &mut b.udp.other_port),
    word("lose", "T-14", "UDP: loses so many announces", |b| &mut b.udp.lose),
];

impl TrackerBehaviour {
    /// Returns the behaviour of an honest tracker.
    pub fn honest() -> Self {
        Self::default()
    }
}

spoken!(TrackerBehaviour);

#[cfg(test)]
mod tests {
    use super::*;

    fn example(name: &str) -> &'static str {
        match name {
            "delay" => "50ms",
            "interval" => "9223372036854775808",
            "failure" | "warning" => "go\\x1b[2J\\x2c away\\n",
            "peers" => "10.0.0.1:6881+[2001:db8::1]:6881",
            "redirect_to" => "ftp://example.org/announce",
            "truncated" | "dead_peers" | "victims" | "duplicates" | "huge" | "gzip_bomb" | "redirects" | "status"
            | "retry_after" | "retry_date" | "drip" | "lose" | "hang_after" => "400",
            _ => "",
        }
    }

    #[test]
    fn every_word_round_trips() {
        for word in WORDS {
            let value = example(word.name);
            let text = if value.is_empty() { word.name.to_owned() } else { format!("{}={value}", word.name) };
            let behaviour: TrackerBehaviour = text.parse().unwrap();
            assert_ne!(behaviour, TrackerBehaviour::honest(), "{text}");
            assert_eq!(behaviour.to_string(), text);
            assert!(word.cites.starts_with("T-") || word.cites.starts_with("W-"), "{word:?}");
        }
    }

    #[test]
    fn intervals_are_numbers_or_named() {
        for (text, secs) in [
            ("", Some(1800)),
            ("interval=0", Some(0)),
            ("interval=-1", Some(-1)),
            ("interval=2147483648", Some(1 << 31)),
            ("interval=9223372036854775808", None),
            ("interval=missing", None),
            ("interval=text", None),
        ] {
            assert_eq!(text.parse::<TrackerBehaviour>().unwrap().interval.secs(), secs, "{text}");
        }
        for bad in ["interval=", "interval=-", "interval=1.5", "interval=soon"] {
            assert!(bad.parse::<TrackerBehaviour>().is_err(), "{bad}");
        }
    }

    #[test]
    fn each_listing_word_names_its_peers() {
        let swarm = vec![SocketAddr::from(([10, 9, 9, 9], 1))];
        let asker = SocketAddr::from(([10, 8, 8, 8], 2));
        let count = |text: &str| text.parse::<TrackerBehaviour>().unwrap().listing.name(swarm.clone(), asker).len();
        for (text, want) in [
            ("", 1),
            ("no_peers", 0),
            ("self_in_peers", 2),
            ("no_peers,local_peers", LOCAL.len()),
            ("dead_peers=200", 201),
            ("victims=200,no_peers", 200),
            ("peers=1.2.3.4:5+1.2.3.4:6", 3),
            ("duplicates=9,self_in_peers", 20),
            ("duplicates=4000000000,dead_peers=65536", MAX_NAMED),
            ("no_peers,duplicates=5", 0),
        ] {
            assert_eq!(count(text), want, "{text}");
        }
    }
}

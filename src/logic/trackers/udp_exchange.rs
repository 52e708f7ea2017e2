//! One exchange with a UDP tracker (BEP 15): connect, ask, and repeat until an answer arrives or the time is over.
//!
//! A datagram that does not belong to the exchange (a wrong transaction, another action, a truncated datagram) is
//! dropped and counted, and the time-out runs on (T-11, T-12). This module knows bytes and times. The shell owns the
//! socket and the address.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::base::ids::InfoHash;
use crate::base::safe::Safe;
use crate::codec::tracker::AnnounceRequest;
use crate::codec::tracker_udp::{UdpReply, decode_reply, encode_announce, encode_connect, encode_scrape, put_url_data};

/// "If a response is not received after 15 * 2 ^ n seconds, the client should retransmit the request" (BEP 15).
const FIRST_WAIT: Duration = Duration::from_secs(15);

/// "where n starts at 0 and is increased up to 8 (3840 seconds) after every retransmission" (BEP 15).
const MAX_DOUBLINGS: u32 = 8;

/// "A client can use a connection ID until one minute after it has received it" (BEP 15).
const CONNECTION_LIFE: Duration = Duration::from_secs(60);

/// The question for the tracker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UdpQuestion {
    /// An announce, and the path and query of the tracker's URL (BEP 41), empty if it has none.
    Announce(AnnounceRequest, String),
    /// Scrape these swarms, at most [`crate::codec::tracker_udp::MAX_SCRAPE`].
    Scrape(Vec<InfoHash>),
}

/// A connection id and the time it was received, for the next exchange with the same tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpConnection {
    id: u64,
    received: Instant,
}

/// Why an exchange failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UdpTrouble {
    /// No valid answer arrived.
    #[error("no answer to {sent} packets")]
    NoAnswer {
        /// Packets sent.
        sent: u32,
    },
    /// The tracker refused, with this text (made safe when shown).
    #[error("the tracker says: {}", Safe::new(.0))]
    Refused(String),
}

/// What the shell must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExchangeEffect {
    /// Send this datagram to the tracker.
    Send(Vec<u8>),
    /// The exchange has ended: the answer ([`UdpReply::Announced`] or [`UdpReply::Scraped`], as asked), or why there
    /// is none.
    Done(Result<UdpReply, UdpTrouble>),
}

/// The state of one exchange.
#[derive(Debug)]
pub struct UdpExchange {
    /// The question.
    ask: UdpQuestion,
    /// Whether the tracker's address is IPv6, so that its peers are.
    ipv6: bool,
    dice: SmallRng,
    connection: Option<UdpConnection>,
    /// Whether the connection id is from an earlier exchange: the tracker may have forgotten it.
    reused: bool,
    phase: Phase,
    /// The transaction of the packet whose answer is awaited. A retransmission keeps it, so that a late answer still
    /// counts.
    transaction: u32,
    /// Retransmissions of this packet.
    doublings: u32,
    /// Packets sent.
    sent: u32,
    /// Datagrams dropped.
    ignored: u32,
    /// When to send the packet again.
    resend_at: Instant,
    /// When the exchange ends without an answer.
    give_up_at: Instant,
    outbox: VecDeque<ExchangeEffect>,
}

/// What the exchange waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting,
    Asking,
    Done,
}

impl UdpExchange {
    /// Starts an exchange: the first datagram is ready to be sent. `known`: the connection of an earlier exchange with
    /// the same tracker. `ipv6`: the family of the tracker's address, which decides how peers are encoded. The
    /// exchange ends after `patience` at the latest.
    pub fn new(
        now: Instant,
        ask: UdpQuestion,
        known: Option<UdpConnection>,
        ipv6: bool,
        patience: Duration,
        seed: u64,
    ) -> Self {
        let mut new = Self {
            ask,
            ipv6,
            dice: SmallRng::seed_from_u64(seed),
            connection: known,
            reused: known.is_some(),
            phase: Phase::Connecting,
            transaction: 0,
            doublings: 0,
            sent: 0,
            ignored: 0,
            resend_at: now,
            give_up_at: now + patience,
            outbox: VecDeque::new(),
        };
        new.begin(now);
        new
    }

    /// A datagram came from the tracker's address.
    pub fn on_datagram(&mut self, now: Instant, datagram: &[u8]) {
        if self.phase == Phase::Done {
            return;
        }
        let reply = decode_reply(datagram, self.transaction, self.ipv6);
        match (self.phase, reply, &self.ask) {
            (Phase::Connecting, Ok(UdpReply::Connected { connection_id }), _) => {
                // A tracker that only ever sends connection ids does not get packets faster for it.
                if self.connection.is_none() {
                    self.doublings = 0;
                }
                self.connection = Some(UdpConnection { id: connection_id, received: now });
                self.reused = false;
                self.pick_phase(now);
                self.send(now);
            }
            (Phase::Asking, Ok(reply @ UdpReply::Announced(_)), UdpQuestion::Announce(..)) => self.finish(Ok(reply)),
            (Phase::Asking, Ok(UdpReply::Scraped(swarms)), UdpQuestion::Scrape(asked))
                if swarms.len() <= asked.len() =>
            {
                self.finish(Ok(UdpReply::Scraped(swarms)));
            }
            // The tracker may have forgotten an old id, or our address may have changed: try a new one.
            (Phase::Asking, Ok(UdpReply::Error(_)), _) if self.reused => {
                self.connection = None;
                self.begin(now);
            }
            (_, Ok(UdpReply::Error(reason)), _) => {
                self.connection = None;
                self.finish(Err(UdpTrouble::Refused(reason)));
            }
            _ => self.ignored = self.ignored.saturating_add(1),
        }
    }

    /// Sends the packet again or ends the exchange. Call it at [`Self::deadline`].
    pub fn on_timeout(&mut self, now: Instant) {
        if self.phase == Phase::Done {
            return;
        }
        if now >= self.give_up_at {
            self.finish(Err(UdpTrouble::NoAnswer { sent: self.sent }));
        } else if now >= self.resend_at {
            self.doublings = (self.doublings + 1).min(MAX_DOUBLINGS);
            if self.phase == Phase::Asking && self.live_connection(now).is_none() {
                self.pick_phase(now);
            }
            self.send(now);
        }
    }

    /// Returns the next effect, or `None`.
    pub fn poll(&mut self) -> Option<ExchangeEffect> {
        self.outbox.pop_front()
    }

    /// When to call [`Self::on_timeout`]. `None` after the end.
    pub fn deadline(&self) -> Option<Instant> {
        (self.phase != Phase::Done).then_some(self.resend_at.min(self.give_up_at))
    }

    /// The connection, for the next exchange with this tracker.
    pub const fn connection(&self) -> Option<UdpConnection> {
        self.connection
    }

    /// The number of dropped datagrams: forgeries, or a confused tracker (T-11).
    pub const fn ignored(&self) -> u32 {
        self.ignored
    }

    /// The number of retransmissions of the present packet ("retry 3").
    pub const fn retries(&self) -> u32 {
        self.doublings
    }

    /// The connection id, if it is not too old.
    fn live_connection(&self, now: Instant) -> Option<u64> {
        let live = |connection: &UdpConnection| now.saturating_duration_since(connection.received) < CONNECTION_LIFE;
        self.connection.filter(live).map(|connection| connection.id)
    }

    /// Begins with connecting or asking, and with the first waiting time.
    fn begin(&mut self, now: Instant) {
        self.doublings = 0;
        self.pick_phase(now);
        self.send(now);
    }

    /// Chooses between connecting and asking, with a new transaction.
    fn pick_phase(&mut self, now: Instant) {
        self.phase = if self.live_connection(now).is_some() { Phase::Asking } else { Phase::Connecting };
        self.transaction = self.dice.random();
    }

    /// Sends the packet of the present phase.
    fn send(&mut self, now: Instant) {
        let packet = match (self.live_connection(now), &self.ask) {
            (None, _) => encode_connect(self.transaction),
            (Some(id), UdpQuestion::Announce(request, url_data)) => {
                let mut packet = encode_announce(id, self.transaction, request);
                put_url_data(&mut packet, url_data);
                packet
            }
            (Some(id), UdpQuestion::Scrape(swarms)) => encode_scrape(id, self.transaction, swarms),
        };
        self.sent = self.sent.saturating_add(1);
        self.resend_at = now + FIRST_WAIT * (1 << self.doublings);
        self.outbox.push_back(ExchangeEffect::Send(packet));
    }

    fn finish(&mut self, outcome: Result<UdpReply, UdpTrouble>) {
        self.phase = Phase::Done;
        self.outbox.push_back(ExchangeEffect::Done(outcome));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::PeerId;
    use crate::codec::tracker::{AnnounceReply, Event};
    use crate::codec::tracker_udp::server::{
        UdpRequest, decode_request, encode_announced, encode_connected, encode_error, encode_scraped,
    };
    use crate::logic::testing::base_instant;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);
    const PATIENCE: Duration = Duration::from_secs(10_000);

    fn announce() -> UdpQuestion {
        let request = AnnounceRequest {
            info_hash: InfoHash([1; 20]),
            peer_id: PeerId([2; 20]),
            port: 6881,
            uploaded: 0,
            downloaded: 0,
            left: 5,
            event: Event::Started,
            key: 7,
            num_want: 50,
            tracker_id: None,
        };
        UdpQuestion::Announce(request, "/announce?pass=key".to_owned())
    }

    fn start(known: Option<UdpConnection>) -> (Instant, UdpExchange) {
        let t0 = base_instant();
        (t0, UdpExchange::new(t0, announce(), known, false, PATIENCE, 1))
    }

    /// The next datagram, as the server decodes it.
    fn sent(exchange: &mut UdpExchange) -> Option<UdpRequest> {
        match exchange.poll()? {
            ExchangeEffect::Send(packet) => Some(decode_request(&packet).unwrap()),
            ExchangeEffect::Done(outcome) => panic!("done: {outcome:?}"),
        }
    }

    fn connect_tid(exchange: &mut UdpExchange) -> u32 {
        match sent(exchange) {
            Some(UdpRequest::Connect { transaction_id }) => transaction_id,
            other => panic!("{other:?}"),
        }
    }

    /// The connection id and the transaction of an announce.
    fn announce_ids(exchange: &mut UdpExchange) -> (u64, u32) {
        match sent(exchange) {
            Some(UdpRequest::Announce { connection_id, transaction_id, .. }) => (connection_id, transaction_id),
            other => panic!("{other:?}"),
        }
    }

    fn connected(t0: Instant, exchange: &mut UdpExchange, id: u64) -> u32 {
        let tid = connect_tid(exchange);
        exchange.on_datagram(t0, &encode_connected(tid, id));
        let (got, tid) = announce_ids(exchange);
        assert_eq!(got, id);
        tid
    }

    fn reply() -> AnnounceReply {
        let peers = vec!["9.8.7.6:5".parse().unwrap()];
        AnnounceReply {
            interval: Some(1800),
            complete: Some(1),
            incomplete: Some(2),
            peers,
            peers_named: 1,
            ..AnnounceReply::default()
        }
    }

    #[test]
    fn a_conversation_is_connect_then_announce() {
        let (t0, mut exchange) = start(None);
        let tid = connected(t0, &mut exchange, 42);
        exchange.on_datagram(t0, &encode_announced(tid, &reply(), false));
        assert_eq!(exchange.poll(), Some(ExchangeEffect::Done(Ok(UdpReply::Announced(reply())))));
        assert_eq!((exchange.poll(), exchange.deadline(), exchange.ignored()), (None, None, 0));
        exchange.on_datagram(t0, &encode_announced(tid, &reply(), false));
        exchange.on_timeout(t0 + PATIENCE);
        assert_eq!(exchange.poll(), None, "done is done");
    }

    #[test]
    fn a_scrape_takes_the_same_way() {
        let (t0, swarms) = (base_instant(), vec![InfoHash([1; 20]), InfoHash([2; 20])]);
        let mut exchange = UdpExchange::new(t0, UdpQuestion::Scrape(swarms), None, false, PATIENCE, 1);
        let tid = connect_tid(&mut exchange);
        exchange.on_datagram(t0, &encode_connected(tid, 1));
        let Some(UdpRequest::Scrape { transaction_id, .. }) = sent(&mut exchange) else { panic!("no scrape") };
        exchange.on_datagram(t0, &encode_scraped(transaction_id, &[(1, 2, 3); 3]));
        assert_eq!((exchange.poll(), exchange.ignored()), (None, 1), "more than was asked for");
        exchange.on_datagram(t0, &encode_scraped(transaction_id, &[(1, 2, 3), (4, 5, 6)]));
        let want = UdpReply::Scraped(vec![(1, 2, 3), (4, 5, 6)]);
        assert_eq!(exchange.poll(), Some(ExchangeEffect::Done(Ok(want))));
    }

    /// T-14: 15 × 2^n seconds, and a new connection id when the old one is a minute old.
    #[test]
    fn silence_is_answered_with_ever_rarer_packets() {
        let (t0, mut exchange) = start(None);
        let mut times = Vec::new();
        let first = connect_tid(&mut exchange);
        for _retry in 0..10 {
            let now = exchange.deadline().unwrap();
            exchange.on_timeout(now);
            times.push((now - t0).as_secs());
            if now < t0 + PATIENCE {
                assert_eq!(connect_tid(&mut exchange), first, "a late answer still counts");
            }
        }
        assert_eq!(times, [15, 45, 105, 225, 465, 945, 1905, 3825, 7665, 10_000]);
        assert_eq!(exchange.poll(), Some(ExchangeEffect::Done(Err(UdpTrouble::NoAnswer { sent: 10 }))));

        let (t0, mut exchange) = start(None);
        let tid = connected(t0, &mut exchange, 9);
        exchange.on_timeout(t0 + SECOND * 15);
        assert_eq!(announce_ids(&mut exchange), (9, tid), "after 15 s, the same packet again");
        exchange.on_timeout(t0 + SECOND * 45);
        assert_eq!(announce_ids(&mut exchange), (9, tid));
        assert_eq!((exchange.retries(), exchange.deadline()), (2, Some(t0 + SECOND * 105)));
        exchange.on_timeout(t0 + SECOND * 105);
        let renewed = connect_tid(&mut exchange);
        assert_ne!(renewed, tid, "after 105 s the connection id has expired");
        exchange.on_datagram(t0 + SECOND * 106, &encode_connected(renewed, 10));
        assert_eq!(announce_ids(&mut exchange).0, 10);
    }

    #[test]
    fn patience_ends_it() {
        let t0 = base_instant();
        let mut exchange = UdpExchange::new(t0, announce(), None, false, SECOND * 30, 1);
        connect_tid(&mut exchange);
        exchange.on_timeout(t0 + SECOND * 15);
        connect_tid(&mut exchange);
        assert_eq!(exchange.deadline(), Some(t0 + SECOND * 30));
        exchange.on_timeout(t0 + SECOND * 29);
        assert_eq!(exchange.poll(), None);
        exchange.on_timeout(t0 + SECOND * 30);
        assert_eq!(exchange.poll(), Some(ExchangeEffect::Done(Err(UdpTrouble::NoAnswer { sent: 2 }))));
    }

    #[test]
    fn a_connection_id_is_used_again_for_a_minute() {
        let (t0, mut exchange) = start(None);
        connected(t0, &mut exchange, 42);
        let known = exchange.connection();
        for (age, is_reused) in [(0, true), (59, true), (60, false), (3600, false)] {
            let now = t0 + SECOND * age;
            let mut next = UdpExchange::new(now, announce(), known, false, PATIENCE, 2);
            let first = sent(&mut next).unwrap();
            assert_eq!(
                matches!(first, UdpRequest::Announce { connection_id: 42, .. }),
                is_reused,
                "after {age} s: {first:?}"
            );
        }
    }

    #[test]
    fn a_forgotten_connection_id_is_replaced_once() {
        let (t0, mut exchange) = start(None);
        connected(t0, &mut exchange, 42);
        let (_, mut next) = start(exchange.connection());
        let (_, tid) = announce_ids(&mut next);
        next.on_datagram(t0, &encode_error(tid, "unknown connection id"));
        let tid = connected(t0, &mut next, 43);
        next.on_datagram(t0, &encode_error(tid, "no \x1b[31mway"));
        let Some(ExchangeEffect::Done(Err(trouble))) = next.poll() else { panic!("not done") };
        assert_eq!(trouble.to_string(), "the tracker says: no \\u{1b}[31mway");
        assert_eq!(next.connection(), None);
    }

    /// T-11: forged and misplaced datagrams.
    #[test]
    fn a_datagram_that_does_not_belong_is_counted_and_the_time_runs_on() {
        let (t0, mut exchange) = start(None);
        let tid = connect_tid(&mut exchange);
        let forgeries = [
            encode_connected(tid ^ 1, 13),
            encode_announced(tid, &reply(), false),
            encode_scraped(tid, &[]),
            encode_error(tid ^ 1, "go away"),
            Vec::new(),
            vec![0xff; 7],
        ];
        for (nth, forgery) in (1..).zip(&forgeries) {
            exchange.on_datagram(t0, forgery);
            assert_eq!((exchange.poll(), exchange.ignored()), (None, nth));
        }
        assert_eq!(exchange.deadline(), Some(t0 + SECOND * 15));
        exchange.on_datagram(t0, &encode_connected(tid, 42));
        let (id, tid) = announce_ids(&mut exchange);
        assert_eq!(id, 42);
        exchange.on_datagram(t0, &encode_connected(tid, 13));
        exchange.on_datagram(t0, &encode_scraped(tid, &[(1, 1, 1)]));
        assert_eq!((exchange.poll(), exchange.ignored()), (None, 8));
    }

    proptest! {
        /// For any datagrams at any time: no panic, at most one end, and packets no closer than the waits of BEP 15,
        /// except for the steps that an answer allows.
        #[test]
        fn any_bytes_are_survived(
            datagrams in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..80), 0u32..40, any::<bool>()), 0..60),
        ) {
            let (mut now, mut exchange) = start(None);
            let (mut ends, mut sends) = (0, 0);
            for (mut bytes, wait, right_tid) in datagrams {
                now += SECOND * wait;
                if right_tid && bytes.len() >= 8 {
                    let action = u32::from(bytes[0] % 4);
                    bytes[..4].copy_from_slice(&action.to_be_bytes());
                    bytes[4..8].copy_from_slice(&exchange.transaction.to_be_bytes());
                }
                exchange.on_datagram(now, &bytes);
                exchange.on_timeout(now);
                while let Some(effect) = exchange.poll() {
                    match effect {
                        ExchangeEffect::Send(_) => sends += 1,
                        ExchangeEffect::Done(_) => ends += 1,
                    }
                }
                prop_assert!(ends <= 1);
                prop_assert_eq!(exchange.deadline().is_none(), ends == 1);
            }
            prop_assert!(sends <= 20, "{} packets", sends);
        }
    }
}

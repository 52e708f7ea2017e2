//! One connection of a hostile (or honest) peer, from the handshake to the end.
//!
//! It decodes with the codec, because the client under test is supposed to be honest. It encodes by hand, because it
//! must be able to break the protocol. It does not know how connections are accepted.

use std::collections::VecDeque;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use super::answers::{Answers, frame, kind, numbers};
use super::behaviour::{Behaviour, Beyond, ChokedRequests, Choking, Greeting, MetadataAnswer, Opening};
use super::extensions::{self, EXTENSION_BIT, EXTENSION_BYTE, MessageNames};
use super::peer::PeerStats;
use super::pipe::{Over, Pipe, PipeLimits, PipePace, zeros};
use super::torrent::Offer;
use crate::base::bitfield::Bitfield;
use crate::base::geometry::BLOCK_LEN;
use crate::base::ids::{InfoHash, PeerId};
use crate::base::limits::MAX_REQUEST_LEN;
use crate::codec::wire::{Decoder, Handshake, Message, RawRequest};
use crate::net::BoxStream;

/// 256 blocks, 4 MiB: what one vectored write takes, headers included.
const BATCH: usize = 256;

/// At most 8,192 requests wait; further ones stay unread.
const MAX_ASKED: usize = 8192;

/// BEP 6: "the third least significant bit in the last reserved byte".
const FAST_BIT: u8 = 0x04;

/// Ten messages a second, where BEP 11 allows one a minute.
const GOSSIP_A_SECOND: u32 = 10;

/// 1,000 requests are built before each flush.
const FLOOD_CHUNK: u32 = 1000;

/// The state that all connections of one peer share.
#[derive(Debug)]
pub(super) struct PeerShared {
    offer: Offer,
    behaviour: Behaviour,
    seed: u64,
    id: PeerId,
    has: Bitfield,
    pace: Option<PipePace>,
    stats: watch::Sender<PeerStats>,
}

impl PeerShared {
    pub(super) fn new(offer: Offer, behaviour: Behaviour, seed: u64, stats: watch::Sender<PeerStats>) -> Self {
        let mut dice = SmallRng::seed_from_u64(seed);
        let mut id: [u8; 20] = *b"-FT0100-............";
        id[8..].fill_with(|| dice.random_range(b'0'..=b'9'));
        for (slot, byte) in id.iter_mut().zip(behaviour.id.iter().flat_map(|text| &text.0)) {
            *slot = *byte;
        }
        let mut has = Bitfield::all(offer.geometry.piece_count());
        for piece in offer.geometry.pieces() {
            if behaviour.partial.is_some_and(|share| !dice.random_bool(share)) {
                has.clear(piece);
            }
        }
        let pace = behaviour.max_rate.map(PipePace::new);
        Self { offer, behaviour, seed, id: PeerId(id), has, pace, stats }
    }

    pub(super) fn note(&self, change: impl FnOnce(&mut PeerStats)) {
        self.stats.send_modify(change);
    }

    fn handshake(&self, caller: &Handshake) -> [u8; Handshake::LEN] {
        let mut reserved = [0, 0, 0, 0, 0, 0, 0, if self.behaviour.speaks_fast() { FAST_BIT } else { 0 }];
        if self.behaviour.speaks_extensions() {
            reserved[EXTENSION_BYTE] = EXTENSION_BIT;
        }
        let greeting = self.behaviour.greeting;
        let info_hash =
            if greeting == Greeting::WrongHash { InfoHash(caller.info_hash.0.map(|b| !b)) } else { caller.info_hash };
        let peer_id = if greeting == Greeting::OwnId { caller.peer_id } else { self.id };
        let mut bytes = Handshake { reserved, info_hash, peer_id }.encode();
        if greeting == Greeting::WrongProtocol {
            bytes[1..20].copy_from_slice(b"GnutellaTorrent v99");
        }
        bytes
    }
}

/// Runs one connection until one side ends it. `nth` gives each connection its own random numbers.
pub(super) async fn converse(stream: BoxStream, shared: Rc<PeerShared>, nth: u64) {
    let dice = SmallRng::seed_from_u64(shared.seed ^ nth.rotate_left(32));
    let behaviour = &shared.behaviour;
    let mut talk = Conversation {
        pipe: Pipe::new(stream),
        drip: behaviour.drip.map(PipePace::new),
        asked: VecDeque::new(),
        queue: VecDeque::new(),
        answers: Answers::new(shared.offer.clone(), behaviour.clone(), dice),
        offered: 0,
        decoder: Decoder::new(shared.offer.geometry.piece_count()),
        choked: true,
        fast: false,
        answered: 0,
        names: MessageNames::default(),
        shared: Rc::clone(&shared),
    };
    let over = talk.run().await.err().unwrap_or(Over::Lost);
    talk.pipe.end(over).await;
    shared.note(|stats| match over {
        Over::Reset => stats.resets += 1,
        Over::Close => stats.closes += 1,
        Over::Lost => stats.lost += 1,
    });
}

struct Conversation {
    shared: Rc<PeerShared>,
    pipe: Pipe,
    drip: Option<PipePace>,
    /// Requests that were not answered yet.
    asked: VecDeque<RawRequest>,
    /// Frames to send.
    queue: VecDeque<Bytes>,
    answers: Answers,
    /// The piece that was announced last, when pieces are announced one by one (BEP 16).
    offered: u32,
    decoder: Decoder,
    /// Whether we choke the other side.
    choked: bool,
    /// Whether both sides speak the Fast extension (BEP 6).
    fast: bool,
    /// Blocks sent on this connection.
    answered: u64,
    /// The message ids that the other side gave to its extensions.
    names: MessageNames,
}

impl Conversation {
    async fn run(&mut self) -> Result<(), Over> {
        self.greet().await?;
        let Behaviour { slice, reset_every: reset_after, close_after, .. } = self.shared.behaviour;
        self.pipe.limit(PipeLimits { slice, reset_after, close_after });
        self.open();
        self.flush().await?;
        if let Some(len) = self.shared.behaviour.huge_length {
            self.send_huge(len).await?;
        }
        self.flood_interest(self.shared.behaviour.interest_flood).await?;
        self.flood(self.shared.behaviour.request_flood).await?;
        if self.shared.behaviour.deaf {
            pending::<()>().await;
        }
        self.serve().await
    }

    async fn greet(&mut self) -> Result<(), Over> {
        let caller = loop {
            if let Some(caller) = Handshake::decode(&self.pipe.inbox).map_err(|_refusal| Over::Lost)? {
                break caller;
            }
            self.pipe.read().await?;
        };
        if caller.info_hash != self.shared.offer.info_hash {
            return Err(Over::Lost);
        }
        self.fast = self.shared.behaviour.speaks_fast() && caller.reserved[7] & FAST_BIT != 0;
        drop(self.pipe.inbox.split_to(Handshake::LEN));
        self.shared.note(|stats| stats.handshakes += 1);
        let ours = Bytes::copy_from_slice(&self.shared.handshake(&caller));
        match self.shared.behaviour.greeting {
            Greeting::Silent => return Err(self.pipe.outlast().await),
            Greeting::Slow(pause) => {
                for at in 0..ours.len() {
                    self.queue.push_back(ours.slice(at..=at));
                    self.flush().await?;
                    sleep(pause).await;
                }
            }
            _ => {
                self.queue.push_back(ours);
                self.flush().await?;
            }
        }
        if self.shared.behaviour.greeting == Greeting::Reset { Err(Over::Reset) } else { Ok(()) }
    }

    /// Queues everything that is sent before the first request: the opening, and messages that the behaviour adds.
    fn open(&mut self) {
        let shared = Rc::clone(&self.shared);
        let said = if shared.behaviour.lie_have { Bitfield::all(shared.has.piece_count()) } else { shared.has.clone() };
        let bitfield = frame(kind::BITFIELD, said.as_bytes());
        let queue = &mut self.queue;
        match shared.behaviour.opening {
            Opening::Bitfield => queue.push_back(bitfield),
            Opening::Nothing => {}
            Opening::Haves => queue.push_back(haves(&said)),
            Opening::OneByOne => queue.push_back(frame(kind::HAVE, &numbers([self.offered]))),
            Opening::HaveAll => queue.push_back(frame(kind::HAVE_ALL, &[])),
            Opening::TooLong => queue.push_back(frame(kind::BITFIELD, &[said.as_bytes(), &[0]].concat())),
            Opening::TooShort => queue.push_back(frame(kind::BITFIELD, &said.as_bytes()[1..])),
            Opening::SpareBits => queue.push_back(frame(kind::BITFIELD, &with_spare_bit(&said))),
            Opening::Twice => queue.extend([bitfield.clone(), bitfield]),
            Opening::Late => queue.extend([frame(kind::HAVE, &numbers([0])), bitfield]),
            Opening::AfterHaveAll => queue.extend([frame(kind::HAVE_ALL, &[]), bitfield]),
        }
        let beyond = numbers([said.piece_count()]);
        match shared.behaviour.beyond {
            Beyond::Nothing => {}
            Beyond::Have => queue.push_back(frame(kind::HAVE, &beyond)),
            Beyond::Suggest => queue.push_back(frame(kind::SUGGEST, &beyond)),
            Beyond::AllowedFast => queue.push_back(frame(kind::ALLOWED_FAST, &beyond)),
        }
        let allowed = (0..shared.behaviour.allow).map(|nth| nth % said.piece_count());
        queue.extend(allowed.map(|piece| frame(kind::ALLOWED_FAST, &numbers([piece]))));
        queue.extend(shared.behaviour.unknown_ids.iter().map(|id| frame(*id, b"unheard of")));
        queue.extend(extensions::handshake(&shared.behaviour));
        queue.extend(extensions::metadata(self.names, shared.behaviour.metadata));
        if matches!(shared.behaviour.choking, Choking::First | Choking::Forever) {
            queue.push_back(frame(kind::CHOKE, &[]));
        }
    }

    /// Sends a message of this length, until the other side stops reading.
    async fn send_huge(&mut self, len: u64) -> Result<(), Over> {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        let mut head = BytesMut::new();
        head.put_u32(len);
        head.put_u8(kind::PIECE);
        self.queue.push_back(head.freeze());
        let mut left = u64::from(len.saturating_sub(1));
        while left > 0 {
            let zeros = zeros(left);
            left -= zeros.len() as u64;
            self.queue.push_back(zeros);
            self.flush().await?;
        }
        self.flush().await
    }

    async fn flood_interest(&mut self, changes: u32) -> Result<(), Over> {
        for nth in 0..changes {
            let is_interested = nth % 2 == 0;
            self.queue.push_back(frame(if is_interested { kind::INTERESTED } else { kind::NOT_INTERESTED }, &[]));
            if nth % FLOOD_CHUNK == 0 {
                self.flush().await?;
            }
        }
        self.flush().await
    }

    async fn flood(&mut self, requests: u32) -> Result<(), Over> {
        if requests == 0 {
            return Ok(());
        }
        self.queue.push_back(frame(kind::INTERESTED, &[]));
        let len = self.shared.behaviour.request_len.unwrap_or(u64::from(BLOCK_LEN));
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        let pieces = self.shared.offer.geometry.piece_count();
        for nth in 0..requests {
            self.queue.push_back(frame(kind::REQUEST, &numbers([nth % pieces, 0, len])));
            if nth % FLOOD_CHUNK == 0 {
                self.flush().await?;
            }
        }
        self.flush().await
    }

    async fn serve(&mut self) -> Result<(), Over> {
        let mut flaps = match self.shared.behaviour.choking {
            Choking::Flap(times) => Some(ticks(Duration::from_secs(1) / (2 * times))),
            _ => None,
        };
        let named = self.shared.behaviour.pex_flood;
        let mut gossip = (named > 0).then(|| ticks(Duration::from_secs(1) / GOSSIP_A_SECOND));
        let mut gossiped = 0;
        loop {
            self.hear().await?;
            tokio::select! {
                biased;
                () = tick(&mut flaps) => {
                    self.choke(!self.choked);
                    self.flush().await?;
                }
                () = tick(&mut gossip) => {
                    gossiped += 1;
                    self.queue.push_back(extensions::pex(self.names, named.div_ceil(GOSSIP_A_SECOND), gossiped));
                    self.flush().await?;
                }
                read = self.pipe.read() => read?,
            }
        }
    }

    /// Decodes everything in the inbox and answers it.
    async fn hear(&mut self) -> Result<(), Over> {
        self.understand()?;
        while !self.asked.is_empty() {
            let batch = if self.shared.pace.is_some() || self.drip.is_some() { 1 } else { BATCH };
            let next: Vec<RawRequest> = self.asked.drain(..batch.min(self.asked.len())).collect();
            self.answer(&next).await?;
            self.pipe.read_ready().await?;
            self.understand()?;
        }
        self.answer(&[]).await
    }

    /// Decodes the messages in the inbox. Requests are added to `asked`, and removed if they are cancelled before their
    /// turn.
    fn understand(&mut self) -> Result<(), Over> {
        while self.asked.len() < MAX_ASKED
            && let Some(message) = self.decoder.decode(&mut self.pipe.inbox).map_err(|_refusal| Over::Lost)?
        {
            match message {
                Message::Interested
                    if matches!(self.shared.behaviour.choking, Choking::OnInterest | Choking::First) =>
                {
                    self.choke(false);
                }
                Message::Request(request) => self.asked.push_back(request),
                Message::Cancel(request) => self.asked.retain(|other| *other != request),
                Message::Extended { id: 0, payload } => self.names.learn(&payload),
                Message::Extended { .. } if self.shared.behaviour.metadata != MetadataAnswer::Nothing => {
                    self.queue.extend(extensions::metadata(self.names, self.shared.behaviour.metadata));
                }
                Message::Have(piece) if piece == self.offered && self.shared.behaviour.opening == Opening::OneByOne => {
                    self.offered += 1;
                    if self.offered < self.shared.has.piece_count() {
                        self.queue.push_back(frame(kind::HAVE, &numbers([self.offered])));
                    }
                }
                Message::Piece { data, .. } => self.shared.note(|stats| stats.received += data.len() as u64),
                _ => {}
            }
        }
        Ok(())
    }

    fn choke(&mut self, choke: bool) {
        if self.choked == choke {
            return;
        }
        let is_first = self.answered == 0 && !choke;
        self.choked = choke;
        self.queue.push_back(frame(if choke { kind::CHOKE } else { kind::UNCHOKE }, &[]));
        if is_first {
            self.push_unrequested();
        }
    }

    /// Queues blocks that were not requested, from the start of the torrent on.
    fn push_unrequested(&mut self) {
        let geometry = self.shared.offer.geometry;
        let blocks = geometry.pieces().flat_map(|piece| geometry.blocks(piece));
        for block in blocks.take(self.shared.behaviour.unrequested as usize) {
            if let Some(range) = geometry.parse_range(block.piece().get(), block.begin(), block.len()) {
                let sent = self.answers.put(range, &mut self.queue);
                self.shared.note(|stats| stats.lies += sent.blocks);
            }
        }
    }

    async fn answer(&mut self, asked: &[RawRequest]) -> Result<(), Over> {
        if !asked.is_empty() {
            self.shared.note(|stats| stats.requests += asked.len() as u64);
            if let Some(delay) = self.shared.behaviour.delay {
                sleep(delay).await;
            }
        }
        let (mut blocks, mut lies) = (0, 0);
        for request in asked {
            if self.choked {
                self.reject_if_spoken(*request);
                continue;
            }
            if self.shared.behaviour.snub_after.is_some_and(|most| self.answered >= most) {
                break;
            }
            let range = self.shared.offer.geometry.parse_range(request.piece, request.begin, request.len);
            let range = range.filter(|range| range.len() <= MAX_REQUEST_LEN).ok_or(Over::Lost)?;
            if self.shared.has.has(range.piece()) {
                let sent = self.answers.put(range, &mut self.queue);
                blocks += sent.blocks;
                lies += sent.lies;
                self.answered += 1;
            } else {
                self.queue.push_back(frame(kind::REJECT, &numbers([request.piece, request.begin, request.len])));
                lies += u64::from(self.shared.behaviour.lie_have);
            }
        }
        // Counted even if the connection ends before all of it is sent: a client that detects a lie may close it at
        // once.
        let flushed = self.flush().await;
        if blocks + lies > 0 {
            self.shared.note(|stats| {
                stats.blocks += blocks;
                stats.lies += lies;
            });
        }
        flushed
    }

    /// "A peer that chokes must reject the requests it has" (BEP 6).
    fn reject_if_spoken(&mut self, RawRequest { piece, begin, len }: RawRequest) {
        if self.fast && self.shared.behaviour.choked_requests == ChokedRequests::AsSpoken {
            self.queue.push_back(frame(kind::REJECT, &numbers([piece, begin, len])));
        }
    }

    async fn flush(&mut self) -> Result<(), Over> {
        let peer_pace = self.shared.pace.as_ref();
        let paces: Vec<&PipePace> = peer_pace.into_iter().chain(&self.drip).collect();
        let (sent, result) = self.pipe.send(&mut self.queue, &paces).await;
        if sent > 0 {
            self.shared.note(|stats| stats.bytes += sent);
        }
        result
    }
}

/// Returns one `have` for each piece.
fn haves(said: &Bitfield) -> Bytes {
    let mut out = BytesMut::new();
    for piece in said.iter_ones() {
        out.put_slice(&frame(kind::HAVE, &numbers([piece])));
    }
    out.freeze()
}

/// Returns the bitfield with its last spare bit set, or with an extra byte if it has no spare bit.
fn with_spare_bit(said: &Bitfield) -> Vec<u8> {
    let mut bytes = said.as_bytes().to_vec();
    match bytes.last_mut() {
        Some(last) if !said.piece_count().is_multiple_of(8) => *last |= 1,
        _ => bytes.push(1),
    }
    bytes
}

/// Waits for the next tick; forever if there is no interval.
async fn tick(ticks: &mut Option<Interval>) {
    match ticks {
        Some(ticks) => drop(ticks.tick().await),
        None => pending().await,
    }
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

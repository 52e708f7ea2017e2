//! The state of the protocol with one peer after the handshake: choking, interest, requests and answers (BEP 3, BEP
//! 6).
//!
//! This module knows the messages and the rules. It knows neither the socket nor the other peers. What the scheduler
//! must know is emitted as a [`SchedulerNotice`]. Decisions for the whole torrent come in through `on_grant`,
//! `on_cancel` and `on_interest`.

mod allowance;
mod cost;
mod extended;
mod fast;
mod haves;
mod incoming;
mod stance;
mod super_seeding;
mod uploading;
mod values;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::base::bitfield::Bitfield;
use crate::base::disconnect::DisconnectReason;
use crate::base::geometry::{BlockAddr, PieceIndex};
use crate::base::limits::{KEEP_ALIVE_EVERY, SILENCE_TIMEOUT};
use crate::codec::wire::{Message, RawRequest};
use crate::logic::peer::allowed_fast::GrantCounts;
use crate::logic::peer::received_block::ReceivedBlock;
use crate::logic::peer::requests::{Granted, MOST_DEPTH, Pipeline, USUAL_REQQ};
use crate::logic::peer::uploads::Uploads;
use crate::logic::peers::upload_counts::UploadCounts;
use crate::logic::rate::Rate;

use allowance::Budget;
use cost::Cost;
use extended::Extensions;
use fast::Fast;
use haves::Haves;
use stance::{Deafness, Stance};
pub use values::{PeerEffect, PeerView, SchedulerNotice, Terms};

/// After one minute in which the socket takes no byte of what is queued, the connection is closed (P-21).
const WRITE_STALL: Duration = Duration::from_secs(60);

/// 60 unknown messages a minute are tolerated: far more than any client with unsupported extensions sends (P-10,
/// W-04).
const UNKNOWN_A_MINUTE: u32 = 60;

/// 4,096 rejects a minute for requests that are over are tolerated: as many as can ever be under way. They are no
/// fault: a peer may be slow to answer, and libtorrent tolerates all of them.
const STRAY_REJECTS_A_MINUTE: u32 = MOST_DEPTH;

/// The protocol state of one connection.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "the four bits of BEP 3 are four independent bits")]
pub struct PeerProtocol {
    /// What both handshakes settled.
    terms: Terms,
    /// The pieces that the peer is told we have.
    have: Bitfield,
    /// All pieces that we have, while the peer is told only of those in `have` (BEP 16).
    hidden: Option<Box<Bitfield>>,
    /// The pieces that the peer has.
    peer_have: Bitfield,
    /// Whether the peer has said what it has: a second bitfield is a violation (P-07).
    told_pieces: bool,
    /// Whether the scheduler has welcomed the peer.
    welcomed: bool,
    am_choking: bool,
    am_interested: bool,
    peer_choking: bool,
    peer_interested: bool,
    /// Our requests at the peer.
    pipeline: Pipeline,
    /// The depth of the last [`SchedulerNotice::Depth`].
    depth_told: u32,
    /// The Fast extension.
    fast: Fast,
    /// The extension protocol.
    extensions: Extensions,
    /// The `have` messages to the peer.
    haves: Haves,
    /// The state messages to the peer, and its interest.
    stance: Stance,
    /// Whether the peer reads what we send.
    deafness: Deafness,
    /// What the peer's messages cost us.
    cost: Cost,
    /// Whether the scheduler was told to keep to the pieces that the peer allows.
    within_told: bool,
    /// The upload counts of the torrent.
    given: UploadCounts,
    /// The bytes given to choked newcomers of each network.
    ledger: GrantCounts,
    /// The requests of the peer. Made at the first one.
    uploads: Option<Box<Uploads>>,
    /// Blocks that were received without a request.
    unasked: u32,
    /// Unknown messages of the last minute.
    unknown: Budget,
    /// Rejects of the last minute for requests that are over.
    stray_rejects: Budget,
    /// Whether a requested block was ever received.
    delivered: bool,
    /// The rate of received blocks. Made with the first one, since most connections of a large swarm carry none.
    down: Option<Box<Rate>>,
    /// The rate of all bytes that the socket took since the peer's first request.
    up: Option<Box<Rate>>,
    /// Bytes of blocks given to the socket.
    sent: u64,
    /// Like `sent`, with the bytes of a whole block for every smaller request.
    charged: u64,
    /// Bytes that the socket took since the first block was given to it, up to one block.
    taken: u64,
    /// When a message last arrived.
    last_heard: Instant,
    /// When a message was last sent.
    last_sent: Instant,
    /// Since when the socket takes nothing although bytes wait.
    stalled_since: Option<Instant>,
    /// Bytes that wait for the socket.
    unsent: usize,
    /// Whether the connection is to be closed.
    left: bool,
    effects: VecDeque<PeerEffect>,
}

impl PeerProtocol {
    /// The state after both handshakes.
    pub fn new(now: Instant, terms: Terms) -> Self {
        let pieces = terms.geometry.piece_count();
        Self {
            terms,
            have: Bitfield::none(pieces),
            hidden: None,
            peer_have: Bitfield::none(pieces),
            told_pieces: false,
            welcomed: false,
            am_choking: true,
            am_interested: false,
            peer_choking: true,
            peer_interested: false,
            pipeline: Pipeline::new(USUAL_REQQ),
            depth_told: 0,
            fast: Fast::new(terms.fast),
            extensions: Extensions::new(terms.extended),
            haves: Haves::default(),
            stance: Stance::new(now),
            deafness: Deafness::default(),
            cost: Cost::new(now),
            within_told: false,
            given: UploadCounts::default(),
            ledger: GrantCounts::default(),
            uploads: None,
            unasked: 0,
            unknown: Budget::a_minute(now, UNKNOWN_A_MINUTE),
            stray_rejects: Budget::a_minute(now, STRAY_REJECTS_A_MINUTE),
            delivered: false,
            down: None,
            up: None,
            sent: 0,
            charged: 0,
            taken: 0,
            last_heard: now,
            last_sent: now,
            stalled_since: None,
            unsent: 0,
            left: false,
            effects: VecDeque::new(),
        }
    }

    /// Counts uploads together with the other connections of the torrent.
    pub fn share(&mut self, given: UploadCounts, ledger: GrantCounts) {
        (self.given, self.ledger) = (given, ledger);
    }

    /// Returns the next effect, or `None`.
    pub fn poll(&mut self) -> Option<PeerEffect> {
        let next = self.effects.pop_front();
        if next.is_none() && self.is_idle() {
            self.effects = VecDeque::new();
        }
        next
    }

    /// Whether no block is under way or requested in either direction. Then no queue is kept.
    pub fn is_idle(&self) -> bool {
        self.pipeline.outstanding() == 0 && self.uploads.as_ref().is_none_or(|uploads| uploads.is_empty())
    }

    /// When to call [`PeerProtocol::on_timeout`] at the latest. `None` never occurs.
    pub fn deadline(&self) -> Option<Instant> {
        let quiet = [self.last_heard + SILENCE_TIMEOUT, self.last_sent + KEEP_ALIVE_EVERY];
        let stalled = self.stalled_since.map(|since| since + WRITE_STALL);
        let held = [self.deafness.deadline(), self.cost.held_until(), self.interest_due()].into_iter().flatten();
        quiet.into_iter().chain(stalled).chain(self.pipeline.deadline()).chain(held).min()
    }

    /// The four bits of BEP 3: am choking, am interested, peer choking, peer interested.
    pub const fn bits(&self) -> [bool; 4] {
        [self.am_choking, self.am_interested, self.peer_choking, self.stance.peer_interested()]
    }

    /// The state for reports and metrics.
    pub fn view(&self, now: Instant) -> PeerView {
        PeerView {
            am_choking: self.am_choking,
            am_interested: self.am_interested,
            peer_choking: self.peer_choking,
            peer_interested: self.stance.peer_interested(),
            pieces: self.peer_have.ones(),
            outstanding: self.pipeline.outstanding(),
            snubs: self.pipeline.is_snubbed(now),
            down_bps: bps(self.down.as_deref(), now),
            up_bps: bps(self.up.as_deref(), now),
            sent: self.sent,
            charged: self.charged,
            asks: self.uploads.as_ref().is_some_and(|uploads| !uploads.is_empty()),
        }
    }

    /// A scheduler has accepted the peer and says what we have. Until then the peer is sent nothing. A second welcome
    /// comes from a scheduler that was restarted.
    pub fn on_welcome(&mut self, now: Instant, have: Bitfield) {
        let again = std::mem::replace(&mut self.welcomed, true);
        let have = if self.terms.super_seed { self.hide(have) } else { have };
        let before = std::mem::replace(&mut self.have, have);
        if !again {
            self.introduce_ourselves(now);
        }
        if again {
            self.tell_new(now, &before);
            self.tell_lost(now, &before);
            // A new scheduler does not know the earlier requests. Their blocks are accepted when they arrive late.
            self.pipeline.on_choked(now);
            if self.takes_requests() {
                self.pipeline.on_unchoked();
            }
        }
        if self.told_pieces {
            self.tell_all_progress();
            self.effects.push_back(PeerEffect::Report(SchedulerNotice::Bitfield(self.peer_have.clone())));
        }
        self.depth_told = 0;
        self.within_told = false;
        self.give_fast_pieces(now);
        self.settle();
    }

    /// Handles received messages in order. Messages before a violation still count.
    pub fn on_messages(&mut self, now: Instant, messages: impl IntoIterator<Item = Message>) {
        self.last_heard = now;
        let mut batch = Batch::default();
        for message in messages {
            if self.left {
                break;
            }
            self.on_message(now, message, &mut batch);
        }
        self.tell_interest_of_theirs(now);
        self.report(batch);
        self.give_fast_pieces(now);
        self.settle();
    }

    /// The scheduler grants blocks: they are requested.
    pub fn on_grant(&mut self, now: Instant, blocks: &[BlockAddr]) {
        let Self { peer_choking, fast, pipeline, .. } = self;
        // The peer's choke was under way when these were granted.
        let choked_away = |block: &&BlockAddr| *peer_choking && !fast.taken().contains(&block.piece());
        let allowed = blocks.iter().filter(|block| !choked_away(block));
        let Granted { send, mut refuse } = pipeline.on_granted(now, allowed.copied());
        refuse.extend(blocks.iter().filter(choked_away));
        for block in send {
            self.send(now, Message::Request(raw(block)));
        }
        if !refuse.is_empty() {
            self.give_back(refuse);
        }
        self.settle();
    }

    /// The scheduler received these blocks from another peer (endgame): they are cancelled.
    pub fn on_cancel(&mut self, now: Instant, blocks: &[BlockAddr]) {
        for block in blocks {
            if self.pipeline.on_cancelled(now, *block) {
                self.send(now, Message::Cancel(raw(*block)));
                self.depth_told = 0;
            }
        }
        self.settle();
    }

    /// Sets whether the peer has a piece that we want.
    pub fn on_interest(&mut self, now: Instant, interested: bool) {
        self.am_interested = interested;
        self.tell_stance(now);
        self.settle();
    }

    /// The socket took `taken` bytes; `unsent` bytes still wait.
    pub fn on_sent(&mut self, now: Instant, taken: usize, unsent: usize) {
        self.unsent = unsent;
        self.fast.on_sent(unsent);
        if self.uploads.is_some() {
            self.up.get_or_insert_with(|| Box::new(Rate::new(now))).add(now, taken as u64);
        }
        self.haves.on_sent(unsent);
        self.stance.on_sent(unsent);
        self.tell_stance(now);
        self.tell_owed(now);
        self.count_taken(taken);
        self.stalled_since = match (unsent, taken) {
            (0, _) => None,
            (_, 0) => self.stalled_since.or(Some(now)),
            _ => Some(now),
        };
        self.give(now);
        self.settle();
    }

    /// Our own rate limit kept us from reading until `until`: up to then no answer of the peer is late.
    pub fn on_unread(&mut self, until: Instant) {
        self.last_heard = self.last_heard.max(until);
        self.pipeline.on_unread(until);
    }

    /// Handles whatever is due. Call it at [`Self::deadline`].
    pub fn on_timeout(&mut self, now: Instant) {
        let overdue = self.pipeline.on_timeout(now);
        if !overdue.is_empty() {
            self.give_back(overdue);
        }
        self.tell_interest_of_theirs(now);
        let is_stalled = self.stalled_since.is_some_and(|since| now >= since + WRITE_STALL);
        let is_deaf = self.deafness.deadline().is_some_and(|deadline| now >= deadline);
        if now >= self.last_heard + SILENCE_TIMEOUT {
            self.leave(DisconnectReason::Silent);
        } else if is_stalled || is_deaf {
            self.leave(DisconnectReason::WriteStalled);
        } else if now >= self.last_sent + KEEP_ALIVE_EVERY {
            self.send(now, Message::KeepAlive);
        }
        self.settle();
    }

    /// Sends what we have as our first message, "immediately after the handshaking sequence" (BEP 3, BEP 6). If we
    /// have nothing and the peer does not support BEP 6, no message is sent.
    fn introduce_ourselves(&mut self, now: Instant) {
        match (self.fast.spoken, self.have.is_none()) {
            (true, _) if self.have.is_all() => self.send(now, Message::HaveAll),
            (true, true) => self.send(now, Message::HaveNone),
            (false, true) => {}
            _ => self.send(now, Message::Bitfield(Bytes::copy_from_slice(self.have.as_bytes()))),
        }
        self.introduce_in_full(now);
        self.tell_stance(now);
    }

    /// Whether the peer takes any request of ours now.
    fn takes_requests(&self) -> bool {
        !self.peer_choking || !self.fast.taken().is_empty()
    }

    /// Reports the new pieces of the peer.
    fn report_haves(&mut self, batch: &mut Batch) {
        let haves = std::mem::take(&mut batch.haves);
        self.tell_progress(&haves);
        if !haves.is_empty() && self.welcomed {
            self.effects.push_back(PeerEffect::Report(SchedulerNotice::Have(haves)));
        }
    }

    /// Reports what the messages of one read brought.
    fn report(&mut self, mut batch: Batch) {
        self.report_haves(&mut batch);
        let Batch { haves: _, blocks, returned, choked } = batch;
        if !blocks.is_empty() {
            self.effects.push_back(PeerEffect::Report(SchedulerNotice::Blocks(blocks)));
            self.depth_told = 0;
        }
        if !returned.is_empty() {
            self.give_back(returned);
        }
        if choked {
            self.effects.push_back(PeerEffect::Report(SchedulerNotice::Depth(0)));
            self.depth_told = 0;
        }
    }

    /// Gives blocks back to the scheduler.
    fn give_back(&mut self, blocks: Vec<BlockAddr>) {
        self.effects.push_back(PeerEffect::Report(SchedulerNotice::Returned(blocks)));
        self.depth_told = 0;
    }

    /// Emits what follows from the present state. Called after every input.
    fn settle(&mut self) {
        if self.left {
            return;
        }
        if let Some(batch) = self.uploads.as_mut().and_then(|uploads| uploads.next_read()) {
            self.effects.push_back(PeerEffect::Read(batch));
        }
        if self.is_seed() && (self.peer_have.is_all() || self.extensions.upload_only) {
            return self.leave(DisconnectReason::BothSeeds);
        }
        self.tell_within();
        let depth = if self.pipeline.wants() == 0 { 0 } else { self.pipeline.depth() };
        if depth > self.depth_told && self.am_interested {
            self.depth_told = depth;
            self.effects.push_back(PeerEffect::Report(SchedulerNotice::Depth(depth)));
        }
    }

    /// Tells the scheduler to request only the pieces that a choking peer allows, and when that is over.
    fn tell_within(&mut self) {
        let within = self.peer_choking && !self.fast.taken().is_empty();
        let is_news = self.fast.is_news(within) || within != self.within_told;
        if self.welcomed && is_news {
            self.within_told = within;
            let pieces = within.then(|| self.fast.taken().clone());
            self.effects.push_back(PeerEffect::Report(SchedulerNotice::Within(pieces)));
        }
    }

    /// The block of a message, if it is one of this torrent.
    fn parse(&self, RawRequest { piece, begin, len }: RawRequest) -> Option<BlockAddr> {
        self.terms.geometry.parse_block(piece, begin, len)
    }

    /// Emits a message to the peer.
    fn send(&mut self, now: Instant, message: Message) {
        self.last_sent = now;
        self.effects.push_back(PeerEffect::Send(message));
    }

    /// Emits the end of the connection, once.
    fn leave(&mut self, farewell: DisconnectReason) {
        if !self.left {
            self.left = true;
            self.effects.push_back(PeerEffect::Leave(farewell));
        }
    }
}

/// What the messages of one read bring for the scheduler. Each kind is reported once.
#[derive(Debug, Default)]
struct Batch {
    haves: Vec<PieceIndex>,
    blocks: Vec<ReceivedBlock>,
    returned: Vec<BlockAddr>,
    choked: bool,
}

fn raw(block: BlockAddr) -> RawRequest {
    RawRequest { piece: block.piece().get(), begin: block.begin(), len: block.len() }
}

fn bps(rate: Option<&Rate>, now: Instant) -> u64 {
    rate.map_or(0, |rate| rate.bps(now))
}

#[cfg(test)]
mod tests;

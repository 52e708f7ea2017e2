//! The state of the protocol with one peer after the handshake: choking, interest, requests and answers (BEP 3, BEP
//! 6).
//!
//! This module knows the messages and the rules. It knows neither the socket nor the other peers. What the scheduler
//! must know is emitted as a [`SchedulerNotice`]. Decisions for the whole torrent come in through `on_grant`,
//! `on_cancel` and `on_interest`.

mod allowance;
mod conduct;
mod cost;
mod extended;
mod fast;
mod fetching;
mod giving;
mod haves;
mod incoming;
mod line;
mod stance;
mod super_seeding;
mod them;
mod uploading;
mod us;
mod values;

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use crate::base::bitfield::Bitfield;
use crate::base::disconnect::DisconnectReason;
use crate::base::geometry::{BlockAddr, PieceIndex};
use crate::codec::wire::{Message, RawRequest};
use crate::logic::peer::allowed_fast::GrantCounts;
use crate::logic::peer::received_block::ReceivedBlock;
use crate::logic::peer::requests::Granted;
use crate::logic::peers::upload_counts::UploadCounts;

use conduct::Conduct;
use extended::Extensions;
use fast::Fast;
use fetching::Fetching;
use giving::Giving;
use line::{Line, LineTimeout};
use them::Them;
use us::Us;
pub use values::{PeerEffect, PeerView, SchedulerNotice, Terms};

/// The protocol state of one connection.
#[derive(Debug)]
pub struct PeerProtocol {
    /// What both handshakes settled.
    terms: Terms,
    us: Us,
    them: Them,
    fetching: Fetching,
    giving: Giving,
    fast: Fast,
    /// The extension protocol.
    extensions: Extensions,
    conduct: Conduct,
    line: Line,
    outbox: Outbox,
}

/// Effects that wait for [`PeerProtocol::poll`].
#[derive(Debug, Default)]
struct Outbox {
    effects: VecDeque<PeerEffect>,
    /// The connection is to end: nothing more is judged.
    left: bool,
}

impl Outbox {
    fn push(&mut self, effect: PeerEffect) {
        self.effects.push_back(effect);
    }

    fn report(&mut self, notice: SchedulerNotice) {
        self.push(PeerEffect::Report(notice));
    }

    /// The first reason counts.
    fn leave(&mut self, reason: DisconnectReason) {
        if !std::mem::replace(&mut self.left, true) {
            self.push(PeerEffect::Leave(reason));
        }
    }

    fn pop(&mut self) -> Option<PeerEffect> {
        self.effects.pop_front()
    }

    /// There will be no effects for a while: drops the empty queue.
    fn release(&mut self) {
        self.effects = VecDeque::new();
    }
}

impl PeerProtocol {
    /// The state after both handshakes.
    pub fn new(now: Instant, terms: Terms) -> Self {
        let pieces = terms.geometry.piece_count();
        Self {
            terms,
            us: Us::new(pieces),
            them: Them::new(now, pieces),
            fetching: Fetching::new(),
            giving: Giving::default(),
            fast: Fast::new(terms.fast),
            extensions: Extensions::new(terms.extended),
            conduct: Conduct::new(now),
            line: Line::new(now),
            outbox: Outbox::default(),
        }
    }

    /// Counts uploads together with the other connections of the torrent.
    pub fn share(&mut self, given: UploadCounts, ledger: GrantCounts) {
        self.giving.share(given, ledger);
    }

    /// Returns the next effect, or `None`.
    pub fn poll(&mut self) -> Option<PeerEffect> {
        let next = self.outbox.pop();
        if next.is_none() && self.is_idle() {
            self.outbox.release();
        }
        next
    }

    /// Whether no block is under way or requested in either direction. Then no queue is kept.
    pub fn is_idle(&self) -> bool {
        self.fetching.pipeline.outstanding() == 0 && self.giving.is_empty()
    }

    /// When to call [`PeerProtocol::on_timeout`] at the latest. `None` never occurs.
    pub fn deadline(&self) -> Option<Instant> {
        let due = [self.fetching.pipeline.deadline(), self.conduct.held_until(), self.them.interest.deadline()];
        due.into_iter().flatten().chain([self.line.deadline()]).min()
    }

    /// The four bits of BEP 3: am choking, am interested, peer choking, peer interested.
    pub const fn bits(&self) -> [bool; 4] {
        let Self { us, them, .. } = self;
        [us.am_choking(), us.am_interested(), them.is_choking(), them.interest.reported()]
    }

    /// The state for reports and metrics.
    pub fn view(&self, now: Instant) -> PeerView {
        let [am_choking, am_interested, peer_choking, peer_interested] = self.bits();
        PeerView {
            am_choking,
            am_interested,
            peer_choking,
            peer_interested,
            pieces: self.them.pieces().ones(),
            outstanding: self.fetching.pipeline.outstanding(),
            snubs: self.fetching.pipeline.is_snubbed(now),
            down_bps: self.fetching.bps(now),
            up_bps: self.giving.bps(now),
            sent: self.giving.sent(),
            charged: self.giving.charged(),
            asks: !self.giving.is_empty(),
        }
    }

    /// Is the peer to be read now, while so many bytes of messages, blocks aside, wait for its socket? What it sends makes
    /// answers, and costs us work: so whoever does not read is not read, and whoever asks for too many small things is read
    /// later.
    pub fn may_read(&mut self, now: Instant, talk: usize) -> bool {
        let bitfield = self.us.pieces.shown().as_bytes().len();
        self.line.is_heard(now, talk, bitfield) && self.conduct.held_until().is_none_or(|until| until <= now)
    }

    /// A scheduler has taken the peer in and tells what we have. Until then it is told nothing. A second welcome comes
    /// from a scheduler that was restarted.
    pub fn on_welcome(&mut self, now: Instant, have: Bitfield) {
        let again = self.us.on_welcome();
        let before = self.us.pieces.replace(have, self.terms.super_seed);
        if !again {
            self.introduce_ourselves(now);
        }
        if again {
            self.tell_new(now, &before);
            self.tell_lost(now, &before);
            // A new scheduler knows nothing of what was asked before; what still comes is late, and welcome.
            self.fetching.pipeline.on_choked(now);
            if self.takes_requests() {
                self.fetching.pipeline.on_unchoked();
            }
        }
        if self.them.has_told_pieces() {
            self.tell_all_progress();
            self.outbox.report(SchedulerNotice::Bitfield(self.them.pieces().clone()));
        }
        self.fetching.forget_told();
        self.give_fast_pieces(now);
        self.settle();
    }

    /// Handles received messages in order. Messages before a violation still count.
    pub fn on_messages(&mut self, now: Instant, messages: impl IntoIterator<Item = Message>) {
        self.line.on_heard(now);
        let mut batch = Batch::default();
        for message in messages {
            if self.outbox.left {
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
        let Self { them, fast, fetching, .. } = self;
        // A choke was on its way when they were granted.
        let choked_away = |block: &&BlockAddr| them.is_choking() && !fast.taken().contains(&block.piece());
        let allowed = blocks.iter().filter(|block| !choked_away(block));
        let Granted { send, mut refuse } = fetching.pipeline.on_granted(now, allowed.copied());
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
            if self.fetching.pipeline.on_cancelled(now, *block) {
                self.send(now, Message::Cancel(raw(*block)));
                self.fetching.forget_depth();
            }
        }
        self.settle();
    }

    /// Sets whether the peer has a piece that we want.
    pub fn on_interest(&mut self, now: Instant, interested: bool) {
        self.us.set_interested(interested);
        self.tell_stance(now);
        self.settle();
    }

    /// The socket took `taken` bytes; `unsent` bytes still wait.
    pub fn on_sent(&mut self, now: Instant, taken: usize, unsent: usize) {
        self.line.on_sent(now, taken, unsent);
        self.fast.on_sent(unsent);
        self.giving.on_sent(now, taken);
        self.us.on_sent(unsent);
        self.tell_stance(now);
        self.tell_owed(now);
        if self.giving.is_first_taken(taken) {
            self.outbox.push(PeerEffect::Served);
        }
        self.give(now);
        self.settle();
    }

    /// Our own rate limit kept us from reading until `until`: up to then no answer of the peer is late.
    pub fn on_unread(&mut self, until: Instant) {
        self.line.on_unread(until);
        self.fetching.pipeline.on_unread(until);
    }

    /// Handles whatever is due. Call it at [`Self::deadline`].
    pub fn on_timeout(&mut self, now: Instant) {
        let overdue = self.fetching.pipeline.on_timeout(now);
        if !overdue.is_empty() {
            self.give_back(overdue);
        }
        self.tell_interest_of_theirs(now);
        match self.line.timeout(now) {
            Some(LineTimeout::Silent) => self.leave(DisconnectReason::Silent),
            Some(LineTimeout::WriteStalled) => self.leave(DisconnectReason::WriteStalled),
            Some(LineTimeout::KeepAlive) => self.send(now, Message::KeepAlive),
            None => {}
        }
        self.settle();
    }

    /// Tells whether we choke the peer and are interested in it, as far as it has read what it was told before.
    fn tell_stance(&mut self, now: Instant) {
        while let Some(message) = self.us.next_stance() {
            self.send(now, message);
        }
    }

    /// Tells the choker what the peer says at last, if it may hear of one more change now.
    fn tell_interest_of_theirs(&mut self, now: Instant) {
        if let Some(interested) = self.them.interest.next_report(now) {
            self.outbox.push(PeerEffect::PeerInterested(interested));
        }
    }

    /// What we have is our first message, "immediately after the handshaking sequence" (BEP 3, BEP 6). To have nothing is
    /// said by silence where BEP 6 is not spoken.
    fn introduce_ourselves(&mut self, now: Instant) {
        let have = self.us.pieces.shown();
        let message = match (self.fast.spoken, have.is_none()) {
            (true, _) if have.is_all() => Some(Message::HaveAll),
            (true, true) => Some(Message::HaveNone),
            (false, true) => None,
            _ => Some(Message::Bitfield(Bytes::copy_from_slice(have.as_bytes()))),
        };
        if let Some(message) = message {
            self.send(now, message);
        }
        self.introduce_in_full(now);
        self.tell_stance(now);
    }

    /// Whether the peer takes any request of ours now.
    fn takes_requests(&self) -> bool {
        !self.them.is_choking() || !self.fast.taken().is_empty()
    }

    /// Reports the new pieces of the peer.
    fn report_haves(&mut self, batch: &mut Batch) {
        let haves = std::mem::take(&mut batch.haves);
        self.tell_progress(&haves);
        if !haves.is_empty() && self.us.is_welcomed() {
            self.outbox.report(SchedulerNotice::Have(haves));
        }
    }

    /// Reports what the messages of one read brought.
    fn report(&mut self, mut batch: Batch) {
        self.report_haves(&mut batch);
        let Batch { haves: _, blocks, returned, choked } = batch;
        if !blocks.is_empty() {
            self.outbox.report(SchedulerNotice::Blocks(blocks));
            self.fetching.forget_depth();
        }
        if !returned.is_empty() {
            self.give_back(returned);
        }
        if choked {
            self.outbox.report(SchedulerNotice::Depth(0));
            self.fetching.forget_depth();
        }
    }

    /// Gives blocks back to the scheduler.
    fn give_back(&mut self, blocks: Vec<BlockAddr>) {
        self.outbox.report(SchedulerNotice::Returned(blocks));
        self.fetching.forget_depth();
    }

    /// Emits what follows from the present state. Called after every input.
    fn settle(&mut self) {
        if self.outbox.left {
            return;
        }
        if let Some(batch) = self.giving.next_read() {
            self.outbox.push(PeerEffect::Read(batch));
        }
        if self.us.pieces.is_complete() && (self.them.pieces().is_all() || self.extensions.upload_only) {
            return self.leave(DisconnectReason::BothSeeds);
        }
        self.tell_within();
        if self.us.am_interested()
            && let Some(depth) = self.fetching.next_depth()
        {
            self.outbox.report(SchedulerNotice::Depth(depth));
        }
    }

    /// Tells the scheduler to request only the pieces that a choking peer allows, and when that is over.
    fn tell_within(&mut self) {
        let within = self.them.is_choking() && !self.fast.taken().is_empty();
        let changed = self.fast.is_news(within);
        if self.us.is_welcomed() && self.fetching.is_within_news(within, changed) {
            let pieces = within.then(|| self.fast.taken().clone());
            self.outbox.report(SchedulerNotice::Within(pieces));
        }
    }

    /// The block of a message, if it is one of this torrent.
    fn parse(&self, RawRequest { piece, begin, len }: RawRequest) -> Option<BlockAddr> {
        self.terms.geometry.parse_block(piece, begin, len)
    }

    /// Emits a message to the peer.
    fn send(&mut self, now: Instant, message: Message) {
        self.line.on_message(now);
        self.outbox.push(PeerEffect::Send(message));
    }

    /// Emits the end of the connection, once.
    fn leave(&mut self, farewell: DisconnectReason) {
        self.outbox.leave(farewell);
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

#[cfg(test)]
mod tests;

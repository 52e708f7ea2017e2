//! One peer's side of the protocol after the handshake: who chokes whom, what is asked, what is answered (BEP 3, BEP 6).
//!
//! Knows the messages and the rules; not the socket, not the other peers. What the whole torrent must know goes out as
//! a [`SchedulerNotice`]; what is decided for the whole torrent comes in through `on_grant`, `on_cancel`, `on_interest`.

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
use crate::logic::peer::requests::{Granted, MOST_DEPTH, Pipeline, USUAL_REQQ};
use crate::logic::peer::uploads::Uploads;
use crate::logic::peers::upload_counts::UploadCounts;
use crate::logic::pieces::scheduler::ReceivedBlock;
use crate::logic::rate::Rate;

use allowance::Budget;
use cost::Cost;
use extended::Extensions;
use fast::Fast;
use haves::Haves;
use stance::{Deafness, Stance};
pub use values::{PeerEffect, PeerView, SchedulerNotice, Terms};

/// One minute without the socket taking a byte of what we have for it (P-21).
const WRITE_STALL: Duration = Duration::from_secs(60);

/// 60 unknown messages in a minute: far above any client with extensions we do not speak (P-10, W-04).
const UNKNOWN_A_MINUTE: u32 = 60;

/// 4,096 rejects a minute for what we no longer wait for: as many as could ever be under way. Not a fault: a peer may
/// take its time, and libtorrent forgives them all.
const STRAY_REJECTS_A_MINUTE: u32 = MOST_DEPTH;

/// The protocol state of one connection.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "the four bits of BEP 3 are four independent bits")]
pub struct PeerProtocol {
    terms: Terms,
    have: Bitfield,
    /// All that we have, where the peer is to believe that it is only `have` (BEP 16).
    hidden: Option<Box<Bitfield>>,
    peer_have: Bitfield,
    /// The peer has said what it has: a second bitfield is a violation (P-07).
    told_pieces: bool,
    welcomed: bool,
    am_choking: bool,
    am_interested: bool,
    peer_choking: bool,
    peer_interested: bool,
    pipeline: Pipeline,
    depth_told: u32,
    fast: Fast,
    extensions: Extensions,
    haves: Haves,
    stance: Stance,
    deafness: Deafness,
    cost: Cost,
    /// The scheduler was told to keep to the pieces that the peer allows.
    within_told: bool,
    given: UploadCounts,
    ledger: GrantCounts,
    /// Made at the first request.
    uploads: Option<Box<Uploads>>,
    unasked: u32,
    unknown: Budget,
    stray_rejects: Budget,
    delivered: bool,
    /// Of blocks that came. Made with the first, as most connections of a large swarm carry none.
    down: Option<Box<Rate>>,
    /// Of all that the socket took since the peer first asked for something.
    up: Option<Box<Rate>>,
    sent: u64,
    /// The same, with a block for every request that is for less.
    charged: u64,
    /// Bytes that the socket took since the first block was given.
    taken: u64,
    last_heard: Instant,
    last_sent: Instant,
    stalled_since: Option<Instant>,
    unsent: usize,
    left: bool,
    effects: VecDeque<PeerEffect>,
}

impl PeerProtocol {
    /// After both handshakes.
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

    /// Counts what it gives together with the other conversations of the torrent.
    pub fn share(&mut self, given: UploadCounts, ledger: GrantCounts) {
        (self.given, self.ledger) = (given, ledger);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<PeerEffect> {
        let next = self.effects.pop_front();
        if next.is_none() && self.is_idle() {
            self.effects = VecDeque::new();
        }
        next
    }

    /// No block is under way or asked for, either way: then it keeps no queue.
    pub fn is_idle(&self) -> bool {
        self.pipeline.outstanding() == 0 && self.uploads.as_ref().is_none_or(|uploads| uploads.is_empty())
    }

    /// When to call [`PeerProtocol::on_timeout`] at the latest.
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

    /// How it stands.
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

    /// A scheduler has taken the peer in and tells what we have. Until then it is told nothing. A second welcome comes
    /// from a scheduler that was restarted.
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
            // A new scheduler knows nothing of what was asked before; what still comes is late, and welcome.
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

    /// Messages that came, in order. What came before a violation still counts.
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

    /// The scheduler grants blocks: they are asked for.
    pub fn on_grant(&mut self, now: Instant, blocks: &[BlockAddr]) {
        let Self { peer_choking, fast, pipeline, .. } = self;
        // A choke was on its way when they were granted.
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

    /// The scheduler has these from somebody else (endgame).
    pub fn on_cancel(&mut self, now: Instant, blocks: &[BlockAddr]) {
        for block in blocks {
            if self.pipeline.on_cancelled(now, *block) {
                self.send(now, Message::Cancel(raw(*block)));
                self.depth_told = 0;
            }
        }
        self.settle();
    }

    /// The peer has something we want, or no longer.
    pub fn on_interest(&mut self, now: Instant, interested: bool) {
        self.am_interested = interested;
        self.tell_stance(now);
        self.settle();
    }

    /// The socket took bytes; `unsent` still wait.
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

    /// Until `until` it was our own limit that kept us from reading: nothing that is late so far is the peer's fault.
    pub fn on_unread(&mut self, until: Instant) {
        self.last_heard = self.last_heard.max(until);
        self.pipeline.on_unread(until);
    }

    /// Time has passed.
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

    /// What we have is our first message, "immediately after the handshaking sequence" (BEP 3, BEP 6). To have nothing is
    /// said by silence where BEP 6 is not spoken.
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

    /// Does the peer take any request of ours now?
    fn takes_requests(&self) -> bool {
        !self.peer_choking || !self.fast.taken().is_empty()
    }

    fn report_haves(&mut self, batch: &mut Batch) {
        let haves = std::mem::take(&mut batch.haves);
        self.tell_progress(&haves);
        if !haves.is_empty() && self.welcomed {
            self.effects.push_back(PeerEffect::Report(SchedulerNotice::Have(haves)));
        }
    }

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

    fn give_back(&mut self, blocks: Vec<BlockAddr>) {
        self.effects.push_back(PeerEffect::Report(SchedulerNotice::Returned(blocks)));
        self.depth_told = 0;
    }

    /// After every input: what follows from the state as it is now.
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

    /// Keeps the scheduler to what a choking peer allows, and lets it go when that is over.
    fn tell_within(&mut self) {
        let within = self.peer_choking && !self.fast.taken().is_empty();
        let is_news = self.fast.is_news(within) || within != self.within_told;
        if self.welcomed && is_news {
            self.within_told = within;
            let pieces = within.then(|| self.fast.taken().clone());
            self.effects.push_back(PeerEffect::Report(SchedulerNotice::Within(pieces)));
        }
    }

    fn parse(&self, RawRequest { piece, begin, len }: RawRequest) -> Option<BlockAddr> {
        self.terms.geometry.parse_block(piece, begin, len)
    }

    fn send(&mut self, now: Instant, message: Message) {
        self.last_sent = now;
        self.effects.push_back(PeerEffect::Send(message));
    }

    fn leave(&mut self, farewell: DisconnectReason) {
        if !self.left {
            self.left = true;
            self.effects.push_back(PeerEffect::Leave(farewell));
        }
    }
}

/// What one read brought for the scheduler: told in one message each.
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

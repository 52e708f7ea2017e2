//! What the scheduler knows of one connected peer. Blocks are not kept here.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::trust::PeerTrust;
use crate::base::bitfield::Bitfield;
use crate::base::geometry::PieceIndex;
use crate::logic::flow::Flow;
use crate::logic::pieces::picker::{Picker, Shortlist};

/// After 64 blocks given back in a row without a delivered one, what the peer says it has is doubted (P-18). The limit
/// doubles with each doubt, so that a peer cannot make us count its pieces over and over.
const DOUBT_AFTER: u32 = 64;

/// The two bitfields that most peers have: shared, so that an idle seed of a large torrent costs no memory.
#[derive(Debug)]
pub(super) struct Templates {
    none: Arc<Bitfield>,
    all: Arc<Bitfield>,
}

impl Templates {
    pub(super) fn new(pieces: u32) -> Self {
        Self { none: Arc::new(Bitfield::none(pieces)), all: Arc::new(Bitfield::all(pieces)) }
    }
}

/// The pieces that a choking peer allows (BEP 6).
#[derive(Debug)]
struct Within {
    /// The allowed pieces.
    pieces: BTreeSet<PieceIndex>,
    /// The allowed pieces that the peer has.
    has: Arc<Bitfield>,
}

/// The scheduler's state of one connected peer.
#[derive(Debug)]
pub(super) struct SchedulerPeer {
    /// The address that is banned if the peer lies.
    pub(super) addr: SocketAddr,
    /// The pieces that the peer says it has.
    pub(super) has: Arc<Bitfield>,
    /// The pieces that the peer answers for while it chokes us (BEP 6). `None`: it answers for all it has.
    within: Option<Within>,
    /// How many more blocks the peer could take now.
    pub(super) want: u32,
    /// Blocks that the peer is asked for.
    pub(super) in_flight: u32,
    /// When the peer last delivered a block, or was asked for one while it owed none.
    pub(super) heard: Option<Instant>,
    /// The piece that the peer is filling.
    pub(super) current: Option<PieceIndex>,
    /// The pickable pieces of the peer.
    pub(super) shortlist: Shortlist,
    /// Measures the rate of its blocks.
    pub(super) flow: Flow,
    /// How much unverified work the peer may have.
    pub(super) trust: PeerTrust,
    /// Whether we told the peer that we are interested.
    pub(super) interested: bool,
    /// The number of pieces that the peer has and we want and lack. Not maintained for a seed.
    missing: u32,
    /// Whether the peer had every piece from the start. The picker counts seeds apart.
    seed: bool,
    /// Whether the picker counts the pieces of the peer as available.
    counted: bool,
    /// Blocks given back since the last delivered one.
    returned_in_row: u32,
    /// How many times the picker stopped counting the pieces of the peer.
    doubts: u32,
}

impl SchedulerPeer {
    pub(super) fn new(addr: SocketAddr, templates: &Templates) -> Self {
        Self {
            addr,
            has: Arc::clone(&templates.none),
            within: None,
            want: 0,
            in_flight: 0,
            heard: None,
            current: None,
            shortlist: Shortlist::default(),
            flow: Flow::default(),
            trust: PeerTrust::default(),
            interested: false,
            missing: 0,
            seed: false,
            counted: true,
            returned_in_row: 0,
            doubts: 0,
        }
    }

    /// Replaces the pieces that the peer has.
    pub(super) fn set_bitfield(&mut self, has: Bitfield, templates: &Templates, settled: &Bitfield) {
        self.seed = has.is_all();
        self.missing = lacked(&has, settled);
        self.has = if self.seed { Arc::clone(&templates.all) } else { Arc::new(has) };
        self.shortlist = Shortlist::default();
        let within = self.within.take();
        self.set_within(within.map(|within| within.pieces));
    }

    /// The pieces that the peer may be asked for now.
    pub(super) fn offers(&self) -> Arc<Bitfield> {
        Arc::clone(self.within.as_ref().map_or(&self.has, |within| &within.has))
    }

    /// The peer answers for these pieces only, or, with `None`, for all that it has.
    pub(super) fn set_within(&mut self, pieces: Option<BTreeSet<PieceIndex>>) {
        self.within = pieces.map(|pieces| {
            let mut has = Bitfield::none(self.has.piece_count());
            for piece in pieces.iter().filter(|piece| self.has.has(**piece)) {
                has.set(*piece);
            }
            Within { pieces, has: Arc::new(has) }
        });
        self.shortlist = Shortlist::default();
        self.current = None;
    }

    /// The peer has one more piece.
    pub(super) fn add_piece(&mut self, piece: PieceIndex, picker: &mut Picker, settled: &Bitfield) {
        if self.has.has(piece) {
            return;
        }
        Arc::make_mut(&mut self.has).set(piece);
        self.missing += u32::from(!settled.has(piece));
        match &mut self.within {
            Some(within) if within.pieces.contains(&piece) => {
                Arc::make_mut(&mut within.has).set(piece);
                self.shortlist.add(piece);
            }
            Some(_) => {}
            None => self.shortlist.add(piece),
        }
        if self.counted {
            picker.on_have(piece);
        }
    }

    /// The peer has lost this piece (BEP 54).
    pub(super) fn lose_piece(&mut self, piece: PieceIndex, picker: &mut Picker, settled: &Bitfield) {
        if !self.has.has(piece) {
            return;
        }
        if self.seed {
            let counted = self.counted;
            self.leave(picker);
            self.seed = false;
            Arc::make_mut(&mut self.has).clear(piece);
            self.missing = lacked(&self.has, settled);
            if counted {
                self.join(picker);
            }
        } else {
            Arc::make_mut(&mut self.has).clear(piece);
            self.missing -= u32::from(!settled.has(piece));
            if self.counted {
                picker.on_lost(piece);
            }
        }
        if let Some(within) = &mut self.within {
            Arc::make_mut(&mut within.has).clear(piece);
        }
        self.shortlist = Shortlist::default();
        self.current = self.current.filter(|current| *current != piece);
    }

    /// From now on the picker counts the pieces of the peer as available.
    pub(super) fn join(&mut self, picker: &mut Picker) {
        self.counted = true;
        if self.seed { picker.on_seed_joined() } else { picker.on_joined(&self.has) }
    }

    /// From now on the picker does not count the pieces of the peer.
    pub(super) fn leave(&mut self, picker: &mut Picker) {
        if std::mem::take(&mut self.counted) {
            if self.seed { picker.on_seed_left() } else { picker.on_left(&self.has) }
        }
    }

    /// The peer was asked for `count` blocks.
    pub(super) fn on_granted(&mut self, now: Instant, count: u32) {
        if self.in_flight == 0 {
            self.heard = Some(now);
        }
        self.in_flight += count;
        self.want -= count;
    }

    /// Since when the peer owes blocks and has sent none. `None` if it owes none.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        self.heard.filter(|_| self.in_flight > 0)
    }

    /// The peer delivered a block of `len` bytes.
    pub(super) fn on_delivered(&mut self, now: Instant, len: u32, picker: &mut Picker) {
        self.flow.add(now, u64::from(len));
        self.heard = Some(now);
        self.returned_in_row = 0;
        if !self.counted {
            self.join(picker);
        }
    }

    /// The peer gave `count` blocks back.
    pub(super) fn on_returned(&mut self, count: u32, picker: &mut Picker) {
        self.in_flight -= count;
        self.current = None;
        self.returned_in_row = self.returned_in_row.saturating_add(count);
        if self.counted && self.returned_in_row >= DOUBT_AFTER << self.doubts.min(16) {
            self.doubts += 1;
            self.leave(picker);
        }
    }

    /// We have this piece now.
    pub(super) fn on_piece_had(&mut self, piece: PieceIndex) {
        if !self.seed && self.has.has(piece) {
            self.missing -= 1;
        }
    }

    /// We lack this piece again.
    pub(super) fn on_piece_gone(&mut self, piece: PieceIndex) {
        if !self.seed && self.has.has(piece) {
            self.missing += 1;
        }
    }

    /// Returns our new interest in the peer if it has changed. `complete`: we have every wanted piece.
    pub(super) fn turn_interest(&mut self, complete: bool) -> Option<bool> {
        let interested = !complete && (self.seed || self.missing > 0);
        (std::mem::replace(&mut self.interested, interested) != interested).then_some(interested)
    }
}

/// The number of pieces in `theirs` that are not in `ours`.
fn lacked(theirs: &Bitfield, ours: &Bitfield) -> u32 {
    theirs.as_bytes().iter().zip(ours.as_bytes()).map(|(theirs, ours)| (theirs & !ours).count_ones()).sum()
}

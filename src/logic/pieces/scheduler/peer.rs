//! What the scheduler knows of one peer. Does not know blocks.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::trust::PeerTrust;
use crate::base::bitfield::Bitfield;
use crate::base::geometry::PieceIndex;
use crate::logic::peer::requests::Flow;
use crate::logic::pieces::picker::{Picker, Shortlist};

/// 64 blocks given back in a row, with not one delivered: what the peer says it has is doubted (P-18). Doubled with each
/// doubt, so that a peer cannot make us count its pieces over and over.
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

#[derive(Debug)]
struct Within {
    pieces: BTreeSet<PieceIndex>,
    has: Arc<Bitfield>,
}

#[derive(Debug)]
pub(super) struct SchedulerPeer {
    pub(super) addr: SocketAddr,
    pub(super) has: Arc<Bitfield>,
    /// Of these, what it answers for while it chokes us (BEP 6); none: it answers for all.
    within: Option<Within>,
    /// Blocks it could take.
    pub(super) want: u32,
    /// Blocks it is asked for.
    pub(super) in_flight: u32,
    /// When it last delivered, or was asked for something while nothing was outstanding.
    pub(super) heard: Option<Instant>,
    /// The piece it is filling.
    pub(super) current: Option<PieceIndex>,
    pub(super) shortlist: Shortlist,
    pub(super) flow: Flow,
    pub(super) trust: PeerTrust,
    pub(super) interested: bool,
    /// Pieces it has that we want and lack; of no meaning for a seed.
    missing: u32,
    /// Counted apart in the picker: it had everything from the start.
    seed: bool,
    counted: bool,
    returned_in_row: u32,
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

    pub(super) fn set_bitfield(&mut self, has: Bitfield, templates: &Templates, settled: &Bitfield) {
        self.seed = has.is_all();
        self.missing = lacked(&has, settled);
        self.has = if self.seed { Arc::clone(&templates.all) } else { Arc::new(has) };
        self.shortlist = Shortlist::default();
        let within = self.within.take();
        self.set_within(within.map(|within| within.pieces));
    }

    /// What it may be asked for now.
    pub(super) fn offers(&self) -> Arc<Bitfield> {
        Arc::clone(self.within.as_ref().map_or(&self.has, |within| &within.has))
    }

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

    /// It had that piece, and has it no longer.
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

    /// Its pieces count as available.
    pub(super) fn join(&mut self, picker: &mut Picker) {
        self.counted = true;
        if self.seed { picker.on_seed_joined() } else { picker.on_joined(&self.has) }
    }

    /// Its pieces do not count as available any more.
    pub(super) fn leave(&mut self, picker: &mut Picker) {
        if std::mem::take(&mut self.counted) {
            if self.seed { picker.on_seed_left() } else { picker.on_left(&self.has) }
        }
    }

    /// It was asked for `count` blocks.
    pub(super) fn on_granted(&mut self, now: Instant, count: u32) {
        if self.in_flight == 0 {
            self.heard = Some(now);
        }
        self.in_flight += count;
        self.want -= count;
    }

    /// Since when it has kept us waiting.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        self.heard.filter(|_| self.in_flight > 0)
    }

    pub(super) fn on_delivered(&mut self, now: Instant, len: u32, picker: &mut Picker) {
        self.flow.add(now, u64::from(len));
        self.heard = Some(now);
        self.returned_in_row = 0;
        if !self.counted {
            self.join(picker);
        }
    }

    pub(super) fn on_returned(&mut self, count: u32, picker: &mut Picker) {
        self.in_flight -= count;
        self.current = None;
        self.returned_in_row = self.returned_in_row.saturating_add(count);
        if self.counted && self.returned_in_row >= DOUBT_AFTER << self.doubts.min(16) {
            self.doubts += 1;
            self.leave(picker);
        }
    }

    pub(super) fn on_piece_had(&mut self, piece: PieceIndex) {
        if !self.seed && self.has.has(piece) {
            self.missing -= 1;
        }
    }

    pub(super) fn on_piece_gone(&mut self, piece: PieceIndex) {
        if !self.seed && self.has.has(piece) {
            self.missing += 1;
        }
    }

    /// The new interest in it, if it has changed. `complete`: we lack nothing.
    pub(super) fn turn_interest(&mut self, complete: bool) -> Option<bool> {
        let interested = !complete && (self.seed || self.missing > 0);
        (std::mem::replace(&mut self.interested, interested) != interested).then_some(interested)
    }
}

/// How many pieces of theirs we lack.
fn lacked(theirs: &Bitfield, ours: &Bitfield) -> u32 {
    theirs.as_bytes().iter().zip(ours.as_bytes()).map(|(theirs, ours)| (theirs & !ours).count_ones()).sum()
}

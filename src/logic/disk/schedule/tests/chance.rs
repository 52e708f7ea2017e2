//! The promise under chance: a disk that loses what it has not synced, fails at any operation, and is changed by others;
//! a driver that is restarted at any time; all in an order that dice choose.

use std::collections::BTreeSet;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::logic::disk::values::Snapshot;

/// Pieces of the small torrent that is fetched.
const PIECES: u32 = 12;

/// What a power cut would leave of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bytes {
    /// Nothing is written.
    None,
    /// In the page cache, and the next sync takes it to the disk.
    Dirty,
    /// In the page cache only, for ever: a sync failed, and the system calls the page clean.
    Phantom,
    /// On the disk.
    Safe,
    /// Another program has written something else.
    Foreign,
}

/// A job that the schedule has asked for.
#[derive(Debug)]
enum Job {
    Write(Vec<PieceJob>, WriteReceipt<()>),
    Rewrite(Vec<PieceRange>, RewriteReceipt),
    /// What is recorded, without what another program has changed, and what was dirty when it began.
    Save(Snapshot, BTreeSet<u32>),
    /// What was changed when it began, of what it is about.
    Look(Vec<PieceIndex>),
    Check(Vec<PieceIndex>),
}

struct World {
    it: DiskSchedule<()>,
    now: Instant,
    dice: SmallRng,
    bytes: Vec<Bytes>,
    /// Changed by another program, and not yet found by a look.
    unseen: BTreeSet<u32>,
    jobs: Vec<Job>,
    /// Pieces that no job writes and that are not ours.
    missing: BTreeSet<u32>,
    recorded: BTreeSet<u32>,
    durable: u32,
    given_up: bool,
    ended: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            it: DiskSchedule::new(config(true, false)),
            now: base_instant(),
            dice: SmallRng::seed_from_u64(seed),
            bytes: vec![Bytes::None; PIECES as usize],
            unseen: BTreeSet::new(),
            jobs: Vec::new(),
            missing: (0..PIECES).collect(),
            recorded: BTreeSet::new(),
            durable: 0,
            given_up: false,
            ended: false,
        };
        let inventory = Inventory { have: set(&[]), check: Vec::new(), reason: None, received: 0, sent: 0 };
        world.it.on_start(world.now);
        world.it.on_opened(world.now, Ok(inventory));
        world.it.on_admitted(world.now, Ok(()));
        world.it.on_vetted(world.now, Ok(Vec::new()));
        world.drain();
        world.jobs.clear();
        world
    }

    /// The bytes of a piece.
    fn at(&mut self, number: u32) -> &mut Bytes {
        &mut self.bytes[number as usize]
    }

    fn dirty(&self) -> BTreeSet<u32> {
        (0..PIECES).filter(|number| self.bytes[*number as usize] == Bytes::Dirty).collect()
    }

    fn ours(&self) -> Vec<u32> {
        self.it.have().expect("it is open").iter_ones().collect()
    }

    /// Does as it is told; the jobs are done later.
    fn drain(&mut self) {
        while let Some(effect) = self.it.poll() {
            match effect {
                DiskEffect::WritePieces(jobs, receipt) => self.jobs.push(Job::Write(jobs, receipt)),
                DiskEffect::RewritePieces(ranges, receipt) => self.jobs.push(Job::Rewrite(ranges, receipt)),
                DiskEffect::SaveRecord(mut snapshot) => {
                    for number in (0..PIECES).filter(|number| self.bytes[*number as usize] == Bytes::Foreign) {
                        snapshot.have.clear(piece(number));
                    }
                    self.jobs.push(Job::Save(snapshot, self.dirty()));
                }
                DiskEffect::VetFiles(have) => {
                    let found: Vec<_> = have.pieces(&geometry()).filter(|it| self.unseen.contains(&it.get())).collect();
                    self.jobs.push(Job::Look(found));
                }
                DiskEffect::CheckPieces(pieces) => self.jobs.push(Job::Check(pieces)),
                DiskEffect::Tell(DiskNews::Gone(piece)) => _ = self.missing.insert(piece.get()),
                DiskEffect::Tell(DiskNews::Trouble { retry_in: None, .. }) => self.given_up = true,
                DiskEffect::Tell(DiskNews::Durable) => self.is_durable(),
                DiskEffect::Stop => self.ended = true,
                _ => {}
            }
        }
    }

    /// Everything that is ours would survive a power cut, but for what another program has changed since the last look.
    fn is_durable(&mut self) {
        self.durable += 1;
        for number in self.ours() {
            let bytes = self.bytes[number as usize];
            let is_changed = bytes == Bytes::Foreign && self.unseen.contains(&number);
            assert!(bytes == Bytes::Safe || is_changed, "piece {number} is {bytes:?} and called durable");
        }
    }

    /// The same bytes over those that are on the disk leave them there, whenever the power is cut.
    fn write(&mut self, piece: PieceIndex) {
        if *self.at(piece.get()) != Bytes::Safe {
            *self.at(piece.get()) = Bytes::Dirty;
        }
        self.unseen.remove(&piece.get());
    }

    /// One of the jobs that were asked for is done, well or badly.
    fn finish_job(&mut self) {
        let chosen = self.dice.random_range(0..self.jobs.len());
        let fails = self.dice.random_ratio(1, 12);
        match self.jobs.swap_remove(chosen) {
            Job::Write(jobs, receipt) => {
                let outcomes = jobs.into_iter().map(|job| self.written(job, fails)).collect();
                self.it.on_written(self.now, receipt, outcomes);
            }
            Job::Rewrite(ranges, receipt) => {
                let outcomes = self.rewritten(&ranges);
                self.it.on_rewritten(self.now, receipt, outcomes);
            }
            Job::Save(snapshot, dirty) => {
                let outcome = self.saved(&snapshot, &dirty, fails);
                self.it.on_recorded(self.now, outcome);
            }
            Job::Look(found) => {
                for piece in &found {
                    self.unseen.remove(&piece.get());
                }
                self.it.on_vetted(self.now, Ok(found));
            }
            Job::Check(pieces) => {
                let is_right = |piece: &PieceIndex| !matches!(self.bytes[piece.at()], Bytes::Foreign | Bytes::None);
                let results = pieces.into_iter().map(|piece| (piece, Ok(is_right(&piece)))).collect();
                self.it.on_checked(self.now, results);
            }
        }
        self.drain();
    }

    fn written(&mut self, job: PieceJob, fails: bool) -> PieceOutcome {
        if fails {
            return PieceOutcome::Trouble(job, trouble(TroubleKind::Full));
        }
        self.write(job.piece);
        PieceOutcome::Written(job.piece)
    }

    fn rewritten(&mut self, ranges: &[PieceRange]) -> Result<Vec<PieceOutcome>, DiskTrouble> {
        let pieces: Vec<_> = ranges.iter().map(|range| range.piece()).collect();
        if pieces.iter().any(|piece| self.bytes[piece.at()] == Bytes::Foreign) {
            return Err(trouble(TroubleKind::Changed));
        }
        for piece in &pieces {
            self.write(*piece);
        }
        Ok(pieces.into_iter().map(PieceOutcome::Written).collect())
    }

    /// Syncs, then records. A sync that fails loses any of the pages that are dirty by then.
    fn saved(&mut self, snapshot: &Snapshot, dirty: &BTreeSet<u32>, fails: bool) -> Result<(), DiskTrouble> {
        if fails && self.dice.random_ratio(1, 2) {
            for number in self.dirty() {
                if self.dice.random_ratio(1, 2) {
                    *self.at(number) = Bytes::Phantom;
                }
            }
            return Err(failed_sync());
        }
        for number in dirty {
            if *self.at(*number) == Bytes::Dirty {
                *self.at(*number) = Bytes::Safe;
            }
        }
        if fails {
            return Err(trouble(TroubleKind::Full));
        }
        self.recorded = snapshot.have.iter_ones().collect();
        for number in self.recorded.clone() {
            let bytes = *self.at(number);
            assert!(bytes == Bytes::Safe, "piece {number} is {bytes:?} and recorded");
        }
        Ok(())
    }

    /// The driver is restarted: jobs are done for all that, but their outcomes are lost.
    fn restart(&mut self) {
        for job in std::mem::take(&mut self.jobs) {
            let fails = self.dice.random_ratio(1, 3);
            match job {
                Job::Save(snapshot, dirty) => drop(self.saved(&snapshot, &dirty, fails)),
                Job::Write(jobs, _) => jobs.into_iter().for_each(|job| drop(self.written(job, fails))),
                Job::Rewrite(ranges, _) => drop(self.rewritten(&ranges)),
                Job::Look(_) | Job::Check(_) => {}
            }
        }
        self.given_up = false;
        self.it.on_start(self.now);
        self.drain();
        let ours = self.ours();
        self.missing = (0..PIECES).filter(|number| !ours.contains(number)).collect();
    }

    fn change_by_another_program(&mut self) {
        let number = self.dice.random_range(0..PIECES);
        if *self.at(number) != Bytes::None {
            *self.at(number) = Bytes::Foreign;
            self.unseen.insert(number);
            for job in &mut self.jobs {
                if let Job::Save(snapshot, _) = job {
                    snapshot.have.clear(piece(number));
                }
            }
            let range = geometry().parse_range(number, 0, 5).unwrap();
            if !self.it.plan_read(vec![range]).ranges().is_empty() {
                self.it.on_blocks_read(self.now, vec![(piece(number), trouble(TroubleKind::Changed))]);
                self.drain();
            }
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        if self.it.deadline().is_some_and(|due| due <= self.now) {
            self.it.on_timeout(self.now);
            self.drain();
        }
    }

    fn step(&mut self, may_be_changed: bool) {
        match self.dice.random_range(0..40) {
            0 if may_be_changed => self.change_by_another_program(),
            1 if self.dice.random_ratio(1, 4) => self.restart(),
            2..10 => self.pass(2),
            10..14 => self.pass(1_000),
            14 => self.pass(10_000),
            15..20 => {
                if let Some(number) = self.missing.pop_first() {
                    self.it.on_pieces(self.now, vec![job(number)], &());
                    self.drain();
                }
            }
            20 | 21 => {
                self.it.on_finish(self.now);
                self.drain();
            }
            _ if !self.jobs.is_empty() => self.finish_job(),
            _ => {}
        }
    }
}

#[test]
fn no_order_of_events_breaks_the_promise() {
    let (mut durable, mut recorded, mut ended) = (0, 0, 0);
    for seed in 0..400 {
        println!("seed {seed}");
        let mut world = World::new(seed);
        for _ in 0..600 {
            world.step(seed % 2 == 0);
        }
        durable += world.durable;
        recorded += world.recorded.len();
        // Told to stop, it stops: every job is done, and time passes.
        world.it.on_goodbye(world.now);
        world.drain();
        for _ in 0..200 {
            if world.ended {
                break;
            }
            if world.jobs.is_empty() {
                world.pass(1_000);
            } else {
                world.finish_job();
            }
        }
        assert!(world.ended, "it does not stop: {:?}", world.it);
        ended += usize::from(!world.given_up);
    }
    assert!(durable > 100 && recorded > 1_000 && ended > 100, "{durable} durable, {recorded} recorded, {ended} ended");
}

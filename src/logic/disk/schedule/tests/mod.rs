//! A disk schedule without an arbiter: each test says what happens, and what the schedule does then.

mod chance;
mod changes;
mod durability;
mod ending;
mod starting;
mod troubles;
mod writing;

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::*;
use crate::logic::disk::trouble::{SYNC, TroubleKind};
use crate::logic::testing::base_instant;

/// 40 pieces of 1 MiB.
fn geometry() -> Geometry {
    Geometry::new(40 << 20, 1 << 20).unwrap()
}

fn piece(number: u32) -> PieceIndex {
    geometry().piece(number).unwrap()
}

fn set(numbers: &[u32]) -> Bitfield {
    let mut set = Bitfield::none(geometry().piece_count());
    for number in numbers {
        set.set(piece(*number));
    }
    set
}

fn job(number: u32) -> PieceJob {
    PieceJob { piece: piece(number), blocks: [].into() }
}

fn trouble(kind: TroubleKind) -> DiskTrouble {
    DiskTrouble { kind, ..DiskTrouble::changed("write", "/x".as_ref()) }
}

fn failed_sync() -> DiskTrouble {
    DiskTrouble { operation: SYNC, ..trouble(TroubleKind::Io) }
}

fn numbers(pieces: impl IntoIterator<Item = PieceIndex>) -> String {
    pieces.into_iter().fold(String::new(), |text, piece| text + " " + &piece.to_string())
}

fn ones(set: &Bitfield) -> String {
    numbers(set.pieces(&geometry()))
}

/// Four pieces are hashed as fast as one.
fn config(patient: bool, must_be_whole: bool) -> DiskScheduleConfig {
    DiskScheduleConfig { name: "x".to_owned(), geometry: geometry(), abreast: 4, patient, must_be_whole }
}

/// What happens to a schedule.
#[derive(Debug, Clone)]
enum Event {
    Start,
    Opened {
        have: &'static [u32],
        check: Range<u32>,
    },
    CannotOpen(TroubleKind),
    Admitted,
    CannotAdmit(TroubleKind),
    /// Pieces come to be written, and this one is told.
    Pieces(Range<u32>, &'static str),
    /// The oldest job of these has ended well.
    Written,
    Rewritten,
    Recorded,
    /// The oldest write job has failed, or its pieces do not hash right.
    NotWritten(TroubleKind),
    WrongHash,
    /// The pieces in doubt cannot be read, or do not hash right.
    NotReread(TroubleKind),
    Rewrong,
    SyncFailed,
    RecordFailed,
    /// These pieces of the oldest check are right, the others wrong.
    Checked(&'static [u32]),
    /// The device failed at the oldest check.
    NotChecked,
    /// The files were looked at, and these pieces are in doubt.
    Looked(&'static [u32]),
    CannotLook,
    Free(u64),
    /// A peer asks for a block of each of these.
    Ask(&'static [u32]),
    /// The read for a peer fails at these pieces.
    ReadFails(&'static [u32], TroubleKind),
    Finish,
    Forget,
    Goodbye,
    /// So many milliseconds pass; each deadline is obeyed.
    After(u64),
}

/// A schedule, the time, and the jobs that it waits for.
struct Bench {
    it: DiskSchedule<&'static str>,
    now: Instant,
    writes: VecDeque<(Vec<PieceJob>, WriteReceipt<&'static str>)>,
    rewrites: VecDeque<(Vec<PieceRange>, RewriteReceipt)>,
    checks: VecDeque<Vec<PieceIndex>>,
    notes: Vec<DiskNote>,
}

impl Bench {
    fn new(patient: bool, must_be_whole: bool) -> Self {
        let config = config(patient, must_be_whole);
        Self {
            it: DiskSchedule::new(config),
            now: base_instant(),
            writes: VecDeque::new(),
            rewrites: VecDeque::new(),
            checks: VecDeque::new(),
            notes: Vec::new(),
        }
    }

    /// Open, with these pieces there.
    fn open(patient: bool, have: &'static [u32]) -> Self {
        let mut bench = Self::new(patient, false);
        bench.play(&[
            (Event::Start, "open"),
            (Event::Opened { have, check: 0..0 }, &format!("admit{}", ones(&set(have)))),
            (Event::Admitted, &format!("look{}", ones(&set(have)))),
            (Event::Looked(&[]), &format!("ready{}", ones(&set(have)))),
        ]);
        bench
    }

    /// Each event, and all that is done then.
    #[track_caller]
    fn play(&mut self, table: &[(Event, &str)]) {
        for (at, (event, want)) in table.iter().enumerate() {
            let done = self.on(event.clone()).join(", ");
            assert_eq!(done, *want, "line {at}: {event:?}");
        }
    }

    fn on(&mut self, event: Event) -> Vec<String> {
        let now = self.now;
        match event {
            Event::Start => self.it.on_start(now),
            Event::Opened { have, check } => {
                let check = check.map(piece).collect();
                self.it
                    .on_opened(now, Ok(Inventory { have: set(have), check, reason: None, received: 100, sent: 200 }));
            }
            Event::CannotOpen(kind) => self.it.on_opened(now, Err(trouble(kind).into())),
            Event::Admitted => self.it.on_admitted(now, Ok(())),
            Event::CannotAdmit(kind) => self.it.on_admitted(now, Err(trouble(kind).into())),
            Event::Pieces(pieces, reply) => self.it.on_pieces(now, pieces.map(job).collect(), &reply),
            Event::Written => self.end_write(|job| PieceOutcome::Written(job.piece)),
            Event::WrongHash => self.end_write(|job| PieceOutcome::HashMismatch(job.piece)),
            Event::NotWritten(kind) => self.end_write(|job| PieceOutcome::Trouble(job, trouble(kind))),
            Event::Rewritten => self.end_rewrite(|ranges| Ok(ranges.map(PieceOutcome::Written).collect())),
            Event::Rewrong => self.end_rewrite(|ranges| Ok(ranges.map(PieceOutcome::HashMismatch).collect())),
            Event::NotReread(kind) => self.end_rewrite(|_| Err(trouble(kind))),
            Event::Recorded => self.it.on_recorded(now, Ok(())),
            Event::SyncFailed => self.it.on_recorded(now, Err(failed_sync())),
            Event::RecordFailed => self.it.on_recorded(now, Err(trouble(TroubleKind::Full))),
            Event::Checked(right) => self.end_check(|piece| Ok(right.contains(&piece.get()))),
            Event::NotChecked => self.end_check(|_| Err(trouble(TroubleKind::Io))),
            Event::Looked(doubtful) => self.it.on_vetted(now, Ok(doubtful.iter().copied().map(piece).collect())),
            Event::CannotLook => self.it.on_vetted(now, Err(trouble(TroubleKind::Io))),
            Event::Free(free) => self.it.on_free_space(now, Some(free)),
            Event::Ask(pieces) => return vec![self.ask(pieces)],
            Event::ReadFails(pieces, kind) => {
                let failed = pieces.iter().map(|number| (piece(*number), trouble(kind))).collect();
                self.it.on_blocks_read(now, failed);
            }
            Event::Finish => self.it.on_finish(now),
            Event::Forget => self.it.on_forget(),
            Event::Goodbye => self.it.on_goodbye(now),
            Event::After(ms) => return self.pass(Duration::from_millis(ms)),
        }
        self.effects()
    }

    fn end_write(&mut self, outcome: impl FnMut(PieceJob) -> PieceOutcome) {
        let (jobs, receipt) = self.writes.pop_front().expect("a write is under way");
        self.it.on_written(self.now, receipt, jobs.into_iter().map(outcome).collect());
    }

    fn end_rewrite(
        &mut self,
        outcome: impl FnOnce(&mut dyn Iterator<Item = PieceIndex>) -> Result<Vec<PieceOutcome>, DiskTrouble>,
    ) {
        let (ranges, receipt) = self.rewrites.pop_front().expect("pieces are being written again");
        self.it.on_rewritten(self.now, receipt, outcome(&mut ranges.into_iter().map(PieceRange::piece)));
    }

    fn end_check(&mut self, result: impl Fn(PieceIndex) -> Result<bool, DiskTrouble>) {
        let pieces = self.checks.pop_front().expect("pieces are being hashed");
        self.it.on_checked(self.now, pieces.into_iter().map(|piece| (piece, result(piece))).collect());
    }

    /// Which pieces are read of those that a peer asks for.
    fn ask(&mut self, pieces: &[u32]) -> String {
        let range = |number: &u32| geometry().parse_range(*number, 0, 5).unwrap();
        let plan = self.it.plan_read(pieces.iter().map(range).collect());
        let read = numbers(plan.ranges().iter().map(|range| range.piece()));
        plan.refuse_after().map_or(format!("read{read}"), |delay| format!("refuse after {} s", delay.as_secs()))
    }

    /// Obeys each deadline that comes in this time.
    fn pass(&mut self, time: Duration) -> Vec<String> {
        let end = self.now + time;
        let mut done = Vec::new();
        for _ in 0..1000 {
            let Some(due) = self.it.deadline().filter(|due| *due <= end) else {
                self.now = end;
                return done;
            };
            self.now = self.now.max(due);
            self.it.on_timeout(self.now);
            done.extend(self.effects());
        }
        panic!("a deadline that has come does not go away: {:?}", self.it);
    }

    /// All that is to be done, in words. Notes for the log are kept apart.
    fn effects(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(effect) = self.it.poll() {
            lines.push(match effect {
                DiskEffect::OpenStorage => "open".to_owned(),
                DiskEffect::CheckPieces(pieces) => {
                    self.checks.push_back(pieces.clone());
                    format!("check{}", numbers(pieces))
                }
                DiskEffect::Admit(start) => format!("admit{}", ones(&start.have)),
                DiskEffect::WritePieces(jobs, receipt) => {
                    let line = format!("write{}", numbers(jobs.iter().map(|job| job.piece)));
                    self.writes.push_back((jobs, receipt));
                    line
                }
                DiskEffect::RewritePieces(ranges, receipt) => {
                    let line = format!("rewrite{}", numbers(ranges.iter().map(|range| range.piece())));
                    self.rewrites.push_back((ranges, receipt));
                    line
                }
                DiskEffect::SaveRecord(snapshot) => record_in_words(&snapshot),
                DiskEffect::VetFiles(have) => format!("look{}", ones(&have)),
                DiskEffect::MeasureFreeSpace => "measure".to_owned(),
                DiskEffect::Tell(news) => news_in_words(news),
                DiskEffect::TellWritten(to, outcomes) => outcomes
                    .into_iter()
                    .fold(to.to_owned(), |text, (piece, outcome)| format!("{text} {piece} {outcome:?}")),
                DiskEffect::Note(note) => {
                    self.notes.push(note);
                    continue;
                }
                DiskEffect::Stop => "stop".to_owned(),
            });
        }
        lines
    }

    fn has(&self) -> String {
        self.it.have().map_or("closed".to_owned(), ones)
    }
}

fn record_in_words(snapshot: &crate::logic::disk::values::Snapshot) -> String {
    let clean = if snapshot.clean { " clean" } else { "" };
    let done = if snapshot.done { " done" } else { "" };
    format!("record{}{clean}{done}", ones(&snapshot.have))
}

fn news_in_words(news: DiskNews) -> String {
    match news {
        DiskNews::Checking { done, total, .. } => format!("checked {} of {}", done >> 20, total >> 20),
        DiskNews::Ready { have, .. } => format!("ready{}", ones(&have)),
        DiskNews::Incomplete(have) => format!("only {} MiB", have >> 20),
        DiskNews::Refused(trouble) => format!("refused: {trouble}"),
        DiskNews::Trouble { retry_in: Some(retry_in), .. } => format!("trouble, again in {} s", retry_in.as_secs()),
        DiskNews::Trouble { retry_in: None, .. } => "given up".to_owned(),
        DiskNews::Well => "well".to_owned(),
        DiskNews::Lost => "lost".to_owned(),
        DiskNews::Gone(piece) => format!("gone {piece}"),
        DiskNews::Durable => "durable".to_owned(),
    }
}

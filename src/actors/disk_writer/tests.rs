//! A writer over a storage in memory that does what each test says, on a paused clock.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::*;
use crate::actors::kit::testing::{Diary, with_actors};
use crate::actors::kit::{self, ChildEvent, Lifecycle, SupervisedChild};
use crate::actors::policies;
use crate::base::locked::Locked;
use crate::logic::disk::schedule::{MAX_DIRTY_LOOKS, REFUSE_AFTER};
use crate::storage::trouble::SYNC;
use crate::storage::{Inventory, OpenTrouble, Snapshot, Storage, TroubleKind};

/// What happens to the pieces of one write.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Right,
    WrongHash,
    Trouble(TroubleKind),
    Panic,
}

/// Every write takes as long.
const WRITE: Duration = Duration::from_millis(10);

/// A storage in memory, and what it will do.
#[derive(Debug, Clone)]
struct Fake(Arc<Locked<Script>>);

#[derive(Debug)]
struct Script {
    diary: Diary,
    have: Bitfield,
    check: Vec<PieceIndex>,
    right: BTreeSet<u32>,
    /// Checks and reads fail until then.
    broken_until: Option<Instant>,
    refuse: bool,
    /// For the next writes; `Fate::Right` in `WRITE` when it is empty.
    fates: VecDeque<(Duration, Fate)>,
    /// What a write without a script of its own does.
    usually: Fate,
    sync_takes: Duration,
    failing_syncs: u32,
    failing_records: u32,
    /// So many of the next starts find the disk full.
    full_starts: u32,
    free: Option<u64>,
    /// What the next looks at the files find in doubt; nothing when it is empty.
    doubtful: VecDeque<BTreeSet<u32>>,
}

fn geometry() -> Geometry {
    Geometry::new(40 << 20, 1 << 20).unwrap()
}

fn piece(number: u32) -> PieceIndex {
    geometry().piece(number).unwrap()
}

fn numbers<'a>(pieces: impl IntoIterator<Item = &'a PieceIndex>) -> String {
    pieces.into_iter().fold(String::new(), |text, piece| text + " " + &piece.to_string())
}

fn ones(set: &Bitfield) -> String {
    set.iter_ones().fold(String::new(), |text, number| text + " " + &number.to_string())
}

fn trouble(kind: TroubleKind) -> DiskTrouble {
    let (path, reason) = ("/x".into(), "because".to_owned());
    DiskTrouble { kind, operation: "write", path, offset: None, space: None, reason }
}

impl Fake {
    fn note(&self, line: String) {
        self.0.lock().diary.write(line);
    }
}

impl Storage for Fake {
    fn open(&self) -> Later<Result<Inventory, OpenTrouble>> {
        let script = self.0.lock();
        let (have, check, refuse) = (script.have.clone(), script.check.clone(), script.refuse);
        script.diary.write("opens");
        Box::pin(async move {
            if refuse {
                return Err(OpenTrouble::Disk(trouble(TroubleKind::ReadOnly)));
            }
            Ok(Inventory { have, check, reason: None, received: 100, sent: 200 })
        })
    }

    fn open_to_recheck(&self) -> Later<Result<Inventory, OpenTrouble>> {
        self.0.lock().diary.write("believes no record");
        self.open()
    }

    fn check(&self, pieces: Vec<PieceIndex>) -> Later<Vec<(PieceIndex, Result<bool, DiskTrouble>)>> {
        let me = self.clone();
        Box::pin(async move {
            sleep(WRITE).await;
            let is_broken = me.0.lock().broken_until.is_some_and(|until| Instant::now() < until);
            let right = |piece: PieceIndex| {
                let is_right = me.0.lock().right.contains(&piece.get());
                (piece, if is_broken { Err(trouble(TroubleKind::Io)) } else { Ok(is_right) })
            };
            pieces.into_iter().map(right).collect()
        })
    }

    fn admit(&self, start: Snapshot) -> Later<Result<(), OpenTrouble>> {
        self.note(format!("admits{}", ones(&start.have)));
        let mut script = self.0.lock();
        let is_full = script.full_starts > 0;
        script.full_starts = script.full_starts.saturating_sub(1);
        let full = || Err(OpenTrouble::Disk(trouble(TroubleKind::Full)));
        Box::pin(async move { if is_full { full() } else { Ok(()) } })
    }

    fn abreast(&self) -> usize {
        1
    }

    fn write(&self, jobs: Vec<PieceJob>) -> Later<Vec<PieceOutcome>> {
        self.note(format!("writes{}", numbers(jobs.iter().map(|job| &job.piece))));
        let (takes, fate) = {
            let mut script = self.0.lock();
            let usual = (WRITE, script.usually);
            script.fates.pop_front().unwrap_or(usual)
        };
        let outcome = move |job: PieceJob| match fate {
            Fate::Right => PieceOutcome::Written(job.piece),
            Fate::WrongHash => PieceOutcome::HashMismatch(job.piece),
            Fate::Trouble(kind) => PieceOutcome::Trouble(job, trouble(kind)),
            Fate::Panic => panic!("the pool fell over"),
        };
        Box::pin(async move {
            sleep(takes).await;
            jobs.into_iter().map(outcome).collect()
        })
    }

    fn read(&self, ranges: Vec<PieceRange>) -> Later<Vec<Result<Bytes, DiskTrouble>>> {
        self.note(format!("reads{}", numbers(&ranges.iter().map(|range| range.piece()).collect::<Vec<_>>())));
        let is_broken = self.0.lock().broken_until.is_some_and(|until| Instant::now() < until);
        let bytes = move |range: PieceRange| match range.begin() {
            _ if is_broken => Err(trouble(TroubleKind::Io)),
            0 => Ok(Bytes::from(vec![1; range.len() as usize])),
            8 => Err(trouble(TroubleKind::Missing)),
            9 if range.piece() == piece(0) => Err(trouble(TroubleKind::Changed)),
            _ => Err(trouble(TroubleKind::Io)),
        };
        Box::pin(async move { ranges.into_iter().map(bytes).collect() })
    }

    fn vet(&self, have: Bitfield) -> Later<Result<Vec<PieceIndex>, DiskTrouble>> {
        let doubtful = self.0.lock().doubtful.pop_front().unwrap_or_default();
        let doubtful = have.pieces(&geometry()).filter(|piece| doubtful.contains(&piece.get())).collect();
        Box::pin(std::future::ready(Ok(doubtful)))
    }

    fn free(&self) -> Later<Option<u64>> {
        Box::pin(std::future::ready(self.0.lock().free))
    }

    fn persist(&self, snapshot: Snapshot) -> Later<Result<(), DiskTrouble>> {
        let me = self.clone();
        let takes = self.0.lock().sync_takes;
        Box::pin(async move {
            sleep(takes).await;
            let mut script = me.0.lock();
            if script.failing_syncs > 0 {
                script.failing_syncs -= 1;
                return Err(DiskTrouble { operation: SYNC, ..trouble(TroubleKind::Io) });
            }
            if script.failing_records > 0 {
                script.failing_records -= 1;
                return Err(trouble(TroubleKind::Full));
            }
            let clean = if snapshot.clean { " clean" } else { "" };
            script.diary.write(format!("records{}{clean}", ones(&snapshot.have)));
            Ok(())
        })
    }
}

/// Writes down what the writer tells others.
struct Ear(Diary);

impl Actor for Ear {
    type Context = Context<Self>;
}

impl Handler<DiskNews> for Ear {
    type Result = ();

    fn handle(&mut self, news: DiskNews, _: &mut Context<Self>) {
        self.0.write(match news {
            DiskNews::Checking { done, total, .. } => format!("checked {} of {}", done >> 20, total >> 20),
            DiskNews::Ready { have, checked } => format!("ready:{}, {} checked", ones(&have), checked >> 20),
            DiskNews::Incomplete(have) => format!("only {have} B are there"),
            DiskNews::Refused(_) => "refused".to_owned(),
            DiskNews::Trouble { retry_in: Some(retry_in), .. } => format!("trouble, again in {} s", retry_in.as_secs()),
            DiskNews::Trouble { retry_in: None, .. } => "trouble, given up".to_owned(),
            DiskNews::Well => "well".to_owned(),
            DiskNews::Lost => "lost".to_owned(),
            DiskNews::Gone(piece) => format!("{piece} gone"),
            DiskNews::Durable => "durable".to_owned(),
        });
    }
}

impl Handler<PiecesWritten> for Ear {
    type Result = ();

    fn handle(&mut self, PiecesWritten(pieces): PiecesWritten, _: &mut Context<Self>) {
        for (piece, written) in &pieces {
            self.0.write(format!("{piece} {written:?}"));
        }
    }
}

impl Handler<ChildEvent> for Ear {
    type Result = ();

    fn handle(&mut self, event: ChildEvent, _: &mut Context<Self>) {
        match event.event {
            Lifecycle::Restarting { cause, .. } => self.0.write(format!("restarting: {cause}")),
            Lifecycle::Ended { .. } => self.0.write("ended"),
            Lifecycle::Started => {}
        }
    }
}

/// A writer, its storage, and all that happens.
struct Bench {
    diary: Diary,
    script: Arc<Locked<Script>>,
    ear: Addr<Ear>,
    writer: SupervisedChild<DiskWriter>,
}

impl Bench {
    /// Started and ready; what happened so far is in the diary.
    async fn start(patient: bool, change: impl FnOnce(&mut Script)) -> Self {
        let diary = Diary::default();
        let mut script = Script {
            diary: diary.clone(),
            have: Bitfield::none(geometry().piece_count()),
            check: Vec::new(),
            right: BTreeSet::new(),
            broken_until: None,
            refuse: false,
            fates: VecDeque::new(),
            usually: Fate::Right,
            sync_takes: Duration::from_millis(1),
            failing_syncs: 0,
            failing_records: 0,
            full_starts: 0,
            free: None,
            doubtful: VecDeque::new(),
        };
        change(&mut script);
        let script = Arc::new(Locked::new(script));
        let ear = Ear(diary.clone()).start();
        let storage = Arc::new(Fake(Arc::clone(&script)));
        let torrent = ear.clone().recipient();
        let cfg = DiskWriterConfig {
            name: "test".to_owned(),
            geometry: geometry(),
            storage,
            torrent,
            patient,
            must_be_whole: false,
            mode: OpenMode::default(),
        };
        let writer = kit::spawn(DiskWriter::new(cfg), policies::DISK_WRITER, 1, ear.clone().recipient());
        let bench = Self { diary, script, ear, writer };
        sleep(Duration::from_millis(100)).await;
        bench
    }

    /// Ready, with nothing there, and an empty diary.
    async fn ready(patient: bool, change: impl FnOnce(&mut Script)) -> Self {
        let bench = Self::start(patient, change).await;
        assert_eq!(bench.diary.read(), ["opens", "admits", "ready:, 0 checked"]);
        bench
    }

    fn next_writes(&self, fates: &[(u64, Fate)]) {
        let fates = fates.iter().map(|(ms, fate)| (Duration::from_millis(*ms), *fate));
        self.script.lock().fates.extend(fates);
    }

    fn write(&self, pieces: std::ops::Range<u32>) {
        let jobs = pieces.map(|number| PieceJob { piece: piece(number), blocks: Arc::default() }).collect();
        self.writer.addr.do_send(WritePieces { jobs, reply: self.ear.clone().recipient() });
    }

    /// All that happens in the next milliseconds.
    async fn passes(&self, ms: u64) -> Vec<String> {
        sleep(Duration::from_millis(ms)).await;
        self.diary.read()
    }

    /// Says goodbye and waits; all that happens, and how long it takes.
    async fn stop(mut self) -> (Vec<String>, Duration) {
        let began = Instant::now();
        self.writer.stop();
        self.writer.control.ended().await;
        let took = began.elapsed();
        sleep(Duration::from_millis(1)).await;
        (self.diary.read(), took)
    }

    async fn have(&self) -> String {
        ones(&self.writer.addr.send(HaveNow).await.unwrap().unwrap())
    }
}

fn durable(pieces: std::ops::Range<u32>) -> Vec<String> {
    pieces.map(|piece| format!("{piece} Durable")).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_there_is_checked_before_anything_is_written() {
    with_actors(async {
        let bench = Bench::start(false, |script| {
            script.have.set(piece(0));
            script.check = (1..20).map(piece).collect();
            script.right = [1, 3].into();
        })
        .await;
        let want = ["opens", "admits 0 1 3", "checked 16 of 19", "checked 19 of 19", "ready: 0 1 3, 19 checked"];
        assert_eq!(bench.diary.read(), want);
        assert_eq!(bench.have().await, " 0 1 3");
        assert_eq!(bench.stop().await.0, ["records 0 1 3 clean", "ended"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_refuses_is_told_and_left_alone() {
    with_actors(async {
        let bench = Bench::start(false, |script| script.refuse = true).await;
        assert_eq!(bench.diary.read(), ["opens", "refused"]);
        assert_eq!(bench.writer.addr.send(HaveNow).await.unwrap(), None);
        assert_eq!(bench.stop().await.0, ["ended"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn pieces_are_written_in_batches_and_recorded_in_groups() {
    with_actors(async {
        let bench = Bench::ready(false, |_| {}).await;
        bench.write(0..10);
        let want = ["writes 0 1 2 3", "writes 4 5 6 7", "writes 8 9"];
        let (writes, rest): (Vec<_>, Vec<_>) =
            bench.passes(100).await.into_iter().partition(|line| line.starts_with("writes"));
        assert_eq!((writes, rest), (want.map(str::to_owned).to_vec(), durable(0..10)));
        assert_eq!(bench.passes(2000).await, ["records 0 1 2 3 4 5 6 7 8 9"], "2 s after the first");
        assert_eq!(bench.passes(60_000).await, [""; 0], "there is nothing new to record");
        bench.next_writes(&[(1, Fate::WrongHash)]);
        bench.write(10..11);
        assert_eq!(bench.passes(3000).await, ["writes 10", "10 HashMismatch"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_job_is_one_trouble_and_is_tried_again() {
    with_actors(async {
        let bench = Bench::ready(false, |_| {}).await;
        bench.next_writes(&[(10, Fate::Trouble(TroubleKind::Io))]);
        bench.write(0..4);
        assert_eq!(bench.passes(500).await, ["writes 0 1 2 3", "trouble, again in 1 s"]);
        let again = bench.passes(1000).await;
        assert_eq!(again.iter().filter(|line| *line == "well").count(), 1, "{again:?}");
        let mut done: Vec<_> = again.into_iter().filter(|line| line.ends_with("Durable")).collect();
        done.sort();
        assert_eq!(done, durable(0..4));
    })
    .await;
}

/// D-03: three tries.
#[tokio::test(start_paused = true)]
async fn a_device_that_stays_broken_is_given_up_once() {
    with_actors(async {
        let bench = Bench::ready(false, |script| script.usually = Fate::Trouble(TroubleKind::Io)).await;
        bench.write(0..1);
        let heard = bench.passes(3_600_000).await;
        let troubles: Vec<_> = heard.iter().filter(|line| line.starts_with("trouble")).collect();
        assert_eq!(troubles.len(), 4, "{troubles:?}");
        assert_eq!(troubles[3], "trouble, given up");
        bench.write(1..2);
        assert_eq!(bench.passes(3_600_000).await, [""; 0], "and left alone");
        let (last, took) = bench.stop().await;
        assert_eq!(last, ["records clean", "ended"]);
        assert!(took < Duration::from_secs(1), "{took:?}");
    })
    .await;
}

/// D-01: `fetch` ends with exit code 9, its state safe.
#[tokio::test(start_paused = true)]
async fn a_full_disk_is_given_up_at_once_unless_it_is_to_be_waited_for() {
    with_actors(async {
        let bench = Bench::ready(false, |_| {}).await;
        bench.write(0..1);
        bench.passes(100).await;
        bench.script.lock().usually = Fate::Trouble(TroubleKind::Full);
        bench.write(1..9);
        let heard = bench.passes(1000).await;
        assert_eq!(heard.iter().filter(|line| *line == "trouble, given up").count(), 1, "{heard:?}");
        let (last, took) = bench.stop().await;
        assert_eq!(last, ["records 0 clean", "ended"]);
        assert!(took < Duration::from_secs(1), "{took:?}");
    })
    .await;
}

/// D-01 at the start: waited for where that is wanted, looked at every two seconds, said once.
#[tokio::test(start_paused = true)]
async fn a_start_on_a_full_disk_waits_for_room_and_says_so_once() {
    with_actors(async {
        let bench = Bench::start(true, |script| script.full_starts = 10).await;
        assert_eq!(bench.diary.read(), ["opens", "admits", "trouble, again in 30 s"]);
        assert_eq!(bench.passes(18_500).await, ["admits"; 9]);
        assert_eq!(bench.passes(2000).await, ["admits", "well", "ready:, 0 checked"]);
        bench.write(0..1);
        assert!(bench.passes(100).await.contains(&"0 Durable".to_owned()));
        let bench = Bench::start(false, |script| script.full_starts = 1).await;
        assert_eq!(bench.diary.read(), ["opens", "admits", "refused"]);
        assert_eq!(bench.passes(60_000).await, [""; 0]);
        let bench = Bench::start(true, |script| script.full_starts = 10).await;
        assert_eq!(bench.stop().await.0.last().unwrap(), "ended", "a wish to stop is heard while it waits");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_tried_every_half_minute_until_there_is_space() {
    with_actors(async {
        let bench = Bench::ready(true, |script| script.usually = Fate::Trouble(TroubleKind::Full)).await;
        bench.write(0..12);
        let heard = bench.passes(29_000).await;
        assert_eq!(heard.iter().filter(|line| line.starts_with("writes")).count(), 2, "{heard:?}");
        for _ in 0..100 {
            let heard = bench.passes(30_000).await;
            assert!(
                heard.len() == 2 && heard[0].starts_with("writes") && heard[1] == "trouble, again in 30 s",
                "{heard:?}"
            );
        }
        bench.script.lock().usually = Fate::Right;
        let heard = bench.passes(40_000).await;
        assert_eq!(heard.iter().filter(|line| *line == "well").count(), 1, "{heard:?}");
        assert_eq!(bench.have().await, " 0 1 2 3 4 5 6 7 8 9 10 11");
    })
    .await;
}

/// D-01: "on free-space growth".
#[tokio::test(start_paused = true)]
async fn a_full_disk_that_has_space_again_is_tried_at_once() {
    with_actors(async {
        let bench = Bench::ready(true, |script| script.usually = Fate::Trouble(TroubleKind::Full)).await;
        bench.write(0..1);
        assert_eq!(bench.passes(5000).await, ["writes 0", "trouble, again in 30 s"]);
        bench.script.lock().usually = Fate::Right;
        bench.script.lock().free = Some(1 << 30);
        assert_eq!(bench.passes(2100).await, ["writes 0", "0 Durable", "well"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_job_beside_a_broken_one_loses_nothing() {
    with_actors(async {
        let bench = Bench::ready(false, |_| {}).await;
        bench.next_writes(&[(10, Fate::Trouble(TroubleKind::Io)), (5000, Fate::Right)]);
        bench.write(0..12);
        bench.passes(4000).await;
        bench.write(12..13);
        bench.passes(4000).await;
        assert_eq!(
            bench.have().await,
            ones(&{
                let mut all = Bitfield::none(40);
                (0..13).for_each(|number| _ = all.set(piece(number)));
                all
            })
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_loses_nothing_that_was_acknowledged() {
    with_actors(async {
        let bench = Bench::ready(false, |_| {}).await;
        bench.write(0..4);
        bench.passes(100).await;
        bench.next_writes(&[(10, Fate::Panic)]);
        bench.write(4..8);
        assert_eq!(bench.passes(15).await, ["writes 4 5 6 7", "restarting: panic"]);
        assert_eq!(bench.passes(1000).await, ["lost"], "and not opened again");
        assert_eq!(bench.have().await, " 0 1 2 3");
        bench.write(4..5);
        assert_eq!(bench.passes(100).await, ["writes 4", "4 Durable"]);
        assert_eq!(bench.stop().await.0, ["records 0 1 2 3 4 clean", "ended"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_before_a_restart_is_recorded_soon_after_it() {
    with_actors(async {
        let bench = Bench::ready(false, |_| {}).await;
        bench.write(0..1);
        bench.passes(100).await;
        bench.next_writes(&[(10, Fate::Panic)]);
        bench.write(1..2);
        let heard = bench.passes(20_000).await;
        assert_eq!(heard.last().unwrap(), "records 0", "{heard:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_waits_for_what_is_under_way_and_records_clean() {
    with_actors(async {
        let bench = Bench::ready(false, |_| {}).await;
        bench.next_writes(&[(3000, Fate::Right), (1000, Fate::Right)]);
        bench.write(0..9);
        bench.passes(1).await;
        let (mut heard, took) = bench.stop().await;
        assert_eq!(heard.split_off(heard.len() - 2), ["records 0 1 2 3 4 5 6 7 8 clean", "ended"]);
        assert_eq!(took.as_secs(), 3);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_during_a_record_waits_for_it_and_records_clean() {
    with_actors(async {
        let bench = Bench::ready(false, |script| script.sync_takes = Duration::from_secs(1)).await;
        bench.write(0..1);
        assert_eq!(bench.passes(2500).await, ["writes 0", "0 Durable"]);
        let (heard, took) = bench.stop().await;
        assert_eq!(heard, ["records 0", "records 0 clean", "ended"]);
        assert!(took < Duration::from_secs(2), "{took:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_in_trouble_does_not_wait_for_its_end() {
    with_actors(async {
        let bench = Bench::ready(true, |script| script.usually = Fate::Trouble(TroubleKind::Full)).await;
        bench.write(0..4);
        bench.passes(100).await;
        let (heard, took) = bench.stop().await;
        assert_eq!(heard, ["records clean", "ended"]);
        assert!(took < Duration::from_secs(1), "{took:?}");
    })
    .await;
}

/// D-05: after a sync that failed nobody knows what is on the disk, whatever the next one says.
#[tokio::test(start_paused = true)]
async fn what_a_failed_sync_left_in_doubt_is_written_anew_before_it_is_recorded() {
    with_actors(async {
        let bench = Bench::ready(false, |script| script.failing_syncs = 1).await;
        bench.write(0..2);
        assert_eq!(bench.passes(2900).await, ["writes 0 1", "0 Durable", "1 Durable"]);
        bench.write(2..3);
        assert_eq!(bench.passes(50).await, ["writes 2", "2 Durable"]);
        assert_eq!(bench.passes(500).await, ["reads 0 1", "writes 0 1"], "a second after the failure");
        assert_eq!(bench.passes(3000).await, ["records 0 1 2"]);
        assert_eq!(bench.stop().await.0, ["records 0 1 2 clean", "ended"]);
    })
    .await;
}

/// D-05: the pages that a sync lost may be those of a write that ended while it ran.
#[tokio::test(start_paused = true)]
async fn what_was_written_during_a_failing_sync_is_in_doubt_too() {
    with_actors(async {
        let slow = |script: &mut Script| (script.failing_syncs, script.sync_takes) = (1, Duration::from_millis(100));
        let bench = Bench::ready(false, slow).await;
        bench.write(0..1);
        bench.passes(2020).await;
        bench.write(1..2);
        assert_eq!(bench.passes(20).await, ["writes 1", "1 Durable"]);
        bench.next_writes(&[(200, Fate::Right)]);
        bench.write(2..3);
        assert_eq!(bench.passes(300).await, ["writes 2", "2 Durable"], "the sync failed meanwhile");
        assert_eq!(bench.passes(1000).await, ["reads 0 1 2", "writes 0 1 2"]);
        assert_eq!(bench.passes(6000).await, ["records 0 1 2"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn syncs_that_keep_failing_end_it_and_nothing_of_theirs_is_recorded() {
    with_actors(async {
        let bench = Bench::ready(false, |script| script.failing_syncs = 3).await;
        bench.write(0..2);
        let heard = bench.passes(60_000).await;
        assert_eq!(heard.iter().filter(|line| line.starts_with("reads")).count(), 2, "{heard:?}");
        assert_eq!(heard.last().unwrap(), "trouble, given up");
        assert_eq!(bench.stop().await.0, ["records clean", "ended"]);
    })
    .await;
}

/// D-05: exit code 0 says that every byte is there.
#[tokio::test(start_paused = true)]
async fn a_complete_download_does_not_end_in_doubt() {
    let finishes = async |failing_syncs, failing_records| {
        let change = |script: &mut Script| {
            (script.failing_syncs, script.failing_records) = (failing_syncs, failing_records);
        };
        let bench = Bench::ready(false, change).await;
        bench.write(0..2);
        bench.passes(100).await;
        bench.writer.addr.do_send(FinishWriting);
        let heard = bench.passes(1000).await;
        assert_eq!(bench.stop().await.0.last().unwrap(), "ended");
        heard
    };
    with_actors(async {
        assert_eq!(finishes(0, 0).await, ["records 0 1", "durable"]);
        let again = ["reads 0 1", "writes 0 1"];
        assert_eq!(finishes(1, 0).await, [&again[..], &["records 0 1", "durable"]].concat());
        assert_eq!(finishes(3, 0).await, [&again[..], &again, &["trouble, given up"]].concat());
        assert_eq!(finishes(0, 1).await, ["durable"], "the data is safe, and will be found without its record");
    })
    .await;
}

/// D-02: the data is safe, so the record is tried again and nothing is written twice.
#[tokio::test(start_paused = true)]
async fn a_record_that_fails_is_made_later() {
    with_actors(async {
        let bench = Bench::ready(false, |script| script.failing_records = 3).await;
        bench.write(0..2);
        let heard = bench.passes(20_000).await;
        assert_eq!(heard, ["writes 0 1", "0 Durable", "1 Durable", "records 0 1"]);
    })
    .await;
}

/// I6.
#[tokio::test(start_paused = true)]
async fn only_what_hashed_right_is_read_for_a_peer() {
    with_actors(async {
        let bench = Bench::ready(false, |_| {}).await;
        bench.write(1..3);
        bench.passes(100).await;
        let range = |piece, begin| geometry().parse_range(piece, begin, 5).unwrap();
        let ranges = vec![range(0, 0), range(1, 0), range(3, 0), range(1, 7), range(2, 0)];
        let read = bench.writer.addr.send(ReadRanges(ranges)).await.unwrap();
        let bytes = || Some(Bytes::from_static(&[1; 5]));
        assert_eq!(read, [None, bytes(), None, None, bytes()]);
        assert_eq!(bench.diary.read(), ["reads 1 1 2"]);
    })
    .await;
}

/// D-04. Two requests of one piece fail: it is looked at once more in between, and believed if it hashes right.
#[tokio::test(start_paused = true)]
async fn a_piece_that_cannot_be_read_for_a_peer_is_hashed_anew_and_ours_only_if_it_is_right() {
    with_actors(async {
        let bench = Bench::ready(false, |script| script.right = [2].into()).await;
        bench.write(1..4);
        bench.passes(20_000).await;
        let range = |piece, begin| geometry().parse_range(piece, begin, 5).unwrap();
        let ranges = vec![range(1, 7), range(1, 9), range(2, 7), range(3, 0)];
        bench.writer.addr.send(ReadRanges(ranges)).await.unwrap();
        assert_eq!(bench.passes(100).await, ["reads 1 1 2 3", "1 gone"]);
        let have = bench.writer.addr.send(HaveNow).await.unwrap().unwrap();
        assert_eq!(ones(&have), " 2 3");
        let read = bench.writer.addr.send(ReadRanges(vec![range(1, 0)])).await.unwrap();
        assert_eq!(read, [None], "it is nobody's any more (I6)");
        bench.diary.read();
        assert_eq!(bench.passes(20_000).await, ["records 2 3"], "the record claims it no longer");
        bench.write(1..2);
        assert_eq!(bench.passes(20_000).await, ["writes 1", "1 Durable", "records 1 2 3"]);
    })
    .await;
}

/// D-09, I6: what is written behind the end of a file that was cut makes zeros of what is missing.
#[tokio::test(start_paused = true)]
async fn after_a_file_was_found_cut_nothing_is_given_before_it_is_hashed_anew() {
    with_actors(async {
        let bench = Bench::ready(false, |script| script.right = (0..18).collect()).await;
        bench.write(0..20);
        bench.passes(9_000).await;
        bench.script.lock().doubtful.push_back((0..20).collect());
        let range = |piece, begin| geometry().parse_range(piece, begin, 5).unwrap();
        let ask = |ranges| bench.writer.addr.send(ReadRanges(ranges));
        assert_eq!(ask(vec![range(0, 8)]).await.unwrap(), [None]);
        let [first, last] = [ask(vec![range(1, 0)]), ask(vec![range(19, 0)])];
        assert_eq!((first.await.unwrap(), last.await.unwrap()), (vec![None], vec![None]), "not before it is known");
        let mut heard = bench.passes(25).await;
        assert!(ask(vec![range(1, 0)]).await.unwrap()[0].is_some(), "the first 16 MiB have been hashed");
        assert_eq!(ask(vec![range(19, 0)]).await.unwrap(), [None]);
        heard.extend(bench.passes(100).await);
        let is_gone = |line: &&String| line.ends_with("gone");
        assert_eq!(heard.iter().filter(is_gone).collect::<Vec<_>>(), ["18 gone", "19 gone"], "{heard:?}");
        assert_eq!(bench.writer.addr.send(HaveNow).await.unwrap().unwrap().ones(), 18);
    })
    .await;
}

/// D-04. What a device refuses for a while is given again when it answers, in a torrent that nobody else has too.
#[tokio::test(start_paused = true)]
async fn after_read_errors_have_ended_everything_is_given_again() {
    with_actors(async {
        let bench = Bench::ready(false, |script| script.right = (0..20).collect()).await;
        bench.write(0..20);
        bench.passes(20_000).await;
        let range = |piece| geometry().parse_range(piece, 0, 5).unwrap();
        let ask = |pieces: std::ops::Range<u32>| bench.writer.addr.send(ReadRanges(pieces.map(range).collect()));
        bench.script.lock().broken_until = Some(Instant::now() + Duration::from_secs(5));
        assert_eq!(ask(0..20).await.unwrap(), vec![None; 20]);
        let asked = Instant::now();
        assert_eq!(ask(3..5).await.unwrap(), vec![None; 2], "they are not hashed yet");
        assert!(Instant::now() - asked >= REFUSE_AFTER, "and the peer is not told so at once");
        bench.passes(6000).await;
        assert!(ask(0..20).await.unwrap().iter().all(Option::is_some));
        let heard = bench.passes(100_000).await;
        assert!(!heard.iter().any(|line| line.ends_with("gone")), "{heard:?}");
        assert_eq!(bench.writer.addr.send(HaveNow).await.unwrap().unwrap().ones(), 20);
    })
    .await;
}

/// What a writer tells that had two pieces, was told to finish, and found these in doubt one look after the other.
async fn finished_with(doubtful: &[&[u32]], right: &[u32]) -> Vec<String> {
    let bench = Bench::ready(false, |_| {}).await;
    bench.write(0..2);
    bench.passes(100).await;
    {
        let mut script = bench.script.lock();
        script.right = right.iter().copied().collect();
        script.doubtful = doubtful.iter().map(|pieces| pieces.iter().copied().collect()).collect();
    }
    bench.writer.addr.do_send(FinishWriting);
    bench.passes(1000).await
}

/// D-09.
#[tokio::test(start_paused = true)]
async fn complete_is_said_only_after_a_look_that_finds_nothing() {
    with_actors(async {
        assert_eq!(finished_with(&[], &[]).await, ["records 0 1", "durable"]);
        assert_eq!(
            finished_with(&[&[0, 1], &[1]], &[0, 1]).await,
            ["records 0 1", "durable"],
            "it was right after all"
        );
        let heard = finished_with(&[&[0, 1]], &[0]).await;
        assert_eq!(heard[..2], ["records 0 1", "1 gone"], "{heard:?}");
    })
    .await;
}

/// D-04. A piece of a download that stays unreadable is fetched again.
#[tokio::test(start_paused = true)]
async fn a_piece_that_stays_unreadable_is_fetched_again_after_a_minute() {
    with_actors(async {
        let bench = Bench::ready(false, |script| script.right = (0..20).collect()).await;
        bench.write(0..2);
        bench.passes(20_000).await;
        let range = geometry().parse_range(1, 0, 5).unwrap();
        bench.script.lock().broken_until = Some(Instant::now() + Duration::from_secs(3600));
        bench.writer.addr.send(ReadRanges(vec![range])).await.unwrap();
        assert!(!bench.passes(59_000).await.iter().any(|line| line == "1 gone"));
        assert!(bench.passes(20_000).await.iter().any(|line| line == "1 gone"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn files_that_are_never_left_alone_end_it() {
    with_actors(async {
        let often: Vec<&[u32]> = vec![&[0]; MAX_DIRTY_LOOKS as usize];
        assert_eq!(finished_with(&often, &[0, 1]).await, ["records 0 1", "durable"], "as often as that is borne");
        let too_often: Vec<&[u32]> = vec![&[0]; MAX_DIRTY_LOOKS as usize + 1];
        assert_eq!(finished_with(&too_often, &[0, 1]).await, ["records 0 1", "trouble, given up"]);
    })
    .await;
}

/// D-09: hours may pass between the first look at the files and the end of the hashing.
#[tokio::test(start_paused = true)]
async fn what_was_changed_while_it_was_hashed_at_the_start_is_hashed_again() {
    with_actors(async {
        let change = |script: &mut Script| {
            script.have.set(piece(0));
            script.have.set(piece(1));
            script.right = [1].into();
            script.doubtful = [[0, 1].into(), [1].into()].into();
        };
        let bench = Bench::start(false, change).await;
        let want =
            ["opens", "admits 0 1", "admits 1", "checked 2 of 2", "admits 1", "checked 3 of 3", "ready: 1, 3 checked"];
        assert_eq!(bench.diary.read(), want);
    })
    .await;
}

/// D-15, I6.
#[tokio::test(start_paused = true)]
async fn a_read_that_finds_a_change_has_the_files_looked_at() {
    with_actors(async {
        let bench = Bench::ready(false, |script| script.right = [2].into()).await;
        bench.write(0..3);
        bench.passes(9_000).await;
        bench.script.lock().doubtful.push_back([1, 2].into());
        let range = geometry().parse_range(0, 9, 5).unwrap();
        assert_eq!(bench.writer.addr.send(ReadRanges(vec![range])).await.unwrap(), [None]);
        let heard = bench.passes(100).await;
        assert_eq!(heard, ["reads 0", "1 gone"], "0 itself is in no doubt");
    })
    .await;
}

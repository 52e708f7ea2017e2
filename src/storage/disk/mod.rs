//! [`Storage`] on real files. Every job runs on a thread of the blocking pool, except reads that need no waiting.

mod admitting;
mod doubts;
mod parts;
mod reading;
mod room;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::buffers::Buffers;
use super::check::{Hasher, data_ranges, hash_of_zeros};
use super::claims::Claims;
use super::coalesce;
use super::file_entry::{FileSpec, specs_of};
use super::files::{Owner, StoredFiles};
use super::folder::Folders;
use super::part_file::Part;
use super::record::FoundRecord;
use super::room::{Claim, Room};
use super::{
    DiskTrouble, Durability, Inventory, Later, OpenTrouble, PieceJob, PieceOutcome, Snapshot, Storage, sha1_lanes,
};
use crate::base::bitfield::Bitfield;
use crate::base::geometry::{Geometry, PieceIndex, PieceRange};
use crate::base::ids::InfoHash;
use crate::base::locked::Locked;
use crate::base::safe::Safe;
use crate::codec::metainfo::{Metainfo, PieceHashes};
use crate::codec::resume::{ResumeRecord, Witness};
use crate::logic::disk::resume::{OpenMode, Present, RecordTrust, RecordedTorrent, TrustReason, trust};
use admitting::strangers;
use doubts::Doubts;
use reading::Reading;
use state::DiskState;

/// 100 characters of a torrent's name in a message.
const SHOWN_NAME: usize = 100;

/// The configuration of a [`Disk`].
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub struct DiskConfig {
    /// The output folder; made if it does not exist.
    pub folder: std::path::PathBuf,
    /// What must survive a power cut.
    pub durability: Durability,
    /// Files that are in the way may be overwritten.
    pub overwrite: bool,
    /// The torrent's files may be made, written and cut to their lengths.
    pub may_write: bool,
    /// Hash everything, even what the record claims.
    pub verify: bool,
    /// The largest number of files that are open at the same time.
    pub max_open: usize,
    /// Whether each file is wanted, in the order of the torrent; `None`: all files.
    pub select: Option<Vec<bool>>,
    /// The buffers for reads that serve peers, shared by all torrents of the run.
    pub buffers: Buffers,
    /// The open output folders, shared by all torrents of the run.
    pub folders: Folders,
    /// The bytes that the torrents of the run still have to write.
    pub room: Room,
    /// Keep the state even when nothing in it is needed any more (`--keep-state`).
    pub keep_state: bool,
    /// The files that each torrent of the run uses.
    pub claims: Claims,
}

/// The storage of a torrent in real files.
#[derive(Debug, Clone)]
pub struct Disk(Arc<Inner>);

/// The torrent and its files, shared by the jobs.
#[derive(Debug)]
struct Inner {
    config: DiskConfig,
    info_hash: InfoHash,
    name: String,
    geometry: Geometry,
    hashes: PieceHashes,
    specs: Vec<FileSpec>,
    opened: OnceLock<Opened>,
}

/// The state after [`Storage::open`] has succeeded.
#[derive(Debug)]
struct Opened {
    files: StoredFiles,
    state: DiskState,
    looked: Locked<Looked>,
    /// The claim to disk space for what is still to be written.
    claim: Locked<Option<Claim>>,
    doubts: Doubts,
}

/// The state of the files when they were last looked at.
#[derive(Debug, Default)]
struct Looked {
    /// Files that hold bytes and that no record claims.
    strangers: Vec<usize>,
    witnesses: Vec<Witness>,
    part: Witness,
    /// Pieces that have the right hash with bytes from the part file, and must be written to their own files.
    strays: BTreeSet<PieceIndex>,
    /// Pieces that the record claims and that can be trusted.
    trusted: Option<Bitfield>,
}

impl Looked {
    /// Stores the witnesses of files. The number after the last file is the part file.
    fn note(&mut self, seen: BTreeMap<usize, Witness>) {
        for (file, witness) in seen {
            *self.witnesses.get_mut(file).unwrap_or(&mut self.part) = witness;
        }
    }
}

impl Disk {
    /// Makes the storage. Touches no file yet.
    pub fn new(metainfo: &Metainfo, config: DiskConfig) -> Self {
        Self(Arc::new(Inner {
            config,
            info_hash: metainfo.info.info_hash,
            name: Safe::new(&metainfo.info.name).at_most(SHOWN_NAME).to_string(),
            geometry: metainfo.info.geometry,
            hashes: metainfo.info.hashes.clone(),
            specs: specs_of(metainfo),
            opened: OnceLock::new(),
        }))
    }
}

impl Storage for Disk {
    fn open(&self) -> Later<Result<Inventory, OpenTrouble>> {
        self.run(|inner| inner.open(OpenMode::TrustRecord))
    }

    fn open_to_recheck(&self) -> Later<Result<Inventory, OpenTrouble>> {
        self.run(|inner| inner.open(OpenMode::Recheck))
    }

    fn check(&self, pieces: Vec<PieceIndex>) -> Later<Vec<(PieceIndex, Result<bool, DiskTrouble>)>> {
        self.run(move |inner| inner.check(pieces))
    }

    fn admit(&self, start: Snapshot) -> Later<Result<(), OpenTrouble>> {
        self.run(move |inner| inner.admit(&start))
    }

    fn abreast(&self) -> usize {
        sha1_lanes::width()
    }

    fn write(&self, jobs: Vec<PieceJob>) -> Later<Vec<PieceOutcome>> {
        self.run(move |inner| inner.write(jobs))
    }

    fn read(&self, ranges: Vec<PieceRange>) -> Later<Vec<Result<Bytes, DiskTrouble>>> {
        let mut reading = Reading::new(&self.0, &ranges);
        if reading.at_once(&self.0) {
            return Box::pin(std::future::ready(reading.finish(&self.0)));
        }
        self.run(move |inner| reading.finish(inner))
    }

    fn free(&self) -> Later<Option<u64>> {
        self.run(|inner| inner.opened().files.free())
    }

    fn vet(&self, have: Bitfield) -> Later<Result<Vec<PieceIndex>, DiskTrouble>> {
        self.run(move |inner| inner.vet(&have))
    }

    fn persist(&self, snapshot: Snapshot) -> Later<Result<(), DiskTrouble>> {
        self.run(move |inner| inner.persist(&snapshot))
    }
}

impl Disk {
    /// Runs a job on the blocking pool. A panic of the job is raised again where the future is awaited, so that the
    /// guard of the waiting actor catches it.
    fn run<T: Send + 'static>(&self, job: impl FnOnce(&Inner) -> T + Send + 'static) -> Later<T> {
        let inner = Arc::clone(&self.0);
        #[expect(clippy::disallowed_methods, reason = "this is the storage's pool")]
        let running = tokio::task::spawn_blocking(move || job(&inner));
        Box::pin(async move {
            match running.await {
                Ok(outcome) => outcome,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_cancelled) => std::future::pending().await,
            }
        })
    }
}

impl Inner {
    /// The opened files. Panics before [`Storage::open`] has succeeded.
    fn opened(&self) -> &Opened {
        self.opened.get().expect("the writer opens the storage before it uses it")
    }

    /// Opens the torrent's files. After a restart of the actor it is called again; the lock and the open files are then
    /// kept.
    fn open(&self, mode: OpenMode) -> Result<Inventory, OpenTrouble> {
        if self.opened.get().is_none() {
            let folder = self.config.folders.create(&self.config.folder);
            let folder = folder.map_err(|error| DiskTrouble::new("open", &self.config.folder, &error))?;
            let state = DiskState::lock(&self.config.folder, self.info_hash)?;
            let files = StoredFiles::new(folder, self.specs.clone(), self.config.max_open);
            let part = self.find_part(&files, &state)?;
            let root = std::fs::canonicalize(&self.config.folder);
            let root = root.unwrap_or_else(|_unreadable| self.config.folder.clone());
            let files = files.with_part(part).owned_by(Owner { claimant: self.config.claims.join(&self.name), root });
            let (looked, claim, doubts) = (Locked::default(), Locked::default(), Doubts::default());
            let opened = Opened { files, state, looked, claim, doubts };
            assert!(self.opened.set(opened).is_ok(), "one job at a time opens the storage");
        }
        self.look(self.opened(), mode)
    }

    /// Looks at all files and decides which pieces are trusted and which are to be hashed.
    fn look(&self, opened: &Opened, mode: OpenMode) -> Result<Inventory, OpenTrouble> {
        let files = &opened.files;
        let seen: Vec<_> = (0..self.specs.len()).map(|file| files.witness(file)).collect::<Result<_, _>>()?;
        let part = files.part().map_or(Ok(None), |_| files.witness(files.part_number()))?.unwrap_or_default();
        let present = part != Witness::default() || seen.iter().any(Option::is_some);
        let witnesses: Vec<Witness> = seen.into_iter().map(Option::unwrap_or_default).collect();
        let (record, note) = match opened.state.load() {
            FoundRecord::Record(record, None) => (Some(record), None),
            FoundRecord::Record(record, Some(reason)) => {
                (Some(record), Some(format!("{reason}; the one before it is used")))
            }
            FoundRecord::Unusable(reason) => (None, Some(reason.to_string())),
            FoundRecord::Nothing => (None, None),
        };
        let (received, sent) = record.as_ref().map_or((0, 0), |record| (record.downloaded, record.uploaded));
        let strangers = strangers(record.as_deref(), &witnesses, &self.specs);
        let trusted = record.map(|record| parts::without_marks(*record));
        let RecordTrust { have, check, reason } = self.trust(trusted.as_ref(), files, (&witnesses, &part), mode)?;
        files.vouch(witnesses.iter().copied().chain([part]));
        let witnesses = parts::with_marks(witnesses, files);
        let check = if present { self.worth_checking(files, check)? } else { Vec::new() };
        let reason = note.unwrap_or_else(|| reason.to_string());
        *opened.looked.lock() =
            Looked { strangers, witnesses, part, strays: BTreeSet::new(), trusted: Some(have.clone()) };
        let reason = (!check.is_empty()).then_some(reason);
        Ok(Inventory { have, check, reason, received, sent })
    }

    /// What of the record is trusted, by the state of the files.
    fn trust(
        &self,
        record: Option<&ResumeRecord>,
        files: &StoredFiles,
        (witnesses, part): (&[Witness], &Witness),
        mode: OpenMode,
    ) -> Result<RecordTrust, DiskTrouble> {
        let record = record.filter(|_| !self.config.verify);
        let torrent = RecordedTorrent { info_hash: self.info_hash, geometry: &self.geometry, layout: files.layout() };
        let present = Present { files: witnesses, folder_dev: files.folder().device() };
        let mut trust = trust(record.map(Ok), torrent, present);
        if trust.reason != TrustReason::MissingStorage {
            self.doubt_parts(&mut trust, record, files, (witnesses, part));
        }
        match trust.reason {
            TrustReason::MissingStorage => {
                let gone = std::io::Error::from(std::io::ErrorKind::NotFound);
                Err(DiskTrouble::new("open", files.folder().path(), &gone))
            }
            _ if mode == OpenMode::Recheck => Ok(RecordTrust {
                have: Bitfield::none(self.geometry.piece_count()),
                check: self.geometry.pieces().collect(),
                reason: TrustReason::Requested,
            }),
            // What was written after the last record is there: hashing it is cheaper than fetching it again.
            TrustReason::Unclean | TrustReason::Changed { .. } => {
                trust.check = self.geometry.pieces().filter(|piece| !trust.have.has(*piece)).collect();
                Ok(trust)
            }
            _ => Ok(trust),
        }
    }

    /// Of pieces that no record claims, those that have data on the disk, and those that consist of zeros.
    fn worth_checking(&self, files: &StoredFiles, pieces: Vec<PieceIndex>) -> Result<Vec<PieceIndex>, DiskTrouble> {
        let mut has_data = Bitfield::none(self.geometry.piece_count());
        for range in data_ranges(files)? {
            for piece in self.geometry.pieces_of(range) {
                has_data.set(piece);
            }
        }
        parts::pieces_with_part(files, &mut has_data)?;
        let zeros = hash_of_zeros(self.geometry.nominal_piece_len());
        Ok(pieces.into_iter().filter(|piece| has_data.has(*piece) || self.hashes.get(*piece) == zeros).collect())
    }

    /// Hashes pieces. A piece that is right only with bytes of the part file counts as right and is remembered as a
    /// stray.
    fn check(&self, pieces: Vec<PieceIndex>) -> Vec<(PieceIndex, Result<bool, DiskTrouble>)> {
        let opened = self.opened();
        let began = opened.doubts.mark();
        let judged = Hasher::new(&opened.files, self.geometry).are_right(&self.hashes, &pieces);
        let with_part = |(piece, judged)| match judged {
            Ok(true) => {
                opened.doubts.end(piece, began);
                (piece, Ok(true))
            }
            Ok(false) if self.is_strayed(opened, piece) => {
                opened.looked.lock().strays.insert(piece);
                (piece, Ok(true))
            }
            judged => (piece, judged),
        };
        pieces.into_iter().zip(judged).map(with_part).collect()
    }

    /// Syncs pieces that were hashed at the start. Their bytes may have been read from the page cache after a process
    /// was killed before it synced them, and they must be on stable storage before the record claims them (D-12).
    fn harden_found(&self, start: &Snapshot, opened: &Opened) -> Result<(), DiskTrouble> {
        if self.config.durability != Durability::Safe {
            return Ok(());
        }
        let trusted = opened.looked.lock().trusted.clone();
        let is_trusted = |piece| trusted.as_ref().is_some_and(|trusted| trusted.has(piece));
        let found = self.geometry.pieces().filter(|piece| start.have.has(*piece) && !is_trusted(*piece));
        opened.files.sync_bytes_of(found.map(|piece| {
            let at = self.geometry.piece_start(piece);
            at..at + u64::from(self.geometry.piece_len(piece))
        }))
    }

    /// Hashes all pieces side by side, then writes those that are right while they are in the processor's cache.
    fn write(&self, jobs: Vec<PieceJob>) -> Vec<PieceOutcome> {
        let digests = sha1_lanes::digests(jobs.iter().map(|job| job.blocks.iter().map(|block| &block[..])));
        // All at once: each lies elsewhere in a long list, and memory answers several questions in the time of one.
        let expected: Vec<_> = jobs.iter().map(|job| self.hashes.get(job.piece)).collect();
        let is_right: Vec<bool> = digests.into_iter().zip(expected).map(|(digest, hash)| digest == hash).collect();
        let began = self.opened().doubts.mark();
        let written = self.keep(&jobs, &is_right);
        self.note_room(&jobs, &is_right, &written);
        let outcome = |((job, is_right), written): ((PieceJob, bool), _)| match written {
            _ if !is_right => PieceOutcome::HashMismatch(job.piece),
            Ok(()) => {
                self.opened().doubts.end(job.piece, began);
                PieceOutcome::Written(job.piece)
            }
            Err(trouble) => PieceOutcome::Trouble(job, self.with_need(self.opened(), trouble)),
        };
        jobs.into_iter().zip(is_right).zip(written).map(outcome).collect()
    }

    /// Writes the pieces that are right, neighbours in one write. If that fails, each piece is written by itself, so
    /// that one bad place affects one piece only.
    fn keep(&self, jobs: &[PieceJob], is_right: &[bool]) -> Vec<Result<(), DiskTrouble>> {
        let files = &self.opened().files;
        let right: Vec<usize> = (0..jobs.len()).filter(|nth| is_right[*nth]).collect();
        let place = |piece| (self.geometry.piece_start(piece), self.geometry.piece_len(piece).into());
        let places: Vec<_> = right.iter().map(|nth| place(jobs[*nth].piece)).collect();
        let mut results: Vec<_> = jobs.iter().map(|_| Ok(())).collect();
        for run in coalesce::runs(&places) {
            let members = || run.parts.iter().map(|part| right[*part]);
            let all = || members().flat_map(|nth| jobs[nth].blocks.iter().cloned()).collect::<Vec<_>>();
            if run.parts.len() > 1 && files.write(run.start, &all()).is_ok() {
                continue;
            }
            for nth in members() {
                results[nth] = files.write(self.geometry.piece_start(jobs[nth].piece), &jobs[nth].blocks);
            }
        }
        results
    }

    /// Makes written data durable, then saves the record or removes it if it is of no further use.
    fn persist(&self, snapshot: &Snapshot) -> Result<(), DiskTrouble> {
        let opened = self.opened();
        let touched = match self.config.durability {
            Durability::Safe => opened.files.sync()?,
            Durability::Relaxed | Durability::Off => opened.files.forgo_sync()?,
        };
        if snapshot.clean {
            // The last look: nothing of ours changes the files any more.
            self.vet(&snapshot.have)?;
        } else {
            self.note_doubts(opened, &opened.files.doubtful());
        }
        opened.looked.lock().note(touched);
        if snapshot.clean && self.is_state_useless(snapshot, opened) {
            opened.state.forget();
            return Ok(());
        }
        opened.state.save(&self.record(snapshot, opened), self.config.durability != Durability::Off)
    }

    /// Whether the record is of no further use: the torrent is complete and will not be seeded, or it has no data at
    /// all.
    fn is_state_useless(&self, snapshot: &Snapshot, opened: &Opened) -> bool {
        let looked = opened.looked.lock();
        let is_not_ours = |witness: &Witness| [Witness::default(), Witness::NOT_OURS].contains(witness);
        let is_nothing = snapshot.have.is_none() && looked.witnesses.iter().chain([&looked.part]).all(is_not_ours);
        let is_done = snapshot.done && snapshot.have.is_all() && !opened.files.part().is_some_and(Part::is_needed);
        is_nothing || (is_done && !self.config.keep_state)
    }

    /// The record of this moment, without the pieces in doubt.
    fn record(&self, snapshot: &Snapshot, opened: &Opened) -> ResumeRecord {
        let looked = opened.looked.lock();
        let record = ResumeRecord {
            info_hash: self.info_hash,
            pieces: self.geometry.piece_count(),
            have: snapshot.have.clone(),
            files: looked.witnesses.clone(),
            part: looked.part,
            downloaded: snapshot.received,
            uploaded: snapshot.sent,
            clean: snapshot.clean,
        };
        self.without_doubts(record, opened)
    }
}

#[cfg(test)]
mod tests;

//! What tests of whole torrents share: a storage in memory, a peer that gives as much as it is told to, a way to make
//! any actor fall over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use actix::prelude::*;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;
use tokio::time::sleep;

use super::disk_writer::DiskWriter;
use super::kit::{Ctx, Place};
use super::peer_pool::PeerPool;
use super::piece_scheduler::PieceScheduler;
use super::torrent::{Aim, TorrentConfig};
use super::tracker_supervisor::TrackerSupervisor;
use super::view::TorrentView;
use crate::base::bitfield::Bitfield;
use crate::base::geometry::{Geometry, PieceIndex, PieceRange};
use crate::base::ids::{InfoHash, PeerId};
use crate::base::locked::Locked;
use crate::codec::wire::{Decoder, Handshake, Message};
use crate::logic::peers::peer_book::BookConfig;
use crate::logic::torrent::selection::WantedPieces;
use crate::net::Net;
use crate::net::throttle::RateLimits;
use crate::storage::{
    DiskTrouble, Inventory, Later, OpenTrouble, PieceJob, PieceOutcome, Snapshot, Storage, TroubleKind,
};

/// Four pieces of two blocks.
pub(crate) fn geometry() -> Geometry {
    Geometry::new(4 * PIECE, PIECE).unwrap()
}

/// Bytes in a piece of [`geometry`].
pub(crate) const PIECE: u64 = 32 * 1024;

/// What lies on a [`Shelf`] when it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShelfContent {
    Nothing,
    Everything,
    /// A disk that cannot be written.
    Trouble,
    /// A bug of ours.
    Panic,
}

/// A storage in memory that takes whatever it is given.
#[derive(Debug)]
pub(crate) struct Shelf {
    found: ShelfContent,
    /// So many of the next writes end in a panic.
    pub(crate) panics: AtomicU32,
    /// How often it was opened.
    pub(crate) opened: AtomicU32,
    /// How many of those times no record was to be believed.
    pub(crate) rechecked: AtomicU32,
    /// What was asked to be recorded last.
    pub(crate) recorded: Locked<Option<Snapshot>>,
    /// So many of the first pieces are wrong when they are hashed; of the others, those that are recorded are right.
    pub(crate) spoiled: AtomicU32,
}

impl Shelf {
    pub(crate) fn with(found: ShelfContent) -> Arc<Self> {
        Arc::new(Self {
            found,
            panics: AtomicU32::new(0),
            opened: AtomicU32::new(0),
            rechecked: AtomicU32::new(0),
            recorded: Locked::default(),
            spoiled: AtomicU32::new(0),
        })
    }

    fn falls_over(&self) -> bool {
        self.panics.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

impl Storage for Shelf {
    fn open(&self) -> Later<Result<Inventory, OpenTrouble>> {
        self.opened.fetch_add(1, Relaxed);
        let pieces = geometry().piece_count();
        let inventory = |have| Ok(Inventory { have, check: Vec::new(), reason: None, received: 0, sent: 0 });
        let opened = match self.found {
            ShelfContent::Nothing => inventory(Bitfield::none(pieces)),
            ShelfContent::Everything => inventory(Bitfield::all(pieces)),
            ShelfContent::Trouble => Err(OpenTrouble::Disk(DiskTrouble {
                kind: TroubleKind::ReadOnly,
                operation: "open",
                path: "/shelf".into(),
                offset: None,
                space: None,
                reason: "because".to_owned(),
            })),
            ShelfContent::Panic => panic!("the shelf fell over"),
        };
        Box::pin(async { opened })
    }

    fn open_to_recheck(&self) -> Later<Result<Inventory, OpenTrouble>> {
        self.opened.fetch_add(1, Relaxed);
        self.rechecked.fetch_add(1, Relaxed);
        let have = Bitfield::none(geometry().piece_count());
        let check = geometry().pieces().collect();
        let inventory = Inventory { have, check, reason: Some("as asked".to_owned()), received: 0, sent: 0 };
        Box::pin(async { Ok(inventory) })
    }

    fn check(&self, pieces: Vec<PieceIndex>) -> Later<Vec<(PieceIndex, Result<bool, DiskTrouble>)>> {
        let (spoiled, recorded) = (self.spoiled.load(Relaxed), self.recorded.lock().clone());
        Box::pin(async move {
            sleep(Duration::from_secs(1)).await;
            let is_there = |piece: &PieceIndex| recorded.as_ref().is_some_and(|snapshot| snapshot.have.has(*piece));
            let is_right = |piece: PieceIndex| (piece, Ok(is_there(&piece) && piece.get() >= spoiled));
            pieces.into_iter().map(is_right).collect()
        })
    }

    fn admit(&self, _: Snapshot) -> Later<Result<(), OpenTrouble>> {
        Box::pin(async { Ok(()) })
    }

    fn abreast(&self) -> usize {
        1
    }

    fn write(&self, jobs: Vec<PieceJob>) -> Later<Vec<PieceOutcome>> {
        assert!(!self.falls_over(), "the shelf fell over");
        Box::pin(async { jobs.into_iter().map(|job| PieceOutcome::Written(job.piece)).collect() })
    }

    fn read(&self, ranges: Vec<PieceRange>) -> Later<Vec<Result<Bytes, DiskTrouble>>> {
        Box::pin(async move { ranges.iter().map(|range| Ok(vec![0; range.len() as usize].into())).collect() })
    }

    fn vet(&self, _: Bitfield) -> Later<Result<Vec<PieceIndex>, DiskTrouble>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn persist(&self, snapshot: Snapshot) -> Later<Result<(), DiskTrouble>> {
        *self.recorded.lock() = Some(snapshot);
        Box::pin(async { Ok(()) })
    }
}

/// A torrent that has nobody but this peer, and what it publishes.
pub(crate) fn torrent(shelf: Arc<Shelf>, net: Net) -> (TorrentConfig, watch::Receiver<TorrentView>) {
    let (name, info_hash) = ("test".to_owned(), InfoHash([1; 20]));
    let (view, views) = watch::channel(TorrentView::new(name.clone(), info_hash, geometry().total_len()));
    let cfg = TorrentConfig {
        name,
        info_hash,
        geometry: geometry(),
        wanted: Arc::new(WantedPieces::everything(&geometry())),
        aim: Aim::Fetch { then: None },
        super_seed: false,
        tiers: Vec::new(),
        private: false,
        peers: vec!["192.0.2.1:6881".parse().unwrap()],
        our_id: PeerId([2; 20]),
        port: 6881,
        net,
        limits: RateLimits::default(),
        storage: shelf,
        patient_disk: true,
        credit: 1 << 20,
        book: BookConfig::default(),
        stop_timeout: Duration::from_secs(2),
        seed: 1,
        listener: None,
        place: Place::Here,
        view: Arc::new(view),
    };
    (cfg, views)
}

/// A seed at the far end of a connection: one block after the other, as many as `may_give` says by then. Until the other
/// end leaves.
pub(crate) async fn give(mut far: DuplexStream, mut may_give: watch::Receiver<u32>) {
    let mut theirs = [0; Handshake::LEN];
    let ours = Handshake { reserved: [0; 8], info_hash: InfoHash([1; 20]), peer_id: PeerId([3; 20]) };
    if far.read_exact(&mut theirs).await.is_err() || far.write_all(&ours.encode()).await.is_err() {
        return;
    }
    let (mut decoder, mut buffer, mut out) = (Decoder::new(geometry().piece_count()), BytesMut::new(), BytesMut::new());
    Message::Bitfield(Bytes::from_static(&[0xf0])).encode(&mut out);
    Message::Unchoke.encode(&mut out);
    if far.write_all(&out.split()).await.is_err() {
        return;
    }
    let mut given = 0;
    loop {
        while let Some(message) = decoder.decode(&mut buffer).unwrap() {
            if let Message::Request(request) = message {
                if may_give.wait_for(|most| *most > given).await.is_err() {
                    return;
                }
                given += 1;
                let data = vec![0; request.len as usize].into();
                Message::Piece { piece: request.piece, begin: request.begin, data }.encode(&mut out);
                if far.write_all(&out.split()).await.is_err() {
                    return;
                }
            }
        }
        if far.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
            return;
        }
    }
}

/// Panic.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct FallOver;

macro_rules! falls_over {
    ($($actor:ty),+) => {$(
        impl Handler<FallOver> for $actor {
            type Result = ();

            fn handle(&mut self, _: FallOver, _: &mut Ctx<Self>) {
                panic!("as the test wants it");
            }
        }
    )+};
}

falls_over!(DiskWriter, PieceScheduler, PeerPool, TrackerSupervisor);

//! A disk in memory, and changes of its files by other programs.

use std::sync::Arc;

use sha1::{Digest, Sha1};

use super::*;
use crate::storage::SharedStorage;

const LEN: u64 = 40_000;

/// The [`LEN`] bytes of the torrent. No two pieces are equal: 16,384 is no multiple of 251.
struct Payload(Vec<u8>);

impl Payload {
    fn new() -> Self {
        Self((0..251).cycle().take(usize::try_from(LEN).unwrap()).collect())
    }

    /// Returns a range; the part beyond the end is cut off.
    fn read(&self, at: u64, len: usize) -> Vec<u8> {
        self.0.iter().copied().skip(usize::try_from(at).unwrap()).take(len).collect()
    }
}

/// Returns a torrent of three pieces of at most 16 KiB, its bytes, and a disk for it.
fn disk() -> (Metainfo, Payload, Medium) {
    let payload = Payload::new();
    let hashes: Vec<u8> = payload.0.chunks(16_384).flat_map(Sha1::digest).collect();
    let mut torrent = b"d4:infod6:lengthi40000e4:name1:x12:piece lengthi16384e6:pieces60:".to_vec();
    torrent.extend(hashes);
    torrent.extend(b"ee");
    (Metainfo::parse(&torrent).unwrap(), payload, Medium::new(LEN))
}

fn job(metainfo: &Metainfo, payload: &Payload, number: u32) -> PieceJob {
    let piece = metainfo.info.geometry.piece(number).unwrap();
    let (at, len) = (metainfo.info.geometry.piece_start(piece), metainfo.info.geometry.piece_len(piece) as usize);
    PieceJob { piece, blocks: Arc::new([payload.read(at, len).into()]) }
}

fn snapshot(metainfo: &Metainfo, pieces: &[u32]) -> Snapshot {
    let mut have = Bitfield::none(metainfo.info.geometry.piece_count());
    for piece in pieces {
        have.set(metainfo.info.geometry.piece(*piece).unwrap());
    }
    Snapshot { have, received: 1, sent: 2, clean: false, done: false }
}

async fn found(metainfo: &Metainfo, medium: &Medium) -> (Vec<u32>, Vec<u32>) {
    let inventory = Memory::new(metainfo, medium.clone()).open().await.unwrap();
    let check = inventory.check.iter().map(|piece| piece.get()).collect();
    (inventory.have.iter_ones().collect(), check)
}

#[tokio::test]
async fn a_power_cut_keeps_synced_pages_and_some_of_the_others() {
    let (metainfo, payload, medium) = disk();
    let storage: SharedStorage = Arc::new(Memory::new(&metainfo, medium.clone()));
    assert_eq!(found(&metainfo, &medium).await, (vec![], vec![]));
    storage.admit(snapshot(&metainfo, &[])).await.unwrap();
    let outcome = storage.write(vec![job(&metainfo, &payload, 0)]).await;
    assert!(matches!(outcome[..], [PieceOutcome::Written(_)]));
    storage.persist(snapshot(&metainfo, &[0])).await.unwrap();
    storage.write(vec![job(&metainfo, &payload, 1), job(&metainfo, &payload, 2)]).await;
    assert_eq!(medium.visible(), payload.read(0, 40_000));
    let mut nth = 0;
    medium.cut_power(|| {
        nth += 1;
        nth == 1
    });
    let left = medium.visible();
    assert_eq!(left[..16_384 + PAGE], payload.read(0, 16_384 + PAGE));
    assert!(left[16_384 + PAGE..].iter().all(|byte| *byte == 0));
    assert_eq!(found(&metainfo, &medium).await, (vec![0], vec![1]), "what has data is worth a look");
}

#[tokio::test]
async fn a_failed_sync_forgets_what_it_should_have_synced() {
    let (metainfo, payload, medium) = disk();
    let storage = Memory::new(&metainfo, medium.clone());
    storage.write(vec![job(&metainfo, &payload, 0)]).await;
    medium.strike(Operation::Sync, 1, io::ErrorKind::Other);
    assert!(storage.persist(snapshot(&metainfo, &[0])).await.is_err());
    assert_eq!(medium.durable().1, None, "no record of it");
    storage.persist(snapshot(&metainfo, &[])).await.unwrap();
    assert!(medium.durable().0.iter().all(|byte| *byte == 0), "a later sync does not come back to it");
    assert_eq!(medium.failures(), [(Operation::Sync, 1)].into());
}

#[tokio::test]
async fn a_failing_medium_returns_the_job() {
    let (metainfo, payload, medium) = disk();
    let storage = Memory::new(&metainfo, medium.clone());
    medium.change(|health| _ = health.failing.insert(Operation::Write, io::ErrorKind::StorageFull));
    let outcome = storage.write(vec![job(&metainfo, &payload, 0)]).await;
    assert!(matches!(&outcome[..], [PieceOutcome::Trouble(job, _)] if job.piece.get() == 0));
    medium.change(|health| health.failing.clear());
    let wrong = PieceJob { blocks: Arc::new([Bytes::from(vec![0; 16_384])]), ..job(&metainfo, &payload, 0) };
    let outcome = storage.write(vec![wrong, job(&metainfo, &payload, 0)]).await;
    assert!(matches!(outcome[..], [PieceOutcome::HashMismatch(_), PieceOutcome::Written(_)]));
    medium.rot(3);
    let checked = storage.check(vec![metainfo.info.geometry.piece(0).unwrap()]).await;
    assert!(matches!(checked[..], [(_, Ok(false))]));
}

#[tokio::test]
async fn a_recheck_believes_no_record() {
    let (metainfo, payload, medium) = disk();
    let storage: SharedStorage = Arc::new(Memory::new(&metainfo, medium.clone()));
    storage.open().await.unwrap();
    storage.admit(snapshot(&metainfo, &[])).await.unwrap();
    storage.write(vec![job(&metainfo, &payload, 0), job(&metainfo, &payload, 2)]).await;
    storage.persist(Snapshot { clean: true, ..snapshot(&metainfo, &[0, 2]) }).await.unwrap();
    let inventory = storage.open_to_recheck().await.unwrap();
    let check: Vec<u32> = inventory.check.iter().map(|piece| piece.get()).collect();
    assert_eq!((inventory.have.is_none(), check), (true, vec![0, 2]), "piece 1 has no data");
}

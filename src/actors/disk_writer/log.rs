//! What the log says about a torrent's disk.

use crate::logic::disk::schedule::DiskNote;

/// Writes a note of the schedule into the log.
pub(super) fn log(note: DiskNote) {
    match note {
        DiskNote::UnreadableAtStart(piece, trouble) => {
            tracing::warn!(%piece, %trouble, "piece cannot be read, it is fetched again");
        }
        DiskNote::UnreadableForPeer(trouble) => {
            tracing::warn!(%trouble, "block cannot be read for a peer, its request is dropped");
        }
        DiskNote::SyncFailed { trouble, pieces } => {
            tracing::warn!(%trouble, pieces, "sync failed, what was written is in doubt");
        }
        DiskNote::RecordFailed { trouble, pieces, is_first: true } => {
            tracing::warn!(%trouble, pieces, "pieces are written but not recorded");
        }
        DiskNote::RecordFailed { trouble, pieces, is_first: false } => {
            tracing::debug!(%trouble, pieces, "pieces are still not recorded");
        }
        DiskNote::RecordWorksAgain => tracing::info!("the record can be written again"),
        DiskNote::UnsyncedPieceLost(piece) => {
            tracing::warn!(%piece, "what was written before the failed sync is not there");
        }
        DiskNote::LookFailed(trouble) => tracing::warn!(%trouble, "files cannot be looked at"),
        DiskNote::FilesChanged(pieces) => {
            tracing::warn!(pieces, "files were changed by another program, their pieces are hashed");
        }
        DiskNote::CheckedAgain { piece, judgement, trouble } => {
            let trouble = trouble.map(tracing::field::display);
            tracing::debug!(%piece, ?judgement, trouble, "piece was hashed again");
        }
        DiskNote::PiecesLost(pieces) => {
            tracing::warn!(pieces, "pieces on the disk are not what was written, they are not given to others");
        }
    }
}

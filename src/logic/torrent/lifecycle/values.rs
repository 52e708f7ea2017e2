//! What goes into the machine of a torrent and what comes out of it: states, effects, the findings of a survey, refusals.

use crate::base::geometry::PieceIndex;
use crate::logic::disk::resume::OpenMode;
use crate::logic::torrent::survey_clock::PeerInterest;

/// What a torrent does while it is not paused, and what it goes back to after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TorrentActivity {
    /// The disk writer opens the files.
    Opening,
    /// The disk writer hashes data that was there before.
    Checking,
    /// Wanted pieces are missing and are fetched.
    Fetching,
    /// Every wanted piece is written. The disk writer makes them durable and looks at every file once more.
    Finishing {
        /// The torrent was seeding before and has reached its goal.
        seeded: bool,
    },
    /// Every wanted piece is durable, and the torrent is given to others.
    Seeding,
    /// Every wanted piece is durable, and nothing more is to be done.
    Complete,
    /// The files cannot be worked on.
    Failed,
}

impl TorrentActivity {
    /// Every wanted piece is durable and was not found lost since.
    pub const fn is_complete(self) -> bool {
        matches!(self, Self::Seeding | Self::Finishing { seeded: true } | Self::Complete)
    }

    /// The disk writer has not yet said which pieces are there.
    pub const fn is_checking(self) -> bool {
        matches!(self, Self::Opening | Self::Checking)
    }
}

/// The state of a torrent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TorrentState {
    /// It does this.
    Active(TorrentActivity),
    /// A user paused it. No peer is connected; what the disk writer has begun goes on.
    Paused(TorrentActivity),
}

impl TorrentState {
    /// What it does, or goes back to after the pause.
    pub const fn activity(self) -> TorrentActivity {
        let (Self::Active(activity) | Self::Paused(activity)) = self;
        activity
    }

    /// With another activity, paused or not as it is.
    pub(super) const fn with(self, activity: TorrentActivity) -> Self {
        if self.is_paused() { Self::Paused(activity) } else { Self::Active(activity) }
    }

    /// Peers and trackers are needed in it.
    pub(super) const fn needs_peers(self) -> bool {
        use TorrentActivity::{Fetching, Finishing, Seeding};
        matches!(self, Self::Active(Fetching | Finishing { .. } | Seeding))
    }

    /// Whether a user paused it.
    pub const fn is_paused(self) -> bool {
        matches!(self, Self::Paused(_))
    }
}

/// What the shell has to do, in the order in which it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifecycleEffect {
    /// Start the disk writer.
    StartDisk(OpenMode),
    /// End the disk writer, then call [`super::TorrentLifecycle::on_disk_stopped`].
    StopDisk,
    /// Start the piece scheduler, the peer pool and the trackers.
    StartPeers,
    /// End the trackers (which announce `stopped`), the peer pool and the piece scheduler, then call
    /// [`super::TorrentLifecycle::on_peers_stopped`].
    StopPeers,
    /// Ask the piece scheduler, the peer pool and the trackers how they stand, then call
    /// [`super::TorrentLifecycle::on_surveyed`].
    Survey,
    /// Tell the disk writer to make everything durable and to say so.
    FinishWriting,
    /// Tell the disk writer that its record is not needed any more.
    ForgetState,
    /// Tell the piece scheduler to ask peers for nothing (`true`), or to go on.
    PauseScheduler(bool),
    /// Tell the piece scheduler that the writes on their way are lost.
    RepeatWrites,
    /// Tell the piece scheduler that this piece is not there any more.
    ForgetPiece(PieceIndex),
    /// Tell the peer pool that the piece scheduler is new.
    IntroducePeers,
    /// Tell the peer pool that nothing is fetched any more.
    SeedToPeers,
    /// Tell the peer pool that pieces are fetched again.
    FetchFromPeers,
    /// Tell the trackers that the download is complete.
    AnnounceCompleted,
    /// Publish the view.
    Publish,
    /// End all children, then the torrent. The last effect.
    End,
}

/// What a survey found, as far as it matters for what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SurveyFindings {
    /// Every child has answered in time.
    pub all_answered: bool,
    /// Bytes a second, received and sent together.
    pub bps: u64,
    /// Bytes of blocks sent in this run.
    pub bytes_sent: u64,
    /// What the connected peers want, and what we want of them.
    pub peers: PeerInterest,
}

/// Why a command is not obeyed. The torrent is as it was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandRefusal {
    /// No torrent of the session has this info-hash.
    #[error("no such torrent")]
    NoSuchTorrent,
    /// The torrent was restarted over the command, or is too busy.
    #[error("the torrent does not answer; try again")]
    NoAnswer,
    /// It is on its way out.
    #[error("the torrent is being stopped")]
    Stopping,
    /// [`super::TorrentLifecycle::pause`] of a torrent that is paused.
    #[error("the torrent is paused already")]
    AlreadyPaused,
    /// [`super::TorrentLifecycle::resume`] of a torrent that is neither paused nor failed.
    #[error("the torrent is not paused")]
    NotPaused,
    /// [`super::TorrentLifecycle::pause`] of a torrent that has failed.
    #[error("the torrent has failed; resume it or check it again to try once more")]
    Failed,
    /// [`super::TorrentLifecycle::recheck`] before the disk writer is done with its files.
    #[error("the files of the torrent are being checked already")]
    AlreadyChecking,
}

//! How often which actor may fail: the numbers of the tree (`docs/SUPERVISION.md`), in one place.
//!
//! Only abnormal ends count: a panic, a broken invariant. What the network deals out is never counted.

use std::time::Duration;

use crate::logic::restart::Policy;

/// 100 ms before the first restart, doubling to 10 s; a minute without a failure forgets the earlier ones. The first is
/// quick because a panic is most often one poisonous message, the cap is what a person would wait.
const fn policy(max_restarts: u32, window_s: u64) -> Policy {
    Policy {
        max_restarts,
        window: Duration::from_secs(window_s),
        base: Duration::from_millis(100),
        cap: Duration::from_secs(10),
        stable: Duration::from_secs(60),
    }
}

/// The root: after it, the program ends with its state safe.
pub const SESSION: Policy = policy(3, 60);
/// The root of another arbiter; after it, nothing new starts there and the run ends.
pub const HOST: Policy = policy(3, 60);
/// A torrent; when it is spent, the torrent is failed and the others live.
pub const TORRENT: Policy = policy(3, 60);
/// A torrent's children taken together: the sum of their budgets.
pub const TORRENT_CHILDREN: Policy = policy(13, 60);
/// The session's children taken together.
pub const SESSION_CHILDREN: Policy = policy(20, 60);
/// Nothing acknowledged is lost.
pub const DISK_WRITER: Policy = policy(5, 60);
/// Rebuilt from the writer's bitfield.
pub const PIECE_SCHEDULER: Policy = policy(5, 30);
/// The book survives.
pub const PEER_POOL: Policy = policy(3, 60);
/// Tier order and flags survive.
pub const TRACKER_SUPERVISOR: Policy = policy(3, 60);
/// A tracker; when it is spent, the tracker is disabled and tried again every half hour.
pub const TRACKER: Policy = policy(5, 600);
/// The door for peers that come by themselves; which torrents are served survives.
pub const LISTENER: Policy = policy(10, 60);
/// The metrics.
pub const METRICS: Policy = policy(5, 60);
/// The root of a tracker: after it, the program ends.
pub const TRACKER_SERVER: Policy = policy(3, 60);
/// A tracker's children taken together.
pub const TRACKER_SERVER_CHILDREN: Policy = policy(10, 60);
/// All swarms of a tracker.
pub const SWARM_KEEPER: Policy = policy(5, 60);
/// One socket of a tracker; the socket survives.
pub const TRACKER_DESK: Policy = policy(5, 60);

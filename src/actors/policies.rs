//! The restart policy of every actor (`docs/SUPERVISION.md`), in one place.
//!
//! Only abnormal ends count: a panic or a broken invariant. Ends that the network causes are never counted.

use std::time::Duration;

use crate::logic::restart::Policy;

/// A back-off of 100 ms before the first restart, doubling to 10 s. A minute without a failure forgets the earlier
/// ones. The first back-off is short because a panic is usually caused by one message. The longest is what a user
/// would wait.
const fn policy(max_restarts: u32, window_s: u64) -> Policy {
    Policy {
        max_restarts,
        window: Duration::from_secs(window_s),
        base: Duration::from_millis(100),
        cap: Duration::from_secs(10),
        stable: Duration::from_secs(60),
    }
}

/// The root. When its budget is spent, the program ends with its state safe.
pub const SESSION: Policy = policy(3, 60);
/// The root of another arbiter. When its budget is spent, nothing is started there any more and the run ends.
pub const HOST: Policy = policy(3, 60);
/// A torrent. When its budget is spent it has failed; other torrents are not affected.
pub const TORRENT: Policy = policy(3, 60);
/// All children of a torrent together: 13, fewer than the 16 that their own budgets add up to, so that a torrent of which
/// every part fails is restarted before each part has spent its own budget.
pub const TORRENT_CHILDREN: Policy = policy(13, 60);
/// The session's torrents taken together: seven that spend their budgets in the same minute have one cause.
pub const SESSION_TORRENTS: Policy = policy(20, 60);
/// The session's other children taken together: below the sum of their budgets.
pub const SESSION_SERVICES: Policy = policy(12, 60);
/// The disk writer. No acknowledged write is lost by a restart.
pub const DISK_WRITER: Policy = policy(5, 60);
/// The piece scheduler. It is rebuilt from the writer's bitfield.
pub const PIECE_SCHEDULER: Policy = policy(5, 30);
/// The peer pool. The peer book survives a restart.
pub const PEER_POOL: Policy = policy(3, 60);
/// The tracker supervisor. The order of the tiers and the sent events survive a restart.
pub const TRACKER_SUPERVISOR: Policy = policy(3, 60);
/// One tracker. When its budget is spent it is disabled and tried again every half hour.
pub const TRACKER: Policy = policy(5, 600);
/// The listener for inbound connections. The list of served torrents survives a restart.
pub const LISTENER: Policy = policy(10, 60);
/// The metrics actor.
pub const METRICS: Policy = policy(5, 60);
/// The root of the tracker that we serve. When its budget is spent, the program ends.
pub const TRACKER_SERVER: Policy = policy(3, 60);
/// The children of that root together.
pub const TRACKER_SERVER_CHILDREN: Policy = policy(10, 60);
/// The actor that holds all swarms of the tracker that we serve.
pub const SWARM_KEEPER: Policy = policy(5, 60);
/// The actor of one socket of the tracker that we serve. The socket survives a restart.
pub const TRACKER_DESK: Policy = policy(5, 60);

//! Children on their way out: told to end, waited for, killed when they take too long.

use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::ChildHandle;

/// 100 ms: a kill takes one turn of the child's arbiter; one that needs longer is stuck in a computation.
const KILL_GRACE: Duration = Duration::from_millis(100);

/// Children on their way out, in the order of their start. Dropped, it stops those that are left, the last one first.
pub(super) struct Leaving(pub(super) Vec<ChildHandle>);

impl Leaving {
    /// Ends one after the other, the last one first, each within `each`.
    pub(super) async fn end_in_turn(mut self, each: Duration) {
        while let Some(mut member) = self.0.pop() {
            member.stop();
            if timeout(each, member.ended()).await.is_err() {
                kill(&member, each);
                let _ended_or_stuck = timeout(KILL_GRACE, member.ended()).await;
            }
        }
    }

    /// Ends all at once, all of them within `within`.
    pub(super) async fn end_together(mut self, within: Duration) {
        let deadline = Instant::now() + within;
        self.0.iter().rev().for_each(ChildHandle::stop);
        let mut late = Vec::new();
        while let Some(mut member) = self.0.pop() {
            if timeout_at(deadline, member.ended()).await.is_err() {
                kill(&member, within);
                late.push(member);
            }
        }
        let grace = Instant::now() + KILL_GRACE;
        for mut member in late {
            let _ended_or_stuck = timeout_at(grace, member.ended()).await;
        }
    }
}

fn kill(member: &ChildHandle, limit: Duration) {
    let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    tracing::warn!(actor = member.kind(), limit_ms, "actor killed: it did not end when told to");
    member.kill();
}

impl Drop for Leaving {
    fn drop(&mut self) {
        while let Some(member) = self.0.pop() {
            drop(member);
        }
    }
}

//! A parent's children: started top to bottom, stopped bottom to top one after the other, their failures counted together.
//!
//! A parent keeps its family through a restart and clears it before it starts children again, so that two generations
//! never overlap:
//!
//! ```text
//! started   self.family.clear(ctx, STOP_TIMEOUT, Self::start_children)
//! Goodbye   self.family.clear(ctx, STOP_TIMEOUT, |_, ctx| ctx.stop())
//! stopped   self.family.dismiss()
//! ```

use std::time::Duration;

use actix::fut::wrap_future;
use actix::{Actor, ActorFutureExt, Addr, AsyncContext};
use tokio::time::{Instant, timeout};

use super::child::{ChildEvent, ChildId, Lifecycle};
use super::context::Ctx;
use super::exit::ActorExit;
use super::handle::{ChildHandle, SupervisedChild};
use crate::logic::restart::{Decision, History, Policy};

/// 100 ms: a kill takes one turn of the child's arbiter; one that needs longer is stuck in a computation.
const KILL_GRACE: Duration = Duration::from_millis(100);

/// The children of one parent, in the order in which they were started.
#[derive(Debug)]
pub struct Family {
    members: Vec<ChildHandle>,
    /// How many abnormal restarts the parent takes from all its children together; only its count and window matter.
    intensity: Policy,
    history: History,
}

/// What an event of a child means for its parent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a parent that ignores it never escalates"]
pub enum ChildVerdict {
    /// Nothing to do.
    Fine,
    /// The child's budget is spent and it is no member any more. A parent that cannot live without it stops with
    /// [`ChildVerdict::fault`].
    GaveUp {
        /// Which kind of child.
        kind: &'static str,
        /// What it failed of.
        exit: ActorExit,
    },
    /// The children fail too often, taken together: the parent stops with [`ChildVerdict::fault`].
    Spent {
        /// Which kind of child was the last straw.
        kind: &'static str,
    },
}

impl ChildVerdict {
    /// The exit of a parent that escalates; `None` when there is no reason to.
    pub fn fault(&self) -> Option<ActorExit> {
        match self {
            Self::Fine => None,
            Self::GaveUp { kind, exit } => Some(ActorExit::fault(format!("{kind} gave up: {exit}"))),
            Self::Spent { kind } => Some(ActorExit::fault(format!("children restart too often, last {kind}"))),
        }
    }
}

impl Family {
    /// Without members. `intensity` counts the abnormal restarts of all members together.
    pub fn new(intensity: Policy) -> Self {
        Self { members: Vec::new(), intensity, history: History::new() }
    }

    /// Takes a child in, below those that are in already.
    pub fn adopt<A: Actor>(&mut self, child: SupervisedChild<A>) -> Addr<A> {
        self.members.push(child.control);
        child.addr
    }

    /// Is it a member? Children of an earlier generation and those that ended are not.
    pub fn has(&self, id: ChildId) -> bool {
        self.members.iter().any(|member| member.id() == id)
    }

    /// How many members there are.
    pub const fn len(&self) -> usize {
        self.members.len()
    }

    /// Nobody is in it.
    pub const fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Tells one member to end; its parent hears when it has.
    pub fn stop(&self, id: ChildId) {
        self.members.iter().filter(|member| member.id() == id).for_each(ChildHandle::stop);
    }

    /// Hears what a guard says and decides whether the parent has to act. Events of strangers mean nothing.
    pub fn on_event(&mut self, now: Instant, heard: &ChildEvent) -> ChildVerdict {
        if !self.has(heard.id) {
            return ChildVerdict::Fine;
        }
        let kind = heard.kind;
        match &heard.event {
            Lifecycle::Started | Lifecycle::Restarting { expected: true, .. } => ChildVerdict::Fine,
            Lifecycle::Restarting { .. } => match self.history.on_abnormal(&self.intensity, now.into_std(), 0.5) {
                Decision::RestartAfter(_) => ChildVerdict::Fine,
                Decision::GiveUp => ChildVerdict::Spent { kind },
            },
            Lifecycle::Ended { exit, gave_up } => {
                self.members.retain(|member| member.id() != heard.id);
                if *gave_up { ChildVerdict::GaveUp { kind, exit: exit.clone() } } else { ChildVerdict::Fine }
            }
        }
    }

    /// Ends all members, last one first, each within `each` (then it is killed), forgets their failures and then runs
    /// `then`. The parent goes on hearing messages meanwhile. Without members `then` runs at once.
    pub fn clear<A: Actor<Context = Ctx<A>>>(
        &mut self,
        ctx: &mut Ctx<A>,
        each: Duration,
        then: impl FnOnce(&mut A, &mut Ctx<A>) + 'static,
    ) {
        self.history = History::new();
        let leaving = Leaving(std::mem::take(&mut self.members));
        ctx.spawn(wrap_future::<_, A>(leaving.end(each)).map(move |(), actor, ctx| then(actor, ctx)));
    }

    /// Ends the members that were started after this one, last one first, each within `each` (then it is killed), and then
    /// runs `then`. Their failures are not forgotten: those that come next are counted with them.
    pub fn clear_after<A: Actor<Context = Ctx<A>>>(
        &mut self,
        first: ChildId,
        ctx: &mut Ctx<A>,
        each: Duration,
        then: impl FnOnce(&mut A, &mut Ctx<A>) + 'static,
    ) {
        let kept = self.members.iter().position(|member| member.id() == first).map_or(0, |at| at + 1);
        let leaving = Leaving(self.members.split_off(kept));
        ctx.spawn(wrap_future::<_, A>(leaving.end(each)).map(move |(), actor, ctx| then(actor, ctx)));
    }

    /// Tells all members to end, last one first, and waits for none: for `stopped`, where nobody may wait. They stay
    /// members, so that [`Family::clear`] of the parent's next incarnation waits for those that still live.
    pub fn dismiss(&self) {
        for member in self.members.iter().rev() {
            member.stop();
        }
    }
}

impl Drop for Family {
    /// Vectors drop their first element first; children end the other way round.
    fn drop(&mut self) {
        drop(Leaving(std::mem::take(&mut self.members)));
    }
}

/// Children on their way out, last one first, also when nobody waits for them any more.
struct Leaving(Vec<ChildHandle>);

impl Leaving {
    async fn end(mut self, each: Duration) {
        while let Some(mut member) = self.0.pop() {
            member.stop();
            if timeout(each, member.ended()).await.is_err() {
                let limit_ms = u64::try_from(each.as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(actor = member.kind(), limit_ms, "actor killed: it did not end when told to");
                member.kill();
                let _ended_or_stuck = timeout(KILL_GRACE, member.ended()).await;
            }
        }
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        while let Some(member) = self.0.pop() {
            drop(member);
        }
    }
}

#[cfg(test)]
mod tests;

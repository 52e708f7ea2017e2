//! A parent's children, of two kinds as in OTP, and what the end of one means for its parent.
//!
//! * [`Children`]: a fixed list. Started top to bottom, stopped bottom to top one after the other.
//! * [`DynamicChildren`]: children that come and go, each under a key. Stopped together.
//!
//! A parent keeps its children through a restart and clears them before it starts new ones, so that two generations never
//! overlap:
//!
//! ```text
//! started   self.children.clear(ctx, STOP_TIMEOUT, Self::start_children)
//! Goodbye   self.children.clear(ctx, STOP_TIMEOUT, |_, ctx| ctx.stop())
//! stopped   self.children.dismiss()
//! ```

mod dynamic;
mod intensity;
mod leaving;

use std::time::Duration;

use actix::fut::wrap_future;
use actix::{Actor, ActorFutureExt, Addr, AsyncContext};
use tokio::time::Instant;

pub use self::dynamic::{DynamicChildren, KeyedVerdict};
use self::intensity::Intensity;
use self::leaving::Leaving;
use super::child::{ChildEvent, ChildId, Lifecycle};
use super::context::Ctx;
use super::exit::ActorExit;
use super::handle::{ChildHandle, SupervisedChild};
use crate::logic::restart::Policy;

/// The fixed children of one parent, in the order in which they were started.
#[derive(Debug)]
pub struct Children {
    members: Vec<ChildHandle>,
    intensity: Intensity,
}

/// What an event of one of [`Children`] means for its parent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a parent that ignores it never escalates"]
pub enum ChildVerdict {
    /// Nothing to do.
    Fine,
    /// The child's restart budget is spent and it is no member any more. A parent that cannot live without it stops with
    /// [`ChildVerdict::fault`].
    GaveUp {
        /// Which kind of child.
        kind: &'static str,
        /// The last failure of the child.
        exit: ActorExit,
    },
    /// The children fail too often, taken together: the parent stops with [`ChildVerdict::fault`].
    Spent {
        /// Which kind of child failed last.
        kind: &'static str,
    },
}

impl ChildVerdict {
    /// The exit of a parent that escalates; `None` when there is no reason to.
    pub fn fault(&self) -> Option<ActorExit> {
        match self {
            Self::Fine => None,
            Self::GaveUp { kind, exit } => Some(gave_up(kind, exit)),
            Self::Spent { kind } => Some(spent(kind)),
        }
    }
}

fn gave_up(kind: &str, exit: &ActorExit) -> ActorExit {
    ActorExit::fault(format!("{kind} gave up: {exit}"))
}

fn spent(kind: &str) -> ActorExit {
    ActorExit::fault(format!("children restart too often, last {kind}"))
}

impl Children {
    /// Without members. `intensity` counts the abnormal restarts of all members together; only its count and its window
    /// matter.
    pub fn new(intensity: Policy) -> Self {
        Self { members: Vec::new(), intensity: Intensity::new(intensity) }
    }

    /// Takes a child in, below those that are in already. Returns its address.
    pub fn adopt<A: Actor>(&mut self, child: SupervisedChild<A>) -> Addr<A> {
        self.members.push(child.control);
        child.addr
    }

    /// Whether the child is a member. Children of an earlier generation and those that have ended are not.
    pub fn has(&self, id: ChildId) -> bool {
        self.members.iter().any(|member| member.id() == id)
    }

    /// How many members there are.
    pub const fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are no members.
    pub const fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Takes in what a guard says and returns whether the parent has to act. Events of children that are not members mean
    /// nothing.
    pub fn on_event(&mut self, now: Instant, heard: &ChildEvent) -> ChildVerdict {
        if !self.has(heard.id) {
            return ChildVerdict::Fine;
        }
        let kind = heard.kind;
        match &heard.event {
            Lifecycle::Started | Lifecycle::Restarting { expected: true, .. } => ChildVerdict::Fine,
            Lifecycle::Restarting { .. } => {
                if self.intensity.is_spent_by(now) {
                    ChildVerdict::Spent { kind }
                } else {
                    ChildVerdict::Fine
                }
            }
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
        self.intensity.forget();
        let leaving = Leaving(std::mem::take(&mut self.members));
        ctx.spawn(wrap_future::<_, A>(leaving.end_in_turn(each)).map(move |(), actor, ctx| then(actor, ctx)));
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
        ctx.spawn(wrap_future::<_, A>(leaving.end_in_turn(each)).map(move |(), actor, ctx| then(actor, ctx)));
    }

    /// Tells all members to end, last one first, and waits for none: for `stopped`, which must not wait. They stay
    /// members, so that [`Children::clear`] of the parent's next incarnation waits for those that still live.
    pub fn dismiss(&self) {
        self.members.iter().rev().for_each(ChildHandle::stop);
    }
}

impl Drop for Children {
    /// Vectors drop their first element first; children end the other way round.
    fn drop(&mut self) {
        drop(Leaving(std::mem::take(&mut self.members)));
    }
}

#[cfg(test)]
mod tests;

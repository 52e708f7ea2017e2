//! Children that come and go, each under a key: the trackers of a torrent, the connections of a pool, the torrents of a
//! session.
//!
//! A key is taken from [`DynamicChildren::start`] until the parent has heard that the child ended, so that two children
//! never live under one key: a child that was told to stop still has its key.
//!
//! ```text
//! start one      children.start(key, || kit::spawn(..))
//! talk to one    children.get(&key)
//! an event       match children.on_event(now, &event) { KeyedVerdict::Ended { key, .. } => .., .. }
//! stop one       children.stop(&key, limit)          its key is free after its `Ended` or `GaveUp`
//! stop all       children.stop_all(limit)            each is heard to end
//! a generation   children.clear(ctx, limit, then)    none is heard any more; `then` runs when all have ended
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use actix::fut::wrap_future;
use actix::{Actor, ActorFutureExt, Addr, AsyncContext};
use tokio::time::Instant;

use super::{Intensity, Leaving, gave_up, spent};
use crate::actors::kit::child::{ChildEvent, ChildId, Lifecycle};
use crate::actors::kit::context::Ctx;
use crate::actors::kit::exit::ActorExit;
use crate::actors::kit::handle::{ChildHandle, SupervisedChild};
use crate::logic::restart::Policy;

/// The dynamic children of one parent.
///
/// `K` names a child; iteration is in the order of the keys. `C` is what the parent talks to a child by: `Addr<A>`, or an
/// enum that is made of the addresses of several kinds of actor.
#[derive(Debug)]
pub struct DynamicChildren<K, C> {
    members: BTreeMap<K, Member<C>>,
    /// The keys of the members by their start.
    keys: BTreeMap<ChildId, K>,
    /// `None`: restarts of different members are not counted together.
    intensity: Option<Intensity>,
}

#[derive(Debug)]
struct Member<C> {
    handle: ChildHandle,
    contact: C,
}

/// What an event of one of [`DynamicChildren`] means for its parent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a parent that ignores it never escalates"]
pub enum KeyedVerdict<K> {
    /// Nothing to do.
    Fine,
    /// The child ended: it was told to, it had nothing more to do, or it was started with
    /// [`spawn_temporary`](crate::actors::kit::spawn_temporary) and failed. Its key is free.
    Ended {
        /// Which child.
        key: K,
        /// Why its last incarnation ended.
        exit: ActorExit,
    },
    /// The child's restart budget is spent. Its key is free. A parent that cannot live without it stops with
    /// [`KeyedVerdict::fault`].
    GaveUp {
        /// Which child.
        key: K,
        /// Of which kind.
        kind: &'static str,
        /// The last failure of the child.
        exit: ActorExit,
    },
    /// The children fail too often, taken together: the parent stops with [`KeyedVerdict::fault`].
    Spent {
        /// Which child failed last. It is about to start again.
        key: K,
        /// Of which kind.
        kind: &'static str,
    },
}

impl<K> KeyedVerdict<K> {
    /// The exit of a parent that escalates; `None` when there is no reason to.
    pub fn fault(&self) -> Option<ActorExit> {
        match self {
            Self::Fine | Self::Ended { .. } => None,
            Self::GaveUp { kind, exit, .. } => Some(gave_up(kind, exit)),
            Self::Spent { kind, .. } => Some(spent(kind)),
        }
    }
}

impl<K: Ord + Clone, C> DynamicChildren<K, C> {
    /// Without members. The failures of one member do not count for another.
    pub const fn new() -> Self {
        Self { members: BTreeMap::new(), keys: BTreeMap::new(), intensity: None }
    }

    /// Without members. `intensity` counts the abnormal restarts of all members together; only its count and its window
    /// matter.
    pub fn with_intensity(intensity: Policy) -> Self {
        Self { intensity: Some(Intensity::new(intensity)), ..Self::new() }
    }

    /// Starts a child under a key with `spawn`. Returns what to talk to it by; `None`, and `spawn` is not called, when the
    /// key is taken, be it by a child that was told to stop and still lives.
    pub fn start<A: Actor>(&mut self, key: K, spawn: impl FnOnce() -> SupervisedChild<A>) -> Option<&C>
    where
        C: From<Addr<A>>,
    {
        if self.has(&key) {
            return None;
        }
        let SupervisedChild { addr, control: handle } = spawn();
        self.keys.insert(handle.id(), key.clone());
        Some(&self.members.entry(key).or_insert(Member { handle, contact: addr.into() }).contact)
    }

    /// Whether the key is taken.
    pub fn has(&self, key: &K) -> bool {
        self.members.contains_key(key)
    }

    /// What to talk to the child by, also while it is on its way out.
    pub fn get(&self, key: &K) -> Option<&C> {
        self.members.get(key).map(|member| &member.contact)
    }

    /// All members in the order of their keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&K, &C)> {
        self.members.iter().map(|(key, member)| (key, &member.contact))
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Starts the child now if it rests after an expected end: see [`ChildHandle::rouse`].
    pub fn rouse(&self, key: &K) {
        self.members.get(key).into_iter().for_each(|member| member.handle.rouse());
    }

    /// Tells one member to end; it is killed when it has not after `limit`. Its end is heard as
    /// [`KeyedVerdict::Ended`]. Asking twice is asking once: the first limit stands.
    pub fn stop(&self, key: &K, limit: Duration) {
        self.members.get(key).into_iter().for_each(|member| member.handle.stop_within(limit));
    }

    /// As [`Self::stop`] for each member, the youngest first.
    pub fn stop_all(&self, limit: Duration) {
        self.keys.values().rev().for_each(|key| self.stop(key, limit));
    }

    /// Takes in what a guard says and returns whether the parent has to act. Events of children that are not members mean
    /// nothing.
    pub fn on_event(&mut self, now: Instant, heard: &ChildEvent) -> KeyedVerdict<K> {
        let Some(key) = self.keys.get(&heard.id).cloned() else { return KeyedVerdict::Fine };
        let kind = heard.kind;
        match &heard.event {
            Lifecycle::Started | Lifecycle::Restarting { expected: true, .. } => KeyedVerdict::Fine,
            Lifecycle::Restarting { .. } => {
                let is_spent = self.intensity.as_mut().is_some_and(|intensity| intensity.is_spent_by(now));
                if is_spent { KeyedVerdict::Spent { key, kind } } else { KeyedVerdict::Fine }
            }
            Lifecycle::Ended { exit, gave_up } => {
                self.keys.remove(&heard.id);
                self.members.remove(&key);
                let exit = exit.clone();
                if *gave_up { KeyedVerdict::GaveUp { key, kind, exit } } else { KeyedVerdict::Ended { key, exit } }
            }
        }
    }

    /// Ends all members together within `within` (then they are killed), forgets their failures and then runs `then`. They
    /// are members no more: their keys are free and their events mean nothing. The parent goes on hearing messages
    /// meanwhile and starts no child before `then`. Without members `then` runs at once.
    pub fn clear<A: Actor<Context = Ctx<A>>>(
        &mut self,
        ctx: &mut Ctx<A>,
        within: Duration,
        then: impl FnOnce(&mut A, &mut Ctx<A>) + 'static,
    ) {
        self.intensity.iter_mut().for_each(Intensity::forget);
        let mut members = std::mem::take(&mut self.members);
        let in_order = std::mem::take(&mut self.keys).into_values();
        let leaving = Leaving(in_order.filter_map(|key| members.remove(&key)).map(|member| member.handle).collect());
        ctx.spawn(wrap_future::<_, A>(leaving.end_together(within)).map(move |(), actor, ctx| then(actor, ctx)));
    }

    /// Tells all members to end, the youngest first, and waits for none: for `stopped`, which must not wait. They stay
    /// members, so that [`DynamicChildren::clear`] of the parent's next incarnation waits for those that still live.
    pub fn dismiss(&self) {
        let members = self.keys.values().rev().filter_map(|key| self.members.get(key));
        members.for_each(|member| member.handle.stop());
    }
}

impl<K: Ord + Clone, C> Default for DynamicChildren<K, C> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;

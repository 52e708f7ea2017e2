//! `TrackerSupervisor`: all trackers of a torrent; none can block another.
//!
//! Owns the [`Tiers`] and one `HttpTracker` or `UdpTracker` per announce URL, two where the tracker has addresses of both
//! families (BEP 7). Child of `Torrent`, permanent, 3 restarts in 60 s; tier order, `key` and what is known of each tracker
//! survive. Hears `TrackerNews`, `PeersNeeded`, `Completed`, `Progressed`, `SurveyTrackers`, `ChildEvent`. Tells
//! `PeersFound` (pool), `Changed` (torrent). A tracker has failed when it has over each family. A tracker whose budget is
//! spent is disabled with its reason and tried again after half an hour. While all fail and nobody else is there, one after the other is
//! roused from its back-off ([`TrackerProbe`]). Ends when told to, after all trackers have said `stopped`, in
//! parallel.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

use super::kit::{self, Child, ChildEvent, ChildId, Ctx, Goodbye, Lifecycle, SupervisedChild, Timer};
use super::peer_pool::{PeersFound, PeersNeeded};
use super::policies;
use super::tracker::{Attend, HttpTracker, TrackerConfig, TrackerEvent, TrackerNews, UdpTracker};
use super::view::{ChangeNotice, Changed, TrackerRow};
use crate::base::ids::{InfoHash, PeerId};
use crate::base::safe::redact_url;
use crate::base::scheme::Scheme;
use crate::logic::peers::peer_book::PeerSource;
use crate::logic::trackers::families::{FamilyOutcome, IpFamily, Outcomes};
use crate::logic::trackers::probe::TrackerProbe;
use crate::logic::trackers::tiers::{TierEffect, Tiers, TrackerId};
use crate::net::Net;
use crate::net::http::Reached;
use crate::net::tracker::Announced;

/// Half an hour before a disabled tracker is tried again: as long as the longest back-off of one that fails.
const DISABLED_FOR: Duration = Duration::from_secs(30 * 60);

/// The download is complete: trackers that know us are told.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Completed;

/// What trackers are told of our progress.
#[derive(Debug, Clone, Copy, Default, Message)]
#[rtype(result = "()")]
pub struct Progressed {
    /// Bytes of blocks received in this run.
    pub downloaded: u64,
    /// Bytes of blocks sent in this run.
    pub uploaded: u64,
    /// Bytes we lack.
    pub left: u64,
    /// We want none of them.
    pub partial_seed: bool,
}

/// How do the trackers stand?
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Vec<TrackerRow>, ()>")]
pub struct SurveyTrackers;

/// All that a supervisor is given.
#[derive(Debug, Clone)]
pub struct TrackerSupervisorConfig {
    /// For its name in the logs.
    pub name: String,
    /// The way out.
    pub net: Net,
    /// The swarm.
    pub info_hash: InfoHash,
    /// Who we are.
    pub our_id: PeerId,
    /// The port we say we listen on.
    pub port: u16,
    /// Announce URLs by tier.
    pub tiers: Vec<Vec<String>>,
    /// Bytes we lack at the start.
    pub left: u64,
    /// For its dice.
    pub seed: u64,
    /// The pool.
    pub pool: Recipient<PeersFound>,
    /// The torrent, when it is to look again.
    pub stirred: Recipient<Changed>,
}

/// A tracker that runs.
#[derive(Debug)]
enum Running {
    Http(SupervisedChild<HttpTracker>),
    Udp(SupervisedChild<UdpTracker>),
}

impl Running {
    fn id(&self) -> ChildId {
        match self {
            Self::Http(handle) => handle.id(),
            Self::Udp(handle) => handle.id(),
        }
    }

    fn stop(&self) {
        match self {
            Self::Http(handle) => handle.stop(),
            Self::Udp(handle) => handle.stop(),
        }
    }

    fn rouse(&self) {
        match self {
            Self::Http(handle) => handle.rouse(),
            Self::Udp(handle) => handle.rouse(),
        }
    }

    fn tell<M: Message<Result = ()> + Send + 'static>(&self, message: M)
    where
        HttpTracker: Handler<M>,
        UdpTracker: Handler<M>,
    {
        match self {
            Self::Http(handle) => handle.addr.do_send(message),
            Self::Udp(handle) => handle.addr.do_send(message),
        }
    }
}

/// What is known of a tracker.
#[derive(Debug, Default)]
struct Standing {
    state: String,
    works: bool,
    failed: bool,
    next: Option<Instant>,
    /// The next announce over its other family.
    next_over_other: Option<Instant>,
    swarm: Option<(u32, u32)>,
    disabled_until: Option<Instant>,
}

impl Standing {
    fn plan(&mut self, clock: IpFamily, next: Option<Instant>) {
        let slot = if clock == IpFamily::Any { &mut self.next } else { &mut self.next_over_other };
        *slot = next;
    }
}

/// See the head of the file.
#[derive(Debug)]
pub struct TrackerSupervisor {
    cfg: TrackerSupervisorConfig,
    // Kept over restarts.
    tiers: Tiers,
    key: u32,
    progress: Progressed,
    standings: BTreeMap<TrackerId, Standing>,
    attended: BTreeMap<TrackerId, bool>,
    // Live.
    outcomes: BTreeMap<TrackerId, Outcomes>,
    probe: TrackerProbe,
    /// By tracker and clock: `Any` is the first one, the other is for the family that the first does not go over.
    running: BTreeMap<(TrackerId, IpFamily), Running>,
    bell: ChangeNotice,
    timer: Timer<Self>,
    closing: bool,
}

crate::metered!(TrackerSupervisor, "TrackerSupervisor");

impl TrackerSupervisor {
    /// Asks nobody before it starts.
    pub fn new(cfg: TrackerSupervisorConfig) -> Self {
        let tiers = Tiers::new(cfg.tiers.clone(), cfg.seed);
        for url in tiers.unsupported() {
            tracing::warn!(tracker = redact_url(url), "tracker protocol is not supported, the tracker is left out");
        }
        Self {
            key: SmallRng::seed_from_u64(cfg.seed ^ 0x6b65_7900).random(),
            progress: Progressed { left: cfg.left, ..Progressed::default() },
            standings: tiers.trackers().map(|id| (id, Standing::default())).collect(),
            attended: BTreeMap::new(),
            tiers,
            outcomes: BTreeMap::new(),
            probe: TrackerProbe::new(cfg.seed),
            running: BTreeMap::new(),
            bell: ChangeNotice::new(cfg.stirred.clone()),
            timer: Timer::new(),
            closing: false,
            cfg,
        }
    }

    /// Mutates the tiers once, performs every effect, arms one timer.
    fn step(&mut self, ctx: &mut Ctx<Self>, mutate: impl FnOnce(&mut Tiers)) {
        self.bell.ring();
        mutate(&mut self.tiers);
        while let Some(effect) = self.tiers.poll() {
            match effect {
                TierEffect::Start(id) => self.attend(id, true, ctx),
                TierEffect::Rest(id) => self.attend(id, false, ctx),
            }
        }
        self.probe.set_stranded(Instant::now().into_std(), self.tiers.is_stranded());
        let disabled = self.standings.values().filter_map(|standing| standing.disabled_until).min();
        let due = disabled.into_iter().chain(self.probe.deadline().map(Instant::from_std)).min();
        self.timer.arm(ctx, due, Self::on_timer);
    }

    fn attend(&mut self, id: TrackerId, attended: bool, ctx: &mut Ctx<Self>) {
        self.attended.insert(id, attended);
        if attended && !self.closing {
            self.start(id, IpFamily::Any, ctx);
        }
        for family in [IpFamily::Any, IpFamily::V4, IpFamily::V6] {
            if let Some(tracker) = self.running.get(&(id, family)) {
                tracker.tell(Attend(attended));
            }
        }
    }

    fn start(&mut self, id: TrackerId, family: IpFamily, ctx: &mut Ctx<Self>) {
        let disabled = self.standings.get(&id).is_some_and(|standing| standing.disabled_until.is_some());
        if disabled || self.running.contains_key(&(id, family)) {
            return;
        }
        let url = self.tiers.url(id).to_owned();
        let seed = self.cfg.seed.wrapping_add(id.at() as u64) ^ ((family as u64) << 32);
        let is_udp = Scheme::of(&url) == Some(Scheme::Udp);
        let cfg = TrackerConfig {
            id,
            url,
            family,
            net: Arc::clone(&self.cfg.net),
            info_hash: self.cfg.info_hash,
            our_id: self.cfg.our_id,
            port: self.cfg.port,
            key: self.key,
            seed,
            supervisor: ctx.address().recipient(),
        };
        let (progress, need, me) = (self.progress, self.tiers.need(), ctx.address().recipient());
        let running = if is_udp {
            Running::Udp(kit::spawn(UdpTracker::new(cfg, progress, need), policies::TRACKER, seed, me))
        } else {
            Running::Http(kit::spawn(HttpTracker::new(cfg, progress, need), policies::TRACKER, seed, me))
        };
        self.running.insert((id, family), running);
    }

    /// A tracker with addresses of both families has a clock for each; one that has lost them has one again.
    fn match_families(&mut self, id: TrackerId, path: Reached, ctx: &mut Ctx<Self>) {
        let second = path.over.other();
        if path.both && !self.closing {
            self.start(id, second, ctx);
            let attended = self.attended.get(&id).copied().unwrap_or(false);
            self.running.get(&(id, second)).into_iter().for_each(|tracker| tracker.tell(Attend(attended)));
        }
        for family in [IpFamily::V4, IpFamily::V6].into_iter().filter(|family| !path.both || *family != second) {
            if let Some(tracker) = self.running.get(&(id, family)) {
                tracker.stop();
                self.outcomes.entry(id).or_default().on_second(None);
            }
        }
    }

    fn on_news(&mut self, id: TrackerId, clock: IpFamily, news: TrackerEvent, ctx: &mut Ctx<Self>) {
        match news {
            TrackerEvent::Announced { announced, next } => self.on_announced(id, clock, *announced, next, ctx),
            TrackerEvent::Failed { trouble, retry, not_before } => {
                if clock == IpFamily::Any {
                    self.probe.on_failure(Instant::now().into_std(), id, not_before.map(Instant::into_std));
                }
                self.standings.entry(id).or_default().plan(clock, retry);
                self.on_failure(id, clock, trouble.text, ctx);
            }
        }
    }

    fn on_announced(
        &mut self,
        id: TrackerId,
        clock: IpFamily,
        announced: Announced,
        next: Option<Instant>,
        ctx: &mut Ctx<Self>,
    ) {
        let Announced { reply, local, path } = announced;
        let standing = self.standings.entry(id).or_default();
        standing.swarm = reply.complete.zip(reply.incomplete).or(standing.swarm);
        standing.plan(clock, next);
        "working".clone_into(&mut standing.state);
        (standing.works, standing.failed, standing.disabled_until) = (true, false, None);
        let useful = !reply.peers.is_empty();
        if useful {
            self.cfg.pool.do_send(PeersFound { addrs: reply.peers, source: PeerSource::Tracker { local } });
        }
        if clock == IpFamily::Any {
            self.probe.forget(id);
            self.match_families(id, path, ctx);
        }
        let whole = self.note(id, clock, FamilyOutcome::Works { useful });
        let useful = whole == Some(FamilyOutcome::Works { useful: true });
        self.step(ctx, |tiers| tiers.on_success(id, useful));
    }

    /// A clock of a tracker has failed. The tracker has, if the other clock has failed too, or there is none.
    fn on_failure(&mut self, id: TrackerId, clock: IpFamily, why: String, ctx: &mut Ctx<Self>) {
        if self.note(id, clock, FamilyOutcome::Failed) == Some(FamilyOutcome::Failed) {
            let standing = self.standings.entry(id).or_default();
            (standing.state, standing.works, standing.failed) = (why, false, true);
            self.step(ctx, |tiers| tiers.on_failure(id));
        }
    }

    fn note(&mut self, id: TrackerId, clock: IpFamily, outcome: FamilyOutcome) -> Option<FamilyOutcome> {
        let outcomes = self.outcomes.entry(id).or_default();
        match clock {
            IpFamily::Any => outcomes.on_first(outcome),
            IpFamily::V4 | IpFamily::V6 => outcomes.on_second(Some(outcome)),
        }
        outcomes.whole()
    }

    fn on_ended(&mut self, child: ChildId, gave_up: bool, ctx: &mut Ctx<Self>) {
        let Some(key) = self.running.iter().find(|(_, running)| running.id() == child).map(|(key, _)| *key) else {
            return;
        };
        self.running.remove(&key);
        let (id, clock) = key;
        if self.closing {
            if self.running.is_empty() {
                ctx.stop();
            }
        } else if gave_up {
            if clock == IpFamily::Any {
                let until = Instant::now() + DISABLED_FOR;
                let standing = self.standings.entry(id).or_default();
                (standing.next, standing.disabled_until) = (Some(until), Some(until));
                self.probe.forget(id);
            }
            tracing::warn!(
                tracker = redact_url(self.tiers.url(id)),
                retry_s = DISABLED_FOR.as_secs(),
                "tracker disabled"
            );
            self.on_failure(id, clock, "disabled: it failed too often for reasons of our own".to_owned(), ctx);
        }
    }

    fn on_timer(&mut self, ctx: &mut Ctx<Self>) {
        let now = Instant::now();
        for standing in self.standings.values_mut() {
            standing.disabled_until = standing.disabled_until.filter(|until| *until > now);
        }
        self.start_attended(ctx);
        if let Some(id) = self.probe.on_timeout(now.into_std())
            && let Some(tracker) = self.running.get(&(id, IpFamily::Any))
        {
            tracing::debug!(tracker = redact_url(self.tiers.url(id)), "tracker is asked early, all have failed");
            tracker.rouse();
        }
        self.step(ctx, |_| {});
    }

    fn start_attended(&mut self, ctx: &mut Ctx<Self>) {
        let attended: Vec<_> = self.attended.iter().filter(|(_, attended)| **attended).map(|(id, _)| *id).collect();
        for id in attended {
            self.attend(id, true, ctx);
        }
    }

    fn tell_all<M: Message<Result = ()> + Clone + Send + 'static>(&self, message: &M)
    where
        HttpTracker: Handler<M>,
        UdpTracker: Handler<M>,
    {
        self.running.values().for_each(|tracker| tracker.tell(message.clone()));
    }
}

impl Actor for TrackerSupervisor {
    type Context = Ctx<Self>;

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        self.start_attended(ctx);
        self.step(ctx, |_| {});
    }
}

impl Supervised for TrackerSupervisor {
    /// Dropped handles say good-bye to their trackers, which say `stopped`; the new ones say `started` again.
    fn restarting(&mut self, _: &mut Ctx<Self>) {
        self.running.clear();
        self.outcomes.clear();
        self.bell.on_survey();
        self.probe = TrackerProbe::new(self.cfg.seed);
        self.timer = Timer::new();
    }
}

impl Child for TrackerSupervisor {
    fn id(&self) -> String {
        self.cfg.name.clone()
    }
}

impl Handler<TrackerNews> for TrackerSupervisor {
    type Result = ();

    fn handle(&mut self, TrackerNews { id, clock, news }: TrackerNews, ctx: &mut Ctx<Self>) {
        self.on_news(id, clock, news, ctx);
    }
}

impl Handler<PeersNeeded> for TrackerSupervisor {
    type Result = ();

    fn handle(&mut self, needed: PeersNeeded, ctx: &mut Ctx<Self>) {
        self.step(ctx, |tiers| tiers.set_need(needed.0));
        self.tell_all(&needed);
    }
}

impl Handler<Completed> for TrackerSupervisor {
    type Result = ();

    fn handle(&mut self, completed: Completed, _: &mut Ctx<Self>) {
        self.tell_all(&completed);
    }
}

impl Handler<Progressed> for TrackerSupervisor {
    type Result = ();

    fn handle(&mut self, progress: Progressed, _: &mut Ctx<Self>) {
        self.progress = progress;
        self.tell_all(&progress);
    }
}

impl Handler<SurveyTrackers> for TrackerSupervisor {
    type Result = Result<Vec<TrackerRow>, ()>;

    fn handle(&mut self, _: SurveyTrackers, _: &mut Ctx<Self>) -> Self::Result {
        self.bell.on_survey();
        let now = Instant::now();
        let early = |id| self.probe.plan().filter(|(planned, _)| *planned == id).map(|(_, at)| Instant::from_std(at));
        let row = |(id, standing): (&TrackerId, &Standing)| TrackerRow {
            url: redact_url(self.tiers.url(*id)),
            state: standing.state.clone(),
            works: standing.works,
            failed: standing.failed,
            next_in: [standing.next, standing.next_over_other, early(*id)]
                .into_iter()
                .flatten()
                .min()
                .map(|next| next.saturating_duration_since(now)),
            swarm: standing.swarm,
        };
        Ok(self.standings.iter().map(row).collect())
    }
}

impl Handler<ChildEvent> for TrackerSupervisor {
    type Result = ();

    fn handle(&mut self, event: ChildEvent, ctx: &mut Ctx<Self>) {
        if let Lifecycle::Ended { gave_up, .. } = event.event {
            self.on_ended(event.id, gave_up, ctx);
        }
    }
}

impl Handler<Goodbye> for TrackerSupervisor {
    type Result = ();

    fn handle(&mut self, _: Goodbye, ctx: &mut Ctx<Self>) {
        self.closing = true;
        self.running.values().for_each(Running::stop);
        if self.running.is_empty() {
            ctx.stop();
        }
    }
}

#[cfg(test)]
mod tests;

//! `TrackerSupervisor`: all trackers of a torrent; none can block another.
//!
//! * Owns the [`TrackerStandings`] (all that is decided here) and one `HttpTracker` or `UdpTracker` for each announce URL in
//!   use, two where the tracker has addresses of both families (BEP 7).
//! * Parent: `Torrent`. Restart policy: permanent, 3 restarts in 60 s. Tier order, `key`, progress and the standing of each
//!   tracker survive; new trackers start when the old ones have said `stopped`.
//! * Handles `TrackerNews`, `PeersNeeded`, `Completed`, `Progressed`, `SurveyTrackers` and `ChildEvent`. Sends `PeersFound`
//!   (to the pool) and `Changed` (to the torrent); hands on to its trackers what they have to know. Asks no other actor.
//! * A tracker that spends its restart budget is disabled for half an hour; the supervisor lives on.
//! * Stops when its parent tells it to, after all trackers have said `stopped`, in parallel.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

use super::kit::{self, Child, ChildEvent, Ctx, DynamicChildren, Goodbye, KeyedVerdict, Timer};
use super::peer_pool::{PeersFound, PeersNeeded};
use super::policies;
use super::tracker::{Attend, HttpTracker, Rest, TrackerConfig, TrackerEvent, TrackerNews, UdpTracker};
use super::view::{ChangeNotice, Changed, TrackerRow};
use crate::base::ids::{InfoHash, PeerId};
use crate::base::safe::redact_url;
use crate::base::scheme::Scheme;
use crate::logic::peers::peer_book::PeerSource;
use crate::logic::trackers::standings::{
    DISABLED_FOR, StandingEffect, TrackerAnswer, TrackerClock, TrackerStanding, TrackerStandings,
};
use crate::net::Net;
use crate::net::tracker::Announced;

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
    /// How long the trackers may take to end, all of them together.
    pub stop_timeout: Duration,
}

/// The address of a tracker, whatever protocol it speaks.
#[derive(Debug)]
enum TrackerAddr {
    Http(Addr<HttpTracker>),
    Udp(Addr<UdpTracker>),
}

impl From<Addr<HttpTracker>> for TrackerAddr {
    fn from(addr: Addr<HttpTracker>) -> Self {
        Self::Http(addr)
    }
}

impl From<Addr<UdpTracker>> for TrackerAddr {
    fn from(addr: Addr<UdpTracker>) -> Self {
        Self::Udp(addr)
    }
}

impl TrackerAddr {
    fn tell<M: Message<Result = ()> + Send + 'static>(&self, message: M)
    where
        HttpTracker: Handler<M>,
        UdpTracker: Handler<M>,
    {
        match self {
            Self::Http(addr) => addr.do_send(message),
            Self::Udp(addr) => addr.do_send(message),
        }
    }
}

/// See the head of the file.
#[derive(Debug)]
pub struct TrackerSupervisor {
    cfg: TrackerSupervisorConfig,
    // Kept over restarts.
    machine: TrackerStandings,
    key: u32,
    progress: Progressed,
    trackers: DynamicChildren<TrackerClock, TrackerAddr>,
    // Live.
    bell: ChangeNotice,
    timer: Timer<Self>,
}

crate::metered!(TrackerSupervisor, "TrackerSupervisor");

impl TrackerSupervisor {
    /// Asks no tracker before it starts.
    pub fn new(cfg: TrackerSupervisorConfig) -> Self {
        let machine = TrackerStandings::new(cfg.tiers.clone(), cfg.seed);
        for url in machine.unsupported() {
            tracing::warn!(tracker = redact_url(url), "tracker protocol is not supported, the tracker is left out");
        }
        Self {
            key: SmallRng::seed_from_u64(cfg.seed ^ 0x6b65_7900).random(),
            progress: Progressed { left: cfg.left, ..Progressed::default() },
            machine,
            trackers: DynamicChildren::new(),
            bell: ChangeNotice::new(cfg.stirred.clone()),
            timer: Timer::new(),
            cfg,
        }
    }

    /// Applies one mutation to the machine, performs every effect, arms one timer.
    fn step(&mut self, ctx: &mut Ctx<Self>, mutate: impl FnOnce(&mut TrackerStandings, std::time::Instant)) {
        self.bell.ring();
        mutate(&mut self.machine, Instant::now().into_std());
        while let Some(effect) = self.machine.poll() {
            self.perform(effect, ctx);
        }
        self.timer.arm(ctx, self.machine.deadline(), |act, ctx| act.step(ctx, TrackerStandings::on_timeout));
    }

    fn perform(&mut self, effect: StandingEffect, ctx: &Ctx<Self>) {
        match effect {
            StandingEffect::Start(clock) => self.start(clock, ctx),
            StandingEffect::Attend(clock) => self.tell(clock, Attend),
            StandingEffect::Rest(clock) => self.tell(clock, Rest),
            StandingEffect::Stop(clock) => self.trackers.stop(&clock, self.cfg.stop_timeout),
            StandingEffect::Rouse(clock) => {
                let tracker = redact_url(self.machine.url(clock.tracker));
                tracing::debug!(tracker, "tracker is asked early, all have failed");
                self.trackers.rouse(&clock);
            }
        }
    }

    fn start(&mut self, clock: TrackerClock, ctx: &Ctx<Self>) {
        let url = self.machine.url(clock.tracker).to_owned();
        let seed = self.cfg.seed.wrapping_add(clock.tracker.at() as u64) ^ ((clock.family as u64) << 32);
        let is_udp = Scheme::of(&url) == Some(Scheme::Udp);
        let cfg = TrackerConfig {
            clock,
            url,
            net: Arc::clone(&self.cfg.net),
            info_hash: self.cfg.info_hash,
            our_id: self.cfg.our_id,
            port: self.cfg.port,
            key: self.key,
            seed,
            supervisor: ctx.address().recipient(),
        };
        let (progress, need, me) = (self.progress, self.machine.need(), ctx.address().recipient());
        let _contact = if is_udp {
            let tracker = UdpTracker::new(cfg, progress, need);
            self.trackers.start(clock, || kit::spawn(tracker, policies::TRACKER, seed, me))
        } else {
            let tracker = HttpTracker::new(cfg, progress, need);
            self.trackers.start(clock, || kit::spawn(tracker, policies::TRACKER, seed, me))
        };
    }

    fn tell<M: Message<Result = ()> + Send + 'static>(&self, clock: TrackerClock, message: M)
    where
        HttpTracker: Handler<M>,
        UdpTracker: Handler<M>,
    {
        if let Some(tracker) = self.trackers.get(&clock) {
            tracker.tell(message);
        }
    }

    fn tell_all<M: Message<Result = ()> + Clone + Send + 'static>(&self, message: &M)
    where
        HttpTracker: Handler<M>,
        UdpTracker: Handler<M>,
    {
        self.trackers.iter().for_each(|(_, tracker)| tracker.tell(message.clone()));
    }

    fn on_announced(&mut self, clock: TrackerClock, announced: Announced, next: Option<Instant>, ctx: &mut Ctx<Self>) {
        let Announced { reply, local, path } = announced;
        let answer = TrackerAnswer {
            useful: !reply.peers.is_empty(),
            swarm: reply.complete.zip(reply.incomplete),
            second: path.both.then_some(path.over.other()),
            next: next.map(Instant::into_std),
        };
        if answer.useful {
            self.cfg.pool.do_send(PeersFound { addrs: reply.peers, source: PeerSource::Tracker { local } });
        }
        self.step(ctx, |machine, now| machine.on_announced(now, clock, answer));
    }
}

impl Actor for TrackerSupervisor {
    type Context = Ctx<Self>;

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        let limit = self.cfg.stop_timeout;
        self.trackers.clear(ctx, limit, |act, ctx| act.step(ctx, TrackerStandings::on_start));
    }
}

impl Supervised for TrackerSupervisor {
    /// The old trackers say `stopped` during the back-off; the new ones wait for them.
    fn restarting(&mut self, _: &mut Ctx<Self>) {
        self.machine.on_restart();
        self.bell.on_survey();
        self.timer = Timer::new();
        self.trackers.dismiss();
    }
}

impl Child for TrackerSupervisor {
    fn id(&self) -> String {
        self.cfg.name.clone()
    }
}

impl Handler<TrackerNews> for TrackerSupervisor {
    type Result = ();

    fn handle(&mut self, TrackerNews { clock, news }: TrackerNews, ctx: &mut Ctx<Self>) {
        match news {
            TrackerEvent::Announced { announced, next } => self.on_announced(clock, *announced, next, ctx),
            TrackerEvent::Failed { trouble, retry, not_before } => {
                let (retry, not_before) = (retry.map(Instant::into_std), not_before.map(Instant::into_std));
                self.step(ctx, |machine, now| machine.on_failed(now, clock, trouble.text, retry, not_before));
            }
        }
    }
}

impl Handler<PeersNeeded> for TrackerSupervisor {
    type Result = ();

    fn handle(&mut self, needed: PeersNeeded, ctx: &mut Ctx<Self>) {
        self.step(ctx, |machine, now| machine.set_need(now, needed.0));
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
        let now = Instant::now().into_std();
        let row = |standing: TrackerStanding<'_>| TrackerRow {
            url: redact_url(standing.url),
            state: standing.text.to_owned(),
            works: standing.works,
            failed: standing.failed,
            next_in: standing.next.map(|next| next.saturating_duration_since(now)),
            swarm: standing.swarm,
        };
        Ok(self.machine.standings().map(row).collect())
    }
}

impl Handler<ChildEvent> for TrackerSupervisor {
    type Result = ();

    fn handle(&mut self, event: ChildEvent, ctx: &mut Ctx<Self>) {
        match self.trackers.on_event(Instant::now(), &event) {
            KeyedVerdict::Fine | KeyedVerdict::Spent { .. } => {}
            KeyedVerdict::Ended { key, .. } => self.step(ctx, |machine, now| machine.on_ended(now, key)),
            KeyedVerdict::GaveUp { key, .. } => {
                let (tracker, retry_s) = (redact_url(self.machine.url(key.tracker)), DISABLED_FOR.as_secs());
                tracing::warn!(tracker, retry_s, "tracker disabled");
                self.step(ctx, |machine, now| machine.on_gave_up(now, key));
            }
        }
    }
}

impl Handler<Goodbye> for TrackerSupervisor {
    type Result = ();

    fn handle(&mut self, _: Goodbye, ctx: &mut Ctx<Self>) {
        self.step(ctx, |machine, _| machine.on_stop());
        self.trackers.clear(ctx, self.cfg.stop_timeout, |_, ctx| ctx.stop());
    }
}

#[cfg(test)]
mod tests;

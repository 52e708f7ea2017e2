//! `HttpTracker` and `UdpTracker`: announce one torrent to one URL, over one family of addresses if the tracker has
//! both (BEP 7).
//!
//! * Owns an [`Announcer`] and at most one announce in flight.
//! * Parent: `TrackerSupervisor`. Restart policy: permanent, five abnormal restarts in ten minutes. A failed announce
//!   is an expected restart: the incarnation ends with its cause, and the next one starts after the announcer's
//!   back-off.
//! * Handles `Attend`, `Rest`, `PeersNeeded`, `Completed` and `Progressed`. Sends `TrackerNews`. Asks no other actor.
//! * Stops when its parent tells it to, after a `stopped` if one is due.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::time::Instant;

use super::kit::{ActorExit, ActorMeter, Child, Ctx, Goodbye, Metered, Timer};
use super::peer_pool::PeersNeeded;
use super::tracker_supervisor::{Completed, Progressed};
use crate::base::ids::{InfoHash, PeerId};
use crate::base::safe::{Safe, redact_url};
use crate::codec::tracker::{AnnounceRequest, Event};
use crate::logic::peers::peer_book::PeerNeed;
use crate::logic::trackers::announce::{AnnounceEffect, AnnounceState, Announcer, Kept, as_told};
use crate::logic::trackers::families::{IpFamily, NO_ADDRESS};
use crate::logic::trackers::standings::TrackerClock;
use crate::net::Net;
use crate::net::tracker::{Announced, TrackerTrouble, announce_http};
use crate::net::tracker_udp::{UdpSession, announce_udp};

/// 200 peers are requested, as by libtorrent.
const NUM_WANT: u32 = 200;

/// Announce to this tracker from now on.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Attend;

/// Announce to this tracker no more. A `stopped` is still due when it is told to end.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Rest;

/// An event of a tracker, for the supervisor.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct TrackerNews {
    /// Which tracker, and which of its clocks.
    pub clock: TrackerClock,
    /// What happened.
    pub news: TrackerEvent,
}

/// The event of a [`TrackerNews`].
#[derive(Debug)]
pub enum TrackerEvent {
    /// The tracker answered.
    Announced {
        /// The answer.
        announced: Box<Announced>,
        /// When the next announce is due, if one is planned.
        next: Option<Instant>,
    },
    /// The announce failed.
    Failed {
        /// The reason.
        trouble: TrackerTrouble,
        /// When it is retried. `None`: never.
        retry: Option<Instant>,
        /// The earliest time at which it may be retried on request.
        not_before: Option<Instant>,
    },
}

/// The future of one announce.
pub type Announcing = Pin<Box<dyn Future<Output = Result<Announced, TrackerTrouble>>>>;

/// The protocol of a tracker.
pub trait Protocol: std::fmt::Debug + Unpin + 'static {
    /// The name of this kind of tracker in logs and counters.
    const KIND: &'static str;

    /// The counters of the kind.
    fn meter() -> &'static ActorMeter;

    /// A protocol whose random choices follow from `seed`.
    fn new(seed: u64) -> Self;

    /// Makes one announce, to an address of this family.
    fn announce(&self, net: Net, url: String, request: AnnounceRequest, family: IpFamily) -> Announcing;
}

/// Announces over HTTP or HTTPS (BEP 3).
#[derive(Debug)]
pub struct Http;

/// Announces over UDP (BEP 15).
#[derive(Debug)]
pub struct Udp {
    session: UdpSession,
}

impl Protocol for Http {
    const KIND: &'static str = "HttpTracker";

    fn meter() -> &'static ActorMeter {
        static METER: ActorMeter = ActorMeter::new("HttpTracker");
        &METER
    }

    fn new(_: u64) -> Self {
        Self
    }

    fn announce(&self, net: Net, url: String, request: AnnounceRequest, family: IpFamily) -> Announcing {
        Box::pin(async move { announce_http(&net, &url, &request, family).await })
    }
}

impl Protocol for Udp {
    const KIND: &'static str = "UdpTracker";

    fn meter() -> &'static ActorMeter {
        static METER: ActorMeter = ActorMeter::new("UdpTracker");
        &METER
    }

    fn new(seed: u64) -> Self {
        Self { session: UdpSession::new(seed) }
    }

    fn announce(&self, net: Net, url: String, request: AnnounceRequest, family: IpFamily) -> Announcing {
        let session = self.session.clone();
        Box::pin(async move { announce_udp(&net, &session, &url, &request, family).await })
    }
}

/// An HTTP or HTTPS tracker.
pub type HttpTracker = Tracker<Http>;

/// A UDP tracker.
pub type UdpTracker = Tracker<Udp>;

impl<P: Protocol> Metered for Tracker<P> {
    const KIND: &'static str = P::KIND;

    fn meter() -> &'static ActorMeter {
        P::meter()
    }
}

/// What a tracker's actor is made from.
#[derive(Debug, Clone)]
pub struct TrackerConfig {
    /// Which tracker of the torrent, and which of its clocks.
    pub clock: TrackerClock,
    /// The announce URL, with its secrets.
    pub url: String,
    /// The way out.
    pub net: Net,
    /// The info-hash of the swarm.
    pub info_hash: InfoHash,
    /// Our peer id.
    pub our_id: PeerId,
    /// The port that we announce.
    pub port: u16,
    /// The same for all trackers of a torrent and all announces of a run.
    pub key: u32,
    /// The seed of random choices.
    pub seed: u64,
    /// The supervisor.
    pub supervisor: Recipient<TrackerNews>,
}

/// The actor of one tracker. The head of this file describes it.
#[derive(Debug)]
pub struct Tracker<P: Protocol> {
    cfg: TrackerConfig,
    protocol: P,
    // Kept over restarts.
    machine: Announcer,
    progress: Progressed,
    need: PeerNeed,
    /// The `tracker id` that the tracker gave us.
    called: Option<Vec<u8>>,
    /// The family of addresses that is announced to at present.
    family: IpFamily,
    attended: bool,
    /// Whether the user was warned that its peer lists cannot be read in full.
    warned_of_lists: bool,
    // Live.
    timer: Timer<Self>,
}

impl<P: Protocol> Tracker<P> {
    /// A tracker that rests until [`Attend`].
    pub fn new(cfg: TrackerConfig, progress: Progressed, need: PeerNeed) -> Self {
        Self {
            protocol: P::new(cfg.seed),
            machine: announcer(Kept::default(), cfg.seed, need),
            progress,
            need,
            called: None,
            family: cfg.clock.family,
            attended: false,
            warned_of_lists: false,
            timer: Timer::new(),
            cfg,
        }
    }
}

/// An announce clock that knows the present need for peers.
fn announcer(kept: Kept, seed: u64, need: PeerNeed) -> Announcer {
    let mut new = Announcer::new(kept, seed);
    new.set_need(Instant::now().into_std(), need);
    new
}

impl<P: Protocol> Tracker<P> {
    /// Mutates the machine once, performs every effect, arms one timer.
    fn step(&mut self, ctx: &mut Ctx<Self>, mutate: impl FnOnce(&mut Announcer, std::time::Instant)) {
        mutate(&mut self.machine, Instant::now().into_std());
        while let Some(AnnounceEffect::Announce(event)) = self.machine.poll() {
            self.announce(event, ctx);
        }
        if self.machine.state() == AnnounceState::Ended {
            ctx.stop();
        }
        self.timer.arm(ctx, self.machine.deadline(), |act, ctx| act.step(ctx, Announcer::on_timeout));
    }

    /// Starts an announce.
    fn announce(&mut self, event: Event, ctx: &mut Ctx<Self>) {
        let Progressed { uploaded, downloaded, left, partial_seed } = self.progress;
        let request = AnnounceRequest {
            info_hash: self.cfg.info_hash,
            peer_id: self.cfg.our_id,
            port: self.cfg.port,
            uploaded,
            downloaded,
            left,
            event: as_told(event, partial_seed),
            key: self.cfg.key,
            num_want: if event == Event::Stopped { 0 } else { NUM_WANT },
            tracker_id: self.called.clone(),
        };
        tracing::debug!(tracker = redact_url(&self.cfg.url), ?event, left, "→ announce");
        let (net, url) = (Arc::clone(&self.cfg.net), self.cfg.url.clone());
        let answered =
            self.protocol.announce(net, url, request, self.family).into_actor(self).map(move |answer, act, ctx| {
                match answer {
                    Ok(announced) => act.on_announced(announced, ctx),
                    Err(trouble) => act.on_failed(trouble, ctx),
                }
            });
        ctx.spawn(answered);
    }

    /// Handles the answer to an announce.
    fn on_announced(&mut self, announced: Announced, ctx: &mut Ctx<Self>) {
        let reply = &announced.reply;
        tracing::debug!(
            tracker = redact_url(&self.cfg.url),
            peers = reply.peers.len(),
            named = reply.peers_named,
            interval = reply.interval,
            "← announce"
        );
        if let Some(warning) = &reply.warning {
            tracing::warn!(tracker = redact_url(&self.cfg.url), warning = %Safe::new(warning), "tracker warns");
        }
        if reply.peers_unreadable > 0 && !std::mem::replace(&mut self.warned_of_lists, true) {
            let (unreadable, used) = (reply.peers_unreadable, reply.peers.len());
            let tracker = redact_url(&self.cfg.url);
            tracing::warn!(tracker, unreadable, used, "tracker sends a list of peers that is cut short or broken");
        }
        if reply.tracker_id.is_some() {
            self.called.clone_from(&reply.tracker_id);
        }
        if announced.path.both {
            self.family = announced.path.over;
        }
        self.step(ctx, |machine, now| {
            machine.on_reply(now, &announced.reply);
        });
        let next = self.machine.deadline().map(Instant::from_std);
        let news = TrackerEvent::Announced { announced: Box::new(announced), next };
        self.cfg.supervisor.do_send(TrackerNews { clock: self.cfg.clock, news });
    }

    /// Handles a failed announce.
    fn on_failed(&mut self, trouble: TrackerTrouble, ctx: &mut Ctx<Self>) {
        let now = Instant::now();
        let mut backoff = Duration::ZERO;
        let retry_in = trouble.retry_in.or(self.cfg.clock.family.retry_in(trouble.cause));
        if trouble.cause == NO_ADDRESS {
            self.family = self.cfg.clock.family;
        }
        self.step(ctx, |machine, now| backoff = machine.on_failure(now, retry_in));
        let retry = now.checked_add(backoff).filter(|_| self.machine.state() != AnnounceState::Refused);
        let cause = trouble.cause;
        let retry_s = retry.map(|_| backoff.as_secs());
        let (tracker, over) = (redact_url(&self.cfg.url), self.family.label());
        if self.cfg.clock.is_first() {
            tracing::info!(tracker, over, why = trouble.text, retry_s, "tracker fails");
        } else {
            tracing::debug!(tracker, over, why = trouble.text, retry_s, "tracker fails over its other family");
        }
        let not_before = self.machine.kept().not_before.map(Instant::from_std).filter(|_| retry.is_some());
        let news = TrackerEvent::Failed { trouble, retry, not_before };
        self.cfg.supervisor.do_send(TrackerNews { clock: self.cfg.clock, news });
        // Leaving, the step above has stopped the actor or sent the last word. One that never wants to hear of us again
        // (BEP 31) hears only our farewell.
        let is_leaving = matches!(self.machine.state(), AnnounceState::Ended | AnnounceState::Announcing(_));
        if !is_leaving && retry.is_some() {
            ctx.stop_with(ActorExit::expected(cause, backoff));
        }
    }
}

impl<P: Protocol> Actor for Tracker<P> {
    type Context = Ctx<Self>;

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        if self.attended {
            self.step(ctx, Announcer::on_start);
        }
    }
}

impl<P: Protocol> Supervised for Tracker<P> {
    fn restarting(&mut self, _: &mut Ctx<Self>) {
        self.timer = Timer::new();
        self.machine = announcer(self.machine.kept(), self.cfg.seed, self.need);
    }
}

impl<P: Protocol> Child for Tracker<P> {
    fn id(&self) -> String {
        match self.cfg.clock.family {
            IpFamily::Any => redact_url(&self.cfg.url),
            family => format!("{} over {}", redact_url(&self.cfg.url), family.label()),
        }
    }
}

impl<P: Protocol> Handler<Attend> for Tracker<P> {
    type Result = ();

    fn handle(&mut self, _: Attend, ctx: &mut Ctx<Self>) {
        self.attended = true;
        self.step(ctx, Announcer::on_start);
    }
}

impl<P: Protocol> Handler<Rest> for Tracker<P> {
    type Result = ();

    fn handle(&mut self, _: Rest, ctx: &mut Ctx<Self>) {
        self.attended = false;
        self.step(ctx, Announcer::on_rest);
    }
}

impl<P: Protocol> Handler<PeersNeeded> for Tracker<P> {
    type Result = ();

    fn handle(&mut self, PeersNeeded(need): PeersNeeded, ctx: &mut Ctx<Self>) {
        self.need = need;
        self.step(ctx, |machine, now| machine.set_need(now, need));
    }
}

impl<P: Protocol> Handler<Completed> for Tracker<P> {
    type Result = ();

    fn handle(&mut self, _: Completed, ctx: &mut Ctx<Self>) {
        self.progress.left = 0;
        self.step(ctx, Announcer::on_completed);
    }
}

impl<P: Protocol> Handler<Progressed> for Tracker<P> {
    type Result = ();

    fn handle(&mut self, progress: Progressed, _: &mut Ctx<Self>) {
        self.progress = progress;
    }
}

impl<P: Protocol> Handler<Goodbye> for Tracker<P> {
    type Result = ();

    fn handle(&mut self, _: Goodbye, ctx: &mut Ctx<Self>) {
        self.step(ctx, Announcer::on_stop);
    }
}

#[cfg(test)]
mod tests;

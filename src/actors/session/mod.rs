//! `Session`: the root of the tree. Its end is the program's end.
//!
//! * Parent of `Metrics` and the `Listener` (fixed), and of one `Torrent` for each that is worked on (dynamic, by its
//!   number), on the arbiter that is its place.
//! * Under the root guard, 3 restarts in 60 s.
//! * Handles `ChildEvent`, `StopTorrent` and `CommandTorrent`. A torrent that gave up is published as failed with its reason; the others live
//!   on. The end of another child ends the session.
//! * Ends when told to, after its children: all torrents together, then the others, last one first.

use std::time::Duration;

use actix::prelude::*;
use tokio::time::{Instant, timeout};

use super::kit::{self, Child, ChildEvent, Children, Ctx, DynamicChildren, Goodbye, KeyedVerdict};
use super::listener::{Listener, ListenerConfig, RegisterTorrent};
use super::metrics::{MeasureLag, Metrics, MetricsConfig};
use super::policies;
use super::torrent::{Torrent, TorrentConfig};
use super::view::{TorrentFailure, TorrentPhase};
use crate::base::ids::InfoHash;
use crate::logic::torrent::lifecycle::CommandRefusal;

/// 5 s for a torrent to answer a command, which it does in the turn it hears it: it may be starting again just then.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);

/// All that a session is given.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// The door for peers that come by themselves; `None`: nobody does.
    pub listener: Option<ListenerConfig>,
    /// What to work on.
    pub torrents: Vec<TorrentConfig>,
    /// The arbiters besides that of the session.
    pub hosts: Vec<Recipient<MeasureLag>>,
    /// How often metrics go into the log; `None`: never.
    pub metrics_every: Option<Duration>,
    /// How long a child may take to end.
    pub stop_timeout: Duration,
    /// For the dice of the guards.
    pub seed: u64,
}

/// This torrent, by its number, is done with; the others go on.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct StopTorrent(pub usize);

/// Passes a command on to the torrent with this info-hash. Answered as the command is, and with
/// [`CommandRefusal::NoSuchTorrent`] where there is none.
#[derive(Debug, Clone, Copy)]
pub struct CommandTorrent<C> {
    /// Which torrent.
    pub info_hash: InfoHash,
    /// `PauseTorrent`, `ResumeTorrent`, `RecheckTorrent` or `SetSeedingGoal`.
    pub command: C,
}

impl<C: 'static> Message for CommandTorrent<C> {
    type Result = Result<(), CommandRefusal>;
}

/// See the head of the file.
#[derive(Debug)]
pub struct Session {
    cfg: SessionConfig,
    services: Children,
    /// By their number in the configuration.
    torrents: DynamicChildren<usize, Addr<Torrent>>,
}

crate::metered!(Session, "Session");

impl Session {
    /// Starts everything when it starts.
    pub fn new(cfg: SessionConfig) -> Self {
        Self {
            cfg,
            services: Children::new(policies::SESSION_SERVICES),
            torrents: DynamicChildren::with_intensity(policies::SESSION_TORRENTS),
        }
    }

    fn start_children(&mut self, ctx: &mut Ctx<Self>) {
        let views = self.cfg.torrents.iter().map(|torrent| torrent.view.subscribe()).collect();
        let metrics =
            Metrics::new(MetricsConfig { every: self.cfg.metrics_every, views, hosts: self.cfg.hosts.clone() });
        self.services.adopt(kit::spawn(metrics, policies::METRICS, self.cfg.seed, ctx.address().recipient()));
        let listener = self.start_listener(ctx);
        for (nth, torrent) in self.cfg.torrents.clone().into_iter().enumerate() {
            let place = torrent.place.clone();
            let torrent = TorrentConfig { listener: listener.clone(), ..torrent };
            let (seed, parent) = (self.cfg.seed.wrapping_add(nth as u64 + 1), ctx.address().recipient());
            let spawn = || kit::spawn_at(&place, || Torrent::new(torrent), policies::TORRENT, seed, parent);
            self.torrents.start(nth, spawn);
        }
    }

    fn start_listener(&mut self, ctx: &Ctx<Self>) -> Option<Recipient<RegisterTorrent>> {
        let listener = Listener::new(self.cfg.listener.clone()?);
        let handle = kit::spawn(listener, policies::LISTENER, self.cfg.seed, ctx.address().recipient());
        Some(self.services.adopt(handle).recipient())
    }

    /// Ends all torrents, then the services, and then runs `then`.
    fn clear(&mut self, ctx: &mut Ctx<Self>, then: fn(&mut Self, &mut Ctx<Self>)) {
        let limit = self.cfg.stop_timeout;
        self.torrents.clear(ctx, limit, move |act, ctx| act.services.clear(ctx, limit, then));
    }

    fn on_torrent_failed(&self, nth: usize, why: String) {
        if let Some(torrent) = self.cfg.torrents.get(nth) {
            torrent.view.send_modify(|view| view.phase = TorrentPhase::Failed(TorrentFailure::GaveUp(why)));
        }
    }
}

impl Actor for Session {
    type Context = Ctx<Self>;

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        self.clear(ctx, Self::start_children);
    }

    fn stopped(&mut self, _: &mut Ctx<Self>) {
        self.torrents.dismiss();
        self.services.dismiss();
    }
}

impl Supervised for Session {}

impl Child for Session {
    fn id(&self) -> String {
        "root".to_owned()
    }
}

impl Handler<ChildEvent> for Session {
    type Result = ();

    fn handle(&mut self, event: ChildEvent, ctx: &mut Ctx<Self>) {
        let now = Instant::now();
        let fault = match self.torrents.on_event(now, &event) {
            KeyedVerdict::GaveUp { key, exit, .. } => return self.on_torrent_failed(key, exit.to_string()),
            verdict => verdict.fault().or_else(|| self.services.on_event(now, &event).fault()),
        };
        if let Some(fault) = fault {
            ctx.stop_with(fault);
        }
    }
}

impl Handler<StopTorrent> for Session {
    type Result = ();

    fn handle(&mut self, StopTorrent(nth): StopTorrent, _: &mut Ctx<Self>) {
        self.torrents.stop(&nth, self.cfg.stop_timeout);
    }
}

impl<C> Handler<CommandTorrent<C>> for Session
where
    C: Message<Result = Result<(), CommandRefusal>> + Send + 'static,
    Torrent: Handler<C>,
{
    type Result = ResponseActFuture<Self, Result<(), CommandRefusal>>;

    fn handle(&mut self, CommandTorrent { info_hash, command }: CommandTorrent<C>, _: &mut Ctx<Self>) -> Self::Result {
        let number = self.cfg.torrents.iter().position(|torrent| torrent.info_hash == info_hash);
        let asked = number.and_then(|number| self.torrents.get(&number));
        let answer = asked.map(|torrent| timeout(COMMAND_TIMEOUT, torrent.send(command)));
        let answer = async move {
            match answer {
                None => Err(CommandRefusal::NoSuchTorrent),
                Some(answer) => answer.await.ok().and_then(Result::ok).unwrap_or(Err(CommandRefusal::NoAnswer)),
            }
        };
        Box::pin(answer.into_actor(self))
    }
}

impl Handler<Goodbye> for Session {
    type Result = ();

    fn handle(&mut self, _: Goodbye, ctx: &mut Ctx<Self>) {
        self.clear(ctx, |_, ctx| ctx.stop());
    }
}

#[cfg(test)]
mod tests;

//! `Session`: the root of the tree. Its end is the program's end.
//!
//! Parent of `Metrics`, of the `Listener` and of one `Torrent` each, on the arbiter that is its place. Under the root guard,
//! 3 restarts in 60 s. Hears `ChildEvent`, `StopTorrent`, `CommandTorrent`. A torrent that gave up is published as failed with its reason; the
//! others live on. Ends when told to, after its children, last one first.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::kit::{self, Child, ChildEvent, ChildId, ChildVerdict, Ctx, Family, Goodbye};
use super::listener::{Listener, ListenerConfig, RegisterTorrent};
use super::metrics::{MeasureLag, Metrics, MetricsConfig};
use super::policies;
use super::torrent::{Torrent, TorrentConfig};
use super::view::{TorrentFailure, TorrentPhase, TorrentView};
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

/// A torrent as the session sees it.
#[derive(Debug)]
struct SessionTorrent {
    id: ChildId,
    info_hash: InfoHash,
    addr: Addr<Torrent>,
    view: Arc<watch::Sender<TorrentView>>,
}

/// See the head of the file.
#[derive(Debug)]
pub struct Session {
    cfg: SessionConfig,
    family: Family,
    /// By their number in the configuration, those that have ended too.
    torrents: Vec<SessionTorrent>,
}

crate::metered!(Session, "Session");

impl Session {
    /// Starts everything when it starts.
    pub fn new(cfg: SessionConfig) -> Self {
        Self { cfg, family: Family::new(policies::SESSION_CHILDREN), torrents: Vec::new() }
    }

    fn start_children(&mut self, ctx: &mut Ctx<Self>) {
        let views = self.cfg.torrents.iter().map(|torrent| torrent.view.subscribe()).collect();
        let metrics =
            Metrics::new(MetricsConfig { every: self.cfg.metrics_every, views, hosts: self.cfg.hosts.clone() });
        self.family.adopt(kit::spawn(metrics, policies::METRICS, self.cfg.seed, ctx.address().recipient()));
        let listener = self.start_listener(ctx);
        self.torrents.clear();
        for (nth, torrent) in (1..).zip(self.cfg.torrents.clone()) {
            let (view, place) = (Arc::clone(&torrent.view), torrent.place.clone());
            let torrent = TorrentConfig { listener: listener.clone(), ..torrent };
            let (seed, parent) = (self.cfg.seed.wrapping_add(nth), ctx.address().recipient());
            let info_hash = torrent.info_hash;
            let handle = kit::spawn_at(&place, || Torrent::new(torrent), policies::TORRENT, seed, parent);
            let (id, addr) = (handle.id(), self.family.adopt(handle));
            self.torrents.push(SessionTorrent { id, info_hash, addr, view });
        }
    }

    fn start_listener(&mut self, ctx: &Ctx<Self>) -> Option<Recipient<RegisterTorrent>> {
        let listener = Listener::new(self.cfg.listener.clone()?);
        let handle = kit::spawn(listener, policies::LISTENER, self.cfg.seed, ctx.address().recipient());
        Some(self.family.adopt(handle).recipient())
    }

    /// A torrent that gave up fails alone; anything else takes the session with it.
    fn on_verdict(&mut self, child: ChildId, verdict: &ChildVerdict, ctx: &mut Ctx<Self>) {
        let torrent = self.torrents.iter().find(|torrent| torrent.id == child);
        match (verdict, torrent) {
            (ChildVerdict::GaveUp { exit, .. }, Some(torrent)) => {
                let why = exit.to_string();
                torrent.view.send_modify(|view| view.phase = TorrentPhase::Failed(TorrentFailure::GaveUp(why)));
            }
            _ => {
                if let Some(fault) = verdict.fault() {
                    ctx.stop_with(fault);
                }
            }
        }
    }
}

impl Actor for Session {
    type Context = Ctx<Self>;

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        self.family.clear(ctx, self.cfg.stop_timeout, Self::start_children);
    }

    fn stopped(&mut self, _: &mut Ctx<Self>) {
        self.family.dismiss();
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
        let verdict = self.family.on_event(Instant::now(), &event);
        self.on_verdict(event.id, &verdict, ctx);
    }
}

impl Handler<StopTorrent> for Session {
    type Result = ();

    fn handle(&mut self, StopTorrent(nth): StopTorrent, _: &mut Ctx<Self>) {
        if let Some(torrent) = self.torrents.get(nth) {
            self.family.stop(torrent.id);
        }
    }
}

impl<C> Handler<CommandTorrent<C>> for Session
where
    C: Message<Result = Result<(), CommandRefusal>> + Send + 'static,
    Torrent: Handler<C>,
{
    type Result = ResponseActFuture<Self, Result<(), CommandRefusal>>;

    fn handle(&mut self, CommandTorrent { info_hash, command }: CommandTorrent<C>, _: &mut Ctx<Self>) -> Self::Result {
        let is_asked = |torrent: &&SessionTorrent| torrent.info_hash == info_hash && self.family.has(torrent.id);
        let asked = self.torrents.iter().find(is_asked);
        let answer = asked.map(|torrent| timeout(COMMAND_TIMEOUT, torrent.addr.send(command)));
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
        self.family.clear(ctx, self.cfg.stop_timeout, |_, ctx| ctx.stop());
    }
}

#[cfg(test)]
mod tests;

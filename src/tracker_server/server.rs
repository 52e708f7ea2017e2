//! `TrackerServer`: the root of a tracker's tree. Its end is the program's end.
//!
//! Parent of `Metrics`, one `SwarmKeeper`, and a desk for each socket. Under the root guard, 3 restarts in 60 s. Owns the
//! sockets, so that they survive its children. Hears `ChildEvent` and `NewAllowList`, which it hands on; tells `Survey`
//! what the keeper said. Ends when told to, after its children, last one first.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::watch;
use tokio::time::Instant;

use super::http::HttpDesk;
use super::keeper::SwarmKeeper;
use super::udp::UdpDesk;
use crate::actors::kit::{self, Child, ChildEvent, Ctx, Family, Goodbye};
use crate::actors::metrics::{Metrics, MetricsConfig};
use crate::actors::policies;
use crate::logic::tracker_server::DeskConfig;
use crate::net::{DatagramSocket, Listen};

/// All that a server is given.
#[derive(Debug)]
pub(super) struct ServerConfig {
    pub(super) desk: DeskConfig,
    /// Where HTTP is heard, and at which address.
    pub(super) http: Vec<(Rc<dyn Listen>, SocketAddr)>,
    /// The same for UDP.
    pub(super) udp: Vec<(Rc<dyn DatagramSocket>, SocketAddr)>,
    /// Connections of each HTTP socket at most.
    pub(super) max_connections: usize,
    /// How often metrics go into the log; `None`: never.
    pub(super) metrics_every: Option<Duration>,
    /// How long a child may take to end.
    pub(super) stop_timeout: Duration,
    /// Who wants to talk to the keeper finds it here.
    pub(super) keeper: watch::Sender<Option<Addr<SwarmKeeper>>>,
}

/// See the head of the file.
#[derive(Debug)]
pub(super) struct TrackerServer {
    cfg: ServerConfig,
    family: Family,
}

crate::metered!(TrackerServer, "TrackerServer");

impl TrackerServer {
    pub(super) fn new(cfg: ServerConfig) -> Self {
        Self { cfg, family: Family::new(policies::TRACKER_SERVER_CHILDREN) }
    }

    fn start_children(&mut self, ctx: &mut Ctx<Self>) {
        let me = || ctx.address().recipient();
        let mut seeds = self.cfg.desk.seed..;
        let mut seed = || seeds.next().unwrap_or_default();
        let metrics = MetricsConfig { every: self.cfg.metrics_every, views: Vec::new(), hosts: Vec::new() };
        let metrics = Metrics::new(metrics);
        self.family.adopt(kit::spawn(metrics, policies::METRICS, seed(), me()));
        let keeper = SwarmKeeper::new(self.cfg.desk.clone());
        let keeper = self.family.adopt(kit::spawn(keeper, policies::SWARM_KEEPER, seed(), me()));
        for (listener, at) in &self.cfg.http {
            let desk = HttpDesk::new(Rc::clone(listener), *at, self.cfg.max_connections, keeper.clone());
            self.family.adopt(kit::spawn(desk, policies::TRACKER_DESK, seed(), me()));
        }
        for (socket, at) in &self.cfg.udp {
            let desk = UdpDesk::new(Rc::clone(socket), *at, keeper.clone());
            self.family.adopt(kit::spawn(desk, policies::TRACKER_DESK, seed(), me()));
        }
        self.cfg.keeper.send_replace(Some(keeper));
    }
}

impl Actor for TrackerServer {
    type Context = Ctx<Self>;

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        self.family.clear(ctx, self.cfg.stop_timeout, Self::start_children);
    }

    fn stopped(&mut self, _: &mut Ctx<Self>) {
        self.family.dismiss();
    }
}

impl Supervised for TrackerServer {}

impl Child for TrackerServer {
    fn id(&self) -> String {
        "root".to_owned()
    }
}

impl Handler<ChildEvent> for TrackerServer {
    type Result = ();

    fn handle(&mut self, event: ChildEvent, ctx: &mut Ctx<Self>) {
        if let Some(fault) = self.family.on_event(Instant::now(), &event).fault() {
            ctx.stop_with(fault);
        }
    }
}

impl Handler<Goodbye> for TrackerServer {
    type Result = ();

    fn handle(&mut self, _: Goodbye, ctx: &mut Ctx<Self>) {
        self.family.clear(ctx, self.cfg.stop_timeout, |_, ctx| ctx.stop());
    }
}

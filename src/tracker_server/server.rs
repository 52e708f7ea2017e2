//! `TrackerServer`: the root actor of the tracker. The program ends with it.
//!
//! * Children: `Metrics`, one `SwarmKeeper`, and an `HttpDesk` or `UdpDesk` for each socket. Owns the sockets, so that
//!   they survive its children.
//! * Restart policy: root, 3 restarts in 60 s.
//! * Handles `ChildEvent` and `Goodbye`.
//! * Stops when told to, after its children, which it stops in reverse order.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::watch;
use tokio::time::Instant;

use super::http::HttpDesk;
use super::keeper::SwarmKeeper;
use super::udp::UdpDesk;
use crate::actors::kit::{self, Child, ChildEvent, Children, Ctx, Goodbye};
use crate::actors::metrics::{Metrics, MetricsConfig};
use crate::actors::policies;
use crate::logic::tracker_server::DeskConfig;
use crate::net::{DatagramSocket, Listen};

/// The configuration of the root.
#[derive(Debug)]
pub(super) struct ServerConfig {
    pub(super) desk: DeskConfig,
    /// The listening HTTP sockets and their addresses.
    pub(super) http: Vec<(Rc<dyn Listen>, SocketAddr)>,
    /// The datagram sockets and their addresses.
    pub(super) udp: Vec<(Rc<dyn DatagramSocket>, SocketAddr)>,
    /// The largest number of connections of each HTTP socket.
    pub(super) max_connections: usize,
    /// How often metrics are logged; `None`: never.
    pub(super) metrics_every: Option<Duration>,
    /// The longest time in which a child must end.
    pub(super) stop_timeout: Duration,
    /// The address of the present keeper, for jobs that need it.
    pub(super) keeper: watch::Sender<Option<Addr<SwarmKeeper>>>,
}

/// The root of the tracker's tree.
#[derive(Debug)]
pub(super) struct TrackerServer {
    cfg: ServerConfig,
    children: Children,
}

crate::metered!(TrackerServer, "TrackerServer");

impl TrackerServer {
    /// The root with this configuration. Starts its children when it starts.
    pub(super) fn new(cfg: ServerConfig) -> Self {
        Self { cfg, children: Children::new(policies::TRACKER_SERVER_CHILDREN) }
    }

    /// Starts the children in the order of their dependencies.
    fn start_children(&mut self, ctx: &mut Ctx<Self>) {
        let me = || ctx.address().recipient();
        let mut seeds = self.cfg.desk.seed..;
        let mut seed = || seeds.next().unwrap_or_default();
        let metrics = MetricsConfig { every: self.cfg.metrics_every, views: Vec::new(), hosts: Vec::new() };
        let metrics = Metrics::new(metrics);
        self.children.adopt(kit::spawn(metrics, policies::METRICS, seed(), me()));
        let keeper = SwarmKeeper::new(self.cfg.desk.clone());
        let keeper = self.children.adopt(kit::spawn(keeper, policies::SWARM_KEEPER, seed(), me()));
        for (listener, at) in &self.cfg.http {
            let desk = HttpDesk::new(Rc::clone(listener), *at, self.cfg.max_connections, keeper.clone());
            self.children.adopt(kit::spawn(desk, policies::TRACKER_DESK, seed(), me()));
        }
        for (socket, at) in &self.cfg.udp {
            let desk = UdpDesk::new(Rc::clone(socket), *at, keeper.clone());
            self.children.adopt(kit::spawn(desk, policies::TRACKER_DESK, seed(), me()));
        }
        self.cfg.keeper.send_replace(Some(keeper));
    }
}

impl Actor for TrackerServer {
    type Context = Ctx<Self>;

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        self.children.clear(ctx, self.cfg.stop_timeout, Self::start_children);
    }

    fn stopped(&mut self, _: &mut Ctx<Self>) {
        self.children.dismiss();
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
        if let Some(fault) = self.children.on_event(Instant::now(), &event).fault() {
            ctx.stop_with(fault);
        }
    }
}

impl Handler<Goodbye> for TrackerServer {
    type Result = ();

    fn handle(&mut self, _: Goodbye, ctx: &mut Ctx<Self>) {
        self.children.clear(ctx, self.cfg.stop_timeout, |_, ctx| ctx.stop());
    }
}

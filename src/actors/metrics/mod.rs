//! `Metrics`: logs what every kind of actor does, and how often and why it was restarted.
//!
//! * Owns the views of all torrents.
//! * Parent: `Session`. Restart policy: permanent, five restarts in a minute.
//! * Handles only `Goodbye` and its timer. Sends `MeasureLag` to the root actors of other arbiters.
//! * At every interval logs one event for each kind of actor, one for each torrent, and one for the lag of its own
//!   arbiter.
//! * Stops when its parent tells it to.

use std::time::Duration;

use actix::prelude::*;
use tokio::sync::watch;
use tokio::time::Instant;

use super::kit::{self, Child, Ctx, Goodbye, KindSnapshot, Timer};
use super::view::TorrentView;

/// Asks another arbiter's root actor to report its scheduling delay: the time since this one.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct MeasureLag(pub Instant);

/// What the metrics actor is made from.
#[derive(Debug, Clone)]
pub struct MetricsConfig {
    /// The interval of the events. `None`: only the summary at the end.
    pub every: Option<Duration>,
    /// The views that the torrents publish.
    pub views: Vec<watch::Receiver<TorrentView>>,
    /// The root actors of the other arbiters.
    pub hosts: Vec<Recipient<MeasureLag>>,
}

/// The metrics actor. The head of this file describes it.
#[derive(Debug)]
pub struct Metrics {
    cfg: MetricsConfig,
    due: Option<Instant>,
    timer: Timer<Self>,
}

crate::metered!(Metrics, "Metrics");

impl Metrics {
    /// Logs nothing until it is started.
    pub fn new(cfg: MetricsConfig) -> Self {
        Self { cfg, due: None, timer: Timer::new() }
    }

    fn arm(&mut self, ctx: &mut Ctx<Self>) {
        self.due = self.cfg.every.map(|every| Instant::now() + every);
        self.timer.arm(ctx, self.due, Self::on_tick);
    }

    fn on_tick(&mut self, ctx: &mut Ctx<Self>) {
        let lag = self.due.map(|due| due.elapsed()).unwrap_or_default();
        self.write(lag);
        self.arm(ctx);
    }

    /// Logs the events of one interval.
    fn write(&self, lag: Duration) {
        kit::snapshot().iter().for_each(write_kind);
        self.cfg.views.iter().for_each(|view| write_swarm(&view.borrow()));
        write_lag(0, lag);
        self.cfg.hosts.iter().for_each(|host| host.do_send(MeasureLag(Instant::now())));
    }
}

/// Logs the scheduling delay of an arbiter.
pub(super) fn write_lag(arbiter: usize, lag: Duration) {
    tracing::info!(arbiter, lag_us = u64::try_from(lag.as_micros()).unwrap_or(u64::MAX), "arbiter lag");
}

fn write_kind(kind: &KindSnapshot) {
    tracing::info!(
        actor = kind.kind,
        live = kind.live,
        started = kind.started,
        restarts = kind.restarts_expected + kind.restarts_abnormal,
        panics = kind.panics,
        gave_up = kind.gave_up,
        handled = kind.handled,
        dropped = kind.dropped,
        mailbox = kind.mailbox,
        mailbox_max = kind.mailbox_max,
        handle_us_p50 = kind.handle_us_p50,
        handle_us_p99 = kind.handle_us_p99,
        wait_us_p99 = kind.wait_us_p99,
        "actor metrics"
    );
}

fn write_swarm(view: &TorrentView) {
    tracing::info!(
        torrent = %view.info_hash,
        down_bps = view.down_bps,
        up_bps = view.up_bps,
        peers = view.swarm.census.known,
        connected = view.swarm.census.connected,
        unchoked = view.unchoked(),
        requests_in_flight = view.requests_in_flight,
        credit_free = view.credit_free,
        wasted_bytes = view.bytes_wasted,
        why = view.trouble(),
        "swarm"
    );
    for peer in view.swarm.peers.iter() {
        tracing::debug!(
            addr = %peer.addr,
            client = &*peer.client,
            am_choking = peer.view.am_choking,
            am_interested = peer.view.am_interested,
            peer_choking = peer.view.peer_choking,
            peer_interested = peer.view.peer_interested,
            pieces = peer.view.pieces,
            outstanding = peer.view.outstanding,
            down_bps = peer.view.down_bps,
            up_bps = peer.view.up_bps,
            "peer"
        );
    }
}

/// Logs the supervision summary: one event for each kind of actor and cause, then the totals.
pub fn write_summary() {
    for (actor, cause, count) in kit::restarts_by_cause() {
        tracing::info!(actor, cause, count, "restarts by cause");
    }
    let kinds = kit::snapshot();
    let sum = |of: fn(&KindSnapshot) -> u64| kinds.iter().map(of).sum::<u64>();
    tracing::info!(
        restarts_expected = sum(|kind| kind.restarts_expected),
        restarts_abnormal = sum(|kind| kind.restarts_abnormal),
        panics = sum(|kind| kind.panics),
        gave_up = sum(|kind| kind.gave_up),
        "supervision summary"
    );
}

impl Actor for Metrics {
    type Context = Ctx<Self>;

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        self.arm(ctx);
    }
}

impl Supervised for Metrics {
    fn restarting(&mut self, _: &mut Ctx<Self>) {
        self.timer = Timer::new();
    }
}

impl Child for Metrics {
    fn id(&self) -> String {
        "metrics".to_owned()
    }
}

impl Handler<Goodbye> for Metrics {
    type Result = ();

    fn handle(&mut self, _: Goodbye, ctx: &mut Ctx<Self>) {
        if self.cfg.every.is_some() {
            self.write(Duration::ZERO);
        }
        ctx.stop();
    }
}

#[cfg(test)]
mod tests;

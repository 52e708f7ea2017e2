//! The one progress line, the plain line now and then, and the JSON of a view.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::output::Output;
use crate::actors::peer_pool::PeerRow;
use crate::actors::view::{Phase, TorrentView, TrackerRow};
use crate::base::safe::Safe;
use crate::base::units::{Bytes, Span};

/// 10 s between plain lines: a log that is read later stays short.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Shows views as they come.
#[derive(Debug)]
pub struct Progress<'a> {
    output: &'a Output,
    last_plain: Option<Instant>,
}

impl<'a> Progress<'a> {
    /// Nothing shown yet.
    pub const fn new(output: &'a Output) -> Self {
        Self { output, last_plain: None }
    }

    /// Shows a view.
    pub fn show(&mut self, view: &TorrentView) {
        if self.output.is_json() {
            self.output.json(&progress_json(view));
        } else if self.output.has_bar() {
            self.output.progress(line(view));
        } else if self.is_plain_due() {
            self.output.line(line(view));
        }
    }

    fn is_plain_due(&mut self) -> bool {
        #[expect(clippy::disallowed_methods, reason = "the terminal is no part of the simulation")]
        let now = Instant::now();
        let due = self.last_plain.is_none_or(|last| now.duration_since(last) >= PLAIN_EVERY);
        if due {
            self.last_plain = Some(now);
        }
        due
    }
}

/// `ubuntu.iso  42.1%  12.0 MiB/s  3 peers  ETA 1m 02s  (why)`.
pub fn line(view: &TorrentView) -> String {
    let name = Safe::new(&view.name).at_most(40);
    match &view.phase {
        Phase::Opening => format!("{name}  looking at what is there"),
        Phase::Checking { done, total, reason } => {
            let reason = reason.as_deref().map(|reason| format!("  ({reason})")).unwrap_or_default();
            format!("{name}  checking {} of {}{reason}", Bytes(*done), Bytes(*total))
        }
        Phase::Complete => format!("{name}  100%  {}", Bytes(view.bytes_total)),
        Phase::Failed(failure) => format!("{name}  failed: {failure}"),
        Phase::Fetching => {
            let eta = view.eta().map(|eta| format!("  ETA {}", Span(eta))).unwrap_or_default();
            let why = view.trouble().map(|why| format!("  ({why})")).unwrap_or_default();
            let peers = view.swarm.peers.len();
            format!("{name}  {}  {}/s  {peers} peers{eta}{why}", percent(view), Bytes(view.down_bps))
        }
    }
}

/// One decimal, and 100 only when everything is there.
fn percent(view: &TorrentView) -> String {
    let permille = u128::from(view.bytes_have) * 1000 / u128::from(view.bytes_total.max(1));
    format!("{}.{}%", permille / 10, permille % 10)
}

/// A view for programs.
pub fn progress_json(view: &TorrentView) -> Value {
    let phase = match &view.phase {
        Phase::Opening => "opening",
        Phase::Checking { .. } => "checking",
        Phase::Fetching => "fetching",
        Phase::Complete => "complete",
        Phase::Failed(_) => "failed",
    };
    json!({
        "event": "progress",
        "phase": phase,
        "bytes_have": view.bytes_have,
        "bytes_total": view.bytes_total,
        "down_bps": view.down_bps,
        "up_bps": view.up_bps,
        "peers": view.swarm.peers.len(),
        "known": view.swarm.census.known,
        "half_open": view.swarm.census.half_open,
        "why": view.trouble(),
        "trackers": view.swarm.trackers.iter().map(tracker_json).collect::<Vec<_>>(),
        "peer_table": view.swarm.peers.iter().map(peer_json).collect::<Vec<_>>(),
    })
}

fn tracker_json(tracker: &TrackerRow) -> Value {
    json!({
        "url": tracker.url,
        "state": tracker.state,
        "next_in_s": tracker.next_in.map(|next| next.as_secs()),
        "seeders": tracker.swarm.map(|(seeders, _)| seeders),
        "leechers": tracker.swarm.map(|(_, leechers)| leechers),
    })
}

fn peer_json(peer: &PeerRow) -> Value {
    json!({
        "addr": peer.addr.to_string(),
        "client": peer.client,
        "am_choking": peer.view.am_choking,
        "am_interested": peer.view.am_interested,
        "peer_choking": peer.view.peer_choking,
        "peer_interested": peer.view.peer_interested,
        "pieces": peer.view.pieces,
        "outstanding": peer.view.outstanding,
        "down_bps": peer.view.down_bps,
        "up_bps": peer.view.up_bps,
    })
}

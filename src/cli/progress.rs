//! The progress line, the plain line now and then, and the JSON of a view.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::output::Output;
use crate::actors::view::{PeerRow, TorrentPhase, TorrentView, TrackerRow};
use crate::base::safe::Safe;
use crate::base::units::{Bytes, DurationText};

/// 10 s between plain lines, which keeps a log short.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// At most eight torrents have a progress line: a terminal of 24 lines has room for other things too.
const MAX_LINES: usize = 8;

/// Shows views as they come.
#[derive(Debug)]
pub struct ProgressPrinter<'a> {
    output: &'a Output,
    torrents: Vec<Shown>,
}

/// What was last shown of a torrent.
#[derive(Debug, Clone, Default)]
struct Shown {
    line: String,
    is_done: bool,
    last_plain: Option<Instant>,
}

impl<'a> ProgressPrinter<'a> {
    /// Makes a printer for this many torrents.
    pub fn new(output: &'a Output, torrents: usize) -> Self {
        Self { output, torrents: vec![Shown::default(); torrents] }
    }

    /// Shows a view of torrent `nth`.
    pub fn show(&mut self, nth: usize, view: &TorrentView) {
        if self.output.is_json() {
            self.output.json(&progress_json(view));
        } else if self.output.has_bar() {
            let shown = &mut self.torrents[nth];
            shown.is_done = matches!(view.phase, TorrentPhase::Complete | TorrentPhase::Failed(_));
            shown.line = line(view);
            self.output.progress(&self.lines());
        } else if self.torrents[nth].is_plain_due() {
            self.output.line(line(view));
        }
    }

    /// Returns one line for each torrent that is not complete, and the number of those without a line.
    fn lines(&self) -> String {
        if let [only] = &self.torrents[..] {
            return only.line.clone();
        }
        let open: Vec<_> = self.torrents.iter().filter(|shown| !shown.is_done && !shown.line.is_empty()).collect();
        let mut lines: Vec<_> = open.iter().take(MAX_LINES).map(|shown| shown.line.clone()).collect();
        let done = self.torrents.iter().filter(|shown| shown.is_done).count();
        lines.push(format!("{done} of {} done", self.torrents.len()));
        lines.join("\n")
    }
}

impl Shown {
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

/// Returns a line such as `ubuntu.iso  42.1%  12.0 MiB/s  3 peers  ETA 1m 02s  (why)`.
pub fn line(view: &TorrentView) -> String {
    let name = Safe::new(&view.name).at_most(40);
    match &view.phase {
        TorrentPhase::Opening | TorrentPhase::Checking { .. } if view.disk_trouble.is_some() => {
            format!("{name}  waiting  ({})", view.disk_trouble.as_deref().unwrap_or_default())
        }
        TorrentPhase::Opening => format!("{name}  checking existing files"),
        TorrentPhase::Checking { done, total, reason } => {
            let reason = reason.as_deref().map(|reason| format!("  ({reason})")).unwrap_or_default();
            format!("{name}  checking {} of {}{reason}", Bytes(*done), Bytes(*total))
        }
        TorrentPhase::Complete => format!("{name}  100%  {}", Bytes(view.bytes_selected)),
        TorrentPhase::Seeding => {
            let (rate, sent) = (Bytes(view.up_bps), Bytes(view.bytes_sent));
            format!("{name}  seeding  {rate}/s  {} peers  {sent} sent", view.swarm.peers.len())
        }
        TorrentPhase::Paused => format!("{name}  paused  {}", percent(view)),
        TorrentPhase::Failed(failure) => format!("{name}  failed: {failure}"),
        TorrentPhase::Fetching => {
            let eta = view.eta().map(|eta| format!("  ETA {}", DurationText(eta))).unwrap_or_default();
            let why = view.trouble().map(|why| format!("  ({why})")).unwrap_or_default();
            let peers = view.swarm.peers.len();
            format!("{name}  {}  {}/s  {peers} peers{eta}{why}", percent(view), Bytes(view.down_bps))
        }
    }
}

/// Returns the percentage with one decimal; 100 only when every byte is there.
fn percent(view: &TorrentView) -> String {
    let permille = u128::from(view.bytes_done) * 1000 / u128::from(view.bytes_selected.max(1));
    format!("{}.{}%", permille / 10, permille % 10)
}

/// Returns a view as JSON.
pub fn progress_json(view: &TorrentView) -> Value {
    let phase = match &view.phase {
        TorrentPhase::Opening => "opening",
        TorrentPhase::Checking { .. } => "checking",
        TorrentPhase::Fetching => "fetching",
        TorrentPhase::Seeding => "seeding",
        TorrentPhase::Complete => "complete",
        TorrentPhase::Paused => "paused",
        TorrentPhase::Failed(_) => "failed",
    };
    json!({
        "event": "progress",
        "info_hash": view.info_hash.to_string(),
        "phase": phase,
        "bytes_have": view.bytes_have,
        "bytes_total": view.bytes_total,
        "bytes_selected": view.bytes_selected,
        "bytes_done": view.bytes_done,
        "down_bps": view.down_bps,
        "up_bps": view.up_bps,
        "bytes_uploaded": view.bytes_sent,
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
        "client": &*peer.client,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::view::TorrentFailure;
    use crate::base::ids::InfoHash;
    use crate::base::safe::is_harmless;
    use crate::logic::torrent::why::{Why, WhyReason};

    fn view(change: impl FnOnce(&mut TorrentView)) -> TorrentView {
        let mut view = TorrentView::new("x\u{1b}]0;evil\u{7}.iso".to_owned(), InfoHash([1; 20]), 3 << 20);
        view.phase = TorrentPhase::Fetching;
        change(&mut view);
        view
    }

    fn because(view: &mut TorrentView, primary: WhyReason) {
        view.why = Some(Why { primary, text: "so it is".to_owned() });
    }

    #[test]
    fn the_line_is_one_harmless_line_for_every_phase() {
        let table = [
            (view(|v| v.phase = TorrentPhase::Opening), "checking existing files"),
            (
                view(|v| {
                    v.phase =
                        TorrentPhase::Checking { done: 1 << 20, total: 2 << 20, reason: Some("no record".to_owned()) }
                }),
                "checking 1.0 MiB of 2.0 MiB  (no record)",
            ),
            (view(|v| v.phase = TorrentPhase::Complete), "100%  3.0 MiB"),
            (view(|v| (v.phase, v.bytes_done) = (TorrentPhase::Paused, 1 << 20)), "paused  33.3%"),
            (
                view(|v| {
                    (v.phase, v.up_bps, v.bytes_sent) = (TorrentPhase::Seeding, 1 << 10, 1 << 20);
                }),
                "seeding  1.0 KiB/s  0 peers  1.0 MiB sent",
            ),
            (
                view(|v| v.phase = TorrentPhase::Failed(TorrentFailure::GaveUp("a bug".to_owned()))),
                "failed: the torrent was given up: a bug",
            ),
            (view(|_| {}), "0.0%  0 B/s  0 peers"),
            (
                view(|v| {
                    (v.bytes_done, v.down_bps) = (1 << 20, 1 << 20);
                    because(v, WhyReason::Healthy);
                }),
                "33.3%  1.0 MiB/s  0 peers  ETA 2.0s",
            ),
            (view(|v| because(v, WhyReason::Choked)), "0 peers  (so it is)"),
            (
                view(|v| {
                    v.disk_trouble = Some("disk full".to_owned());
                    because(v, WhyReason::Choked);
                }),
                "0 peers  (disk full)",
            ),
            (view(|v| v.bytes_done = v.bytes_total - 1), "99.9%  0 B/s  0 peers"),
        ];
        for (view, want) in table {
            let line = line(&view);
            assert!(line.ends_with(want) && line.chars().all(is_harmless), "{line:?} does not end with {want:?}");
        }
    }

    #[test]
    fn the_json_of_a_view_has_the_same_figures() {
        let tracker = TrackerRow {
            url: "http://t.example/".to_owned(),
            state: "working".to_owned(),
            works: true,
            failed: false,
            next_in: Some(Duration::from_secs(90)),
            swarm: Some((3, 4)),
        };
        let json = progress_json(&view(|v| {
            (v.bytes_have, v.down_bps) = (1 << 20, 7);
            because(v, WhyReason::Healthy);
            v.swarm.trackers = vec![tracker];
        }));
        assert_eq!(
            (&json["event"], &json["phase"], &json["why"]),
            (&"progress".into(), &"fetching".into(), &Value::Null)
        );
        assert_eq!((&json["bytes_have"], &json["down_bps"]), (&(1 << 20).into(), &7.into()));
        let tracker = &json["trackers"][0];
        assert_eq!(
            (&tracker["next_in_s"], &tracker["seeders"], &tracker["leechers"]),
            (&90.into(), &3.into(), &4.into())
        );
    }
}

//! Why a torrent is as fast as it is: one primary reason, with its evidence and the next action, in one short
//! sentence.
//!
//! The sentence is shown in the progress line, the JSON and the logs. This module works on numbers that the caller
//! gathers.

use std::time::Duration;

use super::lifecycle::TorrentActivity;
use crate::base::safe::Safe;
use crate::logic::peer::protocol::PeerView;
use crate::logic::peers::peer_book::Census;

/// 70 %: a disk that is busy for longer is the bottleneck (D-07). Picked by eye.
const DISK_BUSY_PERCENT: u8 = 70;

/// What the torrent is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhyPhase {
    /// The torrent has no metadata yet (a magnet link).
    Metadata,
    /// Data that was there before the start is hashed.
    Checking {
        /// Pieces hashed so far.
        done: u32,
        /// Pieces to check.
        total: u32,
    },
    /// Missing pieces are downloaded.
    #[default]
    Downloading,
    /// Every wanted piece is there, and the torrent seeds.
    Seeding,
    /// Every wanted piece is there, and the torrent does not seed.
    Complete,
}

impl WhyPhase {
    /// Of a torrent whose files are open.
    pub const fn of(activity: TorrentActivity) -> Self {
        match activity {
            TorrentActivity::Complete => Self::Complete,
            TorrentActivity::Seeding | TorrentActivity::Finishing { seeded: true } => Self::Seeding,
            _ => Self::Downloading,
        }
    }
}

/// How a tracker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackerFact {
    /// It has answered, last time it was asked.
    pub works: bool,
    /// It has failed, last time it was asked.
    pub failed: bool,
    /// The time to its next announce; `None` if none is planned or one is under way.
    pub next_in: Option<Duration>,
}

/// What the reason needs to know of the trackers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrackerFacts {
    /// Trackers whose protocol is supported.
    pub usable: usize,
    /// Trackers whose protocol is not supported.
    pub unsupported: usize,
    /// Usable trackers that have answered or failed at least once.
    pub tried: usize,
    /// Tried trackers whose last announce failed.
    pub failed: usize,
    /// Time until the next announce. `None` if none is planned or one is under way.
    pub next_announce: Option<Duration>,
}

impl TrackerFacts {
    /// Of the trackers whose protocol we speak, among so many announce URLs.
    pub fn of(announce_urls: usize, trackers: impl IntoIterator<Item = TrackerFact>) -> Self {
        let mut facts = Self::default();
        for TrackerFact { works, failed, next_in } in trackers {
            facts.usable += 1;
            facts.tried += usize::from(works || failed);
            facts.failed += usize::from(failed);
            facts.next_announce = facts.next_announce.into_iter().chain(next_in).min();
        }
        facts.unsupported = announce_urls.saturating_sub(facts.usable);
        facts
    }
}

/// What the reason needs to know of the peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerFacts {
    /// Known peer addresses.
    pub known: usize,
    /// Known addresses that were dialled and never reached.
    pub unreachable: usize,
    /// Dials under way.
    pub half_open: usize,
    /// Open connections.
    pub connected: usize,
    /// Connected peers that have a piece we lack.
    pub interesting: usize,
    /// Interesting peers that choke us.
    pub choked_by: usize,
    /// Time until the next dial. `None` if none is planned.
    pub next_dial: Option<Duration>,
}

impl PeerFacts {
    /// Of the addresses that the peer book counts and the peers that are connected.
    pub fn of(census: &Census, connected: impl IntoIterator<Item = PeerView>, next_dial: Option<Duration>) -> Self {
        let mut facts = Self {
            known: census.known,
            unreachable: census.tried.saturating_sub(census.reached + census.half_open),
            half_open: census.half_open,
            next_dial,
            ..Self::default()
        };
        for peer in connected {
            facts.connected += 1;
            facts.interesting += usize::from(peer.am_interested);
            facts.choked_by += usize::from(peer.am_interested && peer.peer_choking);
        }
        facts
    }
}

/// All facts from which the reason is derived.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// What the torrent is doing.
    pub phase: WhyPhase,
    /// Whether the user paused the torrent.
    pub paused: bool,
    /// Facts about the trackers.
    pub trackers: TrackerFacts,
    /// Facts about the peers.
    pub peers: PeerFacts,
    /// Download rate in bytes a second.
    pub rate_bps: u64,
    /// Requests that are sent and not yet answered.
    pub in_flight: u64,
    /// Part of the last five seconds in which requests waited for the disk, in percent.
    pub disk_busy_percent: u8,
    /// The disk's present trouble as text for the user: what, where, and what to do next.
    pub disk_trouble: Option<String>,
    /// Wanted pieces that we lack.
    pub missing: u32,
    /// Missing pieces that no connected peer has.
    pub nobody_has: u32,
}

/// The primary reason for a torrent's present speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WhyReason {
    /// Data flows.
    Healthy,
    /// Every wanted piece is there.
    Complete,
    /// The user paused the torrent.
    Paused,
    /// The disk refuses reads or writes.
    DiskTrouble,
    /// Data that was there before the start is being hashed.
    Checking,
    /// The metadata is missing, and peers that may have it are connected.
    Metadata,
    /// No usable tracker and no peer address is known.
    NoSource,
    /// Trackers are being asked for the first time, or the first dials are under way.
    Starting,
    /// Every tracker failed, and no peer is connected.
    TrackersFailed,
    /// Trackers answered and named no peers.
    NobodyKnown,
    /// Addresses are known, and no connection stands.
    Unreachable,
    /// No connected peer has any of the missing pieces.
    NobodyHas,
    /// Peers are connected, and none of them has a piece we lack.
    NothingToGet,
    /// Every peer that has a piece we lack chokes us.
    Choked,
    /// The disk is too slow.
    DiskBusy,
    /// Peers have unchoked us, and no data arrives.
    Stalled,
}

/// The answer to "why is it not faster?".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// The reason, for programs.
    pub primary: WhyReason,
    /// The reason with its evidence and the next action, for people. Safe to show on a terminal.
    pub text: String,
}

impl WhyReason {
    /// Whether nothing needs attention: data flows, or the torrent is complete.
    pub const fn is_healthy(self) -> bool {
        matches!(self, Self::Healthy | Self::Complete)
    }

    /// The name of the reason in logs and JSON, such as `trackers-failed`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Complete => "complete",
            Self::Paused => "paused",
            Self::DiskTrouble => "disk-trouble",
            Self::Checking => "checking",
            Self::Metadata => "metadata",
            Self::NoSource => "no-source",
            Self::Starting => "starting",
            Self::TrackersFailed => "trackers-failed",
            Self::NobodyKnown => "nobody-known",
            Self::Unreachable => "unreachable",
            Self::NobodyHas => "nobody-has",
            Self::NothingToGet => "nothing-to-get",
            Self::Choked => "choked",
            Self::DiskBusy => "disk-busy",
            Self::Stalled => "stalled",
        }
    }
}

/// Returns the one reason for the present speed. What stops everything is looked at before what merely slows.
pub fn why(facts: &Facts) -> Why {
    let (primary, text) = stopped(facts).or_else(|| lonely(facts)).unwrap_or_else(|| among_peers(facts));
    Why { primary, text }
}

/// Reasons that do not depend on peers.
fn stopped(facts: &Facts) -> Option<(WhyReason, String)> {
    if facts.paused {
        return Some((WhyReason::Paused, "paused".to_owned()));
    }
    if let Some(trouble) = &facts.disk_trouble {
        return Some((WhyReason::DiskTrouble, Safe::new(trouble).to_string()));
    }
    match facts.phase {
        WhyPhase::Checking { done, total } => {
            Some((WhyReason::Checking, format!("checking what is there: {done} of {total} pieces")))
        }
        WhyPhase::Complete => Some((WhyReason::Complete, "complete".to_owned())),
        WhyPhase::Seeding => {
            Some((WhyReason::Complete, format!("seeding to {}", count(facts.peers.connected, "peer"))))
        }
        WhyPhase::Metadata | WhyPhase::Downloading => None,
    }
}

/// Reasons while no peer is connected.
fn lonely(facts: &Facts) -> Option<(WhyReason, String)> {
    let Facts { trackers, peers, .. } = facts;
    if peers.connected > 0 {
        return None;
    }
    let announce = then("next announce", trackers.next_announce);
    Some(if peers.half_open > 0 && peers.unreachable == 0 {
        (WhyReason::Starting, format!("dialling {} of {}", count(peers.half_open, "peer"), peers.known))
    } else if trackers.usable > 0 && trackers.tried == 0 && peers.known == 0 {
        (WhyReason::Starting, format!("no peers yet: asking {}", count(trackers.usable, "tracker")))
    } else if peers.known > 0 {
        let next = peers.next_dial.map_or(announce, |_| then("next dial", peers.next_dial));
        let reached = peers.known.saturating_sub(peers.unreachable);
        let evidence = if peers.unreachable == 0 {
            format!("none of {} connected", peers.known)
        } else {
            format!("{reached} of {} reachable", peers.known)
        };
        (WhyReason::Unreachable, format!("no peers: {evidence}{next}"))
    } else if trackers.usable == 0 {
        (WhyReason::NoSource, no_source(trackers.unsupported))
    } else if trackers.failed >= trackers.tried && trackers.tried > 0 {
        (WhyReason::TrackersFailed, format!("no peers: {} failed{announce}", count(trackers.failed, "tracker")))
    } else {
        let answered = trackers.tried.saturating_sub(trackers.failed);
        (WhyReason::NobodyKnown, format!("no peers: {} named none{announce}", count(answered, "tracker")))
    })
}

/// The sentence for a torrent without a usable tracker.
fn no_source(unsupported: usize) -> String {
    match unsupported {
        0 => "no peers: the torrent names no tracker; name a peer or a tracker yourself".to_owned(),
        _ => format!("no peers: {} of a protocol not spoken here; name another", count(unsupported, "tracker")),
    }
}

/// Reasons while peers are connected.
fn among_peers(facts: &Facts) -> (WhyReason, String) {
    let Facts { trackers, peers, .. } = facts;
    let announce = then("next announce", trackers.next_announce);
    let unchoked = peers.interesting.saturating_sub(peers.choked_by);
    if facts.phase == WhyPhase::Metadata {
        (WhyReason::Metadata, format!("waiting for the metadata from {}", count(peers.connected, "peer")))
    } else if facts.missing > 0 && facts.nobody_has >= facts.missing {
        let (nobody_has, connected) = (count(facts.nobody_has as usize, "piece"), count(peers.connected, "peer"));
        (WhyReason::NobodyHas, format!("{nobody_has} nobody has: waiting for more than these {connected}{announce}"))
    } else if facts.disk_busy_percent >= DISK_BUSY_PERCENT {
        (WhyReason::DiskBusy, format!("disk busy {} %: requests wait for it", facts.disk_busy_percent))
    } else if facts.rate_bps > 0 && unchoked > 0 {
        (WhyReason::Healthy, format!("fetching from {unchoked} of {}", count(peers.connected, "peer")))
    } else if peers.interesting == 0 {
        let none = format!("none of {} has what we lack", count(peers.connected, "peer"));
        (WhyReason::NothingToGet, format!("{none}{announce}"))
    } else if unchoked == 0 {
        (
            WhyReason::Choked,
            format!("choked by {} of {}: waiting for a turn{announce}", peers.choked_by, peers.connected),
        )
    } else {
        let asked = if facts.in_flight > 0 { "overdue requests go elsewhere" } else { "about to ask" };
        (WhyReason::Stalled, format!("nothing comes from {}: {asked}", count(unchoked, "peer")))
    }
}

/// `, next announce in 42 s`, or an empty text if `after` is `None`.
fn then(what: &str, after: Option<Duration>) -> String {
    let Some(after) = after else { return String::new() };
    match after.as_secs() {
        secs @ 0..=119 => format!(", {what} in {secs} s"),
        secs @ 120..=7199 => format!(", {what} in {} min", secs / 60),
        secs => format!(", {what} in {} h", secs / 3600),
    }
}

/// A number with its noun in the singular or plural.
fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::safe::is_harmless;
    use proptest::prelude::*;

    #[test]
    fn facts_are_counted() {
        let tracker =
            |works, failed, secs: Option<u64>| TrackerFact { works, failed, next_in: secs.map(Duration::from_secs) };
        let trackers = [tracker(true, false, Some(60)), tracker(false, true, Some(42)), tracker(false, false, None)];
        let next_announce = IN_42_S;
        let want = TrackerFacts { usable: 3, unsupported: 1, tried: 2, failed: 1, next_announce };
        assert_eq!(TrackerFacts::of(4, trackers), want);

        let census = Census { known: 9, tried: 7, reached: 2, half_open: 1, ..Census::default() };
        let peer = |am_interested, peer_choking| PeerView { am_interested, peer_choking, ..PeerView::default() };
        let peers = [peer(true, true), peer(true, false), peer(false, true)];
        let want = PeerFacts {
            known: 9,
            unreachable: 4,
            half_open: 1,
            connected: 3,
            interesting: 2,
            choked_by: 1,
            next_dial: IN_42_S,
        };
        assert_eq!(PeerFacts::of(&census, peers, IN_42_S), want);
    }

    fn healthy() -> Facts {
        Facts {
            trackers: TrackerFacts { usable: 3, tried: 3, failed: 1, ..TrackerFacts::default() },
            peers: PeerFacts { known: 200, connected: 14, interesting: 12, choked_by: 3, ..PeerFacts::default() },
            rate_bps: 1_000_000,
            in_flight: 50,
            missing: 100,
            nobody_has: 2,
            ..Facts::default()
        }
    }

    fn alone(trackers: TrackerFacts, peers: PeerFacts) -> Facts {
        Facts { trackers, peers, missing: 100, nobody_has: 100, ..Facts::default() }
    }

    const IN_42_S: Option<Duration> = Some(Duration::from_secs(42));

    #[test]
    fn there_is_one_reason_with_evidence_and_the_next_action() {
        let trackers =
            |usable, tried, failed| TrackerFacts { usable, tried, failed, next_announce: IN_42_S, unsupported: 0 };
        let peers = |known, unreachable| PeerFacts { known, unreachable, ..PeerFacts::default() };
        let among = |change: fn(&mut Facts)| {
            let mut facts = healthy();
            change(&mut facts);
            facts
        };
        let table = [
            (healthy(), WhyReason::Healthy, "fetching from 9 of 14 peers"),
            (among(|f| f.phase = WhyPhase::Complete), WhyReason::Complete, "complete"),
            (among(|f| f.paused = true), WhyReason::Paused, "paused"),
            (
                among(|f| f.phase = WhyPhase::Checking { done: 5, total: 80 }),
                WhyReason::Checking,
                "checking what is there: 5 of 80 pieces",
            ),
            (
                among(|f| f.disk_trouble = Some("disk full on /x: need 1.2 GB, 0 free; resumes by itself".to_owned())),
                WhyReason::DiskTrouble,
                "disk full on /x: need 1.2 GB, 0 free; resumes by itself",
            ),
            (among(|f| f.phase = WhyPhase::Metadata), WhyReason::Metadata, "waiting for the metadata from 14 peers"),
            (among(|f| f.disk_busy_percent = 71), WhyReason::DiskBusy, "disk busy 71 %: requests wait for it"),
            (
                among(|f| {
                    (f.peers.interesting, f.peers.choked_by, f.rate_bps) = (14, 14, 0);
                    f.trackers.next_announce = Some(Duration::from_secs(600));
                }),
                WhyReason::Choked,
                "choked by 14 of 14: waiting for a turn, next announce in 10 min",
            ),
            (
                among(|f| (f.missing, f.rate_bps) = (2, 0)),
                WhyReason::NobodyHas,
                "2 pieces nobody has: waiting for more than these 14 peers",
            ),
            (
                among(|f| (f.peers.interesting, f.peers.choked_by, f.rate_bps) = (0, 0, 0)),
                WhyReason::NothingToGet,
                "none of 14 peers has what we lack",
            ),
            (
                among(|f| f.rate_bps = 0),
                WhyReason::Stalled,
                "nothing comes from 9 peers: overdue requests go elsewhere",
            ),
            (
                alone(trackers(3, 3, 3), peers(0, 0)),
                WhyReason::TrackersFailed,
                "no peers: 3 trackers failed, next announce in 42 s",
            ),
            (
                alone(trackers(3, 1, 1), peers(0, 0)),
                WhyReason::TrackersFailed,
                "no peers: 1 tracker failed, next announce in 42 s",
            ),
            (alone(trackers(3, 0, 0), peers(0, 0)), WhyReason::Starting, "no peers yet: asking 3 trackers"),
            (
                alone(trackers(3, 3, 1), peers(0, 0)),
                WhyReason::NobodyKnown,
                "no peers: 2 trackers named none, next announce in 42 s",
            ),
            (
                alone(trackers(1, 1, 0), PeerFacts { next_dial: Some(Duration::from_secs(9)), ..peers(200, 200) }),
                WhyReason::Unreachable,
                "no peers: 0 of 200 reachable, next dial in 9 s",
            ),
            (
                alone(trackers(1, 1, 0), PeerFacts { half_open: 50, ..peers(200, 0) }),
                WhyReason::Starting,
                "dialling 50 peers of 200",
            ),
            (
                alone(TrackerFacts::default(), peers(0, 0)),
                WhyReason::NoSource,
                "no peers: the torrent names no tracker; name a peer or a tracker yourself",
            ),
            (
                alone(TrackerFacts { unsupported: 2, ..TrackerFacts::default() }, peers(0, 0)),
                WhyReason::NoSource,
                "no peers: 2 trackers of a protocol not spoken here; name another",
            ),
        ];
        for (facts, primary, text) in table {
            assert_eq!(why(&facts), Why { primary, text: text.to_owned() });
        }
    }

    #[test]
    fn what_stops_everything_comes_before_what_slows() {
        let mut facts = healthy();
        (facts.disk_busy_percent, facts.disk_trouble) = (99, Some("read-only".to_owned()));
        assert_eq!(why(&facts).primary, WhyReason::DiskTrouble);
        facts.paused = true;
        assert_eq!(why(&facts).primary, WhyReason::Paused);
    }

    #[test]
    fn only_a_flowing_or_finished_torrent_is_healthy() {
        assert!(WhyReason::Healthy.is_healthy() && WhyReason::Complete.is_healthy());
        assert!(!WhyReason::Choked.is_healthy());
        assert_eq!(WhyReason::TrackersFailed.label(), "trackers-failed");
    }

    proptest! {
        /// For any numbers, contradictory ones included: the sentence is short and harmless, and the reason is healthy
        /// only if bytes flow.
        #[test]
        fn any_facts_have_a_reason(n in prop::array::uniform12(0usize..4), rate in 0u64..2, trouble in prop::option::of(".{1,300}")) {
            let facts = Facts {
                phase: [WhyPhase::Metadata, WhyPhase::Downloading, WhyPhase::Complete, WhyPhase::Checking { done: 9, total: 1 }][n[0]],
                paused: n[1] == 0,
                trackers: TrackerFacts { usable: n[2], unsupported: n[3], tried: n[4], failed: n[5], next_announce: IN_42_S },
                peers: PeerFacts {
                    known: n[6], unreachable: n[7], half_open: n[8], connected: n[9], interesting: n[10],
                    choked_by: n[11], next_dial: None,
                },
                rate_bps: rate,
                disk_trouble: trouble,
                missing: 1,
                ..Facts::default()
            };
            let why = why(&facts);
            prop_assert!(!why.text.is_empty() && why.text.chars().count() <= 2010 && why.text.chars().all(is_harmless));
            prop_assert!(why.primary != WhyReason::Healthy || rate > 0);
        }
    }
}

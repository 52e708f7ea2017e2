//! Why a torrent is as fast as it is: exactly one reason, with its evidence and what comes next, in one short sentence.
//!
//! It is in the progress line, the JSON and the logs. Knows numbers only; who gathers them is not its concern.

use std::time::Duration;

use crate::base::safe::Safe;

/// 70 %: a disk that is busy for longer is what the rest waits for (D-07); picked by eye.
const DISK_BUSY_PERCENT: u8 = 70;

/// What the torrent is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhyPhase {
    /// It has no metadata yet (a magnet link).
    Metadata,
    /// Data that was there before is hashed.
    Checking {
        /// Pieces done.
        done: u32,
        /// Pieces to check.
        total: u32,
    },
    /// It fetches what it lacks.
    #[default]
    Downloading,
    /// It has all, and gives it to others.
    Seeding,
    /// It has all.
    Complete,
}

/// The trackers, as far as they matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrackerFacts {
    /// Whose protocol we speak.
    pub usable: usize,
    /// Whose protocol we do not speak.
    pub unsupported: usize,
    /// Of the usable, those that have answered or failed at least once.
    pub tried: usize,
    /// Of the tried, those whose last announce failed.
    pub failed: usize,
    /// The time to the next announce; `None` if none is planned or one is under way.
    pub next_announce: Option<Duration>,
}

/// The peers, as far as they matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerFacts {
    /// Addresses named.
    pub known: usize,
    /// Of them, those dialled in vain and never reached.
    pub unreachable: usize,
    /// Dials under way.
    pub half_open: usize,
    /// Connections.
    pub connected: usize,
    /// Of the connected, those that have something we lack.
    pub interesting: usize,
    /// Of the interesting, those that choke us.
    pub choked_by: usize,
    /// The time to the next dial; `None` if none is planned.
    pub next_dial: Option<Duration>,
}

/// Everything the reason is drawn from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// What the torrent is doing.
    pub phase: WhyPhase,
    /// A person paused it.
    pub paused: bool,
    /// Trackers.
    pub trackers: TrackerFacts,
    /// Peers.
    pub peers: PeerFacts,
    /// Bytes a second coming in.
    pub rate_bps: u64,
    /// Requests that are out and not yet answered.
    pub in_flight: u64,
    /// Share of the last seconds in which requests waited for the disk, in percent.
    pub disk_busy_percent: u8,
    /// What the disk complains of, as it is to be shown: what, where, what next.
    pub disk_trouble: Option<String>,
    /// Pieces we lack.
    pub missing: u32,
    /// Of them, those that no connected peer has.
    pub nobody_has: u32,
}

/// The one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WhyReason {
    /// Nothing holds it up.
    Healthy,
    /// It is all there.
    Complete,
    /// A person paused it.
    Paused,
    /// The disk refuses.
    DiskTrouble,
    /// Old data is being checked.
    Checking,
    /// The metadata is still to come, and there are peers to ask.
    Metadata,
    /// There is nobody to ask for peers.
    NoSource,
    /// Trackers are being asked for the first time, or first dials are out.
    Starting,
    /// Every tracker failed, and no peer is connected.
    TrackersFailed,
    /// The trackers work and name nobody.
    NobodyKnown,
    /// Addresses are known, and none can be reached.
    Unreachable,
    /// All that is missing is missing everywhere.
    NobodyHas,
    /// Peers there are, but none with what we lack.
    NothingToGet,
    /// All who have what we lack choke us.
    Choked,
    /// The disk does not keep up.
    DiskBusy,
    /// Peers may be asked, and nothing comes.
    Stalled,
}

/// The answer to "why".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// For programs.
    pub primary: WhyReason,
    /// For people: the evidence and the next action. Safe to be shown.
    pub text: String,
}

impl WhyReason {
    /// Nothing to worry about: it flows, or it is done.
    pub const fn is_healthy(self) -> bool {
        matches!(self, Self::Healthy | Self::Complete)
    }

    /// For logs and JSON: `trackers-failed`.
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

/// The one reason for the present speed. From what stops everything down to what merely slows.
pub fn why(facts: &Facts) -> Why {
    let (primary, text) = stopped(facts).or_else(|| lonely(facts)).unwrap_or_else(|| among_peers(facts));
    Why { primary, text }
}

/// What needs no peers to be said.
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

/// Nobody is connected.
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

fn no_source(unsupported: usize) -> String {
    match unsupported {
        0 => "no peers: the torrent names no tracker; name a peer or a tracker yourself".to_owned(),
        _ => format!("no peers: {} of a protocol not spoken here; name another", count(unsupported, "tracker")),
    }
}

/// There are connections.
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

/// `, next announce in 42 s`, or nothing.
fn then(what: &str, after: Option<Duration>) -> String {
    let Some(after) = after else { return String::new() };
    match after.as_secs() {
        secs @ 0..=119 => format!(", {what} in {secs} s"),
        secs @ 120..=7199 => format!(", {what} in {} min", secs / 60),
        secs => format!(", {what} in {} h", secs / 3600),
    }
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::safe::is_harmless;
    use proptest::prelude::*;

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
        /// Any numbers, however they contradict each other: a short harmless sentence, healthy only if bytes flow.
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

//! Which trackers of a torrent are in use (BEP 12).
//!
//! Each tracker has its own announce clock ([`crate::logic::trackers::announce`]), so a failed tracker stays in use
//! and is retried while the next one is tried. When it works again, the trackers after it rest. While peers are short,
//! all tiers are asked in parallel, and in each tier one more tracker after every tracker that failed or named no
//! peers (W-10). This module knows URLs as text and no protocol.

use std::collections::{BTreeSet, VecDeque};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use crate::base::scheme::Scheme;
use crate::logic::peers::peer_book::PeerNeed;

/// At most 50 trackers in use at once: a torrent that lists 500 does not announce to all of them at the same moment
/// (T-24).
const MAX_ACTIVE: usize = 50;

/// The number of a tracker in its torrent. It does not change with the order in the tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackerId(usize);

impl TrackerId {
    /// The index of this tracker in tables of trackers.
    pub const fn at(self) -> usize {
        self.0
    }
}

/// What the tracker supervisor must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TierEffect {
    /// Announce to this tracker from now on.
    Start(TrackerId),
    /// Stop announcing to this tracker. It must still be sent `stopped` at the end.
    Rest(TrackerId),
}

/// The last result of one tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The tracker was not asked yet, or its first answer is outstanding.
    Untried,
    /// The tracker answered. `useful`: with peers.
    Working { useful: bool },
    /// The last announce failed.
    Failed,
}

/// Counts of trackers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TierCensus {
    /// Trackers whose protocol is supported.
    pub usable: usize,
    /// Trackers whose protocol is not supported.
    pub unsupported: usize,
    /// Trackers in use.
    pub active: usize,
    /// Usable trackers whose last announce succeeded.
    pub working: usize,
    /// Usable trackers whose last announce failed.
    pub failed: usize,
}

/// The trackers of one torrent, in their tiers.
#[derive(Debug)]
pub struct Tiers {
    urls: Vec<String>,
    unsupported: Vec<String>,
    /// The last result of each tracker.
    standing: Vec<Standing>,
    /// The order of asking in each tier: shuffled once; a tracker that works moves to the front of its tier.
    order: Vec<Vec<TrackerId>>,
    /// The trackers in use.
    active: BTreeSet<TrackerId>,
    need: PeerNeed,
    outbox: VecDeque<TierEffect>,
}

impl Tiers {
    /// Builds the tiers of an `announce-list`. A URL counts once, in the first tier that has it. A URL with an
    /// unsupported protocol is kept apart. "The trackers are shuffled within their tier" (BEP 12), by `seed`.
    pub fn new(announce_list: Vec<Vec<String>>, seed: u64) -> Self {
        let mut dice = SmallRng::seed_from_u64(seed);
        let (mut urls, mut unsupported, mut order) = (Vec::new(), Vec::new(), Vec::new());
        let mut seen = BTreeSet::new();
        for listed in announce_list {
            let mut tier = Vec::new();
            for url in listed {
                if !seen.insert(url.clone()) {
                    continue;
                }
                if is_supported(&url) {
                    tier.push(TrackerId(urls.len()));
                    urls.push(url);
                } else {
                    unsupported.push(url);
                }
            }
            tier.shuffle(&mut dice);
            order.push(tier);
        }
        let standing = vec![Standing::Untried; urls.len()];
        let mut new = Self {
            urls,
            unsupported,
            standing,
            order,
            active: BTreeSet::new(),
            need: PeerNeed::Enough,
            outbox: VecDeque::new(),
        };
        new.settle();
        new
    }

    /// The URL of a tracker as the torrent gives it. It may hold secrets.
    pub fn url(&self, tracker: TrackerId) -> &str {
        &self.urls[tracker.0]
    }

    /// All usable trackers.
    pub fn trackers(&self) -> impl ExactSizeIterator<Item = TrackerId> + use<> {
        (0..self.urls.len()).map(TrackerId)
    }

    /// The URLs with unsupported protocols. If there are no others, the torrent has no tracker, and these say why
    /// (W-10).
    pub fn unsupported(&self) -> &[String] {
        &self.unsupported
    }

    /// An announce succeeded. `useful`: the answer named peers. "If a connection with a tracker is successful, it will
    /// be moved to the front of the tier" (BEP 12).
    pub fn on_success(&mut self, tracker: TrackerId, useful: bool) {
        self.standing[tracker.0] = Standing::Working { useful };
        if let Some(tier) = self.order.iter_mut().find(|tier| tier.contains(&tracker)) {
            let place = tier.iter().position(|other| *other == tracker).unwrap_or(0);
            tier[..=place].rotate_right(1);
        }
        self.settle();
    }

    /// An announce failed, for any reason.
    pub fn on_failure(&mut self, tracker: TrackerId) {
        self.standing[tracker.0] = Standing::Failed;
        self.settle();
    }

    /// Sets how much the torrent needs more peers.
    pub fn set_need(&mut self, need: PeerNeed) {
        self.need = need;
        self.settle();
    }

    /// How much the torrent needs more peers.
    pub const fn need(&self) -> PeerNeed {
        self.need
    }

    /// Whether every tracker in use has failed while no peer that delivers is connected.
    pub fn is_stranded(&self) -> bool {
        let has_failed = |tracker: &TrackerId| self.standing[tracker.0] == Standing::Failed;
        self.need >= PeerNeed::Anybody && !self.active.is_empty() && self.active.iter().all(has_failed)
    }

    /// Returns the next effect, or `None`.
    pub fn poll(&mut self) -> Option<TierEffect> {
        self.outbox.pop_front()
    }

    /// The counts of trackers.
    pub fn census(&self) -> TierCensus {
        let count = |has: fn(&Standing) -> bool| self.standing.iter().filter(|standing| has(standing)).count();
        TierCensus {
            usable: self.urls.len(),
            unsupported: self.unsupported.len(),
            active: self.active.len(),
            working: count(|standing| matches!(standing, Standing::Working { .. })),
            failed: count(|standing| *standing == Standing::Failed),
        }
    }

    /// Starts and rests trackers as the present results require.
    fn settle(&mut self) {
        let wanted = self.wanted();
        self.outbox.extend(self.active.difference(&wanted).copied().map(TierEffect::Rest));
        self.outbox.extend(wanted.difference(&self.active).copied().map(TierEffect::Start));
        self.active = wanted;
    }

    /// The trackers to use: in the order of the tiers all up to the first one that suffices; while peers are short, so
    /// in each tier.
    fn wanted(&self) -> BTreeSet<TrackerId> {
        let mut wanted = BTreeSet::new();
        for tier in &self.order {
            let last = tier.iter().position(|tracker| self.will_do(*tracker));
            let tried = last.map_or(tier.len(), |last| last + 1);
            // Trackers with a good answer first: if there are more than MAX_ACTIVE, failed ones are left out.
            let (failed, good): (Vec<_>, Vec<_>) = tier[..tried]
                .iter()
                .copied()
                .partition(|tracker: &TrackerId| self.standing[tracker.0] == Standing::Failed);
            wanted.extend(good.into_iter().chain(failed).take(MAX_ACTIVE - wanted.len()));
            if last.is_some() && !self.need.is_short() {
                break;
            }
        }
        if !wanted.iter().any(|tracker| self.works(*tracker)) {
            // A tracker that works is not dropped for one that has not answered yet.
            let in_use = self.order.iter().flatten().copied().filter(|tracker| self.active.contains(tracker));
            wanted.extend(in_use.filter(|tracker| self.works(*tracker)).take(1));
        }
        wanted
    }

    /// Whether the last announce to this tracker succeeded.
    fn works(&self, tracker: TrackerId) -> bool {
        matches!(self.standing[tracker.0], Standing::Working { .. })
    }

    /// Whether no tracker after this one is needed.
    fn will_do(&self, tracker: TrackerId) -> bool {
        match self.standing[tracker.0] {
            Standing::Untried => true,
            Standing::Working { useful } => useful || !self.need.is_short(),
            Standing::Failed => false,
        }
    }
}

fn is_supported(url: &str) -> bool {
    Scheme::of(url).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tiers_of(sizes: &[usize], seed: u64) -> Tiers {
        let name = |tier, n| format!("udp://t{tier}-{n}.example:80");
        Tiers::new(sizes.iter().enumerate().map(|(t, size)| (0..*size).map(|n| name(t, n)).collect()).collect(), seed)
    }

    /// The effects as text, such as `+t0-1 -t1-0`.
    fn drain(tiers: &mut Tiers) -> String {
        let mut words = Vec::new();
        while let Some(effect) = tiers.poll() {
            let (sign, id) = match effect {
                TierEffect::Start(id) => ('+', id),
                TierEffect::Rest(id) => ('-', id),
            };
            words.push(format!("{sign}{}", tiers.url(id).trim_start_matches("udp://").split_once('.').unwrap().0));
        }
        words.join(" ")
    }

    fn id(tiers: &Tiers, name: &str) -> TrackerId {
        tiers.trackers().find(|id| tiers.url(*id).contains(&format!("{name}."))).unwrap()
    }

    enum Step {
        Ok(&'static str),
        Empty(&'static str),
        Fail(&'static str),
        Short(bool),
    }
    use Step::{Empty, Fail, Ok, Short};

    /// The case, the sizes of the tiers, the first effects, and what follows.
    type Row = (&'static str, &'static [usize], &'static str, &'static [(Step, &'static str)]);

    /// One line per step: an event, and its effects. Tiers of one tracker each are never shuffled.
    #[test]
    fn tiers_are_walked_as_bep_12_says() {
        let table: &[Row] = &[
            ("one that works is enough", &[1, 1], "+t0-0", &[(Ok("t0-0"), "")]),
            (
                "a failure moves on, a recovery comes back",
                &[1, 1, 1],
                "+t0-0",
                &[(Fail("t0-0"), "+t1-0"), (Fail("t1-0"), "+t2-0"), (Ok("t2-0"), ""), (Ok("t0-0"), "-t1-0 -t2-0")],
            ),
            (
                "when all fail, all are kept and none is started twice",
                &[1, 1],
                "+t0-0",
                &[(Fail("t0-0"), "+t1-0"), (Fail("t1-0"), ""), (Fail("t0-0"), "")],
            ),
            (
                "with peers short, all tiers are asked",
                &[1, 1, 1],
                "+t0-0",
                &[(Short(true), "+t1-0 +t2-0"), (Ok("t1-0"), ""), (Short(false), "-t2-0"), (Ok("t0-0"), "-t1-0")],
            ),
            ("no peers to name is no failure", &[1, 1], "+t0-0", &[(Empty("t0-0"), ""), (Short(true), "+t1-0")]),
        ];
        for (what, sizes, first, steps) in table {
            let mut tiers = tiers_of(sizes, 1);
            assert_eq!(drain(&mut tiers), *first, "{what}");
            for (step, want) in *steps {
                match step {
                    Ok(name) => tiers.on_success(id(&tiers, name), true),
                    Empty(name) => tiers.on_success(id(&tiers, name), false),
                    Fail(name) => tiers.on_failure(id(&tiers, name)),
                    Short(short) => tiers.set_need(if *short { PeerNeed::More } else { PeerNeed::Enough }),
                }
                assert_eq!(drain(&mut tiers), *want, "{what}");
            }
        }
    }

    #[test]
    fn within_a_tier_the_next_one_is_tried_and_the_working_one_comes_to_the_front() {
        let mut tiers = tiers_of(&[3, 1], 7);
        let order = tiers.order[0].clone();
        tiers.on_failure(order[0]);
        tiers.on_failure(order[1]);
        tiers.on_success(order[2], true);
        assert_eq!(tiers.order[0], [order[2], order[0], order[1]]);
        assert_eq!(tiers.active, BTreeSet::from([order[2]]), "the failed ones behind it rest");
        assert_eq!(tiers.census(), TierCensus { usable: 4, unsupported: 0, active: 1, working: 1, failed: 2 });
    }

    #[test]
    fn with_peers_short_every_tracker_of_a_tier_is_tried_in_the_end() {
        let mut tiers = tiers_of(&[4], 3);
        tiers.set_need(PeerNeed::More);
        for place in 0..4 {
            assert_eq!(tiers.active.len(), place + 1);
            let next =
                tiers.trackers().find(|id| tiers.standing[id.0] == Standing::Untried && tiers.active.contains(id));
            tiers.on_success(next.unwrap(), false);
        }
        assert_eq!(tiers.census().working, 4);
    }

    #[test]
    fn tiers_are_shuffled_by_the_seed_alone() {
        let orders: BTreeSet<_> = (0..20).map(|seed| tiers_of(&[5], seed).order).collect();
        assert!(orders.len() > 10, "20 seeds gave {} orders", orders.len());
        assert_eq!(tiers_of(&[9], 5).order, tiers_of(&[9], 5).order);
    }

    #[test]
    fn urls_with_unsupported_protocols_are_kept_apart_and_named() {
        let list =
            [["wss://a.example", "HTTP://b.example/announce"], ["ipfs://c", "b"], ["HTTP://b.example/announce", ""]];
        let tiers = Tiers::new(list.iter().map(|tier| tier.iter().map(ToString::to_string).collect()).collect(), 0);
        assert_eq!(tiers.unsupported(), ["wss://a.example", "ipfs://c", "b", ""]);
        assert_eq!(tiers.census(), TierCensus { usable: 1, unsupported: 4, active: 1, working: 0, failed: 0 });
    }

    #[test]
    fn a_torrent_is_stranded_without_delivering_peers_and_working_trackers() {
        let mut tiers = tiers_of(&[2, 1], 1);
        tiers.set_need(PeerNeed::Anybody);
        assert!(!tiers.is_stranded(), "no tracker was asked yet");
        for (nth, id) in tiers.trackers().enumerate() {
            assert!(!tiers.is_stranded(), "{nth} of 3 failed");
            tiers.on_failure(id);
        }
        assert!(tiers.is_stranded());
        tiers.set_need(PeerNeed::More);
        assert!(!tiers.is_stranded(), "a peer delivers");
        tiers.set_need(PeerNeed::Anybody);
        tiers.on_success(tiers.trackers().next().unwrap(), false);
        assert!(!tiers.is_stranded(), "one answers");
        assert!(!Tiers::new(Vec::new(), 1).is_stranded(), "there is none to fail");
    }

    #[test]
    fn five_hundred_trackers_are_not_asked_at_once() {
        for sizes in [&[1; 500][..], &[500], &[250, 250]] {
            let mut tiers = tiers_of(sizes, 9);
            tiers.set_need(PeerNeed::More);
            for id in tiers.trackers() {
                tiers.on_failure(id);
            }
            assert_eq!(tiers.active.len(), MAX_ACTIVE);
        }
    }

    proptest! {
        /// For any events: starts and rests alternate for each tracker, at least one tracker is in use if there is
        /// one, and a tracker that works is not dropped for one that may not.
        #[test]
        fn some_tracker_is_always_in_use(
            sizes in prop::collection::vec(0usize..5, 0..5), seed in any::<u64>(),
            steps in prop::collection::vec((0usize..30, 0u8..6), 0..60),
        ) {
            let mut tiers = tiers_of(&sizes, seed);
            let mut active = BTreeSet::new();
            let count = tiers.urls.len();
            for (which, what) in steps {
                while let Some(effect) = tiers.poll() {
                    let changed = match effect {
                        TierEffect::Start(id) => active.insert(id),
                        TierEffect::Rest(id) => active.remove(&id),
                    };
                    prop_assert!(changed, "twice: {:?}", effect);
                }
                prop_assert_eq!(&active, &tiers.active);
                prop_assert_eq!(active.is_empty(), count == 0);
                if count > 0 {
                    let id = *active.iter().nth(which % active.len()).unwrap();
                    match what {
                        0 | 1 => tiers.on_success(id, what == 0),
                        2 => tiers.on_failure(id),
                        3 => tiers.set_need(PeerNeed::Enough),
                        4 => tiers.set_need(PeerNeed::More),
                        _ => tiers.set_need(PeerNeed::Anybody),
                    }
                    prop_assert!(!tiers.is_stranded() || tiers.census().working == 0, "not while one works");
                    let had_one = active.iter().any(|id| tiers.works(*id));
                    prop_assert!(!had_one || tiers.active.iter().any(|id| tiers.works(*id)));
                }
            }
        }
    }
}

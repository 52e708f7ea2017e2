//! Which trackers of a torrent are asked at present (BEP 12).
//!
//! Each tracker has a clock of its own ([`crate::logic::trackers::announce`]), so a failed one stays in use and comes back by itself
//! while the next one is tried; when it works again, those behind it rest. With peers short, all tiers are asked in
//! parallel, and in each of them one more after every tracker that failed or had no peers to name (W-10).
//! Knows URLs as text and no protocol.

use std::collections::{BTreeSet, VecDeque};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use crate::base::scheme::Scheme;
use crate::logic::peers::peer_book::PeerNeed;

/// 50 trackers in use at once: a torrent that lists 500 does not announce to all of them in one moment (T-24).
const MAX_ACTIVE: usize = 50;

/// The number of a tracker in its torrent; it stays the same whatever the order in its tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackerId(usize);

impl TrackerId {
    /// For indexing tables of trackers.
    pub const fn at(self) -> usize {
        self.0
    }
}

/// What the supervisor of the trackers has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TierEffect {
    /// Announce to this one from now on.
    Start(TrackerId),
    /// Announce no more to this one; a `stopped` is still due to it at the end.
    Rest(TrackerId),
}

/// How it stands with one tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Not asked yet, or its first answer is still out.
    Untried,
    /// It answered; `useful`: with peers.
    Working { useful: bool },
    /// The last announce failed.
    Failed,
}

/// The trackers in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TierCensus {
    /// Trackers whose protocol we speak.
    pub usable: usize,
    /// Trackers whose protocol nobody here speaks.
    pub unsupported: usize,
    /// In use at present.
    pub active: usize,
    /// Of the usable, those whose last announce worked.
    pub working: usize,
    /// Of the usable, those whose last announce failed.
    pub failed: usize,
}

/// The trackers of one torrent, in their tiers.
#[derive(Debug)]
pub struct Tiers {
    urls: Vec<String>,
    unsupported: Vec<String>,
    standing: Vec<Standing>,
    /// The order of asking: shuffled once; whoever works moves to the front of its tier.
    order: Vec<Vec<TrackerId>>,
    active: BTreeSet<TrackerId>,
    need: PeerNeed,
    outbox: VecDeque<TierEffect>,
}

impl Tiers {
    /// From the URLs of an `announce-list`. A URL counts once, in the first tier that has it; one whose protocol we do not
    /// speak is kept apart. "The trackers are shuffled within their tier" (BEP 12), by `seed`.
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

    /// The URL of a tracker, as the torrent gives it: it may hold secrets.
    pub fn url(&self, tracker: TrackerId) -> &str {
        &self.urls[tracker.0]
    }

    /// Every usable tracker.
    pub fn trackers(&self) -> impl ExactSizeIterator<Item = TrackerId> + use<> {
        (0..self.urls.len()).map(TrackerId)
    }

    /// The URLs nobody here can speak to. If there are only such, the torrent has no tracker, and this says why (W-10).
    pub fn unsupported(&self) -> &[String] {
        &self.unsupported
    }

    /// An announce worked; `useful`: it named peers. "If a connection with a tracker is successful, it will be moved to
    /// the front of the tier" (BEP 12).
    pub fn on_success(&mut self, tracker: TrackerId, useful: bool) {
        self.standing[tracker.0] = Standing::Working { useful };
        if let Some(tier) = self.order.iter_mut().find(|tier| tier.contains(&tracker)) {
            let place = tier.iter().position(|other| *other == tracker).unwrap_or(0);
            tier[..=place].rotate_right(1);
        }
        self.settle();
    }

    /// An announce failed, for whatever reason.
    pub fn on_failure(&mut self, tracker: TrackerId) {
        self.standing[tracker.0] = Standing::Failed;
        self.settle();
    }

    /// Whether more peers are wanted than we have.
    pub fn set_need(&mut self, need: PeerNeed) {
        self.need = need;
        self.settle();
    }

    /// What was last said about that.
    pub const fn need(&self) -> PeerNeed {
        self.need
    }

    /// Nobody who delivers is connected, and every tracker in use has failed.
    pub fn is_stranded(&self) -> bool {
        let has_failed = |tracker: &TrackerId| self.standing[tracker.0] == Standing::Failed;
        self.need >= PeerNeed::Anybody && !self.active.is_empty() && self.active.iter().all(has_failed)
    }

    /// The next thing to do, until there is none.
    pub fn poll(&mut self) -> Option<TierEffect> {
        self.outbox.pop_front()
    }

    /// The trackers in numbers.
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

    /// Starts and rests whatever the present standings ask for.
    fn settle(&mut self) {
        let wanted = self.wanted();
        self.outbox.extend(self.active.difference(&wanted).copied().map(TierEffect::Rest));
        self.outbox.extend(wanted.difference(&self.active).copied().map(TierEffect::Start));
        self.active = wanted;
    }

    /// In order of the tiers, everything up to the first tracker that will do; if peers are short, in each tier.
    fn wanted(&self) -> BTreeSet<TrackerId> {
        let mut wanted = BTreeSet::new();
        for tier in &self.order {
            let last = tier.iter().position(|tracker| self.will_do(*tracker));
            let tried = last.map_or(tier.len(), |last| last + 1);
            // Those with a good answer first: of more than MAX_ACTIVE the failed ones are left out.
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
            // What works is not left for what has not answered yet.
            let in_use = self.order.iter().flatten().copied().filter(|tracker| self.active.contains(tracker));
            wanted.extend(in_use.filter(|tracker| self.works(*tracker)).take(1));
        }
        wanted
    }

    fn works(&self, tracker: TrackerId) -> bool {
        matches!(self.standing[tracker.0], Standing::Working { .. })
    }

    /// Whether there is no need for another tracker behind this one.
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

    /// The effects, as `+t0-1 -t1-0`.
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

    /// What is shown, the sizes of the tiers, the first effects, and what follows.
    type Row = (&'static str, &'static [usize], &'static str, &'static [(Step, &'static str)]);

    /// One line per step: what happens, and the effects of it. Tiers of one tracker each are never shuffled.
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
    fn what_nobody_speaks_is_kept_apart_and_named() {
        let list =
            [["wss://a.example", "HTTP://b.example/announce"], ["ipfs://c", "b"], ["HTTP://b.example/announce", ""]];
        let tiers = Tiers::new(list.iter().map(|tier| tier.iter().map(ToString::to_string).collect()).collect(), 0);
        assert_eq!(tiers.unsupported(), ["wss://a.example", "ipfs://c", "b", ""]);
        assert_eq!(tiers.census(), TierCensus { usable: 1, unsupported: 4, active: 1, working: 0, failed: 0 });
    }

    #[test]
    fn stranded_is_who_has_nobody_and_is_failed_by_all() {
        let mut tiers = tiers_of(&[2, 1], 1);
        tiers.set_need(PeerNeed::Anybody);
        assert!(!tiers.is_stranded(), "nobody was asked yet");
        for (nth, id) in tiers.trackers().enumerate() {
            assert!(!tiers.is_stranded(), "{nth} of 3 failed");
            tiers.on_failure(id);
        }
        assert!(tiers.is_stranded());
        tiers.set_need(PeerNeed::More);
        assert!(!tiers.is_stranded(), "somebody delivers");
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
        /// Whatever happens: starts and rests alternate for each tracker, somebody is asked if there is anybody, and one that
        /// works is not given up for one that may not.
        #[test]
        fn somebody_is_always_asked(
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

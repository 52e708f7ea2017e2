//! The members of each swarm: the honest part of all test trackers, shared by their HTTP and UDP sides.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use crate::base::ids::InfoHash;
use crate::codec::tracker::{AnnounceRequest, Event, ScrapeEntry};

/// 1,000 swarms (T-24) with 10,000 members each (T-16). Further members get an answer but are not listed.
const MAX_SWARMS: usize = 1000;
const MAX_MEMBERS: usize = 10_000;

/// 200 peers: what large trackers return at most.
const MAX_WANTED: u32 = 200;

/// The table of swarms. Clones share the same table.
#[derive(Debug, Clone, Default)]
pub struct Swarms(Rc<RefCell<BTreeMap<InfoHash, Swarm>>>);

#[derive(Debug, Default)]
struct Swarm {
    /// The bytes that each member still lacks.
    members: BTreeMap<SocketAddr, u64>,
    completed: u32,
    announces: usize,
}

impl Swarms {
    /// Adds a seed that does not announce itself.
    pub fn add_seed(&self, info_hash: InfoHash, seed: SocketAddr) {
        self.with(info_hash, |swarm| swarm.put(seed, 0));
    }

    /// Records an announce and returns other members, at most the number wanted. For a large swarm each call returns
    /// another part.
    pub fn announce(&self, asked: &AnnounceRequest, from: SocketAddr) -> Vec<SocketAddr> {
        let heard = |swarm: &mut Swarm| {
            match asked.event {
                Event::Stopped => drop(swarm.members.remove(&from)),
                _ => swarm.put(from, asked.left),
            }
            swarm.completed += u32::from(asked.event == Event::Completed);
            swarm.announces = swarm.announces.wrapping_add(1);
            let others = swarm.members.len() - usize::from(swarm.members.contains_key(&from));
            let wanted = others.min(asked.num_want.min(MAX_WANTED) as usize);
            let start = swarm.announces.wrapping_mul(wanted) % others.max(1);
            let named = swarm.members.keys().copied().filter(|other| *other != from);
            if wanted == 0 { Vec::new() } else { named.cycle().skip(start).take(wanted).collect() }
        };
        self.with(asked.info_hash, heard).unwrap_or_default()
    }

    /// Returns the numbers of a swarm; zeros if it is unknown.
    pub fn scrape(&self, info_hash: InfoHash) -> ScrapeEntry {
        let count = |swarm: &Swarm| {
            let seeds = swarm.members.values().filter(|left| **left == 0).count();
            let complete = u32::try_from(seeds).unwrap_or(u32::MAX);
            let incomplete = u32::try_from(swarm.members.len() - seeds).unwrap_or(u32::MAX);
            ScrapeEntry { info_hash, complete, incomplete, downloaded: swarm.completed }
        };
        let nobody = ScrapeEntry { info_hash, complete: 0, incomplete: 0, downloaded: 0 };
        self.0.borrow().get(&info_hash).map_or(nobody, count)
    }

    fn with<T>(&self, info_hash: InfoHash, change: impl FnOnce(&mut Swarm) -> T) -> Option<T> {
        let mut table = self.0.borrow_mut();
        let has_room = table.len() < MAX_SWARMS || table.contains_key(&info_hash);
        has_room.then(|| change(table.entry(info_hash).or_default()))
    }
}

impl Swarm {
    fn put(&mut self, member: SocketAddr, left: u64) {
        if self.members.len() < MAX_MEMBERS || self.members.contains_key(&member) {
            self.members.insert(member, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::PeerId;

    fn asked(event: Event, left: u64, num_want: u32) -> AnnounceRequest {
        AnnounceRequest {
            info_hash: InfoHash([1; 20]),
            peer_id: PeerId([2; 20]),
            port: 1,
            uploaded: 0,
            downloaded: 0,
            left,
            event,
            key: 0,
            num_want,
            tracker_id: None,
        }
    }

    fn member(nth: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], nth))
    }

    #[test]
    fn members_join_complete_and_leave() {
        let swarms = Swarms::default();
        let numbers = || {
            let entry = swarms.scrape(InfoHash([1; 20]));
            (entry.complete, entry.incomplete, entry.downloaded)
        };
        assert_eq!(numbers(), (0, 0, 0));
        swarms.add_seed(InfoHash([1; 20]), member(1));
        assert_eq!(swarms.announce(&asked(Event::Started, 5, 50), member(2)), [member(1)]);
        assert_eq!(numbers(), (1, 1, 0));
        assert_eq!(swarms.announce(&asked(Event::Completed, 0, 50), member(2)), [member(1)]);
        assert_eq!(numbers(), (2, 0, 1));
        swarms.announce(&asked(Event::Stopped, 0, 0), member(2));
        assert_eq!(numbers(), (1, 0, 1));
    }

    #[test]
    fn a_large_swarm_is_named_in_turns_and_within_the_limit() {
        let swarms = Swarms::default();
        for nth in 1..=20_000 {
            swarms.announce(&asked(Event::Started, 1, 0), member(nth));
        }
        assert_eq!(swarms.scrape(InfoHash([1; 20])).incomplete, 10_000);
        let one = swarms.announce(&asked(Event::Periodic, 1, 1_000_000), member(1));
        let two = swarms.announce(&asked(Event::Periodic, 1, 1_000_000), member(1));
        assert_eq!((one.len(), two.len()), (200, 200));
        assert!(one.iter().all(|peer| !two.contains(peer) && *peer != member(1)));
    }
}

//! The open connections of an HTTP desk: how many there may be, of whom, and which one goes when there are too many.
//!
//! Knows tasks and addresses, no HTTP. All end when this is dropped.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use tokio::task::{AbortHandle, Id, JoinSet};

/// 64 of one host: more than any client opens to one tracker.
const MAX_PER_HOST: usize = 64;

/// See the head of the file.
#[derive(Debug)]
pub(super) struct Connections {
    most: usize,
    tasks: JoinSet<()>,
    /// Each by its number, the oldest first.
    by_age: BTreeMap<u64, (AbortHandle, IpAddr)>,
    numbers: HashMap<Id, u64>,
    per_host: HashMap<IpAddr, usize>,
    next: u64,
}

impl Connections {
    /// None yet, and never more than `most`.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            tasks: JoinSet::new(),
            by_age: BTreeMap::new(),
            numbers: HashMap::new(),
            per_host: HashMap::new(),
            next: 0,
        }
    }

    /// Has this host room for one more? This machine itself always has: a proxy may stand there.
    pub(super) fn has_room_for(&self, host: IpAddr) -> bool {
        host.is_loopback() || self.per_host.get(&host).is_none_or(|count| *count < MAX_PER_HOST)
    }

    /// Takes one in. If there are too many, the oldest one is ended: whoever came last has yet to be heard.
    pub(super) fn add(&mut self, host: IpAddr, serving: impl Future<Output = ()> + 'static) {
        if self.by_age.len() >= self.most {
            self.end_oldest();
        }
        let task = self.tasks.spawn_local(serving);
        self.numbers.insert(task.id(), self.next);
        self.by_age.insert(self.next, (task, host));
        *self.per_host.entry(host).or_default() += 1;
        self.next += 1;
    }

    /// Makes room for another one.
    pub(super) fn end_oldest(&self) {
        if let Some((_number, (oldest, _host))) = self.by_age.first_key_value() {
            oldest.abort();
        }
    }

    /// Waits until one has ended; pending while there is none.
    pub(super) async fn ended(&mut self) {
        let id = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(panicked_or_aborted)) => panicked_or_aborted.id(),
            None => return std::future::pending().await,
        };
        let gone = self.numbers.remove(&id).and_then(|number| self.by_age.remove(&number));
        let Some((_task, host)) = gone else { return };
        if let Some(count) = self.per_host.get_mut(&host) {
            *count -= 1;
            if *count == 0 {
                self.per_host.remove(&host);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::future::pending;
    use std::rc::Rc;
    use tokio::task::LocalSet;

    const MOST: usize = 200;

    fn host(nth: u32) -> IpAddr {
        IpAddr::from(nth.to_be_bytes())
    }

    /// Counts down when it is dropped.
    struct Guest(Rc<Cell<usize>>);

    impl Drop for Guest {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }

    async fn stay(count: Rc<Cell<usize>>) {
        count.set(count.get() + 1);
        let _guest = Guest(count);
        pending::<()>().await;
    }

    #[tokio::test]
    async fn a_host_has_its_share_and_gets_it_back() {
        LocalSet::new()
            .run_until(async {
                let mut connections = Connections::new(MOST);
                for _ in 0..MAX_PER_HOST {
                    assert!(connections.has_room_for(host(1)));
                    connections.add(host(1), async {});
                }
                assert!(!connections.has_room_for(host(1)) && connections.has_room_for(host(2)));
                connections.ended().await;
                assert!(connections.has_room_for(host(1)));
            })
            .await;
    }

    #[tokio::test]
    async fn the_oldest_of_too_many_goes() {
        LocalSet::new()
            .run_until(async {
                let (mut connections, living) = (Connections::new(MOST), Rc::new(Cell::new(0)));
                for nth in 0..3000 {
                    connections.add(host(nth), stay(Rc::clone(&living)));
                    tokio::task::yield_now().await;
                    if nth as usize >= MOST {
                        connections.ended().await;
                    }
                }
                assert_eq!(living.get(), MOST);
                assert_eq!((connections.by_age.len(), connections.numbers.len()), (MOST, MOST));
                assert_eq!(connections.by_age.first_key_value().map(|(number, _)| *number), Some(3000 - 200));
                drop(connections);
                // Each is dropped in a turn of its own.
                while living.get() > 0 {
                    tokio::task::yield_now().await;
                }
            })
            .await;
    }
}

//! The open connections of an HTTP socket: how many there may be, how many of a host, and which one is closed if there
//! are too many.
//!
//! Knows tasks and addresses, no HTTP. Dropping [`HttpConnections`] closes all of them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::task::{AbortHandle, Id, JoinSet};

/// 64 connections of one host: more than any client opens to one tracker.
const MAX_PER_HOST: usize = 64;

/// The number of a connection; later connections have higher numbers.
type Number = u64;

/// An open connection.
#[derive(Debug)]
struct Connection {
    task: AbortHandle,
    host: IpAddr,
}

/// The size of a network: its number of connections, its oldest connection, and its address.
type Size = (usize, Reverse<Option<Number>>, IpAddr);

/// The open connections of one socket.
#[derive(Debug)]
pub(super) struct HttpConnections {
    most: usize,
    tasks: JoinSet<()>,
    open: BTreeMap<Number, Connection>,
    numbers: HashMap<Id, Number>,
    per_host: HashMap<IpAddr, usize>,
    per_network: HashMap<IpAddr, BTreeSet<Number>>,
    /// The networks by their number of connections, and with equal numbers by the age of the oldest one.
    by_size: BTreeSet<Size>,
    next: Number,
}

/// The part of an address that one customer of a provider has: an IPv4 address, or a /64 of IPv6.
fn host(ip: IpAddr) -> IpAddr {
    prefix(ip, 32, 64)
}

/// The part of an address of which one owner can have many hosts: a /24 of IPv4, a /48 of IPv6.
fn network(ip: IpAddr) -> IpAddr {
    prefix(ip, 24, 48)
}

/// The first bits of an address; the others are zero. `of_v4` and `of_v6` must be greater than 0.
fn prefix(ip: IpAddr, of_v4: u32, of_v6: u32) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & (u32::MAX << (32 - of_v4))).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << (128 - of_v6))).into(),
    }
}

impl HttpConnections {
    /// No connections yet, and never more than `most`.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            tasks: JoinSet::new(),
            open: BTreeMap::new(),
            numbers: HashMap::new(),
            per_host: HashMap::new(),
            per_network: HashMap::new(),
            by_size: BTreeSet::new(),
            next: 0,
        }
    }

    /// Whether the host with this address may open another connection. This machine always may: a proxy may run on it.
    pub(super) fn has_room_for(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.per_host.get(&host(ip)).is_none_or(|count| *count < MAX_PER_HOST)
    }

    /// Adds a connection. If there are too many, one is closed first.
    pub(super) fn add(&mut self, ip: IpAddr, serving: impl Future<Output = ()> + 'static) {
        if self.open.len() >= self.most {
            self.make_room();
        }
        let (task, number) = (self.tasks.spawn_local(serving), self.next);
        self.next += 1;
        self.numbers.insert(task.id(), number);
        self.open.insert(number, Connection { task, host: ip });
        *self.per_host.entry(host(ip)).or_default() += 1;
        self.change_network(ip, |numbers| {
            numbers.insert(number);
        });
    }

    /// Closes the oldest connection of the network that has most, because the newest ones have not been served yet.
    pub(super) fn make_room(&mut self) {
        if let Some((_size, Reverse(Some(oldest)), _network)) = self.by_size.last().copied() {
            self.forget(oldest);
        }
    }

    /// Waits until a connection has ended; for ever if there is none.
    pub(super) async fn ended(&mut self) {
        let id = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(panicked_or_aborted)) => panicked_or_aborted.id(),
            None => return std::future::pending().await,
        };
        if let Some(number) = self.numbers.remove(&id) {
            self.forget(number);
        }
    }

    /// Closes a connection if it is open, and removes it from the counts.
    fn forget(&mut self, number: Number) {
        let Some(Connection { task, host: ip }) = self.open.remove(&number) else { return };
        task.abort();
        if let Some(count) = self.per_host.get_mut(&host(ip)) {
            *count -= 1;
            if *count == 0 {
                self.per_host.remove(&host(ip));
            }
        }
        self.change_network(ip, |numbers| {
            numbers.remove(&number);
        });
    }

    /// Changes the connections of an address's network, and keeps `by_size` in order.
    fn change_network(&mut self, ip: IpAddr, change: impl FnOnce(&mut BTreeSet<Number>)) {
        let network = network(ip);
        let numbers = self.per_network.entry(network).or_default();
        let size = |numbers: &BTreeSet<Number>| (numbers.len(), Reverse(numbers.first().copied()), network);
        self.by_size.remove(&size(&*numbers));
        change(numbers);
        if numbers.is_empty() {
            self.per_network.remove(&network);
        } else {
            self.by_size.insert(size(&*numbers));
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

    /// Each number is a host in a network of its own.
    fn host(nth: u32) -> IpAddr {
        IpAddr::from((nth << 8).to_be_bytes())
    }

    /// Decrements the counter when it is dropped.
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
    async fn a_host_has_a_limit_that_counts_open_connections_only() {
        LocalSet::new()
            .run_until(async {
                let mut connections = HttpConnections::new(MOST);
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
    async fn all_of_a_64_of_ipv6_is_one_host() {
        let at = |network: u16, nth: u16| IpAddr::from([0x2001, 0xdb8, 0, network, 0, 0, 0, nth]);
        LocalSet::new()
            .run_until(async {
                let mut connections = HttpConnections::new(MOST);
                (0..64).for_each(|nth| connections.add(at(1, nth), async {}));
                assert!(!connections.has_room_for(at(1, 99)) && connections.has_room_for(at(2, 1)));
            })
            .await;
    }

    /// When the limit is reached, the network with most connections loses one of its own.
    #[tokio::test]
    async fn the_network_with_most_connections_loses_one_first() {
        LocalSet::new()
            .run_until(async {
                let mut connections = HttpConnections::new(MOST);
                (0..50).for_each(|nth| connections.add(host(nth), pending()));
                for nth in 0..5000_u16 {
                    connections.add(IpAddr::from([0x2001, 0xdb8, 0, nth, 0, 0, 0, 1]), pending());
                }
                assert_eq!((connections.open.len(), connections.per_network.len()), (MOST, 51));
                assert!((0..50).all(|nth| connections.open.contains_key(&nth)));
                connections.add(host(99), pending());
                assert_eq!((connections.open.len(), connections.per_network.len()), (MOST, 52));
            })
            .await;
    }

    #[tokio::test]
    async fn there_are_never_more_than_allowed() {
        LocalSet::new()
            .run_until(async {
                let (mut connections, living) = (HttpConnections::new(MOST), Rc::new(Cell::new(0)));
                for nth in 0..3000 {
                    connections.add(host(nth), stay(Rc::clone(&living)));
                    tokio::task::yield_now().await;
                    if nth as usize >= MOST {
                        connections.ended().await;
                    }
                }
                assert_eq!(living.get(), MOST);
                assert_eq!((connections.open.len(), connections.numbers.len()), (MOST, MOST));
                assert_eq!(connections.per_network.len(), MOST);
                drop(connections);
                // Each task is dropped in a turn of its own.
                while living.get() > 0 {
                    tokio::task::yield_now().await;
                }
            })
            .await;
    }
}

//! Shared by the tests of this floor: real sockets on one thread.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::task::LocalSet;

/// Any free port on loopback.
pub(super) const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Runs a test with real sockets and real time.
pub(super) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test)
}

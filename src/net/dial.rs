//! Opening a stream to a peer: the one place with the time-out and with what an error means (W-01).

use std::io;
use std::net::SocketAddr;

use tokio::time::timeout;

use super::{BoxStream, Net};
use crate::base::farewell::Farewell;
use crate::base::limits::CONNECT_TIMEOUT;

/// A stream to a peer, or why there is none.
pub async fn dial(net: &Net, to: SocketAddr) -> Result<BoxStream, Farewell> {
    match timeout(CONNECT_TIMEOUT, net.connect(to)).await {
        Ok(Ok(stream)) if is_to_itself(&stream) => Err(Farewell::Ourselves),
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(Farewell::from_io(&error)),
        Err(_elapsed) => Err(Farewell::ConnectTimeout),
    }
}

/// Dialling a free port of one's own range can connect a socket to itself (simultaneous open).
fn is_to_itself(stream: &BoxStream) -> bool {
    let ends: io::Result<_> = stream.local_addr().and_then(|local| Ok((local, stream.peer_addr()?)));
    ends.is_ok_and(|(local, peer)| local == peer)
}

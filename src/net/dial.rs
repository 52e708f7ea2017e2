//! Opens a stream to a peer, with the time-out and the meaning of each error (W-01).

use std::io;
use std::net::SocketAddr;

use tokio::time::timeout;

use super::{BoxStream, Net};
use crate::base::disconnect::DisconnectReason;
use crate::base::limits::CONNECT_TIMEOUT;

/// Connects to a peer within [`CONNECT_TIMEOUT`]. Returns the stream, or the reason why there is none.
pub async fn dial(net: &Net, to: SocketAddr) -> Result<BoxStream, DisconnectReason> {
    match timeout(CONNECT_TIMEOUT, net.connect(to)).await {
        Ok(Ok(stream)) if is_to_itself(&stream) => Err(DisconnectReason::Ourselves),
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(DisconnectReason::from_io(&error)),
        Err(_elapsed) => Err(DisconnectReason::ConnectTimeout),
    }
}

/// Whether the socket is connected to itself. Dialling a free port of this machine's own range can do that
/// (simultaneous open).
fn is_to_itself(stream: &BoxStream) -> bool {
    let ends: io::Result<_> = stream.local_addr().and_then(|local| Ok((local, stream.peer_addr()?)));
    ends.is_ok_and(|(local, peer)| local == peer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::sockets::Sockets;
    use crate::net::testing::{FakeNet, run};

    #[test]
    fn an_open_port_gives_a_stream_and_a_closed_one_a_refusal() {
        run(async {
            let net = Sockets::any();
            let listener = net.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
            let at = listener.local_addr().unwrap();
            assert_eq!(dial(&net, at).await.unwrap().peer_addr().unwrap(), at);
            drop(listener);
            assert_eq!(dial(&net, at).await.unwrap_err(), DisconnectReason::Refused);
        });
    }

    #[test]
    fn another_family_than_the_bound_one_is_unreachable() {
        run(async {
            let net = Sockets::bound_to("127.0.0.1".parse().unwrap());
            assert_eq!(dial(&net, "[::1]:1".parse().unwrap()).await.unwrap_err(), DisconnectReason::Unreachable);
        });
    }

    #[tokio::test(start_paused = true)]
    async fn errors_and_silence_have_their_disconnect_reason() {
        let to = "192.0.2.1:6881".parse().unwrap();
        let table = [
            (Some(io::ErrorKind::ConnectionRefused), DisconnectReason::Refused),
            (Some(io::ErrorKind::HostUnreachable), DisconnectReason::Unreachable),
            (Some(io::ErrorKind::NetworkUnreachable), DisconnectReason::Unreachable),
            (Some(io::ErrorKind::TimedOut), DisconnectReason::ConnectTimeout),
            (Some(io::ErrorKind::ConnectionReset), DisconnectReason::Reset),
            (Some(io::ErrorKind::PermissionDenied), DisconnectReason::SocketError),
            (None, DisconnectReason::ConnectTimeout),
        ];
        for (error, want) in table {
            let began = tokio::time::Instant::now();
            assert_eq!(dial(&FakeNet::failing(error), to).await.unwrap_err(), want, "{error:?}");
            let waited = if error.is_none() { CONNECT_TIMEOUT } else { std::time::Duration::ZERO };
            assert_eq!(began.elapsed(), waited, "{error:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_to_itself_is_not_a_peer() {
        let to = "127.0.0.1:6881".parse().unwrap();
        assert_eq!(dial(&FakeNet::looped(to), to).await.unwrap_err(), DisconnectReason::Ourselves);
    }
}

//! `UdpDesk`: one datagram socket of a tracker (BEP 15).
//!
//! Owns the socket. Child of `TrackerServer`, permanent, 5 restarts in 60 s; the socket survives. Reads what is there, at
//! most a batch, asks the `SwarmKeeper`, sends its answers and reads again: what comes meanwhile waits in the kernel, and
//! what does not fit there is lost, as datagrams are. A failed receive is an expected restart. Hears nothing but its end.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use actix::fut::wrap_future;
use actix::prelude::*;
use bytes::Bytes;
use futures_util::FutureExt;

use super::keeper::{AnswerDatagrams, SwarmKeeper};
use crate::actors::kit::{ActorExit, Child, Ctx, Goodbye};
use crate::net::DatagramSocket;

/// 2 KiB: more than an announce with every option of BEP 41, and than a scrape of 74.
const RECEIVE_LEN: usize = 2048;

/// 64 datagrams a message: the price of a message is then a fiftieth of theirs.
const MAX_BATCH: usize = 64;

/// 10 ms: after a failed receive the next one would fail as well.
const TROUBLE_PAUSE: Duration = Duration::from_millis(10);

/// See the head of the file.
#[derive(Debug)]
pub(super) struct UdpDesk {
    socket: Rc<dyn DatagramSocket>,
    at: SocketAddr,
    keeper: Addr<SwarmKeeper>,
}

crate::metered!(UdpDesk, "UdpDesk");

impl UdpDesk {
    pub(super) fn new(socket: Rc<dyn DatagramSocket>, at: SocketAddr, keeper: Addr<SwarmKeeper>) -> Self {
        Self { socket, at, keeper }
    }
}

/// Until the socket fails.
async fn serve(socket: Rc<dyn DatagramSocket>, keeper: Addr<SwarmKeeper>) -> io::Error {
    let mut buffer = [0; RECEIVE_LEN];
    loop {
        let batch = match receive(&*socket, &mut buffer).await {
            Ok(batch) => batch,
            Err(error) => return error,
        };
        // A keeper that restarts answers nobody: clients ask again.
        let answers = keeper.send(AnswerDatagrams(batch)).await.unwrap_or_default();
        for (answer, to) in answers {
            if let Err(error) = socket.send_to(&answer, to).await {
                tracing::debug!(%error, %to, "an answer cannot be sent");
            }
        }
    }
}

/// Waits for one datagram and takes what else is there.
async fn receive(socket: &dyn DatagramSocket, buffer: &mut [u8]) -> io::Result<Vec<(Bytes, SocketAddr)>> {
    let (len, from) = socket.recv_from(buffer).await?;
    let mut batch = vec![(Bytes::copy_from_slice(&buffer[..len]), from)];
    while batch.len() < MAX_BATCH {
        let Some(Ok((len, from))) = socket.recv_from(buffer).now_or_never() else { break };
        batch.push((Bytes::copy_from_slice(&buffer[..len]), from));
    }
    Ok(batch)
}

impl Actor for UdpDesk {
    type Context = Ctx<Self>;

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        let serving = serve(Rc::clone(&self.socket), self.keeper.clone());
        ctx.spawn(wrap_future(serving).map(|error, desk: &mut Self, ctx| {
            tracing::warn!(at = %desk.at, %error, "datagrams cannot be received");
            ctx.stop_with(ActorExit::expected("receive", TROUBLE_PAUSE));
        }));
    }
}

impl Supervised for UdpDesk {}

impl Child for UdpDesk {
    fn id(&self) -> String {
        format!("udp://{}", self.at)
    }
}

impl Handler<Goodbye> for UdpDesk {
    type Result = ();

    fn handle(&mut self, _: Goodbye, ctx: &mut Ctx<Self>) {
        ctx.stop();
    }
}

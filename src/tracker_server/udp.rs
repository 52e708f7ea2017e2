//! `UdpDesk`: one datagram socket of the tracker (BEP 15).
//!
//! * Owns the socket, which survives a restart.
//! * Parent: `TrackerServer`. Restart policy: permanent, 5 restarts in 60 s. A failed receive is an expected restart.
//! * Reads the datagrams that are there, at most a batch, asks the `SwarmKeeper`, sends its answers and reads again.
//!   Meanwhile datagrams wait in the kernel; those that do not fit there are lost.
//! * Handles only `Goodbye`.

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

/// 2 KiB: more than an announce with every option of BEP 41, and more than a scrape of 74 swarms.
const RECEIVE_LEN: usize = 2048;

/// 64 datagrams in a message: the message then costs a fiftieth of what they cost.
const MAX_BATCH: usize = 64;

/// 10 ms: immediately after a failed receive the next one would fail as well.
const TROUBLE_PAUSE: Duration = Duration::from_millis(10);

/// One datagram socket of the tracker.
#[derive(Debug)]
pub(super) struct UdpDesk {
    socket: Rc<dyn DatagramSocket>,
    at: SocketAddr,
    keeper: Addr<SwarmKeeper>,
}

crate::metered!(UdpDesk, "UdpDesk");

impl UdpDesk {
    /// An actor for this socket.
    pub(super) fn new(socket: Rc<dyn DatagramSocket>, at: SocketAddr, keeper: Addr<SwarmKeeper>) -> Self {
        Self { socket, at, keeper }
    }
}

/// Serves until the socket fails. Returns the error.
async fn serve(socket: Rc<dyn DatagramSocket>, keeper: Addr<SwarmKeeper>) -> io::Error {
    let mut buffer = [0; RECEIVE_LEN];
    loop {
        let batch = match receive(&*socket, &mut buffer).await {
            Ok(batch) => batch,
            Err(error) => return error,
        };
        // A keeper that restarts gives no answers; clients ask again.
        let answers = keeper.send(AnswerDatagrams(batch)).await.unwrap_or_default();
        for (answer, to) in answers {
            if let Err(error) = socket.send_to(&answer, to).await {
                tracing::debug!(%error, %to, "an answer cannot be sent");
            }
        }
    }
}

/// Waits for one datagram, then takes those that have arrived already.
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

//! Moves bytes between a connection's socket and its protocol state, whenever the actor has a turn. Decides nothing.

use std::pin::Pin;
use std::task::{self, Poll};

use actix::prelude::*;
use tokio::time::Instant;

use super::PeerConnection;
use crate::actors::kit::Ctx;
use crate::codec::wire::Message as Wire;
use crate::net::link::{LinkEnd, PeerLink};

/// At most 1 MiB is read in one turn, so that other actors have theirs.
const TURN_BYTES: usize = 1024 * 1024;

/// The result of a turn of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Nothing more can be read now. The socket wakes the pump.
    Over,
    /// More may be there. Other actors have their turn first.
    Again,
    /// The peer must not be read now.
    Held,
}

impl PeerConnection {
    /// Reads what is there, up to the limit of a turn.
    fn pump_in(&mut self, ctx: &mut Ctx<Self>, cx: &mut task::Context<'_>) -> Result<Turn, LinkEnd> {
        if self.conversation.is_none() {
            let Some(link) = &mut self.link else { return Ok(Turn::Over) };
            match link.poll_handshake(cx) {
                Poll::Pending => return Ok(Turn::Over),
                Poll::Ready(Err(end)) => return Err(end),
                Poll::Ready(Ok(handshake)) => self.on_handshake(handshake, ctx),
            }
        }
        let mut messages = self.cfg.shared.staging.take_inbox();
        let again = self.read_turn(&mut messages, ctx, cx);
        self.cfg.shared.staging.give_back_inbox(messages);
        again
    }

    /// Reads messages and handles them, up to the limit of a turn.
    fn read_turn(
        &mut self,
        messages: &mut Vec<Wire>,
        ctx: &mut Ctx<Self>,
        cx: &mut task::Context<'_>,
    ) -> Result<Turn, LinkEnd> {
        let mut turn = 0;
        while turn < TURN_BYTES && self.farewell.is_none() {
            if !self.may_read() {
                return Ok(Turn::Held);
            }
            let Some(link) = &mut self.link else { return Ok(Turn::Over) };
            let polled = link.poll_messages(cx, messages);
            if !messages.is_empty() {
                trace_all(messages);
                self.step(ctx, |conversation, now| conversation.on_messages(now, messages.drain(..)));
            }
            match polled {
                Poll::Pending => return Ok(Turn::Over),
                Poll::Ready(bytes) => turn += bytes?,
            }
        }
        Ok(Turn::Again)
    }

    /// Whether to read from the peer now: see
    /// [`PeerProtocol::may_read`](crate::logic::peer::protocol::PeerProtocol::may_read).
    fn may_read(&mut self) -> bool {
        let talk = self.link.as_ref().map_or(0, PeerLink::queued_talk);
        self.conversation.as_mut().is_some_and(|it| it.may_read(Instant::now().into_std(), talk))
    }

    /// Writes what is queued until the socket is full.
    fn pump_out(&mut self, ctx: &mut Ctx<Self>, cx: &mut task::Context<'_>) -> Result<(), LinkEnd> {
        // What the socket takes makes room for more blocks. They are written at once, until it is full.
        while let Some(link) = self.link.as_mut().filter(|link| link.queued() > 0) {
            let taken = match link.poll_send(cx) {
                Poll::Ready(taken) => taken?,
                Poll::Pending => 0,
            };
            let unsent = link.queued();
            self.step(ctx, |conversation, now| conversation.on_sent(now, taken, unsent));
            if unsent > 0 {
                break;
            }
        }
        if let (Some(link), Some(conversation)) = (&mut self.link, &self.conversation)
            && conversation.is_idle()
        {
            link.shed();
        }
        Ok(())
    }
}

/// Traces received messages (W-23).
fn trace_all(messages: &[Wire]) {
    if tracing::enabled!(tracing::Level::TRACE) {
        for message in messages {
            tracing::trace!(what = message.name(), "←");
        }
    }
}

/// Moves bytes whenever the actor has a turn: after every message, and when the socket is ready.
pub(super) struct Pump;

impl ActorFuture<PeerConnection> for Pump {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        act: &mut PeerConnection,
        ctx: &mut Ctx<PeerConnection>,
        cx: &mut task::Context<'_>,
    ) -> Poll<()> {
        if act.farewell.is_some() {
            return Poll::Ready(());
        }
        if !act.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            act.waker = Some(cx.waker().clone());
        }
        let moved = act.pump_in(ctx, cx).and_then(|turn| act.pump_out(ctx, cx).map(|()| turn));
        match moved {
            Ok(turn) => {
                // The write may have made room for answers.
                if turn == Turn::Again || (turn == Turn::Held && act.may_read()) {
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
            Err(end) => {
                act.on_link_end(&end, ctx);
                Poll::Ready(())
            }
        }
    }
}

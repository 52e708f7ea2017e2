//! Moves bytes between a connection's socket and its conversation, whenever the actor has a turn. Decides nothing.

use std::pin::Pin;
use std::task::{self, Poll};

use actix::prelude::*;

use super::PeerConnection;
use crate::actors::kit::Ctx;
use crate::codec::wire::Message as Wire;
use crate::net::link::LinkEnd;

/// 1 MiB read in one turn, then the others have theirs.
const TURN_BYTES: usize = 1024 * 1024;

impl PeerConnection {
    /// Reads what there is, up to a turn's worth; says whether to come back at once.
    fn pump_in(&mut self, ctx: &mut Ctx<Self>, cx: &mut task::Context<'_>) -> Result<bool, LinkEnd> {
        if self.conversation.is_none() {
            let Some(link) = &mut self.link else { return Ok(false) };
            match link.poll_handshake(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Err(end)) => return Err(end),
                Poll::Ready(Ok(handshake)) => self.on_handshake(handshake, ctx),
            }
        }
        let mut messages = self.cfg.shared.staging.take_inbox();
        let again = self.read_turn(&mut messages, ctx, cx);
        self.cfg.shared.staging.give_back_inbox(messages);
        again
    }

    fn read_turn(
        &mut self,
        messages: &mut Vec<Wire>,
        ctx: &mut Ctx<Self>,
        cx: &mut task::Context<'_>,
    ) -> Result<bool, LinkEnd> {
        let mut turn = 0;
        while turn < TURN_BYTES && self.farewell.is_none() {
            let Some(link) = &mut self.link else { return Ok(false) };
            let polled = link.poll_messages(cx, messages);
            if !messages.is_empty() {
                trace_all(messages);
                self.step(ctx, |conversation, now| conversation.on_messages(now, messages.drain(..)));
            }
            match polled {
                Poll::Pending => return Ok(false),
                Poll::Ready(bytes) => turn += bytes?,
            }
        }
        Ok(true)
    }

    fn pump_out(&mut self, ctx: &mut Ctx<Self>, cx: &mut task::Context<'_>) -> Result<(), LinkEnd> {
        // What the socket takes makes room for more blocks, and they are written at once, until it is full.
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

/// The mark of what comes in (W-23).
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
        let moved = act.pump_in(ctx, cx).and_then(|again| act.pump_out(ctx, cx).map(|()| again));
        match moved {
            Ok(again) => {
                if again {
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

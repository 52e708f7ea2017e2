//! One connection's bytes: frames in, messages out, nothing decided.
//!
//! Polled, not spawned: its actor polls it once a turn. Reading stops after a chunk so that no peer holds the thread;
//! writing is one vectored call for everything queued. The queue is bounded by whoever fills it: see [`Link::queued`].

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::BoxStream;
use super::staging::{SPENT_BELOW, Staging};
use crate::base::farewell::Farewell;
use crate::codec::wire::{BadHandshake, BadMessage, Decoder, Handshake, Message, encode_piece_header};

/// The most buffers in one vectored write: the kernel's `UIO_FASTIOV` is 8, `IOV_MAX` 1,024; gains end near here.
const MAX_SLICES: usize = 64;

/// Why a link ended, with the refused message where there is one.
#[derive(Debug)]
pub enum LinkEnd {
    /// The other end closed.
    Closed,
    /// The socket failed.
    Socket(io::Error),
    /// What came is not this protocol.
    Handshake(BadHandshake),
    /// What came breaks the protocol.
    Message(BadMessage),
}

impl LinkEnd {
    /// What the peer book is told.
    pub fn farewell(&self) -> Farewell {
        match self {
            Self::Closed => Farewell::Closed,
            Self::Socket(error) => match Farewell::from_io(error) {
                // On an open connection the kernel gives up on a vanished peer by ETIMEDOUT.
                Farewell::ConnectTimeout => Farewell::Silent,
                farewell => farewell,
            },
            Self::Handshake(_) => Farewell::BadHandshake,
            Self::Message(_) => Farewell::ProtocolViolation,
        }
    }
}

/// A connected stream with its half-read frame and its unsent messages.
#[derive(Debug)]
pub struct Link {
    stream: BoxStream,
    staging: Staging,
    /// The start of a frame whose end has not come yet.
    partial: BytesMut,
    decoder: Decoder,
    /// Messages being gathered; the end of the queue.
    gathering: BytesMut,
    outbox: VecDeque<Bytes>,
    queued: usize,
}

impl Link {
    /// Over a stream that is connected; nothing has been sent or read.
    pub fn new(stream: BoxStream, staging: Staging, pieces: u32) -> Self {
        let decoder = Decoder::new(pieces);
        let (partial, gathering) = (BytesMut::new(), BytesMut::new());
        Self { stream, staging, partial, decoder, gathering, outbox: VecDeque::new(), queued: 0 }
    }

    /// Bytes that wait to be written.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Queues the handshake.
    pub fn send_handshake(&mut self, handshake: &Handshake) {
        self.gathering.extend_from_slice(&handshake.encode());
        self.queued += Handshake::LEN;
    }

    /// Queues a message.
    pub fn send(&mut self, message: &Message) {
        let before = self.gathering.len();
        message.encode(&mut self.gathering);
        self.queued += self.gathering.len() - before;
    }

    /// Queues a block without copying it.
    pub fn send_piece(&mut self, piece: u32, begin: u32, data: Bytes) {
        let len = u32::try_from(data.len()).expect("a block is at most 128 KiB");
        self.gathering.extend_from_slice(&encode_piece_header(piece, begin, len));
        self.queued += 13 + data.len();
        self.outbox.push_back(self.gathering.split().freeze());
        self.outbox.push_back(data);
    }

    /// Reads until the handshake is whole.
    pub fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<Result<Handshake, LinkEnd>> {
        loop {
            if let Some(handshake) = Handshake::decode(&self.partial).map_err(LinkEnd::Handshake)? {
                self.partial.advance(Handshake::LEN);
                return Poll::Ready(Ok(handshake));
            }
            let mut chunk = [0; Handshake::LEN];
            let mut buffer = ReadBuf::new(&mut chunk[..Handshake::LEN - self.partial.len()]);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)).map_err(LinkEnd::Socket)?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Err(LinkEnd::Closed));
            }
            self.partial.extend_from_slice(buffer.filled());
        }
    }

    /// Reads about a chunk and appends what it held to `messages`. `Ready(Ok(n))`: n bytes came, and there may be more
    /// at once; `Pending`: nothing more for now (messages may have been appended all the same).
    pub fn poll_messages(&mut self, cx: &mut Context<'_>, messages: &mut Vec<Message>) -> Poll<Result<usize, LinkEnd>> {
        let mut chunk = self.staging.take();
        chunk.extend_from_slice(&self.partial);
        self.partial.clear();
        let outcome = self.fill(cx, &mut chunk, messages);
        self.partial.extend_from_slice(&chunk);
        self.staging.give_back(chunk);
        outcome
    }

    fn fill(
        &mut self,
        cx: &mut Context<'_>,
        chunk: &mut BytesMut,
        messages: &mut Vec<Message>,
    ) -> Poll<Result<usize, LinkEnd>> {
        let mut total = 0;
        // What a handshake left over may hold whole messages already.
        self.decode(chunk, messages)?;
        while chunk.capacity() - chunk.len() >= SPENT_BELOW || total == 0 {
            if chunk.capacity() == chunk.len() {
                chunk.reserve(SPENT_BELOW);
            }
            match poll_read_buf(Pin::new(&mut self.stream), cx, chunk) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(LinkEnd::Closed)),
                Poll::Ready(Ok(n)) => total += n,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(LinkEnd::Socket(error))),
                Poll::Pending if total == 0 => return Poll::Pending,
                Poll::Pending => break,
            }
            self.decode(chunk, messages)?;
        }
        Poll::Ready(Ok(total))
    }

    fn decode(&mut self, chunk: &mut BytesMut, messages: &mut Vec<Message>) -> Result<(), LinkEnd> {
        while let Some(message) = self.decoder.decode(chunk).map_err(LinkEnd::Message)? {
            messages.push(message);
        }
        Ok(())
    }

    /// Writes what is queued as far as the socket takes it. `Ready(Ok(n))`: n bytes went; the queue is empty now or
    /// more will go on the next wake. `Pending`: nothing could be written, or there is nothing to write.
    pub fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, LinkEnd>> {
        if !self.gathering.is_empty() {
            self.outbox.push_back(self.gathering.split().freeze());
        }
        let mut total = 0;
        while !self.outbox.is_empty() {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let used = self.outbox.iter().zip(&mut slices).map(|(bytes, slice)| *slice = IoSlice::new(bytes)).count();
            match Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..used]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(LinkEnd::Closed)),
                Poll::Ready(Ok(n)) => {
                    total += n;
                    self.forget_sent(n);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(LinkEnd::Socket(error))),
                Poll::Pending => break,
            }
        }
        if total == 0 { Poll::Pending } else { Poll::Ready(Ok(total)) }
    }

    fn forget_sent(&mut self, mut sent: usize) {
        self.queued -= sent;
        while let Some(front) = self.outbox.front_mut() {
            if front.len() > sent {
                front.advance(sent);
                return;
            }
            sent -= front.len();
            self.outbox.pop_front();
        }
    }
}

//! [`PeerLink`]: the connection to one peer as a stream of messages. Makes no decisions.
//!
//! The actor of the connection polls it once a turn; it has no task of its own. Reading stops after one chunk, so that
//! no peer occupies the thread. Everything queued is written with one vectored call. The link does not bound its queue:
//! its user must, with [`PeerLink::queued`].

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

use super::BoxStream;
use super::staging::Staging;
use super::throttle::{RateLimits, ThrottleTap};
use crate::base::disconnect::DisconnectReason;
use crate::codec::wire::{BadHandshake, BadMessage, Decoder, Handshake, Message, encode_piece_header};

/// 80 buffers in one vectored write: room for all that `logic::peer::uploads` leaves unsent (33 blocks with their
/// heads) and some messages between them. The kernel accepts 1,024 (`IOV_MAX`).
const MAX_SLICES: usize = 80;

/// 1 KiB, 78 heads of blocks. The queue shares a buffer of heads until all of them are sent, so its size decides how
/// many blocks share one allocation.
const HEADS_LEN: usize = 1024;

/// Why a link ended.
#[derive(Debug)]
pub enum LinkEnd {
    /// The peer closed the connection.
    Closed,
    /// The socket failed.
    Socket(io::Error),
    /// The peer does not speak the BitTorrent protocol.
    Handshake(BadHandshake),
    /// The peer sent a message that the protocol forbids.
    Message(BadMessage),
}

impl LinkEnd {
    /// The reason of the disconnect for the peer book.
    pub fn farewell(&self) -> DisconnectReason {
        match self {
            Self::Closed => DisconnectReason::Closed,
            Self::Socket(error) => match DisconnectReason::from_io(error) {
                // On an open connection ETIMEDOUT means that the kernel got no answer from the peer.
                DisconnectReason::ConnectTimeout => DisconnectReason::Silent,
                farewell => farewell,
            },
            Self::Handshake(_) => DisconnectReason::BadHandshake,
            Self::Message(_) => DisconnectReason::ProtocolViolation,
        }
    }
}

/// Bytes in the queue of unsent data.
#[derive(Debug)]
struct Queued {
    bytes: Bytes,
    is_block: bool,
}

/// A connected stream with its partly read frame and its unsent messages.
#[derive(Debug)]
pub struct PeerLink {
    stream: BoxStream,
    staging: Staging,
    /// The beginning of a frame whose rest has not arrived, in its chunk.
    partial: BytesMut,
    decoder: Decoder,
    /// The end of the queue: messages encoded since the last block or write.
    gathering: BytesMut,
    outbox: VecDeque<Queued>,
    queued: usize,
    /// How many of the queued bytes belong to blocks.
    queued_blocks: usize,
    down: ThrottleTap,
    up: ThrottleTap,
}

impl PeerLink {
    /// A link over a connected stream from which nothing has been read or written.
    pub fn new(stream: BoxStream, staging: Staging, limits: &RateLimits, pieces: u32) -> Self {
        let decoder = Decoder::new(pieces);
        let (partial, gathering) = (BytesMut::new(), BytesMut::new());
        let (down, up) = (limits.down.tap(), limits.up.tap());
        Self {
            stream,
            staging,
            partial,
            decoder,
            gathering,
            outbox: VecDeque::new(),
            queued: 0,
            queued_blocks: 0,
            down,
            up,
        }
    }

    /// The time until which our own download limit kept the link from being read. Delays until then are not the peer's
    /// fault.
    pub fn held_until(&self) -> Option<Instant> {
        self.down.held_until()
    }

    /// The number of bytes that are not yet written.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// The number of those bytes that do not belong to blocks.
    pub fn queued_talk(&self) -> usize {
        self.queued - self.queued_blocks
    }

    /// Frees the memory of an empty queue. For a peer to which no blocks are sent.
    pub fn shed(&mut self) {
        if self.queued == 0 {
            (self.outbox, self.gathering) = (VecDeque::new(), BytesMut::new());
        }
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
        let head = encode_piece_header(piece, begin, len);
        if self.gathering.capacity() - self.gathering.len() < head.len() {
            self.gathering.reserve(HEADS_LEN);
        }
        self.gathering.extend_from_slice(&head);
        self.queued += head.len() + data.len();
        self.queued_blocks += data.len();
        self.outbox.push_back(Queued { bytes: self.gathering.split().freeze(), is_block: false });
        self.outbox.push_back(Queued { bytes: data, is_block: true });
    }

    /// Reads until the handshake is complete.
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

    /// Reads about one chunk and appends its messages to `messages`. `Ready(Ok(n))`: n bytes were read, and there may
    /// be more. `Pending`: nothing more can be read now; messages may have been appended nevertheless.
    pub fn poll_messages(&mut self, cx: &mut Context<'_>, messages: &mut Vec<Message>) -> Poll<Result<usize, LinkEnd>> {
        let mut chunk = self.staging.resume(std::mem::take(&mut self.partial));
        let outcome = self.fill(cx, &mut chunk, messages);
        self.partial = self.staging.suspend(chunk);
        outcome
    }

    /// Reads into the chunk until it is full or nothing more can be read, and decodes messages.
    fn fill(
        &mut self,
        cx: &mut Context<'_>,
        chunk: &mut BytesMut,
        messages: &mut Vec<Message>,
    ) -> Poll<Result<usize, LinkEnd>> {
        let mut total = 0;
        // The bytes after a handshake may already contain whole messages.
        self.decode(chunk, messages)?;
        while Staging::has_room(chunk) || total == 0 {
            match self.read(cx, chunk) {
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

    /// Reads once, at most as many bytes as the download limit grants.
    fn read(&mut self, cx: &mut Context<'_>, chunk: &mut BytesMut) -> Poll<io::Result<usize>> {
        let granted = ready!(self.down.poll_grant(cx, chunk.capacity() - chunk.len()));
        let polled = poll_read_buf(Pin::new(&mut self.stream), cx, &mut (&mut *chunk).limit(granted));
        match polled {
            Poll::Ready(Ok(n)) if n > 0 => self.down.spend(n),
            _ => self.down.give_back(),
        }
        polled
    }

    /// Decodes all complete messages of the chunk.
    fn decode(&mut self, chunk: &mut BytesMut, messages: &mut Vec<Message>) -> Result<(), LinkEnd> {
        while let Some(message) = self.decoder.decode(chunk).map_err(LinkEnd::Message)? {
            messages.push(message);
        }
        Ok(())
    }

    /// Writes as much of the queue as the socket accepts. `Ready(Ok(n))`: n bytes were written; the queue is empty, or
    /// the task will be woken for the rest. `Pending`: nothing could be written, or the queue is empty.
    pub fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, LinkEnd>> {
        if !self.gathering.is_empty() {
            self.outbox.push_back(Queued { bytes: self.gathering.split().freeze(), is_block: false });
        }
        let mut total = 0;
        while !self.outbox.is_empty() {
            match self.write(cx) {
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

    /// Makes one vectored write of at most as many bytes as the upload limit grants.
    fn write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut left = ready!(self.up.poll_grant(cx, self.queued));
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let granted = self.outbox.iter().map_while(|Queued { bytes, .. }| {
            let part = &bytes[..bytes.len().min(left)];
            left -= part.len();
            (!part.is_empty()).then_some(part)
        });
        let used = granted.zip(&mut slices).map(|(part, slice)| *slice = IoSlice::new(part)).count();
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..used]);
        match polled {
            Poll::Ready(Ok(n)) if n > 0 => self.up.spend(n),
            _ => self.up.give_back(),
        }
        polled
    }

    /// Removes `sent` bytes from the front of the queue.
    fn forget_sent(&mut self, mut sent: usize) {
        self.queued -= sent;
        while let Some(Queued { bytes, is_block }) = self.outbox.front_mut() {
            let gone = bytes.len().min(sent);
            sent -= gone;
            self.queued_blocks -= if *is_block { gone } else { 0 };
            if gone < bytes.len() {
                bytes.advance(gone);
                return;
            }
            self.outbox.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use std::time::Duration;

    use futures_util::FutureExt;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::task::LocalSet;
    use tokio::task::unconstrained;

    use super::*;
    use crate::base::ids::{InfoHash, PeerId};
    use crate::codec::wire::RawRequest;
    use crate::net::staging::CHUNK_LEN;
    use crate::net::testing::{pipe, run};

    const PIECES: u32 = 1000;

    fn link(room: usize) -> (PeerLink, DuplexStream) {
        let (near, far) = pipe(room);
        (PeerLink::new(near, Staging::default(), &RateLimits::default(), PIECES), far)
    }

    fn handshake() -> Handshake {
        Handshake { reserved: [0; 8], info_hash: InfoHash([1; 20]), peer_id: PeerId([2; 20]) }
    }

    fn block(piece: u32, len: usize) -> Message {
        Message::Piece { piece, begin: 0, data: (0..len).map(|at| at.to_le_bytes()[0]).collect() }
    }

    fn encoded(messages: &[Message]) -> BytesMut {
        let mut bytes = BytesMut::new();
        for message in messages {
            message.encode(&mut bytes);
        }
        bytes
    }

    /// Reads all messages that are available now.
    async fn drain(link: &mut PeerLink, messages: &mut Vec<Message>) -> Result<(), LinkEnd> {
        poll_fn(|cx| {
            loop {
                match link.poll_messages(cx, messages) {
                    Poll::Pending => return Poll::Ready(Ok(())),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(end)) => return Poll::Ready(Err(end)),
                }
            }
        })
        .await
    }

    async fn end_of(link: &mut PeerLink) -> (Vec<Message>, DisconnectReason) {
        let mut messages = Vec::new();
        let end = drain(link, &mut messages).await.unwrap_err();
        (messages, end.farewell())
    }

    /// Writes as much as possible now. Returns the number of bytes.
    async fn flush(link: &mut PeerLink) -> usize {
        poll_fn(|cx| {
            Poll::Ready(match link.poll_send(cx) {
                Poll::Pending => 0,
                Poll::Ready(sent) => sent.unwrap(),
            })
        })
        .await
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// P-27. More than a chunk, cut anywhere, read by several connections that use the same read buffers in turn.
        #[test]
        fn messages_arrive_whole_however_they_are_cut(
            lens in prop::collection::vec(prop_oneof![Just(16 * 1024), 1usize..40_000, Just(131_072)], 1..40),
            cuts in prop::collection::vec(prop_oneof![1usize..50, 1usize..40_000, Just(CHUNK_LEN)], 1..20),
        ) {
            let sent: Vec<Message> = (0..).zip(&lens).flat_map(|(piece, len)| [block(piece, *len), Message::Have(piece)]).collect();
            // Runs without tokio's budget, which would delay reads that could be done at once.
            let got = run(unconstrained(async {
                let (mut link, mut far) = link(1 << 20);
                let mut bytes = encoded(&sent);
                let mut got = Vec::new();
                for cut in cuts.iter().cycle() {
                    let part = bytes.split_to((*cut).min(bytes.len()));
                    far.write_all(&part).await.unwrap();
                    drain(&mut link, &mut got).await.unwrap();
                    if bytes.is_empty() {
                        break;
                    }
                }
                got
            }));
            prop_assert!(got == sent);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// Connections of a torrent use the same read buffers in turn.
        #[test]
        fn connections_that_share_buffers_do_not_mix_data(
            lens in prop::collection::vec(prop_oneof![Just(16 * 1024), 1usize..40_000], 1..30),
            cuts in prop::collection::vec(prop_oneof![1usize..2_000, 1usize..40_000], 1..40),
        ) {
            run(unconstrained(async {
                let staging = Staging::default();
                let mut ends: Vec<_> = (0..3)
                    .map(|nth| {
                        let (near, far) = pipe(1 << 20);
                        let link = PeerLink::new(near, staging.clone(), &RateLimits::default(), PIECES);
                        let data = |len: &usize| (0..*len).map(|at| at.to_le_bytes()[0] ^ (nth * 85)).collect();
                        let sent: Vec<_> = lens.iter().map(|len| Message::Piece { piece: 0, begin: 0, data: data(len) }).collect();
                        (link, far, encoded(&sent), Vec::new(), sent)
                    })
                    .collect();
                let mut turns = cuts.iter().cycle();
                while ends.iter().any(|(_, _, bytes, ..)| !bytes.is_empty()) {
                    for (link, far, bytes, got, _) in &mut ends {
                        let cut = *turns.next().unwrap();
                        far.write_all(&bytes.split_to(cut.min(bytes.len()))).await.unwrap();
                        drain(link, got).await.unwrap();
                    }
                }
                assert!(ends.iter().all(|(_, _, _, got, sent)| got == sent));
            }));
        }
    }

    /// Turns without new bytes are frequent: an actor has a turn for each of its messages.
    #[test]
    fn a_block_that_comes_in_parts_is_not_copied() {
        run(async {
            let (mut link, mut far) = link(1 << 20);
            let sent = block(3, 16 * 1024);
            let bytes = encoded(std::slice::from_ref(&sent));
            let (mut got, mut places) = (Vec::new(), Vec::new());
            for part in bytes.chunks(1400) {
                far.write_all(part).await.unwrap();
                for _ in 0..3 {
                    drain(&mut link, &mut got).await.unwrap();
                    places.push(link.partial.as_ptr());
                }
            }
            assert_eq!(got, [sent]);
            places.truncate(places.len() - 3);
            places.dedup();
            assert_eq!(places.len(), 1, "{places:?}");
        });
    }

    #[test]
    fn a_handshake_and_the_first_messages_may_share_a_segment() {
        run(async {
            let (mut link, mut far) = link(1 << 20);
            let first = [Message::HaveAll, Message::Unchoke, block(7, 100)];
            far.write_all(&[&handshake().encode()[..], &encoded(&first)].concat()).await.unwrap();
            assert_eq!(poll_fn(|cx| link.poll_handshake(cx)).await.unwrap(), handshake());
            let mut got = Vec::new();
            drain(&mut link, &mut got).await.unwrap();
            assert_eq!(got, first);
        });
    }

    #[test]
    fn a_handshake_may_arrive_slowly() {
        run(async {
            let (mut link, mut far) = link(1);
            let drip = async {
                far.write_all(&handshake().encode()).await.unwrap();
                far.write_all(&encoded(&[Message::Choke])).await.unwrap();
                far
            };
            let read = async { (poll_fn(|cx| link.poll_handshake(cx)).await.unwrap(), end_of_choke(&mut link).await) };
            let ((theirs, choked), _far) = tokio::join!(read, drip);
            assert!(theirs == handshake() && choked);
        });
    }

    async fn end_of_choke(link: &mut PeerLink) -> bool {
        let mut messages = Vec::new();
        while messages.is_empty() {
            poll_fn(|cx| link.poll_messages(cx, &mut messages)).await.unwrap();
        }
        messages == [Message::Choke]
    }

    /// P-21: what a peer does not read stays in the queue, and the queue is counted.
    #[test]
    fn what_is_not_read_is_counted_and_comes_in_order() {
        run(async {
            let (mut link, mut far) = link(1000);
            let request = Message::Request(RawRequest { piece: 3, begin: 0, len: 5 });
            link.send_handshake(&handshake());
            link.send(&request);
            for piece in 0..100 {
                link.send_piece(piece, 0, Bytes::from(vec![7; 5000]));
            }
            link.send(&Message::KeepAlive);
            let all = 68 + 17 + 100 * 5013 + 4;
            let talk = all - 100 * 5000;
            assert_eq!((link.queued(), link.queued_talk()), (all, talk));
            let mut sent = flush(&mut link).await;
            assert_eq!((sent, link.queued()), (1000, all - 1000), "the pipe is full");
            let gone = 68 + 17 + 13;
            assert_eq!(link.queued_talk(), talk - gone, "the rest of what went was of a block");
            assert_eq!(flush(&mut link).await, 0);
            let mut arrived = Vec::new();
            while arrived.len() < all {
                let mut some = [0; 333];
                let got = far.read(&mut some).await.unwrap();
                arrived.extend_from_slice(&some[..got]);
                sent += flush(&mut link).await;
                assert_eq!(link.queued(), all - sent);
            }
            assert_eq!((link.queued(), link.queued_talk()), (0, 0));
            assert_eq!(arrived[..68], handshake().encode());
            let mut decoder = Decoder::new(PIECES);
            let mut rest = BytesMut::from(&arrived[68..]);
            let mut next = || decoder.decode(&mut rest).unwrap().unwrap();
            assert_eq!(next(), request);
            assert!((0..100).all(|piece| next() == Message::Piece { piece, begin: 0, data: vec![7; 5000].into() }));
            assert_eq!(next(), Message::KeepAlive);
        });
    }

    /// With both limits, each second moves no more than a second's worth each way, in parts that fit no message;
    /// nothing is lost.
    #[tokio::test(start_paused = true)]
    async fn limits_hold_for_what_is_read_and_written() {
        let sent: Vec<_> = (0..20).map(|piece| block(piece, 16 * 1024)).collect();
        LocalSet::new()
            .run_until(async {
                let limits = RateLimits::new(Some(100_000), Some(50_000));
                let (near, mut far) = pipe(1 << 20);
                let mut link = PeerLink::new(near, Staging::default(), &limits, PIECES);
                far.write_all(&encoded(&sent)).await.unwrap();
                for piece in 0..20 {
                    link.send_piece(piece, 0, Bytes::from(vec![7; 16 * 1024]));
                }
                let (all, began) = (link.queued(), Instant::now());
                let (mut got, mut written) = (Vec::new(), Vec::new());
                while got.len() < sent.len() || link.queued() > 0 {
                    drain(&mut link, &mut got).await.unwrap();
                    flush(&mut link).await;
                    let mut some = [0; 4096];
                    while let Some(Ok(n)) = far.read(&mut some).now_or_never() {
                        written.extend_from_slice(&some[..n]);
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    // Three slices more than the time that has passed: the bucket holds two, and one is begun.
                    let passed_ms = usize::try_from(began.elapsed().as_millis()).unwrap() + 30;
                    assert!(got.len() * 16397 <= 100 * passed_ms, "{} after {passed_ms}", got.len());
                    assert!(all - link.queued() <= 50 * passed_ms);
                    assert!(link.held_until().is_some());
                }
                let took = began.elapsed().as_millis();
                assert!(got == sent && (6530..6630).contains(&took), "{took} ms");
                assert_eq!(written.len(), all);
            })
            .await;
    }

    #[test]
    fn every_end_has_its_disconnect_reason() {
        run(async {
            let (mut quiet, mut far) = link(1000);
            far.write_all(&encoded(&[Message::Unchoke, Message::Have(1)])[..8]).await.unwrap();
            drop(far);
            assert_eq!(
                end_of(&mut quiet).await,
                (vec![Message::Unchoke], DisconnectReason::Closed),
                "in the middle of a frame"
            );

            let (mut hostile, mut far) = link(1000);
            far.write_all(&[&encoded(&[Message::Choke])[..], &[0xff; 5]].concat()).await.unwrap();
            assert_eq!(end_of(&mut hostile).await, (vec![Message::Choke], DisconnectReason::ProtocolViolation), "P-09");

            for (bytes, want) in [
                (&b"GET / HTTP/1.1"[..], DisconnectReason::BadHandshake),
                (&b"\x13BitTor"[..], DisconnectReason::Closed),
            ] {
                let (mut other, mut far) = link(1000);
                far.write_all(bytes).await.unwrap();
                drop(far);
                let end = poll_fn(|cx| other.poll_handshake(cx)).await.unwrap_err();
                assert_eq!(end.farewell(), want);
            }
        });
        for (kind, want) in [
            (io::ErrorKind::ConnectionReset, DisconnectReason::Reset),
            (io::ErrorKind::TimedOut, DisconnectReason::Silent),
        ] {
            assert_eq!(LinkEnd::Socket(kind.into()).farewell(), want);
        }
    }
}

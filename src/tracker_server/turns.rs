//! [`Turns`]: the stream of one HTTP connection, which gives its server one request at a time.
//!
//! A server that pipelines reads ahead, and stores what it has read and answered. This stream gives it the head of one
//! request, and the next one only when the answer has been passed to the kernel. So nothing is read from a client that
//! does not read, and a connection never holds more than one request and one answer. Bodies are not read: the stream
//! ends after a request with a body. Knows where a head ends, and nothing else of HTTP.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::codec::tracker_http::head::HeadScanner;
use crate::net::BoxStream;

/// 4 KiB at a time: an announce has a few hundred bytes. Bytes after it are kept here.
const READ_AT_ONCE: usize = 4096;

/// 16 KiB: a scrape of 74 torrents has 5 KiB, and servers usually accept 8 KiB.
const MAX_HEAD: usize = 16 * 1024;

/// 20 s for the client to read an answer: the longest has 13 KiB, which takes 13 s at 1 KiB/s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// 1 s in which a client that sends a body may read the answer. A socket that is closed with unread bytes sends a
/// reset, which can overtake the answer.
const LINGER: Duration = Duration::from_secs(1);

/// 64 KiB of a body are read and dropped meanwhile.
const LINGER_BYTES: usize = 64 * 1024;

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The client's turn: a head is being read.
    Asking,
    /// The server's turn: it has not written any byte of the answer.
    Answering,
    /// The server's turn: it has begun to write the answer.
    Sending,
    /// No further request is read.
    Over,
    /// No further request is read, and the client has some time to read the answer.
    Leaving,
}

/// A connection as a stream of single requests.
#[derive(Debug)]
pub(super) struct Turns {
    stream: BoxStream,
    turn: Turn,
    head: HeadScanner,
    /// The number of bytes of the current head that the server has read.
    head_len: usize,
    /// Bytes that were received but not yet given to the server.
    held: Vec<u8>,
    reader: Option<Waker>,
    /// The deadline for the client to read the answer, and later the deadline of [`Turn::Leaving`].
    due: Pin<Box<Sleep>>,
    lingered: usize,
}

impl Turns {
    /// A stream from which nothing has been read.
    pub(super) fn new(stream: BoxStream) -> Self {
        Self {
            stream,
            turn: Turn::Asking,
            head: HeadScanner::default(),
            head_len: 0,
            held: Vec::new(),
            reader: None,
            due: Box::pin(sleep(ANSWER_TIMEOUT)),
            lingered: 0,
        }
    }

    /// Returns bytes of the client: those that are held, or new ones.
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Vec<u8>>> {
        if !self.held.is_empty() {
            return Poll::Ready(Ok(std::mem::take(&mut self.held)));
        }
        let mut bytes = [0; READ_AT_ONCE];
        let mut buf = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().to_vec()))
    }

    /// Changes the turn and wakes the task that reads.
    fn turn_to(&mut self, turn: Turn) {
        self.turn = turn;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// The answer has been passed to the kernel: begins the next turn.
    fn on_answered(&mut self) {
        let is_last = self.head.has_body();
        (self.head, self.head_len) = (HeadScanner::default(), 0);
        self.turn_to(if is_last { Turn::Over } else { Turn::Asking });
    }
}

impl AsyncRead for Turns {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.turn {
            Turn::Over | Turn::Leaving => return Poll::Ready(Ok(())),
            Turn::Answering | Turn::Sending => {
                self.reader = Some(cx.waker().clone());
                ready!(self.due.as_mut().poll(cx));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            Turn::Asking => {}
        }
        let bytes = ready!(self.poll_bytes(cx))?;
        let (now, later) = bytes.split_at(bytes.len().min(buf.remaining()));
        let end = self.head.scan(now);
        let (now, rest) = now.split_at(end.unwrap_or(now.len()));
        self.held = [rest, later].concat();
        self.head_len += now.len();
        if end.is_some() {
            self.turn = Turn::Answering;
            self.due.as_mut().reset(Instant::now() + ANSWER_TIMEOUT);
        } else if self.head_len > MAX_HEAD {
            self.turn = Turn::Over;
            return Poll::Ready(Ok(()));
        }
        buf.put_slice(now);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Turns {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        if self.turn == Turn::Answering {
            self.turn = Turn::Sending;
        }
        Poll::Ready(Ok(written))
    }

    /// The server flushes when the whole answer has been written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        if self.turn == Turn::Sending {
            self.on_answered();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.turn == Turn::Over {
            self.turn = Turn::Leaving;
            self.due.as_mut().reset(Instant::now() + LINGER);
        }
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        self.held.clear();
        while self.turn == Turn::Leaving && self.lingered < LINGER_BYTES && self.due.as_mut().poll(cx).is_pending() {
            match self.poll_bytes(cx) {
                Poll::Ready(Ok(more)) if !more.is_empty() => self.lingered += more.len(),
                Poll::Ready(_end) => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::net::testing::pipe;

    const HEAD: &[u8] = b"GET /announce?a=b HTTP/1.1\r\nHost: t\r\n\r\n";

    #[tokio::test(start_paused = true)]
    async fn the_next_request_comes_when_the_answer_is_taken() {
        let (stream, mut far) = pipe(1 << 16);
        let mut turns = Turns::new(stream);
        far.write_all(&[HEAD, HEAD].concat()).await.unwrap();
        let mut first = [0; 4096];
        let len = turns.read(&mut first).await.unwrap();
        assert_eq!(&first[..len], HEAD, "the first head and no more");
        let mut second = [0; 4096];
        assert!(turns.read(&mut second).now_or_never().is_none());
        turns.flush().await.unwrap();
        assert!(turns.read(&mut second).now_or_never().is_none(), "a flush before the answer does not count");
        turns.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        turns.flush().await.unwrap();
        assert_eq!(turns.read(&mut second).await.unwrap(), HEAD.len());
    }

    /// The pipe holds 64 bytes of an answer.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_not_read_from_and_closed_after_a_while() {
        let (stream, mut far) = pipe(64);
        let mut turns = Turns::new(stream);
        let asking = async {
            far.write_all(HEAD).await.unwrap();
            far.write_all(&[b'x'; 1000]).await.unwrap();
        };
        let serving = async {
            let mut head = [0; 4096];
            assert_eq!(turns.read(&mut head).await.unwrap(), HEAD.len());
            assert!(turns.write_all(&[b'a'; 1000]).now_or_never().is_none());
            turns.read(&mut head).await.unwrap_err().kind()
        };
        let began = Instant::now();
        let kind = tokio::select! {
            biased;
            kind = serving => kind,
            () = asking => panic!("more was read than a head"),
        };
        assert_eq!((kind, began.elapsed().as_secs()), (io::ErrorKind::TimedOut, 20));
    }

    #[tokio::test(start_paused = true)]
    async fn the_stream_ends_after_a_request_with_a_body() {
        let (stream, mut far) = pipe(1 << 20);
        let mut turns = Turns::new(stream);
        let head = b"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n";
        far.write_all(head).await.unwrap();
        far.write_all(&b"x".repeat(100_000)).await.unwrap();
        let mut read = [0; 4096];
        assert_eq!(turns.read(&mut read).await.unwrap(), head.len());
        turns.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n").await.unwrap();
        turns.flush().await.unwrap();
        assert_eq!(turns.read(&mut read).await.unwrap(), 0);
        turns.shutdown().await.unwrap();
        assert!(turns.lingered >= LINGER_BYTES && turns.lingered < 100_000, "{}", turns.lingered);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_a_second_for_a_client_that_says_nothing_more() {
        let (stream, mut far) = pipe(1 << 20);
        let mut turns = Turns::new(stream);
        let head = b"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n";
        far.write_all(head).await.unwrap();
        let mut read = [0; 4096];
        assert_eq!(turns.read(&mut read).await.unwrap(), head.len());
        turns.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n").await.unwrap();
        turns.flush().await.unwrap();
        let began = Instant::now();
        turns.shutdown().await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_end_is_read_up_to_its_limit() {
        let (stream, mut far) = pipe(1 << 20);
        let mut turns = Turns::new(stream);
        far.write_all(&b"x".repeat(100_000)).await.unwrap();
        let mut read = Vec::new();
        turns.read_to_end(&mut read).await.unwrap();
        assert!(read.len() <= MAX_HEAD, "{}", read.len());
    }
}

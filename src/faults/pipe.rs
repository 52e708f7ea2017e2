//! The stream of a hostile peer, with limits on what it sends: segment size, rates, and the byte at which the
//! connection ends.
//!
//! It knows bytes only. Without limits, everything goes out in as few vectored writes as the kernel allows.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::net::BoxStream;

/// `UIO_MAXIOV` of Linux: it refuses more buffers in one write.
const MAX_BUFFERS: usize = 1024;

/// 50 writes a second make a rate look even, without one system call per byte.
const WRITES_A_SECOND: u64 = 50;

/// 20 ms, three hundred times the delay of loopback: the bytes under way arrive before the reset discards them.
const DELIVERY_GRACE: Duration = Duration::from_millis(20);

/// 2 s: how long an orderly end waits for the end of the other side.
const FAREWELL_GRACE: Duration = Duration::from_secs(2);

/// 64 KiB: the room for one read; 3,855 requests.
const READ_LEN: usize = 64 * 1024;

/// Why nothing more can be sent or received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// This side resets the connection.
    Reset,
    /// This side closes the connection.
    Close,
    /// The other side ended it or broke the protocol.
    Lost,
}

impl From<io::Error> for Over {
    fn from(_why: io::Error) -> Self {
        Self::Lost
    }
}

/// A rate limit that several connections may share.
#[derive(Debug)]
pub(super) struct PipePace {
    bytes_a_second: u64,
    next: Cell<Option<Instant>>,
}

impl PipePace {
    pub(super) fn new(bytes_a_second: u64) -> Self {
        Self { bytes_a_second: bytes_a_second.max(1), next: Cell::new(None) }
    }

    /// Returns the largest number of bytes to send at once.
    fn stride(&self) -> u64 {
        (self.bytes_a_second / WRITES_A_SECOND).max(1)
    }

    /// Reserves this many bytes and waits until the rate allows them.
    pub(super) async fn pass(&self, bytes: u64) {
        let now = Instant::now();
        let turn = self.next.get().map_or(now, |next| next.max(now));
        let micros = bytes.saturating_mul(1_000_000) / self.bytes_a_second;
        self.next.set(Some(turn + Duration::from_micros(micros)));
        if turn > now {
            sleep_until(turn).await;
        }
    }
}

/// The limits of a pipe.
#[derive(Debug, Default)]
pub(super) struct PipeLimits {
    /// Most bytes in one write.
    pub(super) slice: Option<u64>,
    /// Bytes until the reset.
    pub(super) reset_after: Option<u64>,
    /// Bytes until the close.
    pub(super) close_after: Option<u64>,
}

/// A stream with limits on what it sends.
#[derive(Debug)]
pub(super) struct Pipe {
    stream: BoxStream,
    limits: PipeLimits,
    /// Bytes that were read and not decoded yet.
    pub(super) inbox: BytesMut,
}

impl Pipe {
    pub(super) fn new(stream: BoxStream) -> Self {
        Self { stream, limits: PipeLimits::default(), inbox: BytesMut::new() }
    }

    /// Sets the limits for what is sent from now on.
    pub(super) fn limit(&mut self, limits: PipeLimits) {
        self.limits = limits;
    }

    /// Reads the available bytes into the inbox. Safe to cancel.
    pub(super) async fn read(&mut self) -> Result<(), Over> {
        self.inbox.reserve(READ_LEN);
        match self.stream.read_buf(&mut self.inbox).await? {
            0 => Err(Over::Lost),
            _ => Ok(()),
        }
    }

    /// Reads what is available, without waiting for more.
    pub(super) async fn read_ready(&mut self) -> Result<(), Over> {
        tokio::select! {
            biased;
            read = self.read() => read,
            () = std::future::ready(()) => Ok(()),
        }
    }

    /// Reads and discards until the other side ends the connection.
    pub(super) async fn outlast(&mut self) -> Over {
        loop {
            self.inbox.clear();
            if let Err(over) = self.read().await {
                return over;
            }
        }
    }

    /// Sends the whole queue at the given rates, or up to a limit. Returns the number of bytes sent.
    pub(super) async fn send(&mut self, queue: &mut VecDeque<Bytes>, paces: &[&PipePace]) -> (u64, Result<(), Over>) {
        let mut sent = 0;
        loop {
            while queue.front().is_some_and(Bytes::is_empty) {
                queue.pop_front();
            }
            if queue.is_empty() {
                return (sent, Ok(()));
            }
            match self.send_some(queue, paces).await {
                Ok(some) => sent += some,
                Err(over) => return (sent, Err(over)),
            }
            if let Err(over) = self.check_limits() {
                return (sent, Err(over));
            }
        }
    }

    /// Does one write. Returns the number of bytes written.
    async fn send_some(&mut self, queue: &mut VecDeque<Bytes>, paces: &[&PipePace]) -> Result<u64, Over> {
        let mut most = u64::MAX;
        let limits = [self.limits.slice, self.limits.reset_after, self.limits.close_after];
        for limit in limits.into_iter().flatten().chain(paces.iter().map(|pace| pace.stride())) {
            most = most.min(limit.max(1));
        }
        let mut left = usize::try_from(most).unwrap_or(usize::MAX);
        let mut slices = Vec::with_capacity(queue.len().min(MAX_BUFFERS));
        for chunk in queue.iter().take(MAX_BUFFERS) {
            let part = &chunk[..chunk.len().min(left)];
            left -= part.len();
            slices.push(IoSlice::new(part));
            if left == 0 {
                break;
            }
        }
        if !paces.is_empty() {
            let planned = slices.iter().map(|slice| slice.len() as u64).sum();
            for pace in paces {
                pace.pass(planned).await;
            }
        }
        let written = self.stream.write_vectored(&slices).await?;
        drop(slices);
        if written == 0 {
            return Err(Over::Lost);
        }
        take(queue, written);
        for limit in [&mut self.limits.reset_after, &mut self.limits.close_after].into_iter().flatten() {
            *limit = limit.saturating_sub(written as u64);
        }
        Ok(written as u64)
    }

    fn check_limits(&self) -> Result<(), Over> {
        if self.limits.reset_after == Some(0) {
            return Err(Over::Reset);
        }
        if self.limits.close_after == Some(0) {
            return Err(Over::Close);
        }
        Ok(())
    }

    /// Ends the connection in this way.
    pub(super) async fn end(mut self, over: Over) {
        match over {
            Over::Reset => {
                sleep(DELIVERY_GRACE).await;
                drop(self.stream.reset());
            }
            Over::Close => {
                // Unread bytes would turn the close into a reset.
                let wait = async {
                    self.stream.shutdown().await?;
                    tokio::io::copy(&mut self.stream, &mut tokio::io::sink()).await
                };
                drop(timeout(FAREWELL_GRACE, wait).await);
            }
            Over::Lost => {}
        }
    }
}

/// Returns up to 64 KiB of zeros, from static memory.
pub(super) fn zeros(most: u64) -> Bytes {
    let len = usize::try_from(most).unwrap_or(usize::MAX).min(ZEROS.len());
    Bytes::from_static(&ZEROS[..len])
}

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Removes this many bytes from the front of the queue.
fn take(queue: &mut VecDeque<Bytes>, mut bytes: usize) {
    while bytes > 0 {
        let Some(front) = queue.front_mut() else { return };
        let now = bytes.min(front.len());
        front.advance(now);
        bytes -= now;
        if front.is_empty() {
            queue.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_taken_across_chunks() {
        let chunks = [b"abc".as_slice(), b"", b"de", b"f"].map(Bytes::from_static);
        for taken in 0..=7 {
            let mut queue = VecDeque::from(chunks.clone());
            take(&mut queue, taken);
            let left: Vec<u8> = queue.iter().flatten().copied().collect();
            assert_eq!(left, b"abcdef"[taken.min(6)..]);
        }
    }

    /// tokio's clock is paused here, so that the test does not wait.
    #[test]
    fn a_pace_passes_its_bytes_a_second() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let pace = PipePace::new(1000);
            let start = Instant::now();
            for _ in 0..101 {
                pace.pass(pace.stride()).await;
            }
            assert_eq!(start.elapsed(), Duration::from_secs(2));
        });
    }
}

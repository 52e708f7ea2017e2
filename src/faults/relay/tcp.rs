//! The relay for streams: one task per connection; in each direction a reader and a writer with a short queue between
//! them.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{Instant, sleep, sleep_until};

use super::toxic::Toxics;
use super::{Post, Relay, RelayStats};
use crate::faults::pipe::PipePace;
use crate::net::{BoxStream, Listen, Net};

/// 1,000 connections: more than any scene opens, fewer than the descriptors of a process.
const MAX_CONNECTIONS: usize = 1000;

/// 10 ms: after a failed accept (no descriptors left), the next one would fail too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// 16 KiB in one read: a block.
const READ_LEN: usize = 16 * 1024;

/// 64 reads, 1 MiB, may be under way with a latency: 20 MiB a second at 50 ms.
const MAX_QUEUED: usize = 64;

/// Starts a relay that listens at `at` (port 0: any) and connects to `to`. Must run where `spawn_local` works.
pub async fn spawn_tcp_relay(
    net: &Net,
    at: SocketAddr,
    to: SocketAddr,
    toxics: Toxics,
    seed: u64,
) -> io::Result<Relay> {
    let listener = net.listen(at).await?;
    let addr = listener.local_addr()?;
    let (set, toxics) = watch::channel(toxics);
    let (tell, stats) = watch::channel(RelayStats::default());
    let post = Rc::new(Post { to, toxics, stats: tell, seed });
    let task = spawn_local(accept(listener, Net::clone(net), post));
    Ok(Relay { addr, toxics: set, stats, task })
}

async fn accept(listener: Box<dyn Listen>, net: Net, post: Rc<Post>) {
    let mut links = JoinSet::new();
    let mut nth = 0_u64;
    loop {
        tokio::select! {
            biased;
            Some(_ended) = links.join_next() => {}
            accepted = listener.accept(), if links.len() < MAX_CONNECTIONS => match accepted {
                Ok((near, _from)) => {
                    nth += 1;
                    post.note(|stats| stats.connections += 1);
                    links.spawn_local(link(near, Net::clone(&net), Rc::clone(&post), nth));
                }
                Err(_no_descriptors) => sleep(ACCEPT_PAUSE).await,
            },
        }
    }
}

/// How a toxic ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    Reset,
    Close,
}

async fn link(near: BoxStream, net: Net, post: Rc<Post>, nth: u64) {
    let Ok(far) = net.connect(post.to).await else {
        // The caller sees a reset, as if the destination had refused.
        drop(near.reset());
        return;
    };
    let (mut near_in, mut near_out) = tokio::io::split(near);
    let (mut far_in, mut far_out) = tokio::io::split(far);
    let dice = SmallRng::seed_from_u64(post.seed ^ nth.rotate_left(32));
    let pumps = async {
        tokio::select! {
            Some(cut) = Pump { post: &post, up: true, dice: dice.clone() }.run(&mut near_in, &mut far_out) => Some(cut),
            Some(cut) = Pump { post: &post, up: false, dice }.run(&mut far_in, &mut near_out) => Some(cut),
            else => None,
        }
    };
    let cut = tokio::select! {
        cut = end(post.toxics.clone()) => Some(cut),
        cut = pumps => cut,
    };
    if cut.is_some() {
        post.note(|stats| stats.cut += 1);
    }
    if cut == Some(Cut::Reset) {
        drop(near_in.unsplit(near_out).reset());
        drop(far_in.unsplit(far_out).reset());
    }
}

/// Waits until a toxic ends the connection; forever if none does.
async fn end(mut toxics: watch::Receiver<Toxics>) -> Cut {
    loop {
        let Toxics { reset_peer, timeout, .. } = *toxics.borrow_and_update();
        let due = match (reset_peer, timeout) {
            (Some(after), _) => Some((after, Cut::Reset)),
            (None, Some(after)) if !after.is_zero() => Some((after, Cut::Close)),
            _ => None,
        };
        let strike = async {
            match due {
                Some((after, cut)) => {
                    sleep(after).await;
                    cut
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            cut = strike => return cut,
            changed = toxics.changed() => if changed.is_err() { std::future::pending::<()>().await },
        }
    }
}

/// One direction of a connection.
struct Pump<'a> {
    post: &'a Post,
    up: bool,
    dice: SmallRng,
}

/// What a reader hands to its writer: the bytes and the time at which they are due.
type Parcel = (Instant, Bytes);

impl Pump<'_> {
    /// Passes everything on, and the end of the stream too. Returns the cut if a limit of bytes ended it.
    async fn run(mut self, from: &mut ReadHalf<BoxStream>, to: &mut WriteHalf<BoxStream>) -> Option<Cut> {
        let (give, mut take) = mpsc::channel(MAX_QUEUED);
        let reader = Self::read(self.post, self.up, self.dice.clone(), from, give);
        let writer = async {
            let cut = self.write(to, &mut take).await;
            drop(take);
            cut
        };
        let ((), cut) = tokio::join!(reader, writer);
        cut
    }

    /// Reads until the end of the stream and gives each chunk the time at which it is due.
    async fn read(
        post: &Post,
        up: bool,
        mut dice: SmallRng,
        from: &mut ReadHalf<BoxStream>,
        give: mpsc::Sender<Parcel>,
    ) {
        let mut buffer = BytesMut::new();
        let mut last = Instant::now();
        loop {
            buffer.reserve(READ_LEN);
            let read = tokio::select! {
                read = from.read_buf(&mut buffer) => read,
                () = give.closed() => return,
            };
            let is_over = read.is_err() || read.is_ok_and(|len| len == 0);
            let toxics = post.toxics.borrow().holding(up);
            if is_over {
                sleep(toxics.slow_close.unwrap_or_default()).await;
                return;
            }
            let chunk = buffer.split().freeze();
            if toxics.timeout.is_some() {
                post.note(|stats| stats.lost += chunk.len() as u64);
                continue;
            }
            // A stream keeps its order: no chunk is due before the one that came earlier.
            last = last.max(Instant::now() + late(&toxics, &mut dice));
            if give.send((last, chunk)).await.is_err() {
                return;
            }
        }
    }

    async fn write(&mut self, to: &mut WriteHalf<BoxStream>, take: &mut mpsc::Receiver<Parcel>) -> Option<Cut> {
        let mut toxics = self.post.toxics.clone();
        let mut pace: Option<(u64, PipePace)> = None;
        let mut passed = 0;
        while let Some((due, mut chunk)) = take.recv().await {
            sleep_until(due).await;
            while !chunk.is_empty() {
                // The sender of the toxics outlives the connections of the relay; if it is gone, the relay has ended.
                let now = toxics.wait_for(|toxics| !toxics.holding(self.up).stall).await.ok()?.holding(self.up);
                let len = self.slice(&now, chunk.len()).min(room(now.limit_data, passed));
                let slice = chunk.split_to(len);
                if let Some(rate) = now.bandwidth {
                    if pace.as_ref().is_none_or(|(old, _)| *old != rate) {
                        pace = Some((rate, PipePace::new(rate)));
                    }
                    if let Some((_, pace)) = &pace {
                        pace.pass(len as u64).await;
                    }
                }
                if to.write_all(&slice).await.is_err() {
                    return None;
                }
                passed += len as u64;
                let up = self.up;
                self.post.note(|stats| *(if up { &mut stats.up } else { &mut stats.down }) += len as u64);
                if now.limit_data.is_some_and(|most| passed >= most) {
                    return Some(Cut::Close);
                }
                // A sleep of zero would still wait for the next tick of the timer.
                if let Some(pause) = now.slice_delay {
                    sleep(pause).await;
                }
            }
        }
        drop(to.shutdown().await);
        None
    }

    /// Returns how many of `len` bytes to write at once.
    fn slice(&mut self, toxics: &Toxics, len: usize) -> usize {
        let Some(avg) = toxics.slice else { return len };
        let most = toxics.slice_variation.unwrap_or(0).min(avg);
        let drawn = self.dice.random_range(avg - most..=avg + most).max(1);
        usize::try_from(drawn).unwrap_or(usize::MAX).min(len)
    }
}

/// Returns the number of bytes until a limit, at least one: the byte that reaches it.
fn room(limit: Option<u64>, passed: u64) -> usize {
    let left = limit.map_or(u64::MAX, |most| most.saturating_sub(passed).max(1));
    usize::try_from(left).unwrap_or(usize::MAX)
}

/// Returns the latency with its jitter.
pub(super) fn late(toxics: &Toxics, dice: &mut SmallRng) -> Duration {
    let latency = toxics.latency.unwrap_or_default();
    let jitter = toxics.jitter.unwrap_or_default();
    if jitter.is_zero() {
        return latency;
    }
    let shift = dice.random_range(Duration::ZERO..=jitter * 2);
    (latency + shift).saturating_sub(jitter)
}

//! SHA-1 of several messages at once in one thread.
//!
//! A round of SHA-1 needs the result of the one before, and the CPU's SHA-1 instructions could have begun others by the
//! time it comes. Four messages interleaved fill the gaps: 2.6 times the bytes per second of one. Where the CPU has no
//! such instructions the `sha1` crate does the work, one message after the other.
//!
//! Knows nothing of pieces, files or threads.

mod kernel;
mod lane;
#[cfg(target_arch = "x86_64")]
mod sha_ni;
mod stream;
#[cfg(test)]
mod tests;

use kernel::Kernel;
use lane::Lane;
pub use stream::Stream;

/// So many messages keep this CPU busy: give as many at a time, or a multiple. 1 if there is nothing to gain.
#[must_use]
pub fn width() -> usize {
    Kernel::best().width()
}

/// Absorbs the next bytes of each stream. A part may have any length, and need be no multiple of a block.
///
/// Each stream that has begun goes on until its parts end, then the next one takes its place. So that none is left to run
/// alone, give the longest first.
pub fn absorb<'s, 'b, P>(work: impl IntoIterator<Item = (&'s mut Stream, P)>)
where
    P: IntoIterator<Item = &'b [u8]>,
{
    absorb_with(Kernel::best(), work);
}

/// The digests of whole messages, each given in parts, in the order of the messages.
#[must_use]
pub fn digests<'b, P>(messages: impl IntoIterator<Item = P>) -> Vec<[u8; 20]>
where
    P: IntoIterator<Item = &'b [u8]>,
{
    digests_with(Kernel::best(), messages)
}

fn absorb_with<'s, 'b, P>(kernel: Kernel, work: impl IntoIterator<Item = (&'s mut Stream, P)>)
where
    P: IntoIterator<Item = &'b [u8]>,
{
    let lanes = work.into_iter().map(|(stream, parts)| Lane::new(stream, parts.into_iter()));
    let mut waiting = lanes.filter_map(Lane::refilled).fuse();
    let mut running = Vec::with_capacity(kernel.width());
    loop {
        running.extend(waiting.by_ref().take(kernel.width() - running.len()));
        if running.is_empty() {
            return;
        }
        lane::step(kernel, &mut running);
        running.retain_mut(Lane::refill);
    }
}

fn digests_with<'b, P>(kernel: Kernel, messages: impl IntoIterator<Item = P>) -> Vec<[u8; 20]>
where
    P: IntoIterator<Item = &'b [u8]>,
{
    let messages: Vec<P> = messages.into_iter().collect();
    let mut streams = vec![Stream::new(); messages.len()];
    absorb_with(kernel, streams.iter_mut().zip(messages));
    streams.into_iter().map(Stream::finish).collect()
}

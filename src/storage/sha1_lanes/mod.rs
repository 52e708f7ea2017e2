//! SHA-1 of several messages at once in one thread.
//!
//! A round of SHA-1 needs the result of the round before, so the CPU waits. There are two ways to use that time: the
//! CPU's SHA-1 instructions for several messages are interleaved, or messages lie side by side in vectors. Either may
//! be three times as fast as one message alone; which, and with how many messages, is measured. On a CPU with neither,
//! the `sha1` crate hashes one message after the other.
//!
//! Knows nothing of pieces, files or threads.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod choice;
mod kernel;
mod lane;
#[cfg(target_arch = "x86_64")]
mod sha_ni;
mod stream;
#[cfg(test)]
mod tests;

use choice::Choice;
use lane::Lane;
pub use stream::Sha1Stream;

/// The number of messages that this CPU hashes fastest at a time; give that many, or a multiple. 1 if several are no
/// faster.
#[must_use]
pub fn width() -> usize {
    Choice::measured().width()
}

/// Absorbs the next bytes of each stream. A part may have any length, not only multiples of a block.
///
/// Each stream that has begun continues until its parts end; then the next stream takes its place. Give the longest
/// first, so that none runs alone at the end.
pub fn absorb<'s, 'b, P>(work: impl IntoIterator<Item = (&'s mut Sha1Stream, P)>)
where
    P: IntoIterator<Item = &'b [u8]>,
{
    absorb_with(Choice::measured(), work);
}

/// The digests of whole messages, in their order. Each message is given in parts.
#[must_use]
pub fn digests<'b, P>(messages: impl IntoIterator<Item = P>) -> Vec<[u8; 20]>
where
    P: IntoIterator<Item = &'b [u8]>,
{
    digests_with(Choice::measured(), messages)
}

fn absorb_with<'s, 'b, P>(choice: &Choice, work: impl IntoIterator<Item = (&'s mut Sha1Stream, P)>)
where
    P: IntoIterator<Item = &'b [u8]>,
{
    let lanes = work.into_iter().map(|(stream, parts)| Lane::new(stream, parts.into_iter()));
    let mut waiting = lanes.filter_map(Lane::refilled).fuse();
    let mut running = Vec::with_capacity(choice.width());
    loop {
        running.extend(waiting.by_ref().take(choice.width() - running.len()));
        if running.is_empty() {
            return;
        }
        lane::step(choice.gait(running.len()), &mut running);
        running.retain_mut(Lane::refill);
    }
}

fn digests_with<'b, P>(choice: &Choice, messages: impl IntoIterator<Item = P>) -> Vec<[u8; 20]>
where
    P: IntoIterator<Item = &'b [u8]>,
{
    let messages: Vec<P> = messages.into_iter().collect();
    let mut streams = vec![Sha1Stream::new(); messages.len()];
    absorb_with(choice, streams.iter_mut().zip(messages));
    streams.into_iter().map(Sha1Stream::finish).collect()
}

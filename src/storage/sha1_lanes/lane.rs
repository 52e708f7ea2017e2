//! `Lane`: a stream that is being hashed, and the parts that are still to come for it.

use super::kernel::{Kernel, Run};
use super::stream::Stream;

/// One of the streams that are hashed in turn, block by block.
#[derive(Debug)]
pub(super) struct Lane<'s, 'b, P> {
    stream: &'s mut Stream,
    /// What is left of the part that is being hashed.
    part: &'b [u8],
    parts: P,
}

impl<'s, 'b, P: Iterator<Item = &'b [u8]>> Lane<'s, 'b, P> {
    pub(super) fn new(stream: &'s mut Stream, parts: P) -> Self {
        Self { stream, part: &[], parts }
    }

    /// Goes on to the next whole block; `false` if there is none. What is left then is in the stream's carry.
    pub(super) fn refill(&mut self) -> bool {
        loop {
            self.part = self.stream.carry(self.part);
            if self.stream.has_run(self.part) {
                return true;
            }
            match self.parts.next() {
                Some(part) => self.part = part,
                None => return false,
            }
        }
    }

    /// Itself, if it has a block.
    pub(super) fn refilled(mut self) -> Option<Self> {
        self.refill().then_some(self)
    }

    fn run(&mut self) -> Run<'_> {
        self.stream.run(self.part)
    }

    fn advance(&mut self, blocks: usize) {
        self.part = self.stream.advance(blocks, self.part);
    }
}

/// Hashes the same number of blocks in as many lanes as the widest fitting kernel has; each lane has been refilled.
pub(super) fn step<'b, P: Iterator<Item = &'b [u8]>>(kernel: Kernel, lanes: &mut [Lane<'_, 'b, P>]) {
    if let Some(lanes) = lanes.first_chunk_mut::<4>() {
        step_of(kernel, lanes);
    } else if let Some(lanes) = lanes.first_chunk_mut::<3>() {
        step_of(kernel, lanes);
    } else if let Some(lanes) = lanes.first_chunk_mut::<2>() {
        step_of(kernel, lanes);
    } else if let Some(lanes) = lanes.first_chunk_mut::<1>() {
        step_of(kernel, lanes);
    }
}

fn step_of<'b, P: Iterator<Item = &'b [u8]>, const N: usize>(kernel: Kernel, lanes: &mut [Lane<'_, 'b, P>; N]) {
    let hashed = kernel.compress(lanes.each_mut().map(Lane::run));
    for lane in lanes {
        lane.advance(hashed);
    }
}

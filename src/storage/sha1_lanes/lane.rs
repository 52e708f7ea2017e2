//! [`Lane`]: a stream that is being hashed, and the parts that follow in it.

use super::choice::Gait;
use super::kernel::ShaRun;
use super::stream::Sha1Stream;

/// One of several streams that are hashed together, block by block.
#[derive(Debug)]
pub(super) struct Lane<'s, 'b, P> {
    stream: &'s mut Sha1Stream,
    /// The rest of the current part.
    part: &'b [u8],
    parts: P,
}

impl<'s, 'b, P: Iterator<Item = &'b [u8]>> Lane<'s, 'b, P> {
    /// A lane for a stream and the parts that are to be absorbed.
    pub(super) fn new(stream: &'s mut Sha1Stream, parts: P) -> Self {
        Self { stream, part: &[], parts }
    }

    /// Advances to the next whole block; `false` if there is none. The remaining bytes are then in the stream's carry.
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

    /// Returns the lane if it has a whole block.
    pub(super) fn refilled(mut self) -> Option<Self> {
        self.refill().then_some(self)
    }

    /// The blocks that are hashed next.
    fn run(&mut self) -> ShaRun<'_> {
        self.stream.run(self.part)
    }

    /// Advances by this number of blocks.
    fn advance(&mut self, blocks: usize) {
        self.part = self.stream.advance(blocks, self.part);
    }
}

/// Hashes the same number of blocks in the first lanes, as many lanes as the gait has messages. Each must have been
/// refilled.
pub(super) fn step<'b, P: Iterator<Item = &'b [u8]>>(gait: Gait, lanes: &mut [Lane<'_, 'b, P>]) {
    let lanes = &mut lanes[..gait.messages];
    // Small numbers use arrays, because allocating a list for each step would be slow.
    let hashed = match &mut *lanes {
        [a] => gait.kernel.compress(&mut [a.run()]),
        [a, b] => gait.kernel.compress(&mut [a.run(), b.run()]),
        [a, b, c] => gait.kernel.compress(&mut [a.run(), b.run(), c.run()]),
        [a, b, c, d] => gait.kernel.compress(&mut [a.run(), b.run(), c.run(), d.run()]),
        many => gait.kernel.compress(&mut many.iter_mut().map(Lane::run).collect::<Vec<_>>()),
    };
    for lane in lanes {
        lane.advance(hashed);
    }
}

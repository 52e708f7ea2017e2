//! Vectored writes to one place of a file, complete. Knows one file at a time.

use std::fs::File;
use std::io::{self, IoSlice};

use bytes::Bytes;

/// 1,024: the largest number of buffers in one `pwritev` (`IOV_MAX`).
const MAX_SLICES: usize = 1024;

/// The unwritten rest of a list of buffers.
pub(super) struct Slices<'a> {
    blocks: &'a [Bytes],
    skip: usize,
}

impl<'a> Slices<'a> {
    /// All bytes of the buffers.
    pub(super) fn new(blocks: &'a [Bytes]) -> Self {
        Self { blocks, skip: 0 }
    }

    /// Returns the next `len` bytes as slices.
    pub(super) fn take(&mut self, mut len: usize) -> Vec<IoSlice<'a>> {
        let mut taken = Vec::with_capacity(self.blocks.len());
        while len > 0 {
            let Some((block, rest)) = self.blocks.split_first() else { break };
            let part = &block[self.skip..];
            if part.len() <= len {
                len -= part.len();
                taken.push(IoSlice::new(part));
                self.blocks = rest;
                self.skip = 0;
            } else {
                taken.push(IoSlice::new(&part[..len]));
                self.skip += len;
                len = 0;
            }
        }
        taken
    }
}

/// 1,000 times in a row a file system may answer EAGAIN before it counts as broken. Local file systems never do; those
/// over a network do while a buffer is full.
const MAX_AGAIN: u32 = 1000;

/// Writes all slices at `offset`. Continues after short writes and interruptions (D-06).
pub(super) fn write_all_at(file: &File, mut slices: Vec<IoSlice<'_>>, mut offset: u64) -> io::Result<()> {
    let mut rest = &mut slices[..];
    let mut again = 0;
    while !rest.is_empty() {
        let most = rest.len().min(MAX_SLICES);
        match rustix::io::pwritev(file, &rest[..most], offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                offset += written as u64;
                again = 0;
                IoSlice::advance_slices(&mut rest, written);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) if again < MAX_AGAIN => {
                again += 1;
                std::thread::yield_now();
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

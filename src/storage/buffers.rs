//! Buffers that reads for peers are made into. Each comes home when the last block in it has been sent, and serves again.
//!
//! Memory that is new to the process costs more than the copy into it: a page fault each 4 KiB, and zeros before the data.
//! Knows no files.

use std::sync::Arc;

use bytes::Bytes;

use crate::base::locked::Locked;

/// 16 buffers of a mebibyte at most: as many peers are served at once, and what rests here is memory nobody else has.
const MOST_AT_HOME: usize = 16;

/// The buffers of a run. Clones are the same buffers.
#[derive(Debug, Clone, Default)]
pub struct Buffers(Arc<Locked<Vec<Vec<u8>>>>);

impl Buffers {
    /// `len` bytes of any content, for `fill` to write over.
    pub fn filled<E>(&self, len: usize, fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Bytes, E> {
        let at_home = self.0.lock().pop();
        let mut lent = Lent { bytes: at_home.unwrap_or_default(), len, home: self.clone() };
        // Never shorter: what is cut off would have to be zeroed when it is needed again. Anew rather than longer: what it
        // held would be moved.
        if lent.bytes.len() < len {
            lent.bytes = vec![0; len];
        }
        fill(&mut lent.bytes[..len])?;
        Ok(Bytes::from_owner(lent))
    }
}

/// One that is under way.
#[derive(Debug)]
struct Lent {
    bytes: Vec<u8>,
    /// So many are in use.
    len: usize,
    home: Buffers,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut at_home = self.home.0.lock();
        if at_home.len() < MOST_AT_HOME {
            at_home.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(buffers: &Buffers, len: usize, byte: u8) -> Bytes {
        buffers
            .filled(len, |bytes| {
                bytes.fill(byte);
                Ok::<_, ()>(())
            })
            .unwrap()
    }

    #[test]
    fn a_buffer_serves_again_when_its_last_slice_is_gone() {
        let buffers = Buffers::default();
        let one = filled(&buffers, 1000, 1);
        let (home, slice) = (one.as_ptr(), one.slice(10..20));
        drop(one);
        assert_ne!(filled(&buffers, 1000, 2).as_ptr(), home, "its slice is still to be sent");
        assert_eq!(slice, [1; 10][..]);
        drop(slice);
        let again = [filled(&buffers, 700, 3), filled(&buffers, 300, 4)];
        assert!(again.iter().any(|bytes| bytes.as_ptr() == home));
        assert_eq!([again[0].len(), again[1].len()], [700, 300]);
        assert!(again[0].iter().all(|byte| *byte == 3) && again[1].iter().all(|byte| *byte == 4));
    }

    #[test]
    fn a_read_that_fails_loses_no_buffer_and_few_rest() {
        let buffers = Buffers::default();
        assert_eq!(buffers.filled(10, |_| Err("bad sector")), Err("bad sector"));
        assert_eq!(buffers.0.lock().len(), 1);
        let many: Vec<Bytes> = (0..3 * MOST_AT_HOME).map(|_| filled(&buffers, 10, 0)).collect();
        drop(many);
        assert_eq!(buffers.0.lock().len(), MOST_AT_HOME);
    }
}

//! Buffers for reads that serve peers. A buffer returns here when the last block in it has been sent, and is reused.
//!
//! Memory that is new to the process costs more than the copy into it: a page fault for each 4 KiB, and zeros before
//! the data. Knows no files.

use std::sync::Arc;

use bytes::Bytes;

use crate::base::locked::Locked;

/// 16 buffers of 1 MiB at most: about as many peers are served at once. Buffers that wait here are memory that no other
/// part of the process can use.
const MOST_AT_HOME: usize = 16;

/// The buffers of a run. Clones share the same buffers.
#[derive(Debug, Clone, Default)]
pub struct Buffers(Arc<Locked<Vec<Vec<u8>>>>);

impl Buffers {
    /// Returns `len` bytes that `fill` has written.
    pub fn filled<E>(&self, len: usize, fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Bytes, E> {
        let at_home = self.0.lock().pop();
        let mut lent = Lent { bytes: at_home.unwrap_or_default(), len, home: self.clone() };
        // A buffer that is longer than needed is not shortened, because the removed part would have to be zeroed when
        // it is needed again. A buffer that is too short is replaced, because extending it would copy its content.
        if lent.bytes.len() < len {
            lent.bytes = vec![0; len];
        }
        fill(&mut lent.bytes[..len])?;
        Ok(Bytes::from_owner(lent))
    }
}

/// A buffer that is in use.
#[derive(Debug)]
struct Lent {
    bytes: Vec<u8>,
    /// The number of bytes in use.
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
    fn a_buffer_is_reused_when_its_last_slice_is_dropped() {
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

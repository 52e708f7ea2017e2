//! Reads that do not wait for the disk: from the page cache, and from files in memory.
//!
//! Such reads run on the thread of the actors. Handing a read to a thread of the pool and back takes as long as the
//! copy itself, and bytes copied here are still in the processor's cache when the socket sends them. Knows one file at
//! a time.

use std::fs::File;
use std::io::IoSliceMut;

use rustix::fs::FsWord;
use rustix::io::ReadWriteFlags;

/// `TMPFS_MAGIC` of Linux. Files of tmpfs are in memory, like the heap of this process, and may be swapped out like it.
const TMPFS: FsWord = 0x0102_1994;

/// The flags with which a file is read without waiting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Promptness(ReadWriteFlags);

impl Promptness {
    /// Determines the flags for an open file.
    pub(super) fn of(file: &File) -> Self {
        // tmpfs does not support RWF_NOWAIT, and its reads do not wait.
        let is_memory = rustix::fs::fstatfs(file).is_ok_and(|about| about.f_type == TMPFS);
        Self(if is_memory { ReadWriteFlags::empty() } else { ReadWriteFlags::NOWAIT })
    }

    /// Fills the buffer from `offset` if that needs no waiting. Returns `false` if it does, or if the read fails: a
    /// read in the pool then gives the bytes or the error.
    pub(super) fn fills(self, buffer: &mut [u8], file: &File, offset: u64) -> bool {
        let len = buffer.len();
        rustix::io::preadv2(file, &mut [IoSliceMut::new(buffer)], offset, self.0) == Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file_in(folder: &str, content: &[u8]) -> Option<File> {
        let mut file = tempfile::tempfile_in(folder).ok()?;
        file.write_all(content).unwrap();
        Some(file)
    }

    #[test]
    fn bytes_just_written_are_read_without_waiting_on_tmpfs_too() {
        let content: Vec<u8> = (0..=255).cycle().take(300_000).collect();
        let tried = ["/dev/shm", env!("CARGO_MANIFEST_DIR")].map(|folder| {
            let Some(file) = file_in(folder, &content) else { return false };
            let mut buffer = vec![0; 200_000];
            let filled = Promptness::of(&file).fills(&mut buffer, &file, 1000);
            assert!(!filled || buffer == content[1000..201_000], "{folder}");
            filled
        });
        assert!(tried.contains(&true), "neither memory nor the page cache: {tried:?}");
    }

    #[test]
    fn a_read_that_is_not_all_cached_is_refused() {
        let file = file_in(env!("CARGO_MANIFEST_DIR"), &[7; 100]).unwrap();
        let promptness = Promptness::of(&file);
        assert!(!promptness.fills(&mut [0; 10], &file, 91), "it ends before");
        assert!(!promptness.fills(&mut [0; 10], &file, 1000));
        let unreadable = std::fs::OpenOptions::new().write(true).open("/dev/null").unwrap();
        assert!(!promptness.fills(&mut [0; 10], &unreadable, 0));
    }
}

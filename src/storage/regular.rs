//! Reads a regular file completely on the blocking pool: up to a limit, and never a file whose read could block for
//! ever.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::Later;

/// Reads this file if it is a regular one with at most `most` bytes.
pub fn read(path: PathBuf, most: u64) -> Later<io::Result<Vec<u8>>> {
    off_thread(move || read_here(&path, most))
}

/// Reads the file on this thread. A FIFO or a device is refused without waiting.
pub(super) fn read_here(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let non_blocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(non_blocking).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let too_long = || io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {most} bytes"));
    if meta.len() > most {
        return Err(too_long());
    }
    read_at_most(&file, most)?.ok_or_else(too_long)
}

/// Reads a file; `None` if it has more than `most` bytes now, since it may have grown.
fn read_at_most(file: &File, most: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let read = file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok((read as u64 <= most).then_some(bytes))
}

/// Runs a job on the blocking pool. A panic of the job is raised again where its outcome is awaited.
pub(super) fn off_thread<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Later<T> {
    #[expect(clippy::disallowed_methods, reason = "this is the storage's pool")]
    let running = tokio::task::spawn_blocking(job);
    Box::pin(async move {
        match running.await {
            Ok(outcome) => outcome,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_cancelled) => std::future::pending().await,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_within_the_limit_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), b"12345").unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let sparse = File::create(at("sparse")).unwrap();
        sparse.set_len(1 << 40).unwrap();
        assert_eq!(read_here(&at("file"), 5).unwrap(), b"12345");
        let refused = [("fifo", "no regular file"), ("sparse", "more than 5 bytes"), ("nothing", "No such file")];
        for (name, why) in refused {
            let error = read_here(&at(name), 5).unwrap_err().to_string();
            assert!(error.contains(why), "{name}: {error}");
        }
        assert!(read_here(&at("file"), 4).is_err() && read_here(dir.path(), 5).is_err());
        assert!(read_here(Path::new("/dev/zero"), 5).is_err());
    }
}

//! What a scene needs from the machine, and the small disks that some scenes use.
//!
//! Everything that is mounted here is unmounted when its owner is dropped, and also when this process is killed.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A requirement of a scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineNeed {
    /// strace, and the permission to trace.
    Strace,
    /// The permission to mount.
    Mount,
    /// `prlimit` of util-linux.
    Prlimit,
}

impl MachineNeed {
    /// Returns why this machine does not meet the requirement; `None` if it does.
    pub fn missing(self) -> Option<String> {
        match self {
            Self::Strace => cannot(&["strace", "-qq", "-o", "/dev/null", "true"]),
            Self::Prlimit => cannot(&["prlimit", "--nofile=64", "true"]),
            Self::Mount if rustix::process::geteuid().is_root() => cannot(&["unshare", "--mount", "true"]),
            Self::Mount => Some("only root may mount".to_owned()),
        }
    }
}

/// Returns why this command does not work; `None` if it does.
fn cannot(words: &[&str]) -> Option<String> {
    let (program, args) = words.split_first()?;
    let ended =
        Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    match ended {
        Ok(status) if status.success() => None,
        Ok(status) => Some(format!("`{}` ends with {status}", words.join(" "))),
        Err(error) => Some(format!("{program}: {error}")),
    }
}

/// A file system in memory with a fixed size.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
    guard: Child,
}

/// A shell command that waits until its standard input is closed, which happens when this process closes it or ends,
/// and then unmounts. It unmounts lazily, because a client that outlives a failed scene may hold the disk for another
/// moment.
const GUARD: &str = r#"cat >/dev/null; exec umount -l "$1""#;

impl SmallDisk {
    /// Mounts a disk of `size` bytes on a new folder.
    pub fn mount(path: PathBuf, size: u64) -> io::Result<Self> {
        std::fs::create_dir_all(&path)?;
        let options = format!("size={size},mode=0700");
        let mut guard = Command::new("sh");
        // In a process group of its own, so that a signal to ours does not reach it.
        guard.args(["-c", GUARD, "sh"]).arg(&path).stdin(Stdio::piped()).process_group(0);
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tt-actors-fault"]).arg(&path))?;
        let guard = guard.spawn().inspect_err(|_| drop(run(Command::new("umount").arg(&path))))?;
        Ok(Self { path, guard })
    }

    /// Returns the path of its root folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Uses up this many bytes.
    pub fn fill(&self, bytes: u64) -> io::Result<()> {
        let mut file = std::fs::File::create(self.ballast())?;
        io::copy(&mut io::Read::take(io::repeat(1), bytes), &mut file).map(drop)
    }

    /// Frees the bytes that [`fill`](Self::fill) used up.
    pub fn free(&self) -> io::Result<()> {
        std::fs::remove_file(self.ballast())
    }

    /// Makes the disk read-only. None of its files may be open for writing.
    pub fn make_read_only(&self) -> io::Result<()> {
        run(Command::new("mount").args(["-o", "remount,ro"]).arg(&self.path))
    }

    /// Makes the disk writable again.
    pub fn make_writable(&self) -> io::Result<()> {
        run(Command::new("mount").args(["-o", "remount,rw"]).arg(&self.path))
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let ended = self.guard.wait();
        if !ended.as_ref().is_ok_and(std::process::ExitStatus::success) {
            tracing::error!(path = %self.path.display(), ?ended, "small disk stays mounted");
        }
    }
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_cannot_run_gives_a_reason() {
        assert_eq!(cannot(&["true"]), None);
        assert_eq!(cannot(&["false"]).unwrap(), "`false` ends with exit status: 1");
        assert!(cannot(&["/nowhere/tool"]).unwrap().starts_with("/nowhere/tool: "));
    }
}

//! [`Claims`]: which torrent of a run uses which file, so that no two torrents write to one file.
//!
//! A file is identified by its inode and by the path that leads to it without links; a file that does not exist yet by
//! its path only. Any number of torrents may read a file, but a torrent that writes to it must be its only user. Knows
//! torrents by name only. Other processes are kept out by a lock on each file (`files::locking`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use sha1::{Digest, Sha1};

use crate::base::locked::Locked;
use crate::codec::resume::Witness;

/// The claims of a run. Clones share the same claims.
#[derive(Debug, Clone, Default)]
pub struct Claims(Arc<Locked<Table>>);

/// The torrents of the run by number, and the users of each file.
#[derive(Debug, Default)]
struct Table {
    names: Vec<Arc<str>>,
    holders: BTreeMap<FileKey, Vec<Holder>>,
}

/// What identifies a file. Only the SHA-1 of a path is kept, because a torrent may have a hundred thousand files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum FileKey {
    Inode(u64, u64),
    Path([u8; 20]),
}

/// A torrent that uses a file, and whether it writes to it.
#[derive(Debug, Clone, Copy)]
struct Holder {
    torrent: usize,
    writes: bool,
}

/// The claims of one torrent. They end when it is dropped.
#[derive(Debug)]
pub struct Claimant {
    claims: Claims,
    number: usize,
}

/// Another torrent of the run uses the file. Holds the name of that torrent.
#[derive(Debug, PartialEq, Eq)]
pub struct TakenBy(pub String);

impl Claims {
    /// Adds a torrent, which claims nothing yet.
    pub fn join(&self, name: &str) -> Claimant {
        let mut table = self.0.lock();
        table.names.push(name.into());
        Claimant { claims: self.clone(), number: table.names.len() - 1 }
    }
}

impl Claimant {
    /// Claims a file by its path without links and by its witness. A claim to write stays until [`Self::ease`]; a claim
    /// to read does not change a claim to write.
    pub fn claim(&self, path: &Path, seen: Witness, writes: bool) -> Result<(), TakenBy> {
        let mut table = self.claims.0.lock();
        let keys = keys_of(path, seen);
        for key in keys.iter().flatten() {
            let others = table.holders.get(key).into_iter().flatten().filter(|holder| holder.torrent != self.number);
            if let Some(other) = others.into_iter().find(|other| writes || other.writes) {
                return Err(TakenBy(table.names[other.torrent].to_string()));
            }
        }
        for key in keys.into_iter().flatten() {
            let holders = table.holders.entry(key).or_default();
            match holders.iter_mut().find(|holder| holder.torrent == self.number) {
                Some(mine) => mine.writes |= writes,
                None => holders.push(Holder { torrent: self.number, writes }),
            }
        }
        Ok(())
    }

    /// Turns the torrent's claims to write into claims to read, because everything is written: other torrents may then
    /// read the files.
    pub fn ease(&self) {
        let mut table = self.claims.0.lock();
        let mine = table.holders.values_mut().flatten().filter(|holder| holder.torrent == self.number);
        mine.for_each(|holder| holder.writes = false);
    }
}

impl Drop for Claimant {
    fn drop(&mut self) {
        self.claims.0.lock().holders.retain(|_, holders| {
            holders.retain(|holder| holder.torrent != self.number);
            !holders.is_empty()
        });
    }
}

/// The keys of a file: its path, and its inode if the file exists.
fn keys_of(path: &Path, seen: Witness) -> [Option<FileKey>; 2] {
    let inode = (seen != Witness::default()).then_some(FileKey::Inode(seen.dev, seen.ino));
    [Some(FileKey::Path(Sha1::digest(path.as_os_str().as_encoded_bytes()).into())), inode]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inode(ino: u64) -> Witness {
        Witness { len: 1, dev: 1, ino, mtime_ns: 1 }
    }

    const NONE: Witness = Witness { len: 0, dev: 0, ino: 0, mtime_ns: 0 };

    #[test]
    fn many_may_read_a_file_and_one_may_write_it() {
        // Path, inode and `writes` of the first torrent; the same of the second; and whether the second is refused.
        let table = [
            (("/a/x", NONE, true), ("/a/x", NONE, true), true),
            (("/a/x", NONE, true), ("/a/y", NONE, true), false),
            (("/a/x", inode(1), true), ("/b/x", inode(1), true), true),
            (("/a/x", inode(1), true), ("/a/x", inode(2), false), true),
            (("/a/x", inode(1), false), ("/a/x", inode(1), true), true),
            (("/a/x", inode(1), true), ("/a/x", inode(1), false), true),
            (("/a/x", inode(1), false), ("/b/y", inode(1), false), false),
        ];
        for (first, second, is_refused) in table {
            let claims = Claims::default();
            let [one, other] = ["one", "other"].map(|name| claims.join(name));
            one.claim(Path::new(first.0), first.1, first.2).unwrap();
            let claimed = other.claim(Path::new(second.0), second.1, second.2);
            assert_eq!(claimed.err(), is_refused.then(|| TakenBy("one".to_owned())), "{first:?} {second:?}");
        }
    }

    #[test]
    fn a_file_made_later_is_known_by_its_inode_too() {
        let claims = Claims::default();
        let [one, other] = ["one", "other"].map(|name| claims.join(name));
        one.claim(Path::new("/a/x"), NONE, true).unwrap();
        one.claim(Path::new("/a/x"), inode(7), true).unwrap();
        assert!(other.claim(Path::new("/hard/link"), inode(7), false).is_err());
        one.ease();
        other.claim(Path::new("/hard/link"), inode(7), false).unwrap();
        assert!(one.claim(Path::new("/a/x"), inode(7), true).is_err(), "it is read by the other now");
        drop(other);
        one.claim(Path::new("/a/x"), inode(7), true).unwrap();
        drop(one);
        assert!(claims.0.lock().holders.is_empty());
    }
}

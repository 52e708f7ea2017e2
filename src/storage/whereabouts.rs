//! Finds the data of a torrent that is not in the given output folder. The output folder must be the folder that
//! *contains* the torrent's own folder or file, and a common mistake is to name the torrent's own folder.
//!
//! Compares names and lengths only. Reads no data and writes nothing.

use std::path::{Path, PathBuf};

use crate::codec::metainfo::Metainfo;

/// 1,000 entries of a folder are examined. Users with more entries in one folder know where their data is.
const MOST_ENTRIES: usize = 1000;

/// 10 files are enough to decide, and few enough to look for in a thousand folders.
const MOST_FILES: usize = 10;

/// The path of the torrent's own folder, or of its only file, if `dir` is the output folder.
pub fn place_in(dir: &Path, metainfo: &Metainfo) -> PathBuf {
    let first = metainfo.info.files.iter().find_map(|file| file.path.as_path().components().next());
    first.map_or_else(|| dir.to_path_buf(), |top| dir.join(top))
}

/// Whether a file of the torrent exists in this output folder.
pub fn is_anything_in(dir: &Path, metainfo: &Metainfo) -> bool {
    files_of(metainfo).any(|(path, _)| dir.join(path).symlink_metadata().is_ok())
}

/// The right output folder: the one above `dir`, or one in it. `None` if neither has the data.
pub fn find_near(dir: &Path, metainfo: &Metainfo) -> Option<PathBuf> {
    let above = parent_of(dir);
    let inside = std::fs::read_dir(dir).into_iter().flatten().take(MOST_ENTRIES).filter_map(Result::ok);
    let inside = inside.filter(|entry| entry.path().is_dir()).map(|entry| entry.path());
    above.into_iter().chain(inside).find(|candidate| is_in(candidate, metainfo))
}

/// The parent folder in a short form: `.` for `x`, `..` for `.`.
fn parent_of(dir: &Path) -> Option<PathBuf> {
    let absolute = dir.canonicalize().ok()?;
    let above = absolute.parent()?;
    let written = match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_path_buf(),
        None => return Some(above.to_path_buf()),
    };
    let is_same = written.canonicalize().is_ok_and(|written| written == above);
    Some(if is_same { written } else { above.to_path_buf() })
}

/// Whether every file that is looked for exists with its length.
fn is_in(dir: &Path, metainfo: &Metainfo) -> bool {
    let mut files = files_of(metainfo).filter(|(_, len)| *len > 0).take(MOST_FILES).peekable();
    let has_any = files.peek().is_some();
    let is_there =
        |(path, len): (&Path, u64)| dir.join(path).metadata().is_ok_and(|found| found.is_file() && found.len() == len);
    has_any && files.all(is_there)
}

/// The torrent's files on the disk, with their lengths.
fn files_of(metainfo: &Metainfo) -> impl Iterator<Item = (&Path, u64)> {
    metainfo.info.files.iter().filter(|file| !file.padding).map(|file| (file.path.as_path(), file.len))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A torrent of `album/a` with three bytes and `album/sub/b` with two.
    fn album() -> Metainfo {
        let files = "d6:lengthi3e4:pathl1:aeed6:lengthi2e4:pathl3:sub1:bee";
        let info = format!("d5:filesl{files}e4:name5:album12:piece lengthi16384e6:pieces20:{}e", "x".repeat(20));
        Metainfo::parse(format!("d4:info{info}e").as_bytes()).unwrap()
    }

    #[test]
    fn data_is_found_one_folder_above_and_one_below() {
        let root = tempfile::tempdir().unwrap();
        let (home, album) = (root.path().join("home"), album());
        let write = |path: &str, text: &str| {
            let path = home.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("album/a", "aaa");
        write("album/sub/b", "bb");
        std::fs::create_dir_all(home.join("empty")).unwrap();
        for (dir, near) in [("album", Some("")), ("empty", Some("")), ("album/sub", None), ("..", Some("home"))] {
            let near = near.map(|near| if near == "home" { home.join("../home") } else { home.join(near) });
            let found = find_near(&home.join(dir), &album);
            let same = |path: &PathBuf| path.canonicalize().unwrap();
            assert_eq!(found.as_ref().map(same), near.as_ref().map(same), "{dir}: {found:?}");
        }
        assert!(is_anything_in(&home, &album) && !is_anything_in(&home.join("album"), &album));
        assert_eq!(place_in(Path::new("x"), &album), Path::new("x/album"));
        write("album/sub/b", "too long");
        assert_eq!(find_near(&home.join("album"), &album), None, "another version is not what was looked for");
    }
}

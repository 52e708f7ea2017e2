//! Bytes to fetch, the same for the same seed, and the comparison of every one of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// Writes `len` bytes that do not compress and do not repeat, and makes the folders above.
pub(crate) fn write_file(path: &Path, len: u64, seed: u64) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut chunk = [0; 8 * 1024];
    let mut left = len;
    while left > 0 {
        for word in chunk.chunks_exact_mut(8) {
            // xorshift64*: fast, and no two blocks of any payload are alike.
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            word.copy_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
        }
        let take = left.min(chunk.len() as u64);
        file.write_all(&chunk[..usize::try_from(take).unwrap()]).unwrap();
        left -= take;
    }
    file.flush().unwrap();
}

/// Writes one file per entry below `root`.
pub(crate) fn write_tree(root: &Path, files: &[(&str, u64)]) {
    for (number, (name, len)) in files.iter().enumerate() {
        write_file(&root.join(name), *len, number as u64 + 1);
    }
}

/// Fails unless both hold the same files with the same bytes, below a folder or as one file. The client's own state
/// (`.tt-actors`) is not looked at. Empty folders do not count: torrents cannot name them.
pub(crate) fn assert_same(want: &Path, got: &Path) {
    if want.is_file() {
        assert_same_bytes(want, got);
        return;
    }
    let (wanted, found) = (files_below(want), files_below(got));
    let missing: Vec<_> = wanted.keys().filter(|name| !found.contains_key(*name)).collect();
    let added: Vec<_> = found.keys().filter(|name| !wanted.contains_key(*name)).collect();
    assert!(
        missing.is_empty() && added.is_empty(),
        "missing {missing:?}, nobody asked for {added:?} in {}",
        got.display()
    );
    for (name, path) in &wanted {
        assert_same_bytes(path, &found[name]);
    }
}

/// Every regular file below a folder, by its path inside, without the client's state.
pub(crate) fn files_below(root: &Path) -> BTreeMap<PathBuf, PathBuf> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.file_name().is_some_and(|name| name == ".tt-actors") {
                continue;
            }
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_owned(), path);
            }
        }
    }
    found
}

fn assert_same_bytes(want: &Path, got: &Path) {
    let open = |path: &Path| {
        let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(!path.is_symlink(), "{} is a symbolic link", path.display());
        let len = file.metadata().unwrap().len();
        (BufReader::with_capacity(1 << 20, file), len)
    };
    let ((mut wanted, want_len), (mut found, got_len)) = (open(want), open(got));
    assert_eq!(got_len, want_len, "length of {}", got.display());
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut at = 0;
    while at < want_len {
        let step = usize::try_from((want_len - at).min(1 << 20)).unwrap();
        wanted.read_exact(&mut left[..step]).unwrap();
        found.read_exact(&mut right[..step]).unwrap();
        if left[..step] != right[..step] {
            let first = left.iter().zip(&right).position(|(a, b)| a != b).unwrap() as u64;
            panic!("{} differs from byte {}", got.display(), at + first);
        }
        at += step as u64;
    }
}

/// Overwrites bytes of a file in place, as a decaying disk does.
pub(crate) fn spoil(path: &Path, at: u64, len: usize) {
    use std::os::unix::fs::FileExt;
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, at).unwrap();
    for byte in &mut bytes {
        *byte ^= 0x5a;
    }
    file.write_all_at(&bytes, at).unwrap();
}

//! Disks that are full, read-only or not what they seem, with real mounts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::payload::{assert_same, files_below, write_file};
use crate::support::peers::Seed;
use crate::support::torrents::{Maker, Torrent, run};
use crate::support::{Fetch, Lab, Needs};

const MIB: u64 = 1 << 20;

/// Puts a link to the canary into a destination.
type Plant = fn(&Path, &Path);

/// A tmpfs of its own, unmounted at the end.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    fn mount(lab: &Lab, size: u64) -> Self {
        let path = lab.folder("disk");
        let option = format!("size={size}");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &option, "tt-actors-test"]).arg(&path));
        Self { path }
    }

    fn remount(&self, options: &str) {
        run(Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.path));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a client that a failed test leaves behind may still hold it.
        drop(Command::new("umount").arg("-l").arg(&self.path).status());
    }
}

fn swarm(lab: &Lab, bytes: u64) -> (Torrent, Seed) {
    let source = lab.at("source/large.bin");
    write_file(&source, bytes, 31);
    let torrent = Maker::of(&source).piece_length(256 * 1024).make(lab);
    let seed = Seed::libtorrent(&torrent);
    (torrent, seed)
}

/// D-01 and D-02: the state shares the full disk. What was written is kept, and no lie is told about the rest.
#[test]
fn a_full_disk_ends_with_nine_and_is_resumed_when_there_is_space() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent, Needs::Mount]) else { return };
    let (torrent, seed) = swarm(&lab, 24 * MIB + 321);
    let disk = SmallDisk::mount(&lab, 32 * MIB);
    let slow = Seed::slow_libtorrent(&torrent, 6 * MIB);
    let mut fetch = Fetch::new(&torrent.path, &disk.path).peer(slow.addr).start();
    fetch.wait_until_it_has(8 * MIB);
    // Another program fills the rest of the disk.
    disk.remount(&format!("size={}", 12 * MIB));
    let full = fetch.finish().expect_code(9);
    let error = full.result()["error"].as_str().unwrap();
    assert!(error.contains("disk full"), "the error says what: {error}");
    assert!(error.contains(&*disk.path.to_string_lossy()), "and where: {error}");
    assert_eq!(full.result()["exit_code"], 9);
    assert_eq!(full.number("panics"), 0);
    // Once more while it is full: no worse than before, and it is known before it begins.
    let again = Fetch::new(&torrent.path, &disk.path).peer(seed.addr).run().expect_code(9);
    let error = again.result()["error"].as_str().unwrap();
    assert!(error.contains("need ") && error.contains(" MiB more, "), "{error}");
    assert_eq!(again.number("bytes_downloaded"), 0);
    disk.remount(&format!("size={}", 64 * MIB));
    let outcome = Fetch::new(&torrent.path, &disk.path).peer(seed.addr).run().expect_complete();
    assert_same(&torrent.source, &torrent.inside(&disk.path));
    let fetched = outcome.number("bytes_downloaded");
    assert!(fetched <= torrent.bytes - 8 * MIB, "eight of twelve MiB at least were safe, {fetched} came again");
}

/// D-01: told to wait, it waits, says so, and goes on by itself.
#[test]
fn a_full_disk_is_waited_for_when_asked() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent, Needs::Mount]) else { return };
    let (torrent, seed) = swarm(&lab, 12 * MIB);
    let disk = SmallDisk::mount(&lab, 6 * MIB);
    let mut fetch = Fetch::new(&torrent.path, &disk.path).peer(seed.addr).args(&["--disk-full", "wait"]).start();
    fetch.wait_until_it_says("disk full");
    disk.remount(&format!("size={}", 64 * MIB));
    let outcome = fetch.finish().expect_complete();
    assert_same(&torrent.source, &torrent.inside(&disk.path));
    assert!(outcome.took < Duration::from_secs(60), "it looks again every 30 s");
}

/// D-08: the error of a read-only disk names it.
#[test]
fn a_read_only_disk_is_named() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent, Needs::Mount]) else { return };
    let (torrent, seed) = swarm(&lab, MIB);
    let disk = SmallDisk::mount(&lab, 8 * MIB);
    disk.remount("ro");
    let outcome = Fetch::new(&torrent.path, &disk.path).peer(seed.addr).run();
    assert!([15, 16, 17].contains(&outcome.code), "exit code {}: {}", outcome.code, outcome.stderr);
    let error = outcome.result()["error"].as_str().unwrap();
    assert!(error.contains(&*disk.path.to_string_lossy()), "the error says where: {error}");
    assert!(error.to_lowercase().contains("read-only"), "and what: {error}");
    assert_eq!(outcome.number("panics"), 0);
}

#[test]
fn a_folder_that_is_not_there_yet_is_made() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let (torrent, seed) = swarm(&lab, MIB);
    let dir = lab.at("not/there/yet");
    Fetch::new(&torrent.path, &dir).peer(seed.addr).run().expect_complete();
    assert_same(&torrent.source, &torrent.inside(&dir));
}

#[test]
fn a_file_in_the_place_of_the_folder_is_an_error_that_names_it() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let (torrent, seed) = swarm(&lab, MIB);
    let dir = lab.at("a-file");
    fs::write(&dir, "mine").unwrap();
    let outcome = Fetch::new(&torrent.path, &dir).peer(seed.addr).run();
    assert!([13, 15, 16, 17].contains(&outcome.code), "exit code {}: {}", outcome.code, outcome.stderr);
    assert!(outcome.result()["error"].as_str().unwrap().contains("a-file"), "{}", outcome.result());
    assert_eq!(fs::read(&dir).unwrap(), b"mine");
}

/// S-02: a symbolic link planted inside the destination leads nowhere, whether it stands for the file or its folder.
#[test]
fn a_planted_link_is_not_followed() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let source = lab.at("source/folder");
    write_file(&source.join("sub/inner.bin"), 300_000, 31);
    write_file(&source.join("outer.bin"), 300_000, 32);
    let torrent = Maker::of(&source).make(&lab);
    let seed = Seed::libtorrent(&torrent);
    let plants: [(&str, Plant); 3] = [
        ("file", |dir, canary| link(&canary.join("canary.txt"), &dir.join("folder/outer.bin"))),
        ("folder", |dir, canary| link(canary, &dir.join("folder/sub"))),
        ("top", |dir, canary| link(canary, &dir.join("folder"))),
    ];
    for (name, plant) in plants {
        let dir = lab.folder(&format!("out-{name}"));
        let canary = lab.folder(&format!("canary-{name}"));
        fs::write(canary.join("canary.txt"), "alive").unwrap();
        plant(&dir, &canary);
        for overwrite in [false, true] {
            let fetch = Fetch::new(&torrent.path, &dir).peer(seed.addr);
            let fetch = if overwrite { fetch.arg("--overwrite") } else { fetch };
            let outcome = fetch.run();
            assert!(overwrite || outcome.code != 0, "{name}: it wrote through a link, or over one");
            assert_eq!(fs::read(canary.join("canary.txt")).unwrap(), b"alive", "{name}");
            assert_eq!(files_below(&canary).len(), 1, "{name}: something was written behind the link");
        }
    }
}

fn link(target: &Path, at: &Path) {
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(target, at).unwrap();
}

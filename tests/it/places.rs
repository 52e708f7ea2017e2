//! Where the data lies and what may be done there: a wrong `-d`, links, state that is not needed, what `verify` says.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::Lab;
use crate::support::client::{Outcome, WATCHDOG, run, state_of, text, tt};
use crate::support::payload::{assert_same, files_below, spoil, write_tree};
use crate::support::ports::{free, local};
use crate::support::process::Process;

/// In pieces of 64 KiB; no border of a file is one of a piece.
const FILES: &[(&str, u64)] = &[
    ("box/day 1/dawn", 1_000_000),
    ("box/day 1/noon", 300_001),
    ("box/empty", 0),
    ("box/notes", 777),
    ("box/zenith", 500_000),
];

/// A torrent of our own making, and its data below `home`.
struct Bench {
    lab: Lab,
    home: PathBuf,
    torrent: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let lab = Lab::new();
        let (home, torrent) = (lab.folder("home"), lab.at("box.torrent"));
        write_tree(&home, FILES);
        let data = home.join("box");
        let create = ["create", text(&data), "-o", text(&torrent), "--piece-length", "64K"];
        run(&create).expect_code(0);
        Self { lab, home, torrent }
    }

    fn seed(&self, dir: &Path) -> (Process, u16) {
        let port = free();
        let shown = port.to_string();
        let line = ["seed", text(&self.torrent), "-d", text(dir), "--port", &shown, "--json"];
        let mut seed = Process::start("tt-actors seed", tt().args(line));
        seed.wait_for("that it seeds", WATCHDOG, |line| line.contains(r#""phase":"seeding""#).then_some(()));
        (seed, port)
    }

    /// Fetches from a seed of ours.
    fn fetch(&self, dir: &Path, options: &[&str]) -> Outcome {
        let (seed, port) = self.seed(&self.home);
        let outcome = self.fetch_from(Some(port), dir, options);
        seed.signal(Signal::INT);
        assert_eq!(seed.finish(WATCHDOG).code(), 0);
        outcome
    }

    fn fetch_from(&self, port: Option<u16>, dir: &Path, options: &[&str]) -> Outcome {
        let mut line = vec!["fetch".to_owned(), text(&self.torrent).to_owned(), "-d".to_owned(), text(dir).to_owned()];
        line.extend(["--json", "--port", &free().to_string()].map(str::to_owned));
        line.extend(port.iter().flat_map(|port| ["--peer".to_owned(), local(*port).to_string()]));
        line.extend(options.iter().map(ToString::to_string));
        run(&line)
    }

    fn verify(&self, dir: &Path, options: &[&str]) -> Verified {
        let outcome = run(&[&["verify", text(&self.torrent), "-d", text(dir), "--json"], options].concat());
        let files = outcome.events.iter().filter(|event| event["event"] == "file");
        let files = files.map(|file| {
            let path = file["path"].as_str().unwrap().trim_start_matches("box/").to_owned();
            (path, file["state"].as_str().unwrap().to_owned(), file["fault"].as_str().unwrap_or_default().to_owned())
        });
        Verified { files: files.collect(), result: outcome.result().clone(), outcome }
    }
}

struct Verified {
    files: Vec<(String, String, String)>,
    result: Value,
    outcome: Outcome,
}

impl Verified {
    /// The files that are in this state.
    fn in_state(&self, state: &str) -> Vec<&str> {
        self.files.iter().filter(|file| file.1 == state).map(|file| file.0.as_str()).collect()
    }

    fn fault(&self, path: &str) -> &str {
        &self.files.iter().find(|file| file.0 == path).unwrap().2
    }
}

fn entries(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

/// The usual mistake: the torrent's own folder instead of the one that contains it.
#[test]
fn a_wrong_folder_is_answered_with_the_right_one_and_left_as_it_was() {
    let bench = Bench::new();
    let elsewhere = bench.lab.folder("elsewhere");
    let right = format!("-d {}", text(&bench.home));
    for (dir, hint) in [(bench.home.join("box"), Some(&right)), (elsewhere.clone(), None)] {
        let before = files_below(&dir).len();
        for verb in ["seed", "verify"] {
            let refused = run(&[verb, text(&bench.torrent), "-d", text(&dir)]).expect_code(32);
            let place = dir.join("box");
            let says = format!("nothing of it is in {}; -d must name the folder that contains box", text(&place));
            assert!(refused.stderr.contains(&says), "{verb}: {}", refused.stderr);
            assert!(hint.is_none_or(|hint| refused.stderr.contains(hint)), "{verb}: {}", refused.stderr);
            assert!(!state_of(&dir).exists() && files_below(&dir).len() == before, "{verb} left something");
        }
    }
    let nowhere = bench.lab.at("nowhere");
    run(&["seed", text(&bench.torrent), "-d", text(&nowhere)]).expect_code(3);
    assert!(!nowhere.exists(), "seed makes no folder");
    let file = bench.home.join("box/notes");
    for verb in ["seed", "verify", "fetch"] {
        let refused = run(&[verb, text(&bench.torrent), "-d", text(&file)]).expect_code(15);
        assert!(refused.stderr.contains("notes is a file; -d must name"), "{verb}: {}", refused.stderr);
    }
}

/// A refused fetch leaves the folder as it was, too.
#[test]
fn a_refused_fetch_leaves_no_state() {
    let bench = Bench::new();
    let dir = bench.lab.folder("out");
    fs::create_dir(dir.join("box")).unwrap();
    fs::write(dir.join("box/zenith"), "a thesis").unwrap();
    bench.fetch_from(None, &dir, &[]).expect_code(13);
    assert_eq!((entries(&dir), entries(&dir.join("box"))), (1, 1));
    fs::remove_file(dir.join("box/zenith")).unwrap();
    bench.fetch_from(None, &bench.lab.at("out2"), &["--stall-timeout", "1s", "--select-file", "1"]).expect_code(5);
    assert_eq!(entries(&bench.lab.at("out2")), 0, "nothing came to be");
}

#[test]
fn state_stays_as_long_as_it_is_needed_or_asked_for() {
    let bench = Bench::new();
    let dir = bench.lab.folder("out");
    bench.fetch(&dir, &[]).expect_complete();
    assert!(!state_of(&dir).exists(), "complete, and not seeded");
    assert_same(&bench.home.join("box"), &dir.join("box"));
    let again = bench.fetch_from(None, &dir, &["--keep-state"]).expect_complete();
    assert!(again.number("bytes_checked") > 0 && again.number("bytes_downloaded") == 0, "{}", again.result());
    let trusted = bench.fetch_from(None, &dir, &["--keep-state"]).expect_complete();
    assert_eq!(trusted.number("bytes_checked"), 0);
    bench.fetch_from(None, &dir, &["--seed-time", "0s"]).expect_complete();
    assert!(!state_of(&dir).exists(), "seeded for as long as was asked");
    let (seed, _) = bench.seed(&dir);
    seed.signal(Signal::INT);
    assert_eq!(seed.finish(WATCHDOG).code(), 0);
    let left: Vec<_> = fs::read_dir(state_of(&dir)).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.iter().any(|path| path.extension().unwrap() == "resume"), "interrupted seeding goes on: {left:?}");
    assert!(!left.iter().any(|path| path.extension().unwrap() == "lock"), "{left:?}");
}

/// S-02: links are not followed to write data. They are followed to read it, as in other clients.
#[test]
fn data_behind_links_is_seeded_verified_and_complete() {
    let bench = Bench::new();
    let annex = bench.lab.folder("annex");
    fs::rename(bench.home.join("box/zenith"), annex.join("SHA1--zenith")).unwrap();
    std::os::unix::fs::symlink(annex.join("SHA1--zenith"), bench.home.join("box/zenith")).unwrap();
    fs::rename(bench.home.join("box/day 1"), annex.join("day")).unwrap();
    std::os::unix::fs::symlink("../../annex/day", bench.home.join("box/day 1")).unwrap();
    assert_eq!(bench.verify(&bench.home, &[]).outcome.code, 0);
    let checked = bench.fetch_from(None, &bench.home, &[]).expect_complete();
    assert_eq!(checked.number("bytes_downloaded"), 0);
    let out = bench.lab.folder("out");
    bench.fetch(&out, &[]).expect_complete();
    for (path, _) in FILES {
        assert!(fs::read(bench.home.join(path)).unwrap() == fs::read(out.join(path)).unwrap(), "{path}");
    }
    // The folder that is named may itself be a link.
    let link = bench.lab.at("link");
    std::os::unix::fs::symlink(&out, &link).unwrap();
    bench.fetch_from(None, &link, &[]).expect_complete();
    // What is damaged there is not mended through the link.
    let target = annex.join("SHA1--zenith");
    spoil(&target, 1000, 10);
    let before = fs::read(&target).unwrap();
    let (seed, port) = bench.seed(&out);
    let refused = bench.fetch_from(Some(port), &bench.home, &[]).expect_code(15);
    let error = refused.result()["error"].as_str().unwrap();
    assert!(error.contains("symbolic link"), "{error}");
    assert!(fs::read(&target).unwrap() == before);
    seed.signal(Signal::INT);
    seed.finish(WATCHDOG);
}

/// A fetch of one file, then all the things that can be wrong with what is there.
#[test]
fn verify_tells_missing_from_damaged() {
    let bench = Bench::new();
    let dir = bench.lab.folder("out");
    bench.fetch(&dir, &["--select-file", "2"]).expect_complete();
    let part = bench.verify(&dir, &[]);
    assert_eq!((part.outcome.code, &part.result["status"]), (32, &"incomplete".into()));
    assert_eq!((part.in_state("ok"), part.in_state("damaged")), (vec!["day 1/noon"], vec![]), "{:?}", part.files);
    assert_eq!(part.fault("zenith"), "is not there");
    assert_eq!(bench.verify(&dir, &["--select-file", "2"]).outcome.code, 0);

    let dir = bench.lab.folder("whole");
    bench.fetch(&dir, &[]).expect_complete();
    assert_eq!(bench.verify(&dir, &[]).result["status"], "complete");
    spoil(&dir.join("box/day 1/dawn"), 200_000, 10);
    let damaged = bench.verify(&dir, &[]);
    assert_eq!((damaged.outcome.code, &damaged.result["status"]), (32, &"damaged".into()));
    assert_eq!(damaged.in_state("damaged"), ["day 1/dawn"], "{:?}", damaged.files);
    assert_eq!(damaged.result["damaged_pieces"], serde_json::json!([3]));
    assert_eq!(damaged.fault("day 1/dawn"), "has damage in 1 of 16 pieces");

    bench.fetch(&dir, &[]).expect_complete();
    let longer = fs::File::options().append(true).open(dir.join("box/zenith")).unwrap();
    longer.set_len(500_005).unwrap();
    let long = bench.verify(&dir, &[]);
    assert_eq!((long.outcome.code, long.in_state("damaged")), (32, vec!["zenith"]));
    assert_eq!(long.fault("zenith"), "is 500005 bytes long, should be 500000");
    let stdout = run(&["verify", text(&bench.torrent), "-d", text(&dir)]).expect_code(32).stdout;
    assert!(stdout.contains("damaged    box/zenith is 500005 bytes long, should be 500000"), "{stdout}");
    assert!(stdout.contains("pieces are right, but box/zenith is 500005 bytes long"), "{stdout}");
}

/// A download that is under way: nothing of it is called damaged, and whose it is is told.
#[test]
fn verify_of_a_running_download_says_who_is_at_work() {
    let bench = Bench::new();
    let dir = bench.lab.folder("out");
    let (seed, port) = bench.seed(&bench.home);
    let line = ["fetch", text(&bench.torrent), "-d", text(&dir), "--json", "--max-download-limit", "300K"];
    let mut slow = tt();
    slow.args(line).args(["--peer", &local(port).to_string(), "--port", &free().to_string()]);
    let mut slow = Process::start("tt-actors fetch", &mut slow);
    slow.wait_for("a part", WATCHDOG, |line| {
        let event: Value = serde_json::from_str(line).ok()?;
        (event["event"] == "progress" && event["bytes_have"].as_u64()? >= 300_000).then_some(())
    });
    let seen = bench.verify(&dir, &[]);
    assert_eq!((seen.outcome.code, &seen.result["status"]), (32, &"incomplete".into()), "{:?}", seen.files);
    assert_eq!(seen.in_state("damaged"), [""; 0], "{:?}", seen.files);
    let at_work = seen.outcome.events.iter().find(|event| event["event"] == "at_work").unwrap();
    assert_eq!(at_work["process"], slow.pid().to_string());
    assert!(seen.outcome.stderr.contains(&format!("(process {}) is at work", slow.pid())), "{}", seen.outcome.stderr);
    slow.signal(Signal::INT);
    assert_eq!(slow.finish(WATCHDOG).code(), 7, "a look does not disturb it");
    let left = bench.verify(&dir, &[]);
    assert!(left.in_state("damaged").is_empty() && left.outcome.code == 32, "{:?}", left.files);
    seed.signal(Signal::INT);
    seed.finish(WATCHDOG);
}

//! `create` beside what libtorrent makes of the same data, and as a script sees it (W-26).

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use tt_actors::codec::bencode::raw_value;

use crate::support::client::{Outcome, WATCHDOG, run, text, tt};
use crate::support::payload::{assert_same, files_below, write_file, write_tree};
use crate::support::peers::Seed;
use crate::support::process::Process;
use crate::support::torrents::{self, Maker, Torrent};
use crate::support::{Fetch, Lab, Needs};

const MIXED: &[(&str, u64)] = &[
    ("album/01 – Ouvertüre.flac", 300_001),
    ("album/empty", 0),
    ("album/кириллица/файл.txt", 17),
    ("album/deep/er/and/deeper/one.byte", 1),
    ("album/.hidden/.file", 4096),
    ("album/a-b", 10),
    ("album/a.txt", 20),
    ("album/a/x", 65_536),
    ("album/z/last.bin", 99_999),
];

/// Runs `create` of this into the lab.
fn create(lab: &Lab, source: &Path, args: &[&str]) -> (PathBuf, Outcome) {
    let path = lab.at("made.torrent");
    let mut line = vec!["create", text(source), "-o", text(&path), "--overwrite", "--json"];
    line.extend(args);
    let outcome = run(&line).expect_code(0);
    (path, outcome)
}

fn info_of(path: &Path) -> Vec<u8> {
    raw_value(&std::fs::read(path).unwrap(), b"info").unwrap().to_vec()
}

/// The `info` of both is the same, byte for byte, and so is what is said of it.
fn same_as_libtorrents(lab: &Lab, source: &Path, args: &[&str], maker: Maker<'_>) {
    let (ours, outcome) = create(lab, source, args);
    let theirs = maker.switch("--sorted").make(lab);
    let (left, right) = (info_of(&ours), info_of(&theirs.path));
    let shown = |info: &[u8]| info[..info.len().min(600)].escape_ascii().to_string();
    assert!(left == right, "{}\nours   {}\ntheirs {}", source.display(), shown(&left), shown(&right));
    let result = outcome.result();
    assert_eq!(result["info_hash"], theirs.info_hash.as_str());
    for (field, want) in [
        ("bytes_total", theirs.bytes),
        ("pieces", theirs.pieces),
        ("piece_length", theirs.piece_length),
        ("files", theirs.files),
    ] {
        assert_eq!(outcome.number(field), want, "{field} in {result}");
    }
    assert!(result["magnet"].as_str().unwrap().starts_with(&format!("magnet:?xt=urn:btih:{}", theirs.info_hash)));
}

#[test]
fn single_files_are_libtorrents_to_the_byte() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    for bytes in [1, 16_383, 16_384, 16_385, 1_000_003] {
        let source = lab.at("source/odd.bin");
        write_file(&source, bytes, bytes);
        same_as_libtorrents(&lab, &source, &[], Maker::of(&source));
    }
    let source = lab.at("source/run me");
    write_file(&source, 100_000, 1);
    std::fs::set_permissions(&source, std::fs::Permissions::from_mode(0o755)).unwrap();
    same_as_libtorrents(&lab, &source, &[], Maker::of(&source));
}

#[test]
fn folders_are_libtorrents_to_the_byte() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let source = lab.at("source");
    write_tree(&source, MIXED);
    let album = source.join("album");
    symlink("z", album.join("link to a folder")).unwrap();
    symlink("a/x", album.join("link to a file")).unwrap();
    std::fs::set_permissions(album.join("a.txt"), std::fs::Permissions::from_mode(0o744)).unwrap();
    same_as_libtorrents(&lab, &album, &[], Maker::of(&album));
    let wanted = ["--private", "--piece-length", "32K", "--source", "a tracker's own"];
    let maker = Maker::of(&album).switch("--private").piece_length(32 * 1024).switch("--source=a tracker's own");
    same_as_libtorrents(&lab, &album, &wanted, maker);
    let one = lab.at("source/one");
    write_tree(&one, &[("file", 20_000)]);
    same_as_libtorrents(&lab, &one, &[], Maker::of(&one));
}

#[test]
fn a_thousand_files_are_libtorrents_to_the_byte() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let source = lab.at("source/thousand");
    for number in 0..1000 {
        write_file(&source.join(format!("d{}/f{number}.bin", number % 10)), number * 13, number);
    }
    same_as_libtorrents(&lab, &source, &[], Maker::of(&source));
}

/// On both sides of the borders that can be tried without much data; the rest is a table of `base::geometry`.
#[test]
fn the_piece_length_is_chosen_as_libtorrent_chooses_it() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    for bytes in [2_684_355, 2_684_356, 10_737_418, 10_737_419, 42_949_673, 42_949_674] {
        let source = lab.at("source/sparse.bin");
        write_file(&source, 0, 1);
        std::fs::File::options().write(true).open(&source).unwrap().set_len(bytes).unwrap();
        same_as_libtorrents(&lab, &source, &[], Maker::of(&source));
    }
}

/// Everything around `info`, as others read it.
#[test]
fn other_clients_read_what_was_asked_for() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent, Needs::Aria2, Needs::TransmissionCreate]) else { return };
    let source = lab.at("source");
    write_tree(&source, MIXED);
    let tiers = ["-a", "http://one/announce,udp://two:6969", "--announce", "http://three/announce"];
    let rest = ["--comment", "für alle", "--web-seed", "http://mirror/dir/", "--private", "--creation-date", "86400"];
    let (path, outcome) = create(&lab, &source.join("album"), &[&tiers[..], &rest[..]].concat());
    let hash = outcome.result()["info_hash"].as_str().unwrap().to_owned();
    assert_eq!(Torrent::read(path.clone(), &source).info_hash, hash);
    let aria2 = torrents::run(Command::new("aria2c").arg("-S").arg(&path));
    let transmission = torrents::run(Command::new("transmission-show").arg(&path));
    for wanted in [&hash, "http://one/announce", "udp://two:6969", "http://three/announce", "für alle", "last.bin"] {
        assert!(aria2.contains(wanted), "{wanted} in {aria2}");
        assert!(transmission.contains(wanted), "{wanted} in {transmission}");
    }
    for wanted in ["Tier #2", "Private torrent", "http://mirror/dir/", "Jan  2 00:00:00 1970"] {
        assert!(transmission.contains(wanted), "{wanted} in {transmission}");
    }
    let info = run(&["info", text(&path), "--json"]).expect_code(0);
    let trackers = serde_json::json!([["http://one/announce", "udp://two:6969"], ["http://three/announce"]]);
    assert_eq!(info.result()["trackers"], trackers);
    assert_eq!(info.result()["warnings"], serde_json::json!([]));
}

#[test]
fn what_we_make_arrives_from_a_foreign_seed() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let source = lab.at("source");
    write_tree(&source, MIXED);
    let (path, _) = create(&lab, &source.join("album"), &[]);
    let torrent = Torrent::read(path, &source.join("album"));
    let seed = Seed::libtorrent(&torrent);
    let dir = lab.folder("out");
    Fetch::new(&torrent.path, &dir).peer(seed.addr).run().expect_complete();
    assert_same(&torrent.source, &torrent.inside(&dir));
    run(&["verify", text(&torrent.path), "--dir", text(&source)]).expect_code(0);
}

/// Whatever the order in which the files came into being, and wherever they are.
#[test]
fn the_same_data_makes_the_same_torrent() {
    let lab = Lab::new();
    let args = ["-a", "http://t/announce", "--comment", "x"];
    let mut made = Vec::new();
    for (place, order) in [("one", [0, 1, 2]), ("two", [2, 0, 1])] {
        let source = lab.at(place).join("box");
        for number in order {
            write_file(&source.join(format!("{number}/file")), 30_000 + number, number);
        }
        made.push(std::fs::read(create(&lab, &source, &args).0).unwrap());
    }
    assert_eq!(made[0], made[1]);
    assert!(raw_value(&made[0], b"creation date").is_none());
}

/// The torrent may lie in its own folder; it is never part of itself, and never lost by accident.
#[test]
fn the_torrent_is_not_in_itself_and_replaces_nothing_unasked() {
    let lab = Lab::new();
    let source = lab.at("box");
    write_tree(&source, &[("a", 50_000), ("b", 1)]);
    let inside = source.join("box.torrent");
    let line = ["create", text(&source), "-o", text(&inside)];
    run(&line).expect_code(0);
    let first = std::fs::read(&inside).unwrap();
    let refused = run(&line).expect_code(13);
    assert!(refused.stderr.contains("box.torrent") && refused.stderr.contains("--overwrite"), "{}", refused.stderr);
    run(&[&line[..], &["--overwrite"]].concat()).expect_code(0);
    assert_eq!(std::fs::read(&inside).unwrap(), first);
    assert_eq!(files_below(&source).len(), 3, "nothing else is left in the folder");
    let itself = run(&["create", text(&inside), "-o", text(&inside), "--overwrite"]).expect_code(13);
    assert!(itself.stderr.contains("-o"), "{}", itself.stderr);
    assert_eq!(std::fs::read(&inside).unwrap(), first);
}

#[test]
fn without_a_name_it_is_called_after_what_it_is_of() {
    let lab = Lab::new();
    write_tree(&lab.at("box"), &[("a", 5)]);
    for (place, of) in [("one", "../box"), ("two", "../box/.")] {
        let folder = lab.folder(place);
        let made = Process::start("create", tt().current_dir(&folder).args(["create", of])).finish(WATCHDOG);
        assert_eq!(made.code(), 0, "{made:?}");
        assert!(folder.join("box.torrent").is_file());
    }
}

#[test]
fn what_cannot_be_shared_says_why() {
    let lab = Lab::new();
    let place = |name: &str, file: &[u8]| {
        let folder = lab.at(name);
        write_file(&folder.join("fine"), 5, 1);
        std::fs::write(folder.join(std::ffi::OsStr::from_bytes(file)), "x").unwrap();
        folder
    };
    let dangling = place("dangling", b"a");
    symlink("nowhere", dangling.join("link")).unwrap();
    let round = place("round", b"a");
    symlink("..", round.join("up")).unwrap();
    let table = [
        (lab.at("absent"), 3, "absent"),
        (dangling.clone(), 15, "leads nowhere"),
        (round, 15, "up"),
        (place("latin", b"caf\xe9"), 15, "UTF-8"),
        (place("padding", b"_____padding_file_0"), 26, "rename"),
        (lab.folder("empty"), 26, "no data"),
        (PathBuf::from("/dev/null"), 15, "neither"),
        (PathBuf::from("/"), 15, "no name"),
    ];
    for (source, code, word) in table {
        let outcome = run(&["create", text(&source), "-o", text(&lab.at("x.torrent"))]).expect_code(code);
        assert!(outcome.stderr.contains(word), "{}: {}", source.display(), outcome.stderr);
        assert!(!lab.at("x.torrent").exists());
    }
    let out = lab.at("x.torrent");
    run(&["create", text(&dangling), "-o", text(&out), "--exclude", "li*"]).expect_code(0);
    let nowhere = lab.at("no/folder/x.torrent");
    run(&["create", text(&dangling), "-o", text(&nowhere), "--exclude", "link"]).expect_code(16);
    let good = ["create", text(&dangling), "-o", text(&out), "--overwrite", "--exclude", "link"];
    for wrong in
        [["-a", "tracker.example.org"], ["--web-seed", "udp://x"], ["--piece-length", "20K"], ["--exclude", "["]]
    {
        run(&[&good, &wrong[..]].concat()).expect_code(2);
    }
}

#[test]
fn what_is_no_file_is_left_out_with_a_word() {
    let lab = Lab::new();
    let source = lab.at("box");
    write_tree(&source, &[("a", 5)]);
    let _socket = std::os::unix::net::UnixListener::bind(source.join("socket")).unwrap();
    symlink("a", source.join("b")).unwrap();
    let (_, outcome) = create(&lab, &source, &[]);
    assert_eq!(outcome.number("files"), 2);
    assert!(outcome.stderr.contains("socket") && outcome.stderr.contains("symbolic link"), "{}", outcome.stderr);
}

/// Stopped in the middle it leaves nothing, and says so.
#[test]
fn a_stop_leaves_nothing_behind() {
    let lab = Lab::new();
    let source = lab.at("source/huge.bin");
    write_file(&source, 0, 1);
    // Holes of a terabyte: more than any machine hashes before the signal.
    std::fs::File::options().write(true).open(&source).unwrap().set_len(1 << 40).unwrap();
    let out = lab.folder("out");
    for signal in [Signal::INT, Signal::TERM] {
        let mut command = tt();
        command.args(["create", text(&source), "-o", text(&out.join("huge.torrent")), "--json"]);
        let mut process = Process::start("create", &mut command);
        process.wait_for("progress", WATCHDOG, |line| line.contains("\"progress\"").then_some(()));
        process.signal(signal);
        let finished = process.finish(WATCHDOG);
        assert_eq!(finished.code(), 7);
        assert!(finished.out.last().unwrap().contains("\"exit_code\":7"), "{:?}", finished.out);
        assert!(files_below(&out).is_empty());
    }
}

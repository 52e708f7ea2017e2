//! `--on-complete`: the user's program, as Transmission would run it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::support::client::{run, text};
use crate::support::payload::write_file;
use crate::support::peers::Seed;
use crate::support::torrents::{Maker, Torrent};
use crate::support::{Fetch, Lab, Needs};

fn script(lab: &Lab, body: &str) -> PathBuf {
    let path = lab.at("script");
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn torrent(lab: &Lab) -> Torrent {
    let source = lab.at("source/some; name $(x).bin");
    write_file(&source, 300_000, 7);
    Maker::of(&source).make(lab)
}

/// What the script has written into the lab, without the date.
fn said(lab: &Lab) -> String {
    std::fs::read_to_string(lab.at("said")).unwrap_or_default()
}

fn saying(lab: &Lab) -> String {
    let file = lab.at("said");
    format!(r#"env | grep ^TR_ | sort >> "{0}"; printf '%s\n' "$#" "$@" >> "{0}"; echo noise"#, file.display())
}

#[test]
fn the_program_learns_what_transmissions_scripts_learn() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let torrent = torrent(&lab);
    let seed = Seed::libtorrent(&torrent);
    let dir = lab.folder("out");
    let program = script(&lab, &saying(&lab));
    let fetch = Fetch::new(&torrent.path, &dir).peer(seed.addr).args(&["--on-complete"]).arg(&program);
    let outcome = fetch.args(&["--json", "two words", "$HOME", ";", "--max-peers", "5"]).run().expect_complete();
    let said = said(&lab);
    let lines: Vec<_> = said.lines().collect();
    let value = |name: &str| {
        let line = lines.iter().find_map(|line| line.strip_prefix(&format!("{name}=")));
        line.unwrap_or_else(|| panic!("no {name} in {said}")).to_owned()
    };
    assert_eq!(value("TR_TORRENT_NAME"), torrent.name);
    assert_eq!(value("TR_TORRENT_HASH"), torrent.info_hash);
    assert_eq!(Path::new(&value("TR_TORRENT_DIR")), dir);
    assert_eq!(value("TR_TORRENT_BYTES_DOWNLOADED"), outcome.number("bytes_downloaded").to_string());
    assert_eq!(value("TR_TORRENT_ID"), "1");
    assert_eq!(value("TR_APP_VERSION"), env!("CARGO_PKG_VERSION"));
    let time = value("TR_TIME_LOCALTIME");
    assert!(time.len() == 24 && time.as_bytes()[13] == b':', "like `Wed Jun 30 21:49:08 1993`: {time}");
    assert_eq!(lines[lines.len() - 4..], ["3", "--json", "two words", "$HOME"]);
    assert!(!outcome.stdout.contains("noise") && outcome.stderr.contains("noise"));
}

/// Once, when it is complete, and not again when seeding ends; a stop does not wait for it.
#[test]
fn it_is_run_once_though_seeding_goes_on() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let torrent = torrent(&lab);
    let seed = Seed::libtorrent(&torrent);
    let dir = lab.folder("out");
    let program = script(&lab, &format!("{}; echo has run >&2", saying(&lab)));
    let fetch = Fetch::new(&torrent.path, &dir).peer(seed.addr).args(&["--seed", "--on-complete"]).arg(&program);
    let mut fetch = fetch.start();
    fetch.wait_until_it_says("has run");
    fetch.signal(Signal::INT);
    fetch.finish().expect_code(0);
    assert_eq!(said(&lab).matches("TR_TORRENT_ID=").count(), 1);
}

#[test]
fn its_failure_is_a_warning() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let torrent = torrent(&lab);
    let seed = Seed::libtorrent(&torrent);
    for (body, field, number) in [("exit 3", "code", 3), ("kill -9 $$", "signal", 9)] {
        let program = script(&lab, body);
        let fetch =
            Fetch::new(&torrent.path, &lab.folder("out")).peer(seed.addr).args(&["--on-complete"]).arg(&program);
        let outcome = fetch.run().expect_complete();
        let warnings = outcome.logged("program for a complete torrent has failed");
        assert_eq!(warnings.len(), 1, "{}", outcome.stderr);
        assert_eq!(warnings[0].number(field), number);
    }
}

#[test]
fn a_program_that_is_not_there_is_told_before_anything_is_fetched() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let torrent = torrent(&lab);
    let plain = lab.at("source");
    for (program, code) in [("tt-actors-no-such-program", 3), (text(&lab.at("absent")), 3), (text(&plain), 3)] {
        let dir = lab.folder("out");
        let refused =
            run(&["fetch", text(&torrent.path), "-d", text(&dir), "--on-complete", program]).expect_code(code);
        assert!(refused.stderr.contains("--on-complete"), "{}", refused.stderr);
        assert!(std::fs::read_dir(&dir).unwrap().next().is_none());
    }
}

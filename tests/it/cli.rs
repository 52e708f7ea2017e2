//! The command line as a script sees it: exit codes, JSON, names that mean harm, plain output without a terminal.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use sha1::{Digest, Sha1};

use crate::support::client::{WATCHDOG, run, text, tt};
use crate::support::payload::{assert_same, write_file, write_tree};
use crate::support::peers::Seed;
use crate::support::process::Process;
use crate::support::torrents::{Maker, Torrent};
use crate::support::{Fetch, Lab, Needs};

/// A small real torrent of a folder.
fn folder(lab: &Lab) -> Torrent {
    let source = lab.at("source");
    write_tree(&source, &[("box/one.bin", 100_000), ("box/sub/two.bin", 50_000), ("box/empty", 0)]);
    Maker::of(&source.join("box"))
        .piece_length(16 * 1024)
        .tier(&["http://127.0.0.1:9/announce?passkey=s3cr3t"])
        .make(lab)
}

/// A torrent of one file of 20 bytes, written by hand, whose dictionary says what no tool would.
fn by_hand(lab: &Lab, info: &[u8]) -> PathBuf {
    let path = lab.at("by-hand.torrent");
    let mut torrent = b"d8:announce27:http://127.0.0.1:9/announce4:info".to_vec();
    torrent.extend_from_slice(info);
    torrent.push(b'e');
    std::fs::write(&path, torrent).unwrap();
    path
}

/// A single-file info dictionary with this name.
fn named(name: &[u8]) -> Vec<u8> {
    let mut info = format!("d6:lengthi20e4:name{}:", name.len()).into_bytes();
    info.extend_from_slice(name);
    info.extend_from_slice(b"12:piece lengthi16384e6:pieces20:");
    info.extend_from_slice(&[7; 20]);
    info.push(b'e');
    info
}

#[test]
fn usage_errors_end_with_two_and_say_how_it_goes() {
    let wrong: &[&[&str]] = &[
        &[],
        &["frobnicate"],
        &["fetch"],
        &["info"],
        &["fetch", "x.torrent", "--no-such-option"],
        &["fetch", "x.torrent", "--max-peers", "many"],
        &["fetch", "x.torrent", "--stall-timeout", "soon"],
        &["fetch", "x.torrent", "--peer", "not an address"],
        &["fetch", "x.torrent", "--disk-full", "perhaps"],
        &["fetch", "x.torrent", "--durability", "sometimes"],
        &["fetch", "x.torrent", "--log-format", "yaml"],
        &["fetch", "x.torrent", "--port", "65536"],
        &["fetch", "x.torrent", "--select-file", "0"],
    ];
    for args in wrong {
        let outcome = run(args).expect_code(2);
        assert!(outcome.stderr.to_lowercase().contains("usage") || outcome.stderr.contains("error"), "{args:?}");
    }
}

#[test]
fn help_and_version_end_with_zero() {
    let help = run(&["--help"]).expect_code(0);
    for verb in ["fetch", "create", "info", "verify", "scrape", "tracker", "tree", "demo", "completions"] {
        assert!(help.stdout.contains(verb), "{verb} is not in --help");
        run(&[verb, "--help"]).expect_code(0);
    }
    let version = run(&["--version"]).expect_code(0);
    assert!(version.stdout.contains(env!("CARGO_PKG_VERSION")), "{}", version.stdout);
}

#[test]
fn a_torrent_that_is_not_there_ends_with_three() {
    let lab = Lab::new();
    let nowhere = lab.at("nowhere.torrent");
    for verb in ["info", "verify", "fetch", "scrape"] {
        let outcome = run(&[verb, text(&nowhere)]).expect_code(3);
        assert!(outcome.stderr.contains("nowhere.torrent"), "{verb}: the error names the file: {}", outcome.stderr);
    }
}

#[test]
fn what_is_no_torrent_ends_with_25() {
    let lab = Lab::new();
    let path = lab.at("garbage.torrent");
    let deep = [b"l".repeat(1_000_000), b"e".repeat(1_000_000)].concat();
    let bodies: [&[u8]; 6] = [b"", b"<html>no</html>", b"d4:infod", b"i-0e", b"d8:announce3:abce", &deep];
    for body in bodies {
        std::fs::write(&path, body).unwrap();
        for verb in ["info", "fetch", "verify"] {
            let outcome = run(&[verb, text(&path)]);
            assert_eq!(outcome.code, 25, "{verb} of {:?}: {}", &body[..body.len().min(20)], outcome.stderr);
        }
    }
}

/// S-01: a path that climbs is led back below the folder, as libtorrent does it, and `info` and `fetch` warn about it.
#[test]
fn a_torrent_that_climbs_out_stays_in_its_folder() {
    let lab = Lab::new();
    let data = b"twenty bytes of data";
    let hash: [u8; 20] = Sha1::digest(data).into();
    let pieces = [b"12:piece lengthi16384e6:pieces20:".as_slice(), &hash, b"e"].concat();
    let climbs: [(&[u8], &str); 4] = [
        (b"d5:filesld6:lengthi20e4:pathl2:..6:escapeeee4:name3:box", "box/_/escape"),
        (b"d5:filesld6:lengthi20e4:pathl3:sub2:..2:..6:escapeeee4:name3:box", "box/sub/_/_/escape"),
        (b"d5:filesld6:lengthi20e4:pathl12:../../escapeeee4:name3:box", "box/....escape"),
        (b"d6:lengthi20e4:name12:../../escape", "....escape"),
    ];
    for (climb, place) in climbs {
        let path = by_hand(&lab, &[climb, &pieces].concat());
        let info = run(&["info", text(&path), "--json"]).expect_code(0).result().clone();
        assert_eq!(info["files"][0]["path"], place);
        assert!(info["warnings"][0].as_str().unwrap().contains("is renamed to"), "{info}");
        let dir = lab.folder("out");
        write_bytes(&dir.join(place), data);
        run(&["verify", text(&path), "-d", text(&dir)]).expect_code(0);
        std::fs::remove_dir_all(&dir).unwrap();
    }
    for name in [&b".."[..], b"/", b""] {
        run(&["info", text(&by_hand(&lab, &named(name)))]).expect_code(26);
    }
    assert!(!lab.at("escape").exists());
}

fn write_bytes(path: &std::path::Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Data is where other clients on Linux have put it, and a torrent file may be called as its user likes.
#[test]
fn names_are_linux_names_unless_portable_ones_are_asked_for() {
    use std::os::unix::ffi::OsStrExt;
    let lab = Lab::new();
    let (source, out) = (lab.at("box"), lab.at("out.torrent"));
    let names = ["Who?.flac", "a: b", "S.O.S.", "aux.c", "README", "readme", "a\\x2db", "می\u{200c}خواهم"];
    for name in names {
        write_bytes(&source.join(name), name.as_bytes());
    }
    let refused = run(&["create", text(&source), "-o", text(&out), "--names", "portable"]).expect_code(26);
    assert!(refused.stderr.contains("not every system"), "{}", refused.stderr);
    run(&["create", text(&source), "-o", text(&out)]).expect_code(0);
    let paths = |args: &[&str]| {
        let info = run(&[&["info", text(&out), "--json"], args].concat()).expect_code(0).result().clone();
        let path = |file: &Value| file["path"].as_str().unwrap().to_owned();
        info["files"].as_array().unwrap().iter().map(path).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(paths(&[]), names.iter().map(|name| format!("box/{name}")).collect());
    let portable = ["Who_.flac", "a_ b", "S.O.S_", "_aux.c", "README", "readme~2", "a_x2db", "می\u{200c}خواهم"];
    assert_eq!(paths(&["--names", "portable"]), portable.iter().map(|name| format!("box/{name}")).collect());
    run(&["verify", text(&out), "-d", text(&lab.at("."))]).expect_code(0);
    run(&["verify", text(&out), "-d", text(&lab.at(".")), "--names", "portable"]).expect_code(32);

    let shown = run(&["info", text(&out)]).expect_code(0).stdout;
    assert!(shown.contains("می\u{200c}خواهم"), "{shown}");
    let latin = lab.at(".").join(std::ffi::OsStr::from_bytes(b"caf\xe9.torrent"));
    std::fs::copy(&out, &latin).unwrap();
    let outcome = Process::start("info", tt().arg("info").arg(&latin)).finish(WATCHDOG);
    assert_eq!(outcome.code(), 0, "{outcome:?}");
}

/// What is odd about a torrent is said in `info`, for people and for programs.
#[test]
fn what_was_tolerated_is_told() {
    let lab = Lab::new();
    let path = by_hand(&lab, &named(b"fine/"));
    let mut torrent = std::fs::read(&path).unwrap();
    torrent.push(b'\n');
    std::fs::write(&path, torrent).unwrap();
    let want = ["1 byte behind the torrent is ignored", "`fine/` is renamed to `fine`"];
    let info = run(&["info", text(&path), "--json"]).expect_code(0).result().clone();
    assert_eq!(info["warnings"], serde_json::json!(want));
    let shown = run(&["info", text(&path)]).expect_code(0).stdout;
    assert!(want.iter().all(|warning| shown.contains(warning)), "{shown}");
}

/// S-05: sizes that overflow are refused, not computed with.
#[test]
fn a_torrent_whose_sizes_overflow_ends_with_26() {
    let lab = Lab::new();
    let pieces = [b"12:piece lengthi16384e6:pieces20:".as_slice(), &[7; 20], b"e"].concat();
    let huge =
        b"d5:filesld6:lengthi9223372036854775807e4:pathl1:aeed6:lengthi9223372036854775807e4:pathl1:beee4:name3:box";
    let wrong_count = b"d6:lengthi999999e4:name3:box";
    for info in [huge.as_slice(), wrong_count] {
        run(&["info", text(&by_hand(&lab, &[info, &pieces].concat()))]).expect_code(26);
    }
}

/// S-19: what a stranger wrote reaches no terminal and no JSON reader raw.
#[test]
fn names_with_escape_sequences_are_shown_harmless() {
    let lab = Lab::new();
    let name = "innocent\u{1b}]52;c;ZXZpbA==\u{7}\u{1b}[2J\u{202e}gpj.exe\r\nfake line".as_bytes();
    let path = by_hand(&lab, &named(name));
    for args in [vec!["info", text(&path)], vec!["info", text(&path), "--json"], vec!["fetch", text(&path), "-l"]] {
        let outcome = run(&args).expect_code(0);
        let said = outcome.stdout + &outcome.stderr;
        assert!(said.contains("innocent"), "{args:?}: {said}");
        let harm: Vec<_> = said.chars().filter(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}').collect();
        assert!(harm.is_empty(), "{args:?}: {harm:?}");
    }
}

#[test]
fn info_speaks_json_on_either_side_of_the_verb() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let torrent = folder(&lab);
    let behind = run(&["info", text(&torrent.path), "--json"]).expect_code(0);
    let before = run(&["--json", "info", text(&torrent.path)]).expect_code(0);
    assert_eq!(behind.stdout, before.stdout);
    let info = behind.result();
    assert_eq!(info["info_hash"], torrent.info_hash.as_str());
    let files = info["files"].as_array().unwrap();
    assert_eq!(files.len(), 3);
    assert_eq!(files.iter().map(|file| file["length"].as_u64().unwrap()).sum::<u64>(), torrent.bytes);
    let plain = run(&["info", text(&torrent.path)]).expect_code(0);
    for wanted in [&torrent.info_hash, "box", "one.bin", "two.bin"] {
        assert!(plain.stdout.contains(wanted), "{wanted} is not in {}", plain.stdout);
    }
}

/// S-20: no output shows a passkey.
#[test]
fn a_passkey_is_in_no_output() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let torrent = folder(&lab);
    let dir = lab.folder("out");
    let log = lab.at("log");
    let runs = [
        run(&["info", text(&torrent.path)]),
        run(&["info", text(&torrent.path), "--json"]),
        run(&["scrape", text(&torrent.path), "--json"]),
        run(&["scrape", text(&torrent.path)]),
        Fetch::new(&torrent.path, &dir).args(&["--stall-timeout", "2s", "--log-level", "trace"]).run(),
        Fetch::new(&torrent.path, &dir).args(&["--stall-timeout", "2s", "--log-file", text(&log)]).run(),
    ];
    for outcome in runs {
        assert!(!outcome.stdout.contains("s3cr3t") && !outcome.stderr.contains("s3cr3t"), "{}", outcome.stdout);
    }
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(!log.is_empty() && !log.contains("s3cr3t"), "{log}");
}

#[test]
fn listing_the_files_fetches_nothing() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let torrent = folder(&lab);
    let dir = lab.folder("out");
    let outcome = run(&["fetch", text(&torrent.path), "-d", text(&dir), "-l"]).expect_code(0);
    for name in ["one.bin", "two.bin", "empty"] {
        assert!(outcome.stdout.contains(name), "{name} is not in {}", outcome.stdout);
    }
    assert!(std::fs::read_dir(&dir).unwrap().next().is_none(), "listing leaves nothing behind");
}

#[test]
fn nobody_to_fetch_from_ends_with_five_when_a_stall_is_limited() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let torrent = folder(&lab);
    let outcome = Fetch::new(&torrent.path, &lab.folder("out")).args(&["--stall-timeout", "2s"]).run().expect_code(5);
    assert_eq!(outcome.result()["status"], "stalled");
    assert!(outcome.result()["error"].is_string());
    assert!(outcome.took < Duration::from_secs(15), "took {:?}", outcome.took);
}

#[test]
fn a_stop_with_nobody_there_is_clean_and_quick() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let torrent = folder(&lab);
    for signal in [Signal::INT, Signal::TERM] {
        let mut fetch = Fetch::new(&torrent.path, &lab.folder("out")).start();
        fetch.wait_until_it_says("progress");
        fetch.signal(signal);
        let outcome = fetch.finish().expect_code(7);
        assert_eq!(outcome.result()["status"], "interrupted");
    }
}

/// The torrent from standard input and from a web server.
#[test]
fn a_torrent_comes_from_a_pipe_or_a_web_server() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let torrent = folder(&lab);
    let seed = Seed::libtorrent(&torrent);
    let piped = lab.folder("piped");
    let line = format!("exec \"$0\" fetch - -d {} --peer {} --json < {}", text(&piped), seed.addr, text(&torrent.path));
    let program = tt();
    let mut shell = Command::new("sh");
    shell.args(["-c", &line]).arg(program.get_program());
    assert_eq!(Process::start("tt-actors fetch -", &mut shell).finish(WATCHDOG).code(), 0);
    assert_same(&torrent.source, &torrent.inside(&piped));

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/box.torrent", listener.local_addr().unwrap());
    let body = std::fs::read(&torrent.path).unwrap();
    std::thread::spawn(move || serve_once(&listener, &body));
    let served = lab.folder("served");
    Fetch::new(url.as_ref(), &served).peer(seed.addr).run().expect_complete();
    assert_same(&torrent.source, &torrent.inside(&served));
}

/// Answers every request with these bytes.
fn serve_once(listener: &TcpListener, body: &[u8]) {
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut request = [0; 4096];
        let read = stream.read(&mut request).unwrap_or(0);
        assert!(read > 0, "a request without a byte");
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len()).unwrap();
        stream.write_all(body).unwrap();
    }
}

/// Every line of `--json` is an object; without `--json` and without a terminal no line has an escape sequence.
#[test]
fn output_without_a_terminal_is_plain() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let torrent = folder(&lab);
    let seed = Seed::libtorrent(&torrent);
    let json = Fetch::new(&torrent.path, &lab.folder("json")).peer(seed.addr).run().expect_complete();
    for line in json.stdout.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok_and(|value| value.is_object()), "no JSON object: {line}");
    }
    for line in json.stderr.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok_and(|value| value.is_object()), "no JSON log: {line}");
    }
    let peer = seed.addr.to_string();
    let dir = lab.folder("plain");
    let plain = run(&["fetch", text(&torrent.path), "-d", text(&dir), "--peer", &peer]).expect_code(0);
    assert!(!plain.stdout.contains('\u{1b}') && !plain.stderr.contains('\u{1b}'), "{}{}", plain.stdout, plain.stderr);
    let quiet_dir = lab.folder("quiet");
    let quiet = run(&["fetch", text(&torrent.path), "-d", text(&quiet_dir), "--peer", &peer, "-q"]).expect_code(0);
    assert_eq!(quiet.stdout, "");
}

/// the download goes on when the reader of the output is gone.
#[test]
fn a_reader_that_has_left_does_not_stop_the_download() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent, Needs::Bash]) else { return };
    let source = lab.at("source/unread.bin");
    write_file(&source, 8 << 20, 3);
    let torrent = Maker::of(&source).make(&lab);
    let seed = Seed::libtorrent(&torrent);
    for (number, redirection) in ["| true", ">&- 2>&-"].iter().enumerate() {
        let dir = lab.folder(&format!("out-{number}"));
        let line = format!(
            "set -o pipefail; \"$0\" fetch {} -d {} --peer {} --json {redirection}",
            text(&torrent.path),
            text(&dir),
            seed.addr
        );
        let mut shell = Command::new("bash");
        shell.args(["-c", &line]).arg(tt().get_program());
        assert_eq!(Process::start("tt-actors unread", &mut shell).finish(WATCHDOG).code(), 0, "{redirection}");
        assert_same(&torrent.source, &torrent.inside(&dir));
    }
}

#[test]
fn manual_pages_are_there_for_the_program_and_every_verb() {
    let page = run(&["man"]).expect_code(0).stdout;
    assert!(page.contains(".TH") && page.contains("tt\\-actors\\-fetch(1)"), "{page}");
    for verb in ["fetch", "create", "info", "verify", "scrape", "tree", "demo", "completions", "man"] {
        let page = run(&["man", verb]).expect_code(0).stdout;
        assert!(page.contains(&format!("tt\\-actors\\-{verb}")) && page.contains("\\-\\-json"), "{verb}: {page}");
    }
    run(&["man", "frobnicate"]).expect_code(2);
}

#[test]
fn completions_are_there_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let outcome = run(&["completions", shell]).expect_code(0);
        assert!(outcome.stdout.contains("tt-actors") && outcome.stdout.contains("fetch"), "{shell}");
    }
    run(&["completions", "teletype"]).expect_code(2);
}

#[test]
fn bash_reads_its_completions() {
    let Some(lab) = Lab::with(&[Needs::Bash]) else { return };
    let script = lab.at("completions.bash");
    std::fs::write(&script, run(&["completions", "bash"]).stdout).unwrap();
    assert!(Command::new("bash").arg("-n").arg(&script).status().unwrap().success());
}

#[test]
fn the_tree_names_every_actor_and_its_policy() {
    let tree = run(&["tree"]).expect_code(0).stdout;
    let actors = [
        "Session",
        "Metrics",
        "Torrent",
        "DiskWriter",
        "PieceScheduler",
        "PeerPool",
        "PeerConnection",
        "TrackerSupervisor",
        "HttpTracker",
        "UdpTracker",
        "TrackerServer",
        "SwarmKeeper",
        "HttpDesk",
        "UdpDesk",
    ];
    for actor in actors {
        assert!(tree.contains(actor), "{actor} is not in\n{tree}");
    }
}

/// Under 20 s: the promise of the README, with the payload's hash at the end.
#[test]
fn the_demo_needs_nothing_and_ends_well() {
    let outcome = run(&["demo"]).expect_code(0);
    let said = outcome.stdout + &outcome.stderr;
    assert!(said.to_lowercase().contains("sha-256"), "{said}");
    assert!(said.contains("reset"), "it shows the restarts: {said}");
    assert!(outcome.took < Duration::from_secs(20), "took {:?}", outcome.took);
}

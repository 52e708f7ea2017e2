//! Hostile and broken trackers in front of the real binary. Every byte that arrives is compared.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tt_actors::codec::tracker::Event;

use crate::support::client::{WATCHDOG, text, tt};
use crate::support::ports::free;
use crate::support::process::Process;
use crate::support::scene::{Scene, wait_for_a_visit};
use crate::support::{Fetch, Lab, Needs, heavy};

const MIB: u64 = 1 << 20;
const PIECE: u32 = 128 * 1024;

/// Behind all of them one that knows an honest seed.
fn scene_with_a_seed() -> (Scene, String) {
    let scene = Scene::new(2 * MIB, PIECE);
    let seed = scene.peer("");
    let good = scene.http_tracker(&format!("peers={}", seed.addr));
    (scene, good.url)
}

/// T-01 to T-06, W-03: with peers short every tier is asked at the same time, so none waits for another.
#[test]
fn broken_trackers_in_front_do_not_hide_a_good_one() {
    let (scene, good) = scene_with_a_seed();
    let refused = format!("http://127.0.0.1:{}/announce", free());
    let refused_udp = format!("udp://127.0.0.1:{}/announce", free());
    let broken = [
        "hang",
        "drip=1",
        "garbage",
        "html",
        "close_at_once",
        "reset_at_once",
        "truncated=20",
        "status=404",
        "status=503",
        "redirect_loop",
        "failure=no such torrent",
        "gzip_bomb=400M",
        "dead_peers=200",
        "local_peers",
        "self_in_peers",
    ];
    let mut urls: Vec<_> = broken.iter().map(|words| scene.http_tracker(words).url).collect();
    urls.extend(
        ["hang", "wrong_tid", "wrong_action", "truncated=7", "failure=go away"]
            .map(|words| scene.udp_tracker(words).url),
    );
    urls.extend([refused, refused_udp, "wss://127.0.0.1:9/announce".to_owned(), "not a url".to_owned()]);
    urls.push(good);
    let tiers: Vec<Vec<&str>> = urls.iter().map(|url| vec![url.as_str()]).collect();
    let tiers: Vec<&[&str]> = tiers.iter().map(Vec::as_slice).collect();
    let dir = scene.lab.folder("out");
    let outcome = Fetch::new(&scene.torrent(&tiers), &dir).run().expect_complete();
    scene.assert_arrived(&dir);
    assert!(outcome.took < Duration::from_secs(20), "took {:?}", outcome.took);
    assert!(outcome.peak_kib < 200 * 1024, "peak of {} KiB", outcome.peak_kib);
}

/// BEP 7: a name that leads to both families is announced to over each, with all events and one key; over HTTP and UDP.
#[test]
fn a_tracker_with_both_families_hears_every_event_over_each() {
    let Some(_lab) = Lab::with(&[Needs::Mount]) else { return };
    for udp in [false, true] {
        let scene = Scene::new(2 * MIB, PIECE);
        let seed = scene.peer("max_rate=1M");
        let both = scene.tracker_of_both_families(udp, &format!("no_peers,peers={}", seed.addr));
        let scheme = if udp { "udp" } else { "http" };
        let url = format!("{scheme}://both.test:{}/announce", both[0].addr.port());
        let dir = scene.lab.folder("out");
        let fetch = Fetch::new(&scene.torrent(&[&[&url]]), &dir);
        fetch.where_a_name_has_both_families("both.test", &scene.lab).run().expect_complete();
        scene.assert_arrived(&dir);
        let heard = both.map(|tracker| {
            let record = tracker.record();
            let announces = record.announces().map(|(_, request)| (request.event, request.key));
            announces.unzip::<_, _, Vec<_>, Vec<_>>()
        });
        for (events, keys) in &heard {
            assert_eq!(events[..], [Event::Started, Event::Completed, Event::Stopped], "{scheme}");
            assert!(keys.iter().all(|key| *key == heard[0].1[0]), "{scheme}: {keys:?}");
        }
    }
}

/// W-10: within a tier the next one is asked when one fails.
#[test]
fn every_tracker_of_a_tier_is_tried() {
    let (scene, good) = scene_with_a_seed();
    let refused = format!("http://127.0.0.1:{}/announce", free());
    let garbage = scene.http_tracker("garbage").url;
    let torrent = scene.torrent(&[&[&refused, &garbage, &good]]);
    let dir = scene.lab.folder("out");
    let outcome = Fetch::new(&torrent, &dir).run().expect_complete();
    scene.assert_arrived(&dir);
    assert!(outcome.took < Duration::from_secs(45), "took {:?}", outcome.took);
}

/// Odd, but what real trackers do: each alone is enough (W-12, T-10, T-16, T-08, T-07, T-14).
#[test]
fn odd_but_honest_trackers_are_enough_each_by_itself() {
    let http = [
        "dictionary",
        "no_counts",
        "interval=missing",
        "interval=text",
        "interval=0",
        "warning=old client",
        "duplicates=100",
        "redirects=3",
        "delay=300ms",
    ];
    let udp = ["", "duplicates=20", "other_port,peers=127.0.0.1:9", "lose=1"];
    for (kind, words) in http.map(|words| ("http", words)).into_iter().chain(udp.map(|words| ("udp", words))) {
        let scene = Scene::new(MIB, PIECE);
        let seed = scene.peer("");
        println!("{kind} {words}");
        // A reply from another port is not accepted (T-13): a second tracker must name the peer.
        let named = if words.contains("peers=") { words.to_owned() } else { format!("peers={}", seed.addr) };
        let words = if words.contains("peers=") || words.is_empty() { named } else { format!("{words},{named}") };
        let tracker = if kind == "http" { scene.http_tracker(&words) } else { scene.udp_tracker(&words) };
        let second = scene.http_tracker(&format!("peers={}", seed.addr));
        let needed = if words.contains("other_port") { vec![second.url.as_str()] } else { vec![] };
        let dir = scene.lab.folder("out");
        let outcome = Fetch::new(&scene.torrent(&[&[&tracker.url], &needed]), &dir).run();
        assert_eq!(outcome.code, 0, "{kind} {words}: {}", outcome.stderr);
        scene.assert_arrived(&dir);
    }
}

/// T-15: whatever interval a tracker sends, the client announces no more often than the floor allows. Seen from the tracker's record.
#[test]
fn no_interval_makes_us_hammer_a_tracker() {
    let scene = Scene::new(MIB, PIECE);
    let intervals = [
        "interval=0",
        "interval=-1",
        "interval=1",
        "interval=2147483648",
        "interval=-9223372036854775808",
        "interval=text",
    ];
    let trackers: Vec<_> =
        intervals.iter().map(|words| (words, scene.http_tracker(&format!("{words},no_peers")))).collect();
    let urls: Vec<_> = trackers.iter().map(|(_, tracker)| [tracker.url.as_str()]).collect();
    let tiers: Vec<&[&str]> = urls.iter().map(<[&str; 1]>::as_slice).collect();
    // Six seconds without a byte: six chances a second apart for those who believe in zero.
    let fetch = Fetch::new(&scene.torrent(&tiers), &scene.lab.folder("out")).args(&["--stall-timeout", "6s"]);
    fetch.run().expect_code(5);
    for (words, tracker) in &trackers {
        let events = tracker.events();
        assert_eq!(events.first().map(String::as_str), Some("started"), "{words}: {events:?}");
        let further: Vec<_> = events.iter().skip(1).filter(|event| *event != "stopped").collect();
        assert!(further.is_empty(), "{words}: {events:?}");
        assert!(events.len() <= 2, "{words}: {events:?}");
    }
}

/// `started` first, then `completed`, then `stopped`, each once (BEP 3), however slowly the tracker answers: leaving at
/// once must not swallow the `completed` that is still on its way.
#[test]
fn a_tracker_hears_the_whole_story() {
    let scene = Scene::new(MIB, PIECE);
    let seed = scene.peer("");
    for words in ["", "delay=300ms,"] {
        let words = format!("{words}peers={}", seed.addr);
        for tracker in [scene.http_tracker(&words), scene.udp_tracker(&words)] {
            let dir = scene.lab.folder(&format!("out-{}", tracker.url.replace('/', "_")));
            Fetch::new(&scene.torrent(&[&[&tracker.url]]), &dir).run().expect_complete();
            assert_eq!(tracker.events(), ["started", "completed", "stopped"], "{} with {words}", tracker.url);
        }
    }
}

/// T-06: 400 MB of body, and a bomb of as much, leave memory flat.
#[test]
fn a_400_mb_body_leaves_memory_flat() {
    let _alone = heavy();
    let peak = |words: &str| {
        let (scene, good) = scene_with_a_seed();
        let tracker = scene.http_tracker(words);
        let fetch = Fetch::new(&scene.torrent(&[&[&tracker.url]]), &scene.lab.folder("out"));
        // Alone for four seconds, then the run ends: the good one is only asked by the first.
        let fetch = if words.is_empty() { fetch.tracker(&good) } else { fetch };
        let outcome = fetch.args(&["--stall-timeout", "4s"]).run();
        assert!([0, 5, 6].contains(&outcome.code), "{words}: {}", outcome.stderr);
        outcome.peak_kib
    };
    let usual = peak("no_peers");
    for words in ["huge=400M", "gzip_bomb=400M"] {
        let with = peak(words);
        assert!(with <= usual + 8 * 1024, "{words}: {with} KiB, without {usual} KiB");
    }
}

/// T-09, S-19: what a tracker says reaches the terminal harmless, on a terminal and off it, in the log and in JSON.
#[test]
fn escape_sequences_of_a_tracker_reach_no_terminal() {
    let Some(lab) = Lab::with(&[Needs::Terminal]) else { return };
    let harm = r"go\x1b]52;c;ZXZpbA==\x07 away\x1b[2J\x1b[31mred\r\nlevel=error fake\xe2\x80\xaegpj";
    for word in ["failure", "warning"] {
        let scene = Scene::new(MIB, PIECE);
        let tracker = scene.http_tracker(&format!("no_peers,{word}={harm}"));
        let torrent = scene.torrent(&[&[&tracker.url]]);
        let dir = scene.lab.folder("out");
        let json = Fetch::new(&torrent, &dir).args(&["--stall-timeout", "2s"]).run().expect_code(5);
        assert!(json.stderr.contains("away") || json.stdout.contains("away"), "{word}: a person learns of it");
        harmless(word, &json.stdout);
        harmless(word, &json.stderr);
        let line = format!(
            "{} fetch {} -d {} --stall-timeout 2s -v",
            tt().get_program().display(),
            text(&torrent),
            text(&lab.folder(word))
        );
        let mut terminal = Command::new("script");
        terminal.args(["-q", "-e", "-c", &line, "/dev/null"]);
        let shown = Process::start("tt-actors on a terminal", &mut terminal).finish(WATCHDOG);
        assert_eq!(shown.code(), 5);
        harmless(word, &(shown.out.join("\n") + &shown.err.join("\n")));
    }
}

/// A progress line may move the cursor and colour itself; it never does what the tracker asked for.
fn harmless(word: &str, shown: &str) {
    for harm in
        ["\u{1b}]52", "\u{7}", "\u{1b}[2J", "\u{1b}[31mred", "\u{202e}", "\r\nlevel=error fake", "\nlevel=error fake"]
    {
        assert!(!shown.contains(harm), "{word}: {harm:?} came through: {shown:?}");
    }
}

/// T-25: a tracker that hangs, from the start or from `started` on, does not hold us when we are told to stop.
#[test]
fn a_stop_with_a_hung_tracker_takes_five_seconds_at_most() {
    for words in ["hang", "hang_after=1,no_peers"] {
        let scene = Scene::new(MIB, PIECE);
        let trackers = [scene.http_tracker(words), scene.udp_tracker(words)];
        let torrent = scene.torrent(&[&[&trackers[0].url], &[&trackers[1].url]]);
        let mut fetch = Fetch::new(&torrent, &scene.lab.folder("out")).start();
        for tracker in &trackers {
            wait_for_a_visit(tracker);
        }
        fetch.wait_until_it_says("progress");
        fetch.signal(Signal::TERM);
        let signalled = std::time::Instant::now();
        let outcome = fetch.finish().expect_code(7);
        assert_eq!(outcome.result()["status"], "interrupted");
        // Five seconds, and some slack for a loaded machine.
        assert!(signalled.elapsed() < Duration::from_secs(8), "{words}: took {:?}", signalled.elapsed());
    }
}

/// `--shutdown-timeout` limits the stop.
#[test]
fn a_shorter_shutdown_timeout_is_kept() {
    let scene = Scene::new(MIB, PIECE);
    let tracker = scene.http_tracker("hang_after=1,no_peers");
    let torrent = scene.torrent(&[&[&tracker.url]]);
    let mut fetch = Fetch::new(&torrent, &scene.lab.folder("out")).args(&["--shutdown-timeout", "1s"]).start();
    wait_for_a_visit(&tracker);
    fetch.wait_until_it_says("progress");
    fetch.signal(Signal::TERM);
    let signalled = std::time::Instant::now();
    fetch.finish().expect_code(7);
    assert!(signalled.elapsed() < Duration::from_secs(4), "took {:?}", signalled.elapsed());
}

/// `--exclude-tracker` and `--tracker`: what is excluded hears nothing.
#[test]
fn an_excluded_tracker_hears_nothing() {
    let (scene, good) = scene_with_a_seed();
    let unwanted = scene.http_tracker("no_peers");
    let port = unwanted.url.rsplit(':').next().unwrap().to_owned();
    let torrent = scene.torrent(&[&[&unwanted.url]]);
    let dir = scene.lab.folder("out");
    let fetch = Fetch::new(&torrent, &dir).tracker(&good).args(&["--exclude-tracker", &format!("*{port}*")]);
    fetch.run().expect_complete();
    scene.assert_arrived(&dir);
    assert!(unwanted.events().is_empty(), "{:?}", unwanted.events());
}

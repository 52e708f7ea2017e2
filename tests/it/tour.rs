//! The README's tour: the life of a torrent with nothing but this program (W-31).

use rustix::process::Signal;

use crate::support::Lab;
use crate::support::client::{WATCHDOG, run, text, tt};
use crate::support::payload::{assert_same, write_tree};
use crate::support::ports::free;
use crate::support::process::Process;

/// Five commands, as the README has them but for the ports.
#[test]
fn what_is_made_tracked_and_given_arrives() {
    let lab = Lab::new();
    let source = lab.at("box");
    write_tree(&source, &[("day 1/dawn", 3_000_000), ("day 1/noon", 1_000_001), ("empty", 0), ("notes", 6)]);
    let (torrent, downloads) = (lab.at("box.torrent"), lab.at("downloads"));
    let at = format!("127.0.0.1:{}", free());
    run(&["create", text(&source), "-o", text(&torrent), "-a", &format!("http://{at}/announce")]).expect_code(0);
    let mut tracker = Process::start("tracker", tt().args(["tracker", "--http", &at]));
    tracker.wait_for("its address", WATCHDOG, |line| line.contains("/announce").then_some(()));
    let line = ["seed", text(&torrent), "-d", text(lab.path()), "--port", &free().to_string()];
    let seed = Process::start("seed", tt().args(line));
    let line = ["fetch", text(&torrent), "-d", text(&downloads), "--port", &free().to_string()];
    run(&line).expect_code(0);
    run(&["verify", text(&torrent), "-d", text(&downloads)]).expect_code(0);
    assert_same(&source, &downloads.join("box"));
    for process in [seed, tracker] {
        process.signal(Signal::INT);
        assert_eq!(process.finish(WATCHDOG).code(), 0);
    }
}

//! The harness of these tests: libtest's command line and summary, and tests that are *ignored* where a program that
//! they need is missing.
//!
//! libtest knows two ends of a test that runs: passed and failed. A test that found nothing to test with counted as
//! passed. Here `Lab::with` calls [`lack`], the test returns, and the summary counts it as ignored; the last line says
//! how many, why and what to install. Tests register themselves (`tests/attribute`). What a test prints is shown only if
//! it fails, or with `--nocapture`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what a harness prints is what it is for")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{PanicHookInfo, catch_unwind};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;

use libtest_mimic::{Arguments, Completion, Failed, FormatSetting, Trial};

use crate::support::Needs;

/// Shows a line if the test fails. In place of std's macro of this name, so that a passing test stays silent.
macro_rules! println {
    ($($text:tt)*) => {
        $crate::harness::say(&::std::format!($($text)*))
    };
}

/// A test, as its attribute registers it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Test {
    /// Its path with the name of this crate in front.
    pub(crate) name: &'static str,
    pub(crate) run: fn(),
}

inventory::collect!(Test);

impl Test {
    /// As `cargo test` filters it: `scrape::a_dead_tracker_does_not_hide_a_living_one`.
    fn path(&self) -> &'static str {
        self.name.split_once("::").map_or(self.name, |(_crate, path)| path)
    }
}

/// The paths of all tests of this program.
pub(crate) fn registered() -> impl Iterator<Item = &'static str> {
    inventory::iter::<Test>().map(Test::path)
}

/// What a running test left behind.
#[derive(Debug, Default)]
struct Record {
    shown: bool,
    said: String,
    lacks: Vec<Needs>,
}

thread_local! {
    /// Of the test on this thread. Threads that a test starts have none: what they print is shown at once.
    static RECORD: RefCell<Option<Record>> = const { RefCell::new(None) };
}

/// Says that the running test cannot be made here without these. The test must return at once: it is counted as ignored.
pub(crate) fn lack(needs: &[Needs]) {
    RECORD.with_borrow_mut(|record| record.as_mut().expect("on the thread of a test").lacks.extend(needs));
}

/// Keeps a line for the case that the running test fails.
pub(crate) fn say(line: &str) {
    let is_kept = RECORD.with_borrow_mut(|record| match record {
        Some(record) if !record.shown => {
            record.said.push_str(line);
            record.said.push('\n');
            true
        }
        _ => false,
    });
    if !is_kept {
        std::eprintln!("{line}");
    }
}

/// Runs what the command line asks for.
pub(crate) fn main() -> ExitCode {
    let default_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if RECORD.with_borrow(Option::is_some) {
            say(&described(panic));
        } else {
            default_hook(panic);
        }
    }));
    let arguments = arguments();
    let shown = arguments.nocapture || arguments.show_output || is_set("RUST_TEST_NOCAPTURE");
    let (sender, receiver) = mpsc::channel();
    let mut tests: Vec<Test> = match std::env::var(proof::PROBES) {
        Ok(_) => proof::probes(),
        Err(_) => inventory::iter::<Test>().copied().collect(),
    };
    tests.sort_unstable_by_key(Test::path);
    let trials = tests.into_iter().map(|test| {
        let sender = sender.clone();
        Trial::ignorable_test(test.path(), move || run_one(test, shown, &sender))
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    drop(sender);
    let is_for_people = !arguments.list && !matches!(arguments.format, Some(FormatSetting::Json));
    if let Some(line) = closing_line(&receiver.iter().collect::<Vec<_>>()).filter(|_| is_for_people) {
        std::println!("{line}");
    }
    conclusion.exit_code()
}

/// The command line and the environment of libtest.
fn arguments() -> Arguments {
    let typed = std::env::args().map(|word| if word == "--no-capture" { "--nocapture".to_owned() } else { word });
    let mut arguments = Arguments::from_iter(typed);
    let threads = std::env::var("RUST_TEST_THREADS").ok();
    arguments.test_threads = arguments.test_threads.or_else(|| threads?.parse().ok());
    arguments
}

fn is_set(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|value| value != "0")
}

/// Runs one test on a thread of its own that has its name. `tell` gets what it lacked, if anything.
fn run_one(test: Test, shown: bool, sender: &mpsc::Sender<Vec<Needs>>) -> Result<Completion, Failed> {
    let ran = thread::Builder::new().name(test.path().to_owned()).spawn(move || {
        RECORD.set(Some(Record { shown, ..Record::default() }));
        let is_whole = catch_unwind(test.run).is_ok();
        (is_whole, RECORD.take().expect("set above"))
    });
    let (is_whole, Record { said, lacks, .. }) =
        ran.unwrap().join().map_err(|_panic| "the test ended its thread, and not by a panic")?;
    if !is_whole {
        return Err(said.trim_end().into());
    }
    if lacks.is_empty() {
        return Ok(Completion::Completed);
    }
    let names: Vec<_> = lacks.iter().map(|need| need.name()).collect();
    let reason = format!("needs {}", names.join(", "));
    sender.send(lacks).unwrap();
    Ok(Completion::ignored_with(reason))
}

/// What std prints of a panic, with a backtrace where `RUST_BACKTRACE` asks for it.
fn described(panic: &PanicHookInfo<'_>) -> String {
    let thread = thread::current();
    let trace = std::backtrace::Backtrace::capture();
    let trace = match trace.status() {
        // Between these two are the test's own frames.
        std::backtrace::BacktraceStatus::Captured => {
            let trace = trace.to_string();
            let inner = trace.split_once("__rust_end_short_backtrace").map_or(&*trace, |(_hook, rest)| rest);
            format!("\n{}", inner.split("__rust_begin_short_backtrace").next().unwrap_or(inner))
        }
        _ => String::new(),
    };
    format!("thread '{}' {panic}{trace}", thread.name().unwrap_or("?"))
}

/// How many tests were ignored, why, and what to install; nothing if none was. Each element is what one test lacked.
fn closing_line(ignored: &[Vec<Needs>]) -> Option<String> {
    let mut counts: BTreeMap<Needs, usize> = BTreeMap::new();
    for need in ignored.iter().flatten() {
        *counts.entry(*need).or_default() += 1;
    }
    let reasons = counts.iter().map(|(need, count)| format!("{} for {count} ({})", need.name(), need.remedy()));
    let reasons = reasons.collect::<Vec<_>>().join("; ");
    match ignored.len() {
        0 => None,
        1 => Some(format!("1 test was ignored, because this machine lacks {reasons}")),
        some => Some(format!("{some} tests were ignored, because this machine lacks {reasons}")),
    }
}

/// The harness itself, tried on tests that end in every way.
mod proof {
    use std::process::{Command, Output};

    use super::{Test, closing_line, lack};
    use crate::support::{Lab, Needs};

    /// Set in the environment of a harness that runs the probes instead of the tests.
    pub(super) const PROBES: &str = "TT_HARNESS_PROBES";

    /// A path where no program is.
    const NOWHERE: &str = "/nowhere";

    pub(super) fn probes() -> Vec<Test> {
        vec![
            Test { name: "it::probe::fails", run: fails },
            Test { name: "it::probe::lacks", run: lacks },
            Test { name: "it::probe::lacks_more", run: lacks_more },
            Test { name: "it::probe::passes", run: passes },
        ]
    }

    fn fails() {
        println!("seed {}", 7);
        assert_eq!(1, 2, "as told");
    }

    fn passes() {
        println!("a passing test stays silent");
    }

    fn lacks() {
        assert!(Lab::with(&[Needs::Opentracker]).is_none(), "nothing is in {NOWHERE}");
    }

    fn lacks_more() {
        lack(&[Needs::Aria2, Needs::Opentracker]);
    }

    fn harness(arguments: &[&str], required: &str) -> (String, Output) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(arguments).env(PROBES, "1").env("PATH", NOWHERE).env("TT_REQUIRE_PEERS", required);
        let output = command.env_remove("RUST_BACKTRACE").env_remove("RUST_TEST_NOCAPTURE").output().unwrap();
        (String::from_utf8(output.stdout.clone()).unwrap(), output)
    }

    #[test]
    fn a_test_without_its_program_is_ignored_and_the_last_line_says_what_to_install() {
        let (out, output) = harness(&[], "0");
        assert_eq!(output.status.code(), Some(101), "one probe fails: {out}");
        assert!(out.contains("1 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out"), "{out}");
        assert!(out.contains("test probe::lacks      ... ignored (needs opentracker)\n"), "{out}");
        assert_eq!(
            out.lines().last(),
            Some(
                "2 tests were ignored, because this machine lacks opentracker for 2 (apt-get install opentracker); \
                 aria2 for 1 (apt-get install aria2)"
            ),
            "{out}"
        );
    }

    #[test]
    fn a_failed_test_shows_what_it_said_and_where_it_panicked() {
        let (out, output) = harness(&["--test-threads=1"], "0");
        let shown = out.split("---- probe::fails ----\n").nth(1).unwrap_or_else(|| panic!("{out}"));
        assert!(shown.starts_with("seed 7\nthread 'probe::fails' panicked at tests/it/harness.rs:"), "{out}");
        assert!(shown.contains("as told\n  left: 1\n right: 2\n"), "{out}");
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    #[test]
    fn a_missing_program_is_a_failure_where_all_are_required() {
        let (out, output) = harness(&["--exact", "probe::lacks"], "1");
        assert_eq!(output.status.code(), Some(101), "{out}");
        assert!(out.contains("this machine lacks opentracker (apt-get install opentracker)"), "{out}");
        assert!(out.contains("0 passed; 1 failed; 0 ignored; 0 measured; 3 filtered out"), "{out}");
    }

    #[test]
    fn tests_are_listed_and_filtered_as_libtest_does_it() {
        let (out, output) = harness(&["--list", "--format", "terse", "probe::lacks"], "0");
        assert_eq!((out.as_str(), output.status.code()), ("probe::lacks: test\nprobe::lacks_more: test\n", Some(0)));
        let (out, output) = harness(&["--no-capture", "passes"], "0");
        assert!(out.contains("1 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out"), "{out}");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "a passing test stays silent\n");
    }

    #[test]
    fn nothing_is_said_where_nothing_was_ignored() {
        assert_eq!(closing_line(&[]), None);
    }
}

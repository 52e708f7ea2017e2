//! Panics as log events: a constant sentence with place and text. A panic is never printed directly to the terminal,
//! where it would break the progress line and could carry escape sequences of a stranger.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{self, PanicHookInfo};

use crate::base::safe::Safe;

thread_local! {
    /// The place of this thread's last panic, for the guard that is about to catch it.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
    /// Whether the hook is running: a panic while logging must not call it again.
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

/// Replaces the default panic hook with one that logs through `tracing`. `app` calls it once, before the first actor
/// starts.
pub fn install_panic_hook() {
    panic::set_hook(Box::new(on_panic));
}

/// Logs a panic and keeps its place for the guard.
fn on_panic(info: &PanicHookInfo<'_>) {
    if BUSY.replace(true) {
        return;
    }
    let place = info.location().map(|at| format!("{}:{}", inside_package(at.file()), at.line()));
    tracing::error!(place = place.as_deref(), what = %payload_text(info.payload()), "code panicked");
    PLACE.replace(place);
    BUSY.set(false);
}

/// The text of a caught panic, safe to show, with its place if the hook recorded it.
pub(super) fn describe(payload: &(dyn Any + Send)) -> String {
    let what = payload_text(payload);
    match PLACE.take() {
        Some(place) => format!("{what} at {place}"),
        None => what,
    }
}

/// The path of a dependency's file without the home folder of the build machine: `bytes-1.10.1/src/bytes.rs`.
fn inside_package(file: &str) -> &str {
    file.split_once("/registry/src/").and_then(|(_, rest)| rest.split_once('/')).map_or(file, |(_, rest)| rest)
}

/// The text of a panic, safe to show.
fn payload_text(payload: &dyn Any) -> String {
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    Safe::new(text.unwrap_or("a panic without text")).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_becomes_harmless_text() {
        let table: [(Box<dyn Any + Send>, &str); 3] = [
            (Box::new("plain"), "plain"),
            (Box::new("clear \x1b[2J me".to_owned()), "clear \\u{1b}[2J me"),
            (Box::new(7), "a panic without text"),
        ];
        for (payload, want) in table {
            assert_eq!(describe(&*payload), want);
        }
    }

    #[test]
    fn the_home_of_the_builder_is_not_logged() {
        let table = [
            ("src/actors/kit/panics.rs", "src/actors/kit/panics.rs"),
            ("/home/x/.cargo/registry/src/an-index/bytes-1.10.1/src/lib.rs", "bytes-1.10.1/src/lib.rs"),
            ("/rustc/59807616e1/library/core/src/num/mod.rs", "/rustc/59807616e1/library/core/src/num/mod.rs"),
        ];
        for (file, want) in table {
            assert_eq!(inside_package(file), want);
        }
    }

    /// The hook belongs to the whole process, so this test runs itself again in a process of its own.
    #[test]
    fn the_hook_logs_one_event_and_nothing_raw() {
        const IN_CHILD: &str = "TT_TEST_PANIC_HOOK";
        if std::env::var_os(IN_CHILD).is_some() {
            return panic_under_the_hook();
        }
        let name = "actors::kit::panics::tests::the_hook_logs_one_event_and_nothing_raw";
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let output = child.args(["--exact", name, "--nocapture"]).env(IN_CHILD, "1").output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{out}{err}");
        let events: Vec<&str> = err.lines().collect();
        assert_eq!(events.len(), 1, "{err}");
        assert!(events[0].contains("ERROR") && events[0].contains("code panicked"), "{err}");
        assert!(events[0].contains("src/actors/kit/panics.rs:") && !err.contains('\x1b'), "{err}");
    }

    fn panic_under_the_hook() {
        let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).finish();
        let _logging = tracing::subscriber::set_default(log);
        install_panic_hook();
        let payload = panic::catch_unwind(|| panic!("clear {}[2J me", '\x1b')).unwrap_err();
        let text = describe(&*payload);
        assert!(text.starts_with("clear \\u{1b}[2J me at src/actors/kit/panics.rs:"), "{text}");
    }
}

//! Panics as log events: constant sentence, place, text. Never raw on the terminal, where they would tear the progress
//! line and could carry a stranger's escape sequences.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{self, PanicHookInfo};

use crate::base::safe::Safe;

thread_local! {
    /// Where this thread last panicked, for the guard that is about to catch it.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
    /// The hook is running: a panic of the log itself must not call it again.
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

/// Replaces the default panic hook by one that logs through `tracing`. Once, from `app`, before the first actor starts.
pub fn install_panic_hook() {
    panic::set_hook(Box::new(on_panic));
}

fn on_panic(info: &PanicHookInfo<'_>) {
    if BUSY.replace(true) {
        return;
    }
    let place = info.location().map(|at| format!("{}:{}", at.file(), at.line()));
    tracing::error!(place = place.as_deref(), what = %payload_text(info.payload()), "code panicked");
    PLACE.replace(place);
    BUSY.set(false);
}

/// The text of a caught panic, harmless to show, with its place where the hook knows it.
pub(super) fn describe(payload: &(dyn Any + Send)) -> String {
    let what = payload_text(payload);
    match PLACE.take() {
        Some(place) => format!("{what} at {place}"),
        None => what,
    }
}

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
}

//! Injected panics: before each message is handled, a plan may decide to panic (FAULTS ).
//!
//! Compiled for tests and the `faults` feature only. A plan belongs to its thread. Without one, each message costs the
//! check of one flag. This module knows no particular actor.

use std::cell::{Cell, RefCell};
use std::{fmt, panic};

thread_local! {
    static ARMED: Cell<bool> = const { Cell::new(false) };
    static PLAN: RefCell<Option<Plan>> = const { RefCell::new(None) };
}

type Plan = Box<dyn FnMut(InjectionSite) -> bool>;

/// A kind of actor that is about to handle a type of message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InjectionSite {
    /// The kind of actor, as in the logs.
    pub actor: &'static str,
    /// The type of the message, without its path.
    pub message: &'static str,
}

impl fmt::Display for InjectionSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.actor, self.message)
    }
}

/// While this lives, the plan of this thread is called before every message and panics by returning `true`.
#[derive(Debug)]
#[must_use = "the plan ends when this is dropped"]
pub struct Armed(());

/// Installs a plan for this thread.
pub fn arm(plan: impl FnMut(InjectionSite) -> bool + 'static) -> Armed {
    PLAN.replace(Some(Box::new(plan)));
    ARMED.set(true);
    Armed(())
}

impl Drop for Armed {
    fn drop(&mut self) {
        ARMED.set(false);
        PLAN.replace(None);
    }
}

/// The prefix of the text of an injected panic.
const INJECTED: &str = "injected: ";

/// Stops injected panics from being logged, for the whole process. Other panics still reach the earlier hook.
pub fn hush() {
    let others = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let text = info.payload().downcast_ref::<String>();
        if !text.is_some_and(|text| text.starts_with(INJECTED)) {
            others(info);
        }
    }));
}

/// Panics if the plan says so. The plan is not called again by a panic of its own or by messages that it handles at
/// once.
pub(super) fn strike<M>(actor: &'static str) {
    if !ARMED.get() {
        return;
    }
    let path = std::any::type_name::<M>();
    let site = InjectionSite { actor, message: path.rsplit("::").next().unwrap_or(path) };
    let Some(mut plan) = PLAN.take() else { return };
    let strikes = plan(site);
    PLAN.replace(Some(plan));
    if strikes {
        blow_up(site);
    }
}

#[expect(clippy::panic, reason = "this is what it is for")]
fn blow_up(site: InjectionSite) {
    panic!("{INJECTED}{site}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    struct Ping;

    #[test]
    fn only_the_planned_site_panics_and_only_while_armed() {
        let seen = Rc::new(Cell::new(0));
        let count = Rc::clone(&seen);
        let armed = arm(move |site| {
            count.set(count.get() + 1);
            site == InjectionSite { actor: "Bad", message: "Ping" }
        });
        strike::<Ping>("Good");
        let caught = panic::catch_unwind(|| strike::<Ping>("Bad")).unwrap_err();
        assert_eq!(caught.downcast_ref::<String>().unwrap(), "injected: Bad at Ping");
        drop(armed);
        strike::<Ping>("Bad");
        assert_eq!(seen.get(), 2);
    }
}

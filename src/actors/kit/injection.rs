//! Panics on purpose: one generic point, before a message is handled, where a plan may strike (FAULTS ).
//!
//! Compiled for tests and the `faults` feature only. A plan belongs to its thread; without one, a message costs one look
//! at a flag of the thread. Knows no actor in particular.

use std::cell::{Cell, RefCell};
use std::{fmt, panic};

thread_local! {
    static ARMED: Cell<bool> = const { Cell::new(false) };
    static PLAN: RefCell<Option<Plan>> = const { RefCell::new(None) };
}

type Plan = Box<dyn FnMut(InjectionSite) -> bool>;

/// A kind of actor about to handle a type of message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InjectionSite {
    /// The kind, as in the logs.
    pub actor: &'static str,
    /// The type, without its path.
    pub message: &'static str,
}

impl fmt::Display for InjectionSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.actor, self.message)
    }
}

/// As long as this lives, the plan of this thread is asked before every message: `true` panics.
#[derive(Debug)]
#[must_use = "the plan ends when this is dropped"]
pub struct Armed(());

/// Arms this thread.
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

/// What the text of a planned panic begins with.
const INJECTED: &str = "injected: ";

/// Planned panics are no news, and say nothing any more; all others go on to whoever heard them before. For the process.
pub fn hush() {
    let others = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let text = info.payload().downcast_ref::<String>();
        if !text.is_some_and(|text| text.starts_with(INJECTED)) {
            others(info);
        }
    }));
}

/// Panics if the plan says so. A plan that panics itself, or sends messages that are handled at once, is not asked again.
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

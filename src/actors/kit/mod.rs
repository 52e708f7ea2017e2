//! The parts of which every actor is made: supervision, metering, timers. The kit knows actix and nothing of BitTorrent.
//!
//! | file | for |
//! |---|---|
//! | `guard` | runs one child: catches its panics, restarts it, gives up |
//! | `child` | what a child and its parent tell each other |
//! | `handle` | what a parent holds of a child: stop, kill, wait for the end |
//! | `children` | a parent's children: a fixed list, or dynamic ones, each under a key |
//! | `exit` | why an actor stopped |
//! | `context` | the context all actors run in; it meters every message |
//! | `meter`, `histogram` | counters per kind of actor |
//! | `causes` | restarts of one kind of actor by cause |
//! | `ledger` | restarts by cause, and the one log event each of them is |
//! | `panics` | panics as log events, never printed to the terminal |
//! | `injection` | injected panics, for tests and the `faults` feature |
//! | `timer` | one timer per actor |
//! | `root` | a tree as its program holds it: its arbiter, its start, its bounded stop |
//!
//! Runs on any tokio `LocalSet`; needs no actix `System`, uses no registry, reads no clock but `tokio::time`.

mod causes;
pub mod child;
pub mod children;
pub mod context;
pub mod exit;
pub mod guard;
pub mod handle;
pub mod histogram;
mod incarnation;
#[cfg(any(test, feature = "faults"))]
pub mod injection;
pub mod ledger;
pub mod meter;
pub mod panics;
pub mod place;
pub mod root;
#[cfg(test)]
pub(crate) mod testing;
pub mod timer;

pub use child::{Child, ChildEvent, ChildId, Goodbye, Lifecycle};
pub use children::{ChildVerdict, Children, DynamicChildren, KeyedVerdict};
pub use context::{Ctx, Metered};
pub use exit::ActorExit;
pub use guard::{spawn, spawn_at, spawn_root, spawn_temporary};
pub use handle::{ChildHandle, SupervisedChild};
pub use ledger::{record_restart, restarts_by_cause};
pub use meter::{ActorMeter, KindSnapshot, snapshot};
pub use panics::install_panic_hook;
pub use place::{Place, RunOnArbiter};
pub use root::{TreeRoot, TreeStop};
pub use timer::Timer;

pub use crate::metered;

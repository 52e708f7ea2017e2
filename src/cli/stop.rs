//! Requests to stop, for verbs without actors: the first signal asks the verb to stop, the second ends the program at
//! once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::exit::{Problem, ProgramExit};
use crate::system::signals::{HangUp, StopSignals};

/// Returns a flag that becomes true with the first signal. The thread that waits for signals ends with the program.
pub fn on_signal() -> Result<Arc<AtomicBool>, Problem> {
    let wish = Arc::new(AtomicBool::new(false));
    let problem =
        |error: std::io::Error| Problem::new(ProgramExit::Unknown, format!("cannot wait for signals: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(problem)?;
    let signals = {
        let _context = runtime.enter();
        StopSignals::new(HangUp::Stops)
    };
    let mut signals = signals.map_err(problem)?;
    let asked = Arc::clone(&wish);
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                signals.stop().await;
                if asked.swap(true, Ordering::Relaxed) {
                    leave();
                }
            }
        });
    });
    Ok(wish)
}

#[expect(clippy::disallowed_methods, clippy::exit, reason = "a thread may hang in a dead disk; nothing was written")]
fn leave() -> ! {
    std::process::exit(ProgramExit::Killed as i32)
}

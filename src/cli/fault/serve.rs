//! What `fault peer`, `fault tracker` and `fault relay` share: a runtime, a line with the address, and the end with
//! Ctrl-C.

use std::future::Future;
use std::io;

use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use crate::cli::exit::{Problem, ProgramExit};
use crate::cli::output::Output;

/// Starts a server, prints its address, and keeps it until Ctrl-C or SIGTERM. Then prints the `summary` of what it did.
pub(super) fn until_interrupted<T>(
    start: impl Future<Output = io::Result<T>>,
    listening: impl FnOnce(&T) -> (String, Value),
    summary: impl FnOnce(&T) -> (String, Value),
    output: &Output,
) -> Result<(), Problem> {
    let served = async {
        let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let running = start.await?;
        let (line, json) = listening(&running);
        output.line(line);
        output.json(&event("listening", json));
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
        }
        let (line, mut json) = summary(&running);
        json["status"] = "complete".into();
        json["exit_code"] = 0.into();
        output.line(line);
        output.json(&event("result", json));
        Ok(())
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served = runtime.and_then(|runtime| LocalSet::new().block_on(&runtime, served));
    served.map_err(|error: io::Error| Problem::new(ProgramExit::Network, error))
}

fn event(name: &str, mut json: Value) -> Value {
    json["event"] = name.into();
    json
}

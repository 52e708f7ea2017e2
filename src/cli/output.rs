//! Standard output: text for people or one JSON object per line. If the reader is gone, the program goes on.

use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::exit::Problem;
use crate::base::safe::escaped_json;

/// Writes results. Clones write to the same place, around the same progress line.
#[derive(Debug, Clone)]
pub struct Output {
    json: bool,
    quiet: bool,
    bar: ProgressBar,
}

impl Output {
    /// Makes an output by the global options. The progress line is drawn only on a terminal, and never between JSON
    /// lines.
    pub fn new(json: bool, quiet: bool) -> Self {
        let wanted = !json && !quiet && io::stderr().is_terminal();
        let target = if wanted { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_fixed| ProgressStyle::default_spinner()));
        Self { json, quiet, bar }
    }

    /// Tells whether the output is JSON lines.
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// Tells whether the progress line is on a terminal.
    pub fn has_bar(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// Returns the progress line; logs are written around it.
    pub fn bar(&self) -> ProgressBar {
        self.bar.clone()
    }

    /// Redraws the progress lines, each cut to the width of the terminal.
    pub fn progress(&self, lines: &str) {
        let width = usize::from(console::Term::stderr().size().1);
        let cut: Vec<_> = lines.lines().map(|line| console::truncate_str(line, width, "…")).collect();
        self.bar.set_message(cut.join("\n"));
        self.bar.tick();
    }

    /// Writes a line for people.
    pub fn line(&self, line: impl std::fmt::Display) {
        if !self.json && !self.quiet {
            self.write(&format!("{line}\n"));
        }
    }

    /// Writes the answer to a request of the user, even with `--quiet`.
    pub fn answer(&self, text: impl std::fmt::Display) {
        self.write(&format!("{text}\n"));
    }

    /// Writes a line for programs.
    pub fn json(&self, value: &Value) {
        if self.json {
            let line = escaped_json(&value.to_string());
            self.write(&format!("{line}\n"));
        }
    }

    /// Writes why the command failed.
    pub fn problem(&self, problem: &Problem) {
        let Problem { exit, text } = problem;
        self.json(&json!({"event": "result", "status": "failed", "exit_code": *exit as u8, "error": text}));
        self.complain(text);
    }

    /// Writes a sentence to standard error.
    pub fn complain(&self, text: &str) {
        ignore_closed(self.bar.suspend(|| writeln!(io::stderr(), "tt-actors: {text}")));
    }

    /// Writes the lines of a log that the user asked for to standard error.
    pub fn trace(&self, lines: &[String]) {
        for line in lines {
            ignore_closed(self.bar.suspend(|| writeln!(io::stderr(), "{line}")));
        }
    }

    /// Removes the progress line.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn write(&self, text: &str) {
        let written = self.bar.suspend(|| {
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        });
        ignore_closed(written);
    }
}

/// Ignores that the reader of the output is gone: the transfer goes on. Must not be called while the progress line is
/// suspended: the log is written around it too, and would deadlock.
fn ignore_closed(written: io::Result<()>) {
    if let Err(error) = written {
        tracing::debug!(%error, "nobody reads our output");
    }
}

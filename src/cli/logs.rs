//! Where log lines go: standard error, around the progress line, or a file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::Arc;

use indicatif::ProgressBar;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

use super::args::{Global, LogFormat};
use super::exit::{Exit, Problem};
use super::output::Output;
use crate::actors::kit;

/// Installs the log and the panic hook, once.
pub fn install(global: &Global, output: &Output) -> Result<(), Problem> {
    let filter = filter(global, output)?;
    let target = match &global.log_file {
        None => Target::Terminal(output.bar()),
        Some(path) => {
            let opened = OpenOptions::new().create(true).append(true).open(path);
            let error =
                |error| Problem::new(Exit::CannotCreate, format!("cannot open log file {}: {error}", path.display()));
            Target::File(Arc::new(opened.map_err(error)?))
        }
    };
    let ansi = matches!(target, Target::Terminal(_)) && output.has_bar() && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(target);
    let installed = match global.log_format {
        LogFormat::Text => builder.with_ansi(ansi).finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_span_list(false).finish().try_init(),
    };
    if installed.is_ok() {
        kit::install_panic_hook();
    }
    Ok(())
}

/// `--log-level`, else `-v` and `-q`, else `RUST_LOG`, else warnings beside a progress line and news without one.
fn filter(global: &Global, output: &Output) -> Result<EnvFilter, Problem> {
    let from_environment = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let quiet_default = if output.has_bar() && global.log_file.is_none() { "warn" } else { "info" };
    let said = match (&global.log_level, global.verbose, global.quiet) {
        (Some(level), ..) => level.clone(),
        (None, 1, _) => "info".to_owned(),
        (None, 2, _) => "debug".to_owned(),
        (None, 3.., _) => "trace".to_owned(),
        (None, 0, true) => "error".to_owned(),
        (None, 0, false) => from_environment.unwrap_or_else(|| quiet_default.to_owned()),
    };
    // awc and its kind have nothing to tell a user of ours; who wants them names them.
    let ours = if said.contains('=') || said.contains(',') { said.clone() } else { format!("off,tt_actors={said}") };
    EnvFilter::try_new(&ours)
        .map_err(|error| Problem::new(Exit::Usage, format!("`{said}` is not a log level: {error}")))
}

/// Where lines go.
#[derive(Debug, Clone)]
enum Target {
    Terminal(ProgressBar),
    File(Arc<File>),
}

impl<'a> MakeWriter<'a> for Target {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// A log that cannot be written (disk full, terminal gone) is no reason to stop.
impl Write for Target {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let _lost = match self {
            Self::Terminal(bar) => bar.suspend(|| io::stderr().write_all(line)),
            Self::File(file) => (&**file).write_all(line),
        };
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

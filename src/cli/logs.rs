//! The destination of log lines: standard error, around the progress line, or a file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::Arc;

use indicatif::ProgressBar;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use super::args::{Global, LogFormat};
use super::exit::{Problem, ProgramExit};
use super::output::Output;
use crate::actors::kit;

/// A tracing layer beside the log.
pub type LogLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Installs the log and the panic hook. Called once.
pub fn install(global: &Global, output: &Output) -> Result<(), Problem> {
    install_beside(global, output, None, None)
}

/// Installs the log with a further layer beside it. `unless_said` is the level on a terminal if the user names none.
pub fn install_beside(
    global: &Global,
    output: &Output,
    unless_said: Option<&str>,
    listener: Option<LogLayer>,
) -> Result<(), Problem> {
    let filter = filter(global, output, unless_said)?;
    let target = match &global.log_file {
        None => Target::Terminal(output.bar()),
        Some(path) => {
            let opened = OpenOptions::new().create(true).append(true).open(path);
            let error = |error| {
                Problem::new(ProgramExit::CannotCreate, format!("cannot open log file {}: {error}", path.display()))
            };
            Target::File(Arc::new(opened.map_err(error)?))
        }
    };
    let ansi = matches!(target, Target::Terminal(_)) && output.has_bar() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt::layer().with_target(false).with_writer(target);
    let log: LogLayer = match global.log_format {
        LogFormat::Text => lines.with_ansi(ansi).with_filter(filter).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).with_filter(filter).boxed(),
    };
    let layers: Vec<LogLayer> = std::iter::once(log).chain(listener).collect();
    if tracing_subscriber::registry().with(layers).try_init().is_ok() {
        kit::install_panic_hook();
    }
    Ok(())
}

/// Returns the filter: `--log-level`, else `-v` and `-q`, else `RUST_LOG`, else warnings with a progress line and info
/// without one.
fn filter(global: &Global, output: &Output, unless_said: Option<&str>) -> Result<EnvFilter, Problem> {
    let from_environment = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let unasked = match unless_said {
        Some(level) if global.log_file.is_none() => level,
        None if output.has_bar() && global.log_file.is_none() => "warn",
        _ => "info",
    };
    let said = match (&global.log_level, global.verbose, global.quiet) {
        (Some(level), ..) => level.clone(),
        (None, 1, _) => "info".to_owned(),
        (None, 2, _) => "debug".to_owned(),
        (None, 3.., _) => "trace".to_owned(),
        (None, 0, true) => "error".to_owned(),
        (None, 0, false) => from_environment.unwrap_or_else(|| unasked.to_owned()),
    };
    // Other crates, such as awc, log nothing by default; a filter can name them.
    let ours = if said.contains('=') || said.contains(',') { said.clone() } else { format!("off,tt_actors={said}") };
    EnvFilter::try_new(&ours)
        .map_err(|error| Problem::new(ProgramExit::Usage, format!("`{said}` is not a log level: {error}")))
}

/// Where log lines go.
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

/// A log that cannot be written (disk full, terminal closed) does not stop the program.
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

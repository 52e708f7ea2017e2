//! The user's program for complete torrents (`--on-complete`).
//!
//! The program is run directly, without a shell, once for each complete torrent of a run, even if the torrent is then
//! seeded. So the name of a torrent is data in the program's environment and is never interpreted. The variables have
//! Transmission's names, so that scripts for Transmission work. The result of the program is logged and has no other
//! effect.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::actors::view::{TorrentPhase, TorrentView};

/// One minute after the last torrent has ended: enough to send a message; a longer job continues without us.
const PATIENCE: Duration = Duration::from_secs(60);

/// 4 programs at the same time. Picked by eye: a hundred torrents may be complete from the start.
const AT_ONCE: usize = 4;

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletionHook {
    program: PathBuf,
    args: Vec<OsString>,
}

impl CompletionHook {
    /// Finds the program as a shell would. This is done at the start, because an error hours later would be too late.
    pub fn find(program: &Path, args: Vec<OsString>) -> io::Result<Self> {
        let is_named_by_path = program.components().count() > 1 || program.has_root();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let places: Vec<PathBuf> = if is_named_by_path {
            vec![program.to_path_buf()]
        } else {
            std::env::split_paths(&path).map(|folder| folder.join(program)).collect()
        };
        let is_program =
            |place: &PathBuf| place.is_file() && rustix::fs::access(place, rustix::fs::Access::EXEC_OK).is_ok();
        match places.into_iter().find(is_program) {
            Some(program) => Ok(Self { program: std::path::absolute(program)?, args }),
            None if is_named_by_path && program.is_file() => Err(io::ErrorKind::PermissionDenied.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Starts the program. Its standard output is our standard error, because our standard output may be JSON.
    fn start(&self, environment: Vec<(&'static str, OsString)>) -> io::Result<tokio::process::Child> {
        let mut command = Command::new(&self.program);
        command.args(&self.args).envs(environment).stdin(Stdio::null()).stdout(io::stderr());
        command.spawn()
    }

    /// Starts the program and waits for its end.
    async fn run(&self, environment: Vec<(&'static str, OsString)>) -> io::Result<ExitStatus> {
        self.start(environment)?.wait().await
    }
}

/// The running programs of a run.
#[derive(Debug)]
pub(super) struct Hooks {
    hook: Option<Rc<CompletionHook>>,
    dir: PathBuf,
    told: Vec<bool>,
    places: Rc<Semaphore>,
    running: JoinSet<()>,
}

impl Hooks {
    /// No program is running yet. `torrents` is the number of torrents of the run.
    pub(super) fn new(hook: Option<&CompletionHook>, dir: &Path, torrents: usize) -> Self {
        Self {
            hook: hook.cloned().map(Rc::new),
            dir: std::path::absolute(dir).unwrap_or_else(|_no_current_folder| dir.to_path_buf()),
            told: vec![false; torrents],
            places: Rc::new(Semaphore::new(AT_ONCE)),
            running: JoinSet::new(),
        }
    }

    /// Starts the program for a torrent that has become complete.
    pub(super) fn on_view(&mut self, nth: usize, view: &TorrentView) {
        let is_complete = matches!(view.phase, TorrentPhase::Complete | TorrentPhase::Seeding);
        let Some(hook) = self.hook.as_ref().filter(|_| is_complete && !self.told[nth]) else { return };
        self.told[nth] = true;
        let (hook, places) = (Rc::clone(hook), Rc::clone(&self.places));
        let (environment, name) = (environment(nth, view, &self.dir), view.name.clone());
        self.running.spawn_local(async move {
            let _place = places.acquire().await;
            report(&hook.program, &name, hook.run(environment).await);
        });
    }

    /// Waits for the running programs, until [`PATIENCE`] is over or the user asks to stop. The remaining ones then run
    /// on by themselves, and those that wait for their turn are not started.
    pub(super) async fn finish(mut self, wish_to_stop: impl Future<Output = ()>) {
        let enough = async {
            tokio::select! {
                biased;
                () = wish_to_stop => {}
                () = sleep(PATIENCE) => {}
            }
        };
        tokio::pin!(enough);
        loop {
            tokio::select! {
                biased;
                () = &mut enough => break,
                ended = self.running.join_next() => if ended.is_none() { return },
            }
        }
        let running = AT_ONCE - self.places.available_permits();
        let not_started = self.running.len() - running;
        tracing::warn!(running, not_started, "program for a complete torrent is not waited for");
    }
}

/// Logs how the program for a torrent has ended.
fn report(program: &Path, name: &str, ended: io::Result<ExitStatus>) {
    use std::os::unix::process::ExitStatusExt;
    let (program, torrent) = (program.display(), crate::base::safe::Safe::new(name));
    match ended {
        Ok(status) if status.success() => tracing::info!(%program, %torrent, "program for a complete torrent is done"),
        Ok(status) => {
            let (code, signal) = (status.code(), status.signal());
            tracing::warn!(%program, %torrent, code, signal, "program for a complete torrent has failed");
        }
        Err(error) => tracing::warn!(%program, %torrent, %error, "program for a complete torrent cannot be started"),
    }
}

/// The variables of Transmission. The torrent's number is that in this run, and the bytes are those received in this
/// run.
fn environment(nth: usize, view: &TorrentView, dir: &Path) -> Vec<(&'static str, OsString)> {
    vec![
        ("TR_APP_VERSION", env!("CARGO_PKG_VERSION").into()),
        ("TR_TIME_LOCALTIME", jiff::Zoned::now().strftime("%a %b %e %H:%M:%S %Y").to_string().into()),
        ("TR_TORRENT_BYTES_DOWNLOADED", view.bytes_received.to_string().into()),
        ("TR_TORRENT_DIR", dir.into()),
        ("TR_TORRENT_HASH", view.info_hash.to_string().into()),
        ("TR_TORRENT_ID", (nth + 1).to_string().into()),
        ("TR_TORRENT_NAME", view.name.clone().into()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::InfoHash;
    use std::os::unix::fs::PermissionsExt;

    fn script(dir: &Path, body: &str) -> CompletionHook {
        let path = dir.join("script");
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        CompletionHook::find(&path, vec!["one two".into(), "$HOME;".into()]).unwrap()
    }

    fn view(phase: TorrentPhase) -> TorrentView {
        let mut view = TorrentView::new("a `name` $(x)".to_owned(), InfoHash([0xab; 20]), 9);
        view.phase = phase;
        view.bytes_received = 7;
        view
    }

    fn block_on(hooks: impl AsyncFnOnce()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, hooks());
    }

    #[test]
    fn the_program_runs_once_for_a_complete_torrent_with_its_variables() {
        let dir = tempfile::tempdir().unwrap();
        let hook = script(
            dir.path(),
            r#"echo "$TR_TORRENT_ID|$TR_TORRENT_NAME|$TR_TORRENT_HASH|$TR_TORRENT_BYTES_DOWNLOADED|$1|$2" >> "$TR_TORRENT_DIR/said""#,
        );
        block_on(async || {
            let mut hooks = Hooks::new(Some(&hook), dir.path(), 2);
            for phase in [
                TorrentPhase::Opening,
                TorrentPhase::Fetching,
                TorrentPhase::Seeding,
                TorrentPhase::Seeding,
                TorrentPhase::Complete,
            ] {
                hooks.on_view(1, &view(phase));
            }
            hooks.on_view(0, &view(TorrentPhase::Fetching));
            hooks.finish(std::future::pending()).await;
        });
        let said = std::fs::read_to_string(dir.path().join("said")).unwrap();
        assert_eq!(said, format!("2|a `name` $(x)|{}|7|one two|$HOME;\n", "ab".repeat(20)));
    }

    #[test]
    fn a_failing_program_is_only_logged() {
        let dir = tempfile::tempdir().unwrap();
        let hook = script(dir.path(), "kill -9 $$");
        std::fs::remove_file(dir.path().join("script")).unwrap();
        block_on(async || {
            for hook in [Some(script(dir.path(), "exit 3")), Some(hook), None] {
                let mut hooks = Hooks::new(hook.as_ref(), dir.path(), 1);
                hooks.on_view(0, &view(TorrentPhase::Complete));
                hooks.finish(std::future::pending()).await;
            }
        });
    }

    #[test]
    fn a_request_to_stop_leaves_the_program_running() {
        let dir = tempfile::tempdir().unwrap();
        // The program ends by itself, long after the test.
        let hook = script(dir.path(), "exec sleep 20");
        block_on(async || {
            let mut hooks = Hooks::new(Some(&hook), dir.path(), 1);
            hooks.on_view(0, &view(TorrentPhase::Complete));
            hooks.finish(std::future::ready(())).await;
        });
    }

    #[test]
    fn a_missing_program_is_an_error_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let plain = dir.path().join("plain");
        std::fs::write(&plain, "x").unwrap();
        let kind = |program: &Path| CompletionHook::find(program, Vec::new()).map_err(|error| error.kind());
        assert_eq!(kind(&dir.path().join("absent")), Err(io::ErrorKind::NotFound));
        assert_eq!(kind(&plain), Err(io::ErrorKind::PermissionDenied));
        assert_eq!(kind(Path::new("tt-actors-no-such-program")), Err(io::ErrorKind::NotFound));
        assert!(CompletionHook::find(Path::new("sh"), Vec::new()).unwrap().program.is_absolute());
    }
}

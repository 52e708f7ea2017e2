//! The referee: examines what a run left behind and what the harness recorded, and says which invariant broke.
//!
//! It shares no decision with the client: it compares bytes with the payload's recipe, reads the figures of `/proc` and
//! counts what arrived at the other ends. Each function judges one thing and returns a verdict if it did not hold.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::payload::Payload;
use super::program::{Finished, Usage};
use super::scenario::RefereeVerdict;
use super::torrent::Recipe;
use super::tracker::TrackerRecord;
use crate::base::units::{Bytes, DurationText};
use crate::codec::tracker::Event;

/// 1 MiB: what is compared at once.
const READ_LEN: usize = 1 << 20;

/// State that a client may keep beside the data: ours, aria2's control file, the usual names for unfinished data,
/// rqbit's and transmission's.
const OWN_STATE: [&str; 5] = [".tt-actors", ".rqbit", ".config", "resume", "torrents"];
const OWN_ENDINGS: [&str; 4] = ["aria2", "part", "parts", "fastresume"];

/// I5: the upper limits of what a run may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Resident memory, in bytes.
    pub memory: u64,
    /// Open descriptors.
    pub descriptors: usize,
}

impl Default for Caps {
    /// 256 MiB: four times what may be between request and disk. 512 descriptors: half of what a shell gives a process.
    fn default() -> Self {
        Self { memory: 256 << 20, descriptors: 512 }
    }
}

/// Returns the files of a torrent in order: paths below the output folder, and lengths in bytes.
pub fn files_of(recipe: &Recipe, payload: Payload) -> Vec<(PathBuf, u64)> {
    let root = PathBuf::from(&recipe.name);
    if recipe.files.is_empty() {
        return vec![(root, payload.len())];
    }
    recipe.files.iter().map(|(path, len)| (root.join(path), *len)).collect()
}

/// I2: checks that the bytes below `dir` are those of the payload. Returns the first difference, or the error that
/// prevented the comparison.
pub fn judge_bytes(dir: &Path, files: &[(PathBuf, u64)], payload: Payload) -> Option<RefereeVerdict> {
    let mut offset = 0;
    for (path, len) in files {
        let why = match compare(&dir.join(path), *len, payload, offset) {
            Ok(None) => {
                offset += len;
                continue;
            }
            Ok(Some(why)) => why,
            Err(error) => error.to_string(),
        };
        return broke("I2", format!("{}: {why}", path.display()));
    }
    None
}

/// Returns how a file differs from `len` bytes of the payload at `offset`, if it does.
fn compare(path: &Path, len: u64, payload: Payload, offset: u64) -> io::Result<Option<String>> {
    if path.is_symlink() {
        return Ok(Some("is a symbolic link".to_owned()));
    }
    let file = File::open(path)?;
    let found = file.metadata()?.len();
    if found != len {
        return Ok(Some(format!("has {found} bytes, the torrent says {len}")));
    }
    // The buffer is no larger than the file: there may be ten thousand files.
    let size = usize::try_from(len).unwrap_or(READ_LEN).min(READ_LEN);
    let mut file = BufReader::with_capacity(size, file);
    let (mut want, mut got) = (vec![0; size], vec![0; size]);
    let mut at = 0;
    while at < len {
        let step = usize::try_from((len - at).min(size as u64)).unwrap_or(size);
        payload.fill(offset + at, &mut want[..step]);
        file.read_exact(&mut got[..step])?;
        if let Some(first) = want[..step].iter().zip(&got[..step]).position(|(want, got)| want != got) {
            return Ok(Some(format!("differs from byte {}", at + first as u64)));
        }
        at += step as u64;
    }
    Ok(None)
}

/// I2: checks that `dir` holds only files of the torrent and the client's own state.
pub fn judge_folder(dir: &Path, files: &[(PathBuf, u64)]) -> Option<RefereeVerdict> {
    let expected: BTreeSet<&Path> = files.iter().flat_map(|(path, _)| path.ancestors()).collect();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(dir.join(&folder)) {
            Ok(entries) => entries,
            Err(error) => return broke("I2", format!("{}: {error}", dir.join(&folder).display())),
        };
        for name in entries.filter_map(|entry| Some(entry.ok()?.file_name())) {
            let path = folder.join(name);
            if is_own_state(&path) {
                continue;
            }
            if !expected.contains(path.as_path()) {
                return broke("I2", format!("{} is not of this torrent", path.display()));
            }
            let whole = dir.join(&path);
            if whole.is_dir() && !whole.is_symlink() {
                folders.push(path);
            }
        }
    }
    None
}

fn is_own_state(path: &Path) -> bool {
    let by_name = path.file_name().is_some_and(|name| OWN_STATE.iter().any(|own| name == *own));
    by_name || path.extension().is_some_and(|ending| OWN_ENDINGS.iter().any(|own| ending == *own))
}

/// I2: checks that the folder around the output holds only what the harness put there.
pub fn judge_surroundings(around: &Path, ours: &[&str]) -> Option<RefereeVerdict> {
    let entries = std::fs::read_dir(around).ok()?;
    let mut names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
    let foreign = names.find(|name| !ours.iter().any(|own| name == *own))?;
    broke("I2", format!("{} lies outside the output folder", foreign.to_string_lossy()))
}

/// I4: checks that the client neither died of a signal other than `sent`, the one that the harness sent, nor reported a
/// panic.
pub fn judge_ending(run: &Finished, sent: Option<i32>) -> Option<RefereeVerdict> {
    let code = run.code();
    if code > 128 && sent.is_none_or(|signal| code != 128 + signal) && is_signalled(run) {
        return Some(RefereeVerdict::Crashed(format!("signal {} ended it", code - 128)));
    }
    let panicked = run.err.iter().chain(&run.out).find(|line| line.contains("panicked at"));
    panicked.map(|line| RefereeVerdict::Crashed(line.chars().take(200).collect()))
}

fn is_signalled(run: &Finished) -> bool {
    use std::os::unix::process::ExitStatusExt;
    run.status.signal().is_some()
}

/// I5: checks that it stayed below its caps.
pub fn judge_usage(usage: Usage, caps: Caps) -> Option<RefereeVerdict> {
    let peak = usage.peak_kib * 1024;
    if peak > caps.memory {
        return broke("I5", format!("{} of memory, allowed are {}", Bytes(peak), Bytes(caps.memory)));
    }
    if usage.descriptors > caps.descriptors {
        return broke("I5", format!("{} descriptors, allowed are {}", usage.descriptors, caps.descriptors));
    }
    None
}

/// I7: checks that announces without an event came at least `floor` after the announce before. An announce with an
/// event may come at any time.
pub fn judge_announces(who: &str, record: &TrackerRecord, floor: Duration) -> Option<RefereeVerdict> {
    let announces: Vec<_> = record.announces().collect();
    for pair in announces.windows(2) {
        let [(before, _), (then, request)] = pair else { continue };
        let gap = then.duration_since(*before);
        if request.event == Event::Periodic && gap < floor {
            return broke(
                "I7",
                format!("{who} was asked again after {}, the floor is {}", DurationText(gap), DurationText(floor)),
            );
        }
    }
    None
}

/// I7: checks that an address that gave nothing was dialled at most `most` times.
pub fn judge_dials(who: &str, dials: u64, most: u64) -> Option<RefereeVerdict> {
    if dials <= most { None } else { broke("I7", format!("{who} was dialled {dials} times, allowed are {most}")) }
}

/// Returns the gravest of several verdicts: a crash before a broken invariant, that before a lack of progress.
pub fn gravest(verdicts: impl IntoIterator<Item = RefereeVerdict>) -> RefereeVerdict {
    let weight = |verdict: &RefereeVerdict| match verdict {
        RefereeVerdict::Held => 0,
        RefereeVerdict::Skipped(_) => 1,
        RefereeVerdict::NotLive(_) => 2,
        RefereeVerdict::Broke { .. } => 3,
        RefereeVerdict::Crashed(_) => 4,
    };
    let graver =
        |worst: RefereeVerdict, next: RefereeVerdict| if weight(&next) > weight(&worst) { next } else { worst };
    verdicts.into_iter().fold(RefereeVerdict::Held, graver)
}

#[expect(clippy::unnecessary_wraps, reason = "every judge gives a verdict or none")]
fn broke(invariant: &'static str, how: String) -> Option<RefereeVerdict> {
    Some(RefereeVerdict::Broke { invariant, how })
}

#[cfg(test)]
mod tests;

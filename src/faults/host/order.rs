//! The order of system calls in a trace of strace: was all data synced before the record that claims it?
//!
//! It knows file names and calls. It judges the client's last record, which claims everything.

use std::collections::{BTreeMap, BTreeSet};

/// What one line of the trace reports.
#[derive(Debug, PartialEq, Eq)]
enum Event<'a> {
    Begins(Call<'a>),
    /// The end of a call whose start was on an earlier line.
    Goes,
    Whole(Call<'a>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call<'a> {
    Write(&'a str),
    Sync(&'a str),
    Record,
}

/// Returns the files with a write that was not synced when the last record was renamed into place. Needs a trace of
/// `pwritev`, `fdatasync` and `rename` with the paths of descriptors (`-y`).
pub(super) fn unsynced(trace: &str) -> BTreeSet<String> {
    let mut under_way: BTreeMap<&str, (usize, Call<'_>)> = BTreeMap::new();
    let mut written: BTreeMap<&str, usize> = BTreeMap::new();
    let mut synced: BTreeMap<&str, usize> = BTreeMap::new();
    let mut left = BTreeSet::new();
    for (at, line) in trace.lines().enumerate() {
        let Some((thread, said)) = line.split_once(' ') else { continue };
        let (began, call) = match read(said.trim_start()) {
            Some(Event::Begins(call)) => {
                under_way.insert(thread, (at, call));
                continue;
            }
            Some(Event::Goes) => match under_way.remove(thread) {
                Some(begun) => begun,
                None => continue,
            },
            Some(Event::Whole(call)) => (at, call),
            None => continue,
        };
        match call {
            Call::Write(path) => drop(written.insert(path, at)),
            Call::Sync(path) => drop(synced.insert(path, began)),
            Call::Record => {
                let is_left = |(path, end): (&&str, &usize)| {
                    synced.get(*path).is_none_or(|start| start < end).then(|| (*path).to_owned())
                };
                left = written.iter().filter_map(is_left).collect();
            }
        }
    }
    left
}

fn read(said: &str) -> Option<Event<'_>> {
    if said.starts_with("<... ") {
        return Some(Event::Goes);
    }
    let (name, rest) = said.split_once('(')?;
    let path = || rest.split_once('<')?.1.split_once('>').map(|(path, _)| path);
    let call = match name {
        "pwritev" => Call::Write(path()?),
        "fdatasync" => Call::Sync(path()?),
        "rename" if rest.contains(".resume.new\"") => Call::Record,
        _ => return None,
    };
    Some(if said.ends_with("<unfinished ...>") { Event::Begins(call) } else { Event::Whole(call) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_outlasts_the_sync_is_found() {
        let trace = "\
7 pwritev(3</o/a>, [{iov_base=\"x\", iov_len=1}], 1, 0) = 1 (DELAYED)
8 pwritev(4</o/b>, [{iov_base=\"x\", iov_len=1}], 1, 0 <unfinished ...>
9 fdatasync(3</o/a>) = 0
9 fdatasync(4</o/b> <unfinished ...>
8 <... pwritev resumed>) = 1 (DELAYED)
9 <... fdatasync resumed>) = 0
9 rename(\"/o/.s/1.resume\", \"/o/.s/1.resume.prev\") = 0
9 rename(\"/o/.s/1.resume.new\", \"/o/.s/1.resume\") = 0
";
        assert_eq!(unsynced(trace), ["/o/b".to_owned()].into());
        let healed = "9 fdatasync(4</o/b>) = 0\n9 rename(\"/o/.s/1.resume.new\", \"/o/.s/1.resume\") = 0\n";
        assert!(unsynced(&(trace.to_owned() + healed)).is_empty());
        assert!(unsynced("").is_empty());
    }
}

//! `--select-file` and `--select`: the selection of files of a torrent.

use globset::{Glob, GlobMatcher};

use super::exit::{Problem, ProgramExit};
use crate::base::safe::Safe;
use crate::codec::metainfo::{FileEntry, Metainfo};
use crate::logic::torrent::selection::FileNumbers;

/// An error names five files at most; `--list` names all.
const NAMES_SHOWN: usize = 5;

/// Which files; both options add to each other.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SelectArgs {
    /// Only the files with these numbers of `fetch --list`, as in 1-5,8 (repeatable)
    #[arg(long, value_name = "NUMBERS")]
    pub select_file: Vec<FileNumbers>,
    /// Only the files whose path matches, such as `*.mkv` or `album/art/*` (repeatable)
    #[arg(long, value_name = "GLOB")]
    pub select: Vec<String>,
}

/// Returns which files are selected, in the order of the torrent; `None` for all of them. Padding is never selected.
pub fn select(args: &SelectArgs, metainfo: &Metainfo) -> Result<Option<Vec<bool>>, Problem> {
    if args.select_file.is_empty() && args.select.is_empty() {
        return Ok(None);
    }
    let count = metainfo.info.files.len();
    if let Some(beyond) = args.select_file.iter().map(FileNumbers::last).find(|last| *last > count) {
        return Err(usage(metainfo, &format!("--select-file {beyond}: there is no such file")));
    }
    let mut wanted: Vec<bool> =
        (0..count).map(|file| args.select_file.iter().any(|numbers| numbers.has(file))).collect();
    for pattern in &args.select {
        let glob = Glob::new(pattern);
        let glob = glob.map_err(|error| Problem::new(ProgramExit::Usage, format!("--select {pattern}: {error}")))?;
        let glob = glob.compile_matcher();
        let matches: Vec<bool> =
            metainfo.info.files.iter().map(|file| !file.padding && is_match(&glob, file, metainfo)).collect();
        if !matches.contains(&true) {
            return Err(usage(metainfo, &format!("--select {pattern}: no file matches")));
        }
        wanted.iter_mut().zip(matches).for_each(|(wanted, matches)| *wanted |= matches);
    }
    let chosen: Vec<bool> =
        wanted.into_iter().zip(&metainfo.info.files).map(|(wanted, file)| wanted && !file.padding).collect();
    if !chosen.contains(&true) {
        return Err(usage(metainfo, "--select-file: these numbers are of padding only"));
    }
    let is_everything = chosen.iter().zip(&metainfo.info.files).all(|(wanted, file)| *wanted || file.padding);
    Ok((!is_everything).then_some(chosen))
}

/// Matches the path as `--list` shows it, or the part of it below the torrent's own folder. `*` also matches slashes.
fn is_match(glob: &GlobMatcher, file: &FileEntry, metainfo: &Metainfo) -> bool {
    let path = file.path.as_path();
    let below = path.strip_prefix(&metainfo.info.name).ok().filter(|_| metainfo.info.multi_file);
    glob.is_match(path) || below.is_some_and(|below| glob.is_match(below))
}

fn usage(metainfo: &Metainfo, what: &str) -> Problem {
    let files = metainfo.info.files.iter().filter(|file| !file.padding);
    let names: Vec<String> = files
        .clone()
        .take(NAMES_SHOWN)
        .map(|file| Safe::new(&file.path.as_path().display().to_string()).at_most(60).to_string())
        .collect();
    let more = if files.count() > NAMES_SHOWN { ", …" } else { "" };
    let last = metainfo.info.files.len();
    Problem::new(
        ProgramExit::Usage,
        format!("{what}; the torrent has 1-{last}: {}{more} (--list shows all)", names.join(", ")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Five files and, between the third and the fourth, padding.
    fn torrent() -> Metainfo {
        let text = |text: &str| format!("{}:{text}", text.len());
        let file = |path: &str, attr: &str| {
            let parts: String = path.split('/').map(text).collect();
            format!("d{attr}6:lengthi5e4:pathl{parts}ee")
        };
        let names = ["a.txt", "sub/b.txt", "sub/c.mkv"].map(|name| file(name, ""));
        let rest = ["d.mkv", "odd[1].bin"].map(|name| file(name, ""));
        let files = format!("{}{}{}", names.concat(), file(".pad/5", "4:attr1:p"), rest.concat());
        let info = format!("d5:filesl{files}e4:name3:lib12:piece lengthi16384e6:pieces20:{}e", "x".repeat(20));
        Metainfo::parse(format!("d4:info{info}e").as_bytes()).unwrap()
    }

    fn selected(numbers: &[&str], globs: &[&str]) -> Result<Option<Vec<usize>>, Problem> {
        let args = SelectArgs {
            select_file: numbers.iter().map(|text| text.parse().unwrap()).collect(),
            select: globs.iter().map(ToString::to_string).collect(),
        };
        let numbered =
            |flags: Vec<bool>| (1..).zip(flags).filter(|(_, wanted)| *wanted).map(|(number, _)| number).collect();
        select(&args, &torrent()).map(|flags| flags.map(numbered))
    }

    type Row = (&'static [&'static str], &'static [&'static str], Option<&'static [usize]>);

    #[test]
    fn files_are_chosen_by_number_and_by_path() {
        let table: [Row; 12] = [
            (&[], &[], None),
            (&["1-6"], &[], None),
            (&["1-3,5-6"], &[], None),
            (&[], &["*"], None),
            (&["2"], &[], Some(&[2])),
            (&["2", "6"], &[], Some(&[2, 6])),
            (&["3-5"], &[], Some(&[3, 5])),
            (&[], &["*.mkv"], Some(&[3, 5])),
            (&[], &["lib/sub/*"], Some(&[2, 3])),
            (&[], &["sub/*.txt", "a*"], Some(&[1, 2])),
            (&["1"], &["d.mkv"], Some(&[1, 5])),
            (&[], &["odd[[]1].bin"], Some(&[6])),
        ];
        for (numbers, globs, want) in table {
            assert_eq!(selected(numbers, globs).unwrap().as_deref(), want, "{numbers:?} {globs:?}");
        }
    }

    #[test]
    fn a_selection_without_a_match_is_a_usage_error_that_names_files() {
        let table: [(&[&str], &[&str], &str); 5] = [
            (&["9"], &[], "--select-file 9: there is no such file; the torrent has 1-6: lib/a.txt, lib/sub/b.txt"),
            (&["1-7"], &[], "--select-file 7: there is no such file"),
            (&[], &["*.avi"], "--select *.avi: no file matches; the torrent has 1-6"),
            (&["4"], &[], "padding only"),
            (&[], &["[a"], "--select [a: "),
        ];
        for (numbers, globs, want) in table {
            let problem = selected(numbers, globs).unwrap_err();
            assert_eq!(problem.exit, ProgramExit::Usage);
            assert!(problem.text.contains(want), "{}", problem.text);
        }
    }
}

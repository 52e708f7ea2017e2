//! The house rules that a compiler does not know: floors, sizes, leftovers, citations and links.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness;
use crate::support::{Lab, Needs};

/// A folder of `src/` and its floor: imports go down only, never up, never across (`docs/ARCHITECTURE.md`).
const FLOORS: &[(&str, u8)] = &[
    ("base", 0),
    ("codec", 1),
    ("logic", 2),
    ("net", 3),
    ("storage", 3),
    ("system", 3),
    ("actors", 4),
    ("app", 5),
    ("faults", 5),
    ("tracker_server", 5),
    ("sim", 6),
    ("cli", 7),
];

/// What a folder must not even know by name, besides the floors above it.
const STRANGERS: &[(&str, &[&str])] = &[
    ("base", &["tokio", "actix", "std::fs", "std::net::Tcp", "std::net::Udp", "std::time::Instant"]),
    ("codec", &["tokio", "actix", "std::fs", "std::net::Tcp", "std::net::Udp", "std::time::Instant"]),
    (
        "logic",
        &["tokio", "actix", "std::fs", "std::net::Tcp", "std::net::Udp", "Instant::now", "rand::rng()", "rand::random"],
    ),
    ("net", &["actix::"]),
    ("storage", &["actix::"]),
    ("system", &["actix"]),
    ("actors", &["clap", "indicatif", "Arbiter::current", "System::current", "spawn_blocking", "std::fs"]),
    ("faults", &["actix", "crate::logic", "crate::actors", "crate::storage"]),
    ("app", &["clap", "indicatif"]),
    ("tracker_server", &["clap", "indicatif", "Arbiter::current", "System::current", "spawn_blocking"]),
];

/// 500 lines without tests: what one still reads as a page.
const MAX_LINES: usize = 500;
/// A function is seen at once; one in 25 may be longer (the best code of the field has 1 to 4 %).
const MAX_FUNCTION: usize = 70;
const LONG_ALLOWED_ONE_IN: usize = 25;
/// Half of the functions are this short, in every project we learned from half of that.
const MEDIAN_FUNCTION: usize = 15;

/// Lines of Markdown end before column 110, so that a diff can be read.
const MAX_COLUMNS: usize = 109;

/// The wishes of the first clients, and the catalogue of faults: what a citation may name.
const CATALOGUE: &[(&str, u32)] = &[("W", 35), ("T", 25), ("P", 33), ("D", 22), ("X", 12), ("N", 12), ("S", 27)];

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// Without its tests: they may know more than the code.
    fn code(&self) -> &str {
        if ["tests.rs", "testing.rs"].iter().any(|name| self.path.ends_with(name)) || self.has_parent("tests") {
            return "";
        }
        self.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or("")
    }

    fn has_parent(&self, name: &str) -> bool {
        self.path.parent().is_some_and(|parent| parent.iter().any(|part| part == name))
    }

    /// The folder of `src/` it belongs to.
    fn folder(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src").ok()?;
        inside.iter().next()?.to_str().map(|first| first.strip_suffix(".rs").unwrap_or(first))
    }

    /// How deep its module is: 1 for `src/logic/mod.rs`, 2 for `src/logic/peers/choke.rs`.
    fn depth(&self) -> usize {
        let parts = self.path.strip_prefix("src").map_or(0, |inside| inside.iter().count());
        parts - usize::from(self.path.file_name().is_some_and(|name| name == "mod.rs"))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files of the project with this ending, by their path from its root.
fn files(ending: &str) -> Vec<Source> {
    files_below(root(), ending)
}

/// What git tracks; in a source archive without git, what is not hidden or made by a tool.
fn files_below(root: &Path, ending: &str) -> Vec<Source> {
    let mut paths = tracked(root).unwrap_or_else(|| found(root));
    paths.retain(|path| {
        let is_corpus = path.iter().any(|part| part == "corpus");
        path.to_string_lossy().ends_with(ending) && !is_corpus
    });
    paths.sort();
    let read = paths.into_iter().filter(|path| root.join(path).is_file());
    read.map(|path| Source { text: fs::read_to_string(root.join(&path)).unwrap(), path }).collect()
}

/// All that git tracks below this folder. None without git, and where this folder is not in the repository: an archive that
/// was unpacked in another project.
fn tracked(root: &Path) -> Option<Vec<PathBuf>> {
    let mut git = Command::new("git");
    // A hook of git sets these; they name whatever repository the hook runs for.
    git.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE").env_remove("GIT_INDEX_FILE");
    let output = git.arg("-C").arg(root).args(["ls-files", "-z"]).output().ok()?;
    let names = output.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let paths: Vec<_> = names.map(|name| PathBuf::from(OsStr::from_bytes(name))).collect();
    (output.status.success() && paths.iter().any(|path| path == Path::new("Cargo.toml"))).then_some(paths)
}

/// All files below this folder but those that are hidden and those of cargo's target folders and Python's environments,
/// which bear a mark whatever their name is.
fn found(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        if ["CACHEDIR.TAG", "pyvenv.cfg"].iter().any(|mark| folder.join(mark).exists()) {
            continue;
        }
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name().as_bytes().starts_with(b".") {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.path().strip_prefix(root).unwrap().to_owned());
            }
        }
    }
    found
}

fn sources() -> Vec<Source> {
    files(".rs").into_iter().filter(|file| file.path.starts_with("src")).collect()
}

fn complain(what: &str, complaints: &[String]) {
    assert!(complaints.is_empty(), "{what}:\n  {}", complaints.join("\n  "));
}

/// The top-level modules that this code names: `crate::x`, `crate::{x, y::{..}}`, and as many `super::` as lead there.
fn modules_named(code: &str, depth: usize) -> Vec<String> {
    let climb = "super::".repeat(depth.max(1));
    let code: String = code.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n");
    let starts = ["crate::", "tt_actors::", &climb];
    let behind =
        starts.iter().flat_map(|start| code.match_indices(start).map(|(at, start)| code.split_at(at + start.len()).1));
    behind.flat_map(|rest| if rest.starts_with('{') { group(rest) } else { vec![word(rest)] }).collect()
}

/// The first words of `{a::b, c::{d, e}, f}`.
fn group(rest: &str) -> Vec<String> {
    let mut depth = 0_i32;
    let mut names = vec![String::new()];
    let mut open = true;
    for c in rest.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => {
                names.push(String::new());
                open = true;
            }
            ':' => open = false,
            c if depth == 1 && open && !c.is_whitespace() => names.last_mut().unwrap().push(c),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

fn word(rest: &str) -> String {
    rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn floor_of(folder: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == folder).map(|(_, floor)| *floor)
}

/// W-21: "to many dependencies from a to b and c and over back".
#[test]
fn imports_go_down_only() {
    let mut complaints = Vec::new();
    for file in sources() {
        let Some((folder, floor)) = file.folder().and_then(|folder| Some((folder, floor_of(folder)?))) else {
            continue;
        };
        for other in modules_named(file.code(), file.depth()) {
            let reaches = floor_of(&other).is_some_and(|theirs| theirs >= floor && other != folder);
            if reaches {
                complaints.push(format!("{}: floor {floor} ({folder}) names {other}", file.path.display()));
            }
        }
    }
    complain("imports that go up or across", &complaints);
}

#[test]
fn no_folder_knows_a_stranger() {
    let mut complaints = Vec::new();
    for file in sources() {
        let strangers = STRANGERS.iter().filter(|(folder, _)| Some(*folder) == file.folder());
        for stranger in strangers.flat_map(|(_, strangers)| *strangers) {
            for (number, line) in file.code().lines().enumerate() {
                let code = line.split("//").next().unwrap_or("");
                if code.contains(stranger) {
                    complaints.push(format!("{}:{}: {stranger}", file.path.display(), number + 1));
                }
            }
        }
    }
    complain("names that this floor must not know", &complaints);
}

#[test]
fn every_folder_of_the_source_has_a_floor() {
    let in_folders = sources().into_iter().filter(|file| file.path.iter().count() > 2);
    let folders: BTreeSet<String> = in_folders.filter_map(|file| Some(file.folder()?.to_owned())).collect();
    let unknown: Vec<_> = folders.into_iter().filter(|name| floor_of(name).is_none()).collect();
    complain("folders without a floor", &unknown);
}

#[test]
fn files_are_pages() {
    let long = sources().into_iter().filter_map(|file| {
        let lines = file.code().lines().count();
        (lines > MAX_LINES).then(|| format!("{}: {lines} lines", file.path.display()))
    });
    complain("files beyond 500 lines without tests", &long.collect::<Vec<_>>());
}

#[test]
fn every_file_says_what_it_is_for() {
    let all = files(".rs").into_iter().filter(|file| !file.path.starts_with("fuzz"));
    // The tests of a file stand beside it and speak for themselves.
    let named = all.filter(|file| !file.path.ends_with("tests.rs"));
    let silent = named.filter(|file| !file.text.starts_with("//!") && !file.text.starts_with("#!"));
    complain("files without a head", &silent.map(|file| file.path.display().to_string()).collect::<Vec<_>>());
}

/// The name of the type that this line makes public, be it for the whole crate or for a folder.
fn public_type(line: &str) -> Option<String> {
    let rest = line.trim_start().strip_prefix("pub")?;
    let rest = rest.strip_prefix('(').map_or(rest, |rest| rest.split_once(')').map_or("", |(_where, rest)| rest));
    let kinds = [" struct ", " enum ", " trait ", " type "];
    kinds.iter().find_map(|kind| rest.strip_prefix(kind)).map(word)
}

/// One word has one meaning: no two types that other files can name have the same name.
#[test]
fn public_types_have_names_of_their_own() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in sources() {
        for name in file.code().lines().filter_map(public_type) {
            places.entry(name).or_default().push(file.path.display().to_string());
        }
    }
    let shared = places.into_iter().filter(|(_, files)| files.len() > 1);
    complain("names of several types", &shared.map(|(name, files)| format!("{name}: {files:?}")).collect::<Vec<_>>());
}

#[test]
fn functions_are_short() {
    let mut lengths = Vec::new();
    let mut long = Vec::new();
    for file in sources() {
        for (name, line, length) in functions(file.code()) {
            lengths.push(length);
            if length > MAX_FUNCTION {
                long.push(format!("{}:{line}: {name} has {length} lines", file.path.display()));
            }
        }
    }
    lengths.sort_unstable();
    let median = lengths.get(lengths.len() / 2).copied().unwrap_or(0);
    assert!(median <= MEDIAN_FUNCTION, "half of the functions are longer than {median} lines");
    assert!(long.len() * LONG_ALLOWED_ONE_IN <= lengths.len(), "too many long functions:\n  {}", long.join("\n  "));
}

/// Name, first line and length of each function, as rustfmt lays them out: it ends where its indentation closes.
fn functions(code: &str) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    let lines: Vec<_> = code.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let Some(name) = function_name(line) else { continue };
        let end = format!("{}}}", " ".repeat(indent));
        let body = lines
            .iter()
            .skip(number)
            .position(|line| *line == end || (line.ends_with(';') && !line.starts_with(&" ".repeat(indent + 1))));
        if let Some(length) = body.filter(|length| *length > 0) {
            found.push((name, number + 1, length + 1));
        }
    }
    found
}

fn function_name(line: &str) -> Option<String> {
    let mut rest = line.trim_start();
    for qualifier in ["pub(crate) ", "pub(super) ", "pub ", "const ", "async "] {
        rest = rest.strip_prefix(qualifier).unwrap_or(rest);
    }
    let one_line = line.ends_with(';') || line.ends_with('}');
    rest.strip_prefix("fn ").filter(|_| !one_line).map(word)
}

#[test]
fn nothing_is_left_for_later() {
    // Written so that this very file does not contain what it looks for.
    let leftovers = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("db", "g!("),
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("#[ig", "nore"),
    ];
    let mut complaints = Vec::new();
    for file in files(".rs").into_iter().chain(files(".py")).chain(files(".toml")) {
        for (number, line) in file.text.lines().enumerate() {
            if let Some(leftover) = leftovers.iter().find(|leftover| line.contains(**leftover)) {
                complaints.push(format!("{}:{}: {leftover}", file.path.display(), number + 1));
            }
        }
    }
    complain("leftovers", &complaints);
}

/// `fuzz/` is a workspace of its own, so a new dependency is easily forgotten in its lock file.
#[test]
fn the_lock_file_of_the_fuzz_targets_knows_every_dependency() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut names = BTreeSet::new();
    let mut is_ours = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            is_ours = line.ends_with("dependencies]") && !line.ends_with("dev-dependencies]");
        } else if let Some((name, _)) = line.split_once(" = ").filter(|_| is_ours) {
            names.insert(name);
        }
    }
    assert!(names.contains("bytes") && names.contains("tokio"), "both tables are read: {names:?}");
    let lock = fs::read_to_string(root().join("fuzz/Cargo.lock")).unwrap();
    let ours = lock.split("\n[[package]]\n").find(|package| package.starts_with("name = \"tt-actors\"\n")).unwrap();
    let missing: Vec<_> =
        names.into_iter().filter(|name| !ours.contains(&format!("\n \"{name}"))).map(str::to_owned).collect();
    complain("missing in fuzz/Cargo.lock (cargo metadata --manifest-path fuzz/Cargo.toml writes it)", &missing);
}

/// A suppressed lint says why, and is noticed when it is no longer needed: `expect`, never `allow`.
#[test]
fn no_lint_is_allowed_in_silence() {
    let allow = concat!("#[al", "low(");
    let silent = files(".rs").into_iter().filter(|file| file.text.contains(allow));
    complain("bare allow", &silent.map(|file| file.path.display().to_string()).collect::<Vec<_>>());
}

#[test]
fn every_citation_names_what_exists() {
    let mut complaints = Vec::new();
    for file in files(".rs").into_iter().chain(files(".md")) {
        for (letter, number) in citations(&file.text) {
            let last = CATALOGUE.iter().find(|(name, _)| *name == letter).map_or(0, |(_, last)| *last);
            if number == 0 || number > last {
                complaints.push(format!("{}: {letter}-{number:02}", file.path.display()));
            }
        }
    }
    complain("citations of nothing", &complaints);
}

/// Every `L-nn` that stands alone, for the letters of the catalogue.
fn citations(text: &str) -> Vec<(String, u32)> {
    let words = text.split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_'));
    let cited = words.filter_map(|word| {
        let (letter, digits) = word.split_once('-')?;
        let known = CATALOGUE.iter().any(|(name, _)| *name == letter);
        let two = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        (known && two).then(|| Some((letter.to_owned(), digits.parse().ok()?)))?
    });
    cited.collect()
}

/// Every relative link of the documentation leads to a file.
#[test]
fn links_lead_somewhere() {
    let mut complaints = Vec::new();
    for page in files(".md") {
        let folder = root().join(&page.path).parent().unwrap().to_owned();
        for link in links(&page.text) {
            let target = link.split('#').next().unwrap_or("");
            if !target.is_empty() && !folder.join(target).exists() {
                complaints.push(format!("{}: {link}", page.path.display()));
            }
        }
    }
    complain("links to nowhere", &complaints);
}

/// Every path that the documentation puts into backticks is one: in the project or in its `src/`.
#[test]
fn paths_lead_somewhere() {
    let mut complaints = Vec::new();
    for page in files(".md").into_iter().filter(|page| page.path != Path::new("CHANGELOG.md")) {
        for path in paths(&page.text) {
            if !root().join(path).exists() && !root().join("src").join(path).exists() {
                complaints.push(format!("{}: {path}", page.path.display()));
            }
        }
    }
    complain("paths to nowhere", &complaints);
}

/// Applies to rows of tables too: a table whose rows do not fit is a list.
#[test]
fn lines_of_the_documentation_fit_into_a_diff() {
    let mut complaints = Vec::new();
    for page in files(".md") {
        complaints.extend(long_lines(&page.text).into_iter().map(|line| format!("{}:{line}", page.path.display())));
    }
    complain("lines of Markdown beyond column 109", &complaints);
}

/// The numbers of the lines that are too long. Excepted are lines of a fenced block, which is copied as it is, and a line of
/// one word behind its list marker, such as a URL, because it cannot be cut.
fn long_lines(page: &str) -> Vec<usize> {
    let mut is_fenced = false;
    let mut long = Vec::new();
    for (number, line) in (1..).zip(page.lines()) {
        is_fenced ^= line.trim_start().starts_with("```");
        let is_one_word = !line.trim_start().trim_start_matches(['*', '-', ' ']).contains(' ');
        if !is_fenced && !is_one_word && line.chars().count() > MAX_COLUMNS {
            long.push(number);
        }
    }
    long
}

/// What stands in backticks and begins with a folder of the project or of its `src/`, up to a line number or a star.
fn paths(page: &str) -> Vec<&str> {
    let of_root = ["src", "docs", "tests", "benches", "fuzz"];
    let known = |first: &str| of_root.contains(&first) || FLOORS.iter().any(|(folder, _)| *folder == first);
    let quoted = page.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let paths = quoted.filter(|text| !text.contains([' ', ':', '*', '<', '(']));
    paths.filter(|text| text.split_once('/').is_some_and(|(first, _)| known(first))).collect()
}

/// The targets of `[text](target)` that are not on the web.
fn links(page: &str) -> Vec<&str> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:")).collect()
}

/// Attributes of other crates end in the built-in `#[test]`, which leaves a function out where the harness is our own.
#[test]
fn every_test_of_this_program_is_registered() {
    let registered: BTreeSet<&str> = harness::registered().filter_map(|path| path.rsplit("::").next()).collect();
    let mut complaints = Vec::new();
    for file in files(".rs").into_iter().filter(|file| file.path.starts_with("tests/it")) {
        complaints.extend(unregistered(&file.text, &registered).map(|what| format!("{}: {what}", file.path.display())));
    }
    complain("tests that would not run (a module that main.rs does not name, or another test attribute)", &complaints);
}

/// The functions below a test's attribute that are not among these names, and the attributes that would not register any.
fn unregistered<'a>(code: &'a str, registered: &'a BTreeSet<&str>) -> impl Iterator<Item = &'a str> {
    let lines: Vec<&str> = code.lines().map(str::trim).collect();
    let attributes = lines.clone().into_iter().filter(|line| line.starts_with("#[") && line.contains("::test"));
    let tests = lines.iter().enumerate().filter(|(_, line)| **line == "#[test]").map(|(at, _)| at);
    let named = tests.filter_map(|at| lines.iter().skip(at).find_map(|line| line.split_once("fn ")));
    let names: Vec<&str> = named.map(|(_, rest)| rest.split(['(', '<']).next().unwrap_or("")).collect();
    attributes.chain(names.into_iter().filter(|name| !registered.contains(name)))
}

/// A tree with what builders and editors leave beside the sources.
fn littered(lab: &Lab) -> PathBuf {
    let root = lab.folder("project");
    let write = |path: &str, text: &str| {
        fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        fs::write(root.join(path), text).unwrap();
    };
    for path in ["Cargo.toml", "src/lib.rs", "src/deep/a.rs", "fuzz/corpus/x.rs"] {
        write(path, "");
    }
    for path in ["target-2/CACHEDIR.TAG", "target-2/debug/out.rs", "env/pyvenv.cfg", "env/lib/b.rs", ".idea/c.rs"] {
        write(path, "");
    }
    root
}

fn names_of(sources: &[Source]) -> Vec<&str> {
    sources.iter().map(|file| file.path.to_str().unwrap()).collect()
}

#[test]
fn without_git_target_folders_and_environments_are_not_the_projects() {
    let lab = Lab::new();
    assert_eq!(names_of(&files_below(&littered(&lab), ".rs")), ["src/deep/a.rs", "src/lib.rs"]);
}

#[test]
fn with_git_only_what_is_tracked_is_the_projects() {
    let Some(lab) = Lab::with(&[Needs::Git]) else { return };
    let root = littered(&lab);
    let git = |args: &[&str]| assert!(Command::new("git").arg("-C").arg(&root).args(args).status().unwrap().success());
    git(&["init", "--quiet"]);
    assert_eq!(names_of(&files_below(&root, ".rs")), ["src/deep/a.rs", "src/lib.rs"], "nothing is tracked yet");
    git(&["add", "Cargo.toml", "src/lib.rs", "fuzz", "env/lib/b.rs"]);
    assert_eq!(names_of(&files_below(&root, ".rs")), ["env/lib/b.rs", "src/lib.rs"]);
    fs::remove_file(root.join("src/lib.rs")).unwrap();
    assert_eq!(names_of(&files_below(&root, ".rs")), ["env/lib/b.rs"], "removed, and not yet committed");
}

/// The rules themselves are tried on text that breaks them.
#[test]
fn the_rules_see_what_they_are_for() {
    let code = "use crate::{base::ids::{InfoHash, PeerId}, codec};\nlet x = super::super::net::Net; // crate::cli\nuse crate::logic::peers::choke;";
    let mut named = modules_named(code, 2);
    named.sort();
    assert_eq!(named, ["base", "codec", "logic", "net"]);
    let code = "impl A {\n    pub fn one(\n        &self,\n    ) {\n        x();\n    }\n\n    fn two() {\n    }\n}\n";
    let found: BTreeMap<_, _> = functions(code).into_iter().map(|(name, _, length)| (name, length)).collect();
    assert_eq!(found, BTreeMap::from([("one".to_owned(), 5), ("two".to_owned(), 2)]));
    assert_eq!(
        citations("P-14, (T-25) UTF-8 and P-1: W-03."),
        [("P".to_owned(), 14), ("T".to_owned(), 25), ("W".to_owned(), 3)]
    );
    assert_eq!(
        paths("`src/x.rs` or `logic/y/`, not `a/b`, `logic::z`\n `docs/*.md` nor `cli` but `fuzz/corpus`"),
        ["src/x.rs", "logic/y/", "fuzz/corpus"]
    );
    let code = "  #[test]\n  fn a() {}\n#[test]\n/// x\nfn b() {}\n  #[tokio::test]\nasync fn c() {}";
    assert_eq!(unregistered(code, &BTreeSet::from(["a"])).collect::<Vec<_>>(), ["#[tokio::test]", "b"]);
    let (words, url) = ("ä ".repeat(55), format!("https://{}", "x".repeat(110)));
    let page = format!("{words}x\n{url}\n* {url}\n```\n{words}x\n```\n{}\n| {url} |\n", "ä ".repeat(54));
    assert_eq!(long_lines(&page), [1, 8]);
    assert_eq!(links("[a](b.md#c) [d](https://e) [f](../g \"h\")"), ["b.md#c", "../g"]);
}

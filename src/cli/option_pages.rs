//! The pages of `docs/options/`: every verb with its arguments and options, as Markdown, from the definitions of the
//! command line.
//!
//! Compiled for tests only. A test compares the pages with the files in the project; with `TT_WRITE_DOCS=1` it writes
//! them. Knows nothing of what an option does.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

use clap::{Arg, Command, CommandFactory};

use super::args::Args;

/// Where the pages are, from the root of the project.
const FOLDER: &str = "docs/options";
/// The page that lists the verbs and has the options of every verb.
const INDEX: &str = "README.md";
/// Markdown lines end before column 110 (`tests/it/tidy.rs`).
const WIDTH: usize = 108;
/// Set to 1, it makes the test write the pages.
const WRITE: &str = "TT_WRITE_DOCS";

const NOTE: &str =
    "<!-- Made by `TT_WRITE_DOCS=1 cargo test --lib option_pages` from src/cli/; edit the texts there. -->";

/// A page: its file name and its text.
struct Page {
    name: String,
    text: String,
}

/// All pages, the index first.
fn pages() -> Vec<Page> {
    let mut program = Args::command();
    program.build();
    let verbs: Vec<Command> = program.get_subcommands().filter(|verb| verb.get_name() != "help").cloned().collect();
    let mut pages = vec![index(&program, &verbs)];
    pages.extend(verbs.into_iter().map(verb_page));
    pages
}

fn index(program: &Command, verbs: &[Command]) -> Page {
    let mut text = format!("# Options\n\n{NOTE}\n\nA page for each verb:\n\n");
    for verb in verbs {
        let name = verb.get_name();
        item(&mut text, 0, &format!("[`{name}`]({name}.md): {}", about(verb)));
    }
    text.push_str("\n## Options of every verb\n\nThey stand before or behind the verb.\n\n");
    options(&mut text, program.get_arguments().filter(|arg| is_shown(arg)));
    Page { name: INDEX.to_owned(), text }
}

fn verb_page(mut verb: Command) -> Page {
    let name = verb.get_name().to_owned();
    let mut text = format!("# `{name}`\n\n{NOTE}\n\n");
    describe(&mut text, &mut verb, "##");
    let nested: Vec<Command> = verb.get_subcommands().filter(|verb| verb.get_name() != "help").cloned().collect();
    for mut verb in nested {
        let _infallible = write!(text, "\n## `{name} {}`\n\n", verb.get_name());
        describe(&mut text, &mut verb, "###");
    }
    text.push_str("\nThe options of every verb are in the [list of verbs](README.md).\n");
    Page { name: format!("{name}.md"), text }
}

/// What a verb is for, how it is called, its arguments and its options.
fn describe(text: &mut String, verb: &mut Command, heading: &str) {
    paragraph(text, &format!("{}.", about(verb)));
    let usage = verb.render_usage().to_string();
    let _infallible = write!(text, "\n```\n{}\n```\n", usage.trim_start_matches("Usage: ").trim());
    let (arguments, named): (Vec<&Arg>, Vec<&Arg>) =
        verb.get_arguments().filter(|arg| is_shown(arg) && !arg.is_global_set()).partition(|arg| arg.is_positional());
    for (title, args) in [("Arguments", arguments), ("Options", named)] {
        if !args.is_empty() {
            let _infallible = write!(text, "\n{heading} {title}\n\n");
            options(text, args.into_iter());
        }
    }
}

fn about(command: &Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

fn is_shown(arg: &Arg) -> bool {
    !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str())
}

fn options<'a>(text: &mut String, args: impl Iterator<Item = &'a Arg>) {
    for arg in args {
        item(text, 0, &format!("`{}`: {}{}", spelling(arg), sentences(arg), default_of(arg)));
        let takes_value = arg.get_action().takes_values() && !arg.is_hide_possible_values_set();
        for value in arg.get_possible_values().iter().filter(|value| takes_value && !value.is_hide_set()) {
            let means = value.get_help().map(|help| format!(": {help}")).unwrap_or_default();
            item(text, 1, &format!("`{}`{means}", value.get_name()));
        }
    }
}

/// What the help says of an option; a default at its end (`[default: never]`) becomes a sentence.
fn sentences(arg: &Arg) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    match help.strip_suffix(']').and_then(|help| help.split_once(" [default")) {
        Some((what, default)) => format!("{what}. Default{default}."),
        None => format!("{help}."),
    }
}

/// `-d, --dir <DIR>`, as in the help.
fn spelling(arg: &Arg) -> String {
    let short = arg.get_short().map(|short| format!("-{short}"));
    let long = arg.get_long().map(|long| format!("--{long}"));
    let names: Vec<String> = short.into_iter().chain(long).collect();
    let takes_value = arg.get_action().takes_values();
    let values = arg.get_value_names().unwrap_or_default().iter().filter(|_| takes_value);
    let values: Vec<String> = values.map(|value| format!("<{value}>")).collect();
    [names.join(", "), values.join(" ")].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

fn default_of(arg: &Arg) -> String {
    let values = arg.get_default_values();
    if values.is_empty() || arg.is_hide_default_value_set() || !arg.get_action().takes_values() {
        return String::new();
    }
    let values: Vec<_> = values.iter().map(|value| value.to_string_lossy()).filter(|value| !value.is_empty()).collect();
    if values.is_empty() { String::new() } else { format!(" Default: `{}`.", values.join(" ")) }
}

/// A list item, `depth` levels deep, wrapped.
fn item(text: &mut String, depth: usize, content: &str) {
    let indent = "  ".repeat(depth);
    wrap(text, &format!("{indent}* "), &format!("{indent}  "), content);
}

fn paragraph(text: &mut String, content: &str) {
    wrap(text, "", "", content);
}

/// Cuts at spaces that are not between backticks.
fn wrap(text: &mut String, first: &str, next: &str, content: &str) {
    let mut line = first.to_owned();
    let mut is_new = true;
    for word in words(content) {
        if !is_new && line.chars().count() + 1 + word.chars().count() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            next.clone_into(&mut line);
            is_new = true;
        }
        if !is_new {
            line.push(' ');
        }
        line.push_str(&word);
        is_new = false;
    }
    text.push_str(&line);
    text.push('\n');
}

fn words(content: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_code = false;
    for c in content.chars() {
        is_code ^= c == '`';
        match words.last_mut() {
            Some(word) if c != ' ' || is_code => word.push(c),
            _ => words.push(String::new()),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn the_option_pages_are_those_of_the_command_line() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER);
    let pages = pages();
    if env::var(WRITE).is_ok_and(|value| value == "1") {
        write_pages(&folder, &pages).unwrap();
    }
    let how = format!("run `{WRITE}=1 cargo test --lib option_pages` and commit {FOLDER}/");
    for page in &pages {
        let found = fs::read_to_string(folder.join(&page.name)).unwrap_or_default();
        assert!(found == page.text, "{FOLDER}/{} is not what the command line says: {how}", page.name);
    }
    let known = |name: &str| pages.iter().any(|page| page.name == name);
    for entry in fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(known(&name), "{FOLDER}/{name} is the page of no verb: remove it");
    }
}

fn write_pages(folder: &Path, pages: &[Page]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    pages.iter().try_for_each(|page| fs::write(folder.join(&page.name), &page.text))
}

#[test]
fn text_is_cut_at_spaces_outside_of_code() {
    let mut text = String::new();
    item(&mut text, 1, &format!("{} `a b` c", "x".repeat(100)));
    assert_eq!(text, format!("  * {}\n    `a b` c\n", "x".repeat(100)));
    assert_eq!(words("`a b`  c"), ["`a b`", "c"]);
}

#[test]
fn an_option_is_spelled_as_in_the_help() {
    let program = Args::command();
    let fetch = program.find_subcommand("fetch").unwrap();
    let spelled = |id: &str| spelling(fetch.get_arguments().find(|arg| arg.get_id() == id).unwrap());
    assert_eq!(spelled("dir"), "-d, --dir <DIR>");
    assert_eq!(spelled("overwrite"), "--overwrite");
    assert_eq!(spelled("on_complete"), "--on-complete <PROGRAM> <ARG>");
    assert_eq!(spelled("sources"), "<SOURCE>");
}

//! `fault list`: the catalogue, each entry with the scenarios that cover it or the reason why none does; or the words
//! of behaviours and toxics.

use serde_json::json;

use super::args::ListArgs;
use super::layers::abouts;
use crate::cli::output::Output;
use crate::faults::behaviour_syntax::BehaviourWord;
use crate::faults::catalogue::{CatalogueEntry, ENTRIES};
use crate::faults::scenario::About;
use crate::faults::{behaviour, relay, tracker_behaviour};

/// Runs the verb.
pub(super) fn run(args: &ListArgs, output: &Output) {
    if args.words {
        return words(output);
    }
    let abouts = abouts();
    let mut automated = 0;
    for entry in &ENTRIES {
        let tried: Vec<&About> = abouts.iter().filter(|about| about.covers.contains(&entry.id)).collect();
        automated += usize::from(!tried.is_empty());
        show(entry, &tried, output);
    }
    let scenarios = abouts.len();
    output.line(format!("{automated} of {} entries are tried by {scenarios} scenarios", ENTRIES.len()));
    output.json(&json!({
        "event": "result",
        "status": "complete",
        "exit_code": 0,
        "entries": ENTRIES.len(),
        "automated": automated,
        "scenarios": scenarios,
    }));
}

fn show(entry: &CatalogueEntry, tried: &[&About], output: &Output) {
    let mut layers: Vec<&str> = tried.iter().map(|about| about.layer.name()).collect();
    layers.sort_unstable();
    layers.dedup();
    let names: Vec<String> = tried.iter().map(|about| format!("{}:{}", about.layer, about.name)).collect();
    let how = match entry.why_not {
        Some(why) => format!("not tried: {why}"),
        None => names.join(" "),
    };
    output.line(format!("{}  {}\n      {how}", entry.id, entry.title));
    output.json(&json!({
        "event": "entry",
        "id": entry.id,
        "title": entry.title,
        "layers": layers,
        "automated": !tried.is_empty(),
        "scenarios": names,
        "why_not": entry.why_not,
    }));
}

fn words(output: &Output) {
    table("peer", behaviour::WORDS, output);
    table("tracker", tracker_behaviour::WORDS, output);
    table("relay", relay::toxic::WORDS, output);
    output.json(&json!({"event": "result", "status": "complete", "exit_code": 0}));
}

fn table<B>(whose: &str, words: &[BehaviourWord<B>], output: &Output) {
    for word in words {
        output.line(format!("{whose:<8} {:<24} {:<5} {}", word.name, word.cites, word.says));
        output.json(&json!({"event": "word", "of": whose, "word": word.name, "cites": word.cites, "says": word.says}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::catalogue::find;

    /// Every entry is covered by a scenario of some layer or gives a reason, and none does both.
    #[test]
    fn an_entry_is_covered_or_gives_a_reason() {
        let abouts = abouts();
        let unknown = abouts.iter().flat_map(|about| about.covers).find(|id| find(id).is_none());
        assert_eq!(unknown, None);
        for entry in &ENTRIES {
            let tried = abouts.iter().any(|about| about.covers.contains(&entry.id));
            assert_eq!(tried, entry.why_not.is_none(), "{entry:?}");
        }
    }
}

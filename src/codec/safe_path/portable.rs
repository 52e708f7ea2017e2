//! Names that every system can have, for disks that several systems share: `--names portable` (decision 25).

use super::{MAX_COMPONENT_LEN, cut, is_state_folder};
use crate::base::safe::{is_harmless, is_joiner};

/// Makes one name that is not a Windows device and has no character that some system refuses, hides or drops. Never
/// empty.
pub(super) fn component(raw: &[u8]) -> String {
    let mut text = String::with_capacity(raw.len());
    for chunk in raw.utf8_chunks() {
        text.extend(chunk.valid().chars().map(|c| if is_portable(c) { c } else { '_' }));
        if !chunk.invalid().is_empty() {
            text.push('_');
        }
    }
    underline_the_tail(&mut text);
    if text.is_empty() || is_device(&text) || is_state_folder(&text) {
        text.insert(0, '_');
    }
    if text.len() > MAX_COMPONENT_LEN { cut(&text, "") } else { text }
}

/// Whether every system accepts the character in a file's name and shows it. Joiners are allowed because emoji and
/// Persian words contain them.
pub(super) fn is_portable(c: char) -> bool {
    (is_harmless(c) || is_joiner(c)) && !matches!(c, '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|')
}

/// Replaces dots and spaces at the end by `_`: Windows drops them, so `a` and `a.` would be one file.
fn underline_the_tail(text: &mut String) {
    let kept = text.trim_end_matches(['.', ' ']).len();
    let dropped = text.len().saturating_sub(kept);
    text.truncate(kept);
    text.extend(std::iter::repeat_n('_', dropped));
}

/// Whether the name is a device on Windows, with or without an extension.
pub(super) fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end_matches(' ').to_ascii_uppercase();
    match stem.as_str() {
        "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$" | "CLOCK$" => true,
        other => {
            let digit = other.strip_prefix("COM").or_else(|| other.strip_prefix("LPT")).unwrap_or_default();
            matches!(digit, "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³")
        }
    }
}

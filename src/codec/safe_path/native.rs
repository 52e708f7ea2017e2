//! Names that Linux can have; other names are changed as libtorrent changes them on Linux (decision 25).

/// 240 bytes: libtorrent cuts a name here and looks for the extension in the rest.
const CUT_AT: usize = 240;

/// 9 bytes: the longest extension, with its dot, that libtorrent keeps of a name that it cuts.
const MAX_CUT_EXTENSION: usize = 9;

/// Removes `/` and NUL from a name and replaces what is not UTF-8 by `_`. `None` if no usable name is left: the name is
/// then empty, `.` or `..`.
pub(super) fn component(raw: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(raw.len());
    for chunk in raw.utf8_chunks() {
        text.extend(chunk.valid().chars().filter(|c| !matches!(c, '/' | '\0')));
        if !chunk.invalid().is_empty() {
            text.push('_');
        }
    }
    if matches!(text.as_str(), "" | "." | "..") {
        return None;
    }
    if super::is_state_folder(&text) {
        text.insert(0, '_');
    }
    Some(if text.len() > super::MAX_COMPONENT_LEN { cut(&text) } else { text })
}

/// Shortens a name to its first [`CUT_AT`] bytes, up to the end of a character, and its extension.
fn cut(text: &str) -> String {
    let at = (CUT_AT..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    let (head, tail) = text.split_at(at);
    let dot = tail.rfind('.').filter(|dot| tail.len().saturating_sub(*dot) <= MAX_CUT_EXTENSION);
    let extension = dot.map(|dot| tail.split_at(dot).1).unwrap_or_default();
    format!("{head}{extension}")
}

//! Names as Linux can have them, and as libtorrent gives them on Linux where it cannot (decision 25).

/// 240 bytes: where libtorrent cuts a name and looks for its extension.
const CUT_AT: usize = 240;

/// 9 bytes: the longest end of a name, its dot included, that libtorrent keeps as an extension.
const MAX_CUT_EXTENSION: usize = 9;

/// A name without `/` and NUL, `_` in place of what is not UTF-8. `None` if nothing is left that could be a name: it
/// was empty, `.` or `..`.
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

/// The first [`CUT_AT`] bytes, up to the end of a character, and the extension.
fn cut(text: &str) -> String {
    let at = (CUT_AT..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    let (head, tail) = text.split_at(at);
    let dot = tail.rfind('.').filter(|dot| tail.len().saturating_sub(*dot) <= MAX_CUT_EXTENSION);
    let extension = dot.map(|dot| tail.split_at(dot).1).unwrap_or_default();
    format!("{head}{extension}")
}

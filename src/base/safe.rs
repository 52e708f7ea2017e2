//! Makes untrusted text safe to show. All such text passes here on its way to a terminal or a log (S-19, S-20).

use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// 200 characters: enough for a tracker's failure reason, and a bound on a reason of a megabyte (T-09).
pub const MAX_SHOWN: usize = 200;

/// 400 characters of a path: enough for the user's folder and the longest name in it.
pub const MAX_SHOWN_PATH: usize = 400;

/// Shows untrusted bytes: control characters, escapes, line breaks, bidirectional overrides and bytes that are not
/// UTF-8 appear as visible escapes. At most [`MAX_SHOWN`] characters are shown, then `…`.
#[derive(Clone, Copy)]
pub struct Safe<'a> {
    bytes: &'a [u8],
    most: usize,
}

impl<'a> Safe<'a> {
    /// Wraps text or bytes, to be cut at [`MAX_SHOWN`] characters.
    pub fn new<T: AsRef<[u8]> + ?Sized>(text: &'a T) -> Self {
        Self { bytes: text.as_ref(), most: MAX_SHOWN }
    }

    /// Cuts at this number of characters instead.
    #[must_use]
    pub fn at_most(self, chars: usize) -> Self {
        Self { most: chars, ..self }
    }
}

impl fmt::Display for Safe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.most;
        let mut before = ' ';
        for chunk in self.bytes.utf8_chunks() {
            for c in chunk.valid().chars() {
                if left == 0 {
                    return f.write_char('…');
                }
                left -= 1;
                // Emoji and Persian words contain joiners next to non-ASCII letters. Next to ASCII a joiner is only a
                // disguise.
                if is_harmless(c) || (is_joiner(c) && !before.is_ascii()) {
                    f.write_char(c)?;
                } else {
                    write!(f, "{}", c.escape_unicode())?;
                }
                before = c;
            }
            for byte in chunk.invalid() {
                if left == 0 {
                    return f.write_char('…');
                }
                left -= 1;
                write!(f, "\\x{byte:02x}")?;
                before = ' ';
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Safe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Whether the character is none of these: a control character, one that reorders text, is invisible or breaks lines.
pub fn is_harmless(c: char) -> bool {
    let code = u32::from(c);
    let hidden = matches!(code,
        0x00AD | 0x061C | 0x180E | 0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F | 0xFEFF | 0xFFF9..=0xFFFB
        | 0x1D173..=0x1D17A | 0xE0000..=0xE007F);
    !(c.is_control() || hidden)
}

/// A path as it may be shown, because its names may come from a torrent. Cut at [`MAX_SHOWN_PATH`] characters.
pub fn shown_path(path: &Path) -> String {
    Safe::new(path.as_os_str().as_bytes()).at_most(MAX_SHOWN_PATH).to_string()
}

/// Whether the character joins or separates its neighbours: emoji use the ZWJ, Persian spelling the ZWNJ.
pub const fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

/// Escapes in JSON every control character and every character that reorders or hides text, so that none of them
/// reaches a terminal. A JSON parser reads the same text as before. `json` must be well-formed: then such characters
/// stand only inside its strings.
pub fn escaped_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if is_harmless(c) {
            escaped.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(escaped, "\\u{unit:04x}").expect("a string takes all");
            }
        }
    }
    escaped
}

/// A URL as it may be shown and logged: without user and password, and without parts of the path or the query that may
/// be secrets. A path segment is hidden if it looks like a passkey (a long run of letters and digits), a query value
/// always.
pub fn redact_url(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
    let rest = without_odd_password(rest);
    let (authority, path) = rest.split_once('/').map_or((rest, None), |(authority, path)| (authority, Some(path)));
    let host = authority.rsplit_once('@').map_or(authority, |(_userinfo, host)| host);
    let mut shown = if scheme.is_empty() { String::new() } else { format!("{scheme}://") };
    shown.push_str(host);
    for segment in path.iter().flat_map(|path| path.split('/')) {
        shown.push('/');
        shown.push_str(if looks_secret(segment) { "***" } else { segment });
    }
    for (nth, pair) in query.iter().flat_map(|query| query.split('&')).enumerate() {
        shown.push(if nth == 0 { '?' } else { '&' });
        shown.push_str(pair.split_once('=').map_or("***", |(name, _value)| name));
        shown.push_str(if pair.contains('=') { "=***" } else { "" });
    }
    Safe::new(&shown).to_string()
}

/// Removes a password that contains an unescaped `/`. The text before that `/` then looks like a port that is no
/// number.
fn without_odd_password(rest: &str) -> &str {
    let authority = rest.split_once('/').map_or(rest, |(authority, _path)| authority);
    let port = authority.rsplit_once(':').map_or("", |(_host, port)| port);
    let is_port = authority.ends_with(']') || port.bytes().all(|byte| byte.is_ascii_digit());
    if is_port { rest } else { rest.rsplit_once('@').map_or(rest, |(_userinfo, host)| host) }
}

/// Whether a path segment may be a passkey. 16 characters: the shortest passkeys of private trackers. `announce.php`
/// and similar names stay readable.
fn looks_secret(segment: &str) -> bool {
    segment.len() >= 16
        && segment.bytes().any(|b| b.is_ascii_digit())
        && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_become_visible() {
        let table: [(&[u8], &str); 11] = [
            (b"plain text", "plain text"),
            ("grüße 東京".as_bytes(), "grüße 東京"),
            (b"\x1b[2J\x1b]52;c;aGk=\x07", "\\u{1b}[2J\\u{1b}]52;c;aGk=\\u{7}"),
            (b"a\r\nb\tc\0", "a\\u{d}\\u{a}b\\u{9}c\\u{0}"),
            ("\u{202e}gpj.exe\u{9b}".as_bytes(), "\\u{202e}gpj.exe\\u{9b}"),
            (b"\xff\xfe", "\\xff\\xfe"),
            (b"", ""),
            // An emoji of a family, a Persian word, and joiners that join nothing.
            ("👩\u{200d}👧".as_bytes(), "👩\u{200d}👧"),
            ("می\u{200c}خواهم".as_bytes(), "می\u{200c}خواهم"),
            ("pay\u{200d}pal".as_bytes(), "pay\\u{200d}pal"),
            ("\u{200c}a".as_bytes(), "\\u{200c}a"),
        ];
        for (text, want) in table {
            assert_eq!(Safe::new(text).to_string(), want);
        }
        assert_eq!(Safe::new(&"x".repeat(1_000_000)).to_string(), "x".repeat(MAX_SHOWN) + "…");
        assert_eq!(Safe::new("abcdef").at_most(3).to_string(), "abc…");
    }

    #[test]
    fn secrets_leave_urls() {
        let table = [
            ("http://tracker.example:6969/announce", "http://tracker.example:6969/announce"),
            (
                "https://u:pw@t.example/announce.php?passkey=0123456789abcdef&x=1",
                "https://t.example/announce.php?passkey=***&x=***",
            ),
            ("http://t.example/0123456789abcdef0123456789abcdef/announce", "http://t.example/***/announce"),
            ("udp://t.example:80?secret", "udp://t.example:80?***"),
            ("\x1b[2Jnonsense", "\\u{1b}[2Jnonsense"),
            ("http://u:p/w@t.example/announce", "http://t.example/announce"),
            ("http://t.example:80/a@b", "http://t.example:80/a@b"),
            ("http://[::1]/a@b", "http://[::1]/a@b"),
        ];
        for (url, want) in table {
            assert_eq!(redact_url(url), want);
        }
    }

    proptest! {
        #[test]
        fn nothing_harmful_ever_comes_out(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let shown = Safe::new(&bytes).to_string();
            prop_assert!(shown.chars().all(|c| is_harmless(c) || is_joiner(c)));
            prop_assert!(shown.len() <= MAX_SHOWN * 10 + 3);
            prop_assert!(redact_url(&String::from_utf8_lossy(&bytes)).chars().all(|c| is_harmless(c) || is_joiner(c)));
        }

        #[test]
        fn escaped_json_is_harmless_and_means_the_same(text in any::<String>(), odd in "[\u{80}-\u{9f}\u{200b}-\u{202e}\u{e0041}]{0,5}") {
            let value = serde_json::json!({ "text": format!("{odd}{text}{odd}") });
            let escaped = escaped_json(&value.to_string());
            prop_assert!(escaped.chars().all(is_harmless));
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), value);
        }
    }
}

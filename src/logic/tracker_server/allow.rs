//! The list of torrents that a tracker serves: one info-hash on each line.
//!
//! This module knows the text of the list, not its file.

use crate::base::ids::InfoHash;

/// The listed torrents, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllowList(Vec<InfoHash>);

/// A line that is not an info-hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is no info-hash (40 hexadecimal digits)")]
pub struct BadAllowList {
    /// The number of the line, counted from 1.
    pub line: usize,
}

impl AllowList {
    /// Parses the list. Empty lines and text after a `#` are ignored.
    pub fn parse(text: &str) -> Result<Self, BadAllowList> {
        let mut hashes = Vec::new();
        for (line, text) in (1..).zip(text.lines()) {
            let entry = text.split('#').next().unwrap_or_default().trim();
            if !entry.is_empty() {
                hashes.push(entry.parse().map_err(|_no_hash| BadAllowList { line })?);
            }
        }
        hashes.sort_unstable();
        hashes.dedup();
        Ok(Self(hashes))
    }

    /// Whether the torrent is on the list.
    pub fn has(&self, info_hash: &InfoHash) -> bool {
        self.0.binary_search(info_hash).is_ok()
    }

    /// The number of torrents.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no torrent is on the list.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_one_hash_a_line_and_room_for_remarks() {
        let one = "0123456789abcdef0123456789abcdef01234567";
        let table = [
            (String::new(), Ok(0)),
            ("# nothing\n\n   \n".to_owned(), Ok(0)),
            (one.to_owned(), Ok(1)),
            (format!("  {one}  # the one\r\n{}\n{one}\n", "f".repeat(40)), Ok(2)),
            (format!("{one}\nnonsense\n"), Err(BadAllowList { line: 2 })),
            (format!("{one}0"), Err(BadAllowList { line: 1 })),
        ];
        for (text, want) in table {
            assert_eq!(AllowList::parse(&text).map(|list| list.len()), want, "{text}");
        }
        let list = AllowList::parse(&format!("{}\n{one}", "f".repeat(40))).unwrap();
        assert!(list.has(&one.parse().unwrap()) && list.has(&InfoHash([0xff; 20])) && !list.has(&InfoHash([0; 20])));
    }
}

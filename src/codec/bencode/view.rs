//! Reads checked bencode in place: without a copy, without recursion.

use std::iter;

use super::token::{Token, token};
use super::{BadBencode, BencodeLimits, Scan, scan};

/// One checked value, whose bytes are read in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View<'a> {
    raw: &'a [u8],
}

impl<'a> View<'a> {
    /// Scans the value at the head of the input and returns a view of it. The caller decides whether it accepts what
    /// the scan found odd, and whether bytes may follow.
    pub fn scan(input: &'a [u8], limits: BencodeLimits) -> Result<(Self, Scan), BadBencode> {
        let seen = scan(input, limits)?;
        Ok((Self { raw: input.get(..seen.len).unwrap_or(input) }, seen))
    }

    /// [`Self::scan`] for callers that accept every oddity. A key that comes twice has its first value, as in
    /// libtorrent.
    pub fn parse(input: &'a [u8], limits: BencodeLimits) -> Result<Self, BadBencode> {
        Self::scan(input, limits).map(|(view, _oddities)| view)
    }

    /// A view of bytes that have passed [`scan`]. For other bytes the methods return arbitrary values.
    pub(super) const fn of_scanned(input: &'a [u8]) -> Self {
        Self { raw: input }
    }

    /// The bytes of the value, as they were sent.
    pub const fn raw(self) -> &'a [u8] {
        self.raw
    }

    /// The string; `None` if the value is not a string.
    pub fn bytes(self) -> Option<&'a [u8]> {
        match token(self.raw) {
            Ok((Token::Text(text), _rest)) => Some(text.bytes),
            _ => None,
        }
    }

    /// The number, capped to the range of an `i64`. `None` if the value is not a number, or not a canonical one.
    pub fn number(self) -> Option<i64> {
        self.read_number(true)
    }

    /// The number, canonical or not (`i03e`, `i-0e`). For values about which two readers need not agree.
    pub fn lenient_number(self) -> Option<i64> {
        self.read_number(false)
    }

    /// The number, capped to the range of an `i64`; with `only_canonical` only if it is canonical.
    fn read_number(self, only_canonical: bool) -> Option<i64> {
        match token(self.raw) {
            Ok((Token::Number(number), _rest)) if number.is_canonical || !only_canonical => {
                let limit = if number.value < 0 { i64::MIN } else { i64::MAX };
                Some(i64::try_from(number.value).unwrap_or(limit))
            }
            _ => None,
        }
    }

    /// Whether the value is a dictionary.
    pub fn is_dict(self) -> bool {
        self.raw.first() == Some(&b'd')
    }

    /// Whether the value is a list.
    pub fn is_list(self) -> bool {
        self.raw.first() == Some(&b'l')
    }

    /// The value of a dictionary's key; `None` if it is missing or this is no dictionary. Linear in the size of the
    /// dictionary.
    pub fn find(self, key: &[u8]) -> Option<Self> {
        self.entries().find(|(name, _value)| *name == key).map(|(_name, value)| value)
    }

    /// Finds these keys of a dictionary in one pass. Finds none if this is no dictionary.
    pub fn pick(self, keys: &'static [&'static [u8]]) -> Picked<'a> {
        let mut picked = Picked { keys, found: Vec::with_capacity(keys.len()), repeated: None };
        for (key, value) in self.entries() {
            let Some(key) = keys.iter().find(|known| **known == key) else { continue };
            if picked.has(key) {
                picked.repeated.get_or_insert(key);
            } else {
                picked.found.push((key, value));
            }
        }
        picked
    }

    /// The keys and values of a dictionary, in the order in which they were sent. Empty if this is no dictionary.
    pub fn entries(self) -> impl Iterator<Item = (&'a [u8], Self)> {
        let mut rest = self.raw.strip_prefix(b"d").unwrap_or_default();
        iter::from_fn(move || {
            let (Token::Text(key), tail) = token(rest).ok()? else { return None };
            let (value, tail) = split_value(tail)?;
            rest = tail;
            Some((key.bytes, value))
        })
    }

    /// A walk through this dictionary and the dictionaries in it. Empty if this is no dictionary.
    pub fn walk(self) -> TreeWalk<'a> {
        TreeWalk { rest: self.raw.strip_prefix(b"d").unwrap_or_default() }
    }

    /// The members of a list. Empty if this is no list.
    pub fn items(self) -> impl Iterator<Item = Self> {
        let mut rest = self.raw.strip_prefix(b"l").unwrap_or_default();
        iter::from_fn(move || {
            let (value, tail) = split_value(rest)?;
            rest = tail;
            Some(value)
        })
    }
}

/// A walk through nested dictionaries, in one pass and without recursion. It enters every dictionary except those under
/// an empty key: those describe the files in the file tree of version 2 (BEP 52).
#[derive(Debug)]
pub struct TreeWalk<'a> {
    rest: &'a [u8],
}

/// One step of a [`TreeWalk`].
#[derive(Debug, Clone, Copy)]
pub enum TreeStep<'a> {
    /// The walk enters the dictionary under this key.
    Enter(&'a [u8]),
    /// The walk leaves a dictionary; the last step leaves the outermost one.
    Leave,
    /// A key with a value that the walk does not enter.
    Value(&'a [u8], View<'a>),
}

impl<'a> Iterator for TreeWalk<'a> {
    type Item = TreeStep<'a>;

    fn next(&mut self) -> Option<TreeStep<'a>> {
        let (token, tail) = token(self.rest).ok()?;
        let key = match token {
            Token::Text(key) => key.bytes,
            Token::End => {
                self.rest = tail;
                return Some(TreeStep::Leave);
            }
            Token::Number(_) | Token::List | Token::Dict => return None,
        };
        if let Some(inside) = tail.strip_prefix(b"d").filter(|_| !key.is_empty()) {
            self.rest = inside;
            return Some(TreeStep::Enter(key));
        }
        let (value, tail) = split_value(tail)?;
        self.rest = tail;
        Some(TreeStep::Value(key, value))
    }
}

/// The values of several keys of a dictionary, found in one pass. Looking up each key alone would step over a large
/// value again and again.
#[derive(Debug, Clone)]
pub struct Picked<'a> {
    keys: &'static [&'static [u8]],
    /// At most one for each of `keys`: the first, if a key comes twice.
    found: Vec<(&'static [u8], View<'a>)>,
    repeated: Option<&'static [u8]>,
}

impl<'a> Picked<'a> {
    /// One of the picked keys that comes twice; `None` if there is no such key.
    pub const fn repeated(&self) -> Option<&'static [u8]> {
        self.repeated
    }

    /// Whether the key has been found.
    fn has(&self, key: &[u8]) -> bool {
        self.found.iter().any(|(name, _value)| *name == key)
    }

    /// The value of a picked key; `None` if the dictionary does not have it.
    pub fn find(&self, key: &[u8]) -> Option<View<'a>> {
        debug_assert!(self.keys.contains(&key), "{} was not picked", key.escape_ascii());
        self.found.iter().find(|(name, _value)| *name == key).map(|(_name, value)| *value)
    }
}

/// The value at the head of checked bytes, and the bytes after it; `None` at the end of a list or dictionary.
pub(super) fn split_value(input: &[u8]) -> Option<(View<'_>, &[u8])> {
    let mut rest = input;
    let mut depth: usize = 0;
    loop {
        let (token, tail) = token(rest).ok()?;
        depth = match token {
            Token::List | Token::Dict => depth.checked_add(1)?,
            Token::End => depth.checked_sub(1)?,
            Token::Number(_) | Token::Text(_) => depth,
        };
        rest = tail;
        if depth == 0 {
            let raw = input.get(..input.len().checked_sub(rest.len())?)?;
            return Some((View { raw }, rest));
        }
    }
}

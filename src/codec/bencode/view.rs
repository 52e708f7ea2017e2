//! Checked bencode read in place: no copy, no recursion.

use std::iter;

use super::token::{Token, token};
use super::{BadBencode, BencodeLimits, Scan, scan};

/// One checked value, read in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View<'a> {
    raw: &'a [u8],
}

impl<'a> View<'a> {
    /// Scans the value at the head of the input, then views it. What is odd about it, and whether anything is behind
    /// it, is for the caller to judge.
    pub fn scan(input: &'a [u8], limits: BencodeLimits) -> Result<(Self, Scan), BadBencode> {
        let seen = scan(input, limits)?;
        Ok((Self { raw: input.get(..seen.len).unwrap_or(input) }, seen))
    }

    /// [`Self::scan`] for who does not care what is odd. A key that comes twice has its first value, as in libtorrent.
    pub fn parse(input: &'a [u8], limits: BencodeLimits) -> Result<Self, BadBencode> {
        Self::scan(input, limits).map(|(view, _oddities)| view)
    }

    /// Of bytes whose head has passed [`scan`]; from others it reads nonsense.
    pub(super) const fn of_scanned(input: &'a [u8]) -> Self {
        Self { raw: input }
    }

    /// The value as it was sent.
    pub const fn raw(self) -> &'a [u8] {
        self.raw
    }

    /// The string, if it is one.
    pub fn bytes(self) -> Option<&'a [u8]> {
        match token(self.raw) {
            Ok((Token::Text(text), _rest)) => Some(text.bytes),
            _ => None,
        }
    }

    /// The number, if it is a canonical one; beyond the range of an `i64` it is the nearest end of it.
    pub fn number(self) -> Option<i64> {
        self.read_number(true)
    }

    /// The number, canonical or not (`i03e`, `i-0e`): for values on which nothing rests that two readers must agree on.
    pub fn lenient_number(self) -> Option<i64> {
        self.read_number(false)
    }

    fn read_number(self, only_canonical: bool) -> Option<i64> {
        match token(self.raw) {
            Ok((Token::Number(number), _rest)) if number.is_canonical || !only_canonical => {
                let limit = if number.value < 0 { i64::MIN } else { i64::MAX };
                Some(i64::try_from(number.value).unwrap_or(limit))
            }
            _ => None,
        }
    }

    /// Is it a dictionary?
    pub fn is_dict(self) -> bool {
        self.raw.first() == Some(&b'd')
    }

    /// Is it a list?
    pub fn is_list(self) -> bool {
        self.raw.first() == Some(&b'l')
    }

    /// The value of a dictionary's key; `None` too if this is no dictionary. Linear in the size of the dictionary.
    pub fn find(self, key: &[u8]) -> Option<Self> {
        self.entries().find(|(name, _value)| *name == key).map(|(_name, value)| value)
    }

    /// Only these keys of a dictionary, found in one pass over it; none if this is no dictionary.
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

    /// The keys and values of a dictionary, as sent; nothing if this is none.
    pub fn entries(self) -> impl Iterator<Item = (&'a [u8], Self)> {
        let mut rest = self.raw.strip_prefix(b"d").unwrap_or_default();
        iter::from_fn(move || {
            let (Token::Text(key), tail) = token(rest).ok()? else { return None };
            let (value, tail) = split_value(tail)?;
            rest = tail;
            Some((key.bytes, value))
        })
    }

    /// A walk through this dictionary and those in it; it is over at once if this is none.
    pub fn walk(self) -> TreeWalk<'a> {
        TreeWalk { rest: self.raw.strip_prefix(b"d").unwrap_or_default() }
    }

    /// The members of a list; nothing if this is none.
    pub fn items(self) -> impl Iterator<Item = Self> {
        let mut rest = self.raw.strip_prefix(b"l").unwrap_or_default();
        iter::from_fn(move || {
            let (value, tail) = split_value(rest)?;
            rest = tail;
            Some(value)
        })
    }
}

/// A walk through dictionaries inside each other, in one pass and without recursion. Every dictionary is entered but
/// those under an empty key, which is where a version 2 file tree has its files (BEP 52).
#[derive(Debug)]
pub struct TreeWalk<'a> {
    rest: &'a [u8],
}

/// One step of it.
#[derive(Debug, Clone, Copy)]
pub enum TreeStep<'a> {
    /// Into the dictionary under this key.
    Enter(&'a [u8]),
    /// Out of a dictionary, in the end out of the outermost one.
    Leave,
    /// A key with a value that is not entered.
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

/// Some values of a dictionary, for whoever looks for many: where one of them is large, to step over it takes time.
#[derive(Debug, Clone)]
pub struct Picked<'a> {
    keys: &'static [&'static [u8]],
    /// No more than `keys`: of a key that comes twice the first.
    found: Vec<(&'static [u8], View<'a>)>,
    repeated: Option<&'static [u8]>,
}

impl<'a> Picked<'a> {
    /// One of the picked keys that comes twice.
    pub const fn repeated(&self) -> Option<&'static [u8]> {
        self.repeated
    }

    fn has(&self, key: &[u8]) -> bool {
        self.found.iter().any(|(name, _value)| *name == key)
    }

    /// The value of a key, which is one of those that were picked.
    pub fn find(&self, key: &[u8]) -> Option<View<'a>> {
        debug_assert!(self.keys.contains(&key), "{} was not picked", key.escape_ascii());
        self.found.iter().find(|(name, _value)| *name == key).map(|(_name, value)| *value)
    }
}

/// The value at the head of checked bytes, and what follows it; `None` at the end of a list or dictionary.
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

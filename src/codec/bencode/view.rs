//! Checked bencode read in place: no copy, no recursion.

use std::iter;

use super::token::{Token, token};
use super::{BadBencode, Limits, check};

/// One checked value, read in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View<'a> {
    raw: &'a [u8],
}

impl<'a> View<'a> {
    /// Checks, then views.
    pub fn parse(input: &'a [u8], limits: Limits) -> Result<Self, BadBencode> {
        check(input, limits).map(|()| Self { raw: input })
    }

    /// Of bytes that have passed [`scan`] or [`check`]; from others it reads nonsense.
    pub(in crate::codec) const fn of_checked(input: &'a [u8]) -> Self {
        Self { raw: input }
    }

    /// The value as it was sent.
    pub const fn raw(self) -> &'a [u8] {
        self.raw
    }

    /// The string, if it is one.
    pub fn bytes(self) -> Option<&'a [u8]> {
        match token(self.raw) {
            Ok((Token::Text(text), _rest)) => Some(text),
            _ => None,
        }
    }

    /// The number, if it is one; beyond the range of an `i64` it is the nearest end of it.
    pub fn number(self) -> Option<i64> {
        match token(self.raw) {
            Ok((Token::Number(number), _rest)) => {
                let limit = if number < 0 { i64::MIN } else { i64::MAX };
                Some(i64::try_from(number).unwrap_or(limit))
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
        let mut found = Vec::with_capacity(keys.len());
        found.extend(self.entries().filter(|(key, _value)| keys.contains(key)));
        Picked { keys, found }
    }

    /// The keys and values of a dictionary, as sent; nothing if this is none.
    pub fn entries(self) -> impl Iterator<Item = (&'a [u8], Self)> {
        let mut rest = self.raw.strip_prefix(b"d").unwrap_or_default();
        iter::from_fn(move || {
            let (Token::Text(key), tail) = token(rest).ok()? else { return None };
            let (value, tail) = split_value(tail)?;
            rest = tail;
            Some((key, value))
        })
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

/// Some values of a dictionary, for whoever looks for many: where one of them is large, to step over it takes time.
#[derive(Debug)]
pub struct Picked<'a> {
    keys: &'static [&'static [u8]],
    /// No more than `keys`: checked bytes have no key twice.
    found: Vec<(&'a [u8], View<'a>)>,
}

impl<'a> Picked<'a> {
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

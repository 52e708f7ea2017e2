//! Bencode (BEP 3). One scanner checks every byte before any other code reads it.
//!
//! `serde_bencode` alone aborts the process on deep nesting, accepts `-0` and leading zeros, and ignores trailing
//! bytes; so [`decode`] gives it checked input only. Where the types of values vary (a tracker that sends its interval
//! as text), [`View`] reads checked bytes in place, without a copy and without recursion.
//!
//! [`check`] and [`decode`] are strict about form: one value, canonical numbers, no key twice, no bytes after the
//! value. [`scan`] is for input of other programs: it reads the value at the head and reports what is odd about it, and
//! the caller decides which oddities it accepts. [`View::number`] gives `None` for a number that is not canonical, so
//! no caller accepts one by accident. This module knows nothing of torrents or trackers.

use serde::de::DeserializeOwned;

use self::token::{Token, token};

mod token;
mod view;

pub use view::{Picked, TreeStep, TreeWalk, View};

/// The accepted depth and number of values (S-04).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BencodeLimits {
    /// How deep dictionaries and lists may be nested.
    pub max_depth: usize,
    /// The number of values: numbers, strings (keys too), lists and dictionaries together.
    pub max_tokens: usize,
}

impl BencodeLimits {
    /// For messages of peers and trackers: 32 levels, as S-04 says, and half a million values. The largest tracker
    /// reply (1 MiB) cannot hold more, because no value is shorter than two bytes.
    pub const WIRE: Self = Self { max_depth: 32, max_tokens: 512 * 1024 };

    /// For files: 100 levels and three million values, as S-04 and libtorrent have it.
    pub const FILE: Self = Self { max_depth: 100, max_tokens: 3_000_000 };
}

/// Why bytes are not acceptable bencode. Positions are byte offsets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadBencode {
    /// The input ends inside a value, or a string claims more bytes than there are.
    #[error("bencode cut short: a value at byte {at} goes beyond the end")]
    CutShort {
        /// The offset at which that value starts.
        at: usize,
    },
    /// A number is not written as `i`, digits and `e`; or, where form is checked, it is not canonical (`-0`, a leading
    /// zero, more than 64 bits).
    #[error("bad number at byte {at}")]
    Number {
        /// The offset at which the number starts.
        at: usize,
    },
    /// A string does not begin with its length and a colon; or, where form is checked, the length has a leading zero.
    #[error("bad string length at byte {at}")]
    Length {
        /// The offset at which the string starts.
        at: usize,
    },
    /// A byte at which no value can start, or an `e` where a value must follow.
    #[error("unexpected byte 0x{byte:02x} at byte {at}")]
    Unexpected {
        /// The offset of the byte.
        at: usize,
        /// The byte.
        byte: u8,
    },
    /// A dictionary key that is not a string.
    #[error("dictionary key at byte {at} is not a string")]
    Key {
        /// The offset of the key.
        at: usize,
    },
    /// The same key twice in one dictionary: two readers could see two different values.
    #[error("duplicate key in the dictionary that ends at byte {at}")]
    DuplicateKey {
        /// The offset of the `e` that ends the dictionary.
        at: usize,
    },
    /// The nesting is deeper than [`BencodeLimits::max_depth`].
    #[error("nested deeper than {limit}")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// The input has more values than [`BencodeLimits::max_tokens`].
    #[error("more than {limit} values")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// There are bytes after the value.
    #[error("trailing bytes from byte {at} on")]
    Trailing {
        /// The offset at which the value has ended.
        at: usize,
    },
    /// Well-formed bencode that does not have the requested types.
    #[error("unexpected shape: {0}")]
    Shape(String),
}

/// The result of a scan: where the value ends, and what is odd about its form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// Every dictionary has its keys in order, as BEP 3 demands.
    pub sorted: bool,
    /// The first key that comes twice in its dictionary, as the error for a caller that refuses such input.
    pub repeated_key: Option<BadBencode>,
    /// The first number or string length that is not canonical, as the error for a caller that refuses such input.
    pub odd_number: Option<BadBencode>,
    /// The number of values, keys included.
    pub tokens: usize,
    /// The length of the value in bytes; the bytes after it were not read.
    pub len: usize,
}

/// Checks that the input is exactly one canonical value within the limits. Keys may be out of order.
pub fn check(input: &[u8], limits: BencodeLimits) -> Result<(), BadBencode> {
    let scan = scan(input, limits)?;
    match scan.odd_number.or(scan.repeated_key) {
        Some(odd) => Err(odd),
        None if scan.len < input.len() => Err(BadBencode::Trailing { at: scan.len }),
        None => Ok(()),
    }
}

/// Reads the value at the head of the input, within the limits. Iterative. The time is linear in the length of the
/// value, except that the keys of unsorted dictionaries are sorted to find duplicates. Allocates 16 bytes for each key
/// of the dictionaries that are open at a time, and 32 bytes for each level.
pub fn scan(input: &[u8], limits: BencodeLimits) -> Result<Scan, BadBencode> {
    let mut scanner = Scanner { open: Vec::new(), keys: Vec::new(), sorted: true, repeated_at: None };
    let mut rest = input;
    let mut tokens: usize = 0;
    let mut odd_number = None;
    loop {
        let at = input.len().saturating_sub(rest.len());
        let (token, tail) = token(rest).map_err(|fault| fault.at(at, rest))?;
        if !matches!(token, Token::End) {
            tokens = tokens.saturating_add(1);
        }
        if tokens > limits.max_tokens {
            return Err(BadBencode::TooMany { limit: limits.max_tokens });
        }
        match token {
            Token::Number(number) if !number.is_canonical => {
                odd_number = odd_number.or(Some(BadBencode::Number { at }));
            }
            Token::Text(text) if !text.is_canonical => odd_number = odd_number.or(Some(BadBencode::Length { at })),
            _ => {}
        }
        scanner.take(token, at, limits.max_depth)?;
        rest = tail;
        if scanner.open.is_empty() {
            break;
        }
    }
    let repeated_key = scanner.repeated_at.map(|at| BadBencode::DuplicateKey { at });
    let len = input.len().saturating_sub(rest.len());
    Ok(Scan { sorted: scanner.sorted, repeated_key, odd_number, tokens, len })
}

/// Checks the input, then lets `serde_bencode` build a `T`. Unknown keys are ignored; keys must be UTF-8.
pub fn decode<T: DeserializeOwned>(input: &[u8], limits: BencodeLimits) -> Result<T, BadBencode> {
    check(input, limits)?;
    serde_bencode::from_bytes(input).map_err(|error| BadBencode::Shape(error.to_string()))
}

/// The raw bytes of a key's value in a dictionary, as they were sent; an info-hash is the digest of such bytes. The
/// input must have passed [`scan`]: for other input the result is `None` or arbitrary bytes. `None` if the key is
/// missing or comes twice.
pub fn raw_value<'a>(input: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let mut found = View::of_scanned(input).entries().filter(|(name, _value)| *name == key);
    let (_name, value) = found.next()?;
    found.next().is_none().then_some(value.raw())
}

/// A list or dictionary that is not yet closed.
struct Open {
    is_dict: bool,
    /// The dictionary has read a key, and the key's value must follow.
    value_due: bool,
    /// The index of the first key of this dictionary in the scanner's list of keys.
    first_key: usize,
    /// Each key is greater than the one before it, so no key comes twice.
    rising: bool,
}

/// Checks the tokens of one value: keys, order, nesting.
struct Scanner<'a> {
    open: Vec<Open>,
    keys: Vec<&'a [u8]>,
    sorted: bool,
    /// The end of the first dictionary in which a key comes twice.
    repeated_at: Option<usize>,
}

impl<'a> Scanner<'a> {
    /// Takes the next token, which starts at offset `at`.
    fn take(&mut self, token: Token<'a>, at: usize, max_depth: usize) -> Result<(), BadBencode> {
        match token {
            Token::End => self.close(at),
            Token::Text(text) if self.key_due() => {
                self.key(text.bytes);
                Ok(())
            }
            _ if self.key_due() => Err(BadBencode::Key { at }),
            Token::Number(_) | Token::Text(_) => {
                self.value_done();
                Ok(())
            }
            Token::List | Token::Dict => {
                if self.open.len() >= max_depth {
                    return Err(BadBencode::TooDeep { limit: max_depth });
                }
                let is_dict = matches!(token, Token::Dict);
                self.open.push(Open { is_dict, value_due: false, first_key: self.keys.len(), rising: true });
                Ok(())
            }
        }
    }

    /// Whether the next token must be a key.
    fn key_due(&self) -> bool {
        self.open.last().is_some_and(|open| open.is_dict && !open.value_due)
    }

    /// Adds a key to the innermost dictionary.
    fn key(&mut self, key: &'a [u8]) {
        let Some(open) = self.open.last_mut() else { return };
        open.value_due = true;
        let previous = self.keys.get(open.first_key..).and_then(<[_]>::last);
        open.rising &= previous.is_none_or(|previous| *previous < key);
        self.sorted &= previous.is_none_or(|previous| *previous <= key);
        self.keys.push(key);
    }

    /// Notes that a value is complete.
    fn value_done(&mut self) {
        if let Some(open) = self.open.last_mut() {
            open.value_due = false;
        }
    }

    /// Ends the innermost list or dictionary, whose `e` is at offset `at`.
    fn close(&mut self, at: usize) -> Result<(), BadBencode> {
        let Some(open) = self.open.pop().filter(|open| !open.value_due) else {
            return Err(BadBencode::Unexpected { at, byte: b'e' });
        };
        if !open.rising && self.repeated_at.is_none() {
            let keys = self.keys.get_mut(open.first_key..).unwrap_or_default();
            keys.sort_unstable();
            let is_repeated = keys.iter().zip(keys.iter().skip(1)).any(|(a, b)| a == b);
            self.repeated_at = is_repeated.then_some(at);
        }
        self.keys.truncate(open.first_key);
        self.value_done();
        Ok(())
    }
}

#[cfg(test)]
mod tests;

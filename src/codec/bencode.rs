//! Bencode (BEP 3): one scanner that every byte passes before anything else looks at it.
//!
//! `serde_bencode` alone aborts the process on deep nesting, takes `-0` and leading zeros, and ignores trailing bytes;
//! so [`decode`] lets it see checked input only. Where strangers take liberties with the types (a tracker that sends
//! its interval as text), [`View`] reads checked bytes in place, without a copy and without recursion.
//!
//! Strict about form (canonical numbers, no duplicate keys, nothing behind the value), tolerant about order: real
//! torrents have unsorted keys, and [`scan`] only reports them. Knows nothing of torrents or trackers.

use std::iter;

use serde::de::DeserializeOwned;

/// How much nesting and how many values are accepted (FAULTS S-04).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Dictionaries and lists inside each other.
    pub max_depth: usize,
    /// Numbers, strings (keys too), lists and dictionaries together.
    pub max_tokens: usize,
}

impl Limits {
    /// For what peers and trackers send. 32 deep as S-04 says; half a million values is what the largest tracker reply
    /// (1 MiB) can hold at all: no value is shorter than two bytes.
    pub const WIRE: Self = Self { max_depth: 32, max_tokens: 512 * 1024 };

    /// For files: 100 deep and three million values, as S-04 and libtorrent have it.
    pub const FILE: Self = Self { max_depth: 100, max_tokens: 3_000_000 };
}

/// Why bytes are not the bencode we accept. Positions are byte offsets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadBencode {
    /// The input ends inside a value, or a string claims more bytes than there are.
    #[error("bencode cut short: a value at byte {at} goes beyond the end")]
    CutShort {
        /// Where that value starts.
        at: usize,
    },
    /// Not `i`, a canonical number (no `-0`, no leading zero, at most 64 bits) and `e`.
    #[error("bad number at byte {at}")]
    Number {
        /// Where it starts.
        at: usize,
    },
    /// Not a canonical string length and a colon.
    #[error("bad string length at byte {at}")]
    Length {
        /// Where it starts.
        at: usize,
    },
    /// A byte that starts nothing, or an end where a value is due.
    #[error("unexpected byte 0x{byte:02x} at byte {at}")]
    Unexpected {
        /// Where it is.
        at: usize,
        /// Which.
        byte: u8,
    },
    /// A dictionary key that is not a string.
    #[error("dictionary key at byte {at} is not a string")]
    Key {
        /// Where it is.
        at: usize,
    },
    /// The same key twice in one dictionary: two readers could see two different torrents.
    #[error("duplicate key in the dictionary that ends at byte {at}")]
    DuplicateKey {
        /// Where that dictionary ends.
        at: usize,
    },
    /// More nesting than [`Limits::max_depth`].
    #[error("nested deeper than {limit}")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// More values than [`Limits::max_tokens`].
    #[error("more than {limit} values")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// Something behind the one value.
    #[error("trailing bytes from byte {at} on")]
    Trailing {
        /// Where the value has ended.
        at: usize,
    },
    /// Well-formed, but not of the shape that was asked for.
    #[error("unexpected shape: {0}")]
    Shape(String),
}

/// What a scan saw besides the form being right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scan {
    /// Every dictionary has its keys in order, as BEP 3 demands.
    pub sorted: bool,
    /// How many values there are, keys included.
    pub tokens: usize,
}

/// Is this exactly one well-formed value, within the limits?
pub fn check(input: &[u8], limits: Limits) -> Result<(), BadBencode> {
    scan(input, limits).map(|_scan| ())
}

/// [`check`], and what it saw. Iterative; linear in the input but for unsorted dictionaries, whose keys are sorted to
/// find duplicates. Allocates 16 bytes for each key of the dictionaries open at a time, 32 for each level.
pub fn scan(input: &[u8], limits: Limits) -> Result<Scan, BadBencode> {
    let mut scanner = Scanner { open: Vec::new(), keys: Vec::new(), sorted: true };
    let mut rest = input;
    let mut tokens: usize = 0;
    loop {
        let at = input.len().saturating_sub(rest.len());
        let (token, tail) = token(rest).map_err(|fault| fault.at(at, rest))?;
        if !matches!(token, Token::End) {
            tokens = tokens.saturating_add(1);
        }
        if tokens > limits.max_tokens {
            return Err(BadBencode::TooMany { limit: limits.max_tokens });
        }
        scanner.take(token, at, limits.max_depth)?;
        rest = tail;
        if scanner.open.is_empty() {
            break;
        }
    }
    if rest.is_empty() {
        Ok(Scan { sorted: scanner.sorted, tokens })
    } else {
        Err(BadBencode::Trailing { at: input.len().saturating_sub(rest.len()) })
    }
}

/// Checks, then lets `serde_bencode` build a `T`. Unknown keys are ignored; keys must be UTF-8.
pub fn decode<T: DeserializeOwned>(input: &[u8], limits: Limits) -> Result<T, BadBencode> {
    check(input, limits)?;
    serde_bencode::from_bytes(input).map_err(|error| BadBencode::Shape(error.to_string()))
}

/// The raw bytes of a key's value in a dictionary, as they were sent: what an info-hash is made of. For bytes that
/// have passed [`check`]; from others it gets `None` or some run of them. `None` if the key is missing or comes twice.
pub fn raw_value<'a>(input: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let mut found = View { raw: input }.entries().filter(|(name, _value)| *name == key);
    let (_name, value) = found.next()?;
    found.next().is_none().then_some(value.raw)
}

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
    pub(super) const fn of_checked(input: &'a [u8]) -> Self {
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

/// The value at the head of checked bytes, and what follows it; `None` at the end of a list or dictionary.
fn split_value(input: &[u8]) -> Option<(View<'_>, &[u8])> {
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

/// A list or dictionary that is not yet closed.
struct Open {
    is_dict: bool,
    /// A dictionary that has seen a key and waits for its value.
    value_due: bool,
    /// Its keys are on the scanner's stack from here on.
    first_key: usize,
    sorted: bool,
}

struct Scanner<'a> {
    open: Vec<Open>,
    keys: Vec<&'a [u8]>,
    sorted: bool,
}

impl<'a> Scanner<'a> {
    fn take(&mut self, token: Token<'a>, at: usize, max_depth: usize) -> Result<(), BadBencode> {
        match token {
            Token::End => self.close(at),
            Token::Text(text) if self.key_due() => {
                self.key(text);
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
                self.open.push(Open { is_dict, value_due: false, first_key: self.keys.len(), sorted: true });
                Ok(())
            }
        }
    }

    fn key_due(&self) -> bool {
        self.open.last().is_some_and(|open| open.is_dict && !open.value_due)
    }

    fn key(&mut self, key: &'a [u8]) {
        let Some(open) = self.open.last_mut() else { return };
        open.value_due = true;
        let is_first = self.keys.len() == open.first_key;
        open.sorted &= is_first || self.keys.last().is_none_or(|previous| *previous < key);
        self.keys.push(key);
    }

    fn value_done(&mut self) {
        if let Some(open) = self.open.last_mut() {
            open.value_due = false;
        }
    }

    fn close(&mut self, at: usize) -> Result<(), BadBencode> {
        let Some(open) = self.open.pop().filter(|open| !open.value_due) else {
            return Err(BadBencode::Unexpected { at, byte: b'e' });
        };
        // Keys in strictly rising order cannot be the same twice.
        if !open.sorted {
            let keys = self.keys.get_mut(open.first_key..).unwrap_or_default();
            keys.sort_unstable();
            if keys.iter().zip(keys.iter().skip(1)).any(|(a, b)| a == b) {
                return Err(BadBencode::DuplicateKey { at });
            }
            self.sorted = false;
        }
        self.keys.truncate(open.first_key);
        self.value_done();
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Token<'a> {
    /// Between `i64::MIN` and `u64::MAX`.
    Number(i128),
    Text(&'a [u8]),
    List,
    Dict,
    End,
}

/// What is wrong with a token, before it is known where.
enum Fault {
    CutShort,
    Number,
    Length,
    Unexpected,
}

impl Fault {
    fn at(self, at: usize, rest: &[u8]) -> BadBencode {
        match (self, rest.first()) {
            (Self::Number, _) => BadBencode::Number { at },
            (Self::Length, _) => BadBencode::Length { at },
            (Self::Unexpected, Some(&byte)) => BadBencode::Unexpected { at, byte },
            (Self::CutShort | Self::Unexpected, _) => BadBencode::CutShort { at },
        }
    }
}

fn token(input: &[u8]) -> Result<(Token<'_>, &[u8]), Fault> {
    match input.split_first() {
        Some((b'i', tail)) => number(tail),
        Some((b'0'..=b'9', _)) => text(input),
        Some((b'l', tail)) => Ok((Token::List, tail)),
        Some((b'd', tail)) => Ok((Token::Dict, tail)),
        Some((b'e', tail)) => Ok((Token::End, tail)),
        Some(_) => Err(Fault::Unexpected),
        None => Err(Fault::CutShort),
    }
}

/// The digits of `u64::MAX`, or a sign and those of `i64::MIN`.
const MAX_DIGITS: usize = 20;

fn number(input: &[u8]) -> Result<(Token<'_>, &[u8]), Fault> {
    let (digits, tail) = split_at_mark(input, b'e', Fault::Number)?;
    let magnitude = digits.strip_prefix(b"-").unwrap_or(digits);
    // "i-0e is invalid. All encodings with a leading zero, such as i03e, are invalid, other than i0e" (BEP 3).
    if magnitude.first() == Some(&b'0') && digits != b"0" {
        return Err(Fault::Number);
    }
    let value = decimal(magnitude).ok_or(Fault::Number)?;
    let value = if magnitude.len() == digits.len() { value } else { value.wrapping_neg() };
    let in_range = (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&value);
    if in_range { Ok((Token::Number(value), tail)) } else { Err(Fault::Number) }
}

fn text(input: &[u8]) -> Result<(Token<'_>, &[u8]), Fault> {
    let (digits, tail) = split_at_mark(input, b':', Fault::Length)?;
    if digits.first() == Some(&b'0') && digits != b"0" {
        return Err(Fault::Length);
    }
    let len = decimal(digits).and_then(|len| usize::try_from(len).ok()).ok_or(Fault::Length)?;
    tail.split_at_checked(len).map(|(text, rest)| (Token::Text(text), rest)).ok_or(Fault::CutShort)
}

/// What stands before the mark, which must come within [`MAX_DIGITS`] bytes, and what stands behind it.
fn split_at_mark(input: &[u8], mark: u8, fault: Fault) -> Result<(&[u8], &[u8]), Fault> {
    let window = MAX_DIGITS.saturating_add(1);
    let Some(end) = input.iter().take(window).position(|byte| *byte == mark) else {
        return Err(if input.len() < window && input.iter().all(|b| b"-0123456789".contains(b)) {
            Fault::CutShort
        } else {
            fault
        });
    };
    let (digits, tail) = input.split_at_checked(end).ok_or(Fault::CutShort)?;
    Ok((digits, tail.get(1..).unwrap_or_default()))
}

/// At most [`MAX_DIGITS`] digits, at least one.
fn decimal(digits: &[u8]) -> Option<i128> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_i128, |sum, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        sum.checked_mul(10)?.checked_add(i128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;
    use serde_bencode::value::Value;

    fn bad(input: &[u8]) -> BadBencode {
        check(input, Limits::WIRE).unwrap_err()
    }

    #[test]
    fn only_one_canonical_value_is_accepted() {
        use BadBencode::{CutShort, Key, Length, Number, Trailing, Unexpected};
        let accepted: [&[u8]; 11] = [
            b"i0e",
            b"i-1e",
            b"i9223372036854775807e",
            b"i-9223372036854775808e",
            b"i18446744073709551615e",
            b"0:",
            b"3:abc",
            b"le",
            b"de",
            b"d1:ai1e1:bli2ei3eee",
            b"d2:\xff\xfei1ee",
        ];
        for input in accepted {
            assert_eq!(check(input, Limits::WIRE), Ok(()), "{}", input.escape_ascii());
        }
        let refused: [(&[u8], BadBencode); 31] = [
            (b"", CutShort { at: 0 }),
            (b"i", CutShort { at: 0 }),
            (b"i1", CutShort { at: 0 }),
            (b"ie", Number { at: 0 }),
            (b"i-e", Number { at: 0 }),
            (b"i-0e", Number { at: 0 }),
            (b"i00e", Number { at: 0 }),
            (b"i03e", Number { at: 0 }),
            (b"i-03e", Number { at: 0 }),
            (b"i+5e", Number { at: 0 }),
            (b"i 5e", Number { at: 0 }),
            (b"i1.5e", Number { at: 0 }),
            (b"i18446744073709551616e", Number { at: 0 }),
            (b"i-9223372036854775809e", Number { at: 0 }),
            (b"i000000000000000000000000000001e", Number { at: 0 }),
            (b"03:abc", Length { at: 0 }),
            (b"00:", Length { at: 0 }),
            (b"3-:abc", Length { at: 0 }),
            (b"99999999999999999999999:abc", Length { at: 0 }),
            (b"18446744073709551615:abc", CutShort { at: 0 }),
            (b"4:abc", CutShort { at: 0 }),
            (b"3", CutShort { at: 0 }),
            (b"l", CutShort { at: 1 }),
            (b"li1e", CutShort { at: 4 }),
            (b"e", Unexpected { at: 0, byte: b'e' }),
            (b"d1:ae", Unexpected { at: 4, byte: b'e' }),
            (b"di1ei2ee", Key { at: 1 }),
            (b"dlei2ee", Key { at: 1 }),
            (b"<html>", Unexpected { at: 0, byte: b'<' }),
            (b"i1ei2e", Trailing { at: 3 }),
            (b"dee", Trailing { at: 2 }),
        ];
        for (input, why) in refused {
            assert_eq!(bad(input), why, "{}", input.escape_ascii());
        }
    }

    #[test]
    fn duplicate_keys_are_refused_and_unsorted_ones_reported() {
        assert_eq!(bad(b"d1:ai1e1:ai2ee"), BadBencode::DuplicateKey { at: 13 });
        assert_eq!(bad(b"d1:bi1e1:ai1e1:bi2ee"), BadBencode::DuplicateKey { at: 19 });
        assert_eq!(bad(b"ld1:bi1e1:ad1:xi1e1:xi2eee"), BadBencode::DuplicateKey { at: 24 });
        for (input, sorted) in [
            (&b"d1:ai1e1:bi2ee"[..], true),
            (b"d1:bi1e1:ai2ee", false),
            (b"d1:ad1:bi1e1:ai1ee1:bi1ee", false),
            (b"d1:ad1:zi1ee1:bd1:ai1eee", true),
        ] {
            assert_eq!(scan(input, Limits::WIRE).unwrap().sorted, sorted);
        }
    }

    /// A million levels end the scan at the 33rd: `serde_bencode` alone would end the process.
    #[test]
    fn bombs_are_refused_at_the_limit() {
        let deep = vec![b'l'; 1_000_000];
        assert_eq!(bad(&deep), BadBencode::TooDeep { limit: 32 });
        assert_eq!(check(&deep, Limits::FILE), Err(BadBencode::TooDeep { limit: 100 }));
        assert_eq!(bad(&b"d1:a".repeat(100_000)), BadBencode::TooDeep { limit: 32 });
        let exact = [vec![b'l'; 32], vec![b'e'; 32]].concat();
        assert_eq!(scan(&exact, Limits::WIRE), Ok(Scan { sorted: true, tokens: 32 }));
        let limits = Limits { max_depth: 2, max_tokens: 3 };
        assert_eq!(check(b"l0:0:e", limits), Ok(()));
        assert_eq!(check(b"l0:0:0:e", limits), Err(BadBencode::TooMany { limit: 3 }));
    }

    #[test]
    fn a_million_unsorted_keys_are_no_trouble() {
        let mut input = b"d".to_vec();
        for number in (0..1_000_000).rev() {
            input.extend(format!("7:{number:07}0:").bytes());
        }
        input.push(b'e');
        assert_eq!(scan(&input, Limits::FILE), Ok(Scan { sorted: false, tokens: 2_000_001 }));
    }

    #[test]
    fn raw_values_are_the_bytes_as_sent() {
        let input = b"d1:bd1:zi1e1:a3:xyze1:ai7ee";
        assert_eq!(raw_value(input, b"b"), Some(&b"d1:zi1e1:a3:xyze"[..]));
        assert_eq!(raw_value(input, b"a"), Some(&b"i7e"[..]));
        assert_eq!(raw_value(input, b"z"), None, "only the top level counts");
        assert_eq!(raw_value(b"d1:ai1e1:ai2ee", b"a"), None);
        assert_eq!(raw_value(b"l1:ae", b"a"), None);
    }

    #[test]
    fn views_saturate_numbers_and_shrug_at_wrong_types() {
        let view = View::parse(b"d1:ai9223372036854775808e1:bl1:xi-5eee", Limits::WIRE).unwrap();
        assert_eq!(view.find(b"a").unwrap().number(), Some(i64::MAX));
        assert_eq!(view.find(b"a").unwrap().bytes(), None);
        let list: Vec<_> = view.find(b"b").unwrap().items().collect();
        assert_eq!((list[0].bytes(), list[1].number(), list.len()), (Some(&b"x"[..]), Some(-5), 2));
        assert_eq!(list[0].entries().count() + list[0].items().count(), 0);
        assert_eq!(view.find(b"c"), None);
    }

    #[test]
    fn serde_sees_checked_input_only() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Small {
            a: i64,
        }
        assert_eq!(decode(b"d1:ai1e1:zi2ee", Limits::WIRE), Ok(Small { a: 1 }));
        assert!(matches!(decode::<Small>(b"d1:bi1ee", Limits::WIRE), Err(BadBencode::Shape(_))));
        assert!(matches!(decode::<Small>(b"d1:ai18446744073709551615ee", Limits::WIRE), Err(BadBencode::Shape(_))));
        assert_eq!(decode::<Value>(b"i-0e", Limits::WIRE), Err(BadBencode::Number { at: 0 }));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let text = || prop::collection::vec(any::<u8>(), 0..12);
        let leaf = prop_oneof![any::<i64>().prop_map(Value::Int), text().prop_map(Value::Bytes)];
        leaf.prop_recursive(5, 60, 8, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::List),
                prop::collection::hash_map(text(), inner, 0..8).prop_map(Value::Dict),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_serde_bencode_writes_is_accepted(value in any_value()) {
            let bytes = serde_bencode::to_bytes(&value).unwrap();
            prop_assert!(scan(&bytes, Limits::WIRE).unwrap().sorted);
            prop_assert_eq!(decode::<Value>(&bytes, Limits::WIRE).unwrap(), value);
        }

        #[test]
        fn no_proper_beginning_of_a_value_is_a_value(value in any_value()) {
            let bytes = serde_bencode::to_bytes(&value).unwrap();
            for cut in 0..bytes.len() {
                prop_assert!(check(&bytes[..cut], Limits::WIRE).is_err());
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(prop_oneof![Just(b'd'), Just(b'l'), Just(b'e'), Just(b'i'), Just(b':'), b'0'..=b'9', any::<u8>()], 0..200)) {
            if check(&bytes, Limits::WIRE).is_ok() {
                prop_assert_eq!(split_value(&bytes).map(|(view, rest)| (view.raw(), rest.len())), Some((&bytes[..], 0)));
            }
            let _anything = raw_value(&bytes, b"a");
            let view = View { raw: &bytes };
            let _counts = (view.items().count(), view.entries().count(), view.number(), view.bytes());
        }
    }
}

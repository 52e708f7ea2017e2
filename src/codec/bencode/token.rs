//! The tokens of bencode: numbers, strings, and the letters that begin and end lists and dictionaries.

use super::BadBencode;

/// A token of bencode.
#[derive(Clone, Copy)]
pub(super) enum Token<'a> {
    Number(Number),
    Text(BencodeText<'a>),
    List,
    Dict,
    End,
}

/// A number of at most [`MAX_DIGITS`] digits, with an optional sign.
#[derive(Clone, Copy)]
pub(super) struct Number {
    pub(super) value: i128,
    /// The form is canonical: "i-0e is invalid. All encodings with a leading zero, such as i03e, are invalid, other
    /// than i0e" (BEP 3); and the value is between `i64::MIN` and `u64::MAX`.
    pub(super) is_canonical: bool,
}

/// A byte string.
#[derive(Clone, Copy)]
pub(super) struct BencodeText<'a> {
    pub(super) bytes: &'a [u8],
    /// The length of the string has no leading zero.
    pub(super) is_canonical: bool,
}

/// What is wrong with a token. [`Self::at`] adds the position.
pub(super) enum Fault {
    CutShort,
    Number,
    Length,
    Unexpected,
}

impl Fault {
    /// The error for this fault at offset `at`; `rest` is the input from there.
    pub(super) fn at(self, at: usize, rest: &[u8]) -> BadBencode {
        match (self, rest.first()) {
            (Self::Number, _) => BadBencode::Number { at },
            (Self::Length, _) => BadBencode::Length { at },
            (Self::Unexpected, Some(&byte)) => BadBencode::Unexpected { at, byte },
            (Self::CutShort | Self::Unexpected, _) => BadBencode::CutShort { at },
        }
    }
}

/// Reads the first token of the input. Returns it and the bytes after it.
pub(super) fn token(input: &[u8]) -> Result<(Token<'_>, &[u8]), Fault> {
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

/// The number of digits of `u64::MAX`, or of `i64::MIN` with its sign.
const MAX_DIGITS: usize = 20;

/// Reads a number after its `i`.
fn number(input: &[u8]) -> Result<(Token<'_>, &[u8]), Fault> {
    let (digits, tail) = split_at_mark(input, b'e', Fault::Number)?;
    let magnitude = digits.strip_prefix(b"-").unwrap_or(digits);
    let value = decimal(magnitude).ok_or(Fault::Number)?;
    let value = if magnitude.len() == digits.len() { value } else { value.wrapping_neg() };
    let is_short = magnitude.first() != Some(&b'0') || digits == b"0";
    let is_canonical = is_short && (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&value);
    Ok((Token::Number(Number { value, is_canonical }), tail))
}

/// Reads a string, which begins with its length.
fn text(input: &[u8]) -> Result<(Token<'_>, &[u8]), Fault> {
    let (digits, tail) = split_at_mark(input, b':', Fault::Length)?;
    let is_canonical = digits.first() != Some(&b'0') || digits == b"0";
    let len = decimal(digits).and_then(|len| usize::try_from(len).ok()).ok_or(Fault::Length)?;
    let (bytes, rest) = tail.split_at_checked(len).ok_or(Fault::CutShort)?;
    Ok((Token::Text(BencodeText { bytes, is_canonical }), rest))
}

/// Returns the bytes before the mark, which must come within [`MAX_DIGITS`] bytes, and the bytes after it.
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

/// Reads a decimal number of at least one and at most [`MAX_DIGITS`] digits.
fn decimal(digits: &[u8]) -> Option<i128> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_i128, |sum, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        sum.checked_mul(10)?.checked_add(i128::from(digit))
    })
}

//! The syntax of behaviours on a command line: `corrupt=0.01,reset_every=300k,silent`.
//!
//! A behaviour is a plain struct. Each of its fields is a [`Field`], and a table of [`BehaviourWord`]s names the fields
//! and cites the catalogue. Parsing, printing and listing use that table. This file knows no particular behaviour.

use std::time::Duration;

use crate::base::units::{parse_bytes, parse_duration};

/// One word of a behaviour and the field that it sets.
pub struct BehaviourWord<B> {
    /// The text before the `=`.
    pub name: &'static str,
    /// The entry of the fault catalogue that it covers.
    pub cites: &'static str,
    /// What it makes a peer, tracker or relay do, for the list that users see.
    pub says: &'static str,
    /// Returns the field that it sets.
    pub field: fn(&mut B) -> &mut dyn Field,
}

impl<B> std::fmt::Debug for BehaviourWord<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}): {}", self.name, self.cites, self.says)
    }
}

/// A value that is set by one word, or by several words that exclude each other.
pub trait Field {
    /// Parses and stores the text behind the `=`, which is empty if there is none.
    fn set(&mut self, word: &str, value: &str) -> Result<(), String>;
    /// Returns the text to print behind the `=`; `None` if the word does not hold.
    fn show(&self, word: &str) -> Option<String>;
}

/// The error for a text that is not a behaviour.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadBehaviour(pub String);

/// Parses words that are separated by commas. An empty text gives the default.
pub fn read<B: Default + Clone>(words: &'static [BehaviourWord<B>], text: &str) -> Result<B, BadBehaviour> {
    let mut behaviour = B::default();
    let items: Vec<&str> = text.split(',').map(str::trim_start).filter(|item| !item.is_empty()).collect();
    for item in &items {
        let (word, value) = split(words, item)?;
        let bad = |why| BadBehaviour(format!("`{item}`: {why}"));
        (word.field)(&mut behaviour).set(word.name, value).map_err(bad)?;
    }
    for item in items {
        let (word, _) = split(words, item)?;
        if (word.field)(&mut behaviour).show(word.name).is_none() {
            return Err(BadBehaviour(format!("`{item}` says nothing, or a later word overrules it")));
        }
    }
    Ok(behaviour)
}

/// Prints the words that hold, in the order of the table. [`read`] reads the result.
pub fn write<B: Clone>(words: &'static [BehaviourWord<B>], behaviour: &B) -> String {
    let mut behaviour = behaviour.clone();
    let shown = |word: &BehaviourWord<B>| {
        let value = (word.field)(&mut behaviour).show(word.name)?;
        Some(if value.is_empty() { word.name.to_owned() } else { format!("{}={value}", word.name) })
    };
    words.iter().filter_map(shown).collect::<Vec<_>>().join(",")
}

fn split<'a, B>(
    words: &'static [BehaviourWord<B>],
    item: &'a str,
) -> Result<(&'static BehaviourWord<B>, &'a str), BadBehaviour> {
    let (name, value) = item.split_once('=').unwrap_or((item, ""));
    let known = words.iter().find(|word| word.name == name);
    Ok((known.ok_or_else(|| BadBehaviour(format!("nobody here behaves like `{name}`")))?, value))
}

/// `spoken!(Behaviour)` implements `FromStr` and `Display` with the `WORDS` of the calling module.
macro_rules! spoken {
    ($behaviour:ty) => {
        impl std::str::FromStr for $behaviour {
            type Err = $crate::faults::behaviour_syntax::BadBehaviour;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::faults::behaviour_syntax::read(WORDS, text)
            }
        }

        impl std::fmt::Display for $behaviour {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&$crate::faults::behaviour_syntax::write(WORDS, self))
            }
        }
    };
}
pub(super) use spoken;

/// Refuses a value behind a word that takes none.
pub fn no_value(value: &str) -> Result<(), String> {
    if value.is_empty() { Ok(()) } else { Err("takes no value".to_owned()) }
}

impl Field for bool {
    fn set(&mut self, _word: &str, value: &str) -> Result<(), String> {
        *self = true;
        no_value(value)
    }

    fn show(&self, _word: &str) -> Option<String> {
        self.then(String::new)
    }
}

/// A number of bytes or things: `300k`, `17`.
impl Field for Option<u64> {
    fn set(&mut self, _word: &str, value: &str) -> Result<(), String> {
        *self = Some(parse_bytes(value)?);
        Ok(())
    }

    fn show(&self, _word: &str) -> Option<String> {
        self.map(|number| number.to_string())
    }
}

/// A count; the default is none.
impl Field for u32 {
    fn set(&mut self, _word: &str, value: &str) -> Result<(), String> {
        *self = value.parse().map_err(|error| format!("{error}"))?;
        Ok(())
    }

    fn show(&self, _word: &str) -> Option<String> {
        (*self > 0).then(|| self.to_string())
    }
}

/// A share from 0 to 1.
impl Field for Option<f64> {
    fn set(&mut self, _word: &str, value: &str) -> Result<(), String> {
        let share: f64 = value.parse().map_err(|error| format!("{error}"))?;
        *self = Some(share).filter(|share| (0.0..=1.0).contains(share));
        self.map(|_share| ()).ok_or_else(|| "a share is between 0 and 1".to_owned())
    }

    fn show(&self, _word: &str) -> Option<String> {
        self.map(|share| share.to_string())
    }
}

impl Field for Option<Duration> {
    fn set(&mut self, _word: &str, value: &str) -> Result<(), String> {
        *self = Some(parse_duration(value)?);
        Ok(())
    }

    fn show(&self, _word: &str) -> Option<String> {
        self.map(show_duration)
    }
}

/// Prints a duration as [`parse_duration`] reads it, in whole milliseconds.
pub fn show_duration(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

/// Items separated by `+`.
impl<T: std::str::FromStr<Err: std::fmt::Display> + ToString> Field for Vec<T> {
    fn set(&mut self, _word: &str, value: &str) -> Result<(), String> {
        let read = |item: &str| item.parse().map_err(|error| format!("{item}: {error}"));
        *self = value.split('+').map(read).collect::<Result<_, String>>()?;
        Ok(())
    }

    fn show(&self, _word: &str) -> Option<String> {
        let items: Vec<String> = self.iter().map(T::to_string).collect();
        (!items.is_empty()).then(|| items.join("+"))
    }
}

/// Bytes, written as text with C escapes: `\n`, `\x1b`. A comma is `\x2c`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EscapedText(pub Vec<u8>);

impl Field for Option<EscapedText> {
    fn set(&mut self, _word: &str, value: &str) -> Result<(), String> {
        *self = Some(EscapedText(unescape(value).ok_or("a broken escape")?)).filter(|text| !text.0.is_empty());
        Ok(())
    }

    fn show(&self, _word: &str) -> Option<String> {
        self.as_ref().map(|text| text.0.escape_ascii().to_string().replace(',', "\\x2c"))
    }
}

/// Reverses [`slice::escape_ascii`]. Returns `None` for a broken escape.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        out.push(match bytes.next()? {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'x' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            quoted @ (b'\\' | b'\'' | b'"') => quoted,
            _ => return None,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone, Default, PartialEq)]
    struct Sample {
        flag: bool,
        size: Option<u64>,
        count: u32,
        share: Option<f64>,
        wait: Option<Duration>,
        ids: Vec<u8>,
        text: Option<EscapedText>,
    }

    const WORDS: &[BehaviourWord<Sample>] = &[
        BehaviourWord { name: "flag", cites: "", says: "", field: |s| &mut s.flag },
        BehaviourWord { name: "size", cites: "", says: "", field: |s| &mut s.size },
        BehaviourWord { name: "count", cites: "", says: "", field: |s| &mut s.count },
        BehaviourWord { name: "share", cites: "", says: "", field: |s| &mut s.share },
        BehaviourWord { name: "wait", cites: "", says: "", field: |s| &mut s.wait },
        BehaviourWord { name: "ids", cites: "", says: "", field: |s| &mut s.ids },
        BehaviourWord { name: "text", cites: "", says: "", field: |s| &mut s.text },
    ];

    #[test]
    fn words_become_fields() {
        let sample = read(WORDS, "flag, size=300k,count=3,share=0.01,wait=50ms,ids=21+99,text=a\\x1b[2J\\n").unwrap();
        let want = Sample {
            flag: true,
            size: Some(307_200),
            count: 3,
            share: Some(0.01),
            wait: Some(Duration::from_millis(50)),
            ids: vec![21, 99],
            text: Some(EscapedText(b"a\x1b[2J\n".to_vec())),
        };
        assert_eq!(sample, want);
        assert_eq!(read(WORDS, "").unwrap(), Sample::default());
    }

    #[test]
    fn nonsense_is_refused_with_its_own_words() {
        for (text, part) in [
            ("flagg", "flagg"),
            ("flag=1", "takes no value"),
            ("size=x", "`size=x`"),
            ("size", "`size`"),
            ("count=-1", "`count=-1`"),
            ("count=0", "says nothing"),
            ("share=2", "between 0 and 1"),
            ("share=nan", "between 0 and 1"),
            ("wait=soon", "`wait=soon`"),
            ("ids=21+300", "300"),
            ("text=\\q", "broken escape"),
            ("text=\\x1", "broken escape"),
        ] {
            let why = read(WORDS, text).unwrap_err().to_string();
            assert!(why.contains(part), "{text}: {why}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(flag: bool, size: Option<u32>, count: u32, thousandths in 0u32..=1000,
            wait: Option<u16>, ids: Vec<u8>, text in prop::collection::vec(any::<u8>(), 1..40)) {
            let sample = Sample {
                flag,
                size: size.map(u64::from),
                count,
                share: Some(f64::from(thousandths) / 1000.0),
                wait: wait.map(|ms| Duration::from_millis(ms.into())),
                ids,
                text: Some(EscapedText(text)),
            };
            prop_assert_eq!(read(WORDS, &write(WORDS, &sample)), Ok(sample));
        }

        #[test]
        fn no_text_makes_it_panic(text: String) {
            drop(read(WORDS, &text));
        }
    }
}

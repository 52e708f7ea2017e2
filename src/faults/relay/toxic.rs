//! What a relay does to what it carries: a plain struct, written as words with toxiproxy's names
//! (`latency=50ms,slicer:avg=64`).
//!
//! The default carries everything as it is. Knows the words only; what they mean is in `tcp` and `udp`.

use std::time::Duration;

use crate::faults::behaviour_syntax::{BehaviourWord, Field, spoken};

/// What is done to the traffic. Fields are independent of each other: any mixture is a toxic relay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Toxics {
    /// Which way they hold.
    pub stream: Way,
    /// Everything comes so much later.
    pub latency: Option<Duration>,
    /// More or less, up to so much, drawn anew for each piece of traffic.
    pub jitter: Option<Duration>,
    /// Bytes a second.
    pub bandwidth: Option<u64>,
    /// The end of a connection is passed on so much later.
    pub slow_close: Option<Duration>,
    /// Everything is thrown away, and the connection is closed after so long; after 0, never.
    pub timeout: Option<Duration>,
    /// The connection is reset after so long.
    pub reset_peer: Option<Duration>,
    /// Pieces of traffic of about so many bytes.
    pub slice: Option<u64>,
    /// More or less so many bytes.
    pub slice_variation: Option<u64>,
    /// Between two slices.
    pub slice_delay: Option<Duration>,
    /// The connection is closed after so many bytes.
    pub limit_data: Option<u64>,
    /// Nothing moves until this is taken away; then nothing is lost. What a partition is to TCP.
    pub stall: bool,
}

/// Which way toxics hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Way {
    /// Both.
    #[default]
    Both,
    /// From who connected to where the relay leads.
    Up,
    /// Back.
    Down,
}

impl Field for Way {
    fn set(&mut self, _word: &str, value: &str) -> Result<(), String> {
        *self = match value {
            "upstream" => Self::Up,
            "downstream" => Self::Down,
            _ => return Err("`upstream` or `downstream`; without it toxics hold both ways".to_owned()),
        };
        Ok(())
    }

    fn show(&self, _word: &str) -> Option<String> {
        match self {
            Self::Both => None,
            Self::Up => Some("upstream".to_owned()),
            Self::Down => Some("downstream".to_owned()),
        }
    }
}

const fn word(
    name: &'static str,
    cites: &'static str,
    says: &'static str,
    field: fn(&mut Toxics) -> &mut dyn Field,
) -> BehaviourWord<Toxics> {
    BehaviourWord { name, cites, says, field }
}

/// Every word a relay's toxics are made of. `a:b` is attribute `b` of toxiproxy's toxic `a`.
#[rustfmt::skip]
pub const WORDS: &[BehaviourWord<Toxics>] = &[
    word("stream", "N-02", "holds one way only: `upstream` or `downstream`", |t| &mut t.stream),
    word("latency", "N-07", "passes everything on so much later", |t| &mut t.latency),
    word("latency:jitter", "N-05", "more or less, up to so much", |t| &mut t.jitter),
    word("bandwidth", "N-07", "passes so many bytes a second", |t| &mut t.bandwidth),
    word("slow_close", "P-25", "passes an end on so much later", |t| &mut t.slow_close),
    word("timeout", "N-01", "throws everything away and closes after so long; after 0, never", |t| &mut t.timeout),
    word("reset_peer", "P-03", "resets connections after so long", |t| &mut t.reset_peer),
    word("slicer:avg", "P-27", "passes slices of about so many bytes", |t| &mut t.slice),
    word("slicer:variation", "P-27", "more or less so many bytes", |t| &mut t.slice_variation),
    word("slicer:delay", "P-27", "waits between two slices", |t| &mut t.slice_delay),
    word("limit_data", "P-26", "closes connections after so many bytes", |t| &mut t.limit_data),
    word("stall", "N-01", "holds everything back until healed, and loses nothing (not of toxiproxy)", |t| &mut t.stall),
];

impl Toxics {
    /// Those that hold this way; `up` is from who connected.
    #[must_use]
    pub fn holding(&self, up: bool) -> Self {
        let holds = match self.stream {
            Way::Both => true,
            Way::Up => up,
            Way::Down => !up,
        };
        if holds { self.clone() } else { Self::default() }
    }
}

spoken!(Toxics);

#[cfg(test)]
mod tests {
    use super::*;

    fn example(name: &str) -> &'static str {
        match name {
            "stream" => "downstream",
            "stall" => "",
            "bandwidth" | "slicer:avg" | "slicer:variation" | "limit_data" => "64",
            _ => "50ms",
        }
    }

    #[test]
    fn every_word_survives_reading_and_writing() {
        for word in WORDS {
            let value = example(word.name);
            let text = if value.is_empty() { word.name.to_owned() } else { format!("{}={value}", word.name) };
            let toxics: Toxics = text.parse().unwrap();
            assert_ne!(toxics, Toxics::default(), "{text}");
            assert_eq!(toxics.to_string(), text);
        }
        assert!("slicer:avg=64,stream=sideways".parse::<Toxics>().is_err());
    }

    #[test]
    fn toxics_of_one_way_do_not_hold_the_other_way() {
        for (stream, up, down) in
            [("", true, true), (",stream=upstream", true, false), (",stream=downstream", false, true)]
        {
            let toxics: Toxics = format!("latency=1ms{stream}").parse().unwrap();
            let late = |up| toxics.holding(up).latency.is_some();
            assert_eq!((late(true), late(false)), (up, down), "{stream}");
        }
    }
}

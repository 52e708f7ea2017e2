//! What a relay does to its traffic: a plain struct, written as words with toxiproxy's names
//! (`latency=50ms,slicer:avg=64`).
//!
//! The default passes everything unchanged. This file knows only the words; `tcp` and `udp` carry them out.

use std::time::Duration;

use crate::faults::behaviour_syntax::{BehaviourWord, Field, spoken};

/// What is done to the traffic. The fields are independent of each other and can be combined freely.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Toxics {
    /// The direction that the toxics apply to.
    pub stream: Way,
    /// Delay of all traffic.
    pub latency: Option<Duration>,
    /// The delay varies by up to this much, drawn anew for each read or datagram.
    pub jitter: Option<Duration>,
    /// Limit in bytes a second.
    pub bandwidth: Option<u64>,
    /// Delay of the end of a connection.
    pub slow_close: Option<Duration>,
    /// Everything is discarded, and the connection is closed after this long; after 0, never.
    pub timeout: Option<Duration>,
    /// The connection is reset after this long.
    pub reset_peer: Option<Duration>,
    /// Average size of one write, in bytes.
    pub slice: Option<u64>,
    /// The size of a write varies by up to this many bytes.
    pub slice_variation: Option<u64>,
    /// Pause between two writes.
    pub slice_delay: Option<Duration>,
    /// The connection is closed after this many bytes.
    pub limit_data: Option<u64>,
    /// Nothing moves until this is taken away, and nothing is lost: the effect of a partition on TCP.
    pub stall: bool,
}

/// The direction that toxics apply to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Way {
    /// Both directions.
    #[default]
    Both,
    /// From the caller to the destination.
    Up,
    /// From the destination to the caller.
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

/// The words of a relay's toxics. `a:b` is attribute `b` of toxiproxy's toxic `a`.
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
    /// Returns the toxics that apply to one direction; `up` is from the caller.
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
    fn every_word_round_trips() {
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
    fn toxics_of_one_direction_do_not_apply_to_the_other() {
        for (stream, up, down) in
            [("", true, true), (",stream=upstream", true, false), (",stream=downstream", false, true)]
        {
            let toxics: Toxics = format!("latency=1ms{stream}").parse().unwrap();
            let late = |up| toxics.holding(up).latency.is_some();
            assert_eq!((late(true), late(false)), (up, down), "{stream}");
        }
    }
}

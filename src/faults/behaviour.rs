//! The behaviour of a peer: a plain struct, written as words (`corrupt=0.01,reset_every=300k`).
//!
//! The default is an honest seed. Every other word is a fault of the catalogue and cites it. This file knows only the
//! words; `conversation`, `answers` and `pipe` carry them out on the wire.

use std::time::Duration;

use super::behaviour_syntax::{BehaviourWord, EscapedText, Field, no_value, show_duration, spoken};
use crate::base::units::{parse_bytes, parse_duration};

/// What a peer does. The fields are independent of each other and can be combined freely.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Behaviour {
    /// How it answers the handshake.
    pub greeting: Greeting,
    /// The peer id, or its first bytes: the rest is drawn at random.
    pub id: Option<EscapedText>,
    /// Which pieces it announces, and how.
    pub opening: Opening,
    /// The share of the pieces that it has; `None`: all of them.
    pub partial: Option<f64>,
    /// It announces all pieces, although `partial` took some away.
    pub lie_have: bool,
    /// Which message it sends about a piece that does not exist.
    pub beyond: Beyond,
    /// Message ids to send after the opening.
    pub unknown_ids: Vec<u8>,
    /// It announces a frame of this length and sends its bytes.
    pub huge_length: Option<u64>,
    /// When it chokes and unchokes.
    pub choking: Choking,
    /// How it answers requests.
    pub answer: Answer,
    /// The share of the blocks in which one bit is flipped.
    pub corrupt: Option<f64>,
    /// The piece in each of whose blocks one bit is flipped.
    pub corrupt_piece: Option<u64>,
    /// One bit is flipped in the last block of every piece.
    pub corrupt_last: bool,
    /// The delay before every answer.
    pub delay: Option<Duration>,
    /// It answers this many blocks, then sends nothing more, without choking.
    pub snub_after: Option<u64>,
    /// How many extra copies of every block it sends.
    pub duplicate: u32,
    /// How many unrequested blocks it sends with the first unchoke.
    pub unrequested: u32,
    /// Limit for each connection, in bytes a second.
    pub drip: Option<u64>,
    /// Limit for all connections together, in bytes a second.
    pub max_rate: Option<u64>,
    /// Largest number of bytes in one write.
    pub slice: Option<u64>,
    /// It resets the connection when it has sent this many bytes after the handshake.
    pub reset_every: Option<u64>,
    /// It closes the connection when it has sent this many bytes after the handshake.
    pub close_after: Option<u64>,
    /// How many requests it sends at once, after `interested`.
    pub request_flood: u32,
    /// How many pieces it sends `allowed fast` for, from the first piece on (BEP 6).
    pub allow: u32,
    /// What it does with the requests it holds when it chokes.
    pub choked_requests: ChokedRequests,
    /// The length that the requests of `request_flood` ask for.
    pub request_len: Option<u64>,
    /// It stops reading after the handshake.
    pub deaf: bool,
    /// How many times it changes its interest at once.
    pub interest_flood: u32,
    /// Its handshake of the extension protocol (BEP 10).
    pub extended: ExtendedBehaviour,
    /// How many peers a second it names without being asked (BEP 11).
    pub pex_flood: u32,
    /// The metadata size that it announces, as digits (BEP 9).
    pub metadata_size: Option<EscapedText>,
    /// What it sends about metadata, with or without a request.
    pub metadata: MetadataAnswer,
}

/// A peer's handshake of the extension protocol (BEP 10).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExtendedBehaviour {
    /// It sends none, unless another word needs one.
    #[default]
    Unspoken,
    /// It sends one as BEP 10 says.
    Honest,
    /// Lists nested this deep.
    Deep(u64),
    /// A client name of this many bytes.
    Name(u64),
    /// Port 0 and a negative queue length.
    Numbers,
}

/// What a peer sends about metadata (BEP 9).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MetadataAnswer {
    /// Nothing.
    #[default]
    Nothing,
    /// `reject`.
    Reject,
    /// Bytes of another torrent.
    WrongHash,
    /// A metadata piece that does not exist.
    WrongPiece,
}

/// How a peer answers the handshake.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Greeting {
    /// As BEP 3 says.
    #[default]
    Honest,
    /// It sends nothing.
    Silent,
    /// It sends one byte, then pauses this long, and so on.
    Slow(Duration),
    /// It sends its handshake, then resets the connection.
    Reset,
    /// It answers with the info-hash of another torrent.
    WrongHash,
    /// It answers with the name of another protocol.
    WrongProtocol,
    /// It answers with the peer id of the caller.
    OwnId,
}

/// Which pieces a peer announces, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Opening {
    /// One bitfield as the first message.
    #[default]
    Bitfield,
    /// Nothing, although it answers requests.
    Nothing,
    /// One `have` for each piece.
    Haves,
    /// A `have` for the first piece, and a `have` for the next one each time the other side announces the last one (BEP
    /// 16).
    OneByOne,
    /// `have all` (BEP 6).
    HaveAll,
    /// A bitfield that is one byte too long.
    TooLong,
    /// A bitfield that is one byte too short.
    TooShort,
    /// A bitfield with a spare bit set; one byte too long where there is no spare bit.
    SpareBits,
    /// The same bitfield twice.
    Twice,
    /// A bitfield after a `have`.
    Late,
    /// A bitfield after `have all`.
    AfterHaveAll,
}

/// Which message a peer sends about a piece that does not exist.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Beyond {
    /// None.
    #[default]
    Nothing,
    /// `have`.
    Have,
    /// `suggest piece` (BEP 6).
    Suggest,
    /// `allowed fast` (BEP 6).
    AllowedFast,
}

/// When a peer chokes and unchokes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Choking {
    /// It unchokes when the other side is interested.
    #[default]
    OnInterest,
    /// The same, but it sends `choke` first (W-05).
    First,
    /// It sends `choke` and never unchokes.
    Forever,
    /// It sends neither `choke` nor `unchoke`.
    Never,
    /// It unchokes and chokes this many times a second.
    Flap(u32),
}

/// What a peer does with the requests it holds when it chokes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ChokedRequests {
    /// It rejects them if both sides speak BEP 6, and drops them otherwise.
    #[default]
    AsSpoken,
    /// It drops them, although both sides speak BEP 6.
    Forgotten,
}

/// How a peer answers requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Answer {
    /// With the block.
    #[default]
    Block,
    /// With `reject` (BEP 6).
    Reject,
    /// The right bytes under the index of the next piece.
    WrongIndex,
    /// The right bytes under a `begin` that is one too large.
    WrongBegin,
    /// One byte less than was requested.
    WrongLength,
    /// The right bytes under a `begin` beyond the end of the piece.
    BeyondEnd,
}

/// 1,000 changes a second. Faster flapping would be a busy loop.
const MAX_FLAPS: u32 = 1000;

macro_rules! one_of {
    ($name:ident, $($word:literal => $variant:ident),+) => {
        impl Field for $name {
            fn set(&mut self, word: &str, value: &str) -> Result<(), String> {
                *self = match word {
                    $($word => Self::$variant,)+
                    _ => return Err("not a word of this field".to_owned()),
                };
                no_value(value)
            }

            fn show(&self, word: &str) -> Option<String> {
                matches!((self, word), $((Self::$variant, $word))|+).then(String::new)
            }
        }
    };
}

one_of!(Opening, "no_bitfield" => Nothing, "have_only" => Haves, "super_seed" => OneByOne, "have_all" => HaveAll, "bad_bitfield" => TooLong,
    "short_bitfield" => TooShort, "spare_bits" => SpareBits, "twice_bitfield" => Twice, "late_bitfield" => Late,
    "bitfield_after_have_all" => AfterHaveAll);
one_of!(Beyond, "bad_have" => Have, "bad_suggest" => Suggest, "bad_allowed_fast" => AllowedFast);
one_of!(ChokedRequests, "forgetful" => Forgotten);
one_of!(Answer, "reject" => Reject, "wrong_index" => WrongIndex, "wrong_begin" => WrongBegin,
    "wrong_length" => WrongLength, "beyond_end" => BeyondEnd);
one_of!(MetadataAnswer, "metadata_reject" => Reject, "metadata_wrong_hash" => WrongHash,
    "metadata_wrong_piece" => WrongPiece);

impl Field for ExtendedBehaviour {
    fn set(&mut self, word: &str, value: &str) -> Result<(), String> {
        *self = match word {
            "extended_deep" => return parse_bytes(value).map(|depth| *self = Self::Deep(depth)),
            "extended_name" => return parse_bytes(value).map(|len| *self = Self::Name(len)),
            "extended_numbers" => Self::Numbers,
            "extended" => Self::Honest,
            _ => return Err("not a handshake of BEP 10".to_owned()),
        };
        no_value(value)
    }

    fn show(&self, word: &str) -> Option<String> {
        match (self, word) {
            (Self::Deep(number), "extended_deep") | (Self::Name(number), "extended_name") => Some(number.to_string()),
            (Self::Numbers, "extended_numbers") | (Self::Honest, "extended") => Some(String::new()),
            _ => None,
        }
    }
}

impl Field for Greeting {
    fn set(&mut self, word: &str, value: &str) -> Result<(), String> {
        *self = match word {
            "slow_handshake" => return parse_duration(value).map(|pause| *self = Self::Slow(pause)),
            "silent" => Self::Silent,
            "reset_on_handshake" => Self::Reset,
            "wrong_hash" => Self::WrongHash,
            "wrong_protocol" => Self::WrongProtocol,
            "own_id" => Self::OwnId,
            _ => return Err("not a handshake".to_owned()),
        };
        no_value(value)
    }

    fn show(&self, word: &str) -> Option<String> {
        match (self, word) {
            (Self::Slow(pause), "slow_handshake") => Some(show_duration(*pause)),
            (Self::Silent, "silent")
            | (Self::Reset, "reset_on_handshake")
            | (Self::WrongHash, "wrong_hash")
            | (Self::WrongProtocol, "wrong_protocol")
            | (Self::OwnId, "own_id") => Some(String::new()),
            _ => None,
        }
    }
}

impl Field for Choking {
    fn set(&mut self, word: &str, value: &str) -> Result<(), String> {
        *self = match word {
            "flap" => {
                let times = value.parse().ok().filter(|times| (1..=MAX_FLAPS).contains(times));
                *self = Self::Flap(times.ok_or_else(|| format!("1 to {MAX_FLAPS} times a second"))?);
                return Ok(());
            }
            "choke_first" => Self::First,
            "choke_forever" => Self::Forever,
            "never_unchoke" => Self::Never,
            _ => return Err("not a way to choke".to_owned()),
        };
        no_value(value)
    }

    fn show(&self, word: &str) -> Option<String> {
        match (self, word) {
            (Self::Flap(times), "flap") => Some(times.to_string()),
            (Self::First, "choke_first") | (Self::Forever, "choke_forever") | (Self::Never, "never_unchoke") => {
                Some(String::new())
            }
            _ => None,
        }
    }
}

const fn word(
    name: &'static str,
    cites: &'static str,
    says: &'static str,
    field: fn(&mut Behaviour) -> &mut dyn Field,
) -> BehaviourWord<Behaviour> {
    BehaviourWord { name, cites, says, field }
}

/// The words of a peer's behaviour.
#[rustfmt::skip]
pub const WORDS: &[BehaviourWord<Behaviour>] = &[
    word("silent", "P-02", "accepts and never says a word", |b| &mut b.greeting),
    word("slow_handshake", "P-02", "one byte of the handshake, then a pause, and so on", |b| &mut b.greeting),
    word("reset_on_handshake", "P-03", "resets behind the handshake", |b| &mut b.greeting),
    word("wrong_hash", "P-04", "names another torrent", |b| &mut b.greeting),
    word("wrong_protocol", "P-04", "names another protocol", |b| &mut b.greeting),
    word("own_id", "P-05", "has the peer id of who is calling", |b| &mut b.greeting),
    word("id", "P-05", "has this peer id, or one that starts so", |b| &mut b.id),
    word("no_bitfield", "P-06", "never says what it has", |b| &mut b.opening),
    word("have_only", "W-06", "says what it has piece by piece", |b| &mut b.opening),
    word("have_all", "P-18", "has all, in the words of BEP 6", |b| &mut b.opening),
    word("bad_bitfield", "P-07", "sends a bitfield a byte too long", |b| &mut b.opening),
    word("short_bitfield", "P-07", "sends a bitfield a byte too short", |b| &mut b.opening),
    word("twice_bitfield", "P-07", "sends its bitfield twice", |b| &mut b.opening),
    word("late_bitfield", "P-07", "sends its bitfield behind a `have`", |b| &mut b.opening),
    word("bitfield_after_have_all", "P-07", "sends a bitfield behind `have all`", |b| &mut b.opening),
    word("spare_bits", "P-08", "sets a bit that stands for no piece", |b| &mut b.opening),
    word("super_seed", "P-06", "names one piece, and the next when it hears `have` of that one (BEP 16)", |b| &mut b.opening),
    word("partial", "W-28", "has this share of the pieces", |b| &mut b.partial),
    word("lie_have", "P-18", "says to have what `partial` took away", |b| &mut b.lie_have),
    word("bad_have", "P-19", "has a piece that does not exist", |b| &mut b.beyond),
    word("bad_suggest", "P-19", "suggests a piece that does not exist", |b| &mut b.beyond),
    word("bad_allowed_fast", "P-19", "allows a piece that does not exist", |b| &mut b.beyond),
    word("allow", "P-18", "allows the first so many pieces, and rejects them while it chokes", |b| &mut b.allow),
    word("forgetful", "P-11", "speaks BEP 6, and rejects nothing when it chokes", |b| &mut b.choked_requests),
    word("unknown_ids", "P-10", "sends messages with these ids", |b| &mut b.unknown_ids),
    word("huge_length", "P-09", "sends one message of this length", |b| &mut b.huge_length),
    word("choke_first", "W-05", "chokes, and unchokes who is interested", |b| &mut b.choking),
    word("choke_forever", "P-11", "chokes and leaves it at that", |b| &mut b.choking),
    word("never_unchoke", "P-11", "says nothing about choking", |b| &mut b.choking),
    word("flap", "P-11", "unchokes and chokes so many times a second", |b| &mut b.choking),
    word("reject", "P-18", "rejects every request", |b| &mut b.answer),
    word("wrong_index", "P-16", "sends the right bytes as another piece's", |b| &mut b.answer),
    word("wrong_begin", "P-16", "sends the right bytes at a wrong offset", |b| &mut b.answer),
    word("wrong_length", "P-16", "sends one byte less than asked for", |b| &mut b.answer),
    word("beyond_end", "P-16", "sends blocks behind the end of the piece", |b| &mut b.answer),
    word("corrupt", "P-14", "turns one bit in this share of the blocks", |b| &mut b.corrupt),
    word("corrupt_piece", "P-15", "turns one bit in every block of this piece", |b| &mut b.corrupt_piece),
    word("corrupt_last", "P-14", "turns one bit in the last block of every piece", |b| &mut b.corrupt_last),
    word("delay", "P-12", "waits before every answer", |b| &mut b.delay),
    word("snub_after", "P-12", "falls silent after so many blocks", |b| &mut b.snub_after),
    word("duplicate", "P-17", "sends every block so many times more", |b| &mut b.duplicate),
    word("unrequested", "P-17", "sends so many blocks before anybody asks", |b| &mut b.unrequested),
    word("drip", "P-13", "sends so many bytes a second on each connection", |b| &mut b.drip),
    word("max_rate", "W-28", "sends so many bytes a second in all", |b| &mut b.max_rate),
    word("slice", "P-27", "sends segments of so many bytes", |b| &mut b.slice),
    word("reset_every", "P-26", "resets after so many bytes", |b| &mut b.reset_every),
    word("close_after", "P-26", "ends the connection after so many bytes", |b| &mut b.close_after),
    word("request_flood", "P-20", "sends so many requests at once", |b| &mut b.request_flood),
    word("request_len", "P-20", "asks for so many bytes at a time", |b| &mut b.request_len),
    word("deaf", "P-21", "reads nothing after the handshake", |b| &mut b.deaf),
    word("interest_flood", "P-21", "changes its interest so many times at once", |b| &mut b.interest_flood),
    word("extended", "P-24", "shakes hands as BEP 10 says, unasked", |b| &mut b.extended),
    word("extended_deep", "P-24", "nests its extended handshake so deep", |b| &mut b.extended),
    word("extended_name", "P-24", "has a client name of so many bytes", |b| &mut b.extended),
    word("extended_numbers", "P-24", "has port 0 and a queue of less than nothing", |b| &mut b.extended),
    word("pex_flood", "P-22", "names so many peers a second, local and doubled ones among them", |b| &mut b.pex_flood),
    word("metadata_size", "P-23", "says that the metadata has this size", |b| &mut b.metadata_size),
    word("metadata_reject", "P-23", "rejects requests for metadata, asked or not", |b| &mut b.metadata),
    word("metadata_wrong_hash", "P-23", "sends metadata of another torrent, asked or not", |b| &mut b.metadata),
    word("metadata_wrong_piece", "P-23", "sends a piece of metadata that does not exist", |b| &mut b.metadata),
];

impl Behaviour {
    /// Returns the behaviour of an honest seed.
    pub fn honest() -> Self {
        Self::default()
    }

    /// Tells whether the behaviour needs the Fast extension (BEP 6).
    pub fn speaks_fast(&self) -> bool {
        let opens = matches!(self.opening, Opening::HaveAll | Opening::AfterHaveAll);
        let goes_beyond = matches!(self.beyond, Beyond::Suggest | Beyond::AllowedFast);
        let says_more = self.allow > 0 || self.choked_requests == ChokedRequests::Forgotten || self.lie_have;
        opens || goes_beyond || says_more || self.answer == Answer::Reject
    }

    /// Tells whether the behaviour needs the extension protocol (BEP 10).
    pub fn speaks_extensions(&self) -> bool {
        let says_more = self.pex_flood > 0 || self.metadata_size.is_some();
        says_more || self.extended != ExtendedBehaviour::Unspoken || self.metadata != MetadataAnswer::Nothing
    }
}

spoken!(Behaviour);

#[cfg(test)]
mod tests {
    use super::*;

    fn example(name: &str) -> &'static str {
        match name {
            "slow_handshake" | "delay" => "50ms",
            "id" => "FD63\\x00",
            "partial" | "corrupt" => "0.5",
            "unknown_ids" => "21+31+99+200",
            "huge_length" => "4294967295",
            "flap" => "100",
            "corrupt_piece" | "snub_after" | "duplicate" | "unrequested" | "drip" | "max_rate" | "slice"
            | "reset_every" | "close_after" | "request_flood" | "request_len" | "extended_deep" | "extended_name"
            | "interest_flood" | "pex_flood" | "metadata_size" | "allow" => "17",
            _ => "",
        }
    }

    #[test]
    fn every_word_round_trips() {
        for word in WORDS {
            let value = example(word.name);
            let text = if value.is_empty() { word.name.to_owned() } else { format!("{}={value}", word.name) };
            let behaviour: Behaviour = text.parse().unwrap();
            assert_ne!(behaviour, Behaviour::honest(), "{text}");
            assert_eq!(behaviour.to_string(), text);
            assert!(word.cites.starts_with("P-") || word.cites.starts_with("W-"), "{word:?}");
        }
    }

    #[test]
    fn words_mix_and_contradictions_are_refused() {
        let text = "corrupt=0.01,reset_every=300k,delay=50ms,unknown_ids=21+31";
        let behaviour: Behaviour = text.parse().unwrap();
        assert_eq!(behaviour.reset_every, Some(307_200));
        assert_eq!(behaviour.to_string(), "unknown_ids=21+31,corrupt=0.01,delay=50ms,reset_every=307200");
        for bad in ["silent,wrong_hash", "flap=100,never_unchoke", "flap=0", "flap=1000000", "reject=1", "honest"] {
            assert!(bad.parse::<Behaviour>().is_err(), "{bad}");
        }
        assert_eq!("".parse(), Ok(Behaviour::honest()));
        assert_eq!(Behaviour::honest().to_string(), "");
    }
}

//! The peer wire protocol: the handshake and the messages (BEP 3, Fast of BEP 6, `port` of BEP 5, the envelope of
//! BEP 10).
//!
//! The length of a message is checked by its type before its payload is read (P-09). The data of a block is a slice of
//! the buffer, not a copy. Unknown messages are skipped as they arrive (P-10, W-04). The decoder knows the number of
//! pieces of the torrent and nothing else: `base::geometry` checks whether a request is inside a piece.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::base::limits::{MAX_PIECES, MAX_REQUEST_LEN};

mod handshake;

pub use handshake::{BadHandshake, Handshake, PROTOCOL, features};

/// 1 MiB: the largest message that libtorrent accepts; a longer one is refused, of any type.
pub const MAX_FRAME_LEN: u32 = 1024 * 1024;

/// 128 KiB for an extended message: twice what the largest in use need (16 KiB of metadata, a few hundred peers). A
/// client name of a megabyte is refused (P-24).
pub const MAX_EXTENDED_LEN: u32 = 128 * 1024;

/// 256 KiB: the bitfield of [`MAX_PIECES`].
pub const MAX_BITFIELD_LEN: u32 = MAX_PIECES / 8;

/// A range of bytes in a piece, as a message names it. The numbers are not checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RawRequest {
    /// The number of the piece.
    pub piece: u32,
    /// Offset in the piece, in bytes.
    pub begin: u32,
    /// Length in bytes.
    pub len: u32,
}

/// A message of the peer wire protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// "Messages of length zero are keepalives, and ignored."
    KeepAlive,
    /// The sender will not answer requests.
    Choke,
    /// The sender will answer requests.
    Unchoke,
    /// The sender wants pieces that we have.
    Interested,
    /// The sender wants no piece that we have.
    NotInterested,
    /// The sender has completed the piece with this number. The piece exists.
    Have(u32),
    /// The pieces that the sender has. The length is right; `Bitfield::from_wire` reads the bytes.
    Bitfield(Bytes),
    /// The sender requests these bytes.
    Request(RawRequest),
    /// Data of a piece.
    Piece {
        /// The number of the piece.
        piece: u32,
        /// Offset in the piece, in bytes.
        begin: u32,
        /// The data, at most 128 KiB.
        data: Bytes,
    },
    /// The sender no longer wants the bytes that it has requested.
    Cancel(RawRequest),
    /// The UDP port of the sender's DHT node (BEP 5).
    Port(u16),
    /// "You might like to download this piece" (BEP 6). The piece exists.
    Suggest(u32),
    /// The sender has all pieces; sent instead of a bitfield (BEP 6).
    HaveAll,
    /// The sender has no piece; sent instead of a bitfield (BEP 6).
    HaveNone,
    /// The sender will not answer that request (BEP 6).
    Reject(RawRequest),
    /// The sender answers requests for this piece even while it chokes us (BEP 6). The piece exists.
    AllowedFast(u32),
    /// A message of the extension protocol (BEP 10).
    Extended {
        /// 0 for the extended handshake, else the number that the receiver has assigned.
        id: u8,
        /// The payload: bencode, perhaps with bytes after it. Not checked.
        payload: Bytes,
    },
    /// A message of an unknown type; its payload was skipped.
    Unknown {
        /// The type of the message.
        id: u8,
        /// The length of the payload in bytes.
        len: u32,
    },
}

/// Why a message is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    /// A message of this type cannot have this length (P-07, P-09).
    #[error("message of type {id} with {len} bytes")]
    Length {
        /// The type of the message.
        id: u8,
        /// The length of the payload in bytes.
        len: u32,
    },
    /// The message is longer than [`MAX_FRAME_LEN`].
    #[error("message of {len} bytes")]
    TooLong {
        /// The length that the message claims, in bytes.
        len: u32,
    },
    /// `have`, `suggest` or `allowed fast` for a piece that does not exist (P-19).
    #[error("message of type {id} for piece {piece} of {pieces}")]
    NoSuchPiece {
        /// The type of the message.
        id: u8,
        /// The piece number in the message.
        piece: u32,
        /// The number of pieces of the torrent.
        pieces: u32,
    },
}

const CHOKE: u8 = 0;
const UNCHOKE: u8 = 1;
const INTERESTED: u8 = 2;
const NOT_INTERESTED: u8 = 3;
const HAVE: u8 = 4;
const BITFIELD: u8 = 5;
const REQUEST: u8 = 6;
const PIECE: u8 = 7;
const CANCEL: u8 = 8;
const PORT: u8 = 9;
const SUGGEST: u8 = 13;
const HAVE_ALL: u8 = 14;
const HAVE_NONE: u8 = 15;
const REJECT: u8 = 16;
const ALLOWED_FAST: u8 = 17;
const EXTENDED: u8 = 20;

/// The length of the piece number and the offset before the data of a `piece` message.
const PIECE_HEAD: u32 = 8;

impl Message {
    /// The name of the message in BEP 3, 5, 6 and 10, for logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::KeepAlive => "keep-alive",
            Self::Choke => "choke",
            Self::Unchoke => "unchoke",
            Self::Interested => "interested",
            Self::NotInterested => "not interested",
            Self::Have(_) => "have",
            Self::Bitfield(_) => "bitfield",
            Self::Request(_) => "request",
            Self::Piece { .. } => "piece",
            Self::Cancel(_) => "cancel",
            Self::Port(_) => "port",
            Self::Suggest(_) => "suggest piece",
            Self::HaveAll => "have all",
            Self::HaveNone => "have none",
            Self::Reject(_) => "reject request",
            Self::AllowedFast(_) => "allowed fast",
            Self::Extended { .. } => "extended",
            Self::Unknown { .. } => "unknown",
        }
    }

    /// Appends the bytes of the message. An `Unknown` is sent with a payload of zeros.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::KeepAlive => out.put_u32(0),
            Self::Choke => put_head(out, CHOKE, 0),
            Self::Unchoke => put_head(out, UNCHOKE, 0),
            Self::Interested => put_head(out, INTERESTED, 0),
            Self::NotInterested => put_head(out, NOT_INTERESTED, 0),
            Self::Have(piece) => put_number(out, HAVE, *piece),
            Self::Bitfield(bits) => put_payload(out, BITFIELD, bits),
            Self::Request(range) => put_range(out, REQUEST, *range),
            Self::Piece { piece, begin, data } => {
                out.put_slice(&encode_piece_header(*piece, *begin, len_of(data)));
                out.put_slice(data);
            }
            Self::Cancel(range) => put_range(out, CANCEL, *range),
            Self::Port(port) => {
                put_head(out, PORT, 2);
                out.put_u16(*port);
            }
            Self::Suggest(piece) => put_number(out, SUGGEST, *piece),
            Self::HaveAll => put_head(out, HAVE_ALL, 0),
            Self::HaveNone => put_head(out, HAVE_NONE, 0),
            Self::Reject(range) => put_range(out, REJECT, *range),
            Self::AllowedFast(piece) => put_number(out, ALLOWED_FAST, *piece),
            Self::Extended { id, payload } => {
                put_head(out, EXTENDED, len_of(payload).saturating_add(1));
                out.put_u8(*id);
                out.put_slice(payload);
            }
            Self::Unknown { id, len } => {
                put_head(out, *id, *len);
                out.put_bytes(0, *len as usize);
            }
        }
    }
}

/// Bytes of a `piece` message before the block: length, kind, index, begin (BEP 3).
pub const PIECE_HEADER_LEN: usize = 13;

/// The bytes before the `len` bytes of data of a `piece` message. With them the data can be sent without a copy.
pub fn encode_piece_header(piece: u32, begin: u32, len: u32) -> [u8; PIECE_HEADER_LEN] {
    let mut out = [0; PIECE_HEADER_LEN];
    let mut rest = &mut out[..];
    rest.put_u32(len.saturating_add(PIECE_HEAD).saturating_add(1));
    rest.put_u8(PIECE);
    rest.put_u32(piece);
    rest.put_u32(begin);
    out
}

/// Appends length and type of a message.
fn put_head(out: &mut BytesMut, id: u8, payload_len: u32) {
    out.put_u32(payload_len.saturating_add(1));
    out.put_u8(id);
}

/// Appends a message with one number.
fn put_number(out: &mut BytesMut, id: u8, number: u32) {
    put_head(out, id, 4);
    out.put_u32(number);
}

/// Appends a message with a range.
fn put_range(out: &mut BytesMut, id: u8, range: RawRequest) {
    put_head(out, id, 12);
    out.put_u32(range.piece);
    out.put_u32(range.begin);
    out.put_u32(range.len);
}

/// Appends a message with a payload.
fn put_payload(out: &mut BytesMut, id: u8, payload: &[u8]) {
    put_head(out, id, len_of(payload));
    out.put_slice(payload);
}

/// The length of a payload, which is below the limit of a frame.
fn len_of(payload: &[u8]) -> u32 {
    u32::try_from(payload.len()).expect("a message is shorter than 4 GiB")
}

/// Splits a stream of bytes into messages, in whatever parts the stream arrives (P-27, W-25).
#[derive(Debug)]
pub struct Decoder {
    /// How many pieces the torrent has; `None` while its content is not known.
    pieces: Option<u32>,
    /// An unknown message whose payload is being skipped.
    skipping: Option<Skip>,
    need: usize,
}

/// An unknown message that is being skipped: its type, its length, and the bytes that are still to come.
#[derive(Debug)]
struct Skip {
    id: u8,
    len: u32,
    left: usize,
}

impl Decoder {
    /// A decoder for a connection of a torrent with this number of pieces.
    pub const fn new(pieces: u32) -> Self {
        Self { pieces: Some(pieces), skipping: None, need: LENGTH_LEN }
    }

    /// For a connection of a torrent whose content is not known yet (BEP 9). Until [`Decoder::set_pieces`] says how many
    /// pieces there are, a bitfield may have any length up to [`MAX_BITFIELD_LEN`], and a piece any number below
    /// [`MAX_PIECES`]: the receiver compares them with the content when it comes.
    pub const fn without_content() -> Self {
        Self { pieces: None, skipping: None, need: LENGTH_LEN }
    }

    /// The content is known now: it has that many pieces. Messages that follow are judged by it.
    pub const fn set_pieces(&mut self, pieces: u32) {
        self.pieces = Some(pieces);
    }

    /// Removes the next message from the buffer; `None` if no message is complete. After an error the rest of the
    /// stream has no meaning.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Message>, BadMessage> {
        if self.skipping.is_some() {
            return Ok(self.skip(buffer));
        }
        let Some(&length) = buffer.first_chunk::<LENGTH_LEN>() else {
            return Ok(self.wait_for(LENGTH_LEN, buffer));
        };
        let frame_len = u32::from_be_bytes(length);
        if frame_len > MAX_FRAME_LEN {
            return Err(BadMessage::TooLong { len: frame_len });
        }
        let Some(len) = frame_len.checked_sub(1) else {
            buffer.advance(LENGTH_LEN);
            self.need = LENGTH_LEN;
            return Ok(Some(Message::KeepAlive));
        };
        let Some(&id) = buffer.get(LENGTH_LEN) else {
            return Ok(self.wait_for(HEAD_LEN, buffer));
        };
        match self.judge(id, len)? {
            Judgement::Unknown => {
                buffer.advance(HEAD_LEN);
                self.skipping = Some(Skip { id, len, left: len as usize });
                Ok(self.skip(buffer))
            }
            Judgement::Known => {
                let whole = HEAD_LEN.saturating_add(len as usize);
                if buffer.len() < whole {
                    return Ok(self.wait_for(whole, buffer));
                }
                self.need = LENGTH_LEN;
                buffer.advance(HEAD_LEN);
                let payload = buffer.split_to(len as usize).freeze();
                self.read(id, payload).map(Some)
            }
        }
    }

    /// The least number of further bytes after which [`Decoder::decode`] can return the next message; a hint for the
    /// size of the next read. Valid after a `decode` that returned `None`.
    pub const fn need(&self) -> usize {
        self.need
    }

    /// Waits until the buffer has `whole` bytes.
    fn wait_for(&mut self, whole: usize, buffer: &BytesMut) -> Option<Message> {
        self.need = whole.saturating_sub(buffer.len());
        None
    }

    /// Skips bytes of an unknown message. Returns the message when all of it has been skipped.
    fn skip(&mut self, buffer: &mut BytesMut) -> Option<Message> {
        let skip = self.skipping.as_mut()?;
        let now = skip.left.min(buffer.len());
        buffer.advance(now);
        skip.left = skip.left.saturating_sub(now);
        self.need = skip.left;
        if skip.left > 0 {
            return None;
        }
        let Skip { id, len, .. } = self.skipping.take()?;
        self.need = LENGTH_LEN;
        Some(Message::Unknown { id, len })
    }

    /// Checks the length of a message by its type.
    fn judge(&self, id: u8, len: u32) -> Result<Judgement, BadMessage> {
        let fits = match id {
            CHOKE | UNCHOKE | INTERESTED | NOT_INTERESTED | HAVE_ALL | HAVE_NONE => len == 0,
            HAVE | SUGGEST | ALLOWED_FAST => len == 4,
            BITFIELD => self.pieces.map_or(len <= MAX_BITFIELD_LEN, |pieces| len == pieces.div_ceil(8)),
            REQUEST | CANCEL | REJECT => len == 12,
            PIECE => (PIECE_HEAD..=PIECE_HEAD.saturating_add(MAX_REQUEST_LEN)).contains(&len),
            PORT => len == 2,
            EXTENDED => (1..=MAX_EXTENDED_LEN).contains(&len),
            _ => return Ok(Judgement::Unknown),
        };
        if fits { Ok(Judgement::Known) } else { Err(BadMessage::Length { id, len }) }
    }

    /// Reads a payload whose length has been checked, so no `get_` below can fail.
    fn read(&self, id: u8, mut payload: Bytes) -> Result<Message, BadMessage> {
        Ok(match id {
            CHOKE => Message::Choke,
            UNCHOKE => Message::Unchoke,
            INTERESTED => Message::Interested,
            NOT_INTERESTED => Message::NotInterested,
            HAVE => Message::Have(self.existing(id, payload.get_u32())?),
            BITFIELD => Message::Bitfield(payload),
            REQUEST => Message::Request(range(payload)),
            PIECE => Message::Piece { piece: payload.get_u32(), begin: payload.get_u32(), data: payload },
            CANCEL => Message::Cancel(range(payload)),
            PORT => Message::Port(payload.get_u16()),
            SUGGEST => Message::Suggest(self.existing(id, payload.get_u32())?),
            HAVE_ALL => Message::HaveAll,
            HAVE_NONE => Message::HaveNone,
            REJECT => Message::Reject(range(payload)),
            ALLOWED_FAST => Message::AllowedFast(self.existing(id, payload.get_u32())?),
            _ => Message::Extended { id: payload.get_u8(), payload },
        })
    }

    /// The number of a piece that exists.
    fn existing(&self, id: u8, piece: u32) -> Result<u32, BadMessage> {
        let pieces = self.pieces.unwrap_or(MAX_PIECES);
        if piece < pieces { Ok(piece) } else { Err(BadMessage::NoSuchPiece { id, piece, pieces }) }
    }
}

/// Whether the type of a message is known.
enum Judgement {
    Known,
    Unknown,
}

/// The length in bytes of a message's length field.
const LENGTH_LEN: usize = 4;

/// The length in bytes of a message's length field and type.
const HEAD_LEN: usize = 5;

/// Reads the three numbers of a range.
fn range(mut payload: Bytes) -> RawRequest {
    RawRequest { piece: payload.get_u32(), begin: payload.get_u32(), len: payload.get_u32() }
}

#[cfg(test)]
mod tests;

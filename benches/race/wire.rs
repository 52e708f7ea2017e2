//! As much of BEP 3 as a lean peer needs: a handshake, messages in a buffer, requests and their answers.

use std::io::{self, ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};

use socket2::{Domain, Socket, Type};

/// 16 KiB: the length of a request in all clients.
pub(crate) const BLOCK: u32 = 16 * 1024;

pub(crate) const CHOKE: u8 = 0;
pub(crate) const UNCHOKE: u8 = 1;
pub(crate) const INTERESTED: u8 = 2;
pub(crate) const HAVE: u8 = 4;
pub(crate) const BITFIELD: u8 = 5;
pub(crate) const REQUEST: u8 = 6;
pub(crate) const PIECE: u8 = 7;

const HANDSHAKE_LEN: usize = 68;

/// No extension at all; `id` ends the peer id.
pub(crate) fn handshake(info_hash: &[u8; 20], id: u32) -> Vec<u8> {
    let mut out = b"\x13BitTorrent protocol\0\0\0\0\0\0\0\0".to_vec();
    out.extend(info_hash);
    out.extend(format!("-LN0001-{id:012}").bytes());
    out
}

/// Reads a handshake; anything but a plain one of this torrent is an error (who tries encryption comes back without).
pub(crate) fn read_handshake(stream: &mut TcpStream, info_hash: &[u8; 20]) -> io::Result<()> {
    let mut got = [0; HANDSHAKE_LEN];
    stream.read_exact(&mut got[..1])?;
    if got[0] != 19 {
        return Err(ErrorKind::InvalidData.into());
    }
    stream.read_exact(&mut got[1..])?;
    if got[28..48] == info_hash[..] { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
}

/// Dials from an address of this machine.
pub(crate) fn connect(from: Ipv4Addr, to: SocketAddrV4) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddrV4::new(from, 0).into())?;
    socket.connect(&to.into())?;
    Ok(socket.into())
}

/// A message with an id and a body.
pub(crate) fn message(id: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(1 + body.len()).unwrap();
    [&len.to_be_bytes()[..], &[id], body].concat()
}

/// A request of a block.
pub(crate) fn request(block: Block) -> [u8; 17] {
    let mut out = [0; 17];
    out[..4].copy_from_slice(&13u32.to_be_bytes());
    out[4] = REQUEST;
    out[5..9].copy_from_slice(&block.piece.to_be_bytes());
    out[9..13].copy_from_slice(&block.begin.to_be_bytes());
    out[13..].copy_from_slice(&block.len.to_be_bytes());
    out
}

/// What stands before the bytes of a block.
pub(crate) fn piece_header(block: Block) -> [u8; 13] {
    let mut out = [0; 13];
    out[..4].copy_from_slice(&(9 + block.len).to_be_bytes());
    out[4] = PIECE;
    out[5..9].copy_from_slice(&block.piece.to_be_bytes());
    out[9..].copy_from_slice(&block.begin.to_be_bytes());
    out
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) piece: u32,
    pub(crate) begin: u32,
    pub(crate) len: u32,
}

impl Block {
    /// Of the body of a request.
    pub(crate) fn asked(body: &[u8]) -> Self {
        Self { piece: number(body, 0), begin: number(body, 4), len: number(body, 8) }
    }

    /// Of the body of a piece message.
    pub(crate) fn brought(body: &[u8]) -> Self {
        Self { piece: number(body, 0), begin: number(body, 4), len: u32::try_from(body.len() - 8).unwrap() }
    }
}

/// Four bytes, big-endian.
pub(crate) fn number(body: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(body[at..at + 4].try_into().unwrap())
}

/// A buffer that is filled with few large reads and emptied by message.
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbox {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { bytes: vec![0; capacity], start: 0, end: 0 }
    }

    /// One read; an end of the stream is an error.
    pub(crate) fn fill(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        match stream.read(&mut self.bytes[self.end..])? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            count => {
                self.end += count;
                Ok(())
            }
        }
    }

    /// The next whole message: id and body. Keep-alives are skipped.
    pub(crate) fn next(&mut self) -> Option<(u8, &[u8])> {
        loop {
            let waiting = &self.bytes[self.start..self.end];
            let len = (waiting.len() >= 4).then(|| number(waiting, 0) as usize)?;
            assert!(len + 4 <= self.bytes.len(), "a message of {len} bytes");
            if waiting.len() < 4 + len {
                return None;
            }
            let body = self.start + 4..self.start + 4 + len;
            self.start = body.end;
            if let Some((id, body)) = self.bytes[body].split_first() {
                return Some((*id, body));
            }
        }
    }
}

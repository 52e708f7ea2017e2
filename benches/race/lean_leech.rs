//! A leech that costs next to nothing and keeps nothing: asks for all pieces in an order of its own, 16 KiB at a time, many
//! at once; counts what comes and, if told to, compares it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::lab::{Content, MIB};
use crate::process::thread_cpu;
use crate::wire::{self, BLOCK, Block, Inbox};

/// A seed that says nothing for so long has failed; Transmission looks for peers to unchoke every 10 s.
const SILENCE: Duration = Duration::from_secs(40);

/// A client that still hashes what it has is asked again after this.
const AGAIN: Duration = Duration::from_millis(20);

/// A bitfield follows a handshake at once or does not come.
const HELLO: Duration = Duration::from_millis(500);

/// Leeches have an address each, from here on: some clients take one connection from a host.
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 2, 1);

pub(crate) struct Leech {
    stream: TcpStream,
    inbox: Inbox,
    content: Content,
    unchoked: bool,
}

/// The figures of one leech.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) cpu: Duration,
    pub(crate) bytes: u64,
}

impl Leech {
    /// Connects as soon as the client has every piece, within `limit`.
    pub(crate) fn connect(to: SocketAddrV4, content: &Content, id: u32, limit: Duration) -> io::Result<Self> {
        let began = Instant::now();
        loop {
            match Self::try_connect(to, content, id) {
                Err(_) if began.elapsed() < limit => thread::sleep(AGAIN),
                settled => return settled,
            }
        }
    }

    fn try_connect(to: SocketAddrV4, content: &Content, id: u32) -> io::Result<Self> {
        let mut stream = wire::connect(Ipv4Addr::from(u32::from(FIRST) + id), to)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(HELLO))?;
        stream.write_all(&wire::handshake(&content.info_hash, id))?;
        wire::read_handshake(&mut stream, &content.info_hash)?;
        let mut leech = Self { stream, inbox: Inbox::new(MIB), content: content.clone(), unchoked: false };
        leech.see_that_it_has_all()?;
        leech.stream.set_read_timeout(Some(SILENCE))?;
        Ok(leech)
    }

    fn see_that_it_has_all(&mut self) -> io::Result<()> {
        let mut had = 0;
        while had < self.content.pieces() {
            let Some((id, body)) = self.inbox.next() else {
                self.inbox.fill(&mut self.stream)?;
                continue;
            };
            match id {
                wire::BITFIELD => had += body.iter().map(|bits| bits.count_ones() as usize).sum::<usize>(),
                wire::HAVE => had += 1,
                wire::UNCHOKE => self.unchoked = true,
                _ => {}
            }
        }
        Ok(())
    }

    /// Tells whether the other side has kept the connection. Bytes that it sent are discarded.
    pub(crate) fn is_open(&mut self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        loop {
            match self.inbox.fill(&mut self.stream) {
                Ok(()) => while self.inbox.next().is_some() {},
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }

    /// Fetches everything, with `window` requests under way.
    pub(crate) fn take(mut self, seed: u64, window: usize, check: bool) -> io::Result<Taken> {
        let before = thread_cpu();
        let mut wanted = Wanted::all(&self.content, seed);
        self.stream.write_all(&wire::message(wire::INTERESTED, &[]))?;
        if self.unchoked {
            self.stream.write_all(&wanted.ask(window))?;
        }
        let mut bytes = 0;
        while !wanted.is_empty() {
            self.inbox.fill(&mut self.stream)?;
            while let Some((id, body)) = self.inbox.next() {
                match id {
                    wire::PIECE => {
                        let block = Block::brought(body);
                        // What comes after a choke and was asked for again comes twice.
                        if wanted.arrived(block) {
                            bytes += u64::from(block.len);
                        }
                        if check && !is_right(&self.content, block, &body[8..]) {
                            return Err(ErrorKind::InvalidData.into());
                        }
                    }
                    wire::CHOKE => {
                        self.unchoked = false;
                        wanted.forget();
                    }
                    wire::UNCHOKE => self.unchoked = true,
                    _ => {}
                }
            }
            if self.unchoked {
                let requests = wanted.ask(window);
                self.stream.write_all(&requests)?;
            }
        }
        Ok(Taken { cpu: thread_cpu().saturating_sub(before), bytes })
    }
}

fn is_right(content: &Content, block: Block, bytes: &[u8]) -> bool {
    let start = block.piece as usize * content.piece_len + block.begin as usize;
    content.bytes[start..start + bytes.len()] == *bytes
}

/// Blocks that are still to come.
struct Wanted {
    next: VecDeque<Block>,
    asked: VecDeque<Block>,
}

impl Wanted {
    /// Pieces in a random order, as when each takes what is rare; blocks of a piece in theirs.
    fn all(content: &Content, seed: u64) -> Self {
        let mut pieces: Vec<_> = (0..content.pieces()).collect();
        let mut dice = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for at in (1..pieces.len()).rev() {
            // xorshift
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            pieces.swap(at, usize::try_from(dice % (at as u64 + 1)).unwrap());
        }
        let next = pieces.into_iter().flat_map(|piece| blocks(content, piece)).collect();
        Self { next, asked: VecDeque::new() }
    }

    fn is_empty(&self) -> bool {
        self.next.is_empty() && self.asked.is_empty()
    }

    /// Requests that fill the window once half of it is free: many in a `write`, as the answers shall be.
    fn ask(&mut self, window: usize) -> Vec<u8> {
        if self.asked.len() > window / 2 {
            return Vec::new();
        }
        let free = (window - self.asked.len()).min(self.next.len());
        let from = self.asked.len();
        self.asked.extend(self.next.drain(..free));
        self.asked.range(from..).flat_map(|block| wire::request(*block)).collect()
    }

    /// Removes a block that came. Returns whether it was requested. Answers come in order, or nearly.
    fn arrived(&mut self, block: Block) -> bool {
        let at = self.asked.iter().position(|asked| *asked == block);
        at.is_some_and(|at| self.asked.remove(at).is_some())
    }

    /// Without the Fast extension a choke drops every request.
    fn forget(&mut self) {
        while let Some(block) = self.asked.pop_back() {
            self.next.push_front(block);
        }
    }
}

fn blocks(content: &Content, piece: usize) -> impl Iterator<Item = Block> + use<> {
    let len = u32::try_from(content.length_of(piece)).unwrap();
    let piece = u32::try_from(piece).unwrap();
    (0..len).step_by(BLOCK as usize).map(move |begin| Block { piece, begin, len: BLOCK.min(len - begin) })
}

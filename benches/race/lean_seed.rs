//! Seeds that cost next to nothing: payload in memory, a thread for each connection, one `writev` for many blocks, never a
//! choke. They say what they sent, what it cost and when the first things happened.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IoSlice, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::lab::Content;
use crate::process::thread_cpu;
use crate::wire::{self, Block, Inbox};

/// 512 blocks, 8 MiB: the system takes 1,024 slices in a `writev`, two make a block.
const BATCH: usize = 512;

/// 128 KiB: 7,700 requests.
const INBOX: usize = 128 * 1024;

/// No client requests more than this at a time.
const MAX_REQUEST: usize = 128 * 1024;

/// How long a connection that is no longer used may take to be noticed.
const GRACE: Duration = Duration::from_secs(2);

/// A client that is not there yet is dialled again after this.
const REDIAL: Duration = Duration::from_millis(50);

/// When each kind of event happened first.
#[derive(Default)]
pub(crate) struct Firsts {
    pub(crate) connection: OnceLock<Instant>,
    pub(crate) request: OnceLock<Instant>,
    /// The last block of some piece was handed to the socket.
    pub(crate) piece: OnceLock<Instant>,
    /// The client announced a piece: it has hashed it and done all else that it does before that.
    pub(crate) have: OnceLock<Instant>,
}

/// The figures of one connection.
#[derive(Default, Clone, Copy)]
pub(crate) struct Served {
    pub(crate) cpu: Duration,
    pub(crate) bytes: u64,
}

/// Any number of seeds of one torrent.
pub(crate) struct Seeds {
    pub(crate) addrs: Vec<SocketAddrV4>,
    shared: Arc<Shared>,
    report: Sender<Served>,
    served: Receiver<Served>,
}

struct Shared {
    content: Content,
    firsts: Firsts,
    open: AtomicUsize,
}

impl Seeds {
    /// Starts seeds, each at an address of its own, 127.0.1.x.
    pub(crate) fn start(content: &Content, count: u32) -> Self {
        let shared =
            Arc::new(Shared { content: content.clone(), firsts: Firsts::default(), open: AtomicUsize::new(0) });
        let (report, served) = channel();
        let first = u32::from(Ipv4Addr::new(127, 0, 1, 1));
        let addrs = (0..count).map(|nth| listen(Ipv4Addr::from(first + nth), &shared, &report)).collect();
        Self { addrs, shared, report, served }
    }

    pub(crate) fn firsts(&self) -> &Firsts {
        &self.shared.firsts
    }

    /// Dials a client that takes no address of this machine from a tracker, until it has it all or `over` is said.
    pub(crate) fn dial(&self, to: SocketAddrV4) -> Arc<AtomicBool> {
        let over = Arc::new(AtomicBool::new(false));
        for (id, from) in (0..).zip(&self.addrs) {
            let (shared, stop) = (Arc::clone(&self.shared), Arc::clone(&over));
            let (from, report) = (*from.ip(), self.report.clone());
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let dialled = wire::connect(from, to).and_then(|mut stream| {
                        stream.write_all(&wire::handshake(&shared.content.info_hash, id))?;
                        Ok(stream)
                    });
                    if let Ok(stream) = dialled {
                        serve(stream, &shared, &report, Begun::Here);
                    }
                    thread::sleep(REDIAL);
                }
            });
        }
        over
    }

    /// What was served since the last call, once the connections are gone.
    pub(crate) fn collect(&self) -> Served {
        let asked = Instant::now();
        while self.shared.open.load(Ordering::Acquire) > 0 && asked.elapsed() < GRACE {
            thread::sleep(Duration::from_millis(1));
        }
        let add = |sum: Served, one: Served| Served { cpu: sum.cpu + one.cpu, bytes: sum.bytes + one.bytes };
        self.served.try_iter().fold(Served::default(), add)
    }
}

/// Who said hello first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begun {
    Here,
    There,
}

fn listen(ip: Ipv4Addr, shared: &Arc<Shared>, report: &Sender<Served>) -> SocketAddrV4 {
    let listener = TcpListener::bind((ip, 0)).unwrap();
    let addr = SocketAddrV4::new(ip, listener.local_addr().unwrap().port());
    let (shared, report) = (Arc::clone(shared), report.clone());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            shared.firsts.connection.get_or_init(Instant::now);
            let (shared, report) = (Arc::clone(&shared), report.clone());
            thread::spawn(move || serve(stream, &shared, &report, Begun::There));
        }
    });
    addr
}

/// Serves one connection until its end and reports it. A new thread each, so its CPU is the connection's.
fn serve(stream: TcpStream, shared: &Shared, report: &Sender<Served>, begun: Begun) {
    shared.open.fetch_add(1, Ordering::AcqRel);
    let before = thread_cpu();
    let mut service = Service { stream, shared, sent: BTreeMap::new(), bytes: 0 };
    // However it ends, it is over; whether that was too early is seen in what the client has.
    drop(service.run(begun));
    // The receiver may be gone.
    let served = Served { cpu: thread_cpu().saturating_sub(before), bytes: service.bytes };
    report.send(served).unwrap_or_default();
    shared.open.fetch_sub(1, Ordering::AcqRel);
}

struct Service<'a> {
    stream: TcpStream,
    shared: &'a Shared,
    /// Bytes of each piece, until the first is whole.
    sent: BTreeMap<u32, usize>,
    bytes: u64,
}

impl Service<'_> {
    fn run(&mut self, begun: Begun) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        let content = &self.shared.content;
        wire::read_handshake(&mut self.stream, &content.info_hash)?;
        let mut hello = Vec::new();
        if begun == Begun::There {
            let port = u32::from(self.stream.local_addr()?.port());
            hello = wire::handshake(&content.info_hash, port);
        }
        hello.extend(wire::message(wire::BITFIELD, &full(content.pieces())));
        hello.extend(wire::message(wire::UNCHOKE, &[]));
        self.stream.write_all(&hello)?;
        let mut inbox = Inbox::new(INBOX);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            inbox.fill(&mut self.stream)?;
            while let Some((id, body)) = inbox.next() {
                match id {
                    wire::REQUEST => batch.push(Block::asked(body)),
                    wire::HAVE => {
                        self.shared.firsts.have.get_or_init(Instant::now);
                    }
                    _ => {}
                }
                if batch.len() == BATCH {
                    self.answer(&mut batch)?;
                }
            }
            self.answer(&mut batch)?;
        }
    }

    /// Writes with one `writev`, or as many as the socket needs.
    fn answer(&mut self, batch: &mut Vec<Block>) -> io::Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        self.shared.firsts.request.get_or_init(Instant::now);
        let heads: Vec<_> = batch.iter().map(|block| wire::piece_header(*block)).collect();
        let mut slices = Vec::with_capacity(2 * batch.len());
        for (head, block) in heads.iter().zip(&*batch) {
            let bytes = bytes(&self.shared.content, *block).ok_or(ErrorKind::InvalidData)?;
            self.bytes += u64::from(block.len);
            slices.extend([IoSlice::new(head), IoSlice::new(bytes)]);
        }
        write_all(&mut self.stream, &mut slices)?;
        if self.shared.firsts.piece.get().is_none() {
            self.look_for_a_piece(batch);
        }
        batch.clear();
        Ok(())
    }

    fn look_for_a_piece(&mut self, batch: &[Block]) {
        for block in batch {
            let sent = self.sent.entry(block.piece).or_default();
            *sent += block.len as usize;
            if *sent >= self.shared.content.length_of(block.piece as usize) {
                self.shared.firsts.piece.get_or_init(Instant::now);
            }
        }
    }
}

fn bytes(content: &Content, block: Block) -> Option<&[u8]> {
    let start = (block.piece as usize).checked_mul(content.piece_len)?.checked_add(block.begin as usize)?;
    let len = Some(block.len as usize).filter(|len| *len <= MAX_REQUEST)?;
    content.bytes.get(start..start.checked_add(len)?)
}

fn write_all(stream: &mut TcpStream, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    while !slices.is_empty() {
        match stream.write_vectored(slices)? {
            0 => return Err(ErrorKind::WriteZero.into()),
            count => IoSlice::advance_slices(&mut slices, count),
        }
    }
    Ok(())
}

/// A bitfield with every piece.
pub(crate) fn full(pieces: usize) -> Vec<u8> {
    let mut bits = vec![0xff; pieces.div_ceil(8)];
    if let (Some(last), spare @ 1..) = (bits.last_mut(), bits_spare(pieces)) {
        *last <<= spare;
    }
    bits
}

/// Bits of the last byte that name no piece.
fn bits_spare(pieces: usize) -> usize {
    (8 - pieces % 8) % 8
}

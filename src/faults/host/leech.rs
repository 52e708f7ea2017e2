//! A peer that has nothing, requests everything, and compares what it gets with the payload (I6).

use std::io;
use std::net::SocketAddr;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::spawn_local;

use crate::base::geometry::BLOCK_LEN;
use crate::base::ids::PeerId;
use crate::codec::wire::{Decoder, Handshake, Message, RawRequest};
use crate::faults::harness::Harness;
use crate::faults::payload::Payload;
use crate::faults::torrent::Offer;
use crate::net::{BoxStream, Listen};

/// What a leech has requested and received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeechTally {
    /// Blocks requested.
    pub asked: u64,
    /// Blocks received.
    pub blocks: u64,
    /// Received blocks whose bytes differ from the payload.
    pub wrong: u64,
}

/// Starts a leech. Returns its address and a channel with what it has received.
pub fn spawn_leech(
    harness: &Harness,
    host: u8,
    appetite: Appetite,
) -> io::Result<(SocketAddr, watch::Receiver<LeechTally>)> {
    let (at, payload) = (SocketAddr::from((harness.host(host), 0)), harness.payload());
    harness.ask(move |thread| {
        Box::pin(async move {
            let listener = thread.net.listen(at).await?;
            let addr = listener.local_addr()?;
            let (sender, receiver) = watch::channel(LeechTally::default());
            // The task ends with the harness.
            drop(spawn_local(serve(listener, thread.offer.clone(), payload, appetite, sender)));
            Ok((addr, receiver))
        })
    })
}

/// How much a leech requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appetite {
    /// The first block of every piece.
    Once,
    /// The first block of every piece, and after each answer the next block of the torrent, again and again.
    Endless,
}

/// Accepts connections, one at a time, and requests blocks.
pub async fn serve(
    listener: Box<dyn Listen>,
    offer: Offer,
    payload: Payload,
    appetite: Appetite,
    sender: watch::Sender<LeechTally>,
) {
    while let Ok((stream, _from)) = listener.accept().await {
        let over = converse(stream, &offer, payload, appetite, &sender).await;
        tracing::debug!(?over, "leech's conversation is over");
    }
}

async fn converse(
    mut stream: BoxStream,
    offer: &Offer,
    payload: Payload,
    appetite: Appetite,
    sender: &watch::Sender<LeechTally>,
) -> io::Result<()> {
    let hello = Handshake { reserved: [0; 8], info_hash: offer.info_hash, peer_id: PeerId(*b"-LE0001-a-real-leech") };
    let mut out = BytesMut::from(&hello.encode()[..]);
    Message::Interested.encode(&mut out);
    stream.write_all(&out).await?;
    let mut theirs = [0; Handshake::LEN];
    stream.read_exact(&mut theirs).await?;
    let mut decoder = Decoder::new(offer.geometry.piece_count());
    let (mut inbox, mut has) = (BytesMut::new(), Vec::new());
    loop {
        while let Some(message) = decoder.decode(&mut inbox).map_err(io::Error::other)? {
            let mut out = BytesMut::new();
            match message {
                Message::Bitfield(bits) => has.extend((0..).zip(&bits).flat_map(|(nth, byte)| ones(nth, *byte))),
                Message::Unchoke => ask(offer, &has, sender, &mut out),
                Message::Have(piece) if appetite == Appetite::Endless => ask(offer, &[piece], sender, &mut out),
                Message::Piece { piece, begin, data } => {
                    judge(offer, payload, (piece, begin, &data), sender);
                    if appetite == Appetite::Endless {
                        ask_behind(offer, (piece, begin), &mut out);
                    }
                }
                _ => {}
            }
            stream.write_all(&out).await?;
        }
        if stream.read_buf(&mut inbox).await? == 0 {
            return Ok(());
        }
    }
}

/// Returns the pieces of one byte of a bitfield; "the first byte corresponds to indices 0-7 from high bit to low bit"
/// (BEP 3).
fn ones(nth: u32, byte: u8) -> impl Iterator<Item = u32> {
    (0..8).filter(move |bit| byte & (0x80 >> bit) != 0).map(move |bit| nth * 8 + bit)
}

/// Requests the first block of each of these pieces.
fn ask(offer: &Offer, has: &[u32], sender: &watch::Sender<LeechTally>, out: &mut BytesMut) {
    for block in has.iter().filter_map(|piece| offer.geometry.block(offer.geometry.piece(*piece)?, 0)) {
        let request = RawRequest { piece: block.piece().get(), begin: block.begin(), len: block.len() };
        Message::Request(request).encode(out);
        sender.send_modify(|given| given.asked += 1);
    }
}

/// Requests the next block of the piece, or the first one again after the last.
fn ask_behind(offer: &Offer, (piece, begin): (u32, u32), out: &mut BytesMut) {
    let Some(piece) = offer.geometry.piece(piece) else { return };
    let next = offer.geometry.block(piece, begin / BLOCK_LEN + 1).or_else(|| offer.geometry.block(piece, 0));
    if let Some(block) = next {
        let request = RawRequest { piece: block.piece().get(), begin: block.begin(), len: block.len() };
        Message::Request(request).encode(out);
    }
}

fn judge(offer: &Offer, payload: Payload, (piece, begin, data): (u32, u32, &[u8]), sender: &watch::Sender<LeechTally>) {
    let start = offer.geometry.piece(piece).map(|piece| offer.geometry.piece_start(piece) + u64::from(begin));
    let is_right = start.is_some_and(|start| payload.read(start, data.len()) == data);
    sender.send_modify(|given| {
        given.blocks += 1;
        given.wrong += u64::from(!is_right);
    });
}

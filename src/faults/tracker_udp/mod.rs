//! A tracker over UDP (BEP 15), honest by default.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::task::{JoinSet, spawn_local};
use tokio::time::sleep;

use super::swarms::Swarms;
use super::tracker::{Asked, FaultyTracker, RequestDesk, TROUBLE_PAUSE, refuse_unless};
use super::tracker_behaviour::{HttpFaults, TrackerBehaviour, WrongField};
use crate::codec::tracker::AnnounceReply;
use crate::codec::tracker_udp::server::{
    UdpRequest, decode_request, encode_announced, encode_connected, encode_error, encode_scraped,
};
use crate::net::{DatagramSocket, Net};

/// 2 KiB: more than an announce with every option of BEP 41, or a scrape of 74 torrents.
const RECEIVE_LEN: usize = 2048;

/// The largest UDP payload over IPv4: 65,535 less 20 of IP and 8 of UDP.
const MAX_DATAGRAM_LEN: usize = 65_507;

/// At most 1,000 answers wait for their delay.
const MAX_WAITING: usize = 1000;

/// The bytes of the interval in the reply to an announce.
const INTERVAL_AT: std::ops::Range<usize> = 8..12;

/// Starts a tracker on `at` (port 0: any). Must run where `spawn_local` works. Its connection ids follow from `seed`.
pub async fn spawn_udp_tracker(
    net: &Net,
    at: SocketAddr,
    swarms: &Swarms,
    behaviour: TrackerBehaviour,
    seed: u64,
) -> io::Result<FaultyTracker> {
    refuse_unless(behaviour.http == HttpFaults::default(), "a UDP tracker cannot do what only HTTP can")?;
    let socket = net.datagrams(at).await?;
    let addr = socket.local_addr()?;
    let mouth =
        if behaviour.udp.other_port { net.datagrams(SocketAddr::new(addr.ip(), 0)).await? } else { Rc::clone(&socket) };
    let lose = Cell::new(behaviour.udp.lose);
    let (desk, record) = RequestDesk::new(swarms.clone(), behaviour);
    let responder = Rc::new(UdpResponder { desk, mouth, lose, seed });
    let task = spawn_local(receive(socket, responder));
    Ok(FaultyTracker { addr, url: format!("udp://{addr}/announce"), record, task })
}

async fn receive(socket: Rc<dyn DatagramSocket>, responder: Rc<UdpResponder>) {
    let mut answers = JoinSet::new();
    let mut buffer = [0; RECEIVE_LEN];
    loop {
        tokio::select! {
            biased;
            Some(_ended) = answers.join_next() => {}
            received = socket.recv_from(&mut buffer), if answers.len() < MAX_WAITING => match received {
                Ok((len, from)) => {
                    responder.desk.note_arrival();
                    if let Some(reply) = responder.reply(&buffer[..len], from) {
                        answers.spawn_local(Rc::clone(&responder).send(reply, from));
                    }
                }
                Err(_unreachable) => sleep(TROUBLE_PAUSE).await,
            },
        }
    }
}

/// Answers datagrams.
#[derive(Debug)]
struct UdpResponder {
    desk: RequestDesk,
    mouth: Rc<dyn DatagramSocket>,
    /// Announces that are still to be lost.
    lose: Cell<u32>,
    seed: u64,
}

impl UdpResponder {
    fn reply(&self, datagram: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
        let Ok(request) = decode_request(datagram) else {
            self.desk.hear(from, Asked::Nonsense);
            return None;
        };
        let asked = match &request {
            UdpRequest::Connect { .. } => Asked::Connect,
            UdpRequest::Announce { request, .. } => Asked::Announce(request.clone()),
            UdpRequest::Scrape { swarms, .. } => Asked::Scrape(swarms.clone()),
        };
        self.desk.hear(from, asked);
        if self.desk.hangs() || self.loses(&request) {
            return None;
        }
        Some(self.distort(self.honest_reply(&request, from)))
    }

    fn loses(&self, request: &UdpRequest) -> bool {
        let is_lost = matches!(request, UdpRequest::Announce { .. }) && self.lose.get() > 0;
        self.lose.set(self.lose.get() - u32::from(is_lost));
        is_lost
    }

    /// Returns the reply of an honest tracker, except for the peers and the interval of the behaviour.
    fn honest_reply(&self, request: &UdpRequest, from: SocketAddr) -> Vec<u8> {
        let ours = connection_id(self.seed, from);
        let behaviour = &self.desk.behaviour;
        match request {
            UdpRequest::Connect { transaction_id } => encode_connected(*transaction_id, ours),
            UdpRequest::Announce { connection_id, transaction_id, .. }
            | UdpRequest::Scrape { connection_id, transaction_id, .. }
                if *connection_id != ours =>
            {
                encode_error(*transaction_id, "this connection id is not yours")
            }
            UdpRequest::Announce { transaction_id, .. } | UdpRequest::Scrape { transaction_id, .. }
                if behaviour.failure.is_some() =>
            {
                let mut out = encode_error(*transaction_id, "");
                out.extend(behaviour.failure.iter().flat_map(|text| &text.0));
                out
            }
            UdpRequest::Announce { transaction_id, request, .. } => {
                let reply = self.desk.announce(request, from.ip());
                self.announced(*transaction_id, &reply, from)
            }
            UdpRequest::Scrape { transaction_id, swarms, .. } => {
                let numbers = |info_hash| {
                    let entry = self.desk.swarms.scrape(info_hash);
                    (entry.complete, entry.downloaded, entry.incomplete)
                };
                let entries: Vec<_> = swarms.iter().copied().map(numbers).collect();
                encode_scraped(*transaction_id, &entries)
            }
        }
    }

    fn announced(&self, transaction_id: u32, reply: &AnnounceReply, from: SocketAddr) -> Vec<u8> {
        let mut out = encode_announced(transaction_id, reply, from.is_ipv6());
        let [.., a, b, c, d] = reply.interval.unwrap_or(0).to_be_bytes();
        out[INTERVAL_AT].copy_from_slice(&[a, b, c, d]);
        if self.desk.behaviour.udp.length_lie {
            out.push(0);
        }
        if self.desk.behaviour.listing.cut_list {
            out.extend([192, 0, 2]);
        }
        out
    }

    fn distort(&self, mut reply: Vec<u8>) -> Vec<u8> {
        let field = match self.desk.behaviour.udp.wrong {
            WrongField::Nothing => None,
            WrongField::Action => Some(0..4),
            WrongField::Transaction => Some(4..8),
        };
        if let Some(field) = field {
            reply[field].iter_mut().for_each(|byte| *byte = !*byte);
        }
        let most = self.desk.behaviour.truncated.and_then(|most| usize::try_from(most).ok());
        reply.truncate(most.unwrap_or(MAX_DATAGRAM_LEN).min(MAX_DATAGRAM_LEN));
        reply
    }

    async fn send(self: Rc<Self>, reply: Vec<u8>, to: SocketAddr) {
        self.desk.think().await;
        if let Ok(bytes) = self.mouth.send_to(&reply, to).await {
            self.desk.note_bytes(bytes as u64);
        }
    }
}

/// Returns the connection id of an address. It follows from the seed, so that no table is needed (BEP 15 asks for one
/// id per address).
fn connection_id(seed: u64, from: SocketAddr) -> u64 {
    // The prime of FNV-1a. A test tracker needs no cryptographic hash.
    from.to_string().bytes().fold(!seed, |id, byte| (id ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests;

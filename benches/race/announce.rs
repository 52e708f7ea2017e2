//! The tracker of a race: names the same peers to every client, over HTTP (BEP 3, BEP 23).

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::thread;

pub(crate) struct Tracker {
    listener: TcpListener,
    pub(crate) url: String,
}

impl Tracker {
    /// Takes a port before there are peers to name, because the torrent must contain it.
    pub(crate) fn bind() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}/announce", listener.local_addr().unwrap());
        Self { listener, url }
    }

    /// Answers until the process ends.
    pub(crate) fn start(self, peers: &[SocketAddrV4]) {
        let answer = answer(peers);
        thread::spawn(move || {
            for stream in self.listener.incoming().flatten() {
                // A client that closes early asks again.
                drop(serve(stream, &answer));
            }
        });
    }
}

fn answer(peers: &[SocketAddrV4]) -> Vec<u8> {
    let compact = peers.iter().flat_map(|peer| [&peer.ip().octets()[..], &peer.port().to_be_bytes()].concat());
    let mut body = format!("d8:intervali1800e5:peers{}:", peers.len() * 6).into_bytes();
    body.extend(compact);
    body.push(b'e');
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    [head.into_bytes(), body].concat()
}

fn serve(mut stream: TcpStream, answer: &[u8]) -> std::io::Result<()> {
    let mut asked = Vec::new();
    let mut buffer = [0; 4096];
    while !asked.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => asked.extend(&buffer[..count]),
        }
    }
    stream.write_all(answer)
}

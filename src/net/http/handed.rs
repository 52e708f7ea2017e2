//! Our stream under the name that actix knows, and one repair of what comes over it.
//!
//! "A response message without a declared message body length" ends with the connection (RFC 9112, 6.3), and trackers
//! written by hand send such ones (W-12). awc reads them as empty unless they say HTTP/1.0, so here they say it. Over TLS
//! nothing can be read here, and nothing is repaired.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_rt::net::{ActixStream, Ready};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::BoxStream;

/// 16 KiB for the head of a response: servers send 1 KiB. A longer one passes as it is.
const MAX_HEAD_LEN: usize = 16 * 1024;

/// A stream for one request and its response.
#[derive(Debug)]
pub(super) struct Handed {
    stream: BoxStream,
    head: Head,
}

#[derive(Debug)]
enum Head {
    /// It has not come whole.
    Gathering(Vec<u8>),
    /// What was gathered and is still to be handed on, before the rest of the stream.
    Passing(Bytes),
}

impl Handed {
    /// `plain`: HTTP itself, not TLS, comes over it.
    pub(super) fn new(stream: BoxStream, plain: bool) -> Self {
        let head = if plain { Head::Gathering(Vec::new()) } else { Head::Passing(Bytes::new()) };
        Self { stream, head }
    }
}

impl AsyncRead for Handed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, head } = &mut *self;
        loop {
            match head {
                Head::Passing(rest) if rest.is_empty() => return Pin::new(stream).poll_read(cx, buf),
                Head::Passing(rest) => {
                    buf.put_slice(&rest.split_to(rest.len().min(buf.remaining())));
                    return Poll::Ready(Ok(()));
                }
                Head::Gathering(gathered) => {
                    let mut chunk = [0; 4096];
                    let mut part = ReadBuf::new(&mut chunk);
                    ready!(Pin::new(&mut *stream).poll_read(cx, &mut part))?;
                    gathered.extend_from_slice(part.filled());
                    let end = gathered.windows(4).position(|end| end == b"\r\n\r\n");
                    if let Some(end) = end {
                        repair(gathered, end);
                    }
                    if end.is_some() || part.filled().is_empty() || gathered.len() > MAX_HEAD_LEN {
                        *head = Head::Passing(std::mem::take(gathered).into());
                    }
                }
            }
        }
    }
}

/// A success whose head, up to `end`, does not say where its body ends.
fn repair(gathered: &mut [u8], end: usize) {
    let says = |line: &[u8], name: &[u8]| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    let is_framed = gathered[..end]
        .split(|byte| *byte == b'\n')
        .any(|line| says(line, b"content-length:") || says(line, b"transfer-encoding:"));
    if gathered.starts_with(b"HTTP/1.1 2") && !is_framed {
        gathered[7] = b'0';
    }
}

impl AsyncWrite for Handed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Only a pool of idle connections would ask; there is none.
impl ActixStream for Handed {
    fn poll_read_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        Poll::Ready(Ok(Ready::READABLE))
    }

    fn poll_write_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        Poll::Ready(Ok(Ready::WRITABLE))
    }
}

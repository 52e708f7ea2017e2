//! Our stream under the name that actix knows, and one repair of what comes over it.
//!
//! "A response message without a declared message body length" ends with the connection (RFC 9112, 6.3), and trackers
//! written by hand send such ones (W-12). awc reads them as empty unless they say HTTP/1.0, so here they say it. Many
//! servers end TLS without its own farewell: that is an end like any other, since every other framing shows where it is
//! cut.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_rt::net::{ActixStream, Ready};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::tls::Carrier;

/// 16 KiB for the head of a response: servers send 1 KiB. A longer one passes as it is.
const MAX_HEAD_LEN: usize = 16 * 1024;

/// A stream for one request and its response.
#[derive(Debug)]
pub(super) struct Handed {
    stream: Box<dyn Carrier>,
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
    /// HTTP itself comes over it, and nothing has come yet.
    pub(super) fn new(stream: Box<dyn Carrier>) -> Self {
        Self { stream, head: Head::Gathering(Vec::new()) }
    }

    fn read(stream: &mut dyn Carrier, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(stream).poll_read(cx, buf)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            read => Poll::Ready(read),
        }
    }
}

impl AsyncRead for Handed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, head } = &mut *self;
        loop {
            match head {
                Head::Passing(rest) if rest.is_empty() => return Self::read(stream, cx, buf),
                Head::Passing(rest) => {
                    buf.put_slice(&rest.split_to(rest.len().min(buf.remaining())));
                    return Poll::Ready(Ok(()));
                }
                Head::Gathering(gathered) => {
                    let mut chunk = [0; 4096];
                    let mut part = ReadBuf::new(&mut chunk);
                    ready!(Self::read(stream, cx, &mut part))?;
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

//! Our stream under the name that actix knows, and what comes over it in the one form that awc reads.
//!
//! awc refuses heads that every browser takes: more than 96 headers, a length in two places, a body without a length
//! (W-12). So the head is read here (`codec::http_head`), and awc sees a short one whose body ends with the connection;
//! where the body really ends is watched here too. Many servers end TLS without its own farewell: that is an end like any
//! other, since every other framing shows where it is cut.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_rt::net::{ActixStream, Ready};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::tls::Carrier;
use crate::codec::http_head::{self, BadHead, Framing};

/// 8 KiB are read at once: the usual size of a buffer for HTTP.
const READ_LEN: usize = 8 * 1024;

/// A stream for one request and its response.
#[derive(Debug)]
pub(super) struct Handed {
    stream: Box<dyn Carrier>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The head has not come whole.
    Head(Vec<u8>),
    /// `ready` is handed on next; then the body goes on as it is framed.
    Body { ready: Bytes, framing: Framing },
}

impl Handed {
    /// HTTP itself comes over it, and nothing has come yet.
    pub(super) fn new(stream: Box<dyn Carrier>) -> Self {
        Self { stream, stage: Stage::Head(Vec::new()) }
    }
}

/// The next bytes of the connection; none at its end.
fn read<'a>(
    stream: &mut dyn Carrier,
    cx: &mut Context<'_>,
    chunk: &'a mut [u8; READ_LEN],
) -> Poll<io::Result<&'a [u8]>> {
    let mut part = ReadBuf::new(chunk);
    let read = ready!(Pin::new(stream).poll_read(cx, &mut part));
    let len = part.filled().len();
    Poll::Ready(match read {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(&chunk[..0]),
        Err(error) => Err(error),
        Ok(()) => Ok(&chunk[..len]),
    })
}

/// What is left of what was gathered: the head in our form and the first bytes of the body. `None`: more is needed.
fn with_head(gathered: &[u8], is_end: bool) -> io::Result<Option<Stage>> {
    let bad = |why: BadHead| io::Error::new(io::ErrorKind::InvalidData, why);
    let Some(mut head) = http_head::read(gathered).map_err(bad)? else {
        return if is_end { Err(bad(BadHead::CutShort)) } else { Ok(None) };
    };
    let mut ready = std::mem::take(&mut head.text);
    take_body(&gathered[head.len..], &mut head.framing, &mut ready)?;
    Ok(Some(Stage::Body { ready: ready.into(), framing: head.framing }))
}

/// Appends to `body` what of the next bytes belongs to it.
fn take_body(bytes: &[u8], framing: &mut Framing, body: &mut Vec<u8>) -> io::Result<()> {
    match framing {
        Framing::Empty => {}
        Framing::Close => body.extend_from_slice(bytes),
        Framing::Length(left) => {
            let most = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
            body.extend_from_slice(&bytes[..most]);
            *left -= most as u64;
        }
        Framing::Chunked(chunked) => {
            chunked.take(bytes, body).map_err(|bad| io::Error::new(io::ErrorKind::InvalidData, bad))?;
        }
    }
    Ok(())
}

fn is_over(framing: &Framing) -> bool {
    match framing {
        Framing::Empty => true,
        Framing::Close => false,
        Framing::Length(left) => *left == 0,
        Framing::Chunked(chunked) => chunked.is_done(),
    }
}

impl AsyncRead for Handed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, stage } = &mut *self;
        let mut chunk = [0; READ_LEN];
        loop {
            match stage {
                Stage::Body { ready, .. } if !ready.is_empty() => {
                    buf.put_slice(&ready.split_to(ready.len().min(buf.remaining())));
                    return Poll::Ready(Ok(()));
                }
                Stage::Body { framing, .. } if is_over(framing) => return Poll::Ready(Ok(())),
                Stage::Body { ready, framing } => {
                    let bytes = ready!(read(stream, cx, &mut chunk))?;
                    if bytes.is_empty() {
                        return Poll::Ready(match framing {
                            Framing::Close => Ok(()),
                            _ => Err(io::Error::new(io::ErrorKind::InvalidData, BadHead::CutShort)),
                        });
                    }
                    let mut body = Vec::new();
                    take_body(bytes, framing, &mut body)?;
                    *ready = body.into();
                }
                Stage::Head(gathered) => {
                    let bytes = ready!(read(stream, cx, &mut chunk))?;
                    gathered.extend_from_slice(bytes);
                    if gathered.is_empty() {
                        return Poll::Ready(Ok(()));
                    }
                    if let Some(next) = with_head(gathered, bytes.is_empty())? {
                        *stage = next;
                    }
                }
            }
        }
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

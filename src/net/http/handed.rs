//! [`Handed`]: adapts our stream to awc: it has the trait that actix requires, and gives awc responses in a form that
//! awc reads.
//!
//! awc refuses responses that every browser accepts: more than 96 headers, a length given twice, a body without a
//! length (W-12). So the head is parsed here (`codec::http_head`), and awc gets a short head whose body ends with the
//! connection. The real end of the body is found here too. Many servers close TLS without `close_notify`. That counts
//! as a normal end, because every other framing shows whether the body was cut.

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

/// What is being read of the response.
#[derive(Debug)]
enum Stage {
    /// The head is not complete; these bytes of it have arrived.
    Head(Vec<u8>),
    /// `ready` is handed to awc next; then the rest of the body is read as `framing` says.
    Body { ready: Bytes, framing: Framing },
}

impl Handed {
    /// Wraps a stream that carries HTTP and from which nothing has been read.
    pub(super) fn new(stream: Box<dyn Carrier>) -> Self {
        Self { stream, stage: Stage::Head(Vec::new()) }
    }
}

/// Reads the next bytes of the connection; an empty slice at its end.
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

/// The next stage: the rewritten head and the first bytes of the body. `None` if the head is not complete.
fn with_head(gathered: &[u8], is_end: bool) -> io::Result<Option<Stage>> {
    let bad = |why: BadHead| io::Error::new(io::ErrorKind::InvalidData, why);
    let Some(mut head) = http_head::read(gathered).map_err(bad)? else {
        return if is_end { Err(bad(BadHead::CutShort)) } else { Ok(None) };
    };
    let mut ready = std::mem::take(&mut head.text);
    take_body(&gathered[head.len..], &mut head.framing, &mut ready)?;
    Ok(Some(Stage::Body { ready: ready.into(), framing: head.framing }))
}

/// Appends to `body` the part of `bytes` that belongs to the body.
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

/// Whether the body is complete.
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

/// actix would ask for readiness only for a pool of idle connections, which does not exist here.
impl ActixStream for Handed {
    fn poll_read_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        Poll::Ready(Ok(Ready::READABLE))
    }

    fn poll_write_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        Poll::Ready(Ok(Ready::WRITABLE))
    }
}

//! HTTPS trackers whose certificate clients must refuse (T-23). An honest tracker behind it records the clients that
//! accept it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::task::{JoinSet, spawn_local};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::swarms::Swarms;
use super::tracker::{FaultyTracker, RequestDesk, TROUBLE_PAUSE};
use super::tracker_behaviour::TrackerBehaviour;
use super::tracker_http::converse;
use crate::net::{BoxStream, ByteStream, Listen, Net};

/// What is wrong with the TLS server. All certificates are signed with the one key beside this file, which protects
/// nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distrust {
    /// Self-signed, for `localhost`, valid until 2120.
    SelfSigned,
    /// Self-signed, for `localhost`, valid for one day of 2020.
    Expired,
    /// Self-signed, for `tracker.example`.
    WrongHost,
    /// It answers every hello with the alert of a server that speaks TLS 1.0 only.
    Ancient,
    /// It speaks HTTP without TLS.
    Plain,
}

/// `protocol_version`, fatal, in a record of TLS 1.0 (RFC 8446, 6.2).
const TOO_OLD: [u8; 7] = [0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x46];

const KEY: &[u8] = include_bytes!("tls/key.der");

impl Distrust {
    fn certificate(self) -> &'static [u8] {
        match self {
            Self::Expired => include_bytes!("tls/expired.der"),
            Self::WrongHost => include_bytes!("tls/wrong_host.der"),
            Self::SelfSigned | Self::Ancient | Self::Plain => include_bytes!("tls/self_signed.der"),
        }
    }
}

/// Starts a tracker that listens at `at` (port 0: any). Must run where `spawn_local` works. Each request in its record
/// comes from a client that accepted the certificate, or went on without one.
pub async fn spawn_tls_tracker(net: &Net, at: SocketAddr, swarms: &Swarms, why: Distrust) -> io::Result<FaultyTracker> {
    let listener = net.listen(at).await?;
    let addr = listener.local_addr()?;
    let (desk, record) = RequestDesk::new(swarms.clone(), TrackerBehaviour::honest());
    let task = spawn_local(accept(listener, Rc::new(desk), why, acceptor(why)?));
    Ok(FaultyTracker { addr, url: format!("https://localhost:{}/announce", addr.port()), record, task })
}

fn acceptor(why: Distrust) -> io::Result<TlsAcceptor> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let chain = vec![CertificateDer::from(why.certificate())];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(KEY));
    let config = builder.and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
    Ok(TlsAcceptor::from(Arc::new(config.map_err(io::Error::other)?)))
}

async fn accept(listener: Box<dyn Listen>, desk: Rc<RequestDesk>, why: Distrust, acceptor: TlsAcceptor) {
    let mut talks = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_ended) = talks.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    desk.note_arrival();
                    talks.spawn_local(talk(stream, from, Rc::clone(&desk), why, acceptor.clone()));
                }
                Err(_no_descriptors) => sleep(TROUBLE_PAUSE).await,
            },
        }
    }
}

async fn talk(mut stream: BoxStream, from: SocketAddr, desk: Rc<RequestDesk>, why: Distrust, acceptor: TlsAcceptor) {
    match why {
        Distrust::Plain => converse(stream, from, desk).await,
        Distrust::Ancient => {
            drop(stream.write_all(&TOO_OLD).await);
            drop(stream.shutdown().await);
        }
        _ => {
            // A client that refuses the certificate sends an alert, which ends the connection.
            if let Ok(stream) = acceptor.accept(stream).await {
                converse(Box::new(Tls(stream)), from, desk).await;
            }
        }
    }
}

/// A stream of a client that accepted the certificate.
#[derive(Debug)]
struct Tls(TlsStream<BoxStream>);

impl ByteStream for Tls {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().0.peer_addr()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().0.local_addr()
    }

    fn settle(self: Box<Self>) -> io::Result<BoxStream> {
        Ok(self)
    }

    fn reset(self: Box<Self>) -> io::Result<()> {
        self.0.into_inner().0.reset()
    }
}

impl AsyncRead for Tls {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tls {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

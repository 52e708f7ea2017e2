//! HTTPS: adds TLS to an open stream, so that the code above reads plain HTTP with and without TLS.

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{HttpTrouble, authorities, of_io};
use crate::net::BoxStream;

/// 10 s for a handshake of two round trips: a server that needs longer would not answer in time either (T-03).
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A stream that carries HTTP: a plain one, or one with TLS.
pub(super) trait Carrier: AsyncRead + AsyncWrite + Unpin + Debug {}

impl<S: AsyncRead + AsyncWrite + Unpin + Debug> Carrier for S {}

/// Makes the TLS handshake over the stream. A certificate that is not valid for `host` is refused (T-23).
pub(super) async fn secure(
    stream: BoxStream,
    host: &str,
    config: Arc<ClientConfig>,
) -> Result<Box<dyn Carrier>, HttpTrouble> {
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host).map_err(|error| HttpTrouble::BadUrl(error.to_string()))?;
    match timeout(HANDSHAKE_TIMEOUT, TlsConnector::from(config).connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(error)) => Err(match error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) {
            Some(refusal) => HttpTrouble::Tls(refusal.to_string()),
            None => of_io(&error),
        }),
        Err(_elapsed) => Err(HttpTrouble::Timeout("the TLS handshake")),
    }
}

/// The TLS configuration of all requests. Verification is never switched off (S-08): Mozilla's authorities and the
/// system's, rustls's safe versions. The first call reads the system's authorities.
pub(super) fn config() -> Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    Arc::clone(CONFIG.get_or_init(|| trusting(authorities::roots())))
}

/// A TLS configuration with these authorities.
fn trusting(roots: RootCertStore) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().expect("ring supports rustls's default versions");
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use rustls::ServerConfig;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::TlsAcceptor;
    use url::Url;

    use super::super::{Answer, Get, ask};
    use super::*;
    use crate::logic::trackers::families::IpFamily;
    use crate::net::testing::{pipe, run};
    use crate::net::vet::Purpose;

    /// A certificate of `tracker.example`, valid for a hundred years and signed by itself. Its key protects nothing.
    const CERT: &[u8] = include_bytes!("testdata/nobody.cert.der");
    const KEY: &[u8] = include_bytes!("testdata/nobody.key.der");

    fn trusting_no_authority() -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(CERT)).unwrap();
        trusting(roots)
    }

    /// The result of a GET over TLS from a server that sends this and closes, with or without `close_notify`.
    async fn got(
        host: &str,
        config: Arc<ClientConfig>,
        said: &'static str,
        closes_well: bool,
    ) -> Result<String, HttpTrouble> {
        let (near, far) = pipe(1 << 16);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = PrivateKeyDer::try_from(KEY).unwrap();
        let server = builder.with_no_client_auth().with_single_cert(vec![CertificateDer::from(CERT)], key).unwrap();
        let served = async move {
            let Ok(mut stream) = TlsAcceptor::from(Arc::new(server)).accept(far).await else { return };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
            assert!(
                head.starts_with("get /announce http/1.1\r\n") && head.contains("host: tracker.example\r\n"),
                "{head}"
            );
            stream.write_all(said.as_bytes()).await.unwrap();
            if closes_well {
                stream.shutdown().await.unwrap();
            } else {
                stream.flush().await.unwrap();
            }
        };
        let url = format!("https://{host}/announce");
        let request = Get {
            url: &url,
            purpose: Purpose::Tracker,
            timeout: Duration::from_secs(20),
            limit: 1000,
            family: IpFamily::Any,
        };
        let asked = async {
            match ask(secure(near, host, config).await?, &Url::parse(&url).unwrap(), &request).await? {
                Answer::Body(body) => Ok(String::from_utf8(body).unwrap()),
                Answer::Moved(to) => panic!("moved to {to}"),
            }
        };
        tokio::join!(served, asked).1
    }

    /// W-12: bodies are read as over plain HTTP, also where only the end of the connection ends the body.
    #[test]
    fn bodies_come_over_tls_however_they_are_framed() {
        let table = [
            "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nd5:peers0:e",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nd5:peers0:e\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\nd5:peers0:e",
            "HTTP/1.0 200 OK\r\n\r\nd5:peers0:e",
        ];
        run(async {
            for said in table {
                for closes_well in [true, false] {
                    let got = got("tracker.example", trusting_no_authority(), said, closes_well).await;
                    assert_eq!(got.as_deref(), Ok("d5:peers0:e"), "{said:?}, closes well: {closes_well}");
                }
            }
        });
    }

    #[test]
    fn a_body_cut_short_over_tls_is_broken() {
        run(async {
            for closes_well in [true, false] {
                let said = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this";
                let got = got("tracker.example", trusting_no_authority(), said, closes_well).await;
                assert!(matches!(got, Err(HttpTrouble::Broken(_))), "{got:?}");
            }
        });
    }

    /// T-23.
    #[test]
    fn a_certificate_of_another_name_or_an_unknown_authority_is_refused() {
        run(async {
            for (host, config) in [("other.example", trusting_no_authority()), ("tracker.example", config())] {
                let got = got(host, config, "HTTP/1.1 200 OK\r\n\r\nsecret", true).await;
                assert!(matches!(got, Err(HttpTrouble::Tls(_))), "{host}: {got:?}");
            }
        });
    }

    #[test]
    fn a_server_that_speaks_no_tls_is_refused() {
        run(async {
            let (near, mut far) = pipe(1 << 16);
            far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            let refused = secure(near, "tracker.example", config()).await.unwrap_err();
            assert!(matches!(refused, HttpTrouble::Tls(_)), "{refused:?}");
            let (near, far) = pipe(1 << 16);
            drop(far);
            let refused = secure(near, "tracker.example", config()).await.unwrap_err();
            assert!(matches!(refused, HttpTrouble::Connect(_)), "{refused:?}");
        });
    }
}

//! One HTTP GET for a tracker or a .torrent: awc over a stream of our own, with all limits in this file.
//!
//! The address is resolved, vetted and dialled here, and awc gets the connected stream. So the address that was vetted
//! is the one that is asked (there is no second look-up), and all traffic goes through [`Net`]. Redirects are followed
//! here, at most `MAX_REDIRECTS`, and each is vetted. The limit of the body applies after inflation (T-06).

mod authorities;
mod handed;
mod tls;

use std::cell::RefCell;
use std::io::Read;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use std::{fmt, io};

use actix_service::fn_service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::error::SendRequestError;
use awc::http::header::HttpDate;
use awc::http::{Uri, header};
use futures_util::StreamExt;
use percent_encoding::percent_decode_str;
use tokio::time::timeout;
use url::Url;

use self::handed::Handed;
use self::tls::Carrier;
use super::vet::{Purpose, Zone, may_ask};
use super::{BoxStream, Net};
use crate::base::disconnect::DisconnectReason;
use crate::base::safe::Safe;
use crate::logic::trackers::families::{IpFamily, NO_ADDRESS};

/// 5 redirects: the strictest limit that browsers use (T-07).
const MAX_REDIRECTS: usize = 5;

/// 10 s for a look-up: twice the resolver's own default of 5 s for one server (T-22).
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);

/// 10 s to connect to one of a server's addresses, so that there is time to try a second one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A GET and its limits.
#[derive(Debug, Clone)]
pub struct Get<'a> {
    /// The full URL, query included, already percent-encoded.
    pub url: &'a str,
    /// Whether a torrent or the user named the URL.
    pub purpose: Purpose,
    /// The time-out for the whole request, redirects included.
    pub timeout: Duration,
    /// The largest accepted body in bytes, after inflation.
    pub limit: usize,
    /// The address family over which the server is asked.
    pub family: IpFamily,
}

/// Why a GET failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpTrouble {
    /// The text is not a URL, or not one that can be asked.
    BadUrl(String),
    /// The host name has no address.
    Resolve(String),
    /// The host name has no address of this family.
    NoAddress(IpFamily),
    /// The address must not be asked, for this reason.
    Forbidden(&'static str),
    /// The connection failed: refused, reset, unreachable.
    Connect(DisconnectReason),
    /// The certificate or the TLS handshake is not valid (T-23).
    Tls(String),
    /// The time was over; the text says what had not arrived.
    Timeout(&'static str),
    /// The status is neither success nor a redirect.
    Status {
        /// The HTTP status.
        code: u16,
        /// The time that `Retry-After` asks the client to wait, if the server sent one.
        retry_after: Option<Duration>,
    },
    /// There are more redirects than `MAX_REDIRECTS`, or one has no usable target.
    Redirect(String),
    /// The body is larger than the limit.
    TooLarge,
    /// The server does not speak HTTP, or closed the connection within the response.
    Broken(String),
}

impl HttpTrouble {
    /// The name of the failure in logs and counters.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::BadUrl(_) => "bad-url",
            Self::Resolve(_) => "cannot-resolve",
            Self::NoAddress(_) => NO_ADDRESS,
            Self::Forbidden(_) => "forbidden-address",
            Self::Connect(farewell) => farewell.label(),
            Self::Tls(_) => "tls",
            Self::Timeout(_) => "timeout",
            Self::Status { .. } => "http-status",
            Self::Redirect(_) => "redirect",
            Self::TooLarge => "too-large",
            Self::Broken(_) => "bad-reply",
        }
    }
}

impl fmt::Display for HttpTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadUrl(why) => write!(f, "not a URL that can be asked: {}", Safe::new(why)),
            Self::Resolve(why) => write!(f, "cannot resolve the name: {}", Safe::new(why)),
            Self::NoAddress(family) => write!(f, "its name has no {} address", family.label()),
            Self::Forbidden(why) => f.write_str(why),
            Self::Connect(DisconnectReason::Refused) => f.write_str("connection refused"),
            Self::Connect(farewell) => write!(f, "no connection: {farewell}"),
            Self::Tls(why) => write!(f, "the certificate is not accepted: {}", Safe::new(why)),
            Self::Timeout(what) => write!(f, "no answer in time ({what})"),
            Self::Status { code, .. } => write!(f, "HTTP status {code}"),
            Self::Redirect(why) => write!(f, "redirect not followed: {}", Safe::new(why)),
            Self::TooLarge => f.write_str("the reply is too large"),
            Self::Broken(why) => write!(f, "the reply is broken: {}", Safe::new(why)),
        }
    }
}

impl std::error::Error for HttpTrouble {}

/// The body of a response, and the server it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    /// The body after inflation.
    pub body: Vec<u8>,
    /// The zone of the server that answered.
    pub zone: Zone,
    /// The address family by which the server was reached.
    pub path: Reached,
}

/// The address family by which a server was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// The address family of the connection.
    pub over: IpFamily,
    /// Whether the server's name has addresses of the other family too.
    pub both: bool,
}

impl Reached {
    /// The family of `addr`, which is one of `all`, the addresses of the server's name.
    pub fn at(addr: SocketAddr, all: &[SocketAddr]) -> Self {
        let over = IpFamily::of(addr);
        Self { over, both: all.iter().any(|other| IpFamily::of(*other) != over) }
    }
}

/// Fetches a URL and follows redirects.
pub async fn get(net: &Net, request: Get<'_>) -> Result<Got, HttpTrouble> {
    let whole = timeout(request.timeout, follow(net, &request)).await;
    whole.unwrap_or(Err(HttpTrouble::Timeout("the whole reply")))
}

/// Sends requests until a response is not a redirect.
async fn follow(net: &Net, request: &Get<'_>) -> Result<Got, HttpTrouble> {
    let mut url = Url::parse(request.url).map_err(|error| HttpTrouble::BadUrl(error.to_string()))?;
    let mut zone = None;
    for _hop in 0..=MAX_REDIRECTS {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(HttpTrouble::BadUrl(format!("{} is neither http nor https", url.scheme())));
        }
        let (stream, here, path) = open(net, &url, request, zone).await?;
        zone = Some(here);
        let stream: Box<dyn Carrier> = match url.scheme() {
            "https" => tls::secure(stream, url.host_str().unwrap_or_default(), tls::config()).await?,
            _ => Box::new(stream),
        };
        match ask(stream, &url, request).await? {
            Answer::Body(body) => return Ok(Got { body, zone: here, path }),
            Answer::Moved(to) => url = url.join(&to).map_err(|error| HttpTrouble::Redirect(error.to_string()))?,
        }
    }
    Err(HttpTrouble::Redirect(format!("more than {MAX_REDIRECTS} hops")))
}

/// Resolves, vets and dials the host of a URL. Connects to the first address that answers.
async fn open(
    net: &Net,
    url: &Url,
    request: &Get<'_>,
    before: Option<Zone>,
) -> Result<(BoxStream, Zone, Reached), HttpTrouble> {
    let host = url.host_str().ok_or_else(|| HttpTrouble::BadUrl("no host".to_owned()))?;
    let port = url.port_or_known_default().unwrap_or(80);
    let looked_up = timeout(RESOLVE_TIMEOUT, net.resolve(host, port)).await;
    let addrs = match looked_up {
        Ok(Ok(addrs)) => addrs,
        Ok(Err(error)) => return Err(HttpTrouble::Resolve(error.to_string())),
        Err(_elapsed) => return Err(HttpTrouble::Timeout("the name's address")),
    };
    let mut last = match request.family {
        IpFamily::Any => HttpTrouble::Resolve("it has no address".to_owned()),
        family => HttpTrouble::NoAddress(family),
    };
    for addr in addrs.iter().copied().filter(|addr| request.family.takes(*addr)) {
        last = match may_ask(request.purpose, addr.ip(), url.path(), before) {
            Err(why) => HttpTrouble::Forbidden(why),
            Ok(zone) => match timeout(CONNECT_TIMEOUT, net.connect(addr)).await {
                Ok(Ok(stream)) => return Ok((stream, zone, Reached::at(addr, &addrs))),
                Ok(Err(error)) => HttpTrouble::Connect(DisconnectReason::from_io(&error)),
                Err(_elapsed) => HttpTrouble::Connect(DisconnectReason::ConnectTimeout),
            },
        };
    }
    Err(last)
}

/// A response: its body, or the target of a redirect.
enum Answer {
    Body(Vec<u8>),
    Moved(String),
}

/// Sends one request over a connected stream and reads the response.
async fn ask(stream: Box<dyn Carrier>, url: &Url, request: &Get<'_>) -> Result<Answer, HttpTrouble> {
    let client = client_over(stream, request.timeout);
    // TLS is already below the stream where the URL asks for it, so awc speaks plain HTTP over it.
    let uri: Uri = without_user(url)
        .as_str()
        .replacen("https://", "http://", 1)
        .parse()
        .map_err(|error| HttpTrouble::BadUrl(format!("{error}")))?;
    let mut asked = client.get(uri).insert_header((header::ACCEPT_ENCODING, "gzip")).no_decompress().force_close();
    if !url.username().is_empty() || url.password().is_some() {
        let decoded = |text| percent_decode_str(text).decode_utf8_lossy();
        asked = asked.basic_auth(decoded(url.username()), decoded(url.password().unwrap_or_default()));
    }
    let mut response = asked.send().await.map_err(trouble_of)?;
    let status = response.status();
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    if status.is_redirection() {
        let to =
            header(header::LOCATION).ok_or_else(|| HttpTrouble::Redirect("it does not say where to".to_owned()))?;
        return Ok(Answer::Moved(to));
    }
    if !status.is_success() {
        let retry_after = header(header::RETRY_AFTER).and_then(|said| wait_of(&said, header(header::DATE).as_deref()));
        return Err(HttpTrouble::Status { code: status.as_u16(), retry_after });
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.next().await {
        let chunk = chunk.map_err(|error| HttpTrouble::Broken(error.to_string()))?;
        if body.len() + chunk.len() > request.limit {
            return Err(HttpTrouble::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    // Some servers compress without the header, some proxies inflate and keep the header. So the first bytes decide:
    // neither a torrent nor a tracker's reply begins like gzip.
    Ok(Answer::Body(if body.starts_with(&GZIP_MAGIC) { inflate(&body, request.limit)? } else { body }))
}

/// The first bytes of every gzip file (RFC 1952, 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The URL without user and password, for the request's target and `Host`. User and password are sent in a header.
fn without_user(url: &Url) -> Url {
    let mut url = url.clone();
    // Neither call can fail, because a URL of HTTP has a host.
    let _always = (url.set_username(""), url.set_password(None));
    url
}

/// The time to wait by `Retry-After`: "The Retry-After field value can be either an HTTP-date or a number of seconds to
/// delay" (RFC 9110, 10.2.3). A date is compared with the server's own `Date`, so the client's clock does not matter;
/// without a `Date` the result is `None`.
fn wait_of(retry_after: &str, date: Option<&str>) -> Option<Duration> {
    let time = |text: &str| text.trim().parse::<HttpDate>().ok().map(std::time::SystemTime::from);
    match retry_after.trim().parse() {
        Ok(secs) => Some(Duration::from_secs(secs)),
        Err(_no_number) => Some(time(retry_after)?.duration_since(time(date?)?).unwrap_or_default()),
    }
}

/// Inflates a gzip body; at most `limit` bytes.
fn inflate(body: &[u8], limit: usize) -> Result<Vec<u8>, HttpTrouble> {
    let mut plain = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let read = flate2::read::MultiGzDecoder::new(body).take(most).read_to_end(&mut plain);
    read.map_err(|error| HttpTrouble::Broken(error.to_string()))?;
    if plain.len() > limit { Err(HttpTrouble::TooLarge) } else { Ok(plain) }
}

/// The failure for an error of awc.
fn trouble_of(error: SendRequestError) -> HttpTrouble {
    use awc::error::ConnectError as Connecting;
    match error {
        SendRequestError::Timeout => HttpTrouble::Timeout("the head of the reply"),
        SendRequestError::Connect(Connecting::Disconnected) => HttpTrouble::Connect(DisconnectReason::Closed),
        SendRequestError::Connect(Connecting::Io(error)) | SendRequestError::Send(error) => of_io(&error),
        SendRequestError::Response(error) => {
            match std::error::Error::source(&error).and_then(|cause| cause.downcast_ref()) {
                Some(cause) => of_io(cause),
                None => HttpTrouble::Broken(error.to_string()),
            }
        }
        other => HttpTrouble::Broken(other.to_string()),
    }
}

/// The failure for an error of the stream.
fn of_io(error: &io::Error) -> HttpTrouble {
    // `handed` reports a malformed response with this kind of error.
    if error.kind() == io::ErrorKind::InvalidData {
        return HttpTrouble::Broken(error.to_string());
    }
    HttpTrouble::Connect(DisconnectReason::from_io(error))
}

/// A client for one request: its connector returns the given stream.
fn client_over(stream: Box<dyn Carrier>, timeout: Duration) -> awc::Client {
    let slot = Rc::new(RefCell::new(Some(stream)));
    let service = fn_service(move |info: ConnectInfo<Uri>| {
        let taken = slot.borrow_mut().take();
        async move {
            let stream = taken.ok_or(ConnectError::Unresolved)?;
            Ok::<_, ConnectError>(Connection::new(info.request().clone(), Handed::new(stream)))
        }
    });
    let connector = awc::Connector::new().connector(Rc::new(service)).timeout(timeout);
    awc::Client::builder()
        .connector(connector)
        .timeout(timeout)
        .disable_redirects()
        .no_default_headers()
        .add_default_header((header::USER_AGENT, concat!("tt-actors/", env!("CARGO_PKG_VERSION"))))
        .finish()
}

/// The addresses of a UDP tracker that may be asked (S-07).
pub async fn resolve_tracker(net: &Net, host: &str, port: u16) -> Result<Vec<SocketAddr>, HttpTrouble> {
    match timeout(RESOLVE_TIMEOUT, net.resolve(host, port)).await {
        Ok(Ok(addrs)) => {
            let vetted: Vec<_> = addrs
                .into_iter()
                .filter(|addr| may_ask(Purpose::Tracker, addr.ip(), "/announce", None).is_ok())
                .collect();
            if vetted.is_empty() { Err(HttpTrouble::Forbidden("no server can be at that address")) } else { Ok(vetted) }
        }
        Ok(Err(error)) => Err(HttpTrouble::Resolve(error.to_string())),
        Err(_elapsed) => Err(HttpTrouble::Timeout("the name's address")),
    }
}

#[cfg(test)]
mod tests;

//! One announce or one scrape, for every supported protocol. Does not know when to ask, nor which other trackers exist.

use std::fmt;

use url::{Host, Url};

use super::Net;
use super::http::{Get, HttpTrouble, Reached, get};
use super::vet::{Purpose, Zone};
use crate::base::ids::InfoHash;
use crate::base::limits::{ANNOUNCE_TIMEOUT, MAX_TRACKER_REPLY};
use crate::base::safe::Safe;
use crate::codec::tracker::{AnnounceReply, AnnounceRequest, Reply, RetryIn, ScrapeEntry, TrackerFailure};
use crate::codec::tracker_http::{ScrapeReply, announce_url, parse_announce, parse_scrape, scrape_url};
use crate::logic::trackers::families::IpFamily;

/// 80 characters of a body that is not a reply: enough to recognise the log-in page of a hotel (T-05).
const SHOWN_OF_BODY: usize = 80;

/// A tracker's reply to an announce, and the server it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// The reply.
    pub reply: AnnounceReply,
    /// The tracker is on this machine or in a private network, so it may name peers there (T-19).
    pub local: bool,
    /// The address family by which the tracker was reached.
    pub path: Reached,
}

/// Why a request to a tracker failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackerTrouble {
    /// One of a small set of causes, for logs and counters.
    pub cause: &'static str,
    /// A description, safe to show.
    pub text: String,
    /// When the client may ask again, if the tracker has said so.
    pub retry_in: Option<RetryIn>,
}

impl TrackerTrouble {
    /// A failure without a time to ask again.
    pub fn new(cause: &'static str, text: impl fmt::Display) -> Self {
        Self { cause, text: text.to_string(), retry_in: None }
    }

    /// The failure for a tracker's refusal.
    fn refusal(failure: &TrackerFailure) -> Self {
        let text = format!("the tracker says: {}", Safe::new(&failure.reason));
        Self { cause: "tracker-failure", text, retry_in: failure.retry_in }
    }

    /// The failure for a body that is not a reply; shows the beginning of the body.
    fn no_reply(why: impl fmt::Display, body: &[u8]) -> Self {
        Self::new("bad-reply", format!("{why} (`{}`)", Safe::new(body).at_most(SHOWN_OF_BODY)))
    }
}

impl From<HttpTrouble> for TrackerTrouble {
    fn from(trouble: HttpTrouble) -> Self {
        let retry_in = match &trouble {
            HttpTrouble::Status { retry_after: Some(after), .. } => Some(RetryIn::After(*after)),
            _ => None,
        };
        Self { cause: trouble.label(), text: trouble.to_string(), retry_in }
    }
}

/// Sends one announce over HTTP or HTTPS (BEP 3), to an address of this family.
pub async fn announce_http(
    net: &Net,
    base: &str,
    request: &AnnounceRequest,
    family: IpFamily,
) -> Result<Announced, TrackerTrouble> {
    let url = announce_url(base, request);
    let got = get(net, ask(&url, family)).await?;
    match parse_announce(&got.body).map_err(|why| TrackerTrouble::no_reply(why, &got.body))? {
        Reply::Failure(failure) => Err(TrackerTrouble::refusal(&failure)),
        Reply::Peers(reply) => Ok(Announced { reply, local: got.zone != Zone::Global, path: got.path }),
    }
}

/// Sends one scrape over HTTP or HTTPS (BEP 48).
pub async fn scrape_http(net: &Net, base: &str, swarms: &[InfoHash]) -> Result<Vec<ScrapeEntry>, TrackerTrouble> {
    let no_scrape =
        || TrackerTrouble::new("no-scrape", "its URL does not end in /announce, so it has no scrape (BEP 48)");
    let url = scrape_url(base, swarms).ok_or_else(no_scrape)?;
    let got = get(net, ask(&url, IpFamily::Any)).await?;
    match parse_scrape(&got.body).map_err(|why| TrackerTrouble::no_reply(why, &got.body))? {
        ScrapeReply::Failure(failure) => Err(TrackerTrouble::refusal(&failure)),
        ScrapeReply::Entries(entries) => Ok(entries),
    }
}

/// A GET for a tracker of a torrent, with the limits for replies.
fn ask(url: &str, family: IpFamily) -> Get<'_> {
    Get { url, purpose: Purpose::Tracker, timeout: ANNOUNCE_TIMEOUT, limit: MAX_TRACKER_REPLY, family }
}

/// The parts of a `udp://` URL (BEP 15, 41).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UdpEndpoint {
    /// A host name in ASCII, or an address.
    pub host: String,
    /// The port. The URL must name it, because there is no default (BEP 15).
    pub port: u16,
    /// Path and query, which are sent with an announce; empty if there are none.
    pub url_data: String,
}

impl UdpEndpoint {
    /// Reads a URL. The scheme may be in capitals, the host in any script. The URL standard does not convert the host
    /// of a `udp` URL to ASCII, so this function does.
    pub fn of(base: &str) -> Result<Self, TrackerTrouble> {
        let bad =
            |why: &dyn fmt::Display| TrackerTrouble::new("bad-url", format!("not the URL of a UDP tracker: {why}"));
        let url = Url::parse(base).map_err(|error| bad(&error))?;
        let host = Host::parse(url.host_str().ok_or_else(|| bad(&"no host"))?).map_err(|error| bad(&error))?;
        let port = url.port().ok_or_else(|| bad(&"no port"))?;
        let path = if url.path() == "/" { "" } else { url.path() };
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        Ok(Self { host: host.to_string(), port, url_data: format!("{path}{query}") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn udp_urls_are_read_as_people_write_them() {
        let table = [
            ("udp://t.example:80", Some(("t.example", 80, ""))),
            ("UDP://T.Example:6969/", Some(("t.example", 6969, ""))),
            ("udp://t.example:80/announce", Some(("t.example", 80, "/announce"))),
            ("udp://t.example:80/dir?auth=x&y#part", Some(("t.example", 80, "/dir?auth=x&y"))),
            ("udp://t.example:80?key=1", Some(("t.example", 80, "?key=1"))),
            ("udp://bücher.example:80/a", Some(("xn--bcher-kva.example", 80, "/a"))),
            ("udp://трекер.рф:80", Some(("xn--e1aaowdh.xn--p1ai", 80, ""))),
            ("udp://192.0.2.1:80", Some(("192.0.2.1", 80, ""))),
            ("udp://[2001:db8::1]:80/x", Some(("[2001:db8::1]", 80, "/x"))),
            ("udp://user:pass@t.example:80/", Some(("t.example", 80, ""))),
            ("udp://t.example", None),
            ("udp://:80", None),
            ("udp://a b:80", None),
            ("udp://t.example:99999", None),
            ("udp:t.example:80", None),
            ("", None),
        ];
        for (url, want) in table {
            let got = UdpEndpoint::of(url).ok();
            let got = got.as_ref().map(|at| (at.host.as_str(), at.port, at.url_data.as_str()));
            assert_eq!(got, want, "{url}");
        }
    }
}

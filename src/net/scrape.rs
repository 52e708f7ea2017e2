//! Scrapes many swarms from one tracker (BEP 48, BEP 15), in as few requests as possible (W-13).

use std::collections::HashMap;

use super::Net;
use super::tracker::{TrackerTrouble, scrape_http};
use super::tracker_udp::{UdpSession, scrape_udp};
use crate::base::ids::InfoHash;
use crate::base::scheme::Scheme;
use crate::codec::tracker::ScrapeEntry;
use crate::codec::tracker_udp::MAX_SCRAPE;

/// 25 swarms: at 71 bytes each they stay below the 2,048 bytes of a URL that all servers accept.
const MAX_SCRAPE_HTTP: usize = 25;

/// Scrapes `swarms` from a tracker of any supported protocol. The results are in the order of `swarms`. `seed` is for
/// the transaction ids of a UDP tracker. After a request that fails, the remaining swarms are not asked for.
pub async fn scrape(net: &Net, url: &str, swarms: &[InfoHash], seed: u64) -> Vec<Result<ScrapeEntry, TrackerTrouble>> {
    let mut tracker = Tracker { net, url, session: UdpSession::new(seed) };
    let mut found: HashMap<InfoHash, ScrapeEntry> = HashMap::new();
    let mut trouble = None;
    for batch in swarms.chunks(if tracker.is_udp() { MAX_SCRAPE } else { MAX_SCRAPE_HTTP }) {
        match tracker.ask_for_all(batch).await {
            Ok(entries) => found.extend(entries.into_iter().map(|entry| (entry.info_hash, entry))),
            Err(why) => {
                trouble = Some(why);
                break;
            }
        }
    }
    let unknown = || TrackerTrouble::new("unknown-torrent", "it does not know this torrent");
    let missing = || trouble.clone().unwrap_or_else(unknown);
    swarms.iter().map(|swarm| found.get(swarm).copied().ok_or_else(missing)).collect()
}

/// The tracker that is asked.
struct Tracker<'a> {
    net: &'a Net,
    url: &'a str,
    session: UdpSession,
}

impl Tracker<'_> {
    /// Whether the tracker is asked over UDP.
    fn is_udp(&self) -> bool {
        Scheme::of(self.url) == Some(Scheme::Udp)
    }

    /// Scrapes a batch. Some trackers answer only one info-hash of a request, others refuse a request with several:
    /// these are asked for one swarm at a time.
    async fn ask_for_all(&mut self, swarms: &[InfoHash]) -> Result<Vec<ScrapeEntry>, TrackerTrouble> {
        let mut entries = match self.ask(swarms).await {
            Err(trouble) if swarms.len() > 1 && ["tracker-failure", "http-status"].contains(&trouble.cause) => {
                Vec::new()
            }
            answer => answer?,
        };
        if swarms.len() > 1 && entries.len() <= 1 {
            let answered = entries.first().map(|entry| entry.info_hash);
            for swarm in swarms.iter().filter(|swarm| Some(**swarm) != answered) {
                entries.extend(self.ask(std::slice::from_ref(swarm)).await?);
            }
        }
        Ok(entries)
    }

    /// Sends one request.
    async fn ask(&mut self, swarms: &[InfoHash]) -> Result<Vec<ScrapeEntry>, TrackerTrouble> {
        let entries = if self.is_udp() {
            scrape_udp(self.net, &self.session, self.url, swarms).await?
        } else if Scheme::of(self.url).is_some_and(Scheme::is_http) {
            scrape_http(self.net, self.url, swarms).await?
        } else {
            return Err(TrackerTrouble::new("not-supported", "only HTTP, HTTPS and UDP trackers are understood"));
        };
        Ok(entries.into_iter().filter(|entry| swarms.contains(&entry.info_hash)).collect())
    }
}

//! The fields around `info`: trackers, web seeds, texts. Errors in them are tolerated.

use std::collections::HashSet;

use super::warning::{TorrentWarning, Warnings};
use crate::base::safe::{is_harmless, redact_url};
use crate::codec::bencode::{Picked, View};

/// 500 trackers: the number that T-24 names.
const MAX_TRACKERS: usize = 500;

/// 100 web seeds. Picked by eye: the largest distributions have fewer mirrors.
const MAX_WEB_SEEDS: usize = 100;

/// 2,048 bytes: the longest URL that all servers accept.
const MAX_URL_LEN: usize = 2048;

/// 4,096 bytes of a comment. Picked by eye.
pub(super) const MAX_FREE_TEXT_LEN: usize = 4096;

/// The tiers of trackers. BEP 12: "If the client is compatible with the multitracker specification, and if the
/// 'announce-list' key is present, the client will ignore the 'announce' key". Here `announce` is read if the list has
/// no usable URL.
pub(super) fn tiers(root: &Picked<'_>, warnings: &mut Warnings) -> Vec<Vec<String>> {
    let mut urls = Urls { seen: HashSet::new(), most: MAX_TRACKERS, warnings };
    let list = root.find(b"announce-list");
    let mut tiers: Vec<Vec<String>> = list
        .iter()
        .flat_map(|list| list.items())
        .map(|tier| {
            // A flat list of URLs is a common mistake: each URL becomes a tier of its own.
            let single = tier.bytes().is_some().then_some(tier);
            tier.items().chain(single).filter_map(|url| urls.take(url)).collect()
        })
        .filter(|tier: &Vec<_>| !tier.is_empty())
        .collect();
    if tiers.is_empty() {
        tiers.extend(root.find(b"announce").and_then(|url| urls.take(url)).map(|url| vec![url]));
    }
    tiers
}

/// The URLs of web seeds: `url-list` (BEP 19) is a list, or a single string.
pub(super) fn web_seeds(root: &Picked<'_>, warnings: &mut Warnings) -> Vec<String> {
    let mut urls = Urls { seen: HashSet::new(), most: MAX_WEB_SEEDS, warnings };
    let Some(list) = root.find(b"url-list") else { return Vec::new() };
    let single = list.bytes().is_some_and(|url| !url.is_empty()).then_some(list);
    list.items().chain(single).filter_map(|url| urls.take(url)).collect()
}

/// The beginning of a text, with replacement characters for what is not UTF-8; `None` if the text is empty.
pub(super) fn free_text(text: Option<&[u8]>) -> Option<String> {
    let text = text.filter(|text| !text.is_empty())?;
    Some(String::from_utf8_lossy(text.get(..MAX_FREE_TEXT_LEN).unwrap_or(text)).into_owned())
}

/// Filters URLs: each good URL passes once, up to a limit. Adds warnings for the others.
struct Urls<'a> {
    seen: HashSet<String>,
    most: usize,
    warnings: &'a mut Warnings,
}

impl Urls<'_> {
    /// The URL, if it is a good one that has not come before and the limit is not reached.
    fn take(&mut self, url: View<'_>) -> Option<String> {
        let bytes = url.bytes().unwrap_or_default().trim_ascii();
        let is_plain = |text: &&str| text.chars().all(|c| is_harmless(c) && !c.is_whitespace());
        let text = std::str::from_utf8(bytes).ok().filter(is_plain);
        let Some(text) = text.filter(|text| (1..=MAX_URL_LEN).contains(&text.len())) else {
            let shown = String::from_utf8_lossy(bytes.get(..MAX_URL_LEN).unwrap_or(bytes)).into_owned();
            self.warnings.add(TorrentWarning::NotAUrl(redact_url(&shown)));
            return None;
        };
        if self.seen.len() >= self.most {
            self.warnings.add(TorrentWarning::TooManyUrls(self.most));
            return None;
        }
        self.seen.insert(text.to_owned()).then(|| text.to_owned())
    }
}

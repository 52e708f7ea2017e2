//! The pages with the tracker's statistics: `/stats` for people and scripts, `/metrics` for Prometheus. Numbers only.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::actors::kit::KindSnapshot;
use crate::logic::tracker_server::Stats;

/// The page `/stats`: JSON, a line for each number, with the fields of [`stats_json`].
pub fn stats(stats: &Stats) -> String {
    format!("{:#}\n", stats_json(stats))
}

/// The counters and sizes of the tracker, by name.
pub fn stats_json(stats: &Stats) -> Value {
    let (peers, counts) = (&stats.peers, &stats.counts);
    let per_peer = stats.peers.bytes.checked_div(peers.peers()).unwrap_or(0);
    json!({
        "uptime_s": stats.uptime.as_secs(),
        "torrents": stats.swarms,
        "torrents_allowed": stats.allowed,
        "peers": peers.peers(),
        "seeds": peers.seeds(),
        "leeches": peers.peers() - peers.seeds(),
        "peers_ipv4": peers.seeds_v4 + peers.leeches_v4,
        "peers_ipv6": peers.seeds_v6 + peers.leeches_v6,
        "bytes": peers.bytes,
        "bytes_per_peer": per_peer,
        "announces_http": counts.announces_http,
        "announces_udp": counts.announces_udp,
        "scrapes_http": counts.scrapes_http,
        "scrapes_udp": counts.scrapes_udp,
        "connects_udp": counts.connects,
        "events_started": counts.started,
        "events_completed": counts.completed,
        "events_stopped": counts.stopped,
        "refused_unregistered": counts.unregistered,
        "refused_too_fast": counts.too_fast,
        "refused_malformed": counts.malformed,
        "refused_connection_id": counts.bad_connection_ids,
    })
}

/// The page `/metrics` in the text format of Prometheus, version 0.0.4.
pub fn metrics(stats: &Stats, actors: &[KindSnapshot]) -> String {
    let (peers, counts) = (&stats.peers, &stats.counts);
    let mut page = Metrics(String::new());
    page.one("uptime_seconds", "gauge", "Since it began.", stats.uptime.as_secs());
    page.one("torrents", "gauge", "Swarms, also those that are empty now.", stats.swarms as u64);
    page.one("memory_bytes", "gauge", "What swarms and peers take.", peers.bytes as u64);
    page.many(
        "peers",
        "gauge",
        "Peers by family and what they have.",
        &[
            ("family=\"ipv4\",kind=\"seed\"", peers.seeds_v4 as u64),
            ("family=\"ipv4\",kind=\"leech\"", peers.leeches_v4 as u64),
            ("family=\"ipv6\",kind=\"seed\"", peers.seeds_v6 as u64),
            ("family=\"ipv6\",kind=\"leech\"", peers.leeches_v6 as u64),
        ],
    );
    page.many(
        "requests_total",
        "counter",
        "Requests by kind and transport.",
        &[
            ("kind=\"announce\",transport=\"http\"", counts.announces_http),
            ("kind=\"announce\",transport=\"udp\"", counts.announces_udp),
            ("kind=\"scrape\",transport=\"http\"", counts.scrapes_http),
            ("kind=\"scrape\",transport=\"udp\"", counts.scrapes_udp),
            ("kind=\"connect\",transport=\"udp\"", counts.connects),
        ],
    );
    page.many(
        "events_total",
        "counter",
        "Announces by event.",
        &[
            ("event=\"started\"", counts.started),
            ("event=\"completed\"", counts.completed),
            ("event=\"stopped\"", counts.stopped),
        ],
    );
    page.many(
        "refused_total",
        "counter",
        "Requests not served, by reason.",
        &[
            ("reason=\"unregistered\"", counts.unregistered),
            ("reason=\"too_fast\"", counts.too_fast),
            ("reason=\"malformed\"", counts.malformed),
            ("reason=\"connection_id\"", counts.bad_connection_ids),
        ],
    );
    page.of_actors("actor_messages_total", "Messages handled, by kind of actor.", actors, |kind| kind.handled);
    page.of_actors("actor_mailbox_max", "Most messages that ever waited.", actors, |kind| kind.mailbox_max);
    page.of_actors("actor_panics_total", "Panics caught.", actors, |kind| kind.panics);
    page.of_actors("actor_restarts_total", "Restarts.", actors, |kind| kind.restarts_expected + kind.restarts_abnormal);
    page.0
}

/// A metrics page that is being written.
struct Metrics(String);

impl Metrics {
    /// Writes a metric with a single value.
    fn one(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.head(name, kind, help);
        self.row(name, "", value);
    }

    /// Writes a metric with a value for each row of labels.
    fn many(&mut self, name: &str, kind: &str, help: &str, rows: &[(&str, u64)]) {
        self.head(name, kind, help);
        for (labels, value) in rows {
            self.row(name, &format!("{{{labels}}}"), *value);
        }
    }

    /// Writes a metric with a value for each type of actor.
    fn of_actors(&mut self, name: &str, help: &str, actors: &[KindSnapshot], value: fn(&KindSnapshot) -> u64) {
        self.head(name, if name.ends_with("_total") { "counter" } else { "gauge" }, help);
        for kind in actors {
            self.row(name, &format!("{{actor=\"{}\"}}", kind.kind), value(kind));
        }
    }

    /// Writes the header of a metric.
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.put(format_args!("# HELP tt_tracker_{name} {help}\n# TYPE tt_tracker_{name} {kind}\n"));
    }

    /// Writes one value of a metric.
    fn row(&mut self, name: &str, labels: &str, value: u64) {
        self.put(format_args!("tt_tracker_{name}{labels} {value}\n"));
    }

    /// Appends formatted text.
    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("text has room for text");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::logic::tracker_server::{Counts, Tally};

    fn some() -> Stats {
        let peers = Tally { leeches_v4: 3, seeds_v4: 2, leeches_v6: 1, seeds_v6: 0, bytes: 600 };
        let counts = Counts { announces_udp: 9, too_fast: 4, ..Counts::default() };
        Stats { uptime: Duration::from_secs(7), swarms: 2, peers, allowed: None, counts }
    }

    #[test]
    fn stats_are_json_a_person_can_read() {
        let text = stats(&some());
        assert!(text.contains("  \"bytes_per_peer\": 100,\n"), "{text}");
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&value["peers"], &value["seeds"], &value["leeches"]), (&json!(6), &json!(2), &json!(4)));
        let nobody = Stats { peers: Tally::default(), ..some() };
        assert_eq!(stats_json(&nobody)["bytes_per_peer"], 0);
    }

    /// Every sample is below its own header, and no two headers have the same name.
    #[test]
    fn metrics_are_what_prometheus_reads() {
        let text = metrics(&some(), &[]);
        let mut family = "";
        let mut heads = Vec::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                family = rest.split(' ').next().unwrap();
                assert!(!heads.contains(&family), "{family} twice");
                heads.push(family);
            } else if !line.starts_with("# HELP ") {
                let (name, value) = line.rsplit_once(' ').unwrap();
                assert_eq!(name.split('{').next(), Some(family), "{line}");
                assert!(value.parse::<u64>().is_ok(), "{line}");
            }
        }
        assert!(text.contains("\ntt_tracker_requests_total{kind=\"announce\",transport=\"udp\"} 9\n"), "{text}");
    }
}

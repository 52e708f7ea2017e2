//! Reports a demo while it runs: every restart and every ban in one line, from the events of the log.
//!
//! A tracing layer beside the log. Knows the names of the peers by address; decides nothing.

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde_json::json;
use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, Filter};

use super::swarm::DemoSwarm;
use crate::actors::view::{TorrentPhase, TorrentView};
use crate::base::units::DurationText;
use crate::cli::output::Output;
use crate::cli::progress::{line, progress_json};

/// The tracing layer that reports restarts and bans.
#[derive(Debug, Clone)]
pub(super) struct Narrator {
    output: Output,
    began: Instant,
    /// Names of peers and trackers, by address and by URL.
    names: BTreeMap<String, &'static str>,
}

impl Narrator {
    /// Makes a narrator; the times that it shows start now.
    pub(super) fn new(swarm: &DemoSwarm, output: &Output) -> Self {
        let names = swarm.trackers.iter().chain(&swarm.peers).map(|role| (role.at.clone(), role.name)).collect();
        Self { output: output.clone(), began: Instant::now(), names }
    }

    /// Shows a view of the torrent.
    pub(super) fn on_view(&self, view: &TorrentView) {
        if self.output.is_json() {
            self.output.json(&progress_json(view));
        } else if self.output.has_bar() {
            self.output.progress(&line(view));
        } else if matches!(view.phase, TorrentPhase::Fetching) {
            self.sender(&line(view));
        }
    }

    fn sender(&self, what: &str) {
        self.output.line(format!("{:5.1}s  {what}", self.began.elapsed().as_secs_f64()));
    }

    fn on_restart(&self, fields: &Fields) {
        let Fields { actor, id, cause, attempt, backoff_ms, expected, .. } = fields;
        let name = self.names.get(id).copied();
        self.output.json(&json!({
            "event": "restart",
            "seconds": self.began.elapsed().as_secs_f64(),
            "actor": actor,
            "id": id,
            "name": name,
            "cause": cause,
            "attempt": attempt,
            "backoff_ms": backoff_ms,
            "expected": expected,
        }));
        let name = name.map(|name| format!(" ({name})")).unwrap_or_default();
        let backoff = DurationText(std::time::Duration::from_millis(*backoff_ms));
        self.sender(&format!("RESTART  {actor} {id}{name}: {cause}; attempt {attempt}, back-off {backoff}"));
    }

    fn on_ban(&self, fields: &Fields) {
        let Fields { addr, piece, .. } = fields;
        let name = self.names.get(addr).copied();
        self.output.json(&json!({
            "event": "banned",
            "seconds": self.began.elapsed().as_secs_f64(),
            "addr": addr,
            "name": name,
            "piece": piece,
        }));
        let name = name.map(|name| format!(" ({name})")).unwrap_or_default();
        self.sender(&format!("BANNED   {addr}{name}: it lied about piece {piece}"));
    }
}

impl<S: Subscriber> Layer<S> for Narrator {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        match fields.message.as_str() {
            "actor restarts" => self.on_restart(&fields),
            "peer sent bad data (banned)" => self.on_ban(&fields),
            _ => {}
        }
    }
}

/// Lets warnings and errors of actors through to the narrator, whatever the level of the log is.
#[derive(Debug)]
pub(super) struct Audible;

impl<S> Filter<S> for Audible {
    fn enabled(&self, about: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        *about.level() <= Level::WARN && about.target().starts_with("tt_actors::actors")
    }
}

/// The fields of an event that are shown.
#[derive(Debug, Default)]
struct Fields {
    message: String,
    actor: String,
    id: String,
    cause: String,
    addr: String,
    piece: String,
    attempt: u64,
    backoff_ms: u64,
    expected: bool,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        let slot = match field.name() {
            "message" => &mut self.message,
            "actor" => &mut self.actor,
            "id" => &mut self.id,
            "cause" => &mut self.cause,
            "addr" => &mut self.addr,
            "piece" => &mut self.piece,
            _ => return,
        };
        value.clone_into(slot);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "attempt" => self.attempt = value,
            "backoff_ms" => self.backoff_ms = value,
            _ => {}
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "expected" {
            self.expected = value;
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

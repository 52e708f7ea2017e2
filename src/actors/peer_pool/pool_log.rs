//! What the pool writes into the log: a constant sentence with fields for each note of its machine.

use crate::logic::peers::pool::PoolNote;

/// Writes one note.
pub(super) fn write(note: &PoolNote) {
    match note {
        PoolNote::Named { by: None, source, outcome } => tracing::debug!(?source, ?outcome, "peers named"),
        PoolNote::Named { by: Some(by), outcome, .. } => tracing::debug!(%by, ?outcome, "peer names peers"),
        PoolNote::Refused { addr, why } => tracing::debug!(%addr, ?why, "a peer that came by itself is not taken"),
        PoolNote::Handshaken { addr, client } => tracing::debug!(%addr, client = &**client, "peer connected"),
        PoolNote::Introduced { addr, client } => tracing::debug!(%addr, client = &**client, "peer says who it is"),
        PoolNote::Left { addr, reason, delivered } => {
            tracing::debug!(%addr, cause = reason.label(), delivered, "peer gone");
        }
        PoolNote::ExternalIp(address) => tracing::info!(%address, "peers agree on our address"),
        PoolNote::DialsHeld(pause) => {
            tracing::warn!(pause_s = pause.as_secs(), "connections panic too often, nobody is dialled for a while");
        }
    }
}

//! `fault relay`: a toxic relay in front of an address.

use serde_json::json;

use super::args::RelayArgs;
use super::serve::until_interrupted;
use crate::base::units::Bytes;
use crate::cli::exit::Problem;
use crate::cli::output::Output;
use crate::faults::relay::{Relay, spawn_tcp_relay, spawn_udp_relay};
use crate::net::sockets::Sockets;

/// Runs the verb.
pub(super) fn run(args: &RelayArgs, output: &Output) -> Result<(), Problem> {
    let toxics = args.toxic.to_string();
    let start = async {
        let net = Sockets::any();
        if args.udp {
            spawn_udp_relay(&net, args.at, args.to, args.toxic.clone(), args.seed).await
        } else {
            spawn_tcp_relay(&net, args.at, args.to, args.toxic.clone(), args.seed).await
        }
    };
    let listening = |relay: &Relay| {
        let (addr, to) = (relay.addr().to_string(), args.to.to_string());
        (format!("relay     {addr} to {to}\ntoxics    {toxics}"), json!({"addr": addr, "to": to, "toxics": toxics}))
    };
    let summary = |relay: &Relay| {
        let stats = *relay.watch().borrow();
        let (up, down, lost) = (Bytes(stats.up), Bytes(stats.down), Bytes(stats.lost));
        let line = format!("{} connections, {} cut; {up} up, {down} down, {lost} lost", stats.connections, stats.cut);
        let json = json!({
            "connections": stats.connections,
            "cut": stats.cut,
            "up": stats.up,
            "down": stats.down,
            "lost": stats.lost,
        });
        (line, json)
    };
    until_interrupted(start, listening, summary, output)
}

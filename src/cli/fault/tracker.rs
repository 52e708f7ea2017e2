//! `fault tracker`: one tracker with a given behaviour. Its swarm has the clients that announce themselves.

use serde_json::json;

use super::args::FaultTrackerArgs;
use super::serve::until_interrupted;
use crate::cli::exit::Problem;
use crate::cli::output::Output;
use crate::faults::swarms::Swarms;
use crate::faults::tracker::FaultyTracker;
use crate::faults::tracker_http::spawn_http_tracker;
use crate::faults::tracker_udp::spawn_udp_tracker;
use crate::net::sockets::Sockets;

/// Runs the verb.
pub(super) fn run(args: &FaultTrackerArgs, output: &Output) -> Result<(), Problem> {
    let behaviour = args.behaviour.to_string();
    let start = async {
        let (net, swarms) = (Sockets::any(), Swarms::default());
        if args.udp {
            spawn_udp_tracker(&net, args.at, &swarms, args.behaviour.clone(), args.seed).await
        } else {
            spawn_http_tracker(&net, args.at, &swarms, args.behaviour.clone()).await
        }
    };
    let listening = |tracker: &FaultyTracker| {
        let url = tracker.url();
        (format!("tracker   {url}\nbehaviour {behaviour}"), json!({"url": url, "behaviour": behaviour}))
    };
    let summary = |tracker: &FaultyTracker| {
        let record = tracker.record();
        let announces = record.announces().count();
        let line = format!("{} visits, {} requests, {announces} announces", record.arrivals, record.requests);
        (line, json!({"visits": record.arrivals, "requests": record.requests, "announces": announces}))
    };
    until_interrupted(start, listening, summary, output)
}

//! What must hold besides the goal of a scene: criteria of one scene, and rules that our client must keep in every
//! scene.

use std::net::IpAddr;
use std::time::Duration;

use super::observation::NetObservation;
use crate::base::units::{Bytes, DurationText};
use crate::faults::client_output::field;
use crate::faults::referee::{judge_announces, judge_dials};
use crate::faults::scenario::RefereeVerdict;

/// T-15: "clamp to [60 s (or min 300 s when no need), 24 h]".
const ANNOUNCE_FLOOR: Duration = Duration::from_secs(60);

/// I7: "unproductive dials are at most 3 per address in 10 minutes".
const MAX_UNPRODUCTIVE: u64 = 3;

/// A condition that our client must meet in a scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetCriterion {
    /// At least one fault was met; otherwise the scene proves nothing.
    Provoked,
    /// At least one peer lied; otherwise the scene proves nothing.
    Lied,
    /// Each hostile tracker was visited at most this often.
    VisitsAtMost(u64),
    /// The hostile trackers received no request.
    HeardNothing,
    /// Every honest peer was dialled at most this often.
    HonestDials(u64),
    /// Every hostile peer was dialled at most this often.
    HostileDials(u64),
    /// The host of the crowd was dialled at most this often, all ports together.
    CrowdDials(u64),
    /// At most this many bytes were wasted.
    WasteAtMost(u64),
    /// The run took at most this long.
    Within(Duration),
    /// The processor time was at most this percentage of the run, on one core.
    CpuAtMost(u32),
    /// The resident memory was at most this many MiB.
    MemoryAtMost(u64),
    /// The log has an event with this message.
    Logs(&'static str),
    /// This actor was restarted for this cause at least once.
    Restarts(&'static str, &'static str),
    /// The output has no control characters but tabs, so that it cannot harm a terminal.
    SaysNoEscapes,
    /// At the end everything but one piece of 64 KiB is there.
    AllButOnePiece,
}

impl NetCriterion {
    /// Returns what violates the criterion, if anything does.
    pub(super) fn judge(self, observation: &NetObservation) -> Option<RefereeVerdict> {
        match self {
            Self::Provoked => self.unless(observation.injected().values().sum::<u64>() > 0, "nobody hostile was met"),
            Self::Lied => self.unless(observation.liars().any(|(_, stats)| stats.lies > 0), "nobody got to lie"),
            Self::VisitsAtMost(most) => worst(&observation.bad, |(url, record)| (url.clone(), record.arrivals), most),
            Self::HeardNothing => {
                let output = observation.bad.iter().find(|(_, record)| record.requests > 0);
                output.and_then(|(url, _)| self.broke(&format!("{url} was told")))
            }
            Self::HonestDials(most) => {
                worst(&observation.honest, |(addr, stats)| (addr.to_string(), stats.connections), most)
            }
            Self::HostileDials(most) => {
                worst(&observation.hostile, |(addr, stats)| (addr.to_string(), stats.connections), most)
            }
            Self::CrowdDials(most) => {
                let dials = observation.crowd.iter().map(|(_, stats)| stats.connections).sum();
                let host = observation.crowd.first().map(|(addr, _)| addr.ip());
                host.and_then(|host: IpAddr| judge_dials(&host.to_string(), dials, most))
            }
            Self::WasteAtMost(most) => {
                let wasted = observation.output.number("bytes_wasted").unwrap_or(0);
                self.unless(wasted <= most, &format!("{} of no use, allowed are {}", Bytes(wasted), Bytes(most)))
            }
            Self::Within(limit) => {
                let took = observation.run.took;
                self.unless(took <= limit, &format!("took {}, allowed are {}", DurationText(took), DurationText(limit)))
            }
            Self::CpuAtMost(percent) => {
                let (cpu, allowed) = (observation.run.usage.cpu, observation.run.took * percent / 100);
                self.unless(cpu <= allowed, &format!("{cpu:?} of processor time, allowed are {allowed:?}"))
            }
            Self::MemoryAtMost(mib) => {
                let peak = observation.run.usage.peak_kib;
                self.unless(peak <= mib * 1024, &format!("{peak} KiB of memory, allowed are {} KiB", mib * 1024))
            }
            Self::Logs(message) => self.unless(
                observation.output.logged(message).next().is_some(),
                &format!("the log does not say `{message}`"),
            ),
            Self::Restarts(actor, cause) => {
                let restarts = observation.output.restarts();
                let key = (actor.to_owned(), cause.to_owned());
                self.unless(restarts.contains_key(&key), &format!("no restart of {actor} for {cause}: {restarts:?}"))
            }
            Self::SaysNoEscapes => {
                let harmful = |letter: char| letter.is_control() && letter != '\t';
                let line = observation.run.out.iter().chain(&observation.run.err).find(|line| line.contains(harmful));
                line.and_then(|line| self.broke(&format!("said {}", line.escape_default())))
            }
            Self::AllButOnePiece => {
                let numbers = (observation.output.number("bytes_have"), observation.output.number("bytes_total"));
                let is_one = matches!(numbers, (Some(have), Some(total)) if (1..=64 << 10).contains(&(total - have)));
                self.unless(is_one, &format!("has {numbers:?} bytes"))
            }
        }
    }

    fn unless(self, holds: bool, how: &str) -> Option<RefereeVerdict> {
        if holds { None } else { self.broke(how) }
    }

    #[expect(clippy::unnecessary_wraps, reason = "every arm gives a verdict or none")]
    fn broke(self, how: &str) -> Option<RefereeVerdict> {
        Some(RefereeVerdict::Broke { invariant: self.invariant(), how: how.to_owned() })
    }

    /// Returns the invariant that it belongs to.
    fn invariant(self) -> &'static str {
        match self {
            Self::Provoked | Self::Lied => "the scene",
            Self::VisitsAtMost(_)
            | Self::HeardNothing
            | Self::HonestDials(_)
            | Self::HostileDials(_)
            | Self::CrowdDials(_) => "I7",
            Self::Within(_) | Self::AllButOnePiece => "I3",
            Self::WasteAtMost(_) | Self::CpuAtMost(_) | Self::MemoryAtMost(_) => "I5",
            Self::Logs(_) | Self::Restarts(..) | Self::SaysNoEscapes => "I10",
        }
    }
}

/// Returns a verdict on the first peer or tracker that was dialled or visited more often than allowed.
fn worst<T>(all: &[T], figures: impl Fn(&T) -> (String, u64), most: u64) -> Option<RefereeVerdict> {
    all.iter().map(figures).find_map(|(who, times)| judge_dials(&who, times, most))
}

/// The rules for our client in every scene: announces keep their distance, a peer that gives nothing is not dialled
/// again and again, no honest peer is banned, no code panics.
pub(super) fn manners(observation: &NetObservation) -> impl Iterator<Item = RefereeVerdict> {
    let announces = observation.trackers().filter_map(|(url, record)| judge_announces(url, record, ANNOUNCE_FLOOR));
    let idle = observation.liars().filter(|(_, stats)| stats.blocks == 0);
    let dials = idle.filter_map(|(addr, stats)| judge_dials(&addr.to_string(), stats.connections, MAX_UNPRODUCTIVE));
    let banned =
        observation.output.logged("peer sent bad data (banned)").filter_map(|event| field(event, "addr").as_str());
    let wronged = banned.filter(|banned| observation.honest.iter().any(|(addr, _)| addr.to_string() == **banned));
    let wronged =
        wronged.map(|addr| RefereeVerdict::Broke { invariant: "I7", how: format!("banned {addr}, which is honest") });
    let panics = observation.output.number("panics").filter(|panics| *panics > 0);
    let panics = panics.map(|panics| RefereeVerdict::Crashed(format!("{panics} panics were caught")));
    // A client that was killed because it was late has no result, but its log has the panic.
    let logged = observation.output.logged("code panicked").next();
    let logged = logged.map(|event| RefereeVerdict::Crashed(format!("code panicked in {}", field(event, "place"))));
    announces.chain(dials).chain(wronged).chain(panics).chain(logged).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests;

//! What must hold besides arriving: of our own client in one scene, and of it in every scene.

use std::net::IpAddr;
use std::time::Duration;

use super::seen::NetSeen;
use crate::base::units::{Bytes, DurationText};
use crate::faults::client_output::field;
use crate::faults::referee::{judge_announces, judge_dials};
use crate::faults::scenario::RefereeVerdict;

/// T-15: "clamp to [60 s (or min 300 s when no need), 24 h]".
const ANNOUNCE_FLOOR: Duration = Duration::from_secs(60);

/// I7: "unproductive dials are at most 3 per address in 10 minutes".
const MAX_UNPRODUCTIVE: u64 = 3;

/// What must hold of our client in this scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetCriterion {
    /// Somebody hostile was met, or the scene proves nothing.
    Provoked,
    /// Somebody lied, or the scene proves nothing.
    Lied,
    /// The torrent's hostile trackers were each visited at most so often.
    VisitsAtMost(u64),
    /// The hostile trackers understood no announce.
    HeardNothing,
    /// Every honest peer was dialled at most so often.
    HonestDials(u64),
    /// Every hostile peer was dialled at most so often.
    HostileDials(u64),
    /// The crowd's host was dialled at most so often, all ports together.
    CrowdDials(u64),
    /// Bytes of no use.
    WasteAtMost(u64),
    /// Done in this time.
    Within(Duration),
    /// Processor time in this share of the run, in hundredths of one core.
    CpuAtMost(u32),
    /// Resident memory, in MiB.
    MemoryAtMost(u64),
    /// The log has an event with this message.
    Logs(&'static str),
    /// Restarts of this actor for this cause, at least one.
    Restarts(&'static str, &'static str),
    /// Nothing it said can harm a terminal.
    SaysNoEscapes,
    /// Every byte but those of one piece of 64 KiB is there in the end.
    AllButOnePiece,
}

impl NetCriterion {
    /// What broke it, if anything did.
    pub(super) fn judge(self, seen: &NetSeen) -> Option<RefereeVerdict> {
        match self {
            Self::Provoked => self.unless(seen.injected().values().sum::<u64>() > 0, "nobody hostile was met"),
            Self::Lied => self.unless(seen.liars().any(|(_, stats)| stats.lies > 0), "nobody got to lie"),
            Self::VisitsAtMost(most) => worst(&seen.bad, |(url, record)| (url.clone(), record.arrivals), most),
            Self::HeardNothing => {
                let told = seen.bad.iter().find(|(_, record)| record.requests > 0);
                told.and_then(|(url, _)| self.broke(&format!("{url} was told")))
            }
            Self::HonestDials(most) => worst(&seen.honest, |(addr, stats)| (addr.to_string(), stats.connections), most),
            Self::HostileDials(most) => {
                worst(&seen.hostile, |(addr, stats)| (addr.to_string(), stats.connections), most)
            }
            Self::CrowdDials(most) => {
                let dials = seen.crowd.iter().map(|(_, stats)| stats.connections).sum();
                let host = seen.crowd.first().map(|(addr, _)| addr.ip());
                host.and_then(|host: IpAddr| judge_dials(&host.to_string(), dials, most))
            }
            Self::WasteAtMost(most) => {
                let wasted = seen.told.number("bytes_wasted").unwrap_or(0);
                self.unless(wasted <= most, &format!("{} of no use, allowed are {}", Bytes(wasted), Bytes(most)))
            }
            Self::Within(limit) => {
                let took = seen.run.took;
                self.unless(took <= limit, &format!("took {}, allowed are {}", DurationText(took), DurationText(limit)))
            }
            Self::CpuAtMost(percent) => {
                let (cpu, allowed) = (seen.run.usage.cpu, seen.run.took * percent / 100);
                self.unless(cpu <= allowed, &format!("{cpu:?} of processor time, allowed are {allowed:?}"))
            }
            Self::MemoryAtMost(mib) => {
                let peak = seen.run.usage.peak_kib;
                self.unless(peak <= mib * 1024, &format!("{peak} KiB of memory, allowed are {} KiB", mib * 1024))
            }
            Self::Logs(message) => {
                self.unless(seen.told.logged(message).next().is_some(), &format!("the log does not say `{message}`"))
            }
            Self::Restarts(actor, cause) => {
                let restarts = seen.told.restarts();
                let key = (actor.to_owned(), cause.to_owned());
                self.unless(restarts.contains_key(&key), &format!("no restart of {actor} for {cause}: {restarts:?}"))
            }
            Self::SaysNoEscapes => {
                let harmful = |letter: char| letter.is_control() && letter != '\t';
                let line = seen.run.out.iter().chain(&seen.run.err).find(|line| line.contains(harmful));
                line.and_then(|line| self.broke(&format!("said {}", line.escape_default())))
            }
            Self::AllButOnePiece => {
                let numbers = (seen.told.number("bytes_have"), seen.told.number("bytes_total"));
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

    /// The invariant that it stands for.
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

/// Whoever was dialled or visited more often than allowed.
fn worst<T>(all: &[T], figures: impl Fn(&T) -> (String, u64), most: u64) -> Option<RefereeVerdict> {
    all.iter().map(figures).find_map(|(who, times)| judge_dials(&who, times, most))
}

/// What our client owes in every scene: announces keep the floor, who gives nothing is not dialled again and again, nobody
/// honest is banned, nothing panics.
pub(super) fn manners(seen: &NetSeen) -> impl Iterator<Item = RefereeVerdict> {
    let announces = seen.trackers().filter_map(|(url, record)| judge_announces(url, record, ANNOUNCE_FLOOR));
    let idle = seen.liars().filter(|(_, stats)| stats.blocks == 0);
    let dials = idle.filter_map(|(addr, stats)| judge_dials(&addr.to_string(), stats.connections, MAX_UNPRODUCTIVE));
    let banned = seen.told.logged("peer sent bad data (banned)").filter_map(|event| field(event, "addr").as_str());
    let wronged = banned.filter(|banned| seen.honest.iter().any(|(addr, _)| addr.to_string() == **banned));
    let wronged =
        wronged.map(|addr| RefereeVerdict::Broke { invariant: "I7", how: format!("banned {addr}, which is honest") });
    let panics = seen.told.number("panics").filter(|panics| *panics > 0);
    let panics = panics.map(|panics| RefereeVerdict::Crashed(format!("{panics} panics were caught")));
    // Who is killed because it is late has no result; its log says what happened.
    let logged = seen.told.logged("code panicked").next();
    let logged = logged.map(|event| RefereeVerdict::Crashed(format!("code panicked in {}", field(event, "place"))));
    announces.chain(dials).chain(wronged).chain(panics).chain(logged).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests;

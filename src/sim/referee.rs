//! Judges what was seen against the invariants that hold in every scene (I1 to I7, I10), then against the scene's own criteria.
//!
//! Shares no decision with the client: it reads the record with the codec and hashes nothing, it compares bytes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::plan::{PEER_PORT, SimCriterion};
use super::seen::SimSeen;
use crate::codec::resume::ResumeRecord;
use crate::faults::payload::Payload;
use crate::faults::scenario::RefereeVerdict;
use crate::storage::memory::Medium;

/// 3 dials in 10 minutes to an address that has given nothing (FAULTS P-03, I7).
const MAX_UNPRODUCTIVE: usize = 3;
const WINDOW: Duration = Duration::from_secs(600);

/// What the record claims and the disk would not have after a power cut at this moment (I1).
pub fn lies(durable: &[u8], record: Option<&[u8]>, payload: Payload, piece_len: u32) -> Option<String> {
    let record = ResumeRecord::decode(record?).ok()?;
    let piece_len = u64::from(piece_len);
    let is_wrong = |piece: &u32| {
        let start = u64::from(*piece) * piece_len;
        let want = payload.read(start, usize::try_from(piece_len).unwrap_or(usize::MAX));
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        durable.get(start..start + want.len()) != Some(&want[..])
    };
    let wrong: Vec<u32> = record.have.iter_ones().filter(is_wrong).collect();
    (!wrong.is_empty()).then(|| format!("the record claims pieces {wrong:?} and the disk does not have them"))
}

/// The verdict on a run that came to its end.
pub fn judge(seen: &SimSeen, stays_incomplete: bool, criteria: &[SimCriterion]) -> RefereeVerdict {
    let checks = [
        no_lie(seen),
        says_the_truth(seen),
        same_bytes(seen),
        lives(seen, stays_incomplete),
        only_planned_panics(seen),
        manners(seen),
    ];
    let broken = checks.into_iter().chain(criteria.iter().map(|criterion| criterion(seen))).find_map(Result::err);
    broken.unwrap_or(RefereeVerdict::Held)
}

/// What broke, and how.
pub fn broke(invariant: &'static str, how: String) -> Result<(), RefereeVerdict> {
    Err(RefereeVerdict::Broke { invariant, how })
}

fn no_lie(seen: &SimSeen) -> Result<(), RefereeVerdict> {
    seen.lies.first().map_or(Ok(()), |lie| broke("I1", lie.clone()))
}

/// What is not as it should be of a torrent that is called complete.
pub fn is_untrue(medium: &Medium, payload: Payload) -> Option<String> {
    if let Some(file) = medium.misfits().first() {
        return Some(format!("file {file} is not there, or has another length"));
    }
    let want = payload.read(0, usize::MAX);
    let at = medium.visible().iter().zip(&want).position(|(is, should)| is != should)?;
    Some(format!("byte {at} is wrong"))
}

/// I2 at the moment when it was said, and I6: whatever others do to the files.
fn says_the_truth(seen: &SimSeen) -> Result<(), RefereeVerdict> {
    if let Some(untrue) = seen.runs.iter().find_map(|run| run.untrue.as_ref()) {
        return broke("I2", format!("it said complete, and {untrue}"));
    }
    match seen.medium.wrong_reads() {
        0 => Ok(()),
        wrong => broke("I6", format!("{wrong} blocks that were read for peers are wrong")),
    }
}

fn same_bytes(seen: &SimSeen) -> Result<(), RefereeVerdict> {
    if seen.is_meddled_with {
        return Ok(());
    }
    let want = seen.payload.read(0, usize::MAX);
    let images = [("as it is read", seen.medium.visible()), ("after a power cut", seen.medium.durable().0)];
    for (when, image) in images.into_iter().filter(|_| seen.is_complete()) {
        if let Some(at) = image.iter().zip(&want).position(|(is, should)| is != should) {
            return broke("I2", format!("complete, but byte {at} is wrong {when}"));
        }
    }
    Ok(())
}

fn lives(seen: &SimSeen, stays_incomplete: bool) -> Result<(), RefereeVerdict> {
    if seen.is_complete() || stays_incomplete {
        return Ok(());
    }
    let view = seen.view();
    let why = view.and_then(|view| view.why.as_ref()).map(|why| why.text.clone()).unwrap_or_default();
    let have = view.map_or(0, |view| view.bytes_have);
    Err(RefereeVerdict::NotLive(format!(
        "{have} of {} bytes after {:.0} s, ending {:?}, why `{why}`",
        seen.payload.len(),
        seen.took.as_secs_f64(),
        seen.ending()
    )))
}

/// I4 and I10: no abnormal restart where nobody was made to panic. Who was once all is complete may be started again or
/// not, for the end is near (X-04.later seed 15).
fn only_planned_panics(seen: &SimSeen) -> Result<(), RefereeVerdict> {
    let abnormal = seen.trace.restarts().iter().filter(|restart| !restart.expected).count() as u64;
    if seen.panics.is_empty() && abnormal > seen.late_panics as u64 {
        let first = seen.trace.restarts().into_iter().find(|restart| !restart.expected);
        return Err(RefereeVerdict::Crashed(format!(
            "{abnormal} abnormal restarts, nothing injected; first {first:?}"
        )));
    }
    Ok(())
}

/// I7: an address that has never given a block is dialled at most three times in ten minutes of one run.
fn manners(seen: &SimSeen) -> Result<(), RefereeVerdict> {
    let mut dials: BTreeMap<SocketAddr, Vec<Duration>> = BTreeMap::new();
    for dial in seen.wires.dials() {
        let gave = seen.peers.iter().any(|(ip, stats)| dial.to.ip() == *ip && stats.blocks > 0);
        if !gave && dial.to.port() == PEER_PORT {
            dials.entry(dial.to).or_default().push(dial.at);
        }
    }
    for (to, times) in dials {
        for run in &seen.runs {
            let end = seen.runs.iter().map(|later| later.began).find(|began| *began > run.began);
            let is_in = |at: &&Duration| **at >= run.began && end.is_none_or(|end| **at < end);
            let of_run: Vec<Duration> = times.iter().filter(is_in).copied().collect();
            if let Some(four) = of_run
                .windows(MAX_UNPRODUCTIVE + 1)
                .find(|four| four[MAX_UNPRODUCTIVE].saturating_sub(four[0]) < WINDOW)
            {
                return broke("I7", format!("{to} gave nothing and was dialled at {four:?}"));
            }
        }
    }
    Ok(())
}

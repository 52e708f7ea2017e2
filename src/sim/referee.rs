//! Judges an observation by the invariants that hold in every scene (I1 to I7, I10), then by the criteria of the scene.
//!
//! Shares no decision with the client: it reads the record with the codec and compares bytes instead of hashes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::observation::SimObservation;
use super::plan::{PEER_PORT, SimCriterion};
use crate::codec::resume::ResumeRecord;
use crate::faults::payload::Payload;
use crate::faults::scenario::RefereeVerdict;
use crate::storage::memory::Medium;

/// 3 dials in 10 minutes to an address that has given nothing (FAULTS P-03, I7).
const MAX_UNPRODUCTIVE: usize = 3;
const WINDOW: Duration = Duration::from_secs(600);

/// I1: returns a piece that the record claims and that the disk would lack after a power cut at this moment.
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

/// Returns the verdict on a simulation that has ended.
pub fn judge(observation: &SimObservation, stays_incomplete: bool, criteria: &[SimCriterion]) -> RefereeVerdict {
    let checks = [
        record_is_true(observation),
        completion_is_true(observation),
        same_bytes(observation),
        lives(observation, stays_incomplete),
        only_planned_panics(observation),
        dials_are_limited(observation),
    ];
    let broken =
        checks.into_iter().chain(criteria.iter().map(|criterion| criterion(observation))).find_map(Result::err);
    broken.unwrap_or(RefereeVerdict::Held)
}

/// Returns the verdict on a broken invariant.
pub fn broke(invariant: &'static str, how: String) -> Result<(), RefereeVerdict> {
    Err(RefereeVerdict::Broke { invariant, how })
}

fn record_is_true(observation: &SimObservation) -> Result<(), RefereeVerdict> {
    observation.lies.first().map_or(Ok(()), |lie| broke("I1", lie.clone()))
}

/// Returns what is wrong with the files of a torrent that the client calls complete.
pub fn is_untrue(medium: &Medium, payload: Payload) -> Option<String> {
    if let Some(file) = medium.misfits().first() {
        return Some(format!("file {file} is not there, or has another length"));
    }
    let want = payload.read(0, usize::MAX);
    let at = medium.visible().iter().zip(&want).position(|(is, should)| is != should)?;
    Some(format!("byte {at} is wrong"))
}

/// I2 at the moment when the client said "complete", and I6, whatever other programs do to the files.
fn completion_is_true(observation: &SimObservation) -> Result<(), RefereeVerdict> {
    if let Some(untrue) = observation.runs.iter().find_map(|run| run.untrue.as_ref()) {
        return broke("I2", format!("it said complete, and {untrue}"));
    }
    match observation.medium.wrong_reads() {
        0 => Ok(()),
        wrong => broke("I6", format!("{wrong} blocks that were read for peers are wrong")),
    }
}

fn same_bytes(observation: &SimObservation) -> Result<(), RefereeVerdict> {
    if observation.is_tampered_with {
        return Ok(());
    }
    let want = observation.payload.read(0, usize::MAX);
    let images =
        [("as it is read", observation.medium.visible()), ("after a power cut", observation.medium.durable().0)];
    for (when, image) in images.into_iter().filter(|_| observation.is_complete()) {
        if let Some(at) = image.iter().zip(&want).position(|(is, should)| is != should) {
            return broke("I2", format!("complete, but byte {at} is wrong {when}"));
        }
    }
    Ok(())
}

fn lives(observation: &SimObservation, stays_incomplete: bool) -> Result<(), RefereeVerdict> {
    if observation.is_complete() || stays_incomplete {
        return Ok(());
    }
    let view = observation.view();
    let why = view.and_then(|view| view.why.as_ref()).map(|why| why.text.clone()).unwrap_or_default();
    let have = view.map_or(0, |view| view.bytes_have);
    Err(RefereeVerdict::NotLive(format!(
        "{have} of {} bytes after {:.0} s, ending {:?}, why `{why}`",
        observation.payload.len(),
        observation.took.as_secs_f64(),
        observation.ending()
    )))
}

/// I4 and I10: there is no abnormal restart without an injected panic. An actor that panics after completion may or may
/// not be started again, because the run is about to end (X-04.later seed 15).
fn only_planned_panics(observation: &SimObservation) -> Result<(), RefereeVerdict> {
    let abnormal = observation.trace.restarts().iter().filter(|restart| !restart.expected).count() as u64;
    if observation.panics.is_empty() && abnormal > observation.late_panics as u64 {
        let first = observation.trace.restarts().into_iter().find(|restart| !restart.expected);
        return Err(RefereeVerdict::Crashed(format!(
            "{abnormal} abnormal restarts, nothing injected; first {first:?}"
        )));
    }
    Ok(())
}

/// I7: an address that has never given a block is dialled at most three times in ten minutes of one run.
fn dials_are_limited(observation: &SimObservation) -> Result<(), RefereeVerdict> {
    let mut dials: BTreeMap<SocketAddr, Vec<Duration>> = BTreeMap::new();
    for dial in observation.wires.dials() {
        let gave = observation.peers.iter().any(|(ip, stats)| dial.to.ip() == *ip && stats.blocks > 0);
        if !gave && dial.to.port() == PEER_PORT {
            dials.entry(dial.to).or_default().push(dial.at);
        }
    }
    for (to, times) in dials {
        for run in &observation.runs {
            let end = observation.runs.iter().map(|later| later.began).find(|began| *began > run.began);
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

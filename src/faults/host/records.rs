//! Damaged or foreign records, and two clients with one torrent (D-13, D-14, D-18).

use std::path::Path;

use rand::RngExt;
use sha1::{Digest, Sha1};

use super::fetch::ClientRun;
use super::fixture::{HostFixture, SceneFailure, SceneResult};
use super::record::{newest, previous};
use super::{HostScene, scene};
use crate::base::bitfield::Bitfield;
use crate::base::ids::InfoHash;
use crate::codec::resume::ResumeRecord;
use crate::faults::scenario::ScenarioReport;

/// The scenes of this file.
pub(super) const SCENES: &[HostScene] = &[
    scene("D-13.torn", &["D-13"], "the records are torn, flipped, empty or gone: what is there is found", &[], torn),
    scene(
        "D-13.newest",
        &["D-13"],
        "the newest record is torn, the one before it is not: that one is used",
        &[],
        torn_newest,
    ),
    scene(
        "D-14.foreign",
        &["D-14"],
        "records of another torrent, another shape, another version: what is there is found",
        &[],
        foreign,
    ),
    scene("D-18.two", &["D-18"], "a second client on the same folder: exit 11, it names the first", &[], two),
];

/// Runs the fetch again: it must check and keep what was there, and complete.
fn finds(fixture: &mut HostFixture<'_>, there: u64, name: &str) -> Result<ClientRun, SceneFailure> {
    fixture.inject(name);
    let run = fixture.heals()?;
    let (kept, checked) = (run.number("bytes_kept"), run.number("bytes_checked"));
    fixture.check("I8", kept >= there, || format!("{name}: {there} B were there, {kept} B were kept"))?;
    fixture.check("I1", checked >= there, || format!("{name}: {there} B were there, {checked} B were checked"))?;
    std::fs::remove_dir_all(&fixture.out)?;
    Ok(run)
}

fn torn(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    type Damage = fn(&mut Vec<u8>, usize);
    let damages: [(&str, Damage); 4] = [
        ("record torn", |bytes, at| bytes.truncate(at)),
        ("record flipped", |bytes, at| bytes[at] ^= 1),
        ("record empty", |bytes, _| bytes.clear()),
        ("record overwritten", |bytes, _| *bytes = b"d4:name7:foreigne".to_vec()),
    ];
    let mut fixture = HostFixture::new(program, report)?;
    for (name, damage) in damages {
        let there = fixture.stopped()?;
        for path in [newest(&fixture.out, &fixture.offer), previous(&fixture.out, &fixture.offer)] {
            let mut bytes = std::fs::read(&path)?;
            let at = fixture.dice.random_range(0..bytes.len());
            damage(&mut bytes, at);
            std::fs::write(&path, bytes)?;
        }
        finds(&mut fixture, there, name)?;
    }
    let there = fixture.stopped()?;
    std::fs::remove_dir_all(fixture.out.join(".tt-actors"))?;
    finds(&mut fixture, there, "records removed").map(drop)
}

fn torn_newest(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let mut fixture = HostFixture::new(program, report)?;
    let there = fixture.stopped()?;
    let path = newest(&fixture.out, &fixture.offer);
    let len = std::fs::metadata(&path)?.len();
    std::fs::File::options().write(true).open(&path)?.set_len(len - 1)?;
    let run = fixture.heals()?;
    fixture.inject("newest record torn");
    let kept = run.number("bytes_kept");
    fixture.check("I8", kept >= there, || format!("{there} B were there, {kept} B were kept"))
}

fn foreign(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    type Change = fn(ResumeRecord) -> Vec<u8>;
    let mut fixture = HostFixture::new(program, report)?;
    let changes: [(&str, Change); 4] = [
        ("record of another torrent", |record| ResumeRecord { info_hash: InfoHash([9; 20]), ..record }.encode()),
        ("record of another shape", |record| {
            let pieces = record.pieces + 1;
            ResumeRecord { pieces, have: Bitfield::all(pieces), ..record }.encode()
        }),
        ("record without its files", |record| ResumeRecord { files: Vec::new(), ..record }.encode()),
        ("record from the future", from_the_future),
    ];
    for (name, change) in changes {
        let there = fixture.stopped()?;
        for path in [newest(&fixture.out, &fixture.offer), previous(&fixture.out, &fixture.offer)] {
            let record = ResumeRecord::decode(&std::fs::read(&path)?).map_err(std::io::Error::other)?;
            std::fs::write(&path, change(record))?;
        }
        finds(&mut fixture, there, name)?;
    }
    Ok(())
}

/// Returns an intact record of the next version.
fn from_the_future(record: ResumeRecord) -> Vec<u8> {
    let all = ResumeRecord { have: Bitfield::all(record.pieces), ..record }.encode();
    let body = all.split_last_chunk::<20>().map_or(&all[..], |(body, _sum)| body);
    let mut bytes = body.strip_suffix(b"7:versioni1ee").unwrap_or(body).to_vec();
    bytes.extend(b"7:versioni2ee");
    let sum: [u8; 20] = Sha1::digest(&bytes).into();
    bytes.extend(sum);
    bytes
}

fn two(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let mut fixture = HostFixture::new(program, report)?;
    let source = fixture.source("max_rate=2M")?;
    let first = fixture.started(fixture.fetch().from(source.addr), 1)?;
    let second = fixture.fetch().from(source.addr).run()?;
    fixture.inject("second client");
    fixture.take_in(&second);
    let code = second.finished.code();
    fixture.check("I8", code == 11, || format!("the second ended with {code}: {}", second.last_words()))?;
    let holder = format!("process {}", first.program.id());
    fixture.error_names(&second, &[&holder])?;
    let run = first.finish()?;
    fixture.complete(&run)
}

//! Records that are not what they should be, and two clients at one torrent (D-13, D-14, D-18).

use std::path::Path;

use rand::RngExt;
use sha1::{Digest, Sha1};

use super::fetch::ClientRun;
use super::ground::{Fall, HostFixture, Played};
use super::record::{newest, previous};
use super::{HostScene, scene};
use crate::base::bitfield::Bitfield;
use crate::base::ids::InfoHash;
use crate::codec::resume::ResumeRecord;
use crate::faults::scenario::ScenarioReport;

/// Their scenes.
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

/// What was there is kept, after a look at it, and it completes.
fn finds(ground: &mut HostFixture<'_>, there: u64, name: &str) -> Result<ClientRun, Fall> {
    ground.inject(name);
    let run = ground.heals()?;
    let (kept, checked) = (run.number("bytes_kept"), run.number("bytes_checked"));
    ground.check("I8", kept >= there, || format!("{name}: {there} B were there, {kept} B were kept"))?;
    ground.check("I1", checked >= there, || format!("{name}: {there} B were there, {checked} B were checked"))?;
    std::fs::remove_dir_all(&ground.out)?;
    Ok(run)
}

fn torn(program: &Path, report: &mut ScenarioReport) -> Played {
    type Damage = fn(&mut Vec<u8>, usize);
    let damages: [(&str, Damage); 4] = [
        ("record torn", |bytes, at| bytes.truncate(at)),
        ("record flipped", |bytes, at| bytes[at] ^= 1),
        ("record empty", |bytes, _| bytes.clear()),
        ("record overwritten", |bytes, _| *bytes = b"d4:name7:foreigne".to_vec()),
    ];
    let mut ground = HostFixture::new(program, report)?;
    for (name, damage) in damages {
        let there = ground.stopped()?;
        for path in [newest(&ground.out, &ground.offer), previous(&ground.out, &ground.offer)] {
            let mut bytes = std::fs::read(&path)?;
            let at = ground.dice.random_range(0..bytes.len());
            damage(&mut bytes, at);
            std::fs::write(&path, bytes)?;
        }
        finds(&mut ground, there, name)?;
    }
    let there = ground.stopped()?;
    std::fs::remove_dir_all(ground.out.join(".tt-actors"))?;
    finds(&mut ground, there, "records removed").map(drop)
}

fn torn_newest(program: &Path, report: &mut ScenarioReport) -> Played {
    let mut ground = HostFixture::new(program, report)?;
    let there = ground.stopped()?;
    let path = newest(&ground.out, &ground.offer);
    let len = std::fs::metadata(&path)?.len();
    std::fs::File::options().write(true).open(&path)?.set_len(len - 1)?;
    let run = ground.heals()?;
    ground.inject("newest record torn");
    let kept = run.number("bytes_kept");
    ground.check("I8", kept >= there, || format!("{there} B were there, {kept} B were kept"))
}

fn foreign(program: &Path, report: &mut ScenarioReport) -> Played {
    type Change = fn(ResumeRecord) -> Vec<u8>;
    let mut ground = HostFixture::new(program, report)?;
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
        let there = ground.stopped()?;
        for path in [newest(&ground.out, &ground.offer), previous(&ground.out, &ground.offer)] {
            let record = ResumeRecord::decode(&std::fs::read(&path)?).map_err(std::io::Error::other)?;
            std::fs::write(&path, change(record))?;
        }
        finds(&mut ground, there, name)?;
    }
    Ok(())
}

/// The next version, whole.
fn from_the_future(record: ResumeRecord) -> Vec<u8> {
    let all = ResumeRecord { have: Bitfield::all(record.pieces), ..record }.encode();
    let body = all.split_last_chunk::<20>().map_or(&all[..], |(body, _sum)| body);
    let mut bytes = body.strip_suffix(b"7:versioni1ee").unwrap_or(body).to_vec();
    bytes.extend(b"7:versioni2ee");
    let sum: [u8; 20] = Sha1::digest(&bytes).into();
    bytes.extend(sum);
    bytes
}

fn two(program: &Path, report: &mut ScenarioReport) -> Played {
    let mut ground = HostFixture::new(program, report)?;
    let source = ground.source("max_rate=2M")?;
    let mut first = ground.fetch().from(source.addr).start()?;
    let has_begun = first.has(1)?;
    ground.check("I3", has_begun, || "no byte ever came".to_owned())?;
    let second = ground.fetch().from(source.addr).run()?;
    ground.inject("second client");
    ground.take_in(&second);
    let code = second.finished.code();
    ground.check("I8", code == 11, || format!("the second ended with {code}: {}", second.last_words()))?;
    let holder = format!("process {}", first.program.id());
    ground.error_names(&second, &[&holder])?;
    let run = first.finish()?;
    ground.complete(&run)
}

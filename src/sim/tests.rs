//! The simulator is deterministic, and its referee finds what it is meant to find.

use std::collections::BTreeSet;

use super::*;
use crate::base::bitfield::Bitfield;
use crate::base::ids::InfoHash;
use crate::codec::resume::{ResumeRecord, Witness};
use crate::faults::catalogue;
use crate::faults::payload::Payload;

fn scene(name: &str) -> &'static SimScene {
    scenes::all().find(|scene| scene.about.name == name).unwrap()
}

#[test]
fn the_same_seed_makes_the_same_events_and_another_seed_others() {
    for name in ["calm", "P-26.sweep", "D-12", "mix.bad-day"] {
        let hashes: Vec<_> = [7, 7, 8].map(|seed| run_scene(scene(name), seed, false).0.events).into();
        assert_eq!(hashes[0], hashes[1], "{name} seed 7");
        assert_ne!(hashes[0], hashes[2], "{name} seeds 7 and 8");
    }
}

#[test]
fn a_scene_that_holds_reports_its_figures() {
    let (report, lines) = run_scene(scene("P-03"), 3, true);
    assert_eq!(report.verdict, RefereeVerdict::Held);
    assert_eq!(report.observed["runs"], 1);
    assert!(report.took > std::time::Duration::from_secs(5), "{:?}", report.took);
    assert!(lines.iter().any(|line| line.contains("peer gone") && line.contains("cause=reset")), "{lines:#?}");
}

#[test]
fn a_run_without_any_source_is_not_live() {
    const NOBODY: SimScene = SimScene {
        about: About { name: "test.nobody", covers: &[], title: "nobody", layer: crate::faults::scenario::Layer::Sim },
        words: "",
        build: |plan, _| {
            plan.tracker("");
            plan.within(std::time::Duration::from_secs(20));
        },
    };
    let (report, _) = run_scene(&NOBODY, 1, false);
    assert!(matches!(report.verdict, RefereeVerdict::NotLive(_)), "{}", report.verdict);
    assert_eq!(report.verdict.exit_code(), 11);
}

#[test]
fn every_scene_has_a_unique_name_and_covers_existing_entries() {
    let mut names = BTreeSet::new();
    for SimScene { about, .. } in scenes::all() {
        assert!(names.insert(about.name), "{} twice", about.name);
        for id in about.covers {
            let entry = catalogue::find(id);
            assert!(entry.is_some_and(|entry| entry.why_not.is_none()), "{} covers {id}", about.name);
            assert!(about.name.starts_with(about.covers[0]), "{} begins with what it covers", about.name);
        }
    }
}

#[test]
fn a_record_that_claims_missing_data_is_a_lie() {
    let payload = Payload::new(1, 100_000);
    let truth = payload.read(0, 100_000);
    let mut have = Bitfield::none(4);
    let geometry = crate::base::geometry::Geometry::new(100_000, 32_768).unwrap();
    have.set(geometry.piece(1).unwrap());
    have.set(geometry.last_piece());
    let record = ResumeRecord {
        info_hash: InfoHash([0; 20]),
        pieces: 4,
        have,
        files: vec![Witness::default()],
        part: Witness::default(),
        downloaded: 0,
        uploaded: 0,
        clean: false,
    };
    let record = record.encode();
    assert_eq!(referee::lies(&truth, Some(&record), payload, 32_768), None);
    assert_eq!(referee::lies(&truth, None, payload, 32_768), None);
    let mut rotten = truth.clone();
    rotten[99_999] ^= 1;
    rotten[0] ^= 1;
    let lie = referee::lies(&rotten, Some(&record), payload, 32_768).unwrap();
    assert!(lie.contains("[3]"), "{lie}");
}

/// Seeds for each scene: 10, or more by the environment for a long run.
fn seeds() -> u64 {
    std::env::var("TT_MEDDLING_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(10)
}

/// I2, I6: whatever other programs do to the files at any moment, the client says "complete" only when every byte is
/// right, and sends no peer a wrong byte.
#[test]
fn complete_is_true_whatever_other_programs_do_to_the_files() {
    for scene in scenes::all()
        .filter(|scene| scene.about.covers.first().is_some_and(|id| ["D-09", "D-15", "D-19", "D-22"].contains(id)))
    {
        for seed in 1..=seeds() {
            let (report, _) = run_scene(scene, seed, false);
            assert_eq!(report.verdict, RefereeVerdict::Held, "{} seed {seed}", scene.about.name);
        }
    }
}

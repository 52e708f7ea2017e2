//! The list of scenes agrees with the catalogue, and its behaviours parse.

use std::collections::BTreeSet;

use super::*;
use crate::faults::behaviour::Behaviour;
use crate::faults::catalogue;
use crate::faults::relay::toxic::Toxics;
use crate::faults::tracker_behaviour::TrackerBehaviour;

#[test]
fn every_name_is_unique_and_starts_with_an_entry_it_covers() {
    let mut names = BTreeSet::new();
    for NetScene { about, .. } in scenes() {
        assert!(names.insert(about.name), "{}", about.name);
        let first = about.covers.first().unwrap();
        assert!(about.name.starts_with(first), "{}", about.name);
        assert!(about.covers.iter().all(|id| catalogue::find(id).is_some()), "{}", about.name);
    }
}

/// All entries about trackers, those about peers that can be automated, and the partitions.
#[test]
fn the_layer_covers_its_share_of_the_catalogue() {
    let covered: BTreeSet<&str> = scenes().iter().flat_map(|scene| scene.about.covers).copied().collect();
    let wanted = catalogue::ENTRIES.iter().filter(|entry| {
        let is_ours = entry.id.starts_with(['T', 'P']) || ["N-01", "N-02", "N-03"].contains(&entry.id);
        is_ours && entry.why_not.is_none()
    });
    assert_eq!(covered, wanted.map(|entry| entry.id).collect());
}

#[test]
fn every_behaviour_parses_and_every_goal_comes_after_the_last_action() {
    for scene in scenes() {
        let name = scene.about.name;
        for peers in scene.peers {
            match peers {
                ScenePeers::Honest(words) | ScenePeers::Hostile(_, words) | ScenePeers::Crowd(_, words) => {
                    drop(behaviour(name, words));
                }
                ScenePeers::Behind(toxics, words) => {
                    toxics.parse::<Toxics>().unwrap();
                    drop(behaviour(name, words));
                }
                ScenePeers::FullHouses(_) | ScenePeers::Dead(_) => {}
            }
        }
        for source in scene.trackers {
            if let SceneTracker::Http(words)
            | SceneTracker::HttpKnows(words)
            | SceneTracker::Udp(words)
            | SceneTracker::UdpKnows(words) = source
            {
                let words = words.replace("{crowd}", "127.0.0.1:1");
                words.parse::<TrackerBehaviour>().unwrap_or_else(|bad| panic!("{name}: {words}: {bad}"));
            }
        }
        let (SceneGoal::Completes(end) | SceneGoal::Lives(end)) = scene.goal;
        let mut before = Duration::ZERO;
        for step in scene.steps {
            assert!((before..end).contains(&step.at), "{name}");
            before = step.at;
            if let NetAction::Toxics(words) = step.action {
                words.parse::<Toxics>().unwrap();
            }
        }
    }
}

fn behaviour(name: &str, words: &str) -> Behaviour {
    words.parse().unwrap_or_else(|bad| panic!("{name}: {words}: {bad}"))
}

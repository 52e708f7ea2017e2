//! The list is what the catalogue says, and its words are words.

use std::collections::BTreeSet;

use super::*;
use crate::faults::behaviour::Behaviour;
use crate::faults::catalogue;
use crate::faults::relay::toxic::Toxics;
use crate::faults::tracker_behaviour::TrackerBehaviour;

#[test]
fn every_name_is_its_own_and_starts_with_what_it_covers() {
    let mut names = BTreeSet::new();
    for NetScene { about, .. } in scenes() {
        assert!(names.insert(about.name), "{}", about.name);
        let first = about.covers.first().unwrap();
        assert!(about.name.starts_with(first), "{}", about.name);
        assert!(about.covers.iter().all(|id| catalogue::find(id).is_some()), "{}", about.name);
    }
}

/// All trackers, all peers but those that need what does not exist, and the partitions.
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
fn every_word_is_one_and_every_goal_comes_after_what_heals() {
    for scene in scenes() {
        let name = scene.about.name;
        for role in scene.peers {
            match role {
                ScenePeers::Honest(words) | ScenePeers::Hostile(_, words) | ScenePeers::Crowd(_, words) => {
                    drop(behaviour(name, words))
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
        for deed in scene.deeds {
            assert!((before..end).contains(&deed.at), "{name}");
            before = deed.at;
            if let What::Toxics(words) = deed.what {
                words.parse::<Toxics>().unwrap();
            }
        }
    }
}

fn behaviour(name: &str, words: &str) -> Behaviour {
    words.parse().unwrap_or_else(|bad| panic!("{name}: {words}: {bad}"))
}

//! Networks that stall, cut and heal, as far as a relay on this machine can (N-01 to N-03).

use super::NetCriterion::HonestDials;
use super::SceneGoal::Completes;
use super::SceneTracker::Good;
use super::{MIB, NetAction, NetScene, NetStep, ScenePeers, about, secs};

/// An honest peer with 400 kB a second, behind a relay.
const BEHIND: ScenePeers = ScenePeers::Behind("", "max_rate=400k");

/// A partition from second 2 to second 7: shorter than any time-out, so that no peer should be lost.
const PARTITION: &[NetStep] = &[
    NetStep { at: secs(2), action: NetAction::Toxics("stall") },
    NetStep { at: secs(7), action: NetAction::Toxics("") },
];

pub(super) const SCENES: &[NetScene] = &[
    NetScene {
        about: about("N-01.heals", &["N-01"], "nobody can be heard for five seconds, then everybody"),
        bytes: 4 * MIB,
        trackers: &[Good],
        peers: &[BEHIND, BEHIND],
        steps: PARTITION,
        goal: Completes(secs(7 + 40)),
        criteria: &[HonestDials(2)],
    },
    NetScene {
        about: about("N-01.cut", &["N-01"], "every connection is cut, and for eight seconds every new one"),
        bytes: 4 * MIB,
        trackers: &[Good],
        peers: &[BEHIND, BEHIND],
        steps: &[
            NetStep { at: secs(2), action: NetAction::Toxics("reset_peer=0ms") },
            NetStep { at: secs(10), action: NetAction::Toxics("") },
        ],
        goal: Completes(secs(10 + 60)),
        criteria: &[],
    },
    NetScene {
        about: about("N-02.one-way", &["N-02"], "for five seconds we are heard and hear nothing"),
        bytes: 4 * MIB,
        trackers: &[Good],
        peers: &[BEHIND, BEHIND],
        steps: &[
            NetStep { at: secs(2), action: NetAction::Toxics("stall,stream=downstream") },
            NetStep { at: secs(7), action: NetAction::Toxics("") },
        ],
        goal: Completes(secs(7 + 40)),
        criteria: &[HonestDials(2)],
    },
    NetScene {
        about: about("N-02.unheard", &["N-02"], "for five seconds we hear and are not heard"),
        bytes: 4 * MIB,
        trackers: &[Good],
        peers: &[BEHIND, BEHIND],
        steps: &[
            NetStep { at: secs(2), action: NetAction::Toxics("stall,stream=upstream") },
            NetStep { at: secs(7), action: NetAction::Toxics("") },
        ],
        goal: Completes(secs(7 + 40)),
        criteria: &[HonestDials(2)],
    },
    NetScene {
        about: about("N-03.half", &["N-03"], "half of the peers are never heard again; the others carry"),
        bytes: 4 * MIB,
        trackers: &[Good],
        peers: &[BEHIND, BEHIND, ScenePeers::Honest("max_rate=400k"), ScenePeers::Honest("max_rate=400k")],
        steps: &[NetStep { at: secs(1), action: NetAction::Toxics("stall") }],
        goal: Completes(secs(60)),
        criteria: &[],
    },
    NetScene {
        about: about("N-03.slow", &["N-03"], "the way is long and narrow: 200 ms and 100 kB a second"),
        bytes: MIB,
        trackers: &[Good],
        peers: &[ScenePeers::Behind("latency=100ms,latency:jitter=20ms,bandwidth=100k", "")],
        steps: &[],
        goal: Completes(secs(45)),
        criteria: &[HonestDials(1)],
    },
];

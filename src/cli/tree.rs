//! `tree`: the supervision tree with its restart policies, from the constants in the code.

use serde_json::{Value, json};

use super::exit::ProgramExit;
use super::output::Output;
use crate::actors::policies;
use crate::base::units::DurationText;
use crate::logic::restart::Policy;

/// One kind of actor: its depth in the tree, how many there are, its policy, and the effect of its failure.
#[derive(Clone, Copy)]
struct Branch {
    depth: usize,
    actor: &'static str,
    many: bool,
    policy: Option<Policy>,
    note: &'static str,
}

const fn branch(depth: usize, actor: &'static str, policy: Policy, note: &'static str) -> Branch {
    Branch { depth, actor, many: false, policy: Some(policy), note }
}

const fn many(branch: Branch) -> Branch {
    Branch { many: true, ..branch }
}

/// Actors start from top to bottom and stop from bottom to top.
const TREE: [Branch; 16] = [
    branch(0, "Session", policies::SESSION, "its end is the program's end, state safe (exit 70)"),
    branch(1, "Metrics", policies::METRICS, "only reads"),
    branch(
        1,
        "Listener",
        policies::LISTENER,
        "which torrents are served survives; inbound connections without a handshake are lost",
    ),
    many(branch(1, "Torrent", policies::TORRENT, "then the torrent is failed with its reason; the others live")),
    branch(2, "DiskWriter", policies::DISK_WRITER, "nothing acknowledged is lost; the rest is asked for again"),
    branch(
        2,
        "PieceScheduler",
        policies::PIECE_SCHEDULER,
        "rebuilt from the writer's bitfield; peers introduce themselves",
    ),
    branch(2, "PeerPool", policies::PEER_POOL, "the peer book survives"),
    Branch {
        depth: 3,
        actor: "PeerConnection",
        many: true,
        policy: None,
        note: "one incarnation a connection; the book decides when the next one starts",
    },
    branch(2, "TrackerSupervisor", policies::TRACKER_SUPERVISOR, "tier order and flags survive"),
    many(branch(
        3,
        "HttpTracker",
        policies::TRACKER,
        "a failed announce is an expected restart; then disabled, tried every 30 min",
    )),
    many(branch(3, "UdpTracker", policies::TRACKER, "the same")),
    many(branch(0, "Host", policies::HOST, "one for each arbiter but the first; then the run ends (exit 70)")),
    branch(0, "TrackerServer", policies::TRACKER_SERVER, "of the verb `tracker`; Metrics as above (exit 70)"),
    branch(1, "SwarmKeeper", policies::SWARM_KEEPER, "swarms survive if they are sound"),
    many(branch(1, "HttpDesk", policies::TRACKER_DESK, "its socket survives")),
    many(branch(1, "UdpDesk", policies::TRACKER_DESK, "the same")),
];

/// Runs the verb.
pub fn run(output: &Output) -> ProgramExit {
    if output.is_json() {
        output.json(&json!({"event": "result", "status": "complete", "exit_code": 0, "tree": TREE.iter().map(as_json).collect::<Vec<_>>()}));
    } else {
        (0..TREE.len()).for_each(|at| output.answer(as_text(at)));
    }
    ProgramExit::Complete
}

fn as_text(at: usize) -> String {
    let Branch { depth, actor, many, policy, note } = &TREE[at];
    let is_last =
        |level: usize| TREE[at + 1..].iter().find(|next| next.depth <= level).is_none_or(|next| next.depth < level);
    let stem: String = (1..*depth).map(|level| if is_last(level) { "   " } else { "│  " }).collect();
    let twig = match depth {
        0 => "",
        _ if is_last(*depth) => "└─ ",
        _ => "├─ ",
    };
    let name = format!("{stem}{twig}{actor}{}", if *many { " × n" } else { "" });
    let policy =
        policy.map_or("none by itself".to_owned(), |p| format!("{} in {}", p.max_restarts, DurationText(p.window)));
    format!("{name:<30}{policy:<16}{note}")
}

fn as_json(branch: &Branch) -> Value {
    json!({
        "actor": branch.actor,
        "depth": branch.depth,
        "many": branch.many,
        "max_restarts": branch.policy.map(|policy| policy.max_restarts),
        "window_s": branch.policy.map(|policy| policy.window.as_secs()),
        "note": branch.note,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_on_supervision_shows_this_tree() {
        let page = include_str!("../../docs/SUPERVISION.md");
        let tree: Vec<String> = (0..TREE.len()).map(as_text).collect();
        let tree = tree.join("\n");
        assert!(page.contains(&tree), "put this tree into docs/SUPERVISION.md:\n{tree}");
    }
}

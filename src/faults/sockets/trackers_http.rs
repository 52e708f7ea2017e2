//! HTTP trackers that refuse, hang, lie or send garbage, in front of one that does not (T-01 to T-10, T-22, T-23,
//! T-25).

use super::NetCriterion::{
    HeardNothing, HostileDials, Logs, MemoryAtMost, Provoked, Restarts, SaysNoEscapes, VisitsAtMost,
};
use super::SceneGoal::{Completes, Lives};
use super::SceneTracker::{Dead, DeadUdp, FullHouse, Good, Hole, Http, HttpBehind, HttpKnows, Tls, Url};
use super::{MIB, NetAction, NetScene, NetStep, ScenePeers, about, secs};
use crate::faults::tracker_tls::Distrust::{Ancient, Expired, Plain, SelfSigned, WrongHost};

/// An honest seed.
const SEED: &[ScenePeers] = &[ScenePeers::Honest("")];

/// 30 s: 2 MiB from one seed take a second; the rest is for two loaded cores and for clients that ask one tracker after
/// the other.
const SOON: super::SceneGoal = Completes(secs(30));

/// 45 s, for a sole source that fails first: a back-off of 5 to 10 s, and as much again.
const LATER: super::SceneGoal = Completes(secs(45));

macro_rules! hidden_by {
    ($name:literal, $covers:expr, $title:literal, [$($bad:expr),+], $criteria:expr) => {
        NetScene {
            about: about($name, $covers, $title),
            bytes: 2 * MIB,
            trackers: &[$($bad),+, Good],
            peers: SEED,
            steps: &[],
            goal: SOON,
            criteria: $criteria,
        }
    };
}

pub(super) const SCENES: &[NetScene] = &[
    hidden_by!(
        "T-01.refused",
        &["T-01"],
        "nobody listens at the first two trackers",
        [Dead(1), DeadUdp],
        &[Restarts("HttpTracker", "refused"),]
    ),
    NetScene {
        about: about("T-01.back", &["T-01"], "the only tracker resets at first and is back after three seconds"),
        bytes: 2 * MIB,
        trackers: &[HttpBehind("reset_peer=0ms")],
        peers: SEED,
        steps: &[NetStep { at: secs(3), action: NetAction::Toxics("") }],
        goal: LATER,
        criteria: &[Provoked],
    },
    hidden_by!("T-02.syn", &["T-02"], "the first tracker answers no SYN", [FullHouse], &[]),
    hidden_by!(
        "T-03.silent",
        &["T-03"],
        "two trackers accept and never answer",
        [Hole, Http("hang")],
        &[VisitsAtMost(1),]
    ),
    hidden_by!("T-04.drip", &["T-04"], "a tracker sends one byte a second", [HttpKnows("drip=1")], &[VisitsAtMost(1),]),
    hidden_by!(
        "T-05.garbage",
        &["T-05"],
        "trackers send garbage, a web page, half a reply, nothing",
        [Http("garbage"), Http("html"), Http("truncated=20"), Http("close_at_once"), Http("reset_at_once")],
        &[Restarts("HttpTracker", "bad-reply"), SaysNoEscapes, VisitsAtMost(3)]
    ),
    hidden_by!(
        "T-06.bomb",
        &["T-06"],
        "a body of a gigabyte, and one that inflates to 400 MB",
        [Http("huge=1G"), Http("gzip_bomb=400M")],
        &[Restarts("HttpTracker", "too-large"), MemoryAtMost(64), VisitsAtMost(3)]
    ),
    hidden_by!(
        "T-07.loop",
        &["T-07"],
        "trackers redirect to themselves, to ftp, to a file, twenty times",
        [
            Http("redirect_loop"),
            Http("redirect_to=ftp://127.0.0.1/announce"),
            Http("redirect_to=file:///etc/passwd"),
            Http("redirects=20")
        ],
        &[Restarts("HttpTracker", "redirect"), VisitsAtMost(18)]
    ),
    hidden_by!(
        "T-07.services",
        &["T-07"],
        "trackers redirect to a cloud's metadata and to a service of this machine",
        [Http("redirect_to=http://169.254.169.254/latest/meta-data/"), Http("redirect_to=http://127.0.0.1:9/admin")],
        &[Provoked]
    ),
    NetScene {
        about: about("T-07.hops", &["T-07"], "the only tracker redirects three times, which is allowed"),
        bytes: 2 * MIB,
        trackers: &[HttpKnows("redirects=3")],
        peers: SEED,
        steps: &[],
        goal: SOON,
        criteria: &[VisitsAtMost(12)],
    },
    hidden_by!(
        "T-08.status",
        &["T-08"],
        "trackers answer 404, 403, 500 and 503 with Retry-After",
        [Http("status=404"), Http("status=403"), Http("status=500"), Http("status=503,retry_after=120")],
        &[Restarts("HttpTracker", "http-status"), VisitsAtMost(3)]
    ),
    hidden_by!(
        "T-09.failure",
        &["T-09"],
        "a failure reason full of escape sequences, and one of a megabyte",
        [Http("failure=\\x1b]52\\x3bc\\x3bZXZpbA==\\x07\\x1b[2J\\r\\nlevel=error fake"), Http("huge=1M")],
        &[Restarts("HttpTracker", "tracker-failure"), SaysNoEscapes, VisitsAtMost(3)]
    ),
    NetScene {
        about: about("T-10.warning", &["T-10"], "the only tracker warns, with escape sequences, and answers"),
        bytes: 2 * MIB,
        trackers: &[HttpKnows("warning=old client \\x1b[31m\\x0d\\x0a update")],
        peers: SEED,
        steps: &[],
        goal: SOON,
        criteria: &[Logs("tracker warns"), SaysNoEscapes],
    },
    hidden_by!(
        "T-22.names",
        &["T-22"],
        "trackers whose names do not exist, or lead to this machine",
        [
            Url("http://tracker.invalid/announce"),
            Url("udp://tracker.invalid:6969/announce"),
            Url("http://localhost:9/admin"),
            Url("http://0.0.0.0:9/announce"),
            Url("not a url"),
            Url("wss://localhost:9/announce")
        ],
        &[]
    ),
    hidden_by!(
        "T-23.tls",
        &["T-23"],
        "certificates: self-signed, expired, another's; TLS 1.0; no TLS at all",
        [Tls(SelfSigned), Tls(Expired), Tls(WrongHost), Tls(Ancient), Tls(Plain)],
        &[HeardNothing, Restarts("HttpTracker", "tls"), VisitsAtMost(3)]
    ),
    NetScene {
        about: about("T-24.herd", &["T-24"], "120 trackers, all but the last dead"),
        bytes: 2 * MIB,
        trackers: &[Dead(119), Good],
        peers: SEED,
        steps: &[],
        goal: SOON,
        criteria: &[MemoryAtMost(96), HostileDials(1)],
    },
    NetScene {
        about: about(
            "T-25.hung",
            &["T-25"],
            "trackers hang from the start, or from `started` on, and we are told to stop",
        ),
        bytes: 2 * MIB,
        trackers: &[Http("hang"), Http("hang_after=1,no_peers"), super::SceneTracker::Udp("hang_after=1,no_peers")],
        peers: &[],
        steps: &[],
        goal: Lives(secs(3)),
        criteria: &[super::NetCriterion::Within(secs(3 + 8)), Provoked],
    },
];

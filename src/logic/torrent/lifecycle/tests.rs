//! Each test plays rows: a second, an input, the effects besides `Publish`, and the state after it.

use std::time::Duration;

use super::LifecycleEffect::{
    AnnounceCompleted, End, FetchFromPeers, FinishWriting, ForgetPiece, ForgetState, IntroducePeers, PauseScheduler,
    Publish, RepeatWrites, SeedToPeers, StartDisk, StartPeers, StopDisk, StopPeers, Survey,
};
use super::TorrentActivity::{Checking, Complete, Failed, Fetching, Finishing, Opening, Seeding};
use super::TorrentState::{Active, Paused};
use super::*;
use crate::base::geometry::Geometry;
use crate::logic::disk::resume::OpenMode::{Recheck, TrustRecord};
use crate::logic::testing::base_instant;

const SIZE: u64 = 1000;
const FETCHED: TorrentActivity = Finishing { seeded: false };
const SEEDED: TorrentActivity = Finishing { seeded: true };

type Input = fn(&mut TorrentLifecycle, Instant);
type Row<'a> = (u64, Input, &'a [LifecycleEffect], TorrentState);

struct Bench {
    machine: TorrentLifecycle,
    began: Instant,
    /// Every effect so far, `Publish` included.
    all: Vec<LifecycleEffect>,
}

fn hour() -> SeedingGoal {
    SeedingGoal { time: Some(Duration::from_secs(3600)), ratio: None }
}

fn ratio(ratio: f64) -> SeedingGoal {
    SeedingGoal { time: None, ratio: Some(ratio) }
}

fn sent(bytes_sent: u64) -> SurveyFindings {
    SurveyFindings { all_answered: true, bps: 0, bytes_sent, peers: PeerInterest::NoPeers }
}

fn piece() -> PieceIndex {
    Geometry::new(SIZE, 10).unwrap().piece(7).unwrap()
}

impl Bench {
    fn new(goal: Option<SeedingGoal>) -> Self {
        Self { machine: TorrentLifecycle::new(goal, SIZE), began: base_instant(), all: Vec::new() }
    }

    fn at(&self, secs: u64) -> Instant {
        self.began + Duration::from_secs(secs)
    }

    /// The effects of an input besides `Publish`.
    fn give(&mut self, secs: u64, input: Input) -> Vec<LifecycleEffect> {
        let now = self.at(secs);
        input(&mut self.machine, now);
        let effects: Vec<_> = std::iter::from_fn(|| self.machine.poll()).collect();
        self.all.extend(&effects);
        effects.into_iter().filter(|effect| *effect != Publish).collect()
    }

    fn play(&mut self, rows: &[Row<'_>]) {
        for (nth, (secs, input, effects, state)) in rows.iter().enumerate() {
            assert_eq!(self.give(*secs, *input), *effects, "effects of row {nth}");
            assert_eq!(self.machine.state(), *state, "state after row {nth}");
        }
    }

    /// A torrent in this state at second 10, without a survey under way.
    fn standing_in(state: TorrentState, goal: Option<SeedingGoal>) -> Self {
        let mut bench = Self::new(goal);
        let mut inputs: Vec<Input> = vec![TorrentLifecycle::on_start];
        let ready: Input = |m, t| m.on_disk_ready(t, false);
        let fetched: Input = |m, t| {
            m.on_fetched(t, true);
            m.on_surveyed(t, sent(0));
        };
        inputs.extend(match state.activity() {
            Opening => vec![],
            Checking => vec![TorrentLifecycle::on_checking as Input],
            Fetching => vec![ready],
            FETCHED => vec![ready, fetched],
            Seeding | Complete => vec![ready, fetched, TorrentLifecycle::on_durable],
            SEEDED => vec![ready, fetched, TorrentLifecycle::on_durable, |m, t| m.on_surveyed(t, sent(SIZE))],
            Failed => vec![TorrentLifecycle::on_disk_failed as Input],
        });
        if state.is_paused() {
            inputs.push(|m, t| m.pause(t).unwrap());
        }
        inputs.push(|m, t| {
            if m.surveys.is_awaited() {
                m.on_surveyed(t, sent(0));
            }
        });
        for input in inputs {
            if bench.give(10, input).contains(&StopPeers) {
                bench.give(10, TorrentLifecycle::on_peers_stopped);
            }
        }
        assert_eq!(bench.machine.state(), state);
        bench
    }
}

#[test]
fn a_download_is_opened_checked_fetched_and_complete() {
    Bench::new(None).play(&[
        (0, TorrentLifecycle::on_start, &[StartDisk(TrustRecord)], Active(Opening)),
        (1, TorrentLifecycle::on_timeout, &[], Active(Opening)),
        (1, TorrentLifecycle::on_checking, &[], Active(Checking)),
        (2, |m, t| m.on_disk_ready(t, false), &[StartPeers], Active(Fetching)),
        (2, TorrentLifecycle::on_scheduler_ready, &[IntroducePeers], Active(Fetching)),
        (3, TorrentLifecycle::on_timeout, &[Survey], Active(Fetching)),
        (3, |m, t| m.on_surveyed(t, sent(0)), &[], Active(Fetching)),
        (9, |m, t| m.on_fetched(t, true), &[AnnounceCompleted, SeedToPeers, Survey], Active(FETCHED)),
        (9, |m, t| m.on_surveyed(t, sent(5)), &[FinishWriting], Active(FETCHED)),
        (9, TorrentLifecycle::on_durable, &[Survey], Active(Complete)),
        (9, |m, t| m.on_surveyed(t, sent(5)), &[StopPeers], Active(Complete)),
        (9, TorrentLifecycle::on_peers_stopped, &[], Active(Complete)),
    ]);
}

#[test]
fn a_complete_torrent_is_given_to_others_until_its_goal_is_reached() {
    let mut bench = Bench::standing_in(Active(FETCHED), Some(ratio(2.0)));
    bench.play(&[
        (10, TorrentLifecycle::on_durable, &[], Active(Seeding)),
        (11, TorrentLifecycle::on_timeout, &[Survey], Active(Seeding)),
        (11, |m, t| m.on_surveyed(t, sent(1999)), &[], Active(Seeding)),
        (12, TorrentLifecycle::on_changed, &[], Active(Seeding)),
        (12, TorrentLifecycle::on_timeout, &[Survey], Active(Seeding)),
        (12, |m, t| m.on_surveyed(t, sent(2000)), &[FinishWriting], Active(SEEDED)),
        (13, TorrentLifecycle::on_durable, &[Survey], Active(Complete)),
        (13, |m, t| m.on_surveyed(t, sent(2001)), &[StopPeers], Active(Complete)),
    ]);
}

#[test]
fn what_is_all_there_needs_peers_only_for_a_goal() {
    for (goal, effects, state) in
        [(None, vec![], Active(Complete)), (Some(SeedingGoal::default()), vec![StartPeers], Active(Seeding))]
    {
        let mut bench = Bench::standing_in(Active(Opening), goal);
        assert_eq!(bench.give(10, |m, t| m.on_disk_ready(t, true)), effects);
        assert_eq!(bench.machine.state(), state);
        // The scheduler says so each time it starts: it is no news for trackers.
        let told: &[LifecycleEffect] = if goal.is_some() { &[SeedToPeers] } else { &[] };
        assert_eq!(bench.give(11, |m, t| m.on_fetched(t, true)), told);
        assert_eq!(bench.machine.state(), state);
    }
}

#[test]
fn a_lost_piece_is_fetched_and_completed_is_announced_once() {
    let lost: Input = |m, t| m.on_piece_lost(t, piece(), true);
    let unwanted: Input = |m, t| m.on_piece_lost(t, piece(), false);
    for before in [FETCHED, Seeding, SEEDED] {
        let mut bench = Bench::standing_in(Active(before), Some(ratio(1.0)));
        bench.play(&[
            (20, unwanted, &[ForgetPiece(piece())], Active(before)),
            (20, lost, &[ForgetPiece(piece()), FetchFromPeers], Active(Fetching)),
            (20, TorrentLifecycle::on_durable, &[], Active(Fetching)),
            (25, |m, t| m.on_fetched(t, true), &[SeedToPeers, Survey], Active(FETCHED)),
            (25, |m, t| m.on_surveyed(t, sent(0)), &[FinishWriting], Active(FETCHED)),
            (26, TorrentLifecycle::on_durable, &[], Active(Seeding)),
        ]);
    }
    // What is complete is not looked at any more.
    Bench::standing_in(Active(Complete), None).play(&[(20, lost, &[], Active(Complete))]);
}

#[test]
fn a_part_of_a_torrent_is_never_announced_as_completed() {
    Bench::standing_in(Active(Fetching), None).play(&[
        (10, |m, t| m.on_fetched(t, false), &[SeedToPeers, Survey], Active(FETCHED)),
        (10, |m, t| m.on_surveyed(t, sent(0)), &[FinishWriting], Active(FETCHED)),
    ]);
}

#[test]
fn the_last_figures_are_surveyed_after_the_last_piece() {
    Bench::standing_in(Active(Fetching), None).play(&[
        (12, TorrentLifecycle::on_timeout, &[Survey], Active(Fetching)),
        (12, |m, t| m.on_fetched(t, true), &[AnnounceCompleted, SeedToPeers], Active(FETCHED)),
        (12, |m, t| m.on_surveyed(t, sent(0)), &[Survey], Active(FETCHED)),
        (12, |m, t| m.on_surveyed(t, sent(0)), &[FinishWriting], Active(FETCHED)),
    ]);
}

#[test]
fn nothing_is_asked_of_peers_while_the_disk_is_in_trouble() {
    let mut bench = Bench::standing_in(Active(Fetching), None);
    bench.play(&[
        (20, TorrentLifecycle::on_disk_trouble, &[PauseScheduler(true)], Active(Fetching)),
        (21, TorrentLifecycle::on_scheduler_ready, &[IntroducePeers, PauseScheduler(true)], Active(Fetching)),
        (22, TorrentLifecycle::on_disk_well, &[PauseScheduler(false)], Active(Fetching)),
        (23, TorrentLifecycle::on_scheduler_ready, &[IntroducePeers], Active(Fetching)),
    ]);
    assert!(!bench.machine.is_disk_troubled());
}

/// The writer that was restarted tries the disk anew, and never says that the trouble it has forgotten is over.
#[test]
fn a_restart_of_the_disk_writer_ends_its_trouble() {
    Bench::standing_in(Active(Fetching), None).play(&[
        (20, TorrentLifecycle::on_disk_trouble, &[PauseScheduler(true)], Active(Fetching)),
        (21, TorrentLifecycle::on_disk_restarted, &[RepeatWrites, PauseScheduler(false)], Active(Fetching)),
    ]);
    Bench::standing_in(Active(FETCHED), None).play(&[(
        20,
        TorrentLifecycle::on_disk_restarted,
        &[RepeatWrites, FinishWriting],
        Active(FETCHED),
    )]);
}

#[test]
fn a_torrent_that_fails_closes_its_peers_and_is_opened_again_on_resume() {
    Bench::standing_in(Active(Fetching), None).play(&[
        (20, TorrentLifecycle::on_disk_failed, &[PauseScheduler(true), Survey], Active(Failed)),
        (20, |m, t| m.on_surveyed(t, sent(0)), &[StopPeers], Active(Failed)),
        (20, |m, t| assert_eq!(m.pause(t), Err(CommandRefusal::Failed)), &[], Active(Failed)),
        (20, |m, t| m.resume(t).unwrap(), &[], Active(Opening)),
        (21, TorrentLifecycle::on_disk_failed, &[], Active(Opening)),
        (21, TorrentLifecycle::on_peers_stopped, &[StopDisk], Active(Opening)),
        (22, TorrentLifecycle::on_disk_stopped, &[StartDisk(TrustRecord)], Active(Opening)),
        (23, |m, t| m.on_disk_ready(t, false), &[StartPeers], Active(Fetching)),
    ]);
}

#[test]
fn a_pause_closes_the_peers_of_every_state_that_has_some() {
    for (activity, has_peers) in
        [(Opening, false), (Checking, false), (Fetching, true), (FETCHED, true), (Seeding, true), (SEEDED, true)]
    {
        let mut bench = Bench::standing_in(Active(activity), Some(ratio(1.0)));
        let surveys: &[LifecycleEffect] = if has_peers { &[Survey] } else { &[] };
        assert_eq!(bench.give(20, |m, t| m.pause(t).unwrap()), surveys, "{activity:?}");
        assert_eq!(bench.machine.state(), Paused(activity));
        if has_peers {
            assert_eq!(bench.give(20, |m, t| m.on_surveyed(t, sent(0))), [StopPeers], "{activity:?}");
            assert_eq!(bench.give(21, TorrentLifecycle::on_peers_stopped), [], "{activity:?}");
        }
        bench.give(22, |m, t| assert_eq!(m.pause(t), Err(CommandRefusal::AlreadyPaused)));
        let starts: &[LifecycleEffect] = if has_peers { &[StartPeers] } else { &[] };
        assert_eq!(bench.give(30, |m, t| m.resume(t).unwrap()), starts, "{activity:?}");
        assert_eq!(bench.machine.state(), Active(activity));
        bench.give(31, |m, t| assert_eq!(m.resume(t), Err(CommandRefusal::NotPaused)));
        assert!(bench.all.contains(&Publish));
    }
}

#[test]
fn what_the_disk_has_begun_goes_on_through_a_pause() {
    Bench::standing_in(Paused(Opening), None).play(&[
        (20, TorrentLifecycle::on_checking, &[], Paused(Checking)),
        (30, |m, t| m.on_disk_ready(t, false), &[], Paused(Fetching)),
        (40, |m, t| m.resume(t).unwrap(), &[StartPeers], Active(Fetching)),
    ]);
    Bench::standing_in(Active(Fetching), Some(hour())).play(&[
        (20, |m, t| m.on_fetched(t, true), &[AnnounceCompleted, SeedToPeers, Survey], Active(FETCHED)),
        (20, |m, t| m.pause(t).unwrap(), &[], Paused(FETCHED)),
        (20, |m, t| m.on_surveyed(t, sent(0)), &[Survey], Paused(FETCHED)),
        (20, |m, t| m.on_surveyed(t, sent(0)), &[StopPeers, FinishWriting], Paused(FETCHED)),
        (21, TorrentLifecycle::on_durable, &[], Paused(Seeding)),
        (22, |m, t| m.resume(t).unwrap(), &[], Active(Seeding)),
        (23, TorrentLifecycle::on_peers_stopped, &[StartPeers], Active(Seeding)),
    ]);
}

#[test]
fn a_paused_torrent_is_still() {
    let mut bench = Bench::standing_in(Paused(Fetching), None);
    bench.give(30, TorrentLifecycle::on_timeout);
    assert_eq!(bench.machine.deadline(), None);
    bench.play(&[
        (40, |m, t| m.on_piece_lost(t, piece(), true), &[], Paused(Fetching)),
        (50, TorrentLifecycle::on_disk_restarted, &[], Paused(Fetching)),
        (60, |m, t| m.on_fetched(t, true), &[], Paused(Fetching)),
        (70, TorrentLifecycle::on_scheduler_ready, &[], Paused(Fetching)),
    ]);
}

#[test]
fn a_recheck_ends_the_peers_then_the_disk_and_hashes_everything() {
    Bench::standing_in(Active(Seeding), Some(hour())).play(&[
        (20, |m, t| m.recheck(t).unwrap(), &[Survey], Active(Opening)),
        (20, |m, t| assert_eq!(m.recheck(t), Err(CommandRefusal::AlreadyChecking)), &[], Active(Opening)),
        (20, TorrentLifecycle::on_durable, &[], Active(Opening)),
        (20, |m, t| m.on_surveyed(t, sent(0)), &[StopPeers], Active(Opening)),
        (21, TorrentLifecycle::on_peers_stopped, &[StopDisk], Active(Opening)),
        (21, TorrentLifecycle::on_disk_trouble, &[], Active(Opening)),
        (21, TorrentLifecycle::on_disk_failed, &[], Active(Opening)),
        (22, TorrentLifecycle::on_disk_stopped, &[StartDisk(Recheck)], Active(Opening)),
        (23, TorrentLifecycle::on_checking, &[], Active(Checking)),
        (23, |m, t| assert_eq!(m.recheck(t), Err(CommandRefusal::AlreadyChecking)), &[], Active(Checking)),
        (24, |m, t| m.on_disk_ready(t, false), &[StartPeers], Active(Fetching)),
        (25, |m, t| m.on_fetched(t, true), &[SeedToPeers, Survey], Active(FETCHED)),
    ]);
    for state in [Active(Complete), Active(Failed), Paused(Fetching)] {
        let paused = state.is_paused();
        let then = |activity| if paused { Paused(activity) } else { Active(activity) };
        Bench::standing_in(state, None).play(&[
            (20, |m, t| m.recheck(t).unwrap(), &[StopDisk], then(Opening)),
            (21, TorrentLifecycle::on_disk_stopped, &[StartDisk(Recheck)], then(Opening)),
            (22, |m, t| m.on_disk_ready(t, true), &[], then(Complete)),
        ]);
    }
}

#[test]
fn a_goal_can_be_set_at_any_time() {
    Bench::standing_in(Active(Complete), None).play(&[
        (20, |m, t| m.set_seeding_goal(t, Some(hour())).unwrap(), &[StartPeers], Active(Seeding)),
        (21, |m, t| m.set_seeding_goal(t, None).unwrap(), &[FinishWriting], Active(SEEDED)),
        (22, TorrentLifecycle::on_durable, &[Survey], Active(Complete)),
    ]);
    // Reached already by what was sent before.
    let mut bench = Bench::standing_in(Active(SEEDED), Some(ratio(1.0)));
    bench.play(&[
        (20, |m, t| m.set_seeding_goal(t, Some(ratio(0.5))).unwrap(), &[], Active(SEEDED)),
        (21, TorrentLifecycle::on_durable, &[Survey], Active(Complete)),
        (21, |m, t| m.on_surveyed(t, sent(SIZE)), &[StopPeers], Active(Complete)),
        (21, |m, t| m.set_seeding_goal(t, Some(ratio(0.9))).unwrap(), &[], Active(Complete)),
        (21, |m, t| m.set_seeding_goal(t, Some(ratio(1.5))).unwrap(), &[], Active(Seeding)),
        (21, TorrentLifecycle::on_peers_stopped, &[StartPeers], Active(Seeding)),
    ]);
    Bench::standing_in(Paused(Complete), None).play(&[
        (20, |m, t| m.set_seeding_goal(t, Some(hour())).unwrap(), &[], Paused(Seeding)),
        (21, |m, t| m.resume(t).unwrap(), &[StartPeers], Active(Seeding)),
    ]);
}

#[test]
fn a_pause_does_not_count_for_the_time_of_seeding() {
    let mut bench = Bench::standing_in(Active(Seeding), Some(hour()));
    assert_eq!(bench.machine.deadline(), Some(bench.at(11)), "one more look after a change");
    bench.play(&[
        (1000, TorrentLifecycle::on_timeout, &[Survey], Active(Seeding)),
        (1000, |m, t| m.on_surveyed(t, sent(0)), &[], Active(Seeding)),
    ]);
    assert_eq!(bench.machine.deadline(), Some(bench.at(3610)));
    bench.play(&[
        (1010, |m, t| m.pause(t).unwrap(), &[Survey], Paused(Seeding)),
        (1010, |m, t| m.on_surveyed(t, sent(0)), &[StopPeers], Paused(Seeding)),
        (1011, TorrentLifecycle::on_peers_stopped, &[], Paused(Seeding)),
        (9000, |m, t| m.resume(t).unwrap(), &[StartPeers], Active(Seeding)),
        (9001, TorrentLifecycle::on_timeout, &[Survey], Active(Seeding)),
        (9001, |m, t| m.on_surveyed(t, sent(0)), &[], Active(Seeding)),
    ]);
    assert_eq!(bench.machine.deadline(), Some(bench.at(9000 + 2600)));
    bench.play(&[
        (11_600, TorrentLifecycle::on_timeout, &[Survey], Active(Seeding)),
        (11_600, |m, t| m.on_surveyed(t, sent(0)), &[FinishWriting], Active(SEEDED)),
    ]);
}

#[test]
fn a_goodbye_ends_every_state() {
    for (state, goal, effects) in [
        (Active(Opening), None, &[End][..]),
        (Active(Failed), None, &[End]),
        (Paused(Seeding), Some(hour()), &[End]),
        (Active(Complete), None, &[ForgetState, End]),
        (Paused(Complete), None, &[ForgetState, End]),
    ] {
        let mut bench = Bench::standing_in(state, goal);
        assert_eq!(bench.give(20, TorrentLifecycle::on_goodbye), effects, "{state:?}");
        assert_eq!(bench.machine.deadline(), None);
        assert_eq!(bench.give(21, |m, t| m.on_disk_ready(t, false)), [], "{state:?}: nothing starts any more");
        for refused in [TorrentLifecycle::pause, TorrentLifecycle::resume, TorrentLifecycle::recheck] {
            assert_eq!(refused(&mut bench.machine, bench.began), Err(CommandRefusal::Stopping));
        }
        assert_eq!(bench.machine.set_seeding_goal(bench.began, None), Err(CommandRefusal::Stopping));
    }
}

#[test]
fn a_goodbye_waits_for_the_last_figures_and_for_children_that_are_leaving() {
    Bench::standing_in(Active(Fetching), None).play(&[
        (20, TorrentLifecycle::on_timeout, &[Survey], Active(Fetching)),
        (20, TorrentLifecycle::on_goodbye, &[], Active(Fetching)),
        (20, |m, t| m.on_surveyed(t, sent(0)), &[Survey], Active(Fetching)),
        (20, |m, t| m.on_surveyed(t, sent(0)), &[End], Active(Fetching)),
    ]);
    Bench::standing_in(Active(Fetching), None).play(&[
        (20, |m, t| m.pause(t).unwrap(), &[Survey], Paused(Fetching)),
        (20, |m, t| m.on_surveyed(t, sent(0)), &[StopPeers], Paused(Fetching)),
        (20, TorrentLifecycle::on_goodbye, &[], Paused(Fetching)),
        (21, TorrentLifecycle::on_peers_stopped, &[End], Paused(Fetching)),
    ]);
    Bench::standing_in(Active(Complete), None).play(&[
        (20, |m, t| m.recheck(t).unwrap(), &[StopDisk], Active(Opening)),
        (20, TorrentLifecycle::on_goodbye, &[], Active(Opening)),
        (21, TorrentLifecycle::on_disk_stopped, &[End], Active(Opening)),
    ]);
}

#[test]
fn nothing_starts_before_the_children_of_the_last_incarnation_have_ended() {
    Bench::new(None).play(&[
        (0, |m, t| m.pause(t).unwrap(), &[], Paused(Opening)),
        (1, TorrentLifecycle::on_start, &[StartDisk(TrustRecord)], Paused(Opening)),
    ]);
}

#[test]
fn a_restart_of_the_torrent_forgets_nothing_that_a_user_said() {
    let mut bench = Bench::standing_in(Active(Seeding), Some(ratio(1.0)));
    bench.give(20, |m, t| m.set_seeding_goal(t, Some(hour())).unwrap());
    bench.machine = bench.machine.restarted();
    bench.play(&[
        (30, TorrentLifecycle::on_start, &[StartDisk(TrustRecord)], Active(Opening)),
        (31, |m, t| m.on_disk_ready(t, false), &[StartPeers], Active(Fetching)),
        (32, |m, t| m.on_fetched(t, true), &[SeedToPeers, Survey], Active(FETCHED)),
        (32, |m, t| m.on_surveyed(t, sent(SIZE)), &[FinishWriting], Active(FETCHED)),
        (33, TorrentLifecycle::on_durable, &[], Active(Seeding)),
        (34, |m, t| m.pause(t).unwrap(), &[Survey], Paused(Seeding)),
    ]);
    bench.machine = bench.machine.restarted();
    bench.play(&[
        (40, TorrentLifecycle::on_start, &[StartDisk(TrustRecord)], Paused(Opening)),
        (41, |m, t| m.on_disk_ready(t, true), &[], Paused(Seeding)),
        (42, |m, t| m.recheck(t).unwrap(), &[StopDisk], Paused(Opening)),
    ]);
    bench.machine = bench.machine.restarted();
    bench.play(&[(50, TorrentLifecycle::on_start, &[StartDisk(Recheck)], Paused(Opening))]);
}

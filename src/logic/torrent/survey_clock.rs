//! When a torrent surveys its children: every second while something moves, and otherwise only for a reason.
//!
//! The clock is given times and the result of the last survey. It does not know the torrent.

use std::time::{Duration, Instant};

use crate::logic::peer::protocol::PeerView;

/// Once a second: as often as a person reads a progress line.
const EVERY: Duration = Duration::from_secs(1);

/// 2 min while only uninterested peers are connected: each sends something at least that often (BEP 3's keep-alive).
const WITH_COMPANY: Duration = Duration::from_secs(120);

/// The result of a survey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sight {
    /// Bytes move, or the torrent still has work to do.
    #[default]
    Moving,
    /// Nothing changes until an event arrives.
    Still {
        /// Whether peers are connected.
        company: bool,
        /// When the state ends by itself, such as a seeding time that runs out.
        ends: Option<Instant>,
    },
}

/// What the connected peers want of us, and we of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerInterest {
    /// No peer is connected.
    NoPeers,
    /// No connected peer is interested in us, and we are interested in none.
    None,
    /// A peer is interested in us, or we in it.
    Some,
}

impl PeerInterest {
    /// Of all connected peers.
    pub fn of(peers: impl IntoIterator<Item = PeerView>) -> Self {
        peers.into_iter().fold(Self::NoPeers, |so_far, peer| match so_far {
            Self::NoPeers | Self::None if !peer.peer_interested && !peer.am_interested => Self::None,
            _ => Self::Some,
        })
    }
}

impl Sight {
    /// Classifies a torrent as `Moving` or `Still`. It is still when `is_done`, it transfers nothing (`bps` is 0), and
    /// no connected peer is interested in us or we in it. Peers announce a change of interest (BEP 3), so a still
    /// torrent needs no periodic survey. `ends` is passed on.
    pub const fn of(is_done: bool, bps: u64, peers: PeerInterest, ends: Option<Instant>) -> Self {
        match peers {
            PeerInterest::NoPeers if is_done && bps == 0 => Self::Still { company: false, ends },
            PeerInterest::None if is_done && bps == 0 => Self::Still { company: true, ends },
            _ => Self::Moving,
        }
    }
}

/// Decides when one torrent is surveyed.
#[derive(Debug, Clone, Copy, Default)]
pub struct SurveyClock {
    /// When the last survey began.
    last: Option<Instant>,
    /// What the last survey saw.
    sight: Sight,
    /// Whether something has changed since the last survey began.
    stirred: bool,
    /// Whether the torrent has stopped.
    over: bool,
}

impl SurveyClock {
    /// A survey begins. A change that is reported from now on leads to another survey.
    pub fn on_look(&mut self, now: Instant) {
        (self.last, self.sight, self.stirred) = (Some(now), Sight::Moving, false);
    }

    /// The survey has this result.
    pub const fn on_seen(&mut self, sight: Sight) {
        self.sight = sight;
    }

    /// A child reports that something has changed.
    pub const fn on_stirred(&mut self) {
        self.stirred = true;
    }

    /// The torrent stops: no more surveys.
    pub const fn on_goodbye(&mut self) {
        self.over = true;
    }

    /// When the next survey is due. `None` before the first survey, after the stop, and when nothing will change by
    /// itself.
    pub fn deadline(&self) -> Option<Instant> {
        let last = self.last.filter(|_| !self.over)?;
        match self.sight {
            Sight::Still { company, ends } if !self.stirred => {
                let ends = ends.map(|ends| ends.max(last + EVERY));
                company.then(|| last + WITH_COMPANY).into_iter().chain(ends).min()
            }
            _ => Some(last + EVERY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::testing::base_instant;

    #[test]
    fn a_still_torrent_is_surveyed_for_a_reason_only() {
        let t0 = base_instant();
        let at = |secs| t0 + Duration::from_secs(secs);
        let still = |company, ends: Option<u64>| Sight::Still { company, ends: ends.map(at) };
        let table = [
            (Sight::Moving, false, Some(1)),
            (still(false, None), false, None),
            (still(false, None), true, Some(1)),
            (still(true, None), false, Some(120)),
            (still(true, None), true, Some(1)),
            (still(false, Some(30)), false, Some(30)),
            (still(true, Some(30)), false, Some(30)),
            (still(true, Some(300)), false, Some(120)),
            (still(false, Some(0)), false, Some(1)),
        ];
        for (sight, stirred, want) in table {
            let mut looks = SurveyClock::default();
            assert_eq!(looks.deadline(), None, "the first survey has no deadline");
            looks.on_look(t0);
            looks.on_seen(sight);
            if stirred {
                looks.on_stirred();
            }
            assert_eq!(looks.deadline(), want.map(at), "{sight:?} {stirred}");
            looks.on_goodbye();
            assert_eq!(looks.deadline(), None, "it is over");
        }
    }

    #[test]
    fn a_torrent_is_still_when_it_is_done_and_no_peer_is_interested() {
        let idle = PeerView::default();
        let eager = PeerView { peer_interested: true, ..idle };
        let wanted = PeerView { am_interested: true, ..idle };
        let still = |company| Sight::Still { company, ends: None };
        for (is_done, bps, peers, want) in [
            (true, 0, &[][..], still(false)),
            (true, 0, &[idle, idle], still(true)),
            (true, 1, &[idle], Sight::Moving),
            (false, 0, &[], Sight::Moving),
            (true, 0, &[idle, eager], Sight::Moving),
            (true, 0, &[eager, idle], Sight::Moving),
            (true, 0, &[wanted], Sight::Moving),
        ] {
            let interest = PeerInterest::of(peers.iter().copied());
            assert_eq!(Sight::of(is_done, bps, interest, None), want, "{is_done} {bps} {peers:?}");
        }
    }

    #[test]
    fn a_change_during_a_survey_leads_to_another_survey() {
        let t0 = base_instant();
        let mut looks = SurveyClock::default();
        looks.on_stirred();
        looks.on_look(t0);
        looks.on_stirred();
        looks.on_seen(Sight::Still { company: false, ends: None });
        assert_eq!(looks.deadline(), Some(t0 + EVERY));
        looks.on_look(t0 + EVERY);
        looks.on_seen(Sight::Still { company: false, ends: None });
        assert_eq!(looks.deadline(), None);
    }
}

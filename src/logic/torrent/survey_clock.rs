//! When a torrent looks at itself again: every second while something moves, and else for a reason only.
//!
//! Knows times and what the last look saw; not the torrent.

use std::time::{Duration, Instant};

use crate::logic::peer::protocol::PeerView;

/// Once a second: as often as a person reads a progress line.
const EVERY: Duration = Duration::from_secs(1);

/// 2 min while peers are connected that want nothing: they say what changes, and say it as often at least (BEP 3's keep-alive).
const WITH_COMPANY: Duration = Duration::from_secs(120);

/// What a look saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sight {
    /// Something moves, or a person waits for it.
    #[default]
    Moving,
    /// Nothing will be different unless somebody says so.
    Still {
        /// Peers are connected.
        company: bool,
        /// When it ends by itself.
        ends: Option<Instant>,
    },
}

impl Sight {
    /// Of a torrent that is done with what it had to do, or not; moves so many bytes a second; and has these peers. Who wants
    /// nothing of us, and we nothing of it, is sent nothing; that this changes it says by a bit of BEP 3.
    pub fn of(is_done: bool, bps: u64, peers: impl IntoIterator<Item = PeerView>, ends: Option<Instant>) -> Self {
        let mut company = false;
        for peer in peers {
            if peer.peer_interested || peer.am_interested {
                return Self::Moving;
            }
            company = true;
        }
        if is_done && bps == 0 { Self::Still { company, ends } } else { Self::Moving }
    }
}

/// The clock of one torrent's looks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SurveyClock {
    last: Option<Instant>,
    sight: Sight,
    stirred: bool,
    over: bool,
}

impl SurveyClock {
    /// A look begins. What is stirred from now on it may not see.
    pub fn on_look(&mut self, now: Instant) {
        (self.last, self.sight, self.stirred) = (Some(now), Sight::Moving, false);
    }

    /// And this is what it saw.
    pub const fn on_seen(&mut self, sight: Sight) {
        self.sight = sight;
    }

    /// Somebody says that there is something new.
    pub const fn on_stirred(&mut self) {
        self.stirred = true;
    }

    /// No more looks.
    pub const fn on_goodbye(&mut self) {
        self.over = true;
    }

    /// When to look again; never before there was a first look.
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
    fn what_is_still_is_looked_at_for_a_reason_only() {
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
            assert_eq!(looks.deadline(), None, "the first look is nobody's deadline");
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
    fn a_torrent_is_still_when_it_is_done_and_nobody_wants_anything() {
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
            (true, 0, &[wanted], Sight::Moving),
        ] {
            assert_eq!(Sight::of(is_done, bps, peers.iter().copied(), None), want, "{is_done} {bps} {peers:?}");
        }
    }

    #[test]
    fn what_is_stirred_during_a_look_is_looked_at_again() {
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

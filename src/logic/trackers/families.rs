//! Announces over IPv4 and IPv6. A tracker with addresses of both families is announced to over each of them (BEP 7):
//! it sees two addresses of ours and may name other peers to each. This module decides which family an announce uses,
//! and whether a tracker works whose families differ.

use std::net::SocketAddr;
use std::time::Duration;

use crate::codec::tracker::RetryIn;

/// 30 min, the common interval of trackers, before a family is tried again for which this machine has no route: a
/// network that appears is noticed at a regular announce.
const NO_WAY_FOR: Duration = Duration::from_secs(30 * 60);

/// The cause of a failure when the tracker's name has no address of the family.
pub const NO_ADDRESS: &str = "no-address";

/// The addresses of a tracker to which an announce may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum IpFamily {
    /// Addresses of both families, in the order of the resolver.
    #[default]
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

impl IpFamily {
    /// The family of this address. An IPv4 address mapped into IPv6 is IPv6 here, since it needs an IPv6 socket.
    pub const fn of(addr: SocketAddr) -> Self {
        if addr.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// Whether an announce of this family may go to this address.
    pub fn takes(self, addr: SocketAddr) -> bool {
        self == Self::Any || self == Self::of(addr)
    }

    /// The other family of the two. `Any` has no other.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Any => Self::Any,
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }

    /// The name in logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// When an announce of one family may be tried again after this cause, if the cause is on our side. `None`
    /// otherwise.
    pub fn retry_in(self, cause: &str) -> Option<RetryIn> {
        let no_way = self != Self::Any && matches!(cause, "unreachable" | NO_ADDRESS);
        no_way.then_some(RetryIn::After(NO_WAY_FOR))
    }
}

/// The result of the last announce of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FamilyOutcome {
    /// The tracker answered.
    Works {
        /// Whether the answer named peers.
        useful: bool,
    },
    /// The announce failed.
    Failed,
}

/// The last results of one tracker: of its first announce clock, and of the second one for the other family, if there
/// is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcomes {
    first: Option<FamilyOutcome>,
    second: Option<FamilyOutcome>,
}

impl Outcomes {
    /// An announce of the first clock has ended.
    pub const fn on_first(&mut self, outcome: FamilyOutcome) {
        self.first = Some(outcome);
    }

    /// An announce of the second clock has ended. `None`: there is no second clock any more.
    pub const fn on_second(&mut self, outcome: Option<FamilyOutcome>) {
        self.second = outcome;
    }

    /// The result for the tracker as a whole. It has failed only if no family works. `None`: no announce has ended
    /// yet.
    pub fn whole(self) -> Option<FamilyOutcome> {
        match (self.first, self.second) {
            (Some(FamilyOutcome::Works { useful }), Some(FamilyOutcome::Works { useful: too })) => {
                Some(FamilyOutcome::Works { useful: useful || too })
            }
            (works @ Some(FamilyOutcome::Works { .. }), _) | (_, works @ Some(FamilyOutcome::Works { .. })) => works,
            (first, _) => first,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tracker_has_failed_only_where_no_family_works() {
        let (yes, no, bad) = (
            Some(FamilyOutcome::Works { useful: true }),
            Some(FamilyOutcome::Works { useful: false }),
            Some(FamilyOutcome::Failed),
        );
        for (first, second, want) in [
            (None, None, None),
            (yes, None, yes),
            (bad, None, bad),
            (yes, bad, yes),
            (bad, yes, yes),
            (no, yes, yes),
            (yes, no, yes),
            (no, bad, no),
            (bad, bad, bad),
            (None, bad, None),
            (None, no, no),
        ] {
            assert_eq!(Outcomes { first, second }.whole(), want, "{first:?} {second:?}");
        }
    }

    #[test]
    fn only_a_clock_of_one_family_waits_for_a_route() {
        for (family, cause, want) in [
            (IpFamily::Any, "unreachable", false),
            (IpFamily::V4, "unreachable", true),
            (IpFamily::V6, NO_ADDRESS, true),
            (IpFamily::V6, "timeout", false),
            (IpFamily::V6, "refused", false),
        ] {
            assert_eq!(family.retry_in(cause).is_some(), want, "{family:?} {cause}");
        }
    }

    #[test]
    fn an_address_is_of_the_family_of_its_socket() {
        for (addr, family) in
            [("1.2.3.4:5", IpFamily::V4), ("[2001:db8::1]:5", IpFamily::V6), ("[::ffff:1.2.3.4]:5", IpFamily::V6)]
        {
            let addr = addr.parse().unwrap();
            assert_eq!(IpFamily::of(addr), family);
            assert!(IpFamily::Any.takes(addr) && family.takes(addr) && !family.other().takes(addr));
        }
    }
}

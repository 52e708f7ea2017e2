//! [`Choice`]: the fastest kernel for each number of messages, as measured on this CPU.
//!
//! CPUs with the same instructions differ in which kernel is fastest (decision 17 has figures). So the kernels are
//! timed once, in less than a millisecond.

use std::hint::black_box;
use std::sync::OnceLock;
use std::time::Instant;

use super::kernel::{BLOCK_LEN, Kernel, ShaRun};

/// A kernel, and the number of messages it is given at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gait<K = Kernel> {
    pub(super) kernel: K,
    pub(super) messages: usize,
}

/// The fastest gait for one available message, for two, and so on, up to the number that is fastest of all.
#[derive(Debug)]
pub(super) struct Choice<K = Kernel>(Vec<Gait<K>>);

impl Choice {
    /// The choice for this CPU, measured on first use.
    pub(super) fn measured() -> &'static Self {
        static CHOICE: OnceLock<Choice> = OnceLock::new();
        CHOICE.get_or_init(|| {
            let choice = Self::measure();
            tracing::debug!(gaits = ?choice.0, "how SHA-1 is fastest here");
            choice
        })
    }

    /// Measures all kernels of this CPU.
    pub(super) fn measure() -> Self {
        Self::fastest(Kernel::all().into_iter().flat_map(costs))
    }

    /// Uses this kernel only, with as many messages as it can take.
    #[cfg(test)]
    pub(super) fn only(kernel: Kernel) -> Self {
        Self((1..=kernel.width()).map(|messages| Gait { kernel, messages }).collect())
    }
}

impl<K: Copy> Choice<K> {
    /// Chooses from gaits with the cost of one message. At least one gait must be for a single message.
    fn fastest(tried: impl IntoIterator<Item = (Gait<K>, u128)>) -> Self {
        let tried: Vec<(Gait<K>, u128)> = tried.into_iter().collect();
        let fastest = |at_hand: usize| {
            let possible = tried.iter().filter(|(gait, _)| gait.messages <= at_hand);
            possible.min_by_key(|(_, cost)| cost).map(|(gait, _)| *gait)
        };
        let width = fastest(usize::MAX).map_or(0, |gait| gait.messages);
        Self((1..=width).filter_map(fastest).collect())
    }

    /// The number of messages at a time that is fastest.
    pub(super) fn width(&self) -> usize {
        self.0.len()
    }

    /// The fastest gait for this number of available messages, from 1 to [`Self::width`].
    pub(super) fn gait(&self, at_hand: usize) -> Gait<K> {
        self.0[at_hand - 1]
    }
}

/// A gait for each number of messages, and the time per KiB of one message in nanoseconds.
fn costs(kernel: Kernel) -> impl Iterator<Item = (Gait, u128)> {
    let of_all = kernel.takes_all().then(|| time(kernel, kernel.width()));
    (1..=kernel.width()).map(move |messages| {
        let time = of_all.unwrap_or_else(|| time(kernel, messages));
        (Gait { kernel, messages }, time / messages as u128)
    })
}

/// The nanoseconds for a KiB of each message. The best of several tries counts: others were disturbed, or found the CPU
/// asleep.
#[expect(clippy::disallowed_methods, reason = "this looks at the CPU; a clock that a test holds would tell nothing")]
fn time(kernel: Kernel, messages: usize) -> u128 {
    const TRIES: usize = 7;
    let blocks = [[0x5a; BLOCK_LEN]; 1024 / BLOCK_LEN];
    let mut states = vec![[0; 5]; messages];
    let mut try_once = || {
        let mut runs: Vec<ShaRun<'_>> = states.iter_mut().map(|state| ShaRun { state, blocks: &blocks }).collect();
        let start = Instant::now();
        black_box(kernel.compress(black_box(&mut runs)));
        start.elapsed()
    };
    (0..TRIES).map(|_| try_once()).min().unwrap_or_default().as_nanos()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Costs<'a> = &'a [(&'static str, &'a [u128])];

    fn choose(costs: Costs<'_>) -> Choice<&'static str> {
        let of = |(kernel, costs): &(&'static str, &[u128])| -> Vec<_> {
            (1..).zip(*costs).map(|(messages, cost)| (Gait { kernel: *kernel, messages }, *cost)).collect()
        };
        Choice::fastest(costs.iter().flat_map(of))
    }

    /// The numbers are nanoseconds for a KiB, with one message, with two, and so on.
    #[test]
    fn the_fastest_gaits_are_chosen() {
        let crate_alone: Costs<'_> = &[("plain", &[950])];
        let zen_5: Costs<'_> = &[
            ("plain", &[502]),
            ("sha", &[477, 272, 222, 183]),
            ("vectors", &[1920, 960, 640, 480, 384, 320, 274, 240]),
        ];
        let sapphire_rapids: Costs<'_> = &[
            ("plain", &[690]),
            ("sha", &[680, 560, 640, 680]),
            ("vectors", &[1780, 890, 600, 445, 355, 295, 255, 222]),
        ];
        for (name, costs, expected) in [
            ("the crate alone", crate_alone, "plain 1"),
            ("SHA before vectors", zen_5, "sha 1, sha 2, sha 3, sha 4"),
            ("SHA alone", &sapphire_rapids[..2], "sha 1, sha 2"),
            (
                "vectors before SHA",
                sapphire_rapids,
                "sha 1, sha 2, sha 2, vectors 4, vectors 5, vectors 6, vectors 7, vectors 8",
            ),
        ] {
            let choice = choose(costs);
            let gaits = (1..=choice.width()).map(|at_hand| choice.gait(at_hand));
            let found: Vec<_> = gaits.map(|gait| format!("{} {}", gait.kernel, gait.messages)).collect();
            assert_eq!(found.join(", "), expected, "{name}");
        }
    }

    #[test]
    fn this_cpu_has_a_gait_for_one_message() {
        let choice = Choice::measured();
        assert!(choice.width() >= 1 && choice.gait(1).messages == 1, "{choice:?}");
    }
}

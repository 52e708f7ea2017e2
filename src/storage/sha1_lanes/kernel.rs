//! `Kernel`: the ways to hash blocks, and which of them this CPU has.

#[cfg(target_arch = "x86_64")]
use super::sha_ni::ShaNi;

/// SHA-1 hashes 64 bytes at a time.
pub(super) const BLOCK_LEN: usize = 64;

/// What is hashed at a time.
pub(super) type Block = [u8; BLOCK_LEN];

/// A digest in the making: FIPS 180-4's `a` to `e`.
pub(super) type State = [u32; 5];

/// The blocks that come next in a message, and where they go.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) state: &'a mut State,
    pub(super) blocks: &'a [Block],
}

/// A way to hash blocks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kernel {
    /// The `sha1` crate, one message after the other.
    Plain,
    /// Messages interleaved.
    #[cfg(target_arch = "x86_64")]
    ShaNi(ShaNi),
}

impl Kernel {
    /// The fastest that this CPU has. The standard library remembers what it once asked the CPU.
    pub(super) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(sha_ni) = ShaNi::detect() {
            return Self::ShaNi(sha_ni);
        }
        Self::Plain
    }

    /// All that this CPU has; one comes twice if it is all there is.
    #[cfg(test)]
    pub(super) fn all() -> [Self; 2] {
        [Self::Plain, Self::best()]
    }

    /// So many messages keep it busy.
    pub(super) fn width(self) -> usize {
        match self {
            Self::Plain => 1,
            // Measured on Zen 5: two have 1.8 times the speed of one, three 2.2, four 2.6; five and six gain
            // at most 4 % more, eight lose.
            #[cfg(target_arch = "x86_64")]
            Self::ShaNi(_) => 4,
        }
    }

    /// Hashes as many blocks of each run as the shortest has, and tells how many these were.
    pub(super) fn compress<const N: usize>(self, runs: [Run<'_>; N]) -> usize {
        let len = runs.iter().map(|run| run.blocks.len()).min().unwrap_or(0);
        let runs = runs.map(|run| Run { blocks: &run.blocks[..len], ..run });
        match self {
            Self::Plain => one_by_one(runs),
            #[cfg(target_arch = "x86_64")]
            Self::ShaNi(sha_ni) => sha_ni.compress(runs, len),
        }
        len
    }
}

fn one_by_one<const N: usize>(runs: [Run<'_>; N]) {
    for run in runs {
        sha1::block_api::compress(run.state, run.blocks);
    }
}

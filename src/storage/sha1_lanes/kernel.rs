//! `Kernel`: the ways to hash blocks, and which of them this CPU has.

#[cfg(target_arch = "x86_64")]
use super::{
    avx512::{Avx512, eight, sixteen},
    sha_ni::ShaNi,
};

/// SHA-1 hashes 64 bytes at a time.
pub(super) const BLOCK_LEN: usize = 64;

/// What is hashed at a time.
pub(super) type ShaBlock = [u8; BLOCK_LEN];

/// A digest in the making: FIPS 180-4's `a` to `e`.
pub(super) type ShaState = [u32; 5];

/// The blocks that come next in a message, and where they go.
#[derive(Debug)]
pub(super) struct ShaRun<'a> {
    pub(super) state: &'a mut ShaState,
    pub(super) blocks: &'a [ShaBlock],
}

/// A way to hash blocks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kernel {
    /// The `sha1` crate, one message after the other.
    Plain,
    /// Messages interleaved.
    #[cfg(target_arch = "x86_64")]
    ShaNi(ShaNi),
    /// Eight messages in the lanes of vectors.
    #[cfg(target_arch = "x86_64")]
    Eight(Avx512),
    /// Sixteen.
    #[cfg(target_arch = "x86_64")]
    Sixteen(Avx512),
}

impl Kernel {
    /// All that this CPU has. The standard library remembers what it once asked the CPU.
    pub(super) fn all() -> Vec<Self> {
        #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut, reason = "there are no others"))]
        let mut all = vec![Self::Plain];
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(ShaNi::detect().map(Self::ShaNi));
            all.extend(Avx512::detect().into_iter().flat_map(|avx512| [Self::Eight(avx512), Self::Sixteen(avx512)]));
        }
        all
    }

    /// So many messages it can hash at a time.
    pub(super) fn width(self) -> usize {
        match self {
            Self::Plain => 1,
            // Measured on Zen 5: two have 1.8 times the speed of one, three 2.2, four 2.6; five and six gain
            // at most 4 % more, eight lose.
            #[cfg(target_arch = "x86_64")]
            Self::ShaNi(_) => 4,
            #[cfg(target_arch = "x86_64")]
            Self::Eight(_) => eight::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Sixteen(_) => sixteen::LANES,
        }
    }

    /// Do fewer messages take as long as [`Self::width`]?
    pub(super) fn takes_all(self) -> bool {
        match self {
            Self::Plain => true,
            #[cfg(target_arch = "x86_64")]
            Self::ShaNi(_) => false,
            #[cfg(target_arch = "x86_64")]
            Self::Eight(_) | Self::Sixteen(_) => true,
        }
    }

    /// Hashes as many blocks of each run as the shortest has, and tells how many these were. There are at least one run and
    /// at most [`Self::width`].
    pub(super) fn compress(self, runs: &mut [ShaRun<'_>]) -> usize {
        let len = runs.iter().map(|run| run.blocks.len()).min().unwrap_or(0);
        match self {
            Self::Plain => runs.iter_mut().for_each(|run| sha1::block_api::compress(run.state, &run.blocks[..len])),
            #[cfg(target_arch = "x86_64")]
            Self::ShaNi(sha_ni) => sha_ni.compress(runs, len),
            #[cfg(target_arch = "x86_64")]
            Self::Eight(avx512) => avx512.compress_eight(runs, len),
            #[cfg(target_arch = "x86_64")]
            Self::Sixteen(avx512) => avx512.compress_sixteen(runs, len),
        }
        len
    }
}

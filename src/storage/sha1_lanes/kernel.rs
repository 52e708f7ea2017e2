//! [`Kernel`]: the implementations that hash blocks, and which of them this CPU supports.

#[cfg(target_arch = "x86_64")]
use super::{
    avx512::{Avx512, eight, sixteen},
    sha_ni::ShaNi,
};

/// 64 bytes: the block of SHA-1.
pub(super) const BLOCK_LEN: usize = 64;

/// One block of a message.
pub(super) type ShaBlock = [u8; BLOCK_LEN];

/// An unfinished digest: `a` to `e` of FIPS 180-4.
pub(super) type ShaState = [u32; 5];

/// The next blocks of a message, and the state that they are hashed into.
#[derive(Debug)]
pub(super) struct ShaRun<'a> {
    pub(super) state: &'a mut ShaState,
    pub(super) blocks: &'a [ShaBlock],
}

/// An implementation that hashes blocks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kernel {
    /// The `sha1` crate; hashes one message after the other.
    Plain,
    /// SHA-1 instructions; up to four messages are interleaved.
    #[cfg(target_arch = "x86_64")]
    ShaNi(ShaNi),
    /// AVX-512; eight messages in the lanes of vectors.
    #[cfg(target_arch = "x86_64")]
    Eight(Avx512),
    /// AVX-512; sixteen messages in the lanes of vectors.
    #[cfg(target_arch = "x86_64")]
    Sixteen(Avx512),
}

impl Kernel {
    /// All kernels that this CPU supports. The standard library caches the detection.
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

    /// The largest number of messages at a time.
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

    /// Whether fewer messages take as long as [`Self::width`].
    pub(super) fn takes_all(self) -> bool {
        match self {
            Self::Plain => true,
            #[cfg(target_arch = "x86_64")]
            Self::ShaNi(_) => false,
            #[cfg(target_arch = "x86_64")]
            Self::Eight(_) | Self::Sixteen(_) => true,
        }
    }

    /// Hashes as many blocks of each run as the shortest run has. Returns that number. There must be at least one run
    /// and at most [`Self::width`].
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

//! The kernel for x86-64 CPUs with SHA-1 instructions: several messages interleaved, one instruction of each in turn.
//!
//! The only unsafe line is the call into code that is compiled for these CPUs. Blocks and states are passed by
//! reference; the compiler turns them into loads and stores of vectors, which need no alignment.

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_extract_epi32, _mm_set_epi32, _mm_set_epi64x, _mm_sha1msg1_epu32, _mm_sha1msg2_epu32,
    _mm_sha1nexte_epu32, _mm_sha1rnds4_epu32, _mm_shuffle_epi8, _mm_xor_si128,
};
use std::array::from_fn;

use super::kernel::{ShaBlock, ShaRun, ShaState};

/// Proof that this CPU has the instructions.
#[derive(Debug, Clone, Copy)]
pub(super) struct ShaNi(());

impl ShaNi {
    /// `None` if the CPU does not have them.
    pub(super) fn detect() -> Option<Self> {
        let has_all =
            is_x86_feature_detected!("sha") && is_x86_feature_detected!("ssse3") && is_x86_feature_detected!("sse4.1");
        has_all.then_some(Self(()))
    }

    /// Hashes `len` blocks of each run. There must be at most four runs.
    #[expect(clippy::unused_self, reason = "it is the proof")]
    #[expect(unsafe_code, reason = "the compiler cannot know that the CPU has been asked")]
    pub(super) fn compress(self, runs: &mut [ShaRun<'_>], len: usize) {
        // SAFETY: all that `compress` demands is a CPU with the features it is compiled for. A `ShaNi` is made nowhere
        // but in `detect`, after the CPU has been found to have each of them, and a CPU does not lose them.
        unsafe { compress(runs, len) }
    }
}

/// Hashes `len` blocks of each run, of which there are at most four.
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn compress(runs: &mut [ShaRun<'_>], len: usize) {
    if let Some(runs) = runs.first_chunk_mut::<4>() {
        compress_runs(runs, len);
    } else if let Some(runs) = runs.first_chunk_mut::<3>() {
        compress_runs(runs, len);
    } else if let Some(runs) = runs.first_chunk_mut::<2>() {
        compress_runs(runs, len);
    } else if let Some(runs) = runs.first_chunk_mut::<1>() {
        compress_runs(runs, len);
    }
}

/// Hashes `len` blocks of `N` runs.
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn compress_runs<const N: usize>(runs: &mut [ShaRun<'_>; N], len: usize) {
    let mut sums = runs.each_ref().map(|run| Sum::load(run.state));
    for nth in 0..len {
        sums = compress_one(sums, runs.each_ref().map(|run| &run.blocks[nth]));
    }
    for (run, sum) in runs.iter_mut().zip(sums) {
        *run.state = sum.store();
    }
}

/// Makes all 80 rounds for one block of each message.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn compress_one<const N: usize>(sums: [Sum; N], blocks: [&ShaBlock; N]) -> [Sum; N] {
    let mut rounds: [Rounds; N] = from_fn(|lane| Rounds::begin(sums[lane], blocks[lane]));
    for _ in 1..4 {
        for lane in &mut rounds {
            lane.four::<0>();
        }
    }
    go_on::<0, N>(&mut rounds, 1);
    go_on::<1, N>(&mut rounds, 5);
    go_on::<2, N>(&mut rounds, 5);
    go_on::<3, N>(&mut rounds, 5);
    from_fn(|lane| sums[lane].plus(rounds[lane]))
}

/// Makes `times` times four rounds for each message. The messages take turns, which is what makes the kernel fast.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn go_on<const PHASE: i32, const N: usize>(rounds: &mut [Rounds; N], times: usize) {
    for _ in 0..times {
        for lane in &mut *rounds {
            lane.next_four::<PHASE>();
        }
    }
}

/// A hash state in registers.
#[derive(Debug, Clone, Copy)]
struct Sum {
    /// `a` in the highest word, `d` in the lowest.
    abcd: __m128i,
    /// `e` in the highest word.
    e: __m128i,
}

impl Sum {
    /// Loads a state into registers.
    #[inline]
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn load(state: &ShaState) -> Self {
        let word = |nth: usize| state[nth].cast_signed();
        Self { abcd: _mm_set_epi32(word(0), word(1), word(2), word(3)), e: _mm_set_epi32(word(4), 0, 0, 0) }
    }

    /// Stores the registers as a state.
    #[inline]
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn store(self) -> ShaState {
        let words = [
            _mm_extract_epi32::<3>(self.abcd),
            _mm_extract_epi32::<2>(self.abcd),
            _mm_extract_epi32::<1>(self.abcd),
            _mm_extract_epi32::<0>(self.abcd),
            _mm_extract_epi32::<3>(self.e),
        ];
        words.map(i32::cast_unsigned)
    }

    /// Adds the result of a block's rounds to the state.
    #[inline]
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn plus(self, end: Rounds) -> Self {
        Self { abcd: _mm_add_epi32(self.abcd, end.abcd), e: _mm_sha1nexte_epu32(end.before, self.e) }
    }
}

/// A block in the middle of its rounds. Four rounds are made at a time.
#[derive(Debug, Clone, Copy)]
struct Rounds {
    abcd: __m128i,
    /// `abcd` four rounds ago: its `a`, rotated by 30 bits, is `e` now.
    before: __m128i,
    /// The last sixteen words of the message schedule, in groups of four. The first group is used or replaced next.
    words: [__m128i; 4],
}

impl Rounds {
    /// Makes the first four rounds, the only ones whose `e` was not an `a` before.
    #[inline]
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn begin(sum: Sum, block: &ShaBlock) -> Self {
        let quarters = block.as_chunks().0;
        let [w0, w1, w2, w3] = from_fn(|nth| load(&quarters[nth]));
        let abcd = _mm_sha1rnds4_epu32::<0>(sum.abcd, _mm_add_epi32(sum.e, w0));
        Self { abcd, before: sum.abcd, words: [w1, w2, w3, w0] }
    }

    /// Makes four rounds with the next four words.
    #[inline]
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn four<const PHASE: i32>(&mut self) {
        let [w0, w1, w2, w3] = self.words;
        let abcd = _mm_sha1rnds4_epu32::<PHASE>(self.abcd, _mm_sha1nexte_epu32(self.before, w0));
        *self = Self { abcd, before: self.abcd, words: [w1, w2, w3, w0] };
    }

    /// Makes four rounds with four words computed from the sixteen before.
    #[inline]
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn next_four<const PHASE: i32>(&mut self) {
        let [w0, w1, w2, w3] = self.words;
        self.words[0] = _mm_sha1msg2_epu32(_mm_xor_si128(_mm_sha1msg1_epu32(w0, w1), w2), w3);
        self.four::<PHASE>();
    }
}

/// Loads four words, the first one into the highest place.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn load(bytes: &[u8; 16]) -> __m128i {
    let [low, high] = [0, 8].map(|at| i64::from_le_bytes(from_fn(|nth| bytes[at + nth])));
    let reversed = _mm_set_epi64x(0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f);
    _mm_shuffle_epi8(_mm_set_epi64x(high, low), reversed)
}

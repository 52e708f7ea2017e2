//! Kernels for x86-64 CPUs with AVX-512: messages side by side, the same word of each message in one vector.
//!
//! A CPU works on three vectors of 256 bits (eight messages) at a time, or on two vectors of 512 bits (sixteen
//! messages). The latter is a third faster if there are sixteen messages. Fewer messages than lanes take as long as all
//! lanes. AVX-512 is used for its rotations, its functions of three words, and its 32 registers.
//!
//! As in `sha_ni`, the only unsafe lines are the calls into code that is compiled for these CPUs.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_set_epi64x, _mm256_broadcastsi128_si256, _mm256_extract_epi32, _mm256_set_epi32,
    _mm256_set_m128i, _mm256_shuffle_epi8,
};
use std::array::from_fn;

use super::kernel::{ShaBlock, ShaRun};

/// Proof that this CPU has the instructions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx512(());

impl Avx512 {
    /// `None` if the CPU does not have them.
    pub(super) fn detect() -> Option<Self> {
        let has_all = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl");
        has_all.then_some(Self(()))
    }

    /// Hashes `len` blocks of each run. There must be one to eight runs.
    #[expect(clippy::unused_self, reason = "it is the proof")]
    #[expect(unsafe_code, reason = "the compiler cannot know that the CPU has been asked")]
    pub(super) fn compress_eight(self, runs: &mut [ShaRun<'_>], len: usize) {
        // SAFETY: all that `compress` demands is a CPU with the features it is compiled for. An `Avx512` is made
        // nowhere but in `detect`, after the CPU has been found to have each of them, and a CPU does not lose them.
        unsafe { eight::compress(runs, len) }
    }

    /// Hashes `len` blocks of each run. There must be one to sixteen runs.
    #[expect(clippy::unused_self, reason = "it is the proof")]
    #[expect(unsafe_code, reason = "the compiler cannot know that the CPU has been asked")]
    pub(super) fn compress_sixteen(self, runs: &mut [ShaRun<'_>], len: usize) {
        // SAFETY: as above.
        unsafe { sixteen::compress(runs, len) }
    }
}

/// FIPS 180-4, 4.2.1: the constant for each twenty rounds.
const K: [u32; 4] = [0x5a82_7999, 0x6ed9_eba1, 0x8f1b_bcdc, 0xca62_c1d6];

/// FIPS 180-4, 4.1.1: the function `Ch`, as the column of its truth table.
const CHOOSE: i32 = 0b1100_1010;
/// The function `Parity`.
const PARITY: i32 = 0b1001_0110;
/// The function `Maj`.
const MAJORITY: i32 = 0b1110_1000;

/// Rounds of one of the four kinds. They are written out, because only then do all words stay in registers.
macro_rules! rounds {
    ($sums:ident, $words:ident, $phase:literal: $($nth:literal)*) => {
        $($sums = round::<$phase>($sums, scheduled::<$nth>(&mut $words));)*
    };
}

/// Generates the kernel. The module that uses it defines the vector type `Words` of `LANES` words and its instructions.
macro_rules! kernel {
    () => {
        use std::array::from_fn;

        use super::{CHOOSE, K, MAJORITY, PARITY};
        use crate::storage::sha1_lanes::kernel::{ShaBlock, ShaRun, ShaState};

        /// The hash states of all messages.
        type Sums = [Words; 5];

        /// Hashes `len` blocks of each run. Lanes without a run repeat the last run, and their result is not used.
        #[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl")]
        pub(super) fn compress(runs: &mut [ShaRun<'_>], len: usize) {
            let last = runs.len() - 1;
            let blocks: [&[ShaBlock]; LANES] = from_fn(|lane| &runs[lane.min(last)].blocks[..len]);
            let states: [ShaState; LANES] = from_fn(|lane| *runs[lane.min(last)].state);
            let mut sums: Sums = from_fn(|word| join(states.map(|state| state[word])));
            for nth in 0..len {
                sums = compress_one(sums, blocks.map(|blocks| &blocks[nth]));
            }
            let words = sums.map(|words| split(words));
            for (lane, run) in runs.iter_mut().enumerate() {
                *run.state = words.map(|words| words[lane]);
            }
        }

        /// Makes all 80 rounds for one block of each message.
        #[inline]
        #[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl")]
        fn compress_one(before: Sums, blocks: [&ShaBlock; LANES]) -> Sums {
            let mut words = load(blocks);
            let mut sums = before;
            rounds!(sums, words, 0: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19);
            rounds!(sums, words, 1: 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39);
            rounds!(sums, words, 2: 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59);
            rounds!(sums, words, 3: 60 61 62 63 64 65 66 67 68 69 70 71 72 73 74 75 76 77 78 79);
            from_fn(|nth| add(before[nth], sums[nth]))
        }

        /// The word of a round: one of the block's sixteen words, and after those a new word that replaces the oldest.
        #[inline]
        #[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl")]
        fn scheduled<const NTH: usize>(words: &mut [Words; 16]) -> Words {
            if NTH >= 16 {
                let [a, b, c] = [3, 8, 14].map(|back| words[(NTH - back) % 16]);
                words[NTH % 16] = rotate::<1>(xor(of_three::<PARITY>(a, b, c), words[NTH % 16]));
            }
            words[NTH % 16]
        }

        /// Makes one round. `PHASE` is the number of its group of twenty rounds.
        #[inline]
        #[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl")]
        fn round<const PHASE: usize>([a, b, c, d, e]: Sums, word: Words) -> Sums {
            let mixed = match PHASE {
                0 => of_three::<CHOOSE>(b, c, d),
                2 => of_three::<MAJORITY>(b, c, d),
                _ => of_three::<PARITY>(b, c, d),
            };
            let rest = add(e, add(repeat(K[PHASE].cast_signed()), word));
            [add(add(rotate::<5>(a), mixed), rest), a, rotate::<30>(b), c, d]
        }

        /// The sixteen words of each message's block. Groups of four words are transposed from rows to columns.
        #[inline]
        #[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl")]
        fn load(blocks: [&ShaBlock; LANES]) -> [Words; 16] {
            let mut words = [repeat(0); 16];
            for (nth, columns) in words.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                let [r0, r1, r2, r3] = from_fn(|lane| rows(&blocks, lane, nth));
                let (low01, high01) = (low_words(r0, r1), high_words(r0, r1));
                let (low23, high23) = (low_words(r2, r3), high_words(r2, r3));
                *columns = [
                    low_pairs(low01, low23),
                    high_pairs(low01, low23),
                    low_pairs(high01, high23),
                    high_pairs(high01, high23),
                ];
            }
            words
        }
    };
}

pub(super) mod eight;
pub(super) mod sixteen;

/// The `nth` four words of two blocks.
#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl")]
fn two_rows(low: &ShaBlock, high: &ShaBlock, nth: usize) -> __m256i {
    let big_endian = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    let both = _mm256_set_m128i(row(high, nth), row(low, nth));
    _mm256_shuffle_epi8(both, _mm256_broadcastsi128_si256(big_endian))
}

/// The `nth` four words of a block, as bytes.
#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl")]
fn row(block: &ShaBlock, nth: usize) -> __m128i {
    let half = |at: usize| i64::from_le_bytes(from_fn(|byte| block[nth * 16 + at + byte]));
    _mm_set_epi64x(half(8), half(0))
}

/// A vector of eight words.
#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl")]
fn join_eight(words: [u32; 8]) -> __m256i {
    let words = words.map(u32::cast_signed);
    _mm256_set_epi32(words[7], words[6], words[5], words[4], words[3], words[2], words[1], words[0])
}

/// The eight words of a vector.
#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl")]
fn split_eight(words: __m256i) -> [u32; 8] {
    let words = [
        _mm256_extract_epi32::<0>(words),
        _mm256_extract_epi32::<1>(words),
        _mm256_extract_epi32::<2>(words),
        _mm256_extract_epi32::<3>(words),
        _mm256_extract_epi32::<4>(words),
        _mm256_extract_epi32::<5>(words),
        _mm256_extract_epi32::<6>(words),
        _mm256_extract_epi32::<7>(words),
    ];
    words.map(i32::cast_unsigned)
}

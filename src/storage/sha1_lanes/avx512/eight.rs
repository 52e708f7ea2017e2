//! The kernel for eight messages in vectors of 256 bits.

use std::arch::x86_64::{
    __m256i as Words, _mm256_add_epi32 as add, _mm256_rol_epi32 as rotate, _mm256_set1_epi32 as repeat,
    _mm256_ternarylogic_epi32 as of_three, _mm256_unpackhi_epi32 as high_words, _mm256_unpackhi_epi64 as high_pairs,
    _mm256_unpacklo_epi32 as low_words, _mm256_unpacklo_epi64 as low_pairs, _mm256_xor_si256 as xor,
};

use super::{join_eight as join, split_eight as split, two_rows};

/// The number of messages in a vector.
pub(in crate::storage::sha1_lanes) const LANES: usize = 8;

kernel!();

/// The `nth` four words of the blocks of a lane and of the fourth lane after it.
#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl")]
fn rows(blocks: &[&ShaBlock; LANES], lane: usize, nth: usize) -> Words {
    two_rows(blocks[lane], blocks[lane + 4], nth)
}

//! The kernel for sixteen messages in vectors of 512 bits.

use std::arch::x86_64::{
    __m512i as Words, _mm512_add_epi32 as add, _mm512_castsi256_si512, _mm512_extracti64x4_epi64, _mm512_inserti64x4,
    _mm512_rol_epi32 as rotate, _mm512_set1_epi32 as repeat, _mm512_ternarylogic_epi32 as of_three,
    _mm512_unpackhi_epi32 as high_words, _mm512_unpackhi_epi64 as high_pairs, _mm512_unpacklo_epi32 as low_words,
    _mm512_unpacklo_epi64 as low_pairs, _mm512_xor_si512 as xor,
};

use super::{join_eight, split_eight, two_rows};

/// The number of messages in a vector.
pub(in crate::storage::sha1_lanes) const LANES: usize = 16;

kernel!();

/// The `nth` four words of the blocks of a lane and of every fourth lane after it.
#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl")]
fn rows(blocks: &[&ShaBlock; LANES], lane: usize, nth: usize) -> Words {
    let low = two_rows(blocks[lane], blocks[lane + 4], nth);
    let high = two_rows(blocks[lane + 8], blocks[lane + 12], nth);
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
}

/// A vector of sixteen words.
#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl")]
fn join(words: [u32; LANES]) -> Words {
    let [low, high] = [0, 8].map(|half| join_eight(from_fn(|nth| words[half + nth])));
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
}

/// The sixteen words of a vector.
#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl")]
fn split(words: Words) -> [u32; LANES] {
    let low = split_eight(_mm512_extracti64x4_epi64::<0>(words));
    let high = split_eight(_mm512_extracti64x4_epi64::<1>(words));
    from_fn(|lane| if lane < 8 { low[lane] } else { high[lane - 8] })
}

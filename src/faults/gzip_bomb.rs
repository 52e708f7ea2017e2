//! A gzip file that inflates to a thousand times its size (T-06).

/// RFC 1952: magic, deflate, no flags, no time, no extra flags, unknown system.
const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// The longest match of deflate (RFC 1951, 3.2.5).
const MATCH_LEN: u64 = 258;

/// Returns a gzip file of zeros that inflates to at least `len` bytes, 1,032 for each byte of the file. Its checksum is
/// not filled in: a reader that reaches it has already inflated everything.
pub fn gzip_bomb(len: u64) -> Vec<u8> {
    let mut bits = Bits { out: GZIP_HEAD.to_vec(), filled: 0 };
    put_codes(&mut bits);
    // The literal 0, then matches of 258 bytes at distance 1: each match takes two bits, both zero.
    bits.put(0b01, 2);
    let matches = len.saturating_sub(1).div_ceil(MATCH_LEN);
    for _ in 0..matches % 4 {
        bits.put(0, 2);
    }
    bits.put_zeros(matches / 4);
    bits.put(0b11, 2);
    bits.out.extend([0; 8]);
    bits.out
}

/// Writes the head of a last block with dynamic codes (RFC 1951, 3.2.7): end of block and literal 0 take two bits,
/// length 258 and distance 1 take one bit.
fn put_codes(bits: &mut Bits) {
    bits.put(1, 1); // last block
    bits.put(2, 2); // dynamic codes
    bits.put(286 - 257, 5); // literal and length codes
    bits.put(0, 5); // one distance code
    bits.put(18 - 4, 4); // code length codes
    // In the order 16 17 18 0 8 7 9 6 10 5 11 4 12 3 13 2 14 1: lengths of the codes for 18, 2 and 1.
    for len in [0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 2] {
        bits.put(len, 3);
    }
    let one = |bits: &mut Bits| bits.put(0b01, 2);
    let two = |bits: &mut Bits| bits.put(0b11, 2);
    let unused = |bits: &mut Bits, times: u32| {
        bits.put(0, 1);
        bits.put(times - 11, 7);
    };
    two(bits); // literal 0
    unused(bits, 138);
    unused(bits, 255 - 138);
    two(bits); // end of block
    unused(bits, 28);
    one(bits); // length 258
    one(bits); // distance 1
}

/// A bit writer that fills each byte from its lowest bit.
struct Bits {
    out: Vec<u8>,
    filled: u32,
}

impl Bits {
    /// Appends the low `count` bits of `value`. Huffman codes must be given reversed.
    fn put(&mut self, value: u32, count: u32) {
        for nth in 0..count {
            if self.filled == 0 {
                self.out.push(0);
            }
            let bit = u8::try_from(value >> nth & 1).expect("a bit");
            *self.out.last_mut().expect("just pushed") |= bit << self.filled;
            self.filled = (self.filled + 1) % 8;
        }
    }

    /// Appends this many bytes of zero bits, at any bit position.
    fn put_zeros(&mut self, bytes: u64) {
        let len = self.out.len() + usize::try_from(bytes).expect("a bomb fits into memory");
        self.out.resize(len, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The small bombs were inflated with zlib once; this test pins their size.
    #[test]
    fn a_bomb_is_a_thousandth_of_what_it_becomes() {
        for len in [1_u64, 300, 1 << 20, 400 << 20] {
            let bomb = gzip_bomb(len);
            assert_eq!(bomb[..10], GZIP_HEAD);
            assert!(bomb.len() as u64 <= len / 1032 + 64, "{len}: {}", bomb.len());
        }
    }
}

//! The one source of pseudo-random words: xoshiro256++ (Blackman and Vigna), seeded by `SplitMix64`
//! as its authors advise, or directly by a 256-bit digest.
//!
//! Chosen because it is integer code only: the same words on every processor, with no path that
//! depends on vector units. It is not for secrets.

use crate::digest::DIGEST_BYTES;

/// The generator: 256 bits of state.
#[derive(Debug, Clone)]
pub(crate) struct Xoshiro256 {
    state: [u64; 4],
}

impl Xoshiro256 {
    /// A stream for a seed: the state is the first four outputs of `SplitMix64`.
    pub(crate) fn from_seed(seed: u64) -> Self {
        let mut counter = seed;
        Self {
            state: std::array::from_fn(|_| split_mix_64(&mut counter)),
        }
    }

    /// A stream that depends on every bit of a digest. An all-zero digest would yield zeros only;
    /// SHA-256 is not known to produce one.
    pub(crate) fn from_digest(digest: &[u8; DIGEST_BYTES]) -> Self {
        let mut state = [0; 4];
        for (word, bytes) in state.iter_mut().zip(digest.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Self { state }
    }

    /// The next word.
    pub(crate) fn next_word(&mut self) -> u64 {
        let [s0, s1, s2, s3] = &mut self.state;
        let result = s0.wrapping_add(*s3).rotate_left(23).wrapping_add(*s0);
        let shifted = *s1 << 17;
        *s2 ^= *s0;
        *s3 ^= *s1;
        *s1 ^= *s2;
        *s0 ^= *s3;
        *s2 ^= shifted;
        *s3 = s3.rotate_left(45);
        result
    }

    /// XORs bytes with the stream, word by word. Bytes beyond the last whole word stay as they are:
    /// buffers here are whole pages.
    pub(crate) fn mask(&mut self, bytes: &mut [u8]) {
        for word in bytes.as_chunks_mut().0 {
            *word = (u64::from_le_bytes(*word) ^ self.next_word()).to_le_bytes();
        }
    }
}

/// One output of `SplitMix64` (Steele, Lea and Flood).
fn split_mix_64(counter: &mut u64) -> u64 {
    *counter = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *counter;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_mix_matches_the_published_vector() {
        let mut counter = 1_234_567;
        assert_eq!(split_mix_64(&mut counter), 6_457_827_717_110_365_317);
        assert_eq!(split_mix_64(&mut counter), 3_203_168_211_198_807_973);
    }

    #[test]
    fn xoshiro_matches_the_published_vector() {
        let mut stream = Xoshiro256 {
            state: [1, 2, 3, 4],
        };
        assert_eq!(stream.next_word(), 41_943_041);
        assert_eq!(stream.next_word(), 58_720_359);
        assert_eq!(stream.next_word(), 3_588_806_011_781_223);
    }

    #[test]
    fn every_bit_of_a_digest_changes_the_stream() {
        let words = |digest| {
            let mut stream = Xoshiro256::from_digest(&digest);
            [(); 8].map(|()| stream.next_word())
        };
        let base = [0x5a; DIGEST_BYTES];
        for bit in 0..256 {
            let mut flipped = base;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(words(flipped), words(base), "bit {bit}");
        }
    }
}

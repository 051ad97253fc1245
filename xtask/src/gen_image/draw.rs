//! Numbers from a seed, the same on every machine.

/// SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Debug, Clone)]
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 if that is 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub(crate) fn one<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let words = (0..count.div_ceil(8)).flat_map(|_| self.next().to_le_bytes());
        words.take(count).collect()
    }

    /// A size, log-normal: half of all are smaller than `median`. The normal variable is a sum of
    /// twelve uniform ones.
    pub(crate) fn size(&mut self, median: f64, sigma: f64, least: usize, most: usize) -> usize {
        let uniform = |draw: &mut Self| (draw.next() >> 11) as f64 / (1u64 << 53) as f64;
        let normal: f64 = (0..12).map(|_| uniform(self)).sum::<f64>() - 6.0;
        let size = median * (sigma * normal).exp();
        (size as usize).clamp(least, most)
    }

    /// Takes one of `values` away, at random.
    pub(crate) fn take<T>(&mut self, values: &mut Vec<T>) -> Option<T> {
        match values.len() {
            0 => None,
            count => Some(values.swap_remove(self.below(count))),
        }
    }
}

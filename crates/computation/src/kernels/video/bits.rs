//! A stream of bits, most significant first, and the Exp-Golomb codes of H.264 (9.1) in it.
//!
//! A writer that is full drops what follows, and a reader past the end reads zeros: a wrong length
//! is a result, never a panic.

/// Zeros before a code's first one at most; a longer run is no code, and reads as 0.
const ZEROS_MAX: u32 = 31;

/// Writes into a buffer of fixed length.
pub(super) struct Writer<'a> {
    bytes: &'a mut [u8],
    bits: usize,
}

impl<'a> Writer<'a> {
    /// The buffer must hold zeros.
    pub(super) const fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, bits: 0 }
    }

    /// Bytes begun so far.
    pub(super) const fn bytes_written(&self) -> usize {
        self.bits.div_ceil(8)
    }

    fn bit(&mut self, bit: u64) {
        if let Some(byte) = self.bytes.get_mut(self.bits / 8) {
            *byte |= ((bit & 1) as u8) << (7 - self.bits % 8);
            self.bits += 1;
        }
    }

    /// ue(v): as many zeros as the binary form of `value` + 1 has bits less one, then that form.
    pub(super) fn unsigned(&mut self, value: u32) {
        let code = u64::from(value) + 1;
        let zeros = code.ilog2();
        (0..zeros).for_each(|_| self.bit(0));
        (0..=zeros).rev().for_each(|at| self.bit(code >> at));
    }

    /// se(v): 0, 1, -1, 2, -2 … as 0, 1, 2, 3, 4 …
    pub(super) fn signed(&mut self, value: i32) {
        let twice = value.unsigned_abs().wrapping_mul(2);
        self.unsigned(twice.wrapping_sub(u32::from(value > 0)));
    }
}

/// Reads what a [`Writer`] wrote.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    bits: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, bits: 0 }
    }

    fn bit(&mut self) -> u64 {
        let byte = self.bytes.get(self.bits / 8).copied().unwrap_or(0);
        let bit = byte >> (7 - self.bits % 8) & 1;
        self.bits += 1;
        u64::from(bit)
    }

    pub(super) fn unsigned(&mut self) -> u32 {
        let mut zeros = 0;
        while self.bit() == 0 {
            zeros += 1;
            if zeros > ZEROS_MAX {
                return 0;
            }
        }
        let code = (0..zeros).fold(1_u64, |code, _| code << 1 | self.bit());
        // At most 2^32 - 1, less one.
        (code - 1) as u32
    }

    pub(super) fn signed(&mut self) -> i32 {
        let code = self.unsigned();
        let magnitude = (code / 2 + code % 2) as i32;
        if code % 2 == 1 { magnitude } else { -magnitude }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn codes_are_those_of_the_standard() {
        // Table 9-2: 0 is 1, 1 is 010, 2 is 011, 3 is 00100.
        let mut bytes = [0; 2];
        let mut writer = Writer::new(&mut bytes);
        (0..4).for_each(|value| writer.unsigned(value));
        assert_eq!(writer.bytes_written(), 2);
        assert_eq!(bytes, [0b1010_0110, 0b0100_0000]);
    }

    proptest! {
        #[test]
        fn a_reader_reads_what_a_writer_wrote(values: Vec<(u32, i16)>) {
            let mut bytes = vec![0; values.len() * 16];
            let mut writer = Writer::new(&mut bytes);
            for (unsigned, signed) in &values {
                writer.unsigned(unsigned % (1 << 31));
                writer.signed(i32::from(*signed));
            }
            let mut reader = Reader::new(&bytes);
            for (unsigned, signed) in values {
                prop_assert_eq!(reader.unsigned(), unsigned % (1 << 31));
                prop_assert_eq!(reader.signed(), i32::from(signed));
            }
        }

        #[test]
        fn any_bytes_are_read_and_what_does_not_fit_is_dropped(mut bytes: [u8; 8], value: u32) {
            let mut reader = Reader::new(&bytes);
            (0..80).for_each(|_| { reader.signed(); });
            let mut writer = Writer::new(&mut bytes);
            (0..80).for_each(|_| writer.unsigned(value));
            prop_assert_eq!(writer.bytes_written(), 8);
        }
    }
}

//! Numbers as they are written down: unsigned LEB128, so that small ones are short.

/// The most bytes of a number of 64 bits.
const MAX_BYTES: usize = 10;

/// Appends a number.
pub(crate) fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

/// Bytes that are taken from the front.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taker<'a>(&'a [u8]);

impl<'a> Taker<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) const fn left(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn array<const BYTES: usize>(&mut self) -> Option<[u8; BYTES]> {
        self.bytes(BYTES)?.try_into().ok()
    }

    /// A number; none that is longer than it needs to be, so that equal content has one form.
    pub(crate) fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for index in 0..MAX_BYTES {
            let [byte] = self.array::<1>()?;
            let part = u64::from(byte & 0x7f);
            let shift = u32::try_from(index).ok()?.checked_mul(7)?;
            let shifted = part.checked_shl(shift)?;
            if shifted.checked_shr(shift)? != part {
                return None;
            }
            number |= shifted;
            if byte & 0x80 == 0 {
                return (byte != 0 || index == 0).then_some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(number in any::<u64>(), small in 0_u64..300) {
            for number in [number, small] {
                let mut bytes = Vec::new();
                put_number(&mut bytes, number);
                let mut taker = Taker::new(&bytes);
                prop_assert_eq!(taker.number(), Some(number));
                prop_assert!(taker.is_empty());
            }
        }

        #[test]
        fn what_is_read_has_one_form(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let mut taker = Taker::new(&bytes);
            if let Some(number) = taker.number() {
                let mut again = Vec::new();
                put_number(&mut again, number);
                prop_assert!(bytes.starts_with(&again));
                prop_assert_eq!(taker.0.len(), bytes.len() - again.len());
            }
        }
    }

    #[test]
    fn long_and_cut_numbers_are_none() {
        for bytes in [
            &[0x80, 0x00][..],
            &[0x80],
            &[],
            &[0xff; 11],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
        ] {
            assert_eq!(Taker::new(bytes).number(), None, "{bytes:?}");
        }
    }
}

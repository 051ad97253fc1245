//! Numbers out of bytes that nobody vouches for.
//!
//! Every access is checked: a field that lies past the end is [`Short`], never a panic and never a
//! made-up zero.

/// A structure ends before one of its fields does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the structure ends after {bytes} bytes, before its field at byte {field}")]
pub struct Short {
    /// Where the field starts, from the start of the structure.
    pub field: usize,
    /// How many bytes there are.
    pub bytes: usize,
}

/// The bytes of one structure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    /// `bytes` bytes at `field`.
    pub(crate) fn part(self, field: usize, bytes: usize) -> Result<&'a [u8], Short> {
        let end = field.checked_add(bytes);
        let part = end.and_then(|end| self.0.get(field..end));
        part.ok_or(Short {
            field,
            bytes: self.0.len(),
        })
    }

    /// `N` bytes at `field`.
    pub(crate) fn array<const N: usize>(self, field: usize) -> Result<[u8; N], Short> {
        let part = self.part(field, N)?;
        part.try_into().map_err(|_| Short {
            field,
            bytes: self.0.len(),
        })
    }

    pub(crate) fn byte(self, field: usize) -> Result<u8, Short> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    pub(crate) fn be16(self, field: usize) -> Result<u16, Short> {
        self.array(field).map(u16::from_be_bytes)
    }

    pub(crate) fn be32(self, field: usize) -> Result<u32, Short> {
        self.array(field).map(u32::from_be_bytes)
    }

    pub(crate) fn be64(self, field: usize) -> Result<u64, Short> {
        self.array(field).map(u64::from_be_bytes)
    }

    pub(crate) fn le16(self, field: usize) -> Result<u16, Short> {
        self.array(field).map(u16::from_le_bytes)
    }

    pub(crate) fn le32(self, field: usize) -> Result<u32, Short> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(crate) fn le64(self, field: usize) -> Result<u64, Short> {
        self.array(field).map(u64::from_le_bytes)
    }
}

/// A number as a size in memory. What does not fit becomes the greatest, which no check lets pass.
pub(crate) fn saturate(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Text out of an image: what is not UTF-8 is replaced. For people and for names to be looked up by
/// the caller; never opened here.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `2^bits`; none from 64 on.
pub(crate) fn power_of_two(bits: u32) -> Option<u64> {
    1u64.checked_shl(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_both_orders_and_never_past_the_end() {
        let fields = Fields(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(fields.be16(0), Ok(0x0102));
        assert_eq!(fields.be32(1), Ok(0x0203_0405));
        assert_eq!(fields.le16(0), Ok(0x0201));
        assert_eq!(fields.le32(1), Ok(0x0504_0302));
        assert_eq!(fields.le64(1), Ok(0x0908_0706_0504_0302));
        assert_eq!(fields.be64(1), Ok(0x0203_0405_0607_0809));
        assert_eq!(fields.byte(8), Ok(9));
        assert_eq!(fields.byte(9), Err(Short { field: 9, bytes: 9 }));
        assert_eq!(fields.be64(2), Err(Short { field: 2, bytes: 9 }));
        assert!(fields.part(usize::MAX, 2).is_err());
    }
}

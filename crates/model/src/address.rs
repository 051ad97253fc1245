//! Guest addresses and page numbers: one type each, printed as `0x…`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

/// Bytes in a page of x86-64 memory.
pub const PAGE_BYTES: usize = 4096;

/// Reads `0x…` as hexadecimal and anything else as decimal.
///
/// # Errors
/// The text is not a number of at most 64 bits.
pub fn parse_u64(text: &str) -> Result<u64, ParseIntError> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16),
        None => text.parse(),
    }
}

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseIntError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse_u64(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

address!(
    /// A byte's address in the guest's physical memory.
    GuestPhysicalAddress
);
address!(
    /// A byte's address as the guest's processor sees it through its page tables.
    GuestVirtualAddress
);

/// The number of a 4 KiB page of guest-physical memory: its address divided by [`PAGE_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PageNumber(pub u64);

impl PageNumber {
    /// The page that holds an address.
    #[must_use]
    pub const fn of(address: GuestPhysicalAddress) -> Self {
        Self(address.0 / PAGE_BYTES as u64)
    }

    /// The address of the page's first byte.
    #[must_use]
    pub const fn address(self) -> GuestPhysicalAddress {
        GuestPhysicalAddress(self.0.wrapping_mul(PAGE_BYTES as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_what_they_print() {
        let address = GuestPhysicalAddress(0x1f_f008);
        assert_eq!(address.to_string(), "0x1ff008");
        assert_eq!("0x1ff008".parse::<GuestPhysicalAddress>().unwrap(), address);
        assert_eq!(
            "2093064".parse::<GuestPhysicalAddress>().unwrap().0,
            2_093_064
        );
        assert!("0xzz".parse::<GuestPhysicalAddress>().is_err());
    }

    #[test]
    fn a_page_holds_4096_addresses() {
        assert_eq!(PageNumber::of(GuestPhysicalAddress(0x1fff)), PageNumber(1));
        assert_eq!(PageNumber(2).address(), GuestPhysicalAddress(0x2000));
    }
}

//! Where the kernel's image lies in guest-physical memory.
//!
//! An x86-64 Linux that was started with `nokaslr` maps its image at a fixed distance
//! (Documentation/arch/x86/x86_64/mm.rst of Linux):
//!
//! ```text
//! kernel-virtual                              guest-physical
//! 0xffffffff80000000 + p   (image, 1 GiB)  ↔  p
//! ```
//!
//! The map does not look at page tables; whoever makes one knows that the guest runs without
//! address randomisation.

use crate::sections::{IMAGE_RANGE, MAPPING_BASE};
use crate::symbols::SymbolTable;
use std::ops::Range;

/// The kernel's image in guest-physical memory, with its symbols.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelMap {
    symbols: SymbolTable,
}

impl KernelMap {
    /// The map of a guest that runs without address randomisation.
    #[must_use]
    pub const fn new(symbols: SymbolTable) -> Self {
        Self { symbols }
    }

    /// The symbols.
    #[must_use]
    pub const fn symbols(&self) -> &SymbolTable {
        &self.symbols
    }

    /// What lives at a guest-physical address, such as `jiffies_64+0x0`.
    ///
    /// Only addresses inside a section of the image that lasts have a name.
    #[must_use]
    pub fn symbol_at(&self, physical: u64) -> Option<String> {
        let address = Self::image_address(physical)?;
        Some(self.symbols.resolve(address)?.to_string())
    }

    /// The kernel's code, by guest-physical address.
    #[must_use]
    pub fn text_range(&self) -> Option<Range<u64>> {
        let text = self.symbols.text_range()?;
        Some(text.start - MAPPING_BASE..text.end - MAPPING_BASE)
    }

    /// The guest-physical address of a symbol of the image.
    #[must_use]
    pub fn physical_of(&self, name: &str) -> Option<u64> {
        Self::physical_address(self.symbols.address_of(name)?)
    }

    /// The kernel-virtual address of a guest-physical one, in the image's mapping.
    fn image_address(physical: u64) -> Option<u64> {
        let address = MAPPING_BASE.checked_add(physical)?;
        IMAGE_RANGE.contains(&address).then_some(address)
    }

    /// The guest-physical address of a kernel-virtual one, in the image's mapping.
    fn physical_address(address: u64) -> Option<u64> {
        let inside = IMAGE_RANGE.contains(&address);
        inside.then(|| address - IMAGE_RANGE.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIST: &[u8] = b"\
ffffffff81000000 T _text
ffffffff81000000 T _stext
ffffffff81000040 T secondary_startup_64
ffffffff81001000 T _etext
ffffffff82000000 D _sdata
ffffffff82000040 D jiffies_64
ffffffff82001000 D _edata
ffffffff83000000 B _end
";

    fn map() -> KernelMap {
        KernelMap::new(SymbolTable::parse_kallsyms(LIST).unwrap())
    }

    fn check(physical: u64, expected: Option<&str>) {
        assert_eq!(map().symbol_at(physical).as_deref(), expected);
    }

    #[test]
    fn the_image_has_names() {
        check(0x200_0040, Some("jiffies_64+0x0"));
        check(0x100_0fff, Some("secondary_startup_64+0xfbf"));
    }

    #[test]
    fn other_memory_has_none() {
        check(0, None);
        check(0xff_ffff, None);
        check(0x100_1000, None);
        check(0x280_0000, None);
        check(0x4000_0000, None);
        check(u64::MAX, None);
    }

    #[test]
    fn the_text_and_a_symbol_have_physical_addresses() {
        assert_eq!(map().text_range(), Some(0x100_0000..0x100_1000));
        assert_eq!(map().physical_of("jiffies_64"), Some(0x200_0040));
        assert_eq!(map().physical_of("nothing"), None);
    }

    #[test]
    fn only_the_image_has_a_physical_address() {
        let physical = KernelMap::physical_address;
        assert_eq!(physical(0xffff_ffff_8100_0000), Some(0x100_0000));
        assert_eq!(physical(0xffff_ffff_c000_0000), None);
        assert_eq!(physical(0xffff_8880_0100_0000), None);
        assert_eq!(physical(0x1000), None);
    }

    proptest! {
        #[test]
        fn virtual_and_physical_are_inverse(physical in 0_u64..1 << 30) {
            let address = KernelMap::image_address(physical).unwrap();
            prop_assert_eq!(KernelMap::physical_address(address), Some(physical));
        }
    }
}

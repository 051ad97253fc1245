//! The sections of a kernel image that last.
//!
//! An x86-64 image is laid out as follows (arch/x86/kernel/vmlinux.lds.S of Linux); only the
//! sections that are named on the right keep their content after boot:
//!
//! ```text
//! _text _stext … _etext                        text
//! (alignment, given back to the page allocator)
//! __start_rodata … __end_rodata                read-only data
//! (alignment, given back)
//! _sdata … _edata                              data
//! bug table, unwind tables                     no symbol of their own
//! __init_begin … __init_end                    given back once the kernel has booted
//! lock tables, nosave
//! __bss_start … __bss_stop                     bss; from __start_bss_decrypted_unused on, if there is
//!                                              one, given back where memory is not encrypted
//! __brk_base … __brk_limit _end                partly given back
//! ```
//!
//! A page that was given back holds whatever it was allocated for since, so the symbol that the
//! linker placed there would be a lie.

use std::ops::Range;

/// The kernel-virtual address at which guest-physical address 0 is mapped in the image's mapping
/// (`__START_KERNEL_map`).
pub const MAPPING_BASE: u64 = 0xffff_ffff_8000_0000;

/// The mapping of the image: 1 GiB, behind which the modules lie.
pub(crate) const IMAGE_RANGE: Range<u64> = MAPPING_BASE..0xffff_ffff_c000_0000;

/// Which of the lasting sections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SectionKind {
    /// Code.
    Text,
    /// Constants.
    ReadOnlyData,
    /// Variables with an initial value.
    Data,
    /// Variables that start as zeros.
    Bss,
}

/// A lasting section, by kernel-virtual address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Which one.
    pub kind: SectionKind,
    /// Its addresses.
    pub range: Range<u64>,
}

/// The symbols that bound each lasting section.
const BOUNDS: [(SectionKind, &str, &str); 4] = [
    (SectionKind::Text, "_stext", "_etext"),
    (SectionKind::ReadOnlyData, "__start_rodata", "__end_rodata"),
    (SectionKind::Data, "_sdata", "_edata"),
    (SectionKind::Bss, "__bss_start", "__bss_stop"),
];

/// The part of the bss that the kernel gives back where its memory is not encrypted.
const UNUSED: &str = "__start_bss_decrypted_unused";

/// Symbols that mark a place and name nothing that lives there. Where another symbol has the same
/// address, that one is the name.
const MARKS: [&str; 16] = [
    "_text",
    "_stext",
    "_etext",
    "__start_rodata",
    "__end_rodata",
    "_sdata",
    "_edata",
    "__bss_start",
    "__bss_stop",
    "__init_begin",
    "__init_end",
    "__brk_base",
    "__brk_limit",
    "_end",
    "__nosave_begin",
    "__nosave_end",
];

/// Whether a symbol only marks a place.
pub(crate) fn is_mark(name: &str) -> bool {
    MARKS.contains(&name)
}

/// The lasting sections of an image whose symbols `address_of` knows. A section whose bounds are
/// missing, empty or outside `image` is left out.
pub(crate) fn lasting(
    address_of: impl Fn(&str) -> Option<u64>,
    image: &Range<u64>,
) -> Vec<Section> {
    BOUNDS
        .iter()
        .filter_map(|&(kind, start, end)| {
            let mut range = address_of(start)?..address_of(end)?;
            if let Some(unused) = address_of(UNUSED)
                && range.contains(&unused)
            {
                range.end = unused;
            }
            let inside = image.start <= range.start && range.end <= image.end;
            (inside && !range.is_empty()).then_some(Section { kind, range })
        })
        .collect()
}

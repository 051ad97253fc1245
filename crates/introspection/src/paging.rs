//! x86-64 page tables, from a root as the register CR3 holds it.
//!
//! ```text
//! level  maps with one entry   a table maps
//!   5    256 TiB (tables only)     128 PiB     where the guest has five levels
//!   4    512 GiB (tables only)     256 TiB
//!   3      1 GiB, or a table       512 GiB
//!   2      2 MiB, or a table         1 GiB
//!   1      4 KiB                     2 MiB
//!
//! entry  63 no execute … 51–12 frame … 7 huge · 2 user · 1 writable · 0 present
//! ```
//!
//! Tables come from a guest and may point anywhere, also at themselves: the depth is fixed, and a
//! walk over all of them looks at a limited number.

use crate::memory::{PAGE, PhysicalMemory, read_u64};
use std::ops::Range;
use thiserror::Error;

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const HUGE: u64 = 1 << 7;

/// The frame's address in an entry.
const FRAME: u64 = 0x000f_ffff_ffff_f000;

/// Entries of a table.
const ENTRIES: u64 = 512;

/// The most tables that one walk looks at: what maps 256 GiB in pages of 4 KiB.
pub const MAX_TABLES: usize = 131_072;

/// Why an address has no translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WalkError {
    /// The upper bits do not repeat the sign.
    #[error("translate {address:#x}: it is not canonical")]
    NotCanonical {
        /// The virtual address.
        address: u64,
    },
    /// An entry is not present.
    #[error("translate {address:#x}: it is not mapped at level {level}")]
    NotMapped {
        /// The virtual address.
        address: u64,
        /// The level of the entry.
        level: u8,
    },
    /// A table does not lie in the memory.
    #[error("translate {address:#x}: the table of level {level} lies outside the memory")]
    OutsideMemory {
        /// The virtual address.
        address: u64,
        /// The level of the table.
        level: u8,
    },
}

/// Where an address leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Translation {
    /// The guest-physical address.
    pub physical: u64,
    /// Bytes of the page: 4 KiB, 2 MiB or 1 GiB.
    pub page_bytes: u64,
    /// Whether programs may use the page.
    pub user: bool,
    /// Whether it may be written, by all levels of tables.
    pub writable: bool,
}

/// One mapped page, or one table on the way to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visit {
    /// A table.
    Table {
        /// Where it lies.
        physical: u64,
        /// Its level.
        level: u8,
        /// The first virtual address that it maps; 0 for the topmost.
        address: u64,
    },
    /// A page.
    Leaf {
        /// Its first virtual address.
        address: u64,
        /// Where it leads.
        translation: Translation,
    },
}

/// Which half of an address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// The lower half: programs.
    User,
    /// The upper half: the kernel.
    Kernel,
}

/// A tree of page tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressSpace {
    root: u64,
    levels: u8,
}

impl AddressSpace {
    /// The tables at a root, such as the value of CR3; `five_levels` as bit 12 of CR4 says.
    #[must_use]
    pub const fn new(cr3: u64, five_levels: bool) -> Self {
        Self {
            root: cr3 & FRAME,
            levels: if five_levels { 5 } else { 4 },
        }
    }

    /// Tables of the same number of levels at another root.
    #[must_use]
    pub const fn with_root(&self, root: u64) -> Self {
        Self {
            root: root & FRAME,
            levels: self.levels,
        }
    }

    /// Whether there are five levels.
    #[must_use]
    pub const fn has_five_levels(&self) -> bool {
        self.levels == 5
    }

    /// Where the topmost table lies.
    #[must_use]
    pub const fn root(&self) -> u64 {
        self.root
    }

    /// Whether the address repeats the sign in its upper bits.
    #[must_use]
    pub const fn is_canonical(&self, address: u64) -> bool {
        let unused = 64 - (12 + 9 * self.levels as u32);
        ((address << unused) as i64 >> unused) as u64 == address
    }

    /// The first virtual address that an entry of a table maps, and how many bytes it maps; the
    /// table has this level, and maps from this address on.
    #[must_use]
    pub const fn entry(&self, level: u8, table_address: u64, entry: u64) -> (u64, u64) {
        let address = entry_address(self.levels, level, table_address, entry);
        (address, 1 << shift(level))
    }

    /// Where a virtual address leads.
    ///
    /// # Errors
    /// It is not canonical, not mapped, or a table does not lie in the memory.
    pub fn translate(
        &self,
        memory: &dyn PhysicalMemory,
        address: u64,
    ) -> Result<Translation, WalkError> {
        if !self.is_canonical(address) {
            return Err(WalkError::NotCanonical { address });
        }
        let mut table = self.root;
        let mut flags = USER | WRITABLE;
        for level in (1..=self.levels).rev() {
            let index = address >> shift(level) & (ENTRIES - 1);
            let entry = read_u64(memory, table + index * 8)
                .ok_or(WalkError::OutsideMemory { address, level })?;
            if entry & PRESENT == 0 {
                return Err(WalkError::NotMapped { address, level });
            }
            flags &= entry;
            if is_leaf(entry, level) {
                return Ok(translation(entry, level, flags, address));
            }
            table = entry & FRAME;
        }
        Err(WalkError::NotMapped { address, level: 1 })
    }

    /// Calls back for every table and page of a half, in the order of addresses, for at most
    /// `tables` tables. Gives how many it looked at; more than that where some were left out.
    pub fn visit(
        &self,
        memory: &dyn PhysicalMemory,
        half: Half,
        tables: usize,
        visitor: &mut dyn FnMut(Visit),
    ) -> usize {
        let entries = match half {
            Half::User => 0..ENTRIES / 2,
            Half::Kernel => ENTRIES / 2..ENTRIES,
        };
        let mut walk = Walk {
            memory,
            visitor,
            levels: self.levels,
            most: tables,
            tables: 0,
        };
        walk.table(
            Place {
                table: self.root,
                level: self.levels,
                address: 0,
                flags: USER | WRITABLE,
            },
            entries,
        );
        walk.tables
    }
}

/// A table on the way of a walk.
#[derive(Clone, Copy)]
struct Place {
    table: u64,
    level: u8,
    address: u64,
    flags: u64,
}

struct Walk<'a> {
    memory: &'a dyn PhysicalMemory,
    visitor: &'a mut dyn FnMut(Visit),
    levels: u8,
    most: usize,
    tables: usize,
}

impl Walk<'_> {
    /// Goes through entries of a table; recursion ends with the levels.
    fn table(&mut self, place: Place, entries: Range<u64>) {
        self.tables += 1;
        let Some(page) = self.memory.page(place.table / PAGE) else {
            return;
        };
        if self.tables > self.most {
            return;
        }
        (self.visitor)(Visit::Table {
            physical: place.table,
            level: place.level,
            address: place.address,
        });
        let words = page.as_chunks::<8>().0;
        for index in entries {
            let word = usize::try_from(index).ok().and_then(|at| words.get(at));
            let entry = word.map_or(0, |word| u64::from_le_bytes(*word));
            if entry & PRESENT != 0 && self.tables <= self.most {
                self.entry(place, index, entry);
            }
        }
    }

    fn entry(&mut self, place: Place, index: u64, entry: u64) {
        let address = entry_address(self.levels, place.level, place.address, index);
        let flags = place.flags & entry;
        if is_leaf(entry, place.level) {
            let translation = translation(entry, place.level, flags, address);
            (self.visitor)(Visit::Leaf {
                address,
                translation,
            });
        } else if place.level > 1 {
            let next = Place {
                table: entry & FRAME,
                level: place.level - 1,
                address,
                flags,
            };
            self.table(next, 0..ENTRIES);
        }
    }
}

/// The first address that an entry of a table maps.
const fn entry_address(levels: u8, level: u8, table_address: u64, entry: u64) -> u64 {
    let address = table_address | entry << shift(level);
    if level == levels {
        sign_extended(address, level)
    } else {
        address
    }
}

/// The lowest bit of an address that a level decides.
const fn shift(level: u8) -> u32 {
    12 + 9 * (level as u32 - 1)
}

const fn sign_extended(address: u64, level: u8) -> u64 {
    let unused = 64 - (shift(level) + 9);
    ((address << unused) as i64 >> unused) as u64
}

const fn is_leaf(entry: u64, level: u8) -> bool {
    level == 1 || (level <= 3 && entry & HUGE != 0)
}

const fn translation(entry: u64, level: u8, flags: u64, address: u64) -> Translation {
    let page_bytes = 1 << shift(level);
    let inside = page_bytes - 1;
    Translation {
        physical: entry & FRAME & !inside | address & inside,
        page_bytes,
        user: flags & USER != 0,
        writable: flags & WRITABLE != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryImage;
    use model::PAGE_BYTES;
    use proptest::prelude::*;

    /// Memory of 16 pages: the root in page 1, and tables behind it.
    struct Tables(Vec<u8>);

    impl Tables {
        fn new() -> Self {
            Self(vec![0; 16 * PAGE_BYTES])
        }

        fn set(&mut self, table: usize, index: usize, entry: u64) {
            let at = table * PAGE_BYTES + index * 8;
            self.0[at..at + 8].copy_from_slice(&entry.to_le_bytes());
        }

        fn space() -> AddressSpace {
            AddressSpace::new(0x1000, false)
        }
    }

    fn mapped() -> Tables {
        let mut tables = Tables::new();
        tables.set(1, 0, 0x2007);
        tables.set(2, 1, 0x3007);
        tables.set(3, 2, 0x4005);
        tables.set(4, 3, 0x8000_0000_0000_5007);
        tables.set(3, 4, 0x60_0083);
        tables.set(1, 511, 0x6003);
        tables.set(6, 510, 0x4000_1083);
        tables
    }

    fn check(address: u64, expected: Result<(u64, u64, bool, bool), WalkError>) {
        let found = Tables::space().translate(&MemoryImage(&mapped().0), address);
        let found = found.map(|one| (one.physical, one.page_bytes, one.user, one.writable));
        assert_eq!(found, expected);
    }

    #[test]
    fn pages_of_all_sizes_translate() {
        check(0x4040_3abc, Ok((0x5abc, 4096, true, false)));
        check(0x4092_3456, Ok((0x72_3456, 2 << 20, false, true)));
        check(
            0xffff_ffff_8012_3456,
            Ok((0x4012_3456, 1 << 30, false, true)),
        );
    }

    #[test]
    fn what_is_not_mapped_says_why() {
        let address = 0x4040_4000;
        check(address, Err(WalkError::NotMapped { address, level: 1 }));
        let address = 0x8000_0000_0000;
        check(address, Err(WalkError::NotCanonical { address }));
        let space = AddressSpace::new(0x10_0000, false);
        let outside = space.translate(&MemoryImage(&mapped().0), 0);
        assert_eq!(
            outside,
            Err(WalkError::OutsideMemory {
                address: 0,
                level: 4
            })
        );
    }

    #[test]
    fn a_visit_finds_what_translates() {
        let tables = mapped();
        let mut leaves = Vec::new();
        let mut levels = Vec::new();
        let memory = &MemoryImage(&tables.0);
        for half in [Half::User, Half::Kernel] {
            let whole = Tables::space().visit(memory, half, MAX_TABLES, &mut |visit| match visit {
                Visit::Leaf {
                    address,
                    translation,
                } => leaves.push((address, translation)),
                Visit::Table { level, .. } => levels.push(level),
            });
            assert!(whole <= MAX_TABLES);
        }
        let addresses: Vec<u64> = leaves.iter().map(|leaf| leaf.0).collect();
        assert_eq!(addresses, [0x4040_3000, 0x4080_0000, 0xffff_ffff_8000_0000]);
        assert_eq!(levels, [4, 3, 2, 1, 4, 3]);
        for (address, translation) in leaves {
            assert_eq!(Tables::space().translate(memory, address), Ok(translation));
        }
    }

    #[test]
    fn five_levels_reach_further() {
        let mut tables = Tables::new();
        tables.set(1, 1, 0x2003);
        tables.set(2, 0, 0x3003);
        tables.set(3, 0, 0x83);
        let space = AddressSpace::new(0x1000, true);
        let memory = &MemoryImage(&tables.0);
        let address = 1 << 48;
        assert_eq!(
            space.translate(memory, address | 5).map(|one| one.physical),
            Ok(5)
        );
        let mut seen = Vec::new();
        space.visit(memory, Half::User, MAX_TABLES, &mut |visit| {
            if let Visit::Leaf { address, .. } = visit {
                seen.push(address);
            }
        });
        assert_eq!(seen, [address]);
    }

    #[test]
    fn tables_that_point_at_themselves_end() {
        let mut tables = Tables::new();
        for index in 0..512 {
            tables.set(1, index, 0x1003);
        }
        let mut visited = 0_usize;
        let whole = Tables::space().visit(
            &MemoryImage(&tables.0),
            Half::User,
            MAX_TABLES,
            &mut |visit| {
                visited += usize::from(matches!(visit, Visit::Table { .. }));
            },
        );
        assert!(whole > MAX_TABLES);
        assert_eq!(visited, MAX_TABLES);
    }

    proptest! {
        #[test]
        fn any_tables_are_survived(
            words in prop::collection::vec(any::<u64>(), 1024),
            address: u64,
            root in 0_u64..0x4000,
            five: bool,
        ) {
            let bytes: Vec<u8> = words.iter().flat_map(|word| (word & 0x8000_0000_0000_1fff).to_le_bytes()).collect();
            let space = AddressSpace::new(root, five);
            if let Ok(found) = space.translate(&MemoryImage(&bytes), address) {
                prop_assert_eq!(found.physical % found.page_bytes, address % found.page_bytes);
            }
            prop_assert!(space.translate(&MemoryImage(&bytes[..0]), address).is_err());
        }
    }
}

//! A Linux kernel in captured memory: where it lies, its symbols, its types, its page tables.
//!
//! ```text
//! symbols (found by content) ─► address of linux_banner ─► its text, 2 MiB apart ─► image's place
//!        └► init_top_pgt ─► page tables ─► any kernel-virtual address
//!        └► __start_BTF … __stop_BTF ─► types ─► layouts
//! ```
//!
//! Nothing is taken from the host, and nothing is assumed about where the kernel was loaded: the
//! image's place follows from its banner and is checked against the page tables.

use crate::btf::{Btf, BtfError, MAX_BTF_BYTES};
use crate::kallsyms::{self, Kallsyms, KallsymsError};
use crate::layout::Layouts;
use crate::memory::{self, PAGE, PhysicalMemory, printable, read_bytes};
use crate::paging::AddressSpace;
use crate::symbols::SymbolTable;
use std::fmt;
use std::ops::Range;
use thiserror::Error;

/// What every kernel's banner begins with.
const BANNER: &[u8] = b"Linux version ";

/// A kernel is loaded at a multiple of this.
const ALIGNMENT: u64 = 2 << 20;

/// The longest list in the kernel that is followed.
pub(crate) const MAX_LIST: usize = 65_536;

/// Why memory could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KernelError {
    /// The kernel's symbols are not known.
    #[error(transparent)]
    Symbols(#[from] KallsymsError),
    /// The kernel's types are not known.
    #[error(transparent)]
    Types(#[from] BtfError),
    /// A symbol is missing that all else hangs on.
    #[error("read the kernel: it has no symbol `{name}`")]
    NoSymbol {
        /// Which.
        name: &'static str,
    },
    /// The image was not found, or the page tables say something else.
    #[error("read the kernel: its image is not where its page tables say")]
    NoImage,
    /// A variable does not lie in the memory.
    #[error("read the kernel: `{name}` cannot be read")]
    Unreadable {
        /// Which.
        name: &'static str,
    },
}

/// A kernel in captured memory.
pub struct GuestKernel<'m> {
    memory: &'m dyn PhysicalMemory,
    space: AddressSpace,
    kallsyms: Kallsyms,
    image: SymbolTable,
    /// What is added to a guest-physical address to get that of the image's mapping.
    image_base: u64,
    /// The addresses of the whole image: kept, since every frame is held against it.
    image_range: Range<u64>,
    layouts: Layouts,
    btf: Btf,
}

impl fmt::Debug for GuestKernel<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestKernel")
            .field("space", &self.space)
            .field("symbols", &self.kallsyms.symbols.len())
            .finish_non_exhaustive()
    }
}

impl<'m> GuestKernel<'m> {
    /// Finds the kernel in memory.
    ///
    /// # Errors
    /// There is none, or it does not say enough of itself.
    pub fn find(memory: &'m dyn PhysicalMemory) -> Result<Self, KernelError> {
        let kallsyms = kallsyms::find(memory)?;
        let symbol = |name: &'static str| {
            kallsyms
                .address_of(name)
                .ok_or(KernelError::NoSymbol { name })
        };
        let (banner, tables) = (symbol("linux_banner")?, symbol("init_top_pgt")?);
        let (types, types_end) = (symbol("__start_BTF")?, symbol("__stop_BTF")?);
        let (space, image_base) = places(memory, banner)
            .find_map(|place| {
                let base = banner.wrapping_sub(place);
                let root = tables.wrapping_sub(base);
                let space = [false, true].map(|five| AddressSpace::new(root, five));
                let leads = |space: &AddressSpace| {
                    let found = space.translate(memory, banner);
                    found.is_ok_and(|found| found.physical == place)
                };
                Some((space.into_iter().find(leads)?, base))
            })
            .ok_or(KernelError::NoImage)?;
        let length = types_end.saturating_sub(types);
        let blob = read_bytes(
            memory,
            types.wrapping_sub(image_base),
            length.min(MAX_BTF_BYTES as u64),
        );
        let name = "__start_BTF";
        let btf = Btf::parse(blob.ok_or(KernelError::Unreadable { name })?)?;
        let edge = |name| kallsyms.address_of(name).unwrap_or(0);
        Ok(Self {
            memory,
            space,
            image_range: edge("_text")..edge("_end"),
            image: SymbolTable::from_kallsyms(&kallsyms),
            kallsyms,
            image_base,
            layouts: Layouts::of(&btf),
            btf,
        })
    }

    /// The memory that the kernel lies in.
    #[must_use]
    pub fn memory(&self) -> &'m dyn PhysicalMemory {
        self.memory
    }

    /// The kernel's own page tables.
    #[must_use]
    pub const fn space(&self) -> AddressSpace {
        self.space
    }

    /// All its symbols.
    #[must_use]
    pub const fn kallsyms(&self) -> &Kallsyms {
        &self.kallsyms
    }

    /// The symbols of its image.
    #[must_use]
    pub const fn image(&self) -> &SymbolTable {
        &self.image
    }

    /// The types that it describes.
    #[must_use]
    pub const fn btf(&self) -> &Btf {
        &self.btf
    }

    /// The address in the image's mapping of a guest-physical address.
    #[must_use]
    pub const fn image_address(&self, physical: u64) -> u64 {
        physical.wrapping_add(self.image_base)
    }

    /// The addresses of the whole image, with what lies between its sections.
    pub(crate) const fn image_range(&self) -> &Range<u64> {
        &self.image_range
    }

    pub(crate) const fn layouts(&self) -> &Layouts {
        &self.layouts
    }

    /// Fills `into` from a kernel-virtual address.
    pub(crate) fn read(&self, address: u64, into: &mut [u8]) -> Option<()> {
        let mut at = address;
        let mut rest = into;
        while !rest.is_empty() {
            let left = usize::try_from(PAGE - at % PAGE).ok()?;
            let (now, later) = rest.split_at_mut(left.min(rest.len()));
            let found = self.space.translate(self.memory, at).ok()?;
            memory::read(self.memory, found.physical, now)?;
            at = at.checked_add(now.len() as u64)?;
            rest = later;
        }
        Some(())
    }

    /// A number of 64 bits at a kernel-virtual address.
    #[must_use]
    pub fn u64(&self, address: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Some(u64::from_le_bytes(bytes))
    }

    pub(crate) fn u32(&self, address: u64) -> Option<u32> {
        let mut bytes = [0; 4];
        self.read(address, &mut bytes)?;
        Some(u32::from_le_bytes(bytes))
    }

    /// Text that ends with 0, in printable ASCII.
    pub(crate) fn text(&self, address: u64, limit: usize) -> Option<String> {
        let mut bytes = vec![0; limit];
        // Text at the end of what is mapped is shorter than the limit.
        let left = usize::try_from(PAGE - address % PAGE).ok()?;
        if self.read(address, &mut bytes).is_none() {
            bytes.truncate(left.min(limit));
            self.read(address, &mut bytes)?;
        }
        Some(printable(&bytes, limit))
    }

    /// A variable of the kernel that holds an address.
    pub(crate) fn variable(&self, name: &'static str) -> Option<u64> {
        self.u64(self.kallsyms.address_of(name)?)
    }

    /// The guest-physical address of a kernel-virtual one.
    #[must_use]
    pub fn physical(&self, address: u64) -> Option<u64> {
        let found = self.space.translate(self.memory, address);
        found.ok().map(|found| found.physical)
    }
}

/// Where the banner's text lies that may be the kernel's own.
fn places(memory: &dyn PhysicalMemory, banner: u64) -> impl Iterator<Item = u64> {
    let end = memory.pages().saturating_mul(PAGE);
    let step = usize::try_from(ALIGNMENT).unwrap_or(usize::MAX);
    let places = (banner % ALIGNMENT..end).step_by(step);
    places.filter(move |place| {
        let mut found = [0; BANNER.len()];
        memory::read(memory, *place, &mut found).is_some() && found == *BANNER
    })
}

//! The kernel's records of page frames: one `struct page` for each, at `vmemmap_base`.
//!
//! ```text
//! flags      slab, reserved, …
//! refcount   0: nobody uses the frame, unless it is the tail of a larger piece: of a compound one,
//!            or of one that is only known by the count of its first frame
//! page_type  a bit that is clear says what the frame is: bit 7 a free block of the buddy allocator
//! compound   bit 0 set: the address of the head's record, plus 1
//! list       of the first page of a free block, and of a free page that a CPU keeps for itself
//! mapping    bits 0–1 clear: the address_space whose content it is; bit 0: memory of a process
//! ```

use crate::kernel::GuestKernel;
use crate::layout::PageLayout;

/// These bits of `page_type` are set where it is one.
const PAGE_TYPE_BASE: u32 = 0xf000_0000;

/// Clear in `page_type` of the first page of a free block.
const BUDDY: u32 = 0x80;

/// The highest order of a free block that is believed.
const MAX_ORDER: u64 = 20;

/// Bits of `mapping` that are not address.
const MAPPING_FLAGS: u64 = 3;

/// The mapping is of a process, not of a file.
const ANONYMOUS: u64 = 1;

/// Frames of the largest piece that the kernel hands out (`MAX_ORDER`, 4 MiB).
pub(crate) const MAX_PIECE_FRAMES: u64 = 1024;

/// The longest name of a cache, in bytes.
const MAX_CACHE_NAME_BYTES: usize = 64;

/// What the record of a frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// In a free block of the buddy allocator, of this order where the frame is its first.
    Free(Option<u64>),
    Reserved,
    Slab(SlabPage),
    /// An `address_space`, and the page's number in it.
    File {
        address_space: u64,
        index: u64,
    },
    Anonymous,
    /// In use; the frames of the piece before this one.
    Kernel {
        into: u64,
    },
}

/// A page of a cache of equal objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SlabPage {
    pub(crate) cache: String,
    /// Where its `kmem_cache` lies.
    pub(crate) cache_address: u64,
    /// The record of the slab's first page.
    pub(crate) record: u64,
    pub(crate) object_bytes: u64,
    /// Frames of the slab before this one.
    pub(crate) into: u64,
}

/// The records of frames.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frames {
    base: u64,
    layout: PageLayout,
}

impl Frames {
    pub(crate) fn of(kernel: &GuestKernel<'_>) -> Option<Self> {
        Some(Self {
            base: kernel.variable("vmemmap_base")?,
            layout: *kernel.layouts().page.as_ref().ok()?,
        })
    }

    /// The frame, and the offset in its record, of an address within the records.
    pub(crate) fn record_at(&self, address: u64) -> Option<(u64, u64)> {
        let into = address.checked_sub(self.base)?;
        Some((
            into.checked_div(self.layout.bytes)?,
            into.checked_rem(self.layout.bytes)?,
        ))
    }

    /// What a frame is.
    pub(crate) fn frame(&self, kernel: &GuestKernel<'_>, number: u64) -> Option<Frame> {
        let own = self.record(number)?;
        let compound = kernel.u64(own.wrapping_add(self.layout.compound_head))?;
        let head = if compound & 1 == 1 { compound - 1 } else { own };
        let head_number = self.record_at(head)?.0;
        let into = number.checked_sub(head_number)?;
        let of = |offset: u64| kernel.u64(head.wrapping_add(offset));
        let flags = of(self.layout.flags)?;
        let has = |flag: u32| flags.checked_shr(flag).is_some_and(|bits| bits & 1 == 1);
        if has(self.layout.slab_flag) {
            return self.slab(kernel, head, into).map(Frame::Slab);
        }
        if has(self.layout.reserved_flag) {
            return Some(Frame::Reserved);
        }
        if let Some(free) = self.free(kernel, number, head) {
            return Some(free);
        }
        let mapping = of(self.layout.mapping)?;
        Some(match mapping & MAPPING_FLAGS {
            0 if mapping != 0 => Frame::File {
                address_space: mapping,
                index: of(self.layout.index)?.wrapping_add(into),
            },
            flags if flags & ANONYMOUS != 0 => Frame::Anonymous,
            _ => Frame::Kernel { into },
        })
    }

    fn record(&self, number: u64) -> Option<u64> {
        self.base
            .checked_add(number.checked_mul(self.layout.bytes)?)
    }

    /// A frame that nobody uses, or that only its piece's first frame counts.
    fn free(&self, kernel: &GuestKernel<'_>, number: u64, head: u64) -> Option<Frame> {
        if self.is_free_block(kernel, head)? {
            let order = kernel.u64(head.wrapping_add(self.layout.private))?;
            return Some(Frame::Free((order <= MAX_ORDER).then_some(order)));
        }
        if self.references(kernel, head)? > 0 {
            return None;
        }
        Some(match self.frames_before(kernel, number) {
            Some(into) => Frame::Kernel { into },
            None => Frame::Free(None),
        })
    }

    /// How many frames of its piece lie before this one, which nobody counts by itself.
    fn frames_before(&self, kernel: &GuestKernel<'_>, number: u64) -> Option<u64> {
        let record = self.record(number)?;
        if self.is_listed(kernel, record) {
            return None;
        }
        for into in 1..MAX_PIECE_FRAMES.min(number + 1) {
            let head = self.record(number - into)?;
            if self.is_free_block(kernel, head)? || self.is_listed(kernel, head) {
                return None;
            }
            if self.references(kernel, head)? > 0 {
                // A piece of 2^n frames begins at a multiple of 2^n.
                let room = 1 << (number - into).trailing_zeros().min(63);
                let plain = matches!(
                    self.frame(kernel, number - into)?,
                    Frame::Kernel { into: 0 }
                );
                return (plain && into < room).then_some(into);
            }
        }
        None
    }

    fn references(&self, kernel: &GuestKernel<'_>, record: u64) -> Option<u32> {
        kernel.u32(record.wrapping_add(self.layout.refcount))
    }

    fn is_free_block(&self, kernel: &GuestKernel<'_>, head: u64) -> Option<bool> {
        let page_type = kernel.u32(head.wrapping_add(self.layout.page_type))?;
        Some(page_type & (PAGE_TYPE_BASE | BUDDY) == PAGE_TYPE_BASE)
    }

    /// Whether this record has neighbours in a list, which point back to it. One that was never in a
    /// list points to itself.
    fn is_listed(&self, kernel: &GuestKernel<'_>, record: u64) -> bool {
        let own = record.wrapping_add(self.layout.list);
        let at = |address: u64| kernel.u64(address);
        let (next, previous) = (at(own), at(own.wrapping_add(8)));
        let back = next.and_then(|next| at(next.wrapping_add(8)));
        next != Some(own) && back == Some(own) && previous.and_then(at) == Some(own)
    }

    fn slab(&self, kernel: &GuestKernel<'_>, head: u64, into: u64) -> Option<SlabPage> {
        let cache = kernel.u64(head.wrapping_add(self.layout.slab_cache))?;
        let name = kernel.u64(cache.wrapping_add(self.layout.cache_name))?;
        Some(SlabPage {
            cache: kernel.text(name, MAX_CACHE_NAME_BYTES)?,
            cache_address: cache,
            record: head,
            object_bytes: u64::from(kernel.u32(cache.wrapping_add(self.layout.cache_size))?),
            into,
        })
    }
}

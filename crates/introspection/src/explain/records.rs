//! What the record of a frame says, and where it says little, the kernel's tables and lists.

use super::{Introspection, at};
use crate::file::name_of_cached;
use crate::frames::Frame;
use crate::memory::PAGE;
use model::{Basis, Explanation, FilePlace, GuestVirtualAddress, OwnerKind};

/// A function further than this before an address did not call from there.
const MAX_FUNCTION_BYTES: u64 = 64 << 10;

impl Introspection<'_> {
    pub(super) fn recorded(&self, number: u64, into: u64) -> Option<Explanation> {
        let frame = self
            .frames
            .and_then(|frames| frames.frame(&self.kernel, number));
        let known = match &frame {
            Some(Frame::Slab(slab)) => return Some(self.slab(slab, number, into)),
            Some(Frame::Free(order)) => return Some(free(*order)),
            Some(Frame::File {
                address_space,
                index,
            }) => self.cached(*address_space, *index, into),
            Some(Frame::Anonymous) => Some(Explanation {
                basis: Some(Basis::Frame),
                ..Explanation::new(
                    OwnerKind::Process,
                    "memory of a process, not mapped now".to_owned(),
                )
            }),
            _ => None,
        };
        known
            .or_else(|| self.mapped(number, into))
            .or_else(|| match frame? {
                Frame::Reserved => Some(self.reserved(number, into)),
                Frame::Kernel { into: pages } => {
                    let offset = pages * PAGE + into;
                    let owner = format!("pages that the kernel allocated + {offset:#x}");
                    let found = self.pointed(number, into, OwnerKind::Kernel, owner);
                    Some(self.typed_pages(found, number - pages, offset))
                }
                _ => None,
            })
    }

    fn cached(&self, address_space: u64, index: u64, into: u64) -> Option<Explanation> {
        let place = self.file_place(address_space, index, into)?;
        let owner = format!("cached content of {} + {:#x}", place.path, place.offset);
        Some(Explanation {
            file: Some(place),
            basis: Some(Basis::File),
            ..Explanation::new(OwnerKind::PageCache, owner)
        })
    }

    /// The byte of a file that is cached at an offset of a page.
    pub(super) fn file_place(
        &self,
        address_space: u64,
        index: u64,
        into: u64,
    ) -> Option<FilePlace> {
        Some(FilePlace {
            path: name_of_cached(&self.kernel, address_space)?,
            offset: index.checked_mul(PAGE)?.checked_add(into)?,
        })
    }

    /// Kernel memory with an address besides the direct map.
    fn mapped(&self, number: u64, into: u64) -> Option<Explanation> {
        let page = *self.reverse.kernel.get(&number)?;
        let address = page.checked_add(into)?;
        if let Some(area) = self.reverse.area_at(address) {
            let caller = area.caller.and_then(|caller| self.function(caller));
            let whose = caller.map_or_else(String::new, |caller| format!(" of {caller}"));
            let owner = format!("mapped area{whose} + {:#x}", address - area.start);
            return Some(Explanation {
                virtual_address: at(page, into),
                basis: Some(Basis::Area),
                ..Explanation::new(OwnerKind::Vmalloc, owner)
            });
        }
        self.frame_record(address)
    }

    /// The record of a page frame: of a slab's first page it is a `slab`, of any other a `page`.
    fn frame_record(&self, address: u64) -> Option<Explanation> {
        let (frame, offset) = self.frames?.record_at(address)?;
        let pages = self.kernel.memory().pages();
        if frame >= pages.next_multiple_of(1 << 15) {
            return None;
        }
        let mut found = Explanation {
            virtual_address: Some(GuestVirtualAddress(address)),
            basis: Some(Basis::FrameRecord),
            ..Explanation::new(
                OwnerKind::MemoryMap,
                format!("record of page frame {frame:#x} + {offset:#x}"),
            )
        };
        let of = self.frames.and_then(|all| all.frame(&self.kernel, frame));
        let structure = match of {
            Some(Frame::Slab(slab)) if slab.into == 0 => "slab",
            _ => "page",
        };
        if let Some(type_id) = self.kernel.btf().structure_named(structure) {
            self.describe_type(&mut found, type_id, offset);
        }
        Some(found)
    }

    /// Memory that was set aside at boot, with the place in the image where it lies in that.
    fn reserved(&self, number: u64, into: u64) -> Explanation {
        let address = self.kernel.image_address(number * PAGE + into);
        if self.kernel.image_range().contains(&address) {
            if let Some(table) = self.kernel.image().table(address) {
                return Explanation {
                    symbol: Some(table.to_string()),
                    virtual_address: Some(GuestVirtualAddress(address)),
                    basis: Some(Basis::Symbol),
                    ..Explanation::new(OwnerKind::KernelImage, "kernel image, a table".to_owned())
                };
            }
            let before = self.kernel.image().nearest(address);
            let before = before.map_or_else(String::new, |before| format!(", behind {before}"));
            return Explanation {
                basis: Some(Basis::Frame),
                ..Explanation::new(OwnerKind::KernelImage, format!("kernel image{before}"))
            };
        }
        let owner = "memory that was set aside at boot".to_owned();
        self.pointed(number, into, OwnerKind::Reserved, owner)
    }

    /// Whole pages, with the variable that points to them where there is one.
    fn pointed(&self, number: u64, into: u64, kind: OwnerKind, owner: String) -> Explanation {
        let symbol = self.pointer(number, into);
        let basis = match symbol {
            Some(_) => Basis::Pointer,
            None => Basis::Frame,
        };
        Explanation {
            symbol,
            basis: Some(basis),
            ..Explanation::new(kind, owner)
        }
    }

    /// Adds the type of pages, where pointers of known types lead to the first of them.
    fn typed_pages(&self, mut found: Explanation, first: u64, offset: u64) -> Explanation {
        let base = self.kernel.variable("page_offset_base");
        let start = base.map(|base| base.wrapping_add(first.wrapping_mul(PAGE)));
        let reached = start.and_then(|start| self.typed().at(start));
        if let Some(reached) = reached.filter(|one| one.votes > one.against) {
            self.describe_type(&mut found, reached.type_id, offset);
            if found.type_name.is_some() {
                found.basis = Some(Basis::ReachedObject);
            }
        }
        found
    }

    fn function(&self, address: u64) -> Option<&str> {
        let symbol = self.kernel.image().resolve(address)?;
        (symbol.offset < MAX_FUNCTION_BYTES).then_some(symbol.name)
    }
}

fn free(order: Option<u64>) -> Explanation {
    let owner = match order {
        Some(order) => format!("free, first of 2^{order} pages"),
        None => "free".to_owned(),
    };
    Explanation {
        basis: Some(Basis::Frame),
        ..Explanation::new(OwnerKind::Free, owner)
    }
}

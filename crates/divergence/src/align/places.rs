//! What alignment asks of a machine's memory: where pages stand, and what they are called. Asked of
//! [`Introspection`]; in tests of memory that was made up.

use introspection::{Introspection, KernelObject, Nowhere, Page, Standing};
use model::PAGE_BYTES;
use std::ops::Range;

const PAGE: u64 = PAGE_BYTES as u64;

/// A machine's memory, understood.
pub trait Places {
    /// How much memory there is.
    fn memory_bytes(&self) -> u64;

    /// The page in a frame.
    fn page(&self, frame: u64) -> Option<&Page>;

    /// Where the page in a frame stands.
    ///
    /// # Errors
    /// It stands nowhere.
    fn standing(&self, frame: u64) -> Result<Standing, Nowhere>;

    /// The frame that holds a page.
    fn frame_of(&self, standing: Standing) -> Option<u64>;

    /// The name of a process.
    fn process_name(&self, process: u32) -> Option<&str>;

    /// The mapping of a process that an address lies in: its addresses and its name.
    fn mapping(&self, process: u32, address: u64) -> Option<(Range<u64>, &str)>;

    /// The variable of the kernel's image at an address, and how far into it.
    fn image_variable(&self, address: u64) -> Option<(&str, u64)>;

    /// The variable of a CPU's area at an offset, and how far into it.
    fn cpu_variable(&self, offset: u64) -> Option<(&str, u64)>;

    /// Objects of the kernel that are the same ones in all machines.
    fn objects(&self) -> Vec<KernelObject>;

    /// Their bytes.
    fn object_bytes(&self, object: &KernelObject) -> Option<Vec<u8>>;

    /// The guest-physical address of a kernel-virtual one.
    fn physical(&self, address: u64) -> Option<u64>;

    /// The guest-physical address of an address of a process.
    fn user_physical(&self, process: u32, address: u64) -> Option<u64> {
        let page = address / PAGE * PAGE;
        let standing = Standing::User {
            process,
            address: page,
        };
        Some(self.frame_of(standing)? * PAGE + address % PAGE)
    }

    /// Fills `into` from an address of a process. What is not mapped reads as zeros, as it does to a
    /// program that touches memory for the first time.
    fn read_user(&self, process: u32, address: u64, into: &mut [u8]) {
        into.fill(0);
        let (mut at, mut rest) = (address, into);
        while !rest.is_empty() {
            let left = usize::try_from(PAGE - at % PAGE).unwrap_or(1);
            let (now, later) = rest.split_at_mut(left.min(rest.len()));
            let found = self.user_physical(process, at);
            let page = found.and_then(|physical| self.page(physical / PAGE));
            let from = page.and_then(|page| page.get(usize::try_from(at % PAGE).ok()?..));
            for (to, from) in now.iter_mut().zip(from.unwrap_or_default()) {
                *to = *from;
            }
            let Some(next) = at.checked_add(now.len() as u64) else {
                return;
            };
            at = next;
            rest = later;
        }
    }

    /// The frames that an object of the kernel lies in.
    fn frames_of(&self, object: &KernelObject) -> Vec<u64> {
        let end = object.address.saturating_add(object.bytes);
        let pages = (object.address / PAGE..end.div_ceil(PAGE)).map(|page| page * PAGE);
        let frames = pages.filter_map(|page| Some(self.physical(page)? / PAGE));
        frames.collect()
    }
}

impl Places for Introspection<'_> {
    fn memory_bytes(&self) -> u64 {
        self.kernel().memory().pages().saturating_mul(PAGE)
    }

    fn page(&self, frame: u64) -> Option<&Page> {
        self.kernel().memory().page(frame)
    }

    fn standing(&self, frame: u64) -> Result<Standing, Nowhere> {
        Introspection::standing(self, frame)
    }

    fn frame_of(&self, standing: Standing) -> Option<u64> {
        Introspection::frame_of(self, standing)
    }

    fn process_name(&self, process: u32) -> Option<&str> {
        Introspection::process_name(self, process)
    }

    fn mapping(&self, process: u32, address: u64) -> Option<(Range<u64>, &str)> {
        let mapping = self.mapping_at(process, address)?;
        Some((mapping.start..mapping.end, &mapping.name))
    }

    fn image_variable(&self, address: u64) -> Option<(&str, u64)> {
        Introspection::image_variable(self, address)
    }

    fn cpu_variable(&self, offset: u64) -> Option<(&str, u64)> {
        Introspection::cpu_variable(self, offset)
    }

    fn objects(&self) -> Vec<KernelObject> {
        Introspection::objects(self)
    }

    fn object_bytes(&self, object: &KernelObject) -> Option<Vec<u8>> {
        Introspection::object_bytes(self, object)
    }

    fn physical(&self, address: u64) -> Option<u64> {
        self.kernel().physical(address)
    }
}

//! Of what type the kernel's variables and objects are.
//!
//! ```text
//! roots     per-CPU variables, whose types the kernel describes; variables that every kernel has;
//!           objects in use of caches that are made for one structure
//! walk      each pointer of a known type that leads to the start of an object of a cache of any
//!           kind, of a variable of the image, or of pages that the kernel allocated, is a vote for
//!           what lies there
//! ```
//!
//! What gets the most votes is the type. A structure that is much smaller than the object is no
//! candidate: what begins with a common part (a list, a `kobject`) is pointed to as that part. The
//! walk is bounded, and every address that it follows may lie anywhere.

use crate::btf::TypeId;
use crate::frames::{Frame, Frames};
use crate::kernel::GuestKernel;
use crate::memory::{PAGE, u64_at};
use crate::sections::SectionKind;
use crate::slab::{Cache, Caches, Slab, cpu_bases};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;

/// Variables of the image whose type every kernel of the last years shares, as its sources declare
/// them; the kernel describes the types of per-CPU variables only.
pub(crate) const ROOTS: [(&str, &str); 24] = [
    ("cgrp_dfl_root", "cgroup_root"),
    ("contig_page_data", "pglist_data"),
    ("init_cred", "cred"),
    ("init_css_set", "css_set"),
    ("init_files", "files_struct"),
    ("init_fs", "fs_struct"),
    ("init_ipc_ns", "ipc_namespace"),
    ("init_mm", "mm_struct"),
    ("init_net", "net"),
    ("init_nsproxy", "nsproxy"),
    ("init_pid_ns", "pid_namespace"),
    ("init_sighand", "sighand_struct"),
    ("init_signals", "signal_struct"),
    ("init_struct_pid", "pid"),
    ("init_task", "task_struct"),
    ("init_user_ns", "user_namespace"),
    ("init_uts_ns", "uts_namespace"),
    ("iomem_resource", "resource"),
    ("ioport_resource", "resource"),
    ("platform_bus", "device"),
    ("platform_bus_type", "bus_type"),
    ("root_task_group", "task_group"),
    ("root_user", "user_struct"),
    ("boot_cpu_data", "cpuinfo_x86"),
];

/// The most frames whose slabs are looked at: a machine of 16 GiB.
const MAX_FRAMES: u64 = 4 << 20;

/// The most variables and objects that are walked.
const MAX_WALKED: usize = 1 << 20;

/// Types that are tried for one address.
const MAX_CANDIDATES: usize = 8;

/// The sizes of the kernel's caches of memory of any kind; an object that fits into a smaller one
/// is in that one.
const SIZES: [u64; 13] = [
    8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192,
];

/// What sizes of objects are rounded up to, before those of nearly one size share a cache: a word, or
/// a part of a line of the processor's cache that they fill more than half.
const ROUNDINGS: [u64; 4] = [8, 16, 32, 64];

/// What variables of the image are aligned to at most, in bytes; where pages are not.
const VARIABLE_ALIGNMENT: u64 = 64;

/// The largest structure whose pointers are read at once.
const MAX_READ_BYTES: u64 = 64 << 10;

/// A type that was found for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) type_id: TypeId,
    /// Pointers that say so.
    pub(crate) votes: u32,
    /// Pointers that say something else.
    pub(crate) against: u32,
}

/// Types by address: of variables of the image, and of objects.
#[derive(Debug, Default)]
pub(crate) struct Typed {
    reached: HashMap<u64, Vec<(TypeId, u32)>>,
    roots: HashMap<u64, TypeId>,
}

/// What the walk goes through.
struct Walk<'a, 'm> {
    kernel: &'a GuestKernel<'m>,
    frames: Frames,
    /// Where the direct map begins.
    base: u64,
    caches: &'a Caches,
    /// By the address of their first byte.
    slabs: BTreeMap<u64, (u64, Slab)>,
    pointers: HashMap<TypeId, Rc<[(u64, TypeId)]>>,
    queue: VecDeque<(u64, TypeId)>,
    walked: usize,
    typed: Typed,
    cpu_variables: &'a CpuVariables,
}

/// The per-CPU variables whose type is described: by offset their type, and their size in bytes.
pub(crate) type CpuVariables = BTreeMap<u64, (TypeId, u64)>;

/// Finds them: the kernel describes them by name.
pub(crate) fn cpu_variables(kernel: &GuestKernel<'_>) -> CpuVariables {
    let Some(end) = kernel.kallsyms().address_of("__per_cpu_end") else {
        return CpuVariables::new();
    };
    let symbols = kernel.kallsyms().symbols.iter();
    let by_name: HashMap<&str, u64> = symbols
        .filter(|symbol| symbol.address < end)
        .map(|symbol| (&*symbol.name, symbol.address))
        .collect();
    let variables = kernel.btf().variables().into_iter();
    variables
        .filter_map(|one| {
            let offset = by_name.get(one.name.as_str())?;
            Some((*offset, (one.type_id, one.bytes)))
        })
        .collect()
}

impl Typed {
    pub(crate) fn of(
        kernel: &GuestKernel<'_>,
        frames: Frames,
        caches: &Caches,
        cpu_variables: &CpuVariables,
    ) -> Self {
        let Some(base) = kernel.variable("page_offset_base") else {
            return Self::default();
        };
        let mut walk = Walk {
            kernel,
            frames,
            base,
            caches,
            slabs: slabs(kernel, frames, caches, base),
            pointers: HashMap::new(),
            queue: VecDeque::new(),
            walked: 0,
            typed: Self::default(),
            cpu_variables,
        };
        walk.begin();
        while let Some((address, type_id)) = walk.queue.pop_front() {
            walk.follow(address, type_id);
        }
        walk.typed
    }

    /// The type of what begins at an address: a variable of the image, or an object.
    pub(crate) fn at(&self, address: u64) -> Option<Reached> {
        if let Some(type_id) = self.roots.get(&address) {
            return Some(Reached {
                type_id: *type_id,
                votes: u32::MAX,
                against: 0,
            });
        }
        let candidates = self.reached.get(&address)?;
        let (type_id, votes) = *candidates.iter().max_by_key(|(_, votes)| *votes)?;
        let all: u32 = candidates.iter().map(|(_, votes)| *votes).sum();
        Some(Reached {
            type_id,
            votes,
            against: all.saturating_sub(votes),
        })
    }
}

/// The slabs of all frames.
fn slabs(
    kernel: &GuestKernel<'_>,
    frames: Frames,
    caches: &Caches,
    base: u64,
) -> BTreeMap<u64, (u64, Slab)> {
    let mut slabs = BTreeMap::new();
    for number in 0..kernel.memory().pages().min(MAX_FRAMES) {
        if let Some(Frame::Slab(page)) = frames.frame(kernel, number)
            && page.into == 0
            && let Some(cache) = caches.at(page.cache_address)
        {
            let start = base.wrapping_add(number.wrapping_mul(PAGE));
            let slab = cache.slab(kernel, page.record, start);
            slabs.extend(slab.map(|slab| (start, (page.cache_address, slab))));
        }
    }
    slabs
}

impl Walk<'_, '_> {
    /// Puts what is known to begin with into the queue.
    fn begin(&mut self) {
        let btf = self.kernel.btf();
        for (symbol, structure) in ROOTS {
            let address = self.kernel.kallsyms().address_of(symbol);
            if let (Some(address), Some(id)) = (address, btf.structure_named(structure))
                && self.fits_variable(address, id)
            {
                self.typed.roots.insert(address, id);
                self.queue.push_back((address, id));
            }
        }
        for base in cpu_bases(self.kernel) {
            let variables = self.cpu_variables.iter();
            let of_cpu = variables.map(|(offset, (id, _))| (base.wrapping_add(*offset), *id));
            self.queue.extend(of_cpu);
        }
        for (address, slab) in self.slabs.values() {
            let Some(cache) = self.caches.at(*address) else {
                continue;
            };
            if let Some(type_id) = cache.type_id.filter(|_| !cache.is_shared) {
                let objects = cache.in_use(slab).into_iter();
                self.queue.extend(objects.map(|object| (object, type_id)));
            }
        }
    }

    /// Follows the pointers of what lies at an address.
    fn follow(&mut self, address: u64, type_id: TypeId) {
        self.walked += 1;
        if self.walked > MAX_WALKED {
            return;
        }
        let kernel = self.kernel;
        let pointers = self.pointers.entry(type_id);
        let pointers = pointers.or_insert_with(|| kernel.btf().pointers(type_id).into());
        let pointers = Rc::clone(pointers);
        let bytes = kernel.btf().size(type_id).unwrap_or(0).min(MAX_READ_BYTES);
        let mut content = vec![0; usize::try_from(bytes).unwrap_or(0)];
        if pointers.is_empty() || kernel.read(address, &mut content).is_none() {
            return;
        }
        for (offset, target) in pointers.iter() {
            let offset = usize::try_from(*offset).ok();
            let to = offset.and_then(|offset| u64_at(&content, offset));
            if let Some(to) = to.filter(|to| *to >> 63 == 1)
                && self.is_candidate(to, *target)
            {
                self.vote(to, *target);
            }
        }
    }

    fn vote(&mut self, address: u64, type_id: TypeId) {
        let candidates = self.typed.reached.entry(address).or_default();
        if let Some((_, votes)) = candidates.iter_mut().find(|(one, _)| *one == type_id) {
            *votes = votes.saturating_add(1);
        } else if candidates.len() < MAX_CANDIDATES {
            candidates.push((type_id, 1));
            self.queue.push_back((address, type_id));
        }
    }

    /// Whether a structure may begin at an address.
    fn is_candidate(&self, address: u64, type_id: TypeId) -> bool {
        let Some((_, (cache, slab))) = self.slabs.range(..=address).next_back() else {
            return self.begins_pages(address) || self.fills_variable(address, type_id);
        };
        let Some(cache) = self.caches.at(*cache) else {
            return false;
        };
        match cache.object(slab, address) {
            Some(object) => {
                object.offset == 0
                    && object.in_use == Some(true)
                    && (cache.type_id.is_none() || cache.is_shared)
                    && self.fits_object(cache, type_id)
            }
            None => self.begins_pages(address) || self.fills_variable(address, type_id),
        }
    }

    /// Whether pages that the kernel allocated begin at an address of the direct map.
    fn begins_pages(&self, address: u64) -> bool {
        let into = address.checked_sub(self.base);
        let frame = into.filter(|into| into % PAGE == 0).map(|into| into / PAGE);
        let frame = frame.filter(|frame| *frame < self.kernel.memory().pages());
        let frame = frame.and_then(|frame| self.frames.frame(self.kernel, frame));
        frame == Some(Frame::Kernel { into: 0 })
    }

    fn fits_object(&self, cache: &Cache, type_id: TypeId) -> bool {
        let btf = self.kernel.btf();
        let Some(bytes) = btf.size(type_id) else {
            return false;
        };
        if bytes > cache.object_bytes {
            return false;
        }
        if cache.type_id.is_some() {
            return ROUNDINGS.iter().any(|rounding| {
                let fills = *rounding == 8 || bytes > rounding / 2;
                fills && cache.stride - bytes.next_multiple_of(*rounding).min(cache.stride) < 8
            });
        }
        let smaller = SIZES.iter().rev().find(|size| **size < cache.object_bytes);
        smaller.is_none_or(|smaller| bytes > *smaller) || btf.has_open_end(type_id)
    }

    /// Whether a variable of the image's data begins here, and has no more room than that.
    fn fills_variable(&self, address: u64, type_id: TypeId) -> bool {
        let room = self.room(address);
        let bytes = self.kernel.btf().size(type_id);
        let left = room
            .zip(bytes)
            .and_then(|(room, bytes)| room.checked_sub(bytes));
        left.is_some_and(|left| left < VARIABLE_ALIGNMENT)
    }

    fn fits_variable(&self, address: u64, type_id: TypeId) -> bool {
        let bytes = self.kernel.btf().size(type_id);
        self.room(address)
            .zip(bytes)
            .is_some_and(|(room, bytes)| bytes <= room)
    }

    /// Bytes of the variable of the image's data that begins at an address.
    fn room(&self, address: u64) -> Option<u64> {
        let image = self.kernel.image();
        let section = image.section_of(address)?;
        let symbol = image.resolve(address)?;
        let is_variable = section.kind != SectionKind::Text && symbol.offset == 0;
        is_variable.then(|| image.extent(address)).flatten()
    }
}

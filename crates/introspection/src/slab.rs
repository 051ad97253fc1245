//! Caches of equal objects (SLUB), and which of their objects are free.
//!
//! ```text
//! slab_caches ⇄ kmem_cache.list ⇄ …      name, size, random, where in a free object the next one is
//! slab.freelist ─► free object ─► …       those of a slab
//! kmem_cache_cpu.freelist ─► …            those that a CPU keeps for itself, of the slab that it uses
//! next = word ^ random ^ its address with its bytes swapped     (CONFIG_SLAB_FREELIST_HARDENED)
//! ```
//!
//! A list that leaves its slab, or has more objects than the slab, is not believed: then nobody
//! knows which objects are free. Which structure a cache is made for is in `cache_types`.

use crate::btf::{Btf, BtfError, TypeId};
use crate::cache_types::type_of_cache;
use crate::kernel::{GuestKernel, MAX_LIST};
use crate::process::follow;
use std::collections::{HashMap, HashSet};

/// The longest name of a cache, in bytes.
const MAX_CACHE_NAME_BYTES: usize = 64;

/// The most caches that are looked at: a kernel with everything loaded has a few hundred.
const MAX_CACHES: usize = 4096;

/// The most CPUs whose own lists are looked at.
const MAX_CPUS: u64 = 1024;

/// The most objects of a slab: what its record has bits for.
const MAX_OBJECTS: u64 = 0x7fff;

/// `kmem_cache`, `kmem_cache_cpu` and `slab`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlabLayout {
    list: u64,
    name: u64,
    stride: u64,
    object_bytes: u64,
    free_pointer: u64,
    refcount: u64,
    /// Of kernels that hide the pointers in free objects.
    random: Option<u64>,
    red_zone: Option<u64>,
    cpu_slab: u64,
    /// In `kmem_cache_cpu`.
    cpu_freelist: u64,
    cpu_page: u64,
    /// In `slab`.
    freelist: u64,
    objects: u64,
}

impl SlabLayout {
    pub(crate) fn of(btf: &Btf) -> Result<Self, BtfError> {
        let cache = |member| btf.offset_of("kmem_cache", member);
        Ok(Self {
            list: cache("list")?,
            name: cache("name")?,
            stride: cache("size")?,
            object_bytes: cache("object_size")?,
            free_pointer: cache("offset")?,
            refcount: cache("refcount")?,
            random: cache("random").ok(),
            red_zone: cache("red_left_pad").ok(),
            cpu_slab: cache("cpu_slab")?,
            cpu_freelist: btf.offset_of("kmem_cache_cpu", "freelist")?,
            cpu_page: btf.offset_of("kmem_cache_cpu", "slab")?,
            freelist: btf.offset_of("slab", "freelist")?,
            objects: btf.offset_of("slab", "objects")?,
        })
    }
}

/// A cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cache {
    pub(crate) name: String,
    /// From one object to the next.
    pub(crate) stride: u64,
    pub(crate) object_bytes: u64,
    /// Whether objects of several kinds are in it: those of equal size share a cache.
    pub(crate) is_shared: bool,
    /// The structure that it is made for.
    pub(crate) type_id: Option<TypeId>,
    free_pointer: u64,
    random: u64,
    red_zone: u64,
    /// The record of the slab that each CPU uses, and its first free object.
    in_use_by_cpus: Vec<(u64, u64)>,
}

/// A slab: its objects, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slab {
    /// The first byte of its first page.
    pub(crate) start: u64,
    pub(crate) objects: u64,
    /// The addresses of those that are free; nothing where their lists are broken.
    pub(crate) free: Option<HashSet<u64>>,
}

/// An object, and a byte in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ObjectByte {
    pub(crate) index: u64,
    pub(crate) address: u64,
    pub(crate) offset: u64,
    pub(crate) in_use: Option<bool>,
}

/// The caches of a kernel, by address.
#[derive(Debug, Default)]
pub(crate) struct Caches(HashMap<u64, Cache>);

impl Caches {
    pub(crate) fn of(kernel: &GuestKernel<'_>) -> Self {
        let (Ok(layout), Some(head)) = (
            &kernel.layouts().slab,
            kernel.kallsyms().address_of("slab_caches"),
        ) else {
            return Self::default();
        };
        let links = follow(kernel, head, &mut None);
        let cpus = cpu_bases(kernel);
        let caches = links.iter().take(MAX_CACHES).filter_map(|link| {
            let address = link.wrapping_sub(layout.list);
            Some((address, cache(kernel, layout, &cpus, address)?))
        });
        Self(caches.collect())
    }

    pub(crate) fn at(&self, address: u64) -> Option<&Cache> {
        self.0.get(&address)
    }

    /// All of them, by address.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Cache)> {
        self.0.iter().map(|(address, cache)| (*address, cache))
    }
}

fn cache(
    kernel: &GuestKernel<'_>,
    layout: &SlabLayout,
    cpus: &[u64],
    address: u64,
) -> Option<Cache> {
    let number = |member: u64| kernel.u32(address.wrapping_add(member)).map(u64::from);
    let name = kernel.u64(address.wrapping_add(layout.name))?;
    let name = kernel.text(name, MAX_CACHE_NAME_BYTES)?;
    let object_bytes = number(layout.object_bytes)?;
    let stride = number(layout.stride)?;
    if stride == 0 || object_bytes > stride {
        return None;
    }
    // Those that the allocator starts with count -1, and are never shared.
    let refcount = number(layout.refcount)?;
    let random = layout
        .random
        .map(|random| kernel.u64(address.wrapping_add(random)));
    let red_zone = layout.red_zone.map(number);
    Some(Cache {
        type_id: type_of_cache(kernel.btf(), &name, object_bytes),
        name,
        stride,
        object_bytes,
        is_shared: refcount > 1 && refcount != u64::from(u32::MAX),
        free_pointer: number(layout.free_pointer)?,
        random: random.unwrap_or(Some(0))?,
        red_zone: red_zone.unwrap_or(Some(0))?,
        in_use_by_cpus: in_use_by_cpus(kernel, layout, cpus, address),
    })
}

/// The slab that each CPU uses, and the first object of it that the CPU has for itself.
fn in_use_by_cpus(
    kernel: &GuestKernel<'_>,
    layout: &SlabLayout,
    cpus: &[u64],
    cache: u64,
) -> Vec<(u64, u64)> {
    let Some(variable) = kernel.u64(cache.wrapping_add(layout.cpu_slab)) else {
        return Vec::new();
    };
    let of_cpu = |base: &u64| {
        let of = base.wrapping_add(variable);
        let page = kernel.u64(of.wrapping_add(layout.cpu_page))?;
        Some((page, kernel.u64(of.wrapping_add(layout.cpu_freelist))?))
    };
    cpus.iter().filter_map(of_cpu).collect()
}

/// What is added to the address of a per-CPU variable, for each CPU.
pub(crate) fn cpu_bases(kernel: &GuestKernel<'_>) -> Vec<u64> {
    let symbol = |name: &str| kernel.kallsyms().address_of(name);
    let Some(offsets) = symbol("__per_cpu_offset") else {
        return Vec::new();
    };
    let cpus = symbol("nr_cpu_ids").and_then(|at| kernel.u32(at));
    let cpus = cpus.map_or(1, u64::from).min(MAX_CPUS);
    let base = |cpu| kernel.u64(offsets.wrapping_add(cpu * 8));
    (0..cpus).map_while(base).collect()
}

impl Cache {
    /// The slab whose first page has this record and begins at this address.
    pub(crate) fn slab(&self, kernel: &GuestKernel<'_>, record: u64, start: u64) -> Option<Slab> {
        let layout = kernel.layouts().slab.as_ref().ok()?;
        let objects = u64::from(kernel.u32(record.wrapping_add(layout.objects))?) & MAX_OBJECTS;
        let freelist = kernel.u64(record.wrapping_add(layout.freelist))?;
        let mut slab = Slab {
            start,
            objects,
            free: Some(HashSet::new()),
        };
        self.note_free(kernel, &mut slab, freelist);
        for (page, first) in &self.in_use_by_cpus {
            if *page == record {
                self.note_free(kernel, &mut slab, *first);
            }
        }
        Some(slab)
    }

    fn note_free(&self, kernel: &GuestKernel<'_>, slab: &mut Slab, first: u64) {
        let Some(mut free) = slab.free.take() else {
            return;
        };
        let mut next = first;
        while next != 0 {
            let is_object = self.index_of(slab, next).is_some_and(|(_, into)| into == 0);
            let place = next.wrapping_add(self.free_pointer);
            let (Some(word), true) = (kernel.u64(place), is_object && free.insert(next)) else {
                return;
            };
            next = match self.random {
                0 => word,
                random => word ^ random ^ place.swap_bytes(),
            };
        }
        slab.free = Some(free);
    }

    /// The object that an address of a slab lies in, and how far in it.
    fn index_of(&self, slab: &Slab, address: u64) -> Option<(u64, u64)> {
        let into = address
            .checked_sub(slab.start)?
            .checked_sub(self.red_zone)?;
        let index = into.checked_div(self.stride)?;
        (index < slab.objects).then_some((index, into % self.stride))
    }

    /// The object of a slab that a byte belongs to; nothing for what lies between objects.
    pub(crate) fn object(&self, slab: &Slab, address: u64) -> Option<ObjectByte> {
        let (index, offset) = self.index_of(slab, address)?;
        let start = address - offset;
        Some(ObjectByte {
            index,
            address: start,
            offset,
            in_use: slab.free.as_ref().map(|free| !free.contains(&start)),
        })
    }

    /// The addresses of the objects of a slab that are handed out.
    pub(crate) fn in_use(&self, slab: &Slab) -> Vec<u64> {
        let Some(free) = &slab.free else {
            return Vec::new();
        };
        let first = slab.start.wrapping_add(self.red_zone);
        (0..slab.objects)
            .take(MAX_LIST)
            .map(|index| first.wrapping_add(index.wrapping_mul(self.stride)))
            .filter(|address| !free.contains(address))
            .collect()
    }
}

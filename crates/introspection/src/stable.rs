//! Kernel memory by what it is rather than where: objects that are the same in all replicas of a
//! machine, whatever frames they were given.
//!
//! ```text
//! Introspection::stable_objects() ─► StableObjects ─┬─ iter()          every piece, by address
//!                                                   └─ in_frame(frame) those of one page frame
//! piece   identity · bytes of the object before it · guest-physical address · bytes · type
//! Btf::fields(type)      the fields of a type: offset, size, and whether they hold addresses
//! ```
//!
//! Two replicas hold the same object where the identities of two pieces are equal. Variables of the
//! image and of CPUs are known by name. Objects are known by their type and a key that does not
//! depend on memory: a thread by its number, a mapping by process and address, a cache by its name,
//! a page of a file by path and number. What has no such key is not here. A piece does not cross a
//! page; pieces do not overlap.
//!
//! A replica's addresses differ, so fields of kind `Pointer` differ where the objects are equal.

use crate::btf::TypeId;
use crate::explain::Introspection;
use crate::file::name_of_cached;
use crate::frames::Frame;
use crate::memory::PAGE;
use crate::process::Process;
use crate::reverse::STACK_PAGES;
use crate::sections::SectionKind;
use crate::slab::cpu_bases;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

/// The most pieces: those of a machine of 16 GiB whose memory is full of files.
const MAX_PIECES: usize = 8 << 20;

/// What an object is, in a way that holds in every replica.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// A variable of the kernel's image; of several that have one name, which one.
    Variable {
        /// Its name.
        name: Box<str>,
        /// Its address, which is equal in all replicas of one machine.
        address: u64,
    },
    /// A per-CPU variable.
    CpuVariable {
        /// Which CPU's.
        cpu: u32,
        /// Its name.
        name: Box<str>,
        /// Bytes from the start of the CPU's area.
        offset: u64,
    },
    /// An object of the kernel's, by type and key.
    Object {
        /// Its type, such as `task_struct`.
        type_name: &'static str,
        /// What it is known by, such as `17` for a thread of this number.
        key: Box<str>,
    },
    /// The kernel stack of a thread.
    Stack {
        /// The thread's number.
        thread: u32,
    },
    /// A page of a file's content.
    FilePage {
        /// The path on its own file system.
        path: Box<str>,
        /// Which page of the file, counted from 0.
        index: u64,
    },
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable { name, .. } => f.write_str(name),
            Self::CpuVariable { cpu, name, .. } => write!(f, "{name} of CPU {cpu}"),
            Self::Object { type_name, key } => write!(f, "{type_name} {key}"),
            Self::Stack { thread } => write!(f, "kernel stack of {thread}"),
            Self::FilePage { path, index } => write!(f, "{path}, page {index}"),
        }
    }
}

/// A part of a stable object that lies in one page frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StablePiece {
    /// Which object.
    pub identity: Identity,
    /// Bytes of the object before this piece.
    pub into: u64,
    /// Where it lies.
    pub physical: u64,
    /// How many bytes.
    pub bytes: u64,
    /// The object's type, where it is known; its fields are those of `Btf::fields`.
    pub type_id: Option<TypeId>,
}

/// The stable objects of captured memory.
#[derive(Debug, Default)]
pub struct StableObjects {
    /// By guest-physical address.
    pieces: BTreeMap<u64, StablePiece>,
}

impl StableObjects {
    /// All pieces, by guest-physical address.
    pub fn iter(&self) -> impl Iterator<Item = &StablePiece> {
        self.pieces.values()
    }

    /// The pieces in a page frame.
    pub fn in_frame(&self, frame: u64) -> impl Iterator<Item = &StablePiece> {
        let start = frame.saturating_mul(PAGE);
        let pieces = self.pieces.range(start..start.saturating_add(PAGE));
        pieces.map(|(_, piece)| piece)
    }

    /// The piece that a byte lies in.
    #[must_use]
    pub fn at(&self, physical: u64) -> Option<&StablePiece> {
        let (_, piece) = self.pieces.range(..=physical).next_back()?;
        (physical - piece.physical < piece.bytes).then_some(piece)
    }

    /// Adds a piece, unless another one has a byte of it.
    fn add(&mut self, piece: StablePiece) {
        let end = piece.physical.saturating_add(piece.bytes);
        let before = self.pieces.range(..end).next_back();
        let is_free = before.is_none_or(|(start, one)| start + one.bytes <= piece.physical);
        if is_free && piece.bytes > 0 && self.pieces.len() < MAX_PIECES {
            self.pieces.insert(piece.physical, piece);
        }
    }
}

/// An object before it is cut into pieces.
struct Whole {
    identity: Identity,
    address: u64,
    bytes: u64,
    type_id: Option<TypeId>,
}

impl Introspection<'_> {
    /// Finds all objects that have an identity of their own.
    #[must_use]
    pub fn stable_objects(&self) -> StableObjects {
        let mut objects = StableObjects::default();
        self.add_variables(&mut objects);
        self.add_cpu_variables(&mut objects);
        for process in &self.processes().found {
            self.add_process(&mut objects, process);
        }
        for (address, cache) in self.caches().iter() {
            let key = cache.name.as_str().into();
            self.add_typed(&mut objects, ("kmem_cache", key), address);
        }
        self.add_files(&mut objects);
        objects
    }

    fn add_variables(&self, objects: &mut StableObjects) {
        let image = self.kernel().image();
        for (name, range) in image.variables() {
            let section = image.section_of(range.start).map(|section| section.kind);
            if section == Some(SectionKind::Text) {
                continue;
            }
            let reached = self.typed().at(range.start);
            self.add(
                objects,
                Whole {
                    identity: Identity::Variable {
                        name: name.into(),
                        address: range.start,
                    },
                    address: range.start,
                    bytes: range.end - range.start,
                    type_id: reached.map(|reached| reached.type_id),
                },
            );
        }
    }

    fn add_cpu_variables(&self, objects: &mut StableObjects) {
        for (cpu, base) in (0..).zip(cpu_bases(self.kernel())) {
            for (name, range) in self.cpu_ranges() {
                let described = self.cpu_variables().get(&range.start);
                self.add(
                    objects,
                    Whole {
                        identity: Identity::CpuVariable {
                            cpu,
                            name: name.into(),
                            offset: range.start,
                        },
                        address: base.wrapping_add(range.start),
                        bytes: range.end - range.start,
                        type_id: described.map(|(type_id, _)| *type_id),
                    },
                );
            }
        }
    }

    fn add_process(&self, objects: &mut StableObjects, process: &Process) {
        for thread in &process.threads.found {
            let key = || thread.id.to_string().into();
            self.add_typed(objects, ("task_struct", key()), thread.task);
            for (member, type_name) in [
                ("signal", "signal_struct"),
                ("sighand", "sighand_struct"),
                ("mm", "mm_struct"),
                ("files", "files_struct"),
                ("fs", "fs_struct"),
            ] {
                let offset = self.kernel().btf().offset_of("task_struct", member);
                let to = offset
                    .ok()
                    .and_then(|offset| self.kernel().u64(thread.task.wrapping_add(offset)));
                if let Some(to) = to.filter(|to| *to != 0) {
                    self.add_typed(objects, (type_name, key()), to);
                }
            }
            self.add(
                objects,
                Whole {
                    identity: Identity::Stack { thread: thread.id },
                    address: thread.stack,
                    bytes: STACK_PAGES * PAGE,
                    type_id: None,
                },
            );
        }
        for mapping in &process.mappings.found {
            let key = format!("{} {:#x}", process.id, mapping.start).into();
            self.add_typed(objects, ("vm_area_struct", key), mapping.record);
        }
    }

    fn add_typed(
        &self,
        objects: &mut StableObjects,
        (type_name, key): (&'static str, Box<str>),
        address: u64,
    ) {
        let btf = self.kernel().btf();
        let Some(type_id) = btf.structure_named(type_name) else {
            return;
        };
        let object = Whole {
            identity: Identity::Object { type_name, key },
            address,
            bytes: self.room(address).min(btf.size(type_id).unwrap_or(0)),
            type_id: Some(type_id),
        };
        self.add(objects, object);
    }

    /// How much an object may have from an address on: what its cache's objects have.
    fn room(&self, address: u64) -> u64 {
        let physical = self.kernel().physical(address);
        let frame = physical
            .zip(self.frames())
            .and_then(|(physical, frames)| frames.frame(self.kernel(), physical / PAGE));
        match frame {
            Some(Frame::Slab(page)) => {
                let cache = self.caches().at(page.cache_address);
                cache.map_or(0, |cache| cache.object_bytes)
            }
            _ => u64::MAX,
        }
    }

    fn add_files(&self, objects: &mut StableObjects) {
        let Some(frames) = self.frames() else {
            return;
        };
        let mut names: BTreeMap<u64, Option<Box<str>>> = BTreeMap::new();
        for number in 0..self.kernel().memory().pages() {
            if let Some(Frame::File {
                address_space,
                index,
            }) = frames.frame(self.kernel(), number)
            {
                let name = names.entry(address_space).or_insert_with(|| {
                    name_of_cached(self.kernel(), address_space).map(Into::into)
                });
                if let Some(path) = name.clone() {
                    objects.add(StablePiece {
                        identity: Identity::FilePage { path, index },
                        into: 0,
                        physical: number * PAGE,
                        bytes: PAGE,
                        type_id: None,
                    });
                }
            }
        }
    }

    /// Cuts an object at page bounds, and adds the pieces that are mapped.
    fn add(&self, objects: &mut StableObjects, object: Whole) {
        let end = object.address.saturating_add(object.bytes);
        let mut at = object.address;
        while at < end {
            let next = (at / PAGE + 1).saturating_mul(PAGE).min(end);
            if let Some(physical) = self.kernel().physical(at) {
                objects.add(StablePiece {
                    identity: object.identity.clone(),
                    into: at - object.address,
                    physical,
                    bytes: next - at,
                    type_id: object.type_id,
                });
            }
            at = next;
        }
    }

    /// The per-CPU variables: name, and offsets in a CPU's area.
    fn cpu_ranges(&self) -> impl Iterator<Item = (&str, Range<u64>)> {
        let variables = self.cpu_symbols();
        let next = variables.iter().skip(1);
        variables.iter().zip(next).filter_map(|(one, next)| {
            let range = one.0..next.0;
            (!range.is_empty()).then_some((&*one.1, range))
        })
    }
}

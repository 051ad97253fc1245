//! Objects of the kernel's caches: which one, whether it is in use, of what type, and whose.

use super::{Introspection, describe};
use crate::btf::TypeId;
use crate::file::{name_of_inode, path_of, path_of_file};
use crate::frames::SlabPage;
use crate::memory::PAGE;
use crate::slab::{Cache, ObjectByte};
use model::{Basis, Explanation, GuestVirtualAddress, ObjectName, OwnerKind, ProcessName};
use std::collections::HashMap;

/// Members of `task_struct` that point to structures of the process.
const OF_PROCESS: [&str; 6] = ["mm", "signal", "sighand", "files", "fs", "nsproxy"];

impl Introspection<'_> {
    /// What an address of a slab's page is.
    pub(super) fn slab(&self, page: &SlabPage, number: u64, into: u64) -> Explanation {
        let found = self.caches.at(page.cache_address);
        match found.and_then(|cache| Some((cache, self.object(cache, page, number, into)?))) {
            Some((cache, object)) => self.explain_object(cache, &object),
            None => Explanation {
                basis: Some(Basis::Slab),
                ..Explanation::new(
                    OwnerKind::Slab,
                    format!("slab {}, behind its objects", page.cache),
                )
            },
        }
    }

    fn object(&self, cache: &Cache, page: &SlabPage, number: u64, into: u64) -> Option<ObjectByte> {
        let base = self.kernel.variable("page_offset_base")?;
        let start = base.checked_add(number.checked_sub(page.into)?.checked_mul(PAGE)?)?;
        let slab = cache.slab(&self.kernel, page.record, start)?;
        cache.object(&slab, base.checked_add(number * PAGE + into)?)
    }

    fn explain_object(&self, cache: &Cache, object: &ObjectByte) -> Explanation {
        let reached = self.type_of(cache, object);
        let basis = match (object.in_use, reached) {
            (Some(false), _) => Basis::FreeObject,
            (None, _) => Basis::Slab,
            (Some(true), Some((_, basis))) => basis,
            (Some(true), None) => Basis::PlainObject,
        };
        let state = match object.in_use {
            Some(false) => ", free",
            _ => "",
        };
        let owner = format!(
            "slab {}, object {} + {:#x}{state}",
            cache.name, object.index, object.offset
        );
        let mut found = Explanation {
            virtual_address: Some(GuestVirtualAddress(object.address + object.offset)),
            object: Some(ObjectName {
                cache: cache.name.clone(),
                index: object.index,
                address: GuestVirtualAddress(object.address),
                offset: object.offset,
                in_use: object.in_use,
            }),
            basis: Some(basis),
            ..Explanation::new(OwnerKind::Slab, owner)
        };
        if let Some((type_id, _)) = reached
            && object.in_use != Some(false)
        {
            self.describe_type(&mut found, type_id, object.offset);
            self.describe_owner(&mut found, type_id, object.address);
        }
        if basis == Basis::ReachedObject && found.type_name.is_none() {
            // Behind the end of the structure that is known.
            found.basis = Some(Basis::PlainObject);
        }
        found
    }

    /// The type of an object, and how it is known.
    fn type_of(&self, cache: &Cache, object: &ObjectByte) -> Option<(TypeId, Basis)> {
        if let Some(type_id) = cache.type_id.filter(|_| !cache.is_shared) {
            return Some((type_id, Basis::TypedObject));
        }
        let reached = self.typed().at(object.address)?;
        (reached.votes > reached.against).then_some((reached.type_id, Basis::ReachedObject))
    }

    /// Adds whose an object is: the process, or the file.
    fn describe_owner(&self, found: &mut Explanation, type_id: TypeId, address: u64) {
        let kernel = &self.kernel;
        let structure = kernel.btf().type_name(type_id);
        let process = match structure.as_str() {
            "task_struct" => self.thread_at(address),
            "vm_area_struct" => {
                let layout = kernel.layouts().mapping.as_ref().ok();
                let mm = layout.and_then(|one| kernel.u64(address.wrapping_add(one.vm_mm)));
                mm.and_then(|mm| self.owner_of(mm))
            }
            _ => self.owner_of(address),
        };
        let path = match structure.as_str() {
            "dentry" => path_of(kernel, address),
            "file" => path_of_file(kernel, address),
            "inode" => name_of_inode(kernel, address),
            holder => kernel
                .btf()
                .offset_of(holder, "vfs_inode")
                .ok()
                .and_then(|offset| name_of_inode(kernel, address.wrapping_add(offset))),
        };
        if let Some(process) = process {
            found
                .owner
                .push_str(&format!(", of {}", describe(&process)));
            found.process = Some(process);
        } else if let Some(path) = path {
            found.owner.push_str(&format!(", of {path}"));
        }
    }

    fn thread_at(&self, task: u64) -> Option<ProcessName> {
        let processes = self.processes.found.iter();
        let mut threads = processes.flat_map(|process| &process.threads.found);
        let thread = threads.find(|thread| thread.task == task)?;
        Some(ProcessName {
            pid: thread.id,
            name: thread.name.clone(),
        })
    }

    /// The process that a structure belongs to; the first of several.
    fn owner_of(&self, address: u64) -> Option<ProcessName> {
        let owned = self.owned.get_or_init(|| self.owned_structures());
        owned.get(&address).and_then(|index| self.name(*index))
    }

    fn owned_structures(&self) -> HashMap<u64, usize> {
        let btf = self.kernel.btf();
        let members = OF_PROCESS.iter();
        let members: Vec<u64> = members
            .filter_map(|member| btf.offset_of("task_struct", member).ok())
            .collect();
        let mut owned = HashMap::new();
        for (index, process) in self.processes.found.iter().enumerate() {
            let tasks = process.threads.found.iter().map(|thread| thread.task);
            for (task, member) in tasks.flat_map(|task| members.iter().map(move |at| (task, at))) {
                let to = self.kernel.u64(task.wrapping_add(*member));
                if let Some(to) = to.filter(|to| *to != 0) {
                    owned.entry(to).or_insert(index);
                }
            }
        }
        owned
    }
}

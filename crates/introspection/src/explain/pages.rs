//! Pages that a table maps: page tables themselves, memory of processes, kernel stacks.

use super::{Introspection, at, describe};
use crate::frames::Frame;
use crate::memory::PAGE;
use crate::reverse::{STACK_PAGES, TableFrame, UserFrame};
use model::{
    Basis, BufferPlace, Explanation, GuestVirtualAddress, MappingName, OwnerKind, ProcessName,
};

impl Introspection<'_> {
    pub(super) fn table(&self, number: u64, into: u64) -> Option<Explanation> {
        let TableFrame {
            level,
            address,
            process,
        } = *self.reverse.tables.get(&number)?;
        let process = process.and_then(|index| self.name(index));
        let whose = match &process {
            Some(process) => describe(process),
            None => "the kernel".to_owned(),
        };
        let entry = into / 8;
        let (first, bytes) = self.kernel.space().entry(level, address, entry);
        let owner = format!("page table of {whose}, level {level}, entry {entry}");
        Some(Explanation {
            process,
            field: Some(format!("{first:#x}-{:#x}", first.wrapping_add(bytes))),
            basis: Some(Basis::PageTable),
            ..Explanation::new(OwnerKind::PageTable, owner)
        })
    }

    pub(super) fn user(&self, number: u64, into: u64) -> Option<Explanation> {
        let UserFrame { process, address } = *self.reverse.user.get(&number)?;
        let of_process = self.processes.found.get(process)?;
        let name = self.name(process)?;
        let mapping = of_process
            .mappings
            .found
            .iter()
            .find(|mapping| (mapping.start..mapping.end).contains(&address))
            .map(|mapping| MappingName {
                start: GuestVirtualAddress(mapping.start),
                end: GuestVirtualAddress(mapping.end),
                permissions: mapping.permissions.clone(),
                name: mapping.name.clone(),
            });
        let buffer = self.buffer(name.pid, address.wrapping_add(into));
        let owner = match (&buffer, &mapping) {
            (Some(BufferPlace { name: of, offset }), _) => {
                format!("buffer {of} + {offset:#x} of {}", describe(&name))
            }
            (None, Some(mapping)) => format!("{} of {}", mapping.name, describe(&name)),
            (None, None) => format!("memory of {}", describe(&name)),
        };
        let frame = self
            .frames
            .and_then(|frames| frames.frame(&self.kernel, number));
        Some(Explanation {
            process: Some(name),
            mapping,
            buffer,
            virtual_address: at(address, into),
            file: match frame {
                Some(Frame::File {
                    address_space,
                    index,
                }) => self.file_place(address_space, index, into),
                _ => None,
            },
            basis: Some(Basis::Mapping),
            ..Explanation::new(OwnerKind::Process, owner)
        })
    }

    /// The byte of a buffer that the process has named.
    fn buffer(&self, process: u32, address: u64) -> Option<BufferPlace> {
        let of_process = self.buffers.iter().filter(|one| one.process == process);
        of_process
            .filter_map(|one| Some((one, address.checked_sub(one.address)?)))
            .find(|(one, offset)| *offset < one.bytes)
            .map(|(one, offset)| BufferPlace {
                name: one.name.clone(),
                offset,
            })
    }

    pub(super) fn stack(&self, number: u64, into: u64) -> Option<Explanation> {
        let frame = self.reverse.stacks.get(&number)?;
        let process = self.processes.found.get(frame.process)?;
        let thread = process.threads.found.get(frame.thread)?;
        let name = ProcessName {
            pid: thread.id,
            name: thread.name.clone(),
        };
        let virtual_address = at(frame.address, into);
        let top = thread.stack.wrapping_add(STACK_PAGES * PAGE);
        let below = virtual_address.map(|address| top.wrapping_sub(address.0));
        Some(Explanation {
            virtual_address,
            process: Some(name.clone()),
            field: below.map(|below| format!("{below:#x} below the top")),
            basis: Some(Basis::Stack),
            ..Explanation::new(
                OwnerKind::KernelStack,
                format!("kernel stack of {}", describe(&name)),
            )
        })
    }
}

//! The memory of a simulated machine: pages of its own over those of a snapshot.

use crate::error::HypervisorError;
use crate::memory::changed::ChangedPages;
use model::{GuestPhysicalAddress, PAGE_BYTES};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

const PAGE: u64 = PAGE_BYTES as u64;

type Page = [u8; PAGE_BYTES];

/// Guest-physical memory.
#[derive(Debug)]
pub(super) struct SimMemory {
    bytes: u64,
    /// The snapshot's content; empty for a machine that was booted.
    base: Vec<u8>,
    /// Pages that were written since.
    written: BTreeMap<u64, Box<Page>>,
}

impl SimMemory {
    /// Memory of zeros.
    pub(super) const fn new(bytes: u64) -> Self {
        Self {
            bytes,
            base: Vec::new(),
            written: BTreeMap::new(),
        }
    }

    /// A private view of a saved memory, whose file is only read.
    pub(super) fn over(bytes: u64, file: &Path) -> Result<Self, HypervisorError> {
        let base = fs::read(file).map_err(HypervisorError::file("read", file))?;
        if base.len() as u64 != bytes {
            return Err(HypervisorError::Memory {
                pid: 0,
                detail: format!("the snapshot has {} bytes, not {bytes}", base.len()),
            });
        }
        Ok(Self {
            base,
            ..Self::new(bytes)
        })
    }

    /// Writes all of it into a new file; pages of zeros become holes.
    pub(super) fn save(&self, path: &Path) -> Result<(), HypervisorError> {
        let failed = || HypervisorError::file("write", path);
        let file = File::create_new(path).map_err(failed())?;
        file.set_len(self.bytes).map_err(failed())?;
        for number in 0..self.bytes / PAGE {
            let page = self.page(number);
            if page.iter().any(|byte| *byte != 0) {
                file.write_all_at(page, number * PAGE).map_err(failed())?;
            }
        }
        Ok(())
    }

    pub(super) fn page(&self, number: u64) -> &Page {
        static ZEROS: Page = [0; PAGE_BYTES];
        if let Some(page) = self.written.get(&number) {
            return page;
        }
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        self.base.as_chunks().0.get(index).unwrap_or(&ZEROS)
    }

    /// A page that is written to: from now on it counts as changed.
    pub(super) fn page_mut(&mut self, number: u64) -> &mut Page {
        let before = *self.page(number);
        self.written
            .entry(number)
            .or_insert_with(|| Box::new(before))
    }

    pub(super) fn read(
        &self,
        address: GuestPhysicalAddress,
        into: &mut [u8],
    ) -> Result<(), HypervisorError> {
        self.check(address, into.len())?;
        for (at, byte) in (address.0..).zip(into) {
            *byte = self
                .page(at / PAGE)
                .get(offset(at))
                .copied()
                .unwrap_or_default();
        }
        Ok(())
    }

    pub(super) fn write(
        &mut self,
        address: GuestPhysicalAddress,
        bytes: &[u8],
    ) -> Result<(), HypervisorError> {
        self.check(address, bytes.len())?;
        for (at, byte) in (address.0..).zip(bytes) {
            if let Some(place) = self.page_mut(at / PAGE).get_mut(offset(at)) {
                *place = *byte;
            }
        }
        Ok(())
    }

    /// The pages that were written since the snapshot.
    pub(super) fn changed(&self) -> ChangedPages {
        ChangedPages {
            numbers: self.changed_numbers(),
            bytes: self.written.values().flat_map(|page| **page).collect(),
        }
    }

    pub(super) fn changed_numbers(&self) -> Vec<u64> {
        self.written.keys().copied().collect()
    }

    fn check(&self, address: GuestPhysicalAddress, length: usize) -> Result<(), HypervisorError> {
        let end = address.0.checked_add(length as u64);
        if end.is_some_and(|end| end <= self.bytes) {
            return Ok(());
        }
        Err(HypervisorError::OutsideMemory {
            address: address.0,
            memory_bytes: self.bytes,
        })
    }
}

fn offset(address: u64) -> usize {
    usize::try_from(address % PAGE).unwrap_or(0)
}

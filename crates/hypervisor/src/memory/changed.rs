//! Pages changed since the snapshot.
//!
//! A replica maps the snapshot's memory privately, so a page that it wrote is an anonymous page of
//! its own. Three ways to list those, the first that the kernel has is used:
//!
//! | method | kernel | tells |
//! |---|---|---|
//! | [`PageListMethod::Scan`] | ioctl `PAGEMAP_SCAN`, Linux ≥ 6.7 | pages that are present or swapped and not of a file |
//! | [`PageListMethod::Bits`] | `/proc/PID/pagemap`, Linux ≥ 3.5 | bit 63 or 62 set and bit 61 clear |
//! | [`PageListMethod::Compare`] | any | pages whose content differs from the snapshot's |
//!
//! The first two give equal lists and hold every page that the third finds; they also hold pages
//! that were written with what they held before. A page that went to swap counts.

use crate::error::HypervisorError;
use crate::memory::mapping::{GuestMemory, Segment};
use model::PAGE_BYTES;
use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Pages of a stretch of memory, by number, with their content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangedPages {
    /// Page numbers, ascending and unique.
    pub numbers: Vec<u64>,
    /// Their content, one after the other: 4096 bytes a page.
    pub bytes: Vec<u8>,
}

/// How changed pages are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PageListMethod {
    /// By the ioctl `PAGEMAP_SCAN`.
    Scan,
    /// By the bits of `/proc/PID/pagemap`.
    Bits,
    /// By comparing every page with the snapshot.
    Compare,
}

impl PageListMethod {
    /// The quickest method that this kernel has, tried on our own process.
    #[must_use]
    pub fn best() -> Self {
        let Ok(pagemap) = File::open("/proc/self/pagemap") else {
            return Self::Compare;
        };
        if scan::supported(&pagemap) {
            Self::Scan
        } else {
            Self::Bits
        }
    }
}

/// Every list of changed pages that can be had, held against each other and against a comparison of
/// all memory with the snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageCheck {
    /// How many ways of listing there were.
    pub ways: u64,
    /// Pages that some list holds.
    pub listed: u64,
    /// Pages that some list holds and another does not.
    pub disputed: u64,
    /// Pages whose content differs from the snapshot's.
    pub differing: u64,
    /// Of those the ones that some list does not hold.
    pub missed: u64,
}

impl PageCheck {
    /// Holds lists against the pages that differ; all of them ascending.
    #[must_use]
    pub fn of(lists: &[Vec<u64>], differing: &[u64]) -> Self {
        let in_some: BTreeSet<u64> = lists.iter().flatten().copied().collect();
        let in_all = |number: &&u64| lists.iter().all(|list| list.binary_search(number).is_ok());
        let agreed = in_some.iter().filter(in_all).count();
        let found = differing.iter().filter(in_all).count();
        Self {
            ways: lists.len() as u64,
            listed: in_some.len() as u64,
            disputed: (in_some.len() - agreed) as u64,
            differing: differing.len() as u64,
            missed: (differing.len() - found) as u64,
        }
    }
}

/// Makes every list of changed pages that this kernel can give, and compares all memory.
///
/// # Errors
/// The process or the snapshot cannot be read.
pub fn check(memory: &GuestMemory, snapshot: &Path) -> Result<PageCheck, HypervisorError> {
    let methods: &[PageListMethod] = match PageListMethod::best() {
        PageListMethod::Scan => &[PageListMethod::Scan, PageListMethod::Bits],
        PageListMethod::Bits => &[PageListMethod::Bits],
        PageListMethod::Compare => &[],
    };
    let lists = methods
        .iter()
        .map(|&method| list(memory, method, snapshot))
        .collect::<Result<Vec<_>, _>>()?;
    let differing = list(memory, PageListMethod::Compare, snapshot)?;
    Ok(PageCheck::of(&lists, &differing))
}

const PAGE: u64 = PAGE_BYTES as u64;

/// Lists the pages of a guest that changed since its snapshot, ascending.
///
/// # Errors
/// The process or the snapshot cannot be read.
pub fn list(
    memory: &GuestMemory,
    method: PageListMethod,
    snapshot: &Path,
) -> Result<Vec<u64>, HypervisorError> {
    match method {
        PageListMethod::Scan => list_by_segment(memory, scan::changed_in),
        PageListMethod::Bits => list_by_segment(memory, bits_changed_in),
        PageListMethod::Compare => list_by_comparison(memory, snapshot),
    }
}

/// Reads pages of a guest, runs of neighbours at a time.
///
/// # Errors
/// The process cannot be read.
pub fn read_pages(
    memory: &GuestMemory,
    numbers: Vec<u64>,
) -> Result<ChangedPages, HypervisorError> {
    let mut bytes = vec![0; numbers.len().saturating_mul(PAGE_BYTES)];
    let mut rest = bytes.as_mut_slice();
    for run in numbers.chunk_by(|a, b| a + 1 == *b) {
        let (into, after) = rest.split_at_mut(run.len() * PAGE_BYTES);
        if let Some(first) = run.first() {
            memory.read(first.saturating_mul(PAGE), into)?;
        }
        rest = after;
    }
    Ok(ChangedPages { numbers, bytes })
}

fn list_by_segment(
    memory: &GuestMemory,
    changed_in: impl Fn(&File, Segment, &mut Vec<u64>) -> std::io::Result<()>,
) -> Result<Vec<u64>, HypervisorError> {
    let pid = memory.pid();
    let failed = |error: std::io::Error| HypervisorError::Memory {
        pid,
        detail: format!("its page map cannot be read: {error}"),
    };
    let pagemap = File::open(format!("/proc/{pid}/pagemap")).map_err(failed)?;
    let mut numbers = Vec::new();
    for &segment in memory.segments() {
        changed_in(&pagemap, segment, &mut numbers).map_err(failed)?;
    }
    Ok(numbers)
}

/// Bits of a pagemap entry: Documentation/admin-guide/mm/pagemap.rst of Linux.
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const FILE_OR_SHARED: u64 = 1 << 61;

fn bits_changed_in(
    pagemap: &File,
    segment: Segment,
    numbers: &mut Vec<u64>,
) -> std::io::Result<()> {
    const ENTRIES_AT_ONCE: usize = 8192;
    let mut entries = vec![0_u8; ENTRIES_AT_ONCE * 8];
    let mut host = segment.host_start;
    while host < segment.host_end {
        let left = usize::try_from((segment.host_end - host) / PAGE).unwrap_or(usize::MAX);
        let length = left.min(ENTRIES_AT_ONCE) * 8;
        let part = entries.get_mut(..length).unwrap_or_default();
        pagemap.read_exact_at(part, host / PAGE * 8)?;
        let guest = (host - segment.host_start + segment.guest_start) / PAGE;
        let changed = part
            .chunks_exact(8)
            .map(|entry| u64::from_ne_bytes(entry.try_into().unwrap_or_default()))
            .zip(guest..)
            .filter(|(entry, _)| entry & (PRESENT | SWAPPED) != 0 && entry & FILE_OR_SHARED == 0)
            .map(|(_, number)| number);
        numbers.extend(changed);
        host += (length as u64 / 8) * PAGE;
    }
    Ok(())
}

fn list_by_comparison(memory: &GuestMemory, snapshot: &Path) -> Result<Vec<u64>, HypervisorError> {
    const BYTES_AT_ONCE: usize = 1 << 20;
    let file = File::open(snapshot).map_err(HypervisorError::file("open", snapshot))?;
    let mut ours = vec![0_u8; BYTES_AT_ONCE];
    let mut theirs = vec![0_u8; BYTES_AT_ONCE];
    let mut numbers = Vec::new();
    for segment in memory.segments() {
        let end = segment.guest_start + (segment.host_end - segment.host_start);
        let mut address = segment.guest_start;
        while address < end {
            let left = usize::try_from(end - address).unwrap_or(usize::MAX);
            let length = left.min(BYTES_AT_ONCE);
            let (ours, theirs) = (&mut ours[..length], &mut theirs[..length]);
            memory.read(address, theirs)?;
            file.read_exact_at(ours, address)
                .map_err(HypervisorError::file("read", snapshot))?;
            let pages = ours.chunks(PAGE_BYTES).zip(theirs.chunks(PAGE_BYTES));
            numbers.extend(
                pages
                    .zip(address / PAGE..)
                    .filter(|((ours, theirs), _)| ours != theirs)
                    .map(|(_, number)| number),
            );
            address += length as u64;
        }
    }
    Ok(numbers)
}

#[expect(
    unsafe_code,
    reason = "PAGEMAP_SCAN is an ioctl that no crate wraps; the one call is in this module"
)]
mod scan {
    //! The ioctl `PAGEMAP_SCAN`: include/uapi/linux/fs.h of Linux 6.7.

    use super::{PAGE, Segment};
    use std::fs::File;
    use std::io::{Error, Result};
    use std::os::fd::AsRawFd;

    /// `_IOWR('f', 16, struct pm_scan_arg)`.
    const PAGEMAP_SCAN: libc::c_ulong = 0xc060_6610;
    const PAGE_IS_FILE: u64 = 1 << 2;
    const PAGE_IS_PRESENT: u64 = 1 << 3;
    const PAGE_IS_SWAPPED: u64 = 1 << 4;

    #[repr(C)]
    #[derive(Default)]
    struct Arguments {
        size: u64,
        flags: u64,
        start: u64,
        end: u64,
        walk_end: u64,
        regions: u64,
        regions_length: u64,
        max_pages: u64,
        category_inverted: u64,
        category_mask: u64,
        category_anyof_mask: u64,
        return_mask: u64,
    }

    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Region {
        start: u64,
        end: u64,
        categories: u64,
    }

    /// Whether this kernel has it.
    pub(super) fn supported(pagemap: &File) -> bool {
        let empty = Segment {
            host_start: 0,
            host_end: 0,
            guest_start: 0,
        };
        changed_in(pagemap, empty, &mut Vec::new()).is_ok()
            && one_scan(pagemap, 0, 0, &mut []).is_ok()
    }

    /// Adds the changed pages of a segment.
    pub(super) fn changed_in(
        pagemap: &File,
        segment: Segment,
        numbers: &mut Vec<u64>,
    ) -> Result<()> {
        const REGIONS_AT_ONCE: usize = 1024;
        let mut regions = vec![Region::default(); REGIONS_AT_ONCE];
        let mut start = segment.host_start;
        while start < segment.host_end {
            let (found, walked) = one_scan(pagemap, start, segment.host_end, &mut regions)?;
            for region in regions.iter().take(found) {
                let first = (region.start - segment.host_start + segment.guest_start) / PAGE;
                let pages = (region.end - region.start) / PAGE;
                numbers.extend(first..first + pages);
            }
            if walked <= start {
                return Err(Error::other("PAGEMAP_SCAN does not advance"));
            }
            start = walked;
        }
        Ok(())
    }

    /// One call: how many regions were found, and where the walk ended.
    fn one_scan(
        pagemap: &File,
        start: u64,
        end: u64,
        regions: &mut [Region],
    ) -> Result<(usize, u64)> {
        let mut arguments = Arguments {
            size: size_of::<Arguments>() as u64,
            start,
            end,
            regions: regions.as_mut_ptr() as u64,
            regions_length: regions.len() as u64,
            category_inverted: PAGE_IS_FILE,
            category_mask: PAGE_IS_FILE,
            category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
            return_mask: 0,
            ..Arguments::default()
        };
        // SAFETY: `arguments` is live and of the size it states; `regions` points to as many
        // regions as `regions_length` says, all of them live and writable for the whole call.
        let found = unsafe { libc::ioctl(pagemap.as_raw_fd(), PAGEMAP_SCAN, &raw mut arguments) };
        match usize::try_from(found) {
            Ok(found) => Ok((found.min(regions.len()), arguments.walk_end)),
            Err(_) => Err(Error::last_os_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_that_are_equal_and_hold_all_are_sound() {
        let listed = vec![1, 2, 5, 9];
        let check = PageCheck::of(&[listed.clone(), listed], &[2, 9]);
        let expected = PageCheck {
            ways: 2,
            listed: 4,
            disputed: 0,
            differing: 2,
            missed: 0,
        };
        assert_eq!(check, expected);
    }

    #[test]
    fn what_one_list_lacks_is_disputed_and_missed_if_it_differs() {
        let check = PageCheck::of(&[vec![1, 2, 5], vec![1, 5, 9]], &[1, 2, 7]);
        assert_eq!((check.listed, check.disputed), (4, 2));
        assert_eq!((check.differing, check.missed), (3, 2));
    }
}

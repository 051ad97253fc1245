//! Where an emulator has mapped its guest's memory, and reading and writing it from outside.
//!
//! Only `/proc/PID/mem` and `/proc/PID/maps` are used: no signal, no ptrace stop, and a stopped
//! guest stays as it was.

use crate::error::HypervisorError;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// Lines of `/proc/PID/maps` that are looked at: an emulator has a few hundred.
const MAX_MAPS: usize = 100_000;

/// One stretch of guest memory in the emulator's address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// First address in the emulator.
    pub host_start: u64,
    /// One past the last.
    pub host_end: u64,
    /// The guest-physical address of the first byte.
    pub guest_start: u64,
}

/// An emulator's mapping of its guest's memory.
#[derive(Debug)]
pub struct GuestMemory {
    pid: i32,
    memory_bytes: u64,
    segments: Vec<Segment>,
    file: File,
}

impl GuestMemory {
    /// Finds the mapping of a memory file in an emulator.
    ///
    /// # Errors
    /// The process cannot be read, or has not mapped the whole file.
    pub fn find(pid: i32, memory_file: &Path, memory_bytes: u64) -> Result<Self, HypervisorError> {
        let failed = |detail: String| HypervisorError::Memory { pid, detail };
        let identity = fs::metadata(memory_file)
            .map(|metadata| (metadata.dev(), metadata.ino()))
            .map_err(HypervisorError::file("look at", memory_file))?;
        let maps_path = format!("/proc/{pid}/maps");
        let maps = fs::read_to_string(&maps_path).map_err(|error| failed(error.to_string()))?;
        let segments = parse_maps(&maps, identity);
        let mapped: u64 = segments.iter().map(|s| s.host_end - s.host_start).sum();
        if mapped != memory_bytes {
            return Err(failed(format!(
                "{mapped} of {memory_bytes} bytes of guest memory are mapped"
            )));
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(format!("/proc/{pid}/mem"))
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self {
            pid,
            memory_bytes,
            segments,
            file,
        })
    }

    /// The stretches that it consists of, ascending by guest address.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The emulator's process.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Reads guest-physical memory.
    ///
    /// # Errors
    /// The range lies outside guest memory, or the process cannot be read.
    pub fn read(&self, address: u64, into: &mut [u8]) -> Result<(), HypervisorError> {
        let mut done = 0;
        while done < into.len() {
            let here = address.saturating_add(done as u64);
            let (host, room) = self.locate(here)?;
            let rest = into.get_mut(done..).unwrap_or_default();
            let length = rest.len().min(room);
            let part = rest.get_mut(..length).unwrap_or_default();
            self.file
                .read_exact_at(part, host)
                .map_err(|error| self.failed(&error))?;
            done += length;
        }
        Ok(())
    }

    /// Writes guest-physical memory.
    ///
    /// # Errors
    /// As for [`GuestMemory::read`].
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), HypervisorError> {
        let mut done = 0;
        while done < bytes.len() {
            let here = address.saturating_add(done as u64);
            let (host, room) = self.locate(here)?;
            let rest = bytes.get(done..).unwrap_or_default();
            let part = rest.get(..rest.len().min(room)).unwrap_or_default();
            self.file
                .write_all_at(part, host)
                .map_err(|error| self.failed(&error))?;
            done += part.len();
        }
        Ok(())
    }

    /// The emulator's address of a guest address, and how many bytes follow it there.
    fn locate(&self, address: u64) -> Result<(u64, usize), HypervisorError> {
        self.segments
            .iter()
            .find_map(|segment| {
                let offset = address.checked_sub(segment.guest_start)?;
                let host = segment.host_start.checked_add(offset)?;
                let room = segment.host_end.checked_sub(host)?;
                (room > 0).then(|| (host, usize::try_from(room).unwrap_or(usize::MAX)))
            })
            .ok_or(HypervisorError::OutsideMemory {
                address,
                memory_bytes: self.memory_bytes,
            })
    }

    fn failed(&self, error: &std::io::Error) -> HypervisorError {
        HypervisorError::Memory {
            pid: self.pid,
            detail: error.to_string(),
        }
    }
}

/// The mappings of one file, ascending by offset. Format: proc_pid_maps(5).
fn parse_maps(maps: &str, (device, inode): (u64, u64)) -> Vec<Segment> {
    let mut segments: Vec<Segment> = maps
        .lines()
        .take(MAX_MAPS)
        .filter_map(|line| parse_maps_line(line, device, inode))
        .collect();
    segments.sort_by_key(|segment| segment.guest_start);
    segments
}

fn parse_maps_line(line: &str, device: u64, inode: u64) -> Option<Segment> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let _permissions = fields.next()?;
    let offset = fields.next()?;
    let (major, minor) = fields.next()?.split_once(':')?;
    let found_device = rustix::fs::makedev(
        u32::from_str_radix(major, 16).ok()?,
        u32::from_str_radix(minor, 16).ok()?,
    );
    let found_inode: u64 = fields.next()?.parse().ok()?;
    let hexadecimal = |text| u64::from_str_radix(text, 16).ok();
    (found_device == device && found_inode == inode).then_some(Segment {
        host_start: hexadecimal(start)?,
        host_end: hexadecimal(end)?,
        guest_start: hexadecimal(offset)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_mapping_of_a_file_is_found_in_pieces() {
        let device = rustix::fs::makedev(0, 0x1a);
        let maps = "7f0000100000-7f0000200000 rw-p 00100000 00:1a 42 /dev/shm/a b\n\
                    7f0000000000-7f0000100000 rw-p 00000000 00:1a 42 /dev/shm/a b\n\
                    7f0000200000-7f0000300000 rw-p 00000000 00:1a 43 /dev/shm/c\n";
        let segments = parse_maps(maps, (device, 42));
        assert_eq!(segments.len(), 2);
        assert_eq!(segments[0].guest_start, 0);
        assert_eq!(segments[1].host_start, 0x7f00_0010_0000);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(line in ".{0,200}") {
            prop_assert!(parse_maps(&line, (0, 0)).len() <= 1);
        }
    }
}

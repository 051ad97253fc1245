//! Room for what a guest overwrites while its disk is read.
//!
//! Where an overlay's file cannot grow, QEMU takes it for an error of the guest's disk. So room is
//! taken ahead of what is used, for as long as the capture takes; and where there is no more to be had,
//! the capture is to be given up while some is left.

use super::LiveError;
use crate::error::HypervisorError;
use crate::host::need_space;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use std::fs::File;
use std::path::PathBuf;

/// Room for an overlay's tables, beyond what is copied to it.
const TABLE_BYTES: u64 = 4 << 20;

/// More is taken when less than this share of what was asked for is left: half.
const LEFT_SHARE: u64 = 2;

/// What room is needed for, in an error.
pub(super) const PURPOSE: &str = "what the guest overwrites";

/// The room of one overlay.
#[derive(Debug)]
pub struct Room {
    file: File,
    directory: PathBuf,
    /// How much is taken at once.
    step_bytes: u64,
    /// How much is taken.
    taken_bytes: u64,
    /// More than this is never needed.
    most_bytes: u64,
}

impl Room {
    /// Looks whether there is room in a directory for a disk's overlay, and makes its file, which has
    /// no name. The room is not taken yet.
    pub(super) fn find(
        directory: PathBuf,
        disk_bytes: u64,
        room_bytes: u64,
    ) -> Result<Self, LiveError> {
        let step_bytes = disk_bytes.min(room_bytes).saturating_add(TABLE_BYTES);
        need_space(&directory, step_bytes, PURPOSE)?;
        let file = tempfile::tempfile_in(&directory);
        let file = file.map_err(HypervisorError::file("make a file in", &directory))?;
        Ok(Self {
            file,
            directory,
            step_bytes,
            taken_bytes: 0,
            // Its tables grow with the disk: an entry of eight bytes for each cluster of 64 KiB, and
            // as much again for counts.
            most_bytes: disk_bytes
                .saturating_add(disk_bytes >> 12)
                .saturating_add(TABLE_BYTES),
        })
    }

    pub(super) const fn file(&self) -> &File {
        &self.file
    }

    /// Takes more room, where what is taken is about to be used up.
    ///
    /// # Errors
    /// There is no more: [`HypervisorError::NoSpace`]. Then about half of what was asked for at first
    /// is left.
    pub fn keep_ahead(&mut self) -> Result<(), LiveError> {
        let failed = HypervisorError::file("look at what was overwritten in", &self.directory);
        let used_bytes = self.file.metadata().map_err(failed)?.len();
        let left = self.taken_bytes.saturating_sub(used_bytes);
        if self.taken_bytes >= self.most_bytes || left > self.step_bytes / LEFT_SHARE {
            return Ok(());
        }
        let wanted = self.taken_bytes.max(used_bytes);
        let wanted = wanted.saturating_add(self.step_bytes).min(self.most_bytes);
        self.take(wanted)
    }

    /// Takes room beyond the file's end, so that nobody else does while the guest needs it.
    fn take(&mut self, bytes: u64) -> Result<(), LiveError> {
        let more = bytes.saturating_sub(self.taken_bytes);
        match fallocate(
            &self.file,
            FallocateFlags::KEEP_SIZE,
            self.taken_bytes,
            more,
        ) {
            Ok(()) => {}
            // A file system that cannot do so: it must have that much now.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => need_space(&self.directory, more, PURPOSE)?,
            Err(Errno::NOSPC | Errno::DQUOT) => {
                // Nothing of a part that was taken is given back: it is of use as well.
                need_space(&self.directory, more, PURPOSE)?;
                return Err(HypervisorError::NoSpace {
                    path: self.directory.clone(),
                    free_bytes: 0,
                    needed_bytes: more,
                    what: PURPOSE,
                }
                .into());
            }
            Err(error) => {
                let failed = HypervisorError::file("reserve room in", &self.directory);
                return Err(failed(error.into()).into());
            }
        }
        self.taken_bytes = bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::ftruncate;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn room_is_taken_ahead_of_what_is_used() {
        let directory = tempfile::tempdir().unwrap();
        let (disk, step) = (64 << 20, 8 << 20);
        let mut room = Room::find(directory.path().to_path_buf(), disk, step).unwrap();
        let taken = |room: &Room| room.file.metadata().unwrap().blocks() * 512;
        room.keep_ahead().unwrap();
        let first = room.taken_bytes;
        assert_eq!(first, step + TABLE_BYTES);
        assert!(taken(&room) >= first || taken(&room) == 0);
        // Nothing is used: nothing more is taken.
        room.keep_ahead().unwrap();
        assert_eq!(room.taken_bytes, first);
        ftruncate(&room.file, first / 2 + 1).unwrap();
        room.keep_ahead().unwrap();
        assert_eq!(room.taken_bytes, 2 * first);
        // There is an end to what a disk can need.
        for used in (1..20).map(|time| time * first) {
            ftruncate(&room.file, used).unwrap();
            room.keep_ahead().unwrap();
        }
        assert_eq!(room.taken_bytes, room.most_bytes);
    }

    #[test]
    fn where_there_is_none_it_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let none = Room::find(directory.path().to_path_buf(), 1 << 60, 1 << 60);
        assert!(matches!(
            none,
            Err(LiveError::Hypervisor(HypervisorError::NoSpace { .. }))
        ));
    }
}

//! A disk brought back in its own place.
//!
//! ```text
//!  nobody has it open ──► captured as it is (the checkpoint) ──► written: what is not as it was
//! ```
//!
//! Whatever happens while it is written, the checkpoint holds the disk as it was before, and the
//! version that is restored is still in the history: it is begun again. Others are kept away meanwhile
//! by a lock that QEMU heeds, and that `qemu-img` takes itself.

use super::asker::{Hear, understand};
use super::capture::{Captured, capture};
use super::chain::{Chain, open_to_write};
use super::error::ImageError;
use super::order::{Disk, Order};
use super::reference::Point;
use super::shadow::{Shadows, source};
use super::told::Told;
use crate::session::now;
use disk::Format;
use hypervisor::image_tool::write_into_qcow2;
use image::history::History;
use image::seal::SealingKey;
use rustix::fs::{FallocateFlags, FlockOperation, fallocate, fcntl_lock};
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _};
use std::path::{Path, PathBuf};

/// How much is held against what lies there at once.
const PIECE_BYTES: usize = 1 << 20;

/// A disk that was restored in its place.
#[derive(Debug, Clone)]
pub struct InPlace {
    /// Where it lies.
    pub path: PathBuf,
    /// What it was before.
    pub checkpoint: Captured,
    /// What it is now: the place in its history.
    pub sequence: u64,
    /// Its size.
    pub size_bytes: u64,
}

/// Writes a disk at rest as it was at a point over what it is now, in the file or device from which it
/// was added. As it is now it is captured first.
///
/// # Errors
/// It is a running machine's or a snapshot, somebody has it open, it cannot be captured, or not
/// written: then it may be half the one and half the other, and both are in the history.
pub fn restore_in_place(
    shadows: &Shadows,
    key: &SealingKey,
    (name, at): (&str, &Point),
    progress: &mut dyn FnMut(u64, u64),
) -> Result<InPlace, ImageError> {
    let vault = shadows.write(name)?;
    let record = vault.shelf.record();
    let file = source(&record)?;
    let refused = |why: &str| {
        let text = format!("{name} {why}: restore it to a new file, with --to FILE");
        Err(ImageError::NoSuch(text))
    };
    if file.snapshot.is_some() {
        return refused("is a snapshot within an image, which cannot be written");
    }
    // What is meant is told before the checkpoint moves the end.
    let history = History::open(&*vault.blobs)?;
    let target = at.find(history.changesets())?.changeset.clone();
    let chain = Chain::open(&shadows.worker, &file)?;
    let format = chain.format();
    if format != Format::Raw.name() && format != Format::Qcow2.name() {
        return refused(&format!("is of the format {format}, which is only read"));
    }
    if format == Format::Qcow2.name() && chain.disk_bytes != target.disk_bytes {
        return refused("had another size then");
    }
    chain.nobody_has_it()?;
    vault.tidy();
    let blobs = vault.sealed(key);
    let checkpoint = capture(&shadows.worker, &chain, &blobs, now(), progress)?;
    let path = chain.path().to_path_buf();
    let whole = Order::Whole {
        disk: Disk::Version(target.sequence),
    };
    let carry_out = |hear: &mut dyn Hear| {
        let size = target.disk_bytes;
        let blobs = Some(&*vault.blobs);
        shadows.worker.carry_out(&whole, &[], size, blobs, hear)
    };
    let failed = |doing| ImageError::file(doing, &path);
    if format == Format::Raw.name() {
        // It stays locked for as long as the chain and this are open.
        let file = open_to_write(&chain)?;
        fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| failed("lock")(error.into()))?;
        chain.nobody_has_it()?;
        chain.is_unchanged()?;
        let mut over = Over::new(&file, &path, progress)?;
        carry_out(&mut over)?;
        over.finish()?;
        file.sync_all().map_err(failed("write"))?;
    } else {
        // It has no name: whatever becomes of us, nothing of it is left.
        let room = vault.shelf.path();
        let aside =
            tempfile::tempfile_in(room).map_err(ImageError::file("make a file in", room))?;
        let mut over = Over::new(&aside, room, progress)?;
        carry_out(&mut over)?;
        over.finish()?;
        chain.is_unchanged()?;
        drop(chain);
        let named = format!("/proc/{}/fd/{}", std::process::id(), aside.as_raw_fd());
        write_into_qcow2(Path::new(&named), &path)?;
    }
    Ok(InPlace {
        path,
        checkpoint,
        sequence: target.sequence,
        size_bytes: target.disk_bytes,
    })
}

/// Writes a disk over a file or device: only what is not there already.
struct Over<'a> {
    file: &'a File,
    path: &'a Path,
    is_device: bool,
    size_bytes: Option<u64>,
    /// Up to where it is as it should be.
    at: u64,
    there: Vec<u8>,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl<'a> Over<'a> {
    fn new(
        file: &'a File,
        path: &'a Path,
        progress: &'a mut dyn FnMut(u64, u64),
    ) -> Result<Self, ImageError> {
        let metadata = file.metadata().map_err(ImageError::file("look at", path))?;
        Ok(Self {
            file,
            path,
            is_device: metadata.file_type().is_block_device(),
            size_bytes: None,
            at: 0,
            there: vec![0; PIECE_BYTES],
            progress,
        })
    }

    fn failed(&self) -> impl Fn(std::io::Error) -> ImageError {
        ImageError::file("write", self.path)
    }

    /// Makes the file as long as the disk is to be; a device is as long as it is.
    fn resize(&mut self, size_bytes: u64) -> Result<(), ImageError> {
        self.size_bytes = Some(size_bytes);
        if !self.is_device {
            return self.file.set_len(size_bytes).map_err(self.failed());
        }
        let end = rustix::fs::seek(self.file, rustix::fs::SeekFrom::End(0));
        match end {
            Ok(end) if end == size_bytes => Ok(()),
            Ok(end) => Err(self.failed()(std::io::Error::other(format!(
                "the device has {end} bytes, and the disk {size_bytes}"
            )))),
            Err(error) => Err(self.failed()(error.into())),
        }
    }

    /// Brings zeros to where nothing was told of.
    fn zeros_to(&mut self, end: u64) -> Result<(), ImageError> {
        while self.at < end {
            let piece = (end - self.at).min(PIECE_BYTES as u64);
            let bytes = usize::try_from(piece).unwrap_or(PIECE_BYTES);
            let there = self.there.get_mut(..bytes).unwrap_or_default();
            let failed = ImageError::file("write", self.path);
            self.file.read_exact_at(there, self.at).map_err(&failed)?;
            if there.iter().any(|byte| *byte != 0) {
                let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                if self.is_device || fallocate(self.file, punch, self.at, piece).is_err() {
                    there.fill(0);
                    self.file.write_all_at(there, self.at).map_err(&failed)?;
                }
            }
            self.at += piece;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), ImageError> {
        let size_bytes = self.size_bytes.ok_or_else(strange)?;
        self.zeros_to(size_bytes)
    }
}

fn strange() -> ImageError {
    ImageError::Worker("it tells what nobody asked for".to_owned())
}

impl Hear for Over<'_> {
    fn item(&mut self, json: &[u8]) -> Result<(), ImageError> {
        match (understand(json)?, self.size_bytes) {
            (Told::Disk { size_bytes }, None) => self.resize(size_bytes),
            _ => Err(strange()),
        }
    }

    fn bytes(&mut self, at: u64, bytes: &[u8]) -> Result<(), ImageError> {
        let size = self.size_bytes.ok_or_else(strange)?;
        let end = at.saturating_add(bytes.len() as u64);
        if at < self.at || end > size {
            return Err(strange());
        }
        self.zeros_to(at)?;
        let failed = ImageError::file("write", self.path);
        for piece in bytes.chunks(PIECE_BYTES) {
            let there = self.there.get_mut(..piece.len()).unwrap_or_default();
            self.file.read_exact_at(there, self.at).map_err(&failed)?;
            if there != piece {
                self.file.write_all_at(piece, self.at).map_err(&failed)?;
            }
            self.at += piece.len() as u64;
        }
        (self.progress)(end, size);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_differs_is_written_and_holes_are_made() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut before = vec![7_u8; 3 << 20];
        before[1 << 20..(1 << 20) + 4096].fill(1);
        std::fs::write(file.path(), &before).unwrap();
        let mut heard = 0;
        let mut progress = |done, _| heard = done;
        let mut over = Over::new(file.as_file(), file.path(), &mut progress).unwrap();
        assert!(over.bytes(0, &[1]).is_err());
        let told = json!({ "disk": { "size_bytes": 2_500_000 } }).to_string();
        over.item(told.as_bytes()).unwrap();
        over.bytes(0, &[7; 5000]).unwrap();
        over.bytes(1 << 20, &[9; 4096]).unwrap();
        // Never backwards, nor behind the end.
        assert!(over.bytes(0, &[1]).is_err());
        assert!(over.bytes(2_499_999, &[1; 2]).is_err());
        over.finish().unwrap();
        let mut expected = vec![0_u8; 2_500_000];
        expected[..5000].fill(7);
        expected[1 << 20..(1 << 20) + 4096].fill(9);
        assert!(std::fs::read(file.path()).unwrap() == expected);
        assert_eq!(heard, (1 << 20) + 4096);
    }
}

//! The files that a program leaves in its working directory.
//!
//! All of them are in the result's digest. The first of them, in the order of their paths, are sent:
//! whole where they are short, else their beginning, their length and their BLAKE3 digest.

use super::WORK_DIRECTORY;
use crate::error::GuestError;
use computation::job::program::LeftFile;
use computation::job::safe_name;
use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The most bytes of one file that are sent.
const MAX_SENT_BYTES_EACH: usize = 64 << 10;
/// The most bytes of all files that are sent: a byte costs microseconds on its way.
const MAX_SENT_BYTES: usize = 512 << 10;
/// The most files that are sent: what the host takes.
const MAX_SENT: usize = computation::job::files::MAX_FILES;
/// The most bytes that are read of all files: some seconds' work. Only holes can make files so
/// long, since memory is smaller.
const MAX_READ_BYTES: u64 = 256 << 20;

/// What was found.
#[derive(Default)]
pub(super) struct Leavings {
    /// All files and links, in the order of their paths.
    pub(super) files: Vec<LeftFile>,
    /// Name and content of those that are sent.
    pub(super) sent: Vec<(String, Vec<u8>)>,
    /// How many are not.
    pub(super) not_sent: u64,
    names: BTreeSet<String>,
    sent_bytes: usize,
    read_bytes: u64,
}

/// Reads them all.
pub(super) fn read() -> Result<Leavings, GuestError> {
    let mut paths = Vec::new();
    let mut directories = vec![PathBuf::from(WORK_DIRECTORY)];
    while let Some(directory) = directories.pop() {
        // A path that is too long to be opened is a file that is not sent.
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => directories.push(path),
                Ok(kind) if kind.is_file() || kind.is_symlink() => paths.push(path),
                _ => {}
            }
        }
    }
    paths.sort();
    let mut leavings = Leavings::default();
    for path in paths {
        leavings.add(&path)?;
    }
    Ok(leavings)
}

impl Leavings {
    fn add(&mut self, path: &Path) -> Result<(), GuestError> {
        let failed = |source| GuestError::File {
            attempt: "read",
            path: path.display().to_string(),
            source,
        };
        let metadata = fs::symlink_metadata(path).map_err(failed)?;
        let (bytes, digest, head) = if metadata.is_symlink() {
            let target = fs::read_link(path).map_err(failed)?;
            let target = target.as_os_str().as_bytes().to_vec();
            let digest = blake3::hash(&target);
            (target.len() as u64, digest, target)
        } else {
            self.content(path, &metadata).map_err(failed)?
        };
        let relative = path.strip_prefix(WORK_DIRECTORY).unwrap_or(path);
        let relative = relative.as_os_str().as_bytes().to_vec();
        self.send(&relative, bytes, digest, head);
        self.files.push(LeftFile {
            path: relative,
            bytes,
            digest: *digest.as_bytes(),
        });
        Ok(())
    }

    /// Length, digest and beginning of a file. One beyond the limit counts by its length alone.
    fn content(
        &mut self,
        path: &Path,
        metadata: &Metadata,
    ) -> std::io::Result<(u64, blake3::Hash, Vec<u8>)> {
        let bytes = metadata.len();
        let mut hasher = blake3::Hasher::new();
        self.read_bytes = self.read_bytes.saturating_add(bytes);
        let mut head = Vec::new();
        if self.read_bytes > MAX_READ_BYTES {
            return Ok((bytes, hasher.finalize(), head));
        }
        let mut file = File::open(path)?;
        let mut part = vec![0; MAX_SENT_BYTES_EACH];
        loop {
            let read = file.read(&mut part)?;
            let piece = part.get(..read).unwrap_or_default();
            if piece.is_empty() {
                return Ok((bytes, hasher.finalize(), head));
            }
            hasher.update(piece);
            let room = MAX_SENT_BYTES_EACH - head.len();
            head.extend_from_slice(piece.get(..room.min(read)).unwrap_or_default());
        }
    }

    fn send(&mut self, path: &[u8], bytes: u64, digest: blake3::Hash, mut head: Vec<u8>) {
        if self.sent.len() >= MAX_SENT || self.sent_bytes + head.len() > MAX_SENT_BYTES {
            self.not_sent += 1;
            return;
        }
        if head.len() as u64 != bytes {
            head.extend_from_slice(&bytes.to_le_bytes());
            head.extend_from_slice(digest.as_bytes());
        }
        self.sent_bytes += head.len();
        let name = self.name(path);
        self.sent.push((name, head));
    }

    /// A safe name for a path: its own, or one that a digest tells apart from others.
    fn name(&mut self, path: &[u8]) -> String {
        const KEPT_CHARACTERS: usize = 40;
        let text = String::from_utf8_lossy(path);
        let safe = safe_name(&text);
        let name = if safe == text && !self.names.contains(&safe) {
            safe
        } else {
            let digest = blake3::hash(path).to_hex();
            let kept: String = safe.chars().take(KEPT_CHARACTERS).collect();
            let told: String = digest.chars().take(16).collect();
            format!("{kept}-{told}")
        };
        self.names.insert(name.clone());
        name
    }
}

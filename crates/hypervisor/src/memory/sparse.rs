//! Copies of sparse files that stay sparse: guest memory is mostly holes.

use crate::error::HypervisorError;
use rustix::fs::{SeekFrom, seek};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

const BYTES_AT_ONCE: usize = 1 << 20;

/// Copies a file's data and leaves its holes. The new file is private.
///
/// # Errors
/// Either file cannot be opened, read or written, or the new one exists.
pub fn copy(from: &Path, to: &Path) -> Result<(), HypervisorError> {
    let source = File::open(from).map_err(HypervisorError::file("open", from))?;
    let length = source
        .metadata()
        .map_err(HypervisorError::file("look at", from))?
        .len();
    let target = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .map_err(HypervisorError::file("make", to))?;
    copy_data(&source, &target, length).map_err(HypervisorError::file("copy memory to", to))?;
    target
        .set_len(length)
        .map_err(HypervisorError::file("set the length of", to))
}

fn copy_data(source: &File, target: &File, length: u64) -> std::io::Result<()> {
    let mut buffer = vec![0; BYTES_AT_ONCE];
    let mut at = 0;
    while let Some((start, end)) = next_data(source, at, length)? {
        at = start;
        while at < end {
            let left = usize::try_from(end - at).unwrap_or(usize::MAX);
            let part = buffer
                .get_mut(..left.min(BYTES_AT_ONCE))
                .unwrap_or_default();
            source.read_exact_at(part, at)?;
            target.write_all_at(part, at)?;
            at += part.len() as u64;
        }
    }
    Ok(())
}

/// The next stretch of data at or after an offset.
///
/// # Errors
/// The file system cannot seek for data.
pub fn next_data(file: &File, from: u64, length: u64) -> std::io::Result<Option<(u64, u64)>> {
    if from >= length {
        return Ok(None);
    }
    let start = match seek(file, SeekFrom::Data(from)) {
        Ok(start) => start,
        Err(rustix::io::Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let end = seek(file, SeekFrom::Hole(start))?;
    Ok(Some((start, end.min(length))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn data_is_copied_and_holes_stay_holes() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("a"), directory.path().join("b"));
        let source = File::create(&from).unwrap();
        source.set_len(64 << 20).unwrap();
        source.write_all_at(b"middle", 32 << 20).unwrap();
        copy(&from, &to).unwrap();
        let metadata = std::fs::metadata(&to).unwrap();
        assert_eq!(metadata.len(), 64 << 20);
        assert!(metadata.blocks() * 512 < 4 << 20);
        let mut found = [0; 6];
        File::open(&to)
            .unwrap()
            .read_exact_at(&mut found, 32 << 20)
            .unwrap();
        assert_eq!(&found, b"middle");
    }
}

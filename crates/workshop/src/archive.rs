//! The file system in memory that a guest starts from: an archive in the format `newc`.
//!
//! The product's own archive (`guest::initramfs`) holds one program and few files, and is
//! the same for all machines; this one holds what a test asks for.

use anyhow::{Context, Result};
use cpio::newc::{self, Builder, ModeFileType};
use std::collections::BTreeSet;
use std::io::Write;

/// An archive under construction.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    names: BTreeSet<String>,
}

impl Archive {
    /// A directory, and those above it.
    pub(crate) fn directory(&mut self, path: &str) -> Result<()> {
        let name = path.trim_matches('/');
        let ends = name.match_indices('/').map(|(end, _)| end);
        for end in ends.chain([name.len()]) {
            let above = &name[..end];
            if !above.is_empty() && self.names.insert(above.to_owned()) {
                self.append(above, 0o755, ModeFileType::Directory, &[])?;
            }
        }
        Ok(())
    }

    /// A file, and the directories above it. The first of two with one name stays.
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        let name = path.trim_start_matches('/');
        if let Some((above, _)) = name.rsplit_once('/') {
            self.directory(above)?;
        }
        if self.names.insert(name.to_owned()) {
            self.append(name, mode, ModeFileType::Regular, content)?;
        }
        Ok(())
    }

    fn append(&mut self, name: &str, mode: u32, kind: ModeFileType, content: &[u8]) -> Result<()> {
        let inode = u32::try_from(self.names.len())?;
        let size = u32::try_from(content.len()).with_context(|| format!("{name} is too large"))?;
        let builder = Builder::new(name).mode(mode & 0o7777).ino(inode);
        let builder = builder.set_mode_file_type(kind);
        let mut writer = builder.write(std::mem::take(&mut self.bytes), size);
        writer.write_all(content)?;
        self.bytes = writer.finish()?;
        Ok(())
    }

    /// The archive, whole.
    pub(crate) fn end(self) -> Result<Vec<u8>> {
        newc::trailer(self.bytes).context("cannot end the archive")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_before_their_files_and_nothing_twice() {
        let mut archive = Archive::default();
        archive.file("/a/b/c", 0o644, b"one").unwrap();
        archive.file("/a/b/c", 0o644, b"two").unwrap();
        archive.file("a/d", 0o755, b"").unwrap();
        let bytes = archive.end().unwrap();
        let mut rest = &bytes[..];
        let mut names = Vec::new();
        loop {
            let reader = newc::Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            names.push(reader.entry().name().to_owned());
            rest = reader.finish().unwrap();
        }
        assert_eq!(names, ["a", "a/b", "a/b/c", "a/d"]);
    }
}

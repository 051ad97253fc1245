//! A file that is there whole or not at all.

use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// A file that is being written beside its place. It comes to its place by [`keep`](Self::keep),
/// and is removed if it is dropped before.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    aside: PathBuf,
    place: PathBuf,
    kept: bool,
}

impl NewFile {
    /// Begins a file. Its place must be free.
    ///
    /// # Errors
    /// Something is at its place, or beside it nothing can be made.
    pub fn create(place: &Path) -> io::Result<Self> {
        if place.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let name = place.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.part", std::process::id()));
        let aside = place.with_file_name(hidden);
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create_new(true)
            .open(&aside)?;
        Ok(Self {
            file,
            aside,
            place: place.to_path_buf(),
            kept: false,
        })
    }

    /// The file, to be written.
    #[must_use]
    pub const fn file(&self) -> &File {
        &self.file
    }

    /// Makes it durable and moves it to its place.
    ///
    /// # Errors
    /// It cannot be made durable, or something has come to its place meanwhile.
    pub fn keep(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        renameat_with(CWD, &self.aside, CWD, &self.place, RenameFlags::NOREPLACE)?;
        self.kept = true;
        let above = self
            .place
            .parent()
            .filter(|above| !above.as_os_str().is_empty());
        File::open(above.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.kept {
            // It may be gone with its directory.
            drop(std::fs::remove_file(&self.aside));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn it_is_there_when_it_is_kept_and_never_writes_over() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("disk.raw");
        let new = NewFile::create(&place).unwrap();
        new.file().write_all(b"whole").unwrap();
        assert!(!place.exists());
        new.keep().unwrap();
        assert_eq!(std::fs::read(&place).unwrap(), b"whole");
        assert!(NewFile::create(&place).is_err());
        let other = directory.path().join("other");
        let new = NewFile::create(&other).unwrap();
        std::fs::write(&other, "came first").unwrap();
        assert!(new.keep().is_err());
        drop(NewFile::create(&directory.path().join("third")).unwrap());
        let left = std::fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(left, 2);
    }
}

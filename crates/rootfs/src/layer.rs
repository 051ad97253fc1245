//! Unpacking one archive over a tree, as layers of a container's image lie over each other.
//!
//! `.wh.NAME` removes NAME of the layers below, `.wh..wh..opq` all that they have in its directory.
//! Source: OCI Image Format Specification, "Image Layer Filesystem Changeset".
//!
//! Everything is written below the tree: names are taken apart first, and a directory that a link
//! leads out of the tree is refused.

use crate::error::{RootfsError, printable, reason};
use std::collections::HashSet;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Component, Path, PathBuf};
use tar::EntryType;

/// The most entries of an archive: three times those of a full desktop.
const MAX_ENTRIES: u64 = 4 << 20;

/// The most bytes that come out of an archive.
const MAX_BYTES: u64 = 256 << 30;

const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";

/// An archive that is being unpacked over a tree.
pub(crate) struct Layer<'a> {
    archive: &'a Path,
    /// The tree, by its true path.
    tree: PathBuf,
    /// Whether names can take away what lies below.
    has_whiteouts: bool,
    /// What this layer has written itself.
    written: HashSet<PathBuf>,
    /// Directories, whose modes are set last, so that a read-only one can be filled.
    directories: Vec<Directory>,
    is_root: bool,
}

struct Directory {
    path: PathBuf,
    mode: u32,
    owner: Option<(u32, u32)>,
}

impl<'a> Layer<'a> {
    pub(crate) fn new(
        archive: &'a Path,
        tree: &Path,
        has_whiteouts: bool,
    ) -> Result<Self, RootfsError> {
        Ok(Self {
            archive,
            tree: fs::canonicalize(tree).map_err(RootfsError::io("read", tree))?,
            has_whiteouts,
            written: HashSet::new(),
            directories: Vec::new(),
            is_root: rustix::process::geteuid().is_root(),
        })
    }

    /// Unpacks what comes out of the archive.
    pub(crate) fn apply(mut self, content: impl Read) -> Result<(), RootfsError> {
        let mut archive = tar::Archive::new(content);
        archive.set_preserve_permissions(true);
        archive.set_preserve_mtime(true);
        archive.set_preserve_ownerships(self.is_root);
        archive.set_overwrite(true);
        let path = self.archive;
        let damaged = |source: io::Error| RootfsError::Archive {
            path: path.to_path_buf(),
            source,
        };
        let (mut entries, mut bytes) = (0_u64, 0_u64);
        for entry in archive.entries().map_err(damaged)? {
            let mut entry = entry.map_err(damaged)?;
            entries += 1;
            bytes = bytes.saturating_add(entry.size());
            if entries > MAX_ENTRIES || bytes > MAX_BYTES {
                return Err(RootfsError::TooMuch {
                    path: self.archive.to_path_buf(),
                    limit: format!("{MAX_ENTRIES} files or {} GiB", MAX_BYTES >> 30),
                });
            }
            self.entry(&mut entry)?;
        }
        self.settle_directories()
    }

    fn refused(&self, entry: &Path, why: impl Into<String>) -> RootfsError {
        RootfsError::Entry {
            path: self.archive.to_path_buf(),
            entry: printable(entry),
            why: why.into(),
        }
    }

    fn entry(&mut self, entry: &mut tar::Entry<'_, impl Read>) -> Result<(), RootfsError> {
        let name = entry.path().map_err(|source| RootfsError::Archive {
            path: self.archive.to_path_buf(),
            source,
        })?;
        let Some(inside) = relative(&name) else {
            return Err(self.refused(&name, "its name leads out of the root"));
        };
        let name = name.into_owned();
        let Some(last) = inside.file_name() else {
            // The root itself.
            return Ok(());
        };
        if self.has_whiteouts
            && let Some(hidden) = last.to_str().and_then(|name| name.strip_prefix(WHITEOUT))
        {
            return self.hide(&name, &inside, hidden);
        }
        let kind = entry.header().entry_type();
        if !is_taken(kind) {
            return Ok(());
        }
        let target = self.place_of(&name, &inside)?;
        self.clear(&target, kind == EntryType::Directory)
            .map_err(|error| self.refused(&name, reason(&error)))?;
        if kind == EntryType::Directory {
            let made = fs::create_dir(&target);
            if let Err(error) = made
                && error.kind() != io::ErrorKind::AlreadyExists
            {
                return Err(self.refused(&name, reason(&error)));
            }
            self.remember(entry, &target);
        } else {
            let done = entry.unpack_in(&self.tree);
            match done {
                Ok(true) => {}
                Ok(false) => return Err(self.refused(&name, "its name leads out of the root")),
                Err(error) => return Err(self.refused(&name, reason(&error))),
            }
        }
        self.written.insert(inside);
        Ok(())
    }

    fn remember(&mut self, entry: &tar::Entry<'_, impl Read>, target: &Path) {
        let header = entry.header();
        let owner = header.uid().ok().zip(header.gid().ok());
        let owner = owner.and_then(|(user, group)| {
            Some((u32::try_from(user).ok()?, u32::try_from(group).ok()?))
        });
        self.directories.push(Directory {
            path: target.to_path_buf(),
            mode: header.mode().unwrap_or(0o755) & 0o7777,
            owner: owner.filter(|_| self.is_root),
        });
    }

    /// Where an entry goes: the directory that it is in is made, and lies in the tree.
    fn place_of(&self, name: &Path, inside: &Path) -> Result<PathBuf, RootfsError> {
        let parent = inside.parent().unwrap_or(Path::new(""));
        let directory = self.directory(name, parent, true)?;
        let directory = directory.unwrap_or_else(|| self.tree.clone());
        Ok(directory.join(inside.file_name().unwrap_or_default()))
    }

    /// The true path of a directory of the tree, step by step, so that none is made behind a link that
    /// leads out; nothing where there is none and none is to be made.
    fn directory(
        &self,
        name: &Path,
        inside: &Path,
        make: bool,
    ) -> Result<Option<PathBuf>, RootfsError> {
        let mut at = self.tree.clone();
        for part in inside.components() {
            let next = at.join(part);
            match fs::canonicalize(&next) {
                Ok(found) if found.starts_with(&self.tree) => at = found,
                Ok(_) => return Err(self.refused(name, "a link leads out of the root")),
                Err(error) if error.kind() == io::ErrorKind::NotFound && make => {
                    fs::create_dir(&next).map_err(|error| {
                        self.refused(
                            name,
                            format!("its directory cannot be made: {}", reason(&error)),
                        )
                    })?;
                    at = next;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(self.refused(name, reason(&error))),
            }
        }
        Ok(Some(at))
    }

    /// Takes away what another layer has left at a place; a directory stays where one is to be.
    fn clear(&self, target: &Path, is_directory: bool) -> io::Result<()> {
        match fs::symlink_metadata(target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(there) if there.is_dir() && is_directory => Ok(()),
            Ok(there) if there.is_dir() => fs::remove_dir_all(target),
            Ok(_) => fs::remove_file(target),
        }
    }

    fn hide(&self, name: &Path, inside: &Path, hidden: &str) -> Result<(), RootfsError> {
        let parent = inside.parent().unwrap_or(Path::new(""));
        let Some(directory) = self.directory(name, parent, false)? else {
            return Ok(());
        };
        let failed = |error: io::Error| self.refused(name, reason(&error));
        if inside.file_name().is_some_and(|last| last == OPAQUE) {
            for entry in fs::read_dir(&directory).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let is_ours = self.written.contains(&parent.join(entry.file_name()));
                if !is_ours {
                    self.clear(&entry.path(), false).map_err(failed)?;
                }
            }
            return Ok(());
        }
        if matches!(hidden, "" | "." | "..") || hidden.contains('/') {
            return Err(self.refused(name, "it takes nothing away"));
        }
        self.clear(&directory.join(hidden), false).map_err(failed)
    }

    /// Gives directories their owners and modes, the innermost first.
    fn settle_directories(mut self) -> Result<(), RootfsError> {
        for directory in std::mem::take(&mut self.directories).into_iter().rev() {
            // Something else may have been put in its place since.
            if !fs::symlink_metadata(&directory.path).is_ok_and(|there| there.is_dir()) {
                continue;
            }
            let failed = |error: io::Error| self.refused(&directory.path, reason(&error));
            if let Some((user, group)) = directory.owner {
                chown(&directory.path, Some(user), Some(group)).map_err(failed)?;
            }
            let mode = fs::Permissions::from_mode(directory.mode);
            fs::set_permissions(&directory.path, mode).map_err(failed)?;
        }
        Ok(())
    }
}

/// Whether an entry is something that a file system is made with.
fn is_taken(kind: EntryType) -> bool {
    matches!(
        kind,
        EntryType::Regular
            | EntryType::Continuous
            | EntryType::GNUSparse
            | EntryType::Directory
            | EntryType::Symlink
            | EntryType::Link
    )
}

/// A name below the root; nothing for one that leads out of it. An archive's own root is the root.
fn relative(name: &Path) -> Option<PathBuf> {
    let mut inside = PathBuf::new();
    for part in name.components() {
        match part {
            Component::Normal(part) => inside.push(part),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(inside)
}

#[cfg(test)]
mod tests;

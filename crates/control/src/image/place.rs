//! Where restored things are put: below one directory, whatever their names say.
//!
//! Names come out of a guest, through a worker that the guest's image may have taken over. The
//! kernel resolves each path beneath the directory, through no link (`openat2(2)`), and nothing that
//! is there is written over.

use super::error::ImageError;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What a restored thing is, besides its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attributes {
    /// Permissions.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Seconds since 1970, and nanoseconds.
    pub(super) modified: (i64, u32),
}

/// A directory that things are restored into.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    root: OwnedFd,
    /// Only root can give files to others.
    gives_away: bool,
}

impl Place {
    /// Takes a directory, which is made where it is absent.
    pub(super) fn open(path: &Path) -> Result<Self, ImageError> {
        std::fs::create_dir_all(path).map_err(ImageError::file("make", path))?;
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        let root = rustix::fs::open(path, flags, Mode::empty());
        Ok(Self {
            path: path.to_path_buf(),
            root: root.map_err(|error| ImageError::file("open", path)(error.into()))?,
            gives_away: rustix::process::geteuid().is_root(),
        })
    }

    /// Makes a directory, if there is none.
    pub(super) fn directory(&self, path: &[u8]) -> Result<(), ImageError> {
        let Some((above, name)) = self.above(path)? else {
            return Ok(());
        };
        match rustix::fs::mkdirat(&above, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(self.failed("make", path, error)),
        }
    }

    /// Makes a file that is not there yet.
    pub(super) fn file(&self, path: &[u8]) -> Result<File, ImageError> {
        let Some((above, name)) = self.above(path)? else {
            return Err(self.failed("make", path, Errno::ISDIR));
        };
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let made = rustix::fs::openat(&above, name, flags, Mode::RUSR | Mode::WUSR);
        made.map(File::from)
            .map_err(|error| self.failed("make", path, error))
    }

    /// Makes a symbolic link that is not there yet.
    pub(super) fn link(&self, path: &[u8], target: &[u8]) -> Result<(), ImageError> {
        let Some((above, name)) = self.above(path)? else {
            return Err(self.failed("make", path, Errno::ISDIR));
        };
        rustix::fs::symlinkat(OsStr::from_bytes(target), &above, name)
            .map_err(|error| self.failed("make", path, error))
    }

    /// Sets what a thing is besides its content. The bits that lend rights are not set: what is
    /// restored is to be looked at, not to be run as somebody.
    pub(super) fn finish(
        &self,
        path: &[u8],
        is_link: bool,
        attributes: &Attributes,
    ) -> Result<(), ImageError> {
        let Some((above, name)) = self.above(path)? else {
            return Ok(());
        };
        let failed = |error| self.failed("set the attributes of", path, error);
        if self.gives_away {
            let owner = rustix::fs::Uid::from_raw(attributes.uid);
            let group = rustix::fs::Gid::from_raw(attributes.gid);
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::chownat(&above, name, Some(owner), Some(group), flags).map_err(failed)?;
        }
        if !is_link {
            let mode = Mode::from_raw_mode(attributes.mode & 0o777);
            rustix::fs::chmodat(&above, name, mode, AtFlags::empty()).map_err(failed)?;
        }
        let modified = Timespec {
            tv_sec: attributes.modified.0,
            tv_nsec: attributes.modified.1.min(999_999_999).into(),
        };
        let times = Timestamps {
            last_access: modified,
            last_modification: modified,
        };
        rustix::fs::utimensat(&above, name, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)
    }

    /// The directory above a path, and the name in it; nothing for the place itself.
    fn above<'p>(&self, path: &'p [u8]) -> Result<Option<(OwnedFd, &'p OsStr)>, ImageError> {
        let mut parts = path
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty());
        let Some(last) = parts.next_back() else {
            return Ok(None);
        };
        let is_step = |part: &[u8]| part != b"." && part != b".." && !part.contains(&0);
        if !is_step(last) || !parts.clone().all(is_step) {
            return Err(self.failed("make", path, Errno::INVAL));
        }
        let above: Vec<&[u8]> = parts.collect();
        let above = above.join(&b'/');
        let opened = if above.is_empty() {
            self.root
                .as_fd()
                .try_clone_to_owned()
                .map_err(|error| ImageError::file("open", &self.path)(error))?
        } else {
            rustix::fs::openat2(
                &self.root,
                OsStr::from_bytes(&above),
                OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY,
                Mode::empty(),
                ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
            )
            .map_err(|error| self.failed("open the directory of", path, error))?
        };
        Ok(Some((opened, OsStr::from_bytes(last))))
    }

    fn failed(&self, doing: &'static str, path: &[u8], error: Errno) -> ImageError {
        let relative = path.strip_prefix(b"/").unwrap_or(path);
        let path = self.path.join(OsStr::from_bytes(relative));
        ImageError::file(doing, &path)(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    #[test]
    fn nothing_is_put_outside() {
        let outer = tempfile::tempdir().unwrap();
        let place = Place::open(&outer.path().join("in")).unwrap();
        for path in [&b"../x"[..], b"a/../../x", b"..", b"/../x", b".", b"a\0b"] {
            assert!(place.file(path).is_err(), "{path:?}");
            assert!(place.directory(path).is_err(), "{path:?}");
            assert!(place.link(path, b"/").is_err(), "{path:?}");
        }
        // An absolute name is one below the place.
        place.file(b"/etc").unwrap();
        // A link that was restored is not gone through.
        place
            .link(b"out", outer.path().as_os_str().as_bytes())
            .unwrap();
        assert!(place.file(b"out/x").is_err());
        assert!(place.directory(b"out/x").is_err());
        symlink("/nowhere", outer.path().join("in/dangling")).unwrap();
        assert!(place.file(b"dangling").is_err());
        let names: Vec<_> = std::fs::read_dir(outer.path()).unwrap().flatten().collect();
        assert_eq!(names.len(), 1);
    }

    #[test]
    fn what_is_there_is_not_written_over() {
        let outer = tempfile::tempdir().unwrap();
        let place = Place::open(outer.path()).unwrap();
        place.directory(b"a").unwrap();
        place.directory(b"a").unwrap();
        let mut file = place.file(b"a/b").unwrap();
        file.write_all(b"first").unwrap();
        assert!(place.file(b"a/b").is_err());
        assert_eq!(std::fs::read(outer.path().join("a/b")).unwrap(), b"first");
    }

    #[test]
    fn attributes_are_set_but_no_rights_lent() {
        let outer = tempfile::tempdir().unwrap();
        let place = Place::open(outer.path()).unwrap();
        place.file(b"x").unwrap();
        let own = std::fs::metadata(outer.path()).unwrap();
        let attributes = Attributes {
            mode: 0o4750,
            uid: own.uid(),
            gid: own.gid(),
            modified: (1_700_000_000, 5),
        };
        place.finish(b"x", false, &attributes).unwrap();
        let set = std::fs::metadata(outer.path().join("x")).unwrap();
        assert_eq!(set.permissions().mode() & 0o7777, 0o750);
        assert_eq!((set.mtime(), set.mtime_nsec()), (1_700_000_000, 5));
    }
}

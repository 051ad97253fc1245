//! The archive that the kernel unpacks into its first file system and starts.
//!
//! ```text
//! dev/  dev/console (5,1)  dev/null (1,3)  proc/  sys/  [parents and files of the caller]  init
//! ```
//!
//! Format `newc`, uncompressed: a few megabytes that the kernel copies once, before the snapshot
//! that every replica starts from. Owner root, time 0, inodes numbered in order, so that equal
//! arguments give equal bytes. The two device nodes are there because the program's runtime needs
//! `/dev/null` before it can mount anything.

use cpio::newc::{self, Builder, ModeFileType};
use std::collections::BTreeSet;
use std::io::{self, Write as _};

/// The most bytes of one file: the kernel keeps all of them in the guest's memory.
pub const MAX_FILE_BYTES: usize = 64 << 20;
/// The most files besides the program: what a computation could need as its input.
pub const MAX_FILES: usize = 256;
/// The most bytes of a path: the kernel's own limit.
const MAX_PATH_BYTES: usize = 4095;

const ELF_MAGIC: &[u8] = b"\x7fELF";
const DIRECTORIES: [&str; 3] = ["dev", "proc", "sys"];
/// Name, major and minor number.
const DEVICES: [(&str, u32, u32); 2] = [("dev/console", 5, 1), ("dev/null", 1, 3)];

/// A file that the guest is to find.
#[derive(Debug, Clone, Copy)]
pub struct ExtraFile<'a> {
    /// Its absolute path. Directories on the way are made.
    pub path: &'a str,
    /// Its permission bits.
    pub mode: u32,
    /// Its content.
    pub content: &'a [u8],
}

/// Why an archive cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum InitramfsError {
    /// The program is not an ELF executable: most likely it was not built.
    #[error("guest program is not an ELF executable")]
    NotAProgram,
    /// A path is relative, not normal, too long, or one that the archive itself makes.
    #[error("path `{0}` cannot be put into the initramfs")]
    Path(String),
    /// Two files have one path, or one lies below another.
    #[error("path `{0}` is there twice in the initramfs")]
    Duplicate(String),
    /// A file is too large.
    #[error("file `{path}` of {bytes} bytes is larger than {MAX_FILE_BYTES}")]
    TooLarge {
        /// The file's path.
        path: String,
        /// Its size.
        bytes: usize,
    },
    /// There are too many files.
    #[error("{0} files for the initramfs, at most {MAX_FILES} are allowed")]
    TooMany(usize),
    /// The archive could not be written; it goes to memory, so this is not expected.
    #[error("write initramfs: {0}")]
    Write(#[from] io::Error),
}

/// Makes the archive: `program` as `/init`, and files for it to find.
///
/// # Errors
/// The program is none, or a file cannot be put where it should be.
pub fn initramfs(program: &[u8], extra_files: &[ExtraFile<'_>]) -> Result<Vec<u8>, InitramfsError> {
    if !program.starts_with(ELF_MAGIC) {
        return Err(InitramfsError::NotAProgram);
    }
    if extra_files.len() > MAX_FILES {
        return Err(InitramfsError::TooMany(extra_files.len()));
    }
    let mut archive = Archive::default();
    for directory in DIRECTORIES {
        archive.directory(directory)?;
    }
    for (name, major, minor) in DEVICES {
        archive.device(name, major, minor)?;
    }
    for file in extra_files {
        let name = archive_name(file.path)?;
        archive.parents(name)?;
        archive.file(name, file.mode, file.content)?;
    }
    archive.file("init", 0o755, program)?;
    Ok(newc::trailer(archive.bytes)?)
}

/// The name in the archive of an absolute path: without its first slash, and in normal form.
fn archive_name(path: &str) -> Result<&str, InitramfsError> {
    let refused = || InitramfsError::Path(path.to_owned());
    let name = path.strip_prefix('/').ok_or_else(refused)?;
    let is_normal = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
    if name.len() <= MAX_PATH_BYTES && name.split('/').all(is_normal) {
        Ok(name)
    } else {
        Err(refused())
    }
}

/// An archive under construction. Its number of entries is that of the last inode.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    directories: BTreeSet<String>,
    others: BTreeSet<String>,
}

impl Archive {
    /// Makes the directories above a name that are not there yet.
    fn parents(&mut self, name: &str) -> Result<(), InitramfsError> {
        for (end, _) in name.match_indices('/') {
            let parent = &name[..end];
            if !self.directories.contains(parent) {
                self.directory(parent)?;
            }
        }
        Ok(())
    }

    fn directory(&mut self, name: &str) -> Result<(), InitramfsError> {
        self.claim(name)?;
        self.directories.insert(name.to_owned());
        let entry = Builder::new(name)
            .mode(0o755)
            .set_mode_file_type(ModeFileType::Directory)
            .nlink(2);
        self.append(entry, &[])
    }

    fn device(&mut self, name: &str, major: u32, minor: u32) -> Result<(), InitramfsError> {
        self.claim(name)?;
        self.others.insert(name.to_owned());
        let entry = Builder::new(name)
            .mode(0o600)
            .set_mode_file_type(ModeFileType::Char)
            .rdev_major(major)
            .rdev_minor(minor);
        self.append(entry, &[])
    }

    fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<(), InitramfsError> {
        if content.len() > MAX_FILE_BYTES {
            return Err(InitramfsError::TooLarge {
                path: name.to_owned(),
                bytes: content.len(),
            });
        }
        self.claim(name)?;
        self.others.insert(name.to_owned());
        let entry = Builder::new(name)
            .mode(mode & 0o7777)
            .set_mode_file_type(ModeFileType::Regular);
        self.append(entry, content)
    }

    /// Refuses a name that is there already.
    fn claim(&self, name: &str) -> Result<(), InitramfsError> {
        if self.directories.contains(name) || self.others.contains(name) {
            return Err(InitramfsError::Duplicate(format!("/{name}")));
        }
        Ok(())
    }

    fn append(&mut self, entry: Builder, content: &[u8]) -> Result<(), InitramfsError> {
        let inode = u32::try_from(self.directories.len() + self.others.len())
            .expect("limits on files and paths keep the count of entries small");
        let size = u32::try_from(content.len()).expect("the limit on files is below 4 GiB");
        let mut writer = entry
            .ino(inode)
            .write(std::mem::take(&mut self.bytes), size);
        writer.write_all(content)?;
        self.bytes = writer.finish()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Read as _;

    const PROGRAM: &[u8] = b"\x7fELF and so on";

    /// Name, mode, inode and content of each entry.
    fn entries(archive: &[u8]) -> Vec<(String, u32, u32, Vec<u8>)> {
        let mut found = Vec::new();
        let mut rest = archive;
        loop {
            let mut reader = newc::Reader::new(rest).unwrap();
            let entry = reader.entry().clone();
            if entry.is_trailer() {
                return found;
            }
            assert_eq!((entry.mtime(), entry.uid(), entry.gid()), (0, 0, 0));
            let mut content = Vec::new();
            reader.read_to_end(&mut content).unwrap();
            rest = reader.finish().unwrap();
            found.push((entry.name().to_owned(), entry.mode(), entry.ino(), content));
        }
    }

    fn extra<'a>(path: &'a str, content: &'a [u8]) -> ExtraFile<'a> {
        ExtraFile {
            path,
            mode: 0o640,
            content,
        }
    }

    #[test]
    fn the_archive_holds_what_it_should_in_order() {
        let files = [extra("/data/in/a.txt", b"abc"), extra("/data/b", b"")];
        let found = entries(&initramfs(PROGRAM, &files).unwrap());
        let names: Vec<&str> = found.iter().map(|entry| entry.0.as_str()).collect();
        let expected = [
            "dev",
            "proc",
            "sys",
            "dev/console",
            "dev/null",
            "data",
            "data/in",
            "data/in/a.txt",
            "data/b",
            "init",
        ];
        assert_eq!(names, expected);
        assert!(found.iter().map(|entry| entry.2).eq(1..=10));
        assert_eq!((found[3].1, found[5].1), (0o020_600, 0o040_755));
        assert_eq!((found[7].1, &found[7].3[..]), (0o100_640, &b"abc"[..]));
        assert_eq!((found[9].1, &found[9].3[..]), (0o100_755, PROGRAM));
    }

    #[test]
    fn equal_arguments_give_equal_bytes() {
        let build = || initramfs(PROGRAM, &[extra("/x", b"1")]).unwrap();
        assert_eq!(build(), build());
    }

    #[test]
    fn what_cannot_be_put_in_is_refused() {
        let refused = |path: &str| {
            let result = initramfs(PROGRAM, &[extra("/a", b""), extra(path, b"")]);
            result.unwrap_err().to_string()
        };
        for path in ["", "b", "/", "//b", "/b/", "/../b", "/./b", "/b\0c"] {
            assert!(refused(path).contains("cannot be put"), "{path}");
        }
        for path in ["/a", "/dev", "/init", "/dev/null", "/a/b"] {
            assert!(refused(path).contains("there twice"), "{path}");
        }
        let none = initramfs(b"", &[]).unwrap_err();
        assert_eq!(none.to_string(), "guest program is not an ELF executable");
        let many = vec![extra("/a", b""); MAX_FILES + 1];
        assert!(matches!(
            initramfs(PROGRAM, &many),
            Err(InitramfsError::TooMany(257))
        ));
    }

    proptest! {
        #[test]
        fn every_file_is_found_again(contents in proptest::collection::vec(any::<Vec<u8>>(), 0..8)) {
            let paths: Vec<String> = (0..contents.len()).map(|i| format!("/files/{i}")).collect();
            let files: Vec<ExtraFile<'_>> =
                paths.iter().zip(&contents).map(|(path, content)| extra(path, content)).collect();
            let found = entries(&initramfs(PROGRAM, &files).unwrap());
            for (path, content) in paths.iter().zip(&contents) {
                let entry = found.iter().find(|entry| entry.0 == path[1..]);
                prop_assert_eq!(&entry.unwrap().3, content);
            }
        }
    }
}

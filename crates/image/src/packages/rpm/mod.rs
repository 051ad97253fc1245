//! rpm's databases: which packages are installed, and what they list.
//!
//! | module | holds |
//! |---|---|
//! | `sqlite`, `wal` | `rpmdb.sqlite`, with its write-ahead log: Fedora since 33, RHEL since 9, openEuler |
//! | `ndb` | `Packages.db`: SUSE |
//! | `berkeley` | `Packages`, a hash of Berkeley DB: RHEL up to 8 |
//! | `header` | what each of them holds of a package |
//! | `window` | their files, of which pieces are kept |
//!
//! Of a directory with several the first of these is taken, as rpm leaves an older one behind when it
//! converts. Only the packages themselves are read, no index. A database that cannot be read to its
//! end says nothing at all: half of it would make files of the other half look like nobody's.
//!
//! Left out: packages in which each file has its whole path (rpm before version 4), and digests with
//! SHA-1, SHA-224 and SHA-384, which no distribution has had in its packages.

mod berkeley;
mod header;
mod ndb;
mod sqlite;
#[cfg(test)]
mod tests;
mod wal;
mod window;

use super::UnreadDatabase;
use super::database::{Database, Digest, Item, Package, Wanted};
use super::paths::Paths;
use crate::files::{FileKind, Files};
use disk::{ReadAt, ReadError};
use header::{Header, Tag};
use window::Window;

/// Where rpm keeps its database. `/var/lib/rpm` leads to the other place where that is used.
pub(super) const DIRECTORIES: [&[u8]; 2] = [b"/usr/lib/sysimage/rpm", b"/var/lib/rpm"];

/// The most bytes of a header: that of a kernel's sources has 6 MiB.
const HEADER_BYTES_MAX: u64 = 64 << 20;

/// The most bytes of headers that are read in all: 3,000 packages of a workstation have 200 MiB.
const BYTES_MAX: usize = 1 << 30;

/// What a header costs at least: there may be many that are short.
const HEADER_COST: usize = 256;

/// The longest path that Linux takes.
const PATH_BYTES_MAX: usize = 4096;

/// Flags of files, as rpm has them.
const CONFIGURATION: u32 = 1 << 0;
const MISSING_OK: u32 = 1 << 3;
const GHOST: u32 = 1 << 6;

/// States of files: that it was installed; and that another package's has its place.
const NORMAL: u32 = 0;
const REPLACED: u32 = 1;

/// Digests, by their numbers in OpenPGP, which rpm uses.
const MD5: u32 = 1;
const SHA_256: u32 = 8;
const SHA_512: u32 = 10;

/// Why a database cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum RpmError {
    /// It is not as such databases are.
    #[error("the database is damaged: {0}")]
    Form(&'static str),
    /// It holds more than is read.
    #[error("the database has more of {0} than is read")]
    Limit(&'static str),
    /// Its bytes cannot be read.
    #[error("the database cannot be read")]
    Read(#[from] ReadError),
}

/// A form of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// SQLite.
    Sqlite,
    /// rpm's own.
    Ndb,
    /// A hash of Berkeley DB.
    Berkeley,
}

impl Form {
    const ALL: [Self; 3] = [Self::Sqlite, Self::Ndb, Self::Berkeley];

    const fn file(self) -> &'static [u8] {
        match self {
            Self::Sqlite => b"rpmdb.sqlite",
            Self::Ndb => b"Packages.db",
            Self::Berkeley => b"Packages",
        }
    }
}

/// What is given the headers.
type Take<'t> = dyn FnMut(&[u8]) -> Result<(), RpmError> + 't;

/// Gives the bytes of each package's header that a database holds.
///
/// # Errors
/// The database is damaged, or larger than the limits.
fn headers(
    form: Form,
    file: &dyn ReadAt,
    log: Option<&dyn ReadAt>,
    take: &mut dyn FnMut(&[u8]),
) -> Result<(), RpmError> {
    let mut left = BYTES_MAX;
    let mut counted = |header: &[u8]| {
        left = left
            .checked_sub(header.len().max(HEADER_COST))
            .ok_or(RpmError::Limit("headers"))?;
        take(header);
        Ok(())
    };
    let mut window = Window::new(file);
    match form {
        Form::Sqlite => sqlite::headers(&mut window, log.map(Window::new), &mut counted),
        Form::Ndb => ndb::headers(&mut window, &mut counted),
        Form::Berkeley => berkeley::headers(&mut window, &mut counted),
    }
}

/// How many bytes there are to read, if they are as many as can be.
fn bounded(bytes: u64, there: u64) -> Result<usize, RpmError> {
    if bytes > HEADER_BYTES_MAX || bytes > there {
        return Err(RpmError::Limit("a header"));
    }
    usize::try_from(bytes).map_err(|_| RpmError::Limit("a header"))
}

/// Notes what rpm says of the wanted paths. Says whether there is a database of rpm's.
///
/// # Errors
/// There is one, and it cannot be read: then nothing of it is noted.
pub(super) fn note(
    files: &Files,
    wanted: &Wanted,
    found: &mut Database,
) -> Result<bool, UnreadDatabase> {
    let place = DIRECTORIES.iter().find_map(|directory| {
        let path = |name: &[u8]| [directory, &b"/"[..], name].concat();
        let forms = Form::ALL.into_iter();
        let mut there = forms.map(|form| (form, path(form.file())));
        there.find(|(_, path)| is_file(files, path))
    });
    let Some((form, path)) = place else {
        return Ok(false);
    };
    let open = |path: &[u8]| files.open(files.tree.find(path)?.id);
    let Some(file) = open(&path) else {
        return Ok(false);
    };
    let log = open(&[path.as_slice(), b"-wal"].concat());
    let log = log.as_ref().map(|log| log as &dyn ReadAt);
    let mut reader = Reader {
        wanted,
        paths: Paths::new(&files.tree),
        found: Database::default(),
    };
    headers(form, &file, log, &mut |bytes| {
        if let Some(header) = Header::read(bytes) {
            reader.package(&header);
        }
    })
    .map_err(|error| UnreadDatabase {
        path: path.clone(),
        why: error.to_string(),
    })?;
    found.add(reader.found);
    Ok(true)
}

fn is_file(files: &Files, path: &[u8]) -> bool {
    let object = files.tree.find(path);
    object.is_some_and(|object| object.kind == FileKind::File && object.size_bytes > 0)
}

struct Reader<'f> {
    wanted: &'f Wanted,
    paths: Paths<'f>,
    found: Database,
}

impl Reader<'_> {
    fn package(&mut self, header: &Header<'_>) {
        let (key, package) = package(header);
        self.found.packages.insert(key.clone(), package);
        for file in files_of(header) {
            let place = self.paths.place(&file.path);
            if self.wanted.contains(&place) {
                let item = Item {
                    package: key.clone(),
                    ..file.item
                };
                self.found.note(place, item);
            }
        }
    }
}

/// What a package is known by, and it.
fn package(header: &Header<'_>) -> (String, Package) {
    let text = |tag| String::from_utf8_lossy(header.text(tag).unwrap_or_default()).into_owned();
    let number = |tag| header.numbers(tag).next();
    let (name, architecture) = (text(Tag::Name), text(Tag::Architecture));
    let epoch = number(Tag::Epoch).map_or_else(String::new, |epoch| format!("{epoch}:"));
    let version = format!("{epoch}{}-{}", text(Tag::Version), text(Tag::Release));
    // Several versions of one may be there: kernels are.
    let key = format!("{name}-{version}.{architecture}");
    let package = Package {
        series: format!("{name}.{architecture}"),
        name,
        version,
        state: number(Tag::InstallTime).unwrap_or(0).to_string(),
        is_installed: true,
    };
    (key, package)
}

/// A file that a package lists.
struct Listed {
    path: Vec<u8>,
    /// What is said of it; the package's name is not filled in.
    item: Item,
}

/// The files of a package that it has installed, or would have.
fn files_of<'h>(header: &'h Header<'h>) -> impl Iterator<Item = Listed> + use<'h> {
    let directories: Vec<&[u8]> = header.texts(Tag::Directories).collect();
    let algorithm = header.numbers(Tag::DigestAlgorithm).next().unwrap_or(MD5);
    let mut indexes = header.numbers(Tag::DirectoryIndexes);
    let mut digests = header.texts(Tag::FileDigests);
    let mut targets = header.texts(Tag::FileTargets);
    let mut modes = header.numbers(Tag::FileModes);
    let mut flags = header.numbers(Tag::FileFlags);
    let mut states = header.numbers(Tag::FileStates);
    let each = header.texts(Tag::FileNames).map(move |name| {
        let index = indexes.next().and_then(|index| usize::try_from(index).ok());
        let directory = index.and_then(|index| directories.get(index).copied());
        let digest = digests.next().unwrap_or_default();
        let target = targets.next().filter(|target| !target.is_empty());
        let mode = modes
            .next()
            .and_then(|mode| u16::try_from(mode & 0xffff).ok());
        let flags = flags.next().unwrap_or(0);
        let state = states.next().unwrap_or(NORMAL);
        let directory = directory?;
        let bytes = directory.len().saturating_add(name.len());
        if !matches!(state, NORMAL | REPLACED) || bytes > PATH_BYTES_MAX {
            return None;
        }
        // Of a ghost rpm knows the name only, and what is there comes from elsewhere.
        let is_its_own = state == NORMAL && flags & GHOST == 0;
        Some(Listed {
            path: [directory, name].concat(),
            item: Item {
                package: String::new(),
                digest: digest_of(algorithm, digest).filter(|_| is_its_own),
                mode: mode.filter(|_| is_its_own),
                target: target.filter(|_| is_its_own).map(<[u8]>::to_vec),
                is_configuration: flags & CONFIGURATION != 0,
                may_be_absent: !is_its_own || flags & MISSING_OK != 0,
            },
        })
    });
    each.flatten()
}

fn digest_of(algorithm: u32, digits: &[u8]) -> Option<Digest> {
    match algorithm {
        MD5 => Digest::md5(digits),
        SHA_256 => Digest::sha256(digits),
        SHA_512 => Digest::sha512(digits),
        _ => None,
    }
}

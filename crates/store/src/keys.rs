//! Keys that seal or encrypt histories: 32 secret bytes, kept outside the store.
//!
//! Whoever can write to the store should not be able to read the key, so it lies in a file of its
//! own, or is handed over by systemd (`$CREDENTIALS_DIRECTORY`). The file holds 64 hexadecimal
//! digits. It is made on first use, for its owner alone, and refused where others may read it, where
//! it belongs to somebody else, or where it lies in the store.

use crate::error::StoreError;
use crate::images::Folder;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use thiserror::Error;
use uuid::Uuid;

/// The digits, and a line's end of any system.
const FILE_BYTES_MAX: usize = 66;

/// What group and others may do with a key's file: nothing.
const OPEN_TO_OTHERS: u32 = 0o077;

/// A secret of 32 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = blake3::Hash::from_hex(text.trim_end()).ok()?;
        Some(Self(*digits.as_bytes()))
    }

    fn text(&self) -> String {
        format!("{}\n", blake3::Hash::from_bytes(self.0).to_hex())
    }
}

/// Why a key cannot be used.
#[derive(Debug, Error)]
pub enum SecretError {
    /// There is none.
    #[error("there is no key {}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Others than its owner may read or change it.
    #[error("the key {} is open to others (mode {mode:o}): chmod 600 it", path.display())]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It belongs to another user.
    #[error("the key {} belongs to user {owner}", path.display())]
    ForeignOwner {
        /// The file.
        path: PathBuf,
        /// The user.
        owner: u32,
    },
    /// It lies where those may write from whom it should protect.
    #[error("the key {} lies in the store: keep it elsewhere", path.display())]
    InStore {
        /// The file.
        path: PathBuf,
    },
    /// It is none.
    #[error("{} is no key: 64 hexadecimal digits", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A file could not be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads the key in a file.
///
/// # Errors
/// There is none, or it is not kept as a key must be.
pub fn read_secret(path: &Path, store_root: &Path) -> Result<Secret, SecretError> {
    refuse_in_store(path, store_root)?;
    let file = open(path)?;
    let metadata = file
        .metadata()
        .map_err(|e| StoreError::io("examine", path, e))?;
    let (path_owned, owner) = (path.to_owned(), metadata.uid());
    let user = rustix::process::geteuid();
    if owner != user.as_raw() && owner != 0 {
        return Err(SecretError::ForeignOwner {
            path: path_owned,
            owner,
        });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & OPEN_TO_OTHERS != 0 {
        return Err(SecretError::OpenToOthers {
            path: path_owned,
            mode,
        });
    }
    parse(file, path)
}

/// Reads the key in a file; where there is none, makes one, durably.
///
/// # Errors
/// It is not kept as a key must be, or cannot be made.
pub fn read_or_make_secret(path: &Path, store_root: &Path) -> Result<Secret, SecretError> {
    match read_secret(path, store_root) {
        Err(SecretError::Missing { .. }) => {}
        other => return other,
    }
    let no_name = || SecretError::NoKey {
        path: path.to_owned(),
    };
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(no_name)?;
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    let folder = Folder::open(parent.unwrap_or_else(|| Path::new(".")))?;
    let mut bytes = [0; 32];
    draw(&mut bytes).map_err(|e| StoreError::io("read", Path::new(RANDOM), e))?;
    let aside = format!(".{}", Uuid::now_v7());
    folder.write_new(&aside, Secret(bytes).text().as_bytes())?;
    // Where somebody was quicker, that one's key is the key.
    let made = folder.rename_to_free(&aside, name);
    if !matches!(made, Ok(true)) {
        folder.discard(&aside);
    }
    made?;
    read_secret(path, store_root)
}

/// The key that systemd hands over by a name; nothing where it hands none over.
///
/// # Errors
/// It is none, or cannot be read.
pub fn credential_secret(name: &str) -> Result<Option<Secret>, SecretError> {
    let Some(directory) = std::env::var_os("CREDENTIALS_DIRECTORY") else {
        return Ok(None);
    };
    // Who may read it there is systemd's affair: a list of access rights shows as a group's mode.
    secret_of(Path::new(&directory), name)
}

fn secret_of(directory: &Path, name: &str) -> Result<Option<Secret>, SecretError> {
    let path = directory.join(name);
    match open(&path) {
        Ok(file) => parse(file, &path).map(Some),
        Err(SecretError::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where secrets come from.
const RANDOM: &str = "/dev/urandom";

fn draw(bytes: &mut [u8]) -> io::Result<()> {
    File::open(RANDOM)?.read_exact(bytes)
}

fn open(path: &Path) -> Result<File, SecretError> {
    match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(SecretError::Missing {
            path: path.to_owned(),
        }),
        other => Ok(other.map_err(|e| StoreError::io("open", path, e))?),
    }
}

fn parse(mut file: File, path: &Path) -> Result<Secret, SecretError> {
    let mut text = String::new();
    let limit = FILE_BYTES_MAX as u64 + 1;
    let read = io::Read::by_ref(&mut file)
        .take(limit)
        .read_to_string(&mut text);
    let no_key = || SecretError::NoKey {
        path: path.to_owned(),
    };
    match read {
        Ok(_) => Secret::parse(&text).ok_or_else(no_key),
        Err(e) if e.kind() == io::ErrorKind::InvalidData => Err(no_key()),
        Err(e) => Err(StoreError::io("read", path, e).into()),
    }
}

/// Refuses a file whose directory is the store's or lies in it, by whatever way it is named.
fn refuse_in_store(path: &Path, store_root: &Path) -> Result<(), SecretError> {
    let resolved = fs::canonicalize(path).or_else(|_| {
        let parent = path.parent().filter(|parent| *parent != Path::new(""));
        fs::canonicalize(parent.unwrap_or_else(|| Path::new(".")))
    });
    // What is not there lies nowhere.
    let (Ok(resolved), Ok(root)) = (resolved, fs::canonicalize(store_root)) else {
        return Ok(());
    };
    if resolved.starts_with(&root) {
        return Err(SecretError::InStore {
            path: path.to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn places() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let store = place.path().join("store");
        fs::create_dir(&store).unwrap();
        let key = place.path().join("key");
        (place, store, key)
    }

    #[test]
    fn a_key_is_made_once_and_for_its_owner() {
        let (place, store, key) = places();
        let absent = read_secret(&key, &store);
        assert!(matches!(absent, Err(SecretError::Missing { .. })));
        let made = read_or_make_secret(&key, &store).unwrap();
        assert_eq!(fs::metadata(&key).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(read_or_make_secret(&key, &store).unwrap(), made);
        assert_eq!(read_secret(&key, &store).unwrap(), made);
        let other = read_or_make_secret(&place.path().join("other"), &store).unwrap();
        assert_ne!(other, made);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 3);
        assert_eq!(format!("{made:?}"), "Secret");
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let (_place, store, key) = places();
        read_or_make_secret(&key, &store).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o601] {
            fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
            let outcome = read_or_make_secret(&key, &store);
            assert!(matches!(outcome, Err(SecretError::OpenToOthers { .. })));
        }
        fs::set_permissions(&key, Permissions::from_mode(0o400)).unwrap();
        read_secret(&key, &store).unwrap();
    }

    #[test]
    fn a_key_in_the_store_is_refused() {
        let (place, store, _) = places();
        let below = store.join("images");
        fs::create_dir(&below).unwrap();
        let link = place.path().join("link");
        symlink(&below, &link).unwrap();
        for path in [store.join("key"), below.join("key"), link.join("key")] {
            let outcome = read_or_make_secret(&path, &store);
            assert!(matches!(outcome, Err(SecretError::InStore { .. })));
            assert!(!path.exists());
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let (_place, store, key) = places();
        read_or_make_secret(&key, &store).unwrap();
        let sound = fs::read(&key).unwrap();
        for damaged in [
            &b""[..],
            &sound[..63],
            &[sound.as_slice(), b"00"].concat(),
            &[0xff; 64],
            &vec![b'0'; 1 << 20],
        ] {
            fs::write(&key, damaged).unwrap();
            let outcome = read_or_make_secret(&key, &store);
            assert!(matches!(outcome, Err(SecretError::NoKey { .. })));
        }
    }

    #[test]
    fn credentials_are_read_where_systemd_puts_them() {
        let (place, store, key) = places();
        let made = read_or_make_secret(&key, &store).unwrap();
        fs::set_permissions(&key, Permissions::from_mode(0o440)).unwrap();
        assert_eq!(secret_of(place.path(), "key").unwrap(), Some(made));
        assert_eq!(secret_of(place.path(), "none").unwrap(), None);
        fs::write(&key, "text").unwrap();
        assert!(secret_of(place.path(), "key").is_err());
    }
}

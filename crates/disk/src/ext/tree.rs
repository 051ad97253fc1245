//! All paths of a file system.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::ext::error::ExtError;
use crate::ext::inode::{FileKind, Inode};
use crate::ext::{Ext, Name, ROOT_INODE};
use crate::read_at::ReadAt;

/// How many entries are told of: a limit for directories that claim more than a disk has.
pub const MAX_ENTRIES: u64 = 10_000_000;

/// How long a path may be: the kernel's limit.
pub const MAX_PATH_BYTES: usize = 4096;

/// What may be read of directories beyond the size of what they lie on: a last block can be cut.
const SLACK_BYTES: u64 = 64 << 10;

/// A path, and what it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The path from the root, which itself is `/`. Any bytes but a slash can be in a name; a name
    /// that is encrypted is told by its bytes in hexadecimal.
    pub path: Vec<u8>,
    /// What it leads to.
    pub inode: Inode,
}

/// A walk through all directories; see [`Ext::walk`]. Each is entered once, whatever leads to it.
#[derive(Debug)]
pub struct Walk<'a> {
    ext: &'a Ext,
    waiting: Vec<Waiting>,
    /// The names of the directory that is being told of, with its path.
    names: std::vec::IntoIter<Name>,
    path: Arc<[u8]>,
    /// Whether these names are encrypted.
    encrypted: bool,
    entered: BTreeSet<u32>,
    /// How many entries may come.
    left: u64,
    /// How much of directories may be read: no block belongs to two of them, so that all together
    /// are not larger than what the file system lies on.
    budget: u64,
    started: bool,
}

/// A directory that is still to be read. It shares the path of the one above with its neighbours.
#[derive(Debug)]
struct Waiting {
    above: Arc<[u8]>,
    name: Vec<u8>,
    inode: u32,
}

impl<'a> Walk<'a> {
    pub(super) fn new(ext: &'a Ext) -> Self {
        Self {
            ext,
            waiting: Vec::new(),
            names: Vec::new().into_iter(),
            path: Arc::from([]),
            encrypted: false,
            entered: BTreeSet::new(),
            left: MAX_ENTRIES,
            budget: ext.device.source.size_bytes().saturating_add(SLACK_BYTES),
            started: false,
        }
    }

    fn first(&mut self) -> Result<Entry, ExtError> {
        self.started = true;
        let inode = self.ext.inode(ROOT_INODE)?;
        self.entered.insert(ROOT_INODE);
        self.waiting.push(Waiting {
            above: Arc::from([]),
            name: Vec::new(),
            inode: ROOT_INODE,
        });
        Ok(Entry {
            path: b"/".to_vec(),
            inode,
        })
    }

    fn enter(&mut self, directory: &Waiting) -> Result<(), ExtError> {
        self.path = match directory.name.as_slice() {
            [] => Arc::from([]),
            name => Arc::from([&directory.above, b"/".as_slice(), name].concat()),
        };
        let inode = self.ext.inode(directory.inode)?;
        self.encrypted = inode.is_encrypted();
        let names = self.ext.names_within(&inode, &mut self.budget)?;
        self.names = names.into_iter();
        Ok(())
    }

    /// The entry of the next name, or none at the directory's end.
    fn named(&mut self) -> Option<Result<Entry, ExtError>> {
        let name = loop {
            let name = self.names.next()?;
            if name.bytes != b"." && name.bytes != b".." {
                break name;
            }
        };
        let Some(left) = self.left.checked_sub(1) else {
            self.names = Vec::new().into_iter();
            self.waiting.clear();
            return Some(Err(ExtError::Limit {
                what: "entries of directories",
                value: MAX_ENTRIES.saturating_add(1),
                limit: MAX_ENTRIES,
            }));
        };
        self.left = left;
        Some(self.entry(name))
    }

    fn entry(&mut self, mut name: Name) -> Result<Entry, ExtError> {
        if self.encrypted {
            // Any byte can be in it; what stands for it must be the same each time, and no more.
            name.bytes = name
                .bytes
                .iter()
                .flat_map(|byte| hexadecimal(*byte))
                .collect();
        }
        let length = self.path.len().saturating_add(name.bytes.len());
        if length >= MAX_PATH_BYTES {
            return Err(ExtError::Inode {
                inode: name.inode,
                rule: "its path is longer than 4096 bytes",
            });
        }
        if name.bytes.contains(&b'/') || name.bytes.contains(&0) {
            return Err(ExtError::Inode {
                inode: name.inode,
                rule: "a name of it has a slash or a zero in it",
            });
        }
        let inode = self.ext.inode(name.inode)?;
        let path = [&self.path, b"/".as_slice(), &name.bytes].concat();
        if inode.kind() == FileKind::Directory && self.entered.insert(inode.number) {
            self.waiting.push(Waiting {
                above: Arc::clone(&self.path),
                name: name.bytes,
                inode: inode.number,
            });
        }
        Ok(Entry { path, inode })
    }
}

/// A byte as two digits.
fn hexadecimal(byte: u8) -> [u8; 2] {
    let digit = |value: u8| match value {
        0..=9 => b'0'.saturating_add(value),
        _ => b'a'.saturating_add(value.saturating_sub(10)),
    };
    [digit(byte >> 4), digit(byte & 0xf)]
}

impl Iterator for Walk<'_> {
    type Item = Result<Entry, ExtError>;

    fn next(&mut self) -> Option<Self::Item> {
        if !self.started {
            return Some(self.first());
        }
        loop {
            if let Some(item) = self.named() {
                return Some(item);
            }
            let directory = self.waiting.pop()?;
            if let Err(error) = self.enter(&directory) {
                return Some(Err(error));
            }
        }
    }
}

//! What a test's own program does when it runs inside a guest.
//!
//! A test program that was given to [`Workshop::hand`](crate::Workshop::hand) is started in the
//! guest by the word `hand ORDER…`, which runs one ignored test of it, named [`TEST`]. There
//! [`order`] says what is wanted, and what is passed to [`tell`] is what the word prints.
//!
//! [`list`] is the kernel's own view of a tree, as lines that a reader's view can be written as too.

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, CWD, StatxFlags, lgetxattr, llistxattr, statx};
use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Display, Formatter};
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// The name of the ignored test that runs inside a guest.
pub const TEST: &str = "inside_a_guest";

/// Where the order stands.
pub(crate) const ORDER: &str = "WORKSHOP_ORDER";

/// Where what is told is kept until the test has ended.
pub(crate) const TOLD: &str = "/tmp/told";

/// The most bytes of names, and of a value, of extended attributes: the kernel's limit.
const ATTRIBUTE_BYTES_MAX: usize = 64 << 10;

/// What is hashed at a time, and left out if it is zeros.
const PIECE_BYTES: usize = 4096;

/// The words after `hand` in the script.
#[must_use]
pub fn order() -> Vec<String> {
    let order = std::env::var(ORDER).unwrap_or_default();
    order.split_whitespace().map(str::to_owned).collect()
}

/// Adds to what the word `hand` prints.
///
/// # Errors
/// It cannot be written.
pub fn tell(text: &[u8]) -> Result<()> {
    let told = std::fs::File::options()
        .create(true)
        .append(true)
        .open(TOLD);
    told.and_then(|mut told| told.write_all(text))
        .context("cannot tell")
}

/// A time: seconds since 1970, and nanoseconds.
pub type Time = (i64, u32);

/// What a path is. As text it is one line, with nothing left out but the data, of which there is a
/// sum.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The path from the tree's root, which is `/`.
    pub path: Vec<u8>,
    /// The number of its inode.
    pub inode: u64,
    /// Type and permissions.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// The size of its data.
    pub size_bytes: u64,
    /// How many names it has.
    pub links: u32,
    /// Major and minor number, for a device.
    pub device: Option<(u32, u32)>,
    /// When its data and it itself were changed, and when it was read.
    pub times: [Time; 3],
    /// When it was made, if that is known.
    pub born: Option<Time>,
    /// Extended attributes by name.
    pub attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Where a symbolic link leads.
    pub target: Option<Vec<u8>>,
    /// [`sum`] of a file's data.
    pub sum: Option<String>,
}

impl Display for Entry {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let (path, (owner, group)) = (self.path.escape_ascii(), self.owner);
        let (inode, mode, size, links) = (self.inode, self.mode, self.size_bytes, self.links);
        write!(
            out,
            "{path} #{inode} {mode:o} {owner}:{group} {size} links={links}"
        )?;
        for (name, time) in ["data", "change", "access"].into_iter().zip(self.times) {
            write!(out, " {name}={}+{}", time.0, time.1)?;
        }
        if let Some(born) = self.born {
            write!(out, " born={}+{}", born.0, born.1)?;
        }
        if let Some((major, minor)) = self.device {
            write!(out, " device={major}:{minor}")?;
        }
        if let Some(target) = &self.target {
            write!(out, " to={}", target.escape_ascii())?;
        }
        if let Some(sum) = &self.sum {
            write!(out, " sum={sum}")?;
        }
        for (name, value) in &self.attributes {
            let value = blake3::hash(value).to_hex();
            write!(out, " {}={}", name.escape_ascii(), &value[..16])?;
        }
        Ok(())
    }
}

/// Everything below a directory, and it itself, by the kernel's word, ordered by path.
///
/// # Errors
/// Something cannot be looked at.
pub fn list(root: &Path) -> Result<Vec<Entry>> {
    let mut seen = Seen::default();
    let mut found = vec![entry(root, b"/".to_vec(), &mut seen)?];
    let mut waiting = vec![(root.to_path_buf(), Vec::new())];
    while let Some((directory, above)) = waiting.pop() {
        let names = std::fs::read_dir(&directory)
            .with_context(|| format!("cannot list {}", directory.display()))?;
        for name in names {
            let name = name?;
            let path = [&above[..], b"/", name.file_name().as_bytes()].concat();
            if name.file_type()?.is_dir() {
                waiting.push((name.path(), path.clone()));
            }
            found.push(entry(&name.path(), path, &mut seen)?);
        }
    }
    found.sort();
    Ok(found)
}

/// What is kept from one path to the next, for an emulated processor takes its time: the sums of files
/// that may have more names, and room for attributes.
struct Seen {
    sums: HashMap<(u32, u32, u64), String>,
    names: Vec<u8>,
    value: Vec<u8>,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            sums: HashMap::new(),
            names: vec![0; ATTRIBUTE_BYTES_MAX],
            value: vec![0; ATTRIBUTE_BYTES_MAX],
        }
    }
}

/// One path. A file with many names is read once.
fn entry(path: &Path, below: Vec<u8>, seen: &mut Seen) -> Result<Entry> {
    let what = || format!("cannot look at {}", path.display());
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let stat = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, wanted).with_context(what)?;
    let time = |time: rustix::fs::StatxTimestamp| (time.tv_sec, time.tv_nsec);
    let mode = u32::from(stat.stx_mode);
    let kind = mode >> 12;
    // Subvolumes of btrfs give away the same numbers, each on a device of its own.
    let number = (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino);
    let sum = match (kind, seen.sums.get(&number)) {
        (0x8, Some(known)) => Some(known.clone()),
        (0x8, None) => {
            let sum = sum(std::fs::File::open(path).with_context(what)?).with_context(what)?;
            seen.sums.insert(number, sum.clone());
            Some(sum)
        }
        _ => None,
    };
    let target = match kind {
        0xa => Some(
            std::fs::read_link(path)
                .with_context(what)?
                .into_os_string()
                .into_vec(),
        ),
        _ => None,
    };
    let born = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
    Ok(Entry {
        path: below,
        inode: stat.stx_ino,
        mode,
        owner: (stat.stx_uid, stat.stx_gid),
        size_bytes: stat.stx_size,
        links: stat.stx_nlink,
        device: matches!(kind, 0x2 | 0x6).then_some((stat.stx_rdev_major, stat.stx_rdev_minor)),
        times: [stat.stx_mtime, stat.stx_ctime, stat.stx_atime].map(time),
        born: born.then(|| time(stat.stx_btime)),
        attributes: attributes(path, seen).with_context(what)?,
        target,
        sum,
    })
}

fn attributes(path: &Path, seen: &mut Seen) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let length = llistxattr(path, &mut seen.names[..])?;
    let names = seen.names[..length].split(|byte| *byte == 0);
    let mut found = BTreeMap::new();
    for name in names.filter(|name| !name.is_empty()) {
        let length = lgetxattr(path, name, &mut seen.value[..])?;
        found.insert(name.to_vec(), seen.value[..length].to_vec());
    }
    Ok(found)
}

/// A sum of data that costs little where there are zeros: BLAKE3 of all pieces of 4 KiB that are not
/// zeros, each after its number; the last one may be short.
///
/// # Errors
/// The data cannot be read.
pub fn sum(mut data: impl Read) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    for number in 0u64.. {
        piece.clear();
        let length = data
            .by_ref()
            .take(PIECE_BYTES as u64)
            .read_to_end(&mut piece)?;
        if piece.iter().any(|byte| *byte != 0) {
            hasher.update(&number.to_le_bytes());
            hasher.update(&piece);
        }
        if length < PIECE_BYTES {
            break;
        }
    }
    Ok(hasher.finalize().to_hex()[..16].to_owned())
}

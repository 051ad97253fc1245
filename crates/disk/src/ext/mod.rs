//! ext2, ext3 and ext4, read only and without a kernel.
//!
//! ```text
//!   superblock ─► groups ─► inode ─┬─► map ─────► file: its data, as a source
//!        │                         ├─► directory ─► tree: all paths
//!        └► journal: blocks whose  └─► attributes
//!           newest contents lie there           all of them ─► layout: what each block is
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `superblock` | [`Superblock`]: sizes and features |
//! | `journal`, `device` | what was committed but not written to its place is read from the journal |
//! | `fast` | what was committed fast lies over what the disk has |
//! | `inode` | [`Inode`]: owner, mode, times, size |
//! | `map` | [`FileMap`]: a file's blocks |
//! | `file` | [`File`]: its data |
//! | `lookup` | inodes by their numbers, names of directories, paths |
//! | `directory`, `tree` | names, and [`Walk`]: all of them with their paths |
//! | `scan` | [`Inodes`]: all inodes in use |
//! | `attributes` | [`Attribute`]: extended attributes, access lists among them |
//! | `sums` | [`WrongSums`]: metadata that are not as they were written |
//! | `layout` | [`Layout`]: what a block is, and whose |
//!
//! A file system that was in use when its disk was copied is read as the kernel would have it after
//! mounting: its journal is replayed in memory. A wrong sum of metadata is told, and hides no
//! file. Encrypted data are told as they are stored, and encrypted names in hexadecimal.

mod attributes;
mod device;
mod directory;
mod error;
mod fast;
mod file;
mod inode;
mod journal;
mod layout;
mod lookup;
mod map;
mod scan;
mod sums;
mod superblock;
mod tree;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::bytes::{Fields, saturate};
use crate::cache::Cache;
use crate::read_at::{ReadAt, ReadError, Source};
use device::Device;
use fast::Overlay;
use journal::Recovered;
use sums::{BitmapSum, Sums, note};
use superblock::{SUPERBLOCK_AT, SUPERBLOCK_BYTES};

pub use attributes::Attribute;
pub use directory::{MAX_NAMES, Name};
pub use error::ExtError;
pub use file::File;
pub use inode::{FileKind, FileTime, Inode};
pub use journal::Replay;
pub use layout::{Class, Layout, MAX_RANGES, Owner};
pub use map::{Extent, FileMap, MAX_EXTENTS};
pub use scan::Inodes;
pub use sums::WrongSums;
pub use superblock::{Features, Superblock};
pub use tree::{Entry, MAX_ENTRIES, MAX_PATH_BYTES, Walk};

/// The inode of the first directory.
pub const ROOT_INODE: u32 = 2;

/// How many blocks of metadata are kept: 1 MiB with blocks of 4 KiB, 16 MiB at most.
const BLOCKS_KEPT: usize = 256;

/// How large a directory may be: 1 GiB has some 30 million names.
const MAX_DIRECTORY_BYTES: u64 = 1 << 30;

/// A link's target has less than a block; the kernel makes no longer paths.
const MAX_LINK_BYTES: u64 = 64 << 10;

/// Where a group's parts lie.
#[derive(Clone, Copy, Debug)]
struct Group {
    block_bitmap: u64,
    inode_bitmap: u64,
    inode_table: u64,
    flags: u16,
    block_bitmap_sum: Option<BitmapSum>,
    inode_bitmap_sum: Option<BitmapSum>,
}

/// In a group's flags: its bitmap of inodes, or of blocks, was never written.
const INODES_UNUSED: u16 = 1;
const BLOCKS_UNUSED: u16 = 2;

/// An ext file system.
#[derive(Debug)]
pub struct Ext {
    device: Device,
    superblock: Superblock,
    sums: Sums,
    /// What was met so far.
    wrong_sums: Mutex<WrongSums>,
    groups: Vec<Group>,
    blocks: Cache<Arc<[u8]>>,
    fast: Overlay,
    replay: Option<Replay>,
}

impl Ext {
    /// Opens the file system that fills `source`, and replays its journal in memory if it needs
    /// that.
    ///
    /// # Errors
    ///
    /// When it is none, has features that are not known, or its superblock, groups or journal are
    /// damaged.
    pub fn open(source: Source) -> Result<Self, ExtError> {
        let device = Device {
            source,
            block_bytes: SUPERBLOCK_AT,
            replayed: BTreeMap::new(),
        };
        let ext = Self::load(device)?;
        let features = ext.superblock.features;
        if !features.needs_recovery() || !features.has_journal() {
            return Ok(ext);
        }
        let Recovered {
            replayed,
            fast,
            mut replay,
        } = journal::read(&ext)?;
        let mut replaced = Self::load(Device {
            replayed,
            ..ext.device
        })?;
        replay.fast_left_out = fast::apply(&mut replaced, fast)?;
        replaced.replay = Some(replay);
        Ok(replaced)
    }

    fn load(mut device: Device) -> Result<Self, ExtError> {
        let mut bytes = [0; SUPERBLOCK_BYTES];
        device
            .read(SUPERBLOCK_AT, &mut bytes)
            .map_err(ExtError::read("the superblock"))?;
        let superblock = Superblock::parse(&bytes)?;
        if !device.replayed.is_empty() && device.block_bytes != superblock.block_bytes {
            return Err(ExtError::Field {
                field: "the block size in the journal's superblock",
                value: superblock.block_bytes,
                rule: "it must be that of the journal",
            });
        }
        device.block_bytes = superblock.block_bytes;
        let sums = Sums::of(&superblock);
        let mut ext = Self {
            device,
            sums,
            wrong_sums: Mutex::default(),
            superblock,
            groups: Vec::new(),
            blocks: Cache::new(BLOCKS_KEPT),
            fast: Overlay::default(),
            replay: None,
        };
        let mut wrong = WrongSums {
            superblock: !sums.superblock_holds(&bytes),
            ..WrongSums::default()
        };
        ext.groups = ext.read_groups(&mut wrong)?;
        ext.wrong_sums = Mutex::new(wrong);
        Ok(ext)
    }

    fn read_groups(&self, wrong: &mut WrongSums) -> Result<Vec<Group>, ExtError> {
        let superblock = &self.superblock;
        let groups = superblock.groups();
        let mut found = Vec::new();
        for index in 0..superblock.descriptor_blocks() {
            let block = superblock.descriptor_block(index);
            let bytes = self.block(block, "the descriptors of groups")?;
            let wanted = saturate(groups).saturating_sub(found.len());
            let chunks = bytes.chunks_exact(saturate(superblock.descriptor_bytes));
            for chunk in chunks.take(wanted) {
                let number = u32::try_from(found.len()).unwrap_or(u32::MAX);
                self.sums.check_group(number, chunk, wrong);
                let group = group(Fields(chunk), self.sums);
                found.push(group.map_err(ExtError::short("a group's descriptor"))?);
            }
        }
        Ok(found)
    }

    /// The superblock.
    #[must_use]
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// What was read so far and has another sum than it says. Inodes tell it themselves.
    #[must_use]
    pub fn wrong_sums(&self) -> WrongSums {
        self.wrong().clone()
    }

    fn wrong(&self) -> MutexGuard<'_, WrongSums> {
        self.wrong_sums
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads all bitmaps of blocks, which reading files does not, so that
    /// [`wrong_sums`](Self::wrong_sums) tells of them too. What cannot be read is left out.
    pub fn check_bitmaps(&self) {
        for number in 0..self.groups.len() {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            let _bitmap_or_none = self.block_bitmap(number);
        }
    }

    /// The bitmap of a group's blocks; none if it was never written.
    fn block_bitmap(&self, number: u32) -> Result<Option<Arc<[u8]>>, ExtError> {
        let superblock = &self.superblock;
        let Some(group) = self.groups.get(saturate(number.into())) else {
            return Ok(None);
        };
        if superblock.features.group_flags() && group.flags & BLOCKS_UNUSED != 0 {
            return Ok(None);
        }
        let bitmap = self.block(group.block_bitmap, "a bitmap of blocks")?;
        let bits = superblock
            .group_blocks
            .wrapping_shr(superblock.cluster_bits);
        if !self
            .sums
            .bitmap_holds(group.block_bitmap_sum, &bitmap, bits)
        {
            note(&mut self.wrong().block_bitmaps, number);
        }
        Ok(Some(bitmap))
    }

    /// What was replayed; none if the file system did not need it.
    #[must_use]
    pub fn replay(&self) -> Option<Replay> {
        self.replay
    }

    /// A file's blocks; none for what has no data, or has them in its inode.
    ///
    /// # Errors
    ///
    /// When the map is damaged or too large.
    pub fn map(&self, inode: &Inode) -> Result<FileMap, ExtError> {
        map::read(self, inode)
    }

    /// A file's data.
    ///
    /// # Errors
    ///
    /// When its map is damaged or too large.
    pub fn open_file(&self, inode: &Inode) -> Result<File<'_>, ExtError> {
        File::open(self, inode)
    }

    /// An inode's extended attributes.
    ///
    /// # Errors
    ///
    /// When they are damaged or too large.
    pub fn attributes(&self, inode: &Inode) -> Result<Vec<Attribute>, ExtError> {
        attributes::read(self, inode)
    }

    /// Where a symbolic link leads; the bytes are not followed.
    ///
    /// # Errors
    ///
    /// When it is none, or its data cannot be read.
    pub fn link_target(&self, inode: &Inode) -> Result<Vec<u8>, ExtError> {
        if inode.kind() != FileKind::Symlink {
            return Err(ExtError::Inode {
                inode: inode.number,
                rule: "it is no symbolic link",
            });
        }
        self.open_file(inode)?.read_all(MAX_LINK_BYTES)
    }

    /// All paths, the root's first. A directory that is damaged is an item, and does not end the
    /// walk.
    #[must_use]
    pub fn walk(&self) -> Walk<'_> {
        Walk::new(self)
    }

    /// All inodes that are in use by their bitmaps, in the order of their numbers.
    ///
    /// # Errors
    ///
    /// When the tables of inodes overlap.
    pub fn inodes(&self) -> Result<Inodes<'_>, ExtError> {
        Inodes::new(self)
    }

    /// Gives `take` the blocks that are read to list an inode, besides the one that it lies in: those
    /// of its attributes, the first nodes of its map, and the data of directories and long links.
    /// What is damaged is left out.
    pub fn listed_blocks(&self, inode: &Inode, take: &mut dyn FnMut(Range<u64>)) {
        if inode.attributes_block != 0 {
            take(inode.attributes_block..inode.attributes_block.saturating_add(1));
        }
        map::first_nodes(inode, |node| take(node..node.saturating_add(1)));
        let is_listed = matches!(inode.kind(), FileKind::Directory | FileKind::Symlink);
        if !is_listed || !inode.has_map() {
            return;
        }
        for extent in self.map(inode).into_iter().flat_map(|map| map.extents) {
            let end = extent.physical.saturating_add(extent.blocks.into());
            take(extent.physical..end);
        }
    }

    /// The blocks whose newest contents lie in the journal, ascending: what the disk holds in their
    /// place is older.
    pub fn replayed_blocks(&self) -> impl Iterator<Item = u64> {
        self.device.replayed.keys().copied()
    }

    /// How large what the file system lies on is.
    #[must_use]
    pub fn source_bytes(&self) -> u64 {
        self.device.source.size_bytes()
    }

    /// What each block is.
    ///
    /// # Errors
    ///
    /// When the tables of inodes overlap, or there is more than the limits allow. What is damaged in
    /// single files is told by the layout.
    pub fn layout(&self) -> Result<Layout<'_>, ExtError> {
        Layout::read(self)
    }

    /// A block of metadata, from what was read last or anew.
    fn block(&self, block: u64, what: &'static str) -> Result<Arc<[u8]>, ExtError> {
        self.blocks
            .get_or(block, || self.block_uncached(block, what).map(Arc::from))
    }

    fn block_uncached(&self, block: u64, what: &'static str) -> Result<Vec<u8>, ExtError> {
        let mut bytes = vec![0; saturate(self.superblock.block_bytes)];
        let place = block.saturating_mul(self.superblock.block_bytes);
        self.read(place, &mut bytes).map_err(ExtError::read(what))?;
        Ok(bytes)
    }

    /// Bytes of the file system as they are once its journal is replayed.
    ///
    /// # Errors
    ///
    /// When what the file system lies on cannot be read there.
    pub fn read(&self, place: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.device.read(place, buffer)
    }
}

fn group(fields: Fields<'_>, sums: Sums) -> Result<Group, crate::bytes::Short> {
    let [block_bitmap_sum, inode_bitmap_sum] = sums.of_bitmaps(fields);
    let wide = |low, high: usize| -> Result<u64, crate::bytes::Short> {
        // The high halves are there where descriptors are longer.
        let high = fields.le32(high).unwrap_or(0);
        Ok(u64::from(fields.le32(low)?) | u64::from(high) << 32)
    };
    Ok(Group {
        block_bitmap: wide(0, 32)?,
        inode_bitmap: wide(4, 36)?,
        inode_table: wide(8, 40)?,
        flags: fields.le16(18)?,
        block_bitmap_sum,
        inode_bitmap_sum,
    })
}

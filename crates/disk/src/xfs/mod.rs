//! XFS, versions 4 and 5.
//!
//! ```text
//!  group ─┬─ sector 0 superblock, 1 free space, 2 inodes, 3 blocks for trees
//!         ├─ trees: free space by place and by size, inodes, free inodes, owners, sharing
//!         └─ chunks of 64 inodes ─┬─ data:       here · extents here · tree of extents
//!                                 └─ attributes: here · extents here · tree of extents
//!  group, group …     one of them holds the log
//! ```
//!
//! The log is replayed in memory where it is dirty: see [`log`]. Files on a realtime device are told
//! of without their data.

mod attributes;
mod claim;
mod device;
mod directory;
mod inode;
mod log;
mod map;
mod superblock;
mod tree;

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::bytes::{Fields, saturate};
use crate::cache::Cache;
use crate::ext::{Class, Extent, FileKind};
use crate::read_at::{ReadAt as _, ReadError, Source};
use crate::system::{FileSystem, Layout, Object, Run, Says, SystemError, TakeName, TakeObject};
use device::Device;
use inode::{Fork, Inode};
use superblock::Superblock;
use tree::INODES;

pub(crate) const XFS: Says = Says("XFS");

/// How many blocks of metadata are kept: 2 MiB with blocks of 4 KiB.
const BLOCKS_KEPT: usize = 512;

/// Inodes come in chunks of so many.
const CHUNK_INODES: u64 = 64;

/// How long a link's target may be: the kernel's limit.
const MAX_TARGET_BYTES: u64 = 1024;

/// An XFS file system.
#[derive(Debug)]
pub struct Xfs {
    device: Device,
    superblock: Superblock,
    blocks: Cache<Arc<[u8]>>,
    notes: Vec<String>,
}

/// A chunk of inodes, as the tree of inodes tells of it.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    /// The number of its first inode, in its group.
    first: u64,
    /// Which of them are free.
    free: u64,
    /// Which of them are not there at all.
    missing: u64,
}

impl Xfs {
    /// Opens the file system that fills `source`, and replays its log in memory if it needs that.
    ///
    /// # Errors
    ///
    /// When it is none, or has features that are not known.
    pub fn open(source: Source) -> Result<Self, SystemError> {
        let superblock = Superblock::read(&*source)?;
        let mut xfs = Self {
            device: Device::new(source),
            superblock,
            blocks: Cache::new(BLOCKS_KEPT),
            notes: Vec::new(),
        };
        if xfs.superblock.needs_repair() {
            xfs.notes
                .push("it says of itself that it needs repair".to_owned());
        }
        match log::replay(&xfs.superblock, &*xfs.device.source) {
            Ok(replayed) => xfs.device.replayed = replayed,
            Err(error) => xfs.notes.push(format!(
                "its log holds changes that are not shown, because it cannot be replayed: {error}"
            )),
        }
        Ok(xfs)
    }

    fn block_bytes(&self) -> u64 {
        self.superblock.block_bytes
    }

    /// A block of metadata, from what was read last or anew.
    fn block(&self, block: u64, what: &'static str) -> Result<Arc<[u8]>, SystemError> {
        self.blocks.get_or(block, || {
            let mut bytes = vec![0; saturate(self.block_bytes())];
            let place = block.saturating_mul(self.block_bytes());
            self.device
                .read(place, &mut bytes)
                .map_err(XFS.read(what))?;
            Ok(Arc::from(bytes))
        })
    }

    /// A sector of a group's head.
    fn head(&self, group: u32, sector: u64, magic: [u8; 4]) -> Result<Vec<u8>, SystemError> {
        let what = "the head of a group";
        let skipped = sector.saturating_mul(self.superblock.sector_bytes);
        let place = self.superblock.block_of(group, 0).unwrap_or(u64::MAX);
        let place = place.saturating_mul(self.block_bytes());
        let mut bytes = vec![0; saturate(self.superblock.sector_bytes)];
        let read = self.device.read(place.saturating_add(skipped), &mut bytes);
        read.map_err(XFS.read(what))?;
        match Fields(&bytes).array(0) == Ok(magic) {
            true => Ok(bytes),
            false => Err(XFS.place(what, group.into(), "it does not start with its magic")),
        }
    }

    /// The root of a tree that a group's head tells of, at two fields, and its levels.
    fn root_in(head: &[u8], root: usize, levels: usize) -> Result<(u32, u32), SystemError> {
        let fields = Fields(head);
        let both = fields
            .be32(root)
            .and_then(|root| Ok((root, fields.be32(levels)?)));
        both.map_err(XFS.short("the head of a group"))
    }

    /// Gives `take` the chunks of a group, ascending.
    fn chunks(
        &self,
        group: u32,
        nodes: &mut Vec<u64>,
        take: &mut dyn FnMut(Chunk) -> ControlFlow<()>,
    ) -> Result<(), SystemError> {
        let head = self.head(group, 2, *b"XAGI")?;
        let root = Self::root_in(&head, 20, 24)?;
        let mut next = 0;
        self.short_tree(group, root, &INODES, nodes, &mut |record| {
            let chunk = chunk(Fields(record), self.superblock.has_sparse_chunks());
            let chunk = chunk.map_err(XFS.short("a tree of inodes"))?;
            if chunk.first < next {
                let rule = "its inodes are not in ascending order";
                return Err(XFS.place("a tree of inodes", group.into(), rule));
            }
            next = chunk.first.saturating_add(CHUNK_INODES);
            Ok(take(chunk))
        })
    }

    /// The inodes of a chunk that are in use.
    fn inodes_of(&self, group: u32, chunk: Chunk, take: &mut TakeObject<'_>) -> ControlFlow<()> {
        let inode_bytes = self.superblock.inode_bytes;
        let mut within = 0;
        while within < CHUNK_INODES {
            // What is missing of a chunk is so by four at least, which no read should touch.
            let bits = |mask: u64| mask.wrapping_shr(u32::try_from(within).unwrap_or(0)) & 0xf;
            let first = chunk.first.saturating_add(within);
            let free = bits(chunk.free | chunk.missing);
            within = within.saturating_add(4);
            if free == 0xf {
                continue;
            }
            let mut bytes = vec![0; saturate(inode_bytes.saturating_mul(4))];
            let place = self.superblock.place_of_inode(group, first);
            let read = match place {
                Some(place) => self.device.read(place, &mut bytes),
                None => continue,
            };
            if let Err(error) = read {
                take(Err(XFS.read("a chunk of inodes")(error)))?;
                continue;
            }
            let each = bytes.chunks_exact(saturate(inode_bytes.max(1)));
            for (index, bytes) in (0u32..4).zip(each) {
                let number = first.saturating_add(index.into());
                let number = self.superblock.number(group, number);
                if free.wrapping_shr(index) & 1 != 0 {
                    continue;
                }
                match Inode::parse(number, bytes, &self.superblock) {
                    Ok(inode) if inode.mode == 0 => {}
                    Ok(inode) => take(Ok(self.describe(&inode)))?,
                    Err(error) => take(Err(error))?,
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn inode(&self, number: u64) -> Result<Inode, SystemError> {
        let (group, within) = self.superblock.parts(number);
        let place = self.superblock.place_of_inode(group, within);
        let place = place.ok_or_else(|| XFS.object(number, "it lies past the end"))?;
        let mut bytes = vec![0; saturate(self.superblock.inode_bytes)];
        let read = self.device.read(place, &mut bytes);
        read.map_err(XFS.read("an inode"))?;
        let inode = Inode::parse(number, &bytes, &self.superblock)?;
        match inode.mode {
            0 => Err(XFS.object(number, "it is not in use")),
            _ => Ok(inode),
        }
    }

    fn describe(&self, inode: &Inode) -> Object {
        let mut object = inode.object();
        let map = self.map(inode, &inode.data);
        let map = object.keep(map);
        if inode.is_realtime() && !map.extents.is_empty() {
            let rule = "its data lie on a realtime device";
            object.damage = Some(XFS.object(inode.number, rule));
        } else {
            object.extents = map.extents;
        }
        let run = |block: &u64| Run {
            start: *block,
            blocks: 1,
        };
        object.others = map
            .nodes
            .iter()
            .map(|block| (Class::Map, run(block)))
            .collect();
        if let Some(fork) = &inode.attributes {
            let map = self.map(inode, fork);
            let map = object.keep(map);
            let extents = map.extents.iter().map(|extent| Run {
                start: extent.physical,
                blocks: extent.blocks.into(),
            });
            let runs = extents.chain(map.nodes.iter().map(run));
            let runs: Vec<_> = runs.map(|run| (Class::Attributes, run)).collect();
            object.others.extend(runs);
            let attributes = self.attributes(inode, fork, &map.extents);
            object.attributes = object.keep(attributes);
        }
        match (&inode.data, object.kind) {
            (Fork::Here(bytes), FileKind::File) => object.inline = Some(bytes.clone()),
            (Fork::Here(bytes), FileKind::Symlink) => object.target = bytes.clone(),
            (_, FileKind::Symlink) => {
                let target = self.target(inode, &object.extents);
                object.target = object.keep(target);
            }
            _ => {}
        }
        if self.superblock.is_own(inode.number) {
            object.class = Class::BlockBitmap;
        }
        object
    }

    /// The target of a link that has blocks of its own; of version 5 each extent has a header.
    fn target(&self, inode: &Inode, extents: &[Extent]) -> Result<Vec<u8>, SystemError> {
        let what = "a link's target in bytes";
        let bytes = XFS.limited(what, inode.size_bytes, MAX_TARGET_BYTES)?;
        let mut found = Vec::new();
        for extent in extents {
            let left = bytes.saturating_sub(found.len() as u64);
            let left = left.saturating_add(self.header_bytes() as u64);
            let blocks = left.div_ceil(self.block_bytes()).min(extent.blocks.into());
            let mut data = Vec::new();
            for block in 0..blocks {
                let block = extent.physical.saturating_add(block);
                data.extend_from_slice(&self.block(block, "the target of a link")?);
            }
            let data = self.without_header(&data, extent.physical, *b"XSLM")?;
            found.extend_from_slice(data);
        }
        found.truncate(saturate(bytes));
        match found.len() as u64 == bytes {
            true => Ok(found),
            false => Err(XFS.object(inode.number, "its target is cut short")),
        }
    }

    /// How long the header is that values and targets have in version 5.
    fn header_bytes(&self) -> usize {
        match self.superblock.is_version_5() {
            true => 56,
            false => 0,
        }
    }

    fn without_header<'b>(
        &self,
        data: &'b [u8],
        block: u64,
        magic: [u8; 4],
    ) -> Result<&'b [u8], SystemError> {
        let skipped = self.header_bytes();
        if skipped > 0 && Fields(data).array(0) != Ok(magic) {
            let rule = "it does not start with its magic";
            return Err(XFS.place("a block of a link or an attribute", block, rule));
        }
        Ok(data.get(skipped..).unwrap_or_default())
    }

    /// A value in blocks from `logical` on, each of which, in version 5, starts with a header.
    fn value(
        &self,
        extents: &[Extent],
        logical: u64,
        bytes: usize,
    ) -> Result<Vec<u8>, SystemError> {
        let what = "an attribute's value";
        let mut found: Vec<u8> = Vec::with_capacity(bytes);
        let mut block = logical;
        while found.len() < bytes {
            let place = map::find(extents, block);
            let place = place.ok_or_else(|| XFS.place(what, block, "it lies in a hole"))?;
            let data = self.block(place, what)?;
            let data = self.without_header(&data, place, *b"XARM")?;
            let left = bytes.saturating_sub(found.len());
            found.extend_from_slice(data.get(..left).unwrap_or(data));
            block = block.saturating_add(1);
        }
        Ok(found)
    }
}

/// Reads a record of the tree of inodes.
fn chunk(fields: Fields<'_>, is_sparse: bool) -> Result<Chunk, crate::bytes::Short> {
    let holes = match is_sparse {
        true => fields.be16(4)?,
        false => 0,
    };
    // Of sixteen bits each stands for four inodes.
    let missing = (0..16u32).filter(|bit| holes.wrapping_shr(*bit) & 1 != 0);
    let missing = missing.fold(0, |mask: u64, bit| {
        mask | 0xfu64.wrapping_shl(bit.saturating_mul(4))
    });
    Ok(Chunk {
        first: fields.be32(0)?.into(),
        free: fields.be64(8)?,
        missing,
    })
}

impl FileSystem for Xfs {
    fn block_bytes(&self) -> u64 {
        self.superblock.block_bytes
    }

    fn source_bytes(&self) -> u64 {
        self.device.source.size_bytes()
    }

    fn root(&self) -> u64 {
        self.superblock.root
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    fn objects(&self, take: &mut TakeObject<'_>) -> Result<(), SystemError> {
        for group in 0..self.superblock.groups {
            let mut broken = false;
            let read = self.chunks(group, &mut Vec::new(), &mut |chunk| {
                let flow = self.inodes_of(group, chunk, take);
                broken = flow.is_break();
                flow
            });
            if broken {
                return Ok(());
            }
            if let Err(error) = read
                && take(Err(error)).is_break()
            {
                return Ok(());
            }
        }
        Ok(())
    }

    fn object(&self, number: u64) -> Result<Object, SystemError> {
        Ok(self.describe(&self.inode(number)?))
    }

    fn names(
        &self,
        directory: u64,
        budget: &mut u64,
        take: &mut TakeName<'_>,
    ) -> Result<(), SystemError> {
        let inode = self.inode(directory)?;
        self.each_name(&inode, budget, take)
    }

    fn read(&self, place: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.device.read(place, buffer)
    }

    fn displaced(&self) -> Vec<u64> {
        let sectors = self.device.replayed.keys();
        let per_block = (self.superblock.block_bytes / device::SECTOR_BYTES).max(1);
        let blocks = sectors.map(|sector| sector.checked_div(per_block).unwrap_or(0));
        let mut blocks: Vec<u64> = blocks.collect();
        blocks.dedup();
        blocks
    }

    fn claim(&self, layout: &mut Layout) -> Result<(), SystemError> {
        layout.end_at(self.superblock.blocks);
        for group in 0..self.superblock.groups {
            self.claim_group(group, layout)?;
        }
        if let Some((start, blocks)) = self.superblock.log() {
            layout.put(Class::Journal, None, start, blocks)?;
        }
        Ok(())
    }
}

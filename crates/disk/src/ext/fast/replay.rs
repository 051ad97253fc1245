//! What was committed fast is done again, in order, as the kernel does it.
//!
//! A name that leads to an inode that is not there any more, or is gone already, is passed over: the
//! inode was deleted before anything of it was committed. What cannot be, such as a block behind the
//! end, is left out and counted.

use std::collections::BTreeMap;

use crate::ext::error::{ExtError, limited};
use crate::ext::fast::tag::{Commits, Named, Tag};
use crate::ext::fast::{Changed, Overlay, Range};
use crate::ext::inode::{FileKind, Inode};
use crate::ext::map::Extent;
use crate::ext::{Ext, ROOT_INODE};
use crate::read_at::ReadAt as _;

/// How many names the directories may have, together, of which some change: all of them are kept, in
/// about 100 MiB with names of 20 bytes, and thrice that with the longest.
const MAX_NAMES: u64 = 1 << 20;

/// Does all of it again; gives how much of it cannot be.
///
/// # Errors
///
/// There is more than the limits allow.
pub(in crate::ext) fn apply(ext: &mut Ext, commits: Commits) -> Result<u64, ExtError> {
    let mut replay = Replay {
        budget: ext.device.source.size_bytes(),
        names: 0,
        ext,
    };
    let mut left_out = 0u64;
    for tag in commits.tags {
        match replay.tag(tag) {
            Ok(()) => {}
            Err(limit @ ExtError::Limit { .. }) => return Err(limit),
            Err(_) => left_out = left_out.saturating_add(1),
        }
    }
    Ok(left_out)
}

struct Replay<'a> {
    ext: &'a mut Ext,
    /// What may still be read of directories: no block belongs to two of them.
    budget: u64,
    /// How many names are kept.
    names: u64,
}

impl Replay<'_> {
    fn tag(&mut self, tag: Tag) -> Result<(), ExtError> {
        match tag {
            Tag::AddRange(inode, extent) => self.add_range(inode, extent),
            Tag::DeleteRange {
                inode,
                first,
                blocks,
            } => self.range(inode, first, blocks, None),
            Tag::Create(named) => self.create(&named),
            Tag::Link(named) => match self.live(named.inode) {
                Some(_) => self.link(&named),
                None => Ok(()),
            },
            Tag::Unlink(named) => self.unlink(&named),
            Tag::Inode(number, bytes) => self.inode(number, bytes),
        }
    }

    fn overlay(&mut self) -> &mut Overlay {
        &mut self.ext.fast
    }

    fn changed(&mut self, number: u32) -> &mut Changed {
        self.overlay().inodes.entry(number).or_default()
    }

    /// Whether a number can be that of a file: those before it are the file system's own.
    fn is_file(&self, number: u32) -> bool {
        let superblock = self.ext.superblock();
        let files = superblock.first_inode..=superblock.inodes;
        number == ROOT_INODE || files.contains(&number)
    }

    /// An inode that has names.
    fn live(&self, number: u32) -> Option<Inode> {
        let inode = self.ext.inode(number).ok();
        inode.filter(|inode| self.is_file(number) && inode.links > 0)
    }

    fn live_directory(&self, number: u32) -> Option<Inode> {
        let inode = self.live(number);
        inode.filter(|inode| inode.kind() == FileKind::Directory)
    }

    /// All names of a directory, which are kept from now on.
    fn names(&mut self, directory: &Inode) -> Result<&mut BTreeMap<Vec<u8>, u32>, ExtError> {
        let number = directory.number;
        if !self.ext.fast.names.contains_key(&number) {
            let names = self.ext.names_within(directory, &mut self.budget)?;
            self.keep(names.len() as u64)?;
            let names = names.into_iter().map(|name| (name.bytes, name.inode));
            let names = names.collect();
            self.overlay().names.insert(number, names);
        }
        Ok(self.overlay().names.entry(number).or_default())
    }

    fn keep(&mut self, names: u64) -> Result<(), ExtError> {
        self.names = self.names.saturating_add(names);
        limited("names beside those of fast commits", self.names, MAX_NAMES)?;
        Ok(())
    }

    fn inode(&mut self, number: u32, written: Vec<u8>) -> Result<(), ExtError> {
        if !self.is_file(number) {
            return Err(ExtError::Inode {
                inode: number,
                rule: "a fast commit changes it, and it is no file's",
            });
        }
        let changed = self.changed(number);
        changed.written = written;
        changed.links = None;
        self.overlay().used.insert(number, true);
        Ok(())
    }

    fn create(&mut self, named: &Named) -> Result<(), ExtError> {
        let Some(inode) = self.live(named.inode) else {
            return Err(ExtError::Inode {
                inode: named.inode,
                rule: "a fast commit gives it a name before it is there",
            });
        };
        if inode.kind() == FileKind::Directory {
            if self.live_directory(named.directory).is_none() {
                return Ok(());
            }
            let own = [(&b"."[..], inode.number), (b"..", named.directory)];
            let own = own.map(|(name, number)| (name.to_vec(), number));
            self.keep(own.len() as u64)?;
            self.overlay().names.insert(inode.number, own.into());
        }
        self.link(named)?;
        self.changed(inode.number).links = Some(1);
        Ok(())
    }

    /// Adds a name, unless the directory has it.
    fn link(&mut self, named: &Named) -> Result<(), ExtError> {
        let inode = self.live(named.inode);
        let (Some(inode), Some(directory)) = (inode, self.live_directory(named.directory)) else {
            return Ok(());
        };
        self.keep(1)?;
        let names = self.names(&directory)?;
        if names.contains_key(&named.name) {
            return Ok(());
        }
        names.insert(named.name.clone(), inode.number);
        self.changed(inode.number).links = Some(inode.links.saturating_add(1));
        Ok(())
    }

    fn unlink(&mut self, named: &Named) -> Result<(), ExtError> {
        let inode = self.live(named.inode);
        let (Some(inode), Some(directory)) = (inode, self.live_directory(named.directory)) else {
            return Ok(());
        };
        let names = self.names(&directory)?;
        match names.get(&named.name) {
            None => return Ok(()),
            Some(found) if *found == inode.number => drop(names.remove(&named.name)),
            // Another file has the name by now.
            Some(_) => {}
        }
        match inode.links.saturating_sub(1) {
            0 => self.delete(inode.number),
            links => self.changed(inode.number).links = Some(links),
        }
        Ok(())
    }

    fn delete(&mut self, number: u32) {
        let overlay = self.overlay();
        let deleted = Changed {
            written: Vec::new(),
            links: Some(0),
            is_cleared: true,
        };
        overlay.inodes.insert(number, deleted);
        overlay.ranges.remove(&number);
        overlay.names.remove(&number);
        overlay.used.insert(number, false);
    }

    fn add_range(&mut self, inode: u32, extent: Extent) -> Result<(), ExtError> {
        let end = extent.physical.checked_add(extent.blocks.into());
        if extent.blocks == 0 || end.is_none_or(|end| end > self.ext.superblock().blocks) {
            return Err(ExtError::Inode {
                inode,
                rule: "a fast commit gives it a block that the file system does not have",
            });
        }
        self.range(inode, extent.logical, extent.blocks.into(), Some(extent))
    }

    fn range(
        &mut self,
        number: u32,
        first: u64,
        blocks: u64,
        to: Option<Extent>,
    ) -> Result<(), ExtError> {
        let Some(inode) = self.live(number) else {
            return Ok(());
        };
        if !inode.has_map() || !inode.has_extents() {
            return Err(ExtError::Inode {
                inode: number,
                rule: "a fast commit moves its blocks, and it has no extents",
            });
        }
        let range = Range { first, blocks, to };
        self.overlay().ranges.entry(number).or_default().push(range);
        Ok(())
    }
}

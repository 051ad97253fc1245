//! Fast commits: what was done to single files and names after the last transaction of the journal,
//! and has to be done again.
//!
//! ```text
//!  journal ─► tag: what was done ─► replay: done again ─► Overlay ─┬─► inodes   over their tables
//!                                                                  ├─► ranges   over maps
//!                                                                  ├─► names    in place of directories'
//!                                                                  └─► in use   over bitmaps
//! ```
//!
//! Nothing is written, and no block is given away: what a kernel would write lies above what the disk
//! has. A kernel that replays them gives a directory whose names it changes the time of its replay,
//! and blocks as it needs them; here it keeps times and blocks that it had.

mod replay;
mod tag;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bytes::{Fields, power_of_two, saturate};
use crate::ext::directory::Name;
use crate::ext::error::{ExtError, limited};
use crate::ext::inode::{FLAG_EXTENTS, FLAG_INLINE, MAP_AT, MAP_BYTES};
use crate::ext::map::{EMPTY_ROOT, Extent, FileMap, MAX_EXTENTS, append};

pub(super) use replay::apply;
pub(super) use tag::{Commits, Reader};

/// Where an inode's fields go on behind its map.
const BEHIND_MAP: usize = MAP_AT.saturating_add(MAP_BYTES);

const LINKS_AT: usize = 26;
const FLAGS_AT: usize = 32;

/// What fast commits have changed.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    inodes: BTreeMap<u32, Changed>,
    /// What was done to the maps of files, in order.
    ranges: BTreeMap<u32, Vec<Range>>,
    /// All names of directories of which some were changed.
    names: BTreeMap<u32, BTreeMap<Vec<u8>, u32>>,
    /// Whether inodes are in use now.
    used: BTreeMap<u32, bool>,
}

/// What was changed of an inode.
#[derive(Debug, Default)]
struct Changed {
    /// Its fields, without the map; none if they are as the disk has them.
    written: Vec<u8>,
    /// How many names it has, unless its fields tell it.
    links: Option<u16>,
    /// Whether it was deleted, so that it has nothing of its former map.
    is_cleared: bool,
}

/// Blocks of a file that lie elsewhere now, or nowhere.
#[derive(Debug)]
struct Range {
    first: u64,
    blocks: u64,
    to: Option<Extent>,
}

impl Overlay {
    /// An inode's bytes over those that the disk has, if anything of it was changed; and whether the
    /// disk's sum still stands for its fields.
    pub(super) fn inode(&self, number: u32, disk: &[u8]) -> Option<(Vec<u8>, bool)> {
        let changed = self.inodes.get(&number)?;
        let mut bytes = disk.to_vec();
        if changed.is_cleared {
            put(&mut bytes, MAP_AT, &[0; MAP_BYTES]);
        }
        let written = changed.written.as_slice();
        if !written.is_empty() {
            put_fields(&mut bytes, written);
        }
        if let Some(links) = changed.links {
            put(&mut bytes, LINKS_AT, &links.to_le_bytes());
        }
        Some((bytes, written.is_empty()))
    }

    /// A file's blocks over those that the disk tells.
    pub(super) fn map(&self, number: u32, mut map: FileMap) -> Result<FileMap, ExtError> {
        let Some(ranges) = self.ranges.get(&number) else {
            return Ok(map);
        };
        let extents = map.extents.into_iter();
        let mut pieces: BTreeMap<u64, Extent> = extents.map(|one| (one.logical, one)).collect();
        for range in ranges {
            let end = range.first.saturating_add(range.blocks);
            cut(&mut pieces, range.first, end);
            pieces.extend(range.to.map(|extent| (extent.logical, extent)));
        }
        limited("extents of a file", pieces.len() as u64, MAX_EXTENTS)?;
        map.extents = Vec::new();
        for extent in pieces.into_values() {
            append(&mut map.extents, extent);
        }
        Ok(map)
    }

    /// All names of a directory, if some of them were changed.
    pub(super) fn names(&self, directory: u32) -> Option<Vec<Name>> {
        let names = self.names.get(&directory)?.iter();
        let names = names.map(|(bytes, inode)| Name {
            bytes: bytes.clone(),
            inode: *inode,
        });
        Some(names.collect())
    }

    /// Whether one of some inodes was taken into use.
    pub(super) fn uses_any(&self, inodes: std::ops::Range<u32>) -> bool {
        self.used.range(inodes).any(|(_, used)| *used)
    }

    /// A bitmap of some inodes over that of the disk.
    pub(super) fn bitmap(&self, inodes: std::ops::Range<u32>, disk: Arc<[u8]>) -> Arc<[u8]> {
        let mut changed = self.used.range(inodes.clone()).peekable();
        if changed.peek().is_none() {
            return disk;
        }
        let mut bitmap = disk.to_vec();
        for (inode, used) in changed {
            let bit = u64::from(inode.saturating_sub(inodes.start));
            let mask = power_of_two(u32::try_from(bit % 8).unwrap_or(0)).unwrap_or(0);
            let mask = u8::try_from(mask).unwrap_or(0);
            if let Some(byte) = bitmap.get_mut(saturate(bit / 8)) {
                *byte = if *used { *byte | mask } else { *byte & !mask };
            }
        }
        Arc::from(bitmap)
    }

    /// Inodes whose blocks on the disk may be free now.
    pub(super) fn remapped(&self) -> impl Iterator<Item = u32> {
        let cleared = self.inodes.iter().filter(|(_, one)| one.is_cleared);
        self.ranges
            .keys()
            .copied()
            .chain(cleared.map(|(number, _)| *number))
    }
}

/// Puts `part` into `bytes`; what would lie behind their end is left out.
fn put(bytes: &mut [u8], at: usize, part: &[u8]) {
    let places = bytes.iter_mut().skip(at);
    places.zip(part).for_each(|(place, byte)| *place = *byte);
}

/// Puts an inode's fields into its bytes: all but the map, which ranges tell of.
fn put_fields(bytes: &mut [u8], written: &[u8]) {
    put(bytes, 0, written.get(..MAP_AT).unwrap_or_default());
    put(
        bytes,
        BEHIND_MAP,
        written.get(BEHIND_MAP..).unwrap_or_default(),
    );
    let flags = Fields(written).le32(FLAGS_AT).unwrap_or(0);
    if flags & FLAG_EXTENTS != 0 {
        // What it was before may have had something else there.
        if Fields(bytes).part(MAP_AT, 2) != Fields(&EMPTY_ROOT).part(0, 2) {
            put(bytes, MAP_AT, &EMPTY_ROOT);
        }
    } else if flags & FLAG_INLINE != 0 {
        put(
            bytes,
            MAP_AT,
            written.get(MAP_AT..BEHIND_MAP).unwrap_or_default(),
        );
    }
}

/// Cuts the blocks from `first` up to `end` of a file out of its extents.
fn cut(pieces: &mut BTreeMap<u64, Extent>, first: u64, end: u64) {
    let before = pieces.range(..first).next_back();
    let mut met: Vec<Extent> = before.map(|(_, extent)| *extent).into_iter().collect();
    met.extend(
        pieces
            .range(first..end.max(first))
            .map(|(_, extent)| *extent),
    );
    for extent in met.into_iter().filter(|extent| extent.end() > first) {
        pieces.remove(&extent.logical);
        let kept = [
            (extent.logical, first),
            (end.max(extent.logical), extent.end()),
        ];
        for (start, end) in kept.into_iter().filter(|(start, end)| start < end) {
            let skipped = start.saturating_sub(extent.logical);
            let piece = Extent {
                logical: start,
                physical: extent.physical.saturating_add(skipped),
                blocks: u32::try_from(end.saturating_sub(start)).unwrap_or(extent.blocks),
                unwritten: extent.unwritten,
            };
            pieces.insert(start, piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn extent((logical, physical, blocks, unwritten): (u64, u64, u32, bool)) -> Extent {
        Extent {
            logical,
            physical,
            blocks,
            unwritten,
        }
    }

    /// Where each block of a file lies, one by one.
    fn places(extents: &[Extent]) -> Vec<Option<(u64, bool)>> {
        let mut places = vec![None; 100];
        for extent in extents {
            for block in 0..u64::from(extent.blocks) {
                let place = &mut places[(extent.logical + block) as usize];
                assert_eq!(*place, None, "two extents have it");
                *place = Some((extent.physical + block, extent.unwritten));
            }
        }
        places
    }

    proptest! {
        /// The truth is kept block by block.
        #[test]
        fn ranges_lie_over_a_map(
            changes in proptest::collection::vec(
                (0..70u64, 1..30u32, any::<Option<bool>>(), 1000..2000u64), 0..30,
            ),
        ) {
            let disk = [extent((0, 10, 40, false)), extent((50, 300, 7, true))];
            let mut expected = places(&disk);
            let mut overlay = Overlay::default();
            for (first, blocks, to, physical) in changes {
                for block in 0..u64::from(blocks) {
                    expected[(first + block) as usize] = to.map(|bare| (physical + block, bare));
                }
                overlay.ranges.entry(9).or_default().push(Range {
                    first,
                    blocks: blocks.into(),
                    to: to.map(|unwritten| extent((first, physical, blocks, unwritten))),
                });
            }
            let map = FileMap { extents: disk.to_vec(), nodes: vec![5] };
            let found = overlay.map(9, map).unwrap();
            prop_assert_eq!(places(&found.extents), expected);
            prop_assert!(found.extents.is_sorted_by_key(|one| one.logical));
            prop_assert_eq!(found.nodes, [5]);
        }
    }

    #[test]
    fn fields_are_changed_and_the_map_stays() {
        let disk: Vec<u8> = (0..=255).collect();
        let mut written = vec![0xaa; 160];
        written[FLAGS_AT..FLAGS_AT + 4].fill(0);
        let mut overlay = Overlay::default();
        let changed = Changed {
            written: written.clone(),
            links: Some(0x0203),
            is_cleared: false,
        };
        overlay.inodes.insert(5, changed);
        let (found, is_disks) = overlay.inode(5, &disk).unwrap();
        assert!(!is_disks);
        assert_eq!(found[..LINKS_AT], written[..LINKS_AT]);
        assert_eq!(found[LINKS_AT..LINKS_AT + 2], [3, 2]);
        assert_eq!(found[MAP_AT..BEHIND_MAP], disk[MAP_AT..BEHIND_MAP]);
        assert_eq!(found[BEHIND_MAP..160], written[BEHIND_MAP..]);
        assert_eq!(found[160..], disk[160..]);
        assert!(overlay.inode(6, &disk).is_none());
    }

    #[test]
    fn bits_of_inodes_are_changed() {
        let mut overlay = Overlay::default();
        overlay.used.extend([(12, true), (20, false), (90, true)]);
        let disk: Arc<[u8]> = Arc::from([0, 0xff, 0]);
        let found = overlay.bitmap(9..33, Arc::clone(&disk));
        assert_eq!(found[..], [8, 0xf7, 0]);
        assert_eq!(overlay.bitmap(40..64, Arc::clone(&disk))[..], disk[..]);
        assert!(overlay.uses_any(1..13) && !overlay.uses_any(13..90));
    }
}

//! What the items of transactions say of sectors.
//!
//! ```text
//!  buffer   0 123c  4 flags  6 sectors  8 where   16 words   20 a bit for each 128 bytes
//!  inode    0 123b  4 fields   16 number   40 where   52 which bytes there; core, data, attributes
//!  inodes   0 123f  4 group  8 block  12 inodes  16 bytes of one  20 blocks  24 generation
//! ```
//!
//! The core of an inode is kept in the order of bytes of the machine, all else as on the disk.

use std::collections::BTreeMap;

use crate::bytes::{Fields, Short, saturate};
use crate::read_at::ReadAt;
use crate::system::SystemError;
use crate::xfs::XFS;
use crate::xfs::device::{SECTOR_BYTES, Sectors, overlay};
use crate::xfs::log::transaction::{Item, Transaction};
use crate::xfs::superblock::Superblock;

const INODE: u16 = 0x123b;
const BUFFER: u16 = 0x123c;
const INODES: u16 = 0x123f;

/// Of inodes; only the chain of deleted ones is logged so, which is not read.
const OF_INODES: u16 = 0x01;
const CANCELS: u16 = 0x02;
/// Of quotas, which are not read.
const OF_QUOTAS: u16 = 0x1c;

const PIECE_BYTES: usize = 128;

/// What of an inode was logged.
const DATA: u32 = 0x02 | 0x04;
const DATA_ROOT: u32 = 0x08;
const DEVICE: u32 = 0x10;
const ATTRIBUTES: u32 = 0x40 | 0x80;
const ATTRIBUTES_ROOT: u32 = 0x100;

/// How long all sectors may be together that are read in another's place.
const MAX_SECTORS_BYTES: u64 = 128 << 20;

/// A buffer's first sector, and how many it has.
type Place = (u64, u16);

/// How often each buffer is cancelled from here on.
#[derive(Debug, Default)]
pub(super) struct Cancelled(BTreeMap<Place, u32>);

impl Cancelled {
    pub(super) fn gather(&mut self, transaction: &Transaction) {
        for item in &transaction.items {
            if let Some((place, flags)) = buffer(item)
                && flags & CANCELS != 0
            {
                let count = self.0.entry(place).or_default();
                *count = count.saturating_add(1);
            }
        }
    }

    fn has(&self, place: Place) -> bool {
        self.0.get(&place).is_some_and(|count| *count > 0)
    }

    fn take(&mut self, place: Place) {
        if let Some(count) = self.0.get_mut(&place) {
            *count = count.saturating_sub(1);
        }
    }
}

/// Where a buffer lies, and its flags.
fn buffer(item: &Item) -> Option<(Place, u16)> {
    let fields = Fields(item.parts.first()?);
    let place = fields.le64(8).ok()?;
    let sectors = fields.le16(6).ok()?;
    (item.kind() == BUFFER).then_some(((place, sectors), fields.le16(4).ok()?))
}

/// Gathers what the log leaves other than the disk has it.
#[derive(Debug)]
pub(super) struct Apply<'a> {
    superblock: &'a Superblock,
    source: &'a dyn ReadAt,
    cancelled: Cancelled,
    pub(super) sectors: Sectors,
}

impl<'a> Apply<'a> {
    pub(super) fn new(
        superblock: &'a Superblock,
        source: &'a dyn ReadAt,
        cancelled: Cancelled,
    ) -> Self {
        Self {
            superblock,
            source,
            cancelled,
            sectors: Sectors::new(),
        }
    }

    /// Applies a transaction: new inodes and buffers first, then inodes, then what is cancelled.
    pub(super) fn transaction(&mut self, transaction: &Transaction) -> Result<(), SystemError> {
        let place = transaction.place;
        let short = || XFS.short("an item of the log");
        for item in transaction.items.iter().filter(|it| it.kind() != INODE) {
            match (item.kind(), buffer(item)) {
                (BUFFER, Some((at, flags))) if flags & CANCELS != 0 => self.cancelled.take(at),
                (BUFFER, Some((at, flags)))
                    if flags & (OF_INODES | OF_QUOTAS) == 0 && !self.cancelled.has(at) =>
                {
                    self.buffer(item, at, place)?;
                }
                (INODES, _) => self.inodes(item)?,
                _ => {}
            }
        }
        for item in transaction.items.iter().filter(|it| it.kind() == INODE) {
            self.inode(item, place)?.map_err(short())?;
        }
        Ok(())
    }

    fn read(&self, sector: u64, bytes: usize) -> Result<Vec<u8>, SystemError> {
        let place = sector.saturating_mul(SECTOR_BYTES);
        let read = crate::read_at::read_new(self.source, place, bytes);
        let mut bytes = read.map_err(XFS.read("what the log tells of"))?;
        overlay(&self.sectors, place, &mut bytes);
        Ok(bytes)
    }

    fn write(&mut self, sector: u64, bytes: &[u8]) -> Result<(), SystemError> {
        for (sector, bytes) in (sector..).zip(bytes.chunks_exact(saturate(SECTOR_BYTES))) {
            self.sectors.insert(sector, bytes.into());
        }
        let all = (self.sectors.len() as u64).saturating_mul(SECTOR_BYTES);
        XFS.limited("what the log changes, in bytes", all, MAX_SECTORS_BYTES)?;
        Ok(())
    }

    fn buffer(&mut self, item: &Item, (at, sectors): Place, place: u64) -> Result<(), SystemError> {
        let bytes = u64::from(sectors).saturating_mul(SECTOR_BYTES);
        let mut there = self.read(at, saturate(bytes))?;
        let is_newer = |on_disk: u64| on_disk != 0 && on_disk != u64::MAX && on_disk >= place;
        if self.superblock.is_version_5() && written(&there).is_some_and(is_newer) {
            return Ok(());
        }
        let map = item.parts.first().and_then(|format| format.get(20..));
        let mut parts = item.parts.iter().skip(1);
        let mut piece = 0usize;
        while let Some(run) = next_run(map.unwrap_or_default(), piece) {
            let Some(part) = parts.next() else {
                break;
            };
            // A part may be shorter than the run, which then goes on with the next part.
            let pieces = run.1.min(part.len() / PIECE_BYTES).max(1);
            let start = run.0.saturating_mul(PIECE_BYTES);
            let length = pieces.saturating_mul(PIECE_BYTES);
            let target = there.get_mut(start..start.saturating_add(length));
            if let (Some(target), Some(part)) = (target, part.get(..length)) {
                target.copy_from_slice(part);
            }
            piece = run.0.saturating_add(pieces);
        }
        self.write(at, &there)
    }

    /// A chunk of inodes that was made: all are free until they are told of.
    fn inodes(&mut self, item: &Item) -> Result<(), SystemError> {
        let format = item.parts.first().map_or(&[][..], Vec::as_slice);
        let fields = Fields(format);
        let read = || -> Result<_, Short> {
            Ok((
                fields.be32(4)?,
                fields.be32(8)?,
                fields.be32(16)?,
                fields.be32(20)?,
                fields.array::<4>(24)?,
            ))
        };
        let (group, block, inode_bytes, blocks, generation) =
            read().map_err(XFS.short("an item of the log"))?;
        // A chunk has 64 inodes.
        let most = self.superblock.inode_bytes.saturating_mul(64);
        let bytes = u64::from(blocks).saturating_mul(self.superblock.block_bytes);
        let start = self.superblock.block_of(group, block);
        let start = start.filter(|_| {
            bytes <= most.max(self.superblock.block_bytes)
                && u64::from(inode_bytes) == self.superblock.inode_bytes
        });
        let wrong = || XFS.place("the log", group.into(), "a chunk of inodes cannot be there");
        let start = start.ok_or_else(wrong)?;
        let sector = start.saturating_mul(self.superblock.block_bytes) / SECTOR_BYTES;
        let sectors = u16::try_from(bytes / SECTOR_BYTES).unwrap_or(u16::MAX);
        if self.cancelled.has((sector, sectors)) {
            return Ok(());
        }
        let mut chunk = vec![0; saturate(bytes)];
        let version = if self.superblock.is_version_5() { 3 } else { 2 };
        for inode in chunk.chunks_mut(saturate(inode_bytes.into()).max(1)) {
            put(inode, 0, b"IN");
            put(inode, 4, &[version]);
            put(inode, 92, &generation);
            put(inode, 96, &[0xff; 4]);
        }
        self.write(sector, &chunk)
    }

    fn inode(&mut self, item: &Item, place: u64) -> Result<Result<(), Short>, SystemError> {
        let parts: Vec<&[u8]> = item.parts.iter().map(Vec::as_slice).collect();
        let (Some(format), Some(core)) = (parts.first(), parts.get(1)) else {
            return Ok(Ok(()));
        };
        let fields = Fields(format);
        let read =
            || -> Result<_, Short> { Ok((fields.le32(4)?, fields.le64(40)?, fields.le32(52)?)) };
        let (what, buffer_at, within) = match read() {
            Ok(read) => read,
            Err(short) => return Ok(Err(short)),
        };
        let first = buffer_at.saturating_add(u64::from(within) / SECTOR_BYTES);
        let within = saturate(u64::from(within) % SECTOR_BYTES);
        let inode_bytes = saturate(self.superblock.inode_bytes);
        let all = within.saturating_add(inode_bytes);
        let mut there = self.read(first, all.next_multiple_of(saturate(SECTOR_BYTES)))?;
        let Some(inode) = there.get_mut(within..all) else {
            return Ok(Ok(()));
        };
        if is_newer(inode, core, place) {
            return Ok(Ok(()));
        }
        put_core(inode, core, place);
        let data = match what & DEVICE {
            0 => None,
            _ => fields.le32(24).ok(),
        };
        let start = if core.get(4) == Some(&3) { 176 } else { 100 };
        if let Some(device) = data {
            put(inode, start, &device.to_be_bytes());
        }
        let after = usize::from(inode.get(82).copied().unwrap_or(0)).saturating_mul(8);
        let attributes_at = start.saturating_add(after);
        let data_end = if after == 0 {
            inode_bytes
        } else {
            attributes_at
        };
        let header = if self.superblock.is_version_5() {
            72
        } else {
            24
        };
        let mut next = 2;
        for (whole, root, start, end) in [
            (DATA, DATA_ROOT, start, data_end),
            (ATTRIBUTES, ATTRIBUTES_ROOT, attributes_at, inode_bytes),
        ] {
            if what & (whole | root) == 0 {
                continue;
            }
            let part = parts.get(next).copied().unwrap_or_default();
            next = next.saturating_add(1);
            let Some(fork) = inode.get_mut(start..end) else {
                continue;
            };
            match what & root {
                0 => put(fork, 0, part.get(..fork.len()).unwrap_or(part)),
                _ => put_root(fork, part, header),
            }
        }
        self.write(first, &there)?;
        Ok(Ok(()))
    }
}

/// Puts bytes at a place, as far as both go.
fn put(target: &mut [u8], at: usize, bytes: &[u8]) {
    let there = target.get_mut(at..).unwrap_or_default();
    for (byte, new) in there.iter_mut().zip(bytes) {
        *byte = *new;
    }
}

/// Whether the disk has an inode as it is here, or newer.
fn is_newer(inode: &[u8], core: &[u8], place: u64) -> bool {
    let (disk, log) = (Fields(inode), Fields(core));
    if disk.array(0) != Ok(*b"IN") {
        return false;
    }
    match disk.byte(4) {
        Ok(3) => disk
            .be64(112)
            .is_ok_and(|on_disk| on_disk != 0 && on_disk != u64::MAX && on_disk >= place),
        // Older versions count how often they were written.
        Ok(_) => match (disk.be16(30), log.le16(30)) {
            (Ok(0xffff), Ok(new)) if new < 0x7fff => false,
            (Ok(on_disk), Ok(new)) => new < on_disk,
            _ => false,
        },
        Err(_) => false,
    }
}

/// The fields of a core, by their lengths; what is not told stays as it is.
const CORE: &[(usize, usize)] = &[
    (0, 2),
    (2, 2),
    (4, 1),
    (5, 1),
    (6, 2),
    (8, 4),
    (12, 4),
    (16, 4),
    (20, 2),
    (22, 2),
    (56, 8),
    (64, 8),
    (72, 4),
    (82, 1),
    (83, 1),
    (84, 4),
    (88, 2),
    (90, 2),
    (92, 4),
];

const CORE_3: &[(usize, usize)] = &[(104, 8), (120, 8), (128, 4), (152, 8)];

fn put_core(inode: &mut [u8], core: &[u8], place: u64) {
    let is_3 = core.get(4) == Some(&3);
    let flags = match is_3 {
        true => Fields(core).le64(120).unwrap_or(0),
        false => 0,
    };
    let mut fields: Vec<(usize, usize)> = CORE.to_vec();
    // Times of 64 bits, or twice 32.
    let time: &[usize] = if flags & 0x08 != 0 { &[8] } else { &[4, 4] };
    let mut times = vec![32, 40, 48];
    if is_3 {
        fields.extend(CORE_3);
        times.push(144);
    }
    for start in times {
        let mut at = start;
        for length in time {
            fields.push((at, *length));
            at = at.saturating_add(*length);
        }
    }
    match flags & 0x10 {
        0 => fields.extend([(30, 2), (76, 4), (80, 2)]),
        _ => fields.extend([(24, 8), (76, 4), (80, 2)]),
    }
    for (at, length) in fields {
        let mut value = core
            .get(at..at.saturating_add(length))
            .unwrap_or_default()
            .to_vec();
        value.reverse();
        put(inode, at, &value);
    }
    if is_3 {
        put(inode, 112, &place.to_be_bytes());
        put(inode, 160, core.get(160..176).unwrap_or_default());
    }
}

/// Puts the root of a tree, which is logged as a block is, into a fork, where it has a shorter header
/// and other room.
fn put_root(fork: &mut [u8], block: &[u8], header: usize) {
    let room = |bytes: usize, header: usize| bytes.saturating_sub(header) / 16;
    let (from, to) = (room(block.len(), header), room(fork.len(), 4));
    let count = usize::from(Fields(block).be16(6).unwrap_or(0))
        .min(from)
        .min(to);
    let length = count.saturating_mul(8);
    let pointers = |start: usize, room: usize| start.saturating_add(room.saturating_mul(8));
    let part = |start: usize| {
        let end = start.saturating_add(length);
        block.get(start..end).unwrap_or_default()
    };
    put(fork, 0, block.get(4..8).unwrap_or_default());
    put(fork, 4, part(header));
    put(fork, pointers(4, to), part(pointers(header, from)));
}

/// The next bits that are set from one on: the first, and how many.
fn next_run(map: &[u8], from: usize) -> Option<(usize, usize)> {
    let is_set = |bit: usize| {
        let byte = map.get(bit / 8).copied().unwrap_or(0);
        byte.wrapping_shr(u32::try_from(bit % 8).unwrap_or(0)) & 1 != 0
    };
    let bits = map.len().saturating_mul(8);
    let first = (from..bits).find(|bit| is_set(*bit))?;
    let end = (first..bits).find(|bit| !is_set(*bit)).unwrap_or(bits);
    Some((first, end.saturating_sub(first)))
}

/// Round and place of the record after which a block was written, where the block tells it.
fn written(block: &[u8]) -> Option<u64> {
    let fields = Fields(block);
    let magic: [u8; 4] = fields.array(0).ok()?;
    let at = match &magic {
        b"AB3B" | b"AB3C" | b"IAB3" | b"FIB3" | b"RMB3" | b"R3FC" | b"XAFL" => 24,
        b"BMA3" => 32,
        b"XAGF" => 208,
        b"XAGI" => 320,
        b"XFSB" => 240,
        b"XDB3" | b"XDD3" | b"XDF3" => 16,
        b"XSLM" => 48,
        _ => match fields.be16(8).ok()? {
            0x3bee | 0x3ebe | 0x3df1 | 0x3dff => 24,
            _ => return None,
        },
    };
    fields.be64(at).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn runs_are_all_bits_that_are_set(map in proptest::collection::vec(any::<u8>(), 0..12)) {
            let mut found = Vec::new();
            let mut from = 0;
            while let Some((first, count)) = next_run(&map, from) {
                found.extend(first..first + count);
                from = first + count;
            }
            let expected: Vec<usize> =
                (0..map.len() * 8).filter(|bit| map[bit / 8] >> (bit % 8) & 1 == 1).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_root_moves_into_less_room() {
        // Two entries in a block with room for four, into a fork with room for three.
        let mut block = vec![0; 72 + 4 * 16];
        block[4..8].copy_from_slice(&[0, 1, 0, 2]);
        block[72..88].copy_from_slice(&[1; 16]);
        block[72 + 32..72 + 48].copy_from_slice(&[2; 16]);
        let mut fork = vec![9; 4 + 3 * 16];
        put_root(&mut fork, &block, 72);
        assert_eq!(&fork[..4], [0, 1, 0, 2]);
        assert_eq!(&fork[4..20], [1; 16]);
        assert_eq!(&fork[28..44], [2; 16]);
        assert_eq!(&fork[44..], [9; 8]);
    }
}

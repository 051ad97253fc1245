//! What a volume holds, by its signature.
//!
//! ```text
//!  LUKS   0 "LUKS" ba be   6 version, big-endian   24 label (version 2)   168 id, as text
//!  XFS    0 "XFSB"        32 id                   108 name, 12 bytes
//!  NTFS   3 "NTFS    "    72 serial number         BitLocker 3 "-FVE-FS-", or an id at 424
//!  ext    1080 53 ef    1128 id                  1144 name, 16 bytes
//!  btrfs  65600 "_BHRfS_M"   65568 id           65835 name, 256 bytes
//!  swap   "SWAPSPACE2" in the last bytes of a page of 4 to 64 KiB   1036 id   1052 name
//!  FAT    510 55 aa   54 or 82 "FAT"   39 or 67 serial number
//! ```
//!
//! The order matters where an older signature may have survived: makers of file systems clear the
//! first sectors, but seldom what lies further on.

use crate::bytes::{Fields, text};
use crate::lvm::{LvmError, PhysicalVolume, physical_volume};
use crate::read_at::{ReadAt, ReadError, read_new};
use crate::volume::{VolumeError, VolumeKind};

/// What is read from the start on, and from where btrfs begins.
const START_BYTES: usize = 4096;
const BTRFS_AT: u64 = 64 << 10;

/// The sizes of pages that swap is made with.
const PAGES: [u64; 5] = [4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10];
const SWAP_MAGIC: [u8; 10] = *b"SWAPSPACE2";

/// What BitLocker's kind for removable disks has in its first sector, which else is that of a FAT.
const BITLOCKER_TO_GO: [u8; 16] = [
    0x3b, 0xd6, 0x67, 0x49, 0x29, 0x2e, 0xd8, 0x4a, 0x83, 0x99, 0xf6, 0xa3, 0x39, 0xe3, 0xd0, 0x01,
];

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) kind: VolumeKind,
    pub(super) label: Option<String>,
    pub(super) id: Option<String>,
    pub(super) physical: Option<PhysicalVolume>,
    pub(super) damage: Option<VolumeError>,
}

impl Default for Found {
    fn default() -> Self {
        Self::new(VolumeKind::Unknown, None, None)
    }
}

impl Found {
    fn new(kind: VolumeKind, label: Option<String>, id: Option<String>) -> Self {
        Self {
            kind,
            label: label.filter(|label| !label.is_empty()),
            id,
            physical: None,
            damage: None,
        }
    }
}

/// Looks at the signatures of a volume.
pub(super) fn probe(name: &str, source: &dyn ReadAt) -> Found {
    match look(source) {
        Ok(Looked::Plain(found)) => found,
        Ok(Looked::Lvm(Ok(physical))) => Found {
            physical: Some(physical.clone()),
            ..Found::new(
                VolumeKind::PhysicalVolume,
                physical.group.map(|group| group.name),
                Some(physical.id),
            )
        },
        Ok(Looked::Lvm(Err(source))) => Found {
            damage: Some(VolumeError::Lvm {
                name: name.to_owned(),
                source,
            }),
            ..Found::new(VolumeKind::PhysicalVolume, None, None)
        },
        Err(source) => Found {
            damage: Some(VolumeError::Read {
                name: name.to_owned(),
                source,
            }),
            ..Found::default()
        },
    }
}

enum Looked {
    Plain(Found),
    Lvm(Result<PhysicalVolume, LvmError>),
}

fn look(source: &dyn ReadAt) -> Result<Looked, ReadError> {
    let start = read_some(source, 0, START_BYTES)?;
    let start = Fields(&start);
    if let Some(found) = at_start(start) {
        return Ok(Looked::Plain(found));
    }
    match physical_volume(source) {
        Err(LvmError::NotLvm) => {}
        outcome => return Ok(Looked::Lvm(outcome)),
    }
    if start.le16(1080) == Ok(0xef53) {
        let id = identity(start, 1128);
        return Ok(Looked::Plain(Found::new(
            VolumeKind::Ext,
            label(start, 1144, 16),
            id,
        )));
    }
    let btrfs = read_some(source, BTRFS_AT, START_BYTES)?;
    let btrfs = Fields(&btrfs);
    if btrfs.array(64) == Ok(*b"_BHRfS_M") {
        let (label, id) = (label(btrfs, 299, 256), identity(btrfs, 32));
        return Ok(Looked::Plain(Found::new(VolumeKind::Btrfs, label, id)));
    }
    if is_swap(source)? {
        let (label, id) = (label(start, 1052, 16), identity(start, 1036));
        return Ok(Looked::Plain(Found::new(VolumeKind::Swap, label, id)));
    }
    Ok(Looked::Plain(fat(start).unwrap_or_default()))
}

/// What has its signature in the first sector.
fn at_start(start: Fields<'_>) -> Option<Found> {
    if start.array(0) == Ok(*b"LUKS\xba\xbe") {
        let name = match start.be16(6) {
            Ok(2) => label(start, 24, 48),
            _ => None,
        };
        let id = label(start, 168, 40);
        return Some(Found::new(VolumeKind::Luks, name, id));
    }
    if start.array(0) == Ok(*b"XFSB") {
        let (label, id) = (label(start, 108, 12), identity(start, 32));
        return Some(Found::new(VolumeKind::Xfs, label, id));
    }
    if start.array(3) == Ok(*b"-FVE-FS-") || start.array(424) == Ok(BITLOCKER_TO_GO) {
        return Some(Found::new(VolumeKind::BitLocker, None, None));
    }
    if start.array(3) == Ok(*b"NTFS    ") {
        let id = start.le64(72).ok().map(|serial| format!("{serial:016X}"));
        return Some(Found::new(VolumeKind::Ntfs, None, id));
    }
    None
}

fn fat(start: Fields<'_>) -> Option<Found> {
    if start.array(510) != Ok([0x55, 0xaa]) {
        return None;
    }
    let serial = match (start.array(54), start.array(82)) {
        (Ok([b'F', b'A', b'T']), _) => 39,
        (_, Ok([b'F', b'A', b'T'])) => 67,
        _ => return None,
    };
    let id = start.le32(serial).ok();
    let id = id.map(|serial| format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff));
    // The name here is not the one that counts: that stands in the first directory.
    Some(Found::new(VolumeKind::Fat, None, id))
}

fn is_swap(source: &dyn ReadAt) -> Result<bool, ReadError> {
    for page in PAGES {
        let at = page.saturating_sub(SWAP_MAGIC.len() as u64);
        if read_some(source, at, SWAP_MAGIC.len())? == SWAP_MAGIC {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What there is of `bytes` bytes at `offset`.
fn read_some(source: &dyn ReadAt, offset: u64, bytes: usize) -> Result<Vec<u8>, ReadError> {
    let there = source.size_bytes().saturating_sub(offset);
    read_new(source, offset, bytes.min(crate::bytes::saturate(there)))
}

/// A name that ends with zeros or spaces.
fn label(fields: Fields<'_>, at: usize, bytes: usize) -> Option<String> {
    let part = fields.part(at, bytes).ok()?;
    let name = part.split(|byte| *byte == 0).next().unwrap_or_default();
    Some(text(name).trim_end().to_owned())
}

/// An id of 16 bytes in their order.
fn identity(fields: Fields<'_>, at: usize) -> Option<String> {
    let id: [u8; 16] = fields.array(at).ok()?;
    let mut written = String::with_capacity(36);
    for (index, byte) in id.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            written.push('-');
        }
        written.push_str(&format!("{byte:02x}"));
    }
    Some(written)
}

//! What a device holds, by the marks that its first blocks bear.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What a device holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// ext2, ext3 or ext4.
    Ext,
    /// XFS.
    Xfs,
    /// btrfs.
    Btrfs,
    /// An encrypted volume.
    Luks,
    /// A part of a group of volumes.
    Lvm,
    /// A part of an array.
    Raid,
    /// Swap space.
    Swap,
    /// None of these, or it cannot be read.
    Unknown,
}

/// The marks, and where they stand.
const MARKS: [(u64, &[u8], Kind); 8] = [
    (0, b"LUKS\xba\xbe", Kind::Luks),
    (512, b"LABELONE", Kind::Lvm),
    (4096, &[0xfc, 0x4e, 0x2b, 0xa9], Kind::Raid),
    (0, b"XFSB", Kind::Xfs),
    (65_536 + 64, b"_BHRfS_M", Kind::Btrfs),
    (1024 + 56, &[0x53, 0xef], Kind::Ext),
    (4086, b"SWAPSPACE2", Kind::Swap),
    (0, &[], Kind::Unknown),
];

impl Kind {
    /// What it is, in words.
    pub(super) const fn told(self) -> &'static str {
        match self {
            Self::Ext => "ext",
            Self::Xfs => "XFS",
            Self::Btrfs => "btrfs",
            Self::Luks => "encrypted (LUKS), which cannot be opened here",
            Self::Lvm => "a volume group's (LVM), which is not put together here",
            Self::Raid => "an array's (RAID), which is not put together here",
            Self::Swap => "swap space",
            Self::Unknown => "no file system that is known",
        }
    }
}

/// What a device holds.
pub(super) fn kind(device: &Path) -> Kind {
    let Ok(file) = File::open(device) else {
        return Kind::Unknown;
    };
    let bears = |(offset, mark, _): &&(u64, &[u8], Kind)| {
        let mut found = vec![0; mark.len()];
        file.read_exact_at(&mut found, *offset).is_ok() && found == *mark
    };
    MARKS
        .iter()
        .find(bears)
        .map_or(Kind::Unknown, |(_, _, kind)| *kind)
}

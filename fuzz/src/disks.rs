//! Readers of disks: images, partition tables, volumes, file systems.

use crate::Sparse;
use disk::ext::{Ext, FileKind, Inode};
use disk::lvm::physical_volume;
use disk::partition::{Sector, partitions};
use disk::qcow2::{Header, Parts, Qcow2};
use disk::system;
use disk::volume::{VolumeKind, volumes};
use disk::{ReadAt, Source};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// How much is looked at of what claims to be large: a fuzzer wants many inputs.
const ITEMS: usize = 200;
const READ_BYTES: u64 = 16 << 10;

/// The start, and the end, of a source.
fn ends(source: &dyn ReadAt) {
    let bytes = source.size_bytes().min(READ_BYTES);
    let mut buffer = vec![0; bytes as usize];
    let _data_or_error = source.read_exact_at(0, &mut buffer);
    let _data_or_error = source.read_exact_at(source.size_bytes() - bytes, &mut buffer);
}

pub(crate) fn qcow2(bytes: &[u8]) {
    let file: Source = Arc::new(Sparse::unpack(bytes));
    let Ok(header) = Header::read(&*file) else {
        return;
    };
    let parts = Parts {
        backing: Some(Arc::new(vec![3; 40_960])),
        data_file: Some(Arc::clone(&file)),
    };
    let Ok(image) = Qcow2::open(file, header, parts) else {
        return;
    };
    map(&image);
    for snapshot in image.snapshots().into_iter().flatten().take(3) {
        if let Ok(image) = image.at_snapshot(&snapshot) {
            map(&image);
        }
    }
    for bitmap in image.bitmaps().into_iter().flatten().take(3) {
        let Ok(ranges) = image.dirty_ranges(&bitmap) else {
            continue;
        };
        let mut before = 0;
        for range in ranges.take(ITEMS).map_while(Result::ok) {
            assert!(range.start >= before && range.end > range.start);
            assert!(range.end <= image.size_bytes());
            before = range.end + 1;
        }
    }
}

fn map(image: &Qcow2) {
    let mut at = 0;
    let mut buffer = vec![0; 4096];
    for extent in image.map(0..u64::MAX).take(ITEMS).map_while(Result::ok) {
        assert_eq!(extent.offset, at);
        assert!(extent.bytes > 0);
        at += extent.bytes;
        assert!(at <= image.size_bytes());
        let bytes = extent.bytes.min(4096) as usize;
        let _data_or_error = image.read_exact_at(extent.offset, &mut buffer[..bytes]);
        assert!(
            image
                .stretch_at(extent.offset)
                .map_or(1, |stretch| stretch.bytes)
                > 0
        );
    }
}

pub(crate) fn partition(bytes: &[u8]) {
    let disk: Source = Arc::new(Sparse::unpack(bytes));
    for sector in [Sector::Bytes512, Sector::Bytes4096] {
        let Ok(table) = partitions(&*disk, sector) else {
            continue;
        };
        for partition in table.partitions.iter().take(ITEMS) {
            if let Ok(window) = partition.open(&disk) {
                assert!(window.size_bytes() <= disk.size_bytes());
                ends(&window);
            }
        }
    }
}

pub(crate) fn lvm(bytes: &[u8]) {
    let disk: Source = Arc::new(Sparse::unpack(bytes));
    let Ok(physical) = physical_volume(&*disk) else {
        return;
    };
    let disks = BTreeMap::from([(physical.id.clone(), disk)]);
    let groups = physical.group.iter();
    for volume in groups.flat_map(|group| &group.volumes).take(ITEMS) {
        if let Ok(volume) = volume.open(&disks) {
            ends(&volume);
        }
    }
}

pub(crate) fn volume(bytes: &[u8]) {
    let disk: Source = Arc::new(Sparse::unpack(bytes));
    let found = volumes(&[Arc::clone(&disk)]);
    for volume in found.volumes.iter().take(ITEMS) {
        assert!(!volume.kind.name().is_empty());
        assert!(found.named(&volume.name).is_some());
    }
}

/// Gives fast commits in blocks of 1 KiB the sums that they must have, or nothing of them would be
/// replayed.
fn sum_fast_commits(disk: &mut Sparse) {
    const BLOCK: usize = 1024;
    const BLOCKS_MAX: u64 = 16 << 10;
    let mut sum = 0;
    for block in 0..(disk.size_bytes() / BLOCK as u64).min(BLOCKS_MAX) {
        let (place, mut bytes) = (block * BLOCK as u64, [0; BLOCK]);
        if disk.read_exact_at(place, &mut bytes).is_err() {
            return;
        }
        // A head begins the first of them; the others follow.
        if bytes.starts_with(&[9, 0, 8, 0]) {
            sum = 0;
        }
        let mut at = 0;
        while let Some([tag, 0, low, high]) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
            let end = at + 4 + usize::from(u16::from_le_bytes([*low, *high]));
            let goes_on = |sum: u32, part: &[u8]| !crc32c::crc32c_append(!sum, part);
            match (tag, bytes.get(at..end)) {
                (8, Some(tail)) if tail.len() >= 12 => {
                    let found = goes_on(sum, &tail[..8]);
                    disk.write(place + at as u64 + 8, &found.to_le_bytes());
                    sum = 0;
                    break;
                }
                (1..=7 | 9, Some(part)) => sum = goes_on(sum, part),
                _ => break,
            }
            at = end;
        }
    }
}

pub(crate) fn ext(bytes: &[u8]) {
    let mut disk = Sparse::unpack(bytes);
    sum_fast_commits(&mut disk);
    let Ok(ext) = Ext::open(Arc::new(disk)) else {
        return;
    };
    for entry in ext.walk().take(ITEMS).filter_map(Result::ok) {
        assert!(entry.path.starts_with(b"/") && entry.path.len() <= 4096);
        file(&ext, &entry.inode);
    }
    if let Ok(layout) = ext.layout() {
        for block in 0..1000 {
            let owner = layout.at(block);
            assert!(owner.logical.is_none() || owner.inode.is_some());
        }
    }
}

fn file(ext: &Ext, inode: &Inode) {
    let _told_or_error = ext.attributes(inode);
    if inode.kind() == FileKind::Symlink {
        let _told_or_error = ext.link_target(inode);
    }
    if let Ok(file) = ext.open_file(inode) {
        ends(&file);
    }
    if let Ok(map) = ext.map(inode) {
        let mut before = 0;
        for extent in map.extents {
            assert!(extent.logical >= before && extent.blocks > 0);
            before = extent.end();
        }
    }
}

/// A file system of the shape that all but ext share.
pub(crate) fn system(kind: VolumeKind, bytes: &[u8]) {
    let Some(Ok(system)) = system::open(kind, Arc::new(Sparse::unpack(bytes))) else {
        return;
    };
    let mut directories = vec![system.root()];
    let mut left = ITEMS;
    let mut take = |object: Result<system::Object, _>| {
        if let Ok(object) = object {
            let mut before = 0;
            for extent in &object.extents {
                assert!(extent.logical >= before && extent.blocks > 0);
                before = extent.end();
                let mut buffer = vec![0; READ_BYTES.min(system.block_bytes()) as usize];
                let place = extent.physical.saturating_mul(system.block_bytes());
                let _data_or_error = system.read(place, &mut buffer);
            }
            directories.extend((object.kind == FileKind::Directory).then_some(object.number));
        }
        left -= 1;
        match left {
            0 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    };
    let _told_or_error = system.objects(&mut take);
    let (mut budget, mut left) = (1 << 20, ITEMS);
    for directory in directories {
        let mut take = |name: &[u8], number| {
            assert!(name.len() < 4096);
            if left > 0 {
                left -= 1;
                let _object_or_error = system.object(number);
            }
        };
        let _told_or_error = system.names(directory, &mut budget, &mut take);
    }
    if let Ok(layout) = system.layout() {
        for block in 0..1000 {
            let owner = layout.at(block * 7);
            assert!(owner.object.is_none() || owner.class != system::Class::Free);
        }
    }
}

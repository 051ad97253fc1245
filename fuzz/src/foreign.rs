//! Readers of other products' images of disks. Sums are made to fit, or nothing behind them would be
//! reached.

use crate::Sparse;
use disk::vhdx::Vhdx;
use disk::vmdk::{self, Vmdk};
use disk::{Content, ReadAt, Source};
use std::sync::Arc;

/// How many stretches are looked at of what claims to be large.
const STRETCHES: usize = 200;

/// The most files that a descriptor is given.
const FILES_MAX: usize = 8;

/// Of VHDX, what has a sum at its byte 4: where it lies, and how long it is.
const SUMMED: [(u64, usize); 4] = [
    (64 << 10, 4096),
    (128 << 10, 4096),
    (192 << 10, 64 << 10),
    (256 << 10, 64 << 10),
];

pub(crate) fn vmdk(bytes: &[u8]) {
    let file: Source = Arc::new(Sparse::unpack(bytes));
    let Ok(descriptor) = vmdk::describe(&*file) else {
        return;
    };
    let named = descriptor.files().count();
    if named > FILES_MAX {
        return;
    }
    // Every file that it names is the image itself: tables and data at any offset of it.
    let files = vec![Arc::clone(&file); named];
    // The disk below is shorter than most.
    let below = descriptor.parent.is_some();
    let below = below.then(|| Arc::new(vec![7_u8; 1 << 20]) as Source);
    if let Ok(image) = Vmdk::open(file, files, below) {
        assert_eq!(image.size_bytes(), descriptor.size_bytes());
        stretches(&image);
    }
}

pub(crate) fn vhdx(bytes: &[u8]) {
    let mut file = Sparse::unpack(bytes);
    for (place, length) in SUMMED {
        let mut summed = vec![0; length];
        if file.read_exact_at(place, &mut summed).is_err() {
            return;
        }
        summed[4..8].fill(0);
        file.write(place + 4, &crc32c::crc32c(&summed).to_le_bytes());
    }
    sum_log(&mut file);
    if let Ok(image) = Vhdx::open(Arc::new(file)) {
        stretches(&image);
    }
}

/// Entries of a log of the usual place and length.
fn sum_log(file: &mut Sparse) {
    for place in (1 << 20..2 << 20).step_by(4096) {
        let mut start = [0; 12];
        if file.read_exact_at(place, &mut start).is_err() || !start.starts_with(b"loge") {
            continue;
        }
        let length = u32::from_le_bytes([start[8], start[9], start[10], start[11]]);
        let mut entry = vec![0; length.min(64 << 10) as usize];
        if entry.len() >= 8 && file.read_exact_at(place, &mut entry).is_ok() {
            entry[4..8].fill(0);
            file.write(place + 4, &crc32c::crc32c(&entry).to_le_bytes());
        }
    }
}

/// Stretch by stretch, and what stands at the start of each.
fn stretches(image: &dyn ReadAt) {
    let mut buffer = [0; 4096];
    let mut at = 0;
    for _ in 0..STRETCHES {
        if at >= image.size_bytes() {
            return;
        }
        let Ok(stretch) = image.stretch_at(at) else {
            return;
        };
        assert!(stretch.bytes > 0 && stretch.bytes <= image.size_bytes() - at);
        let part = &mut buffer[..stretch.bytes.min(4096) as usize];
        let read = image.read_exact_at(at, part);
        if read.is_ok() && stretch.content == Content::Zero {
            assert!(part.iter().all(|byte| *byte == 0));
        }
        at += stretch.bytes;
    }
}

//! An empty image in QEMU's own format, for what a machine writes: the overlay of its disk, and the
//! place of its saved state. Pure.
//!
//! ```text
//! cluster 0   header, version 3
//! cluster 1   table of refcounts: names cluster 2
//! cluster 2   refcounts, 16 bits each: 1 for each cluster that is here
//! cluster 3…  L1 table, all 0: nothing is allocated
//! ```
//!
//! It names no image below: which one that is, the command line says. The format is described in
//! QEMU's `docs/interop/qcow2.txt`.

/// log2 of the size of a cluster: QEMU's usual one.
const CLUSTER_BITS: u32 = 16;
const CLUSTER_BYTES: u64 = 1 << CLUSTER_BITS;
/// What one entry of the L1 table reaches: an L2 table of 8-byte entries fills a cluster.
const L1_REACH_BYTES: u64 = CLUSTER_BYTES / 8 * CLUSTER_BYTES;
/// The largest disk: an L1 table of 8 clusters, whose refcounts fit one cluster many times over.
pub(crate) const MAX_DISK_BYTES: u64 = 32 << 40;
const HEADER_BYTES: u32 = 104;
const VERSION: u32 = 3;
/// Refcounts have 2^4 bits.
const REFCOUNT_ORDER: u32 = 4;

/// The image of an empty disk of some size, up to [`MAX_DISK_BYTES`].
#[must_use]
pub(super) fn empty_image(disk_bytes: u64) -> Vec<u8> {
    let l1_entries = disk_bytes
        .min(MAX_DISK_BYTES)
        .div_ceil(L1_REACH_BYTES)
        .max(1);
    let l1_clusters = (l1_entries * 8).div_ceil(CLUSTER_BYTES);
    let clusters = 3 + l1_clusters;
    let mut image = header(disk_bytes, l1_entries);
    let mut cluster = |content: Vec<u8>| {
        image.extend_from_slice(&content);
        image.resize(image.len().next_multiple_of(1 << CLUSTER_BITS), 0);
    };
    cluster(Vec::new());
    cluster((2 * CLUSTER_BYTES).to_be_bytes().to_vec());
    cluster((0..clusters).flat_map(|_| 1_u16.to_be_bytes()).collect());
    (0..l1_clusters).for_each(|_| cluster(vec![0; 1 << CLUSTER_BITS]));
    image
}

fn header(disk_bytes: u64, l1_entries: u64) -> Vec<u8> {
    let mut header = b"QFI\xfb".to_vec();
    let mut word = |value: u32| header.extend_from_slice(&value.to_be_bytes());
    let halves = |value: u64| [(value >> 32) as u32, value as u32];
    word(VERSION);
    // No image below: its name's place and length.
    [0, 0, 0].into_iter().for_each(&mut word);
    word(CLUSTER_BITS);
    halves(disk_bytes).into_iter().for_each(&mut word);
    word(0);
    word(l1_entries as u32);
    halves(3 * CLUSTER_BYTES).into_iter().for_each(&mut word);
    halves(CLUSTER_BYTES).into_iter().for_each(&mut word);
    word(1);
    // No snapshots, and no features of any of three kinds.
    [0; 9].into_iter().for_each(&mut word);
    word(REFCOUNT_ORDER);
    word(HEADER_BYTES);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields as the format's description places them.
    #[test]
    fn fields_stand_where_the_format_has_them() {
        let image = empty_image(0x1_2345_6000);
        let long = |at: usize| u64::from_be_bytes(image[at..at + 8].try_into().unwrap());
        let word = |at: usize| u32::from_be_bytes(image[at..at + 4].try_into().unwrap());
        assert_eq!((word(4), word(20), long(24)), (3, 16, 0x1_2345_6000));
        assert_eq!((long(8), word(16), word(32)), (0, 0, 0));
        assert_eq!((word(36), long(40)), (10, 0x30000));
        assert_eq!((long(48), word(56), word(60)), (0x10000, 1, 0));
        assert_eq!((word(96), word(100)), (4, 104));
        assert_eq!((image.len(), long(0x10000)), (0x40000, 0x20000));
        assert_eq!(image[0x20000..0x2000a], [0, 1, 0, 1, 0, 1, 0, 1, 0, 0]);
        assert!(image[0x30000..].iter().all(|byte| *byte == 0));
    }
}

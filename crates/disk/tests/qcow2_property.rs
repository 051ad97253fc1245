//! qcow2 images of our own making, cluster by cluster: what is read is what was put there.

use disk::qcow2::{Header, MapKind, Parts, Qcow2};
use disk::{ReadAt, Source};
use proptest::prelude::*;
use std::sync::Arc;

const CLUSTER: usize = 512;

/// Entries of an L2 table.
const ENTRIES: usize = CLUSTER / 8;

/// What a cluster of the disk is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cluster {
    Unallocated,
    Zero,
    /// The cluster of data with this number.
    Data(usize),
}

fn cluster() -> impl Strategy<Value = Cluster> {
    prop_oneof![
        Just(Cluster::Unallocated),
        Just(Cluster::Zero),
        (0..40usize).prop_map(Cluster::Data),
    ]
}

/// header | L1 (a cluster) | L2 tables | 40 clusters of data, each of its number plus one
fn image(clusters: &[Cluster], size: u64) -> Vec<u8> {
    let tables = clusters.len().div_ceil(ENTRIES);
    let data = (2 + tables) * CLUSTER;
    let mut bytes = vec![0; data];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, b"QFI\xfb");
    put(4, &3u32.to_be_bytes());
    put(20, &9u32.to_be_bytes());
    put(24, &size.to_be_bytes());
    put(36, &(tables as u32).to_be_bytes());
    put(40, &(CLUSTER as u64).to_be_bytes());
    put(100, &104u32.to_be_bytes());
    for table in 0..tables {
        let at = ((2 + table) * CLUSTER) as u64 | 1 << 63;
        put(CLUSTER + 8 * table, &at.to_be_bytes());
    }
    for (index, cluster) in clusters.iter().enumerate() {
        let entry = match cluster {
            Cluster::Unallocated => 0,
            Cluster::Zero => 1,
            Cluster::Data(number) => (data + number * CLUSTER) as u64 | 1 << 63,
        };
        put(2 * CLUSTER + 8 * index, &entry.to_be_bytes());
    }
    bytes.extend((0..40u8).flat_map(|number| [number + 1; CLUSTER]));
    bytes
}

fn expected(cluster: Cluster) -> u8 {
    match cluster {
        Cluster::Unallocated | Cluster::Zero => 0,
        Cluster::Data(number) => number as u8 + 1,
    }
}

proptest! {
    #[test]
    fn what_was_put_there_is_read(
        clusters in proptest::collection::vec(cluster(), 1..200),
        cut in 0..CLUSTER as u64,
        reads in proptest::collection::vec((0..100_000usize, 0..3000usize), 10),
    ) {
        let size = (clusters.len() * CLUSTER) as u64 - cut;
        let file: Source = Arc::new(image(&clusters, size));
        let header = Header::read(&*file).unwrap();
        let disk = Qcow2::open(file, header, Parts::default()).unwrap();
        let bytes: Vec<u8> = clusters
            .iter()
            .flat_map(|cluster| [expected(*cluster); CLUSTER])
            .take(size as usize)
            .collect();
        for (start, length) in reads {
            let start = start % bytes.len();
            let end = (start + length).min(bytes.len());
            let mut buffer = vec![0xee; end - start];
            disk.read_exact_at(start as u64, &mut buffer).unwrap();
            prop_assert_eq!(&buffer, &bytes[start..end]);
        }
        let mut at = 0;
        for extent in disk.map(0..u64::MAX) {
            let extent = extent.unwrap();
            prop_assert_eq!(extent.offset, at);
            for (index, cluster) in clusters.iter().enumerate() {
                let place = (index * CLUSTER) as u64;
                if place < at || place >= at + extent.bytes {
                    continue;
                }
                match (extent.kind, cluster) {
                    (MapKind::Unallocated, Cluster::Unallocated)
                    | (MapKind::Zero, Cluster::Zero) => {}
                    (MapKind::Data { host_offset }, Cluster::Data(number)) => {
                        let tables = clusters.len().div_ceil(ENTRIES);
                        let data = ((2 + tables + number) * CLUSTER) as u64;
                        prop_assert_eq!(host_offset + (place - at), data);
                    }
                    (kind, cluster) => prop_assert!(false, "{kind:?} for {cluster:?}"),
                }
            }
            at += extent.bytes;
        }
        prop_assert_eq!(at, size);
    }
}

//! What a replica has written to its disk, block by block, out of the image that took it.
//!
//! The image is QEMU's own, over none that it names: what is allocated in it was written by the
//! guest, or lay beside that in one block, and is read as the guest reads it.

use crate::command::OpenImage;
use crate::error::ControlError;
use crate::image::ReplicaDisk;
use crate::replica::Captured;
use disk::qcow2::{Header, MapKind, Parts, Qcow2};
use disk::{ReadAt, Source};
use hypervisor::Domain;
use model::Outcome;
use state::{disk_block_name, disk_block_offset};
use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

/// The most bytes of a replica's blocks that are held as they are. Of a block beyond that its
/// digest is: it is compared as surely, and where it differs the report shows digests.
const MAX_CONTENT_BYTES: usize = 256 << 20;

/// Bytes of a digest.
const DIGEST_BYTES: usize = blake3::OUT_LEN;

/// Blocks that not all replicas have written and that are looked up below: 64 MiB of them. Machines
/// that differ in more differ without that too.
const MAX_LEVELLED: usize = 1024;

/// What of a machine's disk its guest has written, by the blocks' names; nothing where there is no
/// disk.
pub(crate) fn blocks(domain: &mut dyn Domain) -> Result<BTreeMap<String, Vec<u8>>, ControlError> {
    match domain.disk_changes()? {
        None => Ok(BTreeMap::new()),
        Some(file) => read(file).map_err(unreadable),
    }
}

/// The blocks of the disk that its guest has written, or that lie beside that: start and end.
pub(crate) fn written(file: File) -> Result<Vec<Range<u64>>, ControlError> {
    let mut blocks = Vec::new();
    let listed = open(file).and_then(|(image, block_bytes)| {
        each(&image, block_bytes, |block| {
            blocks.push(block);
            Ok(())
        })
    });
    listed.map_err(unreadable)?;
    Ok(blocks)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it takes what map_err hands over"
)]
fn unreadable(error: Box<dyn std::error::Error>) -> ControlError {
    ControlError::Compare(format!(
        "what was written to a disk cannot be read: {error}"
    ))
}

/// The blocks of a disk by name, or their digests.
type Blocks = BTreeMap<String, Vec<u8>>;

/// A block that not all disks hold in one way.
#[derive(Debug, PartialEq, Eq)]
struct Uneven {
    name: String,
    /// Where it lies on the disk.
    part: Range<u64>,
    /// Whether one of them holds its digest.
    digest: bool,
}

/// A block that one replica has written and another has not holds there what the image does: disks
/// are compared by what a guest reads of them. What is held as a digest in one is a digest in all.
pub(crate) async fn level(
    captured: &mut [Captured],
    reader: &ReplicaDisk,
) -> Result<(), ControlError> {
    let ended = |one: &&mut Captured| one.record.outcome == Outcome::Ended;
    let mut disks: Vec<&mut Blocks> = captured
        .iter_mut()
        .filter(ended)
        .map(|one| &mut one.state.disk)
        .collect();
    let uneven = uneven(&disks);
    if uneven.is_empty() {
        return Ok(());
    }
    let parts = uneven.iter().map(|one| one.part.clone()).collect();
    let below = reader.read(None, parts).await?;
    fill(&mut disks, &uneven, &below);
    Ok(())
}

/// The blocks that some disks hold and others do not, or hold as a digest.
fn uneven(disks: &[&mut Blocks]) -> Vec<Uneven> {
    let mut lengths: BTreeMap<&String, Vec<usize>> = BTreeMap::new();
    for (name, content) in disks.iter().flat_map(|disk| disk.iter()) {
        lengths.entry(name).or_default().push(content.len());
    }
    let differs =
        |all: &[usize]| all.len() < disks.len() || all.iter().any(|one| Some(one) != all.first());
    let uneven = lengths.into_iter().filter(|(_, all)| differs(all));
    let uneven = uneven.filter_map(|(name, all)| {
        let start = disk_block_offset(name)?;
        let longest = all.iter().copied().max()?;
        let one = Uneven {
            name: name.clone(),
            part: start..start.checked_add(longest as u64)?,
            digest: all.contains(&DIGEST_BYTES),
        };
        // How long a block is that is only known by its digest, nobody says here.
        (longest > DIGEST_BYTES).then_some(one)
    });
    uneven.take(MAX_LEVELLED).collect()
}

/// Gives disks the blocks that they do not hold, out of what lies below, one after the other.
fn fill(disks: &mut [&mut Blocks], uneven: &[Uneven], below: &[u8]) {
    let mut rest = below;
    for one in uneven {
        let length = usize::try_from(one.part.end - one.part.start).unwrap_or(usize::MAX);
        let (block, others) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        rest = others;
        for disk in &mut *disks {
            let content = disk.entry(one.name.clone());
            let content = content.or_insert_with(|| block.to_vec());
            if one.digest && content.len() != DIGEST_BYTES {
                *content = blake3::hash(content).as_bytes().to_vec();
            }
        }
    }
}

fn open(file: File) -> Result<(Qcow2, u64), Box<dyn std::error::Error>> {
    let bytes = file.metadata()?.len();
    let source: Source = Arc::new(OpenImage { file, bytes });
    let header = Header::read(&*source)?;
    let block_bytes = header.cluster_bytes();
    // Nothing lies below: what is not allocated is not asked for.
    Ok((Qcow2::open(source, header, Parts::default())?, block_bytes))
}

/// Gives every block that is allocated.
fn each(
    image: &Qcow2,
    block_bytes: u64,
    mut take: impl FnMut(Range<u64>) -> Result<(), Box<dyn std::error::Error>>,
) -> Result<(), Box<dyn std::error::Error>> {
    for extent in image.map(0..u64::MAX) {
        let extent = extent?;
        if extent.kind == MapKind::Unallocated {
            continue;
        }
        let end = extent.offset.saturating_add(extent.bytes);
        let mut at = extent.offset;
        while at < end {
            let length = block_bytes.min(end - at);
            take(at..at + length)?;
            at += length;
        }
    }
    Ok(())
}

fn read(file: File) -> Result<BTreeMap<String, Vec<u8>>, Box<dyn std::error::Error>> {
    let (image, block_bytes) = open(file)?;
    let mut blocks = BTreeMap::new();
    let mut held = 0;
    each(&image, block_bytes, |block| {
        let mut content = vec![0; usize::try_from(block.end - block.start)?];
        image.read_exact_at(block.start, &mut content)?;
        held += content.len();
        if held > MAX_CONTENT_BYTES {
            content = blake3::hash(&content).as_bytes().to_vec();
        }
        blocks.insert(disk_block_name(block.start), content);
        Ok(())
    })?;
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk<const N: usize>(blocks: [(u64, Vec<u8>); N]) -> Blocks {
        blocks
            .map(|(at, bytes)| (disk_block_name(at), bytes))
            .into()
    }

    #[test]
    fn what_one_has_not_written_is_what_lies_below() {
        let (mut one, mut other) = (
            disk([(0, vec![1; 64]), (64, vec![2; 64])]),
            disk([(64, vec![2; 64]), (128, vec![3; 64])]),
        );
        let mut disks = [&mut one, &mut other];
        let uneven = uneven(&disks);
        let parts: Vec<_> = uneven.iter().map(|one| one.part.clone()).collect();
        assert_eq!(parts, [0..64, 128..192]);
        fill(&mut disks, &uneven, &[[1; 64], [9; 64]].concat());
        assert_eq!(
            one.keys().collect::<Vec<_>>(),
            other.keys().collect::<Vec<_>>()
        );
        assert_eq!(other[&disk_block_name(0)], [1; 64]);
        assert_eq!(one[&disk_block_name(128)], [9; 64]);
    }

    #[test]
    fn what_is_held_as_a_digest_in_one_is_a_digest_in_all() {
        let digest = |bytes: &[u8]| blake3::hash(bytes).as_bytes().to_vec();
        let (mut one, mut other) = (disk([(0, vec![1; 64])]), disk([(0, digest(&[1; 64]))]));
        let mut third = Blocks::new();
        let mut disks = [&mut one, &mut other, &mut third];
        let uneven = uneven(&disks);
        fill(&mut disks, &uneven, &[7; 64]);
        assert_eq!(one, other);
        assert_eq!(third[&disk_block_name(0)], digest(&[7; 64]));
    }

    #[test]
    fn disks_that_hold_the_same_blocks_are_left_alone() {
        let (mut one, mut other) = (disk([(0, vec![1; 64])]), disk([(0, vec![2; 64])]));
        assert_eq!(uneven(&[&mut one, &mut other]), []);
    }
}

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
        Some(file) => {
            let failed = |error: Box<dyn std::error::Error>| {
                ControlError::Compare(format!(
                    "what was written to a disk cannot be read: {error}"
                ))
            };
            read(file).map_err(failed)
        }
    }
}

/// The blocks of the disk that its guest has written, or that lie beside that: start and end.
pub(crate) fn written(file: File) -> Result<Vec<Range<u64>>, ControlError> {
    let failed = |error: Box<dyn std::error::Error>| {
        ControlError::Compare(format!(
            "what was written to a disk cannot be read: {error}"
        ))
    };
    let listed = || {
        let (image, block_bytes) = open(file)?;
        let mut blocks = Vec::new();
        each(&image, block_bytes, |block| {
            blocks.push(block);
            Ok(())
        })?;
        Ok(blocks)
    };
    listed().map_err(failed)
}

/// A block that one replica has written and another has not holds there what the image does: disks
/// are compared by what a guest reads of them. What is held as a digest in one is a digest in all.
pub(crate) async fn level(
    captured: &mut [Captured],
    reader: &ReplicaDisk,
) -> Result<(), ControlError> {
    let ended = |one: &&mut Captured| one.record.outcome == Outcome::Ended;
    let disks: Vec<&mut BTreeMap<String, Vec<u8>>> = captured
        .iter_mut()
        .filter(ended)
        .map(|one| &mut one.state.disk)
        .collect();
    let mut lengths: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (name, content) in disks.iter().flat_map(|disk| disk.iter()) {
        lengths.entry(name.clone()).or_default().push(content.len());
    }
    lengths
        .retain(|_, all| all.len() < disks.len() || all.iter().any(|one| Some(one) != all.first()));
    let uneven: Vec<(String, Range<u64>, bool)> = lengths
        .into_iter()
        .filter_map(|(name, all)| {
            let start = disk_block_offset(&name)?;
            let longest = all.iter().copied().max()?;
            let digest = all.contains(&DIGEST_BYTES);
            // How long a block is that is only known by its digest, nobody says here.
            let known = longest > DIGEST_BYTES;
            known.then(|| (name, start..start + longest as u64, digest))
        })
        .take(MAX_LEVELLED)
        .collect();
    if uneven.is_empty() {
        return Ok(());
    }
    let parts: Vec<Range<u64>> = uneven.iter().map(|(_, part, _)| part.clone()).collect();
    let before = ask(reader, None, parts).await?;
    let mut rest = before.as_slice();
    let mut below = Vec::with_capacity(uneven.len());
    for (_, part, _) in &uneven {
        let length = usize::try_from(part.end - part.start).unwrap_or(usize::MAX);
        let (block, others) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        below.push(block);
        rest = others;
    }
    for disk in disks {
        for ((name, _, digest), below) in uneven.iter().zip(&below) {
            let content = disk.entry(name.clone()).or_insert_with(|| below.to_vec());
            if *digest && content.len() != DIGEST_BYTES {
                *content = blake3::hash(content).as_bytes().to_vec();
            }
        }
    }
    Ok(())
}

/// Has a worker read parts of a disk, while others go on.
pub(crate) async fn ask(
    reader: &ReplicaDisk,
    changes: Option<File>,
    parts: Vec<Range<u64>>,
) -> Result<Vec<u8>, ControlError> {
    let reader = reader.clone();
    let read = tokio::task::spawn_blocking(move || reader.read(changes, &parts));
    let read = read.await.map_err(|_| ControlError::Task {
        doing: "reads a disk",
    })?;
    Ok(read?)
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

//! What a replica has written to its disk, block by block, out of the image that took it.
//!
//! The image is QEMU's own, over none that it names: what is allocated in it was written by the
//! guest, or lay beside that in one block, and is read as the guest reads it.

use crate::command::OpenImage;
use crate::error::ControlError;
use disk::qcow2::{Header, MapKind, Parts, Qcow2};
use disk::{ReadAt, Source};
use hypervisor::Domain;
use state::disk_block_name;
use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

/// The most bytes of a replica's blocks that are held as they are. Of a block beyond that its
/// digest is: it is compared as surely, and where it differs the report shows digests.
const MAX_CONTENT_BYTES: usize = 256 << 20;

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

fn read(file: File) -> Result<BTreeMap<String, Vec<u8>>, Box<dyn std::error::Error>> {
    let bytes = file.metadata()?.len();
    let source: Source = Arc::new(OpenImage { file, bytes });
    let header = Header::read(&*source)?;
    let block_bytes = header.cluster_bytes();
    // Nothing lies below: what is not allocated is not asked for.
    let image = Qcow2::open(source, header, Parts::default())?;
    let mut blocks = BTreeMap::new();
    let mut held = 0;
    for extent in image.map(0..u64::MAX) {
        let extent = extent?;
        if extent.kind == MapKind::Unallocated {
            continue;
        }
        let end = extent.offset.saturating_add(extent.bytes);
        let mut at = extent.offset;
        while at < end {
            let length = block_bytes.min(end - at);
            let mut content = vec![0; usize::try_from(length)?];
            image.read_exact_at(at, &mut content)?;
            held += content.len();
            if held > MAX_CONTENT_BYTES {
                content = blake3::hash(&content).as_bytes().to_vec();
            }
            blocks.insert(disk_block_name(at), content);
            at += length;
        }
    }
    Ok(blocks)
}

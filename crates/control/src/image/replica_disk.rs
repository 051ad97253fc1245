//! A replica's disk: an image of the user's, under what the replica has written. Both are read by a
//! worker, as all images are; here are only its orders.

use super::asker::{Hear, WorkerProgram, understand};
use super::error::ImageError;
use super::order::{Disk, Layer, Layers, Order, Part};
use super::told::{Told, ToldOwner};
use crate::error::ControlError;
use disk::Format;
use hypervisor::DiskImage;
use std::fs::File;
use std::ops::Range;

/// Reads what replicas of one image have on their disks.
#[derive(Debug, Clone)]
pub(crate) struct ReplicaDisk {
    worker: WorkerProgram,
    image: DiskImage,
}

/// Bytes of parts, one after the other.
struct Collected {
    bytes: Vec<u8>,
    most: usize,
}

impl Hear for Collected {
    fn item(&mut self, _json: &[u8]) -> Result<(), ImageError> {
        Err(ImageError::Worker("it tells more than bytes".to_owned()))
    }

    fn bytes(&mut self, _at: u64, bytes: &[u8]) -> Result<(), ImageError> {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() > self.most {
            return Err(ImageError::Worker("it tells too many bytes".to_owned()));
        }
        Ok(())
    }
}

/// Owners, as many as there may be.
struct Owners {
    told: Vec<ToldOwner>,
    most: usize,
}

impl Hear for Owners {
    fn item(&mut self, json: &[u8]) -> Result<(), ImageError> {
        match understand(json)? {
            Told::Owners(owners) => self.told.extend(owners),
            _ => return Err(ImageError::Worker("it tells of no owners".to_owned())),
        }
        if self.told.len() > self.most {
            return Err(ImageError::Worker("it tells of too many owners".to_owned()));
        }
        Ok(())
    }
}

impl ReplicaDisk {
    /// Of replicas over an image.
    pub(crate) const fn new(worker: WorkerProgram, image: DiskImage) -> Self {
        Self { worker, image }
    }

    /// The bytes of parts, one after the other, as a replica with these changes reads them; as they
    /// were before the run, where there are none.
    pub(crate) async fn read(
        &self,
        changes: Option<File>,
        parts: Vec<Range<u64>>,
    ) -> Result<Vec<u8>, ControlError> {
        let disk = self.clone();
        apart(move || disk.read_now(changes, &parts)).await
    }

    /// What parts are, and whose, on the disk of a replica with these changes.
    pub(crate) async fn owners(
        &self,
        changes: Option<File>,
        parts: Vec<Range<u64>>,
    ) -> Result<Vec<ToldOwner>, ControlError> {
        let disk = self.clone();
        apart(move || disk.owners_now(changes, &parts)).await
    }

    fn read_now(&self, changes: Option<File>, parts: &[Range<u64>]) -> Result<Vec<u8>, ImageError> {
        let all = parts.iter().map(|part| part.end.saturating_sub(part.start));
        let all = all.fold(0, u64::saturating_add);
        let mut heard = Collected {
            bytes: Vec::new(),
            most: usize::try_from(all).unwrap_or(usize::MAX),
        };
        self.order(
            changes,
            |disk| Order::Read {
                disk,
                parts: pairs(parts),
            },
            all,
            &mut heard,
        )?;
        if heard.bytes.len() == heard.most {
            Ok(heard.bytes)
        } else {
            Err(ImageError::Worker("it tells too few bytes".to_owned()))
        }
    }

    fn owners_now(
        &self,
        changes: Option<File>,
        parts: &[Range<u64>],
    ) -> Result<Vec<ToldOwner>, ImageError> {
        /// A word may lie in two blocks of a file system that has the smallest ones.
        const OWNERS_PER_PART: usize = 2;
        let mut heard = Owners {
            told: Vec::new(),
            most: parts.len().saturating_mul(OWNERS_PER_PART),
        };
        let order = |disk| Order::Owners {
            disk,
            parts: pairs(parts),
        };
        self.order(changes, order, self.image.disk_bytes, &mut heard)?;
        Ok(heard.told)
    }

    fn order(
        &self,
        changes: Option<File>,
        order: impl FnOnce(Disk) -> Order,
        size_bytes: u64,
        hear: &mut dyn Hear,
    ) -> Result<(), ImageError> {
        let path = &self.image.path;
        let image = File::open(path).map_err(|source| ImageError::File {
            doing: "open",
            path: path.clone(),
            source,
        })?;
        let format = match self.image.format {
            hypervisor::DiskFormat::Raw => Format::Raw,
            hypervisor::DiskFormat::Qcow2 => Format::Qcow2,
        };
        let changes = changes.map(|changes| (Format::Qcow2, changes));
        let (formats, files): (Vec<Format>, Vec<File>) =
            changes.into_iter().chain([(format, image)]).unzip();
        let layers = formats.into_iter().enumerate();
        let layers = layers.map(|(file, format)| Layer {
            format: format.into(),
            file,
            data_file: None,
            parts: Vec::new(),
        });
        let disk = Disk::Image(Layers {
            layers: layers.collect(),
            snapshot: None,
        });
        self.worker
            .carry_out(&order(disk), &files, size_bytes, None, hear)
    }
}

/// Waits for a worker, while others go on.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ControlError> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|_| ControlError::Task {
        doing: "reads a disk",
    })?;
    Ok(done?)
}

fn pairs(parts: &[Range<u64>]) -> Vec<Part> {
    parts.iter().map(|part| (part.start, part.end)).collect()
}

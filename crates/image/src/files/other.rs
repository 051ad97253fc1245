//! Every file system besides ext that the crate `disk` reads, as a [`FileSystem`].

use crate::files::ext::digest;
use crate::files::system::{FileSystem, FilesError, Found, Owner, Owners};
use crate::files::{Object, ObjectId};
use disk::ReadError;
use disk::system::{self, Packed};
use std::ops::ControlFlow;
use std::sync::Arc;

/// What may be read of directories beyond the size of what they lie on: a last block can be cut off.
const SLACK_BYTES: u64 = 64 << 10;

/// A file system whose files are told of.
#[derive(Debug)]
pub struct OtherFiles(Arc<dyn system::FileSystem>);

impl OtherFiles {
    /// Tells of the files of an open file system.
    #[must_use]
    pub fn new(system: Arc<dyn system::FileSystem>) -> Self {
        Self(system)
    }
}

fn found(object: system::Object) -> Found {
    Found {
        object: Object {
            id: ObjectId(object.number),
            generation: object.generation,
            kind: object.kind,
            mode: object.mode,
            uid: object.uid,
            gid: object.gid,
            size_bytes: object.size_bytes,
            links: object.links,
            flags: object.flags,
            accessed: object.accessed,
            changed: object.changed,
            modified: object.modified,
            born: object.born,
            device: object.device,
            attributes: digest(object.attributes),
        },
        extents: object.extents,
        target: object.target,
        inline: object.inline,
        damage: object.damage.map(FilesError::from),
    }
}

impl FileSystem for OtherFiles {
    fn block_bytes(&self) -> u64 {
        self.0.block_bytes()
    }

    fn root(&self) -> ObjectId {
        ObjectId(self.0.root())
    }

    fn notes(&self) -> Vec<String> {
        self.0.notes()
    }

    fn objects(
        &self,
        take: &mut dyn FnMut(Result<Found, FilesError>) -> ControlFlow<()>,
    ) -> Result<(), FilesError> {
        self.0
            .objects(&mut |object| take(object.map(found).map_err(FilesError::from)))?;
        Ok(())
    }

    fn object(&self, id: ObjectId) -> Result<Found, FilesError> {
        Ok(found(self.0.object(id.0)?))
    }

    fn bytes_max(&self) -> u64 {
        self.0.source_bytes().saturating_add(SLACK_BYTES)
    }

    fn names(
        &self,
        directory: ObjectId,
        budget: &mut u64,
        take: &mut dyn FnMut(&[u8], ObjectId),
    ) -> Result<(), FilesError> {
        let mut take = |name: &[u8], number| take(name, ObjectId(number));
        Ok(self.0.names(directory.0, budget, &mut take)?)
    }

    fn read(&self, place: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.0.read(place, buffer)
    }

    fn displaced(&self) -> Vec<u64> {
        self.0.displaced()
    }

    fn packed(&self) -> Vec<Packed> {
        self.0.packed()
    }

    fn owners(&self) -> Result<Box<dyn Owners + '_>, FilesError> {
        Ok(Box::new(self.0.layout()?))
    }
}

impl Owners for system::Layout {
    fn at(&self, block: u64) -> Owner {
        let owner = system::Layout::at(self, block);
        Owner {
            class: owner.class.into(),
            object: owner.object.map(ObjectId),
        }
    }
}

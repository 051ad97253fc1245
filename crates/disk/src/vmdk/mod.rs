//! VMDK, VMware's format.
//!
//! ```text
//!  descriptor, a text ─► extents ─┬─ flat: bytes of a file
//!   (in a file of its own, or     ├─ sparse: a file with tables
//!    in its one extent)           └─ zero: nothing
//!
//!  sparse  0 "KDMV"  8 flags  12 sectors  20 sectors of a grain  28 36 descriptor
//!          44 entries of a table  56 directory  77 1: compressed; the end has a copy that counts
//!          directory ─► table ─► grain, or a marker of 12 bytes and a compressed one
//! ```
//!
//! A descriptor names its extents, and the image that it stands on, as snapshots do; whoever opens them
//! decides whether that may be. What a sparse extent has no grain of lies in the image below, if there is
//! one.

mod below;
mod descriptor;
mod sparse;

use std::sync::Arc;

use crate::read_at::{Content, ReadAt, ReadError, Source, Stretch, Window, check_range, read_new};

use below::Below;
pub use descriptor::{Descriptor, Extent, ExtentKind, Parent};
use sparse::Sparse;

/// How long a descriptor may be: that of a disk in 2,000 files has 200 KB.
const MAX_DESCRIPTOR_BYTES: u64 = 1 << 20;

const SECTOR_BYTES: u64 = 512;

/// Why a VMDK image cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum VmdkError {
    /// What it lies on cannot be read there.
    #[error("cannot read {what} of the vmdk image")]
    Read {
        /// What was to be read.
        what: &'static str,
        /// Why not.
        source: ReadError,
    },
    /// It is none, or has what cannot be.
    #[error("not a vmdk image that can be read: {0}")]
    Not(&'static str),
    /// It has an extent of a kind that is not read.
    #[error("an extent of the vmdk image is of the kind {0:?}, which is not read")]
    Kind(String),
    /// The image below is not given, or is given to one that stands on none.
    #[error("the vmdk image stands on {named}, and {given} was given")]
    Below {
        /// What it stands on.
        named: &'static str,
        /// What there is.
        given: &'static str,
    },
    /// The image below holds something else by now.
    #[error(
        "the image below the vmdk image was changed since: it says {found:08x} and had {wanted:08x}"
    )]
    Changed {
        /// What it says now.
        found: u32,
        /// What it said.
        wanted: u32,
    },
    /// It has more extents than were given.
    #[error("the vmdk image has {named} extents in files, and {given} were given")]
    Missing {
        /// How many it names.
        named: usize,
        /// How many there are.
        given: usize,
    },
}

/// Reads what an image says of itself, and which files it names.
///
/// # Errors
///
/// It is no VMDK image.
pub fn describe(file: &dyn ReadAt) -> Result<Descriptor, VmdkError> {
    let start = read_new(file, 0, 4).unwrap_or_default();
    match start == sparse::MAGIC {
        true => Sparse::describe(file),
        false => {
            let bytes = file.size_bytes().min(MAX_DESCRIPTOR_BYTES);
            let text = read_new(file, 0, crate::bytes::saturate(bytes));
            let text = text.map_err(|source| VmdkError::Read {
                what: "the descriptor",
                source,
            })?;
            Descriptor::parse(&text)
        }
    }
}

/// A disk out of extents.
#[derive(Debug)]
pub struct Vmdk {
    /// Each with its first byte.
    parts: Vec<(u64, Part)>,
    size_bytes: u64,
}

#[derive(Debug)]
enum Part {
    Zero,
    Is(Source),
}

impl Vmdk {
    /// Opens an image. `files` are those that its descriptor names, in their order; a sparse image
    /// in one file names none. `below` is the disk that it stands on.
    ///
    /// # Errors
    ///
    /// It is none, or a file is missing or is not what the descriptor says.
    pub fn open(
        file: Source,
        files: Vec<Source>,
        below: Option<Source>,
    ) -> Result<Self, VmdkError> {
        let descriptor = describe(&*file)?;
        let named = descriptor.files().count();
        if named != files.len() {
            let given = files.len();
            return Err(VmdkError::Missing { named, given });
        }
        let said = |is_one: bool| if is_one { "another" } else { "none" };
        if descriptor.parent.is_some() != below.is_some() {
            let named = said(descriptor.parent.is_some());
            let given = said(below.is_some());
            return Err(VmdkError::Below { named, given });
        }
        let mut files = files.into_iter();
        let mut parts = Vec::new();
        let mut at = 0u64;
        for extent in descriptor.extents {
            let part = match (extent.kind, &extent.file) {
                (ExtentKind::Zero, _) => Part::Zero,
                (kind, named) => {
                    let source = match named {
                        None => Some(Arc::clone(&file)),
                        Some(_) => files.next(),
                    };
                    let missing = VmdkError::Not("an extent has no file");
                    let below = below.as_ref().map(|below| Below::new(below, at));
                    Part::Is(open(kind, source.ok_or(missing)?, &extent, below)?)
                }
            };
            parts.push((at, part));
            at = at.saturating_add(extent.bytes);
        }
        Ok(Self {
            parts,
            size_bytes: at,
        })
    }

    /// The part that holds a byte, how far that lies in it, and how much of it follows.
    fn find(&self, offset: u64) -> Option<(&Part, u64, u64)> {
        let after = self.parts.partition_point(|(start, _)| *start <= offset);
        let (start, part) = self.parts.get(after.checked_sub(1)?)?;
        let end = self
            .parts
            .get(after)
            .map_or(self.size_bytes, |(end, _)| *end);
        let within = offset.saturating_sub(*start);
        Some((part, within, end.saturating_sub(offset)))
    }
}

/// Holds an image to what the one above it was put onto.
///
/// # Errors
///
/// It holds something else by now, so that both together are no disk that ever was.
pub fn check_below(parent: &Parent, below: &Descriptor) -> Result<(), VmdkError> {
    match below.content_id {
        Some(found) if found != parent.content_id => Err(VmdkError::Changed {
            found,
            wanted: parent.content_id,
        }),
        _ => Ok(()),
    }
}

fn open(
    kind: ExtentKind,
    source: Source,
    extent: &Extent,
    below: Option<Below>,
) -> Result<Source, VmdkError> {
    let read = |source| VmdkError::Read {
        what: "an extent",
        source,
    };
    Ok(match kind {
        ExtentKind::Flat => {
            Arc::new(Window::new(source, extent.offset, extent.bytes).map_err(read)?)
        }
        _ => {
            let sparse = Sparse::open(source, below)?;
            if sparse.size_bytes() < extent.bytes {
                return Err(VmdkError::Not("an extent is shorter than it should be"));
            }
            Arc::new(sparse)
        }
    })
}

impl ReadAt for Vmdk {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        check_range(self.size_bytes, offset, buffer.len() as u64)?;
        let (mut at, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let Some((part, within, left)) = self.find(at) else {
                break;
            };
            let count = crate::bytes::saturate(left).min(rest.len());
            let (now, behind) = rest.split_at_mut(count);
            match part {
                Part::Zero => now.fill(0),
                Part::Is(source) => source.read_exact_at(within, now)?,
            }
            at = at.saturating_add(count as u64);
            rest = behind;
        }
        Ok(())
    }

    fn stretch_at(&self, offset: u64) -> Result<Stretch, ReadError> {
        check_range(self.size_bytes, offset, 1)?;
        let zeros = |bytes| Stretch {
            bytes,
            content: Content::Zero,
        };
        match self.find(offset) {
            Some((Part::Is(source), within, left)) => {
                let stretch = source.stretch_at(within)?;
                Ok(Stretch {
                    bytes: stretch.bytes.min(left),
                    ..stretch
                })
            }
            Some((Part::Zero, _, left)) => Ok(zeros(left)),
            None => Ok(zeros(1)),
        }
    }
}

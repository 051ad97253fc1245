//! Which format an image has, found out safely.
//!
//! A guest writes every byte of its raw disk. If the format were taken from the first bytes of the
//! file, a guest could turn its raw disk into a qcow2 image that names a file of the host as the
//! disk below. So the format is told by the operator, by whoever runs the machine, or by the file's
//! name; the contents are asked only where the operator says that no guest has written them.

use crate::qcow2::QCOW2_MAGIC;
use crate::read_at::{ReadAt, ReadError};

/// The format of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// The disk's bytes as they are.
    Raw,
    /// QEMU's copy-on-write format.
    Qcow2,
    /// VMware's format.
    Vmdk,
    /// Hyper-V's format.
    Vhdx,
}

/// Formats by their names, as QEMU and libvirt call them, and by the endings of files.
const NAMES: &[(&str, Format)] = &[
    ("raw", Format::Raw),
    ("qcow2", Format::Qcow2),
    ("vmdk", Format::Vmdk),
    ("vhdx", Format::Vhdx),
];

/// The first bytes of what is not raw, and where they lie.
const MAGICS: &[(&[u8], Format)] = &[
    (&QCOW2_MAGIC, Format::Qcow2),
    (b"KDMV", Format::Vmdk),
    (b"COWD", Format::Vmdk),
    (b"# Disk DescriptorFile", Format::Vmdk),
    (b"vhdxfile", Format::Vhdx),
];

/// Whether the contents of an image may decide about its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probing {
    /// No: a guest may have written them.
    Forbidden,
    /// Yes: the operator vouches that no guest had this image as its raw disk.
    Allowed,
}

/// Why the format stays unknown.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// Neither the operator nor the name tells it.
    #[error(
        "the format of {0:?} is not known: give it; it is not taken from what a guest can write"
    )]
    Unknown(String),
    /// The image cannot be read.
    #[error("cannot read the first bytes of {name:?}")]
    Read {
        /// The image.
        name: String,
        /// Why not.
        source: ReadError,
    },
}

impl Format {
    /// The format that QEMU and libvirt call so.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let found = NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, format)| *format)
    }

    /// How QEMU and libvirt call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = NAMES.iter().find(|(_, format)| *format == self);
        found.map_or("raw", |(name, _)| *name)
    }

    /// The format that the ending of a file's name tells; `.img` and others tell none.
    #[must_use]
    pub fn from_file_name(name: &str) -> Option<Self> {
        let (_, ending) = name.rsplit_once('.')?;
        Self::from_name(&ending.to_ascii_lowercase())
    }

    /// The format of the image in `source`: the one given, else by its name, else by its contents
    /// where that is allowed.
    ///
    /// # Errors
    ///
    /// When nothing that may decide does.
    pub fn find(
        given: Option<Self>,
        name: &str,
        source: &dyn ReadAt,
        probing: Probing,
    ) -> Result<Self, FormatError> {
        if let Some(format) = given.or_else(|| Self::from_file_name(name)) {
            return Ok(format);
        }
        match probing {
            Probing::Forbidden => Err(FormatError::Unknown(name.to_owned())),
            Probing::Allowed => Self::probe(source).map_err(|source| FormatError::Read {
                name: name.to_owned(),
                source,
            }),
        }
    }

    /// The format by the first bytes: raw where none is known.
    fn probe(source: &dyn ReadAt) -> Result<Self, ReadError> {
        for (magic, format) in MAGICS {
            let mut start = vec![0; magic.len()];
            if source.size_bytes() < start.len() as u64 {
                continue;
            }
            source.read_exact_at(0, &mut start)?;
            if start == *magic {
                return Ok(*format);
            }
        }
        Ok(Self::Raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(given: Option<Format>, name: &str, probing: Probing, expected: Option<Format>) {
        let source = b"QFI\xfb and more".to_vec();
        let found = Format::find(given, name, &source, probing).ok();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_guest_does_not_choose_the_format() {
        check(None, "disk.img", Probing::Forbidden, None);
        check(None, "disk", Probing::Forbidden, None);
        check(None, "disk.raw", Probing::Allowed, Some(Format::Raw));
        check(
            Some(Format::Raw),
            "a.qcow2",
            Probing::Allowed,
            Some(Format::Raw),
        );
        check(None, "a.QCOW2", Probing::Forbidden, Some(Format::Qcow2));
        check(None, "disk.img", Probing::Allowed, Some(Format::Qcow2));
    }

    #[test]
    fn what_has_no_magic_is_raw() {
        assert_eq!(Format::probe(&Vec::new()).unwrap(), Format::Raw);
        assert_eq!(Format::probe(&b"vhdxfile".to_vec()).unwrap(), Format::Vhdx);
        for (name, format) in NAMES {
            assert_eq!(format.name(), *name);
        }
    }
}

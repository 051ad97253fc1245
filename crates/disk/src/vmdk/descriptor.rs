//! The descriptor: lines of `key=value`, and one line for each extent.
//!
//! ```text
//!  CID=fffffffe  parentCID=ffffffff         what it holds, what the one below held; none
//!  parentFileNameHint="base.vmdk"           the one below
//!  RW 131072 SPARSE "disk-s001.vmdk"        access, sectors, kind, file, for FLAT where in it
//! ```

use crate::bytes::text;
use crate::vmdk::{SECTOR_BYTES, VmdkError};

/// How many extents a disk may have: of 8 TiB in files of 2 GiB.
const MAX_EXTENTS: usize = 4096;

/// The number of an image that there is none of.
const NONE: u32 = u32::MAX;

/// What an extent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtentKind {
    /// Bytes of a file as they are.
    Flat,
    /// A file with tables.
    Sparse,
    /// Zeros.
    Zero,
}

/// A part of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// What it is.
    pub kind: ExtentKind,
    /// How long it is.
    pub bytes: u64,
    /// The file that it lies in, as the image names it; none for the image's own.
    pub file: Option<String>,
    /// Where in that file it begins, if it is flat.
    pub offset: u64,
}

/// What an image says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Its parts, in their order.
    pub extents: Vec<Extent>,
    /// A number that changes with what the disk holds, unless it says none.
    pub content_id: Option<u32>,
    /// The image that it stands on.
    pub parent: Option<Parent>,
}

/// The image that another one stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Its file, as the image names it.
    pub file: String,
    /// The number that it had when the image was put onto it.
    pub content_id: u32,
}

impl Descriptor {
    /// The files that it names.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.extents.iter().filter_map(|one| one.file.as_deref())
    }

    /// How long the disk is.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        let sizes = self.extents.iter().map(|extent| extent.bytes);
        sizes.fold(0, u64::saturating_add)
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, VmdkError> {
        let text = text(bytes);
        if !text.trim_start().starts_with("# Disk DescriptorFile") {
            return Err(VmdkError::Not("it has neither tables nor a descriptor"));
        }
        let mut found = Self {
            extents: Vec::new(),
            content_id: None,
            parent: None,
        };
        let (mut below, mut hint) = (NONE, None);
        for line in text.split('\0').next().unwrap_or_default().lines() {
            let line = line.trim();
            // A file's name can have any mark in it.
            let key = match line.starts_with("RW ") || line.starts_with("RDONLY ") {
                true => None,
                false => line.split_once('='),
            };
            match key.map(|(key, value)| (key.trim(), value.trim())) {
                Some(("CID", value)) => found.content_id = u32::from_str_radix(value, 16).ok(),
                Some(("parentCID", value)) => {
                    let wrong = |_| VmdkError::Not("what it stands on has no number that can be");
                    below = u32::from_str_radix(value, 16).map_err(wrong)?;
                }
                Some(("parentFileNameHint", value)) => hint = Some(value.trim_matches('"')),
                Some(_) => {}
                None => found.extents.extend(extent(line)?),
            }
            if found.extents.len() > MAX_EXTENTS {
                return Err(VmdkError::Not("it has more than 4096 extents"));
            }
        }
        if found.extents.is_empty() {
            return Err(VmdkError::Not("its descriptor has no extents"));
        }
        if below != NONE {
            let named = hint.filter(|name| !name.is_empty());
            let named = named.ok_or(VmdkError::Not(
                "it stands on another, which it does not name",
            ))?;
            found.parent = Some(Parent {
                file: named.to_owned(),
                content_id: below,
            });
        }
        Ok(found)
    }
}

/// The extent that a line tells of, if it tells of one.
fn extent(line: &str) -> Result<Option<Extent>, VmdkError> {
    let mut words = line.splitn(4, char::is_whitespace);
    let (Some("RW" | "RDONLY" | "NOACCESS"), Some(sectors), Some(kind)) =
        (words.next(), words.next(), words.next())
    else {
        return Ok(None);
    };
    let wrong = VmdkError::Not("a line of its descriptor cannot be read");
    let Some(bytes) = sectors
        .parse::<u64>()
        .ok()
        .and_then(|it| it.checked_mul(SECTOR_BYTES))
    else {
        return Err(wrong);
    };
    let rest = words.next().unwrap_or_default().trim();
    let kind = match kind {
        "ZERO" => ExtentKind::Zero,
        "SPARSE" => ExtentKind::Sparse,
        "FLAT" | "VMFS" => ExtentKind::Flat,
        other => return Err(VmdkError::Kind(other.to_owned())),
    };
    let mut parts = rest.splitn(3, '"');
    let file = match kind {
        ExtentKind::Zero => None,
        _ => match (parts.next(), parts.next()) {
            (Some(""), Some(name)) if !name.is_empty() => Some(name.to_owned()),
            _ => return Err(wrong),
        },
    };
    let offset = parts.next().unwrap_or_default().trim();
    let offset = match offset {
        "" => Some(0),
        sectors => sectors.parse::<u64>().ok(),
    };
    let offset = offset.and_then(|sectors| sectors.checked_mul(SECTOR_BYTES));
    Ok(Some(Extent {
        kind,
        bytes,
        file,
        offset: offset.ok_or(wrong)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn extents_are_read() {
        let text = "# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\n\
            RW 8 SPARSE \"a b.vmdk\"\nRW 4 FLAT \"c\" 128\nRW 2 ZERO\n";
        let found = Descriptor::parse(text.as_bytes()).unwrap();
        assert_eq!(found.size_bytes(), 14 * 512);
        assert_eq!(found.files().collect::<Vec<_>>(), ["a b.vmdk", "c"]);
        assert_eq!(found.extents[1].offset, 128 * 512);
        assert_eq!((found.parent, found.content_id), (None, None));
        let parent = text.replace(
            "ffffffff",
            "12345678\nCID=9\nparentFileNameHint=\"a=b.vmdk\"",
        );
        let found = Descriptor::parse(parent.as_bytes()).unwrap();
        assert_eq!(found.content_id, Some(9));
        let expected = Parent {
            file: "a=b.vmdk".to_owned(),
            content_id: 0x1234_5678,
        };
        assert_eq!(found.parent, Some(expected));
        let unnamed = text.replace("ffffffff", "12345678");
        assert!(Descriptor::parse(unnamed.as_bytes()).is_err());
        let device = text.replace("ZERO", "SESPARSE");
        assert!(Descriptor::parse(device.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(rest in "[RW0-9A-Z\" =\n]{0,80}") {
            let text = format!("# Disk DescriptorFile\n{rest}");
            let _descriptor_or_error = Descriptor::parse(text.as_bytes());
        }
    }
}

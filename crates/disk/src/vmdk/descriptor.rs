//! The descriptor: lines of `key=value`, and one line for each extent.
//!
//! ```text
//!  RW 131072 SPARSE "disk-s001.vmdk"        access, sectors, kind, file, for FLAT where in it
//! ```

use crate::bytes::text;
use crate::vmdk::{SECTOR_BYTES, VmdkError};

/// How many extents a disk may have: of 8 TiB in files of 2 GiB.
const MAX_EXTENTS: usize = 4096;

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
        let mut extents = Vec::new();
        for line in text.split('\0').next().unwrap_or_default().lines() {
            let line = line.trim();
            let key = line
                .split_once('=')
                .map(|(key, value)| (key.trim(), value.trim()));
            match key {
                Some(("parentCID", parent)) if !parent.eq_ignore_ascii_case("ffffffff") => {
                    return Err(VmdkError::Not("it stands on another image"));
                }
                Some(_) => {}
                None => extents.extend(extent(line)?),
            }
            if extents.len() > MAX_EXTENTS {
                return Err(VmdkError::Not("it has more than 4096 extents"));
            }
        }
        match extents.is_empty() {
            true => Err(VmdkError::Not("its descriptor has no extents")),
            false => Ok(Self { extents }),
        }
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
        let parent = text.replace("ffffffff", "12345678");
        assert!(Descriptor::parse(parent.as_bytes()).is_err());
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

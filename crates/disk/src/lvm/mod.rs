//! LVM2: volumes that are put together of parts of disks or partitions.
//!
//! ```text
//!  label, in one of the first four sectors
//!    0 "LABELONE"  8 its sector  16 sum  20 where the rest lies  24 "LVM2 001"
//!   32 id, 32 letters  64 size  72 places of data, of 16 bytes each, up to one of zeros;
//!                               then places of metadata, likewise
//!  metadata
//!    0 sum   4 " LVM2 x[5A%r0N*>"  20 version 1  24 its place  32 its size
//!   40 texts: 0 place  8 size  16 sum  20 flags;   a text that reaches the end goes on at 512
//! ```
//!
//! All little-endian. Linear volumes are read, of any number of parts on any number of disks;
//! others (striped, mirrored, thin, caches) are named with their type. Every disk of a group has
//! the metadata of all: the one with the highest number counts.

mod text;

use std::collections::BTreeMap;

use crate::bytes::{Fields, Short, saturate, text as lossy};
use crate::read_at::{ReadAt, ReadError, Source, Stretch, check_range, read_new};
use text::Item;

const SECTOR_BYTES: u64 = 512;

/// Where the label may lie: LVM looks at the first four sectors.
const LABEL_SECTORS: u64 = 4;
const LABEL_BYTES: usize = 512;

const LABEL_MAGIC: [u8; 8] = *b"LABELONE";
const LABEL_TYPE: [u8; 8] = *b"LVM2 001";
const METADATA_MAGIC: [u8; 16] = *b"\x20LVM2 x[5A%r0N*>";
const METADATA_BYTES: usize = 512;

/// What all sums of LVM start with.
const SUM_SEED: u32 = 0xf597_a6cf;

/// How long a text may be. LVM keeps two in an area of 1 MiB; larger areas can be asked for.
const MAX_TEXT_BYTES: u64 = 16 << 20;

/// How many areas are looked at: there are two at most.
const MAX_AREAS: usize = 8;

/// A text that is kept, but not to be used.
const TEXT_IGNORED: u32 = 1;

/// Why a volume cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LvmError {
    /// There is no label of LVM's.
    #[error("there is no label of LVM2")]
    NotLvm,
    /// The disk cannot be read there.
    #[error("cannot read {what} of LVM2")]
    Read {
        /// What was to be read.
        what: &'static str,
        /// Why not.
        source: ReadError,
    },
    /// A structure ends too early.
    #[error("a structure of LVM2 is cut short")]
    Short(#[from] Short),
    /// A structure does not hold what it must.
    #[error("{what} of LVM2: {rule}")]
    Broken {
        /// The structure.
        what: &'static str,
        /// What is wrong.
        rule: &'static str,
    },
    /// The text of the metadata does not hold what it must.
    #[error("the metadata of LVM2, at byte {byte} of its text: {rule}")]
    Text {
        /// Where in the text.
        byte: usize,
        /// What is wrong.
        rule: &'static str,
    },
    /// A key is missing, or has a value that it cannot have.
    #[error("the metadata of LVM2 have no sound {key:?} in {section:?}")]
    Key {
        /// The section.
        section: String,
        /// The key.
        key: &'static str,
    },
    /// The volume is not linear.
    #[error("the volume {name:?} is of the type {kind:?}, which is not read")]
    Type {
        /// The volume.
        name: String,
        /// Its type.
        kind: String,
    },
    /// A disk that a volume lies on was not given.
    #[error("the volume {name:?} lies on the physical volume {id}, which was not given")]
    NoDisk {
        /// The volume.
        name: String,
        /// The missing disk's id.
        id: String,
    },
}

/// A disk or a partition that is part of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct PhysicalVolume {
    /// Its id: 32 letters and digits.
    pub id: String,
    /// Where its data start: what lies before is LVM's own.
    pub data_at: u64,
    /// The group, if it belongs to one and keeps metadata.
    pub group: Option<VolumeGroup>,
}

/// A group of disks, and the volumes on them.
#[derive(Clone, Debug, PartialEq)]
pub struct VolumeGroup {
    /// Its name.
    pub name: String,
    /// Counts changes: of several copies of the metadata the highest counts.
    pub sequence: u64,
    /// Its volumes, by name.
    pub volumes: Vec<LogicalVolume>,
}

/// A volume of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct LogicalVolume {
    /// Its name.
    pub name: String,
    /// Its parts, in order; or its type, if it is not linear.
    pub parts: Result<Vec<Part>, String>,
}

/// A part of a linear volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where it starts in the volume.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
    /// The id of the disk that it lies on.
    pub disk: String,
    /// Where it starts there.
    pub place: u64,
}

/// Reads the label and the metadata of a disk or partition.
///
/// # Errors
///
/// When it has no label, or its metadata are damaged.
pub fn physical_volume(disk: &dyn ReadAt) -> Result<PhysicalVolume, LvmError> {
    for sector in 0..LABEL_SECTORS {
        let place = sector.saturating_mul(SECTOR_BYTES);
        let Ok(bytes) = read_new(disk, place, LABEL_BYTES) else {
            break;
        };
        if Fields(&bytes).array(0) == Ok(LABEL_MAGIC) && Fields(&bytes).array(24) == Ok(LABEL_TYPE)
        {
            return labelled(disk, &bytes);
        }
    }
    Err(LvmError::NotLvm)
}

fn labelled(disk: &dyn ReadAt, label: &[u8]) -> Result<PhysicalVolume, LvmError> {
    let fields = Fields(label);
    let summed = label.get(20..).unwrap_or_default();
    if sum(summed) != fields.le32(16)? {
        return Err(LvmError::Broken {
            what: "the label",
            rule: "its sum does not hold",
        });
    }
    let header = saturate(fields.le32(20)?.into());
    let id = lossy(fields.part(header, 32)?);
    let mut at = header.saturating_add(40);
    // Data come first, then metadata; each list ends with zeros.
    let mut data_at = u64::MAX;
    while let Some((place, _)) = next_area(fields, &mut at)? {
        data_at = data_at.min(place);
    }
    let mut group: Option<VolumeGroup> = None;
    for _ in 0..MAX_AREAS {
        let Some((place, bytes)) = next_area(fields, &mut at)? else {
            break;
        };
        let found = metadata(disk, place, bytes)?;
        let newest = group.as_ref().map_or(0, |group| group.sequence);
        group = found.filter(|found| found.sequence > newest).or(group);
    }
    Ok(PhysicalVolume {
        id,
        data_at: if data_at == u64::MAX { 0 } else { data_at },
        group,
    })
}

/// The next place of a list, unless it is its end.
fn next_area(fields: Fields<'_>, at: &mut usize) -> Result<Option<(u64, u64)>, Short> {
    let (place, bytes) = (fields.le64(*at)?, fields.le64(at.saturating_add(8))?);
    *at = at.saturating_add(16);
    Ok((place != 0).then_some((place, bytes)))
}

/// The group that an area of metadata tells of; none if it was never used.
fn metadata(disk: &dyn ReadAt, area: u64, bytes: u64) -> Result<Option<VolumeGroup>, LvmError> {
    let what = "the header of the metadata";
    let broken = |rule| LvmError::Broken { what, rule };
    let header = read_new(disk, area, METADATA_BYTES).map_err(read(what))?;
    let fields = Fields(&header);
    if sum(header.get(4..).unwrap_or_default()) != fields.le32(0)? {
        return Err(broken("its sum does not hold"));
    }
    if fields.array(4) != Ok(METADATA_MAGIC) || fields.le32(20)? != 1 {
        return Err(broken("its magic or version is not known"));
    }
    let (offset, length) = (fields.le64(40)?, fields.le64(48)?);
    let flags = fields.le32(60)?;
    if offset == 0 || length == 0 || flags & TEXT_IGNORED != 0 {
        return Ok(None);
    }
    let first = METADATA_BYTES as u64;
    if length > MAX_TEXT_BYTES || length > bytes || offset < first || offset >= bytes {
        return Err(broken("the text lies outside of its area"));
    }
    // The area is a ring: what does not fit at its end goes on after the header.
    let at_end = length.min(bytes.saturating_sub(offset));
    let place = area.saturating_add(offset);
    let mut text = read_new(disk, place, saturate(at_end)).map_err(read("the metadata"))?;
    let rest = saturate(length.saturating_sub(at_end));
    let place = area.saturating_add(first);
    text.extend(read_new(disk, place, rest).map_err(read("the metadata"))?);
    if sum(&text) != fields.le32(56)? {
        return Err(LvmError::Broken {
            what: "the text of the metadata",
            rule: "its sum does not hold",
        });
    }
    group(&text::parse(&lossy(&text))?).map(Some)
}

fn group(text: &Item) -> Result<VolumeGroup, LvmError> {
    let mut sections = text.sections();
    let (name, group) = sections.next().ok_or(LvmError::Broken {
        what: "the text of the metadata",
        rule: "it has no group",
    })?;
    let sectors = number(group, name, "extent_size")?;
    let extent_bytes = sectors.saturating_mul(SECTOR_BYTES);
    let none = Item::Section(BTreeMap::new());
    let mut disks = BTreeMap::new();
    for (disk, item) in group.get("physical_volumes").unwrap_or(&none).sections() {
        let id = text_of(item, disk, "id")?.replace('-', "");
        let start = number(item, disk, "pe_start")?.saturating_mul(SECTOR_BYTES);
        disks.insert(disk.clone(), (id, start));
    }
    let mut volumes = Vec::new();
    for (volume, item) in group.get("logical_volumes").unwrap_or(&none).sections() {
        volumes.push(LogicalVolume {
            name: volume.clone(),
            parts: parts(item, volume, extent_bytes, &disks)?,
        });
    }
    Ok(VolumeGroup {
        name: name.clone(),
        sequence: number(group, name, "seqno")?,
        volumes,
    })
}

/// Disks by the names that the text gives them: id, and where their extents start.
type Disks = BTreeMap<String, (String, u64)>;

/// The parts of a volume, or its type.
fn parts(
    volume: &Item,
    name: &str,
    extent_bytes: u64,
    disks: &Disks,
) -> Result<Result<Vec<Part>, String>, LvmError> {
    let mut parts = Vec::new();
    for (section, segment) in volume.sections() {
        if !section.starts_with("segment") {
            continue;
        }
        let kind = text_of(segment, section, "type")?;
        if kind != "striped" {
            return Ok(Err(kind.to_owned()));
        }
        if number(segment, section, "stripe_count")? != 1 {
            return Ok(Err("striped".to_owned()));
        }
        let extents =
            |key| number(segment, section, key).map(|count| count.saturating_mul(extent_bytes));
        let key = |key| LvmError::Key {
            section: format!("{name}/{section}"),
            key,
        };
        let Some(Item::List(stripes)) = segment.get("stripes") else {
            return Err(key("stripes"));
        };
        let disk = stripes
            .first()
            .and_then(Item::text)
            .and_then(|disk| disks.get(disk));
        let first = stripes.get(1).and_then(Item::number);
        let (Some((disk, start)), Some(first)) = (disk, first) else {
            return Err(key("stripes"));
        };
        parts.push(Part {
            offset: extents("start_extent")?,
            bytes: extents("extent_count")?,
            disk: disk.clone(),
            place: start.saturating_add(first.saturating_mul(extent_bytes)),
        });
    }
    parts.sort_by_key(|part| part.offset);
    check_order(&parts, name)?;
    Ok(Ok(parts))
}

/// The parts must follow each other without gaps.
fn check_order(parts: &[Part], name: &str) -> Result<(), LvmError> {
    let mut end = 0u64;
    for part in parts {
        let next = part.offset.checked_add(part.bytes);
        match next {
            Some(next) if part.offset == end && part.bytes > 0 => end = next,
            _ => {
                return Err(LvmError::Key {
                    section: name.to_owned(),
                    key: "start_extent",
                });
            }
        }
    }
    Ok(())
}

fn number(item: &Item, section: &str, key: &'static str) -> Result<u64, LvmError> {
    let found = item.get(key).and_then(Item::number);
    found.ok_or_else(|| LvmError::Key {
        section: section.to_owned(),
        key,
    })
}

fn text_of<'a>(item: &'a Item, section: &str, key: &'static str) -> Result<&'a str, LvmError> {
    let found = item.get(key).and_then(Item::text);
    found.ok_or_else(|| LvmError::Key {
        section: section.to_owned(),
        key,
    })
}

fn read(what: &'static str) -> impl FnOnce(ReadError) -> LvmError {
    move |source| LvmError::Read { what, source }
}

/// CRC-32 with a start of LVM's own, and without turning the bits round before and after.
fn sum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(!SUM_SEED);
    hasher.update(bytes);
    !hasher.finalize()
}

/// A linear volume, as a source.
#[derive(Clone, Debug)]
pub struct LinearVolume {
    parts: Vec<(Part, Source)>,
    size_bytes: u64,
}

impl LogicalVolume {
    /// Opens the volume on the disks of its group, which are found by their ids.
    ///
    /// # Errors
    ///
    /// When it is not linear, a disk is missing, or a part reaches past the end of one.
    pub fn open(&self, disks: &BTreeMap<String, Source>) -> Result<LinearVolume, LvmError> {
        let parts = self.parts.as_ref().map_err(|kind| LvmError::Type {
            name: self.name.clone(),
            kind: kind.clone(),
        })?;
        let mut opened = Vec::new();
        let mut size_bytes = 0u64;
        for part in parts {
            let disk = disks.get(&part.disk).ok_or_else(|| LvmError::NoDisk {
                name: self.name.clone(),
                id: part.disk.clone(),
            })?;
            check_range(disk.size_bytes(), part.place, part.bytes).map_err(read("a part"))?;
            size_bytes = size_bytes.saturating_add(part.bytes);
            opened.push((part.clone(), Source::clone(disk)));
        }
        Ok(LinearVolume {
            parts: opened,
            size_bytes,
        })
    }
}

impl LinearVolume {
    /// The disk that a byte lies on, where it lies there, and how far that goes on.
    fn at(&self, offset: u64) -> Result<(&Source, u64, u64), ReadError> {
        let after = self
            .parts
            .partition_point(|(part, _)| part.offset <= offset);
        let found = after.checked_sub(1).and_then(|index| self.parts.get(index));
        let past = ReadError::PastEnd {
            offset,
            bytes: 1,
            size_bytes: self.size_bytes,
        };
        let (part, disk) = found.ok_or(past)?;
        let within = offset.saturating_sub(part.offset);
        let place = part.place.saturating_add(within);
        Ok((disk, place, part.bytes.saturating_sub(within)))
    }
}

impl ReadAt for LinearVolume {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        check_range(self.size_bytes, offset, buffer.len() as u64)?;
        let (mut at, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let (disk, place, bytes) = self.at(at)?;
            let (part, behind) = rest.split_at_mut(saturate(bytes).min(rest.len()));
            disk.read_exact_at(place, part)?;
            at = at.saturating_add(part.len() as u64);
            rest = behind;
        }
        Ok(())
    }

    fn stretch_at(&self, offset: u64) -> Result<Stretch, ReadError> {
        check_range(self.size_bytes, offset, 1)?;
        let (disk, place, bytes) = self.at(offset)?;
        let stretch = disk.stretch_at(place)?;
        Ok(Stretch {
            bytes: stretch.bytes.min(bytes),
            ..stretch
        })
    }
}

//! The header of a qcow2 image and its extensions.
//!
//! ```text
//!   0  "QFI\xfb"              40  where the L1 table lies       v3 only:
//!   4  version: 2, 3          48  where the refcounts lie        72  incompatible features
//!   8  where the backing      56  clusters of the refcounts      80  compatible features
//!      file's name lies       60  number of snapshots            88  autoclear features
//!  16  its length             64  where their table lies         96  refcount order
//!  20  cluster bits                                             100  length of the header
//!  24  size of the disk                                         104  compression type
//!  32  encryption            header length (v2: 72):
//!  36  entries of L1           extensions: type, length, data up to a multiple of 8; type 0 ends
//! ```
//!
//! All big-endian. Source: `docs/interop/qcow2.rst` of QEMU. Names of files are told, never followed.

use crate::bytes::{Fields, power_of_two, saturate, text};
use crate::qcow2::error::{Qcow2Error, limited};
use crate::read_at::{ReadAt, read_new};

/// The first bytes of every qcow2 image.
pub const QCOW2_MAGIC: [u8; 4] = *b"QFI\xfb";

/// The size of the header of version 2, and the least of version 3 that says its length.
const HEADER_V2_BYTES: u64 = 72;
const HEADER_V3_BYTES: u64 = 104;

/// What is read of the header and its extensions. QEMU holds them, and the backing file's name, to
/// the first cluster, which has 2 MiB at most; the lists of known features have a few kilobytes.
const MAX_HEADER_BYTES: u64 = 64 << 10;

/// QEMU's limits: clusters of 512 bytes to 2 MiB.
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;

/// The format's limit for the name of a backing file.
const MAX_BACKING_NAME_BYTES: u64 = 1023;

/// QEMU's limit for an L1 table, of this image or of a snapshot: 32 MiB.
pub(super) const MAX_L1_ENTRIES: u64 = 4 << 20;

/// The greatest size of a disk. The format knows none; files and block devices end here.
const MAX_DISK_BYTES: u64 = 1 << 63;

/// The smallest subcluster: a sector. A cluster has 32 of them.
const MIN_EXTENDED_CLUSTER_BITS: u32 = 14;

const INCOMPATIBLE_DIRTY: u64 = 1;
const INCOMPATIBLE_CORRUPT: u64 = 1 << 1;
const INCOMPATIBLE_DATA_FILE: u64 = 1 << 2;
const INCOMPATIBLE_COMPRESSION: u64 = 1 << 3;
const INCOMPATIBLE_EXTENDED_L2: u64 = 1 << 4;
const INCOMPATIBLE_KNOWN: u64 = (1 << 5) - 1;
const AUTOCLEAR_BITMAPS: u64 = 1;
const AUTOCLEAR_RAW_DATA: u64 = 1 << 1;

const EXTENSION_END: u32 = 0;
const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;
const EXTENSION_FEATURES: u32 = 0x6803_f857;
const EXTENSION_BITMAPS: u32 = 0x2385_2875;
const EXTENSION_DATA_FILE: u32 = 0x4441_5441;

/// An entry of the table of feature names: kind, bit, and 46 bytes of name.
const FEATURE_BYTES: usize = 48;

/// How clusters are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Deflate, without the header of zlib.
    Deflate,
    /// Zstandard frames.
    Zstd,
}

/// The image below, as this one names it. The name was chosen by whoever wrote the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backing {
    /// Its name, as stored: a path, or one of QEMU's descriptions of a device.
    pub name: String,
    /// Its format, if the image says so. Without it the format must come from the operator.
    pub format: Option<String>,
}

/// Where the persistent bitmaps lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BitmapDirectory {
    pub(super) count: u32,
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

/// A header that this reader can work with: everything else is refused while reading it.
#[derive(Clone, Debug)]
pub struct Header {
    /// The version: 2 or 3.
    pub version: u32,
    /// Clusters have two to the power of this many bytes.
    pub cluster_bits: u32,
    /// The size of the disk that the guest sees.
    pub size_bytes: u64,
    /// The image below, if there is one.
    pub backing: Option<Backing>,
    /// The file that holds the data in this one's place; the name can be empty.
    pub data_file: Option<String>,
    /// Whether that file alone is the whole disk, as a raw image.
    pub data_file_raw: bool,
    /// How compressed clusters are compressed.
    pub compression: Compression,
    /// Whether entries of L2 tables are told by 32 subclusters each.
    pub extended_l2: bool,
    /// Whether the image was not closed in good order. Its refcounts can be wrong, which is of no
    /// matter for reading.
    pub dirty: bool,
    pub(super) l1_entries: u32,
    pub(super) l1_offset: u64,
    pub(super) snapshots: u32,
    pub(super) snapshots_offset: u64,
    pub(super) bitmaps: Option<BitmapDirectory>,
    pub(super) bitmaps_are_current: bool,
}

/// The fixed part that decides about the rest.
struct Features {
    incompatible: u64,
    autoclear: u64,
    header_bytes: u64,
    compression: u8,
}

/// What the extensions say.
#[derive(Default)]
struct Extensions {
    backing_format: Option<String>,
    data_file: Option<String>,
    bitmaps: Option<BitmapDirectory>,
    /// Kind, bit and name of features.
    names: Vec<(u8, u8, String)>,
}

impl Header {
    /// Reads the header of the image in `file`.
    ///
    /// # Errors
    ///
    /// When it is no qcow2 image, is damaged, encrypted, marked as corrupt, or needs a feature that
    /// is not known here.
    pub fn read(file: &dyn ReadAt) -> Result<Self, Qcow2Error> {
        let bytes = file.size_bytes().min(MAX_HEADER_BYTES);
        let bytes = read_new(file, 0, saturate(bytes)).map_err(Qcow2Error::read("the header"))?;
        let fields = Fields(&bytes);
        let cut = || Qcow2Error::short("the header");
        let magic = fields.array::<4>(0).map_err(cut())?;
        if magic != QCOW2_MAGIC {
            return Err(Qcow2Error::NotQcow2 { found: magic });
        }
        let version = fields.be32(4).map_err(cut())?;
        let features = features(fields, version)?;
        let extensions = extensions(&bytes, features.header_bytes)?;
        refuse_unknown(&features, &extensions)?;
        refuse_encrypted(fields.be32(32).map_err(cut())?)?;
        let has = |feature| features.incompatible & feature != 0;
        let header = Self {
            version,
            cluster_bits: cluster_bits(fields, has(INCOMPATIBLE_EXTENDED_L2))?,
            size_bytes: limited(
                "the disk's size",
                fields.be64(24).map_err(cut())?,
                MAX_DISK_BYTES,
            )?,
            backing: backing(fields, extensions.backing_format)?,
            data_file: has(INCOMPATIBLE_DATA_FILE)
                .then(|| extensions.data_file.unwrap_or_default()),
            data_file_raw: features.autoclear & AUTOCLEAR_RAW_DATA != 0,
            compression: compression(&features)?,
            extended_l2: has(INCOMPATIBLE_EXTENDED_L2),
            dirty: has(INCOMPATIBLE_DIRTY),
            l1_entries: fields.be32(36).map_err(cut())?,
            l1_offset: fields.be64(40).map_err(cut())?,
            snapshots: fields.be32(60).map_err(cut())?,
            snapshots_offset: fields.be64(64).map_err(cut())?,
            bitmaps: extensions.bitmaps,
            bitmaps_are_current: features.autoclear & AUTOCLEAR_BITMAPS != 0,
        };
        limited(
            "entries of the L1 table",
            header.l1_entries.into(),
            MAX_L1_ENTRIES,
        )?;
        Ok(header)
    }

    /// How many bytes a cluster has.
    #[must_use]
    pub fn cluster_bytes(&self) -> u64 {
        power_of_two(self.cluster_bits).unwrap_or(u64::MAX)
    }
}

fn features(fields: Fields<'_>, version: u32) -> Result<Features, Qcow2Error> {
    let cut = || Qcow2Error::short("the header");
    match version {
        2 => Ok(Features {
            incompatible: 0,
            autoclear: 0,
            header_bytes: HEADER_V2_BYTES,
            compression: 0,
        }),
        3 => {
            let header_bytes = fields.be32(100).map_err(cut())?.into();
            if header_bytes < HEADER_V3_BYTES {
                return Err(Qcow2Error::Field {
                    field: "the header's length",
                    value: header_bytes,
                    rule: "version 3 has at least 104 bytes",
                });
            }
            let has_compression = header_bytes > HEADER_V3_BYTES;
            Ok(Features {
                incompatible: fields.be64(72).map_err(cut())?,
                autoclear: fields.be64(88).map_err(cut())?,
                header_bytes,
                compression: match has_compression {
                    true => fields.byte(104).map_err(cut())?,
                    false => 0,
                },
            })
        }
        other => Err(Qcow2Error::Version(other)),
    }
}

fn cluster_bits(fields: Fields<'_>, extended: bool) -> Result<u32, Qcow2Error> {
    let bits = fields.be32(20).map_err(Qcow2Error::short("the header"))?;
    let rule = if !CLUSTER_BITS.contains(&bits) {
        "clusters have 2^9 to 2^21 bytes"
    } else if extended && bits < MIN_EXTENDED_CLUSTER_BITS {
        "with subclusters, clusters have at least 2^14 bytes"
    } else {
        return Ok(bits);
    };
    Err(Qcow2Error::Field {
        field: "cluster_bits",
        value: bits.into(),
        rule,
    })
}

fn compression(features: &Features) -> Result<Compression, Qcow2Error> {
    let differs = features.incompatible & INCOMPATIBLE_COMPRESSION != 0;
    let rule = match (features.compression, differs) {
        (0, false) => return Ok(Compression::Deflate),
        (1, true) => return Ok(Compression::Zstd),
        (0 | 1, _) => "it has to agree with the feature bit for compression types",
        _ => "0 (deflate) and 1 (zstd) are known",
    };
    Err(Qcow2Error::Field {
        field: "the compression type",
        value: features.compression.into(),
        rule,
    })
}

fn refuse_encrypted(method: u32) -> Result<(), Qcow2Error> {
    match method {
        0 => Ok(()),
        1 => Err(Qcow2Error::Encrypted("AES")),
        2 => Err(Qcow2Error::Encrypted("LUKS")),
        _ => Err(Qcow2Error::Encrypted("a method that is not known")),
    }
}

fn refuse_unknown(features: &Features, extensions: &Extensions) -> Result<(), Qcow2Error> {
    let unknown = features.incompatible & !INCOMPATIBLE_KNOWN;
    if unknown != 0 {
        let bits = (0..64u8).filter(|bit| unknown.checked_shr((*bit).into()).unwrap_or(0) & 1 == 1);
        let names = bits.map(|bit| name_of(bit, &extensions.names));
        return Err(Qcow2Error::Features(names.collect::<Vec<_>>().join(", ")));
    }
    if features.incompatible & INCOMPATIBLE_CORRUPT != 0 {
        return Err(Qcow2Error::Corrupt);
    }
    Ok(())
}

/// What the image itself calls an incompatible feature.
fn name_of(bit: u8, names: &[(u8, u8, String)]) -> String {
    let found = names.iter().find(|(kind, of, _)| (*kind, *of) == (0, bit));
    found.map_or_else(
        || format!("bit {bit}"),
        |(_, _, name)| format!("{name:?} (bit {bit})"),
    )
}

fn backing(fields: Fields<'_>, format: Option<String>) -> Result<Option<Backing>, Qcow2Error> {
    let cut = || Qcow2Error::short("the backing file's name");
    let offset = fields.be64(8).map_err(cut())?;
    if offset == 0 {
        return Ok(None);
    }
    let bytes = fields.be32(16).map_err(cut())?.into();
    limited(
        "the backing file's name in bytes",
        bytes,
        MAX_BACKING_NAME_BYTES,
    )?;
    let name = fields
        .part(saturate(offset), saturate(bytes))
        .map_err(cut())?;
    Ok(Some(Backing {
        name: text(name),
        format,
    }))
}

fn extensions(bytes: &[u8], start: u64) -> Result<Extensions, Qcow2Error> {
    let fields = Fields(bytes);
    let cut = || Qcow2Error::short("a header extension");
    let mut found = Extensions::default();
    let mut at = saturate(start);
    // The header's bytes are limited, and each turn consumes eight of them at least.
    while at.saturating_add(8) <= bytes.len() {
        let kind = fields.be32(at).map_err(cut())?;
        if kind == EXTENSION_END {
            break;
        }
        let length = fields.be32(at.saturating_add(4)).map_err(cut())?;
        let data = fields
            .part(at.saturating_add(8), saturate(length.into()))
            .map_err(cut())?;
        found.take(kind, data)?;
        let padded = data.len().next_multiple_of(8);
        at = at.saturating_add(8).saturating_add(padded);
    }
    Ok(found)
}

impl Extensions {
    fn take(&mut self, kind: u32, data: &[u8]) -> Result<(), Qcow2Error> {
        match kind {
            EXTENSION_BACKING_FORMAT => self.backing_format = Some(text(data)),
            EXTENSION_DATA_FILE => self.data_file = Some(text(data)),
            EXTENSION_BITMAPS => self.bitmaps = Some(bitmap_directory(data)?),
            EXTENSION_FEATURES => {
                let entries = data.chunks_exact(FEATURE_BYTES);
                self.names.extend(entries.filter_map(feature_name));
            }
            // Encryption is refused by the header's own field; others change nothing for a reader.
            _ => {}
        }
        Ok(())
    }
}

fn feature_name(entry: &[u8]) -> Option<(u8, u8, String)> {
    let (kind, rest) = entry.split_first()?;
    let (bit, name) = rest.split_first()?;
    let name = name.split(|byte| *byte == 0).next()?;
    Some((*kind, *bit, text(name)))
}

fn bitmap_directory(data: &[u8]) -> Result<BitmapDirectory, Qcow2Error> {
    let fields = Fields(data);
    let cut = || Qcow2Error::short("the bitmaps extension");
    Ok(BitmapDirectory {
        count: fields.be32(0).map_err(cut())?,
        bytes: fields.be64(8).map_err(cut())?,
        offset: fields.be64(16).map_err(cut())?,
    })
}

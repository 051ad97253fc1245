//! From a place on the disk to a place in the file: the tables L1 and L2.
//!
//! ```text
//!  byte of the disk:  | L1 index | L2 index | byte of the cluster |
//!                                  cluster_bits - 3 (- 4 with subclusters)
//!
//!  L1 entry   bits 9-55: where the L2 table lies; 0: nothing of its range is allocated
//!  L2 entry   bit 62 clear: bits 9-55 where the cluster lies, bit 0 all zeros
//!             bit 62 set:   compressed; offset in the low x bits, sectors - 1 above,
//!                           x = 62 - (cluster_bits - 8)
//!  subclusters: a second word; bit i: subcluster i is there, bit 32 + i: it is all zeros
//! ```
//!
//! A place is looked up in a slice of its table, of which some are kept; neighbours that lie next to
//! each other in the file too are one [`Run`].

use std::sync::Arc;

use crate::bytes::power_of_two;
use crate::cache::Cache;
use crate::qcow2::error::Qcow2Error;
use crate::qcow2::header::Header;
use crate::read_at::{ReadAt, read_new};

const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
const ALL_ZEROS: u64 = 1;
const SECTOR_BYTES: u64 = 512;

/// How many subclusters a cluster has.
const SUBCLUSTERS: u64 = 32;

/// What is read and kept of an L2 table at once: with clusters of 64 KiB it stands for 32 MiB.
const SLICE_BYTES: u64 = 4096;

/// How many slices are kept: 1 MiB of tables, for 8 GiB of disk with clusters of 64 KiB.
const SLICES_KEPT: usize = 256;

/// Where bytes of the disk come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mapping {
    /// From this place in the file, or in the file for data.
    Data { host_offset: u64 },
    /// From a compressed cluster.
    Compressed { host_offset: u64, bytes: u64 },
    /// They are zeros.
    Zero,
    /// From the image below.
    Unallocated,
}

/// Bytes of the disk that come from one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) mapping: Mapping,
    pub(super) bytes: u64,
}

/// The sizes by which a place is taken apart, and the slices that were read last.
#[derive(Debug)]
pub(super) struct Tables {
    cluster_bits: u32,
    /// The number of entries of an L2 table, as a power of two.
    l2_bits: u32,
    extended: bool,
    /// Whether data lies in a file of its own, where 0 is a place like any other.
    data_file: bool,
    zero_flag: bool,
    slices: Cache<Arc<[u64]>>,
}

impl Tables {
    pub(super) fn new(header: &Header) -> Self {
        let entry_bits = if header.extended_l2 { 4 } else { 3 };
        Self {
            cluster_bits: header.cluster_bits,
            l2_bits: header.cluster_bits.saturating_sub(entry_bits),
            extended: header.extended_l2,
            data_file: header.data_file.is_some(),
            zero_flag: header.version >= 3,
            slices: Cache::new(SLICES_KEPT),
        }
    }

    pub(super) fn cluster_bytes(&self) -> u64 {
        power_of_two(self.cluster_bits).unwrap_or(u64::MAX)
    }

    /// How many bytes of the disk one entry of L1 stands for; at most 2^39.
    fn l1_entry_bytes(&self) -> u64 {
        power_of_two(self.cluster_bits.saturating_add(self.l2_bits)).unwrap_or(u64::MAX)
    }

    /// How many entries of L1 a disk of this size has.
    pub(super) fn l1_entries(&self, size_bytes: u64) -> u64 {
        let bits = self.cluster_bits.saturating_add(self.l2_bits);
        let whole = size_bytes.wrapping_shr(bits);
        let has_rest = size_bytes & self.l1_entry_bytes().wrapping_sub(1) != 0;
        whole.saturating_add(has_rest.into())
    }

    /// What the disk has at `offset`, and how far it goes on like that; at least one byte, at most
    /// to the end of the slice.
    pub(super) fn run_at(
        &self,
        file: &dyn ReadAt,
        l1: &[u64],
        offset: u64,
    ) -> Result<Run, Qcow2Error> {
        let bits = self.cluster_bits.saturating_add(self.l2_bits);
        let entry = l1.get(crate::bytes::saturate(offset.wrapping_shr(bits)));
        let entry = entry.copied().unwrap_or(0);
        let table = entry & OFFSET_MASK;
        if table == 0 {
            let within = offset & self.l1_entry_bytes().wrapping_sub(1);
            return Ok(Run {
                mapping: Mapping::Unallocated,
                bytes: self.l1_entry_bytes().saturating_sub(within),
            });
        }
        self.check_aligned("L1", table, entry, offset)?;
        self.run_in(file, table, offset)
    }

    fn check_aligned(
        &self,
        table: &'static str,
        host_offset: u64,
        entry: u64,
        offset: u64,
    ) -> Result<(), Qcow2Error> {
        if host_offset & self.cluster_bytes().wrapping_sub(1) == 0 {
            return Ok(());
        }
        Err(Qcow2Error::Entry {
            table,
            entry,
            offset,
            rule: "it must lead to the start of a cluster",
        })
    }

    /// The run that starts at `offset`, out of the slice of the L2 table that tells of it.
    fn run_in(&self, file: &dyn ReadAt, table: u64, offset: u64) -> Result<Run, Qcow2Error> {
        let words_per_entry: u64 = if self.extended { 2 } else { 1 };
        let cluster = offset.wrapping_shr(self.cluster_bits);
        let in_table = cluster & power_of_two(self.l2_bits).unwrap_or(0).wrapping_sub(1);
        let at_byte = in_table.wrapping_mul(words_per_entry.wrapping_mul(8));
        let slice_bytes = SLICE_BYTES.min(self.cluster_bytes());
        let slice_start = at_byte & !slice_bytes.wrapping_sub(1);
        let slice = self.slice(file, table.saturating_add(slice_start), slice_bytes)?;
        let first = crate::bytes::saturate(at_byte.wrapping_sub(slice_start)) / 8;
        let words = slice.get(first..).unwrap_or_default();
        self.merged(words, offset)
    }

    fn slice(&self, file: &dyn ReadAt, at: u64, bytes: u64) -> Result<Arc<[u64]>, Qcow2Error> {
        self.slices.get_or(at, || {
            let bytes = read_new(file, at, crate::bytes::saturate(bytes))
                .map_err(Qcow2Error::read("an L2 table"))?;
            Ok(be_words(&bytes).collect())
        })
    }

    /// Joins the pieces that the entries tell of, from the one that `offset` lies in, as long as
    /// they go on from each other.
    fn merged(&self, words: &[u64], offset: u64) -> Result<Run, Qcow2Error> {
        let piece_bits = match self.extended {
            true => self
                .cluster_bits
                .saturating_sub(SUBCLUSTERS.trailing_zeros()),
            false => self.cluster_bits,
        };
        let piece_bytes = power_of_two(piece_bits).unwrap_or(u64::MAX);
        let cluster_start = offset & !self.cluster_bytes().wrapping_sub(1);
        let mut at = offset & !piece_bytes.wrapping_sub(1);
        let mut run: Option<Run> = None;
        loop {
            let cluster = at
                .wrapping_sub(cluster_start)
                .wrapping_shr(self.cluster_bits);
            let Some((entry, bitmap)) = self.entry(words, cluster) else {
                break;
            };
            let sub = (at & self.cluster_bytes().wrapping_sub(1)).wrapping_shr(piece_bits);
            let piece = self.piece(entry, bitmap, sub, at);
            match (&mut run, piece) {
                (None, piece) => {
                    let skipped = offset.wrapping_sub(at);
                    run = Some(started(piece?, skipped, piece_bytes));
                }
                // What is wrong further on is told to whoever comes there.
                (Some(run), Ok(piece)) if goes_on(*run, piece) => {
                    run.bytes = run.bytes.saturating_add(piece_bytes);
                }
                (Some(_), _) => break,
            }
            at = at.saturating_add(piece_bytes);
        }
        run.map(|run| self.whole_compressed(run, offset))
            .ok_or(Qcow2Error::PastEnd {
                offset,
                size_bytes: 0,
            })
    }

    /// A compressed cluster is one whole, whatever it is told by.
    fn whole_compressed(&self, run: Run, offset: u64) -> Run {
        let Mapping::Compressed { .. } = run.mapping else {
            return run;
        };
        let within = offset & self.cluster_bytes().wrapping_sub(1);
        Run {
            bytes: self.cluster_bytes().saturating_sub(within),
            ..run
        }
    }

    /// The entry of a cluster, counted from the first of `words`, with its bitmap of subclusters.
    fn entry(&self, words: &[u64], cluster: u64) -> Option<(u64, u64)> {
        let index = crate::bytes::saturate(cluster);
        if !self.extended {
            return words.get(index).map(|entry| (*entry, 0));
        }
        let index = index.checked_mul(2)?;
        Some((*words.get(index)?, *words.get(index.checked_add(1)?)?))
    }

    /// What an entry says of one subcluster, or of the only one.
    fn piece(&self, entry: u64, bitmap: u64, sub: u64, offset: u64) -> Result<Mapping, Qcow2Error> {
        let wrong = |rule| Qcow2Error::Entry {
            table: "L2",
            entry,
            offset,
            rule,
        };
        if entry & COMPRESSED != 0 {
            return match self.data_file {
                true => Err(wrong("no cluster of a file for data is compressed")),
                false => Ok(self.compressed(entry)),
            };
        }
        let host_offset = entry & OFFSET_MASK;
        let allocated = host_offset != 0 || (self.data_file && entry & COPIED != 0);
        if allocated {
            self.check_aligned("L2", host_offset, entry, offset)?;
        }
        if self.extended {
            let within = sub.wrapping_mul(self.cluster_bytes() / SUBCLUSTERS);
            return subcluster(allocated, host_offset, within, (bitmap, sub)).map_err(wrong);
        }
        if entry & ALL_ZEROS != 0 {
            return match self.zero_flag {
                true => Ok(Mapping::Zero),
                false => Err(wrong("version 2 has no clusters of zeros")),
            };
        }
        Ok(match allocated {
            true => Mapping::Data { host_offset },
            false => Mapping::Unallocated,
        })
    }

    fn compressed(&self, entry: u64) -> Mapping {
        let size_bits = self.cluster_bits.saturating_sub(8);
        let offset_bits = 62u32.saturating_sub(size_bits);
        let mask = |bits| power_of_two(bits).unwrap_or(0).wrapping_sub(1);
        let host_offset = entry & mask(offset_bits);
        let more = entry.wrapping_shr(offset_bits) & mask(size_bits);
        let sectors = more.saturating_add(1).saturating_mul(SECTOR_BYTES);
        Mapping::Compressed {
            host_offset,
            bytes: sectors.saturating_sub(host_offset % SECTOR_BYTES),
        }
    }
}

/// What the bitmap of an entry says of one subcluster.
fn subcluster(
    allocated: bool,
    host_offset: u64,
    within: u64,
    (bitmap, sub): (u64, u64),
) -> Result<Mapping, &'static str> {
    let (zeros, there) = (bitmap >> 32, bitmap & u64::from(u32::MAX));
    let bit = 1u64.wrapping_shl(u32::try_from(sub).unwrap_or(0));
    if zeros & there != 0 {
        return Err("a subcluster is both there and all zeros");
    }
    if !allocated && there != 0 {
        return Err("a subcluster is there, but its cluster is not");
    }
    Ok(if zeros & bit != 0 {
        Mapping::Zero
    } else if there & bit != 0 {
        Mapping::Data {
            host_offset: host_offset.saturating_add(within),
        }
    } else {
        Mapping::Unallocated
    })
}

/// The part of a first piece that comes after what is skipped.
fn started(piece: Mapping, skipped: u64, piece_bytes: u64) -> Run {
    let mapping = match piece {
        Mapping::Data { host_offset } => Mapping::Data {
            host_offset: host_offset.saturating_add(skipped),
        },
        other => other,
    };
    Run {
        mapping,
        bytes: piece_bytes.saturating_sub(skipped),
    }
}

/// Whether a piece goes on where the run ends.
fn goes_on(run: Run, piece: Mapping) -> bool {
    match (run.mapping, piece) {
        (Mapping::Data { host_offset: start }, Mapping::Data { host_offset }) => {
            start.checked_add(run.bytes) == Some(host_offset)
        }
        (Mapping::Zero, Mapping::Zero) | (Mapping::Unallocated, Mapping::Unallocated) => true,
        _ => false,
    }
}

/// The words of a table; what is left over at the end is none.
pub(super) fn be_words(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    let words = bytes.chunks_exact(8);
    words.filter_map(|word| Some(u64::from_be_bytes(word.try_into().ok()?)))
}

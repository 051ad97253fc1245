//! Untrusted disks: image formats, partition tables and file systems, read without the host's
//! kernel.
//!
//! | module | holds |
//! |---|---|
//! | [`read_at`] | [`ReadAt`]: bytes by their place, which everything here reads from and most is |
//! | [`btrfs`] | btrfs on one device: files with subvolumes, what each block is |
//! | [`ext`] | ext2, ext3 and ext4: files, their data and attributes, what each block is |
//! | [`fat`] | FAT with entries of 12, 16 and 32 bits |
//! | [`format`](mod@format) | [`Format`]: which format an image has, without asking the guest |
//! | [`qcow2`] | qcow2 images: the disk, its snapshots, its bitmaps, its map |
//! | [`lvm`] | linear volumes of LVM2, over several disks |
//! | [`ntfs`] | NTFS: files with their streams, what each block is |
//! | [`partition`] | partition tables: MBR and GPT |
//! | [`system`] | [`FileSystem`](system::FileSystem): the shape that file systems besides ext share |
//! | [`vhdx`](mod@vhdx) | VHDX images that were closed |
//! | [`vmdk`] | VMDK images, in one file or several |
//! | [`volume`] | what lies on disks: partitions, volumes of LVM2, and what each of them holds |
//! | [`xfs`] | XFS: files, what each block is, the log |
//!
//! Everything that is read here was written by others: no parser panics, follows a name, or takes
//! time or memory by what an image claims; each limit is a constant with its reason. A raw image
//! needs no reader: it is its file.
//!
//! It does not write, does not open anything, and does not guess: where bytes cannot be told for
//! certain there is an error.

//! From an image to a file in it:
//!
//! ```
//! use disk::ext::Ext;
//! use disk::partition::{Sector, partitions};
//! use disk::qcow2::{Header, Parts, Qcow2};
//! use disk::Source;
//! use std::sync::Arc;
//!
//! fn passwords(file: Source) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
//!     let header = Header::read(&*file)?;
//!     // header.backing and header.data_file name what Parts has to bring.
//!     let disk: Source = Arc::new(Qcow2::open(file, header, Parts::default())?);
//!     let table = partitions(&*disk, Sector::Bytes512)?;
//!     let first = table.partitions.first().ok_or("no partition")?;
//!     let ext = Ext::open(Arc::new(first.open(&disk)?))?;
//!     let inode = ext.find(b"/etc/passwd")?;
//!     Ok(ext.open_file(&inode)?.read_all(1 << 20)?)
//! }
//!
//! let empty: Source = Arc::new(vec![0; 4096]);
//! assert!(passwords(empty).unwrap_err().to_string().starts_with("not a qcow2 image"));
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation
    )
)]

mod aligned;
pub mod btrfs;
mod bytes;
mod cache;
pub mod ext;
pub mod fat;
pub mod format;
pub mod lvm;
pub mod ntfs;
pub mod partition;
pub mod qcow2;
pub mod read_at;
pub mod system;
pub mod vhdx;
pub mod vmdk;
pub mod volume;
pub mod xfs;

pub use aligned::{ALIGNMENT, AlignedBuffer};
pub use bytes::Short;
pub use format::{Format, FormatError, Probing};
pub use read_at::{Absent, Content, ReadAt, ReadError, Source, Stretch, Window};

//! What is read of untrusted bytes, parser by parser: each reads all that it can of some bytes, and
//! must neither panic, nor hang, nor grow, nor contradict itself.
//!
//! ```text
//! seeds/PARSER/*  ──► tests/seeds.rs     every run of the tests
//!                └──► driver (libFuzzer) `cargo xtask fuzz`: new inputs, by the coverage they bring
//! ```
//!
//! What fuzzing finds is mended, and its input becomes a seed. A new parser is a row of [`PARSERS`],
//! and at least one seed.

mod disks;
mod files;
mod foreign;
mod guests;
mod histories;
mod records;
mod sparse;
mod talk;

use disk::volume::VolumeKind;

pub use sparse::{HEADER_BYTES, RECORD_BYTES, Sparse};

/// A parser, and how it is tried.
#[derive(Debug)]
pub struct Parser {
    /// Its name, and that of its directory of seeds.
    pub name: &'static str,
    /// Reads all that can be read of some bytes. A typed error is as good as success.
    pub read: fn(&[u8]),
    /// Whether the bytes stand for a disk: see [`Sparse`].
    pub is_image: bool,
}

/// All parsers of our own that read what others wrote, those first that read what a guest has.
pub const PARSERS: &[Parser] = &[
    image("ext", disks::ext),
    image("qcow2", disks::qcow2),
    image("xfs", |bytes| disks::system(VolumeKind::Xfs, bytes)),
    image("btrfs", |bytes| disks::system(VolumeKind::Btrfs, bytes)),
    image("ntfs", |bytes| disks::system(VolumeKind::Ntfs, bytes)),
    image("fat", |bytes| disks::system(VolumeKind::Fat, bytes)),
    image("vmdk", foreign::vmdk),
    image("vhdx", foreign::vhdx),
    image("journald", files::journald),
    image("partition", disks::partition),
    image("lvm", disks::lvm),
    image("volume", disks::volume),
    bytes("btf", guests::btf),
    bytes("kallsyms", guests::kallsyms),
    bytes("kernel", guests::kernel),
    bytes("packages", files::packages),
    bytes("rpm", files::rpm),
    bytes("logs", files::logs),
    bytes("packed", files::packed),
    bytes("audit", files::audit),
    bytes("logins", files::logins),
    bytes("zone", files::zone),
    bytes("wire", talk::wire),
    bytes("nbd", talk::nbd),
    bytes("changeset", histories::changeset),
    bytes("pack", histories::pack),
    bytes("records", records::records),
    bytes("seal", histories::seal),
];

const fn image(name: &'static str, read: fn(&[u8])) -> Parser {
    Parser {
        name,
        read,
        is_image: true,
    }
}

const fn bytes(name: &'static str, read: fn(&[u8])) -> Parser {
    Parser {
        name,
        read,
        is_image: false,
    }
}

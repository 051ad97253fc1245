//! Archives: a tar, compressed or not, that is a root file system or holds the image of a container.

use crate::error::RootfsError;
use crate::layer::Layer;
use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Component, Path};

/// The most memory that unpacking xz takes, in KiB: its strongest setting has a window of 64 MiB.
const XZ_MEMORY_KIB: u32 = 66 << 10;

/// The largest window of zstd, as a power of two: 128 MiB, that of its strongest settings.
const ZSTD_WINDOW_BITS: u32 = 27;

const BUFFER_BYTES: usize = 256 << 10;

/// How archives begin that are compressed.
const GZIP: &[u8] = &[0x1f, 0x8b];
const XZ: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Files by which an archive is known to hold the image of a container.
pub(crate) const LAYOUT: &str = "oci-layout";
pub(crate) const SAVED: &str = "manifest.json";

/// What comes out of an archive, decompressed as its first bytes say.
pub(crate) fn open(path: &Path) -> Result<Box<dyn Read>, RootfsError> {
    let failed = |error| RootfsError::io("read", path)(error);
    let mut file = File::open(path).map_err(failed)?;
    let mut start = Vec::new();
    (&mut file)
        .take(6)
        .read_to_end(&mut start)
        .map_err(failed)?;
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    let file = BufReader::with_capacity(BUFFER_BYTES, file);
    Ok(if start.starts_with(GZIP) {
        Box::new(MultiGzDecoder::new(file))
    } else if start.starts_with(XZ) {
        Box::new(XzReader::new_mem_limit(file, true, XZ_MEMORY_KIB))
    } else if start.starts_with(ZSTD) {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(file).map_err(failed)?;
        decoder.window_log_max(ZSTD_WINDOW_BITS).map_err(failed)?;
        Box::new(decoder)
    } else {
        Box::new(file)
    })
}

/// Whether an archive holds the image of a container, by the names at its top.
pub(crate) fn holds_container(path: &Path) -> Result<bool, RootfsError> {
    let damaged = |source: io::Error| RootfsError::Archive {
        path: path.to_path_buf(),
        source,
    };
    let mut archive = tar::Archive::new(open(path)?);
    let (mut is_layout, mut is_saved, mut entries) = (false, false, 0_u64);
    for entry in archive.entries().map_err(damaged)? {
        let entry = entry.map_err(damaged)?;
        let name = entry.path().map_err(damaged)?;
        let mut parts = name.components().filter(|part| *part != Component::CurDir);
        let (first, second) = (parts.next(), parts.next());
        let is =
            |wanted: &str| second.is_none() && first.is_some_and(|part| part.as_os_str() == wanted);
        is_layout |= is(LAYOUT);
        is_saved |= is(SAVED);
        entries += 1;
        // A root file system has directories of that name in none of its places.
        if is_layout {
            return Ok(true);
        }
    }
    if entries == 0 {
        return Err(damaged(io::Error::other("there is nothing in it")));
    }
    Ok(is_saved)
}

/// Unpacks a root file system.
pub(crate) fn unpack(path: &Path, tree: &Path) -> Result<(), RootfsError> {
    Layer::new(path, tree, false)?.apply(open(path)?)
}

/// Unpacks the archive of a container's image.
pub(crate) fn unpack_container(path: &Path, tree: &Path) -> Result<(), RootfsError> {
    Layer::new(path, tree, false)?.apply(open(path)?)
}

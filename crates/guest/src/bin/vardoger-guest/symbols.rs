//! The kernel's symbols, laid into memory for the host to copy.

use crate::error::GuestError;
use crate::pagemap;
use crate::pages::Pages;
use computation::job::Symbols;
use computation::job::message::MAX_EXTENTS;
use model::PAGE_BYTES;
use std::fs::{self, File};
use std::io::{self, Read as _};

const PATH: &str = "/proc/kallsyms";
/// Twice what a distribution's kernel has, and an eighth of the smallest guest.
const MAX_BYTES: usize = 16 << 20;

/// Symbols in memory, until dropped.
pub(crate) struct SymbolText {
    pages: Pages,
    bytes: usize,
}

/// Reads all symbols, with their addresses.
pub(crate) fn load() -> Result<SymbolText, GuestError> {
    // Where the kernel has no such file it hides nothing.
    fs::write("/proc/sys/kernel/kptr_restrict", "0").ok();
    let mut pages = Pages::reserve(MAX_BYTES)?;
    let bytes = fill(pages.bytes_mut());
    let bytes = bytes.map_err(|source| GuestError::Read { path: PATH, source })?;
    pages.lock(bytes)?;
    Ok(SymbolText { pages, bytes })
}

impl SymbolText {
    /// Where the text lies. What more extents than a line can name hold is left out.
    pub(crate) fn place(&self) -> Result<Symbols, GuestError> {
        let mut extents = pagemap::extents(&self.pages, self.bytes)?;
        extents.truncate(MAX_EXTENTS);
        let pages: u64 = extents.iter().map(|extent| extent.1).sum();
        let bytes = (self.bytes as u64).min(pages * PAGE_BYTES as u64);
        Ok(Symbols { bytes, extents })
    }
}

/// Reads the file until it or the buffer ends.
fn fill(buffer: &mut [u8]) -> io::Result<usize> {
    let mut file = File::open(PATH)?;
    let mut filled = 0;
    loop {
        match file.read(&mut buffer[filled..])? {
            0 => return Ok(filled),
            more => filled += more,
        }
    }
}

//! What a guest's own kernel says of every page frame, and the memory that it said it of: the truth
//! that explanations are held against. Nothing of ours runs in that guest; its only program is
//! `guests/page_flags.c`.
//!
//! The bits are those of Linux' `include/uapi/linux/kernel-page-flags.h`.

use super::{CPU, PATIENCE, Workshop, translated};
use anyhow::{Context, ensure};
use hypervisor::{Channel, Signal, Stop};
use model::{GuestPhysicalAddress, PAGE_BYTES};
use std::path::Path;
use std::process::Command;

const LRU: u32 = 5;
const SLAB: u32 = 7;
const BUDDY: u32 = 10;
const MMAP: u32 = 11;
const ANON: u32 = 12;
const SWAP_BACKED: u32 = 14;
const NO_PAGE: u32 = 20;
const PAGE_TABLE: u32 = 26;
const RESERVED: u32 = 32;

/// What the kernel says of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Told {
    /// There is no memory.
    Nothing,
    /// In a block of the buddy allocator.
    Free,
    /// Objects of a slab cache.
    Slab,
    /// A page table that was allocated after boot.
    PageTable,
    /// Of a process.
    Anonymous,
    /// Of a file, cached or mapped.
    File,
    /// Set aside at boot: the kernel's image and what it took before it had an allocator.
    Reserved,
    /// In use for something else, or on a CPU's own list of free pages.
    Other,
}

impl Told {
    fn of(flags: u64) -> Self {
        let has = |bit: u32| flags >> bit & 1 == 1;
        match () {
            () if has(NO_PAGE) => Self::Nothing,
            () if has(BUDDY) => Self::Free,
            () if has(SLAB) => Self::Slab,
            () if has(PAGE_TABLE) => Self::PageTable,
            () if has(ANON) => Self::Anonymous,
            () if has(LRU) || has(MMAP) || has(SWAP_BACKED) => Self::File,
            () if has(RESERVED) => Self::Reserved,
            () => Self::Other,
        }
    }

    /// Whether it is the kernel's own.
    pub(crate) fn is_kernel_memory(self) -> bool {
        matches!(
            self,
            Self::Slab | Self::PageTable | Self::Reserved | Self::Other
        )
    }
}

/// A stopped guest: its memory, and what its kernel says of each frame, from 0.
pub(crate) struct ToldMemory {
    pub(crate) memory: Vec<u8>,
    pub(crate) frames: Vec<Told>,
}

/// Boots that guest and has it tell.
pub(crate) async fn told_memory(workshop: &Workshop) -> anyhow::Result<ToldMemory> {
    let mut spec = translated(Signal::Port, Channel::DebugConsole)?;
    spec.initramfs = guest::initramfs(&compile()?, &[])?;
    let mut domain = workshop.session.hypervisor.boot(&spec, &[CPU]).await?;
    let stop = domain.wait_stop(PATIENCE).await?;
    ensure!(stop == Stop::Signal, "{stop:?} in place of a signal");
    let said = String::from_utf8(domain.take_console())?;
    let frames = said.trim_end().as_bytes().chunks(16).map(|digits| {
        let flags = u64::from_str_radix(std::str::from_utf8(digits)?, 16)?;
        Ok(Told::of(flags))
    });
    let mut frames: Vec<Told> = frames.collect::<anyhow::Result<_>>()?;
    let mut memory = vec![0; usize::try_from(spec.memory_bytes)?];
    domain.read_memory(GuestPhysicalAddress(0), &mut memory)?;
    domain.destroy().await;
    let told = frames.len() * PAGE_BYTES;
    ensure!(
        told >= memory.len(),
        "the guest told of {told} bytes only: {said:.100}"
    );
    frames.truncate(memory.len() / PAGE_BYTES);
    Ok(ToldMemory { memory, frames })
}

fn compile() -> anyhow::Result<Vec<u8>> {
    let place = tempfile::tempdir().context("cannot make a directory")?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/page_flags.c");
    let program = place.path().join("init");
    let status = Command::new("cc")
        .args(["-static", "-O1", "-Wall", "-Werror", "-o"])
        .args([&program, &source])
        .status()
        .context("cannot start cc")?;
    ensure!(status.success(), "cc ended with {status}");
    Ok(std::fs::read(program)?)
}

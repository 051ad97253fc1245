//! The two traits that every hypervisor implements, and the words they use.
//!
//! Life of a domain:
//!
//! ```text
//!   boot ──► running ──wait_stop──► stopped (signal) ──snapshot──► (saved; destroy it)
//!                ▲                     │
//!   restore ──► stopped ──resume───────┤
//!                                      └──resume──► running … ──wait_stop──► stopped ──destroy
//! ```
//!
//! Memory, registers and page lists may be asked for only while the domain is stopped: a running
//! machine has no terminal state.

use crate::error::HypervisorError;
use crate::memory::changed::{ChangedPages, PageCheck, PageListMethod};
use crate::qemu::recording::Recording;
use async_trait::async_trait;
use model::{Elapsed, GuestPhysicalAddress};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Accelerator {
    /// QEMU's translator: exact, and no unit of the host executes the guest's instructions.
    Tcg,
    /// The host's processor through the kernel's virtual machine monitor.
    Kvm,
}

impl Accelerator {
    /// Its name on the command line and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcg => "tcg",
            Self::Kvm => "kvm",
        }
    }
}

/// Where the kernel's virtual machine monitor is.
pub const KVM_DEVICE: &str = "/dev/kvm";

/// How the guest says that it is ready or done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// The pvpanic device's I/O port 0x505.
    Port,
    /// The pvpanic PCI function, for guests whose user space cannot reach ports.
    Pci,
}

/// How the guest sends lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// The debug console at I/O port 0xe9.
    DebugConsole,
    /// The first serial port.
    Serial,
}

/// What a hypervisor can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Equal machines end in equal states, bit for bit.
    pub deterministic: bool,
    /// Guest memory can be read and written from outside.
    pub memory_access: bool,
    /// Registers can be read and written by name.
    pub registers: bool,
    /// Pages changed since a snapshot can be listed, and how.
    pub changed_pages: Option<PageListMethod>,
    /// A machine's state can be saved and gone back to.
    pub checkpoint: bool,
    /// Memory and vCPUs can be added to a running machine.
    pub live_resources: bool,
    /// Changed blocks of a disk are tracked.
    pub disk_bitmaps: bool,
}

/// The most virtual processors of a machine: what a PC's firmware tables hold without further ado,
/// and more than a replica has host CPUs for.
pub const MAX_VCPUS: u32 = 8;

/// The machine that all replicas of a run are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineSpec {
    /// Guest memory in bytes: a multiple of 4096.
    pub memory_bytes: u64,
    /// The CPU model, by the hypervisor's name for it.
    pub cpu_model: String,
    /// Virtual processors: 1 to [`MAX_VCPUS`].
    pub vcpus: u32,
    /// What executes its instructions.
    pub accelerator: Accelerator,
    /// Whether time is counted in instructions, so that equal machines stay equal.
    pub deterministic: bool,
    /// Whether it has a disk. What a disk does comes at moments of its own, so that one such machine
    /// is recorded, and the others follow its recording.
    pub recorded: bool,
    /// The guest kernel's image.
    pub kernel: PathBuf,
    /// The initramfs, whole.
    pub initramfs: Vec<u8>,
    /// The kernel's command line.
    pub kernel_arguments: String,
    /// How the guest signals.
    pub signal: Signal,
    /// How the guest sends lines.
    pub channel: Channel,
}

/// A saved machine that replicas are restored from: two files in one directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Guest memory, sparse; offset = guest-physical address.
    pub memory: PathBuf,
    /// vCPU and device state, in the hypervisor's own format.
    pub device: PathBuf,
}

impl Snapshot {
    /// The snapshot whose files lie in a directory.
    #[must_use]
    pub fn in_directory(directory: &Path) -> Self {
        Self {
            memory: directory.join("memory"),
            device: directory.join("device"),
        }
    }
}

/// The format of a disk's image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DiskFormat {
    /// The disk's bytes as they are.
    Raw,
    /// QEMU's own, without an image below.
    Qcow2,
}

impl DiskFormat {
    /// Its name for QEMU.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// What a machine's disk holds at first: an image that is opened for reading only. What the guest
/// writes goes into a file that dies with the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskImage {
    /// The image.
    pub path: PathBuf,
    /// Its format, as the user says: never as its content does.
    pub format: DiskFormat,
    /// The size of the disk in it.
    pub disk_bytes: u64,
}

/// What a machine with a disk does about what does not repeat by itself.
#[derive(Debug, Clone, Copy)]
pub enum Course<'a> {
    /// It is written down: [`Domain::recording`] gives it.
    Record,
    /// It is done as it was written down.
    Follow(&'a Recording),
}

/// Why a domain stands still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The guest signalled: ready, a mark, or its end. The console says which.
    Signal,
    /// The guest powered off, reset or triple-faulted; the text says which.
    Shutdown(String),
    /// It reached a breakpoint that we set.
    Breakpoint,
    /// It reached a limit of the wait and was paused by us.
    Deadline,
    /// It no longer does what its recording says, and was paused; the text says how that was seen.
    OutOfStep(String),
}

/// How long a wait may last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitLimits {
    /// CPU time of the vCPU threads since the domain was started or restored.
    pub cpu: Duration,
    /// Wall time from the call: it catches a guest that sleeps for ever.
    pub wall: Duration,
}

/// What a domain has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time of its vCPU threads.
    pub vcpu_cpu: Elapsed,
    /// Page faults of the emulator's process, minor and major.
    pub host_page_faults: u64,
}

/// Registers of all vCPUs, as the hypervisor prints them: lower-case name → hexadecimal value. Those
/// of the first vCPU have their plain names, those of the others are `cpuN.NAME`.
pub type RegisterSet = BTreeMap<String, String>;

/// A hypervisor: makes domains.
#[async_trait]
pub trait Hypervisor: Send + Sync {
    /// Its name and version, such as `qemu 10.0.2`.
    fn version(&self) -> &str;

    /// What it can do with a machine of this kind.
    fn capabilities(&self, spec: &MachineSpec) -> Capabilities;

    /// Starts a machine from its kernel, running, on these host CPUs: its vCPUs take them in turn.
    ///
    /// # Errors
    /// The emulator cannot be started or spoken to, or there is no room for its memory.
    async fn boot(
        &self,
        spec: &MachineSpec,
        cpus: &[u32],
    ) -> Result<Box<dyn Domain>, HypervisorError>;

    /// Restores a saved machine, stopped, on these host CPUs. Its memory is a private copy-on-write
    /// view of the snapshot's, which is never written to.
    ///
    /// # Errors
    /// As for [`Hypervisor::boot`]; or the snapshot does not fit the machine.
    async fn restore(
        &self,
        spec: &MachineSpec,
        snapshot: &Snapshot,
        cpus: &[u32],
    ) -> Result<Box<dyn Domain>, HypervisorError>;

    /// Restores a saved machine of a description that is [recorded](MachineSpec::recorded), as
    /// [`Hypervisor::restore`] does, with a disk over an image.
    ///
    /// # Errors
    /// As for [`Hypervisor::restore`]; or the image cannot be used, or there are no recordings here.
    async fn restore_with_disk(
        &self,
        spec: &MachineSpec,
        snapshot: &Snapshot,
        cpus: &[u32],
        disk: (&DiskImage, Course<'_>),
    ) -> Result<Box<dyn Domain>, HypervisorError> {
        let _ = (spec, snapshot, cpus, disk);
        Err(HypervisorError::Unsupported {
            hypervisor: "this hypervisor",
            what: "give a machine a disk",
        })
    }
}

/// One virtual machine that we own. Dropping it ends it.
#[async_trait]
pub trait Domain: Send {
    /// Lets a stopped domain run.
    ///
    /// # Errors
    /// The guest is off, or the monitor refuses or is gone.
    async fn resume(&mut self) -> Result<(), HypervisorError>;

    /// Waits until a running domain stands still; at a limit it is paused. One that nobody let run
    /// stays as it is until the limit.
    ///
    /// # Errors
    /// The emulator ended by itself, or does not answer.
    async fn wait_stop(&mut self, limits: WaitLimits) -> Result<Stop, HypervisorError>;

    /// What the guest has sent since the last call: untrusted bytes, bounded.
    fn take_console(&mut self) -> Vec<u8>;

    /// Reads guest-physical memory of a stopped domain.
    ///
    /// # Errors
    /// The range lies outside guest memory, or the process cannot be read.
    fn read_memory(
        &mut self,
        address: GuestPhysicalAddress,
        into: &mut [u8],
    ) -> Result<(), HypervisorError>;

    /// Writes data into guest-physical memory of a stopped domain. Code is written with
    /// [`Domain::patch_memory`]: a translator keeps translations of it.
    ///
    /// # Errors
    /// As for [`Domain::read_memory`]. Of a range that lies partly outside nothing is written.
    fn write_memory(
        &mut self,
        address: GuestPhysicalAddress,
        bytes: &[u8],
    ) -> Result<(), HypervisorError>;

    /// Writes guest-physical memory so that it takes effect on code as well.
    ///
    /// # Errors
    /// As for [`Domain::write_memory`]; or the debugger stub refuses.
    async fn patch_memory(
        &mut self,
        address: GuestPhysicalAddress,
        bytes: &[u8],
    ) -> Result<(), HypervisorError>;

    /// The pages that differ, or may differ, from the snapshot that the domain was restored from,
    /// with their content.
    ///
    /// # Errors
    /// The domain was not restored from a snapshot, or the process cannot be read.
    fn changed_pages(&mut self) -> Result<ChangedPages, HypervisorError>;

    /// The numbers alone of [`Domain::changed_pages`], ascending.
    ///
    /// # Errors
    /// As for [`Domain::changed_pages`].
    fn changed_page_numbers(&mut self) -> Result<Vec<u64>, HypervisorError>;

    /// Makes the list of changed pages in every way that there is here, and holds all of them against
    /// a comparison of all memory with the snapshot.
    ///
    /// # Errors
    /// As for [`Domain::changed_pages`].
    fn check_page_lists(&mut self) -> Result<PageCheck, HypervisorError>;

    /// The registers of all vCPUs of a stopped domain.
    ///
    /// # Errors
    /// The monitor does not answer.
    async fn registers(&mut self) -> Result<RegisterSet, HypervisorError>;

    /// Flips one bit of a register of the first vCPU of a stopped domain. Returns its value before and after, in
    /// hexadecimal, most significant digit first.
    ///
    /// # Errors
    /// There is no such register (the error lists those there are), or it cannot be written.
    async fn flip_register(
        &mut self,
        name: &str,
        bit: u32,
    ) -> Result<(String, String), HypervisorError>;

    /// The registers that [`Domain::flip_register`] takes, with their widths in bits.
    ///
    /// # Errors
    /// The debugger stub does not answer.
    async fn writable_registers(&mut self) -> Result<Vec<(String, u32)>, HypervisorError>;

    /// Makes all vCPUs of a stopped domain execute nothing but a jump to itself from now on.
    ///
    /// # Errors
    /// The debugger stub refuses.
    async fn hang(&mut self) -> Result<(), HypervisorError>;

    /// Makes a stopped domain stop again before it executes the instruction at an address of the
    /// address space that it runs in then. A guest that stops by itself, by its signal, lets
    /// virtual time jump by an amount that depends on the host's scheduler; at a breakpoint equal
    /// machines stay equal.
    ///
    /// # Errors
    /// The debugger stub refuses.
    async fn set_breakpoint(
        &mut self,
        address: model::GuestVirtualAddress,
    ) -> Result<(), HypervisorError>;

    /// Takes a breakpoint away.
    ///
    /// # Errors
    /// There is none at this address, or the debugger stub refuses.
    async fn clear_breakpoint(
        &mut self,
        address: model::GuestVirtualAddress,
    ) -> Result<(), HypervisorError>;

    /// Saves a stopped domain, booted or restored, into an empty directory. The domain cannot go on
    /// afterwards.
    ///
    /// # Errors
    /// No room, a snapshot that is there already, or the monitor refuses.
    async fn snapshot(&mut self, directory: &Path) -> Result<Snapshot, HypervisorError>;

    /// Has the hypervisor itself write a stopped domain's whole memory and its registers as text,
    /// as evidence that no code of ours has touched. The memory's file must be new. The domain can
    /// go on afterwards.
    ///
    /// # Errors
    /// No room, a file that is there already, or the monitor refuses.
    async fn export(&mut self, memory: &Path, registers: &Path) -> Result<(), HypervisorError>;

    /// What the guest has changed on its disk and flushed, as an image in QEMU's format that names
    /// no other: what is not allocated in it is as it was. Nothing where it has no disk.
    ///
    /// # Errors
    /// It cannot be opened.
    fn disk_changes(&mut self) -> Result<Option<File>, HypervisorError> {
        Ok(None)
    }

    /// Writes to the disk of a stopped domain, past its guest and past what is recorded: into what it
    /// has changed, which holds the bytes when this returns. The image below stays as it is.
    ///
    /// # Errors
    /// It has no disk, or the monitor refuses. Whether the bytes are there, the caller reads.
    async fn write_disk(&mut self, offset: u64, bytes: &[u8]) -> Result<(), HypervisorError> {
        let _ = (offset, bytes);
        Err(HypervisorError::Unsupported {
            hypervisor: "this hypervisor",
            what: "write to a machine's disk",
        })
    }

    /// Ends a recorder that stands still, and gives its recording. Its guest runs on until it is
    /// off, so that the recording reaches beyond the moment at which it stood.
    ///
    /// # Errors
    /// It is no recorder, its guest does not come to an end, or the recording is not whole.
    async fn recording(self: Box<Self>, limits: WaitLimits) -> Result<Recording, HypervisorError> {
        let _ = limits;
        Err(HypervisorError::Unsupported {
            hypervisor: "this hypervisor",
            what: "record a machine",
        })
    }

    /// What it has used so far.
    fn usage(&self) -> Usage;

    /// Whether the emulator has not ended by itself.
    fn is_there(&self) -> bool {
        true
    }

    /// The emulator's process.
    fn pid(&self) -> i32;

    /// Ends it at once and removes its files.
    async fn destroy(self: Box<Self>);
}

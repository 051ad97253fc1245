//! The machine that replicas are made of: booted once, saved when the guest is ready, kept for
//! later runs.
//!
//! ```text
//!  boot ──► hello, symbols ──resume──► ready ──snapshot──► cache/machines/KEY/
//!                                                             memory        guest memory, sparse
//!  later runs ──────────── load and verify ─────────────────  device        vCPU and devices
//!                                                             symbols       kallsyms of the guest
//!                                                             machine.json  what it is, digests
//! ```
//!
//! The key is a digest of everything that shapes the machine; what is loaded is verified against
//! the digests, since one wrong bit in the template would be the same wrong bit in all replicas.
//! The computation is not part of the machine: it is ordered through the mailbox after a restore.

pub(crate) mod boot;
mod cache;
mod kernel;
mod request;

use crate::error::ControlError;
use crate::progress::{Progress, ProgressSink};
use computation::job::Hello;
pub use hypervisor::Accelerator;
use hypervisor::{Channel, Hypervisor, MachineSpec, Signal, Snapshot};
use introspection::{KernelMap, SymbolTable};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use cache::{memory_of, read_memory};
pub use kernel::{KERNEL_VARIABLE, check as check_kernel, default_kernel};
pub use request::MachineRequest;
pub(crate) use request::{probe_kvm, see_usable};

/// Guest memory of a replica, where nothing else is asked for.
pub const DEFAULT_MEMORY_BYTES: u64 = 128 << 20;

/// Guest memory of a replica with a disk: a distribution's programs, and its kernel's cache.
pub const DISK_MEMORY_BYTES: u64 = 256 << 20;

/// The CPU model of a replica, where nothing else is asked for: all that the accelerator has.
pub const DEFAULT_CPU_MODEL: &str = "max";

/// A machine that replicas can be made of.
#[derive(Debug)]
pub struct PreparedMachine {
    /// What it is.
    pub spec: MachineSpec,
    /// Where its state lies.
    pub snapshot: Snapshot,
    /// How the guest introduced itself.
    pub hello: Hello,
    /// Guest memory at the snapshot, whole: the base that replicas are compared over.
    pub base: Vec<u8>,
    /// The digest of its pages that are not zero, and of their numbers.
    pub base_digest: String,
    /// The guest kernel's symbols, where it gave any.
    pub symbols: Option<KernelMap>,
    /// The digest of the kernel's image.
    pub kernel_digest: String,
    /// The digest of the initramfs.
    pub guest_digest: String,
    /// Whether it was kept from an earlier run.
    pub cached: bool,
    /// Keeps the cached files from being removed while they are in use.
    pub(crate) _in_use: cache::InUse,
}

/// The machine that runs use: QEMU's translator, exact, one vCPU.
///
/// # Errors
/// There is no kernel, or this build holds no guest program.
pub fn standard_spec() -> Result<MachineSpec, ControlError> {
    MachineRequest::default().spec()
}

/// The machine for a command in a disk of the user's: the standard one with room for strangers, the
/// kernel's modules for disks and file systems, and a disk.
///
/// # Errors
/// As for [`standard_spec`]; or the kernel's modules are not there.
pub fn disk_spec() -> Result<MachineSpec, ControlError> {
    let standard = standard_spec()?;
    let program = guest::program().ok_or(ControlError::NoGuestProgram)?;
    let not_ready = |detail: String| ControlError::NotReady { detail };
    // The set-up puts them beside their kernel.
    let modules = standard.kernel.with_file_name("modules");
    let files = guest::disk::files(&modules).map_err(|error| not_ready(error.to_string()))?;
    let files: Vec<guest::ExtraFile<'_>> = files
        .iter()
        .map(|(path, content)| guest::ExtraFile {
            path,
            mode: 0o644,
            content,
        })
        .collect();
    let initramfs = guest::initramfs(program, &files)
        .map_err(|error| not_ready(format!("its initramfs cannot be built: {error}")))?;
    Ok(MachineSpec {
        memory_bytes: DISK_MEMORY_BYTES,
        recorded: true,
        initramfs,
        ..standard
    })
}

/// A machine with our guest program in it.
///
/// # Errors
/// This build holds no guest program.
pub fn spec(
    kernel: PathBuf,
    accelerator: Accelerator,
    signal: Signal,
    channel: Channel,
) -> Result<MachineSpec, ControlError> {
    let program = guest::program().ok_or(ControlError::NoGuestProgram)?;
    let initramfs = guest::initramfs(program, &[]).map_err(|error| ControlError::NotReady {
        detail: format!("its initramfs cannot be built: {error}"),
    })?;
    let deterministic = accelerator == Accelerator::Tcg;
    let options = guest::BootOptions {
        link: guest::Link {
            signal: match signal {
                Signal::Port => guest::Signal::Port,
                Signal::Pci => guest::Signal::Pci,
            },
            channel: match channel {
                Channel::DebugConsole => guest::Channel::Debugcon,
                Channel::Serial => guest::Channel::Serial,
            },
        },
        timing: match accelerator {
            Accelerator::Tcg => guest::Timing::Emulated,
            Accelerator::Kvm => guest::Timing::Hardware,
        },
    };
    Ok(MachineSpec {
        memory_bytes: DEFAULT_MEMORY_BYTES,
        cpu_model: DEFAULT_CPU_MODEL.to_owned(),
        vcpus: 1,
        accelerator,
        deterministic,
        recorded: false,
        kernel,
        initramfs,
        kernel_arguments: guest::kernel_arguments(&options),
        signal,
        channel,
    })
}

/// Loads the machine of a description from a cache directory, or boots it and keeps it there.
///
/// # Errors
/// It cannot be booted, or the cache cannot be written.
pub async fn prepare(
    hypervisor: &Arc<dyn Hypervisor>,
    cache: &Path,
    spec: MachineSpec,
    cpus: &[u32],
    progress: &dyn ProgressSink,
) -> Result<PreparedMachine, ControlError> {
    let cache = cache::MachineCache::open(cache)?;
    let identity = cache::Identity::of(&spec, hypervisor.version())?;
    if let Some(loaded) = cache.load(&identity, &spec) {
        progress.step(Progress::MachineReady { cached: true });
        return Ok(loaded.into_machine(spec, identity, true));
    }
    progress.step(Progress::Booting);
    let unfinished = cache.begin()?;
    boot::boot_into(hypervisor, &spec, cpus, &unfinished).await?;
    let loaded = cache.keep(unfinished, &identity, &spec)?;
    progress.step(Progress::MachineReady { cached: false });
    Ok(loaded.into_machine(spec, identity, false))
}

impl cache::Loaded {
    fn into_machine(
        self,
        spec: MachineSpec,
        identity: cache::Identity,
        cached: bool,
    ) -> PreparedMachine {
        let symbols = SymbolTable::parse_kallsyms(&self.symbols)
            .ok()
            .filter(|table| !table.is_empty())
            .map(KernelMap::new);
        PreparedMachine {
            spec,
            snapshot: self.snapshot,
            hello: self.hello,
            base: self.base,
            base_digest: self.base_digest,
            symbols,
            kernel_digest: identity.kernel_digest,
            guest_digest: identity.guest_digest,
            cached,
            _in_use: self.in_use,
        }
    }
}

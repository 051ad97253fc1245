//! An emulator process: its files, its descriptors, its monitor.
//!
//! The monitor is a connected socket pair that QEMU inherits: there is no path to it, and no wait
//! for one to appear. The snapshot's memory is inherited as a descriptor too, so the emulator's
//! unprivileged user needs no way through our directories.

use crate::error::HypervisorError;
use crate::memory::changed::PageListMethod;
use crate::memory::mapping::GuestMemory;
use crate::process::child::OwnedChild;
use crate::process::run_directory::RunDirectory;
use crate::process::spawn::{SpawnRequest, spawn};
use crate::qemu::binary::QemuBinary;
use crate::qemu::command_line::{Files, MemorySource, arguments};
use crate::qemu::console::Console;
use crate::qemu::domain::QemuDomain;
use crate::qemu::ending::{exited, explain};
use crate::qemu::qmp::Monitor;
use crate::qemu::recorded::{Course as DomainCourse, RecordedPlace};
use crate::traits::{Accelerator, Course, DiskImage, KVM_DEVICE, MachineSpec, Snapshot};
use rustix::thread::{CpuSet, Pid, sched_setaffinity};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use tokio::net::UnixStream;

/// A started emulator whose monitor has not been spoken to.
pub(super) struct Launched {
    child: OwnedChild,
    monitor: UnixStream,
    console: Console,
    directory: PathBuf,
    memory_file: PathBuf,
    memory_bytes: u64,
    vcpus: u32,
    restored: bool,
    cpus: Vec<u32>,
    recorded: Option<RecordedPlace>,
    run: Arc<RunDirectory>,
}

/// Starts an emulator that boots.
pub(super) async fn boot(
    binary: &QemuBinary,
    run: &Arc<RunDirectory>,
    spec: &MachineSpec,
    cpus: &[u32],
) -> Result<Launched, HypervisorError> {
    let directory = new_directory(run)?;
    let memory = directory.join("memory");
    let source = MemorySource::Shared(&memory);
    let recorded = if spec.recorded {
        Some(RecordedPlace::for_boot(&directory, run.user())?)
    } else {
        None
    };
    let place = (directory.as_path(), source, memory.as_path());
    launch((binary, run), spec, place, recorded, (Vec::new(), cpus)).await
}

/// Starts an emulator that waits for a snapshot's state over a private view of its memory.
pub(super) async fn restore(
    binary: &QemuBinary,
    run: &Arc<RunDirectory>,
    spec: &MachineSpec,
    snapshot: &Snapshot,
    cpus: &[u32],
) -> Result<Launched, HypervisorError> {
    let directory = new_directory(run)?;
    let memory = lend(&snapshot.memory, run.user())?;
    let through = PathBuf::from(format!("/proc/self/fd/{}", memory.as_raw_fd()));
    let source = MemorySource::CopyOnWrite(&through);
    let place = (directory.as_path(), source, snapshot.memory.as_path());
    launch(
        (binary, run),
        spec,
        place,
        None,
        (vec![memory.into()], cpus),
    )
    .await
}

/// The same with a disk over an image, recorded or following a recording.
pub(super) async fn restore_with_disk(
    (binary, run): (&QemuBinary, &Arc<RunDirectory>),
    spec: &MachineSpec,
    snapshot: &Snapshot,
    cpus: &[u32],
    (disk, course): (&DiskImage, Course<'_>),
) -> Result<Launched, HypervisorError> {
    let directory = new_directory(run)?;
    let memory = lend(&snapshot.memory, run.user())?;
    let through = PathBuf::from(format!("/proc/self/fd/{}", memory.as_raw_fd()));
    let source = MemorySource::CopyOnWrite(&through);
    let place = (directory.as_path(), source, snapshot.memory.as_path());
    // Opened by us, so that the emulator's user needs no way to it.
    let image = File::open(&disk.path).map_err(HypervisorError::file("open", &disk.path))?;
    let mut recorded = RecordedPlace::for_disk(&directory, run.user(), snapshot, (disk, course))?;
    recorded.image = Some((image.as_raw_fd(), disk.format));
    let inherited = vec![memory.into(), image.into()];
    launch(
        (binary, run),
        spec,
        place,
        Some(recorded),
        (inherited, cpus),
    )
    .await
}

/// Opens a file of ours and lets the emulator's user read it, and never write it: it stays ours,
/// in a directory that nobody else can enter.
pub(super) fn lend(path: &Path, user: Option<u32>) -> Result<File, HypervisorError> {
    let file = File::open(path).map_err(HypervisorError::file("open", path))?;
    if user.is_some() {
        file.set_permissions(fs::Permissions::from_mode(0o444))
            .map_err(HypervisorError::file("set the mode of", path))?;
    }
    Ok(file)
}

async fn launch(
    (binary, run): (&QemuBinary, &Arc<RunDirectory>),
    spec: &MachineSpec,
    (directory, source, memory_file): (&Path, MemorySource<'_>, &Path),
    recorded: Option<RecordedPlace>,
    (mut inherited, cpus): (Vec<OwnedFd>, &[u32]),
) -> Result<Launched, HypervisorError> {
    let console_path = directory.join("console");
    let console = Console::create(&console_path, run.user())?;
    let (kernel, initramfs) = stage(run, spec)?;
    let failed = HypervisorError::file("make", directory.join("monitor"));
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let theirs = blocking(theirs, directory)?;
    let kvm = match spec.accelerator {
        Accelerator::Tcg => None,
        Accelerator::Kvm => Some(open_kvm()?),
    };
    let files = Files {
        monitor: theirs.as_raw_fd(),
        console: &console_path,
        kernel: &kernel,
        initramfs: &initramfs,
        recorded: recorded.as_ref().map(RecordedPlace::files),
        kvm: kvm.as_ref().map(AsRawFd::as_raw_fd),
    };
    let errors_path = directory.join("errors");
    let errors = File::create(&errors_path).map_err(HypervisorError::file("make", &errors_path))?;
    let mut command = Command::new(&binary.path);
    command
        .args(arguments(spec, source, &files))
        .env_clear()
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors);
    inherited.push(theirs);
    inherited.extend(kvm);
    let child = spawn(SpawnRequest {
        command,
        inherited,
        cpus: cpus.to_vec(),
        user: run.user(),
    })
    .await?;
    run.record_process(child.pid())?;
    Ok(Launched {
        child,
        monitor: ours,
        console,
        directory: directory.to_path_buf(),
        memory_file: memory_file.to_path_buf(),
        memory_bytes: spec.memory_bytes,
        vcpus: spec.vcpus,
        restored: matches!(source, MemorySource::CopyOnWrite(_)),
        cpus: cpus.to_vec(),
        recorded,
        run: Arc::clone(run),
    })
}

/// The kernel's virtual machine monitor, opened by us: the emulator's user need not be allowed to.
fn open_kvm() -> Result<OwnedFd, HypervisorError> {
    let opened = File::options().read(true).write(true).open(KVM_DEVICE);
    opened
        .map(OwnedFd::from)
        .map_err(HypervisorError::file("open", KVM_DEVICE))
}

/// QEMU expects a socket that blocks.
fn blocking(stream: UnixStream, directory: &Path) -> Result<OwnedFd, HypervisorError> {
    stream
        .into_std()
        .and_then(|stream| {
            stream.set_nonblocking(false)?;
            Ok(stream.into())
        })
        .map_err(HypervisorError::file("make", directory.join("monitor")))
}

fn new_directory(run: &RunDirectory) -> Result<PathBuf, HypervisorError> {
    run.domain_directory(&uuid::Uuid::now_v7().simple().to_string())
}

/// Copies kernel and initramfs into the run directory, once for all replicas: their own place may
/// be out of reach for the emulator's user.
fn stage(run: &RunDirectory, spec: &MachineSpec) -> Result<(PathBuf, PathBuf), HypervisorError> {
    let kernel_metadata =
        fs::metadata(&spec.kernel).map_err(HypervisorError::file("open", &spec.kernel))?;
    let mut identity = DefaultHasher::new();
    (&spec.kernel, kernel_metadata.len(), kernel_metadata.mtime()).hash(&mut identity);
    let kernel = run
        .path()
        .join(format!("kernel-{:016x}", identity.finish()));
    if !kernel.exists() {
        let image = fs::read(&spec.kernel).map_err(HypervisorError::file("read", &spec.kernel))?;
        place(run, &kernel, &image)?;
    }
    let mut identity = DefaultHasher::new();
    spec.initramfs.hash(&mut identity);
    let initramfs = run
        .path()
        .join(format!("initramfs-{:016x}", identity.finish()));
    if !initramfs.exists() {
        place(run, &initramfs, &spec.initramfs)?;
    }
    Ok((kernel, initramfs))
}

/// Writes a file whole or not at all, readable for the emulator.
fn place(run: &RunDirectory, path: &Path, content: &[u8]) -> Result<(), HypervisorError> {
    let unfinished = run
        .path()
        .join(format!("unfinished-{}", uuid::Uuid::now_v7().simple()));
    fs::write(&unfinished, content).map_err(HypervisorError::file("write", &unfinished))?;
    fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o444))
        .map_err(HypervisorError::file("set the mode of", &unfinished))?;
    fs::rename(&unfinished, path).map_err(HypervisorError::file("place", path))
}

impl Launched {
    /// Speaks to the monitor and finds guest memory.
    pub(super) async fn into_domain(
        mut self,
        page_list: PageListMethod,
    ) -> Result<QemuDomain, HypervisorError> {
        let monitor = tokio::select! {
            monitor = Monitor::open(self.monitor) => monitor,
            status = self.child.wait() => {
                let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                return Err(exited(&self.directory, "starting", &status));
            }
        };
        let monitor = match monitor {
            Ok(monitor) => monitor,
            Err(error) => return Err(explain(&mut self.child, &self.directory, error).await),
        };
        let memory = GuestMemory::find(self.child.pid(), &self.memory_file, self.memory_bytes)?;
        let threads = vcpu_threads(&monitor).await?;
        spread(&threads, &self.cpus)?;
        Ok(QemuDomain {
            child: self.child,
            monitor,
            console: self.console,
            directory: self.directory,
            memory,
            memory_file: self.memory_file,
            memory_bytes: self.memory_bytes,
            restored: self.restored,
            recorded: self.recorded.map(DomainCourse::begin),
            threads,
            vcpus: self.vcpus,
            debugger: None,
            page_list,
            run: self.run,
        })
    }
}

/// The threads that execute vCPUs.
async fn vcpu_threads(monitor: &Monitor) -> Result<Vec<i32>, HypervisorError> {
    let answer = monitor.execute(qapi::qmp::query_cpus_fast {}).await?;
    let threads: Vec<i32> = answer
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|cpu| i32::try_from(cpu.get("thread-id")?.as_i64()?).ok())
        .collect();
    // Under an instruction count one thread executes all vCPUs.
    let mut seen = std::collections::BTreeSet::new();
    let threads: Vec<i32> = threads
        .into_iter()
        .filter(|thread| seen.insert(*thread))
        .collect();
    if threads.is_empty() {
        return Err(HypervisorError::Monitor {
            command: "query-cpus-fast".to_owned(),
            detail: "it names no vCPU thread".to_owned(),
        });
    }
    Ok(threads)
}

/// Binds each of several vCPU threads to a host CPU of its own, as far as there are any: their
/// process is bound to all of them.
fn spread(threads: &[i32], cpus: &[u32]) -> Result<(), HypervisorError> {
    if threads.len() < 2 || cpus.len() < 2 {
        return Ok(());
    }
    for (&thread, &cpu) in threads.iter().zip(cpus.iter().cycle()) {
        let mut set = CpuSet::new();
        if let Some(cpu) = usize::try_from(cpu)
            .ok()
            .filter(|&cpu| cpu < CpuSet::MAX_CPU)
        {
            set.set(cpu);
        }
        sched_setaffinity(Pid::from_raw(thread), &set).map_err(|error| {
            HypervisorError::Monitor {
                command: "query-cpus-fast".to_owned(),
                detail: format!("thread {thread} cannot be bound to cpu {cpu}: {error}"),
            }
        })?;
    }
    Ok(())
}

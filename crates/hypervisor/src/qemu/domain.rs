//! One machine under QEMU.
//!
//! ```text
//!            GUEST_PANICKED, STOP            cont
//!  running ───────────────────────► stopped ──────► running
//!     │ SHUTDOWN, STOP │ breakpoint    ▲
//!     ├────────────────────────────────┤
//!     │ limit reached: stop            │
//!     └────────────────────────────────┘
//! ```
//!
//! The guest's signal is the pvpanic device: QEMU says `GUEST_PANICKED` and pauses the vCPU right
//! after the write. A breakpoint of ours is a bare `STOP`. A power-off, reset or triple fault is `SHUTDOWN` with its reason; the machine
//! is kept, stopped, so that its state can be captured.

use crate::error::HypervisorError;
use crate::memory::changed::{self, ChangedPages, PageCheck, PageListMethod};
use crate::memory::mapping::GuestMemory;
use crate::memory::sparse;
use crate::process::child::OwnedChild;
use crate::process::run_directory::RunDirectory;
use crate::process::{page_faults, process_cpu_ns, thread_cpu_ns};
use crate::qemu::console::Console;
use crate::qemu::debugger::Debugger;
use crate::qemu::ending::{exited, explain};
use crate::qemu::qmp::{Monitor, MonitorEvent};
use crate::qemu::recorded::Course;
use crate::qemu::recording::Recording;
use crate::qemu::registers;
use crate::traits::{Domain, RegisterSet, Snapshot, Stop, Usage, WaitLimits};
use async_trait::async_trait;
use model::{Elapsed, GuestPhysicalAddress, GuestVirtualAddress};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often a running domain's CPU time is held against its limit.
const LIMIT_CHECK: Duration = Duration::from_millis(100);

/// How long an emulator may take to pause a machine that has reached its limit. Whether it answers
/// or not, the machine hangs; only its state is lost.
const PAUSE_DEADLINE: Duration = Duration::from_secs(20);

/// `jmp .`: the shortest program that never ends.
const JUMP_TO_ITSELF: [u8; 2] = [0xeb, 0xfe];

/// A QEMU process and the wires to it.
#[derive(Debug)]
pub(super) struct QemuDomain {
    pub(super) child: OwnedChild,
    pub(super) monitor: Monitor,
    pub(super) console: Console,
    pub(super) directory: PathBuf,
    pub(super) memory: GuestMemory,
    /// What it runs on: the snapshot's memory, or a file of its own if it was booted.
    pub(super) memory_file: PathBuf,
    pub(super) memory_bytes: u64,
    /// Whether its memory is a private view of a snapshot's.
    pub(super) restored: bool,
    /// What a machine with a disk has besides.
    pub(super) recorded: Option<Course>,
    pub(super) threads: Vec<i32>,
    pub(super) vcpus: u32,
    pub(super) debugger: Option<Debugger>,
    pub(super) page_list: PageListMethod,
    pub(super) run: Arc<RunDirectory>,
}

enum Wake {
    Event(Option<MonitorEvent>),
    Ended(String),
    Look,
}

impl QemuDomain {
    /// Waits for one of the events that a domain lives by.
    async fn wake(&mut self, ticker: &mut tokio::time::Interval) -> Wake {
        tokio::select! {
            event = self.monitor.next_event() => Wake::Event(event),
            status = self.child.wait() => Wake::Ended(
                status.map_or_else(|error| error.to_string(), |status| status.to_string()),
            ),
            () = self.console.fill() => Wake::Look,
            _ = ticker.tick() => Wake::Look,
        }
    }

    /// What a series of events up to and including `STOP` means.
    fn meaning(event: &MonitorEvent, pending: &mut Option<Stop>) -> bool {
        match event.name.as_str() {
            "GUEST_PANICKED" => *pending = Some(Stop::Signal),
            "SHUTDOWN" => {
                let reason = event.data.get("reason").and_then(|reason| reason.as_str());
                *pending = Some(Stop::Shutdown(reason.unwrap_or("unknown").to_owned()));
            }
            "BLOCK_IO_ERROR" => {
                let reason = event.data.get("reason").and_then(|reason| reason.as_str());
                let reason = reason.unwrap_or("of an unknown reason");
                *pending = Some(Stop::Shutdown(format!("its disk cannot be used: {reason}")));
            }
            "STOP" => return true,
            _ => {}
        }
        false
    }

    fn over(&self, limits: WaitLimits, since: Instant) -> bool {
        let cpu = Duration::from_nanos(self.usage().vcpu_cpu.ns());
        cpu >= limits.cpu || since.elapsed() >= limits.wall
    }

    /// Pauses a running machine at its limit; it may have stopped by itself in the meantime. An
    /// emulator that stands still itself, and does not answer, is ended: nothing else would ever
    /// end it, and its machine hangs like any other.
    pub(super) async fn pause(
        &mut self,
        mut pending: Option<Stop>,
    ) -> Result<Stop, HypervisorError> {
        let stop = qapi::qmp::stop {};
        match self.monitor.execute_within(stop, PAUSE_DEADLINE).await {
            Ok(_) => {}
            Err(HypervisorError::Deadline { what, after }) => {
                tracing::warn!(what, ?after, "an emulator does not answer, and is ended");
                self.child.kill();
                return Ok(pending.unwrap_or(Stop::Deadline));
            }
            Err(error) => return Err(explain(&mut self.child, &self.directory, error).await),
        }
        while let Some(event) = self.monitor.waiting_event() {
            Self::meaning(&event, &mut pending);
        }
        self.console.drain();
        Ok(pending.unwrap_or(Stop::Deadline))
    }

    /// The debugger stub. Not of a follower: QEMU saves a replaying machine when one is attached,
    /// into its disk.
    async fn debugger(&mut self) -> Result<&mut Debugger, HypervisorError> {
        if self.watchdog().is_some() {
            return Err(HypervisorError::Unsupported {
                hypervisor: "qemu",
                what: "debug a machine that follows a recording",
            });
        }
        if self.debugger.is_none() {
            // A socket's path has at most 107 bytes, which a run directory may use up alone. The
            // emulator works in its directory, and we reach that by descriptor.
            self.monitor
                .human("gdbserver unix:debugger,server=on,wait=off")
                .await?;
            let directory = File::open(&self.directory)
                .map_err(HypervisorError::file("open", &self.directory))?;
            let socket = format!("/proc/self/fd/{}/debugger", directory.as_raw_fd());
            self.debugger = Some(Debugger::connect(Path::new(&socket)).await?);
        }
        self.debugger.as_mut().ok_or(HypervisorError::Unsupported {
            hypervisor: "qemu",
            what: "debug this domain",
        })
    }

    fn only_restored(&self) -> Result<(), HypervisorError> {
        if self.restored {
            return Ok(());
        }
        Err(HypervisorError::Unsupported {
            hypervisor: "qemu",
            what: "list changed pages of a machine that was not restored",
        })
    }

    fn check_range(&self, address: u64, length: usize) -> Result<(), HypervisorError> {
        let end = address.checked_add(length as u64);
        if end.is_some_and(|end| end <= self.memory_bytes) {
            Ok(())
        } else {
            Err(HypervisorError::OutsideMemory {
                address,
                memory_bytes: self.memory_bytes,
            })
        }
    }
}

#[async_trait]
impl Domain for QemuDomain {
    async fn resume(&mut self) -> Result<(), HypervisorError> {
        while self.monitor.waiting_event().is_some() {}
        match self.monitor.execute(qapi::qmp::cont {}).await {
            Ok(_) => Ok(()),
            Err(error) => Err(explain(&mut self.child, &self.directory, error).await),
        }
    }

    async fn wait_stop(&mut self, limits: WaitLimits) -> Result<Stop, HypervisorError> {
        let since = Instant::now();
        let mut ticker = interval(LIMIT_CHECK);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pending = None;
        let mut watchdog = self.watchdog();
        loop {
            match self.wake(&mut ticker).await {
                Wake::Event(Some(event)) => {
                    if Self::meaning(&event, &mut pending) {
                        self.console.drain();
                        return Ok(pending.unwrap_or_else(|| self.bare_stop()));
                    }
                }
                Wake::Event(None) => {
                    let closed = HypervisorError::Monitor {
                        command: "waiting for the guest".to_owned(),
                        detail: "the connection was closed".to_owned(),
                    };
                    return Err(explain(&mut self.child, &self.directory, closed).await);
                }
                Wake::Ended(status) if watchdog.is_some() => {
                    let gave_up = exited(&self.directory, "following a recording", &status);
                    return Ok(Stop::OutOfStep(gave_up.to_string()));
                }
                Wake::Ended(status) => {
                    return Err(exited(&self.directory, "the guest was running", &status));
                }
                Wake::Look => {}
            }
            if pending.is_none() && self.over(limits, since) {
                return self.pause(pending).await;
            }
            if let Some(watchdog) = &mut watchdog
                && pending.is_none()
                && let Some(stop) = self.out_of_step(watchdog).await?
            {
                return Ok(stop);
            }
        }
    }

    fn take_console(&mut self) -> Vec<u8> {
        self.console.take()
    }

    fn read_memory(
        &mut self,
        address: GuestPhysicalAddress,
        into: &mut [u8],
    ) -> Result<(), HypervisorError> {
        self.check_range(address.0, into.len())?;
        self.memory.read(address.0, into)
    }

    fn write_memory(
        &mut self,
        address: GuestPhysicalAddress,
        bytes: &[u8],
    ) -> Result<(), HypervisorError> {
        self.check_range(address.0, bytes.len())?;
        self.memory.write(address.0, bytes)
    }

    async fn patch_memory(
        &mut self,
        address: GuestPhysicalAddress,
        bytes: &[u8],
    ) -> Result<(), HypervisorError> {
        self.check_range(address.0, bytes.len())?;
        if self.watchdog().is_some() {
            // Data only: code that was translated stays as it was.
            return self.memory.write(address.0, bytes);
        }
        let debugger = self.debugger().await?;
        debugger.write_physical(address.0, bytes).await
    }

    fn changed_pages(&mut self) -> Result<ChangedPages, HypervisorError> {
        let numbers = self.changed_page_numbers()?;
        changed::read_pages(&self.memory, numbers)
    }

    fn changed_page_numbers(&mut self) -> Result<Vec<u64>, HypervisorError> {
        self.only_restored()?;
        changed::list(&self.memory, self.page_list, &self.memory_file)
    }

    fn check_page_lists(&mut self) -> Result<PageCheck, HypervisorError> {
        self.only_restored()?;
        changed::check(&self.memory, &self.memory_file)
    }

    async fn registers(&mut self) -> Result<RegisterSet, HypervisorError> {
        let text = self.monitor.human("info registers -a").await?;
        Ok(registers::parse(&text))
    }

    async fn flip_register(
        &mut self,
        name: &str,
        bit: u32,
    ) -> Result<(String, String), HypervisorError> {
        self.debugger().await?.flip(name, bit).await
    }

    async fn writable_registers(&mut self) -> Result<Vec<(String, u32)>, HypervisorError> {
        let debugger = self.debugger().await?;
        let registers = debugger.registers().iter();
        Ok(registers
            .map(|register| (register.name.clone(), register.bits))
            .collect())
    }

    async fn hang(&mut self) -> Result<(), HypervisorError> {
        // Each processor stands at its own instruction; the stub reads memory as the chosen one.
        for vcpu in (0..self.vcpus).rev() {
            let debugger = self.debugger().await?;
            debugger.choose(vcpu).await?;
            let at = debugger.value("rip").await?;
            debugger.write_virtual(at, &JUMP_TO_ITSELF).await?;
        }
        Ok(())
    }

    async fn set_breakpoint(
        &mut self,
        address: GuestVirtualAddress,
    ) -> Result<(), HypervisorError> {
        self.debugger().await?.set_breakpoint(address.0).await
    }

    async fn clear_breakpoint(
        &mut self,
        address: GuestVirtualAddress,
    ) -> Result<(), HypervisorError> {
        self.debugger().await?.clear_breakpoint(address.0).await
    }

    async fn snapshot(&mut self, directory: &Path) -> Result<Snapshot, HypervisorError> {
        match self.recorded {
            Some(_) => self.save_recorded(directory).await,
            None => self.save(directory).await,
        }
    }

    async fn export(&mut self, memory: &Path, registers: &Path) -> Result<(), HypervisorError> {
        let written = self.directory.join("export");
        let path = written.to_string_lossy().into_owned();
        let save = qapi::qmp::pmemsave {
            filename: path,
            size: self.memory_bytes,
            val: 0,
        };
        self.monitor.execute(save).await?;
        sparse::copy(&written, memory)?;
        fs::remove_file(&written).map_err(HypervisorError::file("remove", &written))?;
        let text = self.monitor.human("info registers -a").await?;
        fs::write(registers, text).map_err(HypervisorError::file("write", registers))
    }

    fn disk_changes(&mut self) -> Result<Option<File>, HypervisorError> {
        self.open_overlay()
    }

    async fn write_disk(&mut self, offset: u64, bytes: &[u8]) -> Result<(), HypervisorError> {
        self.write_overlay(offset, bytes).await
    }

    async fn recording(self: Box<Self>, limits: WaitLimits) -> Result<Recording, HypervisorError> {
        self.end_recording(limits).await
    }

    fn usage(&self) -> Usage {
        let pid = self.child.pid();
        let cpu_ns = self
            .threads
            .iter()
            .filter_map(|&thread| thread_cpu_ns(pid, thread))
            .sum();
        Usage {
            vcpu_cpu: Elapsed::from_ns(cpu_ns),
            host_page_faults: page_faults(pid).unwrap_or(0),
        }
    }

    fn is_there(&self) -> bool {
        process_cpu_ns(self.child.pid()).is_some()
    }

    fn pid(&self) -> i32 {
        self.child.pid()
    }

    async fn destroy(mut self: Box<Self>) {
        self.child.kill();
    }
}

impl Drop for QemuDomain {
    fn drop(&mut self) {
        self.child.kill();
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            tracing::warn!(path = %self.directory.display(), %error, "a domain's directory could not be removed");
        }
    }
}

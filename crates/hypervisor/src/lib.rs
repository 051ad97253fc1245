//! Hypervisors behind two small traits.
//!
//! ```text
//!  control ──► Hypervisor ──► Domain        (traits.rs: when each call is made, what must hold)
//!                  │             │
//!                QEMU ───────────┤
//!                  │             ├─ qemu/qmp        the monitor: commands by crate `qapi`, events by name
//!                  │             ├─ qemu/debugger   registers and code, over the gdb remote protocol
//!                  │             ├─ memory/         guest memory from outside: read, write, changed pages
//!                  │             └─ process/        spawned so that it dies with us; swept if it did not
//!                  └─ run directory: private, locked, swept by the next command
//!                live/: the disks of machines that others have started, held at one moment
//!                sim: a deterministic fake, for tests: no command reaches it
//! ```
//!
//! Invariants:
//! * a domain that this crate spawned never outlives this process;
//! * another instance's domains and files are never touched;
//! * no path, name or byte that a guest controls is used to open anything;
//! * every wait has a deadline.
//!
//! Deliberately absent: what a computation is, what a difference means, where results are kept.

pub mod error;
pub mod host;
pub mod image_tool;
pub mod live;
pub mod memory;
pub mod process;
pub mod qemu;
pub mod sim;
pub mod traits;

pub use error::HypervisorError;
pub use host::{CpuSlot, HostInfo};
pub use memory::changed::{ChangedPages, PageCheck, PageListMethod};
pub use process::run_directory::{RunDirectory, RunRoot, Swept};
pub use qemu::QemuHypervisor;
pub use qemu::recording::Recording;
pub use traits::{
    Accelerator, Capabilities, Channel, Course, DiskFormat, DiskImage, Domain, Hypervisor,
    KVM_DEVICE, MAX_VCPUS, MachineSpec, RegisterSet, Signal, Snapshot, Stop, Usage, WaitLimits,
};

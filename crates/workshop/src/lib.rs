//! A Linux guest for tests, benches and campaigns: it boots on disks of theirs and does what a
//! script says, so that a disk is what a kernel makes of it, and not what we believe it would.
//!
//! ```text
//! Workshop (disks, files, modules, channels) ──boot(script)──► Guest
//!     Guest: wait_for(mark) · say(line) · end() → Ended · cut_off()
//!
//! in the guest: script ── stdout, stderr, marks ──► virtio port ──► QEMU's stdout ──► us
//! ```
//!
//! The kernel is the one that set-up unpacked for the product's machines, with its modules beside
//! it; all programs are one static busybox. The disks are `/dev/vda`, `/dev/vdb`, … in their order.
//! A script runs under `sh -eu` as root, from a file system in memory, and has two words more:
//! `mark NAME` tells us that it came so far, and `hear` prints the next line that we say. When it
//! ends, its file systems are unmounted before [`Guest::end`] returns; [`Guest::cut_off`] is a power
//! loss instead.
//!
//! What busybox cannot do, the test's own program does: see [`inside`].
//!
//! Every wait has a deadline. A guest ends with its [`Guest`], and with the thread that booted it.
//!
//! Not part of the product: only tests may depend on this crate, and the project's chores.

mod archive;
mod disk;
mod guest;
pub mod inside;
mod log;
#[path = "../../guest/src/modules.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the file is the product's own: a guest of tests loads modules as one of the product does"
)]
mod modules;
mod part;
mod program;
mod workshop;

pub use disk::Disk;
pub use guest::{Ended, Guest};
pub use log::WriteLog;
pub use part::kernel;
pub use workshop::Workshop;

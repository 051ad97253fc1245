//! The guest side of a run, as the host needs it: the program that is init in the machine, the
//! initramfs that carries it, and the kernel's command line that tells it how to reach the host.
//!
//! | module | holds |
//! |---|---|
//! | [`boot`] | how guest and host reach each other, and the kernel's command line |
//! | [`initramfs`](mod@initramfs) | the archive that the kernel unpacks and starts |
//! | [`modules`] | which modules of the kernel a guest needs, and in which order |
//! | [`disk`] | what a guest finds that has a disk |
//! | [`program`](mod@program) | the static program that was embedded at build time |
//! | `space` | its memory, mapped by pages |
//! | [`system`] | the guest's operating system, as a computation uses it |
//!
//! What guest and host say to each other is `computation::job`. The program itself is the binary
//! `vardoger-guest` of this crate. Everything here but [`system`] and [`modules`] is pure: equal arguments give
//! equal bytes.

pub mod boot;
pub mod disk;
pub mod initramfs;
pub mod modules;
pub mod program;
mod space;
pub mod system;

pub use boot::{
    BootOptions, Channel, Link, SETTLE_SECONDS, Signal, Timing, kernel_arguments, settle_time,
    settling,
};
pub use initramfs::{ExtraFile, InitramfsError, initramfs};
pub use program::program;
pub use system::Linux;

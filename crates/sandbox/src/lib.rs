//! Runs a worker on untrusted input, in a process of its own under limits.
//!
//! ```text
//!  ask ── starts ──► worker ── enter: order and files arrive on its standard input, a socket
//!   │                            │  namespaces, limits, Landlock, a filter of system calls: no file
//!   │                            │  opened or written, no process, no socket, no privilege; memory
//!   │                            │  and CPU time have an end; it dies with its parent
//!   │                            ▼
//!   │                         reads the first byte of the input, works, writes its answer
//!   ◄──── standard output: at most so many bytes, within so much time ────┘
//! ```
//!
//! The input comes as open descriptors, so that the worker needs no path and can open nothing. The
//! worker is a program of ours and confines itself before it looks at the input: what the input
//! makes it do afterwards, it does within the limits. The answer of a worker that the input has
//! taken over is as hostile as the input: it is bounded, and who asked must read it with care.
//! [`converse`] is the same for work that one answer does not hold: the worker's messages are heard
//! one by one, and replied to. [`Attempt`] is the proof: each is a way out that a worker is to try,
//! and must not find.

mod ask;
mod attempt;
mod confinement;
mod conversation;
mod enter;
mod error;
mod hands;
mod process;
mod system_calls;

pub use ask::ask;
pub use attempt::{Attempt, Refusal, attempt, carry_out};
pub use confinement::{Confinement, Layer};
pub use conversation::{Conversation, converse};
pub use enter::{Entered, enter, enter_with};
pub use error::SandboxError;
pub use hands::Hands;

use std::time::Duration;

/// The most files that a worker is given: the kernel passes at most 253 descriptors at once.
pub const MAX_FILES: usize = 128;

/// What a worker may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Its address space, the program itself included.
    pub memory_bytes: u64,
    /// Its CPU time, in whole seconds.
    pub cpu_s: u64,
    /// Wall time from its start to the end of its answer; of a conversation, the longest silence.
    pub wall: Duration,
    /// The length of its answer; of a conversation, of each message.
    pub answer_bytes: usize,
}

/// The order as it is sent: memory in bytes and CPU time in seconds, each as a little-endian
/// 64-bit number.
const ORDER_BYTES: usize = 16;

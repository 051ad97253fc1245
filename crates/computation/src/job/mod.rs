//! Guest protocol 1: what the host orders, and what the guest says.
//!
//! ```text
//! host → guest   the mailbox: 4 pages of guest memory, written while the guest stands still
//!                VDJOB1\n │ u32 length, little-endian │ JSON of a Job
//!
//! guest → host   the channel: lines of text       vd1 KIND PAYLOAD\n
//!
//! hello ─► (stop: host copies the symbols) ─► ready ─► (stop: host snapshots, writes the job)
//!   ─► log ─► buffer… ─► [ mark ─► (stop) ]… ─► metric… file… data… result ─► mark end ─► (stop: terminal)
//!   failed ─► (stop) in place of anything after hello
//! ```
//!
//! A stop on the way is exact only for replicas that go on from one snapshot taken there: while an
//! instruction-counting QEMU comes to a stop that the guest asked for, its virtual clock may jump
//! to the next timer, in some replicas and not in others. The guest reports the metric `stop_ticks`
//! so that such a jump is seen. The terminal stop is not affected: nothing runs after it.
//!
//! The host trusts nothing that comes from the guest: see [`reader`] for the limits. The guest
//! trusts the host, and still refuses a job that it cannot read.

mod command;
mod error;
pub mod files;
pub mod line;
pub mod mailbox;
mod mark;
pub mod message;
pub mod program;
pub mod reader;
mod text;

pub use command::CommandJob;
pub use error::{JobError, ProtocolError};
pub use files::{FileAssembler, GuestFile};
pub use line::{parse_line, write_line};
pub use mailbox::{MAILBOX_BYTES, MAILBOX_PAGES, MAX_STEPS, decode_job, encode_job};
pub use mark::{Mark, ParseMarkError};
pub use message::{
    Buffer, Extent, FileHeader, Hello, JobResult, MAX_EXTENTS, MarkReached, Message, Metric,
    Symbols, file_messages,
};
pub use program::{ExitStatus, InputFile, ProgramEnd, ProgramJob, StreamEnd};
pub use reader::{LineReader, Loss};
pub use text::{MAX_LINE_BYTES, is_hidden, safe_name, sanitise};

use serde::{Deserialize, Serialize};

/// The version of the protocol that this crate speaks.
pub const PROTOCOL: u32 = 1;

/// What the guest is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The protocol's version: [`PROTOCOL`].
    pub protocol: u32,
    /// The computation's name.
    pub computation: String,
    /// The seed of its input.
    pub seed: u64,
    /// How many steps it takes, from 1 to [`MAX_STEPS`].
    pub steps: u64,
    /// Where the guest stops besides the end: at most [`mailbox::MAX_STOPS`], in any order.
    pub stops: Vec<Mark>,
    /// How it stops there.
    pub stop_by: StopBy,
    /// The user's program that it is to start, in place of a computation of the library.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<ProgramJob>,
    /// The command that it is to start in the file system of its disk, in place of either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandJob>,
}

/// How a guest stops at a mark on its way. At its end it always signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopBy {
    /// By the signal, as at the end. Where virtual time is counted in instructions, a signalled
    /// stop lets it jump by an amount that the host's scheduler decides: the next timer interrupt
    /// then comes elsewhere in each replica.
    #[default]
    Signal,
    /// By calling a waypoint, where the host has set a breakpoint: the first, the second, the
    /// first again, and so on. Equal replicas stay equal.
    Waypoint,
}

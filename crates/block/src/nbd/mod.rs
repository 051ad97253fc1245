//! A client of the network block protocol, as hypervisors export disks by it.
//!
//! ```text
//!  negotiation                                     transmission
//!  ◄── magic, flags                                ──► request: read, offset, length, cookie
//!  ──► structured replies? ◄── yes                 ──► request … (a window of them on the way)
//!  ──► contexts?           ◄── name, number        ◄── chunk of a cookie: data, or zeros
//!  ──► go: this export     ◄── size, limits        ◄── chunk: that was all
//! ```
//!
//! Structured replies are asked for and must be granted: without them there are no holes and no
//! [contexts](Context). A context is what an export knows of its blocks: which are allocated
//! (`base:allocation`), which are dirty (`qemu:dirty-bitmap:NAME`).
//!
//! Source: the protocol's specification (`doc/proto.md` of the NBD project). The server is not
//! trusted: every length is held against a limit and against what was asked for, and no text of its
//! is obeyed.
//!
//! Deliberately absent: writing, TLS (exports are sockets of this host), resuming.

mod export;
mod negotiate;
mod wire;

pub use export::{Context, Export, Extent};

use std::io;
use thiserror::Error;

/// What contexts say of blocks: the one that says what is allocated.
pub const ALLOCATION: &str = "base:allocation";

/// Of [`ALLOCATION`]: nothing is allocated there.
pub const HOLE: u32 = 1;

/// Of [`ALLOCATION`]: it reads as zeros.
pub const ZERO: u32 = 2;

/// Of a dirty bitmap: it was written since.
pub const DIRTY: u32 = 1;

/// The name of the context that a dirty bitmap is.
#[must_use]
pub fn dirty_bitmap(name: &str) -> String {
    format!("qemu:dirty-bitmap:{name}")
}

/// Why an export cannot be used.
#[derive(Debug, Error)]
pub enum NbdError {
    /// The connection broke.
    #[error("the export's server cannot be reached any more: {0}")]
    Connection(#[from] io::Error),
    /// Something failed on this connection before.
    #[error("the connection to the export failed before and is not used any more")]
    Broken,
    /// The server does not speak as it should.
    #[error("the export's server breaks the protocol: {0}")]
    Protocol(&'static str),
    /// The server does not do what is needed.
    #[error("the export's server refuses {what}{}", said(message))]
    Refused {
        /// What was asked for.
        what: String,
        /// The server's own words, stripped of what is not printable.
        message: String,
    },
    /// The server could not carry a request out.
    #[error(
        "the export cannot be read at byte {offset}: error {code}{}",
        said(message)
    )]
    Failed {
        /// Where.
        offset: u64,
        /// The protocol's number: those of Linux.
        code: u32,
        /// The server's own words, stripped of what is not printable.
        message: String,
    },
    /// It was asked for what there is not.
    #[error("{bytes} bytes at byte {offset} reach past the end of the export at byte {size_bytes}")]
    PastEnd {
        /// Where.
        offset: u64,
        /// How much.
        bytes: u64,
        /// The size of the export.
        size_bytes: u64,
    },
    /// The export has no such context.
    #[error("the export has no context `{0}`")]
    NoContext(String),
}

fn said(message: &str) -> String {
    if message.is_empty() {
        String::new()
    } else {
        format!(": {message}")
    }
}

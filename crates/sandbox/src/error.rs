//! Why a worker gave no answer.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;
use thiserror::Error;

/// Why a worker gave no answer.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// More files are to be passed than the kernel takes at once.
    #[error("pass {files} files to a worker: at most {limit} are passed")]
    TooManyFiles {
        /// How many there are.
        files: usize,
        /// The most.
        limit: usize,
    },
    /// The worker could not be started, spoken to or listened to.
    #[error("{doing} worker {program}: {source}")]
    Worker {
        /// What was attempted, as a verb.
        doing: &'static str,
        /// The worker's program.
        program: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The answer has no end in sight.
    #[error("the worker's answer is longer than {limit} bytes")]
    AnswerTooLong {
        /// The most that it may have.
        limit: usize,
    },
    /// It ended well, but in the middle of a message.
    #[error("the worker ended in the middle of a message")]
    BrokenOff,
    /// There was no whole answer in time.
    #[error("the worker was not done within {} s", after.as_secs_f32())]
    Deadline {
        /// How long it was waited for.
        after: Duration,
    },
    /// It used up its CPU time.
    #[error("the worker used up its {limit_s} s of CPU time")]
    Cpu {
        /// The most that it may use.
        limit_s: u64,
    },
    /// It broke off, as a program does that gets no more memory.
    #[error("the worker broke off: it may use {limit_bytes} bytes of memory")]
    Memory {
        /// The most that it may use.
        limit_bytes: u64,
    },
    /// It asked the kernel for what is not on its list.
    #[error("the worker asked for what it may not do, and was ended")]
    Forbidden,
    /// It ended in another way that is no success.
    #[error("the worker ended with {status}")]
    Ended {
        /// How.
        status: ExitStatus,
    },
    /// We were started as a worker, but nobody gave an order.
    #[error("a worker is started by vardoger itself, with its order on standard input")]
    NoOrder,
    /// A limit could not be set.
    #[error("confine the worker: {source}")]
    Confine {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

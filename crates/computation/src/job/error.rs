//! What can be wrong with a job and with a line of the channel.

/// Why a job cannot be written to, or read from, a mailbox.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The mailbox does not begin with the magic: nothing was written to it.
    #[error("mailbox holds no job")]
    NoMagic,
    /// The length stands for more than the mailbox holds.
    #[error("job of {found} bytes does not fit the mailbox, which holds {limit}")]
    TooLong {
        /// The job's length.
        found: usize,
        /// The most that fits.
        limit: usize,
    },
    /// The text is not a job.
    #[error("parse job: {0}")]
    Json(#[from] serde_json::Error),
    /// The job is of another protocol.
    #[error("job has protocol {found}, this program speaks {}", super::PROTOCOL)]
    Protocol {
        /// The version that the job names.
        found: u32,
    },
    /// The computation's name is empty, too long or has characters that no name has.
    #[error("job names no computation")]
    Name,
    /// There is nothing to do, or more than any budget allows.
    #[error("job has {found} steps, not 1 to {}", super::MAX_STEPS)]
    Steps {
        /// The steps that the job asks for.
        found: u64,
    },
    /// A program has no bytes, or more than a guest has room for.
    #[error(
        "payload of {found} bytes: program, standard input and files take 1 to {} bytes",
        super::program::MAX_PAYLOAD_BYTES
    )]
    Payload {
        /// The bytes of all parts.
        found: u64,
    },
    /// A program has more input files than their names have room for.
    #[error(
        "{found} files for a program, at most {} are allowed",
        super::program::MAX_INPUT_FILES
    )]
    TooManyFiles {
        /// How many it has.
        found: usize,
    },
    /// Arguments and names of a program are too long for the mailbox.
    #[error(
        "arguments and file names of {found} bytes, at most {} are allowed",
        super::program::MAX_WORDS_BYTES
    )]
    Words {
        /// Their bytes.
        found: usize,
    },
    /// A command has no word that could be started.
    #[error("there is no command to start")]
    NoCommand,
    /// An argument holds what ends an argument.
    #[error("an argument holds a zero byte")]
    ZeroByte,
    /// A file's name has a directory in it, or characters that cannot be shown.
    #[error("`{0}` is no name of a file that a guest can be given")]
    FileName(String),
    /// Two files have one name.
    #[error("there is a file `{0}` twice")]
    DuplicateFile(String),
    /// There are more stops than a job may have.
    #[error(
        "job has {found} stops, at most {} are allowed",
        super::mailbox::MAX_STOPS
    )]
    TooManyStops {
        /// How many it has.
        found: usize,
    },
    /// A program is to stop where no mark of it is.
    #[error("stop {mark}: a program has the marks start and end alone")]
    NoSuchMark {
        /// The stop.
        mark: super::Mark,
    },
    /// A stop lies after the end.
    #[error("stop {mark} lies after the end of {steps} steps")]
    StopAfterEnd {
        /// The stop.
        mark: super::Mark,
        /// The steps of the job.
        steps: u64,
    },
}

/// Why a line that claims to be of the protocol is not.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// A buffer that is empty or lies where no program has memory.
    #[error("buffer `{0}` lies where no program has memory")]
    Buffer(String),
    /// The line is longer than any line may be.
    #[error("line of {found} bytes is longer than {}", super::text::MAX_LINE_BYTES)]
    TooLong {
        /// The line's length.
        found: usize,
    },
    /// The kind is none of the protocol's.
    #[error("unknown kind of line `{0}`")]
    Kind(String),
    /// The payload is not what the kind needs.
    #[error("payload of {kind} line: {source}")]
    Payload {
        /// The kind of the line.
        kind: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The payload of a data line is not pairs of hexadecimal digits.
    #[error("payload of data line is not hexadecimal")]
    Hexadecimal,
    /// The guest speaks another protocol.
    #[error(
        "guest speaks protocol {found}, this program speaks {}",
        super::PROTOCOL
    )]
    Protocol {
        /// The version that the guest names.
        found: u32,
    },
    /// The symbols' place in memory makes no sense.
    #[error("place of the guest's symbols: {0}")]
    Symbols(&'static str),
    /// The place of a payload makes no sense.
    #[error("an extent of the payload is no run of pages")]
    PayloadPlace,
    /// A mailbox page's address is not that of a page.
    #[error("mailbox address {0} is not that of a page")]
    Mailbox(model::GuestPhysicalAddress),
    /// More items, or longer ones, than a line may carry.
    #[error("too many or too long {0}")]
    Limit(&'static str),
    /// A metric is not a finite number.
    #[error("metric {0} is not a finite number")]
    NotFinite(String),
}

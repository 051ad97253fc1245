//! What can go wrong with images.

use block::nbd::NbdError;
use hypervisor::image_tool::ImageToolError;
use hypervisor::live::LiveError;
use image::blobs::BlobError;
use image::forget::ForgetError;
use image::history::HistoryError;
use image::records::RecordsError;
use image::writer::WriteError;
use sandbox::SandboxError;
use std::path::PathBuf;
use store::{SecretError, StoreError};

/// Something with an image failed.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The worker that was to read the image reached a limit or broke off.
    #[error("image could not be read: {0}")]
    Sandbox(#[from] SandboxError),
    /// The worker read the image, and it is not as it should be.
    #[error("image could not be read: {0}")]
    Unreadable(String),
    /// The image was read, and there is nothing of what was asked for.
    #[error("{0}")]
    Nothing(String),
    /// The worker says what it should not: the image has taken it over, or it is of another version.
    #[error("image could not be read: the worker does not keep to its order: {0}")]
    Worker(String),
    /// A file could not be used.
    #[error("cannot {doing} {path}: {source}")]
    File {
        /// What was attempted, as a verb.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The format is not known.
    #[error("the format of {path} is not known: it is not taken from what a guest can write")]
    Format {
        /// The image.
        path: PathBuf,
    },
    /// An image names another that may not be read.
    #[error("{image} stands on {named:?}, which {why}")]
    Below {
        /// The image.
        image: PathBuf,
        /// What it names.
        named: String,
        /// Why it is not read.
        why: String,
    },
    /// Somebody writes to the image.
    #[error("{path} is in use by {users}: what is read meanwhile was at no time on the disk")]
    InUse {
        /// The image.
        path: PathBuf,
        /// Who has it open.
        users: String,
    },
    /// Somebody has the image open that is to be written.
    #[error("{path} is open in {users}: it is written only while nobody has it open")]
    Held {
        /// The image.
        path: PathBuf,
        /// Who has it open.
        users: String,
    },
    /// The image was written to while it was read.
    #[error("{path} changed while it was read: nothing of it was kept")]
    Changed {
        /// The image.
        path: PathBuf,
    },
    /// The result could not be written.
    #[error("cannot write the result: {0}")]
    Output(#[source] std::io::Error),
    /// The history cannot be used.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// A blob cannot be put or read.
    #[error("cannot keep what was captured: {0}")]
    Blob(#[from] BlobError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A running machine cannot be captured.
    #[error(transparent)]
    Live(#[from] LiveError),
    /// The export of a running machine's disk failed.
    #[error("the disk of the running machine could not be read: {0}")]
    Export(#[from] NbdError),
    /// Change records cannot be used.
    #[error("change records cannot be used: {0}")]
    Records(#[from] RecordsError),
    /// What was read cannot be written into the history.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The key that seals histories cannot be used.
    #[error("histories cannot be sealed: {0}")]
    Key(#[from] SecretError),
    /// The key that encrypts histories cannot be used.
    #[error("the history is encrypted, and cannot be read or written without its key: {0}")]
    EncryptionKey(#[source] SecretError),
    /// The history is encrypted with another key than ours.
    #[error("the history cannot be decrypted: {0}")]
    Encrypted(#[source] BlobError),
    /// A history could not be made shorter.
    #[error("nothing was forgotten: {0}")]
    Forget(#[from] ForgetError),
    /// An image that is not raw could not be written.
    #[error(transparent)]
    Tool(#[from] ImageToolError),
    /// The user names what there is not.
    #[error("{0}")]
    NoSuch(String),
}

impl ImageError {
    /// A stable word for programs.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Sandbox(_) | Self::Unreadable(_) | Self::Worker(_) => "image-unreadable",
            Self::Nothing(_) => "no-such-file",
            Self::File { .. } => "file",
            Self::Format { .. } => "format-unknown",
            Self::Below { .. } => "backing-file",
            Self::InUse { .. } | Self::Held { .. } => "image-in-use",
            Self::Changed { .. } => "image-changed",
            Self::Output(_) => "output",
            Self::History(_) | Self::Blob(_) => "history",
            Self::Live(_) | Self::Export(_) => "machine",
            Self::Write(_) | Self::Records(_) => "history",
            Self::Key(_) => "seal-key",
            Self::EncryptionKey(_) | Self::Encrypted(_) => "encryption-key",
            Self::Forget(_) => "history",
            Self::Store(error) => match error {
                StoreError::ImageMissing { .. } => "no-such-image",
                StoreError::ImageBusy { .. } => "image-busy",
                _ => "store",
            },
            Self::Tool(_) => "image-tool",
            Self::NoSuch(_) => "no-such-image",
        }
    }

    /// Whether the command line is at fault.
    pub(crate) fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Format { .. }
                | Self::NoSuch(_)
                | Self::Store(
                    StoreError::ImageName { .. }
                        | StoreError::ImageTaken { .. }
                        | StoreError::ImageMissing { .. }
                )
        )
    }

    /// What the user can do about it.
    pub(crate) fn remedy(&self) -> Option<String> {
        let text = match self {
            Self::Live(error) => return error.remedy(),
            Self::Format { .. } => "say it: --format raw, or --format qcow2",
            Self::Below { .. } => {
                "--allow DIR allows images below in DIR; a format that is not told is set with \
                 `qemu-img rebase -u -F FORMAT`"
            }
            Self::Tool(ImageToolError::Missing) => {
                "install it (Debian: qemu-utils), or restore the disk to a new file with --to FILE"
            }
            Self::Held { .. } => {
                "end what has it open, or restore the disk to a new file with --to FILE"
            }
            Self::InUse { .. } => "stop the machine first, or capture a snapshot of the image",
            Self::Changed { .. } => "capture it while nobody writes to it",
            Self::Store(StoreError::ImageMissing { .. }) => {
                "`vardoger image ls` lists what there is; `vardoger image add` adds one"
            }
            Self::Store(StoreError::ImageTaken { .. }) => {
                "--name gives it another; `vardoger image capture` captures one again"
            }
            _ => return None,
        };
        Some(text.to_owned())
    }

    pub(super) fn file(
        doing: &'static str,
        path: &std::path::Path,
    ) -> impl Fn(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File {
            doing,
            path: path.clone(),
            source,
        }
    }
}

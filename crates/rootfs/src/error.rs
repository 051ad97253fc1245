//! Why no image was made of a root file system.

use std::io;
use std::path::{Path, PathBuf};

/// Why no image was made of a root file system.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    /// A file or directory cannot be read or written.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is neither a directory nor an ordinary file.
    #[error("{path} is neither a directory nor an archive")]
    NotARootfs {
        /// What.
        path: PathBuf,
    },
    /// The archive is no tar, or damaged.
    #[error("{path} cannot be read as a tar archive: {source}")]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// An entry of an archive would be written outside of the root, or cannot be written.
    #[error("entry {entry} of {path}: {why}")]
    Entry {
        /// The archive.
        path: PathBuf,
        /// The entry, printable.
        entry: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is more in it than is unpacked.
    #[error("{path} holds more than {limit}")]
    TooMuch {
        /// The archive.
        path: PathBuf,
        /// How much is unpacked.
        limit: String,
    },
    /// A container's image is not what its format asks for.
    #[error("{path} is no image of a container: {why}")]
    Container {
        /// A file of the image.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It holds nothing.
    #[error("{path} holds no files")]
    Empty {
        /// What.
        path: PathBuf,
    },
    /// The program that makes file systems is not there.
    #[error("mke2fs is not installed, and only it makes a file system of a directory")]
    NoTool,
    /// It has failed.
    #[error("mke2fs could not make a file system of {path}: {complaint}")]
    Tool {
        /// The directory.
        path: PathBuf,
        /// What it says.
        complaint: String,
    },
}

impl RootfsError {
    /// A file operation that failed.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    pub(crate) fn container(path: &Path, why: impl Into<String>) -> Self {
        Self::Container {
            path: path.to_path_buf(),
            why: why.into(),
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::NoTool => Some("install e2fsprogs"),
            Self::NotARootfs { .. } | Self::Archive { .. } | Self::Container { .. } => Some(
                "give a directory, a tar of one (`docker export`), or an image's archive \
                 (`docker save`, `podman save`, an OCI layout)",
            ),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => None,
            Self::Io { .. } | Self::Tool { .. } => {
                Some("as root, files keep their owners; TMPDIR names where there is room")
            }
            _ => None,
        }
    }
}

/// What went wrong, with what that came from: the reader of archives keeps the reason a step below.
pub(crate) fn reason(error: &io::Error) -> String {
    let mut text = error.to_string();
    let mut below = std::error::Error::source(error);
    while let Some(cause) = below {
        text = format!("{text}: {cause}");
        below = cause.source();
    }
    text
}

/// A name out of an archive, as it can be shown.
pub(crate) fn printable(name: &Path) -> String {
    let text = name.to_string_lossy();
    text.chars()
        .map(|one| if one.is_control() { '?' } else { one })
        .take(200)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_has_nothing_to_do_with_owners_or_room() {
        let remedy = |kind: io::ErrorKind| {
            RootfsError::io("look at", Path::new("/x"))(io::Error::from(kind)).remedy()
        };
        assert_eq!(remedy(io::ErrorKind::NotFound), None);
        assert!(remedy(io::ErrorKind::StorageFull).is_some_and(|told| told.contains("TMPDIR")));
    }
}

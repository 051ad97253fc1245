//! A command in a disk of the user's, or in a container's root file system, which becomes one: the
//! disk's image, looked at before any machine is started.
//!
//! Invariants: the image is opened for reading only; its format is what the user or its name says,
//! never its content; no image that it names is opened; it is the same when the last replica has
//! read it as when it was hashed.

use crate::error::ControlError;
use crate::image::{ReplicaDisk, WorkerProgram};
use computation::job::{CommandJob, Job, JobError, PROTOCOL, StopBy, encode_job, safe_name};
use disk::qcow2::{Header, Qcow2Error};
use disk::{Format, FormatError, Probing, ReadAt, ReadError};
use hypervisor::{DiskFormat, DiskImage};
use model::{CommandProvenance, ContentProvenance, ReplicaIndex};
use rootfs::{FilesystemImage, RootfsError};
use state::TerminalState;
use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The version of how commands are run; it changes whenever their digests would.
pub const VERSION: u32 = 1;

/// The replica that is recorded.
pub(crate) const RECORDED: u32 = 0;

/// A sector of a disk: the least that a machine reads of one.
const SECTOR_BYTES: u64 = 512;

/// Where a command runs.
#[derive(Debug, Clone)]
pub enum CommandSource {
    /// In a disk's image.
    Image {
        /// The image.
        image: PathBuf,
        /// Its format, where its name does not tell it.
        format: Option<Format>,
    },
    /// In a container's root file system: a directory, a tar archive, or a container's image.
    RootFileSystem(PathBuf),
}

/// A command as the user names it.
#[derive(Debug, Clone)]
pub struct CommandRequest {
    /// Where it runs.
    pub source: CommandSource,
    /// The command's words.
    pub words: Vec<String>,
    /// What reads disks.
    pub worker: WorkerProgram,
}

/// Why a command cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// No disk was made of a root file system.
    #[error(transparent)]
    RootFileSystem(#[from] RootfsError),
    /// The image is no ordinary file.
    #[error("{0} is no ordinary file")]
    NotAFile(PathBuf),
    /// Its format is not known.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Its format is one that machines cannot be given.
    #[error("{path} is a {} image: a machine is given a raw or a qcow2 one", format.name())]
    OtherFormat {
        /// The image.
        path: PathBuf,
        /// Its format.
        format: Format,
    },
    /// The image is not what its format says.
    #[error("{path}: {source}")]
    Damaged {
        /// The image.
        path: PathBuf,
        /// What is wrong.
        source: Qcow2Error,
    },
    /// The image needs what stands in another file, or a key.
    #[error("{path} {what}")]
    NotWhole {
        /// The image.
        path: PathBuf,
        /// What it needs.
        what: String,
    },
    /// There is no whole sector in it.
    #[error("{0} holds no disk: it is shorter than a sector")]
    Empty(PathBuf),
    /// Words that a guest cannot be given.
    #[error(transparent)]
    Job(#[from] JobError),
    /// Somebody wrote to the image while replicas read it.
    #[error("{0} was written to while it was in use: its replicas may have read different disks")]
    Changed(PathBuf),
    /// The replica that was to be recorded did not come to its end.
    #[error("nothing was recorded: {0}")]
    NotRecorded(String),
}

impl CommandError {
    /// The recorder did not come to its end, and what it said last.
    pub(crate) fn not_recorded(state: &TerminalState) -> Self {
        let how = match &state.outcome {
            model::Outcome::Crashed(how) => how.clone(),
            model::Outcome::Hung => "it did not come to its end in time".to_owned(),
            model::Outcome::Ended => String::new(),
        };
        let last = state.log.last().filter(|last| **last != how);
        Self::NotRecorded(match last {
            Some(last) => format!("{how}; it last said: {last}"),
            None => how,
        })
    }

    /// What the user can do about it.
    pub(crate) fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::RootFileSystem(error) => error.remedy(),
            Self::Format(_) => Some("name it with --format raw or --format qcow2"),
            Self::OtherFormat { .. } | Self::NotWhole { .. } => {
                Some("`qemu-img convert -O qcow2 IMAGE NEW.qcow2` makes one that stands alone")
            }
            Self::Changed(_) => Some("shut down what uses it, or give a copy"),
            Self::NotRecorded(_) => Some(
                "the command runs as root of the disk's own files, under vardoger's kernel; a longer \
                 --timeout gives it more CPU time",
            ),
            _ => None,
        }
    }
}

/// A command that can be run.
#[derive(Debug)]
pub struct Command {
    job: CommandJob,
    disk: DiskImage,
    reader: ReplicaDisk,
    provenance: CommandProvenance,
    seen: Seen,
    /// The disk that was made for it, which is gone with this.
    _made: Option<FilesystemImage>,
}

/// What tells that a file was written to.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    inode: (u64, u64),
    bytes: u64,
    changed: (i64, i64),
}

impl Seen {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: (metadata.dev(), metadata.ino()),
            bytes: metadata.len(),
            changed: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

impl Command {
    /// Looks at everything, and hashes the image.
    ///
    /// # Errors
    /// The image cannot be read or given to a machine, or the words are none that can be started.
    pub fn load(request: &CommandRequest) -> Result<Self, ControlError> {
        let job = CommandJob {
            words: request.words.clone(),
        };
        check(&job)?;
        let Found {
            path,
            name,
            format,
            made,
        } = Found::of(&request.source)?;
        let path = &path;
        let failed = |error| ControlError::file("read", path)(error);
        let metadata = std::fs::metadata(path).map_err(failed)?;
        // Looked at first: opening a pipe waits for its other end.
        if !metadata.is_file() {
            return Err(CommandError::NotAFile(path.clone()).into());
        }
        let image = OpenImage {
            file: File::open(path).map_err(failed)?,
            bytes: metadata.len(),
        };
        let disk = look(path, &name, format, &image)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(&image.file).map_err(failed)?;
        let content = ContentProvenance {
            name: computation::job::sanitise(name.as_bytes()),
            bytes: metadata.len(),
            digest: hasher.finalize().to_hex().to_string(),
        };
        Ok(Self {
            provenance: CommandProvenance {
                words: job.words.clone(),
                disk: content,
                recorded: ReplicaIndex(RECORDED),
            },
            job,
            reader: ReplicaDisk::new(request.worker.clone(), disk.clone()),
            disk,
            seen: Seen::of(&metadata),
            _made: made,
        })
    }

    /// Its name in reports.
    #[must_use]
    pub fn computation_name(&self) -> String {
        let word = self.job.words.first().map(Path::new);
        let name = word.and_then(Path::file_name).unwrap_or_default();
        format!("command:{}", safe_name(&name.to_string_lossy()))
    }

    /// What the guest is told of it.
    #[must_use]
    pub const fn job(&self) -> &CommandJob {
        &self.job
    }

    /// The disk that it runs on.
    pub(crate) const fn disk(&self) -> &DiskImage {
        &self.disk
    }

    /// What reads replicas' disks.
    pub(crate) const fn reader(&self) -> &ReplicaDisk {
        &self.reader
    }

    /// What tells it from other commands.
    pub(crate) fn provenance(&self) -> CommandProvenance {
        self.provenance.clone()
    }

    /// Refuses what was read of an image that was written to meanwhile.
    pub(crate) fn check_unchanged(&self) -> Result<(), ControlError> {
        let path = &self.disk.path;
        let metadata = std::fs::metadata(path).map_err(ControlError::file("read", path))?;
        if Seen::of(&metadata) == self.seen {
            Ok(())
        } else {
            Err(CommandError::Changed(path.clone()).into())
        }
    }
}

/// The image that a command runs on.
struct Found {
    path: PathBuf,
    /// What the user calls it.
    name: String,
    format: Option<Format>,
    made: Option<FilesystemImage>,
}

impl Found {
    fn of(source: &CommandSource) -> Result<Self, CommandError> {
        let named = |path: &Path| {
            let name = path.file_name().unwrap_or(path.as_os_str());
            name.to_string_lossy().into_owned()
        };
        Ok(match source {
            CommandSource::Image { image, format } => Self {
                path: image.clone(),
                name: named(image),
                format: *format,
                made: None,
            },
            CommandSource::RootFileSystem(path) => {
                let made = rootfs::image_of(path, &scratch())?;
                Self {
                    path: made.path(),
                    name: named(path),
                    format: Some(Format::Raw),
                    made: Some(made),
                }
            }
        })
    }
}

/// Where working files of any size may be: what is in memory is too small for a system's files.
fn scratch() -> PathBuf {
    let named = std::env::var_os("TMPDIR").map(PathBuf::from);
    named.unwrap_or_else(|| PathBuf::from("/var/tmp"))
}

/// The disk in an image.
fn look(
    path: &Path,
    name: &str,
    given: Option<Format>,
    image: &OpenImage,
) -> Result<DiskImage, CommandError> {
    let found = Format::find(given, name, image, Probing::Forbidden)?;
    let (format, disk_bytes) = match found {
        // QEMU reads whole sectors, and takes what follows the last one as zeros.
        Format::Raw => (DiskFormat::Raw, image.bytes.next_multiple_of(SECTOR_BYTES)),
        Format::Qcow2 => (DiskFormat::Qcow2, look_at_header(path, image)?),
        format => {
            let path = path.to_path_buf();
            return Err(CommandError::OtherFormat { path, format });
        }
    };
    if image.bytes < SECTOR_BYTES || disk_bytes < SECTOR_BYTES {
        return Err(CommandError::Empty(path.to_path_buf()));
    }
    // The emulator works in a directory of its own.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    Ok(DiskImage {
        path,
        format,
        disk_bytes,
    })
}

/// The size of the disk in a qcow2 image that stands alone. More than its header is not looked at
/// here: the rest is for the emulator, which has no rights.
fn look_at_header(path: &Path, image: &OpenImage) -> Result<u64, CommandError> {
    let damaged = |source| CommandError::Damaged {
        path: path.to_path_buf(),
        source,
    };
    let header = Header::read(image).map_err(damaged)?;
    let needs = |what: &str, name: &str| {
        let name = computation::job::sanitise(name.as_bytes());
        Err(CommandError::NotWhole {
            path: path.to_path_buf(),
            what: format!("needs {what} {name}, and only an image that stands alone is used"),
        })
    };
    match (&header.backing, &header.data_file) {
        (Some(backing), _) => needs("the image below it,", &backing.name),
        (_, Some(name)) => needs("its file of data,", name),
        (None, None) => Ok(header.size_bytes),
    }
}

/// Has the guest's own check look at it before any machine runs.
fn check(command: &CommandJob) -> Result<(), CommandError> {
    let job = Job {
        protocol: PROTOCOL,
        computation: "command".to_owned(),
        seed: 0,
        steps: 1,
        stops: Vec::new(),
        stop_by: StopBy::Signal,
        program: None,
        command: Some(command.clone()),
    };
    encode_job(&job)?;
    Ok(())
}

/// An image's file that is open already.
#[derive(Debug)]
pub(crate) struct OpenImage {
    pub(crate) file: File,
    pub(crate) bytes: u64,
}

impl ReadAt for OpenImage {
    fn size_bytes(&self) -> u64 {
        self.bytes
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let read = self.file.read_exact_at(buffer, offset);
        read.map_err(|source| ReadError::Io { offset, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody is asked here.
    fn worker() -> WorkerProgram {
        WorkerProgram {
            program: PathBuf::from("/nowhere"),
            arguments: &[],
        }
    }

    fn refused(name: &str, content: &[u8], words: &[&str]) -> String {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join(name);
        std::fs::write(&image, content).unwrap();
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        let request = CommandRequest {
            source: CommandSource::Image {
                image,
                format: None,
            },
            words,
            worker: worker(),
        };
        Command::load(&request).unwrap_err().to_string()
    }

    #[test]
    fn an_image_is_looked_at_before_a_machine_is() {
        assert!(refused("a.img", &[0; 512], &["x"]).contains("not known"));
        assert!(refused("a.vmdk", &[0; 512], &["x"]).contains("vmdk"));
        assert!(refused("a.raw", &[0; 511], &["x"]).contains("shorter than a sector"));
        assert!(refused("a.raw", &[0; 512], &[]).contains("no command"));
        assert!(refused("a.qcow2", &[0; 512], &["x"]).contains("a.qcow2"));
    }

    #[test]
    fn an_image_that_is_written_to_is_not_trusted() {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("a.raw");
        std::fs::write(&image, [0; 1024]).unwrap();
        let command = Command::load(&CommandRequest {
            source: CommandSource::Image {
                image: image.clone(),
                format: None,
            },
            words: vec!["/bin/true".to_owned()],
            worker: worker(),
        })
        .unwrap();
        assert_eq!(command.computation_name(), "command:true");
        assert!(command.check_unchanged().is_ok());
        std::fs::write(&image, [0; 2048]).unwrap();
        assert!(command.check_unchanged().is_err());
    }
}

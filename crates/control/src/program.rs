//! A program of the user's, checked and in memory: what every replica is given, byte for byte.
//!
//! Invariants: what [`Program::load`] returns fits the guest, has an executable that the guest's
//! kernel can start without a loader, and does not change while the run lasts.

mod elf;

use crate::error::ControlError;
use computation::job::program::{MAX_PAYLOAD_BYTES, is_file_name};
use computation::job::{
    InputFile, Job, JobError, PROTOCOL, ProgramJob, StopBy, encode_job, safe_name,
};
use elf::ElfFault;
use model::{ContentProvenance, ProgramProvenance};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The version of how programs are run; it changes whenever their digests would.
pub const VERSION: u32 = 1;

/// A program as the user names it.
#[derive(Debug, Clone, Default)]
pub struct ProgramRequest {
    /// The executable.
    pub path: PathBuf,
    /// Its arguments, without the zeroth.
    pub arguments: Vec<String>,
    /// Files that it is to find in its working directory.
    pub files: Vec<PathBuf>,
    /// Its standard input; empty where absent.
    pub stdin: Option<PathBuf>,
}

/// Why a program cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// The file is not one that the guest can execute.
    #[error("{path} {fault}")]
    Elf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: ElfFault,
    },
    /// The path has no file name that could be shown, or is no ordinary file's.
    #[error("{path} {detail}")]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// Why not.
        detail: &'static str,
    },
    /// It all does not fit the guest.
    #[error("program and files have more than {} MiB, the most that fits a machine", MAX_PAYLOAD_BYTES >> 20)]
    TooLarge,
    /// Arguments or files that a guest cannot be given.
    #[error(transparent)]
    Job(#[from] JobError),
}

impl ProgramError {
    /// What the user can do about it.
    pub(crate) fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Elf {
                fault: ElfFault::Dynamic { .. },
                ..
            } => Some(
                "link it statically: `cc -static`, `go build` with CGO_ENABLED=0, or rustc with \
                 -C target-feature=+crt-static",
            ),
            Self::Elf {
                fault: ElfFault::Script,
                ..
            } => Some("name its interpreter as --program, and the script as --file and argument"),
            Self::Elf { .. } => Some("a program is a static executable for x86-64 Linux"),
            _ => None,
        }
    }
}

/// A program that can be run.
#[derive(Debug)]
pub struct Program {
    job: ProgramJob,
    /// Executable, standard input and files, in the order of the payload.
    parts: Vec<Vec<u8>>,
    provenance: ProgramProvenance,
}

impl Program {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// A file cannot be read, is none that can be run, or it is too much for a guest.
    pub fn load(request: &ProgramRequest) -> Result<Self, ControlError> {
        let mut room = MAX_PAYLOAD_BYTES;
        let executable = read(&request.path, &mut room)?;
        elf::check(&executable).map_err(|fault| ProgramError::Elf {
            path: request.path.clone(),
            fault,
        })?;
        let stdin = request.stdin.as_ref();
        let stdin = stdin.map(|path| read(path, &mut room)).transpose()?;
        let paths = request.files.iter();
        let files: Vec<Vec<u8>> = paths
            .map(|path| read(path, &mut room))
            .collect::<Result<_, _>>()?;
        let names = request.files.iter().map(|path| name(path));
        let names: Vec<String> = names.collect::<Result<_, _>>()?;
        let inputs = names.iter().zip(&files).map(|(name, content)| InputFile {
            name: name.clone(),
            bytes: content.len() as u64,
        });
        let job = ProgramJob {
            name: name(&request.path)?,
            arguments: request.arguments.clone(),
            bytes: executable.len() as u64,
            stdin_bytes: stdin.as_ref().map_or(0, |content| content.len() as u64),
            files: inputs.collect(),
        };
        check(&job)?;
        let stdin_name = request.stdin.as_ref().map(|path| name(path)).transpose()?;
        let contents = names.iter().zip(&files);
        let provenance = ProgramProvenance {
            executable: content(&job.name, &executable),
            arguments: request.arguments.clone(),
            stdin: stdin_name
                .zip(stdin.as_ref())
                .map(|(name, bytes)| content(&name, bytes)),
            files: contents.map(|(name, bytes)| content(name, bytes)).collect(),
        };
        let mut parts = vec![executable, stdin.unwrap_or_default()];
        parts.extend(files);
        Ok(Self {
            job,
            parts,
            provenance,
        })
    }

    /// Its name in reports.
    #[must_use]
    pub fn computation_name(&self) -> String {
        format!("program:{}", self.job.name)
    }

    /// What the guest is told of it.
    #[must_use]
    pub const fn job(&self) -> &ProgramJob {
        &self.job
    }

    /// What goes into guest memory, in the order of the payload.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.parts.iter().map(Vec::as_slice)
    }

    /// What tells it from other programs.
    pub(crate) fn provenance(&self) -> ProgramProvenance {
        self.provenance.clone()
    }
}

/// Has the guest's own check look at it before any machine runs.
fn check(program: &ProgramJob) -> Result<(), ProgramError> {
    let job = Job {
        protocol: PROTOCOL,
        computation: safe_name(&program.name),
        seed: 0,
        steps: 1,
        stops: Vec::new(),
        stop_by: StopBy::Waypoint,
        program: Some(program.clone()),
        command: None,
    };
    encode_job(&job)?;
    Ok(())
}

fn content(name: &str, bytes: &[u8]) -> ContentProvenance {
    ContentProvenance {
        name: name.to_owned(),
        bytes: bytes.len() as u64,
        digest: blake3::hash(bytes).to_hex().to_string(),
    }
}

/// The file's name without its directories.
fn name(path: &Path) -> Result<String, ProgramError> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.filter(|name| is_file_name(name));
    name.map(str::to_owned)
        .ok_or_else(|| ProgramError::NotAFile {
            path: path.to_path_buf(),
            detail: "has no file name that a guest can be given",
        })
}

/// Reads an ordinary file, if there is still room for it.
fn read(path: &Path, room: &mut u64) -> Result<Vec<u8>, ControlError> {
    let failed = |error| ControlError::file("read", path)(error);
    // Looked at first: opening a pipe waits for its other end.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(ProgramError::NotAFile {
            path: path.to_path_buf(),
            detail: "is no ordinary file",
        }
        .into());
    }
    let file = File::open(path).map_err(failed)?;
    let mut content = Vec::new();
    file.take(*room + 1)
        .read_to_end(&mut content)
        .map_err(failed)?;
    *room = room
        .checked_sub(content.len() as u64)
        .ok_or(ProgramError::TooLarge)?;
    Ok(content)
}

//! A user's own program as a job: what the guest is to start, and how it came out.
//!
//! ```text
//! job with a program ─► payload {extents}… ─► (stop: host writes the bytes) ─► log… file… data…
//!                       program │ stdin │ files, each from a page's start, in this order
//!   ─► exit {status, streams} ─► result ─► mark end ─► (stop: terminal)
//! ```
//!
//! The bytes do not fit the mailbox. The guest makes the files first, says which pages of its
//! memory hold them, and stops; the host lays the same bytes into every replica.

use super::text::safe_name;
use super::{JobError, MAX_EXTENTS, ProtocolError};
use crate::job::Extent;
use model::PAGE_BYTES;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// The most bytes of program, standard input and files together: what leaves a guest of 128 MiB
/// room to run the program.
pub const MAX_PAYLOAD_BYTES: u64 = 48 << 20;
/// The most input files: their names must fit the mailbox.
pub const MAX_INPUT_FILES: usize = 64;
/// The most bytes of all arguments and names of a program: half of the mailbox, since JSON may
/// need two bytes for one.
pub const MAX_WORDS_BYTES: usize = 6 << 10;
/// The most bytes of a file's name: the kernel's own limit.
const MAX_FILE_NAME_BYTES: usize = 255;
/// The exit status beyond which there is none.
const MAX_EXIT_CODE: i32 = 255;
/// The highest signal of Linux.
const MAX_SIGNAL: i32 = 64;

/// A program that the guest is to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramJob {
    /// Its file's name, and its zeroth argument.
    pub name: String,
    /// Its further arguments.
    pub arguments: Vec<String>,
    /// The length of the executable.
    pub bytes: u64,
    /// The length of its standard input; empty where there is none.
    pub stdin_bytes: u64,
    /// The files that it finds in its working directory.
    pub files: Vec<InputFile>,
}

/// A file that a program finds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// Its name, without directories.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// How a program came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramEnd {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to its standard output.
    pub stdout: StreamEnd,
    /// What it wrote to its standard error.
    pub stderr: StreamEnd,
    /// Files that it left in its working directory.
    pub files: u64,
    /// Of those, how many were not sent.
    pub files_not_sent: u64,
}

/// How much came through a stream of a program.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamEnd {
    /// Bytes that the program wrote.
    pub bytes: u64,
    /// Of those, how many did not become log lines. All of them are in the result's digest.
    pub bytes_not_sent: u64,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExitStatus {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl ExitStatus {
    /// The status that a word of the kernel stands for (wait(2)).
    #[must_use]
    pub const fn from_wait(status: i32) -> Self {
        match status & 0x7f {
            0 => Self::Code((status >> 8) & 0xff),
            signal => Self::Signal(signal),
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Code(code) => write!(f, "{code}"),
            Self::Signal(signal) => match signal_name(signal) {
                Some(name) => write!(f, "signal {signal} ({name})"),
                None => write!(f, "signal {signal}"),
            },
        }
    }
}

/// The names of the signals that end programs: signal(7), x86.
const fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return None,
    })
}

/// A file that a program left, as its result's digest takes it in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftFile {
    /// Its path below the working directory: any bytes but zero.
    pub path: Vec<u8>,
    /// Its length.
    pub bytes: u64,
    /// The BLAKE3 digest of its content, or of a link's target.
    pub digest: [u8; 32],
}

/// The digest of all that a program puts out: how it ended, the BLAKE3 digests of its streams, and
/// its files in the order of their paths.
#[must_use]
pub fn result_digest(
    status: ExitStatus,
    streams: &[[u8; 32]; 2],
    files: &[LeftFile],
) -> crate::Digest {
    let mut hasher = Sha256::new();
    hasher.update(format!("program 1\nexit status {status}\n"));
    streams.iter().for_each(|stream| hasher.update(stream));
    for file in files {
        hasher.update((file.path.len() as u64).to_le_bytes());
        hasher.update(&file.path);
        hasher.update(file.bytes.to_le_bytes());
        hasher.update(file.digest);
    }
    crate::Digest(hasher.finalize().into())
}

impl ProgramJob {
    /// The lengths of the parts of the payload, in their order.
    pub fn part_bytes(&self) -> impl Iterator<Item = u64> {
        let files = self.files.iter().map(|file| file.bytes);
        [self.bytes, self.stdin_bytes].into_iter().chain(files)
    }

    /// Pages that the payload takes: each part begins on a page of its own.
    #[must_use]
    pub fn payload_pages(&self) -> u64 {
        self.part_bytes()
            .map(|bytes| bytes.div_ceil(PAGE_BYTES as u64))
            .fold(0, u64::saturating_add)
    }

    /// Checks that a guest can start it.
    pub(super) fn check(&self) -> Result<(), JobError> {
        let total = self.part_bytes().fold(0, u64::saturating_add);
        if self.bytes == 0 || total > MAX_PAYLOAD_BYTES {
            return Err(JobError::Payload { found: total });
        }
        if self.files.len() > MAX_INPUT_FILES {
            let found = self.files.len();
            return Err(JobError::TooManyFiles { found });
        }
        let names = || self.files.iter().map(|file| &file.name);
        let words = [&self.name].into_iter().chain(&self.arguments);
        let words_bytes: usize = words.chain(names()).map(String::len).sum();
        if words_bytes > MAX_WORDS_BYTES {
            return Err(JobError::Words { found: words_bytes });
        }
        if self.arguments.iter().any(|word| word.contains('\0')) {
            return Err(JobError::ZeroByte);
        }
        if let Some(name) = [&self.name]
            .into_iter()
            .chain(names())
            .find(|name| !is_file_name(name))
        {
            return Err(JobError::FileName(safe_name(name)));
        }
        let mut seen = std::collections::BTreeSet::new();
        match names().find(|name| !seen.insert(*name)) {
            None => Ok(()),
            Some(name) => Err(JobError::DuplicateFile(name.clone())),
        }
    }
}

/// Whether a name is that of a file in a directory, and fit to be shown.
#[must_use]
pub fn is_file_name(name: &str) -> bool {
    (1..=MAX_FILE_NAME_BYTES).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.contains('/')
        && super::sanitise(name.as_bytes()) == name
}

impl ProgramEnd {
    /// Checks what a guest claims.
    pub(super) fn check(&self) -> Result<(), ProtocolError> {
        let sound = match self.status {
            ExitStatus::Code(code) => (0..=MAX_EXIT_CODE).contains(&code),
            ExitStatus::Signal(signal) => (1..=MAX_SIGNAL).contains(&signal),
        };
        if sound {
            Ok(())
        } else {
            Err(ProtocolError::Limit("exit status"))
        }
    }
}

/// Checks the place of a payload as one line names it.
pub(super) fn check_extents(extents: &[Extent]) -> Result<(), ProtocolError> {
    if extents.len() > MAX_EXTENTS {
        return Err(ProtocolError::Limit("extents"));
    }
    let limit = MAX_PAYLOAD_BYTES;
    if extents.iter().all(|extent| extent.is_sound(limit)) {
        Ok(())
    } else {
        Err(ProtocolError::PayloadPlace)
    }
}

#[cfg(test)]
pub(in crate::job) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in crate::job) fn program() -> impl Strategy<Value = ProgramJob> {
        let argument = "[ -~äß\n]{0,20}";
        let files =
            proptest::collection::btree_map("[a-z][a-z0-9. _-]{0,30}", 0_u64..1 << 18, 0..8);
        let arguments = proptest::collection::vec(argument, 0..16);
        (
            "[a-z]{1,12}",
            arguments,
            1_u64..1 << 24,
            0_u64..1 << 20,
            files,
        )
            .prop_map(|(name, arguments, bytes, stdin_bytes, files)| ProgramJob {
                name,
                arguments,
                bytes,
                stdin_bytes,
                files: files
                    .into_iter()
                    .map(|(name, bytes)| InputFile { name, bytes })
                    .collect(),
            })
    }

    pub(in crate::job) fn end() -> impl Strategy<Value = ProgramEnd> {
        let status = prop_oneof![
            (0..=MAX_EXIT_CODE).prop_map(ExitStatus::Code),
            (1..=MAX_SIGNAL).prop_map(ExitStatus::Signal),
        ];
        (status, any::<[u64; 6]>()).prop_map(|(status, [a, b, c, d, e, f])| ProgramEnd {
            status,
            stdout: StreamEnd {
                bytes: a,
                bytes_not_sent: b,
            },
            stderr: StreamEnd {
                bytes: c,
                bytes_not_sent: d,
            },
            files: e,
            files_not_sent: f,
        })
    }

    fn example() -> ProgramJob {
        let file = |name: &str, bytes| InputFile {
            name: name.to_owned(),
            bytes,
        };
        ProgramJob {
            name: "sort".to_owned(),
            arguments: vec!["-n".to_owned()],
            bytes: 4097,
            stdin_bytes: 0,
            files: vec![file("a", 1), file("b", 8192)],
        }
    }

    #[test]
    fn every_part_of_a_payload_begins_on_a_page() {
        assert_eq!(example().payload_pages(), 2 + 1 + 2);
        assert!(example().check().is_ok());
    }

    fn refused(change: impl FnOnce(&mut ProgramJob)) -> String {
        let mut program = example();
        change(&mut program);
        program.check().unwrap_err().to_string()
    }

    #[test]
    fn programs_that_no_guest_could_start_are_refused() {
        assert!(refused(|p| p.bytes = 0).contains("payload"));
        assert!(refused(|p| p.stdin_bytes = MAX_PAYLOAD_BYTES).contains("payload"));
        assert!(refused(|p| p.stdin_bytes = u64::MAX).contains("payload"));
        assert!(refused(|p| p.files[1].name = "a".to_owned()).contains("`a` twice"));
        assert!(refused(|p| p.name = "..".to_owned()).contains("name"));
        assert!(refused(|p| p.files[0].name = "x/y".to_owned()).contains("name"));
        assert!(refused(|p| p.files[0].name = "x\ny".to_owned()).contains("name"));
        assert!(refused(|p| p.arguments[0] = "\0".to_owned()).contains("zero"));
        assert!(refused(|p| p.arguments[0] = "x".repeat(9000)).contains("9006 bytes"));
        assert!(refused(|p| p.files = vec![p.files[0].clone(); 65]).contains("65 files"));
    }

    #[test]
    fn all_that_a_program_puts_out_is_in_its_digest() {
        let file = |path: &[u8], bytes, digest| LeftFile {
            path: path.to_vec(),
            bytes,
            digest: [digest; 32],
        };
        let ok = ExitStatus::Code(0);
        let (zero, one) = ([[0; 32]; 2], [[0; 32], [1; 32]]);
        let digests: std::collections::BTreeSet<_> = [
            result_digest(ok, &zero, &[]),
            result_digest(ExitStatus::Code(1), &zero, &[]),
            result_digest(ExitStatus::Signal(1), &zero, &[]),
            result_digest(ok, &one, &[]),
            result_digest(ok, &zero, &[file(b"a", 1, 1)]),
            result_digest(ok, &zero, &[file(b"b", 1, 1)]),
            result_digest(ok, &zero, &[file(b"a", 2, 1)]),
            result_digest(ok, &zero, &[file(b"a", 1, 2)]),
        ]
        .into();
        assert_eq!(digests.len(), 8);
    }

    #[test]
    fn a_word_of_wait_is_a_status() {
        let shown = |status| ExitStatus::from_wait(status).to_string();
        assert_eq!(shown(0), "0");
        assert_eq!(shown(1 << 8), "1");
        assert_eq!(shown(255 << 8), "255");
        assert_eq!(shown(11), "signal 11 (SIGSEGV)");
        assert_eq!(shown(0x80 | 6), "signal 6 (SIGABRT)");
        assert_eq!(shown(40), "signal 40");
    }
}

//! Takes the program, its standard input and its files: pages of files in memory, filled by the
//! host while this machine stands still. Nothing is copied.

use super::{PROGRAM_DIRECTORY, USER, WORK_DIRECTORY};
use crate::clock;
use crate::error::GuestError;
use crate::host::Host;
use crate::pagemap;
use crate::pages::Pages;
use crate::stops::Stops;
use computation::job::{MAX_EXTENTS, Message, ProgramJob};
use rustix::fs::{FallocateFlags, Gid, Mode, Uid, chmod, fallocate, fchown};
use rustix::mount::{MountFlags, mount};
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

/// Room in the working directory beside the input files: enough for results that a report can
/// show, and little enough that a full directory leaves memory to programs.
const WORK_BYTES: u64 = 24 << 20;
/// Files and directories in it: each is looked at when the program has ended.
const WORK_INODES: u64 = 4096;
/// Room in `/tmp`.
const TEMPORARY_BYTES: u64 = 8 << 20;
/// Room beside the executable and the standard input for what a file system needs itself.
const SPARE_BYTES: u64 = 1 << 20;

/// Where the standard input lies: nobody's but ours.
const INPUT_DIRECTORY: &str = "/input";

/// Where the parts are.
pub(super) struct Files {
    pub(super) executable: PathBuf,
    pub(super) stdin: PathBuf,
}

/// Makes the directories and files, and has the host fill them.
pub(super) fn receive(
    host: &Host,
    program: &ProgramJob,
    stops: &mut Stops<'_>,
) -> Result<Files, GuestError> {
    let inputs: u64 = program.files.iter().map(|file| file.bytes).sum();
    directory(PROGRAM_DIRECTORY, program.bytes + SPARE_BYTES, 0o755)?;
    directory(INPUT_DIRECTORY, program.stdin_bytes + SPARE_BYTES, 0o700)?;
    directory(WORK_DIRECTORY, inputs + WORK_BYTES, 0o777)?;
    directory("/tmp", TEMPORARY_BYTES, 0o1777)?;
    let below = |directory: &str, name: &str| Path::new(directory).join(name);
    let files = Files {
        executable: below(PROGRAM_DIRECTORY, &program.name),
        stdin: below(INPUT_DIRECTORY, "stdin"),
    };
    let mut parts = vec![
        part(&files.executable, program.bytes, 0)?,
        part(&files.stdin, program.stdin_bytes, 0)?,
    ];
    for file in &program.files {
        let path = below(WORK_DIRECTORY, &file.name);
        parts.push(part(&path, file.bytes, USER)?);
    }
    let mut extents = Vec::new();
    for pages in parts.iter().flatten() {
        extents.extend(pagemap::extents(pages, pages.bytes())?);
    }
    for line in extents.chunks(MAX_EXTENTS) {
        host.say(&Message::Payload(line.to_vec()))?;
    }
    stops.stop(clock::time_stamp());
    drop(parts);
    make_executable(&files.executable)?;
    Ok(files)
}

/// A directory with a file system in memory of its own.
fn directory(path: &'static str, bytes: u64, mode: u32) -> Result<(), GuestError> {
    fs::create_dir_all(path).map_err(failed("make", Path::new(path)))?;
    let options = format!("size={bytes},nr_inodes={WORK_INODES},mode={mode:o}");
    let options = CString::new(options).expect("digits and words hold no zero byte");
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", path, "tmpfs", flags, options.as_c_str()).map_err(|source| GuestError::Mount {
        target: path,
        source,
    })
}

/// A file whose pages are all there and stay where they are; nothing to map where it is empty.
fn part(path: &Path, bytes: u64, owner: u32) -> Result<Option<Pages>, GuestError> {
    let file = new_file(path).map_err(failed("make", path))?;
    let (user, group) = (Uid::from_raw(owner), Gid::from_raw(owner));
    fchown(&file, Some(user), Some(group)).map_err(|error| failed("own", path)(error.into()))?;
    let length = usize::try_from(bytes).unwrap_or(usize::MAX);
    if length == 0 {
        return Ok(None);
    }
    fallocate(&file, FallocateFlags::empty(), 0, bytes)
        .map_err(|error| failed("make room for", path)(error.into()))?;
    let pages = Pages::of_file(&file, length)?;
    pages.lock(length)?;
    Ok(Some(pages))
}

fn new_file(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
}

fn make_executable(path: &Path) -> Result<(), GuestError> {
    let mode = Mode::from_raw_mode(0o755);
    chmod(path, mode).map_err(|error| failed("make executable", path)(error.into()))
}

fn failed(attempt: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> GuestError {
    let path = path.display().to_string();
    move |source| GuestError::File {
        attempt,
        path,
        source,
    }
}

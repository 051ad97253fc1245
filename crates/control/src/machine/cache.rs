//! Machines that were booted before: verified when they are loaded, bounded in number, never
//! removed while in use.

use crate::error::ControlError;
use crate::leftover::{self, UNFINISHED, remove_unused};
use computation::job::Hello;
use hypervisor::memory::sparse;
use hypervisor::{MachineSpec, Snapshot};
use model::PAGE_BYTES;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The version of the files' layout. Another one is not loaded; the machine is booted again.
const FORMAT: u32 = 3;

/// What a hole reads as.
const ZERO_PAGE: [u8; PAGE_BYTES] = [0; PAGE_BYTES];

/// Machines that are kept: each takes about 80 MB.
const MAX_MACHINES: usize = 4;

/// The longest description that is read.
const MAX_DESCRIPTION_BYTES: u64 = 1 << 20;

/// The longest symbol text that is read.
const MAX_SYMBOLS_BYTES: u64 = 64 << 20;

/// Everything that shapes a machine, as a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) key: String,
    pub(super) kernel_digest: String,
    pub(super) guest_digest: String,
}

impl Identity {
    pub(super) fn of(spec: &MachineSpec, hypervisor: &str) -> Result<Self, ControlError> {
        let kernel = fs::read(&spec.kernel).map_err(ControlError::file("read", &spec.kernel))?;
        let kernel_digest = blake3::hash(&kernel).to_hex().to_string();
        let guest_digest = blake3::hash(&spec.initramfs).to_hex().to_string();
        let shape = format!(
            "{FORMAT}\n{hypervisor}\n{kernel_digest}\n{guest_digest}\n{}\n{}\n{}\n{}\n{}\n{}\n{:?}\n{:?}\n{}",
            spec.memory_bytes,
            spec.cpu_model,
            spec.vcpus,
            spec.accelerator.name(),
            spec.deterministic,
            spec.kernel_arguments,
            spec.signal,
            spec.channel,
            spec.recorded,
        );
        let key = blake3::hash(shape.as_bytes()).to_hex();
        Ok(Self {
            key: key.as_str().chars().take(32).collect(),
            kernel_digest,
            guest_digest,
        })
    }
}

/// `machine.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Description {
    format: u32,
    hello: Hello,
    memory_digest: String,
    device_digest: String,
    symbols_digest: String,
}

/// A machine's files are in use for as long as this lives.
#[derive(Debug)]
pub(crate) struct InUse {
    _lock: File,
}

/// A machine out of the cache.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) snapshot: Snapshot,
    pub(super) hello: Hello,
    pub(super) base: Vec<u8>,
    pub(super) base_digest: String,
    pub(super) symbols: Vec<u8>,
    pub(super) in_use: InUse,
}

/// A machine that is being made. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Unfinished {
    directory: PathBuf,
    lock: Option<File>,
}

impl Unfinished {
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn write(&self, name: &str, content: &[u8]) -> Result<(), ControlError> {
        let path = self.directory.join(name);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(ControlError::file("make", &path))?;
        file.write_all(content)
            .map_err(ControlError::file("write", &path))
    }

    pub(super) fn write_hello(&self, hello: &Hello) -> Result<(), ControlError> {
        let path = self.directory.join("hello.json");
        let text = serde_json::to_vec(hello)
            .map_err(|error| ControlError::file("write", path)(error.into()))?;
        self.write("hello.json", &text)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.lock.is_some() {
            drop(fs::remove_dir_all(&self.directory));
        }
    }
}

/// The directory of booted machines.
#[derive(Debug)]
pub(super) struct MachineCache {
    path: PathBuf,
}

impl MachineCache {
    pub(super) fn open(path: &Path) -> Result<Self, ControlError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(ControlError::file("make", path))?;
        let cache = Self {
            path: path.to_path_buf(),
        };
        cache.prune();
        Ok(cache)
    }

    /// Loads a machine and verifies all of it. What cannot be loaded is as good as absent.
    pub(super) fn load(&self, identity: &Identity, spec: &MachineSpec) -> Option<Loaded> {
        let directory = self.path.join(&identity.key);
        match load(&directory, spec) {
            Ok(loaded) => Some(loaded),
            Err(reason) => {
                if directory.exists() {
                    tracing::warn!(path = %directory.display(), reason, "a kept machine is not used");
                }
                None
            }
        }
    }

    /// A place for a new machine.
    pub(super) fn begin(&self) -> Result<Unfinished, ControlError> {
        let name = format!("{UNFINISHED}{}", uuid::Uuid::now_v7().simple());
        let (directory, lock) = leftover::make(&self.path, &name)
            .map_err(ControlError::file("make a directory in", &self.path))?;
        Ok(Unfinished {
            directory,
            lock: Some(lock),
        })
    }

    /// Puts a new machine in its place and loads it. Where another run was quicker, its machine is
    /// as good, and may be in use: it stays, and ours goes.
    pub(super) fn keep(
        &self,
        mut unfinished: Unfinished,
        identity: &Identity,
        spec: &MachineSpec,
    ) -> Result<Loaded, ControlError> {
        describe(&unfinished)?;
        let directory = self.path.join(&identity.key);
        let place = || fs::rename(&unfinished.directory, &directory);
        if place().is_err() {
            if let Ok(loaded) = load(&directory, spec) {
                return Ok(loaded);
            }
            remove_unused(&directory);
            place().map_err(ControlError::file("place", &directory))?;
        }
        let loaded = load(&directory, spec).map_err(|reason| ControlError::NotReady {
            detail: format!("the saved machine cannot be loaded: {reason}"),
        });
        unfinished.lock = None;
        loaded
    }

    /// Removes what a killed instance left unfinished, and the oldest beyond the limit.
    fn prune(&self) {
        let Ok(entries) = fs::read_dir(&self.path) else {
            return;
        };
        let mut kept: Vec<(std::time::SystemTime, PathBuf)> = Vec::new();
        for entry in entries.flatten() {
            let path = entry.path();
            let unfinished = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
            let used = entry.metadata().and_then(|metadata| metadata.modified());
            match used {
                Ok(used) if !unfinished => kept.push((used, path)),
                _ => remove_unused(&path),
            }
        }
        kept.sort();
        let excess = kept.len().saturating_sub(MAX_MACHINES);
        for (_, path) in kept.into_iter().take(excess) {
            remove_unused(&path);
        }
    }
}

/// The memory of a kept machine by its digest, where it is still kept. Whoever reads it verifies it:
/// it may be removed or replaced meanwhile.
pub(crate) fn memory_of(path: &Path, base_digest: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(path).ok()?;
    let directories = entries
        .flatten()
        .take(MAX_MACHINES)
        .map(|entry| entry.path());
    let is_it = |directory: &PathBuf| {
        let text = read_bounded(&directory.join("machine.json"), MAX_DESCRIPTION_BYTES).ok();
        let description = text.and_then(|text| serde_json::from_slice::<Description>(&text).ok());
        description.is_some_and(|one| one.format == FORMAT && one.memory_digest == base_digest)
    };
    let directory = directories.into_iter().find(is_it)?;
    Some(Snapshot::in_directory(&directory).memory)
}

/// Guest memory out of an open file, if it has this digest.
pub(crate) fn read_memory(file: &File, base_digest: &str) -> Option<Vec<u8>> {
    // A worker may not ask for a file's length; it finds its end.
    let length = rustix::fs::seek(file, rustix::fs::SeekFrom::End(0)).ok()?;
    let (content, digest) = read_data(file, length).ok()?;
    (digest == base_digest).then_some(content)
}

/// Writes `machine.json` of a machine whose other files are there.
fn describe(unfinished: &Unfinished) -> Result<(), ControlError> {
    let at = |name: &str| unfinished.directory.join(name);
    let hello_path = at("hello.json");
    let hello = fs::read(&hello_path).map_err(ControlError::file("read", &hello_path))?;
    let hello: Hello = serde_json::from_slice(&hello)
        .map_err(|error| ControlError::file("read", &hello_path)(error.into()))?;
    let digest = |name: &str| {
        let path = at(name);
        let content = fs::read(&path).map_err(ControlError::file("read", &path))?;
        Ok::<_, ControlError>(blake3::hash(&content).to_hex().to_string())
    };
    let memory = at("memory");
    let length = fs::metadata(&memory)
        .map_err(ControlError::file("look at", &memory))?
        .len();
    let (_, memory_digest) =
        read_sparse(&memory, length).map_err(ControlError::file("read", &memory))?;
    let description = Description {
        format: FORMAT,
        hello,
        memory_digest,
        device_digest: digest("device")?,
        symbols_digest: digest("symbols")?,
    };
    let text = serde_json::to_vec_pretty(&description)
        .map_err(|error| ControlError::file("write", at("machine.json"))(error.into()))?;
    unfinished.write("machine.json", &text)
}

/// Loads a machine; an error says in one clause why it cannot be used.
fn load(directory: &Path, spec: &MachineSpec) -> Result<Loaded, String> {
    let text = |error: std::io::Error| error.to_string();
    let lock = leftover::lock(directory).map_err(text)?;
    let description = read_bounded(&directory.join("machine.json"), MAX_DESCRIPTION_BYTES)?;
    let description: Description =
        serde_json::from_slice(&description).map_err(|error| error.to_string())?;
    if description.format != FORMAT {
        return Err(format!("it has format {}", description.format));
    }
    let snapshot = Snapshot::in_directory(directory);
    let device = read_bounded(&snapshot.device, MAX_SYMBOLS_BYTES)?;
    let symbols = read_bounded(&directory.join("symbols"), MAX_SYMBOLS_BYTES)?;
    let (base, memory_digest) = read_sparse(&snapshot.memory, spec.memory_bytes).map_err(text)?;
    verify("memory", &memory_digest, &description.memory_digest)?;
    verify("device state", &hex(&device), &description.device_digest)?;
    verify("symbols", &hex(&symbols), &description.symbols_digest)?;
    touch(directory);
    Ok(Loaded {
        snapshot,
        hello: description.hello,
        base,
        base_digest: memory_digest,
        symbols,
        in_use: InUse { _lock: lock },
    })
}

fn hex(content: &[u8]) -> String {
    blake3::hash(content).to_hex().to_string()
}

fn verify(what: &str, found: &str, expected: &str) -> Result<(), String> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("its {what} is not what was saved"))
    }
}

/// Marks a machine as used now, for the oldest to go first.
fn touch(directory: &Path) {
    if let Ok(file) = File::open(directory)
        && let Err(error) = file.set_modified(std::time::SystemTime::now())
    {
        tracing::debug!(%error, "a kept machine could not be marked as used");
    }
}

fn read_bounded(path: &Path, most_bytes: u64) -> Result<Vec<u8>, String> {
    let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > most_bytes {
        return Err(format!("{} has {length} bytes", path.display()));
    }
    fs::read(path).map_err(|error| error.to_string())
}

/// Reads a sparse file of a known length whole; the digest is over its pages that are not zero and
/// their numbers. Where its holes lie does not count: a file system in memory fills those that a
/// machine looks at.
fn read_sparse(path: &Path, length: u64) -> std::io::Result<(Vec<u8>, String)> {
    let file = File::open(path)?;
    if file.metadata()?.len() != length {
        return Err(std::io::Error::other("it has another length"));
    }
    read_data(&file, length)
}

/// Reads so many bytes of a sparse file, of which at least as many there are.
fn read_data(file: &File, length: u64) -> std::io::Result<(Vec<u8>, String)> {
    let mut content = vec![0; usize::try_from(length).map_err(std::io::Error::other)?];
    let mut hasher = blake3::Hasher::new();
    let mut numbers = Vec::new();
    let mut at = 0;
    while let Some((start, end)) = sparse::next_data(file, at, length)? {
        let range = usize::try_from(start).map_err(std::io::Error::other)?
            ..usize::try_from(end).map_err(std::io::Error::other)?;
        let part = content.get_mut(range).unwrap_or_default();
        file.read_exact_at(part, start)?;
        for (number, page) in (start / PAGE_BYTES as u64..).zip(part.chunks(PAGE_BYTES)) {
            if page != ZERO_PAGE {
                hasher.update(page);
                numbers.extend(number.to_le_bytes());
            }
        }
        at = end;
    }
    hasher.update(&numbers);
    Ok((content, hasher.finalize().to_hex().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use computation::isa::Class;
    use computation::job::{MAILBOX_PAGES, PROTOCOL, Symbols};
    use hypervisor::{Accelerator, Channel, Signal};
    use model::{GuestPhysicalAddress, GuestVirtualAddress};
    use std::os::unix::fs::MetadataExt;

    const MEMORY_BYTES: u64 = 2 * PAGE_BYTES as u64;

    fn spec() -> MachineSpec {
        MachineSpec {
            memory_bytes: MEMORY_BYTES,
            cpu_model: "max".to_owned(),
            vcpus: 1,
            accelerator: Accelerator::Tcg,
            deterministic: true,
            recorded: false,
            kernel: PathBuf::from("kernel"),
            initramfs: Vec::new(),
            kernel_arguments: String::new(),
            signal: Signal::Port,
            channel: Channel::DebugConsole,
        }
    }

    fn identity() -> Identity {
        Identity {
            key: "0123".to_owned(),
            kernel_digest: String::new(),
            guest_digest: String::new(),
        }
    }

    /// A machine whose memory is full of one byte, and the inode of that memory.
    fn made(cache: &MachineCache, byte: u8) -> (Unfinished, u64) {
        let unfinished = cache.begin().unwrap();
        let memory = vec![byte; usize::try_from(MEMORY_BYTES).unwrap()];
        unfinished.write("memory", &memory).unwrap();
        unfinished.write("device", b"device").unwrap();
        unfinished.write("symbols", b"").unwrap();
        let hello = Hello {
            protocol: PROTOCOL,
            program_version: String::new(),
            kernel_release: String::new(),
            isa_class: Class::Any,
            features: Vec::new(),
            mailbox: [GuestPhysicalAddress(0); MAILBOX_PAGES],
            waypoints: [GuestVirtualAddress(0); 2],
            vcpus: 1,
            symbols: Symbols::default(),
        };
        unfinished.write_hello(&hello).unwrap();
        let memory = unfinished.directory().join("memory");
        (unfinished, fs::metadata(memory).unwrap().ino())
    }

    #[test]
    fn a_machine_in_use_stays_where_another_comes_later() {
        let place = tempfile::tempdir().unwrap();
        let cache = MachineCache::open(place.path()).unwrap();
        let ((first, inode), (second, _)) = (made(&cache, 1), made(&cache, 2));
        let first = cache.keep(first, &identity(), &spec()).unwrap();
        let second = cache.keep(second, &identity(), &spec()).unwrap();
        assert_eq!((first.base[0], second.base[0]), (1, 1));
        assert_eq!(fs::metadata(&first.snapshot.memory).unwrap().ino(), inode);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_machine_that_is_broken_is_replaced() {
        let place = tempfile::tempdir().unwrap();
        let cache = MachineCache::open(place.path()).unwrap();
        let (broken, _) = made(&cache, 1);
        let broken = cache.keep(broken, &identity(), &spec()).unwrap();
        fs::write(&broken.snapshot.device, b"another").unwrap();
        drop(broken);
        assert!(cache.load(&identity(), &spec()).is_none());
        let (sound, _) = made(&cache, 2);
        let sound = cache.keep(sound, &identity(), &spec()).unwrap();
        assert_eq!(sound.base[0], 2);
    }
}

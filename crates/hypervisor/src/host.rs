//! The host: its CPUs, its memory, its free space.
//!
//! A [`CpuSlot`] is the right to run a timed replica on one CPU. It is a lock file in the run
//! root, so two instances never time replicas on one CPU at once.

use crate::error::HypervisorError;
use crate::process::run_directory::RunRoot;
use model::Placement;
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// What this host is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostInfo {
    /// Its name.
    pub name: String,
    /// The CPUs that this process may use, ascending.
    pub cpus: Vec<u32>,
    /// Memory that can be had without swapping, in bytes.
    pub memory_available_bytes: u64,
}

impl HostInfo {
    /// Looks at the host.
    #[must_use]
    pub fn read() -> Self {
        Self {
            name: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            cpus: allowed_cpus(),
            memory_available_bytes: memory_available(),
        }
    }

    /// Where a replica runs whose vCPUs are bound to these CPUs.
    #[must_use]
    pub fn placement(&self, cpus: &[u32]) -> Placement {
        let cpu = cpus.first().copied().unwrap_or(0);
        let topology = |file: &str| {
            let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/{file}");
            fs::read_to_string(path).ok()?.trim().parse().ok()
        };
        Placement {
            host: self.name.clone(),
            cpus: cpus.to_vec(),
            socket: topology("physical_package_id"),
            core: topology("core_id"),
            microcode: microcode(),
        }
    }
}

fn allowed_cpus() -> Vec<u32> {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else {
        return vec![0];
    };
    (0..rustix::thread::CpuSet::MAX_CPU)
        .filter(|&cpu| set.is_set(cpu))
        .filter_map(|cpu| u32::try_from(cpu).ok())
        .collect()
}

fn memory_available() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kibibytes| kibibytes.saturating_mul(1024))
}

fn microcode() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("microcode"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Free space for us in the file system of a path, in bytes.
///
/// # Errors
/// The path cannot be looked at.
pub fn free_bytes(path: &Path) -> Result<u64, HypervisorError> {
    let figures = rustix::fs::statvfs(path)
        .map_err(|error| HypervisorError::file("look at", path)(error.into()))?;
    Ok(figures.f_bavail.saturating_mul(figures.f_frsize))
}

/// Refuses to go on where a directory has too little room.
///
/// # Errors
/// [`HypervisorError::NoSpace`], or the path cannot be looked at.
pub fn need_space(
    path: &Path,
    needed_bytes: u64,
    what: &'static str,
) -> Result<(), HypervisorError> {
    let free_bytes = free_bytes(path)?;
    if free_bytes < needed_bytes {
        return Err(HypervisorError::NoSpace {
            path: path.to_path_buf(),
            free_bytes,
            needed_bytes,
            what,
        });
    }
    Ok(())
}

/// The right to run a timed replica on one CPU, given back when dropped.
#[derive(Debug)]
pub struct CpuSlot {
    /// The CPU.
    pub cpu: u32,
    _lock: File,
}

impl CpuSlot {
    /// Takes several CPUs, in the order of their numbers, so that two who want the same never wait
    /// for each other.
    ///
    /// # Errors
    /// A lock file cannot be made.
    pub async fn take_all(root: &RunRoot, cpus: &[u32]) -> Result<Vec<Self>, HypervisorError> {
        let ordered: BTreeSet<u32> = cpus.iter().copied().collect();
        let mut slots = Vec::with_capacity(ordered.len());
        for cpu in ordered {
            slots.push(Self::take(root, cpu).await?);
        }
        Ok(slots)
    }

    /// Waits until no other replica is timed on a CPU, then takes it.
    ///
    /// # Errors
    /// The lock file cannot be made.
    pub async fn take(root: &RunRoot, cpu: u32) -> Result<Self, HypervisorError> {
        let path = root.path().join(format!("cpu-{cpu}.lock"));
        let lock = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(HypervisorError::file("make", &path))?;
        let locked = tokio::task::spawn_blocking(move || {
            flock(&lock, FlockOperation::LockExclusive).map(|()| lock)
        })
        .await;
        match locked {
            Ok(Ok(lock)) => Ok(Self { cpu, _lock: lock }),
            Ok(Err(error)) => Err(HypervisorError::file("lock", &path)(error.into())),
            Err(error) => Err(HypervisorError::file("lock", &path)(std::io::Error::other(
                error,
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_a_cpu_and_memory() {
        let host = HostInfo::read();
        assert!(!host.cpus.is_empty());
        assert!(host.memory_available_bytes > 0);
        assert_eq!(host.placement(&host.cpus).cpus, host.cpus);
    }

    #[test]
    fn too_little_room_is_refused_with_figures() {
        let error = need_space(Path::new("/"), u64::MAX, "guest memory").unwrap_err();
        assert!(error.to_string().contains("bytes free"));
    }
}

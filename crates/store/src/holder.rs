//! Which process holds a lock, as its file says it.
//!
//! A pid alone names nobody: pids are used again, after a restart of the machine from the
//! beginning, and every pid namespace (a container) counts its own. With the boot, the namespace
//! and the time of its start it names one process for ever.

use serde_json::{Value, json};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

/// More than any file that [`Holder::write`] makes.
const FILE_BYTES_MAX: usize = 512;

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    /// The kernel's name of this boot; empty where it cannot be read.
    pub(crate) boot: String,
    /// The inode of the process's pid namespace, `/proc/self/ns/pid`.
    pub(crate) namespace: u64,
    /// Its pid in that namespace.
    pub(crate) pid: i32,
    /// When it was started, in clock ticks since boot: field 22 of `/proc/PID/stat`.
    pub(crate) started: u64,
}

impl Holder {
    /// The process that executes this.
    pub(crate) fn this_process() -> Self {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        Self {
            boot: boot(),
            namespace: namespace(),
            pid,
            started: stat(pid).map_or(0, |stat| stat.starttime),
        }
    }

    /// Writes it into a lock's file, in place of what stands there.
    pub(crate) fn write(&self, file: &File) -> io::Result<()> {
        let text = json!({
            "boot": self.boot,
            "namespace": self.namespace,
            "pid": self.pid,
            "started": self.started,
        });
        file.set_len(0)?;
        file.write_all_at(text.to_string().as_bytes(), 0)
    }

    /// What a lock's file says; nothing where it does not say it, or not yet.
    pub(crate) fn read(file: &File) -> Option<Self> {
        let mut text = [0; FILE_BYTES_MAX];
        let length = file.read_at(&mut text, 0).ok()?;
        let said: Value = serde_json::from_slice(text.get(..length)?).ok()?;
        Some(Self {
            boot: said.get("boot")?.as_str()?.to_owned(),
            namespace: said.get("namespace")?.as_u64()?,
            pid: said.get("pid")?.as_i64()?.try_into().ok()?,
            started: said.get("started")?.as_u64()?,
        })
    }

    /// Whether the process is known to have ended. Of another boot, of another namespace, or where `/proc` is not to be had, nothing is known.
    pub(crate) fn has_ended(&self) -> bool {
        let own = std::process::id();
        let known = !self.boot.is_empty() && self.boot == boot() && self.namespace == namespace();
        // Whoever cannot see itself sees nobody.
        let sees = i32::try_from(own).is_ok_and(|own| stat(own).is_some());
        known && sees && !self.runs()
    }

    fn runs(&self) -> bool {
        // Z: it has ended and its parent has not asked yet. X: it is just ending.
        stat(self.pid)
            .is_some_and(|stat| stat.starttime == self.started && !matches!(stat.state, 'Z' | 'X'))
    }
}

fn stat(pid: i32) -> Option<procfs::process::Stat> {
    procfs::process::Process::new(pid).ok()?.stat().ok()
}

fn boot() -> String {
    let path = "/proc/sys/kernel/random/boot_id";
    fs::read_to_string(path).map_or_else(|_| String::new(), |text| text.trim().to_owned())
}

fn namespace() -> u64 {
    fs::metadata("/proc/self/ns/pid").map_or(0, |namespace| namespace.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn it_is_read_as_it_was_written() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(Holder::read(&file), None);
        let own = Holder::this_process();
        own.write(&file).unwrap();
        own.write(&file).unwrap();
        assert_eq!(Holder::read(&file), Some(own));
        file.set_len(20).unwrap();
        assert_eq!(Holder::read(&file), None, "half a file says nothing");
    }

    #[test]
    fn the_living_have_not_ended_and_the_dead_have() {
        let own = Holder::this_process();
        assert!(own.started > 0 && own.namespace > 0 && !own.boot.is_empty());
        assert!(!own.has_ended());
        let mut child = Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let holder = Holder {
            pid,
            started: stat(pid).unwrap().starttime,
            ..own
        };
        assert!(!holder.has_ended());
        let other = Holder {
            started: holder.started + 1,
            ..holder.clone()
        };
        assert!(other.has_ended(), "its pid went to another");
        drop(child.stdin.take());
        let id = rustix::process::WaitId::Pid(rustix::process::Pid::from_child(&child));
        // It is seen to have ended, and left for its parent to ask.
        let options =
            rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(id, options).unwrap();
        assert!(holder.has_ended(), "a child that nobody asked for");
        child.wait().unwrap();
        assert!(holder.has_ended());
    }

    #[test]
    fn of_strangers_nothing_is_known() {
        let gone = Holder {
            pid: 1 << 30,
            ..Holder::this_process()
        };
        assert!(gone.has_ended());
        let elsewhere = Holder {
            namespace: gone.namespace + 1,
            ..gone.clone()
        };
        assert!(!elsewhere.has_ended());
        let earlier = Holder {
            boot: "another".into(),
            ..gone
        };
        assert!(!earlier.has_ended());
    }
}

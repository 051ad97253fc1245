//! What an instance of the product has on the machine while it works, and must not leave behind.
//!
//! * files and directories in the run root, besides the CPUs' locks
//! * emulators, known by the run root in their command lines
//! * machines that were being made, and images on their way into the store: they hold guest memory
//! * content that the store had staged, and the mark of the writer who had staged it
//!
//! The kernel takes a moment to end the emulators of a killed instance, so that a look waits for
//! what is there to go before it counts.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::product::Product;

/// How long what is going may take to be gone, on a busy host.
const GRACE: Duration = Duration::from_secs(5);

/// How often a look is taken meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// What is there.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Leftovers {
    /// Files and directories.
    pub(super) files: Vec<PathBuf>,
    /// Process ids of emulators, each with its command line.
    pub(super) emulators: Vec<(u32, String)>,
}

impl Leftovers {
    /// Looks once.
    pub(super) fn look(product: &Product) -> Self {
        let any = |_: &str| true;
        let files = [
            entries(product.run_root(), |name| !name.ends_with(".lock")),
            entries(&product.machines(), |name| name.starts_with("unfinished-")),
            entries(&product.store().join("cache"), |name| name != "machines"),
            entries(&product.store().join("staging"), any),
            entries(&product.store().join("writers"), any),
        ];
        Self {
            files: files.concat(),
            emulators: emulators(product.run_root()),
        }
    }

    /// What stays, besides what belongs to an instance at work.
    pub(super) fn staying(product: &Product, at_work: &[PathBuf]) -> Self {
        let since = Instant::now();
        loop {
            let left = Self::look(product).without(at_work);
            if left == Self::default() || since.elapsed() > GRACE {
                return left;
            }
            thread::sleep(LOOK);
        }
    }

    /// Leaves out run directories, and the emulators that work in them.
    fn without(mut self, at_work: &[PathBuf]) -> Self {
        self.files.retain(|file| !at_work.contains(file));
        self.emulators.retain(|(_, line)| {
            let works_in = |directory: &PathBuf| line.contains(&*directory.to_string_lossy());
            !at_work.iter().any(works_in)
        });
        self
    }

    /// Each of them, as a failure.
    pub(super) fn failures(&self) -> Vec<String> {
        let files = self.files.iter();
        let emulators = self.emulators.iter();
        files
            .map(|file| format!("{} was left", file.display()))
            .chain(emulators.map(|(pid, _)| format!("the emulator with pid {pid} was left")))
            .collect()
    }
}

/// The entries of a directory that count; nothing where it is absent.
fn entries(directory: &Path, counts: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| counts(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path())
        .collect()
}

/// The processes whose command lines name a directory. One that has ended has none any more.
fn emulators(run_root: &Path) -> Vec<(u32, String)> {
    let run_root = run_root.to_string_lossy();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            Some((pid, String::from_utf8_lossy(&line).into_owned()))
        })
        .filter(|(_, line)| line.contains(&*run_root))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;
    use std::io::Read;
    use std::process::{Command, Stdio};

    #[test]
    fn what_belongs_to_an_instance_at_work_is_left_out() {
        let all = Leftovers {
            files: vec!["/run/one".into(), "/run/two".into()],
            emulators: vec![
                (1, "qemu\0-kernel\0/run/one/kernel".to_owned()),
                (2, "qemu\0-kernel\0/run/two/kernel".to_owned()),
            ],
        };
        let left = all.clone().without(&["/run/one".into()]);
        assert_eq!(
            left.failures(),
            ["/run/two was left", "the emulator with pid 2 was left"]
        );
        let none = all.without(&["/run/one".into(), "/run/two".into()]);
        assert_eq!(none, Leftovers::default());
    }

    #[test]
    fn a_process_is_found_by_its_command_line() -> anyhow::Result<()> {
        let name = format!("/nowhere/xtask-leftovers-{}", std::process::id());
        let mut child = Command::new("sh")
            .args(["-c", "echo started; read line", &name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        // A process has the command line of its parent until its program was loaded.
        let mut said = [0; b"started".len()];
        let output = child.stdout.as_mut().context("it has no output")?;
        output.read_exact(&mut said)?;
        let found = emulators(Path::new(&name));
        child.kill()?;
        child.wait()?;
        let pids: Vec<u32> = found.into_iter().map(|(pid, _)| pid).collect();
        assert_eq!(pids, [child.id()]);
        assert!(emulators(Path::new(&name)).is_empty());
        Ok(())
    }
}

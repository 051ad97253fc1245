//! What a guest is made of, and its start.

use crate::archive::Archive;
use crate::disk::{Disk, option};
use crate::guest::{Ended, Guest};
use crate::modules::Modules;
use crate::{inside, part, program};
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What every guest needs: its disks and its channel.
const ALWAYS: [&str; 3] = ["virtio_pci", "virtio_blk", "virtio_console"];

/// How long a guest may be silent before its test fails: a guest that does what a script says takes
/// seconds, on a busy machine minutes.
const SILENCE_MAX: Duration = Duration::from_secs(300);

/// Memory of a guest: enough for a system's package tools, and little for a machine that runs two.
const MEMORY_MIB: u32 = 384;

/// All that the translator has, but for a fifth level of page tables, which costs time.
const PROCESSOR: &str = "max,la57=off";

/// The kernel talks of trouble only; what a test does not need is not started, for each second of a
/// boot is paid by every test.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 quiet rdinit=/workshop/start panic=-1 reboot=t \
    mitigations=off nokaslr no_timer_check tsc=reliable raid=noautodetect random.trust_cpu=on";

/// What a guest is to have.
#[derive(Debug, Clone, Default)]
pub struct Workshop {
    disks: Vec<Disk>,
    files: Vec<(String, u32, Vec<u8>)>,
    programs: Vec<(PathBuf, String)>,
    hand: Option<PathBuf>,
    modules: Vec<String>,
    channels: Vec<(String, PathBuf)>,
    arguments: Vec<OsString>,
    memory_mib: Option<u32>,
    silence_max: Option<Duration>,
    kernel: Option<PathBuf>,
    processor: Option<String>,
    processors: Option<u32>,
}

impl Workshop {
    /// A guest with nothing but memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One more disk: the first is `/dev/vda`.
    #[must_use]
    pub fn disk(mut self, disk: Disk) -> Self {
        self.disks.push(disk);
        self
    }

    /// A file for the guest to find at an absolute path.
    #[must_use]
    pub fn file(mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.to_owned(), mode, content.into()));
        self
    }

    /// A program of the host's, with the libraries that it is linked with, at the path that it has
    /// here.
    #[must_use]
    pub fn program(self, path: &Path) -> Self {
        self.program_as(path, &path.to_string_lossy())
    }

    /// Likewise, at another path: what is below `/dev`, `/run` or `/mnt` would not be seen.
    #[must_use]
    pub fn program_as(mut self, path: &Path, in_guest: &str) -> Self {
        self.programs
            .push((path.to_path_buf(), in_guest.to_owned()));
        self
    }

    /// The program that is running, a test's: the script has the word `hand ORDER…` for it, and
    /// [`inside`](crate::inside) says what that does.
    ///
    /// # Errors
    /// It is not known which program is running.
    pub fn hand(mut self) -> Result<Self> {
        let program = std::env::current_exe().context("cannot tell which program this is")?;
        self.hand = Some(program.clone());
        Ok(self.program(&program))
    }

    /// A module of the kernel's with all that it depends on: `xfs`, `btrfs`, `vfat`, … A guest has
    /// those of its disks without asking, and ext2, ext3 and ext4 are built in.
    #[must_use]
    pub fn module(mut self, name: &str) -> Self {
        self.modules.push(name.to_owned());
        self
    }

    /// A channel of that name, which the host finds as a socket at a path; in the guest, the word
    /// `port NAME` says which device it is.
    #[must_use]
    pub fn channel(mut self, name: &str, socket: &Path) -> Self {
        self.channels.push((name.to_owned(), socket.to_path_buf()));
        self
    }

    /// More for QEMU's command line: a monitor, a backend.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// More memory than is usual.
    #[must_use]
    pub fn memory_mib(mut self, mebibytes: u32) -> Self {
        self.memory_mib = Some(mebibytes);
        self
    }

    /// For how long the guest may say nothing, where five minutes is not right.
    #[must_use]
    pub fn silence_max(mut self, time: Duration) -> Self {
        self.silence_max = Some(time);
        self
    }

    /// Another kernel than the guests' own. Its modules stand beside it, in the directory `modules`.
    #[must_use]
    pub fn kernel(mut self, path: &Path) -> Self {
        self.kernel = Some(path.to_path_buf());
        self
    }

    /// Another processor than all that QEMU's translator has, by QEMU's name for it.
    #[must_use]
    pub fn processor(mut self, model: &str) -> Self {
        self.processor = Some(model.to_owned());
        self
    }

    /// More processors than one.
    #[must_use]
    pub fn processors(mut self, count: u32) -> Self {
        self.processors = Some(count);
        self
    }

    /// Starts a guest that does what a script says, and waits until the script begins.
    ///
    /// # Errors
    /// Set-up has not been here, QEMU does not start, or the guest does not.
    pub fn boot(&self, script: &str) -> Result<Guest> {
        let kernel = match &self.kernel {
            Some(kernel) => kernel.clone(),
            None => part::kernel()?,
        };
        let place = tempfile::tempdir().context("cannot make a directory for a guest")?;
        let initramfs = place.path().join("initramfs");
        std::fs::write(&initramfs, self.archive(&kernel, script)?)
            .context("cannot write a guest's first file system")?;
        let arguments = self.command_line(&kernel, &initramfs, place.path());
        let mut guest = Guest::start(place, &arguments, self.silence_max.unwrap_or(SILENCE_MAX))?;
        guest.wait_until_ready()?;
        Ok(guest)
    }

    /// A guest from its start to its end.
    ///
    /// # Errors
    /// As [`Workshop::boot`] and [`Guest::end`]; a script that fails is not an error.
    pub fn run(&self, script: &str) -> Result<Ended> {
        self.boot(script)?.end()
    }

    fn archive(&self, kernel: &Path, script: &str) -> Result<Vec<u8>> {
        let mut archive = Archive::default();
        for directory in ["dev", "proc", "sys", "mnt", "tmp", "root"] {
            archive.directory(directory)?;
        }
        archive.file("bin/busybox", 0o755, &part::busybox()?)?;
        archive.file("workshop/start", 0o755, include_bytes!("start"))?;
        let script = format!("{}{}{script}\n", include_str!("words"), self.word_hand());
        archive.file("workshop/script", 0o755, script.as_bytes())?;
        let directory = part::modules(kernel);
        let mut modules = Modules::of(&directory)
            .with_context(|| format!("scripts/test unpacks {}", directory.display()))?;
        // What a kernel of another's has built in is no file.
        let is_file = |name: &&str| directory.join(format!("{name}.ko")).is_file();
        let asked = ALWAYS
            .into_iter()
            .filter(|name| self.kernel.is_none() || is_file(name))
            .chain(self.modules.iter().map(String::as_str));
        let modules = modules.choose_all(asked)?;
        let mut order = String::new();
        for module in modules {
            archive.file(
                &format!("workshop/modules/{}.ko", module.name),
                0o644,
                &module.content,
            )?;
            order += &(module.name + "\n");
        }
        archive.file("workshop/modules/order", 0o644, order.as_bytes())?;
        for (path, mode, content) in &self.files {
            archive.file(path, *mode, content)?;
        }
        for (program, in_guest) in &self.programs {
            let libraries = program::libraries(program)?.into_iter();
            let named = libraries.map(|path| (path.to_string_lossy().into_owned(), path));
            for (in_guest, path) in named.chain([(in_guest.clone(), program.clone())]) {
                let content = std::fs::read(&path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                archive.file(&in_guest, 0o755, &content)?;
            }
        }
        archive.end()
    }

    /// The word `hand`, as the shell's function.
    fn word_hand(&self) -> String {
        let Some(program) = &self.hand else {
            return String::new();
        };
        let (order, told, test) = (inside::ORDER, inside::TOLD, inside::TEST);
        let program = program.display();
        format!(
            "hand() {{\n    rm -f {told}\n    \
             {order}=\"$*\" '{program}' --exact {test} --ignored --nocapture \
             </dev/null 3>&- >{told}.all 2>&1 || {{ cat {told}.all; return 1; }}\n    \
             cat {told} 2>/dev/null || true\n}}\n"
        )
    }

    fn command_line(&self, kernel: &Path, initramfs: &Path, place: &Path) -> Vec<OsString> {
        let mut line: Vec<OsString> = Vec::new();
        let mut pair = |flag: &str, value: OsString| line.extend([flag.into(), value]);
        pair("-machine", "pc,accel=tcg".into());
        let processor = self.processor.as_deref().unwrap_or(PROCESSOR);
        pair("-cpu", processor.into());
        let processors = self.processors.unwrap_or(1);
        pair("-smp", processors.to_string().into());
        pair(
            "-m",
            format!("{}M", self.memory_mib.unwrap_or(MEMORY_MIB)).into(),
        );
        pair("-kernel", kernel.into());
        pair("-initrd", initramfs.into());
        pair("-append", KERNEL_ARGUMENTS.into());
        let console = option(&place.join("console"));
        pair("-chardev", format!("file,id=console,path={console}").into());
        pair("-serial", "chardev:console".into());
        pair("-device", "virtio-serial-pci".into());
        pair("-chardev", "stdio,id=workshop,signal=off".into());
        pair(
            "-device",
            "virtserialport,chardev=workshop,name=workshop".into(),
        );
        for (name, socket) in &self.channels {
            let path = option(socket);
            pair(
                "-chardev",
                format!("socket,id={name},path={path},server=on,wait=off").into(),
            );
            pair(
                "-device",
                format!("virtserialport,chardev={name},name={name}").into(),
            );
        }
        for disk in &self.disks {
            for node in &disk.nodes {
                pair("-blockdev", node.into());
            }
            pair(
                "-device",
                format!("virtio-blk-pci,drive={}", disk.node).into(),
            );
        }
        line.extend(["-nodefaults", "-no-user-config", "-no-reboot"].map(OsString::from));
        line.extend(["-display", "none"].map(OsString::from));
        line.extend(self.arguments.iter().cloned());
        line
    }
}

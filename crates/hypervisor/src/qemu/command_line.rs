//! QEMU's command line: pure, from a machine's description to arguments.
//!
//! Boot and restore differ only in where memory comes from and in `-incoming`; everything that
//! shapes the machine is the same, or the restored state would not fit.

use crate::traits::{Accelerator, Channel, MachineSpec, Signal};
use std::ffi::OsString;
use std::path::Path;

/// Instructions last 2^3 ns of virtual time: the value with the least cost of determinism.
const INSTRUCTION_SHIFT: u32 = 3;

/// Where a machine's memory comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum MemorySource<'a> {
    /// A file that is made and shared, so that a snapshot can take it over.
    Shared(&'a Path),
    /// A snapshot's file, mapped privately and read-only underneath.
    CopyOnWrite(&'a Path),
}

/// Descriptors and paths that the arguments name.
#[derive(Debug)]
pub(super) struct Files<'a> {
    /// Descriptor of the monitor's connected socket.
    pub(super) monitor: i32,
    /// The named pipe that takes the guest's lines.
    pub(super) console: &'a Path,
    /// The kernel's image.
    pub(super) kernel: &'a Path,
    /// The initramfs.
    pub(super) initramfs: &'a Path,
}

/// The arguments for a machine.
pub(super) fn arguments(
    spec: &MachineSpec,
    memory: MemorySource<'_>,
    files: &Files<'_>,
) -> Vec<OsString> {
    let mut line = ArgumentList::default();
    line.words(&["-nodefaults", "-no-user-config", "-display", "none"]);
    line.words(&["-sandbox"]);
    line.words(&["on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]);
    line.pair(
        "-chardev",
        format!("socket,id=monitor,fd={}", files.monitor),
    );
    line.pair("-mon", "chardev=monitor,mode=control".to_owned());
    machine(&mut line, spec, memory);
    line.pair_os("-kernel", files.kernel.into());
    line.pair_os("-initrd", files.initramfs.into());
    line.pair("-append", spec.kernel_arguments.clone());
    time_and_chance(&mut line, spec);
    signals(&mut line, spec, files.console);
    // A snapshot says nothing of why its machine stood still: a restored one stands, whatever it
    // was, and QEMU cannot load one that stood at a breakpoint.
    line.words(&["-global", "migration.store-global-state=off"]);
    if matches!(memory, MemorySource::CopyOnWrite(_)) {
        line.words(&["-S", "-incoming", "defer"]);
    }
    line.0
}

#[derive(Default)]
struct ArgumentList(Vec<OsString>);

impl ArgumentList {
    fn words(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(OsString::from));
    }

    fn pair(&mut self, flag: &str, value: String) {
        self.pair_os(flag, value.into());
    }

    fn pair_os(&mut self, flag: &str, value: OsString) {
        self.0.push(flag.into());
        self.0.push(value);
    }
}

fn machine(line: &mut ArgumentList, spec: &MachineSpec, memory: MemorySource<'_>) {
    line.pair("-machine", "pc,hpet=off,memory-backend=ram".to_owned());
    line.pair("-accel", spec.accelerator.name().to_owned());
    line.pair("-cpu", spec.cpu_model.clone());
    line.pair("-smp", spec.vcpus.to_string());
    line.pair("-m", format!("{}B", spec.memory_bytes));
    let (path, sharing) = match memory {
        MemorySource::Shared(path) => (path, "share=on"),
        MemorySource::CopyOnWrite(path) => (path, "share=off,readonly=on,rom=off"),
    };
    let mut backend = OsString::from(format!(
        "memory-backend-file,id=ram,size={},{sharing},prealloc=off,merge=off,mem-path=",
        spec.memory_bytes
    ));
    backend.push(escape(path));
    line.pair_os("-object", backend);
}

/// A fixed calendar, a fixed seed, and virtual time counted in instructions.
fn time_and_chance(line: &mut ArgumentList, spec: &MachineSpec) {
    line.pair("-rtc", "base=2024-01-01T00:00:00,clock=vm".to_owned());
    line.pair("-seed", "42".to_owned());
    if spec.deterministic && spec.accelerator == Accelerator::Tcg {
        line.pair("-icount", format!("shift={INSTRUCTION_SHIFT},sleep=off"));
    }
}

fn signals(line: &mut ArgumentList, spec: &MachineSpec, console: &Path) {
    let signal = match spec.signal {
        Signal::Port => "pvpanic",
        Signal::Pci => "pvpanic-pci",
    };
    line.pair("-device", signal.to_owned());
    line.pair(
        "-action",
        "panic=pause,shutdown=pause,reboot=shutdown".to_owned(),
    );
    let mut chardev = OsString::from("file,id=console,path=");
    chardev.push(escape(console));
    line.pair_os("-chardev", chardev);
    match spec.channel {
        Channel::DebugConsole => line.pair(
            "-device",
            "isa-debugcon,iobase=0xe9,chardev=console".to_owned(),
        ),
        Channel::Serial => line.pair("-serial", "chardev:console".to_owned()),
    }
}

/// A comma ends a value in QEMU's option lists; a doubled one is a comma.
fn escape(path: &Path) -> OsString {
    match path.to_str() {
        Some(text) => text.replace(',', ",,").into(),
        None => path.into(),
    }
}

/// Instructions that a span of virtual time stands for on a deterministic machine.
#[must_use]
pub fn instructions_in(virtual_ns: u64) -> u64 {
    virtual_ns >> INSTRUCTION_SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(memory: MemorySource<'_>, present: &[&str], absent: &[&str]) {
        let spec = MachineSpec {
            memory_bytes: 128 << 20,
            cpu_model: "max".to_owned(),
            vcpus: 1,
            accelerator: Accelerator::Tcg,
            deterministic: true,
            kernel: "vmlinuz".into(),
            initramfs: Vec::new(),
            kernel_arguments: "quiet".to_owned(),
            signal: Signal::Port,
            channel: Channel::DebugConsole,
        };
        let files = Files {
            monitor: 3,
            console: Path::new("/run/x/console"),
            kernel: Path::new("/run/x/kernel"),
            initramfs: Path::new("/run/x/initramfs"),
        };
        let line: Vec<String> = arguments(&spec, memory, &files)
            .into_iter()
            .map(|argument| argument.into_string().unwrap())
            .collect();
        let line = line.join(" ");
        for word in present {
            assert!(line.contains(word), "{word} is not in {line}");
        }
        for word in absent {
            assert!(!line.contains(word), "{word} is in {line}");
        }
    }

    #[test]
    fn a_machine_boots_on_shared_memory_and_has_no_network() {
        check(
            MemorySource::Shared(Path::new("/run/x/memory")),
            &["share=on", "-icount shift=3,sleep=off", "pc,hpet=off"],
            &["-incoming", "-netdev", "readonly"],
        );
    }

    #[test]
    fn a_replica_never_writes_to_the_snapshot() {
        check(
            MemorySource::CopyOnWrite(Path::new("/a,b/memory")),
            &[
                "share=off,readonly=on,rom=off",
                "-S -incoming defer",
                "mem-path=/a,,b/memory",
            ],
            &["share=on"],
        );
    }
}

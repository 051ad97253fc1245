//! QEMU's command line: pure, from a machine's description to arguments.
//!
//! Boot and restore differ only in where memory comes from and in `-incoming`; everything that
//! shapes the machine is the same, or the restored state would not fit.

use crate::traits::{Accelerator, Channel, DiskFormat, MachineSpec, Signal};
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
    /// What a machine with a disk has besides.
    pub(super) recorded: Option<RecordedFiles<'a>>,
    /// Descriptor of the kernel's virtual machine monitor, where that executes the guest.
    pub(super) kvm: Option<i32>,
}

/// What a machine with a disk has besides.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordedFiles<'a> {
    /// Whether it is recorded, or follows a recording.
    pub(super) records: bool,
    /// Its recording.
    pub(super) log: &'a Path,
    /// The image that holds its saved state.
    pub(super) state: &'a Path,
    /// The image that takes what it writes to its disk.
    pub(super) overlay: &'a Path,
    /// Descriptor and format of the image below; none while there is no disk of anybody's.
    pub(super) image: Option<(i32, DiskFormat)>,
}

/// QEMU's numbers for descriptors that it opens as files.
const IMAGE_SET: u32 = 1;
const KVM_SET: u32 = 2;

/// The node and the device that is the disk, in reports and for the monitor.
pub(super) const STATE_NODE: &str = "state";

/// The node that takes what a guest writes.
pub(super) const OVERLAY_NODE: &str = "overlay";

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
    machine(&mut line, spec, memory, files.kvm);
    line.pair_os("-kernel", files.kernel.into());
    line.pair_os("-initrd", files.initramfs.into());
    line.pair("-append", spec.kernel_arguments.clone());
    time_and_chance(&mut line, spec, files.recorded.as_ref());
    signals(&mut line, spec, files.console);
    // A snapshot says nothing of why its machine stood still: a restored one stands, whatever it
    // was, and QEMU cannot load one that stood at a breakpoint.
    line.words(&["-global", "migration.store-global-state=off"]);
    if let Some(recorded) = &files.recorded {
        disk(&mut line, recorded);
    }
    match (memory, &files.recorded) {
        (MemorySource::Shared(_), _) => {}
        (MemorySource::CopyOnWrite(_), None) => line.words(&["-S", "-incoming", "defer"]),
        // The monitor loads a state that was saved while recording.
        (MemorySource::CopyOnWrite(_), Some(_)) => line.words(&["-S"]),
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

fn machine(
    line: &mut ArgumentList,
    spec: &MachineSpec,
    memory: MemorySource<'_>,
    kvm: Option<i32>,
) {
    line.pair("-machine", "pc,hpet=off,memory-backend=ram".to_owned());
    let accelerator = spec.accelerator.name();
    match kvm {
        None => line.pair("-accel", accelerator.to_owned()),
        Some(descriptor) => {
            line.pair("-add-fd", format!("fd={descriptor},set={KVM_SET}"));
            line.pair(
                "-accel",
                format!("{accelerator},device=/dev/fdset/{KVM_SET}"),
            );
        }
    }
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
///
/// A recorded machine sleeps where its guest does: time that runs away while a disk works would be
/// time-outs of the guest.
fn time_and_chance(
    line: &mut ArgumentList,
    spec: &MachineSpec,
    recorded: Option<&RecordedFiles<'_>>,
) {
    line.pair("-rtc", "base=2024-01-01T00:00:00,clock=vm".to_owned());
    line.pair("-seed", "42".to_owned());
    if let Some(recorded) = recorded {
        let mode = if recorded.records { "record" } else { "replay" };
        let mut count = format!("shift={INSTRUCTION_SHIFT},sleep=on,rr={mode},rrfile=");
        count.push_str(&escape(recorded.log).to_string_lossy());
        line.pair("-icount", count);
    } else if spec.deterministic && spec.accelerator == Accelerator::Tcg {
        line.pair("-icount", format!("shift={INSTRUCTION_SHIFT},sleep=off"));
    }
}

/// The disk, and the place of the saved state. Neither outlives the machine, so that nothing is
/// brought to the host's disk: a follower spins while its request is not completed. What the guest writes goes into the overlay, by way
/// of the node that holds each request back until the recording says that it was completed.
fn disk(line: &mut ArgumentList, recorded: &RecordedFiles<'_>) {
    let image = |line: &mut ArgumentList, node: &str, path: &Path, below: &str| {
        let mut node = OsString::from(format!(
            "driver=qcow2,node-name={node}{below},cache.no-flush=on,file.driver=file,\
             file.cache.no-flush=on,file.filename="
        ));
        node.push(escape(path));
        line.pair_os("-blockdev", node);
    };
    image(line, STATE_NODE, recorded.state, "");
    let below = match recorded.image {
        None => "",
        Some((descriptor, format)) => {
            line.pair("-add-fd", format!("fd={descriptor},set={IMAGE_SET}"));
            let format = format.name();
            line.pair(
                "-blockdev",
                format!(
                    "driver={format},node-name=image,read-only=on,\
                     file.driver=file,file.filename=/dev/fdset/{IMAGE_SET},file.read-only=on"
                ),
            );
            ",backing=image"
        }
    };
    image(line, OVERLAY_NODE, recorded.overlay, below);
    line.pair(
        "-blockdev",
        format!("driver=blkreplay,node-name=disk,image={OVERLAY_NODE}"),
    );
    // Shared, so that a fault can be written below it while the machine stands still.
    line.pair(
        "-device",
        "virtio-blk-pci,drive=disk,share-rw=on".to_owned(),
    );
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
        check_with((None, None), memory, present, absent);
    }

    fn check_with(
        (recorded, kvm): (Option<RecordedFiles<'_>>, Option<i32>),
        memory: MemorySource<'_>,
        present: &[&str],
        absent: &[&str],
    ) {
        let spec = MachineSpec {
            memory_bytes: 128 << 20,
            cpu_model: "max".to_owned(),
            vcpus: 1,
            accelerator: match kvm {
                None => Accelerator::Tcg,
                Some(_) => Accelerator::Kvm,
            },
            deterministic: true,
            recorded: false,
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
            recorded,
            kvm,
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

    #[test]
    fn the_image_of_a_disk_is_read_only_and_reached_by_descriptor() {
        let recorded = RecordedFiles {
            records: true,
            log: Path::new("/run/x,y/log"),
            state: Path::new("/run/x/state"),
            overlay: Path::new("/run/x/overlay"),
            image: Some((7, DiskFormat::Raw)),
        };
        let memory = MemorySource::CopyOnWrite(Path::new("/a/memory"));
        check_with(
            (Some(recorded), None),
            memory,
            &[
                "sleep=on,rr=record,rrfile=/run/x,,y/log",
                "-add-fd fd=7,set=1",
                "driver=raw,node-name=image,read-only=on,file.driver=file,\
                 file.filename=/dev/fdset/1,file.read-only=on",
                "node-name=overlay,backing=image,cache.no-flush=on",
                "-S",
            ],
            &["-incoming", "sleep=off"],
        );
        let follower = RecordedFiles {
            records: false,
            image: None,
            ..recorded
        };
        let memory = MemorySource::Shared(Path::new("/a/memory"));
        check_with(
            (Some(follower), None),
            memory,
            &["rr=replay"],
            &["backing=", "-S "],
        );
    }

    #[test]
    fn kvm_is_reached_by_descriptor_and_counts_no_instructions() {
        check_with(
            (None, Some(5)),
            MemorySource::Shared(Path::new("/a/memory")),
            &["-add-fd fd=5,set=2 -accel kvm,device=/dev/fdset/2"],
            &["-icount", "/dev/kvm"],
        );
    }
}

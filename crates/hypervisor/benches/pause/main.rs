//! How long a guest stands still while its disk is captured: the longest gap in its tick of 1 ms, beyond
//! the longest one in as many windows of the same length without a capture.
//!
//! ```text
//! window:   ticks, writes │ ticks, writes, a capture from begin to finish │ ticks, writes │ …
//! ```
//!
//! The guest sends its clock at each tick, and writes to its disk all the time. Whatever else the
//! host does makes gaps as well, so windows take turns; medians of the windows' longest gaps are shown
//! beside.

#![expect(clippy::print_stdout, reason = "a bench's figures are its output")]
#![expect(clippy::unwrap_used, reason = "what fails here ends the bench")]

mod guest;
#[path = "../../tests/live_machine/machine.rs"]
#[allow(dead_code, reason = "it is the tests', and a part of it is used here")]
mod machine;

use block::nbd::{DIRTY, Export, NbdError, dirty_bitmap};
use hypervisor::live::{
    Base, CaptureRequest, Changed, DiskChoice, Label, LiveDisks, LiveMachine, Outcome, PointInTime,
    beside_a_guest,
};
use machine::{Machine, create};
use std::io::Read;
use std::path::Path;
use std::process::{ChildStdout, ExitCode};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Windows of each kind.
const ROUNDS: usize = 20;

/// How long a window is: a capture of what was written in one takes a part of it.
const WINDOW: Duration = Duration::from_millis(1500);

/// How much longer the longest gap may be.
const BOUND_MS: f64 = 10.0;

/// The clocks that the guest has sent, and when the first and the last came.
#[derive(Default)]
struct Ticks {
    clocks: Vec<u32>,
    span: Option<(Instant, Instant)>,
}

impl Ticks {
    fn listen(mut console: ChildStdout) -> Arc<Mutex<Self>> {
        let ticks = Arc::new(Mutex::new(Self::default()));
        let shared = Arc::clone(&ticks);
        std::thread::spawn(move || {
            let mut clock = [0; 4];
            while console.read_exact(&mut clock).is_ok() {
                let mut ticks = shared.lock().unwrap();
                let now = Instant::now();
                ticks.clocks.push(u32::from_le_bytes(clock));
                ticks.span = Some((ticks.span.map_or(now, |(first, _)| first), now));
            }
        });
        ticks
    }

    /// Units of the guest's clock in a millisecond.
    fn units_per_ms(&self) -> f64 {
        let (first, last) = self.span.unwrap();
        let units: f64 = gaps(&self.clocks).map(f64::from).sum();
        units / (last.duration_since(first).as_secs_f64() * 1e3)
    }
}

fn gaps(clocks: &[u32]) -> impl Iterator<Item = u32> {
    let pairs = clocks.iter().zip(clocks.iter().skip(1));
    pairs.map(|(one, next)| next.wrapping_sub(*one))
}

#[tokio::main]
async fn main() -> ExitCode {
    let place = tempfile::tempdir().unwrap();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("pause: load {} before", load.trim_end());
    let mut machine = start(place.path());
    let mut live = LiveMachine::connect(&machine.socket).await.unwrap();
    let ticks = Ticks::listen(machine.console.take().unwrap());
    let (mut without, mut with) = (Vec::new(), Vec::new());
    let count = || ticks.lock().unwrap().clocks.len();
    let first = capture(&mut live, place.path(), 0, None, &count).await;
    let (mut base, mut captured) = (first.base, 0);
    let mut phases = [(); 3].map(|()| Vec::new());
    for round in 1..=ROUNDS {
        let from = ticks.lock().unwrap().clocks.len();
        tokio::time::sleep(WINDOW).await;
        let between = ticks.lock().unwrap().clocks.len();
        let until = Instant::now() + WINDOW;
        let done = capture(&mut live, place.path(), round, Some(base), &count).await;
        tokio::time::sleep_until(until.into()).await;
        let ticks = ticks.lock().unwrap();
        let longest = |part: Option<&[u32]>| gaps(part.unwrap()).max().unwrap();
        without.push(longest(ticks.clocks.get(from..between)));
        with.push(longest(ticks.clocks.get(between.saturating_sub(1)..)));
        for (phase, bounds) in phases.iter_mut().zip(done.ticks.windows(2)) {
            let part = bounds[0].saturating_sub(1)..=bounds[1].min(ticks.clocks.len() - 1);
            phase.push(gaps(&ticks.clocks[part]).max().unwrap_or(0));
        }
        (base, captured) = (done.base, captured + done.bytes);
    }
    let unit = ticks.lock().unwrap().units_per_ms();
    for (name, gaps) in ["beginning", "reading", "finishing"].iter().zip(&phases) {
        let (usual, longest) = figures(gaps, unit);
        println!("pause: while {name}: longest gap median {usual:.1} ms, longest {longest:.1} ms");
    }
    println!(
        "pause: {ROUNDS} captures, {} MiB of dirty blocks read",
        captured >> 20
    );
    conclude(unit, &without, &with)
}

/// The median and the greatest of gaps, in milliseconds.
fn figures(gaps: &[u32], unit: f64) -> (f64, f64) {
    let mut gaps: Vec<f64> = gaps.iter().map(|gap| f64::from(*gap) / unit).collect();
    gaps.sort_by(f64::total_cmp);
    (gaps[gaps.len() / 2], gaps[gaps.len() - 1])
}

fn conclude(unit: f64, without: &[u32], with: &[u32]) -> ExitCode {
    let (usual_without, longest_without) = figures(without, unit);
    let (usual_with, longest_with) = figures(with, unit);
    println!("pause: longest gap of a window without a capture: median {usual_without:.1} ms");
    println!("pause: longest gap of a window with one:          median {usual_with:.1} ms");
    let more = longest_with - longest_without;
    let met = more <= BOUND_MS;
    let verdict = if met { "met" } else { "not met" };
    println!(
        "pause: longest gap {longest_with:.1} ms, without captures {longest_without:.1} ms, more by \
         {more:.1} ms (bound {BOUND_MS} ms): {verdict}"
    );
    if met {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn start(place: &Path) -> Machine {
    let (disk, floppy) = (place.join("disk"), place.join("floppy"));
    create(&disk, "qcow2", guest::DISK_BYTES);
    std::fs::write(&floppy, guest::floppy()).unwrap();
    let disk = format!("if=none,id=disk,format=qcow2,file={}", disk.display());
    let floppy = format!("if=floppy,format=raw,readonly=on,file={}", floppy.display());
    #[rustfmt::skip]
    let arguments = [
        "-machine", "pc,hpet=off", "-accel", "tcg", "-m", "16", "-boot", "a",
        "-drive", &disk, "-device", "ide-hd,drive=disk,bus=ide.0,unit=0", "-drive", &floppy,
        "-chardev", "stdio,id=out", "-device", "isa-debugcon,iobase=0xe9,chardev=out",
    ];
    Machine::start(place, &arguments)
}

/// A capture that was made.
struct Captured {
    /// What the next one is relative to.
    base: Base,
    /// How much was read.
    bytes: u64,
    /// How many ticks there had been before it began, was read, was finished, and after it.
    ticks: [usize; 4],
}

async fn capture(
    live: &mut LiveMachine,
    place: &Path,
    round: usize,
    base: Option<Base>,
    ticks: &impl Fn() -> usize,
) -> Captured {
    let before = ticks();
    let note = Label::new(&format!("n{round}")).unwrap();
    let choice = DiskChoice {
        disk: "disk".to_owned(),
        image: Label::new("disk").unwrap(),
        base,
    };
    let request = CaptureRequest {
        disks: vec![choice],
        note: note.clone(),
        private: place.to_path_buf(),
        scratch: place.to_path_buf(),
        room_bytes: 1 << 20,
        freeze: None,
    };
    let point = live.begin(&request).await.unwrap();
    let base = Base {
        note,
        size_bytes: point.disks[0].disk.size_bytes,
        process: point.process,
    };
    let begun = ticks();
    let (point, bytes) = tokio::task::spawn_blocking(|| {
        let bytes = beside_a_guest(|| read_dirty(&point));
        (point, bytes)
    })
    .await
    .unwrap();
    let read = ticks();
    live.finish(point, Outcome::Kept).await.unwrap();
    let ticks = [before, begun, read, ticks()];
    Captured { base, bytes, ticks }
}

/// Reads what is dirty, or all.
fn read_dirty(point: &PointInTime) -> u64 {
    let disk = &point.disks[0];
    let contexts = match &disk.changed {
        Changed::Dirty { bitmap, .. } => vec![dirty_bitmap(bitmap)],
        Changed::All(_) => Vec::new(),
    };
    let export = Export::connect(&point.socket, &disk.export, &contexts).unwrap();
    let all = 0..disk.disk.size_bytes;
    let parts: Vec<_> = match contexts.first() {
        None => std::iter::once(all).collect(),
        Some(context) => {
            let extents = export.extents(context, all).unwrap().into_iter();
            let dirty = extents.filter(|extent| extent.flags & DIRTY != 0);
            dirty
                .map(|one| one.offset..one.offset + one.bytes)
                .collect()
        }
    };
    let mut bytes = 0;
    let take = |_, part: &[u8]| {
        bytes += part.len() as u64;
        Ok::<(), NbdError>(())
    };
    export.read_parts(parts, take).unwrap();
    bytes
}

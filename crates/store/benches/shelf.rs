//! What an image in the store costs: to capture, to check, and to read one block of.
//!
//! | figure | compared with | bound |
//! |---|---|---|
//! | speed of a check of all stored bytes | `b3sum` on the same files | ≥ 0.7 |
//! | the longest of 200 first reads of a drawn version at a drawn place, with all that comes before it | 50 ms | ≤ 1 |
//!
//! The disk is drawn: half of its blocks can be compressed to about a third, a quarter are noise,
//! the rest are zeros; each of 20 changes rewrites one block in 40. Trials alternate, and the best of
//! each counts, since every disturbance only ever adds. What capturing costs is shown beside.

#![expect(clippy::print_stdout, reason = "a bench's figures are its output")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot be made may panic")]

use disk::ReadAt;
use image::BLOCK_BYTES;
use image::blobs::Blobs;
use image::changeset::Kind;
use image::check::{Level, check};
use image::history::History;
use image::writer::{About, ChangesetWriter, Cut};
use model::Timestamp;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{ImageRecord, ImageSource, Images, Shelf};
use uuid::Uuid;

const DISK_BYTES: usize = 512 << 20;
const CHANGES: u64 = 20;
const TRIALS: usize = 9;
const READS: usize = 200;
const FIRST_BYTE_MAX: Duration = Duration::from_millis(50);
const LEAST_OF_B3SUM: f64 = 0.7;
const BLOCK: usize = BLOCK_BYTES as usize;

fn main() -> ExitCode {
    let place = tempfile::tempdir().unwrap();
    let images = Images::open(place.path()).unwrap();
    let record = ImageRecord {
        id: Uuid::now_v7(),
        name: "bench".to_owned(),
        created: Timestamp::from_unix_ns(0),
        source: ImageSource::File {
            path: "/bench".to_owned(),
        },
        format: "raw".to_owned(),
        notes: BTreeMap::new(),
    };
    let shelf = images.create("bench", &record).unwrap();
    capture(&shelf);
    drop(shelf);
    let shelf = Arc::new(images.read("bench").unwrap());
    let speed = check_speed(&shelf);
    let longest = longest_first_read(&shelf);
    let met = speed >= LEAST_OF_B3SUM && longest <= FIRST_BYTE_MAX;
    println!(
        "shelf: check at {speed:.2} of b3sum's speed (bound ≥ {LEAST_OF_B3SUM}), longest first read {:.1} ms (bound ≤ {}): {}",
        longest.as_secs_f64() * 1e3,
        FIRST_BYTE_MAX.as_millis(),
        if met { "met" } else { "not met" }
    );
    ExitCode::from(u8::from(!met))
}

/// Fills a block: by the draw, with what compresses, with noise, or with zeros.
fn fill(random: &mut ChaCha8Rng, block: &mut [u8]) {
    match random.next_u64() % 4 {
        0 => block.fill(0),
        1 => random.fill_bytes(block),
        _ => {
            for bytes in block.chunks_mut(12) {
                let (drawn, rest) = bytes.split_at_mut(bytes.len().min(4));
                random.fill_bytes(drawn);
                rest.fill(b' ');
            }
        }
    }
}

fn capture(shelf: &Shelf) {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut disk = vec![0; DISK_BYTES];
    disk.chunks_mut(BLOCK)
        .for_each(|block| fill(&mut random, block));
    let mut history = History::default();
    let mut known = history.known_units(shelf).unwrap();
    for sequence in 0..=CHANGES {
        let blocks = (DISK_BYTES / BLOCK) as u64;
        let mut dirty: Vec<u64> = (0..blocks).collect();
        if sequence > 0 {
            dirty.retain(|_| random.next_u64() % 40 == 0);
            for block in &dirty {
                let at = *block as usize * BLOCK;
                fill(&mut random, &mut disk[at..at + BLOCK]);
            }
        }
        let about = About {
            kind: if sequence == 0 {
                Kind::Base
            } else {
                Kind::Increment
            },
            sequence,
            parent: history.head(),
            disk_bytes: DISK_BYTES as u64,
        };
        let cut = if sequence == 0 {
            Cut::WHOLE
        } else {
            Cut::CHANGE
        };
        let (began, before) = (Instant::now(), cpu());
        let mut writer = ChangesetWriter::new(shelf, &mut known, about, cut);
        if sequence == 0 {
            writer.write_from(&disk, 0..blocks).unwrap();
        } else {
            for block in &dirty {
                writer.write_from(&disk, *block..block + 1).unwrap();
            }
        }
        let taken = Timestamp::from_unix_ns(i64::try_from(sequence).unwrap());
        let written = writer.finish(taken, "bench".to_owned()).unwrap();
        history.add(written).unwrap();
        if sequence < 2 {
            println!(
                "capture {sequence}: {:.1} MB of {:.1} MB stored, {:.2} s CPU, {:.2} s",
                stored(shelf) as f64 / 1e6,
                (dirty.len() * BLOCK) as f64 / 1e6,
                (cpu() - before).as_secs_f64(),
                began.elapsed().as_secs_f64()
            );
        }
    }
}

fn stored(shelf: &Shelf) -> u64 {
    let names = shelf.list("").unwrap();
    names.iter().map(|name| shelf.length(name).unwrap()).sum()
}

fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap()
}

/// CPU time of children that have ended.
fn children_cpu() -> Duration {
    let stat = procfs::process::Process::myself().unwrap().stat().unwrap();
    let ticks = u64::try_from(stat.cutime + stat.cstime).unwrap();
    Duration::from_secs_f64(ticks as f64 / procfs::ticks_per_second() as f64)
}

/// The speed of a check, as a part of b3sum's, by time on the clock.
fn check_speed(shelf: &Shelf) -> f64 {
    let names = shelf.list("").unwrap();
    let jobs = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let (mut our_cpu, mut their_cpu) = (Vec::new(), Vec::new());
    for _ in 0..TRIALS {
        let (began, before) = (Instant::now(), cpu());
        let report = check(shelf, Level::ReadData, jobs).unwrap();
        ours.push(began.elapsed());
        our_cpu.push(cpu() - before);
        assert!(report.damages.is_empty());
        let (began, before) = (Instant::now(), children_cpu());
        let status = Command::new("b3sum")
            .args(&names)
            .current_dir(shelf.path())
            .stdout(Stdio::null())
            .status();
        assert!(status.expect("b3sum of Debian is needed").success());
        theirs.push(began.elapsed());
        their_cpu.push(children_cpu() - before);
    }
    let best = |times: &[Duration]| times.iter().min().copied().unwrap().as_secs_f64();
    println!(
        "check: {:.1} MB in {} blobs; ours {:.3} s ({:.3} s CPU), b3sum {:.3} s ({:.3} s CPU), best of {TRIALS}",
        stored(shelf) as f64 / 1e6,
        names.len(),
        best(&ours),
        best(&our_cpu),
        best(&theirs),
        best(&their_cpu)
    );
    best(&theirs) / best(&ours)
}

/// From nothing but the shelf to the first block of a version: the longest of several times.
fn longest_first_read(shelf: &Arc<Shelf>) -> Duration {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let mut times = Vec::new();
    let before = cpu();
    for _ in 0..READS {
        let sequence = random.next_u64() % (CHANGES + 1);
        let at = random.next_u64() % (DISK_BYTES as u64 - BLOCK_BYTES);
        let began = Instant::now();
        let history = History::open(&**shelf).unwrap();
        let blobs: Arc<dyn Blobs> = Arc::clone(shelf) as Arc<dyn Blobs>;
        let version = history.version(blobs, sequence).unwrap();
        let mut block = vec![0; BLOCK];
        version.read_exact_at(at, &mut block).unwrap();
        times.push(began.elapsed());
    }
    times.sort_unstable();
    println!(
        "first read: {:.1} ms CPU on average, median {:.1} ms, longest {:.1} ms of {READS}",
        (cpu() - before).as_secs_f64() * 1e3 / READS as f64,
        times[READS / 2].as_secs_f64() * 1e3,
        times[READS - 1].as_secs_f64() * 1e3
    );
    times[READS - 1]
}

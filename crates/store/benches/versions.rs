//! What two versions of a disk cost to keep, beside restic and borg on the same disk.
//!
//! | figure | compared with | bound |
//! |---|---|---|
//! | bytes of the first version | borg's | ≤ 1 |
//! | CPU time of the first version | borg's | ≤ 1/3 |
//! | bytes of the second | the smaller of both | ≤ 0.5 |
//! | CPU time of the second | borg's | ≤ 1/5 |
//!
//! The disk is an ext4 file system with this machine's `/usr/share` and `/usr/bin`. The second
//! version has 25,000 of its blocks that hold something replaced by noise, in runs of 1 to 24 as files
//! that were encrypted in place, and 9,000 by other blocks of the disk. What is dirty is found by
//! comparing the two, within the time. Borg and restic read a file of the same name twice, with the
//! settings that they come with, but zstd 3 for borg. Everything is on the same file system, once, in one run.
//! `VARDOGER_BENCH_PAIR=FIRST:SECOND` names two raw images of one size to be taken instead.
//!
//! Needs `borgbackup`, `restic` and `e2fsprogs` of Debian, and about 4 GiB in the temporary directory.

#![expect(clippy::print_stdout, reason = "a bench's figures are its output")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot be made may panic")]

use disk::{ReadAt, ReadError, Stretch};
use image::BLOCK_BYTES;
use image::blobs::Blobs;
use image::changeset::Kind;
use image::history::History;
use image::writer::{About, ChangesetWriter, Cut};
use model::Timestamp;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;
use store::{ImageRecord, ImageSource, Images, Shelf};
use uuid::Uuid;

const BLOCK: usize = BLOCK_BYTES as usize;
const NOISE_BLOCKS: usize = 25_000;
const COPIED_BLOCKS: usize = 9_000;
const CONTENT: [&str; 2] = ["/usr/share", "/usr/bin"];

/// Bytes and CPU seconds of a first and a second version.
#[derive(Debug, Default)]
struct Cost {
    bytes: [u64; 2],
    cpu_s: [f64; 2],
}

fn main() -> ExitCode {
    let place = tempfile::tempdir().unwrap();
    let (first, second) = pair(place.path());
    let versions = [first.as_path(), second.as_path()];
    let ours = ours(place.path(), versions);
    let borg = with_tool(place.path(), versions, "borg", &borg_words);
    let restic = with_tool(place.path(), versions, "restic", &restic_words);
    let part = |one: f64, other: f64| one / other;
    let figures = [
        (
            "first bytes",
            part(ours.bytes[0] as f64, borg.bytes[0] as f64),
            1.0,
        ),
        ("first CPU", part(ours.cpu_s[0], borg.cpu_s[0]), 1.0 / 3.0),
        (
            "second bytes",
            part(
                ours.bytes[1] as f64,
                borg.bytes[1].min(restic.bytes[1]) as f64,
            ),
            0.5,
        ),
        ("second CPU", part(ours.cpu_s[1], borg.cpu_s[1]), 0.2),
    ];
    let shown =
        figures.map(|(what, figure, bound)| format!("{what} {figure:.2} (bound ≤ {bound:.2})"));
    let met = figures.iter().all(|(_, figure, bound)| figure <= bound);
    let verdict = if met { "met" } else { "not met" };
    println!("versions: {}: {verdict}", shown.join(", "));
    ExitCode::from(u8::from(!met))
}

/// The two disks: those that are named, or some that are made.
fn pair(place: &Path) -> (PathBuf, PathBuf) {
    if let Ok(named) = std::env::var("VARDOGER_BENCH_PAIR") {
        let (first, second) = named.split_once(':').expect("FIRST:SECOND");
        return (first.into(), second.into());
    }
    let (first, second) = (place.join("first"), place.join("second"));
    make_first(place, &first);
    make_second(&first, &second);
    (first, second)
}

fn run(command: &mut Command) {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let words = format!("{command:?}");
    assert!(status.is_ok_and(|status| status.success()), "{words}");
}

fn make_first(place: &Path, disk: &Path) {
    let content = place.join("content");
    fs::create_dir(&content).unwrap();
    for from in CONTENT {
        run(Command::new("cp")
            .args(["-r", "--no-preserve=ownership", from])
            .arg(&content));
    }
    let options = ["-q", "-t", "ext4", "-b", "4096", "-d"];
    run(Command::new("mke2fs")
        .args(options)
        .arg(&content)
        .arg(disk)
        .arg("2G"));
    fs::remove_dir_all(&content).unwrap();
}

fn make_second(first: &Path, second: &Path) {
    fs::copy(first, second).unwrap();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(second)
        .unwrap();
    let blocks = file.metadata().unwrap().len() / BLOCK_BYTES;
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut block = vec![0; BLOCK];
    for (count, noise) in [(NOISE_BLOCKS, true), (COPIED_BLOCKS, false)] {
        let mut written = 0;
        while written < count {
            let start = random.next_u64() % (blocks - 24);
            for number in start..start + 1 + random.next_u64() % 24 {
                let at = number * BLOCK_BYTES;
                file.read_exact_at(&mut block, at).unwrap();
                if block.iter().all(|byte| *byte == 0) {
                    break;
                }
                match noise {
                    true => random.fill_bytes(&mut block),
                    false => {
                        let from = random.next_u64() % blocks * BLOCK_BYTES;
                        file.read_exact_at(&mut block, from).unwrap();
                    }
                }
                file.write_all_at(&block, at).unwrap();
                written += 1;
            }
        }
    }
    file.sync_all().unwrap();
}

/// A file as a disk, whose holes are zeros.
#[derive(Debug)]
struct Disk(File, u64);

impl ReadAt for Disk {
    fn size_bytes(&self) -> u64 {
        self.1
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.0.read_exact_at(buffer, offset).unwrap();
        Ok(())
    }

    fn stretch_at(&self, offset: u64) -> Result<Stretch, ReadError> {
        let data = rustix::fs::seek(&self.0, rustix::fs::SeekFrom::Data(offset));
        let (end, content) = match data.unwrap_or(self.1) {
            data if data > offset => (data, disk::Content::Zero),
            _ => {
                let hole = rustix::fs::seek(&self.0, rustix::fs::SeekFrom::Hole(offset));
                (hole.unwrap_or(self.1), disk::Content::Data)
            }
        };
        let bytes = end - offset;
        Ok(Stretch { bytes, content })
    }
}

fn open(path: &Path) -> Disk {
    let file = File::open(path).unwrap();
    let length = file.metadata().unwrap().len();
    Disk(file, length)
}

fn cpu_s() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap().as_secs_f64()
}

fn ours(place: &Path, versions: [&Path; 2]) -> Cost {
    let images = Images::open(&place.join("store")).unwrap();
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
    let mut cost = Cost::default();
    for (number, path) in versions.into_iter().enumerate() {
        let (before, stored_before) = (cpu_s(), stored(&shelf));
        capture(&shelf, number, path, versions[0]);
        cost.cpu_s[number] = cpu_s() - before;
        cost.bytes[number] = stored(&shelf) - stored_before;
    }
    tell("ours", &cost);
    cost
}

fn capture(shelf: &Shelf, number: usize, path: &Path, before: &Path) {
    let history = History::open(shelf).unwrap();
    let mut known = history.known_units(shelf).unwrap();
    let disk = open(path);
    let about = About {
        kind: if number == 0 {
            Kind::Base
        } else {
            Kind::Increment
        },
        sequence: number as u64,
        parent: history.head(),
        disk_bytes: disk.1,
    };
    let cut = if number == 0 { Cut::WHOLE } else { Cut::CHANGE };
    let mut writer = ChangesetWriter::new(shelf, &mut known, about, cut);
    if number == 0 {
        writer.write_from(&disk, 0..disk.1 / BLOCK_BYTES).unwrap();
    } else {
        for block in differing(&open(before), &disk) {
            writer.write_from(&disk, block..block + 1).unwrap();
        }
    }
    writer
        .finish(Timestamp::from_unix_ns(0), "bench".to_owned())
        .unwrap();
}

/// The blocks in which two disks differ.
fn differing(one: &Disk, other: &Disk) -> Vec<u64> {
    const PIECE: usize = 1 << 20;
    let (mut was, mut is) = (vec![0; PIECE], vec![0; PIECE]);
    let mut dirty = Vec::new();
    for at in (0..other.1).step_by(PIECE) {
        one.read_exact_at(at, &mut was).unwrap();
        other.read_exact_at(at, &mut is).unwrap();
        if was != is {
            let blocks = was
                .chunks(BLOCK)
                .zip(is.chunks(BLOCK))
                .zip(at / BLOCK_BYTES..);
            dirty.extend(
                blocks
                    .filter(|((was, is), _)| was != is)
                    .map(|(_, block)| block),
            );
        }
    }
    dirty
}

fn stored(shelf: &Shelf) -> u64 {
    let names = shelf.list("").unwrap();
    names.iter().map(|name| shelf.length(name).unwrap()).sum()
}

fn tell(who: &str, cost: &Cost) {
    println!(
        "{who}: first {:.1} MB, {:.2} s CPU; second {:.1} MB, {:.2} s CPU",
        cost.bytes[0] as f64 / 1e6,
        cost.cpu_s[0],
        cost.bytes[1] as f64 / 1e6,
        cost.cpu_s[1]
    );
}

/// Words that make a repository (none for the number), or keep a version in it.
type Words = dyn Fn(&str, Option<usize>) -> Vec<String>;

fn borg_words(repository: &str, version: Option<usize>) -> Vec<String> {
    let words = match version {
        None => vec![
            "init".to_owned(),
            "-e".to_owned(),
            "none".to_owned(),
            repository.to_owned(),
        ],
        Some(number) => vec![
            "create".to_owned(),
            "-C".to_owned(),
            "zstd,3".to_owned(),
            format!("{repository}::{number}"),
            "disk".to_owned(),
        ],
    };
    [vec!["borg".to_owned()], words].concat()
}

fn restic_words(repository: &str, version: Option<usize>) -> Vec<String> {
    let words: &[&str] = match version {
        None => &["init"],
        Some(_) => &["backup", "disk"],
    };
    let words = words.iter().map(|word| (*word).to_owned()).collect();
    [
        vec!["restic".to_owned(), "-r".to_owned(), repository.to_owned()],
        words,
    ]
    .concat()
}

/// CPU seconds of children that have ended.
fn children_cpu_s() -> f64 {
    let stat = procfs::process::Process::myself().unwrap().stat().unwrap();
    (stat.cutime + stat.cstime) as f64 / procfs::ticks_per_second() as f64
}

fn with_tool(place: &Path, versions: [&Path; 2], name: &str, words: &Words) -> Cost {
    let (home, at) = (
        place.join(format!("{name}-home")),
        place.join(format!("{name}-work")),
    );
    let repository = place.join(format!("{name}-repository"));
    for path in [&home, &at] {
        fs::create_dir(path).unwrap();
    }
    let execute = |version| {
        let words = words(repository.to_str().unwrap(), version);
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .current_dir(&at)
            .env("HOME", &home);
        run(command.env("RESTIC_PASSWORD", "bench"));
    };
    execute(None);
    let mut cost = Cost::default();
    let mut stored = below(&repository);
    for (number, path) in versions.into_iter().enumerate() {
        let disk = at.join("disk");
        fs::remove_file(&disk).ok();
        run(Command::new("cp")
            .arg("--sparse=always")
            .arg(path)
            .arg(&disk));
        let before = children_cpu_s();
        execute(Some(number));
        cost.cpu_s[number] = children_cpu_s() - before;
        let now = below(&repository);
        cost.bytes[number] = now - stored;
        stored = now;
    }
    tell(name, &cost);
    cost
}

/// The bytes of all files below a directory.
fn below(path: &Path) -> u64 {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    let bytes = entries.map(|entry| match entry.file_type().unwrap().is_dir() {
        true => below(&entry.path()),
        false => entry.metadata().unwrap().size(),
    });
    bytes.sum()
}

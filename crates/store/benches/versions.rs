//! What two versions of a disk cost to keep, beside restic and borg on the same disk.
//!
//! | figure | compared with | bound |
//! |---|---|---|
//! | bytes of the first version | borg's | ≤ 1 |
//! | CPU time of the first version | borg's | ≤ 1/3 |
//! | bytes of the second | the smaller of both | ≤ 0.5 |
//! | CPU time of the second | borg's | ≤ 1/5 |
//!
//! `cargo bench --bench versions -- FIRST SECOND`: two raw images of one size, as
//! `cargo xtask gen-image` makes them; `cargo xtask bench versions` does both. What is dirty is found
//! within the time, as for a disk at rest: the whole disk is read past the page cache, as every disk
//! is, and compared with the digests in the history. Borg and restic read a file of the same name twice, with the settings that they come
//! with, but zstd 3 for borg. Everything is on the same file system, once, in one run.
//!
//! Needs `borgbackup` and `restic` of Debian, and about 4 GiB in the temporary directory.

#![expect(clippy::print_stdout, reason = "a bench's figures are its output")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot be made may panic")]

use block::DirectFile;
use disk::ReadAt as _;
use image::BLOCK_BYTES;
use image::blobs::Blobs;
use image::changeset::Kind;
use image::compare::changed_blocks;
use image::history::History;
use image::writer::{About, ChangesetWriter, Cut};
use model::Timestamp;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;
use store::{ImageRecord, ImageSource, Images, Shelf};
use uuid::Uuid;

/// Bytes and CPU seconds of a first and a second version.
#[derive(Debug, Default)]
struct Cost {
    bytes: [u64; 2],
    cpu_s: [f64; 2],
}

fn main() -> ExitCode {
    let place = tempfile::tempdir().unwrap();
    // Cargo adds a word of its own.
    let words = std::env::args_os().skip(1);
    let named: Vec<PathBuf> = words
        .filter(|word| word != "--bench")
        .map(Into::into)
        .collect();
    let [first, second] = named.as_slice() else {
        println!("two images are needed: cargo xtask bench versions makes some");
        return ExitCode::from(2);
    };
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

fn run(command: &mut Command) {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let words = format!("{command:?}");
    assert!(status.is_ok_and(|status| status.success()), "{words}");
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
    let shelf = Arc::new(images.create("bench", &record).unwrap());
    let mut cost = Cost::default();
    for (number, path) in versions.into_iter().enumerate() {
        let (before, stored_before) = (cpu_s(), stored(&shelf));
        capture(&shelf, number, path);
        cost.cpu_s[number] = cpu_s() - before;
        cost.bytes[number] = stored(&shelf) - stored_before;
    }
    tell("ours", &cost);
    cost
}

fn capture(shelf: &Arc<Shelf>, number: usize, path: &Path) {
    let history = History::open(&**shelf).unwrap();
    let mut known = history.known_units(&**shelf).unwrap();
    let disk = DirectFile::open(path).unwrap();
    let disk_bytes = disk.size_bytes();
    let about = About {
        kind: if number == 0 {
            Kind::Base
        } else {
            Kind::Increment
        },
        sequence: number as u64,
        parent: history.head(),
        disk_bytes,
    };
    let cut = if number == 0 { Cut::WHOLE } else { Cut::CHANGE };
    // As a capture of a disk at rest does: what changed is told by the history and the disk alone.
    let dirty = match number {
        0 => std::iter::once(0..disk_bytes / BLOCK_BYTES).collect(),
        _ => {
            let blobs: Arc<dyn Blobs> = Arc::<Shelf>::clone(shelf);
            let version = history.version(blobs, number as u64 - 1).unwrap();
            changed_blocks(&version, &disk, |_| ()).unwrap()
        }
    };
    let mut writer = ChangesetWriter::new(&**shelf, &mut known, about, cut);
    for blocks in dirty {
        writer.write_from(&disk, blocks).unwrap();
    }
    writer
        .finish(Timestamp::from_unix_ns(0), "bench".to_owned())
        .unwrap();
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

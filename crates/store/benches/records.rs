//! "What changed under this path since then", out of 10 million change records.
//!
//! | figure | compared with | bound |
//! |---|---|---|
//! | 99th percentile of the time to the first 1,000 answers, out of 2,000 drawn questions | 10 ms | ≤ 1 |
//! | records that are put per second, merges and syncs included | 500,000 | ≥ 1 |
//!
//! A server's paths are drawn (depth 2 to 7, 200,000 files), and 1,000 captures of 10,000 changes
//! each. Questions name a file, or a directory of any depth, and a time from the first capture to
//! the last. Beside them in the same run: a scan of all records as they lie in memory, for a few of
//! the same questions, and SQLite with an index by path and time, for all of them and 1 million of the
//! records.

#![expect(clippy::print_stdout, reason = "a bench's figures are its output")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot be made may panic")]

use image::blobs::{Blobs, MemoryBlobs};
use image::changeset::Kind;
use image::history::History;
use image::records::{ChangeKind, ChangeRecord, Fields, FileState, Question, Records};
use image::writer::{About, ChangesetWriter, Cut, KnownUnits};
use model::Timestamp;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{ImageRecord, ImageSource, Images};
use uuid::Uuid;

const CHANGESETS: u64 = 1_000;
const CHANGES: u64 = 10_000;
const FILES: usize = 200_000;
const QUESTIONS: usize = 2_000;
const SCANNED: usize = 20;
const PAGE: usize = 1_000;
const SQLITE_RECORDS: u64 = 1_000_000;
const P99_MAX: Duration = Duration::from_millis(10);
const PER_S_MIN: f64 = 500_000.0;

fn main() -> ExitCode {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
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
    let history = history();
    let paths = paths();
    let blobs: Arc<dyn Blobs> = Arc::new(images.create("bench", &record).unwrap());
    let (put, stored) = put(&blobs, &history, &paths);
    let per_s = (CHANGESETS * CHANGES) as f64 / put.as_secs_f64();

    let begun = Instant::now();
    let records = Records::open(&blobs, &history).unwrap();
    let asked = questions(&paths);
    // The indexes are read at their first use: that is no answer's time.
    let first = records.ask(&Question::default()).unwrap().next().unwrap();
    assert!(first.is_ok());
    let opened = begun.elapsed();
    let mut answers = 0;
    let mut times: Vec<Duration> = asked
        .iter()
        .map(|question| {
            let begun = Instant::now();
            let found = records.ask(question).unwrap().take(PAGE);
            answers += found.map(Result::unwrap).count();
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    let (p50, p99) = (times[QUESTIONS / 2], times[QUESTIONS * 99 / 100]);
    println!(
        "{} records in {} runs, {} MB ({:.0} bytes each); put at {per_s:.0} a second; indexes read in {:.0} ms",
        records.count(),
        records.runs(),
        stored / 1_000_000,
        stored as f64 / records.count() as f64,
        ms(opened)
    );
    println!(
        "{QUESTIONS} questions, {answers} answers: p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms",
        ms(p50),
        ms(p99),
        ms(times[QUESTIONS - 1])
    );
    println!(
        "beside it, SQLite with {SQLITE_RECORDS} records: {}",
        sqlite(&paths, &asked)
    );
    println!("beside it, a scan: {}", scan(&records, &asked));
    let met = p99 < P99_MAX && per_s >= PER_S_MIN;
    println!(
        "records: p99 {:.2} ms (bound 10), {:.0} thousand a second (bound 500): {}",
        ms(p99),
        per_s / 1000.0,
        if met { "met" } else { "not met" }
    );
    ExitCode::from(u8::from(!met))
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// A history of empty changesets.
fn history() -> History {
    let blobs = MemoryBlobs::default();
    let mut history = History::default();
    for sequence in 0..=CHANGESETS {
        let about = About {
            kind: match sequence {
                0 => Kind::Base,
                _ => Kind::Increment,
            },
            sequence,
            parent: history.head(),
            disk_bytes: 4096,
        };
        let mut known = KnownUnits::default();
        let writer = ChangesetWriter::new(&blobs, &mut known, about, Cut::CHANGE);
        let taken = Timestamp::from_unix_ns(sequence as i64);
        let written = writer.finish(taken, String::new()).unwrap();
        history.add(written).unwrap();
    }
    history
}

/// Paths as a server has them: few directories at the top, many files at the bottom.
fn paths() -> Vec<Vec<u8>> {
    let mut draw = ChaCha8Rng::seed_from_u64(1);
    let top = ["etc", "home", "opt", "srv", "usr", "var"];
    let drawn = (0..FILES).map(|file| {
        let mut path = format!("/{}", top[draw.next_u64() as usize % top.len()]);
        for depth in 0..draw.next_u64() % 6 {
            path.push_str(&format!("/dir{:02}", draw.next_u64() % (4 + 4 * depth)));
        }
        format!("{path}/file-{file:06}.dat").into_bytes()
    });
    drawn.collect()
}

fn changes(sequence: u64, paths: &[Vec<u8>]) -> Vec<ChangeRecord> {
    let mut draw = ChaCha8Rng::seed_from_u64(sequence);
    let volume: Arc<str> = "p1".into();
    let one = |_| {
        let path = &paths[draw.next_u64() as usize % paths.len()];
        let state = FileState {
            size_bytes: draw.next_u64() % (1 << 24),
            mode: 0o100_644,
            uid: 1000,
            gid: 1000,
            modified: (
                1_700_000_000 + sequence as i64,
                draw.next_u32() % 1_000_000_000,
            ),
            changed: (
                1_700_000_000 + sequence as i64,
                draw.next_u32() % 1_000_000_000,
            ),
        };
        ChangeRecord {
            sequence,
            volume: Arc::clone(&volume),
            path: path.clone(),
            change: ChangeKind::Modified,
            from: None,
            ranges: std::iter::once(0..draw.next_u64() % 100_000).collect(),
            ranges_all: 1,
            changed_bytes: 1,
            fields: Fields::default(),
            before: Some(state),
            after: Some(state),
            explanation: None,
        }
    };
    (0..CHANGES).map(one).collect()
}

/// Puts all records, and says how long that took and how many bytes they are.
fn put(blobs: &Arc<dyn Blobs>, history: &History, paths: &[Vec<u8>]) -> (Duration, u64) {
    let mut records = Records::open(blobs, history).unwrap();
    let mut took = Duration::ZERO;
    let mut cpu = Duration::ZERO;
    for sequence in 1..=CHANGESETS {
        let new = changes(sequence, paths);
        let (begun, before) = (Instant::now(), cpu_time());
        records.add(blobs, sequence, &new).unwrap();
        took += begun.elapsed();
        cpu += cpu_time().saturating_sub(before);
    }
    println!(
        "putting: {:.1} s of CPU time, {:.1} s",
        cpu.as_secs_f64(),
        took.as_secs_f64()
    );
    let names = blobs.list(image::records::PREFIX).unwrap();
    let bytes = names.iter().map(|name| blobs.length(name).unwrap()).sum();
    (took, bytes)
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn questions(paths: &[Vec<u8>]) -> Vec<Question> {
    let mut draw = ChaCha8Rng::seed_from_u64(2);
    let one = |_| {
        let mut path = paths[draw.next_u64() as usize % paths.len()].clone();
        for _ in 0..draw.next_u64() % 7 {
            let end = path.iter().rposition(|byte| *byte == b'/').unwrap();
            path.truncate(end.max(1));
        }
        Question {
            volume: None,
            path: Some(path),
            first: Some(1 + draw.next_u64() % CHANGESETS),
            last: None,
        }
    };
    (0..QUESTIONS).map(one).collect()
}

/// The same questions by looking at every record.
fn scan(records: &Records, asked: &[Question]) -> String {
    let all: Vec<ChangeRecord> = records
        .ask(&Question::default())
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let mut times = Vec::new();
    for question in &asked[..SCANNED] {
        let path = question.path.as_deref().unwrap();
        let path = path.strip_suffix(b"/").unwrap_or(path);
        let begun = Instant::now();
        let found: Vec<&ChangeRecord> = all
            .iter()
            .filter(|record| {
                let rest = record.path.strip_prefix(path);
                let below = rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/');
                below && Some(record.sequence) >= question.first
            })
            .collect();
        times.push(begun.elapsed());
        let answers = records.ask(question).unwrap().map(Result::unwrap);
        assert!(answers.eq(found.into_iter().cloned()), "{question:?}");
    }
    times.sort_unstable();
    format!(
        "p50 {:.0} ms, the same answers to {SCANNED} questions",
        ms(times[SCANNED / 2])
    )
}

/// The same questions to a table with an index by path and time.
fn sqlite(paths: &[Vec<u8>], asked: &[Question]) -> String {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut database = rusqlite::Connection::open(place.path().join("records.db")).unwrap();
    database
        .execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;
             CREATE TABLE change (path BLOB, sequence INTEGER, size INTEGER, mode INTEGER, \
             uid INTEGER, gid INTEGER, modified INTEGER, PRIMARY KEY (path, sequence, modified)) \
             WITHOUT ROWID;",
        )
        .unwrap();
    let every = CHANGESETS * CHANGES / SQLITE_RECORDS;
    let mut took = Duration::ZERO;
    for sequence in (1..=CHANGESETS).filter(|sequence| sequence % every == 0) {
        let new = changes(sequence, paths);
        let begun = Instant::now();
        let transaction = database.transaction().unwrap();
        let sql = "INSERT OR REPLACE INTO change VALUES (?, ?, ?, ?, ?, ?, ?)";
        let mut statement = transaction.prepare(sql).unwrap();
        for record in new {
            let state = record.after.unwrap();
            let modified = state.modified.0 * 1_000_000_000 + i64::from(state.modified.1);
            let row = (
                record.path,
                sequence as i64,
                state.size_bytes as i64,
                state.mode,
                state.uid,
                state.gid,
                modified,
            );
            statement.execute(row).unwrap();
        }
        drop(statement);
        transaction.commit().unwrap();
        took += begun.elapsed();
    }
    let sql = "SELECT * FROM change WHERE path >= ? AND path < ? AND sequence >= ? LIMIT 1000";
    let mut statement = database.prepare(sql).unwrap();
    let mut times = Vec::new();
    for question in asked {
        let start = question.path.clone().unwrap();
        let end = [start.as_slice(), b"0"].concat();
        let begun = Instant::now();
        let rows = statement
            .query((start, end, question.first.unwrap() as i64))
            .unwrap();
        let rows = rows.mapped(|row| row.get::<_, Vec<u8>>(0));
        let bytes: usize = rows.map(|path| path.unwrap().len()).sum();
        std::hint::black_box(bytes);
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    format!(
        "put at {:.0} a second, p50 {:.2} ms, p99 {:.2} ms",
        SQLITE_RECORDS as f64 / took.as_secs_f64(),
        ms(times[times.len() / 2]),
        ms(times[times.len() * 99 / 100])
    )
}

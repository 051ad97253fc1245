//! Exports of QEMU's own server, held against QEMU's own view of the same image: its conversion,
//! its map, its bitmaps.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use block::nbd::{ALLOCATION, DIRTY, Export, NbdError, dirty_bitmap};
use disk::{Content, ReadAt};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

const DISK_BYTES: u64 = 24 << 20;
const GRANULE: u64 = 4096;

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {complained}"
    );
    String::from_utf8(output.stdout).unwrap()
}

/// An image that was written to by QEMU at drawn places, then got a bitmap, then was written to again.
struct Image {
    place: tempfile::TempDir,
    /// What was written after the bitmap began.
    written: Vec<Range<u64>>,
}

impl Image {
    fn make() -> Self {
        let image = Self {
            place: tempfile::tempdir().unwrap(),
            written: writes(2),
        };
        let path = image.path();
        let path = path.to_str().unwrap();
        run(
            "qemu-img",
            &["create", "-q", "-f", "qcow2", path, &DISK_BYTES.to_string()],
        );
        image.write(&writes(1), 0x11);
        run(
            "qemu-img",
            &["bitmap", "--add", "-g", "4096", path, "since"],
        );
        image.write(&image.written, 0x77);
        image
    }

    fn path(&self) -> PathBuf {
        self.place.path().join("disk.qcow2")
    }

    fn write(&self, parts: &[Range<u64>], pattern: u8) {
        let mut command = Command::new("qemu-io");
        for part in parts {
            let length = part.end - part.start;
            let write = format!("write -q -P {pattern} {} {length}", part.start);
            command.args(["-c", &write]);
        }
        let done = command.arg(self.path()).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }

    /// All bytes, as QEMU converts them.
    fn bytes(&self) -> Vec<u8> {
        let raw = self.place.path().join("raw");
        let (from, to) = (self.path(), raw.to_str().unwrap());
        run(
            "qemu-img",
            &["convert", "-O", "raw", from.to_str().unwrap(), to],
        );
        fs::read(raw).unwrap()
    }

    fn serve(&self, options: &[&str]) -> Server {
        let (socket, pid) = (
            self.place.path().join("socket"),
            self.place.path().join("pid"),
        );
        let mut arguments = vec!["--fork", "-t", "-e", "4", "-r", "-f", "qcow2", "-x", "disk"];
        arguments.extend(["-k", socket.to_str().unwrap()]);
        arguments.extend(["--pid-file", pid.to_str().unwrap()]);
        arguments.extend(options);
        let path = self.path();
        arguments.push(path.to_str().unwrap());
        run("qemu-nbd", &arguments);
        let number = fs::read_to_string(pid).unwrap().trim().parse().unwrap();
        Server {
            socket,
            pid: Pid::from_raw(number).unwrap(),
        }
    }
}

/// Ends with the test that it was started by.
struct Server {
    socket: PathBuf,
    pid: Pid,
}

impl Server {
    fn connect(&self, contexts: &[String]) -> Result<Export, NbdError> {
        Export::connect(&self.socket, "disk", contexts)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        kill_process(self.pid, Signal::TERM).ok();
    }
}

/// Places to write to, by whole granules, ascending and apart.
fn writes(seed: u64) -> Vec<Range<u64>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut parts = Vec::new();
    let mut at = 0;
    loop {
        at += (1 + random.next_u64() % 128) * GRANULE;
        let length = (1 + random.next_u64() % 24) * GRANULE;
        if at + length > DISK_BYTES {
            return parts;
        }
        parts.push(at..at + length);
        at += length;
    }
}

#[test]
fn an_export_reads_as_qemu_converts_it() {
    let image = Image::make();
    let expected = image.bytes();
    let server = image.serve(&[]);
    let export = server.connect(&[]).unwrap();
    assert_eq!(ReadAt::size_bytes(&export), DISK_BYTES);
    let mut read = vec![0; expected.len()];
    export.read_exact_at(0, &mut read).unwrap();
    assert!(read == expected, "the whole disk");
    let mut random = ChaCha8Rng::seed_from_u64(3);
    for _ in 0..200 {
        let from = random.next_u64() % DISK_BYTES;
        let length = random.next_u64() % (DISK_BYTES - from).min(300_000);
        let mut read = vec![0; length as usize];
        export.read_exact_at(from, &mut read).unwrap();
        let expected = &expected[from as usize..(from + length) as usize];
        assert!(read == expected, "{length} bytes at {from}");
    }
}

#[test]
fn dirty_blocks_are_those_that_were_written_since() {
    let image = Image::make();
    let server = image.serve(&["-B", "since"]);
    let context = dirty_bitmap("since");
    let export = server.connect(std::slice::from_ref(&context)).unwrap();
    let extents = export.extents(&context, 0..DISK_BYTES).unwrap();
    assert_eq!(
        extents.iter().map(|extent| extent.bytes).sum::<u64>(),
        DISK_BYTES
    );
    let dirty = extents.iter().filter(|extent| extent.flags & DIRTY != 0);
    let dirty: Vec<Range<u64>> = dirty
        .map(|extent| extent.offset..extent.offset + extent.bytes)
        .collect();
    assert_eq!(dirty, image.written);

    // Only those are read, many at a time, and each byte once.
    let expected = image.bytes();
    let mut read = 0;
    export
        .read_parts(dirty, |at, bytes| {
            read += bytes.len() as u64;
            assert!(bytes == &expected[at as usize..][..bytes.len()], "at {at}");
            Ok::<(), NbdError>(())
        })
        .unwrap();
    assert_eq!(
        read,
        image
            .written
            .iter()
            .map(|part| part.end - part.start)
            .sum::<u64>()
    );
}

#[test]
fn holes_are_those_of_qemus_map() {
    let image = Image::make();
    let server = image.serve(&[]);
    let export = server.connect(&[ALLOCATION.to_owned()]).unwrap();
    let map = run(
        "qemu-img",
        &["map", "--output=json", image.path().to_str().unwrap()],
    );
    let map: Value = serde_json::from_str(&map).unwrap();
    for entry in map.as_array().unwrap() {
        let (start, length) = (&entry["start"], &entry["length"]);
        let (start, length) = (start.as_u64().unwrap(), length.as_u64().unwrap());
        let zero = entry["zero"].as_bool().unwrap();
        let stretch = export.stretch_at(start).unwrap();
        assert_eq!(stretch.content == Content::Zero, zero, "at {start}");
        assert!(stretch.bytes >= length.min(stretch.bytes), "at {start}");
        let last = export.stretch_at(start + length - 1).unwrap();
        assert_eq!(
            last.content == Content::Zero,
            zero,
            "before {}",
            start + length
        );
    }
}

#[test]
fn what_there_is_not_is_refused_by_name() {
    let image = Image::make();
    let server = image.serve(&[]);
    let wrong = Export::connect(&server.socket, "other", &[]).unwrap_err();
    assert!(wrong.to_string().contains("`other`"), "{wrong}");
    let bitmap = dirty_bitmap("nothing");
    let missing = server.connect(&[bitmap]).unwrap_err();
    assert!(matches!(missing, NbdError::NoContext(_)), "{missing}");
    let export = server.connect(&[]).unwrap();
    let unasked = export.extents(ALLOCATION, 0..GRANULE).unwrap_err();
    assert!(matches!(unasked, NbdError::NoContext(_)), "{unasked}");
    assert!(export.read_exact_at(DISK_BYTES - 1, &mut [0; 2]).is_err());
    let past = export.read_parts([0..GRANULE, DISK_BYTES..DISK_BYTES + 1], |_, _| Ok(()));
    assert!(matches!(past, Err(NbdError::PastEnd { .. })), "{past:?}");
    assert!(Export::connect(Path::new("/nonexistent"), "disk", &[]).is_err());
}

#[test]
fn a_server_that_dies_is_an_error_and_no_hang() {
    let image = Image::make();
    let server = image.serve(&[]);
    let export = server.connect(&[]).unwrap();
    export.read_exact_at(0, &mut [0; 512]).unwrap();
    kill_process(server.pid, Signal::KILL).unwrap();
    let gone = export.read_exact_at(0, &mut [0; 512]);
    assert!(gone.is_err(), "{gone:?}");
    let again = export.read_parts(std::iter::once(0..512), |_, _| Ok(()));
    assert!(matches!(again, Err(NbdError::Broken)), "{again:?}");
}

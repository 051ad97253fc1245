//! qcow2 images that QEMU makes and writes to, and its own reading of them.

use super::{Draw, FileSource, assert_same, read_all, run};
use disk::ReadAt;
use disk::qcow2::{Header, Parts, Qcow2, Qcow2Error};
use std::ops::Range;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// Where a test keeps its images, and random bytes for QEMU to write.
pub struct Place {
    directory: TempDir,
    pub draw: Draw,
}

impl Place {
    pub fn new(seed: u64) -> Self {
        let place = Self {
            directory: TempDir::new().unwrap(),
            draw: Draw(seed),
        };
        let noise = Draw(seed ^ 1).bytes(1 << 20);
        std::fs::write(place.path("noise"), noise).unwrap();
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub fn create(&self, name: &str, options: &str, size: u64) {
        let (path, size) = (self.text(name), size.to_string());
        run(
            "qemu-img",
            &["create", "-q", "-f", "qcow2", "-o", options, &path, &size],
        );
    }

    /// Lets QEMU write: `commands` are those of qemu-io.
    pub fn write(&self, name: &str, commands: &[String]) {
        let path = self.text(name);
        let mut arguments = vec!["-f", "qcow2", "--discard=unmap", "--cache=unsafe"];
        for command in commands {
            arguments.extend(["-c", command.as_str()]);
        }
        arguments.push(&path);
        let said = run("qemu-io", &arguments);
        assert!(!said.contains("failed"), "{commands:?}: {said}");
    }

    /// Lets QEMU try to write: it refuses compressed clusters where there is something already.
    /// These are written first, and by a process of their own: QEMU 10.0 itself destroys images in
    /// which it frees compressed clusters and then writes others.
    pub fn try_to_write(&self, name: &str, commands: &[String]) {
        let is_compressed = |command: &&String| command.contains(" -c ");
        let (first, then): (Vec<_>, Vec<_>) = commands.iter().partition(is_compressed);
        self.try_in_one_process(name, &first);
        self.try_in_one_process(name, &then);
    }

    fn try_in_one_process(&self, name: &str, commands: &[&String]) {
        let path = self.text(name);
        let arguments = commands.iter().flat_map(|command| ["-c", command.as_str()]);
        let ended = Command::new("qemu-io")
            .args(["-f", "qcow2", "--discard=unmap", "--cache=unsafe"])
            .args(arguments)
            .arg(path)
            .output()
            .unwrap();
        let complained = String::from_utf8_lossy(&ended.stderr);
        let fine = ended.status.code().is_some() && complained.is_empty();
        assert!(fine, "{commands:?}: {}: {complained}", ended.status);
    }

    /// Random writes of sectors, with bytes that do not compress.
    pub fn writes(&mut self, count: usize, size: u64) -> Vec<(Range<u64>, String)> {
        let noise = self.text("noise");
        let sectors = size / 512;
        let mut drawn = || {
            let start = self.draw.next() % sectors;
            let most = self.draw.one(&[1, 8, 64, 512]);
            let length = 1 + self.draw.next() % most;
            let range = start * 512..(start + length).min(sectors) * 512;
            let bytes = range.end - range.start;
            let command = format!("write -q -s {noise} {} {bytes}", range.start);
            (range, command)
        };
        (0..count).map(|_| drawn()).collect()
    }

    /// Random writes of all kinds: bytes, compressed clusters, zeros, nothing.
    pub fn changes(&mut self, count: usize, size: u64, cluster: u64) -> Vec<String> {
        let writes: Vec<_> = self.writes(count, size);
        let clusters = size / cluster;
        let mut commands = Vec::new();
        for (range, command) in writes {
            let pattern = 1 + self.draw.below(255);
            let whole = self.draw.next() % clusters * cluster;
            let (start, bytes) = (range.start, range.end - range.start);
            commands.push(match self.draw.below(6) {
                0 => format!("write -q -c -P {pattern} {whole} {cluster}"),
                1 => format!("write -q -c -s {} {whole} {cluster}", self.text("text")),
                2 => format!("write -q -z {start} {bytes}"),
                3 => format!("write -q -z -u {whole} {cluster}"),
                4 => format!("discard -q {whole} {cluster}"),
                _ => command,
            });
        }
        commands
    }

    /// The disk as QEMU reads it.
    pub fn raw(&self, name: &str, more: &[&str]) -> Vec<u8> {
        let (path, raw) = (self.text(name), self.text("raw"));
        let mut arguments = vec!["convert", "-t", "unsafe", "-f", "qcow2", "-O", "raw"];
        arguments.extend(more);
        arguments.extend([path.as_str(), raw.as_str()]);
        run("qemu-img", &arguments);
        std::fs::read(self.path("raw")).unwrap()
    }

    pub fn header(&self, name: &str) -> Result<Header, Qcow2Error> {
        Header::read(&*FileSource::open(&self.path(name)))
    }

    pub fn open(&self, name: &str, parts: Parts) -> Qcow2 {
        let file = FileSource::open(&self.path(name));
        Qcow2::open(file, self.header(name).unwrap(), parts).unwrap()
    }
}

/// A text that compresses well, but not to nothing.
pub fn write_text(place: &Place) {
    let text: String = (0..)
        .map(|line| format!("line {line}\n"))
        .take(100_000)
        .collect();
    std::fs::write(place.path("text"), text).unwrap();
}

/// Reads pieces of all lengths at all places, and the whole.
pub fn check_reading(image: &dyn ReadAt, expected: &[u8], draw: &mut Draw, what: &str) {
    assert_same(&read_all(image), expected, what);
    for _ in 0..50 {
        let start = draw.below(expected.len());
        let most = draw.one(&[1, 600, 70_000]);
        let end = (start + draw.below(most)).min(expected.len());
        let mut piece = vec![0; end - start];
        image.read_exact_at(start as u64, &mut piece).unwrap();
        assert_same(&piece, &expected[start..end], what);
    }
    assert!(
        image
            .read_exact_at(expected.len() as u64, &mut [0])
            .is_err()
    );
}

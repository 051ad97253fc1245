//! Power loss: captures run inside a guest, onto a disk of which every write and flush is logged; out
//! of the log come disks as they may be when the power goes. Nothing that was acknowledged may be
//! lost.
//!
//! ```text
//! guest: mount ─► image add, capture, forget …      each, once it has ended well, is acknowledged by
//!          │                                        a write of its own behind the file system
//!          ▼
//! log of writes ──a moment, unflushed writes drawn──► disk ─► another guest mounts it, which replays
//!                                                     its journal, and hands over what is there
//!                                                       └─► here: check, log, restore, capture
//! ```
//!
//! The truth is what the test itself put into each version. What a disk may lose is told in
//! `workshop::WriteLog`: any of the writes since the last flush, in any order, torn between sectors.
//! The variables `VARDOGER_TEST_POWER_LOSSES` and `VARDOGER_TEST_IMAGE_SEED` ask for more than three
//! losses, and for others.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

#[path = "../support/mod.rs"]
mod support;

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::World;
use workshop::{Disk, Workshop, WriteLog};

/// How many losses, unless a campaign asks for more; and how many come out of one log.
const LOSSES: usize = 3;
const LOSSES_A_LOG: usize = 20;

/// The file system, and behind it room for acknowledgements.
const SYSTEM_BYTES: u64 = 96 << 20;
const DISK_BYTES: u64 = SYSTEM_BYTES + (1 << 20);
const MARK_BYTES: u64 = 4096;

/// What goes from the second guest to the test.
const TAR_BYTES: u64 = 96 << 20;

/// The disk that is captured, and how much of it changes each time.
const IMAGE_BYTES: usize = 2 << 20;
const CHANGED_BLOCKS: usize = 40;

/// Commands that the guest carries out, each acknowledged, with the version that is then the newest.
/// What is forgotten may be gone as soon as that begins.
const DEEDS: [(&str, u64); 6] = [
    ("image add \"$image\" --name d", 0),
    ("image capture d", 1),
    ("image capture d", 2),
    ("image forget d --keep-last 2", 2),
    ("image capture d", 3),
    ("image capture d", 4),
];

/// One more version than the guest captures: for the capture after the loss.
const VERSIONS: usize = 6;

/// SplitMix64 (Steele, Lea and Flood, 2014): numbers from a seed.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for word in bytes.chunks_mut(8) {
            word.copy_from_slice(&self.next().to_le_bytes()[..word.len()]);
        }
    }
}

/// The disk at each version.
fn versions(draw: &mut Draw) -> Vec<Vec<u8>> {
    let mut image = vec![0; IMAGE_BYTES];
    draw.fill(&mut image[..IMAGE_BYTES / 2]);
    let mut versions = vec![image.clone()];
    while versions.len() < VERSIONS {
        for _ in 0..CHANGED_BLOCKS {
            let at = draw.below(IMAGE_BYTES / 4096) * 4096;
            draw.fill(&mut image[at..at + 4096]);
        }
        versions.push(image.clone());
    }
    versions
}

fn tool(program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .output()
        .unwrap();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {complained}"
    );
}

/// Everything of one log: where it lies, and what was on the disk before.
struct Trial {
    place: PathBuf,
    versions: Vec<Vec<u8>>,
}

impl Trial {
    /// Runs the guest that is cut off.
    fn run(place: &Path, draw: &mut Draw) -> Self {
        fs::create_dir_all(place).unwrap();
        let trial = Self {
            place: place.to_path_buf(),
            versions: versions(draw),
        };
        let disk = trial.path("disk.raw");
        fs::File::create(&disk)
            .unwrap()
            .set_len(DISK_BYTES)
            .unwrap();
        let size = format!("{}M", SYSTEM_BYTES >> 20);
        tool(
            "mke2fs",
            &[
                "-q",
                "-F",
                "-t",
                "ext4",
                "-b",
                "4096",
                disk.to_str().unwrap(),
                &size,
            ],
        );
        fs::copy(&disk, trial.path("before.raw")).unwrap();
        let log = trial.path("log");
        fs::File::create(&log).unwrap();
        // Without what a debugger needs, of which a guest has no use.
        let (ours, program) = (env!("CARGO_BIN_EXE_vardoger"), trial.path("vardoger"));
        tool("strip", &["-o", program.to_str().unwrap(), ours]);
        let mut workshop = Workshop::new()
            .disk(Disk::logged(&disk, &log))
            .program_as(&program, "/vardoger");
        for (number, version) in trial.versions.iter().enumerate() {
            workshop = workshop.file(&format!("/versions/{number}"), 0o644, version.clone());
        }
        let mut guest = workshop.memory_mib(768).boot(&trial.script()).unwrap();
        guest.wait_for("done").unwrap();
        guest.cut_off();
        trial
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.join(name)
    }

    fn script(&self) -> String {
        let image = self.path("image.raw");
        let image = image.display();
        let mut script = format!(
            "mount -t ext4 /dev/vda /mnt
             image={image}
             export VARDOGER_STORE=/mnt/store VARDOGER_RUN_DIR=/run/vardoger XDG_CONFIG_HOME=/mnt/config
             mkdir -p \"${{image%/*}}\"\n"
        );
        for (number, (deed, version)) in DEEDS.iter().enumerate() {
            let mark = SYSTEM_BYTES / MARK_BYTES + number as u64;
            script += &format!(
                "cp /versions/{version} \"$image\"
                 /vardoger {deed} --quiet
                 printf x | dd of=/dev/vda bs={MARK_BYTES} seek={mark} conv=notrunc,sync oflag=direct 2>/run/dd\n"
            );
        }
        script + "mark done\nsleep 1000"
    }

    /// The disks of losses, each with the number of the last deed that was acknowledged before.
    fn losses(&self, count: usize, draw: &mut Draw) -> Vec<(PathBuf, usize)> {
        let log = WriteLog::read(&self.path("log")).unwrap();
        let reached = |moment| log.writes_from(SYSTEM_BYTES, moment);
        let all = log.moments();
        assert_eq!(
            reached(all).len(),
            DEEDS.len(),
            "each deed was acknowledged once"
        );
        let first = (0..all)
            .find(|moment| !reached(*moment).is_empty())
            .unwrap();
        let mut losses = Vec::new();
        for number in 0..count {
            let moment = first + draw.below(all - first);
            let disk = self.path(&format!("lost{number}.raw"));
            let before = self.path("before.raw");
            log.lose_power(moment, &before, &disk, || draw.next())
                .unwrap();
            losses.push((disk, reached(moment).len() - 1));
        }
        losses
    }

    /// What each disk holds once another guest has mounted it: an archive.
    fn recover(&self, losses: &[(PathBuf, usize)]) -> Vec<PathBuf> {
        let tar = self.path("tar.raw");
        let mut workshop = Workshop::new().disk(Disk::create(&tar, TAR_BYTES).unwrap());
        let mut script = String::new();
        for (number, (disk, _)) in losses.iter().enumerate() {
            let letter = char::from(b'b' + number as u8);
            workshop = workshop.disk(Disk::raw(disk));
            script += &format!(
                "mount -t ext4 /dev/vd{letter} /mnt
                 tar -C /mnt -cf /dev/vda store config
                 sync
                 umount /mnt
                 mark {number}
                 hear >/dev/null\n"
            );
        }
        let mut guest = workshop.boot(&script).unwrap();
        let mut archives = Vec::new();
        for number in 0..losses.len() {
            guest.wait_for(&number.to_string()).unwrap();
            let archive = self.path(&format!("lost{number}.tar"));
            fs::copy(&tar, &archive).unwrap();
            guest.say("on").unwrap();
            archives.push(archive);
        }
        guest.end().unwrap().good().unwrap();
        archives
    }

    /// Nothing that was acknowledged is lost, what is there is sound, and it goes on from there.
    fn check(&self, world: &World, archive: &Path, acknowledged: usize) {
        for name in ["store", "config"] {
            fs::remove_dir_all(world.path(name)).ok();
        }
        let (archive, here) = (archive.to_str().unwrap(), world.path(""));
        tool("tar", &["-C", here.to_str().unwrap(), "-xf", archive]);
        let checked = world.run("image check d --read-data --json");
        let what = format!(
            "after deed {acknowledged}: {}{}",
            checked.stdout, checked.stderr
        );
        assert_eq!(checked.code, Some(0), "{what}");
        let log = world.data("image log d");
        let sequences: Vec<u64> = log["changesets"]
            .as_array()
            .unwrap()
            .iter()
            .map(sequence)
            .collect();
        let newest = DEEDS[acknowledged].1;
        // The first version is there unless forgetting it may have begun.
        let forgetting = DEEDS
            .iter()
            .position(|(deed, _)| deed.contains("forget"))
            .unwrap();
        let oldest = u64::from(acknowledged + 1 >= forgetting);
        for version in oldest..=newest {
            assert!(
                sequences.contains(&version),
                "{version} of {sequences:?} is lost, {what}"
            );
        }
        for version in sequences {
            self.check_version(world, version);
        }
        let last = self.versions.len() - 1;
        fs::write(self.path("image.raw"), &self.versions[last]).unwrap();
        let captured = world.data("image capture d");
        self.check_content(world, &format!("d@#{}", sequence(&captured)), last);
    }

    fn check_version(&self, world: &World, version: u64) {
        self.check_content(world, &format!("d@#{version}"), version as usize);
    }

    fn check_content(&self, world: &World, version: &str, content: usize) {
        let to = world.path("restored");
        world
            .run(&format!("image restore {version} --to {}", to.display()))
            .expect(0);
        let is_same = fs::read(&to).unwrap() == self.versions[content];
        fs::remove_file(to).unwrap();
        assert!(is_same, "{version} is not what was captured");
    }
}

fn sequence(changeset: &Value) -> u64 {
    changeset["sequence"].as_u64().unwrap()
}

#[test]
fn a_power_loss_takes_nothing_that_was_acknowledged() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().unwrap());
    let losses = number("VARDOGER_TEST_POWER_LOSSES").unwrap_or(LOSSES as u64) as usize;
    let mut draw = Draw(number("VARDOGER_TEST_IMAGE_SEED").unwrap_or(1));
    let world = World::cold();
    let mut left = losses;
    while left > 0 {
        let place = world.path("trial");
        let trial = Trial::run(&place, &mut draw);
        let lost = trial.losses(left.min(LOSSES_A_LOG), &mut draw);
        for (archive, (_, acknowledged)) in trial.recover(&lost).iter().zip(&lost) {
            trial.check(&world, archive, *acknowledged);
            println!("power lost after deed {acknowledged}: nothing else is");
        }
        left -= lost.len();
        fs::remove_dir_all(place).unwrap();
    }
}

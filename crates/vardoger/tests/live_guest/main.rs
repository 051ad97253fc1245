//! A running Linux guest that writes, with QEMU's own guest agent in it: its disk is captured by the
//! commands, and every capture must be the disk at one moment.
//!
//! ```text
//! guest: ext4 ◄── load, step by step          test: image add, image capture …
//!        agent ◄─── virtio port ◄── socket ◄── (a go-between of the test) ◄── vardoger's guard
//! ```
//!
//! The truth is the load's own arithmetic, and e2fsprogs says whether the file system was at rest.
//! The variable `VARDOGER_TEST_LIVE_CAPTURES` asks for more captures than three.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

#[path = "../support/mod.rs"]
mod support;

mod between;
mod load;

use between::Between;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::World;
use workshop::{Disk, Guest, Workshop, inside};

const DISK_BYTES: u64 = 32 << 20;

/// How many captures are made, unless a campaign asks for more.
const CAPTURES: u32 = 3;

/// The name that QEMU's agent looks for its channel by.
const CHANNEL: &str = "org.qemu.guest_agent.0";

/// What the guest does: the agent keeps what it must remember in memory, for the disk will be
/// frozen.
const SCRIPT: &str = r#"
    mount -t ext4 -o commit=1 /dev/vda /mnt
    "$(cat /agent)" -m virtio-serial -p "$(port org.qemu.guest_agent.0)" -t /run >/run/agent.log 2>&1 3>&- &
    hand load &
    until [ -e /mnt/made/16 ]; do usleep 10000; done
    mark writing
    hear >/dev/null
"#;

/// Runs inside the guest: see `workshop::inside`.
#[test]
#[ignore = "runs inside a guest, which another test boots"]
fn inside_a_guest() {
    assert_eq!(inside::order(), ["load"]);
    load::write_for_ever(Path::new("/mnt"));
}

/// The guest, and where the test finds its sockets and its disk.
struct Machine {
    guest: Guest,
    place: PathBuf,
}

impl Machine {
    fn boot(place: &Path) -> Self {
        std::fs::create_dir(place).unwrap();
        let disk = Disk::create(&place.join("disk.raw"), DISK_BYTES).unwrap();
        let image = place.join("disk.raw");
        tool(
            "mke2fs",
            &[
                "-q",
                "-F",
                "-t",
                "ext4",
                "-b",
                "4096",
                image.to_str().unwrap(),
            ],
        );
        let agent = agent();
        let monitor = format!("unix:{},server=on,wait=off", place.join("qmp").display());
        let mut guest = Workshop::new()
            .disk(disk)
            .hand()
            .unwrap()
            .program(&agent)
            .file("/agent", 0o644, agent.to_str().unwrap())
            .channel(CHANNEL, &place.join("agent"))
            .argument("-qmp")
            .argument(monitor)
            .boot(SCRIPT)
            .unwrap();
        guest.wait_for("writing").unwrap();
        Self {
            guest,
            place: place.to_path_buf(),
        }
    }

    fn path(&self, name: &str) -> String {
        self.place.join(name).to_str().unwrap().to_owned()
    }
}

/// QEMU's guest agent.
fn agent() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/lib/agent");
    let found = Command::new(script).output().unwrap();
    let complained = String::from_utf8_lossy(&found.stderr);
    assert!(found.status.success(), "{complained}");
    String::from_utf8(found.stdout).unwrap().trim_end().into()
}

/// Runs a tool, which must succeed, and gives what it says.
fn tool(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {said} {complained}"
    );
    said
}

/// A file of an ext4 image, by debugfs.
fn file(image: &str, path: &str) -> Vec<u8> {
    let output = Command::new("debugfs")
        .args(["-R", &format!("cat {path}"), image])
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .output();
    output.unwrap().stdout
}

/// How many steps of the load a version holds. It must be at rest, without a journal to replay, and
/// be what that many steps make.
fn steps_in(world: &World, version: &str) -> u64 {
    let image = world.path(&format!("{version}.raw"));
    let image = image.to_str().unwrap();
    world
        .run(&format!("image restore {version} --to {image}"))
        .expect(0);
    tool("e2fsck", &["-fn", image]);
    let head = tool("dumpe2fs", &["-h", image]);
    assert!(
        !head.contains("needs_recovery"),
        "{version} was not at rest"
    );
    let names = tool("debugfs", &["-R", "ls -p /made", image]);
    let names = names.lines().filter_map(|line| line.split('/').nth(5));
    let made: BTreeSet<_> = names
        .filter(|name| !name.starts_with('.'))
        .map(str::to_owned)
        .collect();
    let steps = load::steps_behind(&file(image, "/one"), &file(image, "/other"), &made);
    std::fs::remove_file(image).unwrap();
    steps.unwrap_or_else(|| panic!("{version} is no moment of the load: {made:?}"))
}

/// The data of a capture, which must say that file systems were frozen.
fn captured(world: &World, command: &str) -> Value {
    let ended = world.run(&format!("{command} --json")).expect(0);
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(said.contains("1 file systems were frozen"), "{said}");
    ended.data()
}

#[test]
fn a_writing_guest_is_captured_at_one_moment_and_thaws_whatever_becomes_of_us() {
    let captures = std::env::var("VARDOGER_TEST_LIVE_CAPTURES");
    let captures = captures.map_or(CAPTURES, |text| text.parse().unwrap());
    let world = World::cold();
    let mut machine = Machine::boot(&world.path("machine"));
    let between = Between::start(&world.path("between"), &machine.place.join("agent"));
    let (vm, agent) = (machine.path("qmp"), world.path("between"));
    let add = format!("image add --vm {vm} --agent {} --name web", agent.display());
    captured(&world, &add);
    let image = world.data("image ls")["images"][0]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut before = steps_in(&world, &image);
    for number in 1..captures {
        let one = captured(&world, &format!("image capture {image}"));
        let steps = steps_in(&world, &image);
        assert!(
            steps > before,
            "capture {number}: {steps} steps after {before}"
        );
        println!("capture {number}: {steps} steps, {}", one["read_bytes"]);
        before = steps;
    }

    // Killed between freeze and thaw: the guard thaws, and the next capture goes on.
    let whom = between.kill_at_freeze();
    let victim = world.start(&format!("image capture {image}"));
    whom.send(victim.pid()).unwrap();
    let killed = victim.wait();
    assert!(killed.code.is_none(), "{killed:?}");
    assert!(between.thawed(), "the guard did not thaw");
    captured(&world, &format!("image capture {image}"));
    let steps = steps_in(&world, &image);
    assert!(
        steps > before,
        "the guest has stopped writing: {steps} steps after {before}"
    );

    world.run(&format!("image check {image} --deep")).expect(0);
    world.run(&format!("image release --vm {vm}")).expect(0);
    machine.guest.say("enough").unwrap();
    machine.guest.end().unwrap().good().unwrap();
}

//! Disks of a running QEMU that somebody else has started: captured by the commands, against what
//! QEMU itself says is on them.
//!
//! Nothing runs in the machine: its processor is stopped, and what a guest would write is written
//! through its block layer, by a second monitor. So the test knows each byte.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod support;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::World;

const MIB: u64 = 1 << 20;

/// A QEMU with two disks and two monitors: one for vardoger, one for the test.
struct Machine {
    qemu: Child,
    directory: PathBuf,
    monitor: BufReader<UnixStream>,
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.qemu.kill());
        drop(self.qemu.wait());
    }
}

impl Machine {
    fn make_disks(directory: &Path) {
        std::fs::create_dir_all(directory).unwrap();
        for (name, format, size) in [("a.qcow2", "qcow2", "64M"), ("b.raw", "raw", "32M")] {
            let path = directory.join(name);
            let made = Command::new("qemu-img")
                .args(["create", "-q", "-f", format])
                .arg(path)
                .arg(size)
                .status();
            assert!(made.unwrap().success());
        }
    }

    fn start(directory: &Path) -> Self {
        let at = |name: &str| directory.join(name).to_str().unwrap().to_owned();
        let socket = |name: &str| format!("unix:{},server=on,wait=off", at(name));
        let drive = |id: &str, file: &str, format: &str| {
            format!(
                "if=none,id={id},file={},format={format},cache.direct=off",
                at(file)
            )
        };
        let qemu = Command::new("qemu-system-x86_64")
            .args([
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
                "-S",
                "-m",
                "32",
            ])
            .args(["-machine", "pc,accel=tcg", "-nic", "none"])
            .args(["-drive", &drive("vda", "a.qcow2", "qcow2")])
            .args(["-device", "virtio-blk-pci,drive=vda"])
            .args(["-drive", &drive("vdb", "b.raw", "raw")])
            .args(["-device", "virtio-blk-pci,drive=vdb"])
            .args(["-qmp", &socket("qmp"), "-qmp", &socket("test")])
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let stream = loop {
            match UnixStream::connect(directory.join("test")) {
                Ok(stream) => break stream,
                Err(_) if Instant::now() < deadline => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        };
        let mut machine = Self {
            qemu,
            directory: directory.to_owned(),
            monitor: BufReader::new(stream),
        };
        machine.line();
        machine.ask("qmp_capabilities", json!({}));
        machine
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.monitor.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn ask(&mut self, command: &str, arguments: Value) -> Value {
        let text = json!({"execute": command, "arguments": arguments}).to_string();
        self.monitor.get_mut().write_all(text.as_bytes()).unwrap();
        loop {
            let said = self.line();
            if let Some(answer) = said.get("return") {
                return answer.clone();
            }
            assert!(said.get("error").is_none(), "{text}: {said}");
        }
    }

    /// Writes as a guest would.
    fn write(&mut self, disk: &str, offset: u64, bytes: u64, pattern: u8) {
        let line = format!("qemu-io {disk} \"write -P {pattern} {offset} {bytes}\"");
        let said = self.ask("human-monitor-command", json!({"command-line": line}));
        assert_eq!(said, "", "{line}");
    }

    /// The names of all dirty bitmaps.
    fn bitmaps(&mut self) -> Vec<String> {
        let nodes = self.ask("query-block", json!({}));
        let devices = nodes.as_array().unwrap().iter();
        let bitmaps = devices.filter_map(|one| one["inserted"]["dirty-bitmaps"].as_array());
        let named = bitmaps.flatten().filter_map(|one| one["name"].as_str());
        named.map(str::to_owned).collect()
    }

    fn socket(&self) -> String {
        self.directory.join("qmp").to_str().unwrap().to_owned()
    }
}

/// What is expected on a disk: patterns over zeros.
fn expected(size: u64, writes: &[(u64, u64, u8)]) -> Vec<u8> {
    let mut disk = vec![0; size as usize];
    for (offset, bytes, pattern) in writes {
        disk[*offset as usize..(offset + bytes) as usize].fill(*pattern);
    }
    disk
}

fn restored(world: &World, version: &str) -> Vec<u8> {
    let to = world.path(&format!("{version}.restored"));
    world
        .run(&format!("image restore {version} --to {}", to.display()))
        .expect(0);
    let disk = std::fs::read(&to).unwrap();
    std::fs::remove_file(to).unwrap();
    disk
}

#[test]
fn changed_blocks_of_a_running_machine_are_captured_at_one_moment() {
    let world = World::cold();
    let directory = world.path("machine");
    Machine::make_disks(&directory);
    let mut machine = Machine::start(&directory);
    let mut a = vec![(MIB, 3 * MIB, 1_u8), (40 * MIB, 4096, 2)];
    let mut b = vec![(0, MIB, 3_u8)];
    for (offset, bytes, pattern) in &a {
        machine.write("vda", *offset, *bytes, *pattern);
    }
    machine.write("vdb", 0, MIB, 3);
    // Somebody else's bitmap is not ours to touch.
    let theirs = json!({"node": "vda", "name": "theirs", "granularity": 65536});
    machine.ask("block-dirty-bitmap-add", theirs);
    let vm = machine.socket();
    world
        .run(&format!("image add --vm {vm} --name web"))
        .expect(0);
    assert!(
        restored(&world, "web-vda") == expected(64 * MIB, &a),
        "disk a"
    );
    assert!(
        restored(&world, "web-vdb") == expected(32 * MIB, &b),
        "disk b"
    );

    // Changes of both, some of which change nothing but are written.
    let more = [(2 * MIB, 8192, 9_u8), (50 * MIB, 4096, 7), (MIB, 4096, 1)];
    for (offset, bytes, pattern) in more {
        machine.write("vda", offset, bytes, pattern);
        a.push((offset, bytes, pattern));
    }
    machine.write("vdb", 16 * MIB, 64 * 4096, 5);
    b.push((16 * MIB, 64 * 4096, 5));
    let lines = world
        .run("image capture web-vda web-vdb -o ndjson")
        .expect(0)
        .stdout;
    let captured: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["data"].clone())
        .collect();
    let dirty = [8192 + 4096 + 4096, 64 * 4096];
    for (one, dirty) in captured.iter().zip(dirty) {
        assert_eq!(one["kind"], "increment", "{one}");
        assert_eq!(
            one["read_bytes"], dirty,
            "what was written, in blocks of 4 KiB: {one}"
        );
    }
    assert_eq!(captured[0]["taken"], captured[1]["taken"], "one moment");
    assert!(restored(&world, "web-vda") == expected(64 * MIB, &a));
    assert!(restored(&world, "web-vdb") == expected(32 * MIB, &b));
    world.run("image check web-vda --deep").expect(0);

    // QEMU is killed: what was written since was in no bitmap that lives. The next capture reads all.
    machine.write("vda", 60 * MIB, 4096, 8);
    a.push((60 * MIB, 4096, 8));
    drop(machine);
    let gone = world.run("image capture web-vda").expect(1);
    assert!(gone.stderr.contains("not running"), "{}", gone.stderr);
    std::fs::remove_file(directory.join("qmp")).unwrap();
    std::fs::remove_file(directory.join("test")).unwrap();
    let mut machine = Machine::start(&directory);
    let after = world
        .run("image capture web-vda web-vdb -o ndjson")
        .expect(0)
        .stdout;
    for line in after.lines() {
        let one: Value = serde_json::from_str(line).unwrap();
        assert_eq!(one["data"]["kind"], "resync", "{one}");
    }
    // Unflushed writes may be lost with QEMU, but not torn apart from what is on the disk now.
    let direct = world.path("direct.raw");
    machine.ask("stop", json!({}));
    let image = directory.join("a.qcow2");
    let converted = Command::new("qemu-img")
        .args(["convert", "-U", "-O", "raw"])
        .args([&image, &direct])
        .status();
    assert!(converted.unwrap().success());
    assert!(restored(&world, "web-vda") == std::fs::read(&direct).unwrap());

    // And nothing of ours stays in the machine.
    assert!(
        machine
            .bitmaps()
            .iter()
            .any(|name| name.starts_with("vardoger-"))
    );
    world.run(&format!("image release --vm {vm}")).expect(0);
    let left = machine.bitmaps();
    assert!(
        left.iter().all(|name| !name.starts_with("vardoger-")),
        "{left:?}"
    );
    let nodes = machine.ask("query-named-block-nodes", json!({}));
    let named = |node: &Value| node["node-name"].as_str().unwrap().starts_with("vardoger");
    assert!(!nodes.as_array().unwrap().iter().any(named), "{nodes}");
    drop(machine);
    world.assert_clean();
}

#[test]
fn a_disk_is_captured_once_enough_of_it_was_written() {
    let world = World::cold();
    let directory = world.path("machine");
    Machine::make_disks(&directory);
    let mut machine = Machine::start(&directory);
    let vm = machine.socket();
    world
        .run(&format!("image add --vm {vm} --name web --disk vda"))
        .expect(0);
    let capturing = world.start("image capture web --dirty 1000000 --every 50ms");
    let captures = || {
        let log = world.data("image log web");
        log["changesets"].as_array().unwrap().len()
    };
    machine.write("vda", MIB, 4096, 1);
    for _ in 0..10 {
        assert_eq!(captures(), 1);
    }
    machine.write("vda", 2 * MIB, MIB, 2);
    while captures() < 2 {}
    capturing.signal(rustix::process::Signal::INT);
    capturing.wait();
    let writes = [(MIB, 4096, 1), (2 * MIB, MIB, 2)];
    assert!(restored(&world, "web") == expected(64 * MIB, &writes));
    world.run(&format!("image release --vm {vm}")).expect(0);
    drop(machine);
    world.assert_clean();
}

#[test]
fn a_machine_that_is_not_there_is_named() {
    let world = World::cold();
    let missing = world
        .run("image add --vm /nowhere/qmp --name web")
        .expect(1);
    assert!(
        missing.stderr.contains("/nowhere/qmp"),
        "{}",
        missing.stderr
    );
    world.run("image add --vm /nowhere/qmp").expect(2);
    world.run("image release --vm /nowhere/qmp").expect(1);
    assert_eq!(
        world.data("image ls")["images"].as_array().unwrap().len(),
        0
    );
}

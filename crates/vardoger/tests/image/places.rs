//! Where a disk is captured from, and where it is brought back: other files and snapshots of it, its
//! own place, and again and again.

use crate::support::World;
use crate::{Disk, events, run};
use rustix::process::Signal;
use std::fs;
use std::process::{Command, Stdio};

/// What a qcow2 image holds, as a raw file.
fn raw(disk: &Disk, image: &str) -> Vec<u8> {
    let to = disk.path("compared.raw");
    run(
        "qemu-img",
        &["convert", "-f", "qcow2", "-O", "raw", image, &to],
    );
    let bytes = fs::read(&to).unwrap();
    fs::remove_file(&to).unwrap();
    bytes
}

#[test]
fn a_raw_disk_comes_back_in_its_place() {
    let world = World::cold();
    let disk = Disk::new(&world);
    let image = disk.path("disk.raw");
    let before = fs::read(&image).unwrap();
    world.run(&format!("image add {image}")).expect(0);
    disk.change(&["rm /home/ann/4096".to_owned()]);
    let after = fs::read(&image).unwrap();
    assert!(before != after);

    // Somebody has it open, if only to read it.
    let mut reader = Command::new("sleep")
        .arg("1000")
        .stdin(fs::File::open(&image).unwrap())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let refused = world.run("image restore disk --in-place").expect(1);
    reader.kill().unwrap();
    reader.wait().unwrap();
    assert!(refused.stderr.contains("sleep"), "{}", refused.stderr);
    assert!(fs::read(&image).unwrap() == after);

    let done = world.run("image restore disk@#0 --in-place").expect(0);
    assert!(done.stderr.contains("disk@#1"), "{}", done.stderr);
    assert!(fs::read(&image).unwrap() == before);
    // As it was before it was restored it is in the history, and comes back too; a disk that has grown
    // or shrunk since gets its length back.
    fs::write(&image, &before[..before.len() - (1 << 20)]).unwrap();
    world.run("image restore disk@#1 --in-place").expect(0);
    assert!(fs::read(&image).unwrap() == after);
    assert_eq!(
        world.data("image log disk")["changesets"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    world.run("image check disk --deep").expect(0);

    for wrong in [
        "disk --in-place /etc",
        "disk --in-place --to x",
        "disk",
        "./disk.raw --in-place",
    ] {
        world.run(&format!("image restore {wrong}")).expect(2);
    }
    world.assert_clean();
}

#[test]
fn a_qcow2_disk_comes_back_in_its_place_and_keeps_its_snapshots() {
    let world = World::cold();
    let disk = Disk::new(&world);
    let image = disk.image();
    run("qemu-img", &["snapshot", "-c", "early", &image]);
    let before = raw(&disk, &image);
    world.run(&format!("image add {image}")).expect(0);
    let write = ["-f", "qcow2", "-c", "write -q -P 9 30M 3M", &image];
    run("qemu-io", &write);
    let after = raw(&disk, &image);
    world.run("image restore web1 --in-place").expect(0);
    assert!(raw(&disk, &image) == before);
    run("qemu-img", &["check", "-q", &image]);
    let snapshots = Command::new("qemu-img")
        .args(["snapshot", "-l", &image])
        .output();
    let snapshots = String::from_utf8(snapshots.unwrap().stdout).unwrap();
    assert!(snapshots.contains("early"), "{snapshots}");
    world.run("image restore web1@#1 --in-place").expect(0);
    assert!(raw(&disk, &image) == after);

    // The snapshot is captured by its name, as a version of its own.
    let captured = world.data("image capture web1 --snapshot early");
    assert_eq!(captured["sequence"], 3);
    let to = disk.path("early.raw");
    world
        .run(&format!("image restore web1 --to {to}"))
        .expect(0);
    assert!(fs::read(&to).unwrap() == before);
    world.run("image capture web1 --snapshot late").expect(1);

    run("qemu-img", &["resize", "-q", &image, "60M"]);
    let refused = world.run("image restore web1@#0 --in-place").expect(2);
    assert!(
        refused.stderr.contains("another size"),
        "{}",
        refused.stderr
    );
    world.assert_clean();
}

#[test]
fn snapshots_in_files_of_their_own_are_captured_by_name() {
    let world = World::cold();
    let disk = Disk::new(&world);
    world.run(&format!("image add {}", disk.image())).expect(0);
    let (first, second) = (disk.path("first.qcow2"), disk.path("second.qcow2"));
    let stand = |on: &str, new: &str| {
        run(
            "qemu-img",
            &["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", on, new],
        );
    };
    stand(&disk.image(), &first);
    run(
        "qemu-io",
        &["-f", "qcow2", "-c", "write -q -P 5 40M 1M", &first],
    );
    stand(&first, &second);
    run(
        "qemu-io",
        &["-f", "qcow2", "-c", "write -q -P 6 41M 1M", &second],
    );
    for (number, image) in [(1, &first), (2, &second)] {
        let captured = world.data(&format!("image capture web1 --from {image}"));
        assert_eq!(captured["sequence"], number);
        let to = disk.path(&format!("{number}.raw"));
        world
            .run(&format!("image restore web1 --to {to}"))
            .expect(0);
        assert!(fs::read(&to).unwrap() == raw(&disk, image), "{number}");
    }
    // And from where it was added, as if nothing had happened.
    world.run("image capture web1").expect(0);
    assert!(events(&world.data("image diff web1@#0 web1")).is_empty());
    world
        .run("image capture web1 web1 --from x.qcow2")
        .expect(2);
    world
        .run("image capture web1 --from /nonexistent/x.qcow2")
        .expect(1);
    world.assert_clean();
}

#[test]
fn what_is_captured_again_and_again_outlives_a_failure() {
    let world = World::cold();
    let disk = Disk::new(&world);
    let image = disk.path("disk.raw");
    world.run(&format!("image add {image}")).expect(0);
    let aside = disk.path("aside.raw");
    fs::rename(&image, &aside).unwrap();
    let mut capturing = world.start("image capture disk --every 100ms");
    capturing.wait_for("cannot");
    fs::rename(&aside, &image).unwrap();
    let count = || {
        let log = world.data("image log disk");
        log["changesets"].as_array().unwrap().len()
    };
    while count() < 3 {}
    capturing.signal(Signal::INT);
    let ended = capturing.wait();
    assert!(matches!(ended.code, Some(0 | 130)), "{ended:?}");
    for wrong in [
        "--at 25:00",
        "--every 1m --at 02:00",
        "--dirty 1",
        "--from x --every 1m",
    ] {
        world.run(&format!("image capture disk {wrong}")).expect(2);
    }
    world.assert_clean();
}

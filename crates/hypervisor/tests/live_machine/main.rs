//! Captures of machines that the product did not start: real QEMU, and the truth from elsewhere.
//! What a guest has written is known from its program; what was written by the test, from the test.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod freeze;
mod guest;
mod machine;
mod room;
mod written;

use block::nbd::{DIRTY, Export, NbdError, dirty_bitmap};
use hypervisor::live::{
    Base, CaptureRequest, Changed, DiskChoice, Label, LiveDisks, LiveError, LiveMachine, Outcome,
    PointDisk, PointInTime, Resync, Skip,
};
use machine::{Machine, create};
use serde_json::json;
use std::future::Future;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::Path;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::task::Poll;
use written::Written;

const BLOCK: u64 = 4096;

fn label(text: &str) -> Label {
    Label::new(text).unwrap()
}

fn request(place: &Path, note: &str, disks: &[(&str, Option<Base>)]) -> CaptureRequest {
    let choice = |(disk, base): &(&str, Option<Base>)| DiskChoice {
        disk: (*disk).to_owned(),
        image: label(disk),
        base: base.clone(),
    };
    CaptureRequest {
        disks: disks.iter().map(choice).collect(),
        note: label(note),
        private: place.to_path_buf(),
        scratch: place.to_path_buf(),
        room_bytes: 1 << 20,
        freeze: None,
    }
}

/// The base that a capture is for the next one.
fn base(note: &str, point: &PointInTime, disk: usize) -> Option<Base> {
    Some(Base {
        note: label(note),
        size_bytes: point.disks[disk].disk.size_bytes,
        process: point.process,
    })
}

/// What has to be read of a disk at a moment, as the export tells it.
fn dirty(point: &PointInTime, disk: &PointDisk) -> Vec<Range<u64>> {
    let Changed::Dirty { bitmap, bytes } = &disk.changed else {
        return std::iter::once(0..disk.disk.size_bytes).collect();
    };
    let context = dirty_bitmap(bitmap);
    let contexts = std::slice::from_ref(&context);
    let export = Export::connect(&point.socket, &disk.export, contexts).unwrap();
    let extents = export.extents(&context, 0..disk.disk.size_bytes).unwrap();
    let parts = extents.iter().filter(|extent| extent.flags & DIRTY != 0);
    let parts: Vec<_> = parts
        .map(|extent| extent.offset..extent.offset + extent.bytes)
        .collect();
    assert_eq!(length(&parts), *bytes);
    parts
}

fn length(parts: &[Range<u64>]) -> u64 {
    parts.iter().map(|part| part.end - part.start).sum()
}

/// Reads what has to be read over a copy of the disk, and tells how much that was.
fn read_over(copy: &mut [u8], point: &PointInTime, disk: &PointDisk) -> u64 {
    let parts = dirty(point, disk);
    let export = Export::connect(&point.socket, &disk.export, &[]).unwrap();
    let mut read = 0;
    export
        .read_parts(parts, |at, bytes| {
            read += bytes.len() as u64;
            copy[at as usize..][..bytes.len()].copy_from_slice(bytes);
            Ok::<(), NbdError>(())
        })
        .unwrap();
    read
}

/// Waits for a number of writes of the guest's.
fn wait_writes(machine: &mut Machine, count: u64) {
    for _ in 0..count.div_ceil(guest::BEAT) {
        assert_ne!(machine.beat(), guest::FAILED, "a write of the guest failed");
    }
}

#[tokio::test]
async fn disks_of_a_writing_guest_are_captured_as_they_were() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    create(&path("one"), "qcow2", guest::DISK_BYTES);
    create(&path("two"), "raw", guest::DISK_BYTES);
    std::fs::write(path("floppy"), guest::floppy()).unwrap();
    let drive =
        |name: &str, more: &str| format!("if=none,id={name},file={},{more}", path(name).display());
    let mut machine = Machine::start(
        place.path(),
        &[
            "-machine",
            "pc,hpet=off,smm=off",
            "-accel",
            "tcg",
            "-m",
            "16",
            "-boot",
            "a",
            "-object",
            "iothread,id=apart",
            "-drive",
            &drive("one", "format=qcow2"),
            "-device",
            "virtio-blk-pci,drive=one,id=vd0,bootindex=1",
            "-blockdev",
            &format!(
                "raw,node-name=second,file.driver=file,file.filename={}",
                path("two").display()
            ),
            "-device",
            "virtio-blk-pci,drive=second,id=two,iothread=apart,bootindex=2",
            "-drive",
            &format!(
                "if=floppy,format=raw,readonly=on,file={}",
                path("floppy").display()
            ),
            "-device",
            "ide-cd,id=cd",
            "-chardev",
            "stdio,id=out",
            "-device",
            "isa-debugcon,iobase=0xe9,chardev=out",
        ],
    );
    machine.ask(
        "block-dirty-bitmap-add",
        json!({ "node": "one", "name": "others", "granularity": 65536 }),
    );
    let before = machine.names();
    let mut live = LiveMachine::connect(&machine.socket).await.unwrap();
    let drives = live.drives().await.unwrap();
    let names: Vec<_> = drives.disks.iter().map(|disk| &*disk.name).collect();
    assert_eq!(names, ["one", "two"]);
    let reasons: Vec<_> = drives.skipped.iter().map(|(_, reason)| *reason).collect();
    assert_eq!(
        reasons,
        [Skip::ReadOnly, Skip::Empty],
        "{:?}",
        drives.skipped
    );

    let mut copies = vec![vec![0; guest::DISK_BYTES as usize]; 2];
    let mut bases: Vec<Option<Base>> = vec![None, None];
    let mut last = 0;
    // The third is given up after a part of it was read, and the fourth has all of it as well.
    for (note, outcome) in [
        ("a", Outcome::Kept),
        ("b", Outcome::Kept),
        ("c", Outcome::Dropped),
        ("d", Outcome::Kept),
        ("e", Outcome::Kept),
    ] {
        wait_writes(&mut machine, 192);
        let disks = [("one", bases[0].clone()), ("two", bases[1].clone())];
        let point = live
            .begin(&request(place.path(), note, &disks))
            .await
            .unwrap();
        // What the guest writes now is not to be seen.
        wait_writes(&mut machine, 64);
        if outcome == Outcome::Dropped {
            assert!(length(&dirty(&point, &point.disks[0])) > 0);
            live.finish(point, outcome).await.unwrap();
            continue;
        }
        let mut read = Vec::new();
        for (copy, disk) in copies.iter_mut().zip(&point.disks) {
            read.push(read_over(copy, &point, disk));
        }
        let count = guest::last_write(&copies);
        assert!(count > last, "{count} after {last}");
        for (disk, copy) in copies.iter().enumerate() {
            let right = *copy == guest::disk_after(disk, count);
            assert!(right, "capture {note}, disk {disk}, after {count} writes");
            if note == "a" {
                assert_eq!(point.disks[disk].changed, Changed::All(Resync::First));
                continue;
            }
            let written = guest::blocks_hit(disk, last, count) * BLOCK;
            let most = written + written / 100;
            assert!(
                (written..=most).contains(&read[disk]),
                "{} of {written}",
                read[disk]
            );
        }
        last = count;
        bases = vec![base(note, &point, 0), base(note, &point, 1)];
        live.finish(point, outcome).await.unwrap();
    }
    let released = live.release().await.unwrap();
    assert_eq!(released.bitmaps.len(), 2, "{released:?}");
    assert!(released.kept.is_empty(), "{released:?}");
    assert_eq!(machine.names(), before);
    let bitmap = &machine.ask("query-block", json!({}))[0]["inserted"]["dirty-bitmaps"][0];
    assert_eq!(
        (&bitmap["name"], &bitmap["recording"]),
        (&json!("others"), &json!(true))
    );
    let stopped = machine.try_ask("nbd-server-stop", json!({}));
    assert!(
        stopped["error"].is_object(),
        "the server is still there: {stopped}"
    );
    wait_writes(&mut machine, guest::BEAT);
}

/// Lets a future go on until it has waited for a number of times, then gives it up, as if we were
/// killed: whether it had ended before.
async fn cut_off<T>(work: impl Future<Output = T>, waits: u32) -> Option<T> {
    let mut work = pin!(work);
    let mut waited = 0;
    std::future::poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if waited == waits => Poll::Ready(None),
        Poll::Pending => {
            waited += 1;
            Poll::Pending
        }
    })
    .await
}

/// Each time it is cut off a little later, until it is through; what follows must be right.
#[tokio::test]
async fn a_capture_that_is_cut_off_anywhere_loses_nothing() {
    let mut written = Written::start("qcow2");
    let mut live = written.connect().await;
    assert_eq!(written.capture_all(&mut live).await, Resync::First);
    drop(live);
    let mut cuts = 0;
    for what in [None, Some(Outcome::Kept), Some(Outcome::Dropped)] {
        for waits in 0.. {
            written.write();
            let mut live = written.connect().await;
            let request = written.request();
            let Some(outcome) = what else {
                let begun = cut_off(live.begin(&request), waits).await;
                drop(live);
                written.write();
                let mut live = written.connect().await;
                written.check_capture(&mut live).await;
                cuts += 1;
                if begun.is_some() {
                    break;
                }
                continue;
            };
            let point = live.begin(&request).await.unwrap();
            if outcome == Outcome::Kept {
                // The store acknowledges before the machine is told.
                written.acknowledge(&request.note);
            }
            written.write();
            let finished = cut_off(live.finish(point, outcome), waits).await;
            drop(live);
            written.write();
            let mut live = written.connect().await;
            written.check_capture(&mut live).await;
            cuts += 1;
            if finished.is_some() {
                break;
            }
        }
    }
    assert!(cuts > 30, "only {cuts}");
    let mut live = written.connect().await;
    live.release().await.unwrap();
    let left = written.machine.names();
    assert!(
        !left.iter().any(|name| name.contains("vardoger")),
        "{left:?}"
    );
}

/// Begins a capture and waits to be killed: run by the test below, in a process of its own.
#[tokio::test]
#[ignore = "the test below runs it in a process of its own"]
async fn begins_and_waits() {
    let Ok(place) = std::env::var("LIVE_PLACE") else {
        return;
    };
    let place = Path::new(&place);
    let mut live = LiveMachine::connect(&place.join("monitor")).await.unwrap();
    let base = Base {
        note: label("n1"),
        size_bytes: 64 << 20,
        process: None,
    };
    let request = request(place, "killed", &[("disk", Some(base))]);
    let point = live.begin(&request).await.unwrap();
    println!("\nbegun");
    std::thread::park();
    drop(point);
}

#[tokio::test]
async fn a_killed_process_of_ours_loses_nothing() {
    for acknowledged in [false, true] {
        let mut written = Written::start("raw");
        let mut live = written.connect().await;
        written.capture_all(&mut live).await;
        drop(live);
        written.write();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["begins_and_waits", "--exact", "--ignored", "--nocapture"])
            .env("LIVE_PLACE", written.place.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let begun = lines.map_while(Result::ok).any(|line| line == "begun");
        assert!(begun);
        written.write();
        child.kill().unwrap();
        child.wait().unwrap();
        if acknowledged {
            let since = written.since.pop();
            written.acknowledge(&label("killed"));
            written.since.extend(since);
        }
        written.write();
        let mut live = written.connect().await;
        written.check_capture(&mut live).await;
        live.release().await.unwrap();
        let left = written.machine.names();
        assert!(
            !left.iter().any(|name| name.contains("vardoger")),
            "{left:?}"
        );
    }
}

#[tokio::test]
async fn a_machine_that_was_ended_is_read_anew_where_its_bitmaps_are_lost() {
    let mut written = Written::start("qcow2");
    let mut live = written.connect().await;
    written.capture_all(&mut live).await;
    written.write();
    drop(live);
    written.restart("qcow2", Machine::quit);
    written.write();
    let mut live = written.connect().await;
    written.check_capture(&mut live).await;
    drop(live);
    // What was written down once is marked as in use from the next start on.
    written.restart("qcow2", Machine::quit);
    written.restart("qcow2", drop);
    written.write();
    let mut live = written.connect().await;
    assert_eq!(written.capture_all(&mut live).await, Resync::Inconsistent);
    written.write();
    written.check_capture(&mut live).await;

    let mut written = Written::start("raw");
    let mut live = written.connect().await;
    let request = written.request();
    let point = live.begin(&request).await.unwrap();
    written.base = base("n1", &point, 0);
    live.finish(point, Outcome::Kept).await.unwrap();
    drop(live);
    written.restart("raw", drop);
    let mut live = written.connect().await;
    assert_eq!(written.capture_all(&mut live).await, Resync::Restarted);
}

#[tokio::test]
async fn what_others_do_to_our_bitmaps_is_noticed() {
    let mut written = Written::start("raw");
    let mut live = written.connect().await;
    written.capture_all(&mut live).await;
    let name = |machine: &mut Machine| {
        let names = machine.names();
        names
            .into_iter()
            .find(|name| name.starts_with("vardoger-"))
            .unwrap()
    };
    let bitmap = json!({ "node": "disk", "name": name(&mut written.machine) });
    written.machine.ask("block-dirty-bitmap-disable", bitmap);
    assert_eq!(written.capture_all(&mut live).await, Resync::Stopped);
    let bitmap = json!({ "node": "disk", "name": name(&mut written.machine) });
    written.machine.ask("block-dirty-bitmap-remove", bitmap);
    assert_eq!(written.capture_all(&mut live).await, Resync::Lost);
    written.machine.ask(
        "block_resize",
        json!({ "device": "disk", "size": 65 << 20 }),
    );
    let grown = Resync::Resized {
        from_bytes: 64 << 20,
        to_bytes: 65 << 20,
    };
    assert_eq!(written.capture_all(&mut live).await, grown);
    let socket = written.place.path().join("theirs");
    let address = json!({ "type": "unix", "data": { "path": socket } });
    written
        .machine
        .ask("nbd-server-start", json!({ "addr": address }));
    let request = written.request();
    let taken = live.begin(&request).await.unwrap_err();
    assert!(matches!(taken, LiveError::ServerTaken), "{taken}");
    written.machine.ask("nbd-server-stop", json!({}));
}

#[tokio::test]
async fn a_monitor_that_cannot_be_used_is_told_from_one_that_is_missing() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("nothing");
    let missing = LiveMachine::connect(&socket).await.unwrap_err();
    assert!(matches!(missing, LiveError::SocketMissing(_)), "{missing}");
    let machine = Machine::of_disks(place.path(), &[]);
    let mut live = LiveMachine::connect(&machine.socket).await.unwrap();
    let taken = LiveMachine::connect(&machine.socket).await.unwrap_err();
    assert!(matches!(taken, LiveError::Taken(_)), "{taken}");
    let none = request(place.path(), "a", &[("sda", None)]);
    let none = live.begin(&none).await.unwrap_err();
    assert!(matches!(none, LiveError::NoSuchDisk { .. }), "{none}");
    let socket = machine.socket.clone();
    drop(machine);
    let refused = LiveMachine::connect(&socket).await.unwrap_err();
    assert!(matches!(refused, LiveError::Refused(_)), "{refused}");
}

//! A guest that overwrites more than was thought during a capture.

use crate::BLOCK;
use crate::written::Written;
use block::nbd::{Export, NbdError};
use hypervisor::HypervisorError;
use hypervisor::live::{LiveDisks, LiveError, Outcome};
use std::path::Path;
use std::process::Command;

/// How much is overwritten between two looks.
const PIECE_BYTES: u64 = 1 << 20;
const DISK_BYTES: u64 = 64 << 20;

#[tokio::test]
async fn room_is_kept_ahead_of_a_guest_that_overwrites_its_whole_disk() {
    let mut written = Written::start("qcow2");
    let mut live = written.connect().await;
    written.machine.write("disk", 0, DISK_BYTES, 7);
    // It asks for 1 MiB, and 4 for tables.
    let request = written.request();
    let mut point = live.begin(&request).await.unwrap();
    for piece in 0..DISK_BYTES / PIECE_BYTES {
        written
            .machine
            .write("disk", piece * PIECE_BYTES, PIECE_BYTES, 9);
        point.rooms[0].keep_ahead().unwrap();
    }
    let export = Export::connect(&point.socket, &point.disks[0].export, &[]).unwrap();
    let mut read = 0;
    let starts = (0..DISK_BYTES).step_by(256 << 10);
    export
        .read_parts(starts.map(|at| at..at + BLOCK), |at, bytes| {
            assert!(bytes.iter().all(|byte| *byte == 7), "byte {at}");
            read += bytes.len() as u64;
            Ok::<(), NbdError>(())
        })
        .unwrap();
    assert_eq!(read, BLOCK * DISK_BYTES / (256 << 10));
    live.finish(point, Outcome::Kept).await.unwrap();
}

/// Run by the test below, where there is little room.
#[tokio::test]
#[ignore = "the test below runs it in a process of its own"]
async fn overwrites_until_there_is_no_room() {
    let Ok(scratch) = std::env::var("LIVE_SCRATCH") else {
        return;
    };
    let mut written = Written::start("qcow2");
    let mut live = written.connect().await;
    written.machine.write("disk", 0, DISK_BYTES, 7);
    written.capture_all(&mut live).await;
    let mut request = written.request();
    request.scratch = scratch.into();
    request.room_bytes = 8 << 20;
    let mut point = live.begin(&request).await.unwrap();
    let mut pieces = 0..DISK_BYTES / PIECE_BYTES;
    let mut overwrite = |written: &mut Written| {
        let offset = pieces.next().unwrap() * PIECE_BYTES;
        written.machine.write("disk", offset, PIECE_BYTES, 9);
        offset..offset + PIECE_BYTES
    };
    let full = loop {
        let part = overwrite(&mut written);
        written.since.push(part);
        if let Err(error) = point.rooms[0].keep_ahead() {
            break error;
        }
    };
    assert!(
        matches!(full, LiveError::Hypervisor(HypervisorError::NoSpace { .. })),
        "{full}"
    );
    assert!(full.remedy().is_some());
    // The guest can still write while the capture is given up, and goes on.
    for _ in 0..3 {
        let part = overwrite(&mut written);
        written.since.push(part);
    }
    live.finish(point, Outcome::Dropped).await.unwrap();
    for _ in 0..3 {
        let part = overwrite(&mut written);
        written.since.push(part);
    }
    let all = written.since.drain(..).fold(0..0, |all, part| {
        assert_eq!(part.start, all.end);
        0..part.end
    });
    written.since.push(all);
    written.check_capture(&mut live).await;
    println!("\nall was well");
}

#[test]
fn where_there_is_no_more_room_the_capture_can_be_given_up_and_the_guest_goes_on() {
    let small = tempfile::tempdir().unwrap();
    let test = std::env::current_exe().unwrap();
    let name = "room::overwrites_until_there_is_no_room";
    let done = on_a_small_mount(small.path())
        .arg(test)
        .args([name, "--exact", "--ignored", "--nocapture"])
        .env("LIVE_SCRATCH", small.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    let complained = String::from_utf8_lossy(&done.stderr);
    if complained.starts_with("unshare:") {
        eprintln!("user namespaces are not allowed here: {complained}");
        return;
    }
    assert!(said.contains("all was well"), "{said}\n{complained}");
}

/// Runs what follows in a mount namespace of its own, with 20 MiB at a directory.
fn on_a_small_mount(mount: &Path) -> Command {
    let script = "mount -t tmpfs -o size=20m none \"$1\" && shift && exec \"$@\"";
    let mut command = Command::new("unshare");
    command
        .args(["--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(mount);
    command
}

//! A full disk is said to be full, loses nothing, and the store works again once there is room.
//!
//! The test runs itself in a mount namespace of its own on a small tmpfs, which needs no root where
//! user namespaces are allowed; where they are not it says so and does nothing.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod support;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use store::{Limits, Store, StoreError};
use support::{ended, moment, open, started};

/// Tells the child where the small file system is.
const CHILD_MOUNT: &str = "VARDOGER_TEST_SMALL_MOUNT";

/// Mounts 4 MiB on `$1`, then runs the rest.
const ON_A_SMALL_MOUNT: &str = "mount -t tmpfs -o size=4m none \"$1\" && shift && exec \"$@\"";

fn on_a_small_mount(mount: &Path, program: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command
        .args([
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            ON_A_SMALL_MOUNT,
            "sh",
        ])
        .arg(mount)
        .args(program);
    command
}

/// Runs with blobs of `bytes` until something is refused; returns how many ended, and the refusal.
async fn write_until_refused(store: &Store, first: u64, bytes: usize) -> (u64, StoreError) {
    for number in first.. {
        let key = format!("runs/{number}/state");
        let outcome = async {
            store.append(started(number), moment(0)).await?;
            store.put_blob(&key, vec![0xa5; bytes]).await?;
            store.append(ended(number, Some(&key)), moment(1)).await
        };
        if let Err(refusal) = outcome.await {
            return (number - 1, refusal);
        }
    }
    unreachable!("the small file system never became full")
}

async fn check_readable(store: &Store, ended: u64, bytes: usize) {
    for number in 1..=ended {
        let blob = store.get_blob(&format!("runs/{number}/state")).await;
        assert_eq!(blob.unwrap(), vec![0xa5; bytes], "run {number}");
    }
}

/// Takes what space is left.
fn fill(mount: &Path) {
    let mut rest = fs::File::create(mount.join("rest")).unwrap();
    while rest.write_all(&[1; 4096]).is_ok() {}
}

/// Even on a full disk the oldest evidence can be removed, and that be recorded.
async fn check_prunes(place: &Path) {
    let limits = Limits { max_bytes: 0 };
    let store = Store::open(place, limits).await.unwrap();
    let records = store.prune_to_limit(moment(2)).await.unwrap();
    assert!(!records.is_empty());
    let oldest = store.get_blob("runs/1/state").await;
    assert!(matches!(oldest, Err(StoreError::Pruned { .. })));
}

#[tokio::test]
#[ignore = "the child of the test below"]
async fn child_on_a_small_disk() {
    let Some(mount) = std::env::var_os(CHILD_MOUNT) else {
        return;
    };
    let mount = Path::new(&mount);
    for bytes in [64 << 10, 100] {
        let place = mount.join(bytes.to_string());
        let ballast = mount.join("ballast");
        fs::write(&ballast, vec![1; 512 << 10]).unwrap();
        let store = open(&place).await;
        let (written, refusal) = write_until_refused(&store, 1, bytes).await;
        assert!(matches!(refusal, StoreError::Full { .. }), "{refusal:?}");
        assert!(written > 0);
        check_readable(&store, written, bytes).await;
        drop(store);
        fill(mount);
        let store = open(&place).await;
        check_readable(&store, written, bytes).await;
        check_prunes(&place).await;
        drop(store);
        fs::remove_file(&ballast).unwrap();
        let store = open(&place).await;
        store.append(started(1 << 30), moment(2)).await.unwrap();
        store.put_blob("again", vec![1; bytes]).await.unwrap();
        drop(store);
        fs::remove_dir_all(&place).unwrap();
    }
}

#[test]
fn a_full_disk_loses_nothing() {
    let place = tempfile::tempdir().unwrap();
    let probe = on_a_small_mount(place.path(), &["true"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        println!("skipped: no tmpfs may be mounted in a namespace of one's own here");
        return;
    }
    let program = std::env::current_exe().unwrap();
    let arguments = [
        program.to_str().unwrap(),
        "--exact",
        "child_on_a_small_disk",
        "--ignored",
        "--nocapture",
    ];
    let output = on_a_small_mount(place.path(), &arguments)
        .env(CHILD_MOUNT, place.path())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

//! Commands in disks of the user's own: recorded once, followed by the others, equal to the last
//! bit; a flipped bit in one of them; and disks and commands that are none.
//!
//! The small disk is a busybox; the other is made of Debian's own packages.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod support;

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::World;
use support::process::{Ended, Running};

/// Where a flipped bit goes that nobody reads: near the end of the machine's 256 MiB.
const QUIET: &str = "0xf000123";

/// Writes, flushes, reads back past the cache, and looks for other files.
const WORK: &str = "set -e; mkdir -p /data; i=0; \
    while [ $i -lt 8 ]; do \
    dd if=/bin/busybox of=/data/$i bs=4096 skip=$i count=64 conv=fsync 2>/dev/null; \
    i=$((i+1)); done; \
    echo 3 > /proc/sys/vm/drop_caches; cat /data/* | md5sum; \
    rm /data/3; sync; ls /data";

/// The same with Debian's programs: an archive, a sorted list, a database.
const DEBIAN_WORK: &str = "set -e; mkdir -p /srv/x; cd /srv/x; \
    tar -cf one.tar /usr/share/doc /etc; sha256sum one.tar > sums; sync; \
    echo 3 > /proc/sys/vm/drop_caches; sha256sum -c sums; \
    tar -tf one.tar | sort -r > names; wc -l < names; \
    sqlite3 db 'create table t(a,b); with recursive n(x) as (select 1 union all select x+1 from n \
    where x<2000) insert into t select x, hex(randomblob(40)) from n; select count(*) from t;'; \
    gzip -9 < names > names.gz; tar -xf one.tar; rm one.tar; sync; du -s . | cut -f1";

/// An ext4 image of a tree.
fn image_of(tree: &Path, image: &Path, mebibytes: u32) {
    let made = Command::new("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-d"])
        .args([tree, image])
        .arg(format!("{mebibytes}M"))
        .status();
    assert!(made.unwrap().success());
}

/// A disk that holds a busybox and names for it.
fn small_disk(world: &World) -> PathBuf {
    let tree = world.path("tree");
    for directory in ["bin", "proc", "sys", "dev", "etc", "run"] {
        fs::create_dir_all(tree.join(directory)).unwrap();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/lib/busybox");
    let found = Command::new(script).output().unwrap();
    let busybox = String::from_utf8(found.stdout).unwrap();
    fs::copy(busybox.trim_end(), tree.join("bin/busybox")).unwrap();
    for name in [
        "sh", "dd", "cat", "md5sum", "rm", "sync", "ls", "mkdir", "yes",
    ] {
        std::os::unix::fs::symlink("busybox", tree.join("bin").join(name)).unwrap();
    }
    let image = world.path("small.raw");
    image_of(&tree, &image, 16);
    image
}

fn order(world: &World, flags: &str, image: &Path, words: &[&str]) -> Ended {
    let mut command = world.command(&format!("run start --jobs 2 --json {flags}"));
    command.arg("--disk").arg(image).arg("--").args(words);
    Running::start(&mut command).patiently().wait()
}

#[track_caller]
fn metric(run: &Value, name: &str) -> f64 {
    let metrics = run["replicas"][1]["metrics"].as_array().unwrap();
    let metric = metrics.iter().find(|metric| metric["name"] == name);
    metric.unwrap()["value"].as_f64().unwrap()
}

/// A run of equal replicas; gives its document.
#[track_caller]
fn pass(world: &World, image: &Path, words: &[&str]) -> Value {
    let before = blake3::hash(&fs::read(image).unwrap());
    let run = order(world, "-n 3", image, words).expect(0).data();
    assert_eq!(run["verdict"], "pass", "{}", run["reason"]);
    assert_eq!(run["provenance"]["command"]["recorded"], 0);
    let recording = &run["recording"];
    assert_eq!(recording["replica"], 0);
    for figure in ["events", "bytes", "instructions"] {
        assert!(recording[figure].as_u64().unwrap() > 1000, "{recording}");
    }
    let digest = run["provenance"]["command"]["disk"]["digest"].clone();
    assert_eq!(digest, before.to_hex().to_string());
    assert_eq!(blake3::hash(&fs::read(image).unwrap()), before);
    assert!(metric(&run, "program_resident_pages") > 0.0);
    run
}

#[track_caller]
fn check_flipped(run: &Value, replica: u64, bit: u64) {
    let deviations = run["deviations"].as_array().unwrap();
    assert_eq!(deviations.len(), 1, "{}", run["reason"]);
    assert_eq!(deviations[0]["replica"], replica);
    assert_eq!(deviations[0]["differing_words"], 1);
    let first = &deviations[0]["first"];
    assert_eq!(first["part"], "memory");
    assert_eq!(first["address"], "0xf000120");
    assert_eq!(first["flipped_bits"], serde_json::json!([3 * 8 + bit]));
}

/// One boot, one run of three, and some of one or two: about 25 s of CPU time.
#[test]
fn a_command_in_a_small_disk_is_repeated_exactly_and_one_flipped_bit_is_found() {
    let world = World::cold();
    let disk = small_disk(&world);
    let run = pass(&world, &disk, &["sh", "-c", WORK]);
    assert_eq!(run["computation"], "command:sh");
    let shown = world.run("run show @last").expect(0).stdout;
    let told = shown.lines().find(|line| line.contains("recorded"));
    let told = told.unwrap_or_else(|| panic!("{shown}"));
    assert!(
        told.contains("replica 0") && told.ends_with("followed by replicas 1, 2"),
        "{told}"
    );
    assert!(run["coverage"]["bytes_compared"].as_u64().unwrap() > 3 * 8 * 64 * 4096);

    let fault = format!("-n 3 --inject ram={QUIET}:5@end,replica=2");
    let run = order(&world, &fault, &disk, &["sh", "-c", WORK]);
    check_flipped(&run.expect(3).data(), 2, 5);
    let fault = format!("-n 3 --inject ram={QUIET}:6@start,replica=1");
    let run = order(&world, &fault, &disk, &["sh", "-c", "echo here; sync"]);
    check_flipped(&run.expect(3).data(), 1, 6);

    check_disk_faults(&world, &disk);

    // A disk that is full is an error that the command gets, the same in all.
    let full = "yes > /fill 2>/dev/null; echo $?; rm /fill; exit 3";
    let run = order(&world, "-n 2", &disk, &["sh", "-c", full])
        .expect(0)
        .data();
    assert_eq!(run["replicas"][1]["exit_status"], "3");

    check_root_file_systems(&world);
    check_refused(
        &world,
        &disk,
        "/bin/nothing",
        "cannot start `/bin/nothing` on the disk",
    );
    let strange = world.path("strange.raw");
    let mut content = vec![0; 1 << 20];
    fs::write(&strange, &content).unwrap();
    check_refused(&world, &strange, "sh", "vda: no file system that is known");
    content[..6].copy_from_slice(b"LUKS\xba\xbe");
    fs::write(&strange, &content).unwrap();
    check_refused(&world, &strange, "sh", "encrypted (LUKS)");
    world.assert_clean();
}

/// The only deviation of a run into whose disk one fault was put.
#[track_caller]
fn deviation(run: &Value, replica: u64) -> &Value {
    let deviations = run["deviations"].as_array().unwrap();
    assert_eq!(deviations.len(), 1, "{}", run["reason"]);
    assert_eq!(deviations[0]["replica"], replica);
    let injection = &run["injections"][0];
    assert_eq!(
        (&injection["part"], &injection["fate"]),
        (&"disk".into(), &"live".into())
    );
    assert_eq!(injection["replica"], replica);
    &deviations[0]
}

/// Faults on disks: in what was written, drawn; in a file that nobody touched, by its place; a write
/// that was lost. Three runs of three, of little work.
fn check_disk_faults(world: &World, disk: &Path) {
    // Where a file lies is told by the tool that the image was made by.
    let told = Command::new("debugfs")
        .args(["-R", "bmap /bin/busybox 4"])
        .arg(disk)
        .output()
        .unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let fifth: u64 = told.trim().parse().unwrap();
    let told = Command::new("dumpe2fs")
        .arg("-h")
        .arg(disk)
        .output()
        .unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let line = told.lines().find(|line| line.starts_with("Block size:"));
    let block_bytes: u64 = line.unwrap()[11..].trim().parse().unwrap();
    let address = fifth * block_bytes + 21;
    let words = [
        "sh",
        "-c",
        "dd if=/bin/busybox of=/copy bs=4096 count=16 2>/dev/null; sync",
    ];

    let fault = format!("-n 3 --inject disk={address:#x}:6,replica=1");
    let run = order(world, &fault, disk, &words).expect(3).data();
    let found = deviation(&run, 1);
    assert_eq!(found["differences_total"], 1, "{found}");
    let first = &found["first"];
    assert_eq!(first["part"], "disk");
    assert_eq!(first["address"], format!("{:#x}", address & !7));
    assert_eq!(
        first["flipped_bits"],
        serde_json::json!([(address % 8) * 8 + 6])
    );
    assert_eq!(first["owner_kind"], "disk-file");
    assert_eq!(first["file"]["path"], "/bin/busybox");
    let offset = 4 * block_bytes + (21 & !7);
    assert_eq!(first["file"]["offset"], offset);

    let run = order(world, "-n 3 --seed 3 --inject disk,replica=0", disk, &words);
    let run = run.expect(3).data();
    let found = deviation(&run, 0);
    assert_eq!(found["differences_total"], 1, "{found}");
    let owner = found["first"]["owner"].as_str().unwrap();
    assert!(owner.contains("(ext)"), "{owner}");

    let fault = "-n 3 --seed 5 --inject disk,mode=lost-write,replica=2";
    let run = order(world, fault, disk, &words).expect(3).data();
    let found = deviation(&run, 2);
    assert!(
        found["differences_total"].as_u64().unwrap() <= 64,
        "{found}"
    );

    let ended = order(world, "--inject disk=0x1000000000", disk, &["sync"]).expect(1);
    assert!(ended.stderr.contains("beyond the disk"), "{}", ended.stderr);
}

/// The tree of the small disk, as a directory and as a container's image in two layers, the second of
/// which takes a file of the first away.
fn check_root_file_systems(world: &World) {
    let run_in = |source: &Path, code: i32| {
        let mut command = world.command("run start --jobs 2 --json -n 2");
        let words = ["--", "sh", "-c", "rm /etc/layer; sync; [ -e /bin/yes ]"];
        command.arg("--rootfs").arg(source).args(words);
        Running::start(&mut command).patiently().wait().expect(code)
    };
    let tree = world.path("tree");
    fs::write(tree.join("etc/layer"), "first\n").unwrap();
    let run = run_in(&tree, 0).data();
    assert_eq!(
        (&run["verdict"], &run["computation"]),
        (&"pass".into(), &"command:sh".into())
    );
    assert_eq!(run["provenance"]["command"]["disk"]["name"], "tree");
    assert_eq!(run["replicas"][1]["exit_status"], "0");

    let tar = |directory: &Path, archive: &Path, names: &[&str]| {
        let mut tar = Command::new("tar");
        tar.arg("-C")
            .arg(directory)
            .arg("-cf")
            .arg(archive)
            .args(names);
        assert!(tar.status().unwrap().success());
    };
    let image = world.path("image");
    fs::create_dir(&image).unwrap();
    tar(&tree, &image.join("one.tar"), &["."]);
    let upper = world.path("upper");
    fs::create_dir_all(upper.join("bin")).unwrap();
    fs::write(upper.join("bin/.wh.yes"), "").unwrap();
    tar(&upper, &image.join("two.tar"), &["bin"]);
    let manifest = r#"[{"RepoTags":["small:1"],"Layers":["one.tar","two.tar"]}]"#;
    fs::write(image.join("manifest.json"), manifest).unwrap();
    let archive = world.path("image.tar");
    tar(&image, &archive, &["manifest.json", "one.tar", "two.tar"]);
    let run = run_in(&archive, 0).data();
    assert_eq!(run["verdict"], "pass", "{}", run["reason"]);
    assert_eq!(run["replicas"][1]["exit_status"], "1", "it is still there");

    fs::write(&archive, "no archive").unwrap();
    let refused = run_in(&archive, 2);
    assert!(refused.stderr.contains("tar archive"), "{}", refused.stderr);
}

/// What cannot be recorded is told with the guest's own reason.
#[track_caller]
fn check_refused(world: &World, image: &Path, word: &str, reason: &str) {
    let ended = order(world, "-n 2", image, &[word]).expect(1);
    let error: Value = serde_json::from_str(ended.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(error["data"]["code"], "not-recorded", "{error}");
    let message = error["data"]["message"].as_str().unwrap();
    assert!(message.contains(reason), "{message}");
}

#[test]
fn what_is_no_disk_is_refused_before_anything_is_started() {
    let world = World::cold();
    let image = world.path("disk.img");
    fs::write(&image, [0; 4096]).unwrap();
    let refused = |image: &Path, words: &[&str], reason: &str| {
        let ended = order(&world, "", image, words).expect(2);
        assert!(ended.stderr.contains(reason), "{}", ended.stderr);
    };
    refused(&image, &["sh"], "not known");
    refused(&image, &[], "needs a command");
    let qcow2 = world.path("disk.qcow2");
    fs::write(&qcow2, [0; 4096]).unwrap();
    refused(&qcow2, &["sh"], "disk.qcow2");
    let ended = world.run("run start sha256 --inject disk").expect(2);
    assert!(
        ended.stderr.contains("only a command with"),
        "{}",
        ended.stderr
    );
    world.assert_clean();
}

/// One boot and three replicas, twice: about 40 s of CPU time, and some packages once.
#[test]
fn a_command_in_a_debian_disk_is_repeated_exactly_and_one_flipped_bit_is_found() {
    let world = World::cold();
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/lib/debian-tree");
    let found = Command::new(tree).output().unwrap();
    let complained = String::from_utf8_lossy(&found.stderr);
    assert!(found.status.success(), "{complained}");
    let tree = String::from_utf8(found.stdout).unwrap();
    let disk = world.path("debian.raw");
    image_of(Path::new(tree.trim_end()), &disk, 192);

    let run = pass(&world, &disk, &["dash", "-c", DEBIAN_WORK]);
    for replica in run["replicas"].as_array().unwrap() {
        assert_eq!(replica["exit_status"], "0");
    }
    let fault = format!("-n 3 --inject ram={QUIET}:0@start,replica=2");
    let run = order(
        &world,
        &fault,
        &disk,
        &["dash", "-c", "tar -cf /x /etc; sync"],
    );
    check_flipped(&run.expect(3).data(), 2, 0);
    world.assert_clean();
}

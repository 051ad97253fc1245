//! Partition tables that sfdisk and sgdisk have made, against what sfdisk reads in them; and
//! 20,000 that are damaged with intent.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod common;

use common::small::{confine, damage, in_a_process_of_its_own, timed};
use common::{Draw, FileSource, TOOLS_PATH, run};
use disk::partition::{PartitionError, PartitionKind, PartitionTable, Scheme, Sector, partitions};
use disk::{ReadAt, Source};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

const DISKS: u64 = 20_000;

/// A disk of `mib` MiB that sfdisk has partitioned as `script` says.
fn made(directory: &Path, name: &str, mib: u64, script: &str) -> PathBuf {
    let path = directory.join(name);
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(mib << 20).unwrap();
    let mut sfdisk = Command::new("sfdisk")
        .args(["--quiet", "--no-reread", "--no-tell-kernel"])
        .arg(&path)
        .env("PATH", TOOLS_PATH)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = sfdisk.stdin.take().unwrap();
    input.write_all(script.as_bytes()).unwrap();
    drop(input);
    assert!(sfdisk.wait().unwrap().success(), "{script}");
    path
}

/// What sfdisk reads in it.
fn dumped(path: &Path) -> serde_json::Value {
    let said = run("sfdisk", &["--json", path.to_str().unwrap()]);
    let dump: serde_json::Value = serde_json::from_str(&said).unwrap();
    dump["partitiontable"].clone()
}

/// Compares number, place, size, type, id, name of every partition.
fn check(path: &Path, table: &PartitionTable) {
    let dump = dumped(path);
    let expected = dump["partitions"].as_array().unwrap();
    assert_eq!(table.partitions.len(), expected.len());
    for (found, expected) in table.partitions.iter().zip(expected) {
        let number = |key: &str| expected[key].as_u64().unwrap();
        let text = |key: &str| expected[key].as_str().unwrap_or_default().to_owned();
        let node = format!("{}{}", path.display(), found.number);
        assert_eq!(text("node"), node);
        assert_eq!(found.offset, number("start") * 512, "{node}");
        assert_eq!(found.bytes, number("size") * 512, "{node}");
        match &found.kind {
            PartitionKind::Mbr { kind, active } => {
                assert_eq!(format!("{kind:x}"), text("type"));
                assert_eq!(*active, expected["bootable"].as_bool().unwrap_or(false));
            }
            PartitionKind::Gpt { kind, id, name, .. } => {
                assert_eq!(kind.to_string(), text("type"));
                assert_eq!(id.to_string(), text("uuid"));
                assert_eq!(*name, text("name"));
            }
        }
    }
    if let Scheme::Gpt { disk, .. } = table.scheme {
        assert_eq!(disk.to_string(), dump["id"].as_str().unwrap());
    }
}

fn read(path: &Path) -> Result<PartitionTable, PartitionError> {
    partitions(&*FileSource::open(path), Sector::Bytes512)
}

const LOGICAL: &str = "label: dos\n1M,4M,L,*\n5M,2M,82\n8M,40M,E\n,1M\n,3M\n,2M,c\n,5M\n";

/// A GPT with names of many scripts, and numbers that are not in a row.
fn gpt_script(draw: &mut Draw) -> String {
    let mut script = "label: gpt\nfirst-lba: 34\n".to_owned();
    let mut start = 2048;
    for number in 1..30 {
        let sectors = 1 + draw.below(3000);
        start += draw.below(500);
        if draw.below(4) > 0 {
            let name = draw.one(&["EFI", "Größe", "корень", "💾", ""]);
            let line = format!("{number}: start={start}, size={sectors}, name=\"{name}\"\n");
            script.push_str(&line);
        }
        start += sectors;
    }
    script
}

#[test]
fn tables_read_as_sfdisk_reads_them() {
    let directory = TempDir::new().unwrap();
    let mut draw = Draw(1);
    let plain = made(directory.path(), "plain", 64, "label: dos\n1M,4M\n,,8e,*\n");
    check(&plain, &read(&plain).unwrap());
    let logical = made(directory.path(), "logical", 64, LOGICAL);
    let table = read(&logical).unwrap();
    assert_eq!(table.partitions.len(), 7);
    assert!(table.damage.is_none());
    check(&logical, &table);
    for name in ["one", "two", "three"] {
        let script = gpt_script(&mut draw);
        let gpt = made(directory.path(), name, 64, &script);
        check(&gpt, &read(&gpt).unwrap());
    }
    // More entries than usual, and a hybrid table beside it.
    let path = directory.path().join("sgdisk");
    std::fs::File::create(&path)
        .unwrap()
        .set_len(64 << 20)
        .unwrap();
    let text = path.to_str().unwrap();
    let arguments = [
        "-S",
        "256",
        "-n",
        "200:0:+1M",
        "-n",
        "3:0:+2M",
        "-h",
        "3",
        text,
    ];
    run("sgdisk", &arguments);
    let table = read(&path).unwrap();
    assert_eq!(table.partitions[1].number, 200);
    check(&path, &table);
}

#[test]
fn a_broken_table_is_read_from_its_copy() {
    let directory = TempDir::new().unwrap();
    let path = made(directory.path(), "gpt", 8, "label: gpt\n1M,2M\n,1M\n");
    let sound = std::fs::read(&path).unwrap();
    let expected = read(&path).unwrap().partitions;
    let last = sound.len() - 512;
    // In the header: sum, place, the entries' sum. In the entries: a place.
    for at in [512, 512 + 17, 512 + 24, 512 + 90, 1024 + 33] {
        let mut disk = sound.clone();
        disk[at] ^= 1;
        let table = partitions(&disk, Sector::Bytes512).unwrap();
        assert_eq!(table.partitions, expected);
        assert!(matches!(
            table.scheme,
            Scheme::Gpt {
                is_backup: true,
                ..
            }
        ));
        assert!(matches!(table.damage, Some(PartitionError::Broken { .. })));
        disk[last + 5] ^= 1;
        let both = partitions(&disk, Sector::Bytes512);
        assert!(matches!(both, Err(PartitionError::Both { .. })));
    }
    let window = expected[0]
        .open(&(std::sync::Arc::new(sound) as Source))
        .unwrap();
    assert_eq!(window.size_bytes(), 2 << 20);
}

#[test]
fn a_chain_that_closes_on_itself_ends() {
    let directory = TempDir::new().unwrap();
    let path = made(directory.path(), "logical", 64, LOGICAL);
    let mut disk = std::fs::read(&path).unwrap();
    // The second link leads to the container's first sector again.
    let second = table_links(&disk)[1];
    let at = second + 446 + 16 + 8;
    disk[at..at + 4].copy_from_slice(&0u32.to_le_bytes());
    let table = partitions(&disk, Sector::Bytes512).unwrap();
    let damage = table.damage.unwrap().to_string();
    assert!(damage.contains("in a circle"), "{damage}");
    assert!(table.partitions.len() >= 5);
}

/// Where the tables of a chain lie.
fn table_links(disk: &[u8]) -> Vec<usize> {
    let sectors = 1..disk.len() / 512;
    let is_table = |at: &usize| disk[at + 510..at + 512] == [0x55, 0xaa];
    sectors
        .map(|sector| sector * 512)
        .filter(is_table)
        .collect()
}

#[test]
#[ignore = "is started by the test below, in a process of its own"]
fn in_a_small_process() {
    let directory = PathBuf::from(std::env::var_os("VARDOGER_TEST_IMAGES").unwrap());
    let read = |name| std::fs::read(directory.join(name)).unwrap();
    let corpus = [read("logical"), read("gpt")];
    confine();
    let mut places = [
        vec![(446, 66); 3],
        vec![(446, 66), (512, 92), (512, 92), (1024, 512)],
    ];
    let links = table_links(&corpus[0]);
    places[0].extend(links.iter().map(|at| (at + 446, 66)));
    let mut complete = 0;
    let mut kinds = BTreeSet::new();
    for number in 0..DISKS {
        let mut draw = Draw(number);
        let index = draw.below(2);
        let mut disk = corpus[index].clone();
        damage(&mut disk, &corpus[1 - index], &places[index], &mut draw);
        // The sums that fit, or nothing behind them would ever be reached.
        if index == 1 && draw.below(2) == 0 && disk.len() > 20_000 {
            let entries = crc32fast::hash(&disk[1024..1024 + 128 * 128]);
            disk[512 + 88..512 + 92].copy_from_slice(&entries.to_le_bytes());
            disk[512 + 16..512 + 20].fill(0);
            let header = crc32fast::hash(&disk[512..512 + 92]);
            disk[512 + 16..512 + 20].copy_from_slice(&header.to_le_bytes());
        }
        match timed(number, || partitions(&disk, Sector::Bytes512)) {
            Ok(table) => {
                complete += u64::from(table.damage.is_none());
                assert!(table.partitions.len() <= 8192);
                kinds.insert(table.damage.map(|error| kind(&error)).unwrap_or_default());
            }
            Err(error) => drop(kinds.insert(kind(&error))),
        }
    }
    assert!((100..DISKS).contains(&complete), "{complete} are complete");
    for expected in ["NoTable", "Read", "Broken", "Both"] {
        assert!(kinds.contains(expected), "no {expected} among {kinds:?}");
    }
}

fn kind(error: &PartitionError) -> String {
    let text = format!("{error:?}");
    let end = text.find([' ', '(', '{']).unwrap_or(text.len());
    text[..end].to_owned()
}

#[test]
fn no_hostile_table_makes_it_panic_hang_or_grow() {
    let directory = TempDir::new().unwrap();
    let small = "label: dos\n64,64,L,*\n128,600,E\n130,20\n160,20\n200,20\n";
    let path = made(directory.path(), "logical", 1, small);
    cut(&path, 400 << 10);
    made(directory.path(), "gpt", 1, "label: gpt\n64,64\n128,100\n");
    in_a_process_of_its_own("in_a_small_process", directory.path());
}

/// Cuts the end off, which the test does not need.
fn cut(path: &Path, bytes: u64) {
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(bytes).unwrap();
}

//! Changes for other tools: the Parquet file, read by a reader that shares no code with ours, holds
//! what the lines of NDJSON hold.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod support;

use serde_json::{Map, Value, json};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::World;

/// Fields that are times: text in the one form, microseconds in the other.
const TIMES: [&str; 4] = ["after", "until", "modified", "changed"];

#[test]
fn parquet_holds_what_ndjson_holds() {
    let world = World::cold();
    let disk = history(&world);
    world
        .run(&format!("image add {} --name t", disk.display()))
        .expect(0);
    change(&disk);
    world.run("image capture t").expect(0);
    debugfs(&disk, "sif /modified mtime 19561231\n");
    world.run("image capture t").expect(0);

    let [lines, parquet] = ["ndjson", "parquet"].map(|form| {
        let to = world.path(&format!("changes.{form}"));
        let export = format!("image export t --format {form} --to {}", to.display());
        let said = world.run(&export).expect(0).stderr;
        assert!(said.contains("changes are in"), "{said}");
        world.run(&export).expect(1);
        to
    });
    let lines: Vec<Value> = fs::read_to_string(lines)
        .unwrap()
        .lines()
        .map(|line| expected(&serde_json::from_str::<Value>(line).unwrap()["data"]))
        .collect();
    let mut rows = read(&parquet);
    let about = rows.pop().unwrap();
    assert_eq!(about["schema"], "vardoger/change/1");
    assert_eq!(about["groups"], json!([rows.len().to_string()]));
    assert_eq!(rows.len(), lines.len());
    for (row, line) in rows.iter().zip(&lines) {
        assert_eq!(row, line);
    }
    // All that there is to get wrong is among it.
    let some = |what: &str, is: &dyn Fn(&Value) -> bool| {
        assert!(lines.iter().any(is), "{what}: {lines:#?}");
    };
    let length = |one: &Value| one.as_array().unwrap().len();
    some("a rename", &|one| one["from"] == "/renamed");
    some("bytes", &|one| one["path_bytes"] == "2fff6e");
    some("two ranges", &|one| length(&one["ranges"]) == 2);
    some("no range", &|one| length(&one["ranges"]) == 0);
    some("two fields", &|one| length(&one["fields"]) >= 2);
    some("gone", &|one| one["state"].is_null());
    some("new", &|one| one["state_before"].is_null());
    some("a package", &|one| {
        one["explanation"]["package"] == "tool" && one["explanation"]["after"] == "2"
    });
    some("an early time", &|one| {
        let time = one["state"]["modified"].as_str();
        time.is_some_and(|time| time.starts_with('-'))
    });
    // What is narrowed down is so in both.
    let to = world.path("part.parquet");
    let export = "image export t --format parquet --path /usr --to";
    world.run(&format!("{export} {}", to.display())).expect(0);
    let part = read(&to);
    let expected = lines
        .iter()
        .filter(|line| line["path"].as_str().unwrap().starts_with("/usr"));
    let expected: Vec<_> = expected.collect();
    assert!(!expected.is_empty());
    assert_eq!(
        part.iter().rev().skip(1).rev().collect::<Vec<_>>(),
        expected
    );
    world.assert_clean();
}

/// A disk with a package, and files for each kind of change.
fn history(world: &World) -> PathBuf {
    let tree = world.path("tree");
    let write = |path: &OsStr, content: &[u8]| {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    for name in ["renamed", "gone", "metadata"] {
        write(OsStr::new(name), name.as_bytes());
    }
    write(OsStr::new("modified"), &vec![7; 40_000]);
    write(OsStr::from_bytes(b"\xffn"), b"no text");
    write(OsStr::new("usr/bin/tool"), b"one");
    write(OsStr::new("var/lib/dpkg/status"), &status("1"));
    let list = b"/usr/bin/tool\n";
    write(OsStr::new("var/lib/dpkg/info/tool.list"), list);
    let disk = world.path("t.raw");
    let made = Command::new("mke2fs")
        .env("E2FSPROGS_FAKE_TIME", "1700000000")
        .args(["-q", "-t", "ext4", "-d"])
        .args([&tree, &disk])
        .arg("24M")
        .output();
    assert!(made.unwrap().status.success());
    disk
}

fn status(version: &str) -> Vec<u8> {
    format!(
        "Package: tool\nStatus: install ok installed\nArchitecture: all\nVersion: {version}\n\n"
    )
    .into_bytes()
}

/// Changes files where they are, as e2fsprogs does it.
fn change(disk: &Path) {
    let aside = disk.with_extension("new");
    fs::write(aside.with_extension("status"), status("2")).unwrap();
    fs::write(aside.with_extension("tool"), b"two").unwrap();
    let source = |name: &str| aside.with_extension(name).display().to_string();
    debugfs(
        disk,
        &format!(
            "ln /renamed /other\nunlink /renamed\nrm /gone\n\
             sif /metadata mode 0100600\nsif /metadata uid 7\n\
             cd /var/lib/dpkg\nrm status\nwrite {} status\n\
             cd /usr/bin\nrm tool\nwrite {} tool\nwrite {} new\n",
            source("status"),
            source("tool"),
            source("tool")
        ),
    );
    // In place: bytes of blocks that the file has already.
    for place in [5, 30_000] {
        poke(disk, "/modified", place);
    }
    let mut name = b"rm \"/".to_vec();
    name.extend_from_slice(b"\xffn\"\n");
    debugfs_bytes(disk, &name);
}

/// Changes a byte of a file where it lies on the disk.
fn poke(disk: &Path, path: &str, place: u64) {
    let asked = format!("bmap {path} {}", place / 1024);
    let told = Command::new("debugfs")
        .arg("-R")
        .arg(asked)
        .arg(disk)
        .output()
        .unwrap();
    let block: u64 = String::from_utf8(told.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let file = fs::OpenOptions::new().write(true).open(disk).unwrap();
    file.write_all_at(&[8], block * 1024 + place % 1024)
        .unwrap();
}

fn debugfs(disk: &Path, commands: &str) {
    debugfs_bytes(disk, commands.as_bytes());
}

fn debugfs_bytes(disk: &Path, commands: &[u8]) {
    let script = disk.with_extension("debugfs");
    fs::write(&script, commands).unwrap();
    let done = Command::new("debugfs")
        .arg("-w")
        .arg("-f")
        .args([&script, disk])
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
}

/// The rows of a Parquet file, and then what is said of it.
fn read(file: &Path) -> Vec<Value> {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/lib");
    let fetched = Command::new(scripts.join("parquet-reader"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&fetched.stderr).into_owned();
    assert!(fetched.status.success(), "the reader cannot be had: {said}");
    let reader = String::from_utf8(fetched.stdout).unwrap();
    let told = Command::new("node")
        .arg(scripts.join("parquet-lines.mjs"))
        .args([Path::new(reader.trim()), file])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.status.success(), "{said}");
    let lines = String::from_utf8(told.stdout).unwrap();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A document as the reader tells it: times in microseconds, numbers of 64 bits as texts.
fn expected(document: &Value) -> Value {
    let Value::Object(fields) = document else {
        return document.clone();
    };
    let is_change = fields.contains_key("path");
    let is_explanation = fields.contains_key("standing");
    let each = fields.iter().map(|(name, value)| {
        let value = match value {
            Value::String(time) if TIMES.contains(&name.as_str()) && !is_explanation => {
                let time: model::Timestamp = time.parse().unwrap();
                json!(time.unix_ns().div_euclid(1_000).to_string())
            }
            // The only two that have 32 bits.
            Value::Number(_) if !["uid", "gid"].contains(&name.as_str()) => {
                json!(value.to_string())
            }
            Value::Array(parts) => parts.iter().map(expected).collect(),
            _ if is_change && value.is_object() => expected(value),
            _ => value.clone(),
        };
        (name.clone(), value)
    });
    each.collect::<Map<_, _>>().into()
}

//! A timeline of a disk: changes of files, logs, logins, commands and work on packages, in one order,
//! and who is named for a change. What is on the disk is what the test has put there.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod support;

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};
use support::World;

fn image(tree: &Path, image: &Path, born: u64) {
    fs::remove_file(image).ok();
    let made = Command::new("mke2fs")
        .env("E2FSPROGS_FAKE_TIME", born.to_string())
        .args(["-q", "-t", "ext4", "-d"])
        .args([tree, image])
        .arg("24M")
        .output();
    assert!(made.unwrap().status.success());
}

fn write(tree: &Path, path: &str, content: &str) {
    let path = tree.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

#[test]
fn what_happened_is_told_in_one_order() {
    let world = World::cold();
    let (tree, disk) = (world.path("tree"), world.path("t.raw"));
    for path in ["etc/passwd", "etc/shared", "srv/quiet"] {
        write(&tree, path, "before\n");
    }
    image(&tree, &disk, 1_700_000_000);
    world
        .run(&format!("image add {}", disk.display()))
        .expect(0);
    // Between the two captures, by the clock of the host.
    let time = now();
    for path in ["etc/passwd", "etc/shared", "srv/quiet"] {
        write(&tree, path, "after\n");
    }
    let audit = |serial: u64, user: u64, path: &str| {
        format!(
            "type=SYSCALL msg=audit({time}.999:{serial}): auid={user} uid=0 exe=\"/bin/sed\"\n\
             type=PATH msg=audit({time}.999:{serial}): item=0 name=\"{path}\" nametype=NORMAL\n"
        )
    };
    let records = [
        audit(1, 1000, "/etc/passwd"),
        audit(2, 1000, "/etc/shared"),
        audit(3, 1001, "/etc/shared"),
    ];
    write(&tree, "var/log/audit/audit.log", &records.concat());
    write(
        &tree,
        "root/.bash_history",
        &format!("#{}\nvi /etc/passwd\n", time - 86_400),
    );
    write(
        &tree,
        "var/log/syslog",
        "Nov  1 10:00:00 t \x1b[31mprog: hello\n",
    );
    // The capture comes in a later second than the records.
    while now() <= time + 1 {
        std::thread::yield_now();
    }
    image(&tree, &disk, time);
    world.run("image capture t").expect(0);

    let data = world.data("image timeline t");
    let entries = data["entries"].as_array().unwrap();
    let times: Vec<&str> = entries
        .iter()
        .map(|one| one["time"].as_str().unwrap())
        .collect();
    let parsed: Vec<model::Timestamp> = times.iter().map(|time| time.parse().unwrap()).collect();
    assert!(parsed.is_sorted(), "{times:?}");
    let of_kind = |kind: &str| entries.iter().filter(|one| one["kind"] == kind).count();
    assert_eq!(
        (of_kind("audit"), of_kind("command"), of_kind("log")),
        (3, 1, 1),
        "{data:#}"
    );
    let change = |path: &str| -> &Value {
        let mut found = entries.iter().filter(|one| one["change"]["path"] == path);
        found.next().unwrap_or_else(|| panic!("{path}: {data:#}"))
    };
    // One is named; of two nobody is chosen; and an owner is nobody.
    let users = |path: &str| -> Vec<&str> {
        let actors = change(path)["actors"].as_array().unwrap();
        actors
            .iter()
            .map(|actor| actor["user"].as_str().unwrap())
            .collect()
    };
    assert_eq!(users("/etc/passwd"), ["1000"]);
    assert_eq!(change("/etc/passwd")["actors"][0]["confidence"], "high");
    assert_eq!(users("/etc/shared"), ["1000", "1001"]);
    assert_eq!(change("/etc/shared")["disputed"], true);
    assert!(users("/srv/quiet").is_empty());
    // A path and a time narrow it down; the last ones are told first.
    let narrowed = world.data("image timeline t /srv");
    let mut narrowed: Vec<&str> = narrowed["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["change"]["path"].as_str().unwrap())
        .collect();
    narrowed.sort_unstable();
    assert_eq!(narrowed, ["/srv", "/srv/quiet"]);
    let last = world.data("image timeline t --limit 2");
    assert_eq!(
        (last["entries"].as_array().unwrap().len(), &last["more"]),
        (2, &true.into())
    );
    let early = world.data("image timeline t --until 2020-01-01T00Z");
    assert_eq!(early["entries"].as_array().unwrap().len(), 0, "{early:#}");
    let shown = world.run("image timeline t").expect(0).stdout;
    assert!(
        shown.contains("hello") && !shown.contains('\x1b'),
        "{shown}"
    );

    // All changes into a file, one a line.
    let to = world.path("changes.ndjson");
    world
        .run(&format!(
            "image export t --format ndjson --to {}",
            to.display()
        ))
        .expect(0);
    let text = fs::read_to_string(&to).unwrap();
    let paths: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(
        paths
            .iter()
            .any(|one: &Value| one["data"]["path"] == "/srv/quiet"),
        "{text}"
    );
    world
        .run(&format!(
            "image export t --format ndjson --to {}",
            to.display()
        ))
        .expect(1);
    world.assert_clean();
}

/// A history that is encrypted is told of as any other, and its plain text is nowhere in the store.
#[test]
fn an_encrypted_history_has_its_timeline() {
    let world = World::cold();
    let (tree, disk) = (world.path("tree"), world.path("t.raw"));
    write(&tree, "srv/secret-name", "before\n");
    image(&tree, &disk, 1_700_000_000);
    let add = format!("image add {} --encrypt", disk.display());
    world.run(&add).expect(0);
    let time = now();
    write(&tree, "srv/secret-name", "after\n");
    let record = format!(
        "type=SYSCALL msg=audit({time}.999:1): auid=1000 uid=0 exe=\"/bin/sed\"\n\
         type=PATH msg=audit({time}.999:1): item=0 name=\"/srv/secret-name\" nametype=NORMAL\n"
    );
    write(&tree, "var/log/audit/audit.log", &record);
    while now() <= time + 1 {
        std::thread::yield_now();
    }
    image(&tree, &disk, time);
    world.run("image capture t").expect(0);
    let data = world.data("image timeline t /srv");
    let entries = data["entries"].as_array().unwrap();
    let change = entries
        .iter()
        .find(|one| one["change"]["path"] == "/srv/secret-name");
    let change = change.unwrap_or_else(|| panic!("{data:#}"));
    assert_eq!(change["actors"][0]["user"], "1000", "{change:#}");
    assert!(entries.iter().any(|one| one["kind"] == "audit"), "{data:#}");
    // The records of changes, which are made for the question, are encrypted too.
    let mut directories = vec![world.store()];
    let mut records = 0;
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                directories.push(entry.path());
                continue;
            }
            let bytes = fs::read(entry.path()).unwrap();
            let path = entry.path().display().to_string();
            records += usize::from(path.contains("records"));
            let has = |words: &[u8]| bytes.windows(words.len()).any(|part| part == words);
            assert!(!has(b"secret-name") && !has(b"after\n"), "{path}");
        }
    }
    assert!(records > 0);
    // Without its key nothing of it is told.
    fs::rename(
        world.path("config/vardoger/encryption.key"),
        world.path("elsewhere"),
    )
    .unwrap();
    let refused = world.run("image timeline t");
    assert_ne!(refused.code, Some(0), "{}", refused.stdout);
    world.assert_clean();
}

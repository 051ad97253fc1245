//! Disks that are made here, and what is recorded of them, against the reader of files and against
//! debugfs.

use super::*;
use crate::measure::{happened, open};
use serde_json::Value;
use std::fs;
use tempfile::TempDir;

/// The size of the disks of which all is told: it has a sixteenth of everything.
const MIB: u64 = 256;

fn made(mib: u64, changes: Changes, attack: Attack) -> (TempDir, Made) {
    let out = TempDir::new().unwrap();
    let made = make(&GenImage {
        out: out.path().join("disks"),
        mib,
        seed: 7,
        recipe: Recipe::Own,
        changes,
        attack,
        history: None,
    });
    (out, made.unwrap())
}

/// Holds what the reader tells against the record.
fn check(made: &Made, from: usize, to: usize) -> Vec<Event> {
    let disks = [from, to].map(|version| open(&made.disks[version]).unwrap());
    let found = happened(&disks, None).unwrap();
    let told: BTreeSet<Event> = found.iter().cloned().collect();
    assert_eq!(told.len(), found.len(), "an event is told twice");
    let expected = made.events(from, to);
    let missing: Vec<_> = expected.difference(&told).take(9).collect();
    let wrong: Vec<_> = told.difference(&expected).take(9).collect();
    assert!(
        missing.is_empty() && wrong.is_empty(),
        "{from} to {to}: missing {missing:#?}, wrong {wrong:#?}"
    );
    found
}

fn check_all(made: &Made) {
    for (from, to) in [(0, 1), (1, 2), (0, 2)] {
        let found = check(made, from, to);
        let kinds: BTreeSet<_> = found.iter().map(|event| event.change).collect();
        let all = [
            "appended", "created", "deleted", "metadata", "modified", "renamed",
        ];
        assert!(from == 1 || kinds.iter().eq(&all), "{kinds:?}");
    }
    // All six kinds are drawn in this proportion, so that none is missed by chance.
    let events = made.events(0, 2);
    let count = |change| events.iter().filter(|event| event.change == change).count();
    assert!(
        count("modified") > 125 && count("renamed") > 30,
        "{}",
        events.len()
    );
}

#[test]
fn what_was_done_is_found_between_all_versions() {
    check_all(&made(MIB, Changes::Tools, Attack::InPlace).1);
}

#[test]
fn what_a_kernel_did_is_found_between_all_versions() {
    let (_out, made) = made(MIB, Changes::Guest, Attack::InPlace);
    check_all(&made);
    // A kernel has left nothing to be replayed or mended.
    for disk in &made.disks {
        let place = format!("{}?offset={}", disk.display(), offset(MIB));
        tools::tool("e2fsck", &["-f", "-n", &place], 0).unwrap();
    }
}

/// Where the file system starts on a disk.
fn offset(mib: u64) -> u64 {
    (1 + (mib / 32).clamp(2, 128)) << 20
}

/// Files of a disk, as debugfs takes them out.
fn taken(disk: &Path, offset: u64, paths: &[&str]) -> Vec<Vec<u8>> {
    let place = TempDir::new().unwrap();
    let to = |number: usize| place.path().join(number.to_string());
    let lines = paths.iter().enumerate();
    let lines =
        lines.map(|(number, path)| format!("dump \"{path}\" \"{}\"\n", to(number).display()));
    let script = place.path().join("script");
    fs::write(&script, lines.collect::<String>()).unwrap();
    let disk = format!("{}?offset={offset}", disk.display());
    tools::tool("debugfs", &["-f", script.to_str().unwrap(), &disk], 0).unwrap();
    let each = (0..paths.len()).map(|number| fs::read(to(number)).unwrap());
    each.collect()
}

/// When a file was modified, as debugfs says.
fn modified(disk: &Path, offset: u64, path: &str) -> u64 {
    let disk = format!("{}?offset={offset}", disk.display());
    let request = format!("stat \"{path}\"");
    let said = tools::tool("debugfs", &["-R", &request, &disk], 0).unwrap();
    let mut lines = said.lines().map(str::trim);
    let time = lines
        .find_map(|line| line.strip_prefix("mtime: 0x"))
        .unwrap();
    u64::from_str_radix(&time[..8], 16).unwrap()
}

/// The bytes that a record says are turned, by its own words.
fn is_turned(turned: &Value, at: u64) -> bool {
    if let Some(every) = turned.get("every") {
        let number = |name: &str| every[name].as_u64().unwrap();
        return at % number("period") < number("turned");
    }
    let ranges = turned["ranges"].as_array().unwrap();
    let number = |range: &Value, name: &str| range[name].as_u64().unwrap();
    ranges
        .iter()
        .any(|range| (number(range, "start")..number(range, "end")).contains(&at))
}

/// Bits for each byte, by the frequencies of bytes.
fn entropy(content: &[u8]) -> f64 {
    let mut counts = [0u32; 256];
    for byte in content {
        counts[usize::from(*byte)] += 1;
    }
    let all = content.len() as f64;
    let shares = counts.iter().filter(|count| **count > 0);
    shares
        .map(|count| f64::from(*count) / all)
        .map(|share| -share * share.log2())
        .sum()
}

#[test]
fn every_attack_has_turned_the_bytes_that_its_record_names_and_no_other() {
    const MIB: u64 = 64;
    use Changes::{Guest, Tools};
    let modes = [
        (Attack::InPlace, 1.0, Tools),
        (Attack::CopyDelete, 1.0, Tools),
        (Attack::Half, 0.5, Tools),
        (Attack::Third, 1.0 / 3.0, Tools),
        (Attack::Head, 0.0, Tools),
        (Attack::Dotted, 0.0, Tools),
        (Attack::Base64, 1.0, Tools),
        (Attack::Slow, 1.0, Tools),
        // What a kernel does otherwise than debugfs: another file in a file's place, and time.
        (Attack::Base64, 1.0, Guest),
        (Attack::Slow, 1.0, Guest),
    ];
    for (attack, share, changes) in modes {
        let (_out, made) = made(MIB, changes, attack);
        check(&made, 1, 2);
        check(&made, 0, 2);
        assert!(
            made.victims.len() >= 2,
            "{attack:?}: {}",
            made.victims.len()
        );
        let was: Vec<&str> = made.victims.iter().map(|one| one.path.as_str()).collect();
        let is: Vec<&str> = made.victims.iter().map(|one| one.now.as_str()).collect();
        let was = taken(&made.disks[1], offset(MIB), &was);
        let is = taken(&made.disks[2], offset(MIB), &is);
        let (mut turned, mut all, mut turned_bytes) = (0u64, 0u64, Vec::new());
        for ((victim, was), is) in made.victims.iter().zip(was).zip(is) {
            assert_eq!(
                was.len() as u64,
                victim.bytes,
                "{attack:?}: {}",
                victim.path
            );
            let is = match attack {
                Attack::Base64 => decoded(&is),
                _ => is,
            };
            assert_eq!(was.len(), is.len(), "{attack:?}: {}", victim.path);
            for (at, (was, is)) in was.iter().zip(&is).enumerate() {
                let differs = is_turned(&victim.turned, at as u64);
                assert_eq!(
                    was != is,
                    differs,
                    "{attack:?}: byte {at} of {}",
                    victim.path
                );
                turned += u64::from(differs);
                if differs {
                    turned_bytes.push(*is);
                }
            }
            all += victim.bytes;
        }
        let found = turned as f64 / all as f64;
        let is_right = match attack {
            Attack::Head | Attack::Dotted => found > 0.05 && found < 0.9,
            _ => (found - share).abs() < 0.01,
        };
        assert!(is_right, "{attack:?}: {found} of all bytes are turned");
        assert!(
            entropy(&turned_bytes) > 7.9,
            "{attack:?}: {}",
            entropy(&turned_bytes)
        );
        for victim in made.victims.iter().filter(|_| attack == Attack::Slow) {
            let told = modified(&made.disks[2], offset(MIB), &victim.now);
            assert!(
                (victim.at..victim.at + 600).contains(&told),
                "{victim:?}: {told}"
            );
        }
        let moments: BTreeSet<u64> = made.victims.iter().map(|victim| victim.at).collect();
        assert_eq!(moments.len() > 1, attack == Attack::Slow);
    }
}

/// What `base64` makes of letters.
fn decoded(letters: &[u8]) -> Vec<u8> {
    let place = TempDir::new().unwrap();
    let path = place.path().join("letters");
    fs::write(&path, letters).unwrap();
    let done = std::process::Command::new("base64")
        .arg("-d")
        .arg(&path)
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    done.stdout
}

#[test]
fn an_encryption_that_has_begun_can_be_opened_and_is_what_was_there() {
    let out = TempDir::new().unwrap();
    let what = GenImage {
        out: out.path().join("disks"),
        mib: 64,
        seed: 7,
        recipe: Recipe::Own,
        changes: Changes::Tools,
        attack: Attack::InPlace,
        history: Some(History::Encryption),
    };
    run(&what).unwrap();
    let truth: Value =
        serde_json::from_slice(&fs::read(what.out.join("truth.json")).unwrap()).unwrap();
    let written = truth["written"].as_array().unwrap();
    let written = [0, 1].map(|index| written[index].as_u64().unwrap() as usize);
    let [was, is] = ["a.raw", "b.raw"].map(|name| fs::read(what.out.join(name)).unwrap());
    assert_eq!(was[..written[0]], is[..written[0]]);
    assert_eq!(was[written[1]..], is[written[1]..]);
    assert!(entropy(&is[written[1] - (4 << 20)..written[1]]) > 7.99);

    let volume = out.path().join("volume");
    fs::write(&volume, &is[written[0]..written[1]]).unwrap();
    let plain = out.path().join("plain");
    let [volume, to] = [&volume, &plain].map(|path| path.to_str().unwrap());
    let opened = format!("driver=luks,key-secret=key,file.filename={volume}");
    let words = [
        "convert",
        "--object",
        "secret,id=key,data=secret",
        "--image-opts",
        &opened,
    ];
    tools::tool("qemu-img", &[&words[..], &["-O", "raw", to]].concat(), 0).unwrap();
    let plain = fs::read(&plain).unwrap();
    assert!(plain.len() > 8 << 20, "{}", plain.len());
    assert_eq!(plain, was[written[0]..written[0] + plain.len()]);
}

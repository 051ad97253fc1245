use super::*;
use crate::files::ObjectId;
use disk::ext::FileTime;

const MODIFIED: i64 = 1_767_323_045; // 2026-01-02T03:04:05Z

fn object() -> Object {
    let time = FileTime {
        seconds: MODIFIED,
        nanoseconds: 0,
    };
    Object {
        id: ObjectId(12),
        generation: 0,
        kind: FileKind::File,
        mode: 0o100_644,
        uid: 0,
        gid: 0,
        size_bytes: 0,
        links: 1,
        flags: 0,
        accessed: time,
        changed: time,
        modified: time,
        born: None,
        device: None,
        attributes: None,
    }
}

fn found(path: &str, bytes: &[u8]) -> Vec<Entry> {
    found_in(path, bytes, Zone::utc())
}

fn found_in(path: &str, bytes: &[u8], zone: Zone) -> Vec<Entry> {
    let object = object();
    let log = Log {
        path: path.as_bytes().to_vec(),
        object: &object,
        bytes: bytes.to_vec(),
    };
    let mut reader = Reader {
        zone,
        wanted: i64::MIN..=i64::MAX,
        found: Evidence::default(),
        unpacked_bytes: 0,
    };
    match place_of(path.as_bytes()).unwrap().read {
        Read::Whole(read) => read(&mut reader, &log),
        Read::LastLogins => last_login::read(&mut reader, &log, 0),
    }
    reader.found.entries
}

/// Time, kind, user.
fn told(entries: &[Entry]) -> Vec<(String, EntryKind, &str)> {
    let each = entries.iter().map(|entry| {
        let time = model::Timestamp::from_unix_ns(entry.time).to_string();
        let user = entry.actor.as_ref().map_or("", |actor| &actor.user);
        (time, entry.kind, user)
    });
    each.collect()
}

fn at(time: &str, kind: EntryKind, user: &'static str) -> (String, EntryKind, &'static str) {
    (time.to_owned(), kind, user)
}

#[test]
fn years_follow_from_the_last_change_of_the_log() {
    let log = b"Nov 30 23:59:59 web1 kernel: [1.0] x\n\
        no line of a log\n\
        Dec 31 23:59:58 web1 sshd[8]: Accepted publickey for ann from 10.0.0.7 port 5 ssh2\n\
        Jan  1 00:00:01 web1 sudo:      bob : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/rm /etc/x\n\
        2026-01-02T03:04:04.5+01:00 web1 su: pam_unix(su:session): session opened for user root(uid=0) by eve(uid=1000)\n";
    let entries = found("/var/log/auth.log", log);
    assert_eq!(
        told(&entries),
        [
            at("2025-11-30T23:59:59Z", EntryKind::Log, ""),
            at("2025-12-31T23:59:58Z", EntryKind::Login, "ann"),
            at("2026-01-01T00:00:01Z", EntryKind::Command, "bob"),
            at("2026-01-02T02:04:04.5Z", EntryKind::Login, "eve"),
        ]
    );
    assert_eq!(entries[2].paths, [b"/bin/rm".to_vec(), b"/etc/x".to_vec()]);
    let sure: Vec<_> = entries.iter().map(|entry| entry.certainty).collect();
    let year = Certainty::Year;
    assert_eq!(sure, [year, year, year, Certainty::Exact]);
}

#[test]
fn local_times_are_of_the_disks_zone() {
    let bytes = std::fs::read("/usr/share/zoneinfo/America/New_York").unwrap();
    let zone = Zone::read(&bytes).unwrap();
    let log = b"2026-07-01 08:00:00 upgrade curl:amd64 7.1 7.2\n\
        2026-07-01 08:00:00 status installed curl:amd64 7.2\n\
        2026-12-01 08:00:00 install vim:all <none> 9\n";
    let entries = found_in("/var/log/dpkg.log", log, zone);
    assert_eq!(
        told(&entries),
        [
            at("2026-07-01T12:00:00Z", EntryKind::Package, ""),
            at("2026-12-01T13:00:00Z", EntryKind::Package, ""),
        ]
    );
    assert_eq!(entries[0].packages, ["curl"]);
}

#[test]
fn work_of_dnf_is_told_with_its_own_zone() {
    let log = b"2019-05-01T08:00:02Z SUBDEBUG Erase: vim-8-1.noarch\n\
        2024-05-01T10:00:00+0200 SUBDEBUG Upgrade: python3-libs-3.9.18-1.el9.x86_64\n\
        2024-05-01T10:00:00+0200 SUBDEBUG Upgraded: python3-libs-3.9.16-1.el9.x86_64\n\
        2024-05-01T10:00:01+0200 INFO --- logging initialized ---\n\
        nonsense\n";
    let entries = found("/var/log/dnf.rpm.log", log);
    let names: Vec<_> = entries
        .iter()
        .map(|entry| entry.packages.join(" "))
        .collect();
    assert_eq!(names, ["vim", "python3-libs"]);
    assert_eq!(
        told(&entries),
        [
            at("2019-05-01T08:00:02Z", EntryKind::Package, ""),
            at("2024-05-01T08:00:00Z", EntryKind::Package, ""),
        ]
    );
    assert!(
        entries
            .iter()
            .all(|entry| entry.certainty == Certainty::Exact)
    );
    let log = b"2024-05-01T10:00:00+0200 DDEBUG Command: dnf upgrade curl\n";
    assert_eq!(found("/var/log/dnf.log", log)[0].text, "dnf upgrade curl");
}

#[test]
fn work_of_zypper_names_who_had_its_rights() {
    let log = b"# comment\n2024-05-01 10:00:00|command|root@suse|'zypper' 'install' 'curl'|\n\
        2024-05-01 10:00:05|install|curl|8.0.1-1|x86_64|root@suse|main|00ff|\n\
        2024-05-01 10:00:06|remove |vim|9-1|x86_64|root@suse|\n2024-05-01 10|install|\n";
    let entries = found("/var/log/zypp/history", log);
    assert_eq!(
        told(&entries),
        [
            at("2024-05-01T10:00:00Z", EntryKind::Package, "root"),
            at("2024-05-01T10:00:05Z", EntryKind::Package, "root"),
            at("2024-05-01T10:00:06Z", EntryKind::Package, "root"),
        ]
    );
    assert_eq!(entries[1].packages, ["curl"]);
    assert_eq!(entries[2].packages, ["vim"]);
}

#[test]
fn a_run_of_apt_names_who_asked_for_it() {
    let log = b"\nStart-Date: 2026-01-01  10:00:00\nCommandline: apt install curl\n\
        Requested-By: ann (1000)\nUpgrade: curl:amd64 (7.1, 7.2), libcurl4:amd64 (7.1, 7.2)\n\
        Install: vim:amd64 (9)\nEnd-Date: 2026-01-01  10:00:05\n\nStart-Date: nonsense\n\n\
        Start-Date: 2026-01-01  11:00:00\nCommandline: unattended-upgrade\n";
    let entries = found("/var/log/apt/history.log", log);
    assert_eq!(
        told(&entries),
        [
            at("2026-01-01T10:00:00Z", EntryKind::Package, "ann"),
            at("2026-01-01T11:00:00Z", EntryKind::Package, ""),
        ]
    );
    assert_eq!(entries[0].packages, ["curl", "libcurl4", "vim"]);
}

#[test]
fn the_audit_log_names_login_program_and_paths() {
    let log = b"type=SYSCALL msg=audit(1767225600.250:77): arch=c000003e syscall=257 success=yes auid=1000 uid=0 comm=\"vi\" exe=\"/usr/bin/vi\" key=(null)\n\
        type=PATH msg=audit(1767225600.250:77): item=0 name=\"/etc\" nametype=PARENT\n\
        type=PATH msg=audit(1767225600.250:77): item=1 name=\"/etc/passwd\" nametype=NORMAL\n\
        type=SYSCALL msg=audit(1767225601.000:78): auid=4294967295 uid=33 exe=\"/usr/sbin/nginx\"\n\
        type=PATH msg=audit(1767225601.000:78): item=0 name=2F7372762F6120 nametype=CREATE\n";
    let entries = found("/var/log/audit/audit.log", log);
    assert_eq!(
        told(&entries),
        [
            at("2026-01-01T00:00:00.25Z", EntryKind::Audit, "1000"),
            at("2026-01-01T00:00:01Z", EntryKind::Audit, "33"),
        ]
    );
    assert_eq!(entries[0].paths, [b"/etc/passwd".to_vec()]);
    assert_eq!(entries[1].paths, [b"/srv/a ".to_vec()]);
    assert_eq!(
        entries[0].actor.as_ref().unwrap().process.as_deref(),
        Some("/usr/bin/vi")
    );
}

#[test]
fn logins_are_records() {
    let record = |kind: i16, user: &str, seconds: i32| {
        let mut bytes = [0; 384];
        bytes[..2].copy_from_slice(&kind.to_le_bytes());
        bytes[8..13].copy_from_slice(b"pts/0");
        bytes[44..44 + user.len()].copy_from_slice(user.as_bytes());
        bytes[340..344].copy_from_slice(&seconds.to_le_bytes());
        bytes
    };
    let all = [
        record(2, "reboot", 5),
        record(7, "ann", 6),
        record(8, "", 7),
        record(99, "x", 8),
    ];
    let entries = found("/var/log/wtmp", &all.concat());
    assert_eq!(
        told(&entries),
        [
            at("1970-01-01T00:00:05Z", EntryKind::Boot, ""),
            at("1970-01-01T00:00:06Z", EntryKind::Login, "ann"),
            at("1970-01-01T00:00:07Z", EntryKind::Logout, ""),
        ]
    );
    let refused = found("/var/log/btmp", &record(6, "root", 9));
    assert_eq!(
        told(&refused),
        [at("1970-01-01T00:00:09Z", EntryKind::Refused, "")]
    );
}

/// Four entries that systemd 252 of Debian 12 has written (`systemd-journal-remote`), with its own
/// defaults: compact places, keyed hashes, long data compressed.
#[test]
fn journals_of_systemd_are_read() {
    let packed: &[u8] = include_bytes!("fixtures/debian-12.journal.zst");
    let journal = zstd::stream::decode_all(packed).unwrap();
    let path = "/var/log/journal/0123/system.journal";
    let entries = found(path, &journal);
    assert_eq!(
        told(&entries),
        [
            at("2026-01-01T00:00:00Z", EntryKind::Login, "ann"),
            at("2026-01-01T00:00:01.5Z", EntryKind::Command, "bob"),
            at("2026-01-01T00:00:03Z", EntryKind::Log, ""),
            at("2026-01-01T00:00:04.5Z", EntryKind::Log, ""),
        ]
    );
    assert_eq!(
        entries[1].paths,
        [b"/usr/bin/vi".to_vec(), b"/etc/shadow".to_vec()]
    );
    assert!(
        entries[2].text.starts_with("prog: hello long long"),
        "{}",
        entries[2].text
    );
    assert_eq!(entries[3].text, "systemd: Started cron.service.");
    // Whatever is damaged, there is an end.
    let mut draw = 7_usize;
    let tail = journal.iter().rposition(|byte| *byte != 0).unwrap();
    let objects = journal
        .windows(4)
        .position(|bytes| bytes == b"MESS")
        .unwrap();
    for round in 0..300 {
        let mut damaged = journal[..=tail].to_vec();
        for _ in 0..=round % 4 {
            draw = draw
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let place = match round % 3 {
                0 => draw % 264,
                _ => objects.saturating_sub(200) + (draw >> 8) % (tail - objects + 200),
            };
            damaged[place] ^= (draw >> 40) as u8 | 1;
        }
        found(path, &damaged);
    }
}

/// Likewise, with the places and hashes of older versions, and messages packed by `lz4` as those had
/// them: `journalctl` reads it.
#[test]
fn journals_of_older_systemd_are_read() {
    let packed: &[u8] = include_bytes!("fixtures/lz4.journal.zst");
    let journal = zstd::stream::decode_all(packed).unwrap();
    let entries = found("/var/log/journal/0123/system.journal", &journal);
    let texts: Vec<&str> = entries.iter().map(|entry| entry.text.as_str()).collect();
    let repeated = "some text that repeats itself; ".repeat(14);
    for (number, text) in texts[..3].iter().enumerate() {
        assert_eq!(
            *text,
            format!("prog: hello {number} {repeated}end {number}")
        );
    }
    let login = "sshd: Accepted publickey for ann from 10.0.0.7 port 51122 ssh2: ";
    let hashes = "SHA256 ".repeat(50);
    assert_eq!(texts[3..], [format!("{login}{hashes}done")]);
    assert_eq!(
        told(&entries)[3],
        at("2026-01-01T00:00:04.5Z", EntryKind::Login, "ann")
    );
}

#[test]
fn shells_note_times_only_sometimes() {
    let entries = found(
        "/home/ann/.bash_history",
        b"ls\n#1767225600\nvi /etc/passwd\n#x\n",
    );
    assert_eq!(
        told(&entries)[..1],
        [at("2026-01-01T00:00:00Z", EntryKind::Command, "ann")]
    );
    assert_eq!(entries[0].paths, [b"/etc/passwd".to_vec()]);
    assert_eq!(
        entries[0].actor.as_ref().unwrap().confidence,
        Confidence::Low
    );
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..800)) {
        for path in ["/var/log/syslog", "/var/log/audit/audit.log", "/var/log/wtmp", "/var/log/btmp",
            "/var/log/dpkg.log", "/var/log/apt/history.log", "/root/.bash_history", "/var/log/dnf.log",
            "/var/log/zypp/history"] {
            found(path, &bytes);
        }
    }

    #[test]
    fn odd_lines_are_read_without_a_panic(
        lines in proptest::collection::vec(
            "(Feb|Dec|type=PATH msg=audit\\(|Start-Date: |#|2026-02-)[0-9: .T+Zaname=]{0,40}", 0..20)
    ) {
        let text = lines.join("\n");
        for path in ["/var/log/syslog", "/var/log/audit/audit.log", "/var/log/dpkg.log",
            "/var/log/apt/history.log", "/root/.bash_history"] {
            found(path, text.as_bytes());
        }
    }
}

/// Likewise, with long data packed by XZ; `journalctl` reads it.
#[test]
fn journals_that_were_packed_with_xz_are_read() {
    let packed: &[u8] = include_bytes!("fixtures/xz.journal.zst");
    let journal = zstd::stream::decode_all(packed).unwrap();
    let entries = found("/var/log/journal/0123/system.journal", &journal);
    let expected = [
        "prog: hello 0 context, means a major essential component (kernel, window system,",
        "prog: hello 1 covered work shall be deemed part of an effective technological",
        "prog: hello 2 to copy the Corresponding Source from a network server at no charge.",
        "sshd: Accepted publickey for ann from 10.0.0.7 port 51122 ssh2: License for most of",
    ];
    for (entry, expected) in entries.iter().zip(expected) {
        assert!(entry.text.starts_with(expected), "{}", entry.text);
        assert!(entry.text.len() >= 1024);
    }
    assert_eq!(
        told(&entries)[3..],
        [at("2026-01-01T00:00:04.5Z", EntryKind::Login, "ann")]
    );
}

/// A file that the field's own program has packed.
fn packed_by(program: &str, file: &std::path::Path, text: &str) {
    std::fs::write(file, text).unwrap();
    let mut command = std::process::Command::new(program);
    let done = command.args(["-q", "-f"]).arg(file).status().unwrap();
    assert!(done.success());
}

fn record_of_last_login(seconds: i32, line: &str, host: &str) -> Vec<u8> {
    let mut record = seconds.to_le_bytes().to_vec();
    record.extend(line.as_bytes());
    record.resize(36, 0);
    record.extend(host.as_bytes());
    record.resize(292, 0);
    record
}

/// Logs on a disk: rotated in all ways, one of them damaged, and `lastlog` with a hole of 292 MB.
#[test]
fn rotated_logs_and_last_logins_of_a_disk_are_read() {
    use std::os::unix::fs::FileExt as _;
    let place = tempfile::tempdir().unwrap();
    let tree = place.path().join("tree");
    let log = tree.join("var/log");
    std::fs::create_dir_all(&log).unwrap();
    std::fs::create_dir(tree.join("etc")).unwrap();
    std::fs::write(tree.join("etc/passwd"), "root:x:0:0\neve:x:1000000:7\n").unwrap();
    let line = |day: u32| format!("2026-01-{day:02}T03:04:04Z web1 kernel: day {day}\n");
    std::fs::write(log.join("syslog.1"), line(9)).unwrap();
    packed_by("gzip", &log.join("syslog.2"), &line(8));
    packed_by("xz", &log.join("secure-20260107"), &line(7));
    packed_by("zstd", &log.join("kern.log.3"), &line(6));
    std::fs::remove_file(log.join("kern.log.3")).unwrap();
    packed_by("gzip", &log.join("auth.log.4"), &line(5).repeat(3000));
    let cut = std::fs::read(log.join("auth.log.4.gz")).unwrap();
    std::fs::write(log.join("auth.log.4.gz"), &cut[..cut.len() / 2]).unwrap();
    let last = std::fs::File::create(log.join("lastlog")).unwrap();
    let root = record_of_last_login(1_767_225_600, "tty1", "");
    let eve = record_of_last_login(1_767_225_661, "pts/3", "10.0.0.7");
    last.write_all_at(&root, 0).unwrap();
    last.write_all_at(&eve, 292 * 1_000_000).unwrap();
    let image = place.path().join("image");
    let made = std::process::Command::new("/sbin/mke2fs")
        .args(["-q", "-t", "ext4", "-d"])
        .args([&tree, &image])
        .arg("24M")
        .status();
    assert!(made.unwrap().success());
    let bytes: disk::Source = std::sync::Arc::new(std::fs::read(&image).unwrap());
    let disk = crate::files::DiskFiles::read(&[bytes]);
    let (_, files) = disk.readable().next().unwrap();
    let found = evidence(files, &(i64::MIN..=i64::MAX));
    let days: std::collections::BTreeSet<&str> = found
        .entries
        .iter()
        .filter_map(|entry| entry.text.strip_prefix("web1 kernel: "))
        .collect();
    let expected = ["day 5", "day 6", "day 7", "day 8", "day 9"];
    assert_eq!(days.into_iter().collect::<Vec<_>>(), expected);
    let logins: Vec<_> = told(&found.entries)
        .into_iter()
        .filter(|one| one.1 == EntryKind::Login)
        .collect();
    assert_eq!(
        logins,
        [
            at("2026-01-01T00:00:00Z", EntryKind::Login, "root"),
            at("2026-01-01T00:01:01Z", EntryKind::Login, "eve"),
        ]
    );
    let named: Vec<_> = found.left_out.iter().map(|one| &one.path[..]).collect();
    assert_eq!(named, [b"/var/log/auth.log.4.gz"]);
}

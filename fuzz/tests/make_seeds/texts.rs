//! What a disk tells of itself: logs, journals, zones, a package database; and what is kept of its
//! changes.

use crate::common::run;
use crate::keep;
use fuzz::Sparse;
use image::blobs::{Blobs, MemoryBlobs};
use image::changeset::Kind;
use image::history::History;
use image::records::Standing;
use image::records::{ChangeKind, ChangeRecord, Explanation, Fields, FileState, PREFIX, Records};
use image::writer::{About, ChangesetWriter, Cut, KnownUnits};
use model::Timestamp;
use std::sync::Arc;

const SYSLOG: &str = "Feb 29 23:59:59 web1 sshd[812]: Accepted publickey for ann from 10.0.0.7 port 51122 ssh2\n\
Dec 31 14:05:01 web1 CRON[7]: pam_unix(cron:session): session opened for user root(uid=0) by ann(uid=0)\n\
2026-01-01T14:05:01.003210+01:00 web1 sudo: ann : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/vi /etc/passwd\n\
2026-01-01T14:05:02Z web1 sshd[9]: Failed password for root from 10.0.0.9 port 22 ssh2\n\
Jan  1 14:05:03 web1 kernel: [    0.000000] Linux version 6.1.0\n";

const DPKG: &str = "2026-01-01 14:05:01 startup archives unpack\n\
2026-01-01 14:05:01 upgrade curl:amd64 7.88.1-10 7.88.1-11\n\
2026-01-01 14:05:02 status installed curl:amd64 7.88.1-11\n\
2026-01-01 14:05:03 purge vim:all 2 <none>\n";

const APT: &str = "\nStart-Date: 2026-01-01  14:05:00\nCommandline: apt install curl\n\
Requested-By: ann (1000)\nUpgrade: curl:amd64 (7.88.1-10, 7.88.1-11), vim:all (1, 2)\n\
Install: libx:amd64 (1, automatic)\nEnd-Date: 2026-01-01  14:05:03\n\n";

const SHELL: &str =
    "ls\n#1767225600\nvi /etc/passwd\n#1767225601\ncp '/a b' >/tmp/c;rm -f /d\n#x\n";

const PASSWD: &str =
    "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1000:Ann,,,:/home/ann:/bin/bash\n";

const AUDIT: &str = "type=SYSCALL msg=audit(1767225600.123:456): arch=c000003e syscall=257 success=yes \
auid=1000 uid=0 comm=\"vim\" exe=\"/usr/bin/vim\" key=(null)\n\
type=CWD msg=audit(1767225600.123:456): cwd=\"/root\"\n\
type=PATH msg=audit(1767225600.123:456): item=0 name=\"/etc\" inode=2 nametype=PARENT\n\
type=PATH msg=audit(1767225600.123:456): item=1 name=\"/etc/passwd\" inode=7 nametype=NORMAL\n\
type=PATH msg=audit(1767225601.007:457): item=0 name=2F746D702F6120620A nametype=CREATE\n\
type=SYSCALL msg=audit(1767225601.007:457): auid=4294967295 uid=33 comm=\"sh\"\n\
type=USER_CMD msg=audit(1767225602.000:458): pid=7 uid=1000 auid=1000 msg='cwd=\"/\" cmd=6C73'\n";

const LOGINS: &str = "[2] [00000] [~~  ] [reboot  ] [~           ] [6.1.0-13-amd64      ] [0.0.0.0        ] [2026-01-01T00:00:00,000000+00:00]
[7] [00812] [ts/0] [ann     ] [pts/0       ] [10.0.0.7            ] [10.0.0.7       ] [2026-01-01T00:00:10,250000+00:00]
[8] [00812] [ts/0] [        ] [pts/0       ] [                    ] [0.0.0.0        ] [2026-01-01T00:01:00,000001+00:00]
[6] [00900] [    ] [root    ] [ssh:notty   ] [10.0.0.9            ] [10.0.0.9       ] [2026-01-01T00:02:00,000000+00:00]
";

const STATUS: &str = "Package: some\nStatus: install ok installed\nPriority: optional\n\
Architecture: amd64\nVersion: 2:1.0-3\nConffiles:\n /etc/some.conf 9a0364b9e99bb480dd25e1f0284c8555\n\
 /etc/gone 9a0364b9e99bb480dd25e1f0284c8555 obsolete\nDescription: some package\n with a longer text\n .\n\n\
Package: gone\nStatus: deinstall ok config-files\nVersion: 3\n\n";

const LIST: &str = "/.\n/usr\n/usr/bin\n/usr/bin/some\n/usr/bin/other\n/usr/lib/python3\n\
/usr/lib/python3/a.py\n/etc/some.conf\n";

const SUMS: &str = "9a0364b9e99bb480dd25e1f0284c8555  usr/bin/some\n\
9a0364b9e99bb480dd25e1f0284c8555  usr/lib/python3/a.py\n";

const DIVERSIONS: &str = "/usr/bin/other\n/usr/bin/other.distrib\nanother\n";

#[test]
#[ignore = "writes into the repository"]
fn make_the_seeds_of_what_a_disk_tells() {
    let logs = [
        ("syslog", SYSLOG),
        ("dpkg", DPKG),
        ("apt", APT),
        ("shell", SHELL),
    ];
    for (name, text) in logs.into_iter().chain([("passwd", PASSWD)]) {
        keep("logs", name, text.as_bytes());
    }
    keep("audit", "events", AUDIT.as_bytes());
    packed();
    let database = [STATUS, LIST, SUMS, DIVERSIONS].join("\0");
    keep("packages", "some", database.as_bytes());
    for (name, path) in [
        ("summer", "Europe/Berlin"),
        ("half", "Asia/Kolkata"),
        ("utc", "UTC"),
    ] {
        let file = std::fs::read(format!("/usr/share/zoneinfo/{path}")).unwrap();
        keep("zone", name, &file);
    }
    logins();
    journald();
    records();
}

/// Logs as the field's programs pack them.
fn packed() {
    let place = tempfile::tempdir().unwrap();
    for program in ["gzip", "xz", "zstd"] {
        let log = place.path().join(program);
        std::fs::write(&log, SYSLOG.repeat(3)).unwrap();
        run(program, &["-q", "-f", "-k", log.to_str().unwrap()]);
    }
    for name in ["gzip.gz", "xz.xz", "zstd.zst"] {
        keep(
            "packed",
            name,
            &std::fs::read(place.path().join(name)).unwrap(),
        );
    }
}

/// Written by util-linux, as it would restore a damaged file.
fn logins() {
    let place = tempfile::tempdir().unwrap();
    let path = |name| place.path().join(name).to_str().unwrap().to_owned();
    let (text, file) = (path("text"), path("file"));
    std::fs::write(&text, LOGINS).unwrap();
    run("utmpdump", &["-r", "-o", &file, &text]);
    let file = std::fs::read(file).unwrap();
    assert_eq!(file.len(), 4 * 384);
    keep("logins", "four", &file);
}

/// As systemd has written it, without the room that it keeps for more.
fn journald() {
    let files = [
        (
            "debian-12",
            &include_bytes!("../../../crates/image/src/evidence/fixtures/debian-12.journal.zst")[..],
        ),
        (
            "lz4",
            &include_bytes!("../../../crates/image/src/evidence/fixtures/lz4.journal.zst")[..],
        ),
        (
            "xz",
            &include_bytes!("../../../crates/image/src/evidence/fixtures/xz.journal.zst")[..],
        ),
    ];
    for (name, packed) in files {
        let file = zstd::stream::decode_all(packed).unwrap();
        let end = file.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        keep("journald", name, &Sparse::pack(&file[..end]));
    }
}

fn records() {
    let blobs: Arc<dyn Blobs> = Arc::new(MemoryBlobs::default());
    let mut history = History::default();
    for sequence in 0..2 {
        let kind = [Kind::Base, Kind::Increment][sequence as usize];
        let (parent, disk_bytes) = (history.head(), 4096);
        let about = About {
            kind,
            sequence,
            parent,
            disk_bytes,
        };
        let mut known = KnownUnits::default();
        let writer = ChangesetWriter::new(&*blobs, &mut known, about, Cut::CHANGE);
        let written = writer.finish(Timestamp::from_unix_ns(0), String::new());
        history.add(written.unwrap()).unwrap();
    }
    let all: Vec<_> = (0..240).map(record).collect();
    let mut records = Records::open(&blobs, &history).unwrap();
    records.add(&blobs, 1, &all).unwrap();
    let name = &blobs.list(PREFIX).unwrap()[0];
    let bytes = blobs.length(name).and_then(|end| blobs.read(name, 0..end));
    keep("records", "one", &bytes.unwrap());
}

fn record(number: u64) -> ChangeRecord {
    let state = FileState {
        size_bytes: number << (number % 50),
        mode: 0o100_644,
        uid: 1000,
        gid: number as u32,
        modified: (number as i64 - 100, 5),
        changed: (i64::MIN, 0),
    };
    let is = |rest: u64| number.is_multiple_of(rest);
    ChangeRecord {
        sequence: 1,
        volume: ["p1", "group/root"][usize::from(is(5))].into(),
        path: format!("/usr/share/{}/file{number}", number % 9).into_bytes(),
        change: ChangeKind::ALL[(number % 9) as usize],
        from: is(4).then(|| b"/other".to_vec()),
        ranges: (0..number % 3).map(|at| at * 10..at * 10 + 5).collect(),
        ranges_all: number % 40,
        changed_bytes: number << 20,
        fields: Fields::named(["mode", "changed"]),
        before: is(2).then_some(state),
        after: is(3).then_some(state),
        explanation: is(7).then(|| Explanation {
            standing: Standing::ALL[(number % 5) as usize],
            package: "libä".to_owned(),
            before: "1.0-1".to_owned(),
            after: String::new(),
        }),
    }
}

//! Seeds of rpm's databases: one small package that rpm itself has made and installed, in each form.
use super::keep;
use std::fs;
use std::path::Path;
use std::process::Command;

const SPEC: &str = "Name: tool\nVersion: 1\nRelease: 1\nSummary: s\nLicense: MIT\nBuildArch: noarch\n\
%description\nd\n%install\nmkdir -p %{buildroot}/usr/bin %{buildroot}/etc\n\
echo first >%{buildroot}/usr/bin/tool\nln -s tool %{buildroot}/usr/bin/link\n\
echo as shipped >%{buildroot}/etc/tool.conf\n\
%files\n/usr/bin/tool\n/usr/bin/link\n%config(noreplace) /etc/tool.conf\n%ghost /var/ghost\n";

/// The table as rpm makes it, on the smallest pages.
const TABLE: &str =
    "CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL);";

fn run(program: &str, arguments: &[&str]) -> String {
    let ended = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8(ended.stdout).unwrap()
}

#[test]
#[ignore = "writes into the repository"]
fn make_the_seeds_of_rpm() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("p.spec"), SPEC).unwrap();
    let top = format!("_topdir {}", at("build"));
    run(
        "rpmbuild",
        &["-bb", "--quiet", "--define", &top, &at("p.spec")],
    );
    let made = at("build/RPMS/noarch/tool-1-1.noarch.rpm");
    let into = [
        "-U",
        "--justdb",
        "--nodeps",
        "--noscripts",
        "--ignoreos",
        "--nosignature",
    ];
    run(
        "rpm",
        &[&["--dbpath", &at("rpm")][..], &into, &[&made]].concat(),
    );
    let digits = run(
        "sqlite3",
        &[&at("rpm/rpmdb.sqlite"), "SELECT hex(blob) FROM Packages"],
    );
    let digits = digits.trim();

    let insert = format!("INSERT INTO Packages(blob) VALUES(x'{digits}');");
    let plain = format!("PRAGMA page_size=512; {TABLE} {insert}");
    run("sqlite3", &[&at("plain"), &plain]);
    let plain = fs::read(at("plain")).unwrap();
    keep("rpm", "sqlite", &[&[0], &plain[..]].concat());
    let copy = format!(".shell cp {0} {0}-copy; cp {0}-wal {0}-copied", at("plain"));
    let script =
        format!("PRAGMA journal_mode=WAL;\n{insert}\nDELETE FROM Packages WHERE hnum=1;\n{copy}\n");
    fs::write(at("script"), script).unwrap();
    run(
        "sqlite3",
        &[&at("plain"), &format!(".read {}", at("script"))],
    );
    let (file, log) = (
        fs::read(at("plain-copy")).unwrap(),
        fs::read(at("plain-copied")).unwrap(),
    );
    let length = (file.len() as u32).to_le_bytes();
    keep("rpm", "log", &[&[3], &length[..], &file, &log].concat());

    let dump = format!(
        "VERSION=3\nformat=bytevalue\ntype=hash\ndb_pagesize=512\nHEADER=END\n 01000000\n {}\nDATA=END\n",
        digits.to_lowercase()
    );
    fs::write(at("dump"), dump).unwrap();
    run("db5.3_load", &["-f", &at("dump"), &at("Packages")]);
    let hash = fs::read(Path::new(&at("Packages"))).unwrap();
    keep("rpm", "berkeley", &[&[2], &hash[..]].concat());

    let digit = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    let header: Vec<u8> = (0..digits.len()).step_by(2).map(digit).collect();
    keep("rpm", "ndb", &[&[1], &ndb(&header)[..]].concat());
}

/// rpm's own form, as its source writes it, with one package.
fn ndb(header: &[u8]) -> Vec<u8> {
    let words = |words: [u32; 4]| words.map(u32::to_le_bytes).concat();
    let [magic, slot, blob] = [*b"RpmP", *b"Slot", *b"BlbS"].map(u32::from_le_bytes);
    let bytes = header.len() as u32;
    let mut file = words([magic, 0, 1, 1]);
    file.extend(words([2, 0, 0, 0]));
    file.extend(words([slot, 1, 256, (bytes + 28).div_ceil(16)]));
    while file.len() < 4096 {
        file.extend(words([slot, 0, 0, 0]));
    }
    file.extend(words([blob, 1, 0, bytes]));
    file.extend_from_slice(header);
    file.extend(words([0, bytes, u32::from_le_bytes(*b"BlbE"), 0]));
    file
}

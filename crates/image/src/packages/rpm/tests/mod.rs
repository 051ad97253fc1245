//! rpm's databases against rpm itself: packages are made and installed by it, and what is read is what
//! it says. Then what they explain, against what the test did; and damage.

mod root;

use super::*;
use crate::files::{DiskFiles, FileEvent, Ranges, diff_disks};
use crate::packages::{Explained, explain};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use root::{Recipe, Root, berkeley, headers_of, ndb, run, write};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, Instant};

/// What is read of a database, one file a line, as `ask` has rpm say it.
fn lines(
    form: Form,
    file: &dyn ReadAt,
    log: Option<&Vec<u8>>,
) -> Result<BTreeSet<String>, RpmError> {
    let mut lines = BTreeSet::new();
    let log = log.map(|log| log as &dyn ReadAt);
    headers(form, file, log, &mut |bytes| {
        let Some(header) = Header::read(bytes) else {
            return;
        };
        let (key, package) = package(&header);
        lines.insert(format!("{key} installed {}", package.state));
        for Listed { path, item } in files_of(&header) {
            let digest = match item.digest {
                Some(Digest::Sha256(digest)) => {
                    digest.iter().map(|byte| format!("{byte:02x}")).collect()
                }
                Some(other) => format!("{other:?}"),
                None => String::new(),
            };
            let mode = item
                .mode
                .map_or_else(String::new, |mode| format!("{mode:o}"));
            let target = String::from_utf8(item.target.unwrap_or_default()).unwrap();
            let flags = u8::from(item.is_configuration);
            let path = String::from_utf8(path).unwrap();
            lines.insert(format!("{key} {path} {digest} {mode} {target} {flags}"));
        }
    })?;
    Ok(lines)
}

/// The same, as rpm says it.
fn ask(root: &Root) -> BTreeSet<String> {
    let query = "%{NAME}-%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}.%{ARCH} installed %{INSTALLTIME}\\n\
        [%{=NAME}-%{=EPOCH}:%{=VERSION}-%{=RELEASE}.%{=ARCH}\\t%{FILENAMES}\\t%{FILEDIGESTS}\\t%{FILEMODES:octal}\\t%{FILELINKTOS}\\t%{FILEFLAGS:hex}\\n]";
    let told = root.rpm(&["-qa", "--qf", query]);
    let each = told.lines().map(|line| {
        let parts: Vec<&str> = line.split('\t').collect();
        let [key, path, digest, mode, target, flags] = parts.as_slice() else {
            return line.to_owned();
        };
        let flags = u32::from_str_radix(flags, 16).unwrap();
        match flags & GHOST {
            0 => {
                let mode = mode.trim_start_matches('0');
                format!(
                    "{key} {path} {digest} {mode} {target} {}",
                    flags & CONFIGURATION
                )
            }
            _ => format!("{key} {path}    {}", flags & CONFIGURATION),
        }
    });
    each.collect()
}

const FIRST: Recipe<'_> = Recipe {
    name: "tool",
    version: "1.0",
    files: &[
        ("/usr/bin/tool", "first\n"),
        ("/bin/old-path", "first\n"),
        ("/usr/share/tool/gone", "only of the first\n"),
        ("/etc/tool.conf", "as shipped\n"),
        ("/usr/bin/same", "same\n"),
    ],
    links: &[("/usr/bin/link", "tool")],
};

const SECOND: Recipe<'_> = Recipe {
    version: "1.1",
    files: &[
        ("/usr/bin/tool", "second\n"),
        ("/bin/old-path", "second\n"),
        ("/etc/tool.conf", "as shipped\n"),
        ("/usr/bin/same", "same\n"),
        ("/usr/bin/new", "new\n"),
    ],
    links: &[("/usr/bin/link", "new")],
    ..FIRST
};

const OTHER: Recipe<'_> = Recipe {
    name: "other",
    version: "3",
    files: &[
        ("/usr/bin/other", "other\n"),
        ("/usr/bin/lends", "lends\n"),
        ("/usr/bin/mode", "mode\n"),
        ("/usr/lib/other.so", "so\n"),
    ],
    links: &[("/usr/bin/astray", "other")],
};

/// One whose header does not fit on a page, nor on a few.
fn large(root: &Root) {
    let paths: Vec<String> = (0..400)
        .map(|one| format!("/usr/share/large/a-file-{one:04}"))
        .collect();
    let files: Vec<(&str, &str)> = paths.iter().map(|path| (path.as_str(), "x\n")).collect();
    let recipe = Recipe {
        name: "large",
        version: "1",
        files: &files,
        links: &[],
    };
    root.install(&recipe);
}

#[test]
fn what_is_read_is_what_rpm_says() {
    {
        let form = Form::Sqlite;
        let root = Root::new(form);
        for recipe in [&FIRST, &OTHER, &SECOND] {
            root.install(recipe);
            let (file, log) = root.database();
            assert_eq!(
                lines(form, &file, log.as_ref()).unwrap(),
                ask(&root),
                "{form:?}"
            );
        }
        large(&root);
        let (file, log) = root.database();
        let read = lines(form, &file, log.as_ref()).unwrap();
        assert_eq!(read, ask(&root), "{form:?}");
        assert!(read.len() > 400, "{read:#?}");
    }
}

#[test]
fn a_hash_of_berkeley_db_is_read() {
    let of = Root::new(Form::Sqlite);
    of.install(&FIRST);
    of.install(&OTHER);
    large(&of);
    let root = berkeley(&headers_of(&of));
    let (file, _) = root.database();
    let read = lines(Form::Berkeley, &file, None).unwrap();
    assert_eq!(read, ask(&of));
    assert_eq!(read, ask(&root));
}

fn explained(before: &DiskFiles, after: &DiskFiles) -> (Vec<FileEvent>, Explained) {
    let dirty = Ranges::all(24 << 20);
    let mut volumes = diff_disks(before, after, &[dirty.into()]);
    let events: Vec<FileEvent> = volumes.pop().unwrap().files.unwrap().events;
    let files = |disk: &DiskFiles| {
        disk.readable()
            .next()
            .map(|(_, files)| files.clone())
            .unwrap()
    };
    let explained = explain(&files(before), &files(after), &events);
    (events, explained)
}

fn told(before: &DiskFiles, after: &DiskFiles) -> BTreeMap<String, String> {
    let (events, explained) = explained(before, after);
    let each = events
        .iter()
        .zip(explained.events)
        .map(|(event, explanation)| {
            let words = explanation.map_or_else(
                || "-".to_owned(),
                |one| [one.standing.name(), &one.package, &one.before, &one.after].join(" "),
            );
            (
                String::from_utf8(event.path.clone()).unwrap(),
                words.trim_end().to_owned(),
            )
        });
    each.collect()
}

#[test]
fn a_damaged_database_explains_nothing_and_is_named() {
    let root = Root::new(Form::Sqlite);
    root.install(&FIRST);
    let before = root.image();
    root.install(&SECOND);
    let path = "var/lib/rpm/rpmdb.sqlite";
    let mut bytes = fs::read(root.at(path)).unwrap();
    // A length of pages that none have.
    bytes[16..18].copy_from_slice(&[0, 3]);
    fs::write(root.at(path), bytes).unwrap();
    let (events, explained) = explained(&before, &root.image());
    assert!(events.iter().any(|event| event.path == b"/usr/bin/tool"));
    assert!(explained.events.iter().all(Option::is_none));
    let [unread] = explained.unread.as_slice() else {
        panic!("{:?}", explained.unread);
    };
    assert_eq!(unread.path, [b"/", path.as_bytes()].concat());
    assert!(unread.why.contains("damaged"), "{}", unread.why);
}

#[test]
fn upgrades_are_explained_and_nothing_else() {
    for form in [Form::Sqlite] {
        let root = Root::new(form);
        root.install(&FIRST);
        root.install(&OTHER);
        let before = root.image();
        root.install(&SECOND);
        fs::remove_file(root.at("usr/share/tool/gone")).unwrap();
        write(&root.at("etc/tool.conf.rpmnew"), "as shipped\n");
        // What no package did.
        write(&root.at("etc/tool.conf"), "edited\n");
        write(&root.at("usr/bin/other"), "trojan\n");
        write(&root.at("usr/bin/planted"), "planted\n");
        write(&root.at("var/lib/rpm/planted"), "planted\n");
        fs::remove_file(root.at("usr/lib/other.so")).unwrap();
        let mode = |path: &str, mode| {
            fs::set_permissions(root.at(path), fs::Permissions::from_mode(mode)).unwrap();
        };
        mode("usr/bin/lends", 0o4755);
        mode("usr/bin/mode", 0o777);
        mode("usr/bin/tool", 0o755);
        fs::remove_file(root.at("usr/bin/astray")).unwrap();
        symlink("planted", root.at("usr/bin/astray")).unwrap();
        let told = told(&before, &root.image());
        let database = format!("/var/lib/rpm/{}", std::str::from_utf8(form.file()).unwrap());
        for (path, words) in [
            ("/usr/bin/tool", "verified tool 2:1.0-1 2:1.1-1"),
            ("/usr/bin/old-path", "verified tool 2:1.0-1 2:1.1-1"),
            ("/usr/bin/new", "verified tool 2:1.0-1 2:1.1-1"),
            ("/usr/bin/link", "verified tool 2:1.0-1 2:1.1-1"),
            ("/usr/share/tool/gone", "listed tool 2:1.0-1 2:1.1-1"),
            (database.as_str(), "maintained rpm"),
            ("/etc/tool.conf.rpmnew", "maintained rpm"),
            ("/etc/tool.conf", "configured tool 2:1.0-1 2:1.1-1"),
            ("/usr/bin/other", "contradicted other 2:3-1 2:3-1"),
            ("/usr/bin/lends", "contradicted other 2:3-1 2:3-1"),
            ("/usr/bin/mode", "contradicted other 2:3-1 2:3-1"),
            ("/usr/bin/astray", "contradicted other 2:3-1 2:3-1"),
            ("/usr/lib/other.so", "contradicted other 2:3-1 2:3-1"),
            ("/usr/bin/planted", "-"),
            ("/var/lib/rpm/planted", "-"),
        ] {
            let found = told.get(path).map(String::as_str);
            assert_eq!(found, Some(words), "{form:?} {path}: {told:#?}");
        }
    }
}

/// A database of rpm's that has several packages.
fn some_packages() -> Root {
    let root = Root::new(Form::Sqlite);
    root.install(&FIRST);
    root.install(&OTHER);
    root
}

#[test]
fn a_database_of_rpm_s_own_form_is_read() {
    let made = headers_of(&some_packages());
    let mut read = Vec::new();
    let file = ndb(&made);
    headers(Form::Ndb, &file, None, &mut |header| {
        read.push(header.to_vec());
    })
    .unwrap();
    assert_eq!(read, made);
}

#[test]
fn what_stands_in_the_log_only_is_read() {
    let root = Root::new(Form::Sqlite);
    root.install(&FIRST);
    root.install(&OTHER);
    let path = root.at("var/lib/rpm/rpmdb.sqlite");
    let (sound, _) = root.database();
    let expected = ask(&root);
    // SQLite's own program changes the table, keeps the log, and is not asked to put it back: a copy
    // is taken while it has the database open.
    let copy = root.directory.path().join("copy.sqlite");
    let script = format!(
        "PRAGMA journal_mode=WAL;\nPRAGMA wal_autocheckpoint=0;\n\
         DELETE FROM Packages WHERE hnum=1;\n\
         BEGIN;\nINSERT INTO Packages SELECT 77, blob FROM Packages;\nROLLBACK;\n\
         .shell cp {0} {1}; cp {0}-wal {1}-wal\n",
        path.display(),
        copy.display()
    );
    let text = root.directory.path().join("script");
    fs::write(&text, script).unwrap();
    let read = format!(".read {}", text.display());
    run("sqlite3", &[path.to_str().unwrap(), &read]);
    let (file, log) = (
        fs::read(&copy).unwrap(),
        fs::read(copy.with_extension("sqlite-wal")).unwrap(),
    );
    let of_other = |line: &&String| line.starts_with("other-");
    let others: BTreeSet<String> = expected.iter().filter(of_other).cloned().collect();
    assert!(!others.is_empty() && others != expected);
    assert_eq!(lines(Form::Sqlite, &file, Some(&log)).unwrap(), others);
    // Without it, the database is as it was before.
    assert_eq!(lines(Form::Sqlite, &file, None).unwrap(), expected);
    assert_eq!(lines(Form::Sqlite, &sound, None).unwrap(), expected);
    // A log that is damaged from its beginning on does not count.
    let mut damaged = log;
    damaged[40] ^= 1;
    assert_eq!(
        lines(Form::Sqlite, &file, Some(&damaged)).unwrap(),
        expected
    );
}

#[test]
fn damage_is_an_error_or_a_sound_reading() {
    let root = some_packages();
    let made = headers_of(&root);
    let sound = [
        (Form::Sqlite, root.database().0),
        (Form::Ndb, ndb(&made)),
        (Form::Berkeley, berkeley(&made).database().0),
    ];
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut read = 0_u64;
    for (form, sound) in sound {
        for _ in 0..20_000 {
            let mut file = sound.clone();
            for _ in 0..1 + random.next_u64() % 4 {
                let at = random.next_u64() as usize % file.len();
                let end = (at + 4).min(file.len());
                match random.next_u64() % 4 {
                    0 => file[at] ^= 1 << (random.next_u64() % 8),
                    1 => file[at..end].fill(random.next_u64() as u8),
                    2 => file.truncate(at.max(1)),
                    // Most of the file is headers: its own numbers come first.
                    _ => file[at % 4096] = random.next_u64() as u8,
                }
            }
            let began = Instant::now();
            read += u64::from(lines_or_error(form, &file));
            assert!(began.elapsed() < Duration::from_secs(1), "{form:?}");
        }
    }
    // Damage in what rpm does not need is none.
    assert!(read > 0);
}

/// Reads all that there is; says whether it was sound.
fn lines_or_error(form: Form, file: &dyn ReadAt) -> bool {
    let mut files = 0;
    let read = headers(form, file, None, &mut |bytes| {
        if let Some(header) = Header::read(bytes) {
            let (_key, _package) = package(&header);
            files += files_of(&header).count();
        }
    });
    read.is_ok() && files > 0
}

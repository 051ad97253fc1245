//! Packages that rpm makes and installs, in a root of the test's own; and their headers in the forms
//! that Debian's rpm does not write.

use super::super::{Form, headers};
use crate::files::DiskFiles;
use disk::{ReadAt, Source};
use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// What a package is made of, and what it puts where.
pub(super) struct Recipe<'r> {
    pub(super) name: &'r str,
    pub(super) version: &'r str,
    /// Paths and contents; those below `/etc` are configuration.
    pub(super) files: &'r [(&'r str, &'r str)],
    /// Paths and where they lead.
    pub(super) links: &'r [(&'r str, &'r str)],
}

/// A directory that is a root, with a database of rpm's in one form.
pub(super) struct Root {
    pub(super) directory: tempfile::TempDir,
    pub(super) form: Form,
    pub(super) time: Cell<u64>,
}

pub(super) fn run(program: &str, arguments: &[&str]) -> String {
    let ended = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8_lossy(&ended.stdout).into_owned()
}

pub(super) fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

impl Root {
    pub(super) fn new(form: Form) -> Self {
        let root = Self {
            directory: tempfile::tempdir().unwrap(),
            form,
            time: Cell::new(1_700_000_000),
        };
        fs::create_dir_all(root.at("var/lib/rpm")).unwrap();
        fs::create_dir_all(root.at("usr/bin")).unwrap();
        symlink("usr/bin", root.at("bin")).unwrap();
        root
    }

    pub(super) fn at(&self, path: &str) -> PathBuf {
        self.directory.path().join("root").join(path)
    }

    pub(super) fn rpm(&self, arguments: &[&str]) -> String {
        let backend = match self.form {
            Form::Sqlite => "sqlite",
            Form::Ndb => "ndb",
            Form::Berkeley => "bdb_ro",
        };
        let backend = format!("_db_backend {backend}");
        let database = self.at("var/lib/rpm").display().to_string();
        let common = ["--define", &backend, "--dbpath", &database];
        run("rpm", &[&common[..], arguments].concat())
    }

    /// Makes a package, puts it into the database, and its files into the root.
    pub(super) fn install(&self, recipe: &Recipe<'_>) {
        let top = self.directory.path().join("build");
        let mut script = String::new();
        let mut list = String::new();
        for (path, content) in recipe.files {
            let from = top.join("files").join(path.trim_start_matches('/'));
            write(&from, content);
            script.push_str(&format!(
                "install -D -m 755 {} %{{buildroot}}{path}\n",
                from.display()
            ));
            let config = if path.starts_with("/etc/") {
                "%config(noreplace) "
            } else {
                ""
            };
            list.push_str(&format!("{config}%attr(755,root,root) {path}\n"));
            write(&self.at(path.trim_start_matches('/')), content);
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(self.at(path.trim_start_matches('/')), mode).unwrap();
        }
        for (path, to) in recipe.links {
            script.push_str(&format!(
                "mkdir -p $(dirname %{{buildroot}}{path})\nln -s {to} %{{buildroot}}{path}\n"
            ));
            list.push_str(&format!("{path}\n"));
            let place = self.at(path.trim_start_matches('/'));
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::remove_file(&place).ok();
            symlink(to, place).unwrap();
        }
        let Recipe { name, version, .. } = recipe;
        let spec = format!(
            "Name: {name}\nVersion: {version}\nRelease: 1\nEpoch: 2\nSummary: s\nLicense: MIT\n\
             BuildArch: noarch\n%description\nd\n%install\n{script}\n\
             %files\n{list}%ghost /var/{name}.ghost\n"
        );
        write(&top.join("p.spec"), &spec);
        let define = format!("_topdir {}", top.display());
        let ghost = self.at("var");
        fs::create_dir_all(ghost).unwrap();
        let spec = top.join("p.spec").display().to_string();
        run(
            "rpmbuild",
            &[
                "-bb",
                "--quiet",
                "--define",
                &define,
                "--define",
                "_binary_filedigest_algorithm 8",
                "--define",
                "_build_id_links none",
                "--define",
                "__brp_mangle_shebangs %{nil}",
                &spec,
            ],
        );
        let made = format!("RPMS/noarch/{name}-{version}-1.noarch.rpm");
        let made = top.join(made).display().to_string();
        let into_database = [
            "-U",
            "--justdb",
            "--nodeps",
            "--noscripts",
            "--ignoreos",
            "--nosignature",
        ];
        self.rpm(&[&into_database[..], &[made.as_str()]].concat());
    }

    pub(super) fn database(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        let name = std::str::from_utf8(self.form.file()).unwrap();
        let file = self.at("var/lib/rpm").join(name);
        (
            fs::read(&file).unwrap(),
            fs::read(file.with_extension("sqlite-wal")).ok(),
        )
    }

    pub(super) fn image(&self) -> DiskFiles {
        let image = self.directory.path().join("disk.raw");
        fs::remove_file(&image).ok();
        self.time.set(self.time.get() + 60);
        let made = Command::new("/sbin/mke2fs")
            .env("E2FSPROGS_FAKE_TIME", self.time.get().to_string())
            .args(["-q", "-t", "ext4", "-d"])
            .args([&self.at(""), &image])
            .arg("24M")
            .output();
        assert!(made.unwrap().status.success());
        let bytes: Source = Arc::new(fs::read(&image).unwrap());
        DiskFiles::read(&[bytes])
    }
}

/// Headers as a hash of Berkeley DB, as rpm had them: the key is the package's number, and 0 the last
/// number that was given.
pub(super) fn berkeley(headers: &[Vec<u8>]) -> Root {
    let mut dump =
        "VERSION=3\nformat=bytevalue\ntype=hash\ndb_pagesize=4096\nHEADER=END\n".to_owned();
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let last = (headers.len() as u32).to_le_bytes().to_vec();
    for (number, value) in (0_u32..).zip(std::iter::once(&last).chain(headers)) {
        dump.push_str(&format!(
            " {}\n {}\n",
            hex(&number.to_le_bytes()),
            hex(value)
        ));
    }
    dump.push_str("DATA=END\n");
    let root = Root::new(Form::Berkeley);
    let text = root.directory.path().join("dump");
    fs::write(&text, dump).unwrap();
    let packages = root.at("var/lib/rpm/Packages");
    run(
        "db5.3_load",
        &["-f", text.to_str().unwrap(), packages.to_str().unwrap()],
    );
    root
}

/// The headers of a root's database.
pub(super) fn headers_of(root: &Root) -> Vec<Vec<u8>> {
    let (file, log) = root.database();
    let log = log.as_ref().map(|log| log as &dyn ReadAt);
    let mut found = Vec::new();
    headers(root.form, &file, log, &mut |header| {
        found.push(header.to_vec());
    })
    .unwrap();
    found
}

/// A database in rpm's own form, as its source writes it: Debian's rpm has no code for it.
pub(super) fn ndb(headers: &[Vec<u8>]) -> Vec<u8> {
    let words =
        |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|word| word.to_le_bytes()).collect() };
    let mut file = words(&[MAGIC, 0, 1, 1, headers.len() as u32 + 1, 0, 0, 0]);
    let mut blobs = Vec::new();
    for number in 0..254_u32 {
        // The first place is free: what was there is gone.
        let header = number
            .checked_sub(1)
            .and_then(|place| headers.get(place as usize));
        let Some(header) = header else {
            file.extend(words(&[SLOT, 0, 0, 0]));
            continue;
        };
        let block = (4096 + blobs.len() as u32) / 16;
        let mut blob = words(&[BLOB, number, 7, header.len() as u32]);
        blob.extend_from_slice(header);
        blob.extend(words(&[
            0,
            header.len() as u32,
            u32::from_le_bytes(*b"BlbE"),
        ]));
        blob.resize(blob.len().next_multiple_of(16), 0);
        file.extend(words(&[SLOT, number, block, blob.len() as u32 / 16]));
        blobs.extend(blob);
    }
    assert_eq!(file.len(), 4096);
    [file, blobs].concat()
}

pub(super) const MAGIC: u32 = u32::from_le_bytes(*b"RpmP");
pub(super) const SLOT: u32 = u32::from_le_bytes(*b"Slot");
pub(super) const BLOB: u32 = u32::from_le_bytes(*b"BlbS");

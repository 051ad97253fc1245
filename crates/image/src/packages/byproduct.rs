//! What the tools around packages leave: files that no package lists.
//!
//! Weaker evidence than a list, so each rule asks for as much as there is: an exact name, or another
//! file that a package lists and that this one is made from. A directory as a whole is no rule.

use super::database::{Database, Wanted};
use super::paths::Paths;
use super::rpm::DIRECTORIES;
use crate::files::{FileKind, Files, Object};

/// Exact paths, and the tool that keeps them.
const EXACT: [(&str, &[&str]); 17] = [
    (
        "dnf",
        &[
            "/var/lib/dnf/history.sqlite",
            "/var/lib/dnf/history.sqlite-shm",
            "/var/lib/dnf/history.sqlite-wal",
            "/var/log/dnf.librepo.log",
            "/var/log/dnf.log",
            "/var/log/dnf.rpm.log",
            "/var/log/hawkey.log",
        ],
    ),
    ("yum", &["/var/log/yum.log"]),
    ("zypper", &["/var/log/zypp/history"]),
    (
        "dpkg",
        &[
            "/var/lib/dpkg/arch",
            "/var/lib/dpkg/available",
            "/var/lib/dpkg/available-old",
            "/var/lib/dpkg/diversions",
            "/var/lib/dpkg/diversions-old",
            "/var/lib/dpkg/info/format",
            "/var/lib/dpkg/lock",
            "/var/lib/dpkg/lock-frontend",
            "/var/lib/dpkg/statoverride",
            "/var/lib/dpkg/statoverride-old",
            "/var/lib/dpkg/status",
            "/var/lib/dpkg/status-old",
            "/var/lib/dpkg/triggers/File",
            "/var/lib/dpkg/triggers/Lock",
            "/var/lib/dpkg/triggers/Unincorp",
            "/var/log/dpkg.log",
        ],
    ),
    (
        "apt",
        &[
            "/var/cache/apt/archives/lock",
            "/var/cache/apt/pkgcache.bin",
            "/var/cache/apt/srcpkgcache.bin",
            "/var/lib/apt/daily_lock",
            "/var/lib/apt/extended_states",
            "/var/log/apt/eipp.log.xz",
            "/var/log/apt/history.log",
            "/var/log/apt/term.log",
        ],
    ),
    ("update-alternatives", &["/var/log/alternatives.log"]),
    (
        "ldconfig",
        &["/etc/ld.so.cache", "/var/cache/ldconfig/aux-cache"],
    ),
    (
        "debconf",
        &[
            "/var/cache/debconf/config.dat",
            "/var/cache/debconf/config.dat-old",
            "/var/cache/debconf/passwords.dat",
            "/var/cache/debconf/passwords.dat-old",
            "/var/cache/debconf/templates.dat",
            "/var/cache/debconf/templates.dat-old",
        ],
    ),
    (
        "install-info",
        &["/usr/share/info/dir", "/usr/share/info/dir.old"],
    ),
    ("ca-certificates", &["/etc/ssl/certs/ca-certificates.crt"]),
    ("glib", &["/usr/share/glib-2.0/schemas/gschemas.compiled"]),
    ("localedef", &["/usr/lib/locale/locale-archive"]),
    (
        "desktop-file-utils",
        &["/usr/share/applications/mimeinfo.cache"],
    ),
    ("shared-mime-info", &["/usr/share/mime/mime.cache"]),
    (
        "systemd",
        &[
            "/usr/lib/udev/hwdb.bin",
            "/var/lib/systemd/catalog/database",
        ],
    ),
    (
        "ucf",
        &[
            "/var/lib/ucf/hashfile",
            "/var/lib/ucf/hashfile.0",
            "/var/lib/ucf/registry",
            "/var/lib/ucf/registry.0",
        ],
    ),
    (
        "man-db",
        &["/var/cache/man/index.db", "/var/cache/man/CACHEDIR.TAG"],
    ),
];

/// Where update-alternatives keeps what it knows: of Debian, and of Red Hat.
const CHOICES: [&[u8]; 2] = [b"/var/lib/dpkg/alternatives/", b"/var/lib/alternatives/"];

/// Files of rpm's databases, of all forms.
const OF_RPM: [&str; 36] = [
    ".dbenv.lock",
    ".migratedb",
    ".rpm.lock",
    "Basenames",
    "Conflictname",
    "Dirnames",
    "Enhancename",
    "Filetriggername",
    "Group",
    "Index.db",
    "Installtid",
    "Name",
    "Obsoletename",
    "Packages",
    "Packages.db",
    "Packages.db-shm",
    "Packages.db-wal",
    "Providename",
    "Recommendname",
    "Requirename",
    "Sha1header",
    "Sigmd5",
    "Suggestname",
    "Supplementname",
    "Transfiletriggername",
    "Triggername",
    "__db.000",
    "__db.001",
    "__db.002",
    "__db.003",
    "__db.004",
    "__db.005",
    "rpmdb.sqlite",
    "rpmdb.sqlite-journal",
    "rpmdb.sqlite-shm",
    "rpmdb.sqlite-wal",
];

/// What the rules look at.
#[derive(Debug)]
pub(super) struct Byproducts<'f> {
    files: &'f Files,
    database: &'f Database,
}

impl<'f> Byproducts<'f> {
    pub(super) fn new(files: &'f Files, database: &'f Database) -> Self {
        Self { files, database }
    }

    /// Paths that the rules will ask packages about, for what lies at a path.
    pub(super) fn sources(files: &Files, path: &[u8], wanted: &mut Wanted) {
        wanted.extend(compiled_from(path));
        wanted.extend(set_aside_from(path));
        if let Some(object) = files.tree.find(path) {
            wanted.extend(linked_to(files, path, object));
        }
    }

    /// The tool that keeps what lies at a path, or lay there.
    pub(super) fn tool(&self, path: &[u8], object: &Object) -> Option<&'static str> {
        if object.mode & 0o6000 != 0 {
            return None;
        }
        if let Ok(text) = std::str::from_utf8(path) {
            let exact = EXACT.iter().find(|(_, paths)| paths.contains(&text));
            if let Some((tool, _)) = exact {
                return Some(tool);
            }
            if let Some(tool) = made(text) {
                return Some(tool);
            }
        }
        let is_listed = |path: &Vec<u8>| !self.database.listed(path).is_empty();
        if object.kind == FileKind::File {
            if compiled_from(path).as_ref().is_some_and(is_listed) {
                return Some("python3");
            }
            if set_aside_from(path).as_ref().is_some_and(is_listed) {
                return Some(match path.rsplit(|byte| *byte == b'.').next() {
                    Some([b'r', b'p', b'm', ..]) => "rpm",
                    _ => "dpkg",
                });
            }
            if is_of_rpm(path) {
                return Some("rpm");
            }
        }
        if path.ends_with(b"/__pycache__") && object.kind == FileKind::Directory {
            let above = path.strip_suffix(b"/__pycache__").unwrap_or_default();
            return is_listed(&above.to_vec()).then_some("python3");
        }
        if object.kind == FileKind::Symlink {
            return self.link(path, object);
        }
        let choice = CHOICES
            .iter()
            .find_map(|directory| path.strip_prefix(*directory))?;
        self.is_choice(choice).then_some("update-alternatives")
    }

    /// The tool that has made a link.
    fn link(&self, path: &[u8], object: &Object) -> Option<&'static str> {
        let target = self.files.tree.target(object.id);
        if let Some(choice) = target.strip_prefix(b"/etc/alternatives/") {
            return self.is_choice(choice).then_some("update-alternatives");
        }
        let to = linked_to(self.files, path, object)?;
        if self.database.listed(&to).is_empty() {
            return None;
        }
        if let Some(choice) = path.strip_prefix(b"/etc/alternatives/") {
            return self.is_choice(choice).then_some("update-alternatives");
        }
        let name = path.rsplit(|byte| *byte == b'/').next()?;
        let same_directory = !target.contains(&b'/');
        if same_directory
            && name.starts_with(b"lib")
            && has(name, b".so")
            && target.starts_with(b"lib")
        {
            return Some("ldconfig");
        }
        let enables = path.starts_with(b"/etc/systemd/") && target.ends_with(name);
        enables.then_some("systemd")
    }

    /// Whether update-alternatives knows a name.
    fn is_choice(&self, name: &[u8]) -> bool {
        let known = |directory: &&[u8]| {
            let path = [directory, name].concat();
            self.files.tree.find(&path).is_some()
        };
        !name.contains(&b'/') && CHOICES.iter().any(known)
    }
}

/// Whether a path is a file of rpm's database.
fn is_of_rpm(path: &[u8]) -> bool {
    let name = DIRECTORIES.iter().find_map(|directory| {
        let name = path.strip_prefix(*directory)?;
        name.strip_prefix(b"/")
    });
    let name = name.and_then(|name| std::str::from_utf8(name).ok());
    name.is_some_and(|name| OF_RPM.contains(&name))
}

fn has(name: &[u8], part: &[u8]) -> bool {
    name.windows(part.len().max(1)).any(|window| window == part)
}

/// Names that are made for each kernel, language or set of icons.
fn made(path: &str) -> Option<&'static str> {
    let (directory, name) = path.rsplit_once('/')?;
    if directory == "/boot" && name.starts_with("initrd.img-") {
        return Some("initramfs-tools");
    }
    let above = directory.rsplit_once('/').map(|(above, _)| above);
    // One for each language.
    if above == Some("/var/cache/man") && name == "index.db" {
        return Some("man-db");
    }
    let of_kernel = above.is_some_and(|above| matches!(above, "/lib/modules" | "/usr/lib/modules"));
    if of_kernel && name.starts_with("modules.") {
        return Some("kmod");
    }
    let of_icons = above == Some("/usr/share/icons") && name == "icon-theme.cache";
    of_icons.then_some("gtk-update-icon-cache")
}

/// The Python file that a compiled one is made from.
fn compiled_from(path: &[u8]) -> Option<Vec<u8>> {
    let end = path
        .windows(13)
        .rposition(|window| window == b"/__pycache__/")?;
    let (directory, name) = path.split_at(end);
    let name = name.get(13..)?.strip_suffix(b".pyc")?;
    let end = name.windows(9).rposition(|window| window == b".cpython-")?;
    let stem = name.get(..end).filter(|stem| !stem.contains(&b'/'))?;
    Some([directory, b"/", stem, b".py"].concat())
}

/// The configuration file that dpkg or rpm has put another version of beside it.
fn set_aside_from(path: &[u8]) -> Option<Vec<u8>> {
    let endings = [
        &b".dpkg-dist"[..],
        b".dpkg-old",
        b".dpkg-new",
        b".rpmnew",
        b".rpmorig",
        b".rpmsave",
    ];
    let stem = endings.iter().find_map(|ending| path.strip_suffix(*ending));
    stem.map(<[u8]>::to_vec)
}

/// Where a link leads, as a path.
fn linked_to(files: &Files, path: &[u8], object: &Object) -> Option<Vec<u8>> {
    if object.kind != FileKind::Symlink {
        return None;
    }
    let target = files.tree.target(object.id);
    let mut paths = Paths::new(&files.tree);
    if target.starts_with(b"/") {
        return Some(paths.place(target));
    }
    let end = path.iter().rposition(|byte| *byte == b'/')?;
    let directory = path.get(..end)?;
    Some(paths.place(&[directory, b"/", target].concat()))
}

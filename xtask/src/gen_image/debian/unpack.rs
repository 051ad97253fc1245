//! Packages become a root directory. No owner is set, for that takes root: they are told instead.
//!
//! `/bin`, `/sbin` and `/lib*` are links into `/usr` before the first package comes, as every
//! installation of the release has them, and stay links. Times of directories are those of the packages that
//! came last.

use super::super::tools::tool;
use super::database::Database;
use anyhow::{Context, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is a link into `/usr` since the release before the last.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// Unpacks packages into a directory that is made, with dpkg's database; says which paths do not
/// belong to root.
pub(super) fn unpack(debs: &[PathBuf], tree: &Path) -> anyhow::Result<Vec<(String, u32, u32)>> {
    for name in MERGED {
        fs::create_dir_all(tree.join("usr").join(name))?;
        symlink(format!("usr/{name}"), tree.join(name))?;
    }
    let mut database = Database::create(tree)?;
    let mut owners = BTreeMap::new();
    for deb in debs {
        let place = deb.to_str().context("the path is not UTF-8")?;
        extract(deb, tree).with_context(|| format!("cannot unpack {place}"))?;
        let members = members(deb)?;
        for member in &members {
            match (member.uid, member.gid) {
                (0, 0) => owners.remove(&member.path),
                owner => owners.insert(member.path.clone(), owner),
            };
        }
        let control = tool("dpkg-deb", &["-f", place], 0)?;
        let paths: Vec<&str> = members.iter().map(|member| member.path.as_str()).collect();
        database.add(deb, &control, &paths)?;
    }
    database.end()?;
    Ok(owners
        .into_iter()
        .map(|(path, (uid, gid))| (path, uid, gid))
        .collect())
}

/// The package's own archive, into links that lead to directories.
fn extract(deb: &Path, tree: &Path) -> anyhow::Result<()> {
    let arguments = [
        "-x",
        "-p",
        "--keep-directory-symlink",
        "--no-same-owner",
        "-f",
        "-",
        "-C",
    ];
    let mut tar = Command::new("tar");
    tar.args(arguments).arg(tree);
    through(deb, tar).map(drop)
}

/// A path in a package.
#[derive(Debug, PartialEq, Eq)]
struct Member {
    path: String,
    uid: u32,
    gid: u32,
}

/// What a package holds, in its order.
fn members(deb: &Path) -> anyhow::Result<Vec<Member>> {
    let mut tar = Command::new("tar");
    tar.args([
        "-t",
        "-v",
        "--numeric-owner",
        "--quoting-style=literal",
        "-f",
        "-",
    ]);
    let said = through(deb, tar)?;
    let lines = said.lines();
    let members = lines.map(|line| member(line).with_context(|| format!("tar says {line}")));
    members.collect()
}

/// `-rwxr-sr-x 0/42  53024 2025-12-14 14:00 ./usr/bin/chage`, with ` -> …` behind links.
fn member(line: &str) -> Option<Member> {
    let kind = line.chars().next()?;
    let mut rest = line;
    let mut words = Vec::new();
    for _ in 0..5 {
        let (word, after) = rest.trim_start().split_once(' ')?;
        words.push(word);
        rest = after;
    }
    let path = match kind {
        'l' => rest.split_once(" -> ")?.0,
        'h' => rest.split_once(" link to ")?.0,
        _ => rest,
    };
    let (uid, gid) = words.get(1)?.split_once('/')?;
    let path = path.strip_prefix('.')?.trim_end_matches('/');
    // dpkg's own lists have the root directory like this.
    let path = if path.is_empty() { "/." } else { path };
    Some(Member {
        path: path.to_owned(),
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
    })
}

/// Gives a package's archive to a tool, and what that says.
fn through(deb: &Path, mut tool: Command) -> anyhow::Result<String> {
    let mut archive = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(deb)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start dpkg-deb")?;
    let from = archive.stdout.take().context("dpkg-deb has no output")?;
    let done = tool
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
        .stdin(from)
        .output()
        .context("cannot start tar")?;
    ensure!(archive.wait()?.success(), "dpkg-deb has failed");
    let complained = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "tar: {complained}");
    String::from_utf8(done.stdout).context("a path is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_tar_is_a_path_with_its_owner() {
        let check = |line: &str, path: &str, uid, gid| {
            let expected = Member {
                path: path.to_owned(),
                uid,
                gid,
            };
            assert_eq!(member(line), Some(expected), "{line}");
        };
        check(
            "drwxr-xr-x 0/0               0 2025-12-14 14:00 ./",
            "/.",
            0,
            0,
        );
        check(
            "-rwxr-sr-x 0/42          53024 2025-12-14 14:00 ./usr/bin/a b",
            "/usr/bin/a b",
            0,
            42,
        );
        check(
            "lrwxrwxrwx 0/0  0 2025-12-14 14:00 ./bin/sh -> dash",
            "/bin/sh",
            0,
            0,
        );
        check(
            "hrw-r--r-- 1/0  0 2025-12-14 14:00 ./b link to ./a",
            "/b",
            1,
            0,
        );
        assert_eq!(member("tar: something else"), None);
    }

    /// Packs a package of a few files, of which one is a setting and one another user's.
    fn pack(place: &Path, name: &str, version: &str) -> PathBuf {
        let build = place.join(name);
        for directory in ["DEBIAN", "etc", "bin"] {
            fs::create_dir_all(build.join(directory)).unwrap();
        }
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: all\n\
             Maintainer: Nobody <nobody@example.org>\nDescription: a package\n of the tests\n"
        );
        fs::write(build.join("DEBIAN/control"), control).unwrap();
        fs::write(
            build.join("DEBIAN/conffiles"),
            format!("/etc/{name}.conf\n"),
        )
        .unwrap();
        fs::write(build.join(format!("etc/{name}.conf")), "a = 1\n").unwrap();
        fs::write(build.join(format!("bin/{name}")), "#!/bin/sh\n").unwrap();
        let sum = Command::new("md5sum")
            .arg(format!("bin/{name}"))
            .current_dir(&build)
            .output()
            .unwrap();
        fs::write(build.join("DEBIAN/md5sums"), sum.stdout).unwrap();
        let deb = place.join(format!("{name}_{version}_all.deb"));
        let words = ["--root-owner-group", "-Zgzip", "-b"];
        let built = Command::new("dpkg-deb")
            .args(words)
            .arg(&build)
            .arg(&deb)
            .output()
            .unwrap();
        assert!(
            built.status.success(),
            "{}",
            String::from_utf8_lossy(&built.stderr)
        );
        deb
    }

    #[test]
    fn dpkg_finds_packages_installed_and_every_file_as_it_was() {
        let place = tempfile::TempDir::new().unwrap();
        let debs = [("one", "1.0-1"), ("two", "2.5")];
        let debs = debs.map(|(name, version)| pack(place.path(), name, version));
        let tree = place.path().join("root");
        let owners = unpack(&debs, &tree).unwrap();
        assert_eq!(owners, []);
        assert!(tree.join("bin").is_symlink() && tree.join("usr/bin/two").is_file());

        let admin = format!("--admindir={}", tree.join("var/lib/dpkg").display());
        let asked = |program: &str, words: &[&str]| {
            let inside = format!("--instdir={}", tree.display());
            let mut command = Command::new(program);
            command.arg(&admin);
            if program == "dpkg" {
                command.arg(inside);
            }
            let output = command.args(words).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let format = "${Package} ${Version} ${db:Status-Abbrev} ${Conffiles}\\n";
        let told = asked("dpkg-query", &["-W", "-f", format]);
        let is_right = told.contains("one 1.0-1 ii") && told.contains("two 2.5 ii");
        assert!(is_right && told.contains("/etc/two.conf "), "{told}");
        assert!(asked("dpkg-query", &["-L", "two"]).contains("/bin/two\n"));
        assert_eq!(asked("dpkg", &["--audit"]), "");
        assert_eq!(asked("dpkg", &["--verify"]), "");
        fs::write(tree.join("usr/bin/one"), "something else").unwrap();
        fs::write(tree.join("etc/two.conf"), "a = 2\n").unwrap();
        let told = asked("dpkg", &["--verify"]);
        assert!(
            told.contains("/bin/one") && told.contains("c /etc/two.conf"),
            "{told}"
        );
        assert_eq!(told.lines().count(), 2, "{told}");
    }
}

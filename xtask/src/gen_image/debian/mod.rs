//! A root directory of Debian's packages, made without root: what `--recipe debian` puts on a disk.
//!
//! ```text
//!  apt's lists ─► closure of the wanted packages ─► .deb files ─► root directory, dpkg's database,
//!                 (apt-get --print-uris)            (fetched        owners as a list
//!                                                    once)
//!  target/gen-image/debs/*.deb      target/gen-image/root-DIGEST/{root, entries.json}
//! ```
//!
//! The packages are unpacked and registered as installed, with what dpkg knows of each; `dpkg
//! --verify` must have nothing to say of it. Their own scripts are not run: they would need root, or
//! the system itself. What the base system's scripts would make first (users, groups) is made here.
//! The digest is of the list of files with their sums, so that a newer release has a root of its own.

mod database;
mod unpack;

use super::tools::tool;
use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the system is for, beside all packages that are required; with what these recommend, which
/// makes some 30,000 files. The last three are for the benign histories.
const WANTED: [&str; 15] = [
    "nginx",
    "postgresql",
    "gcc",
    "libc6-dev",
    "git",
    "python3",
    "vim",
    "openssh-server",
    "cron",
    "rsyslog",
    "man-db",
    "apt",
    "zip",
    "gpg",
    "logrotate",
];

/// A root directory of packages.
#[derive(Debug, Clone)]
pub(super) struct Root {
    pub(super) tree: PathBuf,
    pub(super) about: About,
}

/// What the directory cannot say of itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct About {
    /// How many packages there are.
    pub(super) packages: usize,
    /// Of the packages' files with their sums.
    pub(super) digest: String,
    /// Paths whose owner or group is not root: uid, gid.
    pub(super) owners: Vec<(String, u32, u32)>,
}

/// A package's file as apt names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Listed {
    file: String,
    sum: String,
}

/// Makes the root directory, or finds the one that was made before.
///
/// # Errors
/// apt is not there, knows no packages, or cannot fetch them.
pub(super) fn root() -> anyhow::Result<Root> {
    let target = crate::workspace()?.target_directory.into_std_path_buf();
    let place = target.join("gen-image");
    fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let listed = closure(&place)?;
    let digest = digest(&listed);
    let kept = place.join(format!("root-{digest}"));
    let about = kept.join("entries.json");
    if !about.exists() {
        let debs = fetch(&place.join("debs"), &listed)?;
        eprintln!("unpacking {} packages", debs.len());
        let fresh = tempfile::TempDir::new_in(&place).context("cannot make a directory")?;
        let tree = fresh.path().join("root");
        let owners = unpack::unpack(&debs, &tree)?;
        verify(&tree)?;
        base(&tree)?;
        let made = About {
            packages: debs.len(),
            digest,
            owners,
        };
        fs::write(
            fresh.path().join("entries.json"),
            serde_json::to_vec(&made)?,
        )?;
        fs::rename(fresh.keep(), &kept).context("cannot keep the packages' root directory")?;
    }
    let text = fs::read(&about).with_context(|| format!("cannot read {}", about.display()))?;
    let about = serde_json::from_slice(&text).context("the root directory's list is damaged")?;
    Ok(Root {
        tree: kept.join("root"),
        about,
    })
}

/// All packages that are needed on a system that has none, as apt resolves it.
fn closure(place: &Path) -> anyhow::Result<Vec<Listed>> {
    let status = place.join("no-packages");
    fs::write(&status, "")?;
    let available = tool("apt-cache", &["dumpavail"], 0)?;
    let required = required(&available);
    ensure!(
        !required.is_empty(),
        "apt has no lists of packages: apt-get update fetches them"
    );
    let state = format!("Dir::State::status={}", status.display());
    let mut words = vec!["-qq", "-o", &state, "-o", "Debug::NoLocking=1"];
    words.extend(["--install-recommends", "--print-uris", "install"]);
    words.extend(required.iter().map(String::as_str));
    words.extend(WANTED);
    let said = tool("apt-get", &words, 0)?;
    let mut listed: Vec<Listed> = said.lines().filter_map(listed).collect();
    listed.sort();
    ensure!(!listed.is_empty(), "apt names no packages");
    Ok(listed)
}

/// The packages without which there is no system.
fn required(available: &str) -> BTreeSet<String> {
    let is_required = |line: &str| matches!(line, "Priority: required" | "Essential: yes");
    let stanzas = available.split("\n\n");
    let required = stanzas.filter(|stanza| stanza.lines().any(is_required));
    let names = required.filter_map(|stanza| {
        stanza
            .lines()
            .find_map(|line| line.strip_prefix("Package: "))
    });
    names.map(str::to_owned).collect()
}

/// `'where' file size sum`
fn listed(line: &str) -> Option<Listed> {
    let (_, rest) = line.strip_prefix('\'')?.split_once("' ")?;
    let mut words = rest.split(' ');
    let (file, _, sum) = (words.next()?, words.next()?, words.next()?);
    let file = file.ends_with(".deb").then(|| file.to_owned())?;
    Some(Listed {
        file,
        sum: sum.to_owned(),
    })
}

fn digest(listed: &[Listed]) -> String {
    let mut all = String::new();
    for one in listed {
        all += &format!("{} {}\n", one.file, one.sum);
    }
    // The sums are apt's to check; this only tells lists apart.
    let (low, high) = (crc32fast::hash(all.as_bytes()), all.len());
    format!("{low:08x}-{high}")
}

/// Fetches what is not there yet. apt checks the sums.
fn fetch(debs: &Path, listed: &[Listed]) -> anyhow::Result<Vec<PathBuf>> {
    fs::create_dir_all(debs).with_context(|| format!("cannot make {}", debs.display()))?;
    let paths: Vec<PathBuf> = listed.iter().map(|one| debs.join(&one.file)).collect();
    let missing = listed.iter().zip(&paths).filter(|(_, path)| !path.exists());
    let missing: Vec<String> = missing.filter_map(|(one, _)| version(&one.file)).collect();
    if !missing.is_empty() {
        eprintln!("fetching {} packages", missing.len());
        let fetched = Command::new("apt-get")
            .args(["-qq", "download"])
            .args(&missing)
            .current_dir(debs)
            .output()
            .context("cannot start apt-get")?;
        let complained = String::from_utf8_lossy(&fetched.stderr);
        ensure!(fetched.status.success(), "apt-get download: {complained}");
    }
    for path in &paths {
        ensure!(path.exists(), "apt-get did not fetch {}", path.display());
    }
    Ok(paths)
}

/// `name_1%3a2.0_amd64.deb` is asked for as `name:amd64=1:2.0`.
fn version(file: &str) -> Option<String> {
    let (name, rest) = file.strip_suffix(".deb")?.split_once('_')?;
    let (version, architecture) = rest.rsplit_once('_')?;
    let version = version.replace("%3a", ":");
    Some(match architecture {
        "all" => format!("{name}={version}"),
        _ => format!("{name}:{architecture}={version}"),
    })
}

/// What the scripts of the base system's packages make: users, groups, and names of programs that
/// several packages could give.
fn base(tree: &Path) -> anyhow::Result<()> {
    for name in ["passwd", "group"] {
        let shipped = tree.join(format!("usr/share/base-passwd/{name}.master"));
        let mut lines = fs::read_to_string(&shipped)
            .with_context(|| format!("cannot read {}", shipped.display()))?;
        for team in 0..super::TEAMS {
            let (id, team) = (1000 + team, format!("team{team:02}"));
            lines += &match name {
                "passwd" => format!("{team}:x:{id}:{id}::/srv/{team}:/bin/sh\n"),
                _ => format!("{team}:x:{id}:\n"),
            };
        }
        fs::write(tree.join("etc").join(name), lines)?;
    }
    let alternatives = tree.join("etc/alternatives");
    fs::create_dir_all(&alternatives)?;
    for (name, program) in [("awk", "mawk"), ("vim", "vim.basic"), ("cc", "gcc")] {
        let link = tree.join("usr/bin").join(name);
        if tree.join("usr/bin").join(program).exists() && !link.is_symlink() {
            symlink(format!("/usr/bin/{program}"), alternatives.join(name))?;
            symlink(format!("/etc/alternatives/{name}"), link)?;
        }
    }
    fs::write(tree.join("etc/hostname"), "server\n")?;
    fs::write(tree.join("etc/fstab"), "/dev/vda2 / ext4 defaults 0 1\n")?;
    Ok(())
}

/// Has dpkg hold every file against its database.
fn verify(tree: &Path) -> anyhow::Result<()> {
    let admin = format!("--admindir={}", tree.join("var/lib/dpkg").display());
    let inside = format!("--instdir={}", tree.display());
    let checked = Command::new("dpkg")
        .args([&admin, &inside, "--verify"])
        .output()
        .context("cannot start dpkg")?;
    let said = String::from_utf8_lossy(&checked.stdout);
    let complained = String::from_utf8_lossy(&checked.stderr);
    ensure!(
        checked.status.success() && said.is_empty(),
        "dpkg does not agree with what was unpacked: {said}{complained}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_apt_names_a_file_and_what_to_ask_for() {
        let line = "'http://host/pool/v/vim_2%3a9.0-4%2bdeb12u1_amd64.deb' \
                    vim_2%3a9.0-4+deb12u1_amd64.deb 1563 SHA256:28be";
        let found = listed(line).unwrap();
        assert_eq!(found.file, "vim_2%3a9.0-4+deb12u1_amd64.deb");
        assert_eq!(found.sum, "SHA256:28be");
        assert_eq!(version(&found.file).unwrap(), "vim:amd64=2:9.0-4+deb12u1");
        assert_eq!(version("adduser_3.134_all.deb").unwrap(), "adduser=3.134");
        assert_eq!(listed("E: nothing"), None);
    }

    #[test]
    fn required_packages_are_those_that_say_so() {
        let available = "Package: dpkg\nEssential: yes\n\nPackage: vim\nPriority: optional\n\n\
                         Package: login\nPriority: required\n";
        let expected = ["dpkg", "login"].map(str::to_owned);
        assert_eq!(required(available), BTreeSet::from(expected));
    }
}

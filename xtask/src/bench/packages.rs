//! Of the files that an upgrade of 200 packages changes, how many does the disk's own package database
//! explain? And does it explain anything that no package did?
//!
//! ```text
//!  debootstrap ─► root ─► disk A ──► a guest installs 200 packages, and does what no package does ──► disk B
//!                  └► packages, unpacked, changed, with a newer version and their digests, packed
//! ```
//!
//! The truth is a walk of both disks as debugfs takes them out: which paths have other content. It
//! shares no code with what is measured. Needs root, for debootstrap, and the network or its cache.

use super::files::place;
use crate::gen_image::Draw;
use crate::measure::open;
use anyhow::{Context, ensure};
use image::files::{compare_disks, on_a_thread};
use image::packages::explain;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use workshop::{Disk, Workshop};

const PACKAGES: usize = 200;
const PLANTED: usize = 50;
const TAMPERED: usize = 20;
const LEAST: f64 = 0.999;

/// What the disk is made of: a minimal system and enough that 200 packages are there.
const INCLUDED: &str = "nginx-light,gcc,git,python3,vim,openssh-server,cron,rsyslog,man-db,curl,\
    less,bc,jq,tree,file,rsync,screen,wget,zip,unzip,sqlite3";

/// The sizes of the disks, in MiB.
const DISK_MIB: u32 = 3072;
const DEBS_MIB: u32 = 2048;

pub(super) fn run() -> anyhow::Result<()> {
    let root = root()?;
    let out = place("packages")?;
    let [before, after, debs] = ["a.raw", "b.raw", "debs.raw"].map(|name| out.join(name));
    let upgraded = repack(&root, &out.join("debs"))?;
    file_system(&root, &before, DISK_MIB)?;
    file_system(&out.join("debs"), &debs, DEBS_MIB)?;
    fs::remove_dir_all(out.join("debs"))?;
    call("cp", &["--sparse=always", text(&before)?, text(&after)?])?;
    let planted = upgrade(&root, &after, &debs)?;

    let [was, is] = [contents(&before, &out)?, contents(&after, &out)?];
    let paths: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let changed: BTreeSet<String> = paths
        .into_iter()
        .filter(|path| was.get(*path) != is.get(*path))
        .cloned()
        .collect();
    let explained = explained(&before, &after)?;
    let by_packages: BTreeSet<String> = changed.difference(&planted).cloned().collect();
    let told = by_packages.intersection(&explained).count();
    for path in by_packages.difference(&explained).take(40) {
        eprintln!("not explained: {path}");
    }
    let wrong: Vec<_> = planted.intersection(&explained).collect();
    for path in &wrong {
        eprintln!("wrongly explained: {path}");
    }
    ensure!(
        planted.is_subset(&changed),
        "what was planted is not on the disk"
    );
    let share = told as f64 / by_packages.len().max(1) as f64;
    let is_met = share >= LEAST && wrong.is_empty() && upgraded >= PACKAGES;
    crate::put_out(&format!(
        "{upgraded} packages upgraded, {} files changed by that, {told} explained; {} files changed \
         by no package, {} of them explained",
        by_packages.len(),
        planted.len(),
        wrong.len()
    ))?;
    let met = if is_met { "met" } else { "not met" };
    crate::put_out(&format!(
        "packages: {:.2} % (bound 99.9): {met}",
        share * 100.0
    ))?;
    fs::remove_dir_all(&out).context("cannot remove the disks")?;
    ensure!(is_met, "the promise is not met");
    Ok(())
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path is no text")
}

fn call(program: &str, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
    let ended = Command::new(program).args(arguments).output();
    let ended = ended.with_context(|| format!("cannot start {program}"))?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "{program} {arguments:?}: {said}");
    Ok(ended.stdout)
}

/// A root directory of the release, made once and kept for the next time.
fn root() -> anyhow::Result<PathBuf> {
    let target = crate::workspace()?.target_directory.into_std_path_buf();
    let root = target.join("bench").join("release-root");
    let made = root.join("made");
    if !made.exists() {
        fs::create_dir_all(&root)?;
        let include = format!("--include={INCLUDED}");
        let arguments = ["--variant=minbase", &include, "bookworm", text(&root)?];
        call("debootstrap", &arguments)?;
        // Nothing is started in a guest that only installs.
        let policy = root.join("usr/sbin/policy-rc.d");
        fs::write(&policy, "#!/bin/sh\nexit 101\n")?;
        call("chmod", &["755", text(&policy)?])?;
        fs::create_dir_all(root.join("debs"))?;
        fs::write(made, "")?;
    }
    Ok(root)
}

/// Makes newer packages of the release's, with other contents. Says how many.
fn repack(root: &Path, to: &Path) -> anyhow::Result<usize> {
    fs::create_dir_all(to)?;
    let mut debs = Vec::new();
    for entry in fs::read_dir(root.join("var/cache/apt/archives"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "deb") {
            debs.push(path);
        }
    }
    debs.sort();
    let mut draw = Draw(1);
    let mut count = 0;
    for deb in debs.iter().take(PACKAGES) {
        let build = to.join("build");
        call("dpkg-deb", &["-R", text(deb)?, text(&build)?])?;
        change(&build, &mut draw)?;
        let new = to.join(format!("{count:03}.deb"));
        call(
            "dpkg-deb",
            &["-Zgzip", "-z1", "-b", text(&build)?, text(&new)?],
        )?;
        fs::remove_dir_all(&build)?;
        count += 1;
    }
    Ok(count)
}

/// Changes an unpacked package: a third of its files, one more, a newer version, its digests.
fn change(build: &Path, draw: &mut Draw) -> anyhow::Result<()> {
    let control = build.join("DEBIAN/control");
    let old = fs::read_to_string(&control)?;
    let lines = old
        .lines()
        .map(|line| match line.strip_prefix("Version: ") {
            Some(version) => format!("Version: {version}+newer1\n"),
            None => format!("{line}\n"),
        });
    fs::write(&control, lines.collect::<String>())?;
    let mut paths = Vec::new();
    walk(build, build, &mut paths)?;
    let name = old.lines().find_map(|line| line.strip_prefix("Package: "));
    let added = format!("usr/share/newer/{}", name.context("a package has no name")?);
    fs::create_dir_all(build.join("usr/share/newer"))?;
    fs::write(build.join(&added), &added)?;
    for path in &paths {
        if draw.below(3) == 0 {
            let mut file = fs::OpenOptions::new().append(true).open(build.join(path))?;
            file.write_all(b"\n# newer\n")?;
        }
    }
    let sums = build.join("DEBIAN/md5sums");
    let Ok(old) = fs::read_to_string(&sums) else {
        return Ok(());
    };
    let listed = old
        .lines()
        .filter_map(|line| Some(line.split_once("  ")?.1));
    let listed: Vec<&str> = listed.chain([added.as_str()]).collect();
    let summed = Command::new("md5sum")
        .current_dir(build)
        .args(listed)
        .output()?;
    ensure!(summed.status.success(), "md5sum failed");
    Ok(fs::write(sums, summed.stdout)?)
}

/// Regular files below a directory, but for the package's own.
fn walk(root: &Path, at: &Path, into: &mut Vec<String>) -> anyhow::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(at)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let relative = path.strip_prefix(root)?;
        let kind = entry.file_type()?;
        if kind.is_dir() && relative != Path::new("DEBIAN") {
            walk(root, &path, into)?;
        } else if kind.is_file() {
            into.push(text(relative)?.to_owned());
        }
    }
    Ok(())
}

fn file_system(directory: &Path, image: &Path, mib: u32) -> anyhow::Result<()> {
    let size = format!("{mib}M");
    let arguments = [
        "-q",
        "-t",
        "ext4",
        "-d",
        text(directory)?,
        text(image)?,
        &size,
    ];
    call("mke2fs", &arguments).map(drop)
}

/// Has a guest install the packages on the disk, and do what no package does. Says what that was.
fn upgrade(root: &Path, disk: &Path, debs: &Path) -> anyhow::Result<BTreeSet<String>> {
    let mut script = String::from(
        "mount -t ext4 /dev/vda /mnt\nmkdir -p /given\nmount -t ext4 /dev/vdb /given\n\
         mount -t proc proc /mnt/proc\nmount -o bind /dev /mnt/dev\nmount -o bind /given /mnt/debs\n\
         chroot /mnt /usr/bin/env -i DEBIAN_FRONTEND=noninteractive HOME=/root \
         PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -c \
         'dpkg --force-all -i /debs/*.deb >/dev/null 2>/tmp/said || tail -n 20 /tmp/said; \
         rm -f /tmp/said; dpkg-query -W | grep -c newer1' </dev/null\n",
    );
    let mut planted = BTreeSet::new();
    for (path, line) in others(root)? {
        script.push_str(&format!(
            "mkdir -p \"/mnt{}\"\n",
            path.rsplit_once('/').map_or("", |(at, _)| at)
        ));
        script.push_str(&format!("{line} >>'/mnt{path}'\n"));
        planted.insert(path);
    }
    let guest = Workshop::new()
        .disk(Disk::raw(disk))
        .disk(Disk::raw(debs))
        .memory_mib(1024)
        .silence_max(Duration::from_secs(3600));
    let ended = guest.run(&script)?;
    let said = String::from_utf8_lossy(&ended.text);
    eprintln!("the guest says: {said}");
    ensure!(
        ended.code == 0,
        "the guest's script ended with {}",
        ended.code
    );
    Ok(planted)
}

/// Files that no package puts there, and files of packages that are changed behind their back.
fn others(root: &Path) -> anyhow::Result<Vec<(String, &'static str)>> {
    let places = [
        "/usr/bin/planted",
        "/usr/lib/systemd/system/planted",
        "/etc/cron.d/planted",
        "/var/lib/dpkg/info/planted.list.",
        "/usr/lib/python3/dist-packages/__pycache__/planted.cpython-311.pyc.",
        "/etc/alternatives/planted",
        "/var/cache/apt/planted",
        "/root/.ssh/planted",
        "/lib/modules/planted",
        "/tmp/planted",
    ];
    let mut all = Vec::new();
    for number in 0..PLANTED {
        let place = places[number % places.len()];
        // `/lib` is a link: the disk has it below `/usr`.
        let place = place
            .strip_prefix("/lib/")
            .map_or(place.to_owned(), |rest| format!("/usr/lib/{rest}"));
        all.push((format!("{place}{number}"), "echo planted"));
    }
    let mut files = Vec::new();
    for directory in ["usr/bin", "usr/share/perl5", "usr/lib/python3.11"] {
        let mut below = Vec::new();
        walk(&root.join(directory), &root.join(directory), &mut below).ok();
        let below = below.iter().map(|path| format!("/{directory}/{path}"));
        files.extend(below.filter(|path| !path.contains("__pycache__")));
    }
    let step = (files.len() / TAMPERED).max(1);
    let tampered = files.into_iter().step_by(step).take(TAMPERED);
    all.extend(tampered.map(|path| (path, "echo tampered")));
    Ok(all)
}

/// Paths with what they hold, as debugfs takes them out.
fn contents(disk: &Path, out: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let to = out.join("taken-out");
    fs::create_dir_all(&to)?;
    let request = format!("rdump / {}", text(&to)?);
    call("debugfs", &["-R", &request, text(disk)?])?;
    let script = "find . -type f -print0 | xargs -0 -r md5sum -z; \
                  find . -type l -printf 'link to %l  %p\\0'";
    let summed = Command::new("sh")
        .current_dir(&to)
        .args(["-c", script])
        .output()?;
    ensure!(summed.status.success(), "what was taken out cannot be read");
    fs::remove_dir_all(&to)?;
    let mut contents = BTreeMap::new();
    for line in String::from_utf8_lossy(&summed.stdout).split('\0') {
        if let Some((content, path)) = line.split_once("  .") {
            contents.insert(path.to_owned(), content.to_owned());
        }
    }
    ensure!(
        contents.len() > 1000,
        "there is hardly anything on the disk"
    );
    Ok(contents)
}

/// The paths whose changes are explained.
fn explained(before: &Path, after: &Path) -> anyhow::Result<BTreeSet<String>> {
    let compared = compare_disks(&open(before)?, &open(after)?, &on_a_thread)?;
    let mut explained = BTreeSet::new();
    for volume in compared.diff() {
        let events = volume.files?.events;
        let files = [&compared.before, &compared.after].map(|disk| {
            let volume = disk.named(&volume.name)?;
            volume.files.as_ref().ok()
        });
        let [Some(before), Some(after)] = files else {
            anyhow::bail!("a volume cannot be read");
        };
        for (event, explanation) in events.iter().zip(explain(before, after, &events).events) {
            if explanation.is_some_and(|explanation| explanation.standing.is_explained()) {
                explained.insert(String::from_utf8_lossy(&event.path).into_owned());
            }
        }
    }
    Ok(explained)
}

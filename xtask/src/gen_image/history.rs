//! `--history NAME`: what users and systems do that looks like an attack, done by the disk's own
//! programs in a guest that boots it.
//!
//! ```text
//!  a.raw ─► guest: a walk ── the history ── a walk ─► b.raw, truth.json
//! ```
//!
//! What has happened is told by the guest's kernel: `find` of the disk walks all of it before and
//! afterwards, and the record has every path whose line is another one. Nothing of it is a reader's
//! of ours. Programs are those of Debian's packages, so there is no history without them.

use super::content::Kind;
use super::draw::Draw;
use super::guest::{MOUNT, pack};
use super::tools::Image;
use super::{GenImage, Maker, TIMES};
use anyhow::{Context, ensure};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;
use workshop::{Disk, Workshop};

/// Something ordinary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum History {
    /// A program of 40 files is compiled and linked by gcc
    Build,
    /// Projects become a repository with 30 commits, which git packs anew
    GitGc,
    /// Projects are packed by zip, and removed
    Zip,
    /// A user encrypts files with gpg, each under its own name
    Gpg,
    /// Logs are rotated three times, and compressed
    Logrotate,
    /// 300 photographs come, and are sorted into days
    Photos,
    /// A database is filled, changed and vacuumed
    Postgres,
    /// The whole file system is being encrypted by its owner; the host does it ([`encryption`])
    ///
    /// [`encryption`]: super::encryption
    Encryption,
}

/// Photographs, and about how large each is.
const PHOTOS: usize = 300;
const PHOTO_BYTES: f64 = 250_000.0;

/// Memory of the guest: a compiler and a database run in it.
const MEMORY_MIB: u32 = 1024;

/// An emulated machine works for minutes without a word.
const SILENCE_MAX: Duration = Duration::from_secs(1800);

/// A line of the walk: inode, kind, mode, owners, size, times of data and of anything, path.
const WALK: &str =
    "enter /disk /usr/bin/find / -xdev -printf '%i %y %m %U:%G %s %T@ %C@\\t%p\\0'\n";

impl History {
    /// What the disk's own shell does.
    fn script(self) -> &'static str {
        match self {
            // No program of the disk's: its file system is not mounted then.
            Self::Encryption => "",
            Self::Build => {
                "mkdir -p /srv/team00/program && cd /srv/team00/program\n\
                 for n in $(seq 40); do\n\
                 printf '#include <stdio.h>\\n#include <stdlib.h>\\n#include <string.h>\\n\
                 int part%d(int x) { char b[64]; snprintf(b, sizeof b, \"%%d\", x * %d); \
                 return atoi(b) + (int)strlen(b); }\\n' $n $n >part$n.c\n\
                 gcc -O1 -g -c part$n.c -o part$n.o\n\
                 done\n\
                 { for n in $(seq 40); do echo \"int part$n(int);\"; done\n\
                 echo 'int main(void) { int s = 0;'\n\
                 for n in $(seq 40); do echo \"s += part$n(s);\"; done\n\
                 echo 'return s & 1; }'; } >main.c\n\
                 gcc -O1 -g main.c part*.o -o program\n\
                 ./program || true\n\
                 strip program\n"
            }
            Self::GitGc => {
                "cd /srv/team02\n\
                 git config --global user.name Ann && git config --global user.email ann@example.org\n\
                 git config --global safe.directory '*'\n\
                 git init -q .\n\
                 for n in $(seq 30); do\n\
                 find . -path ./.git -prune -o -type f -print | sed -n \"${n}~30p\" >/tmp/some\n\
                 git add --pathspec-from-file=/tmp/some\n\
                 echo \"change $n\" >>notes.md && git add notes.md\n\
                 git commit -q -m \"change $n\"\n\
                 done\n\
                 rm /tmp/some\n\
                 git gc --quiet --aggressive --prune=now\n"
            }
            Self::Zip => {
                "cd /srv/team03\n\
                 for project in project*; do zip -q -r \"$project.zip\" \"$project\"; rm -r \"$project\"; done\n"
            }
            Self::Gpg => {
                "mkdir -m 700 -p /root/.gnupg\n\
                 find '/srv/team04' -type f | sort | head -n 120 | while read -r file; do\n\
                 gpg --batch --quiet --pinentry-mode loopback --passphrase secret --s2k-count 65536 \
                 --symmetric --output \"$file.new\" \"$file\" </dev/null\n\
                 mv \"$file.new\" \"$file\"\n\
                 done\n\
                 gpgconf --kill all\n"
            }
            Self::Logrotate => {
                "printf '/var/log/service*.log {\\n rotate 4\\n compress\\n delaycompress\\n \
                 missingok\\n create 0640 root root\\n su root root\\n}\\n' >/etc/logrotate.d/services\n\
                 for turn in 1 2 3; do\n\
                 logrotate --force --state /var/lib/logrotate.status /etc/logrotate.d/services\n\
                 for log in /var/log/service*.log; do echo \"turn $turn has begun\" >>$log; done\n\
                 done\n"
            }
            Self::Photos => {
                "mkdir -p /srv/team05/photos && cd /srv/team05/photos\n\
                 cp -p /run/given/photo-* .\n\
                 n=0\n\
                 for photo in photo-*; do\n\
                 n=$((n + 1)); day=day-$((n / 20)); mkdir -p $day; mv $photo $day/IMG_$n.jpg\n\
                 done\n"
            }
            Self::Postgres => {
                "mkdir -p /srv/database && chown 1000:1000 /srv/database && cd /srv/database\n\
                 as() { setpriv --reuid 1000 --regid 1000 --clear-groups \"$@\"; }\n\
                 bin=$(echo /usr/lib/postgresql/*/bin)\n\
                 as $bin/initdb -D data --locale=C -E UTF8 -N >/dev/null\n\
                 printf '%s\\n' \
                 \"create table orders (id int primary key, client text, amount int);\" \
                 \"insert into orders select n, md5(n::text), n % 977 from generate_series(1, 40000) n;\" \
                 \"update orders set amount = amount + 1 where id % 3 = 0;\" \
                 \"delete from orders where id % 7 = 0;\" \
                 \"vacuum full orders;\" \
                 | as $bin/postgres --single -F -D data postgres >/dev/null\n"
            }
        }
    }
}

/// Makes a disk before and after a history, and writes down what happened.
pub(super) fn run(what: &GenImage, history: History) -> anyhow::Result<()> {
    let mut maker = Maker::new(what)?;
    let root =
        super::root(what)?.context("a history is made by the programs of Debian's packages")?;
    let before = maker.first(Some(&root))?;
    let after = before.copy(&what.out.join("b.raw"))?;
    let [was, is] = happen(what, history, &after)?;
    let changes = changes(&was, &is);
    eprintln!("{history:?}: {} paths are other ones", changes.len());
    ensure!(!changes.is_empty(), "nothing has happened");
    let truth = json!({
        "seed": what.seed,
        "mib": what.mib,
        "about": super::about(what, Some(&root)),
        "files": was.len(),
        "history": history,
        "benign": true,
        "script": history.script(),
        "a-b": changes,
    });
    let path = what.out.join("truth.json");
    fs::write(&path, serde_json::to_vec_pretty(&truth)?)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Has a guest do it, and gives what the kernel lists before and afterwards.
fn happen(what: &GenImage, history: History, image: &Image) -> anyhow::Result<[Walk; 2]> {
    let given = tempfile::TempDir::new_in(&what.out).context("cannot make a directory")?;
    if history == History::Photos {
        photographs(given.path(), &mut Draw(what.seed))?;
    }
    let given_disk = tempfile::NamedTempFile::new().context("cannot make a disk")?;
    pack(given.path(), given_disk.path())?;
    let inner = format!("set -eu\n{}", history.script());
    let script = format!(
        "{MOUNT}date -s @{} >/dev/null\n\
         mount -t tmpfs run /disk/run\nmkdir /disk/run/given\n\
         mount -o bind /given /disk/run/given\ncp /work/history /disk/run/history\n\
         {WALK}mark before\nHOME=/root enter /disk /bin/sh /run/history\nsync\nmark done\n{WALK}",
        TIMES[1]
    );
    let machine = Workshop::new()
        .disk(Disk::raw(&image.path))
        .disk(Disk::raw(given_disk.path()))
        .file("/work/history", 0o644, inner)
        .memory_mib(MEMORY_MIB)
        .silence_max(SILENCE_MAX);
    let mut guest = machine.boot(&script)?;
    let was = walk(&guest.wait_for("before")?)?;
    let said = guest.wait_for("done")?;
    eprint!("{}", String::from_utf8_lossy(&said));
    let is = walk(&guest.end()?.good()?)?;
    Ok([was, is])
}

/// What a camera brings.
fn photographs(to: &Path, draw: &mut Draw) -> anyhow::Result<()> {
    for number in 0..PHOTOS {
        let bytes = draw.size(PHOTO_BYTES, 0.5, 20_000, 2 << 20);
        let photo = Kind::Jpeg.make(bytes, draw);
        fs::write(to.join(format!("photo-{number:04}.jpg")), photo)?;
    }
    Ok(())
}

/// Directories of the disk on which something is mounted meanwhile.
const MOUNTED: [&str; 3] = ["/dev", "/proc", "/run"];

/// What the kernel says of each path.
type Walk = BTreeMap<String, String>;

fn walk(said: &[u8]) -> anyhow::Result<Walk> {
    let said = std::str::from_utf8(said).context("a path is not UTF-8")?;
    let lines = said.split('\0').filter_map(|line| line.split_once('\t'));
    // Of these the guest's own file systems are seen.
    let own = lines.filter(|(_, path)| !MOUNTED.contains(path));
    let walk: Walk = own
        .map(|(line, path)| (path.to_owned(), line.to_owned()))
        .collect();
    ensure!(walk.len() > 1000, "a guest has found {} paths", walk.len());
    Ok(walk)
}

/// The paths of which something else is said.
fn changes(was: &Walk, is: &Walk) -> Vec<Value> {
    let mut paths: Vec<&String> = was.keys().chain(is.keys()).collect();
    paths.sort_unstable();
    paths.dedup();
    let differing = paths
        .into_iter()
        .filter(|path| was.get(*path) != is.get(*path));
    differing
        .map(|path| json!({ "path": path, "before": was.get(path), "after": is.get(path) }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_changed_if_its_line_is_another_one() {
        let walk = |lines: &[(&str, &str)]| -> Walk {
            let own = lines
                .iter()
                .map(|(path, line)| ((*path).to_owned(), (*line).to_owned()));
            own.collect()
        };
        let was = walk(&[("/a", "1"), ("/b", "2"), ("/c", "3")]);
        let is = walk(&[("/a", "1"), ("/b", "4"), ("/d", "5")]);
        let expected = json!([
            { "path": "/b", "before": "2", "after": "4" },
            { "path": "/c", "before": "3", "after": null },
            { "path": "/d", "before": null, "after": "5" },
        ]);
        assert_eq!(Value::from(changes(&was, &is)), expected);
    }
}

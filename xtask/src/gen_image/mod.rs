//! `cargo xtask gen-image --out DIRECTORY`: disks with a known history.
//!
//! ```text
//!  A ── ordinary work ──► B ── an attack ──► C          a.raw b.raw c.raw truth.json
//!       files added, changed, deleted, renamed, a          2,000 files encrypted, 500 of them
//!       directory renamed, logs appended, modes,           renamed, 72 notes
//!       owners, attributes and times set
//! ```
//!
//! | option | what it says |
//! |---|---|
//! | `--recipe own` | a system of the same kinds of files, made here |
//! | `--recipe debian` | Debian's packages ([`debian`]); where they cannot be had, as `own`, and it is said |
//! | `--changes tools` | e2fsprogs changes names and inodes, and data are written where debugfs says that they lie |
//! | `--changes guest` | a guest boots the disk, and its kernel does it all ([`guest`]) |
//! | `--attack MODE` | how files are encrypted ([`attack`]) |
//! | `--history NAME` | instead of all that, two disks with a benign history between them ([`history`]) |
//! | `--mib`, `--seed` | the size of the disks, and what all is drawn from |
//!
//! The counts are those of a disk of 4 GiB, and less in proportion on a smaller one; packages are as
//! many as ever. The same seed, and the same packages, make the same files and the same history; in
//! which blocks files lie, and times of birth, are the tools' and the kernel's. What is recorded as
//! done is the plan, never what a reader of ours has found. No root is needed.

mod attack;
mod changes;
mod content;
mod debian;
mod deeds;
mod draw;
mod encryption;
mod firmware;
pub(crate) mod guest;
mod history;
mod part;
pub(crate) mod tools;
mod tree;
mod truth;
mod world;

pub(crate) use attack::Attack;
pub(crate) use draw::Draw;
pub(crate) use history::History;

pub(crate) use world::Event;

use anyhow::{Context, ensure};
use attack::Victim;
use content::{Kind, USERS};
use deeds::Deed;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tools::Image;
use world::{VERSIONS, World};

/// The size that the recipe's counts are for, and the least that has something of everything.
const FULL_MIB: u64 = 4096;
const LEAST_MIB: u64 = 64;

/// The least with Debian's packages on it.
const DEBIAN_MIB: u64 = 2048;

/// The times of the three versions: a day apart.
const TIMES: [u64; VERSIONS] = [1_760_000_000, 1_760_086_400, 1_760_172_800];

const TEAMS: usize = 12;
const PROJECTS: usize = 60;

/// What is to be made.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct GenImage {
    /// Where to put the disks and the record of what was done
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// The size of the disks in MiB
    #[arg(long, default_value_t = FULL_MIB)]
    pub(crate) mib: u64,
    /// What everything is drawn from
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// What the system on it is made of
    #[arg(long, value_enum, default_value_t)]
    pub(crate) recipe: Recipe,
    /// Who changes the disks
    #[arg(long, value_enum, default_value_t)]
    pub(crate) changes: Changes,
    /// How files are encrypted
    #[arg(long, value_enum, default_value_t)]
    pub(crate) attack: Attack,
    /// Instead of work and an attack: what looks like one, by the disk's own programs
    #[arg(long, value_enum)]
    pub(crate) history: Option<History>,
}

impl GenImage {
    /// The disks of the recipe, as they are measured.
    pub(crate) fn full(out: PathBuf) -> Self {
        Self {
            out,
            mib: FULL_MIB,
            seed: 1,
            recipe: Recipe::Debian,
            changes: Changes::Guest,
            attack: Attack::InPlace,
            history: None,
        }
    }
}

/// What the system on a disk is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Recipe {
    /// Files of the same kinds, made here
    #[default]
    Own,
    /// Debian's packages
    Debian,
}

/// Who changes a disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Changes {
    /// Debugfs, and writing in place
    #[default]
    Tools,
    /// The kernel of a guest
    Guest,
}

/// Disks that were made, and what happened between them.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) disks: [PathBuf; VERSIONS],
    /// What they are made of, for people.
    pub(crate) about: String,
    world: World,
    victims: Vec<Victim>,
}

impl Made {
    /// What happened from one version to a later one.
    pub(crate) fn events(&self, from: usize, to: usize) -> BTreeSet<Event> {
        self.world.events(from, to)
    }
}

/// Makes disks, and writes down what was done.
pub(crate) fn run(what: &GenImage) -> anyhow::Result<()> {
    match what.history {
        Some(History::Encryption) => encryption::run(what),
        Some(history) => history::run(what, history),
        None => truth::write(what, &make(what)?),
    }
}

/// Makes the disks.
pub(crate) fn make(what: &GenImage) -> anyhow::Result<Made> {
    let mut maker = Maker::new(what)?;
    let root = root(what)?;
    let a = maker.first(root.as_ref())?;
    let b = a.copy(&what.out.join("b.raw"))?;
    maker.work(&b)?;
    let c = b.copy(&what.out.join("c.raw"))?;
    maker.attack(&c)?;
    Ok(Made {
        disks: [a.path, b.path, c.path],
        about: about(what, root.as_ref()),
        world: maker.world,
        victims: maker.victims,
    })
}

/// Debian's packages, if they are wanted and can be had.
fn root(what: &GenImage) -> anyhow::Result<Option<debian::Root>> {
    if what.recipe == Recipe::Own {
        return Ok(None);
    }
    ensure!(
        what.mib >= DEBIAN_MIB,
        "a disk with Debian's packages has {DEBIAN_MIB} MiB at least"
    );
    match debian::root() {
        Ok(root) => Ok(Some(root)),
        Err(error) => {
            eprintln!("Debian's packages cannot be had, the system is made here: {error:#}");
            Ok(None)
        }
    }
}

fn about(what: &GenImage, root: Option<&debian::Root>) -> String {
    let system = match root {
        Some(root) => format!(
            "{} packages of Debian ({})",
            root.about.packages, root.about.digest
        ),
        None => "a system of made files".to_owned(),
    };
    let changes = match what.changes {
        Changes::Tools => "e2fsprogs",
        Changes::Guest => "a guest's kernel",
    };
    format!("{} MiB with {system}, changed by {changes}", what.mib)
}

struct Maker<'a> {
    what: &'a GenImage,
    draw: Draw,
    world: World,
    /// How the first version is made what it should be: lines for debugfs.
    set: Vec<String>,
    /// What is to be done next. What belongs together is one.
    deeds: Vec<Vec<Deed>>,
    victims: Vec<Victim>,
}

impl<'a> Maker<'a> {
    /// Nothing is there yet.
    fn new(what: &'a GenImage) -> anyhow::Result<Self> {
        ensure!(what.mib >= LEAST_MIB, "a disk has {LEAST_MIB} MiB at least");
        std::fs::create_dir_all(&what.out)
            .with_context(|| format!("cannot make {}", what.out.display()))?;
        Ok(Self {
            what,
            draw: Draw(what.seed),
            world: World::default(),
            set: Vec::new(),
            deeds: Vec::new(),
            victims: Vec::new(),
        })
    }

    /// A count of the recipe, in proportion to the size; never 0.
    fn count(&self, full: u64) -> u64 {
        (full * self.what.mib / FULL_MIB).max(1)
    }

    fn kind(&mut self) -> Kind {
        let mut drawn = self.draw.below(100);
        for (kind, share) in USERS {
            match drawn.checked_sub(share) {
                Some(rest) => drawn = rest,
                None => return kind,
            }
        }
        Kind::Text
    }

    /// Does what is to be done to the disk of a version; `given` is where new files lie.
    fn carry_out(&mut self, image: &Image, version: usize, given: &Path) -> anyhow::Result<()> {
        let deeds = std::mem::take(&mut self.deeds).concat();
        match self.what.changes {
            Changes::Tools => deeds::by_debugfs(image, &deeds, given, TIMES[version]),
            Changes::Guest => guest::by_guest(image, &deeds, given, TIMES[version]),
        }
    }
}

#[cfg(test)]
mod tests;

//! Timelines: changes of files, and what the disk's own logs tell, in one order.
//!
//! The changes are those of the change records. The logs are read, by a worker, on the disk as it was
//! captured first at or after the end of the time that is asked for, or last where there is none.
//!
//! An actor of a change is named only from evidence: an entry that names the path, or the package that
//! explains the change, and lies between the two captures between which it happened. Each claim has
//! its source. Where they name different users, that is told and nobody is chosen.

use super::asker::{Hear, understand};
use super::changes::{Change, ChangesAsked, changes};
use super::error::ImageError;
use super::examine::volume_path;
use super::order::{Disk, Order, VolumePath};
use super::shadow::Shadows;
use super::told::{Told, ToldEntry};
use super::vault::Vault;
use ::image::history::History;
use model::Timestamp;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::ops::ControlFlow;

/// The most entries that a worker may tell: what it holds itself, of 16 volumes.
const MAX_ENTRIES: usize = 8_000_000;

/// The most claims that are told of one change.
const MAX_CLAIMS: usize = 16;

/// A timeline.
#[derive(Debug, Default)]
pub struct Timeline {
    /// What happened, the oldest first.
    pub moments: Vec<Moment>,
    /// Whether there was more, and older than these.
    pub more: bool,
    /// What to know besides.
    pub notes: Vec<String>,
}

/// Something at a time.
#[derive(Debug)]
pub struct Moment {
    /// When, in nanoseconds since 1970.
    pub time: Timestamp,
    /// How sure that is: `exact`, `zone-assumed`, `year-assumed`; of changes `file-time`, what the file
    /// itself says, or `capture`, when it was captured and so not later.
    pub certainty: String,
    /// What.
    pub what: What,
    /// Of a change, who is named as its actor, and where.
    pub claims: Vec<Claim>,
    /// Whether the claims name different users.
    pub is_disputed: bool,
}

/// What happened.
#[derive(Debug)]
pub enum What {
    /// A file changed.
    Change(Box<Change>),
    /// The disk tells of something.
    Entry(Box<ToldEntry>),
}

/// That somebody did something, as an entry on the disk says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The user.
    pub user: String,
    /// The program.
    pub process: Option<String>,
    /// How much the source is worth.
    pub confidence: String,
    /// The file in which it stands.
    pub source: String,
    /// What stands there.
    pub text: String,
}

/// The last `limit` things of a time.
///
/// # Errors
/// There is no such image, or its history cannot be read.
pub fn timeline(
    shadows: &Shadows,
    asked: &ChangesAsked,
    limit: usize,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Timeline, ImageError> {
    let path = asked.path.as_deref().map(volume_path).transpose()?;
    let (entries, mut notes) = entries(shadows, asked)?;
    let mut latest = Latest::new(limit);
    let told = changes(shadows, asked, progress, &mut |change| {
        latest.push(change);
        Ok(ControlFlow::Continue(()))
    })?;
    notes.extend(told);
    let named = Named::of(&entries);
    let mut moments: Vec<Moment> = Vec::new();
    let mut more = latest.dropped;
    for Reverse(Placed { change, .. }) in latest.heap {
        moments.push(named.moment(change, &entries));
    }
    let wanted = entries
        .into_iter()
        .filter(|entry| concerns(path.as_ref(), entry));
    moments.extend(wanted.map(|entry| Moment {
        time: Timestamp::from_unix_ns(entry.time),
        certainty: entry.certainty.clone(),
        what: What::Entry(Box::new(entry)),
        claims: Vec::new(),
        is_disputed: false,
    }));
    moments.sort_by_key(|moment| moment.time);
    if let Some(superfluous) = moments.len().checked_sub(limit).filter(|many| *many > 0) {
        moments.drain(..superfluous);
        more = true;
    }
    Ok(Timeline {
        moments,
        more,
        notes,
    })
}

/// Whether an entry belongs to a timeline of a path: it names it, or says who was there and what was
/// installed.
fn concerns(path: Option<&VolumePath>, entry: &ToldEntry) -> bool {
    let Some(path) = path else {
        return true;
    };
    let is_frame = matches!(
        entry.kind.as_str(),
        "login" | "logout" | "login-refused" | "boot" | "package"
    );
    is_frame
        || entry.text.contains(&path.path.text())
        || entry
            .paths
            .iter()
            .any(|named| path.holds(&entry.volume, &named.0))
}

/// What the disk's logs tell of the time.
fn entries(
    shadows: &Shadows,
    asked: &ChangesAsked,
) -> Result<(Vec<ToldEntry>, Vec<String>), ImageError> {
    let Vault { blobs, .. } = shadows.read(&asked.image)?;
    let (history, _) = History::open_sound(&*blobs)?;
    let mut changesets = history.changesets().iter().map(|one| &one.changeset);
    let until = asked.until;
    let last = history.changesets().last().map(|one| &one.changeset);
    let at = changesets.find(|one| until.is_some_and(|until| one.taken >= until));
    let Some(version) = at.or(last) else {
        return Ok((Vec::new(), Vec::new()));
    };
    let order = Order::Evidence {
        disk: Disk::Version(version.sequence),
        since: asked.since.map_or(i64::MIN, Timestamp::unix_ns),
        until: asked.until.map_or(i64::MAX, Timestamp::unix_ns),
    };
    let mut heard = Heard::default();
    let blobs = Some(&*blobs);
    let size_bytes = version.disk_bytes;
    shadows
        .worker
        .carry_out(&order, &[], size_bytes, blobs, &mut heard)?;
    Ok((heard.entries, heard.notes))
}

#[derive(Default)]
struct Heard {
    entries: Vec<ToldEntry>,
    notes: Vec<String>,
}

impl Hear for Heard {
    fn item(&mut self, json: &[u8]) -> Result<(), ImageError> {
        match understand(json)? {
            Told::Note(note) => self.notes.push(note),
            Told::Volume(_) => {}
            Told::Entries(mut entries) => self.entries.append(&mut entries),
            _ => {
                return Err(ImageError::Worker(
                    "it tells what nobody asked for".to_owned(),
                ));
            }
        }
        if self.entries.len() > MAX_ENTRIES {
            return Err(ImageError::Worker(
                "it tells of too many entries".to_owned(),
            ));
        }
        Ok(())
    }
}

/// A change, and when it happened as far as can be told.
struct Placed {
    time: i64,
    change: Change,
}

impl PartialEq for Placed {
    fn eq(&self, other: &Self) -> bool {
        self.time == other.time
    }
}

impl Eq for Placed {}

impl PartialOrd for Placed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Placed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.time.cmp(&other.time)
    }
}

/// The latest changes of all.
struct Latest {
    heap: BinaryHeap<Reverse<Placed>>,
    limit: usize,
    dropped: bool,
}

impl Latest {
    fn new(limit: usize) -> Self {
        Self {
            heap: BinaryHeap::new(),
            limit,
            dropped: false,
        }
    }

    fn push(&mut self, change: Change) {
        let (time, _) = time_of(&change);
        self.heap.push(Reverse(Placed { time, change }));
        if self.heap.len() > self.limit {
            self.heap.pop();
            self.dropped = true;
        }
    }
}

/// When a change happened: what the file says where that lies between the two captures, else not
/// later than the capture.
fn time_of(change: &Change) -> (i64, &'static str) {
    let (after, until) = (change.after.unix_ns(), change.until.unix_ns());
    let said = change.record.after.and_then(|state| {
        let (seconds, nanoseconds) = state.changed;
        let time = seconds.checked_mul(1_000_000_000)?;
        time.checked_add(nanoseconds.into())
    });
    match said {
        Some(time) if time > after && time <= until => (time, "file-time"),
        _ => (until, "capture"),
    }
}

/// Entries by what they name.
struct Named<'e> {
    paths: HashMap<&'e [u8], Vec<usize>>,
    packages: HashMap<&'e str, Vec<usize>>,
}

impl<'e> Named<'e> {
    fn of(entries: &'e [ToldEntry]) -> Self {
        let mut named = Self {
            paths: HashMap::new(),
            packages: HashMap::new(),
        };
        for (place, entry) in entries.iter().enumerate() {
            if entry.actor.is_none() {
                continue;
            }
            for path in &entry.paths {
                named.paths.entry(&path.0).or_default().push(place);
            }
            for package in &entry.packages {
                named.packages.entry(package).or_default().push(place);
            }
        }
        named
    }

    fn moment(&self, change: Change, entries: &[ToldEntry]) -> Moment {
        let record = &change.record;
        let by_path = [Some(&record.path), record.from.as_ref()];
        let by_path = by_path.into_iter().flatten();
        let by_path = by_path.filter_map(|path| self.paths.get(path.as_slice()));
        let package = record.explanation.as_ref();
        let package = package.filter(|one| one.standing.is_explained());
        let package = package.map(|one| one.package.split(':').next().unwrap_or_default());
        let by_package = package.and_then(|package| self.packages.get(package));
        let (after, until) = (change.after.unix_ns(), change.until.unix_ns());
        let places = by_path.chain(by_package).flatten();
        let mut claims: Vec<Claim> = places
            .filter_map(|place| entries.get(*place))
            .filter(|entry| entry.time > after && entry.time <= until)
            .filter_map(claim)
            .collect();
        claims.dedup();
        claims.truncate(MAX_CLAIMS);
        let first = claims.first().map(|claim| claim.user.clone());
        let is_disputed = claims
            .iter()
            .any(|claim| Some(&claim.user) != first.as_ref());
        let (time, certainty) = time_of(&change);
        Moment {
            time: Timestamp::from_unix_ns(time),
            certainty: certainty.to_owned(),
            what: What::Change(Box::new(change)),
            claims,
            is_disputed,
        }
    }
}

fn claim(entry: &ToldEntry) -> Option<Claim> {
    let actor = entry.actor.as_ref()?;
    Some(Claim {
        user: actor.user.clone(),
        process: actor.process.clone(),
        confidence: actor.confidence.clone(),
        source: entry.source.text(),
        text: entry.text.clone(),
    })
}

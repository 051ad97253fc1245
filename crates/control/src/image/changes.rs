//! What changed under a path since a time: out of change records, which are made from the history
//! where they are lacking.
//!
//! Records are made when they are first asked for, so that captures stay fast: a worker compares the
//! two versions, and what it tells of files is kept beside the history. Where somebody else writes
//! to the image, they are made for this one question, and kept by the next.

use super::asker::Hear;
use super::error::ImageError;
use super::examine::{FileList, volume_path};
use super::order::{Disk, Order};
use super::shadow::Shadows;
use super::told::{ToldEvent, ToldExplanation, ToldFile};
use super::vault::Vault;
use ::image::blobs::{Blobs, MemoryBlobs};
use ::image::changeset::Changeset;
use ::image::history::History;
use ::image::records::{
    ChangeKind, ChangeRecord, Explanation, Fields, FileState, Question, RANGES_KEPT, Records,
    RecordsError, Standing,
};
use model::Timestamp;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use store::{Shelf, StoreError};

/// How often damaged records are thrown away and made again for one question.
const REPAIRS_MAX: usize = 16;

/// What is asked of an image's changes.
#[derive(Debug, Clone, Default)]
pub struct ChangesAsked {
    /// The image's name.
    pub image: String,
    /// `/path`, or `VOLUME:/path`; all where absent.
    pub path: Option<String>,
    /// What may have happened after this.
    pub since: Option<Timestamp>,
    /// What may have happened before this.
    pub until: Option<Timestamp>,
}

/// A change, and between which captures it happened.
#[derive(Debug, Clone)]
pub struct Change {
    /// What happened.
    pub record: ChangeRecord,
    /// When the capture was taken that does not have it.
    pub after: Timestamp,
    /// When the capture was taken that has it.
    pub until: Timestamp,
}

/// Gives `take` all changes that are asked for, by volume and path, and of one path the oldest
/// first; until it breaks off. Returns what to know besides.
///
/// # Errors
/// There is no such image, its history cannot be read, or `take` fails.
pub fn changes(
    shadows: &Shadows,
    asked: &ChangesAsked,
    progress: &mut dyn FnMut(u64, u64),
    take: &mut dyn FnMut(Change) -> Result<ControlFlow<()>, ImageError>,
) -> Result<Vec<String>, ImageError> {
    let mut kept = Kept::open(shadows, &asked.image)?;
    kept.complete(shadows, progress)?;
    let question = kept.question(asked)?;
    let mut given = 0;
    for _ in 0..REPAIRS_MAX {
        let error = match kept.give(&question, &mut given, take)? {
            None => return Ok(kept.notes),
            Some(error) => error,
        };
        tracing::warn!(%error, "change records are damaged and made again");
        kept.throw_away(shadows, &error)?;
        kept.complete(shadows, progress)?;
    }
    Err(ImageError::Worker("change records stay damaged".to_owned()))
}

/// Where changes go, one after the other, in a form of its own.
pub trait ChangeSink {
    /// Takes a change.
    ///
    /// # Errors
    /// It cannot be written.
    fn put(&mut self, change: &Change) -> Result<(), ImageError>;

    /// Writes what is not written yet: there are no more.
    ///
    /// # Errors
    /// It cannot be written.
    fn end(self: Box<Self>) -> Result<(), ImageError>;
}

/// Writes changes into a file that is not there yet, in the form of the sink that `begin` makes of
/// it: aside, and named when it is whole. Returns how many there are, and what to know besides.
///
/// # Errors
/// As of [`changes`], or the file cannot be written.
pub fn export_changes(
    shadows: &Shadows,
    asked: &ChangesAsked,
    to: &Path,
    progress: &mut dyn FnMut(u64, u64),
    begin: impl FnOnce(BufWriter<File>) -> Result<Box<dyn ChangeSink>, ImageError>,
) -> Result<(u64, Vec<String>), ImageError> {
    let file = block::NewFile::create(to).map_err(ImageError::file("make", to))?;
    let output = file.file().try_clone();
    let mut sink = begin(BufWriter::new(
        output.map_err(ImageError::file("make", to))?,
    ))?;
    let mut count = 0_u64;
    let notes = changes(shadows, asked, progress, &mut |change| {
        count = count.saturating_add(1);
        sink.put(&change)?;
        Ok(ControlFlow::Continue(()))
    })?;
    sink.end()?;
    file.keep().map_err(ImageError::file("write", to))?;
    Ok((count, notes))
}

/// The records of an image, and what they are made from.
struct Kept {
    name: String,
    shelf: Arc<Shelf>,
    history: History,
    /// What the history lies in.
    kept: Arc<dyn Blobs>,
    /// What the records lie in.
    blobs: Arc<dyn Blobs>,
    records: Records,
    notes: Vec<String>,
}

impl Kept {
    fn open(shadows: &Shadows, name: &str) -> Result<Self, ImageError> {
        let Vault { shelf, blobs } = shadows.read(name)?;
        let (history, damage) = History::open_sound(&*blobs)?;
        let note = |error| format!("{name} is damaged, what follows cannot be read: {error}");
        let notes = damage.map(note).into_iter().collect();
        let records = Records::open(&blobs, &history)?;
        Ok(Self {
            name: name.to_owned(),
            shelf,
            history,
            kept: Arc::clone(&blobs),
            blobs,
            records,
            notes,
        })
    }

    /// Makes the records that are lacking.
    fn complete(
        &mut self,
        shadows: &Shadows,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), ImageError> {
        if self.records.missing().is_empty() {
            return Ok(());
        }
        // As the one writer, if there is none: another may have made them meanwhile.
        match shadows.write(&self.name) {
            Ok(Vault { shelf, blobs }) => {
                self.shelf = shelf;
                self.kept = Arc::clone(&blobs);
                self.blobs = blobs;
                self.history = History::open_sound(&*self.kept)?.0;
                self.records = Records::open(&self.blobs, &self.history)?;
                self.records.sweep(&*self.blobs)?;
            }
            Err(ImageError::Store(StoreError::ImageBusy { .. })) => {
                self.blobs = Arc::new(MemoryBlobs::default());
            }
            Err(error) => return Err(error),
        }
        let missing = self.records.missing();
        for (done, sequence) in (0_u64..).zip(&missing) {
            progress(done, missing.len() as u64);
            let records = self.happened(shadows, *sequence)?;
            self.records.add(&self.blobs, *sequence, &records)?;
        }
        self.release(shadows)
    }

    /// Gives the writer's lock back.
    fn release(&mut self, shadows: &Shadows) -> Result<(), ImageError> {
        if self.shelf.is_writer() {
            let Vault { shelf, blobs } = shadows.read(&self.name)?;
            self.shelf = shelf;
            self.kept = Arc::clone(&blobs);
            self.blobs = blobs;
            self.records = Records::open(&self.blobs, &self.history)?;
        }
        Ok(())
    }

    /// What happened between a changeset and the one before it, as a worker tells.
    fn happened(
        &mut self,
        shadows: &Shadows,
        sequence: u64,
    ) -> Result<Vec<ChangeRecord>, ImageError> {
        let before = sequence.saturating_sub(1);
        let order = Order::Compare {
            before: Disk::Version(before),
            after: Disk::Version(sequence),
        };
        let size = |sequence| self.changeset(sequence).map_or(0, |one| one.disk_bytes);
        let size_bytes = size(before).saturating_add(size(sequence));
        let mut found = FileList::default();
        let blobs = Some(&*self.kept);
        let hear: &mut dyn Hear = &mut found;
        shadows
            .worker
            .carry_out(&order, &[], size_bytes, blobs, hear)?;
        let notes = found
            .notes
            .iter()
            .map(|note| format!("#{sequence}: {note}"));
        self.notes.extend(notes);
        let records = found.events.iter().map(|event| record(sequence, event));
        records.collect()
    }

    fn changeset(&self, sequence: u64) -> Option<&Changeset> {
        let mut all = self.history.changesets().iter().map(|one| &one.changeset);
        all.find(|one| one.sequence == sequence)
    }

    /// Removes a damaged run.
    fn throw_away(&mut self, shadows: &Shadows, error: &RecordsError) -> Result<(), ImageError> {
        let RecordsError::Damaged { blob, .. } = error else {
            return Ok(());
        };
        // Whoever writes to the image is not waited for.
        shadows.write(&self.name)?.blobs.remove(blob)?;
        self.records = Records::open(&self.blobs, &self.history)?;
        Ok(())
    }

    /// What is asked, in changesets.
    fn question(&self, asked: &ChangesAsked) -> Result<Question, ImageError> {
        let path = asked.path.as_deref().map(volume_path).transpose()?;
        let changesets = || self.history.changesets().iter().map(|one| &one.changeset);
        let first = asked.since.map(|since| {
            let later = changesets().find(|one| one.taken > since);
            later.map_or(u64::MAX, |one| one.sequence)
        });
        // A change of the first capture after the end may have happened before the end.
        let last = asked.until.map(|until| {
            let later = changesets().find(|one| one.taken >= until);
            later.map_or(u64::MAX, |one| one.sequence)
        });
        Ok(Question {
            volume: path.as_ref().and_then(|path| path.volume.clone()),
            path: path.map(|path| path.path.0),
            first,
            last,
        })
    }

    /// Gives answers, but for those that were given already. Returns what broke it off.
    fn give(
        &self,
        question: &Question,
        given: &mut usize,
        take: &mut dyn FnMut(Change) -> Result<ControlFlow<()>, ImageError>,
    ) -> Result<Option<RecordsError>, ImageError> {
        let answers = match self.records.ask(question) {
            Err(error @ RecordsError::Damaged { .. }) => return Ok(Some(error)),
            answers => answers?,
        };
        let changesets = self.history.changesets().iter().map(|one| &one.changeset);
        let taken: BTreeMap<u64, Timestamp> =
            changesets.map(|one| (one.sequence, one.taken)).collect();
        let taken = |sequence| {
            let found = taken.get(&sequence).copied();
            found.unwrap_or(Timestamp::from_unix_ns(0))
        };
        for answer in answers.skip(*given) {
            let record = match answer {
                Err(error @ RecordsError::Damaged { .. }) => return Ok(Some(error)),
                record => record?,
            };
            *given += 1;
            let change = Change {
                after: taken(record.sequence.saturating_sub(1)),
                until: taken(record.sequence),
                record,
            };
            if take(change)?.is_break() {
                break;
            }
        }
        Ok(None)
    }
}

/// What a worker told, as a record.
fn record(sequence: u64, event: &ToldEvent) -> Result<ChangeRecord, ImageError> {
    let odd = |what: &str| ImageError::Worker(format!("it tells of a file {what}"));
    let change = ChangeKind::from_name(&event.change).ok_or_else(|| odd("what there is not"))?;
    let named = [Some(&event.path), event.from.as_ref()];
    let has_zero = |name: &&[u8]| name.contains(&0);
    let mut names = named.into_iter().flatten().map(|name| name.0.as_slice());
    if event.volume.contains('\0') || names.any(|name| has_zero(&name)) {
        return Err(odd("with a name that cannot be"));
    }
    let ranges = event
        .ranges
        .iter()
        .map(|(start, end)| *start..(*end).max(*start));
    let bytes = ranges.clone().map(|range| range.end - range.start);
    Ok(ChangeRecord {
        sequence,
        volume: event.volume.as_str().into(),
        path: event.path.0.clone(),
        change,
        from: event.from.as_ref().map(|from| from.0.clone()),
        ranges_all: event.ranges.len() as u64,
        changed_bytes: bytes.fold(0, u64::saturating_add),
        ranges: ranges.take(RANGES_KEPT).collect(),
        fields: Fields::named(event.fields.iter().map(String::as_str)),
        before: event.before.as_ref().map(state),
        after: event.after.as_ref().map(state),
        explanation: event.explanation.as_ref().and_then(explanation),
    })
}

fn state(file: &ToldFile) -> FileState {
    FileState {
        size_bytes: file.size_bytes,
        mode: file.mode,
        uid: file.uid,
        gid: file.gid,
        modified: file.modified,
        changed: file.changed,
    }
}

fn explanation(told: &ToldExplanation) -> Option<Explanation> {
    Some(Explanation {
        standing: Standing::from_name(&told.standing)?,
        package: told.package.clone(),
        before: told.before.clone(),
        after: told.after.clone(),
    })
}

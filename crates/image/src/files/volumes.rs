//! The files of whole disks: all volumes, each by itself, so that damage in one leaves the others.

use crate::files::ahead::{Aside, both};
use crate::files::diff::{Diff, diff};
use crate::files::differences::{Differences, differing};
use crate::files::keeping::Keeping;
use crate::files::system::{FileSystem, FilesError};
use crate::files::{ExtFiles, Files, OtherFiles, Ranges};
use disk::partition::PartitionError;
use disk::volume::{Place, Volume, VolumeKind, Volumes, volumes};
use disk::{ReadAt as _, ReadError, Source};
use std::ops::Range;
use std::sync::Arc;

/// A volume, and the files on it.
#[derive(Debug)]
pub struct VolumeFiles {
    /// The volume.
    pub volume: Volume,
    /// Its files, or why they are not told of: blocks are all the same.
    pub files: Result<Files, FilesError>,
}

/// What is on disks that belong together.
#[derive(Debug, Default)]
pub struct DiskFiles {
    /// The volumes, in the order of [`Volumes`].
    pub volumes: Vec<VolumeFiles>,
    /// Where partition tables and the metadata of LVM2 lie.
    pub metadata: Vec<Place>,
    /// What is wrong with partition tables, by the disk's number.
    pub damage: Vec<(usize, PartitionError)>,
    /// The sizes of the disks.
    pub sizes_bytes: Vec<u64>,
}

impl DiskFiles {
    /// Reads all volumes, and the trees of those that can be read. What cannot be is told of in its
    /// place. What tells of files lies all over a disk: it is read in the order in which it lies there.
    #[must_use]
    pub fn read(disks: &[Source]) -> Self {
        let disks: Vec<_> = disks.iter().map(Arc::clone).map(Keeping::new).collect();
        let disks: Vec<_> = disks.into_iter().map(Arc::new).collect();
        Self::read_kept(&disks)
    }

    /// Likewise, of disks that keep what will be read again, until it was.
    fn read_kept(kept: &[Arc<Keeping>]) -> Self {
        let disks: Vec<_> = kept.iter().map(|one| Arc::clone(one) as Source).collect();
        let Volumes {
            volumes,
            metadata,
            damage,
        } = volumes(&disks);
        let each = volumes.into_iter().map(|volume| VolumeFiles {
            files: files(&volume, kept),
            volume,
        });
        let read = Self {
            volumes: each.collect(),
            metadata,
            damage,
            sizes_bytes: disks.iter().map(|disk| disk.size_bytes()).collect(),
        };
        kept.iter().for_each(|disk| disk.forget());
        read
    }

    /// The volume of a name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&VolumeFiles> {
        self.volumes.iter().find(|one| one.volume.name == name)
    }

    /// The volumes whose files can be told of.
    pub fn readable(&self) -> impl Iterator<Item = (&Volume, &Files)> {
        let each = self.volumes.iter();
        each.filter_map(|one| Some((&one.volume, one.files.as_ref().ok()?)))
    }
}

fn files(volume: &Volume, disks: &[Arc<Keeping>]) -> Result<Files, FilesError> {
    Files::read_with(system(volume)?, &mut |directories| {
        for part in directories {
            want(volume, disks, &part);
        }
        disks.iter().for_each(|disk| disk.fetch());
    })
}

/// The way to the files of a volume.
fn system(volume: &Volume) -> Result<Arc<dyn FileSystem>, FilesError> {
    let source = match &volume.source {
        Ok(source) => Arc::clone(source),
        Err(error) => return Err(FilesError::Volume(error.to_string())),
    };
    if let Some(damage) = &volume.damage {
        return Err(FilesError::Volume(damage.to_string()));
    }
    match volume.kind {
        VolumeKind::Ext => Ok(Arc::new(ExtFiles::open(source)?)),
        kind => match disk::system::open(kind, source) {
            Some(system) => Ok(Arc::new(OtherFiles::new(system?))),
            None => Err(FilesError::NotRead(kind)),
        },
    }
}

/// What happened on a volume.
#[derive(Debug)]
pub struct VolumeDiff {
    /// Its name.
    pub name: String,
    /// What it holds now; or held, if it is gone.
    pub kind: VolumeKind,
    /// How much of it may differ.
    pub dirty_bytes: u64,
    /// What happened to its files, or why that is not told.
    pub files: Result<Diff, FilesError>,
}

/// Tells what happened on each volume, which is found again by its name. `dirty` are the parts of
/// each disk that may differ.
#[must_use]
pub fn diff_disks(before: &DiskFiles, after: &DiskFiles, dirty: &[Differences]) -> Vec<VolumeDiff> {
    let mut found = Vec::new();
    for now in &after.volumes {
        let volume = &now.volume;
        let was = before.named(&volume.name);
        // A volume that lies elsewhere now may differ anywhere.
        let moved = was.is_none_or(|was| was.volume.places != volume.places);
        let dirty = match moved {
            true => Ranges::all(volume.size_bytes()).into(),
            false => Differences::in_volume(&volume.places, dirty),
        };
        found.push(VolumeDiff {
            name: volume.name.clone(),
            kind: volume.kind,
            dirty_bytes: dirty.blocks.bytes(),
            files: files_of(was, now, &dirty),
        });
    }
    let gone = before
        .volumes
        .iter()
        .filter(|was| after.named(&was.volume.name).is_none());
    found.extend(gone.map(|was| VolumeDiff {
        name: was.volume.name.clone(),
        kind: was.volume.kind,
        dirty_bytes: 0,
        files: Err(FilesError::Volume("it is not there any more".to_owned())),
    }));
    found
}

fn files_of(
    was: Option<&VolumeFiles>,
    now: &VolumeFiles,
    dirty: &Differences,
) -> Result<Diff, FilesError> {
    let was = was.ok_or_else(|| FilesError::Volume("it was not there before".to_owned()))?;
    let files = |side: &'_ VolumeFiles| match &side.files {
        Ok(files) => Ok(files.clone()),
        Err(FilesError::NotRead(kind)) => Err(FilesError::NotRead(*kind)),
        Err(error) => Err(FilesError::Volume(error.to_string())),
    };
    diff(&files(was)?, &files(now)?, dirty)
}

/// Two disks: what is on them, and where they differ.
#[derive(Debug)]
pub struct Compared {
    /// What is on the first.
    pub before: DiskFiles,
    /// What is on the other.
    pub after: DiskFiles,
    /// Where they differ.
    pub dirty: Differences,
}

impl Compared {
    /// What happened on each volume.
    #[must_use]
    pub fn diff(&self) -> Vec<VolumeDiff> {
        diff_disks(&self.before, &self.after, std::slice::from_ref(&self.dirty))
    }
}

/// Compares two disks, and reads what is on them. Each is read once, from its beginning to its end:
/// what tells of files lies all over a disk, and is kept on the way. `aside` is asked for two threads
/// at a time.
///
/// # Errors
/// A disk cannot be read.
pub fn compare_disks(
    before: &Source,
    after: &Source,
    aside: Aside<'_>,
) -> Result<Compared, ReadError> {
    let [before, after] = [before, after].map(|side| [Arc::new(Keeping::new(Arc::clone(side)))]);
    let first = before.clone();
    both(aside, move || want_listed(&first), || want_listed(&after))?;
    let [one, other] = [&before, &after].map(|[side]| Arc::clone(side) as Source);
    let dirty = differing(&one, &other, aside)?;
    let read_before = move || DiskFiles::read_kept(&before);
    let (before, after) = both(aside, read_before, || DiskFiles::read_kept(&after))?;
    Ok(Compared {
        before,
        after,
        dirty,
    })
}

/// Asks disks to keep what their listing will read, and nothing else from now on.
fn want_listed(disks: &[Arc<Keeping>]) {
    let sources: Vec<_> = disks.iter().map(|one| Arc::clone(one) as Source).collect();
    let found = volumes(&sources);
    for volume in &found.volumes {
        // Why one cannot be read is told when it is.
        let Ok(system) = system(volume) else {
            continue;
        };
        system.listed(&mut |part| want(volume, disks, &part));
    }
    for disk in disks {
        disk.keep_only_wanted();
    }
}

/// Asks disks to keep a part of a volume.
fn want(volume: &Volume, disks: &[Arc<Keeping>], part: &Range<u64>) {
    let mut offset = 0u64;
    for place in &volume.places {
        let end = offset.saturating_add(place.bytes);
        let common = part.start.max(offset)..part.end.min(end);
        let to_disk = |byte: u64| byte.saturating_sub(offset).saturating_add(place.start);
        if !common.is_empty()
            && let Some(disk) = disks.get(place.disk)
        {
            disk.want(to_disk(common.start)..to_disk(common.end));
        }
        offset = end;
    }
}

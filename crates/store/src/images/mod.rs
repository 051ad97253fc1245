//! The histories of disks: a directory for each image, with its packs and changesets.
//!
//! ```text
//! DIR/images/              0700
//! └── NAME/                0700  one image
//!     ├── image.json       0600  what it is: replaced as a whole
//!     ├── packs/…          0600  see the crate `image`
//!     ├── changesets/…     0600
//!     ├── records/…        0600  what happened to files: made again where it is lacking
//!     ├── staging/N        0600  content on its way; swept by the next writer
//!     └── lock             0600  locked for as long as its writer lives; says which process it is
//! ```
//!
//! An image is made aside (`.new-ID`) and moved to its name; it is moved aside (`.gone-ID`) and then
//! removed. So under a name there is a whole image or none, whenever we are killed. What was left
//! aside goes with the next image that is made or removed.

mod folder;
mod lock;
mod name;
mod record;
mod shelf;

pub use name::IMAGE_NAME_BYTES_MAX;
pub use record::{ImageRecord, ImageSource};
pub use shelf::Shelf;

use crate::directory::{Directory, private_directory};
use crate::error::StoreError;
use crate::store::Store;
pub(crate) use folder::Folder;
use lock::Taken;
use shelf::{STAGING, Writer};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// What the names of images that are being made begin with.
const NEW: &str = ".new-";

/// What the names of images that are being removed begin with.
const GONE: &str = ".gone-";

/// The images of a store.
#[derive(Debug, Clone)]
pub struct Images {
    path: PathBuf,
}

impl Store {
    /// The images of this store.
    ///
    /// # Errors
    /// Their directory cannot be made.
    pub fn images(&self) -> Result<Images, StoreError> {
        Images::of(&self.shared.directory)
    }
}

impl Images {
    /// The images of the store in a directory, which is made where it is absent.
    ///
    /// # Errors
    /// The directory is another's or holds something else, or the file system refuses.
    pub fn open(store_root: &Path) -> Result<Self, StoreError> {
        Self::of(&Directory::open(store_root)?)
    }

    fn of(directory: &Directory) -> Result<Self, StoreError> {
        let path = directory.root().join("images");
        if !path.is_dir() {
            private_directory(&path)?;
            crate::directory::sync(directory.root())?;
        }
        private_directory(&path)?;
        Ok(Self { path })
    }

    /// The names of all images, in order.
    ///
    /// # Errors
    /// They cannot be listed.
    pub fn names(&self) -> Result<Vec<String>, StoreError> {
        let entries = Folder::open(&self.path)?.entries()?.into_iter();
        let images = entries.filter(|entry| entry.is_folder && name::is_name(&entry.name));
        Ok(images.map(|entry| entry.name).collect())
    }

    /// Makes an image, and returns the shelf of its writer.
    ///
    /// # Errors
    /// The name is none, is not the record's, or is taken; or it cannot be made durable.
    pub fn create(&self, name: &str, record: &ImageRecord) -> Result<Shelf, StoreError> {
        name::check(name)?;
        if record.name != name {
            return Err(StoreError::ImageName {
                name: record.name.clone(),
            });
        }
        let all = Folder::open(&self.path)?;
        let guard = lock::guard(&all)?;
        let gone = set_aside(&all)?;
        if all.folder(name)?.is_some() {
            return Err(taken(name));
        }
        let aside = format!("{NEW}{}", Uuid::now_v7());
        let made = self.make(&all, &aside, name, record);
        drop(guard);
        if made.is_err() {
            self.remove_aside(std::slice::from_ref(&aside)).ok();
        }
        self.remove_aside(&gone)?;
        made
    }

    /// Makes an image aside and moves it to its name.
    fn make(
        &self,
        all: &Folder,
        aside: &str,
        name: &str,
        record: &ImageRecord,
    ) -> Result<Shelf, StoreError> {
        let folder = all.make_folder(aside)?;
        let Taken::Ours(lock) = lock::take(&folder)? else {
            return Err(busy(name, None));
        };
        let writer = Writer::start(&folder, lock)?;
        folder.write_new(record::FILE, &record.encode()?)?;
        folder.sync()?;
        if !all.rename_to_free(aside, name)? {
            return Err(taken(name));
        }
        let folder = all.folder(name)?.ok_or_else(|| missing(name))?;
        let staging = folder.folder(STAGING)?.ok_or_else(|| missing(name))?;
        let writer = Writer { staging, ..writer };
        Ok(Shelf::new(folder, record.clone(), Some(writer)))
    }

    /// The shelf of an image, for reading. Nobody is waited for.
    ///
    /// # Errors
    /// There is none of this name, or its record cannot be read.
    pub fn read(&self, name: &str) -> Result<Shelf, StoreError> {
        let folder = self.folder(name)?;
        let record = ImageRecord::read(&folder, name)?.ok_or_else(|| missing(name))?;
        Ok(Shelf::new(folder, record, None))
    }

    /// The shelf of an image for its one writer. What a killed writer left aside is removed.
    ///
    /// # Errors
    /// There is none of this name, another process writes to it, or its record cannot be read.
    pub fn write(&self, name: &str) -> Result<Shelf, StoreError> {
        let folder = self.folder(name)?;
        let lock = self.lock(&folder, name)?;
        let record = ImageRecord::read(&folder, name)?.ok_or_else(|| missing(name))?;
        let writer = Writer::start(&folder, lock)?;
        Ok(Shelf::new(folder, record, Some(writer)))
    }

    /// Removes an image with all that it holds: at once from its name, then from the disk.
    ///
    /// # Errors
    /// There is none of this name, a process writes to it, or it cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        let folder = self.folder(name)?;
        // Held until all is gone.
        let _lock = self.lock(&folder, name)?;
        let all = Folder::open(&self.path)?;
        let guard = lock::guard(&all)?;
        let mut gone = set_aside(&all)?;
        let aside = format!("{GONE}{}", Uuid::now_v7());
        all.rename_to_free(name, &aside)?;
        drop(guard);
        gone.push(aside);
        self.remove_aside(&gone)
    }

    fn folder(&self, name: &str) -> Result<Folder, StoreError> {
        name::check(name)?;
        let folder = Folder::open(&self.path)?.folder(name)?;
        folder.ok_or_else(|| missing(name))
    }

    /// Takes the writer's lock of an image that is still where it was found.
    fn lock(&self, folder: &Folder, name: &str) -> Result<lock::Held, StoreError> {
        let _guard = match lock::guard(folder) {
            Err(_) if !folder.is_at_its_path() => return Err(missing(name)),
            guard => guard?,
        };
        if !folder.is_at_its_path() {
            return Err(missing(name));
        }
        match lock::take(folder)? {
            Taken::Ours(lock) => Ok(lock),
            Taken::Others(pid) => Err(busy(name, pid)),
        }
    }

    /// Removes directories that were moved aside.
    fn remove_aside(&self, names: &[String]) -> Result<(), StoreError> {
        for name in names {
            let path = self.path.join(name);
            match std::fs::remove_dir_all(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::io("remove", &path, e));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// What was left aside by those who were killed. All directories are guarded by the caller, so what
/// is being made is made by nobody any more.
fn set_aside(all: &Folder) -> Result<Vec<String>, StoreError> {
    let mut gone = Vec::new();
    for entry in all.entries()? {
        if let Some(id) = entry.name.strip_prefix(NEW) {
            let aside = format!("{GONE}{id}");
            all.rename_to_free(&entry.name, &aside)?;
            gone.push(aside);
        } else if entry.name.starts_with(GONE) {
            gone.push(entry.name);
        }
    }
    Ok(gone)
}

fn missing(name: &str) -> StoreError {
    let name = name.to_owned();
    StoreError::ImageMissing { name }
}

fn taken(name: &str) -> StoreError {
    let name = name.to_owned();
    StoreError::ImageTaken { name }
}

fn busy(name: &str, pid: Option<i32>) -> StoreError {
    let name = name.to_owned();
    StoreError::ImageBusy { name, pid }
}

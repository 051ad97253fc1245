//! The handle: every call of the store, each on a thread that may block.
//!
//! One handle has one database connection, used by one call at a time, and at most one writer,
//! registered by the first call that writes. A call that is dropped halfway leaves at worst a
//! pending blob, which a sweep removes once this process is gone.

use crate::blobs::BlobFiles;
use crate::database;
use crate::directory::Directory;
use crate::error::StoreError;
use crate::writer::Writer;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

/// How large a store may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes on disk above which [`Store::prune_to_limit`] removes blobs.
    pub max_bytes: u64,
}

impl Default for Limits {
    /// 4 GiB.
    fn default() -> Self {
        Self { max_bytes: 4 << 30 }
    }
}

/// An open store. Cheap to clone: clones share one connection and one writer.
///
/// ```no_run
/// # async fn example(event: model::Event, now: model::Timestamp) -> Result<(), store::StoreError> {
/// use store::{Limits, Store};
/// let store = Store::open("/var/lib/vardoger", Limits::default()).await?;
/// store.put_blob("runs/1/majority.state", b"evidence".to_vec()).await?;
/// let record = store.append(event, now).await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) directory: Directory,
    pub(crate) files: BlobFiles,
    pub(crate) limits: Limits,
    /// How many contents this handle has staged: the name of the next.
    pub(crate) staged: AtomicU64,
    session: Mutex<Session>,
}

/// What one call at a time uses.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) connection: Connection,
    writer: Option<Writer>,
}

impl Session {
    /// This handle's writer, registered now if it was not yet.
    pub(crate) fn writer(&mut self, directory: &Directory) -> Result<String, StoreError> {
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => Writer::register(directory)?,
        };
        let id = writer.id().to_string();
        self.writer = Some(writer);
        Ok(id)
    }

    /// The writer's id, or a text that is no writer's where nothing was written yet.
    pub(crate) fn writer_so_far(&self) -> String {
        let writer = self.writer.as_ref();
        writer.map_or_else(String::new, |writer| writer.id().to_string())
    }
}

impl Store {
    /// Opens the store in `path`, made where it is absent, and finishes what killed processes left
    /// undone: blobs that no event names, and removals of pruned blobs.
    ///
    /// # Errors
    /// The directory is another's, holds something else, has a newer format or is damaged, or the
    /// file system refuses.
    pub async fn open(path: impl Into<PathBuf>, limits: Limits) -> Result<Self, StoreError> {
        let path = path.into();
        let opened = tokio::task::spawn_blocking(move || Self::open_blocking(&path, limits));
        let store = opened.await.map_err(|_| StoreError::BrokenOff)??;
        match store.sweep_orphans().await {
            // What is there can still be read, and pruned.
            Err(StoreError::Full { path }) => {
                tracing::warn!(path = %path.display(), "No space is left to tidy up the store.");
            }
            other => drop(other?),
        }
        Ok(store)
    }

    fn open_blocking(path: &Path, limits: Limits) -> Result<Self, StoreError> {
        let directory = Directory::open(path)?;
        let connection =
            database::open(&directory.database()).map_err(|e| e.located(directory.root()))?;
        let files = BlobFiles::open(&directory)?;
        Ok(Self {
            shared: Arc::new(Shared {
                directory,
                files,
                limits,
                staged: AtomicU64::new(0),
                session: Mutex::new(Session {
                    connection,
                    writer: None,
                }),
            }),
        })
    }

    /// The store's directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.shared.directory.root()
    }

    /// One commit by this handle's writer.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection, &str) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.call(move |session, directory| {
            let writer = session.writer(directory)?;
            let transaction = database::write(&mut session.connection)?;
            let outcome = work(&transaction, &writer)?;
            transaction.commit()?;
            Ok(outcome)
        })
        .await
    }

    /// One question.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Session, &Directory) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.call(move |session, directory| work(session, directory))
            .await
    }

    /// Runs `work` on a thread that may block.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Session, &Directory) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        let called = tokio::task::spawn_blocking(move || {
            // A call that panicked has rolled its transaction back: the session is sound.
            let mut session = shared
                .session
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let outcome = work(&mut session, &shared.directory);
            outcome.map_err(|e| e.located(shared.directory.root()))
        });
        called.await.map_err(|_| StoreError::BrokenOff)?
    }
}

//! Histories that are kept well: sealed, checked, anchored, and not longer than wanted.

use super::error::ImageError;
use super::shadow::Shadows;
use super::vault::Vault;
use ::image::blobs::Blobs;
use ::image::check::{Level, Report, check as look};
use ::image::forget::{Swept, Window, merge, sweep, until};
use ::image::history::History;
use ::image::records::Records;
use ::image::seal::{Anchor, AnchorState, PublicKey, SealFault, SealingKey, Trust, verify};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;
use store::{credential_secret, read_or_make_secret};

/// The name under which systemd hands the key over that seals histories.
pub const SEAL_CREDENTIAL: &str = "vardoger-seal";

/// The key that seals histories: what systemd hands over, else what is in a file, which is made
/// where it is absent.
///
/// # Errors
/// The key is not kept as a key must be, or cannot be made.
pub fn sealing_key(file: &Path, store_root: &Path) -> Result<SealingKey, ImageError> {
    let secret = match credential_secret(SEAL_CREDENTIAL)? {
        Some(secret) => secret,
        None => {
            if let Some(above) = file.parent().filter(|above| !above.as_os_str().is_empty()) {
                std::fs::create_dir_all(above).map_err(ImageError::file("make", above))?;
            }
            read_or_make_secret(file, store_root)?
        }
    };
    Ok(SealingKey::from_secret(secret.bytes()))
}

/// What came of a check.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The stored bytes.
    pub report: Report,
    /// Seals and anchor that do not hold.
    pub faults: Vec<SealFault>,
    /// How the anchor stands to the history, where one was given.
    pub anchor: Option<AnchorState>,
}

impl Checked {
    /// Whether something is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.report.damages.is_empty() && self.faults.is_empty()
    }
}

/// Looks whether all of an image's history is there and is what it was.
///
/// # Errors
/// There is no such image, or what is there cannot be listed. All else is in the result.
pub fn check(
    shadows: &Shadows,
    key: PublicKey,
    name: &str,
    level: Level,
    anchor: Option<&Anchor>,
) -> Result<Checked, ImageError> {
    let Vault { shelf, blobs } = shadows.read(name)?;
    let jobs = available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let report = look(&*blobs, level, jobs)?;
    // What is damaged stands in the report; its seals say nothing.
    let (history, _) = History::open_sound(&*blobs)?;
    let keys = [key];
    let trust = Trust {
        image: shelf.record().id,
        keys: &keys,
    };
    let verified = verify(&history, trust, anchor);
    Ok(Checked {
        report,
        faults: verified.faults,
        anchor: verified.anchor,
    })
}

/// The end of an image's history, to be kept elsewhere.
///
/// # Errors
/// There is no such image, its history cannot be read, or is empty.
pub fn anchor(shadows: &Shadows, name: &str) -> Result<Anchor, ImageError> {
    let Vault { shelf, blobs } = shadows.read(name)?;
    let history = History::open(&*blobs)?;
    Anchor::of(shelf.record().id, &history)
        .ok_or_else(|| ImageError::NoSuch(format!("{name} has no changeset yet")))
}

/// What forgetting gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten {
    /// The changeset that the history begins with.
    pub first: u64,
    /// How many changesets are kept.
    pub kept: u64,
    /// What was removed.
    pub swept: Swept,
}

/// Up to which changeset would be merged; nothing where the history is within the window.
///
/// # Errors
/// There is no such image, or its history cannot be read.
pub fn would_forget(
    shadows: &Shadows,
    name: &str,
    window: Window,
) -> Result<Option<u64>, ImageError> {
    let blobs = shadows.read(name)?.blobs;
    let history = History::open(&*blobs)?;
    Ok(until(&*blobs, &history, window)?)
}

/// Merges what is older than a window, and removes what nothing needs any more.
///
/// # Errors
/// There is no such image, another process writes to it, or what is kept would read otherwise.
pub fn forget(
    shadows: &Shadows,
    key: &SealingKey,
    name: &str,
    window: Window,
) -> Result<Forgotten, ImageError> {
    let vault = shadows.write(name)?;
    let blobs: Arc<dyn Blobs> = Arc::new(vault.sealed(key));
    let mut history = History::open(&*blobs)?;
    if let Some(until) = until(&*blobs, &history, window)? {
        history = merge(&blobs, &history, until)?;
    }
    let swept = sweep(&*blobs, &history)?;
    // What is forgotten is not told of either.
    Records::open(&blobs, &history)?.sweep(&*blobs)?;
    let first = history.changesets().first();
    Ok(Forgotten {
        first: first.map_or(0, |first| first.changeset.sequence),
        kept: history.changesets().len() as u64,
        swept,
    })
}

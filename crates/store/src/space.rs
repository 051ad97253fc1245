//! How much room a file system has.

use std::io;
use std::path::Path;

/// Bytes that an unprivileged process can still write to the file system of `path`, or of its
/// nearest ancestor that exists.
///
/// # Errors
/// The file system does not say.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let existing = path.ancestors().find(|ancestor| ancestor.exists());
    let existing = existing.unwrap_or_else(|| Path::new("."));
    let figures = rustix::fs::statvfs(existing)?;
    Ok(figures.f_bavail.saturating_mul(figures.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_space_is_known_before_the_store_exists() {
        let place = tempfile::tempdir().unwrap();
        assert!(free_bytes(&place.path().join("not/yet/there")).unwrap() > 0);
    }
}

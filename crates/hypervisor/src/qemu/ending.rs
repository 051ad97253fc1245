//! The emulator's unasked end: found behind a failing monitor, told with its last words.

use crate::error::HypervisorError;
use crate::process::child::OwnedChild;
use std::fs;
use std::path::Path;

/// The end of the emulator's error stream that is shown.
const MAX_SHOWN_ERROR_BYTES: usize = 2000;

/// A monitor's failure, or the emulator's end behind it.
pub(super) async fn explain(
    child: &mut OwnedChild,
    directory: &Path,
    error: HypervisorError,
) -> HypervisorError {
    // The connection's end and the process's end arrive in either order.
    const GRACE: std::time::Duration = std::time::Duration::from_secs(2);
    match tokio::time::timeout(GRACE, child.wait()).await {
        Ok(Ok(status)) => exited(directory, "answering", &status.to_string()),
        _ => error,
    }
}

/// The emulator's unasked end, with what it wrote last.
pub(super) fn exited(directory: &Path, doing: &str, status: &str) -> HypervisorError {
    let errors = fs::read(directory.join("errors")).unwrap_or_default();
    let start = errors.len().saturating_sub(MAX_SHOWN_ERROR_BYTES);
    let shown = String::from_utf8_lossy(errors.get(start..).unwrap_or_default());
    let shown: String = shown
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    HypervisorError::Exited {
        doing: doing.to_owned(),
        status: status.to_owned(),
        detail: if shown.is_empty() {
            String::new()
        } else {
            format!(": {shown}")
        },
    }
}

//! What the guest sends: a named pipe that QEMU writes into, drained while we wait, bounded.
//!
//! A pipe rather than a file: a guest that floods its console cannot fill a disk, it only waits.

use crate::error::HypervisorError;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::path::Path;
use tokio::net::unix::pipe;

/// Bytes that are kept between two takes; what comes beyond is dropped and counted.
const MAX_WAITING_BYTES: usize = 16 << 20;

/// The reading end of a guest's console.
#[derive(Debug)]
pub(super) struct Console {
    pipe: pipe::Receiver,
    waiting: Vec<u8>,
    dropped_bytes: u64,
}

impl Console {
    /// Makes the pipe for an emulator of some user and opens it.
    pub(super) fn create(path: &Path, user: Option<u32>) -> Result<Self, HypervisorError> {
        let failed = |error: rustix::io::Errno| HypervisorError::file("make", path)(error.into());
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).map_err(failed)?;
        if let Some(user) = user {
            std::os::unix::fs::chown(path, Some(user), Some(user))
                .map_err(HypervisorError::file("give away", path))?;
        }
        // Open for writing too, so that it has no end when QEMU closes it.
        let pipe = pipe::OpenOptions::new()
            .read_write(true)
            .open_receiver(path)
            .map_err(HypervisorError::file("open", path))?;
        Ok(Self {
            pipe,
            waiting: Vec::new(),
            dropped_bytes: 0,
        })
    }

    /// Waits until something can be read, and reads it. May be cancelled.
    pub(super) async fn fill(&mut self) {
        if self.pipe.readable().await.is_ok() {
            self.drain();
        }
    }

    /// Reads all that is there now.
    pub(super) fn drain(&mut self) {
        let mut part = [0; 64 * 1024];
        while let Ok(length @ 1..) = self.pipe.try_read(&mut part) {
            let room = MAX_WAITING_BYTES.saturating_sub(self.waiting.len());
            let kept = length.min(room);
            self.waiting
                .extend_from_slice(part.get(..kept).unwrap_or_default());
            self.dropped_bytes += (length - kept) as u64;
        }
    }

    /// All that was read since the last call.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.drain();
        if self.dropped_bytes > 0 {
            tracing::warn!(
                dropped_bytes = self.dropped_bytes,
                "the guest sent more than is kept; the rest was dropped"
            );
            self.dropped_bytes = 0;
        }
        std::mem::take(&mut self.waiting)
    }
}

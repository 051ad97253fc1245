//! The named pipe through which a follower reads its feed.
//!
//! A pipe rather than a file: QEMU seeks in the log to where its snapshot was taken, which a file
//! would follow. Our end stays open for reading too until the emulator has its own, or what was
//! written before that would be lost; afterwards it is closed, so that a follower that has read
//! everything comes to an end.

use crate::error::HypervisorError;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::path::{Path, PathBuf};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The writing end of a follower's feed. Dropping it ends the feed.
#[derive(Debug)]
pub(crate) struct FeedPipe {
    pump: JoinHandle<()>,
    opened: Option<oneshot::Sender<()>>,
}

impl FeedPipe {
    /// Makes the pipe for an emulator of some user, and begins to fill it.
    pub(crate) fn create(
        path: &Path,
        user: Option<u32>,
        feed: Vec<u8>,
    ) -> Result<Self, HypervisorError> {
        let failed = |error: rustix::io::Errno| HypervisorError::file("make", path)(error.into());
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).map_err(failed)?;
        if let Some(user) = user {
            std::os::unix::fs::chown(path, Some(user), Some(user))
                .map_err(HypervisorError::file("give away", path))?;
        }
        let sender = pipe::OpenOptions::new()
            .read_write(true)
            .open_sender(path)
            .map_err(HypervisorError::file("open", path))?;
        let (opened, told) = oneshot::channel();
        let pump = tokio::spawn(pump(sender, path.to_path_buf(), feed, told));
        Ok(Self {
            pump,
            opened: Some(opened),
        })
    }

    /// Tells that the emulator has opened the pipe.
    pub(crate) fn is_open(&mut self) {
        if let Some(opened) = self.opened.take() {
            // The pump may have ended already.
            opened.send(()).ok();
        }
    }
}

impl Drop for FeedPipe {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

async fn pump(
    mut sender: pipe::Sender,
    path: PathBuf,
    feed: Vec<u8>,
    opened: oneshot::Receiver<()>,
) {
    if let Err(error) = sender.write_all(&feed).await {
        // The emulator is gone, which whoever waits for it sees by itself.
        tracing::debug!(path = %path.display(), %error, "a follower's feed was not taken whole");
    }
    // Closed before the emulator has its end, the pipe would lose what is in it.
    opened.await.ok();
}

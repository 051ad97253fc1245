//! Keeps room ahead of a guest that overwrites what is being read.

use super::error::ImageError;
use hypervisor::live::{LiveError, Room};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two looks: in it a guest that writes a gigabyte a second uses a tenth of its room.
const LOOK: Duration = Duration::from_millis(25);

/// A watch on the rooms of a capture, until it is dropped.
#[derive(Debug)]
pub(super) struct RoomWatch {
    gone: Arc<Gone>,
    /// Dropped, it ends the watch.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What there was no more room for.
#[derive(Debug, Default)]
struct Gone {
    is_so: AtomicBool,
    why: Mutex<Option<LiveError>>,
}

impl RoomWatch {
    /// Begins to watch.
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn start(rooms: Vec<Room>) -> Result<Self, ImageError> {
        let gone = Arc::new(Gone::default());
        let (end, ended) = channel();
        let told = Arc::clone(&gone);
        let mut rooms = rooms;
        let look = move || {
            while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                if let Err(why) = rooms.iter_mut().try_for_each(Room::keep_ahead) {
                    let mut place = told.why.lock().unwrap_or_else(PoisonError::into_inner);
                    *place = Some(why);
                    told.is_so.store(true, Ordering::Release);
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().spawn(look);
        let thread = thread.map_err(block::nbd::NbdError::from)?;
        Ok(Self {
            gone,
            end: Some(end),
            thread: Some(thread),
        })
    }

    /// # Errors
    /// There is no room any more: whoever reads must give up.
    pub(super) fn check(&self) -> io::Result<()> {
        match self.gone.is_so.load(Ordering::Acquire) {
            true => Err(io::Error::from(io::ErrorKind::StorageFull)),
            false => Ok(()),
        }
    }

    /// Ends the watch.
    ///
    /// # Errors
    /// There was no room any more, and for what.
    pub(super) fn end(self) -> Result<(), ImageError> {
        let gone = Arc::clone(&self.gone);
        drop(self);
        let why = gone
            .why
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        why.map_or(Ok(()), |why| Err(why.into()))
    }
}

impl Drop for RoomWatch {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            // It has not panicked, and if it had, there would be nothing to say.
            thread.join().ok();
        }
    }
}

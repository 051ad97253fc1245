//! A child process of ours, held by its pidfd: it can be waited for without a signal handler, and
//! its number cannot be given to somebody else while we hold it.

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::OwnedFd;
use std::process::{Child, ExitStatus};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A child that is killed and reaped when dropped.
#[derive(Debug)]
pub struct OwnedChild {
    child: Child,
    exited: AsyncFd<OwnedFd>,
}

impl OwnedChild {
    /// Takes ownership of a child.
    ///
    /// # Errors
    /// The kernel gives no pidfd (Linux before 5.3); the child is ended then.
    pub(crate) fn new(mut child: Child) -> std::io::Result<Self> {
        let held = i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| std::io::Error::other("the child has no process id"))
            .and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?))
            .and_then(watch);
        match held {
            Ok(exited) => Ok(Self { child, exited }),
            Err(error) => {
                drop(child.kill());
                drop(child.wait());
                Err(error)
            }
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(-1)
    }

    /// Waits until it ends. May be called again and may be cancelled.
    ///
    /// # Errors
    /// The kernel refuses to tell.
    pub async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        drop(self.exited.readable().await?);
        self.child.wait()
    }

    /// Ends it at once and reaps it.
    pub fn kill(&mut self) {
        // An error means that it has ended already, which is what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[expect(
    unsafe_code,
    reason = "tokio has no safe constructor for a descriptor that is watched but never read"
)]
fn watch(pidfd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is open and owned by the `AsyncFd`, and an `OwnedFd` names the same
    // descriptor for as long as it lives.
    Ok(unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }?)
}

impl Drop for OwnedChild {
    fn drop(&mut self) {
        self.kill();
    }
}

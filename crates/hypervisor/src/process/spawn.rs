//! Starts children that die with us.
//!
//! Order inside the child, between fork and exec: the user is dropped (by the standard library),
//! then the parent-death signal is set (a later change of user would clear it), then the parent is
//! checked (it may have died before the signal was set), then niceness, limits and the CPU.
//!
//! The thread that forks must live as long as this process: the kernel sends the signal when the
//! forking *thread* ends. So one thread, started once and never ended, forks for everybody.

use crate::error::HypervisorError;
use crate::process::child::OwnedChild;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc;
use tokio::sync::oneshot;

/// Niceness of every emulator: measuring must not disturb the host's own work.
const NICENESS: i32 = 10;

/// The user that an emulator runs as when we are root and no user `vardoger` exists: `nobody`.
pub const UNPRIVILEGED_USER: u32 = 65534;

/// A child to start.
#[derive(Debug)]
pub struct SpawnRequest {
    /// Program, arguments and redirections.
    pub command: Command,
    /// Descriptors that the child inherits under the same numbers.
    pub inherited: Vec<OwnedFd>,
    /// The host CPUs that all its threads are bound to; any where there is none.
    pub cpus: Vec<u32>,
    /// The user and group to run as, where we are root.
    pub user: Option<u32>,
}

struct Job {
    request: SpawnRequest,
    answer: oneshot::Sender<std::io::Result<Child>>,
}

/// Starts a child from the thread that lives as long as this process.
///
/// # Errors
/// The program cannot be executed.
pub async fn spawn(request: SpawnRequest) -> Result<OwnedChild, HypervisorError> {
    let program = PathBuf::from(request.command.get_program());
    let failed = |source| HypervisorError::Spawn {
        program: program.clone(),
        source,
    };
    let (answer, child) = oneshot::channel();
    let gone = || std::io::Error::other("the thread that starts processes is gone");
    spawner()
        .send(Job { request, answer })
        .map_err(|_| failed(gone()))?;
    let child = child.await.map_err(|_| failed(gone()))?.map_err(failed)?;
    OwnedChild::new(child).map_err(failed)
}

fn spawner() -> &'static mpsc::Sender<Job> {
    static SPAWNER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    SPAWNER.get_or_init(|| {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let started = std::thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || {
                for job in inbox {
                    let child = start(job.request);
                    if let Err(Ok(mut orphan)) = job.answer.send(child) {
                        // The asker gave up: nobody would ever end this child.
                        drop(orphan.kill());
                        drop(orphan.wait());
                    }
                }
            });
        if let Err(error) = started {
            tracing::error!(%error, "the thread that starts processes could not be started");
        }
        jobs
    })
}

fn start(request: SpawnRequest) -> std::io::Result<Child> {
    let SpawnRequest {
        mut command,
        inherited,
        cpus,
        user,
    } = request;
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    // Its own process group: ^C at the terminal is ours to handle, in our order.
    command.process_group(0);
    let descriptors: Vec<RawFd> = inherited.iter().map(AsRawFd::as_raw_fd).collect();
    before_exec::prepare(&mut command, descriptors, cpus);
    let child = command.spawn();
    drop(inherited);
    child
}

#[expect(
    unsafe_code,
    reason = "work between fork and exec has no safe interface; it makes only async-signal-safe calls"
)]
mod before_exec {
    use super::NICENESS;
    use std::io::{Error, Result};
    use std::os::fd::RawFd;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    /// Arranges what happens in the child between fork and exec.
    pub(super) fn prepare(command: &mut Command, inherited: Vec<RawFd>, cpus: Vec<u32>) {
        let parent = rustix::process::getpid().as_raw_nonzero().get();
        // SAFETY: the closure allocates nothing, takes no lock and makes only system calls, as
        // fork in a threaded process demands; all it reads was made before the fork.
        unsafe {
            command.pre_exec(move || {
                die_with(parent)?;
                for &descriptor in &inherited {
                    keep_open(descriptor)?;
                }
                lower_priority()?;
                if !cpus.is_empty() {
                    bind_to(&cpus)?;
                }
                Ok(())
            });
        }
    }

    fn check(result: libc::c_int) -> Result<()> {
        if result == -1 {
            Err(Error::last_os_error())
        } else {
            Ok(())
        }
    }

    fn die_with(parent: i32) -> Result<()> {
        // SAFETY: prctl with these arguments reads and writes no memory.
        check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
        // SAFETY: getppid has no preconditions.
        if unsafe { libc::getppid() } == parent {
            Ok(())
        } else {
            Err(Error::from_raw_os_error(libc::ESRCH))
        }
    }

    fn keep_open(descriptor: RawFd) -> Result<()> {
        // SAFETY: fcntl F_SETFD takes an integer and touches no memory.
        check(unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) })
    }

    fn lower_priority() -> Result<()> {
        // SAFETY: setpriority takes integers only.
        check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS) })?;
        let no_core = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: the pointer is to a live rlimit on this stack. A core file would hold the
        // guest's memory.
        check(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const no_core) })
    }

    fn bind_to(cpus: &[u32]) -> Result<()> {
        // SAFETY: an all-zero cpu_set_t is a valid, empty set.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        for &cpu in cpus {
            let index = usize::try_from(cpu).unwrap_or(usize::MAX);
            if index >= usize::try_from(libc::CPU_SETSIZE).unwrap_or(0) {
                return Err(Error::from_raw_os_error(libc::EINVAL));
            }
            // SAFETY: the index was checked against the size of the set.
            unsafe { libc::CPU_SET(index, &mut set) };
        }
        // SAFETY: the pointer is to a live set of the size that is passed.
        check(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> SpawnRequest {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        SpawnRequest {
            command,
            inherited: Vec::new(),
            cpus: Vec::new(),
            user: None,
        }
    }

    #[tokio::test]
    async fn a_child_is_nice_bound_and_waited_for() {
        let mut request = shell("test \"$(nice)\" -ge 10 && exit 7");
        request.cpus = vec![0];
        let mut child = spawn(request).await.unwrap();
        assert_eq!(child.wait().await.unwrap().code(), Some(7));
    }

    #[tokio::test]
    async fn a_missing_program_is_an_error_that_names_it() {
        let mut request = shell("");
        request.command = Command::new("/nonexistent/emulator");
        let error = spawn(request).await.unwrap_err();
        assert!(error.to_string().contains("/nonexistent/emulator"));
    }
}

//! Ends what a program leaves running, so that nothing moves any more while its files are read.

use super::USER;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};
use rustix::thread::sched_yield;
use std::fs;

/// How often the processes are gone through. One that is being killed cannot fork, so that what one
/// round misses was forked during it; a few rounds are enough.
const MAX_ROUNDS: usize = 1000;

/// Whose processes are ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum Whose {
    /// Those of the user that programs run as.
    Programs,
    /// All but the first and the kernel's own.
    Everybodys,
}

/// Kills all processes of somebody's but one, and waits until they are gone.
pub(super) fn kill(whose: Whose, except: i32) {
    for _ in 0..MAX_ROUNDS {
        let others = living(whose, except);
        if others.is_empty() {
            return;
        }
        for pid in others.into_iter().filter_map(Pid::from_raw) {
            // One that has just ended needs no killing.
            kill_process(pid, Signal::KILL).ok();
        }
        sched_yield();
        reap(except);
    }
}

/// The processes of somebody's that have not ended.
fn living(whose: Whose, except: i32) -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != except && is_living(whose, *pid))
        .collect()
}

fn is_living(whose: Whose, pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()
    };
    let is_theirs = match whose {
        Whose::Programs => field("Uid:").and_then(|uid| uid.parse().ok()) == Some(USER),
        // A thread of the kernel's has no executable.
        Whose::Everybodys => pid != 1 && fs::read_link(format!("/proc/{pid}/exe")).is_ok(),
    };
    is_theirs && !matches!(field("State:"), Some("Z" | "X") | None)
}

/// Takes what has ended; the program's own process is held by tracing and stays.
fn reap(except: i32) {
    while let Ok(Some((pid, _))) = wait(WaitOptions::NOHANG) {
        if pid.as_raw_nonzero().get() == except {
            return;
        }
    }
}

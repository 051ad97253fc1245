//! Processes of ours: they die with us, and what a killed instance left is swept by the next.
//!
//! * [`spawn`]: one thread that lives as long as this process starts every child, because the
//!   parent-death signal fires when the spawning *thread* ends.
//! * [`child`]: a child held by its pidfd.
//! * [`run_directory`]: a private, locked directory per instance; a sweep takes only directories
//!   whose lock is free, and processes whose pid *and* start time stand in it.

pub mod child;
pub mod run_directory;
pub mod spawn;

use std::fs;

/// When a process was started, in clock ticks since boot: with its pid it names a process for
/// ever, since pids are used again. Field 22 of `/proc/PID/stat`, proc_pid_stat(5).
#[must_use]
pub fn start_time(pid: i32) -> Option<u64> {
    Some(stat(pid)?.starttime)
}

fn stat(pid: i32) -> Option<procfs::process::Stat> {
    procfs::process::Process::new(pid).ok()?.stat().ok()
}

/// CPU time that a thread has used, in nanoseconds: field 1 of `/proc/PID/task/TID/schedstat`.
#[must_use]
pub fn thread_cpu_ns(pid: i32, thread: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat")).ok()?;
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// CPU time that all threads of a process have used, in nanoseconds.
#[must_use]
pub fn process_cpu_ns(pid: i32) -> Option<u64> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    Some(
        tasks
            .flatten()
            .filter_map(|task| task.file_name().to_str()?.parse().ok())
            .filter_map(|thread| thread_cpu_ns(pid, thread))
            .sum(),
    )
}

/// Minor and major page faults of a process: fields 10 and 12 of `/proc/PID/stat`.
#[must_use]
pub fn page_faults(pid: i32) -> Option<u64> {
    let stat = stat(pid)?;
    Some(stat.minflt.saturating_add(stat.majflt))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_is_known() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert!(start_time(pid).is_some_and(|ticks| ticks > 0));
        assert!(process_cpu_ns(pid).is_some());
        assert!(page_faults(pid).is_some_and(|faults| faults > 0));
    }

    #[test]
    fn nobody_is_unknown() {
        assert_eq!(start_time(i32::MAX), None);
        assert_eq!(process_cpu_ns(i32::MAX), None);
    }
}

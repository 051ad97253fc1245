//! The filter of system calls: what is not on the list ends the process.
//!
//! The list is what reading passed files, computing and answering need. Nothing on it names a path,
//! makes a process or a thread, reaches another process, or makes memory executable.

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter_all_threads,
};
use std::collections::BTreeMap;

/// What is always allowed.
const ALLOWED: [c_long; 40] = [
    // Files that are open, and their ends.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_poll,
    libc::SYS_ppoll,
    // Memory, none of it executable.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // Waiting for oneself, and time.
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_restart_syscall,
    libc::SYS_getrandom,
    // Signals to oneself, by which a panic or an abort ends.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // Who one is, and the end.
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Answered by "there is no such call", below.
    libc::SYS_statx,
    libc::SYS_newfstatat,
    libc::SYS_readlink,
    libc::SYS_getcwd,
    libc::SYS_ioctl,
];

/// What libraries ask by the way and do without: it names files by path, or asks a device. The
/// answer is an error, not the end. The length of a file is found by seeking.
const ABSENT: [c_long; 5] = [
    libc::SYS_statx,
    libc::SYS_newfstatat,
    libc::SYS_readlink,
    libc::SYS_getcwd,
    libc::SYS_ioctl,
];

/// Why there is no filter.
pub(crate) type FilterError = Box<dyn std::error::Error + Send + Sync>;

/// Filters the system calls of this process, of all its threads, for good.
pub(crate) fn filter() -> Result<(), FilterError> {
    let absent = ABSENT.into_iter().map(|call| (call, Vec::new())).collect();
    let no_such_call = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    // Of two filters the sterner one decides. The second forbids what setting a filter takes, so it
    // comes last.
    install(absent, SeccompAction::Allow, no_such_call)?;
    install(allowed()?, SeccompAction::KillProcess, SeccompAction::Allow)
}

fn install(
    rules: BTreeMap<c_long, Vec<SeccompRule>>,
    for_all_others: SeccompAction,
    for_these: SeccompAction,
) -> Result<(), FilterError> {
    let filter = SeccompFilter::new(rules, for_all_others, for_these, TargetArch::x86_64)?;
    let program: BpfProgram = filter.try_into()?;
    Ok(apply_filter_all_threads(&program)?)
}

fn allowed() -> Result<BTreeMap<c_long, Vec<SeccompRule>>, FilterError> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> =
        ALLOWED.into_iter().map(|call| (call, Vec::new())).collect();
    // Neither memory that can be run…
    let not_executable = SeccompCmpOp::MaskedEq(u64::from(libc::PROT_EXEC.unsigned_abs()));
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![where_argument(2, not_executable.clone(), 0)?]);
    }
    // … nor another descriptor for an open file. The standard library asks whether one is open, and
    // who reads past the page cache asks how it was opened.
    let asks = [libc::F_GETFD, libc::F_GETFL]
        .map(|ask| where_argument(1, SeccompCmpOp::Eq, u64::from(ask.unsigned_abs())));
    rules.insert(libc::SYS_fcntl, asks.into_iter().collect::<Result<_, _>>()?);
    // An abort is a signal to oneself.
    let own = u64::from(std::process::id());
    let abort = u64::from(libc::SIGABRT.unsigned_abs());
    let abort = SeccompRule::new(vec![
        condition(0, SeccompCmpOp::Eq, own)?,
        condition(2, SeccompCmpOp::Eq, abort)?,
    ])?;
    rules.insert(libc::SYS_tgkill, vec![abort]);
    Ok(rules)
}

fn where_argument(
    number: u8,
    compare: SeccompCmpOp,
    value: u64,
) -> Result<SeccompRule, FilterError> {
    Ok(SeccompRule::new(vec![condition(number, compare, value)?])?)
}

fn condition(
    number: u8,
    compare: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, FilterError> {
    let length = SeccompCmpArgLen::Dword;
    Ok(SeccompCondition::new(number, length, compare, value)?)
}

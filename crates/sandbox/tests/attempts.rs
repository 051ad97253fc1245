//! A confined worker gets nowhere: by no way out that one would try, and by no system call but those
//! that it works with.
//!
//! Each worker is this test program itself, started again with the name of one of the ignored tests.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use sandbox::{
    Attempt, Layer, Limits, Refusal, SandboxError, ask, attempt, carry_out, enter, enter_with,
};
use std::io::Write;
use std::sync::mpsc::channel;
use std::time::Duration;

const AMPLE: Limits = Limits {
    memory_bytes: 256 << 20,
    cpu_s: 60,
    wall: Duration::from_secs(300),
    answer_bytes: 4096,
};

/// Behind the last system call that a kernel has today, with room.
const CALLS: u32 = 500;

/// `uretprobe` and `uprobe`: the kernel's own, which it lets no filter see. From anywhere but where it
/// put them itself they do nothing, or end the process as an illegal instruction.
const PROBES: [u32; 2] = [335, 336];

/// What a worker may call: with nothing but zeros as arguments, each returns or ends the process
/// by itself.
const ALLOWED: [i64; 42] = [
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getcwd,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_ioctl,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_newfstatat,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_read,
    libc::SYS_readlink,
    libc::SYS_readv,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sigaltstack,
    libc::SYS_statx,
    libc::SYS_write,
    libc::SYS_writev,
];

/// The arguments by which this program does one of its ignored tests. The last one is for that
/// test: to the harness it is the name of a test that there is not.
fn worker<'a>(name: &'a str, subject: &'a str) -> [&'a str; 6] {
    [
        "--exact",
        name,
        "--ignored",
        "--nocapture",
        "--test-threads=1",
        subject,
    ]
}

fn subject() -> String {
    std::env::args().next_back().unwrap()
}

#[test]
fn every_way_out_is_refused() {
    let program = std::env::current_exe().unwrap();
    for (worker_of, one) in ["tries", "tries_beside"]
        .into_iter()
        .flat_map(|worker_of| Attempt::ALL.map(|one| (worker_of, one)))
    {
        let refusal = attempt(&program, &worker(worker_of, one.name())).unwrap();
        match one {
            // There is no more memory than the limit; that is an answer, not a crime.
            Attempt::Memory => assert!(matches!(refusal, Refusal::Denied(_)), "{refusal:?}"),
            _ => assert_eq!(refusal, Refusal::Ended, "{worker_of} {}", one.name()),
        }
    }
}

#[test]
#[ignore = "is a worker"]
fn tries() {
    let one = Attempt::of(&subject()).unwrap();
    carry_out(one, &mut std::io::stdout()).unwrap();
}

/// A thread that was there before is confined as well.
#[test]
#[ignore = "is a worker"]
fn tries_beside() {
    let one = Attempt::of(&subject()).unwrap();
    let (_, hands) = enter_with(1).unwrap();
    let (tell, told) = channel();
    hands.run(Box::new(move || tell.send(one.perform()).unwrap()));
    let answer = match told.recv().unwrap() {
        Ok(()) => "done".to_owned(),
        Err(error) => format!("denied: {error}"),
    };
    std::io::stdout().write_all(answer.as_bytes()).unwrap();
}

#[test]
fn without_confinement_every_way_is_open() {
    let program = std::env::current_exe().unwrap();
    for one in [
        Attempt::Open,
        Attempt::List,
        Attempt::Network,
        Attempt::Thread,
    ] {
        let done = std::process::Command::new(&program)
            .args(worker("goes", one.name()))
            .output();
        let said = String::from_utf8(done.unwrap().stdout).unwrap();
        assert!(said.contains("went: Ok"), "{}: {said}", one.name());
    }
}

#[test]
#[ignore = "is a worker"]
fn goes() {
    let one = Attempt::of(&subject()).unwrap();
    let went = one.perform();
    writeln!(std::io::stdout(), "went: {went:?}").unwrap();
}

#[test]
fn every_other_system_call_ends_the_worker() {
    let program = std::env::current_exe().unwrap();
    let others = (0..CALLS).filter(|call| !ALLOWED.contains(&i64::from(*call)));
    for call in others.filter(|call| !PROBES.contains(call)) {
        let ended = ask(&program, &worker("calls", &call.to_string()), &[], &AMPLE);
        assert!(
            matches!(ended, Err(SandboxError::Forbidden)),
            "system call {call}: {ended:?}"
        );
    }
}

#[test]
#[ignore = "is a worker"]
#[expect(unsafe_code, reason = "a system call by its number")]
fn calls() {
    let call: i64 = subject().parse().unwrap();
    enter().unwrap();
    // SAFETY: it is refused before it does anything, which is what the test shows.
    unsafe { libc::syscall(call, 0, 0, 0, 0, 0, 0) };
}

#[test]
fn this_kernel_confines_by_paths_too() {
    let program = std::env::current_exe().unwrap();
    let answer = ask(&program, &worker("tells", ""), &[], &AMPLE).unwrap();
    let said = String::from_utf8(answer).unwrap();
    let known = [Layer::Whole, Layer::Part, Layer::Absent];
    let one_of = known.map(|layer| said.contains(&format!("landlock: {layer:?}")));
    assert!(one_of.contains(&true), "{said}");
}

#[test]
#[ignore = "is a worker"]
fn tells() {
    let confinement = enter().unwrap().confinement;
    writeln!(std::io::stdout(), "landlock: {:?}", confinement.landlock).unwrap();
}

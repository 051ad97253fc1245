//! Work that a guest should not notice.

use rustix::process::{getpriority_process, setpriority_process};
use std::panic::resume_unwind;
use std::thread;

/// How much a capture gives way: as emulators of our own do.
const NICENESS: i32 = 10;

/// Does something on a thread of its own that gives way to guests, and waits for it: nothing else of
/// this process stays behind them.
pub fn beside_a_guest<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let done = thread::scope(|scope| {
        let worker = scope.spawn(|| {
            // Of the kernel, each thread has a priority of its own.
            let gives_way = getpriority_process(None)
                .and_then(|now| setpriority_process(None, NICENESS.max(now)));
            if let Err(error) = gives_way {
                tracing::debug!(%error, "a capture does not give way to guests");
            }
            work()
        });
        worker.join()
    });
    done.unwrap_or_else(|panic| resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_work_gives_way() {
        let before = getpriority_process(None).unwrap();
        let within = beside_a_guest(|| getpriority_process(None).unwrap());
        assert_eq!(within, NICENESS.max(before));
        assert_eq!(getpriority_process(None).unwrap(), before);
    }
}

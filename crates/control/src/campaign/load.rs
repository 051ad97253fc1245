//! Keeps the host busy: one thread for each CPU, as nice as emulators are, until it is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// Threads that do nothing, with all their might.
#[derive(Debug)]
pub(super) struct Load {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u64>>,
}

impl Load {
    /// Starts as many threads as there are CPUs.
    pub(super) fn start(cpus: usize) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let threads = (0..cpus)
            .map(|_| {
                let over = Arc::clone(&over);
                thread::spawn(move || busy(&over))
            })
            .collect();
        Self { over, threads }
    }
}

/// The niceness of emulators: with less, a load would leave them next to nothing.
const NICENESS: i32 = 10;

fn busy(over: &AtomicBool) -> u64 {
    // On Linux this is of the calling thread alone. Refused, the load is only heavier.
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "the load could not be made nice");
    }
    let mut number = 1_u64;
    while !over.load(Ordering::Relaxed) {
        for _ in 0..10_000 {
            number = std::hint::black_box(number.wrapping_mul(6_364_136_223_846_793_005) + 1);
        }
    }
    number
}

impl Drop for Load {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It holds nothing that could be lost.
            drop(thread.join());
        }
    }
}

//! Threads of a worker. They are started before it is confined, and confined with it; afterwards no
//! thread can be started.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Something to be done.
type Job = Box<dyn FnOnce() + Send>;

/// Some threads that wait for jobs. They end with the process.
#[derive(Debug, Clone)]
pub struct Hands {
    jobs: Sender<Job>,
}

impl Hands {
    /// Starts threads.
    ///
    /// # Errors
    /// The system has no more of them.
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        let (jobs, waiting) = channel();
        let waiting = Arc::new(Mutex::new(waiting));
        let (begins, begun) = channel();
        for _ in 0..count {
            let (waiting, begins) = (Arc::clone(&waiting), begins.clone());
            let begin = move || {
                begins.send(()).ok();
                // Who starts it waits until nobody is left who could say that.
                drop(begins);
                work(&waiting);
            };
            std::thread::Builder::new().spawn(begin)?;
        }
        drop(begins);
        // A thread prepares itself by system calls that it may not make later.
        while begun.recv().is_ok() {}
        Ok(Self { jobs })
    }

    /// Has a job done by the next thread that is free. If there is none, it is dropped.
    pub fn run(&self, job: Job) {
        self.jobs.send(job).ok();
    }
}

fn work(waiting: &Mutex<Receiver<Job>>) {
    loop {
        let next = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok(job) = next else { return };
        job();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_done_side_by_side() {
        let hands = Hands::start(2).unwrap();
        let (one, heard) = channel();
        let (other, done) = channel();
        hands.run(Box::new(move || {
            other.send(heard.recv().unwrap() + 1).unwrap();
        }));
        hands.run(Box::new(move || one.send(1).unwrap()));
        assert_eq!(done.recv().unwrap(), 2);
    }

    #[test]
    fn without_a_thread_a_job_is_dropped() {
        let hands = Hands::start(0).unwrap();
        let (held, dropped) = channel::<()>();
        hands.run(Box::new(move || drop(held)));
        assert!(dropped.recv().is_err());
    }
}

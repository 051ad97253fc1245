//! Doing a job: steps, stops, and what is told at the end.

use crate::buffers;
use crate::clock;
use crate::error::GuestError;
use crate::host::Host;
use crate::stops::Stops;
use computation::job::{Job, JobResult, Mark, Message, Metric};
use computation::{Descriptor, Digest, Kernel, System};
use guest::Linux;
use std::path::Path;

/// Where a computation's files go: the root file system, which is memory.
const FILES: &str = "/files";

/// Does a job, from its first step to its terminal stop.
pub(crate) fn perform(host: &Host, job: &Job) -> Result<(), GuestError> {
    let unknown = || GuestError::Computation(job.computation.clone());
    let descriptor = computation::find(&job.computation).ok_or_else(unknown)?;
    let Job { steps, seed, .. } = job;
    log(
        host,
        format!("{}: {steps} steps, seed {seed:#x}", descriptor.name),
    )?;
    let work = Work::run(host, job, descriptor)?;
    work.tell(host)
}

/// A computation and what was counted around it.
struct Work {
    name: &'static str,
    kernel: Box<dyn Kernel>,
    /// Page faults of the computation, its setting up included.
    page_faults: u64,
    /// Ticks of the time-stamp counter that went by in stops.
    stop_ticks: u64,
    tsc_start: u64,
    tsc_end: u64,
}

impl Work {
    /// Does all steps, with the stops that the job asks for.
    fn run(host: &Host, job: &Job, descriptor: &Descriptor) -> Result<Self, GuestError> {
        let marks = marks(job);
        let mut stops = Stops::new(host, job.stop_by);
        let faults_before = clock::page_faults();
        let before = buffers::mapped()?;
        let linux = || Box::new(Linux::new(Path::new(FILES))) as Box<dyn System>;
        let mut kernel = descriptor.start_on(job.seed, linux);
        buffers::tell(host, kernel.as_ref(), &before)?;
        let tsc_start = clock::time_stamp();
        for mark in marks {
            advance(kernel.as_mut(), mark.at(job.steps));
            let tsc = clock::time_stamp();
            host.mark(mark, kernel.steps_done(), tsc)?;
            stops.stop(tsc);
        }
        advance(kernel.as_mut(), job.steps);
        Ok(Self {
            name: descriptor.name,
            kernel,
            page_faults: clock::page_faults().saturating_sub(faults_before),
            stop_ticks: stops.ticks(),
            tsc_start,
            tsc_end: clock::time_stamp(),
        })
    }

    /// Tells everything, and makes the terminal stop.
    fn tell(&self, host: &Host) -> Result<(), GuestError> {
        for (name, value) in self.kernel.metrics() {
            metric(host, name, value, true)?;
        }
        metric(
            host,
            "page_faults".to_owned(),
            self.page_faults as f64,
            true,
        )?;
        metric(host, "stop_ticks".to_owned(), self.stop_ticks as f64, true)?;
        let steps = self.kernel.steps_done();
        log(host, format!("{}: {steps} steps done", self.name))?;
        host.say(&Message::Result(JobResult {
            digest: Digest(self.kernel.digest()),
            steps,
            tsc: self.tsc_end,
            tsc_start: self.tsc_start,
        }))?;
        host.mark(Mark::End, steps, clock::time_stamp())?;
        host.stop();
        Ok(())
    }
}

/// The marks on the way to stop at, in order and once each. The end is always one.
fn marks(job: &Job) -> Vec<Mark> {
    let mut stops = Vec::with_capacity(job.stops.len());
    for mark in &job.stops {
        if *mark != Mark::End && !stops.contains(mark) {
            stops.push(*mark);
        }
    }
    stops.sort_by_key(|mark| mark.at(job.steps));
    stops
}

fn advance(kernel: &mut dyn Kernel, step: u64) {
    while kernel.steps_done() < step {
        kernel.step();
    }
}

pub(crate) fn metric(host: &Host, name: String, value: f64, exact: bool) -> Result<(), GuestError> {
    host.say(&Message::Metric(Metric { name, value, exact }))
}

pub(crate) fn log(host: &Host, text: String) -> Result<(), GuestError> {
    host.say(&Message::Log(text))
}

//! Stops on the way, and the time that goes by in them.
//!
//! The counter of ticks guards the comparison of replicas. A stop takes no instructions, but
//! the hypervisor lets the guest's clock jump while it stands still; a replica whose clock jumped
//! otherwise than its doubles' takes its next timer interrupt elsewhere, and differs without any
//! fault. At waypoints all clocks jump alike.

use crate::clock;
use crate::host::Host;
use crate::waypoint;
use computation::job::StopBy;

/// The stops of a job, in their order.
pub(crate) struct Stops<'a> {
    host: &'a Host,
    by: StopBy,
    passed: usize,
    ticks: u64,
}

impl<'a> Stops<'a> {
    /// None passed yet.
    pub(crate) const fn new(host: &'a Host, by: StopBy) -> Self {
        Self {
            host,
            by,
            passed: 0,
            ticks: 0,
        }
    }

    /// Stops until the host lets the machine go on; `since` is the time-stamp counter before what
    /// was said about it.
    pub(crate) fn stop(&mut self, since: u64) {
        match self.by {
            StopBy::Signal => self.host.stop(),
            StopBy::Waypoint => waypoint::pass(self.passed),
        }
        self.passed += 1;
        self.ticks += clock::time_stamp().wrapping_sub(since);
    }

    /// Ticks of the time-stamp counter that went by in stops.
    pub(crate) const fn ticks(&self) -> u64 {
        self.ticks
    }
}

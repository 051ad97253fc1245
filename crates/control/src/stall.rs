//! Holding a machine up while it runs, as a busy host does: its processors stand still, its clock does
//! not. What a guest catches up on after that is noise of a kind that quiet runs hardly ever show.

use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;
use tokio::task::JoinHandle;

/// The longest that a machine is held up: the slowest clocks of a kernel that matter to a run of
/// seconds come every five.
const LONGEST: Duration = Duration::from_secs(6);

/// When it is held up, at the latest, from its start.
const LATEST: Duration = Duration::from_millis(200);

/// One machine is held up, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stall {
    /// Which replica.
    pub(crate) replica: u32,
    after: Duration,
    lasting: Duration,
}

impl Stall {
    /// What happens in a run: nothing in every other one, and in those between a replica after the
    /// other is held up, each time for another while. Moments are spread evenly (multiples of the golden
    /// ratio and of the root of two, less their whole parts), whatever the number of runs.
    pub(crate) fn of_run(run: u64, replicas: u32) -> Option<Self> {
        if run.is_multiple_of(2) || replicas == 0 {
            return None;
        }
        let turn = run / 2;
        let spread = |ratio: f64| (turn as f64 * ratio).fract();
        Some(Self {
            replica: u32::try_from(turn % u64::from(replicas)).unwrap_or(0),
            after: LATEST.mul_f64(spread(std::f64::consts::SQRT_2)),
            lasting: LONGEST.mul_f64(spread(1.618_033_988_749_895)),
        })
    }

    /// Holds an emulator up; whoever drops what is returned lets it go on.
    pub(crate) fn begin(self, emulator: i32) -> Option<Stalled> {
        let emulator = Pid::from_raw(emulator)?;
        let task = tokio::spawn(async move {
            tokio::time::sleep(self.after).await;
            if kill_process(emulator, Signal::STOP).is_ok() {
                tokio::time::sleep(self.lasting).await;
                go_on(emulator);
            }
        });
        Some(Stalled { emulator, task })
    }
}

/// An emulator that may be held up. It is a child of ours that nobody has waited for, so that its
/// number is no other's.
#[derive(Debug)]
pub(crate) struct Stalled {
    emulator: Pid,
    task: JoinHandle<()>,
}

impl Drop for Stalled {
    fn drop(&mut self) {
        self.task.abort();
        go_on(self.emulator);
    }
}

fn go_on(emulator: Pid) {
    // It may have ended: then there is nothing to go on with.
    kill_process(emulator, Signal::CONT).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_run_is_quiet_and_all_replicas_have_their_turn() {
        let stalls: Vec<Option<Stall>> = (0..12).map(|run| Stall::of_run(run, 3)).collect();
        assert!(stalls.iter().step_by(2).all(Option::is_none));
        let held: Vec<Stall> = stalls.into_iter().flatten().collect();
        let replicas: Vec<u32> = held.iter().map(|one| one.replica).collect();
        assert_eq!(replicas, [0, 1, 2, 0, 1, 2]);
        assert!(
            held.iter()
                .all(|one| one.lasting <= LONGEST && one.after <= LATEST)
        );
        let long = (0..200).filter_map(|run| Stall::of_run(run, 3));
        let long = long.filter(|one| one.lasting > LONGEST / 2).count();
        assert!((45..=55).contains(&long), "{long} of 100");
    }
}

//! A simulated machine: what its guest does from one stop to the next.
//!
//! ```text
//!  boot ─signal: hello─► greeted ─signal─► ready ─job─► working ──marks──► working
//!                                            │ no job     │ hang, limit      │ last step
//!                                            ▼            ▼                  ▼
//!                                        signal: failed  deadline       signal: end ─► over
//! ```

use super::desk::Desk;
use super::guest::{self, AT_SIGNAL, AT_WORK, WAYPOINTS};
use super::memory::SimMemory;
use super::trouble::{GuestTrouble, Plan, Stroke};
use crate::error::HypervisorError;
use crate::traits::{RegisterSet, Snapshot, Stop, WaitLimits};
use computation::job::{Job, Mark, Message, StopBy, decode_job, write_line};
use model::{GuestPhysicalAddress, GuestVirtualAddress};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// CPU time of a step, whatever the computation.
const STEP_NS: u64 = 1_000_000;

/// The most that the console holds: what the driver of a real emulator keeps.
const CONSOLE_BYTES: usize = 16 << 20;

const REGISTERS: [&str; 7] = ["r12", "r13", "rax", "rbx", "rflags", "rip", "rsp"];

/// How far the guest has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    Boot,
    Greeted,
    Ready,
    Working { job: Job, steps: u64, stop: usize },
    Ended,
    Over(String),
}

/// What a snapshot's device file holds.
#[derive(Debug, Serialize, Deserialize)]
struct Device {
    phase: Phase,
    registers: BTreeMap<String, u64>,
}

/// A machine and its guest.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) memory: SimMemory,
    pub(super) breakpoints: BTreeSet<GuestVirtualAddress>,
    pub(super) hung: bool,
    pub(super) restored: bool,
    /// Whether it was let run since it stood still last.
    pub(super) running: bool,
    /// Whether it was saved: it cannot go on then.
    saved: bool,
    pub(super) cpu_ns: u64,
    registers: BTreeMap<String, u64>,
    /// Where the guest stands, unless somebody changed its register.
    place: u64,
    phase: Phase,
    console: Vec<u8>,
    plan: Plan,
}

impl Machine {
    /// A machine before its guest has done anything.
    pub(super) fn cold(memory_bytes: u64, plan: Plan) -> Result<Self, HypervisorError> {
        if memory_bytes < super::MEMORY_BYTES {
            return Err(unsupported("make a machine with less than 4 MiB of memory"));
        }
        if memory_bytes > super::ROOM_BYTES {
            return Err(HypervisorError::NoSpace {
                path: "sim".into(),
                free_bytes: super::ROOM_BYTES,
                needed_bytes: memory_bytes,
                what: "guest memory",
            });
        }
        let mut memory = SimMemory::new(memory_bytes);
        guest::lay_out(&mut memory);
        let device = Device {
            phase: Phase::Boot,
            registers: REGISTERS.map(|name| (name.to_owned(), 0)).into(),
        };
        Ok(Self {
            running: true,
            ..Self::of(memory, device, plan)
        })
    }

    /// A machine out of a snapshot.
    pub(super) fn restored(
        memory_bytes: u64,
        snapshot: &Snapshot,
        plan: Plan,
    ) -> Result<Self, HypervisorError> {
        let path = &snapshot.device;
        let text = fs::read(path).map_err(HypervisorError::file("read", path))?;
        let device = serde_json::from_slice(&text)
            .map_err(|error| HypervisorError::file("read", path)(error.into()))?;
        let memory = SimMemory::over(memory_bytes, &snapshot.memory)?;
        Ok(Self {
            restored: true,
            ..Self::of(memory, device, plan)
        })
    }

    fn of(memory: SimMemory, device: Device, plan: Plan) -> Self {
        Self {
            memory,
            breakpoints: BTreeSet::new(),
            hung: false,
            restored: false,
            running: false,
            saved: false,
            cpu_ns: 0,
            place: device.registers.get("rip").copied().unwrap_or(0),
            registers: device.registers,
            phase: device.phase,
            console: Vec::new(),
            plan,
        }
    }

    /// Whose it is, in the order of restoring; none if it was booted.
    pub(super) const fn replica(&self) -> Option<u64> {
        self.plan.replica
    }

    /// Writes it into an empty directory.
    pub(super) fn save(&mut self, directory: &Path) -> Result<Snapshot, HypervisorError> {
        let snapshot = Snapshot::in_directory(directory);
        self.memory.save(&snapshot.memory)?;
        let device = Device {
            phase: self.phase.clone(),
            registers: self.registers.clone(),
        };
        let path = &snapshot.device;
        let text = serde_json::to_vec(&device)
            .map_err(|error| HypervisorError::file("write", path)(error.into()))?;
        fs::write(path, text).map_err(HypervisorError::file("write", path))?;
        self.saved = true;
        Ok(snapshot)
    }

    /// Lets it run, unless it is off or was saved.
    pub(super) fn resume(&mut self) -> Result<(), HypervisorError> {
        if self.saved {
            return Err(unsupported("go on with a machine that was saved"));
        }
        if let Phase::Over(how) = &self.phase {
            return Err(HypervisorError::Monitor {
                command: "resume".to_owned(),
                detail: format!("the machine is off: {how}"),
            });
        }
        self.running = true;
        Ok(())
    }

    pub(super) fn take_console(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.console)
    }

    pub(super) fn registers(&self) -> RegisterSet {
        let shown = |(name, value): (&String, &u64)| (name.clone(), format!("{value:016x}"));
        self.registers.iter().map(shown).collect()
    }

    /// Flips a bit; gives the values before and after.
    pub(super) fn flip(&mut self, name: &str, bit: u32) -> Option<(u64, u64)> {
        let register = self.registers.get_mut(name)?;
        let before = *register;
        *register = before ^ 1_u64.checked_shl(bit)?;
        Some((before, *register))
    }

    /// Runs until it stops; one that nobody let run stays where it is. No time passes but the
    /// guest's own, which is its CPU time.
    pub(super) fn run(&mut self, limits: WaitLimits, desk: &Desk) -> Stop {
        if !std::mem::take(&mut self.running) {
            return Stop::Deadline;
        }
        let ns = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let most_ns = ns(limits.cpu).min(self.cpu_ns.saturating_add(ns(limits.wall)));
        if self.breakpoints.contains(&GuestVirtualAddress(self.place)) {
            return Stop::Breakpoint;
        }
        if self.hung {
            self.cpu_ns = self.cpu_ns.max(most_ns);
            return Stop::Deadline;
        }
        if self.register("rip") != self.place {
            self.phase = Phase::Over("it jumped to nowhere: triple fault".to_owned());
        }
        loop {
            if let Some(stop) = self.go_on(most_ns, desk) {
                return stop;
            }
        }
    }

    /// One phase, or a part of it; nothing while there is no stop.
    fn go_on(&mut self, most_ns: u64, desk: &Desk) -> Option<Stop> {
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Boot => {
                self.phase = Phase::Boot;
                if let Some(stop) = self.trouble(0, most_ns, desk) {
                    return Some(stop);
                }
                self.say(&guest::hello());
                self.phase = Phase::Greeted;
                Some(self.signal())
            }
            Phase::Greeted => {
                self.say(&Message::Ready);
                self.phase = Phase::Ready;
                Some(self.signal())
            }
            Phase::Ready => self.begin(),
            Phase::Working { job, steps, stop } => self.work((job, steps, stop), most_ns, desk),
            Phase::Ended => {
                let how = "guest-shutdown".to_owned();
                self.phase = Phase::Over(how.clone());
                Some(Stop::Shutdown(how))
            }
            Phase::Over(how) => {
                self.phase = Phase::Over(how.clone());
                Some(Stop::Shutdown(how))
            }
        }
    }

    /// Reads its job; a mailbox without one ends the guest.
    fn begin(&mut self) -> Option<Stop> {
        match decode_job(&guest::read_mailbox(&self.memory)) {
            Err(error) => Some(self.fail(error.to_string())),
            Ok(job) => {
                let Job {
                    computation,
                    steps,
                    seed,
                    ..
                } = &job;
                self.say(&Message::Log(format!(
                    "{computation}: {steps} steps, seed {seed:#x}"
                )));
                self.phase = Phase::Working {
                    job,
                    steps: 0,
                    stop: 0,
                };
                None
            }
        }
    }

    /// Takes steps to the next mark, or to the end.
    fn work(
        &mut self,
        (job, mut steps, stop): (Job, u64, usize),
        most_ns: u64,
        desk: &Desk,
    ) -> Option<Stop> {
        let mark = guest::stops(&job).get(stop).copied();
        let until = mark.map_or(job.steps, |mark: Mark| mark.at(job.steps));
        self.stand(AT_WORK);
        while steps < until {
            self.phase = Phase::Working {
                job: job.clone(),
                steps,
                stop,
            };
            if let Some(stop) = self.trouble(steps, most_ns, desk) {
                return Some(stop);
            }
            if self.cpu_ns.saturating_add(STEP_NS) > most_ns {
                return Some(Stop::Deadline);
            }
            let drawn = guest::step(&mut self.memory, job.seed, steps);
            let gathered = self.register("r12") ^ drawn;
            self.registers.insert("r12".to_owned(), gathered);
            self.registers.insert("rbx".to_owned(), drawn);
            self.cpu_ns += STEP_NS;
            steps += 1;
        }
        match mark {
            Some(mark) => self.reach((job, steps, stop), mark),
            None => Some(self.finish(&job, desk)),
        }
    }

    fn reach(&mut self, (job, steps, stop): (Job, u64, usize), mark: Mark) -> Option<Stop> {
        self.say(&guest::mark(&job, mark));
        let stop_by = job.stop_by;
        let [first, second] = WAYPOINTS;
        let waypoint = if stop.is_multiple_of(2) {
            first
        } else {
            second
        };
        self.phase = Phase::Working {
            job,
            steps,
            stop: stop + 1,
        };
        match stop_by {
            StopBy::Signal => Some(self.signal()),
            StopBy::Waypoint if self.breakpoints.contains(&waypoint) => {
                self.stand(waypoint.0);
                Some(Stop::Breakpoint)
            }
            StopBy::Waypoint => None,
        }
    }

    fn finish(&mut self, job: &Job, desk: &Desk) -> Stop {
        let Some(native) = desk.result(&job.computation, job.seed, job.steps) else {
            return self.fail(format!("there is no computation {}", job.computation));
        };
        let draws = (0..job.steps).map(|step| guest::draw(job.seed, step));
        let expected = draws.fold(0, |gathered, drawn| gathered ^ drawn);
        let wrong = self.register("r12") ^ expected;
        for message in guest::farewell(&self.memory, job, &native, wrong) {
            self.say(&message);
        }
        self.phase = Phase::Ended;
        self.signal()
    }

    /// What was ordered to go wrong before a step; a stop, if it ends there.
    fn trouble(&mut self, step: u64, most_ns: u64, desk: &Desk) -> Option<Stop> {
        let what = self.plan.by_step.remove(&step)?;
        desk.strike(self.replica(), Stroke::Guest(what.clone()));
        match what {
            GuestTrouble::Hang => {
                self.hung = true;
                self.cpu_ns = self.cpu_ns.max(most_ns);
                Some(Stop::Deadline)
            }
            GuestTrouble::Crash(how) => {
                self.phase = Phase::Over(how.clone());
                Some(Stop::Shutdown(how))
            }
            GuestTrouble::Fail(why) => Some(self.fail(why)),
            GuestTrouble::Silence => Some(self.signal()),
            GuestTrouble::Say(bytes) => {
                self.put(&bytes);
                None
            }
            GuestTrouble::Flip { address, bit } => {
                let address = GuestPhysicalAddress(address);
                let mut byte = [0];
                let flipped = self.memory.read(address, &mut byte).and_then(|()| {
                    let mask = 1_u8.checked_shl(bit).unwrap_or(0);
                    self.memory.write(address, &byte.map(|byte| byte ^ mask))
                });
                // Outside memory there is no bit to be wrong.
                drop(flipped);
                None
            }
        }
    }

    fn fail(&mut self, why: String) -> Stop {
        self.say(&Message::Failed(why));
        self.phase = Phase::Ended;
        self.signal()
    }

    fn signal(&mut self) -> Stop {
        self.stand(AT_SIGNAL);
        Stop::Signal
    }

    fn stand(&mut self, place: u64) {
        self.place = place;
        self.registers.insert("rip".to_owned(), place);
    }

    fn register(&self, name: &str) -> u64 {
        self.registers.get(name).copied().unwrap_or(0)
    }

    /// Sends a line; one that breaks the protocol's limits is not sent.
    fn say(&mut self, message: &Message) {
        if let Ok(line) = write_line(message) {
            self.put(&line);
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        let room = CONSOLE_BYTES.saturating_sub(self.console.len());
        self.console
            .extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }
}

fn unsupported(what: &'static str) -> HypervisorError {
    HypervisorError::Unsupported {
        hypervisor: "sim",
        what,
    }
}

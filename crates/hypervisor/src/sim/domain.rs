//! The trait `Domain` over a simulated machine: every call that can fail is counted, and fails where
//! that was ordered.

use super::desk::{Answer, Desk};
use super::machine::Machine;
use super::nonsense;
use super::trouble::{CallTrouble, gone};
use crate::error::HypervisorError;
use crate::memory::changed::{ChangedPages, PageCheck};
use crate::traits::{Domain, RegisterSet, Snapshot, Stop, Usage, WaitLimits};
use async_trait::async_trait;
use model::{Elapsed, GuestPhysicalAddress, GuestVirtualAddress};
use std::path::Path;
use std::sync::Arc;

/// A simulated machine that somebody owns.
#[derive(Debug)]
pub(super) struct SimDomain {
    machine: Machine,
    desk: Arc<Desk>,
    /// Whether its emulator is gone.
    lost: bool,
}

impl SimDomain {
    pub(super) fn new(machine: Machine, desk: Arc<Desk>) -> Self {
        desk.born();
        Self {
            machine,
            desk,
            lost: false,
        }
    }

    /// Counts a call that is asked for data. A call to an emulator that is gone fails.
    fn ask(&mut self, name: &'static str) -> Result<Answer, HypervisorError> {
        if self.lost {
            return Err(gone(name));
        }
        let answer = self.desk.ask(self.machine.replica(), name);
        self.lost = matches!(answer, Err(HypervisorError::Exited { .. }));
        answer
    }

    /// Counts a call that is asked for no data.
    fn call(&mut self, name: &'static str) -> Result<(), HypervisorError> {
        match self.ask(name)? {
            Answer::Sound => Ok(()),
            Answer::Nonsense(_) => Err(CallTrouble::Nonsense.error(name)),
        }
    }

    /// The same for what may be asked of a stopped machine alone.
    fn ask_stopped(&mut self, name: &'static str) -> Result<Answer, HypervisorError> {
        let answer = self.ask(name)?;
        if self.machine.running {
            return Err(HypervisorError::Unsupported {
                hypervisor: "sim",
                what: "look into a machine that runs",
            });
        }
        Ok(answer)
    }

    fn call_stopped(&mut self, name: &'static str) -> Result<(), HypervisorError> {
        match self.ask_stopped(name)? {
            Answer::Sound => Ok(()),
            Answer::Nonsense(_) => Err(CallTrouble::Nonsense.error(name)),
        }
    }

    fn only_restored(&self) -> Result<(), HypervisorError> {
        if self.machine.restored {
            return Ok(());
        }
        Err(HypervisorError::Unsupported {
            hypervisor: "sim",
            what: "list changed pages of a machine that was not restored",
        })
    }

    fn unknown_register(&self, name: String) -> HypervisorError {
        let known = self.machine.registers().into_keys().collect::<Vec<_>>();
        HypervisorError::UnknownRegister {
            name,
            known: known.join(" "),
        }
    }
}

impl Drop for SimDomain {
    fn drop(&mut self) {
        self.desk.died();
    }
}

#[async_trait]
impl Domain for SimDomain {
    async fn resume(&mut self) -> Result<(), HypervisorError> {
        self.call("resume")?;
        self.machine.resume()
    }

    async fn wait_stop(&mut self, limits: WaitLimits) -> Result<Stop, HypervisorError> {
        match self.ask("wait for a stop")? {
            Answer::Sound => Ok(self.machine.run(limits, &self.desk)),
            // It stands still, for no reason that there is.
            Answer::Nonsense(_) => {
                self.machine.running = false;
                Ok(Stop::Breakpoint)
            }
        }
    }

    fn take_console(&mut self) -> Vec<u8> {
        self.machine.take_console()
    }

    fn read_memory(
        &mut self,
        address: GuestPhysicalAddress,
        into: &mut [u8],
    ) -> Result<(), HypervisorError> {
        let answer = self.ask_stopped("read memory")?;
        self.machine.memory.read(address, into)?;
        if answer != Answer::Sound {
            into.iter_mut().for_each(|byte| *byte ^= 0xa5);
        }
        Ok(())
    }

    fn write_memory(
        &mut self,
        address: GuestPhysicalAddress,
        bytes: &[u8],
    ) -> Result<(), HypervisorError> {
        self.call_stopped("write memory")?;
        self.machine.memory.write(address, bytes)
    }

    async fn patch_memory(
        &mut self,
        address: GuestPhysicalAddress,
        bytes: &[u8],
    ) -> Result<(), HypervisorError> {
        self.call_stopped("patch memory")?;
        self.machine.memory.write(address, bytes)
    }

    fn changed_pages(&mut self) -> Result<ChangedPages, HypervisorError> {
        let answer = self.ask_stopped("read changed pages")?;
        self.only_restored()?;
        let pages = self.machine.memory.changed();
        Ok(match answer {
            Answer::Sound => pages,
            Answer::Nonsense(number) => nonsense::pages(pages, number),
        })
    }

    fn check_page_lists(&mut self) -> Result<PageCheck, HypervisorError> {
        let listed = self.changed_page_numbers()?;
        let differing = self.machine.memory.changed_numbers();
        Ok(PageCheck::of(&[listed], &differing))
    }

    fn changed_page_numbers(&mut self) -> Result<Vec<u64>, HypervisorError> {
        let answer = self.ask_stopped("list changed pages")?;
        self.only_restored()?;
        let numbers = self.machine.memory.changed_numbers();
        Ok(match answer {
            Answer::Sound => numbers,
            Answer::Nonsense(number) => nonsense::numbers(numbers, number),
        })
    }

    async fn registers(&mut self) -> Result<RegisterSet, HypervisorError> {
        Ok(match self.ask_stopped("read registers")? {
            Answer::Sound => self.machine.registers(),
            Answer::Nonsense(number) => nonsense::registers(number),
        })
    }

    async fn flip_register(
        &mut self,
        name: &str,
        bit: u32,
    ) -> Result<(String, String), HypervisorError> {
        self.call_stopped("flip a register")?;
        match self.machine.flip(name, bit) {
            Some((before, after)) => Ok((format!("{before:016x}"), format!("{after:016x}"))),
            None => Err(self.unknown_register(format!("{name} with bit {bit}"))),
        }
    }

    async fn writable_registers(&mut self) -> Result<Vec<(String, u32)>, HypervisorError> {
        let answer = self.ask_stopped("list registers")?;
        let names = self.machine.registers().into_keys();
        Ok(match answer {
            Answer::Sound => names.map(|name| (name, u64::BITS)).collect(),
            Answer::Nonsense(number) => nonsense::writable(number),
        })
    }

    async fn hang(&mut self) -> Result<(), HypervisorError> {
        self.call_stopped("hang")?;
        self.machine.hung = true;
        Ok(())
    }

    async fn set_breakpoint(
        &mut self,
        address: GuestVirtualAddress,
    ) -> Result<(), HypervisorError> {
        self.call_stopped("set a breakpoint")?;
        self.machine.breakpoints.insert(address);
        Ok(())
    }

    async fn clear_breakpoint(
        &mut self,
        address: GuestVirtualAddress,
    ) -> Result<(), HypervisorError> {
        self.call_stopped("clear a breakpoint")?;
        if self.machine.breakpoints.remove(&address) {
            return Ok(());
        }
        Err(HypervisorError::Debugger {
            packet: "clear a breakpoint".to_owned(),
            detail: format!("there is none at {address}"),
        })
    }

    async fn snapshot(&mut self, directory: &Path) -> Result<Snapshot, HypervisorError> {
        self.call_stopped("snapshot")?;
        self.machine.save(directory)
    }

    async fn export(&mut self, memory: &Path, registers: &Path) -> Result<(), HypervisorError> {
        self.call_stopped("export")?;
        self.machine.memory.save(memory)?;
        let lines = self.machine.registers().into_iter();
        let text: String = lines
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect();
        std::fs::write(registers, text).map_err(HypervisorError::file("write", registers))
    }

    fn usage(&self) -> Usage {
        Usage {
            vcpu_cpu: Elapsed::from_ns(self.machine.cpu_ns),
            host_page_faults: self.machine.memory.changed_numbers().len() as u64,
        }
    }

    fn pid(&self) -> i32 {
        i32::try_from(std::process::id()).unwrap_or(0)
    }

    async fn destroy(self: Box<Self>) {}
}

//! The trait `Domain` over a simulated machine: every call that can fail is counted, and fails where
//! that was ordered.

use super::machine::Machine;
use super::trouble::Desk;
use crate::error::HypervisorError;
use crate::memory::changed::ChangedPages;
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
}

impl SimDomain {
    pub(super) const fn new(machine: Machine, desk: Arc<Desk>) -> Self {
        Self { machine, desk }
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
}

#[async_trait]
impl Domain for SimDomain {
    async fn resume(&mut self) -> Result<(), HypervisorError> {
        self.desk.call("resume")
    }

    async fn wait_stop(&mut self, limits: WaitLimits) -> Result<Stop, HypervisorError> {
        self.desk.call("wait for a stop")?;
        Ok(self.machine.run(limits, &self.desk))
    }

    fn take_console(&mut self) -> Vec<u8> {
        self.machine.take_console()
    }

    fn read_memory(
        &mut self,
        address: GuestPhysicalAddress,
        into: &mut [u8],
    ) -> Result<(), HypervisorError> {
        self.desk.call("read memory")?;
        self.machine.memory.read(address, into)
    }

    fn write_memory(
        &mut self,
        address: GuestPhysicalAddress,
        bytes: &[u8],
    ) -> Result<(), HypervisorError> {
        self.desk.call("write memory")?;
        self.machine.memory.write(address, bytes)
    }

    async fn patch_memory(
        &mut self,
        address: GuestPhysicalAddress,
        bytes: &[u8],
    ) -> Result<(), HypervisorError> {
        self.desk.call("patch memory")?;
        self.machine.memory.write(address, bytes)
    }

    fn changed_pages(&mut self) -> Result<ChangedPages, HypervisorError> {
        self.desk.call("read changed pages")?;
        self.only_restored()?;
        Ok(self.machine.memory.changed())
    }

    fn changed_page_numbers(&mut self) -> Result<Vec<u64>, HypervisorError> {
        self.desk.call("list changed pages")?;
        self.only_restored()?;
        Ok(self.machine.memory.changed_numbers())
    }

    async fn registers(&mut self) -> Result<RegisterSet, HypervisorError> {
        self.desk.call("read registers")?;
        Ok(self.machine.registers())
    }

    async fn flip_register(
        &mut self,
        name: &str,
        bit: u32,
    ) -> Result<(String, String), HypervisorError> {
        self.desk.call("flip a register")?;
        match self.machine.flip(name, bit) {
            Some((before, after)) => Ok((format!("{before:016x}"), format!("{after:016x}"))),
            None => Err(HypervisorError::UnknownRegister {
                name: format!("{name} with bit {bit}"),
                known: self
                    .machine
                    .registers()
                    .into_keys()
                    .collect::<Vec<_>>()
                    .join(" "),
            }),
        }
    }

    async fn writable_registers(&mut self) -> Result<Vec<(String, u32)>, HypervisorError> {
        self.desk.call("list registers")?;
        let names = self.machine.registers().into_keys();
        Ok(names.map(|name| (name, u64::BITS)).collect())
    }

    async fn hang(&mut self) -> Result<(), HypervisorError> {
        self.desk.call("hang")?;
        self.machine.hung = true;
        Ok(())
    }

    async fn set_breakpoint(
        &mut self,
        address: GuestVirtualAddress,
    ) -> Result<(), HypervisorError> {
        self.desk.call("set a breakpoint")?;
        self.machine.breakpoints.insert(address);
        Ok(())
    }

    async fn clear_breakpoint(
        &mut self,
        address: GuestVirtualAddress,
    ) -> Result<(), HypervisorError> {
        self.desk.call("clear a breakpoint")?;
        self.machine.breakpoints.remove(&address);
        Ok(())
    }

    async fn snapshot(&mut self, directory: &Path) -> Result<Snapshot, HypervisorError> {
        self.desk.call("snapshot")?;
        self.machine.save(directory)
    }

    async fn export(&mut self, memory: &Path, registers: &Path) -> Result<(), HypervisorError> {
        self.desk.call("export")?;
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

//! Puts the planned faults into a replica: in its machine while it stands at a mark, and in what it
//! told once it has ended.
//!
//! ```text
//!  first mark ─► site chosen, fault done ──later marks──► stuck: done again
//!                     └─ lost write, stale page: memory kept ──next mark──► put back
//! ```
//!
//! Memory is written through the debugger, never around it: a translator keeps translations of
//! code, and only the debugger's write takes effect on them. What was written is read back.

mod disk;
mod memory;
mod told;
mod words;

pub(crate) use disk::strike;
pub(crate) use told::distort;

use crate::error::ControlError;
use crate::injection::{FaultMode, FaultPart, PlannedInjection, RamWhere};
use crate::machine::PreparedMachine;
use computation::job::{Buffer, Mark};
use hypervisor::{ChangedPages, Domain};
use model::{Fate, GuestPhysicalAddress, InjectionRecord, ReplicaIndex};

/// One planned fault of one replica, and how far it has come.
#[derive(Debug)]
pub(crate) struct Fault<'a> {
    pub(crate) planned: &'a PlannedInjection,
    pub(crate) record: InjectionRecord,
    site: Option<Site>,
}

/// What a fault that takes more than one mark remembers.
#[derive(Debug)]
enum Site {
    /// The byte whose bit is stuck.
    Byte(GuestPhysicalAddress),
    /// The words of which bits are stuck, each with those bits.
    Words(Vec<(GuestPhysicalAddress, u64)>),
    /// Memory as it was at the first mark.
    Before(ChangedPages),
}

impl<'a> Fault<'a> {
    /// A fault that nothing was done of yet.
    pub(crate) fn new(planned: &'a PlannedInjection) -> Self {
        let injection = &planned.injection;
        Self {
            planned,
            record: InjectionRecord {
                replica: ReplicaIndex(planned.replica),
                part: injection.part.name().to_owned(),
                mode: injection.mode.name().to_owned(),
                address: None,
                register: None,
                name: None,
                bit: None,
                before: None,
                after: None,
                when: injection.when.to_string(),
                times: 0,
                fate: Fate::Masked,
                order: order(planned),
            },
            site: None,
        }
    }

    /// Does what is due at a mark. Its fate is settled after the comparison.
    pub(crate) async fn visit(
        &mut self,
        domain: &mut dyn Domain,
        machine: &PreparedMachine,
        (mark, buffers): (Mark, &[Buffer]),
    ) -> Result<(), ControlError> {
        if !self.planned.marks.contains(&mark) {
            return Ok(());
        }
        match &self.planned.injection.part {
            // What was told is distorted when all has been told.
            FaultPart::Log(_) | FaultPart::Metric(_) => Ok(()),
            // A disk is struck when its guest has come to its end and flushed all.
            FaultPart::Disk(_) => Ok(()),
            FaultPart::Hang => {
                self.record.times = 1;
                Ok(domain.hang().await?)
            }
            FaultPart::Register(name) => self.register(domain, name).await,
            FaultPart::Ram(place) if self.planned.injection.mode.puts_back() => {
                self.put_back(domain, *place, machine).await
            }
            FaultPart::Ram(place) if self.planned.injection.mode == FaultMode::Zero => {
                self.sector(domain, *place).await
            }
            FaultPart::Ram(place) if self.planned.injection.is_of_words() => {
                self.words(domain, *place, machine).await
            }
            FaultPart::Ram(place) => self.byte(domain, *place, machine, buffers).await,
        }
    }

    /// Strikes words of memory; stuck bits of them again at later marks.
    async fn words(
        &mut self,
        domain: &mut dyn Domain,
        place: RamWhere,
        machine: &PreparedMachine,
    ) -> Result<(), ControlError> {
        let mode = self.planned.injection.mode;
        let struck = match &self.site {
            Some(Site::Words(stuck)) => {
                let mut again = Vec::new();
                for &(address, mask) in stuck {
                    let before = words::read(domain, address)?;
                    again.push(words::Struck {
                        address,
                        before,
                        after: words::forced(mode, before, mask),
                        mask,
                    });
                }
                again
            }
            _ => words::choose(domain, self.planned, place, machine)?,
        };
        for one in struck.iter().filter(|one| one.before != one.after) {
            memory::write(domain, one.address, &one.after.to_le_bytes()).await?;
            if self.record.times == 0 {
                self.record.address = Some(one.address);
                self.record.before = Some(hexadecimal(one.before));
                self.record.after = Some(hexadecimal(one.after));
            }
            self.record.times += 1;
        }
        if let (None, Some(first)) = (&self.record.before, struck.first()) {
            self.record.address = Some(first.address);
            self.record.before = Some(hexadecimal(first.before));
            self.record.after = self.record.before.clone();
        }
        let stuck = struck.iter().map(|one| (one.address, one.mask));
        self.site = Some(Site::Words(stuck.collect()));
        Ok(())
    }

    /// Makes a block of a sector zero.
    async fn sector(
        &mut self,
        domain: &mut dyn Domain,
        place: RamWhere,
    ) -> Result<(), ControlError> {
        let (address, bytes) = words::sector(domain, self.planned, place)?;
        let zeros = vec![0; bytes.len()];
        memory::write(domain, address, &zeros).await?;
        self.record.address = Some(address);
        self.done(digest(&bytes), digest(&zeros));
        Ok(())
    }

    /// Flips a bit of a register, or forces it.
    async fn register(&mut self, domain: &mut dyn Domain, name: &str) -> Result<(), ControlError> {
        let bit = self.planned.bit(width(domain, name).await?);
        let (before, mut after) = domain.flip_register(name, bit).await?;
        if let FaultMode::Stuck(value) = self.planned.injection.mode
            && bit_of(&before, bit) == value
        {
            // It has its value already: as it was.
            (_, after) = domain.flip_register(name, bit).await?;
        }
        self.record.register = Some(name.to_owned());
        self.record.bit = Some(bit);
        self.done(before, after);
        Ok(())
    }

    /// Flips a bit of a byte of memory, or forces it.
    async fn byte(
        &mut self,
        domain: &mut dyn Domain,
        place: RamWhere,
        machine: &PreparedMachine,
        buffers: &[Buffer],
    ) -> Result<(), ControlError> {
        let address = match self.site {
            Some(Site::Byte(address)) => address,
            _ => memory::locate(domain, self.planned, place, machine, buffers)?,
        };
        self.site = Some(Site::Byte(address));
        let bit = self.planned.bit(8);
        let mask = 1_u8.checked_shl(bit).unwrap_or(0);
        let mut byte = [0];
        domain.read_memory(address, &mut byte)?;
        let before = byte[0];
        let after = match self.planned.injection.mode {
            FaultMode::Stuck(true) => before | mask,
            FaultMode::Stuck(false) => before & !mask,
            _ => before ^ mask,
        };
        if after != before {
            memory::write(domain, address, &[after]).await?;
        }
        self.record.address = Some(address);
        self.record.bit = Some(bit);
        self.done(format!("{before:02x}"), format!("{after:02x}"));
        Ok(())
    }

    /// Keeps memory at the first mark; at the next puts a part of it back that was written between.
    async fn put_back(
        &mut self,
        domain: &mut dyn Domain,
        place: RamWhere,
        machine: &PreparedMachine,
    ) -> Result<(), ControlError> {
        let Some(Site::Before(before)) = self.site.take() else {
            let before = memory::keep(domain, self.planned, place, machine)?;
            self.site = Some(Site::Before(before));
            return Ok(());
        };
        let lost = memory::written_since(domain, self.planned, &before)?;
        memory::write(domain, lost.address, &lost.before).await?;
        self.record.address = Some(lost.address);
        self.done(digest(&lost.written), digest(&lost.before));
        Ok(())
    }

    /// Notes one visit, with what it changed first.
    fn done(&mut self, before: String, after: String) {
        let changed = before != after;
        if self.record.before.is_none() || (changed && self.record.times == 0) {
            self.record.before = Some(before);
            self.record.after = Some(after);
        }
        self.record.times += u32::from(changed);
    }
}

/// The order of a fault that no single address and bit can tell.
fn order(planned: &PlannedInjection) -> Option<String> {
    let injection = crate::injection::Injection {
        replica: Some(planned.replica),
        ..planned.injection.clone()
    };
    injection.is_of_words().then(|| injection.to_string())
}

/// A word in the order of memory.
fn hexadecimal(word: u64) -> String {
    format!("{:016x}", word.swap_bytes())
}

/// What is told of many bytes: the first digits of their digest.
fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().chars().take(16).collect()
}

async fn width(domain: &mut dyn Domain, name: &str) -> Result<u32, ControlError> {
    let registers = domain.writable_registers().await?;
    let found = registers.iter().find(|(register, _)| register == name);
    // An unknown name is refused, with those that are known, by the flip itself.
    Ok(found.map_or(1, |(_, bits)| *bits))
}

/// A bit of a number in hexadecimal, most significant digit first.
fn bit_of(hexadecimal: &str, bit: u32) -> bool {
    let digit = hexadecimal.chars().rev().nth((bit / 4) as usize);
    let digit = digit.and_then(|digit| digit.to_digit(16)).unwrap_or(0);
    digit >> (bit % 4) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_of_registers_are_counted_from_the_right() {
        let set: Vec<u32> = (0..20).filter(|&bit| bit_of("0801f", bit)).collect();
        assert_eq!(set, [0, 1, 2, 3, 4, 15]);
        assert!(!bit_of("ff", 63));
    }
}

//! The machine that a user asks for: how many processors, who executes them, whether time is counted
//! in instructions.
//!
//! | accelerator | instruction count | machines are |
//! |---|---|---|
//! | `tcg`, one vCPU | on, unless said otherwise | bit-exact |
//! | `tcg`, one or several | off | not bit-exact: each vCPU has a thread, clocks are the host's |
//! | `kvm` | always off | not bit-exact |
//!
//! Several vCPUs under an instruction count are refused: QEMU executes them in turn in one thread,
//! and when it changes from one to the next depends on the host, so that they are not bit-exact
//! either, and slower than two threads.

use crate::error::ControlError;
use crate::machine::{boot, default_kernel, kernel, spec};
use computation::job::Hello;
use hypervisor::{Accelerator, Channel, Hypervisor, KVM_DEVICE, MAX_VCPUS, MachineSpec, Signal};
use rustix::fs::{Access, access};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// CPU and wall time of a probe boot on KVM. A processor boots in a second; one that is emulated, on
/// a host that is busy besides, was seen to take 13.
const KVM_PROBE_LIMIT: Duration = Duration::from_secs(60);

/// Within which such a probe has ended, whatever its emulator does: twice its limit, and the start.
const KVM_PROBE_END: Duration = Duration::from_secs(150);

/// What the user may choose of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineRequest {
    /// Virtual processors, 1 to [`MAX_VCPUS`].
    pub vcpus: u32,
    /// Whether time is counted in instructions; where absent, where machines are bit-exact by it.
    pub icount: Option<bool>,
    /// What executes the guest's instructions.
    pub accelerator: Accelerator,
}

impl Default for MachineRequest {
    /// One vCPU under the translator, bit-exact.
    fn default() -> Self {
        Self {
            vcpus: 1,
            icount: None,
            accelerator: Accelerator::Tcg,
        }
    }
}

impl MachineRequest {
    /// Whether equal machines of this kind end in equal states, bit for bit.
    #[must_use]
    pub fn is_deterministic(&self) -> bool {
        let counted = self.icount.unwrap_or(self.vcpus == 1);
        self.accelerator == Accelerator::Tcg && self.vcpus == 1 && counted
    }

    /// How many of a host's CPUs one replica takes: one for each thread that executes vCPUs, as far
    /// as there are any.
    #[must_use]
    pub fn host_cpus(&self, of: usize) -> usize {
        let threads = if self.is_deterministic() {
            1
        } else {
            self.vcpus
        };
        usize::try_from(threads).unwrap_or(1).clamp(1, of.max(1))
    }

    /// The machine, with our guest program in it.
    ///
    /// # Errors
    /// There is no such machine, no kernel, or this build holds no guest program.
    pub fn spec(&self) -> Result<MachineSpec, ControlError> {
        self.check()?;
        let path = default_kernel();
        kernel::check(&path)?;
        let (signal, channel) = match self.accelerator {
            Accelerator::Tcg => (Signal::Port, Channel::DebugConsole),
            Accelerator::Kvm => (Signal::Pci, Channel::Serial),
        };
        let standard = spec(path, self.accelerator, signal, channel)?;
        let deterministic = self.is_deterministic();
        Ok(MachineSpec {
            vcpus: self.vcpus,
            deterministic,
            kernel_arguments: if deterministic {
                standard.kernel_arguments
            } else {
                guest::settling(&standard.kernel_arguments)
            },
            cpu_model: match self.accelerator {
                Accelerator::Tcg => standard.cpu_model,
                Accelerator::Kvm => "host".to_owned(),
            },
            ..standard
        })
    }

    /// Refuses machines that there are not.
    ///
    /// # Errors
    /// Too many vCPUs or none, or an instruction count where there is none.
    pub fn check(&self) -> Result<(), ControlError> {
        if !(1..=MAX_VCPUS).contains(&self.vcpus) {
            return Err(ControlError::OutOfRange(format!(
                "{} vCPUs: a machine has 1 to {MAX_VCPUS}",
                self.vcpus
            )));
        }
        if self.vcpus > 1 && self.icount == Some(true) {
            return Err(ControlError::OutOfRange(format!(
                "an instruction count with {} vCPUs: they would not be bit-exact by it; \
                 --icount off compares them as what they are",
                self.vcpus
            )));
        }
        if self.accelerator == Accelerator::Kvm && self.icount == Some(true) {
            return Err(ControlError::OutOfRange(
                "an instruction count under KVM: only QEMU's translator counts instructions"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

/// Sees that machines of this kind can be made on this host. Only KVM is asked: by its device, then
/// by a boot that must have introduced itself within a limit.
///
/// # Errors
/// KVM is not there, may not be used, or carries no machine.
pub(crate) async fn see_usable(
    hypervisor: &Arc<dyn Hypervisor>,
    spec: &MachineSpec,
    cpus: &[u32],
) -> Result<(), ControlError> {
    if spec.accelerator != Accelerator::Kvm {
        return Ok(());
    }
    probe_kvm(hypervisor, spec, cpus).await.map(|_| ())
}

/// Boots a machine on KVM only to see that it works there.
///
/// # Errors
/// As for [`see_usable`].
pub(crate) async fn probe_kvm(
    hypervisor: &Arc<dyn Hypervisor>,
    spec: &MachineSpec,
    cpus: &[u32],
) -> Result<Hello, ControlError> {
    let unusable = |detail: String| ControlError::NoKvm { detail };
    let device = Path::new(KVM_DEVICE);
    if !device.exists() {
        return Err(unusable(format!("there is no {KVM_DEVICE}")));
    }
    access(device, Access::READ_OK | Access::WRITE_OK)
        .map_err(|error| unusable(format!("{KVM_DEVICE} may not be used: {error}")))?;
    let probe = boot::probe(hypervisor, spec, cpus, KVM_PROBE_LIMIT);
    match tokio::time::timeout(KVM_PROBE_END, probe).await {
        Ok(Ok(hello)) => Ok(hello),
        Ok(Err(error)) => Err(unusable(format!("a probe boot did not pass: {error}"))),
        Err(_) => Err(unusable(format!(
            "a probe boot did not end within {} s",
            KVM_PROBE_END.as_secs()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(vcpus: u32, icount: Option<bool>, accelerator: Accelerator) -> MachineRequest {
        MachineRequest {
            vcpus,
            icount,
            accelerator,
        }
    }

    #[test]
    fn only_a_translator_that_counts_is_bit_exact() {
        let exact = |icount, accelerator| request(1, icount, accelerator).is_deterministic();
        assert!(exact(None, Accelerator::Tcg));
        assert!(exact(Some(true), Accelerator::Tcg));
        assert!(!exact(Some(false), Accelerator::Tcg));
        assert!(!exact(None, Accelerator::Kvm));
        assert!(!exact(Some(false), Accelerator::Kvm));
        assert!(!request(2, None, Accelerator::Tcg).is_deterministic());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(request(0, None, Accelerator::Tcg).check().is_err());
        assert!(
            request(MAX_VCPUS + 1, None, Accelerator::Tcg)
                .check()
                .is_err()
        );
        assert!(request(1, Some(true), Accelerator::Kvm).check().is_err());
        assert!(request(2, Some(true), Accelerator::Tcg).check().is_err());
        assert!(request(MAX_VCPUS, None, Accelerator::Kvm).check().is_ok());
    }
}

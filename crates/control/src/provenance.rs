//! What made a result: the key of every baseline, golden value and mask.

use crate::command::Command;
use crate::machine::PreparedMachine;
use crate::program::Program;
use crate::request::RunPlan;
use crate::session::Session;
use model::Provenance;

/// The provenance of a run.
pub(crate) fn provenance(
    plan: &RunPlan,
    machine: &PreparedMachine,
    session: &Session,
) -> Provenance {
    Provenance {
        vardoger: env!("CARGO_PKG_VERSION").to_owned(),
        hypervisor: session.hypervisor.version().to_owned(),
        accelerator: machine.spec.accelerator.name().to_owned(),
        cpu_model: machine.spec.cpu_model.clone(),
        vcpus: machine.spec.vcpus,
        icount: machine.spec.deterministic,
        kernel: machine.hello.kernel_release.clone(),
        kernel_digest: machine.kernel_digest.clone(),
        guest_digest: machine.guest_digest.clone(),
        memory_bytes: machine.spec.memory_bytes,
        computation: plan.computation.name(),
        computation_version: plan.computation.version(),
        seed: plan.seed,
        steps: plan.steps,
        program: plan.computation.program().map(Program::provenance),
        command: plan.computation.command().map(Command::provenance),
    }
}

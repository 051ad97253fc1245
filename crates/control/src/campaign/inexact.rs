//! Trials on machines that are not bit-exact.
//!
//! A fault falls at the end, into a named buffer or into other memory of a program. One replica is run
//! with it, and held against clean ones, which are run once and stand for others in turn. A clean
//! trial runs all its replicas.
//!
//! | fault in | is detected if |
//! |---|---|
//! | a named buffer | the run deviates, and that replica and no other is named |
//! | other memory of a program | the very word is told among those that no clean run has shown as noise |

use crate::alignment::{Understood, align_all, aligned, memories, understand};
use crate::campaign::outcome::TrialOutcome;
use crate::campaign::pages::PageTally;
use crate::campaign::plan::Trial;
use crate::campaign::record::TrialRecord;
use crate::campaign::trial::Bench;
use crate::error::ControlError;
use crate::explain::ReplicaMemory;
use crate::injection::{Injection, plan};
use crate::machine::PreparedMachine;
use crate::noise;
use crate::replica::Captured;
use crate::run::{Known, analyse};
use divergence::align::{Aligned, AlignedWord};
use divergence::{Analysis, NoiseMask, Replica};
use introspection::{Introspection, KernelError, Standing};
use model::{Outcome, PAGE_BYTES, ReplicaIndex, Verdict};

const PAGE: u64 = PAGE_BYTES as u64;

/// Clean replicas that faulty ones are held against.
const DOUBLES: u32 = 6;

/// Clean replicas, and what is known of noise.
pub(super) struct Doubles {
    captured: Vec<Captured>,
    mask: NoiseMask,
}

/// Clean replicas whose memory was understood, once for all trials.
pub(super) struct Witnesses<'a> {
    doubles: &'a Doubles,
    understood: &'a [Introspection<'a>],
}

impl Doubles {
    /// The memories of the clean replicas.
    pub(super) fn memories<'a>(
        &'a self,
        machine: &'a PreparedMachine,
    ) -> Result<Vec<ReplicaMemory<'a>>, ControlError> {
        memories(machine, &self.captured)
    }

    /// The clean replicas, with their memories understood.
    pub(super) const fn witnesses<'a>(
        &'a self,
        understood: &'a [Introspection<'a>],
    ) -> Witnesses<'a> {
        Witnesses {
            doubles: self,
            understood,
        }
    }
}

impl<'a> Witnesses<'a> {
    /// The one that stands for a replica of a trial.
    fn stands_for(&self, trial: u32, replica: u32) -> Option<Understood<'a>> {
        let turn = (trial + replica) as usize % self.understood.len().max(1);
        Some(Understood {
            captured: self.doubles.captured.get(turn)?,
            introspection: self.understood.get(turn)?,
        })
    }
}

impl Bench<'_> {
    /// What was learned of noise.
    pub(super) fn mask(&self) -> Result<NoiseMask, ControlError> {
        let key = noise::key(self.base_plan(), self.machine(), self.session());
        let model = noise::load(&self.session().store_path, key)?;
        let summary = model.summary();
        if !summary.settled {
            tracing::warn!(
                runs = summary.runs,
                expected_new = summary.expected_new,
                "too little is known of the noise of these machines: `computation learn` learns it"
            );
        }
        Ok(model.mask())
    }

    /// Runs the clean replicas.
    pub(super) async fn doubles(&self) -> Result<Doubles, ControlError> {
        let mut captured = Vec::new();
        for turn in 0..DOUBLES {
            let plan = self.plan(turn, Vec::new(), self.first_deadline());
            let one = self.replica(&plan, 0, false).await?;
            if one.record.outcome != Outcome::Ended {
                let outcome = one.record.outcome;
                return Err(ControlError::Compare(format!(
                    "a clean replica {outcome}: a campaign needs some that end"
                )));
            }
            captured.push(one);
        }
        Ok(Doubles {
            captured,
            mask: self.mask()?,
        })
    }

    /// One fault in one replica, held against clean ones.
    pub(super) async fn inexact_fault(
        &self,
        witnesses: &Witnesses<'_>,
        trial: &Trial,
        order: &str,
    ) -> Result<TrialRecord, ControlError> {
        let injection = Injection {
            replica: Some(trial.replica),
            ..Injection::parse(order)?
        };
        let place = order.split(['=', '@']).nth(1).unwrap_or_default();
        let fault = format!("ram {place} flip");
        let replicas = self.base_plan().replicas;
        let planned = plan(&[injection], trial.draw, replicas, self.base_plan().steps)?;
        let run = self.plan(trial.number, planned, self.first_deadline());
        let faulty = self.replica(&run, trial.replica, false).await?;
        let memory = memories(self.machine(), [&faulty])?;
        let introspection = understood(&memory)?;
        let all: Option<Vec<Understood<'_>>> = (0..replicas)
            .map(|index| {
                if index == trial.replica {
                    Some(Understood {
                        captured: &faulty,
                        introspection: introspection.first()?,
                    })
                } else {
                    witnesses.stands_for(trial.number, index)
                }
            })
            .collect();
        let all = all.ok_or_else(|| ControlError::Compare("no clean replica".to_owned()))?;
        let aligned = aligned(&all, &witnesses.doubles.mask);
        let captured: Vec<&Captured> = all.iter().map(|one| one.captured).collect();
        let analysis = self.analysis(&captured, &aligned, &run)?;
        let record = faulty.injections.first();
        let address = record
            .and_then(|record| record.address)
            .map_or(0, |at| at.0 & !7);
        let position = trial.replica as usize;
        let told = |word: &AlignedWord| word.addresses.get(position) == Some(&Some(address));
        let named: Vec<_> = analysis.deviations.iter().map(|one| one.replica).collect();
        let outcome = if place == "buffer" {
            match (analysis.verdict, named.as_slice()) {
                (Verdict::Deviates, [Some(one)]) if one.0 == trial.replica => {
                    TrialOutcome::Detected
                }
                (Verdict::Deviates, _) => TrialOutcome::WrongReplica,
                _ => TrialOutcome::Missed,
            }
        } else if aligned.unexplained.iter().any(told) {
            TrialOutcome::Detected
        } else {
            TrialOutcome::Missed
        };
        let mut detail = format!("{order} at {address:#x}: {}", analysis.reason);
        if outcome == TrialOutcome::Missed
            && let Some(introspection) = introspection.first()
        {
            let found = explained(introspection, &aligned, position, address);
            detail = format!("{detail}; it fell on {found}");
        }
        Ok(TrialRecord {
            pages: PageTally::of([&faulty]),
            ..self.record(trial, fault, outcome, detail)
        })
    }

    /// All replicas, none with a fault.
    pub(super) async fn inexact_clean(
        &self,
        mask: &NoiseMask,
        trial: &Trial,
    ) -> Result<TrialRecord, ControlError> {
        let plan = self.plan(trial.number, Vec::new(), self.first_deadline());
        let captured = noise::replicas(self.session(), self.machine(), &plan, None).await?;
        let aligned = align_all(self.machine(), &captured, mask)?;
        let all: Vec<&Captured> = captured.iter().collect();
        let analysis = self.analysis(&all, &aligned, &plan)?;
        let outcome = match analysis.verdict {
            Verdict::Pass => TrialOutcome::Clean,
            Verdict::Deviates => TrialOutcome::FalseAlarm,
            Verdict::Inconclusive | Verdict::Skipped => TrialOutcome::Inconclusive,
        };
        let left_out: u64 = aligned.not_compared.values().sum();
        let detail = format!(
            "{}; compared {}, masked {}, not compared {left_out} bytes",
            analysis.reason, aligned.bytes_compared, aligned.bytes_masked
        );
        Ok(TrialRecord {
            pages: PageTally::of(&captured),
            ..self.record(trial, "none".to_owned(), outcome, detail)
        })
    }

    fn analysis(
        &self,
        all: &[&Captured],
        aligned: &Aligned,
        plan: &crate::request::RunPlan,
    ) -> Result<Analysis, ControlError> {
        let replicas: Vec<Replica<'_>> = (0..)
            .map(ReplicaIndex)
            .zip(all)
            .map(|(index, captured)| Replica {
                index,
                state: &captured.state,
            })
            .collect();
        let golden = self.golden(plan)?;
        let known = Known {
            golden: golden.as_deref(),
            history: None,
            aligned: Some(aligned),
        };
        let dropped = all.iter().map(|captured| captured.dropped_bytes).sum();
        analyse(&replicas, dropped, self.machine(), plan, known)
    }
}

/// Understands the memories of replicas.
pub(super) fn understood<'m>(
    memories: &'m [ReplicaMemory<'m>],
) -> Result<Vec<Introspection<'m>>, ControlError> {
    understand(memories).map_err(not_understood)
}

fn not_understood(error: KernelError) -> ControlError {
    ControlError::NotUnderstood {
        detail: error.to_string(),
    }
}

/// Where a word lies that was not found.
fn explained(
    introspection: &Introspection<'_>,
    aligned: &Aligned,
    position: usize,
    address: u64,
) -> String {
    let is_it = |word: &&AlignedWord| word.addresses.get(position) == Some(&Some(address));
    if let Some(word) = aligned.noise.iter().find(is_it) {
        return format!("{word}, which is known as noise");
    }
    match introspection.standing(address / PAGE) {
        Ok(Standing::User {
            process,
            address: page,
        }) => {
            let name = introspection.process_name(process).unwrap_or("?");
            let mapping = introspection.mapping_at(process, page);
            let mapping = mapping.map_or("[unmapped]", |mapping| mapping.name.as_str());
            let at = page + address % PAGE;
            format!("{mapping} of {name} ({process}) at {at:#x}")
        }
        Ok(other) => format!("{other:?}"),
        Err(reason) => reason.to_string(),
    }
}

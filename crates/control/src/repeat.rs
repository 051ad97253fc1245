//! The command line that does a past run again. Pure.
//!
//! A run's record has what its flags were settled to: steps, and where each fault fell. So the
//! command names those, not what was typed: the same computation, seed, size, machines and faults.
//! What changes neither of them (`--jobs`, `--keep`, `--timeout`, `--multiplier`) is not recorded
//! and not repeated.

use crate::injection::FaultMode;
use crate::request::TCG_INSTRUCTIONS_PER_S;
use computation::{Descriptor, find, steps_for};
use hypervisor::Accelerator;
use model::{InjectionRecord, Provenance, Run};
use std::time::Duration;

/// The command line that does this run again; `None` where the library of this version no longer
/// holds the computation in that version or size.
#[must_use]
pub fn command(run: &Run) -> Option<String> {
    let made = &run.provenance;
    let computation = find(&made.computation)?;
    if computation.version != made.computation_version {
        return None;
    }
    let mut words = vec![
        format!("vardoger run start {}", computation.name),
        format!("-n {}", run.replicas.len()),
        format!("--seed {:#x}", made.seed),
    ];
    words.extend(machine(made));
    words.extend(budget(computation, made.steps)?);
    words.extend(run.injections.iter().map(fault));
    Some(words.join(" "))
}

/// The flags of a machine that is not the standard one.
fn machine(made: &Provenance) -> Vec<String> {
    let kvm = made.accelerator == Accelerator::Kvm.name();
    let flags = [
        (made.vcpus > 1, format!("--vcpus {}", made.vcpus)),
        (kvm, "--accelerator kvm".to_owned()),
        (
            !made.icount && made.vcpus == 1 && made.accelerator == Accelerator::Tcg.name(),
            "--icount off".to_owned(),
        ),
    ];
    let flags = flags.into_iter().filter(|(wanted, _)| *wanted);
    flags.map(|(_, flag)| flag).collect()
}

/// The flag that gives this number of steps; nothing where the default does.
fn budget(computation: &Descriptor, steps: u64) -> Option<Option<String>> {
    let gives = |seconds| steps_for(computation, seconds, TCG_INSTRUCTIONS_PER_S) == steps;
    if gives(computation.default_budget_s) {
        return Some(None);
    }
    let cost = computation.instructions_per_step as f64 * computation.emulation_weight;
    let least_s = steps as f64 * cost / TCG_INSTRUCTIONS_PER_S;
    // Whole milliseconds read better, and a step is seldom shorter. The least is rounded; where it
    // fell below the step by that, the next one is meant.
    let units = [("ms", 1e3), ("us", 1e6)];
    let candidates = units.iter().flat_map(|&(unit, per_second)| {
        let least = (least_s * per_second).ceil();
        // As the command line reads it: whole nanoseconds.
        let read = |figure: f64| {
            let nanoseconds = (figure / per_second * 1e9).round() as u64;
            Duration::from_nanos(nanoseconds).as_secs_f64()
        };
        [least, least + 1.0].map(|figure| (figure, unit, read(figure)))
    });
    let mut fitting = candidates.filter(|(_, _, seconds)| gives(*seconds));
    let (figure, unit, _) = fitting.next()?;
    Some(Some(format!("--budget {figure}{unit}")))
}

/// The flag that does a fault again, where it fell.
fn fault(record: &InjectionRecord) -> String {
    if let Some(order) = &record.order {
        return format!("--inject {order}");
    }
    let mut text = format!("--inject {}", record.part);
    if let Some(address) = record.address {
        text.push_str(&format!("={address}"));
    }
    let name = record.register.as_ref().or(record.name.as_ref());
    if let Some(name) = name {
        let name = name.strip_prefix("line ").unwrap_or(name);
        text.push_str(&format!("={name}"));
    }
    if let Some(bit) = record.bit {
        text.push_str(&format!(":{bit}"));
    }
    text.push_str(&format!("@{},replica={}", record.when, record.replica));
    if record.mode != FaultMode::Flip.name() {
        text.push_str(&format!(",mode={}", record.mode));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::injection::Injection;
    use model::{Fate, GuestPhysicalAddress, ReplicaIndex};
    use proptest::prelude::*;

    fn settled(record: &InjectionRecord) -> Injection {
        let flag = fault(record);
        Injection::parse(flag.strip_prefix("--inject ").unwrap()).unwrap()
    }

    proptest! {
        #[test]
        fn a_budget_is_read_back_as_the_same_steps(seconds in 0.001_f64..3600.0) {
            for computation in computation::catalogue() {
                let steps = steps_for(computation, seconds, TCG_INSTRUCTIONS_PER_S);
                let flag = budget(computation, steps).unwrap();
                let read = flag.map_or(computation.default_budget_s, |flag| {
                    let text = flag.strip_prefix("--budget ").unwrap();
                    let (figure, unit) = match text.strip_suffix("ms") {
                        Some(figure) => (figure, 1e-3),
                        None => (text.strip_suffix("us").unwrap(), 1e-6),
                    };
                    // As the command line reads it: whole nanoseconds.
                    let nanoseconds = figure.parse::<f64>().unwrap() * unit * 1e9;
                    Duration::from_nanos(nanoseconds.round() as u64).as_secs_f64()
                });
                prop_assert_eq!(steps_for(computation, read, TCG_INSTRUCTIONS_PER_S), steps);
            }
        }
    }

    #[test]
    fn a_machine_of_another_kind_is_named() {
        let made = |accelerator: &str, vcpus, icount| {
            machine(&Provenance {
                accelerator: accelerator.to_owned(),
                vcpus,
                icount,
                ..Provenance::default()
            })
            .join(" ")
        };
        assert_eq!(made("tcg", 1, true), "");
        assert_eq!(made("tcg", 2, false), "--vcpus 2");
        assert_eq!(made("tcg", 1, false), "--icount off");
        assert_eq!(made("kvm", 1, false), "--accelerator kvm");
    }

    fn record(part: &str, mode: FaultMode, when: &str) -> InjectionRecord {
        InjectionRecord {
            replica: ReplicaIndex(2),
            part: part.to_owned(),
            mode: mode.name().to_owned(),
            address: None,
            register: None,
            name: None,
            bit: Some(5),
            before: None,
            after: None,
            when: when.to_owned(),
            times: 1,
            fate: Fate::Live,
            order: None,
        }
    }

    #[test]
    fn a_fault_is_read_back_where_it_fell() {
        let ram = InjectionRecord {
            address: Some(GuestPhysicalAddress(0x1234)),
            ..record("ram", FaultMode::Stuck(true), "half")
        };
        let register = InjectionRecord {
            register: Some("rax".to_owned()),
            ..record("reg", FaultMode::Flip, "step:7")
        };
        let line = InjectionRecord {
            name: Some("line 2".to_owned()),
            ..record("log", FaultMode::Flip, "end")
        };
        let hang = InjectionRecord {
            bit: None,
            ..record("hang", FaultMode::Flip, "start")
        };
        let check = |record, flag| assert_eq!(settled(record), Injection::parse(flag).unwrap());
        check(&ram, "ram=0x1234:5@half,replica=2,mode=stuck-1");
        check(&register, "reg=rax:5@step:7,replica=2");
        check(&line, "log=2:5@end,replica=2");
        check(&hang, "hang@start,replica=2");
    }
}

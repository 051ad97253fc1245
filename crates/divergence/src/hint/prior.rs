//! What is assumed before anything is seen.
//!
//! Defects of processors are shared out as Orthrus (SOSP 2025) reads Alibaba's study: arithmetic and
//! logic : vectors : floats : caches = 1 : 2 : 2 : 1. How the units' shares are divided further, and
//! all others, are ours: no field study counts these classes together. On a machine that is
//! bit-exact noise and races have no place to come from but a fault.

use model::HintClass;

/// The share of defects of processors among all causes, on a machine that is bit-exact.
const PROCESSOR: f64 = 0.54;

/// The same on one that is not, where noise comes first.
const PROCESSOR_INEXACT: f64 = 0.24;

/// The prior of a class. Over all classes they add up to 1.
pub(super) fn prior(class: HintClass, deterministic: bool) -> f64 {
    let processor = if deterministic {
        PROCESSOR
    } else {
        PROCESSOR_INEXACT
    };
    match of_processor(class) {
        Some(share) => processor * share,
        None if deterministic => elsewhere(class),
        None => elsewhere_inexact(class),
    }
}

/// The share of a class among defects of processors: sixths of units, divided.
fn of_processor(class: HintClass) -> Option<f64> {
    const UNIT: f64 = 1.0 / 6.0;
    Some(match class {
        // Arithmetic and logic: one.
        HintClass::CoreLocalDefect => 0.34 * UNIT,
        HintClass::RegisterOnly => 0.18 * UNIT,
        HintClass::ControlFlow => 0.36 * UNIT,
        HintClass::ThermalPower => 0.04 * UNIT,
        HintClass::Ageing => 0.04 * UNIT,
        HintClass::SelfInverse => 0.04 * UNIT,
        // Vectors: two.
        HintClass::VectorLane => 0.80 * UNIT,
        HintClass::FixedBitMask => 0.60 * UNIT,
        HintClass::WrongAddress => 0.40 * UNIT,
        HintClass::StringUndershoot => 0.20 * UNIT,
        // Floats: two.
        HintClass::FloatField => 1.50 * UNIT,
        HintClass::DataDependent => 0.50 * UNIT,
        // Caches: one.
        HintClass::Coherence => UNIT,
        _ => return None,
    })
}

fn elsewhere(class: HintClass) -> f64 {
    match class {
        HintClass::MemoryCell => 0.24,
        HintClass::Storage => 0.08,
        HintClass::Nondeterminism | HintClass::SoftwareRace => 0.01,
        HintClass::VersionDrift => 0.01,
        HintClass::CodePath => 0.03,
        HintClass::EmulatorBug => 0.01,
        _ => 0.07,
    }
}

fn elsewhere_inexact(class: HintClass) -> f64 {
    match class {
        HintClass::MemoryCell => 0.10,
        HintClass::Storage => 0.03,
        HintClass::Nondeterminism => 0.35,
        HintClass::SoftwareRace => 0.15,
        HintClass::VersionDrift => 0.02,
        HintClass::CodePath => 0.04,
        HintClass::EmulatorBug => 0.02,
        _ => 0.05,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priors_add_up_to_one() {
        for deterministic in [true, false] {
            let all = HintClass::ALL.iter();
            let sum: f64 = all.map(|class| prior(*class, deterministic)).sum();
            assert!((sum - 1.0).abs() < 1e-9, "{sum}");
        }
    }

    #[test]
    fn units_stand_as_one_to_two_to_two_to_one() {
        use HintClass as C;
        let sum = |classes: &[C]| -> f64 { classes.iter().map(|one| prior(*one, true)).sum() };
        let logic = sum(&[
            C::CoreLocalDefect,
            C::RegisterOnly,
            C::ControlFlow,
            C::ThermalPower,
            C::Ageing,
            C::SelfInverse,
        ]);
        let vectors = [
            C::VectorLane,
            C::FixedBitMask,
            C::WrongAddress,
            C::StringUndershoot,
        ];
        let floats = [C::FloatField, C::DataDependent];
        for (unit, times) in [
            (sum(&vectors), 2.0),
            (sum(&floats), 2.0),
            (sum(&[C::Coherence]), 1.0),
        ] {
            assert!((unit - times * logic).abs() < 1e-9, "{unit} {logic}");
        }
    }
}

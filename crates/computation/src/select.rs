//! Which computations serve a target and a sensitivity, and why.

use crate::catalogue::{Descriptor, Sensitivity, Target, catalogue};

/// What was chosen, best first.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Each computation, with the reason in one sentence. Never empty.
    pub picks: Vec<(&'static Descriptor, String)>,
}

/// Why nothing could be chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// No computation exercises the target.
    #[error("no computation exercises `{target}` yet; there is {available}")]
    NothingForTarget {
        /// What was asked for.
        target: Target,
        /// The targets that are served, each with its computations.
        available: String,
    },
    /// Those that would serve have another sensitivity.
    #[error("no computation of {sensitivity} sensitivity{purpose}; there is {available}")]
    NothingOfSensitivity {
        /// What was asked for.
        sensitivity: Sensitivity,
        /// ` for TARGET` where one was asked for, else empty.
        purpose: String,
        /// The computations that would serve otherwise, each with its sensitivity.
        available: String,
    },
}

/// Chooses from the library: those that exercise the target (any, where none is named) with the
/// given sensitivity (any, where none is named), highest sensitivity first, then those that
/// exercise the least besides.
///
/// # Errors
/// [`SelectError`] says what there is instead.
pub fn select(
    target: Option<Target>,
    sensitivity: Option<Sensitivity>,
) -> Result<Selection, SelectError> {
    choose(catalogue(), target, sensitivity)
}

fn choose(
    library: &'static [Descriptor],
    target: Option<Target>,
    sensitivity: Option<Sensitivity>,
) -> Result<Selection, SelectError> {
    let serves = |entry: &&Descriptor| target.is_none_or(|target| entry.targets.contains(&target));
    let mut chosen: Vec<&'static Descriptor> = library.iter().filter(serves).collect();
    if let (Some(target), true) = (target, chosen.is_empty()) {
        let available = list(&library.iter().collect::<Vec<_>>(), targets);
        return Err(SelectError::NothingForTarget { target, available });
    }
    if let Some(sensitivity) = sensitivity {
        let available = list(&chosen, |entry| entry.sensitivity.to_string());
        chosen.retain(|entry| entry.sensitivity == sensitivity);
        if chosen.is_empty() {
            return Err(SelectError::NothingOfSensitivity {
                sensitivity,
                purpose: target.map_or_else(String::new, |target| format!(" for {target}")),
                available,
            });
        }
    }
    chosen.sort_by_key(|entry| (entry.sensitivity, entry.targets.len(), entry.name));
    let explained = chosen
        .into_iter()
        .map(|entry| (entry, reason(entry, target)));
    Ok(Selection {
        picks: explained.collect(),
    })
}

/// Why an entry was chosen, in one sentence.
fn reason(entry: &Descriptor, target: Option<Target>) -> String {
    let served = target.map_or_else(|| targets(entry), |target| target.to_string());
    format!(
        "{} exercises {served} ({}) with {} sensitivity",
        entry.name,
        units(entry).join(", "),
        entry.sensitivity
    )
}

fn units(entry: &Descriptor) -> Vec<&'static str> {
    entry.units.iter().map(|unit| unit.name()).collect()
}

fn targets(entry: &Descriptor) -> String {
    let names: Vec<&str> = entry.targets.iter().map(|target| target.name()).collect();
    names.join(" and ")
}

fn list(entries: &[&Descriptor], detail: impl Fn(&Descriptor) -> String) -> String {
    let each = |entry: &&Descriptor| format!("{} ({})", entry.name, detail(entry));
    entries.iter().map(each).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(target: Option<Target>, sensitivity: Option<Sensitivity>) -> Vec<&'static str> {
        let selection = select(target, sensitivity).unwrap();
        selection
            .picks
            .iter()
            .map(|(entry, _)| entry.name)
            .collect()
    }

    #[test]
    fn targets_choose_what_exercises_them_highest_sensitivity_first() {
        for target in Target::ALL {
            let picks = select(Some(target), None).unwrap().picks;
            let fitting = catalogue()
                .iter()
                .filter(|entry| entry.targets.contains(&target));
            assert_eq!(picks.len(), fitting.count());
            assert!(
                picks
                    .iter()
                    .all(|(entry, _)| entry.targets.contains(&target))
            );
            assert!(picks.is_sorted_by_key(|(entry, _)| (entry.sensitivity, entry.targets.len())));
        }
        assert_eq!(names(Some(Target::Kernel), None), ["mappings", "kernel"]);
        let crypto = names(Some(Target::CpuCrypto), Some(Sensitivity::High));
        assert_eq!(crypto, ["aes", "hashes", "sha256"]);
    }

    #[test]
    fn every_target_and_every_sensitivity_is_served() {
        for target in Target::ALL {
            assert!(!names(Some(target), None).is_empty(), "{target}");
        }
        assert_eq!(names(None, Some(Sensitivity::Low)), ["text"]);
        let of = |sensitivity| names(None, Some(sensitivity));
        let all = Sensitivity::ALL.map(of).concat();
        assert_eq!(names(None, None), all);
        assert_eq!(all.len(), catalogue().len());
    }

    #[test]
    fn the_reason_is_a_sentence() {
        let selection = select(Some(Target::CpuFpu), None).unwrap();
        let matmul = selection
            .picks
            .iter()
            .find(|(entry, _)| entry.name == "matmul");
        assert_eq!(
            matmul.unwrap().1,
            "matmul exercises cpu.fpu (float multiply, float add, load/store) with high sensitivity"
        );
    }

    #[test]
    fn what_there_is_not_says_what_there_is() {
        let index = catalogue().iter().position(|entry| entry.name == "matmul");
        let one = std::slice::from_ref(&catalogue()[index.unwrap()]);
        let error = choose(one, Some(Target::Kernel), None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no computation exercises `kernel` yet; there is matmul (cpu.fpu)"
        );
        let error = select(Some(Target::Memory), Some(Sensitivity::Low)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no computation of low sensitivity for memory; there is copy (high), gather (high), \
             mappings (high), memory (high), sqlite (medium), stream (high), threads (high)"
        );
    }
}

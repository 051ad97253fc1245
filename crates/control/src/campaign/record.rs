//! One trial as it ended: a line of the campaign's file.

use crate::campaign::evidence::HintEvidence;
use crate::campaign::grade::HintGrade;
use crate::campaign::outcome::TrialOutcome;
use crate::campaign::pages::PageTally;
use serde::{Deserialize, Serialize};

/// One trial, as it ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialRecord {
    /// Its number.
    pub number: u32,
    /// The computation's name.
    pub computation: String,
    /// Part and mode of its fault, such as `ram flip`; `none` of a clean trial.
    pub fault: String,
    /// What became of it.
    pub outcome: TrialOutcome,
    /// What there is to know besides, for people.
    pub detail: String,
    /// What its hints were worth, in a trial of hints whose fault showed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<HintGrade>,
    /// What those hints were ranked from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Box<HintEvidence>>,
    /// What the check of its page lists has come to, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<PageTally>,
}

impl TrialRecord {
    /// The same trial, with its hints ranked anew from what they were ranked from; as it is where that
    /// was not kept.
    #[must_use]
    pub fn ranked_anew(&self) -> Self {
        let again = match (&self.hint, &self.evidence) {
            (Some(grade), Some(evidence)) => grade.again(&evidence.rank()),
            _ => None,
        };
        Self {
            hint: again.or_else(|| self.hint.clone()),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use divergence::Surroundings;
    use divergence::hint::traces::Traces;
    use model::{Difference, GuestPhysicalAddress, HintClass, Locus, Part};

    /// One flipped bit of one word, as an earlier version might have graded it.
    fn trial() -> TrialRecord {
        let difference = Difference {
            part: Part::Memory,
            locus: Locus::Address(GuestPhysicalAddress(0x3000)),
            expected: Some("0700000000000000".to_owned()),
            found: "0500000000000000".to_owned(),
            flipped_bits: Vec::new(),
            symbol: None,
            explanation: None,
        };
        TrialRecord {
            number: 1,
            computation: "sha256".to_owned(),
            fault: "memory-cell".to_owned(),
            outcome: TrialOutcome::Detected,
            detail: String::new(),
            hint: Some(HintGrade {
                truth: HintClass::MemoryCell,
                shifted: true,
                early: false,
                first: HintClass::Storage,
                probability: 0.9,
                place: 21,
                truth_probability: 0.0,
            }),
            evidence: Some(Box::new(HintEvidence {
                replica: None,
                differences: vec![difference],
                traces: Traces::default(),
                deterministic: true,
                code: None,
                surroundings: Surroundings::default(),
            })),
            pages: None,
        }
    }

    #[test]
    fn hints_are_ranked_anew_from_what_is_read_back() {
        let line = serde_json::to_string(&trial()).unwrap();
        let read: TrialRecord = serde_json::from_str(&line).unwrap();
        assert_eq!(read, trial());
        let grade = read.ranked_anew().hint.unwrap();
        assert_eq!((grade.first, grade.place), (HintClass::MemoryCell, 1));
        assert!(grade.probability > 0.5 && grade.shifted && !grade.early);
        assert!((grade.probability - grade.truth_probability).abs() < 1e-12);
    }

    #[test]
    fn a_trial_without_evidence_stays_as_it_is() {
        let line = serde_json::to_string(&TrialRecord {
            evidence: None,
            pages: None,
            ..trial()
        });
        let line = line.unwrap();
        assert!(!line.contains("evidence"), "{line}");
        let read: TrialRecord = serde_json::from_str(&line).unwrap();
        assert_eq!(read.ranked_anew(), read);
    }
}

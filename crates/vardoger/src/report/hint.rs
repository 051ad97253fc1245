//! Possible causes, for people: the likeliest in a report, all of them in an explanation.

use super::rows;
use model::{Hint, HintClass, Investigation, NextExperiment};

/// Causes below this probability are left to `finding explain`.
const SHOWN_PROBABILITY: f64 = 0.05;

/// Causes that a report shows.
const SHOWN: usize = 3;

/// The likeliest causes as labelled rows; the label stands at the first.
pub(crate) fn hint_rows(hints: &[Hint]) -> Vec<(&'static str, String)> {
    let likely = |hint: &&Hint| hint.probability.is_none_or(|one| one >= SHOWN_PROBABILITY);
    let labels = std::iter::once("why").chain(std::iter::repeat(""));
    labels
        .zip(hints.iter().filter(likely).take(SHOWN))
        .map(|(label, hint)| {
            (
                label,
                format!("{}{}: {}", percent(hint), hint.cause, hint.reason),
            )
        })
        .collect()
}

/// One cause whole: what speaks for and against it, how much, and by whose figures.
pub(crate) fn whole_hint(hint: &Hint) -> String {
    let class = hint
        .class
        .map(|class| format!(" ({class})"))
        .unwrap_or_default();
    let mut shown = vec![
        ("cause", format!("{}{}{class}", percent(hint), hint.cause)),
        ("evidence", hint.reason.clone()),
    ];
    if let Some(ratio) = hint.likelihood_ratio {
        let times = "times as likely under this cause as under none in particular";
        shown.push(("ratio", format!("{} {times}", two_digits(ratio))));
    }
    for source in &hint.sources {
        shown.push(("source", source.clone()));
    }
    for conflict in &hint.conflicts {
        shown.push(("contested", conflict.about.clone()));
        shown.extend(conflict.figures.iter().map(|one| {
            let ratio = two_digits(one.likelihood_ratio);
            (
                "",
                format!("{}: {ratio} times ({})", one.figure, one.source),
            )
        }));
    }
    rows(&shown)
}

/// What would tell the likeliest causes apart.
pub(crate) fn next_experiment(next: &NextExperiment) -> String {
    let [one, other] = next.separates;
    format!(
        "{} ({}, {:.2} bits expected to tell {one} from {other}; --investigate does it)",
        next.experiment.says(),
        next.experiment,
        next.information_bits
    )
}

/// The experiments that were carried out, with what each changed.
pub(crate) fn investigated(investigation: &Investigation) -> Vec<(&'static str, String)> {
    let chances = |all: &[(HintClass, f64)]| {
        let one = |(class, probability): &(HintClass, f64)| {
            format!("{class} {:.0} %", probability * 100.0)
        };
        all.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let mut shown = Vec::new();
    for round in &investigation.rounds {
        let label = if shown.is_empty() { "investigated" } else { "" };
        let outcome = round.outcome;
        let done = round.next.experiment;
        shown.push((
            label,
            format!("{done} brought {outcome} (run {})", round.run),
        ));
        shown.push(("", format!("before: {}", chances(&round.before))));
        shown.push(("", format!("after:  {}", chances(&round.after))));
    }
    let label = if shown.is_empty() { "investigated" } else { "" };
    shown.push((label, format!("ended: {}", investigation.ended)));
    shown
}

fn percent(hint: &Hint) -> String {
    let share = hint.probability.map(|one| 100.0 * one);
    share.map_or_else(String::new, |share| match share {
        ..0.5 => "<1 % ".to_owned(),
        99.5.. => ">99 % ".to_owned(),
        _ => format!("{share:.0} % "),
    })
}

/// Two significant digits, without a power of ten.
pub(crate) fn two_digits(ratio: f64) -> String {
    match ratio {
        10.0.. => format!("{ratio:.0}"),
        1.0.. => format!("{ratio:.1}"),
        0.1.. => format!("{ratio:.2}"),
        _ => format!("{ratio:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::HintClass;

    fn hint(probability: f64) -> Hint {
        Hint {
            class: Some(HintClass::MemoryCell),
            cause: "a cell".to_owned(),
            reason: "one bit".to_owned(),
            probability: Some(probability),
            likelihood_ratio: Some(5.5),
            sources: vec!["a paper".to_owned()],
            ..Hint::default()
        }
    }

    #[test]
    fn a_report_shows_the_likely_ones_with_their_reasons() {
        let shown = hint_rows(&[hint(0.62), hint(0.3), hint(0.04), hint(0.04)]);
        let expected = [
            ("why", "62 % a cell: one bit".to_owned()),
            ("", "30 % a cell: one bit".to_owned()),
        ];
        assert_eq!(shown, expected);
        assert_eq!(hint_rows(&[0.3; 5].map(hint)).len(), SHOWN);
        assert!(hint_rows(&[]).is_empty());
    }

    #[test]
    fn an_explanation_shows_ratio_and_source() {
        let text = anstream::adapter::strip_str(&whole_hint(&hint(0.999))).to_string();
        for part in [
            ">99 % a cell (memory-cell)",
            "one bit",
            "5.5 times",
            "a paper",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}

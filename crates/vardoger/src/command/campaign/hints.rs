//! How good hints were over a campaign: for people, and as a document.

use crate::report;
use control::campaign::{HintReport, Shares};
use model::HintClass;
use schema::{HintClassDocument, HintReportDocument, HintSharesDocument, ReliabilityBinDocument};
use std::collections::BTreeMap;

/// The figures, the confusion matrix and the reliability table.
pub(super) fn text(report: &HintReport) -> String {
    let (low, high) = report.calibration_interval;
    let calibration = format!(
        "expected calibration error {:.3} (95 %: {low:.3} to {high:.3})",
        report.calibration_error
    );
    let mut text = report::rows(&[
        ("hints", line("all", report.all)),
        ("", line("usual priors and studies", report.usual)),
        ("", line("shifted priors, other study", report.shifted)),
        ("", line("struck before the end", report.early)),
        ("", calibration),
    ]);
    text.push_str(&report::table(&confusion(report)));
    text.push_str(&report::table(&reliability(report)));
    text
}

fn line(what: &str, shares: Shares) -> String {
    format!(
        "{what}: true cause first in {} %, among three in {} % of {}",
        percent(shares.of(shares.first)),
        percent(shares.of(shares.among_three)),
        report::count(shares.trials)
    )
}

fn percent(share: f64) -> String {
    format!("{:.1}", share * 100.0)
}

/// One row for each true cause: its figures, and what was said first, the commonest first.
fn confusion(report: &HintReport) -> Vec<Vec<String>> {
    let head = ["true cause", "trials", "first", "among three", "said first"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(report.by_class.iter().map(|(class, shares)| {
        let mut said: Vec<(HintClass, u64)> = report
            .confusion
            .get(class)
            .into_iter()
            .flatten()
            .map(|(class, count)| (*class, *count))
            .collect();
        said.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let said: Vec<String> = said
            .into_iter()
            .map(|(class, count)| format!("{class} {count}"))
            .collect();
        vec![
            class.to_string(),
            report::count(shares.trials),
            percent(shares.of(shares.first)),
            percent(shares.of(shares.among_three)),
            said.join(", "),
        ]
    }));
    rows
}

fn reliability(report: &HintReport) -> Vec<Vec<String>> {
    let head = ["hints", "said %", "was right %"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(report.reliability.iter().map(|bin| {
        vec![
            report::count(bin.count as u64),
            percent(bin.confidence),
            percent(bin.right),
        ]
    }));
    rows
}

/// The same as a document.
pub(super) fn document(report: &HintReport) -> HintReportDocument {
    let (low, high) = report.calibration_interval;
    HintReportDocument {
        all: shares(report.all),
        usual: shares(report.usual),
        shifted: shares(report.shifted),
        early: shares(report.early),
        by_class: report
            .by_class
            .iter()
            .map(|(class, of_class)| HintClassDocument {
                class: class.to_string(),
                shares: shares(*of_class),
                said: said(report, *class),
            })
            .collect(),
        reliability: report
            .reliability
            .iter()
            .map(|bin| ReliabilityBinDocument {
                count: bin.count as u64,
                said: bin.confidence,
                right: bin.right,
            })
            .collect(),
        calibration_error: report.calibration_error,
        calibration_interval: [low, high],
    }
}

fn said(report: &HintReport, class: HintClass) -> BTreeMap<String, u64> {
    let said = report.confusion.get(&class).into_iter().flatten();
    said.map(|(class, count)| (class.to_string(), *count))
        .collect()
}

fn shares(shares: Shares) -> HintSharesDocument {
    HintSharesDocument {
        trials: shares.trials,
        first: shares.of(shares.first),
        among_three: shares.of(shares.among_three),
    }
}

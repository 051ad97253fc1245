//! `doctor`: what this machine can do; for each lack the command that mends it.

use crate::args::{DoctorArgs, Global};
use crate::failure::Failure;
use crate::{output, report, session};
use anstyle::AnsiColor;
use control::ControlError;
use control::doctor::{Check, CheckStatus, examine};
use schema::{CheckDocument, DoctorDocument, Document};
use std::process::ExitCode;

/// Looks, and reports. It ends with 1 where runs are not possible.
pub(crate) async fn execute(global: &Global, arguments: &DoctorArgs) -> Result<ExitCode, Failure> {
    let config = session::config(global)?;
    let interruption = session::interruption();
    let checks = tokio::select! {
        checks = examine(&config, !arguments.no_boot) => checks,
        () = interruption => return Err(ControlError::Interrupted.into()),
    };
    let able = !checks
        .iter()
        .any(|check| check.status == CheckStatus::Missing);
    if global.json() {
        let checks = checks.iter().map(document).collect();
        output::document(global, &Document::new(DoctorDocument { checks }))?;
    } else {
        output::text(&checks.iter().map(text).collect::<String>())?;
    }
    Ok(if able {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn status(check: &Check) -> (&'static str, &'static str, AnsiColor) {
    match check.status {
        CheckStatus::Ok => ("ok", "✓", AnsiColor::Green),
        CheckStatus::Limited => ("limited", "·", AnsiColor::Yellow),
        CheckStatus::Missing => ("missing", "✗", AnsiColor::Red),
    }
}

fn text(check: &Check) -> String {
    let (_, mark, color) = status(check);
    let style = report::bold(color);
    let mut text = format!(
        "{style}{mark}{style:#} {:<14} {}\n",
        check.name, check.detail
    );
    if let Some(remedy) = &check.remedy {
        text.push_str(&format!("  {:<14} → {remedy}\n", ""));
    }
    text
}

fn document(check: &Check) -> CheckDocument {
    CheckDocument {
        name: check.name.to_owned(),
        status: status(check).0.to_owned(),
        detail: check.detail.clone(),
        remedy: check.remedy.clone(),
    }
}

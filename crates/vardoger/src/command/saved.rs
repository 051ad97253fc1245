//! `run diff` and `run export`: states that were saved.

use crate::args::{DiffArgs, ExportArgs, Global};
use crate::command::worker;
use crate::failure::Failure;
use crate::{output, report, session};
use control::saved::Exported;
use control::{ControlError, diff, saved};
use schema::{DiffDocument, Document, ExportDocument, ExportedDocument};
use std::path::PathBuf;
use std::process::ExitCode;

/// Compares states, wherever they are.
pub(super) async fn diff(global: &Global, arguments: &DiffArgs) -> Result<ExitCode, Failure> {
    let sources = sources(global, &arguments.states).await?;
    let store = session::config(global)?.store;
    let program = PathBuf::from(worker::PROGRAM);
    let diff = diff::diff(program, worker::DIFF, sources, &store).await?;
    if global.json() {
        let mut document = Document::new(DiffDocument::from(&diff));
        document.warnings.clone_from(&diff.warnings);
        output::document(global, &document)?;
    } else {
        output::text(&report::diff(&diff))?;
    }
    Ok(ExitCode::from(super::run::exit_code(diff.verdict)))
}

/// Where the named states are. The store is opened only if one of them is in it.
async fn sources(global: &Global, texts: &[String]) -> Result<Vec<diff::Source>, Failure> {
    let mut store = None;
    let mut sources = Vec::new();
    for text in texts {
        if diff::is_path(text) {
            sources.push(diff::Source {
                name: text.clone(),
                path: text.into(),
            });
            continue;
        }
        let opened = match store.take() {
            Some(opened) => opened,
            None => session::store(global).await?,
        };
        sources.extend(diff::in_store(&opened, text).await?);
        store = Some(opened);
    }
    Ok(sources)
}

/// Writes states of a run out.
pub(super) async fn export(global: &Global, arguments: &ExportArgs) -> Result<ExitCode, Failure> {
    let store = session::store(global).await?;
    let (run, states) = saved::find(&store, &arguments.run, arguments.replica).await?;
    let exported = saved::export(&store, &states, &arguments.out)
        .await
        .map_err(hinted)?;
    if global.json() {
        let files = exported.iter().map(document).collect();
        let run = run.id.to_string();
        output::document(global, &Document::new(ExportDocument { run, files }))?;
    } else {
        let head = ["state", "bytes", "digest", "file"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(exported.iter().map(cells));
        output::text(&report::table(&rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what to do where a file is there already.
fn hinted(error: ControlError) -> Failure {
    let exists = matches!(&error, ControlError::File { source, .. }
        if source.kind() == std::io::ErrorKind::AlreadyExists);
    let mut failure = Failure::from(error);
    if exists {
        failure.hint = Some("nothing is written over: name another place with --out".to_owned());
    }
    failure
}

fn document(exported: &Exported) -> ExportedDocument {
    ExportedDocument {
        replica: exported.replica.map(|replica| replica.0),
        path: exported.path.display().to_string(),
        size_bytes: exported.bytes,
        digest: exported.digest.clone(),
    }
}

fn cells(exported: &Exported) -> Vec<String> {
    vec![
        exported.replica.map_or_else(
            || "majority".to_owned(),
            |replica| format!("replica {replica}"),
        ),
        report::count(exported.bytes),
        exported.digest.chars().take(12).collect(),
        exported.path.display().to_string(),
    ]
}

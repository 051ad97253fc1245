//! What goes to stdout: text for people, or versioned documents.

use crate::args::{Global, Output};
use crate::failure::Failure;
use crate::report;
use anstyle::AnsiColor;
use schema::{Document, ErrorDocument};
use serde::Serialize;
use std::io::Write;
use std::process::ExitCode;

/// Writes text for people; styles are stripped where stdout has none.
pub(crate) fn text(content: &str) -> Result<(), Failure> {
    let mut stdout = anstream::stdout().lock();
    stdout
        .write_all(content.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::output(&error))
}

/// Writes one document.
pub(crate) fn document<T: Serialize>(
    global: &Global,
    document: &Document<T>,
) -> Result<(), Failure> {
    let written = match global.output {
        Output::Ndjson => serde_json::to_vec(document),
        Output::Table | Output::Json => serde_json::to_vec_pretty(document),
    };
    let mut bytes = written.map_err(|error| Failure::of("cannot write the result", &error))?;
    bytes.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(&bytes)
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::output(&error))
}

/// Says something on stderr, unless quiet.
pub(crate) fn message(global: &Global, message: &str) {
    if !global.quiet {
        anstream::eprintln!("{message}");
    }
}

/// Shows a failure on stderr and gives its exit code.
pub(crate) fn failure(global: &Global, failure: &Failure) -> ExitCode {
    if failure.exit == 0 {
        return ExitCode::SUCCESS;
    }
    if global.json() {
        error_document(failure);
    } else {
        let red = report::bold(AnsiColor::Red);
        anstream::eprintln!("{red}error{red:#}: {}", failure.message);
        if let Some(hint) = &failure.hint {
            let cyan = report::bold(AnsiColor::Cyan);
            anstream::eprintln!(" {cyan}hint{cyan:#}: {hint}");
        }
    }
    ExitCode::from(failure.exit)
}

/// Shows why a command line cannot be read, or the help that was asked for.
pub(crate) fn refused(error: &clap::Error) -> ExitCode {
    let json = std::env::args().any(|word| word == "--json");
    if json && error.use_stderr() {
        let rendered = error.render().to_string();
        let message = rendered.trim().trim_start_matches("error: ").to_owned();
        error_document(&Failure::usage(message, None));
    } else if let Err(unwritten) = error.print() {
        return ExitCode::from(Failure::output(&unwritten).exit);
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Writes a failure as a document to stderr.
fn error_document(failure: &Failure) {
    let document = Document::new(ErrorDocument {
        code: failure.code.clone(),
        message: failure.message.clone(),
        hint: failure.hint.clone(),
    });
    if let Ok(text) = serde_json::to_string(&document) {
        eprintln!("{text}");
    }
}

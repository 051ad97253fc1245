//! What goes to stdout: text for people, or versioned documents.

use crate::args::{Global, Output};
use crate::failure::Failure;
use crate::report;
use anstyle::AnsiColor;
use schema::{Document, ErrorDocument};
use serde::Serialize;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where a result goes: to stdout at once, or to a file that is written whole at the end.
#[derive(Debug)]
pub(crate) struct Sink {
    file: Option<PathBuf>,
    held: Vec<u8>,
}

impl Sink {
    /// Takes the file that `--out` names. That it can be written is seen now, not after the work.
    pub(crate) fn open(file: Option<&Path>) -> Result<Self, Failure> {
        if let Some(path) = file {
            let mut options = OpenOptions::new();
            let opened = options.append(true).create(true).open(path);
            opened.map_err(|error| unwritable(path, &error))?;
        }
        Ok(Self {
            file: file.map(Path::to_path_buf),
            held: Vec::new(),
        })
    }

    /// Takes text for people; its styles stay on a terminal only.
    pub(crate) fn text(&mut self, content: &str) -> Result<(), Failure> {
        if self.file.is_none() {
            return text(content);
        }
        let plain = anstream::adapter::strip_str(content).to_string();
        self.bytes(plain.as_bytes())
    }

    /// Takes one document.
    pub(crate) fn document<T: Serialize>(
        &mut self,
        global: &Global,
        document: &Document<T>,
    ) -> Result<(), Failure> {
        self.bytes(&encoded(global, document)?)
    }

    /// Takes what is already as it shall be.
    pub(crate) fn bytes(&mut self, content: &[u8]) -> Result<(), Failure> {
        if self.file.is_some() {
            self.held.extend_from_slice(content);
            return Ok(());
        }
        to_stdout(content)
    }

    /// Writes the file, where there is one.
    pub(crate) fn close(self) -> Result<(), Failure> {
        match self.file {
            Some(path) => {
                std::fs::write(&path, self.held).map_err(|error| unwritable(&path, &error))
            }
            None => Ok(()),
        }
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::of(&format!("cannot write {}", path.display()), error)
}

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
    to_stdout(&encoded(global, document)?)
}

fn encoded<T: Serialize>(global: &Global, document: &Document<T>) -> Result<Vec<u8>, Failure> {
    let written = match global.output {
        Output::Ndjson => serde_json::to_vec(document),
        Output::Table | Output::Json | Output::Html => serde_json::to_vec_pretty(document),
    };
    let mut bytes = written.map_err(|error| Failure::of("cannot write the result", &error))?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn to_stdout(content: &[u8]) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(content)
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

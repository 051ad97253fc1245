//! `image diff --since`: what changed under a path since a time, capture by capture.

use super::look::{bytes_if_no_text, explained, explanation, join, notes, size_of, when};
use super::work;
use crate::args::{ChangesArgs, ExportFormat, Global, ImageExportArgs, Output};
use crate::failure::Failure;
use crate::{output, report};
use computation::job::sanitise;
use control::image::{
    self, Bytes, Change, ChangeRecord, ChangeSink, ChangesAsked, Explanation, FileState,
    ImageError, ToldExplanation,
};
use schema::{ByteRangeDocument, ChangeDocument, ChangeListDocument, Document, FileStateDocument};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;

/// How many are told where nobody says how many: a list for people, or one document.
const LIMIT: u64 = 10_000;

pub(super) async fn changes(
    global: &Global,
    name: &str,
    which: &ChangesArgs,
) -> Result<ExitCode, Failure> {
    let asked = ChangesAsked {
        image: name.to_owned(),
        path: which.path.clone(),
        since: which.since,
        until: which.until,
    };
    if global.output == Output::Ndjson && !global.json {
        return stream(global, asked, which.limit).await;
    }
    let limit = which.limit.unwrap_or(LIMIT);
    let question = asked.clone();
    let found = work(global, move |shadows, reading| {
        let mut found = Vec::new();
        let mut more = false;
        let mut progress = |done, all| reading.reached(done, all);
        let told = image::changes(shadows, &asked, &mut progress, &mut |change| {
            more = found.len() as u64 >= limit;
            if more {
                return Ok(ControlFlow::Break(()));
            }
            found.push(change);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok((found, more, told))
    });
    let (found, more, told) = found.await?;
    notes(global, &told);
    if global.json() {
        let mut document = Document::new(ChangeListDocument {
            image: question.image.clone(),
            path: question.path,
            since: question.since.map(|time| time.to_string()),
            until: question.until.map(|time| time.to_string()),
            changes: found
                .iter()
                .map(|one| document(&question.image, one))
                .collect(),
            more,
        });
        document.warnings = told;
        output::document(global, &document)?;
        return Ok(ExitCode::SUCCESS);
    }
    if found.is_empty() {
        output::text("no file changed\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    output::text(&report::table(&rows(&found)))?;
    if more {
        output::message(
            global,
            "there are more: --limit N, or -o ndjson, tells more of them",
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Tells one a line, as they are found.
async fn stream(
    global: &Global,
    asked: ChangesAsked,
    limit: Option<u64>,
) -> Result<ExitCode, Failure> {
    let told = work(global, move |shadows, reading| {
        let mut output = std::io::BufWriter::new(std::io::stdout().lock());
        let mut left = limit.unwrap_or(u64::MAX);
        let mut progress = |done, all| reading.reached(done, all);
        let name = asked.image.clone();
        let told = image::changes(shadows, &asked, &mut progress, &mut |change| {
            let Some(next) = left.checked_sub(1) else {
                return Ok(ControlFlow::Break(()));
            };
            left = next;
            line(&mut output, &Document::new(document(&name, &change)))?;
            Ok(ControlFlow::Continue(()))
        })?;
        output.flush().map_err(ImageError::Output)?;
        Ok(told)
    });
    notes(global, &told.await?);
    Ok(ExitCode::SUCCESS)
}

/// Writes changes into a new file, which has its name when it is whole.
pub(super) async fn export(
    global: &Global,
    arguments: &ImageExportArgs,
) -> Result<ExitCode, Failure> {
    let asked = ChangesAsked {
        image: arguments.image.clone(),
        path: arguments.path.clone(),
        since: arguments.since,
        until: arguments.until,
    };
    let (to, format) = (arguments.to.clone(), arguments.format);
    let written = work(global, move |shadows, reading| {
        let mut progress = |done, all| reading.reached(done, all);
        let name = asked.image.clone();
        let begin = |output| sink(format, &name, output);
        image::export_changes(shadows, &asked, &to, &mut progress, begin)
    });
    let (count, told) = written.await?;
    notes(global, &told);
    let count = report::count(count);
    let to = arguments.to.display();
    output::message(global, &format!("{count} changes are in {to}"));
    Ok(ExitCode::SUCCESS)
}

/// Writes changes in a form.
fn sink(
    format: ExportFormat,
    image: &str,
    output: BufWriter<File>,
) -> Result<Box<dyn ChangeSink>, ImageError> {
    Ok(match format {
        ExportFormat::Ndjson => Box::new(Lines {
            image: image.to_owned(),
            output,
        }),
        #[cfg(feature = "parquet")]
        ExportFormat::Parquet => Box::new(super::parquet::Sink::begin(image, output)?),
    })
}

/// Documents, one a line.
struct Lines {
    image: String,
    output: BufWriter<File>,
}

impl ChangeSink for Lines {
    fn put(&mut self, change: &Change) -> Result<(), ImageError> {
        let document = Document::new(document(&self.image, change));
        line(&mut self.output, &document)
    }

    fn end(mut self: Box<Self>) -> Result<(), ImageError> {
        self.output.flush().map_err(ImageError::Output)
    }
}

/// Writes a document as one line.
pub(super) fn line<T: serde::Serialize>(
    output: &mut dyn Write,
    document: &Document<T>,
) -> Result<(), ImageError> {
    let mut bytes =
        serde_json::to_vec(document).map_err(|error| ImageError::Output(error.into()))?;
    bytes.push(b'\n');
    output.write_all(&bytes).map_err(ImageError::Output)
}

fn rows(found: &[Change]) -> Vec<Vec<String>> {
    let first = found.first().map(|one| one.record.volume.clone());
    let prefixed = found
        .iter()
        .any(|one| Some(&one.record.volume) != first.as_ref());
    let head = ["", "until", "change", "size", "owner", "path", "what"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(found.iter().map(|change| {
        let record = &change.record;
        let now = record.after.or(record.before);
        let size = |state: Option<FileState>| state.map(|state| state.size_bytes);
        let path = sanitise(&record.path);
        let told = record.explanation.as_ref().map(told);
        vec![
            format!("#{}", record.sequence),
            super::to_second(&change.until.to_string()),
            record.change.name().to_owned(),
            size_of(size(record.before), size(record.after)),
            now.map_or_else(String::new, |now| format!("{}:{}", now.uid, now.gid)),
            if prefixed {
                format!("{}:{path}", record.volume)
            } else {
                path
            },
            join(&what(record), &explained(told.as_ref())),
        ]
    }));
    rows
}

fn told(explanation: &Explanation) -> ToldExplanation {
    ToldExplanation {
        standing: explanation.standing.name().to_owned(),
        package: explanation.package.clone(),
        before: explanation.before.clone(),
        after: explanation.after.clone(),
    }
}

/// What exactly happened, in a few words.
pub(super) fn what(record: &ChangeRecord) -> String {
    if let Some(from) = &record.from {
        return format!("was {}", sanitise(from));
    }
    let fields: Vec<_> = record.fields.names().collect();
    match (record.ranges_all, record.ranges.first()) {
        (0, _) | (_, None) => fields.join(", "),
        (1, Some(range)) => format!(
            "{} from byte {}",
            report::bytes(record.changed_bytes),
            report::count(range.start)
        ),
        (ranges, _) => format!(
            "{} in {} ranges",
            report::bytes(record.changed_bytes),
            report::count(ranges)
        ),
    }
}

/// A change as a document.
pub(super) fn document(image: &str, change: &Change) -> ChangeDocument {
    let record = &change.record;
    let path = Bytes(record.path.clone());
    let ranges = record.ranges.iter().map(|range| ByteRangeDocument {
        start_bytes: range.start,
        end_bytes: range.end,
    });
    ChangeDocument {
        image: image.to_owned(),
        sequence: record.sequence,
        after: change.after.to_string(),
        until: change.until.to_string(),
        volume: record.volume.to_string(),
        path_bytes: bytes_if_no_text(&path),
        path: path.text(),
        change: record.change.name().to_owned(),
        from: record.from.clone().map(|from| Bytes(from).text()),
        ranges: ranges.collect(),
        ranges_all: record.ranges_all,
        changed_bytes: record.changed_bytes,
        fields: record.fields.names().map(str::to_owned).collect(),
        state_before: record.before.map(state),
        state: record.after.map(state),
        explanation: record
            .explanation
            .as_ref()
            .map(|one| explanation(&told(one))),
    }
}

fn state(state: FileState) -> FileStateDocument {
    FileStateDocument {
        size_bytes: state.size_bytes,
        mode: format!("{:o}", state.mode),
        uid: state.uid,
        gid: state.gid,
        modified: when(state.modified),
        changed: when(state.changed),
    }
}

//! `image files`, `diff`, `cat`, `restore`: what is on a disk, and what was.

use super::{record, sealing_key, work};
use crate::args::Global;
use crate::failure::Failure;
use crate::{output, report};
use computation::job::sanitise;
use control::image::{
    self, Bytes, FileList, ImageError, ImageReference, Named, Point, Restored, ToldEvent,
    ToldExplanation, ToldFile, ToldTime, ToldVolume,
};
use model::Timestamp;
use schema::{
    ByteRangeDocument, Document, ExplanationDocument, FileDocument, FileEventDocument,
    FileListDocument, ImageDiffDocument, VolumeDocument,
};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

const NS_PER_S: i64 = 1_000_000_000;

pub(super) async fn files(
    global: &Global,
    named: Named,
    path: Option<String>,
) -> Result<ExitCode, Failure> {
    let image = name(&named);
    let found = work(global, move |shadows, _| {
        image::files(shadows, &named, path.as_deref())
    });
    let found = found.await?;
    notes(global, &found.notes);
    if global.json() {
        let mut document = Document::new(FileListDocument {
            image,
            volumes: found.volumes.iter().map(volume).collect(),
            files: found.files.iter().map(file).collect(),
        });
        document.warnings = found.notes;
        output::document(global, &document)?;
        return Ok(ExitCode::SUCCESS);
    }
    unread(global, &found);
    let prefixed = is_prefixed(&found);
    let head = ["mode", "owner", "size", "modified", "path"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(found.files.iter().map(|file| {
        let mut path = shown(prefixed, &file.volume, &file.path);
        if let Some(target) = &file.target {
            path = format!("{path} -> {}", sanitise(&target.0));
        }
        vec![
            mode(file),
            format!("{}:{}", file.uid, file.gid),
            report::bytes(file.size_bytes),
            when(file.modified).unwrap_or_else(|| "-".to_owned()),
            path,
        ]
    }));
    output::text(&report::table(&rows))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn diff(
    global: &Global,
    names: [String; 2],
    [before, after]: [Named; 2],
    path: Option<String>,
) -> Result<ExitCode, Failure> {
    let found = work(global, move |shadows, _| {
        image::diff(shadows, &before, &after, path.as_deref())
    });
    let found = found.await?;
    notes(global, &found.notes);
    if global.json() {
        let [before, after] = names;
        let mut document = Document::new(ImageDiffDocument {
            before,
            after,
            volumes: found.volumes.iter().map(volume).collect(),
            events: found.events.iter().map(event).collect(),
        });
        document.warnings = found.notes;
        output::document(global, &document)?;
        return Ok(ExitCode::SUCCESS);
    }
    unread(global, &found);
    if found.events.is_empty() {
        output::text("no file changed\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    let prefixed = is_prefixed(&found);
    let head = ["change", "size", "owner", "path", "what"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(found.events.iter().map(|event| {
        let now = event.after.as_ref().or(event.before.as_ref());
        vec![
            event.change.clone(),
            sizes(event),
            now.map_or_else(String::new, |now| format!("{}:{}", now.uid, now.gid)),
            shown(prefixed, &event.volume, &event.path),
            join(&what(event), &explained(event.explanation.as_ref())),
        ]
    }));
    output::text(&report::table(&rows))?;
    Ok(ExitCode::SUCCESS)
}

/// The size; before and after where they differ.
fn sizes(event: &ToldEvent) -> String {
    let size = |file: &Option<ToldFile>| file.as_ref().map(|file| file.size_bytes);
    size_of(size(&event.before), size(&event.after))
}

/// A size; before and after where they differ.
pub(super) fn size_of(before: Option<u64>, after: Option<u64>) -> String {
    match (before, after) {
        (Some(before), Some(after)) if before != after => {
            format!("{} -> {}", report::bytes(before), report::bytes(after))
        }
        (_, Some(size)) | (Some(size), None) => report::bytes(size),
        (None, None) => String::new(),
    }
}

/// Two texts, either of which may be empty.
pub(super) fn join(one: &str, other: &str) -> String {
    match (one, other) {
        (text, "") | ("", text) => text.to_owned(),
        (one, other) => format!("{one}; {other}"),
    }
}

/// What a package database says of a change, in a few words.
pub(super) fn explained(told: Option<&ToldExplanation>) -> String {
    let Some(told) = told else {
        return String::new();
    };
    let package = sanitise(told.package.as_bytes());
    let before = sanitise(told.before.as_bytes());
    let after = sanitise(told.after.as_bytes());
    let package = match (before.as_str(), after.as_str()) {
        ("", "") => package,
        ("", version) => format!("{package} {version}"),
        (version, "") => format!("{package} {version} removed"),
        (before, after) if before == after => format!("{package} {before}"),
        (before, after) => format!("{package} {before} -> {after}"),
    };
    match told.standing.as_str() {
        "maintained" => format!("kept by {package}"),
        "contradicted" => format!("NOT as {package} has it"),
        "configured" => format!("set up otherwise than {package} has it"),
        _ => package,
    }
}

/// What exactly happened, in a few words.
fn what(event: &ToldEvent) -> String {
    if let Some(from) = &event.from {
        return format!("was {}", sanitise(&from.0));
    }
    if !event.fields.is_empty() {
        return event.fields.join(", ");
    }
    let bytes: u64 = event
        .ranges
        .iter()
        .map(|(start, end)| end.saturating_sub(*start))
        .sum();
    match event.ranges.as_slice() {
        [] => String::new(),
        [(start, _)] => format!(
            "{} from byte {}",
            report::bytes(bytes),
            report::count(*start)
        ),
        ranges => format!(
            "{} in {} ranges",
            report::bytes(bytes),
            report::count(ranges.len() as u64)
        ),
    }
}

pub(super) async fn cat(global: &Global, named: Named, path: String) -> Result<ExitCode, Failure> {
    let notes_of = work(global, move |shadows, _| {
        let mut output = std::io::stdout().lock();
        let done = image::cat(shadows, &named, &path, &mut output)?;
        output.flush().map_err(ImageError::Output)?;
        Ok(done)
    });
    notes(global, &notes_of.await?);
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn restore(
    global: &Global,
    named: Named,
    path: Option<String>,
    to: PathBuf,
) -> Result<ExitCode, Failure> {
    let place = to.clone();
    let restored = work(global, move |shadows, reading| match path {
        Some(path) => image::take_out(shadows, &named, &path, &to),
        None => image::restore(shadows, &named, &to, &mut |done, all| {
            reading.reached(done, all);
        }),
    });
    let (restored, told) = restored.await?;
    notes(global, &told);
    output::message(global, &summary(&restored, &place));
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn restore_in_place(
    global: &Global,
    reference: ImageReference,
) -> Result<ExitCode, Failure> {
    let ImageReference::Kept { name, at } = reference else {
        return Err(Failure::usage(
            "an image file has no history to be restored from".to_owned(),
            Some("name an image of the store, as it was: NAME@-1".to_owned()),
        ));
    };
    let key = sealing_key(global)?;
    let image = name.clone();
    let done = work(global, move |shadows, reading| {
        image::restore_in_place(shadows, &key, (&image, &at), &mut |done, all| {
            reading.reached(done, all);
        })
    });
    let done = done.await?;
    let found = record::image(global, &name)?;
    record::record(global, record::captured(&found, &done.checkpoint)).await;
    notes(global, &done.checkpoint.notes);
    let text = format!(
        "restored {name} #{} ({}) to {}; as it was before it is {name}@#{}",
        done.sequence,
        report::bytes(done.size_bytes),
        done.path.display(),
        done.checkpoint.written.changeset.sequence
    );
    output::message(global, &text);
    Ok(ExitCode::SUCCESS)
}

fn summary(restored: &Restored, place: &std::path::Path) -> String {
    let mut text = format!(
        "restored {} ({}) to {}",
        report::count(restored.files),
        report::bytes(restored.bytes),
        place.display()
    );
    if restored.left_out > 0 {
        let left_out = report::count(restored.left_out);
        text.push_str(&format!(
            "; {left_out} devices, pipes and sockets were left out"
        ));
    }
    text
}

fn name(named: &Named) -> String {
    match &named.reference {
        ImageReference::File(path) => path.display().to_string(),
        ImageReference::Kept {
            name,
            at: Point::Back(0),
        } => name.clone(),
        ImageReference::Kept {
            name,
            at: Point::Back(back),
        } => format!("{name}@-{back}"),
        ImageReference::Kept {
            name,
            at: Point::Sequence(sequence),
        } => format!("{name}@#{sequence}"),
        ImageReference::Kept {
            name,
            at: Point::Id(id),
        } => format!("{name}@{id}"),
        ImageReference::Kept {
            name,
            at: Point::Time(time),
        } => format!("{name}@{time}"),
    }
}

pub(super) fn notes(global: &Global, notes: &[String]) {
    for note in notes {
        output::message(global, &format!("note: {}", sanitise(note.as_bytes())));
    }
}

/// Says which volumes' files are not told of.
fn unread(global: &Global, found: &FileList) {
    for volume in &found.volumes {
        if let Some(why) = &volume.unread {
            let why = sanitise(why.as_bytes());
            output::message(global, &format!("{} ({}): {why}", volume.name, volume.kind));
        }
    }
}

/// Whether paths need their volume before them.
fn is_prefixed(found: &FileList) -> bool {
    let mut volumes = found
        .files
        .iter()
        .map(|file| &file.volume)
        .chain(found.events.iter().map(|event| &event.volume));
    let first = volumes.next();
    volumes.any(|volume| Some(volume) != first)
}

fn shown(prefixed: bool, volume: &str, path: &Bytes) -> String {
    let path = sanitise(&path.0);
    if prefixed {
        format!("{volume}:{path}")
    } else {
        path
    }
}

/// Permissions as `ls` writes them.
fn mode(file: &ToldFile) -> String {
    let kind = match file.kind.name() {
        "directory" => 'd',
        "symlink" => 'l',
        "block-device" => 'b',
        "character-device" => 'c',
        "fifo" => 'p',
        "socket" => 's',
        "file" => '-',
        _ => '?',
    };
    let mut text = String::from(kind);
    for (place, (special, letter)) in [(0o4000, 's'), (0o2000, 's'), (0o1000, 't')]
        .into_iter()
        .enumerate()
    {
        let bits = file.mode >> (6 - 3 * place);
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, file.mode & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

pub(super) fn when((seconds, nanoseconds): ToldTime) -> Option<String> {
    let ns = seconds
        .checked_mul(NS_PER_S)?
        .checked_add(nanoseconds.into())?;
    Some(Timestamp::from_unix_ns(ns).to_string())
}

fn volume(volume: &ToldVolume) -> VolumeDocument {
    VolumeDocument {
        name: volume.name.clone(),
        kind: volume.kind.clone(),
        label: volume.label.clone(),
        size_bytes: volume.size_bytes,
        unread: volume.unread.clone(),
    }
}

pub(super) fn bytes_if_no_text(path: &Bytes) -> Option<String> {
    let digits = || path.0.iter().map(|byte| format!("{byte:02x}"));
    (!path.is_text()).then(|| digits().collect())
}

fn file(file: &ToldFile) -> FileDocument {
    FileDocument {
        volume: file.volume.clone(),
        path: file.path.text(),
        path_bytes: bytes_if_no_text(&file.path),
        kind: file.kind.name().to_owned(),
        size_bytes: file.size_bytes,
        mode: format!("{:o}", file.mode),
        uid: file.uid,
        gid: file.gid,
        links: file.links,
        modified: when(file.modified),
        changed: when(file.changed),
        accessed: when(file.accessed),
        born: file.born.and_then(when),
        target: file.target.as_ref().map(Bytes::text),
    }
}

/// What a package database says, as a document.
pub(super) fn explanation(told: &ToldExplanation) -> ExplanationDocument {
    let version = |text: &str| (!text.is_empty()).then(|| sanitise(text.as_bytes()));
    ExplanationDocument {
        standing: told.standing.clone(),
        package: sanitise(told.package.as_bytes()),
        before: version(&told.before),
        after: version(&told.after),
    }
}

fn event(event: &ToldEvent) -> FileEventDocument {
    let range = |(start_bytes, end_bytes): &(u64, u64)| ByteRangeDocument {
        start_bytes: *start_bytes,
        end_bytes: *end_bytes,
    };
    FileEventDocument {
        volume: event.volume.clone(),
        path: event.path.text(),
        path_bytes: bytes_if_no_text(&event.path),
        change: event.change.clone(),
        from: event.from.as_ref().map(Bytes::text),
        ranges: event.ranges.iter().map(range).collect(),
        fields: event.fields.clone(),
        before: event.before.as_ref().map(file),
        after: event.after.as_ref().map(file),
        explanation: event.explanation.as_ref().map(explanation),
    }
}

//! `image add`, `ls`, `log`, `rm`. When is captured again is in [`capture`], running machines are in
//! [`live`], what looks into a disk in [`look`], what keeps histories in [`keep`], what the store records
//! of all that in [`record`].

mod capture;
mod changes;
mod keep;
mod live;
mod look;
#[cfg(feature = "parquet")]
mod parquet;
mod record;
mod timeline;

use crate::args::{Global, ImageAddArgs, ImageVerb, ReadingArgs};
use crate::command::worker;
use crate::failure::Failure;
use crate::progress::Reading;
use crate::{output, report, session};
use computation::job::sanitise;
use control::ControlError;
use control::image::{
    self, Captured, EncryptionKey, ImageError, ImageFile, ImageReference, Level, Listed, Named,
    NewImage, Point, SealingKey, Shadows, WorkerProgram,
};
use schema::{ChangesetDocument, Document, ImageDocument, ImageListDocument, ImageLogDocument};
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use store::{ImageRecord, ImageSource, Images};

/// Digits of an id that are shown to people.
const ID_DIGITS: usize = 12;

/// Carries one verb out.
pub(crate) async fn execute(global: &Global, verb: &ImageVerb) -> Result<ExitCode, Failure> {
    match verb {
        ImageVerb::Add(arguments) => add(global, arguments).await,
        ImageVerb::Capture(arguments) => capture::capture(global, arguments).await,
        ImageVerb::Release { vm } => live::release(global, vm).await,
        ImageVerb::Ls => ls(global),
        ImageVerb::Log { image } => log(global, image),
        ImageVerb::Files {
            image,
            path,
            reading,
        } => look::files(global, named(image, reading)?, path.clone()).await,
        ImageVerb::Diff {
            before,
            after,
            which,
            reading,
        } => {
            if which.since.is_some() || which.until.is_some() {
                return changes::changes(global, before, which).await;
            }
            let (before, after) = match after {
                Some(after) => (before.clone(), after.clone()),
                None => (one_before(before)?, before.clone()),
            };
            let both = [named(&before, reading)?, named(&after, reading)?];
            look::diff(global, [before, after], both, which.path.clone()).await
        }
        ImageVerb::Timeline(arguments) => timeline::timeline(global, arguments).await,
        ImageVerb::Export(arguments) => changes::export(global, arguments).await,
        ImageVerb::Cat {
            image,
            path,
            reading,
        } => look::cat(global, named(image, reading)?, path.clone()).await,
        ImageVerb::Restore {
            image,
            path,
            to,
            in_place: _,
            reading,
        } => {
            let named = named(image, reading)?;
            match to {
                Some(to) => look::restore(global, named, path.clone(), to.clone()).await,
                None => look::restore_in_place(global, named.reference).await,
            }
        }
        ImageVerb::Check {
            image,
            read_data,
            deep,
            anchor,
        } => {
            let level = match (deep, read_data) {
                (true, _) => Level::Deep,
                (false, true) => Level::ReadData,
                (false, false) => Level::Structure,
            };
            keep::check(global, image, level, *anchor).await
        }
        ImageVerb::Forget(arguments) => keep::forget(global, arguments).await,
        ImageVerb::Anchor { image } => keep::anchor(global, image),
        ImageVerb::Rm { image, yes } => rm(global, image, *yes).await,
    }
}

fn named(text: &str, reading: &ReadingArgs) -> Result<Named, Failure> {
    Ok(Named {
        reference: text.parse().map_err(failed)?,
        format: reading.format,
        allowed: reading.allow.clone(),
    })
}

/// The name of the version before the one that a text names.
fn one_before(text: &str) -> Result<String, Failure> {
    match text.parse().map_err(failed)? {
        ImageReference::Kept {
            name,
            at: Point::Back(back),
        } => Ok(format!("{name}@-{}", back.saturating_add(1))),
        _ => Err(Failure::usage(
            format!("{text} has none before it that could be meant"),
            Some("name both: `vardoger image diff BEFORE AFTER`".to_owned()),
        )),
    }
}

fn shadows(global: &Global) -> Result<Shadows, Failure> {
    let images = Images::open(&session::config(global)?.store);
    Ok(Shadows {
        images: images.map_err(|error| failed(error.into()))?,
        worker: WorkerProgram {
            program: PathBuf::from(worker::PROGRAM),
            arguments: worker::IMAGE,
        },
        encryption: EncryptionKey {
            file: crate::config::load()?.encryption_key,
            store: session::config(global)?.store,
        },
    })
}

/// The key that seals histories; made at its first use.
fn sealing_key(global: &Global) -> Result<SealingKey, Failure> {
    let file = crate::config::load()?.seal_key;
    image::sealing_key(&file, &session::config(global)?.store).map_err(failed)
}

fn failed(error: ImageError) -> Failure {
    ControlError::from(error).into()
}

/// Does blocking work on images, unless an interruption comes first. What it leaves half done, the
/// next command sweeps.
async fn work<T: Send + 'static>(
    global: &Global,
    todo: impl FnOnce(&Shadows, &Reading) -> Result<T, ImageError> + Send + 'static,
) -> Result<T, Failure> {
    let shadows = shadows(global)?;
    let interruption = session::interruption();
    let reading = Reading::new(global.quiet);
    let at_work = tokio::task::spawn_blocking(move || {
        let done = todo(&shadows, &reading);
        reading.finish();
        done
    });
    tokio::select! {
        done = at_work => match done {
            Ok(done) => done.map_err(failed),
            Err(error) => Err(Failure::of("cannot work on the image", &error)),
        },
        () = interruption => Err(ControlError::Interrupted.into()),
    }
}

async fn add(global: &Global, arguments: &ImageAddArgs) -> Result<ExitCode, Failure> {
    let path = match (&arguments.path, &arguments.vm) {
        (_, Some(monitor)) => return live::add(global, monitor, arguments).await,
        (path, None) => path.clone().unwrap_or_default(),
    };
    let name = match &arguments.name {
        Some(name) => name.clone(),
        None => name_of(&path)?,
    };
    let file = ImageFile {
        path,
        format: arguments.format,
        snapshot: arguments.snapshot.clone(),
        allowed: arguments.allow.clone(),
    };
    let (key, encrypted) = (sealing_key(global)?, arguments.encrypt);
    let added = work(global, move |shadows, reading| {
        let new = NewImage {
            name: &name,
            encrypted,
        };
        image::add(shadows, &key, new, &file, &mut |done, all| {
            reading.reached(done, all);
        })
    });
    let (record, captured) = added.await?;
    show_captured(global, &record, &captured).await
}

/// The name that a file's stem gives.
fn name_of(path: &Path) -> Result<String, Failure> {
    let stem = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    let name = stem.to_ascii_lowercase();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric())
        && name.bytes().all(plain)
    {
        return Ok(name);
    }
    Err(Failure::usage(
        format!("{} gives no name for the image", path.display()),
        Some("--name NAME names it: letters a to z, digits, `.`, `_`, `-`".to_owned()),
    ))
}

/// Records a capture, and tells of it.
async fn show_captured(
    global: &Global,
    record: &ImageRecord,
    captured: &Captured,
) -> Result<ExitCode, Failure> {
    record::record(global, record::captured(record, captured)).await;
    let mut document = changeset(&record.name, &captured.written);
    document.stored_bytes = Some(captured.stored_bytes);
    document.read_bytes = captured.read_bytes;
    if global.json() {
        let mut document = Document::new(document);
        document.warnings.clone_from(&captured.notes);
        output::document(global, &document)?;
        return Ok(ExitCode::SUCCESS);
    }
    for note in &captured.notes {
        output::message(global, &format!("note: {}", sanitise(note.as_bytes())));
    }
    let rows = [
        ("image", record.name.clone()),
        ("source", document.source.clone()),
        (
            "changeset",
            format!("#{} {}", document.sequence, short(&document.id)),
        ),
        ("taken", to_second(&document.taken)),
        ("disk", report::bytes(document.disk_bytes)),
        ("changed", report::bytes(document.changed_bytes)),
        ("stored", report::bytes(captured.stored_bytes)),
    ];
    output::text(&report::rows(&rows))?;
    Ok(ExitCode::SUCCESS)
}

fn changeset(image: &str, written: &image::Written) -> ChangesetDocument {
    let one = &written.changeset;
    ChangesetDocument {
        image: image.to_owned(),
        sequence: one.sequence,
        id: written.chain_id().to_string(),
        parent: one.parent.map(|id| id.to_string()),
        kind: one.kind.name().to_owned(),
        taken: one.taken.to_string(),
        disk_bytes: one.disk_bytes,
        changed_bytes: one.changed_bytes(),
        source: one.source.clone(),
        stored_bytes: None,
        read_bytes: None,
    }
}

fn short(id: &str) -> &str {
    id.get(..ID_DIGITS).unwrap_or(id)
}

/// A time without what a person does not need of it.
fn to_second(time: &str) -> String {
    match time.split_once('.') {
        Some((whole, _)) => format!("{whole}Z"),
        None => time.to_owned(),
    }
}

fn ls(global: &Global) -> Result<ExitCode, Failure> {
    let found = image::list(&shadows(global)?).map_err(failed)?;
    let documents: Vec<ImageDocument> = found.into_iter().map(document).collect();
    if global.json() {
        let list = ImageListDocument { images: documents };
        output::document(global, &Document::new(list))?;
        return Ok(ExitCode::SUCCESS);
    }
    let head = ["image", "disk", "captures", "newest", "stored", "source"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for one in documents {
        let size = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), report::bytes);
        let newest = one.unreadable.map(|why| format!("unreadable: {why}"));
        rows.push(vec![
            one.name,
            size(one.disk_bytes),
            report::count(one.changesets),
            newest
                .or(one.newest.as_deref().map(to_second))
                .unwrap_or_else(|| "-".to_owned()),
            size(one.stored_bytes),
            one.source,
        ]);
    }
    output::text(&report::table(&rows))?;
    Ok(ExitCode::SUCCESS)
}

fn document(listed: Listed) -> ImageDocument {
    match listed.image {
        Ok(found) => {
            let taken =
                |one: Option<&image::Written>| one.map(|one| one.changeset.taken.to_string());
            ImageDocument {
                name: found.record.name.clone(),
                id: found.record.id.to_string(),
                created: found.record.created.to_string(),
                source: source(&found.record.source),
                format: found.record.format.clone(),
                disk_bytes: found
                    .changesets
                    .last()
                    .map(|last| last.changeset.disk_bytes),
                changesets: found.changesets.len() as u64,
                oldest: taken(found.changesets.first()),
                newest: taken(found.changesets.last()),
                stored_bytes: Some(found.stored_bytes),
                encrypted: Some(image::is_encrypted(&found.record)),
                unreadable: found.damage,
            }
        }
        Err(error) => ImageDocument {
            name: listed.name,
            id: String::new(),
            created: String::new(),
            source: String::new(),
            format: String::new(),
            disk_bytes: None,
            changesets: 0,
            oldest: None,
            newest: None,
            stored_bytes: None,
            encrypted: None,
            unreadable: Some(error),
        },
    }
}

fn source(source: &ImageSource) -> String {
    match source {
        ImageSource::File { path } => path.clone(),
        ImageSource::Machine { vm, disk } => format!("{vm}:{disk}"),
    }
}

fn log(global: &Global, name: &str) -> Result<ExitCode, Failure> {
    let found = image::show(&shadows(global)?, name).map_err(failed)?;
    let newest_first = found.changesets.iter().rev();
    let changesets: Vec<_> = newest_first.map(|one| changeset(name, one)).collect();
    if global.json() {
        let image = name.to_owned();
        output::document(
            global,
            &Document::new(ImageLogDocument { image, changesets }),
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    let head = ["", "id", "taken", "kind", "changed", "disk"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(changesets.iter().map(|one| {
        vec![
            format!("#{}", one.sequence),
            short(&one.id).to_owned(),
            to_second(&one.taken),
            one.kind.clone(),
            report::bytes(one.changed_bytes),
            report::bytes(one.disk_bytes),
        ]
    }));
    output::text(&report::table(&rows))?;
    Ok(ExitCode::SUCCESS)
}

async fn rm(global: &Global, name: &str, yes: bool) -> Result<ExitCode, Failure> {
    let images = shadows(global)?.images;
    let found = record::image(global, name)?;
    if !yes && !agreed(name)? {
        output::message(global, "nothing was removed");
        return Ok(ExitCode::from(1));
    }
    image::remove(&images, name).map_err(|error| failed(error.into()))?;
    record::record(global, record::removed(&found)).await;
    output::message(global, &format!("{name} and its history are removed"));
    Ok(ExitCode::SUCCESS)
}

/// Asks on a terminal; elsewhere nobody can answer.
fn agreed(name: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            format!("{name} and all of its history would be removed"),
            Some("--yes removes it without asking".to_owned()),
        ));
    }
    let mut error = std::io::stderr().lock();
    let asked =
        write!(error, "remove {name} and all of its history? [y/N] ").and_then(|()| error.flush());
    let mut answer = String::new();
    let heard = asked.and_then(|()| std::io::stdin().lock().read_line(&mut answer));
    heard.map_err(|error| Failure::of("cannot ask", &error))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

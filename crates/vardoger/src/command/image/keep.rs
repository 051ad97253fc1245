//! `image check`, `forget`, `anchor`: histories that are kept well.

use super::{failed, record, sealing_key, shadows, work};
use crate::args::{ForgetArgs, Global};
use crate::failure::Failure;
use crate::{output, report};
use control::image::{self, Anchor, AnchorState, Checked, Level, Window};
use model::Timestamp;
use schema::{
    Document, ImageAnchorDocument, ImageCheckDocument, ImageDamageDocument, ImageForgetDocument,
};
use std::process::ExitCode;

/// The exit code of a history that is not what it was.
const FINDING: u8 = 3;

pub(super) async fn check(
    global: &Global,
    name: &str,
    level: Level,
    anchor: Option<Anchor>,
) -> Result<ExitCode, Failure> {
    let key = sealing_key(global)?.public();
    let image = name.to_owned();
    let checked = work(global, move |shadows, _| {
        image::check(shadows, key, &image, level, anchor.as_ref())
    });
    let checked = checked.await?;
    let found = record::image(global, name)?;
    record::record(global, record::checked(&found, level_name(level), &checked)).await;
    let sound = checked.is_sound();
    let document = document(name, level, checked);
    if global.json() {
        output::document(global, &Document::new(document))?;
    } else {
        output::text(&text(&document))?;
    }
    Ok(if sound {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FINDING)
    })
}

const fn level_name(level: Level) -> &'static str {
    match level {
        Level::Structure => "structure",
        Level::ReadData => "read-data",
        Level::Deep => "deep",
    }
}

const fn state_name(state: AnchorState) -> &'static str {
    match state {
        AnchorState::Holds => "holds",
        AnchorState::HoldsByMerge => "holds-by-merge",
        AnchorState::Unknown => "unknown",
        AnchorState::Broken => "broken",
    }
}

fn document(name: &str, level: Level, checked: Checked) -> ImageCheckDocument {
    let damages = checked.report.damages.iter();
    ImageCheckDocument {
        image: name.to_owned(),
        level: level_name(level).to_owned(),
        sound: checked.is_sound(),
        damages: damages
            .map(|damage| ImageDamageDocument {
                blob: damage.blob.clone(),
                what: damage.what.clone(),
                unreadable: damage.unreadable.clone(),
            })
            .collect(),
        faults: checked.faults.iter().map(ToString::to_string).collect(),
        anchor: checked.anchor.map(|state| state_name(state).to_owned()),
        readable: checked.report.readable,
        strays: checked.report.strays,
        blobs: checked.report.blobs,
        stored_bytes: checked.report.bytes,
    }
}

fn text(document: &ImageCheckDocument) -> String {
    let verdict = if document.sound {
        "sound"
    } else {
        "NOT what it was"
    };
    let mut rows = vec![
        ("image", document.image.clone()),
        ("history", verdict.to_owned()),
        (
            "looked at",
            format!(
                "{} blobs, {} ({})",
                report::count(document.blobs),
                report::bytes(document.stored_bytes),
                document.level
            ),
        ),
        (
            "readable",
            format!("{} captures", report::count(document.readable.len() as u64)),
        ),
    ];
    if let Some(anchor) = &document.anchor {
        rows.push(("anchor", anchor.clone()));
    }
    for fault in &document.faults {
        rows.push(("fault", fault.clone()));
    }
    for damage in &document.damages {
        let lost: Vec<String> = damage
            .unreadable
            .iter()
            .map(|one| format!("#{one}"))
            .collect();
        let lost = if lost.is_empty() {
            String::new()
        } else {
            format!("; unreadable: {}", lost.join(", "))
        };
        rows.push(("damaged", format!("{}: {}{lost}", damage.blob, damage.what)));
    }
    if !document.strays.is_empty() {
        let strays = report::count(document.strays.len() as u64);
        rows.push((
            "left over",
            format!("{strays} blobs: `vardoger image forget` removes them"),
        ));
    }
    report::rows(&rows)
}

pub(super) fn anchor(global: &Global, name: &str) -> Result<ExitCode, Failure> {
    let anchor = image::anchor(&shadows(global)?, name).map_err(failed)?;
    let document = ImageAnchorDocument {
        image: name.to_owned(),
        anchor: anchor.to_string(),
        public_key: sealing_key(global)?.public().to_string(),
    };
    if global.json() {
        output::document(global, &Document::new(document))?;
    } else {
        output::text(&format!("{}\n", document.anchor))?;
        let note = "keep this where who can write to the store cannot: \
                    `vardoger image check --anchor` holds the history against it";
        output::message(global, note);
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn forget(global: &Global, arguments: &ForgetArgs) -> Result<ExitCode, Failure> {
    let since = arguments.keep_within.map(|age| {
        let age = i64::try_from(age.as_nanos()).unwrap_or(i64::MAX);
        Timestamp::from_unix_ns(control::session::now().unix_ns().saturating_sub(age))
    });
    let window = Window {
        count_max: arguments.keep_last,
        since,
        bytes_max: arguments.max_bytes,
    };
    let name = arguments.image.clone();
    if arguments.dry_run {
        let until = image::would_forget(&shadows(global)?, &name, window).map_err(failed)?;
        let text = match until {
            None => "nothing would be forgotten".to_owned(),
            Some(until) => format!("the history would begin with #{until}"),
        };
        output::text(&format!("{text}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let key = sealing_key(global)?;
    let image = name.clone();
    let forgotten = work(global, move |shadows, _| {
        image::forget(shadows, &key, &image, window)
    });
    let forgotten = forgotten.await?;
    let found = record::image(global, &name)?;
    record::record(global, record::forgotten(&found, &forgotten)).await;
    let document = ImageForgetDocument {
        image: name,
        first: forgotten.first,
        kept: forgotten.kept,
        removed_changesets: forgotten.swept.changesets,
        removed_packs: forgotten.swept.packs,
        removed_bytes: forgotten.swept.bytes,
    };
    if global.json() {
        output::document(global, &Document::new(document))?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = [
        ("image", document.image.clone()),
        ("begins with", format!("#{}", document.first)),
        ("captures", report::count(document.kept)),
        ("given back", report::bytes(document.removed_bytes)),
    ];
    output::text(&report::rows(&rows))?;
    Ok(ExitCode::SUCCESS)
}

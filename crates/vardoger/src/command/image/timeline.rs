//! `image timeline`: changes of files, and what the disk's own logs tell, in one order.

use super::changes::{document as change_document, line, what};
use super::look::notes;
use super::work;
use crate::args::{Global, Output, TimelineArgs};
use crate::failure::Failure;
use crate::{output, report};
use computation::job::sanitise;
use control::image::{self, ChangesAsked, Claim, ImageError, Moment, ToldEntry, What};
use schema::{ActorDocument, Document, LogEntryDocument, TimelineDocument, TimelineEntryDocument};
use std::io::Write;
use std::process::ExitCode;

/// How many are told where nobody says how many.
const LIMIT: u64 = 10_000;

/// How much of a text people are shown.
const SHOWN_CHARACTERS: usize = 120;

pub(super) async fn timeline(
    global: &Global,
    arguments: &TimelineArgs,
) -> Result<ExitCode, Failure> {
    let asked = ChangesAsked {
        image: arguments.image.clone(),
        path: arguments.path.clone(),
        since: arguments.since,
        until: arguments.until,
    };
    let limit = usize::try_from(arguments.limit.unwrap_or(LIMIT)).unwrap_or(usize::MAX);
    let question = asked.clone();
    let found = work(global, move |shadows, reading| {
        let mut progress = |done, all| reading.reached(done, all);
        image::timeline(shadows, &asked, limit, &mut progress)
    });
    let found = found.await?;
    notes(global, &found.notes);
    let name = &question.image;
    if global.output == Output::Ndjson && !global.json {
        let mut stdout = std::io::stdout().lock();
        for moment in &found.moments {
            line(&mut stdout, &Document::new(document(name, moment))).map_err(super::failed)?;
        }
        stdout
            .flush()
            .map_err(|error| super::failed(ImageError::Output(error)))?;
        return Ok(ExitCode::SUCCESS);
    }
    if global.json() {
        let mut document = Document::new(TimelineDocument {
            image: name.clone(),
            path: question.path,
            since: question.since.map(|time| time.to_string()),
            until: question.until.map(|time| time.to_string()),
            entries: found
                .moments
                .iter()
                .map(|one| document(name, one))
                .collect(),
            more: found.more,
        });
        document.warnings = found.notes;
        output::document(global, &document)?;
        return Ok(ExitCode::SUCCESS);
    }
    if found.moments.is_empty() {
        output::text("nothing happened\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    let head = ["time", "", "what", "who", "", ""];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(found.moments.iter().map(row));
    output::text(&report::table(&rows))?;
    if found.more {
        output::message(
            global,
            "older ones are left out: --limit N tells more of them",
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn row(moment: &Moment) -> Vec<String> {
    let time = super::to_second(&moment.time.to_string());
    let mark = match moment.certainty.as_str() {
        "exact" => "",
        "file-time" => "f",
        "capture" => "<",
        "zone-assumed" => "z",
        _ => "y",
    };
    let (kind, who, text, source) = match &moment.what {
        What::Change(change) => {
            let record = &change.record;
            let kind = record.change.name().to_owned();
            (kind, who(moment), sanitise(&record.path), what(record))
        }
        What::Entry(entry) => {
            let actor = entry.actor.as_ref();
            let who = actor.map_or_else(String::new, |actor| sanitise(actor.user.as_bytes()));
            let text = sanitise(entry.text.as_bytes());
            let text = text.chars().take(SHOWN_CHARACTERS).collect();
            (entry.kind.clone(), who, text, sanitise(&entry.source.0))
        }
    };
    vec![time, mark.to_owned(), kind, who, text, source]
}

/// The users that claims name, each once.
fn who(moment: &Moment) -> String {
    let mut users: Vec<String> = Vec::new();
    for claim in &moment.claims {
        let user = sanitise(claim.user.as_bytes());
        if !users.contains(&user) {
            users.push(user);
        }
    }
    users.join(" or ")
}

fn document(image: &str, moment: &Moment) -> TimelineEntryDocument {
    let (change, entry) = match &moment.what {
        What::Change(change) => (Some(change_document(image, change)), None),
        What::Entry(entry) => (None, Some(entry_document(entry))),
    };
    let kind = match &moment.what {
        What::Change(_) => "change".to_owned(),
        What::Entry(entry) => entry.kind.clone(),
    };
    let own = match &moment.what {
        What::Entry(entry) => own_actor(entry),
        What::Change(_) => None,
    };
    TimelineEntryDocument {
        image: image.to_owned(),
        time: moment.time.to_string(),
        certainty: moment.certainty.clone(),
        kind,
        actors: moment.claims.iter().map(actor).chain(own).collect(),
        disputed: moment.is_disputed,
        change,
        entry,
    }
}

fn own_actor(entry: &ToldEntry) -> Option<ActorDocument> {
    let actor = entry.actor.as_ref()?;
    Some(ActorDocument {
        user: sanitise(actor.user.as_bytes()),
        process: actor
            .process
            .as_ref()
            .map(|process| sanitise(process.as_bytes())),
        confidence: actor.confidence.clone(),
        source: sanitise(&entry.source.0),
        text: sanitise(entry.text.as_bytes()),
    })
}

fn actor(claim: &Claim) -> ActorDocument {
    let text = |text: &String| sanitise(text.as_bytes());
    ActorDocument {
        user: text(&claim.user),
        process: claim.process.as_ref().map(text),
        confidence: claim.confidence.clone(),
        source: text(&claim.source),
        text: text(&claim.text),
    }
}

fn entry_document(entry: &ToldEntry) -> LogEntryDocument {
    LogEntryDocument {
        volume: entry.volume.clone(),
        source: sanitise(&entry.source.0),
        text: sanitise(entry.text.as_bytes()),
        paths: entry.paths.iter().map(|path| sanitise(&path.0)).collect(),
        packages: entry
            .packages
            .iter()
            .map(|name| sanitise(name.as_bytes()))
            .collect(),
    }
}

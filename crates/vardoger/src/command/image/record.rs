//! What is done to histories of disks, in the store's record of events: one stream with runs, findings
//! and actions, for whoever reads on from there.
//!
//! What was done is durable before its event. Where the event cannot be recorded, because the disk is full
//! or another version of vardoger has written the store, that is told, and what was done stays done.

use crate::args::Global;
use crate::failure::Failure;
use crate::{output, session};
use control::image::{Captured, Checked, Forgotten};
use model::{Event, ImageId};
use store::ImageRecord;

/// The image of a name, as events name it.
pub(super) fn image(global: &Global, name: &str) -> Result<ImageRecord, Failure> {
    let shelf = super::shadows(global)?.images.read(name);
    let shelf = shelf.map_err(|error| super::failed(error.into()))?;
    Ok(shelf.record())
}

pub(super) fn captured(record: &ImageRecord, captured: &Captured) -> Event {
    let one = &captured.written.changeset;
    Event::ImageCaptured {
        image: ImageId(record.id),
        name: record.name.clone(),
        changeset: captured.written.chain_id().to_string(),
        sequence: one.sequence,
        taken: one.taken,
        disk_bytes: one.disk_bytes,
        changed_bytes: one.changed_bytes(),
        stored_bytes: captured.stored_bytes,
    }
}

pub(super) fn checked(record: &ImageRecord, level: &str, checked: &Checked) -> Event {
    let faults = checked
        .report
        .damages
        .len()
        .saturating_add(checked.faults.len());
    Event::ImageChecked {
        image: ImageId(record.id),
        name: record.name.clone(),
        level: level.to_owned(),
        sound: checked.is_sound(),
        faults: faults as u64,
    }
}

pub(super) fn forgotten(record: &ImageRecord, forgotten: &Forgotten) -> Event {
    Event::ImageForgotten {
        image: ImageId(record.id),
        name: record.name.clone(),
        first: forgotten.first,
        kept: forgotten.kept,
        freed_bytes: forgotten.swept.bytes,
    }
}

pub(super) fn removed(record: &ImageRecord) -> Event {
    Event::ImageRemoved {
        image: ImageId(record.id),
        name: record.name.clone(),
    }
}

/// Records an event, or tells why it is not recorded.
pub(super) async fn record(global: &Global, event: Event) {
    let recorded = async {
        let store = session::store(global).await?;
        let appended = store.append(event, control::session::now()).await;
        appended.map_err(|error| Failure::of("cannot append to the record", &error))
    };
    if let Err(failure) = recorded.await {
        output::message(
            global,
            "what was done is done, but not in the store's record of events:",
        );
        output::failure(global, &failure);
    }
}

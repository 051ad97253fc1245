//! `image add --vm`, `image capture` of running machines, `image release`.

use super::{failed, sealing_key, shadows, show_captured};
use crate::args::{Global, ImageAddArgs};
use crate::command::worker;
use crate::failure::Failure;
use crate::progress::Reading;
use crate::{output, session};
use control::ControlError;
use control::image::{self, Captured, GuardProgram, ImageError, Machine, NewImage, WorkerProgram};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use store::ImageRecord;

fn guard() -> GuardProgram {
    GuardProgram(WorkerProgram {
        program: PathBuf::from(worker::PROGRAM),
        arguments: worker::THAW,
    })
}

/// Waits for a capture, unless an interruption comes first: what that leaves in the machine, the
/// next capture or `image release` removes.
async fn until_done(
    global: &Global,
    reading: &Reading,
    capture: impl Future<Output = Result<Vec<(ImageRecord, Captured)>, ImageError>>,
) -> Result<ExitCode, Failure> {
    let interruption = pin!(session::interruption());
    let captured = tokio::select! {
        captured = capture => captured.map_err(failed),
        () = interruption => Err(ControlError::Interrupted.into()),
    };
    reading.finish();
    for (record, captured) in captured? {
        show_captured(global, &record, &captured).await?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn add(
    global: &Global,
    monitor: &Path,
    arguments: &ImageAddArgs,
) -> Result<ExitCode, Failure> {
    let (shadows, key) = (shadows(global)?, sealing_key(global)?);
    let machine = Machine {
        monitor: monitor.to_path_buf(),
        agent: arguments.agent.clone(),
    };
    let name = arguments.name.clone().unwrap_or_default();
    let reading = Reading::new(global.quiet);
    let mut progress = |done, all| reading.reached(done, all);
    let new = NewImage {
        name: &name,
        encrypted: arguments.encrypt,
    };
    let (guard, chosen) = (guard(), (new, arguments.disk.as_slice()));
    let added = image::add_live(&shadows, (&key, &guard), &machine, chosen, &mut progress);
    until_done(global, &reading, added).await
}

pub(super) async fn capture(global: &Global, names: &[String]) -> Result<ExitCode, Failure> {
    let (shadows, key) = (shadows(global)?, sealing_key(global)?);
    let reading = Reading::new(global.quiet);
    let mut progress = |done, all| reading.reached(done, all);
    let guard = guard();
    let captured = image::capture_live(&shadows, (&key, &guard), names, &mut progress);
    until_done(global, &reading, captured).await
}

pub(super) async fn release(global: &Global, monitor: &Path) -> Result<ExitCode, Failure> {
    let released = image::release(monitor).await.map_err(failed)?;
    for (node, bitmap) in &released.bitmaps {
        output::message(global, &format!("removed bitmap {bitmap} of {node}"));
    }
    for (name, why) in &released.kept {
        output::message(global, &format!("could not remove {name}: {why}"));
    }
    let done = format!(
        "{} bitmaps and {} leftovers were taken off the machine",
        released.bitmaps.len(),
        released.leftovers
    );
    output::message(global, &done);
    Ok(if released.kept.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

//! `image capture`: once, or again and again.
//!
//! A capture that is one of many and fails is told of, and the next one is made all the same: a machine
//! may be rebooting. What is wrong with the command itself ends it at once.

use super::{failed, live, sealing_key, shadows, show_captured, work};
use crate::args::{Global, ImageCaptureArgs, TimeOfDay};
use crate::failure::Failure;
use crate::{output, session};
use control::image::{self, CaptureFrom};
use std::collections::BTreeMap;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;
use store::ImageSource;

/// Between two looks at how much a guest has written.
const LOOK: Duration = Duration::from_secs(10);

const DAY_SECONDS: i64 = 24 * 60 * 60;
const SECOND_NS: i64 = 1_000_000_000;

/// The images of one command, by where they are.
#[derive(Debug, Default)]
struct Images {
    /// Those of each running machine, by its monitor.
    of_machines: BTreeMap<String, Vec<String>>,
    at_rest: Vec<String>,
}

pub(super) async fn capture(
    global: &Global,
    arguments: &ImageCaptureArgs,
) -> Result<ExitCode, Failure> {
    let from = CaptureFrom {
        file: arguments.from.clone(),
        format: arguments.format,
        snapshot: arguments.snapshot.clone(),
    };
    let is_elsewhere = from.file.is_some() || from.snapshot.is_some();
    let images = images(global, &arguments.images)?;
    if is_elsewhere && (arguments.images.len() != 1 || images.at_rest.is_empty()) {
        return Err(Failure::usage(
            "--from and --snapshot are of one image that was added from a file".to_owned(),
            None,
        ));
    }
    if arguments.dirty.is_some() && !images.at_rest.is_empty() {
        return Err(Failure::usage(
            format!("{} is of no running machine", images.at_rest.join(", ")),
            Some("--dirty asks a running machine; --every captures what is at rest".to_owned()),
        ));
    }
    if arguments.every.is_none() && arguments.at.is_empty() && arguments.dirty.is_none() {
        return once(global, &images, &from).await;
    }
    again_and_again(global, arguments, &images).await
}

/// Captures until interrupted. An interruption between two captures is how it ends.
async fn again_and_again(
    global: &Global,
    arguments: &ImageCaptureArgs,
    images: &Images,
) -> Result<ExitCode, Failure> {
    let mut interruption = pin!(session::interruption());
    let mut is_first = true;
    loop {
        let wait = match (arguments.every, arguments.at.as_slice()) {
            (_, [_, ..]) => until_next(control::session::now().unix_ns(), &arguments.at),
            _ if is_first => Duration::ZERO,
            (Some(every), _) => every,
            (None, _) => LOOK,
        };
        is_first = false;
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = &mut interruption => return Ok(ExitCode::SUCCESS),
        }
        let done = match arguments.dirty {
            Some(bytes) => where_dirty(global, images, bytes).await,
            None => once(global, images, &CaptureFrom::default())
                .await
                .map(drop),
        };
        if let Err(failure) = done {
            if failure.ends_all() {
                return Err(failure);
            }
            output::failure(global, &failure);
        }
    }
}

/// How long it is from a moment to the next of some times of day.
fn until_next(now_ns: i64, at: &[TimeOfDay]) -> Duration {
    let of_day = now_ns.rem_euclid(DAY_SECONDS.saturating_mul(SECOND_NS));
    let waits = at.iter().map(|TimeOfDay(seconds)| {
        let wait = seconds.saturating_mul(SECOND_NS).saturating_sub(of_day);
        match wait > 0 {
            true => wait,
            false => wait.saturating_add(DAY_SECONDS.saturating_mul(SECOND_NS)),
        }
    });
    let wait = waits.min().unwrap_or_default();
    Duration::from_nanos(u64::try_from(wait).unwrap_or_default())
}

/// Captures images of machines whose guests have written enough.
async fn where_dirty(global: &Global, images: &Images, bytes: u64) -> Result<(), Failure> {
    let shadows = shadows(global)?;
    for names in images.of_machines.values() {
        let dirty = image::dirty_bytes(&shadows, names).await.map_err(failed)?;
        if dirty >= bytes {
            live::capture(global, names).await?;
        }
    }
    Ok(())
}

fn images(global: &Global, names: &[String]) -> Result<Images, Failure> {
    let kept = shadows(global)?.images;
    let mut images = Images::default();
    for name in names {
        let shelf = kept.read(name).map_err(|error| failed(error.into()))?;
        match shelf.record().source {
            ImageSource::Machine { vm, .. } => {
                let of_machine = images.of_machines.entry(vm).or_default();
                of_machine.push(name.clone());
            }
            ImageSource::File { .. } => images.at_rest.push(name.clone()),
        }
    }
    Ok(images)
}

/// Captures images: those of a machine all at one moment, others one after the other.
async fn once(global: &Global, images: &Images, from: &CaptureFrom) -> Result<ExitCode, Failure> {
    for name in &images.at_rest {
        let (key, name, from) = (sealing_key(global)?, name.clone(), from.clone());
        let captured = work(global, move |shadows, reading| {
            image::capture_again(shadows, &key, (&name, from), &mut |done, all| {
                reading.reached(done, all);
            })
        });
        let (record, captured) = captured.await?;
        show_captured(global, &record, &captured).await?;
    }
    for names in images.of_machines.values() {
        live::capture(global, names).await?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_time_of_day_is_today_or_tomorrow() {
        let at = [TimeOfDay(2 * 3600), TimeOfDay(14 * 3600 + 1800)];
        let check = |of_day: i64, wait: u64| {
            let now = (20_000 * DAY_SECONDS + of_day) * SECOND_NS;
            assert_eq!(until_next(now, &at), Duration::from_secs(wait), "{of_day}");
        };
        check(0, 7200);
        check(7199, 1);
        // It is not captured twice at one time.
        check(7200, 12 * 3600 + 1800);
        check(52_200, 11 * 3600 + 1800);
        check(-1, 7201);
    }
}

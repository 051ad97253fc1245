//! The grammar of `image`.

use clap::{Args, Subcommand, ValueEnum};
use model::Timestamp;
use std::path::PathBuf;
use std::time::Duration;

/// Verbs of `image`.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageVerb {
    /// Adds an image, and captures it whole
    Add(ImageAddArgs),
    /// Captures images again: what changed since. Those of one running machine at one moment
    Capture(ImageCaptureArgs),
    /// Takes everything of vardoger off a running machine: bitmaps, and what a killed command left
    Release {
        /// The socket of its monitor
        #[arg(long, value_name = "SOCKET")]
        vm: PathBuf,
    },
    /// The images of the store
    Ls,
    /// The captures of an image, newest first
    Log {
        /// Its name
        image: String,
    },
    /// What is on a disk: its volumes, and files with owner, times and size
    Files {
        /// An image file, a name, or a name as it was: NAME@-1, NAME@2026-11-20T14:05Z, NAME@ID
        image: String,
        /// Only what is at this path, or below it: /path, or VOLUME:/path
        path: Option<String>,
        /// How an image file is read
        #[command(flatten)]
        reading: ReadingArgs,
    },
    /// What changed, file by file
    Diff {
        /// The earlier: as of `image files`. Alone it is the later, and the earlier is the one before
        before: String,
        /// The later
        #[arg(conflicts_with_all = ["since", "until"])]
        after: Option<String>,
        /// Which changes
        #[command(flatten)]
        which: ChangesArgs,
        /// How an image file is read
        #[command(flatten)]
        reading: ReadingArgs,
    },
    /// Changes of files, logs on the disk, logins, commands and packages, in one order
    Timeline(TimelineArgs),
    /// Writes all changes of an image's files into a new file, for other tools
    Export(ImageExportArgs),
    /// The bytes of a file as it was
    Cat {
        /// As of `image files`
        image: String,
        /// /path, or VOLUME:/path
        path: String,
        /// How an image file is read
        #[command(flatten)]
        reading: ReadingArgs,
    },
    /// Restores files into a directory, or a whole disk into a raw image
    Restore {
        /// As of `image files`
        image: String,
        /// What to restore, with all below it; the whole disk where absent
        path: Option<String>,
        /// Of files a directory, of a disk a file. Nothing is written over
        #[arg(long, value_name = "DIR|FILE", required_unless_present = "in_place")]
        to: Option<PathBuf>,
        /// Write the whole disk over the image file or device that it was added from, while nobody
        /// has it open. As it is now it is captured first
        #[arg(long, conflicts_with_all = ["to", "path", "format", "allow"])]
        in_place: bool,
        /// How an image file is read
        #[command(flatten)]
        reading: ReadingArgs,
    },
    /// Looks whether all of a history is there and is what it was
    Check {
        /// Its name
        image: String,
        /// Read all stored bytes, against their digests
        #[arg(long)]
        read_data: bool,
        /// Unpack every unit, against its digest
        #[arg(long, conflicts_with = "read_data")]
        deep: bool,
        /// An anchor that was kept elsewhere: it tells whether the end was cut off
        #[arg(long, value_name = "ANCHOR", value_parser = anchor)]
        anchor: Option<control::image::Anchor>,
    },
    /// Makes a history shorter: what is older becomes one base
    Forget(ForgetArgs),
    /// Prints the end of a history, to be kept elsewhere
    Anchor {
        /// Its name
        image: String,
    },
    /// Removes an image with all of its history
    Rm {
        /// Its name
        image: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Which images are captured again, and when.
#[derive(Debug, Args)]
pub(crate) struct ImageCaptureArgs {
    /// Their names
    #[arg(required = true)]
    pub(crate) images: Vec<String>,
    /// Again and again, with so much time between, until interrupted
    #[arg(long, value_name = "AGE", value_parser = parse_age, conflicts_with = "at")]
    pub(crate) every: Option<Duration>,
    /// Each day at these times (UTC), until interrupted: 02:00,14:30
    #[arg(long, value_name = "HH:MM", value_delimiter = ',', value_parser = parse_time_of_day)]
    pub(crate) at: Vec<TimeOfDay>,
    /// Of running machines: only when the guest has written so much since the last capture. Looked
    /// at every 10 s, or as --every says
    #[arg(long, value_name = "BYTES", conflicts_with = "at")]
    pub(crate) dirty: Option<u64>,
    /// Not as it is now, but as this snapshot within the image file
    #[arg(long, value_name = "NAME", conflicts_with_all = ["every", "at", "dirty"])]
    pub(crate) snapshot: Option<String>,
    /// Not from where it was added, but from this file: an image that stands on it, one below it, or
    /// a copy
    #[arg(long, value_name = "PATH", conflicts_with_all = ["every", "at", "dirty"])]
    pub(crate) from: Option<PathBuf>,
    /// The format of that file, where its name does not tell it
    #[arg(long, value_name = "FORMAT", value_parser = image_format, requires = "from")]
    pub(crate) format: Option<disk::Format>,
}

/// Which changes of an image's files are told.
#[derive(Debug, Args)]
pub(crate) struct ChangesArgs {
    /// What may have happened after this: each change of each capture. A time such as
    /// 2026-11-20T14:05Z, or an age such as 36h
    #[arg(long, value_name = "TIME|AGE", value_parser = parse_time)]
    pub(crate) since: Option<Timestamp>,
    /// What may have happened before this
    #[arg(long, value_name = "TIME|AGE", value_parser = parse_time)]
    pub(crate) until: Option<Timestamp>,
    /// Only what is at this path, or below it: /path, or VOLUME:/path
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Option<String>,
    /// At most so many of what --since and --until ask for; without it 10,000, as NDJSON all
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
}

/// Flags of `image timeline`.
#[derive(Debug, Args)]
pub(crate) struct TimelineArgs {
    /// Its name
    pub(crate) image: String,
    /// Only what concerns this path, or what is below it: /path, or VOLUME:/path
    pub(crate) path: Option<String>,
    /// From then on: a time such as 2026-11-20T14:05Z, or an age such as 36h
    #[arg(long, value_name = "TIME|AGE", value_parser = parse_time)]
    pub(crate) since: Option<Timestamp>,
    /// Up to then
    #[arg(long, value_name = "TIME|AGE", value_parser = parse_time)]
    pub(crate) until: Option<Timestamp>,
    /// At most so many, the latest of all; 10,000 without it
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
}

/// Flags of `image export`.
#[derive(Debug, Args)]
pub(crate) struct ImageExportArgs {
    /// Its name
    pub(crate) image: String,
    /// The form
    #[arg(long, value_enum)]
    pub(crate) format: ExportFormat,
    /// The file; nothing is written over
    #[arg(long, value_name = "FILE")]
    pub(crate) to: PathBuf,
    /// What may have happened after this: a time, or an age
    #[arg(long, value_name = "TIME|AGE", value_parser = parse_time)]
    pub(crate) since: Option<Timestamp>,
    /// What may have happened before this
    #[arg(long, value_name = "TIME|AGE", value_parser = parse_time)]
    pub(crate) until: Option<Timestamp>,
    /// Only what is at this path, or below it: /path, or VOLUME:/path
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Option<String>,
}

/// A form of exported changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// `vardoger/change/1`, one a line
    Ndjson,
    /// Its fields as columns of a Parquet file
    #[cfg(feature = "parquet")]
    Parquet,
}

/// How an image file is read.
#[derive(Debug, Args)]
pub(crate) struct ReadingArgs {
    /// Format of an image file, where its name does not tell it
    #[arg(long, value_name = "FORMAT", value_parser = image_format)]
    pub(crate) format: Option<disk::Format>,
    /// A directory, besides the image's own, in which images may lie that it stands on
    #[arg(long, value_name = "DIR")]
    pub(crate) allow: Vec<PathBuf>,
}

/// Flags of `image add`.
#[derive(Debug, Args)]
pub(crate) struct ImageAddArgs {
    /// The image file, or a block device; or let `--vm` name a running machine
    #[arg(
        value_name = "PATH",
        required_unless_present = "vm",
        conflicts_with = "vm"
    )]
    pub(crate) path: Option<PathBuf>,
    /// The socket of a running QEMU's monitor (`-qmp unix:SOCKET,server=on,wait=off`)
    #[arg(long, value_name = "SOCKET", requires = "name")]
    pub(crate) vm: Option<PathBuf>,
    /// One of the machine's disks; all that can be captured where absent
    #[arg(long, value_name = "NAME", requires = "vm")]
    pub(crate) disk: Vec<String>,
    /// The socket of the guest's agent: file systems are frozen for the moment of each capture
    #[arg(long, value_name = "SOCKET", requires = "vm")]
    pub(crate) agent: Option<PathBuf>,
    /// Its name in the store; the file's without its ending where absent
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Its format, where the file's name does not tell it; never taken from what a guest can write
    #[arg(long, value_name = "FORMAT", value_parser = image_format, conflicts_with = "vm")]
    pub(crate) format: Option<disk::Format>,
    /// An internal snapshot of it, in place of the present disk
    #[arg(long, value_name = "NAME")]
    pub(crate) snapshot: Option<String>,
    /// Encrypt its history; the key is made where there is none, and without it nothing can be read
    #[arg(long)]
    pub(crate) encrypt: bool,
    /// A directory, besides the image's own, in which images may lie that it stands on
    #[arg(long, value_name = "DIR")]
    pub(crate) allow: Vec<PathBuf>,
}

/// Flags of `image forget`. Without any, what a broken-off command left is removed.
#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    /// Its name
    pub(crate) image: String,
    /// Captures that stay, at most
    #[arg(long, value_name = "N")]
    pub(crate) keep_last: Option<u64>,
    /// How far back the disk can be read as it was, such as `30d`
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    pub(crate) keep_within: Option<Duration>,
    /// About how much is stored at most, in bytes; the last capture always stays
    #[arg(long, value_name = "BYTES")]
    pub(crate) max_bytes: Option<u64>,
    /// Only say what would be forgotten
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// A time, or how long ago it is.
fn parse_time(text: &str) -> Result<Timestamp, String> {
    if let Some(time) = control::image::time(text) {
        return Ok(time);
    }
    let age =
        parse_age(text).map_err(|_| "a time is such as 2026-11-20T14:05Z, or 36h ago as 36h")?;
    let age = i64::try_from(age.as_nanos()).unwrap_or(i64::MAX);
    let now = control::session::now().unix_ns();
    Ok(Timestamp::from_unix_ns(now.saturating_sub(age)))
}

/// A time of day, in seconds after midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimeOfDay(pub(crate) i64);

fn parse_time_of_day(text: &str) -> Result<TimeOfDay, String> {
    let wrong = || "a time of day is such as 02:00 or 14:30".to_owned();
    let (hours, minutes) = text.split_once(':').ok_or_else(wrong)?;
    let digits = |part: &str, most: i64| {
        let number = part
            .parse()
            .ok()
            .filter(|number| (0..=most).contains(number));
        let is_plain = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        number.filter(|_| is_plain).ok_or_else(wrong)
    };
    Ok(TimeOfDay(
        digits(hours, 23)? * 3600 + digits(minutes, 59)? * 60,
    ))
}

fn anchor(text: &str) -> Result<control::image::Anchor, String> {
    text.parse()
        .map_err(|error: control::image::AnchorError| error.to_string())
}

pub(crate) fn image_format(name: &str) -> Result<disk::Format, String> {
    disk::Format::from_name(name).ok_or_else(|| "one of raw, qcow2, vmdk, vhdx".to_owned())
}

/// An age, for which days and weeks are units too: of 24 hours each.
fn parse_age(text: &str) -> Result<Duration, String> {
    let wrong = || "an age is a number and a unit, such as 36h, 30d or 8w".to_owned();
    let span: jiff::Span = text.parse().map_err(|_| wrong())?;
    let duration = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours());
    let duration = duration.map_err(|_| wrong())?;
    Duration::try_from(duration)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_read() {
        assert_eq!(parse_age("30d"), Ok(Duration::from_secs(30 * 86_400)));
        assert_eq!(parse_age("2w"), Ok(Duration::from_secs(14 * 86_400)));
        assert!(parse_age("-1d").is_err() && parse_age("1").is_err());
    }

    #[test]
    fn times_of_day_are_read() {
        assert_eq!(parse_time_of_day("02:30"), Ok(TimeOfDay(9000)));
        assert_eq!(parse_time_of_day("23:59"), Ok(TimeOfDay(86_340)));
        for wrong in ["24:00", "2:30", "02:60", "0230", "+2:30", "02:3", ""] {
            assert!(parse_time_of_day(wrong).is_err(), "{wrong}");
        }
    }
}

//! Timelines: `vardoger/timeline/1` and its entries.

use crate::ChangeDocument;
use crate::document::Payload;
use schemars::JsonSchema;
use serde::Serialize;

/// Who did something, as something on the disk says. Whoever could write to the disk could write
/// that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ActorDocument {
    /// The user.
    pub user: String,
    /// The program.
    pub process: Option<String>,
    /// How much the source is worth: `high`, the kernel wrote it; `medium`, a program of the system;
    /// `low`, the user could write it.
    #[schemars(extend("examples" = ["high", "medium", "low"]))]
    pub confidence: String,
    /// The file in which it stands.
    pub source: String,
    /// What stands there.
    pub text: String,
}

/// What a log on the disk says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LogEntryDocument {
    /// The volume that the log is on.
    pub volume: String,
    /// The log.
    pub source: String,
    /// What it says.
    pub text: String,
    /// Paths that it names.
    pub paths: Vec<String>,
    /// Packages that it names.
    pub packages: Vec<String>,
}

/// Something at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TimelineEntryDocument {
    /// The image's name.
    pub image: String,
    /// When.
    #[schemars(extend("format" = "date-time"))]
    pub time: String,
    /// How sure the time is: `exact`, as it is written; `zone-assumed`, local time of the disk's zone;
    /// `year-assumed`, the year is not written; `file-time`, what the changed file says; `capture`,
    /// not later than the capture that has it.
    #[schemars(extend("examples" = [
        "exact", "zone-assumed", "year-assumed", "file-time", "capture"
    ]))]
    pub certainty: String,
    /// What it is about.
    #[schemars(extend("examples" = [
        "change", "log", "login", "logout", "login-refused", "boot", "package", "command", "audit"
    ]))]
    pub kind: String,
    /// Who did it, as far as something on the disk names them. The owner of a file is not among them.
    pub actors: Vec<ActorDocument>,
    /// Whether they are different users.
    pub disputed: bool,
    /// Of a change, it.
    pub change: Option<ChangeDocument>,
    /// Of all else, what the log says.
    pub entry: Option<LogEntryDocument>,
}

/// Changes, logs, logins, commands and work on packages, in one order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TimelineDocument {
    /// The image's name.
    pub image: String,
    /// The path, where one was given.
    pub path: Option<String>,
    /// The beginning, where one was given.
    #[schemars(extend("format" = "date-time"))]
    pub since: Option<String>,
    /// The end, where one was given.
    #[schemars(extend("format" = "date-time"))]
    pub until: Option<String>,
    /// What happened, the oldest first.
    pub entries: Vec<TimelineEntryDocument>,
    /// Whether older ones are left out.
    pub more: bool,
}

impl Payload for TimelineEntryDocument {
    const SCHEMA: &'static str = "vardoger/timeline-entry/1";
}

impl Payload for TimelineDocument {
    const SCHEMA: &'static str = "vardoger/timeline/1";
}

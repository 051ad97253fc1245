//! `vardoger/doctor/1`, `vardoger/error/1` and `vardoger/version/1`.

use crate::document::Payload;
use schemars::JsonSchema;
use serde::Serialize;

/// What a machine can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DoctorDocument {
    /// What was looked at.
    pub checks: Vec<CheckDocument>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CheckDocument {
    /// What it is.
    pub name: String,
    /// How it came out: `missing` where runs need it, `limited` where they do without.
    #[schemars(extend("examples" = ["ok", "limited", "missing"]))]
    pub status: String,
    /// What was seen.
    pub detail: String,
    /// What mends it.
    pub remedy: Option<String>,
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ErrorDocument {
    /// What kind of failure it is, in words that do not change.
    pub code: String,
    /// What was attempted, on what, and why it failed.
    pub message: String,
    /// What the user can do.
    pub hint: Option<String>,
}

/// Which version this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct VersionDocument {
    /// The version, as in semantic versioning.
    pub version: String,
}

impl Payload for DoctorDocument {
    const SCHEMA: &'static str = "vardoger/doctor/1";
}

impl Payload for ErrorDocument {
    const SCHEMA: &'static str = "vardoger/error/1";
}

impl Payload for VersionDocument {
    const SCHEMA: &'static str = "vardoger/version/1";
}

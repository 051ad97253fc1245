//! The envelope that every document comes in.

use schemars::JsonSchema;
use serde::Serialize;

/// What may stand in an envelope: one type for each schema.
pub trait Payload: Serialize + JsonSchema {
    /// The schema's name and major number, such as `vardoger/run/1`.
    const SCHEMA: &'static str;
}

/// A document: what it is, what it says, and what to know besides.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Document<T> {
    /// The schema of `data`: its name and major number.
    pub schema: &'static str,
    /// What it says.
    pub data: T,
    /// What the reader should know besides, one sentence each.
    pub warnings: Vec<String>,
}

impl<T: Payload> Document<T> {
    /// A document without warnings.
    #[must_use]
    pub const fn new(data: T) -> Self {
        Self {
            schema: T::SCHEMA,
            data,
            warnings: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VersionDocument;

    #[test]
    fn the_envelope_has_three_keys() {
        let document = Document::new(VersionDocument {
            version: "1.2.3".to_owned(),
        });
        assert_eq!(
            serde_json::to_string(&document).unwrap(),
            r#"{"schema":"vardoger/version/1","data":{"version":"1.2.3"},"warnings":[]}"#
        );
    }
}

//! The JSON Schema of every document, generated from its type.

use crate::{
    CampaignDocument, CampaignListDocument, ChangeDocument, ChangeListDocument, ChangesetDocument,
    ComputationCoverageDocument, ComputationDocument, ComputationListDocument, DiffDocument,
    DoctorDocument, Document, ErrorDocument, ExportDocument, FileDocument, FileEventDocument,
    FileListDocument, FindingDocument, FindingListDocument, GoldenDocument, ImageAnchorDocument,
    ImageCheckDocument, ImageDiffDocument, ImageDocument, ImageForgetDocument, ImageListDocument,
    ImageLogDocument, NoiseModelDocument, Payload, RunDocument, RunListDocument, TimelineDocument,
    TimelineEntryDocument, VersionDocument,
};
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// The schema of one document.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishedSchema {
    /// Its name and major number, such as `vardoger/run/1`.
    pub name: &'static str,
    /// The schema itself, in JSON Schema 2020-12.
    pub schema: Value,
}

impl PublishedSchema {
    /// The name of its golden file, such as `run-1.json`.
    #[must_use]
    pub fn file_name(&self) -> String {
        let short = self.name.strip_prefix("vardoger/").unwrap_or(self.name);
        format!("{}.json", short.replace('/', "-"))
    }

    /// The content of its golden file.
    #[must_use]
    pub fn file_content(&self) -> String {
        format!("{:#}\n", self.schema)
    }

    fn of<T: Payload>() -> Self {
        let generator = SchemaSettings::draft2020_12()
            .for_serialize()
            .into_generator();
        let mut schema = generator.into_root_schema_for::<Document<T>>().to_value();
        if let Some(tag) = schema.pointer_mut("/properties/schema") {
            tag["const"] = T::SCHEMA.into();
        }
        schema["title"] = T::SCHEMA.into();
        Self {
            name: T::SCHEMA,
            schema,
        }
    }
}

/// The schemas of all documents, by name.
#[must_use]
pub fn schemas() -> Vec<PublishedSchema> {
    let mut all = vec![
        PublishedSchema::of::<CampaignDocument>(),
        PublishedSchema::of::<CampaignListDocument>(),
        PublishedSchema::of::<ChangeDocument>(),
        PublishedSchema::of::<ChangeListDocument>(),
        PublishedSchema::of::<ChangesetDocument>(),
        PublishedSchema::of::<FileDocument>(),
        PublishedSchema::of::<FileListDocument>(),
        PublishedSchema::of::<FileEventDocument>(),
        PublishedSchema::of::<ImageDiffDocument>(),
        PublishedSchema::of::<ImageCheckDocument>(),
        PublishedSchema::of::<ImageAnchorDocument>(),
        PublishedSchema::of::<ImageForgetDocument>(),
        PublishedSchema::of::<ImageDocument>(),
        PublishedSchema::of::<ImageListDocument>(),
        PublishedSchema::of::<ImageLogDocument>(),
        PublishedSchema::of::<ComputationCoverageDocument>(),
        PublishedSchema::of::<ComputationDocument>(),
        PublishedSchema::of::<ComputationListDocument>(),
        PublishedSchema::of::<DiffDocument>(),
        PublishedSchema::of::<DoctorDocument>(),
        PublishedSchema::of::<ErrorDocument>(),
        PublishedSchema::of::<ExportDocument>(),
        PublishedSchema::of::<FindingDocument>(),
        PublishedSchema::of::<FindingListDocument>(),
        PublishedSchema::of::<GoldenDocument>(),
        PublishedSchema::of::<NoiseModelDocument>(),
        PublishedSchema::of::<RunDocument>(),
        PublishedSchema::of::<RunListDocument>(),
        PublishedSchema::of::<TimelineDocument>(),
        PublishedSchema::of::<TimelineEntryDocument>(),
        PublishedSchema::of::<VersionDocument>(),
    ];
    all.sort_by_key(|one| one.name);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_short() {
        let all = schemas();
        let names: Vec<_> = all.iter().map(PublishedSchema::file_name).collect();
        assert!(names.contains(&"run-1.json".to_owned()), "{names:?}");
        assert!(names.contains(&"finding-list-1.json".to_owned()));
    }

    #[test]
    fn a_schema_names_itself_and_demands_its_keys() {
        for one in schemas() {
            let tag = one.schema.pointer("/properties/schema/const");
            assert_eq!(tag, Some(&one.name.into()));
            let required = &one.schema["required"];
            assert_eq!(*required, serde_json::json!(["schema", "data", "warnings"]));
        }
    }
}

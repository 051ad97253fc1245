//! A document held against its published schema in `docs/schema`.
//!
//! Knows the keywords that these schemas use; another one ends the test, rather than being passed
//! over. Stricter than the standard in one point: a key that the schema does not name is an error,
//! for what is not published is not promised.

use serde_json::Value;
use std::path::Path;

/// Ends the test unless the document is as the schema of its name says.
pub fn assert_conforms(document: &Value) {
    let name = document["schema"].as_str().unwrap();
    let file = name.trim_start_matches("vardoger/").replace('/', "-");
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs/schema")
        .join(format!("{file}.json"));
    let text = std::fs::read_to_string(&path).unwrap();
    let root: Value = serde_json::from_str(&text).unwrap();
    let mut faults = Vec::new();
    check(&root, &root, document, "$", &mut faults);
    assert!(faults.is_empty(), "{name}: {faults:#?}");
}

fn check(root: &Value, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    for (keyword, rule) in schema.as_object().unwrap() {
        let holds = match keyword.as_str() {
            "$ref" => {
                let pointer = rule.as_str().unwrap().trim_start_matches('#');
                check(root, root.pointer(pointer).unwrap(), value, at, faults);
                true
            }
            "anyOf" => rule.as_array().unwrap().iter().any(|choice| {
                let mut against = Vec::new();
                check(root, choice, value, at, &mut against);
                against.is_empty()
            }),
            "type" => match rule {
                Value::Array(types) => types.iter().any(|one| is_of_type(one, value)),
                one => is_of_type(one, value),
            },
            "const" => value == rule,
            "minimum" => value.as_f64().is_none_or(|found| found >= limit(rule)),
            "maximum" => value.as_f64().is_none_or(|found| found <= limit(rule)),
            "format" if rule == "date-time" => value.as_str().is_none_or(is_moment),
            "required" => {
                let keys = rule.as_array().unwrap();
                keys.iter()
                    .all(|key| value.get(key.as_str().unwrap()).is_some())
            }
            "properties" => {
                for (key, value) in value.as_object().into_iter().flatten() {
                    match rule.get(key) {
                        Some(rule) => check(root, rule, value, &format!("{at}.{key}"), faults),
                        None => faults.push(format!("{at}.{key} is not in the schema")),
                    }
                }
                true
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, rule, item, &format!("{at}[{index}]"), faults);
                }
                true
            }
            "$schema" | "$defs" | "title" | "description" | "examples" | "format" => true,
            other => panic!("{at}: keyword {other:?} is not understood here"),
        };
        if !holds {
            faults.push(format!("{at}: {keyword} {rule} does not hold for {value}"));
        }
    }
}

fn is_of_type(name: &Value, value: &Value) -> bool {
    match name.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("type {other:?} is not understood here"),
    }
}

fn limit(rule: &Value) -> f64 {
    rule.as_f64().unwrap()
}

/// Whether a text looks like a moment in UTC, such as `2026-11-20T14:05:00Z`.
fn is_moment(text: &str) -> bool {
    text.len() >= "2026-11-20T14:05:00Z".len()
        && text.ends_with('Z')
        && text.get(10..11) == Some("T")
}

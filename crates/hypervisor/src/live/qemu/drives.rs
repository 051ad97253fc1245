//! What QEMU says of its drives: JSON in, drives out. Pure.

use crate::live::{LiveBitmap, LiveDisk, LiveDrives, LiveError, Skip};
use serde_json::Value;

/// Drives out of the answer to `query-block`.
pub(super) fn drives(answer: &Value) -> Result<LiveDrives, LiveError> {
    let entries = answer.as_array().ok_or_else(|| LiveError::Answer {
        command: "query-block",
        detail: "it is no list".to_owned(),
    })?;
    let mut drives = LiveDrives::default();
    for entry in entries {
        match drive(entry) {
            Ok(disk) => drives.disks.push(disk),
            Err(skipped) => drives.skipped.push(skipped),
        }
    }
    Ok(drives)
}

fn drive(entry: &Value) -> Result<LiveDisk, (String, Skip)> {
    let inserted = &entry["inserted"];
    let node = text(inserted, "node-name");
    let device = Some(text(entry, "qdev")).filter(|path| !path.is_empty());
    let name = [
        text(entry, "device"),
        device.and_then(id_of_path).unwrap_or_default(),
        node,
        device.unwrap_or("unnamed"),
    ];
    let name = name.into_iter().find(|name| !name.is_empty());
    let name = name.unwrap_or("unnamed").to_owned();
    if !inserted.is_object() {
        return Err((name, Skip::Empty));
    }
    if inserted["ro"].as_bool() != Some(false) {
        return Err((name, Skip::ReadOnly));
    }
    if node.is_empty() {
        return Err((name, Skip::Nameless));
    }
    let image = &inserted["image"];
    let Some(size_bytes) = image["virtual-size"].as_u64().filter(|bytes| *bytes > 0) else {
        return Err((name, Skip::Empty));
    };
    let format = text(inserted, "drv");
    // Version 2 of the format has no room for bitmaps.
    let compatible = text(&image["format-specific"]["data"], "compat");
    Ok(LiveDisk {
        name,
        node: node.to_owned(),
        format: format.to_owned(),
        file: text(inserted, "file").to_owned(),
        size_bytes,
        keeps_bitmaps: format == "qcow2" && compatible != "0.10",
        bitmaps: bitmaps(inserted),
        device: device.map(str::to_owned),
    })
}

/// `/machine/peripheral/vd0/virtio-backend` → `vd0`
fn id_of_path(path: &str) -> Option<&str> {
    let id = path.strip_prefix("/machine/peripheral/")?;
    id.split('/').next()
}

/// The bitmaps of a node.
pub(super) fn bitmaps(node: &Value) -> Vec<LiveBitmap> {
    let listed = node["dirty-bitmaps"].as_array();
    let bitmap = |value: &Value| LiveBitmap {
        name: text(value, "name").to_owned(),
        granularity_bytes: value["granularity"].as_u64().unwrap_or(0),
        dirty_bytes: value["count"].as_u64().unwrap_or(0),
        recording: value["recording"].as_bool() == Some(true),
        busy: value["busy"].as_bool() != Some(false),
        persistent: value["persistent"].as_bool() == Some(true),
        inconsistent: value["inconsistent"].as_bool() == Some(true),
    };
    listed.into_iter().flatten().map(bitmap).collect()
}

/// A text of an object, or nothing.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// The objects of a list.
pub(super) fn entries(answer: &Value) -> impl Iterator<Item = &Value> {
    answer.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn what_is_no_list_is_an_error() {
        for answer in [json!({}), json!(null), json!("x")] {
            let failed = drives(&answer);
            assert!(matches!(failed, Err(LiveError::Answer { .. })), "{answer}");
        }
    }

    fn check(entry: Value, expected: Result<&str, Skip>) {
        let found = drives(&json!([entry])).unwrap();
        let names: Vec<_> = found.disks.iter().map(|disk| &*disk.name).collect();
        let reasons: Vec<_> = found.skipped.iter().map(|(_, reason)| *reason).collect();
        match expected {
            Ok(name) => assert_eq!(names, [name]),
            Err(reason) => assert_eq!(reasons, [reason]),
        }
    }

    #[test]
    fn a_disk_is_known_by_its_drive_its_device_or_its_node() {
        let inserted = json!({ "node-name": "n", "ro": false, "image": { "virtual-size": 1 } });
        let path = "/machine/peripheral/vd0/virtio-backend";
        let entry = |device, qdev| json!({ "device": device, "qdev": qdev, "inserted": inserted });
        check(entry("d0", path), Ok("d0"));
        check(entry("", path), Ok("vd0"));
        check(entry("", "/machine/unattached/device[7]"), Ok("n"));
    }

    #[test]
    fn what_cannot_be_captured_is_skipped_with_its_reason() {
        check(json!({ "device": "cd" }), Err(Skip::Empty));
        let with = |inserted| json!({ "device": "d", "inserted": inserted });
        let sized = json!({ "virtual-size": 1 });
        check(
            with(json!({ "node-name": "n", "ro": true, "image": sized })),
            Err(Skip::ReadOnly),
        );
        check(
            with(json!({ "node-name": "n", "image": sized })),
            Err(Skip::ReadOnly),
        );
        check(
            with(json!({ "ro": false, "image": sized })),
            Err(Skip::Nameless),
        );
        check(
            with(json!({ "node-name": "n", "ro": false })),
            Err(Skip::Empty),
        );
    }

    #[test]
    fn only_a_format_with_room_for_bitmaps_keeps_them() {
        let keeps = |format: &str, compatible: &str| {
            let image = json!({
                "virtual-size": 1, "format-specific": { "data": { "compat": compatible } },
            });
            let inserted = json!({
                "node-name": "n", "ro": false, "drv": format, "image": image,
            });
            drives(&json!([{ "inserted": inserted }])).unwrap().disks[0].keeps_bitmaps
        };
        assert!(keeps("qcow2", "1.1"));
        assert!(!keeps("qcow2", "0.10"));
        assert!(!keeps("raw", ""));
    }

    proptest! {
        #[test]
        fn any_answer_is_survived(text in "[\\[\\]{}:,\"a-z0-9-]{0,80}") {
            if let Ok(answer) = serde_json::from_str::<Value>(&text) {
                drop(drives(&answer));
                drop(bitmaps(&answer));
            }
        }
    }
}

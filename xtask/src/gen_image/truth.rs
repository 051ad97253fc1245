//! The record of what was done to disks: `truth.json`.

use super::{GenImage, Made};
use anyhow::Context;
use serde_json::{Value, json};

/// Writes down what was done.
pub(super) fn write(what: &GenImage, made: &Made) -> anyhow::Result<()> {
    let (ab, bc, ac) = (step(made, 0, 1), step(made, 1, 2), step(made, 0, 2));
    eprintln!(
        "{}: a to b: {} events; b to c: {}; a to c: {}",
        made.about,
        ab.len(),
        bc.len(),
        ac.len()
    );
    let files = made.world.files.iter();
    let truth = json!({
        "seed": what.seed,
        "mib": what.mib,
        "about": made.about,
        "files": files.filter(|file| file.paths[0].is_some()).count(),
        "a-b": ab,
        "b-c": bc,
        "a-c": ac,
        "attack": { "mode": what.attack, "files": made.victims },
    });
    let path = what.out.join("truth.json");
    std::fs::write(&path, serde_json::to_vec_pretty(&truth)?)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// What happened from one version to a later one.
fn step(made: &Made, from: usize, to: usize) -> Vec<Value> {
    let events = made.events(from, to).into_iter();
    let each = events.map(|event| {
        json!({
            "path": event.path,
            "change": event.change,
            "from": event.from,
            "ranges": event.ranges,
            "fields": event.fields,
        })
    });
    each.collect()
}

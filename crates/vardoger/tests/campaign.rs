//! The detector on trial: faults over the whole library, and clean runs, of which none may be
//! misjudged; and a campaign that is killed goes on where it was.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod support;

use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use support::World;

const FAULTS: u64 = 60;

/// Trials that have ended when the campaign is killed.
const BEFORE_THE_KILL: usize = 20;

/// Faults that must leave something to find, for the campaign to be worth it.
const SHOWN_MIN: u64 = 25;

fn count(campaign: &Value, outcome: &str) -> u64 {
    campaign["outcomes"][outcome].as_u64().unwrap_or(0)
}

/// Carries a campaign to its end and gives what it says.
fn done(world: &World, arguments: &str) -> Value {
    let running = world.start(&format!("{arguments} --json"));
    running.patiently().wait().expect(0).data()
}

/// The lines of a campaign's file after the first.
fn trials(world: &World, campaign: &Value) -> Vec<Value> {
    let id = campaign["id"].as_str().unwrap();
    let path = world.store().join(format!("campaigns/{id}.ndjson"));
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().skip(1);
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn every_fault_is_judged_right_also_after_a_kill() {
    let world = World::new();
    let mut victim = world
        .start(&format!(
            "campaign start --trials {FAULTS} --seed 11 --budget 50ms --jobs 2 -v"
        ))
        .patiently();
    victim.wait_for("truth sealed as");
    for _ in 0..BEFORE_THE_KILL {
        victim.wait_for("a trial has ended");
    }
    victim.signal(Signal::KILL);
    victim.wait();
    let stopped = world.data("campaign show");
    assert_eq!(stopped["state"], "stopped");
    assert!(stopped["trials_ended"].as_u64().unwrap() >= BEFORE_THE_KILL as u64);
    assert!(stopped["truth"].is_null());

    let campaign = done(&world, "campaign resume --jobs 2");
    assert_eq!(campaign["state"], "complete");
    assert_eq!(campaign["failures"], 0, "{campaign:#}");
    let shown =
        count(&campaign, "detected") + count(&campaign, "crashed") + count(&campaign, "hung");
    assert_eq!(shown + count(&campaign, "masked"), FAULTS, "{campaign:#}");
    assert!(shown >= SHOWN_MIN, "{campaign:#}");
    let numbers: Vec<u64> = trials(&world, &campaign)
        .iter()
        .map(|trial| trial["number"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers.len() as u64, FAULTS, "a trial was done twice");
    assert_eq!(
        numbers.into_iter().collect::<BTreeSet<_>>().len() as u64,
        FAULTS
    );
    world.assert_clean();

    // What was told at the end is what was sealed before the first trial.
    let truth = std::fs::read(campaign["truth"].as_str().unwrap()).unwrap();
    assert_eq!(campaign["seal"], blake3::hash(&truth).to_hex().as_str());
    let truth: Value = serde_json::from_slice(&truth).unwrap();
    assert_eq!(truth.as_array().unwrap().len() as u64, FAULTS);
    println!("{shown} of {FAULTS} shown: {:#}", campaign["by_fault"]);
}

#[test]
fn clean_runs_are_clean_on_a_busy_host_too() {
    let world = World::new();
    let campaign = done(
        &world,
        "campaign start --clean --trials 20 --seed 2 --budget 50ms",
    );
    assert_eq!(count(&campaign, "clean"), 20, "{campaign:#}");
    assert_eq!(campaign["failures"], 0);
    let loaded = trials(&world, &campaign)
        .iter()
        .filter(|trial| trial["detail"].as_str().unwrap().starts_with("busy"))
        .count();
    assert_eq!(loaded, 10);
    let bound = campaign["upper_bound"].as_f64().unwrap();
    assert!((0.13..0.15).contains(&bound), "{bound}");
}

/// Thirty faults of known cause over four computations, a machine each: the figures are small, and
/// say that the way from the draw to the matrix is whole.
#[test]
fn hints_are_graded_against_causes_that_they_are_not_told() {
    let world = World::new();
    let arguments = "campaign start sha256 matmul gather sqlite --hints --trials 30 --seed 4 \
                     --budget 20ms --jobs 2";
    let campaign = done(&world, arguments);
    assert_eq!(campaign["kind"], "hints");
    assert_eq!(campaign["failures"], 0, "{campaign:#}");
    let hints = &campaign["hints"];
    let graded = hints["all"]["trials"].as_u64().unwrap();
    assert!((24..=30).contains(&graded), "{hints:#}");
    let first = hints["all"]["first"].as_f64().unwrap();
    let three = hints["all"]["among_three"].as_f64().unwrap();
    // Of thirty, three standard errors below what two thousand show.
    assert!(first >= 0.7 && three >= 0.85 && first <= three, "{hints:#}");
    let rows = hints["by_class"].as_array().unwrap();
    let said: u64 = rows
        .iter()
        .flat_map(|row| row["said"].as_object().unwrap().values())
        .map(|count| count.as_u64().unwrap())
        .sum();
    assert_eq!(said, graded);
    assert_eq!(hints["reliability"].as_array().unwrap().len(), 10);
    let shown = world.run("campaign show").expect(0).stdout;
    for part in ["true cause", "said first", "expected calibration error"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    // Ranked anew by the same program, hints are worth the same.
    let again = world.run("campaign show --rank-anew").expect(0).stdout;
    assert_eq!(again, shown);
    // The truth that was sealed names the cause of each, which no finding does.
    let truth = std::fs::read(campaign["truth"].as_str().unwrap()).unwrap();
    assert_eq!(campaign["seal"], blake3::hash(&truth).to_hex().as_str());
    let truth: Value = serde_json::from_slice(&truth).unwrap();
    let causes = truth.as_array().unwrap().iter();
    assert!(
        causes
            .clone()
            .all(|trial| trial["cause"]["class"].is_string())
    );
    world.assert_clean();
}

#[test]
fn a_campaign_that_is_asked_to_stop_stops_and_goes_on() {
    let world = World::new();
    let running = world.start("campaign start sha256 --trials 10 --budget 20ms --json -v");
    let mut running = running.patiently();
    running.wait_for("a trial has ended");
    world.run("campaign stop").expect(0);
    let stopped = running.wait().expect(0).data();
    assert_eq!(stopped["state"], "stopped");
    let ended = stopped["trials_ended"].as_u64().unwrap();
    assert!((1..10).contains(&ended), "{ended}");
    assert_eq!(
        world.data("campaign ls")["campaigns"][0]["state"],
        "stopped"
    );
    assert_eq!(done(&world, "campaign resume")["trials_ended"], 10);
}

#[test]
fn wrong_campaigns_say_what_is_right() {
    let world = World::cold();
    for (arguments, code, says) in [
        ("campaign start no-such-thing", 2, "sha256"),
        ("campaign start --trials 0", 2, "trials"),
        ("campaign start -n 2", 2, "3 to"),
        ("campaign start --place buffer", 2, "not bit-exact"),
        ("campaign show", 2, "no campaign"),
        ("campaign resume 0192abcd", 2, "no campaign"),
        ("campaign stop nonsense!", 2, "not an id"),
    ] {
        let ended = world.run(arguments).expect(code);
        assert!(ended.stderr.contains(says), "{arguments}: {}", ended.stderr);
    }
}

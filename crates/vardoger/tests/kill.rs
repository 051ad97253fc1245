//! A process that is killed at any stage leaves nothing that the next command does not mend: no
//! emulator, no run directory, no unfinished file, and every finding that was there before.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod support;

use rustix::process::Signal;
use support::World;

/// Kills a run at a stage, and sees what the next command makes of it.
fn check(world: &World, stage: &str) {
    let findings = world.findings();
    let before = runs(world).len();
    let mut victim = world.start(&format!(
        "run start sha256 -n 3 {} --keep all -v",
        support::SHORT
    ));
    victim.wait_for(&format!("stage {stage}"));
    victim.signal(Signal::KILL);
    assert_eq!(victim.wait().code, None, "killed at {stage}");
    let runs = runs(world);
    assert_eq!(runs.len(), before + 1, "killed at {stage}");
    assert_eq!(runs[0]["state"], "failed", "killed at {stage}");
    world.assert_clean();
    assert!(!findings.is_empty());
    assert_eq!(world.findings(), findings, "killed at {stage}");
    for finding in findings {
        world.data(&format!("finding show {finding}"));
    }
}

fn runs(world: &World) -> Vec<serde_json::Value> {
    let listed = world.data("run ls");
    listed["runs"].as_array().unwrap().clone()
}

#[test]
fn nothing_is_left_of_a_run_that_was_killed() {
    let world = World::new();
    world.make_finding();
    for stage in ["restore", "run", "capture", "store"] {
        check(&world, stage);
    }
    world.forget_machine();
    check(&world, "boot");
    // And the next run is none the wiser.
    world.run("run start sha256 -n 2 --budget 10ms").expect(0);
    world.assert_clean();
}

#[test]
fn another_instance_at_work_is_not_touched() {
    let world = World::new();
    let mut other = world.start("run start sha256 -n 2 --jobs 1 --budget 3s --json -v");
    other.wait_for("stage run");
    let emulators = world.emulators();
    assert!(!emulators.is_empty());
    let mut victim = world.start("run start sha256 -n 2 --jobs 2 --budget 3s -v");
    victim.wait_for("stage run");
    victim.signal(Signal::KILL);
    victim.wait();
    let states = runs(&world);
    let state = |at: usize| states[at]["state"].as_str().unwrap();
    assert_eq!((state(0), state(1)), ("failed", "running"));
    assert_eq!(
        world.emulators(),
        emulators,
        "the other's emulator is still there, alone"
    );
    let run = other.wait().expect(0).data();
    assert_eq!(run["verdict"], "pass");
    world.assert_clean();
}

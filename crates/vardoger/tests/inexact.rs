//! Machines that are not bit-exact: two processors, no instruction count, two threads that allocate. A
//! tenth of the campaign that the specification names, of which a full one takes half an hour. Costs
//! some 160 replicas of half a second.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod support;

use serde_json::Value;
use support::World;

const MACHINE: &str = "--vcpus 2 --icount off";

/// Faults in each kind of memory.
const FAULTS: u64 = 30;

/// Of those in memory outside of named buffers as many must be found. What lies at another address in
/// each machine is not compared, so that not all can be.
const FOUND_MIN: u64 = 24;

fn of_fault(campaign: &Value, fault: &str, outcome: &str) -> u64 {
    let kinds = campaign["by_fault"].as_array().unwrap();
    let found = kinds.iter().find(|one| one["fault"] == fault);
    let found = found.and_then(|one| one["outcomes"][outcome].as_u64());
    found.unwrap_or(0)
}

fn done(world: &World, arguments: &str, code: i32) -> Value {
    let running = world.start(&format!("{arguments} --json"));
    running.patiently().wait().expect(code).data()
}

#[test]
fn a_tenth_of_the_campaign_on_two_processors() {
    let world = World::new();
    let learned = done(
        &world,
        &format!("computation learn threads {MACHINE} --budget 100ms --runs 10"),
        0,
    );
    assert_eq!(
        (learned["runs"].as_u64(), learned["deviating"].as_u64()),
        (Some(10), Some(0))
    );
    assert!(learned["places"].as_u64().unwrap() > 0);

    let clean = done(
        &world,
        &format!(
            "campaign start threads {MACHINE} --budget 100ms --clean --trials 20 --check-pages"
        ),
        0,
    );
    let pages = &clean["pages"];
    assert_eq!(pages["replicas"], 60, "{pages}");
    assert!(pages["differing"].as_u64().unwrap() > 60 * 4096, "{pages}");
    assert_eq!(
        (&pages["disputed"], &pages["missed"]),
        (&0.into(), &0.into())
    );
    assert_eq!(of_fault(&clean, "none", "false-alarm"), 0, "{clean}");

    let running = world.start(&format!(
        "campaign start threads {MACHINE} --budget 100ms --trials {} --seed 3 --json",
        2 * FAULTS
    ));
    let faults = running.patiently().wait();
    let faults = faults.data();
    assert_eq!(
        of_fault(&faults, "ram buffer flip", "detected"),
        FAULTS,
        "{faults}"
    );
    let found = of_fault(&faults, "ram user flip", "detected");
    assert!(found >= FOUND_MIN, "{faults}");
}

#[test]
fn a_report_says_what_was_compared_masked_and_left_out() {
    let world = World::new();
    let flags = format!("run start threads {MACHINE} -n 3 --budget 100ms --json");
    let run = world
        .run(&format!("{flags} --inject ram=buffer@end,replica=1"))
        .expect(3)
        .data();
    assert_eq!(
        (run["deterministic"].as_bool(), run["vcpus"].as_u64()),
        (Some(false), Some(2))
    );
    assert_eq!(run["deviations"][0]["replica"], 1);
    assert_eq!(run["deviations"][0]["differing_words"], 1);
    assert_eq!(run["injections"][0]["fate"], "live");
    let coverage = &run["coverage"];
    assert!(coverage["bytes_compared"].as_u64().unwrap() > 3 * (16 << 20));
    assert_eq!(coverage["bytes_masked"], 0, "nothing was learned yet");
    assert!(coverage["bytes_not_compared"].as_u64().unwrap() > 0);
    let reasons = coverage["not_compared_reasons"].to_string();
    assert!(reasons.contains("free pages") && reasons.contains("page tables"));
    let buffers = run["noise"]["buffers"].to_string();
    assert!(
        buffers.contains("thread-0") && buffers.contains("8388608 bytes"),
        "{buffers}"
    );
    assert_eq!(run["noise"]["runs"], 0);
}

#[test]
fn machines_that_there_are_not_are_refused() {
    let world = World::cold();
    for wrong in [
        "--vcpus 0",
        "--vcpus 9",
        "--vcpus 2 --icount on",
        "--accelerator kvm --icount on",
    ] {
        let ended = world
            .run(&format!("run start threads {wrong} --json"))
            .expect(2);
        assert!(
            ended.stderr.contains("out-of-range"),
            "{wrong}: {}",
            ended.stderr
        );
    }
    world
        .run("computation learn threads --runs 3 --json")
        .expect(2);
}

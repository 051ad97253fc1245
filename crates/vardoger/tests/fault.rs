//! Faults of every kind that can be ordered: what became of them is named, and the same order does
//! the same again.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod support;

use serde_json::{Value, json};
use support::{SHORT, World};

/// Where a flipped bit at the end is the only difference: nobody writes there.
const ADDRESS: &str = "0x3000000";

/// Runs with several faults; gives the run, which must end with this exit code.
fn run_with_faults(world: &World, replicas: u32, faults: &[&str], code: i32) -> Value {
    let faults: String = faults
        .iter()
        .map(|fault| format!(" --inject {fault}"))
        .collect();
    let flags = format!("run start sha256 -n {replicas} {SHORT} --timeout 2s --json{faults}");
    world.run(&flags).expect(code).data()
}

/// Runs with a fault; gives the run, which must name only this replica.
fn run_with(world: &World, fault: &str, replica: u64) -> Value {
    let flags = format!("run start sha256 -n 3 {SHORT} --timeout 2s --json --inject {fault}");
    let run = world.run(&flags).expect(3).data();
    assert_eq!(run["verdict"], "deviates", "{fault}");
    assert_eq!(run["deviations"].as_array().unwrap().len(), 1, "{fault}");
    assert_eq!(run["deviations"][0]["replica"], replica, "{fault}");
    assert_eq!(run["injections"][0]["replica"], replica, "{fault}");
    assert_eq!(run["injections"][0]["fate"], "live", "{fault}");
    run
}

fn outcome(run: &Value, replica: usize) -> &Value {
    &run["replicas"][replica]["outcome"]
}

#[test]
fn a_machine_that_hangs_is_named() {
    let world = World::new();
    let run = run_with(&world, "hang,replica=2", 2);
    assert_eq!(outcome(&run, 2), "hung");
    assert_eq!(outcome(&run, 0), "ended");
    assert_eq!(run["injections"][0]["part"], "hang");
    world.assert_clean();
}

#[test]
fn a_machine_that_jumps_astray_is_named() {
    let world = World::new();
    let run = run_with(&world, "reg=rip:3,replica=1", 1);
    assert_eq!(run["injections"][0]["register"], "rip");
    assert_eq!(run["injections"][0]["bit"], 3);
    assert_eq!(outcome(&run, 0), "ended");
    let astray = outcome(&run, 1);
    assert!(astray == "crashed" || astray == "hung", "it {astray}");
}

#[test]
fn a_register_is_flipped_by_one_bit() {
    let world = World::new();
    let run = run_with(&world, "reg=rax:7@end,replica=0", 0);
    let injection = &run["injections"][0];
    let value = |key: &str| {
        let text = injection[key].as_str().unwrap().trim_start_matches("0x");
        u64::from_str_radix(text, 16).unwrap()
    };
    assert_eq!(value("before") ^ value("after"), 1 << 7, "{injection}");
    let deviation = &run["deviations"][0];
    assert_eq!(deviation["differing_registers"], 1);
    assert_eq!(deviation["differing_words"], 0);
    assert_eq!(deviation["first"]["name"], "rax");
    assert_eq!(deviation["first"]["flipped_bits"], json!([7]));
}

/// One word differs, in the bit that was flipped: bit `bit` of the byte at `address`.
fn check_one_bit(run: &Value) {
    let injection = &run["injections"][0];
    let text = injection["address"].as_str().unwrap();
    let address = u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
    let bit = injection["bit"].as_u64().unwrap();
    let deviation = &run["deviations"][0];
    assert_eq!(deviation["differing_words"], 1);
    assert_eq!(deviation["differing_registers"], 0);
    let difference = &deviation["differences"][0];
    assert_eq!(difference["part"], "memory");
    assert_eq!(difference["address"], format!("{:#x}", address & !7));
    assert_eq!(difference["flipped_bits"], json!([(address & 7) * 8 + bit]));
}

#[test]
fn a_bit_that_nobody_uses_is_the_only_difference() {
    let world = World::new();
    let run = run_with(&world, &format!("ram={ADDRESS}:5@end,replica=1"), 1);
    assert_eq!(run["injections"][0]["address"], ADDRESS);
    assert_eq!(run["injections"][0]["bit"], 5);
    check_one_bit(&run);
    let text = run_with(&world, "ram=text@end,replica=2", 2);
    check_one_bit(&text);
}

#[test]
fn a_finding_is_explained_with_causes_and_their_evidence() {
    let world = World::new();
    let run = run_with(&world, &format!("ram={ADDRESS}:5@end,replica=1"), 1);
    let hints = run["deviations"][0]["hints"].as_array().unwrap();
    let probability = |hint: &Value| hint["probability"].as_f64().unwrap();
    assert_eq!(hints[0]["class"], "memory-cell");
    assert!((hints.iter().map(probability).sum::<f64>() - 1.0).abs() < 1e-6);
    assert!(hints.iter().any(|hint| hint["class"] == "other"));
    let explained = world.data("finding explain");
    assert_eq!(explained["hints"], run["deviations"][0]["hints"]);
    let text = world.run("finding explain").expect(0).stdout;
    let parts = [
        "a cell, row or column of memory (memory-cell)",
        "HPCA 2023",
        "times as likely",
    ];
    for part in parts {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let report = world.run("run show").expect(0).stdout;
    assert!(report.contains("one bit of one word differs"), "{report}");
}

#[test]
fn the_same_seed_does_the_same_again() {
    let world = World::new();
    let run = || {
        let flags = format!("run start sha256 -n 3 {SHORT} --inject ram=live --seed 11 --json");
        world.run(&flags).expect(3).data()
    };
    let (one, other) = (run(), run());
    assert_eq!(one["injections"], other["injections"]);
    let digest = |run: &Value| run["deviations"][0]["words_digest"].clone();
    assert!(digest(&one).is_string());
    assert_eq!(digest(&one), digest(&other));
}

#[test]
fn one_of_two_is_wrong_and_nobody_is_named() {
    let world = World::new();
    let run = run_with_faults(&world, 2, &["ram=0x3000000:5@end,replica=1"], 3);
    assert_eq!(run["verdict"], "deviates");
    assert_eq!(run["deviations"].as_array().unwrap().len(), 1);
    assert_eq!(run["deviations"][0]["replica"], Value::Null);
    assert_eq!(run["deviations"][0]["differing_words"], 1);
}

#[test]
fn two_of_five_are_both_named_and_two_of_four_alike_are_a_tie() {
    let world = World::new();
    let faults = [
        "ram=0x3000000:5@end,replica=1",
        "ram=0x3000000:5@end,replica=3",
    ];
    let run = run_with_faults(&world, 5, &faults, 3);
    let named: Vec<&Value> = run["deviations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["replica"])
        .collect();
    assert_eq!(named, [1, 3]);
    let tie = run_with_faults(&world, 4, &faults, 6);
    assert_eq!(tie["verdict"], "inconclusive");
    assert_eq!(tie["undecided_words"], 1);
    assert_eq!(tie["deviations"][0]["replica"], Value::Null);
}

#[test]
fn machines_that_all_hang_are_skipped() {
    let world = World::new();
    let run = run_with_faults(&world, 2, &["hang,replica=0", "hang,replica=1"], 6);
    assert_eq!(run["verdict"], "skipped");
    assert_eq!(run["coverage"]["bytes_compared"], 0);
}

#[test]
fn a_fault_that_all_share_contradicts_the_golden_digest() {
    let world = World::new();
    world.data("computation learn sha256 --budget 300ms");
    // Most pages that a job changes are what it works on; eight draws do not all miss them.
    let run = run_with_faults(&world, 3, &["ram=live:3@half,replica=0"; 8], 3);
    assert!(run["golden"].is_string());
    assert_ne!(run["replicas"][0]["result_digest"], run["golden"]);
    let places = run["injections"].as_array().unwrap().iter();
    let faults: Vec<String> = places
        .map(|fault| fault["address"].as_str().unwrap())
        .flat_map(|at| [0, 1, 2].map(|replica| format!("ram={at}:3@half,replica={replica}")))
        .collect();
    let faults: Vec<&str> = faults.iter().map(String::as_str).collect();
    let shared = run_with_faults(&world, 3, &faults, 3);
    assert_eq!(shared["deviations"].as_array().unwrap().len(), 0);
    assert_ne!(shared["replicas"][0]["result_digest"], shared["golden"]);
    let findings = world.data("finding ls");
    assert_eq!(findings["findings"][0]["kind"], "golden-mismatch");
}

#[test]
fn a_flipped_bit_of_a_process_is_named_with_process_and_address() {
    let world = World::new();
    // Most pages that a job changes are its own; eight draws do not all miss them.
    let faults = " --inject ram=live@end,replica=1".repeat(8);
    let flags = format!("run start sha256 -n 3 {SHORT} --seed 3{faults}");
    let run = world.run(&format!("{flags} --json")).expect(3).data();
    let differences = run["deviations"][0]["differences"].as_array().unwrap();
    let mut named = differences
        .iter()
        .filter(|one| one["owner_kind"] == "process" && one["mapping"].is_object());
    let difference = named.next().expect("no difference has a process");
    assert_eq!(difference["process"], json!({"pid": 1, "name": "init"}));
    let number = |value: &Value| {
        let text = value.as_str().unwrap().trim_start_matches("0x");
        u64::from_str_radix(text, 16).unwrap()
    };
    let address = number(&difference["virtual_address"]);
    assert_eq!(address % 4096, number(&difference["address"]) % 4096);
    let mapping = &difference["mapping"];
    assert!((number(&mapping["start"])..number(&mapping["end"])).contains(&address));
    let permissions = mapping["permissions"].as_str().unwrap();
    assert!(permissions.starts_with("rw"), "{permissions}");
}

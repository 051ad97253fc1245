//! Experiments on real machines: a fault that is bound to a CPU follows it, one that struck once does
//! not come back, and either moves the probabilities.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod support;

use serde_json::Value;
use support::World;

/// The first deviation's probability of a class.
fn probability(causes: &Value, class: &str) -> f64 {
    let causes = causes.as_array().unwrap().iter();
    let mut found = causes.filter(|cause| cause["class"] == class);
    found
        .next()
        .map_or(0.0, |cause| cause["probability"].as_f64().unwrap())
}

/// Both cases share one world, and so one booted machine; each takes three to five runs of three
/// machines of 20 ms.
#[test]
fn experiments_follow_a_cpu_and_drop_what_struck_once() {
    let world = World::new();
    let run = |inject: &str| {
        let command = format!(
            "run start sha256 --budget 20ms --seed 5 --inject {inject} --investigate --json"
        );
        world.run(&command).expect(3).data()
    };
    // With three machines on two CPUs, the second machine alone is on the second CPU.
    let cpus = std::thread::available_parallelism().unwrap().get();
    if cpus < 2 {
        println!("skipped: one CPU cannot be told from another");
        return;
    }
    let bound = run("ram=written@end,cpu=1");
    let rounds = bound["investigation"]["rounds"].as_array().unwrap();
    assert!((1..=4).contains(&rounds.len()), "{bound:#}");
    assert!(bound["investigation"]["ended"].is_string());
    let first = &rounds[0];
    assert_eq!(first["outcome"], "same-core", "{rounds:#?}");
    assert!(first["experiment"]["information_bits"].as_f64().unwrap() > 0.02);
    assert_eq!(
        first["experiment"]["separates"].as_array().unwrap().len(),
        2
    );
    // One bit of a word that was written looks like a cell, until a swap of cores shows that it follows the core.
    let swapped = rounds
        .iter()
        .find(|round| round["experiment"]["experiment"] == "swap-cores");
    let swapped = swapped.unwrap_or_else(|| panic!("no swap: {rounds:#?}"));
    assert_eq!(swapped["outcome"], "same-core");
    let cell = |causes: &Value| probability(causes, "memory-cell");
    assert!(
        cell(&swapped["after"]) < cell(&swapped["before"]),
        "{swapped:#}"
    );
    // What is recorded is what came out last, and each experiment is a run of its own.
    let last = rounds.last().unwrap();
    let hint = &bound["deviations"][0]["hints"][0];
    assert_eq!(hint["class"], last["after"][0]["class"]);
    let again = world.data(&format!("run show {}", last["run"].as_str().unwrap()));
    assert_eq!(again["verdict"], "deviates");
    let shown = world.data(&format!("run show {}", bound["id"].as_str().unwrap()));
    assert_eq!(shown["investigation"], bound["investigation"]);

    let once = run("ram=written@end,replica=1");
    let rounds = once["investigation"]["rounds"].as_array().unwrap();
    assert!(!rounds.is_empty(), "{once:#}");
    assert!(
        rounds.iter().all(|round| round["outcome"] == "nothing"),
        "{rounds:#?}"
    );
    world.assert_clean();
}

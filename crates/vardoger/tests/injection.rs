//! The detector against the truth: faults of every kind in one of five machines, above all one
//! flipped bit of live memory.
//!
//! The truth is a plain comparison of the images and registers that QEMU itself wrote, in
//! `support::images`; nothing of the product takes part in it.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod support;

use serde_json::Value;
use support::World;
use support::images::{Truth, Word};

const SEEDS: std::ops::Range<u64> = 1..21;

/// Flipped bits that must change what the computation computes, for the faults to be worth it.
const CHANGED_RESULTS_MIN: usize = 5;

#[test]
fn twenty_flipped_bits_are_found_as_they_are() {
    let world = World::new();
    let (mut live, mut changed) = (0, 0);
    for seed in SEEDS {
        let run = check(&world, &format!("ram=live --seed {seed}"));
        live += usize::from(run["injections"][0]["fate"] == "live");
        changed += usize::from(changes_the_result(&run));
        world.forget_runs();
    }
    println!("{live} of 20 live, {changed} changed the result");
    assert!(
        changed >= CHANGED_RESULTS_MIN,
        "{changed} of 20 changed the result"
    );
}

#[test]
fn a_flipped_bit_that_leaves_no_trace_is_masked() {
    // At a mark the guest is about to overwrite this register.
    let run = check(&World::new(), "reg=rax");
    assert_eq!(run["injections"][0]["fate"], "masked");
}

#[test]
fn faults_that_last_are_found_as_they_are() {
    let world = World::new();
    let orders = [
        ("ram@start,mode=stuck-1 --seed 3", "stuck-1"),
        ("reg=rbx,mode=stuck-0 --seed 1", "stuck-0"),
        ("ram@start,mode=lost-write --seed 3", "lost-write"),
        ("ram,mode=stale --seed 3", "stale"),
    ];
    let mut live = 0;
    for (order, mode) in orders {
        let run = check(&world, order);
        let injection = &run["injections"][0];
        assert_eq!(injection["mode"], mode);
        live += usize::from(injection["fate"] == "live");
        if mode == "lost-write" || mode == "stale" {
            assert_eq!(injection["times"], 1, "{order}");
        }
        world.forget_runs();
    }
    // What a machine wrote and lost shows; a stuck bit may have had its value all along.
    assert!(live >= 2, "{live} of {} are live", orders.len());
}

#[test]
fn faults_in_what_was_told_are_found_where_they_are() {
    let world = World::new();
    for (order, part, name) in [
        ("log=2", "log", "line 2"),
        ("metric=hashed_bytes", "metric", "hashed_bytes"),
    ] {
        let ended = world.run(&format!(
            "run start sha256 -n 5 --json --keep all --budget 50ms --jobs 2 --inject {order},replica=3"
        ));
        let run = ended.data();
        assert_eq!(ended.code, Some(3), "{order}: {}", run["reason"]);
        assert!(Truth::of_run(&world.store(), &run).is_uniform(), "{order}");
        assert_eq!(run["injections"][0]["name"], name);
        let deviation = &run["deviations"][0];
        assert_eq!(deviation["replica"], 3);
        assert_eq!(deviation["differences_total"], 1);
        assert_eq!(deviation["differences"][0]["part"], part);
        assert_eq!(deviation["differences"][0]["name"], name);
        world.forget_runs();
    }
}

#[test]
fn faults_in_several_machines_are_told_apart() {
    let world = World::new();
    let ended = world.run(
        "run start sha256 -n 5 --json --budget 50ms --jobs 2 --inject ram=any@end,replica=1 \
         --inject reg=rax@end,replica=4",
    );
    let run = ended.data();
    assert_eq!(ended.code, Some(3), "{}", run["reason"]);
    let deviations = run["deviations"].as_array().unwrap();
    let who: Vec<_> = deviations.iter().map(|one| &one["replica"]).collect();
    assert_eq!(who, [1, 4]);
    assert_eq!(deviations[0]["differing_words"], 1);
    assert_eq!(deviations[1]["differing_registers"], 1);
}

/// Runs with a fault and holds all that is said about it against the truth.
fn check(world: &World, fault: &str) -> Value {
    let ended = world.run(&format!(
        "run start sha256 -n 5 --json --keep all --budget 50ms --jobs 2 --inject {fault}"
    ));
    let run = ended.data();
    let truth = Truth::of_run(&world.store(), &run);
    assert_eq!(run["provenance"]["memory_bytes"], truth.image_bytes);
    let code = if truth.is_uniform() { 0 } else { 3 };
    assert_eq!(ended.code, Some(code), "{fault}: {}", run["reason"]);
    if truth.is_uniform() {
        check_masked(&run);
    } else {
        check_live(&run, &truth);
    }
    run
}

fn check_masked(run: &Value) {
    assert_eq!(run["verdict"], "pass");
    assert_eq!(run["deviations"].as_array().unwrap().len(), 0);
    assert_eq!(run["injections"][0]["fate"], "masked");
}

/// The report says what the images say: who, how many words, which, and which registers.
fn check_live(run: &Value, truth: &Truth) {
    let injection = &run["injections"][0];
    let injected = injection["replica"].as_u64().unwrap();
    assert_eq!(truth.who().into_iter().collect::<Vec<_>>(), [injected]);
    assert_eq!(run["verdict"], "deviates");
    assert_eq!(injection["fate"], "live");
    let deviations = run["deviations"].as_array().unwrap();
    assert_eq!(deviations.len(), 1, "{deviations:#?}");
    let deviation = &deviations[0];
    assert_eq!(deviation["replica"], injected);
    let none = Vec::new();
    let words = truth.words.get(&injected).unwrap_or(&none);
    assert_eq!(deviation["differing_words"], words.len());
    if !words.is_empty() {
        assert_eq!(deviation["words_digest"], truth.words_digest(injected));
    }
    let registers = truth
        .registers
        .get(&injected)
        .map_or(0, |names| names.len());
    assert_eq!(deviation["differing_registers"], registers);
    check_listed(deviation, words);
    check_injected_word(injection, deviation, words);
}

/// Every word that is listed really differs, and just so.
fn check_listed(deviation: &Value, words: &[Word]) {
    let differences = deviation["differences"].as_array().unwrap();
    for difference in differences.iter().filter(|one| one["part"] == "memory") {
        let address = address_of(difference);
        let at = words.binary_search_by_key(&address, |word| word.address);
        let word = &words[at.unwrap_or_else(|_| panic!("{address:#x} does not differ"))];
        assert_eq!(difference["expected"], in_memory_order(word.expected));
        assert_eq!(difference["found"], in_memory_order(word.found));
        assert_eq!(
            difference["flipped_bits"],
            serde_json::json!(word.flipped_bits())
        );
    }
}

/// Where the word that the bit was flipped in still differs, it is listed.
fn check_injected_word(injection: &Value, deviation: &Value, words: &[Word]) {
    let injected = address_of(injection) & !7;
    if words.iter().any(|word| word.address == injected) {
        let mut listed = deviation["differences"].as_array().unwrap().iter();
        assert!(
            listed.any(|one| one["part"] == "memory" && address_of(one) == injected),
            "{injected:#x} is not listed"
        );
    }
}

fn address_of(value: &Value) -> u64 {
    let text = value["address"].as_str().unwrap();
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
}

fn in_memory_order(word: u64) -> String {
    format!("{:016x}", word.swap_bytes())
}

/// Whether the injected replica computed something else than the others.
fn changes_the_result(run: &Value) -> bool {
    let injected = run["injections"][0]["replica"].as_u64().unwrap() as usize;
    let result = |replica: usize| &run["replicas"][replica]["result_digest"];
    let other = usize::from(injected == 0);
    result(injected) != result(other)
}

//! Every seed, what fuzzing has found among them, is read without a panic; and a seed is of use only
//! if much of it is read.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use fuzz::PARSERS;
use std::path::{Path, PathBuf};

fn seeds(parser: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("seeds")
        .join(parser);
    let entries = std::fs::read_dir(&directory);
    let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut seeds: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    seeds.sort();
    seeds
}

#[test]
fn no_seed_of_any_parser_makes_it_panic() {
    for parser in PARSERS {
        let seeds = seeds(parser.name);
        assert!(!seeds.is_empty(), "{} has no seed", parser.name);
        for seed in seeds {
            eprintln!("{}", seed.display());
            (parser.read)(&std::fs::read(&seed).unwrap());
        }
    }
}

#[test]
fn every_directory_of_seeds_is_a_parsers() {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    for entry in std::fs::read_dir(all).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(PARSERS.iter().any(|parser| parser.name == name), "{name}");
    }
}

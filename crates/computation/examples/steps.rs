//! Runs a computation outside any machine of ours, and prints its digest and what it counted:
//! `steps NAME SEED STEPS`. Linked statically, it is a program for `vardoger run start --program`,
//! by which a new entry is measured before vardoger is built with it, and its digest held against
//! that of other processors.
#![expect(clippy::print_stdout, reason = "it is a program that prints")]

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [name, seed, steps] = arguments.as_slice() else {
        eprintln!("usage: steps NAME SEED STEPS");
        return ExitCode::from(2);
    };
    let (Some(entry), Ok(seed), Ok(steps)) =
        (computation::find(name), seed.parse(), steps.parse::<u64>())
    else {
        eprintln!("no such computation, or not a number");
        return ExitCode::from(2);
    };
    let mut kernel = entry.start(seed);
    for _ in 0..steps {
        kernel.step();
    }
    println!("{name} {steps} {}", computation::Digest(kernel.digest()));
    for (metric, value) in kernel.metrics() {
        println!("  {metric} {value}");
    }
    ExitCode::SUCCESS
}

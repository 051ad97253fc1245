//! The demo, as a user reads it: a round that passes, then rounds in which one bit of one machine
//! is flipped, and the report names that machine, that address and that bit.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod support;

use std::path::Path;
use std::process::Command;
use support::World;
use support::process::Running;

#[test]
fn the_demo_names_the_flipped_bit() {
    let world = World::cold();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/demo");
    let mut demo = Command::new(script);
    // Whichever flag comes last counts: nothing is installed, whatever is missing.
    demo.args(["--yes", "--no-install"])
        .env("VARDOGER_RUN_DIR", world.run_directory());
    // What cargo tells a test of its package would have some dependencies built again.
    let told = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars().filter(|(name, _)| told(name)) {
        demo.env_remove(name);
    }
    let text = Running::start(&mut demo).wait().expect(0).stdout;
    let reports: Vec<&str> = text
        .split("\n✓ ")
        .flat_map(|part| part.split("\n✗ "))
        .collect();
    let [_, clean, latent, live] = reports[..] else {
        panic!("not three rounds:\n{text}");
    };
    assert!(clean.starts_with("PASS"), "{clean}");
    let (flipped, latent) = check_deviation(latent);
    assert_eq!(row(latent, "where"), "1 word of memory, 1 page");
    assert_eq!(
        row(latent, "first"),
        format!("guest-physical {:#x}", flipped.address & !7)
    );
    let bit = (flipped.address & 7) * 8 + flipped.bit;
    assert!(
        latent.contains(&format!(", bit {bit} flipped")),
        "no bit {bit}: {latent}"
    );
    check_deviation(live);
    world.assert_clean();
}

/// A flipped bit, as the report says that it was injected.
struct Flipped {
    address: u64,
    bit: u64,
}

/// A report that finds fault with the machine that the fault was put into, and with no other.
fn check_deviation(report: &str) -> (Flipped, &str) {
    assert!(report.starts_with("DEVIATES"), "{report}");
    // ram 0x1e8f45b bit 5 (b5 → 95) at half in replica 2, live: it shows in the terminal state
    let injected = row(report, "injected");
    let words: Vec<&str> = injected.split([' ', '(', ')', ',']).collect();
    let after = |name: &str| {
        let at = words.iter().position(|word| *word == name);
        words[at.unwrap_or_else(|| panic!("no {name} in {injected}")) + 1]
    };
    let number = |text: &str, radix| u64::from_str_radix(text, radix).unwrap();
    let flipped = Flipped {
        address: number(after("ram").trim_start_matches("0x"), 16),
        bit: number(after("bit"), 10),
    };
    let replica = after("replica");
    assert!(injected.contains("live"), "{injected}");
    let change = number(
        words[words.iter().position(|word| *word == "→").unwrap() - 1],
        16,
    ) ^ number(after("→"), 16);
    assert_eq!(change, 1 << flipped.bit, "{injected}");
    let who = row(report, "who");
    assert!(
        who.starts_with(&format!("replica {replica} ")),
        "{who}, {injected}"
    );
    let others = report
        .lines()
        .filter(|line| line.trim_start().starts_with("who "));
    assert_eq!(others.count(), 1, "{report}");
    (flipped, report)
}

/// What stands beside a label.
fn row<'a>(report: &'a str, label: &str) -> &'a str {
    let rows = report
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix(label));
    let row = rows.map(str::trim).next();
    row.unwrap_or_else(|| panic!("no {label} in:\n{report}"))
}

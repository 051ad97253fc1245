//! What is called portable is: every such computation comes to the same digest on this processor,
//! on the richest one that QEMU's translator computes (`max`), and on one without any extension
//! beyond the first x86-64 processors (`qemu64`).
//!
//! QEMU's translator computes vectors, AES, SHA and 80-bit floats by code of its own, so that three
//! implementations of each instruction are held against each other. On `qemu64` the computations
//! take their plain paths: those are held against the instructions.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

use computation::{Descriptor, Digest, Target, catalogue, find};
use std::collections::BTreeMap;
use workshop::{Workshop, inside};

/// Enough that results feed on results; three times all of them are seconds under a translator.
const STEPS: u64 = 3;
const SEED: u64 = 3;

/// Digests by name.
type Digests = BTreeMap<String, String>;

fn digest(entry: &Descriptor) -> String {
    let mut kernel = entry.start(SEED);
    for _ in 0..STEPS {
        kernel.step();
    }
    Digest(kernel.digest()).to_string()
}

fn portable() -> impl Iterator<Item = &'static Descriptor> {
    catalogue().iter().filter(|entry| entry.portable)
}

/// The digests on a processor of QEMU's.
fn on(processor: &str) -> Digests {
    let names: Vec<&str> = portable().map(|entry| entry.name).collect();
    let ended = Workshop::new()
        .hand()
        .unwrap()
        // The last one counts.
        .argument("-cpu")
        .argument(processor)
        .memory_mib(512)
        .run(&format!("hand {}", names.join(" ")));
    let said = String::from_utf8(ended.unwrap().good().unwrap()).unwrap();
    let pair = |line: &str| {
        line.split_once(' ')
            .map(|(name, digest)| (name.into(), digest.into()))
    };
    said.lines().filter_map(pair).collect()
}

#[test]
fn portable_computations_are_bit_equal_on_three_processors() {
    let here: Digests = portable()
        .map(|entry| (entry.name.to_owned(), digest(entry)))
        .collect();
    let exact = [Target::CpuInteger, Target::CpuCrypto];
    let mut promised = catalogue()
        .iter()
        .filter(|entry| entry.targets.iter().any(|target| exact.contains(target)));
    assert!(promised.all(|entry| here.contains_key(entry.name)));
    for processor in ["max,la57=off", "qemu64"] {
        let there = on(processor);
        assert_eq!(there.len(), here.len(), "{processor}");
        for (name, digest) in &here {
            assert_eq!(there.get(name), Some(digest), "{name} on {processor}");
        }
    }
}

#[test]
#[ignore = "runs inside a guest"]
fn inside_a_guest() {
    for name in inside::order() {
        let line = format!("{name} {}\n", digest(find(&name).unwrap()));
        inside::tell(line.as_bytes()).unwrap();
    }
}

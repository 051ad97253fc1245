//! What must hold of every computation in the catalogue.

use crate::catalogue::{Descriptor, catalogue};

fn digest(descriptor: &Descriptor, seed: u64, steps: u64) -> [u8; 32] {
    let mut kernel = descriptor.start(seed);
    for _ in 0..steps {
        kernel.step();
    }
    assert_eq!(kernel.steps_done(), steps);
    kernel.digest()
}

#[test]
fn the_state_is_a_function_of_seed_and_steps() {
    for descriptor in catalogue() {
        assert_eq!(digest(descriptor, 9, 3), digest(descriptor, 9, 3));
        assert_ne!(digest(descriptor, 9, 3), digest(descriptor, 8, 3));
        assert_ne!(digest(descriptor, 9, 3), digest(descriptor, 9, 2));
    }
}

#[test]
fn metrics_are_finite_and_named_for_the_protocol() {
    for descriptor in catalogue() {
        let mut kernel = descriptor.start(1);
        kernel.step();
        for (name, value) in kernel.metrics() {
            assert!(value.is_finite(), "{name}");
            assert_eq!(crate::job::safe_name(&name), name);
        }
    }
}

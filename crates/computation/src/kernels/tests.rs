//! What must hold of every computation in the catalogue.

use crate::catalogue::{Descriptor, catalogue};
use crate::kernel::Kernel;

/// A bit that is flipped half way shows in the digest at the end.
pub(super) fn check_flip<K: Kernel>(steps: u64, start: impl Fn() -> K, flip: impl Fn(&mut K)) {
    let (mut good, mut bad) = (start(), start());
    for step in 0..steps {
        if step == steps / 2 {
            flip(&mut bad);
        }
        good.step();
        bad.step();
    }
    assert_ne!(good.digest(), bad.digest());
}

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

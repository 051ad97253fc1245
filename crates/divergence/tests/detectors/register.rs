//! Registers: both ends of every width, missing, additional and renamed ones.

use crate::case::{Case, Fault, cases, registers_of, set_register};
use model::{FindingKind, Part};

fn latent(name: &'static str, fault: Fault) -> Case {
    Case::named(FindingKind::LatentDifference, Part::Register, name, fault)
}

cases! {
    the_lowest_bit_of_a_register =>
        latent("rax", |state| set_register(state, "rax", Some("00000000000000fe")));
    the_highest_bit_of_a_register =>
        latent("rax", |state| set_register(state, "rax", Some("80000000000000ff")));
    the_highest_bit_of_a_vector_register => latent("zmm31", |state| {
        let value = state.registers.get("zmm31").unwrap().replacen('0', "8", 1);
        set_register(state, "zmm31", Some(&value));
    });
    the_lowest_bit_of_a_vector_register => latent("zmm31", |state| {
        set_register(state, "zmm31", Some(&"0".repeat(128)));
    });
    a_sticky_flag_beside_equal_numbers =>
        latent("eflags", |state| set_register(state, "eflags", Some("00000246 [---ZAP-]")));
    a_register_that_one_lacks => latent("rax", |state| set_register(state, "rax", None));
    a_register_that_one_has_besides =>
        latent("rbx", |state| set_register(state, "rbx", Some("0")));
    a_register_of_another_name => latent("rax", |state| {
        set_register(state, "rax", None);
        set_register(state, "ray", Some("00000000000000ff"));
    });
    a_register_printed_narrower => latent("rax", |state| set_register(state, "rax", Some("ff")));
    all_registers_of_one_lost => latent("eflags", |state| state.registers = registers_of(&[]));
    a_register_of_one_of_two =>
        latent("rax", |state| set_register(state, "rax", Some("0"))).of_two();
    a_register_of_the_last_of_sixty_four =>
        latent("rax", |state| set_register(state, "rax", Some("0"))).in_replica(63, 64);
}

//! Seeds of what is read of a guest's memory: tables of symbols, types, and a kernel whose words are
//! changed.

#[path = "../../../crates/introspection/src/synthetic.rs"]
#[allow(dead_code, reason = "the crate's own tests use all of it")]
mod synthetic;

use synthetic::{DIRECT, FREE_LINK, Order, TASKS, symbol_tables, types};

#[test]
#[ignore = "writes into the repository"]
fn make_the_seeds_of_guests() {
    make();
}

pub(super) fn make() {
    let structures = "\
task_struct 64 next:task_struct*@0 names:char[16]@8 list:list_head@24 parts:page[2]@40
list_head 16 next:list_head*@0 prev:list_head*@8
page 12 flags:u64@0 count:u32@8
dentry_list 16 d_alias:list_head@0 d_rcu:u64@0
";
    super::keep("btf", "structures", &types(structures));
    let symbol = |number: u64| {
        let address = 0xffff_ffff_8100_0000 + 16 * number;
        (address, b'T', format!("symbol_{number}"))
    };
    let symbols: Vec<_> = (0..2048).map(symbol).collect();
    for (name, order) in [("before", Order::Before), ("behind", Order::Behind)] {
        super::keep("kallsyms", name, &symbol_tables(&symbols, order, false));
    }
    let change = |at: u64, value: u64| {
        let word = (at / 8) as u32;
        [&word.to_be_bytes()[..], &value.to_le_bytes()].concat()
    };
    super::keep("kernel", "sound", &[]);
    let changes = [change(FREE_LINK, 0), change(TASKS + 64, DIRECT + TASKS)];
    super::keep("kernel", "lists", &changes.concat());
}

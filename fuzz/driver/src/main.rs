//! libFuzzer's main loop around one parser, which the variable `VARDOGER_FUZZ` names.
//!
//! An image is mostly zeros, and is given as its blocks that are not (see `fuzz::Sparse`): what is
//! mutated is one of them, so that the others stay where they are.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use std::sync::LazyLock;

static PARSER: LazyLock<&fuzz::Parser> = LazyLock::new(|| {
    let name = std::env::var("VARDOGER_FUZZ").unwrap_or_default();
    let found = fuzz::PARSERS.iter().find(|parser| parser.name == name);
    found.unwrap_or_else(|| panic!("VARDOGER_FUZZ names no parser: {name:?}"))
});

fuzz_target!(|bytes: &[u8]| (PARSER.read)(bytes));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let record = fuzz::RECORD_BYTES;
    let records = size.saturating_sub(fuzz::HEADER_BYTES) / record;
    // One in eight is mutated as it stands, the number of blocks and their order with it.
    if !PARSER.is_image || records == 0 || seed % 8 == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    let start = fuzz::HEADER_BYTES + (seed / 8) as usize % records * record + fuzz::HEADER_BYTES;
    let block = &mut data[start..start + record - fuzz::HEADER_BYTES];
    let mut changed = block.to_vec();
    let length = fuzzer_mutate(&mut changed, block.len(), block.len());
    changed[length..].fill(0);
    block.copy_from_slice(&changed);
    size
});

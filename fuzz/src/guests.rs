//! What a guest's memory says of itself: the kernel's symbols, its types, and a whole kernel whose
//! lists, tables and objects are changed.

use introspection::{Btf, Introspection, MemoryImage, find_kallsyms};

#[path = "../../crates/introspection/src/synthetic.rs"]
#[allow(
    dead_code,
    reason = "the kernel that is made up is the crate's own; its tests use all of it"
)]
mod synthetic;

/// Offsets in a type that are looked up.
const PLACES: [u64; 7] = [0, 1, 8, 63, 100, 4096, u64::MAX];

/// Structures that are looked up whatever there is.
const STRUCTURES: [&str; 4] = ["task_struct", "page", "dentry", "list_head"];

/// A change of the made-up kernel: where, and what is put there.
const CHANGE_BYTES: usize = 12;

/// The most changes that one input makes.
const MAX_CHANGES: usize = 64;

pub(crate) fn btf(bytes: &[u8]) {
    let Ok(btf) = Btf::parse(bytes.to_vec()) else {
        return;
    };
    let variables = btf.variables();
    let named = STRUCTURES
        .iter()
        .filter_map(|name| btf.structure_named(name));
    for id in named.chain(variables.iter().take(16).map(|one| one.type_id)) {
        let bytes = btf.size(id);
        assert!(!btf.type_name(id).is_empty());
        for offset in PLACES {
            let _place = btf.place(id, offset);
        }
        for field in btf.fields(id) {
            assert!(field.path.len() < 1 << 16, "a path has an end");
        }
        let _pointers = (btf.pointers(id), btf.has_open_end(id), bytes);
    }
    let _value = btf.value_of("PG_slab");
}

pub(crate) fn kallsyms(bytes: &[u8]) {
    let mut memory = bytes.to_vec();
    memory.resize(bytes.len().next_multiple_of(4096) + 4096, 0);
    if let Ok(found) = find_kallsyms(&MemoryImage(&memory)) {
        assert!(found.symbols.len() <= introspection::MAX_SYMBOLS);
    }
}

/// The made-up kernel with words of it changed: 4 bytes say where, 8 what is put there.
pub(crate) fn kernel(bytes: &[u8]) {
    let mut memory = synthetic::memory();
    let words = memory.len() / 8;
    for change in bytes.chunks_exact(CHANGE_BYTES).take(MAX_CHANGES) {
        let (at, value) = change.split_at(4);
        let at = at.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)) % words * 8;
        if let Some(word) = memory.get_mut(at..at + 8) {
            word.copy_from_slice(value);
        }
    }
    let memory = MemoryImage(&memory);
    let Ok(introspection) = Introspection::of(&memory) else {
        return;
    };
    for at in (0..memory.0.len() as u64).step_by(509) {
        if let Some(found) = introspection.explain(at) {
            assert!(found.owner.len() < 1 << 16, "an owner's text has an end");
        }
    }
    for piece in introspection.stable_objects().iter() {
        assert!(piece.bytes <= 4096, "a piece does not cross a page");
    }
}

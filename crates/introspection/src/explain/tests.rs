//! Explanations of a small kernel that is made up, whole, broken, and changed at random.

use super::*;
use crate::memory::MemoryImage;
use crate::stable::Identity;
use crate::synthetic::{
    CONTENT, DIRECT, FREE_LINK, INIT_TASK, OBJECTS, PAGE, TASK_BYTES, TASKS, memory, record,
};
use model::{FilePlace, ObjectName};
use proptest::prelude::*;

fn explained(memory: &[u8], physical: u64) -> Explanation {
    let memory = MemoryImage(memory);
    let introspection = Introspection::of(&memory).unwrap();
    introspection.explain(physical).unwrap()
}

/// What a byte is in the sound kernel: type, member, and how that is known.
fn check(physical: u64, expected: (&str, &str, Basis)) {
    let found = explained(&memory(), physical);
    let (type_name, field, basis) = expected;
    assert_eq!(found.type_name.as_deref(), Some(type_name), "{found:?}");
    assert_eq!(found.field.as_deref(), Some(field), "{found:?}");
    assert_eq!(found.basis, Some(basis), "{found:?}");
    assert!(found.confidence.is_some());
}

fn put(memory: &mut [u8], at: u64, value: u64) {
    let at = at as usize;
    memory[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

#[test]
fn members_of_objects_and_variables_are_named() {
    check(
        TASKS + 16,
        ("task_struct", "se.vruntime", Basis::TypedObject),
    );
    check(TASKS + 87, ("task_struct", "comm[3]", Basis::TypedObject));
    check(
        TASKS + 13,
        ("task_struct", "thread_info.(padding)", Basis::TypedObject),
    );
    check(
        INIT_TASK + 31,
        ("task_struct", "se.group.next", Basis::Symbol),
    );
    check(OBJECTS + 25, ("cred", "keys[1]", Basis::ReachedObject));
}

#[test]
fn members_that_share_a_byte_are_all_named() {
    let page = record(INIT_TASK) + 9;
    let memory = memory();
    let btf = MemoryImage(&memory);
    let kernel = GuestKernel::find(&btf).unwrap();
    let id = kernel.btf().structure_named("page").unwrap();
    let place = kernel.btf().place(id, 8).unwrap();
    assert_eq!(place.path, "{lru|compound_head}");
    assert!(explained(&memory, page).confidence.is_some());
}

#[test]
fn objects_are_told_with_their_owner() {
    let worker = explained(&memory(), TASKS + 80);
    let name = worker.process.map(|process| (process.pid, process.name));
    assert_eq!(name, Some((7, "worker".to_owned())));
    let object = |index, offset, in_use| ObjectName {
        cache: "task_struct".to_owned(),
        index,
        address: GuestVirtualAddress(DIRECT + TASKS + index * TASK_BYTES),
        offset,
        in_use: Some(in_use),
    };
    assert_eq!(worker.object, Some(object(0, 80, true)));
    let free = explained(&memory(), TASKS + TASK_BYTES + 80);
    assert_eq!(free.object, Some(object(1, 80, false)));
    assert_eq!(
        (free.type_name, free.basis),
        (None, Some(Basis::FreeObject))
    );
    let last = explained(&memory(), TASKS + 2 * TASK_BYTES);
    assert_eq!(last.object, Some(object(2, 0, false)));
    // The CPU has this one for itself, and nobody points to the one before.
    let kept = explained(&memory(), OBJECTS + 130).object;
    assert_eq!(kept.and_then(|object| object.in_use), Some(false));
    let plain = explained(&memory(), OBJECTS + 70);
    assert_eq!(
        (plain.type_name, plain.basis),
        (None, Some(Basis::PlainObject))
    );
    let behind = explained(&memory(), OBJECTS + 3 * 64);
    assert_eq!((behind.object, behind.basis), (None, Some(Basis::Slab)));
}

#[test]
fn a_cached_page_is_a_place_in_a_file() {
    let file = explained(&memory(), CONTENT + 5).file;
    let expected = FilePlace {
        path: "/etc/file".to_owned(),
        offset: PAGE + 5,
    };
    assert_eq!(file, Some(expected));
}

#[test]
fn free_lists_that_lie_leave_it_open() {
    let object = |memory: &[u8]| explained(memory, TASKS + TASK_BYTES).object.unwrap();
    for broken in [0, u64::MAX, 0x5555] {
        let mut memory = memory();
        put(&mut memory, FREE_LINK, broken);
        assert_eq!(object(&memory).in_use, None, "{broken:#x}");
    }
    // A list that comes back to itself.
    let mut memory = memory();
    let last = TASKS + 2 * TASK_BYTES + 0x100;
    let (place, first) = (DIRECT + last, DIRECT + TASKS + TASK_BYTES);
    let random = 0x1234_5678_9abc_def0;
    put(&mut memory, last, first ^ random ^ place.swap_bytes());
    assert_eq!(object(&memory).in_use, None);
}

#[test]
fn a_cache_of_several_kinds_gives_no_type_away() {
    let mut memory = memory();
    let refcount = (16 * PAGE + 0x400 + 28) as usize;
    memory[refcount] = 2;
    let found = explained(&memory, TASKS + 16);
    assert_eq!(found.basis, Some(Basis::PlainObject), "{found:?}");
    assert_eq!(found.type_name, None);
}

#[test]
fn stable_objects_are_known_by_what_they_are() {
    let memory = memory();
    let memory = MemoryImage(&memory);
    let introspection = Introspection::of(&memory).unwrap();
    let objects = introspection.stable_objects();
    let thread = |key: &str| Identity::Object {
        type_name: "task_struct",
        key: key.into(),
    };
    let worker = objects.at(TASKS + 3).unwrap();
    assert_eq!((&worker.identity, worker.bytes), (&thread("7"), TASK_BYTES));
    let other = objects.at(TASKS + 3 * TASK_BYTES).unwrap();
    assert_eq!(other.identity, thread("9"));
    assert_eq!(objects.at(TASKS + TASK_BYTES), None, "it is free");
    let page = Identity::FilePage {
        path: "/etc/file".into(),
        index: 1,
    };
    assert_eq!(objects.at(CONTENT).unwrap().identity, page);
    let names: Vec<String> = objects
        .in_frame(INIT_TASK / PAGE)
        .map(|piece| piece.identity.to_string())
        .collect();
    for name in ["init_task", "slab_caches"] {
        assert!(names.iter().any(|one| one == name), "{name}: {names:?}");
    }
    // Pieces do not overlap, and stay in their pages.
    let mut end = 0;
    for piece in objects.iter() {
        assert!(piece.physical >= end && piece.bytes > 0, "{piece:?}");
        end = piece.physical + piece.bytes;
        assert_eq!(piece.physical / PAGE, (end - 1) / PAGE, "{piece:?}");
    }
    let fields = introspection.kernel().btf().fields(worker.type_id.unwrap());
    let kinds = |path: &str| {
        let field = fields.iter().find(|field| field.path == path).unwrap();
        (field.offset, field.bytes, field.kind)
    };
    assert_eq!(kinds("cred"), (144, 8, crate::FieldKind::Pointer));
    assert_eq!(kinds("comm"), (84, 16, crate::FieldKind::Number));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_kernel_that_lies_is_survived(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>(), 0_u8..4), 1..40),
    ) {
        let mut bytes = memory();
        let sound = bytes.clone();
        for (at, value, kind) in changes {
            // Where pointers are, other pointers do the most harm.
            let at = at.index(24 * PAGE as usize / 8) as u64 * 8;
            let value = match kind {
                0 => value,
                1 => DIRECT + value % (96 * PAGE),
                2 => DIRECT + value % (96 * PAGE) / 8 * 8,
                _ => value % 512,
            };
            put(&mut bytes, at, value);
        }
        let memory = MemoryImage(&bytes);
        if let Ok(introspection) = Introspection::of(&memory) {
            for at in (0..sound.len() as u64).step_by(331) {
                let found = introspection.explain(at);
                if let Some(found) = &found {
                    prop_assert!(found.owner.len() < 4096);
                }
            }
            let objects = introspection.stable_objects();
            prop_assert!(objects.iter().all(|piece| piece.bytes <= PAGE));
        }
    }
}

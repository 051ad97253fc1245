//! Blobs that are sound, broken, endless and mutated.

use super::*;
use proptest::prelude::*;

/// Two structures, an array, a typedef, an enumeration:
/// `struct outer { u32 a; struct { u32 b; inner_t c; }; u32 list[7]; }`,
/// `typedef struct inner { u32 pad; u32 d; } inner_t;`, `enum { NO, YES = 5 }`.
fn blob() -> Vec<u8> {
    let mut strings = vec![0];
    let mut text = |name: &str| {
        let at = strings.len() as u32;
        strings.extend(name.bytes().chain([0]));
        at
    };
    let kind = |kind: u32, count: u32| kind << 24 | count;
    let (outer, inner, inner_t) = (text("outer"), text("inner"), text("inner_t"));
    let [a, b, c, d] = ["a", "b", "c", "d"].map(&mut text);
    let (pad, list, no, yes, int) = (
        text("pad"),
        text("list"),
        text("NO"),
        text("YES"),
        text("u32"),
    );
    let types: Vec<u32> = [
        vec![int, kind(1, 0), 4, 32],
        vec![inner, kind(STRUCTURE, 2), 8, pad, 1, 0, d, 1, 32],
        vec![inner_t, kind(TYPEDEF, 0), 2],
        vec![0, kind(STRUCTURE, 2), 12, b, 1, 0, c, 3, 32],
        vec![0, kind(ARRAY, 0), 0, 1, 1, 7],
        vec![
            outer,
            kind(STRUCTURE, 3),
            44,
            a,
            1,
            0,
            0,
            4,
            32,
            list,
            5,
            128,
        ],
        vec![0, kind(ENUMERATION, 2), 4, no, 0, yes, 5],
    ]
    .concat();
    let lengths = [types.len() as u32 * 4, strings.len() as u32];
    let header = [0x0001_eb9f, 24, 0, lengths[0], lengths[0], lengths[1]];
    let words = header.iter().chain(&types);
    let mut bytes: Vec<u8> = words.flat_map(|word| word.to_le_bytes()).collect();
    bytes.extend(strings);
    bytes
}

#[test]
fn members_are_found_by_path() {
    let btf = Btf::parse(blob()).unwrap();
    assert_eq!(btf.len(), 8);
    assert_eq!(btf.size_of("outer"), Ok(44));
    assert_eq!(btf.offset_of("outer", "a"), Ok(0));
    assert_eq!(btf.offset_of("outer", "b"), Ok(4));
    assert_eq!(btf.offset_of("outer", "c.d"), Ok(12));
    assert_eq!(btf.offset_of("outer", "list"), Ok(16));
    assert_eq!(btf.length_of("outer", "list"), Ok(7));
    assert_eq!(btf.value_of("YES"), Ok(5));
}

#[test]
fn what_is_missing_is_named() {
    let btf = Btf::parse(blob()).unwrap();
    let missing = |name: &str| {
        Err(BtfError::Missing {
            name: name.to_owned(),
        })
    };
    assert_eq!(btf.offset_of("outer", "e"), missing("outer.e"));
    assert_eq!(btf.offset_of("outer", "a.d"), missing("outer.a.d"));
    assert_eq!(btf.size_of("oute"), missing("struct oute"));
    assert_eq!(btf.length_of("outer", "a").map(|_| 0), missing("outer.a[]"));
    assert!(btf.value_of("MAYBE").is_err());
}

#[test]
fn broken_blobs_are_refused() {
    assert_eq!(Btf::parse(Vec::new()).unwrap_err(), BtfError::NotBtf);
    let mut unknown = blob();
    unknown[24 + 7] = 30;
    assert_eq!(Btf::parse(unknown).unwrap_err(), BtfError::Broken { id: 1 });
    let mut long = blob();
    long[24 + 16 + 4] = 200;
    assert_eq!(Btf::parse(long).unwrap_err(), BtfError::Broken { id: 2 });
    let large = vec![0; MAX_BTF_BYTES + 1];
    assert!(matches!(Btf::parse(large), Err(BtfError::TooLarge { .. })));
}

#[test]
fn a_structure_within_itself_ends() {
    let mut endless = blob();
    // The nameless member of `outer` becomes `outer` itself.
    let at = 24 + 16 + 36 + 12 + 36 + 24 + 12 + 12 + 4;
    endless[at] = 6;
    let btf = Btf::parse(endless).unwrap();
    assert!(btf.offset_of("outer", "nothing").is_err());
}

proptest! {
    #[test]
    fn mutated_blobs_are_survived(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        length in any::<prop::sample::Index>(),
        cut: bool,
    ) {
        let mut bytes = blob();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if cut {
            bytes.truncate(length.index(bytes.len()));
        }
        if let Ok(btf) = Btf::parse(bytes) {
            for path in ["a", "b", "c.d", "list", "nothing"] {
                let _offset = btf.offset_of("outer", path);
                let _length = btf.length_of("outer", path);
            }
            let _value = btf.value_of("YES");
        }
    }
}

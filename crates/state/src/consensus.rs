//! The one rule by which replicas decide: a value that strictly more than half of them hold.
//!
//! The rule is applied to whole values (a word, a register, a line, a file), never bit by bit: a
//! vote per bit could build a value that no replica held.

/// The value that strictly more than half of `values` hold, if there is one.
///
/// Boyer and Moore's majority vote finds the only candidate, a second pass counts it.
#[must_use]
pub fn majority<T: PartialEq>(values: &[T]) -> Option<&T> {
    let mut candidate = values.first()?;
    let mut lead = 0_usize;
    for value in values {
        if lead == 0 {
            candidate = value;
        }
        if value == candidate {
            lead += 1;
        } else {
            lead -= 1;
        }
    }
    let votes = values.iter().filter(|value| *value == candidate).count();
    (votes > values.len() / 2).then_some(candidate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(values: &str, expected: Option<u8>) {
        assert_eq!(majority(values.as_bytes()).copied(), expected, "{values}");
    }

    #[test]
    fn strictly_more_than_half_decide() {
        check("", None);
        check("a", Some(b'a'));
        check("ab", None);
        check("aab", Some(b'a'));
        check("baa", Some(b'a'));
        check("abc", None);
        check("aabb", None);
        check("abab", None);
        check("baaa", Some(b'a'));
        check("abcaa", Some(b'a'));
        check("aabbc", None);
    }

    proptest! {
        #[test]
        fn it_is_what_counting_says(values in prop::collection::vec(0_u8..4, 0..12)) {
            let counted = (0..4).find(|value| {
                2 * values.iter().filter(|held| *held == value).count() > values.len()
            });
            prop_assert_eq!(majority(&values).copied(), counted);
        }
    }
}

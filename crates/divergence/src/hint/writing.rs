//! What was written where something is wrong, and by how much it is wrong.
//!
//! | what is seen | why it tells |
//! |---|---|
//! | nothing has written the words since the snapshot | a processor gets wrong what it writes, and memory whatever it holds |
//! | they stand amid what was written, at its end, or alone | results fill buffers; a copy that stopped short ends with them; a lost line that shows in a word or two is one of bookkeeping |
//! | other values stand there | what was lost or read elsewhere leaves a value that differs in half of the bits; what was computed wrongly, one with a few wrong bits |

use super::experiment::core_bound;
use super::shape::{Form, Shape};
use super::weight::Weight;
use model::HintClass;

/// The share of wrong words that nothing has written since the snapshot under no cause in particular,
/// under a processor's defects (a store to a wrong address), and in a cell of memory; ours.
const UNTOUCHED: [f64; 3] = [0.25, 0.03, 0.65];

/// Another value in place of a word, under no cause in particular; ours.
const REPLACED: f64 = 0.35;

/// Bytes that a copy wrote before the tail that it left out, at least; the longest tail, and half of a
/// line of the cache.
const STRETCH_BYTES: u32 = 32;

/// From so many words on, the form has counted already where they lie.
const MANY_WORDS: usize = 5;

/// What a class makes of all of it.
pub(super) fn weights(class: HintClass, shape: &Shape) -> Vec<Weight> {
    if shape.len() == 0 || shape.outcomes > 0 {
        return Vec::new();
    }
    let all = [
        untouched(class, shape),
        around(class, shape),
        replaced(class, shape),
    ];
    all.into_iter().flatten().collect()
}

/// Whether anything had written what is wrong; storage and software leave it open.
fn untouched(class: HintClass, shape: &Shape) -> Option<Weight> {
    let [background, of_processors, of_memory] = UNTOUCHED;
    let share = match class {
        HintClass::MemoryCell => of_memory,
        class if core_bound(class) => of_processors,
        _ => return None,
    };
    let untouched = shape.untouched?;
    let all = shape.len();
    let (share, of_background, reason) = if mostly_untouched(shape) {
        let what = format!("nothing has written {untouched} of {all} words since the snapshot");
        (share, background, what)
    } else {
        let what = format!(
            "{} of {all} words were written since the snapshot",
            all.saturating_sub(untouched)
        );
        (1.0 - share, 1.0 - background, what)
    };
    let ratio = share / of_background;
    let reason = format!("{reason}, as in {:.0} % of such faults", share * 100.0);
    Some(Weight::new(ratio, reason))
}

fn mostly_untouched(shape: &Shape) -> bool {
    shape
        .untouched
        .is_some_and(|untouched| 2 * untouched >= shape.len())
}

/// Whether a few words that were written stand at the end of what was written, amid it, or neither;
/// ours.
fn around(class: HintClass, shape: &Shape) -> Option<Weight> {
    const BACKGROUND: [f64; 3] = [0.08, 0.45, 0.47];
    let shares = match class {
        HintClass::StringUndershoot => [0.50, 0.35, 0.15],
        HintClass::Coherence => [0.05, 0.25, 0.70],
        HintClass::MemoryCell => [0.05, 0.60, 0.35],
        class if core_bound(class) => [0.05, 0.75, 0.20],
        _ => return None,
    };
    let few = shape.len() < MANY_WORDS && !shape.kept && !mostly_untouched(shape);
    let stretch = shape.stretch.filter(|_| few)?;
    let (place, what) = match (stretch.bytes_before, stretch.bytes_after) {
        (STRETCH_BYTES.., 0) => (0, "it ends what was written"),
        (STRETCH_BYTES.., STRETCH_BYTES..) => (1, "it stands amid what was written"),
        _ => (2, "little was written around it"),
    };
    let reason = format!(
        "{what} ({} bytes before it and {} behind)",
        stretch.bytes_before, stretch.bytes_after
    );
    Some(Weight::new(shares[place] / BACKGROUND[place], reason))
}

/// Whether other values stand there, where the form leaves that open; ours.
fn replaced(class: HintClass, shape: &Shape) -> Option<Weight> {
    if !matches!(shape.form, Form::OneWord | Form::Scatter) {
        return None;
    }
    let share = match class {
        // Whose value it is was not looked for.
        HintClass::WrongAddress if shape.untouched.is_none() => return None,
        HintClass::WrongAddress | HintClass::Storage => 0.85,
        HintClass::StringUndershoot => 0.70,
        HintClass::Coherence => 0.30,
        HintClass::MemoryCell => 0.01,
        // A value that is used further a few times.
        HintClass::CoreLocalDefect | HintClass::ThermalPower | HintClass::Ageing
            if shape.form == Form::Scatter =>
        {
            0.25
        }
        HintClass::SelfInverse => REPLACED,
        class if core_bound(class) => 0.03,
        _ => return None,
    };
    let ratio = if shape.is_replaced() {
        share / REPLACED
    } else {
        (1.0 - share) / (1.0 - REPLACED)
    };
    let reason = format!(
        "{} of {} words differ in more than 12 bits, as another value does",
        shape.replaced,
        shape.len()
    );
    Some(Weight::new(ratio, reason))
}

//! A state machine that tells numbers from what is none, in text with commas between.

use crate::random::Xoshiro256;

pub(super) const TEXT_BYTES: usize = 2048;
pub(super) type Text = [u8; TEXT_BYTES];

/// Characters that text is written with; a draw takes one of sixteen for its kind.
const DIGITS: &[u8; 16] = b"0123456789012345";
const OTHERS: &[u8; 16] = b"+-.eE,,,,xT+-.,e";
/// Characters that damage puts in.
const DAMAGES: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Sign,
    Integer,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    Invalid,
}

const STATES: usize = 8;

/// Three digits to one other character.
pub(super) fn write(text: &mut Text, stream: &mut Xoshiro256) {
    for byte in text {
        *byte = character(stream.next_word() ^ u64::from(*byte));
    }
}

/// Other characters in some places.
pub(super) fn damage(text: &mut Text, stream: &mut Xoshiro256) {
    for _ in 0..DAMAGES {
        let draw = stream.next_word();
        text[(draw >> 20) as usize % TEXT_BYTES] = character(draw);
    }
}

fn character(draw: u64) -> u8 {
    let which = (draw & 15) as usize;
    if draw >> 4 & 3 == 0 {
        OTHERS[which]
    } else {
        DIGITS[which]
    }
}

/// How often each state was entered, and how often a number ended in it.
pub(super) fn read(text: &Text) -> [u32; 2 * STATES] {
    let mut counts = [0; 2 * STATES];
    let mut state = State::Start;
    for byte in text {
        if *byte == b',' {
            counts[STATES + state as usize] += 1;
            state = State::Start;
            continue;
        }
        let next = next(state, *byte);
        if next != state {
            counts[next as usize] += 1;
        }
        state = next;
    }
    counts
}

fn next(state: State, byte: u8) -> State {
    match (state, byte) {
        (State::Start, b'+' | b'-') => State::Sign,
        (State::Start | State::Sign | State::Integer, b'0'..=b'9') => State::Integer,
        (State::Start | State::Sign | State::Integer, b'.') => State::Point,
        (State::Point | State::Fraction, b'0'..=b'9') => State::Fraction,
        (State::Integer | State::Fraction, b'e' | b'E') => State::Exponent,
        (State::Exponent, b'+' | b'-') => State::ExponentSign,
        (State::Exponent | State::ExponentSign, b'0'..=b'9') => State::ExponentSign,
        _ => State::Invalid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_what_is_none_are_told_apart() {
        let mut text = [b','; TEXT_BYTES];
        let written = b"12,-3.5,1e+7,1e,x,+,.5e5,1.2.3";
        text[..written.len()].copy_from_slice(written);
        let counts = read(&text);
        let ended = |state: State| counts[STATES + state as usize];
        assert_eq!(ended(State::Integer), 1);
        assert_eq!(ended(State::Fraction), 1);
        assert_eq!(ended(State::ExponentSign), 2);
        assert_eq!(ended(State::Exponent), 1);
        assert_eq!(ended(State::Invalid), 2);
        assert_eq!(ended(State::Sign), 1);
    }

    #[test]
    fn seeded_text_enters_every_state() {
        let mut text = [0; TEXT_BYTES];
        write(&mut text, &mut Xoshiro256::from_seed(1));
        let counts = read(&text);
        assert!(
            counts[1..STATES].iter().all(|count| *count > 0),
            "{counts:?}"
        );
    }
}

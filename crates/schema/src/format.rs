//! How values are written that JSON has no type for.

use model::{Engine, Fate, Level, Outcome};

/// A 64-bit value or an address: `0x…`, because JSON's numbers hold 53 bits.
#[must_use]
pub fn hexadecimal(value: u64) -> String {
    format!("{value:#x}")
}

/// The word for an engine.
pub(crate) const fn engine(engine: Engine) -> &'static str {
    match engine {
        Engine::Divergence => "divergence",
        Engine::Shadow => "shadow",
        Engine::Twin => "twin",
        Engine::Propagation => "propagation",
        Engine::Image => "image",
    }
}

/// The word for a level of the fleet.
pub(crate) const fn level(level: Level) -> &'static str {
    match level {
        Level::Component => "component",
        Level::System => "system",
        Level::Group => "group",
    }
}

/// The word for what became of an injected fault.
pub(crate) const fn fate(fate: Fate) -> &'static str {
    match fate {
        Fate::Live => "live",
        Fate::Masked => "masked",
    }
}

/// The word for how a replica ended, and what is known of a crash.
pub(crate) fn outcome(outcome: &Outcome) -> (&'static str, Option<String>) {
    match outcome {
        Outcome::Ended => ("ended", None),
        Outcome::Hung => ("hung", None),
        Outcome::Crashed(how) => ("crashed", Some(how.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Timestamp;
    use proptest::prelude::*;

    #[test]
    fn hexadecimal_has_no_leading_zeros() {
        assert_eq!(hexadecimal(0), "0x0");
        assert_eq!(hexadecimal(0x1ff_f008), "0x1fff008");
        assert_eq!(hexadecimal(u64::MAX), "0xffffffffffffffff");
    }

    #[test]
    fn moments_are_rfc_3339_in_utc() {
        let moment = Timestamp::from_unix_ns(1_700_000_000_000_000_001);
        assert_eq!(moment.to_string(), "2023-11-14T22:13:20.000000001Z");
    }

    #[test]
    fn words_are_those_of_the_model() {
        let word = |value: serde_json::Value| value.as_str().map(str::to_owned);
        for one in [
            Engine::Divergence,
            Engine::Shadow,
            Engine::Twin,
            Engine::Propagation,
            Engine::Image,
        ] {
            let expected = word(serde_json::to_value(one).unwrap());
            assert_eq!(Some(engine(one).to_owned()), expected);
        }
        for one in [Level::Component, Level::System, Level::Group] {
            let expected = word(serde_json::to_value(one).unwrap());
            assert_eq!(Some(level(one).to_owned()), expected);
        }
        for one in [Fate::Live, Fate::Masked] {
            let expected = word(serde_json::to_value(one).unwrap());
            assert_eq!(Some(fate(one).to_owned()), expected);
        }
    }

    proptest! {
        #[test]
        fn every_value_is_read_back(value: u64) {
            prop_assert_eq!(model::address::parse_u64(&hexadecimal(value)), Ok(value));
        }
    }
}

//! Figures for people.

/// A count with its thousands set apart.
pub(crate) fn count(figure: u64) -> String {
    let digits = figure.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size in the largest binary unit in which it is at least one.
pub(crate) fn bytes(size: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut value = size as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    if size == 1 {
        "1 byte".to_owned()
    } else if unit == 0 {
        format!("{size} {name}")
    } else {
        format!("{value:.1} {name}")
    }
}

/// A score: a count where it is one.
pub(crate) fn score(score: f64) -> String {
    const EXACT_BELOW: f64 = 9_007_199_254_740_992.0;
    if score.fract() == 0.0 && (0.0..EXACT_BELOW).contains(&score) {
        count(score as u64)
    } else {
        format!("{score:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_readable() {
        assert_eq!(count(0), "0");
        assert_eq!(count(1234), "1,234");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(bytes(512), "512 bytes");
        assert_eq!(bytes(31 << 20), "31.0 MiB");
        assert_eq!(score(2_097_152.0), "2,097,152");
        assert_eq!(score(1.5), "1.50");
    }
}

//! Formatting of numbers.

/// Floating-point operations with a suitable unit.
pub fn operations(flops: f64) -> String {
    with_unit(flops, "FLOP")
}

/// Bytes with a suitable unit; 1 kB is 1000 bytes.
pub fn bytes(count: u64) -> String {
    with_unit(count as f64, "B")
}

/// Parses a size such as `12G`, `800MB` or `1.5GiB`. A number without a unit is one of bytes, of which
/// fewer than a million are most likely a forgotten unit.
pub fn parse_bytes(typed: &str) -> Result<u64, &'static str> {
    const EXPECTED: &str = "expected a size such as 12G, 800M or 1.5GiB";
    let typed = typed.trim();
    let end = typed
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(typed.len());
    let (number, unit) = typed.split_at(end);
    let unit = unit.trim().to_ascii_lowercase();
    let factor = match unit.strip_suffix('b').unwrap_or(&unit) {
        "" => 1.0,
        "k" => 1e3,
        "m" => 1e6,
        "g" => 1e9,
        "t" => 1e12,
        "ki" => 1024.0,
        "mi" => 1024.0 * 1024.0,
        "gi" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(EXPECTED),
    };
    let number: f64 = number.parse().map_err(|_| EXPECTED)?;
    if unit.is_empty() && number < 1e6 {
        return Err(EXPECTED);
    }
    Ok((number * factor) as u64)
}

/// A count in words, such as `2.3 billion`.
pub fn count(things: usize) -> String {
    let count = things as f64;
    let units = [(1e9, "billion"), (1e6, "million"), (1e3, "thousand")];
    match units.into_iter().find(|(unit, _)| count >= *unit) {
        Some((unit, word)) if count / unit < 10.0 => format!("{:.1} {word}", count / unit),
        Some((unit, word)) => format!("{:.0} {word}", count / unit),
        None => things.to_string(),
    }
}

fn with_unit(count: f64, name: &str) -> String {
    let units = [(1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let (unit, prefix) = units
        .into_iter()
        .find(|(unit, _)| count >= *unit)
        .unwrap_or((1.0, ""));
    let digits = if unit > 1.0 && count / unit < 10.0 {
        1
    } else {
        0
    };
    format!("{:.digits$} {prefix}{name}", count / unit)
}

/// `1 row`, `2 rows`.
pub fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_a_unit_that_fits() {
        assert_eq!(operations(3.6e14), "360 TFLOP");
        assert_eq!(operations(1.234e9), "1.2 GFLOP");
        assert_eq!(operations(12.0), "12 FLOP");
        assert_eq!(bytes(4_450_000), "4.5 MB");
        assert_eq!(count(2_310_000_000), "2.3 billion");
        assert_eq!(count(310_000_000), "310 million");
        assert_eq!(count(310), "310");
    }

    #[test]
    fn sizes_are_read_with_decimal_and_binary_units() {
        let pairs = [
            ("12G", 12_000_000_000),
            ("800 MB", 800_000_000),
            ("1.5gib", 1_610_612_736),
            ("2000000", 2_000_000),
        ];
        for (typed, bytes) in pairs {
            assert_eq!(parse_bytes(typed), Ok(bytes), "{typed}");
        }
        for wrong in ["", "G", "70", "12 GG", "-1G", "1e9", "1..2", "many"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }
}

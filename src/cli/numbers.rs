//! Numbers as people want them.

/// Floating-point operations with a unit that keeps the number short.
pub(super) fn operations(flops: f64) -> String {
    with_unit(flops, "FLOP")
}

/// Bytes, likewise; 1 kB is 1000 bytes.
pub(super) fn bytes(count: u64) -> String {
    with_unit(count as f64, "B")
}

/// Things without a unit, as `2.1 G`.
pub(super) fn count(things: usize) -> String {
    with_unit(things as f64, "").trim_end().to_owned()
}

fn with_unit(count: f64, name: &str) -> String {
    let units = [(1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let (unit, prefix) = units.into_iter().find(|(unit, _)| count >= *unit).unwrap_or((1.0, ""));
    let digits = if unit > 1.0 && count / unit < 10.0 { 1 } else { 0 };
    format!("{:.digits$} {prefix}{name}", count / unit)
}

/// `1 row`, `2 rows`.
pub(super) fn counted(count: usize, what: &str) -> String {
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
    }
}

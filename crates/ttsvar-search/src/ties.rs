//! Choices by computed numbers. Numbers that are equal in mathematics often differ in their last
//! digits once they are computed, and these must not decide which row is chosen: of all that are
//! equal up to rounding, the first is taken, as scikit-learn and PyTorch take the first of exact
//! equals.

/// The index of the smallest value, the first of those that are larger by at most the share `tie`
/// of it. Values are not negative.
pub fn first_smallest(values: impl IntoIterator<Item = f64>, tie: f64) -> Option<usize> {
    let values: Vec<f64> = values.into_iter().collect();
    let smallest = values.iter().copied().min_by(f64::total_cmp)?;
    values
        .iter()
        .position(|value| *value <= smallest * (1.0 + tie))
}

/// The index of the largest value, the first of those that are smaller by at most the share `tie`
/// of it. Values are not negative.
pub fn first_largest(values: impl IntoIterator<Item = f64>, tie: f64) -> Option<usize> {
    let values: Vec<f64> = values.into_iter().collect();
    let largest = values.iter().copied().max_by(f64::total_cmp)?;
    values
        .iter()
        .position(|value| *value >= largest * (1.0 - tie))
}

/// The indices in descending order of their values. Values that differ from the largest of their
/// group by at most the share `tie` of it keep their order. NaN counts as minus infinity.
pub fn descending(values: &[f32], tie: f32) -> Vec<usize> {
    let key = |index: usize| match values[index] {
        value if value.is_nan() => f32::NEG_INFINITY,
        // Zeros of either sign are equal.
        value => value + 0.0,
    };
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| key(b).total_cmp(&key(a)));
    let mut start = 0;
    for end in 1..=order.len() {
        let first = key(order[start]);
        let is_tie = |index: usize| {
            let value = key(index);
            value == first || first.is_finite() && first - value <= tie * first.abs()
        };
        if end < order.len() && is_tie(order[end]) {
            continue;
        }
        order[start..end].sort_unstable();
        start = end;
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 0.1 + 0.2 is more than 0.3 in f64.
    #[test]
    fn the_first_of_values_that_differ_by_rounding_is_taken() {
        let [a, b] = [0.1 + 0.2, 0.3];
        assert_ne!(a, b);
        for values in [[a, b, 1.0], [b, a, 1.0]] {
            assert_eq!(first_smallest(values, 1e-12), Some(0));
            assert_eq!(first_largest([0.0, values[0], values[1]], 1e-12), Some(1));
        }
        assert_eq!(first_smallest([1.0, 0.5, 0.25], 1e-12), Some(2));
        assert_eq!(first_smallest([], 1e-12), None);
        assert_eq!(first_smallest([0.0, 1e-300], 1e-12), Some(0));
    }

    #[test]
    fn groups_of_equal_values_keep_their_order() {
        let above = f32::from_bits(1.0f32.to_bits() + 1);
        assert_eq!(descending(&[1.0, above, 2.0], 1e-6), [2, 0, 1]);
        assert_eq!(
            descending(&[-1.0, f32::NAN, -above, 0.0, -0.0], 1e-6),
            [3, 4, 0, 2, 1]
        );
        let infinite = [f32::NEG_INFINITY, f32::INFINITY, f32::NAN, f32::INFINITY];
        assert_eq!(descending(&infinite, 1e-6), [1, 3, 0, 2]);
        assert!(descending(&[], 1e-6).is_empty());
    }
}

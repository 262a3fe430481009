//! How boxes lie to each other. A box is left, top, right, bottom. The program computes in f32, as
//! the detector's numbers are; GenEval's own functions take either.

use num_traits::Float;

use super::prompts::Relation;

/// Intersection over union, each side one pixel longer than the difference of its ends.
pub fn overlap<T: Float>(a: [T; 4], b: [T; 4]) -> T {
    let side = |from: T, to: T| (to - from + T::one()).max(T::zero());
    let area = |of: [T; 4]| side(of[0], of[2]) * side(of[1], of[3]);
    let common = area([
        a[0].max(b[0]),
        a[1].max(b[1]),
        a[2].min(b[2]),
        a[3].min(b[3]),
    ]);
    let all = area(a) + area(b) - common;
    if all == T::zero() {
        T::zero()
    } else {
        common / all
    }
}

/// Where `a` is, seen from `b`: none, one or two relations, in the order of [`Relation::ALL`].
///
/// Along each axis the distance of the centres counts as far as it exceeds `slack` times both
/// lengths; what is left, as a share of the whole distance, must be more than half.
pub fn relations<T: Float>(a: [T; 4], b: [T; 4], slack: T) -> Vec<Relation> {
    let two = T::one() + T::one();
    let offset = [0, 1].map(|axis| (a[axis] + a[axis + 2]) / two - (b[axis] + b[axis + 2]) / two);
    let length = |of: [T; 4], axis: usize| (of[axis + 2] - of[axis]).abs();
    let revised = [0, 1].map(|axis| {
        let rest = offset[axis].abs() - slack * (length(a, axis) + length(b, axis));
        rest.max(T::zero()) * sign(offset[axis])
    });
    let least = T::from(1e-3).unwrap_or_else(T::zero);
    if revised.iter().all(|rest| rest.abs() < least) {
        return vec![];
    }
    let distance = (offset[0] * offset[0] + offset[1] * offset[1]).sqrt();
    let half = T::one() / two;
    let [x, y] = revised.map(|rest| rest / distance);
    let holds = |relation: &Relation| match relation {
        Relation::Left => x < -half,
        Relation::Right => x > half,
        Relation::Above => y < -half,
        Relation::Below => y > half,
    };
    Relation::ALL.into_iter().filter(holds).collect()
}

/// -1, 0 or 1.
fn sign<T: Float>(value: T) -> T {
    if value == T::zero() {
        value
    } else {
        value.signum()
    }
}

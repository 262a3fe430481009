//! Overlap and relative position of boxes. A box is left, top, right, bottom. The program uses f32,
//! as the detector does; GenEval's own functions accept either.

use num_traits::Float;

use super::prompts::RelativePosition;

/// Intersection over union, each side one pixel longer than the difference of its ends.
pub fn overlap<T: Float>(a: [T; 4], b: [T; 4]) -> T {
    let side = |from: T, to: T| (to - from + T::one()).max(T::zero());
    let area = |bounds: [T; 4]| side(bounds[0], bounds[2]) * side(bounds[1], bounds[3]);
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

/// The position of `a` relative to `b`: none, one or two values, in the order of
/// [`RelativePosition::ALL`].
///
/// Along each axis, `slack` times both lengths is subtracted from the distance of the centres. The
/// rest must be more than half of the whole distance.
pub fn relations<T: Float>(a: [T; 4], b: [T; 4], slack: T) -> Vec<RelativePosition> {
    let Some([x, y]) = direction(a, b, slack) else {
        return vec![];
    };
    let half = T::one() / (T::one() + T::one());
    let holds = |relation: &RelativePosition| match relation {
        RelativePosition::Left => x < -half,
        RelativePosition::Right => x > half,
        RelativePosition::Above => y < -half,
        RelativePosition::Below => y > half,
    };
    RelativePosition::ALL.into_iter().filter(holds).collect()
}

/// The direction from `b` to `a`, each axis -1 to 1: the distance of the centres less `slack` times
/// both lengths, as a part of the whole distance. `None` if nothing remains along either axis.
pub fn direction<T: Float>(a: [T; 4], b: [T; 4], slack: T) -> Option<[T; 2]> {
    let two = T::one() + T::one();
    let offset = [0, 1].map(|axis| (a[axis] + a[axis + 2]) / two - (b[axis] + b[axis + 2]) / two);
    let length = |bounds: [T; 4], axis: usize| (bounds[axis + 2] - bounds[axis]).abs();
    let revised = [0, 1].map(|axis| {
        let rest = offset[axis].abs() - slack * (length(a, axis) + length(b, axis));
        rest.max(T::zero()) * sign(offset[axis])
    });
    let least = T::from(1e-3).unwrap_or_else(T::zero);
    if revised.iter().all(|rest| rest.abs() < least) {
        return None;
    }
    let distance = (offset[0] * offset[0] + offset[1] * offset[1]).sqrt();
    Some(revised.map(|rest| rest / distance))
}

/// -1, 0 or 1.
fn sign<T: Float>(value: T) -> T {
    if value == T::zero() {
        value
    } else {
        value.signum()
    }
}

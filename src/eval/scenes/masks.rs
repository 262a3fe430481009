//! Masks of an image's pixels: connected parts, growing, shrinking, pulling apart.

use super::world::SIZE;

/// One flag per pixel.
pub(super) type Mask = Vec<bool>;

/// Number of times that a mask is shrunk to pull it apart.
const SHRINKINGS: usize = 3;

/// Minimum number of pixels of a part after shrinking.
const LEAST_CORE: usize = 12;

/// The parts into which a mask falls when it is shrunk a few times, with the pixels at their edges
/// given back to the nearest part; `None` if it stays in one piece.
pub(super) fn pulled_apart(mask: &Mask) -> Option<Vec<Mask>> {
    let mut shrunk = mask.clone();
    for _ in 0..SHRINKINGS {
        shrunk = shrink(&shrunk);
        let mut parts = components(&shrunk, LEAST_CORE);
        if parts.len() > 1 {
            while give_back(mask, &mut parts) {}
            return Some(parts);
        }
    }
    None
}

/// Grows each part by one pixel into the unclaimed pixels of a mask; false if none is left.
fn give_back(mask: &Mask, parts: &mut [Mask]) -> bool {
    let mut unclaimed: Mask = (0..mask.len())
        .map(|i| mask[i] && !parts.iter().any(|part| part[i]))
        .collect();
    let grown: Vec<Mask> = parts.iter().map(grow).collect();
    let mut changed = false;
    for (part, grown) in parts.iter_mut().zip(grown) {
        for i in 0..part.len() {
            if grown[i] && unclaimed[i] {
                unclaimed[i] = false;
                part[i] = true;
                changed = true;
            }
        }
    }
    changed
}

/// The connected parts of a mask, from the top, with `least` pixels or more.
pub(super) fn components(mask: &Mask, least: usize) -> Vec<Mask> {
    let mut left = mask.clone();
    let mut found = vec![];
    for start in 0..left.len() {
        if !left[start] {
            continue;
        }
        let mut part = vec![false; left.len()];
        let mut front = vec![start];
        let mut size = 0;
        left[start] = false;
        while let Some(i) = front.pop() {
            part[i] = true;
            size += 1;
            for next in neighbours(i) {
                if std::mem::take(&mut left[next]) {
                    front.push(next);
                }
            }
        }
        if size >= least {
            found.push(part);
        }
    }
    found
}

/// The mask with its adjacent pixels.
pub(super) fn grow(mask: &Mask) -> Mask {
    (0..mask.len())
        .map(|i| mask[i] || neighbours(i).any(|next| mask[next]))
        .collect()
}

/// The mask without the pixels at its edge. The edge of the image does not count as one.
fn shrink(mask: &Mask) -> Mask {
    (0..mask.len())
        .map(|i| mask[i] && neighbours(i).all(|next| mask[next]))
        .collect()
}

/// The pixels at most two steps away in each direction.
pub(super) fn around(i: usize) -> impl Iterator<Item = usize> {
    let near = |at: usize| at.saturating_sub(2)..=(at + 2).min(SIZE - 1);
    let xs = near(i % SIZE);
    near(i / SIZE).flat_map(move |y| xs.clone().map(move |x| y * SIZE + x))
}

/// The pixels above, below, left and right.
fn neighbours(i: usize) -> impl Iterator<Item = usize> {
    let x = i % SIZE;
    let y = i / SIZE;
    let all = [
        (y > 0).then(|| i - SIZE),
        (y + 1 < SIZE).then_some(i + SIZE),
        (x > 0).then(|| i - 1),
        (x + 1 < SIZE).then_some(i + 1),
    ];
    all.into_iter().flatten()
}

//! Patch features projected on their first principal direction (paper, section 3.2 and its appendix
//! on features; ali-vilab/TTS-VAR at commit b0332bb, `tts-var/utils_model.py`, lines 505-536).
//!
//! The sign of a principal direction is arbitrary. For `pca` the reference takes, image by image,
//! the sign that its library returns, so two similar images may get distant features before they
//! are clustered. Here [`canonical`] fixes the sign of each image: the projection of largest
//! magnitude is positive. `pca-raw` leaves it as the iteration returns it, which is as arbitrary as
//! in the reference, though the same in every run.

use rayon::prelude::*;
use ttsvar_search::{Matrix, ties::first_largest};

use super::Patches;

/// Squarings of the matrix at most: enough to separate singular values that agree to nine digits.
const ROUNDS: usize = 30;

/// Projections whose magnitudes differ by at most this share are a tie: they are computed in f32.
const TIE: f64 = 1e-5;

/// Change of the unit direction at which the iteration stops.
const TOLERANCE: f64 = 1e-12;

/// Each image's patches on its own first principal direction: (images, patches), with an
/// arbitrary sign.
pub fn per_image(patches: &Patches) -> Matrix {
    let rows: Vec<Vec<f32>> = (0..patches.images())
        .into_par_iter()
        .map(|i| project(patches.image(i), patches.dim()))
        .collect();
    Matrix::new(patches.images(), patches.patches(), rows.concat())
}

/// All patches on the first principal direction of all images: (images, patches). There is
/// one sign for all images: the projection of largest magnitude is positive.
pub fn across_images(patches: &Patches) -> Matrix {
    let mut scores = project(patches.all(), patches.dim());
    turn(&mut scores);
    Matrix::new(patches.images(), patches.patches(), scores)
}

/// Each row times the sign of its entry of largest magnitude, the first of those that are equal up
/// to rounding.
pub fn canonical(rows: &Matrix) -> Matrix {
    let mut data = Vec::with_capacity(rows.rows() * rows.cols());
    for i in 0..rows.rows() {
        let mut row = rows.row(i).to_vec();
        turn(&mut row);
        data.extend(row);
    }
    Matrix::new(rows.rows(), rows.cols(), data)
}

fn turn(row: &mut [f32]) {
    let magnitudes = row.iter().map(|value| f64::from(value.abs()));
    let Some(largest) = first_largest(magnitudes, TIE) else {
        return;
    };
    if row[largest] < 0.0 {
        row.iter_mut().for_each(|value| *value = -*value);
    }
}

/// Rows of `dim` numbers on the first right singular vector of the rows less their mean.
fn project(rows: &[f32], dim: usize) -> Vec<f32> {
    let centred = centred(rows, dim);
    let count = centred.len();
    if dim <= count {
        let direction = leading(&gram(&transposed(&centred, dim)));
        return centred
            .iter()
            .map(|row| dot(row, &direction) as f32)
            .collect();
    }
    // With rows X, the leading vector u of X X^T is X v / s: the projections themselves, short of
    // their length s.
    let gram = gram(&centred);
    let unit = leading(&gram);
    let length = dot(&unit, &times(&gram, &unit)).max(0.0).sqrt();
    unit.iter().map(|value| (value * length) as f32).collect()
}

fn centred(rows: &[f32], dim: usize) -> Vec<Vec<f64>> {
    let mut rows: Vec<Vec<f64>> = rows
        .chunks(dim)
        .map(|row| row.iter().map(|&value| f64::from(value)).collect())
        .collect();
    for column in 0..dim {
        let mean = rows.iter().map(|row| row[column]).sum::<f64>() / rows.len() as f64;
        rows.iter_mut().for_each(|row| row[column] -= mean);
    }
    rows
}

fn transposed(rows: &[Vec<f64>], dim: usize) -> Vec<Vec<f64>> {
    (0..dim)
        .map(|column| rows.iter().map(|row| row[column]).collect())
        .collect()
}

/// The scalar products of all pairs of rows.
fn gram(rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let mut gram: Vec<Vec<f64>> = rows
        .par_iter()
        .enumerate()
        .map(|(i, a)| rows[..=i].iter().map(|b| dot(a, b)).collect())
        .collect();
    for i in 0..gram.len() {
        for j in i + 1..gram.len() {
            let value = gram[j][i];
            gram[i].push(value);
        }
    }
    gram
}

/// The unit eigenvector of the largest eigenvalue of a symmetric matrix without negative
/// eigenvalues, by power iteration from a fixed start that no structure of real data is orthogonal
/// to.
///
/// If the iteration has not converged after as many steps as the matrix has rows, the matrix is
/// squared: that costs half as much as those steps did and doubles the length of all that follow,
/// so that close eigenvalues need few rounds. A matrix of zeros, and one with NaN or infinities,
/// gives what the start gives: callers see the zeros or NaN in the projections.
fn leading(matrix: &[Vec<f64>]) -> Vec<f64> {
    let mut vector: Vec<f64> = (0..matrix.len())
        .map(|i| 0.5 + (i as f64 * GOLDEN).fract())
        .collect();
    normalise(&mut vector);
    let mut power = matrix.to_vec();
    for _ in 0..ROUNDS {
        for _ in 0..matrix.len() {
            let mut next = times(&power, &vector);
            if !normalise(&mut next) {
                return vector;
            }
            let change: f64 = next
                .iter()
                .zip(&vector)
                .map(|(a, b)| (a - b) * (a - b))
                .sum();
            vector = next;
            if change <= TOLERANCE * TOLERANCE {
                return vector;
            }
        }
        power = squared(&power);
    }
    vector
}

/// The square of a symmetric matrix, scaled so that its trace is 1.
fn squared(matrix: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let mut square = gram(matrix);
    let trace: f64 = (0..square.len()).map(|i| square[i][i]).sum();
    square
        .iter_mut()
        .flatten()
        .for_each(|value| *value /= trace);
    square
}

/// The golden ratio less one: its multiples fill the unit interval without a pattern (Weyl).
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// Brings a vector to length 1. False where it has none.
fn normalise(vector: &mut [f64]) -> bool {
    let length = dot(vector, vector).sqrt();
    let sound = length.is_finite() && length > 0.0;
    if sound {
        vector.iter_mut().for_each(|value| *value /= length);
    }
    sound
}

fn times(matrix: &[Vec<f64>], vector: &[f64]) -> Vec<f64> {
    matrix.iter().map(|row| dot(row, vector)).collect()
}

/// The scalar product, summed in eight lanes so that it is quick; the order does not depend on the
/// machine.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let (a8, a_rest) = a.as_chunks::<8>();
    let (b8, b_rest) = b.as_chunks::<8>();
    for (a, b) in a8.iter().zip(b8) {
        for lane in 0..8 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_patches_lands_on_its_distances_from_the_middle() {
        let data = [[1.0, 2.0], [4.0, 6.0], [7.0, 10.0]].concat(); // steps of length 5
        let scores = canonical(&per_image(&Patches::new(1, 3, 2, data)));
        for (found, expected) in scores.row(0).iter().zip([5.0, 0.0, -5.0]) {
            assert!((found - expected).abs() < 1e-5, "{:?}", scores.row(0));
        }
    }

    #[test]
    fn more_dimensions_than_patches_give_the_same() {
        let wide = Patches::new(1, 2, 3, vec![0.0, 0.0, 0.0, 2.0, 1.0, 2.0]); // 3 apart
        assert_eq!(
            canonical(&per_image(&wide))
                .row(0)
                .iter()
                .map(|v| v.round())
                .collect::<Vec<_>>(),
            [2.0, -2.0]
        );
    }

    #[test]
    fn equal_patches_project_to_zero() {
        let flat = per_image(&Patches::new(1, 4, 2, vec![3.0; 8]));
        assert_eq!(flat.row(0), [0.0; 4]);
    }

    #[test]
    fn an_equal_pair_of_directions_still_gives_a_projection_of_full_length() {
        let square = per_image(&Patches::new(
            1,
            4,
            2,
            vec![1.0, 0.0, -1.0, 0.0, 0.0, 1.0, 0.0, -1.0],
        ));
        let length: f32 = square.row(0).iter().map(|v| v * v).sum();
        assert!((length - 2.0).abs() < 1e-5);
    }

    #[test]
    fn close_singular_values_are_separated() {
        let long = 1.0;
        let short = 0.9995;
        let cross = per_image(&Patches::new(
            1,
            4,
            2,
            vec![short, 0.0, -short, 0.0, 0.0, long, 0.0, -long],
        ));
        for (found, expected) in cross.row(0).iter().zip([0.0, 0.0, long, long]) {
            assert!((found.abs() - expected).abs() < 1e-5, "{:?}", cross.row(0));
        }
    }
}

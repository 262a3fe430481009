//! Resampling by cubics as PyTorch's `interpolate(mode="bicubic", align_corners=False)` does it, as
//! matrices.
//!
//! A line of `from` values becomes one of `to` values by a product with a (to, from) matrix; an
//! image by two of them.

use candle_core::{Device, Result, Tensor};

/// The slope at distance 1 without antialiasing.
const SLOPE: f64 = -0.75;

/// The cubic through a point and its neighbours, with the slope `a` at distance 1.
fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    match x {
        _ if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        _ if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * a,
        _ => 0.0,
    }
}

/// The four values that an output value reads, and their weights.
pub(super) struct CubicTaps {
    pub places: [usize; 4],
    pub weights: [f32; 4],
}

/// Without antialiasing: four taps, those beyond the border read the border. Output `i` reads around
/// `(i + 0.5) * step - 0.5`.
pub(super) fn cubic_taps(from: usize, to: usize, step: f64) -> Vec<CubicTaps> {
    let taps = |i: usize| {
        let center = (i as f64 + 0.5) * step - 0.5;
        let at = [-1.0, 0.0, 1.0, 2.0].map(|tap| center.floor() + tap);
        CubicTaps {
            places: at.map(|at| at.clamp(0.0, (from - 1) as f64) as usize),
            weights: at.map(|at| cubic(center - at, SLOPE) as f32),
        }
    };
    (0..to).map(taps).collect()
}

/// Resampling without antialiasing (a = -0.75) as a matrix (to, from); `step` is `from / to` where
/// PyTorch was given a size, 1 / factor where it was given a factor.
pub fn cubic_matrix(from: usize, to: usize, step: f64, device: &Device) -> Result<Tensor> {
    let mut matrix = vec![0f32; to * from];
    let rows = matrix.chunks_exact_mut(from);
    for (row, taps) in rows.zip(cubic_taps(from, to, step)) {
        for (place, weight) in taps.places.into_iter().zip(taps.weights) {
            row[place] += weight;
        }
    }
    Tensor::from_vec(matrix, (to, from), device)
}

/// With antialiasing (a = -0.5): the cubic is widened by the factor of reduction, taps beyond the
/// border are left out.
pub fn antialiased_cubic_matrix(from: usize, to: usize, device: &Device) -> Result<Tensor> {
    let step = from as f64 / to as f64;
    let stretch = step.max(1.0);
    let mut matrix = vec![0f32; to * from];
    for (i, row) in matrix.chunks_exact_mut(from).enumerate() {
        let center = (i as f64 + 0.5) * step;
        let weights: Vec<f64> = (0..from)
            .map(|x| cubic((x as f64 + 0.5 - center) / stretch, -0.5))
            .collect();
        let sum: f64 = weights.iter().sum();
        row.iter_mut()
            .zip(weights)
            .for_each(|(value, weight)| *value = (weight / sum) as f32);
    }
    Tensor::from_vec(matrix, (to, from), device)
}

/// (rows, columns, C) -> (to_rows, to_columns, C) by the matrices (to_rows, rows) and (to_columns,
/// columns).
pub fn resample(image: &Tensor, rows: &Tensor, columns: &Tensor) -> Result<Tensor> {
    let (h, w, c) = image.dims3()?;
    let to_h = rows.dims()[0];
    let to_w = columns.dims()[0];
    let image = rows
        .matmul(&image.reshape((h, w * c))?)?
        .reshape((to_h, w, c))?; // (Y, columns, C)
    columns
        .broadcast_left(to_h)?
        .contiguous()?
        .matmul(&image)?
        .reshape((to_h, to_w, c)) // (Y, X, C)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_size_changes_nothing_and_rows_sum_to_one() {
        let identity: Vec<Vec<f32>> = (0..5)
            .map(|i| (0..5).map(|j| f32::from(i == j)).collect())
            .collect();
        let [plain, smooth] = [
            cubic_matrix(5, 5, 1.0, &Device::Cpu),
            antialiased_cubic_matrix(5, 5, &Device::Cpu),
        ];
        assert_eq!(plain.unwrap().to_vec2::<f32>().unwrap(), identity);
        assert_eq!(smooth.unwrap().to_vec2::<f32>().unwrap(), identity);
        for to in [1, 3, 8, 16] {
            let plain = cubic_matrix(7, to, 7.0 / to as f64, &Device::Cpu).unwrap();
            for matrix in [
                plain,
                antialiased_cubic_matrix(7, to, &Device::Cpu).unwrap(),
            ] {
                for sum in matrix.sum(1).unwrap().to_vec1::<f32>().unwrap() {
                    assert!((sum - 1.0).abs() < 1e-6);
                }
            }
        }
    }
}

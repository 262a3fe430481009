//! Resizing of feature maps as PyTorch's `F.interpolate` does it.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::{
    cpu::to_vec,
    cubic::{CubicTaps, cubic_taps},
};

/// Bilinear resizing without antialiasing, corners not aligned: (B, C, h, w) -> (B, C, height,
/// width). With depth 1 this is also what `trilinear` does. f32.
pub fn bilinear(x: &Tensor, (height, width): (usize, usize)) -> Result<Tensor> {
    let rows = taps(x.dims()[2], height);
    let columns = taps(x.dims()[3], width);
    planes(x, (height, width), |plane, stride, out| {
        for (out, (top, bottom, down)) in out.chunks_mut(width).zip(&rows) {
            let above = &plane[top * stride..];
            let below = &plane[bottom * stride..];
            for (out, (left, right, across)) in out.iter_mut().zip(&columns) {
                let above = (1.0 - across) * above[*left] + across * above[*right];
                let below = (1.0 - across) * below[*left] + across * below[*right];
                *out = (1.0 - down) * above + down * below;
            }
        }
    })
}

/// For each output position its two neighbours and the weight of the second.
fn taps(from: usize, to: usize) -> Vec<(usize, usize, f32)> {
    let step = from as f32 / to as f32;
    let tap = |i: usize| {
        let at = ((i as f32 + 0.5) * step - 0.5).max(0.0);
        let first = (at as usize).min(from - 1);
        (first, (first + 1).min(from - 1), at - first as f32)
    };
    (0..to).map(tap).collect()
}

/// Bicubic resizing (a = -0.75) without antialiasing, corners not aligned: (B, C, h, w) -> (B, C,
/// height, width). Taps beyond the border read the border. f32.
pub fn bicubic(x: &Tensor, (height, width): (usize, usize)) -> Result<Tensor> {
    let taps = |from, to| cubic_taps(from, to, from as f64 / to as f64);
    let rows = taps(x.dims()[2], height);
    let columns = taps(x.dims()[3], width);
    planes(x, (height, width), |plane, stride, out| {
        let across = |row: &[f32], taps: &CubicTaps| -> f32 {
            let terms = taps.places.iter().zip(taps.weights);
            terms.map(|(place, weight)| weight * row[*place]).sum()
        };
        for (out, down) in out.chunks_mut(width).zip(&rows) {
            for (out, taps) in out.iter_mut().zip(&columns) {
                let lines = down.places.iter().zip(down.weights);
                let lines =
                    lines.map(|(row, weight)| weight * across(&plane[row * stride..], taps));
                *out = lines.sum();
            }
        }
    })
}

/// Mean over the cells that each output cell covers (adaptive average pooling): (B, C, h, w) -> (B,
/// C, height, width). f32.
pub fn area(x: &Tensor, (height, width): (usize, usize)) -> Result<Tensor> {
    let rows = windows(x.dims()[2], height);
    let columns = windows(x.dims()[3], width);
    planes(x, (height, width), |plane, stride, out| {
        for (out, (top, bottom)) in out.chunks_mut(width).zip(&rows) {
            for (out, (left, right)) in out.iter_mut().zip(&columns) {
                let cells =
                    (*top..*bottom).flat_map(|y| &plane[y * stride + left..y * stride + right]);
                *out = cells.sum::<f32>() / ((bottom - top) * (right - left)) as f32;
            }
        }
    })
}

fn windows(from: usize, to: usize) -> Vec<(usize, usize)> {
    (0..to)
        .map(|i| (i * from / to, ((i + 1) * from).div_ceil(to)))
        .collect()
}

/// Makes each plane of the result from a plane of `x` by `f(plane, its width, out)`.
fn planes(
    x: &Tensor,
    (height, width): (usize, usize),
    f: impl Fn(&[f32], usize, &mut [f32]) + Sync,
) -> Result<Tensor> {
    let (b, c, h, w) = x.dims4()?;
    if (h, w) == (height, width) {
        return Ok(x.clone());
    }
    let values = to_vec(x)?;
    let mut out = vec![0.0; b * c * height * width];
    let pairs = out
        .par_chunks_mut(height * width)
        .zip(values.par_chunks(h * w));
    pairs.for_each(|(out, plane)| f(plane, w, out));
    Tensor::from_vec(out, (b, c, height, width), x.device())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{
        cubic_matrix,
        noise::{Noise, difference},
        resample,
    };
    use candle_core::Device;

    fn row(values: &[f32]) -> Tensor {
        Tensor::from_slice(values, (1, 1, 1, values.len()), &Device::Cpu).unwrap()
    }

    #[test]
    fn bilinear_matches_hand_computed_rows() {
        let up = bilinear(&row(&[0.0, 4.0]), (1, 4)).unwrap();
        assert_eq!(to_vec(&up).unwrap(), [0.0, 1.0, 3.0, 4.0]);
        let down = bilinear(&row(&[0.0, 2.0, 4.0, 6.0]), (1, 2)).unwrap();
        assert_eq!(to_vec(&down).unwrap(), [1.0, 5.0]);
    }

    #[test]
    fn bicubic_is_the_product_with_the_matrices() {
        let x = Noise::seeded(1).tensor((1, 3, 5, 4));
        let rows = cubic_matrix(5, 7, 5.0 / 7.0, &Device::Cpu).unwrap();
        let columns = cubic_matrix(4, 9, 4.0 / 9.0, &Device::Cpu).unwrap();
        let planes = x.squeeze(0).unwrap().permute((1, 2, 0)).unwrap();
        let expected = resample(&planes.contiguous().unwrap(), &rows, &columns).unwrap();
        let found = bicubic(&x, (7, 9)).unwrap().squeeze(0).unwrap();
        let found = found.permute((1, 2, 0)).unwrap();
        assert!(difference(&found, &expected) < 1e-6);
    }

    #[test]
    fn area_covers_overlapping_windows() {
        let pooled = area(&row(&[1.0, 2.0, 3.0]), (1, 2)).unwrap();
        assert_eq!(to_vec(&pooled).unwrap(), [1.5, 2.5]);
    }
}

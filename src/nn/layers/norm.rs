//! Normalisations over the last axis, one row at a time, in one pass over memory.

use candle_core::{D, DType, Result, Tensor};

use super::groups;
use crate::nn::{
    Weights,
    cpu::{
        Values, is_cpu_f32, map_rows,
        simd::{Kernel, Lanes, RUNNING_STEP, Running, dispatch},
    },
};

/// Layer normalisation with a learned scale and shift.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f32,
}

impl LayerNorm {
    /// `weight` and `bias` of `width` values below `w`.
    pub fn load(w: &Weights, width: usize, eps: f32) -> crate::Result<Self> {
        Ok(Self {
            weight: w.get(width, "weight")?,
            bias: w.get(width, "bias")?,
            eps,
        })
    }

    /// (..., width) -> (..., width)
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if is_cpu_f32(x) {
            let weight = Values::from_f32(&self.weight)?;
            let bias = Values::from_f32(&self.bias)?;
            let scale: &[f32] = &weight;
            let shift: &[f32] = &bias;
            return map_rows(x, scale.len(), |_, row, out| {
                dispatch(Normalise {
                    row,
                    out,
                    centered: true,
                    eps: self.eps,
                    scale,
                    shift: Some(shift),
                });
            });
        }
        #[cfg(feature = "cuda")]
        if let Some(y) = crate::nn::cuda::normalise(x, [&self.weight, &self.bias], 0.0, self.eps)? {
            return Ok(y);
        }
        normalise(x, self.eps)?
            .broadcast_mul(&self.weight)?
            .broadcast_add(&self.bias)
    }
}

/// Layer normalisation whose scale and shift come from outside: `LN(x) * (1 + scale) + shift`.
///
/// `x` is (B, L, C); `scale` and `shift` are (C), the same for all rows, or (G, C), one for each of
/// G equal groups of candidates.
pub fn modulate(x: &Tensor, scale: &Tensor, shift: &Tensor, eps: f32) -> Result<Tensor> {
    let groups = groups::count(scale, x.dims()[0])?;
    if is_cpu_f32(x) {
        let scale = (scale.contiguous()? + 1.0)?;
        let shift = shift.contiguous()?;
        let scale = Values::from_f32(&scale)?;
        let shift = Values::from_f32(&shift)?;
        let [scale, shift]: [&[f32]; 2] = [&scale, &shift];
        let width = scale.len() / groups;
        let of_group = x.elem_count() / (groups * width).max(1); // rows
        return map_rows(x, width, |i, row, out| {
            let group = i / of_group;
            let own = group * width..(group + 1) * width;
            dispatch(Normalise {
                row,
                out,
                centered: true,
                eps,
                scale: &scale[own.clone()],
                shift: Some(&shift[own]),
            });
        });
    }
    if groups > 1 {
        return groups::in_turn(groups, &[x], &[scale, shift], |x, vectors| {
            modulate(&x[0], &vectors[0], &vectors[1], eps)
        });
    }
    let scale = scale.flatten_all()?;
    let shift = shift.flatten_all()?;
    #[cfg(feature = "cuda")]
    if let Some(y) = crate::nn::cuda::normalise(x, [&scale, &shift], 1.0, eps)? {
        return Ok(y);
    }
    normalise(x, eps)?
        .broadcast_mul(&(scale + 1.0)?)?
        .broadcast_add(&shift)
}

/// Root-mean-square normalisation with a learned scale (T5; Infinity's `text_norm`).
#[derive(Clone, Debug)]
pub struct RmsNorm {
    weight: Tensor,
    shift: Option<Tensor>,
    eps: f32,
}

impl RmsNorm {
    /// `weight` of `width` values below `w`.
    pub fn load(w: &Weights, width: usize, eps: f32) -> crate::Result<Self> {
        Ok(Self {
            weight: w.get(width, "weight")?,
            shift: None,
            eps,
        })
    }

    /// The same with a scale and a shift from outside, each (width): `RMS(x) * (1 + scale) + shift`.
    pub fn modulated(&self, scale: &Tensor, shift: &Tensor) -> Result<Self> {
        Ok(Self {
            weight: (&self.weight * (scale + 1.0)?)?,
            shift: Some(shift.contiguous()?),
            eps: self.eps,
        })
    }

    /// (..., width) -> (..., width)
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if is_cpu_f32(x) {
            let weight = Values::from_f32(&self.weight)?;
            let scale: &[f32] = &weight;
            let shift = self.shift.as_ref().map(Values::from_f32).transpose()?;
            let shift = shift.as_deref();
            return map_rows(x, scale.len(), |_, row, out| {
                dispatch(Normalise {
                    row,
                    out,
                    centered: false,
                    eps: self.eps,
                    scale,
                    shift,
                });
            });
        }
        let dtype = x.dtype();
        let x = x.to_dtype(DType::F32)?;
        let power = x.sqr()?.mean_keepdim(D::Minus1)?;
        let x = x.broadcast_div(&(power + f64::from(self.eps))?.sqrt()?)?;
        let x = x.to_dtype(dtype)?.broadcast_mul(&self.weight)?;
        match &self.shift {
            Some(shift) => x.broadcast_add(shift),
            None => Ok(x),
        }
    }
}

/// `out = (row - mean) / std * scale + shift`, where rows that are not `centered` count as
/// having mean 0.
struct Normalise<'a> {
    row: &'a [f32],
    out: &'a mut [f32],
    centered: bool,
    eps: f32,
    scale: &'a [f32],
    shift: Option<&'a [f32]>,
}

impl Kernel for Normalise<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, simd: L::Detected) {
        let values = self.row.len() as f32;
        let mut sum = Running::<L>::new(simd, 0.0);
        if self.centered {
            self.row
                .chunks(RUNNING_STEP)
                .for_each(|part| sum.update(part, 0.0, L::add));
        }
        let mean = sum.fold(|a, b| a + b) / values;
        let center = L::splat(simd, mean);
        let mut power = Running::<L>::new(simd, 0.0);
        for part in self.row.chunks(RUNNING_STEP) {
            power.update(part, mean, |power, v| {
                v.sub(center).mul_add(v.sub(center), power)
            });
        }
        let inverse = L::splat(
            simd,
            (power.fold(|a, b| a + b) / values + self.eps)
                .sqrt()
                .recip(),
        );
        let whole = self.row.len() / L::COUNT * L::COUNT;
        let count = self.row.len();
        let shift = self.shift.unwrap_or(&[]);
        for at in (0..whole).step_by(L::COUNT) {
            let shift = if shift.is_empty() {
                L::splat(simd, 0.0)
            } else {
                L::load(simd, &shift[at..])
            };
            let normal = L::load(simd, &self.row[at..]).sub(center).mul(inverse);
            normal
                .mul_add(L::load(simd, &self.scale[at..]), shift)
                .store(&mut self.out[at..]);
        }
        if whole < count {
            let shift = if shift.is_empty() {
                L::splat(simd, 0.0)
            } else {
                L::load_some(simd, &shift[whole..count], 0.0)
            };
            let normal = L::load_some(simd, &self.row[whole..], mean)
                .sub(center)
                .mul(inverse);
            normal
                .mul_add(L::load_some(simd, &self.scale[whole..count], 0.0), shift)
                .store_some(&mut self.out[whole..]);
        }
    }
}

/// Layer normalisation without scale and shift, by the tensor library, computed in f32.
fn normalise(x: &Tensor, eps: f32) -> Result<Tensor> {
    let dtype = x.dtype();
    let x = x.to_dtype(DType::F32)?;
    let x = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = x.sqr()?.mean_keepdim(D::Minus1)?;
    x.broadcast_div(&(variance + f64::from(eps))?.sqrt()?)?
        .to_dtype(dtype)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{
        cpu::simd::in_all_versions,
        noise::{Noise, difference},
    };

    struct Owned<'a>(&'a [f32], &'a [f32], bool);

    impl Kernel for Owned<'_> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn run<L: Lanes>(self, simd: L::Detected) -> Vec<f32> {
            let mut out = vec![0.0; self.0.len()];
            let Self(row, scale, centered) = self;
            Normalise {
                row,
                out: &mut out,
                centered,
                eps: 1e-6,
                scale,
                shift: Some(scale),
            }
            .run::<L>(simd);
            out
        }
    }

    #[test]
    fn each_group_has_its_own_modulation() {
        let noise = Noise::seeded(3);
        let x = noise.tensor((4, 3, 5));
        let [scale, shift] = [noise.tensor((2, 5)), noise.tensor((2, 5))];
        let found = modulate(&x, &scale, &shift, 1e-6).unwrap();
        let [x64, scale64, shift64] = [&x, &scale, &shift].map(|t| t.to_dtype(DType::F64).unwrap());
        let by_library = modulate(&x64, &scale64, &shift64, 1e-6).unwrap();
        assert!(difference(&by_library.to_dtype(DType::F32).unwrap(), &found) < 1e-5);
        for row in 0..4 {
            let [x, found] = [&x, &found].map(|t| t.narrow(0, row, 1).unwrap());
            let [scale, shift] = [&scale, &shift].map(|t| t.get(row / 2).unwrap());
            let expected = modulate(&x, &scale, &shift, 1e-6).unwrap();
            assert_eq!(difference(&found, &expected), 0.0);
        }
    }

    #[test]
    fn normalisations_match_their_definitions_for_odd_widths() {
        for width in [1usize, 5, 16, 33, 128, 1000] {
            let row: Vec<f32> = (0..width)
                .map(|i| (i as f32 * 1.3).sin() * 3.0 + 2.0)
                .collect();
            let scale: Vec<f32> = (0..width).map(|i| (i as f32 * 0.7).cos()).collect();
            for centered in [true, false] {
                let mean = |of: &dyn Fn(f64) -> f64| {
                    row.iter().map(|v| of(f64::from(*v))).sum::<f64>() / width as f64
                };
                let center = if centered { mean(&|v| v) } else { 0.0 };
                let inverse = (mean(&|v| (v - center).powi(2)) + 1e-6).sqrt().recip();
                for found in in_all_versions(|| Owned(&row, &scale, centered)) {
                    for ((found, v), scale) in found.iter().zip(&row).zip(&scale) {
                        let scale = f64::from(*scale);
                        let expected = (f64::from(*v) - center) * inverse * scale + scale;
                        assert!(
                            (f64::from(*found) - expected).abs() < 1e-5,
                            "{width}: {found} {expected}"
                        );
                    }
                }
            }
        }
    }
}

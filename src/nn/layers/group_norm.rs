//! Group normalisation, with the activation that follows it in one pass: SiLU where convolutional
//! networks put it before each convolution, ReLU or nothing elsewhere.

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

use super::activation::{Gelu, GeluTanh, Relu, Swish};
use crate::nn::{
    Activation, FeatureMap, Weights,
    cpu::{
        elementary::Map,
        feature_map::{Cell, Held, HostMap},
        simd::{Kernel, Lanes, dispatch},
        stored::Stored,
        to_vec,
    },
};

/// Group normalisation followed by an activation.
#[derive(Clone, Debug)]
pub struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    affine: (Vec<f32>, Vec<f32>), // the same two
    groups: usize,
    eps: f32,
    act: Option<Activation>,
}

impl GroupNorm {
    /// `weight` and `bias` below `w`; `groups` is given the number of channels.
    pub fn load(
        w: &Weights,
        groups: impl Fn(usize) -> Option<usize>,
        eps: f32,
        act: Option<Activation>,
    ) -> crate::Result<Self> {
        let [channels] = w.dims("weight")?;
        let groups = groups(channels).ok_or_else(|| {
            w.mismatch(
                "weight",
                "a number of channels that the groups divide",
                channels.to_string(),
            )
        })?;
        Ok(Self::new(
            w.get(channels, "weight")?,
            w.get(channels, "bias")?,
            groups,
            eps,
            act,
        )?)
    }

    fn new(
        weight: Tensor,
        bias: Tensor,
        groups: usize,
        eps: f32,
        act: Option<Activation>,
    ) -> Result<Self> {
        let affine = |x: &Tensor| to_vec(&x.to_dtype(DType::F32)?);
        Ok(Self {
            affine: (affine(&weight)?, affine(&bias)?),
            weight,
            bias,
            groups,
            eps,
            act,
        })
    }

    /// (B, C, H, W) -> (B, C, H, W)
    pub fn forward(&self, x: &FeatureMap) -> Result<FeatureMap> {
        match &x.0 {
            Held::Tensor(x) => FeatureMap::new(&self.by_library(x)?),
            Held::F32(map) => self.by_rows(map),
            Held::Bf16(map) => self.by_rows(map),
        }
    }

    fn by_library(&self, x: &Tensor) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if let Some(y) = crate::nn::cuda::group_norm(
            x,
            [&self.weight, &self.bias],
            self.groups,
            self.eps,
            self.act,
        )? {
            return Ok(y);
        }
        let (b, c, h, w) = x.dims4()?;
        let y = x
            .reshape((b * self.groups, c / self.groups * h * w))?
            .to_dtype(DType::F32)?;
        let y = y.broadcast_sub(&y.mean_keepdim(1)?)?;
        let y = y.broadcast_div(&(y.sqr()?.mean_keepdim(1)? + f64::from(self.eps))?.sqrt()?)?;
        let y = y.reshape((b, c, h, w))?.to_dtype(x.dtype())?;
        let [weight, bias] = [&self.weight, &self.bias].map(|t| t.reshape((1, c, 1, 1)));
        let y = y.broadcast_mul(&weight?)?.broadcast_add(&bias?)?;
        self.act.map_or(Ok(y.clone()), |act| act.forward(&y))
    }

    /// The result has the border of zeros that the next convolution needs.
    fn by_rows<T: Cell>(&self, x: &HostMap<T>) -> Result<FeatureMap> {
        if x.channels != self.affine.0.len() {
            candle_core::bail!(
                "expected {} channels, found {}",
                self.affine.0.len(),
                x.channels
            );
        }
        let affine: Vec<_> = (0..x.images).map(|image| self.affine(x, image)).collect();
        Ok(T::any(x.map_rows(1, |image, row, out| {
            let (scale, shift) = &affine[image];
            let rows = (row, out);
            match self.act {
                None => dispatch(ScaleShift {
                    rows,
                    scale,
                    shift,
                    act: Identity,
                }),
                Some(Activation::Relu) => dispatch(ScaleShift {
                    rows,
                    scale,
                    shift,
                    act: Relu,
                }),
                Some(Activation::Silu) => dispatch(ScaleShift {
                    rows,
                    scale,
                    shift,
                    act: Swish(1.0),
                }),
                Some(Activation::QuickGelu) => dispatch(ScaleShift {
                    rows,
                    scale,
                    shift,
                    act: Swish(1.702),
                }),
                Some(Activation::Gelu) => dispatch(ScaleShift {
                    rows,
                    scale,
                    shift,
                    act: Gelu,
                }),
                Some(Activation::GeluTanh) => dispatch(ScaleShift {
                    rows,
                    scale,
                    shift,
                    act: GeluTanh,
                }),
            }
        })))
    }

    /// The scale and the shift of each channel of an image.
    fn affine<T: Stored>(&self, x: &HostMap<T>, image: usize) -> (Vec<f32>, Vec<f32>) {
        let size = x.channels / self.groups;
        let count = (size * x.size.0 * x.size.1) as f64;
        let of_groups = |sums: Vec<f64>| {
            sums.chunks(size)
                .map(|group| group.iter().sum::<f64>() / count)
                .collect()
        };
        let means: Vec<f64> = of_groups(sums(x, image, &vec![0.0; x.channels], false));
        let centers: Vec<f32> = (0..x.channels).map(|c| means[c / size] as f32).collect();
        let variances: Vec<f64> = of_groups(sums(x, image, &centers, true));
        let scale = |(c, weight): (usize, &f32)| {
            (variances[c / size] + f64::from(self.eps)).sqrt().recip() as f32 * weight
        };
        let scales: Vec<f32> = self.affine.0.iter().enumerate().map(scale).collect();
        let shifts = self
            .affine
            .1
            .iter()
            .zip(&centers)
            .zip(&scales)
            .map(|((bias, mean), scale)| bias - mean * scale);
        let shifts = shifts.collect();
        (scales, shifts)
    }
}

/// For each channel the sum of the distances from its center, or of their squares. A row is summed
/// in f32, rows in f64, since an image may have a million pixels.
fn sums<T: Stored>(x: &HostMap<T>, image: usize, centers: &[f32], squares: bool) -> Vec<f64> {
    let mut rows = vec![0.0; x.size.0 * x.channels];
    rows.par_chunks_mut(x.channels)
        .enumerate()
        .for_each(|(y, sums)| {
            dispatch(Sums {
                row: x.row(image, y),
                centers,
                squares,
                sums,
            });
        });
    let mut total = vec![0.0; x.channels];
    for row in rows.chunks(x.channels) {
        total
            .iter_mut()
            .zip(row)
            .for_each(|(total, v)| *total += f64::from(*v));
    }
    total
}

struct Sums<'a, T> {
    row: &'a [T],
    centers: &'a [f32],
    squares: bool,
    sums: &'a mut [f32],
}

impl<T: Stored> Kernel for Sums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, simd: L::Detected) {
        let channels = self.centers.len();
        let mut from = 0;
        while from < channels {
            let to = channels.min(from + L::COUNT);
            let center: L = f32::load(simd, &self.centers[from..to]);
            // Four pixels at a time, to hide the latency of additions
            let mut sums = [L::splat(simd, 0.0); 4];
            for pixels in 0..(self.row.len() / channels).div_ceil(4) {
                for (i, sum) in sums.iter_mut().enumerate() {
                    let at = (pixels * 4 + i) * channels;
                    if at < self.row.len() {
                        let v = T::load::<L>(simd, &self.row[at + from..at + to]).sub(center);
                        *sum = if self.squares {
                            v.mul_add(v, *sum)
                        } else {
                            sum.add(v)
                        };
                    }
                }
            }
            sums[0]
                .add(sums[1])
                .add(sums[2].add(sums[3]))
                .store_rest(&mut self.sums[from..to]);
            from = to;
        }
    }
}

/// The identity.
struct Identity;

impl Map for Identity {
    #[inline(always)]
    fn map<L: Lanes>(&self, x: L) -> L {
        x
    }
}

struct ScaleShift<'a, T, F> {
    /// input and output
    rows: (&'a [T], &'a mut [T]),
    scale: &'a [f32],
    shift: &'a [f32],
    act: F,
}

impl<T: Stored, F: Map> Kernel for ScaleShift<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, simd: L::Detected) {
        let channels = self.scale.len();
        for (pixel, out) in self
            .rows
            .0
            .chunks_exact(channels)
            .zip(self.rows.1.chunks_exact_mut(channels))
        {
            let mut from = 0;
            while from < channels {
                let part = from..channels.min(from + L::COUNT);
                let scale: L = f32::load(simd, &self.scale[part.clone()]);
                let shift: L = f32::load(simd, &self.shift[part.clone()]);
                let y = T::load::<L>(simd, &pixel[part.clone()]).mul_add(scale, shift);
                T::store(self.act.map(y), &mut out[part]);
                from += L::COUNT;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::noise::{Noise, difference};

    #[test]
    fn both_paths_agree_for_odd_shapes() {
        let noise = Noise::seeded(1);
        for (channels, groups, h, w) in [
            (32, 32, 5, 7),
            (64, 32, 1, 1),
            (6, 3, 9, 2),
            (72, 24, 3, 70),
            (20, 5, 4, 4),
        ] {
            let weight = noise.tensor(channels);
            let bias = noise.tensor(channels);
            let x = noise.tensor((2, channels, h, w)).affine(2.0, 3.0).unwrap();
            for act in [
                None,
                Some(Activation::Silu),
                Some(Activation::Relu),
                Some(Activation::Gelu),
            ] {
                let norm = GroupNorm::new(weight.clone(), bias.clone(), groups, 1e-6, act).unwrap();
                let expected = norm.by_library(&x).unwrap();
                let found = norm
                    .forward(&FeatureMap::new(&x).unwrap())
                    .unwrap()
                    .to_tensor()
                    .unwrap();
                let worst = difference(&found, &expected);
                // A group of one pixel and few channels magnifies rounding errors by its
                // inverse standard deviation.
                assert!(worst < 2e-4, "{channels} {groups} {h} {w} {act:?}: {worst}");
            }
        }
    }
}

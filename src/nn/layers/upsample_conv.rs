//! Doubling of a map followed by a convolution.

use candle_core::{DType, Result, Tensor};
use half::bf16;

use crate::nn::{
    Conv2d, FeatureMap, Weights,
    cpu::{
        Values,
        direct_conv::{Phase, convolve},
        feature_map::{Cell, HostMap},
        is_cpu_f32,
        panels::Panels,
        to_vec,
    },
};

/// Doubling of both sides by repeating pixels, then a convolution of size 3 that keeps the size.
///
/// Of the nine places of the kernel several meet the same pixel: for an output in an even row the
/// first row of the kernel meets one row of pixels and the other two meet the next; in an odd row
/// it is the other way round. So each of the four kinds of output is a convolution of size 2 of the
/// small image with sums of the weights: 4/9 of the work.
#[derive(Clone, Debug)]
pub struct UpsampleConv(Kind);

#[derive(Clone, Debug)]
enum Kind {
    F32(Phases<f32>),
    Bf16(Phases<bf16>),
    /// One convolution of the large image, by the tensor library.
    Whole(Conv2d),
}

/// The weights of the four kinds of outputs: even and odd rows, in each even and odd columns.
#[derive(Clone, Debug)]
struct Phases<T>([Panels<T>; 4]);

impl UpsampleConv {
    /// Bytes that the weights between so many channels take in main memory, except for padding: four
    /// kinds of outputs with 2 x 2 weights each.
    pub fn bytes_for(inputs: usize, outputs: usize, dtype: DType) -> u64 {
        (4 * 4 * inputs * outputs * dtype.size_in_bytes()) as u64
    }

    /// The convolution below `w`.
    pub fn load(w: &Weights) -> crate::Result<Self> {
        let [outputs, inputs, height, width] = w.dims("weight")?;
        if (height, width) != (3, 3) {
            return Err(w.mismatch(
                "weight",
                "a kernel of size 3 x 3",
                format!("{height} x {width}"),
            ));
        }
        let weight = w.get((outputs, inputs, 3, 3), "weight")?;
        let bias = w.get(outputs, "bias")?;
        let values = weight.elem_count() + outputs;
        if !w.has_values() {
            return Self::measured(w, weight, bias);
        }
        let conv = Self::kept_as(
            w.dtype().of_activations(),
            weight,
            bias.reshape((1, outputs, 1, 1))?,
        )?;
        match &conv.0 {
            Kind::F32(phases) => w.keep_instead(values, phases.bytes()),
            Kind::Bf16(phases) => w.keep_instead(values, phases.bytes()),
            Kind::Whole(_) => {}
        }
        Ok(conv)
    }

    /// A layer of stand-ins, which counts what [`UpsampleConv::load`] would keep.
    fn measured(w: &Weights, weight: Tensor, bias: Tensor) -> crate::Result<Self> {
        let (outputs, inputs, _, _) = weight.dims4()?;
        let phase = [outputs, 4, inputs];
        if w.device().is_cpu() {
            let bytes = match w.dtype().of_activations() {
                DType::BF16 => Panels::<bf16>::bytes_for(phase),
                _ => Panels::<f32>::bytes_for(phase),
            };
            w.keep_instead(weight.elem_count() + outputs, 4 * bytes);
        }
        let bias = bias.reshape((1, outputs, 1, 1))?;
        let whole = Conv2d::served_by_library(weight, bias, 1, 1)?;
        Ok(Self(Kind::Whole(whole)))
    }

    fn kept_as(dtype: DType, weight: Tensor, bias: Tensor) -> Result<Self> {
        Ok(Self(match dtype {
            _ if !is_cpu_f32(&weight) => Kind::Whole(Conv2d::kept_as(dtype, weight, bias, 1, 1)?),
            DType::BF16 => Kind::Bf16(Phases::new(&weight, &bias)?),
            _ => Kind::F32(Phases::new(&weight, &bias)?),
        }))
    }

    /// Floating-point operations for this number of output positions, as they are usually counted.
    pub fn flops(&self, positions: usize) -> f64 {
        let counted =
            |inputs: usize, outputs: usize| 2.0 * 9.0 * (positions * inputs * outputs) as f64;
        match &self.0 {
            Kind::F32(Phases([panels, ..])) => counted(panels.inputs(), panels.outputs()),
            Kind::Bf16(Phases([panels, ..])) => counted(panels.inputs(), panels.outputs()),
            Kind::Whole(conv) => conv.flops(positions),
        }
    }

    /// (B, inputs, H, W) -> (B, outputs, 2 H, 2 W)
    pub fn forward(&self, x: &FeatureMap) -> Result<FeatureMap> {
        match &self.0 {
            Kind::F32(phases) => phases.forward(x),
            Kind::Bf16(phases) => phases.forward(x),
            Kind::Whole(conv) => {
                let x = x.to_tensor()?;
                let (_, _, h, w) = x.dims4()?;
                conv.forward(&FeatureMap::new(&x.upsample_nearest2d(2 * h, 2 * w)?)?)
            }
        }
    }
}

impl<T: Cell> Phases<T> {
    fn new(weight: &Tensor, bias: &Tensor) -> Result<Self> {
        let (outputs, inputs, _, _) = weight.dims4()?;
        let weight = weight.contiguous()?;
        let weight: &[f32] = &Values::from_f32(&weight)?;
        let bias = to_vec(bias)?;
        let meeting = |odd: usize, tap: usize| [[0..1, 1..3], [0..2, 2..3]][odd][tap].clone();
        let phase = |i: usize| {
            let value = |output: usize, tap: usize, input: usize| {
                let kernel = &weight[(output * inputs + input) * 9..][..9];
                let rows = meeting(i / 2, tap / 2);
                rows.flat_map(|row| {
                    meeting(i % 2, tap % 2).map(move |column| kernel[row * 3 + column])
                })
                .sum()
            };
            Panels::new([outputs, 4, inputs], value, Some(&bias))
        };
        Ok(Self([0, 1, 2, 3].map(phase)))
    }

    fn bytes(&self) -> u64 {
        self.0.iter().map(Panels::bytes).sum()
    }

    fn forward(&self, x: &FeatureMap) -> Result<FeatureMap> {
        let Self(phases) = self;
        let map = x.to_host::<T>()?;
        let map = map.with_border(1);
        let map = map.filled_up(phases[0].inputs(), phases[0].row_width())?;
        let mut out = HostMap::zeros(
            map.images,
            (2 * map.size.0, 2 * map.size.1),
            phases[0].outputs(),
            0,
        );
        let stride = map.row_stride();
        let channels = map.channels;
        let corner = map.border - 1;
        let offsets = |i: usize| {
            [0, 1, 2, 3].map(|tap| {
                (tap / 2 + i / 2 + corner) * stride + (tap % 2 + i % 2 + corner) * channels
            })
        };
        let offsets = [0, 1, 2, 3].map(offsets);
        let phase = |i: usize| Phase {
            panels: &phases[i],
            taps: &offsets[i],
            at: (i / 2, i % 2),
            step: 2,
        };
        convolve(&map, &mut out, &[0, 1, 2, 3].map(phase), false)?;
        Ok(T::any(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::noise::{Noise, difference};

    #[test]
    fn doubling_and_convolving_matches_one_after_the_other() {
        let noise = Noise::seeded(2);
        for (inputs, h, w) in [(6, 1, 1), (5, 3, 5), (6, 40, 7), (7, 2, 300)] {
            let weight = noise.tensor((35, inputs, 3, 3));
            let bias = noise.tensor((1, 35, 1, 1));
            let x = noise.tensor((2, inputs, h, w));
            let doubled = x.upsample_nearest2d(2 * h, 2 * w).unwrap();
            let expected = doubled
                .conv2d(&weight, 1, 1, 1, 1)
                .unwrap()
                .broadcast_add(&bias)
                .unwrap();
            let largest = expected
                .abs()
                .unwrap()
                .max_all()
                .unwrap()
                .to_scalar::<f32>()
                .unwrap();
            for (dtype, limit) in [(DType::F32, 1e-5), (DType::BF16, 2e-2)] {
                let conv = UpsampleConv::kept_as(dtype, weight.clone(), bias.clone()).unwrap();
                let found = conv
                    .forward(&FeatureMap::new(&x).unwrap())
                    .unwrap()
                    .to_tensor()
                    .unwrap();
                let worst = difference(&found, &expected) / largest;
                assert!(worst < limit, "{dtype:?} {inputs} {h} {w}: {worst:e}");
            }
        }
    }
}

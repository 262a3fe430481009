//! Convolutions of feature maps.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::{
    FeatureMap, Weights,
    cpu::{is_cpu_f32, to_vec},
    feature_map::HostMap,
    panels::{Panels, Results, Rows},
};

/// A 2-D convolution with bias and square kernel.
#[derive(Clone, Debug)]
pub struct Conv2d {
    weight: Tensor,
    bias: Tensor,           // (1, C, 1, 1)
    panels: Option<Panels>, // what the kernels of this crate read
    stride: usize,
    padding: usize,
}

impl Conv2d {
    /// `weight` (outputs, inputs, size, size) and `bias` below `w`; the sizes are the file's.
    pub fn load(w: &Weights, stride: usize, padding: usize) -> crate::Result<Self> {
        let [outputs, inputs, height, width] = w.dims("weight")?;
        let bias = w.get(outputs, "bias")?.reshape((1, outputs, 1, 1))?;
        Ok(Self::new(w.get((outputs, inputs, height, width), "weight")?, bias, stride, padding)?)
    }

    fn new(weight: Tensor, bias: Tensor, stride: usize, padding: usize) -> Result<Self> {
        let (outputs, inputs, height, width) = weight.dims4()?;
        let panels = if is_cpu_f32(&weight) && stride == 1 {
            let (weight, taps) = (to_vec(&weight)?, height * width);
            let value = |output, tap, input| weight[(output * inputs + input) * taps + tap];
            Some(Panels::new([outputs, taps, inputs], value, Some(&to_vec(&bias)?)))
        } else {
            None
        };
        Ok(Self { weight, bias, panels, stride, padding })
    }

    /// Channels that come in.
    pub fn inputs(&self) -> usize {
        self.weight.dims()[1]
    }

    /// Channels that go out.
    pub fn outputs(&self) -> usize {
        self.weight.dims()[0]
    }

    /// Floating-point operations for so many output positions.
    pub fn flops(&self, positions: usize) -> f64 {
        2.0 * positions as f64 * self.weight.elem_count() as f64
    }

    /// (B, inputs, H, W) -> (B, outputs, H', W')
    pub fn forward(&self, x: &FeatureMap) -> Result<FeatureMap> {
        let (FeatureMap::Host(map), Some(panels)) = (x, &self.panels) else {
            return FeatureMap::new(&self.by_library(&x.to_tensor()?)?);
        };
        let (_, _, height, width) = self.weight.dims4()?;
        let map = map.with_border(self.padding);
        let size = (map.size.0 + 2 * self.padding + 1 - height, map.size.1 + 2 * self.padding + 1 - width);
        let mut out = HostMap::zeros(map.pictures, size, panels.outputs(), 0);
        self.run(panels, &map, &mut out, false)?;
        Ok(FeatureMap::Host(out))
    }

    /// `onto + forward(x)`, for a result of the size of `onto`.
    pub fn forward_onto(&self, x: &FeatureMap, onto: FeatureMap) -> Result<FeatureMap> {
        match (x, onto, &self.panels) {
            (FeatureMap::Host(map), FeatureMap::Host(mut out), Some(panels)) => {
                self.run(panels, &map.with_border(self.padding), &mut out, true)?;
                Ok(FeatureMap::Host(out))
            }
            (x, onto, _) => FeatureMap::new(&(onto.to_tensor()? + self.forward(x)?.to_tensor()?)?),
        }
    }

    fn by_library(&self, x: &Tensor) -> Result<Tensor> {
        x.conv2d(&self.weight, self.padding, self.stride, 1, 1)?.broadcast_add(&self.bias)
    }

    fn run(&self, panels: &Panels, x: &HostMap, out: &mut HostMap, add: bool) -> Result<()> {
        let (_, _, height, width) = self.weight.dims4()?;
        let (stride, corner) = (x.row_stride(), x.border - self.padding); // the kernel's reach at the first output
        let taps: Vec<usize> =
            (0..height * width).map(|i| (i / width + corner) * stride + (i % width + corner) * x.channels).collect();
        let phase = Phase { panels, taps: &taps, at: (0, 0), step: 1 };
        convolve(x, out, &[phase], add)
    }
}

/// Doubling of both sides by repeating pixels, then a convolution of size 3 that keeps the size.
///
/// Of the nine places of the kernel several meet the same pixel: for an output in an even row the first row of the
/// kernel meets one row of pixels and the other two meet the next; in an odd row it is the other way round. So each of
/// the four kinds of output is a convolution of size 2 of the small picture with sums of the weights: 4/9 of the work.
#[derive(Clone, Debug)]
pub struct UpsampleConv {
    conv: Conv2d,
    phases: Vec<Panels>, // even and odd rows, in each even and odd columns; none if left to the tensor library
}

impl UpsampleConv {
    /// The convolution below `w`.
    pub fn load(w: &Weights) -> crate::Result<Self> {
        let conv = Conv2d::load(w, 1, 1)?;
        match conv.weight.dims()[2..] {
            [3, 3] => Ok(Self::new(conv)?),
            ref other => Err(w.mismatch("weight", "a kernel of size 3 x 3", format!("{other:?}"))),
        }
    }

    fn new(conv: Conv2d) -> Result<Self> {
        let (outputs, inputs) = (conv.outputs(), conv.inputs());
        if !is_cpu_f32(&conv.weight) {
            return Ok(Self { conv, phases: Vec::new() });
        }
        let (weight, bias) = (to_vec(&conv.weight)?, to_vec(&conv.bias)?);
        let meeting = |odd: usize, tap: usize| [[0..1, 1..3], [0..2, 2..3]][odd][tap].clone();
        let phase = |i: usize| {
            let value = |output: usize, tap: usize, input: usize| {
                let kernel = &weight[(output * inputs + input) * 9..][..9];
                let rows = meeting(i / 2, tap / 2);
                rows.flat_map(|row| meeting(i % 2, tap % 2).map(move |column| kernel[row * 3 + column])).sum()
            };
            Panels::new([outputs, 4, inputs], value, Some(&bias))
        };
        let phases = (0..4).map(phase).collect();
        Ok(Self { conv, phases })
    }

    /// Floating-point operations for so many output positions, as they are usually counted.
    pub fn flops(&self, positions: usize) -> f64 {
        self.conv.flops(positions)
    }

    /// (B, inputs, H, W) -> (B, outputs, 2 H, 2 W)
    pub fn forward(&self, x: &FeatureMap) -> Result<FeatureMap> {
        let map = match x {
            FeatureMap::Host(map) if !self.phases.is_empty() => map.with_border(1),
            x => {
                let x = x.to_tensor()?;
                let (_, _, h, w) = x.dims4()?;
                return FeatureMap::new(&self.conv.by_library(&x.upsample_nearest2d(2 * h, 2 * w)?)?);
            }
        };
        let mut out = HostMap::zeros(map.pictures, (2 * map.size.0, 2 * map.size.1), self.conv.outputs(), 0);
        let (stride, channels, corner) = (map.row_stride(), map.channels, map.border - 1);
        let offsets = |i: usize| {
            [0, 1, 2, 3].map(|tap| (tap / 2 + i / 2 + corner) * stride + (tap % 2 + i % 2 + corner) * channels)
        };
        let offsets: Vec<_> = (0..4).map(offsets).collect();
        let phase = |i: usize| Phase { panels: &self.phases[i], taps: &offsets[i], at: (i / 2, i % 2), step: 2 };
        convolve(&map, &mut out, &[0, 1, 2, 3].map(phase), false)?;
        Ok(FeatureMap::Host(out))
    }
}

/// The outputs that begin at `at` and lie `step` apart, all served by the same weights.
struct Phase<'a> {
    panels: &'a Panels,
    /// Where the values for a tap lie, from the corner of the border on, for the first output.
    taps: &'a [usize],
    at: (usize, usize),
    step: usize,
}

/// Output rows that are computed together hold about so many pixels: one panel of weights after the other serves them,
/// and their inputs stay in a core's cache.
const BAND: usize = 512;

/// Output pixel (y, x) of a phase reads from input pixel (y, x) on.
fn convolve(x: &HostMap, out: &mut HostMap, phases: &[Phase], add: bool) -> Result<()> {
    let Some(first) = phases.first() else { return Ok(()) };
    let (step, (height, width)) = (first.step, out.size);
    if x.channels != first.panels.inputs() {
        candle_core::bail!("a map of {} channels was expected, one of {} came", first.panels.inputs(), x.channels);
    }
    if out.pictures != x.pictures || out.channels != first.panels.outputs() || out.border != 0 {
        candle_core::bail!("the result of a convolution does not fit the map that it is added to");
    }
    let (stride, channels) = (out.row_stride(), out.channels);
    let rows = (BAND / width.max(1)).clamp(1, height.max(1)).next_multiple_of(step);
    let bands = height.div_ceil(rows);
    let of_picture = out.values.chunks_mut((height * stride).max(1)).enumerate();
    let tasks = of_picture.flat_map(|(i, picture)| picture.chunks_mut(rows * stride).enumerate().map(move |b| (i, b)));
    let tasks: Vec<_> = tasks.collect();
    debug_assert_eq!(tasks.len(), bands * x.pictures);
    tasks.into_par_iter().for_each(|(picture, (band, values))| {
        let origin = picture * x.picture_stride() + band * rows / step * x.row_stride();
        for phase in phases {
            for panel in 0..phase.panels.count() {
                for (i, y) in (phase.at.0..values.len() / stride).step_by(step).enumerate() {
                    let first = origin + i * x.row_stride();
                    let count = (width - phase.at.1).div_ceil(step);
                    let from = Rows { values: &x.values, first, stride: x.channels, taps: phase.taps, count };
                    let first = y * stride + phase.at.1 * channels;
                    let to = Results { values, first, stride: step * channels, add };
                    phase.panels.multiply(panel, from, to);
                }
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn random(shape: (usize, usize, usize, usize)) -> Tensor {
        Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap()
    }

    fn difference(found: &FeatureMap, expected: &Tensor) -> f32 {
        let difference = (found.to_tensor().unwrap() - expected).unwrap().abs().unwrap();
        difference.max_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn convolutions_match_the_library_for_odd_shapes() {
        for (size, padding, h, w) in [(3, 1, 1, 1), (3, 1, 37, 41), (1, 0, 5, 7), (3, 0, 4, 9), (3, 1, 2, 600)] {
            for outputs in [3, 38] {
                let conv =
                    Conv2d::new(random((outputs, 5, size, size)), random((1, outputs, 1, 1)), 1, padding).unwrap();
                let x = random((2, 5, h, w));
                let expected = conv.by_library(&x).unwrap();
                let x = FeatureMap::new(&x).unwrap();
                let found = conv.forward(&x).unwrap();
                assert!(difference(&found, &expected) < 1e-4, "{size} {padding} {h} {w}");
                let twice = conv.forward_onto(&x, found).unwrap();
                assert!(difference(&twice, &(expected * 2.0).unwrap()) < 1e-4, "{size} {padding} {h} {w}");
            }
        }
    }

    #[test]
    fn doubling_and_convolving_matches_one_after_the_other() {
        for (h, w) in [(1, 1), (3, 5), (40, 7), (2, 300)] {
            let conv = Conv2d::new(random((35, 6, 3, 3)), random((1, 35, 1, 1)), 1, 1).unwrap();
            let x = random((2, 6, h, w));
            let expected = conv.by_library(&x.upsample_nearest2d(2 * h, 2 * w).unwrap()).unwrap();
            let found = UpsampleConv::new(conv).unwrap().forward(&FeatureMap::new(&x).unwrap()).unwrap();
            assert!(difference(&found, &expected) < 1e-4, "{h} {w}");
        }
    }

    #[test]
    fn a_picture_has_the_same_bits_alone_and_in_company() {
        let conv = Conv2d::new(random((40, 6, 3, 3)), random((1, 40, 1, 1)), 1, 1).unwrap();
        let x = random((3, 6, 30, 31));
        let together = conv.forward(&FeatureMap::new(&x).unwrap()).unwrap().to_tensor().unwrap();
        for i in 0..3 {
            let alone = conv.forward(&FeatureMap::new(&x.narrow(0, i, 1).unwrap()).unwrap()).unwrap();
            assert_eq!(difference(&alone, &together.narrow(0, i, 1).unwrap()), 0.0);
        }
    }
}

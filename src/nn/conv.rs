//! Convolutions of feature maps.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::{
    FeatureMap, Weights,
    cpu::{is_cpu_f32, to_vec},
    feature_map::HostMap,
    panels::{Panels, Results, Rows},
    winograd::Winograd,
};

/// Channels from which on transforming tiles costs less than it saves.
const MANY_CHANNELS: usize = 96;

/// A 2-D convolution with bias and square kernel.
#[derive(Clone, Debug)]
pub struct Conv2d {
    kernel: Kernel,
    shape: [usize; 4], // outputs, inputs, height and width of the kernel
    stride: usize,
    padding: usize,
}

#[derive(Clone, Debug)]
enum Kernel {
    /// Every place of the kernel is a product.
    Direct(Panels),
    /// Fewer products of sums, for kernels of size 3 with a border of 1.
    Tiled(Winograd),
    /// Served by the tensor library: weight, bias (1, C, 1, 1).
    Library(Tensor, Tensor),
}

impl Conv2d {
    /// `weight` (outputs, inputs, size, size) and `bias` below `w`; the sizes are the file's.
    pub fn load(w: &Weights, stride: usize, padding: usize) -> crate::Result<Self> {
        let [outputs, inputs, height, width] = w.dims("weight")?;
        let bias = w.get(outputs, "bias")?.reshape((1, outputs, 1, 1))?;
        let conv = Self::new(w.get((outputs, inputs, height, width), "weight")?, bias, stride, padding)?;
        if let Kernel::Direct(panels) = &conv.kernel {
            w.keep_instead(conv.values(), panels.bytes());
        }
        Ok(conv)
    }

    /// `weight` alone below `w`.
    pub fn load_no_bias(w: &Weights, stride: usize, padding: usize) -> crate::Result<Self> {
        let [outputs, inputs, height, width] = w.dims("weight")?;
        let weight = w.get((outputs, inputs, height, width), "weight")?;
        let bias = Tensor::zeros((1, outputs, 1, 1), weight.dtype(), weight.device())?;
        Ok(Self::new(weight, bias, stride, padding)?)
    }

    /// [`Conv2d::load`] for large maps of many channels, where a kernel of size 3 with a border of 1 takes a quarter of the
    /// multiplications at four times the memory for its weights.
    pub fn load_for_large_maps(w: &Weights, stride: usize, padding: usize) -> crate::Result<Self> {
        let [outputs, inputs, height, width] = w.dims("weight")?;
        let many = inputs.min(outputs) >= MANY_CHANNELS && Winograd::fits(inputs, outputs);
        if !many || (height, width, stride, padding) != (3, 3, 1, 1) || !w.device().is_cpu() {
            return Self::load(w, stride, padding);
        }
        let weight = to_vec(&w.get((outputs, inputs, height, width), "weight")?)?;
        let tiled = Winograd::new(&weight, [outputs, inputs], &to_vec(&w.get(outputs, "bias")?)?);
        w.keep_instead(weight.len() + outputs, tiled.bytes());
        Ok(Self { kernel: Kernel::Tiled(tiled), shape: [outputs, inputs, height, width], stride, padding })
    }

    fn new(weight: Tensor, bias: Tensor, stride: usize, padding: usize) -> Result<Self> {
        let (outputs, inputs, height, width) = weight.dims4()?;
        let shape = [outputs, inputs, height, width];
        let kernel = if is_cpu_f32(&weight) && stride == 1 {
            let (weight, taps) = (to_vec(&weight)?, height * width);
            let value = |output, tap, input| weight[(output * inputs + input) * taps + tap];
            Kernel::Direct(Panels::new([outputs, taps, inputs], value, Some(&to_vec(&bias)?)))
        } else {
            Kernel::Library(weight, bias)
        };
        Ok(Self { kernel, shape, stride, padding })
    }

    /// Numbers in weight and bias.
    fn values(&self) -> usize {
        self.shape.iter().product::<usize>() + self.shape[0]
    }

    /// Channels that come in.
    pub fn inputs(&self) -> usize {
        self.shape[1]
    }

    /// Channels that go out.
    pub fn outputs(&self) -> usize {
        self.shape[0]
    }

    /// Floating-point operations for so many output positions, as they are usually counted.
    pub fn flops(&self, positions: usize) -> f64 {
        2.0 * positions as f64 * self.shape.iter().product::<usize>() as f64
    }

    /// (B, inputs, H, W) -> (B, outputs, H', W')
    pub fn forward(&self, x: &FeatureMap) -> Result<FeatureMap> {
        if let Kernel::Library(weight, bias) = &self.kernel {
            let y = x.to_tensor()?.conv2d(weight, self.padding, self.stride, 1, 1)?;
            return FeatureMap::new(&y.broadcast_add(bias)?);
        }
        let map = x.to_host()?;
        let [outputs, _, height, width] = self.shape;
        let grown = |size: usize, kernel: usize| (size + 2 * self.padding + 1).saturating_sub(kernel);
        let mut out = HostMap::zeros(map.pictures, (grown(map.size.0, height), grown(map.size.1, width)), outputs, 0);
        self.run(&map, &mut out, false)?;
        Ok(FeatureMap::Host(out))
    }

    /// `onto + forward(x)`, for a result of the size of `onto`.
    pub fn forward_onto(&self, x: &FeatureMap, onto: FeatureMap) -> Result<FeatureMap> {
        match (&self.kernel, onto) {
            (Kernel::Direct(_) | Kernel::Tiled(_), FeatureMap::Host(mut out)) => {
                self.run(&*x.to_host()?, &mut out, true)?;
                Ok(FeatureMap::Host(out))
            }
            (_, onto) => FeatureMap::new(&(onto.to_tensor()? + self.forward(x)?.to_tensor()?)?),
        }
    }

    fn run(&self, x: &HostMap, out: &mut HostMap, add: bool) -> Result<()> {
        let x = x.with_border(self.padding);
        let [_, _, height, width] = self.shape;
        match &self.kernel {
            Kernel::Direct(panels) => {
                let (stride, corner) = (x.row_stride(), x.border - self.padding); // the reach at the first output
                let tap = |i: usize| (i / width + corner) * stride + (i % width + corner) * x.channels;
                let taps: Vec<usize> = (0..height * width).map(tap).collect();
                convolve(&x, out, &[Phase { panels, taps: &taps, at: (0, 0), step: 1 }], add)
            }
            Kernel::Tiled(tiled) => tiled.run(&x, out, add),
            Kernel::Library(..) => candle_core::bail!("this convolution is left to the tensor library"),
        }
    }
}

/// Doubling of both sides by repeating pixels, then a convolution of size 3 that keeps the size.
///
/// Of the nine places of the kernel several meet the same pixel: for an output in an even row the first row of the
/// kernel meets one row of pixels and the other two meet the next; in an odd row it is the other way round. So each of
/// the four kinds of output is a convolution of size 2 of the small picture with sums of the weights: 4/9 of the work.
#[derive(Clone, Debug)]
pub struct UpsampleConv(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// Even and odd rows, in each even and odd columns.
    Phases([Panels; 4]),
    /// One convolution of the large picture, by the tensor library.
    Whole(Conv2d),
}

impl UpsampleConv {
    /// The convolution below `w`.
    pub fn load(w: &Weights) -> crate::Result<Self> {
        let [outputs, inputs, height, width] = w.dims("weight")?;
        if (height, width) != (3, 3) {
            return Err(w.mismatch("weight", "a kernel of size 3 x 3", format!("{height} x {width}")));
        }
        let (weight, bias) = (w.get((outputs, inputs, 3, 3), "weight")?, w.get(outputs, "bias")?);
        let values = weight.elem_count() + outputs;
        let conv = Self::new(weight, bias.reshape((1, outputs, 1, 1))?)?;
        if let Kind::Phases(phases) = &conv.0 {
            w.keep_instead(values, phases.iter().map(Panels::bytes).sum());
        }
        Ok(conv)
    }

    fn new(weight: Tensor, bias: Tensor) -> Result<Self> {
        if is_cpu_f32(&weight) {
            return Ok(Self(Kind::Phases(phases(&weight, &bias)?)));
        }
        Ok(Self(Kind::Whole(Conv2d::new(weight, bias, 1, 1)?)))
    }

    /// Floating-point operations for so many output positions, as they are usually counted.
    pub fn flops(&self, positions: usize) -> f64 {
        match &self.0 {
            Kind::Phases([panels, ..]) => 2.0 * 9.0 * (positions * panels.inputs() * panels.outputs()) as f64,
            Kind::Whole(conv) => conv.flops(positions),
        }
    }

    /// (B, inputs, H, W) -> (B, outputs, 2 H, 2 W)
    pub fn forward(&self, x: &FeatureMap) -> Result<FeatureMap> {
        let phases = match &self.0 {
            Kind::Phases(phases) => phases,
            Kind::Whole(conv) => {
                let x = x.to_tensor()?;
                let (_, _, h, w) = x.dims4()?;
                return conv.forward(&FeatureMap::Tensor(x.upsample_nearest2d(2 * h, 2 * w)?));
            }
        };
        let map = x.to_host()?;
        let map = map.with_border(1);
        let mut out = HostMap::zeros(map.pictures, (2 * map.size.0, 2 * map.size.1), phases[0].outputs(), 0);
        let (stride, channels, corner) = (map.row_stride(), map.channels, map.border - 1);
        let offsets = |i: usize| {
            [0, 1, 2, 3].map(|tap| (tap / 2 + i / 2 + corner) * stride + (tap % 2 + i % 2 + corner) * channels)
        };
        let offsets = [0, 1, 2, 3].map(offsets);
        let phase = |i: usize| Phase { panels: &phases[i], taps: &offsets[i], at: (i / 2, i % 2), step: 2 };
        convolve(&map, &mut out, &[0, 1, 2, 3].map(phase), false)?;
        Ok(FeatureMap::Host(out))
    }
}

/// The weights of the four kinds of outputs: even and odd rows, in each even and odd columns.
fn phases(weight: &Tensor, bias: &Tensor) -> Result<[Panels; 4]> {
    let (outputs, inputs, _, _) = weight.dims4()?;
    let (weight, bias) = (to_vec(weight)?, to_vec(bias)?);
    let meeting = |odd: usize, tap: usize| [[0..1, 1..3], [0..2, 2..3]][odd][tap].clone();
    let phase = |i: usize| {
        let value = |output: usize, tap: usize, input: usize| {
            let kernel = &weight[(output * inputs + input) * 9..][..9];
            let rows = meeting(i / 2, tap / 2);
            rows.flat_map(|row| meeting(i % 2, tap % 2).map(move |column| kernel[row * 3 + column])).sum()
        };
        Panels::new([outputs, 4, inputs], value, Some(&bias))
    };
    Ok([0, 1, 2, 3].map(phase))
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
    out.bands(rows).into_par_iter().for_each(|(picture, (band, values))| {
        let origin = picture * x.picture_stride() + band * rows / step * x.row_stride();
        for phase in phases {
            for panel in 0..phase.panels.count() {
                let column = phase.panels.columns(&(panel..panel + 1)).start;
                for (i, y) in (phase.at.0..values.len() / stride).step_by(step).enumerate() {
                    let first = origin + i * x.row_stride();
                    let count = (width - phase.at.1).div_ceil(step);
                    let from = Rows { values: &x.values, first, stride: x.channels, taps: phase.taps, count };
                    let first = y * stride + phase.at.1 * channels + column;
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
    use crate::nn::noise::{self, Noise};

    fn by_library(x: &Tensor, weight: &Tensor, bias: &Tensor, padding: usize) -> Tensor {
        x.conv2d(weight, padding, 1, 1, 1).unwrap().broadcast_add(bias).unwrap()
    }

    fn difference(found: &FeatureMap, expected: &Tensor) -> f32 {
        noise::difference(&found.to_tensor().unwrap(), expected)
    }

    #[test]
    fn convolutions_match_the_library_for_odd_shapes() {
        let noise = Noise::seeded(1);
        for (size, padding, h, w) in [(3, 1, 1, 1), (3, 1, 37, 41), (1, 0, 5, 7), (3, 0, 4, 9), (3, 1, 2, 600)] {
            for outputs in [3, 38] {
                let (weight, bias) = (noise.of((outputs, 5, size, size)), noise.of((1, outputs, 1, 1)));
                let conv = Conv2d::new(weight.clone(), bias.clone(), 1, padding).unwrap();
                let x = noise.of((2, 5, h, w));
                let expected = by_library(&x, &weight, &bias, padding);
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
        let noise = Noise::seeded(2);
        for (h, w) in [(1, 1), (3, 5), (40, 7), (2, 300)] {
            let (weight, bias) = (noise.of((35, 6, 3, 3)), noise.of((1, 35, 1, 1)));
            let x = noise.of((2, 6, h, w));
            let expected = by_library(&x.upsample_nearest2d(2 * h, 2 * w).unwrap(), &weight, &bias, 1);
            let found = UpsampleConv::new(weight, bias).unwrap().forward(&FeatureMap::new(&x).unwrap()).unwrap();
            assert!(difference(&found, &expected) < 1e-4, "{h} {w}");
        }
    }

    /// A convolution as it is for large maps.
    fn tiled(weight: &Tensor, bias: &Tensor) -> Conv2d {
        let (outputs, inputs, height, width) = weight.dims4().unwrap();
        let kernel = Winograd::new(&to_vec(weight).unwrap(), [outputs, inputs], &to_vec(bias).unwrap());
        Conv2d { kernel: Kernel::Tiled(kernel), shape: [outputs, inputs, height, width], stride: 1, padding: 1 }
    }

    #[test]
    fn tiles_give_what_the_definition_gives() {
        let noise = Noise::seeded(3);
        for (inputs, outputs, h, w) in [(16, 48, 1, 1), (32, 16, 4, 4), (16, 16, 37, 41), (128, 128, 5, 300)] {
            let (weight, bias) = (noise.of((outputs, inputs, 3, 3)), noise.of((1, outputs, 1, 1)));
            let (x, conv) = (noise.of((2, inputs, h, w)), tiled(&weight, &bias));
            let expected = by_library(&x, &weight, &bias, 1);
            let largest = expected.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            let x = FeatureMap::new(&x).unwrap();
            let found = conv.forward(&x).unwrap();
            let worst = difference(&found, &expected) / largest;
            println!("{inputs} {outputs} {h} {w}: {worst:e} of the largest value");
            assert!(worst < 2e-5, "{inputs} {outputs} {h} {w}: {worst:e}");
            let twice = conv.forward_onto(&x, found).unwrap();
            assert!(difference(&twice, &(expected * 2.0).unwrap()) / largest < 4e-5);
        }
    }

    #[test]
    fn a_picture_has_the_same_bits_alone_and_in_company() {
        let noise = Noise::seeded(4);
        let direct = Conv2d::new(noise.of((40, 16, 3, 3)), noise.of((1, 40, 1, 1)), 1, 1).unwrap();
        for conv in [direct, tiled(&noise.of((48, 16, 3, 3)), &noise.of((1, 48, 1, 1)))] {
            let x = noise.of((3, 16, 30, 31));
            let together = conv.forward(&FeatureMap::new(&x).unwrap()).unwrap().to_tensor().unwrap();
            for i in 0..3 {
                let alone = conv.forward(&FeatureMap::new(&x.narrow(0, i, 1).unwrap()).unwrap()).unwrap();
                assert_eq!(difference(&alone, &together.narrow(0, i, 1).unwrap()), 0.0);
            }
        }
    }
}

//! Convolutions of feature maps.

use candle_core::{DType, Result, Tensor};
use half::bf16;

use crate::nn::{
    FeatureMap, Weights,
    cpu::{
        Values,
        direct_conv::{Phase, convolve},
        feature_map::{Cell, Held, HostMap},
        is_cpu_f32,
        panels::Panels,
        to_vec,
        winograd::Winograd,
    },
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
    F32(Products<f32>),
    Bf16(Products<bf16>),
    /// Served by the tensor library: weight, bias (1, C, 1, 1).
    Library(Tensor, Tensor),
}

/// Weights in the form that this crate's kernels use for maps of `T`.
#[derive(Clone, Debug)]
enum Products<T> {
    /// Every place of the kernel.
    Direct(Panels<T>),
    /// Fewer products of sums, in f32, for kernels of size 3 with a border of 1.
    Tiled(Winograd),
}

/// Returns whether a convolution of these weights, with a stride and a border of 1, is computed by
/// tiles.
fn is_tiled([outputs, inputs, height, width]: [usize; 4]) -> bool {
    let many = inputs.min(outputs) >= MANY_CHANNELS && Winograd::fits(inputs, outputs);
    many && (height, width) == (3, 3)
}

impl Conv2d {
    /// `weight` (outputs, inputs, size, size) and `bias` below `w`; the sizes are the file's.
    pub fn load(w: &Weights, stride: usize, padding: usize) -> crate::Result<Self> {
        let [outputs, inputs, height, width] = w.dims("weight")?;
        let bias = w.get(outputs, "bias")?.reshape((1, outputs, 1, 1))?;
        let weight = w.get((outputs, inputs, height, width), "weight")?;
        if !w.has_values() {
            return Self::measured(w, weight, bias, stride, padding);
        }
        let conv = Self::kept_as(w.dtype().of_activations(), weight, bias, stride, padding)?;
        conv.count(w);
        Ok(conv)
    }

    /// A layer of stand-ins, which counts what [`Conv2d::load`] would keep.
    fn measured(
        w: &Weights,
        weight: Tensor,
        bias: Tensor,
        stride: usize,
        padding: usize,
    ) -> crate::Result<Self> {
        let (outputs, inputs, height, width) = weight.dims4()?;
        let shape = [outputs, height * width, inputs];
        if w.device().is_cpu() && stride == 1 {
            let bytes = match w.dtype().of_activations() {
                DType::BF16 => Panels::<bf16>::bytes_for(shape),
                _ => Panels::<f32>::bytes_for(shape),
            };
            w.keep_instead(weight.elem_count() + outputs, bytes);
        }
        Ok(Self::served_by_library(weight, bias, stride, padding)?)
    }

    /// A convolution by the tensor library: `weight` (outputs, inputs, height, width), `bias` (1,
    /// outputs, 1, 1).
    pub(super) fn served_by_library(
        weight: Tensor,
        bias: Tensor,
        stride: usize,
        padding: usize,
    ) -> Result<Self> {
        let (outputs, inputs, height, width) = weight.dims4()?;
        Ok(Self {
            kernel: Kernel::Library(weight, bias),
            shape: [outputs, inputs, height, width],
            stride,
            padding,
        })
    }

    /// `weight` alone below `w`.
    pub fn load_no_bias(w: &Weights, stride: usize, padding: usize) -> crate::Result<Self> {
        let [outputs, inputs, height, width] = w.dims("weight")?;
        let weight = w.get((outputs, inputs, height, width), "weight")?;
        let bias = Tensor::zeros((1, outputs, 1, 1), weight.dtype(), weight.device())?;
        if !w.has_values() {
            return Ok(Self::served_by_library(weight, bias, stride, padding)?);
        }
        Ok(Self::kept_as(
            w.dtype().of_activations(),
            weight,
            bias,
            stride,
            padding,
        )?)
    }

    /// [`Conv2d::load`] for large maps of many channels, where a kernel of size 3 with a border of
    /// 1 takes a quarter of the multiplications at four times the memory for its weights.
    pub fn load_for_large_maps(w: &Weights, stride: usize, padding: usize) -> crate::Result<Self> {
        let shape = w.dims("weight")?;
        let [outputs, inputs, height, width] = shape;
        if !is_tiled(shape) || (stride, padding) != (1, 1) || !w.device().is_cpu() {
            return Self::load(w, stride, padding);
        }
        let weight = w.get((outputs, inputs, height, width), "weight")?;
        let bias = w.get(outputs, "bias")?;
        if !w.has_values() {
            let bytes = Winograd::exact_bytes_for(inputs, outputs);
            w.keep_instead(weight.elem_count() + outputs, bytes);
            let bias = bias.reshape((1, outputs, 1, 1))?;
            return Ok(Self::served_by_library(weight, bias, 1, 1)?);
        }
        let conv = Self::tiled(w.dtype().of_activations(), &weight, &bias)?;
        conv.count(w);
        Ok(conv)
    }

    /// Bytes that [`Conv2d::load_for_large_maps`] keeps in main memory of weights of this shape,
    /// (outputs, inputs, height, width), with a stride and a border of 1; except for padding.
    pub fn bytes_for_large_maps(shape: [usize; 4], dtype: DType) -> u64 {
        let [outputs, inputs, ..] = shape;
        let values = shape.iter().product::<usize>() * dtype.size_in_bytes();
        let bytes = match is_tiled(shape) {
            true => Winograd::bytes_for(inputs, outputs),
            false => values,
        };
        (bytes + outputs * size_of::<f32>()) as u64
    }

    /// A convolution of size 3 with a border of 1 by tiles, whose maps are kept as `dtype`.
    fn tiled(dtype: DType, weight: &Tensor, bias: &Tensor) -> Result<Self> {
        let (outputs, inputs, height, width) = weight.dims4()?;
        let weight = weight.contiguous()?;
        let tiled = Winograd::new(
            &Values::from_f32(&weight)?,
            [outputs, inputs],
            &to_vec(bias)?,
        );
        let kernel = match dtype {
            DType::BF16 => Kernel::Bf16(Products::Tiled(tiled)),
            _ => Kernel::F32(Products::Tiled(tiled)),
        };
        Ok(Self {
            kernel,
            shape: [outputs, inputs, height, width],
            stride: 1,
            padding: 1,
        })
    }

    /// A convolution of these tensors whose maps and weights are kept as `dtype`.
    pub(super) fn kept_as(
        dtype: DType,
        weight: Tensor,
        bias: Tensor,
        stride: usize,
        padding: usize,
    ) -> Result<Self> {
        let (outputs, inputs, height, width) = weight.dims4()?;
        let shape = [outputs, inputs, height, width];
        if !is_cpu_f32(&weight) || stride != 1 {
            return Self::served_by_library(weight, bias, stride, padding);
        }
        let weight = weight.contiguous()?;
        let weight: &[f32] = &Values::from_f32(&weight)?;
        let bias = to_vec(&bias)?;
        let taps = height * width;
        let value = |output, tap, input| weight[(output * inputs + input) * taps + tap];
        let kernel = match dtype {
            DType::BF16 => Kernel::Bf16(Products::Direct(Panels::new(
                [outputs, taps, inputs],
                value,
                Some(&bias),
            ))),
            _ => Kernel::F32(Products::Direct(Panels::new(
                [outputs, taps, inputs],
                value,
                Some(&bias),
            ))),
        };
        Ok(Self {
            kernel,
            shape,
            stride,
            padding,
        })
    }

    /// Reports to `w`, its source, what it keeps instead of the tensors.
    fn count(&self, w: &Weights) {
        let values = self.shape.iter().product::<usize>() + self.shape[0];
        match &self.kernel {
            Kernel::F32(products) => w.keep_instead(values, products.bytes()),
            Kernel::Bf16(products) => w.keep_instead(values, products.bytes()),
            Kernel::Library(..) => {}
        }
    }

    /// Channels that come in.
    pub fn inputs(&self) -> usize {
        self.shape[1]
    }

    /// Channels that go out.
    pub fn outputs(&self) -> usize {
        self.shape[0]
    }

    /// Floating-point operations for this number of output positions, as they are usually counted.
    pub fn flops(&self, positions: usize) -> f64 {
        2.0 * positions as f64 * self.shape.iter().product::<usize>() as f64
    }

    /// (B, inputs, H, W) -> (B, outputs, H', W')
    pub fn forward(&self, x: &FeatureMap) -> Result<FeatureMap> {
        match &self.kernel {
            Kernel::F32(products) => self.apply(products, x),
            Kernel::Bf16(products) => self.apply(products, x),
            Kernel::Library(weight, bias) => {
                let y = x
                    .to_tensor()?
                    .conv2d(weight, self.padding, self.stride, 1, 1)?;
                FeatureMap::new(&y.broadcast_add(bias)?)
            }
        }
    }

    /// `onto + forward(x)`, for a result of the size of `onto`.
    pub fn forward_onto(&self, x: &FeatureMap, onto: FeatureMap) -> Result<FeatureMap> {
        match (&self.kernel, onto) {
            (Kernel::F32(products), FeatureMap(Held::F32(out))) => self.add(products, x, out),
            (Kernel::Bf16(products), FeatureMap(Held::Bf16(out))) => self.add(products, x, out),
            (_, onto) => FeatureMap::new(&(onto.to_tensor()? + self.forward(x)?.to_tensor()?)?),
        }
    }

    fn apply<T: Cell>(&self, products: &Products<T>, x: &FeatureMap) -> Result<FeatureMap> {
        let map = x.to_host::<T>()?;
        let mut out = HostMap::zeros(map.images, self.size_of(map.size), self.outputs(), 0);
        self.run(products, &map, &mut out, false)?;
        Ok(T::any(out))
    }

    fn add<T: Cell>(
        &self,
        products: &Products<T>,
        x: &FeatureMap,
        mut out: HostMap<T>,
    ) -> Result<FeatureMap> {
        let map = x.to_host::<T>()?;
        if out.size != self.size_of(map.size) {
            candle_core::bail!(
                "a convolution of {:?} cannot be added to a map of {:?}",
                map.size,
                out.size
            );
        }
        self.run(products, &map, &mut out, true)?;
        Ok(T::any(out))
    }

    /// (height, width) of the result for a map of this size.
    fn size_of(&self, (height, width): (usize, usize)) -> (usize, usize) {
        let grown =
            |size: usize, kernel: usize| (size + 2 * self.padding + 1).saturating_sub(kernel);
        (grown(height, self.shape[2]), grown(width, self.shape[3]))
    }

    fn run<T: Cell>(
        &self,
        products: &Products<T>,
        x: &HostMap<T>,
        out: &mut HostMap<T>,
        add: bool,
    ) -> Result<()> {
        let x = x.with_border(self.padding);
        let [_, _, height, width] = self.shape;
        match products {
            Products::Direct(panels) => {
                let x = x.filled_up(panels.inputs(), panels.row_width())?;
                // The reach at the first output
                let stride = x.row_stride();
                let corner = x.border - self.padding;
                let tap =
                    |i: usize| (i / width + corner) * stride + (i % width + corner) * x.channels;
                let taps: Vec<usize> = (0..height * width).map(tap).collect();
                convolve(
                    &x,
                    out,
                    &[Phase {
                        panels,
                        taps: &taps,
                        at: (0, 0),
                        step: 1,
                    }],
                    add,
                )
            }
            Products::Tiled(tiled) => tiled.run(&x, out, add),
        }
    }
}

impl<T: Cell> Products<T> {
    fn bytes(&self) -> u64 {
        match self {
            Self::Direct(panels) => panels.bytes(),
            Self::Tiled(tiled) => tiled.bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::noise::{Noise, difference};

    /// Largest distance of a result from the definition, as a share of the largest value.
    const LIMITS: [(DType, f32); 2] = [(DType::F32, 2e-5), (DType::BF16, 2e-2)];

    /// A result, and one that is added to it, against the tensor library.
    fn check(conv: &Conv2d, x: &Tensor, [weight, bias]: [&Tensor; 2], limit: f32) {
        let expected = x
            .conv2d(weight, conv.padding, 1, 1, 1)
            .unwrap()
            .broadcast_add(bias)
            .unwrap();
        let largest = expected
            .abs()
            .unwrap()
            .max_all()
            .unwrap()
            .to_scalar::<f32>()
            .unwrap();
        let map = FeatureMap::new(x).unwrap();
        let found = conv.forward(&map).unwrap();
        let worst = difference(&found.to_tensor().unwrap(), &expected) / largest;
        println!(
            "{:?} on {:?}: {worst:e} of the largest value",
            conv.shape,
            x.dims()
        );
        assert!(
            worst < limit,
            "{:?} on {:?}: {worst:e}",
            conv.shape,
            x.dims()
        );
        let twice = conv.forward_onto(&map, found).unwrap().to_tensor().unwrap();
        assert!(difference(&twice, &(expected * 2.0).unwrap()) / largest < 2.0 * limit);
    }

    #[test]
    fn convolutions_match_the_library_for_odd_shapes() {
        let noise = Noise::seeded(1);
        for (dtype, limit) in LIMITS {
            for (size, padding, h, w) in [
                (3, 1, 1, 1),
                (3, 1, 37, 41),
                (1, 0, 5, 7),
                (3, 0, 4, 9),
                (3, 1, 2, 600),
            ] {
                for outputs in [3, 38] {
                    let weight = noise.tensor((outputs, 5, size, size));
                    let bias = noise.tensor((1, outputs, 1, 1));
                    let conv =
                        Conv2d::kept_as(dtype, weight.clone(), bias.clone(), 1, padding).unwrap();
                    check(&conv, &noise.tensor((2, 5, h, w)), [&weight, &bias], limit);
                }
            }
        }
    }

    #[test]
    fn tiles_give_what_the_definition_gives() {
        let noise = Noise::seeded(3);
        for (dtype, limit) in LIMITS {
            for (inputs, outputs, h, w) in [
                (16, 48, 1, 1),
                (32, 16, 4, 4),
                (16, 16, 37, 41),
                (128, 128, 5, 300),
            ] {
                let weight = noise.tensor((outputs, inputs, 3, 3));
                let bias = noise.tensor((1, outputs, 1, 1));
                let conv = Conv2d::tiled(dtype, &weight, &bias).unwrap();
                check(
                    &conv,
                    &noise.tensor((2, inputs, h, w)),
                    [&weight, &bias],
                    limit,
                );
            }
        }
    }

    #[test]
    fn small_maps_have_the_same_bits_however_many_threads_share_them() {
        let noise = Noise::seeded(6);
        for dtype in [DType::F32, DType::BF16] {
            let conv = Conv2d::tiled(
                dtype,
                &noise.tensor((112, 16, 3, 3)),
                &noise.tensor((1, 112, 1, 1)),
            )
            .unwrap();
            let x = FeatureMap::kept_as(dtype, &noise.tensor((1, 16, 9, 7))).unwrap();
            let run = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new()
                    .num_threads(threads)
                    .build()
                    .unwrap();
                let twice = || conv.forward_onto(&x, conv.forward(&x)?)?.to_tensor();
                pool.install(twice).unwrap()
            };
            let alone = run(1);
            for threads in [2, 3, 8] {
                assert_eq!(
                    difference(&run(threads), &alone),
                    0.0,
                    "{dtype:?}, {threads} threads"
                );
            }
        }
    }

    #[test]
    fn a_map_of_other_channels_is_refused() {
        let noise = Noise::seeded(5);
        let conv = Conv2d::kept_as(
            DType::BF16,
            noise.tensor((4, 6, 3, 3)),
            noise.tensor((1, 4, 1, 1)),
            1,
            1,
        )
        .unwrap();
        let x = FeatureMap::new(&noise.tensor((1, 5, 4, 4))).unwrap();
        assert!(
            conv.forward(&x)
                .unwrap_err()
                .to_string()
                .contains("expected a map of 6 channels")
        );
    }

    #[test]
    fn results_are_batch_invariant() {
        let noise = Noise::seeded(4);
        let small = noise.tensor((40, 16, 3, 3));
        let large = noise.tensor((48, 16, 3, 3));
        let bias = |outputs: usize| noise.tensor((1, outputs, 1, 1));
        for dtype in [DType::F32, DType::BF16] {
            let direct = Conv2d::kept_as(dtype, small.clone(), bias(40), 1, 1).unwrap();
            for conv in [direct, Conv2d::tiled(dtype, &large, &bias(48)).unwrap()] {
                let x = noise.tensor((3, 16, 30, 31));
                let batch = conv
                    .forward(&FeatureMap::new(&x).unwrap())
                    .unwrap()
                    .to_tensor()
                    .unwrap();
                for i in 0..3 {
                    let alone = conv
                        .forward(&FeatureMap::new(&x.narrow(0, i, 1).unwrap()).unwrap())
                        .unwrap();
                    let expected = batch.narrow(0, i, 1).unwrap();
                    assert_eq!(difference(&alone.to_tensor().unwrap(), &expected), 0.0);
                }
            }
        }
    }
}

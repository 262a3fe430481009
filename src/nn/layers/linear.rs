//! Linear layers. In main memory the weights are packed, in f32 or in bf16, and each row of a
//! product is treated by itself, so that a result never depends on how many rows there are.

use std::ops::Range;

use candle_core::{DType, Result, Tensor};
use half::bf16;
use rayon::prelude::*;

use crate::nn::{
    Weights,
    cpu::{
        Values, is_cpu_f32,
        panels::{Panels, Results, Rows},
        stored::{Stored, row_stride},
        to_vec,
    },
};

/// Bytes that a block of weights may read of the rows which are served together, so that weights
/// come from memory once for all of them: half of a typical core's private cache.
const CHUNK: usize = 512 << 10;

/// With fewer rows per thread, reading all weights in every thread does not pay: the threads share
/// the columns instead.
const FEW: usize = 64;

/// `y = x W^T + b`.
#[derive(Clone, Debug)]
pub struct Linear(Layer);

#[derive(Clone, Debug)]
enum Layer {
    /// Served by the kernels of this crate.
    Packed(Panels),
    /// The same with weights and rows rounded to bf16.
    Rounded(Panels<bf16>),
    /// Served by the tensor library: weight (outputs, inputs), bias (outputs).
    Library(Tensor, Option<Tensor>),
}

impl Linear {
    /// `weight` and `bias` below `w`, from `inputs` to `outputs` values.
    pub fn load(w: &Weights, inputs: usize, outputs: usize) -> crate::Result<Self> {
        Self::load_with_bias(w, inputs, outputs, Some(w.get(outputs, "bias")?))
    }

    /// `weight` alone below `w`.
    pub fn load_no_bias(w: &Weights, inputs: usize, outputs: usize) -> crate::Result<Self> {
        Self::load_with_bias(w, inputs, outputs, None)
    }

    /// `weight` below `w` with a bias from elsewhere.
    pub fn load_with_bias(
        w: &Weights,
        inputs: usize,
        outputs: usize,
        bias: Option<Tensor>,
    ) -> crate::Result<Self> {
        Self::from_tensors(w, w.get((outputs, inputs), "weight")?, bias)
    }

    /// A layer of tensors that were read from `w`, put together if need be: `weight` (outputs,
    /// inputs), `bias` (outputs).
    pub fn from_tensors(w: &Weights, weight: Tensor, bias: Option<Tensor>) -> crate::Result<Self> {
        let read = weight.elem_count() + bias.as_ref().map_or(0, Tensor::elem_count);
        let layer = Self::kept_as(w.dtype(), weight, bias)?;
        match &layer.0 {
            Layer::Packed(panels) => w.keep_instead(read, panels.bytes()),
            Layer::Rounded(panels) => w.keep_instead(read, panels.bytes()),
            Layer::Library(..) => {}
        }
        Ok(layer)
    }

    /// A layer of these tensors: `weight` (outputs, inputs), `bias` (outputs).
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Result<Self> {
        Self::kept_as(weight.dtype(), weight, bias)
    }

    /// The same with weights kept as `dtype` where they are packed.
    pub fn kept_as(dtype: DType, weight: Tensor, bias: Option<Tensor>) -> Result<Self> {
        let (outputs, inputs) = weight.dims2()?;
        if !is_cpu_f32(&weight) {
            return Ok(Self(Layer::Library(weight, bias)));
        }
        let weight = weight.contiguous()?;
        let bias = bias.as_ref().map(to_vec).transpose()?;
        let values = Values::from_f32(&weight)?;
        let weight: &[f32] = &values;
        let value = |o: usize, _: usize, i: usize| weight[o * inputs + i];
        let sizes = [outputs, 1, inputs];
        let bias = bias.as_deref();
        Ok(Self(match dtype {
            DType::BF16 => Layer::Rounded(Panels::new(sizes, value, bias)),
            _ => Layer::Packed(Panels::new(sizes, value, bias)),
        }))
    }

    /// Values that come in.
    pub fn inputs(&self) -> usize {
        match &self.0 {
            Layer::Packed(panels) => panels.inputs(),
            Layer::Rounded(panels) => panels.inputs(),
            Layer::Library(weight, _) => weight.dims()[1],
        }
    }

    /// Values that go out.
    pub fn outputs(&self) -> usize {
        match &self.0 {
            Layer::Packed(panels) => panels.outputs(),
            Layer::Rounded(panels) => panels.outputs(),
            Layer::Library(weight, _) => weight.dims()[0],
        }
    }

    /// Floating-point operations for this number of rows.
    pub fn flops(&self, rows: usize) -> f64 {
        2.0 * rows as f64 * self.inputs() as f64 * self.outputs() as f64
    }

    /// (..., inputs) -> (..., outputs)
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.0 {
            Layer::Packed(panels) => packed(panels, x),
            Layer::Rounded(panels) => packed(panels, x),
            Layer::Library(weight, bias) => {
                let y = x.broadcast_matmul(&weight.t()?)?;
                bias.as_ref()
                    .map_or(Ok(y.clone()), |bias| y.broadcast_add(bias))
            }
        }
    }
}

fn packed<T: Stored>(panels: &Panels<T>, x: &Tensor) -> Result<Tensor> {
    let k = panels.inputs();
    let n = panels.outputs();
    let mut shape = x.dims().to_vec();
    match shape.last_mut() {
        Some(last) if *last == k => *last = n,
        _ => candle_core::bail!("a linear layer of {k} inputs was given {:?}", x.dims()),
    }
    let x = x.contiguous()?;
    let values = Values::from_f32(&x)?;
    let rows = x.elem_count() / k.max(1);
    let mut out = vec![0.0; rows * n];
    let share = rows.div_ceil(rayon::current_num_threads());
    if share >= FEW {
        // A whole number of equal chunks for each thread
        let chunk = share.div_ceil(share.div_ceil(panels.rows_within(CHUNK)));
        let chunks = out
            .par_chunks_mut(chunk * n)
            .zip(values.par_chunks(chunk * k));
        chunks.for_each_init(Vec::new, |room, (out, rows)| {
            product(panels, 0..panels.count(), T::rows(rows, k, room), out, n);
        });
    } else {
        by_columns(panels, T::rows(&values, k, &mut Vec::new()), &mut out);
    }
    Tensor::from_vec(out, shape, x.device())
}

/// Shares few rows among the threads by the columns of their results.
fn by_columns<T: Stored>(panels: &Panels<T>, values: &[T], out: &mut [f32]) {
    let stride = row_stride::<T>(panels.inputs());
    let n = panels.outputs();
    let chunk = panels.rows_within(CHUNK);
    let share = panels
        .count()
        .div_ceil(2 * rayon::current_num_threads())
        .max(1);
    let parts: Vec<(Range<usize>, Vec<f32>)> = (0..panels.count())
        .into_par_iter()
        .step_by(share)
        .map(|first| {
            let part = first..panels.count().min(first + share);
            let columns = panels.columns(&part);
            let mut out = vec![0.0; values.len() / stride.max(1) * columns.len()];
            for (out, rows) in out
                .chunks_mut(chunk * columns.len())
                .zip(values.chunks(chunk * stride))
            {
                product(panels, part.clone(), rows, out, columns.len());
            }
            (columns, out)
        })
        .collect();
    out.par_chunks_exact_mut(n.max(1))
        .enumerate()
        .for_each(|(i, out)| {
            for (columns, part) in &parts {
                out[columns.clone()].copy_from_slice(&part[i * columns.len()..][..columns.len()]);
            }
        });
}

/// The columns of some panels for some rows.
fn product<T: Stored>(
    panels: &Panels<T>,
    part: Range<usize>,
    values: &[T],
    out: &mut [f32],
    stride: usize,
) {
    let apart = row_stride::<T>(panels.inputs());
    let rows = Rows {
        values,
        first: 0,
        stride: apart,
        taps: &[0],
        count: values.len() / apart,
    };
    panels.multiply(
        part,
        rows,
        Results {
            values: out,
            first: 0,
            stride,
            add: false,
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::noise::{Noise, difference};
    use candle_core::DType;

    /// The largest error, in units of what rounding once per term may cost: 2^-24 of the sum of the
    /// terms' sizes.
    fn error_in_roundings(found: &Tensor, x: &Tensor, w: &Tensor, b: &Tensor) -> f64 {
        let [x, w, b, found] = [x, w, b, found].map(|t| t.to_dtype(DType::F64).unwrap());
        let sum = |x: Tensor, w: Tensor, b: Tensor| {
            x.broadcast_matmul(&w.t().unwrap())
                .unwrap()
                .broadcast_add(&b)
        };
        let sizes = sum(x.abs().unwrap(), w.abs().unwrap(), b.abs().unwrap()).unwrap();
        let errors = (found - sum(x, w, b).unwrap()).unwrap().abs().unwrap();
        (errors / sizes)
            .unwrap()
            .flatten_all()
            .unwrap()
            .max(0)
            .unwrap()
            .to_scalar::<f64>()
            .unwrap()
            * 2f64.powi(24)
    }

    #[test]
    fn products_are_exact_but_for_rounding() {
        let noise = Noise::seeded(1);
        for (rows, k, n) in [
            (1, 64, 192),
            (4, 33, 17),
            (9, 128, 256),
            (300, 16, 8),
            (3, 1024, 40),
            (2, 3000, 33),
        ] {
            let w = noise.tensor((n, k));
            let b = noise.tensor(n);
            let x = noise.tensor((5, rows, k));
            let found = Linear::new(w.clone(), Some(b.clone()))
                .unwrap()
                .forward(&x)
                .unwrap();
            let error = error_in_roundings(&found, &x, &w, &b);
            println!("{rows} {k} {n}: {error:.2} roundings");
            // Errors of both signs add up like a walk; a term that is missing or twice there costs
            // thousands.
            assert!(error < 16.0, "{rows} {k} {n}: {error}");
        }
    }

    #[test]
    fn results_are_batch_invariant() {
        let noise = Noise::seeded(2);
        for (rows, k, n) in [
            (1, 64, 192),
            (4, 33, 17),
            (9, 128, 256),
            (300, 16, 8),
            (3, 1024, 40),
        ] {
            let x = noise.tensor((5, rows, k));
            let layer = Linear::new(noise.tensor((n, k)), Some(noise.tensor(n))).unwrap();
            let batch = layer.forward(&x).unwrap();
            for i in 0..5 {
                let alone = layer.forward(&x.narrow(0, i, 1).unwrap()).unwrap();
                assert_eq!(difference(&alone, &batch.narrow(0, i, 1).unwrap()), 0.0);
            }
        }
    }
}

//! Linear layers. In main memory the weights are packed, in f32, bf16 or 8 bits, and each row of a
//! product is treated by itself, so that a result never depends on how many rows there are.

use std::ops::Range;

use candle_core::{Result, Tensor};
use half::bf16;
use rayon::prelude::*;

use super::mlp::Between;
use crate::nn::{
    Dtype, Weights,
    cpu::{
        Values, is_cpu_f32,
        panels::{Panels, Results, Rows, panel_columns, panel_count},
        quantized::{QuantizedPanels, QuantizedRows},
        stored::{Stored, row_stride},
        to_vec,
    },
    tensor_source::OpenMatrix,
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
    Packed(Packed),
    /// Served by the tensor library: weight (outputs, inputs), bias (outputs).
    Library(Tensor, Option<Tensor>),
}

/// Weights and bias in the form that the kernels read; rows take the same type when a product
/// reads them.
#[derive(Clone, Debug)]
enum Packed {
    F32(Panels),
    Bf16(Panels<bf16>),
    Q8(QuantizedPanels),
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
        if !w.device().is_cpu() {
            return Self::from_tensors(w, w.get((outputs, inputs), "weight")?, bias);
        }
        let sizes = [outputs, inputs];
        let of_bias = bias.as_ref().map(to_vec).transpose()?;
        let of_bias = of_bias.as_deref();
        let pack = |weight: OpenMatrix| {
            Ok(match weight {
                OpenMatrix::Values(read) => match w.dtype() {
                    Dtype::F32 => Packed::F32(Panels::read(sizes, of_bias, read)?),
                    Dtype::Bf16 => Packed::Bf16(Panels::read(sizes, of_bias, read)?),
                    Dtype::Q8 => Packed::Q8(QuantizedPanels::read(sizes, of_bias, read)?),
                },
                OpenMatrix::Q8_0(read) => {
                    Packed::Q8(QuantizedPanels::read_blocks(sizes, of_bias, read)?)
                }
            })
        };
        let packed = w.read_matrix((outputs, inputs), "weight", pack)?;
        let read = bias.as_ref().map_or(0, Tensor::elem_count);
        w.keep_instead(read, packed_bytes(w.dtype(), sizes));
        Ok(Self(match packed {
            Some(packed) => Layer::Packed(packed),
            None => Layer::Library(w.stand_in((outputs, inputs))?, bias),
        }))
    }

    /// A layer of tensors that were read from `w`, put together if need be: `weight` (outputs,
    /// inputs), `bias` (outputs).
    pub fn from_tensors(w: &Weights, weight: Tensor, bias: Option<Tensor>) -> crate::Result<Self> {
        let (outputs, inputs) = weight.dims2()?;
        if w.device().is_cpu() {
            let read = weight.elem_count() + bias.as_ref().map_or(0, Tensor::elem_count);
            w.keep_instead(read, packed_bytes(w.dtype(), [outputs, inputs]));
        }
        match w.has_values() {
            true => Ok(Self::kept_as(w.dtype(), weight, bias)?),
            false => Ok(Self(Layer::Library(weight, bias))),
        }
    }

    /// A layer of these tensors: `weight` (outputs, inputs), `bias` (outputs).
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Result<Self> {
        Self::kept_as(Dtype::F32, weight, bias)
    }

    /// The same with weights kept as `dtype` where they are packed.
    pub fn kept_as(dtype: Dtype, weight: Tensor, bias: Option<Tensor>) -> Result<Self> {
        let (outputs, inputs) = weight.dims2()?;
        if !is_cpu_f32(&weight) {
            return Ok(Self(Layer::Library(weight, bias)));
        }
        let weight = weight.contiguous()?;
        let bias = bias.as_ref().map(to_vec).transpose()?;
        let values = Values::from_f32(&weight)?;
        let packed = Packed::new(dtype, [outputs, inputs], &values, bias.as_deref());
        Ok(Self(Layer::Packed(packed)))
    }

    /// Values that come in.
    pub fn inputs(&self) -> usize {
        match &self.0 {
            Layer::Packed(packed) => packed.inputs(),
            Layer::Library(weight, _) => weight.dims()[1],
        }
    }

    /// Values that go out.
    pub fn outputs(&self) -> usize {
        match &self.0 {
            Layer::Packed(packed) => packed.outputs(),
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
            Layer::Packed(packed) => packed.forward(x),
            Layer::Library(weight, bias) => {
                let y = x.broadcast_matmul(&weight.t()?)?;
                bias.as_ref()
                    .map_or(Ok(y.clone()), |bias| y.broadcast_add(bias))
            }
        }
    }

    /// `second(between(first(x)))`, (..., inputs) -> (..., outputs), in the steps of
    /// [`Linear::forward`] and [`Between::forward`].
    ///
    /// On a CPU, a thread takes a few rows at a time through all steps: what lies between the layers,
    /// where rows are widest, stays in its cache and is never in memory as a whole.
    pub(super) fn forward_pair(
        first: &Self,
        between: Between,
        second: &Self,
        x: &Tensor,
    ) -> Result<Tensor> {
        if let (Layer::Packed(first), Layer::Packed(second)) = (&first.0, &second.0) {
            let share = share(x.elem_count() / first.inputs().max(1));
            if share >= FEW && first.outputs() == between.width(second.inputs()) {
                return Packed::forward_pair(first, between, second, x);
            }
        }
        second.forward(&between.forward(&first.forward(x)?)?)
    }
}

impl Packed {
    /// A layer of a weight (outputs, inputs), row by row.
    fn new(dtype: Dtype, sizes: [usize; 2], weight: &[f32], bias: Option<&[f32]>) -> Self {
        match dtype {
            Dtype::F32 => Self::F32(Panels::from_matrix(sizes, weight, bias)),
            Dtype::Bf16 => Self::Bf16(Panels::from_matrix(sizes, weight, bias)),
            Dtype::Q8 => Self::Q8(QuantizedPanels::new(sizes, weight, bias)),
        }
    }

    fn inputs(&self) -> usize {
        match self {
            Self::F32(panels) => panels.inputs(),
            Self::Bf16(panels) => panels.inputs(),
            Self::Q8(panels) => panels.inputs(),
        }
    }

    fn outputs(&self) -> usize {
        match self {
            Self::F32(panels) => panels.outputs(),
            Self::Bf16(panels) => panels.outputs(),
            Self::Q8(panels) => panels.outputs(),
        }
    }

    /// (..., inputs) -> (..., outputs)
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::F32(panels) => multiply(panels, x),
            Self::Bf16(panels) => multiply(panels, x),
            Self::Q8(panels) => multiply(panels, x),
        }
    }

    /// The rows of a chunk, of which a thread takes `share`.
    fn chunk(&self, share: usize) -> usize {
        match self {
            Self::F32(panels) => chunk(panels, share),
            Self::Bf16(panels) => chunk(panels, share),
            Self::Q8(panels) => chunk(panels, share),
        }
    }

    /// Multiplies rows on this thread.
    fn multiply(&self, values: &[f32], room: &mut Room, out: &mut [f32]) {
        match self {
            Self::F32(panels) => multiply_rows(panels, values, &mut room.f32, out),
            Self::Bf16(panels) => multiply_rows(panels, values, &mut room.bf16, out),
            Self::Q8(panels) => multiply_rows(panels, values, &mut room.q8, out),
        }
    }

    /// See [`Linear::forward_pair`].
    fn forward_pair(first: &Self, between: Between, second: &Self, x: &Tensor) -> Result<Tensor> {
        let [inputs, outputs] = [first.inputs(), second.outputs()];
        let shape = replaced_last(x, inputs, outputs)?;
        let x = x.contiguous()?;
        let values = Values::from_f32(&x)?;
        let rows = x.elem_count() / inputs.max(1);
        let mut out = f32::zeros(rows * outputs);
        let chunk = first.chunk(share(rows));
        out.par_chunks_mut(chunk * outputs)
            .zip(values.par_chunks(chunk * inputs))
            .for_each_init(Default::default, |buffers, (out, values)| {
                let (wide, room): &mut (Vec<f32>, Room) = buffers;
                wide.resize(values.len() / inputs * first.outputs(), 0.0);
                first.multiply(values, room, wide);
                between.apply(wide, second.inputs());
                second.multiply(wide, room, out);
            });
        Tensor::from_vec(out, shape, x.device())
    }
}

/// Memory of a thread for rows in the form that products read.
#[derive(Default)]
struct Room {
    f32: Vec<f32>,
    bf16: Vec<bf16>,
    q8: QuantizedRows,
}

/// Bytes of a packed layer of these sizes (outputs, inputs).
fn packed_bytes(dtype: Dtype, [outputs, inputs]: [usize; 2]) -> u64 {
    match dtype {
        Dtype::F32 => Panels::<f32>::bytes_for([outputs, 1, inputs]),
        Dtype::Bf16 => Panels::<bf16>::bytes_for([outputs, 1, inputs]),
        Dtype::Q8 => QuantizedPanels::bytes_for([outputs, inputs]),
    }
}

/// A matrix in panels, and rows in the form that its products read.
trait Matrix: Sync {
    /// Memory for rows.
    type Room: Default + Send;
    /// Rows in that memory, or where they were.
    type Rows<'a>: Sync;

    fn inputs(&self) -> usize;

    fn outputs(&self) -> usize;

    /// Number of panels.
    fn count(&self) -> usize {
        panel_count(self.outputs())
    }

    /// The outputs that some panels are for.
    fn columns(&self, panels: &Range<usize>) -> Range<usize> {
        panel_columns(self.outputs(), panels)
    }

    /// The number of rows, at least one, of which a block of weights reads at most `bytes` bytes.
    fn rows_within(&self, bytes: usize) -> usize;

    /// Brings rows of `inputs` values into the form that [`Matrix::multiply`] reads.
    fn rows<'a>(&self, values: &'a [f32], room: &'a mut Self::Room) -> Self::Rows<'a>;

    /// The columns of some panels for the rows `which`; row `i` of the results begins at
    /// `out[i * stride]`.
    fn multiply(
        &self,
        part: Range<usize>,
        rows: &Self::Rows<'_>,
        which: Range<usize>,
        out: &mut [f32],
        stride: usize,
    );
}

impl<T: Stored> Matrix for Panels<T> {
    type Room = Vec<T>;
    type Rows<'a> = &'a [T];

    fn inputs(&self) -> usize {
        Panels::inputs(self)
    }

    fn outputs(&self) -> usize {
        Panels::outputs(self)
    }

    fn rows_within(&self, bytes: usize) -> usize {
        Panels::rows_within(self, bytes)
    }

    fn rows<'a>(&self, values: &'a [f32], room: &'a mut Vec<T>) -> &'a [T] {
        T::rows(values, self.inputs(), room)
    }

    fn multiply(
        &self,
        part: Range<usize>,
        rows: &&[T],
        which: Range<usize>,
        out: &mut [f32],
        stride: usize,
    ) {
        let apart = row_stride::<T>(self.inputs());
        let rows = Rows {
            values: rows,
            first: which.start * apart,
            stride: apart,
            taps: &[0],
            count: which.len(),
        };
        let results = Results {
            values: out,
            first: 0,
            stride,
            add: false,
        };
        Panels::multiply(self, part, rows, results);
    }
}

impl Matrix for QuantizedPanels {
    type Room = QuantizedRows;
    type Rows<'a> = &'a QuantizedRows;

    fn inputs(&self) -> usize {
        QuantizedPanels::inputs(self)
    }

    fn outputs(&self) -> usize {
        QuantizedPanels::outputs(self)
    }

    fn rows_within(&self, bytes: usize) -> usize {
        QuantizedPanels::rows_within(self, bytes)
    }

    fn rows<'a>(&self, values: &'a [f32], room: &'a mut QuantizedRows) -> &'a QuantizedRows {
        room.quantize(values, self.inputs());
        room
    }

    fn multiply(
        &self,
        part: Range<usize>,
        rows: &&QuantizedRows,
        which: Range<usize>,
        out: &mut [f32],
        stride: usize,
    ) {
        QuantizedPanels::multiply(self, part, rows, which, out, stride);
    }
}

/// (..., inputs) -> (..., outputs)
fn multiply<M: Matrix>(matrix: &M, x: &Tensor) -> Result<Tensor> {
    let k = matrix.inputs();
    let n = matrix.outputs();
    let shape = replaced_last(x, k, n)?;
    let x = x.contiguous()?;
    let values = Values::from_f32(&x)?;
    let rows = x.elem_count() / k.max(1);
    let mut out = f32::zeros(rows * n);
    let share = share(rows);
    if share >= FEW {
        let chunk = chunk(matrix, share);
        let chunks = out
            .par_chunks_mut(chunk * n)
            .zip(values.par_chunks(chunk * k));
        chunks.for_each_init(M::Room::default, |room, (out, values)| {
            multiply_rows(matrix, values, room, out);
        });
    } else {
        let mut room = M::Room::default();
        by_columns(matrix, &matrix.rows(&values, &mut room), rows, &mut out);
    }
    Tensor::from_vec(out, shape, x.device())
}

/// The shape of `x` whose last axis, which must have `inputs` values, has `outputs` instead.
fn replaced_last(x: &Tensor, inputs: usize, outputs: usize) -> Result<Vec<usize>> {
    let mut shape = x.dims().to_vec();
    match shape.last_mut() {
        Some(last) if *last == inputs => *last = outputs,
        _ => candle_core::bail!("a linear layer of {inputs} inputs was given {:?}", x.dims()),
    }
    Ok(shape)
}

/// The rows of one thread.
fn share(rows: usize) -> usize {
    rows.div_ceil(rayon::current_num_threads())
}

/// The rows of a chunk, of which a thread takes `share`: chunks are about equal.
fn chunk<M: Matrix>(matrix: &M, share: usize) -> usize {
    share.div_ceil(share.div_ceil(matrix.rows_within(CHUNK)))
}

/// Multiplies rows on this thread.
fn multiply_rows<M: Matrix>(matrix: &M, values: &[f32], room: &mut M::Room, out: &mut [f32]) {
    let k = matrix.inputs();
    let n = matrix.outputs();
    let chunk = chunk(matrix, values.len() / k);
    for (out, values) in out.chunks_mut(chunk * n).zip(values.chunks(chunk * k)) {
        let rows = matrix.rows(values, room);
        matrix.multiply(0..matrix.count(), &rows, 0..values.len() / k, out, n);
    }
}

/// Shares few rows among the threads by the columns of their results.
fn by_columns<M: Matrix>(matrix: &M, rows: &M::Rows<'_>, count: usize, out: &mut [f32]) {
    let chunk = matrix.rows_within(CHUNK);
    let share = matrix
        .count()
        .div_ceil(2 * rayon::current_num_threads())
        .max(1);
    let parts: Vec<(Range<usize>, Vec<f32>)> = (0..matrix.count())
        .into_par_iter()
        .step_by(share)
        .map(|first| {
            let part = first..matrix.count().min(first + share);
            let columns = matrix.columns(&part);
            let mut out = vec![0.0; count * columns.len()];
            for (i, out) in out.chunks_mut(chunk * columns.len()).enumerate() {
                let which = i * chunk..count.min((i + 1) * chunk);
                matrix.multiply(part.clone(), rows, which, out, columns.len());
            }
            (columns, out)
        })
        .collect();
    out.par_chunks_exact_mut(matrix.outputs().max(1))
        .enumerate()
        .for_each(|(i, out)| {
            for (columns, part) in &parts {
                out[columns.clone()].copy_from_slice(&part[i * columns.len()..][..columns.len()]);
            }
        });
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

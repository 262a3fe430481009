//! Linear layers. A result never depends on how many candidates there are: small layers run over packed weights, which
//! treat each row by itself; the products of large ones are left to the `gemm` crate, one candidate at a time.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::{
    Weights,
    cpu::{Values, is_cpu_f32, to_vec},
    gemm::{MatRef, Threads, gemm},
    panels::{Panels, Results, Rows},
};

/// Layers up to this size are packed: a core's cache then holds the weights, so that nothing is gained by cutting the
/// product further.
const PACKED_WEIGHTS: usize = 1 << 18;
const PACKED_INPUTS: usize = 768;

/// Rows that are served together.
const CHUNK: usize = 48;

/// `y = x W^T + b`.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    panels: Option<Panels>,
}

impl Linear {
    /// `weight` and `bias` below `w`, from `inputs` to `outputs` values.
    pub fn load(w: &Weights, inputs: usize, outputs: usize) -> crate::Result<Self> {
        let bias = w.get(outputs, "bias")?;
        Ok(Self::new(w.get((outputs, inputs), "weight")?, Some(bias))?)
    }

    /// `weight` alone below `w`.
    pub fn load_no_bias(w: &Weights, inputs: usize, outputs: usize) -> crate::Result<Self> {
        Ok(Self::new(w.get((outputs, inputs), "weight")?, None)?)
    }

    /// A layer of these tensors: `weight` (outputs, inputs), `bias` (outputs).
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Result<Self> {
        let (outputs, inputs) = weight.dims2()?;
        let small = outputs * inputs <= PACKED_WEIGHTS && inputs <= PACKED_INPUTS;
        let panels = if small && is_cpu_f32(&weight) {
            let (weight, bias) = (to_vec(&weight)?, bias.as_ref().map(to_vec).transpose()?);
            Some(Panels::new([outputs, 1, inputs], |o, _, i| weight[o * inputs + i], bias.as_deref()))
        } else {
            None
        };
        Ok(Self { weight, bias, panels })
    }

    /// Values that come in.
    pub fn inputs(&self) -> usize {
        self.weight.dims()[1]
    }

    /// Values that go out.
    pub fn outputs(&self) -> usize {
        self.weight.dims()[0]
    }

    /// Floating-point operations for so many rows.
    pub fn flops(&self, rows: usize) -> f64 {
        2.0 * rows as f64 * self.weight.elem_count() as f64
    }

    /// (B, L, inputs) -> (B, L, outputs), each of the B by itself; also (L, inputs) -> (L, outputs).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.panels {
            Some(panels) if is_cpu_f32(x) => return forward_packed(panels, &x.contiguous()?),
            None if is_cpu_f32(x) && is_cpu_f32(&self.weight) => return self.forward_cpu(&x.contiguous()?),
            _ => (),
        }
        let y = x.broadcast_matmul(&self.weight.t()?)?;
        self.bias.as_ref().map_or(Ok(y.clone()), |b| y.broadcast_add(b))
    }

    fn forward_cpu(&self, x: &Tensor) -> Result<Tensor> {
        let (n, k) = self.weight.dims2()?;
        let mut shape = x.dims().to_vec();
        let rank = shape.len();
        let rows = shape[rank - 2];
        let candidates = x.elem_count() / (rows * k).max(1);
        shape[rank - 1] = n;
        let bias = self.bias.as_ref().map(to_vec).transpose()?;
        let mut out = vec![0.0; candidates * rows * n];
        if let Some(bias) = &bias {
            out.par_chunks_mut(n).for_each(|row| row.copy_from_slice(bias));
        }
        let threads = if candidates >= rayon::current_num_threads() { Threads::One } else { Threads::All };
        let (weight, x_values) = (self.weight.contiguous()?, Values::of(x)?);
        let weight = Values::of(&weight)?;
        let weight = MatRef::rows(&weight, (n, k)).transposed();
        let one = |(out, x): (&mut [f32], &[f32])| {
            gemm(MatRef::rows(x, (rows, k)), weight, out, n, bias.is_some(), threads);
        };
        out.par_chunks_mut((rows * n).max(1)).zip(x_values.par_chunks((rows * k).max(1))).for_each(one);
        Tensor::from_vec(out, shape, x.device())
    }
}

fn forward_packed(panels: &Panels, x: &Tensor) -> Result<Tensor> {
    let (k, n, mut shape) = (panels.inputs(), panels.outputs(), x.dims().to_vec());
    match shape.last_mut() {
        Some(last) if *last == k => *last = n,
        _ => candle_core::bail!("a linear layer of {k} inputs was given {:?}", x.dims()),
    }
    let mut out = vec![0.0; x.elem_count() / k.max(1) * n];
    let values = Values::of(x)?;
    out.par_chunks_mut((CHUNK * n).max(1)).zip(values.par_chunks((CHUNK * k).max(1))).for_each(|(out, values)| {
        let rows = Rows { values, first: 0, stride: k, taps: &[0], count: values.len() / k };
        for panel in 0..panels.count() {
            panels.multiply(panel, rows, Results { values: out, first: 0, stride: n, add: false });
        }
    });
    Tensor::from_vec(out, shape, x.device())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn a_candidate_gives_the_same_bits_alone_and_in_company() {
        for (rows, k, n) in [(1, 64, 192), (4, 33, 17), (9, 128, 256), (300, 16, 8), (3, 1024, 40)] {
            let w = Tensor::randn(0f32, 1.0, (n, k), &Device::Cpu).unwrap();
            let b = Tensor::randn(0f32, 1.0, n, &Device::Cpu).unwrap();
            let x = Tensor::randn(0f32, 1.0, (5, rows, k), &Device::Cpu).unwrap();
            let layer = Linear::new(w, Some(b)).unwrap();
            let together = layer.forward(&x).unwrap();
            let expected = x.broadcast_matmul(&layer.weight.t().unwrap()).unwrap();
            let expected = expected.broadcast_add(layer.bias.as_ref().unwrap()).unwrap();
            let worst = (&together - expected).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            assert!(worst < 1e-4, "{rows} {k} {n}: {worst}");
            for i in 0..5 {
                let alone = layer.forward(&x.narrow(0, i, 1).unwrap()).unwrap();
                let same = alone.eq(&together.narrow(0, i, 1).unwrap()).unwrap();
                assert_eq!(same.to_dtype(DType::F32).unwrap().min_all().unwrap().to_scalar::<f32>().unwrap(), 1.0);
            }
        }
    }
}

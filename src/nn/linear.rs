//! Linear layers, applied to one candidate at a time so that a result never depends on how many there are.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::{
    Weights,
    cpu::{Values, is_cpu_f32, to_vec},
    gemm::{MatRef, Threads, gemm},
};

/// `y = x W^T + b`.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// `weight` and `bias` below `w`, from `inputs` to `outputs` values.
    pub fn load(w: &Weights, inputs: usize, outputs: usize) -> crate::Result<Self> {
        let bias = w.get(outputs, "bias")?;
        Ok(Self { bias: Some(bias), ..Self::load_no_bias(w, inputs, outputs)? })
    }

    /// `weight` alone below `w`.
    pub fn load_no_bias(w: &Weights, inputs: usize, outputs: usize) -> crate::Result<Self> {
        Ok(Self { weight: w.get((outputs, inputs), "weight")?, bias: None })
    }

    /// A layer of these tensors: `weight` (outputs, inputs), `bias` (outputs).
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight, bias }
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
        if is_cpu_f32(x) && is_cpu_f32(&self.weight) {
            return self.forward_cpu(&x.contiguous()?);
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

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn a_candidate_gives_the_same_bits_alone_and_in_company() {
        for (rows, k, n) in [(1, 64, 192), (4, 33, 17), (9, 128, 256), (300, 16, 8)] {
            let w = Tensor::randn(0f32, 1.0, (n, k), &Device::Cpu).unwrap();
            let b = Tensor::randn(0f32, 1.0, n, &Device::Cpu).unwrap();
            let x = Tensor::randn(0f32, 1.0, (5, rows, k), &Device::Cpu).unwrap();
            let layer = Linear::new(w, Some(b));
            let together = layer.forward(&x).unwrap();
            for i in 0..5 {
                let alone = layer.forward(&x.narrow(0, i, 1).unwrap()).unwrap();
                let same = alone.eq(&together.narrow(0, i, 1).unwrap()).unwrap();
                assert_eq!(same.to_dtype(DType::F32).unwrap().min_all().unwrap().to_scalar::<f32>().unwrap(), 1.0);
            }
        }
    }
}

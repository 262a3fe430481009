//! Residual connections: the sum of a stream and a block's output.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use crate::nn::cpu::{Values, is_cpu_f32, stored::Stored};

/// Values that are added by one task: 64 KiB.
const CHUNK: usize = 1 << 14;

/// `x + gamma * h` for x and h (..., C) of one shape and `gamma` (C), 1 if there is none.
///
/// The tensor library would compute a sum of this size on its own threads, which ignore the number
/// of threads that the user allows.
pub fn residual(x: &Tensor, h: &Tensor, gamma: Option<&Tensor>) -> Result<Tensor> {
    if !(is_cpu_f32(x) && is_cpu_f32(h)) || x.dims() != h.dims() {
        #[cfg(feature = "cuda")]
        if let Some(sum) = crate::nn::cuda::residual(x, h, gamma)? {
            return Ok(sum);
        }
        return x + gamma.map_or(Ok(h.clone()), |gamma| h.broadcast_mul(gamma))?;
    }
    let x = x.contiguous()?;
    let h = h.contiguous()?;
    let gamma = gamma.map(Tensor::contiguous).transpose()?;
    let from = Values::from_f32(&x)?;
    let add = Values::from_f32(&h)?;
    let gamma = gamma.as_ref().map(Values::from_f32).transpose()?;
    let gamma = gamma.as_deref();
    let width = gamma.map_or(CHUNK, |gamma| gamma.len().max(1));
    if !from.len().is_multiple_of(width) && gamma.is_some() {
        candle_core::bail!("{width} factors do not fit {:?}", x.dims());
    }
    let mut out = f32::zeros(from.len());
    let chunk = width * (CHUNK / width).max(1);
    let chunks = out
        .par_chunks_mut(chunk)
        .zip(from.par_chunks(chunk))
        .zip(add.par_chunks(chunk));
    chunks.for_each(|((out, x), h)| match gamma {
        None => out
            .iter_mut()
            .zip(x)
            .zip(h)
            .for_each(|((out, x), h)| *out = x + h),
        Some(gamma) => {
            for ((out, x), h) in out
                .chunks_mut(width)
                .zip(x.chunks(width))
                .zip(h.chunks(width))
            {
                out.iter_mut()
                    .zip(x)
                    .zip(h)
                    .zip(gamma)
                    .for_each(|(((out, x), h), gamma)| *out = x + gamma * h);
            }
        }
    });
    Tensor::from_vec(out, x.dims(), x.device())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::noise::{Noise, difference};

    #[test]
    fn sums_match_the_library_for_odd_shapes() {
        let noise = Noise::seeded(1);
        for shape in [(1, 1, 1), (2, 3, 7), (3, 70, 129), (1, 2, 20_000)] {
            let x = noise.tensor(shape);
            let h = noise.tensor(shape);
            let gamma = noise.tensor(shape.2);
            let same =
                |found: Tensor, expected: Tensor| assert_eq!(difference(&found, &expected), 0.0);
            same(residual(&x, &h, None).unwrap(), (&x + &h).unwrap());
            same(
                residual(&x, &h, Some(&gamma)).unwrap(),
                (&x + h.broadcast_mul(&gamma).unwrap()).unwrap(),
            );
        }
    }
}

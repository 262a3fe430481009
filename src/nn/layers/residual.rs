//! Residual connections: the sum of a stream and a block's output.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::groups;
use crate::nn::cpu::{Values, is_cpu_f32, stored::Stored};

/// Values that are added by one task: 64 KiB.
const CHUNK: usize = 1 << 14;

/// `x + gamma * h` for x and h (B, ..., C) of one shape. `gamma` is (C), or (G, C) with one vector for
/// each of G equal groups of candidates; without it, the factor is 1.
///
/// The tensor library would compute a sum of this size on its own threads, which ignore the number
/// of threads that the user allows.
pub fn residual(x: &Tensor, h: &Tensor, gamma: Option<&Tensor>) -> Result<Tensor> {
    let Some(gamma) = gamma else {
        return sum(x, h);
    };
    let groups = groups::count(gamma, x.dims()[0])?;
    if !fits(x, h) {
        if groups > 1 {
            return groups::in_turn(groups, &[x, h], &[gamma], |x, gamma| {
                residual(&x[0], &x[1], Some(&gamma[0]))
            });
        }
        let gamma = gamma.flatten_all()?;
        #[cfg(feature = "cuda")]
        if let Some(sum) = crate::nn::cuda::residual(x, h, Some(&gamma))? {
            return Ok(sum);
        }
        return x + h.broadcast_mul(&gamma)?;
    }
    let gamma = gamma.contiguous()?;
    let gamma = Values::from_f32(&gamma)?;
    let gamma: &[f32] = &gamma;
    let width = gamma.len() / groups;
    if x.dims().last() != Some(&width) {
        candle_core::bail!("{width} factors do not fit {:?}", x.dims());
    }
    let of_group = x.elem_count() / groups;
    combine(x, h, width, |first, x, h, out| {
        for (i, ((x, h), out)) in x
            .chunks(width)
            .zip(h.chunks(width))
            .zip(out.chunks_mut(width))
            .enumerate()
        {
            let group = (first + i * width) / of_group;
            let gamma = &gamma[group * width..][..width];
            for (((out, x), h), gamma) in out.iter_mut().zip(x).zip(h).zip(gamma) {
                *out = x + gamma * h;
            }
        }
    })
}

/// `x + h`
fn sum(x: &Tensor, h: &Tensor) -> Result<Tensor> {
    if !fits(x, h) {
        #[cfg(feature = "cuda")]
        if let Some(sum) = crate::nn::cuda::residual(x, h, None)? {
            return Ok(sum);
        }
        return x + h;
    }
    combine(x, h, 1, |_, x, h, out| {
        for ((out, x), h) in out.iter_mut().zip(x).zip(h) {
            *out = x + h;
        }
    })
}

fn fits(x: &Tensor, h: &Tensor) -> bool {
    is_cpu_f32(x) && is_cpu_f32(h) && x.dims() == h.dims()
}

/// A tensor of the shape of `x` and `h` whose values `f(first, x, h, out)` computes, in parallel, for
/// chunks of a multiple of `width` values that begin at value number `first`.
fn combine(
    x: &Tensor,
    h: &Tensor,
    width: usize,
    f: impl Fn(usize, &[f32], &[f32], &mut [f32]) + Sync,
) -> Result<Tensor> {
    let x = x.contiguous()?;
    let h = h.contiguous()?;
    let from = Values::from_f32(&x)?;
    let add = Values::from_f32(&h)?;
    let mut out = f32::zeros(from.len());
    let width = width.max(1);
    let chunk = width * (CHUNK / width).max(1);
    out.par_chunks_mut(chunk)
        .zip(from.par_chunks(chunk))
        .zip(add.par_chunks(chunk))
        .enumerate()
        .for_each(|(i, ((out, x), h))| f(i * chunk, x, h, out));
    Tensor::from_vec(out, x.dims(), x.device())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::noise::{Noise, difference};
    use candle_core::DType;

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

    #[test]
    fn each_group_has_its_own_factors() {
        let noise = Noise::seeded(2);
        let x = noise.tensor((4, 3, 5));
        let h = noise.tensor((4, 3, 5));
        let gamma = noise.tensor((2, 5));
        let found = residual(&x, &h, Some(&gamma)).unwrap();
        let wide = |t: &Tensor| t.to_dtype(DType::F64).unwrap(); // goes through the tensor library
        let by_library = residual(&wide(&x), &wide(&h), Some(&wide(&gamma))).unwrap();
        assert!(difference(&by_library.to_dtype(DType::F32).unwrap(), &found) < 1e-6);
        for row in 0..4 {
            let [x, h, found] = [&x, &h, &found].map(|t| t.narrow(0, row, 1).unwrap());
            let expected = residual(&x, &h, Some(&gamma.get(row / 2).unwrap())).unwrap();
            assert_eq!(difference(&found, &expected), 0.0);
        }
        let wrong = noise.tensor((3, 5));
        let error = residual(&x, &h, Some(&wrong)).unwrap_err().to_string();
        assert!(error.starts_with("vectors of shape [3, 5] do not fit 4 rows"));
    }
}

//! Layers that run on these kernels. `None` means that the kernels do not support the tensors'
//! device, type or sizes; the caller then uses the tensor library.

use candle_core::{CudaDevice, DType, Result, Tensor};
use half::bf16;

use super::{
    calls::{self, Blocks, Groups, Heads, TOGETHER},
    device::{self, Number, alike, bring, lend, make, ready, start, tensor},
};
use crate::nn::{Activation, Kv, Rope};

/// Calls `$f` for the type of `$x`, if it is on a GPU whose kernels are used.
macro_rules! by_type {
    ($x:expr, $f:ident($($arg:expr),*)) => {
        match (device::gpu_of($x), $x.dtype()) {
            (Some(device), DType::BF16) => $f::<bf16>(device, $($arg),*).map(Some),
            (Some(device), DType::F32) => $f::<f32>(device, $($arg),*).map(Some),
            _ => Ok(None),
        }
    };
}

/// `(x - mean) / std * (base + scale) + shift` for x (..., C), scale and shift (C).
pub fn normalise(
    x: &Tensor,
    [scale, shift]: [&Tensor; 2],
    base: f32,
    eps: f32,
) -> Result<Option<Tensor>> {
    let width = x.dims().last().copied().unwrap_or(0);
    let fits = [scale, shift].iter().all(|t| t.dims() == [width]) && x.elem_count() > 0;
    if !fits || !width.is_multiple_of(TOGETHER) || !alike(&[x, scale, shift]) {
        return Ok(None);
    }
    by_type!(x, normalised(x, [scale, shift], base, eps))
}

fn normalised<T: Number>(
    device: &CudaDevice,
    x: &Tensor,
    [scale, shift]: [&Tensor; 2],
    base: f32,
    eps: f32,
) -> Result<Tensor> {
    let count = x.elem_count();
    let width = scale.elem_count();
    let [x, scale, shift] = [ready(x)?, ready(scale)?, ready(shift)?];
    let out = make::<T>(device, &[count], |out| {
        lend::<T, _>(device, &[&x, &scale, &shift], |at| {
            let call = calls::normalise(
                T::SCALAR,
                [at[0], at[1], at[2], out[0]],
                count / width,
                width,
                base,
                eps,
            );
            // SAFETY: x and the result have `count` numbers, scale and shift `width`; all are held
            // until it is queued.
            unsafe { start(device, &call) }
        })
    })?;
    Ok(only(device, out, x.dims()))
}

/// `x + gamma * h` for x and h (..., C) and `gamma` (C), 1 if there is none.
pub fn residual(x: &Tensor, h: &Tensor, gamma: Option<&Tensor>) -> Result<Option<Tensor>> {
    let width = x.dims().last().copied().unwrap_or(0);
    let fits = x.dims() == h.dims()
        && gamma.is_none_or(|gamma| gamma.dims() == [width])
        && x.elem_count() > 0;
    if !fits || !width.is_multiple_of(TOGETHER) || !alike(&[x, h, gamma.unwrap_or(x)]) {
        return Ok(None);
    }
    by_type!(x, gated(x, h, gamma))
}

fn gated<T: Number>(
    device: &CudaDevice,
    x: &Tensor,
    h: &Tensor,
    gamma: Option<&Tensor>,
) -> Result<Tensor> {
    let count = x.elem_count();
    let width = x.dims().last().copied().unwrap_or(1);
    let given: Vec<Tensor> = [Some(x), Some(h), gamma]
        .into_iter()
        .flatten()
        .map(ready)
        .collect::<Result<_>>()?;
    let out = make::<T>(device, &[count], |out| {
        lend::<T, _>(device, &given.iter().collect::<Vec<_>>(), |at| {
            let gamma = at.get(2).copied().unwrap_or(0);
            let call = calls::residual(T::SCALAR, [at[0], at[1], gamma, out[0]], count, width);
            // SAFETY: x, h and the result have `count` numbers, gamma `width` if it is there; all
            // are held until it is queued.
            unsafe { start(device, &call) }
        })
    })?;
    Ok(only(device, out, x.dims()))
}

/// Queries (R, L, C) and the keys and values of each row from projections (R, L, 3 C); see the
/// layer of this name.
pub fn split_and_rotate(
    qkv: &Tensor,
    temperature: &[f32],
    rope: &Rope,
) -> Result<Option<(Tensor, Vec<Kv>)>> {
    let (rows, tokens, c3) = qkv.dims3()?;
    let heads = temperature.len();
    let sizes = Heads {
        rows,
        tokens,
        heads,
        width: c3 / 3 / heads.max(1),
    };
    let fits = 3 * heads * sizes.width == c3 && qkv.elem_count() > 0;
    let angles = rope
        .angles()
        .iter()
        .all(|t| t.dtype() == DType::F32 && t.dims() == [tokens, sizes.width / 2]);
    if !fits || !sizes.width.is_multiple_of(TOGETHER) || !angles || !alike(&[qkv]) {
        return Ok(None);
    }
    by_type!(qkv, split(qkv, temperature, rope, sizes))
}

fn split<T: Number>(
    device: &CudaDevice,
    qkv: &Tensor,
    temperature: &[f32],
    rope: &Rope,
    sizes: Heads,
) -> Result<(Tensor, Vec<Kv>)> {
    let Heads {
        rows,
        tokens,
        heads,
        width,
    } = sizes;
    let c = heads * width;
    let [cos, sin] = rope.angles();
    let qkv = ready(qkv)?;
    let cos = ready(cos)?;
    let sin = ready(sin)?;
    // queries, keys and values of each row
    let counts = [vec![rows * tokens * c], vec![tokens * c; 2 * rows]].concat();
    let made = make::<T>(device, &counts, |out| {
        bring(device, temperature, |temperature| {
            bring(device, &out[1..], |kept| {
                lend::<f32, _>(device, &[&cos, &sin], |angles| {
                    lend::<T, _>(device, &[&qkv], |qkv| {
                        let at = [qkv[0], temperature, angles[0], angles[1], out[0], kept];
                        // SAFETY: the sizes are those of the tensors, which are held until it is
                        // queued.
                        unsafe { start(device, &calls::split_and_rotate(T::SCALAR, at, sizes)) }
                    })
                })
            })
        })
    })?;
    let mut made = made.into_iter();
    let q = tensor(device, next(&mut made)?, (rows, tokens, c));
    let mut next_tensor =
        || -> Result<Tensor> { Ok(tensor(device, next(&mut made)?, (tokens, c))) };
    let kv = (0..rows)
        .map(|_| {
            Ok(Kv {
                k: next_tensor()?,
                v: next_tensor()?,
            })
        })
        .collect::<Result<_>>()?;
    Ok((q, kv))
}

/// Maps (B, C, H, W) normalised in `groups`, optionally followed by a SiLU.
pub fn group_norm(
    x: &Tensor,
    [weight, bias]: [&Tensor; 2],
    groups: usize,
    eps: f32,
    act: Option<Activation>,
) -> Result<Option<Tensor>> {
    let (images, c, height, width) = x.dims4()?;
    let sizes = Groups {
        images,
        groups,
        channels: c / groups.max(1),
        pixels: height * width,
    };
    let fits = sizes.channels * groups == c && [weight, bias].iter().all(|t| t.dims() == [c]);
    let silu = act == Some(Activation::Silu);
    if !fits || !(silu || act.is_none()) || !sizes.served() || !alike(&[x, weight, bias]) {
        return Ok(None);
    }
    by_type!(x, normalised_groups(x, [weight, bias], sizes, eps, silu))
}

fn normalised_groups<T: Number>(
    device: &CudaDevice,
    x: &Tensor,
    [weight, bias]: [&Tensor; 2],
    sizes: Groups,
    eps: f32,
    silu: bool,
) -> Result<Tensor> {
    let [x, weight, bias] = [ready(x)?, ready(weight)?, ready(bias)?];
    let out = make::<T>(device, &[x.elem_count()], |out| {
        let fill = |found: &[u64]| {
            lend::<T, _>(device, &[&x, &weight, &bias], |at| {
                let at = [at[0], found[0], at[1], at[2], out[0]];
                let calls = calls::group_norm(T::SCALAR, at, sizes, eps, silu);
                // SAFETY: the sizes are those of the tensors; the second call, queued behind the
                // first, reads what that wrote.
                calls
                    .iter()
                    .try_for_each(|call| unsafe { start(device, call) })
            })
        };
        make::<f32>(device, &[sizes.found()], fill).map(drop)
    })?;
    Ok(only(device, out, x.dims()))
}

/// `softmax(scale * q k^T) v` for each head: q (R, L, C), row r sees the blocks `seen[r]` one after
/// the other.
pub fn attention(
    q: &Tensor,
    seen: &[Vec<&Kv>],
    heads: usize,
    scale: f32,
) -> Result<Option<Tensor>> {
    let (rows, tokens, c) = q.dims3()?;
    let sizes = Heads {
        rows,
        tokens,
        heads,
        width: c / heads.max(1),
    };
    let all = seen.iter().flatten().flat_map(|kv| [&kv.k, &kv.v]);
    let fits =
        sizes.width * heads == c && seen.len() == rows && seen.iter().all(|row| !row.is_empty());
    let served = match q.dtype() {
        DType::BF16 => calls::attention_served(bf16::SCALAR, sizes),
        _ => calls::attention_served(f32::SCALAR, sizes),
    };
    let shapes = seen
        .iter()
        .flatten()
        .all(|kv| kv.k.dims() == kv.v.dims() && matches!(kv.k.dims(), [t, n] if *t > 0 && *n == c));
    if !fits || !served || !shapes || !alike(&[q].into_iter().chain(all).collect::<Vec<_>>()) {
        return Ok(None);
    }
    by_type!(q, attend(q, seen, sizes, scale))
}

fn attend<T: Number>(
    device: &CudaDevice,
    q: &Tensor,
    seen: &[Vec<&Kv>],
    sizes: Heads,
    scale: f32,
) -> Result<Tensor> {
    let given = [q]
        .into_iter()
        .chain(seen.iter().flatten().flat_map(|kv| [&kv.k, &kv.v]));
    let given: Vec<Tensor> = given.map(ready).collect::<Result<_>>()?;
    let out = make::<T>(device, &[q.elem_count()], |out| {
        lend::<T, _>(device, &given.iter().collect::<Vec<_>>(), |at| {
            let mut pairs = at[1..].as_chunks::<2>().0.iter();
            let rows = seen.iter().map(|row| {
                // The row first: where it ends, no pair is taken
                let blocks = row.iter().zip(pairs.by_ref());
                blocks
                    .map(|(kv, [k, v])| (*k, *v, kv.k.dims()[0]))
                    .collect()
            });
            bring(
                device,
                &calls::table(&rows.collect::<Vec<Blocks>>()),
                |table| {
                    let call = calls::attention(T::SCALAR, [at[0], table, out[0]], sizes, scale);
                    // SAFETY: the sizes and the table are those of the tensors, which are held
                    // until it is queued.
                    unsafe { start(device, &call) }
                },
            )
        })
    })?;
    Ok(only(device, out, q.dims()))
}

type Slice<T> = candle_core::cuda_backend::cudarc::driver::CudaSlice<T>;

/// The single result that was made.
fn only<T: Number>(device: &CudaDevice, made: Vec<Slice<T>>, dims: &[usize]) -> Tensor {
    let [slice]: [Slice<T>; 1] = made
        .try_into()
        .unwrap_or_else(|_| unreachable!("one result was asked for"));
    tensor(device, slice, dims)
}

fn next<T>(made: &mut impl Iterator<Item = T>) -> Result<T> {
    made.next()
        .ok_or_else(|| candle_core::Error::Msg("a requested result is missing".into()))
}

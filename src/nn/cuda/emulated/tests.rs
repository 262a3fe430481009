//! The kernels' results compared with the layers on a CPU, over odd shapes.

use candle_core::{DType, Device, Tensor};

use super::{memory::Memory, run::run};
use crate::nn::{
    Kv, Rope, attention_blocks,
    cuda::{
        Scalar,
        calls::{self, Blocks, Groups, Heads},
    },
    modulate,
    noise::Noise,
    residual, split_and_rotate,
};

const BOTH: [Scalar; 2] = [Scalar::F32, Scalar::Bf16];

/// Numbers as tensors of this type can hold them.
fn rounded(x: &Tensor, scalar: Scalar) -> Tensor {
    let dtype = if scalar == Scalar::Bf16 {
        DType::BF16
    } else {
        DType::F32
    };
    x.to_dtype(dtype).unwrap().to_dtype(DType::F32).unwrap()
}

fn values(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

fn close(what: &str, scalar: Scalar, found: &[f32], expected: &[f32], limit: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    // A result in bf16 is rounded once more.
    let step = if scalar == Scalar::Bf16 {
        2f32.powi(-8)
    } else {
        0.0
    };
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let apart = (found - expected).abs();
        assert!(
            apart <= limit + step * expected.abs(),
            "{what}, {scalar:?}, value {i}: {found}, expected {expected}"
        );
    }
}

#[test]
fn rows_are_normalised() {
    for (scalar, (rows, width)) in both([(1, 4), (3, 20), (5, 64), (2, 1000), (3, 2048), (1, 3000)])
    {
        let noise = Noise::seeded(1);
        let [x, scale, shift] = [vec![rows, width], vec![width], vec![width]]
            .map(|shape| rounded(&noise.tensor(shape), scalar));
        let x = rounded(&((x * 3.0).unwrap() + 2.0).unwrap(), scalar);
        let [given, by, plus] =
            [&x, &scale, &shift].map(|t| Memory::from_values(&values(t), scalar));
        for base in [0.0, 1.0] {
            let out = Memory::room(rows * width, scalar);
            let at = [given.address(), by.address(), plus.address(), out.address()];
            run(&calls::normalise(scalar, at, rows, width, base, 1e-6));
            let scale = (&scale + f64::from(base - 1.0)).unwrap(); // the layer adds 1
            let expected = modulate(&x, &scale, &shift, 1e-6).unwrap();
            close(
                &format!("{rows} x {width}"),
                scalar,
                &out.values(scalar),
                &values(&expected),
                2e-5,
            );
        }
    }
}

#[test]
fn sums_are_gated() {
    for (scalar, (rows, width)) in both([(1, 4), (3, 68), (5, 1000), (2, 2048)]) {
        let noise = Noise::seeded(2);
        let [x, h, gamma] = [vec![rows, width], vec![rows, width], vec![width]]
            .map(|shape| rounded(&noise.tensor(shape), scalar));
        let [a, b, factor] = [&x, &h, &gamma].map(|t| Memory::from_values(&values(t), scalar));
        for gated in [false, true] {
            let out = Memory::room(rows * width, scalar);
            let factor = if gated { factor.address() } else { 0 };
            run(&calls::residual(
                scalar,
                [a.address(), b.address(), factor, out.address()],
                rows * width,
                width,
            ));
            let expected = residual(&x, &h, gated.then_some(&gamma)).unwrap();
            close(
                &format!("{rows} x {width}"),
                scalar,
                &out.values(scalar),
                &values(&expected),
                1e-6,
            );
        }
    }
}

#[test]
fn projections_are_split_and_turned() {
    for (scalar, (rows, size, heads, width)) in both([
        (1, (1, 1), 1, 4),
        (2, (2, 3), 3, 8),
        (3, (3, 5), 2, 96),
        (1, (4, 4), 3, 128),
    ]) {
        let tokens = size.0 * size.1;
        let c = heads * width;
        let qkv = rounded(&Noise::seeded(3).tensor((rows, tokens, 3 * c)), scalar);
        let rope = Rope::new(size, (8, 8), width, &Device::Cpu).unwrap();
        let temperature: Vec<f32> = (0..heads).map(|head| 1.5 + head as f32).collect();
        let angles = rope
            .angles()
            .map(|t| Memory::from_values(&values(t), Scalar::F32));
        let given = Memory::from_values(&values(&qkv), scalar);
        let scales = Memory::from_values(&temperature, Scalar::F32);
        let q = Memory::room(rows * tokens * c, scalar);
        let kept: Vec<Memory> = (0..2 * rows)
            .map(|_| Memory::room(tokens * c, scalar))
            .collect();
        let table = Memory::of_addresses(&kept.iter().map(Memory::address).collect::<Vec<_>>());
        let [cos, sin] = angles;
        let at = [
            given.address(),
            scales.address(),
            cos.address(),
            sin.address(),
            q.address(),
            table.address(),
        ];
        run(&calls::split_and_rotate(
            scalar,
            at,
            Heads {
                rows,
                tokens,
                heads,
                width,
            },
        ));
        let (expected, kv) = split_and_rotate(&qkv, &temperature, &rope, DType::F32).unwrap();
        let what = format!("{rows} x {tokens} x {heads} x {width}");
        close(
            &format!("queries of {what}"),
            scalar,
            &q.values(scalar),
            &values(&expected),
            1e-5,
        );
        for (kept, kv) in kept.chunks(2).zip(&kv) {
            close(
                &format!("keys of {what}"),
                scalar,
                &kept[0].values(scalar),
                &values(&kv.k),
                1e-6,
            );
            assert_eq!(kept[1].values(scalar), values(&kv.v), "values of {what}");
        }
    }
}

#[test]
fn groups_are_normalised_and_bent() {
    for (scalar, (images, groups, channels, pixels)) in both([
        (2, 3, 4, 5),
        (1, 2, 1, 8),
        (2, 1, 3, 40),
        (1, 2, 4, 10_001),
        (2, 2, 4, 4096),
    ]) {
        let sizes = Groups {
            images,
            groups,
            channels,
            pixels,
        };
        assert!(sizes.served());
        let noise = Noise::seeded(4);
        let c = groups * channels;
        let size = channels * pixels;
        let x = rounded(&(noise.tensor((images, c, pixels)) + 5.0).unwrap(), scalar);
        let [weight, bias] = [
            rounded(&noise.tensor(c), scalar),
            rounded(&noise.tensor(c), scalar),
        ];
        let [given, by, plus] =
            [&x, &weight, &bias].map(|t| Memory::from_values(&values(t), scalar));
        let x = values(&x);
        let weight = values(&weight);
        let bias = values(&bias);
        for silu in [false, true] {
            let found = Memory::room(sizes.found(), Scalar::F32);
            let out = Memory::room(x.len(), scalar);
            let at = [
                given.address(),
                found.address(),
                by.address(),
                plus.address(),
                out.address(),
            ];
            calls::group_norm(scalar, at, sizes, 1e-6, silu)
                .iter()
                .for_each(run);
            let expected = x.chunks(size).enumerate().flat_map(|(group, x)| {
                let mean = x.iter().map(|v| f64::from(*v)).sum::<f64>() / size as f64;
                let power = x
                    .iter()
                    .map(|v| (f64::from(*v) - mean).powi(2))
                    .sum::<f64>()
                    / size as f64;
                let weight = &weight;
                let bias = &bias;
                x.iter().enumerate().map(move |(i, v)| {
                    let channel = group % groups * channels + i / pixels;
                    let normal = (f64::from(*v) - mean) / (power + 1e-6).sqrt();
                    let y = normal * f64::from(weight[channel]) + f64::from(bias[channel]);
                    (if silu { y / (1.0 + (-y).exp()) } else { y }) as f32
                })
            });
            let what = format!("{images} x {groups} x {channels} x {pixels}");
            close(
                &what,
                scalar,
                &out.values(scalar),
                &expected.collect::<Vec<_>>(),
                2e-5,
            );
        }
    }
}

/// Keys and values of some tokens: rounded, and in memory.
struct Block {
    kv: Kv,
    k: Memory,
    v: Memory,
    tokens: usize,
}

impl Block {
    fn new(noise: &Noise, tokens: usize, c: usize, scalar: Scalar) -> Self {
        let [k, v] = [(); 2].map(|()| rounded(&noise.tensor((tokens, c)), scalar));
        let [own_k, own_v] = [&k, &v].map(|t| Memory::from_values(&values(t), scalar));
        Self {
            kv: Kv { k, v },
            k: own_k,
            v: own_v,
            tokens,
        }
    }
}

/// Attention of queries (R, L, C) over these blocks by the kernel.
fn attend(q: &Tensor, seen: &[Vec<&Block>], heads: usize, scale: f32, scalar: Scalar) -> Vec<f32> {
    let (rows, tokens, c) = q.dims3().unwrap();
    let sizes = Heads {
        rows,
        tokens,
        heads,
        width: c / heads,
    };
    assert!(calls::attention_served(scalar, sizes));
    let given = Memory::from_values(&values(q), scalar);
    let out = Memory::room(rows * tokens * c, scalar);
    let blocks = |row: &Vec<&Block>| {
        row.iter()
            .map(|b| (b.k.address(), b.v.address(), b.tokens))
            .collect()
    };
    let table = Memory::of_addresses(&calls::table(
        &seen.iter().map(blocks).collect::<Vec<Blocks>>(),
    ));
    run(&calls::attention(
        scalar,
        [given.address(), table.address(), out.address()],
        sizes,
        scale,
    ));
    out.values(scalar)
}

#[test]
fn queries_meet_the_blocks_of_their_row() {
    let shapes = [
        (1, 1, 16),
        (7, 2, 32),
        (64, 1, 96),
        (65, 2, 128),
        (130, 3, 16),
        (33, 2, 48),
    ];
    for (scalar, (tokens, heads, width)) in both(shapes) {
        let noise = Noise::seeded(5);
        let c = heads * width;
        let blocks = [1, 4, 70, 129, 64].map(|tokens| Block::new(&noise, tokens, c, scalar));
        let [a, b, long, longer, whole] = &blocks;
        let seen = [vec![a], vec![a, b, long, longer], vec![whole, a, whole]];
        let q = rounded(&noise.tensor((seen.len(), tokens, c)), scalar);
        let found = attend(&q, &seen, heads, 0.3, scalar);
        let kv: Vec<Vec<&Kv>> = seen
            .iter()
            .map(|row| row.iter().map(|block| &block.kv).collect())
            .collect();
        let expected = attention_blocks(&q, &kv, heads, 0.3, None).unwrap();
        // Weights are rounded to bf16 before they multiply values of up to about 4.
        let limit = if scalar == Scalar::Bf16 { 8e-3 } else { 1e-5 };
        close(
            &format!("{tokens} x {heads} x {width}"),
            scalar,
            &found,
            &values(&expected),
            limit,
        );
    }
}

#[test]
fn a_head_may_have_any_width_that_four_divides_in_f32() {
    let noise = Noise::seeded(6);
    for width in [4, 20, 60] {
        let block = Block::new(&noise, 37, 2 * width, Scalar::F32);
        let q = noise.tensor((1, 5, 2 * width));
        let expected = attention_blocks(&q, &[vec![&block.kv]], 2, 1.0, None).unwrap();
        close(
            "odd widths",
            Scalar::F32,
            &attend(&q, &[vec![&block]], 2, 1.0, Scalar::F32),
            &values(&expected),
            1e-5,
        );
    }
}

#[test]
fn attention_is_batch_invariant() {
    for (scalar, width) in both([32]) {
        let noise = Noise::seeded(7);
        let c = 2 * width;
        let blocks = [5, 90, 33].map(|tokens| Block::new(&noise, tokens, c, scalar));
        let seen = [
            vec![&blocks[0], &blocks[1]],
            vec![&blocks[0], &blocks[2]],
            vec![&blocks[1]],
        ];
        let q = rounded(&noise.tensor((3, 80, c)), scalar);
        let batch = attend(&q, &seen, 2, 1.0, scalar);
        for (row, seen) in seen.iter().enumerate() {
            for first in [0, 3, 79] {
                let alone = q
                    .narrow(0, row, 1)
                    .unwrap()
                    .narrow(1, first, 1)
                    .unwrap()
                    .contiguous()
                    .unwrap();
                let alone = attend(&alone, std::slice::from_ref(seen), 2, 1.0, scalar);
                assert_eq!(
                    alone,
                    batch[(row * 80 + first) * c..][..c],
                    "row {row}, query {first}"
                );
            }
        }
    }
}

#[test]
fn tables_say_where_rows_begin() {
    assert_eq!(
        calls::table(&[vec![(10, 20, 3)], vec![], vec![(10, 20, 3), (30, 40, 5)]])[..4],
        [4, 7, 7, 13]
    );
    assert_eq!(
        calls::table(&[vec![(10, 20, 3)], vec![(30, 40, 5)]]),
        [3, 6, 9, 10, 20, 3, 30, 40, 5]
    );
}

/// Everything in both types.
fn both<T: Copy, const N: usize>(of: [T; N]) -> impl Iterator<Item = (Scalar, T)> {
    BOTH.into_iter()
        .flat_map(move |scalar| of.map(|shape| (scalar, shape)))
}

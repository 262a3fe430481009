//! The kernels of `nn` against the tensor library's own, shape by shape: `cargo bench --bench
//! kernels`.

use std::{hint::black_box, sync::Arc};

use candle_core::{DType, Device, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ttsvar::{
    loading::RandomWeights,
    nn::{
        Activation, Conv2d, Dtype, FeatureMap, GroupNorm, Kv, Linear, Weights, attention_blocks,
        modulate,
    },
};

fn random(shape: &[usize]) -> Tensor {
    Tensor::randn(0f32, 1.0, shape, &Device::Cpu).expect("numbers")
}

/// Rows of the first, a middle and the last scale, and of 2B's last scale at 512 pixels.
fn linear(c: &mut Criterion) {
    let mut group = c.benchmark_group("linear");
    for (rows, inputs, outputs) in [
        (2, 768, 2304),
        (72, 768, 3072),
        (512, 768, 3072),
        (512, 3072, 768),
        (2048, 2048, 8192),
        (2048, 8192, 2048),
    ] {
        let (weight, x) = (random(&[outputs, inputs]), random(&[rows, inputs]));
        let shape = format!("{rows}x{inputs}x{outputs}");
        group.throughput(Throughput::Elements((2 * rows * inputs * outputs) as u64));
        for (name, dtype) in Dtype::ALL.map(|dtype| (dtype.name(), dtype)) {
            let layer = Linear::kept_as(dtype, weight.clone(), None).expect("a layer");
            group.bench_function(BenchmarkId::new(name, &shape), |b| {
                b.iter(|| black_box(layer.forward(&x)))
            });
        }
        let turned = weight
            .t()
            .and_then(|weight| weight.contiguous())
            .expect("a matrix");
        group.bench_function(BenchmarkId::new("library", &shape), |b| {
            b.iter(|| black_box(x.matmul(&turned)))
        });
    }
    group.finish();
}

/// Queries of a middle and of the last scale at 256 pixels, and of 2B's last scale at 512.
fn attention(c: &mut Criterion) {
    let mut group = c.benchmark_group("attention");
    for (tokens, seen, width, heads) in [
        (64, 121, 768, 8),
        (256, 521, 768, 8),
        (1024, 2521, 2048, 16),
    ] {
        let q = random(&[1, tokens, width]);
        let kv = Kv {
            k: random(&[seen, width]),
            v: random(&[seen, width]),
        };
        let shape = format!("{tokens}x{seen}x{width}");
        for (name, dtype) in [("f32", DType::F32), ("bf16", DType::BF16)] {
            let [k, v] = [&kv.k, &kv.v].map(|part| part.to_dtype(dtype).expect("numbers"));
            let kv = Kv { k, v };
            group.bench_function(BenchmarkId::new(name, &shape), |b| {
                b.iter(|| black_box(attention_blocks(&q, &[vec![&kv]], heads, 1.0, None)));
            });
        }
        let split = |x: &Tensor| {
            x.reshape((1, x.dims()[x.rank() - 2], heads, width / heads))?
                .transpose(1, 2)?
                .contiguous()
        };
        group.bench_function(BenchmarkId::new("library", &shape), |b| {
            b.iter(|| -> candle_core::Result<Tensor> {
                let (q, k, v) = (split(&q)?, split(&kv.k)?, split(&kv.v)?);
                let scores = candle_nn::ops::softmax_last_dim(&q.matmul(&k.t()?)?)?;
                scores.matmul(&v)?.transpose(1, 2)?.contiguous()
            });
        });
    }
    group.finish();
}

fn convolution(c: &mut Criterion) {
    let mut group = c.benchmark_group("conv3x3");
    for (channels, side) in [(512, 32), (256, 64), (128, 128)] {
        let shape = format!("{channels}x{side}x{side}");
        let tensors = [
            ("weight", vec![channels, channels, 3, 3]),
            ("bias", vec![channels]),
        ];
        let made = RandomWeights::new(tensors.map(|(name, shape)| (name.to_owned(), shape)));
        let weights = Weights::new(Arc::new(made), Dtype::F32, &Device::Cpu);
        let x = random(&[1, channels, side, side]);
        let map = FeatureMap::new(&x).expect("a map");
        let direct = Conv2d::load(&weights, 1, 1).expect("a layer");
        let tiled = Conv2d::load_for_large_maps(&weights, 1, 1).expect("a layer");
        group.bench_function(BenchmarkId::new("direct", &shape), |b| {
            b.iter(|| black_box(direct.forward(&map)))
        });
        group.bench_function(BenchmarkId::new("tiled", &shape), |b| {
            b.iter(|| black_box(tiled.forward(&map)))
        });
        let weight = weights
            .get((channels, channels, 3, 3), "weight")
            .expect("weights");
        group.bench_function(BenchmarkId::new("library", &shape), |b| {
            b.iter(|| black_box(x.conv2d(&weight, 1, 1, 1, 1)))
        });
    }
    group.finish();
}

fn elementwise(c: &mut Criterion) {
    let mut group = c.benchmark_group("elementwise");
    let (x, wide) = (random(&[2, 256, 768]), random(&[2, 256, 3072]));
    let (scale, shift) = (random(&[768]), random(&[768]));
    group.bench_function("modulate", |b| {
        b.iter(|| black_box(modulate(&x, &scale, &shift, 1e-6)))
    });
    group.bench_function("modulate/library", |b| {
        b.iter(|| candle_nn::ops::layer_norm(&x, &(&scale + 1.0).expect("a sum"), &shift, 1e-6));
    });
    group.bench_function("gelu", |b| {
        b.iter(|| black_box(Activation::GeluTanh.forward(&wide)))
    });
    group.bench_function("gelu/library", |b| b.iter(|| black_box(wide.gelu())));
    let tensors = [("weight", vec![128]), ("bias", vec![128])];
    let made = RandomWeights::new(tensors.map(|(name, shape)| (name.to_owned(), shape)));
    let norm = GroupNorm::load(
        &Weights::new(Arc::new(made), Dtype::F32, &Device::Cpu),
        |_| Some(32),
        1e-6,
        Some(Activation::Silu),
    );
    let (norm, picture) = (norm.expect("a layer"), random(&[1, 128, 128, 128]));
    let map = FeatureMap::new(&picture).expect("a map");
    group.bench_function("group norm and SiLU", |b| {
        b.iter(|| black_box(norm.forward(&map)))
    });
    group.bench_function("group norm and SiLU/library", |b| {
        let (one, zero) = (
            Tensor::ones(128, DType::F32, &Device::Cpu),
            Tensor::zeros(128, DType::F32, &Device::Cpu),
        );
        let library =
            candle_nn::GroupNorm::new(one.expect("ones"), zero.expect("zeros"), 128, 32, 1e-6)
                .expect("a layer");
        b.iter(|| candle_nn::Module::forward(&library, &picture).and_then(|y| y.silu()));
    });
    group.finish();
}

criterion_group! {
    name = kernels;
    config = Criterion::default().sample_size(10);
    targets = linear, attention, convolution, elementwise
}
criterion_main!(kernels);

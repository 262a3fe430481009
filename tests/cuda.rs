//! The layers and the networks on an NVIDIA GPU, against the CPU and against recordings of the
//! original program. A program of its own: the usual harness would say of a test that found no GPU
//! that it passed. Without one, or without `--features cuda`, it says so and checks nothing; with
//! `TTSVAR_GPU=required` that is a failure.

mod support;

use std::{process::ExitCode, sync::Arc};

use candle_core::{DType, Device, Tensor};
use support::{golden, json, tensors, values};
use ttsvar::{
    hub,
    loading::{self, RandomWeights},
    models::{
        autoencoder::{Attention, Decoder},
        infinity::{Infinity, Schedule},
    },
    nn::{
        Activation, Dtype, FeatureMap, GroupNorm, Kv, Rope, Weights, attention_blocks,
        kernels_forced, modulate, open_gpu, residual, split_and_rotate,
    },
    options::Options,
    pipelines::infinity::{ImageModel, Settings},
    request::Session,
    search::{DecodeSize, Image, Method, Rollout, Silent, run},
    system::{DEMO, System},
};

/// What a number may be apart by: in f32 and in bf16, where activations are rounded after every
/// layer.
const OF_A_LAYER: [f32; 2] = [1e-4, 0.02];
/// Root mean squares of what separates logits and pictures from the recorded ones, as shares of
/// those of the recorded. Guidance of 3 triples what rounding does to logits: the tensor library's
/// bf16 layers come within .11 on a CPU.
const OF_LOGITS: [f64; 2] = [1e-4, 0.15];
const OF_PICTURES: [f64; 2] = [1e-3, 0.05];

const TYPES: [Dtype; 2] = [Dtype::F32, Dtype::Bf16];

fn main() -> ExitCode {
    let gpu = match open_gpu() {
        Ok(gpu) => gpu,
        Err(error) => {
            println!("skipped: nothing was checked, because there is no GPU here: {error}");
            let required = std::env::var_os("TTSVAR_GPU").is_some_and(|wish| wish == "required");
            return if required {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    for (at, dtype) in TYPES.into_iter().enumerate() {
        if kernels_forced() {
            println!(
                "the kernels of this crate are switched off: layers in {dtype:?} were not checked one by one"
            );
        } else {
            layers(&gpu, dtype, OF_A_LAYER[at]);
            company(&gpu, dtype);
        }
        for fixture in ["infinity-tiny", "infinity-8b-like-tiny"] {
            network(&gpu, fixture, dtype, OF_LOGITS[at], OF_PICTURES[at]);
        }
        search(&gpu, dtype);
    }
    println!("all checks passed on the GPU");
    ExitCode::SUCCESS
}

fn made(shape: &[usize]) -> Tensor {
    Tensor::randn(0f32, 1.0, shape, &Device::Cpu).expect("numbers")
}

/// A tensor on the GPU, and on the CPU in f32 with the same numbers.
fn pair(gpu: &Device, dtype: Dtype, shape: &[usize]) -> [Tensor; 2] {
    let rounded = made(shape)
        .to_dtype(dtype.of_activations())
        .expect("rounded");
    [
        rounded.to_device(gpu).expect("a copy"),
        rounded.to_dtype(DType::F32).expect("widened"),
    ]
}

fn near(what: &str, dtype: Dtype, found: &Tensor, expected: &Tensor, limit: f32) {
    let (found, expected) = (
        values(&found.to_device(&Device::Cpu).expect("a copy")),
        values(expected),
    );
    let apart = found
        .iter()
        .zip(&expected)
        .map(|(a, b)| (a - b).abs() / (1.0 + b.abs()));
    let worst = apart.fold(0f32, |worst, apart| {
        if apart.is_nan() {
            f32::INFINITY
        } else {
            worst.max(apart)
        }
    });
    println!("{what} in {dtype:?}: {worst:.1e} apart, {limit:.1e} allowed");
    assert!(
        found.len() == expected.len() && worst <= limit,
        "{what} in {dtype:?}"
    );
}

/// Each layer that has kernels of its own.
fn layers(gpu: &Device, dtype: Dtype, limit: f32) {
    let [x, on_cpu] = pair(gpu, dtype, &[2, 37, 2048]);
    let [h, h_cpu] = pair(gpu, dtype, &[2, 37, 2048]);
    let [scale, scale_cpu] = pair(gpu, dtype, &[2048]);
    let [shift, shift_cpu] = pair(gpu, dtype, &[2048]);
    let found = modulate(&x, &scale, &shift, 1e-6).expect("a layer");
    near(
        "AdaLN",
        dtype,
        &found,
        &modulate(&on_cpu, &scale_cpu, &shift_cpu, 1e-6).expect("a layer"),
        limit,
    );
    let found = residual(&x, &h, Some(&scale)).expect("a sum");
    near(
        "gated sum",
        dtype,
        &found,
        &residual(&on_cpu, &h_cpu, Some(&scale_cpu)).expect("a sum"),
        limit,
    );

    for (heads, width) in [(8, 96), (16, 128), (4, 16)] {
        let [qkv, qkv_cpu] = pair(gpu, dtype, &[2, 12, 3 * heads * width]);
        let temperature = vec![4.0; heads];
        let rope = |device| Rope::new((3, 4), (64, 64), width, device).expect("angles");
        let (q, kv) = split_and_rotate(&qkv, &temperature, &rope(gpu), dtype.of_activations())
            .expect("a split");
        let (q_cpu, kv_cpu) =
            split_and_rotate(&qkv_cpu, &temperature, &rope(&Device::Cpu), DType::F32)
                .expect("a split");
        near(
            &format!("queries of width {width}"),
            dtype,
            &q,
            &q_cpu,
            limit,
        );
        near(
            &format!("keys of width {width}"),
            dtype,
            &kv[1].k,
            &kv_cpu[1].k,
            limit,
        );
        near(
            &format!("values of width {width}"),
            dtype,
            &kv[1].v,
            &kv_cpu[1].v,
            0.0,
        );
        attention(gpu, dtype, heads, width, limit);
    }

    for (channels, side) in [(128, 64), (64, 7)] {
        let names = ["weight", "bias"].map(|name| (name.to_owned(), vec![channels]));
        let norm = |device| {
            let weights = Weights::new(Arc::new(RandomWeights::new(names.clone())), dtype, device);
            GroupNorm::load(&weights, |_| Some(32), 1e-6, Some(Activation::Silu)).expect("a layer")
        };
        let [map, map_cpu] = pair(gpu, dtype, &[2, channels, side, side]);
        let run = |norm: GroupNorm, map| norm.forward(&FeatureMap::new(map)?)?.to_tensor();
        let found = run(norm(gpu), &map).expect("a map");
        near(
            "group norm and SiLU",
            dtype,
            &found,
            &run(norm(&Device::Cpu), &map_cpu).expect("a map"),
            limit,
        );
    }
}

/// Rows that see different blocks, some of them the same.
fn attention(gpu: &Device, dtype: Dtype, heads: usize, width: usize, limit: f32) {
    let c = heads * width;
    let blocks = [1, 4, 70, 300].map(|tokens| {
        let [[k, k_cpu], [v, v_cpu]] = [(); 2].map(|()| pair(gpu, dtype, &[tokens, c]));
        (Kv { k, v }, Kv { k: k_cpu, v: v_cpu })
    });
    let seen = [vec![0, 1, 2, 3], vec![0, 2], vec![3]];
    let [q, q_cpu] = pair(gpu, dtype, &[seen.len(), 130, c]);
    let here: Vec<Vec<&Kv>> = seen
        .iter()
        .map(|row| row.iter().map(|block| &blocks[*block].0).collect())
        .collect();
    let there: Vec<Vec<&Kv>> = seen
        .iter()
        .map(|row| row.iter().map(|block| &blocks[*block].1).collect())
        .collect();
    let found = attention_blocks(&q, &here, heads, 0.1, None).expect("a result");
    let expected = attention_blocks(&q_cpu, &there, heads, 0.1, None).expect("a result");
    near(
        &format!("attention of width {width}"),
        dtype,
        &found,
        &expected,
        limit,
    );
}

/// A row has the same bits alone and beside others, in the kernels of this crate.
fn company(gpu: &Device, dtype: Dtype) {
    let kv = [(); 3].map(|()| {
        let [k, v] = [(); 2].map(|()| pair(gpu, dtype, &[100, 256])[0].clone());
        Kv { k, v }
    });
    let seen: Vec<Vec<&Kv>> = kv.iter().map(|kv| vec![kv]).collect();
    let [q, _] = pair(gpu, dtype, &[3, 70, 256]);
    let [scale, shift] = [(); 2].map(|()| pair(gpu, dtype, &[256])[0].clone());
    let together = attention_blocks(&q, &seen, 2, 1.0, None).expect("a result");
    let modulated = modulate(&q, &scale, &shift, 1e-6).expect("a result");
    for (row, seen) in seen.iter().enumerate() {
        let own = |x: &Tensor| x.narrow(0, row, 1).expect("a row");
        let alone =
            attention_blocks(&own(&q), std::slice::from_ref(seen), 2, 1.0, None).expect("a result");
        assert_eq!(
            values(&alone),
            values(&own(&together)),
            "attention of row {row} in {dtype:?}"
        );
        let alone = modulate(&own(&q), &scale, &shift, 1e-6).expect("a result");
        assert_eq!(
            values(&alone),
            values(&own(&modulated)),
            "AdaLN of row {row} in {dtype:?}"
        );
    }
    println!("rows in {dtype:?}: the same bits alone and in company");
}

/// A walk along the recorded bits, and the picture at its end.
fn network(gpu: &Device, fixture: &str, dtype: Dtype, of_logits: f64, of_pictures: f64) {
    let config = json(fixture, "config.json");
    let file = |part: &str| golden(fixture).join(config["files"][part].as_str().expect("a file"));
    let open = |part, keys: &[&str]| {
        Weights::new(
            hub::open(file(part), keys).expect("a checkpoint"),
            dtype,
            gpu,
        )
    };
    let decoder =
        Decoder::load(&open("vae", &["vae"]).pp("decoder"), Attention::None).expect("the decoder");
    let network = Infinity::load(&open("model", &[])).expect("the network");
    let run = &config["runs"]["run_a"];
    let pixels = run["pn"]
        .as_str()
        .expect("a size")
        .parse()
        .expect("a known size");
    let schedule = Schedule::released(run["h_div_w"].as_f64().expect("an aspect"), pixels)
        .expect("a schedule");
    let number = |name: &str| run[name].as_f64().expect("a number") as f32;
    let settings = Settings {
        cfg: number("cfg").into(),
        tau: number("tau").into(),
        ..Settings::default()
    };
    let painter = ImageModel::new(&network, &decoder, &schedule, settings, gpu).expect("a painter");
    let features = &tensors(fixture, "text.safetensors")["kv_compact"];
    let tokens = config["text_lens"][0].as_u64().expect("a length") as usize;
    let features = features
        .narrow(0, 0, tokens)
        .and_then(|t| t.to_dtype(dtype.of_activations())?.to_device(gpu))
        .expect("a text");
    let mut rollout = painter.start(&features, None, 0..1, 1).expect("a start");
    let recorded = tensors(fixture, "run_a.safetensors");
    let of_prompt = |name: String| values(&recorded[&name].get(0).expect("a prompt"));
    let mut worst = 0f64;
    for scale in 0..schedule.grids.len() {
        let bits: Vec<u8> = of_prompt(format!("s{scale:02}.bits"))
            .iter()
            .map(|bit| u8::from(*bit > 0.5))
            .collect();
        let mut seen = Vec::new();
        rollout
            .step_with(&mut |_, logits| {
                seen = logits.to_vec();
                bits.clone()
            })
            .expect("a step");
        worst = worst.max(distance(&seen, &of_prompt(format!("s{scale:02}.logits"))));
    }
    println!("{fixture} in {dtype:?}: logits {worst:.1e} apart, {of_logits:.1e} allowed");
    assert!(worst <= of_logits, "{fixture} in {dtype:?}");

    let picture = rollout
        .images(&[0], DecodeSize::Full)
        .expect("a picture")
        .remove(0);
    let expected: Vec<f32> = of_prompt("final.image_u8_bgr".to_owned())
        .chunks(3)
        .flat_map(|p| [p[2], p[1], p[0]])
        .collect();
    let found: Vec<f32> = picture.pixels().iter().map(|v| f32::from(*v)).collect();
    let apart = distance(&found, &expected);
    println!("{fixture} in {dtype:?}: pictures {apart:.1e} apart, {of_pictures:.1e} allowed");
    assert!(
        found.len() == expected.len() && apart <= of_pictures,
        "{fixture} in {dtype:?}"
    );
}

/// Root of the mean square of what separates two lists, as a share of the second's own.
fn distance(found: &[f32], expected: &[f32]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    let apart = square(&mut found.iter().zip(expected).map(|(a, b)| f64::from(a - b)));
    (apart / square(&mut expected.iter().map(|v| f64::from(*v)))).sqrt()
}

/// A whole search of the demo, all of its networks on the GPU. It may draw other bits than on the
/// CPU where a coin is near.
fn search(gpu: &Device, dtype: Dtype) {
    let paint = |device: &Device, dtype| -> (Image, f32) {
        let kind = if device.is_cpu() {
            loading::Device::Cpu
        } else {
            loading::Device::Cuda
        };
        let builder = System::builder(DEMO).dtype(dtype).device(kind);
        let system = builder.open().expect("the demo");
        let session = Session::new(&system, &Options::default()).expect("a session");
        let pipeline = session.pipeline();
        let search = session.search();
        let plan = Method::TtsVar
            .plan(pipeline.scales().len(), 1)
            .expect("a plan");
        let prompt = "a red circle and a blue square".into();
        let outcome = run(&search, &prompt, &plan, 4, &mut Silent).expect("a search");
        (outcome.winner().image.clone(), outcome.winner().score)
    };
    let [(found, score), (expected, _)] = [paint(gpu, dtype), paint(&Device::Cpu, Dtype::F32)];
    let differing = found
        .pixels()
        .iter()
        .zip(expected.pixels())
        .filter(|(a, b)| a.abs_diff(**b) > 8)
        .count();
    let share = 100.0 * differing as f64 / expected.pixels().len() as f64;
    println!(
        "demo in {dtype:?}: a search ends, {share:.1} % of the values differ from the CPU's by more than 8 of 255"
    );
    assert_eq!(
        (found.width(), found.height()),
        (expected.width(), expected.height())
    );
    assert!(score.is_finite(), "the winner's score is {score}");
}

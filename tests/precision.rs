//! Matrices kept in bf16: how far the numbers are from those of matrices in f32.

mod support;

use candle_core::{DType, Device, Tensor};
use support::{golden, json, tensors};
use ttsvar::{
    hub,
    models::{
        bsq_vae::Decoder,
        infinity::{Infinity, Schedule},
    },
    nn::{Linear, Weights},
    pipelines::infinity::{InfinityRollout, Painter, Settings},
};

/// Root of the mean square of what separates two lists, as a share of the second's own.
fn distance(found: &[f32], expected: &[f32]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    let apart = square(&mut found.iter().zip(expected).map(|(a, b)| f64::from(a - b)));
    (apart / square(&mut expected.iter().map(|v| f64::from(*v)))).sqrt()
}

/// Both walk the same path: the bits that the network in f32 finds likelier.
#[test]
fn bf16_logits_stay_within_two_percent() {
    for fixture in ["infinity-tiny", "infinity-8b-like-tiny"] {
        let config = json(fixture, "config.json");
        let file = |part: &str| golden(fixture).join(config["files"][part].as_str().expect("a file"));
        let open = |part, keys: &[&str], dtype| {
            Weights::new(hub::open(file(part), keys).expect("a checkpoint"), dtype, &Device::Cpu)
        };
        let decoder = Decoder::load(&open("vae", &["vae"], DType::F32).pp("decoder")).expect("the decoder");
        let [exact, rounded] =
            [DType::F32, DType::BF16].map(|dtype| Infinity::load(&open("model", &[], dtype)).expect("the network"));
        let run = &config["runs"]["run_a"];
        let pixels = run["pn"].as_str().expect("a size").parse().expect("a known size");
        let schedule = Schedule::released(run["h_div_w"].as_f64().expect("an aspect"), pixels).expect("a schedule");
        let [exact, rounded] = [&exact, &rounded].map(|network| {
            Painter::new(network, &decoder, &schedule, Settings::default(), &Device::Cpu).expect("a painter")
        });
        let features = &tensors(fixture, "text.safetensors")["kv_compact"];
        let tokens = config["text_lens"][0].as_u64().expect("a length") as usize;
        let features = features.narrow(0, 0, tokens).expect("the first prompt");
        let [mut exact, mut rounded] =
            [&exact, &rounded].map(|painter| painter.start(&features, None, 0..1, 1).expect("a start"));
        for scale in 0..schedule.grids.len() {
            let (expected, bits) = step(&mut exact, None);
            let (found, _) = step(&mut rounded, Some(bits));
            let distance = distance(&found, &expected);
            println!("{fixture}, scale {scale}: {:.2} % apart", 100.0 * distance);
            assert!(distance > 0.0 && distance < 0.02, "{fixture}, scale {scale}: {distance}");
        }
    }
}

/// One scale with these bits, or with the likelier ones; returns logits and bits.
fn step(rollout: &mut InfinityRollout, bits: Option<Vec<u8>>) -> (Vec<f32>, Vec<u8>) {
    let mut seen = Vec::new();
    let mut drawn = Vec::new();
    let mut draw = |_: usize, logits: &[f32]| {
        seen = logits.to_vec();
        drawn = bits.clone().unwrap_or_else(|| logits.chunks(2).map(|pair| u8::from(pair[1] > pair[0])).collect());
        drawn.clone()
    };
    rollout.step_with(&mut draw).expect("a step");
    (seen, drawn)
}

/// The only difference is the rounding of the weights: sums are taken in f32.
#[test]
fn bf16_layers_are_those_of_rounded_weights() {
    let random = |shape: (usize, usize)| Tensor::randn(0f32, 1.0, shape, &Device::Cpu).expect("numbers");
    for (rows, inputs, outputs) in [(1, 5, 3), (7, 1100, 65), (300, 64, 96)] {
        let (weight, x) = (random((outputs, inputs)), random((rows, inputs)));
        let halves = weight.to_dtype(DType::BF16).and_then(|w| w.to_dtype(DType::F32)).expect("rounded");
        let found = Linear::kept_as(DType::BF16, weight, None).and_then(|layer| layer.forward(&x)).expect("a product");
        let expected = Linear::new(halves, None).and_then(|layer| layer.forward(&x)).expect("a product");
        assert_eq!(support::values(&found), support::values(&expected), "{rows} {inputs} {outputs}");
    }
}

//! The demo's latent verifier against its PyTorch twin, on recorded latents.

use std::{collections::HashMap, path::Path};

use candle_core::{Device, Tensor};
use serde_json::Value;
use ttsvar::{
    hub,
    models::blip::LatentEncoder,
    nn::{Dtype, Weights},
    options::Options,
    search::{FeatureMap, Latent, LatentVerifier},
    system::System,
};

use crate::support::{assert_close, assert_values_close, json, tensors, values};

const FIXTURE: &str = "verifier-demo";

fn encoder() -> LatentEncoder {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo/verifier.safetensors");
    let weights = Weights::new(hub::open(file, &[]).unwrap(), Dtype::F32, &Device::Cpu);
    LatentEncoder::load(&weights, Some(4)).unwrap()
}

struct Recording {
    config: Value,
    tensors: HashMap<String, Tensor>,
}

impl Recording {
    fn open() -> Self {
        Self {
            config: json(FIXTURE, "config.json"),
            tensors: tensors(FIXTURE, "golden.safetensors"),
        }
    }

    fn limit(&self, name: &str) -> f32 {
        self.config["limits"][name].as_f64().unwrap() as f32
    }

    fn scales(&self) -> Vec<usize> {
        serde_json::from_value(self.config["scales"].clone()).unwrap()
    }

    fn prompts(&self) -> Vec<String> {
        serde_json::from_value(self.config["prompts"].clone()).unwrap()
    }

    fn latents(&self, scale: usize) -> Vec<Latent> {
        let hidden = self.maps(&format!("hidden.{scale}"));
        let maps = self.maps(&format!("latents.{scale}"));
        let latent = |(map, hidden)| Latent {
            map,
            hidden: Some(hidden),
        };
        maps.into_iter().zip(hidden).map(latent).collect()
    }

    /// The maps of a tensor (B, channels, height, width).
    fn maps(&self, name: &str) -> Vec<FeatureMap> {
        let tensor = &self.tensors[name];
        let (count, channels, height, width) = tensor.dims4().unwrap();
        let map = |i| {
            let values = values(&tensor.get(i).unwrap());
            FeatureMap::new(channels, height, width, values).unwrap()
        };
        (0..count).map(map).collect()
    }
}

#[test]
fn parity_verifier_demo_tokens() {
    let recording = Recording::open();
    let encoder = encoder();
    let limit = recording.limit("tokens");
    for scale in recording.scales() {
        let latents = &recording.tensors[&format!("latents.{scale}")];
        let hidden = &recording.tensors[&format!("hidden.{scale}")];
        let found = encoder.forward(latents, Some(hidden), scale).unwrap();
        let expected = &recording.tensors[&format!("tokens.{scale}")];
        assert_close(&format!("tokens.{scale}"), &found, expected, limit, 0.0);
    }
}

#[test]
fn parity_verifier_demo_other_grids_are_averaged() {
    let recording = Recording::open();
    let first = recording.scales()[0];
    let latents = &recording.tensors["latents.wide"];
    let hidden = &recording.tensors["hidden.wide"];
    let found = encoder().forward(latents, Some(hidden), first).unwrap();
    let limit = recording.limit("tokens");
    assert_close(
        "tokens.wide",
        &found,
        &recording.tensors["tokens.wide"],
        limit,
        0.0,
    );
}

/// The pipeline hands the verifier what it was trained on: recorded samples, drawn again.
#[test]
fn parity_verifier_demo_latents_and_hidden_states() {
    let recording = Recording::open();
    let system = System::builder("demo").open().unwrap();
    let options: Options = serde_json::from_value(recording.config["settings"].clone()).unwrap();
    let settings = system.resolve(&options).unwrap();
    let pipeline = system.pipeline(&settings, None).unwrap();
    let scales = recording.scales();
    let samples = recording.config["samples"].as_array().unwrap();
    for (number, sample) in samples.iter().enumerate() {
        let prompt = sample["prompt"].as_str().unwrap();
        let seed = sample["seed"].as_u64().unwrap();
        let mut rollout = pipeline.begin(&prompt.into(), 0..1, seed).unwrap();
        for scale in 0..=*scales.last().unwrap() {
            rollout.step().unwrap();
            if !scales.contains(&scale) {
                continue;
            }
            let found = &rollout.latents(&[0]).unwrap()[0];
            let expected = &recording.latents(scale)[number];
            let compare = |part: &str, found: &FeatureMap, expected: &FeatureMap| {
                assert_eq!(found.shape(), expected.shape());
                let what = format!("{part}.{scale} of `{prompt}`");
                let limit = recording.limit(part);
                assert_values_close(&what, &found.values, &expected.values, limit, 0.0);
            };
            compare("latents", &found.map, &expected.map);
            let hidden = |latent: &Latent| latent.hidden.clone().unwrap();
            compare("hidden", &hidden(found), &hidden(expected));
        }
    }
}

#[test]
fn parity_verifier_demo_scores_in_any_batch() {
    let recording = Recording::open();
    let system = System::builder("demo").open().unwrap();
    let verifier: &dyn LatentVerifier = system.verifier().unwrap();
    let limit = recording.limit("scores");
    for scale in recording.scales() {
        let latents = recording.latents(scale);
        let expected = values(&recording.tensors[&format!("scores.{scale}")]);
        for (row, prompt) in recording.prompts().iter().enumerate() {
            let found = verifier.predict(prompt, scale, &latents).unwrap();
            let expected = &expected[row * latents.len()..][..latents.len()];
            assert_values_close(&format!("scores.{scale}"), &found, expected, limit, 0.0);
            let alone: Vec<f32> = latents
                .iter()
                .flat_map(|latent| {
                    let latent = std::slice::from_ref(latent);
                    verifier.predict(prompt, scale, latent).unwrap()
                })
                .collect();
            assert_eq!(
                alone, found,
                "scale {scale}: a prediction depends on the batch"
            );
        }
    }
}

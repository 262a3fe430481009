//! VAR's transformer and its tokenizer against recordings of the original program.

use std::{collections::HashMap, sync::Arc};

use candle_core::{DType, Device, IndexOp, Tensor};
use serde::de::DeserializeOwned;
use serde_json::Value;
use ttsvar::{
    hub,
    models::{
        branches::ScaleKv,
        var::{Class, ScaleRun, Var},
        vq_vae::{Decoder, Encoder, Quantizer, phi_of_scale},
    },
    nn::{Dtype, Weights},
    pipelines::{truncate, var::guidance_weight},
};

use crate::support::{assert_close, assert_values_close, golden, json, strided, tensors, values};

const FIXTURE: &str = "var-tiny";

// The limits of the README.
const LOGITS: f32 = 3e-4;
const LATENTS: f32 = 2e-5;
const IMAGES: f32 = 5e-4;

struct Fixture {
    config: Value,
    quantizer: Quantizer,
    decoder: Decoder,
    vae: Weights,
}

impl Fixture {
    fn open() -> Self {
        let config = json(FIXTURE, "config.json");
        let vae = weights(&config, "vae");
        Self {
            quantizer: Quantizer::load(&vae.pp("quantize")).unwrap(),
            decoder: Decoder::load(&vae).unwrap(),
            config,
            vae,
        }
    }

    fn setting<T: DeserializeOwned>(&self, name: &str) -> T {
        serde_json::from_value(self.config[name].clone()).unwrap()
    }

    fn grids(&self) -> Vec<(usize, usize)> {
        let sides: Vec<usize> = self.setting("patch_nums");
        sides.into_iter().map(|side| (side, side)).collect()
    }

    /// The largest grid, which is the latent's size.
    fn size(&self) -> (usize, usize) {
        *self.grids().last().unwrap()
    }
}

fn weights(config: &Value, file: &str) -> Weights {
    let path = golden(FIXTURE).join(config["files"][file].as_str().unwrap());
    let source = hub::open(path, &[] as &[&str]).unwrap();
    Weights::new(source, Dtype::F32, &Device::Cpu)
}

/// The ids of image `b` at a scale.
fn ids(recorded: &HashMap<String, Tensor>, scale: usize, b: usize) -> Vec<u32> {
    let ids = recorded[&format!("s{scale:02}.idx")].i(b).unwrap();
    let ids = ids.flatten_all().unwrap().to_dtype(DType::U32).unwrap();
    ids.to_vec1().unwrap()
}

/// Compares what is recorded of image `b` under this name, if anything.
fn compare(
    recorded: &HashMap<String, Tensor>,
    name: &str,
    b: usize,
    found: &Tensor,
    limit: f32,
) -> bool {
    let Some(expected) = recorded.get(name) else {
        return false;
    };
    let expected = expected.i(b).unwrap().unsqueeze(0).unwrap();
    assert_close(
        &format!("{name} of image {b}"),
        found,
        &expected,
        limit,
        0.0,
    );
    true
}

/// Runs image `b` with the recorded ids and compares everything that `recorded` has of it. Returns
/// the number of compared tensors.
fn walk(
    fixture: &Fixture,
    model: &Var,
    recorded: &HashMap<String, Tensor>,
    forced: &HashMap<String, Tensor>,
    b: usize,
) -> usize {
    let labels: Vec<usize> = fixture.setting("labels");
    let cfg: f32 = fixture.setting("cfg");
    let grids = fixture.grids();
    let classes: Vec<Class> = [Some(labels[b]), None]
        .into_iter()
        .map(|class| model.class(class).unwrap())
        .collect();
    let mut seen: Vec<Arc<ScaleKv>> = vec![];
    let mut sum: Option<Tensor> = None;
    let mut compared = 0;
    for (scale, grid) in grids.iter().enumerate() {
        let tokens = sum
            .as_ref()
            .map(|sum| fixture.quantizer.tokens(sum, *grid).unwrap());
        let run = ScaleRun {
            scale,
            tokens: tokens.as_ref(),
            classes: &classes,
            seen: &[seen.clone()],
            guidance: guidance_weight(cfg, scale, grids.len()),
            keep: true,
        };
        let (logits, kept) = model.forward(run, &mut |_, _, _| ()).unwrap();
        seen.extend(kept.into_iter().map(Arc::new));
        let name = |part: &str| format!("s{scale:02}.{part}");
        compared += usize::from(compare(recorded, &name("logits"), b, &logits, LOGITS));
        if recorded.contains_key(&name("probs")) {
            check_probabilities(fixture, &logits, &recorded[&name("probs")].i(b).unwrap());
            compared += 1;
        }
        let codes = fixture
            .quantizer
            .codes(&ids(forced, scale, b), *grid)
            .unwrap();
        let place = [scale, grids.len()];
        let next = fixture
            .quantizer
            .add(sum.as_ref(), &codes, fixture.size(), place)
            .unwrap();
        compared += usize::from(compare(recorded, &name("f_hat"), b, &next, LATENTS));
        if let Some(grid) = grids.get(scale + 1) {
            let map = ttsvar::nn::area(&next, *grid).unwrap();
            compared += usize::from(compare(recorded, &name("next_map"), b, &map, LATENTS));
        }
        sum = Some(next);
    }
    let image = fixture.decoder.forward(&sum.unwrap()).unwrap();
    if b == 0 {
        compared += usize::from(compare(recorded, "final.decoder_out", 0, &image, IMAGES));
        let shown = ((image.clamp(-1f32, 1f32).unwrap() + 1.0).unwrap() * 0.5).unwrap();
        compared += usize::from(compare(recorded, "final.image_01", 0, &shown, IMAGES));
    }
    compared
}

/// Exact truncation, except in rows where a sum of probabilities lies on the boundary.
fn check_probabilities(fixture: &Fixture, logits: &Tensor, expected: &Tensor) {
    let top_k: usize = fixture.setting("top_k");
    let top_p: f32 = fixture.setting("top_p");
    let vocabulary: usize = fixture.setting("vocab_size");
    let logits = values(logits);
    let expected = values(expected);
    let mut found = vec![];
    let mut wanted = vec![];
    let rows = logits.chunks(vocabulary).zip(expected.chunks(vocabulary));
    for (logits, expected) in rows {
        let near = [top_p - 1e-5, top_p + 1e-5].map(|top_p| truncate(logits, top_k, top_p));
        if near[0] == near[1] {
            found.extend(truncate(logits, top_k, top_p));
            wanted.extend(expected);
        }
    }
    assert!(
        2 * found.len() > logits.len(),
        "too few rows are off the boundary"
    );
    assert_values_close("probabilities", &found, &wanted, 1e-4, 0.0);
}

#[test]
fn parity_var_tiny_runs() {
    let fixture = Fixture::open();
    let images = fixture.setting::<Vec<usize>>("labels").len();
    let forced = tensors(FIXTURE, "run.safetensors");
    for (file, run) in [
        ("var_shared_aln_false", "run.safetensors"),
        ("var_shared_aln_true", "run_shared_aln.safetensors"),
    ] {
        let model = Var::load(&weights(&fixture.config, file)).unwrap();
        assert_eq!(model.config().grids, fixture.grids());
        assert_eq!(
            model.config().classes,
            fixture.setting::<usize>("num_classes")
        );
        let recorded = tensors(FIXTURE, run);
        let mut compared = 0;
        for b in 0..images {
            println!("{run}");
            compared += walk(&fixture, &model, &recorded, &forced, b);
        }
        // Every tensor of a scale has an entry for each image; the ids were forced.
        let of_scales = recorded
            .keys()
            .filter(|name| name.starts_with('s') && !name.ends_with(".idx"));
        let finals = recorded.keys().filter(|name| name.starts_with("final."));
        assert_eq!(compared, images * of_scales.count() + finals.count());
    }
}

#[test]
fn parity_var_tiny_phis() {
    let fixture = Fixture::open();
    let expected: Vec<usize> = fixture.setting("phi_index_per_scale");
    let scales = expected.len();
    let found: Vec<usize> = (0..scales)
        .map(|scale| phi_of_scale(scale, scales))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(phi_of_scale(3, 7), 2, "between two ticks, f64 decides");
}

#[test]
fn parity_var_tiny_encode() {
    let fixture = Fixture::open();
    let recorded = tensors(FIXTURE, "vae_encode.safetensors");
    let image = ttsvar::image::open(golden(FIXTURE).join("encode_input.png")).unwrap();
    let pixels = image.to_chw([0.5; 3], [0.5; 3]);
    let x = Tensor::from_vec(pixels, (1, 3, image.height(), image.width()), &Device::Cpu).unwrap();
    let latent = Encoder::load(&fixture.vae).unwrap().forward(&x).unwrap();
    assert!(compare(&recorded, "encoder_out", 0, &latent, IMAGES));
    let scales = fixture
        .quantizer
        .quantize(&latent, &fixture.grids())
        .unwrap();
    for (scale, found) in scales.iter().enumerate() {
        assert_eq!(found.ids, ids(&recorded, scale, 0), "ids of scale {scale}");
    }
    let sum = &scales.last().unwrap().sum;
    assert!(compare(&recorded, "f_hat", 0, sum, LATENTS));
    let decoded = fixture.decoder.forward(sum).unwrap();
    let shown = strided(&decoded.clamp(-1f32, 1f32).unwrap(), 2);
    assert!(compare(&recorded, "recon", 0, &shown, IMAGES));
}

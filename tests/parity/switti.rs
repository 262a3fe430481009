//! Switti's transformers, tokenizer and text encoders against recordings of the original program.

use std::{collections::HashMap, sync::Arc};

use candle_core::{DType, Device, IndexOp, Tensor};
use serde::de::DeserializeOwned;
use serde_json::Value;
use ttsvar::{
    hub::{self, Blob},
    models::{
        branches::ScaleKv,
        clip,
        switti::{Condition, Context, Part, ScaleRun, Switti, crop_of},
        vq_vae::{Decoder, Encoder, Quantizer, phi_of_scale},
    },
    nn::{Dtype, Weights, area},
    pipelines::{Sampling, Smooth, code_mixture, switti::context, truncate},
    text::ClipTokenizer,
};

use crate::support::{
    assert_bytes_close, assert_close, assert_values_close, golden, json, numbered, strided,
    tensors, values,
};

const FIXTURE: &str = "switti-tiny";

type Recorded = HashMap<String, Tensor>;

struct Fixture {
    config: Value,
    quantizer: Quantizer,
    decoder: Decoder,
    vae: Weights,
    text: Recorded,
}

impl Fixture {
    fn open() -> Self {
        let config = json(FIXTURE, "config.json");
        let vae = weights(&config, "vae");
        Self {
            quantizer: Quantizer::load(&vae.pp("quantize")).unwrap(),
            decoder: Decoder::load(&vae).unwrap(),
            text: tensors(FIXTURE, "text.safetensors"),
            config,
            vae,
        }
    }

    fn setting<T: DeserializeOwned>(&self, name: &str) -> T {
        serde_json::from_value(self.config[name].clone()).unwrap()
    }

    /// The limit of this name.
    fn limit(&self, name: &str) -> f32 {
        self.config["tolerances"][name].as_f64().unwrap() as f32
    }

    /// All texts in the order of their recorded rows.
    fn texts(&self) -> Vec<String> {
        let mut texts: Vec<String> = self.setting("prompts");
        texts.push(self.setting("negative"));
        texts
    }

    /// The recorded context of a text.
    fn context(&self, text: &str) -> Context {
        let row = self.texts().iter().position(|known| known == text);
        let row = row.unwrap();
        let tokens = self.tokens(row);
        let hidden = ["l.hidden", "g.hidden"].map(|name| {
            let hidden = self.text[name].i(row).unwrap();
            hidden.narrow(0, 0, tokens).unwrap()
        });
        Context {
            features: Tensor::cat(&hidden, 1).unwrap(),
            pooled: self.text["g.pooled"].i(row).unwrap(),
        }
    }

    /// Tokens of a text, without padding.
    fn tokens(&self, row: usize) -> usize {
        let mask = whole(&self.text["g.mask"].i(row).unwrap());
        mask.iter().sum::<i64>() as usize
    }

    /// The transformer in this folder.
    fn model(&self, folder: &str) -> Switti {
        let file = json(FIXTURE, &format!("{folder}/config.json"));
        let file = serde_json::from_value(file).unwrap();
        Switti::load(&open(folder), &file).unwrap()
    }

    /// A text encoder and its tokenizer.
    fn encoder(&self, name: &str) -> (clip::TextModel, ClipTokenizer) {
        let folder = self.config["files"][name].as_str().unwrap();
        let file: clip::Config =
            serde_json::from_value(json(FIXTURE, &format!("{folder}/config.json"))).unwrap();
        let encoder = clip::TextModel::load_alone(&open(folder), &file.text_config);
        let tokenizer = golden(FIXTURE).join(folder).join("tokenizer.json");
        let tokenizer = ClipTokenizer::open_clip(&Blob::Disk(tokenizer)).unwrap();
        (encoder.unwrap(), tokenizer)
    }

    fn run(&self, name: &str) -> Run {
        serde_json::from_value(self.config["runs"][name].clone()).unwrap()
    }
}

/// A run of the original.
#[derive(serde::Deserialize)]
struct Run {
    model: String,
    patch_nums: Vec<usize>,
    prompts: Vec<String>,
    null_prompt: String,
    phi_index_per_scale: Vec<usize>,
    smooth_tau: HashMap<usize, f64>,
    guidance_t: Vec<Option<f64>>,
    rows_per_scale: Vec<usize>,
    top_k: usize,
    top_p: f32,
    turn_off_cfg_start_si: Option<usize>,
    last_scale_temp: Option<f64>,
}

impl Run {
    fn grids(&self) -> Vec<(usize, usize)> {
        let sides = self.patch_nums.iter();
        sides.map(|side| (*side, *side)).collect()
    }

    /// The largest grid, which is the latent's size.
    fn size(&self) -> (usize, usize) {
        *self.grids().last().unwrap()
    }

    /// Branches that the original runs at a scale.
    fn branches(&self, scale: usize) -> usize {
        self.rows_per_scale[scale] / self.prompts.len()
    }

    /// What the logits of a scale are divided by.
    fn temperature(&self, scale: usize) -> f64 {
        let off = self.turn_off_cfg_start_si.is_some_and(|off| scale >= off);
        match self.last_scale_temp {
            Some(temperature) if off => temperature,
            _ => 1.0,
        }
    }

    /// The position of a scale between the first, 0, and the last, 1.
    fn position(&self, scale: usize) -> f64 {
        scale as f64 / (self.patch_nums.len() - 1) as f64
    }
}

fn weights(config: &Value, file: &str) -> Weights {
    open(config["files"][file].as_str().unwrap())
}

/// The weights in a folder.
fn open(folder: &str) -> Weights {
    let source = hub::open(golden(FIXTURE).join(folder), &[]).unwrap();
    Weights::new(source, Dtype::F32, &Device::Cpu)
}

fn whole(x: &Tensor) -> Vec<i64> {
    let x = x.flatten_all().unwrap().to_dtype(DType::I64).unwrap();
    x.to_vec1().unwrap()
}

fn ids(x: &Tensor) -> Vec<u32> {
    whole(x).into_iter().map(|id| id as u32).collect()
}

#[test]
fn parity_switti_tiny_tokenizers() {
    let fixture = Fixture::open();
    for (part, name) in [("l", "clip_l"), ("g", "clip_g")] {
        let (_, tokenizer) = fixture.encoder(name);
        for (row, text) in fixture.texts().iter().enumerate() {
            let tokens = fixture.tokens(row);
            let recorded = |what: &str| fixture.text[&format!("{part}.{what}")].i(row).unwrap();
            let found = tokenizer.encode(text).unwrap();
            assert_eq!(found, ids(&recorded("ids"))[..tokens], "{text:?}");
            let mask = whole(&recorded("mask"));
            let seen = (0..mask.len()).map(|i| i64::from(i < tokens));
            assert_eq!(mask, seen.collect::<Vec<_>>());
        }
    }
    // Cross-attention sees the tokens that are not padding.
    for row in 0..fixture.texts().len() {
        let bias = values(&fixture.text["attn_bias"].i(row).unwrap());
        let seen = bias.iter().filter(|bias| **bias == 0.0).count();
        assert_eq!(seen, fixture.tokens(row));
        assert!(bias[seen..].iter().all(|bias| *bias == f32::NEG_INFINITY));
    }
}

/// Rows of padding are not compared: no query sees them.
#[test]
fn parity_switti_tiny_text() {
    let fixture = Fixture::open();
    let limit = fixture.limit("text");
    let recorded = &fixture.text;
    for (part, name) in [("l", "clip_l"), ("g", "clip_g")] {
        let (encoder, _) = fixture.encoder(name);
        for row in 0..fixture.texts().len() {
            let tokens = fixture.tokens(row);
            let of_row = |x: &Tensor| x.i(row).unwrap().narrow(0, 0, tokens).unwrap();
            let name = format!("{part}.hidden");
            let text = ids(&recorded[&format!("{part}.ids")].i(row).unwrap());
            let text = &text[..tokens];
            let mut streams = vec![];
            let hidden = encoder
                .forward_watching(text, &mut |x| streams.push(x.squeeze(0).unwrap()))
                .unwrap();
            let what = format!("{name} of text {row}");
            let found = hidden.squeeze(0).unwrap();
            assert_close(&what, &found, &of_row(&recorded[&name]), limit, 0.0);
            if let Some(expected) = recorded.get(&format!("{part}.pooled")) {
                let found = clip::TextModel::end_state(&hidden, text).unwrap();
                let expected = expected.i(row..row + 1).unwrap();
                assert_close("the pooled vector", &found, &expected, limit, 0.0);
            }
            if row == 1 {
                let recorded = numbered(recorded, &format!("{part}.stream"), "");
                assert_eq!(streams.len(), recorded.len());
                for (name, layer, expected) in recorded {
                    let expected = expected.narrow(0, 0, tokens).unwrap();
                    assert_close(name, &streams[layer], &expected, limit, 0.0);
                }
            }
        }
    }
}

#[test]
fn parity_switti_tiny_contexts() {
    let fixture = Fixture::open();
    let limit = fixture.limit("text");
    let (first, tokenizer) = fixture.encoder("clip_l");
    let (second, _) = fixture.encoder("clip_g");
    for text in fixture.texts() {
        let ids = tokenizer.encode(&text).unwrap();
        let states = [&first, &second].map(|encoder| encoder.forward(&ids).unwrap());
        let found = context(&states[0], &states[1], &ids).unwrap();
        let expected = fixture.context(&text);
        let what = format!("the context of {text:?}");
        assert_close(&what, &found.features, &expected.features, limit, 0.0);
        assert_close(&what, &found.pooled, &expected.pooled, limit, 0.0);
    }
}

/// One image of a run in progress.
struct Walk<'a> {
    fixture: &'a Fixture,
    model: &'a Switti,
    recorded: &'a Recorded,
    run: &'a Run,
    b: usize,
    conditions: Vec<Condition>,
    seen: Vec<Arc<ScaleKv>>,
    compared: usize,
}

impl<'a> Walk<'a> {
    fn new(
        fixture: &'a Fixture,
        model: &'a Switti,
        recorded: &'a Recorded,
        run: &'a Run,
        b: usize,
    ) -> Self {
        let condition = |text: &str| model.condition(&fixture.context(text)).unwrap();
        Self {
            conditions: vec![condition(&run.prompts[b]), condition(&run.null_prompt)],
            fixture,
            model,
            recorded,
            run,
            b,
            seen: vec![],
            compared: 0,
        }
    }

    /// Compares what is recorded of this image under a name, if anything.
    fn compare(&mut self, name: &str, found: &Tensor, limit: &str) {
        if let Some(expected) = self.recorded.get(name) {
            let expected = expected.i(self.b).unwrap();
            let what = format!("{name} of image {}", self.b);
            assert_close(&what, found, &expected, self.fixture.limit(limit), 0.0);
            self.compared += 1;
        }
    }

    /// Compares what is recorded of a branch of this image, in a tensor of all branches.
    fn compare_branch(&mut self, name: &str, branch: usize, found: &Tensor, limit: &str) {
        if let Some(expected) = self.recorded.get(name) {
            let row = branch * self.run.prompts.len() + self.b;
            let expected = expected.i(row).unwrap();
            assert_close(name, found, &expected, self.fixture.limit(limit), 0.0);
            self.compared += 1;
        }
    }

    /// Compares what is recorded of the model alone.
    fn compare_whole(&mut self, name: &str, found: &Tensor, limit: &str) {
        if let Some(expected) = self.recorded.get(name) {
            assert_close(name, found, expected, self.fixture.limit(limit), 0.0);
            self.compared += 1;
        }
    }

    /// Compares the parts that depend on prompts or on the model alone.
    fn check_conditions(&mut self) {
        for branch in 0..self.conditions.len() {
            let vector = self.conditions[branch].vector.squeeze(0).unwrap();
            self.compare_branch("cond", branch, &vector, "cond");
        }
        if let Some(embedding) = self.model.crop_embedding() {
            let [height, width]: [usize; 2] = self.fixture.setting("crop_size");
            let crop = crop_of(height, width);
            let recorded = whole(&self.recorded["crop.coords"]);
            assert_eq!(crop.map(|number| number as i64), recorded[..]);
            self.compared += 1;
            let embedded = embedding.embed(crop).unwrap();
            self.compare_whole("crop.embed", &embedded, "crop_embed");
            let projected = self.model.crop_condition(crop).unwrap().unwrap();
            self.compare_whole("crop.cond", &projected, "crop_embed");
        }
        for scale in 0..self.run.patch_nums.len() {
            let Some(rotation) = self.model.rotation(scale) else {
                continue;
            };
            // Both values of a pair have the same angle.
            let [cos, sin] = rotation.tables().map(every_second);
            self.compare_whole(&format!("s{scale:02}.rope_cos"), &cos, "rope");
            self.compare_whole(&format!("s{scale:02}.rope_sin"), &sin, "rope");
        }
    }

    /// Runs a scale that reads a map (1, Z, rows, columns), compares what happens inside, and
    /// returns the logits (L, V), divided by the temperature.
    fn scale(&mut self, scale: usize, map: Option<&Tensor>) -> Tensor {
        let tokens = map.map(|map| {
            let tokens = map.flatten_from(2).unwrap().transpose(1, 2).unwrap();
            tokens.contiguous().unwrap()
        });
        let branches = self.run.branches(scale);
        for kv in &mut self.seen {
            *kv = Arc::new(kv[..branches].to_vec());
        }
        let run = ScaleRun {
            scale,
            tokens: tokens.as_ref(),
            conditions: &self.conditions[..branches],
            seen: std::slice::from_ref(&self.seen),
            guidance: self.run.guidance_t[scale].unwrap_or(0.0),
            keep: true,
        };
        let mut inside = vec![];
        let watch = &mut |part: Part, branch: usize, block: usize, x: &Tensor| {
            inside.push((part, branch, block, x.squeeze(0).unwrap()));
        };
        let (logits, kv) = self.model.forward(run, watch).unwrap();
        let last = self.model.config().depth - 1;
        let name = |part: &str| format!("s{scale:02}.{part}");
        for (part, branch, block, x) in &inside {
            let (recorded, limit) = match part {
                Part::Input if *block == 0 => ("x_in".to_owned(), "x_in"),
                Part::Input => continue,
                Part::SelfAttention => (format!("block{block}_attn"), BLOCKS),
                Part::CrossAttention => (format!("block{block}_cross_attn"), BLOCKS),
                Part::FeedForward => (format!("block{block}_ffn"), BLOCKS),
                Part::Output => (format!("block{block}_out"), BLOCKS),
            };
            self.compare_branch(&name(&recorded), *branch, x, limit);
            if (*part, *block) == (Part::Output, last) {
                let condition = &self.conditions[*branch];
                let x = x.unsqueeze(0).unwrap();
                let head = self.model.head_input(&x, condition).unwrap();
                let raw = self.model.logits(&x, condition).unwrap();
                let head = head.squeeze(0).unwrap();
                let raw = raw.squeeze(0).unwrap();
                self.compare_branch(&name("head_nm"), *branch, &head, BLOCKS);
                self.compare_branch(&name("raw_logits"), *branch, &raw, LOGITS);
            }
        }
        let temperature = self.run.temperature(scale);
        let logits = (logits.squeeze(0).unwrap() / temperature).unwrap();
        let limit = match temperature == 1.0 {
            true => LOGITS,
            false => COLD_LOGITS,
        };
        self.compare(&name("logits"), &logits, limit);
        assert_eq!(kv.is_empty(), !self.model.config().sees_earlier_scales);
        self.seen.extend(kv.into_iter().map(Arc::new));
        logits
    }

    /// Compares the keys and values of the first block after a scale.
    fn check_cache(&mut self, scale: usize) {
        for branch in 0..2 {
            let parts = |part: fn(&ttsvar::nn::Kv) -> &Tensor| {
                let blocks = self.seen.iter().map(|kv| part(&kv[branch][0]));
                let all = Tensor::cat(&blocks.collect::<Vec<_>>(), 0).unwrap(); // (T, C)
                let (tokens, width) = all.dims2().unwrap();
                let heads = self.model.config().heads();
                let heads = all.reshape((tokens, heads, width / heads)).unwrap();
                heads.transpose(0, 1).unwrap().contiguous().unwrap()
            };
            let keys = parts(|kv| &kv.k);
            let values = parts(|kv| &kv.v);
            let name = |part: &str| format!("s{scale:02}.block0_cached_{part}");
            self.compare_branch(&name("k"), branch, &keys, BLOCKS);
            self.compare_branch(&name("v"), branch, &values, BLOCKS);
        }
    }

    /// Compares truncated distributions, of the recorded logits if there are any.
    fn check_probabilities(&mut self, scale: usize, logits: &Tensor) {
        let name = |part: &str| format!("s{scale:02}.{part}");
        let Some(expected) = self.recorded.get(&name("probs")) else {
            return;
        };
        let (logits, limit) = match self.recorded.get(&name("logits")) {
            Some(recorded) => (recorded.i(self.b).unwrap(), "probs_from_recorded_logits"),
            None => (logits.clone(), LOGITS),
        };
        let found = truncated(&logits, self.run.top_k, self.run.top_p);
        let expected = values(&expected.i(self.b).unwrap());
        let limit = self.fixture.limit(limit);
        assert_values_close(&name("probs"), &found, &expected, limit, 0.0);
        self.compared += 1;
    }

    /// What a scale draws as codes, (1, Z, rows, columns): the recorded ids, or the mixtures with
    /// the recorded noise.
    fn codes(&mut self, scale: usize, logits: &Tensor) -> Tensor {
        let grid = self.run.grids()[scale];
        let name = |part: &str| format!("s{scale:02}.{part}");
        let quantizer = &self.fixture.quantizer;
        let Some(gumbel) = self.recorded.get(&name("gumbel")) else {
            let drawn = ids(&self.recorded[&name("idx")].i(self.b).unwrap());
            self.compared += 1;
            return quantizer.codes(&drawn, grid).unwrap();
        };
        self.compared += 1;
        let gumbel = gumbel.i(self.b).unwrap();
        let smooth = Smooth::at(self.run.position(scale));
        let tau = self.run.smooth_tau[&scale];
        assert!((f64::from(smooth.tau) - tau).abs() < 1e-6);
        let scaled = (logits * f64::from(smooth.factor)).unwrap();
        self.compare(&name("logits_scaled"), &scaled, LOGITS);
        if let Some(scaled) = self.recorded.get(&name("logits_scaled")) {
            // Recorded logits are already scaled.
            let unscaled = Smooth {
                factor: 1.0,
                ..smooth
            };
            let soft = mixtures(&scaled.i(self.b).unwrap(), &gumbel, unscaled);
            self.compare(&name("soft"), &soft, "soft_from_recorded_logits");
        }
        let mixed = mixtures(logits, &gumbel, smooth);
        let codes = quantizer.mixed_codes(&mixed, grid).unwrap();
        self.compare(&name("h"), &codes.squeeze(0).unwrap(), "h_smooth");
        codes
    }

    /// Walks through all scales and returns the finished latent.
    fn all_scales(&mut self) -> Tensor {
        self.check_conditions();
        let run = self.run;
        let grids = run.grids();
        let mut sum: Option<Tensor> = None;
        let mut smoothed = false;
        for (scale, grid) in grids.iter().enumerate() {
            assert_eq!(
                phi_of_scale(scale, grids.len()),
                run.phi_index_per_scale[scale]
            );
            let map = sum.as_ref().map(|sum| area(sum, *grid).unwrap());
            let logits = self.scale(scale, map.as_ref());
            if self.model.config().sees_earlier_scales && run.branches(scale) == 2 {
                self.check_cache(scale);
            }
            self.check_probabilities(scale, &logits);
            let codes = self.codes(scale, &logits);
            smoothed |= run.smooth_tau.contains_key(&scale);
            let quantizer = &self.fixture.quantizer;
            let place = [scale, grids.len()];
            let next = quantizer.add(sum.as_ref(), &codes, run.size(), place);
            let next = next.unwrap();
            let name = |part: &str| format!("s{scale:02}.{part}");
            let [latent_limit, map_limit] = match smoothed {
                true => ["f_hat_smooth", "next_map_smooth"],
                false => ["f_hat", "next_map"],
            };
            self.compare(&name("f_hat"), &next.squeeze(0).unwrap(), latent_limit);
            if let Some(grid) = grids.get(scale + 1) {
                let map = area(&next, *grid).unwrap();
                self.compare(&name("next_map"), &map.squeeze(0).unwrap(), map_limit);
            }
            sum = Some(next);
        }
        sum.unwrap()
    }
}

// Limits for a crop condition that is computed as the original does it.
const BLOCKS: &str = "block_out_if_crop_embed_recorded";
const LOGITS: &str = "logits_if_crop_embed_recorded";
const COLD_LOGITS: &str = "logits_cold_if_crop_embed_recorded";

/// Every second column.
fn every_second(x: &Tensor) -> Tensor {
    let columns: Vec<u32> = (0..x.dims()[1] as u32).step_by(2).collect();
    let columns = Tensor::new(columns, &Device::Cpu).unwrap();
    x.index_select(&columns, 1).unwrap()
}

/// Logits (.., V), flattened and truncated, as probabilities.
fn truncated(logits: &Tensor, top_k: usize, top_p: f32) -> Vec<f32> {
    let vocabulary = *logits.dims().last().unwrap();
    let logits = values(logits);
    let rows = logits.chunks(vocabulary);
    rows.flat_map(|row| truncate(row, top_k, top_p)).collect()
}

/// The mixtures of codes by logits and noise, each (.., V). Nothing is left out.
fn mixtures(logits: &Tensor, gumbel: &Tensor, smooth: Smooth) -> Tensor {
    let all = Sampling {
        top_p: 0.0,
        top_k: 0,
        smooth: None,
    };
    let vocabulary = *logits.dims().last().unwrap();
    let values_of_logits = values(logits);
    let noise = values(gumbel);
    let rows = values_of_logits
        .chunks(vocabulary)
        .zip(noise.chunks(vocabulary));
    let mixed: Vec<f32> = rows
        .flat_map(|(logits, noise)| code_mixture(logits, noise, &all, smooth))
        .collect();
    Tensor::from_vec(mixed, logits.dims(), &Device::Cpu).unwrap()
}

/// Walks through all images of a run, and compares every recorded tensor.
fn check_run(name: &str) {
    let fixture = Fixture::open();
    let recorded = tensors(FIXTURE, &format!("{name}.safetensors"));
    let run = fixture.run(name);
    let model = fixture.model(&run.model);
    for b in 0..run.prompts.len() {
        let mut walk = Walk::new(&fixture, &model, &recorded, &run, b);
        let latent = walk.all_scales();
        let decoded = fixture.decoder.forward(&latent).unwrap();
        if b == 0 {
            walk.compare_whole("final.decoder_out", &decoded, "decoder_out");
        }
        let expected = recorded["final.image_u8"].i(b).unwrap();
        check_bytes(&fixture, "the image", &decoded, &expected);
        walk.compared += 1;
        // One of each recorded tensor, one of each branch where it has both.
        let of_tensor = |name: &String| match recorded[name].dims() {
            _ if name == "final.decoder_out" => usize::from(b == 0),
            [1, ..] if run.prompts.len() > 1 => 1,
            [rows, ..] if is_of_branches(name) => rows / run.prompts.len(),
            _ => 1,
        };
        let expected: usize = recorded.keys().map(of_tensor).sum();
        assert_eq!(walk.compared, expected, "compared tensors of {name}");
    }
}

/// Returns whether a recorded tensor has a row for each branch.
fn is_of_branches(name: &str) -> bool {
    ["cond", "x_in", "block", "head_nm", "raw_logits"]
        .iter()
        .any(|part| name.contains(part) && !name.starts_with("crop."))
}

/// Compares an image (1, 3, H, W) in [-1, 1] with bytes (H, W, 3).
fn check_bytes(fixture: &Fixture, what: &str, decoded: &Tensor, expected: &Tensor) {
    let pixels = decoded.squeeze(0).unwrap().permute((1, 2, 0)).unwrap();
    let levels = values(&pixels.contiguous().unwrap());
    let levels = levels
        .iter()
        .map(|v| ((v.clamp(-1.0, 1.0) + 1.0) / 2.0 * 255.0) as u8);
    let expected: Vec<u8> = expected.flatten_all().unwrap().to_vec1().unwrap();
    let share = fixture.limit("image_u8_share_of_values");
    assert_bytes_close(what, &levels.collect::<Vec<_>>(), &expected, share);
}

#[test]
fn parity_switti_tiny_run_with_guidance() {
    check_run("run_a");
}

#[test]
fn parity_switti_tiny_run_with_late_guidance_that_ends() {
    check_run("run_b_cfg_off");
}

#[test]
fn parity_switti_tiny_run_with_mixtures() {
    check_run("run_c_smooth");
}

#[test]
fn parity_switti_tiny_run_that_sees_earlier_scales() {
    check_run("run_d_ar");
}

#[test]
fn parity_switti_tiny_run_that_sees_earlier_scales_without_guidance_at_last() {
    check_run("run_e_ar_cfg_off");
}

#[test]
fn parity_switti_tiny_run_with_a_table_of_positions() {
    check_run("run_f_plain");
}

/// `embed_bf16` is left out: here the crop condition is always computed in f32.
#[test]
fn parity_switti_tiny_crop_conditions() {
    let fixture = Fixture::open();
    let recorded = tensors(FIXTURE, "crop.safetensors");
    let run = fixture.run("run_a");
    let model = fixture.model(&run.model);
    let limit = fixture.limit("crop_embed");
    for row in 0..recorded["sizes_hw"].dims()[0] {
        let size = whole(&recorded["sizes_hw"].i(row).unwrap());
        let crop = crop_of(size[0] as usize, size[1] as usize);
        let expected = whole(&recorded["coords"].i(row).unwrap());
        assert_eq!(crop.map(|number| number as i64), expected[..]);
        let found = model.crop_embedding().unwrap().embed(crop).unwrap();
        let expected = recorded["embed"].i(row..row + 1).unwrap();
        assert_close("embed", &found, &expected, limit, 0.0);
        let found = model.crop_condition(crop).unwrap().unwrap();
        let expected = recorded["cond"].i(row..row + 1).unwrap();
        assert_close("cond", &found, &expected, limit, 0.0);
    }
}

#[test]
fn parity_switti_tiny_sampler() {
    let fixture = Fixture::open();
    let recorded = tensors(FIXTURE, "sampler.safetensors");
    let logits = &recorded["logits"];
    let cases: Vec<(usize, f32)> = fixture.setting("sampler_cases");
    for (top_k, top_p) in &cases {
        let name = format!("probs_k{top_k}_p{top_p:?}");
        let found = truncated(logits, *top_k, *top_p);
        let limit = fixture.limit("probs_from_recorded_logits");
        assert_values_close(&name, &found, &values(&recorded[&name]), limit, 0.0);
    }
    let steps: Vec<(f64, f64)> = fixture.setting("gumbel_ratio_tau");
    for (i, (ratio, tau)) in steps.iter().enumerate() {
        let smooth = Smooth::at(*ratio);
        assert!((f64::from(smooth.tau) - tau).abs() < 1e-6);
        let found = mixtures(logits, &recorded[&format!("gumbel{i}.noise")], smooth);
        let name = format!("gumbel{i}.soft");
        let limit = fixture.limit("soft_from_recorded_logits");
        assert_close(&name, &found, &recorded[&name], limit, 0.0);
    }
    assert_eq!(recorded.len(), 1 + cases.len() + 2 * steps.len());
}

/// The convolution before the decoder.
fn post_quant_conv(w: &Weights, latent: &Tensor) -> Tensor {
    let channels = latent.dims()[1];
    let kernel = w.get((channels, channels, 3, 3), "post_quant_conv.weight");
    let bias = w.get_reshaped((1, channels, 1, 1), "post_quant_conv.bias");
    let map = latent.conv2d(&kernel.unwrap(), 1, 1, 1, 1).unwrap();
    map.broadcast_add(&bias.unwrap()).unwrap()
}

#[test]
fn parity_switti_tiny_tokenizer_of_images() {
    let fixture = Fixture::open();
    let recorded = tensors(FIXTURE, "vae.safetensors");
    let f_hat = &recorded["f_hat"];
    let decoded = fixture.decoder.forward(f_hat).unwrap();
    let post_quant = post_quant_conv(&fixture.vae, f_hat);
    let limit = fixture.limit("decoder_out");
    assert_close(
        "post_quant",
        &post_quant,
        &recorded["post_quant"],
        limit,
        0.0,
    );
    let shown = ((decoded.clamp(-1f32, 1f32).unwrap() + 1.0).unwrap() / 2.0).unwrap();
    let expected = &recorded["image_01"];
    assert_close("image_01", &strided(&shown, 2), expected, limit, 0.0);
    let bytes = &recorded["image_u8"].i(0).unwrap();
    check_bytes(&fixture, "image_u8", &decoded, bytes);

    let pixels = decoded.clamp(-1f32, 1f32).unwrap();
    let latent = Encoder::load(&fixture.vae)
        .unwrap()
        .forward(&pixels)
        .unwrap();
    let limit = fixture.limit("enc_f");
    assert_close("enc.f", &latent, &recorded["enc.f"], limit, 0.0);
    let grids = fixture.run("run_a").grids();
    let scales = fixture.quantizer.quantize(&latent, &grids).unwrap();
    for (scale, found) in scales.iter().enumerate() {
        let expected = ids(&recorded[&format!("enc.s{scale:02}.idx")]);
        assert_eq!(found.ids, expected, "ids of scale {scale}");
    }
}

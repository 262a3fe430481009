//! HART's transformer, diffusion head, tokenizer and text encoder against recordings of the original
//! program.

use std::{collections::HashMap, sync::Arc};

use candle_core::{DType, Device, IndexOp, Tensor};
use serde::de::DeserializeOwned;
use serde_json::Value;
use ttsvar::{
    hub::{self, Blob},
    models::{
        branches::ScaleKv,
        hart::{Condition, Context, Hart, NoiseSchedule, ScaleOutput, ScaleRun},
        qwen2::Qwen2Encoder,
        vq_vae::{Decoder, Encoder, Quantizer},
    },
    nn::{Dtype, Weights, area},
    pipelines::{
        Drawn, Sampling, Smooth, code_mixture,
        hart::{
            HartDraw, HartNetworks, INSTRUCTION, Qwen2Text, Settings, TextModel, position,
            released_top_k,
        },
        truncate,
    },
    search::{DecodeSize, Rollout},
    text::{PaddingSide, Qwen2Tokenizer},
};

use crate::support::{
    assert_bytes_close, assert_close, assert_values_close, golden, json, numbered, strided,
    tensors, values,
};

const FIXTURE: &str = "hart-tiny";

// The limits of the README: absolute, and relative for texts and blocks.
const TEXT: [f32; 2] = [1e-4, 1e-4];
const TABLES: f32 = 1e-5;
const CACHE: f32 = 3e-5;
const LOGITS: f32 = 1e-3;
const PROBABILITIES: f32 = 1e-4;
const LATENTS: f32 = 2e-5;
const CONDITIONS: f32 = 1e-4;
const NOISE: f32 = 1e-3;
const SAMPLES: f32 = 2e-3;
const RESIDUALS: f32 = 3e-4;
const IMAGES: f32 = 2e-3;
const BYTES: f32 = 0.02;

type Recorded = HashMap<String, Tensor>;

struct Fixture {
    config: Value,
    quantizer: Quantizer,
    decoder: Decoder,
    vae: Weights,
}

impl Fixture {
    fn open() -> Self {
        let config = json(FIXTURE, "config.json");
        let vae = weights(&config, "tokenizer_weights", &["vae"]);
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

    /// The transformer with the weights of a run.
    fn model(&self, run: &str) -> Hart {
        let weights_of_run = self.config["runs"][run]["weights"].as_str().unwrap();
        let folder = self.config["files"]["llm"].as_str().unwrap();
        let file = json(FIXTURE, &format!("{folder}/config.json"));
        let file = serde_json::from_value(file).unwrap();
        Hart::load(&weights(&self.config, weights_of_run, &[]), &file).unwrap()
    }

    /// The recorded context of image `b` of a run.
    fn context(&self, run: &str, b: usize) -> Context {
        let side = self.config["runs"][run]["padding"].as_str().unwrap();
        let recorded = tensors(FIXTURE, "text.safetensors");
        let positions = &recorded[&format!("{side}.position_ids")];
        Context {
            features: recorded[&format!("{side}.context")].i(b).unwrap(),
            positions: whole(&positions.i(b).unwrap()),
        }
    }

    fn number(&self, run: &str, name: &str) -> f64 {
        self.config["runs"][run][name].as_f64().unwrap()
    }

    fn text(&self) -> Qwen2Text {
        let config = json(FIXTURE, &self.text_file("config.json"));
        let config = serde_json::from_value(config).unwrap();
        let encoder = weights(&self.config, "text_weights", &["model"]);
        Qwen2Text {
            tokenizer: Arc::new(self.tokenizer(None)),
            encoder: Qwen2Encoder::load(&encoder, &config).unwrap(),
        }
    }

    fn text_file(&self, name: &str) -> String {
        format!("{}/{name}", self.config["files"]["text"].as_str().unwrap())
    }

    /// The tokenizer, with the padding side of its folder or another.
    fn tokenizer(&self, side: Option<PaddingSide>) -> Qwen2Tokenizer {
        let blob = |name: &str| Blob::Disk(golden(FIXTURE).join(self.text_file(name)));
        let tokens = self.setting("max_token_length");
        let json = blob("tokenizer.json");
        let settings = blob("tokenizer_config.json");
        let tokenizer = Qwen2Tokenizer::open(&json, Some(&settings), tokens).unwrap();
        match side {
            Some(side) => tokenizer.with_padding_side(side),
            None => tokenizer,
        }
    }
}

fn weights(config: &Value, file: &str, usual: &[&str]) -> Weights {
    let path = golden(FIXTURE).join(config["files"][file].as_str().unwrap());
    let source = hub::open(path, usual).unwrap();
    Weights::new(source, Dtype::F32, &Device::Cpu)
}

fn whole(x: &Tensor) -> Vec<i64> {
    let x = x.flatten_all().unwrap().to_dtype(DType::I64).unwrap();
    x.to_vec1().unwrap()
}

fn ids(x: &Tensor) -> Vec<u32> {
    whole(x).into_iter().map(|id| id as u32).collect()
}

fn close(what: &str, found: &Tensor, expected: &Tensor, limit: f32) {
    assert_close(what, found, expected, limit, 0.0);
}

#[test]
fn parity_hart_tiny_tokenizer() {
    let fixture = Fixture::open();
    let recorded = tensors(FIXTURE, "text.safetensors");
    let prompts: Vec<String> = fixture.setting("prompts");
    for (side, name) in [(PaddingSide::Left, "left"), (PaddingSide::Right, "right")] {
        let tokenizer = fixture.tokenizer(Some(side));
        for (i, prompt) in prompts.iter().enumerate() {
            let found = tokenizer.padded(prompt).unwrap();
            let row = |part: &str| whole(&recorded[&format!("{name}.{part}")].i(i).unwrap());
            let numbers: Vec<i64> = found.ids.iter().map(|id| i64::from(*id)).collect();
            assert_eq!(numbers, row("ids"), "{prompt:?}");
            let mask: Vec<i64> = found.mask.iter().map(|seen| i64::from(*seen)).collect();
            assert_eq!(mask, row("mask"));
            assert_eq!(found.positions, row("position_ids"));
        }
    }
    let tokenizer = fixture.tokenizer(None);
    let system: String = fixture.setting("system_prompt");
    let official: String = fixture.setting("official_system_prompt");
    assert_eq!(INSTRUCTION, official);
    let found = tokenizer.encode(&system).unwrap();
    assert_eq!(found, ids(&recorded["system_ids"]));
    let found = tokenizer.encode(&official).unwrap();
    assert_eq!(found, ids(&recorded["official_system_ids"]));
}

#[test]
fn parity_hart_tiny_text() {
    let fixture = Fixture::open();
    let recorded = tensors(FIXTURE, "text.safetensors");
    let prompts: Vec<String> = fixture.setting("prompts");
    let system: String = fixture.setting("system_prompt");
    let mut text = fixture.text();
    let mut check = |name: &str, instruction: &str, side: Option<PaddingSide>| {
        text.tokenizer = Arc::new(fixture.tokenizer(side));
        for (i, prompt) in prompts.iter().enumerate() {
            if instruction.is_empty() && prompt.is_empty() {
                continue; // no row sees any key
            }
            let found = text.context(instruction, prompt).unwrap();
            let expected = recorded[name].i(i).unwrap();
            let what = format!("{name} of prompt {i}");
            assert_close(&what, &found.features, &expected, TEXT[0], TEXT[1]);
        }
    };
    check("left.context", &system, Some(PaddingSide::Left));
    check("right.context", &system, Some(PaddingSide::Right));
    check("no_system.context", "", Some(PaddingSide::Right));
    check("official_system.context", INSTRUCTION, None);
}

#[test]
fn parity_hart_tiny_text_layers() {
    let fixture = Fixture::open();
    let recorded = tensors(FIXTURE, "text.safetensors");
    let prompts: Vec<String> = fixture.setting("prompts");
    let text = fixture.text();
    let before = text
        .tokenizer
        .encode(&fixture.setting::<String>("system_prompt"))
        .unwrap();
    for (i, prompt) in prompts.iter().take(2).enumerate() {
        let prompt = text.tokenizer.padded(prompt).unwrap();
        let mask = [vec![true; before.len()], prompt.mask].concat();
        let ids = [before.clone(), prompt.ids].concat();
        let mut streams = vec![];
        let last = text
            .encoder
            .encode(&ids, &mask, &mut |_, x| streams.push(x.squeeze(0).unwrap()))
            .unwrap();
        streams.push(last);
        for (name, layer, expected) in numbered(&recorded, "hidden", "") {
            let expected = expected.i(i).unwrap();
            assert_close(name, &streams[layer], &expected, TEXT[0], TEXT[1]);
        }
    }
}

/// One image of a run in progress.
struct Walk<'a> {
    fixture: &'a Fixture,
    model: &'a Hart,
    recorded: &'a Recorded,
    run: &'a str,
    b: usize,
    images: usize,
    conditions: Vec<Condition>,
    seen: Vec<Arc<ScaleKv>>,
    compared: usize,
}

impl<'a> Walk<'a> {
    fn new(
        fixture: &'a Fixture,
        model: &'a Hart,
        recorded: &'a Recorded,
        run: &'a str,
        b: usize,
    ) -> Self {
        let context = fixture.context(run, b);
        let condition = |context| model.condition(context).unwrap();
        Self {
            conditions: vec![condition(Some(&context)), condition(None)],
            images: fixture.number(run, "batch") as usize,
            fixture,
            model,
            recorded,
            run,
            b,
            seen: vec![],
            compared: 0,
        }
    }

    /// The row of a branch in a tensor of both.
    fn row(&self, x: &Tensor, branch: usize) -> Tensor {
        x.i(branch * self.images + self.b).unwrap()
    }

    fn guidance(&self, scale: usize) -> f64 {
        let scales = self.fixture.grids().len();
        self.fixture.number(self.run, "cfg") * position(scale, scales)
    }

    /// Compares what is recorded of this image under a name, if anything.
    fn compare(&mut self, name: &str, found: &Tensor, limit: f32) {
        if let Some(expected) = self.recorded.get(name) {
            let expected = expected.i(self.b).unwrap();
            let what = format!("{}: {name} of image {}", self.run, self.b);
            close(&what, found, &expected, limit);
            self.compared += 1;
        }
    }

    /// Compares what is recorded of both branches of this image.
    fn compare_branch(&mut self, name: &str, branch: usize, found: &Tensor, limits: [f32; 2]) {
        if let Some(expected) = self.recorded.get(name) {
            let expected = self.row(expected, branch);
            assert_close(name, found, &expected, limits[0], limits[1]);
            self.compared += 1;
        }
    }

    /// Runs a scale that reads a map (1, Z, rows, columns), and compares blocks and logits.
    fn scale(&mut self, scale: usize, map: Option<&Tensor>) -> ScaleOutput {
        let tokens = map.map(|map| {
            let tokens = map.flatten_from(2).unwrap().transpose(1, 2).unwrap();
            tokens.contiguous().unwrap()
        });
        let run = ScaleRun {
            scale,
            tokens: tokens.as_ref(),
            conditions: &self.conditions,
            seen: std::slice::from_ref(&self.seen),
            guidance: self.guidance(scale),
            keep: true,
        };
        let mut blocks = vec![];
        let watch = &mut |branch: usize, block: usize, x: &Tensor| {
            blocks.push((branch, block, x.squeeze(0).unwrap()));
        };
        let output = self.model.forward(run, watch).unwrap();
        for (branch, block, x) in &blocks {
            let name = format!("s{scale:02}.block{block}_out");
            self.compare_branch(&name, *branch, x, TEXT);
        }
        for branch in 0..2 {
            let last = output.last.i(branch).unwrap().unsqueeze(0).unwrap();
            let head = self.model.head_input(&last, &self.conditions[branch]);
            let name = format!("s{scale:02}.head_nm");
            self.compare_branch(&name, branch, &head.unwrap().squeeze(0).unwrap(), TEXT);
        }
        let logits = output.logits.squeeze(0).unwrap();
        self.compare(&format!("s{scale:02}.logits"), &logits, LOGITS);
        self.seen.extend(output.kv.iter().cloned().map(Arc::new));
        output
    }

    /// Compares the parts that depend on the text alone.
    fn check_condition(&mut self) {
        let context = self.fixture.context(self.run, self.b);
        let zeros = context.features.zeros_like().unwrap();
        for (branch, features) in [context.features, zeros].iter().enumerate() {
            let normed = self.model.normed_context(features).unwrap();
            self.compare_branch("context_norm", branch, &normed, TEXT);
            let embedded = self.model.embedded_context(features).unwrap();
            self.compare_branch("context_embed", branch, &embedded, TEXT);
            for scale in 0..self.fixture.grids().len() {
                let [cos, sin] = self.conditions[branch].rotation(scale).tables();
                let [cos, sin] = [cos.clone(), sin.clone()];
                let limits = [TABLES, 0.0];
                self.compare_branch(&format!("rope.s{scale:02}_cos"), branch, &cos, limits);
                self.compare_branch(&format!("rope.s{scale:02}_sin"), branch, &sin, limits);
            }
        }
    }

    /// Compares the keys and values of the first block after a scale.
    fn check_cache(&mut self, scale: usize) {
        for branch in 0..2 {
            let parts = |part: fn(&ttsvar::nn::Kv) -> &Tensor| {
                let blocks = self.seen.iter().map(|kv| part(&kv[branch][0]));
                let all = Tensor::cat(&blocks.collect::<Vec<_>>(), 0).unwrap(); // (T, C)
                let (tokens, width) = all.dims2().unwrap();
                let heads = self.model.config().heads;
                let heads = all.reshape((tokens, heads, width / heads)).unwrap();
                heads.transpose(0, 1).unwrap().contiguous().unwrap()
            };
            let keys = parts(|kv| &kv.k);
            let values = parts(|kv| &kv.v);
            let name = |part: &str| format!("s{scale:02}.block0_cached_{part}");
            self.compare_branch(&name("k"), branch, &keys, [CACHE, 0.0]);
            self.compare_branch(&name("v"), branch, &values, [CACHE, 0.0]);
        }
    }
}

/// (1, Z, rows, columns) -> (L, Z)
fn rows_of(map: &Tensor) -> Tensor {
    let rows = map.squeeze(0).unwrap().flatten_from(1).unwrap();
    rows.t().unwrap().contiguous().unwrap()
}

/// Checks truncation of recorded logits, except in values at the boundary.
fn check_probabilities(what: &str, logits: &Tensor, expected: &Tensor, top_k: usize, top_p: f32) {
    let vocabulary = *logits.dims().last().unwrap();
    let logits = values(logits);
    let mut found = vec![];
    for row in logits.chunks(vocabulary) {
        found.extend(truncate(row, top_k, top_p));
    }
    assert_values_close(what, &found, &values(expected), PROBABILITIES, 0.0);
}

/// The diffusion noise of image `b`, start first, in the order in which it is used.
fn noise(recorded: &Recorded, b: usize, tokens: usize) -> Vec<f32> {
    let rows = |x: &Tensor| values(&x.narrow(0, b * tokens, tokens).unwrap());
    let mut all = rows(&recorded["diff.noise_init"]);
    let steps = numbered(recorded, "diff.step", ".noise");
    for (_, _, x) in &steps[..steps.len() - 1] {
        all.extend(rows(x));
    }
    all
}

#[test]
fn parity_hart_tiny_run_with_ema_weights() {
    let fixture = Fixture::open();
    let recorded = tensors(FIXTURE, "run_a.safetensors");
    let discrete = tensors(FIXTURE, "run_a_discrete.safetensors");
    let model = fixture.model("run_a");
    let grids = fixture.grids();
    for b in 0..fixture.number("run_a", "batch") as usize {
        let mut walk = Walk::new(&fixture, &model, &recorded, "run_a", b);
        walk.check_condition();
        let mut sum: Option<Tensor> = None;
        for (scale, grid) in grids.iter().enumerate() {
            let map = sum.as_ref().map(|sum| area(sum, *grid).unwrap());
            let output = walk.scale(scale, map.as_ref());
            walk.check_cache(scale);
            let name = |part: &str| format!("s{scale:02}.{part}");
            let top_k = whole(&recorded[&name("top_k")])[0] as usize;
            assert_eq!(released_top_k(scale), top_k);
            if let Some(expected) = recorded.get(&name("probs")) {
                let expected = expected.i(b).unwrap();
                check_probabilities(&name("probs"), &output.logits, &expected, top_k, 0.0);
                walk.compared += 1;
            }
            let drawn = ids(&recorded[&name("idx")].i(b).unwrap());
            let codes = fixture.quantizer.codes(&drawn, *grid).unwrap();
            if scale + 1 < grids.len() {
                let place = [scale, grids.len()];
                let size = fixture.size();
                let next = fixture.quantizer.add(sum.as_ref(), &codes, size, place);
                let next = next.unwrap();
                walk.compare(&name("f_hat"), &next.squeeze(0).unwrap(), LATENTS);
                let map = area(&next, grids[scale + 1]).unwrap();
                walk.compare(&name("next_map"), &map.squeeze(0).unwrap(), LATENTS);
                sum = Some(next);
                continue;
            }
            let sum = sum.take().unwrap();
            let only_codes = (&sum + &codes).unwrap();
            let expected = discrete["final.f_hat"].i(b).unwrap().unsqueeze(0).unwrap();
            close("the latent of codes alone", &only_codes, &expected, LATENTS);
            let residual = check_diffusion(&mut walk, &output, &rows_of(&codes));
            let tokens = (rows_of(&codes) + residual).unwrap(); // (L, Z)
            walk.compare("last.tokens", &tokens, RESIDUALS);
            let (rows, columns) = *grid;
            let map = tokens.t().unwrap().contiguous().unwrap();
            let last = (sum + map.reshape((1, (), rows, columns)).unwrap()).unwrap();
            walk.compare("final.f_hat", &last.squeeze(0).unwrap(), RESIDUALS);
            check_images(&fixture, &last, &recorded, b);
            check_images(&fixture, &only_codes, &discrete, b);
        }
        // One of each recorded tensor, two where it has both branches.
        let both = [
            "context_norm",
            "context_embed",
            "rope",
            "block",
            "head_nm",
            "diff.z",
        ];
        let expected = recorded.keys().map(|name| {
            let not_compared = [
                ".idx", ".top_k", ".noise", ".t", "_init", "diff.cfg", "lvl_pos",
            ];
            if not_compared.iter().any(|part| name.ends_with(part)) || is_image(name) {
                0
            } else if both.iter().any(|part| name.contains(part)) {
                2
            } else {
                1
            }
        });
        assert_eq!(walk.compared, expected.sum::<usize>());
    }
    check_levels(&model, &recorded["lvl_pos"]);
}

/// Images are compared apart.
fn is_image(name: &str) -> bool {
    ["final.decoder_out", "final.image_u8_rgb"].contains(&name)
}

/// Compares condition, steps and result of the diffusion head, and returns the result, (L, Z).
fn check_diffusion(walk: &mut Walk, output: &ScaleOutput, codes: &Tensor) -> Tensor {
    let scale = walk.fixture.grids().len() - 1;
    let guidance = walk.guidance(scale);
    let recorded_guidance = walk.recorded["diff.cfg"].to_vec1::<f64>().unwrap()[0];
    assert!((guidance - recorded_guidance).abs() < 1e-6, "{guidance}");
    let mut conditions = vec![];
    for branch in 0..2 {
        let x = output.last.i(branch).unwrap();
        let z = walk.model.diffusion_condition(&x, codes).unwrap();
        walk.compare_branch("diff.z", branch, &z, [CONDITIONS, 0.0]);
        conditions.push(z);
    }
    let tokens = codes.dims()[0];
    let noise = noise(walk.recorded, walk.b, tokens);
    let recorded = walk.recorded;
    let b = walk.b;
    let mut compared = 0;
    let head = walk.model.diffusion();
    let residual = head.sample(&conditions, guidance, &noise, &mut |step| {
        let name = |part: &str| format!("diff.step{}.{part}", step.index);
        let t = whole(&recorded[&name("t")])[0] as usize;
        let steps = &head.schedule().steps;
        assert_eq!(steps[steps.len() - 1 - step.index], t);
        for (part, found, limit) in [
            ("model_out", step.output, NOISE),
            ("pred_xstart", step.estimate, SAMPLES),
            ("sample", step.sample, SAMPLES),
        ] {
            let expected = recorded[&name(part)].narrow(0, b * tokens, tokens).unwrap();
            let what = name(part);
            // Of the variance only the conditional half's is used, and the original keeps it.
            assert_values_close(&what, found, &values(&expected), limit, 0.0);
            compared += 1;
        }
    });
    walk.compared += compared;
    let residual = residual.unwrap();
    walk.compare("diff.residual", &residual, RESIDUALS);
    residual
}

/// Compares the decoded latent of image `b`, before clamping (of the first) and as bytes.
fn check_images(fixture: &Fixture, latent: &Tensor, recorded: &Recorded, b: usize) {
    let decoded = fixture.decoder.forward(latent).unwrap();
    if b == 0 {
        close(
            "the decoded image",
            &decoded,
            &recorded["final.decoder_out"],
            IMAGES,
        );
    }
    let expected = recorded["final.image_u8_rgb"].i(b).unwrap();
    check_bytes("the image", &decoded, &expected);
}

/// Compares an image (1, 3, H, W) in [-1, 1] with bytes (H, W, 3).
fn check_bytes(what: &str, decoded: &Tensor, expected: &Tensor) {
    let pixels = decoded.squeeze(0).unwrap().permute((1, 2, 0)).unwrap();
    let levels = values(&pixels.contiguous().unwrap());
    let levels = levels
        .iter()
        .map(|v| ((v.clamp(-1.0, 1.0) + 1.0) / 2.0 * 255.0) as u8);
    let expected: Vec<u8> = expected.flatten_all().unwrap().to_vec1().unwrap();
    assert_bytes_close(what, &levels.collect::<Vec<_>>(), &expected, BYTES);
}

fn check_levels(model: &Hart, expected: &Tensor) {
    let mut rows = vec![];
    for (scale, level) in model.levels().iter().enumerate() {
        rows.push(level.repeat((model.config().tokens(scale), 1)).unwrap());
    }
    let found = Tensor::cat(&rows, 0).unwrap().unsqueeze(0).unwrap();
    assert_close("lvl_pos", &found, expected, TEXT[0], TEXT[1]);
}

#[test]
fn parity_hart_tiny_run_with_plain_weights() {
    let fixture = Fixture::open();
    let recorded = tensors(FIXTURE, "run_c_not_ema.safetensors");
    let forced = tensors(FIXTURE, "run_a.safetensors");
    let model = fixture.model("run_c_not_ema");
    let grids = fixture.grids();
    for b in 0..fixture.number("run_c_not_ema", "batch") as usize {
        let mut walk = Walk::new(&fixture, &model, &recorded, "run_c_not_ema", b);
        let mut sum: Option<Tensor> = None;
        for (scale, grid) in grids[..3].iter().enumerate() {
            let map = sum.as_ref().map(|sum| area(sum, *grid).unwrap());
            walk.scale(scale, map.as_ref());
            let drawn = ids(&forced[&format!("s{scale:02}.idx")].i(b).unwrap());
            let codes = fixture.quantizer.codes(&drawn, *grid).unwrap();
            let place = [scale, grids.len()];
            let next = fixture
                .quantizer
                .add(sum.as_ref(), &codes, fixture.size(), place);
            sum = Some(next.unwrap());
        }
        assert_eq!(walk.compared, 2, "logits of scales 0 and 2");
    }
    let residuals = forced_run(&fixture, "run_c_not_ema", &forced);
    for (b, found) in residuals.iter().enumerate() {
        let expected = recorded["diff.residual"].i(b).unwrap();
        close("run_c_not_ema: residual", found, &expected, RESIDUALS);
    }
}

/// The whole pipeline with recorded ids and noise. Returns what the last codes left over, (L, Z) of
/// each image.
fn forced_run(fixture: &Fixture, run: &str, forced: &Recorded) -> Vec<Tensor> {
    let vae = &fixture.vae;
    let networks = HartNetworks {
        transformer: fixture.model(run),
        quantizer: Quantizer::load(&vae.pp("quantize")).unwrap(),
        decoder: Decoder::load(vae).unwrap(),
    };
    let settings = Settings {
        cfg: (fixture.number(run, "cfg") as f32).into(),
        more_smooth: false,
        ..Settings::default()
    };
    let model = TextModel::new(&networks, settings).unwrap();
    let grids = fixture.grids();
    let mut residuals = vec![];
    for b in 0..fixture.number(run, "batch") as usize {
        let context = fixture.context(run, b);
        let mut rollout = model.start(&context, 0..1, 0).unwrap();
        let mut before = None;
        let mut last = vec![];
        for (scale, (rows, columns)) in grids.iter().enumerate() {
            before = rollout.sums().pop();
            last = ids(&forced[&format!("s{scale:02}.idx")].i(b).unwrap());
            let step = rollout.step_with(&mut |_, _| HartDraw {
                codes: Drawn::ids(last.clone()),
                noise: match scale + 1 == grids.len() {
                    false => vec![],
                    true => noise(forced, b, rows * columns),
                },
            });
            step.unwrap();
        }
        let codes = fixture.quantizer.codes(&last, fixture.size()).unwrap();
        let residual = ((&rollout.sums()[0] - before.unwrap()).unwrap() - codes).unwrap();
        residuals.push(rows_of(&residual));
        if run == "run_a" {
            let image = rollout.images(&[0], DecodeSize::Full).unwrap().remove(0);
            let expected = forced["final.image_u8_rgb"].i(b).unwrap();
            let expected: Vec<u8> = expected.flatten_all().unwrap().to_vec1().unwrap();
            assert_bytes_close(
                "the image of the pipeline",
                image.pixels(),
                &expected,
                BYTES,
            );
        }
    }
    residuals
}

#[test]
fn parity_hart_tiny_forced_draws_lead_to_the_recorded_images() {
    let fixture = Fixture::open();
    let recorded = tensors(FIXTURE, "run_a.safetensors");
    for (b, found) in forced_run(&fixture, "run_a", &recorded).iter().enumerate() {
        let expected = recorded["diff.residual"].i(b).unwrap();
        close("run_a: residual", found, &expected, RESIDUALS);
    }
}

#[test]
fn parity_hart_tiny_run_with_mixtures() {
    let fixture = Fixture::open();
    let run = "run_b_smooth";
    let recorded = tensors(FIXTURE, "run_b_smooth.safetensors");
    let model = fixture.model(run);
    let grids = fixture.grids();
    let mut walk = Walk::new(&fixture, &model, &recorded, run, 0);
    let mut sum: Option<Tensor> = None;
    for (scale, grid) in grids.iter().enumerate() {
        // From the recorded map of the scale before, as the README says.
        let map = match scale {
            0 => None,
            _ => Some(recorded[&format!("s{:02}.next_map", scale - 1)].clone()),
        };
        walk.scale(scale, map.as_ref());
        let name = |part: &str| format!("s{scale:02}.{part}");
        let last = scale + 1 == grids.len();
        if let (Some(logits), Some(gumbel)) =
            (recorded.get(&name("logits")), recorded.get(&name("gumbel")))
        {
            let sampling = Sampling {
                top_p: 0.0,
                top_k: whole(&recorded[&name("top_k")])[0] as usize,
                smooth: None,
            };
            let smooth = Smooth::at(position(scale, grids.len()));
            let tau = recorded[&name("tau")].to_vec1::<f64>().unwrap()[0];
            assert!((f64::from(smooth.tau) - tau).abs() < 1e-6);
            let vocabulary = fixture.quantizer.vocabulary();
            let mut mixed = vec![];
            let logits = values(logits);
            let gumbel = values(gumbel);
            for (logits, gumbel) in logits.chunks(vocabulary).zip(gumbel.chunks(vocabulary)) {
                mixed.extend(code_mixture(logits, gumbel, &sampling, smooth));
            }
            if let Some(expected) = recorded.get(&name("soft")) {
                assert_values_close(&name("soft"), &mixed, &values(expected), 1e-4, 0.0);
            }
            let shape = (grid.0 * grid.1, vocabulary);
            let mixed = Tensor::from_vec(mixed, shape, &Device::Cpu).unwrap();
            let codes = fixture.quantizer.mixed_codes(&mixed, *grid).unwrap();
            match last {
                true => close(
                    "last.h",
                    &rows_of(&codes),
                    &recorded["last.h"].i(0).unwrap(),
                    1e-4,
                ),
                false => close(&name("h"), &codes, &recorded[&name("h")], 1e-4),
            }
        }
        if last {
            break;
        }
        let codes = &recorded[&name("h")];
        let place = [scale, grids.len()];
        let next = fixture
            .quantizer
            .add(sum.as_ref(), codes, fixture.size(), place);
        let next = next.unwrap();
        walk.compare(&name("f_hat"), &next.squeeze(0).unwrap(), LATENTS);
        let map = area(&next, grids[scale + 1]).unwrap();
        walk.compare(&name("next_map"), &map.squeeze(0).unwrap(), LATENTS);
        sum = Some(next);
    }
    // The ids that the original drew for the condition of the head are not recorded.
    let conditions = [
        recorded["diff.z"].i(0).unwrap(),
        recorded["diff.z"].i(1).unwrap(),
    ];
    let guidance = walk.guidance(grids.len() - 1);
    let tokens = conditions[0].dims()[0];
    let noise = noise(&recorded, 0, tokens);
    let head = model.diffusion();
    let residual = head
        .sample(&conditions, guidance, &noise, &mut |_| ())
        .unwrap();
    close(
        "diff.residual",
        &residual,
        &recorded["diff.residual"].i(0).unwrap(),
        RESIDUALS,
    );
    let tokens = (recorded["last.h"].i(0).unwrap() + residual).unwrap();
    close(
        "last.tokens",
        &tokens,
        &recorded["last.tokens"].i(0).unwrap(),
        RESIDUALS,
    );
    let (rows, columns) = fixture.size();
    let map = tokens.t().unwrap().contiguous().unwrap();
    let latent = (sum.unwrap() + map.reshape((1, (), rows, columns)).unwrap()).unwrap();
    close("final.f_hat", &latent, &recorded["final.f_hat"], RESIDUALS);
    check_images(&fixture, &latent, &recorded, 0);
}

#[test]
fn parity_hart_tiny_diffusion() {
    let fixture = Fixture::open();
    let recorded = tensors(FIXTURE, "diffusion.safetensors");
    let steps: String = fixture.setting("num_sampling_steps");
    let schedule = NoiseSchedule::cosine(steps.parse().unwrap());
    let kept: Vec<i64> = schedule.steps.iter().map(|step| *step as i64).collect();
    assert_eq!(kept, whole(&recorded["schedule.timestep_map"]));
    for (name, found) in [
        ("betas", &schedule.betas),
        ("alphas_cumprod", &schedule.alphas_cumprod),
        (
            "sqrt_recip_alphas_cumprod",
            &schedule.sqrt_recip_alphas_cumprod,
        ),
        (
            "sqrt_recipm1_alphas_cumprod",
            &schedule.sqrt_recipm1_alphas_cumprod,
        ),
        (
            "posterior_log_variance_clipped",
            &schedule.posterior_log_variance_clipped,
        ),
        ("posterior_mean_coef1", &schedule.posterior_mean_coef1),
        ("posterior_mean_coef2", &schedule.posterior_mean_coef2),
    ] {
        let expected = recorded[&format!("schedule.{name}")]
            .to_vec1::<f64>()
            .unwrap();
        for (found, expected) in found.iter().zip(expected) {
            let apart = (found - expected).abs();
            assert!(
                apart <= 1e-12 * expected.abs(),
                "{name}: {found} {expected}"
            );
        }
    }
    let model = fixture.model("run_a");
    let head = model.diffusion();
    let numbers = whole(&recorded["net.t"]);
    let numbers: Vec<usize> = numbers.into_iter().map(|t| t as usize).collect();
    let time = head.time(&numbers).unwrap();
    close("time_embed", &time, &recorded["net.time_embed"], CONDITIONS);
    let condition = head.condition(&recorded["net.c"]).unwrap();
    close(
        "cond_embed",
        &condition,
        &recorded["net.cond_embed"],
        CONDITIONS,
    );
    let y = (time + condition).unwrap();
    let out = head.predict(&recorded["net.x"], &y, &mut |block, x| {
        if block == 0 {
            close("block0", x, &recorded["net.block0"], CONDITIONS);
        }
    });
    close(
        "the output of the head",
        &out.unwrap(),
        &recorded["net.out"],
        NOISE,
    );
}

#[test]
fn parity_hart_tiny_diffusion_guidance() {
    let fixture = Fixture::open();
    let recorded = tensors(FIXTURE, "diffusion.safetensors");
    let model = fixture.model("run_a");
    let head = model.diffusion();
    let high = fixture.number("run_a", "cfg") * 6.0 / 7.0;
    for (name, guidance) in [("cfg0", 0.0), ("cfg1", 1.0), ("cfg_high", high)] {
        let all = &recorded["z"];
        let half = all.dims()[0] / 2;
        // With a weight of exactly 1, the original treats the branches as twice as many rows.
        let z = match guidance == 1.0 {
            true => vec![all.clone()],
            false => vec![
                all.narrow(0, 0, half).unwrap(),
                all.narrow(0, half, half).unwrap(),
            ],
        };
        let steps = &recorded[&format!("{name}.noise")];
        let used = steps.narrow(0, 0, steps.dims()[0] - 1).unwrap();
        let start = values(&recorded[&format!("{name}.noise_init")]);
        let noise = [start, values(&used)].concat();
        let found = head.sample(&z, guidance, &noise, &mut |_| ()).unwrap();
        close(name, &found, &recorded[&format!("{name}.out")], RESIDUALS);
    }
}

#[test]
fn parity_hart_tiny_sampler() {
    let fixture = Fixture::open();
    let recorded = tensors(FIXTURE, "sampler.safetensors");
    let logits = &recorded["logits"];
    for case in fixture.config["sampler_cases"].as_array().unwrap() {
        let name = format!("probs_{}", case["name"].as_str().unwrap());
        let top_k = case["top_k"].as_u64().unwrap() as usize;
        let top_p = case["top_p"].as_f64().unwrap() as f32;
        check_probabilities(&name, logits, &recorded[&name], top_k, top_p);
    }
    let sampling = Sampling {
        top_p: 0.0,
        top_k: fixture.setting("gumbel_top_k"),
        smooth: None,
    };
    let vocabulary = fixture.quantizer.vocabulary();
    let logits = values(logits);
    for (i, tau) in fixture
        .setting::<Vec<f32>>("gumbel_taus")
        .into_iter()
        .enumerate()
    {
        let smooth = Smooth {
            factor: fixture.setting("gumbel_logit_factor"),
            tau,
        };
        let noise = values(&recorded[&format!("gumbel{i}.noise")]);
        let mut mixed = vec![];
        for (logits, noise) in logits.chunks(vocabulary).zip(noise.chunks(vocabulary)) {
            mixed.extend(code_mixture(logits, noise, &sampling, smooth));
        }
        let name = format!("gumbel{i}.soft");
        assert_values_close(&name, &mixed, &values(&recorded[&name]), PROBABILITIES, 0.0);
    }
}

#[test]
fn parity_hart_tiny_encode() {
    let fixture = Fixture::open();
    let recorded = tensors(FIXTURE, "vae_encode.safetensors");
    let image = ttsvar::image::open(golden(FIXTURE).join("encode_input.png")).unwrap();
    let pixels = image.to_chw([0.5; 3], [0.5; 3]);
    let x = Tensor::from_vec(pixels, (1, 3, image.height(), image.width()), &Device::Cpu).unwrap();
    let latent = Encoder::load(&fixture.vae).unwrap().forward(&x).unwrap();
    close("encoder_out", &latent, &recorded["encoder_out"], 1e-4);
    let grids = fixture.grids();
    let scales = fixture.quantizer.quantize(&latent, &grids).unwrap();
    let mut inputs = vec![];
    for (scale, found) in scales.iter().enumerate() {
        let expected = ids(&recorded[&format!("s{scale:02}.idx")]);
        assert_eq!(found.ids, expected, "ids of scale {scale}");
        if let Some(grid) = grids.get(scale + 1) {
            inputs.push(fixture.quantizer.tokens(&found.sum, *grid).unwrap());
        }
    }
    let inputs = Tensor::cat(&inputs, 1).unwrap();
    close("teacher_input", &inputs, &recorded["teacher_input"], 3e-5);
    let before = &scales[scales.len() - 2].sum;
    let left = rows_of(&(&latent - before).unwrap()).unsqueeze(0).unwrap();
    close(
        "continuous_target",
        &left,
        &recorded["continuous_target"],
        1e-4,
    );
    let sum = &scales[scales.len() - 1].sum;
    close("discrete.f_hat", sum, &recorded["discrete.f_hat"], 3e-5);
    for (name, latent) in [("discrete", sum), ("hybrid", &latent)] {
        let decoded = fixture.decoder.forward(latent).unwrap();
        let shown = strided(&decoded.clamp(-1f32, 1f32).unwrap(), 2);
        let part = |part: &str| &recorded[&format!("{name}.{part}")];
        close(&format!("{name}.recon"), &shown, part("recon"), IMAGES);
        check_bytes(name, &decoded, part("recon_u8_rgb"));
    }
}

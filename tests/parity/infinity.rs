//! Infinity's transformer and its tokenizer against recordings of the original program.

use std::{collections::HashMap, path::Path, sync::Arc};

use candle_core::{DType, Device, IndexOp, Tensor};
use serde_json::Value;
use ttsvar::{
    hub,
    models::{
        bsq_vae::{BsqVae, Latent, quantize},
        infinity::{Guidance, Infinity, Pixels, ScaleKv, ScaleRun, Schedule, Text},
    },
    nn::{Dtype, Rope, TensorInfo, TensorSource, Weights},
    pipelines::truncate,
    search::Image,
};

use crate::support::{
    assert_bytes_close, assert_close, assert_values_close, golden, json, strided, tensors, values,
};

type Tensors = HashMap<String, Tensor>;

fn weights(path: &Path, keys: &[&str]) -> Weights {
    Weights::new(hub::open(path, keys).unwrap(), Dtype::F32, &Device::Cpu)
}

fn text(config: &Value, path: &[&str]) -> String {
    path.iter()
        .fold(config, |value, key| &value[*key])
        .as_str()
        .unwrap()
        .to_owned()
}

struct Fixture {
    name: &'static str,
    config: Value,
    model: Infinity,
    vae: BsqVae,
    text: Tensors,
}

impl Fixture {
    fn open(name: &'static str) -> Self {
        let (config, folder) = (json(name, "config.json"), golden(name));
        let model = Infinity::load(&weights(
            &folder.join(text(&config, &["files", "model"])),
            &[],
        ))
        .unwrap();
        let vae = BsqVae::load(&weights(
            &folder.join(text(&config, &["files", "vae"])),
            &["vae"],
        ))
        .unwrap();
        let text = tensors(name, "text.safetensors");
        Self {
            name,
            config,
            model,
            vae,
            text,
        }
    }

    fn run(&self, name: &str) -> Run<'_> {
        let config = &self.config["runs"][name];
        let pixels: Pixels = text(config, &["pn"]).parse().unwrap();
        let schedule = Schedule::released(config["h_div_w"].as_f64().unwrap(), pixels).unwrap();
        let patch = if self.model.config().bits == self.vae.decoder.latent_channels() {
            1
        } else {
            2
        };
        let latent = Latent {
            channels: self.vae.decoder.latent_channels(),
            patch,
            grid: *schedule.grids.last().expect("scales"),
        };
        assert_eq!(latent.bits(), self.model.config().bits);
        let layer = config["cfg_insertion_layer"][0].as_i64().unwrap();
        let guidance = Guidance {
            cfg: config["cfg"].as_f64().unwrap() as f32,
            layer: (layer < 0).then(|| layer.unsigned_abs() as usize),
        };
        let golden = tensors(self.name, &format!("{name}.safetensors"));
        let tau = config["tau"].as_f64().unwrap() as f32;
        Run {
            fixture: self,
            name: name.to_owned(),
            config,
            schedule,
            latent,
            guidance,
            tau,
            golden,
        }
    }

    /// Features of prompt `b`: (T, text width)
    fn features(&self, kind: &str, b: usize) -> Tensor {
        let at: Vec<i64> = self.text[&format!("{kind}cu_seqlens")]
            .to_dtype(DType::I64)
            .unwrap()
            .to_vec1()
            .unwrap();
        self.text[&format!("{kind}kv_compact")]
            .i(at[b] as usize..at[b + 1] as usize)
            .unwrap()
    }
}

struct Run<'a> {
    fixture: &'a Fixture,
    name: String,
    config: &'a Value,
    schedule: Schedule,
    latent: Latent,
    guidance: Guidance,
    tau: f32,
    golden: Tensors,
}

/// What one prompt went through.
#[derive(Default)]
struct Walk {
    logits: Vec<Tensor>,
    inputs: Vec<Option<Tensor>>,
    codes: Vec<Tensor>,
    sums: Vec<Tensor>,
    blocks: HashMap<(usize, usize, usize), Tensor>, // (scale, half, block)
    seen: Vec<Arc<ScaleKv>>,
}

impl Run<'_> {
    fn texts(&self, b: usize) -> Vec<Text> {
        let (fixture, model) = (self.fixture, &self.fixture.model);
        let features = fixture.features("", b);
        let mut texts = vec![model.text(&features).unwrap()];
        if self.guidance.cfg != 1.0 {
            let negative = self.config["negative"].as_bool() == Some(true);
            let length = features.dims()[0];
            let other = if negative {
                fixture.features("negative_", b)
            } else {
                model.unconditional(length).unwrap()
            };
            texts.push(model.text(&other).unwrap());
        }
        texts
    }

    fn walk(&self, b: usize, bits: &Tensors) -> Walk {
        let (model, texts) = (&self.fixture.model, self.texts(b));
        let mut walk = Walk::default();
        let width = model.config().width / model.config().heads;
        for (scale, grid) in self.schedule.grids.iter().enumerate() {
            let rope = Rope::new(*grid, self.schedule.rope_grid, width, &Device::Cpu).unwrap();
            let tokens = walk
                .sums
                .last()
                .map(|sum| self.latent.tokens(sum, *grid).unwrap());
            let inputs: Vec<Tensor> = texts
                .iter()
                .map(|text| match &tokens {
                    None => model.first_input(text).unwrap(),
                    Some(tokens) => model.next_input(tokens, scale).unwrap(),
                })
                .collect();
            let blocks = &mut walk.blocks;
            let mut watch = |half: usize, block: usize, out: &Tensor| {
                blocks.insert((scale, half, block), out.clone());
            };
            let (seen, guidance) = ([walk.seen.clone()], self.guidance);
            let run = ScaleRun {
                input: &inputs,
                texts: &texts,
                seen: &seen,
                routing: None,
                rope: &rope,
                guidance,
                keep: true,
            };
            let (logits, kept) = model.forward(run, &mut watch).unwrap();
            walk.seen.extend(kept.into_iter().map(Arc::new));
            walk.logits
                .push((logits * f64::from(1.0 / self.tau)).unwrap());
            walk.inputs.push(tokens);
            let bits: Vec<u8> = bits[&format!("s{scale:02}.bits")]
                .i(b)
                .unwrap()
                .flatten_all()
                .unwrap()
                .to_vec1()
                .unwrap();
            let codes = self.latent.codes(&bits, *grid).unwrap();
            walk.sums
                .push(self.latent.add(walk.sums.last(), &codes).unwrap());
            walk.codes.push(codes);
        }
        walk
    }

    fn check(&self) {
        let scales: Vec<(usize, usize)> =
            serde_json::from_value(self.config["scales_hw"].clone()).unwrap();
        assert_eq!(self.schedule.grids, scales, "{}: schedule", self.name);
        let batch = self.fixture.config["batch"].as_u64().unwrap() as usize;
        // Runs with the same seed share their bits; only the full ones store them.
        let runs = self.fixture.config["runs"].as_object().unwrap();
        let source = runs.iter().find(|(_, run)| {
            run["bits_seed"] == self.config["bits_seed"] && run["store"].as_str() == Some("full")
        });
        let bits = tensors(
            self.fixture.name,
            &format!("{}.safetensors", source.expect("a full run").0),
        );
        for b in 0..batch {
            let walk = self.walk(b, &bits);
            self.check_scales(b, &walk);
            self.check_blocks(b, batch, &walk);
            self.check_pictures(b, &walk);
        }
    }

    fn check_scales(&self, b: usize, walk: &Walk) {
        let mut compared = 0;
        for scale in 0..self.schedule.grids.len() {
            let mut compare = |key: &str, found: &Tensor, limit: f32| {
                if let Some(expected) = self.golden.get(&format!("s{scale:02}.{key}")) {
                    let expected = expected.i(b).unwrap().reshape(found.dims()).unwrap();
                    assert_close(
                        &format!("{} prompt {b} scale {scale} {key}", self.name),
                        found,
                        &expected,
                        limit,
                        0.0,
                    );
                    compared += 1;
                }
            };
            compare("logits", &walk.logits[scale], 5e-4);
            compare("codes", &walk.codes[scale], 1e-5);
            compare("summed_codes", &walk.sums[scale], 1e-5);
            if let Some(input) = &walk.inputs[scale] {
                compare("input", input, 1e-5);
            }
            if let Some(expected) = self.golden.get(&format!("s{scale:02}.probs")) {
                self.check_probs(
                    &values(&walk.logits[scale]),
                    &values(&expected.i(b).unwrap()),
                );
            }
        }
        assert!(compared >= 2, "{}: nothing to compare", self.name);
    }

    /// Exact truncation, except where a likelihood lies on the boundary.
    fn check_probs(&self, logits: &[f32], expected: &[f32]) {
        let top_p = self.config["top_p"].as_f64().unwrap() as f32;
        let top_k = self.config["top_k"].as_u64().unwrap() as usize;
        let (mut found, mut wanted) = (Vec::new(), Vec::new());
        for (logits, expected) in logits.chunks(2).zip(expected.chunks(2)) {
            let whole = truncate(logits, 0, 0.0);
            if (whole[0].min(whole[1]) - (1.0 - top_p)).abs() >= 1e-4 {
                found.extend(truncate(logits, top_k, top_p));
                wanted.extend(expected);
            }
        }
        assert_values_close(
            &format!("{} probabilities", self.name),
            &found,
            &wanted,
            1e-4,
            0.0,
        );
    }

    fn check_blocks(&self, b: usize, batch: usize, walk: &Walk) {
        let halves = if self.guidance.cfg == 1.0 { 1 } else { 2 };
        for ((scale, half, block), found) in &walk.blocks {
            if let Some(expected) = self.golden.get(&format!("s{scale:02}.block{block}_out")) {
                let expected = expected.i(half * batch + b).unwrap().unsqueeze(0).unwrap();
                let what = format!(
                    "{} prompt {b} half {half} scale {scale} block {block}",
                    self.name
                );
                assert_close(&what, found, &expected, 1e-4, 1e-4);
            }
        }
        for (name, expected) in self
            .golden
            .iter()
            .filter(|(name, _)| name.contains("_cached_"))
        {
            let (scale, rest) = name.split_once('.').unwrap();
            let scale: usize = scale[1..].parse().unwrap();
            let (block, which) = rest.split_once("_cached_").unwrap();
            let block: usize = block.trim_start_matches("block").parse().unwrap();
            for half in 0..halves {
                let expected = expected.i(half * batch + b).unwrap(); // (heads, T, width)
                let parts: Vec<Tensor> = walk.seen[..=scale]
                    .iter()
                    .map(|kv| {
                        if which == "k" {
                            kv[half][block].k.clone()
                        } else {
                            kv[half][block].v.clone()
                        }
                    })
                    .collect();
                let (heads, tokens, width) = expected.dims3().unwrap();
                let found = Tensor::cat(&parts, 0)
                    .unwrap()
                    .reshape((tokens, heads, width))
                    .unwrap();
                let found = found.transpose(0, 1).unwrap().contiguous().unwrap();
                assert_close(
                    &format!("{} prompt {b} {name} half {half}", self.name),
                    &found,
                    &expected,
                    1e-5,
                    0.0,
                );
            }
        }
    }

    fn check_pictures(&self, b: usize, walk: &Walk) {
        let decode = |sum: &Tensor| self.fixture.vae.decoder.forward(sum).unwrap();
        if b == 0 {
            for (scale, sum) in walk.sums.iter().enumerate() {
                if let Some(expected) = self.golden.get(&format!("s{scale:02}.decoder_out_stride3"))
                {
                    let what = format!("{} picture after scale {scale}", self.name);
                    assert_close(&what, &strided(&decode(sum), 3), expected, 2e-3, 0.0);
                }
            }
        }
        let last = walk.sums.last().unwrap();
        if let Some(expected) = self.golden.get("final.decoder_out").filter(|_| b == 0) {
            let found = decode(last);
            let found = if found.dims() == expected.dims() {
                found
            } else {
                strided(&found, 3)
            };
            assert_close(
                &format!("{} finished picture", self.name),
                &found,
                expected,
                2e-3,
                0.0,
            );
        }
        let Some(expected) = self
            .golden
            .get("final.image_u8_bgr")
            .filter(|images| b < images.dims()[0])
        else {
            return;
        };
        let found = decode(last);
        let (_, _, height, width) = found.dims4().unwrap();
        let image = Image::from_chw(width, height, &values(&found));
        let bgr: Vec<u8> = expected
            .i(b)
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1()
            .unwrap();
        let rgb: Vec<u8> = bgr.chunks(3).flat_map(|p| [p[2], p[1], p[0]]).collect();
        assert_bytes_close(
            &format!("{} prompt {b} bytes", self.name),
            image.pixels(),
            &rgb,
            0.02,
        );
    }
}

fn runs(name: &'static str) {
    let fixture = Fixture::open(name);
    let names: Vec<String> = fixture.config["runs"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    names.iter().for_each(|run| fixture.run(run).check());
}

fn text_outputs(name: &'static str) {
    let fixture = Fixture::open(name);
    let (expected, batch) = (
        tensors(name, "text_outputs.safetensors"),
        fixture.config["batch"].as_u64().unwrap(),
    );
    let named = fixture.config["runs"]
        .as_object()
        .unwrap()
        .iter()
        .find(|(_, run)| run["text_out"] == true);
    let run = fixture.run(named.expect("a run that recorded its text").0);
    let texts: Vec<Vec<Text>> = (0..batch as usize).map(|b| run.texts(b)).collect();
    type Output = fn(&Text) -> &Tensor;
    let in_order = |of: Output| -> Vec<f32> {
        (0..2)
            .flat_map(|half| texts.iter().flat_map(move |texts| values(of(&texts[half]))))
            .collect()
    };
    let outputs: [(&str, Output); 4] = [
        ("text_norm", |text| &text.normed),
        ("text_proj_for_sos", |text| &text.pooled),
        ("text_proj_for_ca", |text| &text.projected),
        ("shared_ada_lin", |text| &text.shared),
    ];
    for (key, of) in outputs {
        let wanted: Vec<&Tensor> = expected
            .iter()
            .filter(|(name, _)| name.starts_with(key))
            .map(|(_, t)| t)
            .collect();
        assert_eq!(wanted.len(), 1, "{key}");
        assert_values_close(key, &in_order(of), &values(wanted[0]), 1e-4, 1e-4);
    }
}

fn encode(name: &'static str) {
    let fixture = Fixture::open(name);
    let (golden_folder, golden) = (golden(name), tensors(name, "vae_encode.safetensors"));
    let grids: Vec<(usize, usize)> =
        serde_json::from_value(fixture.config["encode"]["scales_hw_vae"].clone()).unwrap();
    let image = ttsvar::image::open(golden_folder.join("encode_input.png")).unwrap();
    let pixels = image.to_chw([0.5; 3], [0.5; 3]);
    let x = Tensor::from_vec(pixels, (1, 3, image.height(), image.width()), &Device::Cpu).unwrap();
    let latent = fixture.vae.encoder.forward(&x).unwrap();
    assert_close(
        "encoder_out",
        &latent,
        &golden["encoder_out"].reshape(latent.dims()).unwrap(),
        1e-3,
        0.0,
    );

    let scales = quantize(&latent, &grids).unwrap();
    let (mut flips, mut total) = (0, 0);
    for (i, scale) in scales.iter().enumerate() {
        let expected: Vec<u8> = golden[&format!("s{i:02}.bits")]
            .to_dtype(DType::U8)
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1()
            .unwrap();
        assert_eq!(scale.bits.len(), expected.len());
        flips += scale
            .bits
            .iter()
            .zip(&expected)
            .filter(|(a, b)| a != b)
            .count();
        total += expected.len();
    }
    println!("{name}: {flips} of {total} bits differ");
    assert!(
        flips * 1000 <= total,
        "{name}: more than 0.1 % of the bits differ"
    );
    let last = &scales.last().unwrap().sum;
    if flips == 0 {
        assert_close(
            "quantized",
            last,
            &golden["quantized"].reshape(last.dims()).unwrap(),
            1e-5,
            0.0,
        );
        let found = fixture
            .vae
            .decoder
            .forward(last)
            .unwrap()
            .clamp(-1f32, 1f32)
            .unwrap();
        let recon = &golden["recon"];
        assert_close(
            "recon",
            &strided(&found, 3),
            &recon.reshape(strided(&found, 3).dims()).unwrap(),
            2e-3,
            0.0,
        );
        let image = Image::from_chw(image.width(), image.height(), &values(&found));
        let expected: Vec<u8> = golden["recon_u8_rgb"]
            .flatten_all()
            .unwrap()
            .to_vec1()
            .unwrap();
        assert_bytes_close("recon_u8", image.pixels(), &expected, 0.02);
    }
    for i in 1..grids.len() {
        if let Some(expected) = golden
            .get(&format!("s{i:02}.var_input"))
            .filter(|_| flips == 0)
        {
            let found = ttsvar::nn::area(&scales[i - 1].sum, grids[i]).unwrap();
            let found = if found.elem_count() == expected.elem_count() {
                found
            } else {
                continue;
            };
            assert_close(
                &format!("var_input {i}"),
                &found.reshape(expected.dims()).unwrap(),
                expected,
                1e-5,
                0.0,
            );
        }
    }
}

#[test]
fn parity_infinity_tiny_runs() {
    runs("infinity-tiny");
}

#[test]
fn parity_infinity_tiny_text() {
    text_outputs("infinity-tiny");
}

#[test]
fn parity_infinity_tiny_encode() {
    encode("infinity-tiny");
}

#[test]
fn parity_infinity_8b_like_tiny_runs() {
    runs("infinity-8b-like-tiny");
}

#[test]
fn parity_infinity_8b_like_tiny_text() {
    text_outputs("infinity-8b-like-tiny");
}

#[test]
fn parity_infinity_8b_like_tiny_encode() {
    encode("infinity-8b-like-tiny");
}

#[test]
fn parity_infinity_8b_like_tiny_shards_hold_the_same_network() {
    let fixture = Fixture::open("infinity-8b-like-tiny");
    let folder = golden(fixture.name).join(text(&fixture.config, &["files", "model_sharded_dir"]));
    let sharded = Infinity::load(&weights(&folder, &[])).unwrap();
    let features = fixture.features("", 0);
    let (ours, theirs) = (
        fixture.model.text(&features).unwrap(),
        sharded.text(&features).unwrap(),
    );
    assert_close("shards", &theirs.projected, &ours.projected, 0.0, 0.0);
    assert_eq!(sharded.config(), fixture.model.config());
}

/// A checkpoint in which some tensors have other axes.
struct Reshaped(Arc<dyn TensorSource>);

impl Reshaped {
    fn axes(name: &str, shape: &[usize]) -> Vec<usize> {
        if name.ends_with("scale_mul_1H11") {
            vec![1, 1, shape.iter().product(), 1]
        } else {
            shape.to_vec()
        }
    }
}

impl TensorSource for Reshaped {
    fn origin(&self) -> String {
        self.0.origin()
    }

    fn names(&self) -> Vec<String> {
        self.0.names()
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        self.0.info(name).map(|info| TensorInfo {
            shape: Self::axes(name, &info.shape),
            ..info
        })
    }

    fn load(&self, name: &str) -> ttsvar::Result<Tensor> {
        let tensor = self.0.load(name)?;
        Ok(tensor.reshape(Self::axes(name, tensor.dims()))?)
    }
}

#[test]
fn parity_infinity_tiny_temperatures_in_the_other_layout() {
    let mut fixture = Fixture::open("infinity-tiny");
    let path = golden(fixture.name).join(text(&fixture.config, &["files", "model"]));
    let source = Arc::new(Reshaped(hub::open(&path, &[]).unwrap()));
    fixture.model = Infinity::load(&Weights::new(source, Dtype::F32, &Device::Cpu)).unwrap();
    let names: Vec<String> = fixture.config["runs"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    fixture.run(&names[0]).check();
}

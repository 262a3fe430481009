//! FlexTok against recordings of the original program.

use std::collections::HashMap;

use candle_core::{DType, Device, IndexOp, Tensor};
use serde::de::DeserializeOwned;
use serde_json::Value;
use ttsvar::{
    hub,
    models::{
        autoencoder::Part,
        flextok::{
            Apg, Encoder, FlexTokConfig, FlowDecoder, FlowGuidance, Fsq, VAE, plain_guidance,
            sinusoid,
        },
        kl_vae::{self, DiffusersNames},
    },
    nn::{Dtype, Weights},
};

use crate::support::{
    assert_bytes_close, assert_close, assert_values_close, golden, json, tensors, values,
};

pub const FIXTURE: &str = "flextok-tiny";

/// Limits of the recording's README.
const VAE_TENSORS: f32 = 2e-4;
const NETWORK: f32 = 3e-5;
const CODES: f32 = 2e-5;
const VELOCITIES: f32 = 2e-5;
const GUIDANCE: f32 = 1e-5;
const LATENTS: f32 = 4e-5;
const IMAGES: f32 = 5e-4;
const BYTES: f32 = 0.02;

pub type Recorded = HashMap<String, Tensor>;

/// The tokenizer of the recording.
pub struct Fixture {
    pub config: Value,
    pub tokenizer: FlexTokConfig,
    pub inputs: Recorded,
    weights: Weights,
}

impl Fixture {
    pub fn open() -> Self {
        let config = json(FIXTURE, "config.json");
        let folder = config["files"]["tokenizer"].as_str().unwrap().to_owned();
        let tree = json(FIXTURE, &format!("{folder}/config.json"));
        Self {
            tokenizer: FlexTokConfig::read("config.json", &tree).unwrap(),
            weights: weights(&folder, &format!("{VAE}.")),
            inputs: tensors(FIXTURE, "inputs.safetensors"),
            config,
        }
    }

    pub fn setting<T: DeserializeOwned>(&self, name: &str) -> T {
        serde_json::from_value(self.config[name].clone()).unwrap()
    }

    fn groups(&self) -> usize {
        let groups = &self.config["vae_base_config"]["norm_num_groups"];
        groups.as_u64().unwrap() as usize
    }

    pub fn fsq(&self) -> Fsq {
        Fsq::new(self.tokenizer.levels.clone()).unwrap()
    }

    fn encoder(&self) -> Encoder {
        Encoder::load(&self.weights.pp("encoder"), &self.tokenizer.encoder).unwrap()
    }

    pub fn decoder(&self) -> FlowDecoder {
        let w = self.weights.pp("decoder");
        FlowDecoder::load(&w, &self.tokenizer.decoder, self.fsq()).unwrap()
    }

    pub fn vae(&self) -> kl_vae::Decoder {
        kl_vae::Decoder::load(&self.weights.pp(VAE), self.groups()).unwrap()
    }

    /// The recorded tokens of images to decode, each cut to its prefix.
    fn prefixes(&self) -> Vec<Vec<u32>> {
        let lengths: Vec<usize> = self.setting("keep_k");
        let tokens = &self.inputs["decode_tokens"];
        let prefix = |(i, length): (usize, &usize)| ids(&tokens.i(i).unwrap())[..*length].to_vec();
        lengths.iter().enumerate().map(prefix).collect()
    }

    /// Decodes prefixes from noise, by projected guidance.
    pub fn decode(&self, prefixes: &[Vec<u32>], noise: &Tensor, steps: usize, cfg: f64) -> Tensor {
        let decoder = self.decoder();
        let registers = conditions(&decoder, prefixes);
        let guidance = FlowGuidance {
            weight: &|_| cfg,
            projected: true,
        };
        decoder
            .sample(noise, &registers, steps, &guidance, &mut |_, _| ())
            .unwrap()
    }

    /// Images of latents.
    pub fn images(&self, latents: &Tensor) -> Tensor {
        let latents = (latents / self.tokenizer.scaling_factor).unwrap();
        self.vae().forward(&latents).unwrap()
    }
}

/// The registers of prefixes: (B, K, D)
fn conditions(decoder: &FlowDecoder, prefixes: &[Vec<u32>]) -> Tensor {
    let prefixes = prefixes.iter();
    let conditions = prefixes.map(|prefix| decoder.condition(prefix, &mut |_, _, _| ()).unwrap());
    Tensor::stack(&conditions.collect::<Vec<_>>(), 0).unwrap()
}

/// The weights in a folder, with a VAE below `prefix`.
fn weights(folder: &str, prefix: &str) -> Weights {
    let source = hub::open(golden(FIXTURE).join(folder), &[] as &[&str]).unwrap();
    let source = std::sync::Arc::new(DiffusersNames::new(source, prefix));
    Weights::new(source, Dtype::F32, &Device::Cpu)
}

pub fn ids(x: &Tensor) -> Vec<u32> {
    let x = x.flatten_all().unwrap().to_dtype(DType::U32).unwrap();
    x.to_vec1().unwrap()
}

/// Images (B, 3, H, W) as bytes (B, H, W, 3), truncated as the original does.
pub fn bytes(images: &Tensor) -> Vec<u8> {
    let images = images.permute((0, 2, 3, 1)).unwrap();
    let levels = values(&images.contiguous().unwrap()).into_iter();
    let byte = |level: f32| (((level + 1.0) / 2.0).clamp(0.0, 1.0) * 255.0) as u8;
    levels.map(byte).collect()
}

pub fn recorded_bytes(x: &Tensor) -> Vec<u8> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

/// Recorded tensors, of which each must be compared.
struct Comparison {
    recorded: Recorded,
    compared: Vec<String>,
}

impl Comparison {
    fn open(file: &str) -> Self {
        Self {
            recorded: tensors(FIXTURE, file),
            compared: vec![],
        }
    }

    fn of(&mut self, name: &str) -> Tensor {
        self.compared.push(name.to_owned());
        self.recorded[name].clone()
    }

    fn close(&mut self, name: &str, found: &Tensor, limit: f32) {
        let expected = self.of(name);
        assert_eq!(found.elem_count(), expected.elem_count(), "{name}");
        let found = found.reshape(expected.dims()).unwrap();
        assert_close(name, &found, &expected, limit, 0.0);
    }

    /// The same if there is a tensor of this name.
    fn close_if_recorded(&mut self, name: &str, found: &Tensor, limit: f32) {
        if self.recorded.contains_key(name) {
            self.close(name, found, limit);
        }
    }

    fn bytes(&mut self, name: &str, images: &Tensor) {
        let expected = recorded_bytes(&self.of(name));
        assert_bytes_close(name, &bytes(images), &expected, BYTES);
    }

    fn finish(self) {
        let mut names: Vec<&String> = self.recorded.keys().collect();
        names.retain(|name| !self.compared.contains(name));
        assert!(names.is_empty(), "not compared: {names:?}");
    }
}

/// (B, L, heads * width) of several samples as one sequence: (1, heads, B * L, width)
fn by_heads(x: &Tensor, width: usize) -> Tensor {
    let (b, l, c) = x.dims3().unwrap();
    let x = x.reshape((b * l, c / width, width)).unwrap();
    x.transpose(0, 1).unwrap().contiguous().unwrap()
}

#[test]
fn parity_flextok_tiny_vae() {
    let fixture = Fixture::open();
    let mut recorded = Comparison::open("vae.safetensors");
    let image = |i: usize| {
        let path = golden(FIXTURE).join(format!("encode_input_{i}.png"));
        let image = ttsvar::image::open(path).unwrap();
        let shape = (1, 3, image.height(), image.width());
        Tensor::from_vec(image.to_chw([0.5; 3], [0.5; 3]), shape, &Device::Cpu).unwrap()
    };
    let x = Tensor::cat(&[image(0), image(1)], 0).unwrap();
    let encoder = kl_vae::Encoder::load(&fixture.weights.pp(VAE), fixture.groups()).unwrap();
    let mut parts = vec![];
    let mut watch = |part: Part, map: &ttsvar::nn::FeatureMap| {
        parts.push((part, map.to_tensor()?));
        Ok(())
    };
    let out = encoder.forward_watching(&x, &mut watch).unwrap();
    let levels = parts.len() - 1;
    for (part, map) in &parts {
        match part {
            Part::Mid => recorded.close("encoder.mid", map, VAE_TENSORS),
            Part::Level(0) => {
                recorded.close("encoder.down0", &map.i(..1).unwrap(), VAE_TENSORS);
            }
            Part::Level(i) => {
                recorded.close_if_recorded(&format!("encoder.down{i}"), map, VAE_TENSORS);
            }
        }
    }
    recorded.close("encoder.out", &out, VAE_TENSORS);
    recorded.close("moments", &encoder.moments(&out).unwrap(), VAE_TENSORS);
    let posterior = encoder.forward(&x).unwrap();
    recorded.close("mean", &posterior.mean, VAE_TENSORS);
    recorded.close("logvar", &posterior.logvar, VAE_TENSORS);
    recorded.close("std", &posterior.std().unwrap(), VAE_TENSORS);
    let factor = fixture.tokenizer.scaling_factor;
    let mode = (&posterior.mean * factor).unwrap();
    recorded.close("latents_mode", &mode, VAE_TENSORS);
    let sampled = posterior
        .sample(&fixture.inputs["posterior_noise"])
        .unwrap();
    recorded.close("latents_sampled", &(sampled * factor).unwrap(), VAE_TENSORS);

    let decoder = fixture.vae();
    let latents = (&recorded.recorded["latents_mode"] / factor).unwrap();
    let post_quant = decoder.post_quant(&latents).unwrap();
    recorded.close("post_quant", &post_quant, VAE_TENSORS);
    let mut parts = vec![];
    let mut watch = |part: Part, map: &ttsvar::nn::FeatureMap| {
        parts.push((part, map.to_tensor()?));
        Ok(())
    };
    let images = decoder.forward_watching(&post_quant, &mut watch).unwrap();
    for (part, map) in &parts {
        match part {
            Part::Mid => recorded.close("decoder.mid", map, VAE_TENSORS),
            Part::Level(i) => {
                let name = format!("decoder.up{}", levels - 1 - i);
                recorded.close_if_recorded(&name, &map.i(..1).unwrap(), VAE_TENSORS);
            }
        }
    }
    recorded.close("recon", &images, IMAGES);
    recorded.bytes("recon_u8", &images);
    recorded.finish();
}

/// The VAE in a folder of its own is the same.
#[test]
fn parity_flextok_tiny_vae_alone() {
    let fixture = Fixture::open();
    let folder = fixture.config["files"]["vae_alone"].as_str().unwrap();
    let alone = kl_vae::Decoder::load(&weights(folder, ""), fixture.groups()).unwrap();
    let recorded = tensors(FIXTURE, "vae.safetensors");
    let images =
        alone.forward(&(&recorded["latents_mode"] / fixture.tokenizer.scaling_factor).unwrap());
    assert_close("recon", &images.unwrap(), &recorded["recon"], IMAGES, 0.0);
}

#[test]
fn parity_flextok_tiny_encoder() {
    let fixture = Fixture::open();
    let mut recorded = Comparison::open("encoder.safetensors");
    let latents = tensors(FIXTURE, "vae.safetensors");
    let encoder = fixture.encoder();
    let width = fixture.tokenizer.encoder.transformer.head_width;
    let mut seen = vec![];
    let z = encoder
        .forward(&latents["latents_mode"], &mut |name, block, x| {
            seen.push((name.to_owned(), block, x.clone()));
        })
        .unwrap();
    for (name, block, x) in seen {
        let name = match block {
            Some(block) => format!("block{block}.{name}"),
            None => name,
        };
        let x = match name.rsplit('.').next() {
            Some("q" | "k") => by_heads(&x, width),
            _ => x,
        };
        recorded.close_if_recorded(&name, &x, NETWORK);
    }
    recorded.close("z", &z, CODES);
    let fsq = fixture.fsq();
    let z = values(&z);
    let bounded = fsq.bounded(&z);
    assert_values_close(
        "bounded",
        &bounded,
        &values(&recorded.of("bounded")),
        CODES,
        0.0,
    );
    let tokens = fsq.quantize(&z);
    assert_eq!(tokens, ids(&recorded.of("ids")));
    assert_eq!(tokens, ids(&recorded.of("ids_again")));
    assert_eq!(fsq.codes(&tokens), values(&recorded.of("codes")));
    let sampled = encoder
        .forward(&latents["latents_sampled"], &mut |_, _, _| ())
        .unwrap();
    let sampled = fsq.quantize(&values(&sampled));
    assert_eq!(sampled, ids(&recorded.of("ids_from_sampled_latents")));
    check_mask(&fixture, &recorded.of("mask"));
    recorded.finish();
}

/// What the mask forbids is what changes nothing: the recorded mask is that of the network's text.
fn check_mask(fixture: &Fixture, mask: &Tensor) {
    let registers = fixture.decoder().sizes().registers;
    let all = mask.dims()[0] / 2;
    let patches = all - registers;
    let mask = mask.to_dtype(DType::U8).unwrap().to_vec2::<u8>().unwrap();
    for (row, columns) in mask.iter().enumerate() {
        for (column, open) in columns.iter().enumerate() {
            let same_image = row / all == column / all;
            let (row, column) = (row % all, column % all);
            let prefix = row >= patches && column <= row;
            let expected = same_image && (column < patches || prefix);
            assert_eq!(*open == 1, expected, "{row} {column}");
        }
    }
}

#[test]
fn parity_flextok_tiny_quantizer_and_times() {
    let fixture = Fixture::open();
    let mut recorded = Comparison::open("fsq_time.safetensors");
    let z = fixture.inputs["fsq_z"].to_vec2::<f32>().unwrap();
    for (name, levels) in [
        ("released", vec![8, 8, 8, 5, 5, 5]),
        ("tiny", fixture.tokenizer.levels.clone()),
        ("odd", vec![7, 6, 2]),
    ] {
        let fsq = Fsq::new(levels).unwrap();
        let columns = |row: &Vec<f32>| row[..fsq.width()].to_vec();
        let z: Vec<f32> = z.iter().flat_map(columns).collect();
        let of = |part: &str| format!("{name}.{part}");
        let expected = values(&recorded.of(&of("bounded")));
        assert_values_close(&of("bounded"), &fsq.bounded(&z), &expected, CODES, 0.0);
        let tokens = fsq.quantize(&z);
        assert_eq!(tokens, ids(&recorded.of(&of("ids"))));
        assert_eq!(fsq.codes(&tokens), values(&recorded.of(&of("codes"))));
        let table = ids(&recorded.of(&of("table_ids")));
        assert_eq!(fsq.codes(&table), values(&recorded.of(&of("table"))));
    }
    let times = values(&recorded.of("time.t"));
    for (longest, limit) in [(1.0, 2e-4), (1000.0, 1e-6)] {
        for width in [256, 7] {
            let name = format!("time.sinusoid_max{longest}_dim{width}");
            let found = times.iter().flat_map(|t| sinusoid(*t, width, longest));
            let expected = values(&recorded.of(&name));
            assert_values_close(&name, &found.collect::<Vec<_>>(), &expected, limit, 0.0);
        }
    }
    recorded.finish();
}

#[test]
fn parity_flextok_tiny_velocities() {
    let fixture = Fixture::open();
    let mut recorded = Comparison::open("decoder.safetensors");
    let decoder = fixture.decoder();
    let noise = &fixture.inputs["flow_noise"];
    let mut parts: HashMap<String, Vec<Tensor>> = HashMap::new();
    let conditions: Vec<Tensor> = fixture
        .prefixes()
        .iter()
        .map(|prefix| {
            let mut watch = |name: &str, _: Option<usize>, x: &Tensor| {
                parts.entry(name.to_owned()).or_default().push(x.clone());
            };
            decoder.condition(prefix, &mut watch).unwrap()
        })
        .collect();
    for (name, parts) in &parts {
        let name = match name.as_str() {
            "registers_in" => "cond.registers_in",
            other => other,
        };
        recorded.close(name, &Tensor::stack(parts, 0).unwrap(), NETWORK);
    }
    let conditional = Tensor::stack(&conditions, 0).unwrap();
    let null = vec![decoder.null_condition().unwrap(); conditions.len()];
    let unconditional = Tensor::stack(&null, 0).unwrap();
    recorded.close("uncond.registers_in", &unconditional, NETWORK);
    let times: Vec<f64> = fixture.setting("ts");
    for (k, t) in times.into_iter().enumerate() {
        for (branch, registers) in [("cond", &conditional), ("uncond", &unconditional)] {
            let mut seen = vec![];
            let mut watch = |name: &str, block: Option<usize>, x: &Tensor| {
                seen.push((name.to_owned(), block, x.clone()));
            };
            let v = decoder.velocity(noise, t, registers, &mut watch).unwrap();
            recorded.close(&format!("t{k}.{branch}.velocity"), &v, VELOCITIES);
            if k != 1 {
                continue;
            }
            for (name, block, x) in seen {
                let name = match block {
                    Some(block) => format!("{branch}.block{block}.{name}"),
                    None => name,
                };
                let Some(expected) = recorded.recorded.get(&name) else {
                    continue;
                };
                // The time is the same for all images.
                let x = match x.dims()[0] < expected.dims()[0] {
                    true => x.broadcast_as(expected.dims()).unwrap(),
                    false => x,
                };
                if branch == "cond" || block.is_some() {
                    recorded.close(&name, &x.contiguous().unwrap(), NETWORK);
                }
            }
        }
        if k == 1 {
            let one = conditional.i(1..2).unwrap();
            let noise = noise.i(1..2).unwrap();
            let v = decoder
                .velocity(&noise, t, &one, &mut |_, _, _| ())
                .unwrap();
            recorded.close("alone.t1.cond.velocity", &v, VELOCITIES);
        }
    }
    recorded.finish();
}

#[test]
fn parity_flextok_tiny_guidance() {
    let fixture = Fixture::open();
    let mut recorded = Comparison::open("guidance.safetensors");
    let branch = |name: &str| {
        let x = &fixture.inputs[name];
        let steps = x.dims()[0];
        x.reshape((steps, ())).unwrap().to_vec2::<f32>().unwrap()
    };
    let conditional = branch("guidance_cond");
    let unconditional = branch("guidance_uncond");
    let steps = |apg: &Apg, keep: bool, weight: f64| -> (Vec<f32>, Apg) {
        let mut all = vec![];
        let mut running = apg.clone();
        for (conditional, unconditional) in conditional.iter().zip(&unconditional) {
            if !keep {
                running = apg.clone();
            }
            all.extend(running.guide(conditional, unconditional, weight));
        }
        (all, running)
    };
    let released = Apg::released();
    for weight in [1.5, 7.5] {
        let plain = plain_guidance(
            &fixture.inputs["guidance_cond"],
            &fixture.inputs["guidance_uncond"],
            weight,
        );
        recorded.close(&format!("plain_{weight}"), &plain.unwrap(), GUIDANCE);
        let mut compare = |name: &str, found: &[f32]| {
            let name = format!("{name}_{weight}");
            let expected = values(&recorded.of(&name));
            assert_values_close(&name, found, &expected, GUIDANCE, 0.0);
        };
        compare("apg_no_momentum", &steps(&released, false, weight).0);
        let (guided, after) = steps(&released, true, weight);
        compare("apg_momentum", &guided);
        compare("running_average", &after.running);
    }
    for (name, apg) in [
        (
            "apg_eta_1",
            Apg {
                eta: 1.0,
                ..Apg::released()
            },
        ),
        (
            "apg_threshold_0",
            Apg {
                threshold: 0.0,
                ..Apg::released()
            },
        ),
    ] {
        let expected = values(&recorded.of(name));
        assert_values_close(name, &steps(&apg, false, 3.0).0, &expected, GUIDANCE, 0.0);
    }
    recorded.finish();
}

/// The weight of guidance at a time.
type Weight<'a> = &'a dyn Fn(f64) -> f64;

#[test]
fn parity_flextok_tiny_decodes() {
    let fixture = Fixture::open();
    let mut recorded = Comparison::open("decode.safetensors");
    let decoder = fixture.decoder();
    let steps: usize = fixture.setting("flow_steps");
    let registers = conditions(&decoder, &fixture.prefixes());
    let noise = &fixture.inputs["flow_noise"];
    let of_time = |t: f64| 1.0 + 4.0 * t;
    let runs: [(&str, Weight, bool); 5] = [
        ("none", &|_| 1.0, false),
        ("none_apg_flag", &|_| 1.0, true),
        ("cfg", &|_| 3.0, false),
        ("apg", &|_| 7.5, true),
        ("cfg_of_t", &of_time, false),
    ];
    for (name, weight, projected) in runs {
        let guidance = FlowGuidance { weight, projected };
        let mut before = vec![];
        let mut times = vec![];
        let latents = decoder
            .sample(noise, &registers, steps, &guidance, &mut |t, x| {
                times.push(t as f32);
                before.push(x.clone());
            })
            .unwrap();
        recorded.close(&format!("{name}.latents"), &latents, LATENTS);
        let before = Tensor::stack(&before, 0).unwrap();
        recorded.close_if_recorded(&format!("{name}.x_before_step"), &before, LATENTS);
        assert_values_close(
            "times",
            &times,
            &values(&recorded.of("t_of_step")),
            1e-6,
            0.0,
        );
        if recorded.recorded.contains_key(&format!("{name}.image")) {
            let images = fixture.images(&latents);
            recorded.close(&format!("{name}.image"), &images, IMAGES);
            recorded.bytes(&format!("{name}.image_u8"), &images);
        }
    }
    let expected = recorded.recorded["square.latents"].clone();
    let (_, _, rows, columns) = expected.dims4().unwrap();
    let noise = fixture.inputs["square_noise"]
        .i((.., .., ..rows, ..columns))
        .unwrap();
    let whole = ids(&fixture.inputs["decode_tokens"].i(0).unwrap());
    let latents = fixture.decode(&[whole], &noise.contiguous().unwrap(), 2, 7.5);
    recorded.close("square.latents", &latents, LATENTS);
    recorded.close("square.image", &fixture.images(&latents), IMAGES);
    recorded.finish();
}

/// The settings in the metadata of the weights are those of `config.json`.
#[test]
fn parity_flextok_tiny_metadata() {
    let fixture = Fixture::open();
    let folder = fixture.config["files"]["tokenizer"].as_str().unwrap();
    let file = golden(FIXTURE).join(folder).join("model.safetensors");
    let metadata = hub::safetensors_metadata(&hub::Blob::Disk(file)).unwrap();
    let tree = metadata.into_iter().map(|(name, text)| {
        let value = hub::settings::read(&text);
        (name, value.unwrap())
    });
    let tree = Value::Object(tree.filter(|(name, _)| name != "format").collect());
    let found = FlexTokConfig::read("metadata", &tree).unwrap();
    assert_eq!(found, fixture.tokenizer);
}

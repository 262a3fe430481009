//! FlexAR against recordings of the original program.

use std::{collections::HashMap, sync::Arc};

use candle_core::{Device, IndexOp, Tensor};
use serde_json::Value;
use ttsvar::{
    hub::{self, Blob},
    models::{
        branches::ScaleKv,
        flexar::{Condition, FlexAr, FlexArConfig, TokenRun},
        t5::T5Encoder,
    },
    nn::{Dtype, Weights},
    pipelines::truncate,
    text::T5Tokenizer,
};

use crate::{
    flextok::{FIXTURE, Fixture, Recorded, bytes, ids, recorded_bytes},
    support::{
        assert_bytes_close, assert_close, assert_values_close, golden, json, tensors, values,
    },
};

/// Limits of the recording's README.
const TEXT: f32 = 5e-5;
const LOGITS: f32 = 5e-5;
const GUIDED: f32 = 2e-4;
const PROBABILITIES: f32 = 1e-4;
const LOG_PROBABILITIES: f32 = 3e-4;
const IMAGES: f32 = 5e-4;
const BYTES: f32 = 0.02;

/// A model of the recording.
pub struct Model {
    pub network: FlexAr,
    config: FlexArConfig,
    recorded: Recorded,
    cfg: f64,
}

impl Model {
    pub fn open(fixture: &Fixture, name: &str) -> Self {
        let folder = fixture.config["files"][name].as_str().unwrap();
        let folder = golden(FIXTURE).join(folder);
        let yaml = Blob::Disk(folder.join("config.yaml")).yaml().unwrap();
        let config = FlexArConfig::read("config.yaml", &yaml).unwrap();
        let source = hub::open(folder, &[] as &[&str]).unwrap();
        let weights = Weights::new(source, Dtype::F32, &Device::Cpu);
        Self {
            network: FlexAr::load(&weights, &config).unwrap(),
            config,
            recorded: tensors(FIXTURE, &format!("{name}.safetensors")),
            cfg: fixture.config[name]["cfg"].as_f64().unwrap(),
        }
    }

    fn tokens(&self) -> usize {
        self.network.sizes().tokens
    }

    /// The forced tokens of each row.
    fn forced(&self) -> Vec<Vec<u32>> {
        let tokens = &self.recorded["tokens"];
        (0..tokens.dims()[0])
            .map(|row| ids(&tokens.i(row).unwrap()))
            .collect()
    }
}

/// A row in progress, with its own conditions: one of each branch.
#[derive(Clone)]
struct Row {
    conditions: Vec<Condition>,
    tokens: Vec<u32>,
    seen: Vec<Arc<ScaleKv>>,
}

impl Row {
    fn new(conditions: Vec<Condition>) -> Self {
        Self {
            conditions,
            tokens: vec![],
            seen: vec![],
        }
    }

    /// The logits of each branch for the next token; `watch` receives what the network does.
    fn logits(&mut self, model: &Model, watch: &mut Watch) -> Vec<Vec<f32>> {
        let run = TokenRun {
            position: self.tokens.len(),
            tokens: &[self.tokens.last().copied().unwrap_or_default()],
            conditions: &self.conditions,
            seen: std::slice::from_ref(&self.seen),
        };
        let (logits, kv) = model.network.forward(run, watch).unwrap();
        self.seen.extend(kv.into_iter().map(Arc::new));
        logits.to_vec2().unwrap()
    }

    /// The logits mixed by guidance; `first` says that a call of the original begins here.
    fn guided(&mut self, model: &Model, first: bool) -> Vec<f32> {
        let logits = self.logits(model, &mut |_, _, _| ());
        guided(&of_call(logits, first), model.cfg)
    }
}

type Watch<'a> = dyn FnMut(&str, Option<usize>, &Tensor) + 'a;

/// The logits with a condition, and without one as the original has it: in its model of classes, those
/// of no class at the first token of a call, then those of class 0.
fn of_call(mut logits: Vec<Vec<f32>>, first: bool) -> Vec<Vec<f32>> {
    if logits.len() > 2 {
        logits.remove(if first { 2 } else { 1 });
    }
    logits
}

fn guided(logits: &[Vec<f32>], cfg: f64) -> Vec<f32> {
    let Some(unconditional) = logits.get(1) else {
        return logits[0].clone();
    };
    let mix = |(c, u): (&f32, &f32)| u + cfg as f32 * (c - u);
    logits[0].iter().zip(unconditional).map(mix).collect()
}

pub fn best(logits: &[f32], count: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    order.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]));
    order.truncate(count);
    order
}

/// The text encoder of the recording, with recorded texts.
pub struct Texts {
    encoder: T5Encoder,
    tokenizer: T5Tokenizer,
    recorded: Recorded,
    texts: Vec<String>,
}

impl Texts {
    pub fn open(fixture: &Fixture, model: &Model) -> Self {
        let folder = golden(FIXTURE).join(fixture.config["files"]["text"].as_str().unwrap());
        let source = hub::open(&*folder, &[] as &[&str]).unwrap();
        let weights = Weights::new(source, Dtype::F32, &Device::Cpu);
        let config = Blob::Disk(folder.join("config.json")).json().unwrap();
        let json = Blob::Disk(folder.join("tokenizer.json"));
        let most = model.config.text.as_ref().unwrap().tokens;
        let mut texts: Vec<String> = fixture.setting("prompts");
        texts.push(String::new());
        texts.push(fixture.setting("search_prompt"));
        Self {
            encoder: T5Encoder::load(&weights, &config).unwrap(),
            tokenizer: T5Tokenizer::open_limited(&json, most).unwrap(),
            recorded: tensors(FIXTURE, "text.safetensors"),
            texts,
        }
    }

    /// The recorded features of a text as the model reads them.
    fn condition(&self, model: &Model, text: &str) -> Condition {
        model.network.text(&self.features(text)).unwrap()
    }

    /// The recorded features of a text.
    pub fn features(&self, text: &str) -> Tensor {
        let row = self.texts.iter().position(|known| known == text).unwrap();
        let hidden = self.recorded["hidden"].i(row).unwrap();
        hidden.narrow(0, 0, self.length(row)).unwrap()
    }

    fn length(&self, row: usize) -> usize {
        let mask = ids(&self.recorded["attention_mask"].i(row).unwrap());
        mask.iter().filter(|open| **open == 1).count()
    }

    /// The conditions of both branches of a text.
    fn branches(&self, model: &Model, text: &str) -> Vec<Condition> {
        vec![self.condition(model, text), self.condition(model, "")]
    }
}

#[test]
fn parity_flextok_tiny_texts() {
    let fixture = Fixture::open();
    let model = Model::open(&fixture, "t2i");
    let texts = Texts::open(&fixture, &model);
    for (row, text) in texts.texts.iter().enumerate() {
        let tokens = texts.tokenizer.encode(text).unwrap();
        let length = texts.length(row);
        assert_eq!(
            tokens,
            ids(&texts.recorded["input_ids"].i(row).unwrap())[..length]
        );
        let open = ids(&texts.recorded["mask_open"].i(row).unwrap());
        assert!((0..open.len()).all(|i| (open[i] == 1) == (i < length)));
        let of_row = |name: &str| {
            let x = texts.recorded[name].i(row).unwrap();
            x.narrow(0, 0, length).unwrap()
        };
        let hidden = texts.encoder.encode(&tokens).unwrap();
        assert_close("hidden", &hidden, &of_row("hidden"), TEXT, 0.0);
        let projected = model.network.project(&of_row("hidden")).unwrap();
        assert_close("projected", &projected, &of_row("projected"), TEXT, 0.0);
    }
}

/// Compares everything that is recorded of a model. `rows` are its rows with both branches, `alone`
/// the same without guidance.
fn check(fixture: &Fixture, model: &Model, rows: &[Row], alone: &[Row]) {
    let mut left: Vec<&String> = model.recorded.keys().collect();
    let mut done = |name: &str| left.retain(|known| *known != name);
    done("tokens");
    check_steps(model, rows, &mut done);
    check_without_guidance(model, alone, &mut done);
    check_branching(model, rows, &mut done);
    check_best(model, rows, alone, &mut done);
    check_images(fixture, model, &mut done);
    let elsewhere = ["cfg.target_after_step", "cfg.last_step_full_logits"];
    let known =
        |name: &&String| !name.starts_with("one_pass") && !elsewhere.contains(&name.as_str());
    let left: Vec<&String> = left.into_iter().filter(known).collect();
    assert!(left.is_empty(), "not compared: {left:?}");
}

/// Step by step with keys and values, where the original runs everything again at each step.
fn check_steps(model: &Model, rows: &[Row], done: &mut dyn FnMut(&str)) {
    let forced = model.forced();
    let count = rows.len();
    let intermediate = 5;
    for (b, row) in rows.iter().enumerate() {
        let mut row = row.clone();
        for (position, token) in forced[b].iter().enumerate().take(model.tokens()) {
            let mut seen = vec![];
            let logits = row.logits(model, &mut |name, block, x| {
                seen.push((name.to_owned(), block, x.clone()));
            });
            let logits = of_call(logits, position == 0);
            for (branch, logits) in logits.iter().enumerate() {
                let expected = &model.recorded["cfg.step_logits"].i(position).unwrap();
                let expected = values(&expected.i(branch * count + b).unwrap());
                let what = format!("logits of token {position}");
                assert_values_close(&what, logits, &expected, LOGITS, 0.0);
            }
            let mixed = guided(&logits, model.cfg);
            let of_step = |name: &str| {
                let x = model.recorded[name].i(position).unwrap();
                values(&x.i(b).unwrap())
            };
            assert_values_close("guided", &mixed, &of_step("cfg.guided"), GUIDED, 0.0);
            let probabilities = truncate(&mixed, 0, 0.0);
            let expected = of_step("cfg.probs");
            let limit = PROBABILITIES;
            assert_values_close("probabilities", &probabilities, &expected, limit, 0.0);
            if position < intermediate {
                compare_inside(model, &seen, [b, position, count], done);
            }
            row.tokens.push(*token);
        }
        for block in 0..model.network.sizes().depth {
            compare_text(model, &row.conditions, [b, block, count], done);
        }
    }
    for name in ["step_logits", "guided", "probs"] {
        done(&format!("cfg.{name}"));
    }
}

/// Compares the logits of each branch at every position of rows with those of one recorded pass.
fn check_pass(model: &Model, rows: &[Row], name: &str) {
    let forced = model.forced();
    for (b, row) in rows.iter().enumerate() {
        let mut row = row.clone();
        for (position, token) in forced[b].iter().enumerate() {
            for (branch, found) in row.logits(model, &mut |_, _, _| ()).iter().enumerate() {
                let of_row = model.recorded[name].i(branch * rows.len() + b).unwrap();
                let expected = values(&of_row.i(position).unwrap());
                assert_values_close(name, found, &expected, LOGITS, 0.0);
            }
            row.tokens.push(*token);
        }
    }
}

/// What the network does at a position of a row, against the recorded pass over all of them.
fn compare_inside(
    model: &Model,
    seen: &[(String, Option<usize>, Tensor)],
    [b, position, count]: [usize; 3],
    done: &mut dyn FnMut(&str),
) {
    for (name, block, x) in seen {
        let name = match (name.as_str(), block) {
            (name @ ("q" | "k"), Some(block)) => format!("step4.block{block}.{name}_normed"),
            (name, Some(block)) => format!("step4.block{block}.{name}"),
            (name, None) => format!("step4.{name}"),
        };
        let Some(expected) = model.recorded.get(&name) else {
            continue;
        };
        // The original runs all positions with what it has without a condition at last.
        for (branch, found) in [(0, 0), (1, x.dims()[0] - 1)] {
            let expected = expected.i(branch * count + b).unwrap();
            let expected = match expected.dims().len() {
                2 => expected.i(position).unwrap(),
                _ => expected.i((.., position)).unwrap(),
            };
            let found = values(&x.i(found).unwrap());
            let what = format!("{name} at {position}");
            assert_values_close(&what, &found, &values(&expected), LOGITS, 0.0);
        }
        done(&name);
    }
}

/// The keys and values of the texts of a row.
fn compare_text(
    model: &Model,
    conditions: &[Condition],
    [b, block, count]: [usize; 3],
    done: &mut dyn FnMut(&str),
) {
    for (branch, condition) in conditions.iter().enumerate() {
        let Some(kv) = condition.text_kv(block) else {
            continue;
        };
        for (part, found) in [("k", &kv.k), ("v", &kv.v)] {
            let name = format!("step4.block{block}.cross_{part}");
            if let Some(expected) = model.recorded.get(&name) {
                let expected = expected.i(branch * count + b).unwrap();
                let expected = expected.narrow(0, 0, found.dims()[0]).unwrap();
                assert_close(&name, found, &expected, LOGITS, 0.0);
                done(&name);
            }
        }
    }
}

fn check_without_guidance(model: &Model, alone: &[Row], done: &mut dyn FnMut(&str)) {
    let forced = model.forced();
    let truncated = "nocfg.probs_t0.8_k9_p0.85";
    for (b, row) in alone.iter().enumerate() {
        let mut row = row.clone();
        for (position, token) in forced[b].iter().enumerate().take(model.tokens()) {
            let logits = row.guided(model, position == 0);
            let of_step = |name: &str| {
                let x = model.recorded[name].i(position).unwrap();
                values(&x.i(b).unwrap())
            };
            let expected = of_step("nocfg.step_logits");
            assert_values_close("logits alone", &logits, &expected, LOGITS, 0.0);
            let cooled: Vec<f32> = logits.iter().map(|logit| logit / 0.8).collect();
            let found = truncate(&cooled, 9, 0.85);
            assert_values_close("truncated", &found, &of_step(truncated), PROBABILITIES, 0.0);
            row.tokens.push(*token);
        }
    }
    done("nocfg.step_logits");
    done(truncated);
}

/// Several draws at the last of five tokens.
fn check_branching(model: &Model, rows: &[Row], done: &mut dyn FnMut(&str)) {
    let vocabulary = model.network.sizes().vocabulary as u32;
    let forced = model.forced();
    let tokens = &model.recorded["branch.tokens"];
    let sums = values(&model.recorded["branch.log_probs"]);
    let samples = tokens.dims()[0] / rows.len();
    let count = tokens.dims()[1];
    for (b, row) in rows.iter().enumerate() {
        let mut row = row.clone();
        let mut sum = 0.0;
        for position in 0..count {
            let mixed = row.guided(model, position == 0);
            let cooled: Vec<f32> = mixed.iter().map(|logit| logit / 0.9).collect();
            let probabilities = truncate(&cooled, 0, 0.0);
            let of = |token: u32| f64::from(probabilities[token as usize]).ln();
            let token = forced[b][position];
            if position + 1 == count {
                for sample in 0..samples {
                    let drawn = (token + 7 * sample as u32) % vocabulary;
                    let number = b * samples + sample;
                    let expected = ids(&tokens.i(number).unwrap());
                    assert_eq!(expected.last(), Some(&drawn));
                    assert_eq!(expected[..position], forced[b][..position]);
                    let found = [(sum + of(drawn)) as f32];
                    let limit = LOG_PROBABILITIES;
                    let expected = &sums[number..=number];
                    assert_values_close("log-probability", &found, expected, limit, 0.0);
                }
            }
            sum += of(token);
            row.tokens.push(token);
        }
    }
    done("branch.tokens");
    done("branch.log_probs");
}

/// The best tokens, and several of the best at the last one.
fn check_best(model: &Model, rows: &[Row], alone: &[Row], done: &mut dyn FnMut(&str)) {
    for (name, rows, first, samples) in [
        ("greedy", rows, 0, 1),
        ("prefix3_to_6_top4", rows, 3, 4),
        ("nocfg_prefix2_to_3_top2", alone, 2, 2),
    ] {
        let forced = model.forced();
        let tokens = &model.recorded[&format!("{name}.tokens")];
        let sums = values(&model.recorded[&format!("{name}.log_probs")]);
        let count = tokens.dims()[1];
        for (b, row) in rows.iter().enumerate() {
            let mut row = row.clone();
            let mut sum = 0.0;
            for (position, given) in forced[b].iter().enumerate().take(count) {
                let mixed = row.guided(model, position == first);
                let probabilities = truncate(&mixed, 0, 0.0);
                let of = |token: u32| f64::from(probabilities[token as usize]).ln();
                let best = best(&mixed, samples);
                if position < first {
                    row.tokens.push(*given);
                    continue;
                }
                if position + 1 == count {
                    for (sample, token) in best.iter().enumerate() {
                        let number = b * samples + sample;
                        let found = [&row.tokens[..], &[*token]].concat();
                        assert_eq!(found, ids(&tokens.i(number).unwrap()), "{name}");
                        let found = [(sum + of(*token)) as f32];
                        let expected = &sums[number..=number];
                        assert_values_close(name, &found, expected, LOG_PROBABILITIES, 0.0);
                    }
                }
                sum += of(best[0]);
                row.tokens.push(best[0]);
            }
        }
        done(&format!("{name}.tokens"));
        done(&format!("{name}.log_probs"));
    }
}

/// Tokens, then images.
fn check_images(fixture: &Fixture, model: &Model, done: &mut dyn FnMut(&str)) {
    let tokens = model.forced();
    let noise = fixture.inputs["flow_noise"]
        .narrow(0, 0, tokens.len())
        .unwrap();
    let images = fixture.images(&fixture.decode(&tokens, &noise, 2, 7.5));
    let expected = &model.recorded["generate.image"];
    assert_close("generate.image", &images, expected, IMAGES, 0.0);
    let expected = recorded_bytes(&model.recorded["generate.image_u8"]);
    assert_bytes_close("generate.image_u8", &bytes(&images), &expected, BYTES);
    done("generate.image");
    done("generate.image_u8");
}

#[test]
fn parity_flextok_tiny_text_to_image() {
    let fixture = Fixture::open();
    let model = Model::open(&fixture, "t2i");
    let texts = Texts::open(&fixture, &model);
    let prompts: Vec<String> = fixture.setting("prompts");
    let rows = prompts
        .iter()
        .map(|text| Row::new(texts.branches(&model, text)));
    let rows: Vec<Row> = rows.collect();
    let alone = prompts
        .iter()
        .map(|text| Row::new(vec![texts.condition(&model, text)]));
    check(&fixture, &model, &rows, &alone.collect::<Vec<_>>());
    check_pass(&model, &rows, "cfg.last_step_full_logits");
}

/// The original sees class 0 in place of no class from the second token of a call on.
#[test]
fn parity_flextok_tiny_class_to_image() {
    let fixture = Fixture::open();
    let model = Model::open(&fixture, "c2i");
    let labels: Vec<usize> = fixture.setting("labels");
    let class = |class| model.network.class(class).unwrap();
    let released = |label: &usize| Row::new(vec![class(Some(*label)), class(None), class(Some(0))]);
    let rows: Vec<Row> = labels.iter().map(released).collect();
    let alone: Vec<Row> = labels
        .iter()
        .map(|label| Row::new(vec![class(Some(*label))]))
        .collect();
    check(&fixture, &model, &rows, &alone);
    let targets = ids(&model.recorded["cfg.target_after_step"]);
    for step in targets.chunks(2 * labels.len()) {
        let labels: Vec<u32> = labels.iter().map(|label| *label as u32).collect();
        assert_eq!(step[..labels.len()], labels);
        assert!(step[labels.len()..].iter().all(|class| *class == 0));
    }
    for (name, without) in [
        ("one_pass.true_null.logits", class(None)),
        ("one_pass.class0_as_null.logits", class(Some(0))),
        ("cfg.last_step_full_logits", class(Some(0))),
    ] {
        let row = |label: &usize| Row::new(vec![class(Some(*label)), without.clone()]);
        let rows: Vec<Row> = labels.iter().map(row).collect();
        check_pass(&model, &rows, name);
    }
}

#[test]
fn parity_flextok_tiny_sampler() {
    let fixture = Fixture::open();
    let recorded = tensors(FIXTURE, "sampler.safetensors");
    let cases: Vec<(f32, usize, f32)> = fixture.setting("sampler_cases");
    let vocabulary: usize = fixture.setting("sampler_vocab");
    let logits = values(&recorded["logits"]);
    for (i, (temperature, top_k, top_p)) in cases.into_iter().enumerate() {
        let expected = values(&recorded[&format!("case{i}.probs")]);
        let draws = &recorded[&format!("case{i}.samples")];
        let of_draws = values(&recorded[&format!("case{i}.sample_probs")]);
        for (row, logits) in logits.chunks(vocabulary).enumerate() {
            let cooled: Vec<f32> = logits.iter().map(|logit| logit / temperature).collect();
            let found = truncate(&cooled, top_k, top_p);
            let expected = &expected[row * vocabulary..][..vocabulary];
            assert_values_close("probabilities", &found, expected, 1e-6, 0.0);
            let zero = |x: &[f32]| x.iter().map(|p| *p == 0.0).collect::<Vec<_>>();
            assert_eq!(zero(&found), zero(expected));
            let draws = ids(&draws.i(row).unwrap());
            for (draw, expected) in draws.iter().zip(&of_draws[2 * row..]) {
                assert!((found[*draw as usize] - expected).abs() < 1e-6);
            }
        }
    }
}

/// A setting that this program does not know is refused by its name.
#[test]
fn unknown_switches_are_named() {
    let fixture = Fixture::open();
    let folder = golden(FIXTURE).join(fixture.config["files"]["t2i"].as_str().unwrap());
    let yaml = Blob::Disk(folder.join("config.yaml")).yaml().unwrap();
    let trunk = "/model/meta_model/models/ar_image_model/trunk";
    let changes: HashMap<&str, (String, Value)> = HashMap::from([
        ("rotary", (format!("{trunk}/self_attn_target"), true.into())),
        ("use_bias", (trunk.to_owned(), true.into())),
        (
            "is_causal",
            (format!("{trunk}/self_attn_target"), false.into()),
        ),
        ("parallel", (trunk.to_owned(), true.into())),
    ]);
    for (name, (place, value)) in changes {
        let mut changed = yaml.clone();
        changed.pointer_mut(&place).unwrap()[name] = value;
        let error = FlexArConfig::read("config.yaml", &changed)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(name) && error.contains("config.yaml"),
            "{error}"
        );
    }
    let folder = fixture.config["files"]["tokenizer"].as_str().unwrap();
    let tree = json(FIXTURE, &format!("{folder}/config.json"));
    for (name, value) in [
        ("rotary", Value::from(true)),
        ("gated_mlp", false.into()),
        ("_target_", "other.Transformer".into()),
    ] {
        let mut changed = tree.clone();
        let place = "/decoder/module_dict/dec_transformer";
        changed.pointer_mut(place).unwrap()[name] = value.clone();
        let read = ttsvar::models::flextok::FlexTokConfig::read("config.json", &changed);
        let error = read.unwrap_err().to_string();
        let named = value.as_str().map_or(name, |_| "Transformer");
        assert!(
            error.contains(named) && error.contains("config.json"),
            "{error}"
        );
    }
}

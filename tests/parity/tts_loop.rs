//! A whole search against a recording of the original program: its bits and its choices are forced,
//! everything else is computed by the loop of this crate.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    rc::Rc,
    sync::{Arc, Mutex},
};

use candle_core::{Device, IndexOp, Tensor};
use serde_json::Value;
use ttsvar::{
    features::{PatchReduction, Patches, reduce},
    hub,
    image::{Filter, Resize},
    models::{
        bsq_vae::BsqVae,
        infinity::{Infinity, Schedule},
    },
    nn::{Dtype, Weights},
    pipelines::infinity::{ImageModel, InfinityRollout, Settings},
    search::{
        DecodeSize, Draw, Estimate, Extractor, Features, Image, Latent, Matrix, Pipeline, Plan,
        Potential, Prompt, Rollout, Scale, Scorer, Search, Select, Silent, Stage, StepCounts,
        Workload, run,
    },
};

use crate::support::{
    assert_bytes_close, assert_close, assert_values_close, golden, json, tensors, values,
};

const FIXTURE: &str = "tts-loop-tiny";
// The recording's features of a patch: three means, three means of squares
const MOMENTS: usize = 6;

fn weights(path: &std::path::Path, keys: &[&str]) -> Weights {
    Weights::new(hub::open(path, keys).unwrap(), Dtype::F32, &Device::Cpu)
}

fn number(config: &Value, key: &str) -> f32 {
    config[key].as_f64().unwrap() as f32
}

fn numbers(value: &Value) -> Vec<usize> {
    serde_json::from_value(value.clone()).unwrap()
}

/// The recorded choice after a scale.
fn event(events: &Value, scale: usize) -> Option<&Value> {
    events
        .as_array()
        .unwrap()
        .iter()
        .find(|event| event["scale_index"] == scale)
}

/// Paints the recorded bits and keeps the recorded rows.
struct Forced<'a> {
    painter: &'a ImageModel<'a>,
    scales: Vec<Scale>,
    golden: &'a HashMap<String, Tensor>,
    events: &'a Value,
}

struct ForcedRollout<'a> {
    inner: InfinityRollout<'a>,
    forced: &'a Forced<'a>,
    scale: usize,
}

impl Pipeline for Forced<'_> {
    fn scales(&self) -> &[Scale] {
        &self.scales
    }

    fn image_size(&self) -> (usize, usize) {
        unreachable!("nobody asks")
    }

    fn begin(
        &self,
        _: &Prompt,
        rows: std::ops::Range<usize>,
        seed: u64,
    ) -> ttsvar::search::Result<Box<dyn Rollout + '_>> {
        let inner = self.painter.start(&self.golden["text"], None, rows, seed)?;
        Ok(Box::new(ForcedRollout {
            inner,
            forced: self,
            scale: 0,
        }))
    }

    fn estimate(&self, _: &Workload) -> Estimate {
        unreachable!("nobody asks")
    }
}

impl Rollout for ForcedRollout<'_> {
    fn rows(&self) -> usize {
        self.inner.rows()
    }

    fn step(&mut self) -> ttsvar::search::Result<StepCounts> {
        let (golden, scale) = (self.forced.golden, self.scale);
        for (row, tokens) in self.inner.next_tokens()?.iter().enumerate() {
            let expected = golden[&format!("s{scale:02}.input_after_selection")]
                .i(row..row + 1)
                .map_err(ttsvar::Error::from)?;
            assert_close(
                &format!("input of row {row} at scale {scale}"),
                tokens,
                &expected,
                1e-5,
                0.0,
            );
        }
        let (logits, bits) = (
            &golden[&format!("s{scale:02}.logits")],
            &golden[&format!("s{scale:02}.bits")],
        );
        assert_eq!(
            logits.dims()[0],
            self.inner.rows(),
            "rows that enter scale {scale}"
        );
        let seen = Rc::new(RefCell::new(Vec::new()));
        let counts = self.inner.step_with(&mut |row, found| {
            seen.borrow_mut().push(found.to_vec());
            bits.i(row)
                .unwrap()
                .flatten_all()
                .unwrap()
                .to_vec1()
                .unwrap()
        })?;
        for (row, found) in seen.borrow().iter().enumerate() {
            let expected = values(&logits.i(row).map_err(ttsvar::Error::from)?);
            assert_values_close(
                &format!("logits of row {row} at scale {scale}"),
                found,
                &expected,
                5e-4,
                0.0,
            );
        }
        self.scale += 1;
        Ok(counts)
    }

    fn images(&self, rows: &[usize], size: DecodeSize) -> ttsvar::search::Result<Vec<Image>> {
        let images = self.inner.images(rows, size).map_err(ttsvar::Error::from)?;
        let last = self.scale == self.forced.scales.len();
        if last {
            for (row, sum) in self.inner.sums().iter().enumerate() {
                let expected = self.forced.golden["final.summed_codes"]
                    .i(row..row + 1)
                    .map_err(ttsvar::Error::from)?;
                assert_close(
                    &format!("latent of survivor {row}"),
                    sum,
                    &expected,
                    1e-5,
                    0.0,
                );
                let bgr: Vec<u8> = self.forced.golden["final.images_u8_bgr"]
                    .i(row)
                    .map_err(ttsvar::Error::from)?
                    .flatten_all()
                    .map_err(ttsvar::Error::from)?
                    .to_vec1()
                    .map_err(ttsvar::Error::from)?;
                let rgb: Vec<u8> = bgr.chunks(3).flat_map(|p| [p[2], p[1], p[0]]).collect();
                assert_bytes_close(
                    &format!("image of survivor {row}"),
                    images[row].pixels(),
                    &rgb,
                    0.02,
                );
            }
        }
        Ok(images)
    }

    fn gather(&mut self, rows: &[usize]) -> ttsvar::search::Result<()> {
        let event = event(self.forced.events, self.scale - 1).expect("a recorded choice");
        let recorded = numbers(&event["kept_row_of_incoming_batch"]);
        assert_eq!(
            rows.len(),
            recorded.len(),
            "rows that go on after scale {}",
            self.scale - 1
        );
        self.inner.gather(&recorded)
    }

    fn latents(&self, rows: &[usize]) -> ttsvar::search::Result<Vec<Latent>> {
        self.inner.latents(rows)
    }

    fn fork<'r>(&self, rows: &[usize]) -> ttsvar::search::Result<Box<dyn Rollout + 'r>>
    where
        Self: 'r,
    {
        Ok(Box::new(ForcedRollout {
            inner: self.inner.forked(rows),
            forced: self.forced,
            scale: self.scale,
        }))
    }

    fn flops(&self) -> f64 {
        self.inner.flops()
    }
}

/// The recording's stand-in for the reward: red minus blue.
struct RedOverBlue<'a> {
    gain: f32,
    golden: &'a HashMap<String, Tensor>,
    events: &'a Value,
    finals: Vec<f32>,
    calls: Mutex<usize>,
}

impl Scorer for RedOverBlue<'_> {
    fn score(&self, _: &str, images: &[Image]) -> ttsvar::search::Result<Vec<f32>> {
        let mean = |image: &Image, channel: usize| {
            let values = image.pixels().iter().skip(channel).step_by(3);
            values.map(|v| f64::from(*v)).sum::<f64>() / (image.width() * image.height()) as f64
        };
        let one = |image: &Image| self.gain * ((mean(image, 0) - mean(image, 2)) / 255.0) as f32;
        let scores: Vec<f32> = images.iter().map(one).collect();
        let mut calls = self.calls.lock().unwrap();
        let resamplings: Vec<&Value> = self
            .events
            .as_array()
            .unwrap()
            .iter()
            .filter(|event| event["kind"] == "resample")
            .collect();
        let (scale, expected) = match resamplings.get(*calls) {
            Some(event) => {
                let scores = event["scores"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|v| v.as_f64().unwrap() as f32)
                    .collect();
                (event["scale_index"].as_u64().unwrap(), scores)
            }
            None => (u64::MAX, self.finals.clone()),
        };
        if let Some(bytes) = self
            .golden
            .get(&format!("s{scale:02}.reward_images_u8_rgb_stride2"))
        {
            for (row, image) in images.iter().enumerate() {
                let bytes: Vec<u8> = bytes
                    .i(row)
                    .map_err(ttsvar::Error::from)?
                    .flatten_all()
                    .map_err(ttsvar::Error::from)?
                    .to_vec1()
                    .map_err(ttsvar::Error::from)?;
                assert_bytes_close(
                    &format!("image of row {row} after scale {scale}"),
                    &every_second(image),
                    &bytes,
                    0.02,
                );
            }
        }
        assert_values_close("scores", &scores, &expected, 1e-3, 0.0);
        *calls += 1;
        Ok(scores)
    }

    fn flops(&self, _: usize) -> f64 {
        0.0
    }
}

fn every_second(image: &Image) -> Vec<u8> {
    let rows = image.pixels().chunks(3 * image.width()).step_by(2);
    rows.flat_map(|row| row.chunks(3).step_by(2).flatten().copied())
        .collect()
}

/// The recording's stand-in for DINOv2: means and mean squares of the colours of 14 x 14 pixels.
struct PatchMoments {
    golden: Arc<HashMap<String, Tensor>>,
    clusters: Vec<usize>,
    reduction: PatchReduction,
    calls: Mutex<usize>,
}

impl Extractor for PatchMoments {
    fn extract(&self, images: &[Image]) -> ttsvar::search::Result<Matrix> {
        let (side, patch) = (224, 14);
        let mut all = Vec::new();
        for image in images {
            let planes = image
                .resize(side, side, Filter::Bilinear)
                .to_chw([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
            let cells = side / patch;
            for cell in 0..cells * cells {
                let (top, left) = (cell / cells * patch, cell % cells * patch);
                let inside = |c: usize| {
                    let planes = &planes;
                    (0..patch * patch).map(move |i| {
                        planes[c * side * side + (top + i / patch) * side + left + i % patch]
                    })
                };
                let mean = |power: i32, c: usize| {
                    inside(c).map(|v| v.powi(power)).sum::<f32>() / (patch * patch) as f32
                };
                all.extend(
                    [1, 2]
                        .iter()
                        .flat_map(|power| (0..3).map(move |c| (power, c)))
                        .map(|(p, c)| mean(*p, c)),
                );
            }
        }
        let mut calls = self.calls.lock().unwrap();
        let scale = self.clusters[*calls];
        *calls += 1;
        let expected = &self.golden[&format!("s{scale:02}.features")];
        // One level in one pixel of a patch moves its mean of squares by about 1e-3.
        assert_values_close(
            &format!("features after scale {scale}"),
            &all,
            &values(expected),
            5e-3,
            0.0,
        );
        let scores = &self.golden[&format!("s{scale:02}.scores")];
        let (rows, columns) = scores.dims2().map_err(ttsvar::Error::from)?;
        let ours = reduce(
            self.reduction,
            &Patches::new(rows, all.len() / rows / MOMENTS, MOMENTS, all),
        );
        for (row, expected) in scores
            .to_vec2::<f32>()
            .map_err(ttsvar::Error::from)?
            .iter()
            .enumerate()
        {
            let same_sign = ours
                .row(row)
                .iter()
                .zip(expected)
                .map(|(a, b)| a * b)
                .sum::<f32>()
                .signum();
            let ours: Vec<f32> = ours.row(row).iter().map(|v| v * same_sign).collect();
            assert_values_close(
                &format!("scores of row {row} after scale {scale}"),
                &ours,
                expected,
                1e-2,
                0.0,
            );
        }
        Ok(Matrix::new(rows, columns, values(scores)))
    }

    fn flops(&self, _: usize) -> f64 {
        0.0
    }
}

fn plan(config: &Value, loop_json: &Value) -> Plan {
    let widths = numbers(&config["bs_sis"]);
    let lambda = config["lambda"].as_f64().unwrap();
    let stage = |scale: usize| {
        let event = event(&loop_json["selection_events"], scale)?;
        let select = match event["kind"].as_str().unwrap() {
            "cluster" => Select::Cluster {
                features: Features::Pca,
            },
            _ => Select::Resample {
                potential: Potential::Value,
                lambda,
                draw: Draw::Multinomial,
            },
        };
        Some(Stage::new(scale, widths[scale], select))
    };
    Plan::new(widths[0], (0..widths.len()).filter_map(stage).collect()).unwrap()
}

#[test]
fn parity_tts_loop_tiny_whole_search() {
    let (config, loop_json) = (json(FIXTURE, "config.json"), json(FIXTURE, "loop.json"));
    let recorded = Arc::new(tensors(FIXTURE, "loop.safetensors"));
    let folder = golden(FIXTURE).join(config["model_dir"].as_str().unwrap());
    let model: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("config.json")).unwrap())
            .unwrap();
    let file = |key: &str| folder.join(model["files"][key].as_str().unwrap());
    let transformer = Infinity::load(&weights(&file("model"), &[])).unwrap();
    let vae = BsqVae::load(&weights(&file("vae"), &["vae"])).unwrap();

    let pixels = config["pn"].as_str().unwrap().parse().unwrap();
    let schedule = Schedule::released(config["h_div_w"].as_f64().unwrap(), pixels).unwrap();
    let tau = number(&config, "tau");
    let layer = config["cfg_insertion_layer"][0].as_i64().unwrap();
    let cfg_layer = (layer < 0).then(|| layer.unsigned_abs() as usize);
    let settings = Settings {
        cfg: number(&config, "cfg").into(),
        cfg_layer,
        tau: tau.into(),
        ..Settings::default()
    };
    let painter = ImageModel::new(
        &transformer,
        &vae.decoder,
        &schedule,
        settings,
        &Device::Cpu,
    )
    .unwrap();
    let events = &loop_json["selection_events"];
    let scales = schedule
        .grids
        .iter()
        .map(|(height, width)| Scale {
            height: *height,
            width: *width,
        })
        .collect();
    let pipeline = Forced {
        painter: &painter,
        scales,
        golden: &recorded,
        events,
    };

    let finals = loop_json["final_scores"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_f64().unwrap() as f32)
        .collect();
    let gain = number(&config, "reward_gain");
    let scorer = RedOverBlue {
        gain,
        golden: &recorded,
        events,
        finals,
        calls: Mutex::new(0),
    };
    let clusters = numbers(&config["extract_sis"]);
    let reduction = match config["extract_type"].as_str().unwrap() {
        "pca" => PatchReduction::PcaRaw, // compared up to the sign, which the original leaves to chance
        "pca_all" => PatchReduction::PcaAll,
        _ => PatchReduction::Pool,
    };
    let features = PatchMoments {
        golden: recorded.clone(),
        clusters,
        reduction,
        calls: Mutex::new(0),
    };
    let extractors = BTreeMap::from([(Features::Pca, Box::new(features) as Box<dyn Extractor>)]);

    let plan = plan(&config, &loop_json);
    let outcome = run(
        &Search::new(&pipeline, &scorer, &extractors),
        &"forced".into(),
        &plan,
        0,
        &mut Silent,
    )
    .unwrap();
    assert_eq!(
        outcome.best,
        loop_json["chosen_final_index"].as_u64().unwrap() as usize
    );
    assert_eq!(
        outcome.trace.cost.rows,
        numbers(&loop_json["batch_entering_each_scale"])
    );
    assert_eq!(
        outcome.trace.cost.states[0], 1,
        "the start rows share one state"
    );
}

//! The searches of SoTo (arXiv 2604.15453) call by call, as plans for the loop of this program: what
//! is drawn is forced, everything else is computed and must agree with the recording.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Mutex, PoisonError},
};

use candle_core::Tensor;
use serde::Deserialize;
use ttsvar::{
    options::Options,
    pipelines::{
        flexar::{FlexModel, FlexNetworks, FlexRollout, NextToken, Settings},
        truncate,
    },
    search::{
        self, DecodeSize, Image, Latent, Outcome, Pipeline, Plan, Prompt, Rollout, Scale, Search,
        Select, Silent, Stage, StepCounts,
    },
};

use crate::{
    flexar::{Model, Texts, best},
    flextok::{FIXTURE, Fixture, recorded_bytes},
    support::{assert_bytes_close, assert_values_close, json, tensors, values},
};

/// Limits of the recording's README.
const LOG_PROBABILITIES: f32 = 3e-4;
const SCORES: f32 = 0.02;
const BYTES: f32 = 0.02;

type Tokens = Vec<u32>;

/// A recorded search.
#[derive(Deserialize)]
struct Recorded {
    config: Config,
    verifier: String,
    num_results: usize,
    calls: Vec<Call>,
    result: Found,
}

#[derive(Deserialize)]
struct Config {
    beam_width: Option<usize>,
    candidates_per_beam: Option<usize>,
    lookahead_number: Option<usize>,
    max_lookahead_step: Option<usize>,
    sample: bool,
}

#[derive(Deserialize)]
#[serde(tag = "call", rename_all = "lowercase")]
enum Call {
    Generate {
        current: Vec<Tokens>,
        num_new_tokens: usize,
        sample: bool,
        tokens: Vec<Tokens>,
        log_probs: Vec<f32>,
    },
    Decode {
        tokens: Vec<Tokens>,
        images: Option<String>,
    },
    Score {
        scores: Vec<f32>,
    },
}

#[derive(Deserialize)]
struct Found {
    /// The best of the kept beams, or their best images.
    tokens: Vec<Tokens>,
    display_tokens: Option<Vec<Tokens>>,
    scores: Vec<f32>,
}

/// What a search draws and finds in one step.
struct Step {
    current: Vec<Tokens>,
    count: usize,
    log_probs: BTreeMap<Tokens, f32>,
    /// In the order of the calls; several may be the same.
    tokens: Vec<Tokens>,
    scores: BTreeMap<Tokens, f32>,
}

impl Recorded {
    /// The calls of each step together, without those that look ahead.
    fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = vec![];
        let mut latest: Vec<Tokens> = vec![];
        let looks_ahead = self.config.lookahead_number.is_some();
        for call in &self.calls {
            match call {
                Call::Generate { sample, .. } if looks_ahead && !sample => {}
                Call::Generate {
                    current,
                    num_new_tokens,
                    tokens,
                    log_probs,
                    ..
                } => {
                    let known = steps.last().filter(|step| step.current[0] == current[0]);
                    if known.is_none() {
                        steps.push(Step {
                            current: current.clone(),
                            count: *num_new_tokens,
                            log_probs: BTreeMap::new(),
                            tokens: vec![],
                            scores: BTreeMap::new(),
                        });
                    }
                    let step = steps.last_mut().unwrap();
                    let pairs = tokens.iter().cloned().zip(log_probs.iter().copied());
                    step.log_probs.extend(pairs);
                    step.tokens.extend(tokens.iter().cloned());
                    latest.clone_from(tokens);
                }
                Call::Decode { .. } => {}
                Call::Score { scores } => {
                    let step = steps.last_mut().unwrap();
                    let pairs = latest.iter().cloned().zip(scores.iter().copied());
                    step.scores.extend(pairs);
                }
            }
        }
        steps
    }

    /// The images of tokens that were decoded for a score or at the end.
    fn images(&self) -> BTreeMap<Tokens, Vec<u8>> {
        let pixels = tensors(FIXTURE, "search.safetensors");
        let mut images = BTreeMap::new();
        for call in &self.calls {
            let Call::Decode {
                tokens,
                images: Some(name),
            } = call
            else {
                continue;
            };
            for (i, tokens) in tokens.iter().enumerate() {
                let image = pixels[name].get(i).unwrap();
                images.insert(tokens.clone(), recorded_bytes(&image));
            }
        }
        images
    }

    /// The search as a plan.
    fn plan(&self, steps: &[Step]) -> Plan {
        let Some(width) = self.config.beam_width else {
            return Plan::new(steps[0].tokens.len(), vec![]).unwrap();
        };
        let candidates = self.config.candidates_per_beam.unwrap();
        let mut stages = vec![];
        for scale in 0..steps.len() - 1 {
            let k = steps[scale + 1].current.len();
            assert!(k <= width);
            let stage = Stage::new(scale, k * candidates, Select::Top { k });
            let looks = scale < self.config.max_lookahead_step.unwrap_or(0);
            stages.push(stage.looking(usize::from(looks)));
        }
        Plan::new(candidates, stages).unwrap()
    }
}

/// What the candidates of a search did.
#[derive(Default)]
struct Notes {
    /// The tokens of the rows after each step.
    tokens: Vec<Vec<Tokens>>,
    /// The log-probabilities of the rows that were decoded last, divided by their tokens.
    likelihoods: Vec<f32>,
}

/// A generator whose draws are forced.
struct Forced<'m> {
    model: &'m FlexModel<'m>,
    texts: &'m [Tensor; 2],
    noise: Vec<Vec<f32>>,
    steps: &'m [Step],
    images: &'m BTreeMap<Tokens, Vec<u8>>,
    scales: Vec<Scale>,
    ahead: usize,
    draws_best: bool,
    notes: &'m Mutex<Notes>,
}

/// Its candidates.
struct ForcedRollout<'m> {
    generator: &'m Forced<'m>,
    inner: FlexRollout<'m>,
    log_probs: Vec<f32>,
    step: usize,
    /// Forks of forks look ahead.
    forks: usize,
}

impl Pipeline for Forced<'_> {
    fn scales(&self) -> &[Scale] {
        &self.scales
    }

    fn image_size(&self) -> (usize, usize) {
        let (rows, columns) = self.model.latent_size();
        (8 * rows, 8 * columns)
    }

    fn begin(
        &self,
        _: &Prompt,
        rows: Range<usize>,
        seed: u64,
    ) -> search::Result<Box<dyn Rollout + '_>> {
        let [text, empty] = self.texts;
        let inner = self.model.start(text, Some(empty), rows.clone(), seed)?;
        Ok(Box::new(ForcedRollout {
            generator: self,
            inner: inner.with_noise(self.noise.clone()),
            log_probs: vec![0.0; rows.len()],
            step: 0,
            forks: 0,
        }))
    }
}

impl ForcedRollout<'_> {
    /// The recorded sequence of each row: one of those that begin with its tokens.
    fn targets(&self) -> Vec<Tokens> {
        let mut left = self.generator.steps[self.step].tokens.clone();
        let target = |tokens: Tokens| {
            let place = left.iter().position(|whole| whole.starts_with(&tokens));
            left.remove(place.expect("a recorded sequence for each row"))
        };
        self.inner.tokens().into_iter().map(target).collect()
    }

    /// Takes the best tokens, as the original does where it looks ahead.
    fn look_ahead(&mut self) -> StepCounts {
        let mut greedy = |next: NextToken| best(next.logits, 1)[0];
        self.inner
            .extend(self.generator.ahead, &mut greedy)
            .unwrap()
    }
}

impl Rollout for ForcedRollout<'_> {
    fn rows(&self) -> usize {
        self.inner.rows()
    }

    fn step(&mut self) -> search::Result<StepCounts> {
        if self.forks > 1 {
            return Ok(self.look_ahead());
        }
        let step = &self.generator.steps[self.step];
        let targets = self.targets();
        let before = targets[0].len() - step.count;
        let mut sums = vec![0.0; targets.len()];
        let draws_best = self.generator.draws_best;
        let counts = self.inner.extend(step.count, &mut |next| {
            let token = targets[next.row][before + next.place];
            sums[next.row] += f64::from(truncate(next.logits, 0, 0.0)[token as usize]).ln();
            let last = next.place + 1 == step.count;
            let among = if last { step.tokens.len() } else { 1 };
            assert!(!draws_best || best(next.logits, among).contains(&token));
            token
        })?;
        let recorded: Vec<f32> = targets
            .iter()
            .map(|tokens| step.log_probs[tokens])
            .collect();
        self.log_probs = sums.into_iter().map(|sum| sum as f32).collect();
        let limit = LOG_PROBABILITIES;
        assert_values_close("log-probabilities", &self.log_probs, &recorded, limit, 0.0);
        self.step += 1;
        let mut notes = self.generator.notes.lock().unwrap();
        notes.tokens.push(targets);
        Ok(counts)
    }

    fn images(&self, rows: &[usize], size: DecodeSize) -> search::Result<Vec<Image>> {
        let images = self.inner.images(rows, size)?;
        let tokens = self.inner.tokens();
        for (row, image) in rows.iter().zip(&images) {
            // Some images were left out of the recording.
            if let Some(expected) = self.generator.images.get(&tokens[*row]) {
                assert_bytes_close("an image", image.pixels(), expected, BYTES);
            }
        }
        let likelihood = |row: &usize| self.log_probs[*row] / tokens[*row].len() as f32;
        let mut notes = self.generator.notes.lock().unwrap();
        notes.likelihoods = rows.iter().map(likelihood).collect();
        Ok(images)
    }

    fn latents(&self, rows: &[usize]) -> search::Result<Vec<Latent>> {
        self.inner.latents(rows)
    }

    fn gather(&mut self, rows: &[usize]) -> search::Result<()> {
        self.log_probs = rows.iter().map(|row| self.log_probs[*row]).collect();
        self.inner.gather(rows)
    }

    fn fork<'r>(&self, rows: &[usize]) -> search::Result<Box<dyn Rollout + 'r>>
    where
        Self: 'r,
    {
        Ok(Box::new(ForcedRollout {
            generator: self.generator,
            inner: self.inner.forked(rows),
            log_probs: rows.iter().map(|row| self.log_probs[*row]).collect(),
            step: self.step,
            forks: self.forks + 1,
        }))
    }
}

/// Scores as the recorded verifier does: the likelihood, or the difference between the means of two
/// channels.
fn score(verifier: &str, notes: &Mutex<Notes>, images: &[Image]) -> Vec<f32> {
    if verifier == "likelihood" {
        let notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
        return notes.likelihoods.clone();
    }
    let channels: Vec<usize> = verifier
        .split(' ')
        .filter_map(|word| word.parse().ok())
        .collect();
    let mean = |image: &Image, channel: usize| {
        let values = image.pixels().iter().skip(channel).step_by(3);
        values.map(|value| f64::from(*value)).sum::<f64>() / (image.pixels().len() / 3) as f64
    };
    let difference = |image: &Image| (mean(image, channels[0]) - mean(image, channels[1])) as f32;
    images.iter().map(difference).collect()
}

/// Runs a recorded search through the loop and compares every step.
fn replay(fixture: &Fixture, networks: &FlexNetworks, texts: &[Tensor; 2], name: &str) {
    let recorded = json(FIXTURE, "search.json")[name].clone();
    let recorded: Recorded = serde_json::from_value(recorded).unwrap();
    let steps = recorded.steps();
    let decoder_steps: usize = fixture.setting("search_steps");
    let settings = Options {
        decoder_steps: Some(decoder_steps),
        ..Options::default()
    };
    let (rows, columns) = fixture.setting::<(usize, usize)>("latent_hw");
    let prefixes = steps.iter().scan(0, |sum, step| {
        *sum += step.count;
        Some(*sum)
    });
    let prefixes: Vec<usize> = prefixes.collect();
    let settings = Settings::from_options(&settings, false);
    let model = FlexModel::new(networks, settings, Some(&prefixes))
        .unwrap()
        .with_latent_size((rows, columns));
    let noise = match recorded.config.beam_width {
        Some(_) => &fixture.inputs["search_noise"],
        None => &fixture.inputs["best_of_n_noise"],
    };
    let noise = (0..noise.dims()[0]).map(|row| values(&noise.get(row).unwrap()));
    let notes = Mutex::new(Notes::default());
    let images = recorded.images();
    let scales = steps.iter().map(|step| Scale {
        height: 1,
        width: step.count,
    });
    let generator = Forced {
        model: &model,
        texts,
        noise: noise.collect(),
        steps: &steps,
        images: &images,
        scales: scales.collect(),
        ahead: recorded.config.lookahead_number.unwrap_or(0),
        draws_best: !recorded.config.sample,
        notes: &notes,
    };
    let scorer = |_: &str, images: &[Image]| Ok(score(&recorded.verifier, &notes, images));
    let extractors = BTreeMap::new();
    let search = Search::new(&generator, &scorer, &extractors);
    let plan = recorded.plan(&steps);
    let outcome = search::run(&search, &"a prompt".into(), &plan, 0, &mut Silent).unwrap();
    compare(
        name,
        &recorded,
        &steps,
        &outcome,
        &notes.into_inner().unwrap(),
    );
}

fn compare(name: &str, recorded: &Recorded, steps: &[Step], outcome: &Outcome, notes: &Notes) {
    let scores_of = |step: usize, tokens: &[Tokens]| -> Vec<f32> {
        tokens
            .iter()
            .map(|tokens| steps[step].scores[tokens])
            .collect()
    };
    for stage in &outcome.trace.stages {
        let tokens = &notes.tokens[stage.scale];
        let expected = scores_of(stage.scale, tokens);
        assert_values_close(name, &stage.scores, &expected, SCORES, 0.0);
        let mut kept: Vec<Tokens> = vec![];
        for row in &stage.kept {
            if !kept.contains(&tokens[*row]) {
                kept.push(tokens[*row].clone());
            }
        }
        assert_eq!(
            kept,
            steps[stage.scale + 1].current,
            "{name}: scale {}",
            stage.scale
        );
    }
    let last = steps.len() - 1;
    let finals: Vec<f32> = outcome.finished.iter().map(|image| image.score).collect();
    let expected = scores_of(last, &notes.tokens[last]);
    assert_values_close(name, &finals, &expected, SCORES, 0.0);
    let ranking = outcome
        .trace
        .ranking()
        .into_iter()
        .take(recorded.num_results);
    let found: Vec<Tokens> = ranking
        .map(|place| notes.tokens[last][place].clone())
        .collect();
    let result = &recorded.result;
    let shown = result.display_tokens.as_ref().unwrap_or(&result.tokens);
    assert_eq!(found, *shown, "{name}");
    assert_eq!(found.len(), recorded.result.scores.len());
}

#[test]
fn parity_flextok_tiny_searches() {
    let fixture = Fixture::open();
    let model = Model::open(&fixture, "t2i");
    let texts = Texts::open(&fixture, &model);
    let prompt: String = fixture.setting("search_prompt");
    let features = [texts.features(&prompt), texts.features("")];
    let networks = FlexNetworks {
        prior: model.network,
        flow: fixture.decoder(),
        vae: fixture.vae(),
        scaling_factor: fixture.tokenizer.scaling_factor,
        projected_guidance: true,
    };
    for name in [
        "beam_top",
        "beam_drawn",
        "beam_linear_drawn",
        "lookahead_drawn",
        "best_of_n",
        "beam_likelihood",
    ] {
        replay(&fixture, &networks, &features, name);
    }
}

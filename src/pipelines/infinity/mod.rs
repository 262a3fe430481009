//! Infinity as a pipeline: text encoder, transformer, sampling and decoder, scale by scale.

mod generator;
mod outline;
mod pair;
pub mod random;
mod rollout;
mod sampling;
mod steering;

pub use generator::{InfinityFamily, released_schedule};
use outline::InfinityOutline;
use rollout::Conditions;
pub use rollout::InfinityRollout;
pub use sampling::{Sampling, draw_bits};
pub use steering::steered_scale;

use std::{ops::Range, sync::Arc};

use candle_core::{Device, Tensor};
use steering::{PreparedLayouts, region_texts, steering, steering_costs};
use ttsvar_search::{
    DecodeSize, Estimate, Pipeline, Prompt, Rollout, Scale, Steering, Warning, Workload,
};

use crate::{
    Error, Result,
    loading::Lazy,
    models::{
        autoencoder::Decoder,
        bsq_vae::Latent,
        infinity::{Config, Guidance, Infinity, RegionText, Schedule},
    },
    nn::Rope,
    options::{Options, PerScale, Steer},
    pipelines::{
        Edit, check_hidden_block,
        costs::{self, Networks, SteeringCosts, StepCosts},
        edit::{ImageScale, PreparedEdit},
        rollout::{ModelRollout, ScaleModel},
        scales_of,
        t5_text::TextEncoder,
    },
    text::unknown_words,
};

/// Settings of sampling and guidance.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Guidance: `cfg * conditional + (1 - cfg) * unconditional`; 1 at a scale and all later ones
    /// leaves out the unconditional branch there.
    pub cfg: PerScale,
    /// Apply guidance to the output of the n-th block from the end instead of to the logits.
    pub cfg_layer: Option<usize>,
    /// Temperature of the bits; greater than 0.
    pub tau: PerScale,
    /// Removes the less likely value of a bit if its probability is at most 1 - top_p; 0 removes
    /// none.
    pub top_p: PerScale,
    /// Keeps this many values of a bit; 0 and everything above 1 keep both.
    pub top_k: usize,
    /// Computes [`Rollout::token_statistics`].
    pub token_statistics: bool,
    /// Whether and how candidates are steered to a layout.
    pub steer: Steer,
}

impl Default for Settings {
    /// The released settings: cfg 3, tau 0.5, top-p 0.97, top-k 900 (which never removes one of two
    /// values).
    fn default() -> Self {
        Self {
            cfg: PerScale::from(3.0),
            cfg_layer: None,
            tau: PerScale::from(0.5),
            top_p: PerScale::from(0.97),
            top_k: 900,
            token_statistics: false,
            steer: Steer::Off,
        }
    }
}

impl Settings {
    /// The settings in `options`; unset ones take the released values.
    pub fn from_options(options: &Options) -> Self {
        let options = options.clone().with_preset_values();
        let released = Self::default();
        Self {
            cfg: options.cfg.unwrap_or(released.cfg),
            cfg_layer: options.cfg_layer,
            tau: options.tau.unwrap_or(released.tau),
            top_p: options.top_p.unwrap_or(released.top_p),
            top_k: options.top_k.unwrap_or(released.top_k),
            token_statistics: options
                .token_statistics
                .unwrap_or(released.token_statistics),
            steer: options.steer.unwrap_or(released.steer),
        }
    }

    /// The number of guidance branches at a scale of `scales`: conditional, and unconditional unless
    /// cfg is 1 there and at all later scales.
    ///
    /// At a scale with a cfg of 1 before one with another, the unconditional branch runs for its
    /// keys and values, which the later scale attends to.
    fn branches(&self, scale: usize, scales: usize) -> usize {
        let guided = (scale..scales).any(|scale| self.guidance(scale).mixes());
        if guided { 2 } else { 1 }
    }

    fn guidance(&self, scale: usize) -> Guidance {
        Guidance {
            cfg: self.cfg.at(scale),
            layer: self.cfg_layer,
        }
    }

    fn sampling(&self, scale: usize) -> Sampling {
        Sampling {
            tau: self.tau.at(scale),
            top_p: self.top_p.at(scale),
            top_k: self.top_k,
        }
    }

    /// Checks that all settings are in range and have at most one value for each of `scales` scales.
    ///
    /// # Errors
    /// A number is out of range, or a list is too long.
    fn check(&self, scales: usize) -> Result<()> {
        let options = Options {
            cfg: Some(self.cfg.clone()),
            cfg_layer: self.cfg_layer,
            tau: Some(self.tau.clone()),
            top_p: Some(self.top_p.clone()),
            top_k: Some(self.top_k),
            steer: Some(self.steer.clone()),
            ..Options::default()
        };
        options.check_ranges()?;
        options.check_lengths(scales)
    }
}

/// Cells of the decoder's latent along one side of a token: 1, or 2 if a token has the bits of four
/// cells (8B).
///
/// # Errors
/// The decoder does not fit the transformer.
pub fn cells_per_token(transformer: &Infinity, decoder: &Decoder) -> Result<usize> {
    pair::cells_per_token(transformer.config().bits, decoder.latent_channels())
}

/// Generates images from text features: everything except the text encoder.
pub struct ImageModel<'a> {
    transformer: Lazy<'a, Infinity>,
    decoder: Lazy<'a, Decoder>,
    settings: Settings,
    latent: Latent,
    grids: Vec<(usize, usize)>,
    ropes: Vec<Rope>,
    rows_at_once: usize,
    hidden_block: Option<usize>,
    edit: Option<PreparedEdit>,
    device: Device,
}

impl<'a> ImageModel<'a> {
    /// Combines a transformer and a decoder.
    ///
    /// # Errors
    /// The settings are out of range, the decoder does not fit the transformer, or the schedule has
    /// more scales than the transformer was trained for.
    pub fn new(
        transformer: impl Into<Lazy<'a, Infinity>>,
        decoder: impl Into<Lazy<'a, Decoder>>,
        schedule: &Schedule,
        settings: Settings,
        device: &Device,
    ) -> Result<Self> {
        let transformer = transformer.into();
        let decoder = decoder.into();
        settings.check(schedule.grids.len())?;
        let config = transformer.measured().config();
        let patch = cells_per_token(transformer.measured(), decoder.measured())?;
        let grids = schedule.grids.clone();
        let grid = match grids.last() {
            Some(grid) if grids.len() <= config.levels => *grid,
            _ => {
                let found = grids.len();
                let levels = config.levels;
                return Err(Error::input(format!(
                    "{found} scales, but the transformer supports 1 to {levels}"
                )));
            }
        };
        if let Some(layer) = settings.cfg_layer
            && layer > config.depth
        {
            let depth = config.depth;
            return Err(Error::input(format!(
                "the guidance layer must be at most {depth}, found {layer}"
            ))
            .with_hint("1 is the last block"));
        }
        let width = config.width / config.heads;
        let rope = |grid: &(usize, usize)| Rope::new(*grid, schedule.rope_grid, width, device);
        let ropes = grids.iter().map(rope).collect::<candle_core::Result<_>>()?;
        let latent = Latent {
            channels: decoder.measured().latent_channels(),
            patch,
            grid,
        };
        Ok(Self {
            transformer,
            decoder,
            settings,
            latent,
            grids,
            ropes,
            rows_at_once: usize::MAX,
            hidden_block: None,
            edit: None,
            device: device.clone(),
        })
    }

    /// Runs at most `rows` rows through the network together, which saves memory and changes no
    /// result.
    pub fn with_rows_at_once(self, rows: usize) -> Self {
        Self {
            rows_at_once: rows.max(1),
            ..self
        }
    }

    /// Keeps the output of this block, counted from 1, for the tokens of the latest scale, as the
    /// hidden state of each latent; `None` keeps none.
    ///
    /// # Errors
    /// There is no such block.
    pub fn with_hidden_block(self, block: Option<usize>) -> Result<Self> {
        check_hidden_block(block, self.config().depth)?;
        Ok(Self {
            hidden_block: block,
            ..self
        })
    }

    /// Generates a part of an image again, and keeps the rest.
    ///
    /// # Errors
    /// The latent of the image has another shape than the model's.
    pub fn with_edit(self, edit: Option<Arc<Edit>>) -> Result<Self> {
        let prepare = |edit: Arc<Edit>| {
            edit.check(self.latent.channels, self.latent.size())?;
            PreparedEdit::new(&edit.part, self.scales_of(&edit.latent)?)
        };
        let edit = edit.map(prepare).transpose()?;
        Ok(Self { edit, ..self })
    }

    /// The scales of an image's latent.
    fn scales_of(&self, latent: &Tensor) -> Result<Vec<ImageScale>> {
        let scales = self.latent.quantize(latent, &self.grids)?;
        let scales = scales.into_iter().zip(&self.grids).map(|(scale, grid)| {
            Ok(ImageScale {
                grid: *grid,
                codes: self.latent.codes(&scale.bits, *grid)?,
                sum: scale.sum,
            })
        });
        scales.collect()
    }

    /// Starts the candidates `rows` from text features (T, text width); `negative` replaces the
    /// learned unconditional text.
    pub fn start(
        &self,
        features: &Tensor,
        negative: Option<&Tensor>,
        rows: Range<usize>,
        seed: u64,
    ) -> Result<InfinityRollout<'_>> {
        let conditions = self.conditions(features, negative)?;
        Ok(ModelRollout::new(self, conditions, rows, seed))
    }

    /// The texts of the guidance branches, without layouts.
    fn conditions(&self, features: &Tensor, negative: Option<&Tensor>) -> Result<Conditions> {
        let transformer = self.transformer.get()?;
        let mut texts = vec![transformer.text(features)?];
        if self.uses_guidance() {
            let unconditional = match negative {
                Some(negative) => negative.clone(),
                None => transformer.unconditional(features.dims()[0])?,
            };
            texts.push(transformer.text(&unconditional)?);
        }
        // A GPU works asynchronously: do not count the time for the text at scale 0.
        features.device().synchronize()?;
        Ok(Conditions {
            texts,
            layouts: None,
        })
    }

    /// How the candidates of a prompt are steered; `None` if that is off.
    fn steering(&self, prompt: &str) -> Result<Option<Steering>> {
        steering(&self.settings.steer, prompt, &self.grids)
    }

    /// The layouts of a prompt, whose regions have these texts.
    fn prepare(
        &self,
        steering: &Steering,
        prompt: &str,
        texts: Vec<RegionText>,
    ) -> Result<PreparedLayouts> {
        let options = self.settings.steer.options().cloned();
        let options = options.unwrap_or_default();
        PreparedLayouts::new(steering, &options, prompt, texts, &self.grids, &self.device)
    }

    /// The sizes of the transformer.
    fn config(&self) -> &'a Config {
        self.transformer.measured().config()
    }

    /// Returns whether there is an unconditional branch at any scale.
    fn uses_guidance(&self) -> bool {
        self.branches(0) == 2
    }
}

impl StepCosts for ImageModel<'_> {
    fn tokens(&self, scale: usize) -> usize {
        let (rows, columns) = self.grids[scale];
        rows * columns
    }

    fn branches(&self, scale: usize) -> usize {
        self.settings.branches(scale, self.grids.len())
    }

    fn rows_at_once(&self) -> usize {
        self.rows_at_once
    }

    fn steering(&self) -> Option<SteeringCosts> {
        steering_costs(&self.settings.steer, &self.grids, self.config())
    }

    fn text_flops(&self, tokens: usize) -> f64 {
        self.config().text_flops(tokens)
    }

    fn row_flops(&self, tokens: usize, seen: usize, text: usize) -> f64 {
        self.config().scale_flops(tokens, seen, text)
    }

    fn decode_flops(&self, size: DecodeSize) -> f64 {
        let (rows, columns) = self.decoded_cells(size);
        self.decoder.measured().flops(rows * columns)
    }

    fn decode_bytes(&self) -> u64 {
        self.decoder.measured().activation_bytes(self.latent.size())
    }

    fn kv_bytes(&self, tokens: usize) -> u64 {
        self.transformer.measured().kv_bytes(tokens)
    }

    fn hidden_width(&self) -> usize {
        self.hidden_block.map_or(0, |_| self.config().width)
    }

    fn activation_bytes(&self, rows: usize, tokens: usize, seen: usize) -> u64 {
        self.config().activation_bytes(rows, tokens, seen)
    }
}

/// The texts that the search of a prompt needs.
struct PromptTexts {
    /// The prompt, the negative one, those of regions.
    all: Vec<String>,
    has_negative: bool,
    steering: Option<Steering>,
}

/// An Infinity with its text encoder, set up for a search.
pub struct InfinityPipeline<'a> {
    model: ImageModel<'a>,
    text: &'a dyn TextEncoder,
    scales: Vec<Scale>,
    networks: Networks,
    /// The only words that the model knows; `None` if it takes any.
    words: Option<&'a [String]>,
}

impl<'a> InfinityPipeline<'a> {
    /// Adds a text encoder to a model. `networks` are all networks in memory while the pipeline is
    /// in use, its own included.
    ///
    /// # Errors
    /// The text encoder does not fit the transformer.
    pub fn new(
        model: ImageModel<'a>,
        text: &'a dyn TextEncoder,
        networks: Networks,
    ) -> Result<Self> {
        let expected = model.config().text_width;
        let found = text.width();
        if expected != found {
            let message = format!(
                "the transformer expects text features of width {expected}, \
                 but the text encoder has width {found}"
            );
            return Err(Error::input(message).with_hint("the released models use flan-t5-xl"));
        }
        Ok(Self {
            scales: scales_of(&model.grids),
            model,
            text,
            networks,
            words: None,
        })
    }

    /// Sets the only words that the model knows; prompts with others cause a warning.
    pub fn with_words(self, words: Option<&'a [String]>) -> Self {
        Self { words, ..self }
    }

    /// The texts that the search of a prompt needs: the prompt, the negative one, if guidance uses it,
    /// then those of regions.
    fn texts(&self, prompt: &Prompt) -> Result<PromptTexts> {
        let negative = prompt.negative.clone();
        let negative = negative.filter(|_| self.model.uses_guidance());
        let steering = self.model.steering(&prompt.text)?;
        let regions = match &steering {
            Some(steering) => region_texts(steering, &prompt.text),
            None => vec![],
        };
        let first = [prompt.text.clone()].into_iter().chain(negative.clone());
        Ok(PromptTexts {
            all: first.chain(regions).collect(),
            has_negative: negative.is_some(),
            steering,
        })
    }

    /// The layouts of a prompt whose regions have texts with these features, and the operations of
    /// preparing them.
    fn layouts(
        &self,
        steering: &Steering,
        prompt: &str,
        regions: &[Tensor],
    ) -> Result<(PreparedLayouts, f64)> {
        let transformer = self.model.transformer.get()?;
        let mut texts = vec![];
        let mut flops = 0.0;
        for features in regions {
            let tokens = features.dims()[0];
            texts.push(transformer.region_text(features)?);
            flops += self.text.flops(tokens);
            flops += self.model.config().region_text_flops(tokens);
        }
        Ok((self.model.prepare(steering, prompt, texts)?, flops))
    }

    /// Warnings about a prompt or a negative prompt.
    fn text_warnings(&self, text: &str, negative: bool) -> ttsvar_search::Result<Vec<Warning>> {
        let mut warnings = vec![];
        if let Some(known) = self.words {
            let words = unknown_words(text, known);
            if !words.is_empty() {
                warnings.push(Warning::UnknownWords {
                    words,
                    known: known.to_vec(),
                    negative,
                });
            }
        }
        if let Some(reader) = self.text.prompt_reader() {
            warnings.extend(reader.check(text, negative)?);
        }
        Ok(warnings)
    }
}

impl Pipeline for InfinityPipeline<'_> {
    fn scales(&self) -> &[Scale] {
        &self.scales
    }

    fn image_size(&self) -> (usize, usize) {
        let (rows, columns) = self.model.latent.size();
        (rows * self.model.patch(), columns * self.model.patch())
    }

    fn prompt_warnings(&self, prompt: &Prompt) -> ttsvar_search::Result<Vec<Warning>> {
        let mut warnings = self.text_warnings(&prompt.text, false)?;
        if let Some(negative) = &prompt.negative
            && self.model.uses_guidance()
        {
            warnings.extend(self.text_warnings(negative, true)?);
        }
        Ok(warnings)
    }

    fn steering(&self, prompt: &Prompt) -> ttsvar_search::Result<Option<Steering>> {
        Ok(self.model.steering(&prompt.text)?)
    }

    fn prepare(&self, prompts: &[Prompt]) -> ttsvar_search::Result<()> {
        // A prompt that cannot be steered is reported when its search begins.
        let texts = prompts.iter().filter_map(|prompt| self.texts(prompt).ok());
        let texts: Vec<String> = texts.flat_map(|texts| texts.all).collect();
        Ok(self.text.prepare(&texts)?)
    }

    fn begin(
        &self,
        prompt: &Prompt,
        rows: Range<usize>,
        seed: u64,
    ) -> ttsvar_search::Result<Box<dyn Rollout + '_>> {
        let texts = self.texts(prompt)?;
        // All texts before the transformer, which may not have been read yet
        let features = self.text.encode_all(&texts.all)?;
        let (own, regions) = features.split_at(1 + usize::from(texts.has_negative));
        let of_text = own.iter().map(|text| self.text.flops(text.dims()[0]));
        let mut flops: f64 = of_text.sum();
        let mut conditions = self.model.conditions(&own[0], own.get(1))?;
        if let Some(steering) = texts.steering {
            let (layouts, of_layouts) = self.layouts(&steering, &prompt.text, regions)?;
            conditions.layouts = Some(layouts);
            flops += of_layouts;
        }
        let mut rollout = ModelRollout::new(&self.model, conditions, rows, seed);
        rollout.add_flops(flops);
        Ok(Box::new(rollout))
    }

    fn branches(&self, scale: usize) -> usize {
        self.model.branches(scale)
    }

    fn estimate(&self, workload: &Workload) -> Estimate {
        let encoder_flops = |tokens| self.text.flops(tokens);
        costs::estimate(&self.model, self.networks, encoder_flops, workload)
    }
}

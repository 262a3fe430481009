//! Infinity as a pipeline: text encoder, transformer, sampling and decoder, scale by scale.

mod generator;
pub mod random;
mod rollout;
mod sampling;
mod text;

pub use generator::{InfinityFamily, released_schedule};
pub use rollout::InfinityRollout;
pub use sampling::{Sampling, draw_bits, truncate};
pub use text::{FixedText, T5Text, TextEncoder};

use std::ops::Range;

use candle_core::{Device, Tensor};
use ttsvar_search::{DecodeSize, Estimate, Pipeline, Prompt, Rollout, Scale};

use crate::{
    Error, Result,
    models::{
        bsq_vae::{Decoder, Latent},
        infinity::{Guidance, Infinity, Schedule},
    },
    nn::Rope,
    options::Options,
};

const USUAL_TEXT: usize = 20; // tokens of a prompt of usual length, for estimates
const PROGRAM: u64 = 30 << 20; // bytes of the program itself with its tables and the demo's files
// Of small activations the allocator holds back about half, and never much: measured
const HELD_BACK: u64 = 16 << 20;

/// How images are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Guidance: `cfg * conditional + (1 - cfg) * unconditional`; 1 leaves the unconditional half
    /// out.
    pub cfg: f32,
    /// Mix on the output of the n-th block from the end instead of on the logits.
    pub cfg_layer: Option<usize>,
    /// Temperature of the bits; greater than 0.
    pub tau: f32,
    /// Drops the less likely value of a bit where its likelihood is at most 1 - top_p; 0 never
    /// does.
    pub top_p: f32,
    /// Keep so many values of a bit; 0 and everything above 1 keep both.
    pub top_k: usize,
}

impl Default for Settings {
    /// The official settings: cfg 3, tau 0.5, top-p 0.97, top-k 900 (which never removes one of two
    /// values).
    fn default() -> Self {
        Self {
            cfg: 3.0,
            cfg_layer: None,
            tau: 0.5,
            top_p: 0.97,
            top_k: 900,
        }
    }
}

impl Settings {
    /// The settings that options name; unset ones are the official ones.
    pub fn from_options(options: &Options) -> Self {
        let official = Self::default();
        Self {
            cfg: options.cfg.unwrap_or(official.cfg),
            cfg_layer: options.cfg_layer,
            tau: options.tau.unwrap_or(official.tau),
            top_p: options.top_p.unwrap_or(official.top_p),
            top_k: options.top_k.unwrap_or(official.top_k),
        }
    }

    /// # Errors
    /// A number is out of range.
    fn check(&self) -> Result<()> {
        Options {
            cfg: Some(self.cfg),
            cfg_layer: self.cfg_layer,
            tau: Some(self.tau),
            top_p: Some(self.top_p),
            top_k: Some(self.top_k),
            ..Options::default()
        }
        .check_ranges()
    }
}

/// Cells of the decoder's latent along one side of a token: 1, or 2 where a token has the bits of
/// four cells (8B).
///
/// # Errors
/// The decoder is not of this transformer.
pub fn cells_per_token(transformer: &Infinity, decoder: &Decoder) -> Result<usize> {
    match (transformer.config().bits, decoder.latent_channels()) {
        (bits, channels) if bits == channels => Ok(1),
        (bits, channels) if bits == 4 * channels => Ok(2),
        (bits, channels) => {
            let message = format!(
                "the transformer has {bits} bits a token, the decoder {channels} values a cell"
            );
            let hint = "take the decoder that was released with the transformer: as many values, or a quarter";
            Err(Error::input(message).with_hint(hint))
        }
    }
}

/// Paints from text features: everything but the text encoder.
pub struct Painter<'a> {
    transformer: &'a Infinity,
    decoder: &'a Decoder,
    settings: Settings,
    latent: Latent,
    grids: Vec<(usize, usize)>,
    ropes: Vec<Rope>,
    rows_at_once: usize,
}

impl<'a> Painter<'a> {
    /// # Errors
    /// The settings are out of range, the decoder is not of this transformer, or the schedule has
    /// more scales than the transformer was trained for.
    pub fn new(
        transformer: &'a Infinity,
        decoder: &'a Decoder,
        schedule: &Schedule,
        settings: Settings,
        device: &Device,
    ) -> Result<Self> {
        settings.check()?;
        let (config, channels, patch) = (
            transformer.config(),
            decoder.latent_channels(),
            cells_per_token(transformer, decoder)?,
        );
        let grids = schedule.grids.clone();
        let Some(grid) = grids
            .last()
            .copied()
            .filter(|_| grids.len() <= config.levels)
        else {
            let message = format!(
                "{} scales, but the transformer knows 1 to {}",
                grids.len(),
                config.levels
            );
            return Err(Error::input(message));
        };
        if settings.cfg_layer.is_some_and(|layer| layer > config.depth) {
            let message = format!("guidance on a layer beyond the {} blocks", config.depth);
            return Err(Error::input(message).with_hint("1 is the last block"));
        }
        let width = config.width / config.heads;
        let rope = |grid: &(usize, usize)| Rope::new(*grid, schedule.rope_grid, width, device);
        let ropes = grids.iter().map(rope).collect::<candle_core::Result<_>>()?;
        let latent = Latent {
            channels,
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
        })
    }

    /// Runs at most so many rows through the network together, which takes less memory and changes
    /// no result.
    pub fn with_rows_at_once(self, rows: usize) -> Self {
        Self {
            rows_at_once: rows.max(1),
            ..self
        }
    }

    /// Starts the candidates `rows` from text features (T, text width); `negative` takes the place
    /// of the learned unconditional text.
    pub fn start(
        &self,
        features: &Tensor,
        negative: Option<&Tensor>,
        rows: Range<usize>,
        seed: u64,
    ) -> Result<InfinityRollout<'_>> {
        let mut texts = vec![self.transformer.text(features)?];
        if self.settings.cfg != 1.0 {
            let own = self.transformer.unconditional(features.dims()[0])?;
            let other = negative.unwrap_or(&own);
            texts.push(self.transformer.text(other)?);
        }
        // What a GPU still does for the text is not time of scale 0
        features.device().synchronize()?;
        Ok(InfinityRollout::new(self, texts, rows, seed))
    }

    fn guidance(&self) -> Guidance {
        Guidance {
            cfg: self.settings.cfg,
            layer: self.settings.cfg_layer,
        }
    }

    fn sampling(&self) -> Sampling {
        let Settings {
            tau, top_p, top_k, ..
        } = self.settings;
        Sampling { tau, top_p, top_k }
    }

    /// Guidance halves that are run.
    fn halves(&self) -> usize {
        if self.settings.cfg == 1.0 { 1 } else { 2 }
    }

    fn tokens(&self, scale: usize) -> usize {
        self.grids[scale].0 * self.grids[scale].1
    }

    /// Latent cells (rows, columns) of a decode.
    fn decoded_cells(&self, size: DecodeSize) -> (usize, usize) {
        let (rows, columns) = self.latent.size();
        let DecodeSize::Preview(pixels) = size else {
            return (rows, columns);
        };
        let factor = pixels as f64 / (rows.min(columns) * self.decoder.patch()) as f64;
        let scaled = |cells: usize| ((cells as f64 * factor.min(1.0)).round() as usize).max(1);
        (scaled(rows), scaled(columns))
    }

    /// Floating-point operations of one scale for one row; `texts` are the lengths of the halves'
    /// texts.
    fn scale_flops(&self, scale: usize, texts: &[usize]) -> f64 {
        let seen = (0..=scale).map(|s| self.tokens(s)).sum();
        texts
            .iter()
            .map(|text| {
                self.transformer
                    .scale_flops(self.tokens(scale), seen, *text)
            })
            .sum()
    }

    fn decode_flops(&self, size: DecodeSize) -> f64 {
        let (rows, columns) = self.decoded_cells(size);
        self.decoder.flops(rows * columns)
    }
}

/// Bytes of the networks of a system, for estimates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// In memory all the time.
    pub resident: u64,
    /// There only while a prompt is encoded.
    pub encoding: u64,
    /// There only while images are scored or described, the largest of them.
    pub scoring: u64,
}

/// A loaded Infinity with its text encoder.
pub struct InfinityPipeline<'a> {
    painter: Painter<'a>,
    text: &'a dyn TextEncoder,
    scales: Vec<Scale>,
    networks: Networks,
}

impl<'a> InfinityPipeline<'a> {
    /// `networks` are all that take memory while it is in use, its own among them.
    ///
    /// # Errors
    /// The text encoder is not of this transformer.
    pub fn new(
        painter: Painter<'a>,
        text: &'a dyn TextEncoder,
        networks: Networks,
    ) -> Result<Self> {
        let (expected, found) = (painter.transformer.config().text_width, text.width());
        if expected != found {
            let message = format!(
                "the transformer reads text of width {expected}, the text encoder writes {found}"
            );
            return Err(Error::input(message).with_hint("the released models go with flan-t5-xl"));
        }
        let scales = painter
            .grids
            .iter()
            .map(|(height, width)| Scale {
                height: *height,
                width: *width,
            })
            .collect();
        Ok(Self {
            painter,
            text,
            scales,
            networks,
        })
    }
}

impl Pipeline for InfinityPipeline<'_> {
    fn scales(&self) -> &[Scale] {
        &self.scales
    }

    fn image_size(&self) -> (usize, usize) {
        let (rows, columns) = self.painter.latent.size();
        (
            rows * self.painter.decoder.patch(),
            columns * self.painter.decoder.patch(),
        )
    }

    fn begin(
        &self,
        prompt: &Prompt,
        rows: Range<usize>,
        seed: u64,
    ) -> ttsvar_search::Result<Box<dyn Rollout + '_>> {
        let features = self.text.encode(&prompt.text)?;
        let negative = prompt
            .negative
            .as_ref()
            .filter(|_| self.painter.halves() == 2);
        let negative = negative
            .map(|negative| self.text.encode(negative))
            .transpose()?;
        let mut rollout = self
            .painter
            .start(&features, negative.as_ref(), rows, seed)?;
        rollout.spend(self.text.flops(features.dims()[0]));
        rollout.spend(negative.map_or(0.0, |negative| self.text.flops(negative.dims()[0])));
        Ok(Box::new(rollout))
    }

    fn estimate(&self, widths: &[usize], decodes: &[usize], size: DecodeSize) -> Estimate {
        let painter = &self.painter;
        let texts = vec![USUAL_TEXT; painter.halves()];
        let prepare = texts
            .iter()
            .map(|tokens| painter.transformer.text_flops(*tokens))
            .sum::<f64>();
        let text = self.text.flops(USUAL_TEXT) + prepare;
        // Scale 0 starts alike
        let rows = |scale: usize, width: usize| if scale == 0 { width.min(1) } else { width };
        let scales: f64 = widths
            .iter()
            .enumerate()
            .map(|(s, w)| rows(s, *w) as f64 * painter.scale_flops(s, &texts))
            .sum();
        let last = decodes.len().saturating_sub(1);
        let decode = |(s, count): (usize, &usize)| {
            *count as f64 * painter.decode_flops(if s == last { DecodeSize::Full } else { size })
        };
        let decodes: f64 = decodes.iter().enumerate().map(decode).sum();
        Estimate {
            flops: text + scales + decodes,
            peak_bytes: self.peak_bytes(widths),
        }
    }
}

impl InfinityPipeline<'_> {
    /// Weights, keys and values of all rows up to the widest moment, and what is needed besides at
    /// that moment: a scale's activations, a decode's feature maps, or networks that only come to
    /// judge.
    fn peak_bytes(&self, widths: &[usize]) -> u64 {
        let (
            painter,
            Networks {
                resident,
                encoding,
                scoring,
            },
        ) = (&self.painter, self.networks);
        let (rows, columns) = painter.latent.size();
        let looking = painter
            .decoder
            .activation_bytes((rows, columns))
            .max(scoring);
        let (mut seen, mut peak) = (0, encoding);
        for (scale, width) in widths.iter().enumerate() {
            let (tokens, halves) = (painter.tokens(scale), painter.halves());
            let states = if scale == 0 { width.min(&1) } else { width };
            let at_once = states.min(&painter.rows_at_once) * halves;
            let computing = painter
                .transformer
                .activation_bytes(at_once, tokens, seen + tokens);
            let computing = computing + (computing / 2).min(HELD_BACK);
            let kept = if scale + 1 == widths.len() { 0 } else { tokens };
            let kv = (states * halves) as u64 * painter.transformer.kv_bytes(seen + kept);
            peak = peak.max(kv + computing.max(looking));
            seen += tokens;
        }
        PROGRAM + resident + peak
    }
}

//! The cost of a search: operations and the peak of memory, from a loaded model or from the sizes of
//! a released one.

use candle_core::DType;
use ttsvar_search::{DecodeSize, Estimate, Workload};

use super::PipelineContext;
use crate::loading::Evict;

/// Tokens of a prompt of usual length, for estimates.
pub(super) const USUAL_TEXT: usize = 20;

/// Bytes of the program itself with its tables and the demo's files.
const PROGRAM: u64 = 36 << 20;

/// Maximum number of bytes that the allocator keeps of freed activations (measured). Of small
/// activations it keeps about half.
const HELD_BACK: u64 = 16 << 20;

/// Bytes of the networks of a system, for estimates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// Networks that are always in memory.
    pub resident: u64,
    /// What reading one of them takes at most beside all of them.
    pub reading: u64,
    /// Networks that are in memory only while a prompt is encoded.
    pub encoding: u64,
    /// True if prompts are encoded before other networks are read.
    pub encodes_first: bool,
    /// The largest network that is in memory only while images are scored or their features
    /// computed.
    pub scoring: u64,
}

impl Networks {
    /// The networks of a pipeline: those of the generator that stay in memory, its text encoders,
    /// and what the context adds.
    pub(super) fn new(
        always: &[&dyn Evict],
        text: &[&dyn Evict],
        context: &PipelineContext,
    ) -> Self {
        let mut networks = Self {
            resident: context.resident + context.prompts,
            reading: context.reading,
            encoding: 0,
            encodes_first: context.encodes_first,
            scoring: context.scoring,
        };
        for network in always.iter().chain(text) {
            if network.is_resident() {
                networks.resident += network.bytes();
                networks.reading = networks.reading.max(reading(*network));
            } else {
                // One after the other
                networks.encoding = networks.encoding.max(network.peak_bytes());
            }
        }
        networks
    }
}

/// What reading a network takes at most beside the network.
pub(crate) fn reading(network: &dyn Evict) -> u64 {
    network.peak_bytes() - network.bytes()
}

/// The cost of the steps of a model that is set up for an image size.
pub trait StepCosts {
    /// Tokens of a scale.
    fn tokens(&self, scale: usize) -> usize;
    /// The number of guidance branches that run at a scale. It never rises from one scale to the
    /// next.
    fn branches(&self, scale: usize) -> usize;
    /// Rows that run through the network together.
    fn rows_at_once(&self) -> usize;
    /// What steering adds, if the candidates are steered.
    fn steering(&self) -> Option<SteeringCosts> {
        None
    }
    /// Operations of preparing a text of this many tokens, or a class, for the transformer.
    fn text_flops(&self, tokens: usize) -> f64;
    /// Operations of one row of one branch: `tokens` tokens that see `seen` tokens and a text, if
    /// the model reads texts.
    fn row_flops(&self, tokens: usize, seen: usize, text: usize) -> f64;
    /// Operations of a scale for each candidate besides the transformer, such as those of a
    /// diffusion head.
    fn extra_flops(&self, _scale: usize) -> f64 {
        0.0
    }
    /// Operations of one decode.
    fn decode_flops(&self, size: DecodeSize) -> f64;
    /// The same before the last scale.
    fn preview_flops(&self, size: DecodeSize) -> f64 {
        self.decode_flops(size)
    }
    /// Bytes of the feature maps of one decode at full size.
    fn decode_bytes(&self) -> u64;
    /// Bytes of the keys and values of one row of one branch for `tokens` tokens.
    fn kv_bytes(&self, tokens: usize) -> u64;
    /// Bytes of the running sum of one candidate, where they matter beside its keys and values.
    fn latent_bytes(&self) -> u64 {
        0
    }
    /// Width of the hidden states that rows keep of their latest scale; 0 if they keep none.
    fn hidden_width(&self) -> usize {
        0
    }
    /// Bytes that a scale takes for as long as it runs.
    fn activation_bytes(&self, rows: usize, tokens: usize, seen: usize) -> u64;

    /// Operations of one scale for one row; `texts` are the lengths of the texts of all branches.
    fn scale_flops(&self, scale: usize, texts: &[usize]) -> f64 {
        let tokens = self.tokens(scale);
        let seen = (0..=scale).map(|s| self.tokens(s)).sum();
        let flops = |text: &usize| self.row_flops(tokens, seen, *text);
        texts.iter().take(self.branches(scale)).map(flops).sum()
    }
}

/// What steering adds to the cost of a search, for estimates.
pub struct SteeringCosts {
    /// The scales that are steered, and the operations of attending to the regions there, for one
    /// row.
    pub scales: Vec<(usize, f64)>,
    /// Texts of regions, beside the prompt.
    pub texts: usize,
    /// Tokens of each.
    pub tokens: usize,
    /// Operations of preparing each for the transformer.
    pub text_flops: f64,
    /// The share of the candidates that are steered.
    pub share: f64,
}

/// The cost of a search; `encoder_flops` are the operations of the text encoder for a text of a
/// number of tokens.
pub(super) fn estimate(
    model: &impl StepCosts,
    networks: Networks,
    encoder_flops: impl Fn(usize) -> f64,
    workload: &Workload,
) -> Estimate {
    let Workload {
        widths,
        decodes,
        size,
        ..
    } = workload;
    let texts = vec![USUAL_TEXT; model.branches(0)];
    let prepare: f64 = texts.iter().map(|tokens| model.text_flops(*tokens)).sum();
    let mut scale_flops = 0.0;
    for (scale, &width) in widths.iter().enumerate() {
        scale_flops += states(scale, width) as f64 * model.scale_flops(scale, &texts);
        scale_flops += width as f64 * model.extra_flops(scale);
    }
    let mut decode_flops = 0.0;
    for (scale, &images) in decodes.iter().enumerate() {
        let last = scale + 1 == decodes.len();
        let flops = match last {
            true => model.decode_flops(DecodeSize::Full),
            false => model.preview_flops(*size),
        };
        decode_flops += images as f64 * flops;
    }
    Estimate {
        flops: encoder_flops(USUAL_TEXT)
            + prepare
            + scale_flops
            + steering_flops(model, &encoder_flops, widths)
            + decode_flops,
        peak_bytes: peak_bytes(model, networks, workload),
    }
}

/// The operations that steering adds.
fn steering_flops(
    model: &impl StepCosts,
    encoder_flops: &impl Fn(usize) -> f64,
    widths: &[usize],
) -> f64 {
    let Some(steering) = model.steering() else {
        return 0.0;
    };
    let prepare = encoder_flops(steering.tokens) + steering.text_flops;
    let mut rows = 0.0;
    for (scale, row_flops) in steering.scales {
        let states = steering.share * states(scale, widths[scale]) as f64;
        rows += states * row_flops;
    }
    steering.texts as f64 * prepare + rows
}

/// The peak of memory in bytes: weights, keys, values and hidden states of all rows and of suspended
/// ones, and in addition the activations of a scale, the feature maps of a decode or networks that are loaded for scoring,
/// whichever is largest.
fn peak_bytes(model: &impl StepCosts, networks: Networks, workload: &Workload) -> u64 {
    let Workload {
        widths, suspended, ..
    } = workload;
    let evaluating = model.decode_bytes().max(networks.scoring);
    let mut seen = 0;
    let beside = match networks.encodes_first {
        true => 0,
        false => networks.encoding,
    };
    let mut peak = networks.reading.max(beside);
    let mut waiting = 0;
    for (scale, &width) in widths.iter().enumerate() {
        let tokens = model.tokens(scale);
        let branches = model.branches(scale);
        let states = states(scale, width);
        let at_once = states.min(model.rows_at_once()) * branches;
        let activations = model.activation_bytes(at_once, tokens, seen + tokens);
        let computing = activations + (activations / 2).min(HELD_BACK);
        // No scale reads the keys and values of the last one.
        let last = scale + 1 == widths.len();
        let kept = if last { 0 } else { tokens };
        let kv = (states * branches) as u64 * model.kv_bytes(seen + kept);
        let hidden = (tokens * model.hidden_width() * DType::F32.size_in_bytes()) as u64;
        let latents = width as u64 * model.latent_bytes();
        peak = peak.max(kv + latents + states as u64 * hidden + computing.max(evaluating));
        seen += tokens;
        let resumed_branches = if last {
            branches
        } else {
            model.branches(scale + 1)
        };
        waiting += (suspended[scale] * resumed_branches) as u64 * model.kv_bytes(seen);
        waiting += suspended[scale] as u64 * (hidden + model.latent_bytes());
    }
    // The texts of regions stay in memory. Attending to them needs less than other layers.
    let regions = model.steering().map_or(0, |steering| {
        steering.texts as u64 * model.kv_bytes(steering.tokens)
    });
    let searching = networks.resident + peak + waiting + regions;
    PROGRAM + searching.max(networks.encoding)
}

/// The number of distinct states of `width` rows at a scale: at scale 0 all rows are equal.
fn states(scale: usize, width: usize) -> usize {
    match scale {
        0 => width.min(1),
        _ => width,
    }
}

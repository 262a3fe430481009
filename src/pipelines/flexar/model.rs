//! The networks with their settings, and what their steps cost.

use candle_core::{DType, Device, Tensor};
use ttsvar_search::{DecodeSize, Image};

use super::Settings;
use crate::{
    Error, Result,
    loading::Lazy,
    models::{
        flexar::{Condition, FlexAr, Sizes},
        flextok::{FlowDecoder, FlowGuidance, FlowSizes},
        kl_vae,
    },
    nn::bilinear,
    pipelines::{
        costs::StepCosts,
        decoding::{decoded_cells, to_image},
    },
};

/// Images that run through the flow together: what a step computes from its time serves all of them.
const FLOWS_AT_ONCE: usize = 8;

/// Rows and columns of the latents of the released models.
const RELEASED_LATENT: usize = 32;

/// The networks of a generator, without the text encoder.
pub struct FlexNetworks {
    /// Draws tokens.
    pub prior: FlexAr,
    /// Tokens and noise to latents.
    pub flow: FlowDecoder,
    /// Latents to images.
    pub vae: kl_vae::Decoder,
    /// The factor between latents of the VAE and those of the flow.
    pub scaling_factor: f64,
    /// The flow is guided by projection.
    pub projected_guidance: bool,
}

impl FlexNetworks {
    /// Checks that the networks belong together.
    ///
    /// # Errors
    /// The tokenizer has other sizes than the transformer, or the VAE than the flow.
    pub(super) fn check(&self) -> Result<()> {
        let prior = self.prior.sizes();
        let flow = self.flow.sizes();
        let tokenizer = [self.flow.fsq().tokens(), flow.registers];
        if tokenizer != [prior.vocabulary, prior.tokens] {
            let [different, tokens] = tokenizer;
            return Err(Error::input(format!(
                "the transformer draws {} tokens, each one of {}; the tokenizer has {tokens}, each \
                 one of {different}",
                prior.tokens, prior.vocabulary
            ))
            .with_hint("use the tokenizer that the transformer was trained with"));
        }
        if self.vae.latent_channels() != flow.channels {
            return Err(Error::input(format!(
                "the flow has latents of {} channels, the VAE of {}",
                flow.channels,
                self.vae.latent_channels()
            )));
        }
        Ok(())
    }

    /// Rows and columns of the latents: those of the released models, or as many as the decoder has
    /// positions for.
    pub(super) fn latent_size(&self) -> (usize, usize) {
        let flow = self.flow.sizes();
        let rows = flow.most.0 * flow.patch.0;
        let columns = flow.most.1 * flow.patch.1;
        let side = rows.min(columns).min(RELEASED_LATENT);
        (side, side)
    }
}

/// The numbers of tokens that the scales add, so that they end with 1, 2, 4, ... tokens and with all
/// of them.
fn doubling(tokens: usize) -> Vec<usize> {
    let mut groups = vec![];
    let mut drawn = 0;
    while drawn < tokens {
        let next = (2 * drawn).clamp(1, tokens);
        groups.push(next - drawn);
        drawn = next;
    }
    groups
}

/// The numbers of tokens that the scales add which end with these many tokens, or by default with 1,
/// 2, 4 and so on up to all `tokens`.
///
/// # Errors
/// A prefix is not longer than the one before, or the last one is longer than an image.
pub(super) fn groups(prefixes: Option<&[usize]>, tokens: usize) -> Result<Vec<usize>> {
    let Some(prefixes) = prefixes else {
        return Ok(doubling(tokens));
    };
    let before = std::iter::once(&0).chain(prefixes);
    let grows = prefixes
        .iter()
        .zip(before.clone())
        .all(|(prefix, before)| prefix > before);
    let longest = prefixes.last().copied().unwrap_or(0);
    if !grows || !(1..=tokens).contains(&longest) {
        let message = format!("prefixes of {prefixes:?} tokens, but an image has {tokens}");
        let hint =
            format!("each of `prefixes` is longer than the one before, the last at most {tokens}");
        return Err(Error::input(message).with_hint(hint));
    }
    let added = prefixes.iter().zip(before);
    Ok(added.map(|(prefix, before)| prefix - before).collect())
}

/// A model that is set up for a search.
pub struct FlexModel<'a> {
    pub(super) networks: Lazy<'a, FlexNetworks>,
    pub(super) settings: Settings,
    groups: Vec<usize>,
    size: (usize, usize),
    rows_at_once: usize,
}

impl<'a> FlexModel<'a> {
    /// Sets networks up, with scales that end with so many tokens each; if `None`, with 1, 2, 4 and so
    /// on up to all.
    ///
    /// # Errors
    /// The settings are out of range, the networks do not belong together, a prefix is not longer
    /// than the one before, or the last one is longer than an image.
    pub fn new(
        networks: impl Into<Lazy<'a, FlexNetworks>>,
        settings: Settings,
        prefixes: Option<&[usize]>,
    ) -> Result<Self> {
        let networks = networks.into();
        let measured = networks.measured();
        measured.check()?;
        let tokens = measured.prior.sizes().tokens;
        let groups = groups(prefixes, tokens)?;
        settings.check(groups.len())?;
        Ok(Self {
            size: measured.latent_size(),
            networks,
            settings,
            groups,
            rows_at_once: usize::MAX,
        })
    }

    /// The same for latents of (rows, columns) cells.
    pub fn with_latent_size(self, size: (usize, usize)) -> Self {
        Self { size, ..self }
    }

    /// Runs at most `rows` rows through the network together, which saves memory and changes no
    /// result.
    pub fn with_rows_at_once(self, rows: usize) -> Self {
        Self {
            rows_at_once: rows.max(1),
            ..self
        }
    }

    /// The numbers of tokens that the scales add.
    pub fn groups(&self) -> &[usize] {
        &self.groups
    }

    /// Rows and columns of a latent.
    pub fn latent_size(&self) -> (usize, usize) {
        self.size
    }

    /// Values of the noise from which an image is decoded.
    pub(super) fn noise_values(&self) -> usize {
        self.networks.measured().flow.sizes().channels * self.size.0 * self.size.1
    }

    /// Pixels of an image along one side of a latent cell.
    pub(super) fn patch(&self) -> usize {
        self.networks.measured().vae.patch()
    }

    /// Returns whether there is an unconditional branch at any scale.
    pub(super) fn uses_guidance(&self) -> bool {
        StepCosts::branches(self, 0) > 1
    }

    /// The conditions of a class, for all branches.
    pub(super) fn class_conditions(&self, class: usize) -> Result<Vec<Condition>> {
        let networks = self.networks.get()?;
        let prior = &networks.prior;
        let mut conditions = vec![prior.class(Some(class))?];
        if self.uses_guidance() {
            conditions.push(prior.class(None)?);
        }
        if StepCosts::branches(self, 0) > conditions.len() {
            conditions.push(prior.class(Some(0))?);
        }
        Ok(conditions)
    }

    /// Latents of prefixes of tokens, each from its noise, in so many steps: (B, C, h, w) each
    ///
    /// # Errors
    /// The network fails.
    pub fn latents(
        &self,
        prefixes: &[&[u32]],
        noise: &[&[f32]],
        steps: usize,
    ) -> Result<Vec<Tensor>> {
        let networks = self.networks.get()?;
        let flow = &networks.flow;
        let weight = f64::from(self.settings.decoder_cfg);
        let guidance = FlowGuidance {
            weight: &|_| weight,
            projected: networks.projected_guidance,
        };
        let (rows, columns) = self.size;
        let at_once = FLOWS_AT_ONCE.min(self.rows_at_once);
        let mut all = vec![];
        let chunks = prefixes.chunks(at_once).zip(noise.chunks(at_once));
        for (prefixes, noise) in chunks {
            let registers = prefixes
                .iter()
                .map(|prefix| flow.condition(prefix, &mut |_, _, _| ()));
            let registers = registers.collect::<Result<Vec<_>>>()?;
            let registers = Tensor::stack(&registers, 0)?;
            let shape = (noise.len(), flow.sizes().channels, rows, columns);
            let noise = Tensor::from_vec(noise.concat(), shape, &Device::Cpu)?;
            let latents = flow.sample(&noise, &registers, steps, &guidance, &mut |_, _| ())?;
            for row in 0..prefixes.len() {
                all.push(latents.narrow(0, row, 1)?.contiguous()?);
            }
        }
        Ok(all)
    }

    /// The image of a latent (1, C, h, w).
    ///
    /// # Errors
    /// The network fails, or the image has numbers that are not finite.
    pub fn image(&self, latent: &Tensor, size: DecodeSize) -> Result<Image> {
        let networks = self.networks.get()?;
        let latent = (latent / networks.scaling_factor)?;
        let (device, dtype) = networks.flow.place();
        let latent = bilinear(&latent, decoded_cells(size, self.size, self.patch()))?
            .to_device(device)?
            .to_dtype(dtype)?;
        to_image(&networks.vae.forward(&latent)?)
    }

    /// The number of steps in which images are decoded; `finished` are those after the last scale.
    pub(super) fn steps(&self, finished: bool) -> usize {
        match finished {
            true => self.settings.decoder_steps,
            false => self.settings.preview_steps,
        }
    }

    /// Operations of decoding an image in so many steps.
    pub(super) fn flops_in(&self, steps: usize, size: DecodeSize) -> f64 {
        let (rows, columns) = decoded_cells(size, self.size, self.patch());
        let flow = self.networks.measured().flow.sizes();
        let branches = self.settings.decoder_branches();
        let of_step = branches as f64 * flow.flops(self.size) + flow.time_flops();
        steps as f64 * of_step + self.networks.measured().vae.flops(rows * columns)
    }
}

/// Operations of one row of one branch at a scale of `tokens` tokens that sees `seen` tokens at its
/// end.
pub(super) fn row_flops(sizes: &Sizes, tokens: usize, seen: usize, text: usize) -> f64 {
    let before = seen.saturating_sub(tokens);
    let flops = |token| sizes.token_flops(before + token, text);
    (1..=tokens).map(flops).sum()
}

/// Bytes of the flows that run together.
pub(super) fn flow_bytes(
    flow: &FlowSizes,
    settings: &Settings,
    rows_at_once: usize,
    latent: (usize, usize),
) -> u64 {
    let rows = FLOWS_AT_ONCE.min(rows_at_once) * settings.decoder_branches();
    flow.activation_bytes(rows, latent, DType::F32)
}

impl StepCosts for FlexModel<'_> {
    fn tokens(&self, scale: usize) -> usize {
        self.groups[scale]
    }

    fn branches(&self, scale: usize) -> usize {
        self.settings.branches(scale, self.groups.len())
    }

    fn rows_at_once(&self) -> usize {
        self.rows_at_once
    }

    fn text_flops(&self, tokens: usize) -> f64 {
        self.networks.measured().prior.sizes().text_flops(tokens)
    }

    fn row_flops(&self, tokens: usize, seen: usize, text: usize) -> f64 {
        row_flops(self.networks.measured().prior.sizes(), tokens, seen, text)
    }

    fn decode_flops(&self, size: DecodeSize) -> f64 {
        self.flops_in(self.settings.decoder_steps, size)
    }

    fn preview_flops(&self, size: DecodeSize) -> f64 {
        self.flops_in(self.settings.preview_steps, size)
    }

    fn decode_bytes(&self) -> u64 {
        let flow = self.networks.measured().flow.sizes();
        flow_bytes(flow, &self.settings, self.rows_at_once, self.size)
            .max(self.networks.measured().vae.activation_bytes(self.size))
    }

    fn kv_bytes(&self, tokens: usize) -> u64 {
        self.networks.measured().prior.kv_bytes(tokens)
    }

    fn activation_bytes(&self, rows: usize, _: usize, seen: usize) -> u64 {
        self.networks
            .measured()
            .prior
            .sizes()
            .activation_bytes(rows, seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_double_the_number_of_tokens() {
        assert_eq!(doubling(256), [1, 1, 2, 4, 8, 16, 32, 64, 128]);
        assert_eq!(doubling(10), [1, 1, 2, 4, 2]);
        assert_eq!(doubling(1), [1]);
        assert_eq!(groups(Some(&[4, 8, 10]), 10).unwrap(), [4, 4, 2]);
        for wrong in [&[][..], &[0, 2], &[2, 2], &[4, 11]] {
            assert!(groups(Some(wrong), 10).is_err(), "{wrong:?}");
        }
    }
}

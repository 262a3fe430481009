//! Models whose tokens are codes of a codebook, which a transformer predicts scale by scale and a
//! VQ-VAE decodes: what VAR, HART and Switti have in common.

use std::sync::{Arc, OnceLock};

use candle_core::{DType, Device, Tensor};
use ttsvar_search::{DecodeSize, Image, rng::Stream};

use super::{
    Edit, Editor, check_hidden_block,
    codes::{Drawn, Sampling, check_tokenizer, draw_tokens_noting},
    costs::StepCosts,
    edit::{self, ImageScale, PreparedEdit},
    rollout::{ScaleModel, ScaleOutput, ScaleStep},
    truncation::DrawSums,
};
use crate::{
    Result,
    hub::Bundle,
    loading::{Lazy, Loader},
    models::vq_vae::{self, Decoder, Encoder, Quantizer},
};

/// The networks of a generator, without text encoders.
pub struct CodebookNetworks<T> {
    /// Predicts tokens.
    pub transformer: T,
    /// Tokens to latents.
    pub quantizer: Quantizer,
    /// Latents to images.
    pub decoder: Decoder,
}

impl<T: CodebookTransformer> CodebookNetworks<T> {
    /// A transformer with its tokenizer.
    pub(super) fn new(transformer: T, (quantizer, decoder): (Quantizer, Decoder)) -> Self {
        Self {
            transformer,
            quantizer,
            decoder,
        }
    }

    /// Checks that the networks belong together.
    ///
    /// # Errors
    /// The decoder or the codebook has other sizes than the transformer.
    pub(super) fn check(&self) -> Result<()> {
        let sizes = self.transformer.codebook();
        let checked = check_tokenizer(sizes, &self.quantizer, &self.decoder);
        checked.map_err(|error| match T::TOKENIZER {
            Some(name) => error.with_hint(format!(
                "use the tokenizer that was released with the transformer, {name}"
            )),
            None => error,
        })
    }
}

/// Settings of sampling and guidance of such a model with `scales` scales.
pub trait CodebookSettings: Sync {
    /// The weight t of guidance at a scale: `(1 + t) * conditional - t * unconditional`.
    fn guidance(&self, scale: usize, scales: usize) -> f64;

    /// How the tokens of a scale are drawn.
    fn sampling(&self, scale: usize, scales: usize) -> Sampling;

    /// The temperature of a scale.
    fn tau(&self, scale: usize) -> f32;

    /// Returns whether statistics of the drawn tokens are wanted.
    fn wants_statistics(&self) -> bool;

    /// Checks that all settings are in range and have at most one value for each scale.
    ///
    /// # Errors
    /// A number is out of range, or a list is too long.
    fn check(&self, scales: usize) -> Result<()>;

    /// The number of guidance branches at a scale: conditional, and unconditional unless guidance
    /// has no weight there and at all later scales.
    ///
    /// At a scale without guidance before one with it, the unconditional branch runs for its keys
    /// and values, which the later scale may attend to.
    fn branches(&self, scale: usize, scales: usize) -> usize {
        let guided = (scale..scales).any(|scale| self.guidance(scale, scales) != 0.0);
        if guided { 2 } else { 1 }
    }
}

/// The transformer of a family.
pub trait CodebookTransformer: Send + Sync + Sized {
    /// Settings of sampling and guidance.
    type Settings: CodebookSettings;
    /// What one branch of guidance is conditioned on, prepared for the network.
    type Condition: Send + Sync;
    /// What a candidate draws at a scale.
    type Drawn;

    /// The file of the tokenizer that was released with it, if there is only one.
    const TOKENIZER: Option<&'static str> = None;

    /// Whether the last scale adds what the codes leave over of a latent, instead of codes alone.
    const HAS_RESIDUAL: bool = false;

    /// The token grids (rows, columns), coarse to fine.
    fn grids(&self) -> &[(usize, usize)];
    /// The number of blocks.
    fn depth(&self) -> usize;
    /// Width of the hidden states.
    fn width(&self) -> usize;
    /// The number of codes, and of values of a code.
    fn codebook(&self) -> [usize; 2];
    /// Where the network computes, and in which type.
    fn place(&self) -> (&Device, DType);

    /// Tokens that run at a scale.
    fn tokens(&self, scale: usize) -> usize;
    /// [`StepCosts::text_flops`].
    fn text_flops(&self, tokens: usize) -> f64;
    /// [`StepCosts::row_flops`].
    fn row_flops(&self, tokens: usize, seen: usize, text: usize) -> f64;
    /// [`StepCosts::extra_flops`].
    fn extra_flops(&self, _settings: &Self::Settings, _scale: usize) -> f64 {
        0.0
    }
    /// [`StepCosts::kv_bytes`].
    fn row_kv_bytes(&self, tokens: usize) -> u64;
    /// [`StepCosts::latent_bytes`].
    fn latent_bytes(&self) -> u64 {
        0
    }
    /// [`StepCosts::activation_bytes`].
    fn activation_bytes(&self, rows: usize, tokens: usize, seen: usize) -> u64;

    /// The number of text tokens that a branch attends to beside the codes.
    fn text_tokens(_condition: &Self::Condition) -> usize {
        0
    }

    /// [`ScaleModel::forward`] with guidance of this weight.
    ///
    /// # Errors
    /// The network fails.
    fn run(
        &self,
        step: &ScaleStep<Vec<Self::Condition>>,
        guidance: f64,
        watch: &mut dyn FnMut(usize, usize, &Tensor),
    ) -> Result<ScaleOutput>;

    /// What a candidate draws with its codes.
    fn drawn(&self, codes: Drawn, scale: usize, stream: &mut Stream) -> Self::Drawn;

    /// [`ScaleModel::add`].
    ///
    /// # Errors
    /// The network fails.
    fn add(
        model: &CodebookModel<Self>,
        scale: usize,
        sum: Option<&Tensor>,
        drawn: &Self::Drawn,
        last: Option<&[Tensor]>,
    ) -> Result<Tensor>;
}

/// Generates images: everything except text encoders.
pub struct CodebookModel<'a, T: CodebookTransformer> {
    pub(super) networks: Lazy<'a, CodebookNetworks<T>>,
    pub(super) settings: T::Settings,
    rows_at_once: usize,
    hidden_block: Option<usize>,
    edit: Option<Arc<Edit>>,
    prepared_edit: OnceLock<PreparedEdit>,
}

impl<'a, T: CodebookTransformer> CodebookModel<'a, T> {
    /// Sets networks up.
    ///
    /// # Errors
    /// The settings are out of range, or the networks do not belong together.
    pub fn new(
        networks: impl Into<Lazy<'a, CodebookNetworks<T>>>,
        settings: T::Settings,
    ) -> Result<Self> {
        let networks = networks.into();
        networks.measured().check()?;
        settings.check(networks.measured().transformer.grids().len())?;
        Ok(Self {
            networks,
            settings,
            rows_at_once: usize::MAX,
            hidden_block: None,
            edit: None,
            prepared_edit: OnceLock::new(),
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
        check_hidden_block(block, self.sizes().depth())?;
        Ok(Self {
            hidden_block: block,
            ..self
        })
    }

    /// Generates a part of an image again, instead of a whole one.
    ///
    /// # Errors
    /// The latent of the image has another shape than the model's.
    pub fn with_edit(self, edit: Option<Arc<Edit>>) -> Result<Self> {
        if let Some(edit) = &edit {
            edit.check(self.channels(), self.latent_size())?;
        }
        Ok(Self { edit, ..self })
    }

    /// The edit with the scales of its image, which are made when they are needed first: networks
    /// are not read before the prompt is encoded.
    fn prepared_edit(&self) -> Result<Option<&PreparedEdit>> {
        let Some(edit) = &self.edit else {
            return Ok(None);
        };
        if self.prepared_edit.get().is_none() {
            let prepared = PreparedEdit::new(&edit.part, self.scales_of(&edit.latent)?)?;
            let _ = self.prepared_edit.set(prepared);
        }
        Ok(self.prepared_edit.get())
    }

    /// The scales of an image's latent.
    fn scales_of(&self, latent: &Tensor) -> Result<Vec<ImageScale>> {
        let networks = self.networks.get()?;
        let quantizer = &networks.quantizer;
        let scales = quantizer.quantize(latent, self.grids())?;
        let scales = scales.into_iter().zip(self.grids()).map(|(scale, grid)| {
            Ok(ImageScale {
                grid: *grid,
                codes: quantizer.codes(&scale.ids, *grid)?,
                sum: scale.sum,
            })
        });
        let mut scales = scales.collect::<Result<Vec<_>>>()?;
        if let Some(last) = scales.last_mut()
            && T::HAS_RESIDUAL
        {
            last.sum = latent.clone();
        }
        Ok(scales)
    }

    /// The transformer where only its sizes matter.
    pub(super) fn sizes(&self) -> &'a T {
        &self.networks.measured().transformer
    }

    /// Returns whether there is an unconditional branch at any scale.
    pub(super) fn uses_guidance(&self) -> bool {
        self.branches(0) == 2
    }

    /// Adds codes to a running sum (1, channels, rows, columns).
    pub(super) fn add_codes(
        &self,
        scale: usize,
        sum: Option<&Tensor>,
        drawn: &Drawn,
    ) -> Result<Tensor> {
        let networks = self.networks.get()?;
        let quantizer = &networks.quantizer;
        let grids = self.grids();
        let codes = drawn.map(quantizer, grids[scale])?;
        let add = |codes: &Tensor| {
            Ok(quantizer.add(sum, codes, self.latent_size(), [scale, grids.len()])?)
        };
        match self.prepared_edit()? {
            Some(edit) => edit.add(scale, &codes, add),
            None => add(&codes),
        }
    }

    /// The running sum after a scale; in an edit, that of its image outside of its part.
    pub(super) fn edited(&self, scale: usize, sum: Tensor) -> Result<Tensor> {
        match self.prepared_edit()? {
            Some(edit) => edit.with_sum_of_image(scale, &sum),
            None => Ok(sum),
        }
    }
}

impl<T: CodebookTransformer> StepCosts for CodebookModel<'_, T> {
    fn tokens(&self, scale: usize) -> usize {
        self.sizes().tokens(scale)
    }

    fn branches(&self, scale: usize) -> usize {
        self.settings.branches(scale, self.grids().len())
    }

    fn rows_at_once(&self) -> usize {
        self.rows_at_once
    }

    fn text_flops(&self, tokens: usize) -> f64 {
        self.sizes().text_flops(tokens)
    }

    fn row_flops(&self, tokens: usize, seen: usize, text: usize) -> f64 {
        self.sizes().row_flops(tokens, seen, text)
    }

    fn extra_flops(&self, scale: usize) -> f64 {
        self.sizes().extra_flops(&self.settings, scale)
    }

    fn decode_flops(&self, size: DecodeSize) -> f64 {
        let (rows, columns) = self.decoded_cells(size);
        self.networks.measured().decoder.flops(rows * columns)
    }

    fn decode_bytes(&self) -> u64 {
        self.networks
            .measured()
            .decoder
            .activation_bytes(self.latent_size())
    }

    fn kv_bytes(&self, tokens: usize) -> u64 {
        self.sizes().row_kv_bytes(tokens)
    }

    fn latent_bytes(&self) -> u64 {
        self.sizes().latent_bytes()
    }

    fn hidden_width(&self) -> usize {
        let width = |_| self.sizes().width();
        self.hidden_block.map_or(0, width)
    }

    fn activation_bytes(&self, rows: usize, tokens: usize, seen: usize) -> u64 {
        self.sizes().activation_bytes(rows, tokens, seen)
    }
}

impl<T: CodebookTransformer> ScaleModel for CodebookModel<'_, T> {
    /// What each branch of guidance is conditioned on.
    type Conditions = Vec<T::Condition>;
    type Drawn = T::Drawn;

    fn grids(&self) -> &[(usize, usize)] {
        self.sizes().grids()
    }

    fn channels(&self) -> usize {
        self.networks.measured().quantizer.channels()
    }

    fn latent_size(&self) -> (usize, usize) {
        self.grids().last().copied().unwrap_or((1, 1))
    }

    fn patch(&self) -> usize {
        self.networks.measured().decoder.patch()
    }

    fn device(&self) -> &Device {
        self.sizes().place().0
    }

    fn dtype(&self) -> DType {
        self.sizes().place().1
    }

    fn hidden_block(&self) -> Option<usize> {
        self.hidden_block
    }

    fn wants_statistics(&self) -> bool {
        self.settings.wants_statistics()
    }

    fn tau(&self, scale: usize) -> f32 {
        self.settings.tau(scale)
    }

    fn text_tokens(&self, conditions: &Vec<T::Condition>) -> Vec<usize> {
        conditions.iter().map(T::text_tokens).collect()
    }

    fn input_tokens(&self, scale: usize, sum: &Tensor) -> Result<Tensor> {
        let grid = self.grids()[scale];
        Ok(self.networks.get()?.quantizer.tokens(sum, grid)?)
    }

    fn forward(
        &self,
        step: &ScaleStep<Vec<T::Condition>>,
        watch: &mut dyn FnMut(usize, usize, &Tensor),
    ) -> Result<ScaleOutput> {
        let guidance = self.settings.guidance(step.scale, self.grids().len());
        self.networks.get()?.transformer.run(step, guidance, watch)
    }

    fn draw(
        &self,
        scale: usize,
        logits: &[f32],
        stream: &mut Stream,
        sums: Option<&mut DrawSums>,
    ) -> T::Drawn {
        let sampling = self.settings.sampling(scale, self.grids().len());
        let vocabulary = self.networks.measured().quantizer.vocabulary();
        let codes = draw_tokens_noting(logits, vocabulary, &sampling, stream, sums);
        self.sizes().drawn(codes, scale, stream)
    }

    fn add(
        &self,
        scale: usize,
        sum: Option<&Tensor>,
        drawn: &T::Drawn,
        last: Option<&[Tensor]>,
    ) -> Result<Tensor> {
        T::add(self, scale, sum, drawn, last)
    }

    fn decode(&self, latent: &Tensor) -> Result<Tensor> {
        let networks = self.networks.get()?;
        let decode = |latent: &Tensor| networks.decoder.forward(latent);
        let decoded = decode(latent)?;
        match self.prepared_edit()? {
            Some(edit) => edit.composed(decoded, decode),
            None => Ok(decoded),
        }
    }
}

/// Encodes images with the tokenizer of a model, which is read for edits only.
pub(super) struct CodebookEditor {
    /// The files of the model.
    pub bundle: Bundle,
    /// Reads them.
    pub loader: Loader,
}

impl Editor for CodebookEditor {
    fn encode(&self, image: &Image) -> Result<Tensor> {
        let source = self.bundle.vae_weights(&vq_vae::SIGNATURE)?;
        let weights = self.loader.weights(source, self.loader.dtype);
        let encoder = Encoder::load(&weights)?;
        edit::latent(image, &weights, |pixels| encoder.forward(pixels))
    }
}

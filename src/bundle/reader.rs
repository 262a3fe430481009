//! Reads the networks of a bundle, and notes what was noticed on the way.

use std::sync::Arc;

use candle_core::{DType, Device};

use crate::{
    Error, Result,
    hub::{self, Description},
    models::{bsq_vae::Decoder, dinov2::Dinov2, infinity::Infinity, t5::T5Encoder},
    nn::{TensorSource, Weights},
    pipelines::infinity::T5Text,
    scorers::ImageReward,
    text::{T5Tokenizer, WordPieceTokenizer},
};

/// Buffers that checkpoints carry and no model reads: they can be computed.
const BUFFERS: [&str; 6] = ["zero_k_bias", "lvl_1L", "attn_bias_for_masking", "lfq.mask", "position_ids", "mask_token"];

/// Parts of checkpoints that this program has no use for.
const UNUSED: [&str; 5] = ["encoder.", "quantize.", "quantizer.", "blip.vision_proj.", "blip.text_proj."];

/// The files of a bundle, and how their weights are kept.
#[derive(Clone)]
pub(super) struct Reader {
    bundle: hub::Bundle,
    dtype: DType,
    device: Device,
}

/// A network as it was read.
pub(super) struct Read<T> {
    pub network: T,
    /// Bytes that it keeps.
    pub bytes: u64,
    /// The file, and its tensors that no model knows.
    unknown: (String, Vec<String>),
}

/// What was noticed of the networks of a bundle.
#[derive(Default)]
pub(super) struct Noted {
    /// Tensors that the files have and the models do not know: file, names.
    pub unknown: Vec<(String, Vec<String>)>,
    /// Bytes of the networks that were handed over by [`Noted::network`].
    pub bytes: u64,
}

impl Noted {
    /// Notes the tensors that nobody knows.
    pub fn unknown<T>(&mut self, read: &Read<T>) {
        self.unknown.extend(Some(read.unknown.clone()).filter(|(_, names)| !names.is_empty()));
    }

    /// A network that stays.
    pub fn network<T>(&mut self, read: Read<T>) -> T {
        self.unknown(&read);
        self.bytes += read.bytes;
        read.network
    }
}

impl Reader {
    pub fn new(bundle: hub::Bundle, dtype: DType, device: &Device) -> Self {
        Self { bundle, dtype, device: device.clone() }
    }

    pub fn description(&self) -> &Description {
        &self.bundle.description
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    fn read<T>(
        &self,
        source: Arc<dyn TensorSource>,
        ours: &str,
        load: impl FnOnce(&Weights) -> Result<T>,
    ) -> Result<Read<T>> {
        let origin = source.origin();
        let weights = Weights::new(source, self.dtype, &self.device);
        let network = load(&weights)?;
        let known = |name: &String| {
            BUFFERS.iter().any(|buffer| name.ends_with(buffer)) || UNUSED.iter().any(|part| name.starts_with(part))
        };
        let unknown = weights.unread().into_iter().filter(|name| name.starts_with(ours) && !known(name)).collect();
        Ok(Read { network, bytes: weights.bytes_kept(), unknown: (origin, unknown) })
    }

    pub fn transformer(&self) -> Result<Read<Infinity>> {
        self.read(self.bundle.generator_weights()?, "", Infinity::load)
    }

    pub fn decoder(&self) -> Result<Read<Decoder>> {
        self.read(self.bundle.vae_weights()?, "", |w| Decoder::load(&w.pp("decoder")))
    }

    pub fn text(&self) -> Result<Read<T5Text>> {
        let tokenizer = T5Tokenizer::open(&self.bundle.tokenizer()?)?;
        let config = self.bundle.text_config()?.json()?;
        // The published files hold a decoder too, so only what is left over of the encoder says something.
        let encoder = |w: &Weights| Ok(T5Text { tokenizer, encoder: T5Encoder::load(w, &config)? });
        self.read(self.bundle.text_weights()?, "encoder.block", encoder)
    }

    pub fn scorer(&self) -> Result<Read<ImageReward>> {
        let bundle = &self.bundle;
        let absent = || {
            Error::input(format!("the bundle `{}` has no scorer", bundle.description.name))
                .with_hint("name one in a [scorer] table of its bundle.toml")
        };
        let heads = bundle.description.scorer.as_ref().ok_or_else(absent)?.heads;
        let config = bundle.scorer_config()?.ok_or_else(absent)?.json()?;
        let tokenizer = WordPieceTokenizer::open(&bundle.scorer_vocabulary()?.ok_or_else(absent)?)?;
        let weights = bundle.scorer_weights()?.ok_or_else(absent)?;
        self.read(weights, "", |w| ImageReward::load(w, &config, heads, tokenizer))
    }

    /// `None` where the bundle has none.
    pub fn features(&self) -> Result<Option<Read<Dinov2>>> {
        let (Some(features), Some(weights)) = (&self.bundle.description.features, self.bundle.features_weights()?)
        else {
            return Ok(None);
        };
        Ok(Some(self.read(weights, "", |w| Dinov2::load(w, features.heads))?))
    }
}

//! Reads the networks of a bundle, and notes what was noticed on the way.

use std::sync::Arc;

use candle_core::{DType, Device};
use serde::Deserialize;

use crate::{
    Result,
    hub::{self, Description},
    models::{bsq_vae::Decoder, dinov2::Dinov2, infinity::Infinity, t5::T5Encoder},
    nn::{TensorSource, Weights},
    pipelines::infinity::T5Text,
    text::T5Tokenizer,
};

/// What checkpoints carry and no model reads: buffers that can be computed, and a token for
/// training.
const BUFFERS: [&str; 6] = [
    "zero_k_bias",
    "lvl_1L",
    "attn_bias_for_masking",
    "lfq.mask",
    "position_ids",
    "mask_token",
];

/// What the `config.json` beside a DINOv2 may say.
#[derive(Deserialize)]
struct Dinov2Config {
    num_attention_heads: Option<usize>,
}

/// The files of a bundle, and how their weights are kept.
#[derive(Clone)]
pub(super) struct Reader {
    pub bundle: hub::Bundle,
    pub kept: Kept,
}

/// How weights are kept.
#[derive(Clone)]
pub(super) struct Kept {
    pub dtype: DType,
    pub device: Device,
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
        self.unknown
            .extend(Some(read.unknown.clone()).filter(|(_, names)| !names.is_empty()));
    }

    /// A network that stays.
    pub fn network<T>(&mut self, read: Read<T>) -> T {
        self.unknown(&read);
        self.bytes += read.bytes;
        read.network
    }
}

impl Kept {
    /// A network of the tensors of `source`; those below `ours` should all be known, but for those
    /// below one of `unused`.
    pub fn read<T>(
        &self,
        source: Arc<dyn TensorSource>,
        ours: &str,
        unused: &[&str],
        load: impl FnOnce(&Weights) -> Result<T>,
    ) -> Result<Read<T>> {
        let origin = source.origin();
        let weights = Weights::new(source, self.dtype, &self.device);
        let network = load(&weights)?;
        let known = |name: &String| {
            BUFFERS.iter().any(|buffer| name.ends_with(buffer))
                || unused.iter().any(|part| name.starts_with(part))
        };
        let unknown = weights
            .unread()
            .into_iter()
            .filter(|name| name.starts_with(ours) && !known(name))
            .collect();
        Ok(Read {
            network,
            bytes: weights.bytes_kept(),
            unknown: (origin, unknown),
        })
    }
}

impl Reader {
    pub fn new(bundle: hub::Bundle, dtype: DType, device: &Device) -> Self {
        Self {
            bundle,
            kept: Kept {
                dtype,
                device: device.clone(),
            },
        }
    }

    pub fn description(&self) -> &Description {
        &self.bundle.description
    }

    pub fn transformer(&self) -> Result<Read<Infinity>> {
        self.kept
            .read(self.bundle.generator_weights()?, "", &[], Infinity::load)
    }

    pub fn decoder(&self) -> Result<Read<Decoder>> {
        let unused = ["encoder.", "quantize.", "quantizer."];
        self.kept
            .read(self.bundle.vae_weights()?, "", &unused, |w| {
                Decoder::load(&w.pp("decoder"))
            })
    }

    pub fn text(&self) -> Result<Read<T5Text>> {
        let tokenizer = T5Tokenizer::open(&self.bundle.tokenizer()?)?;
        let config = self.bundle.text_config()?.json()?;
        // The published files hold a decoder too, so only what is left over of the encoder says
        // something.
        let encoder = |w: &Weights| {
            Ok(T5Text {
                tokenizer,
                encoder: T5Encoder::load(w, &config)?,
            })
        };
        self.kept
            .read(self.bundle.text_weights()?, "encoder.block", &[], encoder)
    }

    /// `None` where the bundle has none.
    pub fn features(&self) -> Result<Option<Read<Dinov2>>> {
        let (Some(features), Some(weights)) = (
            &self.bundle.description.features,
            self.bundle.features_weights()?,
        ) else {
            return Ok(None);
        };
        let config = self
            .bundle
            .features_config()?
            .map(|config| config.json::<Dinov2Config>())
            .transpose()?;
        let heads = features
            .heads
            .or(config.and_then(|config| config.num_attention_heads));
        Ok(Some(
            self.kept
                .read(weights, "", &[], |w| Dinov2::load(w, heads))?,
        ))
    }
}

//! Encodes prompts as text features with T5, which Infinity and FlexAR read.

use std::sync::Arc;

use candle_core::Tensor;
use ttsvar_search::PromptReader;

use super::Prepared;
use crate::{
    Result,
    hub::Bundle,
    loading::{Evict, Evictable, LoadReport, Loaded, Loader},
    models::t5::{T5Encoder, T5Sizes},
    nn::{Weights, check_finite},
    text::T5Tokenizer,
};

/// The encoder of flan-t5-xl (its `config.json`).
pub(super) const FLAN_T5_XL: T5Sizes = T5Sizes {
    rows: 32128,
    width: 2048,
    inner: 2048,
    hidden: 5120,
    heads: 32,
    buckets: 32,
    layers: 24,
};

/// The text encoder of a pipeline.
pub trait TextEncoder: Send + Sync {
    /// Features of a prompt, without padding: (tokens, width)
    fn encode(&self, prompt: &str) -> Result<Tensor>;

    /// Features of several texts that one search needs.
    ///
    /// # Errors
    /// As [`TextEncoder::encode`].
    fn encode_all(&self, prompts: &[String]) -> Result<Vec<Tensor>> {
        prompts.iter().map(|prompt| self.encode(prompt)).collect()
    }

    /// Encodes texts that will be needed, if the network does not stay in memory.
    ///
    /// # Errors
    /// As [`TextEncoder::encode`].
    fn prepare(&self, _prompts: &[String]) -> Result<()> {
        Ok(())
    }

    /// The reader of prompts for warnings, if long prompts are cut.
    fn prompt_reader(&self) -> Option<Arc<dyn PromptReader>> {
        None
    }

    /// Width of the features.
    fn width(&self) -> usize;

    /// Floating-point operations for a prompt of `tokens` tokens.
    fn flops(&self, tokens: usize) -> f64;
}

/// The encoder that the released models were trained with.
pub struct T5Text {
    /// Prompts to token ids.
    pub tokenizer: Arc<T5Tokenizer>,
    /// Token ids to features.
    pub encoder: T5Encoder,
}

impl TextEncoder for T5Text {
    fn encode(&self, prompt: &str) -> Result<Tensor> {
        let features = self.encoder.encode(&self.tokenizer.encode(prompt)?)?;
        check_finite("the text features", &features)?;
        Ok(features)
    }

    fn prompt_reader(&self) -> Option<Arc<dyn PromptReader>> {
        Some(self.tokenizer.prompt_reader())
    }

    fn width(&self) -> usize {
        self.encoder.sizes().width
    }

    fn flops(&self, tokens: usize) -> f64 {
        self.encoder.sizes().flops(tokens)
    }
}

/// The text encoder, which may be evicted between its uses.
pub(super) struct EvictableText {
    pub encoder: Evictable<T5Text>,
    /// Features of prompts that will be needed.
    prepared: Prepared<Tensor>,
    /// Stays in memory, for warnings.
    tokenizer: Arc<T5Tokenizer>,
}

impl EvictableText {
    /// Opens the text encoder of a bundle for prompts of at most `limit` tokens. It is read at its
    /// first use.
    ///
    /// # Errors
    /// A file is missing, or its header is damaged.
    pub fn open(
        bundle: &Bundle,
        loader: &Loader,
        limit: usize,
        resident: bool,
        report: &mut LoadReport,
    ) -> Result<Self> {
        let bundle = bundle.clone();
        let load = move |loader: &Loader| load(&bundle, loader, limit);
        let encoder = Evictable::new("text encoder", &loader.of_text(), resident, report, load)?;
        Ok(Self {
            tokenizer: encoder.measured().tokenizer.clone(),
            prepared: Prepared::default(),
            encoder,
        })
    }

    fn sizes(&self) -> &T5Sizes {
        self.encoder.measured().encoder.sizes()
    }

    /// Encodes prompts with the network in memory once.
    fn encode_now(&self, prompts: &[String]) -> Result<Vec<Tensor>> {
        let network = self.encoder.get()?;
        let features = prompts.iter().map(|prompt| network.encode(prompt));
        features.collect()
    }
}

fn load(bundle: &Bundle, loader: &Loader, limit: usize) -> Result<Loaded<T5Text>> {
    let tokenizer = Arc::new(T5Tokenizer::open_limited(&bundle.tokenizer()?, limit)?);
    let config = bundle.text_config()?.json()?;
    let load = |weights: &Weights| {
        let encoder = T5Encoder::load(weights, &config)?;
        Ok(T5Text { tokenizer, encoder })
    };
    // The published files hold a decoder too; report only unread tensors of the encoder.
    loader.load(
        bundle.text_weights(&T5Encoder::SIGNATURE)?,
        "encoder.block",
        &[],
        load,
    )
}

impl TextEncoder for EvictableText {
    fn encode(&self, prompt: &str) -> Result<Tensor> {
        self.prepared
            .get(prompt, || self.encoder.get()?.encode(prompt))
    }

    fn encode_all(&self, prompts: &[String]) -> Result<Vec<Tensor>> {
        let found = prompts.iter().map(|prompt| self.prepared.find(prompt));
        match found.collect::<Option<Vec<Tensor>>>() {
            Some(features) => Ok(features),
            None => self.encode_now(prompts),
        }
    }

    fn prepare(&self, prompts: &[String]) -> Result<()> {
        match self.encoder.is_resident() {
            true => Ok(()),
            false => self
                .prepared
                .fill(prompts, |missing| self.encode_now(missing)),
        }
    }

    fn prompt_reader(&self) -> Option<Arc<dyn PromptReader>> {
        Some(self.tokenizer.prompt_reader())
    }

    fn width(&self) -> usize {
        self.sizes().width
    }

    fn flops(&self, tokens: usize) -> f64 {
        self.sizes().flops(tokens)
    }
}

/// The same features (tokens, width) for every prompt, to run the rest of a pipeline alone.
pub struct FixedText(pub Tensor);

impl TextEncoder for FixedText {
    fn encode(&self, _: &str) -> Result<Tensor> {
        Ok(self.0.clone())
    }

    fn width(&self) -> usize {
        self.0.dims().last().copied().unwrap_or(0)
    }

    fn flops(&self, _: usize) -> f64 {
        0.0
    }
}

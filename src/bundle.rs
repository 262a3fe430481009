//! Everything of one bundle, loaded: generator, text encoder, scorer, features.

use std::{collections::BTreeMap, path::Path, sync::Arc};

pub use candle_core::{DType, Device};

use crate::{
    Error, Result, demo,
    features::{Extractor, Features, dinov2::Dinov2Features},
    hub::{self, description::Defaults},
    models::{
        bsq_vae::Decoder,
        dinov2::Dinov2,
        infinity::{Infinity, Pixels, Schedule},
        t5::T5Encoder,
    },
    nn::{TensorSource, Weights},
    pipelines::{
        Pipeline,
        infinity::{self, InfinityPipeline, Painter, TextEncoder},
    },
    scorers::{ImageReward, Scorer},
    text::{T5Tokenizer, WordPieceTokenizer, unknown_words},
};

/// Name of the bundle that is built into the program.
pub const DEMO: &str = "demo";

/// Buffers that checkpoints carry and no model reads: they can be computed.
const BUFFERS: [&str; 6] = ["zero_k_bias", "lvl_1L", "attn_bias_for_masking", "lfq.mask", "position_ids", "mask_token"];

/// Parts of checkpoints that this program has no use for.
const UNUSED: [&str; 5] = ["encoder.", "quantize.", "quantizer.", "blip.vision_proj.", "blip.text_proj."];

/// How images are to be painted; what is left open is as the model was released.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Guidance and sampling.
    pub drawing: infinity::Settings,
    /// Height divided by width; `None` is square.
    pub aspect: Option<f64>,
    /// Size; `None` is the largest that the model was released for.
    pub pixels: Option<Pixels>,
    /// Rows that run through the network together; `None` is all of them. Changes memory and time, never a picture.
    pub rows_at_once: Option<usize>,
}

impl Settings {
    /// What a bundle's defaults say, and where they are silent what the models were released with.
    pub fn of(defaults: &Defaults) -> Self {
        let released = infinity::Settings::default();
        let or = |said: Option<f64>, released: f32| said.map_or(released, |value| value as f32);
        let drawing = infinity::Settings {
            cfg: or(defaults.cfg, released.cfg),
            tau: or(defaults.tau, released.tau),
            top_p: or(defaults.top_p, released.top_p),
            ..released
        };
        Self { drawing, aspect: None, pixels: None, rows_at_once: None }
    }
}

/// A generator with the networks that judge its images.
pub struct System {
    description: hub::Description,
    device: Device,
    transformer: Infinity,
    decoder: Decoder,
    text: TextEncoder,
    scorer: Box<dyn Scorer>,
    extractors: BTreeMap<Features, Box<dyn Extractor>>,
    unknown_tensors: Vec<(String, Vec<String>)>,
    /// Bytes of all weights.
    bytes: u64,
}

impl System {
    /// Loads a bundle: [`DEMO`], a released model whose downloads lie in the folder `weights`, or a folder with a
    /// `bundle.toml`.
    ///
    /// # Errors
    /// The bundle is not known, a file is missing or damaged, or the parts do not belong together.
    pub fn open(model: &str, weights: Option<&Path>, device: &Device) -> Result<Self> {
        Self::open_as(model, weights, DType::F32, device)
    }

    /// [`System::open`] with the matrices kept as `dtype`, f32 or bf16.
    pub fn open_as(model: &str, weights: Option<&Path>, dtype: DType, device: &Device) -> Result<Self> {
        Self::load(&find(model, weights)?, dtype, device)
    }

    fn load(bundle: &hub::Bundle, dtype: DType, device: &Device) -> Result<Self> {
        let mut loader = Loader { dtype, device, unknown: Vec::new(), bytes: 0 };
        let description = bundle.description.clone();
        let transformer = loader.with(bundle.generator_weights()?, Infinity::load)?;
        let heads = transformer.config().heads;
        if let Some(given) = description.generator.heads.filter(|given| *given != heads) {
            let message = format!("generator.heads is {given}, but the weights have {heads} heads");
            return Err(Error::input(message).with_hint("leave it out of bundle.toml"));
        }
        let decoder = loader.with(bundle.vae_weights()?, |w| Decoder::load(&w.pp("decoder")))?;
        let text = load_text(bundle, &mut loader)?;
        let scorer = load_scorer(bundle, &mut loader)?;
        let extractors = load_features(bundle, &mut loader)?;
        let Loader { unknown: unknown_tensors, bytes, .. } = loader;
        let device = device.clone();
        Ok(Self { description, device, transformer, decoder, text, scorer, extractors, unknown_tensors, bytes })
    }

    /// The bundle's name.
    pub fn name(&self) -> &str {
        &self.description.name
    }

    /// What the bundle's description says.
    pub fn description(&self) -> &hub::Description {
        &self.description
    }

    /// What the bundle says of its settings.
    pub fn defaults(&self) -> &Defaults {
        &self.description.defaults
    }

    /// The settings that go with the bundle, ready to paint with.
    pub fn settings(&self) -> Settings {
        Settings::of(self.defaults())
    }

    /// Tensors that the files have and the models do not know: file, names.
    pub fn unknown_tensors(&self) -> &[(String, Vec<String>)] {
        &self.unknown_tensors
    }

    /// The only words that the generator knows, if they are few.
    pub fn words(&self) -> Option<&[String]> {
        self.description.text.words.as_deref()
    }

    /// The words of a prompt that the generator does not know.
    pub fn unknown_words(&self, prompt: &str) -> Vec<String> {
        self.words().map_or_else(Vec::new, |known| unknown_words(prompt, known))
    }

    /// The generator, set up.
    ///
    /// # Errors
    /// A setting is out of range, or the model has no images of that aspect or size.
    pub fn pipeline(&self, settings: &Settings) -> Result<Box<dyn Pipeline + '_>> {
        self.pipeline_of(&self.schedule(settings)?, settings)
    }

    /// [`System::pipeline`] over token grids of the caller's choice.
    ///
    /// # Errors
    /// A setting is out of range, or the transformer does not know so many scales.
    pub fn pipeline_of(&self, schedule: &Schedule, settings: &Settings) -> Result<Box<dyn Pipeline + '_>> {
        let painter = Painter::new(&self.transformer, &self.decoder, schedule, settings.drawing, &self.device)?;
        let painter = painter.with_rows_at_once(settings.rows_at_once.unwrap_or(usize::MAX));
        Ok(Box::new(InfinityPipeline::new(painter, &self.text, self.bytes)?))
    }

    fn schedule(&self, settings: &Settings) -> Result<Schedule> {
        let generator = &self.description.generator;
        let Some(grids) = &generator.scales else {
            let named = self.defaults().pixels.as_deref().map(str::parse).transpose()?;
            let pixels = settings.pixels.or(named).unwrap_or(Pixels::P1M);
            return Schedule::released(settings.aspect.unwrap_or(1.0), pixels);
        };
        let last = grids.last().copied().unwrap_or((1, 1));
        let own = last.0 as f64 / last.1 as f64;
        if settings.aspect.is_some_and(|aspect| (aspect - own).abs() > 1e-3) || settings.pixels.is_some() {
            let (height, width) = (last.0 * self.decoder.patch(), last.1 * self.decoder.patch());
            return Err(Error::input(format!("`{}` paints images of one size only, {width} x {height}", self.name()))
                .with_hint("leave --aspect and --pixels out"));
        }
        Ok(Schedule { grids: grids.clone(), rope_grid: generator.rope_grid.unwrap_or(last) })
    }

    /// The judge of images.
    pub fn scorer(&self) -> &dyn Scorer {
        self.scorer.as_ref()
    }

    /// What tells images apart, by the names that plans use.
    pub fn extractors(&self) -> &BTreeMap<Features, Box<dyn Extractor>> {
        &self.extractors
    }
}

/// Bytes of the files of [`DEMO`].
pub fn demo_bytes() -> u64 {
    demo::FILES.iter().map(|(_, bytes)| bytes.len() as u64).sum()
}

/// Finds the files of a bundle without loading them; see [`System::open`].
///
/// # Errors
/// There is no such bundle.
pub fn find(model: &str, weights: Option<&Path>) -> Result<hub::Bundle> {
    let released = hub::bundle::RELEASED.contains(&model);
    match weights {
        Some(folder) if released => hub::Bundle::released(model, folder),
        Some(folder) if model == DEMO => hub::Bundle::open(folder),
        Some(_) => Err(Error::input(format!("`{model}` is a folder of its own, `--weights` has no meaning for it"))
            .with_hint("--weights goes with the name of a released model")),
        None if model == DEMO => hub::Bundle::embedded(DEMO, demo::FILES),
        None if released => Err(Error::input(format!("the weights of `{model}` are not part of this program"))
            .with_hint("give the folder with the downloads: `--weights DIR`; `ttsvar models` names the files")),
        None if Path::new(model).is_dir() => hub::Bundle::open(Path::new(model)),
        None => Err(Error::input(format!("unknown model `{model}`")).with_hint(format!(
            "take `{DEMO}`, one of {}, or a folder with a bundle.toml",
            hub::bundle::RELEASED.join(", ")
        ))),
    }
}

/// Reads networks and remembers which tensors none of them knew.
struct Loader<'a> {
    dtype: DType,
    device: &'a Device,
    unknown: Vec<(String, Vec<String>)>,
    bytes: u64,
}

impl Loader<'_> {
    fn with<T>(&mut self, source: Arc<dyn TensorSource>, load: impl FnOnce(&Weights) -> Result<T>) -> Result<T> {
        let origin = source.origin();
        let weights = Weights::new(source, self.dtype, self.device);
        let network = load(&weights)?;
        self.bytes += weights.bytes_kept();
        let known = |name: &String| {
            BUFFERS.iter().any(|buffer| name.ends_with(buffer)) || UNUSED.iter().any(|part| name.starts_with(part))
        };
        let unknown: Vec<String> = weights.unread().into_iter().filter(|name| !known(name)).collect();
        if !unknown.is_empty() {
            self.unknown.push((origin, unknown));
        }
        Ok(network)
    }
}

fn load_text(bundle: &hub::Bundle, loader: &mut Loader) -> Result<TextEncoder> {
    let tokenizer = T5Tokenizer::open(&bundle.tokenizer()?)?;
    let config = bundle.text_config()?.json()?;
    // The published files hold a decoder too, so what is left over says nothing.
    let weights = Weights::new(bundle.text_weights()?, loader.dtype, loader.device);
    let encoder = T5Encoder::load(&weights, &config)?;
    loader.bytes += weights.bytes_kept();
    Ok(TextEncoder::T5 { tokenizer: Box::new(tokenizer), encoder: Box::new(encoder) })
}

fn load_scorer(bundle: &hub::Bundle, loader: &mut Loader) -> Result<Box<dyn Scorer>> {
    let absent = || {
        Error::input(format!("the bundle `{}` has no scorer", bundle.description.name))
            .with_hint("name one in a [scorer] table of its bundle.toml")
    };
    let heads = bundle.description.scorer.as_ref().ok_or_else(absent)?.heads;
    let config = bundle.scorer_config()?.ok_or_else(absent)?.json()?;
    let tokenizer = WordPieceTokenizer::open(&bundle.scorer_vocabulary()?.ok_or_else(absent)?)?;
    let weights = bundle.scorer_weights()?.ok_or_else(absent)?;
    Ok(Box::new(loader.with(weights, |w| ImageReward::load(w, &config, heads, tokenizer))?))
}

fn load_features(bundle: &hub::Bundle, loader: &mut Loader) -> Result<BTreeMap<Features, Box<dyn Extractor>>> {
    let (Some(features), Some(weights)) = (&bundle.description.features, bundle.features_weights()?) else {
        return Ok(BTreeMap::new());
    };
    let model = Arc::new(loader.with(weights, |w| Dinov2::load(w, features.heads))?);
    let size = features.size.map_or(Dinov2Features::SIZE, |(height, width)| [height, width]);
    let extractor =
        |kind: Features| Ok((kind, Box::new(Dinov2Features::new(model.clone(), kind, size)?) as Box<dyn Extractor>));
    [Features::Pca, Features::PcaRaw, Features::PcaAll, Features::Pool].into_iter().map(extractor).collect()
}

//! Everything of one bundle, loaded: generator, text encoder, scorer, features.

mod judge;
mod judging;
mod memory;
mod on_demand;
mod reader;
mod scorers;

use std::{collections::BTreeMap, path::Path, sync::Arc};

pub use candle_core::{DType, Device};
pub use judge::LoadedScorer;
pub use judging::{Name, ScorerMix};
pub use memory::{Fit, most_rows, too_little};

pub use scorers::Scorers;

pub use crate::nn::open_gpu;

use self::{
    judge::{Network, judges},
    on_demand::{BundleFeatures, BundleText, OnDemand},
    reader::{Kept, Noted, Reader},
    scorers::{scorer_files, usual_judging},
};
use crate::{
    Error, Result, demo,
    features::dinov2::Dinov2Features,
    hub::{self, catalog, description::Defaults},
    models::{
        bsq_vae::Decoder,
        dinov2::Dinov2,
        infinity::{Infinity, Pixels, Schedule, TEMPLATES},
    },
    pipelines::infinity::{self, InfinityPipeline, Networks, Painter, cells_of_token},
    text::unknown_words,
};
use ttsvar_search::{Extractor, Features, Pipeline, Scorer};

/// Name of the bundle that is built into the program.
pub const DEMO: &str = "demo";

/// How images are to be painted; what is left open is as the model was released.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Guidance and sampling.
    pub drawing: infinity::Settings,
    /// Height divided by width; `None` is square.
    pub aspect: Option<f64>,
    /// Size; `None` is the largest that the model was released for.
    pub pixels: Option<Pixels>,
    /// Rows that run through the network together; `None` is all of them. Changes memory and time,
    /// never a picture.
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
        Self {
            drawing,
            aspect: None,
            pixels: None,
            rows_at_once: None,
        }
    }
}

/// A size of images that a bundle paints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canvas {
    /// Pixels in a row.
    pub width: usize,
    /// Rows of pixels.
    pub height: usize,
    /// The size as the models were released for it; none where the bundle has one size only.
    pub pixels: Option<Pixels>,
}

/// A generator with the networks that judge its images.
pub struct System {
    description: hub::Description,
    /// What the matrices are kept in.
    dtype: DType,
    device: Device,
    transformer: Infinity,
    decoder: Decoder,
    /// Pixels along one side of a token.
    token: usize,
    text: BundleText,
    judging: Option<ScorerMix>,
    judges: Vec<LoadedScorer>,
    /// The networks of the judges, each once.
    scorers: Vec<Arc<Network>>,
    features: Option<Arc<OnDemand<Dinov2>>>,
    extractors: BTreeMap<Features, Box<dyn Extractor>>,
    unknown_tensors: Vec<(String, Vec<String>)>,
    /// Bytes of transformer and decoder.
    bytes: u64,
}

impl System {
    /// Loads a bundle: [`DEMO`], a released model whose downloads lie in the folder `weights`, or a
    /// folder with a `bundle.toml`.
    ///
    /// # Errors
    /// The bundle is not known, a file is missing or damaged, or the parts do not belong together.
    pub fn open(model: &str, weights: Option<&Path>, device: &Device) -> Result<Self> {
        Self::open_as(model, weights, DType::F32, device)
    }

    /// [`System::open`] with the matrices kept as `dtype`, f32 or bf16.
    pub fn open_as(
        model: &str,
        weights: Option<&Path>,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        Self::open_judged(&find(model, weights)?, None, true, dtype, device)
    }

    /// [`System::open_as`] that reads text encoder, scorer and features once, to see that they can
    /// be read, and gives their memory back. From then on each is read whenever it is needed,
    /// unless [`System::fit`] finds room for it.
    pub fn open_sparingly(
        model: &str,
        weights: Option<&Path>,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        Self::open_judged(&find(model, weights)?, None, false, dtype, device)
    }

    /// Loads a bundle that was found by [`find`], with the scorers that are wanted or, where
    /// nothing is said, its usual one. Everything `stays` in memory, or it is as with
    /// [`System::open_sparingly`].
    ///
    /// # Errors
    /// As [`System::open`], or the bundle has no such scorer.
    pub fn open_judged(
        bundle: &hub::Bundle,
        judging: Option<&ScorerMix>,
        stays: bool,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let system = Self::load(
            Reader::new(bundle.clone(), dtype, device),
            &usual_judging(bundle, judging)?,
            stays,
        )?;
        Ok(Self {
            judging: judging.cloned(),
            ..system
        })
    }

    fn load(reader: Reader, judging: &ScorerMix, stays: bool) -> Result<Self> {
        let (mut noted, description) = (Noted::default(), reader.description().clone());
        let transformer = noted.network(reader.transformer()?);
        let decoder = noted.network(reader.decoder()?);
        let token = decoder.patch() * cells_of_token(&transformer, &decoder)?;
        let text = text(&reader, stays, &mut noted)?;
        let files = scorer_files(&reader.bundle, judging)?;
        let (judges, scorers) = judges(judging, &files, &reader.kept, stays, &mut noted)?;
        let (features, extractors) = features(&reader, stays, &mut noted)?;
        let Noted {
            unknown: unknown_tensors,
            bytes,
        } = noted;
        let Kept { dtype, device } = reader.kept;
        Ok(Self {
            description,
            dtype,
            device,
            transformer,
            decoder,
            token,
            text,
            judging: None,
            judges,
            scorers,
            features,
            extractors,
            unknown_tensors,
            bytes,
        })
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
        self.words()
            .map_or_else(Vec::new, |known| unknown_words(prompt, known))
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
    pub fn pipeline_of(
        &self,
        schedule: &Schedule,
        settings: &Settings,
    ) -> Result<Box<dyn Pipeline + '_>> {
        let painter = Painter::new(
            &self.transformer,
            &self.decoder,
            schedule,
            settings.drawing,
            &self.device,
        )?;
        let painter = painter.with_rows_at_once(settings.rows_at_once.unwrap_or(usize::MAX));
        Ok(Box::new(InfinityPipeline::new(
            painter,
            &self.text,
            self.networks(),
        )?))
    }

    /// Bytes of the networks that stay, and of those that come and go.
    fn networks(&self) -> Networks {
        let split = |stays: bool, bytes: u64| if stays { (bytes, 0) } else { (0, bytes) };
        let (text, encoding) = split(self.text.encoder.stays(), self.text.encoder.bytes);
        let scorers = self
            .scorers
            .iter()
            .map(|network| split(network.stays(), network.bytes));
        // They are asked one after the other, so that of those that do not stay one at a time is
        // there.
        let (scorer, scoring) = scorers.fold((0, 0), |(all, most), (stays, comes)| {
            (all + stays, comes.max(most))
        });
        let (model, describing) = self
            .features
            .as_ref()
            .map_or((0, 0), |model| split(model.stays(), model.bytes));
        Networks {
            resident: self.bytes + text + scorer + model,
            encoding,
            judging: scoring.max(describing),
        }
    }

    /// Every size that the bundle paints.
    pub fn canvases(&self) -> Vec<Canvas> {
        let canvas = |(rows, columns): (usize, usize), pixels| Canvas {
            width: columns * self.token,
            height: rows * self.token,
            pixels,
        };
        if let Some(grids) = &self.description.generator.scales {
            return grids
                .last()
                .map(|grid| canvas(*grid, None))
                .into_iter()
                .collect();
        }
        let sizes = Pixels::all().flat_map(|pixels| TEMPLATES.map(|aspect| (aspect, pixels)));
        let released = |(aspect, pixels)| {
            let grid = *Schedule::released(aspect, pixels).ok()?.grids.last()?;
            Some(canvas(grid, Some(pixels)))
        };
        sizes.filter_map(released).collect()
    }

    fn schedule(&self, settings: &Settings) -> Result<Schedule> {
        let generator = &self.description.generator;
        let Some(grids) = &generator.scales else {
            let named = self
                .defaults()
                .pixels
                .as_deref()
                .map(str::parse)
                .transpose()?;
            let pixels = settings.pixels.or(named).unwrap_or(Pixels::P1M);
            return Schedule::released(settings.aspect.unwrap_or(1.0), pixels);
        };
        let last = grids.last().copied().unwrap_or((1, 1));
        let own = last.0 as f64 / last.1 as f64;
        if settings
            .aspect
            .is_some_and(|aspect| (aspect - own).abs() > 1e-3)
            || settings.pixels.is_some()
        {
            let (height, width) = (last.0 * self.token, last.1 * self.token);
            return Err(Error::input(format!(
                "`{}` paints images of one size only, {width} x {height}",
                self.name()
            ))
            .with_hint("leave --aspect and --pixels out"));
        }
        Ok(Schedule {
            grids: grids.clone(),
            rope_grid: generator.rope_grid.unwrap_or(last),
        })
    }

    /// The judge of images, of several the first.
    pub fn scorer(&self) -> &dyn Scorer {
        &self.judges[0]
    }

    /// The scorers that were asked for; none where the bundle's usual one judges.
    pub fn judging(&self) -> Option<&ScorerMix> {
        self.judging.as_ref()
    }

    /// What its matrices are kept in.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Where it computes.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// All judges of images, at least one.
    pub fn judges(&self) -> &[LoadedScorer] {
        &self.judges
    }

    /// What tells images apart, by the names that plans use.
    pub fn extractors(&self) -> &BTreeMap<Features, Box<dyn Extractor>> {
        &self.extractors
    }
}

/// Bytes of the files of [`DEMO`].
pub fn demo_bytes() -> u64 {
    demo::FILES
        .iter()
        .map(|(_, bytes)| bytes.len() as u64)
        .sum()
}

/// Finds the files of a bundle without loading them; see [`System::open`].
///
/// # Errors
/// There is no such bundle.
pub fn find(model: &str, weights: Option<&Path>) -> Result<hub::Bundle> {
    let released = hub::bundle::RELEASED.contains(&model);
    match weights {
        Some(folder) if released => hub::Bundle::released(model, folder),
        Some(folder) if model == DEMO && (folder.join(hub::bundle::FILE).exists() || !folder.is_dir()) => {
            hub::Bundle::open(folder)
        }
        Some(folder) if model == DEMO => Ok(hub::Bundle::embedded(DEMO, demo::FILES)?.with_downloads(folder)),
        Some(_) => Err(Error::input(format!("`{model}` is a folder of its own, `--weights` has no meaning for it"))
            .with_hint("--weights goes with the name of a released model")),
        None if model == DEMO => hub::Bundle::embedded(DEMO, demo::FILES),
        None if released => Err(Error::input(format!("the weights of `{model}` are not part of this program"))
            .with_hint(format!(
                "give the folder with the downloads: `--weights DIR`; `ttsvar models fetch {model}` brings {}",
                catalog::in_words(&catalog::together(model))
            ))),
        None if Path::new(model).is_dir() => hub::Bundle::open(Path::new(model)),
        None => Err(Error::input(format!("unknown model `{model}`")).with_hint(format!(
            "take `{DEMO}`, one of {}, or a folder with a bundle.toml",
            hub::bundle::RELEASED.join(", ")
        ))),
    }
}

fn text(reader: &Reader, stays: bool, noted: &mut Noted) -> Result<BundleText> {
    let (first, again) = (reader.text()?, reader.clone());
    noted.unknown(&first);
    let sizes = first.network.encoder.sizes().clone();
    Ok(BundleText {
        encoder: OnDemand::new(first, stays, move || again.text()),
        sizes,
    })
}

/// The network that describes images, and all kinds of features that it gives.
type Described = (
    Option<Arc<OnDemand<Dinov2>>>,
    BTreeMap<Features, Box<dyn Extractor>>,
);

fn features(reader: &Reader, stays: bool, noted: &mut Noted) -> Result<Described> {
    let Some(first) = reader.features()? else {
        return Ok((None, BTreeMap::new()));
    };
    noted.unknown(&first);
    let size = reader
        .description()
        .features
        .as_ref()
        .and_then(|features| features.size);
    let size = size.map_or(Dinov2Features::SIZE, |(height, width)| [height, width]);
    first.network.grid(size[0], size[1])?;
    let flops = first.network.flops(size[0], size[1]);
    let again = reader.clone();
    let absent = || Error::input("the features of the bundle were there before, and are gone now");
    let model = Arc::new(OnDemand::new(first, stays, move || {
        again.features()?.ok_or_else(absent)
    }));
    let extractor = |kind| {
        let features = BundleFeatures {
            model: model.clone(),
            kind,
            size,
            flops,
        };
        (kind, Box::new(features) as Box<dyn Extractor>)
    };
    let extractors = [
        Features::Pca,
        Features::PcaRaw,
        Features::PcaAll,
        Features::Pool,
    ]
    .map(extractor)
    .into();
    Ok((Some(model), extractors))
}

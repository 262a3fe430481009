//! The choices that open a system: model, scorers, device, data type.

use std::path::{Path, PathBuf};

use super::{DEMO, System, loader, scorers::ScorerChoice};
#[cfg(feature = "remote")]
use crate::scorers::openai::VisionServer;
use crate::{
    Error, Result, demo,
    hub::{
        self, Bundle, ScorerRelease,
        bundle::{FILE, check_downloads},
        catalog::{self, Entry},
    },
    loading::{Device, Dtype, LoadReport, Loader},
    options::Options,
    quoting,
    scorers::{ScorerList, ScorerMix, ScorerName, ScorerSettings, kind},
    text::Classes,
};

/// Builds a [`System`]. The command line fills this from its arguments.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(feature = "cli", command(next_help_heading = "Model"))]
pub struct SystemBuilder {
    /// demo, a released model (see `ttsvar models`), or a folder with a bundle.toml [default: demo]
    #[cfg_attr(feature = "cli", arg(long, value_name = "NAME|DIR"))]
    pub model: Option<String>,
    /// The folder with the downloaded files of released models
    #[cfg_attr(feature = "cli", arg(long, value_name = "DIR"))]
    pub weights: Option<PathBuf>,
    /// Scorer: image-reward, hps, pick, clip, clip-100, clip-2.5, aesthetic, vqa, vqa-xxl, relation,
    /// openai or the demo's demo-reward, or a mix such as image-reward=1,hps=2 [default: the model's]
    #[cfg_attr(feature = "cli", arg(long, value_name = "SCORERS"))]
    #[cfg_attr(feature = "cli", arg(value_parser = crate::options::parse::<ScorerMix>))]
    pub scorer: Option<ScorerMix>,
    /// State dict to read from checkpoints with several that fit, such as a model and its moving
    /// average [default: the model]
    #[cfg_attr(feature = "cli", arg(long, value_name = "NAME"))]
    pub state_dict: Option<String>,
    /// The type in which matrices are kept; `None` means f32.
    #[cfg_attr(feature = "cli", arg(skip))]
    pub dtype: Option<Dtype>,
    /// The type in which those of the text encoder are kept; `None` means the same.
    #[cfg_attr(feature = "cli", arg(skip))]
    pub text_dtype: Option<Dtype>,
    /// The device that computes.
    #[cfg_attr(feature = "cli", arg(skip))]
    pub device: Device,
    /// Scorers that searches do not use, for scores of what they find.
    #[cfg_attr(feature = "cli", arg(skip))]
    pub held_out: Option<ScorerList>,
    /// True if text encoder, scorers and features are evicted from memory between their uses.
    #[cfg_attr(feature = "cli", arg(skip))]
    pub evict: bool,
    /// True if a system may lack files of scorers and features that the caller did not name: plans
    /// that need them are refused later.
    #[cfg_attr(feature = "cli", arg(skip))]
    pub may_lack_parts: bool,
    /// Token grids that replace those of the description.
    #[cfg_attr(feature = "cli", arg(skip))]
    pub grids: Option<Grids>,
    /// The vision server of the scorer `openai`.
    #[cfg(feature = "remote")]
    #[cfg_attr(feature = "cli", command(flatten))]
    pub server: VisionServer,
}

/// Files that are missing of parts which not every search needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MissingParts {
    /// The folder in which they would be.
    pub folder: PathBuf,
    /// Those of scorers.
    pub scorers: Vec<String>,
    /// Those of features.
    pub features: Vec<String>,
    /// The names by which `ttsvar models fetch` knows these parts.
    pub fetch: Vec<&'static str>,
}

impl MissingParts {
    /// Says that images are not scored, if that is so.
    pub(super) fn unscored(&self) -> Option<String> {
        let files = self.scorers.join(", ");
        let missing = !files.is_empty();
        missing.then(|| format!("images are not scored, because files are missing: {files}"))
    }

    /// Checks that nothing is missing which a search uses.
    ///
    /// # Errors
    /// Files are missing; the error lists them.
    pub(super) fn refuse(&self, scorers: bool, features: bool) -> Result<()> {
        let mut missing = vec![];
        if scorers {
            missing.extend(self.scorers.iter().cloned());
        }
        if features {
            missing.extend(self.features.iter().cloned());
        }
        require_files(&self.folder, &missing, &self.fetch)
    }
}

/// Token grids (rows, columns) of a generator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grids {
    /// One grid per scale, coarse to fine.
    pub scales: Vec<(usize, usize)>,
    /// The grid that rotary positions refer to.
    pub rope_grid: (usize, usize),
}

impl SystemBuilder {
    pub(super) fn new(model: impl Into<String>) -> Self {
        Self {
            model: Some(model.into()),
            ..Self::default()
        }
    }

    /// Looks for released files in this folder.
    pub fn weights(self, folder: impl Into<PathBuf>) -> Self {
        Self {
            weights: Some(folder.into()),
            ..self
        }
    }

    /// Scores with these scorers instead of the bundle's default.
    pub fn scorers(self, mix: ScorerMix) -> Self {
        Self {
            scorer: Some(mix),
            ..self
        }
    }

    /// Loads these scorers in addition, for scores of what searches find.
    pub fn held_out(self, scorers: ScorerList) -> Self {
        Self {
            held_out: Some(scorers),
            ..self
        }
    }

    /// Reads this state dict in checkpoints that hold several which fit.
    pub fn state_dict(self, name: impl Into<String>) -> Self {
        Self {
            state_dict: Some(name.into()),
            ..self
        }
    }

    /// The settings of scorers.
    pub(super) fn scorer_settings(&self) -> ScorerSettings {
        ScorerSettings {
            #[cfg(feature = "remote")]
            server: self.server.clone(),
        }
    }

    /// Keeps matrices in this type.
    pub fn dtype(self, dtype: Dtype) -> Self {
        Self {
            dtype: Some(dtype),
            ..self
        }
    }

    /// Keeps the matrices of the text encoder in this type.
    pub fn text_dtype(self, dtype: Dtype) -> Self {
        Self {
            text_dtype: Some(dtype),
            ..self
        }
    }

    /// Computes on this device.
    pub fn device(self, device: Device) -> Self {
        Self { device, ..self }
    }

    /// Evicts text encoder, scorers and features between their uses. `Session::fit_memory` keeps those
    /// for which there is room.
    pub fn evict(self) -> Self {
        Self {
            evict: true,
            ..self
        }
    }

    /// Opens although files of the usual scorers and the features are missing. `Session::new`
    /// refuses plans that need them.
    pub fn may_lack_parts(self) -> Self {
        Self {
            may_lack_parts: true,
            ..self
        }
    }

    /// Uses other token grids (rows, columns) than those of the description; `rope_grid` is the
    /// grid that rotary positions refer to.
    pub fn grids(self, grids: Vec<(usize, usize)>, rope_grid: (usize, usize)) -> Self {
        Self {
            grids: Some(Grids {
                scales: grids,
                rope_grid,
            }),
            ..self
        }
    }

    /// The model as the caller named it; the demo by default.
    pub fn model_name(&self) -> &str {
        self.model.as_deref().unwrap_or(DEMO)
    }

    /// Opens the system, after a check that all of its files are present. Only the headers of weight
    /// files are read: networks are read at their first use, or by `Session::read_networks`.
    ///
    /// # Errors
    /// The model or the device is not known or not available, the model lacks a scorer, or a file
    /// is missing or damaged.
    pub fn open(&self) -> Result<System> {
        let loader = self.loader()?;
        let mut bundle = self.bundle()?;
        self.refuse_unused_weights()?;
        if let Some(grids) = &self.grids {
            bundle.description.generator.scales = Some(grids.scales.clone());
            bundle.description.generator.rope_grid = Some(grids.rope_grid);
        }
        let mix = self.scorers_or_default(&bundle)?;
        let scorers = ScorerChoice::new(mix, self.held_out.as_ref())?;
        let missing = self.missing_parts(&bundle, &scorers)?;
        let system = loader::load(self, bundle, &scorers, &loader, missing)?;
        self.check_state_dict(system.report())?;
        Ok(system)
    }

    /// The parts of which files are missing, as far as the system can do without.
    ///
    /// # Errors
    /// It cannot do without: the error lists all missing files.
    fn missing_parts(&self, bundle: &Bundle, scorers: &ScorerChoice) -> Result<MissingParts> {
        let folder = bundle.folder().path();
        let folder = self.weights.clone().unwrap_or(folder);
        let generator = bundle.missing_of_generator();
        let features = bundle.missing_of_features();
        let of_model = !generator.is_empty() || !features.is_empty();
        let mut of_scorers = vec![];
        let mut incomplete = vec![];
        for kind in scorers.all.kinds() {
            let missing = bundle.missing_of_scorers(&[&kind.release])?;
            if !missing.is_empty() {
                incomplete.push(&kind.release);
                of_scorers.extend(missing);
            }
        }
        let missing = MissingParts {
            fetch: self.fetch_names(of_model, &incomplete),
            folder,
            scorers: of_scorers,
            features,
        };
        let named = self.scorer.is_some() || self.held_out.is_some();
        if !generator.is_empty() || !self.may_lack_parts || named && !missing.scorers.is_empty() {
            let all = [&generator[..], &missing.scorers, &missing.features];
            require_files(&missing.folder, &all.concat(), &missing.fetch)?;
        }
        Ok(missing)
    }

    /// What `ttsvar models fetch` downloads into the folder of weights: the released model, if files
    /// of it are missing, and those of `scorers` that do not come with it.
    pub(super) fn fetch_names(
        &self,
        of_model: bool,
        scorers: &[&'static ScorerRelease],
    ) -> Vec<&'static str> {
        match &self.weights {
            Some(folder) if !folder.join(FILE).exists() => {}
            _ => return vec![],
        }
        let mut released = hub::released::NAMES.into_iter();
        let model = released.find(|name| of_model && *name == self.model_name());
        let comes_with_model = model.map(catalog::with_needs).unwrap_or_default();
        let is_new = |entry: &&Entry| {
            let mut known = comes_with_model.iter();
            !known.any(|other| other.name == entry.name)
        };
        let weights = scorers.iter().map(|scorer| scorer.weights);
        let scorers = weights.filter_map(catalog::entry).filter(is_new);
        let scorers = scorers.map(|entry| entry.alias.unwrap_or(entry.name));
        model.into_iter().chain(scorers).collect()
    }

    /// The bundle of the model, without loading its files.
    pub(super) fn bundle(&self) -> Result<Bundle> {
        let bundle = find_bundle(self.model_name(), self.weights.as_deref())?;
        Ok(bundle.with_state_dict(self.state_dict.as_deref()))
    }

    /// The released models that the system needs, if one of their files is missing in the folder
    /// for released files; none if all are present.
    ///
    /// # Errors
    /// There is no such model or folder, or the model lacks a scorer.
    pub fn missing_entries(&self) -> Result<Vec<&'static Entry>> {
        let bundle = self.bundle()?;
        let mix = self.scorers_or_default(&bundle)?;
        let choice = ScorerChoice::new(mix, self.held_out.as_ref())?;
        let scorers: Vec<_> = choice
            .all
            .kinds()
            .into_iter()
            .map(|kind| &kind.release)
            .collect();
        if bundle.missing(&scorers)?.is_empty() {
            return Ok(vec![]);
        }
        let usual = catalog::with_needs(bundle.default_scorer()?);
        let of_usual = |entry: &&Entry| usual.iter().any(|other| other.name == entry.name);
        let model = catalog::with_needs(self.model_name()).into_iter();
        let mut entries: Vec<_> = model.filter(|entry| !of_usual(entry)).collect();
        for scorer in scorers.iter().filter(|scorer| scorer.published) {
            entries.extend(catalog::with_needs(scorer.weights));
        }
        Ok(entries)
    }

    /// The options as [`super::System::resolve`] completes them, without loading the model's files.
    ///
    /// # Errors
    /// There is no such model, or its family does not support an option or its value.
    pub fn resolve(&self, options: &Options) -> Result<Options> {
        let bundle = self.bundle()?;
        let usual = self.scorers_or_default(&bundle)?.usual_method();
        let family = loader::family(bundle.description.generator.family);
        let completed = family.resolve(options.clone(), &bundle.description.defaults)?;
        Ok(completed.with_usual_method(usual))
    }

    /// Returns whether the model generates images from a class, without loading its files.
    ///
    /// # Errors
    /// There is no such model.
    pub fn takes_classes(&self) -> Result<bool> {
        let family = self.bundle()?.description.generator.family;
        Ok(loader::family(family).takes_classes())
    }

    /// The classes that the model knows, by the headers of its files; `None` if it reads texts.
    ///
    /// # Errors
    /// There is no such model, or a file is missing or damaged.
    pub fn classes(&self) -> Result<Option<Classes>> {
        let bundle = self.bundle()?;
        loader::family(bundle.description.generator.family).classes(&bundle)
    }

    pub(super) fn loader(&self) -> Result<Loader> {
        let dtype = self.dtype.unwrap_or_default();
        let text_dtype = self.text_dtype.unwrap_or(dtype);
        if [dtype, text_dtype].contains(&Dtype::Q8) && self.device != Device::Cpu {
            let message = format!("the data type {} works on the CPU only", Dtype::Q8);
            return Err(Error::input(message).with_hint("use bf16 on a GPU"));
        }
        Ok(Loader {
            text_dtype,
            ..Loader::new(dtype, self.device.open()?)
        })
    }

    /// The scorers that the caller chose, otherwise the bundle's default.
    pub(super) fn scorers_or_default(&self, bundle: &Bundle) -> Result<ScorerMix> {
        match &self.scorer {
            Some(mix) => Ok(mix.clone()),
            None => {
                let kind = kind(bundle.default_scorer()?)?;
                Ok(ScorerMix::single(ScorerName::usual(kind)))
            }
        }
    }

    /// Rejects a state dict that no file has.
    pub(super) fn check_state_dict(&self, report: &LoadReport) -> Result<()> {
        match &self.state_dict {
            Some(name) if !report.has_asked_for() => Err(Error::input(format!(
                "no checkpoint has a state dict `{}` that fits its network",
                name.escape_debug()
            ))
            .with_hint("without --state-dict, the program reports those that it finds")),
            _ => Ok(()),
        }
    }

    /// Rejects `--weights` with the demo and without a scorer: the folder would not be used.
    fn refuse_unused_weights(&self) -> Result<()> {
        let Some(folder) = &self.weights else {
            return Ok(());
        };
        let asked = self.scorer.is_some() || self.held_out.is_some();
        if self.model_name() != DEMO || asked || folder.join(FILE).exists() {
            return Ok(());
        }
        Err(Error::file(
            folder,
            "the demo has its own weights, and no option needs files from this folder",
        )
        .with_hint(
            "choose a released model, --model infinity-2b, or a released scorer, --scorer hps",
        ))
    }
}

/// Finds the files of a bundle without loading them: [`DEMO`], a released model whose downloads are
/// in the folder `weights`, or a folder with a `bundle.toml`.
///
/// # Errors
/// There is no such bundle.
pub fn find_bundle(model: &str, weights: Option<&Path>) -> Result<Bundle> {
    let released = hub::released::NAMES.contains(&model);
    match weights {
        Some(folder) if released => Bundle::released(model, folder),
        Some(folder) if model == DEMO => {
            check_downloads(folder)?;
            if folder.join(FILE).exists() {
                return Bundle::open(folder);
            }
            Ok(Bundle::embedded(DEMO, demo::FILES)?.with_downloads(folder))
        }
        Some(_) => Err(Error::input(format!(
            "`{model}` is a folder with its own weights; `--weights` does not apply to it"
        ))
        .with_hint("use --weights with the name of a released model")),
        None if model == DEMO => Bundle::embedded(DEMO, demo::FILES),
        None if released => {
            let needed = catalog::list_names(&catalog::with_needs(model));
            Err(Error::input(format!(
                "the weights of `{model}` are not part of this program"
            ))
            .with_hint(format!(
                "give the folder with the downloads: `--weights DIR`; \
                 `ttsvar models fetch {model}` downloads {needed}"
            )))
        }
        None if Path::new(model).is_dir() => Bundle::open(Path::new(model)),
        None => {
            let released = hub::released::NAMES.join(", ");
            let names = [&[DEMO], &hub::released::NAMES[..]].concat();
            let expected =
                format!("expected `{DEMO}`, one of {released}, or a folder with a bundle.toml");
            Err(Error::input(format!("unknown model `{model}`"))
                .with_hint(catalog::suggest_name(model, &names, &expected)))
        }
    }
}

/// Checks that no files are missing. `fetch` has the names by which `ttsvar models fetch` downloads
/// them into the folder.
///
/// # Errors
/// Files are missing; the error lists them.
pub(super) fn require_files(folder: &Path, missing: &[String], fetch: &[&str]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let files = match missing.len() {
        1 => "1 file is".to_owned(),
        count => format!("{count} files are"),
    };
    let hint = match fetch.is_empty() {
        true => format!("put what is missing into the folder, or correct the names in its {FILE}"),
        false => format!(
            "`ttsvar models fetch {} --weights {}` downloads them",
            fetch.join(" "),
            quoting::file_argument(folder)
        ),
    };
    let message = format!("{files} missing: {}", missing.join(", "));
    Err(Error::file(folder, message).with_hint(hint))
}

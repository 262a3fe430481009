//! A bundle: a description and the folder with its files, which are opened by their purpose.
//!
//! The folder may be one on disk, one built into the program, or one with downloads of released
//! models.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Map, Value};

use super::{
    blob::{Blob, Embedded, Folder, Location},
    catalog,
    checkpoint::is_index,
    description::{Description, GeneratorFamily, Text},
    place::Place,
    released::{self, DEMO_REWARD, DINOV2, DINOV2_FOLDER, IMAGE_REWARD, SWITTI_VAE},
    safetensors_file::safetensors_metadata,
    scorer::{BuiltIn, ScorerFiles, ScorerRelease},
    settings,
};
use crate::{
    Error, Result,
    nn::{Signature, TensorSource},
};

/// Name of the description inside a bundle's folder.
pub const FILE: &str = "bundle.toml";

/// The hint for a folder of downloads that is none.
const DOWNLOADS: &str = "give the folder with the downloaded files; \
    `ttsvar models fetch NAME --weights DIR` downloads them";

/// The hint for a folder or name that is not a model.
const HINT: &str = "`--model` takes a folder with a bundle.toml, \
    or the name of a released model with `--weights FOLDER`";

/// Keys of the transformer in a checkpoint saved during training: Infinity's, then VAR's.
const GENERATOR_KEYS: [&str; 6] = [
    "trainer.gpt_fsdp",
    "trainer.gpt_wo_ddp",
    "gpt_fsdp",
    "gpt_wo_ddp",
    "trainer.var_wo_ddp",
    "var_wo_ddp",
];

/// Keys of the VAE.
const VAE_KEYS: [&str; 3] = ["vae", "trainer.vae_local", "vae_local"];

/// Keys of the text encoder.
const TEXT_KEYS: [&str; 1] = ["model"];

/// Checks that a folder with downloads of released models is there.
///
/// # Errors
/// It is not, or it is a file.
pub fn check_downloads(folder: &Path) -> Result<()> {
    require_folder(folder, DOWNLOADS)
}

fn require_folder(folder: &Path, hint: &str) -> Result<()> {
    let message = match (folder.is_dir(), folder.exists()) {
        (true, _) => return Ok(()),
        (false, true) => "expected a folder, found a file",
        (false, false) => "no such folder",
    };
    Err(Error::file(folder, message).with_hint(hint))
}

/// Returns whether a file is a configuration, a vocabulary or a description, by its name.
pub fn is_text(name: &str) -> bool {
    const ENDINGS: [&str; 5] = ["json", "yaml", "txt", "model", "toml"];
    let ending = Path::new(name).extension().unwrap_or_default();
    ENDINGS.iter().any(|known| ending == *known) && !is_index(name.as_ref())
}

/// The files of a bundle on disk.
pub struct Convertible {
    /// The folder in which they are.
    pub root: PathBuf,
    /// Networks whose matrices are large, each with the keys of its state dict in published files.
    pub networks: Vec<(Location, &'static [&'static str])>,
    /// Files and folders that are used as they are.
    pub others: Vec<Location>,
}

/// A description and the folder with its files.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The description of the parts.
    pub description: Description,
    place: Place,
    /// The folder with released scorers that the description does not name.
    downloads: Option<PathBuf>,
}

impl Bundle {
    /// The bundle of a folder with a `bundle.toml`.
    ///
    /// # Errors
    /// There is no such file, or it is not valid.
    pub fn open(folder: &Path) -> Result<Self> {
        require_folder(folder, HINT)?;
        Self::from_folder(Folder::Disk(folder.to_owned()))
    }

    /// The bundle that is built into the program as these files, including `bundle.toml`.
    ///
    /// # Errors
    /// As [`Bundle::open`].
    pub fn embedded(name: &str, files: Embedded) -> Result<Self> {
        Self::from_folder(Folder::embedded(name, files))
    }

    fn from_folder(folder: Folder) -> Result<Self> {
        let Some(toml) = folder.file(FILE) else {
            return Err(Error::file(folder.path(), format!("contains no `{FILE}`")).with_hint(HINT));
        };
        Ok(Self {
            description: Description::read(&toml)?,
            place: Place::bundle(folder),
            downloads: None,
        })
    }

    /// The released model of this name (one of [`released::NAMES`]) whose downloads are in `folder` under
    /// their published names, either directly or in sub-folders named after the models
    /// (`flan-t5-xl`, `image-reward`, ...).
    ///
    /// # Errors
    /// The name is unknown, or there is no such folder. Missing files are reported when they are
    /// opened, or all at once by [`Bundle::missing`].
    pub fn released(name: &str, folder: &Path) -> Result<Self> {
        let Some(description) = released::description(name) else {
            let known = released::NAMES.join(", ");
            return Err(Error::input(format!(
                "unknown model `{name}`; the released models are {known}"
            ))
            .with_hint(HINT));
        };
        check_downloads(folder)?;
        let place = Place::downloads(Folder::Disk(folder.to_owned()));
        Ok(Self {
            description,
            place,
            downloads: Some(folder.to_owned()),
        })
    }

    /// The same bundle, with released scorers from a folder of downloads in addition to its own.
    pub fn with_downloads(self, folder: &Path) -> Self {
        Self {
            downloads: Some(folder.to_owned()),
            ..self
        }
    }

    /// The same bundle, with the name of the state dict to read in checkpoints with several that
    /// fit, instead of the description's.
    pub fn with_state_dict(self, name: Option<&str>) -> Self {
        let name = name.or(self.description.state_dict.as_deref());
        Self {
            place: self.place.with_state_dict(name.map(str::to_owned)),
            ..self
        }
    }

    /// The folder with the files.
    pub fn folder(&self) -> &Folder {
        self.place.folder()
    }

    /// The generator's transformer.
    ///
    /// # Errors
    /// The file is missing or damaged.
    pub fn generator_weights(&self, signature: &Signature) -> Result<Arc<dyn TensorSource>> {
        let Description {
            name, generator, ..
        } = &self.description;
        let location = self.place.locate(name, &generator.weights)?;
        self.place.open(location, &GENERATOR_KEYS, Some(signature))
    }

    /// The `config.json` beside the generator's transformer, or in its folder.
    ///
    /// # Errors
    /// It is missing.
    pub fn generator_config(&self) -> Result<Blob> {
        let Description {
            name, generator, ..
        } = &self.description;
        if let Some(Location::Folder(folder)) = self.place.find(name, &generator.weights) {
            return folder.require("config.json");
        }
        let beside = Path::new(&generator.weights).with_file_name("config.json");
        self.place.file(name, &beside.to_string_lossy())
    }

    /// The `config.yaml` in the folder of the generator's transformer.
    ///
    /// # Errors
    /// The folder or the file is missing.
    pub fn generator_yaml(&self) -> Result<Blob> {
        let Description {
            name, generator, ..
        } = &self.description;
        let what = "config.yaml and weights";
        let folder = self.place.sub_folder(name, &generator.weights, what)?;
        folder.require("config.yaml")
    }

    /// The settings of the decoder with the name of their file: those of a `config.json` in its
    /// folder, otherwise those that its weights have as metadata.
    ///
    /// # Errors
    /// Both are missing or damaged.
    pub fn vae_settings(&self) -> Result<(String, Value)> {
        let location = self
            .place
            .locate(self.vae_name(), &self.description.generator.vae)?;
        let weights = match location {
            Location::File(blob) => blob,
            Location::Folder(folder) => match folder.file("config.json") {
                Some(blob) => return Ok((blob.path().display().to_string(), blob.json()?)),
                None => folder.require("model.safetensors")?,
            },
        };
        let mut settings = Map::new();
        for (name, text) in safetensors_metadata(&weights)? {
            let value = settings::read(&text).map_err(|error| {
                Error::file(weights.path(), format!("metadata `{name}`: {error}"))
            })?;
            settings.insert(name, value);
        }
        settings.remove("format");
        Ok((
            weights.path().display().to_string(),
            Value::Object(settings),
        ))
    }

    /// The generator's decoder.
    ///
    /// # Errors
    /// The file is missing or damaged.
    pub fn vae_weights(&self, signature: &Signature) -> Result<Arc<dyn TensorSource>> {
        let location = self
            .place
            .locate(self.vae_name(), &self.description.generator.vae)?;
        self.place.open(location, &VAE_KEYS, Some(signature))
    }

    /// The released model that the decoder belongs to.
    fn vae_name(&self) -> &str {
        match self.description.generator.family {
            GeneratorFamily::Switti => SWITTI_VAE,
            GeneratorFamily::FlexAr | GeneratorFamily::FlexArClass => {
                &self.description.generator.vae
            }
            _ => &self.description.name,
        }
    }

    /// The text encoder's weights.
    ///
    /// # Errors
    /// The folder is missing, or has no weights.
    pub fn text_weights(&self, signature: &Signature) -> Result<Arc<dyn TensorSource>> {
        let folder = self.text_folder()?;
        self.place.open(folder.into(), &TEXT_KEYS, Some(signature))
    }

    /// The text encoder's `config.json`.
    ///
    /// # Errors
    /// It is missing.
    pub fn text_config(&self) -> Result<Blob> {
        self.text_folder()?.require("config.json")
    }

    /// The text encoder's `tokenizer.json`.
    ///
    /// # Errors
    /// It is missing.
    pub fn tokenizer(&self) -> Result<Blob> {
        self.text_folder()?.require("tokenizer.json")
    }

    /// The text encoder's `tokenizer_config.json`; `None` if it has none.
    ///
    /// # Errors
    /// Its folder is missing.
    pub fn tokenizer_config(&self) -> Result<Option<Blob>> {
        Ok(self.text_folder()?.file("tokenizer_config.json"))
    }

    /// The same bundle with the second text encoder in place of the first.
    ///
    /// # Errors
    /// It has none.
    pub fn with_second_text(&self) -> Result<Self> {
        let mut bundle = self.clone();
        let text = bundle.description.text.as_mut();
        let second = text.and_then(|text| Some((text.second.take()?, text)));
        let Some((second, text)) = second else {
            let name = &self.description.name;
            let message = format!("`{name}` has no second text encoder");
            return Err(Error::internal(message));
        };
        text.weights = second;
        Ok(bundle)
    }

    /// The default kind of scorer.
    ///
    /// # Errors
    /// The bundle has no scorer.
    pub fn default_scorer(&self) -> Result<&str> {
        let first = self.description.scorer.first().ok_or_else(|| {
            let name = &self.description.name;
            Error::input(format!("the bundle `{name}` has no scorer"))
                .with_hint("name one in a [scorer] table of its bundle.toml")
        })?;
        Ok(&first.family)
    }

    /// The scorer of a kind: the bundle's own, otherwise the released one among the downloads.
    ///
    /// # Errors
    /// There is neither, or the bundle's own is not described correctly.
    pub fn scorer(&self, release: &'static ScorerRelease) -> Result<ScorerFiles> {
        let family = release.family;
        let scorers = &self.description.scorer;
        if let Some(scorer) = scorers.iter().find(|scorer| scorer.family == family) {
            return ScorerFiles::new(scorer.clone(), release, self.place.clone());
        }
        let in_demo = matches!(self.folder(), Folder::Memory { .. });
        let built_in = match release.built_in {
            BuiltIn::Never => false,
            BuiltIn::StandIn => in_demo,
            BuiltIn::Always => true,
        };
        if built_in {
            return Ok(ScorerFiles::built_in(release, self.place.clone()));
        }
        if let Some(folder) = &self.downloads {
            let state_dict = self.place.state_dict().map(str::to_owned);
            return ScorerFiles::released(release, folder, state_dict);
        }
        Err(self.no_scorer(release))
    }

    /// The error that neither the bundle nor a folder with downloads has a scorer.
    fn no_scorer(&self, release: &ScorerRelease) -> Error {
        let family = release.family;
        if !release.published {
            return release.unpublished();
        }
        let scorers = &self.description.scorer;
        let names: Vec<String> = scorers
            .iter()
            .map(|scorer| format!("`{}`", scorer.family))
            .collect();
        let has = match names.is_empty() {
            true => String::new(),
            false => format!("; it has {}", names.join(", ")),
        };
        let name = &self.description.name;
        let needed = catalog::list_names(&catalog::with_needs(release.weights));
        // Images and scripts from before may call the demo's scorer by the released one's name.
        let renamed =
            scorers.iter().any(|scorer| scorer.family == DEMO_REWARD) && family == IMAGE_REWARD;
        let renamed = match renamed {
            true => format!(
                "the demo's own scorer, formerly `{family}`, is `--scorer {DEMO_REWARD}`; for another, "
            ),
            false => String::new(),
        };
        Error::input(format!("`{name}` has no scorer `{family}`{has}")).with_hint(format!(
            "{renamed}give the folder with the released one: `--weights DIR`; \
             `ttsvar models fetch {family}` downloads {needed}"
        ))
    }

    /// The feature extractor's weights; `None` if the bundle has none.
    ///
    /// # Errors
    /// The file is missing or damaged.
    pub fn features_weights(&self, signature: &Signature) -> Result<Option<Arc<dyn TensorSource>>> {
        let Some(features) = &self.description.features else {
            return Ok(None);
        };
        let location = self.features_location(&features.weights)?;
        self.place.open(location, &[], Some(signature)).map(Some)
    }

    /// `config.json` beside the feature extractor's weights, if they are a Hugging Face folder that
    /// has one.
    ///
    /// # Errors
    /// The folder is missing.
    pub fn features_config(&self) -> Result<Option<Blob>> {
        self.beside_features("config.json")
    }

    fn beside_features(&self, name: &str) -> Result<Option<Blob>> {
        let Some(features) = &self.description.features else {
            return Ok(None);
        };
        match self.features_location(&features.weights)? {
            Location::Folder(folder) => Ok(folder.file(name)),
            Location::File(_) => Ok(None),
        }
    }

    /// `preprocessor_config.json` beside the feature extractor's weights, if they are a Hugging Face
    /// folder that has one.
    ///
    /// # Errors
    /// The folder is missing.
    pub fn features_preprocessor_config(&self) -> Result<Option<Blob>> {
        self.beside_features("preprocessor_config.json")
    }

    /// The latent verifier's weights; `None` if the bundle has none.
    ///
    /// # Errors
    /// The file is missing or damaged.
    pub fn verifier_weights(&self) -> Result<Option<Arc<dyn TensorSource>>> {
        let Description { name, verifier, .. } = &self.description;
        let Some(verifier) = verifier else {
            return Ok(None);
        };
        let location = self.place.locate(name, &verifier.weights)?;
        self.place.open(location, &[], None).map(Some)
    }

    /// The missing files among those in the description, each with its place of publication if that
    /// is known. Of scorers only the files of `scorers` are checked.
    ///
    /// # Errors
    /// As [`Bundle::scorer`].
    pub fn missing(&self, scorers: &[&'static ScorerRelease]) -> Result<Vec<String>> {
        let generator = self.missing_of_generator();
        let scorers = self.missing_of_scorers(scorers)?;
        Ok([generator, scorers, self.missing_of_features()].concat())
    }

    /// Those of the generator with its text encoder and its verifier.
    pub fn missing_of_generator(&self) -> Vec<String> {
        let Description {
            name,
            generator,
            text,
            verifier,
            ..
        } = &self.description;
        let wanted = [
            (name.as_str(), generator.weights.as_str()),
            (self.vae_name(), &generator.vae),
        ];
        let text = text.iter().flat_map(Text::folders);
        let text = text.map(|folder| (folder, folder));
        let mut missing = self.place.missing(wanted.into_iter().chain(text));
        let verifier = verifier.iter();
        let verifier = verifier.map(|verifier| (name.as_str(), verifier.weights.as_str()));
        missing.extend(self.place.missing(verifier));
        missing
    }

    /// Those of scorers.
    ///
    /// # Errors
    /// As [`Bundle::scorer`].
    pub fn missing_of_scorers(&self, scorers: &[&'static ScorerRelease]) -> Result<Vec<String>> {
        let mut missing = vec![];
        for release in scorers {
            missing.extend(self.scorer(release)?.missing());
        }
        Ok(missing)
    }

    /// Those of the features.
    pub fn missing_of_features(&self) -> Vec<String> {
        match &self.description.features {
            Some(features) if self.features_location(&features.weights).is_err() => {
                self.place.missing([(DINOV2, features.weights.as_str())])
            }
            _ => vec![],
        }
    }

    /// What `ttsvar convert` needs to know of the files: where they are and which to convert.
    ///
    /// # Errors
    /// A file of the generator is missing, or the bundle is built into the program.
    pub fn convertible(&self) -> Result<Convertible> {
        let Folder::Disk(root) = self.folder() else {
            let message = format!("`{}` is built into the program", self.description.name);
            return Err(Error::input(message).with_hint("name a model with files"));
        };
        let Description {
            name, generator, ..
        } = &self.description;
        let mut networks = vec![(
            self.place.locate(name, &generator.weights)?,
            &GENERATOR_KEYS[..],
        )];
        for folder in self.description.text.iter().flat_map(Text::folders) {
            let location = self.place.locate(folder, folder)?;
            networks.push((location, &TEXT_KEYS[..]));
        }
        let mut others = vec![self.place.locate(self.vae_name(), &generator.vae)?];
        if self.downloads.is_some() {
            let entries = catalog::ENTRIES.iter();
            let entries = entries.filter(|entry| {
                matches!(entry.used, catalog::Use::Scorer | catalog::Use::Features)
            });
            others.extend(entries.filter_map(|entry| entry.whole(self.folder())));
        } else {
            // Configurations and vocabularies may have their usual names, which no key repeats.
            let beside = self.folder().names();
            let beside = beside
                .iter()
                .map(String::as_str)
                .filter(|name| is_text(name));
            let names = self.description.files().into_iter().chain(beside);
            others.extend(names.filter_map(|name| self.folder().find(name)));
        }
        others.extend(self.generator_config().ok().map(Location::File));
        let networks_at: Vec<PathBuf> = networks.iter().map(|(at, _)| at.path()).collect();
        others.retain(|location| !networks_at.contains(&location.path()));
        Ok(Convertible {
            root: root.clone(),
            networks,
            others,
        })
    }

    /// The released file, or the same network as a Hugging Face folder.
    fn features_location(&self, weights: &str) -> Result<Location> {
        match self.place.locate(DINOV2, weights) {
            Err(error) if self.downloads.is_some() => {
                self.place.find(DINOV2_FOLDER, DINOV2_FOLDER).ok_or(error)
            }
            found => found,
        }
    }

    fn text_folder(&self) -> Result<Folder> {
        let Some(text) = &self.description.text else {
            let name = &self.description.name;
            return Err(Error::internal(format!("`{name}` has no text encoder")));
        };
        // The folder of a released encoder has the name of the released model.
        self.place.sub_folder(
            &text.weights,
            &text.weights,
            "config.json, tokenizer.json and weights",
        )
    }
}

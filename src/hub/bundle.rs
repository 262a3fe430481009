//! A bundle: a description and the folder with its files, each found and opened by what it is for.
//!
//! The folder may be on disk, in the binary, or one that someone keeps released downloads in.

use std::{path::Path, sync::Arc};

use super::{
    blob::{Blob, Embedded, Folder, Location, WHERE_TO_GET, missing},
    catalog, checkpoint,
    description::{
        Defaults, Description, Features, FeaturesFamily, Generator, GeneratorFamily, Scorer, ScorerFamily, Text,
        TextFamily,
    },
};
use crate::{Error, Result, nn::TensorSource};

/// Name of the description inside a bundle's folder.
pub const FILE: &str = "bundle.toml";

/// Names of the built-in descriptions of released models.
pub const RELEASED: [&str; 3] = ["infinity-2b", "infinity-8b", "infinity-8b-512"];

/// Where Infinity's transformer lies in a checkpoint saved while training.
const GENERATOR_KEYS: [&str; 4] = ["trainer.gpt_fsdp", "trainer.gpt_wo_ddp", "gpt_fsdp", "gpt_wo_ddp"];

/// Where Infinity's VAE lies.
const VAE_KEYS: [&str; 3] = ["vae", "trainer.vae_local", "vae_local"];

/// `med_config.json` as published with ImageReward, for a folder that has only the weights.
const MED_CONFIG: &str = r#"{"hidden_act": "gelu", "hidden_size": 768, "intermediate_size": 3072,
    "layer_norm_eps": 1e-12, "max_position_embeddings": 512, "num_attention_heads": 12, "num_hidden_layers": 12,
    "pad_token_id": 0, "type_vocab_size": 2, "vocab_size": 30524, "encoder_width": 768, "add_cross_attention": true}"#;

/// A description and the folder with its files.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// What the parts are.
    pub description: Description,
    folder: Folder,
    released: bool,
}

impl Bundle {
    /// The bundle of a folder with a `bundle.toml`.
    ///
    /// # Errors
    /// There is none, or it is not valid.
    pub fn open(folder: &Path) -> Result<Self> {
        if !folder.is_dir() {
            let what = if folder.exists() { "expected a folder, found a file" } else { "no such folder" };
            return Err(Error::file(folder, what).with_hint(HINT));
        }
        Self::described(Folder::Disk(folder.to_owned()))
    }

    /// The bundle that is built into the program as these files, `bundle.toml` among them.
    ///
    /// # Errors
    /// As [`Bundle::open`].
    pub fn embedded(name: &str, files: Embedded) -> Result<Self> {
        Self::described(Folder::embedded(name, files))
    }

    fn described(folder: Folder) -> Result<Self> {
        let Some(toml) = folder.file(FILE) else {
            return Err(Error::file(folder.path(), format!("no `{FILE}` in it")).with_hint(HINT));
        };
        Ok(Self { description: Description::read(&toml)?, folder, released: false })
    }

    /// A released model of this name (one of [`RELEASED`]) whose downloads are in `folder`, by their published names,
    /// right there or in sub-folders named after the models (`flan-t5-xl`, `image-reward`, ...).
    ///
    /// # Errors
    /// The name is unknown, or there is no such folder. Missing files are reported when they are opened, or all at
    /// once by [`Bundle::missing`].
    pub fn released(name: &str, folder: &Path) -> Result<Self> {
        let Some(description) = released(name) else {
            let message = format!("unknown model `{name}`; the released models are {}", RELEASED.join(", "));
            return Err(Error::input(message).with_hint(HINT));
        };
        if !folder.is_dir() {
            return Err(Error::file(folder, "no such folder").with_hint(WHERE_TO_GET));
        }
        Ok(Self { description, folder: Folder::Disk(folder.to_owned()), released: true })
    }

    /// The folder with the files.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The generator's transformer.
    ///
    /// # Errors
    /// The file is missing or damaged; so for all functions below.
    pub fn generator_weights(&self) -> Result<Arc<dyn TensorSource>> {
        checkpoint::open(self.locate(&self.description.name, &self.description.generator.weights)?, &GENERATOR_KEYS)
    }

    /// The generator's decoder.
    ///
    /// # Errors
    /// The file is missing or damaged.
    pub fn vae_weights(&self) -> Result<Arc<dyn TensorSource>> {
        checkpoint::open(self.locate(&self.description.name, &self.description.generator.vae)?, &VAE_KEYS)
    }

    /// The text encoder's weights.
    ///
    /// # Errors
    /// The folder is missing, or has no weights.
    pub fn text_weights(&self) -> Result<Arc<dyn TensorSource>> {
        checkpoint::open(self.text_folder()?, &[])
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

    /// The scorer's weights; `None` where the bundle has no scorer.
    ///
    /// # Errors
    /// The file is missing or damaged.
    pub fn scorer_weights(&self) -> Result<Option<Arc<dyn TensorSource>>> {
        let scorer = self.description.scorer.as_ref();
        scorer.map(|scorer| checkpoint::open(self.locate(IMAGE_REWARD, &scorer.weights)?, &[])).transpose()
    }

    /// Settings of the scorer's text tower; `None` where the bundle has no scorer.
    ///
    /// # Errors
    /// The bundle names a file that is missing.
    pub fn scorer_config(&self) -> Result<Option<Blob>> {
        let built_in = Blob::Memory { name: "med_config.json (built in)".into(), bytes: MED_CONFIG.as_bytes() };
        let config = |scorer: &Scorer| match (&scorer.config, self.find(IMAGE_REWARD, "med_config.json")) {
            (Some(name), _) => self.locate_file(IMAGE_REWARD, name),
            (None, Some(Location::File(beside))) => Ok(beside),
            (None, _) => Ok(built_in.clone()),
        };
        self.description.scorer.as_ref().map(config).transpose()
    }

    /// The scorer's WordPiece vocabulary; `None` where the bundle has no scorer.
    ///
    /// # Errors
    /// It is missing.
    pub fn scorer_vocabulary(&self) -> Result<Option<Blob>> {
        self.description.scorer.as_ref().map(|scorer| self.locate_file(BERT, &scorer.vocab)).transpose()
    }

    /// The feature extractor's weights; `None` where the bundle has none.
    ///
    /// # Errors
    /// The file is missing or damaged.
    pub fn features_weights(&self) -> Result<Option<Arc<dyn TensorSource>>> {
        let features = self.description.features.as_ref();
        features.map(|features| checkpoint::open(self.locate(DINOV2, &features.weights)?, &[])).transpose()
    }

    /// `config.json` beside the feature extractor's weights, where they are a Hugging Face folder that has one.
    ///
    /// # Errors
    /// The folder is missing.
    pub fn features_config(&self) -> Result<Option<Blob>> {
        let Some(features) = &self.description.features else { return Ok(None) };
        match self.locate(DINOV2, &features.weights)? {
            Location::Folder(folder) => Ok(folder.file("config.json")),
            Location::File(_) => Ok(None),
        }
    }

    /// What is not there of all that the description names, each with where it is published if that is known.
    pub fn missing(&self) -> Vec<String> {
        let Description { name, generator, text, scorer, features, .. } = &self.description;
        let mut wanted = vec![(name.as_str(), &generator.weights), (name, &generator.vae), (FLAN_T5, &text.weights)];
        if let Some(scorer) = scorer {
            wanted.extend([(IMAGE_REWARD, &scorer.weights), (BERT, &scorer.vocab)]);
            wanted.extend(scorer.config.as_ref().map(|config| (IMAGE_REWARD, config)));
        }
        wanted.extend(features.as_ref().map(|features| (DINOV2, &features.weights)));
        let absent = wanted.into_iter().filter(|(model, file)| self.find(model, file).is_none());
        absent
            .map(|(model, file)| match self.published(model) {
                Some(published) => format!("{file} ({published})"),
                None => file.clone(),
            })
            .collect()
    }

    fn text_folder(&self) -> Result<Folder> {
        match self.locate(FLAN_T5, &self.description.text.weights)? {
            Location::Folder(folder) => Ok(folder),
            Location::File(blob) => Err(Error::file(
                blob.path(),
                "expected a folder with config.json, tokenizer.json and weights, found a file",
            )),
        }
    }

    fn published(&self, model: &str) -> Option<&'static str> {
        catalog::entry(model).filter(|_| self.released).map(|entry| entry.published)
    }

    fn find(&self, model: &str, name: &str) -> Option<Location> {
        let entry = match catalog::entry(model) {
            Some(entry) if self.released => entry,
            _ => return self.folder.find(name),
        };
        if !entry.is_folder() {
            return entry.find(&self.folder, name);
        }
        // A model that is a folder: the sub-folder, or the given folder itself where its files lie right in it.
        let mut places = entry.places(&self.folder);
        places.push(self.folder.clone());
        let whole =
            |place: &Folder| entry.files.iter().all(|names| names.iter().any(|name| place.file(name).is_some()));
        places.into_iter().find(whole).map(Location::Folder)
    }

    fn locate(&self, model: &str, name: &str) -> Result<Location> {
        self.find(model, name).ok_or_else(|| match self.published(model) {
            Some(published) => Error::file(self.folder.path(), format!("no `{name}` of {model} in it"))
                .with_hint(format!("{name} is published at {published}; put it there or into a sub-folder `{model}`")),
            None => missing(&self.folder.path().join(name)).with_hint(format!("{FILE} names it")),
        })
    }

    fn locate_file(&self, model: &str, name: &str) -> Result<Blob> {
        match self.locate(model, name)? {
            Location::File(blob) => Ok(blob),
            Location::Folder(folder) => Err(Error::file(folder.path(), "expected a file, found a folder")),
        }
    }
}

const HINT: &str =
    "`--model` takes a folder with a bundle.toml, or the name of a released model with `--weights FOLDER`";
const FLAN_T5: &str = "flan-t5-xl";
const IMAGE_REWARD: &str = "image-reward";
const BERT: &str = "bert-base-uncased";
const DINOV2: &str = "dinov2-l-reg";

/// The built-in description of a released model.
pub fn released(name: &str) -> Option<Description> {
    let known = RELEASED.contains(&name).then(|| catalog::entry(name)).flatten()?;
    let file = |index: usize| Some((*known.files.get(index)?.first()?).to_owned());
    let generator = Generator {
        family: GeneratorFamily::Infinity,
        weights: file(0)?,
        vae: file(1)?,
        heads: None,
        scales: None,
        rope_grid: None,
    };
    let scorer = Scorer {
        family: ScorerFamily::ImageReward,
        weights: "ImageReward.pt".into(),
        config: None,
        vocab: "vocab.txt".into(),
        heads: None,
    };
    let features = Features {
        family: FeaturesFamily::Dinov2,
        weights: "dinov2_vitl14_reg4_pretrain.pth".into(),
        heads: None,
        size: None,
    };
    Some(Description {
        name: name.into(),
        about: format!("{name} as published, with flan-t5-xl, ImageReward and DINOv2"),
        version: String::new(),
        generator,
        text: Text { family: TextFamily::T5, weights: FLAN_T5.into(), words: None },
        scorer: Some(scorer),
        features: Some(features),
        defaults: released_defaults(name),
    })
}

/// The settings with which the TTS-VAR paper runs Infinity.
fn released_defaults(name: &str) -> Defaults {
    Defaults {
        cfg: Some(3.0),
        tau: Some(0.5),
        top_p: Some(0.97),
        pixels: Some(if name == "infinity-8b-512" { "0.25M" } else { "1M" }.into()),
        lambda: Some(10.0),
        ..Defaults::default()
    }
}

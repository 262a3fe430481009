//! The files of a scorer: those that a bundle describes, or released ones.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    blob::{Blob, Folder, Location},
    bundle::{FILE, check_downloads},
    catalog,
    description::Scorer,
    place::Place,
};
use crate::{
    Error, Result,
    nn::{Signature, TensorSource},
};

/// Whether a scorer works without files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuiltIn {
    /// It needs its files.
    Never,
    /// In the demo, something that is built into the program stands in for its network.
    StandIn,
    /// It has no files.
    Always,
}

/// The files of a kind of scorer, as entries of the catalogue if they are published.
#[derive(Debug)]
pub struct ScorerRelease {
    /// The name of the kind in a `bundle.toml`.
    pub family: &'static str,
    /// Whether it works without files.
    pub built_in: BuiltIn,
    /// False if its files exist only in bundles such as the demo.
    pub published: bool,
    /// Its weights.
    pub weights: &'static str,
    /// Another published form of the same weights, used if those are missing.
    pub other_weights: Option<&'static str>,
    /// The vocabulary of its tokenizer, if it is not published with the weights.
    pub vocabulary: Option<&'static str>,
    /// The encoder below its head, if that is a separate model.
    pub encoder: Option<&'static str>,
    /// True if descriptions may set the number of attention heads.
    pub heads: bool,
    /// The tensors by which its weights are recognised.
    pub signature: &'static Signature,
    /// The tensors by which the weights of its encoder are recognised.
    pub encoder_signature: Option<&'static Signature>,
    /// The usual name and the published contents of the configuration, if folders may lack it.
    pub config: Option<(&'static str, &'static str)>,
}

impl ScorerRelease {
    /// The error that there are no released files to use, for a kind that is not published.
    pub(super) fn unpublished(&self) -> Error {
        let family = self.family;
        Error::input(format!(
            "the scorer `{family}` belongs to the demo and has no released files"
        ))
        .with_hint(
            "choose a released scorer, such as --scorer image-reward; \
             the demo uses its own without --scorer",
        )
    }

    /// The description of the published scorer.
    pub fn description(&self) -> Scorer {
        self.description_with(self.weights)
    }

    /// The same with other weights.
    fn description_with(&self, weights: &str) -> Scorer {
        Scorer {
            family: self.family.to_owned(),
            weights: file_name(weights),
            config: None,
            vocab: self.vocabulary.map(file_name),
            heads: None,
            encoder: self.encoder.map(file_name),
        }
    }

    /// The first fault in the keys of a description of this kind, if any.
    fn fault(&self, scorer: &Scorer) -> Option<Error> {
        let config = Key {
            name: "config",
            given: scorer.config.is_some(),
            known: self.config.is_some(),
            required: false,
        };
        let vocab = Key {
            name: "vocab",
            given: scorer.vocab.is_some(),
            known: self.vocabulary.is_some(),
            required: true,
        };
        let heads = Key {
            name: "heads",
            given: scorer.heads.is_some(),
            known: self.heads,
            required: false,
        };
        let encoder = Key {
            name: "encoder",
            given: scorer.encoder.is_some(),
            known: self.encoder.is_some(),
            required: true,
        };
        let keys = [config, vocab, heads, encoder];
        let family = self.family;
        for key in &keys {
            let name = key.name;
            if key.given && !key.known {
                let mut allowed = vec!["weights"];
                allowed.extend(keys.iter().filter(|key| key.known).map(|key| key.name));
                let allowed = allowed.join(", ");
                let message = format!("scorer `{family}`: unknown key `{name}`; it has {allowed}");
                return Some(Error::input(message).with_hint(format!("remove `{name}`")));
            }
            if !key.given && key.known && key.required {
                let message = format!("scorer `{family}`: the key `{name}` is missing");
                return Some(Error::input(message).with_hint(format!("add `{name}`")));
            }
        }
        None
    }
}

/// A key in the description of a scorer.
struct Key {
    name: &'static str,
    /// True if the description has the key.
    given: bool,
    /// True if this kind of scorer has the key.
    known: bool,
    /// True if the kind of scorer cannot do without the key, given that it has it.
    required: bool,
}

/// The file or folder of an entry of the catalogue.
fn file_name(entry: &str) -> String {
    match catalog::entry(entry) {
        Some(entry) if !entry.is_folder() => entry.files[0][0].to_owned(),
        _ => entry.to_owned(),
    }
}

/// A scorer and the folder with its files.
#[derive(Clone, Debug)]
pub struct ScorerFiles {
    scorer: Scorer,
    release: &'static ScorerRelease,
    place: Place,
    /// The entry of the catalogue that has the weights.
    weights: &'static str,
    built_in: bool,
}

impl ScorerFiles {
    /// A scorer that needs no files.
    pub(super) fn built_in(release: &'static ScorerRelease, place: Place) -> Self {
        Self {
            scorer: release.description(),
            release,
            place,
            weights: release.weights,
            built_in: true,
        }
    }

    /// A scorer that a bundle describes.
    ///
    /// # Errors
    /// The description lacks a key, or has one that this kind of scorer does not know.
    pub(super) fn new(
        scorer: Scorer,
        release: &'static ScorerRelease,
        place: Place,
    ) -> Result<Self> {
        if let Some(fault) = release.fault(&scorer) {
            let file = place.folder().path().join(FILE);
            return Err(Error::in_file(file, fault));
        }
        Ok(Self {
            scorer,
            release,
            place,
            weights: release.weights,
            built_in: false,
        })
    }

    /// The published scorer, whose downloads are in `folder`.
    ///
    /// # Errors
    /// It is not published, or there is no such folder. Missing files are reported when they are opened, or all at once by
    /// [`ScorerFiles::missing`].
    pub fn released(
        release: &'static ScorerRelease,
        folder: &Path,
        state_dict: Option<String>,
    ) -> Result<Self> {
        if !release.published {
            return Err(release.unpublished());
        }
        if release.built_in == BuiltIn::Always {
            let place = Place::bundle(Folder::Disk(folder.to_owned()));
            return Ok(Self::built_in(release, place));
        }
        check_downloads(folder)?;
        let place = Place::downloads(Folder::Disk(folder.to_owned())).with_state_dict(state_dict);
        let files = Self::new(release.description(), release, place)?;
        let Some(other) = release.other_weights else {
            return Ok(files);
        };
        let with_other = Self {
            scorer: release.description_with(other),
            weights: other,
            ..files.clone()
        };
        let only_other = !files.missing().is_empty() && with_other.missing().is_empty();
        Ok(if only_other { with_other } else { files })
    }

    /// Returns whether the scorer needs no files here.
    pub fn are_built_in(&self) -> bool {
        self.built_in
    }

    /// The description of the scorer.
    pub fn scorer(&self) -> &Scorer {
        &self.scorer
    }

    /// The described files that are missing.
    pub fn missing(&self) -> Vec<String> {
        if self.built_in {
            return vec![];
        }
        let mut wanted = vec![(self.weights, self.scorer.weights.as_str())];
        if let Some(name) = &self.scorer.vocab {
            wanted.push((self.vocabulary_entry(), name));
        }
        if let Some(name) = &self.scorer.config {
            wanted.push((self.weights, name));
        }
        if let Some(name) = &self.scorer.encoder {
            wanted.push((self.encoder_entry(), name));
        }
        self.place.missing(wanted)
    }

    /// The weights: a file, or a folder.
    ///
    /// # Errors
    /// They are missing or damaged.
    pub fn weights(&self) -> Result<Arc<dyn TensorSource>> {
        let location = self.place.locate(self.weights, &self.scorer.weights)?;
        let signature = Some(self.release.signature);
        self.place.open(location, &["state_dict"], signature)
    }

    /// The path of the weights.
    ///
    /// # Errors
    /// They are missing.
    pub fn weights_path(&self) -> Result<PathBuf> {
        let location = self.place.locate(self.weights, &self.scorer.weights)?;
        Ok(location.path())
    }

    /// The configuration: the file that the description names, a file of the usual name beside the
    /// weights, or the published one.
    ///
    /// # Errors
    /// The named file is missing, or the folder lacks a file that is required.
    pub fn config(&self) -> Result<Blob> {
        let Some((usual, published)) = self.release.config else {
            return self.folder()?.require("config.json");
        };
        if let Some(name) = &self.scorer.config {
            return self.place.file(self.weights, name);
        }
        match self.place.find(self.weights, usual) {
            Some(Location::File(beside)) => Ok(beside),
            _ => Ok(Blob::Memory {
                name: format!("{usual} (built in)"),
                bytes: published.as_bytes(),
            }),
        }
    }

    /// The `config.json` of a Hugging Face folder, for scorers whose [`ScorerFiles::config`] is that
    /// of another part.
    ///
    /// # Errors
    /// The folder or the file is missing.
    pub fn model_config(&self) -> Result<Blob> {
        self.folder()?.require("config.json")
    }

    /// The `preprocessor_config.json` of a Hugging Face folder, if the folder has one.
    ///
    /// # Errors
    /// The folder is missing.
    pub fn preprocessor_config(&self) -> Result<Option<Blob>> {
        Ok(self.folder()?.file("preprocessor_config.json"))
    }

    /// The vocabulary of the scorer's tokenizer.
    ///
    /// # Errors
    /// It is missing.
    pub fn vocabulary(&self) -> Result<Blob> {
        match &self.scorer.vocab {
            Some(name) => self.place.file(self.vocabulary_entry(), name),
            None => self.folder()?.require("tokenizer.json"),
        }
    }

    /// The encoder below a head that is a separate file.
    ///
    /// # Errors
    /// It is missing or damaged.
    pub fn encoder(&self) -> Result<Arc<dyn TensorSource>> {
        let signature = self.release.encoder_signature;
        self.place.open(self.folder()?.into(), &[], signature)
    }

    fn vocabulary_entry(&self) -> &'static str {
        self.release.vocabulary.unwrap_or(self.weights)
    }

    fn encoder_entry(&self) -> &'static str {
        self.release.encoder.unwrap_or(self.weights)
    }

    /// The Hugging Face folder of the scorer or of its encoder.
    fn folder(&self) -> Result<Folder> {
        match &self.scorer.encoder {
            Some(encoder) => {
                self.place
                    .sub_folder(self.encoder_entry(), encoder, "config.json and weights")
            }
            None => self.place.sub_folder(
                self.weights,
                &self.scorer.weights,
                "config.json, tokenizer.json and weights",
            ),
        }
    }
}

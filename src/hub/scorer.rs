//! The files of a scorer: those that a bundle describes, or released ones.

use std::{path::Path, sync::Arc};

use super::{
    blob::{Blob, Folder, Location, WHERE_TO_GET},
    checkpoint,
    description::{Scorer, ScorerFamily},
    place::Place,
};
use crate::{Error, Result, nn::TensorSource};

/// `med_config.json` as published with ImageReward, for a folder that has only the weights.
const MED_CONFIG: &str = r#"{"hidden_act": "gelu", "hidden_size": 768, "intermediate_size": 3072,
    "layer_norm_eps": 1e-12, "max_position_embeddings": 512, "num_attention_heads": 12, "num_hidden_layers": 12,
    "pad_token_id": 0, "type_vocab_size": 2, "vocab_size": 30524, "encoder_width": 768, "add_cross_attention": true}"#;

/// The model file of OpenCLIP that HPSv2 is built from, for a folder that has only the weights.
const VIT_H_14: &str = r#"{"embed_dim": 1024,
    "vision_cfg": {"image_size": 224, "layers": 32, "width": 1280, "head_width": 80, "patch_size": 14},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 1024, "heads": 16, "layers": 24}}"#;

/// A scorer and the folder with its files.
#[derive(Clone, Debug)]
pub struct ScorerFiles {
    scorer: Scorer,
    place: Place,
}

impl ScorerFiles {
    /// A scorer that a bundle describes.
    pub(super) fn new(scorer: Scorer, place: Place) -> Self {
        Self { scorer, place }
    }

    /// The released scorer of a family, whose downloads are in `folder`.
    ///
    /// # Errors
    /// There is no such folder. Missing files are reported when they are opened, or all at once by
    /// [`ScorerFiles::missing`].
    pub fn released(family: ScorerFamily, folder: &Path) -> Result<Self> {
        if !folder.is_dir() {
            return Err(Error::file(folder, "no such folder").with_hint(WHERE_TO_GET));
        }
        Ok(Self::new(
            released(family),
            Place::downloads(Folder::Disk(folder.to_owned())),
        ))
    }

    /// What the description says.
    pub fn scorer(&self) -> &Scorer {
        &self.scorer
    }

    /// What is not there of all that the description names.
    pub fn missing(&self) -> Vec<String> {
        let Scorer {
            weights,
            vocab,
            config,
            encoder,
            ..
        } = &self.scorer;
        let models = Models::of(self.scorer.family);
        let mut wanted = vec![(models.weights, weights.as_str())];
        wanted.extend(vocab.iter().map(|name| (models.vocab, name.as_str())));
        wanted.extend(config.iter().map(|name| (models.weights, name.as_str())));
        wanted.extend(encoder.iter().map(|name| (models.encoder, name.as_str())));
        self.place.missing(wanted)
    }

    /// The weights: a file, or of CLIP a folder.
    ///
    /// # Errors
    /// They are missing or damaged; so for all functions below.
    pub fn weights(&self) -> Result<Arc<dyn TensorSource>> {
        let models = Models::of(self.scorer.family);
        checkpoint::open(
            self.place.locate(models.weights, &self.scorer.weights)?,
            &["state_dict"],
        )
    }

    /// What the weights cannot tell: a file that the description names, one of the usual name
    /// beside the weights, or the released one.
    ///
    /// # Errors
    /// The description names a file that is missing, or the folder has none and needs one.
    pub fn config(&self) -> Result<Blob> {
        let model = Models::of(self.scorer.family).weights;
        let (usual, built_in) = match self.scorer.family {
            ScorerFamily::ImageReward => ("med_config.json", MED_CONFIG),
            ScorerFamily::Hps => ("open_clip_model_config.json", VIT_H_14),
            ScorerFamily::Clip | ScorerFamily::Aesthetic => {
                return self.folder()?.require("config.json");
            }
        };
        if let Some(name) = &self.scorer.config {
            return self.place.file(model, name);
        }
        match self.place.find(model, usual) {
            Some(Location::File(beside)) => Ok(beside),
            _ => Ok(Blob::Memory {
                name: format!("{usual} (built in)"),
                bytes: built_in.as_bytes(),
            }),
        }
    }

    /// The vocabulary of the scorer's tokenizer.
    ///
    /// # Errors
    /// It is missing.
    pub fn vocabulary(&self) -> Result<Blob> {
        match &self.scorer.vocab {
            Some(name) => self.place.file(Models::of(self.scorer.family).vocab, name),
            None => self.folder()?.require("tokenizer.json"),
        }
    }

    /// The encoder below a head that is a file of its own.
    ///
    /// # Errors
    /// It is missing or damaged.
    pub fn encoder(&self) -> Result<Arc<dyn TensorSource>> {
        checkpoint::open(self.folder()?, &[])
    }

    /// The folder of Hugging Face that the scorer is, or stands on.
    fn folder(&self) -> Result<Folder> {
        let models = Models::of(self.scorer.family);
        match &self.scorer.encoder {
            Some(encoder) => {
                self.place
                    .sub_folder(models.encoder, encoder, "config.json and weights")
            }
            None => {
                let what = "config.json, tokenizer.json and weights";
                self.place
                    .sub_folder(models.weights, &self.scorer.weights, what)
            }
        }
    }
}

/// Entries of the catalogue that a released scorer's files belong to.
struct Models {
    weights: &'static str,
    vocab: &'static str,
    encoder: &'static str,
}

impl Models {
    fn of(family: ScorerFamily) -> Self {
        let (weights, vocab, encoder) = match family {
            ScorerFamily::ImageReward => ("image-reward", "bert-base-uncased", ""),
            ScorerFamily::Hps => ("hps-v2.1", "clip-bpe", ""),
            ScorerFamily::Clip => ("clip-vit-large-patch14", "", ""),
            ScorerFamily::Aesthetic => ("aesthetic-v2.5", "", "siglip-so400m-patch14-384"),
        };
        Self {
            weights,
            vocab,
            encoder,
        }
    }
}

/// The entries of the catalogue that the released scorer of a family needs.
pub fn entries(family: ScorerFamily) -> Vec<&'static str> {
    let Models {
        weights,
        vocab,
        encoder,
    } = Models::of(family);
    [weights, vocab, encoder]
        .into_iter()
        .filter(|name| !name.is_empty())
        .collect()
}

/// The description of the released scorer of a family.
pub(super) fn released(family: ScorerFamily) -> Scorer {
    let (weights, vocab, encoder) = match family {
        ScorerFamily::ImageReward => ("ImageReward.pt", Some("vocab.txt"), None),
        ScorerFamily::Hps => ("HPS_v2.1_compressed.pt", Some("merges.txt"), None),
        ScorerFamily::Clip => ("clip-vit-large-patch14", None, None),
        ScorerFamily::Aesthetic => (
            "aesthetic_predictor_v2_5.pth",
            None,
            Some("siglip-so400m-patch14-384"),
        ),
    };
    let (vocab, encoder) = (vocab.map(str::to_owned), encoder.map(str::to_owned));
    Scorer {
        family,
        weights: weights.to_owned(),
        config: None,
        vocab,
        heads: None,
        encoder,
    }
}

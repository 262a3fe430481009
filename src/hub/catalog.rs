//! The released weights that the program knows by name: their files, where they are published, what they look like.
//!
//! A checksum or size that is not known is left out, never invented.

use std::path::PathBuf;

use super::blob::{Folder, Location};

/// A released model.
#[derive(Debug)]
pub struct Entry {
    /// The name it has here, also of the sub-folder in which its files are looked for.
    pub name: &'static str,
    /// Other sub-folders in which its files are looked for.
    pub folders: &'static [&'static str],
    /// Its files, each a list of names of which one is enough.
    pub files: &'static [&'static [&'static str]],
    /// Where it is published.
    pub published: &'static str,
    /// How the tensors lie in the files.
    pub kind: &'static str,
    /// What it is used for here.
    pub used: Use,
}

/// What a released model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Paints.
    Generator,
    /// Reads prompts.
    Text,
    /// Scores pictures.
    Scorer,
    /// Tells pictures apart.
    Features,
    /// Judges finished pictures in an evaluation.
    Evaluation,
}

const INFINITY: &str = "Hugging Face FoundationVision/Infinity";
const INFINITY_FOLDERS: &[&str] = &["infinity", "Infinity", "generator", "models--FoundationVision--Infinity"];
const T5_WEIGHTS: &[&str] = &["model.safetensors.index.json", "pytorch_model.bin.index.json", "model.safetensors"];
const HF_FOLDER: &[&[&str]] = &[&["config.json"], &["model.safetensors", "pytorch_model.bin"]];

/// Every released model that is known by name.
pub const ENTRIES: &[Entry] = &[
    Entry {
        name: "infinity-2b",
        folders: INFINITY_FOLDERS,
        files: &[&["infinity_2b_reg.pth"], &["infinity_vae_d32reg.pth"]],
        published: INFINITY,
        kind: "plain state dict; VAE under `vae`",
        used: Use::Generator,
    },
    Entry {
        name: "infinity-8b",
        folders: INFINITY_FOLDERS,
        files: &[&["infinity_8b_weights"], &["infinity_vae_d56_f8_14_patchify.pth"]],
        published: INFINITY,
        kind: "sharded safetensors; patchify, VAE patch 8, 14 bits",
        used: Use::Generator,
    },
    Entry {
        name: "infinity-8b-512",
        folders: INFINITY_FOLDERS,
        files: &[&["infinity_8b_512x512_weights"], &["infinity_vae_d56_f8_14_patchify.pth"]],
        published: INFINITY,
        kind: "as infinity-8b, for 512 px",
        used: Use::Generator,
    },
    Entry {
        name: "flan-t5-xl",
        folders: &["text", "models--google--flan-t5-xl"],
        files: &[&["config.json"], &["tokenizer.json"], T5_WEIGHTS],
        published: "Hugging Face google/flan-t5-xl",
        kind: "folder; two shards, as safetensors and as .bin; the encoder is used",
        used: Use::Text,
    },
    Entry {
        name: "image-reward",
        folders: &["ImageReward", "scorer", "models--THUDM--ImageReward"],
        files: &[&["ImageReward.pt"]],
        published: "Hugging Face THUDM/ImageReward",
        kind: "flat dict; 16 vision and 12 text heads",
        used: Use::Scorer,
    },
    Entry {
        name: "bert-base-uncased",
        folders: &["image-reward", "ImageReward", "scorer", "models--google-bert--bert-base-uncased"],
        files: &[&["vocab.txt"]],
        published: "Hugging Face google-bert/bert-base-uncased",
        kind: "WordPiece vocabulary of ImageReward, which adds [DEC] and [ENC]; no weights needed",
        used: Use::Scorer,
    },
    Entry {
        name: "dinov2-l-reg",
        folders: &["dinov2", "features"],
        files: &[&["dinov2_vitl14_reg4_pretrain.pth"]],
        published: "facebookresearch/dinov2, model zoo",
        kind: "flat dict; 16 heads",
        used: Use::Features,
    },
    Entry {
        name: "dinov2-large",
        folders: &["dinov2-with-registers-large", "models--facebook--dinov2-with-registers-large"],
        files: HF_FOLDER,
        published: "Hugging Face facebook/dinov2-large, facebook/dinov2-with-registers-large",
        kind: "folder",
        used: Use::Features,
    },
    Entry {
        name: "hps-v2.1",
        folders: &["HPSv2", "models--xswu--HPSv2"],
        files: &[&["HPS_v2.1_compressed.pt"]],
        published: "Hugging Face xswu/HPSv2",
        kind: "under `state_dict`; open_clip ViT-H-14, 16 vision and 16 text heads",
        used: Use::Evaluation,
    },
    Entry {
        name: "clip-vit-large-patch14",
        folders: &["clip-l", "models--openai--clip-vit-large-patch14"],
        files: HF_FOLDER,
        published: "Hugging Face openai/clip-vit-large-patch14",
        kind: "folder; 16 vision and 12 text heads",
        used: Use::Evaluation,
    },
    Entry {
        name: "clip-vit-base-patch32",
        folders: &["clip-b-32", "models--openai--clip-vit-base-patch32"],
        files: HF_FOLDER,
        published: "Hugging Face openai/clip-vit-base-patch32",
        kind: "folder; 12 vision and 8 text heads",
        used: Use::Evaluation,
    },
    Entry {
        name: "aesthetic-v2.5",
        folders: &["aesthetic-predictor-v2-5"],
        files: &[&["aesthetic_predictor_v2_5.pth"]],
        published: "GitHub discus0434/aesthetic-predictor-v2-5",
        kind: "bfloat16 head",
        used: Use::Evaluation,
    },
    Entry {
        name: "siglip-so400m-patch14-384",
        folders: &["models--google--siglip-so400m-patch14-384"],
        files: HF_FOLDER,
        published: "Hugging Face google/siglip-so400m-patch14-384",
        kind: "folder; encoder of aesthetic-v2.5, 16 heads",
        used: Use::Evaluation,
    },
    Entry {
        name: "blip-vqa",
        folders: &["BLIP"],
        files: &[&["model_base_vqa_capfilt_large.pth"]],
        published: "salesforce/BLIP",
        kind: "under `model`; 12 heads",
        used: Use::Evaluation,
    },
    Entry {
        name: "mask2former-swin-s",
        folders: &["mask2former"],
        files: &[&["mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco_20220504_001756-743b7d99.pth"]],
        published: "OpenMMLab model zoo, mmdetection v2.0",
        kind: "what GenEval uses",
        used: Use::Evaluation,
    },
    Entry {
        name: "mask2former-swin-small-coco-instance",
        folders: &["models--facebook--mask2former-swin-small-coco-instance"],
        files: HF_FOLDER,
        published: "Hugging Face facebook/mask2former-swin-small-coco-instance",
        kind: "folder",
        used: Use::Evaluation,
    },
];

/// A file of a released model, and where it was found.
#[derive(Clone, Debug)]
pub struct Presence {
    /// Its name: the one found, otherwise the preferred one.
    pub file: &'static str,
    /// Where it is, or `None`.
    pub found: Option<PathBuf>,
}

/// The entry of this name.
pub fn entry(name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.name == name)
}

impl Entry {
    /// Which of the files are there.
    pub fn presence(&self, folder: &Folder) -> Vec<Presence> {
        let present = |names: &'static [&'static str]| {
            let found = names.iter().find_map(|name| Some((*name, self.find(folder, name)?)));
            match found {
                Some((file, location)) => Presence { file, found: Some(location.path()) },
                None => Presence { file: names.first().copied().unwrap_or_default(), found: None },
            }
        };
        self.files.iter().map(|names| present(names)).collect()
    }

    /// One of the files, right in `folder` or in a sub-folder named after the model. Names that many models share
    /// (`config.json`) are looked for in the sub-folders alone.
    pub fn find(&self, folder: &Folder, file: &str) -> Option<Location> {
        let own = self.places(folder).into_iter().find_map(|place| place.find(file));
        own.or_else(|| if self.is_folder() { None } else { folder.find(file) })
    }

    /// Whether its files have names that many models share, so that it is one folder.
    pub fn is_folder(&self) -> bool {
        self.files.iter().any(|names| names.contains(&"config.json"))
    }

    /// The sub-folders of `folder` that may hold its files, among them the snapshots of a Hugging Face cache.
    pub fn places(&self, folder: &Folder) -> Vec<Folder> {
        let names = std::iter::once(self.name).chain(self.folders.iter().copied());
        let found = names.filter_map(|name| match folder.find(name) {
            Some(Location::Folder(place)) => Some(place),
            _ => None,
        });
        let with_snapshots = found.flat_map(|place| {
            let snapshots = match place.find("snapshots") {
                Some(Location::Folder(snapshots)) => snapshots.folders(),
                _ => Vec::new(),
            };
            std::iter::once(place).chain(snapshots)
        });
        with_snapshots.collect()
    }
}

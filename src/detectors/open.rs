//! Opens the files of a detector, whoever wrote them.

use std::{path::Path, sync::Arc};

use candle_core::{DType, Device};
use serde::Deserialize;

use super::{ClipColours, Mask2FormerDetector};
use crate::{
    Error, Result,
    hub::{self, Folder, Location},
    models::{
        clip::{self, Clip},
        mask2former::{Config, Mask2Former, MmdetNames},
    },
    nn::Weights,
    text::ClipTokenizer,
};

/// What a `preprocessor_config.json` says of the size of pictures.
#[derive(Deserialize)]
struct Processor {
    size: Size,
}

#[derive(Deserialize)]
struct Size {
    shortest_edge: usize,
    longest_edge: usize,
}

/// A Mask2Former: a folder of Hugging Face, or a checkpoint of mmdetection, for which the numbers of heads are those of the
/// released Swin-S unless a `config.json` lies beside it. A `preprocessor_config.json` there says how large pictures are
/// made; without it they are fitted into 1333 x 800.
///
/// # Errors
/// Something is missing or damaged, or is no Mask2Former with a Swin.
pub fn mask2former(path: &Path, device: &Device) -> Result<Mask2FormerDetector> {
    let folder = if path.is_dir() { Some(path) } else { path.parent() };
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = Folder::Disk(folder.to_owned());
    let config = folder.file("config.json").map(|file| file.json::<Config>()).transpose()?;
    let file = hub::open(Location::from(path), &["state_dict"])?;
    let file = if MmdetNames::fit(file.as_ref()) { Arc::new(MmdetNames::new(file)) } else { file };
    let weights = Weights::new(file, DType::F32, device);
    if !weights.has("model.transformer_module.queries_features.weight") {
        return Err(Error::file(path, "is no Mask2Former")
            .with_hint("give a checkpoint of mmdetection or a folder of Hugging Face; `ttsvar models` names both"));
    }
    let model = Mask2Former::load(&weights, &config.unwrap_or_default())?;
    let detector = Mask2FormerDetector::new(model);
    Ok(match folder.file("preprocessor_config.json").map(|file| file.json::<Processor>()).transpose()? {
        Some(Processor { size }) if size.shortest_edge > 0 && size.longest_edge >= size.shortest_edge => {
            detector.fitting(size.longest_edge, size.shortest_edge)
        }
        _ => detector,
    })
}

/// A CLIP that names colours: a folder of Hugging Face with `config.json`, `model.safetensors` and `tokenizer.json`.
///
/// # Errors
/// Something is missing or damaged, or is no CLIP.
pub fn clip_colours(path: &Path, device: &Device) -> Result<ClipColours> {
    let folder = Folder::Disk(path.to_owned());
    let config: clip::Config = folder.require("config.json")?.json()?;
    let tokenizer = ClipTokenizer::open(&folder.require("tokenizer.json")?)?;
    let weights = Weights::new(hub::open(Location::from(path), &[])?, DType::F32, device);
    ClipColours::new(Clip::load(&weights, &config)?, tokenizer)
}

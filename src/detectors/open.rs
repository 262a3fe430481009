//! Opens the files of a detector in all known formats.

use std::{path::Path, sync::Arc};

use candle_core::Device;
use serde::Deserialize;
use serde_json::Value;

use super::{
    BlipAnswers, ClipColours, Mask2FormerDetector,
    mask2former::{MEAN, STD},
};
use crate::{
    Error, Result,
    hub::{self, Blob, Folder, Location, Wanted},
    image::{Preprocess, PreprocessorConfig},
    models::{
        blip::{BlipVqa, TextConfig},
        clip::{self, Clip},
        mask2former::{Config, Mask2Former, MmdetNames},
    },
    nn::{Dtype, Signature, TensorSource, Weights},
    text::{ClipTokenizer, WordPieceTokenizer},
};

/// The `preprocessor_config.json` of a folder, if it has one.
fn preprocessor_config(folder: &Folder) -> Result<Option<PreprocessorConfig>> {
    match folder.file("preprocessor_config.json") {
        Some(blob) => PreprocessorConfig::read(blob.path(), &blob.text()?).map(Some),
        None => Ok(None),
    }
}

/// The weights of a network that is recognised by `signature`.
fn wanted<'a>(usual: &'a [&'a str], signature: &'a Signature) -> Wanted<'a> {
    Wanted {
        usual,
        signature: Some(signature),
        state_dict: None,
    }
}

/// The folder that a path is or lies in.
fn beside(path: &Path) -> Folder {
    let folder = if path.is_dir() {
        Some(path)
    } else {
        path.parent()
    };
    let folder = folder
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    Folder::Disk(folder.to_owned())
}

/// Returns whether a `config.json` belongs to a Mask2Former: in a folder of many downloads it may
/// belong to any model.
fn is_of_mask2former(config: &Blob) -> bool {
    config
        .json::<Value>()
        .is_ok_and(|config| config["model_type"] == "mask2former")
}

/// A Mask2Former: a folder of Hugging Face, or a checkpoint of mmdetection, for which the numbers
/// of heads are those of the released Swin-S unless the `config.json` of one lies beside it. A
/// `preprocessor_config.json` there says how large images are made by its edges; otherwise they
/// are fitted into 1333 x 800, as GenEval has it.
///
/// # Errors
/// Something is missing or damaged, or is not a Mask2Former with a Swin.
pub fn mask2former(path: &Path, device: &Device) -> Result<Mask2FormerDetector> {
    let (detector, _) = mask2former_of(path, |file| Weights::new(file, Dtype::F32, device))?;
    Ok(detector)
}

/// A Mask2Former with the 80 classes of COCO.
///
/// # Errors
/// As [`mask2former`], or it has other classes.
pub fn coco_detector(path: &Path, device: &Device) -> Result<Mask2FormerDetector> {
    let weights = |file| Weights::new(file, Dtype::F32, device);
    Ok(coco_detector_of(path, weights)?.0)
}

/// The same with its weights, which `weights` makes of the file.
///
/// # Errors
/// As [`coco_detector`].
pub fn coco_detector_of(
    path: &Path,
    weights: impl FnOnce(Arc<dyn TensorSource>) -> Weights,
) -> Result<(Mask2FormerDetector, Weights)> {
    let (detector, weights) = mask2former_of(path, weights)?;
    let classes = detector.classes();
    if classes != COCO_CLASSES {
        let message = format!(
            "expected a detector with the {COCO_CLASSES} classes of COCO, found {classes} classes"
        );
        return Err(Error::file(path, message)
            .with_hint("use mask2former-swin-s or mask2former-swin-small-coco-instance"));
    }
    Ok((detector, weights))
}

/// The number of classes of COCO.
pub const COCO_CLASSES: usize = 80;

/// The detector with its weights, which `weights` makes of the file.
fn mask2former_of(
    path: &Path,
    weights: impl FnOnce(Arc<dyn TensorSource>) -> Weights,
) -> Result<(Mask2FormerDetector, Weights)> {
    let folder = beside(path);
    let file = hub::open(
        Location::from(path),
        wanted(&["state_dict"], &Mask2Former::SIGNATURE),
    )?;
    let renamed = MmdetNames::fit(file.as_ref());
    let config = folder
        .file("config.json")
        .filter(|file| !renamed || is_of_mask2former(file));
    let config = config.map(|file| file.json::<Config>()).transpose()?;
    let file = if renamed {
        Arc::new(MmdetNames::new(file))
    } else {
        file
    };
    let weights = weights(file);
    if !weights.has("model.transformer_module.queries_features.weight") {
        return Err(
            Error::file(path, "expected a Mask2Former, found another model").with_hint(
                "give an mmdetection checkpoint or a Hugging Face folder; \
                 `ttsvar models` lists both",
            ),
        );
    }
    let model = Mask2Former::load(&weights, &config.unwrap_or_default())?;
    let detector = Mask2FormerDetector::new(model);
    let processor = preprocessor_config(&folder)?;
    if let Some(processor) = &processor {
        processor.require_normalization(MEAN, STD)?;
    }
    let detector = match processor.and_then(|processor| processor.edges()) {
        Some((longest, shortest)) => detector.fitting(longest, shortest),
        None => detector,
    };
    Ok((detector, weights))
}

/// A CLIP that names colours and compares: a folder of Hugging Face with `config.json`,
/// `model.safetensors` and `tokenizer.json`.
///
/// # Errors
/// Something is missing or damaged, or is not a CLIP.
pub fn clip_colours(path: &Path, device: &Device) -> Result<ClipColours> {
    let folder = Folder::Disk(path.to_owned());
    let config: clip::Config = folder.require("config.json")?.json()?;
    let tokenizer = ClipTokenizer::open(&folder.require("tokenizer.json")?)?;
    let weights = Weights::new(
        hub::open(Location::from(path), wanted(&[], &Clip::SIGNATURE))?,
        Dtype::F32,
        device,
    );
    let clip = Clip::load(&weights, &config)?;
    let processor = preprocessor_config(&folder)?;
    let preprocess = Preprocess::CLIP.configured(processor.as_ref(), clip.vision_model.side())?;
    ClipColours::new(clip, tokenizer, preprocess)
}

/// An optional `config.json` beside the weights of a BLIP.
#[derive(Deserialize)]
struct BlipConfig {
    vision_heads: Option<usize>,
}

/// A BLIP that answers questions: `model_base_vqa_capfilt_large.pth`, or a folder with one such
/// file. Heads are those of the released model unless `med_config.json` and `config.json` beside it
/// say something else. `vocabulary` is the `vocab.txt` of bert-base-uncased.
///
/// # Errors
/// Something is missing or damaged, or is not a BLIP for question answering.
pub fn blip_vqa(path: &Path, vocabulary: &Path, device: &Device) -> Result<BlipAnswers> {
    let folder = beside(path);
    let weights = Weights::new(
        hub::open(
            Location::from(path),
            wanted(&["model"], &BlipVqa::SIGNATURE),
        )?,
        Dtype::F32,
        device,
    );
    if !weights.has("text_decoder.bert.embeddings.word_embeddings.weight") {
        return Err(Error::file(
            path,
            "expected a BLIP for question answering, found another model",
        )
        .with_hint(
            "give `model_base_vqa_capfilt_large.pth`; \
                 `ttsvar models` says where it is published",
        ));
    }
    let text = folder
        .file("med_config.json")
        .map(|file| file.json::<TextConfig>())
        .transpose()?;
    let config = folder
        .file("config.json")
        .map(|file| file.json::<BlipConfig>())
        .transpose()?;
    let heads = config.and_then(|config| config.vision_heads);
    let model = BlipVqa::load(&weights, &text.unwrap_or_default(), heads)?;
    BlipAnswers::new(
        model,
        WordPieceTokenizer::open(&Blob::Disk(vocabulary.to_owned()))?,
    )
}

//! Shards: safetensors files with a fixed number of samples.

use std::{fs::File, io::Read, ops::Range, path::Path, str::FromStr};

use half::f16;
use safetensors::{
    Dtype, serialize,
    tensor::{Metadata, TensorView},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use ttsvar_search::{FeatureMap, Image, suggestion::suggest};

use super::{Sample, Settings};
use crate::{Error, Result, input};

/// The data type of stored latents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LatentType {
    /// 16-bit floating point.
    #[default]
    F16,
    /// 32-bit floating point.
    F32,
}

impl LatentType {
    fn dtype(self) -> Dtype {
        match self {
            Self::F16 => Dtype::F16,
            Self::F32 => Dtype::F32,
        }
    }

    fn bytes(self, values: impl Iterator<Item = f32>) -> Vec<u8> {
        match self {
            Self::F16 => values
                .flat_map(|value| f16::from_f32(value).to_le_bytes())
                .collect(),
            Self::F32 => values.flat_map(f32::to_le_bytes).collect(),
        }
    }
}

impl FromStr for LatentType {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "f16" => Ok(Self::F16),
            "f32" => Ok(Self::F32),
            _ => {
                let hint = suggest(name, &["f16", "f32"], "expected `f16` or `f32`");
                Err(Error::input(format!("unknown type of latents `{name}`")).with_hint(hint))
            }
        }
    }
}

/// The only key of the metadata. A second one could change places, and bytes would differ.
const METADATA: &str = "samples";

/// The texts of a shard: prompt, captions and seed of each sample.
pub(super) fn texts(settings: &Settings, range: Range<usize>) -> String {
    let sample = |index| {
        let (captioned, seed) = settings.task(index);
        let captions: Vec<&str> = captioned.scored().collect();
        json!({ "prompt": captioned.prompt, "captions": captions, "seed": seed })
    };
    let samples: Vec<_> = range.map(sample).collect();
    json!(samples).to_string()
}

/// The file of a shard with these samples:
///
/// - `latents` (samples, scales, channels, height, width)
/// - `hidden.S` (samples, channels, height, width) for each scale `S`, if hidden states are stored
/// - `scores` (M), one per sample and caption, sample by sample
/// - `sample` (M), the index in this shard of the sample that each score belongs to
/// - `images` (samples, height, width, 3), the finished images, if they are stored
///
/// # Errors
/// The latents of two samples have different shapes.
pub(super) fn encode(
    settings: &Settings,
    range: Range<usize>,
    samples: &[Sample],
) -> Result<Vec<u8>> {
    let latents = samples.iter().flat_map(|sample| &sample.latents);
    let maps = latents.map(|latent| &latent.map);
    let [channels, height, width] = common_shape(maps.clone())?;
    let shape = vec![
        samples.len(),
        settings.scales.len(),
        channels,
        height,
        width,
    ];
    let values = maps.flat_map(|map| map.values.iter().copied());
    let latents = settings.latents.bytes(values);
    let hidden = match settings.hidden_block {
        Some(_) => hidden_states(settings, samples)?,
        None => vec![],
    };
    let scores: Vec<u8> = samples
        .iter()
        .flat_map(|sample| &sample.scores)
        .flat_map(|score| score.to_le_bytes())
        .collect();
    let of_sample: Vec<u8> = samples
        .iter()
        .enumerate()
        .flat_map(|(i, sample)| std::iter::repeat_n(i as i64, sample.scores.len()))
        .flat_map(i64::to_le_bytes)
        .collect();
    let count = scores.len() / 4;
    let dtype = settings.latents.dtype();
    let mut tensors = vec![
        ("latents", TensorView::new(dtype, shape, &latents)),
        ("scores", TensorView::new(Dtype::F32, vec![count], &scores)),
        (
            "sample",
            TensorView::new(Dtype::I64, vec![count], &of_sample),
        ),
    ];
    for ShardTensor { name, shape, bytes } in &hidden {
        tensors.push((name, TensorView::new(dtype, shape.clone(), bytes)));
    }
    let images: Vec<&Image> = samples
        .iter()
        .filter_map(|sample| sample.image.as_ref())
        .collect();
    let pixels: Vec<u8> = images
        .iter()
        .flat_map(|image| image.pixels())
        .copied()
        .collect();
    if let Some(first) = images.first() {
        let shape = vec![images.len(), first.height(), first.width(), 3];
        tensors.push(("images", TensorView::new(Dtype::U8, shape, &pixels)));
    }
    let mut views = vec![];
    for (name, view) in tensors {
        views.push((name, view.map_err(internal)?));
    }
    let metadata = [(METADATA.to_owned(), texts(settings, range))];
    serialize(views, Some(metadata.into())).map_err(internal)
}

fn internal(error: impl std::fmt::Display) -> Error {
    Error::internal(format!("a shard cannot be written: {error}"))
}

/// A tensor of a shard.
struct ShardTensor {
    name: String,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// The hidden states after each stored scale.
///
/// # Errors
/// They are missing, or those of two samples have different shapes.
fn hidden_states(settings: &Settings, samples: &[Sample]) -> Result<Vec<ShardTensor>> {
    let mut tensors = vec![];
    for (place, scale) in settings.scales.iter().enumerate() {
        let maps = samples
            .iter()
            .filter_map(|sample| sample.latents[place].hidden.as_ref());
        let [channels, height, width] = common_shape(maps.clone())?;
        let values = maps.flat_map(|map| map.values.iter().copied());
        tensors.push(ShardTensor {
            name: format!("hidden.{scale}"),
            shape: vec![samples.len(), channels, height, width],
            bytes: settings.latents.bytes(values),
        });
    }
    Ok(tensors)
}

/// The shape that all maps share.
fn common_shape<'m>(maps: impl IntoIterator<Item = &'m FeatureMap>) -> Result<[usize; 3]> {
    let mut shapes = maps.into_iter().map(FeatureMap::shape);
    let first = shapes
        .next()
        .ok_or_else(|| Error::internal("a shard without latents or hidden states"))?;
    match shapes.find(|shape| *shape != first) {
        Some(other) => Err(Error::internal(format!(
            "maps of {first:?} and of {other:?} cannot be in one shard"
        ))),
        None => Ok(first),
    }
}

/// Checks that a file is a complete shard of these samples. Only its header is read.
///
/// # Errors
/// The file cannot be read, is damaged, or holds other samples.
pub(super) fn check(settings: &Settings, range: Range<usize>, path: &Path) -> Result<()> {
    let fault = |what: String| {
        Error::file(path, what)
            .with_hint("remove that file and resume; its samples are drawn again")
    };
    let mut file = input::open(path)?;
    let header = read_header(&mut file).map_err(Error::io(path))?;
    let metadata: Metadata = serde_json::from_slice(&header)
        .map_err(|error| fault(format!("not a complete shard: {error}")))?;
    let expected = (8 + header.len() + metadata.data_len()) as u64;
    let found = file.metadata().map_err(Error::io(path))?.len();
    if found != expected {
        return Err(fault(format!(
            "expected a shard of {expected} bytes, found {found}"
        )));
    }
    let count = metadata
        .tensors()
        .get("latents")
        .and_then(|latents| latents.shape.first().copied());
    let known = metadata.metadata().as_ref();
    let same_texts =
        known.is_some_and(|known| known.get(METADATA) == Some(&texts(settings, range.clone())));
    if count != Some(range.len()) || !same_texts {
        return Err(fault("holds other samples than its name says".to_owned()));
    }
    Ok(())
}

/// Bytes of the longest header that is read.
const LONGEST_HEADER: u64 = 100_000_000;

/// The JSON at the start of a safetensors file; less of it, or nothing, if the file is too short.
fn read_header(file: &mut File) -> std::io::Result<Vec<u8>> {
    let mut length = vec![];
    file.take(8).read_to_end(&mut length)?;
    let length: [u8; 8] = length.as_slice().try_into().unwrap_or_default();
    let length = u64::from_le_bytes(length).min(LONGEST_HEADER);
    let mut header = vec![];
    file.take(length).read_to_end(&mut header)?;
    Ok(header)
}

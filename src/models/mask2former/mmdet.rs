//! The names and the order of values in checkpoints of mmdetection, read as if they were those of
//! Hugging Face.
//!
//! mmdetection 2 (open-mmlab/mmdetection, `mmdet/models/dense_heads/mask2former_head.py`; GenEval's
//! checkpoint) and 3
//! differ in the names inside the layers; both are known. Three things are more than names:
//! projections that are one tensor there and three here, and the channels of a merged patch, which
//! lie pixel by pixel here and channel by channel there.

use std::{collections::BTreeMap, sync::Arc};

use candle_core::Tensor;

use crate::{
    Result,
    nn::{StateDictChoice, TensorInfo, TensorSource},
};

/// A checkpoint of mmdetection under the names of Hugging Face. Tensors without a known
/// counterpart keep their names.
pub struct MmdetNames {
    file: Arc<dyn TensorSource>,
    /// Name here, name in the file, part of the tensor.
    names: BTreeMap<String, (String, TensorPart)>,
}

/// The part of a tensor that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TensorPart {
    Whole,
    /// Of queries, keys and values, one behind the other.
    Third(usize),
    /// All, with the last axis in the order of Hugging Face.
    Merged,
}

impl MmdetNames {
    /// Returns whether a file is one of mmdetection's.
    pub fn fit(file: &dyn TensorSource) -> bool {
        file.info("panoptic_head.query_feat.weight").is_some()
    }

    /// Reads `file` under other names.
    pub fn new(file: Arc<dyn TensorSource>) -> Self {
        let names = file.names().into_iter().flat_map(|theirs| {
            renamed(&theirs)
                .into_iter()
                .map(move |(ours, part)| (ours, (theirs.clone(), part)))
        });
        Self {
            names: names.collect(),
            file,
        }
    }
}

impl TensorSource for MmdetNames {
    fn origin(&self) -> String {
        self.file.origin()
    }

    fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        let (theirs, part) = self.names.get(name)?;
        let mut info = self.file.info(theirs)?;
        if let (TensorPart::Third(_), Some(rows)) = (part, info.shape.first_mut()) {
            *rows /= 3;
        }
        Some(info)
    }

    fn load(&self, name: &str) -> Result<Tensor> {
        let Some((theirs, part)) = self.names.get(name) else {
            return self.file.load(name);
        };
        let tensor = self.file.load(theirs)?;
        Ok(match part {
            TensorPart::Whole => tensor,
            TensorPart::Third(i) => {
                let rows = tensor.dim(0)? / 3;
                tensor.narrow(0, i * rows, rows)?.contiguous()?
            }
            TensorPart::Merged => pixel_by_pixel(&tensor)?,
        })
    }

    fn state_dict(&self) -> Option<&StateDictChoice> {
        self.file.state_dict()
    }
}

/// The last axis from `channel * 4 + row * 2 + column` to `(column * 2 + row) * channels +
/// channel`.
fn pixel_by_pixel(x: &Tensor) -> candle_core::Result<Tensor> {
    let shape = x.dims().to_vec();
    let last = shape.last().copied().unwrap_or(0);
    let rows = x.elem_count() / last.max(1);
    let channels = last / 4;
    let x = x
        .reshape(vec![rows, channels, 2, 2])?
        .permute((0, 3, 2, 1))?; // (rows, column, row, channel)
    x.contiguous()?.reshape(shape)
}

/// The names at Hugging Face of a tensor of mmdetection: one name, or three for queries, keys and
/// values.
fn renamed(theirs: &str) -> Vec<(String, TensorPart)> {
    let known = theirs
        .strip_prefix("backbone.")
        .and_then(backbone)
        .or_else(|| {
            let head = theirs.strip_prefix("panoptic_head.")?;
            if let Some(rest) = head.strip_prefix("pixel_decoder.") {
                return pixel_decoder(rest);
            }
            match head.strip_prefix("transformer_decoder.") {
                Some(rest) => transformer_decoder(rest),
                None => heads(head),
            }
        });
    known.unwrap_or_else(|| vec![(theirs.to_owned(), TensorPart::Whole)])
}

fn whole(name: String) -> Option<Vec<(String, TensorPart)>> {
    Some(vec![(name, TensorPart::Whole)])
}

fn backbone(name: &str) -> Option<Vec<(String, TensorPart)>> {
    const ENCODER: &str = "model.pixel_level_module.encoder";
    if let Some((stage, rest)) = name.strip_prefix("norm").and_then(numbered) {
        return whole(format!(
            "{ENCODER}.hidden_states_norms.stage{}.{rest}",
            stage + 1
        ));
    }
    if let Some(rest) = name.strip_prefix("patch_embed.norm.") {
        return whole(format!("{ENCODER}.embeddings.norm.{rest}"));
    }
    if let Some(rest) = name.strip_prefix("patch_embed.projection.") {
        return whole(format!(
            "{ENCODER}.embeddings.patch_embeddings.projection.{rest}"
        ));
    }
    let (stage, rest) = numbered(name.strip_prefix("stages.")?)?;
    let layer = format!("{ENCODER}.encoder.layers.{stage}");
    if rest.starts_with("downsample.") {
        return Some(vec![(format!("{layer}.{rest}"), TensorPart::Merged)]);
    }
    let (block, rest) = numbered(rest.strip_prefix("blocks.")?)?;
    let block = format!("{layer}.blocks.{block}");
    if let Some(kind) = rest.strip_prefix("attn.w_msa.qkv.") {
        return Some(thirds(
            &format!("{block}.attention.self"),
            ["query", "key", "value"],
            kind,
        ));
    }
    const PARTS: [(&str, &str); 6] = [
        ("norm1.", "layernorm_before."),
        ("norm2.", "layernorm_after."),
        ("attn.w_msa.proj.", "attention.output.dense."),
        (
            "attn.w_msa.relative_position_",
            "attention.self.relative_position_",
        ),
        ("ffn.layers.0.0.", "intermediate.dense."),
        ("ffn.layers.1.", "output.dense."),
    ];
    whole(format!("{block}.{}", replaced(rest, &PARTS)?))
}

fn pixel_decoder(name: &str) -> Option<Vec<(String, TensorPart)>> {
    const DECODER: &str = "model.pixel_level_module.decoder";
    if let Some((layer, rest)) = name.strip_prefix("encoder.layers.").and_then(numbered) {
        const PARTS: [(&str, &str); 8] = [
            ("attentions.0.", "self_attn."), // version 2
            ("self_attn.", "self_attn."),    // version 3
            ("norms.0.", "self_attn_layer_norm."),
            ("norms.1.", "final_layer_norm."),
            ("ffns.0.layers.0.0.", "fc1."),
            ("ffn.layers.0.0.", "fc1."),
            ("ffns.0.layers.1.", "fc2."),
            ("ffn.layers.1.", "fc2."),
        ];
        return whole(format!(
            "{DECODER}.encoder.layers.{layer}.{}",
            replaced(rest, &PARTS)?
        ));
    }
    if let Some((level, rest)) = name.strip_prefix("input_convs.").and_then(numbered) {
        let rest = replaced(rest, &[("conv.", "0."), ("gn.", "1.")])?;
        return whole(format!("{DECODER}.input_projections.{level}.{rest}"));
    }
    const PARTS: [(&str, &str); 6] = [
        ("lateral_convs.0.conv.", "adapter_1.0."),
        ("lateral_convs.0.gn.", "adapter_1.1."),
        ("output_convs.0.conv.", "layer_1.0."),
        ("output_convs.0.gn.", "layer_1.1."),
        ("mask_feature.", "mask_projection."),
        ("level_encoding.weight", "level_embed"),
    ];
    whole(format!("{DECODER}.{}", replaced(name, &PARTS)?))
}

fn transformer_decoder(name: &str) -> Option<Vec<(String, TensorPart)>> {
    const DECODER: &str = "model.transformer_module.decoder";
    if let Some(kind) = name.strip_prefix("post_norm.") {
        return whole(format!("{DECODER}.layernorm.{kind}"));
    }
    let (layer, rest) = numbered(name.strip_prefix("layers.")?)?;
    let layer = format!("{DECODER}.layers.{layer}");
    for own in ["attentions.1.attn.in_proj_", "self_attn.attn.in_proj_"] {
        if let Some(kind) = rest.strip_prefix(own) {
            return Some(thirds(
                &format!("{layer}.self_attn"),
                ["q_proj", "k_proj", "v_proj"],
                kind,
            ));
        }
    }
    const PARTS: [(&str, &str); 11] = [
        ("attentions.0.attn.", "cross_attn."), // version 2
        ("cross_attn.attn.", "cross_attn."),   // version 3
        ("attentions.1.attn.", "self_attn."),
        ("self_attn.attn.", "self_attn."),
        ("norms.0.", "cross_attn_layer_norm."),
        ("norms.1.", "self_attn_layer_norm."),
        ("norms.2.", "final_layer_norm."),
        ("ffns.0.layers.0.0.", "fc1."),
        ("ffn.layers.0.0.", "fc1."),
        ("ffns.0.layers.1.", "fc2."),
        ("ffn.layers.1.", "fc2."),
    ];
    whole(format!("{layer}.{}", replaced(rest, &PARTS)?))
}

fn heads(name: &str) -> Option<Vec<(String, TensorPart)>> {
    const EMBEDDER: &str = "model.transformer_module.decoder.mask_predictor.mask_embedder";
    if let Some((step, kind)) = name.strip_prefix("mask_embed.").and_then(numbered) {
        // An activation stands between two layers
        return whole(format!("{EMBEDDER}.{}.0.{kind}", step / 2));
    }
    const PARTS: [(&str, &str); 4] = [
        ("cls_embed.", "class_predictor."),
        ("query_embed.", "model.transformer_module.queries_embedder."),
        ("query_feat.", "model.transformer_module.queries_features."),
        ("level_embed.", "model.transformer_module.level_embed."),
    ];
    whole(replaced(name, &PARTS)?)
}

fn thirds(parent: &str, names: [&str; 3], kind: &str) -> Vec<(String, TensorPart)> {
    (0..3)
        .map(|i| {
            (
                format!("{parent}.{}.{kind}", names[i]),
                TensorPart::Third(i),
            )
        })
        .collect()
}

/// The name with its beginning replaced, by the first pair that fits.
fn replaced(name: &str, parts: &[(&str, &str)]) -> Option<String> {
    parts
        .iter()
        .find_map(|(theirs, ours)| Some(format!("{ours}{}", name.strip_prefix(theirs)?)))
}

/// `12.rest` as 12 and `rest`.
fn numbered(name: &str) -> Option<(usize, &str)> {
    let (number, rest) = name.split_once('.')?;
    Some((number.parse().ok()?, rest))
}

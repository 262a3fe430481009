//! The names in checkpoints of diffusers, read as if they were those of
//! [`autoencoder`](crate::models::autoencoder), which are those of the original VAE.
//!
//! Two things are more than names: resolutions of the decoder are numbered from the coarsest there,
//! and queries, keys and values are three matrices there and one convolution here.

use std::{collections::BTreeMap, sync::Arc};

use candle_core::Tensor;

use crate::{
    Result,
    nn::{StateDictChoice, TensorInfo, TensorSource},
};

/// A checkpoint of diffusers under the names of the original VAE. Tensors without a known
/// counterpart keep their names.
pub struct DiffusersNames {
    file: Arc<dyn TensorSource>,
    /// Name here, names in the file: one, or three that are joined.
    names: BTreeMap<String, Vec<String>>,
}

impl DiffusersNames {
    /// Reads the tensors of `file` below `prefix`, which ends with a dot or is empty, under other
    /// names.
    pub fn new(file: Arc<dyn TensorSource>, prefix: &str) -> Self {
        let all = file.names();
        let levels = levels(&all, prefix);
        let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for theirs in all {
            let ours = match theirs.strip_prefix(prefix) {
                Some(rest) => format!("{prefix}{}", renamed(rest, levels)),
                None => theirs.clone(),
            };
            names.entry(ours).or_default().push(theirs);
        }
        for joined in names.values_mut() {
            joined.sort_by_key(|name| place(name));
        }
        Self { file, names }
    }
}

impl TensorSource for DiffusersNames {
    fn origin(&self) -> String {
        self.file.origin()
    }

    fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        let theirs = self.names.get(name)?;
        let mut info = self.file.info(theirs.first()?)?;
        if let Some(rows) = info.shape.first_mut() {
            *rows = rows.saturating_mul(theirs.len());
        }
        if is_matrix_of_attention(name) {
            info.shape.resize(4, 1);
        }
        Some(info)
    }

    fn load(&self, name: &str) -> Result<Tensor> {
        let Some(theirs) = self.names.get(name) else {
            return self.file.load(name);
        };
        let parts = theirs.iter().map(|theirs| self.file.load(theirs));
        let mut parts = parts.collect::<Result<Vec<_>>>()?;
        let tensor = match parts.len() {
            1 => parts.swap_remove(0),
            _ => Tensor::cat(&parts, 0)?,
        };
        match (is_matrix_of_attention(name), tensor.dims()) {
            (true, &[outputs, inputs]) => Ok(tensor.reshape((outputs, inputs, 1, 1))?),
            _ => Ok(tensor),
        }
    }

    fn state_dict(&self) -> Option<&StateDictChoice> {
        self.file.state_dict()
    }
}

/// Resolutions of the decoder.
fn levels(names: &[String], prefix: &str) -> usize {
    let numbers = names.iter().filter_map(|name| {
        let rest = name.strip_prefix(prefix)?;
        Some(numbered(rest.strip_prefix("decoder.up_blocks.")?)?.0)
    });
    numbers.max().map_or(0, |last| last.saturating_add(1))
}

/// A number and what follows its dot.
fn numbered(name: &str) -> Option<(usize, &str)> {
    let (number, rest) = name.split_once('.')?;
    Some((number.parse().ok()?, rest))
}

/// Returns whether a tensor is a matrix in the file and the weight of a convolution here.
fn is_matrix_of_attention(name: &str) -> bool {
    name.ends_with("attn_1.qkv.weight") || name.ends_with("attn_1.proj_out.weight")
}

/// The place of a tensor among those that it is joined with.
fn place(name: &str) -> usize {
    let parts = ["to_q.", "to_k.", "to_v."];
    let place = parts.iter().position(|part| name.contains(part));
    place.unwrap_or_default()
}

/// The name here of a tensor of diffusers; `levels` is the number of resolutions.
fn renamed(theirs: &str, levels: usize) -> String {
    let Some((half, rest)) = theirs.split_once('.') else {
        return theirs.to_owned();
    };
    let rest = match half {
        "encoder" | "decoder" => inside(rest, levels),
        _ => None,
    };
    rest.map_or_else(|| theirs.to_owned(), |rest| format!("{half}.{rest}"))
}

/// The name inside encoder or decoder.
fn inside(name: &str, levels: usize) -> Option<String> {
    if let Some(rest) = name.strip_prefix("conv_norm_out.") {
        return Some(format!("norm_out.{rest}"));
    }
    if let Some(rest) = name.strip_prefix("mid_block.resnets.") {
        let (number, rest) = numbered(rest)?;
        return Some(format!("mid.block_{}.{}", number + 1, in_block(rest)));
    }
    if let Some(rest) = name.strip_prefix("mid_block.attentions.0.") {
        return Some(format!("mid.attn_1.{}", in_attention(rest)?));
    }
    if let Some(rest) = name.strip_prefix("down_blocks.") {
        let (number, rest) = numbered(rest)?;
        return Some(format!("down.{number}.{}", in_level(rest)?));
    }
    let (number, rest) = numbered(name.strip_prefix("up_blocks.")?)?;
    let number = levels.checked_sub(1 + number)?;
    Some(format!("up.{number}.{}", in_level(rest)?))
}

/// The name inside a resolution.
fn in_level(name: &str) -> Option<String> {
    if let Some(rest) = name.strip_prefix("resnets.") {
        let (number, rest) = numbered(rest)?;
        return Some(format!("block.{number}.{}", in_block(rest)));
    }
    if let Some(rest) = name.strip_prefix("upsamplers.0.") {
        return Some(format!("upsample.{rest}"));
    }
    let rest = name.strip_prefix("downsamplers.0.")?;
    Some(format!("downsample.{rest}"))
}

/// The name inside a residual block.
fn in_block(name: &str) -> String {
    name.replacen("conv_shortcut.", "nin_shortcut.", 1)
}

/// The name inside the attention.
fn in_attention(name: &str) -> Option<String> {
    let (layer, rest) = name.rsplit_once('.')?;
    let layer = match layer {
        "group_norm" => "norm",
        "to_q" | "to_k" | "to_v" => "qkv",
        "to_out.0" => "proj_out",
        _ => return None,
    };
    Some(format!("{layer}.{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_original() {
        for (theirs, ours) in [
            ("decoder.conv_in.weight", "decoder.conv_in.weight"),
            ("decoder.conv_norm_out.bias", "decoder.norm_out.bias"),
            (
                "decoder.up_blocks.0.resnets.2.conv_shortcut.weight",
                "decoder.up.3.block.2.nin_shortcut.weight",
            ),
            (
                "decoder.up_blocks.1.upsamplers.0.conv.bias",
                "decoder.up.2.upsample.conv.bias",
            ),
            (
                "encoder.down_blocks.1.downsamplers.0.conv.bias",
                "encoder.down.1.downsample.conv.bias",
            ),
            (
                "encoder.mid_block.attentions.0.to_k.bias",
                "encoder.mid.attn_1.qkv.bias",
            ),
            (
                "encoder.mid_block.attentions.0.to_out.0.weight",
                "encoder.mid.attn_1.proj_out.weight",
            ),
            (
                "encoder.mid_block.resnets.1.norm2.weight",
                "encoder.mid.block_2.norm2.weight",
            ),
            ("quant_conv.weight", "quant_conv.weight"),
            ("decoder.up_blocks.9.odd", "decoder.up_blocks.9.odd"),
        ] {
            assert_eq!(renamed(theirs, 4), ours);
        }
    }
}

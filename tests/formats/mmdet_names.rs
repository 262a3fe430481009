//! Files of mmdetection hold the tensors of Hugging Face's under other names.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use candle_core::{Device, Tensor};
use ttsvar::{
    models::mask2former::{Mask2Former, MmdetNames},
    nn::{Dtype, StoredType, TensorInfo, TensorSource, Weights},
};

use crate::support::{
    json,
    mask2former::{FIXTURE, Fixture, fixture, processed, source},
    values,
};

const EYE: &str = "model.pixel_level_module.encoder";
const PIXELS: &str = "model.pixel_level_module.decoder";
const QUERIES: &str = "model.transformer_module";

/// mmdetection's names beside Hugging Face's, read off the sources of both: `#` is any number, `*`
/// weight or bias, `@` one of attentions.0, attentions.1 or ffns.0 in version 2 and what version 3
/// made of it. Queries, keys and values are one tensor there.
const NAMES: [(&str, &str, &str); 42] = [
    (
        "backbone.patch_embed.projection.*",
        EYE,
        "embeddings.patch_embeddings.projection.*",
    ),
    ("backbone.patch_embed.norm.*", EYE, "embeddings.norm.*"),
    ("backbone.norm0.*", EYE, "hidden_states_norms.stage1.*"),
    ("backbone.norm1.*", EYE, "hidden_states_norms.stage2.*"),
    ("backbone.norm2.*", EYE, "hidden_states_norms.stage3.*"),
    ("backbone.norm3.*", EYE, "hidden_states_norms.stage4.*"),
    (
        "backbone.stages.#.blocks.#.norm1.*",
        EYE,
        "encoder.layers.#.blocks.#.layernorm_before.*",
    ),
    (
        "backbone.stages.#.blocks.#.norm2.*",
        EYE,
        "encoder.layers.#.blocks.#.layernorm_after.*",
    ),
    (
        "backbone.stages.#.blocks.#.attn.w_msa.qkv.*",
        EYE,
        "encoder.layers.#.blocks.#.attention.self.query|key|value.*",
    ),
    (
        "backbone.stages.#.blocks.#.attn.w_msa.proj.*",
        EYE,
        "encoder.layers.#.blocks.#.attention.output.dense.*",
    ),
    (
        "backbone.stages.#.blocks.#.attn.w_msa.relative_position_bias_table",
        EYE,
        "encoder.layers.#.blocks.#.attention.self.relative_position_bias_table",
    ),
    (
        "backbone.stages.#.blocks.#.attn.w_msa.relative_position_index",
        EYE,
        "encoder.layers.#.blocks.#.attention.self.relative_position_index",
    ),
    (
        "backbone.stages.#.blocks.#.ffn.layers.0.0.*",
        EYE,
        "encoder.layers.#.blocks.#.intermediate.dense.*",
    ),
    (
        "backbone.stages.#.blocks.#.ffn.layers.1.*",
        EYE,
        "encoder.layers.#.blocks.#.output.dense.*",
    ),
    (
        "backbone.stages.#.downsample.norm.*",
        EYE,
        "encoder.layers.#.downsample.norm.*",
    ),
    (
        "backbone.stages.#.downsample.reduction.*",
        EYE,
        "encoder.layers.#.downsample.reduction.*",
    ),
    (
        "panoptic_head.pixel_decoder.input_convs.#.conv.*",
        PIXELS,
        "input_projections.#.0.*",
    ),
    (
        "panoptic_head.pixel_decoder.input_convs.#.gn.*",
        PIXELS,
        "input_projections.#.1.*",
    ),
    (
        "panoptic_head.pixel_decoder.lateral_convs.0.conv.*",
        PIXELS,
        "adapter_1.0.*",
    ),
    (
        "panoptic_head.pixel_decoder.lateral_convs.0.gn.*",
        PIXELS,
        "adapter_1.1.*",
    ),
    (
        "panoptic_head.pixel_decoder.output_convs.0.conv.*",
        PIXELS,
        "layer_1.0.*",
    ),
    (
        "panoptic_head.pixel_decoder.output_convs.0.gn.*",
        PIXELS,
        "layer_1.1.*",
    ),
    (
        "panoptic_head.pixel_decoder.mask_feature.*",
        PIXELS,
        "mask_projection.*",
    ),
    (
        "panoptic_head.pixel_decoder.level_encoding.weight",
        PIXELS,
        "level_embed",
    ),
    (
        "panoptic_head.pixel_decoder.encoder.layers.#.@deformable.#",
        PIXELS,
        "encoder.layers.#.self_attn.#",
    ),
    (
        "panoptic_head.pixel_decoder.encoder.layers.#.norms.0.*",
        PIXELS,
        "encoder.layers.#.self_attn_layer_norm.*",
    ),
    (
        "panoptic_head.pixel_decoder.encoder.layers.#.norms.1.*",
        PIXELS,
        "encoder.layers.#.final_layer_norm.*",
    ),
    (
        "panoptic_head.pixel_decoder.encoder.layers.#.@ffn.layers.0.0.*",
        PIXELS,
        "encoder.layers.#.fc1.*",
    ),
    (
        "panoptic_head.pixel_decoder.encoder.layers.#.@ffn.layers.1.*",
        PIXELS,
        "encoder.layers.#.fc2.*",
    ),
    (
        "panoptic_head.transformer_decoder.layers.#.@cross.attn.#",
        QUERIES,
        "decoder.layers.#.cross_attn.#",
    ),
    (
        "panoptic_head.transformer_decoder.layers.#.@own.attn.in_proj_*",
        QUERIES,
        "decoder.layers.#.self_attn.q|k|v_proj.*",
    ),
    (
        "panoptic_head.transformer_decoder.layers.#.@own.attn.out_proj.*",
        QUERIES,
        "decoder.layers.#.self_attn.out_proj.*",
    ),
    (
        "panoptic_head.transformer_decoder.layers.#.norms.0.*",
        QUERIES,
        "decoder.layers.#.cross_attn_layer_norm.*",
    ),
    (
        "panoptic_head.transformer_decoder.layers.#.norms.1.*",
        QUERIES,
        "decoder.layers.#.self_attn_layer_norm.*",
    ),
    (
        "panoptic_head.transformer_decoder.layers.#.norms.2.*",
        QUERIES,
        "decoder.layers.#.final_layer_norm.*",
    ),
    (
        "panoptic_head.transformer_decoder.layers.#.@ffn.layers.0.0.*",
        QUERIES,
        "decoder.layers.#.fc1.*",
    ),
    (
        "panoptic_head.transformer_decoder.layers.#.@ffn.layers.1.*",
        QUERIES,
        "decoder.layers.#.fc2.*",
    ),
    (
        "panoptic_head.transformer_decoder.post_norm.*",
        QUERIES,
        "decoder.layernorm.*",
    ),
    (
        "panoptic_head.mask_embed.+.*",
        QUERIES,
        "decoder.mask_predictor.mask_embedder.#.0.*",
    ),
    ("panoptic_head.query_embed.*", QUERIES, "queries_embedder.*"),
    ("panoptic_head.query_feat.*", QUERIES, "queries_features.*"),
    ("panoptic_head.level_embed.*", QUERIES, "level_embed.*"),
];

/// The tensors of a file of Hugging Face as mmdetection would have saved them.
struct Renamed(HashMap<String, Tensor>);

impl Renamed {
    fn new(file: &dyn TensorSource, version: usize) -> Self {
        let mut all = HashMap::new();
        let mut thirds: HashMap<String, [Option<Tensor>; 3]> = HashMap::new();
        for ours in file
            .names()
            .into_iter()
            .filter(|name| !name.starts_with("criterion."))
        {
            let tensor = file.load(&ours).unwrap();
            let tensor = if ours.contains("downsample") {
                channel_by_channel(&tensor)
            } else {
                tensor
            };
            match theirs(&ours, version) {
                (name, None) => assert!(
                    all.insert(name.clone(), tensor).is_none(),
                    "{name} is duplicated"
                ),
                (name, Some(place)) => thirds.entry(name).or_default()[place] = Some(tensor),
            }
        }
        for (name, parts) in thirds {
            let parts = parts.map(|part| part.unwrap_or_else(|| panic!("{name} has three parts")));
            all.insert(name, Tensor::cat(&parts, 0).unwrap());
        }
        Self(all)
    }
}

impl TensorSource for Renamed {
    fn origin(&self) -> String {
        "a renamed file".to_owned()
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        self.0.get(name).map(|tensor| TensorInfo {
            shape: tensor.dims().to_vec(),
            element: StoredType::Readable(tensor.dtype()),
        })
    }

    fn load(&self, name: &str) -> ttsvar::Result<Tensor> {
        Ok(self.0[name].clone())
    }
}

/// What mmdetection calls a tensor; queries, keys and values with their place in what is one tensor
/// there.
fn theirs(ours: &str, version: usize) -> (String, Option<usize>) {
    if let Some(kind) = ours.strip_prefix("class_predictor.") {
        return (format!("panoptic_head.cls_embed.{kind}"), None);
    }
    let (place, plain) = match ["query", "key", "value"]
        .iter()
        .position(|part| ours.contains(&format!(".self.{part}.")))
    {
        Some(place) => (
            Some(place),
            ours.replace(["query", "key", "value"][place], "query|key|value"),
        ),
        None => match ["q", "k", "v"]
            .iter()
            .position(|part| ours.contains(&format!(".self_attn.{part}_proj.")))
        {
            Some(place) => (
                Some(place),
                ours.replace(&format!("{}_proj", ["q", "k", "v"][place]), "q|k|v_proj"),
            ),
            None => (None, ours.to_owned()),
        },
    };
    let found = NAMES.iter().find_map(|(theirs, root, pattern)| {
        let holes = holes(plain.strip_prefix(root)?.strip_prefix('.')?, pattern)?;
        Some(
            holes
                .iter()
                .fold((*theirs).to_owned(), |name, hole| filled(&name, hole)),
        )
    });
    let name = found.unwrap_or_else(|| panic!("{ours} has no name in mmdetection"));
    let newer = [
        ("@deformable", "self_attn"),
        ("@cross", "cross_attn"),
        ("@own", "self_attn"),
        ("@ffn", "ffn"),
    ];
    let older = [
        ("@deformable", "attentions.0"),
        ("@cross", "attentions.0"),
        ("@own", "attentions.1"),
        ("@ffn", "ffns.0"),
    ];
    let versions = if version == 2 { older } else { newer };
    (
        versions
            .iter()
            .fold(name, |name, (from, to)| name.replace(from, to)),
        place,
    )
}

/// What stands in the places of `#` and `*`, if a name fits a pattern. A `#` at the end is any
/// rest.
fn holes(name: &str, pattern: &str) -> Option<Vec<String>> {
    let Some(at) = pattern.find(['#', '*']) else {
        return (name == pattern).then(Vec::new);
    };
    let rest = name.strip_prefix(&pattern[..at])?;
    let end = if pattern.len() == at + 1 {
        rest.len()
    } else {
        rest.find('.').unwrap_or(rest.len())
    };
    let hole = &rest[..end];
    let fits = match &pattern[at..] {
        "*" => ["weight", "bias"].contains(&hole),
        "#" => true,
        _ => hole.parse::<usize>().is_ok(),
    };
    let mut holes = fits.then(|| holes(&rest[end..], &pattern[at + 1..]))??;
    holes.insert(0, hole.to_owned());
    Some(holes)
}

/// Fills the first hole; `+` is twice the number, since a bend stands between two layers.
fn filled(name: &str, hole: &str) -> String {
    match name.find(['#', '*', '+']) {
        Some(at) if name[at..].starts_with('+') => {
            name.replacen('+', &(2 * hole.parse::<usize>().unwrap()).to_string(), 1)
        }
        Some(at) => format!("{}{hole}{}", &name[..at], &name[at + 1..]),
        None => panic!("{name} has no place for {hole}"),
    }
}

/// The channels of merged patches from Hugging Face's order, (column * 2 + row) * channels +
/// channel, to channel * 4 + row * 2 + column.
fn channel_by_channel(x: &Tensor) -> Tensor {
    let channels = x.dims().last().unwrap() / 4;
    let from = |i: usize| ((i % 2 * 2 + i / 2 % 2) * channels + i / 4) as u32;
    let index = Tensor::from_iter((0..4 * channels).map(from), &Device::Cpu).unwrap();
    x.index_select(&index, x.dims().len() - 1).unwrap()
}

#[test]
fn files_of_mmdetection_are_read_name_for_name() {
    let Fixture { model, images, .. } = fixture();
    let (file, pixels) = (source(), processed(&images[0]));
    let expected = model.forward(&pixels).unwrap();
    assert!(!MmdetNames::fit(file.as_ref()));
    let mut wanted: BTreeSet<String> = file.names().into_iter().collect();
    wanted.retain(|name| !name.starts_with("criterion."));
    for version in [2, 3] {
        let renamed = Renamed::new(file.as_ref(), version);
        assert!(MmdetNames::fit(&renamed));
        let read = MmdetNames::new(Arc::new(renamed));
        let found: Vec<String> = read.names();
        assert_eq!(found.len(), wanted.len(), "version {version}");
        assert_eq!(
            found.into_iter().collect::<BTreeSet<_>>(),
            wanted,
            "version {version}"
        );
        for name in &wanted {
            let (ours, theirs) = (file.load(name).unwrap(), read.load(name).unwrap());
            assert_eq!(read.info(name).unwrap().shape, ours.dims(), "{name}");
            assert_eq!(values(&ours), values(&theirs), "{name}");
        }
        let weights = Weights::new(Arc::new(read), Dtype::F32, &Device::Cpu);
        let config = serde_json::from_value(json(FIXTURE, "config.json")).unwrap();
        let same = Mask2Former::load(&weights, &config)
            .unwrap()
            .forward(&pixels)
            .unwrap();
        assert_eq!(values(&same.mask_logits), values(&expected.mask_logits));
    }
}

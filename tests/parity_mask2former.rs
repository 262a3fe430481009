//! Mask2Former against Hugging Face's network and mmdetection's post-processing, on small random weights.

mod support;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use candle_core::{DType, Device, Tensor};
use serde_json::Value;
use support::{assert_close, assert_values_close, golden, json, tensors, values};
use ttsvar::{
    detectors::{
        Detector, Mask2FormerDetector, Object,
        instances::{Geometry, MOST, instances},
        mask2former::framed,
    },
    hub,
    image::{Filter, Image},
    models::mask2former::{Found, Mask2Former, MmdetNames},
    nn::{TensorInfo, TensorSource, Weights, bilinear},
};

const FIXTURE: &str = "mask2former-tiny";
const LOGITS: f32 = 2e-3;
const SCORES: f32 = 1e-3;
const BOXES: f32 = 1.0;
const AREAS: f32 = 5e-3;

struct Fixture {
    model: Mask2Former,
    weights: Weights,
    golden: Value,
    images: Vec<Image>,
    tensors: HashMap<String, Tensor>,
}

fn source() -> Arc<dyn TensorSource> {
    hub::open(golden(FIXTURE).join("model.safetensors"), &[]).unwrap()
}

fn fixture() -> Fixture {
    let weights = Weights::new(source(), DType::F32, &Device::Cpu);
    let config = serde_json::from_value(json(FIXTURE, "config.json")).unwrap();
    let recorded = json(FIXTURE, "golden.json");
    let names: Vec<String> = serde_json::from_value(recorded["images"].clone()).unwrap();
    Fixture {
        model: Mask2Former::load(&weights, &config).unwrap(),
        weights,
        images: names.iter().map(|name| Image::open(golden(FIXTURE).join(name)).unwrap()).collect(),
        golden: recorded,
        tensors: tensors(FIXTURE, "golden.safetensors"),
    }
}

/// `[height, width]`
fn size(value: &Value) -> (usize, usize) {
    serde_json::from_value(value.clone()).unwrap()
}

/// A picture as Hugging Face's processor prepares it: shorter side, longest side, then both up to a multiple.
fn processed(image: &Image) -> Tensor {
    let config = json(FIXTURE, "preprocessor_config.json");
    let number = |value: &Value| value.as_f64().unwrap();
    let (shorter, longest) = (number(&config["size"]["shortest_edge"]), number(&config["size"]["longest_edge"]));
    let divisor = config["size_divisor"].as_u64().unwrap() as usize;
    let (width, height) = (image.width() as f64, image.height() as f64);
    let (least, most) = (width.min(height), width.max(height));
    let shorter = if most / least * shorter > longest { longest * least / most } else { shorter };
    let side = |side: f64| if side == least { shorter.round() } else { (shorter * side / least).floor() };
    let side = |length: f64| (side(length) as usize).next_multiple_of(divisor);
    let resized = image.resize(side(width), side(height), Filter::Bilinear);
    let three = |value: &Value| -> [f32; 3] { serde_json::from_value(value.clone()).unwrap() };
    let planes = resized.to_chw(three(&config["image_mean"]), three(&config["image_std"]));
    Tensor::from_vec(planes, (1, 3, resized.height(), resized.width()), &Device::Cpu).unwrap()
}

#[test]
fn parity_mask2former_tiny_network() {
    let Fixture { model, images, tensors, .. } = fixture();
    for (i, image) in images.iter().enumerate() {
        let pixels = processed(image);
        if let Some(expected) = tensors.get(&format!("pixel_values_{i}")) {
            assert_close(&format!("pixel_values_{i}"), &pixels.get(0).unwrap(), expected, 1e-5, 0.);
        }
        if let Some(expected) = tensors.get(&format!("pixel_values_{i}_sum_check")) {
            let sums = pixels.to_dtype(DType::F64).unwrap().sum((0, 2, 3)).unwrap();
            assert_close(&format!("pixel_values_{i}_sum_check"), &sums, expected, 0.02, 1e-5);
        }
        let features = model.backbone.forward(&pixels).unwrap();
        let decoded = model.pixel_decoder.forward(&features).unwrap();
        let found = model.decoder.forward(&decoded).unwrap();
        let mut named = vec![
            ("pixel_decoder_mask_features".to_owned(), &decoded.mask_features),
            ("decoder_last_hidden".to_owned(), &found.last_hidden),
            ("class_queries_logits".to_owned(), &found.class_logits),
            ("masks_queries_logits".to_owned(), &found.mask_logits),
        ];
        named.extend(features.iter().enumerate().map(|(k, x)| (format!("backbone_stage{}", k + 1), x)));
        named.extend(decoded.levels.iter().enumerate().map(|(k, x)| (format!("pixel_decoder_level{k}"), x)));
        for (name, tensor) in named {
            let name = format!("{name}_{i}");
            let Some(expected) = tensors.get(&name) else { continue };
            assert_close(&name, &tensor.get(0).unwrap(), expected, LOGITS, 0.);
        }
        for name in ["class_queries_logits", "masks_queries_logits"] {
            assert!(tensors.contains_key(&format!("{name}_{i}")), "{name} of picture {i} is recorded");
        }
    }
}

/// Hugging Face's post-processing, which the program does not use: it shows that its masks are the network's.
#[test]
fn parity_mask2former_tiny_hf_maps() {
    let Fixture { model, images, tensors, golden, .. } = fixture();
    for (i, image) in images.iter().enumerate() {
        let found = model.forward(&processed(image)).unwrap();
        let large = bilinear(&found.mask_logits, (384, 384)).unwrap();
        let (height, width) = size(&golden["hf"][i.to_string()]["target_size"]);
        let threshold = golden["hf"][i.to_string()]["threshold"].as_f64().unwrap() as f32;
        let segments = golden["hf"][i.to_string()]["segments"].as_array().unwrap();
        let best = instances(&found.class_logits.get(0).unwrap(), &large.get(0).unwrap(), square(384), best_of(&model));
        let best: Vec<Object> = best.unwrap().into_iter().filter(|object| object.score >= threshold).collect();
        let packed = tensors[&format!("hf_binary_maps_packed_{i}")].to_vec3::<u8>().unwrap();
        assert_eq!(best.len(), segments.len(), "segments of picture {i}");
        let (mut differing, mut worst, mut open) = (0, 0f32, segments.iter().collect::<Vec<_>>());
        for object in &best {
            let off = |segment: &Value| (segment["score"].as_f64().unwrap() as f32 - object.score).abs();
            let fits = |segment: &&Value| segment["label"] == object.class && off(segment) <= SCORES;
            let at = open.iter().position(fits).unwrap_or_else(|| panic!("no segment of score {}", object.score));
            let segment = open.remove(at);
            worst = worst.max(off(segment));
            let row = segment["map_row"].as_u64().unwrap() as usize;
            let mask = object.mask.as_ref().unwrap();
            let nearest = |at: usize, to: usize| ((at as f32 * (384. / to as f32)) as usize).min(383);
            for pixel in 0..width * height {
                let (x, y) = (pixel % width, pixel / width);
                let expected = packed[row][y][x / 8] >> (7 - x % 8) & 1 == 1;
                differing += usize::from(mask.holds(nearest(y, height) * 384 + nearest(x, width)) != expected);
            }
        }
        let share = differing as f32 / (best.len() * width * height) as f32;
        println!("hf maps of picture {i}: {:.4} % of the pixels differ, scores by {worst:.1e}", 100. * share);
        assert!(share <= AREAS && worst <= SCORES);
    }
}

fn square(side: usize) -> Geometry {
    Geometry { original: (side, side), valid: (side, side), padded: (side, side) }
}

/// Hugging Face keeps as many pairs as there are queries.
fn best_of(model: &Mask2Former) -> usize {
    model.decoder.queries()
}

/// The objects against the tensors `{prefix}boxes{suffix}` and so on; returns them in the recorded order.
fn assert_objects<'a>(
    tensors: &HashMap<String, Tensor>,
    prefix: &str,
    suffix: &str,
    found: &'a [Object],
) -> Vec<&'a Object> {
    let named = |name: &str| &tensors[&format!("{prefix}{name}{suffix}")];
    let boxes = named("boxes").to_vec2::<f32>().unwrap();
    let labels = named("labels").to_vec1::<i64>().unwrap();
    let areas = values(named("mask_area"));
    assert_eq!(found.len(), labels.len(), "{prefix}{suffix}: number of objects");
    // Equal scores have no order of their own: each recorded object takes the first that fits.
    let mut open: Vec<&Object> = found.iter().collect();
    let mut ordered = vec![];
    for ((bounds, &label), &area) in boxes.iter().zip(&labels).zip(&areas) {
        let fits = |object: &&Object| {
            let own = object.mask.as_ref().unwrap().area() as f32;
            object.class as i64 == label
                && (object.score - bounds[4]).abs() <= SCORES
                && (own - area).abs() <= AREAS * area.max(1.)
        };
        let at = open.iter().position(fits);
        let at = at.unwrap_or_else(|| panic!("{prefix}{suffix}: no object like {label} {bounds:?} of {area} pixels"));
        ordered.push(open.remove(at));
    }
    let column = |of: &dyn Fn(&Object) -> f32| ordered.iter().map(|object| of(object)).collect::<Vec<f32>>();
    for side in 0..4 {
        let expected: Vec<f32> = boxes.iter().map(|row| row[side]).collect();
        assert_values_close(
            &format!("{prefix}boxes{suffix}, side {side}"),
            &column(&|o| o.bounds[side]),
            &expected,
            BOXES,
            0.,
        );
    }
    let scores: Vec<f32> = boxes.iter().map(|row| row[4]).collect();
    assert_values_close(&format!("{prefix}scores{suffix}"), &column(&|o| o.score), &scores, SCORES, 0.);
    let area = |object: &Object| object.mask.as_ref().unwrap().area() as f32;
    assert_values_close(&format!("{prefix}mask_area{suffix}"), &column(&area), &areas, 0., AREAS);
    ordered
}

#[test]
fn parity_mask2former_tiny_mmdet_instances() {
    let Fixture { model, images, tensors, golden, .. } = fixture();
    for (i, image) in images.iter().enumerate() {
        let Found { class_logits, mask_logits, .. } = model.forward(&processed(image)).unwrap();
        let sizes = &golden["mmdet"][i.to_string()];
        let geometry = Geometry {
            original: size(&sizes["original_hw"]),
            valid: size(&sizes["valid_hw"]),
            padded: size(&sizes["padded_hw"]),
        };
        let found = instances(&class_logits.get(0).unwrap(), &mask_logits.get(0).unwrap(), geometry, MOST).unwrap();
        let found = assert_objects(&tensors, "mmdet_", &format!("_{i}"), &found);
        let packed = tensors[&format!("mmdet_top8_masks_packed_{i}")].to_vec3::<u8>().unwrap();
        let (height, width) = geometry.original;
        for (row, (expected, object)) in packed.iter().zip(&found).enumerate() {
            let mask = object.mask.as_ref().unwrap();
            let differs = |pixel: &usize| {
                let (x, y) = (pixel % width, pixel / width);
                mask.holds(*pixel) != (expected[y][x / 8] >> (7 - x % 8) & 1 == 1)
            };
            let differing = (0..width * height).filter(differs).count();
            println!("mask {row} of picture {i}: {differing} of {} pixels differ", width * height);
            assert!(differing as f32 <= AREAS * (width * height) as f32);
        }
    }
}

#[test]
fn parity_mask2former_tiny_padded_picture() {
    let Fixture { model, tensors, golden, .. } = fixture();
    let sizes = &golden["padded"];
    let image = Image::open(support::golden(FIXTURE).join(sizes["image"].as_str().unwrap())).unwrap();
    let (valid, padded) = (size(&sizes["valid_hw"]), size(&sizes["padded_hw"]));
    let (pixels, found_padded) = framed(&image.resize(valid.1, valid.0, Filter::Bilinear)).unwrap();
    assert_eq!(found_padded, padded);
    assert_close("padded.pixel_values", &pixels.get(0).unwrap(), &tensors["padded.pixel_values"], 1e-5, 0.);
    let found = model.forward(&pixels).unwrap();
    for (name, tensor) in [("class_queries_logits", &found.class_logits), ("masks_queries_logits", &found.mask_logits)]
    {
        let name = format!("padded.{name}");
        assert_close(&name, &tensor.get(0).unwrap(), &tensors[&name], LOGITS, 0.);
    }
    let detector = Mask2FormerDetector::new(model);
    let geometry = Geometry { original: size(&sizes["original_hw"]), valid, padded };
    assert_objects(&tensors, "padded.", "", &detector.detect_pixels(&pixels, geometry).unwrap()[0]);
}

#[test]
fn every_tensor_is_known_but_buffers_and_the_loss() {
    let unread = fixture().weights.unread();
    let known = |name: &String| name.ends_with("relative_position_index") || name.starts_with("criterion.");
    let unknown: Vec<_> = unread.iter().filter(|name| !known(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn a_picture_gives_the_same_objects_alone_and_in_company() {
    let Fixture { model, mut images, .. } = fixture();
    images.push(images[0].resize(images[0].width(), images[0].height() / 2, Filter::Bilinear));
    images.push(images[1].clone());
    images.insert(0, images[0].clone());
    let detector = Mask2FormerDetector::new(model).fitting(192, 120);
    let together = detector.detect(&images).unwrap();
    for (image, expected) in images.iter().zip(&together) {
        assert_eq!(detector.detect(std::slice::from_ref(image)).unwrap()[0], *expected);
    }
    assert!(detector.detect(&[]).unwrap().is_empty());
}

const EYE: &str = "model.pixel_level_module.encoder";
const PIXELS: &str = "model.pixel_level_module.decoder";
const QUERIES: &str = "model.transformer_module";

/// mmdetection's names beside Hugging Face's, read off the sources of both: `#` is any number, `*` weight or bias,
/// `@` one of attentions.0, attentions.1 or ffns.0 in version 2 and what version 3 made of it. Queries, keys and values
/// are one tensor there.
const NAMES: [(&str, &str, &str); 42] = [
    ("backbone.patch_embed.projection.*", EYE, "embeddings.patch_embeddings.projection.*"),
    ("backbone.patch_embed.norm.*", EYE, "embeddings.norm.*"),
    ("backbone.norm0.*", EYE, "hidden_states_norms.stage1.*"),
    ("backbone.norm1.*", EYE, "hidden_states_norms.stage2.*"),
    ("backbone.norm2.*", EYE, "hidden_states_norms.stage3.*"),
    ("backbone.norm3.*", EYE, "hidden_states_norms.stage4.*"),
    ("backbone.stages.#.blocks.#.norm1.*", EYE, "encoder.layers.#.blocks.#.layernorm_before.*"),
    ("backbone.stages.#.blocks.#.norm2.*", EYE, "encoder.layers.#.blocks.#.layernorm_after.*"),
    ("backbone.stages.#.blocks.#.attn.w_msa.qkv.*", EYE, "encoder.layers.#.blocks.#.attention.self.query|key|value.*"),
    ("backbone.stages.#.blocks.#.attn.w_msa.proj.*", EYE, "encoder.layers.#.blocks.#.attention.output.dense.*"),
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
    ("backbone.stages.#.blocks.#.ffn.layers.0.0.*", EYE, "encoder.layers.#.blocks.#.intermediate.dense.*"),
    ("backbone.stages.#.blocks.#.ffn.layers.1.*", EYE, "encoder.layers.#.blocks.#.output.dense.*"),
    ("backbone.stages.#.downsample.norm.*", EYE, "encoder.layers.#.downsample.norm.*"),
    ("backbone.stages.#.downsample.reduction.*", EYE, "encoder.layers.#.downsample.reduction.*"),
    ("panoptic_head.pixel_decoder.input_convs.#.conv.*", PIXELS, "input_projections.#.0.*"),
    ("panoptic_head.pixel_decoder.input_convs.#.gn.*", PIXELS, "input_projections.#.1.*"),
    ("panoptic_head.pixel_decoder.lateral_convs.0.conv.*", PIXELS, "adapter_1.0.*"),
    ("panoptic_head.pixel_decoder.lateral_convs.0.gn.*", PIXELS, "adapter_1.1.*"),
    ("panoptic_head.pixel_decoder.output_convs.0.conv.*", PIXELS, "layer_1.0.*"),
    ("panoptic_head.pixel_decoder.output_convs.0.gn.*", PIXELS, "layer_1.1.*"),
    ("panoptic_head.pixel_decoder.mask_feature.*", PIXELS, "mask_projection.*"),
    ("panoptic_head.pixel_decoder.level_encoding.weight", PIXELS, "level_embed"),
    ("panoptic_head.pixel_decoder.encoder.layers.#.@deformable.#", PIXELS, "encoder.layers.#.self_attn.#"),
    ("panoptic_head.pixel_decoder.encoder.layers.#.norms.0.*", PIXELS, "encoder.layers.#.self_attn_layer_norm.*"),
    ("panoptic_head.pixel_decoder.encoder.layers.#.norms.1.*", PIXELS, "encoder.layers.#.final_layer_norm.*"),
    ("panoptic_head.pixel_decoder.encoder.layers.#.@ffn.layers.0.0.*", PIXELS, "encoder.layers.#.fc1.*"),
    ("panoptic_head.pixel_decoder.encoder.layers.#.@ffn.layers.1.*", PIXELS, "encoder.layers.#.fc2.*"),
    ("panoptic_head.transformer_decoder.layers.#.@cross.attn.#", QUERIES, "decoder.layers.#.cross_attn.#"),
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
    ("panoptic_head.transformer_decoder.layers.#.norms.0.*", QUERIES, "decoder.layers.#.cross_attn_layer_norm.*"),
    ("panoptic_head.transformer_decoder.layers.#.norms.1.*", QUERIES, "decoder.layers.#.self_attn_layer_norm.*"),
    ("panoptic_head.transformer_decoder.layers.#.norms.2.*", QUERIES, "decoder.layers.#.final_layer_norm.*"),
    ("panoptic_head.transformer_decoder.layers.#.@ffn.layers.0.0.*", QUERIES, "decoder.layers.#.fc1.*"),
    ("panoptic_head.transformer_decoder.layers.#.@ffn.layers.1.*", QUERIES, "decoder.layers.#.fc2.*"),
    ("panoptic_head.transformer_decoder.post_norm.*", QUERIES, "decoder.layernorm.*"),
    ("panoptic_head.mask_embed.+.*", QUERIES, "decoder.mask_predictor.mask_embedder.#.0.*"),
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
        for ours in file.names().into_iter().filter(|name| !name.starts_with("criterion.")) {
            let tensor = file.load(&ours).unwrap();
            let tensor = if ours.contains("downsample") { channel_by_channel(&tensor) } else { tensor };
            match theirs(&ours, version) {
                (name, None) => assert!(all.insert(name.clone(), tensor).is_none(), "{name} is there twice"),
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
        self.0.get(name).map(|tensor| TensorInfo { shape: tensor.dims().to_vec(), dtype: tensor.dtype() })
    }

    fn load(&self, name: &str) -> ttsvar::Result<Tensor> {
        Ok(self.0[name].clone())
    }
}

/// What mmdetection calls a tensor; queries, keys and values with their place in what is one tensor there.
fn theirs(ours: &str, version: usize) -> (String, Option<usize>) {
    if let Some(kind) = ours.strip_prefix("class_predictor.") {
        return (format!("panoptic_head.cls_embed.{kind}"), None);
    }
    let (place, plain) =
        match ["query", "key", "value"].iter().position(|part| ours.contains(&format!(".self.{part}."))) {
            Some(place) => (Some(place), ours.replace(["query", "key", "value"][place], "query|key|value")),
            None => match ["q", "k", "v"].iter().position(|part| ours.contains(&format!(".self_attn.{part}_proj."))) {
                Some(place) => (Some(place), ours.replace(&format!("{}_proj", ["q", "k", "v"][place]), "q|k|v_proj")),
                None => (None, ours.to_owned()),
            },
        };
    let found = NAMES.iter().find_map(|(theirs, root, pattern)| {
        let holes = holes(plain.strip_prefix(root)?.strip_prefix('.')?, pattern)?;
        Some(holes.iter().fold((*theirs).to_owned(), |name, hole| filled(&name, hole)))
    });
    let name = found.unwrap_or_else(|| panic!("{ours} has no name in mmdetection"));
    let newer = [("@deformable", "self_attn"), ("@cross", "cross_attn"), ("@own", "self_attn"), ("@ffn", "ffn")];
    let older =
        [("@deformable", "attentions.0"), ("@cross", "attentions.0"), ("@own", "attentions.1"), ("@ffn", "ffns.0")];
    let versions = if version == 2 { older } else { newer };
    (versions.iter().fold(name, |name, (from, to)| name.replace(from, to)), place)
}

/// What stands in the places of `#` and `*`, if a name fits a pattern. A `#` at the end is any rest.
fn holes(name: &str, pattern: &str) -> Option<Vec<String>> {
    let Some(at) = pattern.find(['#', '*']) else { return (name == pattern).then(Vec::new) };
    let rest = name.strip_prefix(&pattern[..at])?;
    let end = if pattern.len() == at + 1 { rest.len() } else { rest.find('.').unwrap_or(rest.len()) };
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

/// The channels of merged patches from Hugging Face's order, (column * 2 + row) * channels + channel, to
/// channel * 4 + row * 2 + column.
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
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), wanted, "version {version}");
        for name in &wanted {
            let (ours, theirs) = (file.load(name).unwrap(), read.load(name).unwrap());
            assert_eq!(read.info(name).unwrap().shape, ours.dims(), "{name}");
            assert_eq!(values(&ours), values(&theirs), "{name}");
        }
        let weights = Weights::new(Arc::new(read), DType::F32, &Device::Cpu);
        let config = serde_json::from_value(json(FIXTURE, "config.json")).unwrap();
        let same = Mask2Former::load(&weights, &config).unwrap().forward(&pixels).unwrap();
        assert_eq!(values(&same.mask_logits), values(&expected.mask_logits));
    }
}

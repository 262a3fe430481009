//! Mask2Former against Hugging Face's network and mmdetection's post-processing, on small random
//! weights.

use std::collections::HashMap;

use candle_core::{DType, Tensor};
use serde_json::Value;
use ttsvar::{
    detectors::{
        Detector, Mask2FormerDetector, Object,
        instances::{Geometry, MOST, instances},
        mask2former::framed,
    },
    image::{Filter, Resize},
    models::mask2former::{Mask2Former, QueryOutputs},
    nn::bilinear,
};

use crate::support::{
    assert_close, assert_values_close,
    mask2former::{FIXTURE, Fixture, fixture, processed, size},
    values,
};

const LOGITS: f32 = 2e-3;
const SCORES: f32 = 1e-3;
const BOXES: f32 = 1.0;
const AREAS: f32 = 5e-3;

#[test]
fn parity_mask2former_tiny_network() {
    let Fixture {
        model,
        images,
        tensors,
        ..
    } = fixture();
    for (i, image) in images.iter().enumerate() {
        let pixels = processed(image);
        if let Some(expected) = tensors.get(&format!("pixel_values_{i}")) {
            assert_close(
                &format!("pixel_values_{i}"),
                &pixels.get(0).unwrap(),
                expected,
                1e-5,
                0.,
            );
        }
        if let Some(expected) = tensors.get(&format!("pixel_values_{i}_sum_check")) {
            let sums = pixels.to_dtype(DType::F64).unwrap().sum((0, 2, 3)).unwrap();
            assert_close(
                &format!("pixel_values_{i}_sum_check"),
                &sums,
                expected,
                0.02,
                1e-5,
            );
        }
        let features = model.backbone.forward(&pixels).unwrap();
        let decoded = model.pixel_decoder.forward(&features).unwrap();
        let found = model.decoder.forward(&decoded).unwrap();
        let mut named = vec![
            (
                "pixel_decoder_mask_features".to_owned(),
                &decoded.mask_features,
            ),
            ("decoder_last_hidden".to_owned(), &found.last_hidden),
            ("class_queries_logits".to_owned(), &found.class_logits),
            ("masks_queries_logits".to_owned(), &found.mask_logits),
        ];
        named.extend(
            features
                .iter()
                .enumerate()
                .map(|(k, x)| (format!("backbone_stage{}", k + 1), x)),
        );
        named.extend(
            decoded
                .levels
                .iter()
                .enumerate()
                .map(|(k, x)| (format!("pixel_decoder_level{k}"), x)),
        );
        for (name, tensor) in named {
            let name = format!("{name}_{i}");
            let Some(expected) = tensors.get(&name) else {
                continue;
            };
            assert_close(&name, &tensor.get(0).unwrap(), expected, LOGITS, 0.);
        }
        for name in ["class_queries_logits", "masks_queries_logits"] {
            assert!(
                tensors.contains_key(&format!("{name}_{i}")),
                "{name} of picture {i} is recorded"
            );
        }
    }
}

/// Hugging Face's post-processing, which the program does not use: it shows that its masks are the
/// network's.
#[test]
fn parity_mask2former_tiny_hf_maps() {
    let Fixture {
        model,
        images,
        tensors,
        golden,
        ..
    } = fixture();
    for (i, image) in images.iter().enumerate() {
        let found = model.forward(&processed(image)).unwrap();
        let large = bilinear(&found.mask_logits, (384, 384)).unwrap();
        let (height, width) = size(&golden["hf"][i.to_string()]["target_size"]);
        let threshold = golden["hf"][i.to_string()]["threshold"].as_f64().unwrap() as f32;
        let segments = golden["hf"][i.to_string()]["segments"].as_array().unwrap();
        let best = instances(
            &found.class_logits.get(0).unwrap(),
            &large.get(0).unwrap(),
            square(384),
            best_of(&model),
        );
        let best: Vec<Object> = best
            .unwrap()
            .into_iter()
            .filter(|object| object.score >= threshold)
            .collect();
        let packed = tensors[&format!("hf_binary_maps_packed_{i}")]
            .to_vec3::<u8>()
            .unwrap();
        assert_eq!(best.len(), segments.len(), "segments of picture {i}");
        let (mut differing, mut worst, mut open) = (0, 0f32, segments.iter().collect::<Vec<_>>());
        for object in &best {
            let off =
                |segment: &Value| (segment["score"].as_f64().unwrap() as f32 - object.score).abs();
            let fits =
                |segment: &&Value| segment["label"] == object.class && off(segment) <= SCORES;
            let at = open
                .iter()
                .position(fits)
                .unwrap_or_else(|| panic!("no segment of score {}", object.score));
            let segment = open.remove(at);
            worst = worst.max(off(segment));
            let row = segment["map_row"].as_u64().unwrap() as usize;
            let mask = object.mask.as_ref().unwrap();
            let nearest =
                |at: usize, to: usize| ((at as f32 * (384. / to as f32)) as usize).min(383);
            for pixel in 0..width * height {
                let (x, y) = (pixel % width, pixel / width);
                let expected = packed[row][y][x / 8] >> (7 - x % 8) & 1 == 1;
                differing += usize::from(
                    mask.holds(nearest(y, height) * 384 + nearest(x, width)) != expected,
                );
            }
        }
        let share = differing as f32 / (best.len() * width * height).max(1) as f32;
        println!(
            "hf maps of picture {i}: {:.4} % of the pixels differ, scores by {worst:.1e}",
            100. * share
        );
        assert!(share <= AREAS && worst <= SCORES);
    }
}

fn square(side: usize) -> Geometry {
    Geometry {
        original: (side, side),
        valid: (side, side),
        padded: (side, side),
    }
}

/// Hugging Face keeps as many pairs as there are queries.
fn best_of(model: &Mask2Former) -> usize {
    model.decoder.queries()
}

/// The objects against the tensors `{prefix}boxes{suffix}` and so on; returns them in the recorded
/// order.
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
    assert_eq!(
        found.len(),
        labels.len(),
        "{prefix}{suffix}: number of objects"
    );
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
        let at = at.unwrap_or_else(|| {
            panic!("{prefix}{suffix}: no object like {label} {bounds:?} of {area} pixels")
        });
        ordered.push(open.remove(at));
    }
    let column = |of: &dyn Fn(&Object) -> f32| {
        ordered
            .iter()
            .map(|object| of(object))
            .collect::<Vec<f32>>()
    };
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
    assert_values_close(
        &format!("{prefix}scores{suffix}"),
        &column(&|o| o.score),
        &scores,
        SCORES,
        0.,
    );
    let area = |object: &Object| object.mask.as_ref().unwrap().area() as f32;
    assert_values_close(
        &format!("{prefix}mask_area{suffix}"),
        &column(&area),
        &areas,
        0.,
        AREAS,
    );
    ordered
}

#[test]
fn parity_mask2former_tiny_mmdet_instances() {
    let Fixture {
        model,
        images,
        tensors,
        golden,
        ..
    } = fixture();
    for (i, image) in images.iter().enumerate() {
        let QueryOutputs {
            class_logits,
            mask_logits,
            ..
        } = model.forward(&processed(image)).unwrap();
        let sizes = &golden["mmdet"][i.to_string()];
        let geometry = Geometry {
            original: size(&sizes["original_hw"]),
            valid: size(&sizes["valid_hw"]),
            padded: size(&sizes["padded_hw"]),
        };
        let found = instances(
            &class_logits.get(0).unwrap(),
            &mask_logits.get(0).unwrap(),
            geometry,
            MOST,
        )
        .unwrap();
        let found = assert_objects(&tensors, "mmdet_", &format!("_{i}"), &found);
        let packed = tensors.iter().find(|(name, _)| {
            name.starts_with("mmdet_top") && name.ends_with(&format!("_masks_packed_{i}"))
        });
        let packed = packed
            .expect("masks of the most certain objects")
            .1
            .to_vec3::<u8>()
            .unwrap();
        let (height, width) = geometry.original;
        for (row, (expected, object)) in packed.iter().zip(&found).enumerate() {
            let mask = object.mask.as_ref().unwrap();
            let differs = |pixel: &usize| {
                let (x, y) = (pixel % width, pixel / width);
                mask.holds(*pixel) != (expected[y][x / 8] >> (7 - x % 8) & 1 == 1)
            };
            let differing = (0..width * height).filter(differs).count();
            println!(
                "mask {row} of picture {i}: {differing} of {} pixels differ",
                width * height
            );
            assert!(differing as f32 <= AREAS * (width * height) as f32);
        }
    }
}

#[test]
fn parity_mask2former_tiny_padded_picture() {
    let Fixture {
        model,
        tensors,
        golden,
        ..
    } = fixture();
    let sizes = &golden["padded"];
    let image =
        ttsvar::image::open(crate::support::golden(FIXTURE).join(sizes["image"].as_str().unwrap()))
            .unwrap();
    let (valid, padded) = (size(&sizes["valid_hw"]), size(&sizes["padded_hw"]));
    let (pixels, found_padded) = framed(&image.resize(valid.1, valid.0, Filter::Bilinear)).unwrap();
    assert_eq!(found_padded, padded);
    assert_close(
        "padded.pixel_values",
        &pixels.get(0).unwrap(),
        &tensors["padded.pixel_values"],
        1e-5,
        0.,
    );
    let found = model.forward(&pixels).unwrap();
    for (name, tensor) in [
        ("class_queries_logits", &found.class_logits),
        ("masks_queries_logits", &found.mask_logits),
    ] {
        let name = format!("padded.{name}");
        assert_close(&name, &tensor.get(0).unwrap(), &tensors[&name], LOGITS, 0.);
    }
    let detector = Mask2FormerDetector::new(model);
    let geometry = Geometry {
        original: size(&sizes["original_hw"]),
        valid,
        padded,
    };
    assert_objects(
        &tensors,
        "padded.",
        "",
        &detector.detect_pixels(&pixels, geometry).unwrap()[0],
    );
}

#[test]
fn every_tensor_is_known_but_buffers_and_the_loss() {
    let unread = fixture().weights.unread();
    let known =
        |name: &String| name.ends_with("relative_position_index") || name.starts_with("criterion.");
    let unknown: Vec<_> = unread.iter().filter(|name| !known(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn a_picture_gives_the_same_objects_alone_and_in_company() {
    let Fixture {
        model, mut images, ..
    } = fixture();
    images.push(images[0].resize(images[0].width(), images[0].height() / 2, Filter::Bilinear));
    images.push(images.last().unwrap().clone());
    images.push(images[images.len() - 2].clone());
    images.insert(0, images[0].clone());
    let detector = Mask2FormerDetector::new(model).fitting(192, 120);
    let together = detector.detect(&images).unwrap();
    for (image, expected) in images.iter().zip(&together) {
        assert_eq!(
            detector.detect(std::slice::from_ref(image)).unwrap()[0],
            *expected
        );
    }
    assert!(detector.detect(&[]).unwrap().is_empty());
}

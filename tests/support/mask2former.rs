//! The recorded Mask2Former.

use std::{collections::HashMap, sync::Arc};

use candle_core::{Device, Tensor};
use serde_json::Value;
use ttsvar::{
    hub,
    image::{Filter, Resize},
    models::mask2former::Mask2Former,
    nn::{Dtype, TensorSource, Weights},
    search::Image,
};

use crate::support::{golden, json, tensors};

pub const FIXTURE: &str = "mask2former-tiny";

pub struct Fixture {
    pub model: Mask2Former,
    pub weights: Weights,
    pub golden: Value,
    pub images: Vec<Image>,
    pub tensors: HashMap<String, Tensor>,
}

pub fn source() -> Arc<dyn TensorSource> {
    hub::open(golden(FIXTURE).join("model.safetensors"), &[]).unwrap()
}

pub fn fixture() -> Fixture {
    let weights = Weights::new(source(), Dtype::F32, &Device::Cpu);
    let config = serde_json::from_value(json(FIXTURE, "config.json")).unwrap();
    let recorded = json(FIXTURE, "golden.json");
    let names: Vec<String> = serde_json::from_value(recorded["images"].clone()).unwrap();
    Fixture {
        model: Mask2Former::load(&weights, &config).unwrap(),
        weights,
        images: names
            .iter()
            .map(|name| ttsvar::image::open(golden(FIXTURE).join(name)).unwrap())
            .collect(),
        golden: recorded,
        tensors: tensors(FIXTURE, "golden.safetensors"),
    }
}

/// `[height, width]`
pub fn size(value: &Value) -> (usize, usize) {
    serde_json::from_value(value.clone()).unwrap()
}

/// A picture as Hugging Face's processor prepares it: shorter side, longest side, then both up to a
/// multiple.
pub fn processed(image: &Image) -> Tensor {
    let config = json(FIXTURE, "preprocessor_config.json");
    let number = |value: &Value| value.as_f64().unwrap();
    let (shorter, longest) = (
        number(&config["size"]["shortest_edge"]),
        number(&config["size"]["longest_edge"]),
    );
    let divisor = config["size_divisor"].as_u64().unwrap() as usize;
    let (width, height) = (image.width() as f64, image.height() as f64);
    let (least, most) = (width.min(height), width.max(height));
    let shorter = if most / least * shorter > longest {
        longest * least / most
    } else {
        shorter
    };
    let side = |side: f64| {
        if side == least {
            shorter.round()
        } else {
            (shorter * side / least).floor()
        }
    };
    let side = |length: f64| (side(length) as usize).next_multiple_of(divisor);
    let resized = image.resize(side(width), side(height), Filter::Bilinear);
    let three = |value: &Value| -> [f32; 3] { serde_json::from_value(value.clone()).unwrap() };
    let planes = resized.to_chw(three(&config["image_mean"]), three(&config["image_std"]));
    Tensor::from_vec(
        planes,
        (1, 3, resized.height(), resized.width()),
        &Device::Cpu,
    )
    .unwrap()
}

//! Resizing against what Pillow made of the same pictures, byte by byte.

use candle_core::Tensor;
use ttsvar::{
    image::{Filter, Resize},
    search::Image,
};

use crate::support::{assert_bytes_close, assert_values_close, golden, json, tensors, values};

fn triple(value: &serde_json::Value) -> [f32; 3] {
    std::array::from_fn(|i| value[i].as_f64().unwrap() as f32)
}

fn open(fixture: &str, file: &str) -> Image {
    ttsvar::image::open(golden(fixture).join(file)).unwrap()
}

fn bytes(tensor: &Tensor) -> Vec<u8> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn parity_selection_resize_and_normalise() {
    let config = json("selection", "config.json");
    let expected = tensors("selection", "preprocess.safetensors");
    let [height, width] = [0, 1].map(|i| config["resize_to"][i].as_u64().unwrap() as usize);
    for image in config["images"].as_array().unwrap() {
        let file = image["file"].as_str().unwrap();
        let name = file.strip_suffix(".png").unwrap();
        let resized = open("selection", file).resize(width, height, Filter::Bilinear);
        assert_bytes_close(
            file,
            resized.pixels(),
            &bytes(&expected[&format!("{name}.resized_u8")]),
            0.,
        );
        let input = resized.to_chw(triple(&config["mean"]), triple(&config["std"]));
        assert_values_close(
            file,
            &input,
            &values(&expected[&format!("{name}.input")]),
            1e-6,
            0.,
        );
    }
}

#[test]
fn parity_dinov2_tiny_resize() {
    let (config, golden) = (
        json("dinov2-tiny", "config.json"),
        json("dinov2-tiny", "golden.json"),
    );
    let expected = tensors("dinov2-tiny", "golden.safetensors");
    let [height, width] = [0, 1].map(|i| config["resize"][i].as_u64().unwrap() as usize);
    let pixel_values = &expected["pixel_values"];
    for (i, file) in golden["images"].as_array().unwrap().iter().enumerate() {
        let file = file.as_str().unwrap();
        let resized = open("dinov2-tiny", file).resize(width, height, Filter::Bilinear);
        assert_bytes_close(
            file,
            resized.pixels(),
            &bytes(&expected["resized_u8"].get(i).unwrap()),
            0.,
        );
        if i < pixel_values.dims()[0] {
            let input = resized.to_chw(triple(&config["pixel_mean"]), triple(&config["pixel_std"]));
            assert_values_close(
                file,
                &input,
                &values(&pixel_values.get(i).unwrap()),
                1e-5,
                0.,
            );
        }
    }
}

#[test]
fn parity_imagereward_tiny_resize_and_crop() {
    let (config, golden) = (
        json("imagereward-tiny", "config.json"),
        json("imagereward-tiny", "golden.json"),
    );
    let expected = tensors("imagereward-tiny", "golden.safetensors");
    let side = config["image_size"].as_u64().unwrap() as usize;
    let pixel_values = &expected["pixel_values"];
    for (i, file) in golden["images"].as_array().unwrap().iter().enumerate() {
        let file = file.as_str().unwrap();
        let image = open("imagereward-tiny", file);
        let cropped = image
            .resize_shorter_side(side, Filter::Bicubic)
            .center_crop(side, side);
        assert_bytes_close(
            file,
            cropped.pixels(),
            &bytes(&expected["resized_cropped_u8"].get(i).unwrap()),
            0.,
        );
        if i < pixel_values.dims()[0] {
            let input = cropped.to_chw(triple(&config["pixel_mean"]), triple(&config["pixel_std"]));
            assert_values_close(
                file,
                &input,
                &values(&pixel_values.get(i).unwrap()),
                1e-5,
                0.,
            );
        }
    }
}

//! `preprocessor_config.json`, in which a Hugging Face folder says how images are prepared for its
//! network.
//!
//! What the program can do differently is honoured: mean, standard deviation, and the filter. Any
//! other difference from what it does would give other numbers than the folder's authors mean, so
//! it is an error.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::{
    Filter,
    preprocess::{Fit, Preprocess},
};
use crate::{Error, Result};

/// The settings of an image processor; absent ones are those of the network's class.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PreprocessorConfig {
    /// The file, for messages.
    #[serde(skip)]
    origin: PathBuf,
    do_resize: Option<bool>,
    do_center_crop: Option<bool>,
    do_rescale: Option<bool>,
    do_normalize: Option<bool>,
    image_mean: Option<[f32; 3]>,
    image_std: Option<[f32; 3]>,
    resample: Option<u8>,
    rescale_factor: Option<f64>,
    size: Option<Value>,
    crop_size: Option<Value>,
}

impl PreprocessorConfig {
    /// Reads the text of the file `origin`.
    ///
    /// # Errors
    /// It is not the expected JSON.
    pub fn read(origin: &Path, text: &str) -> Result<Self> {
        let config: Self = serde_json::from_str(text)
            .map_err(|error| Error::file(origin, format!("not the expected JSON: {error}")))?;
        Ok(Self {
            origin: origin.to_owned(),
            ..config
        })
    }

    /// Checks that a network whose normalisation is fixed gets what it expects.
    ///
    /// # Errors
    /// The file asks for another mean, standard deviation, or scale of values.
    pub fn require_normalization(&self, mean: [f32; 3], std: [f32; 3]) -> Result<()> {
        let checked = || {
            let (found_mean, found_std) = self.normalization(mean, std)?;
            require_near("image_mean", mean, found_mean)?;
            require_near("image_std", std, found_std)
        };
        checked().map_err(|error| Error::in_file(&self.origin, error))
    }

    /// The mean and the standard deviation of each channel, of values from 0 to 1.
    ///
    /// # Errors
    /// Values are not scaled to 0..1, not normalised, or a standard deviation is not positive.
    fn normalization(&self, mean: [f32; 3], std: [f32; 3]) -> Result<([f32; 3], [f32; 3])> {
        must_be_true("do_rescale", self.do_rescale)?;
        must_be_true("do_normalize", self.do_normalize)?;
        let factor = self.rescale_factor.unwrap_or(1.0 / 255.0);
        if (factor * 255.0 - 1.0).abs() > 1e-4 {
            return Err(differs("rescale_factor", "1/255", factor));
        }
        let std = self.image_std.unwrap_or(std);
        if std.iter().any(|std| !std.is_finite() || *std <= 0.0) {
            return Err(differs("image_std", "positive numbers", format!("{std:?}")));
        }
        let mean = self.image_mean.unwrap_or(mean);
        if mean.iter().any(|mean| !mean.is_finite()) {
            return Err(differs("image_mean", "finite numbers", format!("{mean:?}")));
        }
        Ok((mean, std))
    }

    /// The longer and the shorter edge that images are fitted into, if `size` has these.
    pub fn edges(&self) -> Option<(usize, usize)> {
        let size = self.size.as_ref()?;
        let longest = whole(size.get("longest_edge")?)?;
        let shortest = whole(size.get("shortest_edge")?)?;
        (shortest > 0 && longest >= shortest).then_some((longest, shortest))
    }
}

impl Preprocess {
    /// The same as a `preprocessor_config.json` sets it, for a network that reads images of
    /// `side` x `side` pixels.
    ///
    /// # Errors
    /// A setting asks for something that this program does not do.
    pub fn configured(self, config: Option<&PreprocessorConfig>, side: usize) -> Result<Self> {
        let Some(config) = config else {
            return Ok(self);
        };
        let configured = self.follow(config, side);
        configured.map_err(|error| Error::in_file(&config.origin, error))
    }

    fn follow(self, config: &PreprocessorConfig, side: usize) -> Result<Self> {
        must_be_true("do_resize", config.do_resize)?;
        let (mean, std) = config.normalization(self.mean, self.std)?;
        if matches!(self.fit, Fit::Crop(_)) {
            must_be_true("do_center_crop", config.do_center_crop)?;
        } else if config.do_center_crop == Some(true) {
            return Err(differs("do_center_crop", "false", true));
        }
        let sizes = [("size", &config.size), ("crop_size", &config.crop_size)];
        for (key, value) in sizes {
            if let Some(value) = value
                && !is_of_side(value, side)
            {
                let expected = format!("{side}, as the network's images have");
                return Err(differs(key, &expected, value));
            }
        }
        let filter = match config.resample {
            None => self.filter,
            Some(2) => Filter::Bilinear,
            Some(3) => Filter::Bicubic,
            Some(other) => return Err(differs("resample", "2 (bilinear) or 3 (bicubic)", other)),
        };
        Ok(Self {
            mean,
            std,
            filter,
            ..self
        })
    }
}

fn require_near(key: &str, expected: [f32; 3], found: [f32; 3]) -> Result<()> {
    let mut pairs = expected.iter().zip(&found);
    match pairs.all(|(expected, found)| (expected - found).abs() < 1e-3) {
        true => Ok(()),
        false => Err(differs(key, &format!("{expected:?}"), format!("{found:?}"))),
    }
}

/// Returns whether a size is a number, edges, or height and width of this many pixels.
fn is_of_side(size: &Value, side: usize) -> bool {
    let is_side = |value: &Value| whole(value) == Some(side);
    match size {
        Value::Object(sizes) => sizes.values().all(is_side),
        number => is_side(number),
    }
}

fn whole(value: &Value) -> Option<usize> {
    usize::try_from(value.as_u64()?).ok()
}

fn must_be_true(key: &str, value: Option<bool>) -> Result<()> {
    match value {
        Some(false) => Err(differs(key, "true", false)),
        _ => Ok(()),
    }
}

fn differs(key: &str, expected: &str, found: impl std::fmt::Display) -> Error {
    Error::input(format!("`{key}`: expected {expected}, found {found}")).with_hint(
        "this program does not support that preprocessing; \
         use the published folder, whose settings it follows",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(json: &str) -> Result<Preprocess> {
        let config = PreprocessorConfig::read(Path::new("config"), json).unwrap();
        Preprocess::CLIP.configured(Some(&config), 224)
    }

    #[test]
    fn mean_deviation_and_filter_are_honoured() {
        let json = r#"{"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 2, 3], "resample": 2,
            "size": {"shortest_edge": 224}, "crop_size": 224, "rescale_factor": 0.00392156862}"#;
        let found = configured(json).unwrap();
        assert_eq!(found.mean, [0.1, 0.2, 0.3]);
        assert_eq!(found.std, [1.0, 2.0, 3.0]);
        assert_eq!(found.filter, Filter::Bilinear);
        assert_eq!(configured("{}").unwrap(), Preprocess::CLIP);
    }

    #[test]
    fn other_differences_are_errors_that_name_the_key() {
        for (json, key) in [
            (r#"{"do_resize": false}"#, "do_resize"),
            (r#"{"do_center_crop": false}"#, "do_center_crop"),
            (r#"{"do_rescale": false}"#, "do_rescale"),
            (r#"{"do_normalize": false}"#, "do_normalize"),
            (r#"{"rescale_factor": 1}"#, "rescale_factor"),
            (r#"{"resample": 0}"#, "resample"),
            (r#"{"size": {"shortest_edge": 256}}"#, "size"),
            (
                r#"{"crop_size": {"height": 224, "width": 225}}"#,
                "crop_size",
            ),
            (r#"{"image_std": [0, 1, 1]}"#, "image_std"),
        ] {
            let error = configured(json).unwrap_err();
            println!("{error}");
            assert!(error.to_string().contains(&format!("`{key}`")), "{error}");
            assert!(error.hint().is_some());
        }
    }
}

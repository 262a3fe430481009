//! The aspect of an image, width to height.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Width to height as written, such as `16:9`; from 1:3 to 3:1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Aspect {
    written: String,
    ratio: f64,
}

impl Aspect {
    /// The aspect of an image of `width` by `height` pixels; `None` if it is out of range.
    pub fn from_size(width: usize, height: usize) -> Option<Self> {
        format!("{width}:{height}").parse().ok()
    }

    /// Height divided by width.
    pub fn ratio(&self) -> f64 {
        self.ratio
    }
}

impl FromStr for Aspect {
    type Err = Error;

    fn from_str(written: &str) -> Result<Self> {
        const ROUNDING: f64 = 1e-9; // 1:3 and 3:1 themselves are in range
        let Some((width, height)) = sides(written) else {
            return Err(Error::input(format!("`{written}` is not a valid aspect"))
                .with_hint("give width to height, such as 16:9"));
        };
        let ratio = height / width;
        if !(1.0 / 3.0 - ROUNDING..=3.0 + ROUNDING).contains(&ratio) {
            return Err(
                Error::input(format!("an aspect of {written} is out of range"))
                    .with_hint("models generate from 1:3 (tall) to 3:1 (wide)"),
            );
        }
        Ok(Self {
            written: written.to_owned(),
            ratio,
        })
    }
}

fn sides(written: &str) -> Option<(f64, f64)> {
    let (width, height) = written.split_once(':')?;
    Some((side(width)?, side(height)?))
}

fn side(text: &str) -> Option<f64> {
    let side: f64 = text.trim().parse().ok()?;
    (side.is_finite() && side > 0.0).then_some(side)
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl From<Aspect> for String {
    fn from(aspect: Aspect) -> Self {
        aspect.written
    }
}

impl TryFrom<String> for Aspect {
    type Error = Error;

    fn try_from(written: String) -> Result<Self> {
        written.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aspects_are_width_to_height() {
        let ratio = |written: &str| written.parse::<Aspect>().map(|aspect| aspect.ratio());
        assert_eq!(ratio("2:1").unwrap(), 0.5);
        assert_eq!(ratio("1:3").unwrap(), 3.0);
        assert!(ratio("3:1").is_ok() && ratio("10.5:10").is_ok());
        for wrong in [
            "3.1:1", "1:3.1", "1", "1:0", "-1:1", "nan:1", "inf:1", ":", "a:b", "1:1:1",
        ] {
            assert!(ratio(wrong).is_err(), "{wrong}");
        }
    }
}

//! Limits on what a search may spend.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::Error;

/// What a search may spend. It then repeats its plan with new candidates for as long as another one
/// is likely to fit, and returns the best image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    /// Seconds of wall time.
    Seconds(f64),
    /// Floating-point operations.
    Flops(f64),
    /// The operations of this many images that are generated and scored without a search.
    Images(f64),
}

/// The units with their size: in seconds, in operations or in images.
const SECONDS: [(&str, f64); 4] = [("s", 1.0), ("min", 60.0), ("m", 60.0), ("h", 3600.0)];
const FLOPS: [(&str, f64); 3] = [("GFLOP", 1e9), ("TFLOP", 1e12), ("PFLOP", 1e15)];
const IMAGES: [(&str, f64); 2] = [("images", 1.0), ("image", 1.0)];

impl Budget {
    /// Returns whether more images are likely to fit, at the price of those so far.
    pub(super) fn allows(self, spent: Spent, images: usize) -> bool {
        let begun = spent.images();
        let (so_far, price, limit) = match self {
            Self::Seconds(limit) => {
                let price = spent.seconds / begun.max(f64::MIN_POSITIVE);
                (spent.seconds, price, limit)
            }
            Self::Flops(limit) => (spent.flops, spent.image_flops, limit),
            Self::Images(limit) => (begun, 1.0, limit),
        };
        so_far + price * images as f64 <= limit
    }
}

/// What a search has spent so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spent {
    /// Wall time.
    pub seconds: f64,
    /// Floating-point operations.
    pub flops: f64,
    /// The expected operations of one image without a search; 0 where unknown.
    pub image_flops: f64,
    /// Candidates that were begun.
    pub begun: usize,
}

impl Spent {
    /// Images begun: by their operations, if those are known, otherwise every candidate.
    fn images(self) -> f64 {
        match self.image_flops > 0.0 {
            true => self.flops / self.image_flops,
            false => self.begun as f64,
        }
    }
}

impl FromStr for Budget {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let unit_at = text.find(|c: char| c.is_ascii_alphabetic());
        let (number, unit) = text.split_at(unit_at.unwrap_or(text.len()));
        let number = number.trim().parse::<f64>().ok();
        let number = number.filter(|number| number.is_finite() && *number > 0.0);
        let size = |units: &[(&str, f64)]| {
            let mut units = units.iter();
            let found = units.find(|(name, _)| name.eq_ignore_ascii_case(unit.trim()));
            Some(number? * found?.1)
        };
        let seconds = size(&SECONDS).map(Self::Seconds);
        let flops = || size(&FLOPS).map(Self::Flops);
        let images = || size(&IMAGES).map(Self::Images);
        seconds.or_else(flops).or_else(images).ok_or_else(|| {
            Error::input(format!(
                "expected a budget of time, operations or images, found `{text}`"
            ))
            .with_hint("for example 60s, 5min, 2PFLOP or 3images")
        })
    }
}

/// Operations are in the largest unit that does not make the number smaller than 1, or in GFLOP.
impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Seconds(seconds) => write!(f, "{seconds}s"),
            Self::Images(images) => write!(f, "{images}images"),
            Self::Flops(flops) => {
                let fitting = FLOPS.iter().rev().find(|(_, size)| flops >= *size);
                let (unit, size) = fitting.unwrap_or(&FLOPS[0]);
                write!(f, "{}{unit}", flops / size)
            }
        }
    }
}

impl Serialize for Budget {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Budget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error: Error| {
            let hint = error.hint().unwrap_or_default().to_owned();
            D::Error::custom(format!("{error}; {hint}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_have_units() {
        for (text, budget) in [
            ("60s", Budget::Seconds(60.0)),
            ("1.5 min", Budget::Seconds(90.0)),
            ("2h", Budget::Seconds(7200.0)),
            ("2PFLOP", Budget::Flops(2e15)),
            ("500gflop", Budget::Flops(5e11)),
            ("3images", Budget::Images(3.0)),
            ("1 image", Budget::Images(1.0)),
        ] {
            let read: Budget = text.parse().unwrap();
            assert_eq!(read, budget, "{text}");
            assert_eq!(
                read.to_string().parse::<Budget>().unwrap(),
                budget,
                "{text}"
            );
        }
        for wrong in [
            "", "60", "s", "-3s", "0images", "nan s", "inf h", "3 apples", "1e999s",
        ] {
            let error = wrong.parse::<Budget>().unwrap_err();
            assert!(error.hint().is_some(), "{wrong}");
        }
    }
}

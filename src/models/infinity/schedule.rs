//! The released token grids: the scales of an image of some aspect and size
//! (FoundationVision/Infinity at commit 4c27bbb, `infinity/utils/dynamic_resolution.py`, lines
//! 5-50).

use std::{fmt, str::FromStr};

use crate::{Error, Result};

/// Heights divided by widths that the models were trained on; reciprocals are cut to three digits.
pub const TEMPLATES: [f64; 15] = [
    1.0, 1.25, 0.8, 1.333, 0.75, 1.5, 0.666, 1.75, 0.571, 2.0, 0.5, 2.5, 0.4, 3.0, 0.333,
];

/// Token grids (rows, columns) of a template, coarse to fine.
type Grids = [(usize, usize); 13];

#[rustfmt::skip]
const SQUARE_AND_TALL: [(f64, Grids); 8] = [
    (1.0, [(1,1),(2,2),(4,4),(6,6),(8,8),(12,12),(16,16),
        (20,20),(24,24),(32,32),(40,40),(48,48),(64,64)]),
    (1.25, [(1,1),(2,2),(3,3),(5,4),(10,8),(15,12),(20,16),
        (25,20),(30,24),(35,28),(45,36),(55,44),(70,56)]),
    (1.333, [(1,1),(2,2),(4,3),(8,6),(12,9),(16,12),(20,15),
        (24,18),(28,21),(36,27),(48,36),(60,45),(72,54)]),
    (1.5, [(1,1),(2,2),(3,2),(6,4),(9,6),(15,10),(21,14),
        (27,18),(33,22),(39,26),(48,32),(63,42),(78,52)]),
    (1.75, [(1,1),(2,2),(3,3),(7,4),(11,6),(14,8),(21,12),
        (28,16),(35,20),(42,24),(56,32),(70,40),(84,48)]),
    (2.0, [(1,1),(2,2),(4,2),(6,3),(10,5),(16,8),(22,11),
        (30,15),(38,19),(46,23),(60,30),(74,37),(90,45)]),
    (2.5, [(1,1),(2,2),(5,2),(10,4),(15,6),(20,8),(25,10),
        (30,12),(40,16),(50,20),(65,26),(80,32),(100,40)]),
    (3.0, [(1,1),(2,2),(6,2),(9,3),(15,5),(21,7),(27,9),
        (36,12),(45,15),(54,18),(72,24),(90,30),(111,37)]),
];

/// The size of an image: the number of scales, out of 13, that are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pixels {
    /// About 256 x 256: 7 scales.
    P006M,
    /// About 512 x 512: 10 scales.
    P025M,
    /// About 768 x 768: 12 scales.
    P060M,
    /// About 1024 x 1024: 13 scales.
    P1M,
}

impl Pixels {
    const ALL: [(&str, Self, usize); 4] = [
        ("0.06M", Self::P006M, 7),
        ("0.25M", Self::P025M, 10),
        ("0.60M", Self::P060M, 12),
        ("1M", Self::P1M, 13),
    ];

    /// Every size, the smallest first.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().map(|(_, pixels, _)| pixels)
    }

    fn scales(self) -> usize {
        Self::ALL[self as usize].2
    }
}

impl fmt::Display for Pixels {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(Self::ALL[*self as usize].0)
    }
}

impl FromStr for Pixels {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.iter().find(|(name, ..)| *name == text);
        let error =
            || Error::input(format!("unknown image size `{text}`")).with_hint(square_sizes());
        found.map(|(_, pixels, _)| *pixels).ok_or_else(error)
    }
}

/// Pixels along one side of a token of the released models.
const TOKEN: usize = 16;

/// What the sizes mean for square images.
fn square_sizes() -> String {
    let size = |pixels: Pixels| {
        let schedule = Schedule::released(1.0, pixels).ok()?;
        let (rows, columns) = schedule.grids.last()?;
        let (width, height) = (columns * TOKEN, rows * TOKEN);
        Some(format!("{pixels} ({width} x {height})"))
    };
    let sizes: Vec<String> = Pixels::all().filter_map(size).collect();
    format!("at an aspect of 1:1, the sizes are {}", sizes.join(", "))
}

/// The scales of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Token grid (rows, columns) of each scale, coarse to fine.
    pub grids: Vec<(usize, usize)>,
    /// The grid onto which all positions are stretched before they are rotated: the last of the
    /// largest schedule.
    pub rope_grid: (usize, usize),
}

impl Schedule {
    /// The released schedule whose template is nearest to `aspect`, height divided by width; the
    /// first in the order of [`TEMPLATES`] where two are equally near.
    ///
    /// # Errors
    /// `aspect` is not between 1:3 and 3:1.
    pub fn released(aspect: f64, pixels: Pixels) -> Result<Self> {
        if !(1.0 / 3.0 - 1e-3..=3.0 + 1e-3).contains(&aspect) {
            return Err(Error::input(format!(
                "an aspect of {aspect:.3} (height / width) is out of range"
            ))
            .with_hint("models generate from 1:3 (wide) to 3:1 (tall)"));
        }
        let distance = |template: f64| (template - aspect).abs();
        let nearest = |best: f64, template: f64| {
            if distance(template) < distance(best) {
                template
            } else {
                best
            }
        };
        let grids = grids(TEMPLATES.into_iter().fold(TEMPLATES[0], nearest));
        Ok(Self {
            grids: grids[..pixels.scales()].to_vec(),
            rope_grid: grids[grids.len() - 1],
        })
    }

    /// Tokens of all scales together.
    pub fn tokens(&self) -> usize {
        self.grids
            .iter()
            .map(|(rows, columns)| rows * columns)
            .sum()
    }
}

/// The grids of one of the [`TEMPLATES`]; a wide template is the transpose of its reciprocal.
fn grids(template: f64) -> Grids {
    let near = |a: f64, b: f64| (a - b).abs() < 2e-3;
    for (ratio, grids) in SQUARE_AND_TALL {
        if near(ratio, template) {
            return grids;
        }
        if near(ratio.recip(), template) {
            return grids.map(|(rows, columns)| (columns, rows));
        }
    }
    unreachable!("{template} is none of the templates")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_has_grids_of_its_ratio() {
        for template in TEMPLATES {
            let (rows, columns) = grids(template)[12];
            assert!(
                (rows as f64 / columns as f64 - template).abs() < 0.01,
                "{template}: {rows} x {columns}"
            );
        }
    }

    #[test]
    fn the_nearest_template_wins_and_sizes_cut_the_scales() {
        let square = Schedule::released(1.0, Pixels::P1M).unwrap();
        assert_eq!((square.grids.len(), square.tokens()), (13, 10_521));
        let wide = Schedule::released(0.67, Pixels::P006M).unwrap();
        assert_eq!(
            wide.grids,
            [(1, 1), (2, 2), (2, 3), (4, 6), (6, 9), (10, 15), (14, 21)]
        );
        assert_eq!(wide.rope_grid, (52, 78));
    }

    #[test]
    fn aspects_beyond_the_templates_are_refused() {
        assert!(Schedule::released(1.0 / 3.0, Pixels::P1M).is_ok());
        for aspect in [3.1, 0.3, 0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Schedule::released(aspect, Pixels::P1M).is_err(), "{aspect}");
        }
    }
}

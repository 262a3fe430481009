//! Cost models: what searches would cost with a given model, from the counts that records keep.
//!
//! The same search may win with one model and lose with another, because it depends on the model
//! what an unfinished image costs. A cost model is a file:
//!
//! ```toml
//! unit = "TFLOP"          # the unit of the prices below: any, but the same for all
//! prompt = 0.1            # encoding a prompt, once per search
//! transformer = 100       # all scales of one sample, with both branches of guidance
//! shares = [0.2, 0.8]     # the share of each scale in it; together 1
//! unfinished_decode = 1   # decoding an unfinished image, such as a preview
//! final_decode = 8        # decoding a finished image
//! scoring = 0.2           # scoring an image
//! verification = 0.1      # predicting the score of a candidate from its latent
//! extraction = 0.2        # the features of an image
//! ```
//!
//! Costs are in raw images: one sample with its final decode and scoring costs 1.

use std::path::Path;

use serde::Deserialize;
use ttsvar_search::suggestion::suggest;

use super::Counts;
use crate::{
    Error, Result,
    file::{self, slug},
};

/// The cost models that are built into the program: names and files.
const BUILT_IN: [(&str, &str); 2] = [
    ("demo", include_str!("cost_models/demo.toml")),
    ("infinity-2b", include_str!("cost_models/infinity-2b.toml")),
];

/// Most scales that a file may give shares for.
const MOST_SCALES: usize = 256;

/// How far the sum of the shares may be from 1: they are rounded.
const ROUNDING: f64 = 1e-3;

/// Branches of a pass with guidance.
const BRANCHES: f64 = 2.0;

/// What the parts of a search cost with some model.
#[derive(Clone, Debug, PartialEq)]
pub struct CostModel {
    name: String,
    prices: Prices,
}

/// The file of a cost model. All prices have the same unit.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Prices {
    /// The unit, for readers.
    #[serde(rename = "unit")]
    _unit: String,
    prompt: Price,
    transformer: Price,
    shares: Shares,
    unfinished_decode: Price,
    final_decode: Price,
    scoring: Price,
    verification: Price,
    extraction: Price,
}

/// A number from 0.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
struct Price(f64);

/// The share of each scale in the transformer of a sample, coarse to fine.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Vec<Price>")]
struct Shares(Vec<f64>);

impl TryFrom<f64> for Price {
    type Error = String;

    fn try_from(price: f64) -> Result<Self, String> {
        const MOST: f64 = 1e30;
        match (0.0..=MOST).contains(&price) {
            true => Ok(Self(price)),
            false => Err(format!(
                "expected a number from 0 to {MOST:e}, found {price}"
            )),
        }
    }
}

impl TryFrom<Vec<Price>> for Shares {
    type Error = String;

    fn try_from(shares: Vec<Price>) -> Result<Self, String> {
        let count = shares.len();
        if !(1..=MOST_SCALES).contains(&count) {
            return Err(format!(
                "expected the shares of 1 to {MOST_SCALES} scales, found {count}"
            ));
        }
        let shares: Vec<f64> = shares.into_iter().map(|Price(share)| share).collect();
        let sum: f64 = shares.iter().sum();
        if (sum - 1.0).abs() > ROUNDING {
            return Err(format!(
                "the shares of all scales must add up to 1, but these {count} add up to {sum:.4}"
            ));
        }
        Ok(Self(shares.iter().map(|share| share / sum).collect()))
    }
}

impl CostModel {
    /// The names of the cost models that are built into the program.
    pub const NAMES: [&str; 2] = [BUILT_IN[0].0, BUILT_IN[1].0];

    /// All cost models that are built into the program.
    pub fn built_in() -> Vec<Self> {
        let read = |(name, text): (&str, &str)| {
            Self::from_toml(name, text).expect("the tests read the files in the program")
        };
        BUILT_IN.map(read).to_vec()
    }

    /// The cost models with these names or in these files.
    ///
    /// # Errors
    /// As [`CostModel::find`], or two of them have the same name.
    pub fn find_all(names: &[String]) -> Result<Vec<Self>> {
        let mut all: Vec<Self> = vec![];
        for name in names {
            let model = Self::find(name)?;
            if all
                .iter()
                .any(|other| other.file_part() == model.file_part())
            {
                return Err(Error::input(format!(
                    "two cost models are called `{}`",
                    model.name.escape_debug()
                ))
                .with_hint("tables identify them by the names of their files; rename one"));
            }
            all.push(model);
        }
        Ok(all)
    }

    /// The built-in cost model of this name, or the one in this file, which is called like the file
    /// without its ending.
    ///
    /// # Errors
    /// There is neither, the file cannot be read, or one of its values is not valid.
    pub fn find(name: &str) -> Result<Self> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return Self::from_toml(name, text);
        }
        let path = Path::new(name);
        if path.extension().is_none() && !path.exists() {
            let known = Self::NAMES.join("`, `");
            let expected = format!("expected `{known}`, or a .toml file");
            return Err(
                Error::input(format!("unknown cost model `{name}`")).with_hint(suggest(
                    name,
                    &Self::NAMES,
                    &expected,
                )),
            );
        }
        let text = file::read_text(path)?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        Self::from_toml(&stem, &text).map_err(|error| {
            Error::in_file(path, error).with_hint(
                "docs/command-line.md describes the file; it must give a price for every part",
            )
        })
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// It is not a cost model; the error names the line.
    pub fn from_toml(name: &str, text: &str) -> Result<Self> {
        let prices: Prices = file::parse_toml(text)?;
        let model = Self {
            name: name.to_owned(),
            prices,
        };
        match model.raw_image() > 0.0 {
            true => Ok(model),
            false => Err(Error::input(
                "a sample with its final decode and scoring costs 0, expected more",
            )),
        }
    }

    /// The name: a built-in one, or that of the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name as a part of the names of files.
    pub fn file_part(&self) -> String {
        slug(&self.name)
    }

    /// The cost of an image with these counts, in raw images.
    pub fn price(&self, counts: &Counts) -> f64 {
        let prices = &self.prices;
        let passes = counts.passes.iter();
        let shares = self.shares(counts.passes.len());
        let transformer: f64 = passes
            .zip(shares)
            .map(|(&passes, share)| passes as f64 / BRANCHES * share)
            .sum();
        let scorings = counts.unfinished_scorings + counts.finished_scorings;
        let cost = prices.prompt.0
            + transformer * prices.transformer.0
            + counts.unfinished_decodes as f64 * prices.unfinished_decode.0
            + counts.finished_decodes as f64 * prices.final_decode.0
            + scorings as f64 * prices.scoring.0
            + counts.verifications as f64 * prices.verification.0
            + counts.extractions as f64 * prices.extraction.0;
        cost / self.raw_image()
    }

    /// The share of each of `scales` scales in the transformer. For another number of scales than
    /// the file's, cumulative shares are interpolated at the same relative position.
    pub fn shares(&self, scales: usize) -> Vec<f64> {
        let last = scales.saturating_sub(1).max(1) as f64;
        let mut before = 0.0;
        let mut shares = vec![];
        for scale in 0..scales {
            let position = if scales == 1 {
                1.0
            } else {
                scale as f64 / last
            };
            let cumulative = self.cumulative_share(position);
            shares.push(cumulative - before);
            before = cumulative;
        }
        shares
    }

    /// The share of all scales up to a relative position, 0 for the first scale and 1 for the last.
    fn cumulative_share(&self, position: f64) -> f64 {
        let shares = &self.prices.shares.0;
        let place = position * (shares.len() - 1) as f64;
        let whole = place.floor() as usize;
        let up_to: f64 = shares.iter().take(whole + 1).sum();
        let next = shares.get(whole + 1).copied().unwrap_or(0.0);
        up_to + place.fract() * next
    }

    /// The price of one sample with its final decode and scoring.
    fn raw_image(&self) -> f64 {
        let prices = &self.prices;
        prices.prompt.0 + prices.transformer.0 + prices.final_decode.0 + prices.scoring.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "unit = 'ms'\nprompt = 1\ntransformer = 6\nshares = [0.25, 0.25, 0.5]\n\
        unfinished_decode = 0.5\nfinal_decode = 2\nscoring = 1\nverification = 0.25\n\
        extraction = 3\n";

    fn model() -> CostModel {
        CostModel::from_toml("m", FILE).unwrap()
    }

    #[test]
    fn a_sample_with_final_decode_and_scoring_costs_1() {
        let counts = Counts {
            passes: vec![2, 2, 2],
            finished_decodes: 1,
            finished_scorings: 1,
            ..Counts::default()
        };
        for model in CostModel::built_in().iter().chain([&model()]) {
            assert!((model.price(&counts) - 1.0).abs() < 1e-12, "{model:?}");
        }
    }

    #[test]
    fn every_part_has_its_price() {
        // A raw image costs 1 + 6 + 2 + 1 = 10.
        let counts = Counts {
            passes: vec![2, 8, 3],
            unfinished_decodes: 4,
            finished_decodes: 2,
            unfinished_scorings: 5,
            finished_scorings: 2,
            verifications: 8,
            extractions: 1,
        };
        // 1 + 6 (0.25 + 4 * 0.25 + 1.5 * 0.5) + 4 * 0.5 + 2 * 2 + 7 * 1 + 8 * 0.25 + 3
        assert!((model().price(&counts) - 3.1).abs() < 1e-12);
    }

    #[test]
    fn one_branch_of_guidance_is_half_a_pass() {
        let counts = |passes: usize| Counts {
            passes: vec![passes; 3],
            ..Counts::default()
        };
        let price = |passes| model().price(&counts(passes));
        assert!((price(1) - 0.4).abs() < 1e-12);
        assert!((price(2) - 0.7).abs() < 1e-12);
    }

    #[test]
    fn shares_of_other_numbers_of_scales_are_interpolated() {
        let close = |scales: usize, expected: &[f64]| {
            let shares = model().shares(scales);
            assert_eq!(shares.len(), expected.len());
            for (share, expected) in shares.iter().zip(expected) {
                assert!((share - expected).abs() < 1e-12, "{shares:?}");
            }
        };
        close(0, &[]);
        close(1, &[1.0]);
        close(2, &[0.25, 0.75]);
        close(3, &[0.25, 0.25, 0.5]);
        close(5, &[0.25, 0.125, 0.125, 0.25, 0.25]);
        close(4, &[0.25, 1.0 / 6.0, 0.25, 1.0 / 3.0]);
    }

    #[test]
    fn scale_k_of_the_demo_stands_for_scale_2k_of_13() {
        let infinity = CostModel::find("infinity-2b").unwrap();
        let own = infinity.shares(13);
        for (scale, share) in infinity.shares(7).iter().enumerate() {
            let first = (2 * scale).saturating_sub(1);
            let stands_for: f64 = own[first..=2 * scale].iter().sum();
            assert!((share - stands_for).abs() < 1e-12);
        }
    }

    #[test]
    fn faults_are_named_with_their_line() {
        let fails = |from: &str, to: &str| {
            assert!(FILE.contains(from));
            let text = FILE.replacen(from, to, 1);
            CostModel::from_toml("m", &text).unwrap_err().to_string()
        };
        let negative = fails("prompt = 1", "prompt = -1");
        assert!(
            negative.starts_with("line 2: expected a number from 0"),
            "{negative}"
        );
        for number in ["nan", "inf", "-inf", "1e31"] {
            let text = fails("scoring = 1", &format!("scoring = {number}"));
            assert!(text.starts_with("line 7: expected a number"), "{text}");
        }
        let short = fails("0.25, 0.25, 0.5", "0.25, 0.25");
        assert!(
            short.starts_with("line 4: the shares of all scales"),
            "{short}"
        );
        assert!(short.contains("these 2 add up to 0.5000"), "{short}");
        let none = fails("[0.25, 0.25, 0.5]", "[]");
        assert!(
            none.starts_with("line 4: expected the shares of 1 to 256"),
            "{none}"
        );
        let share = fails("0.25, 0.25", "-0.25, 0.75");
        assert!(
            share.starts_with("line 4: expected a number from 0"),
            "{share}"
        );
        let unknown = fails("extraction = 3", "extractions = 3");
        assert!(
            unknown.starts_with("line 9: unknown field `extractions`"),
            "{unknown}"
        );
        let missing = fails("extraction = 3\n", "");
        assert!(missing.contains("missing field `extraction`"), "{missing}");
        assert!(fails("scoring = 1", "scoring = 'a'").starts_with("line 7: "));
        let free = "unit = ''\nprompt = 0\ntransformer = 0\nshares = [1]\nunfinished_decode = 1\n\
            final_decode = 0\nscoring = 0\nverification = 0\nextraction = 0\n";
        let free = CostModel::from_toml("m", free).unwrap_err().to_string();
        assert!(free.contains("costs 0"), "{free}");
    }

    #[test]
    fn names_are_looked_up_and_must_differ() {
        let names = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            CostModel::find_all(&names)
        };
        assert_eq!(names(&CostModel::NAMES).unwrap(), CostModel::built_in());
        let twice = names(&["demo", "demo"]).unwrap_err();
        assert!(
            twice
                .to_string()
                .contains("two cost models are called `demo`")
        );
        let unknown = names(&["infinty-2b"]).unwrap_err();
        let hint = unknown.hint().unwrap();
        assert!(hint.starts_with("did you mean `infinity-2b`?"), "{hint}");
    }
}

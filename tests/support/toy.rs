//! A generator, judges and features small enough to reason about: every scale adds one random
//! pixel.

use std::{collections::BTreeMap, ops::Range};

use ttsvar::search::{
    DecodeSize, Estimate, Extractor, FeatureMap, Features, Image, Latent, LatentVerifier, Matrix,
    Pipeline, Prompt, Rollout, Scale, Scorer, StepCounts, Workload,
    rng::{Lineage, Stream},
};

/// Images of one row of grey pixels; scale `s` paints pixel `s`, the pixels of later scales are
/// black.
pub struct Toy {
    scales: Vec<Scale>,
}

impl Toy {
    pub fn new(scales: usize) -> Self {
        Self {
            scales: (1..=scales)
                .map(|side| Scale {
                    height: side,
                    width: side,
                })
                .collect(),
        }
    }
}

impl Pipeline for Toy {
    fn scales(&self) -> &[Scale] {
        &self.scales
    }

    fn image_size(&self) -> (usize, usize) {
        (1, self.scales.len())
    }

    fn begin(
        &self,
        _: &Prompt,
        rows: Range<usize>,
        seed: u64,
    ) -> ttsvar::search::Result<Box<dyn Rollout + '_>> {
        let rows = rows.map(|row| (Lineage::root(row), vec![])).collect();
        Ok(Box::new(Pixels {
            rows,
            seed,
            scale: 0,
            scales: self.scales.len(),
            flops: 0.0,
        }))
    }

    fn estimate(&self, workload: &Workload) -> Estimate {
        Estimate {
            flops: workload
                .widths
                .iter()
                .chain(&workload.decodes)
                .sum::<usize>() as f64,
            peak_bytes: 0,
        }
    }
}

struct Pixels {
    rows: Vec<(Lineage, Vec<u8>)>,
    seed: u64,
    /// The scale that the next step draws.
    scale: usize,
    scales: usize,
    flops: f64,
}

impl Rollout for Pixels {
    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn step(&mut self) -> ttsvar::search::Result<StepCounts> {
        for (lineage, pixels) in &mut self.rows {
            pixels.push((256.0 * Stream::sample(self.seed, *lineage, self.scale).uniform()) as u8);
        }
        // Before scale 0 all rows are equal.
        let states = if self.scale == 0 { 1 } else { self.rows.len() };
        self.scale += 1;
        self.flops += states as f64;
        Ok(StepCounts::unguided(states))
    }

    fn images(&self, rows: &[usize], _: DecodeSize) -> ttsvar::search::Result<Vec<Image>> {
        let image = |&row: &usize| {
            let mut pixels = self.rows[row].1.clone();
            pixels.resize(self.scales, 0);
            Image::new(
                self.scales,
                1,
                pixels.into_iter().flat_map(|grey| [grey; 3]).collect(),
            )
        };
        Ok(rows.iter().map(image).collect())
    }

    /// The greys, with zeros for later scales.
    fn latents(&self, rows: &[usize]) -> ttsvar::search::Result<Vec<Latent>> {
        let latent = |&row: &usize| {
            let mut values: Vec<f32> = self.rows[row]
                .1
                .iter()
                .map(|grey| f32::from(*grey))
                .collect();
            values.resize(self.scales, 0.0);
            Ok(FeatureMap::new(1, 1, self.scales, values)?.into())
        };
        rows.iter().map(latent).collect()
    }

    fn fork<'r>(&self, rows: &[usize]) -> ttsvar::search::Result<Box<dyn Rollout + 'r>>
    where
        Self: 'r,
    {
        Ok(Box::new(Self {
            rows: rows.iter().map(|row| self.rows[*row].clone()).collect(),
            flops: 0.0,
            ..*self
        }))
    }

    fn gather(&mut self, rows: &[usize]) -> ttsvar::search::Result<()> {
        let copies = |i: usize| rows[..i].iter().filter(|&&row| row == rows[i]).count();
        let row = |i: usize| {
            let (lineage, pixels) = &self.rows[rows[i]];
            (lineage.copy(self.scale - 1, copies(i)), pixels.clone())
        };
        self.rows = (0..rows.len()).map(row).collect();
        Ok(())
    }

    fn flops(&self) -> f64 {
        self.flops
    }
}

/// The grey of each pixel.
pub fn greys(image: &Image) -> Vec<u8> {
    image.pixels().iter().step_by(3).copied().collect()
}

/// A judge made of a function of the place of an image among those judged together, and of its
/// greys.
pub struct Judge<F>(pub F);

impl<F: Fn(usize, &[u8]) -> f32 + Send + Sync> Scorer for Judge<F> {
    fn score(&self, _: &str, images: &[Image]) -> ttsvar::search::Result<Vec<f32>> {
        Ok(images
            .iter()
            .enumerate()
            .map(|(i, image)| (self.0)(i, &greys(image)))
            .collect())
    }

    fn flops(&self, images: usize) -> f64 {
        images as f64
    }
}

/// Likes light: the mean grey, 0 to 1. Sums are integers, so that no two images differ by mere rounding,
/// which a search takes for a tie.
pub fn brightness(_: usize, greys: &[u8]) -> f32 {
    let sum: u32 = greys.iter().map(|&grey| u32::from(grey)).sum();
    sum as f32 / (255 * greys.len()) as f32
}

/// Predicts the mean grey of an unfinished image, 0 to 1, from its latent.
pub struct MeanOfLatent;

impl LatentVerifier for MeanOfLatent {
    fn predicts(&self) -> &str {
        ""
    }

    fn scales(&self) -> &[usize] {
        &[0, 1, 2, 3, 4, 5, 6, 7]
    }

    fn predict(
        &self,
        _: &str,
        scale: usize,
        latents: &[Latent],
    ) -> ttsvar::search::Result<Vec<f32>> {
        let mean =
            |latent: &Latent| latent.map.values.iter().sum::<f32>() / 255.0 / (scale + 1) as f32;
        Ok(latents.iter().map(mean).collect())
    }

    fn flops(&self, candidates: usize) -> f64 {
        candidates as f64
    }
}

/// The greys as they are.
pub struct Plain;

impl Extractor for Plain {
    fn extract(&self, images: &[Image]) -> ttsvar::search::Result<Matrix> {
        let cols = images.first().map_or(0, Image::width);
        Ok(Matrix::new(
            images.len(),
            cols,
            images.iter().flat_map(greys).map(f32::from).collect(),
        ))
    }

    fn flops(&self, images: usize) -> f64 {
        images as f64
    }
}

/// [`Plain`] under every name.
pub fn extractors() -> BTreeMap<Features, Box<dyn Extractor>> {
    let kinds = [
        Features::Pca,
        Features::PcaRaw,
        Features::PcaAll,
        Features::Pool,
    ];
    kinds
        .into_iter()
        .map(|kind| (kind, Box::new(Plain) as Box<dyn Extractor>))
        .collect()
}

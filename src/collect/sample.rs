//! Draws the samples of a collection. Each worker is one thread with one sample at a time.

use std::{collections::BTreeMap, ops::Range};

use ttsvar_search::{DecodeSize, Image, Latent, Prompt, Search};

use super::{CaptionedPrompt, CollectionFolder, Settings};
use crate::{
    Error, Result,
    threads::{Results, Workers},
};

/// A collection to draw.
#[derive(Clone, Copy)]
pub struct Collection<'a> {
    /// Generator and scorer; a mix of scorers has no score that could be predicted.
    pub search: &'a Search<'a>,
    /// The prompts, scales and numbers.
    pub settings: &'a Settings,
    /// The text that replaces the unconditional one in guidance.
    pub negative: Option<&'a str>,
    /// Samples that are drawn in parallel, each on one thread; a single worker uses all threads.
    pub workers: usize,
}

/// One sample: what a verifier sees of it and what it should predict.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The seed with which `ttsvar generate --method raw` makes the same image.
    pub seed: u64,
    /// The latents after the chosen scales, in their order.
    pub latents: Vec<Latent>,
    /// The finished image's score for the prompt, then for each caption.
    pub scores: Vec<f32>,
    /// The finished image, if the collection stores it.
    pub image: Option<Image>,
}

impl Collection<'_> {
    /// Draws the samples of the shards that the folder does not have yet and writes each shard as
    /// soon as it is complete. `drawn` is told of each sample, and `write` writes a shard.
    ///
    /// # Errors
    /// The first error of the generator, the scorer or of `write`.
    pub fn run(
        &self,
        folder: &CollectionFolder,
        mut drawn: impl FnMut(&Sample),
        mut write: impl FnMut(Range<usize>, &[Sample]) -> Result<()>,
    ) -> Result<()> {
        let missing = folder.missing();
        let tasks: Vec<usize> = missing.iter().cloned().flatten().collect();
        let mut shards = Shards::new(missing);
        let workers = Workers::single_threaded(self.workers);
        let draw = |index: &usize, results: &Results<_>| {
            results.send((*index, self.sample(*index)?));
            Ok(())
        };
        workers.share(&tasks, draw, |(index, sample)| {
            drawn(&sample);
            match shards.add(index, sample) {
                Some((range, samples)) => write(range, &samples),
                None => Ok(()),
            }
        })
    }

    /// Draws one sample. It depends only on the collection, not on other samples.
    ///
    /// # Errors
    /// The generator or the scorer fails.
    pub fn sample(&self, index: usize) -> Result<Sample> {
        let (captioned, seed) = self.settings.task(index);
        let prompt = Prompt {
            text: captioned.prompt.clone(),
            negative: self.negative.map(str::to_owned),
        };
        let mut rollout = self.search.pipeline.begin(&prompt, 0..1, seed)?;
        let mut latents = vec![];
        for scale in 0..self.search.pipeline.scales().len() {
            rollout.step()?;
            if self.settings.scales.contains(&scale) {
                latents.extend(rollout.latents(&[0])?);
            }
        }
        let images = rollout.images(&[0], DecodeSize::Full)?;
        let scores = self.scores(captioned, &images)?;
        Ok(Sample {
            seed,
            latents,
            scores,
            image: images.into_iter().next().filter(|_| self.settings.images),
        })
    }

    /// The scores of the finished image for all of its captions.
    fn scores(&self, captioned: &CaptionedPrompt, images: &[Image]) -> Result<Vec<f32>> {
        let mut scores = vec![];
        for caption in captioned.scored() {
            let of_scorers = self.search.scores(caption, images)?;
            let [of_images] = of_scorers.as_slice() else {
                return Err(Error::internal("a collection needs exactly one scorer"));
            };
            scores.extend(of_images);
        }
        Ok(scores)
    }
}

/// Collects samples until their shard is complete.
struct Shards {
    /// The ranges of the shards by their first sample.
    ranges: BTreeMap<usize, Range<usize>>,
    /// The samples of incomplete shards by the first sample of their shard.
    samples: BTreeMap<usize, BTreeMap<usize, Sample>>,
}

impl Shards {
    fn new(ranges: Vec<Range<usize>>) -> Self {
        let ranges = ranges.into_iter().map(|range| (range.start, range));
        Self {
            ranges: ranges.collect(),
            samples: BTreeMap::new(),
        }
    }

    /// Adds a sample; returns its shard with all samples in order if that is complete now.
    fn add(&mut self, index: usize, sample: Sample) -> Option<(Range<usize>, Vec<Sample>)> {
        let (first, range) = self.ranges.range(..=index).next_back()?;
        let samples = self.samples.entry(*first).or_default();
        samples.insert(index, sample);
        if samples.len() < range.len() {
            return None;
        }
        let samples = self.samples.remove(first)?;
        Some((range.clone(), samples.into_values().collect()))
    }
}

//! Scorers by name, each over a network that may be shared, and read when it is needed where memory
//! is short.

use std::sync::Arc;

use ttsvar_search::{Image, Scorer};

use super::{
    judging::ScorerMix,
    on_demand::OnDemand,
    reader::{Kept, Noted, Read},
};
use crate::{
    Error, Result,
    features::ClipSpace,
    hub::{ScorerFiles, description::ScorerFamily},
    image::Preprocess,
    models::clip::{Clip, Config, OpenClipConfig},
    nn::Weights,
    scorers::{Aesthetic, ClipScore, Definition, Hps, ImageReward},
    text::{ClipTokenizer, WordPieceTokenizer},
};

/// The network of a scorer.
pub(super) type Network = OnDemand<Box<dyn Scorer>>;

/// A loaded scorer with its name and its weight among others.
pub struct LoadedScorer {
    /// As it is typed.
    pub name: String,
    /// Above 0.
    pub weight: f64,
    network: Arc<Network>,
    /// What is made of the network's number; the network itself gives the cosine.
    definition: Definition,
    /// Floating-point operations of one image.
    flops: f64,
}

impl Scorer for LoadedScorer {
    fn score(&self, prompt: &str, images: &[Image]) -> ttsvar_search::Result<Vec<f32>> {
        let scores = self.network.get()?.score(prompt, images)?;
        Ok(scores
            .into_iter()
            .map(|score| self.definition.of(score))
            .collect())
    }

    fn flops(&self, images: usize) -> f64 {
        self.flops * images as f64
    }
}

/// The scorers that are wanted and their networks, one for each of the `files`.
pub(super) fn judges(
    judging: &ScorerMix,
    files: &[ScorerFiles],
    kept: &Kept,
    stays: bool,
    noted: &mut Noted,
) -> Result<(Vec<LoadedScorer>, Vec<Arc<Network>>)> {
    let mut networks = vec![];
    for files in files {
        let (first, again) = (scorer(files, kept)?, (files.clone(), kept.clone()));
        noted.unknown(&first);
        let flops = first.network.flops(1);
        let network = OnDemand::new(first, stays, move || scorer(&again.0, &again.1));
        networks.push((files.scorer().family, flops, Arc::new(network)));
    }
    let judge = |&(name, weight): &(super::Name, f64)| {
        let found = networks
            .iter()
            .find(|(family, ..)| *family == name.family());
        let (_, flops, network) = found
            .ok_or_else(|| Error::input(format!("there are no files of the scorer `{name}`")))?;
        let (name, definition) = (name.to_string(), name.definition());
        Ok(LoadedScorer {
            name,
            weight,
            network: network.clone(),
            definition,
            flops: *flops,
        })
    };
    let judges = judging.wanted().iter().map(judge).collect::<Result<_>>()?;
    Ok((
        judges,
        networks.into_iter().map(|(.., network)| network).collect(),
    ))
}

/// Reads the network of a scorer.
fn scorer(files: &ScorerFiles, kept: &Kept) -> Result<Read<Box<dyn Scorer>>> {
    match files.scorer().family {
        ScorerFamily::ImageReward => {
            let config = files.config()?.json()?;
            let tokenizer = WordPieceTokenizer::open(&files.vocabulary()?)?;
            let heads = files.scorer().heads;
            kept.read(
                files.weights()?,
                "",
                &["blip.vision_proj.", "blip.text_proj."],
                |w| Ok(Box::new(ImageReward::load(w, &config, heads, tokenizer)?) as _),
            )
        }
        ScorerFamily::Hps => {
            let config: OpenClipConfig = files.config()?.json()?;
            let tokenizer = ClipTokenizer::open_clip(&files.vocabulary()?)?;
            kept.read(files.weights()?, "", &["logit_scale"], |w| {
                Ok(Box::new(Hps::load(w, &config.into(), tokenizer)?) as _)
            })
        }
        ScorerFamily::Clip => {
            let config: Config = files.config()?.json()?;
            let tokenizer = ClipTokenizer::open(&files.vocabulary()?)?;
            kept.read(files.weights()?, "", &["logit_scale"], |w| {
                let space = ClipSpace::new(Clip::load(w, &config)?, tokenizer, Preprocess::CLIP)?;
                Ok(Box::new(ClipScore::new(Arc::new(space), Definition::Cosine)) as _)
            })
        }
        ScorerFamily::Aesthetic => {
            let (config, head) = (files.config()?.json()?, files.weights()?);
            // The published encoder has a text half too, so only what is left over of the other
            // says something.
            kept.read(files.encoder()?, "vision_model.", &[], |siglip| {
                let head = Weights::new(head, siglip.dtype(), siglip.device());
                Ok(Box::new(Aesthetic::load(siglip, &config, &head)?) as _)
            })
        }
    }
}

//! The latent verifier of a system. It shares text encoder and head with the scorer that it
//! predicts.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use ttsvar_search::{Drafts, FeatureMap, Latent, LatentVerifier, Verifier};

use super::{LoadedScorer, scorers::EvictableScorer};
use crate::{
    Error, Result,
    hub::{Bundle, description},
    loading::{Evict, Evictable, LoadReport, Loaded, Loader},
    models::blip::LatentEncoder,
    scorers::ImageReward,
};

/// Latents that run through the network together, which bounds memory.
const BATCH: usize = 64;

/// The latent verifier that a bundle describes.
pub(super) struct BundleVerifier {
    description: description::Verifier,
    /// `None` if the search uses other scorers than the one that it predicts.
    networks: Option<Networks>,
}

/// The networks of a verifier. They run one after the other.
struct Networks {
    encoder: Arc<Evictable<LatentEncoder>>,
    scorer: Arc<EvictableScorer>,
    /// The function from the scorer's output to the score.
    score: fn(f32) -> f32,
    device: Device,
    /// Floating-point operations per latent.
    flops: f64,
}

impl BundleVerifier {
    /// Returns whether the search uses exactly the scorer that it predicts.
    pub(super) fn is_usable(&self) -> bool {
        self.networks.is_some()
    }

    /// The block of the generator whose output it reads besides the latents, if any.
    pub(super) fn hidden_block(&self) -> Option<usize> {
        self.networks.as_ref()?;
        self.description.hidden_block
    }

    /// How methods use it unless the user chooses.
    pub(super) fn drafts(&self) -> Drafts {
        Drafts {
            verifier: Verifier::Latent,
            scale: self.description.scales.first().copied(),
            above: self.description.above,
            finish: None,
        }
    }

    /// Its own network, which may be evicted.
    pub(super) fn network(&self) -> Option<&dyn Evict> {
        let networks = self.networks.as_ref()?;
        Some(networks.encoder.as_ref())
    }
}

impl LatentVerifier for BundleVerifier {
    fn predicts(&self) -> &str {
        &self.description.predicts
    }

    fn scales(&self) -> &[usize] {
        &self.description.scales
    }

    fn predict(
        &self,
        prompt: &str,
        scale: usize,
        latents: &[Latent],
    ) -> ttsvar_search::Result<Vec<f32>> {
        let Some(networks) = &self.networks else {
            let predicts = &self.description.predicts;
            return Err(ttsvar_search::Error::internal(format!(
                "the latent verifier needs the scorer `{predicts}`, which was not loaded"
            )));
        };
        let mut scores = Vec::with_capacity(latents.len());
        for latents in latents.chunks(BATCH) {
            scores.extend(networks.predict(prompt, scale, latents)?);
        }
        Ok(scores)
    }

    fn flops(&self, candidates: usize) -> f64 {
        let networks = self.networks.as_ref();
        networks.map_or(0.0, |networks| networks.flops * candidates as f64)
    }
}

impl Networks {
    fn predict(&self, prompt: &str, scale: usize, latents: &[Latent]) -> Result<Vec<f32>> {
        let maps: Vec<&FeatureMap> = latents.iter().map(|latent| &latent.map).collect();
        let maps = stack(&maps, &self.device)?; // (B, channels, height, width)
        let hidden = latents.iter().map(|latent| latent.hidden.as_ref());
        let hidden: Option<Vec<&FeatureMap>> = hidden.collect();
        let hidden = hidden.map(|maps| stack(&maps, &self.device)).transpose()?;
        let tokens = self.encoder.get()?.forward(&maps, hidden.as_ref(), scale)?; // (B, T, C)
        let network = self.scorer.get()?;
        let scores = reader(network.image_reward())?.score_tokens(prompt, &tokens)?;
        Ok(scores.into_iter().map(self.score).collect())
    }
}

/// Maps of one shape as a tensor (B, channels, height, width).
///
/// # Errors
/// Their shapes differ.
fn stack(maps: &[&FeatureMap], device: &Device) -> Result<Tensor> {
    let Some(first) = maps.first() else {
        return Err(Error::internal("no latents to predict from"));
    };
    let [channels, height, width] = first.shape();
    if maps.iter().any(|map| map.shape() != first.shape()) {
        return Err(Error::internal("latents of different shapes in one batch"));
    }
    let values: Vec<f32> = maps
        .iter()
        .flat_map(|map| map.values.iter().copied())
        .collect();
    let shape = (maps.len(), channels, height, width);
    Ok(Tensor::from_vec(values, shape, device)?)
}

/// The network whose text encoder and head a verifier shares.
fn reader(network: Option<&ImageReward>) -> Result<&ImageReward> {
    network.ok_or_else(|| {
        Error::input("a latent verifier can only predict scorers with ImageReward's network")
            .with_hint("`predicts` in [verifier] of bundle.toml names the scorer")
    })
}

/// The verifier of a bundle, if it has one. Its network is only loaded if `scorers` is exactly the
/// scorer that it predicts.
pub(super) fn load_verifier(
    bundle: &Bundle,
    loader: &Loader,
    scorers: &[LoadedScorer],
    resident: bool,
    report: &mut LoadReport,
) -> Result<Option<BundleVerifier>> {
    let Some(description) = bundle.description.verifier.clone() else {
        return Ok(None);
    };
    let networks = match scorers {
        [scorer] if scorer.name == description.predicts => {
            Some(load_networks(bundle, loader, scorer, resident, report)?)
        }
        _ => None,
    };
    Ok(Some(BundleVerifier {
        description,
        networks,
    }))
}

fn load_networks(
    bundle: &Bundle,
    loader: &Loader,
    scorer: &LoadedScorer,
    resident: bool,
    report: &mut LoadReport,
) -> Result<Networks> {
    let of_encoder = bundle.clone();
    let load = move |loader: &Loader| load_encoder(&of_encoder, loader);
    let network = Evictable::new("verifier", loader, resident, report, load)?;
    let encoder = network.measured();
    let image_reward = reader(scorer.network.measured().image_reward())?;
    let origin = report.files.last().map_or("", String::as_str);
    check_width(encoder, image_reward, origin)?;
    check_scales(encoder, bundle, origin)?;
    check_hidden(encoder, bundle, origin)?;
    let flops = encoder.flops() + image_reward.token_flops(encoder.tokens());
    Ok(Networks {
        encoder: Arc::new(network),
        scorer: scorer.network.clone(),
        score: scorer.score,
        device: loader.device.clone(),
        flops,
    })
}

fn load_encoder(bundle: &Bundle, loader: &Loader) -> Result<Loaded<LatentEncoder>> {
    let weights = bundle
        .verifier_weights()?
        .ok_or_else(|| Error::internal("a bundle lost its verifier while it was open"))?;
    let heads = scorer_heads(bundle);
    loader.load(weights, "", &[], |weights| {
        LatentEncoder::load(weights, heads)
    })
}

/// The attention heads of the vision encoder that the verifier's blocks were copied from.
fn scorer_heads(bundle: &Bundle) -> Option<usize> {
    let predicts = &bundle.description.verifier.as_ref()?.predicts;
    let mut scorers = bundle.description.scorer.iter();
    scorers.find(|scorer| scorer.family == *predicts)?.heads
}

fn check_width(encoder: &LatentEncoder, scorer: &ImageReward, origin: &str) -> Result<()> {
    let found = encoder.width();
    let expected = scorer.vision_width();
    if found == expected {
        return Ok(());
    }
    Err(Error::input(format!(
        "{origin}: the scorer reads tokens of width {expected}, but the verifier's have width {found}"
    ))
    .with_hint("the verifier must be trained for this scorer"))
}

fn check_scales(encoder: &LatentEncoder, bundle: &Bundle, origin: &str) -> Result<()> {
    let known = encoder.scales();
    let verifier = bundle.description.verifier.as_ref();
    let mut scales = verifier.into_iter().flat_map(|verifier| &verifier.scales);
    match scales.find(|scale| **scale >= known) {
        Some(beyond) => Err(Error::input(format!(
            "{origin}: it was trained for {known} scales, but bundle.toml lists scale {beyond}"
        ))
        .with_hint("list the scales of its training as `scales` in [verifier]")),
        None => Ok(()),
    }
}

fn check_hidden(encoder: &LatentEncoder, bundle: &Bundle, origin: &str) -> Result<()> {
    let verifier = bundle.description.verifier.as_ref();
    let block = verifier.and_then(|verifier| verifier.hidden_block);
    let (fault, hint) = match (encoder.hidden_channels(), block) {
        (Some(_), None) => (
            "it reads hidden states, but bundle.toml does not say of which block",
            "add `hidden_block` to [verifier]",
        ),
        (None, Some(_)) => (
            "it reads latents alone, but bundle.toml names a hidden_block",
            "leave `hidden_block` out of [verifier]",
        ),
        _ => return Ok(()),
    };
    Err(Error::input(format!("{origin}: {fault}")).with_hint(hint))
}

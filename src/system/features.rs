//! The feature extractors of a system.

use std::{collections::BTreeMap, sync::Arc};

use serde::Deserialize;
use ttsvar_search::{Extractor, Features, Image, Matrix};

use crate::{
    Error, Result,
    features::{Dinov2Features, PatchReduction},
    hub::{Bundle, description},
    loading::{Evictable, LoadReport, Loaded, Loader},
    models::dinov2::Dinov2,
};

/// The `config.json` beside the weights of a DINOv2.
#[derive(Deserialize)]
struct Dinov2Config {
    num_attention_heads: Option<usize>,
}

/// One kind of features; all kinds share the network.
struct EvictableFeatures {
    model: Arc<Evictable<Dinov2>>,
    reduction: PatchReduction,
    /// Height and width to which images are resized.
    size: [usize; 2],
    /// Floating-point operations per image.
    flops: f64,
}

impl Extractor for EvictableFeatures {
    fn extract(&self, images: &[Image]) -> ttsvar_search::Result<Matrix> {
        Dinov2Features::new(self.model.get()?, self.reduction, self.size)?.extract(images)
    }

    fn flops(&self, images: usize) -> f64 {
        self.flops * images as f64
    }
}

/// The network that computes features, and the extractors on it by kind.
type LoadedFeatures = (
    Option<Arc<Evictable<Dinov2>>>,
    BTreeMap<Features, Box<dyn Extractor>>,
);

/// Opens the feature extractors of a bundle.
pub(super) fn load_features(
    bundle: &Bundle,
    loader: &Loader,
    resident: bool,
    report: &mut LoadReport,
) -> Result<LoadedFeatures> {
    let Some(features) = bundle.description.features.clone() else {
        return Ok((None, BTreeMap::new()));
    };
    let size = features.size;
    let size = size.map_or(Dinov2Features::SIZE, |(height, width)| [height, width]);
    let bundle = bundle.clone();
    let load = move |loader: &Loader| load_network(&bundle, &features, loader);
    let model = Evictable::new("features", loader, resident, report, load)?;
    let [height, width] = size;
    model.measured().grid(height, width)?;
    let flops = model.measured().flops(height, width);
    let model = Arc::new(model);
    let mut extractors: BTreeMap<Features, Box<dyn Extractor>> = BTreeMap::new();
    for (reduction, kind) in PatchReduction::ALL {
        let extractor = EvictableFeatures {
            model: model.clone(),
            reduction,
            size,
            flops,
        };
        extractors.insert(kind, Box::new(extractor));
    }
    Ok((Some(model), extractors))
}

fn load_network(
    bundle: &Bundle,
    features: &description::Features,
    loader: &Loader,
) -> Result<Loaded<Dinov2>> {
    let weights = bundle.features_weights(&Dinov2::SIGNATURE)?;
    let weights = weights.ok_or_else(|| Error::internal("a bundle without features"))?;
    let config: Option<Dinov2Config> = match bundle.features_config()? {
        Some(config) => Some(config.json()?),
        None => None,
    };
    if let Some(blob) = bundle.features_preprocessor_config()? {
        Dinov2Features::check_preprocessor(blob.path(), &blob.text()?)?;
    }
    let heads = features
        .heads
        .or(config.and_then(|config| config.num_attention_heads));
    loader.load(weights, "", &[], |weights| Dinov2::load(weights, heads))
}

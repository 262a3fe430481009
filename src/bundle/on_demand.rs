//! Networks that are in memory while they are needed: always, or from one use to the next where
//! memory is short.

use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicBool, Ordering},
};

use candle_core::Tensor;
use ttsvar_search::{Extractor, Features, Image, Matrix};

use super::reader::Read;
use crate::{
    Result,
    features::Dinov2Features,
    models::{dinov2::Dinov2, t5::T5Sizes},
    pipelines::infinity::{T5Text, TextEncoder},
};

/// A network, and how to read it again.
pub(super) struct OnDemand<T> {
    read: Box<dyn Fn() -> Result<Read<T>> + Send + Sync>,
    held: Mutex<Held<T>>,
    stays: AtomicBool,
    /// Bytes that it keeps.
    pub bytes: u64,
}

/// What those who use it now share, and what nobody gives back.
struct Held<T> {
    in_use: Weak<T>,
    kept: Option<Arc<T>>,
}

impl<T> OnDemand<T> {
    /// `first` was read by `read`; it is given back at once unless it `stays`.
    pub fn new(
        first: Read<T>,
        stays: bool,
        read: impl Fn() -> Result<Read<T>> + Send + Sync + 'static,
    ) -> Self {
        let kept = stays.then(|| Arc::new(first.network));
        let held = Mutex::new(Held {
            in_use: Weak::new(),
            kept,
        });
        Self {
            read: Box::new(read),
            held,
            stays: stays.into(),
            bytes: first.bytes,
        }
    }

    /// The network, read now if it is not there. Those who ask at the same time get the same one.
    pub fn get(&self) -> Result<Arc<T>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(network) = held.kept.clone().or_else(|| held.in_use.upgrade()) {
            return Ok(network);
        }
        let network = Arc::new((self.read)()?.network);
        held.in_use = Arc::downgrade(&network);
        held.kept = self.stays().then(|| network.clone());
        Ok(network)
    }

    /// Whether it stays once it was read.
    pub fn stays(&self) -> bool {
        self.stays.load(Ordering::Relaxed)
    }

    /// From now on it stays, or is given back after each use.
    pub fn stay(&self, stays: bool) {
        self.stays.store(stays, Ordering::Relaxed);
        if !stays {
            self.held
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .kept = None;
        }
    }
}

/// The text encoder of a bundle.
pub(super) struct BundleText {
    pub encoder: OnDemand<T5Text>,
    pub sizes: T5Sizes,
}

impl TextEncoder for BundleText {
    fn encode(&self, prompt: &str) -> Result<Tensor> {
        self.encoder.get()?.encode(prompt)
    }

    fn width(&self) -> usize {
        self.sizes.width
    }

    fn flops(&self, tokens: usize) -> f64 {
        self.sizes.flops(tokens)
    }
}

/// One kind of features of a bundle; all kinds share the network.
pub(super) struct BundleFeatures {
    pub model: Arc<OnDemand<Dinov2>>,
    pub kind: Features,
    /// Height and width to which images are brought.
    pub size: [usize; 2],
    /// Floating-point operations of one image.
    pub flops: f64,
}

impl Extractor for BundleFeatures {
    fn extract(&self, images: &[Image]) -> ttsvar_search::Result<Matrix> {
        Dinov2Features::new(self.model.get()?, self.kind, self.size)?.extract(images)
    }

    fn flops(&self, images: usize) -> f64 {
        self.flops * images as f64
    }
}

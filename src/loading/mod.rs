//! Loads networks from weight files: data type, device, unread tensors, eviction.

mod evictable;
mod loader;
mod random_weights;

pub use crate::nn::Dtype;
pub use evictable::{Evict, Evictable};
pub use loader::{Device, LoadReport, Loaded, Loader, Notice, UnreadTensors};
pub use random_weights::RandomWeights;

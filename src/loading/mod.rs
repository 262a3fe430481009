//! Loads networks from weight files: data type, device, unread tensors, eviction.

mod evictable;
mod loader;
mod progress;
mod random_weights;

pub use crate::nn::Dtype;
pub use evictable::{Evict, Evictable, InUse, Lazy};
pub use loader::{Device, LoadReport, Loaded, LoadedFile, Loader, Notice, UnreadTensors};
pub use progress::{LoadListener, LoadProgress};
pub use random_weights::RandomWeights;

//! Weight files to networks: data type, device, tensors that no network reads, eviction.

mod evictable;
mod loader;
mod random_weights;

pub use evictable::{Evict, Evictable};
pub use loader::{Device, Dtype, LoadReport, Loaded, Loader, UnreadTensors};
pub use random_weights::RandomWeights;

//! How far the reading of networks is, for whoever shows it.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

/// Follows networks as they are read.
pub trait LoadListener: Send + Sync {
    /// A network is read from now on, and so many bytes for it from its files.
    fn begun(&self, network: &str, bytes: u64);

    /// So many more bytes were read from its files.
    fn read(&self, bytes: u64);

    /// It is in memory, or reading it failed.
    fn ended(&self);
}

/// Tells a listener, once there is one, how far reading is. Clones share the listener.
#[derive(Clone, Default)]
pub struct LoadProgress {
    listener: Arc<OnceLock<Box<dyn LoadListener>>>,
}

impl LoadProgress {
    /// Tells `listener` from now on. The first listener stays.
    pub fn tell(&self, listener: impl LoadListener + 'static) {
        let _ = self.listener.set(Box::new(listener));
    }

    /// Does `work`, which reads a network from so many bytes of its files.
    pub fn around<T>(&self, network: &str, bytes: u64, work: impl FnOnce() -> T) -> T {
        let Some(listener) = self.listener.get() else {
            return work();
        };
        listener.begun(network, bytes);
        let done = work();
        listener.ended();
        done
    }

    pub(super) fn read(&self, bytes: u64) {
        if let Some(listener) = self.listener.get() {
            listener.read(bytes);
        }
    }
}

impl fmt::Debug for LoadProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoadProgress")
    }
}

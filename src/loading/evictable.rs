//! Networks that may be evicted from memory between their uses.

use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicBool, Ordering},
};

use super::Loaded;
use crate::Result;

/// A network of any type that may be evicted from memory between its uses.
pub trait Evict: Send + Sync {
    /// Bytes of its weights in memory.
    fn bytes(&self) -> u64;

    /// Returns whether it stays in memory between its uses.
    fn is_resident(&self) -> bool;

    /// Keeps it in memory between its uses, or evicts it after each.
    fn set_resident(&self, resident: bool);
}

/// A network with a function that loads it again.
pub struct Evictable<T> {
    load: Box<dyn Fn() -> Result<Loaded<T>> + Send + Sync>,
    slot: Mutex<Slot<T>>,
    resident: AtomicBool,
    bytes: u64,
}

struct Slot<T> {
    /// The network, if it is in use now.
    in_use: Weak<T>,
    /// Keeps a resident network alive.
    resident: Option<Arc<T>>,
}

impl<T> Evictable<T> {
    /// Wraps a network that `load` loads again. Unless `resident`, it is evicted at once.
    pub fn new(
        first: Loaded<T>,
        resident: bool,
        load: impl Fn() -> Result<Loaded<T>> + Send + Sync + 'static,
    ) -> Self {
        let slot = Slot {
            in_use: Weak::new(),
            resident: resident.then(|| Arc::new(first.network)),
        };
        Self {
            load: Box::new(load),
            slot: Mutex::new(slot),
            resident: resident.into(),
            bytes: first.bytes,
        }
    }

    /// Returns the network and loads it if it is not in memory. Concurrent callers share one copy.
    ///
    /// # Errors
    /// Its files are gone or damaged.
    pub fn get(&self) -> Result<Arc<T>> {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(network) = slot.resident.clone().or_else(|| slot.in_use.upgrade()) {
            return Ok(network);
        }
        let network = Arc::new((self.load)()?.network);
        slot.in_use = Arc::downgrade(&network);
        slot.resident = self
            .resident
            .load(Ordering::Relaxed)
            .then(|| network.clone());
        Ok(network)
    }
}

impl<T: Send + Sync> Evict for Evictable<T> {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn is_resident(&self) -> bool {
        self.resident.load(Ordering::Relaxed)
    }

    fn set_resident(&self, resident: bool) {
        self.resident.store(resident, Ordering::Relaxed);
        if !resident {
            self.slot
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .resident = None;
        }
    }
}

//! Networks that are read at their first use and may be evicted from memory between their uses.

use std::{
    ops::Deref,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{LoadReport, Loaded, Loader};
use crate::{Error, Result};

/// A network of any type that may be evicted from memory between its uses.
pub trait Evict: Send + Sync {
    /// What it does, as `text encoder`.
    fn name(&self) -> &str;

    /// Bytes of its weights in memory.
    fn bytes(&self) -> u64;

    /// Bytes at the widest moment of reading it, [`Evict::bytes`] or more.
    fn peak_bytes(&self) -> u64;

    /// Returns whether it stays in memory between its uses.
    fn is_resident(&self) -> bool;

    /// Keeps it in memory from its next use on, or evicts it after each.
    fn set_resident(&self, resident: bool);

    /// Reads it if it stays in memory and is not there yet.
    ///
    /// # Errors
    /// Its files are gone or damaged.
    fn read_if_resident(&self) -> Result<()>;
}

/// A network with a function that reads it. At first only its sizes are known, from the headers of
/// its files.
pub struct Evictable<T> {
    name: &'static str,
    /// Stands for the network where only its sizes matter. Its weights are stand-ins
    /// ([`crate::nn::Weights::of_header`]).
    measured: T,
    bytes: u64,
    peak_bytes: u64,
    stored_bytes: u64,
    loader: Loader,
    load: Box<LoadNetwork<T>>,
    slot: Mutex<Slot<T>>,
    resident: AtomicBool,
}

type LoadNetwork<T> = dyn Fn(&Loader) -> Result<Loaded<T>> + Send + Sync;

struct Slot<T> {
    /// The network, if it is in use now.
    in_use: Weak<T>,
    /// Keeps a resident network alive.
    resident: Option<Arc<T>>,
}

impl<T> Evictable<T> {
    /// Measures a network, which is called `name`, by the headers of its files, and reports what was
    /// found there. `load` reads it at its first use; if `resident`, it stays from then on.
    ///
    /// # Errors
    /// The errors of `load`.
    pub fn new(
        name: &'static str,
        loader: &Loader,
        resident: bool,
        report: &mut LoadReport,
        load: impl Fn(&Loader) -> Result<Loaded<T>> + Send + Sync + 'static,
    ) -> Result<Self> {
        let measured = load(&loader.of_headers())?;
        report.add(&measured);
        Ok(Self {
            name,
            bytes: measured.bytes,
            peak_bytes: measured.peak_bytes,
            stored_bytes: measured.stored_bytes,
            measured: measured.network,
            loader: loader.clone(),
            load: Box::new(load),
            slot: Mutex::new(Slot {
                in_use: Weak::new(),
                resident: None,
            }),
            resident: resident.into(),
        })
    }

    /// The network as its sizes tell it. It cannot be run: its weights are stand-ins.
    pub fn measured(&self) -> &T {
        &self.measured
    }

    /// Returns the network and reads it if it is not in memory. Concurrent callers share one copy.
    ///
    /// # Errors
    /// Its files are gone, damaged, or others than before.
    pub fn get(&self) -> Result<Arc<T>> {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(network) = slot.resident.clone().or_else(|| slot.in_use.upgrade()) {
            return Ok(network);
        }
        let network = Arc::new(self.read()?);
        slot.in_use = Arc::downgrade(&network);
        slot.resident = self.is_kept().then(|| network.clone());
        Ok(network)
    }

    fn read(&self) -> Result<T> {
        let progress = &self.loader.progress;
        let read = || (self.load)(&self.loader);
        let loaded = progress.around(self.name, self.stored_bytes, read)?;
        if loaded.bytes == self.bytes {
            return Ok(loaded.network);
        }
        Err(
            Error::file(loaded.origin(), "the tensors in the file have changed")
                .with_hint("the file was replaced while the program was running; start again"),
        )
    }

    fn is_kept(&self) -> bool {
        self.resident.load(Ordering::Relaxed)
    }
}

impl<T: Send + Sync> Evict for Evictable<T> {
    fn name(&self) -> &str {
        self.name
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn peak_bytes(&self) -> u64 {
        self.peak_bytes
    }

    fn is_resident(&self) -> bool {
        self.is_kept()
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

    fn read_if_resident(&self) -> Result<()> {
        match self.is_kept() {
            true => self.get().map(drop),
            false => Ok(()),
        }
    }
}

/// A network of a pipeline: one in memory, or one that is read at its first use.
pub enum Lazy<'a, T> {
    /// In memory.
    Loaded(&'a T),
    /// Read at its first use.
    Evictable(&'a Evictable<T>),
}

impl<T> Copy for Lazy<'_, T> {}

impl<T> Clone for Lazy<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<'a, T> Lazy<'a, T> {
    /// The network where only its sizes matter; it may be one that cannot be run.
    pub fn measured(self) -> &'a T {
        match self {
            Self::Loaded(network) => network,
            Self::Evictable(network) => network.measured(),
        }
    }

    /// The network, read if need be.
    ///
    /// # Errors
    /// Its files are gone or damaged.
    pub fn get(self) -> Result<InUse<'a, T>> {
        match self {
            Self::Loaded(network) => Ok(InUse::Borrowed(network)),
            Self::Evictable(network) => Ok(InUse::Shared(network.get()?)),
        }
    }
}

impl<'a, T> From<&'a T> for Lazy<'a, T> {
    fn from(network: &'a T) -> Self {
        Self::Loaded(network)
    }
}

impl<'a, T> From<&'a Evictable<T>> for Lazy<'a, T> {
    fn from(network: &'a Evictable<T>) -> Self {
        Self::Evictable(network)
    }
}

/// A network that is in use.
pub enum InUse<'a, T> {
    /// Borrowed from its owner.
    Borrowed(&'a T),
    /// Kept in memory as long as this lives.
    Shared(Arc<T>),
}

impl<T> Deref for InUse<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Borrowed(network) => network,
            Self::Shared(network) => network,
        }
    }
}

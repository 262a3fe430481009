//! What a search has told so far, for everyone who watches it, from whatever place on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

/// Something that happened: a name and its data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub event: String,
    pub data: Value,
}

/// Entries in their order, and a bell that rings with each.
pub(super) struct Log {
    entries: Mutex<Vec<Arc<Entry>>>,
    bell: watch::Sender<()>,
}

impl Log {
    pub(super) fn new() -> Self {
        Self {
            entries: Mutex::default(),
            bell: watch::Sender::new(()),
        }
    }

    pub(super) fn tell(&self, event: &str, data: Value) {
        self.lock().push(Arc::new(Entry {
            event: event.to_owned(),
            data,
        }));
        self.ring();
    }

    /// Wakes everyone who watches.
    pub(super) fn ring(&self) {
        self.bell.send_replace(());
    }

    /// Everything after the first `seen` entries.
    pub(super) fn after(&self, seen: usize) -> Vec<Arc<Entry>> {
        self.lock()
            .get(seen..)
            .map(<[_]>::to_vec)
            .unwrap_or_default()
    }

    /// Rings with every entry from now on.
    pub(super) fn bell(&self) -> watch::Receiver<()> {
        self.bell.subscribe()
    }

    /// One JSON object a line.
    pub(super) fn lines(&self) -> String {
        let line = |entry: &Arc<Entry>| serde_json::to_string(&**entry).unwrap_or_default() + "\n";
        self.lock().iter().map(line).collect()
    }

    /// Reads what [`Log::lines`] wrote; a line that is none is passed over.
    pub(super) fn read(lines: &str) -> Vec<Entry> {
        lines
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

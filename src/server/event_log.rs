//! The events of a search so far, for any number of watchers that start at any point.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

/// An event: its name and its data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub event: String,
    pub data: Value,
}

impl Entry {
    /// Returns whether the event has a plain name and an object as data, as all events have. The
    /// file of a job may be damaged.
    fn is_sendable(&self) -> bool {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
        !self.event.is_empty() && self.event.bytes().all(plain) && self.data.is_object()
    }
}

/// Entries in order of arrival. Subscribers are notified of each.
pub(super) struct EventLog {
    entries: Mutex<Vec<Arc<Entry>>>,
    changed: watch::Sender<()>,
}

impl EventLog {
    pub(super) fn new() -> Self {
        Self {
            entries: Mutex::default(),
            changed: watch::Sender::new(()),
        }
    }

    /// Appends an entry and notifies the subscribers.
    pub(super) fn push(&self, event: &str, data: Value) {
        self.lock().push(Arc::new(Entry {
            event: event.to_owned(),
            data,
        }));
        self.notify();
    }

    /// Wakes all subscribers.
    pub(super) fn notify(&self) {
        self.changed.send_replace(());
    }

    /// Returns everything after the first `seen` entries.
    pub(super) fn after(&self, seen: usize) -> Vec<Arc<Entry>> {
        self.lock()
            .get(seen..)
            .map(<[_]>::to_vec)
            .unwrap_or_default()
    }

    /// Subscribes to the entries that follow.
    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Returns one line of JSON per entry.
    pub(super) fn to_lines(&self) -> String {
        let mut lines = String::new();
        for entry in self.after(0) {
            lines += &serde_json::to_string(&*entry).unwrap_or_default();
            lines.push('\n');
        }
        lines
    }

    /// Reads the output of [`EventLog::to_lines`], skipping lines that are not entries.
    pub(super) fn parse(lines: &str) -> Vec<Entry> {
        lines
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .filter(Entry::is_sendable)
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_no_entries_are_skipped() {
        let lines = concat!(
            "{\"event\":\"scale\",\"data\":{\"scale\":0}}\n",
            "{\"event\":\"two\\nlines\",\"data\":{}}\n",
            "{\"event\":\"\",\"data\":{}}\n",
            "{\"event\":\"scale\",\"data\":7}\n",
            "{\"event\":\"scale\"}\n",
            "{\n",
            "null\n",
        );
        let entries = EventLog::parse(lines);
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].data["scale"], 0);
    }
}

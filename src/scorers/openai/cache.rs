//! Answers that were given before, in memory and in a folder with one small file for each.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Error, Result, file};

/// The digest of an image and what is asked about it.
pub(super) type Key = [u8; 32];

/// The place of an answer. Whoever asks holds the lock meanwhile.
pub(super) type Slot = Arc<Mutex<Option<f32>>>;

/// Answers by what was asked.
pub(super) struct AnswerCache {
    folder: Option<PathBuf>,
    slots: Mutex<HashMap<Key, Slot>>,
}

/// The contents of a file.
#[derive(Serialize, Deserialize)]
struct Stored {
    /// The probability of the right answer.
    probability: f32,
}

/// The key of what is asked (model, question, right answer) about an image. Lengths keep the parts
/// apart.
pub(super) fn key(asked: [&str; 3], png: &[u8]) -> Key {
    let mut sum = Sha256::new();
    for part in asked.map(str::as_bytes).into_iter().chain([png]) {
        sum.update((part.len() as u64).to_le_bytes());
        sum.update(part);
    }
    sum.finalize().into()
}

impl AnswerCache {
    /// Without a folder, answers are only kept in memory.
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Self {
            folder,
            slots: Mutex::default(),
        }
    }

    /// The place of an answer.
    pub(super) fn slot(&self, key: Key) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.entry(key).or_default().clone()
    }

    /// The answer in the folder; `None` also if the file is damaged.
    pub(super) fn read(&self, key: Key) -> Option<f32> {
        let path = self.path(key)?;
        let text = file::read_text(&path).ok()?;
        let stored: Stored = serde_json::from_str(&text).ok()?;
        let probability = stored.probability;
        (0.0..=1.0).contains(&probability).then_some(probability)
    }

    /// Writes an answer into the folder.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn write(&self, key: Key, probability: f32) -> Result<()> {
        let Some(path) = self.path(key) else {
            return Ok(());
        };
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let text = serde_json::to_string(&Stored { probability })
            .map_err(|error| Error::internal(error.to_string()))?;
        file::replace(&path, text.as_bytes()).map_err(Error::io(&path))
    }

    /// The file of an answer: `ab/cdef….json`.
    fn path(&self, key: Key) -> Option<PathBuf> {
        let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let (start, rest) = digits.split_at(2);
        let folder = self.folder.as_ref()?.join(start);
        Some(folder.join(format!("{rest}.json")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_return_and_damaged_files_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let cache = AnswerCache::new(Some(folder.path().to_owned()));
        let asked = key(["m", "q", "Yes"], b"png");
        assert_eq!(cache.read(asked), None);
        cache.write(asked, 0.25).unwrap();
        assert_eq!(cache.read(asked), Some(0.25));
        for damaged in [
            "",
            "{",
            "{\"probability\":2}",
            "{\"probability\":null}",
            "[]",
        ] {
            fs::write(cache.path(asked).unwrap(), damaged).unwrap();
            assert_eq!(cache.read(asked), None, "{damaged}");
        }
        assert_eq!(AnswerCache::new(None).read(asked), None);
    }

    #[test]
    fn every_part_changes_the_key() {
        let keys = [
            key(["m", "q", "a"], b"p"),
            key(["mq", "", "a"], b"p"),
            key(["m", "q", "ap"], b""),
            key(["m", "r", "a"], b"p"),
            key(["n", "q", "a"], b"p"),
            key(["m", "q", "b"], b"p"),
        ];
        for (i, one) in keys.iter().enumerate() {
            assert!(!keys[..i].contains(one));
        }
    }
}

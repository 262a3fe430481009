//! Encoded prompts that wait for their searches, where text encoders do not stay in memory.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::Result;

/// What a text encoder made of prompts that will be needed.
pub struct Prepared<F>(Mutex<HashMap<String, F>>);

impl<F> Default for Prepared<F> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<F: Clone> Prepared<F> {
    /// What was made of a prompt, if it was prepared.
    pub fn find(&self, prompt: &str) -> Option<F> {
        let prepared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        prepared.get(prompt).cloned()
    }

    /// What was made of a prompt, otherwise what `encode` makes of it.
    ///
    /// # Errors
    /// The errors of `encode`.
    pub fn get(&self, prompt: &str, encode: impl FnOnce() -> Result<F>) -> Result<F> {
        self.find(prompt).map_or_else(encode, Ok)
    }

    /// Prepares prompts in place of those before. `encode` makes features of all prompts that are
    /// not there yet.
    ///
    /// # Errors
    /// The errors of `encode`.
    pub fn fill(
        &self,
        prompts: &[String],
        encode: impl FnOnce(&[String]) -> Result<Vec<F>>,
    ) -> Result<()> {
        let mut prepared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        prepared.retain(|prompt, _| prompts.contains(prompt));
        let mut missing: Vec<String> = vec![];
        for prompt in prompts {
            if !prepared.contains_key(prompt) && !missing.contains(prompt) {
                missing.push(prompt.clone());
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let features = encode(&missing)?;
        prepared.extend(missing.into_iter().zip(features));
        Ok(())
    }
}

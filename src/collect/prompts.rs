//! Prompts with the captions for which their images are scored.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A prompt and the captions for which its finished images are scored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptionedPrompt {
    /// The description from which images are generated.
    pub prompt: String,
    /// Further captions; images are always scored for the prompt itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub captions: Vec<String>,
}

impl CaptionedPrompt {
    /// Reads a line of a list: the prompt, or a JSON object with `prompt` and `captions`.
    ///
    /// # Errors
    /// The line begins like JSON but is not such an object. `place` names it.
    pub fn parse(line: &str, place: &str) -> Result<Self> {
        if !line.trim_start().starts_with('{') {
            return Ok(Self {
                prompt: line.to_owned(),
                captions: vec![],
            });
        }
        serde_json::from_str(line).map_err(|error| {
            Error::input(format!(
                "{place}: expected a prompt or a JSON object: {error}"
            ))
            .with_hint(r#"write {"prompt": "a red ring", "captions": ["a blue ring"]}"#)
        })
    }

    /// The captions for which an image is scored: the prompt, then the others.
    pub fn scored(&self) -> impl Iterator<Item = &str> {
        let others = self.captions.iter().map(String::as_str);
        std::iter::once(self.prompt.as_str()).chain(others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_prompt_or_json() {
        let plain = CaptionedPrompt::parse("a red ring", "line 1").unwrap();
        assert_eq!(plain.scored().collect::<Vec<_>>(), ["a red ring"]);
        let line = r#"{"prompt": "a ring", "captions": ["a star"]}"#;
        let both = CaptionedPrompt::parse(line, "line 2").unwrap();
        assert_eq!(both.scored().collect::<Vec<_>>(), ["a ring", "a star"]);
        for wrong in [r"{}", r#"{"prompt": 1}"#, r#"{"prompt": "a", "more": 1}"#] {
            let error = CaptionedPrompt::parse(wrong, "line 3").unwrap_err();
            assert!(error.to_string().starts_with("line 3: "), "{error}");
            assert!(error.hint().is_some());
        }
    }
}

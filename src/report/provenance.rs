//! The metadata of an image file: enough to generate the image again, bit for bit.
//!
//! The record is a set of text chunks of a PNG file; `docs/command-line.md` lists the keys.

use serde_json::{Map, Value};
use ttsvar_search::{Image, Plan, Scored, Trace};

use super::Parameters;
use crate::{Error, Result, image::Png};

/// Prefix of each key, to distinguish texts of other programs.
const PREFIX: &str = "ttsvar:";

/// The origin of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Provenance {
    /// The prompt.
    pub prompt: String,
    /// The negative prompt.
    pub negative: Option<String>,
    /// The seed of all draws.
    pub seed: u64,
    /// The bundle.
    pub model: String,
    /// The plan of the search.
    pub plan: Plan,
    /// Shorter side in pixels of the previews; `None` for full size.
    pub preview: Option<usize>,
    /// The settings of the generator, as in the trace.
    pub settings: Map<String, Value>,
    /// The place of the image among those that its search finished, 1 for the best one.
    pub rank: usize,
    /// The scores of the image and its ancestors, oldest first; the last is the final score.
    pub scores: Vec<Scored>,
    /// The version of the program.
    pub version: String,
}

impl Provenance {
    /// The provenance of a search's winner. The settings of the trace contain the `model`.
    pub fn from_trace(trace: &Trace) -> Self {
        let mut settings = trace.settings.clone();
        let model = settings
            .shift_remove("model")
            .and_then(|model| model.as_str().map(str::to_owned));
        let winner = trace.candidates.get(trace.winner);
        Self {
            prompt: trace.prompt.clone(),
            negative: trace.negative.clone(),
            seed: trace.seed,
            model: model.unwrap_or_default(),
            plan: trace.plan.clone(),
            preview: trace.preview,
            settings,
            rank: rank(trace),
            scores: winner
                .map(|winner| winner.history.clone())
                .unwrap_or_default(),
            version: trace.version.clone(),
        }
    }

    /// The final score.
    pub fn score(&self) -> Option<f32> {
        self.scores.last().map(|last| last.score)
    }

    /// The image with this metadata, and with what other programs can read of it.
    pub fn beside(&self, image: Image) -> Png {
        let parameters = Parameters::of(self, (image.width(), image.height()));
        let mut png = Png::new(image).with_text("Software", format!("ttsvar {}", self.version));
        png = parameters.beside(png);
        for (key, value) in self.texts() {
            png = png.with_text(format!("{PREFIX}{key}"), value);
        }
        png
    }

    /// Keys, without their prefix, and values of all texts.
    pub fn texts(&self) -> Vec<(&'static str, String)> {
        let mut texts = vec![("prompt", self.prompt.clone())];
        texts.extend(self.negative.clone().map(|negative| ("negative", negative)));
        texts.push(("seed", self.seed.to_string()));
        texts.push(("model", self.model.clone()));
        texts.push(("settings", json(&self.settings)));
        texts.push((
            "preview",
            self.preview
                .map_or_else(|| "full".to_owned(), |pixels| pixels.to_string()),
        ));
        texts.push(("plan", self.plan.to_toml()));
        // Of the best image, which nearly every file has, the rank goes without saying.
        texts.extend((self.rank > 1).then(|| ("rank", self.rank.to_string())));
        texts.extend(self.score().map(|score| ("score", score.to_string())));
        texts.push(("scores", json(&self.scores)));
        texts.push(("version", self.version.clone()));
        texts
    }

    /// Reads the metadata of an image; `None` if the file has no text of this program.
    ///
    /// # Errors
    /// [`Error::Input`] names a missing or damaged text.
    pub fn read(png: &Png) -> Result<Option<Self>> {
        if !png.text.iter().any(|(key, _)| key.starts_with(PREFIX)) {
            return Ok(None);
        }
        let optional = |key: &str| png.text(&format!("{PREFIX}{key}"));
        let text = |key: &str| optional(key).ok_or_else(|| missing(key));
        let number = |key: &str| {
            text(key)?
                .parse()
                .map_err(|_| damaged(key, "expected a number"))
        };
        let full = text("preview")? == "full";
        let rank = match optional("rank") {
            None => 1,
            Some(rank) => rank
                .parse()
                .ok()
                .filter(|rank| *rank > 0)
                .ok_or_else(|| damaged("rank", "expected a number, 1 or more"))?,
        };
        Ok(Some(Self {
            prompt: text("prompt")?.to_owned(),
            negative: optional("negative").map(str::to_owned),
            seed: number("seed")?,
            model: text("model")?.to_owned(),
            plan: Plan::from_toml(text("plan")?)
                .map_err(|error| damaged("plan", &error.to_string()))?,
            preview: if full {
                None
            } else {
                Some(number("preview")? as usize)
            },
            settings: parsed("settings", text("settings")?)?,
            rank,
            scores: parsed("scores", text("scores")?)?,
            version: text("version")?.to_owned(),
        }))
    }
}

/// The place of a trace's winner among the finished images, best first; another image than the best
/// may have been made the winner.
fn rank(trace: &Trace) -> usize {
    let is_winner = |place: &usize| trace.finals[*place].id == trace.winner;
    let place = trace.ranking().iter().position(is_winner);
    place.map_or(1, |place| place + 1)
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("settings and scores can be written as JSON")
}

fn parsed<T: serde::de::DeserializeOwned>(key: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| damaged(key, &error.to_string()))
}

fn damaged(key: &str, what: &str) -> Error {
    Error::input(format!("the text `{PREFIX}{key}` is damaged: {what}")).with_hint(CHANGED)
}

fn missing(key: &str) -> Error {
    Error::input(format!("the record has no text `{PREFIX}{key}`")).with_hint(CHANGED)
}

const CHANGED: &str =
    "another program may have changed the file; the trace contains the same information";

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Provenance {
        let settings = [
            ("cfg".to_owned(), Value::from(2.5)),
            ("method".to_owned(), Value::from("tts-var")),
        ];
        Provenance {
            prompt: "ein roter Kreis, \"größer\"".to_owned(),
            negative: Some("blur".to_owned()),
            seed: u64::MAX,
            model: "demo".to_owned(),
            plan: Plan::tts_var(13, 2, Default::default()).unwrap(),
            preview: Some(256),
            settings: Map::from_iter(settings),
            rank: 3,
            scores: vec![
                Scored {
                    scale: 6,
                    score: -0.1,
                },
                Scored {
                    scale: 12,
                    score: f32::NEG_INFINITY,
                },
            ],
            version: "0.1.0".to_owned(),
        }
    }

    fn image() -> Image {
        Image::new(1, 1, vec![1, 2, 3])
    }

    #[test]
    fn a_record_comes_back_from_a_file_as_it_was() {
        for record in [
            record(),
            Provenance {
                negative: None,
                preview: None,
                rank: 1,
                scores: vec![],
                ..record()
            },
        ] {
            let bytes = record.beside(image()).encode().unwrap();
            assert_eq!(
                Provenance::read(&Png::decode(&bytes).unwrap()).unwrap(),
                Some(record)
            );
        }
    }

    #[test]
    fn images_of_other_programs_have_no_record() {
        assert_eq!(
            Provenance::read(&Png::new(image()).with_text("Software", "other")).unwrap(),
            None
        );
    }

    #[test]
    fn a_damaged_text_is_named() {
        let png = record().beside(image());
        for key in [
            "prompt", "seed", "model", "settings", "preview", "plan", "scores", "version",
        ] {
            let mut torn = png.clone();
            torn.text.retain(|(k, _)| k != &format!("ttsvar:{key}"));
            assert!(
                Provenance::read(&torn)
                    .unwrap_err()
                    .to_string()
                    .contains(key)
            );
        }
        for (key, value) in [
            ("seed", "x"),
            ("rank", "0"),
            ("settings", "[]"),
            ("plan", "start = 0"),
            ("scores", "{}"),
        ] {
            let mut torn = png.clone();
            torn.text.retain(|(k, _)| k != &format!("ttsvar:{key}"));
            let error =
                Provenance::read(&torn.with_text(format!("ttsvar:{key}"), value)).unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
        }
    }
}

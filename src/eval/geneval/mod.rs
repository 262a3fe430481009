//! GenEval: checks whether an image shows the objects, numbers, colours and positions that its
//! prompt names (arXiv 2310.11513).
//!
//! A detector finds objects, a classifier names colours, and [`rules`] evaluate their results.
//! There are no tensors here; detector and classifier are in [`crate::detectors`].

pub mod crops;
pub mod folder;
pub mod geometry;
pub mod names;
pub mod prompts;
pub mod results;
pub mod rules;
pub mod self_test;

pub use crops::CropOptions;
pub use folder::GenEvalFolder;
pub use prompts::Metadata;
pub use rules::{ConfidentObjects, RuleOptions, RuleVerdict, evaluate};
pub use self_test::self_test;

use serde_json::{Map, Value, json};
use ttsvar_search::Image;

use super::{Case, Suite, Verdict};
use crate::{
    Result,
    detectors::{ColourNamer, Detector, Object},
};

/// The prompts with the two networks of the evaluator.
pub struct GenEval {
    prompts: Vec<Metadata>,
    cases: Vec<Case>,
    detector: Box<dyn Detector>,
    colours: Box<dyn ColourNamer>,
    options: RuleOptions,
    crop_options: CropOptions,
}

impl GenEval {
    /// Evaluates images of these prompts by the published rules.
    pub fn new(
        prompts: Vec<Metadata>,
        detector: Box<dyn Detector>,
        colours: Box<dyn ColourNamer>,
    ) -> Self {
        let cases = prompts
            .iter()
            .map(|prompt| Case {
                task: prompt.tag,
                prompt: prompt.prompt.clone(),
            })
            .collect();
        Self {
            prompts,
            cases,
            detector,
            colours,
            options: RuleOptions::default(),
            crop_options: CropOptions::default(),
        }
    }

    /// The prompts as read from the file.
    pub fn prompts(&self) -> &[Metadata] {
        &self.prompts
    }

    fn verdict(&self, metadata: &Metadata, image: &Image, found: &[Object]) -> Result<Verdict> {
        let kept = ConfidentObjects::new(found, metadata.tag, &self.options);
        let verdict = evaluate(metadata, &kept, &self.options, |class, objects| {
            let crops: Vec<Image> = objects
                .iter()
                .map(|object| self.crop_options.crop(image, object))
                .collect();
            self.colours.colours(names::OBJECTS[class], &crops)
        })?;
        let details = Some(Value::Object(details(&kept)));
        Ok(Verdict {
            score: f64::from(u8::from(verdict.correct)),
            reason: verdict.reason,
            details,
        })
    }
}

/// The objects that counted, in the form of the official results: each class with rows of left,
/// top, right, bottom, score.
fn details(kept: &ConfidentObjects<'_>) -> Map<String, Value> {
    let row = |object: &&Object| {
        let [left, top, right, bottom] = object.bounds;
        json!([left, top, right, bottom, object.score])
    };
    kept.classes()
        .map(|(class, objects)| {
            let rows = objects.iter().map(row).collect();
            (names::OBJECTS[class].to_owned(), rows)
        })
        .collect()
}

impl Suite for GenEval {
    fn name(&self) -> &str {
        "geneval"
    }

    fn tasks(&self) -> &[&'static str] {
        &names::TASKS
    }

    fn cases(&self) -> &[Case] {
        &self.cases
    }

    fn evaluate(&self, case: usize, images: &[Image]) -> Result<Vec<Verdict>> {
        self.evaluate_batch(&vec![case; images.len()], images)
    }

    fn evaluate_batch(&self, cases: &[usize], images: &[Image]) -> Result<Vec<Verdict>> {
        let found = self.detector.detect(images)?;
        cases
            .iter()
            .zip(images)
            .zip(&found)
            .map(|((&case, image), found)| self.verdict(&self.prompts[case], image, found))
            .collect()
    }
}

//! GenEval: whether a picture shows the objects, numbers, colours and places that its prompt names
//! (arXiv 2310.11513).
//!
//! A detector finds objects, a classifier names colours, and [`rules`] judge by what they say.
//! Nothing here computes with tensors; how detector and classifier work is [`crate::detectors`]'
//! affair.

pub mod crops;
pub mod folder;
pub mod geometry;
pub mod names;
pub mod prompts;
pub mod results;
pub mod rules;
pub mod self_test;

pub use crops::Cut;
pub use folder::PictureFolder;
pub use prompts::Metadata;
pub use rules::{Judgement, Kept, Options, judge};
pub use self_test::self_test;

use serde_json::{Map, Value, json};
use ttsvar_search::Image;

use super::{Case, Suite, Verdict};
use crate::{
    Result,
    detectors::{ColourNamer, Detector, Object},
};

/// The prompts with the two networks that judge.
pub struct GenEval {
    prompts: Vec<Metadata>,
    cases: Vec<Case>,
    detector: Box<dyn Detector>,
    colours: Box<dyn ColourNamer>,
    options: Options,
    cut: Cut,
}

impl GenEval {
    /// Judges pictures of these prompts with the rules as published.
    pub fn new(
        prompts: Vec<Metadata>,
        detector: Box<dyn Detector>,
        colours: Box<dyn ColourNamer>,
    ) -> Self {
        let cases = prompts
            .iter()
            .map(|one| Case {
                task: one.tag,
                prompt: one.prompt.clone(),
            })
            .collect();
        Self {
            prompts,
            cases,
            detector,
            colours,
            options: Options::default(),
            cut: Cut::default(),
        }
    }

    /// The prompts as they were read.
    pub fn prompts(&self) -> &[Metadata] {
        &self.prompts
    }

    fn verdict(&self, metadata: &Metadata, image: &Image, found: &[Object]) -> Result<Verdict> {
        let kept = Kept::new(found, metadata.tag, &self.options);
        let judgement = judge(metadata, &kept, &self.options, |class, objects| {
            let crops: Vec<Image> = objects
                .iter()
                .map(|object| self.cut.out(image, object))
                .collect();
            self.colours.colours(names::OBJECTS[class], &crops)
        })?;
        let details = Some(Value::Object(details(&kept)));
        Ok(Verdict {
            score: f64::from(u8::from(judgement.correct)),
            reason: judgement.reason,
            details,
        })
    }
}

/// The objects that counted, as official results list them: class to rows of left, top, right,
/// bottom, score.
fn details(kept: &Kept<'_>) -> Map<String, Value> {
    let row = |object: &&Object| {
        let [left, top, right, bottom] = object.bounds;
        json!([left, top, right, bottom, object.score])
    };
    kept.classes()
        .map(|(class, own)| {
            (
                names::OBJECTS[class].to_owned(),
                own.iter().map(row).collect(),
            )
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

    fn judge(&self, case: usize, images: &[Image]) -> Result<Vec<Verdict>> {
        self.judge_together(&vec![case; images.len()], images)
    }

    fn judge_together(&self, cases: &[usize], images: &[Image]) -> Result<Vec<Verdict>> {
        let found = self.detector.detect(images)?;
        let pictures = cases.iter().zip(images).zip(&found);
        pictures
            .map(|((&case, image), found)| self.verdict(&self.prompts[case], image, found))
            .collect()
    }
}

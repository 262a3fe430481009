//! The rule-based evaluator agrees with an eye on images that the demo generates, as often as
//! docs/evidence.md states. The images are generated again from the labels' prompts and seeds.

use std::{fs, path::PathBuf};

use serde::Deserialize;
use ttsvar::{
    eval::scenes::{ScenePrompt, TASKS, detect},
    options::Options,
    request::Session,
    search::Silent,
    system::System,
};

/// A generated image and what an eye saw in it.
#[derive(Deserialize)]
struct Label {
    index: usize,
    task: String,
    prompt: String,
    seed: u64,
    label: String,
}

fn labels(file: &str) -> Vec<Label> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/scene-labels");
    let text = fs::read_to_string(folder.join(file)).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Generates images and evaluates them.
struct Evaluated<'a> {
    session: Session<'a>,
    prompts: Vec<ScenePrompt>,
}

impl<'a> Evaluated<'a> {
    fn new(demo: &'a System) -> Self {
        let options = Options {
            method: Some("raw".parse().unwrap()),
            n: Some(1),
            ..Options::default()
        };
        Self {
            session: Session::new(demo, &options).unwrap(),
            prompts: TASKS
                .iter()
                .flat_map(|task| ScenePrompt::all(task))
                .collect(),
        }
    }

    /// The verdict on an image and its reason.
    fn verdict(&self, prompt: &str, seed: u64) -> (bool, String) {
        let outcome = self.session.run(prompt, seed, &mut Silent).unwrap();
        let known = self.prompts.iter().find(|known| known.text() == prompt);
        known.unwrap().evaluate(&detect(&outcome.winner().image))
    }

    /// The clearly labelled images whose verdict differs from the label.
    fn disagreements<'l>(&self, labels: impl Iterator<Item = &'l Label>) -> Vec<String> {
        let clear = labels.filter(|label| label.label != "unclear");
        clear
            .filter_map(|label| {
                let (right, reason) = self.verdict(&label.prompt, label.seed);
                let differs = right != (label.label == "yes");
                differs.then(|| format!("{}: {reason}", label.index))
            })
            .collect()
    }
}

#[test]
fn the_evaluator_agrees_with_the_eye_on_images_it_was_not_adjusted_to() {
    let fresh = labels("fresh.jsonl");
    let demo = System::builder("demo").open().unwrap();
    let found = Evaluated::new(&demo).disagreements(fresh.iter().take(60));
    // All three of the 113 clear ones are among the first 60.
    assert!(found.len() <= 3, "{found:#?}");
}

#[test]
fn the_faults_found_with_the_labels_are_mended() {
    // The disagreements of the evaluator before: pale tips, shading, touching shapes, bent limbs.
    const BEFORE: [usize; 20] = [
        10, 27, 53, 56, 62, 64, 70, 172, 179, 181, 182, 184, 190, 212, 228, 230, 241, 254, 265, 269,
    ];
    let labels = labels("labels.jsonl");
    let demo = System::builder("demo").open().unwrap();
    let evaluated = Evaluated::new(&demo);
    let found = evaluated.disagreements(BEFORE.iter().map(|index| &labels[*index]));
    assert!(found.is_empty(), "{found:#?}");
    let pale_tip = ("a photo of a ring and a star", 2_537_699_630_292_568);
    assert_eq!(
        evaluated.verdict(pale_tip.0, pale_tip.1),
        (true, "found 1 green ring, 1 yellow star".to_owned())
    );
}

#[test]
fn every_task_has_its_share_of_labels() {
    for (file, each) in [("labels.jsonl", 50), ("fresh.jsonl", 20)] {
        let labels = labels(file);
        for task in TASKS {
            let of_task = labels.iter().filter(|label| label.task == task);
            assert_eq!(of_task.count(), each, "{file}: {task}");
        }
        let seeds = labels.iter().map(|label| label.seed);
        assert!(
            seeds.eq(labels[0].seed..labels[0].seed + labels.len() as u64),
            "{file}"
        );
    }
}

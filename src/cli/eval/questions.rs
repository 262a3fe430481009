//! `ttsvar eval questions`: prompts with lists of questions, which a question-answering scorer
//! answers about images generated here or by other programs.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use ttsvar_search::{AnsweredQuestion, Image, Scorer};

use super::{
    super::{
        arguments::{BenchmarkOptions, Global, QuestionBenchmark},
        console::Console,
    },
    benchmark::{self, EvalTarget, ExternalContender, ImageLayout},
    context,
};
use crate::{
    Error, Result,
    eval::{
        Case, ResultRecord, Suite, Verdict,
        external::{ExternalImage, NumberedImages},
    },
    options::{Options, Questions},
    scorers::{QuestionLists, ScorerMix},
    system::{LoadedScorer, ScorerWithQuestions, SystemBuilder, with_questions},
};

/// Samples per prompt.
const SAMPLES: usize = 1;

pub(in super::super) fn run(
    typed: &QuestionBenchmark,
    global: &Global,
    console: &Console,
) -> Result<()> {
    let options = Options {
        questions: Some(Questions::open(&typed.prompts)?),
        question_mean: typed.benchmark.image.0.question_mean,
        ..Options::default()
    };
    let evaluator = evaluator(typed, global, console)?;
    let suite = QuestionSuite::new(&options, &evaluator)?;
    let samples = typed.samples.unwrap_or(SAMPLES);
    if samples == 0 {
        return Err(Error::input(
            "--samples is 0, but every prompt needs at least 1 image",
        ));
    }
    let target = EvalTarget {
        title: "Questions",
        suite: &suite,
        described: suite.described(),
        samples,
        graded: true,
        notes: suite.notes(typed),
        out: &typed.out,
        resume: typed.benchmark.resume,
    };
    let results = match typed.benchmark.images.as_slice() {
        [] => target.generate(&searching(typed), &suite, global, console)?,
        folders => {
            let contenders = external_contenders(folders, &suite, samples, console)?;
            target.compare(&contenders, console)?
        }
    };
    context::print_results(console, &results.tables, &typed.out)
}

/// The options of searches, without the mean of the questions that evaluate unless searches are
/// asked some too.
fn searching(typed: &QuestionBenchmark) -> BenchmarkOptions {
    let mut options = typed.benchmark.clone();
    let image = &mut options.image.0;
    image.question_mean = image.question_mean.filter(|_| image.questions.is_some());
    options
}

/// Loads the scorer that answers.
fn evaluator(
    typed: &QuestionBenchmark,
    global: &Global,
    console: &Console,
) -> Result<LoadedScorer> {
    let chosen = typed
        .answerer
        .as_ref()
        .or(typed.benchmark.system.scorer.as_ref());
    let mix = chosen.map_or(&[][..], ScorerMix::scorers);
    let [(name, _)] = mix else {
        return Err(
            Error::input("questions need one scorer that answers them").with_hint(
                "give --scorer vqa or --scorer openai, or --answerer for a scorer that searches do not use",
            ),
        );
    };
    let builder = SystemBuilder {
        scorer: Some(ScorerMix::single(name.clone())),
        ..global.system(&typed.benchmark.system)
    };
    let set = console.open_scorers(&builder)?;
    let scorer = set.scorers.into_iter().next();
    scorer.ok_or_else(|| Error::internal("no scorer was loaded"))
}

/// Prompts with their questions, and the scorer that answers them.
struct QuestionSuite<'a> {
    lists: QuestionLists,
    cases: Vec<Case>,
    evaluator: ScorerWithQuestions<'a>,
}

/// The only task: questions are of many kinds, but an image has one score.
const TASKS: [&str; 1] = ["questions"];

impl<'a> QuestionSuite<'a> {
    /// The suite of the questions in `options`.
    fn new(options: &Options, evaluator: &'a LoadedScorer) -> Result<Self> {
        let lists = QuestionLists::new(
            options.questions.clone().unwrap_or_default(),
            options.question_mean.unwrap_or_default(),
        );
        let case = |prompt: &str| Case {
            task: TASKS[0],
            prompt: prompt.to_owned(),
        };
        let evaluator = with_questions([evaluator], options)?.pop();
        Ok(Self {
            cases: lists.prompts().into_iter().map(case).collect(),
            lists,
            evaluator: evaluator.ok_or_else(|| Error::internal("no scorer was loaded"))?,
        })
    }

    /// The description of the suite for the setup.
    fn described(&self) -> Map<String, Value> {
        let prompts: Vec<Value> = self
            .cases
            .iter()
            .map(|case| {
                let questions = self.lists.questions(&case.prompt);
                let pairs = questions
                    .iter()
                    .map(|listed| [&listed.question, &listed.answer]);
                json!({ "prompt": case.prompt, "questions": pairs.collect::<Vec<_>>() })
            })
            .collect();
        let described = json!({
            "name": self.name(),
            "scorer": self.evaluator.scorer.name,
            "mean": self.lists.mean().to_string(),
            "prompts": prompts,
        });
        described.as_object().cloned().unwrap_or_default()
    }

    /// Says when searches use the scorer that evaluates.
    fn notes(&self, typed: &QuestionBenchmark) -> Vec<String> {
        let searching = typed.benchmark.system.scorer.iter();
        let mut families = searching.flat_map(ScorerMix::kinds);
        let shared = families.any(|kind| kind.release.family == self.evaluator.scorer.family);
        if !shared || !typed.benchmark.images.is_empty() {
            return vec![];
        }
        vec![format!(
            "Searches use the same scorer as the evaluation, {}: the results show how well searches \
             satisfy it, and overstate the image quality.",
            self.evaluator.scorer.name
        )]
    }
}

impl Suite for QuestionSuite<'_> {
    fn name(&self) -> &str {
        "questions"
    }

    fn tasks(&self) -> &[&'static str] {
        &TASKS
    }

    fn cases(&self) -> &[Case] {
        &self.cases
    }

    fn evaluate(&self, case: usize, images: &[Image]) -> Result<Vec<Verdict>> {
        let prompt = &self.cases[case].prompt;
        let scored = self.evaluator.score_with_answers(prompt, images)?;
        let mut verdicts = vec![];
        for (image, score) in scored.scores.iter().enumerate() {
            if score.is_nan() {
                return Err(Error::system("the evaluator gave no answer about an image")
                    .with_hint("evaluate again with --resume"));
            }
            let answers = scored.of_image(image);
            verdicts.push(Verdict {
                score: f64::from(score.clamp(0.0, 1.0)),
                reason: reason(&answers),
                details: Some(json!(answers)),
            });
        }
        Ok(verdicts)
    }
}

/// The questions that were answered wrongly, each with the probability of the right answer.
fn reason(answers: &[AnsweredQuestion]) -> String {
    let wrong = answers.iter().filter(|answer| answer.is_wrong());
    let lines: Vec<String> = wrong.map(AnsweredQuestion::to_string).collect();
    match lines.is_empty() {
        true => format!("all {} answers are right", answers.len()),
        false => lines.join("\n"),
    }
}

/// `00000/samples/0000.png`, as GenEval has it.
impl ImageLayout for QuestionSuite<'_> {
    fn path(&self, record: &ResultRecord) -> PathBuf {
        folder_of(record.case).join(format!("{:04}.png", record.sample))
    }

    fn write_metadata(&self, _: &Path, _: &ResultRecord) -> Result<()> {
        Ok(())
    }
}

fn folder_of(case: usize) -> PathBuf {
    Path::new(&format!("{case:05}")).join("samples")
}

/// The images in folders. Warns about problems.
fn external_contenders(
    folders: &[PathBuf],
    suite: &QuestionSuite,
    samples: usize,
    console: &Console,
) -> Result<Vec<ExternalContender>> {
    let mut all = vec![];
    for (contender, folder) in benchmark::contenders(folders)?.into_iter().zip(folders) {
        let mut images = vec![];
        for case in 0..suite.cases.len() {
            let inside = folder.join(folder_of(case));
            if !inside.is_dir() {
                continue;
            }
            let found = NumberedImages::read(&inside, |stem| stem.parse().ok())?;
            for fault in &found.faults {
                console.warn(fault, None);
            }
            let first = found
                .files
                .into_iter()
                .take_while(|(sample, _)| *sample < samples);
            images.extend(first.map(|(sample, path)| ExternalImage { case, sample, path }));
        }
        if images.is_empty() {
            return Err(
                Error::file(folder, "contains no image of these prompts").with_hint(
                    "name images DIR/00000/samples/0000.png: the number of the prompt in the file, \
                 then the number of the sample, both counted from 0",
                ),
            );
        }
        all.push(ExternalContender {
            contender,
            folder: folder.clone(),
            images,
        });
    }
    Ok(all)
}

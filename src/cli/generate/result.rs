//! The result of one prompt, for people and as JSON.

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::{Map, Value, json};
use ttsvar_search::{AnsweredQuestion, Budget, Finished, Outcome, Trace, number};

use super::{
    super::{console::Console, numbers},
    job::GenerateJob,
};
use crate::{Result, quoting};

/// What is printed about one prompt.
pub(super) struct PromptResult {
    /// Notes, before the result.
    pub notes: Vec<String>,
    /// The result; `None` if standard output takes a file instead.
    pub text: Option<String>,
}

impl PromptResult {
    /// Prints everything. `of_which` says which of several prompts the notes are about.
    pub(super) fn print(&self, of_which: &str, console: &Console) -> Result<()> {
        for note in &self.notes {
            console.note(&format!("{of_which}{note}"));
        }
        match &self.text {
            Some(text) => console.result(text),
            None => Ok(()),
        }
    }
}

impl GenerateJob<'_> {
    /// Notes about the outcome: fewer images than were to be kept, none that is good enough, or a
    /// budget that was too small.
    pub(super) fn notes(&self, outcome: &Outcome) -> Vec<String> {
        let best = self.request.outputs.best;
        let fewer = best.and_then(|best| fewer(best, outcome));
        let budget = self.session.options().budget;
        let expects_enough = !self.request.repeats && budget.is_none();
        let below = expects_enough.then(|| below_enough(outcome)).flatten();
        let over = budget.and_then(|budget| over_budget(budget, &outcome.trace));
        [fewer, below, over].into_iter().flatten().collect()
    }

    /// The result for people: files, score, seed, method and cost.
    pub(super) fn summary(&self, outcome: &Outcome, written: &Written) -> String {
        let winner = outcome.winner();
        let trace = &outcome.trace;
        let parts: Vec<String> = trace
            .parts_of(winner.id)
            .into_iter()
            .map(|(scorer, score)| format!("{scorer} {score:.3}"))
            .collect();
        let parts = match parts.is_empty() {
            true => String::new(),
            false => format!(" ({})", parts.join(", ")),
        };
        let held_out: String = held_out(trace)
            .map(|(scorer, score)| format!(", {scorer} {score:.3} (held out)"))
            .collect();
        let wrong: String = wrong_answers(trace)
            .map(|answer| format!("\n  {}", quoting::line(&answer.to_string())))
            .collect();
        let score = match self.session.system().scorers().is_empty() {
            true => "not scored".to_owned(),
            false => format!("score {:.3}", winner.score),
        };
        format!(
            "{}\n  {score}{parts}{held_out}, seed {}, {}: {}{wrong}",
            written.names(),
            trace.seed,
            self.session.method(),
            cost(trace)
        )
    }

    /// The winner's score by each scorer.
    fn scores(&self, outcome: &Outcome) -> Map<String, Value> {
        let winner = outcome.winner();
        let mut parts = outcome.trace.parts_of(winner.id);
        if parts.is_empty() {
            let scorers = self.session.system().scorers();
            parts.extend(
                scorers
                    .first()
                    .map(|only| (only.name.as_str(), winner.score)),
            );
        }
        parts
            .into_iter()
            .map(|(scorer, score)| (scorer.to_owned(), number::to_json(score)))
            .collect()
    }

    /// The images that were written, best first, with their scores.
    fn images(&self, outcome: &Outcome, written: &Written) -> Vec<Value> {
        let images = written.images.iter().zip(self.kept(outcome));
        let json = |(path, finished): (&PathBuf, &Finished)| {
            json!({
                "path": path.display().to_string(),
                "score": number::to_json(finished.score),
            })
        };
        images.map(json).collect()
    }

    pub(super) fn json(&self, outcome: &Outcome, written: &Written) -> Value {
        let winner = outcome.winner();
        let trace = &outcome.trace;
        let method = self.session.method();
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let warnings: Vec<String> = trace.warnings.iter().map(ToString::to_string).collect();
        let answers: BTreeMap<_, _> = trace.answers_of(winner.id).into_iter().collect();
        json!({
            "path": written.images.first().map(|path| path.display().to_string()),
            "images": self.images(outcome, written),
            "prompt": trace.prompt,
            "negative": trace.negative,
            "seed": trace.seed,
            "score": number::to_json(winner.score),
            "scores": self.scores(outcome),
            "held_out": held_out(trace)
                .map(|(scorer, score)| (scorer.to_owned(), number::to_json(score)))
                .collect::<Map<_, _>>(),
            "answers": answers,
            "method": method.method,
            "n": method.n,
            "width": winner.image.width(),
            "height": winner.image.height(),
            "settings": trace.settings,
            "plan": trace.plan,
            "cost": trace.cost,
            "warnings": warnings,
            "unknown_words": self.session.system().unknown_words(&trace.prompt),
            "trace": path(&written.trace),
            "tree": path(&written.tree),
            "report": path(&written.report),
            "version": trace.version,
        })
    }
}

/// The files of one prompt's results.
pub(super) struct Written {
    /// The images, best first.
    pub images: Vec<PathBuf>,
    pub trace: Option<PathBuf>,
    pub tree: Option<PathBuf>,
    pub report: Option<PathBuf>,
}

impl Written {
    /// The paths of the images, one per line.
    pub(super) fn image_names(&self) -> String {
        lines(&self.images)
    }

    /// The paths of all files, one per line.
    pub(super) fn names(&self) -> String {
        let others = [&self.trace, &self.tree, &self.report];
        lines(self.images.iter().chain(others.into_iter().flatten()))
    }
}

fn lines<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> String {
    let names: Vec<String> = paths.into_iter().map(quoting::path).collect();
    names.join("\n")
}

/// A note that a search finished fewer images than were to be kept.
fn fewer(best: usize, outcome: &Outcome) -> Option<String> {
    let finished = outcome.finished.len();
    (finished < best).then(|| {
        format!(
            "the search finished {}, fewer than the {best} to keep; use --method best-of-n \
             to finish every candidate",
            numbers::counted(finished, "image")
        )
    })
}

/// A note that a search among several candidates looked for a score and did not find it.
fn below_enough(outcome: &Outcome) -> Option<String> {
    let plan = &outcome.trace.plan;
    let enough = plan.enough()?;
    (outcome.winner().score < enough && plan.rounds() > 1).then(|| {
        format!(
            "no image reached the score of {enough}, at which the search would have stopped; \
             try another --seed, a larger --n, or --method best-of-n"
        )
    })
}

/// A note that the first round, which always runs, took more than the budget.
fn over_budget(budget: Budget, trace: &Trace) -> Option<String> {
    let cost = &trace.cost;
    let (is_over, took) = match budget {
        Budget::Seconds(limit) => {
            let seconds = cost.seconds.total;
            (seconds > limit, format!("{seconds:.1} s"))
        }
        Budget::Flops(limit) => {
            let flops = cost.flops.total();
            (flops > limit, numbers::operations(flops))
        }
        Budget::Images(limit) => {
            let images = numbers::counted(cost.images, "image");
            (cost.images as f64 > limit, images)
        }
    };
    (is_over && trace.plan.rounds() == 1).then(|| {
        format!("the first round took {took}, more than the budget of {budget}, but always runs")
    })
}

/// The winner's score by each held-out scorer.
fn held_out(trace: &Trace) -> impl Iterator<Item = (&str, f32)> {
    trace.held_out.iter().filter_map(|part| {
        let place = part.ids.iter().position(|id| *id == trace.winner)?;
        Some((part.scorer.as_str(), *part.scores.get(place)?))
    })
}

/// The questions about the winner that are answered wrongly.
fn wrong_answers(trace: &Trace) -> impl Iterator<Item = AnsweredQuestion> {
    let answers = trace.answers_of(trace.winner).into_iter();
    let answers = answers.flat_map(|(_, answers)| answers);
    answers.filter(AnsweredQuestion::is_wrong)
}

/// The cost of a search for people.
pub(in super::super) fn cost(trace: &Trace) -> String {
    let cost = &trace.cost;
    let flops = match cost.flops.total() {
        0.0 => String::new(),
        flops => format!("{}, ", numbers::operations(flops)),
    };
    let decodes = numbers::counted(cost.decodes, "decode");
    format!("{decodes}, {flops}{:.1} s", cost.seconds.total)
}

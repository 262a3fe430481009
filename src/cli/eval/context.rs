//! The parts of evaluations that all suites share.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use ttsvar_search::Search;

use super::super::{
    arguments::{Global, LogProgram},
    console::Console,
    interrupt::undisturbed,
    progress::bar,
};
use crate::{
    Error, Result,
    eval::{
        Contender, CostModel, EvaluatedImage, Evaluation, HeldOutScorer, Log, ResultRecord, Setup,
        Suite, Summary, Variant, check_samples,
        consistency::{self, Consistency, ScorePath, consistency},
        warnings::{self, WarningCounts},
    },
    file,
    loading::Device,
    report::{
        ResultTables, curves,
        html::verdicts::{self, Page},
    },
    request::Session,
    scorers::relation,
    system::{LoadedScorer, ScorerWithQuestions, System},
};

/// Generator and console of an evaluation.
pub(super) struct EvalContext<'a> {
    pub session: &'a Session<'a>,
    /// The sessions of contenders with settings of their own.
    pub variants: &'a [(Map<String, Value>, Session<'a>)],
    /// Samples that run in parallel.
    pub workers: usize,
    pub console: &'a Console,
}

/// One comparison.
pub(super) struct EvalSpec<'a> {
    pub title: &'a str,
    pub suite: &'a dyn Suite,
    /// The description of the suite for the setup.
    pub described: Map<String, Value>,
    pub contenders: &'a [Contender],
    pub samples: usize,
    pub seed: u64,
    /// Number of prompts whose images are scored after every scale.
    pub consistency: usize,
    /// The cost models by which searches are priced.
    pub cost_models: &'a [CostModel],
    pub folder: &'a Path,
    pub resume: bool,
    /// The program for which results are also written.
    pub log: Option<LogProgram>,
    /// Whether verdicts are scores from 0 to 1 instead of right or wrong.
    pub graded: bool,
    /// Notes on the results, one line each.
    pub notes: &'a [String],
}

impl<'s> EvalContext<'s> {
    /// Runs a comparison and writes its results into the folder. `keep` receives every new image
    /// before its record is written. Returns the result tables and the log.
    pub(super) fn run(
        &self,
        spec: &EvalSpec<'_>,
        mut keep: impl FnMut(&EvaluatedImage) -> Result<()>,
    ) -> Result<(ResultTables, Log)> {
        check_samples(spec.suite.cases().len(), spec.samples)?;
        let search = self.search();
        let variants = self.variants();
        let held_out = self.held_out();
        let evaluation = self.evaluation(spec, &search, &variants, &held_out);
        let mut setup = spec.setup(self.session.generator_settings());
        setup.held_out = held_out
            .iter()
            .map(|scorer| scorer.name.to_owned())
            .collect();
        let mut log = Log::open(spec.folder, &setup, spec.suite, spec.resume)?;
        print_notes(self.console, &log);
        ResultTables::check_folder(spec.folder, spec.cost_models)?;
        let cases = spec.suite.cases();
        for warning in warnings::of_prompts(&evaluation.prompt_warnings()?, cases) {
            self.console.warn(&warning.text, Some(&warning.advice));
        }
        let mut progress = match spec.log {
            Some(LogProgram::Tensorboard) => {
                Some(curves::Progress::start(spec.folder, log.records())?)
            }
            None => None,
        };
        let keep = |image: &EvaluatedImage| {
            keep(image)?;
            let progress = progress.as_mut();
            progress.map_or(Ok(()), |progress| progress.add(&image.record))
        };
        self.evaluate(&evaluation, &mut log, keep)?;
        let paths = self.paths(&evaluation, &log, spec.consistency)?;
        let summary = spec.summary(log.records());
        let tables = spec.tables(summary, consistency(&paths));
        tables.write(spec.folder)?;
        if spec.log == Some(LogProgram::Tensorboard) {
            curves::write_events(tables.summary(), spec.folder)?;
        }
        Ok((tables, log))
    }

    /// The search of contenders without settings of their own.
    pub(super) fn search(&self) -> Search<'_> {
        self.session.search()
    }

    /// The searches of the other contenders.
    pub(super) fn variants(&self) -> Vec<Variant<'_>> {
        let variants = self.variants.iter().map(|(settings, session)| Variant {
            settings: settings.clone(),
            search: session.search(),
        });
        variants.collect()
    }

    /// The scorers that searches do not use.
    pub(super) fn held_out(&self) -> Vec<HeldOutScorer<'s>> {
        let named = |held_out: &'s ScorerWithQuestions| HeldOutScorer {
            name: &held_out.scorer.name,
            scorer: held_out,
        };
        self.session.held_out().iter().map(named).collect()
    }

    /// The comparison for the runner.
    pub(super) fn evaluation<'e>(
        &'e self,
        spec: &EvalSpec<'e>,
        search: &'e Search<'e>,
        variants: &'e [Variant<'e>],
        held_out: &'e [HeldOutScorer<'e>],
    ) -> Evaluation<'e> {
        let EvalSpec {
            suite,
            contenders,
            samples,
            seed,
            ..
        } = *spec;
        Evaluation {
            suite,
            search,
            negative: self.session.options().negative.as_deref(),
            variants,
            held_out,
            contenders,
            samples,
            seed,
            workers: self.workers,
        }
    }

    /// Generates and evaluates the images that are not in the log yet.
    fn evaluate(
        &self,
        evaluation: &Evaluation,
        log: &mut Log,
        mut keep: impl FnMut(&EvaluatedImage) -> Result<()>,
    ) -> Result<()> {
        let known = log.records().to_vec();
        let bar = bar(self.console, evaluation.images(), "images evaluated");
        bar.set_position(evaluation.done(&known) as u64);
        bar.reset_eta();
        let mut counts = WarningCounts::default();
        evaluation.run(&known, |image| {
            bar.inc(1);
            counts.add(&image.warnings);
            undisturbed(|| {
                keep(&image)?;
                log.add(image.record, evaluation.suite)
            })
        })?;
        bar.finish_and_clear();
        for warning in counts.summaries() {
            self.console.warn(&warning.text, Some(&warning.advice));
        }
        Ok(())
    }

    /// Scores the images of the first prompts after every scale.
    fn paths(&self, evaluation: &Evaluation, log: &Log, count: usize) -> Result<Vec<ScorePath>> {
        let bar = bar(self.console, count, "prompts scored after every scale");
        let paths = consistency::measure(evaluation, log.folder(), count, || bar.inc(1))?;
        bar.finish_and_clear();
        Ok(paths)
    }
}

impl EvalSpec<'_> {
    /// The summary of the records.
    fn summary(&self, records: &[ResultRecord]) -> Summary {
        Summary::priced(
            self.suite,
            self.samples,
            self.contenders,
            records,
            self.cost_models,
        )
    }

    /// The result tables.
    pub(super) fn tables(&self, summary: Summary, consistency: Vec<Consistency>) -> ResultTables {
        ResultTables::new(self.title, summary, consistency)
            .graded(self.graded)
            .with_notes(self.notes)
    }

    /// The setup to record; `settings` are those of the generator.
    pub(super) fn setup(&self, settings: Map<String, Value>) -> Setup {
        Setup::new(
            self.described.clone(),
            settings,
            self.contenders,
            self.samples,
            self.seed,
        )
    }
}

/// Checks that one of `folders`, which are in `out`, holds an evaluation to resume.
///
/// # Errors
/// None of them does.
pub(super) fn check_resumable<'a>(
    out: &Path,
    folders: impl IntoIterator<Item = &'a Path>,
) -> Result<()> {
    if folders.into_iter().any(Log::exists_in) {
        return Ok(());
    }
    Err(Error::file(out, "no evaluation to resume").with_hint("leave --resume out to start one"))
}

/// A note for results of searches whose scorer looks through the detector that evaluates. Notes are
/// plain text: in Markdown, any markup would be escaped.
pub(super) fn shared_detector_note(system: &System) -> Option<String> {
    let shares = |scorer: &&LoadedScorer| scorer.family == relation::KIND.release.family;
    let scorer = system.scorers().iter().find(shares)?;
    Some(format!(
        "The search uses the scorer {}, which is the same kind of network as the evaluator: the \
         accuracy shows how well searches satisfy that network, and overstates the image quality.",
        scorer.name
    ))
}

/// Name of the page with the images.
pub(super) const PAGE: &str = "report.html";

/// Writes `report.html`. The records come with the paths of their images, relative to the folder.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write_page(
    spec: &EvalSpec<'_>,
    summary: &Summary,
    images: &[(PathBuf, &ResultRecord)],
) -> Result<()> {
    let path = spec.folder.join(PAGE);
    let page = Page {
        title: spec.title,
        notes: spec.notes,
        graded: spec.graded,
    };
    let html = verdicts::page(&page, summary, images);
    file::replace(&path, html.as_bytes()).map_err(Error::io(&path))
}

/// Warns of what was odd in a folder that an evaluation continues in.
pub(super) fn print_notes(console: &Console, log: &Log) {
    for note in log.notes() {
        console.warn(note, None);
    }
}

/// Prints the results and the folder with the files.
pub(super) fn print_results(console: &Console, tables: &ResultTables, folder: &Path) -> Result<()> {
    console.result(&if console.json {
        tables.json().to_string()
    } else {
        tables.text()
    })?;
    console.note(&format!(
        "records, tables and charts are in {}",
        folder.display()
    ));
    Ok(())
}

/// One worker per available core.
pub(in super::super) fn workers(global: &Global) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if global.device == Device::Cpu {
        global.threads.unwrap_or(cores).clamp(1, cores)
    } else {
        1
    }
}

//! Where evaluations take place: what all suites share.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use ttsvar_search::Search;

use super::super::{
    arguments::Global, findings::Findings, interrupt::undisturbed, progress::bar, talk::Talk,
};
use crate::{
    Error, Result,
    eval::{
        Contender, Evaluation, Judged, Log, ResultRecord, Setup, Suite, Summary, check_tries,
        consistency::{self, Consistency, Path as ScorePath, consistency},
    },
    file,
    loading::Device,
    report::html::verdicts::{self, Page},
    request::Session,
};

/// What paints, and who is told.
pub(super) struct Hall<'a> {
    pub session: &'a Session<'a>,
    /// Tries that run side by side.
    pub workers: usize,
    pub talk: &'a Talk,
}

/// One comparison.
pub(super) struct Asked<'a> {
    pub title: &'a str,
    pub suite: &'a dyn Suite,
    /// The suite and how its prompts were chosen, as they are recorded.
    pub described: Map<String, Value>,
    pub contenders: &'a [Contender],
    pub samples: usize,
    pub seed: u64,
    /// Prompts whose images are scored after every scale.
    pub consistency: usize,
    pub folder: &'a Path,
    pub resume: bool,
    /// Whether verdicts are shares instead of right or wrong.
    pub graded: bool,
    /// What a reader of the results should know, a line each.
    pub notes: &'a [String],
}

impl Hall<'_> {
    /// Compares; `keep` sees every new image before its line is written. Returns what was found,
    /// written into the folder, and the log.
    pub(super) fn run(
        &self,
        asked: &Asked<'_>,
        keep: impl FnMut(&Judged) -> Result<()>,
    ) -> Result<(Findings, Log)> {
        check_tries(asked.suite.cases().len(), asked.samples)?;
        let search = self.search();
        let evaluation = self.evaluation(asked, &search);
        let mut log = Log::open(
            asked.folder,
            &asked.setup(self.session.generator_settings()),
            asked.resume,
        )?;
        self.judge(&evaluation, &mut log, keep)?;
        let paths = self.paths(&evaluation, &log, asked.consistency)?;
        let summary = Summary::new(asked.suite, asked.samples, asked.contenders, log.records());
        let findings = asked.findings(summary, consistency(&paths));
        findings.write(asked.folder)?;
        Ok((findings, log))
    }

    /// What all contenders search with.
    pub(super) fn search(&self) -> Search<'_> {
        self.session.search()
    }

    /// The comparison as the runner takes it.
    pub(super) fn evaluation<'e>(
        &self,
        asked: &Asked<'e>,
        search: &'e Search<'e>,
    ) -> Evaluation<'e> {
        let Asked {
            suite,
            contenders,
            samples,
            seed,
            ..
        } = *asked;
        Evaluation {
            suite,
            search,
            contenders,
            samples,
            seed,
            workers: self.workers,
        }
    }

    /// Paints and judges what is not in the log yet.
    fn judge(
        &self,
        evaluation: &Evaluation,
        log: &mut Log,
        mut keep: impl FnMut(&Judged) -> Result<()>,
    ) -> Result<()> {
        let known = log.records().to_vec();
        let bar = bar(self.talk, evaluation.images(), "images judged");
        bar.set_position(evaluation.done(&known) as u64);
        bar.reset_eta();
        evaluation.run(&known, |judged| {
            bar.inc(1);
            undisturbed(|| {
                keep(&judged)?;
                log.add(judged.record)
            })
        })?;
        bar.finish_and_clear();
        Ok(())
    }

    /// Scores after every scale, for the first prompts.
    fn paths(&self, evaluation: &Evaluation, log: &Log, wanted: usize) -> Result<Vec<ScorePath>> {
        let bar = bar(self.talk, wanted, "prompts scored after every scale");
        let paths = consistency::measure(evaluation, log.folder(), wanted, || bar.inc(1))?;
        bar.finish_and_clear();
        Ok(paths)
    }
}

impl Asked<'_> {
    /// What came of it.
    pub(super) fn findings(&self, summary: Summary, consistency: Vec<Consistency>) -> Findings {
        Findings::new(self.title, summary, consistency)
            .graded(self.graded)
            .with_notes(self.notes)
    }

    /// What is recorded of it; `settings` are the generator's.
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

/// Writes `report.html`; the records come with the files of their pictures, seen from the folder.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write_page(
    asked: &Asked<'_>,
    summary: &Summary,
    shown: &[(PathBuf, &ResultRecord)],
) -> Result<()> {
    let path = asked.folder.join("report.html");
    let page = Page {
        title: asked.title,
        notes: asked.notes,
        graded: asked.graded,
    };
    file::replace(&path, verdicts::page(&page, summary, shown).as_bytes()).map_err(Error::io(&path))
}

/// Prints what was found and says where the rest is.
pub(super) fn say(talk: &Talk, findings: &Findings, folder: &Path) -> Result<()> {
    talk.result(&if talk.json {
        findings.json().to_string()
    } else {
        findings.words()
    })?;
    talk.note(&format!(
        "records, tables and plots are in {}",
        folder.display()
    ));
    Ok(())
}

/// One worker for each core that may be used.
pub(super) fn workers(global: &Global) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if global.device == Device::Cpu {
        global.threads.unwrap_or(cores).clamp(1, cores)
    } else {
        1
    }
}

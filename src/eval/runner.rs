//! Runs every contender on every prompt and evaluates the images. Each worker is one thread and
//! handles one sample of one prompt at a time, with all contenders: many small searches in parallel
//! use a machine better than one search on all threads.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use ttsvar_search::{Image, Outcome, Plan, Prompt, Search, Silent, Warning, rng::Stream, run};

use super::{
    Contender, HeldOutScorer, ResultRecord, Suite, held_out,
    pool::{Pool, sharing},
};
use crate::{
    Error, Result,
    threads::{Results, Workers},
};

/// The evaluation to run.
#[derive(Clone, Copy)]
pub struct Evaluation<'a> {
    /// The prompts and their evaluator.
    pub suite: &'a dyn Suite,
    /// Generator, scorers and features.
    pub search: &'a Search<'a>,
    /// What the images should not contain, if anything.
    pub negative: Option<&'a str>,
    /// Scorers that the search does not use; they score every winner.
    pub held_out: &'a [HeldOutScorer<'a>],
    /// The same with the settings of contenders that have their own.
    pub variants: &'a [Variant<'a>],
    /// The contenders.
    pub contenders: &'a [Contender],
    /// Samples per prompt.
    pub samples: usize,
    /// Base seed for the samples.
    pub seed: u64,
    /// Samples that run in parallel, each on one thread; a single worker uses all threads.
    pub workers: usize,
}

/// A search with other settings of the generator than the evaluation's.
pub struct Variant<'a> {
    /// The settings, as [`Contender::settings`] has them.
    pub settings: Map<String, Value>,
    /// The search.
    pub search: Search<'a>,
}

/// An evaluated image.
pub struct EvaluatedImage {
    /// Its record.
    pub record: ResultRecord,
    /// The image itself.
    pub image: Image,
    /// The warnings of its search.
    pub warnings: Vec<Warning>,
}

/// One sample of one prompt: the unit of work of a worker, on this machine or another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleTask {
    /// Place of the prompt in the suite.
    pub case: usize,
    /// Number of the sample of this prompt.
    pub sample: usize,
    /// Indices of the contenders to run. They share the seed and, where their plans allow it, the
    /// finished rows.
    pub contenders: Vec<usize>,
}

/// The samples of an evaluation of `cases` prompts that have no record yet, each with the missing
/// contenders. The first sample of every prompt comes first.
pub fn pending_samples(
    cases: usize,
    samples: usize,
    contenders: &[Contender],
    known: &[ResultRecord],
) -> Vec<SampleTask> {
    let done: HashSet<_> = known
        .iter()
        .map(|record| (record.case, record.sample, record.method.as_str(), record.n))
        .collect();
    let mut pending = vec![];
    for sample in 0..samples {
        for case in 0..cases {
            let missing: Vec<usize> = contenders
                .iter()
                .enumerate()
                .filter(|(_, who)| !done.contains(&(case, sample, who.method.as_str(), who.n)))
                .map(|(index, _)| index)
                .collect();
            if !missing.is_empty() {
                pending.push(SampleTask {
                    case,
                    sample,
                    contenders: missing,
                });
            }
        }
    }
    pending
}

/// The seed of a sample in an evaluation with this base seed.
pub fn seed_of(base: u64, case: usize, sample: usize) -> u64 {
    Stream::evaluate(base, case, sample).seed()
}

/// Checks the number of prompts and of samples per prompt.
///
/// # Errors
/// There are no samples, or more than 10 million.
pub fn check_samples(cases: usize, samples: usize) -> Result<()> {
    const MOST: usize = 10_000_000;
    if samples == 0 {
        return Err(
            Error::input("--samples is 0, but every prompt needs at least 1 sample")
                .with_hint("4 samples are enough to tell methods apart"),
        );
    }
    if cases
        .checked_mul(samples)
        .is_none_or(|images| images > MOST)
    {
        return Err(Error::input(format!(
            "{samples} samples of each of {cases} prompts are more than {MOST} images"
        ))
        .with_hint("choose fewer; 4 samples are enough to tell methods apart"));
    }
    Ok(())
}

impl<'a> Evaluation<'a> {
    /// Number of images in total.
    pub fn images(&self) -> usize {
        self.suite.cases().len() * self.samples * self.contenders.len()
    }

    /// Number of images that have a record.
    pub fn done(&self, known: &[ResultRecord]) -> usize {
        let wanted = |record: &&ResultRecord| {
            self.contenders
                .iter()
                .any(|contender| contender.is(&record.method, record.n))
        };
        known.iter().filter(wanted).count()
    }

    /// Warnings about the prompts, with their places in the suite: they are cut, or have words that
    /// the generator does not know.
    ///
    /// # Errors
    /// A prompt cannot be split into tokens.
    pub fn prompt_warnings(&self) -> Result<Vec<(usize, Warning)>> {
        let mut all = vec![];
        for case in 0..self.suite.cases().len() {
            for warning in self.search.prompt_warnings(&self.prompt(case))? {
                all.push((case, warning));
            }
        }
        Ok(all)
    }

    /// The prompt at a place of the suite, with the negative prompt.
    pub(crate) fn prompt(&self, case: usize) -> Prompt {
        Prompt {
            text: self.suite.cases()[case].prompt.clone(),
            negative: self.negative.map(str::to_owned),
        }
    }

    /// The search of a contender.
    pub(crate) fn search_of(&self, contender: &Contender) -> Result<&'a Search<'a>> {
        if contender.settings.is_empty() {
            return Ok(self.search);
        }
        let mut variants = self.variants.iter();
        let variant = variants.find(|variant| variant.settings == contender.settings);
        let search = variant.map(|variant| &variant.search);
        search.ok_or_else(|| {
            Error::internal(format!(
                "the evaluation lacks the settings of `{contender}`"
            ))
        })
    }

    /// The seed of a sample. It is the same for every contender, so they are compared on the same
    /// draws.
    pub fn seed_of(&self, case: usize, sample: usize) -> u64 {
        seed_of(self.seed, case, sample)
    }

    /// Generates and evaluates the images that `known` does not contain and passes each to `keep`
    /// as soon as it has been evaluated. Only their order depends on the number of workers.
    ///
    /// # Errors
    /// The first error of a search, of the evaluator or of `keep`; the samples in progress are
    /// abandoned.
    pub fn run(
        &self,
        known: &[ResultRecord],
        keep: impl FnMut(EvaluatedImage) -> Result<()>,
    ) -> Result<()> {
        check_samples(self.suite.cases().len(), self.samples)?;
        for contender in self.contenders {
            self.search_of(contender)?.check(&contender.plan)?;
        }
        let open = pending_samples(
            self.suite.cases().len(),
            self.samples,
            self.contenders,
            known,
        );
        let workers = Workers::single_threaded(self.workers);
        let evaluate = |task: &SampleTask, results: &Results<EvaluatedImage>| {
            for image in self.run_sample(task)? {
                if !results.send(image?) {
                    break;
                }
            }
            Ok(())
        };
        workers.share(&open, evaluate, keep)
    }

    /// Generates and evaluates the images of one sample, lazily. They depend only on this
    /// evaluation and the sample, not on other workers or the machine.
    ///
    /// # Errors
    /// [`Error::Input`] if there is no such prompt or contender; any error of generating or
    /// evaluating.
    pub fn run_sample<'e>(
        &'e self,
        task: &'e SampleTask,
    ) -> Result<impl Iterator<Item = Result<EvaluatedImage>> + 'e> {
        let cases = self.suite.cases().len();
        let all = self.contenders.len();
        if task.case >= cases || task.contenders.iter().any(|&index| index >= all) {
            return Err(Error::input(format!(
                "a sample of another evaluation: this one has {cases} prompts, {all} contenders"
            )));
        }
        let contenders: Vec<&Contender> = task
            .contenders
            .iter()
            .map(|&index| &self.contenders[index])
            .collect();
        let generator = SampleGenerator::new(self, task, &contenders)?;
        Ok(contenders.into_iter().map(move |contender| {
            let search = self.search_of(contender)?;
            let outcome = generator.generate(search, &contender.plan)?;
            self.evaluate(task, contender, outcome)
        }))
    }

    fn evaluate(
        &self,
        task: &SampleTask,
        contender: &Contender,
        mut outcome: Outcome,
    ) -> Result<EvaluatedImage> {
        let winner = &outcome.winner().image;
        let verdict = self
            .suite
            .evaluate(task.case, std::slice::from_ref(winner))?
            .pop();
        let verdict =
            verdict.ok_or_else(|| Error::input("the evaluator gave no verdict on an image"))?;
        let case = &self.suite.cases()[task.case];
        let held_out = held_out::score(self.held_out, &case.prompt, winner)?;
        let seed = self.seed_of(task.case, task.sample);
        let record = ResultRecord::new(
            (task.case, case),
            (task.sample, seed),
            contender,
            &outcome,
            held_out,
            verdict,
        );
        Ok(EvaluatedImage {
            record,
            warnings: std::mem::take(&mut outcome.trace.warnings),
            image: outcome.finished.swap_remove(outcome.best).image,
        })
    }
}

/// Generates the images of one sample, one contender after the other.
struct SampleGenerator<'a> {
    prompt: Prompt,
    seed: u64,
    shared: Vec<Shared<'a>>,
}

/// Candidates that several contenders share.
struct Shared<'a> {
    search: &'a Search<'a>,
    /// The plans that share them.
    plans: Vec<Plan>,
    pool: Pool<'a>,
}

impl<'a> SampleGenerator<'a> {
    fn new(
        evaluation: &Evaluation<'a>,
        task: &SampleTask,
        contenders: &[&Contender],
    ) -> Result<Self> {
        let mut generator = Self {
            prompt: evaluation.prompt(task.case),
            seed: evaluation.seed_of(task.case, task.sample),
            shared: vec![],
        };
        let variants = evaluation.variants.iter().map(|variant| &variant.search);
        for search in std::iter::once(evaluation.search).chain(variants) {
            let mut plans = vec![];
            for contender in contenders {
                if std::ptr::eq(evaluation.search_of(contender)?, search) {
                    plans.push(&contender.plan);
                }
            }
            generator.share(search, &plans)?;
        }
        Ok(generator)
    }

    /// Shares the candidates of those plans that can, if there are several.
    fn share(&mut self, search: &'a Search<'a>, plans: &[&Plan]) -> Result<()> {
        let plans = sharing(search, plans);
        if plans.len() > 1 {
            self.shared.push(Shared {
                search,
                pool: Pool::new(search, &self.prompt, &plans, self.seed)?,
                plans: plans.into_iter().cloned().collect(),
            });
        }
        Ok(())
    }

    fn generate(&self, search: &Search, plan: &Plan) -> Result<Outcome> {
        let mut shared = self.shared.iter();
        let shared = shared
            .find(|shared| std::ptr::eq(shared.search, search) && shared.plans.contains(plan));
        match shared {
            Some(shared) => shared.pool.run(plan),
            None => Ok(run(search, &self.prompt, plan, self.seed, &mut Silent)?),
        }
    }
}

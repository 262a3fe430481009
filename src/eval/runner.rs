//! Runs every contender on every prompt and has the images judged. A worker does one try of one
//! prompt at a time, with all contenders, on a thread of its own: many small searches side by side
//! use a machine better than one that shares it.

use std::{
    collections::HashSet,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{self, Sender},
    },
};

use serde::{Deserialize, Serialize};
use ttsvar_search::{Image, Outcome, Prompt, Search, Silent, rng::Stream, run};

use super::{
    Contender, ResultRecord, Suite,
    pool::{Pool, shares},
};
use crate::{Error, Result};

/// What is to be done.
#[derive(Clone, Copy)]
pub struct Evaluation<'a> {
    /// The prompts and their judge.
    pub suite: &'a dyn Suite,
    /// What paints.
    pub search: &'a Search<'a>,
    /// Who competes.
    pub contenders: &'a [Contender],
    /// Tries with every prompt.
    pub samples: usize,
    /// What the seeds of the tries come from.
    pub seed: u64,
    /// Tries that run side by side, each on one thread; where it is one, it takes all threads.
    pub workers: usize,
}

/// A judged image.
pub struct Judged {
    /// What is kept of it.
    pub record: ResultRecord,
    /// The image itself.
    pub image: Image,
}

/// One try of one prompt: what a worker, on this machine or another, does at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Try {
    /// Place of the prompt in the suite.
    pub case: usize,
    /// Which of several tries with this prompt.
    pub sample: usize,
    /// Places of the contenders that paint; they share the seed, and finished rows where their
    /// plans allow it.
    pub contenders: Vec<usize>,
}

/// The tries of an evaluation of `cases` prompts that are not known yet, each with the contenders
/// that are missing; the first try of every prompt comes first.
pub fn open_tries(
    cases: usize,
    samples: usize,
    contenders: &[Contender],
    known: &[ResultRecord],
) -> Vec<Try> {
    let done: HashSet<_> = known
        .iter()
        .map(|record| (record.case, record.sample, record.method.as_str(), record.n))
        .collect();
    let tries = (0..samples).flat_map(|sample| (0..cases).map(move |case| (case, sample)));
    let missing = |(case, sample)| {
        let missing = |who: &Contender| !done.contains(&(case, sample, who.method.as_str(), who.n));
        let contenders = (0..contenders.len())
            .filter(|&place| missing(&contenders[place]))
            .collect();
        Try {
            case,
            sample,
            contenders,
        }
    };
    tries
        .map(missing)
        .filter(|one| !one.contenders.is_empty())
        .collect()
}

/// Whether an evaluation of so many prompts with so many tries each is one.
///
/// # Errors
/// There are no tries, or more than could ever be meant.
pub fn check_tries(cases: usize, samples: usize) -> Result<()> {
    const MOST: usize = 10_000_000;
    if samples == 0 {
        return Err(
            Error::input("--samples is 0, but every prompt needs at least 1 try")
                .with_hint("choose 4 to tell methods apart"),
        );
    }
    if cases.checked_mul(samples).is_none_or(|tries| tries > MOST) {
        return Err(Error::input(format!(
            "{samples} tries with each of {cases} prompts are more than {MOST} images"
        ))
        .with_hint("choose 4 tries to tell methods apart"));
    }
    Ok(())
}

impl Evaluation<'_> {
    /// Images that it takes in all.
    pub fn images(&self) -> usize {
        self.suite.cases().len() * self.samples * self.contenders.len()
    }

    /// How many of those are known.
    pub fn done(&self, known: &[ResultRecord]) -> usize {
        let wanted = |record: &&ResultRecord| {
            self.contenders
                .iter()
                .any(|contender| contender.is(&record.method, record.n))
        };
        known.iter().filter(wanted).count()
    }

    /// The seed of a try: the same for every contender, so that they are compared on the same
    /// draws.
    pub fn seed_of(&self, case: usize, sample: usize) -> u64 {
        Stream::evaluate(self.seed, case, sample).seed()
    }

    /// Paints and judges what `known` does not hold, and hands over each image as soon as it has
    /// been judged. The order in which they come depends on the number of workers, nothing else
    /// does.
    ///
    /// # Errors
    /// The first error of a search, of the judge or of `keep`; the tries under way are given up.
    pub fn run(
        &self,
        known: &[ResultRecord],
        mut keep: impl FnMut(Judged) -> Result<()>,
    ) -> Result<()> {
        check_tries(self.suite.cases().len(), self.samples)?;
        for contender in self.contenders {
            self.search.check(&contender.plan)?;
        }
        let open = open_tries(
            self.suite.cases().len(),
            self.samples,
            self.contenders,
            known,
        );
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let failed = Mutex::new(None);
        let (sender, judged) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..self.workers.clamp(1, open.len().max(1)) {
                let (sender, open, next, stop, failed) =
                    (sender.clone(), &open, &next, &stop, &failed);
                scope.spawn(move || {
                    let work = || self.work(open, next, stop, &sender);
                    if let Err(error) = if self.workers == 1 {
                        work()
                    } else {
                        alone(work)
                    } {
                        stop.store(true, Ordering::Relaxed);
                        failed
                            .lock()
                            .unwrap_or_else(|lock| lock.into_inner())
                            .get_or_insert(error);
                    }
                });
            }
            drop(sender);
            for one in judged {
                if let Err(error) = keep(one) {
                    stop.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
            Ok(())
        })?;
        failed
            .into_inner()
            .unwrap_or_else(|lock| lock.into_inner())
            .map_or(Ok(()), Err)
    }

    fn work(
        &self,
        open: &[Try],
        next: &AtomicUsize,
        stop: &AtomicBool,
        sender: &Sender<Judged>,
    ) -> Result<()> {
        while !stop.load(Ordering::Relaxed)
            && let Some(one) = open.get(next.fetch_add(1, Ordering::Relaxed))
        {
            for judged in self.attempt(one)? {
                if sender.send(judged?).is_err() || stop.load(Ordering::Relaxed) {
                    return Ok(()); // nobody listens any more
                }
            }
        }
        Ok(())
    }

    /// Paints and judges the images of one try, each when the iterator comes to it. They depend on
    /// nothing but this evaluation and the try: not on who else is at work, nor where.
    ///
    /// # Errors
    /// [`Error::Input`] when there is no such prompt or contender; whatever painting and judging
    /// fail with.
    pub fn attempt<'e>(
        &'e self,
        one: &'e Try,
    ) -> Result<impl Iterator<Item = Result<Judged>> + 'e> {
        let (cases, all) = (self.suite.cases().len(), self.contenders.len());
        if one.case >= cases || one.contenders.iter().any(|&place| place >= all) {
            return Err(Error::input(format!(
                "a try of another evaluation: this one has {cases} prompts, {all} contenders"
            )));
        }
        let contenders: Vec<&Contender> = one
            .contenders
            .iter()
            .map(|&place| &self.contenders[place])
            .collect();
        let painter = Painter::new(self, one, &contenders)?;
        Ok(contenders
            .into_iter()
            .map(move |contender| self.judge(one, contender, painter.paint(contender)?)))
    }

    fn judge(&self, one: &Try, contender: &Contender, mut outcome: Outcome) -> Result<Judged> {
        let winner = std::slice::from_ref(&outcome.winner().image);
        let verdict = self.suite.judge(one.case, winner)?.pop();
        let verdict =
            verdict.ok_or_else(|| Error::input("the judge gave no verdict on an image"))?;
        let case = &self.suite.cases()[one.case];
        let seed = self.seed_of(one.case, one.sample);
        let record = ResultRecord::new(
            (one.case, case),
            (one.sample, seed),
            contender,
            &outcome,
            verdict,
        );
        Ok(Judged {
            record,
            image: outcome.finished.swap_remove(outcome.best).image,
        })
    }
}

/// Paints one try for one contender after the other.
struct Painter<'a> {
    search: &'a Search<'a>,
    prompt: Prompt,
    seed: u64,
    pool: Option<Pool>,
}

impl<'a> Painter<'a> {
    fn new(evaluation: &Evaluation<'a>, one: &Try, contenders: &[&Contender]) -> Result<Self> {
        let (search, seed) = (evaluation.search, evaluation.seed_of(one.case, one.sample));
        let prompt = Prompt::from(evaluation.suite.cases()[one.case].prompt.as_str());
        let scales = search.pipeline.scales().len();
        let shared = contenders
            .iter()
            .map(|contender| &contender.plan)
            .filter(|plan| shares(plan, scales));
        let rows = shared.map(|plan| plan.start()).max();
        let pool = rows
            .map(|rows| Pool::paint(search, &prompt, rows, seed))
            .transpose()?;
        Ok(Self {
            search,
            prompt,
            seed,
            pool,
        })
    }

    fn paint(&self, contender: &Contender) -> Result<Outcome> {
        let Self {
            search,
            prompt,
            seed,
            pool,
        } = self;
        match pool {
            Some(pool) if shares(&contender.plan, search.pipeline.scales().len()) => {
                pool.run(search, prompt, &contender.plan, *seed)
            }
            _ => Ok(run(search, prompt, &contender.plan, *seed, &mut Silent)?),
        }
    }
}

/// Does work in which nothing leaves the calling thread.
fn alone<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    pool.map_err(|error| Error::system(format!("cannot start a worker thread: {error}")))?
        .install(work)
}

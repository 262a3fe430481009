//! Runs every contender on every prompt and has the images judged. A worker does one try of one prompt at a time, with all
//! contenders, on a thread of its own: many small searches side by side use a machine better than one that shares it.

use std::{
    collections::HashSet,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{self, Sender},
    },
};

use super::{
    Contender, Record, Suite,
    pool::{Pool, shares},
};
use crate::{
    Error, Result,
    image::Image,
    pipelines::Prompt,
    rng::Stream,
    search::{Outcome, Search, Silent, run},
};

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
    /// Tries that run side by side, each on one thread.
    pub workers: usize,
}

/// A judged image.
pub struct Judged {
    /// What is kept of it.
    pub record: Record,
    /// The image itself.
    pub image: Image,
}

/// One try of one prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Try {
    case: usize,
    sample: usize,
}

impl Evaluation<'_> {
    /// Images that it takes in all.
    pub fn images(&self) -> usize {
        self.suite.cases().len() * self.samples * self.contenders.len()
    }

    /// How many of those are known.
    pub fn done(&self, known: &[Record]) -> usize {
        let wanted = |record: &&Record| self.contenders.iter().any(|contender| contender.is(&record.method, record.n));
        known.iter().filter(wanted).count()
    }

    /// The seed of a try: the same for every contender, so that they are compared on the same draws.
    pub fn seed_of(&self, case: usize, sample: usize) -> u64 {
        Stream::evaluate(self.seed, case, sample).seed()
    }

    /// Paints and judges what `known` does not hold, and hands over each image as soon as it has been judged. The order
    /// in which they come depends on the number of workers, nothing else does.
    ///
    /// # Errors
    /// The first error of a search, of the judge or of `keep`; the tries under way are given up.
    pub fn run(&self, known: &[Record], mut keep: impl FnMut(Judged) -> Result<()>) -> Result<()> {
        for contender in self.contenders {
            self.search.check(&contender.plan)?;
        }
        let open = self.open(known);
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let failed = Mutex::new(None);
        let (sender, judged) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..self.workers.clamp(1, open.len().max(1)) {
                let (sender, open, next, stop, failed) = (sender.clone(), &open, &next, &stop, &failed);
                scope.spawn(move || {
                    let work = || self.work(open, next, stop, &sender);
                    if let Err(error) = if self.workers == 1 { work() } else { alone(work) } {
                        stop.store(true, Ordering::Relaxed);
                        failed.lock().unwrap_or_else(|lock| lock.into_inner()).get_or_insert(error);
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
        failed.into_inner().unwrap_or_else(|lock| lock.into_inner()).map_or(Ok(()), Err)
    }

    /// The tries that are not done, each with the contenders that are missing; the first try of every prompt comes first.
    fn open(&self, known: &[Record]) -> Vec<(Try, Vec<&Contender>)> {
        let done: HashSet<_> =
            known.iter().map(|record| (record.case, record.sample, record.method.as_str(), record.n)).collect();
        let cases = self.suite.cases().len();
        let tries = (0..self.samples).flat_map(|sample| (0..cases).map(move |case| Try { case, sample }));
        let missing = |one: &Try| {
            let missing = |who: &&Contender| !done.contains(&(one.case, one.sample, who.method.as_str(), who.n));
            self.contenders.iter().filter(missing).collect::<Vec<_>>()
        };
        tries.map(|one| (one, missing(&one))).filter(|(_, missing)| !missing.is_empty()).collect()
    }

    fn work(
        &self,
        open: &[(Try, Vec<&Contender>)],
        next: &AtomicUsize,
        stop: &AtomicBool,
        sender: &Sender<Judged>,
    ) -> Result<()> {
        while let Some((one, contenders)) = open.get(next.fetch_add(1, Ordering::Relaxed)) {
            let painter = Painter::new(self, *one, contenders)?;
            for contender in contenders {
                if stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let outcome = painter.paint(contender)?;
                if sender.send(self.judge(*one, contender, outcome)?).is_err() {
                    return Ok(()); // nobody listens any more
                }
            }
        }
        Ok(())
    }

    fn judge(&self, one: Try, contender: &Contender, mut outcome: Outcome) -> Result<Judged> {
        let winner = std::slice::from_ref(&outcome.winner().image);
        let verdict = self.suite.judge(one.case, winner)?.pop();
        let verdict = verdict.ok_or_else(|| Error::input("the judge gave no verdict on an image"))?;
        let case = &self.suite.cases()[one.case];
        let seed = self.seed_of(one.case, one.sample);
        let record = Record::new((one.case, case), (one.sample, seed), contender, &outcome, verdict);
        Ok(Judged { record, image: outcome.finished.swap_remove(outcome.best).image })
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
    fn new(evaluation: &Evaluation<'a>, one: Try, contenders: &[&Contender]) -> Result<Self> {
        let (search, seed) = (evaluation.search, evaluation.seed_of(one.case, one.sample));
        let prompt = Prompt::from(evaluation.suite.cases()[one.case].prompt.as_str());
        let scales = search.pipeline.scales().len();
        let shared = contenders.iter().map(|contender| &contender.plan).filter(|plan| shares(plan, scales));
        let rows = shared.map(|plan| plan.start()).max();
        let pool = rows.map(|rows| Pool::paint(search, &prompt, rows, seed)).transpose()?;
        Ok(Self { search, prompt, seed, pool })
    }

    fn paint(&self, contender: &Contender) -> Result<Outcome> {
        let Self { search, prompt, seed, pool } = self;
        match pool {
            Some(pool) if shares(&contender.plan, search.pipeline.scales().len()) => {
                pool.run(search, prompt, &contender.plan, *seed)
            }
            _ => run(search, prompt, &contender.plan, *seed, &mut Silent),
        }
    }
}

/// Does work in which nothing leaves the calling thread.
fn alone<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    pool.map_err(|error| Error::input(format!("cannot start a worker thread: {error}")))?.install(work)
}

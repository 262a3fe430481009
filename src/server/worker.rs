//! Carries out searches: every worker one at a time, on one thread of its own as long as others
//! have work too.
//!
//! Searches side by side use a machine better than one search that shares it (`docs/server.md` has
//! the numbers), and a picture does not depend on the threads that painted it. A search that is
//! alone gets them all.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use ttsvar_search::{self as search, Outcome, Pipeline};

use super::{
    desk::{Desk, Ending, Stop, Task, Work},
    follow::Follow,
    store::{EVENTS, IMAGE, State, Store, TRACE},
};
use crate::{
    Error, Result,
    bundle::{Settings, System},
    report::Provenance,
    request,
};

/// Starts `count` workers.
///
/// # Errors
/// The system gives no threads.
pub(super) fn start(
    count: usize,
    system: &Arc<System>,
    desk: &Arc<Desk>,
    store: &Arc<Store>,
    time: Duration,
) -> Result<Vec<JoinHandle<()>>> {
    let fail = |error: &dyn std::fmt::Display| {
        Error::input(format!("cannot start a worker thread: {error}"))
    };
    let worker = |number: usize| {
        let (system, desk, store) = (system.clone(), desk.clone(), store.clone());
        let single = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .map_err(|error| fail(&error))?;
        let work = move || {
            Worker {
                system: &system,
                desk: &desk,
                store: &store,
                time,
                single,
            }
            .run()
        };
        std::thread::Builder::new()
            .name(format!("search-{number}"))
            .spawn(work)
            .map_err(|error| fail(&error))
    };
    (0..count).map(worker).collect()
}

struct Worker<'a> {
    system: &'a System,
    desk: &'a Desk,
    store: &'a Store,
    time: Duration,
    /// One thread, for searches that share the machine.
    single: rayon::ThreadPool,
}

/// A generator that is set up as the last search wanted it.
type Ready<'a> = Option<(Settings, Box<dyn Pipeline + 'a>)>;

impl<'a> Worker<'a> {
    fn run(&self) {
        let mut ready: Ready = None;
        while let Some(Task { work, alone }) = self.desk.next() {
            let began = Instant::now();
            let found = catch_unwind(AssertUnwindSafe(|| self.paint(&work, alone, &mut ready)));
            let found = found.unwrap_or_else(|_| {
                Err(Error::internal(
                    "the search panicked: a bug of this program",
                ))
            });
            let seconds = began.elapsed().as_secs_f64();
            let state = self.settle(&work, found, seconds);
            tracing::info!(
                job = work.id,
                state,
                alone,
                seconds,
                prompt = work.order.prompt.text,
                "search over"
            );
        }
    }

    fn paint(&self, work: &Work, alone: bool, ready: &mut Ready<'a>) -> Result<(Outcome, usize)> {
        let order = &work.order;
        let pipeline = match ready {
            Some((settings, pipeline)) if *settings == order.settings => pipeline,
            other => {
                &other
                    .insert((
                        order.settings.clone(),
                        self.system.pipeline(&order.settings)?,
                    ))
                    .1
            }
        };
        let mut search = request::search(self.system, pipeline.as_ref());
        (search.preview, search.settings) = (order.preview, order.recorded.clone());
        let mut follow = Follow {
            work,
            store: self.store,
            deadline: Instant::now().checked_add(self.time),
            sheets: 0,
        };
        let mut run = || search::run(&search, &order.prompt, &order.plan, order.seed, &mut follow);
        let outcome = if alone {
            run()
        } else {
            self.single.install(run)
        }?;
        Ok((outcome, follow.sheets))
    }

    /// Keeps what was found and ends the jobs that wanted it. Returns the state that they are in.
    fn settle(
        &self,
        work: &Arc<Work>,
        found: Result<(Outcome, usize)>,
        seconds: f64,
    ) -> &'static str {
        let files = found.and_then(|(outcome, sheets)| {
            let image = Provenance::from_trace(&outcome.trace)
                .beside(outcome.winner().image.clone())
                .encode()?;
            Ok(Files {
                image,
                trace: outcome.trace.to_json(),
                events: work.log.lines(),
                sheets,
                score: outcome.winner().score,
            })
        });
        let (state, error) = match &files {
            Ok(_) => (State::Done, None),
            Err(error) => ended(work.stopped(), error, self.time),
        };
        self.desk.end(work, seconds, |job| {
            let Ok(files) = &files else {
                return (
                    state,
                    Some(Ending {
                        score: None,
                        error: error.clone(),
                    }),
                );
            };
            match self.keep(&work.id, job, files) {
                Ok(()) => (
                    State::Done,
                    Some(Ending {
                        score: Some(files.score),
                        error: None,
                    }),
                ),
                Err(error) => (
                    State::Failed,
                    Some(Ending {
                        score: None,
                        error: Some(error.to_string()),
                    }),
                ),
            }
        });
        state.name()
    }

    /// Writes the files of a job, the image last.
    fn keep(&self, first: &str, job: &str, files: &Files) -> Result<()> {
        if job != first {
            self.store.share_sheets(first, job, files.sheets)?;
        }
        self.store.keep(job, EVENTS, files.events.as_bytes())?;
        self.store.keep(job, TRACE, files.trace.as_bytes())?;
        self.store.keep(job, IMAGE, &files.image)
    }
}

/// What is kept of a search.
struct Files {
    image: Vec<u8>,
    trace: String,
    events: String,
    /// Sheets of previews that are there already.
    sheets: usize,
    score: f32,
}

/// What a job is that ended without an image, and why.
fn ended(stop: Option<Stop>, error: &Error, time: Duration) -> (State, Option<String>) {
    match (stop, error) {
        (Some(Stop::Cancelled), error) if error.is_interrupted() => (State::Cancelled, None),
        (Some(Stop::Closing), error) if error.is_interrupted() => (State::Interrupted, None),
        (Some(Stop::Late), error) if error.is_interrupted() => (
            State::Failed,
            Some(format!("{LATE}: longer than {} s", time.as_secs_f64())),
        ),
        _ => (State::Failed, Some(error.to_string())),
    }
}

/// How the error of a search begins that was stopped for its length.
pub(super) const LATE: &str = "the search took too long";

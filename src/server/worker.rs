//! The workers. Each runs one search at a time, on a single thread while other searches need the
//! machine as well.
//!
//! Searches side by side use a machine better than one search spread over all cores
//! (`docs/server.md` has the numbers), and an image does not depend on the threads that generated
//! it. A search that is alone uses every thread.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rayon::ThreadPool;
use ttsvar_search::{Finished, Outcome, Trace};

use super::{
    Limits,
    event_sink::EventSink,
    job::{Failure, JobResult, JobState},
    scheduler::{Assignment, Scheduler, SearchJob, StopReason},
    store::{EVENTS, Store, TRACE},
};
use crate::{
    Error, Result,
    report::Provenance,
    request::{EditInput, Session},
    system::System,
    threads,
};

/// Starts `count` workers.
///
/// # Errors
/// The operating system provides no more threads.
pub(super) fn start(
    count: usize,
    system: &Arc<System>,
    scheduler: &Arc<Scheduler>,
    store: &Arc<Store>,
    limits: Limits,
) -> Result<Vec<JoinHandle<()>>> {
    let mut workers = Vec::with_capacity(count);
    for number in 0..count {
        let worker = Worker {
            system: system.clone(),
            scheduler: scheduler.clone(),
            store: store.clone(),
            limits,
            single_thread: threads::pool(1)?,
        };
        let thread = std::thread::Builder::new()
            .name(format!("search-{number}"))
            .spawn(move || worker.run())
            .map_err(|error| Error::system(format!("cannot start a worker: {error}")))?;
        workers.push(thread);
    }
    Ok(workers)
}

struct Worker {
    system: Arc<System>,
    scheduler: Arc<Scheduler>,
    store: Arc<Store>,
    limits: Limits,
    /// For searches that share the machine with others.
    single_thread: ThreadPool,
}

impl Worker {
    fn run(&self) {
        while let Some(Assignment { search, alone }) = self.scheduler.next() {
            let began = Instant::now();
            let found = catch_unwind(AssertUnwindSafe(|| self.find(&search, alone)))
                .unwrap_or_else(|_| Err(Error::internal("the search panicked, which is a bug")));
            let seconds = began.elapsed().as_secs_f64();
            let state = self.finish(&search, found, seconds);
            tracing::info!(
                job = search.id,
                state = state.name(),
                alone,
                seconds,
                prompt = search.request.prompt,
                "search finished"
            );
        }
    }

    /// Runs a search. Returns its files, which are not written yet.
    fn find(&self, search: &SearchJob, alone: bool) -> Result<SearchFiles> {
        let (outcome, sheets) = self.search(search, alone)?;
        SearchFiles::new(search, &outcome, sheets)
    }

    /// Runs a search. Returns its outcome and the number of contact sheets.
    fn search(&self, search: &SearchJob, alone: bool) -> Result<(Outcome, usize)> {
        let request = &search.request;
        let mut session = Session::new(&self.system, &request.options)?;
        if let Some(edit) = &request.edit {
            session = session.with_edit(EditInput::clone(edit))?;
        }
        self.limits.apply(&mut session)?;
        let mut sink = EventSink {
            search,
            store: &self.store,
            deadline: Instant::now().checked_add(self.limits.time),
            sheets: 0,
        };
        let mut run = || session.run(&request.prompt, request.seed, &mut sink);
        let outcome = if alone {
            run()?
        } else {
            self.single_thread.install(run)?
        };
        // A search with a budget ends early instead of failing.
        if search.stop_reason().is_some() {
            return Err(ttsvar_search::Error::Interrupted.into());
        }
        Ok((outcome, sink.sheets))
    }

    /// Writes the files of every job that wants the search and ends those jobs. Returns the state
    /// of the search.
    fn finish(
        &self,
        search: &Arc<SearchJob>,
        found: Result<SearchFiles>,
        seconds: f64,
    ) -> JobState {
        match found {
            Ok(files) => {
                self.scheduler.finish(search, seconds, |job| {
                    self.write_result(search, job, &files)
                });
                JobState::Done
            }
            Err(error) => {
                let (state, result) = failure(search.stop_reason(), &error, self.limits.time);
                self.scheduler
                    .finish(search, seconds, |_| (state, result.clone()));
                state
            }
        }
    }

    /// Writes the files of a job. Returns its final state.
    fn write_result(
        &self,
        search: &SearchJob,
        job: &str,
        files: &SearchFiles,
    ) -> (JobState, JobResult) {
        match self.write_files(&search.id, job, files) {
            Ok(()) => {
                let result = JobResult::from_trace(&files.outcome);
                (
                    JobState::Done,
                    result.with_images(files.images.len(), search.request.best),
                )
            }
            Err(error) => (
                JobState::Failed,
                JobResult::failed(Failure::Search, error.to_string()),
            ),
        }
    }

    /// Writes the files of a job, the best image last. The contact sheets are those of job `first`.
    fn write_files(&self, first: &str, job: &str, files: &SearchFiles) -> Result<()> {
        if job != first {
            self.store.copy_sheets(first, job, files.sheets)?;
        }
        self.store.write(job, EVENTS, files.events.as_bytes())?;
        self.store.write(job, TRACE, files.trace.as_bytes())?;
        for (rank, image) in files.images.iter().enumerate().rev() {
            self.store.write(job, &Store::image_name(rank), image)?;
        }
        Ok(())
    }
}

/// The files of a finished search.
struct SearchFiles {
    /// The images that are kept, best first.
    images: Vec<Vec<u8>>,
    trace: String,
    events: String,
    /// Number of contact sheets, which are on disk already.
    sheets: usize,
    outcome: Trace,
}

impl SearchFiles {
    fn new(search: &SearchJob, outcome: &Outcome, sheets: usize) -> Result<Self> {
        let image = |finished: &Finished| {
            let provenance = Provenance::from_trace(&outcome.trace.of_finished(finished.id));
            provenance.beside(finished.image.clone()).encode()
        };
        let kept = outcome.ranking().take(search.request.best);
        Ok(Self {
            images: kept.map(image).collect::<Result<_>>()?,
            trace: outcome.trace.to_json(),
            events: search.log.to_lines(),
            sheets,
            outcome: outcome.trace.clone(),
        })
    }
}

/// The final state of a job that ended without an image, and its result.
fn failure(
    stop_reason: Option<StopReason>,
    error: &Error,
    time_limit: Duration,
) -> (JobState, JobResult) {
    match stop_reason.filter(|_| error.is_interrupted()) {
        Some(StopReason::Cancelled) => (JobState::Cancelled, JobResult::default()),
        Some(StopReason::ShuttingDown) => (JobState::Interrupted, JobResult::default()),
        Some(StopReason::TimedOut) => {
            let seconds = time_limit.as_secs_f64();
            let message = format!("the search took too long: longer than {seconds} s");
            (
                JobState::Failed,
                JobResult::failed(Failure::TimedOut, message),
            )
        }
        None => (
            JobState::Failed,
            JobResult::failed(Failure::Search, error.to_string()),
        ),
    }
}

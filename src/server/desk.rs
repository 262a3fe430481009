//! Takes jobs, hands them to the workers in the order in which they came, and knows what is under
//! way.
//!
//! A [`Work`] is one search. Jobs that ask for the very same search while it waits or runs share
//! it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
};

use super::{
    log::Log,
    metrics::Metrics,
    refusal::Refusal,
    request::SearchRequest,
    store::{Job, State, Store},
};
use crate::Result;

/// Why a search is to end early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Nobody wants it any more.
    Cancelled,
    /// It took too long.
    Late,
    /// The server ends.
    Closing,
}

/// One search, for one job or several.
pub(super) struct Work {
    /// The first job that asked for it; pictures of its scales are kept there.
    pub id: String,
    pub request: SearchRequest,
    pub log: Log,
    stop: OnceLock<Stop>,
}

impl Work {
    /// Asks the search to end; the first reason counts.
    pub(super) fn stop(&self, why: Stop) {
        let _ = self.stop.set(why);
    }

    /// Why it is to end, if it is.
    pub(super) fn stopped(&self) -> Option<Stop> {
        self.stop.get().copied()
    }
}

/// A search that a worker is to do.
pub(super) struct Task {
    pub work: Arc<Work>,
    /// Nobody else works or waits, so that it may have the whole machine.
    pub alone: bool,
}

/// The searches that wait and run.
pub(super) struct Desk {
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    places: usize,
    workers: usize,
    inner: Mutex<Inner>,
    /// Rings when a search waits or the desk closes.
    bell: Condvar,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Arc<Work>>,
    running: Vec<Arc<Work>>,
    /// Jobs that wait or run.
    jobs: HashMap<String, Arc<Work>>,
    closed: bool,
    /// What a search takes, in seconds, the latest weighing most.
    seconds: f64,
}

impl Desk {
    pub(super) fn new(
        store: Arc<Store>,
        metrics: Arc<Metrics>,
        places: usize,
        workers: usize,
    ) -> Self {
        Self {
            store,
            metrics,
            places,
            workers,
            inner: Mutex::default(),
            bell: Condvar::new(),
        }
    }

    /// Takes one job an request, all or none.
    pub(super) fn submit(&self, requests: Vec<SearchRequest>) -> Result<Vec<Job>, Refusal> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(Refusal::stopping());
        }
        let new = requests
            .iter()
            .filter(|request| inner.same(request).is_none())
            .count();
        if inner.waiting.len() + new > self.places {
            self.metrics.full();
            return Err(Refusal::full(self.places, inner.patience(self.workers)));
        }
        let mut jobs: Vec<Job> = requests.iter().map(Job::new).collect();
        self.store.add(&jobs)?;
        for (job, request) in jobs.iter_mut().zip(requests) {
            let work = inner.same(&request).unwrap_or_else(|| {
                let work = Work {
                    id: job.id.clone(),
                    request,
                    log: Log::new(),
                    stop: OnceLock::new(),
                };
                let work = Arc::new(work);
                inner.waiting.push_back(work.clone());
                work
            });
            if inner
                .running
                .iter()
                .any(|running| Arc::ptr_eq(running, &work))
            {
                job.state = State::Running;
                note(self.store.begin(&job.id));
            }
            inner.jobs.insert(job.id.clone(), work);
        }
        self.bell.notify_all();
        Ok(jobs)
    }

    /// The search of a job that waits or runs.
    pub(super) fn work(&self, job: &str) -> Option<Arc<Work>> {
        self.lock().jobs.get(job).cloned()
    }

    /// Ends a job that waits or runs, and its search if no other job wants it. Says whether there
    /// was such a job.
    pub(super) fn cancel(&self, job: &str) -> Result<bool> {
        let mut inner = self.lock();
        let Some(work) = inner.jobs.remove(job) else {
            return Ok(false);
        };
        if inner.jobs_of(&work).is_empty() {
            work.stop(Stop::Cancelled);
            inner.waiting.retain(|waiting| !Arc::ptr_eq(waiting, &work));
        }
        let ended = self.store.end(job, State::Cancelled, None);
        self.metrics.ended(State::Cancelled);
        work.log.ring();
        ended.map(|()| true)
    }

    /// Ends a job if need be, and forgets it with its files. Files of a search that runs for others
    /// too stay as long.
    pub(super) fn forget(&self, job: &str) -> Result<()> {
        self.cancel(job)?;
        self.store.forget(job)?;
        let busy = self.lock().running.iter().any(|work| work.id == job);
        if busy { Ok(()) } else { self.store.sweep(job) }
    }

    /// The next search, once there is one; none when the desk is closed.
    pub(super) fn next(&self) -> Option<Task> {
        let mut inner = self.lock();
        loop {
            if let Some(work) = inner.waiting.pop_front() {
                let alone = inner.running.is_empty() && inner.waiting.is_empty();
                inner.running.push(work.clone());
                for job in inner.jobs_of(&work) {
                    note(self.store.begin(&job));
                }
                return Some(Task { work, alone });
            }
            if inner.closed {
                return None;
            }
            inner = self
                .bell
                .wait(inner)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends a search: `end` writes what a job needs and says what it is then. Jobs may join until
    /// none is left.
    pub(super) fn end(
        &self,
        work: &Arc<Work>,
        seconds: f64,
        end: impl Fn(&str) -> (State, Option<Ending>),
    ) {
        loop {
            let jobs = self.leave(work, seconds);
            if jobs.is_empty() {
                break;
            }
            for job in jobs {
                let (state, ending) = end(&job);
                let mut inner = self.lock();
                if inner.jobs.remove(&job).is_some() {
                    note(self.store.end(&job, state, ending));
                    self.metrics.ended(state);
                } else {
                    note(self.store.sweep(&job)); // given up while its files were written
                }
            }
        }
        note(self.store.sweep(&work.id));
        self.metrics.took(seconds);
        work.log.ring();
    }

    /// The jobs that still want a search which is over; without any it is no longer under way.
    fn leave(&self, work: &Arc<Work>, seconds: f64) -> Vec<String> {
        let mut inner = self.lock();
        let jobs = inner.jobs_of(work);
        if jobs.is_empty() {
            inner.running.retain(|running| !Arc::ptr_eq(running, work));
            inner.seconds = if inner.seconds == 0.0 {
                seconds
            } else {
                0.9 * inner.seconds + 0.1 * seconds
            };
        }
        jobs
    }

    /// Takes no more jobs, gives up those that wait, lets the workers end after what they are at.
    pub(super) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        for work in std::mem::take(&mut inner.waiting) {
            for job in inner.jobs_of(&work) {
                note(self.store.end(&job, State::Interrupted, None));
                self.metrics.ended(State::Interrupted);
                inner.jobs.remove(&job);
            }
            work.log.ring();
        }
        self.bell.notify_all();
    }

    /// Ends the searches under way.
    pub(super) fn give_up(&self) {
        self.lock()
            .running
            .iter()
            .for_each(|work| work.stop(Stop::Closing));
    }

    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    pub(super) fn running(&self) -> usize {
        self.lock().running.len()
    }

    /// Searches before that of a job in the queue; none when it does not wait.
    pub(super) fn before(&self, job: &str) -> Option<usize> {
        let inner = self.lock();
        let work = inner.jobs.get(job)?;
        inner
            .waiting
            .iter()
            .position(|waiting| Arc::ptr_eq(waiting, work))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The search under way that an equal request asked for.
    fn same(&self, request: &SearchRequest) -> Option<Arc<Work>> {
        let open = self
            .waiting
            .iter()
            .chain(&self.running)
            .filter(|work| work.stopped().is_none());
        open.into_iter()
            .find(|work| work.request == *request)
            .cloned()
    }

    fn jobs_of(&self, work: &Arc<Work>) -> Vec<String> {
        let jobs = self.jobs.iter().filter(|(_, of)| Arc::ptr_eq(of, work));
        jobs.map(|(job, _)| job.clone()).collect()
    }

    /// Seconds until a place of the queue should be free.
    fn patience(&self, workers: usize) -> u64 {
        (self.seconds / workers as f64).ceil().clamp(1.0, 600.0) as u64
    }
}

/// What is kept of a search that ended.
pub(super) struct Ending {
    /// The winner's score.
    pub score: Option<f32>,
    /// What went wrong.
    pub error: Option<String>,
}

/// Nothing is lost when a line of the index cannot be written: the next start looks at the files.
fn note(result: Result<()>) {
    if let Err(error) = result {
        tracing::error!(%error, "the index cannot be written");
    }
}

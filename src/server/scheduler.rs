//! The queue of searches: takes jobs, hands searches to the workers in order of arrival, and knows
//! which are waiting or running.
//!
//! A [`SearchJob`] is one search. Jobs that request the same search while it is waiting or running
//! share it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Instant,
};

use super::{
    api_error::ApiError,
    event_log::EventLog,
    job::{Job, JobResult, JobState},
    metrics::Metrics,
    request::SearchRequest,
    store::Store,
    waiting_time::seconds_until,
};
use crate::Result;

/// The reason why a search has to end early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopReason {
    /// No job wants it any more.
    Cancelled,
    /// It took too long.
    TimedOut,
    /// The server is shutting down.
    ShuttingDown,
}

/// One search, for one job or several.
pub(super) struct SearchJob {
    /// The first job that requested it. The contact sheets are stored with that job.
    pub id: String,
    pub request: SearchRequest,
    pub log: EventLog,
    stop_reason: OnceLock<StopReason>,
    /// When a worker began it.
    begun: OnceLock<Instant>,
}

impl SearchJob {
    fn new(id: &str, request: SearchRequest) -> Self {
        Self {
            id: id.to_owned(),
            request,
            log: EventLog::new(),
            stop_reason: OnceLock::new(),
            begun: OnceLock::new(),
        }
    }

    /// Asks the search to end. The first reason counts.
    pub(super) fn stop(&self, reason: StopReason) {
        let _ = self.stop_reason.set(reason);
    }

    /// Seconds since a worker began it.
    pub(super) fn seconds(&self) -> f64 {
        self.begun
            .get()
            .map_or(0.0, |begun| begun.elapsed().as_secs_f64())
    }

    /// Returns the reason why the search has to end, if it has to.
    pub(super) fn stop_reason(&self) -> Option<StopReason> {
        self.stop_reason.get().copied()
    }
}

/// A search for a worker to run.
pub(super) struct Assignment {
    pub search: Arc<SearchJob>,
    /// No other search is waiting or running, so that this one may use every thread.
    pub alone: bool,
}

/// The searches that are waiting or running.
pub(super) struct Scheduler {
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    /// Number of searches that may wait.
    capacity: usize,
    inner: Mutex<Inner>,
    /// Notified when a search is queued and when the scheduler closes.
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Arc<SearchJob>>,
    running: Vec<Arc<SearchJob>>,
    /// The search of each job that is waiting or running.
    jobs: HashMap<String, Arc<SearchJob>>,
    closed: bool,
    /// Moving average of the duration of a search, in seconds.
    mean_seconds: f64,
}

impl Scheduler {
    pub(super) fn new(store: Arc<Store>, metrics: Arc<Metrics>, capacity: usize) -> Self {
        Self {
            store,
            metrics,
            capacity,
            inner: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Adds one job per request, either all of them or none.
    pub(super) fn submit(&self, requests: Vec<SearchRequest>) -> Result<Vec<Job>, ApiError> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(ApiError::shutting_down());
        }
        let new = requests
            .iter()
            .filter(|request| inner.find(request).is_none())
            .count();
        if inner.waiting.len() + new > self.capacity {
            self.metrics.count_full_queue();
            let ends = inner.waiting.len() + new - self.capacity;
            let wait = inner.estimated_wait(ends);
            return Err(ApiError::queue_full(self.capacity, wait));
        }
        let mut jobs: Vec<Job> = requests.iter().map(Job::new).collect();
        self.store.add(&jobs)?;
        for (job, request) in jobs.iter_mut().zip(requests) {
            let search = inner.find_or_queue(&job.id, request);
            if inner.is_running(&search) {
                job.state = JobState::Running;
                log_failure(self.store.mark_running(&job.id));
            }
            inner.jobs.insert(job.id.clone(), search);
        }
        self.changed.notify_all();
        Ok(jobs)
    }

    /// The search of a job that is waiting or running.
    pub(super) fn search(&self, job: &str) -> Option<Arc<SearchJob>> {
        self.lock().jobs.get(job).cloned()
    }

    /// Cancels a job that is waiting or running, and its search if no other job wants it. Returns
    /// `false` when the job is neither.
    pub(super) fn cancel(&self, job: &str) -> Result<bool> {
        let mut inner = self.lock();
        let Some(search) = inner.jobs.remove(job) else {
            return Ok(false);
        };
        if inner.jobs_sharing(&search).is_empty() {
            search.stop(StopReason::Cancelled);
            inner
                .waiting
                .retain(|waiting| !Arc::ptr_eq(waiting, &search));
        }
        let stored = self.store.mark_over(job, JobState::Cancelled, None);
        self.metrics.count_job(JobState::Cancelled);
        search.log.notify();
        stored.map(|()| true)
    }

    /// Cancels a job if it is waiting or running, and deletes it and its files. The files of a
    /// search that still runs for other jobs stay until it is over.
    pub(super) fn delete(&self, job: &str) -> Result<()> {
        self.cancel(job)?;
        self.store.delete(job)?;
        let busy = self.lock().running.iter().any(|search| search.id == job);
        if busy {
            return Ok(());
        }
        self.store.tidy(job)
    }

    /// Waits for the next search. Returns `None` when the scheduler is closed.
    pub(super) fn next(&self) -> Option<Assignment> {
        let mut inner = self.lock();
        loop {
            if let Some(search) = inner.waiting.pop_front() {
                let alone = inner.running.is_empty() && inner.waiting.is_empty();
                let _ = search.begun.set(Instant::now());
                inner.running.push(search.clone());
                for job in inner.jobs_sharing(&search) {
                    log_failure(self.store.mark_running(&job));
                }
                return Some(Assignment { search, alone });
            }
            if inner.closed {
                return None;
            }
            inner = self
                .changed
                .wait(inner)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends a search. `write_result` writes the files of one job and returns its final state. Jobs
    /// may join the search until none is left.
    pub(super) fn finish(
        &self,
        search: &Arc<SearchJob>,
        seconds: f64,
        write_result: impl Fn(&str) -> (JobState, JobResult),
    ) {
        loop {
            let jobs = self.remaining_jobs(search, seconds);
            if jobs.is_empty() {
                break;
            }
            for job in jobs {
                let (state, result) = write_result(&job);
                let mut inner = self.lock();
                if inner.jobs.remove(&job).is_some() {
                    log_failure(self.store.mark_over(&job, state, Some(result)));
                    self.metrics.count_job(state);
                } else {
                    // Cancelled or deleted while its files were being written
                    log_failure(self.store.tidy(&job));
                }
            }
        }
        log_failure(self.store.tidy(&search.id));
        self.metrics.record_search(seconds);
        search.log.notify();
    }

    /// The jobs that still want a search which is over. When there are none, the search is removed
    /// from the running ones.
    fn remaining_jobs(&self, search: &Arc<SearchJob>, seconds: f64) -> Vec<String> {
        let mut inner = self.lock();
        let jobs = inner.jobs_sharing(search);
        if jobs.is_empty() {
            inner
                .running
                .retain(|running| !Arc::ptr_eq(running, search));
            inner.mean_seconds = if inner.mean_seconds == 0.0 {
                seconds
            } else {
                0.9 * inner.mean_seconds + 0.1 * seconds
            };
        }
        jobs
    }

    /// Refuses further jobs, interrupts those that are waiting, and lets the workers end after
    /// their current search.
    pub(super) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        for search in std::mem::take(&mut inner.waiting) {
            for job in inner.jobs_sharing(&search) {
                log_failure(self.store.mark_over(&job, JobState::Interrupted, None));
                self.metrics.count_job(JobState::Interrupted);
                inner.jobs.remove(&job);
            }
            search.log.notify();
        }
        self.changed.notify_all();
    }

    /// Stops the running searches because the server is shutting down.
    pub(super) fn stop_running(&self) {
        for search in &self.lock().running {
            search.stop(StopReason::ShuttingDown);
        }
    }

    /// The running search that began first, and its jobs.
    pub(super) fn first_running(&self) -> Option<(Arc<SearchJob>, Vec<String>)> {
        let inner = self.lock();
        let search = inner.running.first()?.clone();
        let jobs = inner.jobs_sharing(&search);
        Some((search, jobs))
    }

    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    pub(super) fn running(&self) -> usize {
        self.lock().running.len()
    }

    /// The number of searches ahead of a job's search in the queue. `None` when it is not waiting.
    pub(super) fn searches_ahead(&self, job: &str) -> Option<usize> {
        let inner = self.lock();
        let search = inner.jobs.get(job)?;
        inner
            .waiting
            .iter()
            .position(|waiting| Arc::ptr_eq(waiting, search))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The search, waiting or running, that an equal request started.
    fn find(&self, request: &SearchRequest) -> Option<Arc<SearchJob>> {
        self.waiting
            .iter()
            .chain(&self.running)
            .filter(|search| search.stop_reason().is_none())
            .find(|search| search.request == *request)
            .cloned()
    }

    /// The search for a request, queued on behalf of `job` if no equal one is waiting or running.
    fn find_or_queue(&mut self, job: &str, request: SearchRequest) -> Arc<SearchJob> {
        if let Some(search) = self.find(&request) {
            return search;
        }
        let search = Arc::new(SearchJob::new(job, request));
        self.waiting.push_back(search.clone());
        search
    }

    fn is_running(&self, search: &Arc<SearchJob>) -> bool {
        self.running
            .iter()
            .any(|running| Arc::ptr_eq(running, search))
    }

    /// The jobs that share a search.
    fn jobs_sharing(&self, search: &Arc<SearchJob>) -> Vec<String> {
        self.jobs
            .iter()
            .filter(|(_, other)| Arc::ptr_eq(other, search))
            .map(|(job, _)| job.clone())
            .collect()
    }

    /// Seconds until `ends` searches should have ended, so that as many have left the queue.
    fn estimated_wait(&self, ends: usize) -> u64 {
        let running: Vec<f64> = self.running.iter().map(|search| search.seconds()).collect();
        let seconds = seconds_until(ends, &running, self.mean_seconds);
        seconds.ceil().clamp(1.0, LONGEST_WAIT) as u64
    }
}

/// The longest time for which a client is asked to wait.
const LONGEST_WAIT: f64 = 3600.0;

/// Logs a failed write to the index. Nothing is lost: the next start looks at the files.
fn log_failure(result: Result<()>) {
    if let Err(error) = result {
        tracing::error!(%error, "cannot write the index of jobs");
    }
}

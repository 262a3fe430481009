//! The queue of searches: takes jobs, hands searches to the workers in order of arrival, and knows
//! which are waiting or running.
//!
//! A [`SearchJob`] is one search. Jobs that request the same search while it is waiting or running
//! share it.
//!
//! Threads that respond to requests look at the queue, so it is never locked during work on the
//! index. The final state of a job is in the index before the job leaves the open ones.

use std::{
    collections::{HashMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Instant,
};

use super::{
    api_error::ApiError,
    event_log::EventLog,
    job::{Failure, Job, JobResult, JobState},
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
    /// Held while jobs are added, so that the queue does not grow after it was found to have space.
    adding: Mutex<()>,
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
            adding: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Adds one job per request, either all of them or none.
    pub(super) fn submit(&self, requests: Vec<SearchRequest>) -> Result<Vec<Job>, ApiError> {
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_space(&requests)?;
        let mut jobs: Vec<Job> = requests.iter().map(Job::new).collect();
        self.store.add(&jobs)?;
        if !self.queue(&mut jobs, requests) {
            for job in &jobs {
                self.store.delete(&job.id)?;
            }
            return Err(ApiError::shutting_down());
        }
        for job in jobs.iter().filter(|job| job.state == JobState::Running) {
            log_failure(self.store.mark_running(&job.id));
        }
        Ok(jobs)
    }

    /// Checks that the queue has space for the searches of requests.
    fn check_space(&self, requests: &[SearchRequest]) -> Result<(), ApiError> {
        let inner = self.lock();
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
        Ok(())
    }

    /// Queues the searches of jobs, and marks the jobs whose searches run already. Returns `false` if
    /// the scheduler is closed.
    fn queue(&self, jobs: &mut [Job], requests: Vec<SearchRequest>) -> bool {
        let mut inner = self.lock();
        if inner.closed {
            return false;
        }
        for (job, request) in jobs.iter_mut().zip(requests) {
            let search = inner.find_or_queue(&job.id, request);
            if inner.is_running(&search) {
                job.state = JobState::Running;
            }
            inner.jobs.insert(job.id.clone(), search);
        }
        self.changed.notify_all();
        true
    }

    /// The search of a job that is waiting or running.
    pub(super) fn search(&self, job: &str) -> Option<Arc<SearchJob>> {
        self.lock().jobs.get(job).cloned()
    }

    /// Cancels a job that is waiting or running, and its search if no other job wants it. Returns
    /// `false` when the job is neither.
    pub(super) fn cancel(&self, job: &str) -> bool {
        let Some(search) = self.search(job) else {
            return false;
        };
        let cancelled = self.end(job, JobState::Cancelled, JobResult::default());
        let mut inner = self.lock();
        if inner.jobs_sharing(&search).is_empty() {
            search.stop(StopReason::Cancelled);
            inner
                .waiting
                .retain(|waiting| !Arc::ptr_eq(waiting, &search));
        }
        drop(inner);
        search.log.notify();
        cancelled
    }

    /// Ends a job. Returns `false` if it has been ended or deleted before.
    fn end(&self, job: &str, state: JobState, result: JobResult) -> bool {
        let ended = self.store.mark_over(job, state, result);
        if ended {
            self.metrics.count_job(state);
        }
        self.lock().jobs.remove(job);
        ended
    }

    /// Cancels a job if it is waiting or running, and deletes it and its files. The files of a
    /// search that still runs for other jobs stay until it is over.
    pub(super) fn delete(&self, job: &str) -> Result<()> {
        self.cancel(job);
        self.store.delete(job)?;
        let busy = self.lock().running.iter().any(|search| search.id == job);
        if busy {
            return Ok(());
        }
        self.store.tidy(job)
    }

    /// Waits for the next search. Returns `None` when the scheduler is closed.
    pub(super) fn next(&self) -> Option<Assignment> {
        let (assignment, jobs) = self.begin_next()?;
        for job in jobs {
            log_failure(self.store.mark_running(&job));
        }
        Some(assignment)
    }

    /// Waits for the next search. Returns it with its jobs.
    fn begin_next(&self) -> Option<(Assignment, Vec<String>)> {
        let mut inner = self.lock();
        loop {
            if let Some(search) = inner.waiting.pop_front() {
                let alone = inner.running.is_empty() && inner.waiting.is_empty();
                let _ = search.begun.set(Instant::now());
                inner.running.push(search.clone());
                let jobs = inner.jobs_sharing(&search);
                return Some((Assignment { search, alone }, jobs));
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

    /// Ends a search. `write_result` writes the files of one job and returns its final state; if it
    /// panics, the job has failed. Jobs may join the search until none is left.
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
                let written = catch_unwind(AssertUnwindSafe(|| write_result(&job)));
                let (state, result) = written.unwrap_or_else(|_| {
                    let error = "writing the result panicked, which is a bug".to_owned();
                    (JobState::Failed, JobResult::failed(Failure::Search, error))
                });
                if !self.end(&job, state, result) {
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
        for (search, jobs) in self.take_waiting() {
            for job in jobs {
                self.end(&job, JobState::Interrupted, JobResult::default());
            }
            search.log.notify();
        }
    }

    /// Closes the queue. Returns the searches that were waiting with their jobs.
    fn take_waiting(&self) -> Vec<(Arc<SearchJob>, Vec<String>)> {
        let mut inner = self.lock();
        inner.closed = true;
        self.changed.notify_all();
        let waiting = std::mem::take(&mut inner.waiting);
        let with_jobs = |search| {
            let jobs = inner.jobs_sharing(&search);
            (search, jobs)
        };
        waiting.into_iter().map(with_jobs).collect()
    }

    /// Writes the final states that the index did not take before.
    pub(super) fn write_missed(&self) {
        self.store.write_missed();
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

/// Logs that a job could not be marked as running, or that files that are of no use remain. The next
/// start looks at both.
fn log_failure(result: Result<()>) {
    if let Err(error) = result {
        tracing::error!(%error, "cannot write to the folder of jobs");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;
    use ttsvar_search::Plan;

    use super::*;
    use crate::options::Options;

    fn request(seed: u64) -> SearchRequest {
        SearchRequest {
            prompt: "a red circle".to_owned(),
            options: Options::default(),
            seed,
            previews: false,
            size: (64, 64),
            plan: Plan::raw(7).unwrap(),
            settings: Map::new(),
            best: 1,
            partial_scales: vec![],
            edit: None,
        }
    }

    #[test]
    fn a_panic_while_a_result_is_written_fails_that_job_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(folder.path()).unwrap());
        let scheduler = Scheduler::new(store.clone(), Arc::new(Metrics::new()), 4);
        let jobs = scheduler.submit(vec![request(1), request(1)]).unwrap();
        let search = scheduler.next().unwrap().search;
        scheduler.finish(&search, 1.0, |job| {
            assert_ne!(job, jobs[0].id, "a fault of the test");
            (JobState::Done, JobResult::default())
        });
        assert_eq!((scheduler.waiting(), scheduler.running()), (0, 0));
        let [failed, done] = [&jobs[0], &jobs[1]].map(|job| store.job(&job.id).unwrap().unwrap());
        assert_eq!(
            (failed.state, failed.failure),
            (JobState::Failed, Some(Failure::Search))
        );
        assert!(failed.error.unwrap().contains("bug"));
        assert_eq!(done.state, JobState::Done);
    }

    #[test]
    fn the_first_final_state_of_a_job_counts() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(folder.path()).unwrap());
        let scheduler = Scheduler::new(store.clone(), Arc::new(Metrics::new()), 4);
        let jobs = scheduler.submit(vec![request(1)]).unwrap();
        let search = scheduler.next().unwrap().search;
        scheduler.finish(&search, 1.0, |job| {
            assert!(scheduler.cancel(job));
            (JobState::Done, JobResult::default())
        });
        let state = store.job(&jobs[0].id).unwrap().unwrap().state;
        assert_eq!(state, JobState::Cancelled);
        assert!(!scheduler.cancel(&jobs[0].id));
        assert!(scheduler.search(&jobs[0].id).is_none());
    }

    #[test]
    fn a_closed_scheduler_interrupts_what_waits_and_takes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(folder.path()).unwrap());
        let scheduler = Scheduler::new(store.clone(), Arc::new(Metrics::new()), 4);
        let jobs = scheduler.submit(vec![request(1)]).unwrap();
        scheduler.close();
        let state = store.job(&jobs[0].id).unwrap().unwrap().state;
        assert_eq!(state, JobState::Interrupted);
        assert!(scheduler.submit(vec![request(2)]).is_err());
        assert!(scheduler.next().is_none());
        assert_eq!(store.list(9, None).unwrap().len(), 1);
    }
}

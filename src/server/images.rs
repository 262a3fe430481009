//! Images in the response to one request: the jobs behind it run, and end if the client leaves.

use std::sync::Arc;

use axum::http::StatusCode;
use ttsvar_search::{Trace, number};

use super::{
    App,
    api_error::ApiError,
    job::{Failure, Job, JobState},
    raw_request::RawRequest,
    request::SearchRequest,
    run_blocking,
    scheduler::SearchJob,
    store::{Store, TRACE},
    watch,
};
use crate::Result;

/// An image of a job that is done.
pub(super) struct JobImage {
    pub job: Job,
    /// The score of the image.
    pub score: Option<f64>,
    /// The bytes of the PNG file.
    pub png: Vec<u8>,
}

/// The jobs of a request. They are cancelled when this is dropped, unless their guard is disarmed.
pub(super) struct Submitted {
    pub jobs: Vec<Job>,
    /// The search of each job, which may be over already.
    pub searches: Vec<Option<Arc<SearchJob>>>,
    pub guard: CancelOnDisconnect,
    /// Number of images of each job.
    pub best: usize,
}

/// Generates the images of a request.
///
/// # Errors
/// As [`submit`] and [`finish`].
pub(super) async fn generate(app: &Arc<App>, raw: RawRequest) -> Result<Vec<JobImage>, ApiError> {
    let submitted = submit(app, raw).await?;
    finish(app, submitted).await
}

/// Submits the jobs of a request: one per image, or one for all if they share a search.
///
/// # Errors
/// The request is invalid, or the queue is full.
pub(super) async fn submit(app: &Arc<App>, raw: RawRequest) -> Result<Submitted, ApiError> {
    let app = app.clone();
    run_blocking(move || {
        let requests = search_requests(&app, &raw)?;
        let best = requests.first().map_or(1, |first| first.best);
        let jobs = app.scheduler.submit(requests)?;
        let searches = jobs.iter().map(|job| app.scheduler.search(&job.id));
        let searches = searches.collect();
        // Created right here, since the client may disconnect at any time
        let guard = CancelOnDisconnect {
            app: app.clone(),
            jobs: jobs.iter().map(|job| job.id.clone()).collect(),
        };
        Ok(Submitted {
            jobs,
            searches,
            guard,
            best,
        })
    })
    .await?
}

/// Waits for the images of jobs.
///
/// # Errors
/// A job ends without an image.
pub(super) async fn finish(
    app: &Arc<App>,
    submitted: Submitted,
) -> Result<Vec<JobImage>, ApiError> {
    let Submitted {
        jobs, guard, best, ..
    } = submitted;
    let mut images = Vec::with_capacity(best * jobs.len());
    for job in &jobs {
        images.extend(wait_for(app, job, best).await?);
    }
    guard.disarm();
    Ok(images)
}

/// Waits for the images of a job, best first, up to `best` of them.
///
/// # Errors
/// The job ends without an image.
pub(super) async fn wait_for(
    app: &Arc<App>,
    job: &Job,
    best: usize,
) -> Result<Vec<JobImage>, ApiError> {
    let job = watch::wait_until_over(app, &job.id).await?;
    if job.state != JobState::Done {
        return Err(unfinished(&job));
    }
    let store = app.store.clone();
    let id = job.id.clone();
    let images = run_blocking(move || images_of(&store, &job, best)).await??;
    match images.is_empty() {
        true => Err(ApiError::job_not_found(&id)),
        false => Ok(images),
    }
}

/// The images of a job that is done.
fn images_of(store: &Store, job: &Job, best: usize) -> Result<Vec<JobImage>> {
    let scores = match best {
        1 => vec![job.score],
        _ => scores_of(store, job)?,
    };
    let mut images = vec![];
    for (rank, score) in scores.into_iter().take(best).enumerate() {
        let Some(png) = store.read(&job.id, &Store::image_name(rank))? else {
            break;
        };
        let job = job.clone();
        images.push(JobImage { job, score, png });
    }
    Ok(images)
}

/// The scores of all finished images of a job, best first.
fn scores_of(store: &Store, job: &Job) -> Result<Vec<Option<f64>>> {
    let trace = store.read(&job.id, TRACE)?.unwrap_or_default();
    let trace = Trace::from_json(&String::from_utf8_lossy(&trace))?;
    let score = |place: usize| number::to_json(trace.finals[place].score).as_f64();
    Ok(trace.ranking().into_iter().map(score).collect())
}

/// Returns one search per image, with consecutive seeds, or one for all of them.
fn search_requests(app: &App, raw: &RawRequest) -> Result<Vec<SearchRequest>, ApiError> {
    let first = app.requests.read(raw)?;
    if raw.share {
        return Ok(vec![first]);
    }
    Ok((0..raw.images)
        .map(|number| first.with_seed(first.seed.wrapping_add(number)))
        .collect())
}

/// The error for a job that ended without an image.
fn unfinished(job: &Job) -> ApiError {
    let message = format!("job {} is {}", job.id, job.state);
    match job.state {
        JobState::Cancelled => ApiError::new(StatusCode::CONFLICT, "cancelled", message),
        JobState::Interrupted => {
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "interrupted", message)
        }
        _ => {
            let failure = job.failure.unwrap_or(Failure::Search);
            let status = match failure {
                Failure::Search => StatusCode::INTERNAL_SERVER_ERROR,
                Failure::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            };
            ApiError::new(status, failure.name(), job.error.clone().unwrap_or(message))
        }
    }
}

/// Cancels jobs when dropped, that is when the client disconnects before it has its images.
pub(super) struct CancelOnDisconnect {
    app: Arc<App>,
    jobs: Vec<String>,
}

impl CancelOnDisconnect {
    /// Keeps the jobs.
    pub(super) fn disarm(mut self) {
        self.jobs.clear();
    }
}

impl Drop for CancelOnDisconnect {
    fn drop(&mut self) {
        if self.jobs.is_empty() {
            return;
        }
        let app = self.app.clone();
        let jobs = std::mem::take(&mut self.jobs);
        // The runtime drops this; waiting for the index here would block other requests
        tokio::task::spawn_blocking(move || {
            for job in jobs {
                app.scheduler.cancel(&job);
            }
        });
    }
}

//! Images in the response to one request: the jobs behind it run, and end if the client leaves.

use std::sync::Arc;

use axum::http::StatusCode;

use super::{
    App,
    api_error::ApiError,
    job::{Job, JobState},
    raw_request::RawRequest,
    request::SearchRequest,
    run_blocking,
    store::IMAGE,
    watch, worker,
};

/// A job that is done, with its image.
pub(super) struct JobImage {
    pub job: Job,
    /// The bytes of the PNG file.
    pub png: Vec<u8>,
}

/// Generates the images of a request, one job each.
///
/// # Errors
/// The request is invalid, the queue is full, or a job ends without an image.
pub(super) async fn generate(app: &Arc<App>, raw: RawRequest) -> Result<Vec<JobImage>, ApiError> {
    let inner = app.clone();
    let (jobs, guard) = run_blocking(move || submit(&inner, &raw)).await??;
    let mut images = Vec::with_capacity(jobs.len());
    for job in &jobs {
        let job = watch::wait_until_over(app, &job.id).await?;
        images.push(image_of(app, job).await?);
    }
    guard.disarm();
    Ok(images)
}

/// Submits the jobs of a request. The guard is created right here, since the client may disconnect
/// at any time.
fn submit(app: &Arc<App>, raw: &RawRequest) -> Result<(Vec<Job>, CancelOnDisconnect), ApiError> {
    let jobs = app.scheduler.submit(search_requests(app, raw)?)?;
    let guard = CancelOnDisconnect {
        app: app.clone(),
        jobs: jobs.iter().map(|job| job.id.clone()).collect(),
    };
    Ok((jobs, guard))
}

/// Returns one search per image. Their seeds are consecutive.
fn search_requests(app: &App, raw: &RawRequest) -> Result<Vec<SearchRequest>, ApiError> {
    let n = raw.images;
    let most = app.limits.images as u64;
    if n == 0 || n > most {
        return Err(ApiError::input(
            "n",
            format!("n is {n}, this server generates 1 to {most} images per request"),
        ));
    }
    let first = app.requests.read(raw)?;
    Ok((0..n)
        .map(|number| first.with_seed(first.seed.wrapping_add(number)))
        .collect())
}

/// The image of a job that is over.
async fn image_of(app: &Arc<App>, job: Job) -> Result<JobImage, ApiError> {
    if job.state != JobState::Done {
        return Err(unfinished(&job));
    }
    let store = app.store.clone();
    let id = job.id.clone();
    let png = run_blocking(move || store.read(&id, IMAGE)).await??;
    let png = png.ok_or_else(|| ApiError::job_not_found(&job.id))?;
    Ok(JobImage { job, png })
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
            let error = job.error.clone().unwrap_or_default();
            if error.starts_with(worker::TIMED_OUT) {
                ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timeout", error)
            } else {
                ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "search_failed", error)
            }
        }
    }
}

/// Cancels jobs when dropped, that is when the client disconnects before it has its images.
struct CancelOnDisconnect {
    app: Arc<App>,
    jobs: Vec<String>,
}

impl CancelOnDisconnect {
    /// Keeps the jobs.
    fn disarm(mut self) {
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
        // The runtime drops this; waiting for a lock here would block other requests
        tokio::task::spawn_blocking(move || {
            for job in jobs {
                if let Err(error) = app.scheduler.cancel(&job) {
                    tracing::error!(%error, job, "cannot cancel a job");
                }
            }
        });
    }
}

//! OpenAI's interface for images, so that its clients work here: `POST /v1/images/generations` and
//! `GET /v1/models`.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::StatusCode,
    routing::{get, post},
};
use base64::prelude::{BASE64_STANDARD, Engine};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use ttsvar_search::Method;

use super::{
    App,
    api_error::ApiError,
    request::{self, RawRequest, SearchRequest},
    run_blocking,
    store::{IMAGE, Job, JobState},
    watch, worker,
};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/images/generations", post(generate))
        .route("/v1/models", get(models))
}

/// The fields of OpenAI's interface that have a meaning here, and our own `seed`, `negative` and
/// `search`. Other fields are ignored, since clients send whatever their version supports.
#[derive(Deserialize)]
struct GenerationRequest {
    prompt: String,
    model: Option<String>,
    n: Option<usize>,
    size: Option<String>,
    response_format: Option<String>,
    output_format: Option<String>,
    seed: Option<u64>,
    negative: Option<String>,
    search: Option<Map<String, Value>>,
    stream: Option<bool>,
}

async fn generate(State(app): State<Arc<App>>, request: Request) -> Result<Json<Value>, ApiError> {
    let body: GenerationRequest = request::json(request).await?;
    let inner = app.clone();
    let (jobs, guard) = run_blocking(move || submit(&inner, body)).await??;
    let mut data = Vec::with_capacity(jobs.len());
    for job in &jobs {
        let job = watch::wait_until_over(&app, &job.id).await?;
        data.push(image_json(&app, &job).await?);
    }
    guard.disarm();
    Ok(Json(json!({
        "created": unix_seconds(SystemTime::now()),
        "data": data,
    })))
}

/// Submits the jobs of a request. The guard is created right here, since the client may disconnect
/// at any time.
fn submit(
    app: &Arc<App>,
    body: GenerationRequest,
) -> Result<(Vec<Job>, CancelOnDisconnect), ApiError> {
    let jobs = app.scheduler.submit(search_requests(app, body)?)?;
    let guard = CancelOnDisconnect {
        app: app.clone(),
        jobs: jobs.iter().map(|job| job.id.clone()).collect(),
    };
    Ok((jobs, guard))
}

/// Returns one search per image. Their seeds are consecutive.
fn search_requests(app: &App, body: GenerationRequest) -> Result<Vec<SearchRequest>, ApiError> {
    check_formats(&body)?;
    let n = body.n.unwrap_or(1);
    let most = app.limits.images;
    if n == 0 || n > most {
        return Err(ApiError::input(
            "n",
            format!("n is {n}, this server generates 1 to {most} images per request"),
        ));
    }
    let raw = RawRequest {
        prompt: body.prompt,
        model: body.model,
        negative: body.negative,
        size: body.size,
        seed: body.seed,
        search: body.search,
        previews: None,
    };
    let first = app.requests.read(raw)?;
    Ok((0..n as u64)
        .map(|number| first.with_seed(first.seed.wrapping_add(number)))
        .collect())
}

/// Refuses formats that this server does not produce.
fn check_formats(body: &GenerationRequest) -> Result<(), ApiError> {
    if let Some(format) = &body.response_format
        && format != "b64_json"
    {
        let message = format!("response_format is `{format}`, this server returns b64_json");
        return Err(ApiError::input("response_format", message));
    }
    if let Some(format) = &body.output_format
        && format != "png"
    {
        let message = format!("output_format is `{format}`, this server returns png");
        return Err(ApiError::input("output_format", message));
    }
    if body.stream == Some(true) {
        return Err(ApiError::input(
            "stream",
            "this route does not stream; submit a job and watch its events instead",
        ));
    }
    Ok(())
}

/// A finished image as clients receive it.
async fn image_json(app: &Arc<App>, job: &Job) -> Result<Value, ApiError> {
    if job.state != JobState::Done {
        return Err(unfinished(job));
    }
    let store = app.store.clone();
    let id = job.id.clone();
    let image = run_blocking(move || store.read(&id, IMAGE))
        .await??
        .ok_or_else(|| ApiError::job_not_found(&job.id))?;
    Ok(json!({
        "b64_json": BASE64_STANDARD.encode(image),
        "job": job.id,
        "seed": job.facts.get("seed"),
        "score": job.score,
    }))
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

/// Seconds since 1970.
fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

async fn models(State(app): State<Arc<App>>) -> Json<Value> {
    let system = app.requests.system();
    let methods: Vec<String> = Method::ALL.iter().map(Method::to_string).collect();
    let details: Vec<Value> = Method::ALL
        .into_iter()
        .map(|method| {
            json!({
                "name": method.to_string(),
                "description": method.description(),
                "max_n": app.requests.max_n(method),
            })
        })
        .collect();
    let model = json!({
        "id": system.name(),
        "object": "model",
        "created": unix_seconds(app.started),
        "owned_by": "ttsvar",
        "about": system.description().about,
        "sizes": app.requests.sizes(),
        "methods": methods,
        "method_details": details,
        "words": system.words(),
        "limits": {
            "rows": app.limits.rows,
            "pictures": app.limits.images,
            "prompt": app.limits.prompt,
        },
    });
    Json(json!({
        "object": "list",
        "data": [model],
    }))
}

//! OpenAI's interface for images, so that its clients work here: `POST /v1/images/generations`,
//! `GET /v1/models` and `GET /v1/models/{id}`.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    extract::{Path, Request, State, rejection::PathRejection},
    http::StatusCode,
    routing::{get, post},
};
use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};
use ttsvar_search::Method;

use super::{
    App,
    api_error::ApiError,
    job::{Job, JobState},
    json_body,
    raw_request::{RawRequest, Route},
    request::SearchRequest,
    run_blocking,
    store::IMAGE,
    watch, worker,
};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/images/generations", post(generate))
        .route("/v1/models", get(models))
        .route("/v1/models/{id}", get(one_model))
}

async fn generate(State(app): State<Arc<App>>, request: Request) -> Result<Json<Value>, ApiError> {
    let fields = json_body::read(request, app.limits.body).await?;
    let raw = RawRequest::read(Route::Images, &fields)?;
    let ignored = raw.ignored.clone();
    let inner = app.clone();
    let (jobs, guard) = run_blocking(move || submit(&inner, &raw)).await??;
    let mut data = Vec::with_capacity(jobs.len());
    for job in &jobs {
        let job = watch::wait_until_over(&app, &job.id).await?;
        data.push(image_json(&app, &job).await?);
    }
    guard.disarm();
    Ok(Json(json!({
        "created": unix_seconds(SystemTime::now()),
        "data": data,
        "ignored": ignored,
    })))
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
        "warnings": job.warnings,
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
    Json(json!({
        "object": "list",
        "data": [model_json(&app)],
    }))
}

async fn one_model(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let known = app.requests.system().name();
    match id {
        Ok(Path(id)) if id == known => Ok(Json(model_json(&app))),
        Ok(Path(id)) => Err(ApiError::model_not_found(format!(
            "there is no model `{id}`, this server runs `{known}`"
        ))),
        Err(error) => Err(ApiError::input("id", error.body_text())),
    }
}

/// The model with its sizes, methods and limits.
fn model_json(app: &App) -> Value {
    let system = app.requests.system();
    let methods: Vec<String> = Method::ALL.iter().map(Method::to_string).collect();
    let details: Vec<Value> = Method::ALL
        .into_iter()
        .map(|method| {
            json!({
                "name": method.to_string(),
                "description": method.description(),
                "n": method.usual_n(),
                "max_n": app.requests.max_n(method),
            })
        })
        .collect();
    json!({
        "id": system.name(),
        "object": "model",
        "created": unix_seconds(app.started),
        "owned_by": "ttsvar",
        "about": system.description().about,
        "sizes": app.requests.sizes(),
        "methods": methods,
        "usual_method": system.usual_method(),
        "method_details": details,
        "words": system.words(),
        "classes": system.classes().map(|classes| classes.names().collect::<Vec<_>>()),
        "limits": {
            "rows": app.limits.rows,
            "pictures": app.limits.images,
            "prompt": app.limits.prompt,
        },
    })
}

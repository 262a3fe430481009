//! The interface of OpenAI's image service, so that its clients work here: `POST
//! /v1/images/generations`, `GET /v1/models`.

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

use super::{
    App, aside,
    refusal::Refusal,
    request::{self, RawRequest, SearchRequest},
    store::{IMAGE, Job, State as JobState},
    watch, worker,
};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/images/generations", post(generate))
        .route("/v1/models", get(models))
}

/// The fields of OpenAI's that mean something here, and `seed`, `negative` and `search`, which are
/// ours. Others are passed over, as clients send what their version knows.
#[derive(Deserialize)]
struct Generation {
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

async fn generate(State(app): State<Arc<App>>, request: Request) -> Result<Json<Value>, Refusal> {
    let wanted: Generation = request::json(request).await?;
    let inner = app.clone();
    let submitted = aside(move || {
        let jobs = inner.desk.submit(orders(&inner, wanted)?)?;
        let ids = jobs.iter().map(|job| job.id.clone()).collect();
        Ok::<_, Refusal>((
            jobs,
            Unwanted {
                app: inner.clone(),
                jobs: ids,
            },
        )) // a client may leave at this very moment
    });
    let (jobs, mut unwanted) = submitted.await??;
    let mut data = Vec::with_capacity(jobs.len());
    for job in &jobs {
        let job = watch::over(&app, &job.id).await?;
        data.push(picture(&app, &job).await?);
    }
    unwanted.jobs.clear();
    Ok(Json(
        json!({ "created": seconds(SystemTime::now()), "data": data }),
    ))
}

/// One order for each picture; each has a seed of its own, the next number.
fn orders(app: &App, wanted: Generation) -> Result<Vec<SearchRequest>, Refusal> {
    let Generation {
        prompt,
        model,
        n,
        size,
        response_format,
        output_format,
        seed,
        negative,
        search,
        stream,
    } = wanted;
    if let Some(format) = response_format.filter(|format| format != "b64_json") {
        let message = format!("response_format is `{format}`, this server returns b64_json");
        return Err(Refusal::input("response_format", message));
    }
    if let Some(format) = output_format.filter(|format| format != "png") {
        return Err(Refusal::input(
            "output_format",
            format!("output_format is `{format}`, this server writes png"),
        ));
    }
    if stream == Some(true) {
        return Err(Refusal::input(
            "stream",
            "this route streams nothing; submit a job and watch its events instead",
        ));
    }
    let (n, most) = (n.unwrap_or(1), app.limits.pictures);
    if n == 0 || n > most {
        return Err(Refusal::input(
            "n",
            format!("n is {n}, this server paints 1 to {most} pictures a request"),
        ));
    }
    let raw = RawRequest {
        prompt,
        model,
        negative,
        size,
        seed,
        search,
        previews: None,
    };
    let first = app.requests.read(raw)?;
    Ok((0..n as u64)
        .map(|number| first.with_seed(first.seed.wrapping_add(number)))
        .collect())
}

/// A finished picture as clients read it.
async fn picture(app: &Arc<App>, job: &Job) -> Result<Value, Refusal> {
    let unavailable = |status, code| {
        Err(Refusal::new(
            status,
            code,
            format!("job {} is {}", job.id, job.state),
        ))
    };
    match job.state {
        JobState::Done => {}
        JobState::Cancelled => return unavailable(StatusCode::CONFLICT, "cancelled"),
        JobState::Interrupted => {
            return unavailable(StatusCode::SERVICE_UNAVAILABLE, "interrupted");
        }
        _ => {
            let error = job.error.clone().unwrap_or_default();
            let late = error.starts_with(worker::LATE);
            let status = if late {
                StatusCode::GATEWAY_TIMEOUT
            } else {
                StatusCode::INTERNAL_SERVER_ERROR
            };
            return Err(Refusal::new(
                status,
                if late { "timeout" } else { "search_failed" },
                error,
            ));
        }
    }
    let (store, id) = (app.store.clone(), job.id.clone());
    let image = aside(move || store.read(&id, IMAGE))
        .await??
        .ok_or_else(|| Refusal::no_job(&job.id))?;
    Ok(
        json!({ "b64_json": BASE64_STANDARD.encode(image), "job": job.id, "seed": job.facts.get("seed"),
        "score": job.score }),
    )
}

/// Jobs that end when the client leaves before it has its pictures.
struct Unwanted {
    app: Arc<App>,
    jobs: Vec<String>,
}

impl Drop for Unwanted {
    fn drop(&mut self) {
        if self.jobs.is_empty() {
            return;
        }
        let (app, jobs) = (self.app.clone(), std::mem::take(&mut self.jobs));
        // Dropped by the runtime, where waiting for a lock would hold up others.
        tokio::task::spawn_blocking(move || {
            for job in jobs {
                if let Err(error) = app.desk.cancel(&job) {
                    tracing::error!(%error, job, "a job cannot be cancelled");
                }
            }
        });
    }
}

/// Seconds since 1970.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

async fn models(State(app): State<Arc<App>>) -> Json<Value> {
    let system = app.requests.system();
    let methods: Vec<String> = crate::search::Method::ALL
        .iter()
        .map(ToString::to_string)
        .collect();
    let about = json!({ "id": system.name(), "object": "model", "created": seconds(app.began), "owned_by": "ttsvar",
        "about": system.description().about, "sizes": app.requests.sizes(), "methods": methods,
        "words": system.words(), "limits": { "rows": app.limits.rows, "pictures": app.limits.pictures,
        "prompt": app.limits.prompt } });
    Json(json!({ "object": "list", "data": [about] }))
}

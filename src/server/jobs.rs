//! The routes of jobs: submit, list, show, watch, cancel, delete, and fetch the results.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Json, Router,
    extract::{
        DefaultBodyLimit, FromRequestParts, Path, Query, Request, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};

use super::{
    App,
    api_error::ApiError,
    field_names::suggestion,
    form::{self, Form},
    job::Job,
    json_body,
    raw_request::{RawRequest, Route},
    report, run_blocking,
    store::{IMAGE, Store, TRACE},
    watch,
};

pub(super) fn routes() -> Router<Arc<App>> {
    let body = DefaultBodyLimit::max(form::MOST_BYTES);
    Router::new()
        .route("/v1/jobs", post(submit).get(list).layer(body))
        .route("/v1/jobs/{id}", get(show).delete(delete))
        .route("/v1/jobs/{id}/cancel", post(cancel))
        .route("/v1/jobs/{id}/events", get(watch::watch))
        .route("/v1/jobs/{id}/image", get(image))
        .route("/v1/jobs/{id}/images/{rank}", get(ranked_image))
        .route("/v1/jobs/{id}/trace", get(trace))
        .route("/v1/jobs/{id}/report", get(report))
        .route("/v1/jobs/{id}/previews/{sheet}", get(previews))
}

/// The id of a job in a path.
pub(super) struct JobId(pub String);

impl<S: Send + Sync> FromRequestParts<S> for JobId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let names = Path::<HashMap<String, String>>::from_request_parts(parts, state).await;
        let Path(mut names) = names.map_err(|error| ApiError::input("id", error.body_text()))?;
        names
            .remove("id")
            .map(Self)
            .ok_or_else(|| ApiError::job_not_found(""))
    }
}

async fn submit(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let raw = read(&app, request).await?;
    let ignored = raw.ignored.clone();
    let inner = app.clone();
    let jobs = run_blocking(move || {
        let request = inner.requests.read(&raw)?;
        inner.scheduler.submit(vec![request])
    })
    .await??;
    let job = jobs.first().ok_or_else(ApiError::shutting_down)?;
    let location = format!("/v1/jobs/{}", job.id);
    let mut body = job.to_json();
    body["ignored"] = ignored.into();
    Ok((
        StatusCode::ACCEPTED,
        [(header::LOCATION, location)],
        Json(body),
    )
        .into_response())
}

/// Reads a request with a JSON body, or a form if it has an image of which a part is regenerated.
async fn read(app: &App, request: Request) -> Result<RawRequest, ApiError> {
    if !form::is_form(request.headers()) {
        let fields = json_body::read(request, &app.limits).await?;
        return RawRequest::read(Route::Jobs, &fields);
    }
    let form = Form::read(request, &app.limits).await?;
    let mut raw = RawRequest::read(Route::Jobs, &form.fields)?;
    raw.edit = run_blocking(move || form.edit()).await??;
    Ok(raw)
}

/// The query of a list of jobs.
#[derive(Debug, Default, PartialEq)]
struct ListQuery {
    limit: Option<usize>,
    before: Option<String>,
}

/// Number of jobs in a list, by default and at most.
const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 100;

impl ListQuery {
    /// Reads the names and values of a query.
    fn read(pairs: Vec<(String, String)>) -> Result<Self, ApiError> {
        let mut query = Self::default();
        for (name, value) in pairs {
            let twice = match name.as_str() {
                "limit" => query.limit.replace(list_limit(&value)?).is_some(),
                "before" => query.before.replace(value).is_some(),
                _ => {
                    let hint = suggestion(&name, ["limit", "before"].into_iter());
                    return Err(ApiError::unknown_field(name, "this query", hint));
                }
            };
            if twice {
                let message = format!("{name} is given twice");
                return Err(ApiError::input(name, message));
            }
        }
        Ok(query)
    }
}

fn list_limit(value: &str) -> Result<usize, ApiError> {
    let limit = value.parse().ok();
    limit
        .filter(|limit| (1..=MAX_LIMIT).contains(limit))
        .ok_or_else(|| {
            let message = format!("limit is `{value}`, expected an integer from 1 to {MAX_LIMIT}");
            ApiError::input("limit", message)
        })
}

async fn list(
    State(app): State<Arc<App>>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(pairs) =
        query.map_err(|error| ApiError::from_rejection(error.status(), error.body_text()))?;
    let query = ListQuery::read(pairs)?;
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    let store = app.store.clone();
    let jobs = run_blocking(move || store.list(limit + 1, query.before.as_deref())).await??;
    let data: Vec<Value> = jobs.iter().take(limit).map(Job::to_json).collect();
    Ok(Json(json!({
        "object": "list",
        "data": data,
        "has_more": jobs.len() > limit,
    })))
}

async fn show(State(app): State<Arc<App>>, JobId(id): JobId) -> Result<Json<Value>, ApiError> {
    let mut job = app.job(&id).await?.to_json();
    if let Some(ahead) = app.scheduler.searches_ahead(&id) {
        job["before"] = ahead.into();
    }
    Ok(Json(job))
}

async fn cancel(
    State(app): State<Arc<App>>,
    JobId(id): JobId,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    json_body::check_needless(&headers)?;
    app.job(&id).await?;
    let inner = app.clone();
    let wanted = id.clone();
    let cancelled = run_blocking(move || inner.scheduler.cancel(&wanted)).await?;
    let job = app.job(&id).await?;
    if !cancelled {
        let message = format!("job `{id}` is already {}", job.state);
        return Err(ApiError::new(StatusCode::CONFLICT, "job_over", message));
    }
    Ok(Json(job.to_json()))
}

async fn delete(State(app): State<Arc<App>>, JobId(id): JobId) -> Result<StatusCode, ApiError> {
    let store = app.store.clone();
    let wanted = id.clone();
    // A job whose row is damaged can be deleted, too
    if !run_blocking(move || store.contains(&wanted)).await?? {
        return Err(ApiError::job_not_found(&id));
    }
    run_blocking(move || app.scheduler.delete(&id)).await??;
    Ok(StatusCode::NO_CONTENT)
}

async fn image(State(app): State<Arc<App>>, JobId(id): JobId) -> Result<Response, ApiError> {
    job_file(&app, &id, IMAGE, "image/png").await
}

/// One of the images of a search that several share, by its rank from 1.
async fn ranked_image(
    State(app): State<Arc<App>>,
    JobId(id): JobId,
    rank: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, ApiError> {
    let number = file_number(rank, "the rank of an image")?;
    let rank = number.checked_sub(1).ok_or_else(|| {
        ApiError::no_such_file("there is no rank 0; the best image has rank 1".to_owned())
    })?;
    job_file(&app, &id, &Store::image_name(rank), "image/png").await
}

/// The number at the end of a path.
fn file_number(
    path: Result<Path<(String, String)>, PathRejection>,
    what: &str,
) -> Result<usize, ApiError> {
    let Path((_, number)) =
        path.map_err(|error| ApiError::from_rejection(error.status(), error.body_text()))?;
    number
        .parse()
        .map_err(|_| ApiError::no_such_file(format!("`{number}` is not {what}")))
}

async fn trace(State(app): State<Arc<App>>, JobId(id): JobId) -> Result<Response, ApiError> {
    job_file(&app, &id, TRACE, "application/json").await
}

/// The policy of a report: its own styles, scripts and images, and nothing from this server.
const REPORT_POLICY: &str = concat!(
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; ",
    "img-src data:; sandbox allow-scripts",
);

async fn report(State(app): State<Arc<App>>, JobId(id): JobId) -> Result<Response, ApiError> {
    let job = app.job(&id).await?;
    let store = app.store.clone();
    let Some(page) = run_blocking(move || report::page(&store, &id)).await?? else {
        let message = format!("job `{}` is {} and has no report", job.id, job.state);
        return Err(ApiError::no_such_file(message));
    };
    let policy = [(header::CONTENT_SECURITY_POLICY, REPORT_POLICY)];
    Ok((policy, Html(page)).into_response())
}

async fn previews(
    State(app): State<Arc<App>>,
    JobId(id): JobId,
    sheet: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, ApiError> {
    let sheet = file_number(sheet, "the number of a contact sheet")?;
    let job = app.job(&id).await?;
    // While a search runs, its sheets are stored once for all jobs that share it
    let folder = match app.scheduler.search(&id) {
        Some(search) => search.id.clone(),
        None => id,
    };
    file_response(&app, &job, folder, Store::sheet_name(sheet), "image/png").await
}

/// The response with a file of a job.
async fn job_file(
    app: &App,
    id: &str,
    name: &str,
    content_type: &'static str,
) -> Result<Response, ApiError> {
    // Only ids that the index contains become part of a path
    let job = app.job(id).await?;
    file_response(app, &job, job.id.clone(), name.to_owned(), content_type).await
}

/// The response with a file in a folder. Files never change once they are written.
async fn file_response(
    app: &App,
    job: &Job,
    folder: String,
    name: String,
    content_type: &'static str,
) -> Result<Response, ApiError> {
    let store = app.store.clone();
    let path = name.clone();
    let Some(bytes) = run_blocking(move || store.read(&folder, &path)).await?? else {
        let message = format!("job `{}` is {} and has no {name}", job.id, job.state);
        return Err(ApiError::no_such_file(message));
    };
    let disposition = format!("inline; filename=\"ttsvar-{}-{name}\"", job.id);
    let headers = [
        (header::CONTENT_TYPE, content_type.to_owned()),
        (
            header::CACHE_CONTROL,
            "private, max-age=31536000, immutable".to_owned(),
        ),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    Ok((headers, bytes).into_response())
}

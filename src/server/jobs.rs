//! Jobs: submit, list, look at, watch, cancel, forget, and fetch what came of them.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, Query, Request, State, rejection::QueryRejection},
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    App, aside,
    refusal::Refusal,
    report,
    request::{self, RawRequest},
    store::{IMAGE, Job, Store, TRACE},
    watch,
};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/jobs", post(submit).get(list))
        .route("/v1/jobs/{id}", get(look).delete(forget))
        .route("/v1/jobs/{id}/cancel", post(cancel))
        .route("/v1/jobs/{id}/events", get(watch::watch))
        .route("/v1/jobs/{id}/image", get(image))
        .route("/v1/jobs/{id}/trace", get(trace))
        .route("/v1/jobs/{id}/report", get(report))
        .route("/v1/jobs/{id}/previews/{sheet}", get(previews))
}

async fn submit(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let raw: RawRequest = request::json(request).await?;
    let inner = app.clone();
    let jobs = aside(move || inner.desk.submit(vec![inner.requests.read(raw)?])).await??;
    let job = jobs.first().ok_or_else(Refusal::stopping)?;
    let place = format!("/v1/jobs/{}", job.id);
    Ok((
        StatusCode::ACCEPTED,
        [(header::LOCATION, place)],
        Json(job.to_json()),
    )
        .into_response())
}

/// Which jobs are to be listed.
#[derive(Deserialize)]
struct Pages {
    limit: Option<usize>,
    before: Option<String>,
}

/// Jobs on a page at most.
const PAGE: usize = 100;

type Asked = Result<Query<Pages>, QueryRejection>;

async fn list(State(app): State<Arc<App>>, pages: Asked) -> Result<Json<Value>, Refusal> {
    let Query(pages) = pages.map_err(|error| Refusal::input("limit", error.body_text()))?;
    let most = pages.limit.unwrap_or(20).clamp(1, PAGE);
    let store = app.store.clone();
    let jobs = aside(move || store.list(most + 1, pages.before.as_deref())).await??;
    let data: Vec<Value> = jobs.iter().take(most).map(Job::to_json).collect();
    Ok(Json(
        json!({ "object": "list", "data": data, "has_more": jobs.len() > most }),
    ))
}

async fn look(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let mut job = app.job(&id).await?.to_json();
    if let Some(before) = app.desk.before(&id) {
        job["before"] = before.into();
    }
    Ok(Json(job))
}

async fn cancel(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let before = app.job(&id).await?;
    let (inner, name) = (app.clone(), id.clone());
    if !aside(move || inner.desk.cancel(&name)).await?? {
        let message = format!("job `{id}` is {} already", before.state);
        return Err(Refusal::new(StatusCode::CONFLICT, "job_over", message));
    }
    Ok(Json(app.job(&id).await?.to_json()))
}

async fn forget(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    app.job(&id).await?;
    aside(move || app.desk.forget(&id)).await??;
    Ok(StatusCode::NO_CONTENT)
}

async fn image(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, Refusal> {
    file(&app, &id, IMAGE.to_owned(), "image/png").await
}

async fn trace(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, Refusal> {
    file(&app, &id, TRACE.to_owned(), "application/json").await
}

/// What a report may do: its own styles, scripts and pictures, and nothing of this server's.
const ALONE: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; \
                     sandbox allow-scripts";

async fn report(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let job = app.job(&id).await?;
    let (store, folder) = (app.store.clone(), job.id.clone());
    let Some(page) = aside(move || report::page(&store, &folder)).await?? else {
        let message = format!("job `{id}` is {} and has no report", job.state);
        return Err(Refusal::new(StatusCode::NOT_FOUND, "no_such_file", message));
    };
    Ok(([(header::CONTENT_SECURITY_POLICY, ALONE)], Html(page)).into_response())
}

async fn previews(
    State(app): State<Arc<App>>,
    Path((id, sheet)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let none = |_| {
        Refusal::new(
            StatusCode::NOT_FOUND,
            "no_such_file",
            format!("`{sheet}` is no sheet of previews"),
        )
    };
    let sheet = sheet.parse().map_err(none)?;
    let job = app.job(&id).await?;
    // As long as a search runs, its sheets are in one place for all jobs that share it.
    let folder = app
        .desk
        .work(&id)
        .map_or_else(|| id.clone(), |work| work.id.clone());
    file_in(&app, &job, folder, Store::sheet(sheet), "image/png").await
}

/// A file of a job. It never changes once it is there.
async fn file(
    app: &Arc<App>,
    id: &str,
    name: String,
    kind: &'static str,
) -> Result<Response, Refusal> {
    let job = app.job(id).await?; // an id of the index is no path to anywhere else
    file_in(app, &job, job.id.clone(), name, kind).await
}

async fn file_in(
    app: &App,
    job: &Job,
    folder: String,
    name: String,
    kind: &str,
) -> Result<Response, Refusal> {
    let (store, asked) = (app.store.clone(), name.clone());
    let Some(bytes) = aside(move || store.read(&folder, &asked)).await?? else {
        let message = format!("job `{}` is {} and has no {name}", job.id, job.state);
        return Err(Refusal::new(StatusCode::NOT_FOUND, "no_such_file", message));
    };
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (
            header::CACHE_CONTROL,
            "private, max-age=31536000, immutable".to_owned(),
        ),
        (
            header::CONTENT_DISPOSITION,
            format!("inline; filename=\"ttsvar-{}-{name}\"", job.id),
        ),
    ];
    Ok((headers, bytes).into_response())
}

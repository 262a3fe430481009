//! OpenAI's interface for images, so that its clients work here: `POST /v1/images/generations`,
//! `GET /v1/models` and `GET /v1/models/{id}`.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, Request, State, rejection::PathRejection},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};
use ttsvar_search::Method;

use super::{
    App,
    api_error::ApiError,
    image_stream,
    images::{self, JobImage},
    json_body,
    raw_request::{RawRequest, Route},
    run_blocking,
};
use crate::clock::unix_seconds;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/images/generations", post(generate))
        .route("/v1/models", get(models))
        .route("/v1/models/{id}", get(one_model))
}

/// What a request asks for, which names the events of its stream.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Generation,
    Edit,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Generation => "image_generation",
            Self::Edit => "image_edit",
        }
    }
}

async fn generate(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let fields = json_body::read(request, &app.limits).await?;
    let raw = RawRequest::read(Route::Images, &fields)?;
    respond(&app, raw, Kind::Generation).await
}

/// Generates the images of a request, as one response or as a stream.
pub(super) async fn respond(
    app: &Arc<App>,
    raw: RawRequest,
    kind: Kind,
) -> Result<Response, ApiError> {
    let ignored = raw.ignored.clone();
    let streams = raw.stream;
    let submitted = images::submit(app, raw).await?;
    if streams {
        return Ok(image_stream::respond(app.clone(), submitted, kind));
    }
    let images = images::finish(app, submitted).await?;
    let response = move || {
        let body = json!({
            "created": unix_seconds() as u64,
            "data": images.iter().map(image_json).collect::<Vec<_>>(),
            "ignored": ignored,
        });
        Json(body).into_response()
    };
    Ok(run_blocking(response).await?)
}

/// A finished image as clients receive it. Encoding it takes time.
pub(super) fn image_json(image: &JobImage) -> Value {
    let JobImage { job, score, png } = image;
    json!({
        "b64_json": BASE64_STANDARD.encode(png),
        "job": job.id,
        "seed": job.facts.get("seed"),
        "score": score,
        "warnings": job.warnings,
    })
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
            "there is no model `{id}`; this server runs `{known}`"
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
        "created": app.started as u64,
        "owned_by": "ttsvar",
        "about": system.description().about,
        "sizes": app.requests.sizes(),
        "methods": methods,
        "usual_method": system.usual_method(),
        "method_details": details,
        "words": system.words(),
        "classes": system.classes().map(|classes| classes.names().collect::<Vec<_>>()),
        "edits": system.editor().is_some(),
        "limits": {
            "rows": app.limits.rows,
            "pictures": app.limits.images,
            "prompt": app.limits.prompt,
        },
    })
}

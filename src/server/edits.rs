//! `POST /v1/images/edits` of OpenAI's interface: a part of an image is regenerated. Image and
//! mask come as a form with files, and the fields of `POST /v1/images/generations` beside them.

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    response::Response,
    routing::post,
};

use super::{
    App,
    api_error::ApiError,
    form::{Form, MOST_BYTES},
    openai::{self, Kind},
    raw_request::{RawRequest, Route, missing},
    run_blocking,
};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route(
        "/v1/images/edits",
        post(edit).layer(DefaultBodyLimit::max(MOST_BYTES)),
    )
}

async fn edit(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let form = Form::read(request, &app.limits).await?;
    let mut raw = RawRequest::read(Route::Images, &form.fields)?;
    let edit = run_blocking(move || form.edit()).await??;
    raw.edit = Some(edit.ok_or_else(|| missing("image"))?);
    openai::respond(&app, raw, Kind::Edit).await
}

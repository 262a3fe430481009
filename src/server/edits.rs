//! `POST /v1/images/edits` of OpenAI's interface: a part of an image is generated again. Image and
//! mask come as a form with files, and the fields of `POST /v1/images/generations` beside them.

use std::sync::Arc;

use axum::{
    Router,
    extract::{
        DefaultBodyLimit, FromRequest, Multipart, Request, State,
        multipart::{Field, MultipartError},
    },
    http::StatusCode,
    response::Json,
    routing::post,
};
use serde_json::{Map, Value};

use super::{
    App,
    api_error::ApiError,
    openai,
    raw_request::{RawRequest, Route, is_option, missing},
    run_blocking,
};
use crate::{image, request::EditInput};

/// Bytes of the longest request.
const MOST_BYTES: usize = 32 << 20;

/// Fields with the image, as OpenAI's clients name it.
const IMAGE: [&str; 2] = ["image", "image[]"];

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route(
        "/v1/images/edits",
        post(edit).layer(DefaultBodyLimit::max(MOST_BYTES)),
    )
}

async fn edit(State(app): State<Arc<App>>, request: Request) -> Result<Json<Value>, ApiError> {
    let form = Multipart::from_request(request, &()).await;
    let form = form
        .map_err(|error| ApiError::new(error.status(), "wrong_content_type", error.body_text()))?;
    let form = Form::read(form).await?;
    let mut raw = RawRequest::read(Route::Images, &form.fields)?;
    raw.edit = Some(run_blocking(move || decode(form)).await??);
    openai::respond(&app, raw).await
}

/// What a client sends.
struct Form {
    fields: Map<String, Value>,
    image: Option<Vec<u8>>,
    mask: Option<Vec<u8>>,
}

impl Form {
    async fn read(mut form: Multipart) -> Result<Self, ApiError> {
        let mut read = Self {
            fields: Map::new(),
            image: None,
            mask: None,
        };
        while let Some(field) = form.next_field().await.map_err(unreadable)? {
            read.take(field).await?;
        }
        Ok(read)
    }

    async fn take(&mut self, field: Field<'_>) -> Result<(), ApiError> {
        let name = field.name().unwrap_or_default().to_owned();
        let twice = if IMAGE.contains(&name.as_str()) {
            self.image.replace(bytes(field).await?).is_some()
        } else if name == "mask" {
            self.mask.replace(bytes(field).await?).is_some()
        } else {
            let text = field.text().await.map_err(unreadable)?;
            let value = value_of(&name, text);
            self.fields.insert(name.clone(), value).is_some()
        };
        match twice {
            true => {
                let message = format!("{name} is given twice; one image is edited per request");
                Err(ApiError::input(name, message))
            }
            false => Ok(()),
        }
    }
}

/// A field of a form is a text: options, `n` and `search` are read as JSON where they are JSON.
fn value_of(name: &str, text: String) -> Value {
    let is_json = is_option(name) || matches!(name, "n" | "search" | "previews" | "stream");
    match serde_json::from_str(&text) {
        Ok(value) if is_json => value,
        _ => text.into(),
    }
}

async fn bytes(field: Field<'_>) -> Result<Vec<u8>, ApiError> {
    Ok(field.bytes().await.map_err(unreadable)?.to_vec())
}

fn unreadable(error: MultipartError) -> ApiError {
    let status = error.status();
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        let message = format!("the request is longer than {} MiB", MOST_BYTES >> 20);
        return ApiError::new(status, "too_long", message);
    }
    ApiError::new(status, "unreadable_body", error.body_text())
}

fn decode(form: Form) -> Result<EditInput, ApiError> {
    let image = form.image.ok_or_else(|| missing("image"))?;
    let mask = form.mask.ok_or_else(|| missing("mask"))?;
    let at = |name: &'static str| move |error| ApiError::from(error).with_param(name);
    Ok(EditInput {
        image: image::decode(&image).map_err(at("image"))?,
        mask: image::decode_mask(&mask).map_err(at("mask"))?,
    })
}

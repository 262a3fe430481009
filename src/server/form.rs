//! A request as a form with files: an image, its mask, and the fields of a JSON body as texts.

use axum::{
    extract::{
        FromRequest, Multipart, Request,
        multipart::{Field, MultipartError},
    },
    http::{HeaderMap, StatusCode, header},
};
use serde_json::{Map, Value};

use super::{
    Limits,
    api_error::ApiError,
    json_body::{client_of, receive},
    raw_request::{is_option, missing},
};
use crate::{image, request::EditInput};

/// Bytes of the longest form.
pub(super) const MOST_BYTES: usize = 32 << 20;

/// Fields with the image, as OpenAI's clients name it.
const IMAGE: [&str; 2] = ["image", "image[]"];

/// Fields that are read as JSON, besides options.
const JSON: [&str; 7] = [
    "n",
    "search",
    "plan_of",
    "share",
    "previews",
    "stream",
    "partial_images",
];

/// What a client sends.
pub(super) struct Form {
    pub fields: Map<String, Value>,
    image: Option<Vec<u8>>,
    mask: Option<Vec<u8>>,
}

/// Returns whether a request is a form.
pub(super) fn is_form(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| {
        value
            .get(..10)
            .is_some_and(|start| start.eq_ignore_ascii_case("multipart/"))
    })
}

impl Form {
    /// Reads a form.
    ///
    /// # Errors
    /// It breaks off, does not arrive in time, is too long, or has a field twice.
    pub(super) async fn read(request: Request, limits: &Limits) -> Result<Self, ApiError> {
        receive(client_of(&request), limits.idle, Self::read_all(request)).await?
    }

    async fn read_all(request: Request) -> Result<Self, ApiError> {
        let form = Multipart::from_request(request, &()).await;
        let mut form = form.map_err(|error| {
            ApiError::new(error.status(), "wrong_content_type", error.body_text())
        })?;
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
            self.set(&name, text)?
        };
        match twice {
            true => {
                let message = format!("{name} is given twice; one image is edited per request");
                Err(ApiError::input(name, message))
            }
            false => Ok(()),
        }
    }

    /// Sets a field. OpenAI's clients write `search[tau]` for a field of an object. Returns whether it
    /// was set before.
    fn set(&mut self, name: &str, text: String) -> Result<bool, ApiError> {
        let inner = name
            .strip_prefix("search[")
            .and_then(|rest| rest.strip_suffix(']'));
        let Some(inner) = inner else {
            let value = value_of(name, text);
            return Ok(self.fields.insert(name.to_owned(), value).is_some());
        };
        let search = self
            .fields
            .entry("search")
            .or_insert_with(|| Map::new().into());
        let Some(search) = search.as_object_mut() else {
            let message = "search is given as one field and as several";
            return Err(ApiError::input("search", message));
        };
        Ok(search
            .insert(inner.to_owned(), value_of(inner, text))
            .is_some())
    }

    /// The image and the mask, if the form has them. This decodes them and takes time.
    ///
    /// # Errors
    /// One of them is missing or cannot be read.
    pub(super) fn edit(&self) -> Result<Option<EditInput>, ApiError> {
        let (image, mask) = match (&self.image, &self.mask) {
            (None, None) => return Ok(None),
            (None, _) => return Err(missing("image")),
            (_, None) => return Err(missing("mask")),
            (Some(image), Some(mask)) => (image, mask),
        };
        let at = |name: &'static str| move |error| ApiError::from(error).with_param(name);
        Ok(Some(EditInput {
            image: image::decode(image).map_err(at("image"))?,
            mask: image::decode_mask(mask).map_err(at("mask"))?,
        }))
    }
}

/// A field of a form is a text: options, `n` and the like are read as JSON where they are JSON.
fn value_of(name: &str, text: String) -> Value {
    match serde_json::from_str(&text) {
        Ok(value) if is_option(name) || JSON.contains(&name) => value,
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

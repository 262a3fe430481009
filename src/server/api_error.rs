//! Errors of the HTTP interface, in the format of OpenAI's.

use std::borrow::Cow;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::field_names;
use crate::{Error, ErrorKind};

/// A status, a message for people and a code for programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
    /// The field of the request at fault.
    pub param: Option<Cow<'static, str>>,
    /// Seconds after which the client may try again.
    pub retry_after: Option<u64>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            param: None,
            retry_after: None,
        }
    }

    /// A field of the request has an invalid value.
    pub(super) fn input(param: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_value", message).with_param(param)
    }

    /// The request has a field that does not exist. `hint` may name the one that was meant.
    pub(super) fn unknown_field(param: String, place: &str, hint: Option<String>) -> Self {
        let mut message = format!("there is no field `{param}` in {place}");
        if let Some(hint) = hint {
            message += &format!("; {hint}");
        }
        Self::new(StatusCode::BAD_REQUEST, "unknown_parameter", message).with_param(param)
    }

    /// The same error, at a field of the request.
    pub(super) fn with_param(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Part of the request cannot be decoded: a path or a query.
    pub(super) fn from_rejection(status: StatusCode, message: String) -> Self {
        Self::new(status, "invalid_value", message)
    }

    pub(super) fn job_not_found(id: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "job_not_found",
            format!("there is no job `{id}`"),
        )
    }

    pub(super) fn model_not_found(message: String) -> Self {
        Self::new(StatusCode::NOT_FOUND, "model_not_found", message).with_param("model")
    }

    pub(super) fn no_such_file(message: String) -> Self {
        Self::new(StatusCode::NOT_FOUND, "no_such_file", message)
    }

    /// The queue is full. There should be space after `seconds`.
    pub(super) fn queue_full(capacity: usize, seconds: u64) -> Self {
        let message = format!(
            "the queue is full ({capacity} searches are waiting); try again in {seconds} s"
        );
        Self {
            retry_after: Some(seconds),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "queue_full", message)
        }
    }

    pub(super) fn shutting_down() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "stopping",
            "the server is shutting down and accepts no more jobs",
        )
    }

    /// The type of error, as OpenAI's clients distinguish them.
    fn error_type(&self) -> &'static str {
        match self.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        }
    }

    pub(super) fn body(&self) -> Value {
        json!({
            "error": {
                "message": shortened(&self.message, LONGEST_MESSAGE),
                "type": self.error_type(),
                "param": self.param.as_ref().map(|param| shortened(param, LONGEST_PARAM)),
                "code": self.code,
            },
        })
    }
}

/// Characters of the longest message and the longest name of a field. Both may repeat what a client
/// sent.
const LONGEST_MESSAGE: usize = 1000;
const LONGEST_PARAM: usize = 100;

/// The text, with its middle left out if it is too long.
fn shortened(text: &str, most: usize) -> Cow<'_, str> {
    let characters = text.chars().count();
    if characters <= most {
        return text.into();
    }
    let begin: String = text.chars().take(most / 2).collect();
    let end: String = text.chars().skip(characters - most / 2).collect();
    format!("{begin}…{end}").into()
}

impl From<Error> for ApiError {
    /// Errors of the client become 400; faults of the system and bugs become 500 and are logged.
    fn from(error: Error) -> Self {
        if error.kind() == ErrorKind::Input {
            let message = field_names::without_flags(&error.to_string());
            let hint = error.hint();
            let message = match hint.and_then(|hint| field_names::remedy_over_http(&hint)) {
                Some(hint) => format!("{message}; {hint}"),
                None => message,
            };
            return Self::new(StatusCode::BAD_REQUEST, "invalid_value", message);
        }
        tracing::error!(%error, "a request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            error.to_string(),
        )
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The response to a path without a route.
pub(super) async fn unknown_path(uri: Uri) -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "not_found",
        format!("there is nothing at {}", uri.path()),
    )
}

/// The response to a method that the route does not support.
pub(super) async fn wrong_method(method: axum::http::Method, uri: Uri) -> ApiError {
    let message = format!("{} does not support {method}", uri.path());
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        message,
    )
}

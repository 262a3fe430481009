//! The JSON body of a request: an object whose keys are given once.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
};
use serde::{
    Deserializer,
    de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

use super::{Limits, api_error::ApiError, connections::Client};

/// Reads the JSON object in the body of a request.
///
/// # Errors
/// The body is not a JSON object or not marked as JSON, gives a key twice with different values, is
/// too long, or does not arrive in time.
pub(super) async fn read(
    request: Request,
    limits: &Limits,
) -> Result<Map<String, Value>, ApiError> {
    let most = limits.body;
    check_content_type(request.headers())?;
    if announced_length(request.headers()).is_some_and(|length| length > most as u64) {
        return Err(too_long(most));
    }
    let client = client_of(&request);
    let body = receive(client, limits.idle, Bytes::from_request(request, &())).await?;
    let body = body.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => too_long(most),
        status => ApiError::new(status, "unreadable_body", "the request ended early"),
    })?;
    // The route may accept longer forms
    match body.len() > most {
        true => Err(too_long(most)),
        false => parse(&body),
    }
}

/// The client that sends a request.
pub(super) fn client_of(request: &Request) -> Option<Arc<Client>> {
    request.extensions().get::<Arc<Client>>().cloned()
}

/// Reads a body, for which the server waits no longer than `most`.
///
/// # Errors
/// The body does not arrive in time.
pub(super) async fn receive<T>(
    client: Option<Arc<Client>>,
    most: Duration,
    reading: impl Future<Output = T>,
) -> Result<T, ApiError> {
    let receiving = |waiting| {
        if let Some(client) = &client {
            client.set_receiving(waiting);
        }
    };
    receiving(true);
    let read = tokio::time::timeout(most, reading).await;
    receiving(false);
    read.map_err(|_| too_slow(most))
}

/// Checks a request that needs no body. If it has one, the rule of all other requests applies.
///
/// # Errors
/// It has a body that is not marked as JSON.
pub(super) fn check_needless(headers: &HeaderMap) -> Result<(), ApiError> {
    match headers.contains_key(header::CONTENT_TYPE) {
        true => check_content_type(headers),
        false => Ok(()),
    }
}

/// Checks that a body is marked as JSON. Other websites can send any text here, but JSON only with
/// permission (CORS), which this server never grants.
///
/// # Errors
/// The content type is not that of JSON.
pub(super) fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    let mime_type = content_type.split(';').next().unwrap_or("").trim();
    if mime_type.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let message = format!("expected the content type application/json, found `{content_type}`");
    Err(ApiError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "wrong_content_type",
        message,
    ))
}

/// The length of a body that its headers announce.
fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

fn too_long(most: usize) -> ApiError {
    let message = format!("the request is too long; this server accepts up to {most} bytes");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "unreadable_body", message)
}

fn too_slow(most: Duration) -> ApiError {
    let seconds = most.as_secs_f64();
    let message = format!("the request did not arrive within {seconds} s");
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "slow_request", message)
}

/// Reads a JSON object. Whole numbers may be written with a fraction of zero or an exponent.
fn parse(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let mut track = serde_path_to_error::Track::new();
    let reader = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let read = StrictValue.deserialize(reader);
    let value = match read.and_then(|value| json.end().map(|()| value)) {
        Ok(value) => value,
        Err(error) => return Err(unreadable(&track.path().to_string(), &error)),
    };
    match value {
        Value::Object(fields) => Ok(fields),
        other => Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "invalid_value",
            format!("the request is {}, expected a JSON object", kind(&other)),
        )),
    }
}

/// The error for a body that is not JSON. At a field, it names the field instead of the position.
fn unreadable(path: &str, error: &serde_json::Error) -> ApiError {
    let message = error.to_string();
    let at_end = error.is_eof() || path == "." || path == "?";
    if at_end {
        let message = format!("the request is not JSON: {message}");
        return ApiError::new(StatusCode::BAD_REQUEST, "invalid_json", message);
    }
    let what = message.split(" at line ").next().unwrap_or(&message);
    let code = if error.is_data() {
        "invalid_value"
    } else {
        "invalid_json"
    };
    let message = format!("cannot read `{path}`: {what}");
    ApiError::new(StatusCode::BAD_REQUEST, code, message).with_param(path.to_owned())
}

/// The kind of a value, for messages.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The largest number up to which every integer has its own f64.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Reads any value. A key that is given again must have the same value.
#[derive(Clone, Copy)]
struct StrictValue;

impl<'de> DeserializeSeed<'de> for StrictValue {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        if value.fract() == 0.0 && value.abs() <= EXACT {
            return Ok((value as i64).into());
        }
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = vec![];
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(self)?;
            if map.get(&key).is_some_and(|before| *before != value) {
                let message = format!("`{key}` is given twice, with different values");
                return Err(A::Error::custom(message));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whole_numbers_may_have_a_fraction_of_zero() {
        let read = parse(br#"{"a": 1.0, "b": [1e3, -2.0], "c": 0.5, "d": 1e300, "e": -0.0}"#);
        let expected = json!({ "a": 1, "b": [1000, -2], "c": 0.5, "d": 1e300, "e": 0 });
        assert_eq!(Value::Object(read.unwrap()), expected);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases: [(&[u8], &str, Option<&str>); 9] = [
            (b"{", "the request is not JSON", None),
            (b"", "the request is not JSON", None),
            (b"{} {}", "the request is not JSON", None),
            (
                b"[1]",
                "the request is a list, expected a JSON object",
                None,
            ),
            (
                b"7",
                "the request is a number, expected a JSON object",
                None,
            ),
            (
                b"{\"a\": {\"b\": 1e999}}",
                "number out of range",
                Some("a.b"),
            ),
            (b"{\"a\": \"\xff\"}", "invalid unicode", Some("a")),
            (b"{\"a\": \"\\ud800\"}", "cannot read `a`", Some("a")),
            (
                b"{\"a\": {\"b\": 1, \"b\": 2}}",
                "`b` is given twice, with different values",
                Some("a"),
            ),
        ];
        for (body, message, param) in cases {
            let error = parse(body).unwrap_err();
            assert!(error.message.contains(message), "{}", error.message);
            assert_eq!(error.param.as_deref(), param, "{}", error.message);
            assert!(
                param.is_none() || !error.message.contains("line"),
                "{}",
                error.message
            );
        }
        assert!(parse(br#"{"a": 1, "a": 1.0}"#).is_ok());
    }
}
